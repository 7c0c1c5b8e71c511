// The small parts below the HTTP embedder: addresses, base64, secrets, names of models.
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <rapidcheck/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "reconcilers/embed/base64.hpp"
#include "reconcilers/embed/openai_answer.hpp"
#include "reconcilers/embed/redaction.hpp"
#include "reconcilers/embed/request_text.hpp"
#include "reconcilers/embed/secret.hpp"
#include "reconcilers/embed/url.hpp"

namespace homeostat {
namespace {

TEST(Url, TakesWhatProvidersAreDeclaredWith) {
    const auto url = parse_url("https://API.example.com/v1");
    ASSERT_TRUE(url) << url.error().message;
    EXPECT_TRUE(url->tls);
    EXPECT_EQ(url->host, "api.example.com");
    EXPECT_EQ(url->port, 443);
    EXPECT_EQ(url->host_header(), "api.example.com");
    EXPECT_EQ(url->below("embeddings").text(), "https://api.example.com/v1/embeddings");
    EXPECT_EQ(parse_url("http://localhost:8080")->below("embeddings").text(), "http://localhost:8080/embeddings");
    EXPECT_EQ(parse_url("http://[::1]:9/v1/")->origin(), "http://[::1]:9");
    EXPECT_EQ(parse_url("http://h/v1?api-version=2")->below("embeddings").path, "/v1/embeddings?api-version=2");
}

TEST(Url, RefusesWhatItWouldMisread) {
    for (const char* text : {"", "api.example.com/v1", "ftp://h/", "http://", "http://h:0/", "http://h:99999/", "http://h:8x/",
                             "http://::1/", "http://h/a b", "http://h/#x", "http://ho st/", "http://h/\r\nX: y", "http://h:"}) {
        const auto url = parse_url(text);
        ASSERT_FALSE(url) << text;
        EXPECT_EQ(url.error().cls, ErrorClass::invalid);
    }
}

TEST(Url, ShowsOfAQueryTheNamesOnly) {
    EXPECT_EQ(parse_url("https://h/v1?api-key=hush&x=1&hush")->shown(), "https://h/v1?api-key=***&x=***&***");
    EXPECT_EQ(parse_url("https://h/v1")->shown(), "https://h/v1");
    EXPECT_EQ(parse_url("https://h/v1?")->shown(), "https://h/v1?");
    EXPECT_EQ(parse_url("ftp://h/v1?key=hush").error().message.find("hush"), std::string::npos);
}

TEST(Url, NeverRepeatsAPassword) {
    const auto url = parse_url("https://user:hunter2@h/v1");
    ASSERT_FALSE(url);
    EXPECT_EQ(url.error().message.find("hunter2"), std::string::npos);
}

RC_GTEST_PROP(Base64, AgreesWithOpenSsl, (const std::vector<std::uint8_t>& bytes)) {
    std::string expected(bytes.size() * 2 + 8, '\0');
    expected.resize(static_cast<std::size_t>(
        EVP_EncodeBlock(reinterpret_cast<unsigned char*>(expected.data()), bytes.data(), static_cast<int>(bytes.size()))));
    std::string encoded;
    base64_append(encoded, std::as_bytes(std::span(bytes)));
    RC_ASSERT(encoded == expected);
    std::vector<std::uint8_t> decoded(base64_decoded_size(encoded));
    RC_ASSERT(base64_decode(encoded, reinterpret_cast<std::byte*>(decoded.data())));
    RC_ASSERT(decoded == bytes);
}

RC_GTEST_PROP(Base64, NeverWritesBeyondTheSizeItNames, (const std::string& text)) {
    // Under AddressSanitizer a byte too many ends the test.
    const auto out = std::make_unique<std::byte[]>(base64_decoded_size(text));
    (void)base64_decode(text, out.get());
}

TEST(Base64, RefusesBadCharactersAndWidths) {
    std::byte out[16];
    EXPECT_FALSE(base64_decode("AA*A", out));
    EXPECT_FALSE(base64_decode("A", out));
    EXPECT_FALSE(base64_decode("AAA\xff", out));
    EXPECT_FALSE(base64_decode("AA=A", out));
    float one[1];
    EXPECT_TRUE(base64_decode_floats("AACAPw==", one));
    EXPECT_EQ(one[0], 1.0F);
    EXPECT_FALSE(base64_decode_floats("AACAPwAAgD8=", one));
}

RC_GTEST_PROP(RequestText, IsReadBackAsItWas, (const std::vector<std::string>& noise)) {
    // Any bytes: what is no UTF-8 is replaced, as the JSON library does it, and nothing escapes its quotes.
    std::string out = "{\"input\":";
    append_json_texts(out, "q: \"\x01\\", noise);
    const auto read = nlohmann::json::parse(out + "}").at("input");
    RC_ASSERT(read.size() == noise.size());
    for (std::size_t i = 0; i < noise.size(); ++i) {
        const nlohmann::json text = "q: \"\x01\\" + noise[i];
        const auto wanted = nlohmann::json::parse(text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
        RC_ASSERT(read[i] == wanted);
    }
}

TEST(RequestText, EscapesEveryControlCharacter) {
    std::string all;
    for (int c = 0; c < 0x80; ++c) all += static_cast<char>(c);
    std::string out;
    append_json_string(out, all + "é漢😀");
    EXPECT_EQ(nlohmann::json::parse(out), all + "é漢😀");
}

TEST(Secret, IsReadAtUseSoThatRotationWorks) {
    const auto path = std::filesystem::temp_directory_path() / ("homeostat-secret-" + std::to_string(::getpid()));
    const std::string reference = "file:" + path.string();
    std::ofstream(path) << "first\n";
    EXPECT_EQ(*read_secret(reference), "first");
    std::ofstream(path) << "second\r\n";
    EXPECT_EQ(*read_secret(reference), "second");
    std::ofstream(path) << "two\nlines\n";
    EXPECT_EQ(read_secret(reference).error().cls, ErrorClass::auth);
    std::ofstream(path) << "\n";
    EXPECT_FALSE(read_secret(reference));
    std::filesystem::remove(path);
    EXPECT_EQ(read_secret(reference).error().cls, ErrorClass::auth);
    ::setenv("HOMEOSTAT_TEST_SECRET", "from the environment", 1);
    EXPECT_EQ(*read_secret("env:HOMEOSTAT_TEST_SECRET"), "from the environment");
    ::unsetenv("HOMEOSTAT_TEST_SECRET");
    EXPECT_FALSE(read_secret("env:HOMEOSTAT_TEST_SECRET"));
}

TEST(Secret, APlainSecretIsRefusedAndNotRepeated) {
    EXPECT_FALSE(is_secret_reference("sk-abcdef"));
    EXPECT_FALSE(is_secret_reference("env:"));
    const auto secret = read_secret("sk-abcdef");
    ASSERT_FALSE(secret);
    EXPECT_EQ(secret.error().message.find("sk-abcdef"), std::string::npos);
    EXPECT_EQ(redact("key sk-1 is not sk-1!", "sk-1"), "key *** is not ***!");
}

constexpr std::string_view kSecret = R"(s3cr3t/Tok+en=="q\x-%41zzz)";

TEST(Redaction, BlotsASecretOutInWhateverFormItIsQuoted) {
    const std::vector<std::string> forms{
        std::string(kSecret),
        R"(s3cr3t/Tok+en==\"q\\x-%41zzz)",  // JSON
        R"(s3cr3t\/Tok+en==\"q\\x-%41zzz)",  // PHP
        R"(s3cr3t/Tok+en==\\\"q\\\\x-%41zzz)",  // JSON in JSON
        R"(S3CR3T/TOK+EN=="Q\X-%41ZZZ)",
        R"(s3cr3t/tok+en=="q\x-%41zzz)",
        "s3cr3t%2FTok%2Ben%3D%3D%22q%5Cx-%2541zzz",
        "s3cr3t%2ftok%2ben%3d%3d%22q%5cx-%2541zzz",
        "s3cr3t%252FTok%252Ben%253D%253D%2522q%255Cx-%252541zzz",
        "s3cr3t/Tok+en==&quot;q\\x-%41zzz",
        "s3cr3t&#x2F;Tok&#43;en&#61;&#61;&#34;q&#92;x-&#37;41zzz",
        R"(\u0073\u0033\u0063\u0072\u0033\u0074\u002f\u0054\u006f\u006b\u002b\u0065\u006e\u003d\u003d\u0022\u0071\u005c\u0078\u002d\u0025\u0034\u0031\u007a\u007a\u007a)",
        R"(\x73\x33\x63\x72\x33\x74\x2f\x54\x6f\x6b\x2b\x65\x6e\x3d\x3d\x22\x71\x5c\x78\x2d\x25\x34\x31\x7a\x7a\x7a)",
        "s3cr3t/Tok\n+en==\"q\\x-%41zzz",
        "s 3 c r 3 t / T o k + e n = = \" q \\ x - % 4 1 z z z",
        "czNjcjN0L1Rvaytlbj09InFceC0lNDF6eno",
        "QmVhcmVyIHMzY3IzdC9Ub2srZW49PSJxXHgtJTQxenp6",  // behind "Bearer "
        "dXNlcjpzM2NyM3QvVG9rK2VuPT0icVx4LSU0MXp6eg",    // behind "user:"
        "7333637233742f546f6b2b656e3d3d22715c782d2534317a7a7a",
        "7333637233742F546F6B2B656E3D3D22715C782D2534317A7A7A",
        "s3cr3t/Tok+en==\"q\\x-%41...",
        "...Tok+en==\"q\\x-%41zzz",
        "s3cr3t/T****",
    };
    for (const std::string& form : forms) {
        const std::string said = redact("bad header <" + form + "> here", kSecret);
        const std::string left = said.substr(0, said.find("here"));
        EXPECT_NE(left.find("***"), std::string::npos) << said;
        EXPECT_LE(left.size(), std::string("bad header <> ").size() + 3 + 14) << said;  // what is not the secret's own
        for (const std::string_view part : {"s3cr3t", "S3CR3T", "Tok", "TOK", "czNj", "7333", "u0073", "x73"})
            EXPECT_EQ(said.find(part), std::string::npos) << form << ": " << said;
    }
}

