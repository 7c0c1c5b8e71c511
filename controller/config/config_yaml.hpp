// YAML (and so JSON) as a plain tree with the place of every value, read and written. It exists because yaml-cpp lets duplicate
// keys pass and forgets which scalars stood in quotes, and so that one file alone knows yaml-cpp. Plain values, safe from any
// thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace homeostat {

struct YamlNode {
    enum class Kind : std::uint8_t { null, boolean, integer, real, text, list, map };

    Kind kind = Kind::null;
    std::string scalar{};  // as written, without its quotes; for null, boolean, integer, real and text
    bool quoted = false;
    int line = 0;    // from 1; 0 for what was not read from a file
    int column = 0;  // from 1
    std::vector<YamlNode> items{};                            // of a list
    std::vector<std::pair<std::string, YamlNode>> fields{};   // of a map, in the order written

    static YamlNode text(std::string value) { return {.kind = Kind::text, .scalar = std::move(value)}; }
    static YamlNode number(std::int64_t value) { return {.kind = Kind::integer, .scalar = std::to_string(value)}; }
    static YamlNode real(double value);
    static YamlNode boolean(bool value) { return {.kind = Kind::boolean, .scalar = value ? "true" : "false"}; }
    static YamlNode map() { return {.kind = Kind::map}; }
    static YamlNode list() { return {.kind = Kind::list}; }

    void add(std::string name, YamlNode value) { fields.emplace_back(std::move(name), std::move(value)); }
    const YamlNode* find(std::string_view name) const noexcept;
    // The map at `name`, made where it is not there yet.
    YamlNode& child_map(std::string_view name);
};

// The documents of a text, empty ones left out. Refused, with line and column: what is not YAML or not UTF-8, a key given twice,
// a key that is not a scalar, and trees of more than 100,000 values (aliases counted as often as they are used).
Result<std::vector<YamlNode>> read_yaml(std::string_view text, std::string_view file);

std::string write_yaml(const YamlNode& node);
std::string write_json(const YamlNode& node);

}  // namespace homeostat
