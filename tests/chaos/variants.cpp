#include "tests/chaos/variants.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <utility>

namespace homeostat::chaos {

namespace {

constexpr std::array kNames{"in_order", "reordered", "by_sweeps", "at_once", "in_parts"};
constexpr int kMoved = 10'000;  // where a document goes whose key changes

}  // namespace

std::vector<Table> variant_tables() {
    std::vector<Table> out;
    for (const char* name : kNames) {
        out.push_back({.name = name, .source = name, .key = "id", .key_text = "id::text"});
        out.back().swept = out.back().name == "by_sweeps";
    }
    return out;
}

std::string variant_schema() {
    std::string out = "CREATE TABLE applied (name text, number int, PRIMARY KEY (name, number));";
    for (const std::string name : kNames) {
        const bool parts = name == "in_parts";
        out += fmt::format("CREATE TABLE {} (id int PRIMARY KEY, body text, seen int NOT NULL DEFAULT 0){};", name,
                           parts ? " PARTITION BY RANGE (id)" : "");
        if (parts) {
            out +=
                "CREATE TABLE in_parts_low PARTITION OF in_parts FOR VALUES FROM (MINVALUE) TO (60);"
                "CREATE TABLE in_parts_high PARTITION OF in_parts FOR VALUES FROM (60) TO (MAXVALUE);";
        }
    }
    return out;
}

Variants::Variants(World& world) : world_(world) {
    Dice dice(world.options().seed * 100 + 7);
    const auto list = edits(dice, world.options().documents, world.options().seconds * world.options().edits / 4);
    const std::map<std::string, Transactions> work{{"in_order", cut(dice, list, 1)},
                                                   {"reordered", cut(dice, reordered(dice, list), 1)},
                                                   {"by_sweeps", cut(dice, list, 1)},
                                                   {"at_once", {list}},
                                                   {"in_parts", cut(dice, reordered(dice, list), 20)}};
    for (const auto& [table, transactions] : work)
        threads_.emplace_back([this, name = table, todo = transactions] { apply(name, todo); });
}

std::vector<std::string> Variants::stop() {
    threads_.clear();
    return {};
}

std::vector<Variants::Edit> Variants::edits(Dice& dice, int documents, int n) {
    std::vector<Edit> out;
    for (int i = 0; i < n; ++i) {
        const int d = dice.between(1, documents * 5 / 4);
        const auto add = [&](std::string sql) { out.push_back({d, std::move(sql)}); };
        const std::string upsert = fmt::format(
            "INSERT INTO {{0}} (id, body) VALUES ({}, 'Edit {} of {}') ON CONFLICT (id) DO UPDATE SET body = excluded.body", d, i,
            d);
        switch (dice.below(10)) {
            case 0: add(fmt::format("DELETE FROM {{0}} WHERE id = {}", d)); break;
            case 1: add(fmt::format("UPDATE {{0}} SET seen = seen + 1 WHERE id = {}", d)); break;
            case 2: add(fmt::format("DELETE FROM {{0}} WHERE id = {}; {}", d, upsert)); break;
            case 3:
                add(fmt::format("UPDATE {{0}} SET id = {} WHERE id = {} AND NOT EXISTS (SELECT FROM {{0}} x WHERE x.id = {})",
                                d + kMoved, d, d + kMoved));
                break;
            case 4: add(fmt::format("UPDATE {{0}} SET body = body || ' more' WHERE id IN ({}, {})", d, d + kMoved)); break;
            default: add(upsert);
        }
    }
    return out;
}

std::vector<Variants::Edit> Variants::reordered(Dice& dice, const std::vector<Edit>& edits) {
    std::map<int, std::vector<Edit>> of;
    for (const Edit& e : edits) of[e.document].push_back(e);
    std::vector<int> turns;
    for (const Edit& e : edits) turns.push_back(e.document);
    for (std::size_t i = turns.size(); i > 1; --i)
        std::swap(turns[i - 1], turns[static_cast<std::size_t>(dice.below(static_cast<int>(i)))]);
    std::map<int, std::size_t> next;
    std::vector<Edit> out;
    for (const int d : turns) out.push_back(of[d][next[d]++]);
    return out;
}

Variants::Transactions Variants::cut(Dice& dice, const std::vector<Edit>& edits, int most) {
    Transactions out;
    for (std::size_t at = 0; at < edits.size();) {
        const std::size_t n = std::min(edits.size() - at, static_cast<std::size_t>(dice.between(1, most)));
        out.emplace_back(edits.begin() + static_cast<std::ptrdiff_t>(at), edits.begin() + static_cast<std::ptrdiff_t>(at + n));
        at += n;
    }
    return out;
}

void Variants::apply(const std::string& table, const Transactions& work) {
    const auto pause = std::chrono::microseconds(world_.options().seconds * 1'000'000L / static_cast<long>(work.size() + 1));
    for (std::size_t i = 0; i < work.size(); ++i) {
        std::this_thread::sleep_for(pause);
        if (!kit::eventually([&] { return commit(table, i, work[i]); }, std::chrono::seconds(60)))
            return world_.broke(fmt::format("transaction {} on {} cannot be committed", i, table));
        ++committed_;
    }
}

// Whether it is committed; a connection that broke at a COMMIT leaves that open, until the next attempt looks.
bool Variants::commit(const std::string& table, std::size_t number, const std::vector<Edit>& work) {
    try {
        kit::Sql sql(world_.db().url());
        sql.exec("BEGIN");
        if (sql.value(fmt::format("SELECT count(*) FROM applied WHERE name = '{}' AND number = {}", table, number)) == "1")
            return true;
        sql.exec(fmt::format("INSERT INTO applied VALUES ('{}', {})", table, number));
        for (const Edit& e : work) sql.exec(fmt::format(fmt::runtime(e.sql), table));
        sql.exec("COMMIT");
        return true;
    } catch (const std::exception& e) {
        world_.note(fmt::format("{} tries again: {}", table, e.what()));
        return false;
    }
}

std::vector<std::string> Variants::unequal(World& world) {
    std::vector<std::string> out;
    const auto served = [](const std::string& name) {
        return fmt::format("SELECT id, chunk_number, chunk_text, chunk_start, chunk_end, embedding::text FROM public.{}_served",
                           name);
    };
    const std::string first = kNames[0];
    for (std::size_t i = 1; i < kNames.size(); ++i) {
        const std::string other = kNames[i];
        for (const auto& [a, b] : {std::pair(first, other), std::pair(other, first)}) {
            const auto rows = world.db().query(fmt::format("({}) EXCEPT ALL ({}) ORDER BY 1 LIMIT 3", served(a), served(b)));
            for (const kit::Row& row : rows) out.push_back(fmt::format("{} has {} = '{}', {} has not", a, *row[0], *row[2], b));
        }
    }
    return out;
}

}  // namespace homeostat::chaos
