// Budgets: what may be paid a run and a day, of pipelines and of providers, by all replicas together (migrations: budgets).
//
// A claim reserves what it is about to ask for, by estimate, as long as something of each budget is left; so what is paid is
// never more than the budget and what was asked for last. The reservation is of the claim's token and ends with it, however that
// ends; what was really paid is written in the transaction that ends the claim (finish_batch, release_batch). Blocks; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/resource.hpp"
#include "store/control/resources.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

// Whether anything at all is to be reserved. What it would cost nothing to look up is not.
bool has_budget(const PipelineSpec& pipeline, const ProviderSpec& provider) noexcept;
bool has_budget(const ProviderSpec& provider) noexcept;

enum class Reservation : std::uint8_t {
    made,
    spent,  // a budget is: nothing is asked for until tomorrow, or an approval
    others,  // all that is left is reserved for what others ask for just now
    gone  // the claim is not ours any more
};
struct Reserved {
    Reservation outcome = Reservation::made;
    std::string message;  // which budget is spent
    bool of_run = false;  // it is: edits may still be paid
};
Result<Reserved> reserve_budget(Session& session, std::int64_t batch, std::int64_t token, std::uint64_t tokens);

// What a claim has paid, in tokens, by the uid of whom it paid. In the transaction that ends the claim.
using Paid = std::vector<std::pair<std::int64_t, std::uint64_t>>;
void settle_budget(Transaction& tx, std::int64_t uid, std::int64_t run_id, const Paid& paid);

// Whose requests wait, as things are now.
struct SpentBudgets {
    std::vector<std::int64_t> pipelines;  // uids
    std::vector<std::int64_t> runs;
    std::vector<std::string> providers;
};
Result<SpentBudgets> spent_budgets(Session& session);

// What holds a pipeline back because of what it costs; "" where nothing does.
struct BudgetHold {
    std::string reason;  // as conditions have it: DayBudget, RunBudget, ProviderBudget, ApprovalNeeded; "" = none
    std::string message;  // with the plan, and how to let it go on
    std::string plan;
};
// What a pipeline waits for: a budget that is spent, its own or its provider's, and a plan that costs more than approve_above.
BudgetHold budget_hold(Transaction& tx, std::int64_t uid);
Result<BudgetHold> read_budget_hold(Session& session, std::int64_t uid);
Result<BudgetHold> read_plan_hold(Session& session, std::int64_t uid);

// A plan that would cost more than is declared.
struct DearPlan {
    std::int64_t documents = 0, tokens = 0;
    double cost = 0;
};
// Under the caller's lease: notes the plan and says whether it waits. What was approved covers a plan that costs a tenth more, of
// the same declaration: a source does not stand still while a person decides.
bool hold_plan(Transaction& tx, const PipelineSpec& pipeline, const std::string& currency, const DearPlan& plan);
void forget_held_plan(Transaction& tx, std::int64_t uid);  // it costs less now; what was approved stays
void forget_plan(Transaction& tx, std::int64_t uid);  // its run has ended

// Lets what waits under that plan go on; false where nothing of that object does. Another plan than the one that waits is class
// invalid.
Result<bool> approve_budget(Session& session, ResourceKind kind, std::string_view name, std::string_view plan);

}  // namespace homeostat
