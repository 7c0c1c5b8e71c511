// What a batch needs to know of its pipeline: spec, provider, source shape, revision, chunker, embedder; read once a generation
// and shared. Safe from any thread; a look-up may read the catalog on the caller's thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include "core/sync.hpp"
#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/factory/gateway.hpp"
#include "store/pool.hpp"
#include "store/relation.hpp"
#include "store/resources.hpp"
#include "store/revisions.hpp"

namespace homeostat {

struct TargetInfo {
    PipelineSpec spec;       // with key, content and template of the revision, which may be older than the declared ones
    ProviderSpec provider;
    std::vector<ProviderSpec> peers;  // of its pool
    SourceShape source;
    Revision revision;
    VectorExtension vectors;
    std::unique_ptr<Chunker> chunker;
};

class Targets {
public:
    // An entry is read anew when it is this old, so that an edited provider row is taken up.
    static constexpr std::chrono::seconds kFresh{5};

    Targets(Pool& reads, const Clock& clock, std::size_t limit) : reads_(reads), clock_(clock), limit_(limit) {}

    Result<std::shared_ptr<const TargetInfo>> get(std::int64_t uid, std::int64_t generation, std::int32_t revision,
                                                  const Context& context) EXCLUDES(mutex_);
    // After a statement failed because a table, column or right is gone, what is remembered is wrong.
    void forget(std::int64_t uid) EXCLUDES(mutex_);

private:
    Result<std::shared_ptr<const TargetInfo>> load(std::int64_t uid, std::int32_t revision, const Context& context);

    struct Entry {
        std::shared_ptr<const TargetInfo> info;
        SteadyTime read_at;
    };

    Pool& reads_;
    const Clock& clock_;
    const std::size_t limit_;
    Mutex mutex_;
    std::map<std::tuple<std::int64_t, std::int64_t, std::int32_t>, Entry> known_ GUARDED_BY(mutex_);
};

// The spec under which a revision is healed: the declared one with what decides vectors taken from the revision.
PipelineSpec spec_of_revision(const PipelineSpec& declared, const RevisionSettings& settings);
ChunkSettings chunk_settings(const RevisionSettings& settings);

}  // namespace homeostat
