#include "controller/cli/api/urgency.hpp"

#include <fmt/core.h>

#include <tuple>

#include "controller/cli/text/figures.hpp"

namespace homeostat {

std::string_view to_string(Urgency u) noexcept {
    switch (u) {
        case Urgency::failing: return "failing";
        case Urgency::not_ready: return "notReady";
        case Urgency::losing: return "losing";
        case Urgency::working: return "working";
        case Urgency::paused: return "paused";
        case Urgency::well: break;
    }
    return "well";
}

Urgency urgency_of(const PipelineLine& line) {
    if (line.kstatus == "Failed") return Urgency::failing;
    if (line.kstatus == "Terminating") return line.ready == "False" ? Urgency::not_ready : Urgency::paused;
    if (line.suspended) return Urgency::paused;
    if (line.reason == "Incomplete" && line.phase.empty()) return line.dead_letters > 0 ? Urgency::losing : Urgency::not_ready;
    if (line.ready == "False" && line.phase.empty() && line.kstatus != "InProgress") return Urgency::not_ready;
    if (line.reason == "Behind") return Urgency::not_ready;
    if (line.ready != "True") return line.reason == "NotObserved" ? Urgency::not_ready : Urgency::working;
    if (line.dead_letters > 0) return Urgency::losing;
    return line.drift > 0 || !line.phase.empty() ? Urgency::working : Urgency::well;
}

std::string cause_of(const PipelineLine& line) {
    if (line.kstatus == "Terminating") return line.message.empty() ? "it is being deleted" : line.message;
    if (line.suspended && line.ready == "True") return "it is suspended: what changes meanwhile is not embedded";
    if (line.ready == "True" && line.dead_letters > 0)
        return counted(line.dead_letters, "document") + (line.dead_letters == 1 ? " was" : " were") + " refused and set aside";
    if (!line.message.empty()) return line.message;
    if (line.reason == "NotObserved") return "no controller has looked at it yet";
    return line.reason;
}

bool more_urgent(const PipelineLine& a, const PipelineLine& b) {
    const auto key = [](const PipelineLine& l) {
        return std::tuple(urgency_of(l), -l.lag.value_or(Millis(0)).count(), -l.drift, std::string_view(l.name));
    };
    return key(a) < key(b);
}

}  // namespace homeostat
