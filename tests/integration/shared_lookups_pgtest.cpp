// What several batches look up at the same time in the cache that replicas share is looked up once for all of them. Statements
// are counted by the server.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <future>

#include "reconcilers/gateway/shared_cache.hpp"
#include "tests/integration/counting_cluster.hpp"
#include "tests/kit/io_thread.hpp"

namespace homeostat {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class SharedLookups : public ::testing::Test {
protected:
    static constexpr std::uint32_t kWidth = 4;
    static constexpr int kTexts = 10;  // of a batch

    SharedLookups() {
        db.exec("CREATE EXTENSION pg_stat_statements; CREATE TABLE docs (id int PRIMARY KEY, body text)");
        scope.pipeline = declare("docs");
    }
    ~SharedLookups() override { release(); }
    std::int64_t declare(const std::string& name) {
        return std::stoll(db.value(
            fmt::format("INSERT INTO homeostat.pipeline (name, source, key, content, provider, dimensions, target) VALUES"
                        " ('{0}', 'docs', 'id', 'body', 'hashing', 16, '{0}_embeddings') RETURNING uid",
                        name)));
    }
    static std::vector<std::string> texts_of(int batch) {
        std::vector<std::string> out;
        for (int i = 0; i < kTexts; ++i) out.push_back(fmt::format("{} of batch {}", i, batch));
        return out;
    }
    static std::vector<float> vector_of(int batch, int text) {
        return {static_cast<float>(batch + 1), static_cast<float>(text), 0.5F, 1};
    }
    static boost::asio::awaitable<bool> keep(SharedCache& cache, VectorScope scope, const std::vector<std::string>& texts,
                                             const Embeddings& vectors) {
        co_await cache.keep(std::move(scope), texts, vectors);
        co_return true;
    }
    // Every other text of the batch.
    void keep(int batch) {
        Embeddings vectors{kWidth, {}, 1, "m"};
        std::vector<std::string> texts;
        const auto all = texts_of(batch);
        for (int i = 0; i < kTexts; i += 2) {
            texts.push_back(all[static_cast<std::size_t>(i)]);
            for (const float v : vector_of(batch, i)) vectors.values.push_back(v);
        }
        io.run(keep(cache, scope, texts, vectors));
    }
    static boost::asio::awaitable<SharedCache::Found> look(SharedCache& cache, VectorScope scope,
                                                           const std::vector<std::string>& texts, Context context) {
        co_return co_await cache.find(std::move(scope), texts, context);
    }
    static boost::asio::awaitable<bool> nothing() { co_return true; }
    // Whatever is to run on the one thread of the database waits for release().
    void hold() {
        boost::asio::post(blocking, [wait = held.get_future().share()] { wait.wait(); });
    }
    void release() {
        if (!std::exchange(released, true)) held.set_value();
    }
    static void expect_of(const SharedCache::Found& found, int batch) {
        ASSERT_THAT(found, SizeIs(kTexts / 2));
        for (const auto& [i, values] : found) EXPECT_EQ(values, vector_of(batch, static_cast<int>(i))) << i << " of " << batch;
    }
    std::int64_t statements() {
        return std::stoll(db.value(
            "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname ="
            " current_database() AND query LIKE '%WITH ORDINALITY AS w(hash, i)%' AND query NOT LIKE '%pg_stat_statements%'"));
    }

    kit::Database db{kit::Schema::migrated, counting_cluster()};
    SystemClock clock;
    Registry metrics;
    Pool pool{{.url = db.url()}, 2};
    std::promise<void> held;
    bool released = false;
    boost::asio::thread_pool blocking{1};
    SharedCache cache{{.bytes = 64 << 20}, &pool, blocking.get_executor(), clock, metrics};
    VectorScope scope{.pipeline = 0, .identity = "of these", .pool = "", .model = "m", .dimensions = kWidth, .providers = {1}};
    kit::IoThread io;  // one thread: what was started before something else has come as far as it can
};

TEST_F(SharedLookups, OfManyBatchesAtOnceTakeTwoStatements) {
    constexpr int kBatches = 12;
    std::vector<std::vector<std::string>> texts;
    for (int b = 0; b < kBatches; ++b) texts.push_back(texts_of(b));
    for (int b = 0; b < kBatches; b += 3) keep(b);
    hold();
    std::vector<std::future<SharedCache::Found>> found;
    for (const auto& t : texts) found.push_back(io.start(look(cache, scope, t, Context{})));
    io.run(nothing());
    release();
    for (int b = 0; b < kBatches; ++b) {
        const SharedCache::Found answer = found[static_cast<std::size_t>(b)].get();
        if (b % 3 == 0) {
            expect_of(answer, b);
        } else {
            EXPECT_THAT(answer, IsEmpty());
        }
    }
    EXPECT_EQ(statements(), 2) << "one that was under way, and one for all who came meanwhile";
    EXPECT_EQ(cache.stats().lookups, 2U);
}

TEST_F(SharedLookups, OneThatIsStoppedTakesNothingFromTheOthers) {
    const auto first = texts_of(0), second = texts_of(1), third = texts_of(2);
    for (int b = 0; b < 3; ++b) keep(b);
    hold();
    std::stop_source stop;
    Context context;
    context.stop = stop.get_token();
    auto a = io.start(look(cache, scope, first, Context{}));
    auto b = io.start(look(cache, scope, second, context));
    auto c = io.start(look(cache, scope, third, Context{}));
    io.run(nothing());
    stop.request_stop();
    release();
    expect_of(a.get(), 0);
    expect_of(c.get(), 2);
    [[maybe_unused]] const auto whatever = b.get();
}

// Who declared it decides what is found: what is looked up for one is not looked up for another.
TEST_F(SharedLookups, OfAnotherPipelineAreApart) {
    const auto texts = texts_of(0);
    keep(0);
    VectorScope other = scope;
    other.pipeline = declare("more");
    hold();
    auto a = io.start(look(cache, scope, texts, Context{}));
    auto b = io.start(look(cache, other, texts, Context{}));
    io.run(nothing());
    release();
    expect_of(a.get(), 0);
    expect_of(b.get(), 0);  // of the same declarer
    EXPECT_EQ(statements(), 2);
}

}  // namespace
}  // namespace homeostat
