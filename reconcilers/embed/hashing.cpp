#include "reconcilers/embed/hashing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cmath>

#include "reconcilers/embed/inprocess.hpp"

namespace homeostat {
namespace {

namespace asio = boost::asio;

// The lower-case form of a byte of a word, 0 for a byte between words.
constexpr std::array<std::uint8_t, 256> kLetters = [] {
    std::array<std::uint8_t, 256> table{};
    for (unsigned c = 0; c < 256; ++c) {
        const bool upper = c >= 'A' && c <= 'Z';
        const bool letter = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c >= 0x80;
        table[c] = static_cast<std::uint8_t>(upper ? c + ('a' - 'A') : letter ? c : 0);
    }
    return table;
}();

constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15;  // odd, and its bits look random
constexpr std::uint64_t kPairs = 0x8EBC6AF09C88C6E3;       // keeps pairs of words apart from words
constexpr std::uint32_t kEdge = 1;                         // a byte no text part has: begin and end of a word
constexpr float kWordWeight = 3;                           // beside about as many pieces as it has letters
constexpr float kPairWeight = 1;
constexpr float kPieceWeight = 1;

std::uint64_t whole_text(std::string_view text) {
    std::uint64_t hash = text.size() + 1;
    for (const char c : text) hash = (hash ^ static_cast<std::uint8_t>(c)) * kMultiplier;
    return hash;
}

}  // namespace

inline void FeatureHasher::add(std::uint64_t feature, float weight, float* row) const {
    std::uint64_t h = feature * kMultiplier;
    h = (h ^ (h >> 32U)) * kMultiplier;
    // The upper half times the width, shifted down, is an even choice among the dimensions without a division.
    const std::uint64_t index = ((h >> 32U) * dimensions_) >> 32U;
    row[index] += (h & 0x10000U) != 0 ? weight : -weight;
}

void FeatureHasher::add_words(std::string_view text, float* row) const {
    std::uint64_t word = 0;
    std::uint64_t previous = 0;
    std::uint32_t piece = kEdge;  // the last bytes of the word, the newest lowest
    const auto end_word = [&] {
        add((piece << 8U | kEdge) & 0xFFFFFFU, kPieceWeight, row);
        add(word, kWordWeight, row);
        if (previous != 0) add((previous ^ kPairs) * kMultiplier + word, kPairWeight, row);
        previous = word;
        word = 0;
        piece = kEdge;
    };
    for (const char c : text) {
        const std::uint8_t letter = kLetters[static_cast<std::uint8_t>(c)];
        if (letter == 0) {
            if (word != 0) end_word();
            continue;
        }
        piece = piece << 8U | letter;
        if (piece > 0xFFFFU) add(piece & 0xFFFFFFU, kPieceWeight, row);
        word = (word + letter) * kMultiplier;
    }
    if (word != 0) end_word();
}

void FeatureHasher::embed(std::string_view text, float* row) const {
    std::fill_n(row, dimensions_, 0.0F);
    add_words(text, row);
    double squares = 0;
    for (std::uint32_t d = 0; d < dimensions_; ++d) squares += static_cast<double>(row[d]) * row[d];
    if (squares <= 0) {
        add(whole_text(text), 1.0F, row);
        return;
    }
    const auto factor = static_cast<float>(1.0 / std::sqrt(squares));
    for (std::uint32_t d = 0; d < dimensions_; ++d) row[d] *= factor;
}

namespace {

class HashingEmbedder final : public Embedder {
public:
    HashingEmbedder(std::uint32_t dimensions, InProcessOptions options)
        : hasher_(dimensions), dimensions_(dimensions), options_(std::move(options)) {}

    asio::awaitable<Result<Embeddings>> embed(const std::vector<std::string>& texts, TextRole /*both read alike*/,
                                              const Context& context) override {
        Result<Embeddings> answer = Embeddings{};
        co_await asio::co_spawn(options_.cpu, compute_into(answer, texts, context), asio::use_awaitable);
        co_return answer;
    }
    std::uint32_t dimensions() const noexcept override { return dimensions_; }
    EmbedderLimits limits() const noexcept override {
        return {.max_batch = 1000, .max_text_tokens = 0, .max_in_flight = options_.max_in_flight, .price_per_million_tokens = 0};
    }

private:
    asio::awaitable<void> compute_into(Result<Embeddings>& answer, const std::vector<std::string>& texts,
                                       const Context& context) const {
        answer = compute(texts, context);
        co_return;
    }
    Result<Embeddings> compute(const std::vector<std::string>& texts, const Context& context) const {
        constexpr std::size_t kTextsBetweenLooks = 64;
        Embeddings answer{.dimensions = dimensions_, .values = {}, .tokens = 0, .model = std::string(FeatureHasher::kName)};
        answer.values.resize(texts.size() * dimensions_);
        for (std::size_t i = 0; i < texts.size(); ++i) {
            if (i % kTextsBetweenLooks == 0) {
                if (Status s = may_go_on(context, options_.clock); !s) return s.error();
            }
            hasher_.embed(texts[i], answer.values.data() + i * dimensions_);
            answer.tokens += (texts[i].size() + 3) / 4;  // nobody bills them; a rough figure for reports
        }
        if (Status s = validate_embeddings(answer, texts.size(), dimensions_); !s) return s.error();
        return answer;
    }

    FeatureHasher hasher_;
    std::uint32_t dimensions_;
    InProcessOptions options_;
};

}  // namespace

Result<std::unique_ptr<Embedder>> make_hashing_embedder(std::uint32_t dimensions, const InProcessOptions& options) {
    if (dimensions < 1 || dimensions > FeatureHasher::kMaxDimensions) {
        return invalid(fmt::format("the hashing embedder gives 1 to {} dimensions, not {}; declare a width in between",
                                   FeatureHasher::kMaxDimensions, dimensions));
    }
    return std::unique_ptr<Embedder>(std::make_unique<HashingEmbedder>(dimensions, options));
}

}  // namespace homeostat
