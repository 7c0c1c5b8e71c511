#include "controller/cli/kinds.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace homeostat {

namespace {

struct Word {
    std::string_view word;
    ResourceKind kind;
};

constexpr std::array kWords{Word{"pipelines", ResourceKind::pipeline},
                            Word{"pipeline", ResourceKind::pipeline},
                            Word{"pl", ResourceKind::pipeline},
                            Word{"providers", ResourceKind::provider},
                            Word{"provider", ResourceKind::provider},
                            Word{"pv", ResourceKind::provider},
                            Word{"targetviews", ResourceKind::target_view},
                            Word{"targetview", ResourceKind::target_view},
                            Word{"tv", ResourceKind::target_view}};

}  // namespace

Result<ResourceKind> read_kind(std::string_view word) {
    std::array<std::string_view, kWords.size()> words;
    for (std::size_t i = 0; i < kWords.size(); ++i) {
        if (kWords[i].word == word) return kWords[i].kind;
        words[i] = kWords[i].word;
    }
    return invalid(fmt::format("\"{}\" is not a kind of object; it is pipelines or providers or targetviews{}", word,
                               did_you_mean(word, words)));
}

std::string_view kind_word(ResourceKind kind) {
    switch (kind) {
        case ResourceKind::provider: return "provider";
        case ResourceKind::target_view: return "targetview";
        case ResourceKind::pipeline: break;
    }
    return "pipeline";
}

NamedObject read_object_name(std::string_view text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return NamedObject{std::nullopt, std::string(text)};
    const Result<ResourceKind> kind = read_kind(text.substr(0, slash));
    // A name may have a stroke in it; only a kind before it makes it more than a name.
    if (!kind) return NamedObject{std::nullopt, std::string(text)};
    return NamedObject{*kind, std::string(text.substr(slash + 1))};
}

}  // namespace homeostat
