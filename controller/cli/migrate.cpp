#include <fmt/core.h>

#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"
#include "store/control/migrator.hpp"

namespace homeostat {

namespace {

int report(CliContext& context, Session& session, Result<int> moved, std::string_view done) {
    if (!moved) return context.fail(moved.error());
    const auto version = schema_version(session);
    if (!version) return context.fail(version.error());
    context.streams.out << fmt::format("{} migration{} {}; the schema is at {}\n", *moved, *moved == 1 ? "" : "s", done,
                                       *version);
    return kExitOk;
}

int print_status(CliContext& context, Session& session) {
    const auto states = migration_status(session);
    if (!states) return context.fail(states.error());
    TextTable table({"NUMBER", "NAME", "APPLIED"});
    for (const MigrationState& m : *states) {
        const Cell applied = m.applied_at ? Cell(*m.applied_at) : Cell("no", Tint::warning);
        table.add({fmt::format("{:04}", m.number), m.known ? Cell(m.name) : Cell(m.name + " (of a newer program)", Tint::warning),
                   applied});
    }
    table.print(context.streams.out, context.streams.colour);
    return kExitOk;
}

struct Options {
    int to = -1;
    bool yes = false;
    Command up;
    Command down;
    Command roles;
};

int make_roles_again(CliContext& context, Session& session) {
    const auto version = schema_version(session);
    if (!version) return context.fail(version.error());
    if (*version != newest_migration())
        return context.fail(invalid(fmt::format("the schema is at {}; run `homeostat migrate up` first", *version)));
    if (const Status made = make_roles(session); !made) return context.fail(made.error());
    context.streams.out << "the roles homeostat_owner, homeostat_controller, homeostat_declarer and homeostat_admin are there, "
                           "with their rights\n";
    return kExitOk;
}

int run(CliContext& context, const Options& o) {
    auto session = context.session();
    if (!session) return context.fail(session.error());
    if (o.up.given()) {
        return report(context, **session, migrate_up(**session, o.to < 0 ? std::nullopt : std::optional<int>(o.to)), "applied");
    }
    if (o.roles.given()) return make_roles_again(context, **session);
    if (!o.down.given()) return print_status(context, **session);
    if (!o.yes) {
        return context.fail(
            invalid("going down drops tables with what is declared and what is embedded; say --yes where that is meant"));
    }
    return report(context, **session, migrate_down(**session, o.to), "taken back");
}

}  // namespace

VerbBody configure_migrate(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    o->up = command.subcommand("up", "Apply what is missing; safe to run at any time, by any number of processes.");
    o->up.option({.names = "--to", .value = "", .help = "Stop at this migration; default: the newest"}, o->to);
    o->down = command.subcommand("down", "Take migrations back, with the data in their tables.");
    o->down.option({.names = "--to", .value = "", .help = "Stop at this migration; 0 removes everything", .required = true},
                   o->to);
    o->down.flag("--yes", o->yes, "Yes, drop the data");
    command.subcommand("status", "List all migrations and when they were applied.");
    o->roles = command.subcommand("roles", "Make the group roles where they are not there, and grant them their rights again.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
