#include "reconcilers/embed/sandbox_child.hpp"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <type_traits>

#include "reconcilers/embed/sandbox.hpp"

namespace homeostat {

namespace {

constexpr int kStarted = 3;  // where the pipe to the parent is while the cage is built; exec closes it
constexpr std::size_t kSignalSetBytes = 8;

// ABI 3 of Landlock, newer than the headers of Debian 12.
constexpr std::uint64_t kLandlockTruncate = 1ULL << 14U;

// Whole registers: the kernel looks at all of them, and an int passed through `...` fills only half.
template <class T>
long word(T value) noexcept {
    if constexpr (std::is_pointer_v<T>)
        return reinterpret_cast<long>(value);
    else if constexpr (std::is_null_pointer_v<T>)
        return 0;
    else
        return static_cast<long>(value);
}

template <class... Args>
long sys(long number, Args... args) noexcept {
    return ::syscall(number, word(args)...);
}

[[noreturn]] void tell(int descriptor, SandboxStage stage, std::int32_t number) noexcept {
    const SandboxFault fault{static_cast<std::int32_t>(stage), number};
    sys(SYS_write, descriptor, &fault, sizeof fault);
    for (;;) sys(SYS_exit_group, stage == SandboxStage::none ? 0 : 127);
}

void require(bool fine, int descriptor, SandboxStage stage) noexcept {
    if (!fine) tell(descriptor, stage, errno);
}

bool write_file(const char* path, const char* text) noexcept {
    const long fd = sys(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) return false;
    std::size_t length = 0;
    while (text[length] != '\0') ++length;
    const bool written = sys(SYS_write, fd, text, length) == static_cast<long>(length);
    sys(SYS_close, fd);
    return written;
}

// In its own user namespace it is nobody, so that exec leaves it no capability; outside, its files are still the user's.
bool take_identity(const ChildPlan& plan) noexcept {
    return write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", plan.uid_map) &&
           write_file("/proc/self/gid_map", plan.gid_map);
}

void keep_only_pipes(const ChildPlan& plan) noexcept {
    const bool moved = sys(SYS_dup3, plan.input, 0, 0) == 0 && sys(SYS_dup3, plan.output, 1, 0) == 1 &&
                       sys(SYS_dup3, plan.errors, 2, 0) == 2 && sys(SYS_dup3, plan.started, kStarted, O_CLOEXEC) == kStarted;
    require(moved, plan.started, SandboxStage::descriptors);
    require(sys(SYS_close_range, kStarted + 1, ~0U, 0) == 0, kStarted, SandboxStage::descriptors);
    // Died before we asked to die with it? Then nobody holds the other end.
    pollfd watch{.fd = kStarted, .events = 0, .revents = 0};
    const std::array<std::int64_t, 2> at_once{};
    if (sys(SYS_ppoll, &watch, 1, at_once.data(), nullptr, kSignalSetBytes) > 0) sys(SYS_exit_group, 127);
}

bool limit(int what, std::uint64_t most) noexcept {
    const std::array<std::uint64_t, 2> both{most, most};
    return sys(SYS_prlimit64, 0, what, both.data(), nullptr) == 0;
}

void set_limits(const ChildPlan& plan) noexcept {
    bool fine = limit(RLIMIT_AS, plan.memory_bytes) && limit(RLIMIT_CPU, plan.cpu_seconds) && limit(RLIMIT_CORE, 0) &&
                limit(RLIMIT_FSIZE, kSandboxScratchBytes) && limit(RLIMIT_NOFILE, kSandboxDescriptors) &&
                limit(RLIMIT_MSGQUEUE, 0);
    // Counted for each user and namespace: elsewhere than in its own it would count everything the user runs. Root is exempt.
    if (plan.uid_map != nullptr) fine = fine && limit(RLIMIT_NPROC, kSandboxThreads);
    require(fine, kStarted, SandboxStage::limits);
    // Where memory runs out all the same, it goes first. A kernel without this file has no such choice to make.
    write_file("/proc/self/oom_score_adj", "1000");
}

void drop_privileges(const ChildPlan& plan) noexcept {
    if (plan.root && plan.uid_map == nullptr) {
        // Root without capabilities: exec gives none to uid 0 any more.
        constexpr unsigned long kBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                        SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                                        SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
        // Fails for a root that a container has already taken its capabilities from.
        sys(SYS_prctl, PR_SET_SECUREBITS, kBits, 0, 0, 0);
    }
    sys(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    require(sys(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, kStarted, SandboxStage::privileges);
    sys(SYS_umask, 077);
}

bool allow_below(long rules, const char* path, std::uint64_t access) noexcept {
    const long fd = sys(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
    if (fd < 0) return false;
    landlock_path_beneath_attr rule{};
    rule.allowed_access = access;
    rule.parent_fd = static_cast<std::int32_t>(fd);
    const bool added = sys(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
    sys(SYS_close, fd);
    return added;
}

// A folder with all that is in it, or a file; what is not there needs no rule.
void allow_reading(long rules, const char* path) noexcept {
    constexpr std::uint64_t kFile = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE;
    if (!allow_below(rules, path, kFile | LANDLOCK_ACCESS_FS_READ_DIR)) allow_below(rules, path, kFile);
}

// Reads what is listed; writes nothing but its own folder and /dev/null.
bool restrict_files(char* const* readable) noexcept {
    const long abi = sys(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1) return false;
    std::uint64_t file = LANDLOCK_ACCESS_FS_WRITE_FILE;
    if (abi >= 3) file |= kLandlockTruncate;
    const std::uint64_t folder = file | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                 LANDLOCK_ACCESS_FS_MAKE_SYM;
    landlock_ruleset_attr handled{};
    handled.handled_access_fs =
        folder | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SOCK;
    const std::uint64_t reading =
        readable == nullptr ? 0 : LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE;
    handled.handled_access_fs |= reading;
    const long rules = sys(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    if (rules < 0) return false;
    for (std::size_t i = 0; readable != nullptr && readable[i] != nullptr; ++i) allow_reading(rules, readable[i]);
    const bool held = allow_below(rules, ".", folder | reading) && allow_below(rules, "/dev/null", file) &&
                      sys(SYS_landlock_restrict_self, rules, 0) == 0;
    sys(SYS_close, rules);
    return held;
}

bool install_filter(const ChildPlan& plan) noexcept {
    const long self = sys(SYS_getpid);
    for (std::size_t i = 0; i < plan.filter_length; ++i) {
        if (plan.filter[i].k == plan.own_pid_placeholder) plan.filter[i].k = static_cast<std::uint32_t>(self);
    }
    const sock_fprog program{.len = static_cast<unsigned short>(plan.filter_length), .filter = plan.filter};
    return plan.filter_length > 0 && sys(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

// Ignored signals would stay ignored in the program, and all of them are blocked since before its birth.
void reset_signals() noexcept {
    const std::array<std::uint64_t, 8> plain{};
    for (int s = 1; s <= 64; ++s) sys(SYS_rt_sigaction, s, plain.data(), nullptr, kSignalSetBytes);
    sys(SYS_rt_sigprocmask, SIG_SETMASK, plain.data(), nullptr, kSignalSetBytes);
}

}  // namespace

void become_sandboxed(const ChildPlan& plan) noexcept {
    std::int32_t held = 0;
    require(sys(SYS_setsid) >= 0 && sys(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0, plan.started, SandboxStage::session);
    if (plan.uid_map != nullptr) {
        require(take_identity(plan), plan.started, SandboxStage::identity);
        held |= kHeldNamespaces;
        const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
        if (sys(SYS_mount, "tmpfs", plan.folder, "tmpfs", flags, plan.scratch_options) == 0) held |= kHeldScratch;
    }
    require(sys(SYS_chdir, plan.folder) == 0, plan.started, SandboxStage::folder);
    keep_only_pipes(plan);
    set_limits(plan);
    drop_privileges(plan);
    if (restrict_files(plan.readable)) held |= kHeldLandlock;
    require(plan.readable == nullptr || (held & kHeldLandlock) != 0, kStarted, SandboxStage::reading);
    reset_signals();
    require(install_filter(plan), kStarted, SandboxStage::filter);
    held |= kHeldFilter;
    if (plan.argv == nullptr) tell(kStarted, SandboxStage::none, held);
    sys(SYS_execve, plan.program, plan.argv, plan.envp);
    tell(kStarted, SandboxStage::command, errno);
}

}  // namespace homeostat
