// How the setting `secrets` is written in one line, and the programs in it: "NAME SOURCE ORIGIN...; NAME SOURCE ORIGIN...", where
// a source that has blanks stands in double quotes: token "exec:/usr/bin/az account get-access-token" https://api.example.com.
// Pure; safe from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace homeostat {

// True for exec:/PATH with or without arguments.
bool is_program_source(std::string_view source) noexcept;

// The line taken apart into its entries, at each ; that is in no double quotes. None is empty.
std::vector<std::string> secret_entries(std::string_view line);
// The words of an entry; refused where a quote is left open.
Result<std::vector<std::string>> entry_words(std::string_view entry);

// The absolute path of the program and its arguments, with blanks between them; what holds blanks is in single quotes. Refused
// where it is not one.
Result<std::vector<std::string>> program_words(std::string_view source);
// The opposite: such words, the first of which begins with exec:, as a source. Refused where one holds a quote or a line end.
Result<std::string> program_source(const std::vector<std::string>& words);
// A source as it stands in the line.
std::string written_source(const std::string& source);

}  // namespace homeostat
