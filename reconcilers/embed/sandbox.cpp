#include "reconcilers/embed/sandbox.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <thread>

#include "reconcilers/embed/sandbox_child.hpp"
#include "reconcilers/embed/sandbox_filter.hpp"

namespace homeostat {

namespace {

constexpr std::uint64_t kExaminationBytes = 1ULL << 40U;  // it allocates nothing, and what it is a copy of may be large
constexpr unsigned long kNamespaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS;

Error local(std::string_view what, int number) {
    return {.cls = ErrorClass::local,
            .message = fmt::format("no program can be started: {} ({}); it is tried again", what, std::strerror(number)),
            .origin = Origin::ours,
            .code = strerrorname_np(number) == nullptr ? "" : strerrorname_np(number)};
}

struct Ends {
    Descriptor ours;
    Descriptor theirs;
};

// Theirs is above the standard descriptors, wherever this process has closed some of those: it is copied onto them.
Status settle(int ours, int theirs, Ends& out) {
    constexpr int kAboveStandard = 10;
    out.ours = Descriptor(ours);
    const Descriptor low(theirs);
    out.theirs = Descriptor(fcntl(theirs, F_DUPFD_CLOEXEC, kAboveStandard));
    if (out.theirs.get() < 0) return local("no descriptor is free", errno);
    return {};
}

Status make_socket(Ends& out) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return local("no socket can be made", errno);
    return settle(fds[0], fds[1], out);
}

Status make_pipe(Ends& out) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return local("no pipe can be made", errno);
    return settle(fds[0], fds[1], out);
}

struct Pipes {
    Ends input, output, errors, started;

    Status make() {
        if (Status s = make_socket(input); !s) return s;
        if (Status s = make_pipe(output); !s) return s;
        if (Status s = make_pipe(errors); !s) return s;
        return make_pipe(started);
    }
};

Result<std::string> make_folder() {
    std::error_code ec;
    std::string path = (std::filesystem::temp_directory_path(ec) / "homeostat-exec-XXXXXX").string();
    if (ec || mkdtemp(path.data()) == nullptr)
        return local("no folder can be made for it below " + path, ec ? ec.value() : errno);
    return path;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> out;
    for (std::string& w : words) out.push_back(w.data());
    out.push_back(nullptr);
    return out;
}

// No signal handler of ours may run in the child between its birth and exec.
class SignalsBlocked {
public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
    sigset_t before_{};
};

// The raw call, because glibc's fork would run the handlers of every library, and its clone wants a stack.
int give_birth(const ChildPlan& plan, Descriptor& exited) {
    int pidfd = -1;
    const unsigned long flags = CLONE_PIDFD | SIGCHLD | (plan.uid_map != nullptr ? kNamespaces : 0);
    const SignalsBlocked blocked;
    const long pid = ::syscall(SYS_clone, flags, nullptr, &pidfd, nullptr, nullptr);
    if (pid == 0) become_sandboxed(plan);
    if (pid > 0) exited = Descriptor(pidfd);
    return static_cast<int>(pid);
}

// Everything a plan points to, kept together.
struct Preparation {
    std::vector<std::string> command, environment, listed;
    std::vector<char*> argv, envp, readable;
    std::string uid_map, gid_map, scratch_options;
    std::vector<sock_filter> filter = sandbox_filter();
    ChildPlan plan;

    Preparation(const SandboxSpec& spec, const std::string& folder, const Pipes& pipes, bool namespaces)
        : command(spec.command),
          environment(spec.environment),
          listed(spec.readable),
          argv(pointers(command)),
          envp(pointers(environment)),
          readable(pointers(listed)) {
        constexpr int kNobody = 65534;
        uid_map = fmt::format("{} {} 1", kNobody, geteuid());
        gid_map = fmt::format("{} {} 1", kNobody, getegid());
        scratch_options = fmt::format("size={},nr_inodes=1024,mode=0700", kSandboxScratchBytes);
        plan.argv = command.empty() ? nullptr : argv.data();
        plan.envp = envp.data();
        plan.program = spec.program.empty() ? argv.front() : spec.program.c_str();
        plan.readable = listed.empty() ? nullptr : readable.data();
        plan.folder = folder.c_str();
        plan.uid_map = namespaces ? uid_map.c_str() : nullptr;
        plan.gid_map = gid_map.c_str();
        plan.scratch_options = scratch_options.c_str();
        plan.input = pipes.input.theirs.get();
        plan.output = pipes.output.theirs.get();
        plan.errors = pipes.errors.theirs.get();
        plan.started = pipes.started.theirs.get();
        plan.memory_bytes = spec.memory_bytes;
        plan.cpu_seconds = static_cast<std::uint64_t>(spec.lifetime.count()) * std::max(1U, std::thread::hardware_concurrency());
        plan.root = geteuid() == 0;
        plan.filter = filter.data();
        plan.filter_length = filter.size();
        plan.own_pid_placeholder = kOwnPidPlaceholder;
    }
};

