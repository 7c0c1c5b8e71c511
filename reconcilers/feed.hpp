// The change feed of a pipeline: takes what the triggers named and plans its batches, in one transaction, milliseconds behind
// the writer.
//
// Like the reconciler it is given a key and reads the rest; it holds the same lease, and what it plans is healed by the same
// factory, which is handed the first batches as they are planned. It plans only what can be answered by key; all else takes the
// feed's trust away, and the reconciler sweeps.
//
// While the next revision is built beside the served one, what is named is planned for both: for the served one first, and to be
// healed at once, because that is what search sees. What cannot be planned for it is noted as its gap.
//
// While changes come it looks again by itself, less and less often; then it goes to sleep, which is a fact in the database that
// the triggers read: from then on the next writer sends a notification. Writers that had already begun cannot know, so it looks
// on until they have ended. Where writers were faster than it, or one statement changed more rows than are worth naming, the
// triggers have stopped naming: it says so once, and the reconciler sweeps. One call at a time for a key; any thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <optional>

#include "core/context.hpp"
#include "core/sync.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/factory/factory.hpp"
#include "reconcilers/factory/row_turns.hpp"
#include "reconcilers/factory/targets.hpp"
#include "reconcilers/factory/writer_pressure.hpp"
#include "store/feed/feed.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

struct FeedSettings {
    std::int64_t take = 1'000;              // changes a transaction takes at most: they are healed while the next are taken
    std::uint32_t batch_documents = 256;
    std::int64_t prune_floor = 10;
    std::chrono::milliseconds poll{1'000};  // where no notification may be hoped for
};

struct FeedOutcome {
    std::optional<std::chrono::microseconds> again_in;  // absent: when somebody calls
    bool planned = false;                               // batches are ready to be claimed
    bool sweep = false;                                 // the reconciler should look
};

class Feed {
public:
    // All outlive the feed. `io`: where what is known of a pipeline is looked up; it runs for as long as look() may be called.
    Feed(Pool& writes, Targets& targets, Factory& factory, WriterPressure& pressure, RowTurns& turns, const Clock& clock,
         boost::asio::any_io_executor io, Telemetry telemetry, FeedSettings settings);

    // `context.epoch` is that of the pipeline's lease. Error of class fenced where it moved on.
    Result<FeedOutcome> look(std::int64_t uid, const Context& context) EXCLUDES(mutex_);

private:
    Result<FeedOutcome> look_once(std::int64_t uid, const Context& context) EXCLUDES(mutex_);
    struct Known {
        std::int64_t epoch = 0;  // of the lease at the last look
        std::int64_t generation = 0;
        std::int32_t revision = 0;
        std::int32_t served = 0;  // where that is another one
        int idle = 0;  // looks in a row that found nothing
        std::int64_t taken = 0;  // since it was tidied up
        std::int64_t burst = 0;  // taken at the last look
        std::int64_t room = 0;  // for changes, as it was last made; 0 where that is not known
        bool widen = false;  // there is to be more
        bool narrow = false;  // there was less, for what waits
        bool full = false;  // and that was said
        bool asleep = false;
        std::optional<std::int64_t> point;  // writers that began before it may not have seen that it sleeps
    };
    struct Drained {
        std::int64_t rows = 0;
        bool planned = false;
        bool sweep = false;
        bool closed = false;
        bool gone = false;  // there is no feed
        std::optional<FeedGate> other;  // where it is not what was expected
        Factory::Places places;  // for what was claimed as it was planned
        std::vector<Batch> claimed;
    };

    using Target = std::shared_ptr<const TargetInfo>;
    struct Targeted {
        Target worked;  // on; none at the first look
        Target served;  // where that is another one, and can be followed
        const Target& first() const noexcept { return served ? served : worked; }  // the one that does not wait
    };
    // What is to be done in one revision about what was taken.
    struct Wanted {
        const TargetInfo& target;
        std::int32_t revision = 0;
        bool beside = false;  // served, and not the one that is worked on
        std::vector<DriftItem> heal;
        std::vector<Key> gone;  // id and key
        std::int64_t fresh = 0;  // of those to heal, new ones
    };

    // What there is to say where nothing was named; nothing where something was. `full`: writers change more than is worth
    // naming.
    Result<std::optional<FeedOutcome>> nothing_named(Session& session, std::int64_t uid, Known& known, bool& full,
                                                     const Context& context);
    // All that was named, planned for the pipeline as it is; nothing where that keeps changing.
    Result<std::optional<Drained>> drain_all(Session& session, std::int64_t uid, Known& known, const Context& context);
    Result<Drained> drain(Session& session, std::int64_t uid, const Targeted& targets, const Known& known,
                          const Context& context);
    Result<Drained> drain_into(Transaction& tx, std::int64_t uid, const Targeted& targets, const Known& known,
                               const FeedGate& gate, const Changes& changes, const Context& context);
    void plan(Transaction& tx, std::int64_t uid, const Targeted& targets, const FeedGate& gate, const Changes& changes,
              const Context& context, Drained& drained);
    static Wanted wanted_of(Transaction& tx, const TargetInfo& target, const Changes& changes);
    bool allow_prunes(Transaction& tx, std::int64_t uid, std::vector<Wanted>& wanted, const FeedGate& gate,
                      const Changes& changes);
    void insert(Transaction& tx, Wanted& wanted, Batch like, bool at_once, Drained& drained);
    bool prunes_allowed(const TargetInfo& target, const FeedGate& gate, const Changes& changes, std::int64_t gone) const;
    Result<Targeted> targets_of(std::int64_t uid, const Known& known, const Context& context);
    Result<Target> target_of(std::int64_t uid, std::int64_t generation, std::int32_t revision, const Context& context);
    Result<bool> tend_room(Session& session, std::int64_t uid, const ChangesSeen& seen, Known& known, const Context& context);
    void widen(Session& session, std::int64_t uid, Known& known);
    Result<bool> feel_pressure(Session& session, std::int64_t uid, const ChangesSeen& seen, bool many);
    Result<FeedOutcome> rest(Session& session, std::int64_t uid, Known& known);
    Known known(std::int64_t uid) EXCLUDES(mutex_);
    void leave(std::int64_t uid) EXCLUDES(mutex_);
    void begin_anew(std::int64_t uid) EXCLUDES(mutex_);
    void remember(std::int64_t uid, const Known& known) EXCLUDES(mutex_);

    Pool& writes_;
    Targets& targets_;
    Factory& factory_;
    WriterPressure& pressure_;
    RowTurns& turns_;
    const Clock& clock_;
    const boost::asio::any_io_executor io_;
    Telemetry telemetry_;
    const FeedSettings settings_;
    Counter& changes_total_;
    Histogram& lag_;
    Mutex mutex_;
    std::map<std::int64_t, Known> known_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
