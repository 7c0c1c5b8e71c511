#include "store/data/relation.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "store/data/key_types.hpp"
#include "store/data/source_code.hpp"
#include "store/data/source_reader.hpp"
#include "store/data/who_looks.hpp"
#include "store/pg/pg_error.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

const Statement kRelation{
    "relation_shape",
    "SELECT c.oid, c.relkind, homeostat.relation_text(c.oid), greatest(c.reltuples, 0),"
    " has_table_privilege($3::name, c.oid, 'SELECT') OR has_any_column_privilege($3::name, c.oid, 'SELECT'), $3::name,"
    " getdatabaseencoding(),"
                          // What the role that declared it may not read is read for nobody.
    " (SELECT homeostat.refusal(p) FROM homeostat.pipeline p WHERE p.uid = $2::bigint),"
    " $3::name = current_user OR has_schema_privilege($3::name, c.relnamespace, 'USAGE'),"
    " format('schema %s', c.relnamespace::regnamespace) FROM pg_class c WHERE c.oid = to_regclass($1)"};

// A domain is read as what it is over: a column of ours that had it would stand in the way of whoever alters it. A row type, also
// inside another type, is named, as a column of ours that had it would stand in the way of whoever alters its table.
const Statement kColumns{
    "relation_columns",
    "SELECT a.attname, quote_ident(a.attname), format_type(t.oid, t.mod),"
    " CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation"
    "      THEN format(' COLLATE %I.%I', cn.nspname, co.collname) ELSE '' END,"
    " a.attnotnull, has_column_privilege($2::name, $1::oid, a.attnum, 'SELECT'), coalesce(on_.nspname, 'pg_catalog'),"
    " CASE WHEN t.oid IN ('int2'::regtype, 'int4'::regtype) THEN 'bigint' WHEN t.oid = 'varchar'::regtype THEN 'text'"
    // Of these the name alone would mean a length of one.
    "      WHEN t.oid IN ('bpchar'::regtype, 'bit'::regtype) THEN format('%I.%I', 'pg_catalog', t.typname)"
    "      ELSE format_type(t.oid, NULL) END,"
    " t.oid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'bool'::regtype, 'uuid'::regtype, 'date'::regtype,"
    "  'timestamp'::regtype, 'timestamptz'::regtype, 'bytea'::regtype)"
    "  OR (t.oid IN ('text'::regtype, 'varchar'::regtype) AND coalesce(co.collisdeterministic, true)), t.typlen > 0,"
    " CASE WHEN t.oid >= 16384 THEN (WITH RECURSIVE part (oid) AS (SELECT t.oid UNION SELECT n.oid FROM part p"
    "    JOIN pg_type y ON y.oid = p.oid CROSS JOIN LATERAL (SELECT y.typelem UNION ALL SELECT y.typbasetype"
    "        UNION ALL SELECT g.rngsubtype FROM pg_range g WHERE y.oid IN (g.rngtypid, g.rngmultitypid)"
    "        UNION ALL SELECT f.atttypid FROM pg_attribute f WHERE f.attrelid = y.typrelid AND f.attnum > 0"
    "            AND NOT f.attisdropped) n(oid) WHERE n.oid <> 0)"
    "    SELECT format_type(y.oid, NULL) FROM part p JOIN pg_type y ON y.oid = p.oid WHERE y.typrelid <> 0 LIMIT 1) END"
    " FROM pg_attribute a CROSS JOIN LATERAL (WITH RECURSIVE over_ (oid, mod, depth) AS ("
    "    SELECT a.atttypid, a.atttypmod, 0 UNION ALL SELECT n.oid, n.mod, o.depth + 1"
    "    FROM over_ o JOIN pg_type y ON y.oid = o.oid CROSS JOIN LATERAL ("
    "        SELECT y.typbasetype, y.typtypmod WHERE y.typtype = 'd'"
    "        UNION ALL SELECT b.typarray, e.typtypmod FROM pg_type e JOIN pg_type b ON b.oid = e.typbasetype"
    "        WHERE y.typcategory = 'A' AND y.typtype = 'b' AND e.oid = y.typelem AND e.typtype = 'd') n(oid, mod))"
    "    SELECT y.*, o.mod FROM over_ o JOIN pg_type y ON y.oid = o.oid ORDER BY o.depth DESC LIMIT 1) t"
    " LEFT JOIN pg_collation co ON co.oid = a.attcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace"
    // Where the order of the type lives: an extension's operators are only found through its schema.
    " LEFT JOIN LATERAL (SELECT n.nspname FROM pg_opclass oc JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily"
    "    AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 1"
    "    JOIN pg_operator o ON o.oid = ao.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace"
    "    WHERE oc.opcmethod = (SELECT oid FROM pg_am WHERE amname = 'btree') AND oc.opcdefault"
    "      AND oc.opcintype = t.oid LIMIT 1) on_ ON true"
    " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"};

