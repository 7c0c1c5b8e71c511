// How a validation looks: for people at a hundred columns, and as a document for programs (docs/validate.md has its shape). Pure.
#pragma once

#include <ostream>

#include "controller/config/config_yaml.hpp"
#include "reconcilers/inspect/validation.hpp"

namespace homeostat {

void print_report(std::ostream& out, bool colour, const SourceReport& report);
YamlNode report_node(const SourceReport& report);

}  // namespace homeostat
