// What a pass over a pipeline would find and what healing it would take, without writing anything: what `plan` prints.
//
// Works before the first pass (every document is missing) and after an edit of what decides vectors (every document is outdated,
// and is built anew beside what is served). Slices are read in short read-only snapshots, so an observation of a busy source is
// as exact as a sweep's, not as a single snapshot's. A source that cannot be read is an Error, never an empty one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "core/resource.hpp"
#include "reconcilers/factory/plan.hpp"
#include "store/data/drift.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct ObserveSettings {
    bool deep = true;              // chunks are counted, hashed and their vectors looked at; else versions are compared only
    std::int64_t slice = 20'000;   // source rows a slice
    std::size_t show = 0;          // keys kept of each class
    std::size_t sample = 2'000;    // documents of each class whose text is measured; more are scaled up
    std::int64_t prune_floor = 10; // of the controller's settings
};

// The classes as people read them: those of drift, outdated, and what is counted beside them.
enum class Finding : std::uint8_t {
    missing,
    stale,
    moved,
    partial,
    invalid,
    orphaned,
    excess,
    outdated,
    dead_letter,
    unkeyed,
    stray
};
inline constexpr std::size_t kFindings = 11;
std::string_view to_string(Finding f) noexcept;

struct Observation {
    std::string source;                 // "table public.articles"
    std::int32_t revision = 0;          // compared with; 0 = none yet
    std::int64_t source_documents = 0;  // within the declared count
    std::int64_t documents = 0;         // stored
    std::int64_t chunks = 0;
    DriftCounts drift;
    std::int64_t outdated = 0;          // wanted by another revision than any there is
    std::int64_t dead_letters = 0;      // refused for good until they are edited
    std::int64_t unkeyed = 0;           // rows whose key is NULL: they cannot be documents
    std::int64_t strays = 0;            // documents of which only chunks are left; counted up to 10,000
    std::vector<std::string> repairs;   // of view and index
    std::array<std::vector<Key>, kFindings> keys;  // of each finding, at most ObserveSettings::show

    PlanEstimate plan;                  // with warnings
    std::int64_t count(Finding f) const noexcept;
    // Nothing that a pass would change. Dead letters and rows without a key are no work: no pass could heal them.
    bool nothing_to_do() const noexcept;
};

// Documents healed a second in the last runs that were long enough to tell; 0 = not known.
inline constexpr std::int64_t kTellingDocuments = 100;
Result<double> recent_rate(Session& session, std::int64_t uid);

Result<Observation> observe_pipeline(Session& session, const PipelineSpec& declared, const ProviderSpec& provider,
                                     const ObserveSettings& settings, const std::stop_token& stop = {});

}  // namespace homeostat
