#include "reconcilers/pipeline/erasing.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/fault_point.hpp"
#include "reconcilers/factory/targets.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/control/erasures.hpp"
#include "store/control/statuses.hpp"
#include "store/data/source_rows.hpp"
#include "store/data/traces.hpp"
#include "store/feed/feed.hpp"

namespace homeostat {

namespace {

constexpr std::size_t kAtOnce = 200;
constexpr int kRounds = 5;

// Nobody plans or writes for the pipeline until the transaction ends.
// In the order of a batch's fence: its row, then the pipeline's.
const Statement kHoldBatches{"erase_hold_batches", "SELECT FROM homeostat.batch WHERE uid = $1::bigint ORDER BY id FOR UPDATE"};
const Statement kHoldPipeline{"erase_hold", "SELECT FROM homeostat.pipeline WHERE uid = $1::bigint FOR UPDATE"};

// One document that is to be forgotten, and what is known of it by now.
struct Subject {
    ErasureRequest request;
    std::vector<std::string> words;  // how its texts began
    RowCounts looked;                // as of the last look
    std::int64_t left() const {
        std::int64_t n = 0;
        for (const auto& [table, rows] : looked) n += rows;
        return n;
    }
};

struct OfRevision {
    Revision revision;
    std::vector<Trace> traces;  // also of rounds before: the journal that told them may be gone
};

std::string what_is_left(const RowCounts& looked) {
    std::string out;
    for (const auto& [table, rows] : looked) {
        if (rows > 0) out += fmt::format("{}{} in {}", out.empty() ? "" : ", ", rows, table);
    }
    return "it waits: rows are still found: " + out;
}

class Erasing {
public:
    Erasing(Session& session, const PipelineSpec& declared, const Context& context, std::vector<ErasureRequest> requests)
        : session_(session), declared_(declared), context_(context) {
        for (ErasureRequest& r : requests) subjects_.push_back({std::move(r), {}, {}});
    }

    // Whether some wait.
    bool run(const std::vector<Revision>& revisions) {
        inspect(revisions);
        canonicalise();
        refuse_present();
        if (!subjects_.empty() && !sort_revisions(revisions)) return true;
        for (int round = 0; round < kRounds && !subjects_.empty(); ++round) {
            look();
            end_erased();
            if (!subjects_.empty()) take_stored_traces();
            if (!subjects_.empty()) take_journaled_traces();
        }
        if (subjects_.empty()) return false;
        look();
        end_erased();
        tell_each([](const Subject& s) { return what_is_left(s.looked); });
        return !subjects_.empty();
    }

    void tell_all(const std::string& why) {
        tell_each([&](const Subject&) { return "it waits: " + why; });
    }

private:
    std::vector<Key> keys() const {
        std::vector<Key> out;
        for (const Subject& s : subjects_) out.push_back(s.request.key);
        return out;
    }

    Transaction fenced() { return fenced_transaction(session_, pipeline_lease(declared_.uid), context_); }

    template <class Sentence>
    void tell_each(Sentence sentence) {
        Transaction tx = fenced();
        for (const Subject& s : subjects_) tell_erasure(tx, s.request.id, sentence(s));
        tx.commit();
    }

    // Takes those out for which `why` has a sentence.
    template <class Why>
    void refuse_where(Why why) {
        std::vector<Subject> good;
        std::vector<std::pair<std::int64_t, std::string>> refused;
        for (std::size_t i = 0; i < subjects_.size(); ++i) {
            std::string sentence = why(i);
            if (sentence.empty()) {
                good.push_back(std::move(subjects_[i]));
            } else {
                refused.emplace_back(subjects_[i].request.id, std::move(sentence));
            }
        }
        subjects_ = std::move(good);
        for (OfRevision& r : revisions_) r.traces.clear();  // they name subjects by number; the next look finds them again
        if (refused.empty()) return;
        Transaction tx = fenced();
        for (const auto& [id, sentence] : refused) refuse_erasure(tx, id, sentence);
        tx.commit();
    }

    void inspect(const std::vector<Revision>& revisions) {
        Transaction tx = session_.begin(TxMode::read_only);
        Result<SourceShape> source =
            inspect_source(tx, revisions.empty() ? declared_ : spec_of_revision(declared_, revisions.back().settings));
        if (!source) throw StoreFailure(source.error());
        source_ = *std::move(source);
    }

