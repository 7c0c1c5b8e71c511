// Requests that several batches share: few, and each batch as if it had been asked for alone.
#include <random>

#include "tests/kit/soon.hpp"
#include "tests/unit/gateway_case.hpp"

namespace homeostat {
namespace {

using kit::FakeEndpoint;
using kit::Flaw;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

class GatewaySharing : public GatewayCase {
protected:
    struct Job {
        explicit Job(std::vector<std::string> what) : texts(std::move(what)) {}
        const std::vector<std::string> texts;
        Spending spent;
        std::stop_source stop;
        std::future<Result<Embedded>> answer;
    };
    GatewaySharing() {
        provider.max_batch = 96;
        provider.timeout = 20s;
        const auto before = texts_of(96, "before");  // so that no request is of a size that is tried alone
        expect_vectors(embed(provider, before), before);
    }
    static boost::asio::awaitable<Result<Embedded>> asked(Gateway& gateway, EmbedOrder order,
                                                          const std::vector<std::string>& texts, Context context) {
        co_return co_await gateway.embed(std::move(order), texts, std::move(context));
    }
    void start(Job& job, bool urgent = false) {
        Context context;
        context.stop = job.stop.get_token();
        job.answer = io.start(asked(gateway(), EmbedOrder{provider, none, "m", kWidth, TextRole::document, urgent, &job.spent},
                                    job.texts, std::move(context)));
    }
    // The first request of a is withheld, and what it has left over waits.
    void begin(Job& first) {
        const auto asked = endpoint.requests().size();
        endpoint.withhold();
        start(first);
        ASSERT_TRUE(endpoint.wait_for_requests(asked + 1));
        ASSERT_TRUE(kit::soon([&] { return gateway().snapshot().lanes.at(0).left_over == 1; }));
    }
    void begin() { begin(a); }
    // b asks for its own and for what a has left over.
    void share() {
        begin();
        start(b);
        ASSERT_TRUE(endpoint.wait_for_requests(3));
        ASSERT_THAT(endpoint.requests().back().texts, SizeIs(96));
    }
    static std::uint64_t tokens_of(const std::vector<std::string>& texts) {
        std::uint64_t sum = 0;
        for (const auto& t : texts) sum += FakeEndpoint::tokens_of(t);
        return sum;
    }

