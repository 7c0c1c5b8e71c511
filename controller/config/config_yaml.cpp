#include "controller/config/config_yaml.hpp"

#include <fmt/core.h>
#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <regex>
#include <sstream>

#include "core/outside_text.hpp"

namespace homeostat {

namespace {

constexpr std::size_t kMaxValues = 100'000;
constexpr std::size_t kMaxCopied = 16U << 20U;

YamlNode::Kind plain_kind(const std::string& s) {
    static const std::regex kInteger("[-+]?(0|[1-9][0-9]*)");
    static const std::regex kReal("[-+]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][-+]?[0-9]+)?");
    if (s.empty() || s == "~" || s == "null" || s == "Null" || s == "NULL") return YamlNode::Kind::null;
    if (s == "true" || s == "false" || s == "True" || s == "False") return YamlNode::Kind::boolean;
    if (s.size() > 40) return YamlNode::Kind::text;  // no number is that long, and std::regex recurses once a letter
    if (std::regex_match(s, kInteger)) return YamlNode::Kind::integer;
    if (std::regex_match(s, kReal) && s[0] != '0') return YamlNode::Kind::real;
    if (std::regex_match(s, kReal) && s.size() > 1 && (s[1] == '.' || s[1] == 'e' || s[1] == 'E')) return YamlNode::Kind::real;
    return YamlNode::Kind::text;
}

std::size_t value_count(const YamlNode& node) {
    std::size_t n = 1;
    for (const auto& item : node.items) n += value_count(item);
    for (const auto& [name, value] : node.fields) n += value_count(value);
    return n;
}

std::size_t byte_count(const YamlNode& node) {
    std::size_t n = node.scalar.size();
    for (const auto& item : node.items) n += byte_count(item);
    for (const auto& [name, value] : node.fields) n += name.size() + byte_count(value);
    return n;
}

// Builds the tree from the parser's events; throws YAML::Exception to stop it.
class TreeBuilder final : public YAML::EventHandler {
public:
    std::vector<YamlNode> documents;

    void OnDocumentStart(const YAML::Mark& /*mark*/) override { anchors_.clear(); }
    void OnDocumentEnd() override {}

    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { put(node(mark, YamlNode::Kind::null), anchor); }

    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
        // The server's texts have none, and whoever takes this one for a C string would see another.
        if (value.find('\0') != std::string::npos) throw YAML::ParserException(mark, "a text has a NUL character in it");
        YamlNode n = node(mark, YamlNode::Kind::text);
        n.quoted = tag != "?";  // the parser's mark of a plain scalar
        if (!n.quoted) n.kind = plain_kind(value);
        n.scalar = value;
        put(std::move(n), anchor);
    }

    void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        const auto found = anchors_.find(anchor);
        if (found == anchors_.end()) throw YAML::ParserException(mark, "an alias stands inside the value it names");
        count(mark, value_count(found->second));
        copied_ += byte_count(found->second);
        if (copied_ > kMaxCopied) throw YAML::ParserException(mark, "aliases repeat more than 16 MiB of text; write it once");
        put(found->second, YAML::NullAnchor);
    }

    void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value /*style*/) override {
        open_.push_back({node(mark, YamlNode::Kind::list), anchor, std::nullopt});
    }
    void OnSequenceEnd() override { close(); }
    void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value /*style*/) override {
        open_.push_back({node(mark, YamlNode::Kind::map), anchor, std::nullopt});
    }
    void OnMapEnd() override { close(); }

