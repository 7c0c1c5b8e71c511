#include "tests/chaos/auditor.hpp"

#include <fmt/format.h>

#include <chrono>

#include "tests/chaos/audit_vectors.hpp"

namespace homeostat::chaos {

namespace {

// Served text that never was.
constexpr const char* kInvented = R"sql(
    SELECT s.key || ' is served as ' || quote_literal(s.chunk_text) FROM (SELECT {1} AS key, chunk_text FROM {2}) s
    WHERE NOT EXISTS (SELECT FROM history h WHERE h.pipeline = '{0}' AND h.key = s.key AND h.body = s.chunk_text) LIMIT 3)sql";

// Keys whose served text, or absence, was last right longer ago than {bound} says.
constexpr const char* kStale = R"sql(
    WITH versions AS (
        SELECT h.key, h.body, h.unseen, h.since, lead(h.since) OVER later AS until, lead(h.unseen) OVER later AS until_unseen
        FROM (SELECT * FROM every_version WHERE pipeline = '{pipeline}') h
        WINDOW later AS (PARTITION BY h.key ORDER BY h.seq)),
    served AS (SELECT {key} AS key, chunk_text AS body FROM {served}),
    keys AS (SELECT key FROM versions UNION SELECT key FROM served),
    judged AS (
        SELECT k.key, s.body, w.until, w.unseen, n.body AS now
        FROM keys k LEFT JOIN served s USING (key)
        JOIN LATERAL (SELECT body FROM versions v WHERE v.key = k.key AND v.until IS NULL) n ON true
        -- the last version that is what is served; before the first there was nothing
        LEFT JOIN LATERAL (
            SELECT until, until_unseen AS unseen FROM (
                SELECT coalesce(until, 'infinity') AS until, until_unseen FROM versions v
                WHERE v.key = k.key AND v.body IS NOT DISTINCT FROM s.body
                UNION ALL
                SELECT min(since), bool_or(unseen) FROM versions v WHERE v.key = k.key AND s.body IS NULL) u
            WHERE until IS NOT NULL ORDER BY until DESC LIMIT 1) w ON true)
    SELECT key || ' has not been ' || coalesce(quote_literal(body), 'absent') || ' for '
           || round(extract(epoch FROM clock_timestamp() - until)::numeric, 1) || ' s and is served so; it is '
           || coalesce(quote_literal(now), 'gone')
    FROM judged WHERE until < {bound} LIMIT 3)sql";

// What is promised of a row that triggers name, and of one that only the next look at the source can find.
constexpr const char* kNamed = "'{2}'::timestamptz - (CASE WHEN unseen THEN {0} + {1} ELSE {0} END) * interval '1 s'";
// A source that is only swept is as true as its last sweep, which saw what had been committed when it began.
constexpr const char* kSweptBound = R"sql(
    (SELECT coalesce(max(h.started_at), '-infinity') - interval '1 s' FROM homeostat.run_history h JOIN homeostat.pipeline p USING (uid)
     WHERE p.name = '{0}' AND p.deletion_requested_at IS NULL AND h.result = 'Converged'))sql";

// The status says converged, of the declaration that this world knows.
constexpr const char* kConverged = R"sql(
    SELECT count(*) FROM homeostat.pipelines s JOIN homeostat.pipeline p USING (uid)
    WHERE p.name = '{0}' AND p.deletion_requested_at IS NULL AND p.documents IS NULL AND p.capture = '{1}'
      AND s.kstatus = 'Current' AND ((s.ready = 'True' AND s.reason = 'Converged') OR EXISTS (SELECT FROM homeostat.condition c
          WHERE c.uid = p.uid AND c.type = 'Synced' AND c.status = 'True' AND c.observed_generation = p.generation)))sql";

// The next revision is filled, and what is searched meanwhile is said to be as it should.
constexpr const char* kReadyBeside = R"sql(
    SELECT count(*) FROM homeostat.pipelines s JOIN homeostat.pipeline p USING (uid)
    WHERE p.name = '{0}' AND p.deletion_requested_at IS NULL AND p.documents IS NULL AND p.capture = '{1}' AND s.ready = 'True'
      AND s.reason = 'Converged'
      AND EXISTS (SELECT FROM homeostat.revision r WHERE r.uid = p.uid AND r.state = 'served')
      AND EXISTS (SELECT FROM homeostat.revision r WHERE r.uid = p.uid AND r.state = 'building'))sql";

constexpr const char* kPending = R"sql(
    SELECT count(*) FROM homeostat.condition c JOIN homeostat.pipeline p USING (uid)
    WHERE p.name = '{}' AND p.deletion_requested_at IS NULL AND c.type = 'ChangeFeed' AND c.reason = 'Pending')sql";

