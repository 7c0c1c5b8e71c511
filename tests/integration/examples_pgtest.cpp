// What is shipped to be copied works: every manifest of manifests/ is accepted, with the tables its own comments tell of, and the
// program of docs/examples embeds what its manifest declares. What the documentation prints of it is what is there.
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "tests/integration/cli_case.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kRoot = HOMEOSTAT_SOURCE_DIR;

std::string text_of(const std::filesystem::path& path) {
    std::ifstream in(path);
    if (!in) throw std::runtime_error(path.string() + " cannot be read");
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

std::vector<std::filesystem::path> manifests() {
    std::vector<std::filesystem::path> out;
    for (const auto& entry : std::filesystem::directory_iterator(kRoot + "/manifests")) {
        if (entry.path().extension() == ".yaml") out.push_back(entry.path());
    }
    return out;
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
    const std::size_t at = text.find(what);
    if (at == std::string::npos) throw std::runtime_error("\"" + what + "\" is not in it");
    return text.replace(at, what.size(), with);
}

// The fenced blocks of a language, in order.
std::vector<std::string> blocks(const std::string& markdown, const std::string& language) {
    std::vector<std::string> out;
    const std::string begin = "```" + language + "\n";
    for (std::size_t at = markdown.find(begin); at != std::string::npos; at = markdown.find(begin, at)) {
        at += begin.size();
        out.push_back(markdown.substr(at, markdown.find("\n```", at) + 1 - at));
    }
    return out;
}

class Examples : public CliCase {
protected:
    // "#   CREATE TABLE ...;" in a manifest is the table that it is for, or the view, over as many lines as it takes.
    void make_tables() {
        const std::regex statement("CREATE (TABLE|VIEW) [^;]*;");
        for (const auto& path : manifests()) {
            std::string comments;
            std::istringstream lines(text_of(path));
            for (std::string line; std::getline(lines, line);) {
                if (line.starts_with("#")) comments += line.substr(1) + "\n";
            }
            for (std::sregex_iterator at(comments.begin(), comments.end(), statement), end; at != end; ++at) db.exec(at->str());
        }
    }
    std::string written(const std::string& name, const std::string& text) {
        const auto path = folder / name;
        std::ofstream(path) << text;
        return path.string();
    }

    struct Folder {
        Folder() {
            std::string name = (std::filesystem::temp_directory_path() / "homeostat-examples-XXXXXX").string();
            if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
            path = name;
        }
        ~Folder() { std::filesystem::remove_all(path); }
        Folder(const Folder&) = delete;
        Folder& operator=(const Folder&) = delete;
        std::filesystem::path path;
    } made;
    const std::filesystem::path& folder = made.path;
};

TEST_F(Examples, EveryManifestOfTheFolderCanBeAppliedAloneAndTogether) {
    make_tables();
    ASSERT_GE(manifests().size(), 4U);
    for (const auto& path : manifests()) {
        EXPECT_THAT(ends(0, {"apply", "--dry-run", "-f", path.string()}), HasSubstr("created")) << path;
    }
    const std::string all = kRoot + "/manifests";
    EXPECT_THAT(ends(0, {"apply", "-f", all}),
                AllOf(HasSubstr("provider/openai created"), HasSubstr("provider/program created"),
                      HasSubstr("pipeline/notes created"), HasSubstr("targetview/tenants created")));
    EXPECT_THAT(ends(0, {"apply", "-f", all}), AllOf(Not(HasSubstr("created")), Not(HasSubstr("configured"))));
}

TEST_F(Examples, TheProgramOfTheDocumentationEmbedsWhatItsManifestDeclares) {
    make_tables();
    db.exec("INSERT INTO tickets SELECT i, 'subject ' || i, 'it does not work, ' || i FROM generate_series(1, 250) i");
    const std::string shipped = text_of(kRoot + "/manifests/program.yaml");
    const std::string here = replaced(shipped, "command: [/opt/embed.py]", "command: [" + kRoot + "/docs/examples/embed.py]");
    environment.emplace_back("HOMEOSTAT_EXEC_ALLOW", kRoot + "/docs/examples/embed.py");
    ends(0, {"apply", "-f", written("program.yaml", here)});
    heal();
    EXPECT_EQ(db.value("SELECT count(DISTINCT id) FROM tickets_embeddings"), "250");
    EXPECT_EQ(db.value("SELECT DISTINCT vector_dims(embedding) FROM tickets_embeddings"), "64");
}

TEST_F(Examples, TheDocumentationPrintsWhatIsThere) {
    const std::string page = text_of(kRoot + "/docs/exec-providers.md");
    const auto program = blocks(page, "python");
    ASSERT_EQ(program.size(), 1U);
    EXPECT_THAT(text_of(kRoot + "/docs/examples/embed.py"), HasSubstr(program[0]));
    for (const std::string& sql : blocks(page, "sql")) db.exec(sql);
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.provider WHERE kind = 'exec'"), "1");
    // Only another way to write the same thing, but for the variable that only the manifest names.
    for (const std::string& manifest : blocks(page, "yaml")) {
        EXPECT_EQ(ends(0, {"apply", "-f", written("mine.yaml", manifest)}), "provider/mine configured\n");
    }
    EXPECT_EQ(db.value("SELECT environment FROM homeostat.provider WHERE name = 'mine'"), "{MODEL_HOME}");
}

}  // namespace
}  // namespace homeostat
