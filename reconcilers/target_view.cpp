#include "reconcilers/target_view.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "reconcilers/gateway/plural.hpp"
#include "store/control/leases.hpp"
#include "store/control/statuses.hpp"

namespace homeostat {

namespace {

constexpr std::chrono::hours kWindow{1};
// Rows of one transaction: few enough that a large relation is declared in steps, each of which is kept.
constexpr std::size_t kRowsAtOnce = 100;
constexpr std::size_t kNamed = 10;  // in the sentence of a condition

RemovalDecision hold(const RemovalInput& in, std::string reason, const std::string& why) {
    return {true, std::move(reason), fmt::format("{} of {} would go: {}", in.vanished, plural(in.declared, "pipeline"), why)};
}

std::string quoted_names(const std::vector<std::string>& names) {
    std::string out;
    for (std::size_t i = 0; i < names.size() && i < kNamed; ++i) out += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", names[i]);
    if (names.size() > kNamed) out += fmt::format(" and {} more", names.size() - kNamed);
    return out;
}

std::string sentences(const std::vector<RowRefusal>& refused) {
    std::string out;
    for (const auto& [name, sentence] : refused) {
        if (out.size() + sentence.size() > 900)
            return out + fmt::format("; {} rows in all, see homeostat describe", refused.size());
        out += fmt::format("{}{}", out.empty() ? "" : "; ", sentence);
    }
    return out;
}

// What one condition says, where it is abnormal when True.
void add(std::vector<Condition>& out, const TargetViewSpec& view, std::string type, bool yes, std::string reason,
         std::string_view otherwise, std::string message) {
    out.push_back({.type = std::move(type),
                   .status = yes ? "True" : "False",
                   .reason = yes ? std::move(reason) : std::string(otherwise),
                   .message = yes ? std::move(message) : std::string(),
                   .observed_generation = view.generation});
}

Condition ready(const TargetViewSpec& view, std::string status, std::string reason, std::string message) {
    return {.type = "Ready",
            .status = std::move(status),
            .reason = std::move(reason),
            .message = std::move(message),
            .observed_generation = view.generation};
}

std::string unreadable_reason(const Error& e) {
    if (e.code == "42501") return "RightMissing";
    return e.cls == ErrorClass::db_transient || e.cls == ErrorClass::db_resource ? "DatabaseUnavailable" : "RelationUnreadable";
}

}  // namespace

RemovalDecision decide_removal(const RemovalInput& in) {
    if (in.vanished == 0) return {};
    if (in.approved) return {false, "Approved", ""};
    if (in.rows == 0) return hold(in, "RelationEmpty", "the relation reads as empty");
    if (in.counted_rows && in.rows * 2 < *in.counted_rows) {
        return hold(in, "RelationShrank",
                    fmt::format("the relation shrank from {} to {}", *in.counted_rows, plural(in.rows, "row")));
    }
    const double share = static_cast<double>(in.declared + in.removed_in_window) * in.max_ratio;
    const std::int64_t limit = std::max<std::int64_t>(1, static_cast<std::int64_t>(share));
    if (in.vanished + in.removed_in_window <= limit) return {false, "WithinLimits", ""};
    return hold(
        in, "RemovalLimit",
        fmt::format("at most {} may go within the hour (max_removal_ratio) and {} went already", limit, in.removed_in_window));
}

TargetViewPlan plan_target_view(const TargetViewSpec& view, const TargetViewStatus& before, const TargetViewSight& sight,
                                const std::string& plan_before, WallTime now) {
    TargetViewPlan plan;
    TargetViewStatus& s = plan.status;
    s = before;
    s.conditions.clear();
    s.observed_generation = view.generation;
    s.last_error.clear();
    s.rows = sight.rows;
    s.pipelines = sight.declared;
    s.refused = static_cast<std::int64_t>(sight.refused.size());
    s.names_taken = static_cast<std::int64_t>(sight.taken.size());
    // One that begins in the future was written by a clock that ran ahead.
    if (s.removal_window_start && (*s.removal_window_start + kWindow <= now || *s.removal_window_start > now)) {
        s.removal_window_start.reset();
        s.removed_in_window = 0;
    }
    const auto vanished = static_cast<std::int64_t>(sight.vanished.size());
    plan.unconfirmed = vanished > 0 && sight.plan != plan_before;
    const bool approved = vanished > 0 && view.approval == sight.plan;
    if (plan.unconfirmed) {
        // What was held before is held until a second look tells what is held now.
        return plan;
    }
    plan.clear_approval = view.approval.has_value();
    plan.removal = decide_removal(
        {vanished, sight.declared, sight.rows, before.counted_rows, s.removed_in_window, view.max_removal_ratio, approved});
    if (plan.removal.blocked) {
        plan.removal.message += fmt::format("; if that is meant: homeostat approve targetview/{} {} (gone are {})", view.name,
                                            sight.plan, quoted_names(sight.vanished));
        s.held = vanished;
        s.plan = sight.plan;
        return plan;
    }
    s.held = 0;
    s.plan.clear();
    s.counted_rows = sight.rows;
    s.pipelines -= vanished;
    plan.retire = sight.vanished;
    // What a person has approved is not counted against what may go without.
    if (vanished > 0 && !approved) {
        if (!s.removal_window_start) s.removal_window_start = now;
        s.removed_in_window += vanished;
    }
    return plan;
}

std::vector<Condition> target_view_conditions(const TargetViewSpec& view, const TargetViewSight& sight,
                                              const TargetViewPlan& plan) {
    std::vector<Condition> out;
    const TargetViewStatus& s = plan.status;
    if (plan.unconfirmed && s.held > 0) {
        // What is held changes; how it stands now is said by the next look.
    } else if (plan.removal.blocked) {
        out.push_back(ready(view, "False", "RemovalBlocked", plan.removal.message));
    } else if (!sight.refused.empty()) {
        out.push_back(ready(view, "False", "RowsRefused", sentences(sight.refused)));
    } else if (!sight.taken.empty()) {
        out.push_back(ready(view, "False", "NamesTaken", quoted_names(sight.taken)));
    } else {
        out.push_back(ready(view, "True", "Declared",
                            fmt::format("{} {} {}", plural(sight.rows, "row"), one_or_many(sight.rows, "declares", "declare"),
                                        plural(s.pipelines, "pipeline"))));
    }
    if (!plan.unconfirmed) {
        add(out, view, "RemovalBlocked", plan.removal.blocked, plan.removal.reason, "NothingHeld", plan.removal.message);
    }
    add(out, view, "RowsRefused", !sight.refused.empty(), "ChecksRefused", "None", sentences(sight.refused));
    add(out, view, "NamesTaken", !sight.taken.empty(), "OwnedByOthers", "None",
        fmt::format("pipelines of these names were declared by somebody else and are left alone: {}", quoted_names(sight.taken)));
    add(out, view, "ColumnsIgnored", !sight.ignored.empty(), "NotOfAPipeline", "None",
        fmt::format("no pipeline has what these columns are named: {}", quoted_names(sight.ignored)));
    return out;
}

struct TargetViewReconciler::Pass {
    const Context& context;
    TargetViewSpec view;
    TargetViewStatus before;
    TargetViewSight sight;
    TargetViewPlan plan;

