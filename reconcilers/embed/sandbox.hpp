// A cage for programs that are not ours: started without a shell, with nothing of this process but three pipes and the variables
// named, and ended with all that belongs to it.
//
// Always: a session of its own, dead when the thread that started it dies; limits on memory, files, descriptors and processor
// time; no new privileges, no capabilities; a seccomp filter that refuses sockets, new processes, tracing, mounts, and every way
// out of its process group or into another process. So a program is one process, and one signal ends it. Where the system allows:
// its own user, process, network, IPC and mount namespaces, files read only where listed and written only in its own folder
// (Landlock), and that folder in memory.
//
// start_sandboxed() may be called from any thread, in a process with any number of them; the rest belongs to one owner.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace homeostat {

// An open file descriptor and the duty to close it.
class Descriptor {
public:
    explicit Descriptor(int fd = -1) noexcept : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
    Descriptor& operator=(Descriptor&& other) noexcept;
    ~Descriptor() { reset(); }

    int get() const noexcept { return fd_; }
    int release() noexcept;
    void reset() noexcept;

private:
    int fd_;
};

// What the cage is made of on this machine. Without the filter there is none, and no program is started.
struct SandboxReport {
    bool filter = false;  // seccomp
    bool namespaces = false;  // user, process, network, IPC, mount
    bool landlock = false;  // writes only in its own folder, reads only what is listed
    bool scratch = false;  // its own folder is a file system in memory, of kSandboxScratchBytes

    // "seccomp, limits, own namespaces, ...; not here: ..." for doctor and the log.
    std::string text() const;
};

inline constexpr std::uint64_t kSandboxScratchBytes = 16ULL << 20U;  // of its folder where that is in memory, else of each file
inline constexpr std::uint64_t kSandboxDescriptors = 64;
inline constexpr std::uint64_t kSandboxThreads =
    256;  // where it has its own user namespace: elsewhere the limit counts other people's

// Builds a cage around nothing and says what held. Blocks for some milliseconds. `namespaces` false leaves them out, as a system
// that forbids them would.
SandboxReport examine_sandbox(bool namespaces = true);

struct SandboxSpec {
    std::vector<std::string> command;  // an absolute path, then arguments
    std::string program;  // what is started; empty = the first of `command`
    std::vector<std::string> readable;  // files and folders; empty = whatever its user may read
    std::vector<std::string> environment;  // NAME=value, and nothing else
    std::uint64_t memory_bytes = 0;  // of its address space
    std::chrono::seconds lifetime{3600};  // it may not use more processor time than this gives it on every core
};

struct ProcessEnd {
    int code = 0;  // where it ended by itself
    int signal = 0;  // where a signal ended it

    std::string text() const;  // "ended with code 3", "was killed by SIGSEGV"
};

// A running program. Destroying it kills it and waits until it is gone (milliseconds, for it cannot refuse).
class SandboxedProcess {
public:
    SandboxedProcess(int pid, std::string folder) : pid_(pid), folder_(std::move(folder)) {}
    ~SandboxedProcess();
    SandboxedProcess(const SandboxedProcess&) = delete;
    SandboxedProcess& operator=(const SandboxedProcess&) = delete;

    int pid() const noexcept { return pid_; }
    void kill() noexcept;
    // How it ended, once it has; takes its entry from the process table and removes its folder. Never blocks.
    std::optional<ProcessEnd> reap();

private:
    std::optional<ProcessEnd> wait(bool block);

    int pid_;
    std::string folder_;
    std::optional<ProcessEnd> end_;
};

struct Sandboxed {
    std::unique_ptr<SandboxedProcess> process;
    Descriptor input;  // a socket: what is written to it the program reads (a socket, because writing to it raises no SIGPIPE)
    Descriptor output;  // a pipe: what the program writes
    Descriptor errors;  // a pipe: what it writes to its error output
    Descriptor started;  // a pipe: ends empty once the program runs; else a SandboxFault is in it
    Descriptor exited;  // readable once the program has ended (a pidfd)
};

// What the new process writes into `started` when it cannot become the program.
struct SandboxFault {
    std::int32_t stage = 0;
    std::int32_t number = 0;  // errno

    // "command "/nope" cannot be run (No such file or directory)"; class invalid, or local where it is not the command's fault.
    Error error(std::string_view command) const;
};

// `report` is what examine_sandbox() found. Fails with class local where this process has no memory, descriptors or processes
// left.
Result<Sandboxed> start_sandboxed(const SandboxSpec& spec, const SandboxReport& report);

}  // namespace homeostat
