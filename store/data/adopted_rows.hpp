// Vectors that somebody else has made, in a relation of the user's: its shape, and its rows by the keys of documents. Only reads,
// by whoever reads the pipeline's source (source_reader.hpp) and under the same rules: what the declarer may not see is not seen,
// and no code of its owner runs with our rights.
//
// Each call begins a read-only transaction of the caller's with use_operators of the shape it is about. Throw StoreFailure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/data/drift.hpp"
#include "store/data/relation.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct AdoptedNames {
    std::string relation;
    std::vector<std::string> key;
    std::string vector;
    std::optional<std::string> chunk, text;
};

struct AdoptedShape {
    SourceShape rows;  // its content is the vector as text
    std::optional<std::string> chunk, text;  // quoted
};
// Errors as of inspect_source; also where the relation is gone or the declarer may not read it any more.
Result<AdoptedShape> inspect_adopted(Transaction& tx, const PipelineSpec& declared, const AdoptedNames& names);

struct AdoptedRow {
    std::optional<std::int64_t> number;
    std::optional<std::string> text;
    std::vector<float> vector;  // empty where there is none
};
// Of each key, in their order; of one key in no order.
std::vector<std::vector<AdoptedRow>> read_adopted(Transaction& tx, const AdoptedShape& shape, const SourceShape& source,
                                                  const std::vector<Key>& keys);

// All rows, and the smallest number of a chunk (0 where chunks have none). Reads the whole relation.
struct AdoptedTotals {
    std::int64_t rows = 0;
    std::int64_t first_chunk = 0;
};
AdoptedTotals count_adopted(Transaction& tx, const AdoptedShape& shape);
// Keys of rows picked at random, each once; as many as there are where there are fewer. Reads the whole relation.
std::vector<Key> sample_adopted(Transaction& tx, const AdoptedShape& shape, std::int64_t n);

// The next keys of the source in their order; none where there are no more.
std::vector<Key> next_keys(Transaction& tx, const SourceShape& source, const std::optional<Key>& after, std::int64_t limit);

// Contents of the source's rows, without any table of ours; nullopt where there is no row. Fails with code AmbiguousKey where two
// rows share a key.
struct SourceText {
    std::string content;
    std::string context;
};
std::vector<std::optional<SourceText>> source_texts(Transaction& tx, const SourceShape& source, const std::vector<Key>& keys);

}  // namespace homeostat
