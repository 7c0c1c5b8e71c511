#include "reconcilers/gateway/request_limits.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "reconcilers/embed/limit_words.hpp"

namespace homeostat {

namespace {

constexpr double kSlack = 1.5;  // a request this much larger in tokens than an answered one is no venture
// Until an answer has told otherwise: as slow as an endpoint without a graphics card may be.
constexpr Duration kSlowText = std::chrono::milliseconds(100);
constexpr double kGrowth = 1.1;
constexpr int kEnoughDoubts = 3;  // finds in a row that a size which was taken once is not taken any more
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

std::uint64_t RequestLimits::Guess::after_answer(std::uint64_t size, std::uint64_t limit) noexcept {
    if (refused == 0 || size >= refused) return limit;
    passed = std::max(passed, size);
    // What is left to be won must be worth the request that may be refused for it.
    const bool worth = passed * 6 < refused * 5;
    return worth && size * kNearlyFull >= limit * (kNearlyFull - 1) ? std::max(limit, (passed + refused) / 2) : limit;
}

bool RequestLimits::accepted(std::size_t texts, std::uint64_t tokens) noexcept {
    proven_texts_ = std::max(proven_texts_, texts);
    proven_tokens_ = std::max(proven_tokens_, tokens);
    if (texts >= doubted_.texts && tokens >= doubted_.tokens) doubts_ = 0;
    if (suspected_ && texts >= suspected_->texts && tokens >= suspected_->tokens) suspected_.reset();
    const auto grown = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(guessed_texts_.after_answer(texts, texts_), std::max(declared_, texts_)));
    // Full where one more text like these would have been too much.
    const bool full = tokens <= tokens_ && tokens + tokens / std::max<std::uint64_t>(1, texts) > tokens_;
    const std::uint64_t longer = guessed_tokens_.after_answer(full ? tokens_ : tokens, tokens_);
    const bool changed = grown != texts_ || longer != tokens_;
    look_again((found_texts_ && texts >= texts_) || (found_tokens_ && full));
    texts_ = std::max(grown, texts_);
    tokens_ = std::max(longer, tokens_);
    return changed;
}

// What was found by chance, or while it was short of memory, is not for ever.
void RequestLimits::look_again(bool full) noexcept {
    if (!full || ++full_ < look_after_) return;
    full_ = 0;
    look_after_ = std::min(look_after_ * 2, 10'000U);
    const auto raise = [](Guess& guess, auto& limit, auto most) {
        if (guess.passed == 0 || limit >= most) return;
        guess.refused = std::max<std::uint64_t>(guess.refused, guess.passed * 2);
        limit = std::min(most, std::max(limit + 1, limit * 6 / 5));
    };
    if (found_texts_) raise(guessed_texts_, texts_, declared_);
    if (found_tokens_) raise(guessed_tokens_, tokens_, std::numeric_limits<std::uint64_t>::max());
}

// One text alone is too large: what was guessed on the way to it was no limit of requests.
bool RequestLimits::take_back() noexcept {
    if (refusals_ > 0) guessed_texts_ = guessed_tokens_ = {};
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

// A size that was answered before is none: something else was the matter. Of two that may be meant it is the number of texts,
// until a request of no more of them is refused as well.
bool RequestLimits::found(RequestSize refused, RequestSize passed, bool sure, std::string_view said) {
    const auto known = [](auto proven, auto limit, const Guess& guess) {
        return guess.refused == 0 ? std::max<std::uint64_t>(proven, limit) : static_cast<std::uint64_t>(proven);
    };
    const std::uint64_t most_texts = known(proven_texts_, texts_, guessed_texts_);
    const std::uint64_t most_tokens = known(proven_tokens_, tokens_, guessed_tokens_);
    const bool by_texts = passed.texts < refused.texts && refused.texts > most_texts;
    const bool by_tokens = passed.tokens < refused.tokens && refused.tokens > most_tokens;
    if (passed.texts == 0) return false;
    if (!by_texts && !by_tokens) {
        // Not once more taken since: the endpoint is another than it was, or has less memory.
        doubted_ = refused;
        if (++doubts_ < kEnoughDoubts || passed.texts >= refused.texts) return false;
        doubts_ = 0;
        proven_texts_ = passed.texts;
        proven_tokens_ = passed.tokens;
        if (guessed_texts_.refused == 0 && texts_ >= refused.texts) texts_ = 0;
        if (guessed_tokens_.refused == 0 && tokens_ >= refused.tokens) tokens_ = 0;
        return found(refused, passed, true, said);
    }
    const LimitOf of = limit_in_words(said, refused.tokens);
    const bool tokens = by_tokens && (!by_texts || of == LimitOf::tokens || of == LimitOf::bytes);
    // Hardly larger than what was taken before.
    if (static_cast<double>(tokens ? refused.tokens : refused.texts) <=
        kSlack * static_cast<double>(tokens ? most_tokens : most_texts))
        sure = false;
    if (!sure && !suspected_) {
        suspected_ = refused;
        return false;
    }
    suspected_.reset();
    full_ = 0;
    if (tokens) {
        if (!by_texts && std::exchange(found_texts_, false) && !std::exchange(decided_, true)) {
            texts_ = 0;
            guessed_texts_ = {};
        }
        found_tokens_ = true;
        guessed_tokens_ = {.passed = std::max(passed.tokens, most_tokens), .refused = refused.tokens};
        tokens_ = guessed_tokens_.passed;
        return true;
    }
    found_texts_ = true;
    guessed_texts_ = {.passed = std::max<std::uint64_t>(passed.texts, most_texts), .refused = refused.texts};
    const auto named = limit_named(said, refused.texts, true);
    const bool fits = named && *named >= guessed_texts_.passed;
    if (fits) guessed_texts_.refused = *named + 1;
    texts_ = static_cast<std::uint32_t>(fits ? *named : guessed_texts_.passed);
    return true;
}

bool RequestLimits::beyond(RequestSize size) const noexcept {
    return size.texts > 1 &&
           ((found_texts_ && guessed_texts_.refused > 0 && size.texts > guessed_texts_.passed && size.texts > proven_texts_) ||
            (found_tokens_ && guessed_tokens_.refused > 0 && size.tokens > guessed_tokens_.passed &&
             size.tokens > proven_tokens_));
}

void RequestLimits::exceeded(RequestSize size) noexcept {
    if (over(size.texts, size.tokens) || !beyond(size)) return;
    if (found_texts_ && size.texts > guessed_texts_.passed)
        texts_ = static_cast<std::uint32_t>(guessed_texts_.after_refusal(size.texts, 2));
    if (found_tokens_ && size.tokens > guessed_tokens_.passed) tokens_ = guessed_tokens_.after_refusal(size.tokens, 2);
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
