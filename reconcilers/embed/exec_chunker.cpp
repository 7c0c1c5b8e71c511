#include "reconcilers/embed/exec_chunker.hpp"

#include <fmt/core.h>
#include <simdjson.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <optional>
#include <set>

#include "core/outside_text.hpp"
#include "reconcilers/embed/exec_pool.hpp"
#include "reconcilers/embed/exec_start.hpp"

namespace homeostat {

namespace {

namespace asio = boost::asio;

// Of one request.
constexpr std::size_t kMostTexts = 64;
constexpr std::size_t kMostBytes = 1U << 20U;
constexpr int kCondemnedInRow = 3;
constexpr std::size_t kRemembered = 1'000;

const std::vector<double> kSeconds{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60};
constexpr std::string_view kRequests = "homeostat_chunker_requests_total";
constexpr std::string_view kRequestsHelp = "Requests to chunker programs, by outcome.";
constexpr std::string_view kTook = "homeostat_chunker_duration_seconds";
constexpr std::string_view kTookHelp = "Duration of requests to chunker programs.";

using Answer = std::vector<CutText>;

ExecQuestion question_of(const CutRules& rules, std::vector<std::string_view> texts, const std::shared_ptr<Answer>& into) {
    std::string tail = chunk_request_tail(rules, texts);
    const std::size_t most = chunk_answer_limit(texts);
    return {.tail = std::move(tail), .most = most, .read = [texts = std::move(texts), into](std::string line, std::uint64_t id) {
                Result<Answer> answer = parse_chunk_answer(std::move(line), id, texts);
                if (!answer) return Status(std::move(answer).error());
                *into = *std::move(answer);
                return Status();
            }};
}

// What is refused there refuses everything.
ExecQuestion probe() {
    ExecQuestion question = question_of({}, {kHarmlessText}, std::make_shared<Answer>());
    question.read = [](std::string line, std::uint64_t id) -> Status {
        Result<Answer> answer = parse_chunk_answer(std::move(line), id, {kHarmlessText});
        if (!answer) return std::move(answer).error();
        if (answer->front().refused) return *answer->front().refused;
        return {};
    };
    return question;
}

asio::awaitable<std::optional<Status>> ask_pool(std::shared_ptr<ExecPool> pool, ExecQuestion question, Context context) {
    co_return co_await pool->ask(std::move(question), context.deadline, context.stop);
}

asio::awaitable<std::optional<Status>> prove_pool(std::shared_ptr<ExecPool> pool, Context context) {
    co_return co_await pool->prove(context.deadline, context.stop);
}

// Code of what failed before the texts were sent.
constexpr const char* kUnasked = "unasked";

// The program's fault, or that of a text, as against what it declares and what is refused here.
bool is_fault(const Error& e) {
    const bool declared = e.code == to_string(e.cls);
    return !declared && e.code != kUnasked &&
           (e.cls == ErrorClass::transient || e.cls == ErrorClass::bad_answer || e.cls == ErrorClass::timeout);
}

bool refuses_text(const Error& e) { return e.cls == ErrorClass::content || e.cls == ErrorClass::too_large; }

Error as_refusal(Error e) {
    e.cls = ErrorClass::content;
    e.origin = Origin::user;
    e.retry_after.reset();
    return e;
}

}  // namespace

struct ExecChunker::Order {
    const Texts& texts;
    const CutRules rules;
    const Context context;
    Answer out{};
    std::set<std::size_t> told{};  // hashes
};

Result<std::shared_ptr<ExecChunker>> ExecChunker::make(const ChunkerProgram& program, const asio::any_io_executor& executor,
                                                       const Clock& clock, Telemetry telemetry, const ExecOptions& options) {
    ProviderSpec spec;
    spec.name = program.name;
    spec.kind = "exec";
    spec.command = program.command;
    spec.timeout = program.timeout;
    spec.memory_limit_mb = program.memory_mb;
    spec.max_in_flight = program.copies;
    Result<ExecPoolSettings> settings = exec_pool_settings(spec, options);
    if (!settings) return settings.error().with_prefix(fmt::format("chunker \"program:{}\"", program.name));
    settings->kind = "chunker";
    settings->probe = probe();
    auto pool = std::make_shared<ExecPool>(*std::move(settings), executor, clock);
    return std::shared_ptr<ExecChunker>(new ExecChunker(program, std::move(pool), clock, telemetry));
}

ExecChunker::ExecChunker(const ChunkerProgram& program, std::shared_ptr<ExecPool> pool, const Clock& clock, Telemetry telemetry)
    : name_(program.name), pool_(std::move(pool)), clock_(clock), telemetry_(telemetry) {}

ExecChunker::~ExecChunker() { pool_->close(); }

asio::awaitable<Result<Answer>> ExecChunker::cut(const Texts& texts, CutRules rules, Context context) {
    Order order{.texts = texts, .rules = std::move(rules), .context = std::move(context)};
    order.out.resize(texts.size());
    std::vector<std::size_t> group;
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const std::size_t hash = std::hash<std::string_view>{}(texts[i]);
        if (!simdjson::validate_utf8(texts[i])) {
            order.out[i].refused = Error{.cls = ErrorClass::content,
                                         .message = "the text is not UTF-8, so that no offset into it could be told to a program",
                                         .origin = Origin::user};
            continue;
        }
        std::optional<Error> remembered;
        {
            const Lock lock(mutex_);
            if (const auto it = condemned_.find(hash); it != condemned_.end()) remembered = it->second;
        }
        if (remembered) {
            order.out[i].refused = std::move(remembered);
            order.told.insert(hash);
            continue;
        }
        if (!group.empty() && (group.size() == kMostTexts || bytes + texts[i].size() > kMostBytes)) {
            if (Status done = co_await cut_group(order, group); !done) co_return told(std::move(done).error());
            group.clear();
            bytes = 0;
        }
        group.push_back(i);
        bytes += texts[i].size();
    }
    if (!group.empty()) {
        if (Status done = co_await cut_group(order, group); !done) co_return told(std::move(done).error());
    }
    for (CutText& text : order.out) {
        if (text.refused) text.refused = told(*std::move(text.refused));
    }
    const Lock lock(mutex_);
    for (const std::size_t hash : order.told) condemned_.erase(hash);
    co_return std::move(order.out);
}

