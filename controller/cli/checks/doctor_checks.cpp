#include "controller/cli/checks/doctor_checks.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <utility>

#include "controller/cli/text/figures.hpp"
#include "controller/config/readers.hpp"
#include "core/clock.hpp"
#include "store/control/migrator.hpp"
#include "store/control/resources.hpp"
#include "store/data/relation.hpp"
#include "store/inspect/diagnosis.hpp"
#include "store/pg/pg_error.hpp"

namespace homeostat {

namespace {

constexpr std::int64_t kOldestServer = 140'000;
constexpr double kClockTolerance = 2;                      // seconds
constexpr double kSlowLink = 0.02;                         // seconds for a statement that does nothing
constexpr std::int64_t kOldSnapshot = 10'000'000;          // transactions
constexpr std::int64_t kOldFreeze = 1'500'000'000;         // of the two thousand million there are
constexpr std::int64_t kMuchWal = std::int64_t{16} << 30;  // bytes
constexpr const char* kGrantController = "GRANT homeostat_controller to the role that runs homeostat";
constexpr std::ptrdiff_t kManyRights = 8;
constexpr int kOtherConnections = 4;                       // leases, notifications, one index being built, traces
constexpr std::uint64_t kMiB = 1 << 20;

const Statement kPing{"doctor_ping", "SELECT 1"};

Check failed(std::string subject, const Error& error, std::string fix = "") {
    return {CheckHealth::fail, std::move(subject), error.message, std::move(fix)};
}

Check check_version(const ServerFacts& f) {
    const std::string what =
        fmt::format("PostgreSQL {}, database \"{}\" as role \"{}\", timeline {}", f.version, f.database, f.role, f.timeline);
    if (f.version_number < kOldestServer) return {CheckHealth::fail, "connection", what, "use PostgreSQL 14 or newer"};
    if (f.in_recovery || f.read_only) {
        return {CheckHealth::fail, "connection", what + "; it cannot be written",
                f.in_recovery ? "name the primary in the connection string, or all hosts of the cluster"
                              : "turn off default_transaction_read_only for this role and database"};
    }
    return {CheckHealth::ok, "connection", what};
}

Check check_extension(const ServerFacts& f) {
    if (!f.vector) {
        return {CheckHealth::fail, "extension", "vector is not in this database",
                f.vector_available ? "CREATE EXTENSION vector"
                                   : "install pgvector 0.7 or newer on the server, then CREATE EXTENSION vector"};
    }
    int major = 0;
    int minor = 0;
    const bool read = std::sscanf(f.vector->c_str(), "%d.%d", &major, &minor) == 2;  // NOLINT(cert-err34-c): two small numbers
    if (read && (major > 0 || minor >= 7)) return {CheckHealth::ok, "extension", "vector " + *f.vector};
    return {CheckHealth::fail, "extension", fmt::format("vector {} is older than 0.7", *f.vector),
            "install a newer pgvector on the server, then ALTER EXTENSION vector UPDATE"};
}

Check check_superuser(Session& session, const Settings& settings) {
    const Result<std::string> unbounded = unbounded_login(session);
    if (!unbounded) return failed("login", unbounded.error());
    if (unbounded->empty()) return {CheckHealth::ok, "login", "may not do everything"};
    if (settings.database_allow_superuser) return {CheckHealth::ok, "login", *unbounded + ", as database.allow_superuser allows"};
    if (!settings.database_reader_url.empty())
        return {CheckHealth::warn, "login",
                *unbounded + "; sources are read by database.reader_url, all else is done as this one",
                "CREATE ROLE homeostat_run LOGIN IN ROLE homeostat_controller, and connect as that role"};
    return {CheckHealth::fail, "login", *unbounded + "; run, plan, validate and explain refuse to read sources as one",
            "CREATE ROLE homeostat_run LOGIN IN ROLE homeostat_controller, and connect as that role"};
}

// The median of a few, because one may meet anything.
double round_trip(Session& session, const Clock& clock) {
    std::array<double, 7> seconds{};
    for (double& s : seconds) {
        const SteadyTime before = clock.steady_now();
        session.exec(kPing);
        s = std::chrono::duration<double>(clock.steady_now() - before).count();
    }
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
}

Check check_latency(double seconds) {
    const std::string what = fmt::format("{:.2f} ms for a statement", seconds * 1'000);
    if (seconds < kSlowLink) return {CheckHealth::ok, "latency", what};
    return {CheckHealth::warn, "latency", what, "run homeostat closer to the database"};
}

Check check_clock(double skew) {
    const std::string what = fmt::format("{:.3f} s between the server's clock and ours", std::abs(skew));
    if (std::abs(skew) < kClockTolerance) return {CheckHealth::ok, "clock", what};
    return {CheckHealth::warn, "clock", what, "synchronise both (NTP); leases are safe either way, times shown are not"};
}

Check check_connections(const ServerFacts& f, const Settings& s) {
    const std::uint64_t working = s.database_read_connections + s.database_write_connections + s.database_feed_connections;
    const auto need = static_cast<std::int64_t>(working * (1 + reader_logins(s).size())) + kOtherConnections;
    const std::string what = fmt::format("{} of {} are in use; a replica takes up to {}", f.connections, f.max_connections, need);
    if (need > f.max_connections) {
        return {CheckHealth::fail, "connections", what,
                "raise max_connections, or lower database.read_connections and database.write_connections"};
    }
    if (f.connections + need > f.max_connections) {
        return {CheckHealth::warn, "connections", what, "raise max_connections, or put fewer clients on this server"};
    }
    return {CheckHealth::ok, "connections", what};
}

Check check_horizon(Session& session) {
    const Result<HorizonFacts> f = read_horizon_facts(session);
    if (!f) return {CheckHealth::warn, "vacuum", f.error().message, ""};
    if (f->freeze_age > kOldFreeze) {
        return {CheckHealth::warn, "vacuum",
                fmt::format("a database is {} transactions from its last freeze", count_text(f->freeze_age)),
                "VACUUM (FREEZE) the oldest databases before the server stops taking writes"};
    }
    if (f->oldest_snapshot_age > kOldSnapshot) {
        return {CheckHealth::warn, "vacuum",
                fmt::format("{} holds a snapshot of {} transactions ago", f->held_by, count_text(f->oldest_snapshot_age)),
                "end it: dead rows pile up while it lasts"};
    }
    if (f->retained_wal > kMuchWal) {
        return {CheckHealth::warn, "wal",
                fmt::format("replication slot {} keeps {} MiB of WAL", f->slot, count_text(f->retained_wal >> 20)),
                "let its consumer catch up, or drop the slot"};
    }
    return {CheckHealth::ok, "vacuum",
            fmt::format("oldest snapshot {} transactions old, freeze age {}", count_text(f->oldest_snapshot_age),
                        count_text(f->freeze_age))};
}

std::string first_line(const std::string& path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    return line;
}

// Control group v2, then v1; "max" and absurdly large numbers mean none.
std::uint64_t memory_limit(std::string& whose) {
    const auto machine = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
    for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
        const std::uint64_t bytes = std::strtoull(first_line(path).c_str(), nullptr, 10);
        if (bytes == 0 || bytes >= machine) continue;
        whose = "the control group";
        return bytes;
    }
    whose = "the machine";
    return machine;
}

// What the role that declared it lacks, its own sentence says how to grant.
std::string remedy_of_source(const PipelineSpec& pipeline, const Error& error, const std::string& role) {
    if (error.code == kRightOfAnother) return "";
    if (error.code != "42501") return "restore it, or edit the pipeline (homeostat apply)";
    return fmt::format("GRANT SELECT ON {} TO {}", pipeline.source, role);
}

}  // namespace

std::string_view to_string(CheckHealth h) noexcept {
    constexpr std::array<std::string_view, 3> kNames{"ok", "warn", "fail"};
    return kNames[static_cast<std::size_t>(h)];
}

Checks check_server(Session& session, const Settings& settings) {
    const SystemClock clock;
    const auto before = clock.now();
    const Result<ServerFacts> f = read_server_facts(session);
    if (!f) return {failed("connection", f.error())};
    const auto after = clock.now();
    const double ours = std::chrono::duration<double>((before + (after - before) / 2).time_since_epoch()).count();
    Checks out{check_version(*f)};
    const Result<double> trip = guarded([&] { return round_trip(session, clock); });
    out.push_back(trip ? check_latency(*trip) : failed("latency", trip.error()));
    // What the question itself took is no skew.
    const double doubt = std::chrono::duration<double>(after - before).count() / 2;
    const double skew = f->clock - ours;
    out.push_back(check_clock(std::abs(skew) <= doubt ? 0 : skew));
    out.push_back(check_connections(*f, settings));
    out.push_back(check_extension(*f));
    out.push_back(check_superuser(session, settings));
    out.push_back(check_horizon(session));
    return out;
}

Check check_schema(Session& session) {
    const Result<int> version = schema_version(session);
    if (!version) return failed("schema", version.error(), version.error().code == "42501" ? kGrantController : "");
    if (*version == newest_migration())
        return {CheckHealth::ok, "schema", fmt::format("at {}, as this program wants it", *version)};
    if (*version == 0) return {CheckHealth::fail, "schema", "homeostat has no schema in this database", "homeostat migrate up"};
    if (*version < newest_migration()) {
        return {CheckHealth::fail, "schema", fmt::format("at {}, and this program wants {}", *version, newest_migration()),
                "homeostat migrate up"};
    }
    return {CheckHealth::fail, "schema", fmt::format("at {}, newer than this program knows ({})", *version, newest_migration()),
            "use the newer homeostat"};
}

Checks check_rights(Session& session) {
    Checks out;
    const Result<std::vector<std::string>> roles = missing_roles(session);
    if (!roles) return {failed("roles", roles.error())};
    for (const std::string& role : *roles) {
        out.push_back({CheckHealth::warn, "roles", fmt::format("role {} does not exist, so nothing is granted to it", role),
                       "as the owner of the schemas, with the right to create roles: homeostat migrate roles"});
    }
    const Result<std::vector<MissingRight>> rights = missing_rights(session);
    if (!rights) {
        out.push_back(failed("rights", rights.error(), kGrantController));
        return out;
    }
    // Who is no member of the group lacks all that it has: one line says it, and one statement mends it.
    const auto general = std::count_if(rights->begin(), rights->end(), [](const MissingRight& r) { return r.pipeline.empty(); });
    if (general > kManyRights) {
        out.push_back(
            {CheckHealth::fail, "rights",
             fmt::format("this role lacks {} rights of homeostat_controller, such as {}", general, rights->front().what),
             kGrantController});
    }
    for (const MissingRight& r : *rights) {
        if (general > kManyRights && r.pipeline.empty()) continue;
        const std::string whose = r.pipeline.empty() ? "rights" : fmt::format("pipeline {}", r.pipeline);
        out.push_back({CheckHealth::fail, whose, fmt::format("this role lacks {}", r.what), r.fix});
    }
    if (rights->empty()) out.push_back({CheckHealth::ok, "rights", "this role may write what homeostat writes"});
    return out;
}

Checks check_owners(Session& session) {
    const Result<std::vector<ForeignOwner>> owners = foreign_owners(session);
    if (!owners) return {failed("owners", owners.error())};
    Checks out;
    for (const ForeignOwner& o : *owners) {
        out.push_back(
            {CheckHealth::warn, "owners",
             fmt::format("{} in homeostat_data not of homeostat_controller but of role \"{}\", such as {}: that role cannot "
                         "leave, and another login cannot alter what is its",
                         counted(o.objects, "object"), o.owner, o.example),
             o.fix});
    }
    if (out.empty()) out.push_back({CheckHealth::ok, "owners", "what was made belongs to homeostat_controller"});
    return out;
}

Checks check_sources(Session& session) {
    const Result<std::vector<PipelineSpec>> pipelines = list_pipelines(session);
    if (!pipelines) return {failed("sources", pipelines.error())};
    const Result<ServerFacts> facts = read_server_facts(session);
    if (!facts) return {failed("sources", facts.error())};
    const std::string role = session.quote_name(facts->role);
    Checks out;
    std::int64_t readable = 0;
    for (const PipelineSpec& p : *pipelines) {
        if (p.deleting) continue;
        const Result<SourceShape> source = guarded([&] {
            Transaction tx = session.begin(TxMode::read_only);
            return inspect_source(tx, p);
        });
        if (source) {
            ++readable;
        } else {
            out.push_back(failed(fmt::format("pipeline {}", p.name), source.error(), remedy_of_source(p, source.error(), role)));
        }
    }
    if (out.empty()) out.push_back({CheckHealth::ok, "sources", fmt::format("{} can be read", counted(readable, "source"))});
    return out;
}

Check judge_sandbox(const SandboxReport& report) {
    if (!report.filter) {
        return {
            CheckHealth::fail, "sandbox", report.text(),
            "run on x86-64 or arm64 with a kernel that has seccomp filters (CONFIG_SECCOMP_FILTER), in a container that permits "
            "seccomp"};
    }
    std::string fix;
    const auto wants = [&](bool held, std::string_view what) {
        if (!held) fix += (fix.empty() ? "" : "; ") + std::string(what);
    };
    wants(report.namespaces,
          "permit user namespaces (sysctl user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1, "
          "kernel.apparmor_restrict_unprivileged_userns=0; in a container a seccomp profile that lets clone through)");
    wants(report.landlock,
          "use Linux 5.13 or newer with landlock among its security modules (lsm=landlock,... on its command line)");
    // Without namespaces there is no mounting, and that has been said.
    wants(report.scratch || !report.namespaces, "permit tmpfs to be mounted in a user namespace");
    return {fix.empty() ? CheckHealth::ok : CheckHealth::warn, "sandbox", report.text(), fix};
}

Checks check_sandbox(Session& session) {
    const Result<std::vector<ProviderSpec>> providers = list_providers(session);
    if (!providers) return {failed("sandbox", providers.error())};
    const bool any = std::any_of(providers->begin(), providers->end(), [](const ProviderSpec& p) { return p.kind == "exec"; });
    return any ? Checks{judge_sandbox(examine_sandbox())} : Checks{};
}

Check check_notifications(const ConnectOptions& options) {
    const auto trip = notification_trip(options, std::to_string(getpid()));
    if (!trip) return {CheckHealth::warn, "notifications", trip.error().message, "allow a few more connections to this role"};
    if (*trip)
        return {CheckHealth::ok, "notifications",
                fmt::format("arrive after {:.1f} ms", static_cast<double>((*trip)->count()) / 1'000)};
    return {CheckHealth::warn, "notifications", "a notification did not arrive within 2 s",
            "connect past a transaction-mode pooler; until then changes are noticed by looking (loop.poll)"};
}

Check check_memory(const Settings& s, bool local_model) {
    std::string whose;
    const std::uint64_t limit = memory_limit(whose);
    // The process itself, texts and vectors in flight, the weights and their workspace.
    const std::uint64_t needs = 64 * kMiB + s.batch_in_flight * 4 * kMiB + (local_model ? 96 * kMiB : 0);
    const std::string what =
        fmt::format("{} MiB in {}; about {} MiB may be needed", count_text(static_cast<std::int64_t>(limit / kMiB)), whose,
                    count_text(static_cast<std::int64_t>(needs / kMiB)));
    if (needs <= limit) return {CheckHealth::ok, "memory", what};
    return {CheckHealth::warn, "memory", what, "raise the limit, or lower batch.in_flight"};
}

}  // namespace homeostat
