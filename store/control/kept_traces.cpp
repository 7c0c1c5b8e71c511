#include "store/control/kept_traces.hpp"

#include <algorithm>
#include <span>
#include <string_view>

#include "store/pg/arrays.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"
#include "store/pg/timestamps.hpp"

namespace homeostat {

namespace {

// In the order of the uids, so that two who hold several wait for each other in turn. What comes after it has a snapshot of its
// own.
const Statement kHold{"traces_hold",
                      "SELECT p.uid FROM homeostat.pipeline p WHERE p.uid = ANY ($1::bigint[]) ORDER BY p.uid FOR SHARE"};

const Statement kParts{"traces_add_parts", R"sql(
    INSERT INTO homeostat.trace_part (uid, trace_id, run_id, replica, first_at, last_at, spans, dropped, bytes, body)
    SELECT w.uid, w.trace_id, w.run_id, $1, w.first_at::timestamptz, w.last_at::timestamptz, w.spans, w.dropped,
        octet_length(w.body), w.body::jsonb
    FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::int[], $8::int[], $9::text[])
        AS w(uid, trace_id, run_id, first_at, last_at, spans, dropped, body) JOIN homeostat.pipeline p USING (uid))sql"};

// A key is compared in the form that the server gives it.
const Statement kBatches{"traces_add_batches", R"sql(
    WITH barred AS MATERIALIZED (
        SELECT e.uid, e.key::text AS key, e.key_hash FROM homeostat.erasure e
        WHERE e.uid = ANY ($1::bigint[])
          AND (e.state = 'requested' OR (e.state = 'erased' AND e.ended_at > clock_timestamp() - interval '1 hour')))
    INSERT INTO homeostat.trace_batch (uid, trace_id, span_id, batch_id, revision, at, bytes, keys)
    SELECT w.uid, w.trace_id, w.span_id, w.batch_id, w.revision, w.at::timestamptz, sum(octet_length(k.key)), array_agg(k.key)
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::int[], $6::text[], $7::text[])
        AS w(uid, trace_id, span_id, batch_id, revision, at, keys) JOIN homeostat.pipeline p USING (uid)
    CROSS JOIN LATERAL (SELECT u.one::text[]::text AS key FROM unnest(w.keys::text[]) AS u(one)) k
    WHERE NOT EXISTS (SELECT FROM barred b WHERE b.uid = w.uid AND (b.key = k.key
        OR b.key_hash = encode(sha256(convert_to(to_jsonb(k.key::text[])::text, 'UTF8')), 'hex')))
    GROUP BY w.uid, w.trace_id, w.span_id, w.batch_id, w.revision, w.at)sql"};

// What another replica is taking away at this moment is its to take: two that wait for each other would be one that fails.
// The newest trace stays whatever its size, which is bounded by who writes it.
const Statement kForget{"traces_forget", R"sql(
    WITH sizes AS (
        SELECT t.uid, t.trace_id, t.run_id > 0 AS of_run, t.last_at, t.bytes::bigint AS bytes
        FROM homeostat.trace_part t WHERE t.uid = ANY ($1::bigint[])
        UNION ALL SELECT b.uid, b.trace_id, NULL, b.at, b.bytes FROM homeostat.trace_batch b WHERE b.uid = ANY ($1::bigint[])),
    traces AS (
        SELECT s.uid, s.trace_id, coalesce(bool_or(s.of_run), false) AS of_run, max(s.last_at) AS last_at, sum(s.bytes) AS bytes
        FROM sizes s GROUP BY s.uid, s.trace_id),
    ranked AS (
        SELECT t.uid, t.trace_id, t.of_run, row_number() OVER (PARTITION BY t.uid, t.of_run ORDER BY t.last_at DESC, t.trace_id) AS place,
            row_number() OVER newest AS nth, sum(t.bytes) OVER newest AS bytes
        FROM traces t WINDOW newest AS (PARTITION BY t.uid ORDER BY t.last_at DESC, t.trace_id)),
    old AS MATERIALIZED (
        SELECT r.uid, r.trace_id FROM ranked r
        WHERE r.place > CASE WHEN r.of_run THEN 1 ELSE 10 END * $2::bigint OR (r.bytes > $3::bigint AND r.nth > 1)),
    old_batches AS MATERIALIZED (
        SELECT b.id FROM homeostat.trace_batch b JOIN old o ON b.uid = o.uid AND b.trace_id = o.trace_id FOR UPDATE OF b SKIP LOCKED),
    old_parts AS MATERIALIZED (
        SELECT t.id FROM homeostat.trace_part t JOIN old o ON t.uid = o.uid AND t.trace_id = o.trace_id FOR UPDATE OF t SKIP LOCKED),
    gone AS (DELETE FROM homeostat.trace_batch b USING old_batches o WHERE b.id = o.id)
    DELETE FROM homeostat.trace_part t USING old_parts o WHERE t.id = o.id)sql"};

