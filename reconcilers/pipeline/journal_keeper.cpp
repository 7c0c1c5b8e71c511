#include "reconcilers/pipeline/journal_keeper.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/fault_point.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"

namespace homeostat {

namespace {

constexpr std::chrono::minutes kBetween{1};
constexpr std::chrono::milliseconds kSoon{100};

}  // namespace

bool JournalKeeper::due(std::int64_t uid) {
    const SteadyTime now = clock_.steady_now();
    const Lock lock(mutex_);
    SteadyTime& next = next_[uid];
    if (!always_ && now < next) return false;
    next = now + kBetween;
    return true;
}

void JournalKeeper::keep(Pool& writes, const PipelineSpec& declared, const std::vector<Revision>& revisions,
                         const Context& context, ReconcileOutcome& outcome) {
    if (declared.suspend || declared.deleting || outcome.end == PassEnd::gone) return;
    if ((always_ && !ended(outcome.end)) || !due(declared.uid)) return;
    bool more = false;
    const auto trim = [&]() -> Status {
        Result<Pool::Lease> session = writes.acquire(context);
        if (!session) return session.error();
        return guarded([&] {
            for (const Revision& r : revisions) {
                Transaction tx = fenced_transaction(**session, pipeline_lease(declared.uid), context);
                more = trim_journal(tx, r, limits_) || more;
                HOMEOSTAT_REACH("retention.before_commit");
                tx.commit();
                HOMEOSTAT_REACH("retention.after_commit");
            }
        });
    };
    if (const Status trimmed = trim(); !trimmed) {
        spdlog::warn("pipeline \"{}\": its journal keeps what should go: {}", declared.name, trimmed.error().message);
        return;
    }
    if (!more) return;
    {
        const Lock lock(mutex_);
        next_.erase(declared.uid);
    }
    outcome.again_in = std::min(outcome.again_in, kSoon);
    outcome.rests.reset();
}

}  // namespace homeostat
