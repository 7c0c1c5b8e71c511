// Backfill against the floor, sweep against the bare anti-join, peak memory at two sizes: bench/run.sh says how.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "bench/measure.hpp"

namespace homeostat::bench {

namespace {

int rounds = 5;

void check(bool ok, std::string_view what) {
    if (ok) return;
    fmt::print(stderr, "bench: {} failed\n", what);
    std::exit(1);
}

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
    for (int i = 0; i < rounds; ++i) {
        empty_revision(db);
        const Usage f = in_child([&] { return run_floor(db.url()); });
        check(f.ok, "floor");
        empty_revision(db);
        const Usage o = in_child([&] { return run_once(db.url(), Embedding::null); });
        check(o.ok && db.value("SELECT count(*) FROM public.source_vectors") == std::to_string(documents), "backfill");
        floor.push_back(f.seconds);
        ours.push_back(o.seconds);
        ratio.push_back(o.seconds / f.seconds);
        fmt::print("  round {}: floor {:.2f} s, homeostat {:.2f} s ({:.2f} s of CPU, {:.0f} MiB)\n", i + 1, f.seconds, o.seconds,
                   o.cpu_seconds, o.peak_mib);
    }
    fmt::print("| backfill, null embedder, {} documents of 1 KB, 384 dimensions | {:.2f} s | floor {:.2f} s | {:.2f} x |\n", documents,
               median(ours), median(floor), median(ratio));

    // The same table, unchanged: a shallow sweep through the product's own statements.
    std::vector<double> join;
    std::vector<double> sweep;
    std::vector<double> sweep_ratio;
    for (int i = 0; i < rounds; ++i) {
        const double j = timed(db,
                               "SELECT count(*) FROM public.source s LEFT JOIN homeostat_data.p1_r1_document d ON d.key_1 = s.id"
                               " WHERE d.document_id IS NULL OR d.source_version <> s.xmin");
        double s = 0;
        check(run_sweep(db.url(), s), "sweep");
        join.push_back(j);
        sweep.push_back(s);
        sweep_ratio.push_back(s / j);
    }
    fmt::print("| sweep of the same table unchanged | {:.3f} s | bare anti-join {:.3f} s | {:.2f} x |\n", median(sweep), median(join),
               median(sweep_ratio));
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
    fmt::print("| peak resident memory, 10,000 / 100,000 documents, hashing embedder | {:.1f} MiB | {:.1f} MiB | {:.2f} x |\n", peak[0],
               peak[1], peak[1] / peak[0]);
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
    return 0;
}
