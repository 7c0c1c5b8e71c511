// The OpenAI embedder against the scripted endpoint: what it sends, what it makes of every kind of answer, what it tells about
// it.
#include "reconcilers/embed/openai.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/io_thread.hpp"

namespace homeostat {
namespace {

using kit::FakeAnswer;
using kit::FakeEndpoint;
using kit::Flaw;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::uint32_t kDimensions = 8;

const std::string kRightAnswer = R"({"data":[{"embedding":[1,0,0,0,0,0,0,0]}],"model":"test-model"})";

std::string zlib_packed(const std::string& text, int window_bits) {
    z_stream z{};
    std::string out(text.size() + 100, '\0');
    EXPECT_EQ(deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));  // NOLINT: zlib only reads it
    z.avail_in = static_cast<uInt>(text.size());
    z.next_out = reinterpret_cast<Bytef*>(out.data());  // NOLINT: bytes are bytes
    z.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
    out.resize(z.total_out);
    deflateEnd(&z);
    return out;
}

// A block of brotli that is not compressed, and the end.
std::string br_packed(const std::string& text) {
    const std::uint32_t head = (static_cast<std::uint32_t>(text.size() - 1) << 4U) | (1U << 20U);
    std::string out;
    for (const unsigned shift : {0U, 8U, 16U}) out += static_cast<char>((head >> shift) & 0xFFU);
    return out + text + '\x03';
}

std::vector<std::pair<std::string, std::string>> packed_answers() {
    return {{"gzip", zlib_packed(kRightAnswer, 31)},
            {"X-GZIP", zlib_packed(kRightAnswer, 31)},
            {"deflate", zlib_packed(kRightAnswer, 15)},
            {"deflate", zlib_packed(kRightAnswer, -15)},
            {"br", br_packed(kRightAnswer)},
            {"gzip, identity, br", br_packed(zlib_packed(kRightAnswer, 31))}};
}

class OpenAi : public ::testing::Test {
protected:
    OpenAi() {
        spec.name = "fake";
        spec.kind = "openai";
        spec.endpoint = endpoint.url();
    }
    Embedder& embedder() {
        if (!made) {
            auto result =
                make_openai_embedder(spec, "test-model", kDimensions, io.executor(), clock, {registry, tracer}, outbound);
            EXPECT_TRUE(result) << result.error().message;
            made = *std::move(result);
        }
        return *made;
    }
    Result<Embeddings> embed(const std::vector<std::string>& texts, TextRole role = TextRole::document, Context context = {}) {
        return io.run(embedder().embed(texts, role, context));
    }
    nlohmann::json last_body() { return nlohmann::json::parse(endpoint.requests().back().http.body); }

    SystemClock clock;
    SpanRecorder recorder;
    Tracer tracer{&recorder, clock};
    Registry registry;
    FakeEndpoint endpoint{{.dimensions = kDimensions}};
    kit::IoThread io;
    // What is declared may be sent to the endpoint.
    void bind(const std::string& source) {
        outbound =
            std::make_shared<const Outbound>(*Outbound::of("key " + source + " " + parse_url(endpoint.url())->origin(), ""));
    }

