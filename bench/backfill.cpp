// Backfill against the floor, sweep against the bare anti-join, peak memory at two sizes: bench/run.sh says how.
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "bench/child.hpp"
#include "bench/measure.hpp"

namespace homeostat::bench {

namespace {

int rounds = 5;

double timed(kit::Database& db, const std::string& sql) {
    const auto started = std::chrono::steady_clock::now();
    db.exec(sql);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

// Turn about, so that both see the same weather.
void backfill(kit::Cluster& cluster, std::int64_t documents) {
    kit::Database db(kit::Schema::migrated, cluster);
    make_source(db, documents, 1000);
    declare(db, "hashing");
    check(in_child([&] { return run_once(db.url(), Embedding::null); }).ok, "first backfill");
    std::vector<double> floor;
    std::vector<double> ours;
    std::vector<double> ratio;
    std::vector<double> cpu;
    std::vector<double> their_cpu;
    for (int i = 0; i < rounds; ++i) {
        empty_revision(db);
        const Usage f = in_child([&] { return run_floor(db.url()); });
        check(f.ok, "floor");
        empty_revision(db);
        const double before = cpu_seconds(cluster);
        const Usage o = in_child([&] { return run_once(db.url(), Embedding::null); });
        their_cpu.push_back(cpu_seconds(cluster) - before);
        cpu.push_back(o.cpu_seconds);
        check(o.ok && db.value("SELECT count(*) FROM public.source_vectors") == std::to_string(documents), "backfill");
        floor.push_back(f.seconds);
        ours.push_back(o.seconds);
        ratio.push_back(o.seconds / f.seconds);
        fmt::print("  round {}: floor {:.2f} s, homeostat {:.2f} s ({:.2f} s of CPU, PostgreSQL {:.2f} s, {:.0f} MiB)\n", i + 1,
                   f.seconds, o.seconds, o.cpu_seconds, their_cpu.back(), o.peak_mib);
    }
    fmt::print("| CPU of a fill, both | {:.2f} s | {:.2f} s of it in PostgreSQL | |\n", median(cpu) + median(their_cpu),
               median(their_cpu));
    fmt::print("| backfill, null embedder, {} documents of 1 KB, 384 dimensions | {:.2f} s | floor {:.2f} s | {:.2f} x |\n",
               documents, median(ours), median(floor), median(ratio));

    // The same table, unchanged: a shallow sweep through the product's own statements.
    std::vector<double> join;
    std::vector<double> sweep;
    std::vector<double> sweep_ratio;
    Sweeper sweeper(db.url());
    const double before = cpu_seconds(::getpid()) + cpu_seconds(cluster);
    for (int i = 0; i < 20; ++i) sweeper.sweep();
    fmt::print("| CPU of a sweep of the unchanged table, both | {:.4f} s | | |\n",
               (cpu_seconds(::getpid()) + cpu_seconds(cluster) - before) / 20);
    for (int i = 0; i < std::max(rounds, 5); ++i) {
        const double j = timed(db,
                               "SELECT count(*) FROM public.source s LEFT JOIN homeostat_data.p1_r1_document d ON d.key_1 = s.id"
                               " WHERE d.document_id IS NULL OR d.source_version <> s.xmin");
        const double s = sweeper.sweep();
        join.push_back(j);
        sweep.push_back(s);
        sweep_ratio.push_back(s / j);
    }
    fmt::print("| sweep of the same table unchanged | {:.3f} s | bare anti-join {:.3f} s | {:.2f} x |\n", median(sweep),
               median(join), median(sweep_ratio));
}

// The fake endpoint as a process of its own, so that its work is not counted as ours; ends with this object.
class Endpoint {
public:
    Endpoint(const std::string& program, int delay_ms) {
        int out[2];
        check(::pipe(out) == 0, "pipe");
        child_ = ::fork();
        if (child_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            ::dup2(out[1], STDOUT_FILENO);
            const std::string delay = std::to_string(delay_ms);
            ::execl(program.c_str(), program.c_str(), "--port", "0", "--delay-ms", delay.c_str(), nullptr);
            std::_Exit(127);
        }
        ::close(out[1]);
        FILE* lines = ::fdopen(out[0], "r");
        char line[256] = {};
        check(std::fgets(line, sizeof line, lines) != nullptr, "starting the endpoint");
        std::fclose(lines);
        const std::string text = line;
        port = text.substr(text.find_first_of("0123456789"));
        port = port.substr(0, port.find_first_not_of("0123456789"));
    }
    ~Endpoint() {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }
    std::string port;

private:
    pid_t child_ = -1;
};

void against_worker(kit::Database& db, const std::string& port, std::int64_t documents, double rate, int loops) {
    std::vector<double> seconds;
    for (int i = 0; i < rounds; ++i) {
        db.exec(
            "DROP TABLE IF EXISTS worker_vectors;"
            "CREATE TABLE worker_vectors (id bigint PRIMARY KEY, body text NOT NULL, hash text NOT NULL, embedding vector(384) "
            "NOT NULL)");
        const Usage u = in_child([&] { return run_worker(db.url(), port, loops); });
        check(u.ok && db.value("SELECT count(*) FROM worker_vectors") == std::to_string(documents), "hand-written worker");
        seconds.push_back(u.seconds);
    }
    const double theirs = static_cast<double>(documents) / median(seconds);
    fmt::print(
        "| the same by a hand-written worker ({} at a time, text vectors) | homeostat {:.0f} docs/s | {:.0f} docs/s | {:.2f} x "
        "|\n",
        loops, rate, theirs, rate / theirs);
}

void http(kit::Cluster& cluster, const std::string& program, int delay_ms, std::int64_t documents) {
    const Endpoint endpoint(program, delay_ms);
    kit::Database db(kit::Schema::migrated, cluster);
    make_source(db, documents, 1000);
    db.exec(
        fmt::format("INSERT INTO homeostat.provider (name, kind, endpoint, model, dimensions, max_batch, max_in_flight)"
                    " VALUES ('fake', 'openai', 'http://127.0.0.1:{}/v1', 'fake', 384, 100, 8)",
                    endpoint.port));
    declare(db, "fake");
    check(in_child([&] { return run_once(db.url(), Embedding::as_declared); }).ok, "first run over HTTP");
    std::vector<double> seconds;
    for (int i = 0; i < rounds; ++i) {
        empty_revision(db);
        const Usage u = in_child([&] { return run_once(db.url(), Embedding::as_declared); });
        check(u.ok, "run over HTTP");
        seconds.push_back(u.seconds);
    }
    const double rate = static_cast<double>(documents) / median(seconds);
    against_worker(db, endpoint.port, documents, rate, 1);
    if (delay_ms > 0) against_worker(db, endpoint.port, documents, rate, 8);
    const std::string ceiling =
        delay_ms > 0 ? fmt::format("{:.0f} % of the endpoint's ceiling", rate / (8.0 * 100 * 1000 / delay_ms) * 100)
                     : std::string("");
    fmt::print(
        "| backfill through HTTP, endpoint of {} ms, batch 100, 8 in flight, {} documents of 1 KB | {:.2f} s | {:.0f} docs/s | "
        "{} |\n",
        delay_ms, documents, median(seconds), rate, ceiling);
}

// The program itself, from its start to its end, against the worker once more: over what is unchanged, then with one document in
// a hundred changed.
void once_more(kit::Cluster& cluster, const std::string& program, const std::string& fake, std::int64_t documents) {
    const Endpoint endpoint(fake, 0);
    kit::Database db(kit::Schema::migrated, cluster);
    make_source(db, documents, 1000);
    db.exec(
        fmt::format("INSERT INTO homeostat.provider (name, kind, endpoint, model, dimensions, max_batch, max_in_flight)"
                    " VALUES ('fake', 'openai', 'http://127.0.0.1:{}/v1', 'fake', 384, 100, 8);"
                    "CREATE TABLE worker_vectors (id bigint PRIMARY KEY, body text NOT NULL, hash text NOT NULL, embedding "
                    "vector(384) NOT NULL)",
                    endpoint.port));
    declare(db, "fake");
    const std::string url = db.url();
    const auto ours = [&] {
        const Usage u = in_child([&] {
            ::execl(program.c_str(), program.c_str(), "--database", url.c_str(), "--set", "log.level=error", "--set",
                    "database.allow_superuser=true", "run", "--once", nullptr);
            return false;
        });
        check(u.ok, "run --once");
        return u.seconds;
    };
    const auto theirs = [&] {
        const Usage u = in_child([&] { return run_worker_again(url, endpoint.port); });
        check(u.ok, "hand-written worker");
        return u.seconds;
    };
    ours();
    theirs();
    db.exec("VACUUM ANALYZE");
    for (const bool changed : {false, true}) {
        std::vector<double> a;
        std::vector<double> b;
        for (int i = 0; i < rounds; ++i) {
            if (changed)
                db.exec(fmt::format("UPDATE public.source SET body = 'edited ' || random() || body WHERE id % 100 = {}", i));
            a.push_back(ours());
            b.push_back(theirs());
        }
        fmt::print("| `run --once` over {} documents, {} | {:.2f} s | hand-written worker {:.2f} s | {:.2f} x |\n", documents,
                   changed ? "1 % changed" : "unchanged", median(a), median(b), median(a) / median(b));
    }
}

void memory(kit::Cluster& cluster) {
    double peak[2] = {0, 0};
    const std::int64_t sizes[2] = {10'000, 100'000};
    for (int i = 0; i < 2; ++i) {
        kit::Database db(kit::Schema::migrated, cluster);
        make_source(db, sizes[i], 1000);
        declare(db, "hashing");
        const Usage u = in_child([&] { return run_once(db.url(), Embedding::as_declared); });
        check(u.ok, "memory run");
        peak[i] = u.peak_mib;
    }
    fmt::print("| peak resident memory, 10,000 / 100,000 documents, hashing embedder | {:.1f} MiB | {:.1f} MiB | {:.2f} x |\n",
               peak[0], peak[1], peak[1] / peak[0]);
}

}  // namespace

}  // namespace homeostat::bench

int main(int argc, char** argv) {
    using namespace homeostat::bench;
    const std::int64_t documents = argc > 2 ? std::atoll(argv[2]) : 100'000;
    if (argc > 3) rounds = std::atoi(argv[3]);
    const std::string what = argc > 1 ? argv[1] : "all";
    homeostat::kit::Cluster cluster({"fsync=on", "shared_buffers=512MB", "max_wal_size=4GB", "autovacuum=off"});
    if (what == "all" || what == "backfill") backfill(cluster, documents);
    if (what == "all" || what == "memory") memory(cluster);
    const std::string self = argv[0];
    const std::string endpoint = self.substr(0, self.rfind('/')) + "/../tests/kit/homeostat_fake_endpoint";
    if (what == "all" || what == "http") {
        http(cluster, endpoint, 0, 20'000);
        http(cluster, endpoint, 50, 20'000);
    }
    if (what == "http50") http(cluster, endpoint, 50, argc > 2 ? documents : 10'000);
    if (what == "all" || what == "once")
        once_more(cluster, self.substr(0, self.rfind('/')) + "/../homeostat", endpoint, documents);
    return 0;
}