asio::awaitable<Status> ExecChunker::cut_group(Order& order, const std::vector<std::size_t>& group) {
    Result<Answer> answer = co_await ask(order, group);
    if (answer) {
        for (std::size_t i = 0; i < group.size(); ++i) order.out[group[i]] = std::move((*answer)[i]);
        co_return Status{};
    }
    const Error failed = answer.error();
    if (!is_fault(failed) && !refuses_text(failed)) co_return failed;
    const bool alone = group.size() == 1;
    for (const std::size_t text : group) {
        Status before;
        if (alone) before = failed;
        if (Status done = co_await cut_alone(order, text, std::move(before)); !done) co_return done;
    }
    co_return Status{};
}

// `failed`: how it went already, where it was asked for alone.
asio::awaitable<Status> ExecChunker::cut_alone(Order& order, std::size_t text, Status failed) {
    const std::vector<std::size_t> group{text};
    for (int faults = 0;;) {
        if (failed) {
            Result<Answer> answer = co_await ask(order, group);
            if (answer) {
                order.out[text] = std::move(answer->front());
                co_return Status{};
            }
            failed = std::move(answer).error();
        }
        const Error e = failed.error();
        if (refuses_text(e)) {
            order.out[text].refused = as_refusal(e);
            co_return Status{};
        }
        if (!is_fault(e)) co_return e;
        // Who fails at a harmless text as well is at fault himself.
        if (Status proof = co_await prove(order); !proof) co_return proof;
        if (++faults == 2) co_return condemn(order, text, e);
        failed = {};
    }
}

