#include <fmt/format.h>

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cmath>

#include "reconcilers/embed/inprocess.hpp"
#include "reconcilers/embed/local_model.hpp"

namespace homeostat {
namespace {

namespace asio = boost::asio;

// How long pieces stay short after somebody has waited: edits come in a row.
constexpr Duration kCrowded = std::chrono::seconds(5);

// A request that is an edit, or a query: a few milliseconds of work. It does not wait for the end of a fill's piece, and the
// threads of a fill give way to the one that it is computed on (controller/background_threads.hpp).
constexpr std::size_t kQuickTexts = 2;
constexpr std::size_t kQuickBytes = 4096;

class Counted {
public:
    explicit Counted(std::atomic<std::uint32_t>& n) : n_(n) { ++n_; }
    ~Counted() { --n_; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;

private:
    std::atomic<std::uint32_t>& n_;
};

class LocalEmbedder final : public Embedder {
public:
    LocalEmbedder(std::shared_ptr<const LocalModel> model, std::uint32_t dimensions, InProcessOptions options)
        : model_(std::move(model)), dimensions_(dimensions), options_(std::move(options)) {}

    asio::awaitable<Result<Embeddings>> embed(const std::vector<std::string>& texts, TextRole /*the model has one reading*/,
                                              const Context& context) override {
        Result<Embeddings> answer = Embeddings{};
        const bool quick = options_.quick && is_quick(texts);
        co_await asio::co_spawn(quick ? options_.quick : options_.cpu, compute(texts, context, answer), asio::use_awaitable);
        co_return answer;
    }

    std::uint32_t dimensions() const noexcept override { return dimensions_; }
    EmbedderLimits limits() const noexcept override {
        return {.max_batch = 64,
                .max_text_tokens = LocalModel::kMaxTokens,
                .max_in_flight = options_.max_in_flight,
                .price_per_million_tokens = 0};
    }

private:
    static bool is_quick(const std::vector<std::string>& texts) {
        std::size_t bytes = 0;
        for (const std::string& text : texts) bytes += text.size();
        return texts.size() <= kQuickTexts && bytes <= kQuickBytes;
    }
    asio::awaitable<void> compute(const std::vector<std::string>& texts, const Context& context, Result<Embeddings>& out) const;
    std::size_t take_chunk(const std::vector<std::string>& texts, std::size_t from, std::vector<LocalModel::Ids>& chunk) const;
    std::size_t chunk_tokens() const;
    void run_chunk(const std::vector<LocalModel::Ids>& chunk, Embeddings& answer) const;

    std::shared_ptr<const LocalModel> model_;
    std::uint32_t dimensions_;
    InProcessOptions options_;
    mutable std::atomic<std::uint32_t> under_way_{0};
    mutable std::atomic<SteadyTime::rep> crowded_until_{0};
};

// More requests than threads: somebody waits for the others' pieces, and may soon again.
std::size_t LocalEmbedder::chunk_tokens() const {
    if (options_.clock == nullptr) return LocalModel::kChunkTokens;
    const SteadyTime now = options_.clock->steady_now();
    if (under_way_.load() > options_.max_in_flight) crowded_until_.store((now + kCrowded).time_since_epoch().count());
    return now.time_since_epoch().count() < crowded_until_.load() ? LocalModel::kShortChunkTokens : LocalModel::kChunkTokens;
}

// Fills `chunk` with the pieces of the texts from `from` on, until the model has enough to do; returns the tokens.
std::size_t LocalEmbedder::take_chunk(const std::vector<std::string>& texts, std::size_t from,
                                      std::vector<LocalModel::Ids>& chunk) const {
    chunk.clear();
    std::size_t tokens = 0;
    const std::size_t enough = chunk_tokens();
    while (from < texts.size() && tokens < enough && chunk.size() < enough) {
        chunk.push_back(model_->tokenize(texts[from++]));
        tokens += chunk.back().size();
    }
    return tokens;
}

void LocalEmbedder::run_chunk(const std::vector<LocalModel::Ids>& chunk, Embeddings& answer) const {
    std::vector<float> rows(chunk.size() * LocalModel::kDimensions);
    model_->forward(chunk, rows.data());
    for (std::size_t i = 0; i < chunk.size(); ++i) {
        const float* row = rows.data() + i * LocalModel::kDimensions;
        double squares = 0;
        for (std::uint32_t d = 0; d < dimensions_; ++d) squares += static_cast<double>(row[d]) * row[d];
        const float factor = dimensions_ == LocalModel::kDimensions ? 1.0F : static_cast<float>(1.0 / std::sqrt(squares));
        for (std::uint32_t d = 0; d < dimensions_; ++d) answer.values.push_back(row[d] * factor);
    }
}

// Goes to the end of the executor's queue after every chunk, so that a lone query does not wait for somebody's whole batch.
asio::awaitable<void> LocalEmbedder::compute(const std::vector<std::string>& texts, const Context& context,
                                             Result<Embeddings>& out) const {
    Embeddings answer{.dimensions = dimensions_, .values = {}, .tokens = 0, .model = std::string(LocalModel::kName)};
    answer.values.reserve(texts.size() * dimensions_);
    const Counted counted(under_way_);
    std::vector<LocalModel::Ids> chunk;
    for (std::size_t done = 0; done < texts.size(); done += chunk.size()) {
        if (done > 0) co_await asio::post(asio::use_awaitable);
        if (Status s = may_go_on(context, options_.clock); !s) {
            out = s.error();
            co_return;
        }
        answer.tokens += take_chunk(texts, done, chunk);
        run_chunk(chunk, answer);
    }
    Status valid = validate_embeddings(answer, texts.size(), dimensions_);
    out = valid ? Result<Embeddings>(std::move(answer)) : Result<Embeddings>(std::move(valid).error());
}

}  // namespace

Result<std::shared_ptr<const LocalModel>> load_local_model(const std::string& model_dir, InstructionSet instructions) {
    const Kernels* best = instructions == InstructionSet::best ? avx2_kernels() : nullptr;
    return LocalModel::load(model_dir, best != nullptr ? *best : portable_kernels());
}

Result<std::unique_ptr<Embedder>> make_local_embedder(std::shared_ptr<const LocalModel> model, std::uint32_t dimensions,
                                                      const InProcessOptions& options) {
    if (dimensions < 1 || dimensions > LocalModel::kDimensions) {
        return invalid(
            fmt::format("the built-in model \"{}\" gives 1 to {} dimensions, not {}; declare {} (the whole vector) or fewer",
                        LocalModel::kName, LocalModel::kDimensions, dimensions, LocalModel::kDimensions));
    }
    return std::unique_ptr<Embedder>(std::make_unique<LocalEmbedder>(std::move(model), dimensions, options));
}

}  // namespace homeostat
