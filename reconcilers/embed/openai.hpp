// The embedder of every OpenAI-compatible endpoint: POST {endpoint}/embeddings.
//
// Vectors are asked for and read as the provider row says (base64 or float; an endpoint that answers in the other form is
// understood). The credential is read from its reference for every request, so a rotated one is taken up at once, and never
// appears in a log, a span or a message. What comes back is validated as a whole. A request of more texts than limits().max_batch
// is the caller's mistake and refused. One span `embeddings {model}` and two histograms a request, named as the OpenTelemetry
// GenAI conventions of 2025 have them.
//
// Safe to call concurrently from any thread; requests run on the executor given.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>
#include <string>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/resource.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/embed/embedder.hpp"
#include "reconcilers/embed/outbound.hpp"

namespace homeostat {

// `model` and `dimensions` are those of the pipeline, already resolved against the provider's defaults. Refuses what can be known
// to be wrong without a call: no endpoint, no model, no dimensions, a credential that is not a reference, a host
// that is not to be asked, an unreadable CA file.
// `clock` and what `telemetry` refers to outlive the embedder. `outbound` says which secrets may go to the endpoint, and whether
// it is asked at all; without one, no secret goes anywhere.
Result<std::unique_ptr<Embedder>> make_openai_embedder(const ProviderSpec& provider, std::string model, std::uint32_t dimensions,
                                                       boost::asio::any_io_executor executor, const Clock& clock,
                                                       Telemetry telemetry, std::shared_ptr<const Outbound> outbound = {});

}  // namespace homeostat
