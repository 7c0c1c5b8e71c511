#include "store/wire.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>

#include "store/pg_error.hpp"

namespace homeostat {

namespace {

bool good(const PGresult* answer) {
    const ExecStatusType status = PQresultStatus(answer);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
}

// Parameters as libpq takes them; points into the Params.
struct Values {
    explicit Values(const Params& params) {
        for (const Params::Value& value : params.values()) {
            if (const auto* text = std::get_if<std::string>(&value)) {
                add(text->c_str(), text->size(), 0);
            } else if (const auto* binary = std::get_if<std::vector<std::byte>>(&value)) {
                add(reinterpret_cast<const char*>(binary->data()), binary->size(), 1);
            } else {
                add(nullptr, 0, 0);
            }
        }
    }
    void add(const char* data, std::size_t size, int format) {
        values.push_back(data);
        lengths.push_back(static_cast<int>(size));
        formats.push_back(format);
    }
    int count() const { return static_cast<int>(values.size()); }

    std::vector<const char*> values;
    std::vector<int> lengths;
    std::vector<int> formats;
};

}  // namespace

bool Wire::usable() const noexcept { return link_.usable() && PQpipelineStatus(link_.get()) == PQ_PIPELINE_OFF; }

bool Wire::alive() noexcept { return usable() && link_.take_in(); }

int Wire::server_pid() const noexcept { return PQbackendPID(link_.get()); }

void Wire::check_sent(int ok, bool commits) const {
    if (ok != 1) throw StoreFailure(from_broken_link(PQerrorMessage(link_.get()), commits));
}

void Wire::fail(const pg_result* answer, bool commits) const {
    const char* state = answer == nullptr ? nullptr : PQresultErrorField(answer, PG_DIAG_SQLSTATE);
    const bool broken = PQstatus(link_.get()) != CONNECTION_OK;
    // A statement that was cut off by a dying server carries no SQLSTATE.
    if (state == nullptr || (broken && commits)) {
        throw StoreFailure(from_broken_link(PQerrorMessage(link_.get()), commits));
    }
    throw StoreFailure(from_sqlstate(state, PQresultErrorMessage(answer)));
}

void Wire::send_call(const Call& call, std::size_t index, bool commits, std::vector<Sent>& sent) {
    const Statement& s = call.statement;
    const Values v(call.params);
    StatementCache::Advice advice;
    if (prepare_ && !s.name.empty()) advice = statements_.use(s.name, s.sql);
    for (const std::string& name : advice.forget) {
        const std::string deallocate = "DEALLOCATE " + quote_name(name);
        check_sent(PQsendQueryParams(link_.get(), deallocate.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0), commits);
        sent.push_back({Part::forget, index});
    }
    if (advice.use == StatementCache::Use::prepare) {
        check_sent(PQsendPrepare(link_.get(), s.name.c_str(), s.sql.c_str(), 0, nullptr), commits);
        sent.push_back({Part::prepare, index});
    }
    const int ok =
        advice.use == StatementCache::Use::as_text
            ? PQsendQueryParams(link_.get(), s.sql.c_str(), v.count(), nullptr, v.values.data(), v.lengths.data(),
                                v.formats.data(), 0)
            : PQsendQueryPrepared(link_.get(), s.name.c_str(), v.count(), v.values.data(), v.lengths.data(), v.formats.data(), 0);
    check_sent(ok, commits);
    sent.push_back({advice.use == StatementCache::Use::prepared ? Part::again : Part::call, index});
}

std::vector<Wire::Sent> Wire::send(const std::vector<Call>& calls, bool commits) {
    std::vector<Sent> sent;
    check_sent(PQenterPipelineMode(link_.get()), false);
    for (std::size_t i = 0; i < calls.size(); ++i) send_call(calls[i], i, commits, sent);
    check_sent(PQpipelineSync(link_.get()), commits);
    return sent;
}

void Wire::run(const std::vector<Call>& calls, bool commits, std::vector<Answer>& answers) {
    if (!usable()) fail(nullptr, false);
    tidy();
    const std::vector<Sent> sent = send(calls, commits);
    Answer failure;
    std::size_t failed = sent.size();
    for (std::size_t i = 0; i < sent.size(); ++i) {
        Answer answer = link_.next(commits);
        if (!answer) fail(nullptr, commits);
        if (PQstatus(link_.get()) != CONNECTION_OK) fail(answer.get(), commits);
        if (!good(answer.get()) && !failure) {
            failure = answer;
            failed = i;
        }
        if (!failure && (sent[i].part == Part::call || sent[i].part == Part::again)) answers.push_back(std::move(answer));
        while (Answer rest = link_.next(commits)) {
        }
    }
    // Statements outside a transaction are committed here, which may fail as well.
    for (Answer end = link_.next(commits); PQresultStatus(end.get()) != PGRES_PIPELINE_SYNC; end = link_.next(commits)) {
        if (!end || PQstatus(link_.get()) != CONNECTION_OK) fail(nullptr, commits);
        if (!failure) failure = end;
    }
    if (PQexitPipelineMode(link_.get()) != 1) fail(nullptr, commits);
    if (failure) settle_failure(calls, sent, failed, failure.get(), commits);
}

Answer Wire::run(const Call& call) {
    std::vector<Answer> answers;
    run({call}, false, answers);
    return answers.back();
}

// What was to be prepared or forgotten after the failure was not.
void Wire::settle_failure(const std::vector<Call>& calls, const std::vector<Sent>& sent, std::size_t failed,
                          const pg_result* answer, bool commits) {
    for (std::size_t i = failed; i < sent.size(); ++i) {
        if (sent[i].part == Part::forget) confused_ = true;
        if (sent[i].part == Part::prepare) statements_.drop(calls[sent[i].call].statement.name);
    }
    const char* state = PQresultErrorField(answer, PG_DIAG_SQLSTATE);
    // "cached plan must not change result type": a table was altered since. The text is forgotten, so that the next use begins
    // anew; what is not supported at all fails then as what it is.
    if (state != nullptr && std::string_view(state) == "0A000" && failed < sent.size() && sent[failed].part == Part::again) {
        statements_.outdate(calls[sent[failed].call].statement.name);
        Error error = from_sqlstate(state, PQresultErrorMessage(answer));
        error.cls = ErrorClass::db_transient;
        throw StoreFailure(std::move(error));
    }
    fail(answer, commits);
}

// Only outside a transaction: in one that has failed nothing can be put right.
void Wire::tidy() {
    if (!confused_ || PQtransactionStatus(link_.get()) != PQTRANS_IDLE) return;
    run("DEALLOCATE ALL");
    statements_.clear();
    confused_ = false;
}

Answer Wire::run(const std::string& sql) {
    if (!usable()) fail(nullptr, false);
    check_sent(PQsendQuery(link_.get(), sql.c_str()), false);
    Answer last;
    while (Answer answer = link_.next(false)) {
        last = std::move(answer);
        if (PQstatus(link_.get()) != CONNECTION_OK) break;
    }
    if (!last || !good(last.get())) fail(last.get(), false);
    return last;
}

std::string Wire::quote_name(std::string_view identifier) const {
    const std::unique_ptr<char, void (*)(void*)> quoted(PQescapeIdentifier(link_.get(), identifier.data(), identifier.size()),
                                                        &PQfreemem);
    if (!quoted) throw StoreFailure(invalid(fmt::format("\"{}\" cannot be a name", identifier)));
    return quoted.get();
}

int Wire::notifications(std::uint32_t timeout_ms, const std::function<void(std::string_view, std::string_view)>& f) {
    for (bool waited = false;; waited = true) {
        if (!link_.take_in()) fail(nullptr, false);
        int n = 0;
        while (const std::unique_ptr<PGnotify, void (*)(void*)> arrived{PQnotifies(link_.get()), &PQfreemem}) {
            f(arrived->relname, arrived->extra);
            ++n;
        }
        if (n > 0 || waited) return n;
        link_.wait_for_input(std::chrono::milliseconds(timeout_ms));
    }
}

}  // namespace homeostat
