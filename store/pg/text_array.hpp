// text[] in PostgreSQL's text form, both ways: for the few small arrays that travel as text. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace homeostat {

std::string format_text_array(const std::vector<std::string>& values);
// Two dimensions: one inner array a column, of each row's value in it. Rows are equally wide.
std::string format_text_columns(const std::vector<std::vector<std::string>>& rows);
// One dimension; NULL elements become "". Text that is no array gives what could be read of it.
std::vector<std::string> parse_text_array(std::string_view text);

}  // namespace homeostat
