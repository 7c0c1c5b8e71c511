#include "store/pg/database_place.hpp"

#include <utility>

#include "store/pg/libpq.hpp"

namespace homeostat {

namespace {

void fill(const libpq::ConnectWords& words, DatabasePlace& place, std::string& user) {
    for (const auto& [word, part] :
         {std::pair{"host", &place.host}, {"port", &place.port}, {"dbname", &place.database}, {"user", &user}}) {
        if (const auto found = words.find(word); found != words.end() && !found->second.empty()) *part = found->second;
    }
}

}  // namespace

std::string DatabasePlace::text() const { return host + ":" + port + "/" + database; }

DatabasePlace database_place(const std::string& url) {
    DatabasePlace place;
    std::string user;
    fill(libpq::default_words(), place, user);
    // A word alone is the database's name.
    if (!url.empty() && url.find('=') == std::string::npos && url.find("://") == std::string::npos) {
        place.database = url;
    } else if (!url.empty()) {
        fill(libpq::parse_url(url).value_or(libpq::ConnectWords{}), place, user);
    }
    if (place.database.empty()) place.database = user;
    if (place.host.empty()) place.host = "local";
    return place;
}

}  // namespace homeostat
