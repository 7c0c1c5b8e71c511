// The settings database.readers and database.reader_url: which login reads whose sources. Pure but for reader_logins, which reads
// what references name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "controller/config/config_yaml.hpp"
#include "core/error.hpp"
#include "store/pg/connect_options.hpp"

namespace homeostat {

struct Settings;

// How a file writes them, [{role: R, url: U}, ...], as the one line that flags and the environment give: "R U; ...".
Result<std::string> readers_line(const YamlNode& node);
// A role and a URL each, and no password: that belongs into what a reference (env:NAME, file:PATH) names.
Status check_readers(std::string_view line);
// The line as it may be printed, whatever is wrong with it.
std::string shown_readers(std::string_view line);

// In the order in which they are chosen. One whose reference names nothing carries the problem: who would be read by it is told.
std::vector<ReaderLogin> reader_logins(const Settings& settings);

}  // namespace homeostat
