// A large table and its change feed: backfill, one statement that changes one row in a hundred, a sweep that finds nothing, the
// pass of a feed that is trusted, and the longest transaction of each. bench/run.sh says how.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>

#include "bench/child.hpp"
#include "bench/measure.hpp"
#include "controller/controller.hpp"

namespace homeostat::bench {

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kPasses = 21;
constexpr double kLong = 0.5;  // seconds of a transaction whose statement is worth a look

// The controller with an embedder that costs nothing, for as long as `work` takes.
int with_controller(const std::string& url, const std::function<void(const Registry&)>& work) {
    bound_allocator();
    spdlog::set_level(spdlog::level::warn);
    const SystemClock clock;
    Registry metrics;
    Controller controller(settings_for(url), {}, clock, metrics, nullptr, null_embedders());
    check(controller.start().ok(), "starting the controller");
    work(metrics);
    controller.stop();
    return 0;
}

// Until it is told to stop. The signal is blocked before any thread is made.
int serve(const std::string& url) {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, nullptr);
    return with_controller(url, [&](const Registry&) {
        int which = 0;
        sigwait(&ends, &which);
    });
}

// Started over what is as it should be; prints the seconds of its one pass.
int pass(const std::string& url) {
    return with_controller(url, [](const Registry& metrics) {
        double seconds = 0;
        while (seconds == 0) {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            for (const MetricFamily& family : metrics.collect()) {
                if (family.name == "controller_runtime_reconcile_time_seconds") seconds = family.samples.at(0).sum;
            }
        }
        fmt::print("{}\n", seconds);
    });
}

double pass_seconds(const std::string& self, const kit::Database& db) {
    std::vector<double> seconds;
    for (int i = 0; i < kPasses; ++i) seconds.push_back(std::atof(Child({self, "pass", db.url()}, true).line.c_str()));
    return median(seconds);
}

