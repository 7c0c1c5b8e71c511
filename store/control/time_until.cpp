#include "store/control/time_until.hpp"

#include <fmt/format.h>

#include <regex>

namespace homeostat {

namespace {

// 22007 and 22008: no such day, no such hour.
bool is_no_time(const Error& error) { return error.code.starts_with("2200"); }

}  // namespace

Result<Millis> time_until(Session& session, std::string_view text) {
    static const Statement kUntil{"time_until",
                                  "SELECT (extract(epoch FROM $1::timestamptz - clock_timestamp()) * 1000)::bigint"};
    static const std::regex kForm(R"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d(:?\d\d)?))");
    const auto refused = [&](std::string_view why) {
        return Error{.cls = ErrorClass::invalid, .message = fmt::format("{} {}", text, why), .origin = Origin::user};
    };
    constexpr std::string_view kNone = "is not a time; write it with its zone, such as 2026-11-28T06:00:00+01:00";
    if (!std::regex_match(text.begin(), text.end(), kForm)) return refused(kNone);
    const Result<std::int64_t> millis = guarded([&] { return session.exec(kUntil, Params::of(text)).i64(0, 0); });
    if (!millis) return is_no_time(millis.error()) ? refused(kNone) : millis.error();
    if (*millis <= 0) return refused("has passed");
    return Millis(*millis);
}

}  // namespace homeostat
