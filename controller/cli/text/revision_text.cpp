#include "controller/cli/text/revision_text.hpp"

#include <fmt/core.h>

#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"

namespace homeostat {

std::string progress_text(const FillProgress& f) {
    std::string out =
        f.of ? fmt::format("{} of {}", count_text(f.written), counted(*f.of, "document")) : counted(f.written, "document");
    out += fmt::format(" filled, {} tokens paid", count_text(f.tokens));
    if (const auto left = f.seconds_left()) out += fmt::format(", about {} left", duration_text(*left));
    return out;
}

std::string pin_text(const RevisionPin& pin, WallTime now) {
    return fmt::format("Pinned: revision {}, by {}{}{}", pin.revision, pin.by,
                       pin.since ? fmt::format(", for {}", age_text(*pin.since, now)) : "",
                       pin.reason.empty() ? "; no reason given" : "; " + pin.reason);
}

}  // namespace homeostat
