#include "reconcilers/gateway/memory.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <thread>
#include <vector>

namespace homeostat {
namespace {

namespace fs = std::filesystem;

// A machine of files: /proc and /sys as a test wants them.
class Machine : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "homeostat-memory-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        root_ = pattern;
        write("proc/meminfo", "MemTotal:        4096 kB\nMemFree:          12 kB\n");
    }
    void TearDown() override { fs::remove_all(root_); }

    void write(const fs::path& file, std::string_view text) {
        fs::create_directories((root_ / file).parent_path());
        std::ofstream(root_ / file) << text;
    }
    std::uint64_t limit() const { return memory_limit(root_ / "proc", root_ / "sys"); }

    fs::path root_;
};

TEST_F(Machine, WithoutACgroupTheMachineIsTheLimit) { EXPECT_EQ(limit(), 4096U * 1024); }

TEST_F(Machine, OfVersionTwoTheLeastLimitOnTheWayUpBinds) {
    write("proc/self/cgroup", "0::/pods/one/main\n");
    write("sys/fs/cgroup/pods/one/main/memory.max", "max\n");
    EXPECT_EQ(limit(), 4096U * 1024);
    write("sys/fs/cgroup/pods/one/main/memory.max", "3000000\n");
    EXPECT_EQ(limit(), 3'000'000U);
    write("sys/fs/cgroup/pods/memory.max", "2000000\n");
    EXPECT_EQ(limit(), 2'000'000U);
    write("sys/fs/cgroup/pods/one/memory.max", "2500000\n");
    EXPECT_EQ(limit(), 2'000'000U);
}

TEST_F(Machine, InAContainerThatSeesOnlyItsOwnRootTheRootIsRead) {
    write("proc/self/cgroup", "0::/kubepods.slice/of/the/host\n");
    write("sys/fs/cgroup/memory.max", "1500000\n");
    EXPECT_EQ(limit(), 1'500'000U);
}

