#include "store/data/traces.hpp"

#include <fmt/format.h>

#include <unordered_map>

#include "store/data/sql_fragments.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

// How a text begins that may stand in a message: of fewer letters many are alike.
constexpr int kWords = 40;
constexpr int kFewestLetters = 8;

bool is_there(Transaction& tx, const std::string& table) {
    return !tx.exec({"trace_table", "SELECT to_regclass($1)"}, Params::of(table)).null(0, 0);
}

// Of each key column, whether it is of the type that the source has now. Where it is not, keys are compared as text.
std::vector<bool> same_types(Transaction& tx, const SourceShape& source, const Revision& revision) {
    const Rows rows =
        tx.exec({"trace_types",
                 "SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attrelid = to_regclass($1)"
                 " AND a.attname ~ '^key_[0-9]+$' AND NOT a.attisdropped ORDER BY substr(a.attname, 5)::int"},
                Params::of(revision.tables.document));
    std::vector<bool> same(source.key.size(), false);
    for (std::size_t i = 0; i < same.size() && i < static_cast<std::size_t>(rows.size()); ++i)
        same[i] = rows.view(static_cast<int>(i), 0) == source.key[i].type;
    return same;
}

// `document` AND-joined against row w: its columns are key_1, key_2, …
std::string match(const SourceShape& source, const std::vector<bool>& same, std::string_view document) {
    std::string out;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        const ColumnShape& c = source.key[i];
        out += i == 0 ? "" : " AND ";
        out += same[i] ? fmt::format("{}.key_{} = w.k{}::{}{}", document, i + 1, i + 1, c.type, c.collate)
                       : fmt::format("{}.key_{}::text COLLATE \"C\" = w.k{}", document, i + 1, i + 1);
    }
    return out;
}

std::string table_name(const std::string& qualified) { return qualified.substr(qualified.find('.') + 1); }

Params ids_of(const std::vector<Trace>& traces) {
    std::vector<std::int64_t> ids;
    for (const Trace& t : traces) ids.push_back(t.document_id);
    Params params;
    params.bytes(binary_array(ids));
    return params;
}

// `texts`: the table has texts and their hashes.
std::int64_t take(Transaction& tx, const std::string& table, bool texts, const std::vector<Trace>& traces, Taken& taken) {
    std::unordered_map<std::int64_t, std::size_t> key_of;
    for (const Trace& t : traces) key_of[t.document_id] = t.key;
    const std::string said = texts ? fmt::format(
                                         ", encode(chunk_hash, 'hex'), left(ltrim(split_part(ltrim(text, E' \\t\\r\\n'), "
                                         "E'\\n', 1)), {})",
                                         kWords)
                                   : ", NULL, NULL";
    const Rows rows =
        tx.exec({"", fmt::format("DELETE FROM {} WHERE document_id = ANY ($1::bigint[]) RETURNING document_id{}", table, said)},
                ids_of(traces));
    for (int i = 0; i < rows.size(); ++i) {
        RowReader c(rows, i);
        const std::size_t key = key_of.at(c.integer());
        ++taken.rows[key][table_name(table)];
        if (std::optional<std::string> hash = c.maybe()) taken.hashes.push_back(*std::move(hash));
        std::string words = c.text();
        if (words.size() >= kFewestLetters) taken.words[key].push_back(std::move(words));
    }
    return rows.size();
}

}  // namespace

bool names_documents_alike(const Revision& revision, const SourceShape& source) {
    if (revision.settings.key.size() != source.key.size()) return false;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        if (revision.settings.key[i] != source.key[i].name) return false;
    }
    return true;
}

std::vector<Trace> find_traces(Transaction& tx, const SourceShape& source, const Revision& revision,
                               const std::vector<Key>& keys) {
    const RevisionTables& t = revision.tables;
    if (!is_there(tx, t.document)) return {};
    const std::size_t k = source.key.size();
    const std::vector<bool> same = same_types(tx, source, revision);
    Params params;
    add_keys(params, keys, k);
    std::string sql = fmt::format(
        "WITH w AS MATERIALIZED (SELECT * FROM unnest({}) WITH ORDINALITY AS w({}, i))"
        " SELECT w.i - 1, d.document_id FROM w JOIN {} d ON {}",
        numbered(k, "${}::text[]"), numbered(k, "k{}"), t.document, match(source, same, "d"));
    if (is_there(tx, t.journal))
        sql += fmt::format(" UNION SELECT w.i - 1, j.document_id FROM w JOIN {} j ON {}", t.journal,
                           match(source, same, "(j.document)"));
    const Rows rows = tx.exec({"", sql}, params);
    std::vector<Trace> out;
    for (int i = 0; i < rows.size(); ++i) out.push_back({static_cast<std::size_t>(rows.i64(i, 0)), rows.i64(i, 1)});
    return out;
}

std::vector<std::map<std::string, std::int64_t>> count_traces(Transaction& tx, const Revision& revision,
                                                              const std::vector<Trace>& traces, std::size_t keys) {
    std::vector<std::map<std::string, std::int64_t>> out(keys);
    std::unordered_map<std::int64_t, std::size_t> key_of;
    for (const Trace& t : traces) key_of[t.document_id] = t.key;
    for (const std::string& table : {revision.tables.document, revision.tables.chunk, revision.tables.journal}) {
        for (auto& counts : out) counts[table_name(table)] = 0;
        if (traces.empty() || !is_there(tx, table)) continue;
        const Rows rows = tx.exec(
            {"", fmt::format("SELECT document_id, count(*) FROM {} WHERE document_id = ANY ($1::bigint[]) GROUP BY 1", table)},
            ids_of(traces));
        for (int i = 0; i < rows.size(); ++i) out[key_of.at(rows.i64(i, 0))][table_name(table)] += rows.i64(i, 1);
    }
    return out;
}

void take_stored(Transaction& tx, const Revision& revision, const std::vector<Trace>& traces, Taken& taken) {
    if (traces.empty()) return;
    taken.documents += take(tx, revision.tables.document, false, traces, taken);
    if (is_there(tx, revision.tables.chunk)) taken.chunks += take(tx, revision.tables.chunk, true, traces, taken);
    tx.exec({"trace_candidates",
             "DELETE FROM homeostat.prune_candidate WHERE uid = $2::bigint AND revision = $3::int AND document_id = ANY "
             "($1::bigint[])"},
            ids_of(traces).add(revision.tables.uid).add(revision.number));
}

void take_journaled(Transaction& tx, const Revision& revision, const std::vector<Trace>& traces, Taken& taken) {
    if (!traces.empty() && is_there(tx, revision.tables.journal)) take(tx, revision.tables.journal, true, traces, taken);
}

std::vector<Key> canonical_keys(Transaction& tx, const SourceShape& source, const std::vector<Key>& keys) {
    const std::size_t k = source.key.size();
    std::string texts;
    for (std::size_t i = 0; i < k; ++i)
        texts += fmt::format("{}w.k{}::{}{}::text", i == 0 ? "" : ", ", i + 1, source.key[i].type, source.key[i].collate);
    Params params;
    add_keys(params, keys, k);
    const Rows rows = tx.exec({"", fmt::format("SELECT {} FROM unnest({}) WITH ORDINALITY AS w({}, i) ORDER BY w.i", texts,
                                               numbered(k, "${}::text[]"), numbered(k, "k{}"))},
                              params);
    return all_of(rows, [&](RowReader c) {
        Key key;
        for (std::size_t i = 0; i < k; ++i) key.push_back(c.text());
        return key;
    });
}

}  // namespace homeostat
