#include "controller/cli/text/refusal.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "store/control/migrator.hpp"
#include "store/pg/reach.hpp"
#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

constexpr std::string_view kRightMissing = "42501";
constexpr std::string_view kReadOnly = "25006";
// A schema, relation, column, function or type that is not there.
constexpr std::array<std::string_view, 5> kGone{"3F000", "42P01", "42703", "42883", "42704"};

bool names_what_is_gone(const Error& e) { return std::find(kGone.begin(), kGone.end(), e.code) != kGone.end(); }

const Statement kAsker{"refusal_asker", R"sql(
    SELECT current_database(), current_user, quote_ident(current_user),
        n.oid IS NOT NULL,
        coalesce(has_schema_privilege(n.oid, 'USAGE'), false),
        (SELECT count(*) = 4 FROM pg_roles r
            WHERE r.rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer', 'homeostat_admin')),
        EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'homeostat_controller' AND pg_has_role(r.oid, 'USAGE')),
        EXISTS (SELECT FROM pg_roles r WHERE r.rolname IN ('homeostat_declarer', 'homeostat_admin', 'homeostat_controller')
            AND pg_has_role(r.oid, 'USAGE')),
        pg_is_in_recovery(), quote_ident(pg_get_userbyid(n.nspowner))
    FROM (SELECT) one LEFT JOIN pg_namespace n ON n.nspname = 'homeostat')sql"};

struct Asker {
    std::string database;
    std::string role;
    std::string quoted;  // the role, as SQL reads it
    bool schema = false;  // homeostat is in this database
    bool may_use = false;  // that schema
    bool roles = false;  // all group roles are there
    bool controls = false;  // is a member of homeostat_controller
    bool member = false;  // of any of them that reads
    bool standby = false;
    std::string owner;  // of the schema, as SQL reads it
};

Result<Asker> read_asker(Session& session) {
    return guarded([&] {
        const Rows r = session.exec(kAsker);
        RowReader c(r, 0);
        return Asker{c.text(),    c.text(),    c.text(),    c.boolean(), c.boolean(),
                     c.boolean(), c.boolean(), c.boolean(), c.boolean(), c.text()};
    });
}

enum class Need : std::uint8_t { look, stored, run, own };

struct VerbNeed {
    std::string_view verb;
    Need need;
};
// What is not here looks or declares: any declarer may.
constexpr std::array kNeeds{VerbNeed{"run", Need::run},     VerbNeed{"plan", Need::stored},    VerbNeed{"explain", Need::stored},
                            VerbNeed{"diff", Need::stored}, VerbNeed{"factory", Need::stored}, VerbNeed{"search", Need::stored},
                            VerbNeed{"migrate", Need::own}};

Need need_of(std::string_view verb) {
    const auto found = std::find_if(kNeeds.begin(), kNeeds.end(), [&](const VerbNeed& n) { return n.verb == verb; });
    return found == kNeeds.end() ? Need::look : found->need;
}

std::string why_no_schema(const Asker& a) {
    return fmt::format(
        "database \"{}\" has no schema of homeostat: name the database that has, or run homeostat migrate up as the owner of "
        "this one",
        a.database);
}

// Which group role to grant, and by whom.
std::string grant_of(const Asker& a, Need need) {
    if (!a.roles)
        return "the group roles of homeostat are not there: homeostat migrate roles makes them; then see docs/operating.md";
    const std::string who = a.owner.empty() ? "" : fmt::format(" (as {}, or who may grant that role)", a.owner);
    if (need == Need::run || need == Need::stored) return fmt::format("GRANT homeostat_controller TO {}{}", a.quoted, who);
    return fmt::format("GRANT homeostat_declarer TO {0}{1} lets it declare and see its own, GRANT homeostat_admin TO {0} all",
                       a.quoted, who);
}

std::string why_no_right(const Asker& a, std::string_view verb) {
    const Need need = need_of(verb);
    const std::string command = fmt::format("homeostat {}", verb);
    if (need == Need::own)
        return fmt::format("{} is for the owner of the schemas{}; role \"{}\" is not", command,
                           a.owner.empty() ? "" : ", " + a.owner, a.role);
    if (!a.may_use && a.member)  // as after a restore that left privileges out
        return fmt::format(
            "role \"{}\" is a member of a group role of homeostat, and the group roles have no rights in database \"{}\": "
            "homeostat "
            "migrate roles{} gives them back",
            a.role, a.database, a.owner.empty() ? "" : fmt::format(", by {},", a.owner));
    if (!a.may_use || !a.member)
        return fmt::format("role \"{}\" may not use homeostat in database \"{}\": {}", a.role, a.database, grant_of(a, need));
    if (a.controls)
        return fmt::format(
            "role \"{}\" is a member of homeostat_controller, so it is a right on something else that is missing; "
            "homeostat doctor names it, with the statement that grants it",
            a.role);
    if (need == Need::run) return fmt::format("{} is for members of homeostat_controller: {}", command, grant_of(a, need));
    if (need == Need::stored)
        return fmt::format(
            "{} looks at what is stored of the documents, which members of homeostat_controller may and role \"{}\" "
            "may not: use the login of the controller, or {}",
            command, a.role, grant_of(a, need));
    return fmt::format("role \"{}\" may see and change what it declared itself; for all of it: GRANT homeostat_admin TO {}",
                       a.role, a.quoted);
}

// Something is not there that this program asks for: is the schema another one than it wants?
std::string why_gone(Session& session, const Asker& a) {
    const Result<int> version = schema_version(session);
    if (!version || *version == newest_migration())
        return "something that it names is gone: homeostat doctor says what is missing of homeostat, and homeostat validate what "
               "a source lacks";
    if (*version == 0) return why_no_schema(a);
    if (*version < newest_migration())
        return fmt::format("the schema of database \"{}\" is at {} and this program wants {}: homeostat migrate up, by its owner",
                           a.database, *version, newest_migration());
    return fmt::format("the schema of database \"{}\" is at {}, newer than this program ({}): use the program that migrated it",
                       a.database, *version, newest_migration());
}

}  // namespace

bool wants_reason(const Error& error) {
    return !error.said.empty() && (error.code == kRightMissing || error.code == kReadOnly || names_what_is_gone(error));
}

std::string why_refused(Session& session, const Error& error, std::string_view verb) {
    if (!wants_reason(error)) return "";
    const Result<Asker> asker = read_asker(session);
    if (!asker) return "";
    if (error.code == kReadOnly) {
        return asker->standby ? "this server is a standby: name the primary in database.url, or all hosts of the cluster and "
                                "target_session_attrs=read-write"
                              : "this session may not write: turn off default_transaction_read_only for this role and database";
    }
    if (!asker->schema) return why_no_schema(*asker);
    return error.code == kRightMissing ? why_no_right(*asker, verb) : why_gone(session, *asker);
}

std::string why_unreached(const std::string& url) {
    switch (reach_of(url)) {
        case Reach::silent:
            return "no PostgreSQL server answers there: see that host and port are right, that it runs, and that it listens on "
                   "that address";
        case Reach::starting: return "the server there takes no connections now, as it starts, stops or recovers: try again";
        case Reach::other_tls:
            return "a server answers there, but not with TLS as sslmode and sslrootcert ask for it: see what it offers and who "
                   "signed its certificate";
        case Reach::read_only:
            return "the server there lets this role in and takes no writes, as a standby does: name the primary, or all hosts of "
                   "the cluster";
        case Reach::refusing:
            return "the server there answers, and refuses: see that role, password and database are right, and that its "
                   "pg_hba.conf lets this role in from here";
    }
    return "";
}

}  // namespace homeostat
