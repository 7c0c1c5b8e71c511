// The way to the database, and the database itself.
#include <fmt/format.h>

#include "tests/chaos/faults.hpp"

namespace homeostat::chaos {

using Direction = kit::TcpGate::Direction;
using std::chrono::milliseconds;

// One replica's, or everybody's.
std::vector<kit::TcpGate*> Faults::some_gates(Turn turn, std::string& whose) {
    std::vector<kit::TcpGate*> out;
    if (turn.dice.one_in(3)) {
        whose = "all replicas";
        for (int i = 0; i < world_.options().replicas; ++i) out.push_back(&world_.database_gate(i));
        return out;
    }
    const int i = turn.dice.below(world_.options().replicas);
    whose = fmt::format("replica {}", i);
    return {&world_.database_gate(i)};
}

// What was muted ends, as a keepalive ends it in the end.
void Faults::pass_database() {
    for (int i = 0; i < world_.options().replicas; ++i) {
        world_.database_gate(i).pass();
        world_.database_gate(i).end_muted();
    }
}

void Faults::cut(Turn turn) {
    std::string whose;
    const auto gates = some_gates(turn, whose);
    world_.note(fmt::format("connections of {} to the database are cut", whose));
    for (auto* gate : gates) gate->cut();
}

void Faults::hold(Turn turn) {
    std::string whose;
    const auto gates = some_gates(turn, whose);
    const int length = turn.dice.between(200, 5'000);
    world_.note(fmt::format("the way of {} to the database is blocked for {} ms", whose, length));
    for (auto* gate : gates) gate->hold();
    turn.pause(milliseconds(length));
    for (auto* gate : gates) gate->pass();
}

// Those connections stay silent for as long as the program keeps them: what comes later passes.
void Faults::silence(Turn turn) {
    std::string whose;
    const auto gates = some_gates(turn, whose);
    const int length = turn.dice.between(100, 2'500);
    const Direction direction = turn.dice.one_in(2) ? Direction::both : turn.dice.one_in(2) ? Direction::up : Direction::down;
    world_.note(fmt::format("connections of {} to the database fall silent; new ones do for {} ms", whose, length));
    for (auto* gate : gates) gate->mute(direction);
    turn.pause(milliseconds(length));
    for (auto* gate : gates) gate->pass();
}

void Faults::half_open(Turn turn) {
    std::string whose;
    const auto gates = some_gates(turn, whose);
    const bool up = turn.dice.one_in(2);
    world_.note(fmt::format("connections of {} end on the side of the {} only", whose, up ? "database" : "program"));
    for (auto* gate : gates) gate->half_open(up ? Direction::up : Direction::down);
    turn.pause(500, 4'000);
    // The database's side is ended as a keepalive of its own would; the program has to look after itself.
    if (!up) {
        for (auto* gate : gates) gate->end_muted();
    }
}

void Faults::delay(Turn turn) {
    std::string whose;
    const auto gates = some_gates(turn, whose);
    const int by = turn.dice.between(5, 120);
    world_.note(fmt::format("what {} and the database say arrives {} ms later", whose, by));
    for (auto* gate : gates) gate->delay(milliseconds(by));
    turn.pause(500, 3'000);
    for (auto* gate : gates) gate->pass();
}

void Faults::bytes(Turn turn) {
    std::string whose;
    const auto gates = some_gates(turn, whose);
    const auto n = static_cast<std::uint64_t>(turn.dice.between(1, 20'000));
    const bool up = turn.dice.one_in(2);
    world_.note(fmt::format("connections of {} end after {} bytes {}", whose, n, up ? "up" : "down"));
    for (auto* gate : gates) gate->cut_after(n, up ? Direction::up : Direction::down);
    turn.pause(100, 1'500);
    for (auto* gate : gates) gate->pass();
}

void Faults::commit(Turn turn) {
    std::string whose;
    const auto gates = some_gates(turn, whose);
    const bool arrives = !turn.dice.one_in(3);
    world_.note(fmt::format("the next COMMIT of {} {} and is not answered", whose, arrives ? "arrives" : "is lost"));
    for (auto* gate : gates) gate->cut_at_commit(arrives);
    turn.pause(100, 1'000);
    for (auto* gate : gates) gate->pass();
}

void Faults::refuse(Turn turn) {
    std::string whose;
    const auto gates = some_gates(turn, whose);
    world_.note(fmt::format("{} cannot connect to the database", whose));
    for (auto* gate : gates) {
        gate->refuse();
        gate->cut();
    }
    turn.pause(200, 4'000);
    for (auto* gate : gates) gate->pass();
}

void Faults::restart(Turn turn) {
    world_.note("the database is restarted");
    world_.cluster().stop("fast");
    turn.pause(0, 2'500);
    world_.cluster().start();
}

void Faults::crash(Turn turn) {
    world_.note("the database crashes");
    world_.cluster().stop("immediate");
    turn.pause(0, 1'000);
    world_.cluster().start();
}

void Faults::readonly(Turn turn) {
    world_.note("the database is read-only");
    declare({"ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"});
    turn.pause(200, 4'000);
    declare({"ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"});
    world_.note("the database can be written");
}

void Faults::terminate(Turn turn) {
    const int n = turn.dice.between(1, 4);
    declare(
        {fmt::format("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND"
                     " application_name LIKE 'homeostat%' ORDER BY random() LIMIT {}",
                     n)});
}

void Faults::failover(Turn turn) {
    if (!standby_) return;
    world_.note("nothing reaches the standby any more");
    standby_->fall_behind();
    turn.pause(300, 1'200);
    world_.note("the standby takes over");
    standby_->take_over();
    world_.note("the standby has taken over");
    standby_.reset();
}

void Faults::disk(Turn turn) {
    if (world_.disk() == nullptr) return;
    const int length = turn.dice.between(500, 4'000);
    world_.note(fmt::format("the disk is full for {} ms", length));
    const auto end = std::chrono::steady_clock::now() + milliseconds(length);
    while (!turn.stop.stop_requested() && std::chrono::steady_clock::now() < end) {
        world_.disk()->fill();  // also what is freed meanwhile
        turn.pause(milliseconds(100));
    }
    world_.disk()->free();
    world_.note("the disk has room");
}

}  // namespace homeostat::chaos
