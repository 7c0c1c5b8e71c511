// Settings that hold several values: how a file writes them, as the one line that flags and the environment give. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "controller/config/config_yaml.hpp"
#include "core/error.hpp"

namespace homeostat {

// Whether a list in the file may stand for the setting's value.
bool takes_list(std::string_view setting) noexcept;
// A value that can stand as one word in such a line, in which ; ends an entry.
bool is_word(const YamlNode& node);
// [a, b] as "a, b"; refused where one of them is no single word, or holds what is between them.
Result<std::string> list_line(const YamlNode& node);
// {NAME: {source: S, origins: [A, B]}} as "NAME S A B; ...".
Result<std::string> secrets_line(const YamlNode& node);

// "a, b" taken apart; what is empty is left out.
std::vector<std::string> listed_words(std::string_view line);

// Each is an absolute path, or a name of a variable; the message names the setting.
Status check_paths(std::string_view setting, std::string_view line);
Status check_names(std::string_view setting, std::string_view line);
// The settings secrets and provider.allow_hosts.
Status check_outbound(std::string_view secrets, std::string_view hosts);

}  // namespace homeostat
