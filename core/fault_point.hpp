// Numbered points between every two steps that touch the outside, where a crash test kills the process to see what is left.
// Nothing at all in a release build. Elsewhere HOMEOSTAT_FAULT_POINT=name or name:n ends the process with SIGKILL when the point
// is reached for the first or the n-th time. The list is closed and in the order of the way through.
#pragma once

#include <array>
#include <string_view>

namespace homeostat {

inline constexpr std::array<std::string_view, 19> kFaultPoints{
    "revision.before_commit",   // tables made, not committed
    "revision.after_commit",
    "run.after_start",          // the run row stands, nothing observed
    "observe.after_slice",      // a slice was read, nothing of it written down
    "dispatch.before_commit",   // batches and cursor written, not committed
    "dispatch.after_commit",
    "claim.after_commit",       // claimed, nothing read
    "read.after",               // documents read, nothing embedded
    "embed.before",             // chunked, provider not yet asked
    "embed.after",              // paid for, not yet written
    "write.after_vectors",      // vectors written, batch row still there
    "write.before_commit",      // batch row removed, not committed
    "write.after_commit",
    "prune.before_commit",
    "prune.after_commit",
    "sweep.before_restart",     // everything healed, not yet verified
    "index.before",             // verified, no index yet
    "finish.before_commit",     // status written, not committed
    "finish.after_commit",
};

// Only in the way that a change takes which its source names: a sweep does not come by.
inline constexpr std::array<std::string_view, 2> kFeedFaultPoints{
    "feed.before_commit",       // changes taken and planned, not committed
    "feed.after_commit",        // planned, nobody told
};

// Only where a document is to be forgotten.
inline constexpr std::array<std::string_view, 4> kErasureFaultPoints{
    "erase.before_commit",      // what is stored was taken, not committed
    "erase.after_stored",       // the journal still has all of it
    "erase.after_journal",      // nothing is left, nobody has looked
    "erase.before_receipt",     // looked, and not told
};

// Only where a pipeline is taken back to a checkpoint.
inline constexpr std::array<std::string_view, 8> kRollbackFaultPoints{
    "rollback.before_begin_commit",  // what was planned is gone, not committed
    "rollback.after_begin",
    "rollback.before_plan_commit",  // what is to be undone is written down, not committed
    "rollback.after_plan",
    "rollback.before_step_commit",  // some documents are what they were, not committed
    "rollback.after_step",
    "rollback.before_end_commit",   // all of them are, not told
    "rollback.after_end",
};

// Only where a run is found wrong by its own gate.
inline constexpr std::array<std::string_view, 2> kVerificationFaultPoints{
    "verification.before_commit",  // judged, the way back asked for, not committed
    "verification.after_commit",   // nothing is undone yet
};

// Only where somebody asked for a checkpoint, and where the journal is trimmed.
inline constexpr std::array<std::string_view, 3> kRetentionFaultPoints{
    "checkpoint.before_commit",
    "retention.before_commit",      // old entries deleted, not committed
    "retention.after_commit",
};

// Only where a revision is to be dropped, or a vector index is built beside the one that is used.
inline constexpr std::array<std::string_view, 4> kRevisionFaultPoints{
    "revision_drop.before_commit",  // its tables are gone, not committed
    "revision_drop.after_commit",
    "index.before_swap",  // built, and the one before is used
    "index.after_swap",   // the one before is still there
};

// Only where vectors of others are taken over.
inline constexpr std::array<std::string_view, 7> kAdoptionFaultPoints{
    "adopt.after_audit",          // paid for the sample; that it agrees is written down
    "adopt.before_begin_commit",  // a run of its own stands, not committed
    "adopt.after_begin",
    "adopt.before_step_commit",   // some documents are written, not committed
    "adopt.after_step",
    "adopt.before_end_commit",    // all of them are, not told
    "adopt.after_end",
};

consteval bool is_fault_point(std::string_view name) {
    for (const std::string_view known : kFaultPoints) {
        if (known == name) return true;
    }
    for (const std::string_view known : kFeedFaultPoints) {
        if (known == name) return true;
    }
    for (const std::string_view known : kErasureFaultPoints) {
        if (known == name) return true;
    }
    for (const std::string_view known : kRollbackFaultPoints) {
        if (known == name) return true;
    }
    for (const std::string_view known : kVerificationFaultPoints) {
        if (known == name) return true;
    }
    for (const std::string_view known : kRetentionFaultPoints) {
        if (known == name) return true;
    }
    for (const std::string_view known : kRevisionFaultPoints) {
        if (known == name) return true;
    }
    for (const std::string_view known : kAdoptionFaultPoints) {
        if (known == name) return true;
    }
    return false;
}

// Bugs that can be planted, so that the chaos kit shows that it would find them: HOMEOSTAT_PLANT=name takes away what keeps an
// edit from being lost. Like fault points, nothing at all in a release build.
inline constexpr std::array<std::string_view, 3> kPlantedBugs{
    "fence",  // a write does not ask whether its claim, epoch and generation still hold
    "drop",   // what a write leaves out is named by nobody
    "clock",  // when a sweep is due is told by the replica's own clock, and what that wrote is believed
};

consteval bool is_planted_bug(std::string_view name) {
    for (const std::string_view known : kPlantedBugs) {
        if (known == name) return true;
    }
    return false;
}

#if defined(HOMEOSTAT_FAULT_POINTS)
void reach_fault_point(std::string_view name) noexcept;
bool has_planted(std::string_view bug) noexcept;
// Whether the bug is there; a constant in a release build.
#define HOMEOSTAT_PLANTED(bug)                                                              \
    ([] {                                                                                   \
        static_assert(::homeostat::is_planted_bug(bug), "not in the list of planted bugs"); \
        return ::homeostat::has_planted(bug);                                               \
    }())
#define HOMEOSTAT_REACH(name)                                                          \
    do {                                                                               \
        static_assert(::homeostat::is_fault_point(name), "not in the list of points"); \
        ::homeostat::reach_fault_point(name);                                          \
    } while (false)
#else
#define HOMEOSTAT_PLANTED(bug)                                                              \
    ([] {                                                                                   \
        static_assert(::homeostat::is_planted_bug(bug), "not in the list of planted bugs"); \
        return false;                                                                       \
    }())
#define HOMEOSTAT_REACH(name) static_assert(::homeostat::is_fault_point(name), "not in the list of points")
#endif

}  // namespace homeostat
