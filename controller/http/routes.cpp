#include "controller/http/routes.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

#include "core/outside_text.hpp"

namespace homeostat {

namespace {

std::vector<std::string> cut(std::string_view path) {
    std::vector<std::string> out;
    while (!path.empty()) {
        path.remove_prefix(1);  // the slash
        const std::size_t end = std::min(path.find('/'), path.size());
        out.emplace_back(path.substr(0, end));
        path.remove_prefix(end);
    }
    return out;
}

// What a database takes as text: well-formed, and without NUL.
bool is_text(std::string_view text) {
    while (!text.empty()) {
        char32_t letter = 0;
        const std::size_t length = letter_at(text, letter);
        if (length == 0 || letter == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

bool is_parameter(std::string_view segment) { return segment.starts_with('{') && segment.ends_with('}'); }

bool matches(const Route& route, const std::vector<std::string>& segments) {
    return std::ranges::equal(route.segments, segments, [](const std::string& wanted, const std::string& is) {
        return is_parameter(wanted) || wanted == is;
    });
}

// False where a part of the path is no text.
bool fill(HttpRequest& request, const Route& route, const std::vector<std::string>& segments) {
    for (std::size_t i = 0; i < segments.size(); ++i) {
        if (!is_parameter(route.segments[i])) continue;
        std::string value;
        if (!decode_percent(segments[i], value) || value.empty() || !is_text(value)) return false;
        request.parameters.emplace_back(route.segments[i].substr(1, route.segments[i].size() - 2), std::move(value));
    }
    return true;
}

// In the same time whatever was sent.
bool knows_token(std::string_view authorization, std::string_view token) {
    const std::string wanted = "Bearer " + std::string(token);
    unsigned differs = authorization.size() == wanted.size() ? 0 : 1;
    for (std::size_t i = 0; i < std::min(authorization.size(), wanted.size()); ++i) {
        differs |= static_cast<unsigned char>(authorization[i]) ^ static_cast<unsigned char>(wanted[i]);
    }
    return differs == 0;
}

// A name could be made to lead here by whoever owns it, from a page of theirs in a browser on this machine; a number cannot.
bool names_this_machine(std::string_view host) {
    if (host.empty()) return true;  // HTTP/1.0, which no browser speaks
    if (host.front() == '[') return true;
    host = host.substr(0, std::min(host.find(':'), host.size()));
    if (host == "localhost") return true;
    return host.find_first_not_of("0123456789.") == std::string_view::npos;
}

std::optional<HttpResponse> refusal(HttpRequest& request, const Route& route, std::string_view token) {
    request.trusted = !token.empty() && knows_token(request.header("authorization"), token);
    if (route.traits.open) return std::nullopt;
    if (!token.empty()) {
        if (request.trusted) return std::nullopt;
        HttpResponse response = problem(401, "send the token of the setting http.token as Authorization: Bearer");
        response.headers.emplace_back("WWW-Authenticate", "Bearer");
        return response;
    }
    if (!route.traits.guarded) return std::nullopt;
    if (!request.loopback)
        return problem(403, "without a token this is answered on this machine alone; set http.token, and send it");
    if (!names_this_machine(request.header("host")))
        return problem(421, "without a token this is answered as localhost or by an address in numbers alone; set http.token");
    return std::nullopt;
}

HttpResponse not_allowed(std::vector<std::string> methods) {
    if (std::ranges::find(methods, "GET") != methods.end() && std::ranges::find(methods, "HEAD") == methods.end())
        methods.insert(std::ranges::find(methods, "GET") + 1, "HEAD");
    std::string allow;
    for (const std::string& method : methods) allow += (allow.empty() ? "" : ", ") + method;
    HttpResponse response = problem(405, "this path is asked by " + allow);
    response.headers.emplace_back("Allow", allow);
    return response;
}

int digit(char c) {
    int value = -1;
    std::from_chars(&c, &c + 1, value, 16);
    return value;
}

}  // namespace

void RouteTable::add(std::string method, std::string pattern, HttpHandler handler, RouteTraits traits) {
    std::vector<std::string> segments = cut(pattern);
    routes_.push_back({std::move(method), std::move(pattern), std::move(handler), traits, std::move(segments)});
}

std::variant<const Route*, HttpResponse> RouteTable::find(HttpRequest& request, std::string_view token) const {
    if (!request.path.starts_with('/')) return problem(400, "the request names no path of this server");
    const std::vector<std::string> segments = cut(request.path);
    std::vector<std::string> methods;
    const Route* found = nullptr;
    // What is written out goes before what stands for anything.
    for (const Route& route : routes_) {
        if (!matches(route, segments)) continue;
        if (std::ranges::find(methods, route.method) == methods.end()) methods.push_back(route.method);
        const bool answers = route.method == request.method || (request.method == "HEAD" && route.method == "GET");
        if (!answers) continue;
        const auto written = [](const Route& r) { return std::ranges::count_if(r.segments, is_parameter); };
        if (found == nullptr || written(route) < written(*found)) found = &route;
    }
    if (methods.empty()) return problem(404, "there is nothing at this path; /openapi.json lists what there is");
    if (found == nullptr) return not_allowed(std::move(methods));
    if (auto refused = refusal(request, *found, token)) return *std::move(refused);
    if (!fill(request, *found, segments)) return problem(400, "a part of the path is empty, or not encoded as it must be");
    return found;
}

bool decode_percent(std::string_view text, std::string& out) {
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        if (i + 2 >= text.size()) return false;
        const int high = digit(text[i + 1]);
        const int low = digit(text[i + 2]);
        if (high < 0 || low < 0) return false;
        out += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return true;
}

bool decode_query(std::string_view query, std::vector<std::pair<std::string, std::string>>& out) {
    while (!query.empty()) {
        const std::size_t end = std::min(query.find('&'), query.size());
        std::string part(query.substr(0, end));
        query.remove_prefix(std::min(query.size(), end + 1));
        if (part.empty()) continue;
        std::ranges::replace(part, '+', ' ');
        const std::size_t equals = std::min(part.find('='), part.size());
        std::string name;
        std::string value;
        if (!decode_percent(std::string_view(part).substr(0, equals), name)) return false;
        if (equals < part.size() && !decode_percent(std::string_view(part).substr(equals + 1), value)) return false;
        if (!is_text(name) || !is_text(value)) return false;
        if (std::ranges::any_of(out, [&](const auto& pair) { return pair.first == name; })) return false;
        out.emplace_back(std::move(name), std::move(value));
    }
    return true;
}

}  // namespace homeostat
