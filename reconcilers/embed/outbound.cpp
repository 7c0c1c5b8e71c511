#include "reconcilers/embed/outbound.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/address_v4.hpp>
#include <boost/asio/ip/address_v6.hpp>
#include <charconv>
#include <optional>

#include "reconcilers/embed/secret.hpp"
#include "reconcilers/embed/secret_source.hpp"

namespace homeostat {

namespace {

namespace ip = boost::asio::ip;

constexpr std::string_view kByName = "secret:";
constexpr std::string_view kFile = "file:";

Error refuse(std::string message) {
    return {.cls = ErrorClass::auth, .message = std::move(message), .origin = Origin::user, .code = "secret"};
}

std::vector<std::string_view> words(std::string_view text, std::string_view separators) {
    std::vector<std::string_view> out;
    while (!text.empty()) {
        const std::size_t start = std::min(text.find_first_not_of(separators), text.size());
        const std::size_t end = std::min(text.find_first_of(separators, start), text.size());
        if (end > start) out.push_back(text.substr(start, end - start));
        text.remove_prefix(end);
    }
    return out;
}

std::optional<ip::address> address_of(std::string_view text) {
    if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
    boost::system::error_code ec;
    const ip::address address = ip::make_address(std::string(text), ec);
    return ec ? std::nullopt : std::optional(address);
}

// IPv4 in the clothes of IPv6 (::ffff:a.b.c.d, and 64:ff9b::/96, which a gateway translates) is what it leads to.
ip::address plain(const ip::address& address) {
    if (!address.is_v6()) return address;
    const ip::address_v6::bytes_type b = address.to_v6().to_bytes();
    constexpr std::array<unsigned char, 12> kTranslated{0, 0x64, 0xff, 0x9b};
    if (!address.to_v6().is_v4_mapped() && !std::equal(kTranslated.begin(), kTranslated.end(), b.begin())) return address;
    return ip::address_v4(ip::address_v4::bytes_type{b[12], b[13], b[14], b[15]});
}

bool same_bits(const unsigned char* a, const unsigned char* b, unsigned bits) {
    for (; bits >= 8; bits -= 8, ++a, ++b) {
        if (*a != *b) return false;
    }
    return bits == 0 || ((*a ^ *b) >> (8U - bits)) == 0;
}

// Link-local, what clouds tell their machines (and their keys) at, and what is no address of anybody.
bool is_forbidden(const ip::address& address) {
    struct Range {
        const char* address;
        unsigned bits;
    };
    static constexpr std::array<Range, 11> kRanges{{{"169.254.0.0", 16},
                                                    {"0.0.0.0", 8},
                                                    {"224.0.0.0", 3},
                                                    {"100.100.100.200", 32},
                                                    {"192.0.0.192", 32},
                                                    {"168.63.129.16", 32},
                                                    {"fe80::", 10},
                                                    {"ff00::", 8},
                                                    {"::", 128},
                                                    {"fd00:ec2::254", 128},
                                                    {"fd20:ce::254", 128}}};
    return std::any_of(kRanges.begin(), kRanges.end(), [&](const Range& range) {
        const ip::address base = ip::make_address(range.address);
        if (base.is_v4() != address.is_v4()) return false;
        if (base.is_v4()) {
            return same_bits(base.to_v4().to_bytes().data(), address.to_v4().to_bytes().data(), range.bits);
        }
        return same_bits(base.to_v6().to_bytes().data(), address.to_v6().to_bytes().data(), range.bits);
    });
}

// Hosts by whose names clouds tell their machines what they know: where a proxy looks them up, the address is never seen here.
bool is_metadata_name(std::string_view host) {
    static constexpr std::array<std::string_view, 4> kNames{"metadata.google.internal", "metadata", "metadata.goog",
                                                            "instance-data"};
    return std::any_of(kNames.begin(), kNames.end(), [&](std::string_view name) {
        return host == name || (name == "instance-data" && host.starts_with("instance-data."));
    });
}

// An address in any form that a look-up takes for one: 169.254.169.254 is 2852039166, 0xa9fea9fe and 0251.0376.0251.0376 too.
std::optional<ip::address> numeric_of(std::string_view host) {
    if (const std::optional<ip::address> address = address_of(host)) return address;
    in_addr found{};
    if (::inet_aton(std::string(host).c_str(), &found) == 0) return std::nullopt;
    return ip::address_v4(ntohl(found.s_addr));
}

bool is_name(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
    });
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
    return out;
}

// A name that a secret may have in the settings: env:OPENAI_API_KEY is openai_api_key there.
std::string name_for(std::string_view reference) {
    std::string name = lower(reference.substr(reference.find_last_of(":/") + 1));
    std::replace_if(name.begin(), name.end(), [](char c) { return !is_name({&c, 1}); }, '_');
    return name.empty() ? "key" : name;
}

