// How many requests a second a provider takes, found out from its refusals, in simulated time: limits are kept, chance is none.
#include "reconcilers/gateway/learnt_rate.hpp"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <functional>
#include <queue>
#include <random>

#include "reconcilers/gateway/limiter.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

constexpr SteadyTime kStart{1h};

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

// Takes so many requests a second; full at first.
class Bucket {
public:
    Bucket(double rate, double burst) : rate_(rate), burst_(burst), held_(burst) {}
    bool take(SteadyTime now) {
        held_ = std::min(burst_, held_ + seconds(now - filled_) * rate_);
        filled_ = now;
        if (held_ < 1) return false;
        held_ -= 1;
        return true;
    }

private:
    const double rate_;
    const double burst_;
    double held_;
    SteadyTime filled_ = kStart;
};

struct Fill {
    int requests = 500;
    int slots = 4;
    Duration answer = 20ms;
    Duration refusal = 20ms;
    std::optional<std::chrono::milliseconds> says{};
};

struct Outcome {
    double seconds = 0;
    int calls = 0;
    int refused = 0;
    double share() const { return static_cast<double>(refused) / calls; }
};

// As a lane asks: gate and learnt rate before each request, and so many in flight.
Outcome run(const Fill& fill, const std::function<bool(SteadyTime)>& takes, unsigned seed) {
    struct Request {
        SteadyTime ends;
        SteadyTime started;
        bool taken;
        bool operator<(const Request& o) const { return ends > o.ends; }
    };
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> jitter(0, 1);
    LearntRate learnt;
    ThrottleGate gate;
    std::priority_queue<Request> in_flight;
    Outcome out;
    SteadyTime now = kStart;
    int done = 0;
    bool answered = false;
    while (done < fill.requests) {
        const int open = static_cast<int>(in_flight.size());
        const SteadyTime earliest = std::max({now, gate.opens_at(), learnt.earliest(now)});
        if (open < fill.slots && done + open < fill.requests && (open == 0 || earliest <= in_flight.top().ends)) {
            now = earliest;
            learnt.take(now);
            ++out.calls;
            const bool taken = takes(now);
            in_flight.push({now + (taken ? fill.answer : fill.refusal), now, taken});
            continue;
        }
        const Request r = in_flight.top();
        in_flight.pop();
        now = std::max(now, r.ends);
        if (r.taken) {
            ++done;
            answered = true;
            gate.succeeded();
            learnt.succeeded(now);
        } else {
            ++out.refused;
            gate.throttled(fill.says, answered ? fill.answer : Duration{}, r.started, now, jitter(random));
            learnt.refused(fill.says.has_value(), r.started, now);
        }
    }
    out.seconds = seconds(now - kStart);
    return out;
}

struct Limit {
    double rate;
    double burst;
    Fill fill;
    double most_time;  // of what the limit permits
};

class KeepsLimits : public ::testing::TestWithParam<Limit> {};

// Twelve of a hundred at most, and most of what is permitted is used; but a refusal that asks for a second costs a second.
TEST_P(KeepsLimits, RefusesFewAndUsesMost) {
    const Limit& limit = GetParam();
    Bucket bucket(limit.rate, limit.burst);
    const Outcome o = run(limit.fill, [&](SteadyTime now) { return bucket.take(now); }, 1);
    EXPECT_LE(o.share(), 0.12) << o.refused << " of " << o.calls;
    EXPECT_LE(o.seconds, limit.most_time * (limit.fill.requests - limit.burst) / limit.rate);
}

