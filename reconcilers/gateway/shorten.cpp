#include "reconcilers/gateway/shorten.hpp"

#include <algorithm>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/embed/limit_words.hpp"
#include "reconcilers/gateway/blame.hpp"

namespace homeostat {

namespace {

constexpr double kLeast = 0.02;  // a number that tells of less is one of something else
constexpr double kMost = 0.9;    // so that each cut is one
constexpr double kMargin = 0.95;

double share_to_keep(std::string_view text, std::string_view said) {
    const std::uint64_t tokens = estimate_tokens(text);
    const auto limit = limit_named(said, tokens, false);
    if (!limit || *limit == 0) return 0.5;
    const auto count = count_named(said, *limit, tokens);
    const std::uint64_t had = std::max(count.value_or(tokens), *limit + 1);
    const double share = static_cast<double>(*limit) / static_cast<double>(had) * kMargin;
    return share < kLeast ? 0.5 : std::min(share, kMost);
}

bool begins_letter(char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }

}  // namespace

std::string shortened_text(std::string_view text, const Error& refusal) {
    auto keep = static_cast<std::size_t>(static_cast<double>(text.size()) * share_to_keep(text, refusal.said));
    while (keep > 0 && !begins_letter(text[keep])) --keep;
    if (keep > 0 || text.empty()) return std::string(text.substr(0, keep));
    std::size_t letter = 1;
    while (letter < text.size() && !begins_letter(text[letter])) ++letter;
    return std::string(text.substr(0, letter));
}

}  // namespace homeostat
