#include "reconcilers/embed/http_error.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "reconcilers/embed/error_body.hpp"
#include "reconcilers/embed/limit_words.hpp"
#include "reconcilers/embed/request_text.hpp"
#include "reconcilers/embed/retry_hint.hpp"

namespace homeostat {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMaxSaid = 2 * 1024;  // of what the other side said

// What the table looks at.
struct Seen : ErrorBody {
    unsigned status = 0;
    std::optional<milliseconds> wait;  // a usable Retry-After or one of its kin, or what the body says
    std::string lower;                 // the message in lower case, for matching
};

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// "You exceeded your current quota" is said of a minute's quota as well (Google's RESOURCE_EXHAUSTED): only codes tell.
bool out_of_quota(const Seen& s) {
    return s.status == 429 && (has(s.code, "insufficient_quota") || has(s.code, "billing") || has(s.lower, "insufficient_quota"));
}

bool has_any(const std::string& text, std::span<const std::string_view> parts) {
    return std::any_of(parts.begin(), parts.end(), [&](std::string_view part) { return has(text, part); });
}

// What it will not read, however short.
bool filtered(const Seen& s) {
    static constexpr std::array<std::string_view, 6> kCodes{"content_filter", "content_policy", "contentfilter",
                                                            "responsibleai",  "moderation",     "safety"};
    static constexpr std::array<std::string_view, 4> kWords{"content management policy", "content policy", "content filter",
                                                            "safety system"};
    return has_any(s.code, kCodes) || has_any(s.lower, kWords);
}

bool over_token_limit(const Seen& s) {
    if (filtered(s)) return false;
    return has(s.code, "context_length") || has(s.code, "max_tokens") || has(s.code, "string_above_max_length") ||
           has(s.lower, "maximum context length") || has(s.lower, "context length") || has(s.lower, "too many tokens") ||
           has(s.lower, "max_tokens_per_request") || has(s.lower, "maximum request size") || has(s.lower, "too many inputs") ||
           has(s.lower, "input is too long") || has(s.lower, "token limit") || has(s.lower, "must have less than") ||
           limit_in_words(s.lower) != LimitOf::nothing;
}

// It says so with any status while it starts, or after a model was put out of memory.
bool without_its_model(const Seen& s) {
    static constexpr std::array<std::string_view, 15> kWords{
        "no models loaded", "no model loaded", "failed to load model", "failed to load the model",
        "not loaded",       "loading model",   "is loading",           "being loaded",
        "reloading",        "warming up",      "starting up",          "is not ready",
        "not ready yet",    "shutting down",   "out of memory"};
    return s.status >= 400 && s.status != 401 && s.status != 403 && s.status != 429 && has_any(s.lower, kWords);
}

// What is refused for words alone: many say so with 400, and some within an answer of 200.
bool refused_input(const Seen& s) { return s.status == 400 || s.status == 422; }
bool refused_in_words(const Seen& s) { return refused_input(s) || s.status / 100 == 2; }
bool refused_by_many(const Seen& s) { return s.status != 429 && s.status != 404 && (s.status / 100 == 4 || s.status / 100 == 2); }

// What a proxy keeps accounts of, which answers 400 as readily as 402.
bool over_budget(const Seen& s) {
    static constexpr std::array<std::string_view, 4> kWords{"budget has been exceeded", "exceeded budget", "max budget",
                                                            "over budget"};
    const bool refused = s.status / 100 == 4 || s.status / 100 == 2;
    return refused && (has(s.code, "budget_exceeded") || has_any(s.lower, kWords));
}

// The bill is not paid, or what was paid for is used up: with 400, 403, 429, or within an answer of 200.
bool bill_unpaid(const Seen& s) {
    static constexpr std::array<std::string_view, 9> kCodes{
        "insufficient_quota", "billing",        "arrearage",       "insufficientbalance", "insufficient_balance",
        "insufficient_funds", "accountoverdue", "account_overdue", "insufficient_credit"};
    static constexpr std::array<std::string_view, 14> kWords{"insufficient_quota",
                                                             "insufficient credit",
                                                             "insufficient balance",
                                                             "insufficient funds",
                                                             "balance is insufficient",
                                                             "balance insufficient",
                                                             "balance is not enough",
                                                             "out of credits",
                                                             "credit balance is",
                                                             "billing hard limit",
                                                             "overdue balance",
                                                             "account in good standing",
                                                             "余额不足",
                                                             "欠费"};
    // With 429 also said of what a minute may have.
    static constexpr std::array<std::string_view, 3> kUnsure{"billing account", "billing details", "account is in good standing"};
    // Of what passes with the minute, a wait is told.
    static constexpr std::array<std::string_view, 6> kLong{"/ month", "per month", "monthly", "per-day", "per day", "daily"};
    if (s.status == 429 && !s.wait && has_any(s.lower, kLong)) return true;
    if (s.status != 429 && !refused_by_many(s)) return false;
    return has_any(s.code, kCodes) || has_any(s.lower, kWords) || (s.status != 429 && has_any(s.lower, kUnsure));
}

// The key is refused, or whose it is, with another status than 401 and 403.
bool key_refused(const Seen& s) {
    static constexpr std::array<std::string_view, 13> kCodes{
        "api_key_invalid",     "invalid_api_key",     "invalidapikey",        "apikeyinvalid",    "api_key_expired",
        "api_key_service",     "unauthenticated",     "authentication_error", "invalidsignature", "missingauthentication",
        "incompletesignature", "account_deactivated", "consumer_suspended"};
    // A proxy passes on what it was told, with a status of its own.
    static constexpr std::array<std::string_view, 5> kExceptions{"unrecognizedclient", "expiredtoken", "accessdenied",
                                                                 "authenticationerror", "invalid_api_key"};
    static constexpr std::array<std::string_view, 7> kOf{"api key",   "api-key",      "api_key",       "apikey",
                                                         "api token", "access token", "security token"};
    static constexpr std::array<std::string_view, 12> kHow{"not valid", "invalid",      "incorrect", "expired",
                                                           "missing",   "not provided", "required",  "not found",
                                                           "disabled",  "revoked",      "no api",    "wrong"};
    static constexpr std::array<std::string_view, 10> kWords{"authentication failed",
                                                             "authentication error",
                                                             "invalid authentication",
                                                             "invalid credential",
                                                             "token seems invalid",
                                                             "organization has been disabled",
                                                             "account has been deactivated",
                                                             "account is not active",
                                                             "身份验证失败",
                                                             "令牌已过期"};
    if (s.status >= 500 && (has_any(s.code, kExceptions) || has_any(s.lower, kExceptions))) return true;
    if (!refused_by_many(s)) return false;
    return has_any(s.code, kCodes) || has_any(s.code, kExceptions) || has_any(s.lower, kExceptions) || has_any(s.lower, kWords) ||
           (has_any(s.lower, kOf) && has_any(s.lower, kHow));
}

// Of a gateway that passes the throttling of whom it asks on with another status.
bool throttled_in_words(const Seen& s) {
    static constexpr std::array<std::string_view, 4> kCodes{"throttling", "rate_limit", "ratelimit", "toomanyrequests"};
    static constexpr std::array<std::string_view, 6> kWords{"throttlingexception", "rate limit exceeded", "rate limit reached",
                                                            "rate exceeded",       "qps request limit",   "请求过于频繁"};
    if (s.status == 401 || s.status == 413 || s.status / 100 == 3) return false;
    const bool many = has(s.lower, "too many requests") && !has(s.lower, "batch");
    return has_any(s.code, kCodes) || has_any(s.lower, kWords) || many;
}

// It is offered, but not to where the request comes from.
bool refused_from_here(const Seen& s) {
    static constexpr std::array<std::string_view, 4> kWords{"location is not supported",
                                                            "country, region, or territory not supported",
                                                            "not available in your country", "not available in your region"};
    return refused_by_many(s) && (has(s.code, "unsupported_country") || has_any(s.lower, kWords));
}

// Members of a request that it wants otherwise, or not at all.
constexpr std::array<std::string_view, 9> kOfTheRequest{"encoding_format",
                                                        "input_type",
                                                        "task_type",
                                                        "extra inputs are not permitted",
                                                        "extra fields not permitted",
                                                        "unrecognized request",
                                                        "unknown parameter",
                                                        "unsupported parameter",
                                                        "matryoshka"};

// The declaration is wrong, whatever the text: no smaller request will help.
bool about_declaration(const Seen& s) {
    return s.param == "model" || s.param == "dimensions" || s.param == "encoding_format" || has(s.code, "model_not_found") ||
           has(s.code, "unsupported_parameter") || has(s.code, "unknown_parameter") || has_any(s.lower, kOfTheRequest);
}

// Whatever class it has: numbers may be asked for instead.
bool about_encoding(const Seen& s) {
    static constexpr std::array<std::string_view, 2> kWords{"encoding_format", "base64"};
    const bool refused = s.status == 400 || s.status == 422 || s.status == 500 || s.status == 501;
    return refused && (s.param == "encoding_format" || has_any(s.lower, kWords));
}

// One request alone is more than the rate permits: it would be refused at any time.
bool more_than_a_minute(const Seen& s) { return s.status == 429 && has(s.lower, "request too large") && has(s.lower, "reduced"); }

struct Row {
    std::string_view name;
    bool (*matches)(const Seen&);
    ErrorClass cls;
    Origin origin;
    std::string_view advice;  // none where only who has asked for more of it can tell: a text, the size, or the provider
};

// First match decides. Every row has its case in tests/unit/embed_http_error_test.cpp.
constexpr std::array<Row, 20> kRows{{
    {"budget used up", over_budget, ErrorClass::auth, Origin::user, "raise the budget; waiting does not help"},
    {"quota used up", [](const Seen& s) { return out_of_quota(s) || bill_unpaid(s); }, ErrorClass::auth, Origin::user,
     "raise the quota or pay the bill; waiting does not help"},
    {"not offered here", refused_from_here, ErrorClass::auth, Origin::user,
     "it is asked from where it is not offered; declare a proxy, or another provider"},
    {"no model yet", without_its_model, ErrorClass::transient, Origin::theirs,
     "it is sent again; check the endpoint where that lasts"},
    {"more than a minute may have", more_than_a_minute, ErrorClass::too_large, Origin::ours, ""},
    {"throttled", [](const Seen& s) { return s.status == 429 || throttled_in_words(s); }, ErrorClass::throttled, Origin::theirs,
     "it is sent again later"},
    {"overloaded", [](const Seen& s) { return s.status == 529 || (s.status == 503 && s.wait); }, ErrorClass::throttled,
     Origin::theirs, "it is sent again later"},
    {"credential refused", [](const Seen& s) { return s.status == 401 || s.status == 403 || key_refused(s); }, ErrorClass::auth,
     Origin::user, "check the provider's credential and its rights"},
    {"payment required", [](const Seen& s) { return s.status == 402; }, ErrorClass::auth, Origin::user, "check the account"},
    {"request too large", [](const Seen& s) { return s.status == 413; }, ErrorClass::too_large, Origin::ours, ""},
    {"over the token limit", [](const Seen& s) { return refused_in_words(s) && over_token_limit(s); }, ErrorClass::too_large,
     Origin::ours, ""},
    {"declaration refused", [](const Seen& s) { return refused_in_words(s) && about_declaration(s); }, ErrorClass::invalid,
     Origin::user, "correct the model, dimensions or encoding of the provider or pipeline"},
    {"input refused", refused_input, ErrorClass::content, Origin::user, ""},
    {"request timeout", [](const Seen& s) { return s.status == 408 || s.status == 425; }, ErrorClass::transient, Origin::theirs,
     "it is sent again"},
    {"not found", [](const Seen& s) { return s.status == 404 || s.status == 410; }, ErrorClass::not_found, Origin::user,
     "check the provider's endpoint and model"},
    {"redirect", [](const Seen& s) { return s.status >= 300 && s.status < 400; }, ErrorClass::invalid, Origin::user,
     "redirects are not followed; declare the address it points to"},
    {"other refusal", [](const Seen& s) { return s.status >= 400 && s.status < 500; }, ErrorClass::invalid, Origin::user,
     "check the provider's endpoint"},
    {"text too long", [](const Seen& s) { return s.status >= 500 && limit_in_words(s.lower) == LimitOf::text; },
     ErrorClass::too_large, Origin::ours, ""},
    {"server fault", [](const Seen& s) { return s.status >= 500; }, ErrorClass::transient, Origin::theirs, "it is sent again"},
    {"not an answer", [](const Seen&) { return true; }, ErrorClass::bad_answer, Origin::theirs,
     "the endpoint does not behave like an embeddings endpoint"},
}};

constexpr auto kRowNames = [] {
    std::array<std::string_view, kRows.size()> names{};
    for (std::size_t i = 0; i < names.size(); ++i) names[i] = kRows[i].name;
    return names;
}();

struct FaultRow {
    ErrorClass cls;
    Origin origin;
    std::string_view code;
    std::string_view text;
};

// One row a fault, in the order of the enum.
constexpr std::array<FaultRow, 14> kFaults{{
    {ErrorClass::local, Origin::ours, "resolve", "the host name cannot be resolved; check the endpoint and this machine's DNS"},
    {ErrorClass::local, Origin::ours, "refused", "nothing accepts connections there; check that the endpoint is up"},
    {ErrorClass::local, Origin::ours, "unreachable", "it cannot be reached from this machine; check routes and limits"},
    {ErrorClass::auth, Origin::user, "certificate",
     "its certificate is not trusted; declare the CA of the endpoint as ca_file, or mend the certificate"},
    {ErrorClass::transient, Origin::theirs, "tls", "the TLS handshake failed"},
    {ErrorClass::transient, Origin::theirs, "reset", "the connection was lost before the answer was complete"},
    {ErrorClass::timeout, Origin::theirs, "timeout", "no complete answer within the deadline"},
    {ErrorClass::cancelled, Origin::ours, "stopped", "the call was given up because we were asked to stop"},
    {ErrorClass::bad_answer, Origin::theirs, "malformed", "what came back is not HTTP"},
    {ErrorClass::bad_answer, Origin::theirs, "body_limit", "the answer is larger than we accept"},
    {ErrorClass::bad_answer, Origin::theirs, "encoding", "the answer cannot be unpacked"},
    {ErrorClass::local, Origin::ours, "proxy",
     "the proxy does not let us through; check the provider's proxy, or HTTPS_PROXY, HTTP_PROXY and NO_PROXY"},
    {ErrorClass::auth, Origin::user, "client_certificate",
     "it asks who we are; declare a client_certificate, with its client_key, that it accepts"},
    {ErrorClass::auth, Origin::user, "forbidden",
     "it leads to an address that is not asked; whoever runs homeostat lists it in provider.allow_hosts of its settings, if it "
     "is meant"},
}};
static_assert(kFaults.size() == static_cast<std::size_t>(HttpFault::forbidden) + 1);

milliseconds bounded(double seconds) {
    return milliseconds(static_cast<std::int64_t>(std::ceil(
        std::clamp(seconds * 1000, static_cast<double>(kMinRetryAfter.count()), static_cast<double>(kMaxRetryAfter.count())))));
}

// A header says it to programs; what is said to people counts where there is none.
Seen look(const HttpAnswer& answer, WallTime now) {
    Seen seen;
    static_cast<ErrorBody&>(seen) = read_error_body(answer.body);
    seen.status = answer.status;
    seen.lower = lower_letters(seen.text);
    seen.wait = retry_after(answer.headers, now);
    if (seen.wait) return seen;
    if (!seen.asked_for) seen.asked_for = seconds_in_words(seen.lower);
    if (seen.asked_for) seen.wait = bounded(*seen.asked_for);
    return seen;
}

const Row& row_of(const Seen& seen) {
    return *std::find_if(kRows.begin(), kRows.end(), [&](const Row& row) { return row.matches(seen); });
}

std::optional<double> seconds_until_date(std::string_view text, WallTime now) {
    std::tm tm{};
    const std::string copy(text);
    const char* end = ::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (end == nullptr || *end != '\0') return std::nullopt;
    // In seconds: a year that an endpoint makes up may lie beyond what the clock can count in its own steps.
    return static_cast<double>(::timegm(&tm)) - std::chrono::duration<double>(now.time_since_epoch()).count();
}

// The reset headers come with every answer, so they only speak where nothing remains.
std::optional<double> reset_of(const HttpHeaders& headers, std::string_view what) {
    if (find_header(headers, fmt::format("x-ratelimit-remaining-{}", what)) != "0") return std::nullopt;
    return seconds_of(find_header(headers, fmt::format("x-ratelimit-reset-{}", what)));
}

}  // namespace

