// Runs a program that the operator names in the settings and waits for its end: without a shell, with nothing on its standard
// input, a few variables of the environment, none of our descriptors, in a process group of its own, within a deadline and a
// bounded output. It is as much trusted as the settings are, so it is in no sandbox; what it leaves behind in its group is ended
// with it.
//
// Blocks the calling thread. Safe from any thread, as long as nobody changes the environment.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.hpp"

namespace homeostat {

inline constexpr std::size_t kMostPrinted = std::size_t{64} * 1024;

struct ProgramEnd {
    enum class How : std::uint8_t { ended, by_signal, late, stopped, too_much, not_started };
    How how = How::ended;
    int number = 0;  // the exit code, the signal, or the errno with which it was not started
    std::string output;
    std::string words;  // the first of its error output, as it wrote them

    bool well() const noexcept { return how == How::ended && number == 0; }
};

// `command`: the absolute path of the program and its arguments. `stop`: a descriptor that becomes readable when nobody wants the
// answer any more; -1 = none.
ProgramEnd run_operator_program(const std::vector<std::string>& command, Duration within, int stop);

// Whether such a program is given the variable: what programs need in order to find their files, hosts and accounts, and none of
// homeostat's or the database's own. `env NAME=VALUE program` gives it any other.
bool is_given_variable(std::string_view name);

}  // namespace homeostat
