#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "store/data/sql_fragments.hpp"
#include "store/data/vectors.hpp"
#include "store/pg/arrays.hpp"

namespace homeostat {

namespace {

// Of so many documents at once the old chunks are put away later, when those who wait for vectors have theirs. Of fewer the batch
// that does it would cost more than is saved.
constexpr std::size_t kSupersedeFrom = 32;

// The columns of one write, document by document.
struct DocumentColumns {
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> expected;
    std::vector<const WriteDocument*> documents;

    void add(const WriteDocument& d) {
        ids.push_back(d.read->document_id);
        expected.push_back(d.read->write_token.value_or(0));
        documents.push_back(&d);
    }
    bool empty() const { return ids.empty(); }
};

class Writer {
public:
    Writer(Transaction& tx, const SourceShape& source, const Revision& revision, const VectorExtension& vectors,
           const WriteRequest& request)
        : tx_(tx), source_(source), revision_(revision), vectors_(vectors), request_(request), t_(revision.tables) {}

    WriteOutcome run() {
        DocumentColumns fresh;
        DocumentColumns existing;
        for (const WriteDocument& d : request_.documents) (d.read->write_token ? existing : fresh).add(d);
        if (!fresh.empty()) insert_documents(fresh);
        if (!existing.empty()) replace_documents(existing);
        write_chunks();
        WriteOutcome outcome;
        outcome.written = static_cast<std::int32_t>(accepted_.size());
        outcome.dropped = static_cast<std::int32_t>(request_.documents.size() - accepted_.size());
        outcome.chunks = chunks_written_;
        outcome.change = {documents_added_, chunks_added_};
        for (const auto& [read, stored] : accepted_) {
            if (read != stored) outcome.superseded.push_back(read);
        }
        outcome.contested = contested();
        return outcome;
    }

private:
    // $1 id, $2 expected token, $3 version, $4 hash, $5 chunk count, then keys, then metadata.
    Params document_params(const DocumentColumns& columns) {
        const std::size_t n = columns.documents.size();
        std::vector<std::optional<std::string_view>> text(n);
        std::vector<std::string_view> hashes(n);
        std::vector<std::int32_t> counts(n);
        std::vector<std::string_view> key(n);
        Params params;
        params.bytes(binary_array(columns.ids)).bytes(binary_array(columns.expected));
        for (std::size_t i = 0; i < n; ++i) {
            const ReadDocument& r = *columns.documents[i]->read;
            text[i] = r.version ? std::optional<std::string_view>(*r.version) : std::nullopt;
            hashes[i] = r.content_hash;
            counts[i] = columns.documents[i]->chunks;
        }
        params.bytes(binary_array(text)).bytes(binary_array(hashes, kByteaOid)).bytes(binary_array(counts));
        for (std::size_t k = 0; k < source_.key.size(); ++k) {
            for (std::size_t i = 0; i < n; ++i) key[i] = columns.documents[i]->read->key[k];
            params.bytes(binary_array(key));
        }
        for (std::size_t m = 0; m < source_.metadata.size(); ++m) {
            for (std::size_t i = 0; i < n; ++i) {
                const std::optional<std::string>& value = columns.documents[i]->read->metadata[m];
                text[i] = value ? std::optional<std::string_view>(*value) : std::nullopt;
            }
            params.bytes(binary_array(text));
        }
        params.add(request_.run_id).add(request_.batch_id).add(request_.token);
        return params;
    }

    std::string document_rows(bool whole) const {
        const std::size_t k = source_.key.size();
        const std::size_t m = source_.metadata.size();
        return fmt::format(
            "unnest($1::bigint[], $2::bigint[], $3::text[], $4::bytea[], $5::int[], {}{}{}{})"
            " AS w(id, expected, version, hash, chunks, {}{}{}{})",
            numbered(k, "${}::text[]", 6), m == 0 ? "" : ", ", numbered(m, "${}::text[]", 6 + static_cast<int>(k)),
            whole ? fmt::format(", ${}::int[]", trailing(4)) : "", numbered(k, "k{}"), m == 0 ? "" : ", ", numbered(m, "m{}"),
            whole ? ", whole" : "");
    }

    int trailing(int i) const { return 5 + static_cast<int>(source_.key.size() + source_.metadata.size()) + i; }