private:
    struct Open {
        YamlNode node;
        YAML::anchor_t anchor;
        std::optional<std::string> key;
    };

    YamlNode node(const YAML::Mark& mark, YamlNode::Kind kind) {
        count(mark, 1);
        return {.kind = kind, .line = mark.line + 1, .column = mark.column + 1};
    }

    void count(const YAML::Mark& mark, std::size_t more) {
        values_ += more;
        if (values_ > kMaxValues) throw YAML::ParserException(mark, "more than 100000 values; split the file");
    }

    void close() {
        Open done = std::move(open_.back());
        open_.pop_back();
        put(std::move(done.node), done.anchor);
    }

    void put(YamlNode n, YAML::anchor_t anchor) {
        if (anchor != YAML::NullAnchor) anchors_[anchor] = n;
        if (open_.empty()) {
            documents.push_back(std::move(n));
            return;
        }
        Open& parent = open_.back();
        if (parent.node.kind == YamlNode::Kind::list) {
            parent.node.items.push_back(std::move(n));
        } else if (parent.key) {
            parent.node.fields.emplace_back(*std::exchange(parent.key, std::nullopt), std::move(n));
        } else {
            take_key(parent, n);
        }
    }

    static void take_key(Open& parent, const YamlNode& n) {
        const YAML::Mark mark = [&] {
            YAML::Mark m;
            m.line = n.line - 1;
            m.column = n.column - 1;
            return m;
        }();
        if (n.kind == YamlNode::Kind::list || n.kind == YamlNode::Kind::map) {
            throw YAML::ParserException(mark, "a key must be a single word, not a list or a map");
        }
        if (parent.node.find(n.scalar) != nullptr) {
            throw YAML::ParserException(
                mark, fmt::format("\"{}\" is given twice (first on line {})", n.scalar, parent.node.find(n.scalar)->line));
        }
        parent.key = n.scalar;
    }

    std::vector<Open> open_;
    std::map<YAML::anchor_t, YamlNode> anchors_;
    std::size_t values_ = 0;
    std::size_t copied_ = 0;  // bytes that aliases stand for
};

// The length of the UTF-8 sequence that starts at `at`, or 0 where there is none.
std::size_t utf8_length(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
    const unsigned first = byte(at);
    if (first < 0x80) return 1;
    const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(at + i) & 0xC0U) != 0x80U) return 0;
    }
    const unsigned second = byte(at + 1);
    const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
    const bool outside = (first == 0xED && second > 0x9F) || (first == 0xF4 && second > 0x8F);
    return overlong || outside ? 0 : length;
}

Status check_bytes(std::string_view text, std::string_view file) {
    int line = 1;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = utf8_length(text, at);
        if (text[at] == '\n') ++line;
        if (length == 0 || text[at] == '\0') {
            return invalid(fmt::format("{}:{}: {}", file, line,
                                       length == 0 ? "these bytes are not UTF-8; save the file as UTF-8"
                                                   : "there is a NUL byte in the text, which no name or value may hold"));
        }
        at += length;
    }
    return {};
}

std::string json_text(std::string_view s) {
    std::string out = "\"";
    for (std::size_t i = 0; i < s.size(); ++i) {
        const char c = s[i];
        // What turns the direction of writing, or moves a cursor, is written out; all of it is below U+10000 but for tags, which
        // are dull.
        char32_t letter = 0;
        const std::size_t length = static_cast<unsigned char>(c) < 0x80 ? 1 : letter_at(s.substr(i), letter);
        if (length > 1 && letter < 0x10000 && is_hidden(letter)) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(letter));
            i += length - 1;
            continue;
        }
        switch (c) {
            case '"': out += "\\\""; break;
            case '\\': out += "\\\\"; break;
            case '\n': out += "\\n"; break;
            case '\r': out += "\\r"; break;
            case '\t': out += "\\t"; break;
            default:
                if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
                    out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
                } else {
                    out += c;
                }
        }
    }
    return out + '"';
}

