// What hands that know kubectl type: get in all its forms, TYPE/NAME, describe's first lines, wait, status, diff, apply --prune,
// completion, and the sentences for what is mistyped. On a real database, with the program's own runs.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/integration/cli_case.hpp"

namespace homeostat {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class CliGet : public CliCase {
protected:
    void SetUp() override {
        declare_articles(3, ", labels", R"(, '{"team": "search"}')");
        db.exec(
            "CREATE TABLE notes (id bigint PRIMARY KEY, body text);"
            "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target)"
            " VALUES ('notes', 'notes', 'body', 'hashing', 16, 'notes_v')");
    }
    // A directory of manifests, gone with the test.
    class Folder {
    public:
        Folder() : path_(std::filesystem::temp_directory_path() / ("homeostat_" + std::to_string(getpid()) + "_manifests")) {
            std::filesystem::create_directories(path_ / "below");
        }
        ~Folder() { std::filesystem::remove_all(path_); }
        Folder(const Folder&) = delete;
        Folder& operator=(const Folder&) = delete;
        void write(const std::string& file, const std::string& text) const { std::ofstream(path_ / file) << text; }
        std::string path() const { return path_.string(); }

    private:
        std::filesystem::path path_;
    };
    static std::string manifest(const std::string& name, const std::string& more = "") {
        return "apiVersion: homeostat.dev/v1\nkind: Pipeline\nmetadata: {name: " + name +
               ", labels: {set: s}}\nspec: {source: articles, content: [body], provider: hashing, dimensions: 16, target: " +
               name + "_v" + more + "}\n";
    }
};

TEST_F(CliGet, TypeAndNameEverywhere) {
    for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
             {"pipeline", "articles"}, {"pipelines", "articles"}, {"pl", "articles"}, {"PIPELINE/articles"}, {"articles"}}) {
        std::vector<std::string> get{"get"};
        get.insert(get.end(), words.begin(), words.end());
        EXPECT_THAT(ends(0, get), AllOf(HasSubstr("articles"), Not(HasSubstr("notes")))) << words.front();
        std::vector<std::string> describe{"describe"};
        describe.insert(describe.end(), words.begin(), words.end());
        EXPECT_THAT(ends(0, describe), StartsWith("Pipeline articles (uid")) << words.front();
    }
    EXPECT_THAT(ends(0, {"get", "pipeline/articles", "provider/hashing", "-o", "name"}), "pipeline/articles\nprovider/hashing\n");
    EXPECT_THAT(ends(0, {"describe", "provider/hashing"}), StartsWith("Provider hashing"));
    EXPECT_THAT(ends(0, {"describe", "pipelines"}), AllOf(HasSubstr("Pipeline articles"), HasSubstr("Pipeline notes")));
    EXPECT_EQ(ends(0, {"suspend", "pipeline/notes", "pipeline/articles"}),
              "pipeline/notes suspended\npipeline/articles suspended\n");
    EXPECT_EQ(ends(0, {"resume", "pipelines", "notes", "articles"}), "pipeline/notes resumed\npipeline/articles resumed\n");
    EXPECT_THAT(ends(1, {"plan", "pipeline/articles"}), HasSubstr("Pipeline articles"));
    EXPECT_THAT(refused({"plan", "provider/hashing"}), HasSubstr("is no pipeline"));
    EXPECT_THAT(refused({"suspend", "provider/hashing"}), HasSubstr("pipelines and target views can be suspended"));
    EXPECT_EQ(ends(0, {"delete", "pipeline/notes"}), "pipeline/notes is being deleted\n");
    EXPECT_THAT(refused({"delete", "articles"}),
                AllOf(HasSubstr("is not a kind of object"), HasSubstr("homeostat delete pipeline/articles")))
        << "a deletion is not guessed at";
}

