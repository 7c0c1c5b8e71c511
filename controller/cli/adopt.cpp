// `adopt`: has vectors taken over that somebody else has made, and shows what became of it.
#include <fmt/core.h>

#include <numeric>

#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/text/waiting.hpp"
#include "controller/cli/verbs.hpp"
#include "store/control/adoptions.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

namespace {

constexpr int kListed = 1'000;

struct Options {
    std::string pipeline;
    std::string from;
    std::string key;
    std::string vector = "embedding";
    std::string chunk;
    std::string text;
    unsigned sample = 32;
    std::string timeout;
    std::string output = "table";
    bool no_wait = false;
};

std::int64_t left_of(const Adoption& a) { return std::accumulate(a.counts.left.begin(), a.counts.left.end(), std::int64_t{0}); }

YamlNode node_of(const Adoption& a) {
    YamlNode node = YamlNode::map();
    node.add("adoption", YamlNode::number(a.id));
    node.add("pipeline", YamlNode::text(a.pipeline));
    node.add("from", YamlNode::text(a.relation));
    node.add("state", YamlNode::text(std::string(to_string(a.state))));
    if (!a.message.empty()) node.add("message", YamlNode::text(a.message));
    if (a.run_id > 0) node.add("run", YamlNode::number(a.run_id));
    node.add("lookedAt", YamlNode::number(a.counts.looked_at));
    node.add("documents", YamlNode::number(a.counts.documents));
    node.add("chunks", YamlNode::number(a.counts.chunks));
    YamlNode left = YamlNode::map();
    for (std::size_t i = 0; i < kLeftBehind; ++i) {
        if (a.counts.left[i] > 0)
            left.add(std::string(to_string(static_cast<LeftBehind>(i))), YamlNode::number(a.counts.left[i]));
    }
    node.add("left", std::move(left));
    node.add("vectors", YamlNode::number(a.vectors));
    node.add("used", YamlNode::number(a.counts.used));
    node.add("compared", YamlNode::number(a.compared));
    node.add("worst", YamlNode::real(a.worst));
    node.add("tokens", YamlNode::number(a.tokens));
    node.add("requestedBy", YamlNode::text(a.requested_by));
    node.add("requestedAt", YamlNode::text(time_text(a.requested_at)));
    if (a.ended_at) node.add("endedAt", YamlNode::text(time_text(*a.ended_at)));
    return node;
}

void print_node(CliContext& context, OutputForm form, const YamlNode& node) {
    context.streams.out << (form == OutputForm::json ? write_json(node) + '\n' : write_yaml(node));
}

bool is_table(OutputForm form) { return form != OutputForm::json && form != OutputForm::yaml; }

void print(CliContext& context, OutputForm form, const Adoption& a, bool suspended) {
    if (!is_table(form)) return print_node(context, form, node_of(a));
    context.streams.out << printable(fmt::format("pipeline/{}: {}", a.pipeline, a.message)) << '\n';
    context.streams.out << fmt::format("Compared: {} (cosine distance at most {:.4f}), for {}. The record is run {}.\n",
                                       counted(a.compared, "text"), a.worst, counted(a.tokens, "token"), a.run_id);
    if (suspended) {
        context.streams.out << fmt::format(
            "It is suspended: homeostat resume {} embeds what is left ({}), and follows the source.\n", a.pipeline,
            counted(left_of(a), "document"));
    }
}

int list(CliContext& context, Session& session, const Options& o, OutputForm form) {
    const auto all = read_adoptions(session, o.pipeline, std::nullopt, kListed);
    if (!all) return context.fail(all.error());
    if (!is_table(form)) {
        YamlNode items = YamlNode::list();
        for (const Adoption& a : *all) items.items.push_back(node_of(a));
        YamlNode node = YamlNode::map();
        node.add("items", std::move(items));
        print_node(context, form, node);
        return kExitOk;
    }
    if (all->empty()) {
        context.streams.err << fmt::format(
            "homeostat: pipeline \"{}\" was never asked to adopt anything; --from names a table that has vectors\n", o.pipeline);
        return kExitOk;
    }
    TextTable table({"ID", "STATE", "FROM", "DOCUMENTS", "CHUNKS", "LEFT", "RUN", "ASKED BY", "AGE", "MESSAGE"});
    const WallTime now = SystemClock().now();
    for (const Adoption& a : *all) {
        table.add({std::to_string(a.id), Cell(to_string(a.state), a.state == AdoptionState::refused ? Tint::bad : Tint::plain),
                   printable(a.relation), std::to_string(a.counts.documents), std::to_string(a.counts.chunks),
                   std::to_string(left_of(a)), a.run_id > 0 ? std::to_string(a.run_id) : "-", printable(a.requested_by),
                   age_text(a.requested_at, now), printable(a.message)});
    }
    table.print(context.streams.out, context.streams.colour);
    return kExitOk;
}

int wait_for(CliContext& context, Session& session, const Options& o, OutputForm form, std::int64_t id,
             std::optional<Millis> timeout) {
    const std::string given_up = fmt::format("it goes on without you: homeostat adopt {} shows how far it is", o.pipeline);
    std::string told;
    return wait_until_answered(context, session, timeout, given_up, [&]() -> std::optional<int> {
        const auto read = read_adoptions(session, o.pipeline, id, 1);
        if (!read) return context.fail(read.error());
        if (read->empty())
            return context.fail(not_found(fmt::format("pipeline \"{}\" is gone, and its adoption with it", o.pipeline)));
        const Adoption& a = read->front();
        if (a.state == AdoptionState::done) {
            const auto pipeline = find_pipeline(session, o.pipeline);
            return print(context, form, a, pipeline && pipeline->suspend), kExitOk;
        }
        if (a.state == AdoptionState::refused) {
            const std::string why = a.counts.documents == 0 ? a.message + "; nothing was adopted" : a.message;
            return context.fail(invalid(why).with_prefix(fmt::format("pipeline \"{}\"", o.pipeline)));
        }
        if (!a.message.empty() && a.message != told)
            context.streams.err << fmt::format("homeostat: {}\n", printable(told = a.message));
        return std::nullopt;
    });
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    const auto timeout = read_duration("--timeout", o.timeout);
    if (!timeout) return context.fail(timeout.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    if (const auto pipeline = find_pipeline(**session, o.pipeline); !pipeline) return context.fail(pipeline.error());
    if (o.from.empty()) return list(context, **session, o, *form);
    AdoptionWish wish{o.pipeline, o.from, o.key, o.vector, {}, {}, o.sample};
    if (!o.chunk.empty()) wish.chunk = o.chunk;
    if (!o.text.empty()) wish.text = o.text;
    const auto id = request_adoption(**session, wish);
    if (!id) return context.fail(id.error());
    if (!o.no_wait) return wait_for(context, **session, o, *form, *id, *timeout);
    context.streams.out << fmt::format("pipeline/{0} will adopt vectors of {1}; homeostat adopt {0} shows how far it is\n",
                                       o.pipeline, printable(o.from));
    return kExitOk;
}

}  // namespace

VerbBody configure_adopt(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(pipeline_word("The pipeline whose vectors they become", true), o->pipeline);
    command.option({.names = "--from",
                    .value = "TABLE",
                    .help = "The table or view that has them; it is only read. Without it, what was asked for so far is listed"},
                   o->from);
    command.option(
        {.names = "--key",
         .value = "COLUMNS",
         .help = "Its columns that name the document, with commas between, in the order of the pipeline's key; those of "
                 "the same names if not said"},
        o->key);
    command.option({.names = "--vector", .value = "COLUMN", .help = "Its column of vectors; embedding if not said"}, o->vector);
    command.option({.names = "--chunk",
                    .value = "COLUMN",
                    .help = "Its column with the number of the chunk, from 0 or 1; without it, a vector is of a whole document"},
                   o->chunk);
    command.option({.names = "--text", .value = "COLUMN", .help = "Its column with the text that the vector was made of"},
                   o->text);
    command.option({.names = "--sample",
                    .value = "N",
                    .help = "Texts that are embedded again and compared first, picked at random; 32 if not said",
                    .range = {1, 1000}},
                   o->sample);
    command.flag("--no-wait", o->no_wait, "Only ask for it");
    command.option({.names = "--timeout", .value = "DURATION", .help = "Stop waiting after this long; it goes on without you"},
                   o->timeout);
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    command.footer(
        "A vector is taken over only for the text that the source has now, as the pipeline's chunker cuts it. What is left is\n"
        "embedded by the next run, and paid for. Nothing is taken over where the sample comes back otherwise.\n"
        "Example: homeostat adopt articles --from articles_old --key article_id --chunk chunk_seq --text chunk\n"
        "Exit codes: 0 adopted, or listed; 1 stopped waiting; 2 refused or failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
