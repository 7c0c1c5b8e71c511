#include "core/fault_point.hpp"

#if defined(HOMEOSTAT_FAULT_POINTS)

#include <unistd.h>
#include <atomic>

#include <csignal>
#include <cstdlib>
#include <string>

namespace homeostat {

namespace {

struct Armed {
    std::string name;
    long countdown = 1;

    static Armed from_environment() {
        Armed armed;
        const char* text = std::getenv("HOMEOSTAT_FAULT_POINT");  // NOLINT(concurrency-mt-unsafe): read once, never written
        if (text == nullptr) return armed;
        armed.name = text;
        if (const std::size_t colon = armed.name.find(':'); colon != std::string::npos) {
            armed.countdown = std::strtol(armed.name.c_str() + colon + 1, nullptr, 10);
            armed.name.resize(colon);
        }
        return armed;
    }
};

}  // namespace

void reach_fault_point(std::string_view name) noexcept {
    static const Armed armed = Armed::from_environment();
    static std::atomic<long> left{armed.countdown};
    if (name == armed.name && left.fetch_sub(1) == 1) ::kill(::getpid(), SIGKILL);
}

bool has_planted(std::string_view bug) noexcept {
    static const char* const kBug = std::getenv("HOMEOSTAT_PLANT");  // NOLINT(concurrency-mt-unsafe): read once, never written
    return kBug != nullptr && bug == kBug;
}

}  // namespace homeostat

#endif
