#include "store/control/budgets.hpp"

#include <fmt/format.h>

#include "store/pg/arrays.hpp"
#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

const Statement kReserve{"budget_reserve", "SELECT coalesce(homeostat.reserve_budget($1::bigint, $2::bigint, $3::bigint), '+')"};
const Statement kSettle{"budget_settle",
                        "SELECT homeostat.settle_budget($1::bigint, $2::bigint, $3::bigint[], $4::bigint[])::text"};

const Statement kSpent{"budget_spent", "SELECT scope, id, name FROM homeostat.budget WHERE spent GROUP BY scope, id, name"};

// The pipeline's own first: whoever asks can approve that.
const Statement kHold{"budget_hold", R"sql(
    SELECT b.message, b.plan, b.scope = 'provider', b.scope <> 'run', b.name FROM homeostat.budget b
    JOIN homeostat.pipeline p ON p.uid = $1::bigint
    LEFT JOIN homeostat.provider o ON o.name = p.provider
    LEFT JOIN homeostat.own_run r ON r.uid = p.uid
    WHERE b.spent AND CASE b.scope WHEN 'pipeline' THEN b.id = p.uid WHEN 'provider' THEN b.id = o.uid ELSE b.id = r.id END
    ORDER BY b.scope = 'provider', b.scope, b.unit LIMIT 1)sql"};

const Statement kPlanHold{"plan_hold", R"sql(
    SELECT p.name, h.documents, h.tokens, h.cost::float8, h.currency, p.approve_above::float8, h.plan
    FROM homeostat.own_held_plan h JOIN homeostat.pipeline p USING (uid)
    WHERE h.uid = $1::bigint AND h.approved_at IS NULL AND h.generation = p.generation AND p.approve_above IS NOT NULL)sql"};

// An approval is of a declaration, and covers a tenth more than what was approved.
const Statement kHoldPlan{"plan_note", R"sql(
    INSERT INTO homeostat.held_plan AS h (uid, plan, generation, documents, tokens, cost, currency)
    VALUES ($1::bigint, 'cost-' || left(md5(concat_ws(' ', $1::bigint, $2::bigint, $3::bigint, $4::bigint, $5::numeric)), 12), $2::bigint, $3::bigint, $4::bigint, $5::numeric, $6)
    ON CONFLICT (uid) DO UPDATE SET plan = excluded.plan, generation = excluded.generation, documents = excluded.documents,
        tokens = excluded.tokens, cost = excluded.cost, currency = excluded.currency, held_at = clock_timestamp(), approved_by = NULL,
        approved_at = NULL
    WHERE h.generation <> excluded.generation OR excluded.cost > h.cost * 1.1
        OR (h.approved_at IS NULL AND excluded.plan <> h.plan AND excluded.cost < h.cost * 0.9))sql"};
const Statement kIsHeld{"plan_is_held", "SELECT approved_at IS NULL FROM homeostat.held_plan WHERE uid = $1::bigint"};
const Statement kForgetHeld{"plan_forget_held", "DELETE FROM homeostat.held_plan WHERE uid = $1::bigint AND approved_at IS NULL"};
const Statement kForget{"plan_forget", "DELETE FROM homeostat.held_plan WHERE uid = $1::bigint"};

// Compared and set in one statement, and compared again under the row's lock: who comes second finds another plan.
const Statement kApproveUse{"budget_approve", R"sql(
    WITH waits AS MATERIALIZED (
        SELECT b.scope, b.id, b.grants, b.plan FROM homeostat.budget b
        WHERE b.spent AND b.name = $2 AND (b.scope = 'provider') = $1::boolean),
    done AS (UPDATE homeostat.own_budget_use u SET grants = u.grants + 1
        FROM (SELECT DISTINCT w.scope, w.id, w.grants FROM waits w WHERE w.plan = $3) w
        WHERE u.scope = w.scope AND u.id = w.id AND u.grants = w.grants RETURNING u.id)
    SELECT EXISTS (SELECT FROM done), coalesce((SELECT string_agg(DISTINCT plan, ' or ') FROM waits), ''))sql"};
const Statement kApprovePlan{"plan_approve", R"sql(
    WITH waits AS MATERIALIZED (
        SELECT h.uid, h.plan FROM homeostat.own_held_plan h JOIN homeostat.pipeline p USING (uid)
        WHERE p.name = $1 AND p.deletion_requested_at IS NULL AND h.approved_at IS NULL AND h.generation = p.generation),
    done AS (UPDATE homeostat.own_held_plan h SET approved_at = clock_timestamp() FROM waits w
        WHERE h.uid = w.uid AND h.plan = w.plan AND w.plan = $2 RETURNING h.uid)
    SELECT EXISTS (SELECT FROM done), coalesce((SELECT plan FROM waits), ''))sql"};

BudgetHold hold_at(const Rows& rows) {
    if (rows.empty()) return {};
    const bool provider = rows.boolean(0, 2);
    const bool day = rows.boolean(0, 3);
    const std::string plan = rows.text(0, 1);
    return {provider ? "ProviderBudget"
            : day    ? "DayBudget"
                     : "RunBudget",
            fmt::format("{}; {}; as much again is allowed by: homeostat approve {}{} {}", rows.view(0, 0),
                        day ? "it goes on tomorrow (UTC)" : "what is left of the run waits", provider ? "provider/" : "",
                        rows.view(0, 4), plan),
            plan};
}

