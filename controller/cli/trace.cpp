// `trace`: what a run or an edit did, drawn; or the way of one document.
#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/text/timeline.hpp"
#include "controller/cli/text/waterfall.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/config/config_yaml.hpp"
#include "controller/login.hpp"
#include "reconcilers/factory/targets.hpp"
#include "store/control/kept_traces.hpp"
#include "store/control/resources.hpp"
#include "store/data/sql_fragments.hpp"
#include "store/data/traces.hpp"
#include "store/pg/timestamps.hpp"

namespace homeostat {

namespace {

constexpr int kBatchesOfDocument = 10;
constexpr std::int64_t kAllOfPipeline = 100'000;

struct Options {
    std::string subject;
    std::vector<std::string> key;
    std::string output = "table";
    std::int64_t limit = 20;
    bool all = false;
    bool list = false;
};

bool is_number(const std::string& text) {
    return !text.empty() && text.size() < 19 && std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0; });
}

bool is_trace_id(const std::string& text) {
    return text.size() == 32 && std::ranges::all_of(text, [](unsigned char c) { return std::isxdigit(c) != 0; });
}

std::int64_t whole_micros(const KeptTrace& t) {
    return std::chrono::duration_cast<std::chrono::microseconds>(t.last - t.first).count();
}

std::string subject_of(const KeptTrace& t) { return t.run_id > 0 ? fmt::format("run {}", t.run_id) : std::string("edits"); }

Error none_kept(const CliContext& context, const std::string& of_what) {
    return not_found(fmt::format(
        "no trace of {} is kept: `homeostat run` writes them down about a second after they happen, of the last {} runs of a "
        "pipeline, in {} bytes at most (trace.keep and trace.bytes)",
        of_what, context.settings().trace_keep, count_text(static_cast<std::int64_t>(context.settings().trace_bytes))));
}

YamlNode milliseconds_node(std::chrono::microseconds length) { return YamlNode::real(static_cast<double>(length.count()) / 1e3); }

YamlNode node_of(const KeptTrace& t) {
    YamlNode node = YamlNode::map();
    node.add("pipeline", YamlNode::text(t.pipeline));
    if (t.run_id > 0) node.add("run", YamlNode::number(t.run_id));
    node.add("traceId", YamlNode::text(t.trace_id));
    node.add("startedAt", YamlNode::text(exact_time(t.first)));
    node.add("durationMs", milliseconds_node(std::chrono::microseconds(whole_micros(t))));
    node.add("spanCount", YamlNode::number(t.spans));
    node.add("spansDropped", YamlNode::number(t.dropped));
    return node;
}

YamlNode node_of(const KeptSpan& s, WallTime begin) {
    YamlNode node = YamlNode::map();
    node.add("name", YamlNode::text(s.name));
    node.add("kind", YamlNode::text(s.kind));
    node.add("spanId", YamlNode::text(s.id));
    if (!s.parent.empty()) node.add("parentSpanId", YamlNode::text(s.parent));
    node.add("startMs", milliseconds_node(std::chrono::duration_cast<std::chrono::microseconds>(s.start - begin)));
    node.add("durationMs", milliseconds_node(s.took));
    node.add("replica", YamlNode::text(s.replica));
    if (!s.error.empty()) node.add("error", YamlNode::text(s.error));
    YamlNode attributes = YamlNode::map();
    for (const auto& [name, value] : s.attributes) attributes.add(name, YamlNode::text(value));
    node.add("attributes", std::move(attributes));
    return node;
}

int print(CliContext& context, OutputForm form, const YamlNode& node) {
    context.streams.out << (form == OutputForm::json ? write_json(node) + '\n' : write_yaml(node));
    return kExitOk;
}

int print_list(CliContext& context, OutputForm form, const std::vector<KeptTrace>& traces) {
    if (form == OutputForm::json || form == OutputForm::yaml) {
        YamlNode items = YamlNode::list();
        for (const KeptTrace& t : traces) items.items.push_back(node_of(t));
        YamlNode node = YamlNode::map();
        node.add("traces", std::move(items));
        return print(context, form, node);
    }
    TextTable table({"TRACE", "OF", "BEGAN", "TOOK", "SPANS"});
    for (const KeptTrace& t : traces) {
        table.add({t.trace_id, subject_of(t), time_text(t.first), span_length(std::chrono::microseconds(whole_micros(t))),
                   count_text(t.spans)});
    }
    table.print(context.streams.out, context.streams.colour);
    return kExitOk;
}

