#include "reconcilers/embed/limit_reset.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string>

#include "reconcilers/embed/http_error.hpp"
#include "reconcilers/embed/request_text.hpp"
#include "reconcilers/embed/retry_hint.hpp"

namespace homeostat {

namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;

constexpr double kInstant = 1e9;        // seconds: whatever is more is no length of time, but an instant
constexpr std::size_t kMostBody = 64UL * 1024;
constexpr int kDeepest = 4;  // objects in objects of a body

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    return out;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t' || text.front() == '"')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '"')) text.remove_suffix(1);
    return text;
}

double seconds_now(WallTime now) { return std::chrono::duration<double>(now.time_since_epoch()).count(); }

// What is over asks for nothing: it is as likely that clocks differ.
std::optional<double> until(double instant, WallTime now) {
    const double left = instant - seconds_now(now);
    return left > 0 ? std::optional(left) : std::nullopt;
}

std::optional<double> number(std::string_view text) {
    double v = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), v, std::chars_format::fixed);
    return ec == std::errc() && end == text.data() + text.size() && std::isfinite(v) ? std::optional(v) : std::nullopt;
}

// "Z", "+02:00", "-0530", or nothing: seconds east.
std::optional<double> zone(std::string_view text) {
    if (text.empty() || text == "Z" || text == "z") return 0;
    if (text.front() != '+' && text.front() != '-') return std::nullopt;
    std::string digits;
    for (const char c : text.substr(1)) {
        if (c != ':') digits += c;
    }
    const auto n = digits.size() == 4 ? number(digits) : std::nullopt;
    if (!n || *n < 0) return std::nullopt;
    const double hours = std::floor(*n / 100);
    return (text.front() == '-' ? -1 : 1) * (hours * 3600 + (*n - hours * 100) * 60);
}

// "2026-01-02T03:04:05.678Z", with a blank for the T as well.
std::optional<double> iso_instant(std::string_view text) {
    constexpr std::size_t kWhole = 19;
    if (text.size() < kWhole) return std::nullopt;
    std::string head(text.substr(0, kWhole));
    if (head[10] == ' ' || head[10] == 't') head[10] = 'T';
    std::tm tm{};
    const char* end = ::strptime(head.c_str(), "%Y-%m-%dT%H:%M:%S", &tm);
    if (end == nullptr || *end != '\0') return std::nullopt;
    text.remove_prefix(kWhole);
    double fraction = 0;
    if (text.starts_with('.')) {
        const std::size_t over = std::min(text.find_first_not_of("0123456789", 1), text.size());
        fraction = number("0" + std::string(text.substr(0, over))).value_or(0);
        text.remove_prefix(over);
    }
    const auto east = zone(text);
    if (!east) return std::nullopt;
    return static_cast<double>(::timegm(&tm)) + fraction - *east;
}

std::optional<double> http_instant(std::string_view text) {
    const std::string copy(text);
    std::tm tm{};
    const char* end = ::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (end == nullptr || *end != '\0') return std::nullopt;
    return static_cast<double>(::timegm(&tm));
}

// However it is written: until then.
std::optional<double> seconds_until(std::string_view value, WallTime now) {
    value = trimmed(value);
    if (const auto n = number(value)) {
        if (*n < 0) return std::nullopt;
        if (*n < kInstant) return n;
        const double unit = *n >= 1e17 ? 1e9 : *n >= 1e14 ? 1e6 : *n >= 1e11 ? 1e3 : 1;
        return until(*n / unit, now);
    }
    if (const auto length = seconds_of(value)) return length;
    auto instant = iso_instant(value);
    if (!instant) instant = http_instant(value);
    return instant ? until(*instant, now) : std::nullopt;
}

bool is_none(std::string_view remaining) {
    const auto n = number(trimmed(remaining));
    return n && *n <= 0;
}

void longer(std::optional<double>& longest, std::optional<double> seconds) {
    if (seconds && (!longest || *seconds > *longest)) longest = seconds;
}

// What is known of one limit.
struct Limit {
    std::string_view remaining;
    std::string_view reset;

    void take(std::string_view parameter) {
        const std::size_t equals = parameter.find('=');
        if (equals == std::string_view::npos) return;
        const std::string name = lower(trimmed(parameter.substr(0, equals)));
        const std::string_view value = trimmed(parameter.substr(equals + 1));
        if (name == "remaining" || name == "r") remaining = value;
        if (name == "reset" || name == "t") reset = value;
    }
    bool whole() const { return !remaining.empty() && !reset.empty(); }
    std::optional<double> wait(WallTime now) const {
        return whole() && is_none(remaining) ? seconds_until(reset, now) : std::nullopt;
    }
};

template <class F>
void each_part(std::string_view text, char between, const F& f) {
    for (;;) {
        const std::size_t end = text.find(between);
        f(text.substr(0, end));
        if (end == std::string_view::npos) return;
        text.remove_prefix(end + 1);
    }
}

