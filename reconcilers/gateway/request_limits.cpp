#include "reconcilers/gateway/request_limits.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "reconcilers/embed/limit_words.hpp"

namespace homeostat {

namespace {

constexpr double kSlack = 1.5;  // a request this much larger in tokens than an answered one is no venture
// Until an answer has told otherwise: as slow as an endpoint without a graphics card may be.
constexpr Duration kSlowText = std::chrono::milliseconds(100);
constexpr double kGrowth = 1.1;
constexpr int kFewRefusals = 3;  // that named no number; then another is worth it only where much is to be won
constexpr std::uint64_t kNearlyFull = 8;  // a request that leaves an eighth of a limit free tells nothing of more than that
constexpr double kTheirBytes = 1.1;  // of a request, for one of its texts: quotes, escapes and the rest of the JSON

}  // namespace

RequestLimits::RequestLimits(std::uint32_t declared_texts, Duration timeout)
    : declared_(declared_texts == 0 ? 1 : declared_texts),
      timed_(timeout > Duration{}),
      target_(timeout / 2),
      pace_(timed_ ? std::clamp(0.8 * std::chrono::duration<double>(timeout) / std::chrono::duration<double>(kSlowText), 1.0,
                                static_cast<double>(declared_))
                   : declared_) {}

std::uint32_t RequestLimits::max_texts() const noexcept {
    const std::uint32_t most = texts_ == 0 ? declared_ : std::min(declared_, texts_);
    return std::max(1U, std::min(most, static_cast<std::uint32_t>(pace_)));
}

bool RequestLimits::proven(std::size_t texts, std::uint64_t tokens) const noexcept {
    if (texts <= 1) return true;
    const bool few = texts <= proven_texts_ || (texts_ > 0 && texts <= texts_ && guessed_texts_.refused == 0);
    const bool short_enough = static_cast<double>(tokens) <= kSlack * static_cast<double>(proven_tokens_) ||
                              (tokens_ > 0 && tokens <= tokens_ && guessed_tokens_.refused == 0);
    return few && short_enough;
}

bool RequestLimits::over(std::size_t texts, std::uint64_t tokens) const noexcept {
    return texts > 1 && ((texts_ > 0 && texts > texts_) || (tokens_ > 0 && tokens > tokens_) ||
                         static_cast<double>(texts) > kSlack * std::max(1.0, pace_));
}

// Never below what passed, which the first refusals may not have found yet.
std::uint64_t RequestLimits::Guess::after_refusal(std::uint64_t size, std::uint64_t depth) noexcept {
    refused = refused == 0 ? size : std::min(refused, size);
    if (passed >= refused) passed = 0;
    return passed > 0 ? passed : std::max<std::uint64_t>(1, size / depth);
}

std::uint64_t RequestLimits::Guess::after_answer(std::uint64_t size, std::uint64_t limit, bool dear) noexcept {
    if (refused == 0 || size >= refused) return limit;
    passed = std::max(passed, size);
    // What is left to be won must be worth the request that may be refused for it.
    const bool worth = dear ? passed * 2 < refused : passed * 5 < refused * 4;
    return worth && size * kNearlyFull >= limit * (kNearlyFull - 1) ? std::max(limit, (passed + refused) / 2) : limit;
}

bool RequestLimits::accepted(std::size_t texts, std::uint64_t tokens) noexcept {
    proven_texts_ = std::max(proven_texts_, texts);
    proven_tokens_ = std::max(proven_tokens_, tokens);
    const bool dear = refusals_ >= kFewRefusals;
    const auto grown = static_cast<std::uint32_t>(guessed_texts_.after_answer(texts, texts_, dear));
    // Full where one more text like these would have been too much.
    const bool full = tokens <= tokens_ && tokens + tokens / std::max<std::uint64_t>(1, texts) > tokens_;
    const std::uint64_t longer = guessed_tokens_.after_answer(full ? tokens_ : tokens, tokens_, dear);
    const bool changed = grown != texts_ || longer != tokens_;
    texts_ = grown;
    tokens_ = longer;
    return changed;
}

// One text alone is too large: what was guessed on the way to it was no limit of requests.
bool RequestLimits::take_back() noexcept {
    guessed_texts_ = guessed_tokens_ = {};
    const auto undoubted = std::exchange(tokens_undoubted_, std::nullopt);
    if (undoubted) tokens_ = *undoubted;
    if (std::exchange(refusals_, 0) == 0) return undoubted.has_value();
    texts_ = texts_before_;
    tokens_ = tokens_before_;
    return true;
}

bool RequestLimits::refused(std::size_t texts, std::uint64_t tokens, std::uint64_t bytes, std::string_view said) {
    const LimitOf of = limit_in_words(said, tokens);
    if (of == LimitOf::text) return false;
    if (texts <= 1) return take_back();
    // It was sent before the limit was known: it teaches nothing new.
    if (over(texts, tokens)) return true;
    if (of == LimitOf::items) {
        if (const auto named = limit_named(said, texts, true)) {
            guessed_texts_ = {};
            return texts_ = static_cast<std::uint32_t>(*named), true;
        }
    } else if (of == LimitOf::tokens) {
        if (const auto named = limit_named(said, tokens, false)) {
            // Theirs are other tokens than ours. Where they say how many they counted the rates of both are known; else a tenth
            // is left as a margin.
            const auto counted = count_named(said, *named, tokens);
            const double theirs = counted ? static_cast<double>(*counted) / static_cast<double>(tokens) : 1;
            guessed_tokens_ = {};
            if (!names_them_together(said) && !tokens_undoubted_) tokens_undoubted_ = tokens_;
            tokens_ = std::max<std::uint64_t>(
                1, static_cast<std::uint64_t>(static_cast<double>(*named) / theirs * (counted ? 0.97 : 0.9)));
            return true;
        }
    } else if (const auto named = bytes_named(said, static_cast<std::uint64_t>(static_cast<double>(bytes) * kTheirBytes))) {
        const double share = static_cast<double>(*named) / (static_cast<double>(bytes) * kTheirBytes);
        guessed_tokens_ = {};
        tokens_ = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(static_cast<double>(tokens) * share));
        return true;
    }
    if (refusals_ == 0) {
        texts_before_ = texts_;
        tokens_before_ = tokens_;
    }
    const std::uint64_t depth = 1ULL << std::min(++refusals_, 6);
    if (of == LimitOf::items || of == LimitOf::nothing)
        texts_ = static_cast<std::uint32_t>(guessed_texts_.after_refusal(texts, depth));
    if (of != LimitOf::items) tokens_ = guessed_tokens_.after_refusal(tokens, depth);
    return true;
}

