// What is declared of a request and goes out with it: further members, how vectors are asked for, and the name an answer must
// bear.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "reconcilers/embed/openai.hpp"
#include "reconcilers/embed/request_text.hpp"
#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/io_thread.hpp"

namespace homeostat {
namespace {

using kit::FakeEndpoint;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr std::uint32_t kDimensions = 8;

class Request : public ::testing::Test {
protected:
    Request() {
        spec.name = "fake";
        spec.kind = "openai";
        spec.endpoint = endpoint.url();
    }
    Result<Embeddings> embed(const std::vector<std::string>& texts, TextRole role = TextRole::document) {
        if (!made) {
            auto result = make_openai_embedder(spec, "test-model", kDimensions, io.executor(), clock, {registry, tracer});
            if (!result) return std::move(result).error();
            made = *std::move(result);
        }
        return io.run(made->embed(texts, role, {}));
    }
    Json body(TextRole role) {
        EXPECT_TRUE(embed({"text"}, role));
        return Json::parse(endpoint.requests().back().http.body);
    }
    // An answer in the name of another model.
    static std::string answer_of(const std::string& model) {
        return R"({"data":[{"embedding":[1,0,0,0,0,0,0,0]}],"model":")" + model + "\"}";
    }

    SystemClock clock;
    SpanRecorder recorder;
    Tracer tracer{&recorder, clock};
    Registry registry;
    FakeEndpoint endpoint{{.dimensions = kDimensions}};
    kit::IoThread io;
    ProviderSpec spec;
    std::unique_ptr<Embedder> made;
};

TEST_F(Request, HasTheMembersThatAreDeclared) {
    spec.request =
        R"({"input_type": "passage", "truncate": "END", "provider": {"order": ["a", "b"], "fallback": false}, "n": 1.5})";
    spec.query_request = R"({"input_type": "query", "truncate": null, "top": [1, null]})";
    Json document = body(TextRole::document);
    EXPECT_EQ(document["input"], Json({"text"}));
    EXPECT_EQ(document["input_type"], "passage");
    EXPECT_EQ(document["truncate"], "END");
    EXPECT_EQ(document["provider"], Json::parse(R"({"order": ["a", "b"], "fallback": false})"));
    EXPECT_EQ(document["n"], 1.5);
    EXPECT_FALSE(document.contains("top"));
    const Json query = body(TextRole::query);
    EXPECT_EQ(query["input_type"], "query");
    EXPECT_FALSE(query.contains("truncate"));
    EXPECT_EQ(query["top"], Json::parse("[1, null]"));
    EXPECT_EQ(query["provider"], document["provider"]);
}

TEST_F(Request, OfNothingMoreIsWhatItWas) {
    EXPECT_EQ(body(TextRole::document).size(), 3U);
    made.reset();
    spec.request = R"({"a": null})";  // which an endpoint may want
    spec.query_request = R"({"a": null})";
    EXPECT_TRUE(body(TextRole::document).contains("a"));
    EXPECT_FALSE(body(TextRole::query).contains("a"));
}

TEST_F(Request, WithWhatIsNoObjectIsNeverMade) {
    for (const char* wrong : {"[]", "1", "", "{"}) {
        spec.request = wrong;
        const auto answer = embed({"a"});
        ASSERT_FALSE(answer) << wrong;
        EXPECT_EQ(answer.error().cls, ErrorClass::invalid);
        EXPECT_THAT(answer.error().message, HasSubstr("provider \"fake\" must be JSON objects"));
        EXPECT_FALSE(append_members("{}", wrong)) << wrong;
    }
    EXPECT_EQ(endpoint.calls(), 0U);
}

TEST_F(Request, LeavesTheEncodingOutWhereThatIsDeclared) {
    spec.encoding = "none";
    const Json sent = body(TextRole::document);
    EXPECT_FALSE(sent.contains("encoding_format"));
    EXPECT_EQ(sent["model"], "test-model");
}

TEST_F(Request, FindsOutThatTheEncodingIsRefusedAltogether) {
    const kit::FakeAnswer refusal{.status = 400, .body = R"({"error":"unknown member encoding_format"})"};
    endpoint.next(refusal, 2);
    ASSERT_TRUE(embed({"a"}));
    EXPECT_EQ(endpoint.calls(), 3U);
    ASSERT_TRUE(embed({"b"}));
    EXPECT_EQ(endpoint.calls(), 4U) << "remembered";
    EXPECT_FALSE(Json::parse(endpoint.requests().back().http.body).contains("encoding_format"));
    made.reset();
    spec.encoding = "float";
    endpoint.next(refusal);
    ASSERT_TRUE(embed({"a"}));
    EXPECT_EQ(endpoint.calls(), 6U);
    made.reset();
    spec.encoding = "none";
    endpoint.next(refusal);
    EXPECT_FALSE(embed({"a"})) << "there is nothing else to try";
    EXPECT_EQ(endpoint.calls(), 7U);
}

TEST_F(Request, IsAnsweredInTheNameThatIsDeclared) {
    endpoint.always({.body = answer_of("gpt-3.5-turbo")});
    const auto refused = embed({"a"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().cls, ErrorClass::bad_answer);
    EXPECT_THAT(refused.error().message, AllOf(HasSubstr("model \"test-model\" was asked for, \"gpt-3.5-turbo\" answered"),
                                               HasSubstr("declare answers_as")));
    made.reset();
    spec.answers_as = "GPT-3.5-turbo";
    const auto taken = embed({"a"});
    ASSERT_TRUE(taken) << taken.error().message;
    EXPECT_EQ(taken->model, "gpt-3.5-turbo");
    EXPECT_EQ(endpoint.requests().back().model, "test-model");
    endpoint.always({.body = answer_of("test-model")});
    const auto other = embed({"a"});
    ASSERT_FALSE(other) << "what is declared is what must be";
    EXPECT_THAT(other.error().message,
                AllOf(HasSubstr("it was to answer as \"GPT-3.5-turbo\"; correct answers_as"), Not(HasSubstr("declare"))));
}

TEST_F(Request, IsAnsweredInOneNameOnly) {
    ASSERT_TRUE(embed({"a"}));
    EXPECT_EQ(made->called(), "test-model");
    endpoint.always({.body = answer_of("org/Test-Model-2025-01-01")});
    EXPECT_TRUE(embed({"a"})) << "which only says more";
    made.reset();
    ASSERT_TRUE(embed({"a"}));
    endpoint.always({.body = answer_of("test-model-v2")});
    const auto swapped = embed({"a"});
    ASSERT_FALSE(swapped);
    EXPECT_EQ(swapped.error().cls, ErrorClass::bad_answer);
    EXPECT_THAT(
        swapped.error().message,
        HasSubstr("model \"test-model\" answered as \"org/Test-Model-2025-01-01\" until now, and as \"test-model-v2\" now"));
    made.reset();
    ASSERT_TRUE(embed({"a"})) << "another declaration knows nothing of it";
    made->call_it("test-model-v3");
    EXPECT_FALSE(embed({"a"})) << "another replica does";
    endpoint.always({.body = answer_of("")});
    EXPECT_TRUE(embed({"a"})) << "who says nothing says nothing else";
}

}  // namespace
}  // namespace homeostat
