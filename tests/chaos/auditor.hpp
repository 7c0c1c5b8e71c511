// Compares what search finds and what the status promises with the history of everything that was ever committed.
//
// Each look is one snapshot of the database. Whatever is served must be some version that was committed; and where a pipeline is
// said to be converged, nothing served may have been out of date for longer than the promise. At rest nothing may differ at all.
#pragma once

#include <atomic>
#include <optional>
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

private:
    void watch(const std::stop_token& stop);
    void look(kit::Sql& sql);

    World& world_;
    std::mutex mutex_;
    std::vector<std::string> refuted_;
    std::atomic<std::uint64_t> looks_{0};
    std::atomic<std::uint64_t> promises_{0};
    std::jthread thread_;
};

// Nothing changes any more: how long until everything is at rest, or what is still wrong at the end of `patience`.
std::vector<std::string> audit_at_rest(World& world, std::chrono::seconds patience);

}  // namespace homeostat::chaos
