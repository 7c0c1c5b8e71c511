#include "store/control/erasures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "store/control/named_keys.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

const Statement kRequests{"erasure_requests",
                          "SELECT id, key::text FROM homeostat.erasure WHERE uid = $1::bigint AND state = 'requested' ORDER BY id"
                          " LIMIT $2::int"};
const Statement kAskForAll{"erasure_ask_for_all",
                           "INSERT INTO homeostat.erasure (pipeline, key, requested_by) SELECT $1, w.key::text[], 'eraseOnDelete'"
                           " FROM unnest($2::text[]) AS w(key)"};
const Statement kRefuse{"erasure_refuse",
                        "UPDATE homeostat.erasure SET state = 'refused', key = NULL, message = $2, ended_at = clock_timestamp()"
                        " WHERE id = $1::bigint AND state = 'requested'"};
const Statement kTell{
    "erasure_tell", "UPDATE homeostat.erasure SET message = $2 WHERE id = $1::bigint AND state = 'requested' AND message <> $2"};
const Statement kAdd{"erasure_add", R"sql(
    UPDATE homeostat.erasure e SET found = (
        SELECT jsonb_object_agg(t.key, t.n) FROM (
            SELECT b.key, sum(b.value::bigint) AS n FROM (
                SELECT * FROM jsonb_each_text(e.found) UNION ALL SELECT * FROM jsonb_each_text($2::jsonb)) b
            GROUP BY b.key) t)
    WHERE e.id = $1::bigint)sql"};
const Statement kEnd{"erasure_end", R"sql(
    UPDATE homeostat.erasure SET state = 'erased', key = NULL, message = '', remaining = $3::jsonb, ended_at = clock_timestamp(),
        key_hash = encode(sha256(convert_to(to_jsonb($2::text[])::text, 'UTF8')), 'hex')
    WHERE id = $1::bigint AND state = 'requested')sql"};

// A message is about the document where it quotes how a text of it begins, or its key.
struct Told {
    std::string_view table;
    std::string_view column;  // of the message
    std::string_view whose;   // a condition on the row
    bool goes;                // the row with it, else the message alone
};
constexpr std::array kTold{
    Told{"event", "message", "t.uid = $1::bigint", true},
    Told{"batch_history", "message", "t.uid = $1::bigint", false},
    Told{"run_history", "message", "t.uid = $1::bigint", false},
    Told{"condition", "message", "t.uid = $1::bigint", false},
    Told{"pipeline_status", "last_error", "t.uid = $1::bigint", false},
    Told{"batch", "last_error", "t.uid = $1::bigint", false},
    Told{"adoption", "message", "t.uid = $1::bigint", false},
    Told{"provider_status", "message", "$1::bigint IS NOT NULL", false},
};

std::string quoting(const Told& t) {
    return fmt::format(
        "{0} AND t.{1} <> '' AND EXISTS (SELECT FROM unnest($2::text[]) AS w(words) WHERE position(w.words IN t.{1}) > 0)",
        t.whose, t.column);
}

// A short key, or a number, may stand in any message; what is told of those by name is in tables that have the key.
std::vector<std::string> quotable(const Key& key, const std::vector<std::string>& words) {
    constexpr std::size_t kTelling = 6;
    std::vector<std::string> out = words;
    for (const std::string& part : key) {
        const bool number = part.find_first_not_of("0123456789.-") == std::string::npos;
        if (part.size() >= kTelling && (!number || part.size() >= 2 * kTelling)) out.push_back(part);
    }
    return out;
}

Params quoted_by(std::int64_t uid, const std::vector<std::string>& words) { return Params::of(uid, format_text_array(words)); }

const Statement kDeadLetters{"erase_dead_letters",
                             "DELETE FROM homeostat.dead_letter WHERE uid = $1::bigint AND key = $2::text[]"};
const Statement kUnsteady{"erase_unsteady", "DELETE FROM homeostat.unsteady WHERE uid = $1::bigint AND key = $2::text[]"};
// What else the batch was about may be asked for still.
const Statement kTraced{"erase_traced",
                        "UPDATE homeostat.trace_batch SET keys = array_remove(keys, $2::text[]::text)"
                        " WHERE uid = $1::bigint AND $2::text[]::text = ANY (keys)"};
