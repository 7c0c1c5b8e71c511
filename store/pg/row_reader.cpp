#include "store/pg/row_reader.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "store/pg/text_array.hpp"
#include "store/pg/timestamps.hpp"

namespace homeostat {

std::optional<double> RowReader::maybe_real() {
    const int column = column_++;
    return rows_.null(row_, column) ? std::nullopt : std::optional<double>(rows_.f64(row_, column));
}

std::optional<Millis> RowReader::maybe_millis() {
    const auto value = rows_.maybe_i64(row_, column_++);
    return value ? std::optional<Millis>(Millis{*value}) : std::nullopt;
}

std::optional<WallTime> RowReader::maybe_time() {
    const auto micros = rows_.maybe_i64(row_, column_++);
    return micros ? std::optional<WallTime>(WallTime(std::chrono::microseconds(*micros))) : std::nullopt;
}

WallTime RowReader::stamp() { return parse_timestamp(rows_.view(row_, column_++)); }

std::optional<WallTime> RowReader::maybe_stamp() {
    const int column = column_++;
    return rows_.null(row_, column) ? std::nullopt : std::optional<WallTime>(parse_timestamp(rows_.view(row_, column)));
}

std::vector<std::string> RowReader::names() {
    std::vector<std::string> out;
    std::string_view rest = rows_.view(row_, column_++);
    while (!rest.empty()) {
        std::string name;
        std::size_t at = 0;
        const bool quoted = rest[0] == '"';
        for (at = quoted ? 1 : 0; at < rest.size(); ++at) {
            if (quoted ? rest[at] == '"' : rest[at] == ',') {
                if (!quoted || at + 1 >= rest.size() || rest[at + 1] != '"') break;
                ++at;
            }
            name += rest[at];
        }
        out.push_back(std::move(name));
        const std::size_t comma = rest.find(", ", at);
        rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 2);
    }
    return out;
}

std::vector<std::string> RowReader::words() { return parse_text_array(rows_.view(row_, column_++)); }

StringMap RowReader::map() {
    const std::string_view json = rows_.view(row_, column_++);
    StringMap out;
    if (json.empty() || json == "{}") return out;
    const auto object = nlohmann::json::parse(json);  // named: items() refers to it while the loop runs
    for (const auto& [key, value] : object.items()) out[key] = value.is_string() ? value.get<std::string>() : value.dump();
    return out;
}

std::vector<CaptureBase> RowReader::bases() {
    std::vector<CaptureBase> out;
    for (const auto& base : nlohmann::json::parse(rows_.view(row_, column_++))) {
        out.push_back({base.at("table").get<std::string>(), base.at("key").get<StringMap>()});
    }
    return out;
}

}  // namespace homeostat
