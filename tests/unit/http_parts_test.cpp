// What of the HTTP server needs no socket: routes and who may ask them, media types, problem documents, streams, the dashboard's
// files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "controller/http/dashboard_embedded.hpp"
#include "controller/http/routes.hpp"
#include "controller/http/stream.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

class Routes : public ::testing::Test {
protected:
    void SetUp() override {
        add("GET", "/things", {});
        add("GET", "/things/{name}", {});
        add("GET", "/things/stream", {});
        add("POST", "/things/{name}/go", {});
        add("GET", "/probe", {.open = true});
        add("GET", "/inside", {.guarded = true});
    }
    void add(const std::string& method, const std::string& pattern, RouteTraits traits) {
        table.add(method, pattern, [](const HttpRequest&) { return HttpResponse{}; }, traits);
    }
    // The pattern that answers, or the status of the refusal.
    std::string answers(HttpRequest request, std::string_view token = "") {
        const auto found = table.find(request, token);
        last = request;
        if (const auto* refused = std::get_if<HttpResponse>(&found)) {
            refusal = *refused;
            return std::to_string(refused->status);
        }
        return std::get<const Route*>(found)->pattern;
    }
    std::string asks(const std::string& method, const std::string& path) {
        return answers({.method = method, .path = path, .query = "", .body = ""});
    }

    RouteTable table;
    HttpRequest last;
    HttpResponse refusal;
};

TEST_F(Routes, ASegmentIsDecodedAfterThePathWasCut) {
    EXPECT_EQ(asks("GET", "/things/a%2Fb%20c"), "/things/{name}");
    EXPECT_EQ(last.parameter("name"), "a/b c");
    EXPECT_EQ(asks("GET", "/things/stream"), "/things/stream") << "what is written out goes first";
    EXPECT_EQ(asks("HEAD", "/things"), "/things");
    for (const char* none : {"/things/", "/things/%", "/things/%4", "/things/%zz", "/things/%00", "/things/%f0%28"})
        EXPECT_EQ(asks("GET", none), "400") << none;
    for (const char* unknown : {"/", "/thing", "/things/a/b", "//things", "/things/a/go/on"})
        EXPECT_EQ(asks("GET", unknown), "404") << unknown;
    EXPECT_EQ(asks("GET", "*"), "400");
    EXPECT_EQ(asks("GET", ""), "400");
}

TEST_F(Routes, AnotherMethodIsToldWhichThereAre) {
    EXPECT_EQ(asks("DELETE", "/things/a"), "405");
    EXPECT_THAT(refusal.headers, ElementsAre(Pair("Allow", "GET, HEAD")));
    EXPECT_EQ(asks("GET", "/things/a/go"), "405");
    EXPECT_THAT(refusal.headers, ElementsAre(Pair("Allow", "POST")));
}

TEST_F(Routes, WithoutATokenWhatIsGuardedIsForThisMachineAndForNoNameOfAnother) {
    const auto from = [&](bool loopback, const std::string& host) {
        return answers(
            {.method = "GET", .path = "/inside", .query = "", .body = "", .headers = {{"host", host}}, .loopback = loopback});
    };
    for (const char* ours : {"localhost", "localhost:8687", "127.0.0.1:8687", "[::1]:8687", "10.0.0.7:80", ""})
        EXPECT_EQ(from(true, ours), "/inside") << ours;
    for (const char* other : {"evil.example", "evil.example:8687", "localhost.evil.example", "127.0.0.1.evil.example"})
        EXPECT_EQ(from(true, other), "421") << other;
    EXPECT_EQ(from(false, "127.0.0.1"), "403");
    EXPECT_THAT(refusal.body, HasSubstr("set http.token"));
    EXPECT_EQ(answers({.method = "GET", .path = "/things", .query = "", .body = ""}), "/things") << "as metrics are";
}

TEST_F(Routes, WithATokenItIsAskedForFromEverybody) {
    const auto with = [&](const std::string& path, const std::string& authorization) {
        return answers({.method = "GET",
                        .path = path,
                        .query = "",
                        .body = "",
                        .headers = {{"host", "evil.example"}, {"authorization", authorization}},
                        .loopback = true},
                       "t0ken");
    };
    EXPECT_EQ(with("/inside", "Bearer t0ken"), "/inside");
    EXPECT_TRUE(last.trusted);
    EXPECT_EQ(with("/inside", "Bearer t0kem"), "401");
    EXPECT_EQ(with("/things", ""), "401");
    EXPECT_EQ(with("/probe", ""), "/probe");
    EXPECT_FALSE(last.trusted);
}

