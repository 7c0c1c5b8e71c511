#include "tests/kit/pg_programs.hpp"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace homeostat::kit {

namespace {

std::string read_file(const std::filesystem::path& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::string bindir() {
    if (const char* set = std::getenv("HOMEOSTAT_PG_BINDIR"); set != nullptr && *set != '\0') return set;
    const std::string file = HOMEOSTAT_DEPS_DIR "/pg/bindir";
    std::ifstream in(file);
    std::string dir;
    std::getline(in, dir);
    if (dir.empty()) throw std::runtime_error(file + " is missing: run scripts/bootstrap, or set HOMEOSTAT_PG_BINDIR");
    return dir;
}

}  // namespace

std::string shell_word(std::string_view word) {
    std::string out = "'";
    for (const char c : word) {
        if (c == '\'') {
            out += "'\\''";
        } else {
            out += c;
        }
    }
    return out + "'";
}

// PostgreSQL refuses to run as root, so root runs it as `postgres`.
std::string as_postgres(const std::string& program) {
    return (geteuid() == 0 ? "runuser -u postgres -- " : "") + shell_word(bindir() + "/" + program);
}

void give_to_postgres(const std::string& folder) {
    if (geteuid() != 0) return;
    const passwd* user = getpwnam("postgres");
    if (user == nullptr) throw std::runtime_error("there is no user postgres: run scripts/bootstrap");
    if (chown(folder.c_str(), user->pw_uid, user->pw_gid) != 0)
        throw std::runtime_error("cannot give " + folder + " to postgres");
}

void run_command(const std::string& command, const std::string& log) {
    const int status = std::system((command + " >>" + shell_word(log) + " 2>&1 </dev/null").c_str());
    if (status != 0) throw std::runtime_error("failed: " + command + "\n" + read_file(log));
}

}  // namespace homeostat::kit
