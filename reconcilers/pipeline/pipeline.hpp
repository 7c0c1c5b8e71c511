// The pipeline reconciler: observe, diff, plan, dispatch, verify, record. The page to read first.
//
// A pass is a run: one row whose cursor moves in the transaction that creates the batches, so that a crash resumes the sweep
// where it was. A call works until the window of open batches is full, then asks to be called again; the factory heals meanwhile.
// When everything dispatched is healed the source is observed again, until an observation finds nothing that can be healed.
// Deletions need two complete observations that agree, and the brakes of factory/prune.hpp.
//
// Nothing here embeds. Thread-safe as the Reconciler contract says; all state is in the database but for hints.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/sync.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/factory/prune.hpp"
#include "reconcilers/factory/writer_pressure.hpp"
#include "reconcilers/feed_progress.hpp"
#include "reconcilers/gateway/fault_log.hpp"
#include "reconcilers/gateway/memory.hpp"
#include "reconcilers/pipeline/journal_keeper.hpp"
#include "reconcilers/pipeline/sweep_budget.hpp"
#include "reconcilers/pipeline/verification.hpp"
#include "reconcilers/reconciler.hpp"
#include "store/control/resources.hpp"
#include "store/control/runs.hpp"
#include "store/data/revisions.hpp"
#include "store/feed/capture.hpp"
#include "store/pg/lock_holders.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

class SweepStandby;
struct Observation;
struct Seen;

