#include "reconcilers/factory/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "reconcilers/embed/local_model.hpp"

namespace homeostat {

namespace {

constexpr std::array kOrder{DriftClass::missing, DriftClass::stale, DriftClass::partial,
                            DriftClass::invalid, DriftClass::moved, DriftClass::touched};

// About four bytes of Latin text a token: the estimate of reconcilers/chunk, applied to a whole corpus.
constexpr double kBytesPerToken = 4.0;

// Where a pipeline has no history yet: what a remote endpoint takes for a request.
constexpr double kAssumedRequestSeconds = 0.25;

// Cuts are chosen by content, so that chunks come out about so full.
constexpr double kChunkFill = 0.6;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return b == 0 ? 0 : (a + b - 1) / b; }

}  // namespace

std::int32_t batch_priority(DriftClass cls, const PlanLimits& limits) {
    const auto place = std::find(kOrder.begin(), kOrder.end(), cls);
    const auto value = static_cast<std::int32_t>(kOrder.end() - place);
    return (limits.emergency ? 1'000'000 : 0) + limits.priority * 100 + (limits.from_feed ? 50 : 0) + value;
}

std::uint32_t batch_documents(const EmbedderLimits& provider, std::uint32_t most) {
    return std::clamp<std::uint32_t>(provider.max_batch, 16, std::max<std::uint32_t>(most, 16));
}

std::vector<PlannedBatch> plan_batches(const std::vector<DriftItem>& items, const PlanLimits& limits) {
    std::vector<PlannedBatch> out;
    for (const DriftClass cls : kOrder) {
        if (limits.emergency && cls != DriftClass::missing) continue;
        const BatchKind kind = cls == DriftClass::moved || cls == DriftClass::touched ? BatchKind::move : BatchKind::heal;
        PlannedBatch* open = nullptr;
        for (const DriftItem& item : items) {
            if (item.cls != cls) continue;
            if (open == nullptr || open->keys.size() >= limits.documents) {
                open = &out.emplace_back(PlannedBatch{kind, cls, batch_priority(cls, limits), {}});
            }
            open->keys.push_back(item.key);
        }
    }
    return out;
}

std::string_view to_string(Strategy s) noexcept {
    switch (s) {
        case Strategy::nothing: return "nothing to do";
        case Strategy::sequential: return "sequential";
        case Strategy::parallel: return "parallel";
    }
    return "";
}

PlanEstimate estimate_plan(const PlanInput& in) {
    PlanEstimate e;
    e.documents = in.drift.to_embed();
    e.tokens = static_cast<std::int64_t>(static_cast<double>(in.bytes_to_embed) / kBytesPerToken);
    e.chunks = e.documents;
    // A document that fits is one chunk; a longer one is cut.
    if (in.chunk_tokens > 0 && e.tokens > e.documents * in.chunk_tokens) {
        const double stride =
            kChunkFill * std::max(1.0, static_cast<double>(in.chunk_tokens) - static_cast<double>(in.chunk_overlap_tokens));
        e.chunks = std::max(e.documents, static_cast<std::int64_t>(std::ceil(static_cast<double>(e.tokens) / stride)));
        // What overlaps is embedded twice.
        e.tokens += (e.chunks - e.documents) * in.chunk_overlap_tokens;
    }
    e.requests = divide_up(e.chunks, std::max<std::uint32_t>(in.provider.max_batch, 1));
    const std::uint32_t width = std::max<std::uint32_t>(in.provider.max_in_flight, 1);
    e.strategy = in.drift.total() == 0 ? Strategy::nothing : e.requests <= 2 ? Strategy::sequential : Strategy::parallel;
    e.assumed = in.documents_per_second <= 0;
    e.minutes = in.documents_per_second > 0 ? static_cast<double>(e.documents) / in.documents_per_second / 60
                                            : static_cast<double>(e.requests) * kAssumedRequestSeconds /
                                                  (e.strategy == Strategy::parallel ? width : 1) / 60;
    e.price = static_cast<double>(e.tokens) / 1e6 * in.provider.price_per_million_tokens;
    const std::int64_t prunes = in.drift.orphaned + in.drift.excess;
    if (in.max_prune >= 0 && prunes > in.max_prune) {
        e.warnings.push_back(
            fmt::format("{} deletions are wanted but the brakes let {} go within the hour", prunes, in.max_prune));
    }
    if (std::string cut = cut_text(in.chunk_tokens, in.provider.max_text_tokens, in.model); !cut.empty())
        e.warnings.push_back(std::move(cut));
    return e;
}

std::uint32_t model_reads(const ProviderSpec& provider) {
    return provider.max_text_tokens.value_or(provider.kind == "local" ? static_cast<std::uint32_t>(LocalModel::kMaxTokens) : 0);
}

std::uint32_t chunk_tokens(const PipelineSpec& pipeline) {
    if (pipeline.chunker == "whole") return 0;
    return std::max<std::uint32_t>(1, pipeline.chunk_size / (pipeline.chunk_unit == "characters" ? 4 : 1));
}

std::string cut_text(std::uint32_t chunk_tokens, std::uint32_t reads, std::string_view model) {
    if (reads == 0 || chunk_tokens <= reads) return "";
    return fmt::format("chunks of {} tokens are larger than model \"{}\" reads ({}): the rest of each is not embedded",
                       chunk_tokens, model, reads);
}

}  // namespace homeostat
