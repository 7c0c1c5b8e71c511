#include "store/pg/standby.hpp"

#include <fmt/format.h>

#include <utility>

#include "store/pg/libpq.hpp"
#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

// The place that `at` names, by the login, and with the other words, of `who`.
std::string at_place(const std::string& who, const std::string& at) {
    // What cannot be read is left as it is: connecting says why.
    libpq::ConnectWords words = libpq::parse_url(who).value_or(libpq::ConnectWords{});
    const libpq::ConnectWords place = libpq::parse_url(at).value_or(libpq::ConnectWords{});
    if (words.empty() || place.empty()) return who;
    for (const char* word : {"host", "hostaddr", "port", "target_session_attrs", "load_balance_hosts"}) {
        words.erase(word);
        if (const auto found = place.find(word); found != place.end()) words.emplace(found->first, found->second);
    }
    words.try_emplace("target_session_attrs", "any");
    return libpq::url_of(words);
}

// What anybody sees had its commit record inserted before. Where the next record would begin a page, its place is behind the
// page's header, and what is replayed ends before that.
const Statement kMoment{"standby_primary", R"sql(
    WITH w AS MATERIALIZED (SELECT pg_current_wal_insert_lsn() AS lsn),
        p AS (SELECT w.lsn, mod(w.lsn - '0/0'::pg_lsn, pg_size_bytes(current_setting('wal_segment_size'))) AS in_segment,
                     mod(w.lsn - '0/0'::pg_lsn, current_setting('wal_block_size')::bigint) AS in_page FROM w)
    SELECT (p.lsn - CASE WHEN p.in_segment = 40 THEN 40 WHEN p.in_page = 24 AND p.in_segment <> 24 THEN 24 ELSE 0 END)::text,
        (SELECT s.system_identifier::text FROM pg_control_system() s),
        ('x' || lpad(substr(pg_walfile_name(p.lsn), 1, 8), 8, '0'))::bit(32)::bigint::text, pg_postmaster_start_time()::text,
        (SELECT d.oid::text || ' ' || d.datname FROM pg_database d WHERE d.datname = current_database()), current_user::text,
        (SELECT string_agg(DISTINCT pg_collation_actual_version(c.oid), ' ') FROM pg_collation c
         WHERE c.collprovider = 'c' OR c.collname = 'und-x-icu')
    FROM p)sql"};

// Of a standby that has just begun to follow another timeline, what it last noted may be the one before: then it is refused for a
// while, and never the other way round.
const Statement kStandby{"standby_state", R"sql(
    SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn() >= $1::pg_lsn,
        (SELECT s.system_identifier::text FROM pg_control_system() s),
        (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)::text FROM pg_control_checkpoint() c, pg_control_recovery() r),
        pg_postmaster_start_time()::text,
        (SELECT d.oid::text || ' ' || d.datname FROM pg_database d WHERE d.datname = current_database()), current_user::text,
        (SELECT string_agg(DISTINCT pg_collation_actual_version(c.oid), ' ') FROM pg_collation c
         WHERE c.collprovider = 'c' OR c.collname = 'und-x-icu'),
        CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END)sql"};

const Statement kStill{"standby_still", "SELECT pg_is_in_recovery(), pg_postmaster_start_time()::text"};

Error refused(std::string why) {
    return {
        .cls = ErrorClass::db_permanent, .message = std::move(why), .origin = Origin::user, .code = std::string(kStandbyRefused)};
}

// As kStandby has it; the standby's own words of what a moment of the primary says.
struct Seen {
    bool in_recovery;
    bool replayed;  // all that was written by the moment
    std::string system, timeline, started, database, role, collations;
    bool paused;
};

std::string why_not(const Seen& at, const PrimaryMoment& moment) {
    if (at.system != moment.system)
        return fmt::format("it is of another cluster (system identifier {}, and {} of database.url)", at.system, moment.system);
    if (!at.in_recovery) return "it is no standby, and not the server of database.url: it was promoted";
    if (at.timeline != moment.timeline)
        return fmt::format("as far as it has noted it follows timeline {}, and database.url is on {}", at.timeline,
                           moment.timeline);
    if (at.database != moment.database) return "it is connected with another database than database.url; name the same";
    if (at.role != moment.role)
        return fmt::format("its login acts as role {}, and that of database.url as {}; name the same", at.role, moment.role);
    if (at.collations != moment.collations) return "its libraries sort texts by other versions than those of database.url";
    return {};
}

}  // namespace

ConnectOptions standby_options(ConnectOptions primary, const std::string& url) {
    for (ReaderLogin& reader : primary.readers) {
        if (!reader.url.empty()) reader.url = at_place(reader.url, url);
    }
    primary.url = at_place(url, url);
    return primary;
}

Result<PrimaryMoment> read_moment(Session& primary) {
    return guarded([&] {
        const Rows rows = primary.exec(kMoment);
        RowReader c(rows, 0);
        return PrimaryMoment{c.text(), c.text(), c.text(), c.text(), c.text(), c.text(), c.text()};
    });
}

Result<StandbyFacts> look_at_standby(Session& standby, const PrimaryMoment& moment) {
    return guarded([&]() -> Result<StandbyFacts> {
        const Rows rows = standby.exec(kStandby, Params::of(moment.written));
        RowReader c(rows, 0);
        const Seen at{c.boolean(), c.boolean(), c.text(), c.text(), c.text(), c.text(), c.text(), c.text(), c.boolean()};
        StandbyFacts facts{.state = StandbyState::behind, .started = at.started, .paused = at.paused};
        const bool same_server = !at.in_recovery && at.system == moment.system && at.started == moment.started &&
                                 at.database == moment.database && at.role == moment.role;
        if (same_server) {
            facts.state = StandbyState::primary;
            return facts;
        }
        if (std::string why = why_not(at, moment); !why.empty()) return refused(std::move(why));
        if (at.replayed) facts.state = StandbyState::caught_up;
        return facts;
    });
}

Status still_standby(Transaction& tx, const StandbyFacts& facts) {
    return guarded([&]() -> Status {
        const Rows rows = tx.exec(kStill);
        if (rows.view(0, 1) != facts.started) return refused("another server answers there than a moment ago");
        if (rows.boolean(0, 0) != (facts.state != StandbyState::primary)) return refused("it was promoted");
        return {};
    });
}

}  // namespace homeostat
