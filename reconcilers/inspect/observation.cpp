#include "reconcilers/inspect/observation.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "reconcilers/factory/prune.hpp"
#include "reconcilers/factory/targets.hpp"
#include "reconcilers/gateway/plural.hpp"
#include "store/control/dead_letters.hpp"
#include "store/control/runs.hpp"
#include "store/control/statuses.hpp"
#include "store/data/vector_index.hpp"
#include "store/inspect/preview.hpp"

namespace homeostat {

namespace {

constexpr std::array<std::string_view, kFindings> kNames{"missing",     "stale",         "moved",       "partial",
                                                         "invalid",     "orphaned",      "excess",      "outdated",
                                                         "dead letter", "without a key", "stray chunks"};
constexpr std::size_t kMostStrays = 10'000;

bool to_embed(DriftClass c) {
    return c == DriftClass::missing || c == DriftClass::stale || c == DriftClass::partial || c == DriftClass::invalid;
}

// One observation: what it is compared with is found first, then the slices, then what it all comes to.
class Observer {
public:
    Observer(Session& session, const PipelineSpec& declared, const ProviderSpec& provider, const ObserveSettings& settings)
        : session_(session), declared_(declared), provider_(provider), settings_(settings) {}

    Result<Observation> run(const std::stop_token& stop) {
        if (const Status prepared = prepare(); !prepared) return prepared.error();
        if (const Status counted = count(); !counted) return counted.error();
        SliceRequest request;
        request.limit = settings_.slice;
        request.documents = declared_.documents;
        request.deep = settings_.deep && out_.revision > 0;
        for (bool final = false; !final;) {
            if (stop.stop_requested()) return cancelled("stopped while observing");
            Result<Slice> slice = guarded([&] { return observe(request); });
            if (!slice) return slice.error();
            request.after = slice->last;
            request.seen += slice->source_rows;
            final = slice->final;
        }
        out_.source_documents = request.seen;
        if (const Status looked = look_around(); !looked) return looked.error();
        if (const Status planned = plan(); !planned) return planned.error();
        return std::move(out_);
    }

private:
    // Which revision a pass would compare with: the newest where it holds what is declared, else one that is still to be made.
    Status prepare() {
        Result<std::vector<Revision>> revisions = read_revisions(session_, declared_.uid);
        if (!revisions) return revisions.error();
        Result<std::int64_t> letters = count_dead_letters(session_, declared_.uid);
        if (!letters) return letters.error();
        letters_ = *letters;
        const RevisionSettings wanted = wanted_settings(declared_, provider_, *revisions);
        const Revision* usable = revision_holding(*revisions, wanted);
        spec_ = usable != nullptr ? spec_of_revision(declared_, usable->settings) : declared_;
        return guarded([&]() -> Status {
            Transaction tx = session_.begin(TxMode::read_snapshot);
            Result<SourceShape> source = inspect_source(tx, spec_);
            if (!source) return source.error();
            source_ = *std::move(source);
            out_.source = source_.described;
            if (usable != nullptr) {
                actual_ = *usable;
                revision_ = preview_aligned(*actual_, source_);
                out_.revision = actual_->number;
            } else {
                fresh_source();
                if (!revisions->empty()) outdated_ = revisions->back();
                for (const Revision& r : *revisions) {
                    if (r.state == "served") outdated_ = r;
                }
                if (!revisions->empty()) next_ = revisions->back().number + 1;
                revision_ = preview_new(declared_.uid, wanted, source_);
            }
            return {};
        });
    }

    Status count() {
        const std::optional<Revision>& stored = actual_ ? actual_ : outdated_;
        if (!stored) return {};
        Result<Totals> totals = count_stored(session_, *stored);
        if (!totals) return totals.error();
        out_.documents = totals->documents;
        out_.chunks = totals->chunks;
        return {};
    }

    // With nothing to compare with, no version is worth computing.
    void fresh_source() {
        source_.version = VersionKind::column;
        source_.version_sql = "NULL::xid";
        source_.version_type = "xid";
    }

