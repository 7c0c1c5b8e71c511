#include "tests/kit/tcp_gate.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
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

using Clock = std::chrono::steady_clock;

// One way of a connection: what was read and is still to be written, each piece not before its time.
struct Way {
    struct Piece {
        Clock::time_point due;
        std::string bytes;
    };
    int from = -1;
    int to = -1;
    unsigned bit = 0;
    std::deque<Piece> waiting{};
    std::size_t size = 0;
    std::optional<std::uint64_t> left{};  // bytes until the connection is ended
    std::string tail{};  // the last bytes read, for words that arrive in two pieces
    bool muted = false;
    bool ended = false;  // nothing more comes

    bool reads(unsigned held) const { return !ended && (held & bit) == 0 && (muted || size < kBuffered); }
    bool writes(unsigned held, Clock::time_point now) const {
        return (held & bit) == 0 && !waiting.empty() && waiting.front().due <= now;
    }
    void mute() {
        muted = true;
        waiting.clear();
        size = 0;
    }
    void take(std::string bytes, Clock::time_point due) {
        size += bytes.size();
        if (!bytes.empty()) waiting.push_back({due, std::move(bytes)});
    }
    bool write(Clock::time_point now) {
        while (!waiting.empty() && waiting.front().due <= now) {
            std::string& bytes = waiting.front().bytes;
            const ssize_t n = ::send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n < 0) return errno == EAGAIN || errno == EINTR;
            size -= static_cast<std::size_t>(n);
            bytes.erase(0, static_cast<std::size_t>(n));
            if (!bytes.empty()) return true;
            waiting.pop_front();
        }
        return true;
    }
    // Where in `bytes`, which follow what was read before, the word COMMIT of a message ends.
    std::optional<std::size_t> commit_in(const std::string& bytes) {
        constexpr std::string_view kWord("COMMIT\0", 7);
        const std::string all = tail + bytes;
        const std::size_t at = all.find(kWord);
        const std::size_t before = tail.size();
        tail = all.substr(all.size() - std::min(all.size(), kWord.size() - 1));
        if (at == std::string::npos) return std::nullopt;
        return at + kWord.size() - before;
    }
    bool over() const { return ended && !muted && waiting.empty(); }
};

struct Pair {
    Pair(int client, int server) : ways{Way{client, server, kUp}, Way{server, client, kDown}} {
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
    void limit(unsigned directions, std::uint64_t bytes) {
        for (Way& way : ways) {
            if ((directions & way.bit) != 0) way.left = bytes;
        }
    }
    void end_side(std::size_t side) {
        for (Way& way : ways) way.mute();
        ::shutdown(ways[side].from, SHUT_RDWR);
    }
    short events(int side, unsigned held, Clock::time_point now) const {
        const Way& out = ways[side == 0 ? 0 : 1];
        const Way& in = ways[side == 0 ? 1 : 0];
        return static_cast<short>((out.reads(held) ? POLLIN : 0) | (in.writes(held, now) ? POLLOUT : 0));
    }
    bool muted() const { return ways[0].muted || ways[1].muted; }
    // One that was muted once is over only when both sides have gone.
    bool over() const { return muted() ? ways[0].ended && ways[1].ended : ways[0].over() || ways[1].over(); }

    std::array<Way, 2> ways;
};

// What is done to what is read, as it is read.
struct Passage {
    std::chrono::milliseconds delay{0};
    std::atomic<int>* commit_cut = nullptr;
    int no_cut = 0;
    int cut_before = 0;
    std::atomic<std::uint64_t>* commits_cut = nullptr;
};

// False where the connection is over.
bool read(Way& way, const Passage& passage, Clock::time_point now) {
    std::array<char, 64 << 10> buffer{};
    const ssize_t n = ::recv(way.from, buffer.data(), buffer.size(), 0);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) {
        way.ended = true;
        return true;
    }
    if (way.muted) return true;
    std::string bytes(buffer.data(), static_cast<std::size_t>(n));
    bool lives = true;
    if (way.bit == kUp) {
        const std::optional<std::size_t> end = way.commit_in(bytes);
        int cut = end ? passage.commit_cut->exchange(passage.no_cut) : passage.no_cut;
        if (cut != passage.no_cut) {
            lives = false;
            ++*passage.commits_cut;
            if (cut == passage.cut_before) return false;
        }
    }
    if (way.left) {
        lives = lives && bytes.size() < *way.left;
        bytes.resize(std::min<std::size_t>(bytes.size(), *way.left));
        *way.left -= bytes.size();
    }
    way.take(std::move(bytes), now + passage.delay);
    if (!lives) way.write(now + passage.delay);
    return lives;
}

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
    delayed_ = 0;
    refuses_ = false;
    commit_cut_ = none;
    limited_ = 0;
    ++limits_;
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

void TcpGate::delay(std::chrono::milliseconds by, Direction direction) noexcept {
    delay_ms_ = by.count();
    delayed_ |= bits_of(direction);
    poke();
}

