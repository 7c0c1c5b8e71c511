// Declarations change and change back, at moments that nobody chose well.
#include <fmt/format.h>

#include <algorithm>

#include "tests/chaos/faults.hpp"

namespace homeostat::chaos {

namespace {

constexpr const char* kBack = R"sql(
    UPDATE homeostat.pipeline SET suspend = false, provider = 'fake', chunker = 'whole', priority = 0, depends_on = NULL,
        documents = NULL, capture = CASE WHEN name = ANY ('{{{}}}') THEN 'Off' ELSE 'Auto' END
    WHERE deletion_requested_at IS NULL AND (suspend OR provider <> 'fake' OR chunker <> 'whole' OR priority <> 0
        OR depends_on IS NOT NULL OR documents IS NOT NULL OR (capture = 'Off') <> (name = ANY ('{{{}}}'))))sql";

constexpr const char* kDocumentTables =
    "SELECT c.oid::regclass FROM pg_class c JOIN homeostat.pipeline p ON c.relname ~ ('^p' || p.uid || '_r[0-9]+_document$')"
    " WHERE p.name = '{}' AND c.relnamespace = 'homeostat_data'::regnamespace AND c.relkind = 'r' ORDER BY 1";

}  // namespace

void Faults::there_and_back(Turn turn, const std::string& there, const std::string& back) {
    const std::string where =
        fmt::format(" WHERE name = '{}' AND deletion_requested_at IS NULL", turn.dice.of(world_.tables()).name);
    declare({"UPDATE homeostat.pipeline SET " + there + where});
    turn.pause(50, 3'000);
    declare({"UPDATE homeostat.pipeline SET " + back + where});
}

// What is suspended is written by nobody, from the commit of that on: whoever was about to write sees it, or is waited for.
void Faults::suspend(Turn turn) {
    const std::string name = turn.dice.of(world_.tables()).name;
    const std::string where = fmt::format(" WHERE name = '{}' AND deletion_requested_at IS NULL", name);
    if (!declare({"UPDATE homeostat.pipeline SET suspend = true" + where})) return;
    const auto written = [&]() -> std::string {
        try {
            kit::Sql sql(world_.db().url());
            std::string out =
                sql.value(fmt::format("SELECT uid || ' ' || xmin FROM homeostat.pipeline WHERE suspend AND name = '{}'", name));
            for (const kit::Row& row : sql.query(fmt::format(kDocumentTables, name)))
                out += sql.value(fmt::format("SELECT coalesce('; {0} ' || max(write_token), '') FROM {0}", *row[0]));
            return out;
        } catch (const std::exception&) {
            return "";  // it cannot be asked, or is not suspended any more
        }
    };
    const std::string before = written();
    turn.pause(50, 3'000);
    const std::string after = written();
    const auto declared = [](const std::string& state) { return state.substr(0, state.find(';')); };
    if (!before.empty() && !after.empty() && declared(before) == declared(after) && before != after)
        world_.broke(fmt::format("{} was written to while it was suspended: {}, then {}", name, before, after));
    declare({"UPDATE homeostat.pipeline SET suspend = false" + where});
}

void Faults::provider(Turn turn) { there_and_back(turn, "provider = 'other'", "provider = 'fake'"); }

void Faults::chunker(Turn turn) { there_and_back(turn, "chunker = 'sentence'", "chunker = 'whole'"); }

void Faults::priority(Turn turn) { there_and_back(turn, "priority = 5", "priority = 0"); }

void Faults::documents(Turn turn) { there_and_back(turn, "documents = 50", "documents = NULL"); }

void Faults::reconcile(Turn turn) {
    declare({fmt::format("UPDATE homeostat.pipeline SET reconcile_requested = gen_random_uuid()::text WHERE name = '{}'",
                         turn.dice.of(world_.tables()).name)});
}

void Faults::depends(Turn turn) {
    const std::string first = turn.dice.of(world_.tables()).name;
    const std::string second = turn.dice.of(world_.tables()).name;
    if (first == second) return;
    declare({fmt::format("UPDATE homeostat.pipeline SET depends_on = '{}' WHERE name = '{}'", second, first)});
    turn.pause(50, 3'000);
    declare({fmt::format("UPDATE homeostat.pipeline SET depends_on = NULL WHERE name = '{}'", first)});
}

void Faults::capture(Turn turn) {
    const Table& t = turn.dice.of(world_.tables());
    const std::string is = t.swept ? "Off" : "Auto";
    const std::string where = fmt::format(" WHERE name = '{}' AND deletion_requested_at IS NULL", t.name);
    if (t.source != t.name) return;  // a view is captured by way of its tables, or not at all
    declare({fmt::format("UPDATE homeostat.pipeline SET capture = '{}'", t.swept ? "Auto" : "Off") + where});
    turn.pause(200, 4'000);
    declare({fmt::format("UPDATE homeostat.pipeline SET capture = '{}'", is) + where});
}

void Faults::recreate(Turn turn) {
    const Table& t = turn.dice.of(world_.tables());
    if (!declare({fmt::format("DELETE FROM homeostat.pipeline WHERE name = '{}'", t.name)})) return;
    turn.pause(0, 1'500);
    kit::eventually([&] { return turn.stop.stop_requested() || declare({world_.declaration(t)}); });
}

void Faults::restore_declarations() {
    std::string swept;
    for (const Table& t : world_.tables()) {
        if (t.swept) swept += (swept.empty() ? "" : ",") + t.name;
    }
    for (const Table& t : world_.tables()) {
        kit::eventually([&] {
            try {
                kit::Sql sql(world_.db().url());
                return sql.value(fmt::format("SELECT count(*) FROM homeostat.pipeline WHERE name = '{}' AND"
                                             " deletion_requested_at IS NULL",
                                             t.name)) == "1" ||
                       declare({world_.declaration(t)});
            } catch (const std::exception&) {
                return false;
            }
        });
    }
    kit::eventually([&] { return declare({fmt::format(kBack, swept, swept)}); });
}

}  // namespace homeostat::chaos
