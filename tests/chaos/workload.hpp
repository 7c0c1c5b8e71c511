// Writers as applications are: edits, touches, upserts, moves of keys, bulk statements, COPY, transactions that are undone or
// stay open, and a schema that changes under them. Safe from any thread; statements_of() is pure.
#pragma once

#include <atomic>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "tests/chaos/chaos_world.hpp"

namespace homeostat::chaos {

// The k-th key of a table as SQL: its values, an assignment, a condition.
std::string key_values(const Table& table, int k);
std::string key_set(const Table& table, int k);
std::string key_is(const Table& table, int k);

class Workload {
public:
    explicit Workload(World& world, int writers = 2);
    // Stops the writers and waits for them. What a writer was told that no fault explains: our triggers are in his statements.
    std::vector<std::string> stop();
    std::uint64_t committed() const noexcept { return committed_; }

private:
    void write(const std::stop_token& stop, int writer);
    std::string transaction(Dice& dice, const Table& table);
    std::string statement(Dice& dice, const Table& table);
    std::string small(Dice& dice, const Table& table);
    std::string large(Dice& dice, const Table& table);
    std::string flood(Dice& dice, const Table& table) const;
    std::string schema(Dice& dice, const Table& table);
    void undo_schema();

    World& world_;
    std::mutex mutex_;
    std::vector<std::string> refused_;
    std::atomic<std::uint64_t> committed_{0};
    std::atomic<std::uint64_t> serial_{0};
    std::vector<std::jthread> writers_;
};

}  // namespace homeostat::chaos
