// Compares what search finds and what the status promises with the history of everything that was ever committed.
//
// Each look is one snapshot of the database. Whatever is served must be some version that was committed, with the vector of its
// own text, all by one model; what was once filled is never empty; and where a pipeline is said to be converged, nothing served
// may have been out of date for longer than the promise. At rest nothing may differ at all.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "tests/chaos/chaos_world.hpp"

namespace homeostat::chaos {

class Auditor {
public:
    explicit Auditor(World& world);
    // Ends the looks; what they refute.
    std::vector<std::string> stop();
    std::uint64_t looks() const noexcept { return looks_; }
    std::uint64_t promises() const noexcept { return promises_; }  // moments of Converged that were checked
    std::uint64_t beside() const noexcept { return beside_; }  // of them, while the next revision was filled

private:
    void watch(const std::stop_token& stop);
    void look(kit::Sql& sql, std::size_t table);
    void refute(const Table& table, const std::string& what, const std::vector<std::string>& cases);

    World& world_;
    std::mutex mutex_;
    std::vector<std::string> refuted_;
    std::map<std::string, int> seen_;  // refutations of a kind: a few of each are enough
    std::vector<std::string> filled_;  // the pipeline that has served something of each table
    std::atomic<std::uint64_t> looks_{0};
    std::atomic<std::uint64_t> promises_{0};
    std::atomic<std::uint64_t> beside_{0};
    std::jthread thread_;
};

// Nothing changes any more: waits until everything is at rest; what is still wrong at the end of the world's patience.
std::vector<std::string> audit_at_rest(World& world);

// Texts that had to be embedded at the least: every version of every document, once.
std::uint64_t versions_committed(World& world);

}  // namespace homeostat::chaos
