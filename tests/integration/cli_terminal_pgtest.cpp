// The program as hands and shells have it: on a terminal of some size, stopped by a signal, asked by bash what may come next, and
// its manual page set by groff.
#include <pty.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): signal names are POSIX
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "tests/integration/cli_case.hpp"
#include "tests/kit/process.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

std::string program() {
    const char* path = std::getenv("HOMEOSTAT_BINARY");  // NOLINT(concurrency-mt-unsafe): one thread
    if (path == nullptr) throw std::runtime_error("HOMEOSTAT_BINARY does not say where the program is: run the tests by ctest");
    return path;
}

struct Said {
    int code = -1;
    std::string text;
};

// The variables of the tests are no settings.
void forget_variables_of_tests() {
    std::vector<std::string> names;
    for (char** variable = environ; *variable != nullptr; ++variable) {
        const std::string_view text(*variable);
        if (text.starts_with("HOMEOSTAT_")) names.emplace_back(text.substr(0, text.find('=')));
    }
    for (const std::string& name : names) unsetenv(name.c_str());
}

std::string read_all(int from) {
    std::string text;
    std::array<char, 4096> some{};
    for (ssize_t n = 0; (n = read(from, some.data(), some.size())) > 0;) text.append(some.data(), static_cast<std::size_t>(n));
    return text;
}

