#include "store/pg/libpq.hpp"

#include <libpq-fe.h>

#include <new>
#include <vector>

namespace homeostat::libpq {

namespace {

using Options = std::unique_ptr<PQconninfoOption, void (*)(PQconninfoOption*)>;

ConnectWords words_of(const Options& options) {
    ConnectWords words;
    for (const PQconninfoOption* o = options.get(); o != nullptr && o->keyword != nullptr; ++o) {
        if (o->val != nullptr) words[o->keyword] = o->val;
    }
    return words;
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

std::optional<ConnectWords> parse_url(const std::string& url, std::string* problem) {
    char* said = nullptr;
    const Options options(PQconninfoParse(url.c_str(), &said), &PQconninfoFree);
    const std::unique_ptr<char, void (*)(void*)> owned(said, &PQfreemem);
    if (options) return words_of(options);
    if (problem != nullptr) *problem = said != nullptr ? said : "it cannot be read";
    return std::nullopt;
}

ConnectWords default_words() { return words_of(Options(PQconndefaults(), &PQconninfoFree)); }

Ping ping(const ConnectWords& words) {
    std::vector<const char*> keywords;
    std::vector<const char*> values;
    for (const auto& [keyword, value] : words) {
        keywords.push_back(keyword.c_str());
        values.push_back(value.c_str());
    }
    keywords.push_back(nullptr);
    values.push_back(nullptr);
    const PGPing found = PQpingParams(keywords.data(), values.data(), 0);
    return found == PQPING_OK ? Ping::answers : found == PQPING_REJECT ? Ping::starting : Ping::silent;
}

std::string url_of(const ConnectWords& words) {
    std::string out;
    for (const auto& [word, value] : words) {
        if (!out.empty()) out += ' ';
        out += word + "='";
        for (const char c : value) {
            if (c == '\'' || c == '\\') out += '\\';
            out += c;
        }
        out += '\'';
    }
    return out;
}

bool open(const pg_conn* c) noexcept { return PQstatus(c) == CONNECTION_OK; }
bool between_transactions(const pg_conn* c) noexcept { return PQtransactionStatus(c) == PQTRANS_IDLE; }
std::string error(const pg_conn* c) { return PQerrorMessage(c); }
int socket(const pg_conn* c) noexcept { return PQsocket(c); }
int backend_pid(const pg_conn* c) noexcept { return PQbackendPID(c); }

bool prepare_to_fly(pg_conn* c) noexcept {
    PQsetNoticeReceiver(c, [](void*, const PGresult*) {}, nullptr);
    return PQsetnonblocking(c, 1) == 0;
}

bool enter_pipeline(pg_conn* c) noexcept { return PQenterPipelineMode(c) == 1; }
bool exit_pipeline(pg_conn* c) noexcept { return PQexitPipelineMode(c) == 1; }
bool sync(pg_conn* c) noexcept { return PQpipelineSync(c) == 1; }
bool in_pipeline(const pg_conn* c) noexcept { return PQpipelineStatus(c) != PQ_PIPELINE_OFF; }

bool send_simple(pg_conn* c, const std::string& sql) noexcept { return PQsendQuery(c, sql.c_str()) == 1; }

bool send(pg_conn* c, const std::string& sql, const Params& params) {
    const Values v(params);
    return PQsendQueryParams(c, sql.c_str(), v.count(), nullptr, v.values.data(), v.lengths.data(), v.formats.data(), 0) == 1;
}

bool send_prepare(pg_conn* c, const std::string& name, const std::string& sql) noexcept {
    return PQsendPrepare(c, name.c_str(), sql.c_str(), 0, nullptr) == 1;
}

bool send_prepared(pg_conn* c, const std::string& name, const Params& params) {
    const Values v(params);
    return PQsendQueryPrepared(c, name.c_str(), v.count(), v.values.data(), v.lengths.data(), v.formats.data(), 0) == 1;
}

Unsent flush(pg_conn* c) noexcept {
    const int left = PQflush(c);
    return left < 0 ? Unsent::broken : left > 0 ? Unsent::some : Unsent::none;
}

bool consume(pg_conn* c) noexcept { return PQconsumeInput(c) == 1; }
bool busy(pg_conn* c) noexcept { return PQisBusy(c) == 1; }

Answer next(pg_conn* c) {
    return {PQgetResult(c), [](const PGresult* r) { PQclear(const_cast<PGresult*>(r)); }};
}

std::optional<Notification> next_notification(pg_conn* c) {
    const std::unique_ptr<PGnotify, void (*)(void*)> arrived{PQnotifies(c), &PQfreemem};
    if (!arrived) return std::nullopt;
    return Notification{arrived->relname, arrived->extra};
}

bool good(const pg_result* answer) noexcept {
    const ExecStatusType status = PQresultStatus(answer);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
}

bool is_sync(const pg_result* answer) noexcept { return PQresultStatus(answer) == PGRES_PIPELINE_SYNC; }

std::string_view sqlstate(const pg_result* answer) noexcept {
    const char* state = answer == nullptr ? nullptr : PQresultErrorField(answer, PG_DIAG_SQLSTATE);
    return state == nullptr ? std::string_view() : state;
}

bool raised(const pg_result* answer) noexcept {
    const char* said_by = answer == nullptr ? nullptr : PQresultErrorField(answer, PG_DIAG_SOURCE_FUNCTION);
    return said_by != nullptr && std::string_view(said_by) == "exec_stmt_raise";
}

bool of_catalog(const pg_result* answer) noexcept {
    const char* schema = answer == nullptr ? nullptr : PQresultErrorField(answer, PG_DIAG_SCHEMA_NAME);
    return schema != nullptr && std::string_view(schema) == "pg_catalog";
}

std::string message(const pg_result* answer) { return PQresultErrorMessage(answer); }

// libpq's own readers of a finished answer change nothing in it, though two of them do not say so.
std::string_view command(const pg_result* answer) noexcept { return PQcmdStatus(const_cast<pg_result*>(answer)); }
std::string_view affected(const pg_result* answer) noexcept { return PQcmdTuples(const_cast<pg_result*>(answer)); }

int rows(const pg_result* answer) noexcept { return PQntuples(answer); }
bool null(const pg_result* answer, int row, int column) noexcept { return PQgetisnull(answer, row, column) == 1; }

std::optional<std::string_view> value(const pg_result* answer, int row, int column) noexcept {
    const char* at = PQgetvalue(answer, row, column);
    if (at == nullptr) return std::nullopt;
    return std::string_view(at, static_cast<std::size_t>(PQgetlength(answer, row, column)));
}

}  // namespace homeostat::libpq
