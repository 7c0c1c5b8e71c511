// The part of the way through that takes over vectors of others, where somebody has asked for that (adopting.hpp). It comes
// before a run: what is adopted need not be embedded.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "core/fault_point.hpp"
#include "reconcilers/gateway/plural.hpp"
#include "reconcilers/pipeline/adopting.hpp"
#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/control/adoptions.hpp"
#include "store/feed/feed.hpp"

namespace homeostat {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kAtOnceAgain{1};
constexpr milliseconds kAskedAgain{5'000};

// What is written about one request, each in a transaction under the pipeline's lease.
class AdoptionRecord {
public:
    AdoptionRecord(Session& session, const PipelineSpec& declared, const Context& context)
        : session_(session), declared_(declared), context_(context) {}

    Result<std::optional<AdoptionRequest>> read() const {
        return guarded([&] {
            Transaction tx = session_.begin(TxMode::read_only);
            return read_adoption_request(tx, declared_.uid);
        });
    }

    // What was adopted so far stays: it is true. Its run, where it had begun one, has failed.
    Status refuse(const AdoptionRequest& request, const std::optional<Run>& run, const std::string& why) const {
        return guarded([&] {
            Transaction tx = fenced();
            const std::string so_far = request.counts.documents > 0
                                           ? fmt::format("; {} stay adopted", plural(request.counts.documents, "document"))
                                           : "";
            if (run && run->id == request.run_id) end_run(tx, *run, declared_.name, "Failed", why + so_far);
            refuse_adoption(tx, request.id, why + so_far);
            tell(tx, "Warning", "AdoptionRefused", fmt::format("nothing more of {} is adopted: {}", request.relation, why));
            tx.commit();
            spdlog::warn("pipeline \"{}\": nothing more of {} is adopted: {}", declared_.name, request.relation, why);
        });
    }

    Status wait_for(const AdoptionRequest& request, const Error& error) const {
        return guarded([&] {
            Transaction tx = fenced();
            tell_adoption(tx, request.id, "it waits: " + error.message);
            tx.commit();
        });
    }

    // What was planned goes, whoever holds it: whatever is left after this is found by the sweep that follows.
    Result<Run> begin(AdoptionRequest& request, const Revision& revision, const std::optional<Run>& before) const {
        Result<Totals> stored = count_stored(session_, revision);
        if (!stored) return stored.error();
        return guarded([&] {
            Transaction tx = fenced();
            hold_writers(tx, declared_.uid);
            if (before)
                end_run(tx, *before, declared_.name, "Superseded", fmt::format("vectors of {} are adopted", request.relation));
            discard_all_batches(tx, declared_.uid);
            forget_prune_candidates(tx, declared_.uid);
            distrust_feed(tx, declared_.uid, milliseconds(0));
            Run wanted;
            wanted.uid = declared_.uid;
            wanted.revision = revision.number;
            wanted.generation = declared_.generation;
            wanted.reconcile_id = context_.reconcile_id;
            wanted.trigger = "adopt";
            wanted.traceparent = context_.span.traceparent();
            Run run = start_run(tx, wanted);
            open_checkpoint(tx, revision, run.id, *stored);
            begin_adoption(tx, request.id, run.id);
            tell(tx, "Normal", "Adopting",
                 fmt::format("vectors of {} are adopted, for {}", request.relation, request.requested_by));
            HOMEOSTAT_REACH("adopt.before_begin_commit");
            tx.commit();
            HOMEOSTAT_REACH("adopt.after_begin");
            request.state = AdoptionState::running;
            request.run_id = run.id;
            return run;
        });
    }

    Result<Totals> end(const AdoptionRequest& request, const Run& run, const Revision& revision) const {
        Result<Totals> stored = count_stored(session_, revision);
        if (!stored) return stored;
        const std::string message = adoption_text(request);
        const Status ended = guarded([&] {
            Transaction tx = fenced();
            end_run(tx, run, declared_.name, "Adopted", message);
            end_adoption(tx, declared_.uid, request, *stored, message);
            tell(tx, "Normal", "Adopted", message);
            HOMEOSTAT_REACH("adopt.before_end_commit");
            tx.commit();
            HOMEOSTAT_REACH("adopt.after_end");
        });
        if (!ended) return ended.error();
        spdlog::info("pipeline \"{}\": {}", declared_.name, message);
        if (const Status tended = tend_tables(session_, revision); !tended) return tended.error();
        return stored;
    }

private:
    Transaction fenced() const { return fenced_transaction(session_, pipeline_lease(declared_.uid), context_); }
    void tell(Transaction& tx, std::string_view type, std::string_view reason, std::string message) const {
        add_event(tx, {.uid = declared_.uid,
                       .type = std::string(type),
                       .reason = std::string(reason),
                       .message = std::move(message),
                       .reconcile_id = context_.reconcile_id});
    }

    Session& session_;
    const PipelineSpec& declared_;
    const Context& context_;
};

}  // namespace

Result<ReconcileOutcome> PipelineReconciler::adopt(Pass& pass) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    const AdoptionRecord record(**session, pass.declared, pass.context);
    Result<std::optional<AdoptionRequest>> read = record.read();
    if (!read) return read.error();
    if (!*read) return run_pass(pass);
    AdoptionRequest& request = **read;
    const auto refuse = [&](const std::string& why) -> Result<ReconcileOutcome> {
        if (const Status told = record.refuse(request, pass.run, why); !told) return told.error();
        return ReconcileOutcome{.again_in = kAtOnceAgain};
    };
    const bool own_run = pass.run && pass.run->id == request.run_id;
    if (const std::string why = why_not_adopted(pass, request.generation, own_run); !why.empty()) return refuse(why);
    if (request.state == AdoptionState::requested) {
        if (!settings_.ask) return refuse("this process asks no provider");
        Result<std::string> differs =
            audit_adoption(**session, settings_.ask, {pass.declared, pass.provider, pass.wanted()}, request, pass.context);
        if (!differs && refuses_adoption(differs.error())) return refuse(differs.error().message);
        if (!differs) {
            if (const Status told = record.wait_for(request, differs.error()); !told) return told.error();
            if (settings_.once) return differs.error();
            return ReconcileOutcome{.end = PassEnd::waiting, .again_in = kAskedAgain};
        }
        if (!differs->empty()) return refuse(*differs);
    }
    if (const Status turn = turn_to_alter(pass); !turn) return turn.error();
    if (const Status ready = prepare_revision(pass); !ready) {
        if (const Status told = record.wait_for(request, ready.error()); !told) return told.error();
        return ready.error();
    }
    if (request.state == AdoptionState::audited) {
        Result<Run> begun = record.begin(request, pass.revision, pass.run);
        if (!begun) return begun.error();
        pass.run = *std::move(begun);
        pass.open = {};
    }
    if (!pass.run || pass.run->id != request.run_id || pass.run->revision != pass.revision.number)
        return refuse("its run was ended, or its tables were dropped, under way");
    Result<bool> all = adopt_some(**session, clock_, {pass.declared, pass.source, pass.revision, pass.vectors, request.run_id},
                                  request, pass.context);
    if (!all && refuses_adoption(all.error())) return refuse(all.error().message);
    if (!all) return all.error();
    if (const Status told = record_progress(pass); !told) return told.error();
    if (!*all) return ReconcileOutcome{.again_in = kAtOnceAgain};
    Result<Totals> stored = record.end(request, *pass.run, pass.revision);
    if (!stored) return stored.error();
    return ReconcileOutcome{.again_in = kAtOnceAgain};
}

// "" where it may go on.
std::string PipelineReconciler::why_not_adopted(const Pass& pass, std::int64_t generation, bool own_run) {
    if (generation != pass.declared.generation) return "the pipeline was declared otherwise since it was asked for; ask again";
    if (pass.points.rollback) return "the pipeline is being rolled back";
    if (pass.declared.management != "Manage") return fmt::format("its management is {}", pass.declared.management);
    if (pass.pinned() != nullptr) return fmt::format("the pipeline is pinned to revision {}", pass.pinned()->number);
    if (pass.unprovided) return pass.unprovided->message;
    if (!own_run && pass.served() != nullptr && pass.holding() != pass.served()) {
        return fmt::format("revision {} is served, and another is to be filled beside it; wait until that has taken over",
                           pass.served()->number);
    }
    if (pass.run && !own_run && !pass.declared.suspend) {
        return fmt::format(
            "run {} has begun to fill it; homeostat suspend {} stops that, and what it has not filled yet can be "
            "adopted then",
            pass.run->id, pass.declared.name);
    }
    return "";
}

}  // namespace homeostat
