// One request to the API as its handlers see it: what was asked, a session to read with, and the parts of the process that are
// told of. Handlers return JSON, or an Error that the edge turns into a problem document. A call belongs to one thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "controller/config/config.hpp"
#include "controller/http/health.hpp"
#include "controller/http/message.hpp"
#include "core/resource.hpp"
#include "core/telemetry.hpp"
#include "store/inspect/listings.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

using ApiJson = nlohmann::ordered_json;

// What outlives every call.
struct ApiWorld {
    const Config& config;
    const Registry& metrics;
    std::string version;  // of this program
    const Health* health = nullptr;
};

class ApiCall {
public:
    // `session` may be null where the database does not answer: for the one route that tells so.
    ApiCall(const HttpRequest& request, const ApiWorld& w, Session* s) : http(request), world(w), session_(s) {}

    // Reads the query; refused where it holds what this route does not know, with the nearest name.
    Status read_query(std::span<const std::string_view> known);

    Session& session() const { return *session_; }
    bool connected() const noexcept { return session_ != nullptr; }
    std::string name() const { return std::string(http.parameter("name")); }
    // "" where it is not given.
    std::string_view asked(std::string_view name) const noexcept;
    // The parameter `limit`, from 1 to `most`.
    Result<int> limit(int fallback = 100, int most = 1000) const;

    const HttpRequest& http;
    const ApiWorld& world;
    std::string why_not_connected{};

private:
    Session* session_;
    std::vector<std::pair<std::string, std::string>> query_;
};

// A cursor is opaque to whoever gets it and hands it back.
std::string cursor_of(const ListingPlace& place);
Result<ListingPlace> place_of(std::string_view cursor);
std::string hex_of(std::string_view text);
std::optional<std::string> text_of_hex(std::string_view hex);

// The columns of a listing by their names, times as RFC 3339 has them; what is absent is left out.
ApiJson row_json(ListingKind kind, const ListingRow& row);
// 2026-01-31T12:00:00.123Z
std::string stamp_text(WallTime time);

}  // namespace homeostat
