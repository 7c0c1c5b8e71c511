// One case for each row of the table from HTTP status and transport fault to error class.
#include "reconcilers/embed/http_error.hpp"

#include <gtest/gtest.h>

#include <set>

#include "reconcilers/embed/request_text.hpp"

namespace homeostat {
namespace {

using std::chrono::milliseconds;

struct Case {
    std::string_view row;
    HttpAnswer answer;
    ErrorClass cls;
    Origin origin;
};

std::string openai_error(const std::string& message, const std::string& code = "", const std::string& param = "") {
    return R"({"error":{"message":")" + message + R"(","type":"invalid_request_error","param":")" + param + R"(","code":")" +
           code + "\"}}";
}

const std::vector<Case>& cases() {
    static const std::vector<Case> all{
        {"quota used up",
         {429, {{"Retry-After", "20"}}, openai_error("You exceeded your current quota", "insufficient_quota")},
         ErrorClass::auth,
         Origin::user},
        {"budget used up",
         {400, {}, openai_error("Budget has been exceeded! Current cost: 10.2, Max budget: 10.0", "400")},
         ErrorClass::auth,
         Origin::user},
        {"no model yet", {400, {}, openai_error("No models loaded. Please load a model")}, ErrorClass::transient, Origin::theirs},
        {"no model yet", {404, {}, openai_error("Failed to load model m")}, ErrorClass::transient, Origin::theirs},
        {"no model yet", {503, {}, "model is loading"}, ErrorClass::transient, Origin::theirs},
        {"more than a minute may have",
         {429,
          {},
          openai_error("Request too large for m on tokens per min (TPM): Limit 40000, Requested 50000. The input must be "
                       "reduced")},
         ErrorClass::too_large,
         Origin::ours},
        {"throttled",
         {429, {}, openai_error("Rate limit reached", "rate_limit_exceeded")},
         ErrorClass::throttled,
         Origin::theirs},
        {"overloaded", {503, {{"retry-after", "3"}}, "busy"}, ErrorClass::throttled, Origin::theirs},
        {"overloaded", {529, {}, "{}"}, ErrorClass::throttled, Origin::theirs},
        {"credential refused", {401, {}, openai_error("Incorrect API key")}, ErrorClass::auth, Origin::user},
        {"credential refused", {403, {}, ""}, ErrorClass::auth, Origin::user},
        {"credential refused",
         {400,
          {},
          R"([{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT",)"
          R"("details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}])"},
         ErrorClass::auth,
         Origin::user},
        {"not offered here",
         {400, {}, R"({"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED"}})"},
         ErrorClass::auth,
         Origin::user},
        {"payment required", {402, {}, ""}, ErrorClass::auth, Origin::user},
        {"request too large", {413, {}, ""}, ErrorClass::too_large, Origin::ours},
        {"over the token limit",
         {400, {}, openai_error("This model's maximum context length is 8192 tokens")},
         ErrorClass::too_large,
         Origin::ours},
        {"over the token limit",
         {422, {}, R"({"error":"Input validation error: `inputs` must have less than 512 tokens","error_type":"Validation"})"},
         ErrorClass::too_large,
         Origin::ours},
        {"over the token limit",
         {400, {}, openai_error("batch size is invalid, it should not be larger than 10")},
         ErrorClass::too_large,
         Origin::ours},
        {"over the token limit",
         {422,
          {},
          R"({"detail":[{"loc":["body","input"],"msg":"List should have at most 32 items after validation, not 100"}]})"},
         ErrorClass::too_large,
         Origin::ours},
        {"text too long",
         {500, {}, openai_error("input is too large to process. increase the physical batch size")},
         ErrorClass::too_large,
         Origin::ours},
        {"declaration refused",
         {400, {}, openai_error("encoding_format base64 is not supported")},
         ErrorClass::invalid,
         Origin::user},
        {"declaration refused", {400, {}, openai_error("'input_type' parameter is required")}, ErrorClass::invalid, Origin::user},
        {"declaration refused",
         {422, {}, R"({"detail":[{"loc":["body","dimensions"],"msg":"Extra inputs are not permitted"}]})"},
         ErrorClass::invalid,
         Origin::user},
        {"declaration refused", {400, {}, openai_error("no such model", "", "model")}, ErrorClass::invalid, Origin::user},
        {"input refused", {400, {}, openai_error("'$.input' is invalid", "", "input")}, ErrorClass::content, Origin::user},
        {"input refused",
         {400,
          {},
          R"({"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy. )"
          R"(Please modify your prompt and retry, at most 3 times.","type":null,"param":"prompt","code":"content_filter"}})"},
         ErrorClass::content,
         Origin::user},
        {"over the token limit",
         {400,
          {},
          R"({"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":{\"message\":)"
          R"(\"batch size is invalid, it should not be larger than 10.\"}}","provider_name":"p"}}})"},
         ErrorClass::too_large,
         Origin::ours},
        {"over the token limit",
         {400, {}, R"({"result":null,"success":false,"errors":[{"code":5006,"message":"batch: must be at most 100 items"}]})"},
         ErrorClass::too_large,
         Origin::ours},
        {"input refused",
         {400, {}, R"({"error":{"message":"Provider returned error","metadata":{"raw":{"a":1}}}})"},
         ErrorClass::content,
         Origin::user},
        {"input refused", {422, {}, R"({"detail":[{"loc":["body"],"msg":"bad"}]})"}, ErrorClass::content, Origin::user},
        {"request timeout", {408, {}, ""}, ErrorClass::transient, Origin::theirs},
        {"not found",
         {404, {}, openai_error("The model does not exist", "model_not_found")},
         ErrorClass::not_found,
         Origin::user},
        {"redirect", {301, {{"Location", "https://other/"}}, ""}, ErrorClass::invalid, Origin::user},
        {"other refusal", {405, {}, ""}, ErrorClass::invalid, Origin::user},
        {"server fault", {500, {}, "<html>oops</html>"}, ErrorClass::transient, Origin::theirs},
        {"server fault", {503, {}, ""}, ErrorClass::transient, Origin::theirs},
        {"server fault", {504, {{"Retry-After", "soon"}}, ""}, ErrorClass::transient, Origin::theirs},
        {"not an answer", {204, {}, ""}, ErrorClass::bad_answer, Origin::theirs},
    };
    return all;
}

