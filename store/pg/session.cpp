#include "store/pg/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "store/pg/flight.hpp"
#include "store/pg/pg_error.hpp"
#include "store/pg/session_settings.hpp"

namespace homeostat {

struct Session::Impl {
    explicit Impl(const ConnectOptions& o) : options(o), flight(connection_of(o), o.prepare) {}

    // Two at a time would be one inside the other.
    void expect_idle() const {
        if (busy) throw StoreFailure(internal_error("a session is used while a transaction of it is open"));
    }

    ConnectOptions options;
    Flight flight;
    bool busy = false;
    bool keeps_plans = false;
    bool pooled = false;  // what is set, prepared or listened for outlasts no transaction
    ServerSession server;
    std::map<std::string, std::function<void(std::string_view)>, std::less<>> listeners;
    std::map<int, std::unique_ptr<Session>> readers;  // by their place, from the first time on
};

struct Transaction::Impl {
    Impl(Session::Impl& s, TxMode m) : session(s), mode(m), begin(begin_of(m)) { session.busy = true; }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    ~Impl() {
        session.busy = false;
        if (session.flight.launched()) drop_answer();
        if (!begun || committed || !session.flight.usable()) return;
        try {
            // Locks that outlast a transaction, and are seen by whoever waits for one, are the only thing that code without
            // rights can leave behind in the server. Nobody waits for that: whatever is asked next is looked at after it.
            if (session.options.reader) {
                session.flight.dismiss("ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()");
            } else {
                session.flight.run("ROLLBACK");
            }
        } catch (const StoreFailure&) {  // NOLINT(bugprone-empty-catch)
            // The link is broken: the server rolls back by itself.
        }
    }

    struct Waiting {
        Flight::Call call;
        std::function<void(const Rows&)> use;
        bool checks = false;  // before COMMIT may be sent
    };

    struct Asked {
        std::vector<Waiting> waiting;
        std::size_t first = 0;  // of its answers
        bool commits = false;
    };

    // What comes before the first statement: BEGIN, where there is one; behind a pooler the settings, for as long as it lasts. Of
    // the reader before each that follows another: what that ran may have set what it likes. Before the first nothing was run:
    // what an earlier transaction set was undone when it was rolled back, as every one of a reader is.
    std::vector<Flight::Call> opening() const {
        std::vector<Flight::Call> calls;
        if (!begun && !begin.empty()) calls.push_back({{"", std::string(begin)}, {}});
        if (!begun && !snapshot.empty()) calls.push_back({{"", "SET TRANSACTION SNAPSHOT '" + snapshot + "'"}, {}});
        if (begun ? session.options.reader : session.pooled) calls.push_back(pin_settings(session.options, 0));
        for (const std::string& sql : each) calls.push_back({{"", sql}, {}});
        return calls;
    }

    // Everything that waits, and this, at once. Its answer, or that of the last.
    Answer flush(std::optional<Flight::Call> last, bool commits) {
        if (!launch(std::move(last), commits)) return {};
        return land();
    }

    // The first half of it; false where there is nothing to be sent.
    bool launch(std::optional<Flight::Call> last, bool commits) {
        if (refused || committed) throw StoreFailure(internal_error("a transaction is used after its end"));
        if (session.flight.launched()) throw StoreFailure(internal_error("a transaction is used before it has answered"));
        // Without BEGIN what is sent together is one transaction.
        if (begin.empty() && waiting.empty() && !last) return false;
        std::vector<Flight::Call> calls = opening();
        asked = {.waiting = std::exchange(waiting, {}), .first = calls.size(), .commits = commits};
        for (Waiting& w : asked.waiting) calls.push_back(std::move(w.call));
        if (last) calls.push_back(*std::move(last));
        if (calls.empty()) return false;
        begun = begun || !begin.empty();
        session.flight.launch(std::move(calls), commits);
        return true;
    }

    Answer land() {
        const Asked of = std::exchange(asked, {});
        std::vector<Answer> answers;
        try {
            session.flight.land(answers);
        } catch (const StoreFailure&) {
            // What a check says of an answer explains what failed after it.
            hear(of.waiting, answers, of.first, true);
            throw;
        }
        committed = of.commits;
        hear(of.waiting, answers, of.first, false);
        return answers.back();
    }

    // Of who went away before it came.
    void drop_answer() noexcept {
        try {
            std::vector<Answer> answers;
            session.flight.land(answers);
        } catch (const StoreFailure&) {  // NOLINT(bugprone-empty-catch)
            // What it failed with is of no interest; whether the connection has outlived it, usable() says.
        }
    }

