// Answers as odd as they come, over a real connection: each is either understood as it was meant or not used at all, and the next
// request goes its way. No text ever has a vector that is not its own.
#include <fmt/format.h>

#include "tests/unit/gateway_case.hpp"

namespace homeostat {
namespace {

using kit::FakeAnswer;
using kit::FakeEndpoint;
using kit::Flaw;
using namespace std::chrono_literals;

enum class Use : std::uint8_t { taken, not_taken };

struct Odd {
    std::string name;
    Use use = Use::not_taken;
    FakeAnswer answer;
    bool lasts = true;  // it may be what is always answered: it asks for no pause
};
std::ostream& operator<<(std::ostream& out, const Odd& o) { return out << o.name; }

FakeAnswer sent(std::string head, std::string body = "{vectors}", bool hangs_up = false) {
    return {.wire = std::move(head) + "\r\n\r\n" + std::move(body), .hangs_up = hangs_up};
}

const std::string kJson = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

FakeAnswer saying(int status, std::string body, std::vector<std::pair<std::string, std::string>> headers = {}) {
    return {.status = status, .headers = std::move(headers), .body = std::move(body)};
}

// Three vectors of sixteen numbers, the last with `item` in its place.
std::string three(const std::string& item) {
    std::string numbers = "0.25";
    for (int i = 1; i < 16; ++i) numbers += ",0.25";
    const auto one = [&](int i) { return R"({"index":)" + std::to_string(i) + R"(,"embedding":[)" + numbers + "]}"; };
    return R"({"model":"m","data":[)" + one(0) + "," + one(1) + "," + item + "]}";
}

std::string last_with(const std::string& number, const std::string& index = "2") {
    std::string numbers = number;
    for (int i = 1; i < 16; ++i) numbers += ",0.25";
    return three(R"({"index":)" + index + R"(,"embedding":[)" + numbers + "]}");
}

std::vector<Odd> framings() {
    return {
        {"http_1_0", Use::taken, sent("HTTP/1.0 200 OK\r\nContent-Type: application/json", "{vectors}", true)},
        {"no_length", Use::taken, sent("HTTP/1.1 200 OK\r\nConnection: close", "{vectors}", true)},
        {"blanks_around_it", Use::taken, sent("HTTP/1.1 200 OK\r\nConnection: close", "\n {vectors}\r\n\n", true)},
        {"no_reason", Use::taken, sent("HTTP/1.1 200 \r\nContent-Length: {size}")},
        {"continue_first", Use::taken, sent("HTTP/1.1 100 Continue\r\n\r\n" + kJson + "Content-Length: {size}")},
        {"trailers", Use::taken,
         sent(kJson + "Trailer: X-Sum\r\nTransfer-Encoding: chunked", "1\r\n \r\n{hex}\r\n{vectors}\r\n0\r\nX-Sum: 1\r\n\r\n")},
        {"chunk_extension", Use::taken,
         sent(kJson + "Transfer-Encoding: chunked", "1;a=b\r\n \r\n{hex};c\r\n{vectors}\r\n0\r\n\r\n")},
        {"drips", Use::taken, {.drip = 10ms}},
        {"closes_behind_it", Use::taken, {.hangs_up = true}},
        {"length_too_large", Use::not_taken, sent(kJson + "Content-Length: 999999", "{vectors}", true)},
        {"length_too_small", Use::not_taken, sent(kJson + "Content-Length: 40", "{vectors}", true)},
        {"two_lengths", Use::not_taken, sent(kJson + "Content-Length: {size}\r\nContent-Length: 7", "{vectors}", true)},
        {"chunks_cut_off", Use::not_taken, sent(kJson + "Transfer-Encoding: chunked", "ffff\r\n{vectors}", true)},
        {"bad_chunk", Use::not_taken, sent(kJson + "Transfer-Encoding: chunked", "zz\r\n{vectors}\r\n0\r\n\r\n", true)},
        {"no_gzip", Use::not_taken, sent(kJson + "Content-Encoding: gzip\r\nContent-Length: {size}")},
        {"closed_at_once", Use::not_taken, {.flaw = Flaw::drop_after}},
    };
}

std::vector<Odd> statuses() {
    std::vector<Odd> all;
    for (const int status : {204, 205, 304, 400, 404, 405, 406, 408, 409, 410, 415, 418, 421, 422, 423, 424, 425, 431, 451, 460,
                             499, 500, 501, 504, 505, 507, 508, 510, 511, 520, 521, 522, 523, 524, 525, 526, 527, 530, 599})
        all.push_back({"s" + std::to_string(status), Use::not_taken, saying(status, status < 400 ? "" : "{\"error\":\"odd\"}")});
    all.push_back({"s413", Use::not_taken, saying(413, "<html>413 Request Entity Too Large</html>")});
    all.push_back({"s502_page", Use::not_taken, saying(502, "<html><body>502 Bad Gateway<hr>nginx</body></html>")});
    all.push_back({"s503_date", Use::not_taken, saying(503, "", {{"Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"}}), false});
    all.push_back({"s529", Use::not_taken, saying(529, R"({"type":"overloaded_error"})"), false});
    all.push_back({"s429", Use::not_taken, saying(429, ""), false});
    all.push_back({"loop", Use::not_taken, saying(301, "", {{"Location", "/v1/embeddings"}})});
    all.push_back({"to_elsewhere", Use::not_taken, saying(302, "", {{"Location", "http://127.0.0.1:9/login"}})});
    return all;
}

std::vector<Odd> bodies() {
    const auto body = [](std::string name, std::string text, Use use = Use::not_taken) {
        return Odd{std::move(name), use, {.body = std::move(text)}};
    };
    return {
        body("error", R"({"error":{"message":"odd","code":500}})"),
        body("error_null", R"({"error":null,"data":[]})"),
        body("empty_list", R"({"model":"m","data":[]})"),
        body("null_list", R"({"model":"m","data":null})"),
        body("list_of_null", R"({"model":"m","data":[null,null,null]})"),
        body("index_twice", last_with("0.25", "1")),
        body("index_off_by_one", last_with("0.25", "3")),
        body("index_below", last_with("0.25", "-1")),
        body("index_text", last_with("0.25", "\"2\"")),
        body("index_fraction", last_with("0.25", "2.5")),
        body("number_text", last_with("\"0.25\"")),
        body("nan", last_with("NaN")),
        body("infinity", last_with("-Infinity")),
        body("null", last_with("null")),
        body("too_large", last_with("1e999")),
        body("too_large_for_float", last_with("1e39")),
        body("true", last_with("true")),
        body("nested", last_with("[0.25]")),
        body("nested_whole", three(R"({"index":2,"embedding":[[0.1,0.2]]})")),
        body("object", three(R"({"index":2,"embedding":{"values":[0.1]}})")),
        body("null_vector", three(R"({"index":2,"embedding":null})")),
        body("empty_vector", three(R"({"index":2,"embedding":[]})")),
        body("no_vector", three(R"({"index":2})")),
        body("base64_short", three(R"({"index":2,"embedding":"AACAPw=="})")),
        body("base64_none", three(R"({"index":2,"embedding":"not base64 at all"})")),
        // Each 1.0 with its bytes the other way round: 4.6e-41, far below what a model says.
        body("base64_big_endian", three(R"({"index":2,"embedding":")" +
                                        std::string("P4AAAD+AAAA/gAAAP4AAAD+AAAA/gAAAP4AAAD+AAAA/gAAA"
                                                    "P4AAAD+AAAA/gAAAP4AAAD+AAAA/gAAAP4AAAA==") +
                                        "\"}")),
        body("rubbish_behind_it", last_with("0.25") + "rubbish"),
        body("two_answers", last_with("0.25") + last_with("0.5")),
        body("two_lists", last_with("0.25").substr(0, last_with("0.25").size() - 1) + R"(,"data":[]})"),
        body("cut_off", last_with("0.25").substr(0, 300)),
        body("a_string", "\"ok\""),
        body("nothing", " "),
    };
}

class GatewayOdd : public GatewayCase, public ::testing::WithParamInterface<Odd> {
protected:
    void SetUp() override {
        settings.retry_base = 1ms;
        provider = provider_at(endpoint);
        provider.timeout = 20s;
        expect_vectors(embed(provider, before), before);
    }
    FakeAnswer odd() const {
        FakeAnswer answer = GetParam().answer;
        if (const auto at = answer.wire.find("{hex}"); at != std::string::npos) {
            kit::FakeRequest request;
            request.model = "m";
            request.encoding = "base64";
            request.texts = texts;
            answer.wire.replace(at, 5, fmt::format("{:x}", kit::embeddings_body(request, kWidth, Flaw::none).size()));
        }
        return answer;
    }
    FakeEndpoint endpoint{{.dimensions = kWidth}};
    ProviderSpec provider;
    const std::vector<std::string> before = texts_of(3, "before");
    const std::vector<std::string> texts = texts_of(3);
};

TEST_P(GatewayOdd, OnceHarmsNothing) {
    endpoint.next(odd());
    const std::size_t asked = endpoint.requests().size();
    const auto answer = embed(provider, texts);
    expect_vectors(answer, texts);
    ASSERT_TRUE(answer);
    EXPECT_TRUE(answer->refused.empty());
    const std::size_t requests = endpoint.requests().size() - asked;
    if (GetParam().use == Use::taken) {
        EXPECT_EQ(requests, 1U);
    } else {
        EXPECT_GE(requests, 2U) << "it was taken";
        EXPECT_LE(requests, 8U);
    }
}

TEST_P(GatewayOdd, ForEverCondemnsNoTextAndCostsLittle) {
    if (GetParam().use == Use::taken || !GetParam().lasts) GTEST_SKIP() << "of those that are not taken";
    endpoint.always(odd());
    const std::size_t asked = endpoint.requests().size();
    const auto answer = embed(provider, texts);
    EXPECT_FALSE(answer) << answer->refused.size() << " texts are condemned";
    // The three, their parts, each alone, and a text of ours beside: which of them are asked at once is chance.
    EXPECT_LE(endpoint.requests().size() - asked, 8U);
}

const auto kName = [](const auto& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Framings, GatewayOdd, ::testing::ValuesIn(framings()), kName);
INSTANTIATE_TEST_SUITE_P(Statuses, GatewayOdd, ::testing::ValuesIn(statuses()), kName);
INSTANTIATE_TEST_SUITE_P(Bodies, GatewayOdd, ::testing::ValuesIn(bodies()), kName);

}  // namespace
}  // namespace homeostat
