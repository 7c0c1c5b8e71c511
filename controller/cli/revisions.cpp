// `revisions`: what revisions a pipeline has; serves a kept one again, stops the one that is being filled, drops one.
#include <fmt/core.h>

#include <algorithm>

#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/text/revision_text.hpp"
#include "controller/cli/text/waiting.hpp"
#include "controller/cli/verbs.hpp"
#include "store/control/resources.hpp"
#include "store/control/revision_lines.hpp"
#include "store/control/statuses.hpp"

namespace homeostat {

namespace {

struct Options {
    std::string pipeline;
    std::string action;
    std::int64_t number = 0;
    std::string reason;
    std::string timeout = "1m";
    std::string output = "table";
    bool no_wait = false;
};

std::string size_text(std::int64_t bytes) {
    if (bytes < 10 << 10) return fmt::format("{} B", bytes);
    if (bytes < 10 << 20) return fmt::format("{} kB", bytes >> 10);
    if (bytes < std::int64_t{10} << 30) return fmt::format("{} MB", bytes >> 20);
    return fmt::format("{} GB", bytes >> 30);
}

std::string chunker_text(const RevisionSettings& s) {
    return s.chunk_size > 0 ? fmt::format("{} {}", s.chunker, s.chunk_size) : s.chunker;
}

YamlNode node_of(const RevisionLine& r) {
    const auto number = [](const std::optional<std::int64_t>& n) { return n ? YamlNode::number(*n) : YamlNode{}; };
    YamlNode node = YamlNode::map();
    node.add("revision", YamlNode::number(r.number));
    node.add("state", YamlNode::text(std::string(to_string(r.standing))));
    if (r.pinned) node.add("pinned", YamlNode::boolean(true));
    if (r.dropping) node.add("dropping", YamlNode::boolean(true));
    node.add("provider", YamlNode::text(r.settings.provider));
    node.add("model", YamlNode::text(r.settings.model));
    node.add("dimensions", YamlNode::number(r.settings.dimensions));
    node.add("vectorType", YamlNode::text(r.settings.vector_type == VectorType::vector ? "vector" : "halfvec"));
    node.add("chunker", YamlNode::text(r.settings.chunker));
    node.add("chunkSize", YamlNode::number(r.settings.chunk_size));
    node.add("documents", number(r.documents));
    node.add("chunks", number(r.chunks));
    node.add("bytes", YamlNode::number(r.bytes));
    if (r.created) node.add("createdAt", YamlNode::text(time_text(*r.created)));
    if (r.served) node.add("servedAt", YamlNode::text(time_text(*r.served)));
    if (r.retired) node.add("retiredAt", YamlNode::text(time_text(*r.retired)));
    node.add("why", YamlNode::text(r.why));
    if (r.fill) node.add("fill", fill_node(*r.fill));
    return node;
}

int list(CliContext& context, Session& session, const PipelineSpec& pipeline, OutputForm form) {
    const auto lines = list_revision_lines(session, pipeline.uid);
    if (!lines) return context.fail(lines.error());
    const auto pin = read_revision_pin(session, pipeline.uid);
    if (!pin) return context.fail(pin.error());
    std::ostream& out = context.streams.out;
    if (form == OutputForm::json || form == OutputForm::yaml) {
        YamlNode items = YamlNode::list();
        for (const RevisionLine& r : *lines) items.items.push_back(node_of(r));
        YamlNode node = YamlNode::map();
        node.add("items", std::move(items));
        out << (form == OutputForm::json ? write_json(node) + '\n' : write_yaml(node));
        return kExitOk;
    }
    if (lines->empty()) {
        context.streams.err << fmt::format("homeostat: pipeline \"{}\" has no revision yet; the first pass makes it\n",
                                           pipeline.name);
        return kExitOk;
    }
    TextTable table(
        {"REVISION", "STATE", "PROVIDER", "MODEL", "DIMENSIONS", "CHUNKER", "DOCUMENTS", "CHUNKS", "SIZE", "AGE", "WHY"});
    const WallTime now = SystemClock().now();
    for (const RevisionLine& r : *lines) {
        const std::string state =
            fmt::format("{}{}{}", to_string(r.standing), r.pinned ? ", pinned" : "", r.dropping ? ", dropping" : "");
        const auto count = [](const std::optional<std::int64_t>& n) { return n ? count_text(*n) : std::string("-"); };
        table.add({std::to_string(r.number), Cell(state, r.standing == RevisionStanding::serving ? Tint::good : Tint::plain),
                   printable(r.settings.provider), printable(r.settings.model), std::to_string(r.settings.dimensions),
                   printable(chunker_text(r.settings)), count(r.documents), count(r.chunks), size_text(r.bytes),
                   r.created ? age_text(*r.created, now) : "-", printable(r.why)});
    }
    table.print(out, context.streams.colour);
    for (const RevisionLine& r : *lines) {
        if (r.fill) out << fmt::format("Revision {}: {}\n", r.number, progress_text(*r.fill));
    }
    if (*pin) out << printable(pin_text(**pin, now)) << '\n';
    return kExitOk;
}

const RevisionLine* find(const std::vector<RevisionLine>& lines, auto matches) {
    const auto it = std::ranges::find_if(lines, matches);
    return it == lines.end() ? nullptr : &*it;
}
const RevisionLine* with_number(const std::vector<RevisionLine>& lines, std::int64_t number) {
    return find(lines, [&](const RevisionLine& r) { return r.number == number; });
}
const RevisionLine* standing(const std::vector<RevisionLine>& lines, RevisionStanding s) {
    return find(lines, [&](const RevisionLine& r) { return r.standing == s; });
}

// Until the controller has done it; `done` looks at the revisions as they are by then.
int wait_until(CliContext& context, Session& session, const PipelineSpec& pipeline, const Options& o, const std::string& sentence,
               bool (*done)(const std::vector<RevisionLine>&, std::int64_t)) {
    const auto timeout = read_duration("--timeout", o.timeout);
    if (!timeout) return context.fail(timeout.error());
    if (o.no_wait) {
        context.streams.out << fmt::format("asked for; homeostat revisions {} shows what became of it\n", pipeline.name);
        return kExitOk;
    }
    const std::string given_up =
        fmt::format("it goes on without you: homeostat revisions {} shows what became of it", pipeline.name);
    std::string told;
    return wait_until_answered(context, session, *timeout, given_up, [&]() -> std::optional<int> {
        const auto lines = list_revision_lines(session, pipeline.uid);
        if (!lines) return context.fail(lines.error());
        if (done(*lines, o.number)) {
            context.streams.out << sentence << '\n';
            return kExitOk;
        }
        const auto status = read_status(session, pipeline.uid);
        if (!status) return std::nullopt;
        for (const Condition& c : status->conditions) {
            if (c.reason != "WaitingForLock" || c.status != "True" || c.message == told) continue;
            context.streams.err << fmt::format("homeostat: {}\n", printable(told = c.message));
        }
        return std::nullopt;
    });
}

bool is_served_alone(const std::vector<RevisionLine>& lines, std::int64_t number) {
    const RevisionLine* line = with_number(lines, number);
    return line != nullptr && line->standing == RevisionStanding::serving &&
           standing(lines, RevisionStanding::filling) == nullptr;
}

int activate(CliContext& context, Session& session, const PipelineSpec& pipeline, const std::vector<RevisionLine>& lines,
             const Options& o) {
    const RevisionLine* filling = standing(lines, RevisionStanding::filling);
    const RevisionLine* line = with_number(lines, o.number);
    if (line != nullptr && line->pinned)
        return context.fail(
            invalid(fmt::format("pipeline \"{}\": revision {} is pinned already; homeostat resume {} takes that back",
                                pipeline.name, o.number, pipeline.name)));
    if (line != nullptr && line->standing == RevisionStanding::serving)
        return context.fail(invalid(
            filling == nullptr
                ? fmt::format("pipeline \"{}\": revision {} is the one that is served", pipeline.name, o.number)
                : fmt::format(
                      "pipeline \"{}\": revision {} is the one that is served; homeostat revisions {} abort stops the fill of {}",
                      pipeline.name, o.number, pipeline.name, filling->number)));
    const auto reason = o.reason.empty() ? std::nullopt : std::optional<std::string>(o.reason);
    if (auto asked = pin_revision(session, pipeline.uid, static_cast<std::int32_t>(o.number), reason); !asked)
        return context.fail(asked.error());
    return wait_until(
        context, session, pipeline, o,
        fmt::format("revision {} is served again and pinned; what changed since it was kept is healed in it. homeostat "
                    "resume {} goes on to what is declared",
                    o.number, pipeline.name),
        is_served_alone);
}

int abort_fill(CliContext& context, Session& session, const PipelineSpec& pipeline, const std::vector<RevisionLine>& lines,
               Options o) {
    const RevisionLine* filling = standing(lines, RevisionStanding::filling);
    const RevisionLine* served = standing(lines, RevisionStanding::serving);
    if (filling == nullptr || served == nullptr)
        return context.fail(
            invalid(fmt::format("pipeline \"{}\": no revision is being filled beside the one that is served", pipeline.name)));
    if (o.number != 0 && o.number != filling->number)
        return context.fail(invalid(fmt::format("pipeline \"{}\": revision {} is not the one that is being filled; that is {}",
                                                pipeline.name, o.number, filling->number)));
    const std::string reason = o.reason.empty() ? fmt::format("the fill of revision {} was stopped", filling->number) : o.reason;
    if (auto asked = pin_revision(session, pipeline.uid, served->number, reason); !asked) return context.fail(asked.error());
    o.number = served->number;
    return wait_until(
        context, session, pipeline, o,
        fmt::format("the fill of revision {} is stopped; revision {} is served on, and pinned. homeostat resume {} fills "
                    "what is declared",
                    filling->number, served->number, pipeline.name),
        is_served_alone);
}

int drop(CliContext& context, Session& session, const PipelineSpec& pipeline, const Options& o) {
    if (auto asked = ask_to_drop_revision(session, pipeline.uid, static_cast<std::int32_t>(o.number)); !asked)
        return context.fail(asked.error());
    return wait_until(
        context, session, pipeline, o, fmt::format("revision {} is dropped", o.number),
        [](const std::vector<RevisionLine>& lines, std::int64_t number) { return with_number(lines, number) == nullptr; });
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    if (!o.action.empty() && o.action != "abort" && o.number == 0)
        return context.fail(invalid(fmt::format("say which revision: homeostat revisions {} {} N", o.pipeline, o.action)));
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const auto pipeline = find_pipeline(**session, o.pipeline);
    if (!pipeline) return context.fail(pipeline.error());
    if (o.action.empty()) return list(context, **session, *pipeline, *form);
    const auto lines = list_revision_lines(**session, pipeline->uid);
    if (!lines) return context.fail(lines.error());
    if (o.action == "activate") return activate(context, **session, *pipeline, *lines, o);
    if (o.action == "abort") return abort_fill(context, **session, *pipeline, *lines, o);
    return drop(context, **session, *pipeline, o);
}

}  // namespace

VerbBody configure_revisions(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(pipeline_word("The pipeline", true), o->pipeline);
    command.option(
        {.names = "action",
         .value = "ACTION",
         .help = "activate: serve a kept revision again, and stay there; abort: stop the one that is being filled; drop: "
                 "take one away; without it, they are listed",
         .one_of = {"activate", "abort", "drop"}},
        o->action);
    command.option({.names = "revision", .value = "N", .help = "The revision's number", .range = {1, 1'000'000'000}}, o->number);
    command.option({.names = "--reason", .value = "TEXT", .help = "Why, for the next operator"}, o->reason);
    command.flag("--no-wait", o->no_wait, "Only ask for it");
    command.option({.names = "--timeout", .value = "DURATION", .help = "Stop waiting after this long, 1m if not said"},
                   o->timeout);
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    command.footer(
        "A revision that is served by hand is pinned, whatever is declared, until homeostat resume.\n"
        "Example: homeostat revisions articles activate 1 --reason \"worse answers\"\n"
        "Exit codes: 0 done, or listed; 1 stopped waiting; 2 refused or failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
