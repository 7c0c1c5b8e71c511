// Exec providers whose program misbehaves: it hangs, forks, eats memory, dies, writes garbage. Each time the error says so, this
// process is as it was, and a program that is repaired is used again. After each test no process, folder or descriptor may be
// left.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/kit/exec_world.hpp"

namespace homeostat {
namespace {

using kit::ExecWorld;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Fault {
    std::string mode;
    ErrorClass cls;
    std::vector<std::string> says;
};

const std::vector<Fault>& faults() {
    static const std::vector<Fault> table{
        {"hang", ErrorClass::timeout, {"did not answer within 0.4 s and was killed"}},
        {"deaf", ErrorClass::timeout, {"was killed"}},
        {"fork", ErrorClass::transient, {"ended with code 7 before it had answered", "no fork: EPERM"}},
        {"memory", ErrorClass::transient, {"was killed by SIG", "bad_alloc"}},
        {"crash", ErrorClass::transient, {"was killed by SIG"}},
        {"half", ErrorClass::transient, {"ended with code 0 before it had answered"}},
        {"garbage", ErrorClass::bad_answer, {"no JSON object: \"Loading the model \\u0007"}},
        {"count", ErrorClass::bad_answer, {"1 vectors, 2 texts"}},
        {"width", ErrorClass::bad_answer, {"vector 0 has more than the 8"}},
        {"zero", ErrorClass::bad_answer, {"vector 0", "all zeros"}},
        {"nan", ErrorClass::bad_answer, {"vector 0 holds what is no number"}},
        {"other-id", ErrorClass::bad_answer, {"4711 answered"}},
        {"two-lines", ErrorClass::bad_answer, {"more than one line", "and one more"}},
        {"endless", ErrorClass::bad_answer, {"bytes without ending the line"}},
    };
    return table;
}

class ExecFaults : public ::testing::TestWithParam<std::tuple<Fault, bool>> {
protected:
    ExecFaults() {
        world.options.namespaces = std::get<1>(GetParam());
        world.mode(fault.mode);
        const bool late = fault.cls == ErrorClass::timeout;
        world.spec.timeout = late ? 400ms : 20'000ms;
        world.spec.memory_limit_mb = 256;
    }
    const Fault fault = std::get<0>(GetParam());
    ExecWorld world;
};

// At documents alone it never is: one of them may be to blame.
TEST_P(ExecFaults, AreToldContainedAndQuarantinedWhereTheHarmlessTextFailsToo) {
    for (int i = 0; i < 4; ++i) {
        const Error e = world.error();
        EXPECT_EQ(e.cls, fault.cls) << e.message;
        EXPECT_THAT(e.message, StartsWith("provider \"x\": "));
        for (const auto& words : fault.says) EXPECT_THAT(e.message, HasSubstr(words));
        EXPECT_TRUE(kit::soon([&] { return world.running() == 0 && world.folders() == 0; })) << world.running();
    }
    EXPECT_EQ(world.embedder().quarantine_reason(), "");
    world.spoil_probe();
    while (world.embedder().quarantine_reason().empty()) {
        const Error e = world.error();
        ASSERT_EQ(e.cls, fault.cls) << e.message;
    }
    const Error refused = world.error();
    EXPECT_EQ(refused.cls, ErrorClass::unavailable) << refused.message;
    EXPECT_EQ(refused.retry_after, 300'000ms);
    EXPECT_THAT(refused.message,
                StartsWith("provider \"x\": quarantined for 5 min, until 2026-01-01 00:05:00 UTC, after 4 faults in a "
                           "row; the last: "));
    const std::string said = fault.mode == "count" ? "0 vectors, 1 texts" : fault.says.front();
    EXPECT_THAT(world.embedder().quarantine_reason(), HasSubstr(said));
    EXPECT_TRUE(kit::soon([&] { return world.running() == 0; }));
    // Repaired, it comes back when the time is over, and not before.
    world.repair();
    EXPECT_EQ(world.error().cls, ErrorClass::unavailable);
    world.clock.advance(300s);
    EXPECT_EQ(world.embedder().quarantine_reason(), "");
    const auto answer = world.embed({"one", "two"});
    EXPECT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(world.embedder().quarantine_reason(), "");
}

INSTANTIATE_TEST_SUITE_P(Modes, ExecFaults, ::testing::Combine(::testing::ValuesIn(faults()), ::testing::Values(true, false)),
                         [](const auto& p) {
                             std::string name = std::get<0>(p.param).mode + (std::get<1>(p.param) ? "_namespaces" : "_plain");
                             std::replace(name.begin(), name.end(), '-', '_');
                             return name;
                         });

class ExecTrouble : public ::testing::Test {
protected:
    ExecWorld world;
};

TEST_F(ExecTrouble, AProgramThatCannotBeRunIsTheDeclarationsFault) {
    world.spec.command = {"/nope"};
    for (int i = 0; i < 4; ++i) {
        const Error e = world.error();
        EXPECT_EQ(e.cls, ErrorClass::invalid);
        EXPECT_EQ(e.message, "provider \"x\": command \"/nope\" cannot be run (No such file or directory)");
    }
    world.made.reset();
    world.spec.command = {world.flag.string()};
    EXPECT_EQ(world.error().message, "provider \"x\": command \"" + world.flag.string() + "\" cannot be run (Permission denied)");
}

TEST_F(ExecTrouble, TheProbeStandsBetweenTheProgramAndTheDocuments) {
    world.mode("probe-garbage");
    const Error e = world.error({"a document"});
    EXPECT_EQ(e.cls, ErrorClass::bad_answer);
    EXPECT_THAT(e.message, HasSubstr("the probe failed: "));
    world.made.reset();
    world.mode("exit");
    EXPECT_THAT(world.error().message, HasSubstr("the probe failed: the program ended with code 3"));
    world.made.reset();
    world.mode("probe-surroundings");
    const Error refuses = world.error({"a document"});
    EXPECT_EQ(refuses.cls, ErrorClass::bad_answer) << "no document is to blame";
    EXPECT_THAT(refuses.message, HasSubstr("refuses a text of four words"));
    for (int i = 0; i < 2; ++i) EXPECT_EQ(world.error({"a document"}).cls, ErrorClass::bad_answer);
    EXPECT_THAT(world.embedder().quarantine_reason(), HasSubstr("quarantined for 5 min"));
}

TEST_F(ExecTrouble, WhoeverWaitsForTheProbeIsRefusedWithIt) {
    world.mode("probe-garbage");
    const std::vector<std::string> texts{"a"};
    const Context context;
    std::vector<std::future<Result<Embeddings>>> answers;
    for (int i = 0; i < 8; ++i) answers.push_back(world.io.start(world.embedder().embed(texts, TextRole::document, context)));
    int bad = 0;
    int refused = 0;
    for (auto& answer : answers) {
        const auto result = answer.get();
        ASSERT_FALSE(result);
        bad += result.error().cls == ErrorClass::bad_answer ? 1 : 0;
        refused += result.error().cls == ErrorClass::unavailable ? 1 : 0;
    }
    EXPECT_EQ(bad, 3);
    EXPECT_EQ(refused, 5);
}

TEST_F(ExecTrouble, EachQuarantineIsLongerThanTheLast) {
    world.mode("probe-garbage");
    for (int i = 0; i < 3; ++i) EXPECT_EQ(world.error().cls, ErrorClass::bad_answer);
    for (const auto length : {5min, 10min, 20min, 40min, 60min, 60min}) {
        EXPECT_EQ(world.error().retry_after, std::chrono::milliseconds(length));
        world.clock.advance(length);
        EXPECT_EQ(world.error().cls, ErrorClass::bad_answer) << "one probe";
    }
}

TEST_F(ExecTrouble, AFaultBetweenSuccessesIsForgiven) {
    world.mode("moody");
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(world.error({"die"}).cls, ErrorClass::transient);
        EXPECT_EQ(world.error({"die"}).cls, ErrorClass::transient);
        EXPECT_TRUE(world.embed({"live"}));
    }
}

TEST_F(ExecTrouble, ACallersShortDeadlineIsNoFault) {
    world.mode("moody");
    ASSERT_TRUE(world.embed({"a"}));
    for (int i = 0; i < 4; ++i) {
        Context context;
        context.deadline = world.clock.steady_now() + 50ms;
        const Error e = world.error({"hang"}, context);
        EXPECT_EQ(e.cls, ErrorClass::timeout) << e.message;
    }
    EXPECT_TRUE(world.embed({"a"})) << "not quarantined";
}

TEST_F(ExecTrouble, SecretsOfItsEnvironmentAreNotQuoted) {
    ::setenv("HOMEOSTAT_TEST_NAMED", "s3cr3t", 1);
    world.mode("crash");
    world.spec.environment = {"HOMEOSTAT_TEST_NAMED"};
    const Error e = world.error();
    EXPECT_THAT(e.message, HasSubstr("the secret is ***"));
    world.spoil_probe();
    while (world.embedder().quarantine_reason().empty()) world.error();
    EXPECT_THAT(world.embedder().quarantine_reason(), HasSubstr("the secret is ***"));
    EXPECT_THAT(e.message, Not(HasSubstr("s3cr3t")));
    ::unsetenv("HOMEOSTAT_TEST_NAMED");
}

TEST_F(ExecTrouble, OneProgramsHangHoldsUpNoOther) {
    world.mode("moody");
    world.spec.timeout = 1500ms;
    ASSERT_TRUE(world.embed({"a"}));
    const std::vector<std::string> hang{"hang"};
    const Context context;
    auto stuck = world.io.start(world.embedder().embed(hang, TextRole::document, context));
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(world.embed({"b"}));
    EXPECT_EQ(stuck.wait_for(0ms), std::future_status::timeout);
    const auto late = stuck.get();
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().cls, ErrorClass::timeout);
}

// The thread that watches the programs may be gone before the embedder: then the last to let go of a program ends it.
TEST_F(ExecTrouble, ProgramsEndWithTheExecutorThatWatchesThem) {
    {
        kit::IoThread io;
        auto made =
            make_exec_embedder(world.spec, "m", 8, io.executor(), world.clock, {world.registry, world.tracer}, world.options);
        ASSERT_TRUE(made) << made.error().message;
        const std::vector<std::string> texts{"a"};
        ASSERT_TRUE(io.run((*made)->embed(texts, TextRole::document, {})));
        EXPECT_GE(world.running(), 1U);
    }
    EXPECT_EQ(world.running(), 0U);
}

}  // namespace
}  // namespace homeostat
