#include "reconcilers/pipeline/conditions.hpp"
#include "reconcilers/gateway/plural.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "reconcilers/factory/budgets.hpp"
#include "reconcilers/factory/retry.hpp"
#include "reconcilers/factory/targets.hpp"
#include "reconcilers/pipeline/plan_hold.hpp"
#include "reconcilers/pipeline/verification.hpp"
#include "store/pg/pg_error.hpp"

namespace homeostat {

namespace {

// Held back by a brake of ours.
bool is_ours(const Error& e) {
    return e.code == kBudgetSpent || e.code == kReservedByOthers || e.code == kApprovalNeeded || e.code == kVerificationFailed;
}

// Provider trouble and source trouble are told apart by the class: who reads ProviderHealthy wants to know whom to call.
bool is_provider_fault(const Error& e) {
    if (is_ours(e)) return false;
    switch (e.cls) {
        case ErrorClass::throttled:
        case ErrorClass::unavailable:
        case ErrorClass::transient:
        case ErrorClass::timeout:
        case ErrorClass::local:
        case ErrorClass::bad_answer:
        case ErrorClass::auth:
        case ErrorClass::content:
        case ErrorClass::too_large:
            return e.code.size() != 5 || e.cls != ErrorClass::auth;  // a SQLSTATE of class 28 is not theirs
        default: return false;
    }
}

std::string reason_of(const Error& e) {
    if (e.code == "AmbiguousKey") return "AmbiguousKey";
    if (e.code == kSourceFiltered) return std::string(kSourceFiltered);
    if (is_ours(e)) return e.code == kReservedByOthers ? std::string(kBudgetSpent) : e.code;
    if (e.code == kRevisionOutdated) return std::string(kRevisionOutdated);
    switch (e.cls) {
        case ErrorClass::auth: return "ProviderRefused";
        case ErrorClass::bad_answer: return "BadAnswer";
        case ErrorClass::throttled: return "Throttled";
        case ErrorClass::unavailable: return e.code == "CanaryDisagrees" ? e.code : "BreakerOpen";
        case ErrorClass::transient:
        case ErrorClass::timeout:
        case ErrorClass::local: return "ProviderFailing";
        case ErrorClass::content:
        case ErrorClass::too_large: return "ContentRefused";
        case ErrorClass::db_permanent: return e.code == "42501" || e.code == kRightOfAnother ? "RightMissing" : "SourceUnusable";
        case ErrorClass::db_transient:
        case ErrorClass::db_resource:
            if (e.code == kTookTooLong || e.code == kDocumentTooSlow) return "TookTooLong";
            return e.code == kSourceFailed ? "SourceUnusable" : "DatabaseUnavailable";
        // What a declaration lacks was said to whoever declared it: raised in a pass it is by code of the database's own, such as
        // an event trigger.
        case ErrorClass::invalid: return e.code == "P0001" ? "DatabaseRefused" : "SpecInvalid";
        case ErrorClass::not_found: return "SpecInvalid";
        case ErrorClass::conflict: return "TargetInUse";
        default: return "InternalError";
    }
}

// An endpoint that keeps its contract broken through every attempt of a batch does so until somebody looks at it.
bool stalls(const Error& e) { return !e.retryable() || e.cls == ErrorClass::conflict || e.cls == ErrorClass::bad_answer; }

std::string drift_text(const DriftCounts& d) {
    std::string out;
    const std::pair<std::string_view, std::int64_t> parts[] = {
        {"missing", d.missing}, {"stale", d.stale},       {"moved", d.moved},  {"partial", d.partial},
        {"invalid", d.invalid}, {"orphaned", d.orphaned}, {"excess", d.excess}};
    for (const auto& [name, n] : parts) {
        if (n > 0) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", n, name);
    }
    return out;
}

// Reasons that follow from counts alone, of each type; with others only a pass knows better.
bool counted_reason(const Condition& c) {
    const auto any = [&](std::initializer_list<std::string_view> reasons) {
        return std::find(reasons.begin(), reasons.end(), c.reason) != reasons.end();
    };
    if (c.type == "Ready") return any({"Converged", "CompleteEnough", "Incomplete", "Healing", "Behind", "NotCounted"});
    if (c.type == "Synced") return any({"NoDrift", "Drift", "Behind", "NotCounted"});
    if (c.type == "Reconciling") return any({"Idle", "Progressing"});
    return c.type == "DeadLetters" || c.type == "ProviderHealthy" || c.type == "BudgetSpent";
}

constexpr const char* kServedOutdated = "ServedOutdated";
constexpr const char* kVerifying = "what was found is being verified";

class Builder {
public:
    explicit Builder(const Seen& s) : s_(s) {}

