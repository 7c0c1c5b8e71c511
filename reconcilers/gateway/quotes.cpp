#include "reconcilers/gateway/quotes.hpp"

#include <algorithm>
#include <string_view>
#include <unordered_map>

namespace homeostat {

namespace {

constexpr std::size_t kRun = 12;  // bytes: what is shorter is common to all sentences
constexpr std::size_t kShortText = 4;

using Runs = std::unordered_multimap<std::string_view, std::size_t>;

// Marks in `quoted` what of `message` is in the text. What was found once need not be found again: a text of one letter a million
// times costs no more than another.
void mark(std::string_view message, Runs& runs, std::string_view text, std::vector<bool>& quoted) {
    const auto set = [&](std::size_t at, std::size_t length) {
        std::fill_n(quoted.begin() + static_cast<std::ptrdiff_t>(at), length, true);
    };
    for (std::size_t i = 0; i + kRun <= text.size() && !runs.empty(); ++i) {
        const auto [from, to] = runs.equal_range(text.substr(i, kRun));
        for (auto it = from; it != to; ++it) set(it->second, kRun);
        runs.erase(from, to);
    }
    if (text.size() >= kRun || text.size() < kShortText) return;
    for (std::size_t at = 0; (at = message.find(text, at)) != std::string_view::npos; at += text.size()) set(at, text.size());
}

bool continues_letter(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// No letter is cut in two: what has passed the edge as UTF-8 stays that.
void widen_to_letters(std::string_view message, std::vector<bool>& quoted) {
    for (std::size_t i = 1; i < message.size(); ++i) {
        if (quoted[i - 1] && continues_letter(message[i])) quoted[i] = true;
    }
    for (std::size_t i = message.size(); i-- > 1;) {
        if (quoted[i] && continues_letter(message[i])) quoted[i - 1] = true;
    }
}

}  // namespace

Error without_quotes(Error error, const std::vector<std::string>& texts) {
    const std::string_view message = error.message;
    Runs runs;
    for (std::size_t i = 0; i + kRun <= message.size(); ++i) runs.emplace(message.substr(i, kRun), i);
    std::vector<bool> quoted(message.size(), false);
    for (const std::string& text : texts) mark(message, runs, text, quoted);
    if (std::find(quoted.begin(), quoted.end(), true) == quoted.end()) return error;
    widen_to_letters(message, quoted);
    std::string out;
    for (std::size_t i = 0; i < message.size(); ++i) {
        if (!quoted[i]) {
            out += message[i];
        } else if (i == 0 || !quoted[i - 1]) {
            out += "...";
        }
    }
    error.message = std::move(out);
    return error;
}

}  // namespace homeostat