// "limit=10, remaining=0, reset=3" is of one limit; `"burst";r=0;t=3, "day";r=100;t=36000` of several.
std::optional<double> of_drafts(std::string_view value, WallTime now) {
    std::optional<double> longest;
    Limit one;
    each_part(value, ',', [&](std::string_view item) {
        Limit own;
        each_part(item, ';', [&](std::string_view parameter) {
            own.take(parameter);
            one.take(parameter);
        });
        longer(longest, own.wait(now));
        if (own.whole()) one = {};
    });
    longer(longest, one.wait(now));
    return longest;
}

// What stands for an amount or a length of time in a body: a number, or a text.
std::string scalar(const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    return value.is_number() ? value.dump() : std::string();
}

// Of members that ask for a wait: what they are counted in.
struct Member {
    std::string_view name;  // without "_" and in lower case
    double unit;            // seconds
};
constexpr std::array<Member, 16> kMembers{{{"estimatedtime", 1},
                                           {"retryafter", 1},
                                           {"retryafterseconds", 1},
                                           {"retryafterms", 0.001},
                                           {"retryaftermilliseconds", 0.001},
                                           {"retryin", 1},
                                           {"retryinseconds", 1},
                                           {"retrydelay", 1},
                                           {"retryat", 1},
                                           {"waitseconds", 1},
                                           {"waitms", 0.001},
                                           {"resetsinseconds", 1},
                                           {"resetinseconds", 1},
                                           {"resetat", 1},
                                           {"resetsat", 1},
                                           {"resettime", 1}}};

std::optional<double> member_wait(std::string_view key, const Json& value, WallTime now) {
    std::string name = lower(key);
    std::erase_if(name, [](char c) { return c == '_' || c == '-'; });
    const auto* member = std::find_if(kMembers.begin(), kMembers.end(), [&](const Member& m) { return m.name == name; });
    if (member == kMembers.end()) return std::nullopt;
    const std::string said = scalar(value);
    if (member->unit == 1) return seconds_until(said, now);
    const auto n = number(trimmed(said));
    return n && *n >= 0 ? std::optional(*n * member->unit) : std::nullopt;
}

std::optional<double> passed_on(const Json& object, WallTime now) {
    HttpHeaders headers;
    for (const auto& [key, value] : object.items()) headers.emplace_back(key, scalar(value));
    auto seconds = seconds_until_reset(headers, now);
    if (const auto asked = retry_after(headers, now); asked && !seconds) seconds = std::chrono::duration<double>(*asked).count();
    return seconds;
}

std::optional<double> in_object(const Json& object, WallTime now, int deep) {
    std::optional<double> longest;
    if (deep > kDeepest) return longest;
    for (const auto& [key, value] : object.items()) {
        if (value.is_object()) {
            longer(longest, lower(key) == "headers" ? passed_on(value, now) : in_object(value, now, deep + 1));
        } else if (value.is_array()) {
            for (const Json& item : value) {
                if (item.is_object()) longer(longest, in_object(item, now, deep + 1));
            }
        } else {
            longer(longest, member_wait(key, value, now));
        }
    }
    return longest;
}

}  // namespace

std::optional<double> seconds_until_reset(const HttpHeaders& headers, WallTime now) {
    constexpr std::string_view kReset = "reset";
    std::optional<double> longest;
    for (const auto& [key, value] : headers) {
        std::string name = lower(key);
        if (name == "ratelimit" || name == "x-ratelimit") {
            longer(longest, of_drafts(value, now));
            continue;
        }
        const bool of_limit = name.find("ratelimit") != std::string::npos || name.find("rate-limit") != std::string::npos;
        const std::size_t at = name.find(kReset);
        if (!of_limit || at == std::string::npos) continue;
        const std::string remaining = name.replace(at, kReset.size(), "remaining");
        longer(longest, Limit{find_header(headers, remaining), value}.wait(now));
    }
    return longest;
}

std::optional<double> seconds_in_body(std::string_view body, WallTime now) {
    if (body.size() > kMostBody) return std::nullopt;
    const Json json = Json::parse(without_mark(body), nullptr, false);
    const Json& first = json.is_array() && json.size() == 1 ? json.front() : json;
    return first.is_object() ? in_object(first, now, 1) : std::nullopt;
}

void add_wait(Error& error, const HttpAnswer& answer, WallTime now) {
    if (error.cls != ErrorClass::throttled && error.cls != ErrorClass::transient) return;
    // An instant in the place of a length of time reads as the longest wait there is.
    const bool said = !find_header(answer.headers, "retry-after").empty();
    if (error.retry_after && (said || *error.retry_after < kMaxRetryAfter)) return;
    auto seconds = seconds_until_reset(answer.headers, now);
    if (!seconds) seconds = seconds_in_body(answer.body, now);
    if (!seconds) return;
    const double most = std::chrono::duration<double>(kMaxRetryAfter).count();
    const milliseconds wait(static_cast<std::int64_t>(std::ceil(std::min(*seconds, most) * 1000)));
    error.retry_after = std::max(wait, kMinRetryAfter);
}

}  // namespace homeostat