Result<Sandboxed> start(const SandboxSpec& spec, bool namespaces) {
    Pipes pipes;
    if (Status s = pipes.make(); !s) return std::move(s).error();
    Result<std::string> folder = make_folder();
    if (!folder) return std::move(folder).error();
    const Preparation prepared(spec, *folder, pipes, namespaces);
    Sandboxed out;
    const int pid = give_birth(prepared.plan, out.exited);
    if (pid < 0) {
        const int number = errno;
        rmdir(folder->c_str());
        return local("no process can be made", number);
    }
    out.process = std::make_unique<SandboxedProcess>(pid, *std::move(folder));
    out.input = std::move(pipes.input.ours);
    out.output = std::move(pipes.output.ours);
    out.errors = std::move(pipes.errors.ours);
    out.started = std::move(pipes.started.ours);
    return out;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    if (this != &other) {
        reset();
        fd_ = other.release();
    }
    return *this;
}

int Descriptor::release() noexcept { return std::exchange(fd_, -1); }

void Descriptor::reset() noexcept {
    if (const int fd = release(); fd >= 0) close(fd);
}

std::string SandboxReport::text() const {
    if (!filter) return "no sandbox: this kernel or processor has no seccomp filter, so no program is started";
    std::string here = "seccomp, limits, no new privileges";
    std::string missing;
    const auto add = [&](bool held, std::string_view name) {
        std::string& list = held ? here : missing;
        list += list.empty() ? "" : ", ";
        list += name;
    };
    add(namespaces, "own namespaces");
    add(landlock, "Landlock");
    add(scratch, "folder in memory");
    return missing.empty() ? here : here + "; not here: " + missing;
}

SandboxReport examine_sandbox(bool namespaces) {
    const SandboxSpec nothing{.command = {}, .environment = {}, .memory_bytes = kExaminationBytes};
    Result<Sandboxed> caged = start(nothing, namespaces);
    SandboxFault found;
    if (caged && read(caged->started.get(), &found, sizeof found) == static_cast<ssize_t>(sizeof found) && found.stage == 0) {
        const auto held = [&](std::int32_t bit) { return (found.number & bit) != 0; };
        return {held(kHeldFilter), held(kHeldNamespaces), held(kHeldLandlock), held(kHeldScratch)};
    }
    // Namespaces may be forbidden at birth or when the identity is taken; the rest may still hold.
    return namespaces ? examine_sandbox(false) : SandboxReport{};
}

std::string ProcessEnd::text() const {
    if (signal == 0) return fmt::format("ended with code {}", code);
    const char* name = sigabbrev_np(signal);
    return name == nullptr ? fmt::format("was killed by signal {}", signal) : fmt::format("was killed by SIG{}", name);
}

SandboxedProcess::~SandboxedProcess() {
    kill();
    wait(true);
}

void SandboxedProcess::kill() noexcept {
    if (end_) return;
    ::kill(pid_, SIGKILL);
    // Nothing can have joined or left its group; this is for a kernel that thinks otherwise.
    ::kill(-pid_, SIGKILL);
}

std::optional<ProcessEnd> SandboxedProcess::reap() { return wait(false); }

std::optional<ProcessEnd> SandboxedProcess::wait(bool block) {
    if (end_) return end_;
    siginfo_t info{};
    int result = 0;
    do {
        result = waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | (block ? 0 : WNOHANG));
    } while (result != 0 && errno == EINTR);
    if (result == 0 && info.si_pid == 0) return std::nullopt;
    end_ = info.si_code == CLD_EXITED ? ProcessEnd{.code = info.si_status, .signal = 0}
                                      : ProcessEnd{.code = 0, .signal = info.si_status};
    std::error_code ignored;  // what cannot be removed is for whoever cleans the temporary folder
    std::filesystem::remove_all(folder_, ignored);
    return end_;
}

Error SandboxFault::error(std::string_view command) const {
    const char* reason = std::strerror(number);
    switch (static_cast<SandboxStage>(stage)) {
        case SandboxStage::command:
            // Memory, processes and descriptors come back; a path that is wrong stays so.
            if (number == EAGAIN || number == ENFILE || number == EMFILE) return local("it cannot be loaded", number);
            if (number == ENOMEM) {
                return invalid(fmt::format("command \"{}\" does not fit into its memory limit; raise memory_limit_mb", command));
            }
            return invalid(fmt::format("command \"{}\" cannot be run ({})", command, reason));
        case SandboxStage::session: return local("it gets no session of its own", number);
        case SandboxStage::identity: return local("its identity cannot be set", number);
        case SandboxStage::folder: return local("its folder cannot be entered", number);
        case SandboxStage::descriptors: return local("its pipes cannot be laid", number);
        case SandboxStage::limits: return local("its limits cannot be set", number);
        case SandboxStage::privileges: return local("its privileges cannot be dropped", number);
        case SandboxStage::reading: return local("what it reads cannot be limited", number);
        case SandboxStage::filter: return local("its seccomp filter cannot be set", number);
        case SandboxStage::none: break;
    }
    return internal_error("the sandbox told of a fault that there is not");
}

Result<Sandboxed> start_sandboxed(const SandboxSpec& spec, const SandboxReport& report) {
    if (spec.command.empty()) return invalid("no command is declared");
    return start(spec, report.namespaces);
}

}  // namespace homeostat
