#include "store/pg/pg_error.hpp"

#include <algorithm>
#include <array>

#include "core/outside_text.hpp"

namespace homeostat {

namespace {

struct Row {
    std::string_view prefix;  // of the SQLSTATE; the longest match wins, so special cases stand before their class
    ErrorClass cls;
    Origin origin;
};

constexpr std::array kTable{
    Row{"40001", ErrorClass::db_transient, Origin::theirs},  // serialisation failure
    Row{"40P01", ErrorClass::db_transient, Origin::theirs},  // deadlock
    Row{"40003", ErrorClass::db_transient, Origin::theirs},  // statement completion unknown
    Row{"55P03", ErrorClass::db_transient, Origin::theirs},  // lock not available
    Row{"55006", ErrorClass::db_transient, Origin::theirs},  // object in use
    Row{"57014", ErrorClass::db_transient, Origin::ours},    // cancelled, or past its statement timeout
    Row{"57P01", ErrorClass::db_transient, Origin::theirs},  // admin shutdown
    Row{"57P02", ErrorClass::db_transient, Origin::theirs},  // crash shutdown
    Row{"57P03", ErrorClass::db_transient, Origin::theirs},  // cannot connect now
    Row{"57P05", ErrorClass::db_transient, Origin::theirs},  // idle session timeout
    Row{"25006", ErrorClass::db_transient, Origin::theirs},  // read-only: a primary that is one no more
    Row{"25P03", ErrorClass::db_transient, Origin::ours},    // idle in transaction for too long
    Row{"53100", ErrorClass::db_resource, Origin::theirs},   // disk full
    Row{"53200", ErrorClass::db_resource, Origin::theirs},   // out of memory
    Row{"53300", ErrorClass::db_transient, Origin::theirs},  // too many connections
    Row{"53", ErrorClass::db_resource, Origin::theirs},
    Row{"08", ErrorClass::db_transient, Origin::theirs},     // connection failures
    Row{"58", ErrorClass::db_resource, Origin::theirs},      // I/O errors of the server
    Row{"28", ErrorClass::auth, Origin::user},               // wrong password, no such role
    Row{"3D", ErrorClass::not_found, Origin::user},          // no such database
    Row{"42501", ErrorClass::db_permanent, Origin::user},    // right missing
    Row{"42", ErrorClass::db_permanent, Origin::user},       // table, column or function gone
    Row{"3F", ErrorClass::db_permanent, Origin::user},       // schema gone
    Row{"22", ErrorClass::db_permanent, Origin::user},       // value that does not fit its type
    Row{"23", ErrorClass::invalid, Origin::user},            // a check of ours refused it
    Row{"2BP01", ErrorClass::db_permanent, Origin::user},    // others depend on it
    Row{"0A", ErrorClass::db_permanent, Origin::user},       // not supported
    Row{"P0", ErrorClass::invalid, Origin::user},            // raised in a function
    Row{"XX", ErrorClass::db_resource, Origin::theirs},      // corruption or a bug of the server
};

std::string first_line(std::string_view message) {
    for (const std::string_view severity : {"ERROR:  ", "FATAL:  ", "PANIC:  "}) {
        // libpq puts what it was connecting to before what the server said.
        if (const std::size_t at = message.substr(0, message.find('\n')).find(severity); at != std::string_view::npos) {
            message.remove_prefix(at + severity.size());
        }
    }
    return outside_text(message.substr(0, message.find('\n')));
}

}  // namespace

Error from_sqlstate(std::string_view sqlstate, std::string_view message, bool raised) {
    const Row* best = nullptr;
    for (const Row& row : kTable) {
        if (sqlstate.substr(0, row.prefix.size()) == row.prefix && (best == nullptr || row.prefix.size() > best->prefix.size())) {
            best = &row;
        }
    }
    Error e{
        .cls = ErrorClass::db_transient, .message = first_line(message), .origin = Origin::theirs, .code = std::string(sqlstate)};
    if (best != nullptr) {
        e.cls = best->cls;
        e.origin = best->origin;
    } else if (!sqlstate.empty()) {
        e.cls = ErrorClass::internal;
        e.origin = Origin::ours;
    }
    if (!raised) e.said = e.message;
    return e;
}

Error from_failed_connect(std::string_view message) {
    std::string why;
    for (std::string_view rest = message; !rest.empty();) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        std::string line(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
        // After the first, those of further addresses of the host; the rest is libpq's guess at why.
        if (line.empty() || (!why.empty() && !line.starts_with("connection to server "))) continue;
        for (const std::string_view severity : {"FATAL:  ", "ERROR:  ", "PANIC:  "}) {
            if (const std::size_t at = line.find(severity); at != std::string::npos) line.erase(at, severity.size());
        }
        if (why.find(line) == std::string::npos) why += (why.empty() ? "" : "; ") + line;
    }
    return {.cls = ErrorClass::db_transient,
            .message = "the database cannot be reached: " + outside_text(why),
            .origin = Origin::theirs,
            .code = std::string(kConnectFailed)};
}

Error from_bad_url(std::string_view problem) {
    // What libpq quotes may be the password, or half of it.
    std::string why;
    for (std::string_view rest = problem.substr(0, problem.find('\n')); !rest.empty();) {
        const std::size_t open = std::min(rest.find('"'), rest.size());
        const std::size_t close = std::min(rest.find('"', std::min(open + 1, rest.size())), rest.size());
        why += rest.substr(0, open);
        if (open < rest.size()) why += rest.substr(open, close - open) == "\"=" ? "\"=\"" : "\"***\"";
        rest.remove_prefix(std::min(close + 1, rest.size()));
    }
    return {.cls = ErrorClass::db_transient,
            .message = "the connection string of the database cannot be read: " + outside_text(why),
            .origin = Origin::user,
            .code = std::string(kConnectFailed)};
}

Error from_broken_link(std::string_view message, bool while_committing) {
    return {.cls = ErrorClass::db_transient,
            .message = "the connection to the database broke: " + first_line(message),
            .origin = Origin::theirs,
            .code = "08006",
            .outcome_unknown = while_committing};
}

}  // namespace homeostat
