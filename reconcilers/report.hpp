// What the conditions of a pipeline follow from between its passes. Pure.
#pragma once

#include "reconcilers/conditions.hpp"
#include "store/reports.hpp"

namespace homeostat {

Seen seen_in(const ReportFacts& facts);

}  // namespace homeostat
