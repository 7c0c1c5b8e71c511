// Vectors that were paid for, kept by the hash of their text for all replicas (tables kept_vector and vector_scope): the level
// below the cache in memory. Each call is a transaction of its own that waits for no lock longer than a moment: who cannot be
// given a vector here asks for it instead.
//
// Stateless; a Session belongs to one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// What vectors are made under. The database adds who declared the pipeline, and in a pool the canary that its members agree with.
struct VectorScope {
    std::int64_t pipeline = 0;  // uid
    std::string identity;  // all else that decides a vector, but the text
    std::string pool;  // "" = none
    std::string model;
    std::uint32_t dimensions = 0;
    std::vector<std::int64_t> providers;  // uids of those that may have made them
};

struct KeptVector {
    std::string text_hash;
    std::string embedding;  // as in the table
    std::string seal;
};

// By the index of their hash, those that are kept. They count as used.
struct FoundVector {
    std::size_t index = 0;
    std::string embedding;
    std::string seal;
};
Result<std::vector<FoundVector>> find_kept_vectors(Session& session, const VectorScope& scope,
                                                   std::span<const std::string> text_hashes);

// The bytes that were added. What is kept under the same hash already is replaced where it differs.
Result<std::uint64_t> keep_vectors(Session& session, const VectorScope& scope, const std::vector<KeptVector>& vectors);

// Nothing that this provider may have made is found any more.
Status forget_vectors_of(Session& session, std::int64_t provider);

struct KeptBounds {
    std::uint64_t bytes = 0;
    std::chrono::seconds unused{0};  // what was not used for so long goes
    int slices = 8;  // of some hundred rows each, at most; what is left goes the next time
};
// Takes away what nobody has used for too long, what was forgotten, and what was used longest ago where there is too much; how
// many rows. None where another replica is at it.
Result<std::uint64_t> trim_kept_vectors(Session& session, const KeptBounds& bounds);

}  // namespace homeostat