struct PipelineSettings {
    std::uint32_t batch_documents = 256;  // at most
    int window = 32;  // batches planned ahead of execution
    std::int64_t slice = 20'000;  // source rows a slice begins with
    std::chrono::milliseconds slice_target{250};
    SweepBudget budget;  // of sweeps that nobody waits for
    double overrun_share = 0.1;  // of the time in which such a sweep observes and heals while writers press; above 0, at most 1
    std::int64_t prune_floor = 10;
    JournalLimits journal{.runs = 100, .weeks = 4};
    int keep_revisions = 2, keep_days = 0;  // with the served one; for which others are kept at most, 0: however long
    int max_sweeps = 10;  // of a run: a source that never holds still must not hold it for ever
    std::chrono::milliseconds retry_base{1'000};
    std::chrono::milliseconds retry_cap{300'000};
    std::chrono::milliseconds reprobe{1'800'000};
    std::set<std::string> sequential;  // triggers whose runs plan one batch at a time
    SweepStandby* standby = nullptr;  // on which sweeps observe; null: on the primary
    bool once = false;  // every pipeline is due now, whatever its intervals say
    bool deep = false;  // and its contents are compared, not only versions
    std::function<void()> planned;  // called when batches of a slice are committed; by the thread of the pass
    AskAgain ask;  // of the provider, for what a run has embedded; none: nothing is verified
};

class PipelineReconciler final : public Reconciler {
public:  // all outlive the reconciler
    PipelineReconciler(Pool& reads, Pool& writes, Gateway& gateway, const MemoryBudget& memory, const WriterPressure& pressure,
                       FeedProgress& feeds, FaultLog& faults, const Clock& clock, Telemetry telemetry, PipelineSettings settings);

    Result<ReconcileOutcome> reconcile(std::int64_t uid, const Context& given, Span& span) override EXCLUDES(mutex_);

private:
    struct Pass;  // what one call knows; pipeline_pass.hpp
    struct Observed {
        Slice slice;
        std::int64_t still_to_come = 0;  // documents that are served and that the feed brings to this revision
        std::vector<bool> dead;  // of the slice's items, where any dead letter is stored
        std::int64_t unkeyed = 0;  // counted with the first slice, and so are
        Duration took{};  // of the reading alone
        std::vector<Key> too_late;  // what the feed heals though its row is gone: no document is there to be seen yet
    };

    Result<ReconcileOutcome> run_pass(Pass& pass);
    Status load(Pass& pass);
    WallTime now(const Pass& pass) const;
    void disregard_future(Pass& pass) const;
    Status read_truth(Session& session, Pass& pass) const;
    Result<ReconcileOutcome> stay_suspended(Pass& pass);
    Result<ReconcileOutcome> adopt(Pass& pass);
    static std::string why_not_adopted(const Pass& pass, std::int64_t generation, bool own_run);
    static void recall_prune(Pass& pass);
    static Seen seen_in(const Pass& pass, bool working);
    Result<std::string> awaits(const Pass& pass);
    Status supersede(Pass& pass);
    struct Prepared;
    Status prepare_revision(Pass& pass);
    Result<Prepared> find_or_make_revision(Pass& pass, Transaction& tx, const RevisionSettings& wanted);
    static void tell_lost(Pass& pass, Transaction& tx, const Revision& revision);
    Status make_revision(Pass& pass, Transaction& tx, const RevisionSettings& wanted);
    Status keep_capture(Pass& pass);
    static std::optional<PipelineSpec> searched_beside(const Pass& pass, const Revision* wanted);
    Status align_capture(Pass& pass, const CapturePlan& plan, bool clear);
    Status drop_capture(Pass& pass);
    struct LockTurn {
        std::string waits;  // for whom, where it is not the time
        const char* timeout;  // the statement that bounds the wait
    };
    struct LockOf {
        std::vector<std::string> relations;
        InTheWay who = InTheWay::everybody;
        bool ours = false;  // tables and views of ours, not triggers
    };
    static LockOf of_triggers(const Pass& pass, InTheWay who);
    static Result<LockOf> of_data(Session& session, const Pass& pass);
    LockTurn turn_to_lock(Session& session, const Pass& pass, const LockOf& of) EXCLUDES(mutex_);
    std::string hold_off(Session& session, const Pass& pass, const LockOf& of, std::string_view what) EXCLUDES(mutex_);
    Status turn_to_alter(const Pass& pass);
    static Error lock_held(std::string message, std::string_view code);
    Status say_who_holds_it(Pass& pass, const Error& error);
    Result<ReconcileOutcome> wait_for_lock(Pass& pass, const Error& error);
    Status look_whether_mended(Pass& pass) EXCLUDES(mutex_);
    void tell_capture(Pass& pass, const CaptureState& state, const std::string& refused) const;
    Status open_full_feed(Session& session, Pass& pass);
    Status leave_to_feed(Pass& pass, Transaction& tx, Observed& seen) const;
    void take_back_too_late(Transaction& tx, const Pass& pass, const std::vector<Key>& keys) const;
    Result<bool> waits_for_feed(Pass& pass) EXCLUDES(mutex_);
    Status verify(Pass& pass);
    Result<ReconcileOutcome> wait_for_approval(Pass& pass, const Observation& found);
    Status record_between(Pass& pass);
    std::optional<WallTime> sweep_due(const Pass& pass) const;
    std::chrono::milliseconds until_due(const Pass& pass) const;
    std::optional<std::chrono::milliseconds> rests_for(const Pass& pass) const;
    Status begin_run(Pass& pass);
    Result<ReconcileOutcome> advance(Pass& pass);
    Status answer_for_planned(Pass& pass);
    Status sweep(Pass& pass);
    Result<Observed> observe(Pass& pass, const SliceRequest& request);
    Status leave_unsteady(Pass& pass, std::vector<DriftItem>& items);
    void note_deep_sweep(Pass& pass, Transaction& tx) const;
    Status dispatch(Pass& pass, const Observed& observed);
    Result<ReconcileOutcome> complete_sweep(Pass& pass);
    Result<ReconcileOutcome> verify_or_finish(Pass& pass);
    Status end_well(Pass& pass, Transaction& tx, const Totals& stored, std::string_view result, const std::string& message);
    Result<std::string> why_not_followed(Session& session, const Pass& pass) const;
    void take_down(Pass& pass, const Totals& stored) const;
    Result<ReconcileOutcome> finish(Pass& pass, std::string_view result, const std::string& message);
    Status sweep_again(Pass& pass, bool deep);
    Status keep_index(Pass& pass);
    Status enter_indexing(Pass& pass);
    void take_over_feed(Session& session, Pass& pass);
    Result<ReconcileOutcome> record_failure(Pass& pass, const Error& error);
    Result<ReconcileOutcome> finalize(Pass& pass);
    Status record_progress(Pass& pass);
    static StatusUpdate status_update(const Pass& pass);
    std::string_view wanted_at_once(const Pass& pass) const;
    bool due(const Pass& pass, std::string& trigger, bool& deep) const;
    std::int64_t window(const Pass& pass) const;
    std::vector<DriftItem> wanted_now(Pass& pass, const std::vector<DriftItem>& items) const;
    static bool paced(const Pass& pass);
    bool pressed(const Pass& pass) const;
    Status withdraw(Pass& pass);
    std::int64_t slice_limit(const Pass& pass) EXCLUDES(mutex_);
    void learn_slice(const Pass& pass, std::int64_t limit, Duration took) EXCLUDES(mutex_);
    void note_slice(const Pass& pass, Duration took, std::int64_t rows, std::size_t drift) EXCLUDES(mutex_);
    std::chrono::milliseconds pause_left(const Pass& pass) EXCLUDES(mutex_);
    Status record_pause(Pass& pass);
    void publish(const Pass& pass);
    void suffers_no_more(std::int64_t uid);
    bool renewed(const Pass& pass) EXCLUDES(mutex_);  // there is something new to try its provider with
    void tried(const Pass& pass) EXCLUDES(mutex_);
    void note_pace(const Pass& pass, double documents_per_second) EXCLUDES(mutex_);
    void compare_pace(const Pass& pass) EXCLUDES(mutex_);  // as a metric

    Pool& reads_;
    Pool& writes_;
    Gateway& gateway_;
    const MemoryBudget& memory_;
    const WriterPressure& pressure_;
    FeedProgress& feeds_;
    FaultLog& faults_;
    const Clock& clock_;
    Telemetry telemetry_;
    const PipelineSettings settings_;
    JournalKeeper journals_;
    Mutex mutex_;
    std::map<std::pair<std::int64_t, bool>, std::int64_t> slice_limits_ GUARDED_BY(mutex_);  // by pipeline; deep or not
    struct NextSlice {  // not before, where the sweep takes its time and where writers press
        SteadyTime paced{}, pressed{};
    };
    std::map<std::int64_t, NextSlice> next_slices_ GUARDED_BY(mutex_);
    struct Pace {
        SteadyTime started{};
        double documents_per_second = 0;  // as runs before it went; 0 = not known
    };
    // By pipeline, and whether it is our tables or its triggers that wait for a lock of somebody's: until when, and whose it is.
    std::map<std::pair<std::int64_t, bool>, std::pair<SteadyTime, std::string>> held_off_ GUARDED_BY(mutex_);
    std::map<std::int64_t, Pace> paces_ GUARDED_BY(mutex_);  // of runs under way
    // The run, when its sweep had passed, for which the feed is waited for, and what its source was; hints, by pipeline.
    std::map<std::int64_t, std::tuple<std::int64_t, SteadyTime, std::string>> swept_ GUARDED_BY(mutex_);
    std::map<std::int64_t, std::uint64_t> tried_ GUARDED_BY(mutex_);  // the provider's renewals then, by pipeline
};

}  // namespace homeostat