TEST(Redaction, LeavesWhatIsNotTheSecret) {
    for (const std::string said : {"s3cr3t/ is a path", "100%41 of it, \\u0041 & more; &amp; \\ %zz %4", "", "\xff\xfe%"})
        EXPECT_EQ(redact(said, kSecret), said);
    EXPECT_EQ(redact("a token", ""), "a token");
    EXPECT_EQ(redact("a b", "\\ \\ "), "a b") << "nothing but what is left out";
    EXPECT_EQ(redact("it was Ab%3D, not ab", "ab="), "it was ***, not ab");
    EXPECT_EQ(redact("sch\\u00e4fchen-42!", "sch\u00e4fchen-42"), "***!");
    EXPECT_EQ(redact_all("abc and abcd", {"abc", "abcd"}), "abc and ***");
}

// Whatever the secret: eight of its letters in a row never come through, nor is anything else said when they do not stand there.
RC_GTEST_PROP(Redaction, NoPartOfEightLettersComesThrough, (const std::string& before, const std::string& behind)) {
    const auto secret = *rc::gen::container<std::string>(40, rc::gen::inRange<char>('!', '~'));
    const auto from = *rc::gen::inRange<std::size_t>(0, 32);
    const auto length = *rc::gen::inRange<std::size_t>(8, 41 - from);
    const std::string said = redact(before + secret.substr(from, length) + behind, secret);
    for (std::size_t at = 0; at + 8 <= secret.size(); ++at) RC_ASSERT(said.find(secret.substr(at, 8)) == std::string::npos);
}