    // One at a time: a value that is none of its column's type fails its statement, and its transaction.
    void canonicalise() {
        std::vector<std::string> wrong;
        for (Subject& s : subjects_) {
            wrong.emplace_back();
            if (s.request.key.size() != source_.key.size()) {
                wrong.back() = "the pipeline names its documents by other columns now";
                continue;
            }
            const Status canonical = guarded([&] {
                Transaction tx = session_.begin(TxMode::read_only);
                use_operators(tx, source_);
                s.request.key = canonical_keys(tx, source_, {s.request.key}).front();
            });
            if (canonical) continue;
            if (!canonical.error().code.starts_with("22")) throw StoreFailure(canonical.error());
            wrong.back() = "its key is no value of the key columns: " + canonical.error().message;
        }
        refuse_where([&](std::size_t i) { return wrong[i]; });
    }

    std::string still_there() const {
        return fmt::format("it is still in {}, from where it would be embedded again; delete the row there first",
                           source_.described);
    }

    void refuse_present() {
        if (subjects_.empty()) return;
        std::vector<bool> there;
        {
            Transaction tx = session_.begin(TxMode::read_only);
            use_operators(tx, source_);
            there = in_source(tx, source_, keys());
        }
        refuse_where([&](std::size_t i) { return there[i] ? still_there() : std::string(); });
    }

    // False where one that is in use names its documents by other columns: these keys find nothing there. One that is not in use
    // goes.
    bool sort_revisions(const std::vector<Revision>& revisions) {
        for (const Revision& r : revisions) {
            if (names_documents_alike(r, source_)) {
                revisions_.push_back({r, {}});
            } else if (r.state != "retired") {
                tell_all(
                    fmt::format("revision {}, which is {}, names its documents by other columns ({}) and is yet to be replaced",
                                r.number, r.state, fmt::join(r.settings.key, ", ")));
                return false;
            } else {
                Transaction tx = fenced();
                drop_revision(tx, r.tables);
                tx.commit();
            }
        }
        return true;
    }

    void look() {
        Transaction tx = session_.begin(TxMode::read_only);
        use_operators(tx, source_);
        const std::vector<Key> wanted = keys();
        for (Subject& s : subjects_) s.looked = count_told(tx, declared_.uid, s.request.key, s.words);
        for (Subject& s : subjects_) s.looked["batch"] += count_planned(tx, declared_.uid, s.request.key);
        for (OfRevision& r : revisions_) {
            for (const Trace& t : find_traces(tx, source_, r.revision, wanted)) {
                const bool known =
                    std::any_of(r.traces.begin(), r.traces.end(), [&](const Trace& k) { return k.document_id == t.document_id; });
                if (!known) r.traces.push_back(t);
            }
            const auto counts = count_traces(tx, r.revision, r.traces, subjects_.size());
            for (std::size_t i = 0; i < subjects_.size(); ++i) {
                for (const auto& [table, rows] : counts[i]) subjects_[i].looked[table] += rows;
            }
        }
        // Whose text it was is not known any more; nobody's receipt is written while there is one.
        const std::int64_t kept = count_kept(tx, declared_.uid, hashes_);
        for (Subject& s : subjects_) s.looked["kept_vector"] = kept;
    }

    void end_erased() {
        if (std::none_of(subjects_.begin(), subjects_.end(), [](const Subject& s) { return s.left() == 0; })) return;
        Transaction tx = fenced();
        std::vector<Subject> left;
        for (Subject& s : subjects_) {
            if (s.left() > 0) {
                left.push_back(std::move(s));
                continue;
            }
            end_erasure(tx, s.request.id, s.request.key, s.looked);
            add_event(tx, {.uid = declared_.uid,
                           .reason = "Erased",
                           .message = fmt::format("a document is erased from {}; receipt {}", counted_tables(s.looked.size()),
                                                  s.request.id),
                           .reconcile_id = context_.reconcile_id});
            spdlog::info("pipeline \"{}\": a document is erased; receipt {}", declared_.name, s.request.id);
        }
        HOMEOSTAT_REACH("erase.before_receipt");
        tx.commit();
        const bool fewer = left.size() < subjects_.size();
        subjects_ = std::move(left);
        if (!fewer || subjects_.empty()) return;
        for (OfRevision& r : revisions_) r.traces.clear();
        look();
    }

    static std::string counted_tables(std::size_t n) { return fmt::format("{} tables", n); }