TEST(HttpQuery, IsNamesAndValuesEachOnce) {
    std::vector<std::pair<std::string, std::string>> out;
    EXPECT_TRUE(decode_query("a=1&b=x%26y+z&&c", out));
    EXPECT_THAT(out, ElementsAre(Pair("a", "1"), Pair("b", "x&y z"), Pair("c", "")));
    for (const char* wrong : {"a=1&a=2", "a=%", "%00=1", "a=%00"}) {
        out.clear();
        EXPECT_FALSE(decode_query(wrong, out)) << wrong;
    }
}

TEST(HttpAccept, TheNearestRangeDecides) {
    const char* json = "application/json";
    for (const char* good : {"", "*/*", "application/*", "application/json", "text/html, */*;q=0.1", "Application/JSON",
                             "application/json;q=0.001", "application/*;q=0, application/json"})
        EXPECT_TRUE(accepts(good, json)) << good;
    for (const char* bad :
         {"text/html", "application/xml, text/*", "application/json;q=0", "*/*, application/json;q=0.000", "json"})
        EXPECT_FALSE(accepts(bad, json)) << bad;
}

TEST(HttpProblem, IsADocumentOfOneLineThatShowsNoControls) {
    const HttpResponse response = problem(404, "there is no \"x\"\n\x1b[31m");
    EXPECT_EQ(response.content_type, "application/problem+json");
    const auto json = nlohmann::json::parse(response.body);
    EXPECT_EQ(json["status"], 404);
    EXPECT_EQ(json["title"], "Not found");
    EXPECT_EQ(json["detail"].get<std::string>().find('\x1b'), std::string::npos);
    EXPECT_EQ(come_again("later", 5).status, 503);
}

TEST(HttpStreams, WhoDoesNotKeepUpIsLetGoAndWaitsForNothing) {
    HttpStream stream;
    int woken = 0;
    stream.on_ready([&] { ++woken; });
    EXPECT_TRUE(stream.send("a"));
    EXPECT_TRUE(stream.send("b"));
    EXPECT_EQ(stream.take(), "ab");
    EXPECT_EQ(stream.take(), "");
    EXPECT_EQ(woken, 2);
    EXPECT_TRUE(stream.send("the last"));
    stream.close();
    EXPECT_FALSE(stream.send("too late"));
    EXPECT_EQ(stream.take(), "the last");
    EXPECT_EQ(stream.take(), std::nullopt);

    HttpStream slow;
    const std::string piece(HttpStream::kMostBytes / 4, 'x');
    int taken = 0;
    while (slow.send(piece)) ++taken;
    EXPECT_EQ(taken, 4);
    EXPECT_TRUE(slow.closed());
    EXPECT_EQ(slow.take(), std::nullopt) << "nothing of it is kept";
}

// Our own scripts put text into the page as text, and no file asks another server for anything.
TEST(Dashboard, LoadsNothingFromElsewhereAndMakesNoMarkupOfText) {
    std::map<std::string, std::string> files;
    for (const EmbeddedFile& f : embedded_dashboard()) files.emplace(f.name, f.text);
    ASSERT_TRUE(files.contains("index.html"));
    const std::regex loads(R"re((?:from|href=|src=)\s*["'](/dashboard/[^"']+|https?:[^"']*)["'])re");
    for (const auto& [name, text] : files) {
        if (name == "licences.txt" || name == "uplot.js") continue;
        for (std::sregex_iterator at(text.begin(), text.end(), loads), end; at != end; ++at) {
            const std::string what = (*at)[1];
            ASSERT_TRUE(what.starts_with("/dashboard/")) << name << " loads " << what;
            EXPECT_TRUE(files.contains(what.substr(11))) << name << " loads " << what << ", which is not there";
        }
        if (name == "preact-htm.js") continue;
        for (const char* word : {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
                                 "style=\"", "onclick=\"", "<style", "localStorage", "document.cookie"})
            EXPECT_EQ(text.find(word), std::string::npos) << name << " has " << word;
    }
}

TEST(Dashboard, SaysWhoseTheFilesOfOthersAre) {
    std::string licences;
    for (const EmbeddedFile& f : embedded_dashboard()) licences += f.name == "licences.txt" ? f.text : "";
    EXPECT_THAT(licences, AllOf(HasSubstr("uPlot"), HasSubstr("Preact"), HasSubstr("htm 3")));
}

}  // namespace
}  // namespace homeostat