class CliTerminal : public CliCase {
protected:
    // On a terminal of this size.
    Said on_terminal(unsigned short columns, unsigned short lines, const std::vector<std::string>& arguments) {
        winsize size{.ws_row = lines, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
        std::vector<std::string> words{program()};
        words.insert(words.end(), arguments.begin(), arguments.end());
        std::vector<char*> argv;
        for (std::string& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        const std::string database = db.url();
        int terminal = -1;
        const pid_t child = forkpty(&terminal, nullptr, nullptr, &size);
        if (child == 0) {
            forget_variables_of_tests();
            setenv("HOMEOSTAT_DATABASE_URL", database.c_str(), 1);
            setenv("HOMEOSTAT_HTTP_LISTEN", "127.0.0.1:0", 1);
            setenv("HOMEOSTAT_LOOP_POLL", "50ms", 1);
            setenv("HOMEOSTAT_DATABASE_ALLOW_SUPERUSER", "true", 1);
            execv(argv[0], argv.data());
            _exit(127);
        }
        Said said;
        said.text = read_all(terminal);
        close(terminal);
        int status = 0;
        waitpid(child, &status, 0);
        said.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        return said;
    }

    // Both streams of a shell command that finds the program as $homeostat.
    Said shell(const std::string& script) {
        setenv("homeostat", program().c_str(), 1);
        const std::string settings =
            "exec 2>&1\nfor v in $(env | sed -n 's/^\\(HOMEOSTAT_[A-Z_]*\\)=.*/\\1/p'); do unset $v; done\n"
            "HOMEOSTAT_DATABASE_URL='" +
            db.url() + "'; export HOMEOSTAT_DATABASE_URL\n";
        FILE* pipe = popen((settings + script).c_str(), "r");
        Said said;
        said.text = read_all(fileno(pipe));
        said.code = WEXITSTATUS(pclose(pipe));
        return said;
    }
    bool there_is(const std::string& tool) { return shell("command -v " + tool + " >/dev/null").code == 0; }

    // What bash would put there, between bars.
    std::string completed(const std::string& words, int typed) {
        return shell("bash -c 'source <(\"$homeostat\" completion bash); COMP_WORDS=(\"$homeostat\" " + words +
                     "); COMP_CWORD=" + std::to_string(typed) + "; _homeostat; printf \"|%s\" \"${COMPREPLY[@]}\"'")
            .text;
    }
};

TEST_F(CliTerminal, RunOnceSaysWhatItBeginsAndThatItWasStopped) {
    declare_articles(3);
    kit::Sql writer(db.url());
    writer.exec("BEGIN; LOCK TABLE articles IN ACCESS EXCLUSIVE MODE");
    const kit::Program homeostat(db.url());
    kit::Process run = homeostat.start({"run", "--once"});
    EXPECT_TRUE(kit::eventually([&] { return run.output().find("1 pipeline is looked at and healed") != std::string::npos; }))
        << run.output();
    run.signal(SIGTERM);
    const kit::Exit exit = run.wait(60s).value_or(kit::Exit{});
    EXPECT_EQ(exit.code, 1) << run.output();
    EXPECT_THAT(run.output(),
                AllOf(HasSubstr("stopped before all was done (0 converged until then)"), Not(HasSubstr("drift left"))));
    writer.exec("ROLLBACK");
    heal();
}

TEST_F(CliTerminal, RunOnceDrawsOnATerminalAndLeavesIt) {
    declare_articles(3);
    const Said said = on_terminal(100, 20, {"run", "--once"});
    EXPECT_EQ(said.code, 0) << said.text;
    EXPECT_THAT(said.text, AllOf(HasSubstr("\x1b[?1049h"), HasSubstr("articles  ["), HasSubstr("\x1b[?25h\x1b[?1049l"),
                                 EndsWith("1 converged, 0 with drift left, 0 failed\r\n")));
    EXPECT_EQ(db.value("SELECT count(*) FROM articles_embeddings"), "3");
}

TEST_F(CliTerminal, WatchFitsNarrowAndShortTerminals) {
    declare_articles(3);
    for (const char* name : {"b", "c", "d", "e"}) {
        db.exec(std::string("INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target) VALUES ('") +
                name + "', 'articles', 'body', 'hashing', 16, '" + name + "_v')");
    }
    const auto drawn = [&](unsigned short columns, unsigned short lines) {
        const Said said = on_terminal(columns, lines, {"watch", "--interval", "10ms", "--timeout", "30ms"});
        EXPECT_EQ(said.code, 0) << said.text;
        const std::size_t begin = said.text.find("\x1b[H");
        return said.text.substr(begin, said.text.find("\x1b[?1049l") - begin);
    };
    EXPECT_THAT(drawn(24, 3), AllOf(HasSubstr("… and 3 more"), Not(HasSubstr("[--")), HasSubstr("NotObs…\r")));
    EXPECT_THAT(drawn(120, 20), AllOf(HasSubstr("[------------------------]"), HasSubstr("e "), Not(HasSubstr("more"))));
}

TEST_F(CliTerminal, BashCompletesByAskingTheProgram) {
    if (!there_is("bash")) GTEST_SKIP() << "there is no bash here";
    declare_articles(3);
    db.exec(
        "INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target)"
        " VALUES ('an odd; name', 'articles', 'body', 'hashing', 16, 'odd_v')");
    EXPECT_EQ(completed("descr", 1), "|describe");
    EXPECT_EQ(completed("get --no-h", 2), "|--no-headers");
    EXPECT_EQ(completed("describe \"\"", 2), "|pipelines|providers|targetviews|an\\ odd\\;\\ name|articles");
    EXPECT_EQ(completed("describe pipeline/ar", 2), "|pipeline/articles");
    EXPECT_EQ(completed("plan a", 2), "|an\\ odd\\;\\ name|articles") << "what a shell would read otherwise is quoted";
    EXPECT_EQ(completed("wait articles --for = condition = S", 7), "|Stalled|Synced") << "bash splits words there";
    EXPECT_EQ(completed("wait articles --for=condition=S", 3), "|Stalled|Synced");
    EXPECT_EQ(completed("--database postgres : //127.0.0.1:1/none plan \"\"", 6), "|") << "no database, no names and no noise";
    EXPECT_EQ(completed("get -o jsonp", 3), "|jsonpath=");
}

TEST_F(CliTerminal, TheScriptsOfOtherShellsCanBeRead) {
    for (const char* name : {"zsh", "fish"}) {
        const std::string shell_name = name;
        if (!there_is(shell_name)) continue;
        const Said said = shell("\"$homeostat\" completion " + shell_name + " >script.$$ && " + shell_name +
                                " -n script.$$; code=$?; rm -f script.$$; exit $code");
        EXPECT_EQ(said.code, 0) << said.text;
        EXPECT_EQ(said.text, "");
    }
}

TEST_F(CliTerminal, TheManualPageIsSetWithoutAWarning) {
    if (!there_is("groff")) GTEST_SKIP() << "there is no groff here";
    EXPECT_EQ(shell("\"$homeostat\" man | groff -man -ww -z -Tutf8").text, "");
    EXPECT_THAT(shell("\"$homeostat\" man | groff -man -Tascii -P-c -P-b -P-u").text,
                AllOf(HasSubstr("SYNOPSIS"), HasSubstr("homeostat dead-letters retry"), HasSubstr("--sort-by PATH")));
}

}  // namespace
}  // namespace homeostat
