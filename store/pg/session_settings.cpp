#include "store/pg/session_settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "store/pg/pg_error.hpp"

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
    // What reads sources may be a login that is read only by default.
    url = with_setting(std::move(url), "target_session_attrs", o.reader ? "primary" : "read-write");
    url = with_setting(std::move(url), "client_encoding", "UTF8");
    return with_setting(std::move(url), "application_name", o.application_name);
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

}  // namespace

Flight::Call pin_settings(const ConnectOptions& o, int pid) {
    return {{"", pinning()}, Params::of(o.statement_timeout_ms, o.lock_timeout_ms, o.idle_timeout_ms, pid)};
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

ConnectionOptions connection_of(const ConnectOptions& o) {
    using std::chrono::milliseconds;
    return {full_url(o),
            std::chrono::seconds(o.connect_timeout_s),
            milliseconds(std::max(100U, o.answer_timeout_ms)),
            milliseconds(o.statement_timeout_ms),
            o.reader && o.statement_timeout_ms > 0,
            o.abandon};
}

namespace {

constexpr const char* kWho = R"sql(
    SELECT pg_catalog.quote_ident(current_user), current_database(), pg_catalog.pg_postmaster_start_time()::pg_catalog.text,
           pg_catalog.quote_ident(session_user))sql";

// What it may beside reading sources would be what any code of a source may.
constexpr const char* kTooStrong = R"sql(
    SELECT CASE
        WHEN r.rolname = current_user THEN 'it is the login that writes'
        WHEN r.rolsuper THEN 'it is a superuser'
        WHEN r.rolcreaterole OR r.rolreplication OR r.rolcreatedb THEN 'it may create roles or databases, or replicate'
        WHEN EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid)
            THEN format('it is a member of role %I', (SELECT min(g.rolname) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                                                      WHERE m.member = r.oid))
        WHEN (SELECT bool_or(has_schema_privilege(r.oid, n.oid, 'USAGE')) FROM pg_namespace n
              WHERE n.nspname IN ('homeostat', 'homeostat_data')) THEN 'it may use the schemas of homeostat'
    END FROM pg_roles r WHERE quote_ident(r.rolname) = $1)sql";

Error refuse_reader(const ReaderLogin& login, const std::string& why) {
    return {.cls = ErrorClass::db_permanent,
            .message = login.setting + ": " + why,
            .origin = Origin::user,
            .code = std::string(kReaderRefused)};
}

// Why it did not get in is said in words only. Where the server still answers us it is this login's trouble, or that of its
// place on the server: whoever it reads for is told, tries again, and nobody else waits.
Error of_login(Transaction& tx, const ReaderLogin& login, Error e) {
    tx.exec(Statement{"", "SELECT"});
    e = std::move(e).with_prefix(fmt::format("the login that reads sources ({})", login.setting));
    if (e.cls != ErrorClass::db_transient || e.code != kConnectFailed) return e;
    e.cls = ErrorClass::db_resource;
    e.code = kSourceFailed;
    return e;
}

}  // namespace

std::unique_ptr<Session> connect_reader(Transaction& tx, SourceReader reader) {
    ConnectOptions o = tx.options();
    const ReaderLogin login = o.readers.at(static_cast<std::size_t>(reader.place));
    if (!login.problem.empty()) throw StoreFailure(refuse_reader(login, login.problem));
    o.url = login.url;
    o.readers.clear();
    o.application_name += "-reader";
    o.idle_timeout_ms = o.statement_timeout_ms + 10'000;  // while what it has read is compared
    o.reader = true;
    o.prepare = false;
    Result<std::unique_ptr<Session>> session = Session::connect(o);
    if (!session) throw StoreFailure(of_login(tx, login, std::move(session).error()));
    const Rows theirs = (*session)->exec(Statement{"", kWho});
    const Rows ours = tx.exec(Statement{"", kWho});
    if (theirs.view(0, 1) != ours.view(0, 1) || theirs.view(0, 2) != ours.view(0, 2)) {
        throw StoreFailure(
            refuse_reader(login, fmt::format("it is connected with database \"{}\" of a server that started at {}, and "
                                             "database.url with \"{}\" of one that started at {}; name the same",
                                             theirs.view(0, 1), theirs.view(0, 2), ours.view(0, 1), ours.view(0, 2))));
    }
    if (theirs.view(0, 0) != theirs.view(0, 3)) {
        throw StoreFailure(refuse_reader(login, fmt::format("it is role {} that acts as {}, and whatever a source runs may go "
                                                            "back to {} (RESET ROLE); give a login that acts as "
                                                            "itself",
                                                            theirs.view(0, 3), theirs.view(0, 0), theirs.view(0, 3))));
    }
    const Rows strong = tx.exec(Statement{"reader_too_strong", kTooStrong}, Params::of(theirs.text(0, 0)));
    if (!strong.empty() && !strong.null(0, 0)) {
        throw StoreFailure(
            refuse_reader(login, fmt::format("role {} reads sources and runs their code, so it may do nothing else, but {}; "
                                             "give a login that has SELECT on the sources only",
                                             theirs.view(0, 0), strong.view(0, 0))));
    }
    return *std::move(session);
}

// What a source runs may fail as it likes, with the code of a full disk too: that says something about the source, and nothing
// about the database, whose troubles would have all pipelines wait.
Error of_reader(Error e) {
    const std::string_view cls = std::string_view(e.code).substr(0, 2);
    if (e.code == kTookTooLong) {
        e.message =
            fmt::format("reading the source took longer than it may (database.statement_timeout), and was ended: {}", e.message);
    } else if (e.code == "25006") {
        e.cls = ErrorClass::db_permanent;
        e.origin = Origin::user;
        e.code = kSourceFailed;
        e.message = fmt::format("what the source runs tries to write, which whoever reads may not: {}", e.message);
    } else if (cls == "08" || cls == "53" || cls == "57" || cls == "58" || cls == "XX" || cls == "25") {
        e.cls = ErrorClass::db_resource;
        e.message = fmt::format("reading the source failed: {} ({})", e.message, e.code);
        e.code = kSourceFailed;
    } else if (e.cls == ErrorClass::invalid || e.cls == ErrorClass::internal || e.cls == ErrorClass::auth ||
               e.cls == ErrorClass::not_found) {
        e.cls = ErrorClass::db_permanent;
        e.origin = Origin::user;
        e.message = fmt::format("reading the source failed: {} ({})", e.message, e.code);
        e.code = kSourceFailed;
    }
    return e;
}

}  // namespace homeostat
