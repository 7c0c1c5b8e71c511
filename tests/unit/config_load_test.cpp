// Settings: where they come from, in what order, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "controller/config/chunkers.hpp"
#include "controller/config/config.hpp"
#include "controller/config/readers.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class ConfigLoad : public ::testing::Test {
protected:
    ConfigLoad() {
        folder_ = std::filesystem::temp_directory_path() / ("homeostat-config-" + std::to_string(::getpid()));
        std::filesystem::create_directories(folder_);
        sources.default_file = (folder_ / "none.yaml").string();
    }
    ~ConfigLoad() override { std::filesystem::remove_all(folder_); }

    std::string file(const std::string& text, const std::string& name = "homeostat.yaml") {
        const auto path = (folder_ / name).string();
        std::ofstream(path) << text;
        return path;
    }

    Settings settings() {
        auto config = load_config(sources);
        EXPECT_TRUE(config.ok()) << (config.ok() ? "" : config.error().message);
        return config.ok() ? config->settings : Settings{};
    }
    std::string refusal() {
        auto config = load_config(sources);
        EXPECT_FALSE(config.ok());
        return config.ok() ? "" : config.error().message;
    }
    static SettingValue value_of(const Config& config, std::string_view name) {
        for (std::size_t i = 0; i < setting_table().size(); ++i) {
            if (setting_table()[i].name == name) return config.values[i];
        }
        return {};
    }

    ConfigSources sources;
    std::filesystem::path folder_;
};

TEST_F(ConfigLoad, EveryDefaultIsWithinItsBoundsAndPairsAgree) {
    const Settings s = settings();
    EXPECT_EQ(s.lease_ttl, std::chrono::seconds(15));
    EXPECT_EQ(s.batch_documents, 256U);
    EXPECT_EQ(s.batch_bytes, 8U << 20U);
    EXPECT_TRUE(s.database_prepare);
    EXPECT_THAT(s.replica_name, HasSubstr("-" + std::to_string(::getpid())));
}

TEST_F(ConfigLoad, EveryProfileIsItselfSound) {
    for (const Profile& p : profile_table()) {
        sources.profile = std::string(p.name);
        EXPECT_TRUE(load_config(sources).ok()) << p.name;
    }
}

TEST_F(ConfigLoad, FlagWinsOverEnvironmentOverFileOverProfileOverDefault) {
    sources.file = file("profile: production\nbatch:\n  in_flight: 9\n  window: 50\nloop.workers: 7\n");
    sources.environment = {{"HOMEOSTAT_BATCH_WINDOW", "60"}, {"HOMEOSTAT_LOOP_WORKERS", "8"}, {"PATH", "/bin"}};
    sources.flags = {{"loop.workers", "11"}};
    const auto config = load_config(sources);
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(config->settings.loop_workers, 11U);
    EXPECT_EQ(value_of(*config, "loop.workers").origin, "flag");
    EXPECT_EQ(config->settings.batch_window, 60U);
    EXPECT_EQ(value_of(*config, "batch.window").origin, "environment HOMEOSTAT_BATCH_WINDOW");
    EXPECT_EQ(config->settings.batch_in_flight, 9U);
    EXPECT_EQ(value_of(*config, "batch.in_flight").origin, *sources.file + ":3");
    EXPECT_EQ(config->settings.history_weeks, 12U);
    EXPECT_EQ(value_of(*config, "history.weeks").origin, "profile production");
    EXPECT_EQ(value_of(*config, "retry.base").origin, "default");
}

TEST_F(ConfigLoad, TheFileIsTheNamedOneThenTheVariableThenTheDefault) {
    sources.default_file = file("batch.window: 1\n", "default.yaml");
    EXPECT_EQ(settings().batch_window, 1U);
    sources.environment = {{"HOMEOSTAT_CONFIG", file("batch.window: 2\n", "variable.yaml")}};
    EXPECT_EQ(settings().batch_window, 2U);
    sources.file = file("batch.window: 3\n", "flag.yaml");
    EXPECT_EQ(settings().batch_window, 3U);
    sources.file = (folder_ / "missing.yaml").string();
    EXPECT_THAT(refusal(), HasSubstr("missing.yaml cannot be read"));
    sources.file = folder_.string();
    EXPECT_THAT(refusal(), HasSubstr("cannot be read"));
}

