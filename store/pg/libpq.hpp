// What the store calls of libpq itself, on a connection that libpqxx owns: pipeline mode, answers that nobody blocks for, and
// what is in them. Its source is the only file that includes libpq-fe.h.
//
// Each function is the libpq call that its comment names, and promises what that does: none waits (but ping()), none throws but
// for memory, and what failed is said by error(). A connection belongs to one thread at a time; an answer may be read by any.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "store/pg/params.hpp"

struct pg_conn;
struct pg_result;

namespace homeostat {

using Answer = std::shared_ptr<const pg_result>;

namespace libpq {

// The parts of a connection string that are given in it, by keyword: "host", "port", …
using ConnectWords = std::map<std::string, std::string, std::less<>>;
// PQconninfoParse. None where it cannot be read; `problem` then says why, and may quote what is secret.
std::optional<ConnectWords> parse_url(const std::string& url, std::string* problem = nullptr);
// PQconndefaults: what the environment and the service file give where the string gives nothing.
ConnectWords default_words();
// Them as one connection string.
std::string url_of(const ConnectWords& words);

// PQpingParams: what a server does where a connection to it is asked for. Waits, for as long as the words say.
enum class Ping { answers, starting, silent };
Ping ping(const ConnectWords& words);

bool open(const pg_conn* c) noexcept;                // PQstatus: nothing has been seen of its end
bool between_transactions(const pg_conn* c) noexcept;  // PQtransactionStatus
std::string error(const pg_conn* c);                 // PQerrorMessage: of the last call that failed
int socket(const pg_conn* c) noexcept;               // PQsocket
int backend_pid(const pg_conn* c) noexcept;          // PQbackendPID: as the server introduced itself
// PQsetnonblocking, and notices are dropped.
bool prepare_to_fly(pg_conn* c) noexcept;

// PQenterPipelineMode, PQexitPipelineMode, PQpipelineSync, PQpipelineStatus.
bool enter_pipeline(pg_conn* c) noexcept;
bool exit_pipeline(pg_conn* c) noexcept;
bool sync(pg_conn* c) noexcept;
bool in_pipeline(const pg_conn* c) noexcept;

// Put into the buffer that flush() empties. PQsendQuery (several statements, no parameters; not in a pipeline),
// PQsendQueryParams, PQsendPrepare, PQsendQueryPrepared.
bool send_simple(pg_conn* c, const std::string& sql) noexcept;
bool send(pg_conn* c, const std::string& sql, const Params& params);
bool send_prepare(pg_conn* c, const std::string& name, const std::string& sql) noexcept;
bool send_prepared(pg_conn* c, const std::string& name, const Params& params);

enum class Unsent { none, some, broken };
Unsent flush(pg_conn* c) noexcept;    // PQflush
bool consume(pg_conn* c) noexcept;    // PQconsumeInput; false: the other side has gone
bool busy(pg_conn* c) noexcept;       // PQisBusy: next() would wait
Answer next(pg_conn* c);              // PQgetResult; null where a statement has no more

struct Notification {
    std::string channel;
    std::string payload;
};
std::optional<Notification> next_notification(pg_conn* c);  // PQnotifies

bool good(const pg_result* answer) noexcept;     // PQresultStatus: it was done
bool is_sync(const pg_result* answer) noexcept;  // the end of a pipeline
std::string_view sqlstate(const pg_result* answer) noexcept;  // "" where the server did not come to say it
bool raised(const pg_result* answer) noexcept;  // PG_DIAG_SOURCE_FUNCTION: a function in SQL said it (RAISE), not the server
bool of_catalog(const pg_result* answer) noexcept;  // PG_DIAG_SCHEMA_NAME: a table of the server's own is meant
std::string message(const pg_result* answer);                 // PQresultErrorMessage
std::string_view command(const pg_result* answer) noexcept;   // PQcmdStatus: "COMMIT"
std::string_view affected(const pg_result* answer) noexcept;  // PQcmdTuples
int rows(const pg_result* answer) noexcept;                   // PQntuples
bool null(const pg_result* answer, int row, int column) noexcept;
// PQgetvalue; none where there is no such row or column. Points into the answer.
std::optional<std::string_view> value(const pg_result* answer, int row, int column) noexcept;

}  // namespace libpq
}  // namespace homeostat
