// The house rules that a compiler cannot see: which layer may include and link which, where a third-party type may appear, and
// how long a file may grow. It reads the sources as text; the rules are the tables below.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

// Each layer and the layers it may include. A path belongs to the longest name that it begins with.
const std::map<std::string, std::set<std::string>>& layers() {
    static const std::map<std::string, std::set<std::string>> table = [] {
        std::map<std::string, std::set<std::string>> t;
        // A layer sees itself and what `below` sees, and `more`.
        const auto layer = [&](const std::string& name, const Words& below, const Words& more = {}) {
            std::set<std::string>& sees = t[name];
            sees.insert(name);
            for (const std::string& b : below) sees.insert(t.at(b).begin(), t.at(b).end());
            sees.insert(more.begin(), more.end());
        };
        layer("core", {});
        layer("store/pg", {"core"});
        layer("store/data", {"store/pg"});
        layer("store/control", {"store/data"});
        layer("store/feed", {"store/control"});
        layer("store/inspect", {"store/control"});
        layer("reconcilers/chunk", {"core"});
        layer("reconcilers/embed", {"core"});
        layer("reconcilers/gateway", {"store/control", "reconcilers/chunk", "reconcilers/embed"});
        layer("reconcilers/factory", {"reconcilers/gateway", "store/feed"});
        layer("reconcilers/inspect", {"reconcilers/factory", "store/inspect"});
        layer("reconcilers", {"reconcilers/factory"});
        layer("reconcilers/pipeline", {"reconcilers", "reconcilers/inspect"});
        layer("controller/http", {"core"});
        layer("controller/export", {"controller/http"});
        layer("controller/config", {"reconcilers/factory"});
        layer("controller", {"reconcilers/pipeline", "controller/config", "controller/export"});
        layer("controller/cli/manifest", {"controller/config", "store/inspect"});
        layer("controller/cli/text", {"controller", "controller/cli/manifest"});
        layer("controller/cli/checks", {"controller/cli/text"});
        layer("controller/cli/api", {"controller/cli/checks"});
        layer("controller/cli", {"controller/cli/api"});
        return t;
    }();
    return table;
}

// Third parties: the first pattern that matches the include decides; the file must match the second. "" is nowhere.
struct ThirdParty {
    std::string include;
    std::string allowed_in;
};
const std::vector<ThirdParty>& third_parties() {
    static const std::vector<ThirdParty> table{
        {"libpq-fe\\.h", R"(store/pg/libpq\.cpp)"},
        {"pqxx/.*", R"((store/pg|tests/kit)/.*\.cpp)"},
        {"boost/beast.*", R"((controller/http|reconcilers/embed|tests)/.*\.cpp)"},
        // An executor handed down is a plain value; the rest of Asio stays where coroutines are written.
        {R"(boost/asio/any_io_executor\.hpp)", "(reconcilers|controller|tests|bench)/.*"},
        {"boost/asio.*",
         R"((reconcilers/(embed|gateway|factory)|controller/http|tests|bench)/.*|(reconcilers|controller)/.*\.cpp)"},
        {"boost/align/.*", "reconcilers/embed/.*"},
        {"boost/url.*", R"((controller|reconcilers/embed)/.*\.cpp)"},
        {R"(nlohmann/json_fwd\.hpp)", ".*"},
        {"nlohmann/.*", R"((?!core/).*\.cpp)"},
        {"simdjson\\.h", R"((reconcilers/embed|tests|bench)/.*\.cpp)"},
        {"CLI/.*", R"(controller/cli/(cli|completion|text/command|text/usage)\.cpp|tests/.*_main\.cpp)"},
        {"(yaml-cpp|valijson)/.*", R"(controller/(cli|config).*\.cpp|tests/.*\.cpp)"},
        {"(spdlog|fmt)/.*", R"((.*\.cpp|tests/(integration|chaos)/.*))"},
        {"(prometheus|opentelemetry)/.*", R"(controller/.*\.cpp|tests/.*\.cpp)"},
        {"openssl/.*", R"((reconcilers/(chunk|embed|gateway|factory)|controller/http)/.*\.cpp|tests/.*)"},
        {"brotli/.*", R"(reconcilers/embed/.*\.cpp)"},
        {"unicode/.*", R"((reconcilers/(chunk|embed)|tests)/.*\.cpp)"},
        {"xxhash\\.h", R"((reconcilers|store)/.*\.cpp)"},
        {"(gtest|gmock|rapidcheck)/.*|rapidcheck\\.h", "(tests|bench)/.*"},
        {"benchmark/.*", "bench/.*"},
        // The standard library, POSIX, and the compiler's intrinsics.
        {"[a-z0-9_]+", ".*"},
        {R"((sys|net|netinet|arpa|linux)/.*\.h|[a-z0-9_]+\.h)", R"(.*\.cpp)"},
    };
    return table;
}