TEST_F(ConfigLoad, UnknownNamesAreRefusedEverywhereWithTheNearest) {
    sources.file = file("lease:\n  tll: 15s\n");
    sources.environment = {{"HOMEOSTAT_BATCH_WINDOWS", "3"}};
    sources.flags = {{"log.levle", "debug"}};
    sources.profile = "prodction";
    EXPECT_THAT(refusal(),
                AllOf(HasSubstr(":2: \"lease.tll\" is not a setting (did you mean \"lease.ttl\"?)"),
                      HasSubstr("HOMEOSTAT_BATCH_WINDOWS is not a setting (did you mean \"HOMEOSTAT_BATCH_WINDOW\"?)"),
                      HasSubstr("flag: \"log.levle\" is not a setting (did you mean \"log.level\"?)"),
                      HasSubstr("profile \"prodction\" is not known; it is development, staging or production (did you "
                                "mean \"production\"?)")));
}

TEST_F(ConfigLoad, WhatAnEarlierVersionWasGivenIsReadWithAWarningThatShowsTheNewName) {
    sources.file = file("suspend:\n  grace: 10s\ncache:\n  size: 3MiB\n");
    sources.environment = {{"HOMEOSTAT_TRACES_ENDPOINT", "http://localhost:4318"}};
    EXPECT_EQ(settings().cache_bytes, 3U << 20);
    EXPECT_THAT(
        load_config(sources)->warnings,
        UnorderedElementsAre(HasSubstr("suspend.grace is not a setting any more and is passed over"),
                             HasSubstr("cache.size is called cache.bytes now; it is read, rename it"),
                             HasSubstr("HOMEOSTAT_TRACES_ENDPOINT is not a setting any more and is passed over; traces go")));
    // Of two names of one setting the new one counts, wherever it stands.
    sources.file = file("cache.bytes: 5MiB\ncache.size: 3MiB\n");
    EXPECT_EQ(settings().cache_bytes, 5U << 20);
    sources.environment = {{"HOMEOSTAT_CACHE_SIZE", "7MiB"}};
    EXPECT_EQ(settings().cache_bytes, 7U << 20);
    EXPECT_THAT(load_config(sources)->warnings, Contains(HasSubstr("HOMEOSTAT_CACHE_SIZE is called HOMEOSTAT_CACHE_BYTES now")));
    sources.flags = {{"cache.size", "much"}};
    EXPECT_THAT(refusal(), HasSubstr("cache.bytes"));
}

TEST_F(ConfigLoad, VariablesThatKubernetesMakesOfAServiceArePassedOver) {
    sources.environment = {{"HOMEOSTAT_SERVICE_HOST", "10.0.0.1"}, {"HOMEOSTAT_PORT_8687_TCP", "tcp://10.0.0.1:8687"}};
    EXPECT_TRUE(load_config(sources).ok());
}

TEST_F(ConfigLoad, ValuesOutsideTheirBoundsNameTheBounds) {
    sources.flags = {{"batch.documents", "8"}, {"lease.ttl", "15"},    {"database.prepare", "yes"},
                     {"log.format", "xml"},    {"cache.size", "1PiB"}, {"batch.window", "12 "},
                     {"loop.workers", "-1"},   {"sweep.slice", "1e4"}, {"sweep.share", "0"}};
    const std::string said = refusal();
    EXPECT_THAT(said, HasSubstr("flag: batch.documents is \"8\"; it must be a whole number, 16 to 1024"));
    EXPECT_THAT(said, HasSubstr("lease.ttl is \"15\"; it must be a duration such as 250ms, 15s or 2m, 3s to 10m"));
    EXPECT_THAT(said, HasSubstr("database.prepare is \"yes\"; it must be true or false"));
    EXPECT_THAT(said, HasSubstr("log.format is \"xml\"; it must be text or json"));
    EXPECT_THAT(said, HasSubstr("sweep.share is \"0\"; it must be a number such as 0.25, 0.01 to 1"));
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 8);
}

TEST_F(ConfigLoad, PairsThatContradictNameBothSettings) {
    sources.flags = {{"lease.renew", "10s"}, {"retry.cap", "1s"}, {"retry.base", "2s"}};
    EXPECT_THAT(refusal(), AllOf(HasSubstr("lease.renew (10s) must be at most half of lease.ttl (15s)"),
                                 HasSubstr("retry.base (2s) must be no longer than retry.cap (1s)")));
    sources.flags = {{"http.listen", "8687"}};
    EXPECT_THAT(refusal(), HasSubstr("http.listen is \"8687\"; it must be host:port"));
}

