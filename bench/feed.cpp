// The change feed: how long an edit takes to its vector, alone and under a stream of edits, and what the triggers cost whoever
// writes. bench/run.sh says how.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "bench/child.hpp"
#include "bench/measure.hpp"

namespace homeostat::bench {

namespace {

using Clock = std::chrono::steady_clock;

// How many documents have another vector than that of their text as it is now.
constexpr const char* kBehind =
    "SELECT count(*) FROM public.source s LEFT JOIN homeostat_data.p1_r1_document d ON d.key_1 = s.id"
    " WHERE s.xmin IS DISTINCT FROM d.source_version";

double percentile(std::vector<double> values, double p) {
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(p * static_cast<double>(values.size() - 1))];
}

// One edit at a time, each seen to its vector before the next.
void single_edits(kit::Database& db, const Child& controller, int edits) {
    std::vector<double> milliseconds;
    const double ours = cpu_seconds(controller.pid());
    const double theirs = cpu_seconds(db.cluster());
    for (int i = 1; i <= edits; ++i) {
        const std::string stored = fmt::format("SELECT write_token FROM homeostat_data.p1_r1_document WHERE key_1 = {}", i * 7);
        const std::string before = db.value(stored);
        db.exec(fmt::format("UPDATE public.source SET body = body || ' edited' WHERE id = {}", i * 7));
        const auto committed = Clock::now();
        while (db.value(stored) == before) std::this_thread::sleep_for(std::chrono::microseconds(200));
        milliseconds.push_back(std::chrono::duration<double, std::milli>(Clock::now() - committed).count());
        std::this_thread::sleep_for(std::chrono::milliseconds(i % 40));
    }
    fmt::print("| edit committed to vector committed, instant endpoint, {} single edits | p50 {:.1f} ms | p99 {:.1f} ms | |\n",
               edits, percentile(milliseconds, 0.5), percentile(milliseconds, 0.99));
    // With what asking for the vector costs, again and again.
    fmt::print("| CPU of one of them: the program, PostgreSQL | {:.2f} ms | {:.2f} ms | |\n",
               (cpu_seconds(controller.pid()) - ours) / edits * 1000, (cpu_seconds(db.cluster()) - theirs) / edits * 1000);
}

std::string script(const std::string& folder, const std::string& sql) {
    std::string name = folder + "/edit.sql";
    std::ofstream(name) << "\\set id random(1, 20000)\n" << sql << ";\n";
    return name;
}

// Transactions a second.
double pgbench(const std::string& program, const kit::Database& db, const std::string& options, const std::string& file) {
    const std::string command = fmt::format("{} -n -M prepared {} -f {} '{}' 2>/dev/null", program, options, file, db.url());
    FILE* out = ::popen(command.c_str(), "r");
    check(out != nullptr, "pgbench");
    std::array<char, 256> line{};
    double tps = 0;
    while (std::fgets(line.data(), line.size(), out) != nullptr) std::sscanf(line.data(), "tps = %lf", &tps);
    ::pclose(out);
    check(tps > 0, command);
    return tps;
}

void stream(kit::Database& db, const std::string& program, const std::string& folder, int seconds) {
    const std::string file =
        script(folder, "UPDATE public.source SET body = body || ' again', edited_at = clock_timestamp() WHERE id = :id");
    const double tps = pgbench(program, db, fmt::format("-c 8 -j 1 -R 200 -T {}", seconds), file);
    const std::string backlog = db.value(
        "SELECT (SELECT count(*) FROM homeostat_data.p1_change) + (SELECT coalesce(sum(documents), 0) FROM homeostat.batch)");
    until(db, "SELECT (SELECT count(*) FROM homeostat_data.p1_change) + (SELECT count(*) FROM homeostat.batch)", "0");
    const auto lag = [&](const char* p) {
        return db.value(fmt::format(
            "SELECT round((1000 * percentile_cont({}) WITHIN GROUP (ORDER BY extract(epoch FROM d.written_at - "
            "s.edited_at)))::numeric,"
            " 1) FROM public.source s JOIN homeostat_data.p1_r1_document d ON d.key_1 = s.id WHERE s.edited_at IS NOT NULL",
            p));
    };
    fmt::print(
        "| the same under {:.0f} edits/s from 8 writers, {} s | p50 {} ms | p99 {} ms | {} documents behind at the end |\n", tps,
        seconds, lag("0.5"), lag("0.99"), backlog);
}

constexpr int kTurns = 21;
constexpr const char* kTurn = "-c 16 -j 1 -T 3";

// Turn about, and each goes first as often. The controller is stopped for as long: two cores could not tell its work from the
// triggers'. `named`: there is room for whatever they change; else for as much as there is, which they fill at once.
void tax(kit::Database& db, const std::string& program, const std::string& file, bool named) {
    std::vector<double> off;
    std::vector<double> on;
    std::vector<double> ratio;
    const auto turn = [&](bool capture) {
        db.exec(fmt::format("ALTER TABLE public.source {} TRIGGER USER", capture ? "ENABLE" : "DISABLE"));
        if (named)
            db.exec(
                "TRUNCATE homeostat_data.p1_change; SELECT setval('homeostat_data.p1_full', 1), "
                "setval('homeostat_data.p1_room', 1000000000)");
        db.exec("VACUUM public.source");
        (capture ? on : off).push_back(pgbench(program, db, kTurn, file));
    };
    for (int i = 0; i < (named ? kTurns / 3 : kTurns); ++i) {
        turn(i % 2 == 0);
        turn(i % 2 != 0);
        ratio.push_back(on.back() / off.back());
    }
    db.exec("ALTER TABLE public.source ENABLE TRIGGER USER");
    fmt::print("| UPDATE of the content by 16 writers, capture on against off{} | {:.0f} tx/s | {:.0f} tx/s | {:.2f} |\n",
               named ? ", were every change named" : "", median(on), median(off), median(ratio));
}

// The controller goes on beside writers who keep both cores busy, against none and no triggers; then how long until all is
// healed.
void beside_writers(kit::Database& db, const Child& controller, const std::string& program, const std::string& file) {
    std::vector<double> ratio;
    std::vector<double> on;
    std::vector<double> healed;
    for (int i = 0; i < 3; ++i) {
        controller.signal(SIGSTOP);
        db.exec("ALTER TABLE public.source DISABLE TRIGGER USER");
        db.exec("VACUUM public.source");
        const double off = pgbench(program, db, "-c 16 -j 1 -T 10", file);
        db.exec("ALTER TABLE public.source ENABLE TRIGGER USER");
        db.exec("VACUUM public.source");
        controller.signal(SIGCONT);
        db.exec("UPDATE homeostat.pipeline SET reconcile_requested = gen_random_uuid()::text");
        until(db, kBehind, "0");
        std::this_thread::sleep_for(std::chrono::seconds(8));  // until the feed is trusted again
        on.push_back(pgbench(program, db, "-c 16 -j 1 -T 30", file));
        const auto start = Clock::now();
        until(db, kBehind, "0");
        healed.push_back(std::chrono::duration<double>(Clock::now() - start).count());
        ratio.push_back(on.back() / off);
    }
    fmt::print(
        "| the same 16 writers for 30 s beside the running controller, against no triggers and no controller | {:.0f} tx/s | all"
        " healed {:.1f} s later | {:.2f} |\n",
        median(on), median(healed), median(ratio));
}

// The feed is full of what the writers changed, and of all else there is no name.
void recovery(kit::Database& db, const Child& controller) {
    const auto start = Clock::now();
    db.exec("SELECT setval('homeostat_data.p1_full', 2)");
    controller.signal(SIGCONT);
    until(db, kBehind, "0");
    fmt::print("| from then until every vector is that of its document again | {:.1f} s | | |\n",
               std::chrono::duration<double>(Clock::now() - start).count());
}

}  // namespace

}  // namespace homeostat::bench

