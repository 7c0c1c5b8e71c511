#include "reconcilers/pipeline/rolling_back.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>
#include <thread>

#include "core/fault_point.hpp"
#include "reconcilers/gateway/plural.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/control/batches.hpp"
#include "store/control/leases.hpp"
#include "store/data/revision_columns.hpp"
#include "store/data/vector_sample.hpp"
#include "store/feed/feed.hpp"
#include "store/pg/pg_error.hpp"

namespace homeostat {

namespace {

constexpr int kEntriesAtOnce = 2'000;
constexpr int kMostLanes = 4;
// A pass over the journal takes as long as its size wants; nobody waits for a lock of ours meanwhile but who takes the lease
// over. What takes longer is undone, told, and tried again while the pipeline stays pinned.
constexpr const char* kLongDeadline = "SET LOCAL statement_timeout = '30min'";

const Revision* in_state(const std::vector<Revision>& revisions, std::string_view state) {
    const auto it = std::find_if(revisions.begin(), revisions.end(), [&](const Revision& r) { return r.state == state; });
    return it == revisions.end() ? nullptr : &*it;
}

const Revision* revision_of(const std::vector<Revision>& revisions, std::int32_t number) {
    const auto it = std::find_if(revisions.begin(), revisions.end(), [&](const Revision& r) { return r.number == number; });
    return it == revisions.end() ? nullptr : &*it;
}

class RollingBack {
public:
    RollingBack(Pool& writes, Session& session, const PipelineSpec& declared, const std::vector<Revision>& revisions,
                RollbackRequest request, const Context& context)
        : writes_(writes),
          session_(session),
          declared_(declared),
          revision_(revision_of(revisions, request.revision)),
          request_(std::move(request)),
          context_(context) {}

    RollbackProgress run(const Clock& clock, std::optional<Run>& run) {
        if (!request_.running && !begin(run)) return {.end = RollbackEnd::refused, .stored = {}};
        if (!request_.planned) plan();
        while (!context_.stop.stop_requested() && clock.steady_now() < context_.deadline) {
            std::vector<std::int64_t> ends;
            {
                Transaction tx = fenced(session_);
                ends = next_steps(tx, request_.id, lanes(), kEntriesAtOnce);
                tx.commit();
            }
            if (ends.empty()) return {.end = RollbackEnd::done, .stored = end()};
            side_by_side(ends);
        }
        return {};
    }

private:
    Transaction fenced(Session& session) const { return fenced_transaction(session, pipeline_lease(declared_.uid), context_); }

    // Most of the time goes into the index of vectors, which takes one row at a time from each session.
    int lanes() const {
        const auto cores = static_cast<int>(std::thread::hardware_concurrency());
        return std::clamp(std::min(cores, static_cast<int>(writes_.size()) - 1), 1, kMostLanes);
    }

    void step(Session& session, std::int64_t after, std::int64_t last) const {
        Transaction tx = fenced(session);
        undo_step(tx, *revision_, request_.id, after, last);
        HOMEOSTAT_REACH("rollback.before_step_commit");
        tx.commit();
        HOMEOSTAT_REACH("rollback.after_step");
    }

    // A step each, of other documents each, on a session each; what has failed is there still for the next round.
    void side_by_side(const std::vector<std::int64_t>& ends) {
        std::vector<Status> done(ends.size());
        const auto undo = [&](std::size_t i) {
            const std::int64_t after = i == 0 ? std::numeric_limits<std::int64_t>::min() : ends[i - 1];
            if (i == 0) {
                done[i] = guarded([&] { step(session_, after, ends[i]); });
                return;
            }
            Result<Pool::Lease> session = writes_.acquire(context_);
            done[i] = session ? guarded([&] { step(**session, after, ends[i]); }) : Status(session.error());
        };
        {
            std::vector<std::jthread> others;
            for (std::size_t i = 1; i < ends.size(); ++i) others.emplace_back([&undo, i] { undo(i); });
            undo(0);
        }
        for (const Status& s : done) {
            if (!s) throw StoreFailure(s.error());
        }
    }

    void tell(Transaction& tx, std::string_view type, std::string_view reason, std::string message) const {
        add_event(tx, {.uid = declared_.uid,
                       .type = std::string(type),
                       .reason = std::string(reason),
                       .message = std::move(message),
                       .reconcile_id = context_.reconcile_id});
    }

    // Whoever did not ask for it finds the reason with the run.
    std::string what() const {
        return fmt::format("rolled back to checkpoint \"{}\"{}{}", request_.checkpoint, request_.reason.empty() ? "" : ": ",
                           request_.reason);
    }

    // Its journal alone may be gone.
    bool is_readable(Transaction& tx) const {
        if (revision_ == nullptr) return false;
        const std::vector<std::string> lost = lost_tables(tx, *revision_);
        return std::ranges::all_of(lost, [&](const std::string& table) { return table == revision_->tables.journal; });
    }

    // What its gate has condemned is served no more all the same, and the pipeline stays suspended.
    void refuse(Transaction& tx, std::optional<Run>& run, const std::string& why) {
        refuse_rollback(tx, declared_.uid, request_, why);
        tell(tx, "Warning", "RollbackRefused",
             fmt::format("it is not rolled back to checkpoint \"{}\": {}", request_.checkpoint, why));
        if (!request_.unverified_run) return;
        if (is_readable(tx)) distrust_run(tx, revision_->tables, *request_.unverified_run);
        if (run) end_run(tx, *run, declared_.name, "Failed", request_.reason);
    }