    // Id as it was read, chunks more, and id as it is now.
    void accept(const Rows& rows) {
        for (int i = 0; i < rows.size(); ++i) {
            accepted_.emplace(rows.i64(i, 0), rows.i64(i, 2));
            chunks_added_ += rows.i64(i, 1);
        }
    }

    // 1 for each of which no chunk stays, nor gives its vector to another, where they are enough.
    std::vector<std::int32_t> replaced_whole(const DocumentColumns& existing) const {
        std::vector<bool> whole(request_.documents.size(), true);
        for (const WriteChunk& c : request_.chunks) {
            if (c.vector == nullptr) whole[c.document] = false;
        }
        std::vector<std::int32_t> out;
        for (const WriteDocument* d : existing.documents)
            out.push_back(whole[static_cast<std::size_t>(d - request_.documents.data())] ? 1 : 0);
        const auto n = static_cast<std::size_t>(std::count(out.begin(), out.end(), 1));
        if (!request_.fed || n < kSupersedeFrom) out.assign(out.size(), 0);
        return out;
    }

    void insert_documents(const DocumentColumns& fresh) {
        std::string columns;
        std::string values;
        for (std::size_t i = 0; i < source_.key.size(); ++i) {
            columns += fmt::format(", key_{}", i + 1);
            values += fmt::format(", w.k{}::{}{}", i + 1, source_.key[i].type, source_.key[i].collate);
        }
        for (std::size_t i = 0; i < source_.metadata.size(); ++i) {
            columns += ", " + t_.metadata_column(source_.metadata[i].name);
            values += fmt::format(", w.m{}::{}", i + 1, source_.metadata[i].type);
        }
        const Rows rows = tx_.exec(
            {t_.prefix + "_insert",
             fmt::format(
                 "WITH fresh AS (INSERT INTO {} (document_id, source_version, content_hash, chunk_count, run_id, batch_id,"
                 "  write_token{}) SELECT w.id, w.version::{}, w.hash, w.chunks, ${}::bigint, ${}::bigint, ${}::bigint{} FROM {}"
                 "  WHERE w.expected = 0 ON CONFLICT ({}) DO NOTHING RETURNING document_id AS id, chunk_count),"
                 " noted AS ({} fresh HAVING count(*) > 0) SELECT id, chunk_count, id FROM fresh",
                 t_.document, columns, source_.version_type, trailing(1), trailing(2), trailing(3), values, document_rows(false),
                 numbered(source_.key.size(), "key_{}"), note_inserted("id"))},
            document_params(fresh));
        accept(rows);
        documents_added_ += rows.size();
    }

    // Ids that have come to be, in one entry: who goes back before this write takes them away. What follows says whose they are.
    std::string note_inserted(std::string_view id) const {
        return fmt::format(
            "INSERT INTO {} (run_id, write_token, document_id, change, inserted) SELECT ${}::bigint, ${}::bigint, 0, 'inserted',"
            " array_agg({}) FROM",
            t_.journal, trailing(1), trailing(3), id);
    }

