// A bounded pool of sessions. Reads and writes have a pool each, so that neither can starve the other.
// All calls are safe from any thread; a Lease belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "core/context.hpp"
#include "core/sync.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct PoolFigures {
    std::size_t size = 0;     // connections it may have
    std::size_t in_use = 0;   // with those that are being made
    std::size_t idle = 0;
    std::size_t waiting = 0;  // who waits for one
    std::uint64_t broken = 0; // that have broken, or could not be made, so far
};

class Pool {
public:
    // Returns its session to the pool when destroyed; a broken one is closed instead.
    class Lease {
    public:
        Lease(Pool& pool, std::unique_ptr<Session> session) : pool_(&pool), session_(std::move(session)) {}
        Lease(Lease&&) noexcept = default;
        Lease& operator=(Lease&&) = delete;
        ~Lease();
        Session& operator*() const { return *session_; }
        Session* operator->() const { return session_.get(); }

    private:
        Pool* pool_;
        std::unique_ptr<Session> session_;
    };

    Pool(ConnectOptions options, std::size_t size) : options_(std::move(options)), size_(size) {}

    // Waits for a free session (30 s at most), first come, first served, or connects one. Errors: db_transient, cancelled, and
    // what connecting says.
    Result<Lease> acquire(const Context& context) EXCLUDES(mutex_);
    std::size_t size() const noexcept { return size_; }
    PoolFigures figures() const EXCLUDES(mutex_);
    // Closes idle sessions that have broken since they were used, so that nobody takes them; costs no statement.
    void tend() EXCLUDES(mutex_);
    const ConnectOptions& options() const noexcept { return options_; }

private:
    void give_back(std::unique_ptr<Session> session) EXCLUDES(mutex_);

    const ConnectOptions options_;
    const std::size_t size_;
    mutable Mutex mutex_;
    CondVar freed_;
    std::vector<std::unique_ptr<Session>> idle_ GUARDED_BY(mutex_);
    std::deque<std::uint64_t> waiting_ GUARDED_BY(mutex_);  // tickets of those who wait
    std::uint64_t next_ticket_ GUARDED_BY(mutex_) = 0;
    std::size_t out_ GUARDED_BY(mutex_) = 0;
    std::uint64_t broken_ GUARDED_BY(mutex_) = 0;
};

}  // namespace homeostat
