// What the factory advises, and where declarations and replicas differ.
#include "reconcilers/factory/advice.hpp"

#include <gmock/gmock.h>

#include "reconcilers/factory/synchronise.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

SeenProvider well() {
    SeenProvider p;
    p.name = "p";
    p.model = "m";
    p.limit = p.ceiling = 8;
    p.requests = 1'000;
    p.mean_seconds = 0.1;
    p.max_texts = p.declared_texts = 100;
    return p;
}

TEST(Advice, NothingWhereAllIsWell) {
    SeenFactory f;
    f.providers.push_back(well());
    EXPECT_THAT(advise(f), IsEmpty());
}

TEST(Advice, NamesWhatToChangeAndWhy) {
    const auto about = [](auto change) {
        SeenFactory f;
        f.providers.push_back(well());
        change(f, f.providers[0]);
        const auto advice = advise(f);
        return advice.size() == 1 ? advice[0].about + ": " + advice[0].advice + " because " + advice[0].why : "";
    };
    EXPECT_THAT(about([](auto&, auto& p) { p.throttled = 100; }), HasSubstr("requests_per_minute"));
    EXPECT_THAT(about([](auto&, auto& p) { p.failures = 100; }), HasSubstr("10 % of 1000 requests failed"));
    EXPECT_THAT(about([](auto&, auto& p) { p.waiting = 5; }), HasSubstr("raise max_in_flight above 8"));
    EXPECT_THAT(about([](auto&, auto& p) { p.mean_seconds = 9; }), HasSubstr("an answer takes 9.0 s"));
    EXPECT_THAT(about([](auto&, auto& p) { p.max_texts = 32; }), HasSubstr("declare max_batch 32"));
    EXPECT_THAT(about([](auto&, auto& p) { p.breaker = "open", p.message = "it is down"; }), HasSubstr("it is down"));
    EXPECT_THAT(about([](auto& f, auto&) { f.memory_level = "stopped"; }), HasSubstr("memory.budget"));
    EXPECT_THAT(about([](auto& f, auto&) { f.cache_hits = 600, f.cache_misses = 600, f.cache_evictions = 500; }),
                HasSubstr("cache.bytes: raise it"));
    EXPECT_THAT(about([](auto& f, auto&) { f.cache_bytes = 1, f.cache_misses = 200'000; }), HasSubstr("set it to 0"));
}

TEST(Synchronise, AgreesWhereNothingDiffers) {
    SeenReplica r{.id = "a", .schema_version = 4, .reported = true};
    r.factory.slots = 16;  // the default, and so are three connections
    r.factory.providers.push_back(well());
    ProviderSpec p;
    p.name = "p";
    p.max_batch = 100;
    p.max_in_flight = 8;
    EXPECT_THAT(synchronise({r}, {p}, 4, 3), IsEmpty());
}

TEST(Synchronise, NamesEachDifferenceAndWhatIsDone) {
    ProviderSpec p;
    p.name = "p";
    p.max_batch = 256;
    p.max_in_flight = 8;
    SeenReplica r{.id = "a", .schema_version = 3, .clock_ahead = 90s, .reported = true};
    r.factory.slots = 64;
    r.factory.memory_level = "stopped";
    r.factory.providers.push_back(well());
    r.factory.providers[0].limit = 2;
    r.factory.providers[0].throttled = 7;
    r.factory.providers.push_back(well());
    r.factory.providers[1].name = "gone";
    const auto conflicts = synchronise({r}, {p}, 4, 3);
    ASSERT_THAT(conflicts, SizeIs(7));
    EXPECT_THAT(conflicts[0].adjustment, HasSubstr("newer binary"));
    EXPECT_THAT(conflicts[1].found, HasSubstr("90 s ahead"));
    EXPECT_THAT(conflicts[2].adjustment, HasSubstr("write_connections"));
    EXPECT_THAT(conflicts[3].found, HasSubstr("stopped"));
    EXPECT_EQ(conflicts[4].found, "takes 100");
    EXPECT_EQ(conflicts[5].found, "bears 2 now");
    EXPECT_EQ(conflicts[6].found, "deleted");
}

TEST(Synchronise, ASilentReplicaIsNamedAndNobodyRunningToo) {
    const auto conflicts = synchronise({{.id = "a", .schema_version = 4, .silent_for = 90s}}, {}, 4, 3);
    ASSERT_THAT(conflicts, SizeIs(2));
    EXPECT_EQ(conflicts[0].found, "none is running");
    EXPECT_EQ(conflicts[1].found, "silent for 90 s");
}

}  // namespace
}  // namespace homeostat
