#include "store/pg/pool.hpp"

#include <algorithm>

namespace homeostat {

Pool::Lease::~Lease() {
    if (session_) pool_->give_back(std::move(session_));
}

Result<Pool::Lease> Pool::acquire(const Context& context) {
    // The wait is on the condition variable's own clock; the context's deadline only bounds it from above.
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    {
        const Lock lock(mutex_);
        // First come, first served: whoever asks again and again must not starve who waits.
        const std::uint64_t ticket = next_ticket_++;
        waiting_.push_back(ticket);
        while (waiting_.front() != ticket || (idle_.empty() && out_ >= size_)) {
            const bool stopped = !freed_.wait_until(mutex_, context.stop, give_up);
            if (!stopped && std::chrono::steady_clock::now() < give_up) continue;
            std::erase(waiting_, ticket);
            freed_.notify_all();
            if (stopped) return cancelled("stopped while waiting for a database connection");
            return Error{.cls = ErrorClass::db_transient,
                         .message =
                             "no database connection became free within 30 s; raise database.read_connections or "
                             "database.write_connections"};
        }
        waiting_.pop_front();
        ++out_;
        if (!waiting_.empty()) freed_.notify_all();
        if (!idle_.empty()) {
            std::unique_ptr<Session> session = std::move(idle_.back());
            idle_.pop_back();
            if (session->usable()) return Lease(*this, std::move(session));
            ++broken_;
        }
    }
    // Connecting may take seconds, so nobody else waits behind the lock meanwhile.
    Result<std::unique_ptr<Session>> fresh = Session::connect(options_);
    if (!fresh) {
        give_back(nullptr);
        return std::move(fresh).error();
    }
    return Lease(*this, *std::move(fresh));
}

PoolFigures Pool::figures() const {
    const Lock lock(mutex_);
    return {size_, out_, idle_.size(), waiting_.size(), broken_};
}

void Pool::tend() {
    std::vector<std::unique_ptr<Session>> broken;
    const Lock lock(mutex_);
    for (std::unique_ptr<Session>& session : idle_) {
        if (!session->alive()) broken.push_back(std::move(session));
    }
    std::erase(idle_, nullptr);
    broken_ += broken.size();
}

void Pool::give_back(std::unique_ptr<Session> session) {
    // Where one broke the others most likely did: each would be found out by a call of its own. Closed without the lock.
    std::vector<std::unique_ptr<Session>> broken;
    const Lock lock(mutex_);
    --out_;
    if (session && session->usable()) {
        idle_.push_back(std::move(session));
    } else {
        ++broken_;
        broken.swap(idle_);
    }
    freed_.notify_all();  // only the first in the row takes it
}

}  // namespace homeostat
