#include "store/database_place.hpp"

#include <libpq-fe.h>

#include <memory>
#include <string_view>

namespace homeostat {

namespace {

using Options = std::unique_ptr<PQconninfoOption, void (*)(PQconninfoOption*)>;

void fill(const PQconninfoOption* options, DatabasePlace& place, std::string& user) {
    for (const PQconninfoOption* o = options; o != nullptr && o->keyword != nullptr; ++o) {
        if (o->val == nullptr || *o->val == '\0') continue;
        const std::string_view name(o->keyword);
        std::string* part = name == "host"     ? &place.host
                            : name == "port"   ? &place.port
                            : name == "dbname" ? &place.database
                            : name == "user"   ? &user
                                               : nullptr;
        if (part != nullptr) *part = o->val;
    }
}

}  // namespace

std::string DatabasePlace::text() const { return host + ":" + port + "/" + database; }

DatabasePlace database_place(const std::string& url) {
    DatabasePlace place;
    std::string user;
    fill(Options(PQconndefaults(), &PQconninfoFree).get(), place, user);
    // A word alone is the database's name.
    if (!url.empty() && url.find('=') == std::string::npos && url.find("://") == std::string::npos) {
        place.database = url;
    } else if (!url.empty()) {
        fill(Options(PQconninfoParse(url.c_str(), nullptr), &PQconninfoFree).get(), place, user);
    }
    if (place.database.empty()) place.database = user;
    if (place.host.empty()) place.host = "local";
    return place;
}

}  // namespace homeostat
