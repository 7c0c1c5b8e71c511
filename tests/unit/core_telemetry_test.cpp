#include "core/telemetry.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "tests/kit/sim_clock.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::SizeIs;

TEST(Registry, SameNameAndLabelsAreOneInstrument) {
    Registry r;
    Counter& a = r.counter("rows_total", "Rows.", {{"op", "read"}});
    a.add(2);
    r.counter("rows_total", "Rows.", {{"op", "read"}}).add();
    r.counter("rows_total", "Rows.", {{"op", "write"}}).add(7);
    const auto families = r.collect();
    ASSERT_THAT(families, SizeIs(1));
    ASSERT_THAT(families[0].samples, SizeIs(2));
    EXPECT_EQ(families[0].samples[0].value, 3);
    EXPECT_EQ(families[0].samples[1].value, 7);
}

TEST(Registry, ANameKeepsItsFirstKind) {
    Registry r;
    r.counter("x", "first").add(1);
    r.gauge("x", "second").set(99);
    const auto families = r.collect();
    ASSERT_THAT(families, SizeIs(1));
    EXPECT_EQ(families[0].kind, MetricKind::counter);
    ASSERT_THAT(families[0].samples, SizeIs(1));
    EXPECT_EQ(families[0].samples[0].value, 1);
}

TEST(Registry, ForgottenSeriesAreGoneButTheirReferencesLive) {
    Registry r;
    Gauge& g = r.gauge("documents", "", {{"pipeline", "a"}, {"state", "stale"}});
    r.gauge("documents", "", {{"pipeline", "b"}, {"state", "stale"}}).set(5);
    r.forget("pipeline", "a");
    g.set(1);  // must not touch freed memory
    const auto families = r.collect();
    ASSERT_THAT(families[0].samples, SizeIs(1));
    EXPECT_EQ(families[0].samples[0].value, 5);
    EXPECT_EQ(r.gauge("documents", "", {{"pipeline", "a"}, {"state", "stale"}}).value(), 0);
}

TEST(Registry, CountsFromManyThreadsAddUp) {
    Registry r;
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 4; ++t) {
            threads.emplace_back([&] {
                for (int i = 0; i < 1000; ++i) {
                    r.counter("c", "").add();
                    r.histogram("h", "", {1, 2}).observe(1.5);
                }
            });
        }
    }
    EXPECT_EQ(r.counter("c", "").value(), 4000);
    EXPECT_THAT(r.histogram("h", "", {1, 2}).counts(), ElementsAre(0, 4000, 0));
}

TEST(Histogram, UpperLimitsAreInclusiveAndTheRestIsInf) {
    Histogram h({1, 2, 5});
    for (const double v : {0.5, 1.0, 1.1, 5.0, 5.1, std::numeric_limits<double>::infinity()}) h.observe(v);
    EXPECT_THAT(h.counts(), ElementsAre(2, 1, 1, 2));
}

TEST(Histogram, NotANumberIsLeftOut) {
    Histogram h({1});
    h.observe(std::nan(""));
    h.observe(1);
    EXPECT_THAT(h.counts(), ElementsAre(1, 0));
    EXPECT_EQ(h.sum(), 1);
}

TEST(SpanContext, TraceparentRoundTrips) {
    constexpr std::string_view text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    EXPECT_EQ(SpanContext::from_traceparent(text).traceparent(), text);
    EXPECT_EQ(SpanContext{}.traceparent(), "");
}

TEST(SpanContext, MalformedTraceparentIsAbsent) {
    for (const std::string_view text : {
             "",
             "00",
             "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
             "not a traceparent, but just as long as one ought to be",
             "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",        // forbidden version
             "00-00000000000000000000000000000000-b7ad6b7169203331-01",        // no trace
             "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",        // no span
             "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",        // upper case
             "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",  // version 00 ends here
             "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
         }) {
        EXPECT_FALSE(SpanContext::from_traceparent(text).valid()) << text;
    }
    EXPECT_TRUE(SpanContext::from_traceparent("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later").valid());
}

class TracerTest : public ::testing::Test {
protected:
    kit::SimulatedClock clock_;
    SpanRecorder recorder_;
    Tracer tracer_{&recorder_, clock_};
};

TEST_F(TracerTest, ChildrenShareTheTraceAndNameTheirParent) {
    Span parent = tracer_.start("reconcile");
    Span child = tracer_.start("observe", SpanKind::client, parent.context());
    EXPECT_EQ(child.context().trace.hex(), parent.context().trace.hex());
    EXPECT_NE(child.context().span.hex(), parent.context().span.hex());
    child.end();
    ASSERT_THAT(recorder_.spans(), SizeIs(1));
    EXPECT_EQ(recorder_.spans()[0].parent.hex(), parent.context().span.hex());
    EXPECT_EQ(recorder_.spans()[0].kind, SpanKind::client);
}