std::string_view without_dot(std::string_view host) {
    if (host.ends_with('.')) host.remove_suffix(1);
    return host;
}

}  // namespace

bool is_declared_reference(std::string_view text) noexcept {
    return is_secret_reference(text) || is_program_source(text) || (text.starts_with(kByName) && text.size() > kByName.size());
}

bool is_loopback(std::string_view host) {
    if (without_dot(host) == "localhost") return true;
    const std::optional<ip::address> address = address_of(host);
    return address && plain(*address).is_loopback();
}

bool Outbound::matches(const Pattern& pattern, std::string_view host) {
    host = without_dot(host);
    if (!pattern.below) return host == pattern.host;
    return host.size() > pattern.host.size() + 1 && host.ends_with(pattern.host) &&
           host[host.size() - pattern.host.size() - 1] == '.';
}

bool Outbound::holds(const Network& network, const ip::address& address) {
    if (network.address.is_v4() != address.is_v4()) return false;
    if (address.is_v4()) {
        return same_bits(network.address.to_v4().to_bytes().data(), address.to_v4().to_bytes().data(), network.bits);
    }
    return same_bits(network.address.to_v6().to_bytes().data(), address.to_v6().to_bytes().data(), network.bits);
}

Result<Outbound::Place> Outbound::place_of(std::string_view text) {
    Place place{.text = std::string(text)};
    std::string address = lower(text);
    if (const std::size_t star = address.find("://*."); star != std::string::npos) {
        place.host.below = true;
        address.erase(star + 3, 2);
    }
    const Result<Url> url = parse_url(address);
    if (!url || url->path != "/" || address.ends_with('/') || url->host.find('*') != std::string::npos) {
        return invalid(
            fmt::format("\"{}\" is not an origin; write it like https://api.example.com, https://*.example.com or "
                        "http://127.0.0.1:8080",
                        text));
    }
    if (place.host.below && (url->host.find('.') == std::string::npos || address_of(url->host))) {
        return invalid(fmt::format("\"{}\" is everything below a top level; name the domain too", text));
    }
    if (!url->tls && !is_loopback(url->host)) {
        return invalid(
            fmt::format("\"{}\" is not encrypted, so no secret may go there; use https (http is for 127.0.0.1, ::1 and "
                        "localhost only)",
                        text));
    }
    place.tls = url->tls;
    place.host.host = std::string(without_dot(url->host));
    place.port = url->port;
    return place;
}

Status Outbound::add_secret(std::string_view entry) {
    const Result<std::vector<std::string>> words_of = entry_words(entry);
    if (!words_of) return words_of.error();
    const std::vector<std::string>& parts = *words_of;
    const std::string subject = fmt::format("secret \"{}\"", parts.front());
    if (parts.size() < 3 || !(is_secret_reference(parts[1]) || is_program_source(parts[1]))) {
        return invalid(
            fmt::format("{}: it needs a source (env:NAME, file:PATH or exec:/PROGRAM) and the origins that it may go to, such as "
                        "https://api.example.com",
                        subject));
    }
    Bound bound{.name = parts[0], .source = parts[1], .places = {}};
    if (bound.source.starts_with("env:PG") || bound.source.starts_with("env:HOMEOSTAT_DATABASE")) {
        return invalid(fmt::format("{}: {} is the key to the database, which no provider gets; give it one of its own", subject,
                                   bound.source));
    }
    if (const Status program = add_program(bound); !program) return program.error().with_prefix(subject);
    for (const Bound& other : secrets_) {
        if (other.name == bound.name) return invalid(fmt::format("{} is given twice", subject));
    }
    for (std::size_t i = 2; i < parts.size(); ++i) {
        Result<Place> place = place_of(parts[i]);
        if (!place && bound.program && parts[i].find("://") == std::string::npos) {
            return invalid(fmt::format("{}: the program and its arguments stand in double quotes: \"{} {} ...\"", subject,
                                       bound.source, parts[i]));
        }
        if (!place) return place.error().with_prefix(subject);
        bound.places.push_back(*std::move(place));
    }
    secrets_.push_back(std::move(bound));
    return {};
}

Status Outbound::add_host(std::string_view entry) {
    const std::size_t slash = std::min(entry.find('/'), entry.size());
    if (const std::optional<ip::address> address = address_of(entry.substr(0, slash))) {
        Network network{.address = plain(*address), .bits = address->is_v4() ? 32U : 128U};
        if (slash < entry.size()) {
            const std::string_view bits = entry.substr(slash + 1);
            const unsigned most = network.bits;
            const auto [end, ec] = std::from_chars(bits.data(), bits.data() + bits.size(), network.bits);
            if (ec != std::errc() || end != bits.data() + bits.size() || network.bits > most)
                return invalid(fmt::format("\"{}\" is not a network; write it like 10.0.0.0/8", entry));
        }
        if (network.address.is_v4() && network.bits > 32) network.bits = 32;
        networks_.push_back(network);
        return {};
    }
    Pattern pattern{.below = entry.starts_with("*."), .host = lower(entry.substr(entry.starts_with("*.") ? 2 : 0))};
    pattern.host = std::string(without_dot(pattern.host));
    if (!is_name(pattern.host)) {
        return invalid(
            fmt::format("\"{}\" is neither a host, nor *.domain, nor an address or network such as 10.0.0.0/8", entry));
    }
    names_.push_back(std::move(pattern));
    return {};
}