// Until the statement answers `wanted`; the longest transaction of ours that was seen meanwhile, in seconds.
// Looks seldom: what looks is on the same two cores.
double watch(kit::Database& db, const std::string& sql, const std::string& wanted) {
    double longest = 0;
    const auto end = Clock::now() + std::chrono::minutes(20);
    while (db.value(sql) != wanted) {
        check(Clock::now() < end, sql);
        const std::vector<kit::Row> oldest = db.query(
            "SELECT extract(epoch FROM clock_timestamp() - xact_start), left(query, 150) FROM pg_stat_activity WHERE"
            " application_name LIKE 'homeostat%' AND xact_start IS NOT NULL ORDER BY 1 DESC LIMIT 1");
        const double seconds = oldest.empty() ? 0 : std::atof(oldest[0][0]->c_str());
        if (seconds > longest && seconds > kLong) fmt::print(stderr, "  {:.2f} s: {}\n", seconds, *oldest[0][1]);
        longest = std::max(longest, seconds);
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return longest;
}

constexpr const char* kSettled =
    "SELECT count(*) FROM homeostat.condition WHERE (type, reason) IN (('ChangeFeed', 'Active'), ('Ready', 'Converged'))";

std::string scalar(kit::Database& db, const std::string& expression) { return db.value("SELECT " + expression); }

// One row in a hundred, in one statement. From its commit to the last vector; documents a second.
// `put_away`: seconds until what they were is in the journal, which nobody waits for.
std::vector<double> edits(kit::Database& db, std::int64_t documents, int rounds, double& longest, std::vector<double>& put_away) {
    std::vector<double> rates;
    for (int i = 1; i <= rounds; ++i) {
        db.exec(fmt::format("UPDATE public.source SET body = 'edited ' || body WHERE id % 100 = {}", i));
        const std::string committed = scalar(db, "clock_timestamp()");
        const auto start = Clock::now();
        longest = std::max(longest, watch(db,
                                          "SELECT (SELECT count(*) FROM homeostat_data.p1_change) + "
                                          "(SELECT count(*) FROM homeostat.batch)",
                                          "0"));
        put_away.push_back(std::chrono::duration<double>(Clock::now() - start).count());
        const std::string took =
            scalar(db, fmt::format("extract(epoch FROM max(written_at) - '{}') FROM homeostat_data.p1_r1_document", committed));
        const std::string stale =
            scalar(db,
                   "count(*) FROM public.source s JOIN homeostat_data.p1_r1_document d ON d.key_1 = s.id WHERE d.source_version "
                   "<> s.xmin");
        check(stale == "0", fmt::format("healing what was edited, round {}: {} are stale; {}", i, stale,
                                        scalar(db, "string_agg(reason || ' ' || message, '; ') FROM homeostat.condition")));
        rates.push_back(static_cast<double>(documents) / 100 / std::atof(took.c_str()));
        fmt::print(stderr, "  round {}: {:.0f} docs/s\n", i, rates.back());
    }
    return rates;
}

double sweep(kit::Database& db, double& longest) {
    const auto start = Clock::now();
    db.exec("UPDATE homeostat.pipeline SET reconcile_requested = gen_random_uuid()::text");
    longest = watch(db,
                    "SELECT count(*) FROM homeostat.pipeline p JOIN homeostat.pipeline_status s USING (uid) WHERE "
                    "s.last_handled_reconcile = p.reconcile_requested",
                    "1");
    return std::chrono::duration<double>(Clock::now() - start).count();
}

void world(kit::Database& db, std::int64_t documents) {
    make_source(db, documents, 1000);
    declare(db, "hashing");
    check(in_child([&] { return run_once(db.url(), Embedding::null); }).ok, "backfill");
}

int measure(const std::string& self, std::int64_t documents, bool only_edits) {
    kit::Cluster cluster({"fsync=on", "shared_buffers=512MB", "max_wal_size=4GB"});
    double small = 0;
    if (!only_edits) {
        kit::Database db(kit::Schema::migrated, cluster);
        world(db, 10'000);
        {
            const Child controller({self, "serve", db.url()}, false);
            until(db, kSettled, "2");
        }
        small = pass_seconds(self, db);
    }
    kit::Database db(kit::Schema::migrated, cluster);
    make_source(db, documents, 1000);
    std::vector<double> rates;
    double backfill = 0;
    {
        const Child controller({self, "serve", db.url()}, false);
        declare(db, "hashing");
        const double longest = watch(db, kSettled, "2");
        backfill =
            static_cast<double>(documents) /
            std::atof(
                scalar(db, "extract(epoch FROM max(written_at) - min(written_at)) FROM homeostat_data.p1_r1_document").c_str());
        fmt::print(
            "| backfill of {} documents with its change feed, null embedder | {:.0f} docs/s | longest transaction {:.2f} s "
            "| |\n",
            documents, backfill, longest);
        double longest_edit = 0;
        std::vector<double> put_away;
        rates = edits(db, documents, 5, longest_edit, put_away);
        fmt::print(
            "| one statement that changes {} of them, to the last vector | {:.0f} docs/s | longest transaction {:.2f} s, old"
            " chunks in the journal after {:.1f} s | {:.2f} x backfill |\n",
            documents / 100, median(rates), longest_edit, median(put_away), median(rates) / backfill);
        fmt::print("| resident memory at most, so far | {:.0f} MiB | | |\n", memory_mib(controller.pid(), "VmHWM"));
        if (only_edits) return 0;
        double longest_sweep = 0;
        const double swept = sweep(db, longest_sweep);
        fmt::print("| a sweep that somebody asked for, vectors looked at too | {:.2f} s | longest transaction {:.2f} s | |\n",
                   swept, longest_sweep);
        fmt::print("| resident memory at most | {:.0f} MiB | | |\n", memory_mib(controller.pid(), "VmHWM"));
    }
    const double large = pass_seconds(self, db);
    fmt::print("| a pass of {} documents, the feed trusted | {:.2f} ms | {:.2f} ms of 10,000 | {:.2f} x |\n", documents,
               large * 1e3, small * 1e3, large / small);
    return 0;
}

}  // namespace

}  // namespace homeostat::bench

int main(int argc, char** argv) {
    using namespace homeostat::bench;
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const std::string what = argc > 1 ? argv[1] : "1000000";
    if (what == "serve" && argc > 2) return serve(argv[2]);
    if (what == "pass" && argc > 2) return pass(argv[2]);
    return measure(argv[0], std::atoll(what.c_str()), argc > 2 && std::string(argv[2]) == "edits");
}
