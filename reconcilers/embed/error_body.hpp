// What the body of a refusal says, in whatever shape a vendor puts it. Pure; safe from any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace homeostat {

inline constexpr std::size_t kMaxErrorBody = 256 * 1024;  // beyond it is not a message for people

struct ErrorBody {
    std::string code;   // codes, types and reasons, in lower case, one behind the other
    std::string param;  // the member of the request that it is about, in lower case
    std::string text;   // the message as sent
    std::optional<double> asked_for;  // seconds to wait, as a member of their own
};

// {"error": {"message", "type", "param", "code"}} as OpenAI has it, {"error": "..."}, {"message": ...}, {"detail": ...},
// {"error_msg": ...} or {"base_resp": {...}} as others do; the first words of what is no JSON.
ErrorBody read_error_body(std::string_view body);

// Google puts its errors into a list of one.
const nlohmann::json& first_of(const nlohmann::json& json);

// Whether an object that came with a status of success is an error all the same: it says so, and has nothing of an answer.
bool tells_an_error(const nlohmann::json& object);

std::string lower_letters(std::string text);

}  // namespace homeostat
