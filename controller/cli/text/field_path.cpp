#include "controller/cli/text/field_path.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

namespace homeostat {

namespace {

using Nodes = std::vector<const YamlNode*>;

struct Step {
    enum class Kind : std::uint8_t { field, index, all, where } kind = Kind::field;
    std::string name{};  // of the field; for where: the path below @
    std::string value{};
    bool differs = false;
    std::int64_t index = 0;
};

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    return text;
}

std::string_view unquoted(std::string_view text) {
    text = trimmed(text);
    if (text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front())
        return text.substr(1, text.size() - 2);
    return text;
}

class PathReader {
public:
    explicit PathReader(std::string_view path) : path_(path), rest_(trimmed(path)) {
        if (rest_.starts_with('{') && rest_.ends_with('}')) rest_ = trimmed(rest_.substr(1, rest_.size() - 2));
        if (rest_.starts_with('$') || rest_.starts_with('@')) rest_.remove_prefix(1);
    }

    Result<std::vector<Step>> read() {
        std::vector<Step> steps;
        bool first = true;
        while (!rest_.empty()) {
            if (rest_.front() == '[') {
                Result<Step> step = bracket();
                if (!step) return step.error();
                steps.push_back(*std::move(step));
            } else {
                if (rest_.front() == '.') {
                    rest_.remove_prefix(1);
                } else if (!first) {
                    return wrong("a dot is missing");
                }
                if (rest_.empty() && first) break;  // "." is all of it
                if (!rest_.empty() && rest_.front() == '[') continue;
                const std::size_t end = std::min(rest_.size(), rest_.find_first_of(".["));
                if (end == 0) return wrong("a name is missing");
                const std::string name(rest_.substr(0, end));
                steps.push_back({.kind = name == "*" ? Step::Kind::all : Step::Kind::field, .name = name});
                rest_.remove_prefix(end);
            }
            first = false;
        }
        return steps;
    }

private:
    Error wrong(std::string_view what) const {
        return invalid(
            fmt::format("\"{}\" is not a path: {}; write for instance .status.documents or .spec.content[0]", path_, what));
    }

    Result<Step> bracket() {
        const std::size_t end = rest_.starts_with("[?(") ? rest_.find(")]") : rest_.find(']');
        if (end == std::string_view::npos) return wrong("a bracket is not closed");
        if (rest_.starts_with("[?(")) {
            const std::string_view test = rest_.substr(3, end - 3);
            rest_.remove_prefix(end + 2);
            return condition(test);
        }
        const std::string_view inside = trimmed(rest_.substr(1, end - 1));
        rest_.remove_prefix(end + 1);
        if (inside == "*") return Step{.kind = Step::Kind::all};
        if (inside != unquoted(inside)) return Step{.name = std::string(unquoted(inside))};
        Step step{.kind = Step::Kind::index};
        const auto [at, problem] = std::from_chars(inside.data(), inside.data() + inside.size(), step.index);
        if (problem != std::errc() || at != inside.data() + inside.size())
            return wrong("in brackets stands a number, *, a quoted name or ?(...)");
        return step;
    }

    Result<Step> condition(std::string_view test) const {
        const std::size_t equal = test.find("==");
        const std::size_t differs = test.find("!=");
        const std::size_t at = std::min(equal, differs);
        if (at == std::string_view::npos || !trimmed(test).starts_with('@'))
            return wrong("a condition reads ?(@.field==\"value\")");
        return Step{.kind = Step::Kind::where,
                    .name = std::string(trimmed(test.substr(0, at))),
                    .value = std::string(unquoted(test.substr(at + 2))),
                    .differs = differs < equal};
    }

