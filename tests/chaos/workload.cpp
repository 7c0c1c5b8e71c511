#include "tests/chaos/workload.hpp"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <optional>
#include <string_view>

namespace homeostat::chaos {

namespace {

// What a writer may be told whoever else is at the table: its database was restarted, is read-only or full, or it lost a race.
constexpr std::array<std::string_view, 16> kExplained{
    "could not serialize", "deadlock detected", "terminating connection", "server closed",       "read-only",     "No space left",
    "starting up",         "shutting down",     "recovery mode",          "cannot connect",      "duplicate key", "no connection",
    "lock timeout",        "could not extend",  "could not write",        "connection to server"};

bool explained(std::string_view error) {
    for (const std::string_view part : kExplained) {
        if (error.find(part) != std::string_view::npos) return true;
    }
    return false;
}

}  // namespace

Workload::Workload(World& world, int writers) : world_(world) {
    for (int i = 0; i < writers; ++i) writers_.emplace_back([this, i](const std::stop_token& stop) { write(stop, i); });
}

std::vector<std::string> Workload::stop() {
    for (std::jthread& w : writers_) w.request_stop();
    for (std::jthread& w : writers_) w.join();
    writers_.clear();
    const std::lock_guard lock(mutex_);
    return refused_;
}

void Workload::write(const std::stop_token& stop, int writer) {
    Dice dice(world_.options().seed * 1'000 + static_cast<std::uint64_t>(writer));
    std::optional<kit::Sql> sql;
    const auto pause = std::chrono::microseconds(1'000'000 * 2 / std::max(1, world_.options().edits));
    while (!stop.stop_requested()) {
        const Table& table = world_.tables()[static_cast<std::size_t>(dice.below(static_cast<int>(world_.tables().size())))];
        const std::string work = transaction(dice, table);
        try {
            if (!sql) {
                sql.emplace(world_.db().url());
                sql->exec("SET lock_timeout = '5s'");
            }
            sql->exec(work);
            ++committed_;
        } catch (const std::exception& e) {
            // A connection that broke is made anew; a transaction that failed is over.
            sql.reset();
            if (!explained(e.what())) {
                const std::lock_guard lock(mutex_);
                refused_.emplace_back(e.what());
            }
        }
        std::this_thread::sleep_for(pause);
    }
}

std::string Workload::transaction(Dice& dice, const Table& t) {
    const std::string one = statement(dice, t);
    switch (dice.below(20)) {
        case 0: return fmt::format("BEGIN; {}; {}; ROLLBACK", one, statement(dice, t));
        case 1: return fmt::format("BEGIN; {}; SAVEPOINT s; {}; ROLLBACK TO s; COMMIT", one, statement(dice, t));
        case 2:
            return fmt::format("BEGIN; {}; SELECT pg_sleep({}); {}; COMMIT", one, dice.between(1, 8) * 0.1, statement(dice, t));
        case 3: return fmt::format("BEGIN ISOLATION LEVEL SERIALIZABLE; {}; {}; COMMIT", one, statement(dice, t));
        case 4: return fmt::format("BEGIN ISOLATION LEVEL REPEATABLE READ; {}; COMMIT", one);
        case 5: return fmt::format("BEGIN; {}; {}; {}; COMMIT", one, statement(dice, t), statement(dice, t));
        default: return one;
    }
}

std::string Workload::statement(Dice& dice, const Table& t) {
    const std::uint64_t serial = ++serial_;
    const auto key = [&] {
        const int k = dice.between(1, world_.options().documents * 5 / 4);
        return t.text_key ? fmt::format("'n{}'", k) : std::to_string(k);
    };
    const std::string body = fmt::format("'Body {} of {}'", serial, t.name);
    const std::string k = key();
    switch (dice.below(24)) {
        case 0:
        case 1: return fmt::format("UPDATE {} SET seen = seen + 1 WHERE {} = {}", t.name, t.key, k);
        case 2: return fmt::format("UPDATE {} SET body = body WHERE {} = {}", t.name, t.key, k);
        case 3: return fmt::format("DELETE FROM {} WHERE {} = {}", t.name, t.key, k);
        case 4:
            return fmt::format("DELETE FROM {0} WHERE {1} = {2}; INSERT INTO {0} ({1}, body) VALUES ({2}, {3})", t.name, t.key, k,
                               body);
        case 5:
            return fmt::format("UPDATE {0} SET {1} = {2} WHERE {1} = {3} AND NOT EXISTS (SELECT FROM {0} x WHERE x.{1} = {2})",
                               t.name, t.key, key(), k);
        case 6:
            return fmt::format("UPDATE {} SET body = 'Bulk {} ' || {} WHERE seen % 3 = {}", t.name, serial, t.key, dice.below(3));
        case 7: return fmt::format("UPDATE {} SET seen = seen + 1", t.name);
        case 8:
            return fmt::format("ALTER TABLE {0} ADD COLUMN IF NOT EXISTS more int; ALTER TABLE {0} DROP COLUMN IF EXISTS more",
                               t.name);
        case 9: return fmt::format("ANALYZE {}", t.name);
        case 10:
            return fmt::format("UPDATE {0} SET body = {1} WHERE {2} = {3}; UPDATE {0} SET seen = seen + 1 WHERE {2} = {3}",
                               t.name, body, t.key, k);
        default:
            return fmt::format(
                "INSERT INTO {0} ({1}, body) VALUES ({2}, {3}) ON CONFLICT ({1}) DO UPDATE SET body = excluded.body", t.name,
                t.key, k, body);
    }
}

}  // namespace homeostat::chaos
