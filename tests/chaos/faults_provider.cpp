// The provider, and the way to it.
#include <fmt/format.h>

#include <array>

#include "tests/chaos/faults.hpp"

namespace homeostat::chaos {

using std::chrono::milliseconds;

void Faults::errors(Turn turn) {
    const int status = turn.dice.of(std::array{500, 502, 503});
    world_.note(fmt::format("the provider answers {}", status));
    world_.endpoint().always({.status = status});
    turn.pause(200, 3'000);
    world_.endpoint().forget_script();
    world_.note("the provider answers");
}

void Faults::throttle(Turn turn) {
    world_.note("the provider asks for patience");
    world_.endpoint().always({.status = 429, .headers = {{"Retry-After", "1"}}});
    turn.pause(200, 2'000);
    world_.endpoint().forget_script();
}

void Faults::slow(Turn turn) {
    const int delay = turn.dice.one_in(4) ? 3'000 : turn.dice.between(50, 500);  // the program waits for two seconds
    world_.note(fmt::format("the provider takes {} ms", delay));
    world_.endpoint().always({.delay = milliseconds(delay)});
    turn.pause(500, 4'000);
    world_.endpoint().forget_script();
}

void Faults::flaws(Turn turn) {
    constexpr std::array kFlaws{kit::Flaw::wrong_count,  kit::Flaw::extra_vector, kit::Flaw::duplicate_index,
                                kit::Flaw::short_vector, kit::Flaw::nan_vector,   kit::Flaw::infinite_vector,
                                kit::Flaw::zero_vector,  kit::Flaw::truncated,    kit::Flaw::html,
                                kit::Flaw::garbage,      kit::Flaw::not_http,     kit::Flaw::drop_before,
                                kit::Flaw::drop_after,   kit::Flaw::reordered};
    const int times = turn.dice.between(1, 3);
    const kit::Flaw flaw = turn.dice.of(kFlaws);
    world_.note(fmt::format("the provider answers badly (flaw {}), {} times", static_cast<int>(flaw), times));
    world_.endpoint().next({.flaw = flaw}, static_cast<std::size_t>(times));
}

void Faults::provider_cut(Turn turn) {
    world_.note("connections to the provider are cut, and cut again");
    for (int i = turn.dice.between(1, 3); i > 0; --i) {
        world_.provider_gate().cut();
        turn.pause(50, 300);
    }
}

void Faults::provider_silence(Turn turn) {
    world_.note("the provider falls silent");
    world_.provider_gate().mute();
    turn.pause(200, 3'000);
    world_.provider_gate().pass();
    world_.provider_gate().end_muted();
}

void Faults::provider_refuses(Turn turn) {
    world_.note("the provider cannot be reached");
    world_.provider_gate().refuse();
    world_.provider_gate().cut();
    turn.pause(200, 3'000);
    world_.provider_gate().pass();
}

}  // namespace homeostat::chaos
