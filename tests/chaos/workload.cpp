#include "tests/chaos/workload.hpp"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <optional>
#include <string_view>

namespace homeostat::chaos {

namespace {

// What a writer may be told whoever else is at the table: its database was restarted, is read-only or full, or it lost a race.
constexpr std::array<std::string_view, 20> kExplained{
    "could not serialize", "deadlock detected", "terminating connection", "server closed",       "read-only",
    "No space left",       "starting up",       "shutting down",          "recovery mode",       "cannot connect",
    "duplicate key",       "no connection",     "lock timeout",           "could not extend",    "could not write",
    "Connection lost",     "not yet accepting", "connection to server",   "could not open file", "Lost connection"};
// The schema changed under it; never by way of a trigger of homeostat's.
constexpr std::array<std::string_view, 4> kSchemaMoved{"does not exist", "already exists", "cached plan must not change",
                                                       "tuple concurrently"};

constexpr const char* kDetach = R"sql(
    ALTER TABLE parts DETACH PARTITION parts_high;
    UPDATE parts_high SET body = 'Detached {0} ' || id WHERE id % 7 = 3;
    INSERT INTO history (pipeline, key, body, unseen)
        SELECT 'parts', id::text, body, true FROM parts_high WHERE body LIKE 'Detached {0} %';
    ALTER TABLE parts ATTACH PARTITION parts_high FOR VALUES FROM (60) TO (MAXVALUE))sql";

// Away from its name, or back.
constexpr const char* kRename = R"sql(
    DO $$ BEGIN
        IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = '{0}'::regclass AND attname = '{1}') THEN
            ALTER TABLE {0} RENAME COLUMN {1} TO {1}_renamed;
        ELSE
            ALTER TABLE {0} RENAME COLUMN {1}_renamed TO {1};
        END IF;
    END $$)sql";

template <class List>
bool has_one(std::string_view error, const List& parts) {
    for (const std::string_view part : parts) {
        if (error.find(part) != std::string_view::npos) return true;
    }
    return false;
}

bool explained(std::string_view error) {
    const std::string_view message = error.substr(0, error.find("in: "));  // without the statement
    return has_one(message, kExplained) ||
           (has_one(message, kSchemaMoved) && message.find("homeostat") == std::string_view::npos);
}

}  // namespace

std::string key_values(const Table& t, int k) {
    if (t.composite()) return fmt::format("{}, 'n{}'", k % 5, k);
    return t.text_key ? fmt::format("'n{}'", k) : std::to_string(k);
}

std::string key_set(const Table& t, int k) { return fmt::format("({}) = ROW({})", t.key, key_values(t, k)); }

std::string key_is(const Table& t, int k) { return fmt::format("({}) = ({})", t.key, key_values(t, k)); }

Workload::Workload(World& world, int writers) : world_(world) {
    for (int i = 0; i < writers; ++i) writers_.emplace_back([this, i](const std::stop_token& stop) { write(stop, i); });
}

std::vector<std::string> Workload::stop() {
    for (std::jthread& w : writers_) w.request_stop();
    for (std::jthread& w : writers_) w.join();
    writers_.clear();
    undo_schema();
    const std::lock_guard lock(mutex_);
    return refused_;
}

