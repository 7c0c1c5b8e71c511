// What a batch needs to know of its pipeline: spec, provider, source shape, revision, chunker; looked up once and shared.
//
// A look-up that is needed by many is made once. What is older than kFresh is believed after a look at its mark
// (target_mark.hpp): whoever is the first to ask for something old looks at all that was asked for since the last look, with one
// statement; so thousands of busy pipelines cost one statement in kFresh, and idle ones nothing. Safe from any thread; nobody
// blocks.
#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/sync.hpp"
#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/gateway/cache.hpp"
#include "reconcilers/gateway/gateway.hpp"
#include "store/control/providers.hpp"
#include "store/control/resources.hpp"
#include "store/data/relation.hpp"
#include "store/data/revisions.hpp"
#include "store/data/target_mark.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

struct TargetInfo {
    PipelineSpec spec;       // with key, content and template of the revision, which may be older than the declared ones
    ProviderSpec provider;
    std::vector<ProviderSpec> peers;  // of its pool
    SourceShape source;
    Revision revision;
    VectorExtension vectors;
    std::unique_ptr<Chunker> chunker;  // none where a program cuts
    std::string mark;        // as of before anything of it was read
    std::optional<Error> unprovided;  // why nobody makes its vectors any more; there is no provider then, and nothing is embedded
};

// The code where nobody makes the vectors of a revision any more.
inline constexpr std::string_view kRevisionOutdated = "RevisionOutdated";
// Who may embed for a revision that is not the one that is declared now, or not yet: never one that makes other vectors.
Result<ProviderSpec> provider_of_revision(Session& session, const PipelineSpec& declared, const Revision& revision);

// Whether what was read of the provider is not of the declaration `now`; no where it is another provider altogether.
bool other_provider(const ProviderSpec& read, const DeclaredProvider& now) noexcept;

class Targets {
public:
    // How long an edited provider or an altered source may go unnoticed.
    static constexpr std::chrono::seconds kFresh{5};

    using Info = std::shared_ptr<const TargetInfo>;

    // `db`: an executor whose threads may block. `reads`, `clock` and `metrics` outlive it.
    Targets(Pool& reads, boost::asio::any_io_executor db, const Clock& clock, Registry& metrics, std::size_t bytes = 64 << 20);

    boost::asio::awaitable<Result<Info>> get(std::int64_t uid, std::int64_t generation, std::int32_t revision, Context context)
        EXCLUDES(mutex_);
    // After a statement failed because a table, column or right is gone, what is remembered is wrong.
    void forget(std::int64_t uid);
    // Whether what `info` was read from has changed since; blocks. No where it cannot be told.
    bool outdated(const TargetInfo& info, const Context& context);

private:
    struct Entry {
        Info info;
        std::shared_ptr<std::atomic<SteadyTime>> checked;
    };
    using EntryPtr = std::shared_ptr<const Entry>;

    // On the executor that may block; the coroutine goes on where it was.
    boost::asio::awaitable<Result<Entry>> load_elsewhere(std::int64_t uid, std::int32_t revision, Context context);
    boost::asio::awaitable<Result<bool>> look_elsewhere(Context context);
    Result<Entry> load(std::int64_t uid, std::int32_t revision, const Context& context);
    Result<Info> read(Session& session, std::int64_t uid, std::int32_t revision, std::string mark);
    Result<bool> look(const Context& context) EXCLUDES(mutex_);

    Pool& reads_;
    const boost::asio::any_io_executor db_;
    const Clock& clock_;
    Cache<Entry> cache_;
    Cache<bool> looks_;  // keeps nothing: so that one looks for all who would
    Mutex mutex_;
    std::map<std::string, std::weak_ptr<const Entry>> used_ GUARDED_BY(mutex_);  // since the last look
};

// The revision that is pinned, whatever is declared; null where none is, or where it is gone.
const Revision* pinned_revision(const PipelineSpec& declared, const std::vector<Revision>& revisions);
// What decides the vectors that are wanted: as it is declared, or as the pinned revision has it.
RevisionSettings wanted_settings(const PipelineSpec& declared, const ProviderSpec& provider,
                                 const std::vector<Revision>& revisions);

// The spec under which a revision is healed: the declared one with what decides vectors taken from the revision.
PipelineSpec spec_of_revision(const PipelineSpec& declared, const RevisionSettings& settings);
ChunkSettings chunk_settings(const RevisionSettings& settings);

}  // namespace homeostat
