#include "store/sql_fragments.hpp"

#include <fmt/format.h>

namespace homeostat {

std::string numbered(std::size_t n, std::string_view pattern, int first) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i) {
        if (i > 0) out += ", ";
        out += fmt::format(fmt::runtime(pattern), first + static_cast<int>(i));
    }
    return out;
}

std::string match_source(const SourceShape& source, std::string_view right) {
    std::string out;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        out += fmt::format("{}s.{} = {}", i == 0 ? "" : " AND ", source.key[i].quoted,
                           fmt::format(fmt::runtime(right), i + 1, source.key[i].type, source.key[i].collate));
    }
    return out;
}

}  // namespace homeostat