int main(int argc, char** argv) {
    using namespace homeostat::bench;
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const bool only_beside = argc > 1 && std::string(argv[1]) == "beside";
    const int seconds = argc > 1 ? std::atoi(argv[1]) : 60;
    const std::string self = argv[0];
    const std::string here = self.substr(0, self.rfind('/'));
    homeostat::kit::Cluster cluster({"fsync=on", "shared_buffers=512MB", "max_wal_size=4GB"});
    homeostat::kit::Database db(homeostat::kit::Schema::migrated, cluster);
    make_source(db, 20'000, 1000);
    db.exec("ALTER TABLE public.source ADD COLUMN edited_at timestamptz");
    const Child endpoint({here + "/../tests/kit/homeostat_fake_endpoint", "--port", "0", "--delay-ms", "0"}, true);
    std::string port = endpoint.line.substr(endpoint.line.find_first_of("0123456789"));
    port = port.substr(0, port.find_first_not_of("0123456789"));
    db.exec(
        fmt::format("INSERT INTO homeostat.provider (name, kind, endpoint, model, dimensions, max_batch, max_in_flight)"
                    " VALUES ('fake', 'openai', 'http://127.0.0.1:{}/v1', 'fake', 384, 100, 8)",
                    port));
    declare(db, "fake");
    std::vector<std::string> command{
        here + "/../homeostat",         "--database", db.url(), "--set", "http.listen=", "--set", "log.level=warn", "--set",
        "database.allow_superuser=true"};
    if (const std::string reader = reader_for(db.url()); !reader.empty())
        command.insert(command.end(), {"--set", "database.reader_url=" + reader});
    command.emplace_back("run");
    const Child controller(command, false);
    until(db,
          "SELECT count(*) FROM homeostat.condition WHERE (type, reason) IN (('ChangeFeed', 'Active'), ('Ready', 'Converged'))",
          "2");
    const std::string bin = argc > 2 ? argv[2] : "pgbench";
    const std::string changes = "UPDATE public.source SET body = 'Text ' || :id || random() WHERE id = :id";
    if (only_beside) {
        beside_writers(db, controller, bin, script("/tmp", changes));
        return 0;
    }
    single_edits(db, controller, 200);
    if (seconds == 0) return 0;
    stream(db, bin, "/tmp", seconds);
    controller.signal(SIGSTOP);
    const std::string file = script("/tmp", changes);
    tax(db, bin, file, false);
    tax(db, bin, file, true);
    recovery(db, controller);
    beside_writers(db, controller, bin, file);
    return 0;
}
