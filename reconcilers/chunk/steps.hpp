// How many steps the chunkers take in a thread: bytes that are looked at, and questions to ICU. Tests count them, because steps
// are the same on every machine, which a time is not. Nothing at all in a release build.
#pragma once

#include <cstdint>

namespace homeostat {

#if defined(HOMEOSTAT_FAULT_POINTS)
inline std::uint64_t& chunk_steps() noexcept {
    thread_local std::uint64_t steps = 0;
    return steps;
}
inline void count_chunk_steps(std::uint64_t n) noexcept { chunk_steps() += n; }
#else
inline void count_chunk_steps(std::uint64_t) noexcept {}
#endif

}  // namespace homeostat
