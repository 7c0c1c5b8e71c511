// `homeostat plan`: what a pass would find and what healing it would take. Writes nothing.
#include <fmt/core.h>

#include "controller/cli/checks/measured_time.hpp"
#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/config/chunkers.hpp"
#include "controller/login.hpp"
#include "reconcilers/inspect/observation.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

namespace {

struct Options {
    std::string name;
    std::string output = "table";
    bool fast = false;
    std::size_t show = 0;
};

// What becomes of each finding, in the order of the enumeration.
constexpr std::array<std::string_view, kFindings> kMeanings{
    "in the source and not embedded",
    "edited since they were embedded",
    "only metadata columns differ: no embedding is needed",
    "chunks are missing or damaged",
    "a vector is missing, zero or of the wrong width",
    "no longer in the source: removed",
    "beyond the declared number of documents: removed",
    "embedded under other settings: rebuilt beside what is served",
    "refused by the provider; left alone until edited",
    "a key column is NULL; cannot be documents",
    "chunks without their document: removed",
};

// The seven classes are always shown, so that a zero can be seen; the rest where there is something to say.
bool shown(const Observation& o, Finding f) { return f <= Finding::excess || o.count(f) > 0; }

std::string minutes_text(const PlanEstimate& e) {
    return e.minutes < 1.0 / 60 ? "under a second" : duration_text(e.minutes * 60);
}

std::string price_text(double price) {
    return price == 0 ? "free" : price < 0.01 ? "price under 0.01" : fmt::format("price {:.2f}", price);
}

void print_keys(std::ostream& out, const Observation& o) {
    for (std::size_t i = 0; i < kFindings; ++i) {
        if (o.keys[i].empty()) continue;
        TextTable table({fmt::format("{} ({} of {})", to_string(static_cast<Finding>(i)), o.keys[i].size(),
                                     count_text(o.count(static_cast<Finding>(i))))});
        for (const Key& key : o.keys[i]) table.add({key_text(key)});
        table.print(out, false, "    ");
    }
}

void print_plan(CliContext& context, const std::string& name, const Observation& o) {
    std::ostream& out = context.streams.out;
    out << fmt::format("Pipeline {}: {} of {}, {} and {} in {}\n", printable(name), counted(o.source_documents, "document"),
                       printable(o.source), counted(o.documents, "document"), counted(o.chunks, "chunk"),
                       o.revision > 0    ? fmt::format("revision {}", o.revision)
                       : o.documents > 0 ? "an older revision"
                                         : "no revision yet");
    TextTable table({"CLASS", "DOCUMENTS", "MEANING"});
    for (std::size_t i = 0; i < kFindings; ++i) {
        const auto f = static_cast<Finding>(i);
        if (!shown(o, f)) continue;
        const std::int64_t n = o.count(f);
        table.add({to_string(f), Cell(count_text(n), n > 0 ? Tint::warning : Tint::faint), kMeanings[i]});
    }
    table.print(out, context.streams.colour, "  ");
    print_keys(out, o);
    for (const std::string& repair : o.repairs) out << printable(fmt::format("  Also: {}", repair)) << '\n';
    const PlanEstimate& e = o.plan;
    if (e.documents > 0) {
        out << fmt::format("  To embed: {}, about {}, {}, {}; {}, {}, {}\n", counted(e.documents, "document"),
                           counted(e.chunks, "chunk"), counted(e.tokens, "token"), counted(e.requests, "request"),
                           minutes_text(e), price_text(e.price), to_string(e.strategy));
    } else {
        out << (o.nothing_to_do() ? "  Nothing to do.\n" : "  Nothing to embed.\n");
    }
    for (const std::string& w : e.warnings) out << printable(fmt::format("  Warning: {}", w)) << '\n';
}

YamlNode key_node(const Key& key) {
    YamlNode list = YamlNode::list();
    for (const std::string& part : key) list.items.push_back(YamlNode::text(part));
    return list;
}

YamlNode sentences_node(const std::vector<std::string>& sentences) {
    YamlNode list = YamlNode::list();
    for (const std::string& s : sentences) list.items.push_back(YamlNode::text(s));
    return list;
}

YamlNode plan_node(const std::string& name, const Observation& o) {
    constexpr std::array<std::string_view, kFindings> names{"missing",     "stale",    "moved",      "partial",
                                                            "invalid",     "orphaned", "excess",     "outdated",
                                                            "deadLetters", "unkeyed",  "strayChunks"};
    YamlNode node = YamlNode::map();
    node.add("pipeline", YamlNode::text(name));
    node.add("source", YamlNode::text(o.source));
    node.add("revision", YamlNode::number(o.revision));
    node.add("sourceDocuments", YamlNode::number(o.source_documents));
    node.add("documents", YamlNode::number(o.documents));
    node.add("chunks", YamlNode::number(o.chunks));
    YamlNode classes = YamlNode::map();
    YamlNode keys = YamlNode::map();
    for (std::size_t i = 0; i < kFindings; ++i) {
        classes.add(std::string(names[i]), YamlNode::number(o.count(static_cast<Finding>(i))));
        if (o.keys[i].empty()) continue;
        YamlNode list = YamlNode::list();
        for (const Key& key : o.keys[i]) list.items.push_back(key_node(key));
        keys.add(std::string(names[i]), std::move(list));
    }
    node.add("classes", std::move(classes));
    if (!keys.fields.empty()) node.add("keys", std::move(keys));
    node.add("repairs", sentences_node(o.repairs));
    YamlNode plan = YamlNode::map();
    plan.add("strategy", YamlNode::text(std::string(to_string(o.plan.strategy))));
    plan.add("documents", YamlNode::number(o.plan.documents));
    plan.add("chunks", YamlNode::number(o.plan.chunks));
    plan.add("tokens", YamlNode::number(o.plan.tokens));
    plan.add("requests", YamlNode::number(o.plan.requests));
    plan.add("minutes", YamlNode::real(o.plan.minutes));
    plan.add("timeIsAssumed", YamlNode::boolean(o.plan.assumed));
    plan.add("price", YamlNode::real(o.plan.price));
    node.add("plan", std::move(plan));
    node.add("warnings", sentences_node(o.plan.warnings));
    node.add("nothingToDo", YamlNode::boolean(o.nothing_to_do()));
    return node;
}

Result<std::vector<PipelineSpec>> wanted(Session& session, const std::string& name) {
    if (!name.empty()) {
        Result<PipelineSpec> one = find_pipeline(session, name);
        if (!one) return one.error();
        return std::vector{*std::move(one)};
    }
    Result<std::vector<PipelineSpec>> all = list_pipelines(session);
    if (all) std::erase_if(*all, [](const PipelineSpec& p) { return p.deleting; });
    return all;
}

Result<Observation> observe(Session& session, const PipelineSpec& pipeline, const Options& o, const Settings& s) {
    Result<ProviderSpec> provider = find_provider(session, pipeline.provider);
    if (!provider) return provider.error();
    ObserveSettings settings;
    settings.deep = !o.fast;
    settings.slice = s.sweep_slice;
    settings.show = o.show;
    settings.prune_floor = s.prune_floor;
    Result<Observation> found = observe_pipeline(session, pipeline, *provider, settings);
    if (!found) return found;
    measure_time(s, *provider, *found);
    if (const Status known = check_registered(pipeline.chunker, registered_chunkers(s)); !known)
        found->plan.warnings.push_back(known.error().message);
    return found;
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    if (const Status bounded = check_login(**session, context.settings()); !bounded) return context.fail(bounded.error());
    const auto pipelines = wanted(**session, o.name);
    if (!pipelines) return context.fail(pipelines.error());
    if (pipelines->empty()) context.streams.err << "homeostat: no pipelines are declared\n";
    const bool table = *form == OutputForm::table || *form == OutputForm::wide;
    YamlNode nodes = YamlNode::list();
    int code = kExitOk;
    for (const PipelineSpec& p : *pipelines) {
        const Result<Observation> found = observe(**session, p, o, context.settings());
        if (!found) {
            // One pipeline that cannot be read does not hide what the others need.
            code = context.fail(found.error().with_prefix(fmt::format("pipeline \"{}\"", p.name)));
            continue;
        }
        if (code == kExitOk && !found->nothing_to_do()) code = kExitDifferences;
        if (table) {
            print_plan(context, p.name, *found);
        } else {
            nodes.items.push_back(plan_node(p.name, *found));
        }
    }
    if (table) return code;
    if (!o.name.empty() && nodes.items.empty()) return code;
    const YamlNode& whole = o.name.empty() ? nodes : nodes.items.front();
    context.streams.out << (*form == OutputForm::json ? write_json(whole) + '\n' : write_yaml(whole));
    return code;
}

}  // namespace

VerbBody configure_plan(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(pipeline_word("One pipeline; without it, all of them"), o->name);
    command.flag("--fast", o->fast, "Compare versions only: quick, and blind to damaged chunks and vectors");
    command.option({.names = "--show", .value = "N", .help = "Name up to so many documents of each class"}, o->show);
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    command.footer(
        "Nothing is written. Example: homeostat plan articles --show 5\n"
        "Exit codes: 0 nothing to do, 1 differences, 2 refused or failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