const Statement kUniqueKey{
    "relation_unique_key",
    // An index of a table says nothing of those that inherit from it, but where they are its partitions.
    "SELECT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE i.indrelid = $1::oid AND i.indisunique"
    " AND i.indisvalid AND i.indpred IS NULL"
    " AND (c.relkind <> 'r' OR NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid))"
    " AND i.indexprs IS NULL AND NOT EXISTS (SELECT FROM unnest(i.indkey) WITH ORDINALITY AS u(attnum, pos)"
    "   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum"
    "   WHERE u.pos <= i.indnkeyatts AND NOT a.attname = ANY ($2::text[])))"};

// The first table of which a policy hides rows from whom it is read as: us, or the owner of the view that reads it.
const Statement kFiltered{"relation_filtered", R"sql(
    WITH RECURSIVE reach (oid, reader) AS (
        SELECT $1::oid, r.oid FROM pg_roles r WHERE r.rolname = $2
        UNION
        SELECT d.refobjid, CASE WHEN EXISTS (SELECT FROM pg_options_to_table(c.reloptions) o
                                             WHERE o.option_name = 'security_invoker' AND o.option_value::boolean)
                                THEN r.reader ELSE c.relowner END
        FROM reach r
        JOIN pg_class c ON c.oid = r.oid AND c.relkind = 'v'
        JOIN pg_rewrite w ON w.ev_class = c.oid
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
        WHERE d.refobjid <> c.oid
    )
    SELECT homeostat.relation_text(t.oid), u.rolname FROM reach r
    JOIN pg_class t ON t.oid = r.oid
    JOIN pg_roles u ON u.oid = r.reader
    WHERE t.relkind IN ('r', 'p') AND t.relrowsecurity AND NOT u.rolsuper AND NOT u.rolbypassrls
      AND (t.relforcerowsecurity OR NOT pg_has_role(u.oid, t.relowner, 'USAGE'))
    ORDER BY t.oid LIMIT 1)sql"};

const Statement kExtension{"vector_extension",
                           "SELECT quote_ident(n.nspname), e.extversion,"
                           " (SELECT oid FROM pg_type t WHERE t.typname = 'vector' AND t.typnamespace = n.oid),"
                           " (SELECT oid FROM pg_type t WHERE t.typname = 'halfvec' AND t.typnamespace = n.oid),"
                           " (SELECT count(*) FROM pg_proc p JOIN pg_type t ON t.oid = p.proargtypes[0]"
                           "  WHERE p.pronamespace = to_regnamespace('homeostat') AND p.proname = 'vector_ok'"
                           "  AND t.typnamespace = n.oid), to_regproc('homeostat.make_vector_functions') IS NOT NULL,"
                           " current_setting('transaction_read_only')::boolean"
                           " FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"};

const Statement kMakeFunctions{"vector_functions", "SELECT homeostat.make_vector_functions()"};

// The role that sources are read by.
std::string read_as(Transaction& tx, SourceReader reader) {
    static const Statement kCurrent{"relation_reader", "SELECT current_user"};
    return tx.source(reader).exec(kCurrent).text(0, 0);
}

struct KnownColumn {
    ColumnShape shape;
    bool readable;
    std::string operator_schema;
    std::optional<std::string> row_type;  // that its type is, or holds
};

