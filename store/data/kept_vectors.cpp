#include "store/data/kept_vectors.hpp"

#include <algorithm>

#include "store/pg/arrays.hpp"
#include "store/pg/lock_holders.hpp"

namespace homeostat {

namespace {

// What a row takes besides its floats: header, hash, seal, and its entries in two indexes.
constexpr std::int64_t kRowBytes = 250;
constexpr std::int64_t kSlice = 500;

// Whoever holds a lock here keeps nobody from asking the provider instead.
const Statement kShortWaits{"kept_short_waits",
                            "SELECT set_config('lock_timeout', '100ms', true), set_config('statement_timeout', '3s', true)"};

// The identity as a whole: of the pipeline $1 and the identity $2, with the canary of pool $3, model $4 and width $5.
constexpr const char* kNamed =
    "SELECT p.declared_by, sha256(convert_to(concat_ws(E'\\n', $2::text, quote_literal(p.declared_by), (SELECT c.embedding::text"
    " FROM homeostat.canary c WHERE c.pool = $3 AND c.model = $4 AND c.dimensions = $5::int)), 'UTF8')) AS identity"
    " FROM homeostat.pipeline p WHERE p.uid = $1::bigint";

// `stale`: of the older part of all that is kept, so that it is told to have been used; a few times a row at most before all that
// is kept is exchanged, and never sooner than a minute after the last time.
const Statement kFind{
    "kept_find",
    "SELECT w.i - 1, k.embedding, k.seal, k.scope, k.used_at < clock_timestamp() - greatest(interval '1 minute', least("
    "  interval '1 hour', (clock_timestamp() - (SELECT min(used_at) FROM homeostat.kept_vector)) / 4))"
    " FROM (" +
        std::string(kNamed) +
        ") n JOIN homeostat.vector_scope s ON s.identity = n.identity"
        " CROSS JOIN unnest($6::bytea[]) WITH ORDINALITY AS w(hash, i)"
        " CROSS JOIN LATERAL (SELECT v.* FROM homeostat.kept_vector v WHERE v.scope = s.id AND v.text_hash = w.hash OFFSET 0) k"};
// Who cannot have a row at once leaves it to whoever has it.
const Statement kUse{"kept_use",
                     "UPDATE homeostat.kept_vector v SET used_at = clock_timestamp() FROM (SELECT k.text_hash"
                     " FROM homeostat.kept_vector k WHERE k.scope = $1::bigint AND k.text_hash = ANY ($2::bytea[])"
                     " FOR UPDATE SKIP LOCKED) w WHERE v.scope = $1::bigint AND v.text_hash = w.text_hash"};

const Statement kMakeScope{
    "kept_make_scope",
    "INSERT INTO homeostat.vector_scope (identity, declared_by, providers) SELECT n.identity, n.declared_by,"
    " $6::bigint[] FROM (" +
        std::string(kNamed) + ") n ON CONFLICT (identity) DO NOTHING"};
// In the order of their hashes, so that two who write the same ones do not wait for each other.
const Statement kKeep{
    "kept_keep",
    "WITH written AS (INSERT INTO homeostat.kept_vector AS k (scope, text_hash, embedding, seal, bytes)"
    " SELECT s.id, w.hash, w.embedding, w.seal, octet_length(w.embedding) + $9::int FROM (" +
        std::string(kNamed) +
        ") n JOIN homeostat.vector_scope s ON s.identity = n.identity CROSS JOIN (SELECT DISTINCT ON (u.hash) u.hash, "
        "u.embedding,"
        " u.seal FROM unnest($6::bytea[], $7::bytea[], $8::bytea[]) AS u(hash, embedding, seal)"
        // What was erased while it was at its provider.
        " WHERE NOT EXISTS (SELECT FROM homeostat.erased_text e WHERE e.text_hash = u.hash) ORDER BY u.hash) w"
        " ORDER BY w.hash"
        " ON CONFLICT (scope, text_hash) DO UPDATE SET embedding = excluded.embedding, seal = excluded.seal,"
        "  bytes = excluded.bytes, used_at = clock_timestamp() WHERE (k.seal, k.embedding) <> (excluded.seal, excluded.embedding)"
        " RETURNING k.bytes) SELECT coalesce(sum(bytes), 0), count(*) FROM written"};

const Statement kForget{
    "kept_forget",
    "UPDATE homeostat.vector_scope SET identity = NULL WHERE identity IS NOT NULL AND $1::bigint = ANY (providers)"};

// One replica trims at a time. No advisory lock: whoever may connect could hold that, and nothing would ever go.
constexpr const char* kTurnToTrim = "LOCK TABLE homeostat.vector_scope IN SHARE UPDATE EXCLUSIVE MODE NOWAIT";
const Statement kTrimForgotten{
    "kept_trim_forgotten",
    "DELETE FROM homeostat.kept_vector v USING (SELECT k.scope, k.text_hash FROM homeostat.vector_scope s"
    " CROSS JOIN LATERAL (SELECT r.scope, r.text_hash FROM homeostat.kept_vector r WHERE r.scope = s.id LIMIT $1::bigint) k"
    " WHERE s.identity IS NULL LIMIT $1::bigint) w WHERE v.scope = w.scope AND v.text_hash = w.text_hash"};
const Statement kEndScopes{"kept_end_scopes",
                           "DELETE FROM homeostat.vector_scope s WHERE (s.identity IS NULL OR s.created_at < clock_timestamp() -"
                           " interval '1 day') AND NOT EXISTS (SELECT FROM homeostat.kept_vector v WHERE v.scope = s.id)"};
const Statement kTrimUnused{
    "kept_trim_unused",
    "DELETE FROM homeostat.kept_vector v USING (SELECT k.scope, k.text_hash FROM homeostat.kept_vector k"
    " WHERE k.used_at < clock_timestamp() - $1::bigint * interval '1 second' ORDER BY k.used_at LIMIT $2::bigint"
    " FOR UPDATE SKIP LOCKED) w WHERE v.scope = w.scope AND v.text_hash = w.text_hash"};
const Statement kSize{"kept_size", "SELECT coalesce(sum(bytes), 0)::bigint FROM homeostat.kept_vector"};
// The oldest that are too many bytes together, within a slice.
const Statement kTrimExcess{
    "kept_trim_excess",
    "WITH gone AS (DELETE FROM homeostat.kept_vector v USING (SELECT o.scope, o.text_hash FROM (SELECT k.scope, k.text_hash,"
    "  sum(k.bytes) OVER (ORDER BY k.used_at, k.scope, k.text_hash) - k.bytes AS before FROM (SELECT r.scope, r.text_hash, "
    "r.bytes,"
    "  r.used_at FROM homeostat.kept_vector r ORDER BY r.used_at LIMIT $2::bigint) k) o WHERE o.before < $1::bigint) w"
    " WHERE v.scope = w.scope AND v.text_hash = w.text_hash RETURNING v.bytes)"
    " SELECT coalesce(sum(bytes), 0)::bigint, count(*) FROM gone"};

Params named(const VectorScope& s) {
    return Params::of(s.pipeline, s.identity, s.pool, s.model, static_cast<std::int64_t>(s.dimensions));
}

std::vector<std::string_view> views(std::span<const std::string> texts) { return {texts.begin(), texts.end()}; }

// As bytea_output = hex has it, which every session of ours is set to.
std::string bytes_of(std::string_view hex) {
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    std::string out;
    if (!hex.starts_with("\\x")) return out;
    out.reserve((hex.size() - 2) / 2);
    for (std::size_t i = 2; i + 1 < hex.size(); i += 2) out += static_cast<char>(digit(hex[i]) * 16 + digit(hex[i + 1]));
    return out;
}

// One slice in a transaction of its own, unless another replica trims; the rows that went, and the bytes where the statement
// says.
struct Slice {
    bool done = false;
    std::int64_t rows = 0;
    std::int64_t bytes = 0;
};
Slice slice(Session& session, const Statement& statement, const Params& params) {
    Transaction tx = session.begin();
    tx.later(kShortWaits, {});
    try {
        tx.exec(kTurnToTrim);
    } catch (const StoreFailure& failure) {
        if (failure.error.code != kLockNotAvailable) throw;
        return {};
    }
    const Rows rows = tx.exec(statement, params);
    Slice s{true, 0, 0};
    if (rows.empty()) {
        s.rows = rows.affected();
    } else {
        s.bytes = rows.i64(0, 0);
        s.rows = rows.i64(0, 1);
    }
    tx.commit();
    return s;
}

}  // namespace

Result<std::vector<FoundVector>> find_kept_vectors(Session& session, const VectorScope& scope,
                                                   std::span<const std::string> text_hashes) {
    return guarded([&] {
        Transaction tx = session.begin();
        tx.later(kShortWaits, {});
        const Rows rows = tx.exec(kFind, named(scope).bytes(binary_array(views(text_hashes), kByteaOid)));
        std::vector<FoundVector> out;
        std::vector<std::string_view> stale;
        for (int i = 0; i < rows.size(); ++i) {
            out.push_back({static_cast<std::size_t>(rows.i64(i, 0)), bytes_of(rows.view(i, 1)), bytes_of(rows.view(i, 2))});
            if (rows.boolean(i, 4)) stale.push_back(text_hashes[out.back().index]);
        }
        if (!stale.empty()) {
            tx.later(kUse, Params::of(rows.i64(0, 3)).bytes(binary_array(stale, kByteaOid)));
            tx.commit();
        }
        return out;
    });
}

Result<std::uint64_t> keep_vectors(Session& session, const VectorScope& scope, const std::vector<KeptVector>& vectors) {
    return guarded([&] {
        std::vector<std::string_view> hashes;
        std::vector<std::string_view> embeddings;
        std::vector<std::string_view> seals;
        for (const KeptVector& v : vectors) {
            hashes.emplace_back(v.text_hash);
            embeddings.emplace_back(v.embedding);
            seals.emplace_back(v.seal);
        }
        const Params params = named(scope)
                                  .bytes(binary_array(hashes, kByteaOid))
                                  .bytes(binary_array(embeddings, kByteaOid))
                                  .bytes(binary_array(seals, kByteaOid))
                                  .add(kRowBytes);
        Transaction tx = session.begin();
        tx.later(kShortWaits, {});
        Rows rows = tx.exec(kKeep, params);
        // Nothing was written: its scope is not there yet, or all of it is.
        if (rows.i64(0, 1) == 0) {
            tx.later(kMakeScope, named(scope).bytes(binary_array(scope.providers)));
            rows = tx.exec(kKeep, params);
        }
        const auto bytes = static_cast<std::uint64_t>(rows.i64(0, 0));
        tx.commit();
        return bytes;
    });
}

Status forget_vectors_of(Session& session, std::int64_t provider) {
    return guarded([&]() -> Status {
        session.exec(kForget, Params::of(provider));
        return {};
    });
}

Result<std::uint64_t> trim_kept_vectors(Session& session, const KeptBounds& bounds) {
    return guarded([&] {
        int left = bounds.slices;
        std::uint64_t gone = 0;
        const auto all = [&](const Statement& statement, const Params& params) {
            for (bool more = true; more && left > 0; --left) {
                const Slice s = slice(session, statement, params);
                gone += static_cast<std::uint64_t>(s.rows);
                more = s.done && s.rows >= kSlice;
            }
        };
        all(kTrimForgotten, Params::of(kSlice));
        all(kTrimUnused, Params::of(bounds.unused.count(), kSlice));
        slice(session, kEndScopes, {});
        auto excess = session.exec(kSize).i64(0, 0) - static_cast<std::int64_t>(bounds.bytes);
        for (; excess > 0 && left > 0; --left) {
            const Slice s = slice(session, kTrimExcess, Params::of(excess, kSlice));
            if (!s.done || s.rows == 0) break;
            gone += static_cast<std::uint64_t>(s.rows);
            excess -= s.bytes;
        }
        return gone;
    });
}

}  // namespace homeostat
