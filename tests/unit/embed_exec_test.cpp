// Exec providers whose program behaves: what it is sent, what it is given, what it is kept from, and when it is ended. Everything
// runs twice: in namespaces of its own, and without, as on a machine that forbids them. After each test no process, folder or
// descriptor may be left (kit/exec_world.hpp).
#include "reconcilers/embed/exec.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "reconcilers/embed/sandbox.hpp"
#include "tests/kit/exec_world.hpp"

namespace homeostat {
namespace {

using kit::ExecWorld;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;
using Json = nlohmann::json;

class ExecProvider : public ::testing::TestWithParam<bool> {
protected:
    ExecProvider() { world.options.namespaces = GetParam(); }

    // What a mode that reports found out: its error's message.
    Json findings(const std::vector<std::string>& texts = {"look around"}, TextRole role = TextRole::document) {
        const auto result = world.embed(texts, role);
        if (result || result.error().cls != ErrorClass::content) {
            ADD_FAILURE() << (result ? "no report" : result.error().message);
            return {};
        }
        const std::string& message = result.error().message;
        return Json::parse(Json::parse(message.substr(message.find("says ") + 5)).get<std::string>());
    }

    ExecWorld world;
};

TEST_P(ExecProvider, EmbedsAndKeepsItsProgram) {
    const auto first = world.embed({"one", "two"});
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(first->count(), 2U);
    EXPECT_EQ(first->model, "test-model");
    EXPECT_EQ(first->tokens, 2U);
    ASSERT_TRUE(kit::soon([&] { return world.running() == 1; })) << "the probe is thrown away";
    const auto again = world.embed({"two"});
    ASSERT_TRUE(again);
    EXPECT_TRUE(std::equal(again->row(0), again->row(0) + 8, first->row(1)));
    EXPECT_EQ(world.running(), 1U);
    EXPECT_EQ(world.embedder().quarantine_reason(), "");
}

TEST_P(ExecProvider, RunsNoMoreProgramsThanAllowed) {
    std::vector<std::future<Result<Embeddings>>> answers;
    const std::vector<std::string> texts{"a", "b"};
    const Context context;
    for (int i = 0; i < 12; ++i) answers.push_back(world.io.start(world.embedder().embed(texts, TextRole::document, context)));
    for (auto& answer : answers) {
        const auto result = answer.get();
        EXPECT_TRUE(result) << result.error().message;
    }
    ASSERT_TRUE(kit::soon([&] { return world.running() <= 2; }));
    EXPECT_GE(world.running(), 1U);
}

TEST_P(ExecProvider, SendsPrefixAndRole) {
    world.mode("prefix");
    world.spec.document_prefix = "passage: ";
    world.spec.query_prefix = "query: ";
    const Json asked = findings({"t"}, TextRole::query);
    EXPECT_EQ(asked["role"], "query");
    EXPECT_EQ(asked["texts"][0], "query: t");
    EXPECT_EQ(asked["model"], "test-model");
    EXPECT_EQ(asked["dimensions"], 8);
    EXPECT_EQ(findings({"t"})["texts"][0], "passage: t");
}

TEST_P(ExecProvider, GivesItsProgramNothingButWhatIsNamed) {
    ::setenv("HOMEOSTAT_TEST_NAMED", "known", 1);
    ::setenv("HOMEOSTAT_TEST_SECRET", "unknown", 1);
    const int careless = ::dup(1);  // ours, and open across exec
    world.mode("surroundings");
    world.spec.environment = {"HOMEOSTAT_TEST_NAMED"};
    const Json found = findings();
    EXPECT_THAT(found["environment"].get<std::vector<std::string>>(),
                UnorderedElementsAre("PATH", "LANG", "HOMEOSTAT_TEST_NAMED"));
    EXPECT_EQ(found["named"], "***") << "what it was given is repeated by nobody";
    EXPECT_EQ(found["descriptors"], 3);
    ::close(careless);
    EXPECT_TRUE(found["empty"]);
    EXPECT_THAT(found["folder"].get<std::string>(), HasSubstr("/homeostat-exec-"));
    ::unsetenv("HOMEOSTAT_TEST_SECRET");
    ::unsetenv("HOMEOSTAT_TEST_NAMED");
}

TEST_P(ExecProvider, KeepsItsProgramFromNetworkProcessesAndFiles) {
    world.mode("attempts");
    const Json found = findings();
    for (const char* what : {"fork", "setsid", "setpgid", "inet", "unix", "kill all", "kill parent", "setuid", "chroot"})
        EXPECT_EQ(found[what], "EPERM") << what;
    EXPECT_EQ(found["thread"], "worked");
    if (examine_sandbox(GetParam()).landlock) {
        EXPECT_EQ(found["write outside"], "EACCES");
        EXPECT_FALSE(std::filesystem::exists(world.temporary / "homeostat-escaped"));
    }
}

TEST_P(ExecProvider, KeepsFilesSmall) {
    world.mode("big-file");
    EXPECT_LE(findings()["written"].get<std::uint64_t>(), 16U << 20U);
}

TEST_P(ExecProvider, DrainsWhatItsProgramSaysOnTheSide) {
    world.mode("talkative");
    const auto result = world.embed({"a"});
    EXPECT_TRUE(result) << result.error().message;
}

TEST_P(ExecProvider, PassesOnWhatItsProgramRefuses) {
    world.mode("refuse");
    for (const auto cls : {ErrorClass::content, ErrorClass::too_large, ErrorClass::throttled, ErrorClass::transient}) {
        for (int i = 0; i < 4; ++i) {
            const Error e = world.error({std::string(to_string(cls))});
            EXPECT_EQ(e.cls, cls) << e.message;
            EXPECT_EQ(e.retry_after, 2500ms);
            EXPECT_EQ(e.message, "provider \"x\": the program says \"no \\\"" + std::string(to_string(cls)) + "\\\"\"");
        }
    }
    EXPECT_EQ(world.embedder().quarantine_reason(), "") << "a refusal is no fault";
}

TEST_P(ExecProvider, EndsAProgramThatHasNothingToDo) {
    world.options.idle = 30ms;
    ASSERT_TRUE(world.embed({"a"}));
    // Idle is reckoned by our clock, looked at by a real timer.
    world.clock.advance(1s);
    EXPECT_TRUE(kit::soon([&] { return world.running() == 0 && world.folders() == 0; }));
    EXPECT_TRUE(world.embed({"a"})) << "another one is started";
}

TEST_P(ExecProvider, ReplacesAProgramThatIsOld) {
    world.spec.timeout = 1s;
    ASSERT_TRUE(world.embed({"a"}));
    ASSERT_TRUE(kit::soon([&] { return world.running() == 1; }));
    world.clock.advance(2h);
    ASSERT_TRUE(world.embed({"a"}));
    EXPECT_TRUE(kit::soon([&] { return world.running() == 0; })) << "ended when it came back from its last request";
    EXPECT_TRUE(world.embed({"a"}));
}

TEST_P(ExecProvider, StopsAtOnce) {
    world.mode("hang");
    std::stop_source stop;
    const std::vector<std::string> texts{"a"};
    Context context;
    context.stop = stop.get_token();
    auto answer = world.io.start(world.embedder().embed(texts, TextRole::document, context));
    EXPECT_EQ(answer.wait_for(100ms), std::future_status::timeout);
    stop.request_stop();
    const auto result = answer.get();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().cls, ErrorClass::cancelled) << result.error().message;
    EXPECT_TRUE(kit::soon([&] { return world.running() == 0; }));
    EXPECT_EQ(world.embedder().quarantine_reason(), "");
}

TEST_P(ExecProvider, TellsOfEveryRequest) {
    ASSERT_TRUE(world.embed({"a"}));
    const auto spans = world.recorder.spans();
    ASSERT_EQ(spans.size(), 1U);
    EXPECT_EQ(spans[0].name, "ask program");
    EXPECT_EQ(spans[0].kind, SpanKind::client);
}

TEST_P(ExecProvider, RunsTheScriptOfTheDocumentation) {
    world.spec.command = {"/usr/bin/python3", std::string(HOMEOSTAT_SOURCE_DIR) + "/docs/examples/embed.py", world.mark};
    const auto result = world.embed({"a small example", "eine kleine Probe", ""});
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->count(), 3U);
    const Error e = world.error({std::string(200'000, 'x')});
    EXPECT_EQ(e.cls, ErrorClass::too_large) << e.message;
}

INSTANTIATE_TEST_SUITE_P(Sandboxes, ExecProvider, ::testing::Values(true, false),
                         [](const auto& p) { return p.param ? "namespaces" : "plain"; });

TEST(ExecProviderDeclared, RefusesWhatCannotWork) {
    ExecWorld world;
    const auto refusal = [&] {
        const auto made = world.make();
        return made ? std::string("it was made") : made.error().message;
    };
    world.spec.command = {};
    EXPECT_THAT(refusal(), HasSubstr("absolute path"));
    world.spec.command = {"python3"};
    EXPECT_THAT(refusal(), HasSubstr("absolute path"));
    world.mode("good");
    world.spec.environment = {"HOMEOSTAT_TEST_NEVER_SET"};
    EXPECT_THAT(refusal(), HasSubstr("the variable HOMEOSTAT_TEST_NEVER_SET, which is not set"));
}

TEST(ExecRules, AProgramIsWhatItIsPastEveryLink) {
    ExecWorld world;  // for its folder
    const std::filesystem::path folder = world.temporary / "programs";
    std::filesystem::create_directory(folder);
    std::filesystem::create_symlink("/bin/cat", folder / "cat");
    std::filesystem::create_symlink("/usr/bin", world.temporary / "link");
    std::ofstream(folder / "own") << "#!/usr/bin/python3\n";
    ExecRules rules;
    const auto said = [&](const std::string& command) {
        world.spec.command = {command};
        const Result<std::string> program = rules.program(world.spec);
        return program ? *program : "refused: " + program.error().message;
    };
    const std::string cat = std::filesystem::canonical("/bin/cat").string();
    const std::string python = std::filesystem::canonical("/usr/bin/python3").string();
    EXPECT_THAT(said("/bin/cat"), HasSubstr("refused: command \"/bin/cat\" is not started: exec.allow allows no program"));
    rules.allow = {folder.string(), "/not/there"};
    EXPECT_EQ(said((folder / "own").string()), std::filesystem::canonical(folder / "own").string());
    for (const std::string& escape : {(folder / "cat").string(), (folder / "../link/cat").string(), folder.string() + "x/own",
                                      std::string("/bin/cat"), (folder / "none").string()})
        EXPECT_THAT(said(escape), HasSubstr("refused: ")) << escape;
    rules.allow = {"/bin/cat"};
    for (const char* same : {"/bin/cat", "/usr/bin/cat", "/usr/lib/../bin/cat"}) EXPECT_EQ(said(same), cat);
    EXPECT_EQ(said((folder / "cat").string()), cat);
    rules.allow = {(world.temporary / "link").string()};
    EXPECT_EQ(said("/usr/bin/cat"), cat);
    for (const char* interpreter : {"/bin/sh", "/usr/bin/python3", "/usr/bin/env", "/usr/bin/perl"})
        EXPECT_THAT(said(interpreter), HasSubstr("its folder is not enough")) << interpreter;
    rules.allow = {"/usr/bin/python3"};
    EXPECT_EQ(said("/usr/bin/python3"), python);
    EXPECT_THAT(rules.readable((folder / "own").string()),
                ::testing::IsSupersetOf({(folder / "own").string(), std::string("/usr/bin/python3")}));
    world.spec.environment = {"PGPASSWORD"};
    EXPECT_THAT(rules.variables(world.spec).error().message, HasSubstr("exec.environment"));
}

}  // namespace
}  // namespace homeostat
