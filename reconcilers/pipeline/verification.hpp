// The gate at the end of a run: some of its texts, and some that were there before, are embedded again and compared with what is
// stored (inspect/audit.hpp). Blocks for as long as one request takes.
//
// Where they come back otherwise, nothing that the run wrote is trusted: none of its vectors is found by a search any more, what
// caches keep of that provider is forgotten, the revision it was filling does not take over, and the pipeline is suspended until
// a person has looked. All of that is one transaction under the lease. Where the provider cannot be asked, a revision that is
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
// `distrusted`: documents that are to be embedded again, where it fails.
Status verify_run(Pool& writes, const AskAgain& ask, const VerifiedRun& run, std::int64_t& distrusted, const Context& context);

// Why the pipeline was suspended, where a run of it was found wrong.
Result<std::optional<Error>> read_failed_verification(Session& session, const PipelineSpec& pipeline);

}  // namespace homeostat
