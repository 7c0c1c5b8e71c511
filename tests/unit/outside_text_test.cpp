// The function that everything passes that somebody else wrote, and what providers answer, with texts that nobody wrote. Seeded;
// HOMEOSTAT_FUZZ_SECONDS=300 goes on for that long (CONTRIBUTING.md).
#include "core/outside_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <vector>

#include "core/clock.hpp"
#include "reconcilers/embed/exec_protocol.hpp"
#include "reconcilers/embed/http_error.hpp"
#include "reconcilers/embed/openai_answer.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// How many letters; -1 where one of them is none, or must not be seen.
std::ptrdiff_t letters_of(std::string_view text) {
    std::ptrdiff_t n = 0;
    while (!text.empty()) {
        char32_t letter = 0;
        const std::size_t length = letter_at(text, letter);
        if (length == 0 || is_hidden(letter)) return -1;
        text.remove_prefix(length);
        ++n;
    }
    return n;
}

TEST(OutsideText, BecomesOneVisibleLine) {
    EXPECT_EQ(outside_text("a\r\n\x1b[31mred\x1b[0m\tb"), "a   [31mred [0m b");
    EXPECT_EQ(outside_text("right\xE2\x80\xAEtfel"), "right tfel");
    EXPECT_EQ(outside_text("\xC2\x9B"
                           "31m"),
              " 31m");
    EXPECT_EQ(outside_text(std::string("nul\0byte", 8)), "nul byte");
    EXPECT_EQ(outside_text("bad \xFF\xFE\xC0\xAF end"), "bad \xEF\xBF\xBD end");
    EXPECT_EQ(outside_text("Gr\xC3\xBC\xC3\x9F"
                           "e \xE6\xBC\xA2 \xF0\x9F\x98\x80"),
              "Gr\xC3\xBC\xC3\x9F"
              "e \xE6\xBC\xA2 \xF0\x9F\x98\x80");
    EXPECT_EQ(outside_text("cut \xE2\x82"), "cut \xEF\xBF\xBD");
    EXPECT_EQ(outside_text(std::string(5'000, 'x')).size(), kMostOutside + 3);
    EXPECT_EQ(outside_text(std::string(20U << 20U, 'x'), 100).size(), 103U);
    EXPECT_EQ(outside_text("\xF3\xA0\x81\x81tag"), " tag");
    EXPECT_EQ(outside_text(""), "");
}

TEST(OutsideText, BlotsOutWhatLooksLikeASecret) {
    for (const char* text : {"Incorrect API key provided: sk-abcdefgh12345678.",
                             "key sk-proj-HUSHHUSHHUSH is wrong",
                             "Authorization: Bearer HUSHHUSHHUSH",
                             "authorization=Basic HUSHHUSHHUSH",
                             "\"authorization\": \"Bearer HUSHHUSHHUSH\"",
                             "sent Bearer HUSHHUSHHUSH",
                             "password=HUSHHUSH",
                             "host=db password = 'HUSH HUSH' user=ann",
                             "{\"password\": \"HUSHHUSH\"}",
                             "postgres://ann:HUSHHUSH@db/app",
                             "postgres://ann:HUSH@HUSH@db/app",
                             "https://h/v1?api-key=HUSHHUSH&x=1",
                             "https://h/v1?x=1&key=HUSHHUSH",
                             "https://h/?sig=HUSH%2B",
                             "AKIAHUSHHUSHHUSHHUSH",
                             "ghp_HUSHHUSHHUSHHUSH",
                             "hf_HUSHHUSHHUSHHUSH",
                             "AIzaHUSHHUSHHUSHHUSH",
                             "eyJhbGciOiJI.HUSHHUSHHUSH.HUSHHUSH",
                             "client_secret=HUSHHUSH",
                             "API_KEY: HUSHHUSH",
                             "x-api-key=HUSHHUSH; api_key=HUSHHUSH"}) {
        const std::string out = outside_text(text);
        EXPECT_THAT(out, HasSubstr("***")) << text;
        EXPECT_THAT(out, Not(HasSubstr("12345678"))) << text;
        EXPECT_THAT(out, Not(HasSubstr("HUSH"))) << text;
    }
    for (const char* text :
         {"max_tokens=5 is too many", "the key column \"id\" of table docs", "model \"text-embedding-3-small\" is not known",
          "http://127.0.0.1:8080/v1/embeddings answered 500", "relation public.secret: permission denied",
          "token: unexpected '}' in JSON", "pipeline \"password\": column \"secret\" is not there", "column secret: no such",
          "a task-force of sk- and AKIA", "key=value", "see https://h/a:b/c"})
        EXPECT_EQ(outside_text(text), text);
}

// Pieces that texts of that kind are made of, in any order, cut and turned.
class Fuzzer {
public:
    explicit Fuzzer(std::uint64_t seed) : random_(seed) {}

    std::string text(const std::vector<std::string>& pieces) {
        std::string out;
        for (std::size_t n = below(12) + 1; n > 0; --n) out += pieces[below(pieces.size())];
        for (std::size_t n = below(4); n > 0 && !out.empty(); --n) out[below(out.size())] = static_cast<char>(below(256));
        if (below(4) == 0) out.resize(below(out.size() + 1));
        if (below(16) == 0) out.insert(below(out.size() + 1), std::string(below(5'000), static_cast<char>(below(256))));
        return out;
    }
    std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }

private:
    std::mt19937_64 random_;
};

// A few thousand, or as long as is asked for.
template <class F>
void fuzz(F one) {
    const char* seconds = std::getenv("HOMEOSTAT_FUZZ_SECONDS");  // NOLINT(concurrency-mt-unsafe): one thread
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds == nullptr ? 0 : std::atoi(seconds));
    for (std::uint64_t seed = 0; seed < 3'000 || std::chrono::steady_clock::now() < end; ++seed) {
        Fuzzer fuzzer(seed);
        one(fuzzer);
        if (::testing::Test::HasFailure()) FAIL() << "seed " << seed;
    }
}

const std::vector<std::string> kPieces{"\x1b[2J",
                                       "\xC2\x9B",
                                       "\xE2\x80\xAE",
                                       "\xE2\x80",
                                       "\xF0\x9F\x98\x80",
                                       "\xED\xA0\x80",
                                       "\xFF",
                                       "\n",
                                       "\r",
                                       std::string(1, '\0'),
                                       "password=",
                                       "Bearer ",
                                       "sk-abcdefghijk",
                                       "://a:b@",
                                       "://",
                                       "?key=",
                                       "&",
                                       "\"",
                                       "'",
                                       " ",
                                       "=",
                                       ": ",
                                       "authorization",
                                       "eyJ",
                                       "word",
                                       "/",
                                       "@",
                                       "\xF3\xA0\x81\x81",
                                       "\xEF\xBB\xBF",
                                       "漢字"};

TEST(FuzzOutsideText, NoBadByteComesOut) {
    fuzz([](Fuzzer& fuzzer) {
        const std::string text = fuzzer.text(kPieces);
        const std::size_t most = fuzzer.below(3) == 0 ? fuzzer.below(50) : kMostOutside;
        const std::string out = outside_text(text, most);
        const std::ptrdiff_t letters = letters_of(out);
        EXPECT_GE(letters, 0) << testing::PrintToString(text);
        EXPECT_LE(letters, static_cast<std::ptrdiff_t>(most) + 3);
        EXPECT_THAT(outside_text(text + " sk-abcdefghijklmn", most), Not(HasSubstr("sk-abcdefghijklmn")))
            << testing::PrintToString(text);
    });
}

const std::vector<std::string> kAnswers{"{",
                                        "}",
                                        "[",
                                        "]",
                                        ",",
                                        ":",
                                        "\"data\"",
                                        "\"embedding\"",
                                        "\"index\"",
                                        "0",
                                        "1",
                                        "-1",
                                        "1e999",
                                        "1.5",
                                        "NaN",
                                        "null",
                                        "true",
                                        "\"AACAPwAAgD8=\"",
                                        "\"object\":\"list\"",
                                        "\"model\":\"m\"",
                                        "\"usage\":{\"total_tokens\":3}",
                                        "{\"data\":[{\"embedding\":[1,0],\"index\":0}],\"model\":\"m\"}",
                                        "{\"embedding\":[0.5,0.5],\"index\":0}",
                                        "\"error\"",
                                        "\"message\"",
                                        "\"\\ud800\"",
                                        "\"\xFF\"",
                                        "\x1b",
                                        "\xEF\xBB\xBF",
                                        "\"id\":1",
                                        "\"vectors\":[[1,0]]",
                                        "\"class\":\"content\"",
                                        " ",
                                        "\n",
                                        std::string(1, '\0')};

TEST(FuzzAnswers, AnswersOfAnyShapeAreReadOrRefused) {
    fuzz([](Fuzzer& fuzzer) {
        const std::string body = fuzzer.text(kAnswers);
        const auto answer = parse_openai_answer(body, 1, 2);
        if (answer) {
            EXPECT_EQ(answer->values.size(), 2U);
        } else {
            EXPECT_GE(letters_of(answer.error().message), 0) << testing::PrintToString(answer.error().message);
        }
        for (const unsigned status : {200U, 400U, 429U, 503U}) {
            const HttpAnswer http{.status = status, .headers = {{"Retry-After", body.substr(0, 20)}}, .body = body};
            EXPECT_GE(letters_of(error_of_status(http, "here", WallTime{}).message), 0) << testing::PrintToString(body);
            const auto inside = error_inside(http, "here", WallTime{});
            EXPECT_TRUE(!inside || letters_of(inside->message) >= 0);
        }
        const auto program = parse_exec_answer(body, 1, "m", 1, 2);
        if (!program) {
            EXPECT_GE(letters_of(outside_text(program.error().message)), 0);
        }
    });
}

}  // namespace
}  // namespace homeostat
