#include "reconcilers/embed/http_way.hpp"

#include <fmt/core.h>

#include <utility>

namespace homeostat {

namespace {

// Only TLS has a use for them. Neither is opened before it is known to be bound: what there is on this machine is nobody's to
// find out.
Status take_files(const ProviderSpec& provider, const Url& url, const Outbound& outbound, HttpClientOptions& options) {
    if (!url.tls) return {};
    const std::pair<const char*, std::pair<const std::optional<std::string>*, std::string*>> columns[] = {
        {"ca_file", {&provider.ca_file, &options.ca_file}},
        {"client_certificate", {&provider.client_certificate, &options.client_certificate}},
        {"client_key", {&provider.client_key, &options.client_key}}};
    for (const auto& [column, to] : columns) {
        if (!*to.first) continue;
        Result<std::string> path = outbound.file(**to.first, url);
        if (!path) return std::move(path).error().with_prefix(column);
        *to.second = *std::move(path);
    }
    return {};
}

Status check_proxy(const HttpProxy& proxy, Way way, const Url& url, bool with_secrets, const Outbound& outbound) {
    if (with_secrets && !url.tls) {
        return invalid(
            fmt::format("a secret is not sent to {} through the proxy {}, which would read it; use https, or no proxy (proxy "
                        "none, or NO_PROXY in the environment)",
                        url.origin(), proxy.text()));
    }
    if (Status asked = outbound.may_ask(url, way); !asked) return asked;
    if (way == Way::given_proxy) return {};
    const Url at{.tls = false, .host = proxy.host, .port = proxy.port};
    if (Status asked = outbound.may_ask(at); !asked) return std::move(asked).error().with_prefix("proxy");
    return {};
}

}  // namespace

Result<HttpClientOptions> way_to(const ProviderSpec& provider, const Url& url, bool with_secrets,
                                 std::shared_ptr<const Outbound> outbound) {
    Result<std::optional<HttpProxy>> proxy = proxy_for(url, provider.proxy, *outbound);
    if (!proxy) return std::move(proxy).error();
    const Way way = !*proxy                                         ? Way::direct
                    : provider.proxy && (*proxy)->reference.empty() ? Way::declared_proxy
                                                                    : Way::given_proxy;
    const Status fine = *proxy ? check_proxy(**proxy, way, url, with_secrets, *outbound) : outbound->may_ask(url);
    if (!fine) return fine.error();
    HttpClientOptions options;
    if (Status files = take_files(provider, url, *outbound, options); !files) return std::move(files).error();
    // A secret in the clear goes to this machine only, whatever its own name is made to lead to.
    const bool confined = with_secrets && !url.tls;
    const std::string host = *proxy ? (*proxy)->host : url.host;
    options.may_connect = [outbound = std::move(outbound), way, host, confined](const Url&,
                                                                                const boost::asio::ip::address& address) {
        return way == Way::given_proxy || (outbound->may_connect(host, address) && (!confined || address.is_loopback()));
    };
    options.proxy = *std::move(proxy);
    return options;
}

}  // namespace homeostat
