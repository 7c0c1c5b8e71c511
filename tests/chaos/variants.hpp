// Metamorphic variants: the same edits done to several tables in several ways, which must end in equal tables.
//
// In their order or in another one that keeps the order of each document, one transaction each or many in one, with a change feed
// or found by sweeps, in a plain table or in partitions. Whatever goes wrong meanwhile, each edit is committed once.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/chaos/chaos_world.hpp"

namespace homeostat::chaos {

// The tables of a world of variants; the first is what the others are compared with.
std::vector<Table> variant_tables();
std::string variant_schema();

class Variants {
public:
    explicit Variants(World& world);
    // Waits until every edit is committed.
    std::vector<std::string> stop();
    std::uint64_t committed() const noexcept { return committed_; }

    // At rest: what the served views differ in.
    static std::vector<std::string> unequal(World& world);

private:
    struct Edit {
        int document;  // edits of one keep their order
        std::string sql;  // with {} for the table
    };
    using Transactions = std::vector<std::vector<Edit>>;

    static std::vector<Edit> edits(Dice& dice, int documents, int n);
    static std::vector<Edit> reordered(Dice& dice, const std::vector<Edit>& edits);
    static Transactions cut(Dice& dice, const std::vector<Edit>& edits, int most);
    void apply(const std::string& table, const Transactions& work);
    bool commit(const std::string& table, std::size_t number, const std::vector<Edit>& work);

    World& world_;
    std::atomic<std::uint64_t> committed_{0};
    std::vector<std::jthread> threads_;
};

}  // namespace homeostat::chaos