    void add(std::string type, std::string status, std::string reason, std::string message = "") {
        out_.push_back({std::move(type), std::move(status), std::move(reason), std::move(message), s_.generation, {}});
    }

    static std::string embedded_text(std::int64_t good, std::int64_t wanted, const std::string& rest) {
        return fmt::format("{} of {} {} embedded{}", good, plural(wanted, "document"), one_or_many(wanted, "is", "are"), rest);
    }

    void ready() {
        const std::int64_t wanted = s_.source_documents.value_or(0);
        // Documents that are stored and not known to be wrong.
        const std::int64_t good = std::max<std::int64_t>(0, wanted - s_.drift.to_embed() - s_.dead_letters);
        const double share = wanted == 0 ? 1.0 : static_cast<double>(good) / static_cast<double>(wanted);
        if (!s_.observed) return add("Ready", "Unknown", s_.failure ? reason_of(*s_.failure) : "NotObserved", failure_text());
        if (s_.failure) return add("Ready", "False", reason_of(*s_.failure), failure_text());
        if (!s_.waiting_for.empty()) {
            return add("Ready", "False", "DependencyNotReady",
                       fmt::format("waits for pipeline \"{}\" to be ready", s_.waiting_for));
        }
        if (pinned()) return add("Ready", "False", std::string(kRolledBack), *s_.rolled_back);
        if (s_.suspended) return add("Ready", "False", "Suspended", s_.suspend_reason);
        if (!s_.source_documents) return add("Ready", "Unknown", "NotObserved", s_.progress);
        if (s_.pinned_apart) return add("Ready", "False", std::string(kRevisionPinned), *s_.pinned);
        if (s_.beside && !s_.not_followed.empty()) return add("Ready", "False", kServedOutdated, s_.not_followed);
        if (s_.working && (s_.first || (s_.phase == Phase::indexing && !s_.beside))) {
            // Nothing has verified it yet, or searches go without the index.
            const std::int64_t stored = std::clamp<std::int64_t>(s_.documents, 0, wanted);
            return add("Ready", "False", ready_reason(), embedded_text(stored, wanted, "; " + std::string(to_string(s_.phase))));
        }
        if (share < s_.completeness) {
            return add("Ready", "False", s_.working ? "Healing" : "Incomplete", served_text(good, wanted));
        }
        if (s_.waiting.behind) return add("Ready", "False", "Behind", waiting_text(s_.waiting));
        if (s_.waiting.uncounted) return add("Ready", "Unknown", "NotCounted", waiting_text(s_.waiting));
        if (left().empty())
            return add("Ready", "True", "Converged",
                       fmt::format("{} {} embedded", plural(good, "document"), one_or_many(good, "is", "are")));
        add("Ready", "True", "CompleteEnough", served_text(good, wanted));
    }

