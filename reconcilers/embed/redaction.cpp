#include "reconcilers/embed/redaction.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>

namespace homeostat {

namespace {

constexpr std::string_view kBlot = "***";
constexpr std::size_t kRounds = 3;  // of escapes within escapes
constexpr std::string_view kDigits = "0123456789abcdef";
constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Of base64 these hold at least kMostQuoted whole bytes and one more, wherever they begin; of hex two are a byte.
constexpr std::size_t kLeastBase64 = 10;
constexpr std::size_t kLeastHex = 2 * (kMostQuoted + 1);

char lower(char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); }

// A letter of a text, and which bytes of the text are written for it.
struct Letter {
    char byte;
    std::size_t from;
    std::size_t to;
};
using Letters = std::vector<Letter>;

std::string_view view(const Letters& letters, std::size_t at, std::size_t most, std::array<char, 12>& room) {
    std::size_t n = 0;
    while (n < std::min(most, room.size()) && at + n < letters.size()) {
        room[n] = letters[at + n].byte;
        ++n;
    }
    return {room.data(), n};
}

std::optional<std::uint32_t> whole_number(std::string_view text, int base) {
    std::uint32_t n = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n, base);
    if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return n;
}

struct Escape {
    std::uint32_t letter = 0;  // or byte
    std::size_t length = 0;    // 0: none is here
    bool byte = false;
};

Escape of_digits(std::string_view text, std::size_t lead, std::size_t digits, bool byte) {
    if (text.size() < lead + digits) return {};
    const auto n = whole_number(text.substr(lead, digits), 16);
    return n ? Escape{*n, lead + digits, byte} : Escape{};
}

// "&quot;", "&#39;", "&#x27;"
Escape entity(std::string_view text) {
    const std::size_t end = text.find(';');
    if (end == std::string_view::npos) return {};
    const std::string_view name = text.substr(1, end - 1);
    constexpr std::array<std::pair<std::string_view, char>, 5> kNamed{
        {{"quot", '"'}, {"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"apos", '\''}}};
    for (const auto& [known, letter] : kNamed) {
        if (name == known) return {static_cast<std::uint32_t>(letter), end + 1, true};
    }
    if (!name.starts_with('#')) return {};
    const bool hex = name.size() > 1 && lower(name[1]) == 'x';
    const auto n = whole_number(name.substr(hex ? 2 : 1), hex ? 16 : 10);
    return n ? Escape{*n, end + 1} : Escape{};
}

Escape escape_at(std::string_view text) {
    if (text.starts_with('%')) return of_digits(text, 1, 2, true);
    if (text.starts_with("\\u")) return of_digits(text, 2, 4, false);
    if (text.starts_with("\\x")) return of_digits(text, 2, 2, true);
    if (text.starts_with('&')) return entity(text);
    return {};
}

void append(Letters& out, const Escape& e, std::size_t from, std::size_t to) {
    const std::uint32_t c = e.letter;
    const auto put = [&](std::uint32_t byte) { out.push_back({static_cast<char>(static_cast<unsigned char>(byte)), from, to}); };
    if (e.byte || c < 0x80) return put(c);
    if (c < 0x800) {
        put(0xC0U | (c >> 6U));
    } else {
        put(0xE0U | ((c >> 12U) & 0x0FU));
        put(0x80U | ((c >> 6U) & 0x3FU));
    }
    put(0x80U | (c & 0x3FU));
}

Letters as_it_is(std::string_view text) {
    Letters letters;
    letters.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) letters.push_back({text[i], i, i + 1});
    return letters;
}

// Without escapes, backslashes and white space: whatever is escaped, and however often, reads as what is not.
Letters plain(std::string_view text) {
    Letters letters = as_it_is(text);
    for (std::size_t round = 0; round < kRounds; ++round) {
        Letters next;
        next.reserve(letters.size());
        std::array<char, 12> room{};
        for (std::size_t i = 0; i < letters.size();) {
            const char c = letters[i].byte;
            const bool may = c == '%' || c == '\\' || c == '&';
            const Escape e = may ? escape_at(view(letters, i, room.size(), room)) : Escape{};
            if (e.length == 0) {
                next.push_back(letters[i++]);
            } else {
                append(next, e, letters[i].from, letters[i + e.length - 1].to);
                i += e.length;
            }
        }
        const bool same = next.size() == letters.size();
        letters = std::move(next);
        if (same) break;
    }
    std::erase_if(letters, [](const Letter& l) {
        return l.byte == '\\' || l.byte == ' ' || l.byte == '\t' || l.byte == '\r' || l.byte == '\n';
    });
    return letters;
}

std::string bytes_of(const Letters& letters) {
    std::string out;
    for (const Letter& l : letters) out += l.byte;
    return out;
}

// How letters are compared.
using Fold = char (*)(char);
char as_base64(char c) { return c == '-' ? '+' : c == '_' ? '/' : c; }

// Marks the bytes of what has `least` letters in a row of the pattern, and of those that follow in both.
void mark(std::vector<bool>& marked, const Letters& letters, std::string_view pattern, std::size_t least, Fold fold) {
    if (pattern.size() < least || least == 0) return;
    std::array<std::vector<std::size_t>, 256> places;
    for (std::size_t j = 0; j + least <= pattern.size(); ++j) places[static_cast<unsigned char>(fold(pattern[j]))].push_back(j);
    const auto run_at = [&](std::size_t i, std::size_t j) {
        std::size_t n = 0;
        while (i + n < letters.size() && j + n < pattern.size() && fold(letters[i + n].byte) == fold(pattern[j + n])) ++n;
        return n;
    };
    for (std::size_t i = 0; i < letters.size();) {
        std::size_t run = 0;
        for (const std::size_t j : places[static_cast<unsigned char>(fold(letters[i].byte))]) run = std::max(run, run_at(i, j));
        if (run < least) {
            ++i;
            continue;
        }
        for (std::size_t at = letters[i].from; at < letters[i + run - 1].to; ++at) marked[at] = true;
        i += run;
    }
}

std::string blotted(std::string_view text, const std::vector<bool>& marked) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (!marked[i]) {
            out += text[i];
        } else if (i == 0 || !marked[i - 1]) {
            out += kBlot;
        }
    }
    return out;
}