TEST_F(CliGet, WhatIsMistypedIsAnsweredWithTheNearestName) {
    EXPECT_THAT(refused({"gt", "pipelines"}), HasSubstr("\"gt\" is not a command (did you mean \"get\"?); see homeostat --help"));
    EXPECT_THAT(refused({"--log-level", "error", "descrbe", "x"}),
                HasSubstr("\"descrbe\" is not a command (did you mean \"describe\"?)"));
    EXPECT_THAT(refused({"rm", "x"}), HasSubstr("did you mean \"delete\"?"));
    EXPECT_THAT(refused({"dead-letters", "lst"}),
                HasSubstr("\"lst\" is not a command of homeostat dead-letters (did you mean \"list\"?)"));
    EXPECT_THAT(refused({"gte", "pipelines"}), HasSubstr("(did you mean \"get\"?)"));
    EXPECT_THAT(refused({"GET", "pipelines"}), HasSubstr("(did you mean \"get\"?)"));
    EXPECT_THAT(refused({"-o", "json", "get", "pipelines"}), HasSubstr("-o stands after the command: homeostat get ... -o"));
    EXPECT_THAT(refused({"suspend"}),
                HasSubstr("name one object or several: NAME of a pipeline, or KIND/NAME; see homeostat suspend --help"));
    EXPECT_THAT(refused({"rollout", "status", "docs"}), HasSubstr("\"rollout\" is not a command (did you mean \"wait\"?)"));
    EXPECT_THAT(refused({"get", "events", "--all"}), HasSubstr("where no name is given, all are shown"));
    EXPECT_THAT(refused({"capture", "docs"}), HasSubstr("did you mean \"homeostat capture sql docs\"?"));
    EXPECT_THAT(refused({"config", "view"}), HasSubstr("\"view\" is not known here; it is one of: strategies"));
    EXPECT_THAT(refused({"plan", "-f", "x.yaml"}), HasSubstr("homeostat diff -f"));
    EXPECT_THAT(refused({"run", "--deep"}), HasSubstr("--deep goes with --once only"));
    EXPECT_THAT(refused({"wait"}), HasSubstr("say which to wait for"));
    EXPECT_THAT(refused({"explain", "articles"}), HasSubstr("give the key of the document"));
    EXPECT_THAT(refused({"wait", "docs", "--timeout"}), HasSubstr("--timeout needs a value"));
    EXPECT_THAT(refused({"get", "pipelines", "--limit", "1x"}), HasSubstr("--limit: \"1x\" is not a number"));
    EXPECT_THAT(refused({"dead-letters", "list", "--limit", "abc"}),
                HasSubstr("--limit: \"abc\" is not a number from 0 to 1000000"));
    EXPECT_THAT(refused({"wait", "targetview/docs", "--for=condition=RowsRefused=False"}),
                HasSubstr("target view \"docs\" does not exist"));
    EXPECT_THAT(refused({"wait", "docs", "--for=condition=Redy"}),
                HasSubstr("no object has a condition Redy (did you mean \"Ready\"?)"));
    EXPECT_THAT(
        refused({"get", "--no-header"}),
        HasSubstr("--no-header is not a flag of homeostat get (did you mean \"--no-headers\"?); see homeostat get --help"));
    EXPECT_THAT(refused({"get", "--databse=x"}), HasSubstr("(did you mean \"--database\"?)"));
    EXPECT_THAT(refused({"get", "artcles"}),
                HasSubstr("\"artcles\" is neither a kind of object nor a pipeline (did you mean \"articles\"?)"));
    EXPECT_THAT(refused({"get", "evnts"}), HasSubstr("(did you mean \"events\"?)"));
    EXPECT_THAT(refused({"describe", "artcles"}), HasSubstr("(did you mean \"articles\"?)"));
    EXPECT_THAT(refused({"get", "runs", "artcles"}), HasSubstr("(did you mean \"articles\"?)"));
    EXPECT_THAT(refused({"version", "please"}), HasSubstr("\"please\" is one argument too many"));
    EXPECT_THAT(refused({"--color", "sometimes", "version"}), HasSubstr("it is auto, always or never"));
    EXPECT_THAT(ends(0, {"help", "get"}), HasSubstr("--sort-by"));
    EXPECT_THAT(refused({"get", "-n", "default"}), HasSubstr("there are no namespaces"));
    EXPECT_THAT(refused({"get", "-q"}),
                AllOf(HasSubstr("-q is not a flag of homeostat get; see"), Not(HasSubstr("did you mean"))));
    EXPECT_THAT(ends(0, {"get", "-o=name"}), HasSubstr("pipeline/articles\n"));
    EXPECT_THAT(refused({"get", "pl/"}), HasSubstr("\"pl/\": a name is missing"));
    EXPECT_THAT(refused({"get", ""}), HasSubstr("\"\": a name is missing"));
    EXPECT_THAT(refused({"get", "pl", "a/b"}), HasSubstr("pipeline \"a/b\" does not exist"));
    EXPECT_THAT(refused({"get", "-o", "jsonpath={.items[*"}), HasSubstr("a brace that is not closed"));
}

