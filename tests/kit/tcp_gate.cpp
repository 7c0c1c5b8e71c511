#include "tests/kit/tcp_gate.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace homeostat::kit {

namespace {

constexpr std::size_t kBuffered = 256 << 10;  // of a direction, before its sender has to wait
constexpr unsigned kUp = 1;
constexpr unsigned kDown = 2;

unsigned bits_of(TcpGate::Direction d) {
    switch (d) {
        case TcpGate::Direction::up: return kUp;
        case TcpGate::Direction::down: return kDown;
        case TcpGate::Direction::both: return kUp | kDown;
    }
    return kUp | kDown;
}

void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

int connect_to(const std::string& unix_socket, std::uint16_t port) {
    if (!unix_socket.empty()) {
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        if (unix_socket.size() >= sizeof to.sun_path) return -1;
        std::memcpy(to.sun_path, unix_socket.c_str(), unix_socket.size() + 1);
        const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return fd;
        ::close(fd);
        return -1;
    }
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return fd;
    ::close(fd);
    return -1;
}

// One way of a connection: what was read and is still to be written.
struct Way {
    int from = -1;
    int to = -1;
    unsigned bit = 0;
    std::string waiting;
    bool muted = false;
    bool ended = false;  // nothing more comes

    bool reads(unsigned held) const { return !ended && (held & bit) == 0 && (muted || waiting.size() < kBuffered); }

    // False where the connection is over.
    bool read() {
        std::array<char, 64 << 10> buffer{};
        const ssize_t n = ::recv(from, buffer.data(), buffer.size(), 0);
        if (n < 0) return errno == EAGAIN || errno == EINTR;
        if (n == 0) {
            ended = true;
            return true;
        }
        if (!muted) waiting.append(buffer.data(), static_cast<std::size_t>(n));
        return true;
    }
    bool write() {
        if (waiting.empty()) return true;
        const ssize_t n = ::send(to, waiting.data(), waiting.size(), MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN || errno == EINTR;
        waiting.erase(0, static_cast<std::size_t>(n));
        return true;
    }
    bool over() const { return ended && !muted && waiting.empty(); }
};

struct Pair {
    Pair(int client, int server) : ways{Way{client, server, kUp, {}}, Way{server, client, kDown, {}}} {
        set_nonblocking(client);
        set_nonblocking(server);
    }
    ~Pair() {
        ::close(ways[0].from);
        ::close(ways[1].from);
    }
    Pair(const Pair&) = delete;
    Pair& operator=(const Pair&) = delete;

    void reset() const {
        const linger now{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(ways[0].from, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    short events(int side, unsigned held) const {
        const Way& out = ways[side == 0 ? 0 : 1];
        const Way& in = ways[side == 0 ? 1 : 0];
        return static_cast<short>((out.reads(held) ? POLLIN : 0) | (in.waiting.empty() || (held & in.bit) != 0 ? 0 : POLLOUT));
    }
    // One that was muted once is over only when both sides have gone.
    bool over() const {
        const bool muted = ways[0].muted || ways[1].muted;
        return muted ? ways[0].ended && ways[1].ended : ways[0].over() || ways[1].over();
    }

    std::array<Way, 2> ways;
};

}  // namespace

TcpGate::TcpGate(std::string unix_socket) : unix_socket_(std::move(unix_socket)) { listen(); }

TcpGate::TcpGate(std::uint16_t server_port) : server_port_(server_port) { listen(); }

void TcpGate::listen() {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (::bind(listener_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 || ::listen(listener_, 128) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) != 0 || wake_ < 0)
        throw std::runtime_error("the gate cannot listen");
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { serve(); });
}

TcpGate::~TcpGate() {
    over_ = true;
    poke();
    thread_.join();
    ::close(listener_);
    ::close(wake_);
}

void TcpGate::pass() noexcept {
    held_ = 0;
    muted_ = 0;
    poke();
}

void TcpGate::hold(Direction direction) noexcept {
    held_ |= bits_of(direction);
    poke();
}

void TcpGate::mute(Direction direction) noexcept {
    muted_ |= bits_of(direction);
    poke();
}

void TcpGate::cut() noexcept {
    ++cuts_;
    poke();
}

void TcpGate::poke() const noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake_, &one, sizeof one);
}

void TcpGate::serve() {
    std::vector<std::unique_ptr<Pair>> pairs;
    std::uint64_t cuts = 0;
    while (!over_) {
        const unsigned held = held_;
        const unsigned muted = muted_;
        if (const std::uint64_t now = cuts_; std::exchange(cuts, now) != now) {
            for (const auto& p : pairs) p->reset();
            pairs.clear();
        }
        std::vector<pollfd> polls{{listener_, POLLIN, 0}, {wake_, POLLIN, 0}};
        for (const auto& p : pairs) {
            for (int side = 0; side < 2; ++side) {
                Way& way = p->ways[side == 0 ? 0 : 1];
                if ((muted & way.bit) != 0) {
                    way.muted = true;
                    way.waiting.clear();
                }
                // A side that has hung up would be reported again and again.
                const short events = p->events(side, held);
                polls.push_back({events == 0 ? -1 : way.from, events, 0});
            }
        }
        ::poll(polls.data(), polls.size(), 1'000);
        std::uint64_t ignored = 0;
        [[maybe_unused]] const ssize_t n = ::read(wake_, &ignored, sizeof ignored);
        for (std::size_t i = 0; i < pairs.size(); ++i) {
            bool alive = true;
            for (std::size_t side = 0; side < 2 && alive; ++side) {
                const short seen = polls[2 + i * 2 + side].revents;
                Way& way = pairs[i]->ways[side];
                if ((seen & (POLLIN | POLLHUP | POLLERR)) != 0) alive = way.read();
                if (alive && (seen & POLLOUT) != 0) alive = pairs[i]->ways[1 - side].write();
            }
            if (!alive || pairs[i]->over()) pairs[i].reset();
        }
        std::erase(pairs, nullptr);
        for (int client = 0; (client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
            ++accepted_;
            const int server = connect_to(unix_socket_, server_port_);
            if (server < 0) {
                ::close(client);
                continue;
            }
            pairs.push_back(std::make_unique<Pair>(client, server));
        }
    }
}

}  // namespace homeostat::kit
