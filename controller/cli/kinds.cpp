#include "controller/cli/kinds.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace homeostat {

Result<ResourceKind> read_kind(std::string_view word) {
    static constexpr std::array<std::string_view, 6> kWords{"pipelines", "pipeline", "pl", "providers", "provider", "pv"};
    const auto found = std::find(kWords.begin(), kWords.end(), word);
    if (found == kWords.end()) {
        return invalid(
            fmt::format("\"{}\" is not a kind of object; it is pipelines or providers{}", word, did_you_mean(word, kWords)));
    }
    return found - kWords.begin() < 3 ? ResourceKind::pipeline : ResourceKind::provider;
}

std::string_view kind_word(ResourceKind kind) { return kind == ResourceKind::provider ? "provider" : "pipeline"; }

}  // namespace homeostat
