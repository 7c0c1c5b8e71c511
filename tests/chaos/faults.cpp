#include "tests/chaos/faults.hpp"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <csignal>

namespace homeostat::chaos {

namespace {

using std::chrono::milliseconds;

void pause(const std::stop_token& stop, milliseconds length) {
    const auto end = std::chrono::steady_clock::now() + length;
    while (!stop.stop_requested() && std::chrono::steady_clock::now() < end) kit::pause_briefly();
}

}  // namespace

Faults::Faults(World& world) : world_(world), thread_([this](const std::stop_token& stop) { play(stop); }) {}

void Faults::stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
    repair();
}

void Faults::play(const std::stop_token& stop) {
    Dice dice(world_.options().seed);
    while (!stop.stop_requested()) {
        pause(stop, milliseconds(dice.between(100, 1'200)));
        if (!stop.stop_requested()) fault(dice, stop);
    }
}

void Faults::fault(Dice& dice, const std::stop_token& stop) {
    switch (dice.below(10)) {
        case 0:
        case 1:
        case 2:
        case 3: return fault_of_a_replica(dice, stop);
        case 4:
        case 5: return fault_of_the_database(dice, stop);
        case 6:
        case 7: return fault_of_the_provider(dice, stop);
        default: return change_of_a_declaration(dice, stop);
    }
}

void Faults::fault_of_a_replica(Dice& dice, const std::stop_token& stop) {
    const int i = dice.below(world_.options().replicas);
    if (dice.one_in(3)) {
        const int length = dice.between(300, 4'500);
        world_.note(fmt::format("replica {} stops for {} ms", i, length));
        world_.signal_replica(i, SIGSTOP);
        pause(stop, milliseconds(length));
        world_.signal_replica(i, SIGCONT);
        return;
    }
    world_.note(fmt::format("replica {} is killed", i));
    world_.kill_replica(i);
    pause(stop, milliseconds(dice.between(0, 800)));
    world_.start_replica(i);
}

void Faults::fault_of_the_database(Dice& dice, const std::stop_token& stop) {
    const int length = dice.between(200, 2'500);
    switch (dice.below(7)) {
        case 0: world_.note("connections to the database are cut"); return world_.database_gate().cut();
        case 1:
            world_.note(fmt::format("the database holds its breath for {} ms", length));
            world_.database_gate().hold();
            pause(stop, milliseconds(length));
            return world_.database_gate().pass();
        case 2: {
            const bool up = dice.one_in(2);
            world_.note(fmt::format("connections to the database fall silent ({}) for {} ms", up ? "up" : "down", length));
            world_.database_gate().mute(up ? kit::TcpGate::Direction::up : kit::TcpGate::Direction::down);
            pause(stop, milliseconds(length));
            return world_.database_gate().pass();
        }
        case 3:
        case 4: {
            const std::string mode = dice.one_in(2) ? "fast" : "immediate";
            world_.note("the database is restarted, " + mode);
            world_.cluster().stop(mode);
            pause(stop, milliseconds(dice.between(0, 1'500)));
            return world_.cluster().start();
        }
        case 5: {
            world_.note(fmt::format("the database is read-only for {} ms", length));
            declare("ALTER SYSTEM SET default_transaction_read_only = on; SELECT pg_reload_conf()");
            pause(stop, milliseconds(length));
            return repair();
        }
        default:
            world_.note("a backend of homeostat's is terminated");
            return declare(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'homeostat%'"
                " ORDER BY random() LIMIT 2");
    }
}

void Faults::fault_of_the_provider(Dice& dice, const std::stop_token& stop) {
    constexpr std::array kFlaws{kit::Flaw::wrong_count, kit::Flaw::nan_vector, kit::Flaw::truncated,
                                kit::Flaw::html,        kit::Flaw::drop_after, kit::Flaw::drop_before};
    kit::FakeEndpoint& endpoint = world_.endpoint();
    const milliseconds length(dice.between(200, 2'000));
    switch (dice.below(6)) {
        case 0:
            world_.note("the provider fails");
            endpoint.always({.status = 500});
            break;
        case 1:
            world_.note("the provider asks for patience");
            endpoint.always({.status = 429, .headers = {{"Retry-After", "1"}}});
            break;
        case 2:
            world_.note("the provider is slow");
            endpoint.always({.delay = milliseconds(dice.between(50, 400))});
            break;
        case 3:
            world_.note("the provider answers badly twice");
            return endpoint.next({.flaw = kFlaws[static_cast<std::size_t>(dice.below(static_cast<int>(kFlaws.size())))]}, 2);
        case 4: world_.note("connections to the provider are cut"); return world_.provider_gate().cut();
        default:
            world_.note("the provider falls silent");
            world_.provider_gate().mute();
            pause(stop, length);
            world_.provider_gate().pass();
            return world_.provider_gate().cut();
    }
    pause(stop, length);
    endpoint.forget_script();
}

void Faults::change_of_a_declaration(Dice& dice, const std::stop_token& stop) {
    const auto& tables = world_.tables();
    const std::string name = tables[static_cast<std::size_t>(dice.below(static_cast<int>(tables.size())))].name;
    const std::string where = fmt::format(" WHERE name = '{}'", name);
    const milliseconds length(dice.between(50, 2'500));
    const auto there_and_back = [&](const std::string& there, const std::string& back) {
        declare("UPDATE homeostat.pipeline SET " + there + where);
        pause(stop, length);
        declare("UPDATE homeostat.pipeline SET " + back + where);
    };
    switch (dice.below(6)) {
        case 0: return there_and_back("suspend = true", "suspend = false");
        case 1: return there_and_back("provider = 'other'", "provider = 'fake'");
        case 2: return there_and_back("chunker = 'sentence'", "chunker = 'whole'");
        case 3: return there_and_back("priority = 5", "priority = 0");
        case 4: return there_and_back(fmt::format("depends_on = '{}'", name == "plain" ? "parts" : "plain"), "depends_on = NULL");
        default: return declare("UPDATE homeostat.pipeline SET reconcile_requested = gen_random_uuid()::text" + where);
    }
}

void Faults::declare(const std::string& sql) {
    world_.note(sql);
    try {
        kit::Sql connection(world_.db().url());
        connection.exec("SET default_transaction_read_only = off; SET lock_timeout = '5s'");
        for (std::size_t at = 0; at < sql.size();) {
            const std::size_t end = std::min(sql.find("; ", at), sql.size());
            connection.exec(sql.substr(at, end - at));
            at = end + 2;
        }
    } catch (const std::exception& e) {
        world_.note(std::string("  refused: ") + e.what());
    }
}

void Faults::repair() {
    world_.database_gate().pass();
    world_.provider_gate().pass();
    world_.endpoint().forget_script();
    declare("ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf()");
    declare(
        "UPDATE homeostat.pipeline SET suspend = false, provider = 'fake', chunker = 'whole', priority = 0, depends_on = NULL"
        " WHERE suspend OR provider <> 'fake' OR chunker <> 'whole' OR priority <> 0 OR depends_on IS NOT NULL");
    for (int i = 0; i < world_.options().replicas; ++i) {
        world_.signal_replica(i, SIGCONT);
        if (!world_.replica_runs(i)) world_.start_replica(i);
    }
}

}  // namespace homeostat::chaos