Result<Outbound> Outbound::of(std::string_view secrets, std::string_view hosts) {
    Outbound out;
    for (const std::string& entry : secret_entries(secrets)) {
        if (Status added = out.add_secret(entry); !added) return std::move(added).error();
    }
    for (const std::string_view entry : words(hosts, ", \t\r\n")) {
        if (Status added = out.add_host(entry); !added) return std::move(added).error();
    }
    return out;
}

Result<const Outbound::Bound*> Outbound::bound(std::string_view reference, const Url& to) const {
    const bool by_name = reference.starts_with(kByName);
    const std::string_view name = by_name ? reference.substr(kByName.size()) : reference;
    std::string elsewhere;
    std::vector<std::string_view> names;
    for (const Bound& bound : secrets_) {
        names.push_back(bound.name);
        if (by_name ? bound.name != name : bound.source != name) continue;
        for (const Place& place : bound.places) {
            if (place.tls == to.tls && place.port == to.port && matches(place.host, to.host)) return &bound;
            elsewhere += (elsewhere.empty() ? "" : ", ") + place.text;
        }
    }
    if (!to.tls && !is_loopback(to.host)) {
        return refuse(
            fmt::format("{} is not sent to {}: over http everybody on the way reads it; use https", reference, to.origin()));
    }
    if (!elsewhere.empty()) {
        return refuse(
            fmt::format("{} may go to {}, and not to {}; whoever runs homeostat adds the origin under secrets in its "
                        "settings",
                        reference, elsewhere, to.origin()));
    }
    if (by_name) {
        return refuse(
            fmt::format("there is no secret \"{}\"{}; whoever runs homeostat writes into its settings: secrets: {{{}: "
                        "{{source: \"env:VARIABLE\", origins: [\"{}\"]}}}}",
                        name, did_you_mean(name, names), name, to.origin()));
    }
    return refuse(
        fmt::format("{} is bound to no origin, so it is used for none; whoever runs homeostat writes into its settings: "
                    "secrets: {{{}: {{source: \"{}\", origins: [\"{}\"]}}}}",
                    reference, name_for(reference), reference, to.origin()));
}

Result<std::string> Outbound::file(std::string_view given, const Url& to) const {
    const Result<const Bound*> found = bound(given.starts_with('/') ? fmt::format("{}{}", kFile, given) : std::string(given), to);
    if (!found) return found.error();
    const std::string_view source = (*found)->source;
    if (!source.starts_with(kFile)) return refuse(fmt::format("{} is no file, which is what is wanted here", given));
    return std::string(source.substr(kFile.size()));
}

bool Outbound::listed(const ip::address& address) const {
    return std::any_of(networks_.begin(), networks_.end(), [&](const Network& n) { return holds(n, address); });
}

bool Outbound::named(std::string_view host) const {
    return std::any_of(names_.begin(), names_.end(), [&](const Pattern& p) { return matches(p, host); });
}

Status Outbound::may_ask(const Url& to, Way way) const {
    const auto refused = [&](std::string_view why) { return invalid(fmt::format("{} is not asked: {}", to.origin(), why)); };
    const bool unlisted = names_.empty() && networks_.empty();
    const std::optional<ip::address> address = way == Way::direct ? address_of(to.host) : numeric_of(without_dot(to.host));
    if (address) {
        if (may_connect(to.host, *address)) return {};
        return refused(is_forbidden(plain(*address))
                           ? "addresses of link-local and metadata services are not, unless provider.allow_hosts in the "
                             "settings of homeostat lists them"
                           : "its host is not in provider.allow_hosts of the settings of homeostat");
    }
    if (named(to.host)) return {};
    // What a name leads to, and whether that is listed, is seen when it is connected to.
    if (way == Way::direct && (unlisted || !networks_.empty())) return {};
    if (way == Way::direct) return refused("its host is not in provider.allow_hosts of the settings of homeostat");
    if (unlisted && !is_metadata_name(without_dot(to.host)) && (way == Way::given_proxy || to.tls)) return {};
    return refused(
        "through a proxy nobody here sees where its name leads; whoever runs homeostat lists the name in provider.allow_hosts of "
        "its settings, if it is meant");
}

bool Outbound::may_connect(std::string_view host, const ip::address& address) const {
    const ip::address at = plain(address);
    if (listed(at)) return true;
    if (is_forbidden(at)) return false;
    return (names_.empty() && networks_.empty()) || named(host);
}

}  // namespace homeostat
