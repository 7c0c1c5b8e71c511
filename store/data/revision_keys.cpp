#include "store/data/revision_keys.hpp"

#include <fmt/format.h>

#include "store/pg/lock_holders.hpp"

namespace homeostat {

namespace {

const Statement kStored{"revision_key_types", R"sql(
    SELECT format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
             THEN format(' COLLATE %I.%I', n.nspname, c.collname) ELSE '' END
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_collation c ON c.oid = a.attcollation
    LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE a.attrelid = to_regclass($1) AND a.attname ~ '^key_[0-9]+$' AND NOT a.attisdropped
    ORDER BY substr(a.attname, 5)::int)sql"};

const Statement kViewOf{"revision_view_of", R"sql(
    SELECT EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                   WHERE r.ev_class = to_regclass($1) AND d.refobjid = to_regclass($2)))sql"};

const Statement kGrants{"revision_view_grants", R"sql(
    SELECT format('GRANT %s ON %s TO %s%s', x.privilege_type, $1::text,
                  CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
                  CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) x
    WHERE c.oid = to_regclass($1) AND x.grantee <> c.relowner)sql"};

std::vector<std::size_t> differing(Transaction& tx, const Revision& revision, const SourceShape& source) {
    const Rows rows = tx.exec(kStored, Params::of(revision.tables.document));
    std::vector<std::size_t> out;
    for (std::size_t i = 0; i < source.key.size() && static_cast<int>(i) < rows.size(); ++i) {
        const int row = static_cast<int>(i);
        if (rows.view(row, 0) != source.key[i].type || rows.view(row, 1) != source.key[i].collate) out.push_back(i);
    }
    return out;
}

// A value that is none of the new type, or two that became one.
bool is_of_the_values(const Error& error) {
    return error.code.starts_with("22") || error.code == "23505" || error.code == "42846" || error.code == "42804";
}

void drop_view(Transaction& tx, const PipelineSpec& spec, const ColumnShape& column) {
    try {
        tx.exec(fmt::format("DROP VIEW {}", spec.target));
    } catch (const StoreFailure& failure) {
        if (failure.error.code != "2BP01") throw;
        throw StoreFailure(
            {.cls = ErrorClass::conflict,
             .message = fmt::format("pipeline \"{}\": key column \"{}\" of {} is {} now, so {} has to be made again, and other "
                                    "objects depend on it; drop them or give the pipeline another target",
                                    spec.name, column.name, spec.source, column.type, spec.target),
             .origin = Origin::user,
             .code = "2BP01"});
    }
}

// A row type that a column of another table has cannot be altered: the journal's is put aside meanwhile.
void alter(Transaction& tx, const Revision& revision, const SourceShape& source, const std::vector<std::size_t>& columns) {
    const RevisionTables& t = revision.tables;
    std::string types;
    for (const std::size_t i : columns) {
        const ColumnShape& c = source.key[i];
        types += fmt::format("{0}ALTER key_{1} TYPE {2}{3} USING key_{1}::text::{2}{3}", types.empty() ? "" : ", ", i + 1, c.type,
                             c.collate);
    }
    tx.exec("SET LOCAL statement_timeout = '10min'");
    tx.exec(fmt::format("ALTER TABLE {} ALTER document TYPE jsonb USING to_jsonb(document)", t.journal));
    tx.exec(fmt::format("ALTER TABLE {} {}", t.document, types));
    tx.exec(fmt::format("ALTER TABLE {0} ALTER document TYPE {1} USING jsonb_populate_record(NULL::{1}, document)", t.journal,
                        t.document));
}

}  // namespace

std::vector<std::string> view_grants(Transaction& tx, const std::string& view) {
    const Rows rows = tx.exec(kGrants, Params::of(view));
    std::vector<std::string> grants;
    for (int i = 0; i < rows.size(); ++i) grants.push_back(rows.text(i, 0));
    return grants;
}

Result<std::optional<std::string>> key_type_differs(Transaction& tx, const Revision& revision, const SourceShape& source) {
    return guarded([&]() -> std::optional<std::string> {
        const std::vector<std::size_t> columns = differing(tx, revision, source);
        if (columns.empty()) return std::nullopt;
        const ColumnShape& c = source.key[columns.front()];
        return fmt::format("key column \"{}\" of {} is {}{} now, which its documents' table is not yet", c.name, source.described,
                           c.type, c.collate);
    });
}

Result<KeyAlignment> align_keys(Transaction& tx, const PipelineSpec& spec, const Revision& revision, const SourceShape& source) {
    return guarded([&] {
        KeyAlignment out;
        const std::vector<std::size_t> columns = differing(tx, revision, source);
        if (columns.empty()) return out;
        const RevisionTables& t = revision.tables;
        tx.exec("SAVEPOINT keys");
        try {
            // The view before its tables, as whoever searches takes them.
            with_short_locks(tx, {spec.target, t.document, t.chunk, t.journal}, [&] {
                if (tx.exec(kViewOf, Params::of(spec.target, t.document)).boolean(0, 0)) {
                    out.grants = view_grants(tx, spec.target);
                    drop_view(tx, spec, source.key[columns.front()]);
                }
                alter(tx, revision, source, columns);
            });
            out.done = KeysAligned::altered;
        } catch (const StoreFailure& failure) {
            if (!is_of_the_values(failure.error)) throw;
            tx.exec("ROLLBACK TO SAVEPOINT keys");
            out = {KeysAligned::impossible, {}};
        }
        return out;
    });
}

}  // namespace homeostat
