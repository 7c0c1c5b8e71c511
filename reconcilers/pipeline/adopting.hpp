// Takes over vectors that somebody else has made, as homeostat.adoption asks for it (docs/adopt.md).
//
// First the audit: texts picked at random from what could be taken over are embedded again and compared, and nothing is written
// where they come back otherwise. Then steps in the order of the source's keys, a transaction each: whoever takes it up after a
// crash goes on behind the last that was committed, and the end is the same. A step reads the source, cuts it, reads the vectors
// of those keys, and writes what belongs together (adopted_match.hpp) as a heal would, with the hashes of what it has read; a
// document that somebody else has written meanwhile is left as that one wrote it. docs/internals/adopting.md says why nothing
// untrue is stored.
#pragma once

#include <optional>
#include <string>

#include "core/clock.hpp"
#include "core/context.hpp"
#include "core/resource.hpp"
#include "reconcilers/pipeline/adopted_match.hpp"
#include "reconcilers/pipeline/verification.hpp"
#include "store/control/adoptions.hpp"
#include "store/control/runs.hpp"
#include "store/data/relation.hpp"
#include "store/data/revisions.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

// Of an error that will not pass by itself: what was asked for is refused with it. The others are waited for.
bool refuses_adoption(const Error& error) noexcept;

struct AdoptionOf {
    const PipelineSpec& declared;
    const ProviderSpec& provider;
    RevisionSettings settings;  // that decide the vectors
};

// "" where all come back as they are stored there, which is noted; else why not. Blocks for as long as one request takes. Code
// 'AdoptionRefused' of class invalid: nothing there could be taken over.
Result<std::string> audit_adoption(Session& session, const AskAgain& ask, const AdoptionOf& of, AdoptionRequest& request,
                                   const Context& context);

struct AdoptionInto {
    const PipelineSpec& declared;
    const SourceShape& source;
    const Revision& revision;
    const VectorExtension& vectors;
    std::int64_t run_id = 0;
};
// Until the context's deadline, under the pipeline's lease; whether the last document of the source was looked at. `request`
// follows.
Result<bool> adopt_some(Session& session, const Clock& clock, const AdoptionInto& into, AdoptionRequest& request,
                        const Context& context);

// "adopted 12 documents (30 chunks) of public.old; …"
std::string adoption_text(const AdoptionRequest& request);

}  // namespace homeostat
