#include "reconcilers/gateway/left_to_others.hpp"

#include <utility>

#include "reconcilers/embed/secret.hpp"

namespace homeostat {

namespace {

// For so long others are believed to have what is missing here, before any of them has asked.
constexpr Duration kBelieved = std::chrono::seconds(15);
constexpr Duration kTryLocal = std::chrono::seconds(5);    // costs the provider nothing
constexpr Duration kTryRemote = std::chrono::minutes(1);  // it has refused us
constexpr std::string_view kRefused = "ProviderRefused";   // told by who lacks the secret too

DeclaredProvider declared(const LeftToOthers::Asked& asked) {
    return {asked.provider.name, asked.provider.uid, asked.provider.generation};
}

}  // namespace

FaultPlace fault_place(const Error& error) {
    if (error.code == kCredentialCode) return FaultPlace::here;
    return error.cls == ErrorClass::auth || error.cls == ErrorClass::local ? FaultPlace::perhaps : FaultPlace::elsewhere;
}

bool LeftToOthers::others_can(const Entry& entry, const Others& others, SteadyTime now) {
    if (others.live == 0) return false;
    const bool here = fault_place(entry.error) == FaultPlace::here;
    bool told = false;
    for (const OthersWord& word : others.words) {
        if (word.uid != entry.asked.provider.uid || word.generation != entry.asked.provider.generation) continue;
        told = true;
        if (word.healthy || (here && word.reason != kRefused)) return true;
    }
    return here && !told && now - entry.since < kBelieved;
}

bool LeftToOthers::failed(const Asked& asked, const Error& error, const Others& others, SteadyTime now) {
    if (fault_place(error) == FaultPlace::elsewhere) return false;
    const Lock lock(mutex_);
    const auto [it, fresh] = entries_.try_emplace(declaration_key(declared(asked)));
    Entry& entry = it->second;
    entry.asked = asked;
    entry.error = error;
    if (fresh) {
        entry.since = now;
        entry.live = others.live;
        entry.next_try = now + kTryLocal;
    }
    entry.left = others_can(entry, others, now);
    const bool left = entry.left;
    // Of what is missing here is remembered since when; any other fault is the lane's to keep.
    if (!left && fault_place(error) != FaultPlace::here) entries_.erase(it);
    return left;
}

std::vector<std::string> LeftToOthers::heard(const Others& others, SteadyTime now) {
    const Lock lock(mutex_);
    std::vector<std::string> out;
    for (auto& [key, entry] : entries_) {
        if (others.live > std::exchange(entry.live, others.live)) entry.since = now;
        if (!std::exchange(entry.left, others_can(entry, others, now)) && entry.left) out.push_back(entry.asked.provider.name);
    }
    return out;
}

bool LeftToOthers::over(const DeclaredProvider& provider) {
    const Lock lock(mutex_);
    const auto it = entries_.find(declaration_key(provider));
    if (it == entries_.end()) return false;
    const bool left = it->second.left;
    entries_.erase(it);
    return left;
}

bool LeftToOthers::empty() const {
    const Lock lock(mutex_);
    return entries_.empty();
}

bool LeftToOthers::contains(const DeclaredProvider& provider) const {
    const Lock lock(mutex_);
    const auto it = entries_.find(declaration_key(provider));
    return it != entries_.end() && it->second.left;
}

std::vector<DeclaredProvider> LeftToOthers::all() const {
    const Lock lock(mutex_);
    std::vector<DeclaredProvider> out;
    for (const auto& [key, entry] : entries_) {
        if (entry.left) out.push_back(declared(entry.asked));
    }
    return out;
}

std::vector<LeftToOthers::Line> LeftToOthers::lines() const {
    const Lock lock(mutex_);
    std::vector<Line> out;
    for (const auto& [key, entry] : entries_) {
        if (entry.left) out.push_back({entry.asked.provider.name, entry.error.message});
    }
    return out;
}

std::vector<LeftToOthers::Asked> LeftToOthers::take_due(SteadyTime now) {
    const Lock lock(mutex_);
    std::vector<Asked> out;
    for (auto& [key, entry] : entries_) {
        // Also what nobody else reaches any more: what is told of it is else the last word of one that has gone.
        if (now < entry.next_try) continue;
        const bool asks = entry.error.cls == ErrorClass::auth && fault_place(entry.error) != FaultPlace::here;
        entry.next_try = now + (asks ? kTryRemote : kTryLocal);
        out.push_back(entry.asked);
    }
    return out;
}

}  // namespace homeostat
