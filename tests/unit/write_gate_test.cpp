#include "reconcilers/factory/write_gate.hpp"

#include <gtest/gtest.h>

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using State = WriteGate::State;

const Error kFull{.cls = ErrorClass::db_resource, .message = "could not extend file", .origin = Origin::theirs, .code = "53100"};

TEST(WriteGate, IsClosedByWhatKeepsEverythingFromBeingStored) {
    for (const char* code : {"53100", "53200", "58030", "25006"}) {
        WriteGate gate;
        EXPECT_TRUE(gate.failed({.code = code}, SteadyTime{})) << code;
        EXPECT_EQ(gate.state(), State::closed);
    }
    for (const char* code : {"53300", "53400", "40001", "08006", "42P01", "XX000", ""}) {
        WriteGate gate;
        EXPECT_FALSE(gate.failed({.code = code}, SteadyTime{})) << code;
        EXPECT_EQ(gate.state(), State::open);
    }
}

TEST(WriteGate, OpensWhereAProbeAndThenABatchAreStored) {
    WriteGate gate;
    SteadyTime now{1h};
    EXPECT_TRUE(gate.failed(kFull, now));
    EXPECT_FALSE(gate.failed(kFull, now)) << "it is no news";
    EXPECT_FALSE(gate.stored()) << "sent before it was closed";
    EXPECT_FALSE(gate.probe_due(now + 999ms));
    EXPECT_TRUE(gate.probe_due(now + 1s));
    gate.probed(true, now + 1s);
    EXPECT_EQ(gate.state(), State::trial);
    EXPECT_TRUE(gate.stored());
    EXPECT_EQ(gate.state(), State::open);
}

TEST(WriteGate, WaitsLongerEachTimeAndTwoSecondsAtMost) {
    WriteGate gate;
    SteadyTime now{1h};
    gate.failed(kFull, now);
    Duration last = 0s;
    for (int i = 0; i < 10; ++i) {
        Duration waited = 0s;
        while (!gate.probe_due(now + waited)) waited += 100ms;
        EXPECT_GE(waited, last);
        EXPECT_LE(waited, 2s);
        last = waited;
        now += waited;
        // Whether the probe fails or the batch after it.
        gate.probed(i % 2 == 0, now);
        if (i % 2 == 0) {
            EXPECT_FALSE(gate.failed(kFull, now)) << "told once";
        }
    }
    EXPECT_EQ(last, 2s);
}

}  // namespace
}  // namespace homeostat
