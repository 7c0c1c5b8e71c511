// A gate between a program and a server: everything passes it until it is told otherwise.
//
// Listens on a port of 127.0.0.1 that the system chooses and connects on, to another port or a unix socket. What it does to
// connections it does to those there are and to those that come. All calls are safe from any thread; the destructor ends all
// connections.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

namespace homeostat::kit {

class TcpGate {
public:
    enum class Direction : std::uint8_t { up, down, both };  // up: towards the server

    explicit TcpGate(std::string unix_socket);  // throws where it cannot listen
    explicit TcpGate(std::uint16_t server_port);
    ~TcpGate();
    TcpGate(const TcpGate&) = delete;
    TcpGate& operator=(const TcpGate&) = delete;

    std::uint16_t port() const noexcept { return port_; }

    // From now on everything passes, but on connections that were muted.
    void pass() noexcept;
    // Nothing is read any more, until it passes again: both sides wait, then go on where they were.
    void hold(Direction direction = Direction::both) noexcept;
    // What is sent is taken and acknowledged, and reaches nobody: for ever, for a connection that this once befell. No end of a
    // connection is passed on either.
    void mute(Direction direction = Direction::both) noexcept;
    // What is sent arrives so much later, in order, until it passes again.
    void delay(std::chrono::milliseconds by, Direction direction = Direction::both) noexcept;
    // Who connects is turned away, until it passes again.
    void refuse() noexcept;
    // Ends every connection there is, as a broken network does (reset).
    void cut() noexcept;
    // Ends each connection, also one that comes, once so many more bytes went through it in `direction`; until it passes again.
    void cut_after(std::uint64_t bytes, Direction direction) noexcept;
    // Ends the next connection whose client sends COMMIT, without an answer: `arrived` says whether the server gets to see it.
    void cut_at_commit(bool arrived) noexcept;
    // Ends every connection there is on one side only (up: the server's); the other side is told nothing and hears nothing more.
    void half_open(Direction ended) noexcept;
    // Ends what was muted or left half open, as a keepalive does in the end.
    void end_muted() noexcept;

    std::uint64_t connections() const noexcept { return accepted_; }
    std::uint64_t commits_cut() const noexcept { return commits_cut_; }

private:
    struct Pairs;
    void listen();
    void serve();
    void obey(Pairs& pairs);
    void accept(Pairs& pairs);
    void poke() const noexcept;

    std::string unix_socket_;
    std::uint16_t server_port_ = 0;
    int listener_ = -1;
    int wake_ = -1;
    std::uint16_t port_ = 0;
    std::atomic<unsigned> held_{0};  // bits of directions
    std::atomic<unsigned> muted_{0};
    std::atomic<unsigned> delayed_{0};
    std::atomic<std::int64_t> delay_ms_{0};
    std::atomic<unsigned> limited_{0};
    std::atomic<std::uint64_t> limit_{0};  // bytes of a direction that is limited
    std::atomic<bool> refuses_{false};
    enum CommitCut : int { none, before, after };
    std::atomic<int> commit_cut_{none};
    // Commands that are carried out once each: how often they were given.
    std::atomic<std::uint64_t> cuts_{0};
    std::atomic<std::uint64_t> limits_{0};
    std::atomic<std::uint64_t> half_opened_up_{0};
    std::atomic<std::uint64_t> half_opened_down_{0};
    std::atomic<std::uint64_t> muted_ended_{0};
    std::atomic<std::uint64_t> accepted_{0};
    std::atomic<std::uint64_t> commits_cut_{0};
    std::atomic<bool> over_{false};
    std::thread thread_;
};

}  // namespace homeostat::kit
