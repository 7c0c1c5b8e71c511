// How edits fare while a fill goes on, how soon work goes on after replicas died, and what more replicas are worth. bench/run.sh
// says how.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "bench/child.hpp"
#include "bench/measure.hpp"
#include "tests/kit/fake_endpoint.hpp"

namespace homeostat::bench {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double percentile(std::vector<double> values, double p) {
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(p * static_cast<double>(values.size() - 1))];
}

constexpr const char* kConverged =
    "SELECT count(*) FROM homeostat.pipelines p WHERE ready = 'True' AND reason = 'Converged' AND NOT EXISTS (SELECT FROM"
    " homeostat.run) AND documents = (SELECT count(*) FROM public.source)";

// A database with so many documents to embed by an endpoint of its own, and replicas over it.
struct Scene {
    // Without a delay the built-in model embeds them (HOMEOSTAT_EMBED_MODEL_DIR).
    Scene(kit::Cluster& cluster, const std::string& program, std::int64_t documents, std::optional<milliseconds> delay,
          int in_flight)
        : binary(program),
          db(kit::Schema::migrated, cluster),
          endpoint({.dimensions = 384, .keep_requests = 1, .delay = delay.value_or(milliseconds(0))}) {
        make_source(db, documents, 1'000);
        db.exec(delay ? fmt::format(
                            "INSERT INTO homeostat.provider (name, kind, endpoint, model, dimensions, max_batch, max_in_flight)"
                            " VALUES ('fake', 'openai', '{}', 'fake', 384, 100, {})",
                            endpoint.url(), in_flight)
                      : "INSERT INTO homeostat.provider (name, kind, dimensions) VALUES ('fake', 'local', 512)");
        declare(db, "fake");
    }
    void start() {
        replicas.push_back(
            std::make_unique<Child>(std::vector<std::string>{binary, "--database", db.url(), "--set", "http.listen=", "--set",
                                                             "log.level=error", "--set", "database.allow_superuser=true", "--set",
                                                             fmt::format("replica.name=replica-{}", started++), "run"},
                                    false));
    }
    void kill(std::size_t i) {
        replicas[i]->signal(SIGKILL);
        replicas.erase(replicas.begin() + static_cast<std::ptrdiff_t>(i));
    }

    std::string binary;
    kit::Database db;
    kit::FakeEndpoint endpoint;
    std::vector<std::unique_ptr<Child>> replicas;
    int started = 0;
};

// From the commit of an edit to the commit of its vector, one at a time.
std::vector<double> edits(kit::Database& db, int n) {
    std::vector<double> out;
    for (int i = 1; i <= n; ++i) {
        const std::string stored = fmt::format("SELECT write_token FROM homeostat_data.p1_r1_document WHERE key_1 = {}", i);
        const std::string before = db.value(stored);
        db.exec(fmt::format("UPDATE public.source SET body = 'edited ' || random() WHERE id = {}", i));
        const auto committed = Clock::now();
        while (db.value(stored) == before) std::this_thread::sleep_for(std::chrono::microseconds(200));
        out.push_back(std::chrono::duration<double, std::milli>(Clock::now() - committed).count());
        std::this_thread::sleep_for(milliseconds(10 + i % 40));
    }
    return out;
}

void beside_a_fill(kit::Cluster& cluster, const std::string& program, std::optional<milliseconds> delay) {
    Scene scene(cluster, program, 2'000, delay, 8);
    scene.start();
    until(scene.db, kConverged, "1");
    until(scene.db, "SELECT count(*) FROM homeostat.condition WHERE type = 'ChangeFeed' AND reason = 'Active'", "1");
    const std::vector<double> alone = edits(scene.db, 100);
    // What comes past the triggers is a sweep's to fill.
    scene.db.exec(
        "ALTER TABLE public.source DISABLE TRIGGER USER;"
        "INSERT INTO public.source SELECT i, repeat(md5(i::text), 30) FROM generate_series(100001, 200000) i;"
        "ALTER TABLE public.source ENABLE TRIGGER USER");
    scene.db.exec("VACUUM ANALYZE public.source");
    scene.db.exec("UPDATE homeostat.pipeline SET reconcile_requested = 'fill'");
    until(scene.db, "SELECT count(*) FROM homeostat.run WHERE planned > 0", "1");
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const std::vector<double> beside = edits(scene.db, 150);
    const std::string still = scene.db.value("SELECT count(*) FROM homeostat.run");
    fmt::print(
        "| edit to vector beside a fill of 100,000, {}: p50 / p99, against without{} | {:.1f} / {:.1f} ms |"
        " {:.1f} / {:.1f} ms | {:.2f} / {:.2f} |\n",
        delay ? fmt::format("endpoint of {} ms", delay->count()) : "built-in model",
        still == "1" ? "" : " (the fill ended first)", percentile(beside, 0.5), percentile(beside, 0.99), percentile(alone, 0.5),
        percentile(alone, 0.99), percentile(beside, 0.5) / percentile(alone, 0.5),
        percentile(beside, 0.99) / percentile(alone, 0.99));
}

void one_is_killed(kit::Cluster& cluster, const std::string& program) {
    std::vector<double> took;
    for (int i = 0; i < 5; ++i) {
        Scene scene(cluster, program, 20'000, milliseconds(50), 4);
        scene.start();
        until(scene.db, "SELECT coalesce(sum(written), 0) > 1000 FROM homeostat.batch_history", "t");
        scene.kill(0);
        const std::string before = scene.db.value("SELECT coalesce(max(ended_at), now()) FROM homeostat.batch_history");
        const auto start = Clock::now();
        scene.start();
        until(scene.db, fmt::format("SELECT count(*) > 0 FROM homeostat.batch_history WHERE ended_at > '{}'", before), "t",
              milliseconds(5));
        took.push_back(seconds_since(start));
    }
    fmt::print("| kill -9 of the only replica, started again: to the first vector | {:.2f} s (at most {:.2f}) | | |\n",
               median(took), percentile(took, 1));
}

void four_are_killed_in_turn(kit::Cluster& cluster, const std::string& program) {
    Scene scene(cluster, program, 20'000, milliseconds(50), 4);
    for (int i = 0; i < 4; ++i) scene.start();
    std::int64_t edited = 0;
    for (const auto begun = Clock::now(); seconds_since(begun) < 40;) {
        const auto turn = Clock::now();
        while (seconds_since(turn) < 2) {
            scene.db.exec(fmt::format("UPDATE public.source SET body = 'edited {0}' WHERE id = {0}", ++edited));
            std::this_thread::sleep_for(milliseconds(50));
        }
        scene.kill(0);
        scene.start();
    }
    const auto last = Clock::now();
    until(scene.db, kConverged, "1");
    const std::string dead = scene.db.value("SELECT count(*) FROM homeostat.dead_letter");
    fmt::print(
        "| kill -9 of one of 4 every 2 s for 40 s, 20,000 documents and {} edits: converged after the last | {:.1f} s | {} texts"
        " paid, {} needed | {} dead letters |\n",
        edited, seconds_since(last), scene.endpoint.texts(), 20'000 + edited, dead);
}

void more_replicas(kit::Cluster& cluster, const std::string& program) {
    std::vector<double> took;
    for (const int n : {1, 2, 4}) {
        // Requests so small that the endpoint is the limit, and not the two cores that all share.
        Scene scene(cluster, program, 60'000, milliseconds(50), 4);
        scene.db.exec("UPDATE homeostat.provider SET max_batch = 8");
        for (int i = 0; i < n; ++i) scene.start();
        until(scene.db, "SELECT coalesce(sum(written), 0) > 2000 FROM homeostat.batch_history", "t");
        const std::string written = "SELECT coalesce(sum(written), 0) FROM homeostat.batch_history";
        const double before = std::stod(scene.db.value(written));
        const auto start = Clock::now();
        std::this_thread::sleep_for(std::chrono::seconds(8));
        took.push_back((std::stod(scene.db.value(written)) - before) / seconds_since(start));
    }
    fmt::print("| 1, 2, 4 replicas, endpoint of 50 ms, 4 in flight each | {:.0f}, {:.0f}, {:.0f} docs/s | | {:.2f}, {:.2f} |\n",
               took[0], took[1], took[2], took[1] / took[0], took[2] / took[0]);
}

// How long an edit of the declaration waits for its row beside writers who leave no moment between two writes of ours.
void edits_of_the_declaration(kit::Cluster& cluster, const std::string& program) {
    Scene scene(cluster, program, 20'000, milliseconds(0), 8);
    scene.start();
    until(scene.db, kConverged, "1");
    std::vector<std::jthread> writers;
    for (int w = 0; w < 8; ++w) {
        writers.emplace_back([&, w](const std::stop_token& stop) {
            kit::Sql sql(scene.db.url());
            for (int i = 0; !stop.stop_requested(); i = (i + 1) % 25)
                sql.exec(fmt::format("UPDATE public.source SET body = 'edited ' || random() WHERE id > {0} AND id <= {0} + 100",
                                     w * 2'500 + i * 100));
        });
    }
    std::vector<double> waited;
    for (int i = 0; i < 60; ++i) {
        std::this_thread::sleep_for(milliseconds(300));
        const auto asked = Clock::now();
        scene.db.exec(fmt::format("UPDATE homeostat.pipeline SET approval = 'edit {}'", i));
        waited.push_back(seconds_since(asked));
    }
    fmt::print("| an edit of the declaration beside 8 writers of 100 rows each: p50 / longest of {} | {:.2f} / {:.2f} s | | |\n",
               waited.size(), percentile(waited, 0.5), percentile(waited, 1));
}

}  // namespace

}  // namespace homeostat::bench

int main(int argc, char** argv) {
    using namespace homeostat::bench;
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const std::string what = argc > 1 ? argv[1] : "all";
    const std::string self = argv[0];
    const std::string program = self.substr(0, self.rfind('/')) + "/../homeostat";
    homeostat::kit::Cluster cluster({"fsync=on", "shared_buffers=512MB", "max_wal_size=4GB"});
    const auto asked = [&](std::string_view part) { return what == "all" || what == part; };
    if (asked("fill")) {
        beside_a_fill(cluster, program, milliseconds(50));
        beside_a_fill(cluster, program, milliseconds(0));
    }
    if (asked("local")) {
        beside_a_fill(cluster, program, std::nullopt);
    }
    if (asked("restart")) one_is_killed(cluster, program);
    if (asked("kills")) four_are_killed_in_turn(cluster, program);
    if (asked("replicas")) more_replicas(cluster, program);
    if (asked("declared")) edits_of_the_declaration(cluster, program);
    return 0;
}
