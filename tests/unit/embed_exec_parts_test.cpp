// The parts of exec providers that need no program: the protocol, the quarantine, and what the sandbox says of itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <nlohmann/json.hpp>

#include "reconcilers/embed/exec_protocol.hpp"
#include "reconcilers/embed/quarantine.hpp"
#include "reconcilers/embed/sandbox.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

Result<Embeddings> parse(const std::string& line) { return parse_exec_answer(line, 7, "m", 2, 3); }

Error breach(const std::string& line) {
    const auto result = parse(line);
    return result ? internal_error("it was accepted") : result.error();
}

TEST(ExecProtocol, WritesARequestOnOneLine) {
    const std::string line =
        exec_request_line(7, exec_request_tail("m\"odel", 3, TextRole::query, "q: ", {"a\nb", "\xff", std::string("n\0l", 3)}));
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    const auto json = nlohmann::json::parse(line);
    EXPECT_EQ(json["id"], 7);
    EXPECT_EQ(json["model"], "m\"odel");
    EXPECT_EQ(json["dimensions"], 3);
    EXPECT_EQ(json["role"], "query");
    EXPECT_EQ(json["texts"][0], "q: a\nb");
    EXPECT_EQ(json["texts"][1], "q: \xef\xbf\xbd");
    EXPECT_EQ(json["texts"][2], std::string("q: n\0l", 6));
}

TEST(ExecProtocol, ReadsAnAnswerWithMembersInAnyOrder) {
    const auto answer = parse(R"( {"tokens": 12, "vectors": [[1, 2.5, -3e-1], [0, 0, 1]], "note": {"a": [1]}, "id": 7} )");
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->values, (std::vector<float>{1, 2.5F, -0.3F, 0, 0, 1}));
    EXPECT_EQ(answer->tokens, 12U);
    EXPECT_EQ(answer->model, "m");
}

TEST(ExecProtocol, RefusesEveryBreachAndQuotesTheLine) {
    const std::vector<std::pair<std::string, std::string>> table{
        {"Loading...", "no JSON object: \"Loading...\""},
        {"", "no JSON object"},
        {"[1]", "no JSON object"},
        {R"({"id":7,"vectors":[[1,2,3],[1,2)", "no JSON object"},
        {R"({"id":7,"vectors":[[1,2,3],[1,2,3]]} {})", "something follows"},
        {R"({"vectors":[[1,2,3],[1,2,3]]})", "no \"id\""},
        {R"({"id":"7","vectors":[[1,2,3],[1,2,3]]})", "\"id\" of the answer is no whole number"},
        {R"({"id":8,"vectors":[[1,2,3],[1,2,3]]})", "request 7 was asked, 8 answered"},
        {R"({"id":7})", "neither \"vectors\" nor an \"error\""},
        {R"({"id":7,"vectors":[[1,2,3]]})", "1 vectors, 2 texts were sent"},
        {R"({"id":7,"vectors":[[1,2,3],[1,2,3],[1,2,3]]})", "more vectors than the 2 texts"},
        {R"({"id":7,"vectors":[[1,2,3],[1,2]]})", "vector 1 has 2 numbers, 3 were declared"},
        {R"({"id":7,"vectors":[[1,2,3,4],[1,2,3]]})", "vector 0 has more than the 3"},
        {R"({"id":7,"vectors":[[1,2,NaN],[1,2,3]]})", "vector 0 holds what is no number"},
        {R"({"id":7,"vectors":[[1,2,"3"],[1,2,3]]})", "vector 0 holds what is no number"},
        {R"({"id":7,"vectors":[[1,2,1e39],[1,2,3]]})", "not a finite number"},
        {R"({"id":7,"vectors":[[0,0,0],[1,2,3]]})", "all zeros"},
        {R"({"id":7,"vectors":{"0":[1,2,3]}})", "are no list"},
        {R"({"id":7,"vectors":[1,2]})", "vector 0 is no list of numbers"},
        {R"({"id":7,"vectors":[[1,2,3],[1,2,3]],"tokens":-1})", "\"tokens\""},
        {R"({"id":7,"error":"no"})", "\"error\" of the answer is no object"},
        {R"({"id":7,"error":{"class":"throtled"}})", "did you mean \"throttled\""},
        {R"({"id":7,"error":{"class":"auth","message":"?"}})", "none of content"},
    };
    for (const auto& [line, expected] : table) {
        const Error e = breach(line);
        EXPECT_EQ(e.cls, ErrorClass::bad_answer) << line;
        EXPECT_THAT(e.message, HasSubstr(expected)) << line;
    }
}

