// What a new process does between its birth and the program: the steps that build the cage, in order.
//
// The parent has threads, so until exec only plain system calls are made here: no allocation, no lock of libc or of a sanitizer.
// Everything needed is prepared beforehand in a ChildPlan; what fails is told through a pipe.
#pragma once

#include <cstddef>
#include <cstdint>

struct sock_filter;

namespace homeostat {

enum class SandboxStage : std::int32_t {
    none,
    session,
    identity,
    folder,
    descriptors,
    limits,
    privileges,
    filter,
    command,
    reading
};

struct ChildPlan {
    const char* program = nullptr;
    char* const* argv = nullptr;  // null: build the cage, tell what held, and end
    char* const* envp = nullptr;
    char* const* readable = nullptr;  // ends with a null; null: everything
    const char* folder = nullptr;
    const char* uid_map = nullptr;  // null: no namespaces
    const char* gid_map = nullptr;
    const char* scratch_options = nullptr;  // of the file system in memory
    int input = -1;
    int output = -1;
    int errors = -1;
    int started = -1;
    std::uint64_t memory_bytes = 0;
    std::uint64_t cpu_seconds = 0;
    bool root = false;
    sock_filter* filter = nullptr;
    std::size_t filter_length = 0;
    std::uint32_t own_pid_placeholder = 0;  // constants of this value in the filter become the process's own id
};

// What an examination writes: a SandboxFault of stage none whose number holds these bits.
inline constexpr std::int32_t kHeldNamespaces = 1;
inline constexpr std::int32_t kHeldLandlock = 2;
inline constexpr std::int32_t kHeldScratch = 4;
inline constexpr std::int32_t kHeldFilter = 8;

[[noreturn]] void become_sandboxed(const ChildPlan& plan) noexcept;

}  // namespace homeostat
