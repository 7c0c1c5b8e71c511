#include "reconcilers/gateway/memory.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

namespace homeostat {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();
constexpr double kShrinkFrom = 0.8;
constexpr double kStopFrom = 0.9;
constexpr double kResumeBelow = 0.85;
constexpr double kLeastScale = 0.1;

std::uint64_t number_or(std::string_view text, std::uint64_t otherwise) {
    std::uint64_t n = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    return error == std::errc{} && end != text.data() ? n : otherwise;
}

// The number that a file of one line begins with; "max" and what is not there limit nothing.
std::uint64_t limit_in(const fs::path& file) {
    std::ifstream in(file);
    std::string line;
    return std::getline(in, line) ? number_or(line, kUnlimited) : kUnlimited;
}

// A limit above binds too. In a container the path is the host's, of which only the root may be to see: that is read last.
std::uint64_t least_up_from(const fs::path& root, const std::string& group, std::string_view file) {
    std::uint64_t least = kUnlimited;
    for (fs::path at = fs::path(group).relative_path();; at = at.parent_path()) {
        least = std::min(least, limit_in(root / at / file));
        if (at.empty()) return least;
    }
}

// Lines "0::/path" (v2) and "5:memory,hugetlb:/path" (v1).
std::uint64_t cgroup_limit(const fs::path& proc, const fs::path& sys) {
    std::uint64_t least = kUnlimited;
    std::ifstream in(proc / "self/cgroup");
    for (std::string line; std::getline(in, line);) {
        const auto first = line.find(':');
        const auto second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        const std::string group = line.substr(second + 1);
        if (controllers == ",,") least = std::min(least, least_up_from(sys / "fs/cgroup", group, "memory.max"));
        if (controllers.find(",memory,") != std::string::npos) {
            least = std::min(least, least_up_from(sys / "fs/cgroup/memory", group, "memory.limit_in_bytes"));
        }
    }
    return least;
}

std::uint64_t machine_memory(const fs::path& proc) {
    std::ifstream in(proc / "meminfo");
    for (std::string line; std::getline(in, line);) {
        std::istringstream words(line);
        std::string name;
        std::uint64_t kib = 0;
        if (words >> name >> kib && name == "MemTotal:") return kib * 1024;
    }
    return kUnlimited;
}

}  // namespace

std::uint64_t memory_limit(const fs::path& proc, const fs::path& sys) {
    const std::uint64_t least = std::min(cgroup_limit(proc, sys), machine_memory(proc));
    return least == kUnlimited ? 0 : least;
}

std::uint64_t resident_bytes(const fs::path& proc) {
    std::ifstream in(proc / "self/statm");
    std::uint64_t size = 0;
    std::uint64_t resident = 0;
    if (!(in >> size >> resident)) return 0;
    return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::string_view to_string(MemoryLevel level) noexcept {
    switch (level) {
        case MemoryLevel::normal: return "normal";
        case MemoryLevel::shrinking: return "shrinking";
        case MemoryLevel::stopped: return "stopped";
    }
    return "stopped";
}

MemoryLevel memory_level(double share, MemoryLevel before) noexcept {
    if (share >= kStopFrom) return MemoryLevel::stopped;
    if (before == MemoryLevel::stopped && share >= kResumeBelow) return MemoryLevel::stopped;
    return share >= kShrinkFrom ? MemoryLevel::shrinking : MemoryLevel::normal;
}

double scale_of(double share) noexcept {
    const double past = std::clamp((share - kShrinkFrom) / (kStopFrom - kShrinkFrom), 0.0, 1.0);
    return 1 - past * (1 - kLeastScale);
}

MemoryBudget::MemoryBudget(std::uint64_t bytes, Registry& metrics)
    : budget_(std::max<std::uint64_t>(bytes, 1)),
      gauges_{metrics.gauge("homeostat_memory_budget_bytes", "Memory that batches may hold together."),
              metrics.gauge("homeostat_memory_held_bytes", "Memory that batches hold."),
              metrics.gauge("homeostat_memory_resident_bytes", "Memory that the process has in use."),
              metrics.gauge("homeostat_memory_level", "0 normal, 1 batches shrink, 2 nothing is admitted.")} {
    gauges_.budget.set(static_cast<double>(budget_));
}

double MemoryBudget::share() const {
    const double held = static_cast<double>(held_) / static_cast<double>(budget_);
    const double real = limit_ == 0 ? 0 : static_cast<double>(resident_) / static_cast<double>(limit_);
    return std::max(held, real);
}

void MemoryBudget::settle() {
    level_ = memory_level(share(), level_);
    gauges_.held.set(static_cast<double>(held_));
    gauges_.resident.set(static_cast<double>(resident_));
    gauges_.level.set(static_cast<double>(level_));
}

std::optional<MemoryBudget::Hold> MemoryBudget::try_admit(std::uint64_t bytes) {
    const Lock lock(mutex_);
    const double after = (static_cast<double>(held_) + static_cast<double>(bytes)) / static_cast<double>(budget_);
    if (holds_ > 0 && (level_ == MemoryLevel::stopped || after > kStopFrom)) return std::nullopt;
    ++holds_;
    held_ += bytes;
    settle();
    return Hold(*this, bytes);
}

void MemoryBudget::change(std::uint64_t from, std::uint64_t to, std::size_t ended) {
    const Lock lock(mutex_);
    held_ += to - from;
    holds_ -= ended;
    settle();
}

double MemoryBudget::scale() const {
    const Lock lock(mutex_);
    return scale_of(share());
}

void MemoryBudget::observe_resident(std::uint64_t resident, std::uint64_t limit) {
    const Lock lock(mutex_);
    resident_ = resident;
    limit_ = limit;
    settle();
}

MemoryState MemoryBudget::state() const {
    const Lock lock(mutex_);
    return {.held = held_, .budget = budget_, .resident = resident_, .limit = limit_, .level = level_};
}

}  // namespace homeostat
