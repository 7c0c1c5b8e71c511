// Manifests as files: what is read, and the sentences for what is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "controller/cli/manifest/manifest.hpp"
#include "controller/cli/manifest/manifest_schema.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string pipeline(const std::string& spec, const std::string& name = "articles") {
    return "apiVersion: homeostat.dev/v1\nkind: Pipeline\nmetadata:\n  name: " + name +
           "\nspec:\n  source: articles\n  content: body\n  provider: local\n  target: t\n" + spec;
}

std::string refusal(const std::string& text) {
    const auto read = read_manifest(text, "f.yaml");
    return read.ok() ? "accepted" : read.error().message;
}

std::string value_of(const DeclaredObject& object, std::string_view column) {
    for (const auto& [name, value] : object.columns) {
        if (name == column) return value.value_or("NULL");
    }
    return "absent";
}

std::vector<std::string> order_of(const std::string& text) {
    std::istringstream in(text);
    const auto read = read_manifests({"-"}, in);
    EXPECT_TRUE(read.ok()) << (read.ok() ? "" : read.error().message);
    std::vector<std::string> names;
    if (read.ok()) {
        for (const Manifest& m : *read) names.push_back(m.object.name);
    }
    return names;
}

TEST(Manifests, EveryFileOfTheFolderIsRead) {
    std::istringstream none;
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(HOMEOSTAT_SOURCE_DIR "/manifests")) {
        if (entry.path().extension() != ".yaml") continue;
        const auto read = read_manifests({entry.path().string()}, none);
        EXPECT_TRUE(read.ok()) << (read.ok() ? "" : read.error().message);
        ++files;
    }
    EXPECT_GE(files, 3U);
    EXPECT_TRUE(read_manifests({HOMEOSTAT_SOURCE_DIR "/manifests"}, none).ok());
}

TEST(Manifests, FieldsBecomeColumns) {
    const auto read =
        read_manifest(pipeline("  chunkSize: 300\n  driftInterval: 1m\n  metadataColumns: [\"a b\", 'c\"d']\n"
                               "  completeness: 0.99\n  model:\n") +
                          "---\napiVersion: homeostat.dev/v1\nkind: Provider\nmetadata:\n  name: p\n  labels: {team: x}\n"
                          "spec:\n  kind: openai\n  headers: {X-A: \"1\"}\n  sendDimensions: true\n",
                      "f.yaml");
    ASSERT_TRUE(read.ok()) << read.error().message;
    const DeclaredObject& p = (*read)[0].object;
    EXPECT_EQ(p.kind, ResourceKind::pipeline);
    EXPECT_EQ(value_of(p, "chunk_size"), "300");
    EXPECT_EQ(value_of(p, "drift_interval"), "60000 milliseconds");
    EXPECT_EQ(value_of(p, "metadata"), R"("a b", "c""d")");
    EXPECT_EQ(value_of(p, "content"), "body");
    EXPECT_EQ(value_of(p, "completeness"), "0.99");
    EXPECT_EQ(value_of(p, "model"), "absent");
    const DeclaredObject& provider = (*read)[1].object;
    EXPECT_EQ(provider.kind, ResourceKind::provider);
    EXPECT_EQ(value_of(provider, "headers"), R"({"X-A":"1"})");
    EXPECT_EQ(value_of(provider, "labels"), R"({"team":"x"})");
    EXPECT_EQ(value_of(provider, "send_dimensions"), "true");
    EXPECT_EQ((*read)[1].origin, "f.yaml:16");
}

TEST(Manifests, EveryFieldOfTheSchemaIsAColumnThatMayBeDeclaredAndTheOtherWayRound) {
    for (const ResourceKind kind : {ResourceKind::pipeline, ResourceKind::provider, ResourceKind::target_view}) {
        std::vector<std::string> fields{"labels"};
        for (const ManifestField& f : manifest_fields(kind)) fields.push_back(f.column);
        const auto columns = declared_columns(kind);
        EXPECT_THAT(fields, ::testing::UnorderedElementsAreArray(std::vector<std::string>(columns.begin(), columns.end())));
    }
}

TEST(Manifests, EveryFieldIsInTheDocs) {
    std::ifstream in(HOMEOSTAT_SOURCE_DIR "/docs/manifests.md");
    const std::string page{std::istreambuf_iterator<char>(in), {}};
    for (const ResourceKind kind : {ResourceKind::pipeline, ResourceKind::provider, ResourceKind::target_view}) {
        for (const ManifestField& f : manifest_fields(kind)) {
            EXPECT_THAT(page, HasSubstr("| `" + f.name + "` |")) << f.name;
            EXPECT_THAT(page, HasSubstr(f.description)) << f.name;
        }
    }
}

