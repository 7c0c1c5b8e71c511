#include "tests/chaos/auditor.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <sstream>

#include "tests/kit/invariants.hpp"

namespace homeostat::chaos {

namespace {

// An edit may be this old before a pipeline that has it waiting is no longer said to be converged.
constexpr double kPromise = 8.0;

// Versions of each key with the time at which they were committed and, but for the last, followed.
constexpr const char* kVersions = R"sql(
    versions AS (SELECT h.key, h.body, h.since, lead(h.since) OVER (PARTITION BY h.key ORDER BY h.seq) AS until
                 FROM (SELECT key, body, seq, pg_xact_commit_timestamp(xmin) AS since FROM history WHERE pipeline = '{0}') h))sql";

// Served text that never was.
constexpr const char* kInvented = R"sql(
    SELECT s.{1}::text || ' is served as ' || quote_literal(s.chunk_text) FROM public.{0}_served s
    WHERE NOT EXISTS (SELECT FROM history h WHERE h.pipeline = '{0}' AND h.key = s.{1}::text AND h.body = s.chunk_text) LIMIT 3)sql";

// Keys whose served text, or absence, was last right longer ago than the promise.
constexpr const char* kStale = R"sql(
    WITH {2},
    served AS (SELECT {1}::text AS key, chunk_text AS body FROM public.{0}_served),
    keys AS (SELECT key FROM versions UNION SELECT key FROM served)
    SELECT k.key || ' has been ' || coalesce(quote_literal(c.body), 'gone') || ' since ' || round(extract(epoch FROM
           clock_timestamp() - c.since)::numeric, 1) || ' s and is served as ' || coalesce(quote_literal(s.body), 'nothing')
    FROM keys k LEFT JOIN served s USING (key)
    JOIN LATERAL (SELECT body, since FROM versions v WHERE v.key = k.key AND v.until IS NULL) c ON true
    WHERE c.body IS DISTINCT FROM s.body AND c.since < clock_timestamp() - {3} * interval '1 s' LIMIT 3)sql";

constexpr const char* kConverged = R"sql(
    SELECT count(*) FROM homeostat.pipelines WHERE name = '{0}' AND ready = 'True' AND reason = 'Converged' AND kstatus = 'Current')sql";

std::vector<float> parse_vector(const std::string& text) {
    std::vector<float> out;
    std::istringstream in(text.substr(1));
    for (std::string number; std::getline(in, number, ',');) out.push_back(std::stof(number));
    return out;
}

bool same_direction(const std::vector<float>& a, const std::vector<float>& b) {
    double dot = 0;
    double aa = 0;
    double bb = 0;
    for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
        dot += static_cast<double>(a[i]) * b[i];
        aa += static_cast<double>(a[i]) * a[i];
        bb += static_cast<double>(b[i]) * b[i];
    }
    return a.size() == b.size() && dot > 0.999 * std::sqrt(aa * bb);
}

void add(std::vector<std::string>& out, const Table& t, const std::string& what, const std::vector<kit::Row>& rows) {
    for (const kit::Row& row : rows) out.push_back(fmt::format("{}: {}: {}", t.name, what, row[0].value_or("")));
}

