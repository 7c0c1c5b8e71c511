#include "reconcilers/embed/limit_words.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>
#include <string>
#include <vector>

namespace homeostat {

namespace {

using Words = std::span<const std::string_view>;

// Chinese vendors answer in Chinese: at most, may not exceed; list, in a batch, entries.
// Of the texts of a request taken together.
constexpr std::array<std::string_view, 13> kTogether{
    "per request",      "tokens_per_request",     "batch",    "request size", "in one request", "in a request",
    "total tokens",     "total number of tokens", "combined", "sum of",       "all inputs",     "the request has",
    "tokens in request"};
constexpr std::array<std::string_view, 28> kOneText{"context length",
                                                    "context window",
                                                    "context size",
                                                    "sequence length",
                                                    "must have less than",
                                                    "input is too",
                                                    "input too",
                                                    "text is too",
                                                    "text too",
                                                    "per input",
                                                    "per text",
                                                    "per document",
                                                    "each input",
                                                    "each text",
                                                    "input length",
                                                    "string too",
                                                    "above_max_length",
                                                    "maximum input",
                                                    "max_seq_len",
                                                    "too large to process",
                                                    "maxlength",
                                                    "max input token",
                                                    "maximum allowed token size",
                                                    "输入长度",
                                                    "文本长度",
                                                    "文本过长",
                                                    "输入过长",
                                                    "上下文长度"};
// The same beside a bound: of itself it says nothing.
constexpr std::array<std::string_view, 1> kOneTextBound{"prompt"};
// The same where tokens are counted; of a list they would be its length.
constexpr std::array<std::string_view, 5> kOneTextTokens{"maximum length", "max length", "max_length", "input text",
                                                         "reduce your input"};
constexpr std::array<std::string_view, 17> kItems{"batch size", "batch_size",      "batch of",  "inputs",   "texts",    "items",
                                                  "documents",  "elements",        "sentences", "instance", "requests", "strings",
                                                  "item count", "embeddings size", "数组",      "批量",     "条"};
constexpr std::array<std::string_view, 7> kLists{"array too long", "list too long",    "list should have",    "array length",
                                                 "in one batch",   "list can contain", "largest allowed size"};
constexpr std::array<std::string_view, 29> kBounds{
    "at most",      "maximum",  "max ",      "max_",        "no more than", "larger than",  "more than", "exceed",
    "limit",        "too many", "too large", "too long",    "less than",    "up to",        "allowed",   "too big",
    "greater than", "<=",       "≤",         "longer than", "fewer than",   "smaller than", " > ",       "最大",
    "不得超过",     "不能超过", "超过",      "超出",        "过长"};
constexpr std::array<std::string_view, 10> kBytes{"bytes",           "payload",         "request body",   "body too",
                                                  "request entity",  "content length",  "content-length", "request too large",
                                                  "value at 'body'", "received message"};

bool any(std::string_view text, Words words) {
    return std::any_of(words.begin(), words.end(), [&](std::string_view w) { return text.find(w) != std::string_view::npos; });
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
    return out;
}

constexpr std::array<std::string_view, 8> kNouns{"input",    "text",    "document", "item",
                                                 "sentence", "content", "instance", "string"};
constexpr std::array<std::string_view, 10> kOrdinals{"[",    ".",     "/",        "/#",      " #",
                                                     " id ", " no. ", " number ", " index ", " position "};
constexpr std::array<std::string_view, 9> kSaysOfIt{" has ",  " is ", " exceed", " contain", " was ",
                                                    " with ", ":",    " too ",   " ("};

std::size_t digits_at(std::string_view text) {
    std::size_t n = 0;
    while (n < text.size() && is_digit(text[n])) ++n;
    return n;
}

// "[3]", ".3", " id 57", " 57 has": what follows a noun for one of several by its place.
bool is_place(std::string_view rest, bool several) {
    if (std::any_of(kOrdinals.begin(), kOrdinals.end(),
                    [&](std::string_view o) { return rest.starts_with(o) && digits_at(rest.substr(o.size())) > 0; }))
        return true;
    if (several || !rest.starts_with(' ')) return false;
    const std::size_t digits = digits_at(rest.substr(1));
    const std::string_view behind = rest.substr(1 + digits);
    return digits > 0 &&
           std::any_of(kSaysOfIt.begin(), kSaysOfIt.end(), [&](std::string_view w) { return behind.starts_with(w); });
}

// "input[3]", "#/texts/3", "Input id 57 has", "text 5 is", "at index 3": one of them is named.
bool names_one(std::string_view text) {
    for (const std::string_view noun : kNouns) {
        for (std::size_t at = text.find(noun); at != std::string_view::npos; at = text.find(noun, at + 1)) {
            std::string_view rest = text.substr(at + noun.size());
            const bool several = rest.starts_with('s');
            if (several) rest.remove_prefix(1);
            if (is_place(rest, several)) return true;
        }
    }
    for (const std::string_view at : {"at index ", "at position ", "index: ", "index="}) {
        const std::size_t found = text.find(at);
        if (found != std::string_view::npos && digits_at(text.substr(found + at.size())) > 0) return true;
    }
    return false;
}

struct Number {
    std::uint64_t value = 0;
    std::size_t begin = 0;
    std::size_t end = 0;
};

// With thousands separated or not: "at most 8,192 tokens". What is part of a word ("v3") or of a fraction is none.
std::vector<Number> numbers_in(std::string_view text) {
    std::vector<Number> out;
    for (std::size_t i = 0; i < text.size();) {
        if (!is_digit(text[i])) {
            ++i;
            continue;
        }
        const std::size_t begin = i;
        std::string digits;
        while (i < text.size() &&
               (is_digit(text[i]) || ((text[i] == ',' || text[i] == '_') && i + 3 < text.size() && is_digit(text[i + 1]) &&
                                      is_digit(text[i + 2]) && is_digit(text[i + 3])))) {
            if (is_digit(text[i])) digits += text[i];
            ++i;
        }
        std::uint64_t n = 0;
        if (digits.size() <= 12) std::from_chars(digits.data(), digits.data() + digits.size(), n);
        out.push_back({n, begin, i});
    }
    return out;
}

// Right behind a word that bounds: "at most 96", "maximum is 32", "<= 16".
bool follows_bound(std::string_view text, std::size_t at) {
    constexpr std::size_t kNear = 24;
    const std::size_t from = at > kNear ? at - kNear : 0;
    const std::string_view before = text.substr(from, at - from);
    return any(before, kBounds);
}

std::uint64_t unit_behind(std::string_view text, std::size_t at) {
    while (at < text.size() && text[at] == ' ') ++at;
    const std::string_view unit = text.substr(at, 3);
    if (unit.starts_with("kb") || unit == "kib") return 1ULL << 10U;
    if (unit.starts_with("mb") || unit == "mib") return 1ULL << 20U;
    if (unit.starts_with("gb") || unit == "gib") return 1ULL << 30U;
    return 1;
}

}  // namespace

LimitOf limit_in_words(std::string_view said) {
    const std::string text = lower(said);
    if (names_one(text)) return any(text, kBounds) || any(text, kOneText) ? LimitOf::text : LimitOf::nothing;
    if (text.find("token") != std::string::npos) {
        if (any(text, kTogether) && text.find("physical batch") == std::string::npos) return LimitOf::tokens;
        if (any(text, kOneText) || any(text, kOneTextTokens) || any(text, kOneTextBound)) return LimitOf::text;
        return any(text, kBounds) ? LimitOf::tokens : LimitOf::nothing;
    }
    if (any(text, kLists)) return LimitOf::items;
    if (any(text, kOneText) || (any(text, kOneTextBound) && any(text, kBounds))) return LimitOf::text;
    if (any(text, kBounds) && any(text, kBytes)) return LimitOf::bytes;
    if (any(text, kBounds) && any(text, kItems)) return LimitOf::items;
    return LimitOf::nothing;
}

bool names_them_together(std::string_view said) { return any(lower(said), kTogether); }

LimitOf limit_in_words(std::string_view said, std::uint64_t tokens) {
    const LimitOf of = limit_in_words(said);
    if (of != LimitOf::tokens || names_them_together(said)) return of;
    constexpr std::uint64_t kLeast = 16;  // of tokens; less is a place, or a number of something else
    const std::string text = lower(said);
    const std::vector<Number> numbers = numbers_in(text);
    std::optional<std::uint64_t> limit;
    for (const Number& n : numbers) {
        if (n.value >= kLeast && follows_bound(text, n.begin) && (!limit || n.value < *limit)) limit = n.value;
    }
    if (!limit) return of;
    std::uint64_t counted = 0;
    for (const Number& n : numbers) counted = std::max(counted, n.value);
    // Their tokens may be four of ours, or a quarter.
    return counted > *limit && counted < tokens / 4 ? LimitOf::text : of;
}

// Of several the largest that would have refused this size, because a smaller one may be anything (a status, an index); but where
// they count otherwise than we, the larger of two is what they counted.
std::optional<std::uint64_t> limit_named(std::string_view said, std::uint64_t size, bool exact) {
    const std::string text = lower(said);
    std::optional<std::uint64_t> bounding;
    std::optional<std::uint64_t> any_other;
    for (const Number& n : numbers_in(text)) {
        const bool bounds = follows_bound(text, n.begin);
        if (n.value >= size || (bounds && exact ? n.value < 1 : n.value < std::max<std::uint64_t>(2, size / 64))) continue;
        std::optional<std::uint64_t>& best = bounds ? bounding : any_other;
        if (!best || (exact ? n.value > *best : n.value < *best)) best = n.value;
    }
    return bounding ? bounding : any_other;
}

std::optional<std::uint64_t> count_named(std::string_view said, std::uint64_t limit, std::uint64_t size) {
    std::optional<std::uint64_t> best;
    for (const Number& n : numbers_in(said)) {
        if (n.value > limit && n.value >= size / 4 && n.value <= size * 4 && (!best || n.value > *best)) best = n.value;
    }
    return best;
}

std::optional<std::uint64_t> bytes_named(std::string_view said, std::uint64_t size) {
    const std::string text = lower(said);
    std::optional<std::uint64_t> bounding;
    std::optional<std::uint64_t> best;
    for (const Number& n : numbers_in(text)) {
        const std::uint64_t bytes = n.value * unit_behind(text, n.end);
        if (bytes < 1024 || bytes >= size) continue;
        // Of two that a bound names ("larger than max (5000 vs. 4000)") one is what came.
        const bool bounds = follows_bound(text, n.begin);
        std::optional<std::uint64_t>& found = bounds ? bounding : best;
        if (!found || (bounds ? bytes < *found : bytes > *found)) found = bytes;
    }
    // How many there were may stand beside it, and be less than was reckoned here.
    return bounding ? bounding : best;
}

}  // namespace homeostat
