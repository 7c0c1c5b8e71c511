// How soon healing goes on after the database or a replica was away, what a stop under load costs, how soon a fault is told, and
// what faults at random cost, and whether anything grows. bench/run.sh says how.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "bench/child.hpp"
#include "bench/measure.hpp"
#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/standby.hpp"
#include "tests/kit/tcp_gate.hpp"

namespace homeostat::bench {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr const char* kConverged =
    "SELECT count(*) FROM homeostat.pipelines p WHERE ready = 'True' AND reason = 'Converged' AND NOT EXISTS (SELECT FROM"
    " homeostat.run) AND documents = (SELECT count(*) FROM public.source)";
constexpr const char* kActive = "SELECT count(*) FROM homeostat.condition WHERE type = 'ChangeFeed' AND reason = 'Active'";
constexpr const char* kWritten = "SELECT coalesce(sum(written), 0) FROM homeostat.batch_history";

// A cluster that may be stopped, with documents of its own and replicas behind a gate.
struct Scene {
    Scene(const std::string& program, std::int64_t documents, milliseconds delay)
        : Scene(program, documents, {.dimensions = 64, .keep_requests = 1, .delay = delay}) {}
    Scene(const std::string& program, std::int64_t documents, kit::FakeEndpointOptions options)
        : binary(program),
          cluster({"fsync=on", "shared_buffers=256MB", "max_wal_size=2GB"}),
          db(kit::Schema::migrated, cluster),
          gate(cluster.folder() + "/.s.PGSQL.5432"),
          endpoint(std::move(options)) {
        make_source(db, documents, 500);
        db.exec(
            fmt::format("INSERT INTO homeostat.provider (name, kind, endpoint, model, dimensions, max_batch, max_in_flight)"
                        " VALUES ('fake', 'openai', '{}', 'fake', 64, 20, 4)",
                        endpoint.url()));
        declare(db, "fake");
    }
    void start() {
        replicas.push_back(std::make_unique<Child>(
            std::vector<std::string>{binary, "--database",
                                     fmt::format("postgresql://postgres@127.0.0.1:{}/{}", gate.port(), db.name()), "--set",
                                     "http.listen=", "--set", "log.level=error", "--set", "database.allow_superuser=true",
                                     "--set", fmt::format("replica.name=replica-{}", replicas.size()), "run"},
            false));
    }
    void settle() {
        until(db, kConverged, "1");
        until(db, kActive, "1");
    }
    // From now to the vector of an edit that is made now.
    double edit(int id, seconds limit = seconds(120)) {
        const auto started = Clock::now();
        db.exec(fmt::format("UPDATE public.source SET body = 'edited ' || random() WHERE id = {}", id));
        until(db,
              fmt::format("SELECT count(*) FROM public.source s JOIN public.source_vectors b USING (id) WHERE s.id = {} AND "
                          "s.body = b.chunk_text",
                          id),
              "1", milliseconds(5), limit);
        return seconds_since(started);
    }

