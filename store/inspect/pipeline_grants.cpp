#include "store/inspect/pipeline_grants.hpp"

#include <fmt/format.h>

#include "store/data/source_reader.hpp"
#include "store/inspect/controller_rights.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

const Statement kGroup{"grants_group", "SELECT FROM pg_roles WHERE rolname = 'homeostat_controller'"};

// Of each role $1 with what it does there $2: it sees the schema of the source $3 and reads its columns $4.
const Statement kReads{"grants_reads", R"sql(
    SELECT quote_ident(w.role), w.why, g.sql, g.there
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(role, why, i)
    CROSS JOIN (SELECT c.oid, c.relnamespace::regnamespace AS schema FROM pg_class c WHERE c.oid = to_regclass($3::text)) s
    CROSS JOIN LATERAL (VALUES
        (1, format('GRANT USAGE ON SCHEMA %s TO %I', s.schema, w.role), has_schema_privilege(w.role::name, s.schema::oid, 'USAGE')),
        (2, format('GRANT SELECT ON %s TO %I', s.oid::regclass, w.role),
            has_table_privilege(w.role::name, s.oid, 'SELECT') OR NOT EXISTS (
                SELECT FROM unnest($4::text[]) u(name) JOIN pg_attribute a ON a.attrelid = s.oid AND a.attname = u.name
                    AND a.attnum > 0 AND NOT a.attisdropped WHERE NOT has_column_privilege(w.role::name, s.oid, a.attnum, 'SELECT')))
    ) AS g(n, sql, there) ORDER BY w.i, g.n)sql"};

// Role $1 captures the changes of each table $2.
const Statement kCaptures{"grants_captures", R"sql(
    SELECT quote_ident($1::text), 'makes the triggers of the change feed; without them sweeps find what changed', g.sql, g.there
    FROM unnest($2::text[]) WITH ORDINALITY AS t(name, i) JOIN pg_class c ON c.oid = to_regclass(t.name) AND c.relkind IN ('r', 'p')
    CROSS JOIN LATERAL (VALUES
        (1, format('GRANT USAGE ON SCHEMA %s TO %I', c.relnamespace::regnamespace, $1::text),
            has_schema_privilege($1::text::name, c.relnamespace, 'USAGE')),
        (2, format('GRANT TRIGGER ON %s TO %I', c.oid::regclass, $1::text), has_table_privilege($1::text::name, c.oid, 'TRIGGER'))
    ) AS g(n, sql, there) ORDER BY t.i, g.n)sql"};

// Of each role $1 with what it does there $2: it makes the view $3.
const Statement kServes{"grants_serves", R"sql(
    SELECT quote_ident(w.role), w.why, format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', n.nspname, w.role),
        has_schema_privilege(w.role::name, n.oid, 'USAGE') AND has_schema_privilege(w.role::name, n.oid, 'CREATE')
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(role, why, i)
    JOIN pg_namespace n ON n.nspname = (parse_ident($3::text))[1] ORDER BY w.i)sql"};

// Role $1 searches the view $2, which may be still to come.
const Statement kSearches{"grants_searches", R"sql(
    SELECT quote_ident($1::text), coalesce('searches; ' || quote_ident(pg_get_userbyid(
            (SELECT c.relowner FROM pg_class c WHERE c.oid = to_regclass($2::text)))) || ' owns the view and may grant this',
            'searches; the view is still to be made'), g.sql, g.there FROM pg_namespace n CROSS JOIN LATERAL (VALUES
        (1, format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, $1::text), has_schema_privilege($1::text::name, n.oid, 'USAGE')),
        (2, format('GRANT SELECT ON %s TO %I', $2::text, $1::text),
            coalesce(has_table_privilege($1::text::name, to_regclass($2::text), 'SELECT'), false))
    ) AS g(n, sql, there) WHERE n.nspname = (parse_ident($2::text))[1] ORDER BY g.n)sql"};

void add(std::vector<PipelineGrant>& out, const Rows& rows) {
    for (PipelineGrant& g : all_of(rows, [](RowReader c) { return PipelineGrant{c.text(), c.text(), c.text(), c.boolean()}; })) {
        bool said = false;
        for (const PipelineGrant& before : out) said = said || before.sql == g.sql;
        if (!said) out.push_back(std::move(g));
    }
}

void check_role(Transaction& tx, const std::string& role) {
    if (tx.exec({"grants_role", "SELECT FROM pg_roles WHERE rolname = $1"}, Params::of(role)).empty())
        throw StoreFailure(not_found(fmt::format("role \"{}\" does not exist", role)));
}

}  // namespace

Result<std::vector<PipelineGrant>> pipeline_grants(Transaction& tx, const PipelineSpec& spec, const UsedColumns& used,
                                                   const std::vector<std::string>& tables,
                                                   const std::optional<std::string>& searcher) {
    return guarded([&] {
        if (used.described.empty())
            throw StoreFailure(not_found(fmt::format("pipeline \"{}\": {} is not there", spec.name, spec.source)));
        if (searcher) check_role(tx, *searcher);
        const Rows declared = tx.exec({"grants_declarer", "SELECT declared_by FROM homeostat.pipeline WHERE uid = $1::bigint"},
                                      Params::of(spec.uid));
        const std::optional<std::string> declarer = declared.empty() ? std::nullopt : declared.maybe(0, 0);
        const Rows group = tx.exec(kGroup);
        // Logins come and go; what the group may, each of its members may.
        std::string runs = "homeostat_controller";
        if (group.empty()) {
            Result<ControllerRights> rights = read_controller_rights(tx, spec, used);
            if (!rights) throw StoreFailure(rights.error());
            runs = rights->role;
        }
        std::vector<std::string> readers;
        std::vector<std::string> reads;
        if (!reader_of_pipeline(tx, spec.uid).apart()) {
            readers.push_back(runs);
            reads.emplace_back("reads the source");
        }
        std::vector<std::string> makers{runs};
        std::vector<std::string> makes{"makes the view that is served"};
        if (declarer) {
            readers.push_back(*declarer);
            reads.emplace_back("has declared it: what this role may not read is read for nobody");
            makers.push_back(*declarer);
            makes.emplace_back("has declared it: what this role may not create is made for nobody");
        }
        std::vector<std::string> columns;
        for (const UsedColumn& c : used.columns) columns.push_back(c.name);
        std::vector<PipelineGrant> out;
        add(out, tx.exec(kReads, Params::of(format_text_array(readers), format_text_array(reads), spec.source,
                                            format_text_array(columns))));
        if (spec.capture != "Off") add(out, tx.exec(kCaptures, Params::of(runs, format_text_array(tables))));
        add(out, tx.exec(kServes, Params::of(format_text_array(makers), format_text_array(makes), spec.target)));
        if (searcher) add(out, tx.exec(kSearches, Params::of(*searcher, spec.target)));
        return out;
    });
}

}  // namespace homeostat
