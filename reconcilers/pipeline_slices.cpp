// How large the slices of a sweep are, and how long each waits for the one before it.
#include <fmt/format.h>

#include <algorithm>

#include "reconcilers/pipeline.hpp"
#include "reconcilers/pipeline_pass.hpp"

namespace homeostat {

using std::chrono::milliseconds;

namespace {

constexpr std::int64_t kFirstSlice = 2'000;

}  // namespace

std::int64_t PipelineReconciler::slice_limit(const Pass& pass) {
    const Lock lock(mutex_);
    // A deep sweep reads every text and vector: how much of that a moment holds is found out from below.
    const std::int64_t first = pass.run->deep ? std::min(settings_.slice, kFirstSlice) : settings_.slice;
    const std::int64_t limit = slice_limits_.try_emplace({pass.uid, pass.run->deep}, first).first->second;
    if (paced(pass)) return slice_within(limit, settings_.budget);
    // Whoever heals need not wait for all of the first slice to be compared.
    const bool begins = pass.run->sweeps == 1 && !pass.run->cursor;
    return begins ? std::min(limit, kFirstSlice) : limit;
}

// Slices last about as long as they should whatever the source is made of. One that the budget made small says only that larger
// ones may be too slow.
void PipelineReconciler::learn_slice(const Pass& pass, std::int64_t limit, Duration took) {
    const Lock lock(mutex_);
    std::int64_t& mine = slice_limits_[{pass.uid, pass.run->deep}];
    if (took > settings_.slice_target * 2) mine = std::max<std::int64_t>(1'000, limit / 2);
    if (took < settings_.slice_target / 2) mine = std::max(mine, std::min<std::int64_t>(limit * 2, 200'000));
}

// Whoever asks for a pass while a sweep takes its time waits for that very run: from then on it hurries.
bool PipelineReconciler::paced(const Pass& pass) { return nobody_waits(pass.run->trigger) && !pass.asked() && !pass.approved(); }

void PipelineReconciler::note_slice(const Pass& pass, Duration took, std::int64_t rows) {
    const milliseconds pause = paced(pass) ? pause_after(took, rows, settings_.budget) : milliseconds(0);
    const SteadyTime next = clock_.steady_now() + pause;
    const Lock lock(mutex_);
    next_slices_[pass.uid] = next;
}

// A hint of this replica: another that takes the pipeline over begins at once.
milliseconds PipelineReconciler::pause_left(const Pass& pass) {
    if (!paced(pass)) return milliseconds(0);
    const Lock lock(mutex_);
    const auto it = next_slices_.find(pass.uid);
    if (it == next_slices_.end()) return milliseconds(0);
    return std::max(std::chrono::ceil<milliseconds>(it->second - clock_.steady_now()), milliseconds(0));
}

// A sweep that takes its time may last for hours, and must not look idle meanwhile. Only that it goes on is told: what it finds
// is not known before it is complete.
Status PipelineReconciler::record_pause(Pass& pass) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    return guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        StatusUpdate update = status_update(pass);
        update.status.conditions = {{"Reconciling",
                                     "True",
                                     "Progressing",
                                     fmt::format("{}: {} rows compared so far, as fast as sweep.rows_per_second and sweep.share "
                                                 "allow",
                                                 to_string(pass.run->phase), pass.run->seen),
                                     pass.status.observed_generation,
                                     {}}};
        write_status(tx, update, pass.context.reconcile_id);
        tx.commit();
    });
}

}  // namespace homeostat