const Statement kList{"traces_list", R"sql(
    SELECT t.uid, p.name, t.trace_id, max(t.run_id), min(t.first_at)::text, max(t.last_at)::text, sum(t.spans), sum(t.dropped)
    FROM homeostat.own_trace_part t JOIN homeostat.pipeline p USING (uid)
    WHERE ($1::bigint IS NULL OR t.uid = $1::bigint) AND ($2::bigint IS NULL OR t.run_id = $2::bigint)
        AND ($3::text IS NULL OR t.trace_id = $3::text)
    GROUP BY t.uid, p.name, t.trace_id ORDER BY max(t.last_at) DESC, t.trace_id LIMIT $4::bigint)sql"};

const Statement kSpans{"traces_spans", R"sql(
    SELECT coalesce(s.n, ''), coalesce(s.k, ''), coalesce(s.i, ''), coalesce(s.p, ''), s.s, s.d, coalesce(s.e, ''),
        coalesce(s.a, '{}')::text, t.replica
    FROM homeostat.own_trace_part t
    CROSS JOIN LATERAL jsonb_to_recordset(t.body) AS s(n text, k text, i text, p text, s bigint, d bigint, e text, a jsonb)
    WHERE t.uid = $1::bigint AND t.trace_id = $2 ORDER BY s.s, s.d DESC)sql"};

const Statement kOfDocument{"traces_of_document", R"sql(
    SELECT b.trace_id, b.span_id, b.batch_id, b.revision, r.served_at::text
    FROM homeostat.own_trace_batch b LEFT JOIN homeostat.revision r ON r.uid = b.uid AND r.revision = b.revision
    WHERE b.uid = $1::bigint AND $2::text[]::text = ANY (b.keys) ORDER BY b.at DESC LIMIT $3::int)sql"};

// The columns of a list of rows, as parameters.
class Columns {
public:
    template <class Row, class Get>
    static Bytes texts(const std::vector<Row>& rows, Get get) {
        std::vector<std::string> texts;
        for (const Row& row : rows) texts.push_back(get(row));
        return binary_array(std::vector<std::string_view>(texts.begin(), texts.end()));
    }
    template <class Number, class Row, class Get>
    static Bytes numbers(const std::vector<Row>& rows, Get get) {
        std::vector<Number> numbers;
        for (const Row& row : rows) numbers.push_back(get(row));
        return binary_array(std::span<const Number>(numbers));
    }
};

std::vector<std::int64_t> pipelines_of(const std::vector<TracePart>& parts, const std::vector<TraceBatch>& batches) {
    std::vector<std::int64_t> uids;
    for (const TracePart& p : parts) uids.push_back(p.uid);
    for (const TraceBatch& b : batches) uids.push_back(b.uid);
    std::ranges::sort(uids);
    const auto same = std::ranges::unique(uids);
    uids.erase(same.begin(), same.end());
    return uids;
}

std::string keys_text(const std::vector<Key>& keys) {
    std::vector<std::string> texts;
    for (const Key& key : keys) texts.push_back(format_text_array(key));
    return format_text_array(texts);
}

