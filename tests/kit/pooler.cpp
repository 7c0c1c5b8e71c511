#include "tests/kit/pooler.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "tests/kit/pg_programs.hpp"

namespace homeostat::kit {

namespace fs = std::filesystem;

namespace {

std::string program() {
    if (const char* set = std::getenv("HOMEOSTAT_PGBOUNCER"); set != nullptr && *set != '\0') return set;
    return HOMEOSTAT_DEPS_DIR "/pgbouncer/usr/sbin/pgbouncer";
}

}  // namespace

bool Pooler::available() { return access(program().c_str(), X_OK) == 0; }

Pooler::Pooler(Cluster& cluster, int sessions) {
    static int made = 0;
    folder_ = cluster.folder() + "/pooler-" + std::to_string(getpid()) + "-" + std::to_string(++made);
    fs::create_directory(folder_);
    std::ofstream(folder_ + "/pgbouncer.ini")
        << "[databases]\n* = host=" << cluster.folder() << " user=postgres\n"
        << "[pgbouncer]\nlisten_addr =\nunix_socket_dir = " << folder_
        << "\nauth_type = any\npool_mode = transaction\ndefault_pool_size = " << sessions << "\nmax_client_conn = 200\n";
    give_to_postgres(folder_);
    Arguments arguments{"-q", folder_ + "/pgbouncer.ini"};
    std::string path = program();
    const std::string libraries = path.substr(0, path.find("/sbin/")) + "/lib/x86_64-linux-gnu";
    if (geteuid() == 0) {
        // It refuses to run as root.
        arguments.insert(arguments.begin(), {"-u", "postgres", "--", path});
        path = "/usr/sbin/runuser";
    }
    process_ = std::make_unique<Process>(path, arguments, Environment{{"LD_LIBRARY_PATH", libraries}});
    if (!eventually([&] { return fs::exists(folder_ + "/.s.PGSQL.6432"); }))
        throw std::runtime_error("PgBouncer did not start: " + process_->output());
}

Pooler::~Pooler() {
    process_.reset();
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
}

std::string Pooler::url(const std::string& database) const {
    return "host=" + folder_ + " port=6432 user=postgres dbname=" + database;
}

}  // namespace homeostat::kit