// A keeper of traces shares the row: what it wrote is seen after this, and what it writes later looks at the receipt.
const Statement kHoldPipeline{"erasure_hold",
                              "SELECT p.uid FROM homeostat.pipeline p"
                              " WHERE p.uid = (SELECT e.uid FROM homeostat.erasure e WHERE e.id = $1::bigint) FOR UPDATE"};
const Statement kByKey{"count_by_key",
                       "SELECT (SELECT count(*) FROM homeostat.dead_letter WHERE uid = $1::bigint AND key = $2::text[]),"
                       " (SELECT count(*) FROM homeostat.unsteady WHERE uid = $1::bigint AND key = $2::text[]),"
                       " (SELECT count(*) FROM homeostat.trace_batch WHERE uid = $1::bigint AND $2::text[]::text = ANY (keys))"};
// Whether its claimant, where it has one, looks at what the batch still names when it writes: a replica of an earlier schema does
// not.
const std::string kOpenColumns = R"sql(
    SELECT b.id, b.kind, b.attempts, b.claim_token IS NULL OR EXISTS (SELECT FROM homeostat.replica r WHERE r.id = b.claimed_by
            AND r.schema_version >= (SELECT max(m.number) FROM homeostat.migration m)), array_length(b.keys, 1), b.keys::text
    FROM homeostat.batch b WHERE b.uid = $1::bigint)sql";
const Statement kOpen{"erase_open", kOpenColumns + " ORDER BY b.id FOR UPDATE OF b"};
const Statement kOpenSeen{"erase_open_seen", kOpenColumns};
const Statement kGone{"erase_batch", "DELETE FROM homeostat.batch WHERE id = $1::bigint"};

const Statement kKept{"erase_kept", R"sql(
    WITH forgotten AS (DELETE FROM homeostat.erased_text WHERE erased_at < clock_timestamp() - interval '1 hour'),
    noted AS (INSERT INTO homeostat.erased_text AS t (text_hash) SELECT DISTINCT decode(h, 'hex') FROM unnest($1::text[]) AS w(h)
              ON CONFLICT (text_hash) DO UPDATE SET erased_at = excluded.erased_at),
    gone AS (DELETE FROM homeostat.kept_vector k USING homeostat.vector_scope s, homeostat.pipeline p,
                 (SELECT decode(h, 'hex') AS hash FROM unnest($1::text[]) AS w(h)) w
             WHERE k.text_hash = w.hash AND s.id = k.scope AND s.declared_by = p.declared_by AND p.uid = $2::bigint RETURNING 1)
    SELECT count(*) FROM gone)sql"};
const Statement kKeptLeft{
    "count_kept",
    "SELECT count(*) FROM homeostat.kept_vector k JOIN homeostat.vector_scope s ON s.id = k.scope"
    " JOIN homeostat.pipeline p ON p.declared_by = s.declared_by WHERE p.uid = $2::bigint AND k.text_hash IN"
    " (SELECT decode(h, 'hex') FROM unnest($1::text[]) AS w(h))"};
// Runs that were found wrong count too: what is kept of their vectors is forgotten as well.
const Statement kLast{"erasure_last",
                      "SELECT coalesce(max(id), 0) + (SELECT coalesce(sum(v.failures), 0) FROM homeostat.verification v)::bigint"
                      " FROM homeostat.erasure WHERE state = 'erased'"};
const Statement kAsk{"erasure_ask", "INSERT INTO homeostat.own_erasure (pipeline, key) VALUES ($1, $2::text[]) RETURNING id"};
const Statement kRead{"erasure_read",
                      "SELECT id, pipeline, key_hash, state, message, found::text, remaining::text, requested_by,"
                      " requested_at::text, ended_at::text FROM homeostat.own_erasure"
                      " WHERE pipeline = $1 AND ($2::bigint IS NULL OR id = $2::bigint) ORDER BY id DESC LIMIT $3::int"};

