// Replicas die, stand still and are ended.
#include <fmt/format.h>

#include <csignal>

#include "tests/chaos/faults.hpp"

namespace homeostat::chaos {

void Faults::kill(Turn turn) {
    const int i = turn.dice.below(world_.options().replicas);
    world_.note(fmt::format("replica {} is killed", i));
    world_.kill_replica(i);
    turn.pause(0, 800);
    world_.start_replica(i);
}

void Faults::kill_all(Turn turn) {
    world_.note("all replicas are killed");
    for (int i = 0; i < world_.options().replicas; ++i) world_.kill_replica(i);
    turn.pause(0, 2'000);
    for (int i = 0; i < world_.options().replicas; ++i) world_.start_replica(i);
}

void Faults::sigstop(Turn turn) {
    const int i = turn.dice.below(world_.options().replicas);
    const int length = turn.dice.between(300, 6'000);  // longer than a lease and a claim, now and then
    world_.note(fmt::format("replica {} stands still for {} ms", i, length));
    world_.signal_replica(i, SIGSTOP);
    turn.pause(std::chrono::milliseconds(length));
    world_.signal_replica(i, SIGCONT);
}

void Faults::sigterm(Turn turn) {
    const int i = turn.dice.below(world_.options().replicas);
    // Half the time while its connections are silent.
    const bool silent = turn.dice.one_in(2);
    world_.note(fmt::format("replica {} is ended{}", i, silent ? ", while its database is silent" : ""));
    if (silent) world_.database_gate(i).mute();
    world_.end_replica(i);
    world_.database_gate(i).pass();
    world_.database_gate(i).end_muted();
    world_.start_replica(i);
}

}  // namespace homeostat::chaos
