#include "controller/workqueue.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <thread>

#include "tests/kit/sim_clock.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

class WorkQueueTest : public ::testing::Test {
protected:
    std::optional<std::int64_t> take() {
        const auto look = queue.try_next(clock.steady_now());
        return look.item ? std::optional(look.item->key) : std::nullopt;
    }

    kit::SimulatedClock clock;
    Registry metrics;
    WorkQueue queue{clock, metrics};
};

TEST_F(WorkQueueTest, AKeyAddedTwiceComesOnce) {
    queue.add(1);
    queue.add(1);
    EXPECT_EQ(take(), 1);
    EXPECT_EQ(take(), std::nullopt);
}

TEST_F(WorkQueueTest, AKeyAddedWhileWorkedOnComesOnceMoreAfterwards) {
    queue.add(1);
    ASSERT_EQ(take(), 1);
    queue.add(1);
    queue.add(1);
    EXPECT_EQ(take(), std::nullopt) << "two workers on one key";
    queue.done(1);
    EXPECT_EQ(take(), 1);
    queue.done(1);
    EXPECT_EQ(take(), std::nullopt);
}

TEST_F(WorkQueueTest, TheHigherPriorityAndTheEarlierTimeWin) {
    queue.add(1, kPriorityDrift, 1min);
    queue.add(1, kPriorityRequested, 1h);
    queue.add(2, kPrioritySpec, 1min);
    EXPECT_EQ(take(), std::nullopt);
    clock.advance(1min);
    EXPECT_EQ(take(), 1);
    EXPECT_EQ(take(), 2);
}

TEST_F(WorkQueueTest, ALaterAddDoesNotPutOffAnEarlierOne) {
    queue.add(1, kPrioritySpec, 0s);
    queue.add(1, kPrioritySpec, 1h);
    EXPECT_EQ(take(), 1);
}

TEST_F(WorkQueueTest, InsideAPriorityItIsFirstComeFirstServed) {
    for (const std::int64_t key : {5, 3, 9, 1}) queue.add(key);
    for (const std::int64_t key : {5, 3, 9, 1}) EXPECT_EQ(take(), key);
}

TEST_F(WorkQueueTest, WhoWaitedLongIsNotStarved) {
    queue.add(1, kPriorityDrift);
    for (int minute = 0; minute < 300; ++minute) {
        queue.add(1'000 + minute, kPriorityRequested);
        if (take() == 1) return SUCCEED();
        clock.advance(1min);
    }
    FAIL() << "a low priority waited for five hours";
}

TEST_F(WorkQueueTest, SaysWhenTheNextOneIsReady) {
    queue.add(1, kPrioritySpec, 5s);
    queue.add(2, kPrioritySpec, 3s);
    const auto look = queue.try_next(clock.steady_now());
    EXPECT_FALSE(look.item);
    EXPECT_EQ(look.earliest, clock.steady_now() + 3s);
}

TEST_F(WorkQueueTest, AWaitingWorkerIsWokenByAnAddAndByAStop) {
    std::optional<WorkQueue::Item> first;
    std::optional<WorkQueue::Item> second;
    std::jthread worker([&](const std::stop_token& stop) {
        first = queue.next(stop);
        second = queue.next(stop);
    });
    queue.add(7);
    while (queue.depth() > 0) std::this_thread::yield();
    worker.request_stop();
    worker.join();
    ASSERT_TRUE(first);
    EXPECT_EQ(first->key, 7);
    EXPECT_FALSE(second);
}

// Against a model: a key is never in two hands, and no add made after a key was taken is lost.
RC_GTEST_FIXTURE_PROP(WorkQueueTest, NothingIsLostAndNothingIsInTwoHands, ()) {
    std::map<std::int64_t, bool> wanted;  // added since it was last taken
    std::map<std::int64_t, bool> held;
    const int steps = *rc::gen::inRange(0, 200);
    for (int i = 0; i < steps; ++i) {
        const std::int64_t key = *rc::gen::inRange(0, 6);
        switch (*rc::gen::inRange(0, 3)) {
            case 0:
                queue.add(key, *rc::gen::element(kPriorityDrift, kPrioritySpec, kPriorityRequested));
                wanted[key] = true;
                break;
            case 1: {
                const auto taken = take();
                if (!taken) {
                    for (const auto& [k, w] : wanted) RC_ASSERT(!w || held[k]);
                    break;
                }
                RC_ASSERT(wanted[*taken]);
                RC_ASSERT(!held[*taken]);
                wanted[*taken] = false;
                held[*taken] = true;
                break;
            }
            default:
                if (held[key]) {
                    queue.done(key);
                    held[key] = false;
                }
        }
    }
    for (const auto& [key, h] : held) {
        if (h) queue.done(key);
    }
    while (const auto taken = take()) {
        RC_ASSERT(wanted[*taken]);
        wanted[*taken] = false;
        queue.done(*taken);
    }
    for (const auto& [key, w] : wanted) RC_ASSERT(!w);
}

}  // namespace
}  // namespace homeostat