std::string_view find_header(const HttpHeaders& headers, std::string_view name) noexcept {
    const auto same = [](unsigned char a, unsigned char b) {
        const auto fold = [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; };
        return fold(a) == fold(b);
    };
    for (const auto& [key, value] : headers) {
        if (std::equal(key.begin(), key.end(), name.begin(), name.end(), same)) return value;
    }
    return {};
}

std::optional<milliseconds> retry_after(const HttpHeaders& headers, WallTime now) {
    std::optional<double> longest;
    const auto consider = [&](std::optional<double> seconds) {
        if (seconds && (!longest || *seconds > *longest)) longest = seconds;
    };
    const std::string_view header = find_header(headers, "retry-after");
    const auto seconds = seconds_of(header);
    consider(seconds ? seconds : seconds_until_date(header, now));
    if (const auto ms = seconds_of(find_header(headers, "retry-after-ms"))) consider(*ms / 1000);
    consider(reset_of(headers, "requests"));
    consider(reset_of(headers, "tokens"));
    if (!longest) return std::nullopt;
    return bounded(*longest);
}

Error error_of_fault(HttpFault fault, std::string_view where, std::string_view detail) {
    const FaultRow& row = kFaults[static_cast<std::size_t>(fault)];
    Error e{
        .cls = row.cls, .message = fmt::format("{}: {}", where, row.text), .origin = row.origin, .code = std::string(row.code)};
    if (!detail.empty()) e.message += fmt::format(" ({})", clean_excerpt(detail));
    return e;
}