void TcpGate::refuse() noexcept { refuses_ = true; }

void TcpGate::cut() noexcept {
    ++cuts_;
    poke();
}

void TcpGate::cut_after(std::uint64_t bytes, Direction direction) noexcept {
    limit_ = std::max<std::uint64_t>(bytes, 1);
    limited_ = bits_of(direction);
    ++limits_;
    poke();
}

void TcpGate::cut_at_commit(bool arrived) noexcept { commit_cut_ = arrived ? after : before; }

void TcpGate::half_open(Direction ended) noexcept {
    if ((bits_of(ended) & kUp) != 0) ++half_opened_up_;
    if ((bits_of(ended) & kDown) != 0) ++half_opened_down_;
    poke();
}

void TcpGate::end_muted() noexcept {
    ++muted_ended_;
    poke();
}

void TcpGate::poke() const noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake_, &one, sizeof one);
}

struct TcpGate::Pairs {
    std::vector<std::unique_ptr<Pair>> all;
    std::uint64_t cuts = 0;
    std::uint64_t limits = 0;
    std::uint64_t half_opened_up = 0;
    std::uint64_t half_opened_down = 0;
    std::uint64_t muted_ended = 0;
};

// Carries out what was ordered since the last time.
void TcpGate::obey(Pairs& pairs) {
    const auto ordered = [](const std::atomic<std::uint64_t>& given, std::uint64_t& done) {
        const std::uint64_t now = given;
        return std::exchange(done, now) != now;
    };
    if (ordered(cuts_, pairs.cuts)) {
        for (const auto& p : pairs.all) p->reset();
        pairs.all.clear();
    }
    if (ordered(limits_, pairs.limits)) {
        for (const auto& p : pairs.all) {
            for (Way& way : p->ways) way.left.reset();
            p->limit(limited_, limit_);
        }
    }
    if (ordered(half_opened_up_, pairs.half_opened_up)) {
        for (const auto& p : pairs.all) p->end_side(1);
    }
    if (ordered(half_opened_down_, pairs.half_opened_down)) {
        for (const auto& p : pairs.all) p->end_side(0);
    }
    if (ordered(muted_ended_, pairs.muted_ended)) std::erase_if(pairs.all, [](const auto& p) { return p->muted(); });
    for (const auto& p : pairs.all) {
        for (Way& way : p->ways) {
            if ((muted_ & way.bit) != 0) way.mute();
        }
    }
}

void TcpGate::accept(Pairs& pairs) {
    for (int client = 0; (client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
        ++accepted_;
        const int server = refuses_ ? -1 : connect_to(unix_socket_, server_port_);
        if (server < 0) {
            ::close(client);
            continue;
        }
        pairs.all.push_back(std::make_unique<Pair>(client, server));
        pairs.all.back()->limit(limited_, limit_);
    }
}

void TcpGate::serve() {
    Pairs pairs;
    const Passage passage{{}, &commit_cut_, none, before, &commits_cut_};
    while (!over_) {
        obey(pairs);
        const unsigned held = held_;
        auto now = Clock::now();
        auto next = now + std::chrono::seconds(1);
        std::vector<pollfd> polls{{listener_, POLLIN, 0}, {wake_, POLLIN, 0}};
        for (const auto& p : pairs.all) {
            for (int side = 0; side < 2; ++side) {
                const Way& way = p->ways[side == 0 ? 0 : 1];
                if (!way.waiting.empty() && way.waiting.front().due > now) next = std::min(next, way.waiting.front().due);
                // A side that has hung up would be reported again and again.
                const short events = p->events(side, held, now);
                polls.push_back({events == 0 ? -1 : way.from, events, 0});
            }
        }
        const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - now);
        ::poll(polls.data(), polls.size(), static_cast<int>(wait.count()));
        std::uint64_t ignored = 0;
        [[maybe_unused]] const ssize_t n = ::read(wake_, &ignored, sizeof ignored);
        now = Clock::now();
        for (std::size_t i = 0; i < pairs.all.size(); ++i) {
            Pair& pair = *pairs.all[i];
            bool alive = true;
            for (std::size_t side = 0; side < 2 && alive; ++side) {
                const short seen = polls[2 + i * 2 + side].revents;
                Way& way = pair.ways[side];
                Passage here = passage;
                if ((delayed_ & way.bit) != 0) here.delay = std::chrono::milliseconds(delay_ms_);
                if ((seen & (POLLIN | POLLHUP | POLLERR)) != 0) alive = read(way, here, now);
                if (alive && (seen & POLLOUT) != 0) alive = pair.ways[1 - side].write(now);
            }
            if (!alive) pair.reset();
            if (!alive || pair.over()) pairs.all[i].reset();
        }
        std::erase(pairs.all, nullptr);
        accept(pairs);
    }
}

}  // namespace homeostat::kit
