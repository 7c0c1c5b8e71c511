// Credentials that programs print: what is read of them, when they are asked again, and that nothing of them is told.
#include "reconcilers/embed/credential_program.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "reconcilers/embed/openai.hpp"
#include "reconcilers/embed/outbound.hpp"
#include "reconcilers/embed/secret_source.hpp"
#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/io_thread.hpp"
#include "tests/kit/sim_clock.hpp"
#include "tests/kit/soon.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// 2026-01-01 00:00:00 UTC
const WallTime kNow = WallTime(std::chrono::sys_days(std::chrono::year(2026) / 1 / 1));

struct Printed {
    const char* output;
    const char* secret;
    std::optional<int> seconds;
};

TEST(PrintedCredential, IsReadAsProgramsPrintIt) {
    const std::vector<Printed> good{
        {"tok-1", "tok-1", {}},
        {"  tok-1\r\n\n", "tok-1", {}},
        {"\xEF\xBB\xBFtok-1\n", "tok-1", {}},
        {R"({"token": "t", "expires_at": "2026-01-01T01:00:00Z"})", "t", 3600},
        {R"({"token": "t", "expires_at": "2026-01-01T02:30:00.123456789+01:30"})", "t", 3600},
        {R"({"token": "t", "expires_at": 1767225660})", "t", 60},
        {R"({"token": "t", "expires_at": 1767225660000})", "t", 60},
        {R"({"access_token": "t", "expires_in": 3599, "token_type": "Bearer"})", "t", 3599},
        {R"({"access_token": "t", "expires_in": "60"})", "t", 60},
        {R"({"accessToken": "t", "expiresOn": "2026-01-01 03:00:00.000000", "expires_on": 1767225660})", "t", 60},
        {R"({"credential": {"access_token": "t", "token_expiry": "2026-01-01T00:01:00Z"}})", "t", 60},
        {R"({"kind": "ExecCredential", "status": {"token": "t", "expirationTimestamp": "2026-01-01T00:01:00Z"}})", "t", 60},
        {R"({"kind": "ExecCredential", "spec": {}, "status": {"token": "t", "expirationTimestamp": null}})", "t", {}},
        {R"({"ServerURL": "x", "Username": "u", "Secret": "t"})", "t", {}},
        {R"({"token": "t", "expires_at": ""})", "t", {}}};
    for (const Printed& p : good) {
        const Result<PrintedCredential> read = read_printed_credential(p.output, kNow);
        ASSERT_TRUE(read) << p.output << read.error().message;
        EXPECT_EQ(read->secret, p.secret) << p.output;
        EXPECT_EQ(read->lives ? std::optional<std::int64_t>(*read->lives / 1s) : std::nullopt,
                  p.seconds ? std::optional<std::int64_t>(*p.seconds) : std::nullopt)
            << p.output;
    }
}

