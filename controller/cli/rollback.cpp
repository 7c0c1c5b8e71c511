// `rollback`: takes a pipeline back to a checkpoint, or says what that would do.
#include <fmt/core.h>

#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/text/waiting.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/config/config_yaml.hpp"
#include "reconcilers/gateway/plural.hpp"
#include "store/control/resources.hpp"
#include "store/control/rollbacks.hpp"

namespace homeostat {

namespace {

struct Options {
    std::string pipeline;
    std::string to;
    std::string run;
    std::string reason;
    std::string timeout;
    std::string output = "table";
    bool dry_run = false;
    bool no_wait = false;
};

YamlNode node_of(const Rollback& r) {
    YamlNode node = YamlNode::map();
    node.add("rollback", YamlNode::number(r.id));
    node.add("pipeline", YamlNode::text(r.pipeline));
    node.add("checkpoint", YamlNode::text(r.checkpoint));
    node.add("dryRun", YamlNode::boolean(r.dry_run));
    node.add("state", YamlNode::text(r.state));
    if (!r.message.empty()) node.add("message", YamlNode::text(r.message));
    node.add("restored", YamlNode::number(r.counts.restored));
    node.add("broughtBack", YamlNode::number(r.counts.brought_back));
    node.add("removed", YamlNode::number(r.counts.removed));
    node.add("requestedBy", YamlNode::text(r.requested_by));
    node.add("requestedAt", YamlNode::text(time_text(r.requested_at)));
    if (r.ended_at) node.add("endedAt", YamlNode::text(time_text(*r.ended_at)));
    return node;
}

void print(CliContext& context, OutputForm form, const Rollback& r) {
    std::ostream& out = context.streams.out;
    if (form == OutputForm::json) {
        out << write_json(node_of(r)) << '\n';
    } else if (form == OutputForm::yaml) {
        out << write_yaml(node_of(r));
    } else if (!r.message.empty()) {
        out << printable(fmt::format("pipeline/{}: checkpoint \"{}\": {}", r.pipeline, r.checkpoint, r.message)) << '\n';
    } else {
        out << printable(
                   fmt::format("pipeline/{} {} to checkpoint \"{}\": {} {} as they were then ({} of them removed since), {} that "
                               "came since {}",
                               r.pipeline, r.dry_run ? "would be rolled back" : "is rolled back", r.checkpoint,
                               plural(r.counts.restored, "document"), r.dry_run ? "would be" : "are", r.counts.brought_back,
                               r.counts.removed, r.dry_run ? "would be gone" : "gone"))
            << '\n';
        if (!r.dry_run) {
            out << fmt::format(
                "It is pinned there: nothing is healed over it until homeostat resume {}, after which it follows its source "
                "again.\n",
                r.pipeline);
        }
    }
}

int wait_for(CliContext& context, Session& session, const Options& o, OutputForm form, std::int64_t id,
             std::optional<Millis> timeout) {
    const std::string given_up =
        fmt::format("the rollback goes on without you: homeostat describe {} shows how it stands", o.pipeline);
    return wait_until_answered(context, session, timeout, given_up, [&]() -> std::optional<int> {
        const Result<std::optional<Rollback>> read = read_rollback(session, id);
        if (!read) return context.fail(read.error());
        if (!*read) return context.fail(not_found(fmt::format("pipeline \"{}\" is gone, and its rollback with it", o.pipeline)));
        const Rollback& r = **read;
        if (r.state == "done") return print(context, form, r), kExitOk;
        if (r.state != "refused") return std::nullopt;
        return context.fail(invalid(fmt::format("pipeline \"{}\": it is not rolled back: {}", o.pipeline, r.message)));
    });
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    const auto timeout = read_duration("--timeout", o.timeout);
    if (!timeout) return context.fail(timeout.error());
    RollbackWish wish{.pipeline = o.pipeline, .checkpoint = {}, .run = {}, .dry_run = o.dry_run, .reason = o.reason};
    if (!o.to.empty()) wish.checkpoint = o.to;
    if (!o.run.empty()) {
        if (o.run.size() > 18 || o.run.find_first_not_of("0123456789") != std::string::npos)
            return context.fail(
                invalid(fmt::format("--run {} is not the number of a run; homeostat get runs lists them", o.run)));
        wish.run = std::stoll(o.run);
    }
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const auto pipeline = find_pipeline(**session, o.pipeline);
    if (!pipeline) return context.fail(pipeline.error());
    const Result<std::int64_t> id = request_rollback(**session, wish);
    if (!id) return context.fail(id.error());
    if (!o.no_wait) return wait_for(context, **session, o, *form, *id, *timeout);
    context.streams.out << fmt::format(
        "pipeline/{} is pinned, and will be rolled back; homeostat describe {} shows how it stands\n", o.pipeline, o.pipeline);
    return kExitOk;
}

}  // namespace

VerbBody configure_rollback(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(pipeline_word("The pipeline", true), o->pipeline);
    command.option({.names = "--to", .value = "CHECKPOINT", .help = "As homeostat checkpoint PIPELINE lists them"}, o->to);
    command.option({.names = "--run",
                    .value = "RUN",
                    .help = "To what was before this run; without it and --to, before the last run that changed anything"},
                   o->run);
    command.flag("--dry-run", o->dry_run, "Say what would be done, and do nothing");
    command.option({.names = "--reason", .value = "TEXT", .help = "Why, for the next operator"}, o->reason);
    command.flag("--no-wait", o->no_wait, "Only ask for it");
    command.option({.names = "--timeout", .value = "DURATION", .help = "Stop waiting after this long; it goes on without you"},
                   o->timeout);
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    command.footer(
        "All that was written since goes, also what the change feed has healed. The pipeline is pinned from the moment it is "
        "asked\n"
        "for, and search shows what is older than the source, on purpose, until homeostat resume.\n"
        "Example: homeostat rollback articles --to before-the-import --reason 'the import was wrong'\n"
        "Exit codes: 0 rolled back, or there already; 1 stopped waiting; 2 refused or failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