// What it was said by, for whoever reads why that was wrong.
constexpr const char* kSaidBy = R"sql(
    SELECT jsonb_build_object('pipeline', to_jsonb(s), 'waiting', to_jsonb(w), 'feed', to_jsonb(f), 'run', to_jsonb(u),
        'full', pg_sequence_last_value(to_regclass(format('homeostat_data.p%s_full', p.uid))),
        'conditions', (SELECT jsonb_agg(to_jsonb(c)) FROM homeostat.condition c WHERE c.uid = p.uid),
        'batches', (SELECT jsonb_agg(to_jsonb(b) - 'keys') FROM homeostat.batch b WHERE b.uid = p.uid))
    FROM homeostat.pipeline p JOIN homeostat.pipelines s USING (uid) JOIN homeostat.waiting w USING (uid)
    LEFT JOIN homeostat.feed f USING (uid) LEFT JOIN homeostat.run u USING (uid)
    WHERE p.name = '{}' AND p.deletion_requested_at IS NULL)sql";

// The pipeline whose revision is served now; what was declared again begins anew.
constexpr const char* kServing = R"sql(
    SELECT coalesce(max(r.uid)::text, '') FROM homeostat.revision r JOIN homeostat.pipeline p USING (uid)
    WHERE p.name = '{}' AND p.deletion_requested_at IS NULL AND r.state = 'served')sql";

std::vector<std::string> first_column(const std::vector<kit::Row>& rows) {
    std::vector<std::string> out;
    for (const kit::Row& row : rows) out.push_back(row[0].value_or(""));
    return out;
}

}  // namespace

Auditor::Auditor(World& world)
    : world_(world), filled_(world.tables().size()), thread_([this](const std::stop_token& stop) { watch(stop); }) {}

std::vector<std::string> Auditor::stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
    const std::lock_guard lock(mutex_);
    return refuted_;
}

void Auditor::watch(const std::stop_token& stop) {
    std::optional<kit::Sql> sql;
    while (!stop.stop_requested()) {
        try {
            if (!sql) {
                sql.emplace(world_.db().url());
                sql->exec("SET lock_timeout = '2s'");
            }
            for (std::size_t i = 0; i < world_.tables().size(); ++i) look(*sql, i);
        } catch (const std::exception& e) {
            sql.reset();  // the database is away: nobody can be told anything
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(250));
    }
}

void Auditor::look(kit::Sql& sql, std::size_t table) {
    const Table& t = world_.tables()[table];
    sql.exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    ++looks_;
    if (!sql.value(fmt::format("SELECT to_regclass('{}')", t.served())).empty()) {
        refute(t, "never was", first_column(sql.query(fmt::format(kInvented, t.name, t.key_text, t.served()))));
        refute(t, "wrong vector", wrong_vectors(sql, t.served(), 50));
        const std::string pipeline = sql.value(fmt::format(kServing, t.name));
        const bool filled = sql.value(fmt::format("SELECT count(*) FROM {}", t.served())) != "0";
        if (!filled && !pipeline.empty() && filled_[table] == pipeline &&
            sql.value(fmt::format("SELECT count(*) FROM {}", t.source)) != "0")
            refute(t, "empty", {"nothing is served any more"});
        if (filled) filled_[table] = pipeline;
        // From before the status is asked: on a machine that is very slow the rest of this takes longer than what is promised.
        const std::string now = sql.value("SELECT clock_timestamp()");
        const bool beside = !t.swept && sql.value(fmt::format(kReadyBeside, t.name, "Auto")) == "1";
        if (beside) ++beside_;
        if (beside || sql.value(fmt::format(kConverged, t.name, t.swept ? "Off" : "Auto")) == "1") {
            ++promises_;
            // Where the triggers could not be made yet, which the status says, a table is swept too.
            const bool swept = t.swept || sql.value(fmt::format(kPending, t.name)) == "1";
            const std::string bound = swept ? fmt::format(kSweptBound, t.name)
                                            : fmt::format(kNamed, world_.options().promise, world_.options().look + 5, now);
            const std::vector<std::string> stale =
                first_column(sql.query(fmt::format(kStale, fmt::arg("pipeline", t.name), fmt::arg("key", t.key_text),
                                                   fmt::arg("served", t.served()), fmt::arg("bound", bound))));
            if (!stale.empty()) world_.note(fmt::format("{}: said by {}", t.name, sql.value(fmt::format(kSaidBy, t.name))));
            refute(t, "said to be converged", stale);
        }
    }
    sql.exec("COMMIT");
}

void Auditor::refute(const Table& t, const std::string& what, const std::vector<std::string>& cases) {
    const std::lock_guard lock(mutex_);
    for (const std::string& c : cases) {
        const std::string sentence = fmt::format("{}: {}: {}", t.name, what, c);
        world_.note("REFUTED " + sentence);
        if (++seen_[t.name + what] <= 2) refuted_.push_back(sentence);
    }
}

std::uint64_t versions_committed(World& world) {
    return std::stoull(world.db().value("SELECT count(*) FROM history WHERE body IS NOT NULL"));
}

}  // namespace homeostat::chaos
