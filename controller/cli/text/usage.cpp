#include "controller/cli/text/usage.hpp"

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <array>
#include <vector>

#include "core/error.hpp"

namespace homeostat {

namespace {

// What hands that know other programs type.
struct Habit {
    std::string_view word;
    std::string_view verb;
};
constexpr std::array kHabits{Habit{"create", "apply"},
                             Habit{"replace", "apply"},
                             Habit{"edit", "apply"},
                             Habit{"patch", "apply"},
                             Habit{"set", "apply"},
                             Habit{"list", "get"},
                             Habit{"ls", "get"},
                             Habit{"show", "describe"},
                             Habit{"inspect", "describe"},
                             Habit{"rm", "delete"},
                             Habit{"remove", "delete"},
                             Habit{"destroy", "delete"},
                             Habit{"pause", "suspend"},
                             Habit{"stop", "suspend"},
                             Habit{"unpause", "resume"},
                             Habit{"sync", "reconcile"},
                             Habit{"refresh", "reconcile"},
                             Habit{"top", "watch"},
                             Habit{"logs", "get events"},
                             Habit{"events", "get events"},
                             Habit{"start", "run"},
                             Habit{"serve", "run"},
                             Habit{"query", "search"},
                             Habit{"check", "doctor"},
                             Habit{"init", "migrate up"},
                             Habit{"upgrade", "migrate up"},
                             Habit{"rollout", "wait"},
                             Habit{"annotate", "apply"},
                             Habit{"label", "apply"},
                             Habit{"view", "get"},
                             Habit{"tail", "get events -w"}};

std::string meant_verb(const std::string& word, const CLI::App& app) {
    for (const Habit& h : kHabits) {
        if (h.word == word && app.get_parent() == nullptr) return fmt::format(" (did you mean \"{}\"?)", h.verb);
    }
    std::vector<std::string> names;
    for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) names.push_back(sub->get_name());
    const std::vector<std::string_view> views(names.begin(), names.end());
    return did_you_mean(word, views);
}

// Flags that stand for something else here.
struct FlagHabit {
    std::string_view verb;
    std::string_view flag;
    std::string_view hint;
};
constexpr std::array kFlagHabits{FlagHabit{"get", "--all", " (where no name is given, all are shown: leave it away)"},
                                 FlagHabit{"describe", "--all", " (name a kind for all of it: homeostat describe pipelines)"},
                                 FlagHabit{"delete", "--all", " (a deletion names what it deletes)"},
                                 FlagHabit{"plan", "-f", " (what manifests would change is shown by homeostat diff -f)"},
                                 FlagHabit{"plan", "--file", " (what manifests would change is shown by homeostat diff -f)"},
                                 FlagHabit{"watch", "-f", " (it follows without being told to)"},
                                 FlagHabit{"apply", "-o", " (homeostat get NAME -o yaml shows what was applied)"}};

constexpr std::array<std::string_view, 4> kOfNamespaces{"-n", "--namespace", "-A", "--all-namespaces"};

std::string meant_flag(const std::string& flag, const CLI::App& app) {
    if (std::find(kOfNamespaces.begin(), kOfNamespaces.end(), flag) != kOfNamespaces.end())
        return " (there are no namespaces: leave it away)";
    for (const FlagHabit& h : kFlagHabits) {
        if (h.flag == flag && h.verb == app.get_name()) return std::string(h.hint);
    }
    if (flag.size() == 2) return "";  // every letter is near every other
    std::vector<std::string> names;
    for (const CLI::App* at = &app; at != nullptr; at = at->get_parent()) {
        for (const CLI::Option* option : at->get_options()) {
            for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
            for (const std::string& name : option->get_snames()) names.push_back("-" + name);
        }
    }
    const std::vector<std::string_view> views(names.begin(), names.end());
    return did_you_mean(flag, views);
}

// What is to be given, for the parser's name of it.
struct Wanted {
    std::string_view argument;
    std::string_view sentence;
};
constexpr std::array kWanted{
    Wanted{"names", "name one object or several: NAME of a pipeline, or KIND/NAME"},
    Wanted{"name", "name the pipeline or target view"},
    Wanted{"what", "name what is meant: NAME of a pipeline, KIND NAME, KIND/NAME, or a KIND for all of it"},
    Wanted{"pipeline", "name the pipeline"},
    Wanted{"key", "give the key of the document: its value, or COLUMN=VALUE for each key column"},
    Wanted{"text", "give the text to search for"},
    Wanted{"plan", "give the plan that is to be approved; homeostat describe NAME shows the one that waits"},
    Wanted{"--file", "give manifests with -f: a file, a directory, or - for standard input"}};

// The parser's own words for the commonest mistakes, as we say them.
std::string said_plainly(const CLI::ParseError& error) {
    std::string said = error.what();
    if (const std::string_view tail = " is required"; error.get_name() == "RequiredError" && said.ends_with(tail)) {
        said.resize(said.size() - tail.size());
        for (const Wanted& w : kWanted) {
            if (w.argument == said) return std::string(w.sentence);
        }
        return said.starts_with('-') ? said + " must be given" : fmt::format("{} is missing", said);
    }
    if (const std::size_t colon = said.find(':');
        error.get_name() == "ArgumentMismatch" && colon != std::string::npos && said.starts_with('-'))
        return said.substr(0, colon) + " needs a value";
    // "what: view not in {strategies}"
    const std::size_t of_set = said.find(" not in {");
    if (const std::size_t colon = said.find(": ");
        of_set != std::string::npos && colon != std::string::npos && said.ends_with('}'))
        return fmt::format("\"{}\" is not known here; it is one of: {}", said.substr(colon + 2, of_set - colon - 2),
                           said.substr(of_set + 9, said.size() - of_set - 10));
    // "--once requires --deep"
    if (const std::size_t needs = said.find(" requires "); error.get_name() == "RequiresError" && needs != std::string::npos)
        return fmt::format("{} goes with {} only", said.substr(0, needs), said.substr(needs + 10));
    // "Could not convert: --limit = 1x"
    const std::size_t equals = said.find(" = ");
    if (const std::string_view head = "Could not convert: "; said.starts_with(head) && equals != std::string::npos)
        return fmt::format("{}: \"{}\" is not a number", said.substr(head.size(), equals - head.size()), said.substr(equals + 3));
    // "-k: Value abc not in range 1 to 1000"
    const std::string_view of_range = " not in range ";
    const std::size_t value = said.find(": Value "), range = said.find(of_range);
    if (value != std::string::npos && range != std::string::npos)
        return fmt::format("{}: \"{}\" is not a number from {}", said.substr(0, value), said.substr(value + 8, range - value - 8),
                           said.substr(range + of_range.size()));
    return said;
}

// Such a word is not one argument too many of the command: it stands where the command should.
bool stands_before(const CLI::App& command, std::string_view word, std::span<const std::string> arguments) {
    if (word.starts_with('-')) return false;
    for (const std::string& argument : arguments) {
        if (argument == word) return true;
        if (argument == command.get_name()) return false;
    }
    return false;
}

// "homeostat", "homeostat get", "homeostat dead-letters list".
std::string path_of(const CLI::App& app) {
    return app.get_parent() == nullptr ? "homeostat" : path_of(*app.get_parent()) + " " + app.get_name();
}

}  // namespace

