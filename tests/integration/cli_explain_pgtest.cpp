// `explain`: a true verdict for every state a document can be in.
#include <nlohmann/json.hpp>

#include "tests/integration/cli_case.hpp"

namespace homeostat {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class CliExplain : public CliCase {
protected:
    json explain(int code, const std::string& key, const std::string& pipeline = "articles") {
        return json::parse(ends(code, {"explain", pipeline, key, "-o", "json"}));
    }
};

TEST_F(CliExplain, EveryStateHasItsVerdict) {
    declare_articles(20, ", documents", ", 10");
    EXPECT_EQ(explain(1, "1")["verdict"], "not embedded: pipeline \"articles\" has not had its first pass yet");
    heal();
    const std::string uid = db.value("SELECT uid FROM homeostat.pipeline");
    const std::string d = "homeostat_data.p" + uid + "_r1_document";
    const std::string c = "homeostat_data.p" + uid + "_r1_chunk";
    const auto of = [&](int key) {
        return " WHERE document_id = (SELECT document_id FROM " + d + " WHERE key_1 = " + std::to_string(key) + ")";
    };
    EXPECT_EQ(explain(0, "1")["verdict"], "embedded and current, in 1 chunk");
    EXPECT_EQ(explain(0, " 01")["key"]["id"], "1") << "as the type itself writes it";
    db.exec(
        "UPDATE articles SET body = 'x' WHERE id = 2; UPDATE articles SET tag = 'x' WHERE id = 3; DELETE FROM articles WHERE id "
        "= 4;"
        "DELETE FROM " +
        c + of(5) + "; UPDATE " + c + " SET embedding = NULL" + of(6) + "; DELETE FROM " + c + of(7) + "; DELETE FROM " + d +
        " WHERE key_1 = 7; UPDATE articles SET title = '', body = '' WHERE id = 8");
    EXPECT_EQ(explain(1, "2")["state"], "stale");
    EXPECT_EQ(explain(1, "3")["state"], "moved");
    EXPECT_EQ(explain(1, "4")["state"], "orphaned");
    EXPECT_EQ(explain(1, "5")["state"], "partial");
    EXPECT_EQ(explain(1, "6")["state"], "invalid");
    EXPECT_EQ(explain(1, "7")["verdict"], "not embedded yet; the next pass heals it");
    EXPECT_EQ(explain(1, "15")["verdict"], "not embedded, and rightly so: it lies beyond the first 10 documents in key order");
    EXPECT_EQ(explain(2, "99")["verdict"], "not found: table public.articles has no row with this key");
    db.exec("UPDATE homeostat.pipeline SET suspend = true");
    EXPECT_THAT(explain(1, "2")["verdict"].get<std::string>(), HasSubstr("pipeline \"articles\" is suspended"));
    db.exec("UPDATE homeostat.pipeline SET suspend = false");
    EXPECT_THAT(explain(1, "5")["verdict"].get<std::string>(), HasSubstr("deep sweep"));
    run({"run", "--once", "--deep"});
    EXPECT_EQ(explain(0, "8")["verdict"], "current, with nothing to embed: its text is empty");
    EXPECT_EQ(explain(0, "5")["state"], "current");
    db.exec("UPDATE homeostat.pipeline SET documents = 9");
    EXPECT_EQ(explain(1, "11")["state"], "excess") << "it moved up when 4 went, and lies beyond the count now";
    db.exec("UPDATE homeostat.pipeline SET dimensions = 32");
    EXPECT_EQ(explain(1, "1")["state"], "outdated");
}

TEST_F(CliExplain, WorkUnderWayAndRefusalsAreTold) {
    declare_articles(3);
    heal();
    db.exec(
        "UPDATE articles SET body = 'y';"
        "INSERT INTO homeostat.batch (uid, revision, generation, epoch, run_id, kind, class, priority, keys, documents, attempts,"
        "  last_error, run_after) SELECT uid, 1, 1, 1, 77, 'heal', 'stale', 0, '{{1,2}}', 2, 3, 'the endpoint was away',"
        "  now() + interval '1 hour' FROM homeostat.pipeline;"
        "INSERT INTO homeostat.dead_letter (uid, revision, key, content_hash, class, strategy, message, attempts, trace_id)"
        "  SELECT uid, 1, '{3}', sha256(convert_to(E'title 3\\n\\ny', 'UTF8')), 'content', 'bisect', 'not this', 5, 'abc'"
        "  FROM homeostat.pipeline");
    const json waiting = explain(1, "2");
    EXPECT_THAT(waiting["verdict"].get<std::string>(), HasSubstr("tries again (the endpoint was away)"));
    EXPECT_THAT(waiting["facts"]["open batch"].get<std::string>(), AllOf(HasSubstr("3 failed attempts"), HasSubstr("next try")));
    const json refused_one = explain(1, "3");
    EXPECT_EQ(refused_one["state"], "dead letter");
    EXPECT_EQ(refused_one["traceId"], "abc");
    db.exec("UPDATE articles SET body = 'mended' WHERE id = 3");
    EXPECT_EQ(explain(1, "3")["state"], "stale");
    EXPECT_THAT(
        ends(1, {"explain", "articles", "3"}),
        AllOf(HasSubstr("Document 3 of pipeline articles is embedded, but its text has changed since"),
              HasSubstr("of an earlier text"), HasSubstr("revision 1 through public.articles_embeddings, with this document")));
}

TEST_F(CliExplain, CompositeKeysAndHostileNames) {
    db.exec(R"(CREATE TABLE "a ""b""" ("x;" int, "a'b" text, hash text, version text, PRIMARY KEY ("x;", "a'b"));
        INSERT INTO "a ""b""" VALUES (7, 'it''s; --', 'hash', 'version'), (7, 'x=1', 'other', NULL);
        INSERT INTO homeostat.pipeline (name, source, content, metadata, provider, dimensions, target) VALUES
            ('p', '"a ""b"""', 'hash', 'version', 'hashing', 16, '"p ""v"""'))");
    heal();
    EXPECT_THAT(ends(0, {"explain", "p", "7", "it's; --"}),
                HasSubstr("Document 7, it's; -- of pipeline p is embedded and current"));
    EXPECT_THAT(ends(0, {"explain", "p", "a'b=it's; --", "x;=7"}), HasSubstr("embedded and current"));
    EXPECT_THAT(ends(0, {"explain", "p", "7", "x=1"}), HasSubstr("embedded and current"));
    EXPECT_THAT(refused({"explain", "p", "7"}), HasSubstr("the key has 2 columns: x;, a'b; 1 value given"));
    EXPECT_THAT(refused({"explain", "p", "seven", "x"}),
                HasSubstr("\"seven\" is no value of key column \"x;\", which is integer"));
    EXPECT_THAT(refused({"explain", "q", "1"}), HasSubstr("pipeline \"q\" does not exist"));
}

}  // namespace
}  // namespace homeostat
