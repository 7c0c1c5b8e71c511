// The executor: claims batches while there is room, and takes each through read, chunk, embed, write.
//
// One batch is one coroutine that reads like that list. It runs on the io executor between its steps; database steps run on
// `db`, whose threads match the connections, chunking on `cpu`. No transaction is open while a provider is asked. A failure ends
// the batch by the decision of retry.hpp, never the process.
// claim and share are called by one thread of the controller's, heartbeat and report by another, drain by who stops them; reserve
// and start by those that drain change feeds.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/sync.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/factory/budgets.hpp"
#include "reconcilers/factory/chunk_programs.hpp"
#include "reconcilers/factory/heal.hpp"
#include "reconcilers/factory/places.hpp"
#include "reconcilers/factory/retry.hpp"
#include "reconcilers/factory/row_turns.hpp"
#include "reconcilers/factory/targets.hpp"
#include "reconcilers/factory/trial_turns.hpp"
#include "reconcilers/factory/write_gate.hpp"
#include "reconcilers/factory/writer_pressure.hpp"
#include "reconcilers/gateway/fault_log.hpp"
#include "reconcilers/gateway/gateway.hpp"
#include "reconcilers/gateway/memory.hpp"
#include "store/control/batches.hpp"
#include "store/pg/pool.hpp"

namespace homeostat {

// Bytes a batch holds for each byte of text: chunks, the texts asked for, the request, its answer, the rows to write.
inline constexpr std::uint64_t kHeldPerByte = 8;

struct FactorySettings {
    std::string replica;
    int slots = 8;  // batches at once, of one provider
    std::int64_t parallel_from = 0;  // documents of a run; with fewer its batches go one after the other
    std::chrono::milliseconds claim_ttl{60'000};
    std::int64_t read_budget = 8 << 20;  // bytes of content a batch reads at once
    std::uint32_t batch_documents = 256;  // as planned, at most
    RetrySettings retry;
    std::uint64_t seed = 0;  // of the jitter
    std::uint64_t memory_limit = 0;  // of the process; 0 = not known
    bool shrink = true;  // read less where memory is short, rather than only wait
    bool once = false;  // somebody waits for the end: a provider that stays down ends the run
};

struct FactoryParts {
    Pool& reads;
    Pool& writes;
    Pool& feeds;  // for the few documents of an edit, which do not queue behind a fill
    Gateway& gateway;
    Targets& targets;
    MemoryBudget& memory;
    WriterPressure& pressure;
    RowTurns& turns;
    WriteGate& gate;
    FaultLog& faults;
    ChunkPrograms& chunkers;
    const Clock& clock;
    Telemetry telemetry;
    boost::asio::any_io_executor io;
    boost::asio::any_io_executor db;
    boost::asio::any_io_executor feed_db;  // as many threads as `feeds` has connections
    boost::asio::any_io_executor cpu;
    // A batch of this pipeline has ended, on any thread; `last`: this replica has no other of it. Not for what a feed healed.
    std::function<void(std::int64_t uid, bool last)> finished;
    std::function<void()> freed;  // a place became free for which something may be planned
    std::function<void(const Batch& batch, const SpanContext& span)> traced;  // a batch begins, as this span; any thread
};

class Factory {
public:
    Factory(FactoryParts parts, FactorySettings settings);

    // Claims ready batches up to the free slots and starts them; returns how many. 0 also when nothing is ready.
    // What may have ended its replicas runs alone, in turns with all others. Nothing is claimed while no writes are taken.
    Result<int> claim(const Context& context) EXCLUDES(mutex_);
    // Places for batches of this provider that whoever plans them claims in the same transaction: at most `wanted`, none where
    // claim() would leave them alone. Given back where they are not used. Any thread.
    using Places = homeostat::Places;
    Places reserve(const DeclaredProvider& declared, int wanted) EXCLUDES(mutex_);
    // What was claimed for those places, once that is committed. A single edit or two is read at once, by `session`.
    void start(Places places, std::vector<Batch> claimed, Session& session, const std::shared_ptr<const TargetInfo>& target,
               const Context& context) EXCLUDES(mutex_);
    Claimant claimant() const { return {settings_.replica, settings_.claim_ttl}; }
    // Extends the claims of what runs; what is no longer ours is stopped.
    Status heartbeat(Session& session) EXCLUDES(mutex_);
    // Claims nothing any more, waits for what is in flight until `deadline`, then cancels and waits until claims are returned.
    void drain(std::chrono::steady_clock::time_point deadline) EXCLUDES(mutex_);
    // Claims that could not be given back when their batches ended are given back now.
    void give_back_owed(const Context& context) EXCLUDES(mutex_);

    // What this process is and does now, as JSON: written for a successor, and for people who look.
    std::string snapshot() const EXCLUDES(mutex_);
    // Tells other replicas what was learnt of providers; by the thread that calls claim(). `now`: whenever it was done last.
    Status share(const Context& context, bool now = false);
    // Writes down its snapshot; looks how many replicas share the providers' rates.
    Status report(Session& session) EXCLUDES(mutex_);
    int in_flight() const EXCLUDES(mutex_);

private:
    friend class homeostat::Places;
    struct Running {
        Batch batch;
        std::stop_source stop;
        SteadyTime started{};
        std::pair<std::shared_ptr<const TargetInfo>, std::unique_ptr<HealWork>> ahead;  // read already, by what was known then
    };
    struct BatchLine {
        WallTime at{};
        std::int64_t id = 0, uid = 0;
        std::size_t documents = 0;
        double seconds = 0;
        std::string outcome;
    };
    static constexpr std::size_t kFew = 16;  // documents whose statements take longer to plan than to run
    struct Outcome {
        BatchResult result;
    };
    struct Owed {  // a claim that is to be given back
        Batch batch;
        bool counts_attempt = false;
        std::chrono::milliseconds delay{0};
        std::string message;
    };
    struct Room {
        int limit = 0;  // batches to claim, at most
        bool idle = false;  // nothing runs
        std::vector<std::string> blocked;  // providers whose slots are in use
    };

