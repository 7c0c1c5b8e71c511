#include "tests/kit/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>
#include <utility>

#include "tests/kit/cluster.hpp"

extern char** environ;

namespace homeostat::kit {

namespace {

std::string fresh_file() {
    std::string path = (std::filesystem::temp_directory_path() / "homeostat-output-XXXXXX").string();
    const int fd = mkstemp(path.data());
    if (fd < 0) throw std::runtime_error("cannot make a file for a child's output: " + std::string(std::strerror(errno)));
    close(fd);
    return path;
}

std::vector<std::string> merged(const Environment& over) {
    std::vector<std::string> out;
    for (char** e = environ; *e != nullptr; ++e) {
        const std::string entry = *e;
        // What tells the tests where things are is not a setting of the program.
        if (entry.starts_with("HOMEOSTAT_") || over.contains(entry.substr(0, entry.find('=')))) continue;
        out.push_back(entry);
    }
    for (const auto& [name, value] : over) {
        if (!value.empty()) out.push_back(name + "=" + value);
    }
    return out;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
    std::vector<char*> out;
    for (std::string& s : strings) out.push_back(s.data());
    out.push_back(nullptr);
    return out;
}

}  // namespace

Process::Process(const std::string& program, const Arguments& arguments, const Environment& environment)
    : output_file_(fresh_file()) {
    std::vector<std::string> words{program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<std::string> variables = merged(environment);
    const std::vector<char*> argv = pointers(words);
    const std::vector<char*> envp = pointers(variables);
    const int output = open(output_file_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) {
        // Only calls that are safe between fork and exec in a process with threads.
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::signal(SIGHUP, SIG_DFL);  // whoever runs the tests may be under nohup
        if (getppid() != parent) _exit(126);
        dup2(nothing, 0);
        dup2(output, 1);
        dup2(output, 2);
        execve(argv[0], argv.data(), envp.data());
        _exit(127);
    }
    close(output);
    close(nothing);
    if (pid_ < 0) throw std::runtime_error("cannot fork: " + std::string(std::strerror(errno)));
    pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
    if (pidfd_ < 0) throw std::runtime_error("cannot watch a child: " + std::string(std::strerror(errno)));
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::exchange(other.pidfd_, -1)),
      output_file_(std::exchange(other.output_file_, {})),
      exit_(other.exit_) {}

Process::~Process() {
    if (pid_ > 0 && !exit_) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    if (pidfd_ >= 0) close(pidfd_);
    if (!output_file_.empty()) unlink(output_file_.c_str());
}

void Process::signal(int number) {
    if (!exit_ && kill(pid_, number) != 0)
        throw std::runtime_error("cannot signal a child: " + std::string(std::strerror(errno)));
}

std::optional<Exit> Process::wait(std::chrono::milliseconds timeout) {
    if (exit_) return exit_;
    pollfd ended{.fd = pidfd_, .events = POLLIN, .revents = 0};
    if (poll(&ended, 1, static_cast<int>(timeout.count())) <= 0) return std::nullopt;
    int status = 0;
    if (waitpid(pid_, &status, 0) != pid_)
        throw std::runtime_error("cannot wait for a child: " + std::string(std::strerror(errno)));
    exit_ = WIFSIGNALED(status) ? Exit{-1, WTERMSIG(status)} : Exit{WEXITSTATUS(status), 0};
    return exit_;
}

std::string Process::output() const {
    std::ifstream in(output_file_);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

namespace {

// HOMEOSTAT_TEST_READER=1: every test is one of sources that are read by a login of their own, which may read what the database's
// owner makes, and nothing of ours.
void read_apart(const std::string& database_url, Environment& environment) {
    std::string url = database_url;
    if (const std::size_t at = url.find("postgres@"); at != std::string::npos) {
        url.replace(at, 8, "test_reader");
    } else if (const std::size_t user = url.find("user=postgres"); user != std::string::npos) {
        url.replace(user + 5, 8, "test_reader");
    } else {
        return;  // of a role whose tables are for the test to grant
    }
    environment["HOMEOSTAT_DATABASE_READER_URL"] = url;
    try {
        // Once in a database: what is made later is granted by default.
        Sql sql(database_url);
        sql.exec(
            "DO $$ BEGIN CREATE ROLE test_reader LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;"
            "DO $$ DECLARE s text; BEGIN"
            " IF EXISTS (SELECT FROM pg_default_acl a, aclexplode(a.defaclacl) e WHERE e.grantee = 'test_reader'::regrole) THEN"
            "  RETURN; END IF;"
            " ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO test_reader;"
            // Not of ours, where they are still to come: whoever may use them is no reader.
            " IF to_regnamespace('homeostat_data') IS NOT NULL THEN ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO "
            "test_reader;"
            " END IF;"
            " FOR s IN SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^(pg_|homeostat|information_schema)' LOOP"
            "  EXECUTE format('GRANT USAGE ON SCHEMA %1$s TO test_reader; GRANT SELECT ON ALL TABLES IN SCHEMA %1$s TO"
            "   test_reader', s); END LOOP; END $$");
    } catch (const std::runtime_error&) {  // NOLINT(bugprone-empty-catch)
        // The test is of a database that is not there, or not now.
    }
}

}  // namespace

Program::Program(const std::string& database_url, Environment more)
    : environment_{{"HOMEOSTAT_DATABASE_URL", database_url},
                   {"HOMEOSTAT_HTTP_LISTEN", "127.0.0.1:0"},
                   {"HOMEOSTAT_LOOP_POLL", "50ms"},
                   {"HOMEOSTAT_LEASE_TTL", "3s"},
                   {"HOMEOSTAT_LEASE_RENEW", "500ms"},
                   {"HOMEOSTAT_CLAIM_TTL", "5s"},
                   {"HOMEOSTAT_CLAIM_HEARTBEAT", "1s"},
                   {"HOMEOSTAT_FAULT_POINT", ""},
                   {"HOMEOSTAT_DATABASE_ALLOW_SUPERUSER", "true"}} {
    if (std::getenv("HOMEOSTAT_TEST_READER") != nullptr) read_apart(database_url, environment_);
    for (auto& [name, value] : more) environment_[name] = value;
}

Process Program::start(const Arguments& arguments, const Environment& more) const {
    const char* binary = std::getenv("HOMEOSTAT_BINARY");
    if (binary == nullptr) throw std::runtime_error("HOMEOSTAT_BINARY does not say where the program is: run the tests by ctest");
    Environment environment = environment_;
    for (const auto& [name, value] : more) environment[name] = value;
    return {binary, arguments, environment};
}

Program::Outcome Program::run(const Arguments& arguments, const Environment& more) const {
    Process process = start(arguments, more);
    const std::optional<Exit> exit = process.wait(std::chrono::minutes(2));
    if (!exit) throw std::runtime_error("homeostat did not end by itself; it said:\n" + process.output());
    return {*exit, process.output()};
}

void pause_briefly() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }

}  // namespace homeostat::kit
