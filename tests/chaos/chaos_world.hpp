// What a seed of chaos plays in: tables of several kinds that writers change, pipelines over them, an endpoint, and replicas of
// the real program, each behind a gate of its own.
//
// Every row that a writer commits is noted in `history` by a trigger of the world's own, in the writer's transaction: the auditor
// knows each version that ever was, and when it was committed. Replicas belong to one thread at a time; the rest is safe from
// any.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/kit/cluster.hpp"
#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/process.hpp"
#include "tests/kit/small_disk.hpp"
#include "tests/kit/tcp_gate.hpp"

namespace homeostat::chaos {

// What a seed is about.
enum class Play : std::uint8_t {
    writers,  // who write, while things go wrong
    variants,  // the same edits in several ways end in the same
    declarations,  // any that the schema of manifests allows
};

struct Options {
    Play play = Play::writers;
    std::uint64_t seed = 1;
    int seconds = 20;  // of workload and faults
    int replicas = 3;
    int documents = 120;  // of each table, to begin with
    int edits = 40;  // transactions a second, of all writers
    bool faults = true;
    std::vector<std::string> only;  // these faults; none: all there are
    bool feeds = true;  // false: every source is swept
    double promise = 8;  // seconds that an edit may wait without the status saying so
    int look = 20;  // seconds between looks at a source; longer than the promise, or they would heal what nobody has named
    int latency = -1;  // of the provider in milliseconds; -1: 0 to 200, by the seed, so that edits meet others on the way
    int patience = 90;  // seconds until everything is at rest
    bool disks = false;  // whether a small disk can be had
    std::string logs;  // a folder that exists
};

// The same numbers from the same seed everywhere.
class Dice {
public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    int below(int n) { return static_cast<int>(engine_() % static_cast<std::uint64_t>(n)); }
    bool one_in(int n) { return below(n) == 0; }
    int between(int low, int high) { return low + below(high - low + 1); }
    template <class List>
    const auto& of(const List& list) {
        return list[static_cast<std::size_t>(below(static_cast<int>(list.size())))];
    }

private:
    std::mt19937_64 engine_;
};

// A source that writers change. All have a key, a body that is embedded, and a column that nobody watches.
struct Table {
    std::string name;  // of the pipeline, and of the table that is written
    std::string source;  // of the pipeline
    std::string key;  // columns, as declared
    std::string key_text;  // the key as one text, of a row of the source or of what is served
    bool text_key = false;
    bool swept = false;  // without a change feed
    bool versioned = false;
    bool renamed = false;  // its columns are now and then
    bool composite() const { return key.find(',') != std::string::npos; }
    std::string served() const { return "public." + name + "_served"; }
};

// A child dies with the thread that started it, so this one starts them all.
class Launcher {
public:
    Launcher();
    ~Launcher();
    Launcher(const Launcher&) = delete;
    Launcher& operator=(const Launcher&) = delete;
    void run(const std::function<void()>& job);  // and waits for it

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::function<void()> job_;
    bool over_ = false;
    std::thread thread_;
};

class World {
public:
    World(kit::Cluster& cluster, const Options& options);
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    const Options& options() const noexcept { return options_; }
    const std::vector<Table>& tables() const noexcept { return tables_; }
    kit::Cluster& cluster() noexcept { return cluster_; }
    kit::Database& db() noexcept { return db_; }
    kit::FakeEndpoint& endpoint() noexcept { return endpoint_; }
    kit::FakeEndpoint& other() noexcept { return other_; }
    kit::TcpGate& database_gate(int replica) noexcept { return *database_gates_[static_cast<std::size_t>(replica)]; }
    kit::TcpGate& provider_gate() noexcept { return provider_gate_; }
    // Holds the whole database; nothing where this seed has none.
    kit::SmallDisk* disk() noexcept { return disk_.get(); }
    bool may_fail_over() const noexcept { return fails_over_; }
    bool plays(const std::string& fault) const;
    // The row of homeostat.pipeline that is a table's.
    std::string declaration(const Table& table) const;

    // --- replicas; of one thread at a time ---
    void start_replica(int i);
    void kill_replica(int i);
    // As an orchestrator does: it has to end by itself, in time and well.
    void end_replica(int i);
    void signal_replica(int i, int number);
    // Whoever has ended by itself is noted as broken, and started.
    void look_after_replicas();
    std::string log_of(int i) const;
    void keep_logs() const;

    // What happened, newest last, for whoever reads a failure.
    void note(const std::string& what);
    std::vector<std::string> notes() const;
    // What must not happen and did.
    void broke(const std::string& what);
    std::vector<std::string> broken() const;

private:
    void make_tables();
    void declare();
    void note_end(int i, const kit::Exit& exit);
    std::string clock_of(int i) const;

    kit::Cluster& cluster_;
    const Options options_;
    std::vector<Table> tables_;
    std::unique_ptr<kit::SmallDisk> disk_;
    bool fails_over_ = false;
    kit::Database db_;
    kit::FakeEndpoint endpoint_;
    kit::FakeEndpoint other_{{.dimensions = 16, .keep_requests = 1, .salt = "other"}};
    std::vector<std::unique_ptr<kit::TcpGate>> database_gates_;
    kit::TcpGate provider_gate_;
    Launcher launcher_;
    std::vector<std::unique_ptr<kit::Process>> replicas_;
    std::vector<std::string> gone_;  // what earlier processes of a replica said
    mutable std::mutex mutex_;
    std::vector<std::string> notes_;
    std::vector<std::string> broken_;
};

}  // namespace homeostat::chaos
