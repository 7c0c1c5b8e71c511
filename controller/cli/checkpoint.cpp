// `checkpoint`: names a point that a pipeline can be rolled back to, lists and drops them.
#include <fmt/core.h>

#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/listing_print.hpp"
#include "controller/cli/text/waiting.hpp"
#include "controller/cli/verbs.hpp"
#include "store/control/resources.hpp"
#include "store/control/rollbacks.hpp"

namespace homeostat {

namespace {

struct Options {
    std::string pipeline;
    std::string name;
    std::string timeout = "1m";
    std::string output = "table";
    bool drop = false;
    bool no_wait = false;
};

int list(CliContext& context, Session& session, const Options& o) {
    const Result<GetForm> form = read_get_form(o.output);
    if (!form) return context.fail(form.error());
    Result<Listing> listing = list_observed(session, ListingKind::checkpoint,
                                            {.names = {o.pipeline}, .cells = form->is_table(), .nodes = form->wants_nodes()});
    if (!listing) return context.fail(listing.error());
    const Status printed = print_listings(context.streams, {*std::move(listing)}, *form, {});
    return printed ? kExitOk : context.fail(printed.error());
}

int drop(CliContext& context, Session& session, const Options& o) {
    if (o.name.empty()) return context.fail(invalid("say which checkpoint is to be dropped, by its name"));
    const Result<bool> dropped = drop_checkpoint(session, o.pipeline, o.name);
    if (!dropped) return context.fail(dropped.error());
    if (!*dropped) {
        return context.fail(
            not_found(fmt::format("pipeline \"{0}\": it has no checkpoint \"{1}\", or none that this role may drop; "
                                  "homeostat checkpoint {0} lists them",
                                  o.pipeline, o.name)));
    }
    context.streams.out << fmt::format("checkpoint {} of pipeline/{} dropped\n", o.name, o.pipeline);
    return kExitOk;
}

int wait_for(CliContext& context, Session& session, const Options& o, std::int64_t id, std::optional<Millis> timeout) {
    const std::string given_up =
        fmt::format("the checkpoint is not taken yet, and will be without you: homeostat checkpoint {} shows it", o.pipeline);
    return wait_until_answered(context, session, timeout, given_up, [&]() -> std::optional<int> {
        const Result<bool> taken = checkpoint_is_taken(session, id);
        if (!taken) return context.fail(taken.error());
        if (!*taken) return std::nullopt;
        context.streams.out << fmt::format(
            "checkpoint {0} of pipeline/{1} taken; homeostat rollback {1} --to {0} goes back to it\n", o.name, o.pipeline);
        return kExitOk;
    });
}

int run(CliContext& context, const Options& o) {
    const auto timeout = read_duration("--timeout", o.timeout);
    if (!timeout) return context.fail(timeout.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const auto pipeline = find_pipeline(**session, o.pipeline);
    if (!pipeline) return context.fail(pipeline.error());
    if (o.drop) return drop(context, **session, o);
    if (o.name.empty()) return list(context, **session, o);
    const Result<std::int64_t> id = request_checkpoint(**session, o.pipeline, o.name);
    if (!id) return context.fail(id.error());
    if (!o.no_wait) return wait_for(context, **session, o, *id, *timeout);
    context.streams.out << fmt::format("checkpoint {} of pipeline/{} will be taken\n", o.name, o.pipeline);
    return kExitOk;
}

}  // namespace

VerbBody configure_checkpoint(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(pipeline_word("The pipeline", true), o->pipeline);
    command.option({.names = "name", .value = "NAME", .help = "What it is called; without it, those that are there are listed"},
                   o->name);
    command.flag("--drop", o->drop, "Forget the one of that name; its journal stays as long as another needs it");
    command.flag("--no-wait", o->no_wait, "Only ask for it");
    command.option({.names = "--timeout", .value = "DURATION", .help = "Stop waiting after this long, 1m if not said"},
                   o->timeout);
    command.option(
        {.names = "-o,--output", .value = "FORM", .help = "Of the list: table, wide, json, yaml and the others of get"},
        o->output);
    command.footer(
        "Each run has a checkpoint of its own, run-NUMBER. One with a name stays when those go, until journal.bytes or\n"
        "history.weeks end what it needs.\n"
        "Example: homeostat checkpoint articles before-the-import\n"
        "Exit codes: 0 taken, listed or dropped; 1 stopped waiting; 2 refused or failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
