#include "controller/cli/completion.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <array>
#include <set>

#include "controller/cli/manifest/kinds.hpp"
#include "controller/cli/verbs.hpp"

namespace homeostat {

namespace {

// The option that `word` is, here or further up, as flags of the program may stand anywhere.
const CLI::Option* option_of(const CLI::App& app, const std::string& word) {
    const std::string name = word.substr(0, word.find('='));
    for (const CLI::App* at = &app; at != nullptr; at = at->get_parent()) {
        if (const CLI::Option* found = at->get_option_no_throw(name)) return found;
    }
    return nullptr;
}

const CLI::App* command_of(const CLI::App& app, const std::string& name) {
    for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
        if (sub->get_name() == name) return sub;
    }
    return nullptr;
}

bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

// What an option takes where that is a closed list.
std::vector<std::string> values_of(const std::string& flag, const CLI::App& app) {
    if (flag == "-o" || flag == "--output") {
        if (app.get_name() == "get") return {"table", "wide", "json", "yaml", "name", "jsonpath=", "custom-columns="};
        return {"table", "json", "yaml"};
    }
    if (flag == "--profile") return {"development", "staging", "production"};
    if (flag == "--log-level") return {"trace", "debug", "info", "warn", "error"};
    if (flag == "--color") return {"auto", "always", "never"};
    if (flag == "--for" && app.get_name() == "wait")
        return {"condition=Ready", "condition=Stalled", "condition=Synced", "delete"};
    return {};
}

class Completion {
public:
    Completion(const std::string& typed, const NamesOfKind& names, std::ostream& out) : typed_(typed), names_(names), out_(out) {}

    void offer(const std::string& word) {
        if (word.starts_with(typed_) && said_.insert(word).second) out_ << word << '\n';
    }
    void names(const std::string& kind, const std::string& prefix = "") {
        for (const std::string& name : names_(kind)) offer(prefix + name);
    }

    void flags(const CLI::App& app) {
        for (const CLI::App* at = &app; at != nullptr; at = at->get_parent()) {
            for (const CLI::Option* option : at->get_options()) {
                for (const std::string& name : option->get_lnames()) offer("--" + name);
                for (const std::string& name : option->get_snames()) offer("-" + name);
            }
        }
    }

    // `before`: what stands without a flag already, after the verb.
    void arguments(const CLI::App& app, const std::vector<std::string>& before) {
        const std::string& verb = app.get_name();
        static const std::set<std::string> kAnything{"get", "describe", "delete", "wait"};
        static const std::set<std::string> kNames{"suspend", "resume", "reconcile", "approve"};
        if (verb == "completion" && before.empty()) {
            for (const char* shell : {"bash", "zsh", "fish"}) offer(shell);
        } else if (kAnything.contains(verb)) {
            objects(verb, before);
        } else if (kNames.contains(verb)) {
            names("pipeline");
            for (const ResourceKind kind : {ResourceKind::pipeline, ResourceKind::target_view}) slashed(kind, verb);
        } else if (before.empty() && takes_pipeline(app)) {
            names("pipeline");
        }
    }

private:
    static bool takes_pipeline(const CLI::App& app) {
        const std::vector<const CLI::Option*> options = app.get_options();
        return std::any_of(options.begin(), options.end(), [](const CLI::Option* o) { return o->get_type_name() == "PIPELINE"; });
    }

    void slashed(ResourceKind kind, const std::string& verb) {
        if (verb == "reconcile" && kind != ResourceKind::pipeline) return;
        const std::string word(kind_word(kind));
        if (typed_.starts_with(word + "/")) names(word, word + "/");
    }

    void objects(const std::string& verb, const std::vector<std::string>& before) {
        if (!before.empty()) {
            if (const auto kind = find_kind(before.front())) {
                // What is listed of a pipeline goes by the pipeline's name.
                const auto* declared = std::get_if<ResourceKind>(&*kind);
                names(std::string(kind_word(declared != nullptr ? *declared : ResourceKind::pipeline)));
                return;
            }
        } else {
            for (const std::string_view word : kind_words(verb != "get")) offer(std::string(word));
            if (verb == "get") offer("all");
        }
        for (const ResourceKind kind : {ResourceKind::pipeline, ResourceKind::provider, ResourceKind::target_view})
            slashed(kind, verb);
        if (verb == "describe" || verb == "get" || verb == "wait") names("pipeline");
    }