    std::string binary;
    kit::Cluster cluster;
    kit::Database db;
    kit::TcpGate gate;
    kit::FakeEndpoint endpoint;
    std::vector<std::unique_ptr<Child>> replicas;
};

void database_is_away(const std::string& program) {
    Scene scene(program, 1'000, milliseconds(5));
    scene.start();
    scene.settle();
    scene.db.reconnect();
    scene.cluster.stop("fast");
    std::this_thread::sleep_for(seconds(60));
    scene.cluster.start();
    fmt::print("| PostgreSQL away for 60 s: from its start to the vector of an edit | {:.2f} s | | 3 s |\n", scene.edit(1));
}

void database_fails_over(const std::string& program) {
    std::vector<double> took;
    for (int i = 0; i < 3; ++i) {
        Scene scene(program, 1'000, milliseconds(5));
        scene.start();
        scene.settle();
        kit::Standby standby(scene.cluster);
        standby.fall_behind();
        scene.db.exec("UPDATE public.source SET body = 'lost ' || id WHERE id < 100");
        std::this_thread::sleep_for(seconds(1));
        scene.db.reconnect();
        standby.take_over();
        took.push_back(scene.edit(1));
        scene.settle();
    }
    fmt::print(
        "| failover to a standby without the last second: from its promotion to the vector of an edit | {:.2f} s (at most "
        "{:.2f}) | | 5 s |\n",
        median(took), *std::max_element(took.begin(), took.end()));
}

void connection_falls_silent(const std::string& program) {
    Scene scene(program, 1'000, milliseconds(5));
    scene.start();
    scene.settle();
    scene.gate.mute();
    std::this_thread::sleep_for(milliseconds(100));
    scene.gate.pass();
    fmt::print("| all connections silent, new ones not: to the vector of an edit | {:.2f} s | | 15 s |\n", scene.edit(1));
}

void owner_stands_still(const std::string& program) {
    std::vector<double> took;
    for (int i = 0; i < 3; ++i) {
        Scene scene(program, 1'000, milliseconds(5));
        scene.start();
        scene.settle();
        scene.start();
        until(scene.db, "SELECT count(*) FROM homeostat.replica WHERE heartbeat_at > clock_timestamp() - interval '10 s'", "2");
        const std::string owner = scene.db.value("SELECT holder FROM homeostat.lease WHERE resource LIKE 'pipeline%' LIMIT 1");
        scene.replicas[owner.ends_with("1") ? 1 : 0]->signal(SIGSTOP);
        took.push_back(scene.edit(1));
        scene.replicas[owner.ends_with("1") ? 1 : 0]->signal(SIGCONT);
    }
    fmt::print(
        "| SIGSTOP of the owner, a second replica there: to the vector of an edit | {:.2f} s (at most {:.2f}) | | lease + 1 s "
        "|\n",
        median(took), *std::max_element(took.begin(), took.end()));
}

void stopped_under_load(const std::string& program) {
    std::vector<double> took;
    for (int i = 0; i < 5; ++i) {
        Scene scene(program, 20'000, milliseconds(50));
        scene.start();
        until(scene.db, std::string("SELECT (") + kWritten + ") > 1000", "t");
        const auto started = Clock::now();
        scene.replicas.clear();  // SIGTERM, and waited for
        took.push_back(seconds_since(started));
        check(scene.db.value("SELECT count(*) FROM homeostat.batch WHERE attempts > 0 OR claim_token IS NOT NULL AND claimed_by "
                             "IS NOT NULL") == "0",
              "a stop that charges nobody and holds nothing");
    }
    fmt::print(
        "| SIGTERM during a backfill: until it has ended, nothing claimed and no attempt charged | {:.2f} s (at most {:.2f}) | | "
        "budget of 20 s |\n",
        median(took), *std::max_element(took.begin(), took.end()));
}

void faults_are_told(const std::string& program) {
    const auto told = [&](const char* what, const std::function<void(Scene&)>& fault, const std::string& condition) {
        Scene scene(program, 500, milliseconds(5));
        scene.start();
        scene.settle();
        fault(scene);
        const auto started = Clock::now();
        scene.db.exec("UPDATE public.source SET body = CASE id WHEN 1 THEN 'poison' ELSE 'edited ' || id END WHERE id <= 50");
        until(scene.db, "SELECT count(*) FROM homeostat.condition WHERE " + condition, "1", milliseconds(10));
        fmt::print("| {}: from the edit to the condition | {:.2f} s | | 5 s |\n", what, seconds_since(started));
    };
    const std::string provider = "type = 'ProviderHealthy' AND status = 'False'";
    told("provider down (503)", [](Scene& s) { s.endpoint.always({.status = 503}); }, provider);
    told("refused (401)", [](Scene& s) { s.endpoint.always({.status = 401}); }, provider);
    told("quota (429)", [](Scene& s) { s.endpoint.always({.status = 429}); }, "type = 'Ready' AND status = 'False'");
    told(
        "a poison text", [](Scene& s) { s.endpoint.when_text("poison", {.status = 400}); },
        "type = 'DeadLetters' AND status = 'True'");
    told("an answer that never comes", [](Scene& s) { s.endpoint.withhold(); }, "type = 'Ready' AND reason = 'Behind'");
}

// A fill with and without them, turn about.
void faults_cost_little(const std::string& program) {
    std::vector<double> took[2];
    std::vector<double> calls[2];
    std::mt19937 random(1);
    for (int round = 0; round < 3; ++round) {
        for (const int faults : {0, 1}) {
            Scene scene(program, 10'000, milliseconds(20));
            for (int i = 0; faults == 1 && i < 600; ++i) {
                scene.endpoint.next({.status = random() % 20 > 0   ? 200
                                               : random() % 2 == 0 ? 429
                                                                   : 500,
                                     .delay = milliseconds(20)});
            }
            const auto started = Clock::now();
            scene.start();
            scene.settle();
            took[faults].push_back(seconds_since(started));
            calls[faults].push_back(static_cast<double>(scene.endpoint.calls()));
        }
    }
    const double clean = median(took[0]);
    const double faulty = median(took[1]);
    fmt::print(
        "| 5 % of 429 and 500 at random without hints, 10,000 documents, endpoint of 20 ms, 4 in flight: until all is served | "
        "{:.2f} s, {:.0f} calls | {:.2f} s, {:.0f} calls | {:.2f} x, calls {:.2f} x |\n",
        faulty, median(calls[1]), clean, median(calls[0]), faulty / clean, median(calls[1]) / median(calls[0]));
}

// Endpoints that take so many requests a second and refuse what is more: how much of that is used, and how much is refused.
void real_limits_are_kept(const std::string& program) {
    const auto fill = [&](const char* says, std::int64_t documents, double rate, double burst, const std::string& retry_after) {
        Scene scene(program, documents,
                    {.dimensions = 64,
                     .keep_requests = 1,
                     .delay = milliseconds(20),
                     .requests_a_second = rate,
                     .burst = burst,
                     .retry_after = retry_after});
        const auto started = Clock::now();
        scene.start();
        scene.settle();
        const double took = seconds_since(started);
        const auto calls = static_cast<double>(scene.endpoint.calls());
        const auto refused = static_cast<double>(scene.endpoint.refused());
        const double needed = (static_cast<double>(documents) / 20 - burst) / rate;
        fmt::print(
            "| {:.0f} requests a second are taken, bursts of {:.0f}, {}: {} documents in requests of 20 | {:.1f} s, {:.0f} of "
            "{:.0f} calls refused | {:.1f} s at that rate | refused {:.1f} %, time {:.2f} x |\n",
            rate, burst, says, documents, took, refused, calls, needed, 100 * refused / calls, took / needed);
    };
    fill("without a word", 10'000, 20, 1, "");
    fill("without a word", 10'000, 20, 20, "");
    fill("Retry-After: 1", 10'000, 20, 1, "1");
    fill("without a word", 20'000, 100, 10, "");
}

void nothing_grows(const std::string& program, int minutes) {
    Scene scene(program, 5'000, milliseconds(5));
    scene.start();
    scene.start();
    scene.settle();
    const auto figures = [&] {
        std::string out;
        for (const auto& r : scene.replicas) {
            const auto files = std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", r->pid()));
            out += fmt::format("{:.0f} MiB, {} descriptors, ", memory_mib(r->pid(), "VmRSS"),
                               std::distance(begin(files), end(files)));
        }
        return out +
               scene.db.value(
                   "SELECT (SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'homeostat%') || ' connections, ' "
                   "||"
                   " (SELECT sum(pg_table_size(c.oid)) / 1024 FROM pg_class c WHERE c.relnamespace = 'homeostat'::regnamespace"
                   " AND c.relkind = 'r' AND c.relname !~ 'history|event') || ' KiB of control tables, ' ||"
                   " (SELECT sum(pg_total_relation_size(c.oid)) / 1024 FROM pg_class c WHERE c.relnamespace ="
                   " 'homeostat_data'::regnamespace AND c.relkind = 'r' AND c.relname !~ 'journal') || ' KiB of vectors'");
    };
    const auto begun = Clock::now();
    std::string early;
    for (std::int64_t n = 1; seconds_since(begun) < 60.0 * minutes; ++n) {
        scene.db.exec(fmt::format("UPDATE public.source SET body = 'edited {0}' WHERE id = {0} % 5000 + 1", n));
        if (n % 10 == 0) scene.db.exec(fmt::format("DELETE FROM public.source WHERE id = {0} % 5000 + 1", n * 7));
        if (n % 10 == 5)
            scene.db.exec(
                fmt::format("INSERT INTO public.source VALUES ({0} % 5000 + 1, 'new {0}') ON CONFLICT DO NOTHING", n * 7));
        std::this_thread::sleep_for(milliseconds(20));
        if (early.empty() && seconds_since(begun) > 60.0 * minutes / 5) early = figures();
    }
    const std::string late = figures();
    scene.settle();
    fmt::print("| {} minutes at 45 edits/s, two replicas, after a fifth of it, then at the end | {} | {} | flat |\n", minutes,
               early, late);
}

}  // namespace

}  // namespace homeostat::bench

int main(int argc, char** argv) {
    using namespace homeostat::bench;
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const std::string what = argc > 1 ? argv[1] : "all";
    const std::string self = argv[0];
    const std::string program = self.substr(0, self.rfind('/')) + "/../homeostat";
    const auto asked = [&](std::string_view part) { return what == "all" || what == part; };
    if (asked("away")) database_is_away(program);
    if (asked("failover")) database_fails_over(program);
    if (asked("silent")) connection_falls_silent(program);
    if (asked("still")) owner_stands_still(program);
    if (asked("stop")) stopped_under_load(program);
    if (asked("told")) faults_are_told(program);
    if (asked("faults")) faults_cost_little(program);
    if (asked("rates")) real_limits_are_kept(program);
    if (asked("soak")) nothing_grows(program, argc > 2 ? std::atoi(argv[2]) : 10);
    return 0;
}
