// How long what was replaced stays: by runs, age and size.
#include <fmt/format.h>

#include <algorithm>

#include "store/data/journal.hpp"

namespace homeostat {

namespace {

constexpr int kAtOnce = 5'000;

// Whoever asks for a rollback changes this row. Nobody waits here for who holds it: there is another time.
const Statement kMayTrim{"journal_may_trim",
                         "SELECT FROM homeostat.pipeline p WHERE p.uid = $1::bigint AND NOT p.suspend"
                         " AND p.deletion_requested_at IS NULL AND to_regclass($2) IS NOT NULL FOR SHARE SKIP LOCKED"};
const Statement kEnd{"journal_end", "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence($1, 'entry')::regclass), 0)"};
// Of runs, those that are too many, and those whose journal is gone. The oldest that is left holds the journal; so do those that
// people have named, for as long as age and size allow.
const Statement kOldPoints{"checkpoint_trim", R"sql(
    WITH kept AS (SELECT c.id FROM homeostat.checkpoint c WHERE c.uid = $1::bigint AND c.revision = $2::int AND NOT c.named
        ORDER BY c.id DESC LIMIT $3::int),
    gone AS (DELETE FROM homeostat.checkpoint c USING homeostat.revision r
        WHERE c.uid = $1::bigint AND c.revision = $2::int AND r.uid = c.uid AND r.revision = c.revision AND NOT c.named
            AND (c.id NOT IN (SELECT k.id FROM kept k) OR c.entry < r.journal_from) RETURNING c.id)
    SELECT coalesce((SELECT min(c.entry) FROM homeostat.checkpoint c WHERE c.uid = $1::bigint AND c.revision = $2::int
        AND c.entry IS NOT NULL AND c.id NOT IN (SELECT g.id FROM gone g)), 0))sql"};
const Statement kTrimmed{"journal_trimmed", R"sql(
    UPDATE homeostat.revision SET journal_from = greatest(journal_from, $3::bigint), journal_limit = $4
    WHERE uid = $1::bigint AND revision = $2::int AND (journal_from < $3::bigint OR journal_limit <> $4))sql"};

// The file does not shrink with what is deleted, so where it is too large its rows are counted, and some of them measured.
bool too_large(Transaction& tx, const RevisionTables& t, std::uint64_t bytes) {
    if (bytes == 0) return false;
    const auto limit = static_cast<std::int64_t>(std::min<std::uint64_t>(bytes, INT64_MAX));
    if (tx.exec({"journal_size", "SELECT pg_table_size(to_regclass($1))"}, Params::of(t.journal)).i64(0, 0) <= limit)
        return false;
    return tx
        .exec({t.prefix + "_journal_live",
               fmt::format("SELECT (SELECT count(*) FROM {0}) * coalesce((SELECT avg(pg_column_size(s.*)) FROM (SELECT * FROM {0}"
                           " ORDER BY write_token DESC, document_id DESC, entry DESC LIMIT 1000) s), 0) > $1::bigint",
                           t.journal)},
              Params::of(limit))
        .boolean(0, 0);
}

}  // namespace

std::string JournalLimits::text() const {
    std::string out = fmt::format("{} week{}, {} run{}", weeks, weeks == 1 ? "" : "s", runs, runs == 1 ? "" : "s");
    if (bytes <= 0) return out;
    auto amount = static_cast<double>(bytes);
    std::string_view unit = bytes == 1 ? "byte" : "bytes";
    for (const std::string_view larger : {"KiB", "MiB", "GiB", "TiB"}) {
        if (amount < 1024) break;
        amount /= 1024;
        unit = larger;
    }
    return out + fmt::format(", {:.4g} {}", amount, unit);
}

std::int64_t journal_end(Transaction& tx, const Revision& revision) {
    return tx.exec(kEnd, Params::of(revision.tables.journal)).i64(0, 0);
}

bool trim_journal(Transaction& tx, const Revision& revision, const JournalLimits& limits) {
    const RevisionTables& t = revision.tables;
    if (tx.exec(kMayTrim, Params::of(t.uid, t.journal)).empty()) return false;
    const std::int64_t unwanted = tx.exec(kOldPoints, Params::of(t.uid, t.revision, limits.runs)).i64(0, 0);
    const bool large = too_large(tx, t, limits.bytes);
    // In the order of the writes, which is not quite that of the entries: what is passed over at first goes later. The oldest is
    // asked before all others: mostly nothing is to go.
    const Rows gone = tx.exec({t.prefix + "_trim", fmt::format(R"sql(
    WITH oldest AS (SELECT entry, at FROM {0} ORDER BY write_token, document_id, entry LIMIT 1),
    front AS MATERIALIZED (SELECT ctid, entry, at FROM {0} ORDER BY write_token, document_id, entry
        LIMIT CASE WHEN $3::boolean OR (SELECT o.entry <= $1::bigint OR o.at < clock_timestamp() - $2::int * interval '1 week'
            FROM oldest o) THEN $4::int ELSE 0 END),
    gone AS (DELETE FROM {0} WHERE ctid = ANY (ARRAY(SELECT f.ctid FROM front f WHERE $3::boolean OR f.entry <= $1::bigint
        OR f.at < clock_timestamp() - $2::int * interval '1 week')) RETURNING entry)
    SELECT count(*), coalesce(max(entry), 0) FROM gone)sql",
                                                               t.journal)},
                              Params::of(unwanted, limits.weeks, large, kAtOnce));
    tx.exec(kTrimmed, Params::of(t.uid, t.revision, gone.i64(0, 1), limits.text()));
    return gone.i64(0, 0) == kAtOnce;
}

}  // namespace homeostat