INSTANTIATE_TEST_SUITE_P(Endpoints, KeepsLimits,
                         ::testing::Values(Limit{20, 1, {}, 1.3}, Limit{20, 20, {}, 1.3}, Limit{100, 10, {}, 1.3},
                                           Limit{2, 1, {.requests = 1'000, .slots = 8}, 1.3},
                                           Limit{20, 20, {.slots = 8, .says = 1s}, 1.3}, Limit{20, 1, {.says = 1s}, 4},
                                           Limit{20, 1, {.requests = 1'000, .slots = 8, .answer = 5ms, .refusal = 1ms}, 1.3},
                                           Limit{20, 20, {.requests = 1'000, .slots = 32, .answer = 1s, .refusal = 10ms}, 1.3},
                                           Limit{500, 50, {.requests = 2'000, .slots = 32, .answer = 50ms, .refusal = 2ms}, 1.3},
                                           Limit{5, 5, {.requests = 1'000, .slots = 16, .answer = 200ms, .refusal = 2ms}, 1.3}));

// Whatever the rate and the way to it; mostly far less, but an unlucky one takes long to find.
RC_GTEST_PROP(LearntRateProperty, ARealLimitIsNotHammered, ()) {
    const double rate = *rc::gen::inRange(5, 200);
    const double burst = *rc::gen::inRange(1, 50);
    const Fill fill{.requests = 2'000,
                    .slots = *rc::gen::inRange(2, 32),
                    .answer = std::chrono::milliseconds(*rc::gen::inRange(5, 500)),
                    .refusal = std::chrono::milliseconds(*rc::gen::inRange(1, 20))};
    Bucket bucket(rate, burst);
    const Outcome o = run(fill, [&](SteadyTime now) { return bucket.take(now); }, 1);
    RC_ASSERT(o.share() <= 0.4);
}

// One request of forty, whenever it comes: hardly slower than without.
RC_GTEST_PROP(LearntRateProperty, ChanceCostsLittle, ()) {
    const Fill fill{
        .requests = 1'000, .slots = *rc::gen::inRange(2, 32), .answer = std::chrono::milliseconds(*rc::gen::inRange(5, 500))};
    const double clean = fill.requests * seconds(fill.answer) / fill.slots;
    double sum = 0;
    constexpr int kSeeds = 20;
    for (unsigned seed = 1; seed <= kSeeds; ++seed) {
        std::mt19937 random(seed);
        const Outcome o = run(fill, [&](SteadyTime) { return random() % 40 != 0; }, seed);
        RC_ASSERT(o.seconds <= 2.5 * clean + 2 * seconds(fill.answer));
        sum += o.seconds;
    }
    RC_ASSERT(sum / kSeeds <= 1.3 * clean + 2 * seconds(fill.answer));
}

// A tenth and an eighth of them cannot be told from a limit at once, but soon.
TEST(LearntRate, ChanceIsFoundOutWhereALowerRateIsRefusedAsOften) {
    for (const auto& [one_in, most] : {std::pair{20U, 1.8}, std::pair{10U, 2.2}, std::pair{8U, 10.0}}) {
        for (unsigned seed = 1; seed <= 20; ++seed) {
            std::mt19937 random(seed);
            const Outcome o = run({.requests = 2'000}, [&](SteadyTime) { return random() % one_in != 0; }, seed);
            EXPECT_LE(o.seconds, most * 2'000 * 0.02 / 4) << one_in << ", " << seed;
        }
    }
}

TEST(LearntRate, ALimitThatIsRaisedOrEndsIsUsed) {
    SteadyTime raised = kStart + 10s;
    Bucket narrow(10, 1);
    Bucket wide(100, 1);
    wide.take(kStart);
    const Outcome o = run({.requests = 1'100}, [&](SteadyTime t) { return t < raised ? narrow.take(t) : wide.take(t); }, 1);
    EXPECT_LE(o.seconds, 10 + 10 * 2 + 5);
    LearntRate learnt;
    SteadyTime now = kStart;
    for (int i = 0; i < 10; ++i) learnt.succeeded(now += 100ms);
    for (int i = 0; i < 5; ++i) learnt.refused(false, now, now);
    ASSERT_TRUE(learnt.rate());
    for (int i = 0; i < 300 && learnt.rate(); ++i) learnt.succeeded(now += 100ms);
    EXPECT_FALSE(learnt.rate()) << "more than is asked for holds nothing back";
}

TEST(LearntRate, AFewRefusalsHoldNothingBack) {
    LearntRate learnt;
    SteadyTime now = kStart;
    for (int i = 0; i < 100; ++i) {
        for (int k = 0; k < 15; ++k) learnt.succeeded(now += 10ms);
        learnt.refused(false, now, now);
        EXPECT_EQ(learnt.earliest(now), now);
    }
    learnt.refused(false, now, now);
    learnt.refused(false, now, now);
    EXPECT_TRUE(learnt.rate());
}

// Whatever comes: never less than one a second, and never a time in the far future.
RC_GTEST_PROP(LearntRateProperty, NeverHoldsBackForMoreThanASecond, ()) {
    LearntRate learnt;
    SteadyTime now = kStart;
    for (const int event : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 40))) {
        now = std::max(now + std::chrono::milliseconds(event * event), learnt.earliest(now));
        learnt.take(now);
        if (event % 3 == 0) {
            learnt.succeeded(now);
        } else {
            learnt.refused(event % 5 == 0, now, now);
        }
        RC_ASSERT(learnt.earliest(now) - now <= 1s);
        RC_ASSERT(learnt.rate().value_or(LearntRate::kSlowest) >= LearntRate::kSlowest);
    }
}

}  // namespace
}  // namespace homeostat
