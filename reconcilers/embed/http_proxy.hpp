// The proxy that requests go through: a declared one, or what HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say, read as curl
// reads them. Safe from any thread, as long as nobody changes the environment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "reconcilers/embed/outbound.hpp"
#include "reconcilers/embed/url.hpp"

namespace homeostat {

struct HttpProxy {
    std::string host;
    std::uint16_t port = 1080;
    std::string authorization;  // of Proxy-Authorization; "" = it asks for none
    std::string reference;      // that stands for it; "" = it was named itself

    // What it is called in messages: its address without user and password, or the reference, as whoever declares may name any.
    std::string text() const;
};

// `declared`: an address, a reference to one (secret:NAME, env:NAME or file:PATH, where it holds a password), or "none" for no
// proxy whatever the environment says. A reference must be bound to the address that is asked, and stand for a whole one, from
// http:// on: what is another's secret is no name to look up. Where nothing is declared the environment says it, and nothing
// where NO_PROXY names the host. Refuses what is no address of an HTTP proxy; the message repeats no password.
Result<std::optional<HttpProxy>> proxy_for(const Url& url, const std::optional<std::string>& declared, const Outbound& outbound);

// Whether NO_PROXY names the host: "*", a name (which stands for those below it too), an address, or a network (10.0.0.0/8), with
// commas or blanks between.
bool passes_by(std::string_view no_proxy, std::string_view host);

}  // namespace homeostat