// Text that means itself without quotes, for readers of YAML 1.1 too (where `no` and `on` are booleans).
bool reads_as_itself(const std::string& s) {
    static const std::regex kWord("[A-Za-z_/][A-Za-z0-9_./ -]*[A-Za-z0-9_/]|[A-Za-z_]|[0-9]+(ms|s|m|h|d)");
    static constexpr std::array<std::string_view, 10> kReserved{"true", "false", "null", "yes", "no",
                                                                "on",   "off",   "y",    "n",   "nan"};
    if (s.size() > 200 || !std::regex_match(s, kWord)) return false;
    std::string low = s;
    std::transform(low.begin(), low.end(), low.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return std::find(kReserved.begin(), kReserved.end(), low) == kReserved.end();
}

std::string scalar_text(const YamlNode& node, bool json) {
    if (node.kind == YamlNode::Kind::null) return "null";
    if (node.kind == YamlNode::Kind::text) return !json && reads_as_itself(node.scalar) ? node.scalar : json_text(node.scalar);
    return node.scalar;
}

bool is_open_map(const YamlNode& node) { return node.kind == YamlNode::Kind::map && !node.fields.empty(); }
bool is_open_list(const YamlNode& node) {
    return node.kind == YamlNode::Kind::list && std::any_of(node.items.begin(), node.items.end(), is_open_map);
}

void append_yaml(const YamlNode& node, const std::string& indent, std::string& out) {
    if (is_open_map(node)) {
        for (const auto& [name, value] : node.fields) {
            const bool nested = is_open_map(value) || is_open_list(value);
            out += indent + (reads_as_itself(name) ? name : json_text(name)) + ':' + (nested ? "\n" : " ");
            append_yaml(value, indent + "  ", out);
        }
    } else if (is_open_list(node)) {
        for (const YamlNode& item : node.items) {
            const std::size_t start = out.size();
            append_yaml(item, indent + "  ", out);
            if (is_open_map(item)) {
                out.replace(start + indent.size(), 1, "-");
            } else {
                out.insert(start, indent + "- ");
            }
        }
    } else if (node.kind == YamlNode::Kind::list || node.kind == YamlNode::Kind::map) {
        out += write_json(node) + '\n';  // lists of words and empty maps are as readable in flow form
    } else {
        out += scalar_text(node, false) + '\n';
    }
}

void append_json(const YamlNode& node, std::string& out) {
    const char* separator = "";
    if (node.kind == YamlNode::Kind::map) {
        out += '{';
        for (const auto& [name, value] : node.fields) {
            out += separator + json_text(name) + ": ";
            append_json(value, out);
            separator = ", ";
        }
        out += '}';
    } else if (node.kind == YamlNode::Kind::list) {
        out += '[';
        for (const auto& item : node.items) {
            out += separator;
            append_json(item, out);
            separator = ", ";
        }
        out += ']';
    } else {
        out += scalar_text(node, true);
    }
}

}  // namespace

YamlNode YamlNode::real(double value) { return {.kind = Kind::real, .scalar = fmt::format("{}", value)}; }

const YamlNode* YamlNode::find(std::string_view name) const noexcept {
    for (const auto& [key, value] : fields) {
        if (key == name) return &value;
    }
    return nullptr;
}

YamlNode& YamlNode::child_map(std::string_view name) {
    for (auto& [key, value] : fields) {
        if (key == name) return value;
    }
    return fields.emplace_back(std::string(name), map()).second;
}

Result<std::vector<YamlNode>> read_yaml(std::string_view text, std::string_view file) {
    if (auto good = check_bytes(text, file); !good) return std::move(good).error();
    TreeBuilder builder;
    try {
        std::istringstream in{std::string(text)};
        YAML::Parser parser(in);
        while (parser.HandleNextDocument(builder)) {
        }
    } catch (const YAML::Exception& e) {
        return invalid(
            fmt::format("{}:{}:{}: this is not YAML that can be read: {}", file, e.mark.line + 1, e.mark.column + 1, e.msg));
    }
    std::erase_if(builder.documents, [](const YamlNode& n) { return n.kind == YamlNode::Kind::null; });
    return std::move(builder.documents);
}

std::string write_yaml(const YamlNode& node) {
    std::string out;
    append_yaml(node, "", out);
    return out;
}

std::string write_json(const YamlNode& node) {
    std::string out;
    append_json(node, out);
    return out;
}

}  // namespace homeostat
