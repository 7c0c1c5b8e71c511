// Durations, sizes, shares and the tree of YAML: what people write and what it means.
#include "controller/config/config_values.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "controller/config/config_yaml.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;

TEST(Durations, AreWholeNumbersWithUnits) {
    EXPECT_EQ(parse_duration("250ms"), Millis(250));
    EXPECT_EQ(parse_duration("15s"), Millis(15'000));
    EXPECT_EQ(parse_duration("1h30m"), Millis(5'400'000));
    EXPECT_EQ(parse_duration("1d"), Millis(86'400'000));
    EXPECT_EQ(parse_duration("0"), Millis(0));
    for (const char* bad : {"", "15", "s", "1.5s", "-1s", "1s1h", "1s1s", "1 s", "99999999999999999999d", "40000d", "1w"}) {
        EXPECT_EQ(parse_duration(bad), std::nullopt) << bad;
    }
}

RC_GTEST_PROP(Durations, TextAndValueAreOne, ()) {
    const Millis value(*rc::gen::inRange<std::int64_t>(0, 36'500LL * 86'400'000));
    RC_ASSERT(parse_duration(duration_text(value)) == value);
}

TEST(Sizes, AreBytesOrBinaryMultiples) {
    EXPECT_EQ(parse_size("64MiB"), 64U << 20U);
    EXPECT_EQ(parse_size("512"), 512U);
    EXPECT_EQ(size_text(64U << 20U), "64MiB");
    for (const char* bad : {"", "64MB", "-1", "1.5GiB", "99999999999TiB"}) EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
}

TEST(Shares, ArePlainDecimals) {
    EXPECT_EQ(parse_share("0.25"), 0.25);
    EXPECT_EQ(parse_share("1"), 1.0);
    for (const char* bad : {"", "-0.5", "+0.5", ".5", "5e-1", "0,5", "50%", "0.5 ", "nan", "inf"})
        EXPECT_EQ(parse_share(bad), std::nullopt) << bad;
}

TEST(Urls, AreShownWithoutTheirPassword) {
    EXPECT_EQ(redact_url("postgres://ann:hush@db:5432/app"), "postgres://ann:***@db:5432/app");
    EXPECT_EQ(redact_url("postgres://ann:a@b@db/app?sslmode=require"), "postgres://ann:***@db/app?sslmode=require");
    EXPECT_EQ(redact_url("postgres://db/app?user=ann&password=hush&x=1"), "postgres://db/app?user=ann&password=***&x=1");
    EXPECT_EQ(redact_url("host=db password = 'hu sh\\'x' user=ann"), "host=db password = *** user=ann");
    EXPECT_EQ(redact_url("host=db user=ann password=hush"), "host=db user=ann password=***");
    EXPECT_EQ(redact_url("postgres://ann@db/app"), "postgres://ann@db/app");
    EXPECT_EQ(redact_url("postgres://ann:hu/sh@db/app"), "postgres://ann:***@db/app");
    EXPECT_EQ(redact_url("postgres://ann:hu?s/h@db/app"), "postgres://ann:***@db/app");
    EXPECT_EQ(redact_url(""), "");
}

YamlNode read_one(const std::string& text) {
    auto documents = read_yaml(text, "f.yaml");
    EXPECT_TRUE(documents.ok()) << (documents.ok() ? "" : documents.error().message);
    return documents.ok() && !documents->empty() ? documents->front() : YamlNode{};
}

TEST(Yaml, KnowsWhatAScalarIsAndWhereItStands) {
    const YamlNode n = read_one("a: 12\nb: \"12\"\nc: yes\nd: true\ne: 0.5\nf:\ng: 5m\nh: 007\ni: [x, 1]\n");
    using Kind = YamlNode::Kind;
    EXPECT_EQ(n.find("a")->kind, Kind::integer);
    EXPECT_EQ(n.find("b")->kind, Kind::text);
    EXPECT_TRUE(n.find("b")->quoted);
    EXPECT_EQ(n.find("b")->line, 2);
    EXPECT_EQ(n.find("c")->kind, Kind::text);
    EXPECT_EQ(n.find("d")->kind, Kind::boolean);
    EXPECT_EQ(n.find("e")->kind, Kind::real);
    EXPECT_EQ(n.find("f")->kind, Kind::null);
    EXPECT_EQ(n.find("g")->kind, Kind::text);
    EXPECT_EQ(n.find("h")->kind, Kind::text);
    EXPECT_EQ(n.find("i")->items.size(), 2U);
}

TEST(Yaml, AliasesAreCopiesWithinBounds) {
    EXPECT_EQ(read_one("a: &x [1, 2]\nb: *x\n").find("b")->items.size(), 2U);
    std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
    for (int i = 1; i < 9; ++i) {
        bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
        for (int j = 0; j < 10; ++j) bomb += (j == 0 ? "*a" : ", *a") + std::to_string(i - 1);
        bomb += "]\n";
    }
    const auto refused = read_yaml(bomb, "f.yaml");
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().message, HasSubstr("more than 100000 values"));
}

TEST(Yaml, RefusesWhatNobodyMeant) {
    const auto refusal = [](std::string_view text) {
        const auto r = read_yaml(text, "f.yaml");
        return r.ok() ? std::string("accepted") : r.error().message;
    };
    EXPECT_EQ(refusal("a: 1\nb: 2\na: 3\n"),
              "f.yaml:3:1: this is not YAML that can be read: \"a\" is given twice (first on line 1)");
    EXPECT_THAT(refusal("a: {b: 1, b: 2}\n"), HasSubstr("\"b\" is given twice"));
    EXPECT_THAT(refusal("a: 1\n? [x]\n: 2\n"), HasSubstr("a key must be a single word"));
    EXPECT_THAT(refusal("a: [1\nb: 2\n"), HasSubstr("f.yaml:"));
    EXPECT_THAT(refusal("a: *nothing\n"), HasSubstr("f.yaml:1"));
    EXPECT_EQ(refusal("a: 1\nb: \xff\n"), "f.yaml:2: these bytes are not UTF-8; save the file as UTF-8");
    EXPECT_THAT(refusal(std::string_view("a: x\0y\n", 7)), HasSubstr("NUL"));
    EXPECT_THAT(refusal(std::string(20'000, '[')), HasSubstr("f.yaml:"));
}

RC_GTEST_PROP(Yaml, TextSurvivesWritingAndReading, (const std::vector<std::string>& texts)) {
    YamlNode list = YamlNode::map();
    for (std::size_t i = 0; i < texts.size(); ++i) {
        std::string clean;
        for (const char c : texts[i]) {
            if (c != '\0' && static_cast<unsigned char>(c) < 0x80) clean += c;
        }
        list.add("k" + std::to_string(i), YamlNode::text(clean));
    }
    for (const std::string& text : {write_yaml(list), write_json(list)}) {
        const auto back = read_yaml(text, "f.yaml");
        RC_ASSERT(back.ok());
        for (const auto& [name, value] : list.fields) {
            RC_ASSERT(back->front().find(name) != nullptr);
            RC_ASSERT(back->front().find(name)->kind == YamlNode::Kind::text);
            RC_ASSERT(back->front().find(name)->scalar == value.scalar);
        }
    }
}

TEST(Yaml, WordsThatOtherReadersTakeForBooleansAreQuoted) {
    YamlNode n = YamlNode::map();
    for (const char* word : {"no", "On", "true", "null", "12", "1e3", "~", "", " a", "a: b", "#x"})
        n.add(std::string("k") + word, YamlNode::text(word));
    const auto back = read_yaml(write_yaml(n), "f.yaml");
    ASSERT_TRUE(back.ok()) << back.error().message << write_yaml(n);
    for (const auto& [name, value] : back->front().fields) EXPECT_TRUE(value.quoted) << name;
}

TEST(Yaml, AliasesRepeatNoMoreThanFits) {
    std::string bomb = "a: &a " + std::string(1U << 20U, 'x') + "\nb:\n";
    for (int i = 0; i < 1'000; ++i) bomb += "  - *a\n";
    const auto refused = read_yaml(bomb, "f.yaml");
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().message, HasSubstr("aliases repeat more than 16 MiB"));
    EXPECT_TRUE(read_yaml("a: &a " + std::string(1U << 20U, 'x') + "\nb: [*a, *a]\n", "f.yaml").ok());
}

TEST(Yaml, WhatIsWrittenMovesNoCursorAndReadsBack) {
    const std::string dirty =
        "a\x1b[31m\xC2\x9B"
        "b\xE2\x80\xAE"
        "c\xEF\xBB\xBF"
        "d";
    YamlNode n = YamlNode::map();
    n.add("k", YamlNode::text(dirty));
    for (const std::string& written : {write_yaml(n), write_json(n)}) {
        for (const char* hidden : {"\x1b", "\xC2\x9B", "\xE2\x80\xAE", "\xEF\xBB\xBF"})
            EXPECT_EQ(written.find(hidden), std::string::npos);
        EXPECT_EQ(read_yaml(written, "f.yaml")->front().find("k")->scalar, dirty);
    }
}

}  // namespace
}  // namespace homeostat
