#include "tests/chaos/chaos_world.hpp"

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>

namespace homeostat::chaos {

namespace {

constexpr const char* kFakeTime = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

// Noted after the change, so that it is noted only where the change stands. The clock is that of the change; when it was
// committed, track_commit_timestamp tells.
constexpr const char* kHistory = R"sql(
    CREATE TABLE history (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, pipeline text, key text, body text);
    CREATE INDEX ON history (pipeline, key, seq);
    CREATE FUNCTION note_history() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        was text := to_jsonb(OLD) ->> TG_ARGV[1];
        is_now text := to_jsonb(NEW) ->> TG_ARGV[1];
    BEGIN
        IF TG_OP <> 'INSERT' AND (TG_OP = 'DELETE' OR was <> is_now) THEN
            INSERT INTO history (pipeline, key, body) VALUES (TG_ARGV[0], was, NULL);
        END IF;
        IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND (was <> is_now OR NEW.body IS DISTINCT FROM OLD.body)) THEN
            INSERT INTO history (pipeline, key, body) VALUES (TG_ARGV[0], is_now, NEW.body);
        END IF;
        RETURN NULL;
    END $$;)sql";

}  // namespace

World::World(kit::Cluster& cluster, const Options& options)
    : cluster_(cluster),
      options_(options),
      tables_{{"plain", "plain", "id"},
              {"parts", "parts", "id"},
              {"named", "named", "name", true, false, true},
              {"viewed", "viewed_shown", "id"},
              {"swept", "swept", "id", false, true}},
      db_(kit::Schema::migrated, cluster),
      database_gate_(cluster.folder() + "/.s.PGSQL.5432"),
      provider_gate_(endpoint_.port()),
      replicas_(static_cast<std::size_t>(options.replicas)),
      gone_(static_cast<std::size_t>(options.replicas)) {
    if (!options_.feeds) {
        for (Table& t : tables_) t.swept = true;
    }
    make_tables();
    declare();
}

World::~World() {
    for (auto& replica : replicas_) {
        if (replica) replica->signal(SIGKILL);
    }
}

void World::make_tables() {
    db_.exec(kHistory);
    db_.exec(
        "CREATE TABLE plain (id int PRIMARY KEY, body text, seen int NOT NULL DEFAULT 0);"
        "CREATE TABLE parts (id int PRIMARY KEY, body text, seen int NOT NULL DEFAULT 0) PARTITION BY RANGE (id);"
        "CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (MINVALUE) TO (100);"
        "CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (100) TO (MAXVALUE);"
        "CREATE TABLE named (name text PRIMARY KEY, body text, seen int NOT NULL DEFAULT 0, version bigint NOT NULL DEFAULT 0);"
        "CREATE TABLE viewed (id int PRIMARY KEY, body text, seen int NOT NULL DEFAULT 0);"
        "CREATE VIEW viewed_shown AS SELECT id, body FROM viewed;"
        "CREATE TABLE swept (id int PRIMARY KEY, body text, seen int NOT NULL DEFAULT 0);");
    // A version that an application keeps: another one with each change of its row.
    db_.exec(
        "CREATE SEQUENCE named_version; CREATE FUNCTION next_version() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.version := nextval('named_version'); RETURN NEW; END $$;"
        "CREATE TRIGGER versions BEFORE INSERT OR UPDATE ON named FOR EACH ROW EXECUTE FUNCTION next_version()");
    for (const Table& t : tables_) {
        db_.exec(
            fmt::format("CREATE TRIGGER notes AFTER INSERT OR UPDATE OR DELETE ON {0} FOR EACH ROW EXECUTE FUNCTION"
                        " note_history('{0}', '{1}'); INSERT INTO {0} ({1}, body) SELECT {2}i, 'First ' || i || ' of {0}'"
                        " FROM generate_series(1, {3}) i",
                        t.name, t.key, t.text_key ? "'n' || " : "", options_.documents));
    }
}

