// Values out of an object by their path, as kubectl's -o jsonpath, custom-columns and --sort-by have it: .status.documents,
// .spec.content[0], .items[*].metadata.name, .status.conditions[?(@.type=="Ready")].status, and templates of them with
// {range ...}{end} and {"text"}. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "controller/config/config_yaml.hpp"

namespace homeostat {

// What a path leads to, in order; nothing where there is nothing. Braces around the path, a leading $ and a leading dot may be
// left out.
Result<std::vector<const YamlNode*>> follow_path(const YamlNode& root, std::string_view path);

// As text: scalars as they are, lists and maps as JSON.
std::string value_text(const YamlNode& node);

// A template: text, with what is in braces replaced by what it leads to, several values with a blank between.
Result<std::string> expand_template(const YamlNode& root, std::string_view text);

}  // namespace homeostat
