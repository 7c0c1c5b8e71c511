#include "reconcilers/pipeline/dropping.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/fault_point.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/control/statuses.hpp"

namespace homeostat {

namespace {

const Statement kDone{"revision_drop_done",
                      "UPDATE homeostat.pipeline SET revision_drop = NULL WHERE uid = $1::bigint AND revision_drop = $2::int"};

std::string dropped_text(const PipelineSpec& declared, std::int32_t number, const std::string& state) {
    if (state.empty() || state == "retired") return fmt::format("revision {} is dropped", number);
    return fmt::format("revision {} of pipeline \"{}\" is {} by now, and is not dropped", number, declared.name,
                       state == "served" ? "served" : "being filled");
}

}  // namespace

Status drop_asked(Pool& writes, const PipelineSpec& declared, std::vector<Revision>& revisions, const Context& context) {
    if (!declared.revision_drop) return {};
    const std::int32_t number = *declared.revision_drop;
    const auto it = std::ranges::find_if(revisions, [&](const Revision& r) { return r.number == number; });
    const std::string state = it == revisions.end() ? "" : it->state;
    Result<Pool::Lease> session = writes.acquire(context);
    if (!session) return session.error();
    const Status done = guarded([&] {
        Transaction tx = fenced_transaction(**session, pipeline_lease(declared.uid), context);
        if (state == "retired") drop_revision(tx, it->tables);
        tx.exec(kDone, Params::of(declared.uid, number));
        add_event(tx, {.uid = declared.uid,
                       .reason = state.empty() || state == "retired" ? "RevisionDropped" : "RevisionNotDropped",
                       .message = dropped_text(declared, number, state),
                       .reconcile_id = context.reconcile_id});
        HOMEOSTAT_REACH("revision_drop.before_commit");
        tx.commit();
        HOMEOSTAT_REACH("revision_drop.after_commit");
    });
    if (done && state == "retired") revisions.erase(it);
    return done;
}

}  // namespace homeostat
