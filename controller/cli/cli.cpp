#include "controller/cli/cli.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "controller/cli/completion.hpp"
#include "controller/cli/text/listing.hpp"
#include "controller/cli/text/lock_watch.hpp"
#include "controller/cli/text/refusal.hpp"
#include "controller/cli/text/usage.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/config/config_values.hpp"
#include "controller/config/readers.hpp"
#include "core/outside_text.hpp"
#include "store/pg/lock_holders.hpp"
#include "store/pg/pg_error.hpp"

namespace homeostat {

namespace {

constexpr const char* kFooter =
    "Settings come from --set, HOMEOSTAT_* variables, the configuration file, the profile, and defaults, in this order.\n"
    "Exit codes: 0 done, 1 differences found (plan, diff, status, wait), 2 refused or failed.";

struct GlobalOptions {
    std::string config;
    std::string profile;
    std::string database;
    std::string log_level;
    std::vector<std::string> set;
    std::string colour = "auto";
};

void add_global_options(Command& program, GlobalOptions& options) {
    program.option({.names = "--config", .value = "FILE", .help = "The configuration file"}, options.config);
    program.option({.names = "--profile", .value = "NAME", .help = "development, staging or production"}, options.profile);
    program.option(
        {.names = "--database", .value = "URL", .help = "The database, as a libpq URI or key=value string (database.url)"},
        options.database);
    program.option({.names = "--log-level", .value = "LEVEL", .help = "trace, debug, info, warn or error (log.level)"},
                   options.log_level);
    program.repeated({.names = "--set", .value = "NAME=VALUE", .help = "A setting; may be given several times"}, options.set);
    program.option(
        {.names = "--color", .value = "WHEN", .help = "auto, always or never; auto is on a terminal where NO_COLOR is not set"},
        options.colour);
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

constexpr std::array<std::string_view, 3> kColours{"auto", "always", "never"};

Status set_colour(const std::string& word, CliStreams& streams) {
    if (std::find(kColours.begin(), kColours.end(), word) == kColours.end())
        return invalid(fmt::format("--color {} is not known; it is auto, always or never{}", word, did_you_mean(word, kColours)));
    if (word != "auto") streams.colour = word == "always";
    return {};
}

int usage_exit(const CLI::App& app, const CLI::ParseError& error, std::span<const std::string> arguments, CliStreams streams) {
    if (error.get_exit_code() == 0) return app.exit(error, streams.out, streams.err);  // --help
    streams.err << "homeostat: " << usage_sentence(app, error, arguments) << '\n';
    return kExitFailed;
}

}  // namespace

namespace {

// Which setting named the database, so that whoever reads that it cannot be reached knows what to change.
std::string database_origin(const Config& config) {
    const auto table = setting_table();
    for (std::size_t i = 0; i < table.size() && i < config.values.size(); ++i) {
        if (table[i].name != "database.url") continue;
        if (config.settings.database_url.empty())
            return "database.url is not set, so PG* variables and libpq's defaults count; give --database or "
                   "HOMEOSTAT_DATABASE_URL";
        const std::string& origin = config.values[i].origin;
        return fmt::format("database.url is from {}", origin == "flag" ? "the command line" : origin);
    }
    return "";
}

}  // namespace

CliContext::CliContext(CliStreams s) : streams(s) {}
CliContext::~CliContext() = default;

Result<Session*> CliContext::session() {
    if (!session_) {
        auto connected = Session::connect(connect_options(settings()));
        if (!connected) {
            Error error = std::move(connected).error();
            if (error.code == kConnectFailed)
                error.message += fmt::format(" ({}); {}", database_origin(config), why_unreached(settings().database_url));
            return error;
        }
        session_ = *std::move(connected);
        // The log of `run` says it, in its own form.
        if (verb != "run") watch_ = std::make_unique<LockWatch>(connect_options(settings()), session_->server().pid, streams.err);
    }
    return session_.get();
}

std::string CliContext::sentence_of(const Error& error) {
    std::string text = error.message;
    if (error.code == kLockNotAvailable && !error.said.empty()) {
        const std::string holder = watch_ ? watch_->waited_for() : "";
        text += holder.empty() ? "; another session holds a lock on what is asked for: try again"
                               : fmt::format("; it waited for {}: end that transaction, or try again", holder);
    } else if (wants_reason(error)) {
        const Result<Session*> asked = session();
        if (const std::string why = asked ? why_refused(**asked, error, verb) : ""; !why.empty()) text += "; " + why;
    }
    return text;
}

int CliContext::fail(const Error& error) {
    constexpr std::size_t kMostOfLine = 4'000;
    const std::string text = sentence_of(error);
    std::string_view rest = text;
    while (!rest.empty()) {
        const std::size_t end = rest.find('\n');
        streams.err << "homeostat: " << outside_text(rest.substr(0, end), kMostOfLine) << '\n';
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    return kExitFailed;
}

ConnectOptions connect_options(const Settings& settings) {
    ConnectOptions options;
    options.url = settings.database_url;
    options.readers = reader_logins(settings);
    options.trusted_owners = parse_list(settings.source_trusted_owners);
    options.statement_timeout_ms = static_cast<std::uint32_t>(settings.database_statement_timeout.count());
    options.lock_timeout_ms = static_cast<std::uint32_t>(settings.database_lock_timeout.count());
    options.connect_timeout_s = static_cast<std::uint32_t>(settings.database_connect_timeout.count() / 1000);
    options.prepare = settings.database_prepare;
    return options;
}

namespace {

// The names that may stand where `words` end, for completion; whatever is wrong, there are none.
std::vector<std::string> names_of_kind(CliContext& context, const std::string& kind) {
    std::vector<std::string> names;
    const auto session = context.session();
    const auto declared = read_kind(kind);
    if (!session || !declared) return names;
    const auto listing = list_declared(**session, *declared, {.names = {}, .cells = false});
    if (!listing) return names;
    for (const Listed& row : listing->rows) names.push_back(row.name);
    return names;
}

// What stands before and after may be anything: only where the database is matters.
int run_completion(CLI::App& app, CliContext& context, std::span<const std::string> words, ConfigSources sources) {
    GlobalOptions global;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        for (const auto& [flag, to] : {std::pair{"--database", &global.database}, {"--config", &global.config}}) {
            if (word.starts_with(std::string(flag) + "=")) *to = word.substr(std::string_view(flag).size() + 1);
            if (word == flag && i + 2 < words.size()) *to = words[i + 1];
        }
    }
    if (!add_flags(global, sources)) return kExitOk;
    auto config = load_config(sources);
    const bool configured = config.ok();
    if (configured) context.config = *std::move(config);
    const NamesOfKind names = [&context, configured](const std::string& kind) {
        return configured ? names_of_kind(context, kind) : std::vector<std::string>();
    };
    complete(app, words, names, context.streams.out);
    return kExitOk;
}

}  // namespace

int run_cli(std::span<const std::string> arguments, CliStreams streams, ConfigSources sources) {
    CliContext context(streams);
    GlobalOptions global;
    VerbBody body;
    CLI::App app("homeostat keeps embeddings in PostgreSQL in sync with their source.", "homeostat");
    app.footer(kFooter);
    app.set_version_flag("--version", version_line());
    Command program(app);
    add_global_options(program, global);
    for (const Verb& verb : verb_table()) {
        Command command = program.subcommand(verb.name, verb.sentence);
        command.parser().callback([&body, run = verb.configure(command, context)] { body = run; });
    }
    if (!arguments.empty() && arguments.front() == kCompleteWord)
        return run_completion(app, context, arguments.subspan(1), std::move(sources));
    std::vector<std::string> words(arguments.begin(), arguments.end());
    if (!words.empty() && words.front() == "help") {
        words.erase(words.begin());
        words.emplace_back("--help");
    }
    // -o=json is as good as -o json.
    for (std::size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
        if (words[i].size() < 3 || words[i][0] != '-' || words[i][1] == '-' || words[i][2] != '=') continue;
        words.insert(words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words[i].substr(3));
        words[i].resize(2);
    }
    try {
        app.parse(std::vector<std::string>(words.rbegin(), words.rend()));  // CLI11 takes them from the back
    } catch (const CLI::ParseError& e) {
        return usage_exit(app, e, arguments, streams);
    }
    if (auto good = set_colour(global.colour, context.streams); !good) return context.fail(good.error());
    if (auto good = add_flags(global, sources); !good) return context.fail(good.error());
    auto config = load_config(sources);
    // A shell's start-up file asks for completion, whatever somebody has put into the settings.
    const std::string verb = app.get_subcommands().empty() ? std::string() : app.get_subcommands().front()->get_name();
    context.verb = verb;
    if (!config && (verb == "completion" || verb == "man" || verb == "version")) return body();
    if (!config) return context.fail(config.error());
    context.config = *std::move(config);
    // `run` tells them by its log.
    if (verb != "run") {
        for (const std::string& warning : context.config.warnings) context.streams.err << "homeostat: " << warning << '\n';
    }
    return body();
}

bool wants_colour(bool terminal) {
    const char* no = std::getenv("NO_COLOR");  // NOLINT(concurrency-mt-unsafe): one thread
    return terminal && (no == nullptr || *no == '\0');
}

int run_cli(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    return run_cli(arguments, {std::cin, std::cout, std::cerr, wants_colour(isatty(STDOUT_FILENO) != 0)},
                   ConfigSources::of_process());
}

}  // namespace homeostat
