// What facts about a source are judged to mean: severities, sentences, proposals. And the form in which the catalog keeps
// queries.
#include "reconcilers/inspect/validation.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/data/node_tree.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

PlanStep scan(const std::string& what, double rows, bool by_key) {
    PlanStep s;
    s.what = what;
    s.schema = "public";
    s.relation = "articles";
    s.rows = rows;
    s.sought = by_key;
    s.by_parameter = by_key;
    return s;
}

std::vector<StatementPlan> plans(const PlanStep& step) {
    std::vector<StatementPlan> out;
    for (const auto s :
         {SourceStatement::first_page, SourceStatement::next_page, SourceStatement::compare, SourceStatement::look_up})
        out.push_back({s, 100, {step}});
    return out;
}

// A view over one table of 100,000 rows, swept by its index.
SourceFacts sound() {
    SourceFacts f;
    f.spec.name = "p";
    f.spec.source = "public.v";
    f.spec.key = {"id"};
    f.spec.content = {"body"};
    f.used.described = "view public.v";
    f.used.readable = true;
    f.used.role = "runner";
    f.used.columns = {{"key", "id", "id", true, true, "integer", false, ""},
                      {"content", "body", "body", true, true, "text", false, ""}};
    f.shape.relation = "public.v";
    f.shape.described = "view public.v";
    f.shape.kind = 'v';
    f.shape.key = {{"id", "id", "integer", "", false}};
    f.shape.version = VersionKind::column;
    BaseTable t;
    t.schema = "public";
    t.relation = "articles";
    t.name = "public.articles";
    t.rows = 100'000;
    t.may_trigger = true;
    t.key = {"nr"};
    t.indexes = {{"nr"}};
    t.quoted = {{"nr", "nr"}, {"text", "\"text\""}};
    t.capture = {"nr"};
    f.lineage.tables = {t};
    f.lineage.columns["id"] = {ColumnOrigin::Kind::base, {{0, "nr"}}, true};
    f.plans.rows = 100'000;
    f.plans.natural = plans(scan("Index Scan", 33'000, true));
    f.plans.indexed = f.plans.natural;
    f.sample.content = ContentSample{1'000, 0, 500, 900};
    f.sample.key = KeySample{1'000, 0, 0};
    return f;
}

TEST(Validation, ASoundSourceHasNoRemarkButItsMapping) {
    const SourceFacts f = sound();
    EXPECT_THAT(judge_columns(f.spec, f.used), IsEmpty());
    EXPECT_THAT(judge_key(f), IsEmpty());
    EXPECT_THAT(judge_version(f), IsEmpty());
    EXPECT_THAT(judge_plans(f), IsEmpty());
    EXPECT_THAT(judge_content(f), IsEmpty());
    const auto capture = judge_capture(f);
    ASSERT_EQ(capture.size(), 1U);
    EXPECT_THAT(capture[0].proposal, ElementsAre("captureFrom:", "  - table: public.articles", "    key: {id: nr}"));

    SourceFacts declared = sound();
    declared.spec.capture_from = {{"public.articles", {{"id", "nr"}}}};
    EXPECT_THAT(judge_capture(declared), IsEmpty());
    declared.spec.capture_from = {{"public.articles", {}}};
    EXPECT_EQ(judge_capture(declared).size(), 1U);
}

TEST(Validation, WithoutAnIndexOneIsProposedOnTheTableAndColumnBehindTheKey) {
    SourceFacts f = sound();
    f.lineage.tables[0].indexes.clear();
    f.plans.natural = f.plans.indexed = plans(scan("Seq Scan", 33'000, false));
    const auto remarks = judge_plans(f);
    ASSERT_EQ(remarks.size(), 2U);
    EXPECT_EQ(remarks[0].code, "SlowSweep");
    EXPECT_EQ(remarks[0].severity, Severity::warning);
    EXPECT_THAT(remarks[0].sentence, AllOf(HasSubstr("reads all 100000 rows of public.articles"), HasSubstr("about 5 times")));
    EXPECT_THAT(remarks[0].proposal, ElementsAre("CREATE INDEX CONCURRENTLY ON public.articles (nr);"));
    EXPECT_EQ(remarks[1].code, "SlowLookUp");
    EXPECT_THAT(remarks[1].proposal, IsEmpty());  // the same helps
}

TEST(Validation, AnIndexThatIsThereAndNotWantedIsOnlyNoted) {
    SourceFacts f = sound();
    f.plans.natural = plans(scan("Seq Scan", 100'000, false));
    const auto remarks = judge_plans(f);
    ASSERT_EQ(remarks.size(), 1U);
    EXPECT_EQ(remarks[0].code, "IndexNotChosen");
    EXPECT_EQ(remarks[0].severity, Severity::note);
}

TEST(Validation, WhatFoldsRowsIsMaterialised) {
    SourceFacts f = sound();
    f.lineage.folds = {"GROUP BY"};
    f.plans.natural = f.plans.indexed = plans(scan("Seq Scan", 33'000, false));
    const auto remarks = judge_plans(f);
    EXPECT_THAT(remarks.at(0).sentence, HasSubstr("there is GROUP BY between the view's rows and the tables'"));
    EXPECT_THAT(remarks.at(0).proposal,
                ElementsAre("CREATE MATERIALIZED VIEW public.v_documents AS SELECT id, body FROM public.v;",
                            "CREATE UNIQUE INDEX ON public.v_documents (id);",
                            "REFRESH MATERIALIZED VIEW CONCURRENTLY public.v_documents;"));
}

TEST(Validation, AMaterialisationsNameIsCutBetweenLetters) {
    SourceFacts f = sound();
    std::string name;
    while (name.size() + 2 <= 63) name += "ä";
    f.shape.relation = "\"My schema\".\"" + name + "\"";
    const std::string made = materialisation(f).at(1);
    const std::string kept = name.substr(0, 52);  // 63 bytes less the suffix are 53, and half a letter is none
    EXPECT_EQ(made, "CREATE UNIQUE INDEX ON \"My schema\".\"" + kept + "_documents\" (id);");
}

TEST(Validation, ASmallSourceWithoutAnIndexIsOnlyNoted) {
    SourceFacts f = sound();
    f.lineage.tables[0].indexes.clear();
    f.lineage.tables[0].rows = f.plans.rows = 50;
    f.plans.natural = f.plans.indexed = plans(scan("Seq Scan", 50, false));
    const auto remarks = judge_plans(f);
    ASSERT_EQ(remarks.size(), 1U);
    EXPECT_EQ(remarks[0].severity, Severity::note);
    EXPECT_THAT(remarks[0].sentence, AllOf(HasSubstr("about 50 rows"), HasSubstr("a slice (20000)")));
    EXPECT_THAT(remarks[0].proposal, ElementsAre("CREATE INDEX CONCURRENTLY ON public.articles (nr);"));
}

TEST(Validation, SeverityOfAHashGrowsWithTheSource) {
    SourceFacts f = sound();
    f.shape.version = VersionKind::hash;
    EXPECT_EQ(judge_version(f).at(0).severity, Severity::warning);
    EXPECT_THAT(judge_version(f).at(0).sentence, HasSubstr("row_version"));
    f.lineage.plain_rows = false;
    EXPECT_THAT(judge_version(f).at(0).proposal, IsEmpty());
    f.key.version_columns = {"updated_at"};
    EXPECT_THAT(judge_version(f).at(0).proposal, ElementsAre("versionColumn: updated_at"));
    f.plans.rows = 20;
    EXPECT_EQ(judge_version(f).at(0).severity, Severity::note);
}

TEST(Validation, CollationsOfTheKey) {
    SourceFacts f = sound();
    f.key.collations = {{"id", "de_DE", true, "153.1", "153.14"}, {"k", "anycase", false, "", ""}};
    const auto remarks = judge_key(f);
    ASSERT_EQ(remarks.size(), 2U);
    EXPECT_EQ(remarks[0].code, "KeyCollationVersion");
    EXPECT_THAT(remarks[0].sentence, AllOf(HasSubstr("153.14"), HasSubstr("REINDEX")));
    EXPECT_EQ(remarks[1].code, "KeyCollationFolds");
}

TEST(Validation, NamesThatYamlWouldTakeForSomethingElseAreQuoted) {
    SourceFacts f = sound();
    f.spec.key = {"yes"};
    f.lineage.tables[0].capture = {"a \"b\"\n"};
    f.lineage.tables[0].name = "public.\"T\"";
    EXPECT_THAT(judge_capture(f).at(0).proposal,
                ElementsAre("captureFrom:", R"(  - table: "public.\"T\"")", R"(    key: {"yes": "a \"b\"\x0a"})"));
}

TEST(NodeTree, ReadsLabelsListsAndEscapes) {
    const auto tree = read_node_tree(
        R"tree(({QUERY :resname :resno\ \{x :items (i 1 2) :names ("a\ b" "c\)")
                :inner {VAR :varno 3 :constvalue 4 [ 1 0 ] :last true} :none <>}))tree");
    ASSERT_TRUE(tree);
    ASSERT_EQ(tree->items.size(), 1U);
    const TreeNode& q = tree->items[0];
    EXPECT_EQ(q.at("resname").text, ":resno {x");
    EXPECT_EQ(q.at("items").items.size(), 3U);
    EXPECT_EQ(q.at("names").items.at(1).text, "\"c)\"");
    EXPECT_EQ(q.at("inner").number("varno"), 3);
    EXPECT_TRUE(q.at("inner").truth("last"));
    EXPECT_TRUE(q.at("none").nothing());
    EXPECT_TRUE(q.at("absent").nothing());
}

TEST(NodeTree, AFieldsFirstValueIsItsOwnWhateverItLooksLike) {
    const auto tree = read_node_tree(R"({VAR :resname :varno :varno 3 :constvalue 4 [ 1 0 ] :last true :list (b 1) :n \{x})");
    ASSERT_TRUE(tree);
    EXPECT_EQ(tree->at("resname").text, ":varno");
    EXPECT_EQ(tree->number("varno"), 3);
    EXPECT_TRUE(tree->truth("last"));
    EXPECT_EQ(tree->at("n").text, "{x");
}

TEST(NodeTree, RefusesWhatIsNoneAndWhatIsTooDeep) {
    for (const char* text : {"", "{", "{QUERY :a", "(1 2", "{A} trailing", "\\", "{ }"})
        EXPECT_FALSE(read_node_tree(text)) << text;
    EXPECT_FALSE(read_node_tree(std::string(5'000, '(') + std::string(5'000, ')')));
}

}  // namespace
}  // namespace homeostat