    void synced() {
        if (pinned()) return add("Synced", "False", std::string(kRolledBack), *s_.rolled_back);
        if (!s_.observed || !s_.source_documents || (s_.working && s_.first)) return add("Synced", "Unknown", "NotObserved");
        if (s_.pinned_apart) return add("Synced", "False", std::string(kRevisionPinned), *s_.pinned);
        if (s_.beside && !s_.not_followed.empty()) return add("Synced", "False", kServedOutdated, s_.not_followed);
        if (s_.drift.total() == 0 && s_.waiting.behind) return add("Synced", "False", "Behind", waiting_text(s_.waiting));
        if (s_.drift.total() == 0 && s_.waiting.uncounted)
            return add("Synced", "Unknown", "NotCounted", waiting_text(s_.waiting));
        if (s_.drift.total() == 0 && verifying()) return add("Synced", "False", "Drift", kVerifying);
        if (s_.drift.total() == 0 && s_.dead_letters > 0)
            return add("Synced", "False", "Drift", plural(s_.dead_letters, "dead letter"));
        if (s_.drift.total() == 0) return add("Synced", "True", "NoDrift");
        add("Synced", "False", "Drift", drift_text(s_.drift));
    }

    void abnormal() {
        if (pinned()) {
            add("Reconciling", s_.rolling_back ? "True" : "False", s_.rolling_back ? "RollingBack" : std::string(kRolledBack));
        } else if (!s_.lock_wait.empty()) {
            add("Reconciling", "True", std::string(kWaitingForLock), s_.lock_wait);
        } else if (s_.working && !s_.failure) {
            add("Reconciling", "True", "Progressing", s_.progress);
        } else if (s_.failure && !stalls(*s_.failure)) {
            add("Reconciling", "True", "Retrying", failure_text());
        } else if (!s_.failure && !s_.suspended && !s_.waiting.closed && s_.waiting.behind) {
            add("Reconciling", "True", "Progressing", fmt::format("{}: {}", to_string(Phase::healing), waiting_text(s_.waiting)));
        } else {
            add("Reconciling", "False", s_.suspended ? "Suspended" : "Idle");
        }
        if (s_.failure && stalls(*s_.failure)) {
            add("Stalled", "True", reason_of(*s_.failure), failure_text());
        } else {
            add("Stalled", "False", "Moving");
        }
        if (s_.failure && is_provider_fault(*s_.failure)) {
            add("ProviderHealthy", "False", reason_of(*s_.failure), failure_text());
        } else if (s_.provider_trouble) {
            add("ProviderHealthy", "False", s_.provider_trouble->reason, s_.provider_trouble->message);
        } else if (!s_.failure) {
            add("ProviderHealthy", "True", "Answering");
        }
        if (s_.prune.blocked) {
            add("PruneBlocked", "True", s_.prune.reason, s_.prune.message);
        } else {
            add("PruneBlocked", "False", "NothingHeld");
        }
        held("BudgetSpent", s_.budget, "WithinBudget");
        held("PlanHeld", s_.plan, "NothingHeld");
    }

    void held(const char* type, const std::optional<BudgetHold>& hold, const char* otherwise) {
        if (!hold) return;
        const bool holds = !hold->reason.empty();
        add(type, holds ? "True" : "False", holds ? hold->reason : otherwise, hold->message);
    }

    void rolled_back() {
        if (!s_.rolled_back) return;
        if (!pinned()) return add(std::string(kRolledBack), "False", "Resumed");
        add(std::string(kRolledBack), "True", s_.rolling_back ? "RollingBack" : "Pinned", *s_.rolled_back);
    }