// Files allowed over the ceiling, each with the reason in a comment.
const std::set<std::string>& long_files() {
    static const std::set<std::string> none;
    return none;
}

std::string layer_of(const std::string& path) {
    if (path == "controller/main.cpp") return "controller/cli";  // it is the command line
    std::string best;
    for (const auto& [name, allowed] : layers()) {
        if (path.starts_with(name + "/") && name.size() > best.size()) best = name;
    }
    return best;
}

std::optional<std::string> wrong_include(const std::string& path, const std::string& include, bool quoted) {
    const std::string from = layer_of(path);
    if (quoted) {
        const std::string to = layer_of(include);
        if (from.empty()) return std::nullopt;  // tests and bench may look at everything
        if (to.empty()) return path + " includes \"" + include + "\", which is in no layer (includes begin at the root)";
        if (layers().at(from).contains(to)) return std::nullopt;
        return path + " includes \"" + include + "\": " + from + " must not know " + to;
    }
    for (const ThirdParty& t : third_parties()) {
        if (!std::regex_match(include, std::regex(t.include))) continue;
        if (std::regex_match(path, std::regex(t.allowed_in))) return std::nullopt;
        return path + " includes <" + include + ">, which is allowed only in " + t.allowed_in;
    }
    return path + " includes <" + include + ">, a third party that has no line in tests/layering_test.cpp yet";
}

Words wrong_includes(const std::string& path, const std::string& text) {
    static const std::regex directive(R"re(^\s*#\s*include\s*([<"])([^>"]+)[>"])re");
    Words out;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        std::smatch m;
        if (!std::regex_search(line, m, directive)) continue;
        if (auto wrong = wrong_include(path, m[2], m[1] == "\"")) out.push_back(*wrong);
    }
    return out;
}

Words wrong_size(const std::string& path, const std::string& text) {
    const auto lines = std::ranges::count(text, '\n');
    const bool test = path.starts_with("tests/") && !path.starts_with("tests/kit/");
    const long limit = path.ends_with(".hpp") ? 200 : test ? 800 : 400;
    if (lines <= limit || long_files().contains(path)) return {};
    return {path + " has " + std::to_string(lines) + " lines; at most " + std::to_string(limit) + " are readable"};
}

Words wrong_header(const std::string& path, const std::string& text) {
    if (!path.ends_with(".hpp")) return {};
    Words out;
    if (text.find("\n#pragma once\n") == std::string::npos) out.push_back(path + " lacks #pragma once");
    if (!text.starts_with("// ")) out.push_back(path + " does not begin by saying what it is");
    if (std::regex_search(text, std::regex(R"(\n\s*using namespace\b)"))) out.push_back(path + " has a using-directive");
    return out;
}

// The layers of a library: of its own sources, or, where it has none, of those that it stands for.
const Words& layers_of_library(const std::string& library) {
    static const std::map<std::string, Words> table{{"homeostat_core", {"core"}},
                                                    {"homeostat_store_pg", {"store/pg"}},
                                                    {"homeostat_store_data", {"store/data"}},
                                                    {"homeostat_store_control", {"store/control"}},
                                                    {"homeostat_store_feed", {"store/feed"}},
                                                    {"homeostat_store_inspect", {"store/inspect"}},
                                                    {"homeostat_store", {"store/feed", "store/inspect"}},
                                                    {"homeostat_chunk", {"reconcilers/chunk"}},
                                                    {"homeostat_embed", {"reconcilers/embed"}},
                                                    {"homeostat_cache", {"reconcilers/gateway"}},
                                                    {"homeostat_gateway", {"reconcilers/gateway"}},
                                                    {"homeostat_factory", {"reconcilers/factory"}},
                                                    {"homeostat_inspect", {"reconcilers/inspect"}},
                                                    {"homeostat_feed", {"reconcilers"}},
                                                    {"homeostat_pipeline", {"reconcilers/pipeline"}},
                                                    {"homeostat_reconcilers", {"reconcilers/pipeline"}},
                                                    {"homeostat_http", {"controller/http"}},
                                                    {"homeostat_export", {"controller/export"}},
                                                    {"homeostat_config", {"controller/config"}},
                                                    {"homeostat_process", {"controller"}},
                                                    {"homeostat_cli", {"controller/cli"}},
                                                    {"homeostat_controller", {"controller/cli"}}};
    static const Words none;
    const auto found = table.find(library);
    return found == table.end() ? none : found->second;
}

