// Chunkers that are programs: what a good one says is what comes out, byte for byte; whatever another does is told, contained,
// and blamed on nobody but the document that was alone. After each test no process, folder or descriptor may be left.
#include "reconcilers/embed/exec_chunker.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kit/exec_world.hpp"

namespace homeostat {
namespace {

using kit::ExecWorld;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// "text<context>" of each chunk.
std::vector<std::string> shown(const CutText& cut, std::string_view text) {
    std::vector<std::string> out;
    for (const ProgramChunk& c : cut.chunks) {
        out.emplace_back(text.substr(c.start, c.end - c.start));
        if (!c.context.empty()) out.back() += "<" + c.context + ">";
    }
    return out;
}

class Chunkers : public ::testing::Test {
protected:
    ~Chunkers() override { made.reset(); }

    void mode(const std::string& name) {
        made.reset();
        program = {
            .name = "x", .command = {HOMEOSTAT_EXEC_PROGRAM, name, world.flag.string(), world.mark}, .timeout = 20s, .copies = 2};
    }
    ExecChunker& chunker() {
        if (!made) {
            auto result =
                ExecChunker::make(program, world.io.executor(), world.clock, {world.registry, world.tracer}, world.options);
            if (!result) throw std::runtime_error(result.error().message);
            made = *std::move(result);
        }
        return *made;
    }
    Result<std::vector<CutText>> cut(const std::vector<std::string>& texts) {
        const std::vector<std::string_view> views(texts.begin(), texts.end());
        return world.io.run(chunker().cut(views, {}, {}));
    }
    Error error(const std::vector<std::string>& texts) {
        auto result = cut(texts);
        return result ? internal_error("it worked") : result.error();
    }
    // The reason, or "" where it was cut.
    std::vector<std::string> refusals(const std::vector<std::string>& texts) {
        std::vector<std::string> out;
        const auto result = cut(texts);
        if (!result) return {"error: " + result.error().message};
        for (const CutText& t : *result) out.push_back(t.refused ? t.refused->message : "");
        return out;
    }

