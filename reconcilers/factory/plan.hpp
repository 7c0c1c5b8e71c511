// Planning: drift in, batches out. Pure and printable; nothing here reads a clock, a database or a provider.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/resource.hpp"
#include "reconcilers/embed/embedder.hpp"
#include "store/control/batches.hpp"
#include "store/data/drift.hpp"

namespace homeostat {

struct PlanLimits {
    std::uint32_t documents = 128;  // of a batch
    std::int32_t priority = 0;      // of the pipeline
    bool emergency = false;         // coverage first: missing documents only
    bool from_feed = false;         // somebody has just written them: before all that a sweep finds of the same pipeline
};

// Batches of one class each, most valuable classes first, in key order within a class. Orphaned and excess documents are not in
// them: those go the way of prune candidates. Touched documents (same content, other version) travel with moved ones.
std::vector<PlannedBatch> plan_batches(const std::vector<DriftItem>& items, const PlanLimits& limits);

// Claims of a class stand in this order; the pipeline's own priority outweighs it.
std::int32_t batch_priority(DriftClass cls, const PlanLimits& limits);

// How many documents a batch should hold so that its texts fill whole requests, between 16 and `most`.
std::uint32_t batch_documents(const EmbedderLimits& provider, std::uint32_t most);

enum class Strategy : std::uint8_t { nothing, sequential, parallel };
std::string_view to_string(Strategy s) noexcept;

struct PlanInput {
    DriftCounts drift;
    std::int64_t bytes_to_embed = 0;      // of the documents to embed; measured or scaled up from a sample
    std::uint32_t chunk_tokens = 400;     // size of a chunk in tokens; 0 = whole documents
    std::uint32_t chunk_overlap_tokens = 0;
    EmbedderLimits provider;
    double documents_per_second = 0;      // of this pipeline lately; 0 = not known, then an assumption per request is used
    std::int64_t max_prune = -1;          // what the brakes would let go; -1 = no brake in force
    std::string model;
};

struct PlanEstimate {
    Strategy strategy = Strategy::nothing;
    std::int64_t documents = 0;  // to embed
    std::int64_t chunks = 0;
    std::int64_t tokens = 0;
    std::int64_t requests = 0;
    double minutes = 0;
    bool assumed = false;        // the minutes follow from what requests are assumed to take, not from runs
    double price = 0;            // in the currency of the provider row
    std::vector<std::string> warnings;
};
PlanEstimate estimate_plan(const PlanInput& input);

// How many tokens of a text the provider's model reads; 0 = not known.
std::uint32_t model_reads(const ProviderSpec& provider);
// How many a chunk may have; 0 = whole documents.
std::uint32_t chunk_tokens(const PipelineSpec& pipeline);
// That a part of each chunk is not embedded, because it is larger than what the model reads; "" where all is, or nothing is
// known.
std::string cut_text(std::uint32_t chunk_tokens, std::uint32_t reads, std::string_view model);

}  // namespace homeostat
