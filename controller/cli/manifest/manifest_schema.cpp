#include "controller/cli/manifest/manifest_schema.hpp"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "controller/config/config_values.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

using Json = nlohmann::ordered_json;
using Kind = YamlNode::Kind;

constexpr std::array<std::string_view, 3> kKinds{"Pipeline", "Provider", "TargetView"};  // in the order of ResourceKind

const Json& schema_of(std::string_view kind) {
    static const Json schema = Json::parse(manifest_schema_text());
    return schema.at("definitions").at(std::string(kind));
}

nlohmann::json json_of(const YamlNode& node) {
    switch (node.kind) {
        case Kind::null: return nullptr;
        case Kind::text: return node.scalar;
        case Kind::boolean: return node.scalar == "true" || node.scalar == "True";
        case Kind::integer: {
            const std::string_view digits = std::string_view(node.scalar).substr(node.scalar.starts_with('+') ? 1 : 0);
            std::int64_t value = 0;
            if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec == std::errc()) return value;
            return std::stod(node.scalar);  // beyond 64 bits: no integer, and so refused
        }
        case Kind::real: return std::strtod(node.scalar.c_str(), nullptr);
        case Kind::list: {
            nlohmann::json list = nlohmann::json::array();
            for (const auto& item : node.items) list.push_back(json_of(item));
            return list;
        }
        case Kind::map: break;
    }
    nlohmann::json map = nlohmann::json::object();
    for (const auto& [name, value] : node.fields) map[name] = json_of(value);
    return map;
}

bool fits(const Json& schema, const YamlNode& node) {
    nlohmann::json plain = schema;
    plain.erase("format");  // ours, for lists too; valijson takes a format for one of a text and throws at anything else
    const nlohmann::json value = json_of(node);
    valijson::Schema parsed;
    valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
    parser.populateSchema(valijson::adapters::NlohmannJsonAdapter(plain), parsed);
    valijson::Validator validator(valijson::Validator::kStrongTypes);
    return validator.validate(parsed, valijson::adapters::NlohmannJsonAdapter(value), nullptr);
}

std::string choices(const Json& values) {
    std::string out;
    for (const auto& v : values) out += (out.empty() ? "" : ", ") + v.get<std::string>();
    return values.size() == 1 ? out : "one of " + out;
}

// What a value of this schema looks like, for "must be ...".
std::string expectation(const Json& schema) {
    if (schema.contains("expects")) return schema.at("expects");
    if (schema.contains("enum")) return choices(schema.at("enum"));
    const std::string type = schema.value("type", "");
    if (type == "boolean") return "true or false";
    if (type == "integer" || type == "number") {
        const std::string what = type == "integer" ? "a whole number" : "a number";
        const double low = schema.value("minimum", 0.0);
        const double high = schema.value("maximum", 9e18);
        if (high >= 2147483647.0) return fmt::format("{} of at least {}", what, low);
        return fmt::format("{} from {} to {}", what, low, schema.at("maximum").dump());
    }
    if (type == "object") return "a map";
    return "a text that is not empty";
}

// What was written, for "..., not X".
std::string written(const Json& schema, const YamlNode& node) {
    const std::string type = schema.value("type", "");
    switch (node.kind) {
        case Kind::null: return "nothing";
        case Kind::list:
        case Kind::map: return write_json(node);
        case Kind::text: {
            const bool other = type == "integer" || type == "number" || type == "boolean";
            if (other && node.quoted) return fmt::format("the text \"{}\"; write it without quotes", node.scalar);
            return fmt::format("\"{}\"", node.scalar);
        }
        default: break;
    }
    if (type == "string")
        return fmt::format("the {} {}; put it in quotes", node.kind == Kind::boolean ? "flag" : "number", node.scalar);
    return node.scalar;
}

std::string nearest_choice(const Json& schema, const YamlNode& node) {
    const char* from = schema.contains("enum") ? "enum" : "examples";
    if (!schema.contains(from) || node.kind != Kind::text) return {};
    std::vector<std::string_view> known;
    for (const auto& v : schema.at(from)) known.push_back(v.get_ref<const std::string&>());
    return did_you_mean(node.scalar, known);
}

class Check {
public:
    Check(std::string_view file, const YamlNode& document) : file_(file) {
        const YamlNode* kind = document.find("kind");
        const YamlNode* metadata = document.find("metadata");
        const YamlNode* name = metadata != nullptr ? metadata->find("name") : nullptr;
        what_ = kind != nullptr ? kind->scalar : "";
        if (name != nullptr && !name->scalar.empty()) what_ += fmt::format(" \"{}\"", name->scalar);
    }

    void object(const Json& schema, const YamlNode& node, const std::string& path) {
        const Json& properties = schema.at("properties");
        std::vector<std::string_view> known;
        for (const auto& [name, unused] : properties.items()) known.push_back(name);
        for (const auto& [name, value] : node.fields) {
            if (!properties.contains(name)) {
                say(value, fmt::format("{}{} is not a field{}", path, name, did_you_mean(name, known)));
            } else if (value.kind != Kind::null) {
                field(properties.at(name), value, path + name);
            }
        }
        if (!schema.contains("required")) return;
        for (const auto& required : schema.at("required")) {
            const std::string name = required;
            const YamlNode* value = node.find(name);
            if (value == nullptr || value->kind == Kind::null) {
                say(node, fmt::format("{}{} is missing; it is {}", path, name, expectation(properties.at(name))));
            }
        }
    }

