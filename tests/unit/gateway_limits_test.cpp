// How large requests may be is found out where nobody says so.
#include <cmath>

#include "reconcilers/gateway/request_limits.hpp"
#include "tests/unit/gateway_case.hpp"

namespace homeostat {
namespace {

using kit::FakeEndpoint;
using namespace std::chrono_literals;

struct Limited {
    std::string name;
    std::string says;
    std::size_t texts = 0;
    std::uint64_t tokens = 0;
    int status = 400;
};
std::ostream& operator<<(std::ostream& out, const Limited& l) { return out << l.name; }

class GatewayLimits : public GatewayCase {
protected:
    LaneSnapshot lane() { return gateway().snapshot().lanes.at(0); }
    std::uint64_t lane_requests() { return gateway().snapshot().lanes.empty() ? 0 : lane().requests; }
};
class GatewayUnnamedLimits : public GatewayLimits, public ::testing::WithParamInterface<Limited> {};

// Whatever it says, and with whatever status: where all parts of a request are taken and the whole is not, its size is at fault.
TEST_P(GatewayUnnamedLimits, AreFoundByWhatIsTakenAndKept) {
    const Limited& l = GetParam();
    FakeEndpoint endpoint(
        {.dimensions = kWidth, .max_texts = l.texts, .max_tokens = l.tokens, .limit_status = l.status, .limit_says = l.says});
    settings.retry_base = 1ms;
    const ProviderSpec provider = provider_at(endpoint);
    const auto batches = [&](const std::string& what) {
        const std::uint64_t before = lane_requests();
        for (int batch = 0; batch < 6; ++batch) {
            const auto texts = texts_of(100, what + std::to_string(batch) + " " + std::string(40, 'x'));
            const auto answer = embed(provider, texts);
            expect_vectors(answer, texts);
            EXPECT_TRUE(answer && answer->refused.empty());
        }
        return lane_requests() - before;
    };
    const double a_text = static_cast<double>(FakeEndpoint::tokens_of("first0 " + std::string(40, 'x') + " 10"));
    const double fits = l.texts > 0 ? static_cast<double>(l.texts) : std::floor(static_cast<double>(l.tokens) / a_text);
    const double needed = 6 * std::ceil(100 / fits);
    EXPECT_LE(static_cast<double>(batches("first")), 1.2 * needed + 30);
    EXPECT_LE(static_cast<double>(batches("second")), 1.2 * needed + 6) << lane().max_texts << " " << lane().max_tokens;
    EXPECT_EQ(lane().breaker, BreakerState::closed);
}

INSTANTIATE_TEST_SUITE_P(
    Endpoints, GatewayUnnamedLimits,
    ::testing::Values(Limited{"fault", "Internal Server Error", 30, 0, 500}, Limited{"gateway", "bad gateway", 16, 0, 502},
                      Limited{"memory", "Internal Server Error", 0, 700, 500},
                      Limited{"grpc", "rpc error: received message larger than max ({got} vs. {limit})", 0, 900, 500},
                      Limited{"baidu", "the length of input texts is too long {limit}", 16, 0, 200},
                      Limited{"mute_200", "no", 20, 0, 200}, Limited{"minimax", "input length must be in [1,{limit}]", 25},
                      Limited{"qianfan", "the max length of input is {limit}", 16},
                      Limited{"mistral", "Too many inputs in request, split into more batches.", 20},
                      Limited{"firewall", "Request blocked", 40, 0, 403}, Limited{"vertex_mute", "too much input", 0, 700},
                      Limited{"one", "Internal Server Error", 1, 0, 500}),
    [](const auto& l) { return l.param.name; });

TEST_F(GatewayLimits, AFaultThatComesAtRandomIsNoLimit) {
    FakeEndpoint endpoint({.dimensions = kWidth});
    settings.retry_base = 1ms;
    ProviderSpec provider = provider_at(endpoint);
    provider.timeout = 60s;
    expect_vectors(embed(provider, {"well"}), {"well"});
    endpoint.next({.status = 500}, 2);
    for (const char* what : {"first", "second", "third"}) {
        const auto texts = texts_of(100, what);
        expect_vectors(embed(provider, texts), texts);
    }
    EXPECT_EQ(lane().max_texts, 100U);
    EXPECT_EQ(lane().max_tokens, 0U);
    EXPECT_LE(endpoint.requests().size(), 9U);
}

TEST(RequestLimits, AnEndpointThatTakesLessThanItDidIsBelievedInTheEnd) {
    RequestLimits limits(100);
    limits.accepted(100, 1'000);
    for (int i = 0; i < 2; ++i) EXPECT_FALSE(limits.found({50, 500}, {25, 250}, true, ""));
    limits.accepted(100, 1'000);  // by chance, then
    for (int i = 0; i < 2; ++i) EXPECT_FALSE(limits.found({50, 500}, {25, 250}, true, ""));
    EXPECT_TRUE(limits.found({50, 500}, {25, 250}, true, ""));
    EXPECT_EQ(limits.max_texts(), 25U);
}

TEST(RequestLimits, TheSameNumberOfLongerTextsTellsThatTokensAreLimited) {
    RequestLimits limits(100);
    EXPECT_TRUE(limits.found({50, 1'000}, {25, 500}, true, "Internal Server Error"));
    EXPECT_EQ(limits.max_texts(), 25U);
    EXPECT_EQ(limits.max_tokens(), 0U);
    limits.accepted(25, 500);
    EXPECT_TRUE(limits.found({25, 1'000}, {13, 520}, true, "Internal Server Error"));
    EXPECT_EQ(limits.max_texts(), 100U) << "it was not the number";
    EXPECT_EQ(limits.max_tokens(), 520U);
}

TEST(RequestLimits, WhatWasFoundIsTriedAgainNowAndThen) {
    RequestLimits limits(100);
    EXPECT_TRUE(limits.found({50, 500}, {25, 250}, true, ""));
    int refused = 0;
    for (int i = 0; i < 1'000 && limits.max_texts() < 100; ++i) {
        const std::size_t n = limits.max_texts();
        if (i >= 60 || n <= 25) {
            limits.accepted(n, n * 10);
        } else {
            EXPECT_TRUE(limits.beyond({n, n * 10}));
            limits.exceeded({n, n * 10});
            ++refused;
        }
    }
    EXPECT_EQ(limits.max_texts(), 100U) << "it was for a time only";
    EXPECT_LE(refused, 5);
}

}  // namespace
}  // namespace homeostat
