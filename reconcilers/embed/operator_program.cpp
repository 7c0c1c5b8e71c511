#include "reconcilers/embed/operator_program.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "reconcilers/embed/sandbox.hpp"

namespace homeostat {

namespace {

using Steady = std::chrono::steady_clock;

constexpr std::size_t kMostWords = 4096;
constexpr std::chrono::seconds kTimeToDie{2};  // after SIGKILL, which it cannot refuse
constexpr std::array<std::string_view, 22> kGiven{
    "PATH",      "HOME",       "USER",          "LOGNAME",      "LANG",       "LANGUAGE",       "TZ",
    "TMPDIR",    "HTTP_PROXY", "HTTPS_PROXY",   "ALL_PROXY",    "NO_PROXY",   "http_proxy",     "https_proxy",
    "all_proxy", "no_proxy",   "SSL_CERT_FILE", "SSL_CERT_DIR", "KUBECONFIG", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE",
    "SHELL"};
constexpr std::array<std::string_view, 7> kGivenFamilies{"LC_", "XDG_", "AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "VAULT_"};

struct Pipe {
    Descriptor ours, theirs;

    bool make() {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
        ours = Descriptor(ends[0]);
        theirs = Descriptor(ends[1]);
        return ::fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0;
    }
};

std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> out;
    for (std::string& word : words) out.push_back(word.data());
    out.push_back(nullptr);
    return out;
}

std::vector<std::string> environment() {
    std::vector<std::string> out;
    bool path = false;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        const std::string_view name = text.substr(0, text.find('='));
        if (!is_given_variable(name)) continue;
        path = path || name == "PATH";
        out.emplace_back(text);
    }
    if (!path) out.emplace_back("PATH=/usr/local/bin:/usr/bin:/bin");
    return out;
}

// The attributes and actions of a start, freed whatever happens.
class Spawning {
public:
    Spawning(int output, int errors) {
        posix_spawn_file_actions_init(&actions_);
        posix_spawnattr_init(&attributes_);
        posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO);
        posix_spawn_file_actions_adddup2(&actions_, errors, STDERR_FILENO);
        posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
        posix_spawn_file_actions_addchdir_np(&actions_, "/");
        sigset_t none;
        sigset_t all;
        sigemptyset(&none);
        sigfillset(&all);
        posix_spawnattr_setsigmask(&attributes_, &none);
        posix_spawnattr_setsigdefault(&attributes_, &all);
        posix_spawnattr_setpgroup(&attributes_, 0);
        posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    }
    ~Spawning() {
        posix_spawn_file_actions_destroy(&actions_);
        posix_spawnattr_destroy(&attributes_);
    }
    Spawning(const Spawning&) = delete;
    Spawning& operator=(const Spawning&) = delete;

    // 0, or the errno.
    int start(pid_t& pid, std::vector<std::string> command) const {
        std::vector<std::string> variables = environment();
        return ::posix_spawn(&pid, command.front().c_str(), &actions_, &attributes_, pointers(command).data(),
                             pointers(variables).data());
    }

private:
    posix_spawn_file_actions_t actions_{};
    posix_spawnattr_t attributes_{};
};

// What can be read now; false at its end.
bool take(int fd, std::string& into, std::size_t most) {
    std::array<char, 4096> piece{};
    for (;;) {
        const ssize_t n = ::read(fd, piece.data(), piece.size());
        if (n > 0) {
            into.append(piece.data(), std::min(static_cast<std::size_t>(n), most + 1 - std::min(most + 1, into.size())));
            // A program that writes without end must not keep us here.
            if (into.size() > most) return true;
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        return n < 0 && errno == EAGAIN;
    }
}

// Error output beyond what is kept is read all the same, so that the program does not wait for us.
bool drain(int fd, std::string& words) {
    std::string more;
    const bool open = take(fd, more, kMostWords);
    words.append(more, 0, kMostWords - std::min(kMostWords, words.size()));
    return open;
}

class Running {
public:
    Running(pid_t pid, Pipe& output, Pipe& errors)
        : pid_(pid), exited_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))), output_(output), errors_(errors) {}

    ProgramEnd wait(Steady::time_point deadline, int stop) {
        ProgramEnd out;
        const int watched = exited_.get() < 0 ? errno : 0;
        out.how = watched == 0 ? watch(out, deadline, stop) : ProgramEnd::How::not_started;
        out.number = watched;
        ::kill(-pid_, SIGKILL);
        ::kill(pid_, SIGKILL);
        reap(out);
        return out;
    }

private:
    ProgramEnd::How watch(ProgramEnd& out, Steady::time_point deadline, int stop) {
        for (;;) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Steady::now()).count();
            if (left <= 0) return ProgramEnd::How::late;
            std::array<pollfd, 4> fds{{{exited_.get(), POLLIN, 0},
                                       {output_.ours.get(), POLLIN, 0},
                                       {errors_.ours.get(), POLLIN, 0},
                                       {stop, POLLIN, 0}}};
            if (::poll(fds.data(), fds.size(), static_cast<int>(std::min<std::int64_t>(left, 1000))) < 0 && errno != EINTR)
                return ProgramEnd::How::late;
            if (fds[3].revents != 0) return ProgramEnd::How::stopped;
            if (fds[1].revents != 0 && !take(output_.ours.get(), out.output, kMostPrinted)) output_.ours = Descriptor();
            if (fds[2].revents != 0 && !drain(errors_.ours.get(), out.words)) errors_.ours = Descriptor();
            if (out.output.size() > kMostPrinted) return ProgramEnd::How::too_much;
            if (fds[0].revents == 0) continue;
            // What it wrote before its end has arrived.
            if (output_.ours.get() >= 0) take(output_.ours.get(), out.output, kMostPrinted);
            if (errors_.ours.get() >= 0) drain(errors_.ours.get(), out.words);
            return out.output.size() > kMostPrinted ? ProgramEnd::How::too_much : ProgramEnd::How::ended;
        }
    }

    void reap(ProgramEnd& out) {
        pollfd fd{exited_.get(), POLLIN, 0};
        ::poll(&fd, 1, static_cast<int>(std::chrono::milliseconds(kTimeToDie).count()));
        int status = 0;
        if (::waitpid(pid_, &status, WNOHANG) != pid_ || out.how != ProgramEnd::How::ended) return;
        if (WIFSIGNALED(status)) out.how = ProgramEnd::How::by_signal;
        out.number = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    }

    const pid_t pid_;
    const Descriptor exited_;
    Pipe& output_;
    Pipe& errors_;
};

}  // namespace

bool is_given_variable(std::string_view name) {
    return std::find(kGiven.begin(), kGiven.end(), name) != kGiven.end() ||
           std::any_of(kGivenFamilies.begin(), kGivenFamilies.end(),
                       [&](std::string_view family) { return name.starts_with(family); });
}

ProgramEnd run_operator_program(const std::vector<std::string>& command, Duration within, int stop) {
    const Steady::time_point deadline = Steady::now() + std::chrono::duration_cast<Steady::duration>(within);
    Pipe output;
    Pipe errors;
    if (!output.make() || !errors.make())
        return {.how = ProgramEnd::How::not_started, .number = errno, .output = {}, .words = {}};
    pid_t pid = -1;
    const int failed = Spawning(output.theirs.get(), errors.theirs.get()).start(pid, command);
    if (failed != 0) return {.how = ProgramEnd::How::not_started, .number = failed, .output = {}, .words = {}};
    output.theirs = Descriptor();
    errors.theirs = Descriptor();
    return Running(pid, output, errors).wait(deadline, stop);
}

}  // namespace homeostat
