// How much memory there is, and who may have it: one budget in bytes for everything that batches hold between being read and
// being written. Admission stops at 90 % of it and resumes by itself below 85 %; from 80 % on new batches read less. One hold is
// always granted, however large and however full, so that a document larger than the budget goes through alone.
//
// Every call is safe from any thread and none blocks: who is refused asks again when something has been given back. The budget
// outlives its holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "core/sync.hpp"
#include "core/telemetry.hpp"

namespace homeostat {

// The least of: memory.max of this process's cgroup and of all above it (v2), memory.limit_in_bytes likewise (v1), and MemTotal.
// Zero where none can be read. What a limit above the machine's memory says is not believed.
std::uint64_t memory_limit(const std::filesystem::path& proc = "/proc", const std::filesystem::path& sys = "/sys");
// What this process has in memory now; zero where it cannot be read.
std::uint64_t resident_bytes(const std::filesystem::path& proc = "/proc");

enum class MemoryLevel : std::uint8_t { normal, shrinking, stopped };
std::string_view to_string(MemoryLevel level) noexcept;

// Pure: the level at this share of the budget, after having been at `before`. What was stopped goes on below 85 %, not at 89.9 %.
MemoryLevel memory_level(double share, MemoryLevel before) noexcept;
// Pure: what a new batch may read, as a part of its usual read: 1 below 80 %, falling evenly to 0.1 at 90 % and from there on.
double scale_of(double share) noexcept;

struct MemoryState {
    std::uint64_t held = 0;
    std::uint64_t budget = 0;
    std::uint64_t resident = 0;
    std::uint64_t limit = 0;
    MemoryLevel level = MemoryLevel::normal;
};

class MemoryBudget {
public:
    class Hold;

    MemoryBudget(std::uint64_t bytes, Registry& metrics);
    MemoryBudget(const MemoryBudget&) = delete;
    MemoryBudget& operator=(const MemoryBudget&) = delete;

    // Nothing where admission is stopped, or these bytes would take it past 90 %; but the only hold is always granted.
    [[nodiscard]] std::optional<Hold> try_admit(std::uint64_t bytes) EXCLUDES(mutex_);
    double scale() const EXCLUDES(mutex_);
    // What the process really uses, of what it may. It decides where its share is greater than that of the holds.
    void observe_resident(std::uint64_t resident, std::uint64_t limit) EXCLUDES(mutex_);
    MemoryState state() const EXCLUDES(mutex_);

private:
    struct Gauges {
        Gauge& budget;
        Gauge& held;
        Gauge& resident;
        Gauge& level;
    };
    double share() const REQUIRES(mutex_);
    void settle() REQUIRES(mutex_);
    void change(std::uint64_t from, std::uint64_t to, std::size_t ended) EXCLUDES(mutex_);

    const std::uint64_t budget_;
    Gauges gauges_;
    mutable Mutex mutex_;
    std::uint64_t held_ GUARDED_BY(mutex_) = 0;
    std::size_t holds_ GUARDED_BY(mutex_) = 0;
    std::uint64_t resident_ GUARDED_BY(mutex_) = 0;
    std::uint64_t limit_ GUARDED_BY(mutex_) = 0;
    MemoryLevel level_ GUARDED_BY(mutex_) = MemoryLevel::normal;
};

// Bytes that are counted until it is destroyed. Belongs to one thread (or coroutine) at a time.
class [[nodiscard]] MemoryBudget::Hold {
public:
    Hold(Hold&& other) noexcept : budget_(std::exchange(other.budget_, nullptr)), bytes_(other.bytes_) {}
    Hold& operator=(Hold&& other) noexcept {
        std::swap(budget_, other.budget_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~Hold() {
        if (budget_ != nullptr) budget_->change(bytes_, 0, 1);
    }

    // What has been admitted is never refused more: it may take the budget past its end, and then nothing else is admitted.
    void resize(std::uint64_t bytes) { budget_->change(std::exchange(bytes_, bytes), bytes, 0); }
    std::uint64_t bytes() const noexcept { return bytes_; }

private:
    friend class MemoryBudget;
    Hold(MemoryBudget& budget, std::uint64_t bytes) : budget_(&budget), bytes_(bytes) {}

    MemoryBudget* budget_;
    std::uint64_t bytes_;
};

}  // namespace homeostat
