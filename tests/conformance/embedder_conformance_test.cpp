#include "tests/conformance/embedder_conformance.hpp"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <optional>
#include <set>
#include <thread>

#include "tests/kit/sim_clock.hpp"

namespace homeostat {
namespace {

namespace asio = boost::asio;
using Texts = std::vector<std::string>;

const Texts kTexts{"The committee approved the budget.",
                   "A recipe for lentil soup with lemon.",
                   "select 1",
                   "x",
                   "Grüße aus Köln, 東京 😀",
                   "The committee approved the budget.",
                   "    ",
                   "..., !?",
                   "a\nb\tc",
                   std::string("nul\0inside", 10),
                   std::string(3000, 'q'),
                   "The committee rejected the budget."};

class EmbedderConformance : public testing::TestWithParam<EmbedderCase> {
protected:
    EmbedderConformance() : subject_(GetParam().make({io_.get_executor(), cpu_.get_executor(), clock_})) {}
    ~EmbedderConformance() override { cpu_.join(); }

    Embedder& embedder() { return *subject_.embedder; }

    // Starts an embedding; `out` is filled once run() has returned.
    void start(const Texts& texts, std::optional<Result<Embeddings>>& out, TextRole role, const Context& context) {
        asio::co_spawn(
            io_,
            [this, &texts, &out, role, &context]() -> asio::awaitable<void> {
                out = co_await embedder().embed(texts, role, context);
                resumed_on_.insert(std::this_thread::get_id());
            },
            [](std::exception_ptr e) {
                if (e) std::rethrow_exception(e);
            });
    }
    void run() {
        io_.restart();
        io_.run();
    }
    Result<Embeddings> embed(const Texts& texts, TextRole role = TextRole::document, const Context& context = {}) {
        std::optional<Result<Embeddings>> out;
        start(texts, out, role, context);
        run();
        return out ? *std::move(out) : internal_error("the embedder never came back");
    }
    Embeddings vectors(const Texts& texts, TextRole role = TextRole::document) {
        Result<Embeddings> result = embed(texts, role);
        if (!result) {
            ADD_FAILURE() << result.error().message;
            return {};
        }
        const Status valid = validate_embeddings(*result, texts.size(), embedder().dimensions());
        EXPECT_TRUE(valid) << valid.error().message;
        return *std::move(result);
    }
    static std::vector<float> row(const Embeddings& e, std::size_t i) { return {e.row(i), e.row(i) + e.dimensions}; }