int draw(CliContext& context, Session& session, OutputForm form, const KeptTrace& trace, bool all) {
    const Result<std::vector<KeptSpan>> spans = read_kept_spans(session, trace);
    if (!spans) return context.fail(spans.error());
    if (form == OutputForm::json || form == OutputForm::yaml) {
        YamlNode node = node_of(trace);
        YamlNode list = YamlNode::list();
        for (const KeptSpan& s : *spans) list.items.push_back(node_of(s, trace.first));
        node.add("spans", std::move(list));
        return print(context, form, node);
    }
    std::set<std::string> replicas;
    std::int64_t failed = 0;
    for (const KeptSpan& s : *spans) {
        replicas.insert(s.replica);
        failed += s.error.empty() ? 0 : 1;
    }
    std::ostream& out = context.streams.out;
    const std::string of = trace.run_id > 0 ? fmt::format("Run {}", trace.run_id) : std::string("Edits");
    out << fmt::format("{} of pipeline {}: {}, {}\n", of, printable(trace.pipeline),
                       span_length(std::chrono::microseconds(whole_micros(trace))),
                       counted(static_cast<std::int64_t>(replicas.size()), "replica"));
    out << fmt::format("  began {}, trace {}\n", exact_time(trace.first), trace.trace_id);
    out << fmt::format("  {}, {} failed{}\n\n", counted(trace.spans, "span"), count_text(failed),
                       trace.dropped > 0 ? fmt::format("; {} more were not kept", count_text(trace.dropped)) : "");
    draw_waterfall(out, *spans, all);
    return kExitOk;
}

// The key as the database writes it, and when the row as it is now was committed, where that can be known.
struct Asked {
    Key key;
    std::optional<WallTime> committed;
};

std::optional<WallTime> committed_at(Session& session, const SourceShape& source, const Key& key) {
    const Result<std::optional<WallTime>> at = guarded([&]() -> std::optional<WallTime> {
        Transaction tx = session.begin(TxMode::read_only);
        if (tx.exec(Statement{"", "SELECT pg_catalog.current_setting('track_commit_timestamp')"}).text(0, 0) != "on")
            return std::nullopt;
        use_operators(tx, source);
        Params params;
        for (const std::string& part : key) params.add(part);
        const Rows rows =
            tx.source(source.reader)
                .exec({"", fmt::format("SELECT pg_catalog.pg_xact_commit_timestamp(s.xmin)::text FROM {} s WHERE {} LIMIT 1",
                                       source.relation, match_source(source, "${0}::text::{1}{2}"))},
                      params);
        if (rows.empty()) return std::nullopt;
        const std::optional<std::string> text = rows.maybe(0, 0);
        return text ? std::optional<WallTime>(parse_timestamp(*text)) : std::nullopt;
    });
    return at ? *at : std::nullopt;  // a view has no such column, and other servers may not say
}

Result<Asked> asked_for(Session& session, const PipelineSpec& declared, const std::vector<std::string>& given) {
    return guarded([&]() -> Result<Asked> {
        Result<Key> typed = read_document_key(given, declared.key);
        if (!typed) return typed.error();
        Asked asked;
        std::optional<SourceShape> shape;
        {
            Transaction tx = session.begin(TxMode::read_only);
            Result<SourceShape> source = inspect_source(tx, declared);
            if (!source) return source.error();
            use_operators(tx, *source);
            asked.key = canonical_keys(tx, *source, {*typed}).front();
            shape = *std::move(source);
        }
        asked.committed = committed_at(session, *shape, asked.key);
        return asked;
    });
}

YamlNode node_of(const DocumentBatch& batch, const std::vector<TimelineStep>& steps) {
    YamlNode node = YamlNode::map();
    node.add("traceId", YamlNode::text(batch.trace_id));
    node.add("batch", YamlNode::number(batch.batch_id));
    node.add("revision", YamlNode::number(batch.revision));
    YamlNode list = YamlNode::list();
    for (const TimelineStep& s : steps) {
        YamlNode step = YamlNode::map();
        step.add("step", YamlNode::text(s.name));
        if (s.at) step.add("at", YamlNode::text(exact_time(*s.at)));
        if (s.took) step.add("durationMs", milliseconds_node(*s.took));
        step.add("note", YamlNode::text(s.note));
        list.items.push_back(std::move(step));
    }
    node.add("steps", std::move(list));
    return node;
}

void print_steps(std::ostream& out, const std::vector<TimelineStep>& steps) {
    TextTable table({"STEP", "AT", "AFTER", "TOOK", "NOTE"});
    std::optional<WallTime> before;
    for (const TimelineStep& s : steps) {
        std::string after = "-";
        if (s.at && before) {
            after = *s.at < *before ? "before"
                                    : "+" + span_length(std::chrono::duration_cast<std::chrono::microseconds>(*s.at - *before));
        }
        // The day is in the line above.
        table.add({s.name, s.at ? exact_time(*s.at).substr(11) : "-", after, s.took ? span_length(*s.took) : "-", s.note});
        if (s.at) before = s.at;
    }
    table.print(out, false, "  ");
}

