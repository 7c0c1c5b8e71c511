// The addresses of providers and collectors: http or https, host, port and path. Nothing else of RFC 3986 is needed, so nothing
// else is accepted: user:password@ is refused (a secret has no place in an address), and so are fragments.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace homeostat {

struct Url {
    bool tls = false;
    std::string host;         // without the brackets of an IPv6 literal
    std::uint16_t port = 80;
    std::string path = "/";   // begins with "/"; carries the query where there is one

    std::string host_header() const;  // host, or host:port where the port is not the scheme's own
    std::string origin() const;       // scheme://host:port: what a kept-alive connection belongs to
    std::string text() const;         // the whole address
    // The same for messages: of a query, which may hold keys, the names only.
    std::string shown() const;
    // The address below this one: http://h/v1 and "embeddings" give http://h/v1/embeddings. A query stays at the end.
    Url below(std::string_view leaf) const;
};

// A host as it stands before a port: an IPv6 address in its brackets.
std::string bracketed(const std::string& host);
// The address of `leaf` below a base, however it was written: /v1, /v1/, //v1, /v1/leaf and /v1/leaf/ are one. A query stays.
Url endpoint_of(Url base, std::string_view leaf);
// Where a redirect leads that only adds or takes away slashes at the end of the path, on the same origin; absent for any other.
std::optional<Url> other_slash(const Url& from, std::string_view location);

Result<Url> parse_url(std::string_view text);

}  // namespace homeostat
