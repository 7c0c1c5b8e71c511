// The verbs that end when something has come to be: wait, and reconcile with --wait.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>

#include "controller/cli/text/activity.hpp"
#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/field_path.hpp"
#include "controller/cli/text/interruption.hpp"
#include "controller/cli/text/listing.hpp"
#include "controller/cli/verbs.hpp"

namespace homeostat {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kGlance{250};  // between looks

// What is waited for: that a field has a value, or that the object is gone.
struct Goal {
    std::string text;  // as written
    std::string path;
    std::string value;
    bool gone = false;
    bool condition = false;  // holds only once the newest declaration has been looked at
};

// Of pipelines and of target views.
constexpr std::array<std::string_view, 18> kConditions{
    "Ready",       "Synced",          "Reconciling", "Stalled",    "ProviderHealthy", "PruneBlocked",
    "SourceShort", "RowsWithoutKey",  "DeadLetters", "ChunksCut",  "SourceFiltered",  "SourceUnsteady",
    "ChangeFeed",  "FactoryConflict", "RowsRefused", "NamesTaken", "RemovalBlocked",  "ColumnsIgnored"};

Result<Goal> read_goal(const std::string& text) {
    Goal goal{.text = text, .path = {}, .value = {}};
    if (text == "delete") {
        goal.gone = true;
    } else if (text.starts_with("condition=")) {
        const std::string rest = text.substr(10);
        const std::size_t equals = rest.find('=');
        const std::string type = rest.substr(0, equals);
        if (std::find(kConditions.begin(), kConditions.end(), type) == kConditions.end())
            return invalid(fmt::format("--for {}: no object has a condition {}{}", text, type.empty() ? "without a name" : type,
                                       did_you_mean(type, kConditions)));
        goal.condition = true;
        goal.path = fmt::format(".status.conditions[?(@.type==\"{}\")].status", rest.substr(0, equals));
        goal.value = equals == std::string::npos ? "True" : rest.substr(equals + 1);
        // kubectl takes true for True.
        if (!goal.value.empty() && goal.value[0] >= 'a' && goal.value[0] <= 'z')
            goal.value[0] = static_cast<char>(goal.value[0] - 32);
        if (goal.value != "True" && goal.value != "False" && goal.value != "Unknown")
            return invalid(fmt::format("--for {}: a condition is True, False or Unknown", text));
    } else if (text.starts_with("jsonpath=")) {
        const std::size_t equals = text.find("}=");
        if (equals == std::string::npos) return invalid(fmt::format("--for {}: write jsonpath='{{.status.revision}}'=1", text));
        goal.path = text.substr(9, equals + 1 - 9);
        goal.value = text.substr(equals + 2);
    } else {
        return invalid(fmt::format(
            "--for {} is not known; it is condition=Ready, condition=TYPE=False, delete or jsonpath={{PATH}}=VALUE", text));
    }
    return goal;
}

std::string field(const YamlNode& node, std::string_view path) {
    const auto found = follow_path(node, path);
    return found && !found->empty() ? value_text(*found->front()) : std::string();
}

Result<bool> reached(const YamlNode& node, const Goal& goal) {
    const auto found = follow_path(node, goal.path);
    if (!found) return found.error();
    const bool observed = !goal.condition || (field(node, ".status.observedGeneration") == field(node, ".metadata.generation") &&
                                              field(node, ".status.providerSeen") != "false");
    return observed && !found->empty() && value_text(*found->front()) == goal.value;
}

struct Clocked {
    const SystemClock clock{};
    const SteadyTime started = clock.steady_now();
    std::optional<milliseconds> timeout;
    bool over() const { return timeout && clock.steady_now() - started >= *timeout; }
};

struct WaitOptions {
    std::vector<std::string> words;
    std::string wanted = "condition=Ready";
    std::string timeout = "30s";
    std::string selector;
    bool all = false;
};

using Names = std::vector<std::pair<ResourceKind, std::string>>;

Result<Names> waited_for(Session& session, const WaitOptions& o) {
    auto objects = read_objects(o.words, true);
    if (!objects) return objects.error();
    if (objects->empty() && (o.all || !o.selector.empty())) objects->push_back({ResourceKind::pipeline, {}});
    if (objects->empty()) return invalid("say which to wait for: names, -l LABELS, or --all");
    Names out;
    for (const NamedObjects& some : *objects) {
        if (some.names.empty() && !o.all && o.selector.empty())
            return invalid("say which to wait for: names, -l LABELS, or --all");
        if (!some.names.empty()) {
            for (const std::string& name : some.names) out.emplace_back(some.kind, name);
            continue;
        }
        Result<Listing> listing = list_declared(session, some.kind, {.names = {}, .cells = false});
        if (!listing) return listing.error();
        if (!o.selector.empty()) {
            auto rows = select_labels(std::move(listing->rows), o.selector);
            if (!rows) return rows.error();
            listing->rows = *std::move(rows);
        }
        for (const Listed& row : listing->rows) out.emplace_back(some.kind, row.name);
    }
    if (out.empty()) return not_found("there is nothing to wait for: no object matches");
    return out;
}

// What a pipeline says of itself, for whoever waited in vain.
std::string why_not(const std::vector<PipelineLine>& lines, const std::string& name) {
    const auto line = std::find_if(lines.begin(), lines.end(), [&](const PipelineLine& l) { return l.name == name; });
    if (line == lines.end()) return "";
    if (line->suspended) return fmt::format("; it is suspended: homeostat resume {}", name);
    if (line->kstatus == "Terminating") return "; it is being deleted";
    return printable(
        fmt::format("; Ready is {} ({}){}{}", line->ready, line->reason, line->message.empty() ? "" : ": ", line->message));
}

// Whether the object is as wanted; what is missing is an error unless that is what is waited for.
Result<bool> look(Session& session, ResourceKind kind, const std::string& name, const Goal& goal) {
    const Result<Listing> listing = list_declared(session, kind, {.names = {name}, .cells = false, .nodes = !goal.gone});
    if (!listing) {
        if (goal.gone && listing.error().cls == ErrorClass::not_found) return true;
        return listing.error();
    }
    if (goal.gone) return false;
    if (listing->rows.empty()) return not_found(fmt::format("{}/{} is being deleted", kind_word(kind), name));
    return reached(listing->rows.front().node, goal);
}

int run_wait(CliContext& context, const WaitOptions& o) {
    const auto goal = read_goal(o.wanted);
    if (!goal) return context.fail(goal.error());
    const auto timeout = read_duration("--timeout", o.timeout);
    if (!timeout) return context.fail(timeout.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    auto names = waited_for(**session, o);
    if (!names) return context.fail(names.error());
    const bool provider =
        std::any_of(names->begin(), names->end(), [](const auto& n) { return n.first == ResourceKind::provider; });
    if (provider && goal->condition)
        return context.fail(invalid("providers have no conditions; wait for the pipelines that use it"));
    const Interruption interruption;
    Clocked clocked{.timeout = *timeout};
    for (bool first = true;; first = false) {
        for (auto at = names->begin(); at != names->end();) {
            const Result<bool> good = look(**session, at->first, at->second, *goal);
            if (!good) return context.fail(good.error());
            if (*good)
                context.streams.out << fmt::format("{}/{} {}\n", kind_word(at->first), at->second,
                                                   goal->gone ? "deleted" : "condition met");
            at = *good ? names->erase(at) : at + 1;
        }
        context.streams.out << std::flush;
        if (names->empty()) return kExitOk;
        if (first) say_where_nobody_works(context, **session);
        if (clocked.over() || !interruption.pause(kGlance)) break;
    }
    const Result<std::vector<PipelineLine>> lines = list_pipeline_lines(**session);
    for (const auto& [kind, name] : *names) {
        context.streams.err << fmt::format("homeostat: {} on {}/{}: {}{}\n",
                                           clocked.over() ? "timed out waiting" : "stopped waiting", kind_word(kind), name,
                                           goal->text, kind == ResourceKind::pipeline && lines ? why_not(*lines, name) : "");
    }
    return kExitDifferences;
}

struct ReconcileOptions {
    std::vector<std::string> words;
    bool all = false;
    bool wait = false;
    std::string timeout = "5m";
};

Result<std::vector<std::string>> to_reconcile(Session& session, const ReconcileOptions& o) {
    const auto objects = read_objects(o.words, true);
    if (!objects) return objects.error();
    std::vector<std::string> names;
    for (const NamedObjects& some : *objects) {
        if (some.kind != ResourceKind::pipeline)
            return invalid(
                fmt::format("{}: pipelines are reconciled; what a provider or target view needs is looked at all the time",
                            kind_word(some.kind)));
        names.insert(names.end(), some.names.begin(), some.names.end());
    }
    if (names.empty() == !o.all) return invalid("say which pipelines to reconcile: their names, or --all");
    if (!o.all) return names;
    const Result<Listing> all = list_declared(session, ResourceKind::pipeline, {.names = {}, .cells = false});
    if (!all) return all.error();
    for (const Listed& row : all->rows) names.push_back(row.name);
    return names;
}

// Until each pipeline's pass that was asked for has ended. What has another token by now was asked again by somebody else; then
// that one's end is this one's too.
int wait_for_passes(CliContext& context, Session& session, std::map<std::string, std::string> tokens, const ReconcileOptions& o,
                    std::optional<milliseconds> timeout) {
    const Interruption interruption;
    Clocked clocked{.timeout = timeout};
    int code = kExitOk;
    for (bool first = true;; first = false) {
        for (auto at = tokens.begin(); at != tokens.end();) {
            const auto listing =
                list_declared(session, ResourceKind::pipeline, {.names = {at->first}, .cells = false, .nodes = true});
            if (!listing) return context.fail(listing.error());
            if (listing->rows.empty()) return context.fail(not_found(fmt::format("pipeline/{} is being deleted", at->first)));
            const YamlNode& node = listing->rows.front().node;
            const auto pipeline = find_pipeline(session, at->first);
            if (!pipeline) return context.fail(pipeline.error());
            const std::string handled = field(node, ".status.lastHandledReconcile");
            if (handled != at->second && handled != pipeline->reconcile_requested.value_or("")) {
                ++at;
                continue;
            }
            const std::string ready = field(node, ".status.conditions[?(@.type==\"Ready\")].status");
            const std::string message = field(node, ".status.conditions[?(@.type==\"Ready\")].message");
            context.streams.out << fmt::format("pipeline/{} reconciled, Ready is {}{}{}\n", at->first,
                                               ready.empty() ? "Unknown" : ready, message.empty() ? "" : ": ", message);
            if (ready != "True") code = kExitDifferences;
            at = tokens.erase(at);
        }
        context.streams.out << std::flush;
        if (tokens.empty()) return code;
        if (first) say_where_nobody_works(context, session);
        if (clocked.over() || !interruption.pause(kGlance)) break;
    }
    for (const auto& [name, token] : tokens) {
        context.streams.err << fmt::format("homeostat: pipeline/{} was not reconciled {}\n", name,
                                           clocked.over() ? "within " + o.timeout : std::string("before you stopped waiting"));
    }
    return kExitDifferences;
}

int run_reconcile(CliContext& context, const ReconcileOptions& o) {
    const auto timeout = read_duration("--timeout", o.timeout);
    if (!timeout) return context.fail(timeout.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const auto names = to_reconcile(**session, o);
    if (!names) return context.fail(names.error());
    std::map<std::string, std::string> tokens;
    int code = kExitOk;
    for (const std::string& name : *names) {
        const auto pipeline = find_pipeline(**session, name);
        if (o.wait && pipeline && pipeline->suspend) {
            code = context.fail(
                invalid(fmt::format("pipeline \"{0}\" is suspended: nothing would come of waiting; homeostat resume {0}", name)));
            continue;
        }
        const auto token = request_reconcile(**session, name);
        if (!token) {
            code = context.fail(token.error());
            continue;
        }
        tokens[name] = *token;
        context.streams.out << fmt::format("pipeline/{} will be reconciled (request {})\n", name, *token) << std::flush;
    }
    if (names->empty()) context.streams.err << "homeostat: no pipelines are declared\n";
    if (!o.wait || tokens.empty()) return code;
    return std::max(code, wait_for_passes(context, **session, std::move(tokens), o, *timeout));
}

}  // namespace

VerbBody configure_wait(Command& command, CliContext& context) {
    auto o = std::make_shared<WaitOptions>();
    command.option({.names = "what",
                    .value = "WHAT",
                    .help = "NAME of a pipeline, KIND NAME..., or KIND/NAME...; kinds: pipeline, provider, targetview"},
                   o->words);
    command.option(
        {.names = "--for",
         .value = "GOAL",
         .help = "condition=TYPE or condition=TYPE=False, delete, or jsonpath={PATH}=VALUE; condition=Ready if not said"},
        o->wanted);
    command.option({.names = "--timeout", .value = "DURATION", .help = "Give up after this long, 30s if not said"}, o->timeout);
    command.option({.names = "-l,--selector", .value = "LABELS", .help = "All that have these labels"}, o->selector);
    command.flag("--all", o->all, "All of the kind");
    command.footer(
        "Example: homeostat apply -f docs.yaml && homeostat wait pipeline/docs --for=condition=Ready --timeout 10m\n"
        "Exit codes: 0 all of it has come to be, 1 timed out or stopped before, 2 refused or failed.");
    return [&context, o] { return run_wait(context, *o); };
}

VerbBody configure_reconcile(Command& command, CliContext& context) {
    auto o = std::make_shared<ReconcileOptions>();
    command.option({.names = "names", .value = "NAME", .help = "Pipelines, or pipeline/NAME"}, o->words);
    command.flag("--all", o->all, "Every pipeline");
    command.flag("--wait", o->wait, "Until each pass has ended");
    command.option({.names = "--timeout", .value = "DURATION", .help = "With --wait: give up after this long, 5m if not said"},
                   o->timeout);
    command.footer("With --wait: exit 0 where all are Ready then, 1 where one is not, or the time is over, 2 refused or failed.");
    return [&context, o] { return run_reconcile(context, *o); };
}

}  // namespace homeostat
