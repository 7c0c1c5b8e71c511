// What must be true of a pipeline that has come to rest, asked of the database itself and independently of the store.
//
// Each function answers with sentences, one for each thing that is not as it must be; an empty list is a pass. The invariants
// are those of the docs: I1 converged, I2 one commit a batch, I4 vectors match their documents, I5 nothing lost, I8 generations.
#pragma once

#include <string>
#include <vector>

#include "tests/kit/cluster.hpp"
#include "tests/kit/process.hpp"

namespace homeostat::kit {

// The tables of a pipeline's served revision; of the newest one where none is served yet.
struct Tables {
    std::string uid;
    std::string document;
    std::string chunk;
    std::string journal;
    std::string view;
    int keys = 1;  // key columns
    std::string key(const std::string& alias) const;  // the key as one text
};
Tables tables_of(Database& db, const std::string& pipeline);

// `wanted` selects what should be embedded: (key text, content text); several key columns are joined by '|'.
std::vector<std::string> broken_invariants(Database& db, const std::string& pipeline, const std::string& wanted);

// Builds the same pipeline once more from nothing, beside it, and compares everything that is served: key, chunk, text, offsets,
// vector. The strongest statement that what was healed is what would have been built.
std::vector<std::string> unlike_built_anew(Database& db, const Program& program, const std::string& pipeline);

// "missing 3, stale 1", as the status has it.
std::string drift_of(Database& db, const std::string& pipeline);
std::string condition(Database& db, const std::string& pipeline, const std::string& type, const std::string& column = "status");

}  // namespace homeostat::kit