    // Compared and updated, kept in the journal as it was, and everything of it taken away but the chunks that stay as they are:
    // one statement, which locks in one order. What gets another id leaves its chunks behind under the old one.
    void replace_documents(const DocumentColumns& existing) {
        const std::vector<const WriteChunk*> kept = kept_chunks();
        std::vector<std::int64_t> ids;
        std::vector<std::int32_t> numbers;
        for (const WriteChunk* c : kept) {
            ids.push_back(id_of(*c));
            numbers.push_back(c->number);
        }
        Params params = document_params(existing);
        params.bytes(binary_array(replaced_whole(existing))).bytes(binary_array(ids)).bytes(binary_array(numbers));
        std::string metadata;
        for (std::size_t i = 0; i < source_.metadata.size(); ++i) {
            metadata +=
                fmt::format(", {} = w.m{}::{}", t_.metadata_column(source_.metadata[i].name), i + 1, source_.metadata[i].type);
        }
        metadata += set_spelling(source_, "w.k{0}::{2}");
        accept(tx_.exec(
            {t_.prefix + "_replace",
             fmt::format(
                 "WITH held AS (SELECT w.*, d.ctid AS place, d.chunk_count AS had, d AS document FROM {rows} JOIN {document} d"
                 "  ON d.document_id = w.id AND d.write_token = w.expected ORDER BY d.document_id),"
                 // Who has written meanwhile has left another token. A run counts documents by their ids.
                 " moved AS (UPDATE {document} d SET document_id = CASE WHEN w.whole = 1"
                 "   AND NOT EXISTS (SELECT FROM homeostat.run r WHERE r.uid = {uid})"
                 "   THEN nextval('{document}_document_id_seq'::regclass) ELSE d.document_id END,"
                 "  source_version = w.version::{version}, content_hash = w.hash, chunk_count = w.chunks,"
                 "  run_id = ${run}::bigint, batch_id = ${batch}::bigint, write_token = ${token}::bigint,"
                 "  written_at = clock_timestamp(){metadata} FROM held w WHERE d.ctid = w.place AND d.write_token = w.expected"
                 "  RETURNING w.id, w.chunks - w.had AS more, d.document_id AS now, w.document),"
                 " gone AS (DELETE FROM {chunk} WHERE ctid = ANY (ARRAY({chunks} WHERE (c.document_id, c.number) NOT IN"
                 "  (SELECT * FROM unnest(${ids}::bigint[], ${numbers}::int[])))) RETURNING *),"
                 " kept AS (INSERT INTO {journal} (run_id, write_token, document_id, change, document, number, start_offset,"
                 "  end_offset, chunk_hash, context, text, embedding) SELECT ${run}::bigint, ${token}::bigint, m.id,"
                 "  CASE WHEN m.now = m.id THEN 'replaced' ELSE 'superseded' END, m.document, g.number, g.start_offset, "
                 "g.end_offset, g.chunk_hash, g.context, g.text, g.embedding FROM moved m"
                 "  LEFT JOIN gone g ON g.document_id = m.id),"
                 " noted AS ({inserted} moved WHERE now <> id HAVING count(*) > 0)"
                 " SELECT id, more, now FROM moved",
                 fmt::arg("inserted", note_inserted("now")), fmt::arg("rows", document_rows(true)),
                 fmt::arg("document", t_.document), fmt::arg("uid", t_.uid), fmt::arg("journal", t_.journal),
                 fmt::arg("chunk", t_.chunk), fmt::arg("chunks", chunks_of_sql(t_, "(SELECT * FROM moved WHERE now = id) w")),
                 fmt::arg("version", source_.version_type), fmt::arg("metadata", metadata), fmt::arg("run", trailing(1)),
                 fmt::arg("batch", trailing(2)), fmt::arg("token", trailing(3)), fmt::arg("ids", trailing(5)),
                 fmt::arg("numbers", trailing(6)))},
            params));
        move_offsets(kept);
    }

    // What was left out is what another batch has written or removed since it was read, maybe from an older read than ours.
    // Nothing else is left out: whether the source has moved on is not asked here, as that is named or swept by itself.
    std::vector<std::size_t> contested() const {
        std::vector<std::size_t> out;
        for (std::size_t i = 0; i < request_.documents.size(); ++i) {
            if (!accepted_.contains(request_.documents[i].read->document_id)) out.push_back(i);
        }
        return out;
    }

    std::int64_t id_of(const WriteChunk& c) const { return request_.documents[c.document].read->document_id; }
    bool accepted(const WriteChunk& c) const { return accepted_.contains(id_of(c)); }

    std::vector<const WriteChunk*> kept_chunks() const {
        std::vector<const WriteChunk*> out;
        for (const WriteChunk& c : request_.chunks) {
            if (c.kept) out.push_back(&c);
        }
        return out;
    }

    void move_offsets(const std::vector<const WriteChunk*>& kept) {
        std::vector<std::int64_t> ids;
        std::vector<std::int32_t> numbers;
        std::vector<std::int64_t> starts;
        std::vector<std::int64_t> ends;
        for (const WriteChunk* c : kept) {
            if (!accepted(*c)) continue;
            ids.push_back(id_of(*c));
            numbers.push_back(c->number);
            starts.push_back(c->start);
            ends.push_back(c->end);
        }
        if (ids.empty()) return;
        Params offsets;
        offsets.bytes(binary_array(ids)).bytes(binary_array(numbers)).bytes(binary_array(starts)).bytes(binary_array(ends));
        offsets.add(request_.run_id).add(request_.token);
        // Which chunks stay, and where they were: with what is journaled of the others, that is all the document had.
        tx_.later(
            {t_.prefix + "_offsets",
             fmt::format(
                 "WITH stay AS MATERIALIZED (SELECT c.document_id, c.number, c.start_offset, c.end_offset, w.s, w.e"
                 "  FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[]) AS w(id, number, s, e)"
                 "  CROSS JOIN LATERAL (SELECT c.* FROM {0} c WHERE c.document_id = w.id AND c.number = w.number OFFSET 0) c),"
                 " noted AS (INSERT INTO {1} (run_id, write_token, document_id, change, kept) SELECT $5::bigint, $6::bigint,"
                 "  document_id, 'kept', array_agg(ARRAY[number::bigint, start_offset, end_offset] ORDER BY number) FROM stay"
                 "  GROUP BY document_id)"
                 " UPDATE {0} c SET start_offset = w.s, end_offset = w.e FROM stay w WHERE c.document_id = w.document_id"
                 " AND c.number = w.number AND (w.start_offset, w.end_offset) IS DISTINCT FROM (w.s, w.e)",
                 t_.chunk, t_.journal)},
            std::move(offsets));
    }

