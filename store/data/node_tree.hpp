// The text in which PostgreSQL's catalog keeps a view's analysed query (pg_node_tree), as a plain tree. Only the form is read
// here: braces, lists, labels and words; what they mean is the business of store/data/lineage.hpp. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace homeostat {

struct TreeField;

struct TreeNode {
    enum class Kind : std::uint8_t { word, list, node };

    Kind kind = Kind::word;
    std::string text;              // the word ("<>" is nothing), or the node's label: QUERY, VAR, ...
    std::vector<TreeNode> items;   // of a list
    std::vector<TreeField> fields; // of a node, in their order

    bool is(std::string_view label) const noexcept { return kind == Kind::node && text == label; }
    bool nothing() const noexcept { return kind == Kind::word && (text.empty() || text == "<>"); }
    // A word that is nothing where there is no such field.
    const TreeNode& at(std::string_view field) const noexcept;
    // The field as a number; 0 where it is none.
    long number(std::string_view field) const noexcept;
    bool truth(std::string_view field) const noexcept { return at(field).text == "true"; }
};

struct TreeField {
    std::string name;
    TreeNode value;
};

// Nothing where the text is not of this form, or is nested more than 1,000 deep.
std::optional<TreeNode> read_node_tree(std::string_view text);

}  // namespace homeostat