    ProviderSpec spec;
    std::shared_ptr<const Outbound> outbound;
    std::unique_ptr<Embedder> made;
};

TEST_F(OpenAi, EmbedsInOrderInBothEncodings) {
    for (const char* encoding : {"base64", "float"}) {
        made.reset();
        spec.encoding = encoding;
        const std::vector<std::string> texts{"one", "zwei \"quoted\"\n", "drei \xf0\x9f\x8c\x8d"};
        const auto answer = embed(texts);
        ASSERT_TRUE(answer) << answer.error().message;
        ASSERT_EQ(answer->count(), 3U);
        for (std::size_t i = 0; i < 3; ++i) {
            const std::vector<float> row(answer->row(i), answer->row(i) + kDimensions);
            EXPECT_EQ(row, FakeEndpoint::vector_of(texts[i], kDimensions)) << encoding;
        }
        EXPECT_EQ(endpoint.requests().back().texts, texts);
        EXPECT_EQ(last_body()["encoding_format"], encoding);
        EXPECT_FALSE(last_body().contains("dimensions"));
        EXPECT_EQ(answer->model, "test-model");
        std::uint64_t tokens = 0;
        for (const auto& text : texts) tokens += FakeEndpoint::tokens_of(text);
        EXPECT_EQ(answer->tokens, tokens);
    }
}

TEST_F(OpenAi, SendsWhatIsDeclared) {
    ::setenv("HOMEOSTAT_TEST_KEY", "k3y", 1);
    spec.credential = "env:HOMEOSTAT_TEST_KEY";
    bind(*spec.credential);
    spec.organization = "org-1";
    spec.headers = {{"X-Team", "search"}, {"api-key", "env:HOMEOSTAT_TEST_KEY"}};
    spec.document_prefix = "passage: ";
    spec.query_prefix = "query: ";
    spec.send_dimensions = true;
    ASSERT_TRUE(embed({"text"}));
    const auto headers = endpoint.requests().back().http.headers;
    EXPECT_EQ(headers.at("authorization"), "Bearer k3y");
    EXPECT_EQ(headers.at("openai-organization"), "org-1");
    EXPECT_EQ(headers.at("x-team"), "search");
    EXPECT_EQ(headers.at("api-key"), "k3y");
    EXPECT_EQ(last_body()["dimensions"], kDimensions);
    EXPECT_EQ(last_body()["input"][0], "passage: text");
    ASSERT_TRUE(embed({"text"}, TextRole::query));
    EXPECT_EQ(last_body()["input"][0], "query: text");
}

TEST_F(OpenAi, TheCredentialIsReadForEveryRequest) {
    const auto path = std::filesystem::temp_directory_path() / ("homeostat-key-" + std::to_string(::getpid()));
    spec.credential = "file:" + path.string();
    bind(*spec.credential);
    std::ofstream(path) << "old\n";
    ASSERT_TRUE(embed({"a"}));
    std::ofstream(path) << "new\n";
    ASSERT_TRUE(embed({"a"}));
    EXPECT_EQ(endpoint.requests()[0].http.headers.at("authorization"), "Bearer old");
    EXPECT_EQ(endpoint.requests()[1].http.headers.at("authorization"), "Bearer new");
    std::filesystem::remove(path);
    const auto answer = embed({"a"});
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::auth);
    EXPECT_EQ(endpoint.calls(), 2U);
}

TEST_F(OpenAi, TheCredentialIsNeverRepeated) {
    ::setenv("HOMEOSTAT_TEST_KEY", "sk-very-secret", 1);
    spec.credential = "env:HOMEOSTAT_TEST_KEY";
    bind(*spec.credential);
    endpoint.next({.status = 401, .body = R"({"error":{"message":"Incorrect API key provided: sk-very-secret."}})"});
    const auto answer = embed({"a"});
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::auth);
    EXPECT_THAT(answer.error().message, HasSubstr("provided: ***."));
    endpoint.next({.status = 400, .body = R"({"error":{"message":"bad header Very%2Dsecr... or c2stdmVyeS1zZWNyZXQ="}})"});
    EXPECT_THAT(embed({"a"}).error().message, HasSubstr("saying \"bad header ***... or ***=\""));
    for (const auto& span : recorder.spans()) {
        EXPECT_THAT(span.error, Not(HasSubstr("secr")));
        EXPECT_THAT(span.error, Not(HasSubstr("dmVy")));
    }
}

TEST_F(OpenAi, IllFormedTextStillMakesARequest) {
    ASSERT_TRUE(embed({std::string("bad \xc3\x28 \xff nul \0 end", 18)}));
    EXPECT_EQ(last_body()["input"][0], std::string("bad \xef\xbf\xbd( \xef\xbf\xbd nul \0 end", 22));
}

TEST_F(OpenAi, HarmlessOdditiesAreUnderstood) {
    for (const Flaw flaw : {Flaw::reordered, Flaw::dated_model, Flaw::no_usage, Flaw::chunked, Flaw::early_hints}) {
        endpoint.next({.flaw = flaw});
        const auto answer = embed({"first", "second", "third"});
        ASSERT_TRUE(answer) << static_cast<int>(flaw) << answer.error().message;
        EXPECT_EQ(std::vector<float>(answer->row(0), answer->row(1)), FakeEndpoint::vector_of("first", kDimensions));
        EXPECT_GT(answer->tokens, 0U);
        EXPECT_THAT(answer->model, HasSubstr("test-model"));
    }
}

struct Fault {
    FakeAnswer answer;
    ErrorClass cls;
    std::string says;
};

