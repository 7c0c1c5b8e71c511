// Every command that README and docs show is one that the program takes: its verbs, flags, forms and number of arguments.
// Commands are given to the program itself, on a database that is not there, and have to get as far as wanting to connect.
// Every link, and every path of ours that the pages name, leads somewhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "controller/cli/cli.hpp"
#include "controller/cli/verbs.hpp"

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

// NAME=value before a command is its environment.
bool is_assignment(const std::string& word) {
    const std::size_t equals = word.find('=');
    return equals != std::string::npos && equals > 0 && word.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == equals;
}

// Of code: fenced, or set in by four blanks, a line that ends in a stroke going on in the next. What has placeholders in brackets
// is a synopsis.
std::vector<Shown> commands_in(const fs::path& file) {
    std::vector<Shown> out;
    std::ifstream in(file);
    bool fenced = false;
    int number = 0;
    for (std::string line; std::getline(in, line);) {
        ++number;
        if (line.starts_with("```")) fenced = !fenced;
        if (!fenced && !line.starts_with("    ")) continue;
        for (std::string more; line.ends_with('\\') && std::getline(in, more); ++number) {
            line.pop_back();
            line += more;
        }
        if (line.find('[') != std::string::npos || line.find("...") != std::string::npos) continue;
        for (std::vector<std::string>& command : commands_of(line)) {
            while (!command.empty() && (command.front() == "$" || is_assignment(command.front()))) command.erase(command.begin());
            if (command.size() < 2 || command.front() != "homeostat") continue;
            command.erase(command.begin());
            out.push_back({file.filename().string() + ":" + std::to_string(number), std::move(command)});
        }
    }
    return out;
}

// The verbs of `homeostat VERB ...` within sentences.
std::vector<Shown> verbs_in(const fs::path& file) {
    std::vector<Shown> out;
    std::ifstream in(file);
    int number = 0;
    for (std::string line; std::getline(in, line);) {
        ++number;
        constexpr std::string_view kOpening = "`homeostat ";
        for (std::size_t at = line.find(kOpening); at != std::string::npos; at = line.find(kOpening, at + 1)) {
            const std::size_t verb = at + kOpening.size();
            out.push_back({file.filename().string() + ":" + std::to_string(number),
                           {line.substr(verb, line.find_first_of(" `", verb) - verb)}});
        }
    }
    return out;
}

std::vector<fs::path> pages() {
    const fs::path root(HOMEOSTAT_SOURCE_DIR);
    std::vector<fs::path> out{root / "README.md"};
    for (const auto& entry : fs::recursive_directory_iterator(root / "docs")) {
        if (entry.path().extension() == ".md") out.push_back(entry.path());
    }
    return out;
}

struct Outcome {
    int code;
    std::string said;
};

Outcome outcome(const std::vector<std::string>& arguments) {
    std::istringstream in;
    std::ostringstream out;
    std::ostringstream err;
    ConfigSources sources;
    sources.default_file = "/no/such/file";
    sources.environment = {{"HOMEOSTAT_DATABASE_URL", "postgres://127.0.0.1:1/none"}};
    const int code = run_cli(arguments, CliStreams{in, out, err}, sources);
    return {code, out.str() + err.str()};
}

// It got as far as it can get: it did what needs no database, wanted one, or wanted a file that the reader has.
bool is_taken(const Outcome& o) {
    return o.code == 0 || o.said.find("the database cannot be reached") != std::string::npos ||
           o.said.find("cannot be read") != std::string::npos;
}

TEST(Docs, EveryCommandShownIsOneThatTheProgramTakes) {
    std::vector<Shown> all;
    for (const fs::path& page : pages()) {
        for (Shown& shown : commands_in(page)) all.push_back(std::move(shown));
    }
    EXPECT_GT(all.size(), 60U);
    std::size_t wanting = 0;
    std::set<std::string> verbs;
    for (const Shown& shown : all) {
        verbs.insert(shown.arguments.front());
        // It would wait for its database.
        if (shown.arguments.front() == "run") continue;
        const Outcome o = outcome(shown.arguments);
        EXPECT_TRUE(is_taken(o)) << shown.where << " " << ::testing::PrintToString(shown.arguments) << "\n" << o.said;
        wanting += o.said.find("the database cannot be reached") != std::string::npos ? 1U : 0U;
    }
    EXPECT_GT(wanting, 40U) << "most of them are about a database";
    EXPECT_GT(verbs.size(), 15U) << ::testing::PrintToString(verbs);
}

TEST(Docs, EveryVerbOfASentenceIsOneAndEveryOneHasItsLine) {
    std::set<std::string> known;
    for (const Verb& verb : verb_table()) known.insert(std::string(verb.name));
    std::size_t seen = 0;
    for (const fs::path& page : pages()) {
        for (const Shown& shown : verbs_in(page)) {
            ++seen;
            const std::string& verb = shown.arguments.front();
            EXPECT_TRUE(known.contains(verb) || verb.starts_with('-') || verb == "VERB") << shown.where << " " << verb;
        }
    }
    EXPECT_GT(seen, 20U);
    std::ifstream in(fs::path(HOMEOSTAT_SOURCE_DIR) / "docs/commands.md");
    const std::string page{std::istreambuf_iterator<char>(in), {}};
    for (const std::string& verb : known) {
        EXPECT_TRUE(page.find("`" + verb + "`") != std::string::npos || page.find("`" + verb + " ") != std::string::npos) << verb;
    }
}

