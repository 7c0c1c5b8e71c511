#include "tests/kit/fake_proxy.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string_view>

namespace homeostat::kit {

namespace {

constexpr std::string_view kEnd = "\r\n\r\n";

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

bool send_all(int fd, std::string_view data) {
    while (!data.empty()) {
        const ssize_t n = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
        if (n <= 0) return false;
        data.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

// Until one side has ended.
void splice(int a, int b) {
    std::array<pollfd, 2> fds{{{a, POLLIN, 0}, {b, POLLIN, 0}}};
    std::array<char, 16'384> buffer{};
    while (::poll(fds.data(), fds.size(), -1) > 0) {
        for (std::size_t i = 0; i < fds.size(); ++i) {
            if (fds.at(i).revents == 0) continue;
            const ssize_t n = ::recv(fds.at(i).fd, buffer.data(), buffer.size(), 0);
            if (n <= 0 || !send_all(fds.at(1 - i).fd, {buffer.data(), static_cast<std::size_t>(n)})) return;
        }
    }
}

std::string header(std::string_view head, std::string_view name) {
    const std::size_t at = head.find("\r\n" + std::string(name) + ": ");
    if (at == std::string_view::npos) return {};
    const std::size_t from = at + name.size() + 4;
    return std::string(head.substr(from, head.find("\r\n", from) - from));
}

// The port that "CONNECT host:port" or "POST http://host:port/path" names; 0 where none is.
std::uint16_t port_of(std::string_view line, bool tunnel) {
    std::string_view target = line.substr(line.find(' ') + 1);
    if (!tunnel) {
        if (target.find("://") == std::string_view::npos) return 0;
        target.remove_prefix(target.find("://") + 3);
    }
    const std::size_t colon = target.find(':');
    return colon == std::string_view::npos ? 0 : static_cast<std::uint16_t>(std::atoi(target.data() + colon + 1));
}

}  // namespace

FakeProxy::FakeProxy(std::string authorization) : authorization_(std::move(authorization)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_, any, size) != 0 || ::listen(listener_, 64) != 0 || ::getsockname(listener_, any, &size) != 0) {
        throw std::runtime_error("the fake proxy cannot listen");
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_loop(); });
}

FakeProxy::~FakeProxy() {
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    {
        const Lock lock(mutex_);
        over_ = true;
        for (const Link& link : links_) {
            ::shutdown(link.client, SHUT_RDWR);
            if (link.server >= 0) ::shutdown(link.server, SHUT_RDWR);
        }
    }
    std::list<Link> links;
    {
        const Lock lock(mutex_);
        links.swap(links_);
    }
    for (Link& link : links) {
        link.thread.join();
        ::close(link.client);
        if (link.server >= 0) ::close(link.server);
    }
}

std::vector<std::string> FakeProxy::requests() const {
    const Lock lock(mutex_);
    return requests_;
}

void FakeProxy::accept_loop() {
    for (;;) {
        const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) return;
        const Lock lock(mutex_);
        Link& link = links_.emplace_back();
        link.client = fd;
        link.thread = std::thread([this, &link] { serve(link); });
    }
}

void FakeProxy::serve(Link& link) {
    answer(link);
    ::shutdown(link.client, SHUT_RDWR);
    const Lock lock(mutex_);
    if (link.server >= 0) ::shutdown(link.server, SHUT_RDWR);
}

void FakeProxy::answer(Link& link) {
    std::string in;
    std::array<char, 16'384> buffer{};
    while (in.find(kEnd) == std::string::npos) {
        const ssize_t n = ::recv(link.client, buffer.data(), buffer.size(), 0);
        if (n <= 0) return;
        in.append(buffer.data(), static_cast<std::size_t>(n));
    }
    const std::string head = in.substr(0, in.find(kEnd));
    const std::string rest = in.substr(head.size() + kEnd.size());
    const bool tunnel = head.starts_with("CONNECT ");
    {
        const Lock lock(mutex_);
        requests_.push_back(head);
    }
    if (!authorization_.empty() && header(head, "Proxy-Authorization") != authorization_) {
        send_all(link.client, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    const sockaddr_in address = loopback(port_of(head, tunnel));
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    {
        const Lock lock(mutex_);
        link.server = server;
        if (over_) return;
    }
    if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        send_all(link.client, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    if (tunnel) {
        if (!send_all(link.client, "HTTP/1.1 200 Connection established\r\n\r\n") || !send_all(server, rest)) return;
    } else {
        const std::size_t path = head.find('/', head.find("://") + 3);
        const std::string passed =
            head.substr(0, head.find(' ') + 1) + head.substr(path) + "\r\nConnection: close" + std::string(kEnd);
        if (!send_all(server, passed + rest)) return;
    }
    splice(link.client, server);
}

}  // namespace homeostat::kit
