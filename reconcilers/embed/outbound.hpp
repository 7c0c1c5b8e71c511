// What may leave for a provider's address, whoever declared it: which secrets go where, and which addresses are asked at all. The
// operator says so in the settings (`secrets`, `provider.allow_hosts`), where nobody who may only declare can write
// (docs/security.md). Immutable; safe from any thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/address.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "reconcilers/embed/url.hpp"

namespace homeostat {

// How an address is reached: by ourselves, through a proxy of the operator's (environment, a bound secret), or through one that a
// declaration names.
enum class Way : std::uint8_t { direct, given_proxy, declared_proxy };

class CredentialProgram;

class Outbound {
public:
    // No secret is bound; every address may be asked but those of this machine's neighbourhood and of cloud metadata.
    Outbound() = default;

    // `secrets`: "NAME SOURCE ORIGIN...; NAME SOURCE ORIGIN..." (secret_source.hpp); `hosts`: "api.example.com,
    // *.example.org, 10.0.0.0/8".
    static Result<Outbound> of(std::string_view secrets, std::string_view hosts);

    // What a declaration refers to (secret:NAME, or the source of a bound secret itself), read now, for a request to that
    // address. Refused (class auth) with a sentence that says what to write where it is bound to no such origin.
    Result<std::string> secret(std::string_view reference, const Url& to) const;
    // The path of a file of this machine that a declaration names (/PATH, or secret:NAME whose source is a file), for use with
    // that address; refused in the same way where it is not bound to it: such a file may be anybody's key, or decide who is
    // believed.
    Result<std::string> file(std::string_view given, const Url& to) const;
    // Tells secrets apart without holding them: another one where what any of the references stands for is another, or cannot be
    // read any more. Starts programs that it is time to ask again, and does not wait for them. Of this process only; never 0.
    std::size_t mark(const std::vector<std::string>& references, const Url& to) const;

    // Of secrets that programs print (source exec:PROGRAM): waits until each is there or has failed, at most until the deadline
    // or the stop. Whoever sends them calls it before secret(). The references stay alive until it has finished.
    boost::asio::awaitable<void> ready(const std::vector<std::string>& references, const Url& to, SteadyTime deadline,
                                       std::stop_token stop) const;
    // The endpoint has refused what was sent at the mark `sent`: programs are asked again. True where there are any, so that
    // ready() and another mark may follow.
    bool refused(const std::vector<std::string>& references, const Url& to, std::size_t sent) const;
    void accepted(const std::vector<std::string>& references, const Url& to) const;

    // By its name alone, before anything is looked up. What goes through a proxy is looked up there, so it is all that is ever
    // seen.
    Status may_ask(const Url& to, Way way = Way::direct) const;
    // By what it turned out to be. A name proves nothing: whoever keeps it says where it leads.
    bool may_connect(std::string_view host, const boost::asio::ip::address& address) const;

private:
    struct Pattern {
        bool below = false;  // *.host
        std::string host;
    };
    struct Place {
        bool tls = false;
        Pattern host;
        std::uint16_t port = 0;
        std::string text;
    };
    struct Bound {
        std::string name;
        std::string source;
        std::vector<Place> places;
        std::shared_ptr<CredentialProgram> program{};  // that prints it; null: it is read
    };
    struct Network {
        boost::asio::ip::address address;
        unsigned bits = 0;
    };

    static Result<Place> place_of(std::string_view text);
    static bool matches(const Pattern& pattern, std::string_view host);
    static bool holds(const Network& network, const boost::asio::ip::address& address);
    // What it is bound as, for that address.
    Result<const Bound*> bound(std::string_view reference, const Url& to) const;
    std::vector<std::shared_ptr<CredentialProgram>> programs(const std::vector<std::string>& references, const Url& to) const;
    bool named(std::string_view host) const;
    static Status add_program(Bound& bound);
    Status add_secret(std::string_view entry);
    Status add_host(std::string_view entry);
    bool listed(const boost::asio::ip::address& address) const;

    std::vector<Bound> secrets_;
    std::vector<Pattern> names_;
    std::vector<Network> networks_;
};

// True for secret:NAME, env:NAME, file:PATH and exec:PATH: what a declaration may name a secret by.
bool is_declared_reference(std::string_view text) noexcept;
// True for this machine itself, written as an address or as localhost.
bool is_loopback(std::string_view host);

}  // namespace homeostat
