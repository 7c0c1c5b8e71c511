#include "controller/config/config_lists.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "reconcilers/embed/outbound.hpp"
#include "reconcilers/embed/secret_source.hpp"

namespace homeostat {

namespace {

constexpr std::array<std::string_view, 4> kLists{"provider.allow_hosts", "exec.allow", "exec.read", "exec.environment"};
constexpr std::array<std::string_view, 2> kOfSecret{"source", "origins"};

bool is_scalar(const YamlNode& node) {
    return node.kind != YamlNode::Kind::map && node.kind != YamlNode::Kind::list && node.kind != YamlNode::Kind::null;
}

// The program exec:/PATH with its arguments, as one text or as a list; anything else is a word.
Result<std::string> source_text(const std::string& name, const YamlNode* node) {
    const Error wrong = invalid(fmt::format(
        "secret \"{}\": its source must be env:NAME or file:PATH, without spaces, or the program exec:/PATH and its arguments",
        name));
    if (node == nullptr) return wrong;
    if (node->kind == YamlNode::Kind::list) {
        std::vector<std::string> words;
        for (const YamlNode& item : node->items) {
            if (!is_scalar(item)) return wrong;
            words.push_back(item.scalar);
        }
        if (words.empty() || !is_program_source(words.front())) return wrong;
        const Result<std::string> source = program_source(words);
        if (!source) return source.error().with_prefix(fmt::format("secret \"{}\"", name));
        return written_source(*source);
    }
    if (!is_scalar(*node)) return wrong;
    if (is_program_source(node->scalar) && node->scalar.find_first_of("\"\r\n") == std::string::npos)
        return written_source(node->scalar);
    if (!is_word(*node)) return wrong;
    return node->scalar;
}

Result<std::string> secret_line(const std::string& name, const YamlNode& node) {
    if (node.kind != YamlNode::Kind::map || name.find_first_of(" \t\r\n;") != std::string::npos || name.empty())
        return invalid(fmt::format("secret \"{}\" must be a word with a source and origins", name));
    for (const auto& [key, value] : node.fields) {
        if (std::find(kOfSecret.begin(), kOfSecret.end(), key) != kOfSecret.end()) continue;
        return invalid(fmt::format("secret \"{}\": \"{}\" is not known; it has source and origins{}", name, key,
                                   did_you_mean(key, kOfSecret)));
    }
    const YamlNode* source = node.find("source");
    const YamlNode* origins = node.find("origins");
    const Result<std::string> text = source_text(name, source);
    if (!text) return text.error();
    std::vector<YamlNode> all;
    if (origins != nullptr && origins->kind == YamlNode::Kind::list) {
        all = origins->items;
    } else if (origins != nullptr) {
        all = {*origins};
    }
    if (all.empty() || !std::all_of(all.begin(), all.end(), is_word)) {
        return invalid(
            fmt::format("secret \"{}\": its origins must be a list of where it may go, such as [https://api.example.com]", name));
    }
    std::string line = name + ' ' + *text;
    for (const YamlNode& origin : all) line += ' ' + origin.scalar;
    return line;
}

Status check_each(std::string_view setting, std::string_view line, std::string_view what, bool (*good)(const std::string&)) {
    for (const std::string& word : listed_words(line)) {
        if (!good(word)) return invalid(fmt::format("{}: \"{}\" is not {}", setting, word, what));
    }
    return {};
}

}  // namespace

bool is_word(const YamlNode& node) {
    return is_scalar(node) && !node.scalar.empty() && node.scalar.find_first_of(" \t\r\n;") == std::string::npos;
}

bool takes_list(std::string_view setting) noexcept { return std::find(kLists.begin(), kLists.end(), setting) != kLists.end(); }

Result<std::string> list_line(const YamlNode& node) {
    std::string line;
    for (const YamlNode& item : node.items) {
        if (!is_scalar(item) || item.scalar.find(',') != std::string::npos)
            return invalid("it must be a list of words without commas");
        line += (line.empty() ? "" : ", ") + item.scalar;
    }
    return line;
}

Result<std::string> secrets_line(const YamlNode& node) {
    std::string line;
    for (const auto& [name, value] : node.fields) {
        const Result<std::string> one = secret_line(name, value);
        if (!one) return one;
        line += (line.empty() ? "" : "; ") + *one;
    }
    return line;
}

std::vector<std::string> listed_words(std::string_view line) {
    std::vector<std::string> out;
    while (!line.empty()) {
        const std::size_t comma = std::min(line.find(','), line.size());
        std::string_view word = line.substr(0, comma);
        line.remove_prefix(std::min(comma + 1, line.size()));
        while (word.starts_with(' ')) word.remove_prefix(1);
        while (word.ends_with(' ')) word.remove_suffix(1);
        if (!word.empty()) out.emplace_back(word);
    }
    return out;
}

Status check_paths(std::string_view setting, std::string_view line) {
    return check_each(setting, line, "an absolute path", [](const std::string& word) { return word.front() == '/'; });
}

Status check_names(std::string_view setting, std::string_view line) {
    return check_each(setting, line, "the name of a variable", [](const std::string& word) {
        return word.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos &&
               (word.front() < '0' || word.front() > '9');
    });
}

Status check_outbound(std::string_view secrets, std::string_view hosts) {
    if (const Result<Outbound> bound = Outbound::of(secrets, ""); !bound) return bound.error().with_prefix("secrets");
    if (const Result<Outbound> asked = Outbound::of("", hosts); !asked) return asked.error().with_prefix("provider.allow_hosts");
    return {};
}

}  // namespace homeostat
