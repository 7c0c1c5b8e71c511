// The part of a pass that keeps the tables of the revision under work and the served view as the declaration and the source want
// them.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "core/fault_point.hpp"
#include "reconcilers/factory/targets.hpp"
#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/data/revision_columns.hpp"
#include "store/data/revision_keys.hpp"
#include "store/data/search_function.hpp"
#include "store/data/served_view.hpp"
#include "store/data/source_fingerprint.hpp"
#include "store/data/vector_index.hpp"

namespace homeostat {

namespace {

// A kept revision takes over at once: what was planned for another goes, and what changed since it was kept is a gap that the
// next run closes. Nobody writes to either meanwhile.
void take_over_at_once(Transaction& tx, std::int64_t uid, std::int32_t number, const std::string& reconcile_id) {
    hold_writers(tx, uid);
    discard_superseded_batches(tx, uid, number);
    add_event(tx, {.uid = uid,
                   .reason = "RevisionActivated",
                   .message = fmt::format("revision {} is served again, and pinned", number),
                   .reconcile_id = reconcile_id});
}

void drop_unused(Transaction& tx, Revision& worked, std::vector<Revision>& revisions, const SourceShape& source) {
    drop_unused_metadata(tx, worked, source);
    for (Revision& r : revisions) {
        if (r.state == "retired" && r.number != worked.number) drop_unused_metadata(tx, r, source);
    }
}

}  // namespace

// What the transaction has changed so far.
struct PipelineReconciler::Prepared {
    bool changed = false;             // tables, so that the view may be outdated
    std::vector<std::string> grants;  // to give back once the view is made
};

// Finds the revision to work on, or makes it. One whose keys can be values of the source's type no more is left as it is, and the
// next one is filled beside it.
Result<PipelineReconciler::Prepared> PipelineReconciler::find_or_make_revision(Pass& pass, Transaction& tx,
                                                                               const RevisionSettings& wanted) {
    Prepared out;
    const Revision* same = revision_holding(pass.revisions, wanted);
    if (same != nullptr) {
        pass.revision = *same;
        pass.spec = spec_of_revision(pass.declared, pass.revision.settings);
    }
    Result<SourceShape> source = inspect_source(tx, pass.spec);
    if (!source) return source.error();
    pass.source = *std::move(source);
    KeyAlignment keys;
    const bool lost = same != nullptr && !make_whole(tx, *same, pass.vectors);
    if (same != nullptr && !lost) {
        Result<KeyAlignment> aligned = align_keys(tx, pass.spec, pass.revision, pass.source);
        if (!aligned) return aligned.error();
        keys = *std::move(aligned);
        out.grants = keys.grants;
    }
    const bool fresh = same == nullptr || lost || keys.done == KeysAligned::impossible;
    const bool turned = turn_to_revision(tx, pass.uid, fresh ? 0 : pass.revision.number, pass.revisions);
    out.changed = fresh || turned || keys.done == KeysAligned::altered;
    if (fresh) {
        if (lost) tell_lost(pass, tx, *same);
        pass.spec = pass.declared;
        if (const Status made = make_revision(pass, tx, wanted); !made) return made.error();
        return out;
    }
    pass.revision = *revision_holding(pass.revisions, wanted);
    Result<bool> metadata = align_metadata(tx, pass.revision, pass.source);
    if (!metadata) return metadata.error();
    out.changed = out.changed || *metadata;
    return out;
}

// A column that was put back, a right that was granted: nobody waits for the time of the next try.
Status PipelineReconciler::look_whether_mended(Pass& pass) {
    if (pass.state.failures == 0) {
        // Of a source without triggers nothing else tells before its next sweep: a view that was replaced, a table that was
        // swapped.
        if (pass.run || pass.feed.trusted || settings_.once) return {};
        Result<Pool::Lease> session = reads_.acquire(pass.context);
        if (!session) return session.error();
        return guarded([&] {
            Transaction tx = (*session)->begin(TxMode::read_only);
            pass.source_facts = read_source_fingerprints(tx, {pass.uid}).front();
            const Lock lock(mutex_);
            std::string& then = std::get<std::string>(swept_[pass.uid]);
            pass.altered = !then.empty() && then != pass.source_facts;
            if (then.empty()) then = pass.source_facts;
        });
    }
    const auto& told = pass.status.conditions;
    const bool unusable = std::any_of(told.begin(), told.end(), [](const Condition& c) {
        return c.type == "Stalled" && c.status == "True" &&
               (c.reason == "SourceUnusable" || c.reason == "RightMissing" || c.reason == kSourceFiltered);
    });
    if (!unusable) return {};
    Result<Pool::Lease> session = reads_.acquire(pass.context);
    if (!session) return session.error();
    return guarded([&] {
        Transaction tx = (*session)->begin(TxMode::read_only);
        const Revision* same = pass.holding();
        pass.mended = inspect_source(tx, same == nullptr ? pass.declared : spec_of_revision(pass.declared, same->settings)).ok();
    });
}

// Somebody dropped them, perhaps with something they hung on.
void PipelineReconciler::tell_lost(Pass& pass, Transaction& tx, const Revision& revision) {
    const std::string message = fmt::format(
        "pipeline \"{}\": of its revision {} somebody else has dropped {}, in whole or in part; everything is embedded anew",
        pass.declared.name, revision.number, fmt::join(lost_tables(tx, revision), ", "));
    spdlog::warn("{}", message);
    add_event(tx, {.uid = pass.uid,
                   .type = "Warning",
                   .reason = "TablesGone",
                   .message = message,
                   .reconcile_id = pass.context.reconcile_id});
}

Status PipelineReconciler::make_revision(Pass& pass, Transaction& tx, const RevisionSettings& wanted) {
    const std::int32_t number = next_revision_number(tx, pass.uid);
    Result<Revision> made = create_revision(tx, pass.declared, wanted, pass.source, pass.vectors, number);
    if (!made) return made.error();
    pass.revision = *std::move(made);
    pass.revisions.push_back(pass.revision);
    // Whoever plans now asks first which revisions there are: those who have asked have committed before this one is there.
    hold_writers(tx, pass.uid);
    add_event(tx, {.uid = pass.uid,
                   .reason = "RevisionCreated",
                   .message = fmt::format("revision {}: {} with {} dimensions, {} chunks", number, wanted.model,
                                          wanted.dimensions, wanted.chunker),
                   .reconcile_id = pass.context.reconcile_id});
    return {};
}

// A first revision is served at once, so that search works while it fills, and so is one that is pinned; else a later one is
// built beside the one that is served.
Status PipelineReconciler::prepare_revision(Pass& pass) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    const RevisionSettings wanted = pass.wanted();
    const Revision* back =
        pass.pinned() != nullptr && pass.served() != nullptr && pass.holding() != pass.served() ? pass.holding() : nullptr;
    const std::int32_t activated = back != nullptr ? back->number : 0;
    const Pass::Known before = pass.known();
    bool shows = false;
    Status done = guarded([&]() -> Status {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        Result<VectorExtension> vectors = find_vector_extension(tx);
        if (!vectors) return vectors.error();
        pass.vectors = *std::move(vectors);
        if (activated > 0) note_retired_gap(tx, pass.uid, activated);
        Result<Prepared> prepared = find_or_make_revision(pass, tx, wanted);
        if (!prepared) return prepared.error();
        bool changed = prepared->changed;
        // What has lost its tables shows nobody anything: the next one is shown as it is filled.
        const bool first = pass.served() == nullptr || !make_whole(tx, *pass.served(), pass.vectors);
        // Where its tables were lost, it is made again beside the one that is served.
        const bool at_once = activated > 0 && pass.revision.number == activated;
        const bool serving = first || at_once || pass.revision.state == "served";
        if (serving && !changed) {
            Result<bool> current = view_is_current(tx, pass.spec, pass.revision, pass.source);
            if (!current) return current.error();
            changed = !*current;
        }
        shows = serving && (changed || first);
        if (shows) {
            if (at_once) take_over_at_once(tx, pass.uid, activated, pass.context.reconcile_id);
            mark_served(tx, pass.uid, pass.revision.number);
            pass.note_served();
            if (const Status shown = serve_revision(tx, pass.spec, pass.revision, pass.source, pass.vectors); !shown)
                return shown;
            for (const std::string& grant : prepared->grants) tx.exec(grant);
        } else {
            if (serving && wants_search(pass.spec)) keep_search(tx, pass.spec, pass.revision, pass.source, pass.vectors);
            drop_unused(tx, pass.revision, pass.revisions, pass.source);
        }
        HOMEOSTAT_REACH("revision.before_commit");
        tx.commit();
        if (activated > 0) pass.feed.trusted = false;
        HOMEOSTAT_REACH("revision.after_commit");
        return {};
    });
    if (!done) pass.know(before);
    if (!done || !shows) return done;
    // Nobody who searches waits for it: the view shows none of it any more.
    return guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        drop_unused(tx, pass.revision, pass.revisions, pass.source);
        tx.commit();
    });
}

