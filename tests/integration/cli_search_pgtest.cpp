// `search`: the nearest documents by the distance declared, through the served view and its index.
#include <nlohmann/json.hpp>

#include "store/control/resources.hpp"
#include "store/inspect/search.hpp"
#include "store/pg/arrays.hpp"
#include "tests/integration/cli_case.hpp"
#include "tests/kit/fake_endpoint.hpp"

namespace homeostat {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class CliSearch : public CliCase {};

TEST_F(CliSearch, TheDocumentWithTheVeryTextIsNearestByEveryDistance) {
    declare_articles(60);
    const std::string text = "title 42\n\nbody of article 42";
    for (const char* distance : {"cosine", "l2", "inner_product"}) {
        db.exec(std::string("UPDATE homeostat.pipeline SET distance = '") + distance + "'");
        heal();
        const json hits = json::parse(ends(0, {"search", "articles", text, "-k", "3", "-o", "json"}));
        ASSERT_EQ(hits.size(), 3U);
        EXPECT_EQ(hits[0]["key"]["id"], "42") << distance;
        EXPECT_EQ(hits[0]["metadata"]["tag"], "tag");
        EXPECT_EQ(hits[0]["text"], text);
        const bool l2 = distance == std::string("l2");
        const std::string measure = l2 ? "distance" : distance == std::string("cosine") ? "similarity" : "product";
        const double best = hits[0][measure];
        const double next = hits[1][measure];
        EXPECT_NEAR(best, l2 ? 0 : 1, 1e-5) << distance << ": vectors of hashing have length one";
        EXPECT_TRUE(l2 ? next >= best : next <= best) << distance;
    }
    EXPECT_THAT(
        ends(0, {"search", "articles", text, "-k", "1"}),
        AllOf(HasSubstr("PRODUCT  KEY  CHUNK  tag  TEXT"), HasSubstr("1.000    42   0      tag  title 42 body of article 42")));
}

TEST_F(CliSearch, TheStatementUsesTheIndexThroughTheView) {
    declare_articles(3'000);
    heal();
    auto session = Session::connect({.url = db.url()});
    ASSERT_TRUE(session.ok());
    const auto spec = find_pipeline(**session, "articles");
    ASSERT_TRUE(spec.ok());
    const auto served = served_revision(**session, *spec);
    ASSERT_TRUE(served.ok() && *served);
    Transaction tx = (*session)->begin(TxMode::read_only);
    const auto vectors = find_vector_extension(tx);
    ASSERT_TRUE(vectors.ok());
    const std::vector<float> query(16, 0.25F);
    const float* row = query.data();
    Params params;
    params.bytes(binary_vectors(std::span(&row, 1), 16, VectorType::vector, vectors->vector_oid)).add(5);
    const Rows rows = tx.exec({"explained", "EXPLAIN " + search_sql(*spec, **served, *vectors)}, params);
    std::string plan;
    for (int i = 0; i < rows.size(); ++i) plan += rows.text(i, 0) + "\n";
    EXPECT_THAT(plan, HasSubstr("_chunk_embedding")) << plan;
}

TEST_F(CliSearch, ManyHitsAndHalfVectorsAndNoSource) {
    declare_articles(200, ", vector_type", ", 'halfvec'");
    heal();
    db.exec("DROP TABLE articles");
    EXPECT_EQ(json::parse(ends(0, {"search", "articles", "title", "-k", "120", "-o", "json"})).size(), 120U);
}

TEST_F(CliSearch, TheQueryIsEmbeddedAsAQuery) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    db.exec("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, document_prefix, query_prefix) VALUES ('p', '" +
            endpoint.url() + "', 'm', 16, 'doc: ', 'find: ')");
    declare_articles(3);
    db.exec("UPDATE homeostat.pipeline SET provider = 'p'");
    heal();
    ends(0, {"search", "articles", "what's up"});
    const auto requests = endpoint.requests();
    ASSERT_FALSE(requests.empty());
    EXPECT_EQ(requests.back().texts, std::vector<std::string>{"find: what's up"});
    endpoint.always({.status = 401});
    EXPECT_THAT(refused({"search", "articles", "what"}), HasSubstr("401"));
}

TEST_F(CliSearch, NothingServedIsASentence) {
    declare_articles(3);
    EXPECT_THAT(refused({"search", "articles", "x"}), HasSubstr("pipeline \"articles\" serves nothing yet"));
    EXPECT_THAT(refused({"search", "articles", "  "}), HasSubstr("the text to search for is empty"));
    EXPECT_THAT(refused({"search", "artikles", "x"}), HasSubstr("did you mean \"articles\"?"));
    heal();
    db.exec("DROP VIEW articles_embeddings");
    EXPECT_THAT(refused({"search", "articles", "x"}), HasSubstr("the view public.articles_embeddings is gone"));
}

}  // namespace
}  // namespace homeostat