TEST_F(ConfigLoad, FilesThatAreNoMapOfSettingsAreRefused) {
    sources.file = file("- a\n");
    EXPECT_THAT(refusal(), HasSubstr(":1: the file is a list"));
    sources.file = file("lease:\n  ttl: 15s\n  ttl: 16s\n");
    EXPECT_THAT(refusal(), HasSubstr(":3:3: this is not YAML that can be read: \"ttl\" is given twice (first on line 2)"));
    sources.file = file("lease: {ttl: \"15s\\0\"}\n");
    EXPECT_THAT(refusal(), HasSubstr("a text has a NUL character in it"));
    sources.file = file("lease: [1\n");
    EXPECT_THAT(refusal(), HasSubstr("this is not YAML that can be read"));
    sources.file = file("");
    EXPECT_TRUE(load_config(sources).ok());
}

TEST_F(ConfigLoad, SecretsAreReadByReferenceAndNeverShown) {
    sources.flags = {{"database.url", "file:" + file("postgres://ann:hush@db/app\n", "url")}};
    auto config = load_config(sources);
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(config->settings.database_url, "postgres://ann:hush@db/app");
    EXPECT_THAT(write_json(explain_config(*config)), Not(HasSubstr("hush")));

    sources.flags.clear();
    sources.environment = {{"HOMEOSTAT_DATABASE_URL", "postgres://ann:hush@db/app"}};
    config = load_config(sources);
    ASSERT_TRUE(config.ok());
    EXPECT_EQ(config->settings.database_url, "postgres://ann:hush@db/app");
    EXPECT_THAT(write_json(explain_config(*config)), AllOf(Not(HasSubstr("hush")), HasSubstr("postgres://ann:***@db/app")));

    sources.environment.clear();
    sources.file = file("database:\n  url: host=db password=hush\n");
    EXPECT_THAT(refusal(), AllOf(HasSubstr(":2: database.url has a password in it"), Not(HasSubstr("hush"))));
    sources.file = file("database.url: env:HOMEOSTAT_TEST_NO_SUCH_VARIABLE\n");
    EXPECT_THAT(refusal(), HasSubstr("names a variable that is not set"));
}

TEST_F(ConfigLoad, SecretsOfProvidersAreBoundToOrigins) {
    sources.file = file(
        "secrets:\n  openai: {source: \"env:OPENAI_API_KEY\", origins: [https://api.openai.com]}\n"
        "  team:\n    source: file:/run/secrets/team\n    origins:\n      - https://*.example.com\n      - "
        "http://127.0.0.1:8080\n"
        "  azure: {source: [exec:/usr/bin/az, get, 'a b', --for, https://x.example], origins: [https://b.example.com]}\n"
        "  gcloud: {source: 'exec:/usr/bin/gcloud auth print', origins: [https://c.example.com]}\n"
        "  plain: {source: exec:/opt/token, origins: [https://d.example.com]}\n"
        "provider:\n  allow_hosts: [api.openai.com, 10.0.0.0/8]\nexec:\n  allow: [/opt/embed, /opt/models]\n  read: []\n");
    const Settings s = settings();
    EXPECT_EQ(s.secrets,
              "openai env:OPENAI_API_KEY https://api.openai.com; team file:/run/secrets/team https://*.example.com "
              "http://127.0.0.1:8080; azure \"exec:/usr/bin/az get 'a b' --for https://x.example\" https://b.example.com; "
              "gcloud \"exec:/usr/bin/gcloud auth print\" https://c.example.com; plain exec:/opt/token https://d.example.com");
    EXPECT_EQ(s.provider_allow_hosts, "api.openai.com, 10.0.0.0/8");
    EXPECT_EQ(s.exec_allow, "/opt/embed, /opt/models");
    EXPECT_EQ(s.exec_read, "");
    const std::vector<std::pair<const char*, const char*>> wrong{
        {"secrets: {a: {source: \"env:A\"}}", "secret \"a\": its origins must be a list"},
        {"secrets: {a: {origins: [https://a.example.com]}}", "secret \"a\": its source must be"},
        {"secrets: {a: {sorce: \"env:A\", origins: [https://a.example.com]}}", "\"sorce\" is not known"},
        {"secrets: {a: {source: sk-plain, origins: [https://a.example.com]}}", "it needs a source"},
        {"secrets: {a: {source: \"env:A\", origins: [http://a.example.com]}}", "not encrypted"},
        {"secrets: {a: {source: \"env:PGPASSWORD\", origins: [https://a.example.com]}}", "the key to the database"},
        {"secrets: {a: {source: [exec:/bin/x, \"it's\"], origins: [https://a.example.com]}}", "put it into a script"},
        {"secrets: {a: {source: [env:A, b], origins: [https://a.example.com]}}", "its source must be"},
        {"secrets: {a: {source: exec:x, origins: [https://a.example.com]}}", "it needs a source"},
        {"secrets: {a: env}", "must be a word with a source and origins"},
        {"secrets: [a]", "secrets is a list"},
        {"provider.allow_hosts: [\"a/b\"]", "neither a host"},
        {"exec.allow: [embed]", "exec.allow: \"embed\" is not an absolute path"},
        {"exec.environment: [A=B]", "exec.environment: \"A=B\" is not the name of a variable"},
        {"lease.ttl: [15s]", "lease.ttl is a list"}};
    for (const auto& [text, sentence] : wrong) {
        sources.file = file(std::string(text) + "\n");
        EXPECT_THAT(refusal(), HasSubstr(sentence)) << text;
    }
}