    std::string lease() const { return target_view_lease(view.uid); }
    Transaction transaction(Session& session) const {
        Transaction tx = session.begin();
        hold_lease(tx, lease(), context.epoch);
        return tx;
    }
    std::string gone() const {
        return view.deleting ? fmt::format("target view \"{}\", which declared it, was deleted", view.name)
                             : fmt::format("its row is no longer in {} (target view \"{}\")", view.relation, view.name);
    }
};

TargetViewReconciler::TargetViewReconciler(Pool& reads, Pool& writes, const Clock& clock, Telemetry telemetry, bool once,
                                           std::function<void()> declared)
    : reads_(reads), writes_(writes), clock_(clock), telemetry_(telemetry), once_(once), declared_(std::move(declared)) {}

Result<ReconcileOutcome> TargetViewReconciler::reconcile(std::int64_t uid, const Context& context, Span& span) {
    const SpanScope scope(telemetry_.tracer, span);
    Pass pass{.context = context, .view = {}, .before = {}, .sight = {}, .plan = {}};
    {
        Result<Pool::Lease> session = reads_.acquire(context);
        if (!session) return session.error();
        Result<TargetViewSpec> view = read_target_view(**session, uid);
        if (!view && view.error().cls == ErrorClass::not_found) return ReconcileOutcome{.end = PassEnd::gone};
        if (!view) return view.error();
        pass.view = *std::move(view);
        Result<TargetViewStatus> before = read_target_view_status(**session, uid);
        if (!before) return before.error();
        pass.before = *std::move(before);
    }
    if (pass.view.deleting) return finalize(pass);
    if (pass.view.suspend) {
        TargetViewStatus status = pass.before;
        status.observed_generation = pass.view.generation;
        status.conditions = {ready(pass.view, "False", "Suspended", pass.view.suspend_reason.value_or(""))};
        return record(pass, status, {.end = PassEnd::settled, .again_in = pass.view.interval});
    }
    return run_pass(pass);
}

Result<ReconcileOutcome> TargetViewReconciler::run_pass(Pass& pass) {
    const SteadyTime started = clock_.steady_now();
    Result<TargetViewSight> sight = [&]() -> Result<TargetViewSight> {
        Result<Pool::Lease> session = reads_.acquire(pass.context);
        if (!session) return session.error();
        return look_at_target_view(**session, pass.view, once_);
    }();
    if (!sight) {
        const Error& e = sight.error();
        // A statement that took too long says something about the relation; a connection that broke does not.
        if (e.cls == ErrorClass::cancelled || (e.cls == ErrorClass::db_transient && e.code != "57014")) return e;
        TargetViewStatus status = pass.before;
        status.rows.reset();
        status.last_error = e.message;
        status.conditions = {ready(pass.view, "Unknown", unreadable_reason(e), e.message)};
        if (differs(pass.before, status)) spdlog::warn("target view \"{}\": {}", pass.view.name, e.message);
        return record(pass, status, {.end = PassEnd::failed, .again_in = std::max(pass.view.interval, Millis(5'000))});
    }
    pass.sight = *std::move(sight);
    std::string plan_before;
    {
        const Lock lock(mutex_);
        plan_before = std::exchange(plans_[pass.view.uid], pass.sight.plan);
    }
    pass.plan = plan_target_view(pass.view, pass.before, pass.sight, plan_before, pass.sight.at);
    if (const Status declared = declare(pass); !declared) return declared.error();
    if (const Status done = conclude(pass); !done) return done.error();
    // A relation that is slow to read is read less often, whatever the interval says.
    const auto took = std::chrono::duration_cast<Millis>(clock_.steady_now() - started);
    const bool clean = pass.sight.refused.empty() && pass.sight.taken.empty() && !pass.plan.removal.blocked;
    const PassEnd end = pass.plan.unconfirmed ? PassEnd::again : clean ? PassEnd::converged : PassEnd::settled;
    return ReconcileOutcome{.end = end, .again_in = std::max(pass.view.interval, took * 4)};
}

// In steps that are each kept. Rows may rest on each other (depends_on), so those that were refused are tried again for as long
// as that gains anything.
Status TargetViewReconciler::declare(Pass& pass) {
    std::vector<DeclaringRow> left = pass.sight.declaring;
    std::vector<RowRefusal> refused;
    std::int64_t fresh = std::count_if(left.begin(), left.end(), [](const DeclaringRow& r) { return r.fresh; });
    while (!left.empty()) {
        refused.clear();
        for (std::size_t at = 0; at < left.size(); at += kRowsAtOnce) {
            const std::vector<DeclaringRow> some(
                left.begin() + static_cast<std::ptrdiff_t>(at),
                left.begin() + static_cast<std::ptrdiff_t>(std::min(at + kRowsAtOnce, left.size())));
            Result<Pool::Lease> session = writes_.acquire(pass.context);
            if (!session) return session.error();
            const Status done = guarded([&] {
                Transaction tx = pass.transaction(**session);
                write_for(tx, pass.view);
                const std::vector<RowRefusal> more = declare_rows(tx, pass.view, pass.sight.columns, some);
                refused.insert(refused.end(), more.begin(), more.end());
                tx.commit();
            });
            if (!done) return done;
            declared_();
        }
        const std::size_t tried = left.size();
        std::set<std::string> names;
        for (const RowRefusal& r : refused) names.insert(r.first);
        std::erase_if(left, [&](const DeclaringRow& r) { return !names.contains(r.name); });
        if (left.size() == tried) break;
    }
    for (const DeclaringRow& row : left) fresh -= row.fresh ? 1 : 0;
    pass.sight.refused.insert(pass.sight.refused.end(), refused.begin(), refused.end());
    pass.plan.status.pipelines += fresh;
    pass.plan.status.refused = static_cast<std::int64_t>(pass.sight.refused.size());
    return {};
}

// Removals, what is forgotten, and the status: one transaction, and none at all where nothing changes.
Status TargetViewReconciler::conclude(Pass& pass) {
    TargetViewPlan& plan = pass.plan;
    std::sort(pass.sight.refused.begin(), pass.sight.refused.end());
    std::sort(pass.sight.taken.begin(), pass.sight.taken.end());
    plan.status.conditions = target_view_conditions(pass.view, pass.sight, plan);
    publish(pass.view, plan.status);
    if (plan.retire.empty() && pass.sight.forgotten.empty() && !plan.clear_approval && !differs(pass.before, plan.status))
        return {};
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    const Status done = guarded([&] {
        Transaction tx = pass.transaction(**session);
        write_for(tx, pass.view);
        retire_pipelines(tx, pass.view, plan.retire, pass.gone());
        forget_rows(tx, pass.view, pass.sight.forgotten);
        if (plan.clear_approval) clear_approval(tx, pass.view);
        write_target_view_status(tx, pass.view, pass.before, plan.status, pass.context.reconcile_id);
        tx.commit();
    });
    if (done && !plan.retire.empty()) {
        spdlog::info("target view \"{}\": {} pipelines are gone from {} ({})", pass.view.name, plan.retire.size(),
                     pass.view.relation, pass.view.on_removal);
        declared_();
    }
    return done;
}

Result<ReconcileOutcome> TargetViewReconciler::record(Pass& pass, const TargetViewStatus& status, ReconcileOutcome outcome) {
    publish(pass.view, status);
    if (!differs(pass.before, status)) return outcome;
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    const Status done = guarded([&] {
        Transaction tx = pass.transaction(**session);
        write_target_view_status(tx, pass.view, pass.before, status, pass.context.reconcile_id);
        tx.commit();
    });
    if (!done) return done.error();
    return outcome;
}

Result<ReconcileOutcome> TargetViewReconciler::finalize(Pass& pass) {
    Result<Pool::Lease> session = writes_.acquire(pass.context);
    if (!session) return session.error();
    const Status gone = guarded([&] {
        Transaction tx = pass.transaction(**session);
        write_for(tx, pass.view);
        add_event(tx,
                  {.uid = pass.view.uid,
                   .reason = "Deleted",
                   .message = fmt::format("target view \"{}\" is deleted (on_removal {})", pass.view.name, pass.view.on_removal),
                   .reconcile_id = pass.context.reconcile_id});
        delete_target_view(tx, pass.view, pass.gone());
        tx.commit();
    });
    if (!gone) return gone.error();
    {
        const Lock lock(mutex_);
        plans_.erase(pass.view.uid);
    }
    telemetry_.metrics.forget("target_view", pass.view.name);
    declared_();
    return ReconcileOutcome{.end = PassEnd::gone};
}

void TargetViewReconciler::publish(const TargetViewSpec& view, const TargetViewStatus& s) {
    const auto set = [&](const char* name, const char* help, std::int64_t value) {
        telemetry_.metrics.gauge(name, help, {{"target_view", view.name}}).set(static_cast<double>(value));
    };
    set("homeostat_target_view_pipelines", "Pipelines that the rows of a target view declare.", s.pipelines);
    set("homeostat_target_view_rows_refused", "Rows that declare nothing because the checks refuse them.", s.refused);
    set("homeostat_target_view_removals_held", "Removals of pipelines held back by the brakes.", s.held);
}

}  // namespace homeostat