TEST(ModelFamily, AllowsDatesVersionsAndTagsOnly) {
    EXPECT_TRUE(same_model_name("bge-small-en", "BAAI/BGE-small-en"));
    for (const char* other :
         {"bge-small-en-v1.5", "bge-small-en-2", "bge-small-en.1", "bge-small-en@001", "bge-small", "bge-small-en-large"})
        EXPECT_FALSE(same_model_name("bge-small-en", other)) << other;
    for (const char* same : {"bge-small-en-2024-05-13", "bge-small-en-20240513", "bge-small-en:latest"})
        EXPECT_TRUE(same_model_name("bge-small-en", same) && same_model_name(same, "bge-small-en")) << same;
    EXPECT_TRUE(same_model_family("text-embedding-3-small", "text-embedding-3-small"));
    EXPECT_TRUE(same_model_family("text-embedding-3-small", "text-embedding-3-small-2024"));
    EXPECT_TRUE(same_model_family("text-embedding-3-small", "Text-Embedding-3-Small-2024-01-25"));
    EXPECT_TRUE(same_model_family("text-embedding-ada-002", "text-embedding-ada-002-v2"));
    EXPECT_TRUE(same_model_family("bge-m3", "bge-m3:latest"));
    EXPECT_TRUE(same_model_family("BAAI/bge-small-en-v1.5", "bge-small-en-v1.5"));
    EXPECT_TRUE(same_model_family("nomic-embed:latest", "nomic-embed"));
    EXPECT_TRUE(same_model_family("anything", ""));
    EXPECT_FALSE(same_model_family("text-embedding-3-small", "text-embedding-3-large"));
    EXPECT_FALSE(same_model_family("text-embedding-3", "text-embedding-3-small"));
    EXPECT_FALSE(same_model_family("bge-small", "bge-small2"));
    EXPECT_FALSE(same_model_family("a", "b"));
}