    std::vector<std::string> problems;

private:
    void field(const Json& schema, const YamlNode& value, const std::string& path) {
        if (schema.contains("properties") && value.kind == Kind::map) {
            object(schema, value, path + '.');
        } else if (!fits(schema, value)) {
            say(value, fmt::format("{} must be {}, not {}{}", path, expectation(schema), written(schema, value),
                                   nearest_choice(schema, value)));
        }
    }

    void say(const YamlNode& where, const std::string& sentence) {
        problems.push_back(fmt::format("{}:{}: {}: {}", file_, where.line, what_, sentence));
    }

    std::string file_;
    std::string what_;
};

std::string column_of(std::string_view field) {
    if (field == "metadataColumns") return "metadata";  // `metadata` is the name of a part of every manifest
    std::string column;
    for (const char c : field) {
        if (c >= 'A' && c <= 'Z') column += '_';
        column += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    return column;
}

std::string column_value(const Json& schema, const YamlNode& node) {
    if (node.kind == Kind::map || schema.value("format", "") == "objects") return json_of(node).dump();
    if (schema.value("format", "") == "duration")
        return fmt::format("{} milliseconds", parse_duration(node.scalar).value_or(Millis{0}).count());
    if (node.kind != Kind::list) return node.scalar;
    if (schema.value("format", "") == "words") {
        std::vector<std::string> words;
        for (const YamlNode& item : node.items) words.push_back(item.scalar);
        return format_text_array(words);
    }
    std::string names;
    for (const YamlNode& item : node.items) {
        names += names.empty() ? "\"" : ", \"";
        for (const char c : item.scalar) names += c == '"' ? std::string("\"\"") : std::string(1, c);
        names += '"';
    }
    return names;
}

std::string type_of(const Json& schema) {
    if (schema.value("format", "") == "duration") return "duration";
    if (schema.contains("oneOf")) return "columns";
    const std::string format = schema.value("format", "");
    if (format == "words" || format == "objects") return "list";
    const std::string type = schema.value("type", "");
    if (type == "integer" || type == "number") return "number";
    if (type == "boolean") return "flag";
    return type == "object" ? "map" : "text";
}

}  // namespace

std::vector<std::string> check_manifest(const YamlNode& document, std::string_view file) {
    if (document.kind != Kind::map) {
        return {fmt::format("{}:{}: a manifest is a map with apiVersion, kind, metadata and spec", file, document.line)};
    }
    const YamlNode* kind = document.find("kind");
    if (kind == nullptr)
        return {fmt::format("{}:{}: kind is missing; it is Pipeline, Provider or TargetView", file, document.line)};
    if (std::find(kKinds.begin(), kKinds.end(), kind->scalar) == kKinds.end()) {
        return {fmt::format("{}:{}: kind \"{}\" is not known; it is Pipeline, Provider or TargetView{}", file, kind->line,
                            kind->scalar, did_you_mean(kind->scalar, kKinds))};
    }
    Check check(file, document);
    check.object(schema_of(kind->scalar), document, "");
    return std::move(check.problems);
}

DeclaredObject declared_object(const YamlNode& document) {
    const std::string& kind = document.find("kind")->scalar;
    const YamlNode& metadata = *document.find("metadata");
    const Json& fields = schema_of(kind).at("properties").at("spec").at("properties");
    DeclaredObject object;
    object.kind = static_cast<ResourceKind>(std::find(kKinds.begin(), kKinds.end(), kind) - kKinds.begin());
    object.name = metadata.find("name")->scalar;
    if (const YamlNode* labels = metadata.find("labels"); labels != nullptr && labels->kind == Kind::map) {
        object.columns.emplace_back("labels", json_of(*labels).dump());
    }
    for (const auto& [name, value] : document.find("spec")->fields) {
        if (value.kind != Kind::null) object.columns.emplace_back(column_of(name), column_value(fields.at(name), value));
    }
    return object;
}

std::vector<ManifestField> manifest_fields(ResourceKind kind) {
    std::vector<ManifestField> out;
    const Json& spec = schema_of(kKinds[static_cast<std::size_t>(kind)]).at("properties").at("spec").at("properties");
    for (const auto& [name, schema] : spec.items()) {
        out.push_back({name, column_of(name), type_of(schema), schema.contains("default") ? schema.at("default").dump() : "",
                       schema.at("description")});
    }
    return out;
}

std::string field_of_column(std::string_view column) {
    if (column == "metadata") return "metadataColumns";
    std::string field;
    bool upper = false;
    for (const char c : column) {
        if (c != '_') field += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        upper = c == '_';
    }
    return field;
}

}  // namespace homeostat