TEST(ExecProtocol, TakesRefusalsAsTheyAreDeclared) {
    const Error e = breach(R"({"id":7,"error":{"class":"throttled","message":"busy\n\u0000","retry_after_ms":2500}})");
    EXPECT_EQ(e.cls, ErrorClass::throttled);
    EXPECT_EQ(e.retry_after, 2500ms);
    EXPECT_EQ(e.message, "the program says \"busy\\n\\u0000\"");
    EXPECT_EQ(breach(R"({"id":7,"error":{"class":"content"}})").cls, ErrorClass::content);
    EXPECT_EQ(breach(R"({"id":7,"error":{"class":"too_large"}})").cls, ErrorClass::too_large);
    EXPECT_EQ(breach(R"({"id":7,"error":{"class":"transient"}})").cls, ErrorClass::transient);
    EXPECT_EQ(breach(R"({"id":7,"error":{"class":"throttled","retry_after_ms":1e12}})").retry_after, 600'000ms)
        << "within bounds";
}

TEST(ExecProtocol, BoundsAnAnswerByWhatWasAsked) {
    EXPECT_GT(exec_answer_limit(100, 1536), 100U * 1536U * 26U);
    EXPECT_LT(exec_answer_limit(1, 8), 128U * 1024U);
    EXPECT_EQ(exec_answer_limit(8192, 16000), 64U << 20U);
}

SteadyTime at(Duration d) { return SteadyTime(1h + d); }

constexpr FaultAt kDocuments = FaultAt::documents;
constexpr FaultAt kHarmless = FaultAt::harmless_text;

TEST(Quarantine, BeginsWithAFaultAtTheHarmlessTextAfterTwoOthersAndDoubles) {
    Quarantine q;
    EXPECT_TRUE(q.unproven());
    q.success(at(0s));
    EXPECT_FALSE(q.unproven());
    EXPECT_FALSE(q.fault(at(1s), "a", kDocuments));
    EXPECT_FALSE(q.fault(at(2s), "b", kDocuments));
    q.success(at(3s));
    EXPECT_FALSE(q.fault(at(4s), "c", kDocuments)) << "a success between them starts the count again";
    EXPECT_FALSE(q.fault(at(5s), "d", kHarmless));
    EXPECT_TRUE(q.fault(at(6s), "e", kHarmless));
    EXPECT_EQ(q.until(at(6s)), at(306s));
    EXPECT_EQ(q.last_fault(), "e");
    EXPECT_EQ(q.faults(), 3);
    EXPECT_TRUE(q.unproven());
    EXPECT_FALSE(q.until(at(306s)));
    for (const auto length : {10min, 20min, 40min, 60min, 60min}) {
        const SteadyTime now = *q.until(at(6s)) + 1s;
        EXPECT_TRUE(q.fault(now, "probe", kHarmless)) << "one failed probe is enough";
        EXPECT_EQ(q.until(now), now + length);
    }
    EXPECT_TRUE(q.success(*q.until(at(6s))));
    EXPECT_FALSE(q.unproven());
    EXPECT_EQ(q.faults(), 0);
}

TEST(Quarantine, DocumentsOnlyMakeItUnproven) {
    Quarantine q;
    q.success(at(0s));
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(q.unproven(), i >= 3);
        EXPECT_FALSE(q.fault(at(1s), "a document", kDocuments));
        EXPECT_FALSE(q.until(at(1s)));
    }
    EXPECT_FALSE(q.success(at(2s))) << "it was in no quarantine";
    EXPECT_FALSE(q.unproven());
    EXPECT_EQ(q.faults(), 0);
    for (int i = 0; i < 3; ++i) EXPECT_FALSE(q.fault(at(3s), "a document", kDocuments));
    EXPECT_TRUE(q.fault(at(4s), "the harmless text", kHarmless));
    EXPECT_EQ(q.until(at(4s)), at(304s));
    EXPECT_EQ(q.last_fault(), "the harmless text");
}

TEST(Quarantine, WhatWasAskedBeforeItChangesNothing) {
    Quarantine q;
    for (int i = 0; i < 3; ++i) q.fault(at(0s), "x", kHarmless);
    EXPECT_FALSE(q.fault(at(1s), "late", kDocuments));
    EXPECT_FALSE(q.success(at(2s)));
    EXPECT_EQ(q.until(at(2s)), at(300s));
    EXPECT_EQ(q.last_fault(), "x");
}

// Whatever happens in whatever order: refused only after enough faults in a row of which the last was at the harmless text, never
// longer than the longest, and one success after it is over always brings it back.
RC_GTEST_PROP(Quarantine, NeverRefusesWithoutCauseNorForEver, (const std::vector<std::tuple<bool, bool, std::uint8_t>>& events)) {
    const QuarantineSettings settings;
    Quarantine q(settings);
    SteadyTime now = at(0s);
    int in_a_row = 0;
    for (const auto& [good, document, minutes] : events) {
        now += std::chrono::minutes(minutes);
        const bool counted = !q.until(now);
        if (good) {
            q.success(now);
        } else {
            q.fault(now, "f", document ? kDocuments : kHarmless);
        }
        if (counted) in_a_row = good ? 0 : in_a_row + 1;
        RC_ASSERT(q.until(now).has_value() == (!counted || (!good && !document && in_a_row >= settings.faults)));
        if (const auto until = q.until(now)) RC_ASSERT(*until <= now + settings.longest);
    }
    now += settings.longest;
    q.success(now);
    RC_ASSERT(!q.until(now) && !q.unproven() && q.faults() == 0);
}

TEST(Sandbox, HoldsHereAndSaysSo) {
    const SandboxReport report = examine_sandbox();
    EXPECT_TRUE(report.filter);
    EXPECT_THAT(report.text(), HasSubstr("seccomp"));
    const SandboxReport less = examine_sandbox(false);
    EXPECT_TRUE(less.filter);
    EXPECT_FALSE(less.namespaces);
    EXPECT_FALSE(less.scratch);
    EXPECT_THAT(less.text(), HasSubstr("; not here: own namespaces"));
    EXPECT_EQ(SandboxReport{}.text().substr(0, 10), "no sandbox");
}

TEST(Sandbox, SaysHowAProgramEnded) {
    EXPECT_EQ((ProcessEnd{.code = 3, .signal = 0}).text(), "ended with code 3");
    EXPECT_EQ((ProcessEnd{.code = 0, .signal = 11}).text(), "was killed by SIGSEGV");
}

}  // namespace
}  // namespace homeostat