TEST(PrintedCredential, WhatIsNoneIsToldWithoutRepeatingIt) {
    const std::vector<std::pair<std::string, const char*>> wrong{
        {"", "nothing"},
        {" \n ", "nothing"},
        {"Please log-in-hush", "several words"},
        {"hush-1\nhush-2", "several words"},
        {std::string("hush\0x", 6), "control"},
        {"hush\x01", "control"},
        {"hush\xC3\xA9", "ASCII"},
        {"<html>hush", "neither a token"},
        {"\"hush\"", "neither a token"},
        {R"({"token": "hush")", "begins like JSON"},
        {R"({"token": "hush"} {})", "begins like JSON"},
        {R"({"token": ""})", "empty"},
        {R"({"token": "hu\nsh"})", "control"},
        {R"({"token": 7, "hush": 1})", "without \"token\""},
        {R"({"status": {"token": null}})", "without \"token\""},
        {R"({"Version": 1, "AccessKeyId": "hush", "SecretAccessKey": "hush"})", "sign requests"},
        {R"({"token": "hush", "expires_at": "tomorrow"})", "\"expires_at\""},
        {R"({"token": "hush", "expires_at": "2026-02-30T00:00:00Z"})", "\"expires_at\""},
        {R"({"token": "hush", "expires_at": "2026-01-01T00:00:00"})", "\"expires_at\""},
        {R"({"token": "hush", "expires_in": {}})", "\"expires_in\""},
        {R"({"token": "hush", "expires_in": 1e400})", ""},
        {R"({"token": "hush", "expires_at": "2025-12-31T23:59:00Z"})", "expired 60 s ago"},
        {R"({"token": "hush", "expires_in": 0})", "expired"},
        {std::string(40'000, '{'), "begins like JSON"}};
    for (const auto& [output, sentence] : wrong) {
        const Result<PrintedCredential> read = read_printed_credential(output, kNow);
        ASSERT_FALSE(read) << output;
        EXPECT_THAT(read.error().message, AllOf(HasSubstr(sentence), Not(HasSubstr("hush")))) << output;
        EXPECT_EQ(read.error().cls, ErrorClass::auth);
    }
}

TEST(SecretSource, ALineHoldsProgramsWithTheirArguments) {
    const std::vector<std::string> entries = secret_entries(
        R"(a env:A https://a.example.com; ;b "exec:/bin/az --resource https://x.example; 'a b'" https://b.example.com;)");
    ASSERT_EQ(entries.size(), 2U);
    EXPECT_THAT(*entry_words(entries[1]),
                ElementsAre("b", "exec:/bin/az --resource https://x.example; 'a b'", "https://b.example.com"));
    EXPECT_THAT(*program_words("exec:/bin/az --resource https://x 'a b' ''"),
                ElementsAre("/bin/az", "--resource", "https://x", "a b", ""));
    EXPECT_THAT(*program_words("exec:/opt/'my tools'/az x"), ElementsAre("/opt/my tools/az", "x"));
    for (const char* wrong : {"exec:", "exec:/", "exec:az", "exec: /bin/az", "exec:/bin/az 'a", "/bin/az"})
        EXPECT_FALSE(program_words(wrong)) << wrong;
    EXPECT_FALSE(entry_words("a \"exec:/x https://a"));
    EXPECT_EQ(*program_source({"exec:/bin/az", "a b", "", "c;d"}), "exec:/bin/az 'a b' '' 'c;d'");
    EXPECT_FALSE(program_source({"exec:/bin/az", "it's"}));
    EXPECT_EQ(written_source("exec:/bin/az x"), "\"exec:/bin/az x\"");
    EXPECT_EQ(written_source("exec:/bin/az"), "exec:/bin/az");
}

class Programs : public ::testing::Test {
protected:
    Programs() {
        std::string made = (std::filesystem::temp_directory_path() / "homeostat-credential-XXXXXX").string();
        folder = ::mkdtemp(made.data());
    }
    ~Programs() override { std::filesystem::remove_all(folder); }

    // A shell script that counts its runs: $N is the number of this one.
    std::string script(const std::string& body, const std::string& name = "token") {
        const std::string path = folder + "/" + name;
        std::ofstream(path) << "#!/bin/sh\necho run >> " << folder << "/" << name << ".runs\nN=$(grep -c run " << folder << "/"
                            << name << ".runs)\n"
                            << body << "\n";
        std::filesystem::permissions(path, std::filesystem::perms::owner_all);
        return path;
    }
    int runs(const std::string& name = "token") const {
        std::ifstream in(folder + "/" + name + ".runs");
        int out = 0;
        for (std::string line; std::getline(in, line);) ++out;
        return out;
    }
    static std::string text(const Result<std::string>& held) { return held ? *held : "failed: " + held.error().message; }
    std::string ask(CredentialProgram& program) {
        io.run(wait(program));
        return text(program.held());
    }
    static boost::asio::awaitable<bool> wait(CredentialProgram& program) {
        co_await program.ready(SteadyTime::max(), {});
        co_return true;
    }
    // Of a run in the background nobody waits for.
    static void until(const std::function<bool()>& true_now) { EXPECT_TRUE(kit::soon(true_now)); }

    std::string folder;
    kit::SimulatedClock clock;
    kit::IoThread io{2};
};

TEST_F(Programs, AreAskedAgainBeforeTheEnd) {
    CredentialProgram program("k", {script(R"(echo "{\"token\": \"tok-$N\", \"expires_in\": 3600}")")}, clock);
    EXPECT_THAT(text(program.held()), HasSubstr("credential and headers only"));
    EXPECT_EQ(ask(program), "tok-1");
    clock.advance(54min);
    EXPECT_EQ(ask(program), "tok-1");
    EXPECT_EQ(runs(), 1);
    clock.advance(2min);  // five minutes before its end
    program.look();
    until([&] { return text(program.held()) == "tok-2"; });
    clock.advance(2h);  // nobody has asked: it has ended, so it is waited for
    EXPECT_EQ(ask(program), "tok-3");
    EXPECT_EQ(runs(), 3);
}

TEST_F(Programs, WithoutAnEndAreAskedOnce) {
    CredentialProgram program("k", {script("echo tok-$N")}, clock);
    EXPECT_EQ(ask(program), "tok-1");
    clock.advance(240h);
    EXPECT_EQ(ask(program), "tok-1");
    EXPECT_EQ(runs(), 1);
}

// Whoever looks seldom sees that a program works again by the mark, whether or not what it printed has ended by then.
TEST_F(Programs, TheMarkTellsAFailingOneFromOneWhoseTokenHasEnded) {
    CredentialProgram program("k", {script("[ $N -ne 1 ] || exit 1; echo '{\"token\": \"tok\", \"expires_in\": 2}'")}, clock);
    ask(program);
    const std::size_t failing = program.mark();
    clock.advance(1s);
    EXPECT_EQ(ask(program), "tok");
    const std::size_t well = program.mark();
    EXPECT_NE(well, failing);
    clock.advance(1h);
    EXPECT_FALSE(program.held());
    EXPECT_EQ(program.mark(), well);
}

TEST_F(Programs, WhatLivesForNoTimeIsPrintedOnceASecond) {
    CredentialProgram program("k", {script(R"(echo "{\"token\": \"tok-$N\", \"expires_in\": 0.001}")")}, clock);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(ask(program), "tok-1");
    clock.advance(1s);
    EXPECT_EQ(ask(program), "tok-2");
}

TEST_F(Programs, ARefusedOneIsReplacedAtOnceAndThenEverMoreSeldom) {
    CredentialProgram program("k", {script("echo tok-$N")}, clock);
    EXPECT_EQ(ask(program), "tok-1");
    program.refused("another");
    EXPECT_EQ(ask(program), "tok-1");
    for (int i = 0; i < 8; ++i) program.refused("tok-1");  // eight requests at a time
    EXPECT_EQ(ask(program), "tok-2");
    program.refused("tok-1");  // a late one
    EXPECT_EQ(ask(program), "tok-2");
    EXPECT_EQ(runs(), 2);
    program.refused("tok-2");
    EXPECT_EQ(ask(program), "tok-2") << "the new one is no better: not at once";
    clock.advance(5s);
    EXPECT_EQ(ask(program), "tok-3");
    program.accepted();
    program.refused("tok-3");
    EXPECT_EQ(ask(program), "tok-4");
    EXPECT_EQ(runs(), 4);
}

TEST_F(Programs, TheSameAgainStaysRefused) {
    CredentialProgram program("k", {script("echo tok")}, clock);
    EXPECT_EQ(ask(program), "tok");
    program.refused("tok");
    EXPECT_EQ(ask(program), "tok");
    for (int i = 0; i < 5; ++i) {
        program.refused("tok");
        EXPECT_EQ(ask(program), "tok");
    }
    EXPECT_EQ(runs(), 2);
}

TEST_F(Programs, ThatFailAreAskedEverMoreSeldomAndWhatHoldsIsUsedMeanwhile) {
    CredentialProgram program(
        "k",
        {script(R"(if [ $N -gt 1 ]; then echo "no login for you" >&2; exit 3; fi; echo '{"token": "tok", "expires_in": 1000}')")},
        clock);
    EXPECT_EQ(ask(program), "tok");
    clock.advance(800s);
    program.look();
    until([&] { return runs() == 2; });
    EXPECT_EQ(text(program.held()), "tok");
    clock.advance(200s);
    EXPECT_THAT(ask(program), HasSubstr(folder + "/token of secret \"k\" ended with code 3; it wrote: no login for you"));
    const int before = runs();
    for (int i = 0; i < 5; ++i) ask(program);
    EXPECT_EQ(runs(), before) << "not before its time";
    clock.advance(1min);
    ask(program);
    EXPECT_EQ(runs(), before + 1);
    EXPECT_EQ(program.held().error().code, "credential");
}

TEST_F(Programs, NothingOfTheSecretIsToldWhateverTheyDo) {
    const std::vector<std::pair<std::string, const char*>> wrong{
        {"echo hush-hush-hush; echo + echo hush-hush-hush >&2; exit 1", "ended with code 1; it wrote: + echo ***"},
        {R"(echo '{"token": "hush-hush-hush"}'; echo "trace hush-hush-hush" >&2; exit 2)", "it wrote: trace ***"},
        {"echo hush-hush-hush two", "several words"},
        {"kill -9 $$", "signal 9"},
        {"head -c 100000 /dev/zero", "more than 64 KiB"},
        {"exec cat /dev/zero", "more than 64 KiB"},
        {"exec cat /dev/zero >&2", "did not end within"},
        {"sleep 60", "did not end within"},
        {"sleep 60 & sleep 60", "did not end within"},
        {"printf 'a\\033[31m\\nb' >&2; exit 1", "a "}};
    int n = 0;
    for (const auto& [body, sentence] : wrong) {
        CredentialProgram program("k", {script(body, "p" + std::to_string(n++))}, clock, 300ms);
        const std::string said = ask(program);
        EXPECT_THAT(said, AllOf(HasSubstr("failed: "), HasSubstr(sentence), Not(HasSubstr("hush-hush")), Not(HasSubstr("\033"))))
            << body;
    }
    CredentialProgram missing("k", {folder + "/none"}, clock);
    EXPECT_THAT(ask(missing), HasSubstr("was not started: No such file"));
}

TEST_F(Programs, WhatTheyLeaveBehindIsEndedAndHoldsNobodyUp) {
    CredentialProgram program("k", {script("sleep 60 & echo $! > " + folder + "/left; echo tok")}, clock);
    EXPECT_EQ(ask(program), "tok");
    int left = 0;
    std::ifstream(folder + "/left") >> left;
    // Gone, or a dead child that whoever adopts it has not looked at yet.
    until([&] {
        std::ifstream stat("/proc/" + std::to_string(left) + "/stat");
        std::string pid;
        std::string name;
        std::string state;
        return !(stat >> pid >> name >> state) || state == "Z";
    });
}

TEST_F(Programs, AreGivenAFewVariablesAndNoDescriptor) {
    ::setenv("HOMEOSTAT_DATABASE_URL", "postgres://hush", 1);
    ::setenv("PGPASSWORD", "hush", 1);
    ::setenv("AWS_PROFILE", "embed", 1);
    const std::string out = folder + "/seen";
    const int kept = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC  NOLINT
    CredentialProgram program("k", {script("env > " + out + "; ls /proc/self/fd > " + out + ".fds; cat; echo tok")}, clock);
    EXPECT_EQ(ask(program), "tok") << "nothing is on its standard input";
    ::close(kept);
    std::ifstream in(out);
    const std::string seen{std::istreambuf_iterator<char>(in), {}};
    EXPECT_THAT(seen,
                AllOf(HasSubstr("PATH="), HasSubstr("AWS_PROFILE=embed"), Not(HasSubstr("hush")), Not(HasSubstr("HOMEOSTAT"))));
    std::ifstream fds(out + ".fds");
    for (int fd = 0; fds >> fd;) EXPECT_LE(fd, 3) << "ls has one of its own";
    for (const char* name : {"HOMEOSTAT_DATABASE_URL", "PGPASSWORD", "AWS_PROFILE"}) ::unsetenv(name);
}

TEST_F(Programs, OnesThatRunAreEndedWithTheirOwner) {
    auto program = std::make_unique<CredentialProgram>("k", std::vector{script("exec sleep 600")}, clock);
    program->look();
    until([&] { return runs() == 1; });
    program.reset();  // does not wait for it
}

// Through the embedder, with an endpoint that takes the newest token only.
class ProgramsAtAnEndpoint : public Programs {
protected:
    Result<Embeddings> embed() {
        const std::vector<std::string> texts{"a text"};
        return io.run(embedder->embed(texts, TextRole::document, {}));
    }
    void make(const std::string& program) {
        Result<Outbound> outbound =
            Outbound::of(fmt::format("k \"exec:{} 'an argument'\" {}", program, parse_url(endpoint.url())->origin()), "");
        ASSERT_TRUE(outbound) << outbound.error().message;
        ProviderSpec spec;
        spec.name = "p";
        spec.kind = "openai";
        spec.endpoint = endpoint.url();
        spec.credential = "secret:k";
        auto made = make_openai_embedder(spec, "m", 8, io.executor(), real, {registry, tracer},
                                         std::make_shared<const Outbound>(*std::move(outbound)));
        ASSERT_TRUE(made) << made.error().message;
        embedder = *std::move(made);
    }
    std::string sent() { return endpoint.requests().back().http.headers.at("authorization"); }

    const SystemClock real;
    const Tracer tracer{nullptr, real};
    Registry registry;
    kit::FakeEndpoint endpoint{{.dimensions = 8}};
    std::unique_ptr<Embedder> embedder;
};

TEST_F(ProgramsAtAnEndpoint, ARefusalIsAnsweredWithAnotherToken) {
    make(script("[ \"$1\" = 'an argument' ] && echo tok-$N"));
    ASSERT_TRUE(embed());
    EXPECT_EQ(sent(), "Bearer tok-1");
    endpoint.next({.status = 401});
    ASSERT_TRUE(embed());
    EXPECT_EQ(sent(), "Bearer tok-2");
    EXPECT_EQ(endpoint.calls(), 3U);
    endpoint.next({.status = 403});
    ASSERT_TRUE(embed());
    EXPECT_EQ(sent(), "Bearer tok-3");
    EXPECT_EQ(runs(), 3);
}

TEST_F(ProgramsAtAnEndpoint, WhoRefusesEverythingIsAskedTwiceAndTheProgramOnce) {
    make(script("echo tok-$N"));
    endpoint.always({.status = 401});
    const Result<Embeddings> answer = embed();
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, "401");
    EXPECT_THAT(answer.error().message, Not(HasSubstr("tok-")));
    EXPECT_EQ(endpoint.calls(), 2U);
    EXPECT_FALSE(embedder->take_renewed());
    for (int i = 0; i < 5; ++i) EXPECT_FALSE(embed());
    EXPECT_EQ(runs(), 2);
    EXPECT_EQ(endpoint.calls(), 7U);
}

TEST_F(ProgramsAtAnEndpoint, AFaultThatIsNoRefusalAsksNobody) {
    make(script("echo tok-$N"));
    endpoint.next({.status = 500});
    EXPECT_FALSE(embed());
    EXPECT_EQ(runs(), 1);
}

TEST_F(ProgramsAtAnEndpoint, AFailingProgramSendsNothingAndIsRenewedWhenItPrints) {
    make(script("[ -e " + folder + "/login ] || { echo 'please log in' >&2; exit 1; }; echo tok"));
    const Result<Embeddings> answer = embed();
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().cls, ErrorClass::auth);
    EXPECT_EQ(answer.error().code, "credential");
    EXPECT_THAT(answer.error().message, AllOf(HasSubstr("provider \"p\": the program "), HasSubstr("please log in")));
    EXPECT_EQ(endpoint.calls(), 0U);
    EXPECT_FALSE(embedder->take_renewed());
    std::ofstream(folder + "/login") << "x";
    until([&] { return embedder->take_renewed(); });
    EXPECT_TRUE(embed());
}

TEST_F(ProgramsAtAnEndpoint, OthersGoOnWhileAProgramIsSlow) {
    make(script("while [ ! -e " + folder + "/go ]; do sleep 0.02; done; echo tok"));
    const std::vector<std::string> texts{"a text"};
    const Context calm;
    std::vector<std::future<Result<Embeddings>>> waiting;
    for (int i = 0; i < 8; ++i) waiting.push_back(io.start(embedder->embed(texts, TextRole::document, calm)));
    until([&] { return runs() == 1; });
    std::stop_source stop;
    Context context;
    context.stop = stop.get_token();
    auto stopped = io.start(embedder->embed(texts, TextRole::document, context));
    stop.request_stop();
    EXPECT_FALSE(stopped.get()) << "while the program runs on, on an executor of two threads";
    std::ofstream(folder + "/go") << "x";
    for (auto& one : waiting) EXPECT_TRUE(one.get());
    EXPECT_EQ(runs(), 1);
}

TEST_F(ProgramsAtAnEndpoint, SettingsThatNameNoProgramAreRefused) {
    const auto refused = [](const std::string& secrets) {
        const Result<Outbound> made = Outbound::of(secrets, "");
        return made ? "it was taken" : made.error().message;
    };
    EXPECT_THAT(refused("k exec:token https://a.example.com"), HasSubstr("it needs a source"));
    EXPECT_THAT(refused("k \"exec:/bin/token 'a\" https://a.example.com"), HasSubstr("single quotes"));
    EXPECT_THAT(refused("k \"exec:/bin/token https://a.example.com"), HasSubstr("left open"));
    EXPECT_THAT(refused("k exec:/bin/token now https://a.example.com"), HasSubstr("double quotes: \"exec:/bin/token now ...\""));
    EXPECT_THAT(refused("k exec:/bin/token"), HasSubstr("the origins"));
    EXPECT_EQ(refused("k \"exec:/bin/token --for https://x.example; y\" https://a.example.com; l env:L https://b.example.com"),
              "it was taken");
    const Outbound bound = *Outbound::of("k \"exec:/bin/token x\" https://a.example.com", "");
    EXPECT_THAT(bound.secret("exec:/bin/token y", *parse_url("https://a.example.com")).error().message,
                HasSubstr("bound to no origin"));
    EXPECT_THAT(bound.secret("secret:k", *parse_url("https://b.example.com")).error().message, HasSubstr("and not to"));
    EXPECT_THAT(bound.file("secret:k", *parse_url("https://a.example.com")).error().message, HasSubstr("is no file"));
}

}  // namespace
}  // namespace homeostat