    std::vector<std::int64_t> ids_of(std::size_t subject) const {
        std::vector<std::int64_t> out;
        for (const OfRevision& r : revisions_) {
            for (const Trace& t : r.traces) {
                if (t.key == subject) out.push_back(t.document_id);
            }
        }
        return out;
    }

    // What was taken, into the rows; and what people were told of it, whose vectors are kept.
    void note(Transaction& tx, Taken& taken) {
        const std::int64_t kept = erase_kept(tx, declared_.uid, taken.hashes);
        hashes_.insert(hashes_.end(), taken.hashes.begin(), taken.hashes.end());
        for (std::size_t i = 0; i < subjects_.size(); ++i) {
            Subject& s = subjects_[i];
            s.words.insert(s.words.end(), taken.words[i].begin(), taken.words[i].end());
            RowCounts found = erase_told(tx, declared_.uid, s.request.key, s.words);
            for (const auto& [table, rows] : taken.rows[i]) found[table] += rows;
            if (subjects_.size() == 1 && kept > 0) found["kept_vector"] += kept;
            add_erased(tx, s.request.id, found);
        }
    }

    // The row is held first, so that nobody plans or writes meanwhile. What the feed has named is forgotten before the source is
    // looked at: whatever is committed there after that look is named again.
    void take_stored_traces() {
        std::vector<bool> there;
        {
            Transaction tx = fenced();
            use_operators(tx, source_);
            tx.exec(kHoldBatches, Params::of(declared_.uid));
            tx.exec(kHoldPipeline, Params::of(declared_.uid));
            forget_named(tx, declared_.uid, source_, keys());
            Taken taken(subjects_.size());
            for (OfRevision& r : revisions_) {
                const std::int64_t documents = taken.documents;
                const std::int64_t chunks = taken.chunks;
                take_stored(tx, r.revision, r.traces, taken);
                move_stored(tx, declared_.uid, r.revision.number, {documents - taken.documents, chunks - taken.chunks});
            }
            for (std::size_t i = 0; i < subjects_.size(); ++i) {
                const std::int64_t held = erase_planned(tx, declared_.uid, subjects_[i].request.key, ids_of(i));
                if (held > 0) taken.rows[i]["batch"] += held;
            }
            note(tx, taken);
            recount_dead_letters(tx, declared_.uid, true);
            there = in_source(tx, source_, keys());
            if (std::find(there.begin(), there.end(), true) == there.end()) {
                HOMEOSTAT_REACH("erase.before_commit");
                tx.commit();
                HOMEOSTAT_REACH("erase.after_stored");
                return;
            }
        }
        // One of them has come back meanwhile: nothing of this has been done.
        refuse_where([&](std::size_t i) { return there[i] ? still_there() : std::string(); });
    }

    void take_journaled_traces() {
        Transaction tx = fenced();
        Taken taken(subjects_.size());
        for (OfRevision& r : revisions_) take_journaled(tx, r.revision, r.traces, taken);
        note(tx, taken);
        tx.commit();
        HOMEOSTAT_REACH("erase.after_journal");
    }

    Session& session_;
    const PipelineSpec& declared_;
    const Context& context_;
    SourceShape source_;
    std::vector<OfRevision> revisions_;
    std::vector<Subject> subjects_;
    std::vector<std::string> hashes_;
};

// What says nothing about the request.
bool passes(const Error& error) {
    return error.cls == ErrorClass::fenced || error.cls == ErrorClass::cancelled || error.cls == ErrorClass::db_transient;
}

}  // namespace

Result<bool> carry_out_erasures(Pool& reads, Pool& writes, const PipelineSpec& declared, const std::vector<Revision>& revisions,
                                const Context& context) {
    std::vector<ErasureRequest> requests;
    {
        Result<Pool::Lease> session = reads.acquire(context);
        if (!session) return session.error();
        Result<std::vector<ErasureRequest>> waiting = read_erasure_requests(**session, declared.uid, static_cast<int>(kAtOnce));
        if (!waiting) return waiting.error();
        requests = *std::move(waiting);
    }
    if (requests.empty()) return false;
    Result<Pool::Lease> session = writes.acquire(context);
    if (!session) return session.error();
    const bool more = requests.size() == kAtOnce;
    Erasing erasing(**session, declared, context, std::move(requests));
    Result<bool> waits = guarded([&] { return erasing.run(revisions) || more; });
    if (waits || passes(waits.error())) return waits;
    const Status told = guarded([&] { erasing.tell_all(waits.error().message); });
    if (!told) return told.error();
    return true;
}

}  // namespace homeostat
