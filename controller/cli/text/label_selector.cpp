// Label selectors as kubectl reads them.
#include <fmt/core.h>

#include <algorithm>

#include "controller/cli/text/listing.hpp"

namespace homeostat {

namespace {

struct Requirement {
    std::string label;
    std::vector<std::string> values;  // none: whether it is there at all
    bool negated = false;
};

std::string trimmed(std::string_view text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    return std::string(text);
}

// At commas that stand in no brackets.
std::vector<std::string> parts_of(std::string_view text) {
    std::vector<std::string> parts(1);
    int depth = 0;
    for (const char c : text) {
        depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        if (c == ',' && depth == 0) {
            parts.emplace_back();
        } else {
            parts.back() += c;
        }
    }
    for (std::string& part : parts) part = trimmed(part);
    return parts;
}

Result<Requirement> read_requirement(const std::string& text) {
    const Error wrong = invalid(fmt::format(
        "-l {}: that is not a label selector; write a=b, a!=b, a in (b,c), a notin (b,c), a or !a, with commas between", text));
    Requirement r;
    if (const std::size_t open = text.find(" ("); text.ends_with(')') && open != std::string::npos) {
        std::string head = trimmed(text.substr(0, open));
        const std::size_t blank = head.rfind(' ');
        const std::string word = blank == std::string::npos ? "" : head.substr(blank + 1);
        if (word != "in" && word != "notin") return wrong;
        r = {trimmed(head.substr(0, blank)), parts_of(text.substr(open + 2, text.size() - open - 3)), word == "notin"};
    } else if (const std::size_t equals = text.find('='); equals != std::string::npos) {
        r.negated = equals > 0 && text[equals - 1] == '!';
        const std::size_t after = equals + (text.compare(equals, 2, "==") == 0 ? 2 : 1);
        r.label = trimmed(text.substr(0, equals - (r.negated ? 1 : 0)));
        r.values = {trimmed(text.substr(after))};
    } else {
        r.negated = text.starts_with('!');
        r.label = trimmed(text.substr(r.negated ? 1 : 0));
    }
    if (r.label.empty() || r.label.find_first_of(" ()=!") != std::string::npos) return wrong;
    return r;
}

bool holds(const Requirement& r, const StringMap& labels) {
    const auto found = labels.find(r.label);
    const bool matches = found != labels.end() &&
                         (r.values.empty() || std::find(r.values.begin(), r.values.end(), found->second) != r.values.end());
    return matches != r.negated;
}

}  // namespace

Result<std::vector<Listed>> select_labels(std::vector<Listed> rows, std::string_view selector) {
    for (const std::string& part : parts_of(selector)) {
        const Result<Requirement> r = read_requirement(part);
        if (!r) return r.error();
        std::erase_if(rows, [&](const Listed& row) { return !holds(*r, row.labels); });
    }
    return rows;
}

}  // namespace homeostat
