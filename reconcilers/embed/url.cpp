#include "reconcilers/embed/url.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "core/outside_text.hpp"

namespace homeostat {

namespace {

Error refuse(std::string_view text, std::string_view why) {
    return invalid(fmt::format("\"{}\" is not an address we can call: {}; write it like https://api.example.com/v1",
                               outside_text(text.substr(0, text.find('?')), 200), why));
}

bool is_host(std::string_view host) {
    return !host.empty() && std::all_of(host.begin(), host.end(), [](unsigned char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' || c == ':' || c == '%';
    });
}

// Cuts ":port" off the end of the authority; leaves the port as it is where there is none.
bool take_port(std::string_view& authority, std::uint16_t& port) {
    const auto colon = authority.rfind(':');
    if (colon == std::string_view::npos || authority.ends_with(']')) return true;
    const std::string_view digits = authority.substr(colon + 1);
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    authority.remove_suffix(digits.size() + 1);
    return ec == std::errc() && end == digits.data() + digits.size() && port != 0;
}

}  // namespace

std::string bracketed(const std::string& host) { return host.find(':') == std::string::npos ? host : "[" + host + "]"; }

std::string Url::host_header() const {
    const bool usual = port == (tls ? 443 : 80);
    return usual ? bracketed(host) : fmt::format("{}:{}", bracketed(host), port);
}

std::string Url::origin() const { return fmt::format("{}://{}:{}", tls ? "https" : "http", bracketed(host), port); }

std::string Url::text() const { return fmt::format("{}://{}{}", tls ? "https" : "http", host_header(), path); }

std::string Url::shown() const {
    std::string out = text();
    for (std::size_t at = out.find('?'); at != std::string::npos; at = out.find('&', at + 1)) {
        const std::size_t end = std::min(out.find('&', at + 1), out.size());
        const std::size_t equals = std::min(out.find('=', at), end);
        // What has no name may be a key itself.
        const std::size_t from = equals < end ? equals + 1 : at + 1;
        if (end > from) out.replace(from, end - from, "***");
    }
    return out;
}

Url Url::below(std::string_view leaf) const {
    Url url = *this;
    const auto question = std::min(path.find('?'), path.size());
    std::string base = path.substr(0, question);
    if (!base.ends_with('/')) base += '/';
    url.path = base + std::string(leaf) + path.substr(question);
    return url;
}

namespace {

std::string without_slashes(std::string_view path) {
    while (path.ends_with('/')) path.remove_suffix(1);
    return std::string(path);
}

}  // namespace

Url endpoint_of(Url base, std::string_view leaf) {
    const auto question = std::min(base.path.find('?'), base.path.size());
    const std::string query = base.path.substr(question);
    std::string path = base.path.substr(0, question);
    path.erase(std::unique(path.begin(), path.end(), [](char a, char b) { return a == '/' && b == '/'; }), path.end());
    path = without_slashes(path);
    if (!path.ends_with("/" + std::string(leaf))) path += "/" + std::string(leaf);
    base.path = path + query;
    return base;
}

std::optional<Url> other_slash(const Url& from, std::string_view location) {
    const Result<Url> to = location.starts_with('/') && !location.starts_with("//")
                               ? parse_url(from.origin() + std::string(location))
                               : parse_url(location);
    if (!to || to->origin() != from.origin() || to->path == from.path) return std::nullopt;
    const auto split = [](const std::string& path) {
        const auto question = std::min(path.find('?'), path.size());
        return std::pair(without_slashes(path.substr(0, question)), path.substr(question));
    };
    if (split(to->path) != split(from.path)) return std::nullopt;
    return *to;
}

Result<Url> parse_url(std::string_view text) {
    Url url;
    std::string_view rest = text;
    if (rest.starts_with("https://")) {
        url.tls = true;
        url.port = 443;
        rest.remove_prefix(8);
    } else if (rest.starts_with("http://")) {
        rest.remove_prefix(7);
    } else {
        return refuse(text, "it begins with neither http:// nor https://");
    }
    const auto slash = std::min(rest.find_first_of("/?#"), rest.size());
    std::string_view authority = rest.substr(0, slash);
    const std::string_view path = rest.substr(slash);
    // The text is left out of this message: it holds the secret that must not be there.
    if (authority.find('@') != std::string_view::npos) {
        return invalid("an address must not carry a user or password; declare a credential (env:NAME or file:PATH) instead");
    }
    if (path.find('#') != std::string_view::npos) return refuse(text, "it has a fragment (#)");
    if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return c <= ' ' || c >= 0x7f; })) {
        return refuse(text, "its path has a space, a control or a non-ASCII character that must be percent-encoded");
    }
    if (!take_port(authority, url.port)) return refuse(text, "its port is not a number from 1 to 65535");
    if (authority.starts_with('[') && authority.ends_with(']')) {
        authority = authority.substr(1, authority.size() - 2);
    } else if (authority.find(':') != std::string_view::npos) {
        return refuse(text, "an IPv6 address must stand in brackets");
    }
    url.host = std::string(authority);
    std::transform(url.host.begin(), url.host.end(), url.host.begin(),
                   [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
    if (!is_host(url.host)) return refuse(text, "its host is missing or has a character no host name has");
    if (!path.empty()) url.path = (path.front() == '/' ? "" : "/") + std::string(path);
    return url;
}

}  // namespace homeostat
