// What a seed of chaos plays in: tables of several kinds that writers change, pipelines over them, an endpoint, and replicas of
// the real program behind gates.
//
// Every row that a writer commits is noted in `history` by a trigger of the world's own, in the writer's transaction: the auditor
// knows each version that ever was, and when it was committed.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/kit/cluster.hpp"
#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/process.hpp"
#include "tests/kit/tcp_gate.hpp"

namespace homeostat::chaos {

struct Options {
    std::uint64_t seed = 1;
    int seconds = 20;  // of workload and faults
    int replicas = 3;
    int documents = 120;  // of each table, to begin with
    int edits = 40;  // a second, of all writers
    bool faults = true;
    bool feeds = true;  // false: every source is swept
    std::string logs;  // a folder that exists
};

// The same numbers from the same seed everywhere.
class Dice {
public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    int below(int n) { return static_cast<int>(engine_() % static_cast<std::uint64_t>(n)); }
    bool one_in(int n) { return below(n) == 0; }
    int between(int low, int high) { return low + below(high - low + 1); }

private:
    std::mt19937_64 engine_;
};

// A source that writers change. All have a key, a body that is embedded, and a column that nobody watches.
struct Table {
    std::string name;  // of the pipeline, and of the table that is written
    std::string source;  // of the pipeline
    std::string key;  // column
    bool text_key = false;
    bool swept = false;  // without a change feed
    bool versioned = false;
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
    kit::TcpGate& database_gate() noexcept { return database_gate_; }
    kit::TcpGate& provider_gate() noexcept { return provider_gate_; }

    // --- replicas; of one thread ---
    void start_replica(int i);
    void kill_replica(int i);
    void signal_replica(int i, int number);
    bool replica_runs(int i);
    // Ended by itself since it was started, and how.
    std::optional<std::string> ended_badly(int i);
    std::string log_of(int i) const;
    void keep_logs() const;

    // What happened, newest last, for whoever reads a failure.
    void note(const std::string& what);
    std::vector<std::string> notes() const;

private:
    void make_tables();
    void declare();

    kit::Cluster& cluster_;
    const Options options_;
    std::vector<Table> tables_;
    kit::Database db_;
    kit::FakeEndpoint endpoint_{{.dimensions = 16}};
    kit::FakeEndpoint other_{{.dimensions = 16, .salt = "other"}};
    kit::TcpGate database_gate_;
    kit::TcpGate provider_gate_;
    std::vector<std::unique_ptr<kit::Process>> replicas_;
    std::vector<std::string> gone_;  // what earlier processes of a replica said
    mutable std::mutex mutex_;
    std::vector<std::string> notes_;
};

}  // namespace homeostat::chaos