    Room room() const EXCLUDES(mutex_);
    void add_blocked(std::vector<std::string>& blocked) const;
    Result<int> take_up(int limit, bool suspects, const std::vector<std::string>& blocked, const Context& context);
    Result<bool> in_trial(SteadyTime now, const Context& context) EXCLUDES(mutex_);
    Result<int> claim_suspect(SteadyTime now, const Context& context) EXCLUDES(mutex_);
    bool writable(const Context& context);
    void note_failure(const Error& error);
    void note_stored();
    void owe(const Batch& batch, bool counts_attempt, std::chrono::milliseconds delay, const std::string& message);
    std::shared_ptr<Running> enter(Batch batch) EXCLUDES(mutex_);
    void start(std::shared_ptr<Running> running);
    boost::asio::awaitable<void> run(std::shared_ptr<Running> running);
    boost::asio::awaitable<Result<Outcome>> execute(Running& running, std::shared_ptr<const TargetInfo> target, Context context);
    boost::asio::awaitable<Result<Outcome>> heal(Running& running, std::shared_ptr<const TargetInfo> target, Context context);
    boost::asio::awaitable<Result<MemoryBudget::Hold>> admit(std::uint64_t bytes, const Context& context);
    boost::asio::awaitable<Status> read_within_budget(const Batch& batch, const TargetInfo& target, Context context,
                                                      std::vector<ReadDocument>& documents, std::unique_ptr<HealWork>& work);
    std::unique_ptr<HealWork> read_ahead(Session& session, const Batch& batch, const TargetInfo& target, const Context& context);
    Result<std::vector<ReadDocument>> read(Session& session, const Batch& batch, const TargetInfo& target, std::int64_t budget,
                                           bool ahead, const Context& context);
    std::unique_ptr<HealWork> chunk(const Batch& batch, const TargetInfo& target, std::vector<ReadDocument> documents,
                                    const Context& context);
    boost::asio::awaitable<Result<std::unique_ptr<HealWork>>> cut(const Batch& batch, const TargetInfo& target,
                                                                  std::vector<ReadDocument>& documents, Context context);
    boost::asio::awaitable<Status> embed(Batch& batch, const TargetInfo& target, HealWork& work, Context context);
    boost::asio::awaitable<Status> reserve_paid(const Batch& batch, std::uint64_t tokens, const Context& context);
    Result<Outcome> write(const Batch& batch, const TargetInfo& target, HealWork& work, const Context& context);
    Result<Outcome> change(const Batch& batch, const TargetInfo& target, const Context& context);
    Result<Outcome> as_named(Batch& batch, HealWork* work, const std::function<Result<Outcome>()>& act) EXCLUDES(mutex_);
    Status settle_failure(const Batch& batch, const TargetInfo* target, const Error& failure, const Context& context);
    void tell_failure(const Batch& batch, BatchFate fate, const Error& error);
    bool leave_to_others(const TargetInfo* target, const Error& error, const Context& context);
    Status settle(const Batch& batch, const TargetInfo* target, const Error& error, const BatchDecision& d,
                  const Context& context);
    Status end_failed(Session& session, const Batch& batch, const TargetInfo* target, const Error& error, BatchFate fate);
    void record(const Batch& batch, std::string_view outcome, SteadyTime started) EXCLUDES(mutex_);
    void ended(const Batch& batch, bool healed) EXCLUDES(mutex_);
    double random() EXCLUDES(mutex_);
    static bool express(const Batch& batch) { return batch.fed && batch.keys.size() <= kFew; }  // an edit or two
    Pool& pool_for(const Batch& batch) { return express(batch) ? parts_.feeds : parts_.writes; }
    boost::asio::any_io_executor db_for(const Batch& batch) const { return express(batch) ? parts_.feed_db : parts_.db; }

    FactoryParts parts_;
    const FactorySettings settings_;
    Budgets budgets_;
    Gauge& paused_;
    mutable Mutex mutex_;
    CondVar idle_;
    std::map<std::int64_t, std::shared_ptr<Running>> running_ GUARDED_BY(mutex_);  // by batch id
    std::map<std::string, int> reserved_ GUARDED_BY(mutex_);  // places by provider
    bool draining_ GUARDED_BY(mutex_) = false;
    TrialTurns trials_ GUARDED_BY(mutex_);
    std::vector<Owed> owed_ GUARDED_BY(mutex_);
    bool more_ GUARDED_BY(mutex_) = false;  // may be planned than the last claim could take
    std::vector<std::string> nothing_beside_ GUARDED_BY(mutex_);  // what was full when the last claim found nothing
    SteadyTime nothing_at_ GUARDED_BY(mutex_){};
    std::deque<BatchLine> ended_ GUARDED_BY(mutex_);  // newest last
    SteadyTime shared_at_{};  // of the thread that claims
    std::mt19937_64 random_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
