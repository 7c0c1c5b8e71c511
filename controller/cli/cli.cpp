#include "controller/cli/cli.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "controller/cli/verbs.hpp"

namespace homeostat {

namespace {

constexpr const char* kFooter =
    "Settings come from --set, HOMEOSTAT_* variables, the configuration file, the profile, and defaults, in this order.\n"
    "Exit codes: 0 done, 1 differences found (plan), 2 refused or failed.";

struct GlobalOptions {
    std::string config;
    std::string profile;
    std::string database;
    std::string log_level;
    std::vector<std::string> set;
};

void add_global_options(CLI::App& app, GlobalOptions& options) {
    app.add_option("--config", options.config, "The configuration file")->type_name("FILE");
    app.add_option("--profile", options.profile, "development, staging or production")->type_name("NAME");
    app.add_option("--database", options.database, "The database, as a libpq URI or key=value string (database.url)")
        ->type_name("URL");
    app.add_option("--log-level", options.log_level, "trace, debug, info, warn or error (log.level)")->type_name("LEVEL");
    app.add_option("--set", options.set, "A setting; may be given several times")
        ->type_name("NAME=VALUE")
        ->allow_extra_args(false)
        ->take_all();
}

Status add_flags(const GlobalOptions& options, ConfigSources& sources) {
    if (!options.config.empty()) sources.file = options.config;
    if (!options.profile.empty()) sources.profile = options.profile;
    for (const std::string& text : options.set) {
        const std::size_t equals = text.find('=');
        if (equals == std::string::npos) return invalid(fmt::format("--set {}: write NAME=VALUE", text));
        sources.flags.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    }
    if (!options.database.empty()) sources.flags.emplace_back("database.url", options.database);
    if (!options.log_level.empty()) sources.flags.emplace_back("log.level", options.log_level);
    return {};
}

// What CLI11 says of a wrong command line, as a sentence of ours.
std::string usage_sentence(const CLI::App& app, const CLI::ParseError& error, std::span<const std::string> arguments) {
    std::vector<std::string_view> names;
    for (const Verb& verb : verb_table()) names.push_back(verb.name);
    if (app.get_subcommands().empty()) {
        for (const std::string& word : arguments) {
            if (word.starts_with('-')) continue;
            return fmt::format("\"{}\" is not a command{}; see homeostat --help", word, did_you_mean(word, names));
        }
        if (arguments.empty()) return "say what to do; see homeostat --help";
    }
    const std::string verb = app.get_subcommands().empty() ? "" : " " + app.get_subcommands().front()->get_name();
    return fmt::format("{}; see homeostat{} --help", error.what(), verb);
}

int usage_exit(const CLI::App& app, const CLI::ParseError& error, std::span<const std::string> arguments, CliStreams streams) {
    if (error.get_exit_code() == 0) return app.exit(error, streams.out, streams.err);  // --help
    streams.err << "homeostat: " << usage_sentence(app, error, arguments) << '\n';
    return kExitFailed;
}

}  // namespace

Result<Session*> CliContext::session() {
    if (!session_) {
        auto connected = Session::connect(connect_options(settings()));
        if (!connected) return std::move(connected).error();
        session_ = *std::move(connected);
    }
    return session_.get();
}

int CliContext::fail(const Error& error) const {
    std::string_view rest = error.message;
    while (!rest.empty()) {
        const std::size_t end = rest.find('\n');
        streams.err << "homeostat: " << rest.substr(0, end) << '\n';
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    const bool ours =
        error.message.find("homeostat.") != std::string::npos || error.message.find("\"homeostat\"") != std::string::npos;
    if ((error.code == "42P01" || error.code == "3F000" || error.code == "42703") && ours) {
        streams.err << "homeostat: the schema of this database is missing or older than this program; run homeostat migrate up\n";
    }
    return kExitFailed;
}

ConnectOptions connect_options(const Settings& settings) {
    ConnectOptions options;
    options.url = settings.database_url;
    options.statement_timeout_ms = static_cast<std::uint32_t>(settings.database_statement_timeout.count());
    options.lock_timeout_ms = static_cast<std::uint32_t>(settings.database_lock_timeout.count());
    options.connect_timeout_s = static_cast<std::uint32_t>(settings.database_connect_timeout.count() / 1000);
    options.prepare = settings.database_prepare;
    return options;
}

int run_cli(std::span<const std::string> arguments, CliStreams streams, ConfigSources sources) {
    CliContext context(streams);
    GlobalOptions global;
    VerbBody body;
    CLI::App app("homeostat keeps embeddings in PostgreSQL true.", "homeostat");
    app.require_subcommand(1);
    app.footer(kFooter);
    app.set_version_flag("--version", version_line());
    add_global_options(app, global);
    for (const Verb& verb : verb_table()) {
        CLI::App* sub = app.add_subcommand(std::string(verb.name), std::string(verb.sentence));
        sub->fallthrough();
        sub->callback([&body, run = verb.configure(*sub, context)] { body = run; });
    }
    try {
        app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // CLI11 takes them from the back
    } catch (const CLI::ParseError& e) {
        return usage_exit(app, e, arguments, streams);
    }
    if (auto good = add_flags(global, sources); !good) return context.fail(good.error());
    auto config = load_config(sources);
    if (!config) return context.fail(config.error());
    context.config = *std::move(config);
    return body();
}

int run_cli(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    const bool colour =
        isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;  // NOLINT(concurrency-mt-unsafe): one thread
    return run_cli(arguments, {std::cin, std::cout, std::cerr, colour}, ConfigSources::of_process());
}

}  // namespace homeostat
