// What is told of one embeddings operation, however many requests it takes and of whichever provider of a pool: the span
// `embeddings {model}` and two histograms, as the OpenTelemetry conventions for generative AI have them
// (open-telemetry/semantic-conventions-genai, docs/gen-ai/client-embeddings.md, in development; spelt for Prometheus). It begins
// with its first request: what is waited for before that (a free slot, a rate) is not the provider's. Belongs to one coroutine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/context.hpp"
#include "core/resource.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/embed/embedder.hpp"

namespace homeostat {

class EmbedOperation {
public:
    // All outlive it. `older_names`: the histograms also go by the names that they had before.
    EmbedOperation(const Telemetry& telemetry, const Clock& clock, bool older_names)
        : telemetry_(telemetry), clock_(clock), older_names_(older_names) {}

    // Others whose texts go with it. Before the first request.
    void link(const SpanContext& other) { links_.push_back(other); }
    // A request is about to be sent to this provider; returns what is carried by it.
    Context request(const ProviderSpec& provider, const std::string& model, std::uint32_t dimensions, const Context& context);
    // How it ended; nothing where no request was sent.
    void end(const Result<Embeddings>& answer);

private:
    void measure(double seconds, const Result<Embeddings>& answer) const;

    const Telemetry& telemetry_;
    const Clock& clock_;
    const bool older_names_;
    std::vector<SpanContext> links_;
    Span span_;
    SteadyTime began_{};
    std::int64_t requests_ = 0;
    // Of the last request.
    std::string service_;
    std::string model_;
    std::string address_;
    std::int64_t port_ = 0;
};

// gen_ai.provider.name: the well-known one of the endpoint's host, else the provider's name.
std::string provider_service(const ProviderSpec& provider);

}  // namespace homeostat
