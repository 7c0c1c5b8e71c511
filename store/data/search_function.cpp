#include "store/data/search_function.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "store/pg/group_role.hpp"

namespace homeostat {

namespace {

constexpr std::string_view kOurs = "homeostat: search of the served view";
constexpr std::size_t kLongestName = 63;

// Candidates that are put in order by their whole vectors, for each that is asked for; and at least.
constexpr int kOfPrefix = 10, kOfBits = 20;
constexpr int kAtLeast = 200;
constexpr int kMost = 1'000;  // as many as pgvector looks at

// Stand for numbers that are filled in when it is called; no name that PostgreSQL takes holds them.
constexpr char kCandidates = '\x01', kRows = '\x02';

// The target's schema and name apart, and what is there of the function's name: its signature, whose it is, what it was made of.
const Statement kThere{"search_there", R"sql(
    SELECT (parse_ident($1))[1], (parse_ident($1))[2], f.oid::regprocedure::text,
        coalesce(obj_description(f.oid, 'pg_proc') LIKE $2 || '%' AND (
            pg_get_userbyid(f.proowner) IN ('homeostat_controller', current_user)
            OR f.proowner = (SELECT c.relowner FROM pg_class c WHERE c.oid = to_regclass($1))), false),
        coalesce(obj_description(f.oid, 'pg_proc'), '')
    FROM (SELECT) o LEFT JOIN pg_proc f ON f.proname = (parse_ident($1))[2] || '_search'
        AND f.pronamespace = to_regnamespace(quote_ident((parse_ident($1))[1]))
        AND f.proargtypes[0] = $3::oid AND f.proargtypes[1] = 'int'::regtype AND f.pronargs = 2)sql"};

struct There {
    std::string schema, view;
    std::string signature;  // "" = there is none
    bool ours = false;
    std::string comment;
};

There look(Transaction& tx, const PipelineSpec& spec, const VectorExtension& vectors) {
    const Rows rows = tx.exec(kThere, Params::of(spec.target, kOurs, static_cast<std::int64_t>(vectors.vector_oid)));
    return {rows.text(0, 0), rows.text(0, 1), rows.maybe(0, 2).value_or(""), rows.boolean(0, 3), rows.text(0, 4)};
}

std::string quoted(std::string_view name) {
    std::string out = "\"";
    for (const char c : name) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + '"';
}

std::string_view operator_of(const PipelineSpec& spec) {
    return spec.distance == "l2" ? "<->" : spec.distance == "inner_product" ? "<#>" : "<=>";
}

// A name of ours that none of the user's columns has.
std::string free_name(std::string name, const std::function<bool(const std::string&)>& taken) {
    while (taken(name)) name += '_';
    return name;
}

std::string free_name(std::string name, const SourceShape& source) {
    return free_name(std::move(name), [&](const std::string& tried) {
        const auto has = [&](const ColumnShape& c) { return c.name == tried; };
        return std::ranges::any_of(source.key, has) || std::ranges::any_of(source.metadata, has);
    });
}

struct Columns {
    std::string table;  // of RETURNS TABLE
    std::string list;   // with {} for the alias
};

Columns columns_of(const SourceShape& source, std::string_view alias) {
    Columns out;
    const auto add = [&](const std::string& name, std::string_view type) {
        out.table += fmt::format("{} {}, ", name, type);
        out.list += fmt::format("{}.{}, ", alias, name);
    };
    for (const ColumnShape& c : source.key) add(c.quoted, c.type);
    for (const ColumnShape& c : source.metadata) add(c.quoted, c.type);
    add("chunk_number", "int");
    add("chunk_text", "text");
    out.table += free_name("distance", source) + " double precision";
    return out;
}

// For format(), which fills in how many: what the user calls his columns is no part of it.
std::string for_format(const std::string& text) {
    std::string out;
    for (const char c : text) {
        out += c == '%' ? "%%" : c == kCandidates ? "%1$s" : c == kRows ? "%2$s" : std::string(1, c);
    }
    return out;
}

// The statement that it runs, with a character for how many candidates and how many rows.
std::string statement(const PipelineSpec& spec, const Revision& revision, const SourceShape& source, const VectorExtension& v,
                      const IndexShape& shape) {
    const VectorType type = revision.settings.vector_type;
    const std::string_view word = type == VectorType::vector ? "vector" : "halfvec";
    const std::string query = fmt::format("$1::{}.{}", v.schema, word);
    const auto distance = [&](std::string_view alias) {
        return fmt::format("{}.embedding OPERATOR({}.{}) {}", alias, v.schema, operator_of(spec), query);
    };
    if (shape.part == IndexPart::whole) {
        return fmt::format("SELECT {}({})::double precision FROM {} v ORDER BY {} LIMIT {}", columns_of(source, "v").list,
                           distance("v"), spec.target, distance("v"), kRows);
    }
    return fmt::format(
        "SELECT {}({})::double precision FROM (SELECT v.* FROM {} v ORDER BY {} OPERATOR({}.{}) {} LIMIT {}) c ORDER BY {} LIMIT "
        "{}",
        columns_of(source, "c").list, distance("c"), spec.target, indexed_part(shape, type, v, "v.embedding"), v.schema,
        shape.part == IndexPart::bits ? "<~>" : operator_of(spec), indexed_part(shape, type, v, query), kCandidates,
        distance("c"), kRows);
}

std::string tagged(const std::string& text) {
    std::string tag = "$search$";
    while (text.find(tag) != std::string::npos) tag.insert(1, "_");
    return tag + text + tag;
}

// pgvector looks at no more candidates than its settings say, which are the caller's again when the function returns.
std::string function_sql(const There& there, const PipelineSpec& spec, const Revision& revision, const SourceShape& source,
                         const VectorExtension& v, const IndexShape& shape) {
    const int each = shape.part == IndexPart::bits ? kOfBits : shape.part == IndexPart::prefix ? kOfPrefix : 1;
    const int least = shape.part == IndexPart::whole ? 40 : kAtLeast;
    // Bits are quick to look at, and tell less of where a vector belongs.
    const double lists = shape.lists.value_or(1);
    const double looked = shape.part == IndexPart::bits ? lists / 2 : std::max(std::sqrt(lists), lists / 10);
    const auto probes = static_cast<int>(std::ceil(looked));
    const std::string set = shape.method == "ivfflat" ? " SET ivfflat.probes = 1" : " SET hnsw.ef_search = 40";
    const std::string body = fmt::format(
        "\nDECLARE\n    candidates int := least({0}, greatest($2 * {1}, {2}));\nBEGIN\n"
        "    IF $2 IS NULL OR $2 NOT BETWEEN 1 AND {0} THEN\n"
        "        RAISE EXCEPTION 'k is %; it must be 1 to {0}', $2 USING ERRCODE = 'invalid_parameter_value';\n    END IF;\n"
        "    PERFORM {3};\n    RETURN QUERY EXECUTE format({4}, candidates, $2) USING $1;\nEND ",
        kMost, each, least,
        shape.method == "ivfflat" ? fmt::format("set_config('ivfflat.probes', '{}', true)", probes)
                                  : "set_config('hnsw.ef_search', candidates::text, true)",
        tagged(for_format(statement(spec, revision, source, v, shape))));
    return fmt::format(
        "CREATE OR REPLACE FUNCTION {0}.{1}({2} {3}.vector, {4} int DEFAULT 10) RETURNS TABLE ({5}) LANGUAGE plpgsql STABLE ROWS "
        "10"
        " SET search_path = pg_catalog, pg_temp{6} AS {7}",
        quoted(there.schema), quoted(there.view + "_search"), free_name("query", source), v.schema, free_name("k", source),
        columns_of(source, "v").table, set, tagged(body));
}

// The text that it is made of names it; FNV-1a.
std::string mark_of(const std::string& text) {
    std::uint64_t h = 14695981039346656037ULL;
    for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    return fmt::format("{}, {:016x}", kOurs, h);
}

}  // namespace

bool wants_search(const PipelineSpec& spec) { return spec.index_type == "bit" || spec.index_dimensions.has_value(); }

bool keep_search(Transaction& tx, const PipelineSpec& spec, const Revision& revision, const SourceShape& source,
                 const VectorExtension& vectors) {
    const There there = look(tx, spec, vectors);
    if (there.signature.empty() && !wants_search(spec)) return true;
    if (!there.signature.empty() && !there.ours) return false;
    if (there.view.size() + std::string_view("_search").size() > kLongestName) return false;
    const std::string sql = function_sql(there, spec, revision, source, vectors, index_there(tx, revision));
    const std::string mark = mark_of(sql);
    if (there.comment == mark) return true;
    const std::string name =
        fmt::format("{}.{}({}.vector, int)", quoted(there.schema), quoted(there.view + "_search"), vectors.schema);
    tx.exec("SAVEPOINT search");
    try {
        tx.exec(sql);
    } catch (const StoreFailure& failure) {
        // Only "cannot change return type" or the names of its arguments is mended by making it anew.
        if (failure.error.code != "42P13") throw;
        tx.exec("ROLLBACK TO SAVEPOINT search");
        tx.exec("DROP FUNCTION " + name);
        tx.exec(sql);
    }
    tx.exec(fmt::format("COMMENT ON FUNCTION {} IS '{}'", name, mark));
    tx.exec(give_function(name, quoted(there.schema)));
    return true;
}

std::string search_there(Transaction& tx, const PipelineSpec& spec, const VectorExtension& vectors) {
    const There there = look(tx, spec, vectors);
    if (!there.ours) return "";
    const Rows rows =
        tx.exec({"search_may", "SELECT has_function_privilege($1::regprocedure, 'EXECUTE')"}, Params::of(there.signature));
    return rows.boolean(0, 0) ? quoted(there.schema) + "." + quoted(there.view + "_search") : "";
}

std::string distance_column(const std::vector<std::string>& key, const std::vector<std::string>& metadata) {
    return free_name("distance", [&](const std::string& name) {
        return std::ranges::find(key, name) != key.end() || std::ranges::find(metadata, name) != metadata.end();
    });
}

void drop_search(Transaction& tx, const PipelineSpec& spec) {
    Result<VectorExtension> vectors = find_vector_extension(tx);
    if (!vectors) return;  // with its type it went
    const There there = look(tx, spec, *vectors);
    if (there.ours) tx.exec("DROP FUNCTION IF EXISTS " + there.signature);
}

}  // namespace homeostat
