#include "tests/kit/cluster.hpp"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <utility>

#include "tests/kit/pg_programs.hpp"
#include "tests/kit/template.hpp"

namespace homeostat::kit {

namespace {

std::string first_line(const std::filesystem::path& path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    return line;
}

std::string make_folder() {
    const char* tmp = std::getenv("TMPDIR");
    std::string path = std::string(tmp != nullptr && *tmp != '\0' ? tmp : "/tmp") + "/homeostat-pg-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("cannot make a folder in " + path);
    give_to_postgres(path);
    return path;
}

// Outlives this process: waits for it to end in whatever way, then stops the cluster (if it still runs) and removes its folder.
void leave_watchdog(const std::string& folder, pid_t watched) {
    const std::string script = "tail --pid=" + std::to_string(watched) + " -f /dev/null; [ -d " + shell_word(folder) +
                               " ] || exit 0; " + as_postgres("pg_ctl") + " -D " + shell_word(folder + "/data") +
                               " -m immediate stop; rm -rf " + shell_word(folder);
    const std::string command = "setsid sh -c " + shell_word(script) + " >/dev/null 2>&1 </dev/null &";
    if (std::system(command.c_str()) != 0) throw std::runtime_error("cannot start the watchdog of " + folder);
}

std::string percent_encoded(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '/') {
            out += "%2F";
        } else {
            out += c;
        }
    }
    return out;
}

}  // namespace

Cluster::Cluster(const std::vector<std::string>& settings, std::optional<int> owner) : folder_(make_folder()), owned_(true) {
    // No flush to disk anywhere: these tests kill processes, never the machine.
    for (const std::string_view s : {"listen_addresses=", "fsync=off", "full_page_writes=off", "max_connections=200",
                                     "shared_buffers=64MB", "log_min_messages=error"}) {
        settings_ += " -c " + shell_word(s);
    }
    settings_ += " -c " + shell_word("unix_socket_directories=" + folder_);
    for (const std::string& s : settings) settings_ += " -c " + shell_word(s);
    leave_watchdog(folder_, owner.value_or(getpid()));
    run_command(as_postgres("initdb") + " -D " + shell_word(folder_ + "/data") +
                    " -U postgres -A trust --no-sync -E UTF8 --locale=C.UTF-8",
                folder_ + "/initdb.log");
    start();
}

Cluster::~Cluster() {
    if (!owned_) return;
    try {
        stop("immediate");
    } catch (const std::exception&) {  // it may have been stopped or killed by the test
    }
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
}

void Cluster::start() {
    run_command(as_postgres("pg_ctl") + " -w -t 60 -D " + shell_word(folder_ + "/data") + " -l " + shell_word(folder_ + "/log") +
                    " -o " + shell_word(settings_) + " start",
                folder_ + "/pg_ctl.log");
}

void Cluster::stop(std::string_view mode) {
    run_command(as_postgres("pg_ctl") + " -w -t 60 -D " + shell_word(folder_ + "/data") + " -m " + std::string(mode) + " stop",
                folder_ + "/pg_ctl.log");
}

std::unique_ptr<Cluster> Cluster::adopt(std::string folder) {
    std::unique_ptr<Cluster> cluster(new Cluster(Running{}, std::move(folder)));
    cluster->owned_ = true;
    return cluster;
}

Cluster& Cluster::shared() {
    static const std::unique_ptr<Cluster> cluster = [] {
        if (const char* file = std::getenv("HOMEOSTAT_TEST_CLUSTER"); file != nullptr && *file != '\0') {
            const std::string folder = first_line(file);
            if (folder.empty()) throw std::runtime_error(std::string(file) + " names no cluster: was it started by ctest?");
            return std::unique_ptr<Cluster>(new Cluster(Running{}, folder));
        }
        return std::make_unique<Cluster>();
    }();
    return *cluster;
}

std::string Cluster::url(std::string_view database, std::string_view user) const {
    return "postgresql://" + std::string(user) + "@/" + std::string(database) + "?host=" + percent_encoded(folder_);
}

Database::Database(Schema schema, Cluster& cluster) : cluster_(cluster) {
    static std::atomic<int> serial = 0;
    const std::string source = ensure_template(schema, cluster);
    name_ = "t_" + std::to_string(getpid()) + "_" + std::to_string(++serial);
    Sql(cluster_.url()).exec("CREATE DATABASE " + name_ + " TEMPLATE " + source);
}

Database::~Database() {
    sql_.reset();
    try {
        Sql(cluster_.url()).exec("DROP DATABASE IF EXISTS " + name_ + " WITH (FORCE)");
    } catch (const std::exception&) {  // the test may have stopped the cluster; the folder goes with it
    }
}

Sql& Database::sql() {
    if (!sql_) sql_.emplace(url());
    return *sql_;
}

std::vector<std::string> restore(const Database& from, Database& into, const std::string& options) {
    const std::string file = from.cluster().folder() + "/" + from.name() + ".sql";
    const std::string log = file + ".log";
    const auto of = [](const Database& db) { return " -h " + shell_word(db.cluster().folder()) + " -d " + db.name(); };
    run_command(as_postgres("pg_dump") + of(from) + " " + options + " -f " + shell_word(file), log);
    run_command(as_postgres("psql") + of(into) + " -q -f " + shell_word(file), log);
    std::vector<std::string> errors;
    std::ifstream in(log);
    for (std::string line; std::getline(in, line);) {
        if (line.find("ERROR:") != std::string::npos) errors.push_back(line);
    }
    std::filesystem::remove(file);
    std::filesystem::remove(log);
    return errors;
}

}  // namespace homeostat::kit
