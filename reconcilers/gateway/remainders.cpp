#include "reconcilers/gateway/remainders.hpp"

#include <algorithm>
#include <utility>

namespace homeostat {

namespace {

constexpr std::uint64_t kNearlyFull = 8;  // an eighth of a request that is left free is not waited for
constexpr std::size_t kMostJoined = 64;   // remainders in a request

bool fits(std::size_t texts, std::uint64_t tokens, RequestRoom room) {
    return texts <= room.texts && (room.tokens == 0 || tokens <= room.tokens);
}

bool nearly_full(std::size_t texts, std::uint64_t tokens, RequestRoom room) {
    return texts * kNearlyFull >= room.texts * (kNearlyFull - 1) ||
           (room.tokens > 0 && tokens * kNearlyFull >= room.tokens * (kNearlyFull - 1));
}

// How many of the texts go into a request that has so much in it already; at least one.
std::size_t first_request(std::span<const std::uint64_t> tokens, std::size_t texts, std::uint64_t sum, RequestRoom room) {
    std::size_t n = 0;
    while (n < tokens.size() && (n == 0 || fits(texts + n + 1, sum + tokens[n], room))) sum += tokens[n++];
    return n;
}

// How many requests ask for them, where the first has so much in it already.
std::size_t requests_for(std::span<const std::uint64_t> tokens, std::size_t texts, std::uint64_t sum, RequestRoom room) {
    std::size_t n = 1;
    for (const std::uint64_t t : tokens) {
        if (texts > 0 && !fits(texts + 1, sum + t, room)) {
            ++n;
            texts = 0;
            sum = 0;
        }
        ++texts;
        sum += t;
    }
    return n;
}

}  // namespace

Remainder::Remainder(std::vector<const void*> channels, std::vector<std::string> texts, std::uint64_t tokens, Context context,
                     std::function<void()> ring)
    : channels_(std::move(channels)),
      texts_(std::move(texts)),
      tokens_(tokens),
      context_(std::move(context)),
      ring_(std::move(ring)) {}

void Remainder::end(RemainderEnd end) {
    {
        const Lock lock(mutex_);
        if (std::exchange(ended_, true)) return;
        end_ = std::move(end);
    }
    ring_();
}

std::optional<RemainderEnd> Remainder::take_end() {
    const Lock lock(mutex_);
    return std::exchange(end_, std::nullopt);
}

TakenRemainders& TakenRemainders::operator=(TakenRemainders&& other) noexcept {
    if (this == &other) return *this;
    let_go();
    all_ = std::exchange(other.all_, {});
    return *this;
}

void TakenRemainders::let_go() noexcept {
    for (const RemainderPtr& r : std::exchange(all_, {})) r->end({});
}

void Remainders::note(const void* job, SteadyTime now) {
    if (job != newest_) before_at_ = newest_at_;
    newest_ = job;
    newest_at_ = now;
}

std::vector<RemainderPtr> Remainders::pick(const Wanted& wanted, const Fits& fits, Fill& fill) const {
    std::vector<RemainderPtr> out;
    for (const RemainderPtr& r : waiting_) {
        if (out.size() == kMostJoined) break;
        const Fill with{fill.texts + r->texts_.size(), fill.tokens + r->tokens_};
        if (r->channels_ != wanted.channels || !fits(with)) continue;
        fill = with;
        out.push_back(r);
    }
    return out;
}

Remainders::Cut Remainders::cut(const Wanted& wanted, const std::function<RemainderPtr()>& offer) {
    const RequestRoom room = wanted.room;
    const std::span<const std::uint64_t> own = wanted.tokens;
    const Lock lock(mutex_);
    note(wanted.job, wanted.now);
    Fill fill;
    std::vector<RemainderPtr> with;
    const std::size_t requests = requests_for(own, 0, 0, room);
    if (!waiting_.empty())
        with = pick(wanted, [&](const Fill& f) { return requests_for(own, f.texts, f.tokens, room) <= requests; }, fill);
    if (requests == 1 && wanted.may_wait) {
        std::uint64_t sum = fill.tokens;
        for (const std::uint64_t t : own) sum += t;
        if (!nearly_full(fill.texts + own.size(), sum, room)) {
            // More than one request together: this one takes of its own what there is room for beside the others'.
            Fill more;
            std::vector<RemainderPtr> whole =
                pick(wanted, [&](const Fill& f) { return fits(f.texts + 1, f.tokens + own.front(), room); }, more);
            if (more.texts <= fill.texts) {
                waiting_.push_back(offer());
                return {};
            }
            with = std::move(whole);
            fill = more;
        }
    }
    for (const RemainderPtr& r : with) std::erase(waiting_, r);
    return {first_request(own, fill.texts, fill.tokens, room), TakenRemainders(std::move(with))};
}

bool Remainders::withdraw(const RemainderPtr& remainder) {
    const Lock lock(mutex_);
    return std::erase(waiting_, remainder) > 0;
}

std::size_t Remainders::waiting() const {
    const Lock lock(mutex_);
    return waiting_.size();
}

SteadyTime Remainders::others_asked(const void* job) const {
    const Lock lock(mutex_);
    return job == newest_ ? before_at_ : newest_at_;
}

std::vector<std::uint64_t> shares_of(std::uint64_t whole, std::span<const std::uint64_t> weights) {
    std::uint64_t all = 0;
    for (const std::uint64_t w : weights) all += w;
    std::vector<std::uint64_t> out;
    std::uint64_t weight = 0;
    std::uint64_t given = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        weight += weights[i];
        // In floating point: tokens times tokens may be more than 64 bits hold.
        const auto upto =
            i + 1 == weights.size() || all == 0
                ? whole
                : static_cast<std::uint64_t>(static_cast<double>(whole) * static_cast<double>(weight) / static_cast<double>(all));
        out.push_back(std::clamp(upto, given, whole) - given);
        given += out.back();
    }
    return out;
}

}  // namespace homeostat
