// What a verb declares of its command line: words, options, flags, sub-commands, as data. Only command.cpp, and what prints help,
// completions and usage errors, know the parser (CLI11). One thread; a Command is as cheap to copy as a pointer, and lives no
// longer than the parse that it belongs to.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace homeostat {

// Changes what was given for an option; the answer is what is wrong with it, "" for nothing.
using RewriteValue = std::string (*)(std::string& value);

struct OptionText {
    std::string_view names;  // "-o,--output"; without a dash the option is a word by its place: "pipeline"
    std::string_view value;  // what --help shows in place of the value: "FORM"; "": the parser's word for its type
    std::string_view help;
    bool required = false;
    std::initializer_list<const char*> one_of = {};  // nothing else is taken; empty: anything
    std::pair<std::int64_t, std::int64_t> range = {0, -1};  // of a number, both ends taken; empty: any
    RewriteValue rewrite = nullptr;
};

class Command {
public:
    Command() = default;
    explicit Command(CLI::App& parser) : parser_(&parser) {}

    // `to` keeps its value where the option is not given, and must outlive the parse. A list takes all values that are given.
    void option(const OptionText& text, std::string& to);
    void option(const OptionText& text, std::vector<std::string>& to);
    void option(const OptionText& text, int& to);
    void option(const OptionText& text, unsigned& to);
    void option(const OptionText& text, std::int64_t& to);
    void option(const OptionText& text, std::uint64_t& to);
    void option(const OptionText& text, double& to);
    // Of an option that may be given several times, one value each time.
    void repeated(const OptionText& text, std::vector<std::string>& to);

    // `needs` names the flag without which this one means nothing.
    void flag(std::string_view names, bool& to, std::string_view help, std::string_view needs = "");
    // A flag that may be given a word: --names=word; without one it is the word in {braces} behind its names.
    void flag(std::string_view names, std::string& to, std::string_view help);

    // Its options and flags may stand before those of this command. One of the sub-commands must be given.
    Command subcommand(std::string_view name, std::string_view help);
    // Below the help of the command.
    void footer(std::string_view text);
    // This sub-command is the one that was given; after the parse.
    bool given() const;

    CLI::App& parser() const { return *parser_; }
    // The program's own, with all verbs.
    const CLI::App& program() const;

private:
    template <typename T>
    CLI::Option* add(const OptionText& text, T& to);

    CLI::App* parser_ = nullptr;
};

}  // namespace homeostat