    Result<Slice> observe(const SliceRequest& request) {
        Transaction tx = session_.begin(TxMode::read_snapshot);
        use_operators(tx, source_);
        if (!request.after) {
            Result<std::int64_t> unkeyed = count_unkeyed(tx, source_);
            if (!unkeyed) return unkeyed.error();
            out_.unkeyed = *unkeyed;
        }
        Result<Slice> slice = observe_slice(tx, source_, revision_, request);
        if (!slice) return slice;
        std::vector<bool> dead(slice->items.size(), false);
        if (letters_ > 0 && actual_ && !dead.empty()) {
            std::vector<Key> keys;
            for (const DriftItem& item : slice->items) keys.push_back(item.key);
            Result<std::vector<bool>> among = dead_letters_among(tx, source_, revision_, keys);
            if (!among) return among.error();
            dead = *std::move(among);
        }
        for (std::size_t i = 0; i < slice->items.size(); ++i) count_item(slice->items[i], dead[i]);
        if (const Status measured = measure(tx); !measured) return measured.error();
        return slice;
    }

    void count_item(DriftItem& item, bool dead) {
        if (item.cls == DriftClass::touched) return;  // the content is as it was: not drift, only a version to note
        Finding f = static_cast<Finding>(item.cls);
        if (dead && to_embed(item.cls)) f = Finding::dead_letter;
        if (outdated_ && item.cls == DriftClass::missing) f = Finding::outdated;
        ++slot(f);
        const auto i = static_cast<std::size_t>(f);
        if (out_.keys[i].size() < settings_.show) out_.keys[i].push_back(item.key);
        const bool embeds = f == Finding::outdated || (f != Finding::dead_letter && to_embed(item.cls));
        if (embeds && sampled_[i] + unmeasured_[i].size() < settings_.sample) unmeasured_[i].push_back(std::move(item.key));
    }

    Status measure(Transaction& tx) {
        for (std::size_t i = 0; i < kFindings; ++i) {
            if (unmeasured_[i].empty()) continue;
            Result<ContentSize> size = content_size(tx, source_, unmeasured_[i]);
            if (!size) return size.error();
            bytes_[i] += size->bytes;
            sampled_[i] += unmeasured_[i].size();
            unmeasured_[i].clear();
        }
        return {};
    }

    // What a sweep of documents does not see: chunks left behind, the view, the index.
    Status look_around() {
        if (!actual_) {
            out_.repairs.push_back(fmt::format("revision {} is made", next_));
            if (!outdated_) out_.repairs.push_back(fmt::format("the view {} is made", declared_.target));
            return {};
        }
        if (settings_.deep) {
            Result<std::vector<std::int64_t>> strays = stray_chunks(session_, *actual_, kMostStrays);
            if (!strays) return strays.error();
            out_.strays = static_cast<std::int64_t>(strays->size());
            for (std::size_t i = 0; i < std::min(settings_.show, strays->size()); ++i) {
                out_.keys[static_cast<std::size_t>(Finding::stray)].push_back({fmt::format("document id {}", (*strays)[i])});
            }
        }
        Status looked = guarded([&]() -> Status {
            Transaction tx = session_.begin(TxMode::read_snapshot);
            if (actual_->state != "served") return {};
            Result<bool> current = view_is_current(tx, spec_, *actual_, source_);
            if (!current) return current.error();
            if (!*current) out_.repairs.push_back(fmt::format("the view {} is made anew", declared_.target));
            return {};
        });
        if (!looked || declared_.management != "Manage") return looked;
        Result<IndexState> index = index_state(session_, spec_, *actual_);
        if (!index) return index.error();
        if (*index == IndexState::absent) out_.repairs.emplace_back("the vector index is built");
        if (*index == IndexState::unwanted) out_.repairs.emplace_back("the vector index is dropped");
        if (*index == IndexState::other)
            out_.repairs.emplace_back("the vector index is built as it is declared now, beside the one there is");
        if (*index == IndexState::invalid) out_.repairs.emplace_back("the vector index is built anew");
        return {};
    }