TEST(Docs, ACommandThatIsNoneIsSeen) {
    EXPECT_FALSE(is_taken(outcome({"describe"})));
    EXPECT_FALSE(is_taken(outcome({"plan", "--quickly"})));
    EXPECT_FALSE(is_taken(outcome({"pla"})));
    EXPECT_FALSE(is_taken(outcome({"delete", "articles"})));
    EXPECT_TRUE(is_taken(outcome({"plan"})));
}

// The lines of a page that are no code.
std::vector<Shown> prose_of(const fs::path& file) {
    std::vector<Shown> out;
    std::ifstream in(file);
    bool fenced = false;
    int number = 0;
    for (std::string line; std::getline(in, line);) {
        ++number;
        if (line.starts_with("```")) fenced = !fenced;
        if (!fenced) out.push_back({file.filename().string() + ":" + std::to_string(number), {line}});
    }
    return out;
}

// What stands between two marks, as often as they come in the line.
std::vector<std::string> between(const std::string& line, std::string_view open, char close) {
    std::vector<std::string> out;
    for (std::size_t at = line.find(open); at != std::string::npos; at = line.find(open, at)) {
        const std::size_t begin = at + open.size();
        const std::size_t end = line.find(close, begin);
        if (end == std::string::npos) break;
        out.push_back(line.substr(begin, end - begin));
        at = end + 1;
    }
    return out;
}

// "store/feed/capture.cpp", or "store/feed/capture*" for at least one of that beginning.
bool is_there(const fs::path& path) {
    const std::string name = path.filename().string();
    const std::size_t star = name.find('*');
    if (star == std::string::npos) return fs::exists(path);
    if (!fs::is_directory(path.parent_path())) return false;
    const fs::directory_iterator entries(path.parent_path());
    return std::any_of(begin(entries), end(entries),
                       [&](const auto& entry) { return entry.path().filename().string().starts_with(name.substr(0, star)); });
}

// A path of the repository: it begins with one of its folders, and has no part that the reader puts in.
bool is_of_ours(const std::string& path) {
    constexpr std::array<std::string_view, 11> kFolders = {"core/",       "store/",     "reconcilers/", "controller/",
                                                           "migrations/", "manifests/", "helm/",        "tests/",
                                                           "bench/",      "docs/",      "scripts/"};
    return path.find("NAME") == std::string::npos && path.find('<') == std::string::npos &&
           std::any_of(kFolders.begin(), kFolders.end(), [&](std::string_view folder) { return path.starts_with(folder); });
}

// As GitHub makes them of headings.
std::set<std::string> anchors_of(const fs::path& file) {
    std::set<std::string> out;
    for (const Shown& line : prose_of(file)) {
        const std::string& text = line.arguments.front();
        const std::size_t begin = text.find_first_not_of('#');
        if (begin == 0 || begin == std::string::npos) continue;
        std::string anchor;
        for (const char c : text.substr(begin + 1)) {
            if (c == ' ') anchor += '-';
            if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_') {
                anchor += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
            }
        }
        out.insert(anchor);
    }
    return out;
}

// Empty where a link leads somewhere.
std::string broken(const fs::path& page, const std::string& link) {
    if (link.starts_with("http")) return {};
    const std::size_t hash = std::min(link.find('#'), link.size());
    const fs::path target = hash == 0 ? page : page.parent_path() / link.substr(0, hash);
    if (!fs::exists(target)) return link + " is not there";
    if (hash == link.size() || anchors_of(target).contains(link.substr(hash + 1))) return {};
    return link + ": no such heading";
}

TEST(Docs, EveryPathAndLinkLeadsSomewhere) {
    const fs::path root(HOMEOSTAT_SOURCE_DIR);
    std::vector<fs::path> all = pages();
    for (const char* more : {"ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "tests/README.md"}) {
        all.push_back(root / more);
    }
    std::size_t paths = 0;
    std::size_t links = 0;
    for (const fs::path& page : all) {
        for (const Shown& line : prose_of(page)) {
            for (const std::string& code : between(line.arguments.front(), "`", '`')) {
                const std::string path = code.substr(0, code.find(' '));
                if (page.filename() == "CHANGELOG.md" || !is_of_ours(path)) continue;
                ++paths;
                EXPECT_TRUE(is_there(root / path)) << line.where << " " << path;
            }
            for (const std::string& link : between(line.arguments.front(), "](", ')')) {
                ++links;
                EXPECT_EQ(broken(page, link), "") << line.where;
            }
        }
    }
    EXPECT_GT(paths, 120U);
    EXPECT_GT(links, 120U);
    EXPECT_FALSE(is_there(root / "store/no_such.cpp"));
    EXPECT_FALSE(is_there(root / "store/feed/no_such*"));
    EXPECT_NE(broken(root / "README.md", "docs/healing.md#no-such"), "");
}

// A reader keeps no more than that in mind.
TEST(Docs, TheGlossaryHasAtMostTwelveWords) {
    std::size_t rows = 0;
    bool inside = false;
    for (const Shown& line : prose_of(fs::path(HOMEOSTAT_SOURCE_DIR) / "ARCHITECTURE.md")) {
        const std::string& text = line.arguments.front();
        if (text.starts_with("## ")) inside = text == "## Words";
        rows += inside && text.starts_with("|") ? 1U : 0U;
    }
    EXPECT_GT(rows, 2U);
    EXPECT_LE(rows, 2U + 12U);
}

}  // namespace
}  // namespace homeostat
