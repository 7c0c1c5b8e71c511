// A gate between a program and a server: everything passes it until it is told otherwise.
//
// Listens on a port of 127.0.0.1 that the system chooses and connects on, to another port or a unix socket. What it does to
// connections it does to those there are and to those that come. All calls are safe from any thread; the destructor ends all
// connections.
#pragma once

#include <atomic>
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
    // Ends every connection there is, as a broken network does (reset).
    void cut() noexcept;

    std::uint64_t connections() const noexcept { return accepted_; }

private:
    void listen();
    void serve();
    void poke() const noexcept;

    std::string unix_socket_;
    std::uint16_t server_port_ = 0;
    int listener_ = -1;
    int wake_ = -1;
    std::uint16_t port_ = 0;
    std::atomic<unsigned> held_{0};  // bits of directions
    std::atomic<unsigned> muted_{0};
    std::atomic<std::uint64_t> cuts_{0};
    std::atomic<std::uint64_t> accepted_{0};
    std::atomic<bool> over_{false};
    std::thread thread_;
};

}  // namespace homeostat::kit
