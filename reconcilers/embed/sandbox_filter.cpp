#include "reconcilers/embed/sandbox_filter.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>

namespace homeostat {

namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr std::uint32_t kArchitecture = 0;
#endif

constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW;
constexpr std::uint32_t kRefuse = SECCOMP_RET_ERRNO | EPERM;
constexpr std::uint32_t kUnknown = SECCOMP_RET_ERRNO | ENOSYS;

// Newer than the headers of Debian 12; the numbers are the same on every processor since 5.1.
constexpr int kFchmodat2 = 452;
constexpr int kSetxattrat = 463;
constexpr int kRemovexattrat = 466;
constexpr int kOpenTreeAttr = 467;
constexpr int kFileSetattr = 469;

// Refused with EPERM whatever the arguments.
constexpr int kRefused[] = {
    // networks: no socket of any family (a pair of connected ones is allowed), and no second way to one
    SYS_socket,
    SYS_io_uring_setup,
    // new processes and ways out of the group that is killed; threads are SYS_clone, below
    SYS_setsid,
    SYS_setpgid,
#if defined(__x86_64__)
    SYS_fork,
    SYS_vfork,
#endif
    // other processes
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_process_madvise,
    SYS_process_mrelease,
    SYS_pidfd_open,
    SYS_pidfd_getfd,
    SYS_pidfd_send_signal,
    SYS_kcmp,
    SYS_tkill,
    SYS_migrate_pages,
    SYS_move_pages,
    SYS_setpriority,
    SYS_ioprio_set,
    SYS_sched_setparam,
    SYS_sched_setscheduler,
    SYS_sched_setattr,
    SYS_sched_setaffinity,
    // file systems and namespaces
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_move_mount,
    SYS_open_tree,
    kOpenTreeAttr,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_unshare,
    SYS_setns,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_name_to_handle_at,
    SYS_open_by_handle_at,
    SYS_fanotify_init,
    SYS_swapon,
    SYS_swapoff,
    // what Landlock does not see: the attributes of files, and a file cut short by name
    SYS_fchmod,
    SYS_fchmodat,
    kFchmodat2,
    SYS_fchown,
    SYS_fchownat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
    kSetxattrat,
    kRemovexattrat,
    kFileSetattr,
    SYS_utimensat,
    SYS_truncate,
#if defined(__x86_64__)
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_utime,
    SYS_utimes,
    SYS_futimesat,
#endif
    // the kernel
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_reboot,
    SYS_acct,
    SYS_syslog,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_vhangup,
    SYS_lookup_dcookie,
    SYS_nfsservctl,
    SYS_personality,
#if defined(__x86_64__)
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
#endif
    // identities and keys
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setfsuid,
    SYS_setfsgid,
    SYS_setgroups,
    SYS_capset,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    // memory that no limit counts
    SYS_memfd_create,
    SYS_memfd_secret,
    SYS_shmget,
    SYS_msgget,
    SYS_semget,
    SYS_mq_open,
    // its own limits
    SYS_setrlimit,
};

class Writer {
public:
    void put(std::uint16_t code, std::uint32_t k, std::uint8_t if_true = 0, std::uint8_t if_false = 0) {
        program_.push_back({code, if_true, if_false, k});
    }
    void load(std::size_t offset) { put(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)); }
    // The halves of an argument, as they lie in memory on the little-endian processors this is written for.
    void load_argument(int n) { load(offsetof(seccomp_data, args) + static_cast<std::size_t>(n) * 8); }
    void load_upper_argument(int n) { load(offsetof(seccomp_data, args) + static_cast<std::size_t>(n) * 8 + 4); }
    void end(std::uint32_t verdict) { put(BPF_RET | BPF_K, verdict); }
    void end_if(std::uint32_t value, std::uint32_t verdict) {
        put(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
        end(verdict);
    }
    // What `rest` writes decides about system call `number`, and has to decide.
    template <class F>
    void about(int number, F rest) {
        const std::size_t jump = program_.size();
        put(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number));
        rest();
        program_[jump].jf = static_cast<std::uint8_t>(program_.size() - jump - 1);
    }
    std::vector<sock_filter> take() { return std::move(program_); }

private:
    std::vector<sock_filter> program_;
};

// Refused only with certain arguments.
void put_conditions(Writer& w) {
    w.about(SYS_clone, [&] {
        w.load_argument(0);
        w.put(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0);
        w.end(kRefuse);
        w.end(kAllow);
    });
    // Its arguments are in memory, where a filter cannot look; libc falls back to clone.
    w.about(SYS_clone3, [&] { w.end(kUnknown); });
    for (const int number : {SYS_kill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo}) {
        w.about(number, [&] {
            w.load_argument(0);
            w.end_if(kOwnPidPlaceholder, kAllow);
            w.end(kRefuse);
        });
    }
    // Limits may be read, not set.
    w.about(SYS_prlimit64, [&] {
        w.load_argument(2);
        w.put(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
        w.end(kRefuse);
        w.load_upper_argument(2);
        w.end_if(0, kAllow);
        w.end(kRefuse);
    });
    // It dies with us, whatever it likes.
    w.about(SYS_prctl, [&] {
        w.load_argument(0);
        w.end_if(PR_SET_PDEATHSIG, kRefuse);
        w.end(kAllow);
    });
    // Two back doors to a signal of its choice for a process of its choice: the owner of a descriptor.
    w.about(SYS_fcntl, [&] {
        w.load_argument(1);
        for (const std::uint32_t command : {8U, 10U, 15U}) w.end_if(command, kRefuse);  // F_SETOWN, F_SETSIG, F_SETOWN_EX
        w.end(kAllow);
    });
    w.about(SYS_ioctl, [&] {
        w.load_argument(1);
        for (const std::uint32_t command : {0x8901U, 0x8902U}) w.end_if(command, kRefuse);  // FIOSETOWN, SIOCSPGRP
        w.end(kAllow);
    });
}

}  // namespace

std::vector<sock_filter> sandbox_filter() {
    if (kArchitecture == 0) return {};
    Writer w;
    // Another architecture's calls have other numbers: nothing below would mean what it says.
    w.load(offsetof(seccomp_data, arch));
    w.put(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0);
    w.end(SECCOMP_RET_KILL_PROCESS);
    w.load(offsetof(seccomp_data, nr));
#if defined(__x86_64__)
    constexpr std::uint32_t kX32 = 0x40000000;
    w.put(BPF_JMP | BPF_JGE | BPF_K, kX32, 0, 1);
    w.end(kUnknown);
#endif
    put_conditions(w);
    for (const int number : kRefused) w.end_if(static_cast<std::uint32_t>(number), kRefuse);
    w.end(kAllow);
    return w.take();
}

}  // namespace homeostat
