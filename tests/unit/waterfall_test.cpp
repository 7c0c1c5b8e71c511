// What `homeostat trace` draws: a tree of 80 columns, and the way of one document.
#include "controller/cli/text/waterfall.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "controller/cli/text/timeline.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const WallTime kBegin{std::chrono::seconds(1'700'000'000)};

KeptSpan span(std::string id, std::string parent, std::string name, std::chrono::microseconds from,
              std::chrono::microseconds took) {
    return {.name = std::move(name),
            .kind = "internal",
            .id = std::move(id),
            .parent = std::move(parent),
            .start = kBegin + from,
            .took = took,
            .error = {},
            .attributes = {},
            .replica = "here"};
}

std::vector<std::string> drawn(const std::vector<KeptSpan>& spans, bool all = false) {
    std::ostringstream out;
    draw_waterfall(out, spans, all);
    std::vector<std::string> lines;
    std::istringstream in(out.str());
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

std::size_t letters(const std::string& line) {
    return static_cast<std::size_t>(
        std::count_if(line.begin(), line.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

TEST(Waterfall, IsATreeWithBarsOverTheWhole) {
    const auto lines = drawn({span("a", "", "reconcile", 0us, 1s), span("b", "a", "observe", 0us, 500ms),
                              span("c", "a", "plan", 500ms, 500ms), span("d", "c", "process embedding_batch", 750ms, 1250ms)});
    EXPECT_THAT(lines, ElementsAre("  SPAN                                        TOOK  0                    2.00 s",
                                   "  reconcile                                 1.00 s  #############",
                                   "    observe                                 500 ms  ######",
                                   "    plan                                    500 ms        #######",
                                   "      process embedding_batch               1.25 s            #################"));
}

TEST(Waterfall, FitsEightyColumnsWhateverNamesThereAre) {
    std::vector<KeptSpan> spans{span("0", "", "SELECT " + std::string(300, 'x'), 0us, 5h)};
    for (int i = 1; i < 30; ++i)
        spans.push_back(span(std::to_string(i), std::to_string(i - 1), "INSERT öffentlich.\"Straßenverzeichnis der Städte\"\n",
                             1us * i, 100s));
    for (const std::string& line : drawn(spans, true)) EXPECT_LE(letters(line), 80U) << line;
}

TEST(Waterfall, ManyAlikeAreOneLineUnlessAllAreAskedFor) {
    std::vector<KeptSpan> spans{span("top", "", "plan", 0us, 1s)};
    for (int i = 0; i < 100; ++i) {
        spans.push_back(span("b" + std::to_string(i), "top", "process embedding_batch", 10ms * i, 10ms));
        spans.push_back(span("w" + std::to_string(i), "b" + std::to_string(i), "write vectors", 10ms * i, 5ms));
    }
    spans[2 * 70 + 1].error = "throttled";
    const auto lines = drawn(spans);
    EXPECT_EQ(lines.size(), 1U + 1U + 2U * 4U + 2U + 1U);
    const std::string text = ::testing::PrintToString(lines);
    EXPECT_THAT(text, HasSubstr("+ 95 x process embedding_batch"));
    EXPECT_THAT(text, HasSubstr("950 ms"));
    EXPECT_THAT(text, HasSubstr("!"));
    EXPECT_EQ(drawn(spans, true).size(), 202U);
}

TEST(Waterfall, ParentsThatAreMissingOrGoInARingLeaveNothingOut) {
    const auto lines =
        drawn({span("a", "gone", "first", 0us, 1s), span("b", "b", "own parent", 0us, 1s), span("c", "", "third", 0us, 0us)});
    EXPECT_EQ(lines.size(), 4U);
    EXPECT_TRUE(drawn({}).empty());
}

TEST(Waterfall, LengthsAndTimes) {
    EXPECT_EQ(span_length(0us), "0 us");
    EXPECT_EQ(span_length(-5us), "0 us");
    EXPECT_EQ(span_length(12'345us), "12.3 ms");
    EXPECT_EQ(span_length(123'456us), "123 ms");
    EXPECT_EQ(span_length(12'345'678us), "12.35 s");
    EXPECT_EQ(span_length(125s), "2 min 05 s");
    EXPECT_EQ(span_length(3h), "3.0 h");
    EXPECT_EQ(exact_time(kBegin + 7ms), "2023-11-14T22:13:20.007Z");
}

TEST(Timeline, OfAnEditThatTheFeedNamed) {
    std::vector<KeptSpan> spans{span("d", "", "drain", 12ms, 3ms), span("r", "d", "read documents", 15ms, 1ms),
                                span("p", "d", "process embedding_batch", 17ms, 40ms), span("e", "p", "embeddings m", 18ms, 30ms),
                                span("w", "p", "write vectors", 50ms, 5ms)};
    spans[0].attributes = {{"homeostat.changes", "1"}, {"homeostat.oldest_change_ms", "12"}};
    spans[3].attributes = {{"gen_ai.provider.name", "openai"}};
    const DocumentBatch batch{.trace_id = "t", .span_id = "p", .batch_id = 41, .revision = 2, .served = kBegin - 1h};
    const auto at = [](const TimelineStep& s) { return s.at ? *s.at - kBegin : WallTime::duration(-1s); };
    std::vector<TimelineStep> steps = timeline_of(spans, batch, std::nullopt);
    std::vector<std::string> names;
    std::vector<WallTime::duration> times;
    for (const TimelineStep& s : steps) {
        names.push_back(s.name);
        times.push_back(at(s));
    }
    EXPECT_THAT(names, ElementsAre("edited", "noticed", "planned", "claimed", "read", "embedded", "written", "served"));
    EXPECT_THAT(times, ElementsAre(0ms, 12ms, 12ms, 17ms, 15ms, 18ms, 55ms, 55ms));
    EXPECT_EQ(steps[5].note, "1 request to openai");
    EXPECT_EQ(steps[5].took, 30ms);
    // The commit is known better; and of a later edit it says nothing about this one.
    EXPECT_EQ(at(timeline_of(spans, batch, kBegin + 2ms)[0]), 2ms);
    const TimelineStep again = timeline_of(spans, batch, kBegin + 1h)[0];
    EXPECT_EQ(at(again), 0ms);
    EXPECT_THAT(again.note, HasSubstr("edited again"));
}

TEST(Timeline, OfWhatASweepFoundAndOfWhatWasNotComeTo) {
    const std::vector<KeptSpan> spans{span("x", "", "reconcile", 0us, 1s), span("o", "x", "observe", 1ms, 9ms),
                                      span("l", "x", "plan", 11ms, 2ms), span("p", "l", "process embedding_batch", 20ms, 5ms),
                                      span("r", "p", "read documents", 20ms, 1ms)};
    const DocumentBatch batch{.trace_id = "t", .span_id = "p", .batch_id = 1, .revision = 1, .served = std::nullopt};
    const std::vector<TimelineStep> steps = timeline_of(spans, batch, std::nullopt);
    EXPECT_FALSE(steps[0].at);
    EXPECT_EQ(*steps[1].at, kBegin + 1ms);
    EXPECT_EQ(steps[1].note, "by a sweep");
    EXPECT_THAT(steps[5].note, HasSubstr("no new text"));
    EXPECT_FALSE(steps[6].at);
    EXPECT_THAT(steps[7].note, HasSubstr("not served yet"));
    for (const TimelineStep& s : timeline_of({}, batch, std::nullopt)) EXPECT_FALSE(s.at) << s.name;
}

}  // namespace
}  // namespace homeostat
