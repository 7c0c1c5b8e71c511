#include <fmt/format.h>

#include <algorithm>

#include "store/data/sql_fragments.hpp"
#include "store/data/vectors.hpp"
#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

std::string unhex(std::string_view hex) {
    if (hex.starts_with("\\x")) hex.remove_prefix(2);
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    std::string out(hex.size() / 2, '\0');
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    return out;
}

// "7:t:1f…;8:f:2e…" -> chunks.
std::vector<StoredChunk> parse_chunks(std::string_view text) {
    std::vector<StoredChunk> out;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(';'), text.size());
        const std::string_view one = text.substr(0, end);
        const std::size_t colon = one.find(':');
        out.push_back({std::stoi(std::string(one.substr(0, colon))), unhex(one.substr(colon + 3)), one[colon + 1] == 't'});
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

// In a database whose encoding is SQL_ASCII a text may be anything. Which document's it is, is found by halving the batch.
constexpr std::string_view kInvalidByte = "22021";

Rows read_rows(Transaction& tx, const Statement& read, const Params& params, const SourceShape& source) {
    try {
        return tx.exec(read, params);
    } catch (const StoreFailure& failure) {
        if (failure.error.code != kInvalidByte) throw;
        Error e = failure.error;
        e.cls = ErrorClass::content;
        e.message = fmt::format("a text in {} is not UTF-8: {}; correct it in that row", source.described, e.message);
        throw StoreFailure(std::move(e));
    }
}

void take_content(ReadDocument& d, std::string_view content, const SourceShape& source) {
    const std::size_t mark = source.in_context ? content.find(kContextMark) : std::string_view::npos;
    if (mark != std::string_view::npos) {
        d.context = content.substr(0, mark);
        content.remove_prefix(mark + 1);
    }
    d.content = content;
}

// Where the document was kept: what comes after its length.
void fill(ReadDocument& d, RowReader& c, const SourceShape& source) {
    take_content(d, c.view(), source);
    d.content_hash = unhex(c.view());
    d.version = c.maybe();
    d.document_id = c.integer();
    d.write_token = c.maybe_integer<std::int64_t>();
    d.same_content = c.boolean();
    d.chunks = parse_chunks(c.view());
    for (std::size_t m = 0; m < source.metadata.size(); ++m) d.metadata.push_back(c.maybe());
}

}  // namespace

namespace {

Error ambiguous(const SourceShape& source) {
    return {.cls = ErrorClass::invalid,
            .message = fmt::format("more than one row of {} has the same key; name columns in key that identify one row",
                                   source.described),
            .origin = Origin::user,
            .code = "AmbiguousKey"};
}

// Where the source is read apart. What is stored is read first: whoever wrote the token that is found had read the source before,
// so that what is read of it now is no older. (The other way round, an older text could be written over a newer one.)
std::vector<ReadDocument> read_apart(Transaction& tx, const SourceShape& source, const Revision& revision,
                                     const std::vector<Key>& keys, std::int64_t budget, bool first_anyway) {
    const RevisionTables& t = revision.tables;
    const std::size_t k = source.key.size();
    Params params;
    add_keys(params, keys, k);
    const Rows stored = tx.exec(
        {t.prefix + "_read_stored",
         fmt::format(
             "SELECT coalesce(d.document_id, 0), d.write_token, encode(d.content_hash, 'hex'), c.stored FROM unnest({})"
             " WITH ORDINALITY AS w({}, i)"
             " LEFT JOIN LATERAL (SELECT d.document_id, d.write_token, d.content_hash FROM {} d WHERE {} LIMIT 1) d ON true"
             " LEFT JOIN LATERAL (SELECT string_agg(format('%s:%s:%s', c.number, CASE WHEN homeostat.vector_ok(c.embedding, {})"
             "   THEN 't' ELSE 'f' END, encode(c.chunk_hash, 'hex')), ';' ORDER BY c.number) AS stored FROM {} c"
             "   WHERE c.document_id = d.document_id) c ON true ORDER BY w.i",
             numbered(k, "${}::text[]"), numbered(k, "k{}"), t.document, match_document(source, "w"),
             revision.settings.dimensions, t.chunk)},
        params);
    std::string metadata;
    for (std::size_t i = 0; i < source.metadata.size(); ++i) metadata += fmt::format(", r.homeostat_m{}", i);
    params.add(budget).add(first_anyway);
    const Statement read{
        t.prefix + "_read_source",
        fmt::format(
            "SELECT r.present, r.kept, r.bytes, CASE WHEN r.kept THEN r.content END, CASE WHEN r.kept THEN encode({0}, 'hex')"
            " END, r.version{1} FROM (SELECT r.*, r.present AND (${4}::boolean AND r.i = min(r.i) FILTER (WHERE r.present)"
            "  OVER () OR sum(r.bytes) OVER (ORDER BY r.i) <= ${3}::bigint) AS kept FROM ({2}) r OFFSET 0) r ORDER BY r.i",
            source.hash_of("r.content"), metadata, rows_by_key_sql(source), k + 1, k + 2)};
    const Rows rows = read_rows(tx.source(source.reader), read, params, source);
    if (rows.size() != static_cast<int>(keys.size())) throw StoreFailure(ambiguous(source));
    std::vector<ReadDocument> out;
    out.reserve(keys.size());
    for (int i = 0; i < rows.size(); ++i) {
        ReadDocument d;
        d.key = keys[static_cast<std::size_t>(i)];
        RowReader c(rows, i);
        d.in_source = c.boolean();
        const bool kept = c.boolean();
        d.deferred = d.in_source && !kept;
        d.bytes = c.maybe_integer<std::int64_t>().value_or(0);
        if (kept) {
            take_content(d, c.view(), source);
            const std::string_view hash = c.view();
            d.content_hash = unhex(hash);
            d.version = c.maybe();
            d.document_id = stored.i64(i, 0);
            d.write_token = stored.maybe_i64(i, 1);
            d.same_content = stored.view(i, 2) == hash;
            if (d.same_content || revision.settings.chunker != "whole") d.chunks = parse_chunks(stored.view(i, 3));
            for (std::size_t m = 0; m < source.metadata.size(); ++m) d.metadata.push_back(c.maybe());
        }
        out.push_back(std::move(d));
    }
    return out;
}

}  // namespace