    void source() {
        if (s_.declared && s_.source_documents && *s_.source_documents < *s_.declared) {
            add("SourceShort", "True", "FewerThanDeclared",
                fmt::format("{} {} declared and the source has {}", plural(*s_.declared, "document"),
                            one_or_many(*s_.declared, "is", "are"), *s_.source_documents));
        } else if (s_.declared) {
            add("SourceShort", "False", "Enough");
        }
        if (s_.unkeyed > 0) {
            add("RowsWithoutKey", "True", "NullKey",
                fmt::format("{} of the source {} NULL in a key column and cannot be {}", plural(s_.unkeyed, "row"),
                            one_or_many(s_.unkeyed, "has", "have"), one_or_many(s_.unkeyed, "a document", "documents")));
        } else {
            add("RowsWithoutKey", "False", "NoneFound");
        }
        if (s_.dead_letters > 0) {
            add("DeadLetters", "True", "DocumentsRefused",
                fmt::format("{} cannot be embedded; `homeostat describe` lists {}", plural(s_.dead_letters, "document"),
                            one_or_many(s_.dead_letters, "it with its reason", "them with their reasons")));
        } else {
            add("DeadLetters", "False", "None");
        }
        if (s_.pinned)
            add(std::string(kRevisionPinned), s_.pinned->empty() ? "False" : "True", s_.pinned->empty() ? "NotPinned" : "Pinned",
                *s_.pinned);
        if (s_.cut)
            add("ChunksCut", s_.cut->empty() ? "False" : "True", s_.cut->empty() ? "ReadWhole" : "LargerThanRead", *s_.cut);
    }

    void reading() {
        if (s_.failure && s_.failure->code == kSourceFiltered) {
            add("SourceFiltered", "True", "Refused", failure_text());
        } else if (s_.filtered && !s_.filtered->empty()) {
            add("SourceFiltered", "True", "Accepted",
                fmt::format("a policy chooses which rows of {} are documents (row_security is Accept)", *s_.filtered));
        } else if (s_.filtered) {
            add("SourceFiltered", "False", "SeenWhole");
        }
        if (!s_.unsteady) return;
        if (s_.unsteady->documents == 0) return add("SourceUnsteady", "False", "Steady");
        add("SourceUnsteady", "True", "NeverTheSameTwice",
            fmt::format("{} {} differently twice within moments, such as the one with key {}; what does so is not embedded again "
                        "until it reads the same twice: look for random(), now() and the like in the source",
                        plural(s_.unsteady->documents, "document"), one_or_many(s_.unsteady->documents, "reads", "read"),
                        s_.unsteady->example));
    }

    void feed() {
        if (s_.bypassed > 0) {
            return add("ChangeFeed", "False", "Bypassed",
                       fmt::format("{} changed past the triggers (switched off for a while, a restore, or "
                                   "session_replication_role); the sweep has found them",
                                   plural(s_.bypassed, "document")));
        }
        switch (s_.feed.health) {
            case FeedHealth::untold: return;
            case FeedHealth::off: return add("ChangeFeed", "False", "Off", s_.feed.message);
            case FeedHealth::pending: return add("ChangeFeed", "False", "Pending", s_.feed.message);
            case FeedHealth::no_right: return add("ChangeFeed", "False", "RightMissing", s_.feed.message);
            case FeedHealth::disabled: return add("ChangeFeed", "False", "TriggersDisabled", s_.feed.message);
            case FeedHealth::failing: return add("ChangeFeed", "False", "Failing", s_.feed.message);
            case FeedHealth::overrun: return add("ChangeFeed", "False", "Overrun", s_.feed.message);
            case FeedHealth::subscribed: return add("ChangeFeed", "False", "Subscribed", s_.feed.message);
            case FeedHealth::foreign: return add("ChangeFeed", "False", "ForeignTable", s_.feed.message);
            case FeedHealth::filtered: return add("ChangeFeed", "False", "Filtered", s_.feed.message);
            case FeedHealth::active: return add("ChangeFeed", "True", "Active", "changes are named as they are committed");
        }
    }

    std::vector<Condition> take() { return std::move(out_); }

private:
    bool pinned() const { return s_.rolled_back && !s_.rolled_back->empty(); }

    std::string ready_reason() const {
        switch (s_.phase) {
            case Phase::verifying: return "Verifying";
            case Phase::indexing: return "Indexing";
            default: return "Healing";
        }
    }