void Workload::write(const std::stop_token& stop, int writer) {
    Dice dice(world_.options().seed * 1'000 + static_cast<std::uint64_t>(writer));
    std::optional<kit::Sql> sql;
    const auto pause = std::chrono::microseconds(1'000'000 * 2 / std::max(1, world_.options().edits));
    while (!stop.stop_requested()) {
        const Table& table = dice.of(world_.tables());
        const std::string work = transaction(dice, table);
        try {
            if (!sql) {
                sql.emplace(world_.db().url());
                sql->exec("SET lock_timeout = '5s'");
            }
            for (std::size_t at = 0; at < work.size();) {  // what is between two ;; is a transaction
                const std::size_t end = std::min(work.find(";; ", at), work.size());
                sql->exec(work.substr(at, end - at));
                at = end + 3;
            }
            ++committed_;
        } catch (const std::exception& e) {
            // A connection that broke is made anew; a transaction that failed is over.
            sql.reset();
            if (!explained(e.what())) {
                world_.note(std::string("a writer was refused: ") + e.what());
                const std::lock_guard lock(mutex_);
                if (refused_.size() < 10) refused_.emplace_back(e.what());
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
    const int kind = dice.below(100);
    if (kind < 4) return schema(dice, t);
    return kind < 12 ? large(dice, t) : small(dice, t);
}

std::string Workload::small(Dice& dice, const Table& t) {
    const std::uint64_t serial = ++serial_;
    const int most = world_.options().documents * 5 / 4;
    const int k = dice.between(1, most);
    const std::string body = fmt::format("'Body {} of {}'", serial, t.name);
    switch (dice.below(16)) {
        case 0:
        case 1: return fmt::format("UPDATE {} SET seen = seen + 1 WHERE {}", t.name, key_is(t, k));
        case 2: return fmt::format("UPDATE {} SET body = body WHERE {}", t.name, key_is(t, k));
        case 3: return fmt::format("DELETE FROM {} WHERE {}", t.name, key_is(t, k));
        case 4:
            return fmt::format("DELETE FROM {0} WHERE {1}; INSERT INTO {0} ({2}, body) VALUES ({3}, {4})", t.name, key_is(t, k),
                               t.key, key_values(t, k), body);
        case 5: {
            const int to = dice.between(1, most);
            return fmt::format("UPDATE {0} SET {1} WHERE {2} AND NOT EXISTS (SELECT FROM {0} x WHERE {3})", t.name,
                               key_set(t, to), key_is(t, k), key_is(t, to));
        }
        case 6:
            return fmt::format("UPDATE {0} SET body = {1} WHERE {2}; UPDATE {0} SET seen = seen + 1 WHERE {2}", t.name, body,
                               key_is(t, k));
        case 7:  // there and back: what is stored is right all the time
            return fmt::format("UPDATE {0} SET body = body || '!' WHERE {1}; UPDATE {0} SET body = rtrim(body, '!') WHERE {1}",
                               t.name, key_is(t, k));
        default:
            return fmt::format(
                "INSERT INTO {0} ({1}, body) VALUES ({2}, {3}) ON CONFLICT ({1}) DO UPDATE SET body = excluded.body", t.name,
                t.key, key_values(t, k), body);
    }
}

std::string Workload::large(Dice& dice, const Table& t) {
    const std::uint64_t serial = ++serial_;
    const int base = 1'000 + static_cast<int>(serial % 50) * 10;  // keys that only these statements have
    std::string some;
    for (int i = 0; i < 10; ++i)
        some += fmt::format("{}({}, 'Many {} of {}')", i == 0 ? "" : ", ", key_values(t, base + i), serial, i);
    switch (dice.below(8)) {
        case 0:
            return fmt::format("UPDATE {} SET body = 'Bulk {} ' || {} WHERE seen % 3 = {}", t.name, serial, t.key_text,
                               dice.below(3));
        case 1: return fmt::format("UPDATE {} SET seen = seen + 1", t.name);
        case 2: return fmt::format("INSERT INTO {} ({}, body) VALUES {} ON CONFLICT DO NOTHING", t.name, t.key, some);
        case 3: {
            std::string lines;
            for (int i = 0; i < 5; ++i) {
                std::string key = key_values(t, 2'000 + static_cast<int>(serial) * 5 + i);
                std::erase(key, '\'');
                if (const auto comma = key.find(", "); comma != std::string::npos) key.replace(comma, 2, "\\t");
                lines += fmt::format("{}\\tCopied {} {}\\n", key, serial, i);
            }
            return fmt::format("COPY {} ({}, body) FROM PROGRAM $$printf '{}'$$", t.name, t.key, lines);
        }
        case 4:  // of those that came in bulk
            return fmt::format("DELETE FROM {} WHERE body LIKE 'Many%' OR body LIKE 'Copied%{}'", t.name, dice.below(5));
        case 5:
            return fmt::format(
                "CREATE TEMP TABLE kept_{1} ON COMMIT DROP AS SELECT * FROM {0}; TRUNCATE {0};"
                " INSERT INTO {0} SELECT * FROM kept_{1} WHERE length(body) % 7 <> 0",
                t.name, serial);
        case 6: return serial % 3 == 0 ? flood(dice, t) : fmt::format("UPDATE {} SET seen = seen + 1", t.name);
        default:
            return fmt::format(
                "MERGE INTO {0} t USING (VALUES {1}) v({2}, body) ON ({3}) WHEN MATCHED THEN UPDATE SET body ="
                " v.body WHEN NOT MATCHED THEN INSERT ({2}, body) VALUES ({4}, v.body)",
                t.name, some, t.key,
                t.composite() ? "t.tenant = v.tenant AND t.name = v.name" : fmt::format("t.{0} = v.{0}", t.key),
                t.composite() ? "v.tenant, v.name" : "v." + t.key);
    }
}

// More than a change feed has room for, kept or undone: that it is full survives who filled it.
std::string Workload::flood(Dice& dice, const Table& t) const {
    const int rounds = 1 + 5'000 / std::max(1, world_.options().documents);
    return fmt::format(
        "DO $$ BEGIN FOR i IN 1..{} LOOP UPDATE {} SET body = rtrim(body, '!') || repeat('!', i % 2); END LOOP;{}"
        " EXCEPTION WHEN raise_exception THEN NULL; END $$",
        rounds, t.name, dice.below(2) == 0 ? " RAISE EXCEPTION 'undone';" : "");
}

std::string Workload::schema(Dice& dice, const Table& t) {
    switch (dice.below(t.renamed ? 7 : 5)) {
        case 0:
            return fmt::format("ALTER TABLE {0} ADD COLUMN IF NOT EXISTS more int;; ALTER TABLE {0} DROP COLUMN IF EXISTS more",
                               t.name);
        case 1: return "ANALYZE " + t.name;
        case 2: return fmt::format("CREATE INDEX IF NOT EXISTS {0}_seen ON {0} (seen)", t.name);
        case 3: return fmt::format("DROP INDEX IF EXISTS {}_seen", t.name);
        case 4:
            if (t.name == "viewed") return "CREATE OR REPLACE VIEW viewed_shown AS SELECT id, body FROM viewed WHERE id > -1";
            if (t.name != "parts") return fmt::format("CLUSTER {0} USING {0}_pkey", t.name);
            return fmt::format(kDetach, ++serial_);
        case 5: return fmt::format(kRename, t.name, "seen") + ";; SELECT pg_sleep(0.2);; " + fmt::format(kRename, t.name, "seen");
        default:
            return fmt::format(kRename, t.name, "body") +
                   fmt::format(";; UPDATE {} SET seen = seen + 1 WHERE {};; ", t.name,
                               key_is(t, dice.between(1, world_.options().documents))) +
                   fmt::format(kRename, t.name, "body");
    }
}

// A restart may have come between a column and its name.
void Workload::undo_schema() {
    for (const Table& t : world_.tables()) {
        if (!t.renamed) continue;
        kit::Sql sql(world_.db().url());
        for (const char* column : {"seen", "body"}) {
            if (sql.value(fmt::format("SELECT count(*) FROM pg_attribute WHERE attrelid = '{}'::regclass AND attname = '{}'",
                                      t.name, column)) == "0")
                sql.exec(fmt::format(kRename, t.name, column));
        }
    }
}

}  // namespace homeostat::chaos