std::string amount(double money, const std::string& currency) { return fmt::format("{:.2f} {}", money, currency); }

}  // namespace

bool has_budget(const ProviderSpec& o) noexcept {
    return o.max_tokens_per_run || o.max_tokens_per_day || o.max_cost_per_run || o.max_cost_per_day;
}

bool has_budget(const PipelineSpec& p, const ProviderSpec& o) noexcept {
    return p.max_tokens_per_run || p.max_tokens_per_day || p.max_cost_per_run || p.max_cost_per_day || has_budget(o);
}

Result<Reserved> reserve_budget(Session& session, std::int64_t batch, std::int64_t token, std::uint64_t tokens) {
    return guarded([&]() -> Reserved {
        const Rows rows = session.exec(kReserve, Params::of(batch, token, static_cast<std::int64_t>(tokens)));
        const std::string_view said = rows.view(0, 0);
        if (said == "+") return {};
        if (said == "-") return {Reservation::gone, ""};
        if (said.empty()) return {Reservation::others, ""};
        const std::size_t blank = said.find(' ');
        return {Reservation::spent, std::string(said.substr(blank + 1)), said.substr(0, blank) == "run"};
    });
}

void settle_budget(Transaction& tx, std::int64_t uid, std::int64_t run_id, const Paid& paid) {
    if (paid.empty()) return;
    std::vector<std::int64_t> payees;
    std::vector<std::int64_t> tokens;
    for (const auto& [payee, n] : paid) {
        payees.push_back(payee);
        tokens.push_back(static_cast<std::int64_t>(n));
    }
    Params params = Params::of(uid, run_id);
    params.bytes(binary_array(payees)).bytes(binary_array(tokens));
    tx.later(kSettle, std::move(params));
}

Result<SpentBudgets> spent_budgets(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kSpent);
        SpentBudgets out;
        for (int i = 0; i < rows.size(); ++i) {
            const std::string_view scope = rows.view(i, 0);
            if (scope == "provider") {
                out.providers.push_back(rows.text(i, 2));
            } else {
                (scope == "run" ? out.runs : out.pipelines).push_back(rows.i64(i, 1));
            }
        }
        return out;
    });
}

BudgetHold budget_hold(Transaction& tx, std::int64_t uid) { return hold_at(tx.exec(kHold, Params::of(uid))); }

Result<BudgetHold> read_budget_hold(Session& session, std::int64_t uid) {
    return guarded([&] { return hold_at(session.exec(kHold, Params::of(uid))); });
}

Result<BudgetHold> read_plan_hold(Session& session, std::int64_t uid) {
    return guarded([&]() -> BudgetHold {
        const Rows rows = session.exec(kPlanHold, Params::of(uid));
        if (rows.empty()) return {};
        RowReader c(rows, 0);
        const std::string name = c.text();
        const std::int64_t documents = c.integer();
        const std::int64_t tokens = c.integer();
        const double cost = c.real();
        const std::string currency = c.text();
        const double most = c.real();
        const std::string plan = c.text();
        return {
            "ApprovalNeeded",
            fmt::format("to embed {} documents, about {} tokens, would cost {}, more than approve_above ({}); if that is meant: "
                        "homeostat approve {} {}",
                        documents, tokens, amount(cost, currency), amount(most, currency), name, plan),
            plan};
    });
}

bool hold_plan(Transaction& tx, const PipelineSpec& pipeline, const std::string& currency, const DearPlan& plan) {
    tx.exec(kHoldPlan, Params::of(pipeline.uid, pipeline.generation, plan.documents, plan.tokens, plan.cost, currency));
    return tx.exec(kIsHeld, Params::of(pipeline.uid)).boolean(0, 0);
}

void forget_held_plan(Transaction& tx, std::int64_t uid) { tx.later(kForgetHeld, Params::of(uid)); }
void forget_plan(Transaction& tx, std::int64_t uid) { tx.later(kForget, Params::of(uid)); }

Result<bool> approve_budget(Session& session, ResourceKind kind, std::string_view name, std::string_view plan) {
    return guarded([&]() -> Result<bool> {
        const bool provider = kind == ResourceKind::provider;
        const Rows use = session.exec(kApproveUse, Params::of(provider, name, plan));
        if (use.boolean(0, 0)) return true;
        std::string waits = use.text(0, 1);
        if (!provider) {
            const Rows dear = session.exec(kApprovePlan, Params::of(name, plan));
            if (dear.boolean(0, 0)) return true;
            if (!dear.view(0, 1).empty()) waits += (waits.empty() ? "" : " or ") + dear.text(0, 1);
        }
        if (waits.empty()) return false;
        return invalid(fmt::format("{} \"{}\": {} is not the plan that waits for approval; that is {}",
                                   provider ? "provider" : "pipeline", name, plan, waits));
    });
}

}  // namespace homeostat