Error error_of_status(const HttpAnswer& answer, std::string_view where, WallTime now) {
    const Seen seen = look(answer, now);
    const Row& row = row_of(seen);
    Error e{.cls = row.cls, .message = {}, .origin = row.origin, .code = std::to_string(answer.status)};
    if (about_encoding(seen)) e.code = kEncodingRefused;
    e.message = fmt::format("{} answered {} ({})", where, answer.status, row.name);
    if (const auto to = find_header(answer.headers, "location"); row.name == "redirect" && !to.empty()) {
        e.message += fmt::format(" to {}", clean_excerpt(to));
    }
    if (!seen.text.empty()) e.message += fmt::format(", saying \"{}\"", clean_excerpt(seen.text));
    if (!row.advice.empty()) e.message += fmt::format("; {}", row.advice);
    e.said = clean_excerpt(seen.text, kMaxSaid);
    if (e.cls == ErrorClass::throttled || e.cls == ErrorClass::transient) e.retry_after = seen.wait;
    return e;
}

std::optional<Error> error_inside(const HttpAnswer& answer, std::string_view where, WallTime now) {
    if (answer.body.size() > kMaxErrorBody) return std::nullopt;
    const auto whole = nlohmann::json::parse(without_mark(answer.body), nullptr, false);
    const nlohmann::json& json = first_of(whole);
    if (!json.is_object() || !tells_an_error(json)) return std::nullopt;
    const auto error = json.find("error");
    HttpAnswer inside = answer;
    for (const nlohmann::json* at : {error != json.end() && error->is_object() ? &*error : &json, &json}) {
        for (const char* key : {"code", "status"}) {
            const auto it = at->find(key);
            const bool number = it != at->end() && it->is_number_integer();
            if (number && *it >= 400 && *it < 600 && inside.status == answer.status) inside.status = it->get<unsigned>();
        }
    }
    Error e = error_of_status(inside, where, now);
    if (inside.status != answer.status)
        e.message = fmt::format("an error inside an answer of status {}: {}", answer.status, e.message);
    return e;
}

std::span<const std::string_view> http_error_rows() noexcept { return kRowNames; }

std::string_view http_error_row(const HttpAnswer& answer) { return row_of(look(answer, WallTime{})).name; }

}  // namespace homeostat
