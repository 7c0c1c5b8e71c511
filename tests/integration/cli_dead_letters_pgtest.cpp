// `dead-letters`: from a document that is refused to one that is embedded after all, and what the verb refuses.
#include <nlohmann/json.hpp>

#include "tests/integration/cli_case.hpp"
#include "tests/kit/fake_endpoint.hpp"

namespace homeostat {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class CliDeadLetters : public CliCase {
protected:
    void add_letter(const std::string& pipeline, const std::string& key, const std::string& cls) {
        db.exec(
            "INSERT INTO homeostat.dead_letter (uid, revision, key, content_hash, class, strategy, message, attempts, trace_id)"
            " SELECT uid, 1, '" +
            key + "', 'x', '" + cls + "', 'bisect', E'not\\nthis', 5, 'abc' FROM homeostat.pipeline WHERE name = '" + pipeline +
            "'");
    }
    void declare_two() {
        declare_articles(3);
        db.exec(
            "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target)"
            " VALUES ('notes', 'articles', 'body', 'hashing', 16, 'notes_embeddings')");
        add_letter("articles", "{1}", "content");
        add_letter("articles", "{2}", "too_large");
        add_letter("notes", "{1}", "content");
        add_letter("notes", R"({acme,"7, or 8"})", "content");
    }
    std::string left() {
        return db.value(
            "SELECT coalesce(string_agg(p.name || l.key::text, ' ' ORDER BY p.name, l.key), '') FROM homeostat.dead_letter l JOIN"
            " homeostat.pipeline p USING (uid)");
    }
    std::string asked() {
        return db.value(
            "SELECT coalesce(string_agg(name, ' ' ORDER BY name), '') FROM homeostat.pipeline WHERE reconcile_requested IS NOT "
            "NULL");
    }
};

TEST_F(CliDeadLetters, ARefusedDocumentIsListedTriedAgainAndEmbedded) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    endpoint.when_text("article 2", {.status = 400});
    declare_articles(5);
    db.exec("INSERT INTO homeostat.provider (name, kind, endpoint, model, dimensions) VALUES ('fake', 'openai', '" +
            endpoint.url() + "', 'a-model', 16); UPDATE homeostat.pipeline SET provider = 'fake'");
    run({"run", "--once"});
    const json listed = json::parse(ends(0, {"dead-letters", "list", "-o", "json"}));
    ASSERT_EQ(listed["total"], 1) << listed;
    const json letter = listed["deadLetters"][0];
    EXPECT_EQ(letter["pipeline"], "articles");
    EXPECT_EQ(letter["key"], json::array({"2"}));
    EXPECT_EQ(letter["class"], "content");
    EXPECT_EQ(letter["strategy"], "bisect");
    EXPECT_EQ(db.value("SELECT count(*) FROM articles_embeddings"), "4");

    endpoint.forget_script();
    run({"run", "--once"});
    EXPECT_EQ(db.value("SELECT count(*) FROM articles_embeddings"), "4") << "it is not tried again by itself";
    EXPECT_EQ(ends(0, {"dead-letters", "retry", "articles"}), "pipeline/articles: 1 document will be tried again\n");
    heal();
    EXPECT_EQ(db.value("SELECT count(*) FROM articles_embeddings"), "5");
    EXPECT_EQ(left(), "");
}

TEST_F(CliDeadLetters, AreListedInEveryForm) {
    declare_two();
    EXPECT_THAT(ends(0, {"dead-letters", "list"}),
                AllOf(HasSubstr("PIPELINE"), HasSubstr("articles"), HasSubstr("too_large"), HasSubstr("acme, 7, or 8"),
                      HasSubstr("abc"), Not(HasSubstr("not\nthis"))));
    EXPECT_THAT(ends(0, {"dead-letters", "list", "notes", "-o", "yaml"}),
                AllOf(HasSubstr("total: 2"), Not(HasSubstr("articles"))));
    const Answer first = run({"dead-letters", "list", "--limit", "1", "-o", "json"});
    EXPECT_EQ(json::parse(first.out)["deadLetters"].size(), 1U);
    EXPECT_THAT(first.err, HasSubstr("3 more"));
    EXPECT_THAT(refused({"dead-letters", "list", "note"}), HasSubstr(R"(did you mean "notes"?)"));
}

TEST_F(CliDeadLetters, AreTriedAgainAsWideAsWasSaidAndNotWider) {
    declare_two();
    EXPECT_THAT(refused({"dead-letters", "retry"}), HasSubstr("say which to try again"));
    EXPECT_THAT(refused({"dead-letters", "retry", "artcles"}), HasSubstr(R"(did you mean "articles"?)"));
    EXPECT_THAT(refused({"dead-letters", "retry", "--class", "contend"}), HasSubstr(R"(did you mean "content"?)"));
    EXPECT_EQ(asked(), "");
    EXPECT_EQ(ends(0, {"dead-letters", "retry", "articles", "--class", "timeout"}), "no dead letters to try again\n");
    EXPECT_EQ(asked(), "") << "nothing was touched";
    ends(0, {"dead-letters", "retry", "notes", "--key", "acme", "7, or 8"});
    EXPECT_EQ(left(), "articles{1} articles{2} notes{1}");
    EXPECT_EQ(asked(), "notes");
    EXPECT_EQ(ends(0, {"dead-letters", "retry", "--class", "content"}),
              "pipeline/articles: 1 document will be tried again\npipeline/notes: 1 document will be tried again\n");
    EXPECT_EQ(left(), "articles{2}");
    EXPECT_EQ(asked(), "articles notes");
    ends(0, {"dead-letters", "retry", "--all"});
    EXPECT_EQ(left(), "");
}

}  // namespace
}  // namespace homeostat