TEST(HttpErrorTable, EveryRowHasItsCase) {
    std::set<std::string_view> seen;
    for (const auto& c : cases()) {
        EXPECT_EQ(http_error_row(c.answer), c.row) << c.answer.status << " " << c.answer.body;
        const Error e = error_of_status(c.answer, "https://h/v1/embeddings", WallTime{});
        EXPECT_EQ(e.cls, c.cls) << c.row;
        EXPECT_EQ(e.origin, c.origin) << c.row;
        const bool encoding = c.answer.body.find("encoding_format") != std::string::npos;
        EXPECT_EQ(e.code, encoding ? std::string(kEncodingRefused) : std::to_string(c.answer.status));
        seen.insert(c.row);
    }
    EXPECT_EQ(seen.size(), http_error_rows().size()) << "a row of the table has no case here";
}

struct Worded {
    std::string_view row;
    unsigned status;
    std::string body;
};

// As real ones answer. What they have in common is that no document is at fault, and that waiting does not help.
TEST(HttpErrorTable, CredentialsAndBillsAreTheSameWithWhateverStatus) {
    const std::string key = "credential refused";
    const std::string bill = "quota used up";
    const std::vector<Worded> all{
        {key, 400, openai_error("API key expired. Please renew the API key.")},
        {key, 400, R"({"code":"Client specified an invalid argument","error":"Incorrect API key provided: x"})"},
        {key, 400, R"({"__type":"UnrecognizedClientException","message":"The security token included in the request is bad"})"},
        {key, 400, R"({"detail":"(ExpiredTokenException) The security token included in the request is expired"})"},
        {key, 500, R"({"detail":"(ExpiredTokenException) The security token included in the request is expired"})"},
        {key, 500, R"({"detail":"(AccessDeniedException) You don't have access to the model"})"},
        {key, 500, openai_error("litellm.AuthenticationError: AzureException")},
        {key, 498, R"({"message":"invalid api token"})"},
        {key, 400, R"({"errors":[{"code":10000,"message":"Authentication error"}],"success":false})"},
        {key, 200, R"({"error_code":110,"error_msg":"Access token invalid or no longer valid"})"},
        {key, 200, R"({"base_resp":{"status_code":2049,"status_msg":"invalid api key"}})"},
        {key, 400, openai_error("This organization has been disabled.")},
        {bill, 400, openai_error("Billing hard limit has been reached", "billing_hard_limit_reached")},
        {bill, 400, R"({"type":"error","error":{"message":"Your credit balance is too low to access the API."}})"},
        {bill, 400, R"({"code":"Arrearage","message":"Access denied, please make sure your account is in good standing."})"},
        {bill, 403, R"({"code":30001,"message":"Sorry, your account balance is insufficient","data":null})"},
        {bill, 429, R"({"error":{"code":"1113","message":"您的账户已欠费，请充值后重试"}})"},
        {bill, 429, R"({"message":"You are using a Trial key, which is limited to 1000 API calls / month."})"},
        {"throttled", 400, R"({"detail":"An error occurred (ThrottlingException): Too many requests, please wait"})"},
        {"throttled", 429, openai_error("You exceeded your current quota, please check your plan and billing details.")},
        {"throttled", 429, openai_error("Limit 200 requests per day (RPD). Please try again in 7m12s.")},
        {"input refused", 400, openai_error("the text holds what is no key of ours")},
    };
    for (const Worded& w : all) EXPECT_EQ(http_error_row({w.status, {}, w.body}), w.row) << w.body;
}

TEST(HttpErrorTable, TheMessageIsReadWhereverItStands) {
    const auto said = [](unsigned status, const std::string& body) {
        return error_of_status({status, {}, body}, "w", WallTime{});
    };
    const Error nested = said(400, R"({"detail":{"error":"requested input length 598 exceeds maximum input length 512"}})");
    EXPECT_EQ(nested.said, "requested input length 598 exceeds maximum input length 512");
    EXPECT_EQ(nested.cls, ErrorClass::too_large);
    EXPECT_EQ(said(400, openai_error("API 调用参数有误，请检查文档。输入长度超过8192")).cls, ErrorClass::too_large);
    EXPECT_EQ(said(400, R"({"errors":["one","two"]})").said, "one; two");
    EXPECT_EQ(said(400, R"({"error":{"a":{"b":{"c":{"message":"too deep"}}}}})").said, "");
    const auto inside =
        error_inside({200, {}, R"({"error_code":336003,"error_msg":"input texts is too long 16"})"}, "w", WallTime{});
    ASSERT_TRUE(inside);
    EXPECT_EQ(inside->cls, ErrorClass::too_large);
    EXPECT_FALSE(error_inside({200, {}, R"({"data":[],"model":"m"})"}, "w", WallTime{}));
    EXPECT_FALSE(error_inside({200, {}, R"({"data":[{"embedding":[1]}],"message":"ok"})"}, "w", WallTime{}));
}

// Whatever its class, the code says what may be done about it; nobody looks into the message for that.
TEST(HttpErrorTable, WhatIsAboutTheEncodingHasItsCode) {
    const auto code = [](unsigned status, const std::string& body) {
        return error_of_status({status, {}, body}, "w", WallTime{}).code;
    };
    for (const unsigned status : {400U, 422U, 500U, 501U}) {
        EXPECT_EQ(code(status, openai_error("Base64 output is not supported")), kEncodingRefused);
        EXPECT_EQ(code(status, openai_error("unsupported", "", "encoding_format")), kEncodingRefused);
        EXPECT_EQ(code(status, openai_error("nothing of the kind")), std::to_string(status));
    }
    EXPECT_EQ(code(429, openai_error("too many requests for base64")), "429");
}

TEST(HttpErrorTable, EveryTransportFaultHasItsClass) {
    const std::vector<std::pair<HttpFault, ErrorClass>> rows{
        {HttpFault::resolve, ErrorClass::local},           {HttpFault::refused, ErrorClass::local},
        {HttpFault::unreachable, ErrorClass::local},       {HttpFault::certificate, ErrorClass::auth},
        {HttpFault::tls, ErrorClass::transient},           {HttpFault::reset, ErrorClass::transient},
        {HttpFault::timeout, ErrorClass::timeout},         {HttpFault::stopped, ErrorClass::cancelled},
        {HttpFault::malformed, ErrorClass::bad_answer},    {HttpFault::body_limit, ErrorClass::bad_answer},
        {HttpFault::encoding, ErrorClass::bad_answer},     {HttpFault::proxy, ErrorClass::local},
        {HttpFault::client_certificate, ErrorClass::auth}, {HttpFault::forbidden, ErrorClass::auth},
    };
    for (const auto& [fault, cls] : rows) {
        EXPECT_EQ(error_of_fault(fault, "POST http://h/", "detail").cls, cls) << static_cast<int>(fault);
    }
    EXPECT_EQ(rows.size(), static_cast<std::size_t>(HttpFault::forbidden) + 1);
}

TEST(HttpErrorTable, TheMessageSaysWhatWhereAndWhatToDo) {
    const Error e = error_of_status({401, {}, openai_error("Incorrect\\u0007 API key")}, "https://h/v1/embeddings", WallTime{});
    EXPECT_EQ(e.message,
              "https://h/v1/embeddings answered 401 (credential refused), saying \"Incorrect  API key\"; check the "
              "provider's credential and its rights");
    const Error long_one = error_of_status({500, {}, std::string(100'000, 'x')}, "w", WallTime{});
    EXPECT_LT(long_one.message.size(), 450U);
}

// Limits are read from that, and nothing of ours is in it.
TEST(HttpErrorTable, WhatTheOtherSideSaidIsKeptApartFromOurWords) {
    const auto said = [](unsigned status, const std::string& body) {
        return error_of_status({status, {}, body}, "http://h:8080/v1/embeddings", WallTime{}).said;
    };
    EXPECT_EQ(said(413, ""), "");
    EXPECT_EQ(said(400, openai_error(R"(at most 96 \"texts\")")), R"(at most 96 "texts")");
    EXPECT_EQ(said(400, openai_error(std::string(400, 'x') + " at most 96 texts")), std::string(400, 'x') + " at most 96 texts");
    EXPECT_EQ(said(422, R"({"detail":[{"loc":["body","input"],"msg":"List should have at most 32 items"}]})"),
              "input: List should have at most 32 items");
    EXPECT_EQ(said(400, "[" + openai_error("a list of one") + "]"), "a list of one");
    EXPECT_EQ(error_of_fault(HttpFault::timeout, "POST http://h/", "after 60 s").said, "");
}

TEST(RetryAfter, SecondsDatesAndResetHeadersWithinBounds) {
    const WallTime now = std::chrono::system_clock::from_time_t(1'700'000'000);  // Tue, 14 Nov 2023 22:13:20 GMT
    const auto wait = [&](HttpHeaders headers) { return retry_after(headers, now); };
    EXPECT_EQ(wait({{"retry-after", "20"}}), milliseconds(20'000));
    EXPECT_EQ(wait({{"Retry-After", "1.5"}}), milliseconds(1'500));
    EXPECT_EQ(wait({{"Retry-After", "Tue, 14 Nov 2023 22:13:50 GMT"}}), milliseconds(30'000));
    EXPECT_EQ(wait({{"Retry-After", "Tue, 14 Nov 2023 22:00:00 GMT"}}), milliseconds(100));
    EXPECT_EQ(wait({{"Retry-After", "0"}}), milliseconds(100));
    EXPECT_EQ(wait({{"Retry-After", "86400"}}), milliseconds(600'000));
    EXPECT_EQ(wait({{"retry-after-ms", "2500"}}), milliseconds(2'500));
    EXPECT_EQ(wait({{"Retry-After", "2"}, {"x-ratelimit-remaining-tokens", "0"}, {"x-ratelimit-reset-tokens", "1m30s"}}),
              milliseconds(90'000));
    EXPECT_EQ(wait({{"x-ratelimit-remaining-requests", "12"}, {"x-ratelimit-reset-requests", "6m0s"}}), std::nullopt);
    for (const char* garbage : {"", "soon", "-5", "nan", "inf", "1e9999", "5 apples", "Tue, 99 Nov 2023", "0x10"}) {
        EXPECT_EQ(wait({{"Retry-After", garbage}}), std::nullopt) << garbage;
    }
    EXPECT_EQ(wait({}), std::nullopt);
}

TEST(RetryAfter, IsReadFromTheBodyWhereNoHeaderSaysIt) {
    const auto said = [](const std::string& body, int status = 429) {
        const Error e = error_of_status({static_cast<unsigned>(status), {}, body}, "w", WallTime{});
        EXPECT_EQ(e.cls, ErrorClass::throttled) << body;
        return e.retry_after;
    };
    const std::string google =
        R"({"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.",)"
        R"("status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure"},)"
        R"({"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"8s"}]}})";
    EXPECT_EQ(said(google), milliseconds(8'000));
    EXPECT_EQ(said("\xEF\xBB\xBF" + google), milliseconds(8'000));
    EXPECT_EQ(said("[" + google + "]"), milliseconds(8'000)) << "as Google's endpoint of OpenAI's kind answers";
    EXPECT_EQ(said(openai_error("Rate limit reached for m on tokens per min (TPM). Please try again in 20s. Visit …")),
              milliseconds(20'000));
    EXPECT_EQ(said(openai_error("Please try again in 6m0s.")), milliseconds(360'000));
    EXPECT_EQ(said(openai_error("Please try again in 120ms.")), milliseconds(120));
    EXPECT_EQ(said(openai_error("Requests have exceeded the call rate limit. Please retry after 9 seconds.")),
              milliseconds(9'000));
    EXPECT_EQ(said("Too many requests, please wait 1 minute and 30 seconds"), milliseconds(90'000));
    EXPECT_EQ(said("Slow down: retry in 1.5 s"), milliseconds(1'500));
    EXPECT_EQ(said(R"({"message":"limited","retry_after":5})"), milliseconds(5'000));
    EXPECT_EQ(said("overloaded, try again in 2 hours", 503), milliseconds(600'000));
    for (const char* nothing : {"Please try again in a moment", "retry after the next release", "try again later", ""}) {
        EXPECT_EQ(said(nothing), std::nullopt) << nothing;
    }
    // A header says it to programs.
    EXPECT_EQ(error_of_status({429, {{"Retry-After", "7"}}, "try again in 20s"}, "w", WallTime{}).retry_after,
              milliseconds(7'000));
}

TEST(HttpErrorTable, WhatIsQuotedIsCleanAndShort) {
    const std::string dirty =
        "a\x1b[31mb\xff\xfe\xc3(\xe2\x80\xae"
        "c\xf0\x9f\x92\xa9";
    EXPECT_EQ(clean_excerpt(dirty),
              "a [31mb\xEF\xBF\xBD(\x20"
              "c\xf0\x9f\x92\xa9");
    std::string many;
    for (int i = 0; i < 400; ++i) many += "\xc3\xa9";
    EXPECT_EQ(clean_excerpt(many).size(), 2 * 300U + 3);
    EXPECT_EQ(clean_excerpt("cut \xe2\x82"), "cut \xEF\xBF\xBD");
}

TEST(RetryAfter, ReachesTheErrorOfThrottling) {
    EXPECT_EQ(error_of_status({429, {{"Retry-After", "7"}}, ""}, "w", WallTime{}).retry_after, milliseconds(7'000));
    EXPECT_EQ(error_of_status({429, {{"Retry-After", "rubbish"}}, ""}, "w", WallTime{}).retry_after, std::nullopt);
    EXPECT_EQ(error_of_status({401, {{"Retry-After", "7"}}, ""}, "w", WallTime{}).retry_after, std::nullopt);
}

}  // namespace
}  // namespace homeostat