    // Of the reader, what fails is the source's, as long as the link holds; or it was cut from here, as the source held it.
    template <class F>
    Rows told(F&& f) const {
        try {
            return f();
        } catch (const StoreFailure& failure) {
            if (!session.options.reader || (!session.flight.usable() && failure.error.code != kTookTooLong)) throw;
            throw StoreFailure(of_reader(failure.error));
        }
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
    const TxMode mode;
    const std::string_view begin;  // "" where each statement is by itself
    bool begun = false;
    bool committed = false;
    bool refused = false;  // by a check
    std::vector<Waiting> waiting;
    Asked asked;
    std::string snapshot;  // that is taken over
    std::vector<std::string> each;  // before each statement
    std::map<int, std::unique_ptr<Transaction>> apart;  // by the place of who reads
};

Transaction::Transaction(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Transaction::Transaction(Transaction&&) noexcept = default;
Transaction::~Transaction() = default;

Rows Transaction::exec(const Statement& statement, const Params& params) {
    return impl_->told([&] { return Rows(impl_->flush(Flight::Call{statement, params}, false)); });
}

void Transaction::ask(const Statement& statement, const Params& params) {
    impl_->told([&] {
        impl_->launch(Flight::Call{statement, params}, false);
        return Rows();
    });
}

Rows Transaction::answer() {
    return impl_->told([&] { return Rows(impl_->land()); });
}

Rows Transaction::exec(std::string_view sql) {
    if (impl_->session.options.reader) {
        // As it is: savepoints, which are gone back to when nothing else may be done, and what they enclose.
        return impl_->told([&] {
            if (!impl_->begun) impl_->flush(std::nullopt, false);
            return Rows(impl_->session.flight.run(std::string(sql)));
        });
    }
    if (!impl_->begun && impl_->waiting.empty() && !impl_->begin.empty() && !impl_->session.pooled) {
        impl_->begun = true;
        return Rows(impl_->session.flight.run(fmt::format("{}; {}", impl_->begin, sql)));
    }
    impl_->flush(std::nullopt, false);
    return Rows(impl_->session.flight.run(std::string(sql)));
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
    const Answer answer = impl_->flush(Flight::Call{{"", "COMMIT"}, {}}, true);
    // What the server answers where a statement had failed before.
    if (libpq::command(answer.get()) != "COMMIT") {
        throw StoreFailure(internal_error("a transaction was committed in which a statement had failed"));
    }
}

const ConnectOptions& Transaction::options() const noexcept { return impl_->session.options; }

void Transaction::before_each(std::string sql) { impl_->each.push_back(std::move(sql)); }

Transaction& Transaction::source(SourceReader reader) {
    if (!reader.apart()) return *this;
    std::unique_ptr<Transaction>& reading = impl_->apart[reader.place];
    if (reading) return *reading;
    Session::Impl& session = impl_->session;
    std::unique_ptr<Session>& login = session.readers[reader.place];
    if (login) login->impl_->flight.settle();
    if (!login || !login->usable()) login = connect_reader(*this, reader);
    const bool shares = impl_->mode == TxMode::read_snapshot;
    auto apart = std::make_unique<Transaction>(login->begin(shares ? TxMode::read_snapshot : TxMode::read_only));
    if (impl_->mode == TxMode::write) {
        // Before the server ends this one, whose owner says nothing meanwhile.
        const std::uint32_t least = std::min(session.options.statement_timeout_ms, session.options.idle_timeout_ms / 5 * 4);
        apart->before_each(fmt::format("SET LOCAL statement_timeout = {}", least));
        // Sooner, so that a lock that is waited for is told as one.
        apart->before_each(fmt::format("SET LOCAL lock_timeout = {}", std::min(session.options.lock_timeout_ms, least / 4 * 3)));
    } else if (impl_->mode != TxMode::none) {
        // Nobody waits for what only reads.
        static const Statement settle{"reader_awaited",
                                      "SELECT pg_catalog.set_config('idle_in_transaction_session_timeout', $1, true)"};
        static const Statement share{
            "reader_shares",
            "SELECT pg_catalog.set_config('idle_in_transaction_session_timeout', $1, true), pg_catalog.pg_export_snapshot()"};
        const Params least = Params::of(session.options.statement_timeout_ms + 10'000);
        if (shares) {
            apart->impl_->snapshot = exec(share, least).text(0, 1);
        } else if (impl_->begun) {
            exec(settle, least);
        } else {
            later(settle, least);  // with what begins it: before that there is nothing to be ended
        }
    }
    reading = std::move(apart);
    return *reading;
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::connect(const ConnectOptions& options) {
    return guarded([&] {
        auto impl = std::make_unique<Impl>(options);
        const Rows rows(impl->flight.run(pin_settings(options, impl->flight.server_pid())));
        const auto pid = static_cast<int>(rows.i64(0, 0));
        // A pooler gives numbers of its own.
        impl->pooled = pid != impl->flight.server_pid();
        impl->flight.knows_server(!impl->pooled);
        // Whoever acts as another role (options=-c role=...) is not told when his own session began: its end is then known by its
        // silence alone. Of a reader nobody asks.
        if (!impl->pooled && !options.reader) impl->server = {pid, rows.maybe_i64(0, 1).value_or(0)};
        return std::unique_ptr<Session>(new Session(std::move(impl)));
    });
}

Transaction Session::begin(TxMode mode) {
    impl_->expect_idle();
    return Transaction(std::make_unique<Transaction::Impl>(*impl_, mode));
}

Rows Session::exec(const Statement& statement, const Params& params) {
    impl_->expect_idle();
    if (!impl_->pooled) return Rows(impl_->flight.run({statement, params}));
    std::vector<Answer> answers;
    impl_->flight.run({pin_settings(impl_->options, 0), {statement, params}}, false, answers);
    return Rows(answers.back());
}

Rows Session::exec(std::string_view sql) {
    impl_->expect_idle();
    return Rows(impl_->flight.run(std::string(sql)));
}

void Session::keep_plans(bool keep) {
    if (keep == impl_->keeps_plans || !impl_->options.prepare || impl_->pooled) return;
    exec(keep ? "SET plan_cache_mode = force_generic_plan" : "SET plan_cache_mode = auto");
    impl_->keeps_plans = keep;
}

bool Session::usable() const noexcept { return impl_->flight.usable(); }

bool Session::alive() noexcept { return impl_->flight.alive(); }

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
    return impl_->flight.notifications(timeout_ms, tell) > 0;
}

std::string Session::quote_name(std::string_view identifier) const { return impl_->flight.quote_name(identifier); }

}  // namespace homeostat
