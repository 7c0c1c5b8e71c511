#include "store/pg/timestamps.hpp"

#include <fmt/format.h>

#include <charconv>

#include "store/pg/session.hpp"

namespace homeostat {

namespace {

// Reads digits up to `stop` characters; advances `text`.
int number(std::string_view& text, std::size_t digits) {
    int out = 0;
    const std::size_t n = std::min(digits, text.size());
    const char* const begin = text.data();  // NOLINT(bugprone-suspicious-stringview-data-usage): an end is given
    const auto [end, problem] = std::from_chars(begin, begin + n, out);
    if (problem != std::errc{}) throw StoreFailure(internal_error("the database sent a time that cannot be read"));
    text.remove_prefix(static_cast<std::size_t>(end - begin));
    return out;
}

void skip(std::string_view& text, std::string_view any_of) {
    if (!text.empty() && any_of.find(text.front()) != std::string_view::npos) text.remove_prefix(1);
}

}  // namespace

std::string format_timestamp(WallTime t) {
    using namespace std::chrono;
    const auto days_part = floor<days>(t);
    const year_month_day date(days_part);
    const hh_mm_ss time(floor<microseconds>(t - days_part));
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                       static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), time.hours().count(),
                       time.minutes().count(), time.seconds().count(), time.subseconds().count());
}

WallTime parse_timestamp(std::string_view text) {
    using namespace std::chrono;
    const int y = number(text, 6);
    skip(text, "-");
    const int m = number(text, 2);
    skip(text, "-");
    const int d = number(text, 2);
    skip(text, " T");
    const int h = number(text, 2);
    skip(text, ":");
    const int min = number(text, 2);
    skip(text, ":");
    const int s = number(text, 2);
    std::int64_t micros = 0;
    if (!text.empty() && text.front() == '.') {
        text.remove_prefix(1);
        const std::size_t before = text.size();
        micros = number(text, 6);
        for (std::size_t digits = before - text.size(); digits < 6; ++digits) micros *= 10;
    }
    minutes offset{0};
    if (!text.empty() && (text.front() == '+' || text.front() == '-')) {
        const bool west = text.front() == '-';
        text.remove_prefix(1);
        offset = hours(number(text, 2));
        skip(text, ":");
        if (!text.empty()) offset += minutes(number(text, 2));
        if (west) offset = -offset;
    }
    const sys_days date = year(y) / month(static_cast<unsigned>(m)) / day(static_cast<unsigned>(d));
    return time_point_cast<WallTime::duration>(date + hours(h) + minutes(min) + seconds(s) + microseconds(micros) - offset);
}

}  // namespace homeostat