TEST_F(OpenAi, EveryFaultHasItsClassAndASentence) {
    const std::vector<Fault> faults{
        {{.flaw = Flaw::wrong_count}, ErrorClass::bad_answer, "1 vectors, 2 texts"},
        {{.flaw = Flaw::extra_vector}, ErrorClass::bad_answer, "more vectors than"},
        {{.flaw = Flaw::duplicate_index}, ErrorClass::bad_answer, "index 0 twice"},
        {{.flaw = Flaw::short_vector}, ErrorClass::bad_answer, "has 7 numbers, 8 were declared"},
        {{.flaw = Flaw::long_vector}, ErrorClass::bad_answer, "has 9 numbers, 8 were declared"},
        {{.flaw = Flaw::nan_vector}, ErrorClass::bad_answer, "finite"},
        {{.flaw = Flaw::infinite_vector}, ErrorClass::bad_answer, "finite"},
        {{.flaw = Flaw::zero_vector}, ErrorClass::bad_answer, "zero"},
        {{.flaw = Flaw::other_model}, ErrorClass::bad_answer, "\"somebody-elses-model\" answered"},
        {{.flaw = Flaw::html}, ErrorClass::bad_answer, "not JSON"},
        {{.flaw = Flaw::garbage}, ErrorClass::bad_answer, "not JSON"},
        {{.flaw = Flaw::not_http}, ErrorClass::bad_answer, "not HTTP"},
        {{.flaw = Flaw::truncated}, ErrorClass::transient, "connection was lost"},
        {{.status = 500}, ErrorClass::transient, "answered 500"},
        {{.status = 429, .headers = {{"Retry-After", "3"}}}, ErrorClass::throttled, "scripted failure 429"},
        {{.status = 400}, ErrorClass::content, "answered 400"},
        {{.status = 413}, ErrorClass::too_large, "answered 413"},
    };
    for (const auto& fault : faults) {
        endpoint.next(fault.answer);
        const auto answer = embed({"a", "b"});
        ASSERT_FALSE(answer) << fault.says;
        EXPECT_EQ(answer.error().cls, fault.cls) << answer.error().message;
        EXPECT_THAT(answer.error().message, HasSubstr(fault.says));
        EXPECT_THAT(answer.error().message, HasSubstr("provider \"fake\""));
    }
    EXPECT_TRUE(embed({"a", "b"})) << "a fault must not outlast its request";
}

