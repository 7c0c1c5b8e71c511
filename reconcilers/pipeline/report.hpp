// What the conditions of a pipeline follow from between its passes. Pure.
#pragma once

#include "reconcilers/pipeline/conditions.hpp"
#include "store/control/reports.hpp"

namespace homeostat {

Seen seen_in(const ReportFacts& facts);

}  // namespace homeostat