// As it stands in base64 behind so many bytes of something else, without the letter that these have a share in, and at the end.
std::string base64_of(std::string_view secret, std::size_t behind) {
    std::string bytes(behind, '\0');
    bytes += secret;
    std::string out;
    for (std::size_t bit = 0; bit < bytes.size() * 8; bit += 6) {
        const std::size_t at = bit / 8;
        const std::uint32_t two = static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at])) << 8U |
                                  (at + 1 < bytes.size() ? static_cast<unsigned char>(bytes[at + 1]) : 0U);
        if (bit >= behind * 8) out += kBase64[(two >> (10U - bit % 8)) & 0x3FU];
    }
    return out;
}

std::string hex_of(std::string_view secret) {
    std::string out;
    for (const unsigned char c : secret) {
        out += kDigits[c >> 4U];
        out += kDigits[c & 0x0FU];
    }
    return out;
}

}  // namespace

std::string redact(std::string text, std::string_view secret) {
    if (secret.empty()) return text;
    const Letters raw = as_it_is(text);
    const Letters letters = plain(text);
    const std::string whole = bytes_of(plain(secret));
    std::vector<bool> marked(text.size());
    mark(marked, raw, secret, std::min(secret.size(), kMostQuoted + 1), lower);
    mark(marked, letters, whole, std::min(whole.size(), kMostQuoted + 1), lower);
    for (std::size_t behind = 0; behind < 3; ++behind) mark(marked, letters, base64_of(secret, behind), kLeastBase64, as_base64);
    mark(marked, letters, hex_of(secret), kLeastHex, lower);
    return blotted(text, marked);
}

std::string redact_all(std::string text, const std::vector<std::string>& secrets) {
    constexpr std::size_t kShortest = 4;
    for (const std::string& secret : secrets) {
        if (secret.size() >= kShortest) text = redact(std::move(text), secret);
    }
    return text;
}

}  // namespace homeostat
