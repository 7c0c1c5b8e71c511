#include "reconcilers/gateway/learnt_rate.hpp"

#include <algorithm>

namespace homeostat {

namespace {

constexpr Duration kMemory = std::chrono::seconds(10);
constexpr std::size_t kTaken = 64;
constexpr int kOutcomes = 32;
// Refusals that are more than chance: three, and more than a twelfth; one more among few.
constexpr int kFewest = 3;
constexpr int kShare = 12;

constexpr double kBelow = 0.95;  // of what was taken
constexpr double kCut = 0.94;
constexpr double kDearCut = 0.9;    // where each refusal costs the pause that was asked for
constexpr double kHardCut = 0.6;    // where half is refused
constexpr double kDeepest = 0.3;    // at most, at a time
constexpr double kGrowth = 0.002;   // an answer
constexpr double kDearGrowth = 0.0005;
constexpr int kStretch = 8;         // answers in a row that tell the limit is near when the next is refused
constexpr int kLongStretch = 128;   // it is not near any more
constexpr int kHalf = 5;            // refusals before half of all means anything
constexpr std::int64_t kPatience = 128;  // outcomes
constexpr double kLower = 0.6;      // of a rate: refusals that depend on it would have ended there
constexpr double kNear = 0.9;       // of it: about the same
constexpr int kMostByChance = 10;   // of kOutcomes
constexpr int kMoreThanChance = 4;  // and half as many again, of kOutcomes

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

template <typename Queue, typename Time>
void forget_before(Queue& queue, std::size_t most, SteadyTime then, const Time& time_of) {
    while (!queue.empty() && (queue.size() > most || time_of(queue.front()) < then)) queue.pop_front();
}

}  // namespace

SteadyTime LearntRate::earliest(SteadyTime now) const noexcept { return rate_ > 0 ? std::max(now, next_) : now; }

void LearntRate::take(SteadyTime now) {
    if (rate_ <= 0) return;
    next_ = std::max(next_, now) + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(1 / rate_));
}

void LearntRate::note(bool refused, SteadyTime now) {
    ++count_;
    if (!refused) taken_.push_back(now);
    outcomes_.push_back({now, refused});
    forget_before(taken_, kTaken, now - kMemory, [](SteadyTime t) { return t; });
    forget_before(outcomes_, kOutcomes, now - kMemory, [](const Outcome& o) { return o.at; });
}

LearntRate::Share LearntRate::recent() const noexcept {
    const auto refused = std::count_if(outcomes_.begin(), outcomes_.end(), [](const Outcome& o) { return o.refused; });
    return {static_cast<int>(refused), static_cast<int>(outcomes_.size())};
}

double LearntRate::taken_a_second(SteadyTime now) const {
    if (taken_.empty()) return kSlowest;
    const double span = std::max(1e-3, seconds(now - taken_.front()));
    return std::max(kSlowest, static_cast<double>(taken_.size()) / span);
}

void LearntRate::begin(Share share, SteadyTime now) {
    if (by_chance_ && share.refused * 2 <= *by_chance_ * 3 + 2 * kMoreThanChance) return;
    const bool few = share.all < kOutcomes / 2;
    if (share.refused < (few ? kFewest + 1 : kFewest) || share.refused * kShare <= share.all || taken_.size() < 2) return;
    if (by_chance_) {  // it was not: the next time it takes longer to believe so
        believe_from_ = count_ + patience_;
        patience_ = std::min(2 * patience_, kPatience);
        by_chance_.reset();
    }
    rate_ = from_ = std::max(kSlowest, kBelow * taken_a_second(now));
    next_ = changed_ = now;
    above_ = share;
    found_ = false;
    lower_ = {};
}

void LearntRate::cut(Share share, bool told, SteadyTime now) {
    changed_ = now;
    found_ = found_ || streak_ >= kStretch;
    const double taken = taken_a_second(now);
    if (rate_ > kNear * from_) above_ = share;
    const bool half = share.refused * 2 > share.all && share.refused >= kHalf;
    if (half || (share.refused * 8 > share.all && rate_ > 2 * taken)) {
        rate_ = std::max(std::min(rate_ * kHardCut, kBelow * taken), rate_ * kDeepest);
    } else {
        rate_ *= told ? kDearCut : kCut;
    }
    rate_ = std::max(kSlowest, rate_);
    if (!half) return;
    from_ = rate_;
    above_ = share;
    lower_ = {};
}

void LearntRate::look_for_chance(bool refused) {
    if (rate_ <= 0) return;
    if (rate_ > kLower * from_ || count_ < believe_from_) {
        lower_ = {};
        return;
    }
    lower_.refused += refused ? 1 : 0;
    if (++lower_.all < kOutcomes) return;
    const bool as_often = lower_.refused * above_.all * 5 >= above_.refused * lower_.all * 3;
    if (as_often && lower_.refused >= 2 && lower_.refused <= kMostByChance) {
        rate_ = 0;
        by_chance_ = lower_.refused;
    }
    lower_ = {};
}

void LearntRate::refused(bool told, SteadyTime started, SteadyTime now) {
    note(true, now);
    told_ = told;
    if (!told) look_for_chance(true);
    if (started < changed_) return;
    const Share share = recent();
    rate_ > 0 ? cut(share, told, now) : begin(share, now);
    streak_ = 0;
}

// Slowly near the limit, ever faster with a long stretch of answers: fastest where the limit has not been seen yet.
void LearntRate::succeeded(SteadyTime now) {
    note(false, now);
    look_for_chance(false);
    if (rate_ <= 0) return;
    if (++streak_ > kLongStretch) found_ = false;
    const double stretch = static_cast<double>(streak_) / (found_ ? 40 : 12);
    rate_ *= 1 + std::min(found_ ? 0.005 : 0.05, (told_ && found_ ? kDearGrowth : kGrowth) * (1 + stretch * stretch));
    from_ = std::max(from_, rate_);
    if (streak_ > kOutcomes && rate_ > 4 * taken_a_second(now)) rate_ = 0;  // it is far from holding anything back
}

}  // namespace homeostat
