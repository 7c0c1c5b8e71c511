#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "controller/cli/manifest/kinds.hpp"
#include "controller/cli/text/activity.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/listing.hpp"
#include "controller/cli/text/object_text.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/text/remedy.hpp"
#include "controller/cli/text/revision_text.hpp"
#include "controller/cli/text/run_text.hpp"
#include "controller/cli/text/truth.hpp"
#include "controller/cli/verbs.hpp"
#include "reconcilers/embed/sandbox.hpp"
#include "reconcilers/pipeline/conditions.hpp"
#include "store/control/batches.hpp"
#include "store/control/dead_letters.hpp"
#include "store/control/providers.hpp"
#include "store/control/rollbacks.hpp"
#include "store/control/statuses.hpp"
#include "store/control/suspension.hpp"
#include "store/control/target_views.hpp"

namespace homeostat {

namespace {

constexpr int kRecent = 10;

// Everything there is about a pipeline, read before anything is printed.
struct PipelineFacts {
    PipelineSpec spec;
    PipelineStatus status;
    std::vector<DeadLetter> dead_letters;
    std::vector<RunSummary> runs;
    std::vector<Event> events;
    std::vector<ReplicaLine> replicas;
    std::optional<Suspension> suspension;
    std::string journal_limit;  // how long replaced text stays; "" = not known yet
    std::optional<RevisionPin> pin;
    std::vector<RevisionLine> revisions;
    double price = 0;  // of a million tokens, as its provider declares it; 0 = none is
    std::optional<PipelineLine> summary;  // where nothing else of it is shown to whoever looks
};

template <class T>
Status take(Result<T> from, T& to) {
    if (!from) return std::move(from).error();
    to = *std::move(from);
    return {};
}

Result<PipelineFacts> read_facts(Session& session, const std::string& name) {
    PipelineFacts f;
    if (auto s = take(find_pipeline(session, name), f.spec); !s) return std::move(s).error();
    if (auto s = take(read_true_status(session, f.spec), f.status); !s) return std::move(s).error();
    if (auto s = take(read_dead_letters(session, f.spec.uid, kRecent), f.dead_letters); !s) return std::move(s).error();
    if (auto s = take(read_runs(session, f.spec.uid, kRecent), f.runs); !s) return std::move(s).error();
    if (auto s = take(read_events(session, f.spec.uid, kRecent), f.events); !s) return std::move(s).error();
    if (auto s = take(list_replicas(session), f.replicas); !s) return std::move(s).error();
    if (auto s = take(read_suspension(session, f.spec.uid), f.suspension); !s) return std::move(s).error();
    if (auto s = take(read_journal_limit(session, f.spec.uid), f.journal_limit); !s) return std::move(s).error();
    if (auto s = take(read_revision_pin(session, f.spec.uid), f.pin); !s) return std::move(s).error();
    if (auto s = take(list_revision_lines(session, f.spec.uid), f.revisions); !s) return std::move(s).error();
    if (const auto provider = find_provider(session, f.spec.provider)) f.price = provider->price_per_million_tokens;
    if (!f.status.conditions.empty()) return f;
    Result<std::vector<PipelineLine>> lines = list_pipeline_lines(session);
    if (!lines) return lines.error();
    for (PipelineLine& line : *lines) {
        if (line.uid == f.spec.uid && line.reason != "NotObserved") f.summary = std::move(line);
    }
    return f;
}

void indented(std::ostream& out, const YamlNode& node) {
    const std::string text = write_yaml(node);
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = text.find('\n', at);
        out << "  " << printable(text.substr(at, end - at)) << '\n';
        at = end + 1;
    }
}

void section(std::ostream& out, std::string_view title, const TextTable& table, bool colour) {
    if (table.empty()) {
        out << title << ": none\n";
        return;
    }
    out << title << ":\n";
    table.print(out, colour, "  ");
}

void print_conditions(std::ostream& out, const std::vector<Condition>& conditions, bool colour, WallTime now) {
    TextTable table({"TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"});
    for (const Condition& c : conditions) {
        const bool abnormal = c.type != "Ready" && c.type != "Synced" && c.type != "ProviderHealthy" && c.type != "ChangeFeed";
        const Tint tint = c.type == "Reconciling" ? Tint::plain : condition_tint(c.status, abnormal);
        table.add({c.type, Cell(c.status, tint), c.reason, age_text(c.last_transition, now), c.message});
    }
    section(out, "Conditions", table, colour);
}

void print_events(std::ostream& out, const std::vector<Event>& events, bool colour, WallTime now) {
    TextTable table({"AGE", "TYPE", "REASON", "MESSAGE"});
    for (const Event& e : events) {
        table.add({age_text(e.at, now), Cell(e.type, e.type == "Warning" ? Tint::warning : Tint::plain), e.reason, e.message});
    }
    section(out, "Events", table, colour);
}

// "  Together 12,345 tokens paid (0.25 at the provider's price), of which 120 to no use; 3,400 saved by caches (22 %)". Runs that
// asked for nothing cost nothing: "".
std::string cost_text(const std::vector<RunSummary>& runs, double price) {
    std::int64_t paid = 0, wasted = 0, saved = 0;
    for (const RunSummary& r : runs) {
        paid += r.tokens;
        wasted += r.wasted_tokens;
        saved += r.saved_tokens;
    }
    if (paid + saved == 0) return {};
    std::string out = fmt::format("  Together {} tokens paid", count_text(paid));
    if (price > 0) out += fmt::format(" ({:.4g} at the provider's price)", static_cast<double>(paid) * price / 1e6);
    if (wasted > 0) out += fmt::format(", of which {} to no use", count_text(wasted));
    if (saved > 0)
        out += fmt::format("; {} saved by caches ({} %)", count_text(saved),
                           std::lround(100.0 * static_cast<double>(saved) / static_cast<double>(paid + saved)));
    return out;
}

void print_history(std::ostream& out, const PipelineFacts& f, bool colour, WallTime now) {
    TextTable letters({"KEY", "CLASS", "ATTEMPTS", "MESSAGE"});
    for (const DeadLetter& d : f.dead_letters) letters.add({key_text(d.key), d.cls, std::to_string(d.attempts), d.message});
    section(out, "Dead letters", letters, colour);
    TextTable runs({"RUN", "TRIGGER", "STATUS", "PLANNED", "HEALED", "TOKENS", "SAVED", "ENDED", "MESSAGE"});
    for (const RunSummary& r : f.runs) {
        runs.add({std::to_string(r.id), r.trigger, r.status, std::to_string(r.planned), r.healed.empty() ? "-" : r.healed,
                  std::to_string(r.tokens), std::to_string(r.saved_tokens), age_text(r.ended, now), r.message});
    }
    section(out, "Runs", runs, colour);
    if (const std::string cost = cost_text(f.runs, f.price); !cost.empty()) out << cost << '\n';
    section(out, "Last batches", batches_table(f.replicas, f.spec.uid), colour);
    print_events(out, f.events, colour, now);
}

// What whoever looks wants to know first: is it well, since when, why not, and what is to be done.
void print_head(CliContext& context, const std::vector<Condition>& conditions, const std::string& remedy, WallTime now) {
    std::ostream& out = context.streams.out;
    const auto ready = std::find_if(conditions.begin(), conditions.end(), [](const Condition& c) { return c.type == "Ready"; });
    if (ready == conditions.end()) {
        out << "Ready: Unknown (NotObserved)\n";
    } else {
        out << printable(fmt::format("Ready: {} ({}) for {}{}{}", ready->status, ready->reason,
                                     age_text(ready->last_transition, now), ready->message.empty() ? "" : ": ", ready->message))
            << '\n';
    }
    if (!remedy.empty()) out << printable(fmt::format("What to do: {}", remedy)) << '\n';
}

std::string suspension_text(const Suspension& s, WallTime now) {
    std::string out = s.by.empty() ? "" : fmt::format("by {}, ", s.by);
    if (s.since) out += fmt::format("for {}, ", age_text(*s.since, now));
    out += s.until ? fmt::format("until {}", time_text(*s.until)) : std::string("until it is resumed");
    return out + (s.reason.empty() ? "; no reason given" : fmt::format("; {}", s.reason));
}

void print_pipeline(CliContext& context, const PipelineFacts& f) {
    std::ostream& out = context.streams.out;
    const WallTime now = SystemClock().now();
    out << fmt::format("Pipeline {} (uid {}, generation {})\n", printable(f.spec.name), f.spec.uid, f.spec.generation);
    if (f.summary) {
        out << printable(fmt::format("Ready: {} ({}); the rest is shown to the role that declared it, and to homeostat_admin",
                                     f.summary->ready, f.summary->reason))
            << '\n';
    } else {
        print_head(context, f.status.conditions, remedy_of(f.spec, f.status), now);
    }
    if (f.suspension)
        out << printable((f.suspension->pin == Pin::rollback ? "Pinned: " : "Suspended: ") + suspension_text(*f.suspension, now))
            << '\n';
    if (f.pin) out << printable(pin_text(*f.pin, now)) << '\n';
    for (const RevisionLine& r : f.revisions) {
        if (r.fill) out << printable(fmt::format("Revision {} ({}): {}", r.number, r.why, progress_text(*r.fill))) << '\n';
    }
    for (const auto& [key, value] : f.spec.labels) out << printable(fmt::format("Label: {}={}", key, value)) << '\n';
    out << "Spec:\n";
    indented(out, spec_node(f.spec));
    YamlNode status = status_node(f.status);
    std::erase_if(status.fields, [](const auto& field) { return field.first == "conditions"; });
    out << "Status:\n";
    indented(out, status);
    if (const std::string waiting = waiting_text(f.status.waiting); !waiting.empty())
        out << printable("Waiting: " + waiting) << '\n';
    if (!f.journal_limit.empty())
        out << fmt::format("Replaced text stays for a rollback, until it is older than one of these: {}\n", f.journal_limit);
    print_conditions(out, f.status.conditions, context.streams.colour, now);
    print_history(out, f, context.streams.colour, now);
}

struct Options {
    std::vector<std::string> words;
    std::string output = "table";
};

int describe_pipeline(CliContext& context, Session& session, const std::string& name, OutputForm form) {
    const auto facts = read_facts(session, name);
    if (!facts) return context.fail(facts.error());
    if (form == OutputForm::json || form == OutputForm::yaml) {
        YamlNode node = object_node(facts->spec, &facts->status);
        for (const RevisionLine& r : facts->revisions) {
            if (!r.fill) continue;
            YamlNode fill = fill_node(*r.fill);
            fill.add("revision", YamlNode::number(r.number));
            node.fields.back().second.add("fill", std::move(fill));
        }
        context.streams.out << (form == OutputForm::json ? write_json(node) + '\n' : write_yaml(node));
    } else {
        print_pipeline(context, *facts);
    }
    return kExitOk;
}

// In quarantine, why and for how long, as the replica that found out wrote it.
std::string quarantine_text(const std::vector<ProviderRecord>& records, std::int64_t uid) {
    for (const ProviderRecord& r : records) {
        const double left = std::chrono::duration<double>(r.retry_in.value_or(std::chrono::milliseconds(0))).count();
        if (r.uid != uid || r.reason != "Quarantined") continue;
        if (left <= 0) return fmt::format("over; the next request is a probe ({})", r.message);
        return fmt::format("for another {}: {}", duration_text(left), r.message);
    }
    return "no";
}

struct ProviderFacts {
    ProviderSpec spec;
    std::vector<ProviderHealth> health;
    std::vector<ProviderRecord> records;
    std::vector<ReplicaLine> replicas;
};

Result<ProviderFacts> read_provider_facts(Session& session, const std::string& name) {
    ProviderFacts f;
    if (auto s = take(find_provider(session, name), f.spec); !s) return std::move(s).error();
    if (auto s = take(list_provider_health(session), f.health); !s) return std::move(s).error();
    if (auto s = take(list_provider_records(session), f.records); !s) return std::move(s).error();
    if (auto s = take(list_replicas(session), f.replicas); !s) return std::move(s).error();
    return f;
}

void print_provider(CliContext& context, const ProviderFacts& f) {
    std::ostream& out = context.streams.out;
    const bool colour = context.streams.colour;
    out << fmt::format("Provider {} (uid {}, generation {})\nSpec:\n", printable(f.spec.name), f.spec.uid, f.spec.generation);
    indented(out, spec_node(f.spec));
    const auto found =
        std::find_if(f.health.begin(), f.health.end(), [&](const ProviderHealth& h) { return h.uid == f.spec.uid; });
    if (found == f.health.end()) {
        out << "Health: not used yet\n";
    } else {
        out << printable(fmt::format("Health: {}{}", found->healthy ? "good" : found->reason,
                                     found->message.empty() ? "" : ", " + found->message))
            << '\n';
    }
    if (f.spec.kind == "exec") {
        out << fmt::format("Sandbox on this machine: {}\n", examine_sandbox().text());
        out << printable(fmt::format("Quarantined: {}", quarantine_text(f.records, f.spec.uid))) << '\n';
    }
    section(out, "Breakers and caches, by replica", uses_table(f.replicas, f.spec.name), colour);
    if (const std::string saved = saved_text(f.replicas, f.spec.name, f.spec.price_per_million_tokens); !saved.empty())
        out << "  " << saved << '\n';
    section(out, "Last calls", calls_table(f.replicas, f.spec.name), colour);
    if (f.spec.pool) section(out, "Last selections", selections_table(f.replicas, f.spec.name), colour);
}

int describe_provider(CliContext& context, Session& session, const std::string& name, OutputForm form) {
    const auto facts = read_provider_facts(session, name);
    if (!facts) return context.fail(facts.error());
    std::ostream& out = context.streams.out;
    if (form == OutputForm::json) {
        out << write_json(object_node(facts->spec)) << '\n';
    } else if (form == OutputForm::yaml) {
        out << write_yaml(object_node(facts->spec));
    } else {
        print_provider(context, *facts);
    }
    return kExitOk;
}

void print_target_view(CliContext& context, const TargetViewSpec& view, const TargetViewStatus& status,
                       const std::vector<RowRefusal>& refused, const std::vector<Event>& events) {
    std::ostream& out = context.streams.out;
    const WallTime now = SystemClock().now();
    out << fmt::format("Target view {} (uid {}, generation {})\n", printable(view.name), view.uid, view.generation);
    print_head(context, status.conditions, remedy_of(view, status), now);
    if (view.suspend) out << printable("Suspended: " + view.suspend_reason.value_or("no reason given")) << '\n';
    for (const auto& [key, value] : view.labels) out << printable(fmt::format("Label: {}={}", key, value)) << '\n';
    out << "Spec:\n";
    indented(out, spec_node(view));
    YamlNode node = status_node(status);
    std::erase_if(node.fields, [](const auto& field) { return field.first == "conditions"; });
    out << "Status:\n";
    indented(out, node);
    print_conditions(out, status.conditions, context.streams.colour, now);
    TextTable rows({"ROW", "REFUSED BECAUSE"});
    for (const auto& [name, sentence] : refused) rows.add({name, sentence});
    section(out, "Rows refused", rows, context.streams.colour);
    print_events(out, events, context.streams.colour, now);
}

int describe_target_view(CliContext& context, Session& session, const std::string& name, OutputForm form) {
    const auto view = find_target_view(session, name);
    if (!view) return context.fail(view.error());
    const auto status = read_target_view_status(session, view->uid);
    if (!status) return context.fail(status.error());
    if (form == OutputForm::json || form == OutputForm::yaml) {
        const YamlNode node = object_node(*view, &*status);
        context.streams.out << (form == OutputForm::json ? write_json(node) + '\n' : write_yaml(node));
        return kExitOk;
    }
    const auto refused = read_refused_rows(session, view->uid);
    if (!refused) return context.fail(refused.error());
    const auto events = read_events(session, view->uid, kRecent);
    if (!events) return context.fail(events.error());
    print_target_view(context, *view, *status, *refused, *events);
    return kExitOk;
}

// Those that are not being deleted.
Result<std::vector<std::string>> names_of(Session& session, ResourceKind kind) {
    const Result<Listing> all = list_declared(session, kind, {.names = {}, .cells = false});
    if (!all) return all.error();
    std::vector<std::string> names;
    for (const Listed& row : all->rows) names.push_back(row.name);
    return names;
}

int describe_one(CliContext& context, Session& session, ResourceKind kind, const std::string& name, OutputForm form) {
    if (kind == ResourceKind::provider) return describe_provider(context, session, name, form);
    if (kind == ResourceKind::target_view) return describe_target_view(context, session, name, form);
    return describe_pipeline(context, session, name, form);
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    if (const auto runs = named_runs(o.words)) return describe_runs(context, *runs, *form);
    const auto objects = read_objects(o.words, true);
    if (!objects) return context.fail(objects.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    int code = kExitOk;
    bool first = true;
    for (const NamedObjects& some : *objects) {
        const auto names = some.names.empty() ? names_of(**session, some.kind) : Result<std::vector<std::string>>(some.names);
        if (!names) return context.fail(names.error());
        if (names->empty()) context.streams.err << fmt::format("homeostat: there are no {}s\n", kind_word(some.kind));
        for (const std::string& name : *names) {
            if (!first && *form != OutputForm::json) context.streams.out << (*form == OutputForm::yaml ? "---\n" : "\n");
            first = false;
            if (const int one = describe_one(context, **session, some.kind, name, *form); one != kExitOk) code = one;
        }
    }
    return code;
}

}  // namespace

VerbBody configure_describe(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(
        {.names = "what",
         .value = "WHAT",
         .help =
             "NAME of a pipeline, KIND NAME..., KIND/NAME..., or a KIND for all of it; kinds: pipeline, provider, targetview, "
             "and run with its number",
         .required = true},
        o->words);
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    command.footer(
        "Examples: homeostat describe docs\n          homeostat describe provider/hashing\n          homeostat describe run 12");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
