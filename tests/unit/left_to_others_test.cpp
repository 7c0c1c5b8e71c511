// Who is asked where a secret is missing here: the others while they can, and this process again and again.
#include "reconcilers/gateway/left_to_others.hpp"

#include <gtest/gtest.h>

#include "reconcilers/embed/secret.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;

class LeftToOthersTest : public ::testing::Test {
protected:
    LeftToOthersTest() { asked.provider = {.uid = 1, .name = "p", .generation = 1}; }

    const Error missing{.cls = ErrorClass::auth, .message = "no key", .code = std::string(kCredentialCode)};
    const Others reached{.live = 1, .words = {{1, 1, true, ""}}};
    LeftToOthers::Asked asked;
    LeftToOthers left;
    SteadyTime now{1h};
};

TEST_F(LeftToOthersTest, IsTriedHereAsLongAsItIsMissing) {
    EXPECT_TRUE(left.failed(asked, missing, reached, now));
    EXPECT_TRUE(left.take_due(now).empty()) << "it has just been tried";
    EXPECT_EQ(left.take_due(now += 5s).size(), 1U);
    EXPECT_TRUE(left.take_due(now).empty());
    // The one that reached it is gone: nothing is left to it, and what it said last is not how it is.
    EXPECT_TRUE(left.heard({}, now).empty());
    EXPECT_TRUE(left.all().empty());
    EXPECT_EQ(left.take_due(now += 5s).size(), 1U);
    EXPECT_FALSE(left.over({"p", 1, 1})) << "it was left to nobody";
    EXPECT_TRUE(left.take_due(now += 1h).empty());
}

TEST_F(LeftToOthersTest, WhoIsRefusedAsksTheProviderSeldom) {
    const Error refused{.cls = ErrorClass::auth, .message = "401", .code = "401"};
    EXPECT_TRUE(left.failed(asked, refused, reached, now));
    EXPECT_EQ(left.take_due(now += 5s).size(), 1U);
    EXPECT_TRUE(left.take_due(now += 59s).empty());
    EXPECT_EQ(left.take_due(now += 1s).size(), 1U);
    EXPECT_FALSE(left.failed(asked, refused, {}, now)) << "nobody else: it is the lane's to keep";
    EXPECT_TRUE(left.take_due(now += 1h).empty());
}

}  // namespace
}  // namespace homeostat
