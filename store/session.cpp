#include "store/session.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <utility>

#include "store/wire.hpp"

namespace homeostat {

namespace {

std::string with_setting(std::string url, std::string_view key, std::string_view value) {
    if (url.find(fmt::format("{}=", key)) != std::string::npos) return url;
    const bool uri = url.starts_with("postgres://") || url.starts_with("postgresql://");
    if (!uri) return fmt::format("{}{}{}={}", url, url.empty() ? "" : " ", key, value);
    return fmt::format("{}{}{}={}", url, url.find('?') == std::string::npos ? "?" : "&", key, value);
}

// A dead peer must be noticed by us, not by a person: keepalives, and a bound on unacknowledged data.
std::string full_url(const ConnectOptions& o) {
    std::string url = o.url;
    url = with_setting(std::move(url), "keepalives_idle", "10");
    url = with_setting(std::move(url), "keepalives_interval", "5");
    url = with_setting(std::move(url), "keepalives_count", "3");
    url = with_setting(std::move(url), "tcp_user_timeout", "20000");
    url = with_setting(std::move(url), "target_session_attrs", "read-write");
    url = with_setting(std::move(url), "client_encoding", "UTF8");
    return with_setting(std::move(url), "application_name", o.application_name);
}

// Behind a pooler no default of ours counts when a transaction begins, so its level is said.
std::string_view begin_of(TxMode mode) {
    switch (mode) {
        case TxMode::write: return "BEGIN ISOLATION LEVEL READ COMMITTED";
        case TxMode::none: return "";
        case TxMode::read_only: return "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";
        case TxMode::read_snapshot: return "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    }
    return "BEGIN ISOLATION LEVEL READ COMMITTED";
}

// Everything that the text of a value depends on is the same in every session, whatever the environment (PGTZ, PGOPTIONS), the
// role or the database say: the same row has the same text, and so the same hash. A policy that would hide rows is an error
// (row_security): what is not seen must not be taken for gone. The search path is fixed, so that nothing in a user's schema can
// stand in for a function or operator of ours. No compiling of plans: a statement over many keys looks dear to the planner, and
// compiling it took a second where running it took five milliseconds.
constexpr std::array<std::pair<std::string_view, std::string_view>, 24> kPinned{{
    {"search_path", "'pg_catalog'"},
    {"statement_timeout", "$1"},
    {"lock_timeout", "$2"},
    {"idle_in_transaction_session_timeout", "$3"},
    {"client_connection_check_interval", "'1s'"},
    {"default_transaction_isolation", "'read committed'"},
    {"default_transaction_deferrable", "'off'"},
    {"TimeZone", "'UTC'"},
    {"timezone_abbreviations", "'Default'"},
    {"DateStyle", "'ISO, MDY'"},
    {"IntervalStyle", "'postgres'"},
    {"extra_float_digits", "'1'"},
    {"bytea_output", "'hex'"},
    {"lc_monetary", "'C'"},
    {"lc_numeric", "'C'"},
    {"lc_time", "'C'"},
    {"xmlbinary", "'base64'"},
    {"xmloption", "'content'"},
    {"array_nulls", "'on'"},
    {"quote_all_identifiers", "'off'"},
    {"standard_conforming_strings", "'on'"},
    {"transform_null_equals", "'off'"},
    {"row_security", "'off'"},
    {"jit", "'off'"},
}};

// Behind a pooler the server's session is not ours: it is given to others between our transactions. There what is pinned lasts
// for one transaction and is pinned anew in the next. $4 is the number by which the server introduced itself (0: it is known that
// it is not ours), so that the first statement does the one or the other by itself.
const std::string& pinning() {
    static const std::string sql = [] {
        std::string out =
            "SELECT pg_catalog.pg_backend_pid(), (SELECT (extract(epoch FROM a.backend_start) OPERATOR(pg_catalog.*) "
            "1000000.0)::pg_catalog.int8"
            " FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a)";
        for (const auto& [name, value] : kPinned) {
            out += fmt::format(
                ", pg_catalog.set_config('{}', {}, pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.<>) $4::pg_catalog.int4)",
                name, value);
        }
        return out;
    }();
    return sql;
}

Wire::Call pin(const ConnectOptions& o, int pid) {
    return {{"", pinning()}, Params::of(o.statement_timeout_ms, o.lock_timeout_ms, o.idle_timeout_ms, pid)};
}

template <class Number>
Number number_of(std::string_view text) {
    Number out{};
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (problem != std::errc{} || end != text.data() + text.size()) {
        throw StoreFailure(internal_error(fmt::format("the database answered \"{}\" where a number was expected", text)));
    }
    return out;
}

}  // namespace

Params& Params::add(double d) { return values_.emplace_back(fmt::format("{}", d)), *this; }

int Rows::size() const noexcept { return result_ ? PQntuples(result_.get()) : 0; }
bool Rows::null(int row, int column) const { return PQgetisnull(result_.get(), row, column) == 1; }

std::int64_t Rows::affected() const {
    const std::string_view n = result_ ? PQcmdTuples(const_cast<pg_result*>(result_.get())) : "";
    return n.empty() ? 0 : number_of<std::int64_t>(n);
}

std::string_view Rows::view(int row, int column) const {
    const char* value = PQgetvalue(result_.get(), row, column);
    if (value == nullptr) throw StoreFailure(internal_error(fmt::format("an answer has no row {}, column {}", row, column)));
    return {value, static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
}

std::optional<std::string> Rows::maybe(int row, int column) const {
    if (null(row, column)) return std::nullopt;
    return text(row, column);
}

std::int64_t Rows::i64(int row, int column) const { return number_of<std::int64_t>(view(row, column)); }

std::optional<std::int64_t> Rows::maybe_i64(int row, int column) const {
    if (null(row, column)) return std::nullopt;
    return i64(row, column);
}

double Rows::f64(int row, int column) const { return number_of<double>(view(row, column)); }

namespace {

LinkOptions link_of(const ConnectOptions& o) {
    using std::chrono::milliseconds;
    return {full_url(o), std::chrono::seconds(o.connect_timeout_s), milliseconds(std::max(100U, o.answer_timeout_ms)),
            milliseconds(o.statement_timeout_ms), o.abandon};
}

}  // namespace

struct Session::Impl {
    explicit Impl(const ConnectOptions& o) : options(o), wire(link_of(o), o.prepare) {}

    // Two at a time would be one inside the other.
    void expect_idle() const {
        if (busy) throw StoreFailure(internal_error("a session is used while a transaction of it is open"));
    }

    ConnectOptions options;
    Wire wire;
    bool busy = false;
    bool keeps_plans = false;
    bool pooled = false;  // what is set, prepared or listened for outlasts no transaction
    ServerSession server;
    std::map<std::string, std::function<void(std::string_view)>, std::less<>> listeners;
};

struct Transaction::Impl {
    Impl(Session::Impl& s, std::string_view b) : session(s), begin(b) { session.busy = true; }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    ~Impl() {
        session.busy = false;
        if (!begun || committed || !session.wire.usable()) return;
        try {
            session.wire.run("ROLLBACK");
        } catch (const StoreFailure&) {  // NOLINT(bugprone-empty-catch)
            // The link is broken: the server rolls back by itself.
        }
    }

    struct Waiting {
        Wire::Call call;
        std::function<void(const Rows&)> use;
        bool checks = false;  // before COMMIT may be sent
    };

    // What comes before the first statement: BEGIN, where there is one; behind a pooler the settings, for as long as it lasts.
    std::vector<Wire::Call> opening() const {
        std::vector<Wire::Call> calls;
        if (begun) return calls;
        if (!begin.empty()) calls.push_back({{"", std::string(begin)}, {}});
        if (session.pooled) calls.push_back(pin(session.options, 0));
        return calls;
    }

    // Everything that waits, and this, at once. Its answer, or that of the last.
    Answer flush(std::optional<Wire::Call> last, bool commits) {
        if (refused || committed) throw StoreFailure(internal_error("a transaction is used after its end"));
        // Without BEGIN what is sent together is one transaction.
        if (begin.empty() && waiting.empty() && !last) return {};
        std::vector<Wire::Call> calls = opening();
        const std::size_t first = calls.size();
        std::vector<Waiting> sent = std::exchange(waiting, {});
        for (Waiting& w : sent) calls.push_back(std::move(w.call));
        if (last) calls.push_back(*std::move(last));
        if (calls.empty()) return {};
        begun = begun || !begin.empty();
        std::vector<Answer> answers;
        try {
            session.wire.run(calls, commits, answers);
        } catch (const StoreFailure&) {
            // What a check says of an answer explains what failed after it.
            hear(sent, answers, first, true);
            throw;
        }
        committed = commits;
        hear(sent, answers, first, false);
        return answers.back();
    }

    void hear(const std::vector<Waiting>& sent, const std::vector<Answer>& answers, std::size_t first, bool only_checks) {
        for (std::size_t i = 0; i < sent.size() && first + i < answers.size(); ++i) {
            if (!sent[i].use || (only_checks && !sent[i].checks)) continue;
            refused = sent[i].checks;  // unless it returns
            sent[i].use(Rows(answers[first + i]));
            refused = false;
        }
    }

    Session::Impl& session;
    const std::string_view begin;  // "" where each statement is by itself
    bool begun = false;
    bool committed = false;
    bool refused = false;  // by a check
    std::vector<Waiting> waiting;
};

Transaction::Transaction(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Transaction::Transaction(Transaction&&) noexcept = default;
Transaction::~Transaction() = default;

Rows Transaction::exec(const Statement& statement, const Params& params) {
    return Rows(impl_->flush(Wire::Call{statement, params}, false));
}

Rows Transaction::exec(std::string_view sql) {
    if (!impl_->begun && impl_->waiting.empty() && !impl_->begin.empty() && !impl_->session.pooled) {
        impl_->begun = true;
        return Rows(impl_->session.wire.run(fmt::format("{}; {}", impl_->begin, sql)));
    }
    impl_->flush(std::nullopt, false);
    return Rows(impl_->session.wire.run(std::string(sql)));
}

void Transaction::later(Statement statement, Params params, std::function<void(const Rows&)> check) {
    const bool checks = check != nullptr;
    impl_->waiting.push_back({{std::move(statement), std::move(params)}, std::move(check), checks});
}

void Transaction::at_commit(Statement statement, Params params, std::function<void(const Rows&)> use) {
    impl_->waiting.push_back({{std::move(statement), std::move(params)}, std::move(use), false});
}

void Transaction::commit() {
    if (std::any_of(impl_->waiting.begin(), impl_->waiting.end(), [](const Impl::Waiting& w) { return w.checks; })) {
        impl_->flush(std::nullopt, false);
    }
    if (impl_->begin.empty()) {
        impl_->flush(std::nullopt, false);
        return;
    }
    if (!impl_->begun && impl_->waiting.empty()) return;  // nothing was done
    const Answer answer = impl_->flush(Wire::Call{{"", "COMMIT"}, {}}, true);
    // What the server answers where a statement had failed before.
    if (std::string_view(PQcmdStatus(const_cast<pg_result*>(answer.get()))) != "COMMIT") {
        throw StoreFailure(internal_error("a transaction was committed in which a statement had failed"));
    }
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::connect(const ConnectOptions& options) {
    return guarded([&] {
        auto impl = std::make_unique<Impl>(options);
        const Rows rows(impl->wire.run(pin(options, impl->wire.server_pid())));
        const auto pid = static_cast<int>(rows.i64(0, 0));
        // A pooler gives numbers of its own.
        impl->pooled = pid != impl->wire.server_pid();
        impl->wire.knows_server(!impl->pooled);
        if (!impl->pooled) impl->server = {pid, rows.i64(0, 1)};
        return std::unique_ptr<Session>(new Session(std::move(impl)));
    });
}

Transaction Session::begin(TxMode mode) {
    impl_->expect_idle();
    return Transaction(std::make_unique<Transaction::Impl>(*impl_, begin_of(mode)));
}

Rows Session::exec(const Statement& statement, const Params& params) {
    impl_->expect_idle();
    if (!impl_->pooled) return Rows(impl_->wire.run({statement, params}));
    std::vector<Answer> answers;
    impl_->wire.run({pin(impl_->options, 0), {statement, params}}, false, answers);
    return Rows(answers.back());
}

Rows Session::exec(std::string_view sql) {
    impl_->expect_idle();
    return Rows(impl_->wire.run(std::string(sql)));
}

void Session::keep_plans(bool keep) {
    if (keep == impl_->keeps_plans || !impl_->options.prepare || impl_->pooled) return;
    exec(keep ? "SET plan_cache_mode = force_generic_plan" : "SET plan_cache_mode = auto");
    impl_->keeps_plans = keep;
}

bool Session::usable() const noexcept { return impl_->wire.usable(); }

bool Session::alive() noexcept { return impl_->wire.alive(); }

const ServerSession& Session::server() const noexcept { return impl_->server; }

void Session::listen(std::string_view channel, std::function<void(std::string_view)> on_notify) {
    // Behind a pooler it would be somebody else's session that listens.
    if (!impl_->pooled) exec("LISTEN " + quote_name(channel));
    impl_->listeners[std::string(channel)] = std::move(on_notify);
}

bool Session::await_notification(std::uint32_t timeout_ms) {
    const auto tell = [&](std::string_view channel, std::string_view payload) {
        if (const auto found = impl_->listeners.find(channel); found != impl_->listeners.end()) found->second(payload);
    };
    return impl_->wire.notifications(timeout_ms, tell) > 0;
}

std::string Session::quote_name(std::string_view identifier) const { return impl_->wire.quote_name(identifier); }

}  // namespace homeostat
