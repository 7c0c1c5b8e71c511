// Revisions as people read them: how far a fill is, what is pinned. Pure.
#pragma once

#include <string>

#include "core/clock.hpp"
#include "store/control/revision_lines.hpp"

namespace homeostat {

std::string progress_text(const FillProgress& fill);  // 1,200 of 5,000 documents filled, 88,000 tokens paid, about 3 min left
std::string pin_text(const RevisionPin& pin, WallTime now);  // Pinned: revision 1, by ann, for 3h: worse answers

}  // namespace homeostat
