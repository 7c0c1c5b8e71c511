// The part of a sweep that finds out what never reads the same twice, so that nobody pays for it again and again, and that notes
// what contents were compared under.
#include <fmt/format.h>

#include "reconcilers/pipeline/pipeline.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/control/steadiness.hpp"

namespace homeostat {

namespace {

bool may_be_unsteady(DriftClass c) { return c == DriftClass::stale || c == DriftClass::moved; }

// By two transactions: within one, now() is the same.
Result<std::vector<bool>> reads_differently(Session& session, const SourceShape& source, const std::vector<Key>& keys) {
    std::vector<std::vector<std::string>> reads;
    for (int i = 0; i < 2; ++i) {
        Result<std::vector<std::string>> hashes = guarded([&] {
            Transaction tx = session.begin(TxMode::read_snapshot);
            use_operators(tx, source);
            return read_hashes(tx, source, keys);
        });
        if (!hashes) return hashes.error();
        reads.push_back(*std::move(hashes));
    }
    std::vector<bool> out;
    for (std::size_t i = 0; i < keys.size(); ++i) out.push_back(reads[0][i] != reads[1][i]);
    return out;
}

// Those that differ from the source though this very run has written them, and those that were unsteady before.
Result<std::vector<std::size_t>> suspects(Session& session, const Run& run, const Revision& revision,
                                          const std::vector<DriftItem>& items) {
    return guarded([&]() -> Result<std::vector<std::size_t>> {
        std::vector<std::size_t> candidates;
        std::vector<Key> keys;
        std::vector<std::int64_t> documents;
        for (std::size_t i = 0; i < items.size(); ++i) {
            if (!may_be_unsteady(items[i].cls)) continue;
            candidates.push_back(i);
            keys.push_back(items[i].key);
            documents.push_back(items[i].document_id);
        }
        if (candidates.empty()) return candidates;
        Transaction tx = session.begin(TxMode::read_only);
        Result<std::vector<bool>> known = known_unsteady(tx, run.uid, keys);
        if (!known) return known.error();
        std::vector<bool> written(keys.size(), false);
        if (run.sweeps > 1) {
            Result<std::vector<bool>> by_run = written_by_run(tx, revision, run.id, documents);
            if (!by_run) return by_run.error();
            written = *std::move(by_run);
        }
        std::vector<std::size_t> out;
        for (std::size_t i = 0; i < candidates.size(); ++i) {
            if ((*known)[i] || written[i]) out.push_back(candidates[i]);
        }
        return out;
    });
}

}  // namespace

void PipelineReconciler::note_deep_sweep(Pass& pass, Transaction& tx) const {
    pass.status.last_deep_sweep = now(pass);
    note_versions_hold(tx, *pass.run);
}

// A row of a table reads the same until it is written. Whatever else a source is, a document that was healed a moment ago and
// differs again is read twice: a writer is seldom quick enough to come in between, random() always is.
Status PipelineReconciler::leave_unsteady(Pass& pass, std::vector<DriftItem>& items) {
    if (pass.source.version == VersionKind::xmin || items.empty()) return {};
    std::vector<Key> keys;
    std::vector<bool> left(items.size(), false);
    {
        Result<Pool::Lease> session = reads_.acquire(pass.context);
        if (!session) return session.error();
        Result<std::vector<std::size_t>> found = suspects(**session, *pass.run, pass.revision, items);
        if (!found) return found.error();
        if (found->empty()) return {};
        for (const std::size_t i : *found) keys.push_back(items[i].key);
        Result<std::vector<bool>> differs = reads_differently(**session, pass.source, keys);
        if (!differs) return differs.error();
        keys.clear();
        for (std::size_t i = 0; i < found->size(); ++i) {
            if (!(*differs)[i]) continue;
            left[(*found)[i]] = true;
            keys.push_back(items[(*found)[i]].key);
        }
    }
    if (keys.empty()) return {};
    std::vector<DriftItem> others;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (!left[i]) {
            others.push_back(std::move(items[i]));
        } else if (items[i].cls == DriftClass::stale) {
            ++pass.run->found.stale;
        } else {
            ++pass.run->found.moved;
        }
    }
    items = std::move(others);
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    return guarded([&] {
        Transaction tx = fenced_transaction(**session, pass.lease(), pass.context);
        note_unsteady(tx, pass.uid, pass.run->id, keys);
        tx.commit();
    });
}

}  // namespace homeostat