TEST_F(CliGet, EveryKindIsListedInEveryForm) {
    heal();
    for (const char* kind : {"events", "runs", "replicas", "batches", "revisions", "leases", "deadletters", "all", "pl,pv"}) {
        for (const char* form : {"table", "wide", "yaml", "name"}) ends(0, {"get", kind, "-o", form});
        const json list = json::parse(ends(0, {"get", kind, "-o", "json"}));
        EXPECT_EQ(list["kind"], "List") << kind;
        EXPECT_TRUE(list["items"].is_array()) << kind;
    }
    EXPECT_THAT(ends(0, {"get", "runs", "articles"}),
                AllOf(StartsWith("NAME"), HasSubstr("pipeline/articles"), HasSubstr("Converged"), Not(HasSubstr("notes"))));
    const json revision = json::parse(ends(0, {"get", "revision", "articles.1", "-o", "json"}));
    EXPECT_EQ(revision["kind"], "Revision");
    EXPECT_EQ(revision["state"], "served");
    EXPECT_EQ(revision["dimensions"], 16);
    EXPECT_THAT(ends(0, {"get", "events", "articles", "--limit", "1", "--no-headers"}),
                AllOf(HasSubstr("articles"), EndsWith("\n")));
    EXPECT_THAT(ends(0, {"get", "all", "-o", "name"}), AllOf(HasSubstr("provider/hashing\n"), HasSubstr("pipeline/articles\n")));
    const Answer none = run({"get", "batches", "articles"});
    EXPECT_EQ(none.code, 0);
    EXPECT_EQ(none.out, "");
    EXPECT_THAT(none.err, HasSubstr("there are no open batches"));
}

// What a run was for, how it ended, what it has healed and what that has cost, in every form; one that did nothing says so.
TEST_F(CliGet, ARunIsARecord) {
    db.exec("UPDATE homeostat.provider SET price_per_million_tokens = 2000000 WHERE name = 'hashing'");
    heal();
    heal();
    const std::string id = db.value("SELECT id FROM homeostat.run_history WHERE pipeline = 'articles' ORDER BY id LIMIT 1");
    const json run = json::parse(ends(0, {"describe", "run", id, "-o", "json"}));
    EXPECT_EQ(run["status"], "completed") << run;
    EXPECT_EQ(run["healed"], "3 missing") << run;
    EXPECT_EQ(std::stod(run["cost"].get<std::string>()), 2.0 * run["tokens"].get<double>()) << run;
    EXPECT_EQ(db.value("SELECT status || healed FROM homeostat.run_history WHERE pipeline = 'articles' ORDER BY id DESC LIMIT 1"),
              "no_action_needed{}");
    EXPECT_THAT(ends(0, {"describe", "run/" + id}), AllOf(StartsWith("Run " + id), HasSubstr("status: completed")));
    EXPECT_THAT(ends(0, {"describe", "run", id, "-o", "yaml"}), HasSubstr("healed: \"3 missing\""));
    EXPECT_THAT(ends(0, {"get", "runs", "articles"}), AllOf(HasSubstr("STATUS"), HasSubstr("no_action_needed")));
    EXPECT_THAT(ends(0, {"describe", "articles"}), HasSubstr("3 missing"));
    EXPECT_THAT(refused({"describe", "run", "999999"}), HasSubstr("there is no run 999999"));
    EXPECT_THAT(refused({"describe", "run", "articles"}), HasSubstr("is not the number of a run"));
    EXPECT_THAT(refused({"describe", "run"}), HasSubstr("say which run"));
}