TEST_F(ConfigLoad, ReadersAreListedWithTheirRoles) {
    ::setenv("HOMEOSTAT_TEST_READER_URL", "host=db user=his password='hush 1'", 1);
    sources.file = file(
        "database:\n  reader_url: postgresql://all@db/app\n  readers:\n    - {role: search, url: postgresql://hers@db/app}\n"
        "    - role: legal\n      url: env:HOMEOSTAT_TEST_READER_URL\n");
    const auto config = load_config(sources);
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(config->settings.database_readers, "search postgresql://hers@db/app; legal env:HOMEOSTAT_TEST_READER_URL");
    EXPECT_THAT(write_json(explain_config(*config)),
                AllOf(HasSubstr("legal env:HOMEOSTAT_TEST_READER_URL"), Not(HasSubstr("hush"))));
    const std::vector<ReaderLogin> logins = reader_logins(config->settings);
    ASSERT_EQ(logins.size(), 3U);
    EXPECT_EQ(logins[0].role, "search");
    EXPECT_EQ(logins[0].url, "postgresql://hers@db/app");
    EXPECT_EQ(logins[1].url, "host=db user=his password='hush 1'");
    EXPECT_EQ(logins[1].setting, "database.readers, role \"legal\"");
    EXPECT_EQ(logins[2].role, "");
    EXPECT_EQ(logins[2].setting, "database.reader_url");
    ::unsetenv("HOMEOSTAT_TEST_READER_URL");
    const std::vector<ReaderLogin> without = reader_logins(config->settings);
    EXPECT_EQ(without[1].url, "");
    EXPECT_THAT(without[1].problem, HasSubstr("HOMEOSTAT_TEST_READER_URL"));
    const std::vector<std::pair<const char*, const char*>> wrong{
        {"[{role: a}]", "its url must be"},
        {"[{url: postgresql://a@db/app}]", "must have a role"},
        {"[{role: a b, url: postgresql://a@db/app}]", "a name without spaces"},
        {"[{role: a, url: \"host=db user=a\"}]", "without spaces"},
        {"[{role: a, ulr: postgresql://a@db/app}]", "\"ulr\" is not known"},
        {"[a]", "must be a map"},
        {"a", "must be followed by"},
        {"a dbname=x", "must be followed by"},
        {"[{role: a, url: \"postgresql://a:hush@db/app\"}]", "has a password in it"},
        {"[{role: a, url: \"postgresql://a@db/app?password=hush\"}]", "has a password in it"},
        {"a postgresql://a@db/app; a postgresql://b@db/app", "is there twice"}};
    for (const auto& [text, sentence] : wrong) {
        sources.file = file(std::string("database.readers: ") + text + "\n");
        EXPECT_THAT(refusal(), AllOf(HasSubstr(sentence), Not(HasSubstr("hush")))) << text;
    }
    sources.file = file("database.readers: []\n");
    EXPECT_EQ(settings().database_readers, "");
}

