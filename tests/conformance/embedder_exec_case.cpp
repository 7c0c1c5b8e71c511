#include <stdexcept>

#include "reconcilers/embed/exec.hpp"
#include "tests/conformance/embedder_conformance.hpp"
#include "tests/kit/io_thread.hpp"

namespace homeostat {
namespace {

// A thread of its own: programs that wait for the next request are watched, and the suite runs its own executor until nothing is.
struct World {
    explicit World(const Clock& clock) : tracer(nullptr, clock) {}
    Registry registry;
    Tracer tracer;
    kit::IoThread io;
};

}  // namespace

EmbedderCase exec_embedder_case() {
    return {"exec", [](const EmbedderSurroundings& s) {
                const auto world = std::make_shared<World>(s.clock);
                ProviderSpec provider;
                provider.name = "program";
                provider.kind = "exec";
                provider.command = {HOMEOSTAT_EXEC_PROGRAM, "good"};
                provider.max_in_flight = 3;
                provider.query_prefix = "query: ";
                auto embedder = make_exec_embedder(provider, "test-model", 64, world->io.executor(), s.clock,
                                                   {world->registry, world->tracer},
                                                   {.rules = {.allow = {HOMEOSTAT_EXEC_PROGRAM}, .read = {}, .environment = {}}});
                if (!embedder) throw std::runtime_error(embedder.error().message);
                return EmbedderUnderTest{world, *std::move(embedder)};
            }};
}

}  // namespace homeostat
