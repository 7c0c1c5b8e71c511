#include "store/data/source_facts.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "store/data/drift.hpp"
#include "store/data/source_reader.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

constexpr double kManyRows = 100'000;
constexpr std::string_view kQueryCancelled = "57014";

const Statement kRelation{"facts_relation",
                          "SELECT homeostat.relation_text(c.oid), has_table_privilege($2::name, c.oid, 'SELECT')"
                          " OR has_any_column_privilege($2::name, c.oid, 'SELECT'), $2, homeostat.relation_columns(c.oid)::text"
                          " FROM pg_class c WHERE c.oid = to_regclass($1)"};

const Statement kColumns{"facts_columns",
                         "SELECT a.attnum IS NOT NULL, coalesce(has_column_privilege($3::name, a.attrelid, a.attnum, 'SELECT'),"
                         " false),"
                         " format_type(a.atttypid, a.atttypmod), coalesce(a.attnotnull, false), quote_ident(w.name)"
                         " FROM unnest($2::text[]) WITH ORDINALITY AS w(name, i)"
                         " LEFT JOIN pg_attribute a ON a.attrelid = to_regclass($1) AND a.attname = w.name AND a.attnum > 0"
                         " AND NOT a.attisdropped ORDER BY w.i"};

const Statement kCurrentUser{"facts_reader", "SELECT current_user"};

const Statement kTemplate{"facts_template", "SELECT homeostat.template_columns($1)::text"};

const Statement kPrimary{
    "facts_primary",
    "SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisprimary AND"
    " (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a WHERE a.attrelid = i.indrelid"
    "   AND a.attnum = ANY (i.indkey::int2[])) = (SELECT array_agg(u ORDER BY u) FROM unnest($2::text[]) AS u))"};

const Statement kCollations{
    "facts_collations",
    "SELECT a.attname, format('%I', c.collname), c.collisdeterministic, coalesce(c.collversion, ''),"
    " coalesce(pg_collation_actual_version(c.oid), ''), c.collprovider = 'd'"
    " FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation"
    " WHERE a.attrelid = to_regclass($1) AND a.attname = ANY ($2::text[]) AND NOT a.attisdropped ORDER BY a.attnum"};

// Since PostgreSQL 15: the database's own collation has a version as well.
const Statement kDefaultCollation{"facts_default_collation",
                                  "SELECT datcollate, coalesce(datcollversion, ''),"
                                  " coalesce(pg_database_collation_actual_version(oid), '') FROM pg_database"
                                  " WHERE datname = current_database()"};

const Statement kServer{"facts_server", "SELECT current_setting('server_version_num')::int >= 150000"};

const Statement kVersionColumns{
    "facts_version_columns",
    "SELECT a.attname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = to_regclass($1)"
    " AND a.attnum > 0 AND NOT a.attisdropped AND NOT a.attname = ANY ($2::text[])"
    " AND ((t.typcategory = 'D' AND a.attname ~* '(updated|modified|changed|edited|touched)')"
    "   OR (t.typcategory IN ('N', 'D', 'U', 'S') AND a.attname ~* '^(row_?)?(version|revision|xmin|etag)$')) ORDER BY a.attnum"};

std::vector<std::pair<std::string, std::string>> named_columns(Transaction& tx, const PipelineSpec& spec) {
    std::vector<std::pair<std::string, std::string>> out;
    for (const std::string& name : spec.key) out.emplace_back("key", name);
    if (spec.content_template) {
        const Rows rows = tx.exec(kTemplate, Params::of(*spec.content_template));
        for (std::string& name : parse_text_array(rows.view(0, 0))) out.emplace_back("content", std::move(name));
    }
    for (const std::string& name : spec.content) out.emplace_back("content", name);
    if (spec.chunk_context) {
        const Rows rows = tx.exec(kTemplate, Params::of(*spec.chunk_context));
        for (std::string& name : parse_text_array(rows.view(0, 0))) out.emplace_back("chunk_context", std::move(name));
    }
    for (const std::string& name : spec.metadata) out.emplace_back("metadata", name);
    if (spec.version_column) out.emplace_back("version", *spec.version_column);
    return out;
}

class Sampler {
public:
    Sampler(Transaction& tx, const SourceShape& source, double rows, const SampleLimits& limits)
        : tx_(tx), source_(source), rows_(rows), limits_(limits) {}

