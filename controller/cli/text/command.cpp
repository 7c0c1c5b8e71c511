#include "controller/cli/text/command.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <CLI/Validators.hpp>

namespace homeostat {

namespace {

const std::string kEmpty = "the value is empty; give one, or leave it out";

}  // namespace

template <typename T>
CLI::Option* Command::add(const OptionText& text, T& to) {
    CLI::Option* option = parser_->add_option(std::string(text.names), to, std::string(text.help));
    if (!text.value.empty()) option->type_name(std::string(text.value));
    option->required(text.required);
    if (text.one_of.size() > 0) option->check(CLI::IsMember(std::vector<std::string>(text.one_of.begin(), text.one_of.end())));
    if (text.range.first <= text.range.second) option->check(CLI::Range(text.range.first, text.range.second).description(""));
    // What a script has left unset is not "nothing said": rollback --to '' would go elsewhere.
    if constexpr (std::is_same_v<T, std::string>)
        option->check(CLI::Validator([](std::string& v) { return v.empty() ? kEmpty : std::string(); }, ""));
    if (text.rewrite != nullptr)
        option->transform(CLI::Validator([rewrite = text.rewrite](std::string& v) { return rewrite(v); }, ""));
    return option;
}

void Command::option(const OptionText& text, std::string& to) { add(text, to); }
void Command::option(const OptionText& text, std::vector<std::string>& to) { add(text, to); }
void Command::option(const OptionText& text, int& to) { add(text, to); }
void Command::option(const OptionText& text, unsigned& to) { add(text, to); }
void Command::option(const OptionText& text, std::int64_t& to) { add(text, to); }
void Command::option(const OptionText& text, std::uint64_t& to) { add(text, to); }
void Command::option(const OptionText& text, double& to) { add(text, to); }

void Command::repeated(const OptionText& text, std::vector<std::string>& to) {
    add(text, to)->allow_extra_args(false)->take_all();
}

void Command::flag(std::string_view names, bool& to, std::string_view help, std::string_view needs) {
    CLI::Option* flag = parser_->add_flag(std::string(names), to, std::string(help));
    if (!needs.empty()) flag->needs(parser_->get_option(std::string(needs)));
}

void Command::flag(std::string_view names, std::string& to, std::string_view help) {
    parser_->add_flag(std::string(names), to, std::string(help));
}

Command Command::subcommand(std::string_view name, std::string_view help) {
    parser_->require_subcommand(1);
    CLI::App* sub = parser_->add_subcommand(std::string(name), std::string(help));
    sub->fallthrough();
    return Command(*sub);
}

void Command::footer(std::string_view text) { parser_->footer(std::string(text)); }

bool Command::given() const { return parser_->parsed(); }

const CLI::App& Command::program() const {
    const CLI::App* at = parser_;
    while (at->get_parent() != nullptr) at = at->get_parent();
    return *at;
}

}  // namespace homeostat
