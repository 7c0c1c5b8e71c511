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
#include <optional>
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

struct CaptureTrigger {
    std::string relation;  // quoted, schema-qualified
    std::string name;
    std::string function;  // in homeostat_data
    std::string ddl;
};
constexpr int kCaptureEvents = 4;  // each with a trigger of its own: insert, update, delete, truncate

struct CapturePlan {
    std::vector<CapturedRelation> relations;  // empty: nothing of this source can be watched
    std::vector<std::string> table;  // DDL of our own table and its sequences, in order
    std::vector<std::string> functions;  // of the functions and of who owns what; runs again over what is there
    std::vector<CaptureTrigger> triggers;
    std::string digest;  // of table and functions: another one means that they are outdated
    std::string table_digest;  // of the table alone: the same one means that what it has named is kept
    bool by_key = false;  // false: a change only says that something changed
    bool counts = false;  // insertions and deletions are those of documents
    std::int64_t columns = 0;  // of our own table
    std::string none_because;  // where relations is empty
    BlindSpot blind;
};

// Reads the catalog. `spec` as declared, `source` its shape. `beside`: what is searched as well, by the same key.
Result<CapturePlan> plan_capture(Transaction& tx, const PipelineSpec& spec, const SourceShape& source,
                                 const std::optional<PipelineSpec>& beside = std::nullopt);

struct CaptureState {
    bool complete = false;  // every trigger is there, enabled, its function as planned, and they see all that changes
    bool current = false;  // our own table and functions are as planned
    bool table_stands = false;  // the table and its sequences are, and may be written to
    std::string disabled;  // a relation some of whose triggers are switched off
    std::string missing;  // a relation that lacks triggers
    bool set_by_hand = false;  // some are switched off, or on for replicas
    std::string left_over;  // a relation that has triggers and is watched no more: another source, a detached partition
    BlindSpot blind;
    std::string fingerprint;  // of triggers, functions and of the source in the catalog: differs where anything changed one
};
Result<CaptureState> look_at_capture(Transaction& tx, std::int64_t uid, const CapturePlan& plan);

// What cannot be made for lack of rights or of a lock is an Error; nothing is half made. A table that stands keeps what it has
// named (docs/internals/change-feed.md): only the functions are replaced.
Status make_capture_own(Transaction& tx, std::int64_t uid, const CapturePlan& plan, const CaptureState& state);
// One that somebody switched off, or on for replicas, stays as it is. Whether each relation was locked for one of its triggers,
// so that whatever began to write before that has ended.
Result<bool> make_capture_triggers(Transaction& tx, const CapturePlan& plan);
// All functions and with them all triggers, those of relations that are watched no more too. The table keeps what it has named.
Status drop_capture_functions(Transaction& tx, std::int64_t uid);
// Table, functions and, with them, triggers. Nothing to remove is no error.
Status remove_capture(Transaction& tx, std::int64_t uid);

}  // namespace homeostat