    SourceSample run() {
        attempt([&] { out_.content = texts(); });
        attempt([&] { out_.key = keys(); });
        return std::move(out_);
    }

private:
    // One that fails must not end the transaction of the others.
    template <class F>
    void attempt(F&& f) {
        tx_.exec("SAVEPOINT sample_source");
        tx_.exec(fmt::format("SET LOCAL statement_timeout = {}", limits_.timeout_ms));
        try {
            f();
        } catch (const StoreFailure& failure) {
            if (failure.error.retryable() && failure.error.code != kQueryCancelled) throw;
            out_.failure = failure.error.code == kQueryCancelled
                               ? fmt::format("reading a sample took longer than {} s", limits_.timeout_ms / 1'000)
                               : failure.error.message;
        }
        tx_.exec("ROLLBACK TO SAVEPOINT sample_source");
        tx_.exec("RELEASE SAVEPOINT sample_source");
    }

    // The first rows of a large table are its oldest ones, and say little of the others.
    std::string sampled() const {
        const bool stored = source_.kind == 'r' || source_.kind == 'p' || source_.kind == 'm';
        if (!stored || rows_ < kManyRows) return source_.relation + " s";
        const double percent = std::clamp(200.0 * static_cast<double>(limits_.texts) / rows_, 0.001, 100.0);
        return fmt::format("{} s TABLESAMPLE SYSTEM ({:.6f})", source_.relation, percent);
    }

    ContentSample texts() {
        const Rows r =
            tx_.exec(fmt::format("SELECT count(*), count(*) FILTER (WHERE btrim(t, E' \\t\\r\\n') = ''),"
                                 " coalesce(avg(octet_length(t)), 0)::bigint, coalesce(max(octet_length(t)), 0)"
                                 " FROM (SELECT {} AS t FROM {} LIMIT {}) s",
                                 source_.body, sampled(), limits_.texts));
        return {r.i64(0, 0), r.i64(0, 1), r.i64(0, 2), r.i64(0, 3)};
    }

    KeySample keys() {
        const std::string list = source_.key_list("s");
        std::string all = "true";
        for (const ColumnShape& c : source_.key) all += fmt::format(" AND s.{} IS DISTINCT FROM NULL", c.quoted);
        const Rows r =
            tx_.exec(fmt::format("SELECT count(*), count(*) FILTER (WHERE NOT ({0})),"
                                 " count(*) FILTER (WHERE {0}) - count(DISTINCT ROW({1})) FILTER (WHERE {0})"
                                 " FROM (SELECT {1} FROM {2} s LIMIT {3}) s",
                                 all, list, source_.relation, limits_.keys));
        return {r.i64(0, 0), r.i64(0, 1), r.i64(0, 2)};
    }

    Transaction& tx_;
    const SourceShape& source_;
    double rows_;
    const SampleLimits& limits_;
    SourceSample out_;
};

}  // namespace

Result<UsedColumns> read_used_columns(Transaction& tx, const PipelineSpec& spec) {
    return guarded([&] {
        UsedColumns out;
        // Whoever declares in this transaction looks along people's path; from here on only what is named in full.
        tx.exec("SET LOCAL search_path = pg_catalog");
        const std::string reader = tx.source(reader_of_pipeline(tx, spec.uid)).exec(kCurrentUser).text(0, 0);
        const Rows relation = tx.exec(kRelation, Params::of(spec.source, reader));
        if (relation.empty()) return out;
        out.described = relation.text(0, 0);
        out.readable = relation.boolean(0, 1);
        out.role = relation.text(0, 2);
        const std::vector<std::string> known = parse_text_array(relation.view(0, 3));
        const std::vector<std::string_view> near(known.begin(), known.end());
        const auto named = named_columns(tx, spec);
        std::vector<std::string> names;
        for (const auto& [role, name] : named) names.push_back(name);
        const Rows rows = tx.exec(kColumns, Params::of(spec.source, format_text_array(names), reader));
        for (int i = 0; i < rows.size(); ++i) {
            const auto& [role, name] = named[static_cast<std::size_t>(i)];
            UsedColumn c{role, name, rows.text(i, 4), rows.boolean(i, 0), rows.boolean(i, 1), rows.text(i, 2), rows.boolean(i, 3),
                         ""};
            if (!c.exists) c.meant = did_you_mean(name, near);
            out.columns.push_back(std::move(c));
        }
        return out;
    });
}

Result<KeyFacts> read_key_facts(Transaction& tx, const PipelineSpec& spec) {
    return guarded([&] {
        KeyFacts out;
        const Params key = Params::of(spec.source, format_text_array(spec.key));
        out.primary = tx.exec(kPrimary, key).boolean(0, 0);
        const Rows collations = tx.exec(kCollations, key);
        const bool versioned = tx.exec(kServer).boolean(0, 0);
        for (int i = 0; i < collations.size(); ++i) {
            RowReader row(collations, i);
            KeyCollation c{row.text(), row.text(), row.boolean(), row.text(), row.text()};
            const bool of_database = row.boolean();
            if (of_database && versioned) {
                const Rows database = tx.exec(kDefaultCollation);
                c.collation = database.text(0, 0);
                c.recorded = database.text(0, 1);
                c.actual = database.text(0, 2);
            }
            out.collations.push_back(std::move(c));
        }
        std::vector<std::string> used = spec.key;
        used.insert(used.end(), spec.content.begin(), spec.content.end());
        const Rows versions = tx.exec(kVersionColumns, Params::of(spec.source, format_text_array(used)));
        for (int i = 0; i < versions.size(); ++i) out.version_columns.push_back(versions.text(i, 0));
        return out;
    });
}

Result<SourceSample> sample_source(Transaction& tx, const SourceShape& source, double estimated_rows,
                                   const SampleLimits& limits) {
    return guarded([&] { return Sampler(tx.source(source.reader), source, estimated_rows, limits).run(); });
}

}  // namespace homeostat
