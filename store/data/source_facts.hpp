// What there is to know of a pipeline's source before it is swept: the columns it uses, what proves the key, and a bounded look
// at the rows. Reads the catalog and at most a few thousand rows, under a time limit of its own. Writes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/data/relation.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct UsedColumn {
    std::string role;   // key, content, metadata, version
    std::string name;
    std::string quoted;
    bool exists = false;
    bool readable = false;
    std::string type;   // "" where it does not exist
    bool not_null = false;
    std::string meant;  // " (did you mean "x"?)" where it does not exist and something is near
};

struct UsedColumns {
    std::string described;   // "view public.articles"; "" = there is no such relation
    bool readable = false;   // something of it
    std::string role;        // that connects
    std::vector<UsedColumn> columns;
};
Result<UsedColumns> read_used_columns(Transaction& tx, const PipelineSpec& spec);

struct KeyCollation {
    std::string column;
    std::string collation;
    bool deterministic = true;
    std::string recorded;  // version it was made with; "" = none
    std::string actual;    // version that the server's libraries have now
};

struct KeyFacts {
    bool primary = false;                      // the key is the primary key
    std::vector<KeyCollation> collations;      // of text columns
    std::vector<std::string> version_columns;  // of the source, whose name and type say that they could serve as version
};
Result<KeyFacts> read_key_facts(Transaction& tx, const PipelineSpec& spec);

struct ContentSample {
    std::int64_t rows = 0;
    std::int64_t empty = 0;
    std::int64_t mean_bytes = 0;
    std::int64_t largest_bytes = 0;
};
struct KeySample {
    std::int64_t rows = 0;
    std::int64_t without_key = 0;
    std::int64_t repeated = 0;  // rows whose key another of them has
};
struct SourceSample {
    std::optional<ContentSample> content;
    std::optional<KeySample> key;
    std::string failure;  // why one of them is absent
};

struct SampleLimits {
    std::int64_t texts = 1'000;
    std::int64_t keys = 10'000;
    std::int64_t timeout_ms = 5'000;
};

// A sample that takes too long is left out and said to be. Other failures of reading rows (a view that divides by zero) too.
Result<SourceSample> sample_source(Transaction& tx, const SourceShape& source, double estimated_rows, const SampleLimits& limits);

}  // namespace homeostat