TEST_F(CliGet, PathsColumnsOrderAndLabels) {
    heal();
    EXPECT_EQ(ends(0, {"get", "pipeline/articles", "-o", "jsonpath={.status.documents}"}), "3");
    EXPECT_EQ(ends(0, {"get", "pl", "-o", "jsonpath={range .items[*]}{.metadata.name} {end}"}), "articles notes ");
    EXPECT_EQ(ends(0, {"get", "pl", "-o",
                       "custom-columns=NAME:.metadata.name,READY:.status.conditions[?(@.type==\"Ready\")].status,NO:.no"}),
              "NAME      READY  NO\narticles  True   <none>\nnotes     True   <none>\n");
    EXPECT_EQ(ends(0, {"get", "pl", "-o", "name", "--sort-by", ".status.documents"}), "pipeline/notes\npipeline/articles\n");
    EXPECT_THAT(ends(0, {"get", "pl", "--no-headers", "--sort-by", "documents"}), StartsWith("notes"));
    EXPECT_THAT(refused({"get", "pl", "--sort-by", ".status.nothing"}), HasSubstr("nothing listed has such a field"));
    EXPECT_EQ(ends(0, {"get", "pl", "-l", "team=search", "-o", "name"}), "pipeline/articles\n");
    EXPECT_EQ(ends(0, {"get", "pl", "-l", "!team", "-o", "name"}), "pipeline/notes\n");
    EXPECT_THAT(ends(0, {"get", "pl", "--show-labels"}), AllOf(HasSubstr("LABELS"), HasSubstr("team=search")));
    EXPECT_THAT(refused({"get", "events", "-l", "team=search"}), HasSubstr("-l is for what has labels"));
    EXPECT_THAT(refused({"get", "-w", "-o", "json"}), HasSubstr("-w shows tables"));
    const std::string watched = ends(0, {"get", "pl", "-w", "--interval", "10ms", "--timeout", "100ms"});
    EXPECT_EQ(std::count(watched.begin(), watched.end(), '\n'), 3) << "what does not change is printed once\n" << watched;
}

TEST_F(CliGet, TimeOfTheBuiltInModelIsMeasuredAndNotAssumed) {
    EXPECT_EQ(json::parse(ends(1, {"plan", "articles", "-o", "json"}))["plan"]["timeIsAssumed"], true);
    db.exec("UPDATE homeostat.pipeline SET provider = 'local', dimensions = NULL");
    const char* model = std::getenv("HOMEOSTAT_MODEL_DIR");  // NOLINT(concurrency-mt-unsafe): one thread
    ASSERT_NE(model, nullptr);
    const json plan =
        json::parse(ends(1, {"plan", "articles", "-o", "json", "--set", std::string("embed.model_dir=") + model}))["plan"];
    EXPECT_EQ(plan["timeIsAssumed"], false);
    EXPECT_GT(plan["minutes"], 0.0);
}

TEST_F(CliGet, DescribeBeginsWithWhatMatters) {
    EXPECT_THAT(ends(0, {"describe", "articles"}),
                HasSubstr("\nReady: Unknown (NotObserved)\nWhat to do: see that a controller runs"));
    heal();
    EXPECT_THAT(ends(0, {"describe", "articles"}),
                AllOf(HasSubstr("\nReady: True (Converged) for "), HasSubstr("3 documents are embedded\nLabel"),
                      Not(HasSubstr("What to do"))));
    EXPECT_THAT(ends(0, {"suspend", "articles", "--reason", "a test", "--for", "2h"}),
                AllOf(StartsWith("pipeline/articles suspended until 2"), EndsWith("Z: a test\n")));
    EXPECT_THAT(ends(0, {"suspend", "articles", "--reason", "a test", "--until", "2199-01-02T03:04:05+01:00"}),
                AllOf(StartsWith("pipeline/articles suspended until 2199-01-02"), EndsWith("Z: a test\n")));
    EXPECT_EQ(
        db.value("SELECT round(extract(epoch FROM suspend_until - '2199-01-02 02:04:05+00'))::int / 10 FROM homeostat.pipeline"
                 " WHERE name = 'articles'"),
        "0");
    for (const char* bad : {"soon", "2199-01-02", "2199-01-02T03:04:05", "2199-02-31T00:00:00Z", "2199-01-02T27:00:00Z", "06:00"})
        EXPECT_THAT(refused({"suspend", "articles", "--until", bad}), HasSubstr(" is not a time; write it with its zone")) << bad;
    EXPECT_THAT(refused({"suspend", "articles", "--until", "2020-01-02T03:04:05Z"}),
                HasSubstr("2020-01-02T03:04:05Z has passed"));
    EXPECT_THAT(refused({"suspend", "articles", "--until", "2199-01-02T03:04:05Z", "--for", "1h"}),
                HasSubstr("give one of them"));
    EXPECT_THAT(ends(0, {"describe", "articles"}), AllOf(HasSubstr("What to do: homeostat resume articles\nSuspended: by "),
                                                         HasSubstr(", until 2"), HasSubstr("; a test\n")));
}

