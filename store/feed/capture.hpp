// The change feed's near end: triggers on a source that name what changed, in a table of the pipeline's own.
//
// One statement of a writer costs one insert-select; a notification goes out only where nobody is looking already, and nothing is
// named where more waits than is worth naming (store/feed/capture_functions.hpp). Changes are noticed at statement level through
// transition tables, on every table that inherits from the source, because each fires its own triggers. What the triggers compare
// is the text that documents are made of, byte for byte, so that no collation and no operator of an extension decides, and no
// type can make a writer's statement fail.
//
// Triggers need the TRIGGER right on the source and nothing else; their functions belong to the controller and run with its
// rights. Whoever drops the functions drops the triggers. Everything here throws StoreFailure inside and returns Result.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/data/relation.hpp"
#include "store/feed/capture_functions.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// A relation whose statements are watched.
struct CapturedRelation {
    std::string relation;  // quoted, schema-qualified
    std::string described;  // "table public.articles"
    std::string function;  // name stem of its functions in homeostat_data, unquoted and harmless
    bool may_trigger = false;  // we may create triggers on it
};

// Why no triggers of ours can name all that changes.
enum class CaptureBlind : std::uint8_t { none, subscribed, foreign, filtered };
struct BlindSpot {
    CaptureBlind why = CaptureBlind::none;
    std::string described;  // the relation it is about
};

struct CapturePlan {
    std::vector<CapturedRelation> relations;  // empty: nothing of this source can be watched
    std::vector<std::string> own;  // DDL of our own table and functions, in order
    std::vector<std::string> triggers;  // DDL of the triggers
    std::string digest;  // of what the functions do: another one means they are outdated
    bool by_key = false;  // false: a change only says that something changed
    bool counts = false;  // insertions and deletions are those of documents
    std::int64_t columns = 0;  // of our own table
    std::string none_because;  // where relations is empty
    BlindSpot blind;
};

// Reads the catalog. `spec` as declared, `source` its shape.
Result<CapturePlan> plan_capture(Transaction& tx, const PipelineSpec& spec, const SourceShape& source);

struct CaptureState {
    bool complete = false;  // every trigger is there, enabled, its function as planned, and they see all that changes
    bool current = false;  // our own table and functions are as planned
    std::string disabled;  // a relation some of whose triggers are switched off
    std::string missing;  // a relation that lacks triggers
    BlindSpot blind;
    std::string fingerprint;  // of triggers, functions and of the source in the catalog: differs where anything changed one
};
Result<CaptureState> look_at_capture(Transaction& tx, std::int64_t uid, const CapturePlan& plan);

// What cannot be made for lack of rights or of a lock is an Error; nothing is half made.
Status make_capture_tables(Transaction& tx, const CapturePlan& plan);
Status make_capture_triggers(Transaction& tx, const CapturePlan& plan);
// Table, functions and, with them, triggers. Nothing to remove is no error.
Status remove_capture(Transaction& tx, std::int64_t uid);

}  // namespace homeostat
