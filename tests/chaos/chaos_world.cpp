#include "tests/chaos/chaos_world.hpp"
#include "tests/chaos/variants.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace homeostat::chaos {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kEndsWithin{20};  // after SIGTERM, with a drain budget of three

// Noted after the change, so that it is noted only where the change stands; when it was committed, track_commit_timestamp tells.
// `unseen`: by a statement that fires no trigger of a feed, so that only the next look at the source can find it.
// A TRUNCATE is a row without a key: it takes also what the snapshot of its transaction does not show (it is not MVCC-safe), so
// no list that its transaction could make would be whole. In `every_version` it ends each key that was there.
constexpr const char* kHistory = R"sql(
    CREATE TABLE history (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, pipeline text, key text, body text,
                          unseen boolean NOT NULL DEFAULT false);
    CREATE INDEX ON history (pipeline, key, seq);
    CREATE FUNCTION note_history() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        o jsonb := to_jsonb(OLD);
        n jsonb := to_jsonb(NEW);
        was text := concat_ws('|', o ->> TG_ARGV[1], o ->> TG_ARGV[2]);
        is_now text := concat_ws('|', n ->> TG_ARGV[1], n ->> TG_ARGV[2]);
        body_was text := coalesce(o ->> 'body', o ->> 'body_renamed');
        body_now text := coalesce(n ->> 'body', n ->> 'body_renamed');
    BEGIN
        IF TG_OP <> 'INSERT' AND (TG_OP = 'DELETE' OR was <> is_now) THEN
            INSERT INTO history (pipeline, key, body) VALUES (TG_ARGV[0], was, NULL);
        END IF;
        IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND (was <> is_now OR body_now IS DISTINCT FROM body_was)) THEN
            INSERT INTO history (pipeline, key, body) VALUES (TG_ARGV[0], is_now, body_now);
        END IF;
        RETURN NULL;
    END $$;
    CREATE FUNCTION note_truncation() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO history (pipeline) VALUES (TG_ARGV[0]);
        RETURN NULL;
    END $$;
    CREATE VIEW every_version AS
    WITH noted AS (SELECT *, pg_xact_commit_timestamp(xmin) AS since FROM history),
    ends AS (
        SELECT pipeline, key, body, unseen, seq, since, false AS truncated FROM noted WHERE key IS NOT NULL
        UNION ALL
        SELECT t.pipeline, k.key, NULL, t.unseen, t.seq, t.since, true
        FROM noted t JOIN (SELECT DISTINCT pipeline, key FROM history WHERE key IS NOT NULL) k USING (pipeline) WHERE t.key IS NULL)
    SELECT pipeline, key, body, unseen, seq, since
    FROM (SELECT *, lag(body) OVER (PARTITION BY pipeline, key ORDER BY seq) AS before FROM ends) e
    WHERE NOT truncated OR before IS NOT NULL;)sql";

constexpr const char* kSchema = R"sql(
    CREATE TABLE plain (id int PRIMARY KEY, body text, seen int NOT NULL DEFAULT 0);
    CREATE TABLE parts (id int PRIMARY KEY, body text, seen int NOT NULL DEFAULT 0) PARTITION BY RANGE (id);
    CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (MINVALUE) TO (60);
    CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (60) TO (MAXVALUE);
    CREATE TABLE named (name text PRIMARY KEY, body text, seen int NOT NULL DEFAULT 0, version bigint NOT NULL DEFAULT 0);
    CREATE TABLE pairs (tenant int, name text, body text, seen int NOT NULL DEFAULT 0, PRIMARY KEY (tenant, name));
    CREATE TABLE viewed (id int PRIMARY KEY, body text, seen int NOT NULL DEFAULT 0);
    CREATE VIEW viewed_shown AS SELECT id, body FROM viewed;
    CREATE TABLE swept (id int PRIMARY KEY, body text, seen int NOT NULL DEFAULT 0);
    -- a version that an application keeps: another one with each change of its row
    CREATE SEQUENCE named_version;
    CREATE FUNCTION next_version() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.version := nextval('named_version'); RETURN NEW; END $$;
    CREATE TRIGGER versions BEFORE INSERT OR UPDATE ON named FOR EACH ROW EXECUTE FUNCTION next_version();)sql";

