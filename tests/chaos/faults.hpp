// What goes wrong, as the dice have it: replicas and the database one thing after the other, and beside them the provider and the
// declarations.
//
// Each fault has a name (--faults takes them). Whatever a fault breaks it mends before it returns, but for what is said to last;
// stop() puts everything right again.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/chaos/chaos_world.hpp"
#include "tests/kit/standby.hpp"

namespace homeostat::chaos {

class Faults {
public:
    explicit Faults(World& world);
    ~Faults();
    Faults(const Faults&) = delete;
    Faults& operator=(const Faults&) = delete;

    // Puts everything right again: replicas run, gates pass, the endpoint answers, the declarations are as they were.
    void stop();
    static std::vector<std::string> names();

private:
    struct Turn {
        Dice& dice;
        const std::stop_token& stop;
        void pause(std::chrono::milliseconds length) const;
        void pause(int low, int high) const { pause(std::chrono::milliseconds(dice.between(low, high))); }
    };
    struct Fault {
        std::string_view name;
        int weight;
        void (Faults::*play)(Turn);
    };
    static const std::vector<Fault>& machine();  // replicas and the database
    static const std::vector<Fault>& rest();  // provider and declarations
    void play(const std::stop_token& stop, const std::vector<Fault>& faults, std::uint64_t salt);
    std::vector<Fault> chosen(const std::vector<Fault>& faults) const;

    // faults_replicas.cpp
    void kill(Turn turn);
    void sigstop(Turn turn);
    void sigterm(Turn turn);
    void kill_all(Turn turn);
    // faults_database.cpp
    void cut(Turn turn);
    void hold(Turn turn);
    void silence(Turn turn);
    void half_open(Turn turn);
    void delay(Turn turn);
    void bytes(Turn turn);
    void commit(Turn turn);
    void refuse(Turn turn);
    void restart(Turn turn);
    void crash(Turn turn);
    void readonly(Turn turn);
    void terminate(Turn turn);
    void failover(Turn turn);
    void disk(Turn turn);
    std::vector<kit::TcpGate*> some_gates(Turn turn, std::string& whose);
    void pass_database();
    // faults_provider.cpp
    void errors(Turn turn);
    void throttle(Turn turn);
    void slow(Turn turn);
    void flaws(Turn turn);
    void provider_cut(Turn turn);
    void provider_silence(Turn turn);
    void provider_refuses(Turn turn);
    // faults_declaration.cpp
    void suspend(Turn turn);
    void provider(Turn turn);
    void chunker(Turn turn);
    void priority(Turn turn);
    void depends(Turn turn);
    void documents(Turn turn);
    void capture(Turn turn);
    void reconcile(Turn turn);
    void recreate(Turn turn);
    void there_and_back(Turn turn, const std::string& there, const std::string& back);
    void restore_declarations();

    // Each statement on its own, on a connection of its own; what is refused is noted. Whether all went well.
    bool declare(const std::vector<std::string>& statements);
    void repair();

    World& world_;
    std::unique_ptr<kit::Standby> standby_;
    std::vector<std::jthread> threads_;
};

}  // namespace homeostat::chaos