TEST_F(CliGet, ChunksThatTheModelDoesNotReadWholeAreTold) {
    heal();
    EXPECT_THAT(ends(0, {"describe", "articles"}), Not(HasSubstr("ChunksCut"))) << "nobody knows what it reads";
    db.exec("UPDATE homeostat.provider SET max_text_tokens = 64 WHERE name = 'hashing'");
    heal();
    EXPECT_EQ(
        ends(0, {"get", "pl/articles", "-o", "jsonpath={.status.conditions[?(@.type==\"ChunksCut\")].message}"}),
        "chunks of 400 tokens are larger than model \"hashing\" reads (64): the rest of each is not embedded; declare a smaller "
        "chunk_size");
    EXPECT_THAT(ends(0, {"plan", "articles"}), HasSubstr("chunks of 400 tokens are larger"));
    db.exec("UPDATE homeostat.pipeline SET chunk_size = DEFAULT");
    heal();
    EXPECT_EQ(ends(0, {"wait", "pl", "--all", "--for=condition=ChunksCut=False", "--timeout", "1ms"}),
              "pipeline/articles condition met\npipeline/notes condition met\n");
}

TEST_F(CliGet, WaitEndsWhenItIsSoOrTheTimeIsOver) {
    const Answer late = run({"wait", "articles", "--for=condition=Ready", "--timeout", "50ms"});
    EXPECT_EQ(late.code, 1);
    EXPECT_EQ(late.out, "");
    EXPECT_THAT(late.err,
                AllOf(HasSubstr("no controller runs"), HasSubstr("timed out waiting on pipeline/articles: condition=Ready")));
    heal();
    EXPECT_EQ(ends(0, {"wait", "pipelines", "--all"}), "pipeline/articles condition met\npipeline/notes condition met\n");
    EXPECT_EQ(ends(0, {"wait", "-l", "team=search", "--for=jsonpath={.status.documents}=3"}),
              "pipeline/articles condition met\n");
    EXPECT_EQ(run({"wait", "articles", "--for=condition=Stalled", "--timeout", "1ms"}).code, 1);
    EXPECT_EQ(ends(0, {"wait", "articles", "--for=condition=Stalled=false", "--timeout", "1ms"}),
              "pipeline/articles condition met\n");
    db.exec("UPDATE homeostat.pipeline SET chunk_size = 77 WHERE name = 'articles'");
    EXPECT_EQ(run({"wait", "articles", "--timeout", "1ms"}).code, 1) << "Ready is of the declaration before";
    EXPECT_THAT(refused({"wait", "artcles"}), HasSubstr("did you mean \"articles\"?"));
    EXPECT_THAT(refused({"wait", "articles", "--for=Ready"}), HasSubstr("--for Ready is not known"));
    EXPECT_THAT(refused({"wait", "pipelines"}), HasSubstr("say which to wait for"));
    const Answer pass = run({"reconcile", "--all", "--wait", "--timeout", "1ms"});
    EXPECT_EQ(pass.code, 1);
    EXPECT_THAT(pass.err, HasSubstr("pipeline/notes was not reconciled within 1ms"));
    EXPECT_THAT(refused({"reconcile"}), HasSubstr("or --all"));
}

TEST_F(CliGet, StatusSaysWhatIsNotWell) {
    const std::string before = ends(1, {"status"});
    EXPECT_THAT(before, AllOf(StartsWith("2 pipelines, 0 ready"), ContainsRegex("controller +NotRunning"),
                              HasSubstr("pipeline/articles")));
    heal();
    const json after = json::parse(ends(1, {"status", "-o", "json"}));
    EXPECT_EQ(after["ready"], 2);
    EXPECT_EQ(after["troubles"].size(), 1U) << after;
    EXPECT_EQ(after["troubles"][0]["remedy"], "homeostat run");
}

