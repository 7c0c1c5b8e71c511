// The fake endpoint as a program of its own, for measurements and for tests that run the real binary. Prints its port (and, with
// --tls, the CA file) and serves until SIGINT or SIGTERM. GET /stats tells the counts.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "tests/kit/fake_endpoint.hpp"

int main(int argc, char** argv) {
    homeostat::kit::FakeEndpointOptions options;
    options.keep_requests = 0;
    std::int64_t delay_ms = 0;
    CLI::App app("A fake OpenAI-compatible embeddings endpoint");
    app.add_option("--port", options.port, "port to listen on; 0 lets the system choose");
    app.add_option("--dimensions", options.dimensions, "width of vectors where the request asks for none");
    app.add_option("--delay-ms", delay_ms, "time every answer takes");
    app.add_flag("--tls", options.tls, "speak HTTPS with a certificate made now");
    CLI11_PARSE(app, argc, argv);
    options.delay = std::chrono::milliseconds(delay_ms);

    // Blocked before any thread is made, so that only the wait below gets them.
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    const homeostat::kit::FakeEndpoint endpoint(options);
    std::printf("%u\n", unsigned{endpoint.port()});
    if (options.tls) std::printf("%s\n", endpoint.ca_file().c_str());
    std::fflush(stdout);
    int got = 0;
    ::sigwait(&set, &got);
    std::fprintf(stderr, "%llu requests, %llu texts\n", static_cast<unsigned long long>(endpoint.calls()),
                 static_cast<unsigned long long>(endpoint.texts()));
    return 0;
}
