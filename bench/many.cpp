// Many pipelines, declared by one view: what they cost while nothing changes, and how long a new one takes. bench/run.sh says
// how.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "bench/child.hpp"
#include "bench/measure.hpp"

namespace homeostat::bench {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// One table a tenant, or one table for all and a view a tenant; a row of `tenants` is a pipeline.
void make_world(kit::Database& db, int tenants, int more, bool shared) {
    db.exec(
        "CREATE SCHEMA t; CREATE TABLE tenants (n int PRIMARY KEY);"
        "CREATE TABLE t.notes (id int PRIMARY KEY, tenant int NOT NULL, body text NOT NULL);"
        "CREATE INDEX ON t.notes (tenant)");
    db.exec(fmt::format("INSERT INTO t.notes SELECT i, i / 3, 'Note ' || md5(i::text) FROM generate_series(3, {}) i",
                        3 * (tenants + more) + 2));
    for (int from = 1; from <= tenants + more; from += 100) {
        db.exec(fmt::format("DO $$ BEGIN FOR i IN {}..{} LOOP EXECUTE format('{}', i, i); END LOOP; END $$", from,
                            std::min(from + 99, tenants + more),
                            shared ? "CREATE VIEW t.notes_%s AS SELECT * FROM t.notes WHERE tenant = %s"
                                   : "CREATE TABLE t.notes_%s (id int PRIMARY KEY, body text NOT NULL);"
                                     " INSERT INTO t.notes_%1$s SELECT id, body FROM t.notes WHERE tenant = %2$s"));
    }
    db.exec(
        fmt::format("CREATE VIEW tenant_pipelines AS SELECT 'notes-' || n AS name, 't.notes_' || n AS source, {} 'body' AS"
                    " content, 'hashing' AS provider, 64 AS dimensions, 't.vectors_' || n AS target FROM tenants;"
                    "INSERT INTO tenants SELECT generate_series(1, {}); ANALYZE",
                    shared ? "'{id}'::text[] AS key," : "", tenants));
}

std::string converged() { return "SELECT count(*) FROM homeostat.condition WHERE (type, reason) = ('Ready', 'Converged')"; }

std::int64_t transactions(kit::Database& db) {
    db.exec("SELECT pg_stat_clear_snapshot()");
    return std::stoll(db.value("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"));
}

double largest_backend(kit::Database& db) {
    double most = 0;
    for (const kit::Row& row : db.query("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'homeostat%'"))
        most = std::max(most, memory_mib(std::atoi(row[0]->c_str()), "RssAnon"));
    return most;
}

void idle(kit::Database& db, const Child& controller, int tenants, int seconds, std::string_view which) {
    const std::int64_t before = transactions(db);
    const double ours = cpu_seconds(controller.pid());
    const double theirs = cpu_seconds(db.cluster());
    const auto start = Clock::now();
    std::this_thread::sleep_for(std::chrono::seconds(seconds));
    const double took = seconds_since(start);
    fmt::print("| {} idle pipelines, {} {} s, CPU of a core | {:.2f} % | PostgreSQL {:.2f} % | | 1 % |\n", tenants, which,
               seconds, (cpu_seconds(controller.pid()) - ours) / took * 100, (cpu_seconds(db.cluster()) - theirs) / took * 100);
    fmt::print("| the same, transactions a second | {:.1f} | | | |\n", static_cast<double>(transactions(db) - before) / took);
    fmt::print("| the same, resident memory | {:.0f} MiB (at most {:.0f}) | largest backend {:.0f} MiB | | 100 MiB |\n",
               memory_mib(controller.pid(), "VmRSS"), memory_mib(controller.pid(), "VmHWM"), largest_backend(db));
}

void new_rows(kit::Database& db, int tenants, int more) {
    std::vector<double> took;
    for (int i = tenants + 1; i <= tenants + more; ++i) {
        db.exec(fmt::format("INSERT INTO tenants VALUES ({})", i));
        const auto start = Clock::now();
        until(db,
              fmt::format("SELECT count(*) FROM homeostat.condition c JOIN homeostat.pipeline p USING (uid) WHERE p.name = "
                          "'notes-{}' AND (c.type, c.reason) = ('Ready', 'Converged')",
                          i),
              "1", std::chrono::milliseconds(5));
        took.push_back(seconds_since(start));
        std::this_thread::sleep_for(std::chrono::milliseconds(1'000 + i * 37 % 400));
    }
    fmt::print("| a row beside {} idle pipelines to its converged pipeline, median of {} | {:.2f} s | most {:.2f} s | | 2 s |\n",
               tenants, more, median(took), *std::max_element(took.begin(), took.end()));
}

}  // namespace

}  // namespace homeostat::bench

int main(int argc, char** argv) {
    using namespace homeostat::bench;
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const int tenants = argc > 1 ? std::atoi(argv[1]) : 1'000;
    const int seconds = argc > 2 ? std::atoi(argv[2]) : 300;
    const bool shared = argc > 3 && std::string_view(argv[3]) == "shared";
    constexpr int kMore = 5;
    const std::string self = argv[0];
    const std::string here = self.substr(0, self.rfind('/'));
    homeostat::kit::Cluster cluster({"fsync=on", "shared_buffers=512MB", "max_wal_size=4GB"});
    homeostat::kit::Database db(homeostat::kit::Schema::migrated, cluster);
    make_world(db, tenants, kMore, shared);
    const auto command = std::vector<std::string>{
        here + "/../homeostat",          "--database", db.url(), "--set", "http.listen=", "--set", "log.level=warn", "--set",
        "database.allow_superuser=true", "run"};
    {
        const Child controller(command, false);
        const double before = cpu_seconds(cluster);
        const auto start = Clock::now();
        db.exec("INSERT INTO homeostat.target_view (name, relation) VALUES ('tenants', 'tenant_pipelines')");
        until(db, converged(), std::to_string(tenants), std::chrono::milliseconds(100), std::chrono::minutes(15));
        fmt::print("| {} pipelines of {}, declared to converged | {:.1f} s, CPU {:.1f} s | PostgreSQL's CPU {:.1f} s | | |\n",
                   tenants, shared ? "a view on one table each" : "a table each", seconds_since(start),
                   cpu_seconds(controller.pid()), cpu_seconds(cluster) - before);
        // Feeds fall asleep, and the server sends its statistics and tidies up. Each pipeline has one pass more within its first
        // drift_interval.
        std::this_thread::sleep_for(std::chrono::seconds(15));
        idle(db, controller, tenants, seconds, "the first");
        idle(db, controller, tenants, seconds, "the next");
        new_rows(db, tenants, kMore);
    }
    return 0;
}