struct OpenBatch {
    std::int64_t id = 0;
    bool of_keys = false;  // else of ids, which the key may follow
    std::int32_t attempts = 0;
    bool asks = false;  // its claimant finds out what was taken from it
    std::vector<Key> keys;
};

std::vector<OpenBatch> open_of(Transaction& tx, const Statement& statement, std::int64_t uid) {
    return all_of(tx.exec(statement, Params::of(uid)), [](RowReader c) {
        OpenBatch b;
        b.id = c.integer();
        const std::string_view kind = c.view();
        b.of_keys = kind == to_string(BatchKind::heal) || kind == to_string(BatchKind::move);
        b.attempts = c.integer<std::int32_t>();
        b.asks = c.boolean();
        const auto width = static_cast<std::size_t>(c.maybe_integer<std::int64_t>().value_or(0));
        const std::vector<std::string> flat = parse_text_array(c.view());
        const std::size_t n = width == 0 ? 0 : flat.size() / width;
        b.keys.resize(n);
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t column = 0; column < width; ++column) b.keys[i].push_back(flat[column * n + i]);
        }
        return b;
    });
}

bool names(const OpenBatch& batch, const Key& found, const Key& key, const std::vector<std::int64_t>& ids) {
    if (batch.of_keys) return found == key;
    if (found.size() == key.size() + 1 && std::equal(key.begin(), key.end(), found.begin() + 1)) return true;
    return std::any_of(ids.begin(), ids.end(), [&](std::int64_t id) { return found.front() == std::to_string(id); });
}

std::string json_of(const RowCounts& counts) { return nlohmann::json(counts).dump(); }

RowCounts counts_of(std::string_view text) {
    RowCounts out;
    const nlohmann::json all = nlohmann::json::parse(text, nullptr, false);
    if (!all.is_object()) return out;
    for (const auto& [table, n] : all.items()) out[table] = n.is_number_integer() ? n.get<std::int64_t>() : 0;
    return out;
}

}  // namespace

Result<std::vector<ErasureRequest>> read_erasure_requests(Session& session, std::int64_t uid, int limit) {
    return guarded([&] {
        return all_of(session.exec(kRequests, Params::of(uid, limit)), [](RowReader c) {
            const std::int64_t id = c.integer();
            return ErasureRequest{id, c.words()};
        });
    });
}

void request_erasures(Transaction& tx, const std::string& pipeline, const std::vector<Key>& keys) {
    if (keys.empty()) return;
    std::vector<std::string> texts;
    for (const Key& key : keys) texts.push_back(format_text_array(key));
    tx.exec(kAskForAll, Params::of(pipeline, format_text_array(texts)));
}

void refuse_erasure(Transaction& tx, std::int64_t id, std::string_view why) { tx.exec(kRefuse, Params::of(id, why)); }
void tell_erasure(Transaction& tx, std::int64_t id, std::string_view why) { tx.exec(kTell, Params::of(id, why)); }

void add_erased(Transaction& tx, std::int64_t id, const RowCounts& found) {
    RowCounts some = found;
    std::erase_if(some, [](const auto& entry) { return entry.second == 0; });
    if (!some.empty()) tx.exec(kAdd, Params::of(id, json_of(some)));
}

void end_erasure(Transaction& tx, std::int64_t id, const Key& key, const RowCounts& looked) {
    const Rows held = tx.exec(kHoldPipeline, Params::of(id));
    if (!held.empty()) tx.exec(kTraced, Params::of(held.i64(0, 0), format_text_array(key)));
    tx.exec(kEnd, Params::of(id, format_text_array(key), json_of(looked)));
}

RowCounts erase_told(Transaction& tx, std::int64_t uid, const Key& key, const std::vector<std::string>& words) {
    RowCounts out;
    const Params by_key = Params::of(uid, format_text_array(key));
    out["dead_letter"] = tx.exec(kDeadLetters, by_key).affected();
    out["unsteady"] = tx.exec(kUnsteady, by_key).affected();
    out["trace_batch"] = tx.exec(kTraced, by_key).affected();
    const std::vector<std::string> quoted = quotable(key, words);
    if (quoted.empty()) return out;
    for (const Told& t : kTold) {
        const std::string sql =
            t.goes ? fmt::format("DELETE FROM homeostat.{} t WHERE {}", t.table, quoting(t))
                   : fmt::format("UPDATE homeostat.{} t SET {} = 'erased' WHERE {}", t.table, t.column, quoting(t));
        out[std::string(t.table)] = tx.exec({fmt::format("erase_told_{}", t.table), sql}, quoted_by(uid, quoted)).affected();
    }
    return out;
}

