// What homeostat.wait_until_fresh() rests on, kept by the runs: that the last one has ended and left nothing to be healed. Why
// that is enough stands in docs/internals/freshness.md.
//
// What is written is written in the caller's transaction, and throws StoreFailure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/control/batches.hpp"
#include "store/control/runs.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// Run `run`, which the same transaction ends after this, has left nothing to be healed but documents that are refused. (How any
// run ends, and how a rollback begins, takes away what was noted of the ones before.)
void note_swept(Transaction& tx, const Run& run);

// For how long the oldest change of a batch of the feed has been named, by the server's clock, when the transaction that ends the
// batch is about to commit: `seconds` is filled in by then, and must live until then.
void read_age(Transaction& tx, const Batch& batch, std::optional<double>& seconds);

enum class Evidence : std::uint8_t { none, feed, sweep };
// How old what a pipeline serves may be, by what is known now (view homeostat.staleness).
struct Staleness {
    std::int64_t uid = 0;
    std::string name;
    Evidence evidence = Evidence::none;
    std::optional<Millis> age;
    std::optional<Millis> promised;  // max_staleness
    std::string told_status, told_reason;  // of the condition Fresh; "" where there is none
};
// Of all pipelines, or of those that promise something, or did.
Result<std::vector<Staleness>> read_staleness(Session& session, bool all);

}  // namespace homeostat