Status PipelineReconciler::enter_indexing(Pass& pass) {
    if (pass.run->phase != RunPhase::indexing) {
        Result<Pool::Lease> session = writes_.acquire(pass.context);
        if (!session) return session.error();
        pass.run->phase = RunPhase::indexing;
        const Status saved = guarded([&] {
            Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
            save_run(tx, *pass.run);
            tx.commit();
        });
        if (!saved) return saved;
    }
    return record_progress(pass);
}

Status PipelineReconciler::keep_index(Pass& pass) {
    {
        Result<Pool::Lease> session = writes_.acquire(pass.context);
        if (!session) return session.error();
        Result<IndexState> state = index_state(**session, pass.spec, pass.revision);
        if (!state) return state.error();
        if (*state == IndexState::valid || pass.declared.management != "Manage") return {};
        HOMEOSTAT_REACH("index.before");
        if (*state == IndexState::absent) {
            Result<bool> built = build_small_index(**session, pass.spec, pass.revision, pass.vectors);
            if (!built) return built.error();
            if (*built && (pass.revision.state != "served" || !wants_search(pass.spec))) return {};
            if (*built) {
                return guarded([&] {
                    Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
                    keep_search(tx, pass.spec, pass.revision, pass.source, pass.vectors);
                    tx.commit();
                });
            }
        }
    }
    if (const Status told = enter_indexing(pass); !told) return told;
    const Span span = telemetry_.tracer.start("build index", SpanKind::internal, pass.context.span);
    const SpanScope scope(telemetry_.tracer, span);
    // A connection of its own: a build may take as long as it takes, and needs the session's timeouts off.
    ConnectOptions options = writes_.options();
    options.application_name = "homeostat-index";
    options.statement_timeout_ms = 0;
    Result<std::unique_ptr<Session>> own = Session::connect(options);
    if (!own) return own.error();
    return build_index(**own, pass.spec, pass.revision, pass.vectors, [&](Transaction& tx) {
        if (pass.revision.state == "served") keep_search(tx, pass.spec, pass.revision, pass.source, pass.vectors);
    });
}

}  // namespace homeostat