int follow(CliContext& context, Session& session, OutputForm form, const PipelineSpec& declared, const Options& o) {
    if (const Status bounded = check_login(session, context.settings()); !bounded) return context.fail(bounded.error());
    const Result<Asked> asked = asked_for(session, declared, o.key);
    if (!asked) return context.fail(asked.error());
    const auto batches = batches_of_document(session, declared.uid, asked->key, kBatchesOfDocument);
    if (!batches) return context.fail(batches.error());
    const std::string document = fmt::format("document {} of pipeline {}", printable(key_text(asked->key)), declared.name);
    if (batches->empty()) return context.fail(none_kept(context, document));
    YamlNode ways = YamlNode::list();
    for (const DocumentBatch& batch : *batches) {
        const auto spans = read_kept_spans(session, {.uid = declared.uid, .pipeline = {}, .trace_id = batch.trace_id});
        if (!spans) return context.fail(spans.error());
        const std::vector<TimelineStep> steps = timeline_of(*spans, batch, asked->committed);
        if (form == OutputForm::json || form == OutputForm::yaml) {
            ways.items.push_back(node_of(batch, steps));
            continue;
        }
        const auto known = std::ranges::find_if(steps, [](const TimelineStep& s) { return s.at.has_value(); });
        const std::string day = known == steps.end() ? "" : exact_time(*known->at).substr(0, 10) + ", ";
        context.streams.out << fmt::format("The {}, revision {}\n  {}trace {}\n", document, batch.revision, day, batch.trace_id);
        print_steps(context.streams.out, steps);
        if (!o.all) break;
    }
    if (form == OutputForm::json || form == OutputForm::yaml) {
        YamlNode node = YamlNode::map();
        node.add("pipeline", YamlNode::text(declared.name));
        YamlNode key = YamlNode::map();
        for (std::size_t i = 0; i < asked->key.size(); ++i) key.add(declared.key[i], YamlNode::text(asked->key[i]));
        node.add("key", std::move(key));
        node.add("timelines", std::move(ways));
        return print(context, form, node);
    }
    if (!o.all && batches->size() > 1)
        context.streams.err << fmt::format("homeostat: {} before; --all shows them\n",
                                           counted(static_cast<std::int64_t>(batches->size()) - 1, "batch of it is kept from"));
    return kExitOk;
}

// A run, or a trace, by its number; a pipeline by its name.
Result<TraceWanted> wanted_of(Session& session, const Options& o) {
    if (o.key.empty() && is_number(o.subject)) return TraceWanted{.run = std::stoll(o.subject)};
    if (o.key.empty() && is_trace_id(o.subject)) return TraceWanted{.trace = o.subject};
    const Result<PipelineSpec> declared = find_pipeline(session, o.subject);
    if (!declared) return declared.error();
    return TraceWanted{.uid = declared->uid};
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    if (!o.key.empty()) {
        const Result<PipelineSpec> declared = find_pipeline(**session, o.subject);
        if (!declared) return context.fail(declared.error());
        return follow(context, **session, *form, *declared, o);
    }
    const Result<TraceWanted> wanted = wanted_of(**session, o);
    if (!wanted) return context.fail(wanted.error());
    const auto traces = list_kept_traces(**session, *wanted, o.list ? o.limit : kAllOfPipeline);
    if (!traces) return context.fail(traces.error());
    if (traces->empty()) {
        const std::string of = wanted->run     ? fmt::format("run {}", o.subject)
                               : wanted->trace ? fmt::format("the id {}", o.subject)
                                               : fmt::format("pipeline \"{}\"", o.subject);
        return context.fail(none_kept(context, of));
    }
    if (o.list) return print_list(context, *form, *traces);
    // Of a pipeline its last run; edits where no run is kept.
    const auto last = std::ranges::find_if(*traces, [](const KeptTrace& t) { return t.run_id > 0; });
    return draw(context, **session, *form, last == traces->end() ? traces->front() : *last, o.all);
}

}  // namespace

VerbBody configure_trace(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    OptionText subject =
        pipeline_word("A pipeline, of which the last run is drawn; or the number of a run, or a trace's id", true);
    subject.value = "RUN|PIPELINE";
    subject.rewrite = [](std::string& text) -> std::string {
        if (!text.starts_with("run/")) return pipeline_word("").rewrite(text);
        text.erase(0, 4);
        return {};
    };
    command.option(subject, o->subject);
    command.option({.names = "key",
                    .value = "KEY...",
                    .help = "Of the pipeline, the document of this key, whose way is shown: its value, or values in the order of "
                            "the key columns, or COLUMN=VALUE"},
                   o->key);
    command.flag("--list", o->list, "List what is kept instead");
    command.flag("--all", o->all, "Every span, also of many alike; of a document, all batches that are kept");
    command.option({.names = "--limit", .value = "N", .help = "List so many at most", .range = {1, 100'000}}, o->limit);
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    command.footer(
        "Traces are kept in the database (trace.keep), so that no collector is needed. Examples:\n"
        "  homeostat trace articles          the last run, as a waterfall\n"
        "  homeostat trace 12                run 12\n"
        "  homeostat trace articles 4711     how document 4711 was edited, noticed, planned, ... and served\n"
        "Exit codes: 0 shown, 2 nothing of it is kept, or it failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