    ExecWorld world;
    ChunkerProgram program;
    std::shared_ptr<ExecChunker> made;
};

TEST_F(Chunkers, WhatTheProgramSaysComesOut) {
    mode("good");
    const std::string text = "Ünïcode\n\u00e9 \"quoted\" \\ back\t\n  \nend";
    const auto answer = cut({text, "one line"});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_THAT(shown((*answer)[0], text), ElementsAre("Ünïcode", "\u00e9 \"quoted\" \\ back\t<Ünïcode>", "end<Ünïcode>"));
    EXPECT_THAT(shown((*answer)[1], "one line"), ElementsAre("one line"));
    const ChunkerFigures f = chunker().figures();
    EXPECT_EQ(f.requests, 1U);
    EXPECT_EQ(f.failures, 0U);
    EXPECT_EQ(f.quarantine, "");
}

TEST_F(Chunkers, ManyDocumentsAreAskedForInSeveralRequests) {
    mode("good");
    std::vector<std::string> texts(130, "a\nb");
    texts.push_back(std::string(900'000, 'x'));
    texts.push_back(std::string(900'000, 'y'));
    const auto answer = cut(texts);
    ASSERT_TRUE(answer) << answer.error().message;
    for (std::size_t i = 0; i < 130; ++i) EXPECT_EQ((*answer)[i].chunks.size(), 2U);
    EXPECT_EQ((*answer)[131].chunks.at(0).end, 900'000U);
    EXPECT_EQ(chunker().figures().requests, 4U);
}

TEST_F(Chunkers, WhatIsRefusedIsItsDocumentsAlone) {
    mode("moody");
    EXPECT_THAT(refusals({"good", "refuse me", "well"}),
                ElementsAre("", "chunker \"program:x\": the program says \"not this one\"", ""));
    mode("whole-refusal");
    EXPECT_THAT(refusals({"good", "refuse me", "well"}), ElementsAre("", HasSubstr("none of these"), ""));
    EXPECT_EQ(chunker().figures().quarantine, "");
    EXPECT_THAT(refusals({"ill-formed \xff", "well"}), ElementsAre(HasSubstr("not UTF-8"), ""));
}

struct Wrong {
    std::string mode;
    std::string says;
};

class WrongAnswers : public Chunkers, public ::testing::WithParamInterface<Wrong> {};

// With what is wrong it is a document's own fault only after the program was proved good twice.
TEST_P(WrongAnswers, AreUsedForNothing) {
    mode(GetParam().mode);
    // The first letter has two bytes.
    const std::vector<std::string> text{"Ärger\nb " + std::string(20'000, 'c') + "\n"};
    EXPECT_THAT(refusals(text),
                ElementsAre(::testing::AllOf(StartsWith("chunker \"program:x\": the program fails at this document alone"),
                                             HasSubstr(GetParam().says))));
    EXPECT_EQ(chunker().figures().quarantine, "") << "one document says nothing of the program";
    world.repair();
    EXPECT_THAT(refusals(text), ElementsAre("")) << "it was told, and is asked for again";
}

INSTANTIATE_TEST_SUITE_P(
    Modes, WrongAnswers,
    ::testing::Values(Wrong{"few-lists", "0 lists of chunks, 1 documents"}, Wrong{"outside", "ends outside the document"},
                      Wrong{"negative", "no \"start\" and \"end\" that are whole numbers"},
                      Wrong{"inside", "begins inside a letter"}, Wrong{"empty", "is empty"},
                      Wrong{"backwards", "begins before the one before it"}, Wrong{"again", "is the one before it again"},
                      Wrong{"blank", "is white space only"}, Wrong{"long-context", "no line of at most 1000 letters"},
                      Wrong{"two-line-context", "no line of at most 1000 letters"},
                      Wrong{"number-context", "a context that is no text"}, Wrong{"no-offsets", "no \"start\" and \"end\""},
                      Wrong{"many", "has more than 10000 chunks"}, Wrong{"everything-twice", "more than 8 times the document"},
                      Wrong{"garbage", "no JSON object"}, Wrong{"endless", "bytes without ending the line"},
                      Wrong{"half", "ended with code 0"}),
    [](const auto& p) {
        std::string name = p.param.mode;
        std::replace(name.begin(), name.end(), '-', '_');
        return name;
    });

TEST_F(Chunkers, ADeathBlamesNobodyButWhoWasAlone) {
    mode("moody");
    for (const std::string word : {"die", "babble"}) {
        const auto said = refusals({"one", "two " + word, "three"});
        ASSERT_EQ(said.size(), 3U) << said.front();
        EXPECT_EQ(said[0], "");
        EXPECT_THAT(said[1], HasSubstr("fails at this document alone, twice"));
        EXPECT_EQ(said[2], "");
    }
    program.timeout = 400ms;
    made.reset();
    EXPECT_THAT(refusals({"one", "hang"}), ElementsAre("", HasSubstr("did not answer within 0.4 s and was killed")));
    EXPECT_EQ(chunker().figures().quarantine, "");
}

TEST_F(Chunkers, WhoFailsAtEveryDocumentIsQuarantinedAndTheLetterOfNone) {
    mode("moody");
    const std::vector<std::string> texts{"die 1", "die 2", "die 3", "die 4", "good"};
    const Error e = error(texts);
    EXPECT_EQ(e.cls, ErrorClass::unavailable) << e.message;
    EXPECT_THAT(e.message, HasSubstr("failed at 3 documents in a row, though at no harmless text, and is quarantined"));
    EXPECT_TRUE(kit::soon([&] { return !chunker().figures().quarantine.empty(); }));
    EXPECT_EQ(error({"good"}).cls, ErrorClass::unavailable);
    EXPECT_TRUE(kit::soon([&] { return world.running() == 0; }));
    // Bad documents that follow each other keep nobody waiting for ever.
    world.clock.advance(300s);
    const auto said = refusals(texts);
    ASSERT_EQ(said.size(), 5U) << said.front();
    for (int i = 0; i < 4; ++i) EXPECT_THAT(said[static_cast<std::size_t>(i)], HasSubstr("fails at this document alone"));
    EXPECT_EQ(said[4], "");
    world.repair();
    EXPECT_THAT(refusals(texts), ElementsAre("", "", "", "", "")) << "what was told is asked for again";
}

TEST_F(Chunkers, WhoFailsAtTheProbeIsQuarantinedAndComesBack) {
    mode("probe-garbage");
    for (int i = 0; i < 3; ++i) {
        const Error e = error({"a", "b"});
        EXPECT_EQ(e.cls, ErrorClass::bad_answer) << e.message;
        EXPECT_THAT(e.message, StartsWith("chunker \"program:x\": the probe failed: "));
    }
    const Error e = error({"a", "b"});
    EXPECT_EQ(e.cls, ErrorClass::unavailable);
    EXPECT_THAT(e.message,
                StartsWith("chunker \"program:x\": quarantined for 5 min, until 2026-01-01 00:05:00 UTC, after 3 faults"));
    EXPECT_THAT(chunker().figures().quarantine, HasSubstr("no JSON object"));
    world.repair();
    world.clock.advance(300s);
    EXPECT_THAT(refusals({"a", "b"}), ElementsAre("", ""));
    EXPECT_EQ(chunker().figures().quarantine, "");
}

TEST_F(Chunkers, WhatTheRulesDoNotAllowIsNotMade) {
    mode("good");
    world.options.rules.allow = {"/bin/cat"};
    const auto result =
        ExecChunker::make(program, world.io.executor(), world.clock, {world.registry, world.tracer}, world.options);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().cls, ErrorClass::invalid);
    EXPECT_THAT(result.error().message,
                ::testing::AllOf(StartsWith("chunker \"program:x\": command \""), HasSubstr("exec.allow")));
}

TEST_F(Chunkers, AStopEndsIt) {
    mode("moody");
    std::stop_source stop;
    Context context;
    context.stop = stop.get_token();
    const std::vector<std::string_view> texts{"hang"};
    auto waiting = world.io.start(chunker().cut(texts, {}, context));
    EXPECT_TRUE(kit::soon([&] { return chunker().figures().requests == 0 && world.running() > 0; }));
    stop.request_stop();
    const auto result = waiting.get();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().cls, ErrorClass::cancelled);
}

}  // namespace
}  // namespace homeostat