TEST_F(CliGet, WhatIsHeldBackSuspendedOrOnItsWayOutIsNotCalledWell) {
    heal();
    // Where a person is to confirm what goes.
    db.exec("UPDATE homeostat.pipeline SET capture = 'Off', max_prune_ratio = 0, prune = 'Confirm' WHERE name = 'articles'");
    db.exec("DELETE FROM articles WHERE id = 1");
    for (int i = 0; i < 2; ++i) run({"run", "--once"});
    EXPECT_THAT(ends(1, {"status"}),
                AllOf(HasSubstr("PruneBlocked"), HasSubstr("1 deletion held back"), HasSubstr("homeostat approve articles ")));
    db.exec("UPDATE homeostat.pipeline SET suspend = true WHERE name = 'articles'");
    EXPECT_THAT(run({"wait", "articles", "--timeout", "1ms"}).err, HasSubstr("it is suspended: homeostat resume articles"));
    ends(0, {"delete", "pipeline", "articles"});
    EXPECT_THAT(ends(0, {"get", "pipelines"}), HasSubstr("Terminating"));
    EXPECT_THAT(ends(1, {"status"}), HasSubstr("1 more being deleted"));
}

TEST_F(CliGet, DiffSaysFieldsAndCostAndChangesNothing) {
    heal();
    db.exec("UPDATE homeostat.pipeline SET completeness = 0.90, max_prune_ratio = 1.00");
    const Folder folder;
    folder.write("a.yaml", ends(0, {"get", "pipeline/articles", "-o", "yaml"}));
    EXPECT_EQ(ends(0, {"diff", "-f", folder.path()}), "");
    const std::string before = fingerprint();
    folder.write("below/b.yaml", manifest("fresh", ", chunkSize: 77, driftInterval: 10m"));
    EXPECT_EQ(ends(0, {"diff", "-f", folder.path()}), "") << "not without -R";
    EXPECT_THAT(ends(1, {"diff", "-R", "-f", folder.path()}),
                AllOf(StartsWith("pipeline/fresh would be created\n"), HasSubstr("  chunkSize: 77\n"),
                      HasSubstr("  driftInterval: 10m\n"), HasSubstr("  Cost: 3 documents to embed, about 3 chunks, ")));
    EXPECT_EQ(fingerprint(), before);
    std::string changed = ends(0, {"get", "pipeline/articles", "-o", "yaml"});
    changed.replace(changed.find("chunkSize: 400"), 14, "chunkSize: 200");
    folder.write("a.yaml", changed);
    const json list = json::parse(ends(1, {"diff", "-f", folder.path(), "-o", "json"}));
    EXPECT_EQ(list[0]["fields"], json::parse(R"([{"field": "chunkSize", "before": "400", "after": "200"}])"));
    EXPECT_EQ(list[0]["cost"]["documents"], 3);
    EXPECT_GT(list[0]["cost"]["tokens"], 0);
    folder.write("a.yaml", manifest("wrong", ", key: [ide]"));
    EXPECT_THAT(refused({"diff", "-f", folder.path()}), AllOf(HasSubstr("a.yaml:1"), HasSubstr("did you mean \"id\"?")));
}

TEST_F(CliGet, ApplyPrunesWhatCarriesTheLabelsAndStandsInNoManifest) {
    const Folder folder;
    folder.write("a.yaml", manifest("one"));
    folder.write("below/b.json",
                 R"({"apiVersion": "homeostat.dev/v1", "kind": "Pipeline", "metadata": {"name": "two", "labels": {"set": "s"}},
        "spec": {"source": "articles", "content": ["body"], "provider": "hashing", "dimensions": 16, "target": "two_v"}})");
    EXPECT_EQ(ends(0, {"apply", "-R", "-f", folder.path()}), "pipeline/one created\npipeline/two created\n");
    EXPECT_THAT(refused({"apply", "-f", folder.path(), "--prune"}), HasSubstr("--prune needs -l LABELS"));
    EXPECT_EQ(ends(0, {"apply", "--dry-run=client", "-f", folder.path()}), "pipeline/one unchanged (dry run)\n");
    EXPECT_THAT(refused({"apply", "--dry-run=sever", "-f", folder.path()}), HasSubstr("did you mean \"server\"?"));
    EXPECT_EQ(ends(0, {"apply", "-f", folder.path(), "--prune", "-l", "set=s", "--dry-run"}),
              "pipeline/one unchanged (dry run)\npipeline/two pruned (dry run)\n");
    EXPECT_EQ(ends(0, {"apply", "-f", folder.path(), "--prune", "-l", "set=s"}), "pipeline/one unchanged\npipeline/two pruned\n");
    EXPECT_EQ(db.value("SELECT string_agg(name, ',' ORDER BY name) FROM homeostat.pipeline WHERE deletion_requested_at IS NULL"),
              "articles,notes,one");
}

