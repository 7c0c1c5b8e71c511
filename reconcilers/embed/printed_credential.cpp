#include "reconcilers/embed/printed_credential.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "reconcilers/embed/request_text.hpp"
#include "reconcilers/embed/secret.hpp"

namespace homeostat {

namespace {

using Json = nlohmann::json;

constexpr std::array<std::string_view, 4> kTokens{"token", "access_token", "accessToken", "Secret"};
constexpr std::array<std::string_view, 2> kBelow{"status", "credential"};  // ExecCredential; gcloud config config-helper
constexpr std::array<std::string_view, 6> kEnds{"expires_at", "expirationTimestamp", "expires_on", "token_expiry",
                                                "expiry",     "Expiration"};
constexpr std::array<std::string_view, 2> kLives{"expires_in", "expiresIn"};
constexpr double kMilliseconds = 1e11;  // from here on a number of an epoch is not of seconds
constexpr double kLongest = 10.0 * 365 * 86'400;

Error wrong(std::string message) {
    return {.cls = ErrorClass::auth, .message = std::move(message), .origin = Origin::user, .code = std::string(kCredentialCode)};
}

std::optional<int> digits(std::string_view& text, std::size_t count) {
    int out = 0;
    if (text.size() < count) return std::nullopt;
    const std::string_view part = text.substr(0, count);
    const auto [end, ec] = std::from_chars(part.data(), part.data() + part.size(), out);
    if (ec != std::errc() || end != part.data() + part.size() || part.front() == '-') return std::nullopt;
    text.remove_prefix(count);
    return out;
}

bool skip(std::string_view& text, std::string_view any) {
    if (text.empty() || any.find(text.front()) == std::string_view::npos) return false;
    text.remove_prefix(1);
    return true;
}

// "Z" or "+02:00": what is to be taken off.
std::optional<std::chrono::minutes> offset(std::string_view text) {
    if (text == "Z" || text == "z") return std::chrono::minutes(0);
    const int sign = text.starts_with('-') ? -1 : 1;
    if (!skip(text, "+-")) return std::nullopt;
    const std::optional<int> hours = digits(text, 2);
    skip(text, ":");
    const std::optional<int> minutes = digits(text, 2);
    if (!hours || !minutes || !text.empty() || *hours > 23 || *minutes > 59) return std::nullopt;
    return std::chrono::minutes(sign * (*hours * 60 + *minutes));
}

std::optional<double> number_of(const Json& value) {
    if (value.is_number()) return value.get<double>();
    if (!value.is_string()) return std::nullopt;
    const std::string& text = value.get_ref<const std::string&>();
    double out = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (text.empty() || ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return out;
}

bool is_absent(const Json& value) {
    return value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty());
}

// Seconds from now on.
std::optional<double> seconds_until(const Json& value, WallTime now) {
    const double since = std::chrono::duration<double>(now.time_since_epoch()).count();
    if (const std::optional<double> epoch = number_of(value)) return (*epoch >= kMilliseconds ? *epoch / 1000 : *epoch) - since;
    if (!value.is_string()) return std::nullopt;
    const std::optional<WallTime> time = rfc3339_time(value.get_ref<const std::string&>());
    if (!time) return std::nullopt;
    return std::chrono::duration<double>(time->time_since_epoch()).count() - since;
}

Result<std::optional<Duration>> life_of(const Json& object, WallTime now) {
    std::optional<double> seconds;
    std::string_view named;
    const auto look = [&](std::string_view key, auto&& read) {
        const auto it = object.find(key);
        if (!named.empty() || it == object.end() || is_absent(*it)) return;
        named = key;
        seconds = read(*it);
    };
    for (const std::string_view key : kEnds) look(key, [&](const Json& value) { return seconds_until(value, now); });
    for (const std::string_view key : kLives) look(key, [](const Json& value) { return number_of(value); });
    if (named.empty()) return std::optional<Duration>();
    if (!seconds || !std::isfinite(*seconds)) {
        return wrong(
            fmt::format("printed \"{}\" that is neither a time as RFC 3339 has it (2026-01-01T00:00:00Z) nor a number of "
                        "seconds",
                        named));
    }
    if (*seconds <= 0) {
        return wrong(
            fmt::format("printed a credential that has expired {:.0f} s ago, if the clock of this machine is right", -*seconds));
    }
    return std::optional(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(std::min(*seconds, kLongest))));
}

Result<std::string> fit(std::string secret) {
    if (secret.empty()) return wrong("printed an empty credential");
    if (std::any_of(secret.begin(), secret.end(), [](unsigned char c) { return c <= 0x20 || c >= 0x7f; }))
        return wrong("printed a credential with blanks, control characters or letters that are not ASCII in it");
    return secret;
}

Result<PrintedCredential> of_object(const Json& object, WallTime now) {
    std::vector<const Json*> places{&object};
    for (const std::string_view key : kBelow) {
        if (const auto it = object.find(key); it != object.end() && it->is_object()) places.push_back(&*it);
    }
    for (const Json* place : places) {
        for (const std::string_view key : kTokens) {
            const auto it = place->find(key);
            if (it == place->end() || !it->is_string()) continue;
            Result<std::string> secret = fit(it->get<std::string>());
            if (!secret) return std::move(secret).error();
            Result<std::optional<Duration>> lives = life_of(*place, now);
            if (!lives) return std::move(lives).error();
            return PrintedCredential{*std::move(secret), *lives};
        }
    }
    if (object.contains("AccessKeyId"))
        return wrong("printed keys that sign requests; a token that is sent with them (\"token\") is what is wanted");
    return wrong("printed JSON without \"token\", \"access_token\" or \"status\": {\"token\"}");
}

}  // namespace