Status ExecChunker::condemn(Order& order, std::size_t text, const Error& last) {
    Error refused = as_refusal(last);
    refused.message = "the program fails at this document alone, twice, and at no harmless text: " + last.message;
    const std::size_t hash = std::hash<std::string_view>{}(order.texts[text]);
    bool too_many = false;
    {
        const Lock lock(mutex_);
        if (condemned_.size() < kRemembered) condemned_.insert_or_assign(hash, refused);
        too_many = ++condemned_in_row_ >= kCondemnedInRow;
        if (too_many) condemned_in_row_ = 0;
    }
    order.told.insert(hash);
    order.out[text].refused = std::move(refused);
    if (!too_many) return {};
    asio::post(pool_->strand(), [pool = pool_, last] { pool->distrust(last); });
    return Error{
        .cls = ErrorClass::unavailable,
        .message = fmt::format("the program failed at {} documents in a row, though at no harmless text, and is quarantined; "
                               "the last: {}",
                               kCondemnedInRow, last.message),
        .origin = Origin::theirs};
}

asio::awaitable<Result<Answer>> ExecChunker::ask(const Order& order, const std::vector<std::size_t>& group) {
    Texts texts;
    for (const std::size_t i : group) texts.push_back(order.texts[i]);
    const auto into = std::make_shared<Answer>();
    ExecQuestion question = question_of(order.rules, std::move(texts), into);
    const auto sent = std::make_shared<bool>(false);
    question.begins = [sent] { *sent = true; };
    Span span = telemetry_.tracer.start("ask chunker " + name_, SpanKind::client, order.context.span);
    const SteadyTime start = clock_.steady_now();
    // The caller's cancellation slot is shut out: the stop token is the way to give up a request.
    auto asked = co_await asio::co_spawn(pool_->strand(), ask_pool(pool_, std::move(question), order.context),
                                         asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable));
    const Status& done = *asked;
    note(done, clock_.steady_now() - start);
    if (done) co_return std::move(*into);
    Error error = done.error();
    if (!*sent) error.code = kUnasked;
    span.fail(error);
    co_return error;
}

asio::awaitable<Status> ExecChunker::prove(const Order& order) {
    const SteadyTime start = clock_.steady_now();
    auto proved = co_await asio::co_spawn(pool_->strand(), prove_pool(pool_, order.context),
                                          asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable));
    Status proof = *std::move(proved);
    if (!proof) note(proof, clock_.steady_now() - start);
    co_return proof;
}

void ExecChunker::note(const Status& answer, Duration took) {
    const double seconds = std::chrono::duration<double>(took).count();
    const std::string outcome(answer ? "ok" : to_string(answer.error().cls));
    telemetry_.metrics.counter(kRequests, kRequestsHelp, {{"chunker", name_}, {"outcome", outcome}}).add();
    telemetry_.metrics.histogram(kTook, kTookHelp, kSeconds, {{"chunker", name_}}).observe(seconds);
    const Lock lock(mutex_);
    ++requests_;
    if (answer) {
        seconds_ += seconds;
    } else {
        ++failures_;
    }
    if (answer || refuses_text(answer.error())) condemned_in_row_ = 0;  // it answers documents
}

ChunkerFigures ExecChunker::figures() const {
    ChunkerFigures f;
    f.quarantine = pool_->quarantine_reason();
    const Lock lock(mutex_);
    f.requests = requests_;
    f.failures = failures_;
    if (requests_ > failures_) f.mean_seconds = seconds_ / static_cast<double>(requests_ - failures_);
    return f;
}

Error ExecChunker::told(Error e) const {
    e.message = outside_text(e.message);
    return e.with_prefix(fmt::format("chunker \"program:{}\"", name_));
}

}  // namespace homeostat
