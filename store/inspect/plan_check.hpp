// What the planner means to do with the statements by which a source is swept and read, asked with EXPLAIN and never by running
// them. Plans are generic ones, so no value of the source's is needed and an empty one can be asked about too.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/data/relation.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct PlanStep {
    std::string what;         // node type: Seq Scan, Sort, ...
    std::string schema;       // of a scan
    std::string relation;
    std::string index;
    double rows = 0;          // it gives
    double input = 0;         // of the step below it
    bool sought = false;      // an index finds its rows by a condition
    bool by_parameter = false;  // and that condition has the key of the statement in it
};

// first page, next page: the key that ends a slice; compare: key and version (or hash) of a slice; look-up: documents of a batch.
enum class SourceStatement : std::uint8_t { first_page, next_page, compare, look_up };
inline constexpr std::size_t kSourceStatements = 4;
std::string_view to_string(SourceStatement s) noexcept;

struct StatementPlan {
    SourceStatement statement = SourceStatement::first_page;
    double cost = 0;
    std::vector<PlanStep> steps;  // from the top
};

struct SourcePlans {
    double rows = 0;  // of the whole source, as the planner estimates
    std::vector<StatementPlan> natural;  // in the order of the enumeration
    std::vector<StatementPlan> indexed;  // the same where reading and sorting whole relations is priced out
};

// `slice` rows a page. Settings of the transaction are as before afterwards.
Result<SourcePlans> explain_source(Transaction& tx, const SourceShape& source, std::int64_t slice);

}  // namespace homeostat
