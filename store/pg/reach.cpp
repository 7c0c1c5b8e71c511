#include "store/pg/reach.hpp"

#include "store/pg/connection.hpp"
#include "store/pg/libpq.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

namespace {

bool lets_in_to_read(libpq::ConnectWords words) {
    words["target_session_attrs"] = "any";
    try {
        const Connection made({.url = libpq::url_of(words), .connect_timeout = std::chrono::seconds(2)});
        return true;
    } catch (const StoreFailure&) {
        return false;
    }
}

}  // namespace

Reach reach_of(const std::string& url) {
    std::optional<libpq::ConnectWords> words = libpq::parse_url(url);
    if (!words) return Reach::silent;
    (*words)["connect_timeout"] = "2";  // the shortest that libpq takes
    switch (libpq::ping(*words)) {
        case libpq::Ping::starting: return Reach::starting;
        case libpq::Ping::answers: return lets_in_to_read(*words) ? Reach::read_only : Reach::refusing;
        case libpq::Ping::silent: break;
    }
    (*words)["sslmode"] = "disable";
    return libpq::ping(*words) == libpq::Ping::silent ? Reach::silent : Reach::other_tls;
}

}  // namespace homeostat