std::optional<std::string> faketime() {
    std::error_code none;
    for (const auto& folder : fs::directory_iterator("/usr/lib", none)) {
        const fs::path library = folder.path() / "faketime/libfaketimeMT.so.1";
        if (fs::exists(library, none)) return library.string();
    }
    return std::nullopt;
}

std::vector<Table> writers_tables(bool renamed) {
    return {{.name = "plain", .source = "plain", .key = "id", .key_text = "id::text", .renamed = renamed},
            {.name = "parts", .source = "parts", .key = "id", .key_text = "id::text"},
            {.name = "named", .source = "named", .key = "name", .key_text = "name", .text_key = true, .versioned = true},
            {.name = "pairs", .source = "pairs", .key = "tenant, name", .key_text = "tenant || '|' || name"},
            {.name = "viewed", .source = "viewed_shown", .key = "id", .key_text = "id::text"},
            {.name = "swept", .source = "swept", .key = "id", .key_text = "id::text", .swept = true}};
}

std::string of_row(const Table& t, int i) {
    if (t.composite()) return fmt::format("{} % 5, 'n' || {}", i, i);
    return t.text_key ? fmt::format("'n' || {}", i) : std::to_string(i);
}

std::chrono::milliseconds latency_of(const Options& options) {
    return std::chrono::milliseconds(options.latency >= 0 ? options.latency : static_cast<int>(options.seed % 5) * 50);
}

}  // namespace

Launcher::Launcher()
    : thread_([this] {
          std::unique_lock lock(mutex_);
          for (;;) {
              changed_.wait(lock, [this] { return over_ || job_; });
              if (over_) return;
              job_();
              job_ = nullptr;
              changed_.notify_all();
          }
      }) {}

Launcher::~Launcher() {
    {
        const std::lock_guard lock(mutex_);
        over_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void Launcher::run(const std::function<void()>& job) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !job_; });
    job_ = job;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !job_; });
}

World::World(kit::Cluster& cluster, const Options& options)
    : cluster_(cluster),
      options_(options),
      tables_(options.play == Play::variants ? variant_tables() : writers_tables(plays("rename"))),
      db_(kit::Schema::migrated, cluster),
      endpoint_({.dimensions = 16, .keep_requests = 1, .delay = latency_of(options)}),
      provider_gate_(endpoint_.port()),
      replicas_(static_cast<std::size_t>(options.replicas)),
      gone_(static_cast<std::size_t>(options.replicas)) {
    if (!options_.feeds) {
        for (Table& t : tables_) t.swept = true;
    }
    for (int i = 0; i < options_.replicas; ++i)
        database_gates_.push_back(std::make_unique<kit::TcpGate>(cluster.folder() + "/.s.PGSQL.5432"));
    // A seed fills its disk, or its database fails over, or neither.
    Dice dice(options_.seed + 1'000'000);
    const int kind = dice.below(3);
    fails_over_ = plays("failover") && (kind == 1 || options_.only.size() == 1);
    if (plays("disk") && options_.disks && !fails_over_ && (kind == 2 || options_.only.size() == 1))
        disk_ = kit::SmallDisk::mount(cluster.folder() + "/disk", 128);
    if (disk_) {
        kit::Sql admin(cluster.url());
        admin.exec(fmt::format("CREATE TABLESPACE small LOCATION '{}'", disk_->folder()));
        admin.exec(fmt::format("ALTER DATABASE {} SET TABLESPACE small", db_.name()));
    }
    make_tables();
    declare();
}

World::~World() {
    for (auto& replica : replicas_) {
        if (replica) replica->signal(SIGKILL);
    }
    replicas_.clear();
    if (!disk_) return;
    try {
        db_.reconnect();
        kit::Sql admin(cluster_.url());
        admin.exec("DROP DATABASE IF EXISTS " + db_.name() + " WITH (FORCE)");
        admin.exec("DROP TABLESPACE small");
    } catch (const std::exception& e) {
        fmt::print(stderr, "the small disk cannot be left: {}\n", e.what());
    }
}

