// Numbers as people read them. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace homeostat {

std::string count_text(std::int64_t n);                           // 12,345
std::string counted(std::int64_t n, std::string_view thing);      // 1 document, 12,345 documents
std::string duration_text(double seconds);                        // 8 s, 3 min, 2.5 h, 4 d
std::string key_text(const std::vector<std::string>& key);        // a, b

}  // namespace homeostat
