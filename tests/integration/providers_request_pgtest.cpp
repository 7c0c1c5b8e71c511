// What is declared of the requests to a provider: what goes out, what a change of it does, and what is refused.
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/integration/world.hpp"
#include "tests/kit/fake_proxy.hpp"

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

TEST_F(ProviderRequest, IsAnsweredByOneModelUntilTheProviderIsEdited) {
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT answered_as FROM homeostat.provider_status"), "m");
    // A replacement that calls itself otherwise, which the name that is asked for would let pass.
    db.exec("UPDATE homeostat.provider_status SET answered_as = 'm-v1'; UPDATE docs SET body = body || ' new'");
    endpoint.always(
        {.body = Json{{"data", Json::array({Json{{"embedding", Json(std::vector<int>(16, 1))}}})}, {"model", "m-v2"}}.dump()});
    db.exec("UPDATE homeostat.provider SET labels = '{\"a\": \"b\"}'");  // which is no edit
    const kit::Program::Outcome refused = run_once(kFailed);
    EXPECT_THAT(refused.output, HasSubstr("answered as \"m-v1\" until now, and as \"m-v2\" now"));
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings WHERE chunk_text LIKE '%new'"), "0");
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
    endpoint.forget_script();
    set("answers_as = 'm'");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT answered_as FROM homeostat.provider_status"), "m");
    EXPECT_EQ(revision(), "1");
}

TEST_F(ProviderRequest, GoesTheWayThatTheEnvironmentNames) {
    const kit::FakeProxy proxy;
    run_once(kConverged, {{"http_proxy", proxy.url()}, {"no_proxy", ""}});
    EXPECT_FALSE(proxy.requests().empty());
    db.exec("UPDATE docs SET body = body || ' new'");
    set("proxy = 'none'");
    const std::size_t before = proxy.requests().size();
    run_once(kConverged, {{"http_proxy", proxy.url()}, {"no_proxy", ""}});
    EXPECT_EQ(proxy.requests().size(), before);
}

TEST_F(ProviderRequest, RefusesAWayThatIsNone) {
    EXPECT_THAT(refusal("proxy = 'http://me:secret@proxy:3128'"), HasSubstr("the proxy carries a user or password"));
    EXPECT_THAT(refusal("proxy = 'socks5://proxy'"), HasSubstr("proxy \"socks5://proxy\" must be an address such as"));
    EXPECT_EQ(refusal("proxy = 'http://proxy.example.com'"), "taken");
    EXPECT_EQ(refusal("proxy = 'env:PROXY'"), "taken");
    EXPECT_THAT(refusal("client_key = '/k.pem'"), HasSubstr("client_key is the key of a client_certificate, which is missing"));
    EXPECT_THAT(refusal("client_certificate = 'c.pem'"), HasSubstr("absolute paths"));
    EXPECT_EQ(refusal("client_certificate = '/c.pem', client_key = '/k.pem'"), "taken");
    set("client_certificate = NULL, client_key = NULL");
    EXPECT_THAT(refusal("kind = 'hashing'"), HasSubstr("client_certificate, client_key and proxy belong to kind \"openai\""));
}

TEST_F(ProviderRequest, RefusesABreakerThatIsNone) {
    EXPECT_THAT(refusal("breaker_failures = 0"), HasSubstr("breaker_failures 1-1000"));
    EXPECT_THAT(refusal("breaker_share = 'NaN'"), HasSubstr("breaker_share 0.01-1"));
    EXPECT_THAT(refusal("breaker_pause = '1 ms'"), HasSubstr("breaker_pause 0.1 s to 1 h"));
    EXPECT_THAT(refusal("breaker_pause = '1 min', breaker_pause_cap = '1 s'"),
                HasSubstr("must be no longer than breaker_pause_cap"));
    EXPECT_THAT(refusal("too_long = 'truncate'"), HasSubstr("did you mean \"Truncate\"?"));
    set("breaker_failures = 3, breaker_share = 0.25, breaker_pause = '2 s', breaker_pause_cap = '1 day', too_long = 'Truncate'");
    const std::string file = ::testing::TempDir() + "homeostat-provider-breaker.yaml";
    std::ofstream(file) << homeostat.run({"get", "provider", "fake", "-o", "yaml"}).output;
    EXPECT_THAT(homeostat.run({"apply", "-f", file}).output, HasSubstr("unchanged"));
}

TEST_F(ProviderRequest, OfWhatIsTooLongTheBeginningIsServed) {
    FakeEndpoint small({.dimensions = 16, .max_text_tokens = 100});
    db.exec("UPDATE docs SET body = repeat('word ', 200) WHERE id = 7");
    set("endpoint = '" + small.url() + "'");
    db.exec("UPDATE homeostat.pipeline SET chunker = 'whole'");
    homeostat.run({"run", "--once"});
    EXPECT_EQ(db.value("SELECT string_agg(key::text, ',') FROM homeostat.dead_letter"), "{7}");
    set("too_long = 'Truncate'");
    homeostat.run({"dead-letters", "retry", "docs"});
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
    EXPECT_EQ(db.value("SELECT length(chunk_text) FROM docs_embeddings WHERE id = 7"), "999") << "the text is kept whole";
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