Result<std::vector<ReadDocument>> read_documents(Transaction& tx, const SourceShape& source, const Revision& revision,
                                                 const std::vector<Key>& keys, std::int64_t budget, bool first_anyway) {
    return guarded([&]() -> Result<std::vector<ReadDocument>> {
        if (source.reader.apart()) return read_apart(tx, source, revision, keys, budget, first_anyway);
        const RevisionTables& t = revision.tables;
        const std::size_t k = source.key.size();
        std::string metadata_out;
        for (std::size_t i = 0; i < source.metadata.size(); ++i) metadata_out += fmt::format(", r.homeostat_m{}", i);
        const Statement read{
            t.prefix + "_read",
            fmt::format(
                "SELECT r.i, r.present, r.kept, r.bytes, CASE WHEN r.kept THEN r.content END, r.homeostat_hash::text, r.version,"
                " CASE WHEN r.kept THEN coalesce(d.document_id, 0) END,"
                " d.write_token, d.content_hash = r.homeostat_hash, c.stored{2} FROM ("
                // Hashed and sent is only what fits: of the rest no more than the length is looked at, which for a column of text
                // needs no reading of its text. OFFSET 0, lest the hash be computed wherever it is mentioned.
                " SELECT r.*, CASE WHEN r.kept THEN {9} END AS homeostat_hash FROM ("
                "  SELECT r.*, r.present AND (${7}::boolean AND r.i = min(r.i) FILTER (WHERE r.present) OVER ()"
                "   OR sum(r.bytes) OVER (ORDER BY r.i) <= ${0}::bigint) AS kept FROM ({3}) r) r OFFSET 0) r"
                // By key, one at a time: a join would be planned while the table is empty and read all of it ever after.
                " LEFT JOIN LATERAL (SELECT d.document_id, d.write_token, d.content_hash FROM {1} d WHERE r.kept AND {4} LIMIT "
                "1) d"
                "  ON true"
                " LEFT JOIN LATERAL (SELECT string_agg(format('%s:%s:%s', c.number, CASE WHEN homeostat.vector_ok(c.embedding, "
                "{5})"
                "   THEN 't' ELSE 'f' END, encode(c.chunk_hash, 'hex')), ';' ORDER BY c.number) AS stored FROM {6} c"
                "   WHERE c.document_id = d.document_id{8}) c ON true"
                " ORDER BY r.i",
                k + 1, t.document, metadata_out, rows_by_key_sql(source), match_document(source, "r"),
                revision.settings.dimensions, t.chunk, k + 2,
                // A chunk that is the whole document stays with it or goes with it: of another content none can stay.
                revision.settings.chunker == "whole" ? " AND d.content_hash = r.homeostat_hash" : "",
                source.hash_of("r.content"))};
        Params params;
        add_keys(params, keys, k);
        params.add(budget).add(first_anyway);
        const Rows rows = read_rows(tx, read, params, source);
        if (rows.size() != static_cast<int>(keys.size())) {
            return ambiguous(source);
        }
        std::vector<ReadDocument> out;
        out.reserve(keys.size());
        for (int i = 0; i < rows.size(); ++i) {
            ReadDocument d;
            d.key = keys[static_cast<std::size_t>(i)];
            RowReader c(rows, i);
            c.skip();  // its number
            d.in_source = c.boolean();
            const bool kept = c.boolean();
            d.deferred = d.in_source && !kept;
            d.bytes = c.maybe_integer<std::int64_t>().value_or(0);
            if (kept) fill(d, c, source);
            out.push_back(std::move(d));
        }
        return out;
    });
}

Result<std::vector<std::optional<std::string>>> content_hashes(Transaction& tx, const SourceShape& source,
                                                               const Revision& revision, const std::vector<Key>& keys) {
    return guarded([&] {
        const std::size_t k = source.key.size();
        Params params;
        add_keys(params, keys, k);
        const Rows rows =
            tx.source(source.reader)
                .exec({revision.tables.prefix + "_hashes",
                       fmt::format("SELECT s.hash::text FROM unnest({}) WITH ORDINALITY AS w({}, i) LEFT JOIN LATERAL ("
                                   " SELECT {} AS hash FROM {} s WHERE {} LIMIT 1) s ON true ORDER BY w.i",
                                   numbered(k, "${}::text[]"), numbered(k, "k{}"), source.content_hash(), source.relation,
                                   match_source(source, "w.k{0}::{1}{2}"))},
                      params);
        std::vector<std::optional<std::string>> out;
        for (int i = 0; i < rows.size(); ++i)
            out.push_back(rows.null(i, 0) ? std::nullopt : std::optional<std::string>(unhex(rows.view(i, 0))));
        return out;
    });
}

}  // namespace homeostat