TEST_F(OpenAi, AnErrorInsideAnAnswerOfStatus200IsQuotedAndMeansWhatItSays) {
    const std::vector<Fault> faults{
        {{.body = R"({"error":{"message":"The model is \u001b[31mloading","type":"x"}})"},
         ErrorClass::bad_answer,
         "is  [31mloading"},
        {{.body = R"({"error":{"code":429,"message":"Slow down, try again in 3s"}})"}, ErrorClass::throttled, "Slow down"},
        {{.body = R"({"error":{"code":401,"message":"No credits"}})"}, ErrorClass::auth, "No credits"},
        {{.body = R"({"error":"backend is away"})"}, ErrorClass::bad_answer, "backend is away"},
        {{.body = R"({"detail":"upstream failed"})"}, ErrorClass::bad_answer, "upstream failed"},
    };
    for (const auto& fault : faults) {
        endpoint.next(fault.answer);
        const auto answer = embed({"a", "b"});
        ASSERT_FALSE(answer) << fault.says;
        EXPECT_EQ(answer.error().cls, fault.cls) << answer.error().message;
        EXPECT_THAT(answer.error().message, HasSubstr(fault.says));
    }
}

TEST_F(OpenAi, WhatIsNoAnswerIsToldApart) {
    const std::vector<Fault> faults{
        {{.body = "<html><body>Please sign in</body></html>"},
         ErrorClass::bad_answer,
         "HTML or XML: \"<html><body>Please sign in"},
        {{.body = R"({"object":"list","data":[{"index":0,"embedding":[0.1,0.2)"},
         ErrorClass::bad_answer,
         "cut off after 56 bytes"},
        {{.body = R"([[0.1,0.2]])"}, ErrorClass::bad_answer, "a list: \"[[0.1"},
        {{.body = R"({"embeddings":[[1,2]]})"}, ErrorClass::bad_answer, "no \"data\": \"{\"embeddings\":[[1,2]]}"},
        {{.body = "upstream connect error\n\xff"}, ErrorClass::bad_answer, "not JSON: \"upstream connect error \xEF\xBF\xBD"},
        {{.body = " \n"}, ErrorClass::bad_answer, "empty"},
    };
    for (const auto& fault : faults) {
        endpoint.next(fault.answer);
        const auto answer = embed({"a", "b"});
        ASSERT_FALSE(answer) << fault.says;
        EXPECT_EQ(answer.error().cls, fault.cls) << answer.error().message;
        EXPECT_THAT(answer.error().message, HasSubstr(fault.says));
    }
}

TEST_F(OpenAi, PackedAndMarkedAnswersAreUnderstood) {
    endpoint.next({.body = "\xEF\xBB\xBF" + kRightAnswer});
    EXPECT_TRUE(embed({"a"}));
    for (const auto& [encoding, body] : packed_answers()) {
        endpoint.next({.headers = {{"Content-Encoding", encoding}}, .body = body});
        const auto answer = embed({"a"});
        ASSERT_TRUE(answer) << encoding << ": " << answer.error().message;
        EXPECT_EQ(answer->row(0)[0], 1.0F);
        endpoint.next({.headers = {{"Content-Encoding", encoding}}, .body = body.substr(0, body.size() / 2)});
        const auto half = embed({"a"});
        ASSERT_FALSE(half);
        EXPECT_EQ(half.error().cls, ErrorClass::bad_answer);
        EXPECT_THAT(half.error().message, HasSubstr("cannot be unpacked"));
    }
    endpoint.next({.headers = {{"Content-Encoding", "zstd"}}, .body = kRightAnswer});
    EXPECT_THAT(embed({"a"}).error().message, HasSubstr("packed as \"zstd\""));
    endpoint.next({.status = 400, .headers = {{"Content-Encoding", "gzip"}}, .body = packed_answers().front().second});
    EXPECT_EQ(embed({"a"}).error().cls, ErrorClass::content);
}

TEST_F(OpenAi, AddressesHaveOneMeaning) {
    const std::string origin = endpoint.url().substr(0, endpoint.url().rfind("/v1"));
    for (const char* path : {"/v1", "/v1/", "/v1/embeddings", "/v1/embeddings/", "//v1", "/v1//embeddings//"}) {
        made.reset();
        spec.endpoint = origin + path;
        ASSERT_TRUE(embed({"a"})) << path;
        EXPECT_EQ(endpoint.requests().back().http.path, "/v1/embeddings") << path;
    }
    made.reset();
    spec.endpoint = origin + "/v1/?api-version=1";
    ASSERT_TRUE(embed({"a"}));
    EXPECT_EQ(endpoint.requests().back().http.path, "/v1/embeddings?api-version=1");
}

TEST_F(OpenAi, OnlyARedirectToASlashOnTheSameOriginIsFollowed) {
    endpoint.next({.status = 307, .headers = {{"Location", "/v1/embeddings/"}}});
    ASSERT_TRUE(embed({"a"}));
    EXPECT_EQ(endpoint.requests().back().http.path, "/v1/embeddings/");
    EXPECT_EQ(endpoint.requests().back().http.method, "POST");
    ASSERT_TRUE(embed({"b"}));
    EXPECT_EQ(endpoint.requests().back().http.path, "/v1/embeddings/") << "it is remembered";
    const std::size_t before = endpoint.requests().size();
    made.reset();
    FakeEndpoint other({.dimensions = kDimensions});
    const std::vector<std::string> elsewhere{other.url() + "/embeddings/",
                                             "//127.0.0.1/v1/embeddings/",
                                             "/v2/embeddings/",
                                             "https://127.0.0.1/v1/embeddings/",
                                             "",
                                             "/v1/embeddings"};
    for (const std::string& location : elsewhere) {
        endpoint.next({.status = 308, .headers = {{"Location", location}}});
        const auto answer = embed({"a"});
        ASSERT_FALSE(answer) << location;
        EXPECT_EQ(answer.error().cls, ErrorClass::invalid);
    }
    EXPECT_EQ(endpoint.requests().size(), before + elsewhere.size());
    EXPECT_EQ(other.requests().size(), 0U);
}

TEST_F(OpenAi, ThrottlingCarriesTheWait) {
    endpoint.next({.status = 429, .headers = {{"Retry-After", "3"}}});
    EXPECT_EQ(embed({"a"}).error().retry_after, 3s);
    endpoint.next({.status = 429, .headers = {{"RateLimit-Remaining", "0"}, {"RateLimit-Reset", "4"}}});
    EXPECT_EQ(embed({"a"}).error().retry_after, 4s);
    endpoint.next({.status = 503, .body = R"({"error":"Model x is currently loading","estimated_time":5.0})"});
    EXPECT_EQ(embed({"a"}).error().retry_after, 5s);
    endpoint.next({.body = R"({"error":{"code":429,"message":"Slow","metadata":{"headers":{"Retry-After":"6"}}}})"});
    EXPECT_EQ(embed({"a"}).error().retry_after, 6s) << "an error inside a 200";
}

TEST_F(OpenAi, TheDeadlineIsTheNearerOfContextAndProvider) {
    endpoint.always({.delay = 1h});
    spec.timeout = 30ms;
    EXPECT_EQ(embed({"a"}).error().cls, ErrorClass::timeout);
    made.reset();
    spec.timeout = Millis(3'600'000);
    Context context;
    context.deadline = clock.steady_now() + 30ms;
    EXPECT_EQ(embed({"a"}, TextRole::document, context).error().cls, ErrorClass::timeout);
}

TEST_F(OpenAi, MoreTextsThanABatchAreTheCallersMistake) {
    spec.max_batch = 2;
    EXPECT_EQ(embed({"a", "b", "c"}).error().cls, ErrorClass::internal);
    EXPECT_EQ(endpoint.requests().size(), 0U);
    EXPECT_EQ(embed({})->count(), 0U);
    EXPECT_EQ(embedder().limits().max_batch, 2U);
}

TEST_F(OpenAi, EachRequestIsASpanOfHttpAndTheEndpointSeesTheTrace) {
    Context context;
    context.span = SpanContext::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    ASSERT_TRUE(embed({"a"}, TextRole::document, context));
    const auto spans = recorder.spans();
    ASSERT_EQ(spans.size(), 1U);
    EXPECT_EQ(spans[0].name, "POST");
    EXPECT_EQ(spans[0].kind, SpanKind::client);
    EXPECT_EQ(spans[0].parent.hex(), "b7ad6b7169203331");
    const auto attribute = [](const SpanData& span, std::string_view key) {
        const AttributeValue* value = span.find(key);
        return value == nullptr ? AttributeValue(std::string("(absent)")) : *value;
    };
    EXPECT_EQ(attribute(spans[0], "http.request.method"), AttributeValue(std::string("POST")));
    EXPECT_EQ(attribute(spans[0], "http.response.status_code"), AttributeValue(std::int64_t{200}));
    EXPECT_EQ(attribute(spans[0], "server.address"), AttributeValue(std::string("127.0.0.1")));
    EXPECT_EQ(attribute(spans[0], "server.port"), AttributeValue(std::int64_t{endpoint.port()}));
    EXPECT_EQ(endpoint.requests().back().http.headers.at("traceparent"), spans[0].context.traceparent());
    // Who is not sampled says so, and is followed by nobody.
    context.span.sampled = false;
    ASSERT_TRUE(embed({"a"}, TextRole::document, context));
    EXPECT_THAT(endpoint.requests().back().http.headers.at("traceparent"), ::testing::EndsWith("-00"));

    endpoint.next({.status = 500, .body = R"({"error":{"message":"cannot embed 'Lieber Leser'"}})"});
    ASSERT_FALSE(embed({"a"}));
    const SpanData failed = recorder.spans().back();
    EXPECT_EQ(failed.error, "transient");
    EXPECT_EQ(attribute(failed, "error.type"), AttributeValue(std::string("transient")));
    EXPECT_EQ(attribute(failed, "http.response.status_code"), AttributeValue(std::int64_t{500}));
}

TEST_F(OpenAi, WhatIsKnownToBeWrongIsRefusedWithoutACall) {
    const auto refused = [&](auto change, std::string_view says, std::string model = "m", std::uint32_t dimensions = 8) {
        ProviderSpec s = spec;
        change(s);
        const auto result = make_openai_embedder(s, model, dimensions, io.executor(), clock, {registry, tracer}, outbound);
        ASSERT_FALSE(result) << says;
        EXPECT_EQ(result.error().cls, ErrorClass::invalid);
        EXPECT_THAT(result.error().message, HasSubstr(std::string(says)));
    };
    refused([](auto& s) { s.endpoint.reset(); }, "no endpoint");
    refused([](auto& s) { s.endpoint = "example.com"; }, "http://");
    refused([](auto& s) { s.credential = "sk-plain"; }, "must be a reference");
    refused([](auto& s) { s.encoding = "hex"; }, "\"hex\"");
    refused([](auto& s) { s.headers = {{"X", "a\r\nEvil: yes"}}; }, "control character");
    refused([](auto& s) { s.headers = {{"X y", "a"}}; }, "not a header name");
    outbound = std::make_shared<const Outbound>(*Outbound::of("ca file:/nonexistent https://ca.example", ""));
    refused(
        [](auto& s) {
            s.endpoint = "https://ca.example";
            s.ca_file = "/nonexistent";
        },
        "CA file");
    refused([](auto&) {}, "no model", "");
    refused([](auto&) {}, "no dimensions", "m", 0);
}

}  // namespace
}  // namespace homeostat
