// What is assumed of the factory against what it has: declared limits, schema, clocks, workers. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/resource.hpp"
#include "reconcilers/factory/advice.hpp"

namespace homeostat {

// One replica as it last said of itself.
struct SeenReplica {
    std::string id;
    int schema_version = 0;
    std::chrono::milliseconds silent_for{0};
    std::chrono::milliseconds clock_ahead{0};  // of the database's, when it wrote its report; less by as long as that took
    bool reported = false;                     // it has written a snapshot
    unsigned write_connections = 0;            // 0 where it does not say
    SeenFactory factory;
    std::vector<std::pair<std::string, std::string>> left_to_others;  // providers, and why they cannot be asked from there
};

struct Conflict {
    std::string where;       // a replica, or provider "x"
    std::string assumed;
    std::string found;
    std::string adjustment;  // what is done about it, by homeostat or by a person
    bool by_person = false;  // nothing adjusts itself
    std::string reason{};    // of the condition FactoryConflict; empty where none is told
    std::string provider{};  // that it is about; empty where it is about a whole replica
};

inline constexpr std::chrono::seconds kReplicaSilent{30};
inline constexpr std::chrono::seconds kClockSkew{5};

// As a sentence.
std::string conflict_text(const Conflict& conflict);

// Empty where everything agrees. In order of the replicas, then of the providers. `write_connections`: of replicas that do not
// say; 0: not known.
std::vector<Conflict> synchronise(const std::vector<SeenReplica>& replicas, const std::vector<ProviderSpec>& providers,
                                  int schema_version, unsigned write_connections);

}  // namespace homeostat