TEST_F(Machine, OfVersionOneTheMemoryControllersLimitIsRead) {
    write("proc/self/cgroup", "12:cpu,cpuacct:/docker/x\n5:hugetlb,memory:/docker/x\n1:name=systemd:/docker/x\n");
    write("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n");
    EXPECT_EQ(limit(), 4096U * 1024) << "its way to say that there is none";
    write("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "1000000\n");
    EXPECT_EQ(limit(), 1'000'000U);
}

TEST_F(Machine, RubbishLimitsNothing) {
    write("proc/self/cgroup", "rubbish\n0:\n:::\n0::/a/../../b\n");
    write("sys/fs/cgroup/memory.max", "lots\n");
    EXPECT_EQ(limit(), 4096U * 1024);
    write("proc/meminfo", "\n");
    EXPECT_EQ(limit(), 0U);
    EXPECT_EQ(resident_bytes(root_ / "proc"), 0U);
}

TEST(Memory, TheProcessKnowsItsOwnSize) {
    const std::uint64_t before = resident_bytes();
    EXPECT_GT(before, 1U << 20);
    EXPECT_LT(before, memory_limit());
    std::vector<char> touched(64 << 20, 'x');
    EXPECT_GT(resident_bytes(), before + (48U << 20)) << touched[touched.size() / 2];
}

TEST(MemoryLevels, StopAt90AndGoOnBelow85) {
    using enum MemoryLevel;
    EXPECT_EQ(memory_level(0.79, normal), normal);
    EXPECT_EQ(memory_level(0.80, normal), shrinking);
    EXPECT_EQ(memory_level(0.899, shrinking), shrinking);
    EXPECT_EQ(memory_level(0.90, shrinking), stopped);
    EXPECT_EQ(memory_level(0.86, stopped), stopped);
    EXPECT_EQ(memory_level(0.849, stopped), shrinking);
    EXPECT_EQ(memory_level(0.1, stopped), normal);
    EXPECT_EQ(memory_level(7.0, normal), stopped);
}

RC_GTEST_PROP(MemoryLevels, MoreUseIsNeverMoreScaleNorALowerLevel, ()) {
    const double a = *rc::gen::inRange(0, 2'000) / 1'000.0;
    const double b = a + *rc::gen::inRange(0, 500) / 1'000.0;
    const auto before = static_cast<MemoryLevel>(*rc::gen::inRange(0, 3));
    RC_ASSERT(scale_of(b) <= scale_of(a));
    RC_ASSERT(scale_of(a) <= 1.0);
    RC_ASSERT(scale_of(b) >= 0.1 - 1e-9);
    RC_ASSERT(memory_level(a, before) <= memory_level(b, before));
}

TEST(MemoryBudget, ShrinksThenStopsThenResumesByItself) {
    Registry metrics;
    MemoryBudget budget(1'000, metrics);
    EXPECT_DOUBLE_EQ(budget.scale(), 1);
    auto a = budget.try_admit(800);
    ASSERT_TRUE(a);
    auto b = budget.try_admit(50);
    ASSERT_TRUE(b);
    EXPECT_EQ(budget.state().level, MemoryLevel::shrinking);
    EXPECT_NEAR(budget.scale(), 0.55, 1e-9);
    EXPECT_FALSE(budget.try_admit(51)) << "it would go past 90 %";
    b->resize(150);
    EXPECT_EQ(budget.state().held, 950U);
    EXPECT_EQ(budget.state().level, MemoryLevel::stopped);
    EXPECT_FALSE(budget.try_admit(1));
    b->resize(60);
    EXPECT_FALSE(budget.try_admit(1)) << "86 % is not enough to go on";
    b.reset();
    EXPECT_TRUE(budget.try_admit(1));
    a.reset();
    EXPECT_EQ(budget.state().held, 0U);
    EXPECT_EQ(budget.state().level, MemoryLevel::normal);
}

TEST(MemoryBudget, TheOnlyHoldIsGrantedHoweverLarge) {
    Registry metrics;
    MemoryBudget budget(1'000, metrics);
    std::optional<MemoryBudget::Hold> moved;
    {
        auto huge = budget.try_admit(1'000'000);
        ASSERT_TRUE(huge);
        EXPECT_FALSE(budget.try_admit(1));
        moved.emplace(*std::move(huge));
    }
    EXPECT_EQ(budget.state().held, 1'000'000U) << "what was moved from gives nothing back";
    moved.reset();
    EXPECT_TRUE(budget.try_admit(1));
}

TEST(MemoryBudget, WhatTheProcessReallyUsesCountsWhereItIsMore) {
    Registry metrics;
    MemoryBudget budget(1'000, metrics);
    budget.observe_resident(95, 100);
    EXPECT_EQ(budget.state().level, MemoryLevel::stopped);
    EXPECT_NEAR(budget.scale(), 0.1, 1e-9);
    auto alone = budget.try_admit(10);
    ASSERT_TRUE(alone) << "one at a time goes on";
    EXPECT_FALSE(budget.try_admit(10));
    budget.observe_resident(50, 100);
    EXPECT_TRUE(budget.try_admit(10));
    budget.observe_resident(50, 0);
    EXPECT_EQ(budget.state().level, MemoryLevel::normal) << "without a limit there is no share of it";
}

TEST(MemoryBudget, ItsGaugesSayItsState) {
    Registry metrics;
    MemoryBudget budget(1'000, metrics);
    const auto hold = budget.try_admit(850);
    budget.observe_resident(70, 100);
    std::map<std::string, double> seen;
    for (const MetricFamily& f : metrics.collect()) seen[f.name] = f.samples.at(0).value;
    EXPECT_EQ(seen, (std::map<std::string, double>{{"homeostat_memory_budget_bytes", 1'000},
                                                   {"homeostat_memory_held_bytes", 850},
                                                   {"homeostat_memory_level", 1},
                                                   {"homeostat_memory_resident_bytes", 70}}));
}

TEST(MemoryBudget, ManyThreadsNeverGoPastIt) {
    Registry metrics;
    MemoryBudget budget(10'000, metrics);
    const auto first = budget.try_admit(1);  // so that no thread's is the only hold
    std::vector<std::jthread> threads;
    std::atomic<int> too_much = 0;
    std::atomic<int> admitted = 0;
    for (unsigned t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (unsigned i = 0; i < 2'000; ++i) {
                auto hold = budget.try_admit(100 + (i * 7 + t * 13) % 3'000);
                if (hold) ++admitted;
                if (budget.state().held > 9'000) ++too_much;
            }
        });
    }
    threads.clear();
    EXPECT_EQ(too_much, 0);
    EXPECT_GT(admitted, 2'000);
    EXPECT_EQ(budget.state().held, 1U);
}

}  // namespace
}  // namespace homeostat
