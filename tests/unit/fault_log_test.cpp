#include "reconcilers/gateway/fault_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

class Faults : public ::testing::Test {
protected:
    Faults() {
        auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(out_));
        logger->set_pattern("%v");
        spdlog::set_default_logger(std::move(logger));
    }
    // What was said since it was asked last.
    std::string said() {
        const std::string text = out_.str();
        out_.str("");
        return text;
    }

    FaultLog log;
    SteadyTime now{1h};

private:
    std::ostringstream out_;
};

TEST_F(Faults, ManyWhoSufferFromOneAreTwoLines) {
    for (int i = 0; i < 200; ++i) log.met("pipeline " + std::to_string(i), "provider p", "p is down", now);
    EXPECT_EQ(said(), "p is down\n");
    for (int i = 0; i < 200; ++i) log.over("pipeline " + std::to_string(i), now);
    EXPECT_EQ(said(), "over: p is down (met 200 times, by 200 at the same time)\n");
    log.over("pipeline 1", now);
    EXPECT_EQ(said(), "");
}

TEST_F(Faults, OneThatLastsIsToldOnceAMinute) {
    for (int second = 0; second < 180; ++second) log.met("a", "f", "it fails", now + second * 1s);
    EXPECT_EQ(said(), "it fails\nit fails (still; met 61 times)\nit fails (still; met 121 times)\n");
}

TEST_F(Faults, OneThatComesAndGoesIsNotALineEachTime) {
    for (int second = 0; second < 59; ++second) {
        log.met("a", "f", "it fails", now + second * 1s);
        log.over("a", now + second * 1s);
    }
    EXPECT_EQ(said(), "it fails\nover: it fails (met once)\n");
    log.met("a", "f", "it fails", now + 60s);
    EXPECT_THAT(said(), HasSubstr("again; met 60 times"));
    log.over("a", now + 60s);
    EXPECT_THAT(said(), HasSubstr("over: "));
    log.met("b", "f", "it fails", now + 10min);
    EXPECT_EQ(said(), "it fails\n");
}

TEST_F(Faults, WhoeverMeetsAnotherOneHasNoMoreOfTheFirst) {
    log.met("a", "f", "it fails", now);
    log.met("a", "g", "it is away", now);
    EXPECT_EQ(said(), "it fails\nover: it fails (met once)\nit is away\n");
}

TEST_F(Faults, ALaterKindOfAProvidersFaultIsSaidAtOnceAndAnOpenBreakerSaysNothingNew) {
    const auto met = [&](const char* who, ErrorClass cls, const char* line, const char* code = "") {
        log.met(who, {.cls = cls, .message = line, .code = code}, line, now, "p");
    };
    met("a", ErrorClass::transient, "connection refused");
    met("b", ErrorClass::timeout, "no answer");
    EXPECT_EQ(said(), "connection refused\n");
    now += 1s;
    met("a", ErrorClass::auth, "401");
    EXPECT_EQ(said(), "401\n") << "b still suffers from the first";
    for (int i = 0; i < 3; ++i) {
        met("a", ErrorClass::unavailable, "left alone", "BreakerOpen");
        met("b", ErrorClass::unavailable, "left alone", "BreakerOpen");
        met("c", ErrorClass::unavailable, "left alone", "BreakerOpen");
    }
    EXPECT_EQ(said(), "") << "it is what opened it that goes on";
    log.over("b", now);
    EXPECT_THAT(said(), HasSubstr("over: connection refused"));
    log.over("a", now);
    log.over("c", now);
    EXPECT_THAT(said(), HasSubstr("over: 401"));
    now += 10min;
    met("a", ErrorClass::unavailable, "left alone", "BreakerOpen");
    EXPECT_EQ(said(), "") << "whose request opened it is about to say why";
    met("b", ErrorClass::auth, "401");
    EXPECT_EQ(said(), "401\n");
    log.over("a", now);
    log.over("b", now);
    EXPECT_THAT(said(), HasSubstr("over: 401"));
    now += 10min;
    met("a", ErrorClass::unavailable, "left alone", "BreakerOpen");
    now += 2s;
    met("a", ErrorClass::unavailable, "left alone", "BreakerOpen");
    EXPECT_EQ(said(), "left alone\n") << "nobody has said why";
}

TEST_F(Faults, APipelineIsCalledByItsName) {
    EXPECT_EQ(log.called(6), "the pipeline of uid 6");
    log.know(6, "docs");
    EXPECT_EQ(log.called(6), "pipeline \"docs\"");
}

TEST(FaultOf, IsTheDatabasesTheProvidersOrOnesOwn) {
    const auto of = [](ErrorClass cls, std::string code = "") {
        return fault_of({.cls = cls, .message = "", .code = std::move(code)}, "pipeline 1", "p");
    };
    EXPECT_EQ(of(ErrorClass::db_transient, "08006"), "database");
    EXPECT_EQ(of(ErrorClass::db_transient, "40001"), "pipeline 1");
    EXPECT_EQ(of(ErrorClass::db_resource), "database");
    EXPECT_EQ(of(ErrorClass::db_transient, "55P03"), "pipeline 1") << "a lock is no fault of the database's";
    EXPECT_EQ(fault_of({.cls = ErrorClass::db_transient, .message = "", .code = "55P03"}, "the watch"),
              fault_of({.cls = ErrorClass::db_transient, .message = "", .code = "55P03"}, "claiming"))
        << "one lock of ours is one fault";
    EXPECT_EQ(of(ErrorClass::auth), "provider p: refuses");
    EXPECT_EQ(of(ErrorClass::timeout), "provider p: away");
    EXPECT_EQ(of(ErrorClass::transient), "provider p: away");
    EXPECT_EQ(of(ErrorClass::content), "pipeline 1");
    EXPECT_EQ(of(ErrorClass::db_permanent), "pipeline 1");
}

}  // namespace
}  // namespace homeostat
