// Whether vectors that somebody else has made belong to a document as it is now. Pure.
//
// A vector is taken over only for the text that it is claimed to be of: a chunk of the source's content, as it was read in this
// step and as the pipeline's chunker cuts it. All chunks of a document, or none of it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "reconcilers/chunk/chunker.hpp"
#include "store/control/adoptions.hpp"
#include "store/data/adopted_rows.hpp"
#include "store/data/revisions.hpp"

namespace homeostat {

struct AdoptedForm {
    bool numbered = false;          // rows say which chunk they are of; else one is of the whole document
    bool has_text = false;          // and of which text
    std::int64_t first_chunk = 0;   // the number of a document's first chunk
    std::uint32_t dimensions = 0;
    VectorType type = VectorType::vector;
};

struct AdoptedMatch {
    std::vector<const float*> vectors;  // of each chunk, in their order; point into the rows
    std::optional<LeftBehind> left;     // why it is not adopted; there are no vectors then
};
AdoptedMatch match_document(const std::vector<Chunk>& chunks, const std::vector<AdoptedRow>& rows, const AdoptedForm& form);

}  // namespace homeostat
