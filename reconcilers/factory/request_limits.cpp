#include "reconcilers/factory/request_limits.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace homeostat {

namespace {

constexpr double kSlack = 1.5;  // a request this much larger in tokens than an answered one is no venture
constexpr double kSmallest = 1.0 / 16;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The numbers of a message, with thousands separated or not: "at most 8,192 tokens".
std::vector<std::uint64_t> numbers_in(std::string_view text) {
    std::vector<std::uint64_t> out;
    for (std::size_t i = 0; i < text.size();) {
        if (!is_digit(text[i])) {
            ++i;
            continue;
        }
        std::string digits;
        while (i < text.size() &&
               (is_digit(text[i]) || ((text[i] == ',' || text[i] == '_') && i + 3 < text.size() && is_digit(text[i + 1]) &&
                                      is_digit(text[i + 2]) && is_digit(text[i + 3])))) {
            if (is_digit(text[i])) digits += text[i];
            ++i;
        }
        std::uint64_t n = 0;
        if (digits.size() <= 12) std::from_chars(digits.data(), digits.data() + digits.size(), n);
        out.push_back(n);
    }
    return out;
}

// The largest number of the message that would have refused this size; a smaller one may be anything (a status, an index).
std::optional<std::uint64_t> limit_in(std::string_view message, std::uint64_t size) {
    std::optional<std::uint64_t> best;
    for (const std::uint64_t n : numbers_in(message)) {
        if (n >= 2 && n < size && n >= size / 64 && (!best || n > *best)) best = n;
    }
    return best;
}

// An error of an endpoint quotes what it said among words and numbers of ours (http_error.cpp); that alone teaches anything.
std::string_view said_in(std::string_view message) {
    constexpr std::string_view kSaying = "saying \"";
    const std::size_t at = message.find(kSaying);
    if (at == std::string_view::npos) return message.find(" answered ") == std::string_view::npos ? message : std::string_view();
    const std::string_view said = message.substr(at + kSaying.size());
    return said.substr(0, said.rfind('"'));
}

bool mentions(std::string_view text, std::initializer_list<std::string_view> words) {
    std::string lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
    return std::any_of(words.begin(), words.end(), [&](std::string_view w) { return lower.find(w) != std::string::npos; });
}

}  // namespace

std::uint32_t RequestLimits::max_texts() const noexcept {
    const std::uint32_t most = texts_ == 0 ? declared_ : std::min(declared_, texts_);
    return std::max(1U, static_cast<std::uint32_t>(most * share_));
}

bool RequestLimits::proven(std::size_t texts, std::uint64_t tokens) const noexcept {
    if (texts <= 1) return true;
    const bool few = texts <= proven_texts_ || (texts_ > 0 && texts <= texts_);
    const bool short_enough =
        static_cast<double>(tokens) <= kSlack * static_cast<double>(proven_tokens_) || (tokens_ > 0 && tokens <= tokens_);
    return few && short_enough;
}

bool RequestLimits::over(std::size_t texts, std::uint64_t tokens) const noexcept {
    return texts > 1 && ((texts_ > 0 && texts > texts_) || (tokens_ > 0 && tokens > tokens_));
}

void RequestLimits::accepted(std::size_t texts, std::uint64_t tokens) noexcept {
    proven_texts_ = std::max(proven_texts_, texts);
    proven_tokens_ = std::max(proven_tokens_, tokens);
}

bool RequestLimits::refused(std::size_t texts, std::uint64_t tokens, std::string_view error) {
    const std::string_view message = said_in(error);
    if (texts <= 1) return false;
    // It was sent before the limit was known: it teaches nothing new.
    if (over(texts, tokens)) return true;
    const bool about_tokens = mentions(message, {"token", "context length", "too long", "bytes", "payload", "body"});
    const bool about_texts = mentions(message, {"inputs", "batch size", "batch", "array", "items", "texts", "elements"});
    const std::uint64_t depth = 1ULL << std::min(++refusals_, 6);
    if (about_texts || !about_tokens) {
        const auto said = about_texts ? limit_in(message, texts) : std::nullopt;
        texts_ = static_cast<std::uint32_t>(said ? *said : std::max<std::uint64_t>(1, texts / depth));
    }
    if (about_tokens || !about_texts) {
        // Theirs are other tokens than ours: a tenth is left as a margin.
        const auto said = about_tokens ? limit_in(message, tokens) : std::nullopt;
        tokens_ = std::max<std::uint64_t>(1, said ? *said * 9 / 10 : tokens / depth);
    }
    return true;
}

void RequestLimits::restore(std::uint32_t texts, std::uint64_t tokens) noexcept {
    texts_ = texts;
    tokens_ = tokens;
}

void RequestLimits::slow() noexcept { share_ = std::max(kSmallest, share_ / 2); }
void RequestLimits::quick() noexcept { share_ = std::min(1.0, share_ * 1.1); }

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
