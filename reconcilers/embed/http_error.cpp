#include "reconcilers/embed/http_error.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "reconcilers/embed/limit_words.hpp"
#include "reconcilers/embed/request_text.hpp"
#include "reconcilers/embed/retry_hint.hpp"

namespace homeostat {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMaxParsed = 256 * 1024;  // of an error body; beyond it is not a message for people
constexpr std::size_t kMaxSaid = 2 * 1024;           // of what the other side said
constexpr std::size_t kMaxLooked = 2 * 1024;         // of one that is no JSON

// What the table looks at.
struct Seen {
    unsigned status = 0;
    std::optional<milliseconds> wait;  // a usable Retry-After or one of its kin, or what the body says
    std::string code;           // error.code or error.type of the OpenAI shape, lower case
    std::string param;
    std::string text;           // the message as sent
    std::string lower;          // the same in lower case, for matching
    std::optional<double> asked_in_body;  // seconds
};

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// "You exceeded your current quota" is said of a minute's quota as well (Google's RESOURCE_EXHAUSTED): only codes tell.
bool out_of_quota(const Seen& s) {
    return has(s.code, "insufficient_quota") || has(s.code, "billing") || has(s.lower, "insufficient_quota");
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

// What a proxy keeps accounts of, which answers 400 as readily as 402.
bool over_budget(const Seen& s) {
    static constexpr std::array<std::string_view, 8> kWords{
        "budget has been exceeded", "exceeded budget",      "max budget",         "over budget",
        "insufficient credit",      "insufficient balance", "insufficient funds", "out of credits"};
    return s.status >= 400 && s.status < 500 && (has(s.code, "budget_exceeded") || has_any(s.lower, kWords));
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
    std::string_view advice;
};

bool refused_input(const Seen& s) { return s.status == 400 || s.status == 422; }

// First match decides. Every row has its case in tests/unit/embed_http_error_test.cpp.
constexpr std::array<Row, 19> kRows{{
    {"budget used up", over_budget, ErrorClass::auth, Origin::user, "raise the budget; waiting does not help"},
    {"quota used up", [](const Seen& s) { return (s.status == 429 || s.status == 403) && out_of_quota(s); }, ErrorClass::auth,
     Origin::user, "raise the quota or pay the bill; waiting does not help"},
    {"no model yet", without_its_model, ErrorClass::transient, Origin::theirs,
     "it is sent again; check the endpoint where that lasts"},
    {"more than a minute may have", more_than_a_minute, ErrorClass::too_large, Origin::ours, "it is sent again in smaller parts"},
    {"throttled", [](const Seen& s) { return s.status == 429; }, ErrorClass::throttled, Origin::theirs, "it is sent again later"},
    {"overloaded", [](const Seen& s) { return s.status == 529 || (s.status == 503 && s.wait); }, ErrorClass::throttled,
     Origin::theirs, "it is sent again later"},
    {"credential refused", [](const Seen& s) { return s.status == 401 || s.status == 403; }, ErrorClass::auth, Origin::user,
     "check the provider's credential and its rights"},
    {"payment required", [](const Seen& s) { return s.status == 402; }, ErrorClass::auth, Origin::user, "check the account"},
    {"request too large", [](const Seen& s) { return s.status == 413; }, ErrorClass::too_large, Origin::ours,
     "it is sent again in smaller parts"},
    {"over the token limit", [](const Seen& s) { return refused_input(s) && over_token_limit(s); }, ErrorClass::too_large,
     Origin::ours, "it is sent again in smaller parts"},
    {"declaration refused", [](const Seen& s) { return refused_input(s) && about_declaration(s); }, ErrorClass::invalid,
     Origin::user, "correct the model, dimensions or encoding of the provider or pipeline"},
    {"input refused", refused_input, ErrorClass::content, Origin::user, "the document at fault is singled out"},
    {"request timeout", [](const Seen& s) { return s.status == 408 || s.status == 425; }, ErrorClass::transient, Origin::theirs,
     "it is sent again"},
    {"not found", [](const Seen& s) { return s.status == 404 || s.status == 410; }, ErrorClass::not_found, Origin::user,
     "check the provider's endpoint and model"},
    {"redirect", [](const Seen& s) { return s.status >= 300 && s.status < 400; }, ErrorClass::invalid, Origin::user,
     "redirects are not followed; declare the address it points to"},
    {"other refusal", [](const Seen& s) { return s.status >= 400 && s.status < 500; }, ErrorClass::invalid, Origin::user,
     "check the provider's endpoint"},
    {"text too long", [](const Seen& s) { return s.status >= 500 && limit_in_words(s.lower) == LimitOf::text; },
     ErrorClass::too_large, Origin::ours, "the document at fault is singled out"},
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

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
    return text;
}

std::string text_of(const nlohmann::json& object, const char* key) {
    const auto it = object.find(key);
    if (it == object.end()) return {};
    return it->is_string() ? it->get<std::string>() : it->is_primitive() && !it->is_null() ? it->dump() : std::string();
}

// FastAPI's {"detail": [{"loc": ["body", "input"], "msg": "..."}]}, and {"errors": [{"message": "..."}]}.
std::string text_of_list(const nlohmann::json& object, const char* key) {
    const auto it = object.find(key);
    if (it == object.end() || !it->is_array()) return {};
    std::string out;
    for (const nlohmann::json& item : *it) {
        if (!item.is_object()) continue;
        const std::string said = text_of(item, item.contains("msg") ? "msg" : "message");
        if (said.empty()) continue;
        std::string where;
        for (const nlohmann::json& step : item.value("loc", nlohmann::json::array())) {
            if (step.is_string() && step != "body") where += (where.empty() ? "" : ".") + step.get<std::string>();
            if (step.is_number_unsigned()) where += fmt::format("[{}]", step.get<std::uint64_t>());
        }
        out += fmt::format("{}{}{}{}", out.empty() ? "" : "; ", where, where.empty() ? "" : ": ", said);
    }
    return out;
}

// Google puts its errors into a list of one.
const nlohmann::json& first_of(const nlohmann::json& json) {
    return json.is_array() && json.size() == 1 && json.front().is_object() ? json.front() : json;
}

// {"error": {"message", "type", "param", "code"}} as OpenAI has it, {"error": "..."}, {"message": ...} or {"detail": ...} as
// others do.
void read_body(std::string_view whole, Seen& seen) {
    const std::string_view body = without_mark(whole);
    const auto json = body.size() > kMaxParsed ? nlohmann::json(nlohmann::json::value_t::discarded)
                                               : nlohmann::json::parse(body, nullptr, false);
    if (!first_of(json).is_object()) {
        seen.text = body.substr(0, kMaxLooked);
        return;
    }
    const nlohmann::json& object = first_of(json);
    const auto it = object.find("error");
    const nlohmann::json& e = it != object.end() && it->is_object() ? *it : object;
    seen.code = lower(text_of(e, "code") + " " + text_of(e, "type"));
    seen.param = lower(text_of(e, "param"));
    for (const char* key : {"message", "detail", "error", "errors"}) {
        if (seen.text.empty()) seen.text = text_of(e, key);
        if (seen.text.empty()) seen.text = text_of_list(e, key);
    }
    // A broker puts what it was told by whom it asked beside words of its own.
    const auto metadata = e.find("metadata");
    const std::string told = metadata != e.end() && metadata->is_object() ? text_of(*metadata, "raw") : std::string();
    if (!told.empty()) seen.text += (seen.text.empty() ? "" : ": ") + told;
    for (const char* key : {"retry_after", "retryAfter", "retryDelay"}) {
        if (!seen.asked_in_body) seen.asked_in_body = seconds_of(text_of(e, key));
    }
    // {"details": [{"@type": "…RetryInfo", "retryDelay": "8s"}]}
    const auto details = e.find("details");
    if (details == e.end() || !details->is_array()) return;
    for (const nlohmann::json& detail : *details) {
        if (detail.is_object() && !seen.asked_in_body) seen.asked_in_body = seconds_of(text_of(detail, "retryDelay"));
    }
}

milliseconds bounded(double seconds) {
    return milliseconds(static_cast<std::int64_t>(std::ceil(
        std::clamp(seconds * 1000, static_cast<double>(kMinRetryAfter.count()), static_cast<double>(kMaxRetryAfter.count())))));
}

// A header says it to programs; what is said to people counts where there is none.
Seen look(const HttpAnswer& answer, WallTime now) {
    Seen seen;
    seen.status = answer.status;
    read_body(answer.body, seen);
    seen.lower = lower(seen.text);
    seen.wait = retry_after(answer.headers, now);
    if (seen.wait) return seen;
    if (!seen.asked_in_body) seen.asked_in_body = seconds_in_words(seen.lower);
    if (seen.asked_in_body) seen.wait = bounded(*seen.asked_in_body);
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
    e.message += fmt::format("; {}", row.advice);
    e.said = clean_excerpt(seen.text, kMaxSaid);
    if (e.cls == ErrorClass::throttled || e.cls == ErrorClass::transient) e.retry_after = seen.wait;
    return e;
}

std::optional<Error> error_inside(const HttpAnswer& answer, std::string_view where, WallTime now) {
    if (answer.body.size() > kMaxParsed) return std::nullopt;
    const auto whole = nlohmann::json::parse(without_mark(answer.body), nullptr, false);
    const nlohmann::json& json = first_of(whole);
    if (!json.is_object() || json.contains("data")) return std::nullopt;
    const auto error = json.find("error");
    const bool told = error != json.end() && !error->is_null() && *error != false;
    if (!told && !json.contains("detail") && !json.contains("message")) return std::nullopt;
    HttpAnswer inside = answer;
    for (const nlohmann::json* at : {told && error->is_object() ? &*error : &json, &json}) {
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