std::string usage_sentence(const CLI::App& app, const CLI::ParseError& error, std::span<const std::string> arguments) {
    if (arguments.empty()) return "say what to do; see homeostat --help";
    const CLI::App* at = &app;
    while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
    const std::vector<std::string> left = app.remaining(true);
    if (!left.empty() && at != &app && stands_before(*app.get_subcommands().front(), left.front(), arguments)) at = &app;
    const std::string path = path_of(*at);
    const bool wants_verb = !at->get_subcommands([](const CLI::App*) { return true; }).empty();
    if (!left.empty()) {
        const std::string& word = left.front();
        if (word.size() > 1 && word.starts_with('-')) {
            const std::string flag = word.substr(0, word.find('='));
            if (at != &app && at->get_option_no_throw(flag) != nullptr)
                return fmt::format("{} stands after the command: {} ... {}", flag, path, flag);
            return fmt::format("{} is not a flag of {}{}; see {} --help", flag, path, meant_flag(flag, *at), path);
        }
        const auto subs = at->get_subcommands([](const CLI::App*) { return true; });
        if (subs.size() == 1)
            return fmt::format("\"{}\" is not a command of {} (did you mean \"{} {}\"?); see {} --help", word, path,
                               path_of(*subs.front()), word, path);
        if (wants_verb)
            return fmt::format("\"{}\" is not a command{}{}; see {} --help", word, at == &app ? "" : " of " + path,
                               meant_verb(word, *at), path);
        return fmt::format("\"{}\" is one argument too many; see {} --help", word, path);
    }
    if (wants_verb) return fmt::format("say what {} is to do; see {} --help", path, path);
    return fmt::format("{}; see {} --help", said_plainly(error), path);
}

}  // namespace homeostat
