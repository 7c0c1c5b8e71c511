#include "core/outside_text.hpp"

#include <algorithm>
#include <array>

namespace homeostat {

namespace {

constexpr std::string_view kBlot = "***";
constexpr std::size_t kShortestKey = 8;  // of what follows a beginning below

// How keys of services begin.
constexpr std::array<std::string_view, 18> kBeginnings{"sk-",   "sk_",  "rk_",         "pk_live_", "ghp_",  "gho_",
                                                       "ghu_",  "ghs_", "github_pat_", "glpat-",   "xoxb-", "xoxp-",
                                                       "xoxa-", "AKIA", "ASIA",        "AIza",     "hf_",   "eyJ"};
// What stands before a secret and "=" or ":".
constexpr std::array<std::string_view, 15> kNames{"x-api-key",    "password",   "passwd",      "pwd",           "secret",
                                                  "api_key",      "api-key",    "apikey",      "access_key",    "client_secret",
                                                  "access_token", "auth_token", "private_key", "authorization", "sslpassword"};
// These only in a query, where a name is nothing but a name.
constexpr std::array<std::string_view, 6> kOfQuery{"key", "token", "sig", "signature", "code", "auth"};

bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' ||
           c == '+' || c == '/' || c == '~';
}

bool is_letter(char c) { return is_word(c) && std::string_view("-.+/~").find(c) == std::string_view::npos; }

char lower(char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); }

bool same_name(std::string_view a, std::string_view b) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

std::size_t word_end(std::string_view text, std::size_t at) {
    while (at < text.size() && is_word(text[at])) ++at;
    return at;
}

// Where a value ends: in quotes with them, else with the word, or in a URL with the next of its parts.
std::size_t value_end(std::string_view text, std::size_t at) {
    if (at < text.size() && (text[at] == '"' || text[at] == '\'')) {
        const std::size_t end = text.find(text[at], at + 1);
        return end == std::string_view::npos ? text.size() : end + 1;
    }
    return std::min(text.find_first_of(" \t\r\n&,;\"'<>)]}", at), text.size());
}

// "name=value", "name: value" and "name":"value": where the value begins, or 0. A name in quotes may be anything's (column
// "password": ...): there the value must be in quotes too, as in JSON.
std::size_t behind_name(std::string_view text, std::size_t start, std::size_t end) {
    const bool quoted = end < text.size() && (text[end] == '"' || text[end] == '\'');
    std::size_t at = quoted ? end + 1 : end;
    while (at < text.size() && text[at] == ' ') ++at;
    if (at >= text.size() || (text[at] != '=' && text[at] != ':')) return 0;
    const bool equals = text[at] == '=';
    ++at;
    while (at < text.size() && text[at] == ' ') ++at;
    const std::string_view name = text.substr(start, end - start);
    if (quoted && (at >= text.size() || (text[at] != '"' && text[at] != '\''))) return 0;
    if (!quoted && !equals && same_name(name, "secret")) return 0;
    const auto is_one = [&](std::string_view known) { return same_name(name, known); };
    if (std::any_of(kNames.begin(), kNames.end(), is_one)) return at;
    const bool query = equals && start > 0 && (text[start - 1] == '?' || text[start - 1] == '&');
    return query && std::any_of(kOfQuery.begin(), kOfQuery.end(), is_one) ? at : 0;
}

bool looks_like_key(std::string_view word) {
    return std::any_of(kBeginnings.begin(), kBeginnings.end(), [&](std::string_view beginning) {
        return word.size() >= beginning.size() + kShortestKey && word.starts_with(beginning);
    });
}

// "user:password@" behind "://": where the password begins and ends.
std::pair<std::size_t, std::size_t> password_of_url(std::string_view text, std::size_t at) {
    const std::size_t end = std::min(text.find_first_of(" \t\r\n\"'<>", at), text.size());
    const std::string_view authority = text.substr(at, end - at);
    const std::size_t sign = authority.rfind('@');
    const std::size_t colon = authority.find(':');
    if (sign == std::string_view::npos || colon == std::string_view::npos || colon > sign) return {0, 0};
    return {at + colon + 1, at + sign};
}

std::string without_secrets(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        if (text.substr(at).starts_with("://")) {
            const auto [from, to] = password_of_url(text, at + 3);
            if (to > from) {
                out.append(text.substr(at, from - at)).append(kBlot);
                at = to;
                continue;
            }
            out.append("://");
            at += 3;
            continue;
        }
        const bool begins = is_letter(text[at]) && (at == 0 || !is_letter(text[at - 1]));
        if (!begins) {
            out += text[at++];
            continue;
        }
        std::size_t end = word_end(text, at);
        // The parts of a path are words of their own.
        if (const std::size_t slash = text.substr(at, end - at).find('/'); slash != std::string_view::npos && slash > 0)
            end = at + slash;
        const std::string_view word = text.substr(at, end - at);
        std::size_t secret = behind_name(text, at, end);
        if (secret != 0 && same_name(word, "authorization")) {
            const std::size_t scheme = word_end(text, secret);
            if (scheme < text.size() && text[scheme] == ' ') secret = scheme + 1;
        }
        if ((same_name(word, "Bearer") || same_name(word, "Basic")) && end + 1 + kShortestKey <= text.size() &&
            text[end] == ' ' && value_end(text, end + 1) >= end + 1 + kShortestKey) {
            secret = end + 1;
        }
        if (looks_like_key(word)) {
            out.append(kBlot);
            at = word_end(text, at);
            while (text[at - 1] == '.') --at;  // of the sentence
        } else if (const std::size_t over = secret == 0 ? 0 : value_end(text, secret); over > secret) {
            out.append(text.substr(at, secret - at)).append(kBlot);
            at = over;
        } else {
            out.append(word);
            at = end;
        }
    }
    return out;
}

}  // namespace

std::size_t letter_at(std::string_view text, char32_t& letter) noexcept {
    if (text.empty()) return 0;
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    const std::size_t length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (length == 0 || length > text.size()) return 0;
    letter = length == 1 ? first : first & (0xFFU >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0U) != 0x80U) return 0;
        letter = (letter << 6U) | (byte(i) & 0x3FU);
    }
    const char32_t least = length == 3 ? 0x800 : length == 4 ? 0x10000 : 0;
    return letter < least || letter > 0x10FFFF || (letter >= 0xD800 && letter < 0xE000) ? 0 : length;
}

bool is_hidden(char32_t c) noexcept {
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xAD || c == 0x61C || c == 0x180E || (c >= 0x200B && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFB) ||
           (c >= 0xE0000 && c <= 0xE007F);
}

std::string visible_text(std::string_view text, std::size_t most) {
    std::string out;
    std::size_t letters = 0;
    bool broken = false;  // what came before is no letter: one sign stands for all of it
    while (!text.empty() && letters < most) {
        char32_t letter = 0;
        const std::size_t length = letter_at(text, letter);
        if (length == 0) {
            if (!broken) out += "\xEF\xBF\xBD";
            letters += broken ? 0 : 1;
        } else {
            is_hidden(letter) ? out.push_back(' ') : void(out.append(text, 0, length));
            ++letters;
        }
        broken = length == 0;
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    if (!text.empty()) out += "...";
    return out;
}

std::string outside_text(std::string_view text, std::size_t most) {
    // A secret that the end would cut in two is seen whole: what is looked through is longer than what is kept.
    constexpr std::size_t kMargin = 4'096;
    const bool far = most > text.size() || most + kMargin > text.size() / 4;
    const std::string seen = visible_text(text, far ? text.size() : most + kMargin);
    return visible_text(without_secrets(seen), most);
}

}  // namespace homeostat
