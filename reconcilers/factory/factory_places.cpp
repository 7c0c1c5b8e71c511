// The places that batches run in: how many are free to claim for, and those kept for batches that are claimed as they are
// planned.
#include <algorithm>

#include "reconcilers/factory/factory.hpp"

namespace homeostat {

namespace {

constexpr int kProvidersAtOnce = 4;  // with all their slots

}  // namespace

// Each provider has `slots` of its own, so that one that hangs leaves the others theirs. A quarter of them is claimed at a time,
// so that claiming does not cost a transaction a batch.
Factory::Room Factory::room() const {
    const Lock lock(mutex_);
    Room r;
    if (draining_ || trials_.exclusive()) return r;
    std::map<std::string_view, int> used;
    int reserved = 0;
    for (const auto& [provider, n] : reserved_) {
        used[provider] = n;
        reserved += n;
    }
    r.idle = running_.empty() && reserved == 0;
    r.limit = std::min(settings_.slots, settings_.slots * kProvidersAtOnce - static_cast<int>(running_.size()) - reserved);
    for (const auto& [id, running] : running_) ++used[running->batch.provider];
    for (const auto& [provider, n] : used) {
        const int left = settings_.slots - n;
        if (left < std::max(1, settings_.slots / 4)) {
            r.blocked.emplace_back(provider);
        } else {
            r.limit = std::min(r.limit, left);
        }
    }
    return r;
}

Factory::Places Factory::reserve(const DeclaredProvider& declared, int wanted) {
    if (parts_.memory.state().level == MemoryLevel::stopped || parts_.gate.state() != WriteGate::State::open) return {};
    const std::vector<DeclaredProvider> blocked = parts_.gateway.blocked();
    if (std::find(blocked.begin(), blocked.end(), declared) != blocked.end()) return {};
    const std::string& provider = declared.name;
    const Lock lock(mutex_);
    if (draining_ || trials_.exclusive()) return {};
    const auto used = std::count_if(running_.begin(), running_.end(),
                                    [&](const auto& entry) { return entry.second->batch.provider == provider; });
    int& reserved = reserved_[provider];
    // A quarter more than a fill may use: however full it is, an edit finds a place.
    const int count = std::min(wanted, settings_.slots + std::max(1, settings_.slots / 4) - static_cast<int>(used) - reserved);
    if (count <= 0) return {};
    reserved += count;
    return {*this, provider, count};
}

Places& Places::operator=(Places&& other) noexcept {
    if (this == &other) return *this;
    give_back();
    factory_ = std::exchange(other.factory_, nullptr);
    provider_ = std::move(other.provider_);
    count_ = other.count_;
    return *this;
}

void Places::give_back() noexcept {
    if (factory_ == nullptr) return;
    const Lock lock(factory_->mutex_);
    const auto it = factory_->reserved_.find(provider_);
    if (it != factory_->reserved_.end()) {
        it->second -= count_;
        if (it->second <= 0) factory_->reserved_.erase(it);
    }
    factory_ = nullptr;
}

void Factory::start(Places places, std::vector<Batch> claimed, Session& session, const std::shared_ptr<const TargetInfo>& target,
                    const Context& context) {
    // Several are read side by side.
    const bool one = claimed.size() == 1;
    for (Batch& b : claimed) {
        std::shared_ptr<Running> running = enter(std::move(b));
        if (one) running->ahead = {target, read_ahead(session, running->batch, *target, context)};
        start(std::move(running));
    }
    places.give_back();
}

}  // namespace homeostat
