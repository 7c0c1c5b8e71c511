// How large the slices of a sweep are, and how long each waits for the one before it.
#include <fmt/format.h>

#include <algorithm>

#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/pipeline_gauges.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"

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
    if (pressed(pass)) return std::min<std::int64_t>(limit, settings_.batch_documents);
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

// Writers who change more than can be followed: what is healed behind them is paced like what is observed.
bool PipelineReconciler::pressed(const Pass& pass) const {
    return paced(pass) && pressure_.pressing(pass.uid, clock_.steady_now());
}

// What was planned before that was known would be healed at full speed: it is taken back, and a later sweep finds it again.
Status PipelineReconciler::withdraw(Pass& pass) {
    if (pass.open.documents <= settings_.batch_documents) return {};  // as much as a slice plans now
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    return guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        pass.open.batches -= withdraw_batches(tx, pass.uid, pass.run->id);
        tx.commit();
    });
}

void PipelineReconciler::note_slice(const Pass& pass, Duration took, std::int64_t rows, std::size_t drift) {
    if (!paced(pass)) return;
    SweepBudget behind_writers = settings_.budget;
    behind_writers.share = std::min(behind_writers.share, settings_.overrun_share);
    const Duration with_healing = took + pressure_.work(static_cast<std::int64_t>(drift));
    const SteadyTime now = clock_.steady_now();
    const NextSlice next{now + pause_after(took, rows, settings_.budget), now + pause_after(with_healing, rows, behind_writers)};
    const Lock lock(mutex_);
    next_slices_[pass.uid] = next;
}

// A hint of this replica: another that takes the pipeline over begins at once.
milliseconds PipelineReconciler::pause_left(const Pass& pass) {
    if (!paced(pass)) return milliseconds(0);
    const bool behind_writers = pressed(pass);
    const Lock lock(mutex_);
    const auto it = next_slices_.find(pass.uid);
    if (it == next_slices_.end()) return milliseconds(0);
    const SteadyTime next = behind_writers ? it->second.pressed : it->second.paced;
    return std::max(std::chrono::ceil<milliseconds>(next - clock_.steady_now()), milliseconds(0));
}

// A sweep that takes its time may last for hours, and must not look idle meanwhile. Only that it goes on is told: what it finds
// is not known before it is complete.
Status PipelineReconciler::record_pause(Pass& pass) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    return guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        StatusUpdate update = status_update(pass);
        update.status.conditions = {
            {"Reconciling",
             "True",
             "Progressing",
             fmt::format("{}: {} rows compared so far, as fast as {}", to_string(pass.run->phase), pass.run->seen,
                         pressed(pass) ? "feed.overrun_share allows while writers keep the database busy"
                                       : "sweep.rows_per_second and sweep.share allow"),
             pass.status.observed_generation,
             {}}};
        write_status(tx, update, pass.context.reconcile_id);
        tx.commit();
    });
}

// Where memory is short and the pipeline says `shed`, what costs search least waits: first what only moved, then all but what is
// missing altogether. Nothing is lost: it stays drift, and the next sweep finds it.
std::vector<DriftItem> PipelineReconciler::wanted_now(Pass& pass, const std::vector<DriftItem>& items) const {
    const MemoryLevel level = memory_.state().level;
    if (pass.declared.backpressure != "shed") return items;
    Counter& shed = shed_documents(telemetry_.metrics, pass.declared.name);
    if (level == MemoryLevel::normal) return items;
    std::vector<DriftItem> now;
    for (const DriftItem& item : items) {
        const bool least = item.cls == DriftClass::moved || item.cls == DriftClass::touched;
        const bool waits = level == MemoryLevel::stopped ? item.cls != DriftClass::missing : least;
        const bool goes = item.cls == DriftClass::orphaned || item.cls == DriftClass::excess;
        if (waits && !goes) {
            ++pass.shed;
            shed.add();
        } else {
            now.push_back(item);
        }
    }
    return now;
}

// Batches planned ahead: the back-pressure. One, where the event that began the run is to be met one batch at a time.
std::int64_t PipelineReconciler::window(const Pass& pass) const {
    if (pass.run && (settings_.sequential.contains(pass.run->trigger) || pressed(pass))) return 1;
    if (pass.declared.backpressure != "throttle") return settings_.window;
    if (memory_.state().level == MemoryLevel::stopped) return 1;
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(settings_.window * memory_.scale()));
}

}  // namespace homeostat
