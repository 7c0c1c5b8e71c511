#include "reconcilers/embed/http_proxy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>
#include <charconv>
#include <cstdlib>
#include <span>

#include "reconcilers/embed/base64.hpp"

namespace homeostat {

namespace {

namespace ip = boost::asio::ip;

// What stands there, and under which name; "" where nothing does.
struct Named {
    std::string name;
    std::string value;
};

Named from_environment(std::span<const char* const> names) {
    for (const char* name : names) {
        const char* value = std::getenv(name);
        if (value != nullptr && *value != '\0') return {name, value};
    }
    return {};
}

Named proxy_of_environment(bool tls) {
    static constexpr std::array kSecure{"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    static constexpr std::array kPlain{"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"};
    return from_environment(tls ? std::span<const char* const>(kSecure) : kPlain);
}

Error refuse(const std::string& name, std::string_view why) {
    return invalid(fmt::format("{} {}; write it like http://proxy.example.com:3128", name, why));
}

std::string decoded(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        unsigned byte = 0;
        if (text[i] == '%' && i + 2 < text.size() &&
            std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16).ptr == text.data() + i + 3) {
            out += static_cast<char>(byte);
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

std::string basic(std::string_view user_and_password) {
    const std::size_t colon = user_and_password.find(':');
    std::string plain = decoded(user_and_password.substr(0, colon)) + ":";
    if (colon != std::string_view::npos) plain += decoded(user_and_password.substr(colon + 1));
    std::string out = "Basic ";
    base64_append(out, std::as_bytes(std::span(plain)));
    return out;
}

// [http://][user[:password]@]host[:port][/]
Result<HttpProxy> parse_proxy(const std::string& name, std::string_view text) {
    const std::size_t scheme = text.find("://");
    if (scheme != std::string_view::npos) {
        const std::string_view word = text.substr(0, scheme);
        if (word != "http") return refuse(name, "is no address of a plain HTTP proxy, the only kind that is understood");
        text.remove_prefix(scheme + 3);
    }
    HttpProxy proxy;
    const std::size_t end = std::min(text.find('/'), text.size());
    const std::size_t at = text.substr(0, end).rfind('@');
    if (at != std::string_view::npos) {
        proxy.authorization = basic(text.substr(0, at));
        text.remove_prefix(at + 1);
    }
    const Result<Url> url = parse_url("http://" + std::string(text));
    if (!url || url->path != "/") return refuse(name, "is no address of a proxy");
    const std::size_t port = text.rfind(':');
    proxy.host = url->host;
    if (port != std::string_view::npos && text.find(']', port) == std::string_view::npos) proxy.port = url->port;
    return proxy;
}

bool same_network(std::string_view entry, const ip::address& address) {
    boost::system::error_code ec;
    const std::string text(entry);
    if (address.is_v4()) {
        const auto network = ip::make_network_v4(text, ec);
        return !ec && ip::network_v4(address.to_v4(), network.prefix_length()).canonical() == network.canonical();
    }
    const auto network = ip::make_network_v6(text, ec);
    return !ec && ip::network_v6(address.to_v6(), network.prefix_length()).canonical() == network.canonical();
}

bool names_address(std::string_view entry, const ip::address& address) {
    if (entry.starts_with('[') && entry.ends_with(']')) entry = entry.substr(1, entry.size() - 2);
    if (entry.find('/') != std::string_view::npos) return same_network(entry, address);
    boost::system::error_code ec;
    const ip::address other = ip::make_address(std::string(entry), ec);
    return !ec && other == address;
}

bool names_host(std::string_view entry, std::string_view host) {
    while (entry.starts_with('.')) entry.remove_prefix(1);
    if (entry.ends_with('.')) entry.remove_suffix(1);
    if (entry.empty() || entry.size() > host.size()) return false;
    const std::string_view tail = host.substr(host.size() - entry.size());
    const auto same = [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); };
    return std::equal(tail.begin(), tail.end(), entry.begin(), same) &&
           (tail.size() == host.size() || host[host.size() - tail.size() - 1] == '.');
}

}  // namespace

std::string HttpProxy::text() const { return reference.empty() ? fmt::format("http://{}:{}", bracketed(host), port) : reference; }

bool passes_by(std::string_view no_proxy, std::string_view host) {
    if (host.ends_with('.')) host.remove_suffix(1);
    boost::system::error_code ec;
    const ip::address address = ip::make_address(std::string(host), ec);
    while (!no_proxy.empty()) {
        const std::size_t end = std::min(no_proxy.find_first_of(", \t"), no_proxy.size());
        const std::string_view entry = no_proxy.substr(0, end);
        no_proxy.remove_prefix(std::min(end + 1, no_proxy.size()));
        if (entry == "*" || (ec ? names_host(entry, host) : names_address(entry, address))) return true;
    }
    return false;
}

Result<std::optional<HttpProxy>> proxy_for(const Url& url, const std::optional<std::string>& declared, const Outbound& outbound) {
    std::optional<HttpProxy> none;
    if (declared && *declared == "none") return none;
    Named given{"the proxy", declared.value_or("")};
    if (!declared) {
        given = proxy_of_environment(url.tls);
        static constexpr std::array kExcept{"no_proxy", "NO_PROXY"};
        if (given.value.empty() || passes_by(from_environment(kExcept).value, url.host)) return none;
    } else if (is_declared_reference(*declared)) {
        Result<std::string> read = outbound.secret(*declared, url);
        if (!read) return std::move(read).error().with_prefix("proxy");
        given = {fmt::format("what the proxy {} stands for", *declared), *std::move(read)};
        if (!given.value.starts_with("http://")) return refuse(given.name, "is no address of a proxy");
    }
    Result<HttpProxy> proxy = parse_proxy(given.name, given.value);
    if (!proxy) return std::move(proxy).error();
    if (declared && is_declared_reference(*declared)) proxy->reference = *declared;
    return std::optional<HttpProxy>(*std::move(proxy));
}

}  // namespace homeostat