    Status plan() {
        PlanInput in;
        in.drift = out_.drift;
        in.drift.missing += out_.outdated;  // built anew, like what is missing
        for (std::size_t i = 0; i < kFindings; ++i) {
            if (sampled_[i] == 0) continue;
            const double scale = static_cast<double>(out_.count(static_cast<Finding>(i))) / static_cast<double>(sampled_[i]);
            in.bytes_to_embed += static_cast<std::int64_t>(static_cast<double>(bytes_[i]) * scale);
        }
        const std::uint32_t unit = spec_.chunk_unit == "characters" ? 4 : 1;
        in.chunk_tokens = chunk_tokens(spec_);
        in.chunk_overlap_tokens = spec_.chunk_overlap / unit;
        in.model = RevisionSettings::of(spec_, provider_).model;
        in.provider.max_batch = provider_.max_batch;
        in.provider.max_in_flight = provider_.max_in_flight;
        in.provider.price_per_million_tokens = provider_.price_per_million_tokens;
        in.provider.max_text_tokens = model_reads(provider_);
        Result<double> rate = recent_rate(session_, declared_.uid);
        if (!rate) return rate.error();
        in.documents_per_second = *rate;
        out_.plan = estimate_plan(in);
        if (const Status braked = add_brakes(); !braked) return braked;
        add_warnings();
        return {};
    }

    // As though a second observation had agreed with this one, which is what a pass waits for.
    Status add_brakes() {
        Result<LoopState> state = read_loop_state(session_, declared_.uid);
        if (!state) return state.error();
        Result<PipelineStatus> status = read_status(session_, declared_.uid);
        if (!status) return status.error();
        PruneInput in;
        in.policy = declared_.prune;
        in.confirmed = out_.drift.orphaned + out_.drift.excess;
        in.documents = out_.documents;
        in.source_rows = out_.source_documents;
        const bool counted_out = declared_.documents && out_.source_documents >= *declared_.documents;
        if (!counted_out) in.previous_source_rows = state->previous_source_documents;
        const bool same_hour =
            state->window.start && *state->window.start <= state->at && *state->window.start + std::chrono::hours(1) > state->at;
        in.pruned_in_window = same_hour ? state->window.pruned : 0;
        in.max_ratio = declared_.max_prune_ratio;
        in.max_rows = declared_.max_prune_rows;
        in.floor = settings_.prune_floor;
        in.approved = declared_.approval && status->blocked_prunes > 0 && *declared_.approval == status->blocked_plan;
        if (const PruneDecision decision = decide_prune(in); decision.blocked) {
            warn(fmt::format("{}: {}", decision.reason, decision.message));
        }
        return {};
    }

    void add_warnings() {
        if (declared_.documents && out_.source_documents < *declared_.documents) {
            warn(fmt::format("SourceShort: {} {} declared and the source has {}", plural(*declared_.documents, "document"),
                             one_or_many(*declared_.documents, "is", "are"), out_.source_documents));
        }
        if (outdated_) {
            warn(fmt::format(
                "the spec asks for other vectors than revision {} holds: all are made anew beside it, and it is served "
                "until they are complete",
                outdated_->number));
        }
        if (declared_.suspend) {
            warn(fmt::format("suspended{}: nothing is healed until it is resumed",
                             declared_.suspend_reason ? " (" + *declared_.suspend_reason + ")" : ""));
        }
        if (declared_.management != "Manage") warn("management is Observe: drift is reported and never healed");
        if (declared_.management == "Manage" && declared_.drift_policy != "Enforce") {
            warn(fmt::format("the drift policy is {}: drift is not healed", declared_.drift_policy));
        }
        if (declared_.mode == "emergency" && out_.drift.total() > out_.drift.missing) {
            warn("the mode is emergency: only what is missing is healed");
        }
        if (out_.unkeyed > 0)
            warn(fmt::format("{} {} no key (a key column is NULL) and cannot be {}", plural(out_.unkeyed, "row"),
                             one_or_many(out_.unkeyed, "has", "have"), one_or_many(out_.unkeyed, "a document", "documents")));
        if (out_.dead_letters > 0) {
            warn(fmt::format("{} refused and left alone until edited; homeostat describe {} names {}",
                             plural(out_.dead_letters, "document was", "documents were"), declared_.name,
                             one_or_many(out_.dead_letters, "it", "them")));
        }
        if (out_.drift.partial + out_.drift.invalid + out_.strays > 0) {
            warn(
                "what is partial, invalid or left behind was done to the vectors, not to the source: deep sweeps find it, one "
                "every deep_interval, or at once by `homeostat reconcile` or `run --once --deep`");
        }
        if (!settings_.deep && out_.revision > 0) {
            warn("versions were compared only: chunks and vectors damaged by hand are not seen (leave out --fast)");
        }
    }

