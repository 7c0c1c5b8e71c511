#include "reconcilers/embed/inprocess.hpp"

namespace homeostat {

Status may_go_on(const Context& context, const Clock* clock) {
    if (context.stop.stop_requested()) return cancelled("embedding was stopped before it had finished; nothing of it was used");
    if (clock != nullptr && clock->steady_now() >= context.deadline) {
        return Error{.cls = ErrorClass::timeout,
                     .message = "embedding in this process did not finish by its deadline; give it longer, or smaller batches",
                     .origin = Origin::ours};
    }
    return {};
}

}  // namespace homeostat
