// An HTTP proxy on a port of 127.0.0.1 that the system chooses: tunnels for CONNECT, and plain requests passed on, one a
// connection. It notes what it was asked. All calls are safe from any thread; the destructor ends all connections and joins all
// threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <string>
#include <thread>
#include <vector>

#include "core/sync.hpp"

namespace homeostat::kit {

class FakeProxy {
public:
    // `authorization`: what Proxy-Authorization must be, else 407; "" = anything.
    explicit FakeProxy(std::string authorization = {});  // throws where it cannot listen
    ~FakeProxy();
    FakeProxy(const FakeProxy&) = delete;
    FakeProxy& operator=(const FakeProxy&) = delete;

    std::uint16_t port() const noexcept { return port_; }
    std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
    // The first line and the headers of each request, as they came.
    std::vector<std::string> requests() const EXCLUDES(mutex_);

private:
    struct Link {
        int client = -1;
        int server = -1;
        std::thread thread;
    };
    void accept_loop();
    void serve(Link& link);
    void answer(Link& link);

    const std::string authorization_;
    int listener_ = -1;
    std::uint16_t port_ = 0;
    mutable Mutex mutex_;
    std::vector<std::string> requests_ GUARDED_BY(mutex_);
    std::list<Link> links_ GUARDED_BY(mutex_);
    bool over_ GUARDED_BY(mutex_) = false;
    std::thread acceptor_;
};

}  // namespace homeostat::kit
