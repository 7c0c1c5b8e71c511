#include "reconcilers/embed/secret_source.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace homeostat {

namespace {

constexpr std::string_view kExec = "exec:";
constexpr std::string_view kBlank = " \t\r\n";

// Words between any of `separators`; what is between two `quote`s is of one word, whatever it holds. False where one is left
// open.
bool take_words(std::string_view text, std::string_view separators, char quote, bool keep_quotes, std::vector<std::string>& out) {
    std::string word;
    bool begun = false;
    bool quoted = false;
    for (const char c : text) {
        if (c == quote) {
            quoted = !quoted;
            begun = true;
            if (keep_quotes) word += c;
        } else if (!quoted && separators.find(c) != std::string_view::npos) {
            if (begun) out.push_back(std::move(word));
            word.clear();
            begun = false;
        } else {
            word += c;
            begun = true;
        }
    }
    if (begun) out.push_back(std::move(word));
    return !quoted;
}

}  // namespace

bool is_program_source(std::string_view source) noexcept {
    return source.starts_with(kExec) && source.size() > kExec.size() + 1 && source[kExec.size()] == '/';
}

std::vector<std::string> secret_entries(std::string_view line) {
    std::vector<std::string> out;
    take_words(line, ";", '"', true, out);
    std::erase_if(out, [](const std::string& entry) { return entry.find_first_not_of(kBlank) == std::string::npos; });
    return out;
}

Result<std::vector<std::string>> entry_words(std::string_view entry) {
    std::vector<std::string> out;
    if (!take_words(entry, kBlank, '"', false, out))
        return invalid(fmt::format("secret \"{}\": a double quote is left open", out.empty() ? "" : out.front()));
    return out;
}

Result<std::vector<std::string>> program_words(std::string_view source) {
    std::vector<std::string> out;
    const bool closed = is_program_source(source) && take_words(source.substr(kExec.size()), kBlank, '\'', false, out);
    if (!closed || out.empty() || !out.front().starts_with('/')) {
        return invalid(
            "a program is written like exec:/usr/local/bin/token --audience embed: an absolute path and its arguments, with "
            "what holds blanks in single quotes");
    }
    return out;
}

Result<std::string> program_source(const std::vector<std::string>& words) {
    std::string out;
    for (const std::string& word : words) {
        if (word.find_first_of("'\"\r\n") != std::string::npos)
            return invalid(fmt::format("the argument {} holds a quote or a line end; put it into a script", word));
        const bool plain = !word.empty() && word.find_first_of(" \t;") == std::string::npos;
        // exec: is no part of the path.
        const bool first = out.empty() && word.starts_with(kExec);
        const std::string_view rest = std::string_view(word).substr(first ? kExec.size() : 0);
        if (first) {
            out += kExec;
        } else {
            out += ' ';
        }
        out += plain ? std::string(rest) : fmt::format("'{}'", rest);
    }
    return out;
}

std::string written_source(const std::string& source) {
    return source.find_first_of(" \t;") == std::string::npos ? source : fmt::format("\"{}\"", source);
}

}  // namespace homeostat