Words wrong_links_of(const std::string& library, const std::string& arguments) {
    if (layers_of_library(library).empty()) return {library + " is the library of no layer"};
    Words out;
    if (arguments.find(".cpp") == std::string::npos) return out;  // it stands for others
    const std::string& layer = layers_of_library(library).front();
    std::string section = "SOURCES";
    std::istringstream words(arguments);
    for (std::string w; words >> w;) {
        if (w == "SOURCES" || w == "PUBLIC" || w == "PRIVATE") {
            section = w;
        } else if (section != "SOURCES" && w.starts_with("homeostat_") && w != "homeostat_asio") {
            const Words& to = layers_of_library(w);
            const bool seen = std::ranges::all_of(to, [&](const std::string& l) { return layers().at(layer).contains(l); });
            if (to.empty() || !seen) out.push_back(library + " links " + w + ": " + layer + " must not know it");
        } else if (section == "PUBLIC" && w.find("::") != std::string::npos && w != "Threads::Threads") {
            out.push_back(library + " links " + w + " PUBLIC, so that its headers leak into other layers");
        } else if (w.starts_with("PkgConfig::libpq") && layer != "store/pg") {
            out.push_back(library + " links libpq or libpqxx, which only store/pg may");
        }
    }
    return out;
}

Words wrong_links(const std::string& path, std::string text) {
    text = std::regex_replace(text, std::regex("#[^\n]*"), "");
    static const std::regex call(R"(homeostat_library\s*\(\s*(\w+)([^)]*)\))");
    Words out;
    for (std::sregex_iterator m(text.begin(), text.end(), call), end; m != end; ++m) {
        const Words wrong = wrong_links_of((*m)[1], (*m)[2]);
        out.insert(out.end(), wrong.begin(), wrong.end());
    }
    if (std::regex_search(text, std::regex(R"(file\s*\(\s*GLOB[^)]*\.(cpp|hpp))")))
        out.push_back(path + " globs sources; list them");
    return out;
}

// f(path from the root, text) over every file of ours with one of these endings.
template <class F>
Words over_files(const Words& folders, const Words& endings, F f) {
    Words out;
    const fs::path root = HOMEOSTAT_SOURCE_DIR;
    for (const std::string& folder : folders) {
        if (!fs::exists(root / folder)) continue;
        for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
            const std::string path = entry.path().lexically_relative(root).generic_string();
            if (std::ranges::none_of(endings, [&](const std::string& e) { return path.ends_with(e); })) continue;
            std::ifstream in(entry.path());
            const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
            const Words wrong = f(path, text);
            out.insert(out.end(), wrong.begin(), wrong.end());
        }
    }
    return out;
}

std::string joined(const Words& words) {
    std::string out;
    for (const std::string& w : words) out += "  " + w + "\n";
    return out;
}

const Words kRooms{"core", "store", "reconcilers", "controller"};
const Words kAll{"core", "store", "reconcilers", "controller", "tests", "bench"};

TEST(Layering, IncludesPointOneWayAndThirdPartiesStayInTheirRoom) {
    const Words wrong = over_files(kAll, {".hpp", ".cpp"}, wrong_includes);
    EXPECT_TRUE(wrong.empty()) << joined(wrong);
}

TEST(Layering, LinksPointOneWay) {
    const Words wrong = over_files(kRooms, {"CMakeLists.txt"}, wrong_links);
    EXPECT_TRUE(wrong.empty()) << joined(wrong);
}

