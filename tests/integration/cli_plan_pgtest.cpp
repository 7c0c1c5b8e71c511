// `plan` on a real database: it names every kind of damage, before the first pass and after an edit too, and writes nothing.
#include <nlohmann/json.hpp>

#include "tests/integration/cli_case.hpp"

namespace homeostat {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class CliPlan : public CliCase {
protected:
    json plan(int code, std::vector<std::string> more = {}) {
        std::vector<std::string> arguments{"plan", "articles", "-o", "json"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return json::parse(ends(code, arguments));
    }
    std::string document_table() {
        return db.value("SELECT format('homeostat_data.p%s_r1_document', uid) FROM homeostat.pipeline");
    }
    std::string chunk_table() { return db.value("SELECT format('homeostat_data.p%s_r1_chunk', uid) FROM homeostat.pipeline"); }
};

TEST_F(CliPlan, BeforeTheFirstPassEverythingIsMissing) {
    declare_articles(120);
    const std::string before = fingerprint();
    const json p = plan(1, {"--show", "2"});
    EXPECT_EQ(fingerprint(), before);
    EXPECT_EQ(p["classes"]["missing"], 120);
    EXPECT_EQ(p["revision"], 0);
    EXPECT_EQ(p["plan"]["documents"], 120);
    EXPECT_EQ(p["plan"]["chunks"], 120);
    EXPECT_EQ(p["keys"]["missing"], json::parse(R"([["1"], ["2"]])"));
    EXPECT_FALSE(p["nothingToDo"]);
    EXPECT_THAT(ends(1, {"plan"}), AllOf(HasSubstr("Pipeline articles: 120 documents of table public.articles"),
                                         HasSubstr("no revision yet"), HasSubstr("missing   120"), HasSubstr("stale     0"),
                                         HasSubstr("To embed: 120 documents, about 120 chunks"), HasSubstr("free")));
}

TEST_F(CliPlan, ALargeSourceIsReadInSlicesAndMeasuredBySample) {
    declare_articles(5'000);
    db.exec("UPDATE articles SET body = repeat('x', 4000 - length(title) - 2) WHERE id > 100");
    const json p = plan(1, {"--set", "sweep.slice=700"});
    EXPECT_EQ(p["classes"]["missing"], 5'000);
    const auto exact = std::stod(db.value("SELECT sum(length(title) + length(body) + 2) / 4 FROM articles"));
    EXPECT_NEAR(p["plan"]["tokens"].get<double>(), exact, exact * 0.05);
}

TEST_F(CliPlan, WhatIsConvergedIsNothingToDo) {
    declare_articles(50);
    heal();
    const json p = plan(0);
    EXPECT_TRUE(p["nothingToDo"]);
    EXPECT_EQ(p["documents"], 50);
    EXPECT_TRUE(p["warnings"].empty()) << p;
    EXPECT_THAT(ends(0, {"plan", "articles"}), HasSubstr("Nothing to do."));
}

TEST_F(CliPlan, EveryKindOfDamageIsNamed) {
    declare_articles(100);
    heal();
    const std::string d = document_table();
    const std::string c = chunk_table();
    const auto id = [&](int key) { return "(SELECT document_id FROM " + d + " WHERE key_1 = " + std::to_string(key) + ")"; };
    db.exec(
        "INSERT INTO articles VALUES (101, 'new', 'new', 'tag');"
        "UPDATE articles SET body = 'edited' WHERE id = 1;"
        "UPDATE articles SET tag = 'other' WHERE id IN (2, 3);"
        "DELETE FROM " +
        c + " WHERE document_id = " + id(4) +
        ";"
        "UPDATE " +
        c + " SET text = 'forged' WHERE document_id = " + id(5) +
        ";"
        "UPDATE " +
        c + " SET embedding = NULL WHERE document_id = " + id(6) +
        ";"
        "DELETE FROM articles WHERE id = 7;"
        "INSERT INTO " +
        c +
        " (document_id, number, start_offset, end_offset, chunk_hash, text) VALUES (999999, 0, 0, 1, '', 'x');"
        "DROP VIEW articles_embeddings");
    const std::string before = fingerprint();
    const json p = plan(1, {"--show", "9"});
    EXPECT_EQ(fingerprint(), before);
    EXPECT_EQ(p["classes"], json::parse(R"({"missing": 1, "stale": 1, "moved": 2, "partial": 2, "invalid": 1, "orphaned": 1,
        "excess": 0, "outdated": 0, "deadLetters": 0, "unkeyed": 0, "strayChunks": 1})"));
    EXPECT_EQ(p["keys"]["moved"], json::parse(R"([["2"], ["3"]])"));
    EXPECT_EQ(p["keys"]["partial"], json::parse(R"([["4"], ["5"]])"));
    EXPECT_EQ(p["keys"]["orphaned"], json::parse(R"([["7"]])"));
    EXPECT_EQ(p["repairs"], json::parse(R"(["the view public.articles_embeddings is made anew"])"));
    EXPECT_EQ(p["plan"]["documents"], 5);
    const json fast = plan(1, {"--fast"});
    EXPECT_EQ(fast["classes"]["partial"], 0);
    EXPECT_EQ(fast["classes"]["stale"], 1);
    EXPECT_THAT(fast["warnings"].dump(), HasSubstr("leave out --fast"));
    EXPECT_THAT(p["warnings"].dump(), HasSubstr("run --once --deep"));
    ends(0, {"run", "--once", "--deep"});
    EXPECT_TRUE(plan(0)["nothingToDo"]);
}

TEST_F(CliPlan, OtherVectorsMakeEverythingOutdated) {
    declare_articles(40);
    heal();
    db.exec("UPDATE homeostat.pipeline SET dimensions = 32");
    const json p = plan(1, {"--show", "1"});
    EXPECT_EQ(p["classes"]["outdated"], 40);
    EXPECT_EQ(p["classes"]["missing"], 0);
    EXPECT_EQ(p["keys"]["outdated"], json::parse(R"([["1"]])"));
    EXPECT_EQ(p["plan"]["documents"], 40);
    EXPECT_EQ(p["repairs"], json::parse(R"(["revision 2 is made"])"));
    EXPECT_THAT(p["warnings"].dump(), HasSubstr("other vectors than revision 1 holds"));
}

TEST_F(CliPlan, NewlyDeclaredMetadataMovesWhatHasAValue) {
    declare_articles(10);
    heal();
    db.exec("UPDATE articles SET title = NULL WHERE id = 3");
    heal();
    db.exec("UPDATE homeostat.pipeline SET metadata = 'tag, title'");
    EXPECT_EQ(plan(1)["classes"]["moved"], 9);
}

TEST_F(CliPlan, WarnsOfWhatStandsInTheWay) {
    declare_articles(300, ", documents", ", 500");
    heal();
    db.exec(
        "DELETE FROM articles WHERE id > 100;"
        "UPDATE homeostat.pipeline SET suspend = true, suspend_reason = 'stock-taking', management = 'Observe'");
    EXPECT_THAT(ends(1, {"plan", "articles"}),
                AllOf(HasSubstr("orphaned  200"), HasSubstr("SourceShort: 500 documents are declared and the source has 100"),
                      HasSubstr("SourceShrank: 200 deletions wait"), HasSubstr("suspended (stock-taking)"),
                      HasSubstr("management is Observe")));
    db.exec("UPDATE homeostat.pipeline SET documents = 60");
    const json p = plan(1);
    EXPECT_EQ(p["classes"]["excess"], 40);
    EXPECT_EQ(p["classes"]["orphaned"], 200);
}

TEST_F(CliPlan, RefusedDocumentsAndRowsWithoutAKeyAreCountedApart) {
    db.exec(R"(CREATE TABLE "it's ""odd""; --" ("the ""key""" text, "Größe;" int, "a'b" text);
        INSERT INTO "it's ""odd""; --" VALUES ('k''1', 1, 'one'), ('k2', 2, 'two'), (NULL, 3, 'three');
        INSERT INTO homeostat.pipeline (name, source, key, content, provider, dimensions, target) VALUES
            ('o''dd; "x"', '"it''s ""odd""; --"', '"the ""key""", Größe;', 'a''b', 'hashing', 16, '"view ""of"" odd"');
        INSERT INTO homeostat.dead_letter (uid, revision, key, content_hash, class, strategy, message, attempts)
            SELECT uid, 1, '{k2,2}', sha256('two'), 'content', 'bisect', 'refused', 1 FROM homeostat.pipeline)");
    const json before = json::parse(ends(1, {"plan", "o'dd; \"x\"", "-o", "json"}));
    EXPECT_EQ(before["classes"]["missing"], 2) << "a revision that is yet to be made has no dead letters";
    EXPECT_EQ(before["classes"]["unkeyed"], 1);
    run({"run", "--once"});
    const json after = json::parse(ends(0, {"plan", "o'dd; \"x\"", "-o", "json"}));
    EXPECT_EQ(after["classes"]["deadLetters"], 1) << after;
    EXPECT_EQ(after["classes"]["missing"], 0);
    EXPECT_THAT(after["warnings"].dump(), HasSubstr("1 document was refused"));
}

TEST_F(CliPlan, OneThatCannotBeReadDoesNotHideTheOthers) {
    declare_articles(5);
    db.exec(
        "CREATE TABLE gone (id int PRIMARY KEY, t text);"
        "INSERT INTO homeostat.pipeline (name, source, content, provider, target) VALUES ('broken', 'gone', 't', 'hashing', 'g');"
        "ALTER TABLE gone RENAME TO elsewhere");
    const Answer a = run({"plan"});
    EXPECT_EQ(a.code, 2);
    EXPECT_THAT(a.err, HasSubstr("homeostat: pipeline \"broken\": its source public.gone is gone"));
    EXPECT_THAT(a.out, AllOf(HasSubstr("Pipeline articles"), Not(HasSubstr("broken"))));
    EXPECT_THAT(refused({"plan", "article"}), HasSubstr("did you mean \"articles\"?"));
}

}  // namespace
}  // namespace homeostat
