// What endpoints say of their limits.
#include "reconcilers/embed/limit_words.hpp"

#include <gtest/gtest.h>

namespace homeostat {
namespace {

struct Said {
    std::string_view words;
    LimitOf of;
};

TEST(LimitWords, TellWhatIsLimited) {
    for (const auto& [words, of] : std::initializer_list<Said>{
             {"batch size is invalid, it should not be larger than 10.", LimitOf::items},
             {"batch size 64 > maximum allowed batch size 32", LimitOf::items},
             {"Too many inputs. The max number of inputs is 16.", LimitOf::items},
             {"invalid request: total number of texts must be at most 96 - received 97", LimitOf::items},
             {"Invalid 'input': array too long. Expected an array with maximum length 2048", LimitOf::items},
             {"input: List should have at most 32 items after validation, not 100", LimitOf::items},
             {"Requested 350000 tokens, max 300000 tokens per request", LimitOf::tokens},
             {"The max allowed tokens per submitted batch is 320000. Your batch has 500000 tokens", LimitOf::tokens},
             {"Too many tokens in batch. Max is 16384 got 20000", LimitOf::tokens},
             {"Request payload size exceeds the limit: 20971520 bytes.", LimitOf::bytes},
             {"request entity too large", LimitOf::bytes},
             {"This model's maximum context length is 8192 tokens, however you requested 10000 tokens", LimitOf::text},
             {"Invalid 'input[3]': maximum context length is 8192 tokens.", LimitOf::text},
             {"`inputs` must have less than 512 tokens. Given: 1000", LimitOf::text},
             {"input (600 tokens) is too large to process. increase the physical batch size", LimitOf::text},
             {"input is too large to process. increase the physical batch size", LimitOf::text},
             {"the input length exceeds the context length", LimitOf::text},
             {"input list length 100 exceeds max_batch_size 32", LimitOf::items},
             {"maximum of 2048 inputs per request", LimitOf::items},
             {"`input` array must have <= 2048 elements", LimitOf::items},
             {"The batch size limit is 128. Your batch size is 256.", LimitOf::items},
             {"BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch", LimitOf::items},
             {"Input list cannot have more than 2048 items", LimitOf::items},
             {"litellm.BadRequestError: OpenAIException - Invalid 'input': array too long. Expected an array with maximum length"
              " 2048, but got an array with length 3000 instead.",
              LimitOf::items},
             {"Malformed input request: #/texts: expected maximum item count: 96, found: 100, please reformat your input",
              LimitOf::items},
             {"Too many inputs in request, split into more batches.", LimitOf::items},
             {"Input embeddings size is too large, exceeding 150 limit for databricks-gte-large-en", LimitOf::items},
             {"Too many tokens overall, split into more batches.", LimitOf::tokens},
             {"Request too large for m on tokens per min (TPM): Limit 40000, Requested 50000. The input or output tokens must be"
              " reduced in order to run successfully.",
              LimitOf::tokens},
             {"Input text exceeds maximum length of 8194 tokens", LimitOf::text},
             {"Too many input tokens. Max input tokens: 8192, request input token count: 9000", LimitOf::text},
             {"Malformed input request: expected maxLength: 2048, actual: 3000, please reformat your input", LimitOf::text},
             {"Range of input length should be [1, 8192]", LimitOf::text},
             {"Input length 600 exceeds maximum allowed token size 512", LimitOf::text},
             {"This model's maximum context length is 512 tokens. However, your request has 700 input tokens. Please reduce the"
              " length of the input messages.",
              LimitOf::text},
             {"input数组最大不得超过64条", LimitOf::items},
             {"{\"code\":20042,\"message\":\"input batch size 136 > maximum allowed batch size 64\",\"data\":null}",
              LimitOf::items},
             {"250 instance(s) is allowed per prediction. Actual: 251", LimitOf::items},
             {"<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, it should not be larger than 10.:"
              " input.contents",
              LimitOf::items},
             {"[RID: 0] Validation error: 'body -> jina-embeddings-v4' Each input list can contain at most 512 items.. Field "
              "errors: :"
              " Invalid value",
              LimitOf::items},
             {"input length is larger than the largest allowed size 2048", LimitOf::items},
             {"embeddings max batch size is 16, and can not be 0", LimitOf::items},
             {"too many inputs: max 64 allowed per request", LimitOf::items},
             {"input: ensure this value has at most 1024 items", LimitOf::items},
             {"Request body too large for text-embedding-3-small model. Max size: 64000 tokens.", LimitOf::tokens},
             {"Unable to submit request because the input token count is 25000 but the model supports up to 20000. Reduce the "
              "input"
              " token count and try again.",
              LimitOf::tokens},
             {"Failed to buffer the request body: length limit exceeded", LimitOf::bytes},
             {"Payload reached size limit.", LimitOf::bytes},
             {"Request must be smaller than 6291456 bytes for the InvokeFunction operation", LimitOf::bytes},
             {"1 validation error detected: Value at 'body' failed to satisfy constraint: Member must have length less than or "
              "equal"
              " to 6291456",
              LimitOf::bytes},
             {"Received message larger than max (5000000 vs. 4194304)", LimitOf::bytes},
             {"input prompt is too big compared to KV size, please increase KV size", LimitOf::text},
             {"Input id 57 has 8343 tokens, exceeding max 8192 tokens.", LimitOf::text},
             {"Malformed input request: #/texts/57: expected maxLength: 2048, actual: 3000", LimitOf::text},
             {"input.57: String should have at most 8192 characters", LimitOf::text},
             {"text 5 is longer than 512 tokens", LimitOf::text},
             {"Document #12 exceeds the limit of 4096 tokens", LimitOf::text},
             {"Item at position 4: token count is over the maximum", LimitOf::text},
             {"The max number of inputs 16 is exceeded", LimitOf::items},
             {"Too many tokens: 40000 in 96 texts, max 32000", LimitOf::tokens},
             {"prompt too long; exceeded max context length by 90 tokens", LimitOf::text},
             {"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
              LimitOf::nothing},
             {"'$.input' is invalid", LimitOf::nothing},
             {"input[3] must not be empty", LimitOf::nothing},
             {"Extra inputs are not permitted", LimitOf::nothing},
             {"", LimitOf::nothing},
         }) {
        EXPECT_EQ(limit_in_words(words), of) << words;
    }
}

TEST(LimitWords, WhatCountsFarLessThanTheRequestHasSpeaksOfOneText) {
    constexpr std::string_view kGemini = "The input token count (2199) exceeds the maximum number of tokens allowed (2048).";
    EXPECT_EQ(limit_in_words(kGemini, 35'000), LimitOf::text);
    EXPECT_EQ(limit_in_words(kGemini, 2'000), LimitOf::tokens);
    EXPECT_EQ(limit_in_words("the input token count is 25000 but the model supports up to 20000", 24'000), LimitOf::tokens);
    EXPECT_EQ(limit_in_words("Too many tokens in batch. Max is 300 got 400", 35'000), LimitOf::tokens);
    EXPECT_EQ(limit_in_words("error 400: too many tokens, limit 8192", 35'000), LimitOf::tokens);
    EXPECT_EQ(limit_in_words("batch size 64 > maximum allowed batch size 32", 35'000), LimitOf::items);
}

TEST(LimitWords, NameTheNumberAndNotAnother) {
    EXPECT_EQ(limit_named("batch size 64 > maximum allowed batch size 32", 64, true), 32U);
    EXPECT_EQ(limit_named("error 3: at most 1 input is supported", 100, true), 1U);
    EXPECT_EQ(limit_named("input list length 100 exceeds max_batch_size 32", 100, true), 32U);
    EXPECT_EQ(limit_named("`input` array must have <= 2048 elements", 3000, true), 2048U);
    EXPECT_EQ(limit_named("expected maximum item count: 96, found: 100", 100, true), 96U);
    EXPECT_EQ(limit_named("size is too large, exceeding 150 limit for databricks-gte-large-en", 200, true), 150U);
    EXPECT_EQ(limit_named("tokens per min (TPM): Limit 40000, Requested 50000", 50'000, false), 40'000U);
    EXPECT_EQ(limit_named("too many inputs", 100, true), std::nullopt);
    EXPECT_EQ(limit_named("max 300,000 tokens per request, requested 350000", 400'000, false), 300'000U);
    EXPECT_EQ(count_named("max 300000 tokens per request, requested 350000", 300'000, 400'000), 350'000U);
    EXPECT_EQ(bytes_named("body exceeds 2 MB", 5'000'000), 2U << 20U);
    EXPECT_EQ(bytes_named("limit: 1048576 bytes", 3'000'000), 1'048'576U);
    EXPECT_EQ(bytes_named("status 413", 3'000'000), std::nullopt);
    EXPECT_EQ(bytes_named("Request body of 42000 bytes exceeds the limit of 20000 bytes", 45'000), 20'000U);
    EXPECT_EQ(limit_named("Each input list can contain at most 512 items..", 600, true), 512U);
    EXPECT_EQ(limit_named("input length is larger than the largest allowed size 2048", 4'000, true), 2048U);
    EXPECT_EQ(limit_named("embeddings max batch size is 16, and can not be 0", 100, true), 16U);
    EXPECT_EQ(limit_named("too large for text-embedding-3-small model. Max size: 64000 tokens.", 70'000, false), 64'000U);
    EXPECT_EQ(limit_named("the input token count is 25000 but the model supports up to 20000.", 24'000, false), 20'000U);
    EXPECT_EQ(count_named("the input token count is 25000 but the model supports up to 20000.", 20'000, 24'000), 25'000U);
    EXPECT_EQ(bytes_named("Request must be smaller than 6291456 bytes for the operation", 7'000'000), 6'291'456U);
    EXPECT_EQ(bytes_named("Value at 'body' failed: Member must have length less than or equal to 6291456", 7'000'000),
              6'291'456U);
    EXPECT_EQ(bytes_named("Received message larger than max (5000000 vs. 4194304)", 5'200'000), 4'194'304U);
    EXPECT_EQ(bytes_named("Failed to buffer the request body: length limit exceeded", 3'000'000), std::nullopt);
    EXPECT_EQ(limit_named("input数组最大不得超过64条", 100, true), 64U);
    EXPECT_EQ(limit_named("<400> Value error, batch size is invalid, it should not be larger than 10.", 1'000, true), 10U);
    EXPECT_EQ(limit_named("250 instance(s) is allowed per prediction. Actual: 256", 256, true), 250U);
}

}  // namespace
}  // namespace homeostat