    void write_chunks() {
        std::vector<std::int64_t> ids, starts, ends;
        std::vector<std::int32_t> numbers;
        std::vector<std::string_view> hashes, texts;
        std::vector<std::optional<std::string_view>> contexts;
        std::vector<const float*> rows;
        bool reuse = false;
        for (const WriteChunk& c : request_.chunks) {
            if (c.kept || !accepted(c)) continue;
            ids.push_back(accepted_.at(id_of(c)));
            numbers.push_back(c.number);
            starts.push_back(c.start);
            ends.push_back(c.end);
            hashes.push_back(c.hash);
            contexts.push_back(c.context);
            texts.push_back(c.text);
            rows.push_back(c.vector);
            reuse = reuse || c.vector == nullptr;
        }
        chunks_written_ = static_cast<std::int32_t>(ids.size());
        if (ids.empty()) return;
        const bool full = revision_.settings.vector_type == VectorType::vector;
        Params params;
        params.bytes(binary_array(ids)).bytes(binary_array(numbers)).bytes(binary_array(starts)).bytes(binary_array(ends));
        params.bytes(binary_array(hashes, kByteaOid)).bytes(binary_array(contexts)).bytes(binary_array(texts));
        params.bytes(binary_vectors(rows, revision_.settings.dimensions, revision_.settings.vector_type,
                                    full ? vectors_.vector_oid : vectors_.halfvec_oid));
        if (reuse) params.add(request_.token);
        const std::string from_journal = fmt::format(
            " LEFT JOIN LATERAL (SELECT j.embedding FROM {} j WHERE w.embedding IS NULL AND j.document_id = w.id"
            "  AND j.write_token = $9::bigint AND j.chunk_hash = w.hash AND homeostat.vector_ok(j.embedding, {}) LIMIT 1) j ON "
            "true",
            t_.journal, revision_.settings.dimensions);
        tx_.later(
            {t_.prefix + (reuse ? "_chunks_reuse" : "_chunks"),
             fmt::format("INSERT INTO {} (document_id, number, start_offset, end_offset, chunk_hash, context, text, embedding)"
                         " SELECT w.id, w.number, w.s, w.e, w.hash, w.context, w.text, {} FROM unnest($1::bigint[], $2::int[],"
                         " $3::bigint[], $4::bigint[], $5::bytea[], $6::text[], $7::text[], $8::{}.{}[])"
                         " AS w(id, number, s, e, hash, context, text, embedding){}",
                         t_.chunk, reuse ? "coalesce(w.embedding, j.embedding)" : "w.embedding", vectors_.schema,
                         full ? "vector" : "halfvec", reuse ? from_journal : "")},
            std::move(params));
    }

    Transaction& tx_;
    const SourceShape& source_;
    const Revision& revision_;
    const VectorExtension& vectors_;
    const WriteRequest& request_;
    const RevisionTables& t_;
    std::unordered_map<std::int64_t, std::int64_t> accepted_;  // ids as they were read, and as they are now
    std::int32_t chunks_written_ = 0;
    std::int64_t documents_added_ = 0;
    std::int64_t chunks_added_ = 0;
};

}  // namespace

Result<WriteOutcome> write_documents(Transaction& tx, const SourceShape& source, const Revision& revision,
                                     const VectorExtension& vectors, const WriteRequest& request) {
    return guarded([&] { return Writer(tx, source, revision, vectors, request).run(); });
}

}  // namespace homeostat