    void warn(std::string sentence) { out_.plan.warnings.push_back(std::move(sentence)); }

    std::int64_t& slot(Finding f) {
        switch (f) {
            case Finding::missing: return out_.drift.missing;
            case Finding::stale: return out_.drift.stale;
            case Finding::moved: return out_.drift.moved;
            case Finding::partial: return out_.drift.partial;
            case Finding::invalid: return out_.drift.invalid;
            case Finding::orphaned: return out_.drift.orphaned;
            case Finding::excess: return out_.drift.excess;
            case Finding::outdated: return out_.outdated;
            case Finding::dead_letter: return out_.dead_letters;
            case Finding::unkeyed: return out_.unkeyed;
            case Finding::stray: return out_.strays;
        }
        return out_.strays;
    }

    Session& session_;
    const PipelineSpec& declared_;
    const ProviderSpec& provider_;
    const ObserveSettings& settings_;
    PipelineSpec spec_;
    SourceShape source_;
    Revision revision_;  // compared with: as stored, or as it would be made
    std::optional<Revision> actual_;  // as stored, where it holds what is declared
    std::optional<Revision> outdated_;  // what is served where none does, else the newest
    std::int32_t next_ = 1;  // the number of one that is still to be made
    std::int64_t letters_ = 0;
    std::array<std::vector<Key>, kFindings> unmeasured_;
    std::array<std::size_t, kFindings> sampled_{};
    std::array<std::int64_t, kFindings> bytes_{};
    Observation out_;
};

}  // namespace

std::string_view to_string(Finding f) noexcept { return kNames[static_cast<std::size_t>(f)]; }

std::int64_t Observation::count(Finding f) const noexcept {
    const std::array<std::int64_t, kFindings> counts{drift.missing, drift.stale,    drift.moved,  drift.partial,
                                                     drift.invalid, drift.orphaned, drift.excess, outdated,
                                                     dead_letters,  unkeyed,        strays};
    return counts[static_cast<std::size_t>(f)];
}

bool Observation::nothing_to_do() const noexcept { return drift.total() == 0 && outdated == 0 && strays == 0 && repairs.empty(); }

Result<double> recent_rate(Session& session, std::int64_t uid) {
    Result<std::vector<RunSummary>> runs = read_runs(session, uid, 5);
    if (!runs) return runs.error();
    for (const RunSummary& r : *runs) {
        const double seconds = std::chrono::duration<double>(r.ended - r.started).count();
        if (r.planned < kTellingDocuments || seconds <= 0) continue;
        Result<RunProgress> progress = read_progress(session, r.id);
        if (!progress) return progress.error();
        if (progress->written > 0) return static_cast<double>(progress->written) / seconds;
    }
    return 0.0;
}

Result<Observation> observe_pipeline(Session& session, const PipelineSpec& declared, const ProviderSpec& provider,
                                     const ObserveSettings& settings, const std::stop_token& stop) {
    return Observer(session, declared, provider, settings).run(stop);
}

}  // namespace homeostat