TEST_F(TracerTest, EndsOnceWithItsTimesAndFindings) {
    const WallTime begin = clock_.now();
    {
        Span s = tracer_.start("plan");
        clock_.advance(3s);
        s.set("rows", std::int64_t{1});
        s.set("rows", std::int64_t{2});
        s.fail({.cls = ErrorClass::db_permanent, .message = "no rights on the table", .code = "42501"});
        s.end();
        s.set("late", true);
    }
    const auto spans = recorder_.spans();
    ASSERT_THAT(spans, SizeIs(1));
    EXPECT_EQ(spans[0].start, begin);
    EXPECT_EQ(spans[0].end, begin + 3s);
    EXPECT_EQ(spans[0].error, "db_permanent") << "what the message says may quote a document";
    EXPECT_THAT(spans[0].attributes, ElementsAre(Pair("rows", AttributeValue(std::int64_t{2})),
                                                 Pair("error.type", AttributeValue(std::string("db_permanent"))),
                                                 Pair("db.response.status_code", AttributeValue(std::string("42501")))));
}

TEST_F(TracerTest, AssigningOverASpanEndsIt) {
    Span s = tracer_.start("first");
    s = tracer_.start("second");
    ASSERT_THAT(recorder_.spans(), SizeIs(1));
    EXPECT_EQ(recorder_.spans()[0].name, "first");
}

TEST_F(TracerTest, LinksOnlyWhatIsValid) {
    Span other = tracer_.start("other");
    Span s = tracer_.start("batch");
    s.link({});
    s.link(other.context());
    s.end();
    ASSERT_THAT(recorder_.spans()[0].links, SizeIs(1));
    EXPECT_EQ(recorder_.spans()[0].links[0].traceparent(), other.context().traceparent());
}

// As a pass finds a run under way only when it has looked.
TEST_F(TracerTest, JoinsATraceThatHasBegun) {
    const SpanContext run = SpanContext::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
    Span s = tracer_.start("reconcile");
    const std::string own = s.context().span.hex();
    s.join({});
    EXPECT_NE(s.context().trace.hex(), run.trace.hex());
    s.join(run);
    const Span child = tracer_.start("observe", SpanKind::internal, s.context());
    EXPECT_EQ(child.context().trace.hex(), run.trace.hex());
    EXPECT_FALSE(child.context().sampled) << "the whole trace alike";
    EXPECT_EQ(s.context().span.hex(), own);
    s.end();
    EXPECT_EQ(recorder_.spans().back().parent.hex(), "b7ad6b7169203331");
}

TEST_F(TracerTest, AScopeHoldsForItsThreadAndForWhatItSurrounds) {
    EXPECT_FALSE(SpanScope::here().valid());
    EXPECT_FALSE(SpanScope::start("SELECT", SpanKind::client).context().valid());
    const Span outer = tracer_.start("outer");
    const SpanScope around(tracer_, outer);
    {
        const Span none;
        const SpanScope nothing(tracer_, none);
        const Span inner = tracer_.start("inner");
        const SpanScope within(tracer_, inner);
        EXPECT_EQ(SpanScope::here().span.hex(), inner.context().span.hex());
        std::jthread([] { EXPECT_FALSE(SpanScope::here().valid()); }).join();
    }
    EXPECT_EQ(SpanScope::here().span.hex(), outer.context().span.hex());
    SpanScope::start("SELECT", SpanKind::client).end();
    EXPECT_EQ(recorder_.spans().back().parent.hex(), outer.context().span.hex());
}

TEST(TraceSampler, TakesTheShareThatIsAskedForAndDecidesByTheTraceAlone) {
    const kit::SimulatedClock clock;
    SpanRecorder recorder;
    const TraceSampler tenth(0.1);
    const Tracer tracer(&recorder, clock, tenth);
    int taken = 0;
    constexpr int kTraces = 5'000;
    for (int i = 0; i < kTraces; ++i) {
        const Span root = tracer.start("root");
        const Span child = tracer.start("child", SpanKind::internal, root.context());
        EXPECT_EQ(root.context().sampled, tenth.takes(root.context().trace));
        EXPECT_EQ(child.context().sampled, root.context().sampled);
        taken += root.context().sampled ? 1 : 0;
    }
    EXPECT_NEAR(taken, kTraces / 10, 150);
    TraceId all;
    all.bytes.fill(0xff);
    EXPECT_TRUE(TraceSampler().takes(all));
    EXPECT_TRUE(TraceSampler(1).takes(all));
    EXPECT_FALSE(TraceSampler(0).takes(TraceId{}));
    EXPECT_FALSE(TraceSampler(std::nan("")).takes(TraceId{}));
}

TEST(Tracer, WithoutASinkSpansAreEmpty) {
    const kit::SimulatedClock clock;
    const Tracer tracer(nullptr, clock);
    Span s = tracer.start("nothing");
    s.set("k", true);
    s.fail(internal_error("x"));
    s.join(SpanContext::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    const SpanScope scope(tracer, s);
    EXPECT_FALSE(SpanScope::here().valid());
    EXPECT_FALSE(s.context().valid());
    s.end();
}

}  // namespace
}  // namespace homeostat
