// Progress beside something else that goes on: what `watch` shows, for `run --once`. One thread at a time.
#pragma once

#include <ostream>
#include <stop_token>

#include "controller/cli/cli.hpp"

namespace homeostat {

// Whether `out` is a terminal that can be drawn on.
bool is_terminal(const std::ostream& out);

// Draws until `stop`, and leaves the last lines on the usual screen. Ends early, and says nothing, where it cannot look any more.
void draw_progress(CliContext& context, Session& session, const std::stop_token& stop);

// For whoever ends the process at once: the usual screen again. Safe in any state of the others.
void leave_screen_at_once() noexcept;

}  // namespace homeostat
