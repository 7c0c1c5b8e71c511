// What becomes of changes that were taken out of a feed: batches of the revision that is worked on, and of the served one where
// that is another.
#include <algorithm>
#include <utility>

#include "reconcilers/factory/plan.hpp"
#include "reconcilers/factory/prune.hpp"
#include "reconcilers/feed.hpp"
#include "store/control/batches.hpp"

namespace homeostat {

namespace {

// Of the same pipeline: what is searched now before what will be.
constexpr std::int32_t kSearchedFirst = 20;
constexpr std::size_t kDeletionsOfABatch = 1'000;

}  // namespace

Feed::Wanted Feed::wanted_of(Transaction& tx, const TargetInfo& target, const Changes& changes) {
    Wanted wanted{.target = target, .revision = target.revision.number, .heal = {}, .gone = {}};
    const auto with_key = [](std::int64_t id, const Key& key) {
        Key out{std::to_string(id)};
        out.insert(out.end(), key.begin(), key.end());
        return out;
    };
    for (const DriftItem& item : changes.items) {
        if (item.cls == DriftClass::orphaned) {
            wanted.gone.push_back(with_key(item.document_id, item.key));
        } else {
            wanted.heal.push_back(item);
            wanted.fresh += item.cls == DriftClass::missing ? 1 : 0;
        }
    }
    // A row that went while its first heal is under way: its document comes to be, and has to go again. (Its id is not known.)
    if (!changes.unborn.empty()) {
        Result<std::vector<Key>> coming = coming_to_be(tx, target.source, target.revision, changes.unborn);
        if (!coming) throw StoreFailure(coming.error());
        for (const Key& key : *coming) wanted.gone.push_back(with_key(0, key));
    }
    return wanted;
}

// Whether all that are gone may go. What is held back is the sweep's to hold, with its reason. A document is removed from two
// revisions and counts once.
bool Feed::allow_prunes(Transaction& tx, std::int64_t uid, std::vector<Wanted>& wanted, const FeedGate& gate,
                        const Changes& changes) {
    std::int64_t gone = 0;
    for (const Wanted& w : wanted) gone = std::max(gone, static_cast<std::int64_t>(w.gone.size()));
    if (gone == 0) return true;
    const TargetInfo& target = wanted.front().target;
    const bool allowed = target.spec.prune != "Never" && prunes_allowed(target, gate, changes, gone);
    if (allowed) note_feed_prunes(tx, uid, gone);
    if (!allowed) std::ranges::for_each(wanted, [](Wanted& w) { w.gone.clear(); });
    return allowed || target.spec.prune == "Never";
}

// Each named key is planned for the served revision too, or that one has a gap from here on: no sweep looks at it.
void Feed::plan(Transaction& tx, std::int64_t uid, const Targeted& targets, const FeedGate& gate, const Changes& changes,
                const Context& context, Drained& drained) {
    std::vector<Wanted> wanted;
    if (targets.served) {
        wanted.push_back(wanted_of(tx, *targets.served, changes));
        wanted.back().beside = true;
        use_operators(tx, targets.worked->source);
        Result<Changes> next = compare_changes(tx, uid, targets.worked->source, targets.worked->revision, changes.named);
        if (!next) throw StoreFailure(next.error());
        wanted.push_back(wanted_of(tx, *targets.worked, *next));
    } else {
        wanted.push_back(wanted_of(tx, *targets.worked, changes));
    }
    bool gap = gate.served > 0 && !targets.served && !changes.named.empty();
    bool sweep = changes.sweep;
    for (Wanted& w : wanted) {
        // The first N of a source in key order: what comes or goes may move the border, and only a sweep sees the border.
        if (w.target.spec.documents && (w.fresh > 0 || !w.gone.empty())) sweep = true;
        if (w.target.unprovided && !w.heal.empty()) {
            (w.beside ? gap : sweep) = true;
            w.heal.clear();
        }
    }
    if (sweep && targets.worked->spec.documents) {
        for (Wanted& w : wanted) {
            std::erase_if(w.heal, [](const DriftItem& item) { return item.cls == DriftClass::missing; });
            w.gone.clear();
        }
    }
    if (!allow_prunes(tx, uid, wanted, gate, changes)) sweep = true;
    Batch like;
    like.uid = uid;
    like.generation = gate.generation;
    like.epoch = context.epoch;
    like.run_id = gate.run_id;
    like.traceparent = context.span.traceparent();
    like.fed = true;
    like.waited = changes.oldest;
    for (Wanted& w : wanted) insert(tx, w, like, &w == &wanted.front(), drained);
    if (sweep) distrust_feed(tx, uid, changes.oldest);
    if (gap) note_served_gap(tx, uid, changes.oldest);
    drained.sweep = sweep;
}

// What is searched is claimed as it is planned, as far as there are places; the next revision's batches are for whoever claims.
void Feed::insert(Transaction& tx, Wanted& wanted, Batch like, bool at_once, Drained& drained) {
    const TargetInfo& target = wanted.target;
    EmbedderLimits limits;
    limits.max_batch = target.provider.max_batch;
    std::vector<PlannedBatch> batches =
        plan_batches(wanted.heal, {batch_documents(limits, settings_.batch_documents), target.spec.priority, false, true});
    for (std::size_t at = 0; at < wanted.gone.size(); at += kDeletionsOfABatch) {
        PlannedBatch b{BatchKind::prune, DriftClass::orphaned, target.spec.priority * 100, {}};
        for (std::size_t i = at; i < std::min(wanted.gone.size(), at + kDeletionsOfABatch); ++i)
            b.keys.push_back(std::move(wanted.gone[i]));
        batches.push_back(std::move(b));
    }
    if (batches.empty()) return;
    like.revision = wanted.revision;
    like.beside = wanted.beside;
    if (wanted.beside) {
        const std::int32_t least = batch_priority(DriftClass::touched, {.priority = target.spec.priority, .from_feed = true});
        for (PlannedBatch& b : batches) b.priority = std::max(b.priority, least) + kSearchedFirst;
    }
    like.provider = target.provider.name;
    like.provider_uid = target.provider.uid;
    like.provider_generation = target.provider.generation;
    if (!at_once) {
        drained.planned = true;
        return insert_claimed(tx, like, batches, factory_.claimant(), 0, nullptr);
    }
    drained.places =
        factory_.reserve({like.provider, like.provider_uid, like.provider_generation}, static_cast<int>(batches.size()));
    drained.planned = drained.planned || static_cast<int>(batches.size()) > drained.places.count();
    insert_claimed(tx, like, batches, factory_.claimant(), drained.places.count(),
                   [&drained](std::vector<Batch> claimed) { drained.claimed = std::move(claimed); });
}

// Named by the feed and seen to be gone: at once, within the same brakes as any deletion.
bool Feed::prunes_allowed(const TargetInfo& target, const FeedGate& gate, const Changes& changes, std::int64_t gone) const {
    PruneInput input;
    input.policy = target.spec.prune;
    input.confirmed = gone;
    input.documents = gate.documents;
    input.source_rows = std::max<std::int64_t>(gate.source_documents + changes.inserted - changes.deleted, 0);
    input.previous_source_rows = gate.source_documents;
    input.pruned_in_window = gate.pruned_in_window;
    input.max_ratio = target.spec.max_prune_ratio;
    input.max_rows = target.spec.max_prune_rows;
    input.floor = settings_.prune_floor;
    const PruneDecision decision = decide_prune(input);
    return !decision.blocked && decision.allowed >= gone;
}

}  // namespace homeostat