    FakeEndpoint endpoint{{.dimensions = kWidth}};
    ProviderSpec provider = provider_at(endpoint);
    const std::vector<ProviderSpec> none;
    Job a{texts_of(100, "of a")};
    Job b{texts_of(92, "of b")};
};

TEST_F(GatewaySharing, WhatIsLeftOverGoesWithTheNextBatch) {
    share();
    endpoint.release();
    expect_vectors(a.answer.get(), a.texts);
    expect_vectors(b.answer.get(), b.texts);
    EXPECT_EQ(endpoint.calls(), 3U);
}

TEST_F(GatewaySharing, ManyBatchesNeedHardlyMoreRequestsThanTheirTextsFill) {
    std::vector<std::unique_ptr<Job>> jobs;
    for (int i = 0; i < 20; ++i) jobs.push_back(std::make_unique<Job>(texts_of(100, std::to_string(i) + " of")));
    for (auto& job : jobs) start(*job);
    for (auto& job : jobs) expect_vectors(job->answer.get(), job->texts);
    EXPECT_EQ(endpoint.texts(), 2'096U) << "a text was asked for twice";
    EXPECT_LE(endpoint.calls() - 1, 25U) << "21 are needed";
}

TEST_F(GatewaySharing, ALoneBatchDoesNotWaitForCompany) {
    start(a);
    expect_vectors(a.answer.get(), a.texts);
    EXPECT_EQ(endpoint.calls(), 3U);
}

TEST_F(GatewaySharing, EachPaysItsShare) {
    share();
    endpoint.release();
    expect_vectors(a.answer.get(), a.texts);
    expect_vectors(b.answer.get(), b.texts);
    EXPECT_EQ(a.spent.used + b.spent.used, tokens_of(a.texts) + tokens_of(b.texts));
    EXPECT_NEAR(static_cast<double>(a.spent.used), static_cast<double>(tokens_of(a.texts)), 4);
    EXPECT_EQ(a.spent.wasted + b.spent.wasted, 0U);
}

// With b's poison a's texts are refused too, and are asked for again.
TEST_F(GatewaySharing, WhatIsRefusedForOneIsNoFaultOfTheOthers) {
    Job poisoned(texts_of(92, "of b"));
    const_cast<std::string&>(poisoned.texts[40]) = "poison";
    endpoint.when_text("poison", {.status = 400, .body = R"({"error":{"message":"no"}})"});
    begin();
    start(poisoned);
    ASSERT_TRUE(endpoint.wait_for_requests(3));
    endpoint.release();
    const auto mine = a.answer.get();
    expect_vectors(mine, a.texts);
    EXPECT_THAT(mine->refused, IsEmpty());
    const auto theirs = poisoned.answer.get();
    expect_vectors(theirs, poisoned.texts);
    ASSERT_THAT(theirs->refused, SizeIs(1));
    EXPECT_EQ(theirs->refused[0].index, 40U);
    // Two for a, those that share, halving 92, and a few to be sure.
    EXPECT_LE(endpoint.calls(), 3U + 1 + 14);
}

TEST_F(GatewaySharing, ThePoisonOfWhatWasLeftOverIsItsOwn) {
    const_cast<std::string&>(a.texts[98]) = "poison";
    endpoint.when_text("poison", {.status = 400, .body = R"({"error":{"message":"no"}})"});
    share();
    endpoint.release();
    const auto theirs = b.answer.get();
    expect_vectors(theirs, b.texts);
    EXPECT_THAT(theirs->refused, IsEmpty());
    const auto mine = a.answer.get();
    expect_vectors(mine, a.texts);
    ASSERT_THAT(mine->refused, SizeIs(1));
    EXPECT_EQ(mine->refused[0].index, 98U);
}

TEST_F(GatewaySharing, WhatFailsByChanceIsAskedForByEach) {
    for (const kit::FakeAnswer& once :
         {kit::FakeAnswer{.status = 500}, kit::FakeAnswer{.flaw = Flaw::nan_vector}, kit::FakeAnswer{.flaw = Flaw::wrong_count},
          kit::FakeAnswer{.flaw = Flaw::drop_after}, kit::FakeAnswer{.status = 413}, kit::FakeAnswer{.status = 429}}) {
        Job first(texts_of(100, "first"));
        Job second(texts_of(92, "second"));
        const auto asked = endpoint.requests().size();
        endpoint.when_text("second 0", once);
        begin(first);
        start(second);
        ASSERT_TRUE(endpoint.wait_for_requests(asked + 2));
        endpoint.forget_script();  // what has arrived has its answer
        endpoint.release();
        const auto mine = first.answer.get();
        expect_vectors(mine, first.texts);
        const auto theirs = second.answer.get();
        expect_vectors(theirs, second.texts);
        EXPECT_THAT(mine->refused, IsEmpty());
        EXPECT_THAT(theirs->refused, IsEmpty());
    }
}

TEST_F(GatewaySharing, WhoIsStoppedStopsNobodyElse) {
    share();
    a.stop.request_stop();
    endpoint.release();
    expect_vectors(b.answer.get(), b.texts);
    [[maybe_unused]] const auto whatever = a.answer.get();
    EXPECT_EQ(endpoint.requests().size(), 3U);
}

TEST_F(GatewaySharing, WhoAsksForOthersTooGoesOnForThemWhereItIsStopped) {
    share();
    b.stop.request_stop();
    endpoint.release();
    expect_vectors(a.answer.get(), a.texts);
    EXPECT_EQ(endpoint.requests().size(), 3U) << "what was left over was asked for twice";
    [[maybe_unused]] const auto whatever = b.answer.get();
}

TEST_F(GatewaySharing, WhereAllAreStoppedTheRequestIsGivenUp) {
    share();
    a.stop.request_stop();
    b.stop.request_stop();
    EXPECT_FALSE(a.answer.get());
    EXPECT_FALSE(b.answer.get());
    endpoint.release();
}

TEST_F(GatewaySharing, WhatWaitsIsGivenUpAtOnce) {
    begin();
    a.stop.request_stop();
    EXPECT_FALSE(a.answer.get());
    start(b);
    endpoint.release();
    expect_vectors(b.answer.get(), b.texts);
    EXPECT_THAT(endpoint.requests().back().texts, SizeIs(92)) << "of a nothing is asked for any more";
}

// Somebody has just written it: it neither waits nor is made longer.
TEST_F(GatewaySharing, AnEditGoesAlone) {
    begin();
    Job edit(texts_of(1, "edit"));
    start(edit, true);
    ASSERT_TRUE(endpoint.wait_for_requests(3));
    EXPECT_THAT(endpoint.requests().back().texts, ElementsAre("edit 0"));
    endpoint.release();
    expect_vectors(edit.answer.get(), edit.texts);
    expect_vectors(a.answer.get(), a.texts);
}

TEST_F(GatewaySharing, AnotherModelOrDeclarationIsAnother) {
    begin();
    provider.generation = 2;
    start(b);
    ASSERT_TRUE(endpoint.wait_for_requests(3));
    EXPECT_THAT(endpoint.requests().back().texts, SizeIs(92));
    endpoint.release();
    expect_vectors(b.answer.get(), b.texts);
    EXPECT_FALSE(a.answer.get()) << "it was declared anew";
}

// Batches of any size, some with a text that is refused, some stopped, at an endpoint that asks to be left alone now and then
// and takes fewer texts than are declared.
TEST_F(GatewaySharing, InAnyCompanyABatchIsGivenItsOwn) {
    for (unsigned seed = 1; seed <= 3; ++seed) {
        std::mt19937 random(seed);
        const auto one_in = [&](unsigned n) { return random() % n == 0; };
        FakeEndpoint odd({.dimensions = kWidth, .delay = 2ms, .max_texts = 40});
        odd.when_text("poison", {.status = 400, .body = R"({"error":{"message":"no"}})"});
        provider.endpoint = odd.url();
        provider.generation += 1;
        const auto before = texts_of(3, "before");
        expect_vectors(embed(provider, before), before);
        std::vector<std::unique_ptr<Job>> jobs;
        std::vector<std::size_t> poison;
        for (int i = 0; i < 24; ++i) {
            auto texts = texts_of(1 + static_cast<int>(random() % 150), std::to_string(i) + " of");
            poison.push_back(one_in(4) ? random() % texts.size() : texts.size());
            if (poison.back() < texts.size()) texts[poison.back()] = "poison " + std::to_string(i);
            jobs.push_back(std::make_unique<Job>(std::move(texts)));
        }
        for (auto& job : jobs) {
            start(*job);
            if (one_in(3)) odd.next({.status = 429});
        }
        std::vector<bool> stopped;
        for (auto& job : jobs) {
            stopped.push_back(one_in(8));
            if (stopped.back()) job->stop.request_stop();
        }
        for (std::size_t i = 0; i < jobs.size(); ++i) {
            const auto answer = jobs[i]->answer.get();
            if (stopped[i] && !answer) continue;
            expect_vectors(answer, jobs[i]->texts);
            ASSERT_TRUE(answer) << "seed " << seed << ", batch " << i;
            std::vector<std::size_t> wanted;
            if (poison[i] < jobs[i]->texts.size()) wanted.push_back(poison[i]);
            std::vector<std::size_t> refused;
            for (const RefusedText& r : answer->refused) refused.push_back(r.index);
            EXPECT_EQ(refused, wanted) << "seed " << seed << ", batch " << i;
        }
        EXPECT_EQ(gateway().snapshot().lanes.at(0).left_over, 0U);
    }
}

}  // namespace
}  // namespace homeostat