RowCounts count_told(Transaction& tx, std::int64_t uid, const Key& key, const std::vector<std::string>& words) {
    RowCounts out;
    const Rows by_key = tx.exec(kByKey, Params::of(uid, format_text_array(key)));
    out["dead_letter"] = by_key.i64(0, 0);
    out["unsteady"] = by_key.i64(0, 1);
    out["trace_batch"] = by_key.i64(0, 2);
    const std::vector<std::string> quoted = quotable(key, words);
    for (const Told& t : kTold) {
        std::int64_t& n = out[std::string(t.table)];
        if (quoted.empty()) continue;
        const std::string sql = fmt::format("SELECT count(*) FROM homeostat.{} t WHERE {}", t.table, quoting(t));
        n = tx.exec({fmt::format("count_told_{}", t.table), sql}, quoted_by(uid, quoted)).i64(0, 0);
    }
    return out;
}

std::int64_t erase_planned(Transaction& tx, std::int64_t uid, const Key& key, const std::vector<std::int64_t>& ids) {
    std::int64_t held = 0;
    for (OpenBatch& open : open_of(tx, kOpen, uid)) {
        const std::size_t before = open.keys.size();
        std::erase_if(open.keys, [&](const Key& found) { return names(open, found, key, ids); });
        if (open.keys.size() == before) continue;
        ++held;
        if (open.asks && !open.keys.empty()) {
            keep_keys(tx, open.id, open.keys);
            continue;
        }
        Batch batch;
        batch.id = open.id;
        if (!open.keys.empty()) insert_rest(tx, batch, {open.keys}, open.attempts, std::chrono::milliseconds(0), "");
        tx.exec(kGone, Params::of(open.id));
    }
    return held;
}

std::int64_t count_planned(Transaction& tx, std::int64_t uid, const Key& key) {
    std::int64_t held = 0;
    for (const OpenBatch& open : open_of(tx, kOpenSeen, uid)) {
        if (std::any_of(open.keys.begin(), open.keys.end(), [&](const Key& found) { return names(open, found, key, {}); }))
            ++held;
    }
    return held;
}

std::int64_t erase_kept(Transaction& tx, std::int64_t uid, const std::vector<std::string>& hashes) {
    return hashes.empty() ? 0 : tx.exec(kKept, Params::of(format_text_array(hashes), uid)).i64(0, 0);
}

std::int64_t count_kept(Transaction& tx, std::int64_t uid, const std::vector<std::string>& hashes) {
    return hashes.empty() ? 0 : tx.exec(kKeptLeft, Params::of(format_text_array(hashes), uid)).i64(0, 0);
}

Result<std::int64_t> last_erased(Session& session) {
    return guarded([&] { return session.exec(kLast).i64(0, 0); });
}

Result<std::int64_t> request_erasure(Session& session, const std::string& pipeline, const Key& key) {
    return guarded([&] { return session.exec(kAsk, Params::of(pipeline, format_text_array(key))).i64(0, 0); });
}

Result<std::vector<ErasureReceipt>> read_erasures(Session& session, const std::string& pipeline, std::optional<std::int64_t> id,
                                                  int limit) {
    return guarded([&] {
        return all_of(session.exec(kRead, Params::of(pipeline, id, limit)), [](RowReader c) {
            ErasureReceipt r;
            r.id = c.integer();
            r.pipeline = c.text();
            r.key_hash = c.text();
            r.state = c.text();
            r.message = c.text();
            r.found = counts_of(c.view());
            r.remaining = counts_of(c.view());
            r.requested_by = c.text();
            r.requested_at = c.stamp();
            r.ended_at = c.maybe_stamp();
            return r;
        });
    });
}

}  // namespace homeostat