TEST(Answer, KeepsOrderWhereverTheIndexStands) {
    const auto answer = parse_openai_answer(
        R"({"usage":{"total_tokens":7},"data":[{"embedding":[3,4],"index":1},{"index":0,"embedding":"AACAPwAAAEA="}],"model":"m"})",
        2, 2);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->values, (std::vector<float>{1, 2, 3, 4}));
    EXPECT_EQ(answer->tokens, 7U);
    EXPECT_EQ(answer->model, "m");
}

TEST(Answer, RefusesEveryBrokenContract) {
    const auto message = [](std::string body) {
        const auto answer = parse_openai_answer(std::move(body), 2, 2);
        EXPECT_FALSE(answer);
        if (answer) return std::string();
        EXPECT_EQ(answer.error().cls, ErrorClass::bad_answer);
        return answer.error().message;
    };
    EXPECT_NE(message("").find("not JSON"), std::string::npos);
    EXPECT_NE(message("[]").find("not JSON"), std::string::npos);
    EXPECT_NE(message("{}").find("no \"data\""), std::string::npos);
    EXPECT_NE(message(R"({"data":5})").find("no list"), std::string::npos);
    EXPECT_NE(message(R"({"data":[{"index":0}]})").find("no \"embedding\""), std::string::npos);
    EXPECT_NE(message(R"({"data":[{"embedding":[1,2]}]})").find("1 vectors, 2 texts"), std::string::npos);
    EXPECT_NE(message(R"({"data":[{"embedding":[1,2]},{"embedding":[1,2]},{"embedding":[1,2]}]})").find("more vectors"),
              std::string::npos);
    EXPECT_NE(message(R"({"data":[{"embedding":[1,2,3]},{"embedding":[1,2]}]})").find("has 3 numbers, 2"), std::string::npos);
    EXPECT_NE(message(R"({"data":[{"embedding":[1,null]},{"embedding":[1,2]}]})").find("no number"), std::string::npos);
    EXPECT_NE(message(R"({"data":[{"embedding":"AACAPw=="},{"embedding":[1,2]}]})").find("has 1 numbers"), std::string::npos);
    EXPECT_NE(message(R"({"data":[{"embedding":"AA*APwAAAEA="},{"embedding":[1,2]}]})").find("not valid base64"),
              std::string::npos);
    EXPECT_NE(message(R"({"data":[{"embedding":[1,2],"index":1},{"embedding":[1,2],"index":1}]})").find("index 1 twice"),
              std::string::npos);
    EXPECT_NE(message(R"({"data":[{"embedding":[1,2],"index":2},{"embedding":[1,2],"index":1}]})").find("index 2"),
              std::string::npos);
    message(R"({"data":[{"embedding":[1,2]},{"embedding":[1,2]})");
    message(R"({"data":[{"embedding":[1,NaN]},{"embedding":[1,2]}]})");
}

RC_GTEST_PROP(Answer, NeverFailsOtherwiseThanByAnError, (const std::string& noise)) {
    const std::string whole =
        R"({"data":[{"index":0,"embedding":[0.5,1e3]},{"index":1,"embedding":"AACAPwAAAEA="}],"model":"m"})";
    RC_ASSERT(parse_openai_answer(whole, 2, 2).ok());
    const auto cut = *rc::gen::inRange<std::size_t>(0, whole.size());
    RC_ASSERT(!parse_openai_answer(whole.substr(0, cut), 2, 2).ok());
    (void)parse_openai_answer(whole.substr(0, cut) + noise, 2, 2);
}

}  // namespace
}  // namespace homeostat
