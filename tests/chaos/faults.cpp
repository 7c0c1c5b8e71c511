#include "tests/chaos/faults.hpp"

#include <fmt/format.h>

#include <csignal>

namespace homeostat::chaos {

using std::chrono::milliseconds;

const std::vector<Faults::Fault>& Faults::machine() {
    static const std::vector<Fault> faults{{"kill", 8, &Faults::kill},         {"stop", 5, &Faults::sigstop},
                                           {"term", 2, &Faults::sigterm},      {"kill_all", 1, &Faults::kill_all},
                                           {"cut", 2, &Faults::cut},           {"hold", 2, &Faults::hold},
                                           {"silence", 2, &Faults::silence},   {"half_open", 2, &Faults::half_open},
                                           {"delay", 1, &Faults::delay},       {"bytes", 2, &Faults::bytes},
                                           {"commit", 3, &Faults::commit},     {"refuse", 1, &Faults::refuse},
                                           {"restart", 2, &Faults::restart},   {"crash", 2, &Faults::crash},
                                           {"readonly", 2, &Faults::readonly}, {"terminate", 2, &Faults::terminate},
                                           {"failover", 2, &Faults::failover}, {"disk", 6, &Faults::disk}};
    return faults;
}

const std::vector<Faults::Fault>& Faults::rest() {
    static const std::vector<Fault> faults{{"errors", 2, &Faults::errors},
                                           {"throttle", 1, &Faults::throttle},
                                           {"slow", 2, &Faults::slow},
                                           {"flaws", 3, &Faults::flaws},
                                           {"provider_cut", 1, &Faults::provider_cut},
                                           {"provider_silence", 1, &Faults::provider_silence},
                                           {"provider_refuses", 1, &Faults::provider_refuses},
                                           {"suspend", 1, &Faults::suspend},
                                           {"provider", 2, &Faults::provider},
                                           {"chunker", 1, &Faults::chunker},
                                           {"priority", 1, &Faults::priority},
                                           {"depends", 1, &Faults::depends},
                                           {"documents", 1, &Faults::documents},
                                           {"capture", 1, &Faults::capture},
                                           {"reconcile", 1, &Faults::reconcile},
                                           {"recreate", 1, &Faults::recreate}};
    return faults;
}

std::vector<std::string> Faults::names() {
    std::vector<std::string> out{"clock", "rename"};  // which last for the whole of a seed
    for (const auto* list : {&machine(), &rest()}) {
        for (const Fault& f : *list) out.emplace_back(f.name);
    }
    return out;
}

Faults::Faults(World& world) : world_(world) {
    if (world_.may_fail_over()) standby_ = std::make_unique<kit::Standby>(world_.cluster());
    threads_.emplace_back([this](const std::stop_token& stop) { play(stop, machine(), 1); });
    threads_.emplace_back([this](const std::stop_token& stop) { play(stop, rest(), 2); });
}

Faults::~Faults() {
    for (std::jthread& t : threads_) t.request_stop();
}

void Faults::stop() {
    for (std::jthread& t : threads_) t.request_stop();
    threads_.clear();
    repair();
}

void Faults::Turn::pause(milliseconds length) const {
    const auto end = std::chrono::steady_clock::now() + length;
    while (!stop.stop_requested() && std::chrono::steady_clock::now() < end) kit::pause_briefly();
}

// Each as often as its weight says; none that was not asked for, or that this seed cannot have.
std::vector<Faults::Fault> Faults::chosen(const std::vector<Fault>& faults) const {
    std::vector<Fault> out;
    for (const Fault& f : faults) {
        if (!world_.plays(std::string(f.name)) || (f.name == "failover" && !standby_) || (f.name == "disk" && !world_.disk()))
            continue;
        out.insert(out.end(), static_cast<std::size_t>(f.weight), f);
    }
    return out;
}

void Faults::play(const std::stop_token& stop, const std::vector<Fault>& faults, std::uint64_t salt) {
    Dice dice(world_.options().seed * 10 + salt);
    const std::vector<Fault> list = chosen(faults);
    while (!stop.stop_requested() && !list.empty()) {
        const Turn turn{dice, stop};
        turn.pause(100, 1'500);
        if (stop.stop_requested()) return;
        try {
            (this->*dice.of(list).play)(turn);
        } catch (const std::exception& e) {
            world_.note(std::string("a fault went wrong itself: ") + e.what());
        }
    }
}

bool Faults::declare(const std::vector<std::string>& statements) {
    bool all = true;
    for (const std::string& sql : statements) {
        world_.note(sql);
        try {
            kit::Sql connection(world_.db().url());
            connection.exec("SET default_transaction_read_only = off");
            connection.exec("SET lock_timeout = '5s'");
            connection.exec(sql);
        } catch (const std::exception& e) {
            world_.note(std::string("  refused: ") + e.what());
            all = false;
        }
    }
    return all;
}

void Faults::repair() {
    if (world_.disk()) world_.disk()->free();
    try {
        kit::Sql probe(world_.cluster().url());
    } catch (const std::exception&) {  // a fault that went wrong may have left it down
        world_.cluster().start();
    }
    pass_database();
    world_.provider_gate().pass();
    world_.provider_gate().end_muted();
    world_.endpoint().forget_script();
    kit::eventually([&] { return declare({"ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"}); });
    restore_declarations();
    for (int i = 0; i < world_.options().replicas; ++i) world_.signal_replica(i, SIGCONT);
    world_.look_after_replicas();
}

}  // namespace homeostat::chaos
