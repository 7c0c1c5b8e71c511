#include "tests/kit/standby.hpp"

#include <filesystem>
#include <stdexcept>

#include "tests/kit/pg_programs.hpp"

namespace homeostat::kit {

namespace fs = std::filesystem;

Standby::Standby(Cluster& cluster)
    : cluster_(cluster), data_(cluster.folder() + "/standby"), sockets_(cluster.folder() + "/standby-sockets") {
    fs::remove_all(data_);
    fs::create_directory(data_);
    fs::create_directory(sockets_);
    fs::permissions(data_, fs::perms::owner_all);
    give_to_postgres(data_);
    give_to_postgres(sockets_);
    run_command(as_postgres("pg_basebackup") + " -h " + shell_word(cluster.folder()) + " -U postgres -D " + shell_word(data_) +
                    " -X stream -c fast -R --no-sync",
                cluster.folder() + "/standby.log");
    control("-o " + shell_word(cluster.settings() + " -c unix_socket_directories=" + shell_word(sockets_)) + " start");
}

Standby::~Standby() {
    try {
        if (!over_) control("-m immediate stop");
    } catch (const std::exception&) {  // it may have ended with its primary
    }
    std::error_code ignored;
    fs::remove_all(data_, ignored);
    fs::remove_all(sockets_, ignored);
}

std::string Standby::url(std::string_view database, std::string_view user) const {
    return std::string("postgresql://").append(user).append("@/").append(database).append("?host=") + sockets_;
}

void Standby::stop() { control("-m immediate stop"); }

void Standby::promote() { control("promote"); }

void Standby::control(const std::string& what) {
    run_command(as_postgres("pg_ctl") + " -w -t 60 -D " + shell_word(data_) + " -l " + shell_word(cluster_.folder() + "/log") +
                    " " + what,
                cluster_.folder() + "/standby.log");
}

void Standby::fall_behind() {
    Sql sql(url());
    sql.exec("ALTER SYSTEM SET primary_conninfo = ''");
    sql.exec("SELECT pg_reload_conf()");
}

void Standby::take_over() {
    cluster_.stop("immediate");
    control("promote");
    control("-m fast stop");
    const std::string place = cluster_.folder() + "/data";
    fs::remove_all(place);
    fs::rename(data_, place);
    over_ = true;
    cluster_.start();
}

}  // namespace homeostat::kit
