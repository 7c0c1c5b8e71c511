// Traces that are kept in the database (homeostat.trace_part, homeostat.trace_batch): written by whoever keeps them, read by
// whoever draws them.
//
// What is written is bounded: of each pipeline the newest traces stay, so many of runs, ten times as many of edits, and all of
// them together in so many bytes. No key of a document that is to be erased, or was within the last hour, is written: a writer
// holds the pipeline's row as an erasure does, and looks after that.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/data/drift.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// Some spans of one trace.
struct TracePart {
    std::int64_t uid = 0;  // of the pipeline
    std::string trace_id;
    std::int64_t run_id = 0;  // 0: of edits
    WallTime first{};
    WallTime last{};
    std::int32_t spans = 0;
    std::int32_t dropped = 0;  // left out since the last part
    std::string body;          // a JSON list, as the table's comment has it
};
// Which documents a batch was about.
struct TraceBatch {
    std::int64_t uid = 0;
    std::string trace_id;
    std::string span_id;
    std::int64_t batch_id = 0;
    std::int32_t revision = 0;
    WallTime at{};
    std::vector<Key> keys;
};
struct TraceBounds {
    std::int64_t traces = 20;  // of runs, of a pipeline
    std::int64_t bytes = 8 << 20;
};
// In one transaction; those of pipelines that are gone are left out.
Status write_traces(Session& session, const std::string& replica, const std::vector<TracePart>& parts,
                    const std::vector<TraceBatch>& batches, const TraceBounds& bounds);

struct KeptTrace {
    std::int64_t uid = 0;
    std::string pipeline;
    std::string trace_id;
    std::int64_t run_id = 0;
    WallTime first{};
    WallTime last{};
    std::int64_t spans = 0;
    std::int64_t dropped = 0;
};
// Those that may be seen by whoever asks, the newest first: of a pipeline, of a run, or the one of an id.
struct TraceWanted {
    std::optional<std::int64_t> uid{};
    std::optional<std::int64_t> run{};
    std::optional<std::string> trace{};
};
Result<std::vector<KeptTrace>> list_kept_traces(Session& session, const TraceWanted& wanted, std::int64_t limit);

struct KeptSpan {
    std::string name;
    std::string kind;
    std::string id;
    std::string parent;
    WallTime start{};
    std::chrono::microseconds took{0};
    std::string error;
    StringMap attributes;
    std::string replica;
    WallTime end() const { return start + took; }
};
// In the order in which they began.
Result<std::vector<KeptSpan>> read_kept_spans(Session& session, const KeptTrace& trace);

// The batches that were about this document, the newest first.
struct DocumentBatch {
    std::string trace_id;
    std::string span_id;
    std::int64_t batch_id = 0;
    std::int32_t revision = 0;
    std::optional<WallTime> served;  // since when what it wrote is served; none where it never was
};
Result<std::vector<DocumentBatch>> batches_of_document(Session& session, std::int64_t uid, const Key& key, int limit);

}  // namespace homeostat
