// What can be said of a pipeline's source before it is swept: how its columns map, what is missing, what will be slow and why,
// and what would help. Facts are read in the caller's transaction, which may be one that is taken back; what they mean is decided
// by pure functions. Writes nothing. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/resource.hpp"
#include "reconcilers/embed/chunker_program.hpp"
#include "store/data/lineage.hpp"
#include "store/data/relation.hpp"
#include "store/data/source_facts.hpp"
#include "store/inspect/controller_rights.hpp"
#include "store/inspect/plan_check.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

enum class Severity : std::uint8_t { note, warning, error };
std::string_view to_string(Severity s) noexcept;

struct Remark {
    Severity severity = Severity::note;
    std::string code;  // a CamelCase word of docs/validate.md
    std::string sentence;
    std::vector<std::string> proposal;  // lines to run or to declare, as they stand; empty = the sentence says it
};

// A table whose changes name documents, as the declaration takes it.
struct CaptureMapping {
    std::string table;  // quoted, with its schema
    std::vector<std::pair<std::string, std::string>> key;  // column of the source: column of the table
};

struct SourceFacts {
    PipelineSpec spec;
    UsedColumns used;
    ControllerRights runs;  // the role whose rights are judged
    SourceShape shape;
    Lineage lineage;
    KeyFacts key;
    SourcePlans plans;
    SourceSample sample;
    std::int64_t slice = 20'000;  // keys compared by one statement of a sweep
};

struct SourceReport {
    SourceFacts facts;
    bool complete = false;  // false: the source or a column is missing, and nothing more was asked
    std::vector<CaptureMapping> capture;  // of a view
    std::vector<Remark> remarks;  // errors first, then warnings, then notes

    std::size_t count(Severity s) const noexcept;
};

struct ValidateSettings {
    std::int64_t slice = 20'000;
    SampleLimits sample;
    std::vector<ChunkerProgram> chunkers;  // as registered
};

// An Error only where the question itself could not be asked; what is wrong with the source is a remark.
Result<SourceReport> validate_source(Transaction& tx, const PipelineSpec& spec, const ValidateSettings& settings);

// The judgements, in the order in which they are asked. Pure.
std::vector<Remark> judge_columns(const PipelineSpec& spec, const UsedColumns& used);
// `f.used` of who asks, `f.runs` of who will read.
std::vector<Remark> judge_rights(const SourceFacts& f);
std::vector<Remark> judge_key(const SourceFacts& facts);
std::vector<Remark> judge_version(const SourceFacts& facts);
std::vector<Remark> judge_content(const SourceFacts& facts);
std::vector<Remark> judge_plans(const SourceFacts& facts);
std::vector<Remark> judge_capture(const SourceFacts& facts);
std::vector<CaptureMapping> capture_mappings(const SourceFacts& facts);

// As in a statement, always in quotes.
std::string quoted_name(std::string_view name);
// CREATE MATERIALIZED VIEW of what the pipeline uses of its source, with the index its sweeps need.
std::vector<std::string> materialisation(const SourceFacts& facts);

}  // namespace homeostat
