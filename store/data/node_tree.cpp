#include "store/data/node_tree.hpp"

#include <charconv>

namespace homeostat {

namespace {

constexpr int kDepth = 1'000;

class Reader {
public:
    explicit Reader(std::string_view text) : rest_(text) {}

    std::optional<TreeNode> whole() {
        TreeNode node;
        if (!value(node, 0)) return std::nullopt;
        skip_blanks();
        if (!rest_.empty()) return std::nullopt;
        return node;
    }

private:
    void skip_blanks() {
        while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n' || rest_.front() == '\t')) rest_.remove_prefix(1);
    }

    bool take(char c) {
        skip_blanks();
        if (rest_.empty() || rest_.front() != c) return false;
        rest_.remove_prefix(1);
        return true;
    }

    // A backslash takes the meaning from the character after it, so a name may hold anything.
    bool word(std::string& out) {
        skip_blanks();
        std::size_t i = 0;
        while (i < rest_.size() && std::string_view(" \n\t(){}").find(rest_[i]) == std::string_view::npos) {
            if (rest_[i] == '\\') ++i;
            if (i == rest_.size()) return false;
            out += rest_[i];
            ++i;
        }
        rest_.remove_prefix(i);
        return i > 0;
    }

    bool value(TreeNode& out, int depth) {
        if (depth > kDepth) return false;
        if (take('(')) return list(out, depth);
        if (take('{')) return node(out, depth);
        out.kind = TreeNode::Kind::word;
        return word(out.text);
    }

    bool list(TreeNode& out, int depth) {
        out.kind = TreeNode::Kind::list;
        while (!take(')')) {
            if (!value(out.items.emplace_back(), depth + 1)) return false;
        }
        return true;
    }

    // The first value after a label is the field's whatever it looks like, because a name may begin with a colon. What follows it
    // before the next label (the bytes of a constant) is of no use here.
    bool node(TreeNode& out, int depth) {
        out.kind = TreeNode::Kind::node;
        if (!word(out.text)) return false;
        while (!take('}')) {
            skip_blanks();
            if (rest_.starts_with(':')) {
                auto& [name, field] = out.fields.emplace_back();
                rest_.remove_prefix(1);
                if (!word(name) || !value(field, depth + 1)) return false;
            } else if (TreeNode ignored; !value(ignored, depth + 1)) {
                return false;
            }
        }
        return true;
    }

    std::string_view rest_;
};

}  // namespace

const TreeNode& TreeNode::at(std::string_view field) const noexcept {
    static const TreeNode none;
    for (const auto& [name, value] : fields) {
        if (name == field) return value;
    }
    return none;
}

long TreeNode::number(std::string_view field) const noexcept {
    const std::string& word = at(field).text;
    long out = 0;
    std::from_chars(word.data(), word.data() + word.size(), out);
    return out;
}

std::optional<TreeNode> read_node_tree(std::string_view text) { return Reader(text).whole(); }

}  // namespace homeostat
