#include "store/data/key_types.hpp"

#include <fmt/format.h>

#include "store/pg/pg_error.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

// Of types that are PostgreSQL's own each that has an order joins; of one of an extension, or of a domain over it, its default
// order says by which operator values are equal.
const Statement kDoNotJoin{"keys_do_not_join", R"sql(
    WITH RECURSIVE over_ (name, oid) AS (
        SELECT a.attname::text, a.atttypid FROM pg_attribute a
        WHERE a.attrelid = $1::oid AND a.attname = ANY ($2::text[]) AND NOT a.attisdropped
        UNION SELECT o.name, y.typbasetype FROM over_ o JOIN pg_type y ON y.oid = o.oid AND y.typtype = 'd'
    )
    SELECT o.name, format_type(t.oid, NULL)
    FROM over_ o JOIN pg_type t ON t.oid = o.oid AND t.typtype = 'b' AND t.typelem = 0 AND t.oid >= 16384
    CROSS JOIN LATERAL (SELECT count(*) AS orders, coalesce(bool_or(q.oprcanmerge OR q.oprcanhash), false) AS joins
        FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
        JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3
            AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype
        JOIN pg_operator q ON q.oid = p.amopopr
        WHERE c.opcdefault AND c.opcintype = t.oid) b
    -- One that is as good as another type (CREATE CAST ... WITHOUT FUNCTION) is compared as that.
    WHERE NOT b.joins AND (b.orders > 0 OR NOT EXISTS (SELECT FROM pg_cast k WHERE k.castsource = t.oid AND k.castmethod = 'b'))
    LIMIT 1)sql"};

}  // namespace

void refuse_keys_that_do_not_join(Transaction& tx, const PipelineSpec& spec, const std::string& oid) {
    const Rows rows = tx.exec(kDoNotJoin, Params::of(oid, format_text_array(spec.key)));
    if (rows.empty()) return;
    throw StoreFailure(
        {.cls = ErrorClass::invalid,
         .message = fmt::format("pipeline \"{}\": key column \"{}\" has the type {}, by which PostgreSQL cannot join "
                                "two tables in full; give the source a column of another type as key, such as "
                                "(\"{}\")::text in a view",
                                spec.name, rows.view(0, 0), rows.view(0, 1), rows.view(0, 0)),
         .origin = Origin::user,
         .code = ""});
}

}  // namespace homeostat
