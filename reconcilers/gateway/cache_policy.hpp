// Which keys a cache of bounded bytes keeps: W-TinyLFU (Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache Admission
// Policy", ACM Transactions on Storage 13(4), 2017). New keys pass a small LRU window; what falls out of it enters the main part
// only if it is asked for more often than what it would push out, by a count-min sketch that ages. So a scan of keys asked for
// once passes through the window and leaves the rest alone. An entry weighs its bytes: it is held against all that it would push
// out together. The window's share climbs the slope of the hit ratio, which is read from the keys that went last from either part
// (ghosts, as in Megiddo, Modha: "ARC", FAST 2003): hit ratios of two periods differ mostly by what was asked for in them.
//
// Pure: no lock, no clock (the caller says what time it is, which never goes back), no randomness. One thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/clock.hpp"

namespace homeostat {

// How often a key was asked for lately: four rows of counters up to 15, all halved when ten times as many keys as the sketch is
// wide were counted. It may say too much (two keys that share all four counters), never too little.
class FrequencySketch {
public:
    FrequencySketch() { rows_.resize(width_); }
    void add(std::uint64_t hash) noexcept;
    std::uint32_t count(std::uint64_t hash) const noexcept;
    // Makes room for this many different keys and keeps what is known.
    void grow(std::size_t keys);

private:
    static constexpr std::size_t kRows = 4;
    std::size_t width_ = 256;  // a power of two
    std::size_t added_ = 0;
    std::vector<std::array<std::uint8_t, kRows>> rows_;
};

// The keys that went last, up to so many bytes of them: what a part of the cache would still have, were it larger by these bytes.
class GhostList {
public:
    explicit GhostList(std::size_t bytes) : bytes_(bytes) {}
    void add(std::uint64_t hash, std::size_t size);
    std::size_t take(std::uint64_t hash);  // its size, and it is a ghost no longer; 0 where it is none

private:
    struct Ghost {
        std::uint64_t hash;
        std::size_t size;
    };
    const std::size_t bytes_;
    std::list<Ghost> order_;  // oldest first
    std::unordered_map<std::uint64_t, std::list<Ghost>::iterator> where_;
    std::size_t held_ = 0;
};

class CachePolicy {
public:
    enum class Found : std::uint8_t { held, absent, expired };

    // A `ttl` of zero keeps an entry until it is evicted.
    CachePolicy(std::size_t bytes, Duration ttl);
    CachePolicy(const CachePolicy&) = delete;
    CachePolicy& operator=(const CachePolicy&) = delete;

    // Counts one asking for `key`. An expired key is gone with this call.
    Found ask(std::string_view key, SteadyTime now);
    // Takes `key` in, new or again with another size. Returns what must go for it, which is `key` itself where it is not kept.
    [[nodiscard]] std::vector<std::string> put(std::string_view key, std::size_t size, SteadyTime now);
    void forget(std::string_view key);
    void forget_all();  // what is known of frequencies stays: the same keys will be asked for again

    std::size_t bytes() const noexcept { return held_; }
    std::size_t entries() const noexcept { return nodes_.size(); }
    double window_share() const noexcept { return share_; }

private:
    enum class Segment : std::uint8_t { window, probation, protected_part };
    struct Node;
    using Nodes = std::list<Node>;
    struct Node {
        std::string key;
        std::uint64_t hash;
        std::size_t size;
        SteadyTime written;
        Segment segment;
        std::list<Nodes::iterator>::iterator age;
    };
    struct Part {
        Nodes nodes;  // most recently used first
        std::size_t bytes = 0;
    };
    Part& part(Segment s) noexcept { return parts_[static_cast<std::size_t>(s)]; }
    bool expired(const Node& node, SteadyTime now) const noexcept;
    void move(Nodes::iterator node, Segment to);
    void used(Nodes::iterator node);
    void drop(Nodes::iterator node);
    void evict(Nodes::iterator node, std::vector<std::string>& gone);
    void make_room(std::vector<std::string>& gone);
    bool worth_more(const Node& candidate, std::vector<Nodes::iterator>& victims);
    void demote_protected();
    void climb(std::uint64_t hash);

    const std::size_t bytes_;
    const Duration ttl_;
    FrequencySketch sketch_;
    std::array<Part, 3> parts_;
    std::list<Nodes::iterator> by_age_;  // oldest first
    std::unordered_map<std::string_view, Nodes::iterator> nodes_;
    std::size_t held_ = 0;
    double share_ = 0.01;  // of the bytes, for the window; the paper begins there too
    GhostList ghosts_of_window_;
    GhostList ghosts_of_main_;
};

}  // namespace homeostat
