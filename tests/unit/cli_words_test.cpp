// The pure parts of the command line: paths into objects, label selectors, lines cut to a screen, names of kinds, sentences.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controller/cli/manifest/kinds.hpp"
#include "controller/cli/text/field_path.hpp"
#include "controller/cli/text/listing_print.hpp"
#include "controller/cli/text/screen.hpp"
#include "reconcilers/gateway/plural.hpp"
#include "store/pg/pg_error.hpp"

namespace homeostat {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

YamlNode sample() {
    return read_yaml(
               "{metadata: {name: docs, labels: {a.b: x}}, spec: {content: [title, body]}, status: {documents: 7, conditions: "
               "[{type: Ready, status: 'False'}, {type: Stalled, status: 'True'}]}}",
               "test")
        ->front();
}

std::string expanded(std::string_view text) {
    const auto out = expand_template(sample(), text);
    return out ? *out : "error: " + out.error().message;
}

TEST(FieldPath, LeadsWhereKubectlsDo) {
    EXPECT_EQ(expanded("{.metadata.name}"), "docs");
    EXPECT_EQ(expanded("{$.metadata.name}"), "docs");
    EXPECT_EQ(expanded("{.spec.content[0]} and {.spec.content[-1]}"), "title and body");
    EXPECT_EQ(expanded("{.spec.content[*]}"), "title body");
    EXPECT_EQ(expanded("{.status.conditions[?(@.type==\"Ready\")].status}"), "False");
    EXPECT_EQ(expanded("{.status.conditions[?(@.type != 'Ready')].type}"), "Stalled");
    EXPECT_EQ(expanded("{.metadata.labels['a.b']}"), "x");
    EXPECT_EQ(expanded("{range .status.conditions[*]}{.type}={.status}{\"\\n\"}{end}done"), "Ready=False\nStalled=True\ndone");
    EXPECT_EQ(expanded("{range .none[*]}{.type}{end}-"), "-");
    EXPECT_EQ(expanded("{.no.such}|{.status.documents}"), "|7");
    EXPECT_EQ(expanded("{.metadata.labels}"), "{\"a.b\": \"x\"}");
    EXPECT_EQ(value_text(*follow_path(sample(), "status.documents")->front()), "7")
        << "without braces and dot, as --sort-by has it";
}

TEST(FieldPath, WhatIsNoneIsRefusedWithAnExample) {
    for (const char* wrong : {"{.a[}", "{.a[x]}", "{.a..b}", "{.a[0]b}", "{.a[?(type)]}", "{range .a}", "{end}", "{.a"}) {
        EXPECT_THAT(expanded(wrong), ::testing::StartsWith("error: ")) << wrong;
    }
}

std::vector<std::string> selected(const std::string& selector) {
    std::vector<Listed> rows{
        {.kind = "pipeline", .name = "a", .labels = {{"team", "x"}, {"stage", "test"}}, .cells = {}, .node = {}},
        {.kind = "pipeline", .name = "b", .labels = {{"team", "y"}}, .cells = {}, .node = {}},
        {.kind = "pipeline", .name = "c", .labels = {}, .cells = {}, .node = {}}};
    const auto out = select_labels(std::move(rows), selector);
    std::vector<std::string> names;
    if (!out) return {out.error().message};
    for (const Listed& row : *out) names.push_back(row.name);
    return names;
}

TEST(LabelSelector, ReadsWhatKubectlReads) {
    EXPECT_THAT(selected("team=x"), ElementsAre("a"));
    EXPECT_THAT(selected("team == x"), ElementsAre("a"));
    EXPECT_THAT(selected("team!=x"), ElementsAre("b", "c")) << "as in Kubernetes, also what has no such label";
    EXPECT_THAT(selected("team"), ElementsAre("a", "b"));
    EXPECT_THAT(selected("!team"), ElementsAre("c"));
    EXPECT_THAT(selected("team in (x, y), stage notin (test)"), ElementsAre("b"));
    EXPECT_THAT(selected("team=x,stage=prod"), ElementsAre());
    for (const char* wrong : {"", "=x", "team in x", "a b", "team,,stage", "team (x)"}) {
        EXPECT_THAT(selected(wrong), ElementsAre(HasSubstr("is not a label selector"))) << wrong;
    }
}

TEST(Screen, LinesAreCutByLettersAndTheRestIsCounted) {
    EXPECT_EQ(cut_to("abcdef", 6), "abcdef");
    EXPECT_EQ(cut_to("abcdef", 5), "abcd…");
    EXPECT_EQ(cut_to("äöüß", 4), "äöüß");
    EXPECT_EQ(cut_to("äöüß", 3), "äö…");
    EXPECT_EQ(cut_to("abc", 1), "…");
    EXPECT_EQ(cut_to("abc", 0), "");
    EXPECT_THAT(fit_block({"one", "two", "three"}, {4, 3}), ElementsAre("one", "two", "thr…"));
    EXPECT_THAT(fit_block({"one", "two", "three"}, {20, 2}), ElementsAre("one", "… and 2 more"));
    EXPECT_THAT(fit_block({"one", "two"}, {20, 1}), ElementsAre("… and 2 more"));
}

TEST(Kinds, TypeAndNameInAllTheirForms) {
    const auto read = [](std::vector<std::string> words, bool alone = false) {
        const auto all = read_objects(words, alone);
        if (!all) return "error: " + all.error().message;
        std::string out;
        for (const NamedObjects& some : *all) {
            out += std::string(kind_word(some.kind)) + ":";
            for (const std::string& name : some.names) out += name + ",";
        }
        return out;
    };
    EXPECT_EQ(read({"docs"}), "pipeline:docs,");
    EXPECT_EQ(read({"pipeline", "docs", "more"}), "pipeline:docs,more,");
    EXPECT_EQ(read({"Pipelines/docs", "provider/x"}), "pipeline:docs,provider:x,");
    EXPECT_EQ(read({"tv", "v"}), "targetview:v,");
    EXPECT_EQ(read({"pl"}, true), "pipeline:");
    EXPECT_EQ(read({"pl"}), "pipeline:pl,") << "where a kind alone means nothing, it is a name";
    EXPECT_EQ(read({"odd/name"}), "pipeline:odd/name,") << "a name may have a stroke in it";
    EXPECT_THAT(read({"pipeline/"}), HasSubstr("a name is missing"));
    EXPECT_THAT(read({"run/7"}), HasSubstr("can only be listed; see homeostat get runs"));
}

TEST(Forms, OfGet) {
    EXPECT_EQ(read_get_form("custom-columns=A:.a,B:.b[0]")->columns.size(), 2U);
    EXPECT_EQ(read_get_form("jsonpath={.a=b}")->text, "{.a=b}");
    for (const char* wrong : {"custom-columns=", "custom-columns=A", "custom-columns=:.a", "jsonpath", "json=1", "wid"}) {
        EXPECT_FALSE(read_get_form(wrong)) << wrong;
    }
    EXPECT_THAT(read_get_form("wid").error().message, HasSubstr("did you mean \"wide\"?"));
}

TEST(Sentences, NumbersMeetTheirNouns) {
    EXPECT_EQ(plural(1, "document"), "1 document");
    EXPECT_EQ(plural(0, "document"), "0 documents");
    EXPECT_EQ(plural(2, "batch", "batches"), "2 batches");
    EXPECT_EQ(one_or_many(1, "is", "are"), "is");
    EXPECT_EQ(span_text(0.44), "0.4 s");
    EXPECT_EQ(span_text(9.97), "10 s");
    EXPECT_EQ(span_text(1925.8), "32 min");
    EXPECT_EQ(span_text(10'000), "2.8 h");
    EXPECT_EQ(span_text(-1), "0.0 s");
}

TEST(Sentences, WhatWasNeverConnectedDidNotBreak) {
    const Error e = from_failed_connect(
        "connection to server at \"h\", port 1 failed: FATAL:  password authentication failed for user \"u\"\nmore");
    EXPECT_EQ(
        e.message,
        "the database cannot be reached: connection to server at \"h\", port 1 failed: password authentication failed for user "
        "\"u\"");
    EXPECT_TRUE(e.retryable());
}

}  // namespace
}  // namespace homeostat
