// Revisions as people read them: how far a fill is, what is pinned. Pure.
#pragma once

#include <string>

#include "controller/config/config_yaml.hpp"
#include "core/clock.hpp"
#include "store/control/revision_lines.hpp"

namespace homeostat {

// 1,200 of 5,000 documents filled, 88,000 tokens paid (0.018 USD, about 0.057 more to come), about 3 min left
std::string progress_text(const FillProgress& fill);
YamlNode fill_node(const FillProgress& fill);  // what is not known is not in it
std::string pin_text(const RevisionPin& pin, WallTime now);  // Pinned: revision 1, by ann, for 3h: worse answers

}  // namespace homeostat