// A size that was answered before is none: something else was the matter.
bool RequestLimits::found(std::size_t refused, std::size_t passed, bool sure) noexcept {
    if (passed == 0 || passed >= refused || refused <= proven_texts_ || (texts_ > 0 && passed >= texts_)) return false;
    if (!sure && !std::exchange(suspected_, true)) return false;
    texts_ = static_cast<std::uint32_t>(passed);
    return true;
}

void RequestLimits::restore(std::uint32_t texts, std::uint64_t tokens, std::uint32_t pace) noexcept {
    if (texts > 0) texts_ = texts;
    if (tokens > 0) tokens_ = tokens;
    if (!timed_ || pace == 0) return;
    pace_ = std::min(pace, declared_);
    paced_ = true;
    quick_ = false;  // it is known, and need not be found out with one request at a time
}

// A text among many takes no longer than one among few, so that what is reckoned from a small request is on the safe side.
void RequestLimits::answered(std::size_t texts, Duration took) noexcept {
    if (!timed_) return;
    const double seconds = std::max(1e-6, std::chrono::duration<double>(took).count());
    const double fits = static_cast<double>(texts) * std::chrono::duration<double>(target_).count() / seconds;
    quick_ = took <= target_;
    paced_ = true;
    if (took > target_ * 8 / 5) {
        pace_ = std::max(1.0, std::min(pace_, fits));
    } else if (took <= target_) {
        // A small request tells of a large one only what is reckoned from it: that it was quick is no surprise.
        const double grown = static_cast<double>(texts) * kGrowth >= std::floor(pace_) ? pace_ * kGrowth : pace_;
        pace_ = std::min(static_cast<double>(declared_), std::max(grown, fits));
    }
}

void RequestLimits::timed_out(std::size_t texts) noexcept {
    if (!timed_) return;
    quick_ = false;
    paced_ = true;
    pace_ = std::max(1.0, std::min(pace_, static_cast<double>(texts) / 2));
}

std::vector<std::vector<std::size_t>> cut_requests(std::span<const std::size_t> texts, std::span<const std::uint64_t> tokens,
                                                   std::uint32_t max_texts, std::uint64_t max_tokens) {
    std::vector<std::vector<std::size_t>> out;
    std::uint64_t sum = 0;
    for (const std::size_t i : texts) {
        const bool full = out.empty() || out.back().size() >= max_texts ||
                          (max_tokens > 0 && !out.back().empty() && sum + tokens[i] > max_tokens);
        if (full) {
            out.emplace_back();
            sum = 0;
        }
        out.back().push_back(i);
        sum += tokens[i];
    }
    return out;
}

}  // namespace homeostat