void World::declare() {
    const auto provider = [&](const std::string& name, std::uint16_t port, const std::string& model) {
        db_.exec(
            fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight, timeout)"
                        " VALUES ('{}', 'http://127.0.0.1:{}/v1', '{}', 16, 16, 4, '2 seconds')",
                        name, port, model));
    };
    provider("fake", provider_gate_.port(), "m");
    provider("other", other_.port(), "n");
    for (const Table& t : tables_) {
        db_.exec(fmt::format(
            "INSERT INTO homeostat.pipeline (name, source, key, content, provider, target, max_prune_ratio, drift_interval,"
            " sweep_interval, capture, capture_from, version_column, chunker) VALUES ('{0}', '{1}', '{2}', 'body', 'fake',"
            " 'public.{0}_served', 1, '10 seconds', '1 hour', '{3}', '{4}', {5}, 'whole')",
            t.name, t.source, t.key, t.swept ? "Off" : "Auto",
            t.source != t.name && !t.swept ? R"([{"table": "public.viewed", "key": {"id": "id"}}])" : "[]",
            t.versioned ? "'version'" : "NULL"));
    }
}

void World::start_replica(int i) {
    const auto at = static_cast<std::size_t>(i);
    kit::Environment environment{{"HOMEOSTAT_REPLICA_NAME", fmt::format("replica-{}", i)},
                                 {"HOMEOSTAT_BATCH_IN_FLIGHT", "4"},
                                 {"HOMEOSTAT_LOOP_BACKOFF_CAP", "2s"},
                                 {"HOMEOSTAT_RETRY_CAP", "2s"}};
    if (const char* planted = std::getenv("HOMEOSTAT_PLANT")) environment["HOMEOSTAT_PLANT"] = planted;
    // One of them lives an hour ahead of the others.
    if (options_.faults && i == 1 && std::filesystem::exists(kFakeTime)) {
        environment.insert({{"LD_PRELOAD", kFakeTime}, {"FAKETIME", "+1h"}, {"FAKETIME_DONT_FAKE_MONOTONIC", "1"}});
    }
    const std::string url = fmt::format("postgresql://postgres@127.0.0.1:{}/{}", database_gate_.port(), db_.name());
    replicas_[at] = std::make_unique<kit::Process>(kit::Program(url, environment).start({"run"}));
}

void World::kill_replica(int i) {
    const auto at = static_cast<std::size_t>(i);
    if (!replicas_[at]) return;
    replicas_[at]->signal(SIGKILL);
    replicas_[at]->wait(std::chrono::seconds(10));
    gone_[at] += replicas_[at]->output() + "--- killed\n";
    replicas_[at].reset();
}

void World::signal_replica(int i, int number) {
    if (auto& replica = replicas_[static_cast<std::size_t>(i)]) replica->signal(number);
}

bool World::replica_runs(int i) {
    const auto& replica = replicas_[static_cast<std::size_t>(i)];
    return replica && replica->running();
}

std::optional<std::string> World::ended_badly(int i) {
    const auto& replica = replicas_[static_cast<std::size_t>(i)];
    if (!replica) return std::nullopt;
    const std::optional<kit::Exit> exit = replica->wait(std::chrono::milliseconds(0));
    if (!exit) return std::nullopt;
    return fmt::format("replica {} ended by itself with {} (signal {})", i, exit->code, exit->signal);
}

std::string World::log_of(int i) const {
    const auto at = static_cast<std::size_t>(i);
    return gone_[at] + (replicas_[at] ? replicas_[at]->output() : "");
}

void World::keep_logs() const {
    for (int i = 0; i < options_.replicas; ++i) {
        std::ofstream(fmt::format("{}/seed-{}-replica-{}.log", options_.logs, options_.seed, i)) << log_of(i);
    }
    std::ofstream out(fmt::format("{}/seed-{}-events.log", options_.logs, options_.seed));
    for (const std::string& line : notes()) out << line << '\n';
}

void World::note(const std::string& what) {
    static const auto kBegan = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - kBegan).count();
    const std::lock_guard lock(mutex_);
    notes_.push_back(fmt::format("{:8.3f} {}", seconds, what));
}

std::vector<std::string> World::notes() const {
    const std::lock_guard lock(mutex_);
    return notes_;
}

}  // namespace homeostat::chaos