bool World::plays(const std::string& fault) const {
    return options_.faults && (options_.only.empty() || std::ranges::find(options_.only, fault) != options_.only.end());
}

void World::make_tables() {
    db_.exec(kHistory);
    db_.exec(options_.play == Play::variants ? variant_schema() : kSchema);
    for (const Table& t : tables_) {
        std::string key = t.key;
        if (const auto comma = key.find(", "); comma != std::string::npos) key.replace(comma, 2, "', '");
        db_.exec(
            fmt::format("CREATE TRIGGER notes AFTER INSERT OR UPDATE OR DELETE ON {0} FOR EACH ROW EXECUTE FUNCTION"
                        " note_history('{0}', '{1}');"
                        " CREATE TRIGGER notes_all BEFORE TRUNCATE ON {0} FOR EACH STATEMENT EXECUTE FUNCTION"
                        " note_truncation('{0}')",
                        t.name, key));
        std::string rows;
        for (int i = 1; i <= options_.documents; ++i)
            rows += fmt::format("{}({}, 'First {}')", i == 1 ? "" : ", ", of_row(t, i), i);
        db_.exec(fmt::format("INSERT INTO {} ({}, body) VALUES {}", t.name, t.key, rows));
    }
}

std::string World::declaration(const Table& t) const {
    return fmt::format(
        "INSERT INTO homeostat.pipeline (name, source, key, content, provider, target, max_prune_ratio, drift_interval,"
        " sweep_interval, capture, capture_from, version_column, chunker, deletion_policy) VALUES ('{0}', '{1}', '{2}', 'body',"
        " 'fake', 'public.{0}_served', 1, '{6} seconds', '1 hour', '{3}', '{4}', {5}, 'whole', 'Delete')",
        t.name, t.source, t.key, t.swept ? "Off" : "Auto",
        t.source != t.name && !t.swept ? R"([{"table": "public.viewed", "key": {"id": "id"}}])" : "[]",
        t.versioned ? "'version'" : "NULL", options_.look);
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
    for (const Table& t : tables_) db_.exec(declaration(t));
}

// One of them lives an hour ahead of the others, or behind.
std::string World::clock_of(int i) const {
    if (i != 1 || !plays("clock")) return "";
    return options_.seed % 3 == 0 ? "-1h" : "+1h";
}

void World::start_replica(int i) {
    const auto at = static_cast<std::size_t>(i);
    kit::Environment environment{{"HOMEOSTAT_REPLICA_NAME", fmt::format("replica-{}", i)},
                                 {"HOMEOSTAT_BATCH_IN_FLIGHT", "4"},
                                 {"HOMEOSTAT_DRAIN_BUDGET", "3s"},
                                 {"HOMEOSTAT_LOOP_BACKOFF_CAP", "2s"},
                                 {"HOMEOSTAT_RETRY_CAP", "2s"}};
    if (const char* planted = std::getenv("HOMEOSTAT_PLANT")) environment["HOMEOSTAT_PLANT"] = planted;
    const std::string clock = clock_of(i);
    if (const auto library = faketime(); library && !clock.empty())
        environment.insert({{"LD_PRELOAD", *library}, {"FAKETIME", clock}, {"FAKETIME_DONT_FAKE_MONOTONIC", "1"}});
    const std::string url = fmt::format("postgresql://postgres@127.0.0.1:{}/{}", database_gates_[at]->port(), db_.name());
    launcher_.run([&] { replicas_[at] = std::make_unique<kit::Process>(kit::Program(url, environment).start({"run"})); });
}

void World::note_end(int i, const kit::Exit& exit) {
    broke(fmt::format("replica {} ended by itself, code {}, signal {}", i, exit.code, exit.signal));
}

