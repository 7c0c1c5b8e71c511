// One accepted connection of the fake endpoint, plain or TLS, and the little HTTP/1.1 it speaks: written by hand and blocking, so
// that our client is tested against something that shares no code with it. One thread at a time; interrupt() from any.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "tests/kit/test_ca.hpp"

namespace homeostat::kit {

struct WireRequest {
    std::string method;
    std::string path;
    std::map<std::string, std::string> headers;  // names in lower case
    std::string body;
    bool keep_alive = true;
};

class Wire {
public:
    // Takes over `fd`. With a context, the TLS handshake is made by the first read.
    Wire(int fd, SSL_CTX* tls);
    ~Wire();
    Wire(const Wire&) = delete;
    Wire& operator=(const Wire&) = delete;

    // The next request; nullopt where the peer has gone or does not speak HTTP.
    std::optional<WireRequest> read_request();
    bool write(std::string_view data);
    // Makes the peer see a reset instead of an orderly end.
    void reset();
    // Ends what another thread waits for here.
    void interrupt();

private:
    bool fill();

    int fd_;
    OpenSslPtr<SSL> ssl_;
    std::string in_;
};

}  // namespace homeostat::kit
