#include "reconcilers/gateway/cache_policy.hpp"

#include <algorithm>
#include <functional>

namespace homeostat {

namespace {

constexpr std::uint8_t kMostCounted = 15;
constexpr std::size_t kAgeAfter = 10;          // times the width of the sketch
constexpr double kProtectedShare = 0.8;        // of the main part, as in the paper
constexpr double kLeastShare = 0.01;        // of the window
constexpr double kMostShare = 0.99;
constexpr std::size_t kGhostPart = 10;      // the ghosts stand for a tenth of the bytes

constexpr std::array<std::uint64_t, 4> kSeeds{0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9, 0xd6e8feb86659fd93};

// The low bits choose the counter, so that a sketch of twice the width finds in both halves what the smaller one knew.
std::size_t slot(std::uint64_t hash, std::size_t row, std::size_t width) noexcept {
    std::uint64_t h = (hash ^ (hash >> 32)) * kSeeds[row];
    h ^= h >> 29;
    h *= kSeeds[3 - row];
    return (h ^ (h >> 32)) & (width - 1);
}

std::uint64_t hash_of(std::string_view key) noexcept { return std::hash<std::string_view>{}(key); }

}  // namespace

void FrequencySketch::add(std::uint64_t hash) noexcept {
    for (std::size_t row = 0; row < kRows; ++row) {
        std::uint8_t& n = rows_[slot(hash, row, width_)][row];
        if (n < kMostCounted) ++n;
    }
    if (++added_ < kAgeAfter * width_) return;
    for (auto& counters : rows_) {
        for (std::uint8_t& n : counters) n /= 2;
    }
    added_ /= 2;
}

std::uint32_t FrequencySketch::count(std::uint64_t hash) const noexcept {
    std::uint32_t least = kMostCounted;
    for (std::size_t row = 0; row < kRows; ++row) {
        least = std::min<std::uint32_t>(least, rows_[slot(hash, row, width_)][row]);
    }
    return least;
}

void FrequencySketch::grow(std::size_t keys) {
    while (width_ < keys) {
        rows_.resize(width_ * 2);
        std::copy_n(rows_.begin(), width_, rows_.begin() + static_cast<std::ptrdiff_t>(width_));
        width_ *= 2;
    }
}

void GhostList::add(std::uint64_t hash, std::size_t size) {
    if (size == 0) return;
    take(hash);
    order_.push_back({hash, size});
    where_[hash] = std::prev(order_.end());
    held_ += size;
    while (held_ > bytes_ && order_.size() > 1) take(order_.front().hash);
}

std::size_t GhostList::take(std::uint64_t hash) {
    const auto it = where_.find(hash);
    if (it == where_.end()) return 0;
    const std::size_t size = it->second->size;
    held_ -= size;
    order_.erase(it->second);
    where_.erase(it);
    return size;
}

CachePolicy::CachePolicy(std::size_t bytes, Duration ttl)
    : bytes_(bytes), ttl_(ttl), ghosts_of_window_(bytes / kGhostPart), ghosts_of_main_(bytes / kGhostPart) {}

bool CachePolicy::expired(const Node& node, SteadyTime now) const noexcept {
    return ttl_ > Duration::zero() && now - node.written >= ttl_;
}

CachePolicy::Found CachePolicy::ask(std::string_view key, SteadyTime now) {
    const std::uint64_t hash = hash_of(key);
    sketch_.add(hash);
    const auto it = nodes_.find(key);
    Found found = Found::absent;
    if (it != nodes_.end()) found = expired(*it->second, now) ? Found::expired : Found::held;
    if (found == Found::held) used(it->second);
    if (found == Found::expired) drop(it->second);
    if (found == Found::absent) climb(hash);
    return found;
}

std::vector<std::string> CachePolicy::put(std::string_view key, std::size_t size, SteadyTime now) {
    std::vector<std::string> gone;
    if (const auto old = nodes_.find(key); old != nodes_.end() && expired(*old->second, now)) drop(old->second);
    while (!by_age_.empty() && expired(*by_age_.front(), now)) evict(by_age_.front(), gone);
    const auto it = nodes_.find(key);
    if (size > bytes_) {
        if (it != nodes_.end()) drop(it->second);
        gone.emplace_back(key);
        return gone;
    }
    const bool known = it != nodes_.end();
    const std::uint64_t hash = hash_of(key);
    // A key put without having been asked for counts as asked for, or it would lose against everything.
    if (sketch_.count(hash) == 0) sketch_.add(hash);
    if (!known) {
        Nodes& window = part(Segment::window).nodes;
        window.push_front({std::string(key), hash, 0, now, Segment::window, {}});
        window.front().age = by_age_.insert(by_age_.end(), window.begin());
        nodes_.emplace(window.front().key, window.begin());
    }
    const auto node = nodes_.find(key)->second;
    Part& in = part(node->segment);
    in.bytes += size - node->size;
    held_ += size - node->size;
    node->size = size;
    node->written = now;
    by_age_.splice(by_age_.end(), by_age_, node->age);
    if (known) used(node);
    // Twice as many as are held, because the sketch also counts those that are asked for and not (yet) held.
    sketch_.grow(2 * nodes_.size());
    make_room(gone);
    return gone;
}

void CachePolicy::forget(std::string_view key) {
    if (const auto it = nodes_.find(key); it != nodes_.end()) drop(it->second);
}

void CachePolicy::forget_all() {
    nodes_.clear();
    by_age_.clear();
    for (Part& p : parts_) p = {};
    held_ = 0;
}

void CachePolicy::move(Nodes::iterator node, Segment to) {
    Part& from = part(node->segment);
    Part& target = part(to);
    target.nodes.splice(target.nodes.begin(), from.nodes, node);
    from.bytes -= node->size;
    target.bytes += node->size;
    node->segment = to;
}

void CachePolicy::used(Nodes::iterator node) {
    move(node, node->segment == Segment::window ? Segment::window : Segment::protected_part);
    demote_protected();
}

void CachePolicy::demote_protected() {
    const double most = kProtectedShare * (1 - share_) * static_cast<double>(bytes_);
    Part& kept = part(Segment::protected_part);
    while (static_cast<double>(kept.bytes) > most) move(std::prev(kept.nodes.end()), Segment::probation);
}

void CachePolicy::drop(Nodes::iterator node) {
    Part& in = part(node->segment);
    in.bytes -= node->size;
    held_ -= node->size;
    by_age_.erase(node->age);
    nodes_.erase(node->key);
    in.nodes.erase(node);
}

void CachePolicy::evict(Nodes::iterator node, std::vector<std::string>& gone) {
    gone.push_back(node->key);
    drop(node);
}

// What the window has too much goes over to probation while there is room, and contends for its place where there is none.
void CachePolicy::make_room(std::vector<std::string>& gone) {
    Part& window = part(Segment::window);
    const double most = share_ * static_cast<double>(bytes_);
    std::vector<Nodes::iterator> victims;
    while (static_cast<double>(window.bytes) > most) {
        const auto candidate = std::prev(window.nodes.end());
        victims.clear();
        if (held_ > bytes_ && !worth_more(*candidate, victims)) {
            ghosts_of_window_.add(candidate->hash, candidate->size);
            evict(candidate, gone);
            continue;
        }
        for (const auto victim : victims) {
            ghosts_of_main_.add(victim->hash, victim->size);
            evict(victim, gone);
        }
        move(candidate, Segment::probation);
    }
    // The window may have grown, or an entry of the main part: then the main part gives way, least worth first.
    for (const Segment from : {Segment::probation, Segment::protected_part, Segment::window}) {
        Part& p = part(from);
        while (held_ > bytes_ && !p.nodes.empty()) {
            const auto victim = std::prev(p.nodes.end());
            if (from != Segment::window) ghosts_of_main_.add(victim->hash, victim->size);
            evict(victim, gone);
        }
    }
}

// Collects whom the candidate would push out; false where they are together asked for as often as it is, or do not suffice.
bool CachePolicy::worth_more(const Node& candidate, std::vector<Nodes::iterator>& victims) {
    const std::uint32_t worth = sketch_.count(candidate.hash);
    std::uint32_t lost = 0;
    std::size_t freed = 0;
    const std::size_t needed = held_ - bytes_;
    for (const Segment from : {Segment::probation, Segment::protected_part}) {
        Nodes& nodes = part(from).nodes;
        for (auto it = nodes.end(); it != nodes.begin() && freed < needed;) {
            --it;
            lost += sketch_.count(it->hash);
            if (lost >= worth) return false;
            freed += it->size;
            victims.push_back(it);
        }
    }
    return freed >= needed;
}

// Had the window (or the main part) been larger by what its ghosts stand for, this would have been a hit.
void CachePolicy::climb(std::uint64_t hash) {
    const std::size_t up = ghosts_of_window_.take(hash);
    const std::size_t down = ghosts_of_main_.take(hash);
    if (up + down == 0) return;
    share_ += (static_cast<double>(up) - static_cast<double>(down)) / static_cast<double>(bytes_);
    share_ = std::clamp(share_, kLeastShare, kMostShare);
    demote_protected();
}

}  // namespace homeostat
