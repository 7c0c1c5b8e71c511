// What is declared of the requests to a provider: what goes out, what a change of it does, and what is refused.
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using kit::FakeEndpoint;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

class ProviderRequest : public World {
protected:
    void SetUp() override {
        db.exec(
            "CREATE TABLE docs (id int PRIMARY KEY, body text NOT NULL);"
            "INSERT INTO docs SELECT i, 'document ' || i || '.' FROM generate_series(1, 20) i");
        declare_endpoint(endpoint);
        declare("docs", "docs", "content", "'body'");
    }
    void set(const std::string& what) { db.exec("UPDATE homeostat.provider SET " + what + " WHERE name = 'fake'"); }
    Json last_body() { return Json::parse(endpoint.requests().back().http.body); }
    std::string revision() { return db.value("SELECT max(revision) FROM homeostat.revision WHERE state = 'served'"); }
    std::string refusal(const std::string& what) {
        try {
            set(what);
        } catch (const std::exception& e) {
            return e.what();
        }
        return "taken";
    }

    FakeEndpoint endpoint{{.dimensions = 16}};
};

TEST_F(ProviderRequest, IsPartOfTheRevision) {
    run_once(kConverged);
    ASSERT_EQ(revision(), "1");
    EXPECT_EQ(endpoint.texts(), 20U);
    set(R"(request = '{"input_type": "passage", "user": "search"}', query_request = '{"input_type": "query"}')");
    run_once(kConverged);
    EXPECT_EQ(revision(), "2");
    EXPECT_EQ(endpoint.texts(), 40U);
    EXPECT_EQ(last_body()["input_type"], "passage");
    homeostat.run({"search", "docs", "where"});
    EXPECT_EQ(last_body()["input_type"], "query");
    EXPECT_EQ(last_body()["user"], "search");

    // None of this makes other vectors.
    const std::uint64_t texts = endpoint.texts();
    set(R"(request = '{"user": "somebody", "input_type": "passage", "provider": {"order": ["near"]}}')");
    run_once(kConverged);
    set(R"(query_request = '{"input_type": "search"}', encoding = 'none')");
    run_once(kConverged);
    EXPECT_EQ(revision(), "2");
    EXPECT_EQ(endpoint.texts(), texts);

    // The queries of what is served are those of its time, until the next revision takes over.
    set(R"(request = '{"task": "retrieval.passage"}', query_request = '{"task": "retrieval.query"}')");
    homeostat.run({"search", "docs", "where"});
    EXPECT_EQ(last_body().value("input_type", ""), "query");
    run_once(kConverged);
    EXPECT_EQ(revision(), "3");
    homeostat.run({"search", "docs", "where"});
    EXPECT_EQ(last_body().value("task", ""), "retrieval.query");

    // Back to what a kept revision has.
    set(R"(request = '{"input_type": "passage"}', query_request = '{"input_type": "query"}')");
    run_once(kConverged);
    EXPECT_EQ(revision(), "2");
}

TEST_F(ProviderRequest, IsDeclaredByManifestAndPrintedAsOne) {
    set(R"(request = '{"input_type": "passage", "n": 1, "t": "1", "o": {"l": [true, null, 1.5]}}', query_request = '{"n": null}',)"
        " answers_as = 'm2', encoding = 'none'");
    const std::string row =
        "SELECT request::text || query_request || answers_as || encoding || generation FROM homeostat.provider"
        " WHERE name = 'fake'";
    const std::string before = db.value(row);
    const std::string manifest = homeostat.run({"get", "provider", "fake", "-o", "yaml"}).output;
    EXPECT_THAT(manifest, HasSubstr("answersAs: m2"));
    const std::string file = ::testing::TempDir() + "homeostat-provider-request.yaml";
    std::ofstream(file) << manifest;
    const kit::Program::Outcome again = homeostat.run({"apply", "-f", file});
    EXPECT_THAT(again.output, HasSubstr("unchanged")) << manifest;
    EXPECT_EQ(db.value(row), before);
}

TEST_F(ProviderRequest, RefusesWhatIsNotFitToBeSent) {
    for (const char* column : {"request", "query_request"}) {
        const auto refused = [&](const std::string& json) { return refusal(fmt::format("{} = '{}'", column, json)); };
        const std::string holds = fmt::format("provider \"fake\": {} holds ", column);
        EXPECT_THAT(refused(R"({"model": "x"})"),
                    HasSubstr(holds + "\"model\", which homeostat sets itself; declare it as model"));
        EXPECT_THAT(refused(R"({"Input": []})"), HasSubstr(holds + "\"Input\", which homeostat sets itself"));
        EXPECT_THAT(refused(R"({"encoding_format": null})"), HasSubstr("declare it as encoding"));
        EXPECT_THAT(refused(R"({"dimensions": 5})"), HasSubstr("send_dimensions"));
        EXPECT_THAT(refused(R"({"": 5})"), HasSubstr("which is no name"));
        EXPECT_THAT(refused(R"(["a"])"), HasSubstr(" must be an object of names and values"));
        EXPECT_THAT(refused(R"({"a": {"api_key": "sk-1"}})"),
                    HasSubstr("\"api_key\" in " + std::string(column) + " looks like a secret"));
        EXPECT_THAT(refused(R"({"a": [1e301]})"), HasSubstr("holds a number that is too large"));
        EXPECT_THAT(refused(R"({"a": ")" + std::string(9'000, 'x') + "\"}"), HasSubstr("it may have 8192"));
        EXPECT_EQ(refused(R"({"truncate_prompt_tokens": 512, "late_chunking": true})"), "taken");
        EXPECT_THAT(refusal(std::string(column) + " = NULL"), HasSubstr("is NULL; leave it out for its default"));
    }
    EXPECT_THAT(refusal("encoding = 'nothing'"), HasSubstr("it is base64, float, or none"));
    EXPECT_THAT(refusal("answers_as = ''"), HasSubstr("answers_as has 0 bytes"));
    set("request = '{}', query_request = '{}'");
    EXPECT_THAT(refusal(R"(kind = 'hashing', request = '{"a": 1}')"),
                HasSubstr("request belongs to kind \"openai\", not to \"hashing\""));
    EXPECT_THAT(refusal("kind = 'hashing', answers_as = 'x'"), HasSubstr("answers_as belongs to kind \"openai\""));
}

TEST_F(ProviderRequest, OfAnEarlierVersionIsTakenBackAndUpAgain) {
    run_once(kConverged);
    set(R"(request = '{"input_type": "passage"}', answers_as = 'm', encoding = 'none')");
    run_once(kConverged);
    const kit::Program::Outcome down = homeostat.run({"migrate", "down", "--to", "24", "--yes"});
    EXPECT_EQ(down.exit.code, 0) << down.output;
    EXPECT_EQ(db.value("SELECT encoding FROM homeostat.provider WHERE name = 'fake'"), "float");
    EXPECT_THAT(refusal("encoding = 'none'"), HasSubstr("it is base64 or float"));
    const kit::Program::Outcome up = homeostat.run({"migrate", "up"});
    EXPECT_EQ(up.exit.code, 0) << up.output;
    const std::uint64_t texts = endpoint.texts();
    run_once(kConverged);
    EXPECT_EQ(revision(), "1") << "what has no further members is what the first revision has";
    EXPECT_EQ(endpoint.texts(), texts);
}

}  // namespace
}  // namespace homeostat