TEST(Layering, FilesStayShort) {
    const Words wrong = over_files(kAll, {".hpp", ".cpp"}, wrong_size);
    EXPECT_TRUE(wrong.empty()) << joined(wrong);
}

TEST(Layering, HeadersSayWhatTheyAre) {
    const Words wrong = over_files(kAll, {".hpp"}, wrong_header);
    EXPECT_TRUE(wrong.empty()) << joined(wrong);
}

// The rules themselves, on planted faults: a checker that finds nothing proves nothing.
TEST(LayeringRules, FindAWrongDirection) {
    EXPECT_EQ(wrong_includes("core/a.hpp", "#include \"store/pg/pool.hpp\"\n").size(), 1U);
    EXPECT_EQ(wrong_includes("store/data/a.cpp", "#include \"store/control/runs.hpp\"\n").size(), 1U);
    EXPECT_EQ(wrong_includes("store/feed/a.cpp", "#include \"store/inspect/search.hpp\"\n").size(), 1U);
    EXPECT_EQ(wrong_includes("reconcilers/gateway/a.cpp", "#include \"reconcilers/factory/factory.hpp\"\n").size(), 1U);
    EXPECT_EQ(wrong_includes("reconcilers/chunk/a.cpp", "#include \"reconcilers/embed/embedder.hpp\"\n").size(), 1U);
    EXPECT_EQ(wrong_includes("store/pg/a.cpp", "#include \"pool.hpp\"\n").size(), 1U);
    EXPECT_EQ(wrong_includes("controller/http/a.cpp", "#include \"store/pg/pool.hpp\"\n").size(), 1U);
    EXPECT_TRUE(wrong_includes("controller/a.cpp", "#include \"store/pg/pool.hpp\"\n#include <vector>\n").empty());
}

TEST(LayeringRules, FindAStrayThirdParty) {
    EXPECT_EQ(wrong_includes("store/pg/flight.cpp", "#include <libpq-fe.h>\n").size(), 1U);
    EXPECT_EQ(wrong_includes("reconcilers/factory/a.cpp", "#  include <libpq-fe.h>\n").size(), 1U);
    EXPECT_EQ(wrong_includes("store/control/runs.cpp", "#include <pqxx/pqxx>\n").size(), 1U);
    EXPECT_EQ(wrong_includes("store/pg/connection.hpp", "#include <pqxx/connection>\n").size(), 1U);
    EXPECT_EQ(wrong_includes("controller/a.hpp", "#include <nlohmann/json.hpp>\n").size(), 1U);
    EXPECT_EQ(wrong_includes("core/a.cpp", "#include <never/heard_of.hpp>\n").size(), 1U);
    EXPECT_TRUE(wrong_includes("store/pg/libpq.cpp", "#include <libpq-fe.h>\n#include <unistd.h>\n").empty());
}

TEST(LayeringRules, FindAWrongLink) {
    EXPECT_EQ(wrong_links("x", "homeostat_library(homeostat_core SOURCES a.cpp PUBLIC homeostat_store_pg)").size(), 1U);
    EXPECT_EQ(wrong_links("x", "homeostat_library(homeostat_store_pg SOURCES a.cpp PUBLIC PkgConfig::libpqxx)").size(), 1U);
    EXPECT_EQ(wrong_links("x", "homeostat_library(homeostat_factory SOURCES a.cpp PRIVATE PkgConfig::libpq)").size(), 1U);
    EXPECT_EQ(wrong_links("x", "file(GLOB s *.cpp)").size(), 1U);
    EXPECT_TRUE(wrong_links("x", "homeostat_library(homeostat_store_pg SOURCES a.cpp PUBLIC homeostat_core)").empty());
}

TEST(LayeringRules, FindALongFileAndASilentHeader) {
    EXPECT_EQ(wrong_size("core/a.hpp", std::string(201, '\n')).size(), 1U);
    EXPECT_TRUE(wrong_size("core/a.hpp", std::string(200, '\n')).empty());
    EXPECT_EQ(wrong_size("core/a.cpp", std::string(401, '\n')).size(), 1U);
    EXPECT_EQ(wrong_header("core/a.hpp", "#include <vector>\n").size(), 2U);
    EXPECT_TRUE(wrong_header("core/a.hpp", "// What it is.\n#pragma once\n").empty());
}

}  // namespace