TEST_F(CliGet, CompletionKnowsVerbsFlagsKindsAndNames) {
    const auto completed = [&](std::vector<std::string> words) {
        words.insert(words.begin(), std::string(kCompleteWord));
        return ends(0, words);
    };
    EXPECT_EQ(completed({"des"}), "describe\n");
    EXPECT_EQ(completed({"get", "pip"}), "pipelines\n");
    EXPECT_EQ(completed({"describe", "pipeline/"}), "pipeline/articles\npipeline/notes\n");
    EXPECT_EQ(completed({"get", "providers", "has"}), "hashing\n");
    EXPECT_EQ(completed({"plan", "n"}), "notes\n");
    EXPECT_EQ(completed({"get", "runs", "n"}), "notes\n");
    EXPECT_EQ(completed({"get", "--no-h"}), "--no-headers\n");
    EXPECT_EQ(completed({"get", "-o", "cus"}), "custom-columns=\n");
    EXPECT_EQ(completed({"--log-level", "de"}), "debug\n");
    EXPECT_EQ(completed({"dead-letters", "r"}), "retry\n");
    EXPECT_EQ(completed({"completion", "f"}), "fish\n");
    url = "postgres://127.0.0.1:1/none";
    EXPECT_EQ(completed({"plan", ""}), "") << "without a database there are no names, and no noise";
    for (const char* shell : {"bash", "zsh", "fish"}) EXPECT_THAT(ends(0, {"completion", shell}), HasSubstr(kCompleteWord));
    EXPECT_THAT(refused({"completion", "bsh"}), HasSubstr("did you mean \"bash\"?"));
    EXPECT_THAT(ends(0, {"man"}), AllOf(StartsWith(".TH HOMEOSTAT 1"), HasSubstr(".SS homeostat dead\\-letters retry"),
                                        HasSubstr("\\-\\-sort\\-by")));
    EXPECT_EQ(json::parse(ends(0, {"version", "-o", "json"}))["schema"].is_number(), true);
}

TEST_F(CliGet, ADatabaseThatIsNotThereIsNamedWithTheSettingThatNamedIt) {
    url = "postgres://someone@127.0.0.1:1/none";
    EXPECT_THAT(refused({"get"}), AllOf(StartsWith("homeostat: the database cannot be reached: "), HasSubstr("port 1 failed"),
                                        HasSubstr("(database.url is from environment HOMEOSTAT_DATABASE_URL)"),
                                        Not(HasSubstr("broke")), HasSubstr("no PostgreSQL server answers there")));
    EXPECT_THAT(
        refused({"get", "--database", db.url("nobody_of_that_name")}),
        AllOf(HasSubstr("role \"nobody_of_that_name\" does not exist"), HasSubstr("the server there answers, and refuses")));
    EXPECT_THAT(refused({"get", "--database", "postgres://127.0.0.1:1/none"}), HasSubstr("is from the command line"));
    EXPECT_THAT(refused({"get", "--database", "host=x =y"}), HasSubstr("the connection string of the database cannot be read: "));
}

TEST_F(CliGet, ColourIsAskedForAsOthersDo) {
    heal();
    EXPECT_THAT(ends(0, {"get", "--color", "always"}), HasSubstr("\x1b[32mTrue"));
    EXPECT_THAT(ends(0, {"get", "--color", "never"}), Not(HasSubstr("\x1b")));
    EXPECT_FALSE(wants_colour(false));
    ASSERT_EQ(setenv("NO_COLOR", "", 1), 0);
    EXPECT_TRUE(wants_colour(true)) << "set to nothing is not set";
    ASSERT_EQ(setenv("NO_COLOR", "1", 1), 0);
    EXPECT_FALSE(wants_colour(true));
    unsetenv("NO_COLOR");
}

}  // namespace
}  // namespace homeostat
