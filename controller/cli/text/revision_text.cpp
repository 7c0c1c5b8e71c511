#include "controller/cli/text/revision_text.hpp"

#include <fmt/core.h>

#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"

namespace homeostat {

std::string progress_text(const FillProgress& f) {
    std::string out =
        f.of ? fmt::format("{} of {}", count_text(f.written), counted(*f.of, "document")) : counted(f.written, "document");
    out += fmt::format(" filled, {} tokens paid", count_text(f.tokens));
    if (const auto cost = f.cost()) {
        const auto left = f.cost_left();
        out += fmt::format(" ({:.4g} {}{})", *cost, f.currency, left ? fmt::format(", about {:.4g} more to come", *left) : "");
    }
    if (const auto left = f.seconds_left()) out += fmt::format(", about {} left", duration_text(*left));
    return out;
}

YamlNode fill_node(const FillProgress& f) {
    YamlNode fill = YamlNode::map();
    fill.add("written", YamlNode::number(f.written));
    if (f.of) fill.add("of", YamlNode::number(*f.of));
    fill.add("tokens", YamlNode::number(f.tokens));
    if (const auto cost = f.cost()) {
        fill.add("cost", YamlNode::real(*cost));
        if (const auto left = f.cost_left()) fill.add("costLeft", YamlNode::real(*left));
        fill.add("currency", YamlNode::text(f.currency));
    }
    if (const auto left = f.seconds_left()) fill.add("secondsLeft", YamlNode::number(static_cast<std::int64_t>(*left)));
    return fill;
}

std::string pin_text(const RevisionPin& pin, WallTime now) {
    return fmt::format("Pinned: revision {}, by {}{}{}", pin.revision, pin.by,
                       pin.since ? fmt::format(", for {}", age_text(*pin.since, now)) : "",
                       pin.reason.empty() ? "; no reason given" : "; " + pin.reason);
}

}  // namespace homeostat
