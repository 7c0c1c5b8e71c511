// The gate at the end of a run: some of its texts, and some that were there before, are embedded again and compared with what is
// stored (inspect/audit.hpp). Blocks for as long as one request takes.
//
// Where they come back otherwise, nothing that the run wrote is trusted. The run is rolled back to its checkpoint: that is asked
// for here, and the pipeline pinned, in the transaction that has the verdict; the passes that follow carry it out
// (rolling_back.hpp). Of a revision that is being filled, which does not take over then, and where the checkpoint cannot be gone
// back to, none of the run's vectors is found by a search any more, and the pipeline is suspended. Either way it stays so until a
// person has looked, and what caches keep of that provider is forgotten. Where the provider cannot be asked, a revision that is
// served stays so unverified; one that is to take over waits.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.hpp"
#include "core/resource.hpp"
#include "reconcilers/gateway/gateway.hpp"
#include "store/data/revisions.hpp"
#include "store/data/vector_sample.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

// The code of the error that the run ends with.
inline constexpr std::string_view kVerificationFailed = "VerificationFailed";

// Asks the provider itself, past all caches; blocks.
using AskAgain = std::function<Result<Embedded>(EmbedOrder order, const std::vector<std::string>& texts, const Context& context)>;

// Texts of a run that embedded so many. Where nothing is declared: eight of a remote provider's run of a thousand texts or more,
// so that verifying costs less than one part in a hundred.
std::size_t sample_of(const PipelineSpec& pipeline, const ProviderSpec& provider, std::int64_t embedded) noexcept;

// Without those that the provider refuses now, which says nothing about their vectors; they leave `sample` too.
Embeddings answered_texts(Embedded again, std::vector<SampledChunk>& sample);

struct VerifiedRun {
    const PipelineSpec& pipeline;
    const ProviderSpec& provider;
    const Revision& revision;
    std::int64_t run_id = 0;
    std::int64_t embedded = 0;  // texts
};
// What becomes of a run that is found wrong.
struct Condemned {
    bool undone = false;  // it is to be rolled back, by the next pass
    std::int64_t distrusted = 0;  // where not: documents that are to be embedded again
};
Status verify_run(Pool& writes, const AskAgain& ask, const VerifiedRun& run, Condemned& condemned, const Context& context);

// Why the pipeline was suspended, where a run of it was found wrong.
Result<std::optional<Error>> read_failed_verification(Session& session, const PipelineSpec& pipeline);

}  // namespace homeostat