class Catalog {
public:
    Catalog(Transaction& tx, const PipelineSpec& spec, SourceShape& shape) : spec_(spec), shape_(shape) {
        shape.reader = reader_of_pipeline(tx, spec.uid);
        const Rows relation = tx.exec(kRelation, Params::of(spec.source, spec.uid, read_as(tx, shape.reader)));
        if (relation.empty()) {
            throw StoreFailure({.cls = ErrorClass::db_permanent,
                                .message = fmt::format("pipeline \"{}\": its source {} is gone; restore it or edit the pipeline",
                                                       spec.name, spec.source),
                                .origin = Origin::user,
                                .code = "42P01"});
        }
        RowReader c(relation, 0);
        oid = c.text();
        shape.kind = c.view().front();
        shape.described = c.text();
        shape.estimated_rows = c.real();
        const bool readable = c.boolean();
        user_ = c.text();
        const std::string_view encoding = c.view();
        const std::optional<std::string> refused = c.maybe();
        const bool may_enter = c.boolean();  // its schema
        const std::string_view schema = c.view();
        // There any bytes are a text, and one that is no UTF-8 must not end the comparison of all others: they are hashed as
        // they are, which for UTF-8 is the same.
        if (encoding == "SQL_ASCII") shape.hashed_in = "SQL_ASCII";
        if (!may_enter) refuse_right(user_, fmt::format("{}, as it may not use {}", shape.described, schema), "USAGE");
        if (!readable) refuse_right(user_, shape.described);
        if (refused) {
            throw StoreFailure({.cls = ErrorClass::db_permanent,
                                .message = fmt::format("pipeline \"{}\": {}", spec.name, *refused),
                                .origin = Origin::user,
                                .code = std::string(kRightOfAnother)});
        }
        const Rows rows = tx.exec(kColumns, Params::of(oid, user_));
        for (int i = 0; i < rows.size(); ++i) {
            RowReader column(rows, i);
            KnownColumn known;
            known.shape = {column.text(), column.text(), column.text(), column.text(), column.boolean(), "", false, false};
            known.readable = column.boolean();
            known.operator_schema = column.text();
            known.shape.wide = column.text();
            known.shape.exact = column.boolean();
            known.shape.fixed = column.boolean();
            known.row_type = column.maybe();
            columns_.push_back(std::move(known));
        }
    }

    const KnownColumn& column(std::string_view role, const std::string& name) const {
        const auto it =
            std::find_if(columns_.begin(), columns_.end(), [&](const KnownColumn& c) { return c.shape.name == name; });
        if (it == columns_.end()) {
            std::vector<std::string_view> known;
            for (const KnownColumn& c : columns_) known.push_back(c.shape.name);
            throw StoreFailure({.cls = ErrorClass::db_permanent,
                                .message = fmt::format("pipeline \"{}\": {} column \"{}\" is not in {}{}", spec_.name, role, name,
                                                       shape_.described, did_you_mean(name, known)),
                                .origin = Origin::user,
                                .code = "42703"});
        }
        used.push_back(name);
        if (!it->readable) refuse_right(user_, fmt::format("column \"{}\" of {}", name, shape_.described));
        return *it;
    }

    // One whose values are stored as what they are. PostgreSQL refuses to alter a table, or a type, while a column of some table
    // has its row type. A table's own column is in the way already; that of a view is not.
    const KnownColumn& stored(std::string_view role, const std::string& name) const {
        const KnownColumn& c = column(role, name);
        if (!c.row_type || (shape_.kind != 'v' && shape_.kind != 'f')) return c;
        throw StoreFailure(
            {.cls = ErrorClass::invalid,
             .message = fmt::format("pipeline \"{0}\": {1} column \"{2}\" of {3} holds the row type {4}, which nobody "
                                    "could alter while its values are stored; give {3} its fields as columns, or "
                                    "to_jsonb(\"{2}\")",
                                    spec_.name, role, name, shape_.described, *c.row_type),
             .origin = Origin::user,
             .code = ""});
    }

    const std::string& reader() const { return user_; }

