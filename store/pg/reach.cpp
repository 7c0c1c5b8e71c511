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

// The same place, asked by nobody: whether a server is there it says to anybody, and what is asked without TLS may be read, or be
// answered by another than is meant. A word that is given is not looked for in the environment or a password file.
libpq::ConnectWords without_who(libpq::ConnectWords words) {
    for (const char* secret : {"passfile", "sslcert", "sslkey", "sslpassword", "channel_binding", "options"}) words.erase(secret);
    words["user"] = "homeostat_nobody";
    words["dbname"] = "postgres";
    words["password"] = "none";
    words["gssencmode"] = "disable";
    words["sslmode"] = "disable";
    return words;
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
    return libpq::ping(without_who(*words)) == libpq::Ping::silent ? Reach::silent : Reach::other_tls;
}

}  // namespace homeostat
