// The part of the way through that reads, beside the pipeline, what is true of it now: what waits, how its provider is, what is
// held back; and makes of it what conditions are made of.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "reconcilers/factory/plan.hpp"
#include "reconcilers/factory/targets.hpp"
#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/control/providers.hpp"
#include "store/control/resources.hpp"
#include "store/control/statuses.hpp"
#include "store/control/waiting.hpp"

namespace homeostat {

namespace {

// Who pinned it, why and since when is told beside it (describe, homeostat revisions).
std::string pinned_text(const PipelineSpec& declared, const Revision& pinned, bool apart) {
    const std::string reason = declared.revision_pin_reason ? fmt::format(" ({})", *declared.revision_pin_reason) : "";
    if (!apart) return fmt::format("revision {} is pinned{}, which has what is declared", pinned.number, reason);
    return fmt::format(
        "revision {} is pinned{} and served, and not what is declared; homeostat resume {} goes on to that, and a declaration of "
        "{} "
        "with {} dimensions, {} chunks, keeps it",
        pinned.number, reason, declared.name, pinned.settings.model, pinned.settings.dimensions, pinned.settings.chunker);
}

}  // namespace

// Again whenever something is recorded: a pass may take long.
Status PipelineReconciler::read_truth(Session& session, Pass& pass) const {
    Result<Waiting> waiting = read_waiting(session, pass.uid);
    if (!waiting) return waiting.error();
    pass.status.waiting = *std::move(waiting);
    if (pass.declared.suspend) {
        Result<std::optional<Suspension>> suspension = read_suspension(session, pass.uid);
        if (!suspension) return suspension.error();
        pass.suspension = *std::move(suspension);
    }
    Result<std::string> not_followed = why_not_followed(session, pass);
    if (!not_followed) return not_followed.error();
    pass.not_followed = *std::move(not_followed);
    Result<Holds> holds = read_holds(session, pass.declared, pass.provider, pass.status.conditions);
    if (!holds) return holds.error();
    pass.holds = *std::move(holds);
    Result<std::optional<Error>> distrusted = read_failed_verification(session, pass.declared);
    if (!distrusted) return distrusted.error();
    pass.distrusted = *std::move(distrusted);
    const std::string model = pass.wanted().model;
    Gateway::Health health = gateway_.health(pass.provider, model);
    pass.provider_trouble = std::move(health.trouble);
    if (health.known) return {};
    Result<std::optional<ProviderRecord>> record = read_provider_record(session, pass.provider.uid, model);
    if (!record) return record.error();
    if (*record && (*record)->generation == pass.provider.generation && !(*record)->healthy)
        pass.provider_trouble = ProviderTrouble{(*record)->reason, (*record)->message};
    return {};
}

// While the next revision is built the change feed heals what is served beside it, where it can. (What it could not, though it
// was named, homeostat.waiting tells of.)
Result<std::string> PipelineReconciler::why_not_followed(Session& session, const Pass& pass) const {
    if (!pass.beside() || !pass.heals()) return std::string();
    const Revision& served = *pass.served();
    std::string why;
    if (settings_.once || !pass.feed.kept || pass.capture_fingerprint.empty()) {
        why = "no change feed names them, and sweeps look at the next revision";
    } else if (served.settings.key != pass.wanted().key) {
        why = "its key is another";
    } else {
        Result<ProviderSpec> provider = provider_of_revision(session, pass.declared, served);
        if (provider) return std::string();
        if (provider.error().code != kRevisionOutdated) return provider.error();
        why = "no provider makes its vectors any more";
    }
    return fmt::format("revision {} is served until the next one is filled, and edits do not reach it: {}", served.number, why);
}

// Of the pipelines that this one depends on, the first that is not ready.
Result<std::string> PipelineReconciler::awaits(const Pass& pass) {
    if (pass.declared.depends_on.empty()) return std::string();
    Result<Pool::Lease> session = reads_.acquire(pass.context);
    if (!session) return session.error();
    for (const std::string& name : pass.declared.depends_on) {
        Result<PipelineSpec> other = find_pipeline(**session, name);
        Result<PipelineStatus> status = other ? read_status(**session, other->uid) : Result<PipelineStatus>(other.error());
        const bool ready = status && status->observed_generation == other->generation &&
                           std::any_of(status->conditions.begin(), status->conditions.end(),
                                       [](const Condition& c) { return c.type == "Ready" && c.status == "True"; });
        if (ready) continue;
        Result<std::vector<std::string>> ring = dependency_ring(**session, pass.uid);
        if (!ring) return ring.error();
        if (ring->empty()) return name;
        return invalid(fmt::format("pipeline \"{}\": by depends_on \"{}\" wait for each other; take a name out of one of them",
                                   pass.declared.name, fmt::join(*ring, "\", \"")));
    }
    return std::string();
}

// What the sweep left to the feed may be older than what named it: of a source that was not fed until this run, or of a gap,
// nobody knows since when it differs. So the run ends, and is told to have converged, once that is healed, or has waited for so
// long that homeostat.waiting says so.
Result<bool> PipelineReconciler::waits_for_feed(Pass& pass) {
    if (settings_.once || pass.run->feed_trusted || !pass.feed.kept || !pass.heals()) return false;
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    const SteadyTime now = clock_.steady_now();
    SteadyTime swept{};
    {
        const Lock lock(mutex_);
        auto& [run, at, source] = swept_[pass.uid];
        if (std::exchange(run, pass.run->id) != pass.run->id) at = now;
        swept = at;
    }
    return feed_waits(**session, pass.uid, std::chrono::duration_cast<Millis>(now - swept));
}

// A process that has just begun has tried nothing yet.
bool PipelineReconciler::renewed(const Pass& pass) {
    const bool unwell = std::any_of(pass.status.conditions.begin(), pass.status.conditions.end(),
                                    [](const Condition& c) { return c.type == "ProviderHealthy" && c.status == "False"; });
    if (pass.state.failures == 0 || !unwell) return false;
    const std::uint64_t now = gateway_.renewals(pass.provider.name);
    const Lock lock(mutex_);
    const auto it = tried_.find(pass.uid);
    return it == tried_.end() || it->second != now;
}

void PipelineReconciler::tried(const Pass& pass) {
    const std::uint64_t now = gateway_.renewals(pass.provider.name);
    const Lock lock(mutex_);
    tried_[pass.uid] = now;
}

// Deletions that the last complete sweep held back are held until another one decides.
void PipelineReconciler::recall_prune(Pass& pass) {
    if (pass.status.blocked_prunes == 0 || !pass.heals()) return;
    const auto& conditions = pass.status.conditions;
    const auto told = std::find_if(conditions.begin(), conditions.end(),
                                   [](const Condition& c) { return c.type == "PruneBlocked" && c.status == "True"; });
    if (told == conditions.end()) return;
    pass.prune.blocked = true;
    pass.prune.reason = told->reason;
    pass.prune.message = told->message;
}

Seen PipelineReconciler::seen_in(const Pass& pass, bool working) {
    Seen seen;
    const PipelineStatus& status = pass.status;
    // What waits for a lock is not carried out yet: what is told is true of the declaration before.
    seen.generation = pass.lock_wait.empty() ? pass.declared.generation : status.observed_generation;
    seen.suspended = pass.declared.suspend;
    seen.suspend_reason = pass.declared.suspend_reason.value_or("");
    if (pass.suspension && pass.suspension->pin == Pin::rollback) {
        seen.rolled_back = fmt::format("{}{}; what is searched is older than the source on purpose, until homeostat resume {}",
                                       pass.suspension->by.empty() ? "" : "by " + pass.suspension->by + ": ", seen.suspend_reason,
                                       pass.declared.name);
        seen.rolling_back = pass.points.rollback.has_value();
    } else if (std::any_of(status.conditions.begin(), status.conditions.end(),
                           [](const Condition& c) { return c.type == kRolledBack; })) {
        seen.rolled_back = "";
    }
    seen.source_documents = status.source_documents;
    seen.declared = pass.declared.documents;
    // What was once told to be short, and is not declared any more, is told to be enough.
    const auto& told = status.conditions;
    if (!seen.declared && std::any_of(told.begin(), told.end(), [](const Condition& c) { return c.type == "SourceShort"; }))
        seen.declared = 0;
    // As with what is short: what was once told to be cut, and is of an unknown model now, is told not to be.
    const std::uint32_t size = chunk_tokens(pass.declared);
    const std::uint32_t reads = model_reads(pass.provider);
    if ((reads > 0 && size > 0) ||
        std::any_of(told.begin(), told.end(), [](const Condition& c) { return c.type == "ChunksCut"; })) {
        const std::string model = pass.wanted().model;
        seen.cut = cut_text(size, reads, model);
        if (!seen.cut->empty()) *seen.cut += "; declare a smaller chunk_size";
    }
    seen.documents = status.documents;
    seen.drift = status.drift;
    seen.dead_letters = status.dead_letters;
    seen.completeness = pass.declared.completeness;
    seen.prune = pass.prune;
    seen.feed = pass.feed_seen;
    seen.waiting_for = pass.waiting_for;
    seen.lock_wait = pass.lock_wait;
    seen.budget = pass.holds.budget;
    seen.plan = pass.holds.plan;
    if (!seen.rolling_back) seen.failure = pass.distrusted;
    seen.waiting = status.waiting;
    seen.provider_trouble = pass.provider_trouble;
    if (pass.run) {
        seen.unkeyed = pass.run->unkeyed;
        seen.bypassed = pass.run->bypassed;
    }
    seen.beside = pass.beside();
    seen.not_followed = pass.not_followed;
    if (const Revision* pinned = pass.pinned()) {
        seen.pinned_apart = !pinned->settings.same_vectors(RevisionSettings::of(pass.declared, pass.declared_provider));
        seen.pinned = pinned_text(pass.declared, *pinned, seen.pinned_apart);
    } else if (std::any_of(told.begin(), told.end(), [](const Condition& c) { return c.type == kRevisionPinned; })) {
        seen.pinned = "";
    }
    if (pass.run && working) {
        seen.working = true;
        seen.phase = phase_of(*pass.run);
        seen.first = !status.last_sweep;
    }
    return seen;
}

}  // namespace homeostat
