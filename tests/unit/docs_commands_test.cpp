// Every command that README and docs show is one that the program takes: its verbs, flags and number of arguments. Commands are
// given to the program itself, on a database that is not there, so that it gets as far as wanting to connect.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "controller/cli/cli.hpp"

namespace homeostat {
namespace {

namespace fs = std::filesystem;

// As a shell splits it, as far as the docs go: quotation marks, and an end at what begins a comment or another command.
std::vector<std::vector<std::string>> commands_of(const std::string& line) {
    std::vector<std::vector<std::string>> commands(1);
    std::string word;
    bool open = false;
    char quote = 0;
    const auto close = [&] {
        if (open) commands.back().push_back(word);
        word.clear();
        open = false;
    };
    for (const char c : line) {
        if (quote != 0) {
            if (c == quote) {
                quote = 0;
            } else {
                word += c;
            }
        } else if (c == '\'' || c == '"') {
            quote = c;
            open = true;
        } else if (c == '#' && !open) {
            break;
        } else if (c == '&' || c == '|' || c == ';' || c == '>' || c == '(' || c == ')') {
            close();
            commands.emplace_back();
        } else if (c == ' ') {
            close();
        } else {
            word += c;
            open = true;
        }
    }
    close();
    return commands;
}

struct Shown {
    std::string where;
    std::vector<std::string> arguments;
};

// Of code: fenced, or set in by four blanks. What has placeholders in brackets is a synopsis.
std::vector<Shown> commands_in(const fs::path& file) {
    std::vector<Shown> out;
    std::ifstream in(file);
    bool fenced = false;
    int number = 0;
    for (std::string line; std::getline(in, line);) {
        ++number;
        if (line.starts_with("```")) fenced = !fenced;
        if (!fenced && !line.starts_with("    ")) continue;
        if (line.find('[') != std::string::npos || line.find("...") != std::string::npos) continue;
        for (std::vector<std::string>& command : commands_of(line)) {
            if (!command.empty() && command.front() == "$") command.erase(command.begin());
            if (command.size() < 2 || command.front() != "homeostat") continue;
            command.erase(command.begin());
            out.push_back({file.filename().string() + ":" + std::to_string(number), std::move(command)});
        }
    }
    return out;
}

std::string refusal(const std::vector<std::string>& arguments) {
    std::istringstream in;
    std::ostringstream out;
    std::ostringstream err;
    ConfigSources sources;
    sources.default_file = "/no/such/file";
    sources.environment = {{"HOMEOSTAT_DATABASE_URL", "postgres://127.0.0.1:1/none"}};
    (void)run_cli(arguments, CliStreams{in, out, err}, sources);
    return err.str();
}

TEST(Docs, EveryCommandShownIsOneThatTheProgramTakes) {
    const fs::path root(HOMEOSTAT_SOURCE_DIR);
    std::vector<Shown> all = commands_in(root / "README.md");
    for (const auto& entry : fs::directory_iterator(root / "docs")) {
        if (entry.path().extension() != ".md") continue;
        for (Shown& shown : commands_in(entry.path())) all.push_back(std::move(shown));
    }
    ASSERT_GT(all.size(), 30U);
    for (const Shown& shown : all) {
        // It would wait for its database.
        if (shown.arguments.front() == "run") continue;
        EXPECT_THAT(refusal(shown.arguments), ::testing::Not(::testing::HasSubstr("; see homeostat")))
            << shown.where << " " << ::testing::PrintToString(shown.arguments);
    }
}

TEST(Docs, ACommandThatIsNoneIsSeen) {
    EXPECT_THAT(refusal({"describe"}), ::testing::HasSubstr("; see homeostat describe --help"));
    EXPECT_THAT(refusal({"plan", "--quickly"}), ::testing::HasSubstr("; see homeostat plan --help"));
}

}  // namespace
}  // namespace homeostat
