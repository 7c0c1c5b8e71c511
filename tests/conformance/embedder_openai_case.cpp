#include <stdexcept>

#include "reconcilers/embed/openai.hpp"
#include "tests/conformance/embedder_conformance.hpp"
#include "tests/kit/fake_endpoint.hpp"

namespace homeostat {
namespace {

struct World {
    World(const Clock& clock, bool tls) : tracer(nullptr, clock), endpoint({.dimensions = 384, .tls = tls}) {}
    Registry registry;
    Tracer tracer;
    kit::FakeEndpoint endpoint;
};

EmbedderUnderTest make(const EmbedderSurroundings& s, const std::string& encoding, bool tls) {
    const auto world = std::make_shared<World>(s.clock, tls);
    ProviderSpec provider;
    provider.name = "fake";
    provider.kind = "openai";
    provider.endpoint = world->endpoint.url();
    provider.encoding = encoding;
    provider.query_prefix = "query: ";
    if (tls) provider.ca_file = world->endpoint.ca_file();
    std::shared_ptr<const Outbound> outbound;
    if (tls) {
        const std::string secrets = "ca file:" + *provider.ca_file + " " + parse_url(*provider.endpoint)->origin();
        outbound = std::make_shared<const Outbound>(*Outbound::of(secrets, ""));
    }
    auto embedder =
        make_openai_embedder(provider, "test-model", 384, s.io, s.clock, {world->registry, world->tracer}, std::move(outbound));
    if (!embedder) throw std::runtime_error(embedder.error().message);
    return {world, *std::move(embedder)};
}

}  // namespace

EmbedderCase openai_embedder_case() {
    return {"openai", [](const EmbedderSurroundings& s) { return make(s, "base64", false); }};
}

EmbedderCase openai_float_tls_embedder_case() {
    return {"openai_float_tls", [](const EmbedderSurroundings& s) { return make(s, "float", true); }};
}

}  // namespace homeostat
