// Which handler answers a request, and who may ask it: the table of routes, without any socket.
//
// A pattern is a path in which {name} stands for one segment; a segment is decoded after the path was cut, so that a name may
// hold a slash. What is refused here is refused before a handler runs: an unknown path 404, another method 405, a missing token
// 401, an API that is asked from elsewhere without one 403. Filled before the server starts and constant from then on, so any
// thread reads.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "controller/http/message.hpp"

namespace homeostat {

struct RouteTraits {
    bool open = false;      // needs no token: probes, and the dashboard's own files
    bool blocking = false;  // may wait for the database: runs beside the connections, not among them
    bool guarded = false;   // without a token in force it is for this machine alone, and for no page of another site
};

struct Route {
    std::string method;
    std::string pattern;
    HttpHandler handler;
    RouteTraits traits;
    std::vector<std::string> segments;  // of the pattern
};

class RouteTable {
public:
    void add(std::string method, std::string pattern, HttpHandler handler, RouteTraits traits);

    // The route that answers, with the request's parameters filled in; or the refusal.
    std::variant<const Route*, HttpResponse> find(HttpRequest& request, std::string_view token) const;

private:
    std::vector<Route> routes_;
};

// %41 and the like as bytes; nothing where the text is not such.
bool decode_percent(std::string_view text, std::string& out);
// name=value&... decoded, "+" as a blank; false where a part is malformed or a name is given twice.
bool decode_query(std::string_view query, std::vector<std::pair<std::string, std::string>>& out);

}  // namespace homeostat
