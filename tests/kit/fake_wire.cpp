#include "tests/kit/fake_wire.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

namespace homeostat::kit {

namespace {

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return out;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) text.remove_suffix(1);
    return text;
}

std::optional<WireRequest> parse_head(std::string_view head) {
    WireRequest request;
    const auto first_end = head.find("\r\n");
    const std::string_view first = head.substr(0, first_end);
    const auto a = first.find(' ');
    const auto b = first.rfind(' ');
    if (a == std::string_view::npos || b == a) return std::nullopt;
    request.method = std::string(first.substr(0, a));
    request.path = std::string(first.substr(a + 1, b - a - 1));
    std::string_view rest = first_end == std::string_view::npos ? std::string_view() : head.substr(first_end + 2);
    while (!rest.empty()) {
        const auto end = std::min(rest.find("\r\n"), rest.size());
        const std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 2, rest.size()));
        if (const auto colon = line.find(':'); colon != std::string_view::npos) {
            request.headers[lower(line.substr(0, colon))] = std::string(trimmed(line.substr(colon + 1)));
        }
    }
    request.keep_alive = lower(request.headers["connection"]) != "close";
    return request;
}

}  // namespace

Wire::Wire(int fd, SSL_CTX* tls) : fd_(fd) {
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (tls == nullptr) return;
    ssl_.reset(SSL_new(tls));
    SSL_set_fd(ssl_.get(), fd_);
    SSL_set_accept_state(ssl_.get());
}

Wire::~Wire() { ::close(fd_); }

bool Wire::fill() {
    char buffer[64 * 1024];
    const auto n = ssl_ ? SSL_read(ssl_.get(), buffer, sizeof buffer) : static_cast<int>(::recv(fd_, buffer, sizeof buffer, 0));
    if (n <= 0) return false;
    in_.append(buffer, static_cast<std::size_t>(n));
    return true;
}

std::optional<WireRequest> Wire::read_request() {
    std::size_t end = 0;
    while ((end = in_.find("\r\n\r\n")) == std::string::npos) {
        if (in_.size() > 64 * 1024 || !fill()) return std::nullopt;
        if (in_[0] < 'A' || in_[0] > 'Z') return std::nullopt;  // no method: somebody speaks TLS to a plain port
    }
    auto request = parse_head(std::string_view(in_).substr(0, end));
    if (!request) return std::nullopt;
    std::size_t length = 0;
    const std::string& text = request->headers["content-length"];
    std::from_chars(text.data(), text.data() + text.size(), length);
    const std::size_t total = end + 4 + length;
    in_.reserve(total);
    while (in_.size() < total) {
        if (!fill()) return std::nullopt;
    }
    request->body = in_.substr(end + 4, length);
    in_.erase(0, total);
    return request;
}

bool Wire::write(std::string_view data) {
    while (!data.empty()) {
        const auto n = ssl_ ? SSL_write(ssl_.get(), data.data(), static_cast<int>(data.size()))
                            : static_cast<int>(::send(fd_, data.data(), data.size(), MSG_NOSIGNAL));
        if (n <= 0) return false;
        data.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

void Wire::reset() {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void Wire::interrupt() { ::shutdown(fd_, SHUT_RDWR); }

}  // namespace homeostat::kit