    std::string oid;
    mutable std::vector<std::string> used;  // columns that were asked for

private:
    [[noreturn]] void refuse_right(const std::string& user, const std::string& what, std::string_view right = "SELECT") const {
        throw StoreFailure({.cls = ErrorClass::db_permanent,
                            .message = fmt::format("pipeline \"{}\": role \"{}\" may not read {}; GRANT {} ON it to that role",
                                                   spec_.name, user, what, right),
                            .origin = Origin::user,
                            .code = "42501"});
    }

    const PipelineSpec& spec_;
    SourceShape& shape_;
    std::string user_;
    std::vector<KnownColumn> columns_;
};

std::string literal(std::string_view text) {
    std::string out = "E'";
    for (const char c : text) {
        if (c == '\'' || c == '\\') out += c;
        out += c;
    }
    return out + "'";
}

std::string column_text(const ColumnShape& c) { return fmt::format("s.{}::text", c.quoted); }

std::string joined_content(const Catalog& catalog, const PipelineSpec& spec) {
    if (spec.content.size() == 1)
        return fmt::format("coalesce({}, '')", column_text(catalog.column("content", spec.content[0]).shape));
    std::string list;
    for (const std::string& name : spec.content) {
        list += fmt::format(", nullif({}, '')", column_text(catalog.column("content", name).shape));
    }
    return fmt::format("concat_ws(E'\\n\\n'{})", list);
}

// concat() takes NULL for the empty string, which is what a template wants of an absent value.
std::string template_content(const Catalog& catalog, const std::string& role, const std::string& text) {
    std::vector<std::string> parts;
    std::string plain;
    const auto flush = [&] {
        if (!plain.empty()) parts.push_back(literal(plain));
        plain.clear();
    };
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
            plain += c;
            ++i;
        } else if (c == '{') {
            const std::size_t end = text.find('}', i);
            flush();
            parts.push_back(column_text(catalog.column(role, text.substr(i + 1, end - i - 1)).shape));
            i = end;
        } else {
            plain += c;
        }
    }
    flush();
    return fmt::format("concat({})", fmt::join(parts, ", "));
}

// The mark cannot be part of the context, so that what is read is taken apart again in one way only, and no two documents have
// one hash.
std::string text_in_context(const Catalog& catalog, const std::string& context, const std::string& text) {
    return fmt::format("concat(translate({}, E'\\x1f', ' '), E'\\x1f', {})", template_content(catalog, "chunk_context", context),
                       text);
}

// An ordinary row's xmin changes exactly when the row does. A view has none; a foreign table's means nothing here.
void choose_version(const Catalog& catalog, const PipelineSpec& spec, SourceShape& shape) {
    if (spec.version_column) {
        const ColumnShape& c = catalog.stored("version", *spec.version_column).shape;
        shape.version = VersionKind::column;
        shape.version_sql = "s." + c.quoted;
        shape.version_type = c.type + c.collate;
        shape.fixed_version = c.fixed;
    } else if (shape.kind == 'r' || shape.kind == 'p' || shape.kind == 'm') {
        shape.version = VersionKind::xmin;
        shape.version_sql = "s.xmin";
        shape.version_type = "xid";
    } else {
        shape.version = VersionKind::hash;
        shape.version_sql = "NULL::xid";
        shape.version_type = "xid";
    }
}

template <class F>
std::string comma_list(const std::vector<ColumnShape>& columns, F&& each) {
    std::string out;
    for (const ColumnShape& c : columns) out += (out.empty() ? "" : ", ") + each(c);
    return out;
}

}  // namespace

std::string SourceShape::key_list(std::string_view alias) const {
    return comma_list(key, [&](const ColumnShape& c) { return fmt::format("{}.{}", alias, c.quoted); });
}

std::string SourceShape::key_row(std::string_view alias) const { return fmt::format("ROW({})", key_list(alias)); }

std::string SourceShape::key_text_list(std::string_view alias) const {
    return comma_list(key, [&](const ColumnShape& c) { return fmt::format("{}.{}::text", alias, c.quoted); });
}

std::string SourceShape::hash_of(std::string_view text) const {
    return fmt::format("sha256(convert_to({}, '{}'))", text, hashed_in);
}

