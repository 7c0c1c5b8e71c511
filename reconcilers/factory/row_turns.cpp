#include "reconcilers/factory/row_turns.hpp"

#include <spdlog/spdlog.h>

#include "store/pg/lock_holders.hpp"

namespace homeostat {

RowTurns::Turn RowTurns::give_way(Session& session, std::int64_t uid, const std::stop_token& stop) {
    const SteadyTime began = clock_.steady_now();
    begin(began);
    Turn turn(*this);
    if (due(began)) look(session);
    while (waited_for(uid, clock_.steady_now())) {
        if (stop.stop_requested()) break;
        if (clock_.steady_now() - began >= kPatience) {
            const Lock lock(mutex_);
            in_vain_[uid] = clock_.steady_now() + kInVain;
            break;
        }
        {
            Mutex own;
            CondVar nobody;
            const Lock lock(own);
            nobody.wait_until(own, stop, std::chrono::steady_clock::now() + kAgain);
        }
        if (due(clock_.steady_now())) look(session);
    }
    return turn;
}

// After a pause the time until the next look begins anew.
void RowTurns::begin(SteadyTime now) {
    const Lock lock(mutex_);
    if (under_way_ == 0 && (!ended_ || now - *ended_ >= kLook)) {
        looked_ = now;
        waited_for_.clear();
    }
    ++under_way_;
}

void RowTurns::ended() {
    const Lock lock(mutex_);
    --under_way_;
    ended_ = clock_.steady_now();
}

// Whoever is told so looks.
bool RowTurns::due(SteadyTime now) {
    const Lock lock(mutex_);
    if (now - *looked_ < (waited_for_.empty() ? kLook : kAgain)) return false;
    looked_ = now;
    return true;
}

bool RowTurns::waited_for(std::int64_t uid, SteadyTime now) {
    const Lock lock(mutex_);
    if (!waited_for_.contains(uid)) return false;
    const auto vain = in_vain_.find(uid);
    if (vain == in_vain_.end()) return true;
    if (now < vain->second) return false;
    in_vain_.erase(vain);
    return true;
}

void RowTurns::look(Session& session) {
    Result<std::set<std::int64_t>> found = pipelines_waited_for(session);
    if (!found) spdlog::debug("it cannot be seen who waits for pipelines' rows: {}", found.error().message);
    const Lock lock(mutex_);
    waited_for_ = found ? *std::move(found) : std::set<std::int64_t>();
}

}  // namespace homeostat