TEST(Manifests, TypesAreKeptApart) {
    EXPECT_EQ(refusal(pipeline("  chunkSize: \"300\"\n")),
              "f.yaml:10: Pipeline \"articles\": spec.chunkSize must be a whole number from 1 to 1000000, not the text \"300\"; "
              "write it "
              "without quotes");
    EXPECT_THAT(refusal(pipeline("  chunkSize: 3.5\n")), HasSubstr("from 1 to 1000000, not 3.5"));
    EXPECT_THAT(refusal(pipeline("  chunkSize: 0\n")), HasSubstr("from 1 to 1000000, not 0"));
    EXPECT_THAT(refusal(pipeline("  documents: -1\n")), HasSubstr("spec.documents must be a whole number of at least 0, not -1"));
    EXPECT_THAT(refusal(pipeline("  documents: 99999999999999999999\n")), HasSubstr("spec.documents must be"));
    EXPECT_THAT(refusal(pipeline("  model: 5\n")),
                HasSubstr("spec.model must be a text that is not empty, not the number 5; put it in quotes"));
    EXPECT_THAT(refusal(pipeline("  completeness: most\n")),
                HasSubstr("spec.completeness must be a number from 0 to 1, not \"most\""));
    EXPECT_THAT(refusal(pipeline("  driftInterval: 5\n")), HasSubstr("spec.driftInterval must be a duration such as"));
    EXPECT_THAT(refusal(pipeline("  driftInterval: 5 minutes\n")), HasSubstr("spec.driftInterval must be a duration such as"));
    EXPECT_THAT(
        refusal(pipeline("  mode: progresive\n")),
        HasSubstr(
            "spec.mode must be one of progressive, complete, emergency, not \"progresive\" (did you mean \"progressive\"?)"));
    EXPECT_THAT(refusal(pipeline("  key: [id, 2]\n")),
                HasSubstr("spec.key must be a column name, or a list of column names, not [\"id\", 2]"));
}

TEST(Manifests, EverythingThatIsWrongIsSaidAtOnce) {
    const std::string said = refusal(
        "apiVersion: homeostat.dev/v2\nkind: Pipeline\nmetadata: {nam: x}\nspec:\n  sorce: a\n  chunkSize: big\n"
        "---\nkind: Pipelin\n---\n- a\n---\napiVersion: homeostat.dev/v1\n");
    EXPECT_THAT(
        said,
        AllOf(HasSubstr("f.yaml:1: Pipeline: apiVersion must be homeostat.dev/v1, not \"homeostat.dev/v2\""),
              HasSubstr("metadata.nam is not a field (did you mean \"name\"?)"), HasSubstr("metadata.name is missing"),
              HasSubstr("f.yaml:5: Pipeline: spec.sorce is not a field (did you mean \"source\"?)"),
              HasSubstr("spec.source is missing; it is a text that is not empty"), HasSubstr("spec.target is missing"),
              HasSubstr("spec.chunkSize must be"),
              HasSubstr(
                  "f.yaml:8: kind \"Pipelin\" is not known; it is Pipeline, Provider or TargetView (did you mean \"Pipeline\"?)"),
              HasSubstr("f.yaml:10: a manifest is a map"), HasSubstr("kind is missing")));
}

TEST(Manifests, TextThatIsNoYamlIsRefusedWithItsPlace) {
    EXPECT_THAT(refusal("kind: Pipeline\n  metadata: x\n"), HasSubstr("f.yaml:2:"));
    EXPECT_THAT(refusal(pipeline("  source: again\n")),
                HasSubstr("f.yaml:10:3: this is not YAML that can be read: \"source\" is given twice"));
    std::istringstream in("");
    const auto empty = read_manifests({"-"}, in);
    ASSERT_FALSE(empty.ok());
    EXPECT_THAT(empty.error().message, HasSubstr("nothing is declared there"));
    const auto missing = read_manifests({"/no/such/file.yaml"}, in);
    ASSERT_FALSE(missing.ok());
    EXPECT_THAT(missing.error().message, HasSubstr("/no/such/file.yaml: the file cannot be read"));
}

TEST(Manifests, ProvidersComeFirstAndPipelinesAfterWhatTheyDependOn) {
    const std::string provider =
        "---\napiVersion: homeostat.dev/v1\nkind: Provider\nmetadata: {name: p}\nspec: {kind: hashing}\n";
    EXPECT_THAT(order_of(pipeline("  dependsOn: [b]\n", "a") + "---\n" + pipeline("", "b") + provider),
                ElementsAre("p", "b", "a"));
    EXPECT_THAT(
        order_of(pipeline("  dependsOn: c\n", "a") + "---\n" + pipeline("", "b") + "---\n" + pipeline("  dependsOn: [b]\n", "c")),
        ElementsAre("b", "c", "a"));
}

TEST(Manifests, CirclesAndDoublesAreRefused) {
    std::istringstream circle(pipeline("  dependsOn: [b]\n", "a") + "---\n" + pipeline("  dependsOn: [a]\n", "b"));
    const auto round = read_manifests({"-"}, circle);
    ASSERT_FALSE(round.ok());
    EXPECT_EQ(round.error().message, "stdin:1: Pipeline \"a\": it would wait for itself: a -> b -> a");
    std::istringstream twice(pipeline("") + "---\n" + pipeline(""));
    const auto doubled = read_manifests({"-"}, twice);
    ASSERT_FALSE(doubled.ok());
    EXPECT_EQ(doubled.error().message, "stdin:11: Pipeline \"articles\" is declared twice (first in stdin:1)");
}

}  // namespace
}  // namespace homeostat
