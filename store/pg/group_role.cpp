#include "store/pg/group_role.hpp"

#include <fmt/format.h>

namespace homeostat {

std::string where_group_may_own(const std::string& body) {
    std::string tag = "$group$";  // anything that no identifier in it holds
    while (body.find(tag) != std::string::npos) tag.insert(1, "_");
    return fmt::format(
        "DO {0} DECLARE f pg_catalog.regprocedure; BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname ="
        " 'homeostat_controller' AND pg_catalog.pg_has_role(r.oid, 'USAGE')"
        " AND pg_catalog.has_schema_privilege(r.oid, 'homeostat_data', 'CREATE')) THEN {1} END IF; END {0}",
        tag, body);
}

std::string give_tables(const std::vector<std::string>& tables) {
    std::string give;
    for (const std::string& t : tables) give += fmt::format("ALTER TABLE {} OWNER TO homeostat_controller; ", t);
    return where_group_may_own(give);
}

namespace {

std::string escaped(const std::string& text) {
    std::string literal;
    for (const char c : text) literal += c == '\'' ? std::string("''") : std::string(1, c);
    return literal;
}

}  // namespace

std::string give_function(const std::string& function, const std::string& schema) {
    return where_group_may_own(
        fmt::format("IF pg_catalog.has_schema_privilege('homeostat_controller', '{0}'::pg_catalog.regnamespace, 'CREATE') THEN"
                    " ALTER FUNCTION {1} OWNER TO homeostat_controller; END IF;",
                    escaped(schema), function));
}

std::string give_view(const std::string& view, const std::string& tables) {
    const std::string literal = escaped(view);
    return where_group_may_own(fmt::format(
        "IF pg_catalog.has_schema_privilege('homeostat_controller', (SELECT c.relnamespace FROM pg_catalog.pg_class c WHERE"
        " c.oid = '{0}'::pg_catalog.regclass), 'CREATE') THEN ALTER VIEW {1} OWNER TO homeostat_controller;"
        " ELSE GRANT SELECT ON {2} TO CURRENT_USER; END IF;",
        literal, view, tables));
}

}  // namespace homeostat
