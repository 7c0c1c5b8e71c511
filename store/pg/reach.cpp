#include "store/pg/reach.hpp"

#include "store/pg/libpq.hpp"

namespace homeostat {

Reach reach_of(const std::string& url) {
    std::optional<libpq::ConnectWords> words = libpq::parse_url(url);
    if (!words) return Reach::silent;
    (*words)["connect_timeout"] = "2";  // the shortest that libpq takes
    switch (libpq::ping(*words)) {
        case libpq::Ping::starting: return Reach::starting;
        case libpq::Ping::answers: return Reach::refusing;
        case libpq::Ping::silent: break;
    }
    (*words)["sslmode"] = "disable";
    return libpq::ping(*words) == libpq::Ping::silent ? Reach::silent : Reach::other_tls;
}

}  // namespace homeostat