void add_parts(Transaction& tx, const std::string& replica, const std::vector<TracePart>& parts) {
    Params params = Params::of(replica);
    params.bytes(Columns::numbers<std::int64_t>(parts, [](const TracePart& p) { return p.uid; }))
        .bytes(Columns::texts(parts, [](const TracePart& p) { return p.trace_id; }))
        .bytes(Columns::numbers<std::int64_t>(parts, [](const TracePart& p) { return p.run_id; }))
        .bytes(Columns::texts(parts, [](const TracePart& p) { return format_timestamp(p.first); }))
        .bytes(Columns::texts(parts, [](const TracePart& p) { return format_timestamp(p.last); }))
        .bytes(Columns::numbers<std::int32_t>(parts, [](const TracePart& p) { return p.spans; }))
        .bytes(Columns::numbers<std::int32_t>(parts, [](const TracePart& p) { return p.dropped; }))
        .bytes(Columns::texts(parts, [](const TracePart& p) { return p.body; }));
    tx.exec(kParts, params);
}

void add_batches(Transaction& tx, const std::vector<TraceBatch>& batches) {
    Params params;
    params.bytes(Columns::numbers<std::int64_t>(batches, [](const TraceBatch& b) { return b.uid; }))
        .bytes(Columns::texts(batches, [](const TraceBatch& b) { return b.trace_id; }))
        .bytes(Columns::texts(batches, [](const TraceBatch& b) { return b.span_id; }))
        .bytes(Columns::numbers<std::int64_t>(batches, [](const TraceBatch& b) { return b.batch_id; }))
        .bytes(Columns::numbers<std::int32_t>(batches, [](const TraceBatch& b) { return b.revision; }))
        .bytes(Columns::texts(batches, [](const TraceBatch& b) { return format_timestamp(b.at); }))
        .bytes(Columns::texts(batches, [](const TraceBatch& b) { return keys_text(b.keys); }));
    tx.exec(kBatches, params);
}

}  // namespace

Status write_traces(Session& session, const std::string& replica, const std::vector<TracePart>& parts,
                    const std::vector<TraceBatch>& batches, const TraceBounds& bounds) {
    const std::vector<std::int64_t> uids = pipelines_of(parts, batches);
    if (uids.empty()) return {};
    return guarded([&] {
        Transaction tx = session.begin();
        Params of_pipelines;
        of_pipelines.bytes(binary_array(uids));
        tx.exec(kHold, of_pipelines);
        if (!parts.empty()) add_parts(tx, replica, parts);
        if (!batches.empty()) add_batches(tx, batches);
        Params forget = of_pipelines;
        forget.add(bounds.traces).add(bounds.bytes);
        tx.exec(kForget, forget);
        tx.commit();
    });
}

Result<std::vector<KeptTrace>> list_kept_traces(Session& session, const TraceWanted& wanted, std::int64_t limit) {
    return guarded([&] {
        return all_of(session.exec(kList, Params::of(wanted.uid, wanted.run, wanted.trace, limit)), [](RowReader c) {
            KeptTrace t;
            t.uid = c.integer();
            t.pipeline = c.text();
            t.trace_id = c.text();
            t.run_id = c.integer();
            t.first = c.stamp();
            t.last = c.stamp();
            t.spans = c.integer();
            t.dropped = c.integer();
            return t;
        });
    });
}

Result<std::vector<KeptSpan>> read_kept_spans(Session& session, const KeptTrace& trace) {
    return guarded([&] {
        return all_of(session.exec(kSpans, Params::of(trace.uid, trace.trace_id)), [](RowReader c) {
            KeptSpan s;
            s.name = c.text();
            s.kind = c.text();
            s.id = c.text();
            s.parent = c.text();
            s.start = WallTime(std::chrono::duration_cast<WallTime::duration>(std::chrono::microseconds(c.integer())));
            s.took = std::chrono::microseconds(c.integer());
            s.error = c.text();
            s.attributes = c.map();
            s.replica = c.text();
            return s;
        });
    });
}

Result<std::vector<DocumentBatch>> batches_of_document(Session& session, std::int64_t uid, const Key& key, int limit) {
    return guarded([&] {
        return all_of(session.exec(kOfDocument, Params::of(uid, format_text_array(key), limit)), [](RowReader c) {
            DocumentBatch b;
            b.trace_id = c.text();
            b.span_id = c.text();
            b.batch_id = c.integer();
            b.revision = c.integer<std::int32_t>();
            b.served = c.maybe_stamp();
            return b;
        });
    });
}

}  // namespace homeostat
