#include "reconcilers/embed/error_body.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "reconcilers/embed/request_text.hpp"
#include "reconcilers/embed/retry_hint.hpp"

namespace homeostat {

namespace {

using nlohmann::json;

constexpr std::size_t kMaxLooked = 2 * 1024;  // of what is no JSON
constexpr int kDepth = 3;                     // of a message within members that might hold one
constexpr std::array<const char*, 13> kMessages{"message",       "detail",    "error",      "errors",       "error_msg",
                                                "error_message", "msg",       "errmsg",     "errorMessage", "Message",
                                                "status_msg",    "base_resp", "description"};
constexpr std::array<const char*, 8> kCodes{"code",       "type",       "status",      "reason",
                                            "error_code", "error_type", "status_code", "__type"};

std::string text_of(const json& object, const char* key) {
    const auto it = object.find(key);
    if (it == object.end()) return {};
    if (it->is_string()) return it->get<std::string>();
    return it->is_number() ? it->dump() : std::string();
}

std::string message_in(const json& object, int depth);

// FastAPI's {"detail": [{"loc": ["body", "input"], "msg": "..."}]}, and {"errors": [{"message": "..."}]}.
std::string messages_of(const json& list, int depth) {
    std::string out;
    for (const json& item : list) {
        const std::string said = item.is_string() ? item.get<std::string>() : item.is_object() ? message_in(item, depth) : "";
        if (said.empty()) continue;
        std::string where;
        const json steps = item.is_object() ? item.value("loc", json::array()) : json::array();
        for (const json& step : steps) {
            if (step.is_string() && step != "body") where += (where.empty() ? "" : ".") + step.get<std::string>();
            if (step.is_number_unsigned()) where += fmt::format("[{}]", step.get<std::uint64_t>());
        }
        out += fmt::format("{}{}{}{}", out.empty() ? "" : "; ", where, where.empty() ? "" : ": ", said);
    }
    return out;
}

std::string message_in(const json& object, int depth) {
    if (depth == 0) return {};
    for (const char* key : kMessages) {
        std::string said = text_of(object, key);
        const auto it = object.find(key);
        if (it != object.end() && it->is_array()) said = messages_of(*it, depth - 1);
        if (it != object.end() && it->is_object()) said = message_in(*it, depth - 1);
        if (!said.empty()) return said;
    }
    return {};
}

void append_codes(const json& object, std::string& out) {
    for (const char* key : kCodes) {
        const std::string code = text_of(object, key);
        if (!code.empty()) out += lower_letters(code) + " ";
    }
}

// {"details": [{"@type": "…RetryInfo", "retryDelay": "8s"}, {"@type": "…ErrorInfo", "reason": "API_KEY_INVALID"}]}
void read_details(const json& error, ErrorBody& out) {
    const auto details = error.find("details");
    if (details == error.end() || !details->is_array()) return;
    for (const json& detail : *details) {
        if (!detail.is_object()) continue;
        append_codes(detail, out.code);
        if (!out.asked_for) out.asked_for = seconds_of(text_of(detail, "retryDelay"));
    }
}

// The object that the codes stand in: {"error": {...}}, {"errors": [{...}]}, {"base_resp": {...}}.
const json* core_of(const json& object) {
    for (const char* key : {"error", "errors", "base_resp"}) {
        const auto it = object.find(key);
        if (it == object.end()) continue;
        if (it->is_object()) return &*it;
        if (it->is_array() && !it->empty() && it->front().is_object()) return &it->front();
    }
    return &object;
}

}  // namespace

std::string lower_letters(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
    return text;
}

const json& first_of(const json& json) {
    return json.is_array() && json.size() == 1 && json.front().is_object() ? json.front() : json;
}

ErrorBody read_error_body(std::string_view whole) {
    ErrorBody out;
    const std::string_view body = without_mark(whole);
    const auto parsed = body.size() > kMaxErrorBody ? json(json::value_t::discarded) : json::parse(body, nullptr, false);
    if (!first_of(parsed).is_object()) {
        out.text = body.substr(0, kMaxLooked);
        return out;
    }
    const json& object = first_of(parsed);
    const auto it = object.find("error");
    const json& error = it != object.end() && it->is_object() ? *it : object;
    const json& core = *core_of(object);
    append_codes(core, out.code);
    if (&core != &object) append_codes(object, out.code);
    out.param = lower_letters(text_of(error, "param"));
    out.text = message_in(error, kDepth);
    // A broker puts what it was told by whom it asked beside words of its own.
    const auto metadata = error.find("metadata");
    const std::string told = metadata != error.end() && metadata->is_object() ? text_of(*metadata, "raw") : std::string();
    if (!told.empty()) out.text += (out.text.empty() ? "" : ": ") + told;
    for (const char* key : {"retry_after", "retryAfter", "retryDelay"}) {
        if (!out.asked_for) out.asked_for = seconds_of(text_of(error, key));
    }
    read_details(error, out);
    return out;
}

bool tells_an_error(const json& object) {
    const auto error = object.find("error");
    const bool told = error != object.end() && !error->is_null() && *error != false;
    const auto data = object.find("data");
    if (data != object.end() && !data->is_null() && !(told && data->empty())) return false;
    return told || std::any_of(kMessages.begin(), kMessages.end(), [&](const char* key) {
               const auto it = object.find(key);
               return std::string_view(key) != "error" && it != object.end() && !it->is_null() && !it->empty();
           });
}

}  // namespace homeostat