// What is at rest: counts, queues and every vector.
std::vector<std::string> differs(kit::Database& db, const Table& t) {
    std::vector<std::string> out;
    const std::string source = fmt::format("SELECT {}::text AS key, body FROM {}", t.key, t.source);
    const std::string served = fmt::format("SELECT {}::text AS key, chunk_text AS body FROM public.{}_served", t.key, t.name);
    add(out, t, "not served",
        db.query(fmt::format("SELECT key || ' = ' || coalesce(body, 'NULL') FROM (({}) EXCEPT ALL ({})) d"
                             " LIMIT 3",
                             source, served)));
    add(out, t, "served and not in the source",
        db.query(fmt::format("SELECT key || ' = ' || body FROM (({}) EXCEPT ALL ({})) d"
                             " LIMIT 3",
                             served, source)));
    for (const kit::Row& row : db.query(fmt::format("SELECT chunk_text, embedding::text FROM public.{}_served", t.name))) {
        if (same_direction(parse_vector(*row[1]), kit::FakeEndpoint::vector_of(*row[0], 16))) continue;
        out.push_back(fmt::format("{}: the vector of '{}' is not that of its text", t.name, *row[0]));
        break;
    }
    const std::string pipeline = fmt::format("(SELECT uid FROM homeostat.pipeline WHERE name = '{}')", t.name);
    const auto none = [&](const std::string& what, const std::string& sql) {
        const std::string n = db.value(sql);
        if (n != "0") out.push_back(fmt::format("{}: {} {}", t.name, n, what));
    };
    none("batches", "SELECT count(*) FROM homeostat.batch WHERE kind <> 'stray' AND uid = " + pipeline);
    none("runs", "SELECT count(*) FROM homeostat.run WHERE uid = " + pipeline);
    none("dead letters", "SELECT count(*) FROM homeostat.dead_letter WHERE uid = " + pipeline);
    const std::string changes =
        db.value("SELECT format('homeostat_data.p%s_change', uid) FROM homeostat.pipeline WHERE uid = " + pipeline);
    if (!db.value(fmt::format("SELECT to_regclass('{}')", changes)).empty()) none("changes", "SELECT count(*) FROM " + changes);
    const std::string counts =
        db.value(fmt::format("SELECT format('%s %s %s', source_documents, documents, (SELECT count(*) FROM {})) FROM "
                             "homeostat.pipeline_status WHERE uid = {}",
                             t.source, pipeline));
    const std::string n = counts.substr(counts.rfind(' ') + 1);
    if (counts != fmt::format("{0} {0} {0}", n))
        out.push_back(fmt::format("{}: source, documents and rows are counted {}", t.name, counts));
    if (db.value(fmt::format(kConverged, t.name)) != "1") {
        out.push_back(fmt::format("{}: not converged: {}", t.name,
                                  db.value(fmt::format("SELECT ready || ' ' || reason || ' ' || kstatus || ' ' || message FROM"
                                                       " homeostat.pipelines WHERE name = '{}'",
                                                       t.name))));
    }
    return out;
}

}  // namespace

Auditor::Auditor(World& world) : world_(world), thread_([this](const std::stop_token& stop) { watch(stop); }) {}

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
            if (!sql) sql.emplace(world_.db().url());
            look(*sql);
        } catch (const std::exception& e) {
            sql.reset();  // the database is away: nobody can be told anything
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(250));
    }
}

void Auditor::look(kit::Sql& sql) {
    for (const Table& t : world_.tables()) {
        sql.exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        std::vector<std::string> wrong;
        const bool serves = !sql.value(fmt::format("SELECT to_regclass('public.{}_served')", t.name)).empty();
        if (serves) add(wrong, t, "never was", sql.query(fmt::format(kInvented, t.name, t.key)));
        // A source that is only swept promises nothing between two sweeps.
        if (serves && !t.swept && sql.value(fmt::format(kConverged, t.name)) == "1") {
            ++promises_;
            add(wrong, t, "said to be converged",
                sql.query(fmt::format(kStale, t.name, t.key, fmt::format(kVersions, t.name), kPromise)));
        }
        sql.exec("COMMIT");
        ++looks_;
        const std::lock_guard lock(mutex_);
        for (const std::string& w : wrong) {
            if (refuted_.size() < 20) refuted_.push_back(w);
            world_.note("refuted: " + w);
        }
    }
}

std::vector<std::string> audit_at_rest(World& world, std::chrono::seconds patience) {
    std::vector<std::string> left;
    const bool rests = kit::eventually(
        [&] {
            left.clear();
            try {
                for (const Table& t : world.tables()) {
                    for (std::string& d : differs(world.db(), t)) left.push_back(std::move(d));
                }
            } catch (const std::exception& e) {
                left = {e.what()};
                world.db().reconnect();
            }
            return left.empty();
        },
        patience);
    if (!rests) return left;
    for (const Table& t : world.tables()) {
        const std::string wanted = fmt::format("SELECT {}::text AS key, body AS content FROM {}", t.key, t.source);
        for (const std::string& broken : kit::broken_invariants(world.db(), t.name, wanted))
            left.push_back(t.name + ": " + broken);
    }
    return left;
}

}  // namespace homeostat::chaos
