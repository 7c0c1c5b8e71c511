// `dead-letters`: the documents that were refused, and another try for them.
#include "store/control/dead_letters.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/config/config_yaml.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

namespace {

struct Options {
    std::string pipeline;
    std::vector<std::string> key;
    std::string cls;
    std::string output = "table";
    std::int64_t limit = 1'000;
    bool all = false;
    Command retry;
};

Status known_class(const std::string& name) {
    std::vector<std::string_view> known;
    for (int c = 0; c <= static_cast<int>(ErrorClass::internal); ++c) known.push_back(to_string(static_cast<ErrorClass>(c)));
    if (std::find(known.begin(), known.end(), name) != known.end()) return {};
    return invalid(fmt::format("\"{}\" is no class of error{}", name, did_you_mean(name, known)));
}

// What was asked for, where such a pipeline and class exist: a slip must not look like "nothing there".
Result<DeadLetterFilter> filter_of(Session& session, const Options& o) {
    DeadLetterFilter filter;
    if (!o.pipeline.empty()) {
        const auto found = find_pipeline(session, o.pipeline);
        if (!found) return found.error();
        filter.pipeline = o.pipeline;
    }
    if (!o.cls.empty()) {
        if (const Status good = known_class(o.cls); !good) return good.error();
        filter.cls = o.cls;
    }
    if (!o.key.empty()) filter.key = o.key;
    return filter;
}

void print_table(CliContext& context, const DeadLetterList& list) {
    if (list.lines.empty()) {
        context.streams.err << "homeostat: no dead letters\n";
        return;
    }
    TextTable table({"PIPELINE", "KEY", "CLASS", "STRATEGY", "ATTEMPTS", "AGE", "TRACE", "MESSAGE"});
    const WallTime now = SystemClock().now();
    for (const auto& [pipeline, l, since] : list.lines) {
        table.add({pipeline, printable(key_text(l.key)), Cell(l.cls, Tint::bad), l.strategy, std::to_string(l.attempts),
                   age_text(since, now), l.trace_id.empty() ? "-" : l.trace_id, printable(l.message)});
    }
    table.print(context.streams.out, context.streams.colour);
}

YamlNode node_of(const DeadLetterList& list) {
    YamlNode items = YamlNode::list();
    for (const auto& [pipeline, l, since] : list.lines) {
        YamlNode key = YamlNode::list();
        for (const std::string& column : l.key) key.items.push_back(YamlNode::text(column));
        YamlNode item = YamlNode::map();
        item.add("pipeline", YamlNode::text(pipeline));
        item.add("key", std::move(key));
        item.add("class", YamlNode::text(l.cls));
        item.add("strategy", YamlNode::text(l.strategy));
        item.add("attempts", YamlNode::number(l.attempts));
        item.add("since", YamlNode::text(time_text(since)));
        item.add("traceId", YamlNode::text(l.trace_id));
        item.add("message", YamlNode::text(l.message));
        items.items.push_back(std::move(item));
    }
    YamlNode node = YamlNode::map();
    node.add("total", YamlNode::number(list.total));
    node.add("deadLetters", std::move(items));
    return node;
}

int list(CliContext& context, Session& session, const DeadLetterFilter& filter, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    const auto letters = list_dead_letters(session, filter, o.limit);
    if (!letters) return context.fail(letters.error());
    switch (*form) {
        case OutputForm::table:
        case OutputForm::wide: print_table(context, *letters); break;
        case OutputForm::json: context.streams.out << write_json(node_of(*letters)) << '\n'; break;
        case OutputForm::yaml: context.streams.out << write_yaml(node_of(*letters)); break;
    }
    const auto left = letters->total - static_cast<std::int64_t>(letters->lines.size());
    if (left > 0) context.streams.err << fmt::format("homeostat: {} more; --limit shows them\n", left);
    return kExitOk;
}

int retry(CliContext& context, Session& session, const DeadLetterFilter& filter) {
    const auto gone = retry_dead_letters(session, filter);
    if (!gone) return context.fail(gone.error());
    for (const auto& [pipeline, n] : *gone) {
        context.streams.out << fmt::format("pipeline/{}: {} will be tried again\n", pipeline, counted(n, "document"));
    }
    if (gone->empty()) context.streams.out << "no dead letters to try again\n";
    return kExitOk;
}

int run(CliContext& context, const Options& o) {
    if (o.retry.given() && o.all && !o.pipeline.empty())
        return context.fail(
            invalid(fmt::format("--all is every pipeline's, and \"{}\" is one: give the one or the other", o.pipeline)));
    if (o.retry.given() && o.pipeline.empty() && o.key.empty() && o.cls.empty() && !o.all) {
        return context.fail(invalid("say which to try again: a pipeline, --key, --class, or --all for every pipeline's"));
    }
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const auto filter = filter_of(**session, o);
    if (!filter) return context.fail(filter.error());
    return o.retry.given() ? retry(context, **session, *filter) : list(context, **session, *filter, o);
}

}  // namespace

VerbBody configure_dead_letters(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    Command listing = command.subcommand("list", "List the documents that were refused, with the reason.");
    listing.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    listing.option({.names = "--limit", .value = "N", .help = "At most so many", .range = {0, 1'000'000}}, o->limit);
    o->retry = command.subcommand("retry", "Have refused documents embedded again, as if they were new.");
    o->retry.option({.names = "--key", .value = "KEY...", .help = "Only the document of this key, each column as it is listed"},
                    o->key);
    o->retry.option({.names = "--class", .value = "CLASS", .help = "Only those refused for this class of error"}, o->cls);
    o->retry.flag("--all", o->all, "Those of every pipeline");
    for (Command sub : {listing, o->retry}) {
        sub.option(pipeline_word("Only those of this pipeline"), o->pipeline);
    }
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