void World::kill_replica(int i) {
    auto& replica = replicas_[static_cast<std::size_t>(i)];
    if (!replica) return;
    if (const auto exit = replica->wait(std::chrono::milliseconds(0))) note_end(i, *exit);
    replica->signal(SIGKILL);
    replica->wait(std::chrono::seconds(10));
    gone_[static_cast<std::size_t>(i)] += replica->output() + "--- killed\n";
    replica.reset();
}

void World::end_replica(int i) {
    auto& replica = replicas_[static_cast<std::size_t>(i)];
    if (!replica) return;
    if (const auto exit = replica->wait(std::chrono::milliseconds(0))) note_end(i, *exit);
    replica->signal(SIGTERM);
    const auto exit = replica->wait(kEndsWithin);
    if (!exit) {
        broke(fmt::format("replica {} does not end within {} s of SIGTERM", i, kEndsWithin.count()));
        replica->signal(SIGABRT);  // a core, where there are any, says where it hangs
        replica->wait(std::chrono::seconds(10));
    } else if (exit->code != 0 && !(exit->signal == SIGTERM && replica->output().empty())) {
        // One that has said nothing yet may not have come to taking signals: it has begun nothing that is to be finished.
        broke(fmt::format("replica {} ended with code {}, signal {} after SIGTERM", i, exit->code, exit->signal));
    }
    gone_[static_cast<std::size_t>(i)] += replica->output() + "--- ended\n";
    replica.reset();
}

void World::signal_replica(int i, int number) {
    if (auto& replica = replicas_[static_cast<std::size_t>(i)]) replica->signal(number);
}

void World::look_after_replicas() {
    for (int i = 0; i < options_.replicas; ++i) {
        auto& replica = replicas_[static_cast<std::size_t>(i)];
        if (replica && replica->running()) continue;
        kill_replica(i);
        start_replica(i);
    }
}

std::string World::log_of(int i) const {
    const auto at = static_cast<std::size_t>(i);
    return gone_[at] + (replicas_[at] ? replicas_[at]->output() : "");
}

void World::keep_logs() const {
    for (int i = 0; i < options_.replicas; ++i)
        std::ofstream(fmt::format("{}/seed-{}-replica-{}.log", options_.logs, options_.seed, i)) << log_of(i);
    std::ofstream out(fmt::format("{}/seed-{}-events.log", options_.logs, options_.seed));
    for (const std::string& line : notes()) out << line << '\n';
    std::error_code ignored;
    fs::copy_file(cluster_.folder() + "/log", fmt::format("{}/seed-{}-postgresql.log", options_.logs, options_.seed),
                  fs::copy_options::overwrite_existing, ignored);
    std::ofstream state(fmt::format("{}/seed-{}-state.txt", options_.logs, options_.seed));
    for (const char* table : {"pipeline", "pipeline_status", "condition", "lease", "replica", "feed", "run", "batch",
                              "dead_letter", "provider_status", "run_history", "event", "batch_history"}) {
        state << "--- " << table << '\n';
        try {
            kit::Sql sql(db_.url());
            for (const kit::Row& row : sql.query(fmt::format("SELECT to_jsonb(t) - 'snapshot' FROM homeostat.{} t", table)))
                state << row[0].value_or("") << '\n';
        } catch (const std::exception& e) {
            state << e.what() << '\n';
        }
    }
}

void World::note(const std::string& what) {
    const auto now = std::chrono::system_clock::now();
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
    const std::lock_guard lock(mutex_);
    // As the logs of the program have it, so that they can be laid side by side.
    notes_.push_back(
        fmt::format("{:02}:{:02}:{:02}.{:03} {}", ms / 3'600'000 % 24, ms / 60'000 % 60, ms / 1'000 % 60, ms % 1'000, what));
}

std::vector<std::string> World::notes() const {
    const std::lock_guard lock(mutex_);
    return notes_;
}

void World::broke(const std::string& what) {
    note("BROKEN " + what);
    const std::lock_guard lock(mutex_);
    if (broken_.size() < 50) broken_.push_back(what);
}

std::vector<std::string> World::broken() const {
    const std::lock_guard lock(mutex_);
    return broken_;
}

}  // namespace homeostat::chaos