    // What was planned goes, whoever holds it, and the feed is incomplete from here on: whatever differs from the source after
    // this is found by the sweep that follows `resume`. False where it cannot be done any more. Short: it holds the pipeline's
    // row, for which others wait. From its commit on nobody writes, so that what follows needs no more than the lease.
    bool begin(std::optional<Run>& run) {
        Transaction tx = fenced(session_);
        const std::string why = revision_ == nullptr ? "its revision is gone" : why_not_now(tx, request_, declared_.uid);
        if (!why.empty()) {
            refuse(tx, run, why);
            tx.commit();
            if (request_.unverified_run) run.reset();
            return false;
        }
        if (run) end_run(tx, *run, declared_.name, "RolledBack", what());
        discard_all_batches(tx, declared_.uid);
        hold_writers(tx, declared_.uid);
        forget_prune_candidates(tx, declared_.uid);
        distrust_feed(tx, declared_.uid, std::chrono::milliseconds(0));
        begin_rollback(tx, request_.id);
        HOMEOSTAT_REACH("rollback.before_begin_commit");
        tx.commit();
        HOMEOSTAT_REACH("rollback.after_begin");
        run.reset();
        return true;
    }

    void plan() {
        Transaction tx = fenced(session_);
        tx.exec(kLongDeadline);
        const UndoCounts counts = plan_undo(tx, *revision_, request_.id, request_.entry);
        rollback_is_planned(tx, request_.id, counts);
        tell(tx, "Normal", "RollingBack",
             fmt::format("it is being {}, for {}: {} to be restored, {} to be removed", what(), request_.requested_by,
                         plural(counts.restored, "document"), counts.removed));
        HOMEOSTAT_REACH("rollback.before_plan_commit");
        tx.commit();
        HOMEOSTAT_REACH("rollback.after_plan");
    }

    Totals end() {
        Transaction tx = fenced(session_);
        tx.exec(kLongDeadline);
        end_undo(tx, *revision_, request_.id, request_.entry);
        const Totals stored = count_stored(tx, *revision_);
        end_rollback(tx, declared_.uid, request_, stored);
        tell(tx, "Normal", "RolledBack",
             fmt::format("it is rolled back to checkpoint \"{}\", for {}, and pinned until it is resumed", request_.checkpoint,
                         request_.requested_by));
        HOMEOSTAT_REACH("rollback.before_end_commit");
        tx.commit();
        HOMEOSTAT_REACH("rollback.after_end");
        spdlog::info("pipeline \"{}\": rolled back to checkpoint \"{}\" ({}, {}); it is pinned until it is resumed",
                     declared_.name, request_.checkpoint, plural(stored.documents, "document"), plural(stored.chunks, "chunk"));
        return stored;
    }

    Pool& writes_;
    Session& session_;
    const PipelineSpec& declared_;
    const Revision* revision_;
    RollbackRequest request_;
    const Context& context_;
};

}  // namespace

Status take_points(Pool& writes, const PipelineSpec& declared, const std::vector<Revision>& revisions,
                   const PointRequests& points, const Context& context) {
    const Revision* served = in_state(revisions, "served");
    if (served == nullptr || declared.deleting || (!points.checkpoints && !points.dry_run)) return {};
    Result<Pool::Lease> session = writes.acquire(context);
    if (!session) return session.error();
    return guarded([&]() -> Status {
        if (points.checkpoints) {
            Result<Totals> stored = count_stored(**session, *served);
            if (!stored) return stored.error();
            Transaction tx = fenced_transaction(**session, pipeline_lease(declared.uid), context);
            hold_writers(tx, declared.uid);
            take_checkpoints(tx, *served, *stored);
            HOMEOSTAT_REACH("checkpoint.before_commit");
            tx.commit();
        }
        if (!points.dry_run) return {};
        const Revision* revision = revision_of(revisions, points.dry_run->revision);
        UndoCounts counts;
        if (revision != nullptr) {
            Transaction tx = (*session)->begin();  // and never committed
            tx.exec(kLongDeadline);
            counts = plan_undo(tx, *revision, points.dry_run->id, points.dry_run->entry);
        }
        Transaction tx = fenced_transaction(**session, pipeline_lease(declared.uid), context);
        end_dry_run(tx, points.dry_run->id, counts);
        tx.commit();
        return {};
    });
}

Result<RollbackProgress> roll_back(Pool& writes, const Clock& clock, const PipelineSpec& declared,
                                   const std::vector<Revision>& revisions, RollbackRequest request, std::optional<Run>& run,
                                   const Context& context) {
    Result<Pool::Lease> session = writes.acquire(context);
    if (!session) return session.error();
    const std::string checkpoint = request.checkpoint;
    Result<RollbackProgress> progress = guarded([&] {
        RollingBack rolling(writes, **session, declared, revisions, std::move(request), context);
        return rolling.run(clock, run);
    });
    if (progress || progress.error().code != kTookTooLong) return progress;
    Error error = progress.error();
    error.message = fmt::format(
        "its rollback to checkpoint \"{}\" is not done in time, and is gone on with where it is; it stays pinned meanwhile: {}",
        checkpoint, error.message);
    return error;
}

}  // namespace homeostat
