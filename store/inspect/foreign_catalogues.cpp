#include "store/inspect/foreign_catalogues.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

// The columns of both statements below, in this order.
ForeignVectorizer vectorizer_at(RowReader c) {
    ForeignVectorizer v;
    const auto integer = [&] { return c.maybe_integer<std::int64_t>(); };
    v.name = c.text();
    v.source = c.text();
    v.source_named = c.text();
    v.key = c.words();
    v.content = c.text();
    v.loading = c.text();
    v.parsing = c.text();
    v.chunking = c.text();
    v.chunk_size = integer();
    v.chunk_overlap = integer();
    v.format = c.text();
    v.embedding = c.text();
    v.model = c.text();
    v.dimensions = integer();
    v.base_url = c.text();
    v.api_key_name = c.text();
    v.api_key_file = c.text();
    v.input_type = c.text();
    v.further = c.text();
    v.indexing = c.text();
    v.opclass = c.text();
    v.m = integer();
    v.ef_construction = integer();
    v.disabled = c.boolean();
    v.sink = c.text();
    v.sink_named = c.text();
    v.sink_key = c.words();
    v.vector_column = c.text();
    v.chunk_column = c.text();
    v.text_column = c.text();
    return v;
}

// Whole rows as JSON: what a release has no column for is NULL. Until 0.10 the destination stood in columns of its own and the
// column that is embedded in the chunking.
const Statement kPgai{"", R"sql(
    SELECT coalesce(v ->> 'name', concat_ws('_', v ->> 'source_schema', v ->> 'source_table', v ->> 'id')),
        CASE WHEN to_regclass(s.named) IS NOT NULL THEN s.named ELSE '' END, s.named, k.columns::text,
        coalesce(c #>> '{loading,column_name}', c #>> '{chunking,chunk_column}', ''), coalesce(c #>> '{loading,implementation}', 'column'),
        coalesce(c #>> '{parsing,implementation}', 'none'), coalesce(c #>> '{chunking,implementation}', 'none'),
        c #>> '{chunking,chunk_size}', c #>> '{chunking,chunk_overlap}', coalesce(c #>> '{formatting,template}', '$chunk'),
        coalesce(c #>> '{embedding,implementation}', ''), coalesce(c #>> '{embedding,model}', ''), c #>> '{embedding,dimensions}',
        coalesce(c #>> '{embedding,base_url}', ''), coalesce(c #>> '{embedding,api_key_name}', ''), '',
        coalesce(c #>> '{embedding,input_type}', ''),
        coalesce(nullif(((c -> 'embedding') - '{implementation,config_type,model,dimensions,base_url,api_key_name,input_type}'::text[])::text,
                        '{}'), ''),
        coalesce(c #>> '{indexing,implementation}', ''), coalesce(c #>> '{indexing,opclass}', ''), c #>> '{indexing,m}',
        c #>> '{indexing,ef_construction}', coalesce((v ->> 'disabled')::boolean, false),
        CASE WHEN to_regclass(t.named) IS NOT NULL THEN t.named ELSE '' END, t.named, k.columns::text,
        CASE WHEN t.in_source THEN c #>> '{destination,embedding_column}' ELSE 'embedding' END,
        CASE WHEN t.in_source THEN '' ELSE 'chunk_seq' END, CASE WHEN t.in_source THEN '' ELSE 'chunk' END
    FROM (SELECT to_jsonb(r) AS v, to_jsonb(r) -> 'config' AS c FROM ai.vectorizer r) r
    CROSS JOIN LATERAL (SELECT format('%I.%I', v ->> 'source_schema', v ->> 'source_table') AS named) s
    CROSS JOIN LATERAL (SELECT ARRAY(SELECT x ->> 'attname' FROM jsonb_array_elements(v -> 'source_pk') x
                                     ORDER BY (x ->> 'pknum')::int) AS columns) k
    CROSS JOIN LATERAL (
        SELECT c #>> '{destination,implementation}' = 'column' AS in_source,
            CASE WHEN c #>> '{destination,implementation}' = 'column' THEN s.named
                 ELSE format('%I.%I', coalesce(c #>> '{destination,target_schema}', v ->> 'target_schema', v ->> 'source_schema'),
                             coalesce(c #>> '{destination,target_table}', v ->> 'target_table', '')) END AS named) t
    ORDER BY (v ->> 'id')::bigint)sql"};

// How a column is cut stands in the arguments of its trigger: column, chunk table, strategy, size, overlap. Names are as regclass
// printed them. What is not said is as the extension's settings have it, where those can be read.
const Statement kPgedge{"", R"sql(
    SELECT concat_ws('_', c.relname, v ->> 'source_column'),
        CASE WHEN c.oid IS NULL THEN '' ELSE format('%I.%I', n.nspname, c.relname) END, v ->> 'source_table', array_remove(ARRAY[coalesce(v ->> 'source_pk', p.attname::text)], NULL)::text,
        v ->> 'source_column', 'column', 'none', coalesce(g.a[3], ''), g.a[4], g.a[5], '$chunk',
        coalesce(v ->> 'provider', current_setting('pgedge_vectorizer.provider', true), ''),
        coalesce(v ->> 'model', current_setting('pgedge_vectorizer.model', true), ''),
        nullif((SELECT a.atttypmod FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'embedding' AND NOT a.attisdropped), -1),
        coalesce(current_setting('pgedge_vectorizer.api_url', true), ''), '',
        coalesce(current_setting('pgedge_vectorizer.api_key_file', true), ''), '', '', 'hnsw', 'vector_cosine_ops', NULL, NULL, false,
        CASE WHEN t.oid IS NULL THEN '' ELSE format('%I.%I', tn.nspname, t.relname) END, v ->> 'chunk_table', ARRAY['source_id']::text, 'embedding', 'chunk_index',
        'content'
    FROM (SELECT to_jsonb(r) AS v FROM pgedge_vectorizer.vectorizers r) r
    LEFT JOIN pg_class c ON c.oid = to_regclass(v ->> 'source_table') LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_class t ON t.oid = to_regclass(quote_ident(v ->> 'chunk_table')) LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
    LEFT JOIN LATERAL (SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                       WHERE i.indrelid = c.oid AND i.indisprimary LIMIT 1) p ON true
    LEFT JOIN LATERAL (
        SELECT x.a FROM pg_trigger w CROSS JOIN LATERAL (
            SELECT string_to_array(replace(encode(w.tgargs, 'escape'), '\000', E'\x01'), E'\x01') AS a) x
        WHERE w.tgrelid = c.oid AND NOT w.tgisinternal AND x.a[1] = v ->> 'source_column' AND x.a[2] = v ->> 'chunk_table'
          AND w.tgnargs >= 5 LIMIT 1) g ON true
    ORDER BY (v ->> 'id')::bigint)sql"};

const Statement kSinkColumns{"", R"sql(
    SELECT format('%I.%I', n.nspname, c.relname), a.attname, k.kind, k.width,
        t.oid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
    CROSS JOIN LATERAL homeostat.adopted_column(c.oid, a.attname) k
    WHERE c.oid = to_regclass($1) ORDER BY a.attnum)sql"};

const Statement kIsThere{"", "SELECT to_regclass($1) IS NOT NULL"};

Result<std::vector<ForeignVectorizer>> read_catalogue(Transaction& tx, std::string_view table, std::string_view tool,
                                                      const Statement& read) {
    return guarded([&]() -> Result<std::vector<ForeignVectorizer>> {
        if (!tx.exec(kIsThere, Params::of(table)).boolean(0, 0))
            return not_found(fmt::format("there is no table {} in this database, so {} keeps nothing here", table, tool));
        return all_of(tx.exec(read), vectorizer_at);
    });
}

struct SinkColumn {
    std::string name, kind;
    std::optional<std::int64_t> width;
    bool time = false;
};

constexpr std::string_view kFive = "the document's key, the number of the chunk, its text, its vector, a time";

}  // namespace

Result<std::vector<ForeignVectorizer>> read_pgai(Transaction& tx) { return read_catalogue(tx, "ai.vectorizer", "pgai", kPgai); }

Result<std::vector<ForeignVectorizer>> read_pgedge(Transaction& tx) {
    return read_catalogue(tx, "pgedge_vectorizer.vectorizers", "pgEdge's vectorizer", kPgedge);
}

Result<ForeignVectorizer> read_sink(Transaction& tx, const std::string& relation) {
    return guarded([&]() -> Result<ForeignVectorizer> {
        const Rows rows = tx.exec(kSinkColumns, Params::of(relation));
        if (rows.empty()) return not_found(fmt::format("relation {} does not exist", relation));
        ForeignVectorizer v;
        v.sink = v.sink_named = rows.text(0, 0);
        std::vector<SinkColumn> rest;
        int vectors = 0;
        int times = 0;
        for (int i = 0; i < rows.size(); ++i) {
            const SinkColumn c{rows.text(i, 1), rows.text(i, 2), rows.maybe_i64(i, 3), rows.boolean(i, 4)};
            if (c.kind == "vector") {
                ++vectors;
                v.vector_column = c.name;
                v.dimensions = c.width;
            } else if (c.time) {
                ++times;
            } else {
                rest.push_back(c);
            }
        }
        // Key, number, text: in this order where types alone do not tell.
        const bool told = vectors == 1 && times == 1 && rest.size() == 3 && rest[1].kind == "integer" && rest[2].kind == "text";
        if (!told) {
            return invalid(
                fmt::format("{} is no table of five columns, {}; homeostat adopt names columns of any other by --key, "
                            "--chunk, --text and --vector",
                            v.sink, kFive));
        }
        v.sink_key = {rest[0].name};
        v.chunk_column = rest[1].name;
        v.text_column = rest[2].name;
        return v;
    });
}

}  // namespace homeostat
