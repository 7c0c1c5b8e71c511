// The API's one table: of it the server's routes and the OpenAPI document are made, so that neither can have what the other
// lacks. Constant, safe from any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "controller/cli/api/actions.hpp"
#include "controller/cli/api/call.hpp"

namespace homeostat {

enum class ApiKind : std::uint8_t {
    read,    // a handler that answers in JSON
    probe,   // likewise, also where the database does not answer
    stream,  // server-sent events
    action   // changes something; only by POST
};

struct ApiRoute {
    ApiKind kind = ApiKind::read;
    std::string_view path;  // below the root, {name} for what varies
    std::string_view id;    // of the operation
    std::string_view summary;
    std::vector<std::string_view> query{};
    Result<ApiJson> (*answer)(ApiCall&) = nullptr;
    std::optional<ListingKind> listing{};       // whose rows it lists, for the document
    std::optional<ActionKind> action{};
};
const std::vector<ApiRoute>& api_routes();

struct ApiParameter {
    std::string_view name;
    std::string_view type;  // of JSON Schema
    std::string_view sentence;
};
std::span<const ApiParameter> api_parameters();

// OpenAPI 3.1.
ApiJson openapi_document(std::string_view version);

}  // namespace homeostat
