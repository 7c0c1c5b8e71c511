#include "store/pg/flight.hpp"

#include <functional>
#include <unordered_map>
#include <utility>

#include "store/pg/pg_error.hpp"
#include "store/pg/query_summary.hpp"

namespace homeostat {

namespace {

constexpr std::size_t kMostSummaries = 1'024;

// The same texts come again and again.
std::string summary_of(std::string_view sql) {
    thread_local std::unordered_map<std::size_t, std::string> known;
    const std::size_t key = std::hash<std::string_view>{}(sql);
    if (const auto found = known.find(key); found != known.end()) return found->second;
    if (known.size() >= kMostSummaries) known.clear();
    return known.emplace(key, query_summary(sql)).first->second;
}

// One span a round trip, by OpenTelemetry's conventions for databases; empty where whoever asks is not traced. The text of
// statements is not in it, and values never are.
Span span_of(const std::vector<std::string_view>& statements) {
    Span span = SpanScope::start("postgresql", SpanKind::client);
    if (!span.context().valid()) return span;
    std::string summary;
    std::int64_t operations = 0;
    for (const std::string_view sql : statements) {
        const std::string one = summary_of(sql);
        // What comes with every transaction is no operation of its own.
        if (one.empty() || one == "BEGIN" || one == "SET" || one == "COMMIT" || one == "SELECT") continue;
        ++operations;
        if (summary.size() + one.size() + 2 <= kMostSummary) summary += (summary.empty() ? "" : "; ") + one;
    }
    if (summary.empty() && !statements.empty()) summary = summary_of(statements.back());
    span.call_it(summary);
    span.set("db.system.name", std::string("postgresql"));
    span.set("db.query.summary", std::move(summary));
    if (operations > 1) span.set("db.operation.batch.size", operations);
    return span;
}

Span span_of(const std::vector<Flight::Call>& calls) {
    if (!SpanScope::here().valid()) return {};
    std::vector<std::string_view> statements;
    statements.reserve(calls.size());
    for (const Flight::Call& call : calls) statements.emplace_back(call.statement.sql);
    return span_of(statements);
}

}  // namespace

bool Flight::usable() const noexcept { return connection_.usable() && !libpq::in_pipeline(connection_.borrow()); }

bool Flight::alive() noexcept { return usable() && connection_.take_in(); }

int Flight::server_pid() const noexcept { return libpq::backend_pid(connection_.borrow()); }

void Flight::check_sent(bool sent, bool commits) const {
    if (!sent) throw StoreFailure(from_broken_link(libpq::error(connection_.borrow()), commits));
}

void Flight::fail(const pg_result* answer, bool commits) const {
    const std::string_view state = libpq::sqlstate(answer);
    const bool broken = !libpq::open(connection_.borrow());
    // A statement that was cut off by a dying server carries no SQLSTATE.
    if (state.empty() || (broken && commits)) {
        throw StoreFailure(from_broken_link(libpq::error(connection_.borrow()), commits));
    }
    Error error = from_sqlstate(state, libpq::message(answer), libpq::raised(answer));
    // Two made the same object at the same time: the other one's is there now.
    if (state == "23505" && libpq::of_catalog(answer)) error.cls = ErrorClass::db_transient;
    throw StoreFailure(std::move(error));
}

void Flight::send_call(const Call& call, std::size_t index, bool commits, std::vector<Sent>& sent) {
    const Statement& s = call.statement;
    pg_conn* const to = connection_.borrow();
    StatementCache::Advice advice;
    if (prepare_ && !s.name.empty()) advice = statements_.use(s.name, s.sql);
    for (const std::string& name : advice.forget) {
        check_sent(libpq::send(to, "DEALLOCATE " + quote_name(name), {}), commits);
        sent.push_back({Part::forget, index});
    }
    if (advice.use == StatementCache::Use::prepare) {
        check_sent(libpq::send_prepare(to, s.name, s.sql), commits);
        sent.push_back({Part::prepare, index});
    }
    const bool as_text = advice.use == StatementCache::Use::as_text;
    check_sent(as_text ? libpq::send(to, s.sql, call.params) : libpq::send_prepared(to, s.name, call.params), commits);
    sent.push_back({advice.use == StatementCache::Use::prepared ? Part::again : Part::call, index});
}

std::vector<Flight::Sent> Flight::send(const std::vector<Call>& calls, bool commits) {
    std::vector<Sent> sent;
    check_sent(libpq::enter_pipeline(connection_.borrow()), false);
    for (std::size_t i = 0; i < calls.size(); ++i) send_call(calls[i], i, commits, sent);
    check_sent(libpq::sync(connection_.borrow()), commits);
    return sent;
}

void Flight::run(const std::vector<Call>& calls, bool commits, std::vector<Answer>& answers) {
    launch(calls, commits);
    land(answers);
}

void Flight::launch(std::vector<Call> calls, bool commits) {
    settle();
    if (!usable()) fail(nullptr, false);
    tidy();
    Span span = span_of(calls);
    std::vector<Sent> sent = send(calls, commits);
    under_way_ = UnderWay{std::move(calls), std::move(sent), commits, std::move(span)};
    // What the socket does not take now goes out as it is waited for, and land() says what is broken.
    libpq::flush(connection_.borrow());
}

void Flight::land(std::vector<Answer>& answers) {
    UnderWay under_way = *std::exchange(under_way_, std::nullopt);
    try {
        take_answers(under_way, answers);
    } catch (const StoreFailure& failure) {
        under_way.span.fail(failure.error);
        throw;
    }
}

void Flight::take_answers(const UnderWay& under_way, std::vector<Answer>& answers) {
    const auto& [calls, sent, commits, span] = under_way;
    Answer failure;
    std::size_t failed = sent.size();
    for (std::size_t i = 0; i < sent.size(); ++i) {
        Answer answer = connection_.next(commits);
        if (!answer) fail(nullptr, commits);
        if (!libpq::open(connection_.borrow())) fail(answer.get(), commits);
        if (!libpq::good(answer.get()) && !failure) {
            failure = answer;
            failed = i;
        }
        if (!failure && (sent[i].part == Part::call || sent[i].part == Part::again)) answers.push_back(std::move(answer));
        while (Answer rest = connection_.next(commits)) {
        }
    }
    // Statements outside a transaction are committed here, which may fail as well.
    for (Answer end = connection_.next(commits); !libpq::is_sync(end.get()); end = connection_.next(commits)) {
        if (!end || !libpq::open(connection_.borrow())) fail(nullptr, commits);
        if (!failure) failure = end;
    }
    if (!libpq::exit_pipeline(connection_.borrow())) fail(nullptr, commits);
    if (failure) settle_failure(calls, sent, failed, failure.get(), commits);
}

Answer Flight::run(const Call& call) {
    std::vector<Answer> answers;
    run({call}, false, answers);
    return answers.back();
}

// What was to be prepared or forgotten after the failure was not.
void Flight::settle_failure(const std::vector<Call>& calls, const std::vector<Sent>& sent, std::size_t failed,
                            const pg_result* answer, bool commits) {
    for (std::size_t i = failed; i < sent.size(); ++i) {
        if (sent[i].part == Part::forget) confused_ = true;
        if (sent[i].part == Part::prepare) statements_.drop(calls[sent[i].call].statement.name);
    }
    const std::string_view state = libpq::sqlstate(answer);
    // "cached plan must not change result type": a table was altered since. The text is forgotten, so that the next use begins
    // anew; what is not supported at all fails then as what it is.
    if (state == "0A000" && failed < sent.size() && sent[failed].part == Part::again) {
        statements_.outdate(calls[sent[failed].call].statement.name);
        Error error = from_sqlstate(state, libpq::message(answer), libpq::raised(answer));
        error.cls = ErrorClass::db_transient;
        throw StoreFailure(std::move(error));
    }
    fail(answer, commits);
}

// Only outside a transaction: in one that has failed nothing can be put right.
void Flight::tidy() {
    if (!confused_ || !libpq::between_transactions(connection_.borrow())) return;
    run("DEALLOCATE ALL");
    statements_.clear();
    confused_ = false;
}

void Flight::dismiss(const std::string& sql) {
    settle();
    if (!usable()) return;
    check_sent(libpq::send_simple(connection_.borrow(), sql), false);
    dismissed_ = true;
    if (libpq::flush(connection_.borrow()) != libpq::Unsent::none) settle();
}

void Flight::settle() noexcept {
    if (!std::exchange(dismissed_, false)) return;
    try {
        while (connection_.next(false) && libpq::open(connection_.borrow())) {
        }
    } catch (const StoreFailure&) {  // NOLINT(bugprone-empty-catch)
        // The connection has been given up.
    }
}

Answer Flight::run(const std::string& sql) {
    settle();
    if (!usable()) fail(nullptr, false);
    const Span span = SpanScope::here().valid() ? span_of(std::vector<std::string_view>{sql}) : Span();
    check_sent(libpq::send_simple(connection_.borrow(), sql), false);
    Answer last;
    while (Answer answer = connection_.next(false)) {
        last = std::move(answer);
        if (!libpq::open(connection_.borrow())) break;
    }
    if (!last || !libpq::good(last.get())) fail(last.get(), false);
    return last;
}

int Flight::notifications(std::uint32_t timeout_ms, const std::function<void(std::string_view, std::string_view)>& f) {
    for (bool waited = false;; waited = true) {
        if (!connection_.take_in()) fail(nullptr, false);
        int n = 0;
        while (const std::optional<libpq::Notification> arrived = libpq::next_notification(connection_.borrow())) {
            f(arrived->channel, arrived->payload);
            ++n;
        }
        if (n > 0 || waited) return n;
        connection_.wait_for_input(std::chrono::milliseconds(timeout_ms));
    }
}

}  // namespace homeostat