TEST_F(ConfigLoad, ChunkersAreProgramsThatTheOperatorRegisters) {
    sources.file = file(
        "chunkers:\n  legal: {command: [/opt/cut.py, --by, law], timeout: 5s, copies: 2}\n"
        "  plain:\n    command: /opt/plain\n    memory: 1GiB\n");
    const Settings s = settings();
    EXPECT_EQ(s.chunkers, "legal timeout=5s copies=2 /opt/cut.py --by law; plain memory=1GiB /opt/plain");
    const auto programs = registered_chunkers(s);
    ASSERT_EQ(programs.size(), 2U);
    EXPECT_EQ(programs[0].name, "legal");
    EXPECT_EQ(programs[0].command, (std::vector<std::string>{"/opt/cut.py", "--by", "law"}));
    EXPECT_EQ(programs[0].timeout, std::chrono::seconds(5));
    EXPECT_EQ(programs[0].copies, 2U);
    EXPECT_EQ(programs[1].memory_mb, 1024U);
    const std::vector<std::pair<const char*, const char*>> wrong{
        {"chunkers: {a: {command: [cut.py]}}", "\"cut.py\" is no absolute path of a program"},
        {"chunkers: {a: {}}", "chunker \"a\" has no command"},
        {"chunkers: {a: {command: [/opt/cut, \"two words\"]}}", "no word without spaces"},
        {"chunkers: {a: {comand: [/opt/cut]}}", "\"comand\" is not known; it has command, timeout, memory and copies"},
        {"chunkers: {a: {command: [/opt/cut], timeout: 1h}}", "must be 100ms to 10m"},
        {"chunkers: {a: {command: [/opt/cut], memory: 1}}", "must be 16MiB to 1TiB"},
        {"chunkers: {a: {command: [/opt/cut], copies: 65}}", "must be 1 to 64"},
        {"chunkers: {A: {command: [/opt/cut]}}", "\"A\" is no name of a chunker"},
        {"chunkers: \"a /opt/cut; a /opt/cut\"", "chunker \"a\" is registered twice"},
        {"chunkers: \"a timout=5s /opt/cut\"", "(did you mean \"timeout\"?)"},
        {"chunkers: [a]", "chunkers is a list"}};
    for (const auto& [text, sentence] : wrong) {
        sources.file = file(std::string(text) + "\n");
        EXPECT_THAT(refusal(), HasSubstr(sentence)) << text;
    }
    EXPECT_TRUE(registered_chunkers(Settings{}).empty());
}

TEST_F(ConfigLoad, ProductionListensBeyondThisMachineWithATokenOnly) {
    sources.profile = "production";
    for (const char* here : {"127.0.0.1:8687", "[::1]:8687", "127.9.9.9:0", ""}) {
        sources.flags = {{"http.listen", here}};
        EXPECT_TRUE(load_config(sources).ok()) << here;
    }
    for (const char* beyond : {"0.0.0.0:8687", "[::]:8687", "10.0.0.1:8687"}) {
        sources.flags = {{"http.listen", beyond}};
        EXPECT_THAT(refusal(), HasSubstr("http.token is empty")) << beyond;
        sources.flags.emplace_back("http.token", "env:HOMEOSTAT_TEST_TOKEN");
        ::setenv("HOMEOSTAT_TEST_TOKEN", "hush-token", 1);
        const auto config = load_config(sources);
        ASSERT_TRUE(config.ok()) << config.error().message;
        EXPECT_EQ(config->settings.http_token, "hush-token");
        EXPECT_THAT(write_json(explain_config(*config)), Not(HasSubstr("hush-token")));
    }
    sources.flags = {{"http.token", "hush-token"}};
    EXPECT_THAT(write_json(explain_config(*load_config(sources))), Not(HasSubstr("hush-token")));
    sources.flags.clear();
    sources.file = file("http.token: hush-token\n");
    EXPECT_THAT(refusal(), AllOf(HasSubstr("http.token is a secret"), Not(HasSubstr("hush-token"))));
}

TEST_F(ConfigLoad, ALoginForActionsWantsAToken) {
    sources.flags = {{"http.action_url", "postgresql://on_call:hush-pass@db/app"}};
    EXPECT_THAT(refusal(), HasSubstr("http.token is empty"));
    sources.flags.emplace_back("http.token", "hush-token");
    const auto config = load_config(sources);
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_THAT(write_json(explain_config(*config)), AllOf(Not(HasSubstr("hush")), HasSubstr("on_call")));
}

TEST_F(ConfigLoad, TheBuiltInModelIsFoundBesideTheBinary) {
    std::filesystem::create_directories(folder_ / "bin");
    std::filesystem::create_directories(folder_ / "share/homeostat/model");
    sources.binary_dir = (folder_ / "bin").string();
    EXPECT_EQ(settings().embed_model_dir, std::filesystem::canonical(folder_ / "share/homeostat/model").string());
    sources.flags = {{"embed.model_dir", "/elsewhere"}};
    EXPECT_EQ(settings().embed_model_dir, "/elsewhere");
}

TEST(SettingTable, NamesAreUniqueAndEverySettingHasItsSentence) {
    std::vector<std::string_view> names;
    for (const Setting& s : setting_table()) {
        EXPECT_FALSE(s.sentence.empty()) << s.name;
        EXPECT_TRUE(s.sentence.ends_with('.')) << s.name;
        names.push_back(s.name);
    }
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(SettingTable, ThePageInDocsIsWrittenFromIt) {
    std::ifstream in(HOMEOSTAT_SOURCE_DIR "/docs/settings.md");
    const std::string page{std::istreambuf_iterator<char>(in), {}};
    EXPECT_EQ(page, settings_markdown()) << "write it anew: homeostat config --markdown > docs/settings.md";
}

}  // namespace
}  // namespace homeostat
