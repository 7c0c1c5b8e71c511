// How the in-process embedders run: on the executor they were given, in pieces that can be stopped.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <cmath>
#include <optional>

#include "reconcilers/embed/inprocess.hpp"
#include "reconcilers/embed/local_model.hpp"
#include "tests/kit/sim_clock.hpp"

namespace homeostat {
namespace {

namespace asio = boost::asio;

// The two executors are loops that the test turns by hand, so that it sees who does what, and when.
class EmbedLocalRun : public testing::Test {
protected:
    static std::shared_ptr<const LocalModel> model() {
        static const auto loaded = load_local_model(HOMEOSTAT_MODEL_DIR);
        return *loaded;
    }
    InProcessOptions options() { return {.cpu = cpu_.get_executor(), .clock = &clock_, .max_in_flight = 3}; }

    void start(Embedder& embedder, const std::vector<std::string>& texts, const Context& context) {
        asio::co_spawn(
            io_,
            [this, &embedder, &texts, &context]() -> asio::awaitable<void> {
                answer_ = co_await embedder.embed(texts, TextRole::document, context);
            },
            asio::detached);
    }

    asio::io_context io_{1}, cpu_{1};
    kit::SimulatedClock clock_;
    std::optional<Result<Embeddings>> answer_;
};

TEST_F(EmbedLocalRun, ComputesOnTheCpuExecutorOnly) {
    const auto local = make_local_embedder(model(), 512, options());
    const auto hashing = make_hashing_embedder(64, options());
    for (Embedder* embedder : {local->get(), hashing->get()}) {
        const std::vector<std::string> texts{"one", "two"};
        const Context context;
        answer_.reset();
        io_.restart();
        start(*embedder, texts, context);
        io_.poll();
        EXPECT_FALSE(answer_.has_value());
        cpu_.restart();
        cpu_.poll();
        EXPECT_FALSE(answer_.has_value()) << "the caller must not be resumed on the CPU executor";
        io_.restart();
        io_.poll();
        ASSERT_TRUE(answer_.has_value());
        EXPECT_TRUE(answer_->ok());
    }
}

TEST_F(EmbedLocalRun, StopsBetweenTwoPiecesOfWork) {
    const auto local = make_local_embedder(model(), 512, options());
    const std::vector<std::string> texts(6, std::string(2000, 'q'));  // two texts of 128 pieces are one piece of work
    std::stop_source stop;
    const Context context{.stop = stop.get_token()};
    start(**local, texts, context);
    io_.poll();
    cpu_.poll_one();
    cpu_.poll_one();
    stop.request_stop();
    EXPECT_FALSE(answer_.has_value());
    cpu_.poll();
    io_.restart();
    io_.poll();
    ASSERT_TRUE(answer_.has_value());
    ASSERT_FALSE(answer_->ok());
    EXPECT_EQ(answer_->error().cls, ErrorClass::cancelled);
}

TEST_F(EmbedLocalRun, LetsALoneQueryPassAWholeBatch) {
    const auto local = make_local_embedder(model(), 512, options());
    const std::vector<std::string> batch(20, std::string(2000, 'q'));
    const std::vector<std::string> query{"short"};
    const Context context;
    start(**local, batch, context);
    std::optional<Result<Embeddings>> first;
    asio::co_spawn(
        io_, [&]() -> asio::awaitable<void> { first = co_await (*local)->embed(query, TextRole::query, context); },
        asio::detached);
    io_.poll();
    for (int turns = 0; turns < 4 && !first; ++turns) {
        cpu_.poll_one();
        io_.restart();
        io_.poll();
    }
    EXPECT_TRUE(first.has_value());
    EXPECT_FALSE(answer_.has_value());
    cpu_.poll();
    io_.restart();
    io_.poll();
    EXPECT_TRUE(answer_.has_value());
}

// Nobody turns the loop of the fill meanwhile.
TEST_F(EmbedLocalRun, ComputesWhatSomebodyMayWaitForOnAThreadOfItsOwn) {
    asio::io_context quick{1};
    InProcessOptions apart = options();
    apart.quick = quick.get_executor();
    const auto local = make_local_embedder(model(), 512, apart);
    const Context context;
    struct Case {
        std::vector<std::string> texts;
        bool is_quick;
    };
    const std::vector<Case> cases{{{"an edit"}, true},
                                  {{"a title", "and its text"}, true},
                                  {{"three", "are", "of a fill"}, false},
                                  {{std::string(5000, 'q')}, false}};
    for (const Case& c : cases) {
        answer_.reset();
        start(**local, c.texts, context);
        for (asio::io_context* loop : {&io_, &quick, &io_}) {
            loop->restart();
            loop->poll();
        }
        EXPECT_EQ(answer_.has_value(), c.is_quick) << c.texts.size();
        for (asio::io_context* loop : {&cpu_, &io_}) {
            loop->restart();
            loop->poll();
        }
        EXPECT_TRUE(answer_.has_value()) << c.texts.size();
    }
}

TEST_F(EmbedLocalRun, GivesFewerDimensionsWhenAsked) {
    const auto whole = make_local_embedder(model(), 512, options());
    const auto less = make_local_embedder(model(), 128, options());
    ASSERT_TRUE(less);
    EXPECT_EQ((*less)->dimensions(), 128U);
    const std::vector<std::string> texts{"the same text"};
    std::vector<std::vector<float>> rows;
    for (Embedder* embedder : {whole->get(), less->get()}) {
        const Context context;
        answer_.reset();
        start(*embedder, texts, context);
        for (asio::io_context* loop : {&io_, &cpu_, &io_}) {
            loop->restart();
            loop->poll();
        }
        ASSERT_TRUE(answer_.has_value() && answer_->ok());
        rows.push_back((*answer_)->values);
    }
    ASSERT_EQ(rows[1].size(), 128U);
    double squares = 0;
    for (const float x : rows[1]) squares += static_cast<double>(x) * x;
    EXPECT_NEAR(squares, 1.0, 1e-5);
    EXPECT_NEAR(rows[1][7] / rows[1][100], rows[0][7] / rows[0][100], 1e-4);
}

TEST_F(EmbedLocalRun, RefusesWidthsItCannotGive) {
    for (const std::uint32_t dimensions : {0U, 513U}) {
        const auto refused = make_local_embedder(model(), dimensions, options());
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().cls, ErrorClass::invalid);
        EXPECT_NE(refused.error().message.find("1 to 512"), std::string::npos);
    }
    for (const std::uint32_t dimensions : {0U, 16001U}) {
        const auto refused = make_hashing_embedder(dimensions, options());
        ASSERT_FALSE(refused);
        EXPECT_NE(refused.error().message.find("1 to 16000"), std::string::npos);
    }
}

}  // namespace
}  // namespace homeostat