SourceShape SourceShape::renamed() const {
    SourceShape out = *this;
    for (std::size_t i = 0; i < key.size(); ++i) out.key[i].quoted = fmt::format("k{}", i + 1);
    for (std::size_t i = 0; i < metadata.size(); ++i) out.metadata[i].quoted = fmt::format("m{}", i + 1);
    return out;
}

namespace {

DeclaredIn declared_in(const PipelineSpec& spec) { return {"pipeline", spec.uid, fmt::format("pipeline \"{}\"", spec.name)}; }

// What is hidden must not be taken for gone.
void refuse_or_accept_filter(Transaction& tx, const PipelineSpec& spec, const std::string& oid, const std::string& reader,
                             SourceShape& shape) {
    const Rows rows = tx.exec(kFiltered, Params::of(oid, reader));
    if (rows.empty()) return;
    if (spec.row_security == "Accept") {
        refuse_policy_for_others(tx, declared_in(spec), spec.source, reader);
        shape.filtered = rows.text(0, 0);
        return;
    }
    throw StoreFailure(
        {.cls = ErrorClass::db_permanent,
         .message = fmt::format("pipeline \"{}\": a policy of row level security hides rows of {} from role \"{}\"; "
                                "give that role BYPASSRLS, or declare row_security 'Accept' where the policy is meant "
                                "to choose the documents",
                                spec.name, rows.view(0, 0), rows.view(0, 1)),
         .origin = Origin::user,
         .code = std::string(kSourceFiltered)});
}

}  // namespace

Result<SourceShape> inspect_source(Transaction& tx, const PipelineSpec& spec) {
    return guarded([&] {
        SourceShape shape;
        shape.relation = spec.source;
        const Catalog catalog(tx, spec, shape);
        for (const std::string& name : spec.key) {
            const KnownColumn& c = catalog.stored("key", name);
            shape.key.push_back(c.shape);
            if (!c.shape.not_null) shape.nullable_key = true;
            if (c.operator_schema != "pg_catalog" && shape.search_path.find(c.operator_schema) == std::string::npos) {
                shape.search_path += ", \"" + c.operator_schema + "\"";
            }
        }
        refuse_keys_that_do_not_join(tx, spec, catalog.oid);
        for (const std::string& name : spec.metadata) shape.metadata.push_back(catalog.stored("metadata", name).shape);
        shape.body =
            spec.content_template ? template_content(catalog, "content", *spec.content_template) : joined_content(catalog, spec);
        shape.in_context = spec.chunk_context.has_value();
        shape.content = shape.in_context ? text_in_context(catalog, *spec.chunk_context, shape.body) : shape.body;
        choose_version(catalog, spec, shape);
        refuse_or_accept_filter(tx, spec, catalog.oid, catalog.reader(), shape);
        refuse_what_tells_who_looks(tx, shape.reader, declared_in(spec), spec.source);
        refuse_untrusted_code(tx, shape.reader, fmt::format("pipeline \"{}\"", spec.name), spec.source, catalog.used);
        shape.unique_key = tx.exec(kUniqueKey, Params::of(catalog.oid, format_text_array(spec.key))).boolean(0, 0);
        return shape;
    });
}

Result<VectorExtension> find_vector_extension(Transaction& tx) {
    return guarded([&]() -> Result<VectorExtension> {
        const Rows rows = tx.exec(kExtension);
        if (rows.empty() || rows.null(0, 2) || rows.null(0, 3)) {
            return Error{
                .cls = ErrorClass::db_permanent,
                .message = "the extension vector (pgvector 0.7 or newer) is not in this database; run CREATE EXTENSION vector",
                .origin = Origin::user};
        }
        RowReader c(rows, 0);
        VectorExtension found{c.text(), c.text(), c.integer<std::uint32_t>(), c.integer<std::uint32_t>()};
        const bool whole = c.integer() >= 2, may_make = c.boolean(), only_reads = c.boolean();
        // They went with the extension, when it was dropped with all that rests on it. Who only reads leaves it to those who
        // write.
        if (!whole && may_make && !only_reads) tx.exec(kMakeFunctions);
        return found;
    });
}

}  // namespace homeostat
