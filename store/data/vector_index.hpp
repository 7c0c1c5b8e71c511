// The vector index of a revision, as the pipeline declares it. Safe from any thread, as far as the session is the caller's.
#pragma once

#include "store/data/revisions.hpp"

namespace homeostat {

enum class IndexState : std::uint8_t { absent, invalid, valid, unwanted };
Result<IndexState> index_state(Session& session, const PipelineSpec& spec, const Revision& revision);

// In place, holding writers of the chunk table off for some milliseconds, where there are few vectors: a build beside them waits
// for every transaction of the database. False where there are more, or no index is declared; none must be there already.
Result<bool> build_small_index(Session& session, const PipelineSpec& spec, const Revision& revision,
                               const VectorExtension& vectors);
// CONCURRENTLY, outside a transaction, without a statement timeout; drops an invalid leftover first. May take long.
Status build_index(Session& session, const PipelineSpec& spec, const Revision& revision, const VectorExtension& vectors);

}  // namespace homeostat
