#include "controller/cli/api/call.hpp"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <span>

#include "controller/http/routes.hpp"

namespace homeostat {

namespace {

template <class N>
std::optional<N> number_in(std::string_view text) {
    N value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

// The part up to the next dot, taken off the front.
std::string_view next_part(std::string_view& text) {
    const std::size_t end = std::min(text.find('.'), text.size());
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end + 1));
    return part;
}

}  // namespace

Status ApiCall::read_query(std::span<const std::string_view> known) {
    if (!decode_query(http.query, query_))
        return invalid("the query is not name=value&name=value, percent-encoded, each name once");
    for (const auto& [name, value] : query_) {
        if (std::ranges::find(known, name) != known.end()) continue;
        std::string all;
        for (const std::string_view one : known) all += fmt::format("{}{}", all.empty() ? "" : ", ", one);
        return invalid(fmt::format("\"{}\" is no parameter of this path{}; {}", name, did_you_mean(name, known),
                                   all.empty() ? "it has none" : "it has: " + all));
    }
    return {};
}

std::string_view ApiCall::asked(std::string_view name) const noexcept {
    const auto found = std::ranges::find_if(query_, [&](const auto& pair) { return pair.first == name; });
    return found == query_.end() ? std::string_view() : std::string_view(found->second);
}

Result<int> ApiCall::limit(int fallback, int most) const {
    const std::string_view text = asked("limit");
    if (text.empty()) return fallback;
    const std::optional<int> value = number_in<int>(text);
    if (!value || *value < 1 || *value > most)
        return invalid(fmt::format("limit is \"{}\"; it is a number from 1 to {}", text, most));
    return *value;
}

std::string hex_of(std::string_view text) {
    std::string out;
    for (const char c : text) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
    return out;
}

std::optional<std::string> text_of_hex(std::string_view hex) {
    if (hex.size() % 2 != 0) return std::nullopt;
    std::string out;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        unsigned value = 0;
        const auto [end, error] = std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
        if (error != std::errc() || end != hex.data() + i + 2 || value == 0) return std::nullopt;
        out += static_cast<char>(value);
    }
    return out;
}

std::string cursor_of(const ListingPlace& place) {
    return fmt::format("{}.{}.{}.{}", place.moment, place.number, hex_of(place.name), hex_of(place.about));
}

Result<ListingPlace> place_of(std::string_view cursor) {
    const Error unknown = invalid("this cursor was not made by this version of the API; leave it out to begin anew");
    if (std::ranges::count(cursor, '.') != 3) return unknown;
    const auto moment = number_in<std::int64_t>(next_part(cursor));
    const auto number = number_in<std::int64_t>(next_part(cursor));
    const auto name = text_of_hex(next_part(cursor));
    const auto about = text_of_hex(cursor);
    // A time that PostgreSQL does not have is none that was ever given out.
    constexpr std::int64_t kMost = std::int64_t{4'000'000'000'000'000};
    if (!moment || !number || !name || !about || *moment < -kMost || *moment > kMost) return unknown;
    return ListingPlace{*moment, *number, *name, *about};
}

std::string stamp_text(WallTime time) {
    const auto millis = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch());
    const auto seconds = std::chrono::floor<std::chrono::seconds>(millis);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(seconds.count())),
                       (millis - seconds).count());
}

ApiJson row_json(ListingKind kind, const ListingRow& row) {
    const auto columns = listing_columns(kind);
    ApiJson out = ApiJson::object();
    for (std::size_t i = 0; i < columns.size() && i < row.size(); ++i) {
        if (!row[i]) continue;
        const std::string name(columns[i].name);
        if (columns[i].type == ListingType::text) {
            out[name] = *row[i];
        } else {
            const std::int64_t value = number_in<std::int64_t>(*row[i]).value_or(0);
            if (columns[i].type == ListingType::number) {
                out[name] = value;
            } else {
                out[name] = stamp_text(WallTime(std::chrono::microseconds(value)));
            }
        }
    }
    return out;
}

}  // namespace homeostat
