#include "reconcilers/pipeline/verification.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/fault_point.hpp"
#include "reconcilers/inspect/audit.hpp"
#include "store/control/budgets.hpp"
#include "store/control/leases.hpp"
#include "store/control/rollbacks.hpp"
#include "store/control/statuses.hpp"
#include "store/control/verifications.hpp"
#include "store/data/kept_vectors.hpp"
#include "store/data/vector_sample.hpp"

namespace homeostat {

namespace {

constexpr std::int64_t kWorthASample = 1'000;  // texts
constexpr std::size_t kUsualSample = 8;

// Half of what this run wrote, first and last: a model that changes under way differs from one of them. Half of all there is: one
// that changed before the run differs from what was there.
Result<std::vector<SampledChunk>> pick(Session& session, const VerifiedRun& run, std::size_t n) {
    return guarded([&] {
        Transaction tx = session.begin(TxMode::read_snapshot);
        std::vector<SampledChunk> out = sample_run(tx, run.revision.tables, run.run_id, (n + 1) / 2);
        for (SampledChunk& s : sample_chunks(tx, run.revision.tables, n / 2)) out.push_back(std::move(s));
        return out;
    });
}

Error not_trusted(const VerifiedRun& run, const std::string& what, bool undone) {
    return {.cls = ErrorClass::bad_answer,
            .message =
                fmt::format("provider \"{}\" does not answer as model \"{}\" did: {}; {}; correct the provider, or declare the "
                            "model that is wanted, then: homeostat resume {}",
                            run.provider.name, run.revision.settings.model, what,
                            undone ? fmt::format("run {} is rolled back, and what was searched before it is searched", run.run_id)
                                   : fmt::format("what run {} embedded is not searched any more", run.run_id),
                            run.pipeline.name),
            .origin = Origin::theirs,
            .code = std::string(kVerificationFailed)};
}

// Where the run can be rolled back it is asked for, and the pipeline is pinned; else what the run embedded is found by nobody.
Error condemn(Transaction& tx, const VerifiedRun& run, const std::string& what, Condemned& condemned, const Context& context) {
    const std::string why = "verification failed: " + what;
    condemned.undone = ask_to_undo_run(tx, run.pipeline.uid, run.run_id, why);
    if (!condemned.undone) {
        condemned.distrusted = distrust_run(tx, run.revision.tables, run.run_id);
        suspend_unverified(tx, run.pipeline.uid, why);
    }
    Error error = not_trusted(run, what, condemned.undone);
    add_event(tx, {.uid = run.pipeline.uid,
                   .type = "Warning",
                   .reason = std::string(kVerificationFailed),
                   .message = error.message,
                   .reconcile_id = context.reconcile_id});
    return error;
}

Status record(Session& session, const VerifiedRun& run, const AuditResult& found, const Paid& paid, Condemned& condemned,
              const Context& context) {
    const std::string what = audit_text(found, run.pipeline.verify_tolerance);
    Error error;
    // Before, so that no crash leaves any; and again when nothing is written any more.
    if (!found.agrees()) {
        if (const Status forgotten = forget_vectors_of(session, run.provider.uid); !forgotten) return forgotten;
    }
    Status written = guarded([&] {
        Transaction tx = session.begin();
        hold_lease(tx, pipeline_lease(run.pipeline.uid), context.epoch);
        if (!found.agrees()) error = condemn(tx, run, what, condemned, context);
        write_verification(tx, {run.pipeline.uid, run.run_id, static_cast<std::int64_t>(found.asked), found.worst,
                                !found.agrees(), error.message});
        if (has_budget(run.pipeline, run.provider)) settle_budget(tx, run.pipeline.uid, run.run_id, paid);
        if (!found.agrees()) {
            HOMEOSTAT_REACH("verification.before_commit");
        }
        tx.commit();
    });
    if (!written) return written;
    if (found.agrees()) return {};
    HOMEOSTAT_REACH("verification.after_commit");
    if (const Status forgotten = forget_vectors_of(session, run.provider.uid); !forgotten) return forgotten;
    return error;
}

}  // namespace

Embeddings answered_texts(Embedded again, std::vector<SampledChunk>& sample) {
    std::set<std::size_t> refused;
    for (const RefusedText& r : again.refused) refused.insert(r.index);
    if (refused.empty()) return std::move(again.vectors);
    Embeddings out = again.vectors;
    out.values.clear();
    std::vector<SampledChunk> kept;
    for (std::size_t i = 0; i < sample.size(); ++i) {
        if (refused.contains(i)) continue;
        kept.push_back(std::move(sample[i]));
        out.values.insert(out.values.end(), again.vectors.row(i), again.vectors.row(i) + out.dimensions);
    }
    sample = std::move(kept);
    return out;
}

std::size_t sample_of(const PipelineSpec& pipeline, const ProviderSpec& provider, std::int64_t embedded) noexcept {
    if (embedded <= 0) return 0;
    if (pipeline.verify_sample) return static_cast<std::size_t>(std::max(0, *pipeline.verify_sample));
    const bool remote = provider.kind != "local" && provider.kind != "hashing";
    return remote && embedded >= kWorthASample ? kUsualSample : 0;
}

Status verify_run(Pool& writes, const AskAgain& ask, const VerifiedRun& run, Condemned& condemned, const Context& context) {
    const std::size_t n = sample_of(run.pipeline, run.provider, run.embedded);
    if (n == 0 || !ask) return {};
    std::vector<SampledChunk> sample;
    {
        Result<Pool::Lease> session = writes.acquire(context);
        if (!session) return session.error();
        Result<std::vector<SampledChunk>> picked = pick(**session, run, n);
        if (!picked) return picked.error();
        sample = *std::move(picked);
    }
    if (sample.empty()) return {};
    const RevisionSettings& s = run.revision.settings;
    const std::vector<ProviderSpec> no_peers;
    Spending spent;
    EmbedOrder order{run.provider, no_peers, s.model, s.dimensions, TextRole::document, true, &spent};
    order.fresh = true;
    Result<Embedded> again = ask(std::move(order), texts_of(sample), context);
    if (!again) return run.revision.state == "served" ? Status() : Status(again.error());
    const Embeddings vectors = answered_texts(*std::move(again), sample);
    Result<Pool::Lease> session = writes.acquire(context);
    if (!session) return session.error();
    return record(**session, run, compare_sample(sample, vectors, run.pipeline.verify_tolerance),
                  Paid(spent.paid.begin(), spent.paid.end()), condemned, context);
}

Result<std::optional<Error>> read_failed_verification(Session& session, const PipelineSpec& pipeline) {
    if (!pipeline.suspend) return std::optional<Error>();
    Result<std::optional<std::string>> message = failed_verification(session, pipeline.uid);
    if (!message) return message.error();
    if (!*message) return std::optional<Error>();
    return std::optional<Error>(Error{.cls = ErrorClass::bad_answer,
                                      .message = **std::move(message),
                                      .origin = Origin::theirs,
                                      .code = std::string(kVerificationFailed)});
}

}  // namespace homeostat
