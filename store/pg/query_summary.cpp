#include "store/pg/query_summary.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <vector>

namespace homeostat {

namespace {

constexpr std::array<std::string_view, 5> kBefore{"from", "join", "into", "update", "using"};  // a table
constexpr std::array<std::string_view, 5> kQueries{"select", "insert", "update", "delete", "with"};

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$'; }

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return out;
}

std::string upper(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return out;
}

template <std::size_t N>
bool among(const std::array<std::string_view, N>& words, std::string_view word) {
    return std::ranges::find(words, word) != words.end();
}

class Words {
public:
    explicit Words(std::string_view sql) : sql_(sql) {}

    // The next keyword or name, with its parts; none at the end.
    std::optional<std::string_view> next() {
        while (at_ < sql_.size()) {
            if (skip_comment() || skip_literal()) continue;
            if (is_name(sql_[at_]) || sql_[at_] == '"') return name();
            ++at_;
        }
        return std::nullopt;
    }
    // Whether what was read last is the name of a function.
    bool called() const {
        const std::size_t after = sql_.find_first_not_of(" \n\t", at_);
        return after != std::string_view::npos && sql_[after] == '(';
    }

private:
    bool skip_comment() {
        if (!sql_.substr(at_).starts_with("--")) return false;
        at_ = std::min(sql_.find('\n', at_), sql_.size());
        return true;
    }
    bool skip_literal() {
        if (sql_[at_] != '\'') return false;
        const std::size_t end = sql_.find('\'', at_ + 1);  // a doubled quote begins another one at once
        at_ = end == std::string_view::npos ? sql_.size() : end + 1;
        return true;
    }
    std::string_view name() {
        const std::size_t begin = at_;
        while (at_ < sql_.size()) {
            if (sql_[at_] == '"') {
                const std::size_t end = sql_.find('"', at_ + 1);
                at_ = end == std::string_view::npos ? sql_.size() : end + 1;
            } else if (is_name(sql_[at_]) || sql_[at_] == '.') {
                ++at_;
            } else {
                break;
            }
        }
        return sql_.substr(begin, at_ - begin);
    }

    std::string_view sql_;
    std::size_t at_ = 0;
};

// Whole words, as many as there is room for.
std::string joined(const std::vector<std::string>& words) {
    std::string out;
    for (const std::string& word : words) {
        if (out.size() + word.size() + 1 > kMostSummary) break;
        if (!out.empty()) out += ' ';
        out += word;
    }
    return out;
}

}  // namespace

std::string query_summary(std::string_view sql) {
    Words words(sql);
    std::vector<std::string> out;
    const auto add = [&](std::string word) {
        if (std::ranges::find(out, word) == out.end()) out.push_back(std::move(word));
    };
    std::string before;
    for (bool first = true; const auto word = words.next(); first = false) {
        const std::string now = lower(*word);
        // BEGIN, SET, CREATE, ...: the word is all that there is to say.
        if (first && !among(kQueries, now)) return std::isalpha(static_cast<unsigned char>(now[0])) != 0 ? upper(now) : "";
        if (now == "select") {
            add("SELECT");
        } else if (among(kBefore, before) && word->find('.') != std::string_view::npos && !words.called()) {
            if (before == "into") add("INSERT");
            if (before == "update") add("UPDATE");
            add(std::string(*word));
        } else if (before == "into" && word->find('.') != std::string_view::npos) {
            add("INSERT");  // with the list of its columns it looks like a call
            add(std::string(*word));
        } else if (now == "from" && before == "delete") {
            add("DELETE");
        }
        // FROM ONLY t; but IS DISTINCT FROM compares.
        if (now == "from" && before == "distinct") {
            before.clear();
        } else if (now != "only") {
            before = now;
        }
    }
    return joined(out);
}

}  // namespace homeostat