    std::string left() const { return left(s_.drift); }
    std::string left(const DriftCounts& drift) const {
        std::string out = drift_text(drift);
        if (s_.dead_letters > 0) out += fmt::format("{}{} dead-lettered", out.empty() ? "" : ", ", s_.dead_letters);
        if (out.empty() && verifying()) out = kVerifying;
        return out;
    }

    // What is embedded and served now, and what is left of what was found: the run has healed some of it since.
    std::string served_text(std::int64_t good, std::int64_t wanted) const {
        DriftCounts now = s_.drift;
        std::int64_t healed = s_.beside ? 0 : s_.healed;  // in what is searched
        for (std::int64_t* n : {&now.missing, &now.stale, &now.partial, &now.invalid}) {
            const std::int64_t some = std::min(*n, healed);
            *n -= some;
            healed -= some;
        }
        std::string rest = left(now);
        if (rest.empty()) rest = kVerifying;
        const std::int64_t served = std::min(wanted, good + s_.drift.to_embed() - now.to_embed());
        return embedded_text(served, wanted, " (" + rest + ")");
    }

    // The sweep that looks whether what was found is healed has not passed yet.
    bool verifying() const { return s_.working && s_.phase == Phase::verifying && !s_.beside; }

    std::string failure_text() const { return s_.failure ? s_.failure->message : ""; }

    const Seen& s_;
    std::vector<Condition> out_;
};

}  // namespace

std::vector<Condition> conditions_of(const Seen& seen) {
    Builder b(seen);
    b.ready();
    b.synced();
    b.abnormal();
    b.rolled_back();
    b.source();
    b.reading();
    b.feed();
    return b.take();
}

std::vector<Condition> corrections(const std::vector<Condition>& stored, const Seen& seen, bool figures) {
    const auto find = [&](std::string_view type) {
        return std::find_if(stored.begin(), stored.end(), [&](const Condition& c) { return c.type == type; });
    };
    const auto stalled = find("Stalled");
    const bool stuck = stalled != stored.end() && stalled->status == "True";
    figures = figures || !seen.waiting.anything();
    std::vector<Condition> out;
    for (Condition& wanted : conditions_of(seen)) {
        const auto had = find(wanted.type);
        if (had == stored.end() || !counted_reason(*had)) continue;
        const bool same = had->status == wanted.status && had->reason == wanted.reason;
        if (same && (!figures || had->message == wanted.message)) continue;
        // A run says what it does itself, all the time; what is not true is corrected all the same.
        const bool of_run = wanted.type == "Ready" || wanted.type == "Synced" || wanted.type == "Reconciling";
        if (seen.working && of_run && had->reason != "Behind" && (had->status != "True" || same)) continue;
        if (wanted.type == "Reconciling" && (seen.working || stuck)) continue;
        if (wanted.type == "ProviderHealthy" && !seen.provider_known) continue;
        wanted.observed_generation = had->observed_generation;
        out.push_back(std::move(wanted));
    }
    return out;
}

std::string waiting_text(const Waiting& w) {
    if (!w.anything()) return "";
    if (w.uncounted && !w.behind) return "what waits cannot be counted: this role may not read what the change feed has named";
    if (w.uncounted) return "what waits cannot be counted: " + w.last_error;
    const std::int64_t seconds = w.oldest ? w.oldest->count() / 1'000 : 0;
    const std::string age = seconds < 120 ? fmt::format("{} s", seconds) : span_text(static_cast<double>(seconds));
    const std::string why = w.last_error.empty() ? "" : ": " + w.last_error;
    if (w.documents() == 0) return fmt::format("changes that were not named wait for a sweep, the oldest for {}{}", age, why);
    return fmt::format("{} {}, the oldest for {}{}", plural(w.documents(), "document"),
                       one_or_many(w.documents(), "waits", "wait"), age, why);
}

std::vector<Condition> feed_conditions(const Seen& seen) {
    Builder b(seen);
    b.feed();
    return b.take();
}

}  // namespace homeostat
