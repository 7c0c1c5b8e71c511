// What goes wrong, one thing after the other and some at once, as the dice have it.
#pragma once

#include <stop_token>
#include <thread>

#include "tests/chaos/chaos_world.hpp"

namespace homeostat::chaos {

class Faults {
public:
    explicit Faults(World& world);
    // Puts everything right again: replicas run, gates pass, the endpoint answers, the declarations are as they were.
    void stop();

private:
    void play(const std::stop_token& stop);
    void fault(Dice& dice, const std::stop_token& stop);
    void fault_of_a_replica(Dice& dice, const std::stop_token& stop);
    void fault_of_the_database(Dice& dice, const std::stop_token& stop);
    void fault_of_the_provider(Dice& dice, const std::stop_token& stop);
    void change_of_a_declaration(Dice& dice, const std::stop_token& stop);
    void declare(const std::string& sql);
    void repair();

    World& world_;
    std::jthread thread_;
};

}  // namespace homeostat::chaos
