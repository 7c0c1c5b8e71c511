// When a limit is lifted, in the words of the gateways that people use.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reconcilers/embed/http_error.hpp"
#include "reconcilers/embed/limit_reset.hpp"

namespace homeostat {
namespace {

using std::chrono::milliseconds;

const WallTime kNow = std::chrono::system_clock::from_time_t(1'700'000'000);  // Tue, 14 Nov 2023 22:13:20 GMT

std::optional<double> of(const HttpHeaders& headers) { return seconds_until_reset(headers, kNow); }

TEST(LimitReset, IsReadFromTheHeadersOfGateways) {
    EXPECT_EQ(of({{"RateLimit-Remaining", "0"}, {"RateLimit-Reset", "3"}}), 3);
    EXPECT_EQ(of({{"RateLimit", "limit=10, remaining=0, reset=3"}, {"RateLimit-Policy", "10;w=60"}}), 3);
    EXPECT_EQ(of({{"ratelimit", R"("burst";r=0;t=3, "day";r=100;t=36000)"}}), 3);
    EXPECT_EQ(of({{"ratelimit", R"("burst";r=0;t=3,"day";t=40;r=0)"}}), 40);
    EXPECT_EQ(of({{"X-RateLimit-Remaining", "0"}, {"X-RateLimit-Reset", "1700000003"}}), 3);
    EXPECT_EQ(of({{"X-RateLimit-Remaining", "0"}, {"X-RateLimit-Reset", "1700000003000"}}), 3);
    EXPECT_EQ(of({{"x-ratelimit-remaining", "0"}, {"x-ratelimit-reset", "1700000003000000"}}), 3);
    EXPECT_EQ(of({{"X-Rate-Limit-Remaining", "0"}, {"X-Rate-Limit-Reset", "1700000002.5"}}), 2.5);
    EXPECT_EQ(of({{"x-ratelimit-remaining-requests", "0"}, {"x-ratelimit-reset-requests", "2023-11-14T22:13:23Z"}}), 3);
    EXPECT_EQ(of({{"x-ratelimit-remaining-requests", "0"}, {"x-ratelimit-reset-requests", "2023-11-14 23:13:23.5+01:00"}}), 3.5);
    EXPECT_EQ(of({{"anthropic-ratelimit-tokens-remaining", "0"}, {"anthropic-ratelimit-tokens-reset", "2023-11-14T22:13:24Z"}}),
              4);
    EXPECT_EQ(of({{"ratelimitbysize-remaining", "0"}, {"ratelimitbysize-reset", "3"}}), 3);
    EXPECT_EQ(of({{"X-RateLimit-Remaining-Minute", "0"}, {"X-RateLimit-Reset-Minute", "1m3s"}}), 63);
    EXPECT_EQ(of({{"RateLimit-Remaining", "0"}, {"RateLimit-Reset", "Tue, 14 Nov 2023 22:13:25 GMT"}}), 5);
    EXPECT_EQ(of({{"x-ratelimit-remaining-a", "0"},
                  {"x-ratelimit-reset-a", "2"},
                  {"x-ratelimit-remaining-b", "0"},
                  {"x-ratelimit-reset-b", "9"},
                  {"x-ratelimit-remaining-c", "1"},
                  {"x-ratelimit-reset-c", "99"}}),
              9)
        << "the longest of those that are used up";
}

TEST(LimitReset, IsNoneWhereSomethingIsLeftOrNothingIsSaid) {
    EXPECT_EQ(of({}), std::nullopt);
    EXPECT_EQ(of({{"RateLimit-Remaining", "4"}, {"RateLimit-Reset", "3"}}), std::nullopt);
    EXPECT_EQ(of({{"RateLimit-Reset", "3"}}), std::nullopt);
    EXPECT_EQ(of({{"RateLimit", "limit=10, remaining=2, reset=3"}}), std::nullopt);
    EXPECT_EQ(of({{"RateLimit", R"("a";r=2;t=3, "b";r=0)"}}), std::nullopt) << "of another limit";
    EXPECT_EQ(of({{"Reset", "3"}, {"Remaining", "0"}}), std::nullopt);
    for (const char* reset : {"", "soon", "-3", "nan", "inf", "1699999990", "1699999990000", "2023-11-14T22:13:00Z",
                              "2023-99-14T22:13:00Z", "2023-11-14T22:13:23+ab", "2023-11-14T22:13:23+-1:0", "1e9999"})
        EXPECT_EQ(of({{"RateLimit-Remaining", "0"}, {"RateLimit-Reset", reset}}), std::nullopt) << reset;
}

TEST(LimitReset, IsReadFromTheBody) {
    const auto body = [](std::string_view text) { return seconds_in_body(text, kNow); };
    EXPECT_EQ(body(R"({"error":{"message":"Rate limit exceeded: free-models-per-min. ","code":429,"metadata":{"headers":)"
                   R"({"X-RateLimit-Limit":"20","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1700000003000"}}}})"),
              3);
    EXPECT_EQ(body(R"({"error":{"metadata":{"headers":{"Retry-After":"7"}}}})"), 7);
    EXPECT_EQ(body(R"({"error":{"metadata":{"headers":{"X-RateLimit-Remaining":0,"X-RateLimit-Reset":1700000003}}}})"), 3);
    EXPECT_EQ(body(R"({"error":"Model x is currently loading","estimated_time":3.5})"), 3.5);
    EXPECT_EQ(body(R"([{"error":{"retry_after_ms":1500}}])"), 1.5);
    EXPECT_EQ(body(R"({"detail":{"retryAfterSeconds":"4"}})"), 4);
    EXPECT_EQ(body(R"({"error":{"type":"usage_limit_reached","resets_in_seconds":30,"resets_at":1700000020}})"), 30);
    EXPECT_EQ(body("\xEF\xBB\xBF{\"error\":{\"reset_at\":\"2023-11-14T22:13:23Z\"}}"), 3);
    for (const char* nothing : {"", "{", "null", "[]", "[1]", "3", R"({"estimated_time":"soon"})", R"({"estimated_time":-1})",
                                R"({"estimated_time":null})", R"({"retry_after_ms":{"a":[[[1]]]}})", R"({"headers":[3]})"})
        EXPECT_EQ(body(nothing), std::nullopt) << nothing;
    std::string deep;
    for (int i = 0; i < 1000; ++i) deep += R"({"a":)";
    EXPECT_EQ(body(deep + R"({"estimated_time":1})" + std::string(1000, '}')), std::nullopt);
}

TEST(LimitReset, CountsWhereNothingElseWasAskedFor) {
    const HttpHeaders used_up{{"RateLimit-Remaining", "0"}, {"RateLimit-Reset", "3"}};
    const auto wait = [&](ErrorClass cls, std::optional<milliseconds> asked, HttpHeaders headers) {
        Error e{.cls = cls, .message = "m", .origin = Origin::theirs};
        e.retry_after = asked;
        add_wait(e, {429, std::move(headers), "{}"}, kNow);
        return e.retry_after;
    };
    EXPECT_EQ(wait(ErrorClass::throttled, std::nullopt, used_up), milliseconds(3'000));
    EXPECT_EQ(wait(ErrorClass::transient, std::nullopt, used_up), milliseconds(3'000));
    EXPECT_EQ(wait(ErrorClass::auth, std::nullopt, used_up), std::nullopt);
    EXPECT_EQ(wait(ErrorClass::throttled, milliseconds(200), used_up), milliseconds(200));
    EXPECT_EQ(wait(ErrorClass::throttled, kMaxRetryAfter, used_up), milliseconds(3'000)) << "an instant, read as a length";
    HttpHeaders both = used_up;
    both.emplace_back("Retry-After", "86400");
    EXPECT_EQ(wait(ErrorClass::throttled, kMaxRetryAfter, both), kMaxRetryAfter);
    EXPECT_EQ(wait(ErrorClass::throttled, std::nullopt, {{"RateLimit-Remaining", "0"}, {"RateLimit-Reset", "0"}}),
              kMinRetryAfter);
    EXPECT_EQ(wait(ErrorClass::throttled, std::nullopt, {{"RateLimit-Remaining", "0"}, {"RateLimit-Reset", "1h"}}),
              kMaxRetryAfter);
    EXPECT_EQ(wait(ErrorClass::throttled, std::nullopt, {}), std::nullopt);
}

}  // namespace
}  // namespace homeostat