std::optional<WallTime> rfc3339_time(std::string_view text) {
    namespace chrono = std::chrono;
    const auto year = digits(text, 4);
    if (!year || !skip(text, "-")) return std::nullopt;
    const auto month = digits(text, 2);
    if (!month || !skip(text, "-")) return std::nullopt;
    const auto day = digits(text, 2);
    if (!day || !skip(text, "Tt ")) return std::nullopt;
    const auto hour = digits(text, 2);
    if (!hour || !skip(text, ":")) return std::nullopt;
    const auto minute = digits(text, 2);
    if (!minute || !skip(text, ":")) return std::nullopt;
    const auto second = digits(text, 2);
    if (!second) return std::nullopt;
    if (skip(text, ".")) {
        if (!digits(text, 1)) return std::nullopt;
        while (digits(text, 1)) {
        }
    }
    const auto off = offset(text);
    const chrono::year_month_day date{chrono::year(*year), chrono::month(static_cast<unsigned>(*month)),
                                      chrono::day(static_cast<unsigned>(*day))};
    if (!off || !date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
    return WallTime(chrono::sys_days(date)) + chrono::hours(*hour) + chrono::minutes(*minute) + chrono::seconds(*second) - *off;
}

Result<PrintedCredential> read_printed_credential(std::string_view output, WallTime now) {
    constexpr std::string_view kBlank = " \t\r\n";
    output = without_mark(output);
    const std::size_t first = std::min(output.find_first_not_of(kBlank), output.size());
    output.remove_prefix(first);
    output = output.substr(0, output.find_last_not_of(kBlank) + 1);
    if (output.empty()) return wrong("printed nothing");
    if (output.front() == '{') {
        const Json json = Json::parse(output, nullptr, false);
        if (!json.is_object()) return wrong("printed what begins like JSON and is none");
        return of_object(json, now);
    }
    if (output.front() == '<' || output.front() == '[' || output.front() == '"')
        return wrong("printed neither a token nor a JSON object with one");
    if (output.find_first_of(kBlank) != std::string_view::npos)
        return wrong("printed several words; a token is one, and JSON begins with {");
    Result<std::string> secret = fit(std::string(output));
    if (!secret) return std::move(secret).error();
    return PrintedCredential{*std::move(secret), std::nullopt};
}

}  // namespace homeostat