    std::string_view path_;
    std::string_view rest_;
};

Status take_step(const Step& step, const YamlNode& from, Nodes& to) {
    switch (step.kind) {
        case Step::Kind::field:
            if (const YamlNode* found = from.find(step.name)) to.push_back(found);
            break;
        case Step::Kind::index: {
            const auto size = static_cast<std::int64_t>(from.items.size());
            const std::int64_t at = step.index < 0 ? size + step.index : step.index;
            if (at >= 0 && at < size) to.push_back(&from.items[static_cast<std::size_t>(at)]);
            break;
        }
        case Step::Kind::all:
            for (const YamlNode& item : from.items) to.push_back(&item);
            for (const auto& field : from.fields) to.push_back(&field.second);
            break;
        case Step::Kind::where:
            for (const YamlNode& item : from.items) {
                const Result<Nodes> found = follow_path(item, step.name);
                if (!found) return found.error();
                const bool equal = !found->empty() && value_text(*found->front()) == step.value;
                if (equal != step.differs) to.push_back(&item);
            }
            break;
    }
    return {};
}

// One brace of a template.
struct Piece {
    bool code = false;
    std::string text;
};

// Within quotation marks, and outside braces, a stroke makes the next letter special.
std::string unescaped(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || i + 1 == text.size()) {
            out += text[i];
            continue;
        }
        const char c = text[++i];
        out += c == 'n' ? '\n' : c == 't' ? '\t' : c;
    }
    return out;
}

Result<std::vector<Piece>> pieces_of(std::string_view text) {
    std::vector<Piece> pieces;
    while (!text.empty()) {
        const std::size_t open = text.find('{');
        if (open != 0) pieces.push_back({false, unescaped(text.substr(0, open))});
        if (open == std::string_view::npos) break;
        char quote = 0;
        std::size_t at = open + 1;
        for (; at < text.size() && (quote != 0 || text[at] != '}'); ++at) {
            if (quote != 0 && text[at] == '\\') {
                ++at;
            } else if (quote != 0 ? text[at] == quote : text[at] == '"' || text[at] == '\'') {
                quote = quote != 0 ? '\0' : text[at];
            }
        }
        if (at >= text.size()) return invalid("the template has a brace that is not closed");
        pieces.push_back({true, std::string(trimmed(text.substr(open + 1, at - open - 1)))});
        text.remove_prefix(at + 1);
    }
    return pieces;
}

// From `at` to the end of the template or of the range that began before; leaves `at` there.
Status expand(const YamlNode& root, const std::vector<Piece>& pieces, std::size_t& at, bool in_range, std::string& out) {
    for (; at < pieces.size(); ++at) {
        const Piece& piece = pieces[at];
        if (!piece.code) {
            out += piece.text;
        } else if (piece.text == "end") {
            if (in_range) return {};
            return invalid("the template has {end} without {range ...}");
        } else if (piece.text.starts_with("range ")) {
            const Result<Nodes> nodes = follow_path(root, std::string_view(piece.text).substr(6));
            if (!nodes) return nodes.error();
            const std::size_t body = at + 1;
            std::string unused;
            at = body;
            if (auto skipped = expand(root, pieces, at, true, unused); !skipped) return skipped;
            for (const YamlNode* node : *nodes) {
                at = body;
                if (auto done = expand(*node, pieces, at, true, out); !done) return done;
            }
        } else if (piece.text.starts_with('"') || piece.text.starts_with('\'')) {
            out += unescaped(unquoted(piece.text));
        } else {
            const Result<Nodes> nodes = follow_path(root, piece.text);
            if (!nodes) return nodes.error();
            for (std::size_t i = 0; i < nodes->size(); ++i) out += (i == 0 ? "" : " ") + value_text(*(*nodes)[i]);
        }
    }
    return in_range ? Status(invalid("the template has {range ...} without {end}")) : Status();
}

}  // namespace

Result<Nodes> follow_path(const YamlNode& root, std::string_view path) {
    const Result<std::vector<Step>> steps = PathReader(path).read();
    if (!steps) return steps.error();
    Nodes nodes{&root};
    for (const Step& step : *steps) {
        Nodes next;
        for (const YamlNode* node : nodes) {
            if (auto good = take_step(step, *node, next); !good) return good.error();
        }
        nodes = std::move(next);
    }
    return nodes;
}

std::string value_text(const YamlNode& node) {
    if (node.kind == YamlNode::Kind::list || node.kind == YamlNode::Kind::map) return write_json(node);
    return node.scalar;
}

Result<std::string> expand_template(const YamlNode& root, std::string_view text) {
    const Result<std::vector<Piece>> pieces = pieces_of(text);
    if (!pieces) return pieces.error();
    std::string out;
    std::size_t at = 0;
    if (auto done = expand(root, *pieces, at, false, out); !done) return done.error();
    return out;
}

}  // namespace homeostat