    const std::string& typed_;
    const NamesOfKind& names_;
    std::ostream& out_;
    std::set<std::string> said_;
};

// For troff a stroke is an escape, and a dot or quotation mark at the start of a line a request.
std::string troff(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const bool start = out.empty() || out.back() == '\n';
        if (start && (c == '.' || c == '\'')) out += "\\&";
        if (c == '\\') {
            out += "\\e";
        } else {
            if (c == '-') out += '\\';
            out += c;
        }
    }
    return out;
}

void write_options(const CLI::App& app, std::ostream& out) {
    for (const CLI::Option* option : app.get_options()) {
        if (option->get_lnames().empty() && option->get_snames().empty()) {
            out << ".TP\n\\fI" << troff(option->get_type_name()) << "\\fR\n";
        } else {
            std::string names;
            for (const std::string& name : option->get_snames()) names += (names.empty() ? "" : ", ") + ("-" + name);
            for (const std::string& name : option->get_lnames()) names += (names.empty() ? "" : ", ") + ("--" + name);
            out << ".TP\n\\fB" << troff(names) << "\\fR";
            if (takes_value(*option)) out << " \\fI" << troff(option->get_type_name()) << "\\fR";
            out << '\n';
        }
        out << troff(option->get_description()) << '\n';
    }
}

void write_verb(const CLI::App& app, const std::string& before, std::ostream& out) {
    const std::string path = before + " " + app.get_name();
    out << ".SS " << troff(path) << '\n' << troff(app.get_description()) << '\n';
    write_options(app, out);
    if (!app.get_footer().empty()) out << ".PP\n.nf\n" << troff(app.get_footer()) << "\n.fi\n";
    for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) write_verb(*sub, path, out);
}

}  // namespace

void complete(const CLI::App& app, std::span<const std::string> words, const NamesOfKind& names, std::ostream& out) {
    const std::string typed = words.empty() ? std::string() : words.back();
    Completion completion(typed, names, out);
    const CLI::App* at = &app;
    std::vector<std::string> plain;
    std::string open;  // a flag whose value comes next
    for (const std::string& word : words.first(words.empty() ? 0 : words.size() - 1)) {
        if (!open.empty()) {
            open.clear();
        } else if (word.starts_with('-')) {
            const CLI::Option* option = option_of(*at, word);
            if (option != nullptr && takes_value(*option) && word.find('=') == std::string::npos) open = word;
        } else if (const CLI::App* sub = command_of(*at, word)) {
            at = sub;
        } else {
            plain.push_back(word);
        }
    }
    if (!open.empty()) {
        for (const std::string& value : values_of(open, *at)) completion.offer(value);
    } else if (const std::size_t equals = typed.find('='); typed.starts_with("--") && equals != std::string::npos) {
        const std::string flag = typed.substr(0, equals);
        for (const std::string& value : values_of(flag, *at)) completion.offer(flag + "=" + value);
    } else if (typed.starts_with('-')) {
        completion.flags(*at);
    } else if (const auto subs = at->get_subcommands([](const CLI::App*) { return true; }); !subs.empty()) {
        for (const CLI::App* sub : subs) completion.offer(sub->get_name());
    } else {
        completion.arguments(*at, plain);
    }
}

void write_manual(const CLI::App& app, std::ostream& out) {
    out << ".TH HOMEOSTAT 1 \"\" \"homeostat " << version_text() << "\" \"User Commands\"\n"
        << ".SH NAME\nhomeostat \\- keeps embeddings in PostgreSQL in sync with their source\n"
        << ".SH SYNOPSIS\n\\fBhomeostat\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...]\n"
        << ".SH DESCRIPTION\n"
        << troff(
               "A controller in the manner of Kubernetes whose API server is PostgreSQL: what is wanted and what is there are "
               "rows, "
               "and whatever differs is healed.")
        << "\n.SH OPTIONS\nThese may stand after every command too.\n";
    write_options(app, out);
    out << ".SH COMMANDS\n";
    for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) write_verb(*sub, "homeostat", out);
    out << ".SH NOTES\n.nf\n" << troff(app.get_footer()) << "\n.fi\n";
}

}  // namespace homeostat
