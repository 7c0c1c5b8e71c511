#include "controller/config/http_settings.hpp"

#include <fmt/core.h>

#include <charconv>

#include "reconcilers/embed/outbound.hpp"

namespace homeostat {

namespace {

bool is_address(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0) return false;
    const std::string_view host = text.substr(0, colon);
    const std::string_view port = text.substr(colon + 1);
    unsigned number = 0;
    const auto [end, failure] = std::from_chars(port.data(), port.data() + port.size(), number);
    const bool bracketed = host.front() == '[' && host.back() == ']';
    return failure == std::errc() && end == port.data() + port.size() && number <= 65535 &&
           (bracketed || host.find(':') == std::string_view::npos);
}

}  // namespace

Status check_http(const Settings& s, std::string_view profile) {
    if (!s.http_action_url.empty() && s.http_token.empty())
        return invalid("http.action_url is set and http.token is empty, so whoever reaches the port could act; set http.token");
    if (s.http_listen.empty()) return {};
    if (!is_address(s.http_listen))
        return invalid(
            fmt::format("http.listen is \"{}\"; it must be host:port, such as 127.0.0.1:8687 or [::1]:8687", s.http_listen));
    if (profile == "production" && s.http_token.empty() && !is_loopback(s.http_listen.substr(0, s.http_listen.rfind(':'))))
        return invalid(
            fmt::format("http.listen ({}) is beyond this machine, and http.token is empty; in profile production set "
                        "http.token, or listen on 127.0.0.1 behind what asks who is there",
                        s.http_listen));
    return {};
}

}  // namespace homeostat
