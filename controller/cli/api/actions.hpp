// What may be asked for over HTTP: by POST, with the token, as the login of http.action_url and with its rights. The database
// judges, by the rules of docs/security.md; what it refuses is refused. Each that was done is an event with who asked.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string_view>

#include "controller/cli/api/call.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

enum class ActionKind : std::uint8_t { reconcile, suspend, resume, approve, rollback, retry_dead_letters };
std::string_view to_string(ActionKind kind) noexcept;

// The reason of the events that actions leave.
inline constexpr std::string_view kActionReason = "AskedOverHttp";

// What stands in the way of any action in this request, before anything is looked at: no login for actions, no token, another
// site's page, a body that is no JSON.
std::optional<HttpResponse> action_refusal(const HttpRequest& request, const Settings& settings);

// The members that the body of an action may have, with the type of each (of JSON Schema) and what it is.
struct ActionField {
    std::string_view name;
    std::string_view type;
    std::string_view sentence;
    bool required = false;
};
std::span<const ActionField> action_fields(ActionKind kind);

// Does it, as `actor`'s login, and writes the event through `log`, the controller's own session.
Result<ApiJson> act(ActionKind kind, const HttpRequest& request, Session& actor, Session& log);

}  // namespace homeostat
