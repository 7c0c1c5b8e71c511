// The seccomp filter of the sandbox, written by hand: a list of what is refused, because what interpreters and numeric libraries
// need differs from one to the next, and what none of them needs in order to compute does not. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <vector>

struct sock_filter;

namespace homeostat {

// Stands in the program wherever a process may only name itself; no process has this id.
inline constexpr std::uint32_t kOwnPidPlaceholder = 0x7ffffff1;

// Empty where the filter is not written for this processor.
std::vector<sock_filter> sandbox_filter();

}  // namespace homeostat