    asio::io_context io_{1};
    asio::thread_pool cpu_{2};
    kit::SimulatedClock clock_;
    std::set<std::thread::id> resumed_on_;
    EmbedderUnderTest subject_;
};

TEST_P(EmbedderConformance, GivesOneVectorATextInOrder) {
    const Embeddings all = vectors(kTexts);
    ASSERT_EQ(all.count(), kTexts.size());
    EXPECT_EQ(all.dimensions, embedder().dimensions());
    EXPECT_FALSE(all.model.empty());
    EXPECT_GT(all.tokens, 0U);
    Texts backwards(kTexts.rbegin(), kTexts.rend());
    const Embeddings reversed = vectors(backwards);
    ASSERT_EQ(reversed.count(), kTexts.size());
    for (std::size_t i = 0; i < kTexts.size(); ++i) EXPECT_EQ(row(all, i), row(reversed, kTexts.size() - 1 - i)) << kTexts[i];
}

TEST_P(EmbedderConformance, GivesAVectorThatDependsOnItsTextOnly) {
    const Embeddings all = vectors(kTexts);
    ASSERT_EQ(all.count(), kTexts.size());
    for (std::size_t i = 0; i < kTexts.size(); ++i) EXPECT_EQ(row(vectors({kTexts[i]}), 0), row(all, i)) << kTexts[i];
    EXPECT_EQ(row(all, 0), row(all, 5));
    EXPECT_NE(row(all, 0), row(all, 11));
}

TEST_P(EmbedderConformance, GivesTheSameVectorsAgain) {
    const Embeddings first = vectors(kTexts);
    EXPECT_EQ(first.values, vectors(kTexts).values);
    EmbedderUnderTest other = GetParam().make({io_.get_executor(), cpu_.get_executor(), clock_});
    std::swap(subject_, other);
    EXPECT_EQ(first.values, vectors(kTexts).values);
}

TEST_P(EmbedderConformance, GivesTheSameVectorsWhenAskedAtTheSameTime) {
    const Embeddings expected = vectors(kTexts);
    const Context context;
    std::vector<std::optional<Result<Embeddings>>> answers(8);
    for (auto& answer : answers) start(kTexts, answer, TextRole::document, context);
    run();
    for (auto& answer : answers) {
        ASSERT_TRUE(answer.has_value());
        ASSERT_TRUE(answer->ok()) << answer->error().message;
        EXPECT_EQ((**answer).values, expected.values);
    }
}

TEST_P(EmbedderConformance, ResumesTheCallerWhereItRan) {
    vectors(kTexts);
    EXPECT_EQ(resumed_on_, std::set<std::thread::id>{std::this_thread::get_id()});
}

TEST_P(EmbedderConformance, AnswersAnEmptyBatchWithNothing) {
    const Result<Embeddings> result = embed({});
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->count(), 0U);
}

TEST_P(EmbedderConformance, GivesBlankAndEmptyTextsADirection) {
    EXPECT_EQ(vectors({" ", "\n\n\t", "", "\xc2\xa0", "."}).count(), 5U);
}

TEST_P(EmbedderConformance, TakesAVeryLongText) {
    std::string text;
    while (text.size() < 2'000'000) text += "a long document goes on and on, ";
    EXPECT_EQ(vectors({text, "short"}).count(), 2U);
    EXPECT_EQ(vectors({std::string(1'000'000, 'z')}).count(), 1U);
}

TEST_P(EmbedderConformance, TakesBytesThatAreNotUtf8) {
    EXPECT_EQ(vectors({"\xff\xfe", "cut \xe2\x82", "over\xc0\xaflong", "\xed\xa0\x80 surrogate", "ok"}).count(), 5U);
}

TEST_P(EmbedderConformance, TakesAWholeBatchOfItsLimit) {
    ASSERT_GT(embedder().limits().max_batch, 0U);
    ASSERT_GT(embedder().limits().max_in_flight, 0U);
    Texts texts;
    for (std::uint32_t i = 0; i < embedder().limits().max_batch; ++i) texts.push_back("number " + std::to_string(i));
    const Embeddings all = vectors(texts);
    ASSERT_EQ(all.count(), texts.size());
    EXPECT_NE(row(all, 0), row(all, texts.size() - 1));
}

TEST_P(EmbedderConformance, ReadsQueriesAndDocuments) {
    EXPECT_EQ(vectors({"how do I reset it?"}, TextRole::query).count(), 1U);
    EXPECT_EQ(vectors({"how do I reset it?"}, TextRole::document).count(), 1U);
}

TEST_P(EmbedderConformance, GivesUpWhenStopped) {
    std::stop_source stop;
    stop.request_stop();
    const Result<Embeddings> result = embed(kTexts, TextRole::document, Context{.stop = stop.get_token()});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().cls, ErrorClass::cancelled);
    EXPECT_EQ(vectors(kTexts).count(), kTexts.size()) << "service returns";
}

TEST_P(EmbedderConformance, GivesUpAtTheDeadline) {
    const Result<Embeddings> result = embed(kTexts, TextRole::document, Context{.deadline = clock_.steady_now()});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().cls, ErrorClass::timeout);
    EXPECT_EQ(vectors(kTexts).count(), kTexts.size()) << "service returns";
}

INSTANTIATE_TEST_SUITE_P(All, EmbedderConformance, testing::ValuesIn(embedder_cases()),
                         [](const auto& p) { return p.param.name; });

}  // namespace
}  // namespace homeostat
