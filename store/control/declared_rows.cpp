#include "store/control/declared_rows.hpp"

#include <fmt/core.h>

#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

struct Table {
    std::string_view name;
    std::string_view living;
};

Table table_of(ResourceKind kind) {
    switch (kind) {
        case ResourceKind::provider: return {"provider", "true"};
        case ResourceKind::target_view: return {"target_view", "t.deletion_requested_at IS NULL"};
        case ResourceKind::pipeline: break;
    }
    return {"pipeline", "t.deletion_requested_at IS NULL"};
}

const Statement kLabelled{"labelled_objects",
                          R"sql(
    SELECT o.kind, o.uid, o.name, coalesce(l.key, ''), coalesce(l.value, '') FROM (
        SELECT 2 AS kind, uid, name, labels FROM homeostat.target_view WHERE deletion_requested_at IS NULL
        UNION ALL
        SELECT 0, uid, name, labels FROM homeostat.pipeline WHERE deletion_requested_at IS NULL AND target_view IS NULL
        UNION ALL
        SELECT 1, uid, name, labels FROM homeostat.provider) o
    LEFT JOIN LATERAL jsonb_each_text(o.labels) l ON true
    ORDER BY o.kind = 1, o.kind = 0, o.name, o.uid)sql"};

}  // namespace

Result<std::optional<DeclaredValues>> read_declared(Transaction& tx, ResourceKind kind, std::string_view name) {
    const Table table = table_of(kind);
    std::vector<std::string> columns;
    for (const std::string_view column : declared_columns(kind)) columns.emplace_back(column);
    return guarded([&]() -> std::optional<DeclaredValues> {
        const Rows rows = tx.exec(
            {fmt::format("declared_{}", table.name),
             fmt::format(
                 "SELECT c.name, CASE WHEN a.atttypid = 'pg_catalog.interval'::pg_catalog.regtype"
                 " THEN (extract(epoch FROM (v.whole ->> c.name)::interval) * 1000)::bigint || 'ms' ELSE v.whole ->> c.name END"
                 " FROM homeostat.{0} t, LATERAL (SELECT to_jsonb(t) AS whole) v,"
                 " unnest($2::text[]) WITH ORDINALITY AS c(name, place) JOIN pg_catalog.pg_attribute a"
                 " ON a.attrelid = 'homeostat.{0}'::pg_catalog.regclass AND a.attname = c.name"
                 " WHERE t.name = $1 AND {1} ORDER BY c.place",
                 table.name, table.living)},
            Params::of(name, format_text_array(columns)));
        if (rows.empty()) return std::nullopt;
        DeclaredValues values;
        for (int i = 0; i < rows.size(); ++i) values.emplace_back(rows.text(i, 0), rows.maybe(i, 1));
        return values;
    });
}

Result<std::vector<LabelledObject>> list_labelled(Transaction& tx) {
    return guarded([&] {
        const Rows rows = tx.exec(kLabelled);
        std::vector<LabelledObject> out;
        for (int i = 0; i < rows.size(); ++i) {
            if (out.empty() || out.back().uid != rows.i64(i, 1) || out.back().kind != static_cast<ResourceKind>(rows.i64(i, 0)))
                out.push_back({static_cast<ResourceKind>(rows.i64(i, 0)), rows.i64(i, 1), rows.text(i, 2), {}});
            if (!rows.view(i, 3).empty()) out.back().labels[rows.text(i, 3)] = rows.text(i, 4);
        }
        return out;
    });
}

Status delete_declared(Transaction& tx, ResourceKind kind, std::int64_t uid) {
    const Table table = table_of(kind);
    return guarded([&]() -> Status {
        tx.exec({fmt::format("prune_{}", table.name), fmt::format("DELETE FROM homeostat.{} WHERE uid = $1::bigint", table.name)},
                Params::of(uid));
        return {};
    });
}

}  // namespace homeostat
