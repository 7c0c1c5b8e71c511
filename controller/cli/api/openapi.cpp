// The OpenAPI document, from the API's table alone.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "controller/cli/api/table.hpp"

namespace homeostat {

namespace {

ApiJson reference(const char* name) { return {{"$ref", std::string("#/components/schemas/") + name}}; }

ApiJson row_schema(ListingKind kind) {
    ApiJson properties = ApiJson::object();
    for (const ListingColumn& c : listing_columns(kind)) {
        ApiJson type{{"type", c.type == ListingType::number ? "integer" : "string"}};
        if (c.type == ListingType::time) type["format"] = "date-time";
        properties[std::string(c.name)] = std::move(type);
    }
    return {{"type", "object"}, {"properties", std::move(properties)}};
}

ApiJson page_schema(ListingKind kind) {
    return {{"type", "object"},
            {"required", {"items"}},
            {"properties",
             {{"items", {{"type", "array"}, {"items", row_schema(kind)}}},
              {"next", {{"type", "string"}, {"description", "The cursor of the next page; absent where there is none"}}}}}};
}

ApiJson body_schema(ActionKind kind) {
    ApiJson properties = ApiJson::object();
    ApiJson required = ApiJson::array();
    for (const ActionField& f : action_fields(kind)) {
        ApiJson type{{"type", f.type}, {"description", f.sentence}};
        if (f.type == "array") type["items"] = {{"type", "string"}};
        properties[std::string(f.name)] = std::move(type);
        if (f.required) required.push_back(f.name);
    }
    ApiJson out{{"type", "object"}, {"additionalProperties", false}, {"properties", std::move(properties)}};
    if (!required.empty()) out["required"] = std::move(required);
    return out;
}

ApiJson parameters_of(const ApiRoute& route) {
    ApiJson out = ApiJson::array();
    if (route.path.find("{name}") != std::string_view::npos)
        out.push_back({{"name", "name"}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}}}});
    for (const std::string_view name : route.query) {
        const auto found = std::ranges::find_if(api_parameters(), [&](const ApiParameter& p) { return p.name == name; });
        if (found == api_parameters().end()) continue;
        out.push_back({{"name", name}, {"in", "query"}, {"description", found->sentence}, {"schema", {{"type", found->type}}}});
    }
    if (route.kind == ApiKind::stream)
        out.push_back({{"name", "Last-Event-ID"},
                       {"in", "header"},
                       {"description", "The id of the last event that was received"},
                       {"schema", {{"type", "string"}}}});
    return out;
}

ApiJson operation_of(const ApiRoute& route) {
    const char* type = route.kind == ApiKind::stream ? "text/event-stream" : "application/json";
    const ApiJson schema = route.listing                   ? page_schema(*route.listing)
                           : route.kind == ApiKind::stream ? ApiJson{{"type", "string"}}
                                                           : ApiJson{{"type", "object"}};
    ApiJson out{{"operationId", route.id}, {"summary", route.summary}};
    if (const ApiJson parameters = parameters_of(route); !parameters.empty()) out["parameters"] = parameters;
    if (route.action)
        out["requestBody"] = {{"required", true}, {"content", {{"application/json", {{"schema", body_schema(*route.action)}}}}}};
    out["responses"] = {{"200", {{"description", "As asked"}, {"content", {{type, {{"schema", schema}}}}}}},
                        {"default",
                         {{"description", "Refused or failed, with what to do"},
                          {"content", {{"application/problem+json", {{"schema", reference("Problem")}}}}}}}};
    out["security"] = ApiJson::array({ApiJson{{"token", ApiJson::array()}}});
    if (!route.action) out["security"].push_back(ApiJson::object());  // where no token is set
    return out;
}

}  // namespace

ApiJson openapi_document(std::string_view version) {
    ApiJson paths = ApiJson::object();
    for (const ApiRoute& route : api_routes())
        paths[std::string(route.path)][route.kind == ApiKind::action ? "post" : "get"] = operation_of(route);
    const ApiJson problem{{"type", "object"},
                          {"required", {"type", "title", "status", "detail"}},
                          {"properties",
                           {{"type", {{"type", "string"}}},
                            {"title", {{"type", "string"}}},
                            {"status", {{"type", "integer"}}},
                            {"detail", {{"type", "string"}, {"description", "What is wrong and what to do"}}}}}};
    return {{"openapi", "3.1.0"},
            {"info",
             {{"title", "homeostat"},
              {"version", version},
              {"license", {{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}},
              {"description", "What the controller knows, and what it may be asked for (docs/http-api.md)."}}},
            {"servers", ApiJson::array({ApiJson{{"url", "/"}}})},
            {"paths", std::move(paths)},
            {"components",
             {{"schemas", {{"Problem", problem}}}, {"securitySchemes", {{"token", {{"type", "http"}, {"scheme", "bearer"}}}}}}}};
}

}  // namespace homeostat
