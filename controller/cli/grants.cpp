// `grants`: what a pipeline needs of the roles around it, as SQL for whoever may grant it.
#include <fmt/core.h>

#include <algorithm>

#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"
#include "store/control/resources.hpp"
#include "store/data/lineage.hpp"
#include "store/data/source_facts.hpp"
#include "store/inspect/pipeline_grants.hpp"

namespace homeostat {

namespace {

struct Options {
    std::string pipeline;
    std::string searcher;
    bool missing = false;
};

Result<std::vector<PipelineGrant>> wanted(Session& session, const Options& o) {
    Result<PipelineSpec> spec = find_pipeline(session, o.pipeline);
    if (!spec) return spec.error();
    return guarded([&]() -> Result<std::vector<PipelineGrant>> {
        Transaction tx = session.begin(TxMode::read_only);
        Result<UsedColumns> used = read_used_columns(tx, *spec);
        if (!used) return used.error();
        std::vector<std::string> tables;
        for (const CaptureBase& base : spec->capture_from) tables.push_back(base.table);
        if (tables.empty()) tables.push_back(spec->source);  // of a view nothing is captured that is not named
        return pipeline_grants(tx, *spec, *used, tables,
                               o.searcher.empty() ? std::nullopt : std::optional<std::string>(o.searcher));
    });
}

int run(CliContext& context, const Options& o) {
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const auto grants = wanted(**session, o);
    if (!grants) return context.fail(grants.error());
    std::ostream& out = context.streams.out;
    const auto missing = std::count_if(grants->begin(), grants->end(), [](const PipelineGrant& g) { return !g.there; });
    out << fmt::format("-- What pipeline \"{}\" needs: {}, of which {} not there.\n", o.pipeline,
                       counted(static_cast<std::int64_t>(grants->size()), "grant"),
                       missing == 1 ? "1 is" : fmt::format("{} are", missing));
    std::string before;
    for (const PipelineGrant& g : *grants) {
        if (o.missing && g.there) continue;
        const std::string head = fmt::format("-- {} {}.\n", g.role, g.why);
        if (head != before) out << head;
        before = head;
        out << fmt::format("{}{};\n", g.there ? "-- granted: " : "", g.sql);
    }
    return missing == 0 ? kExitOk : kExitDifferences;
}

}  // namespace

VerbBody configure_grants(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(pipeline_word("The pipeline", true), o->pipeline);
    command.option({.names = "--to", .value = "ROLE", .help = "With what this role needs to search the served view"},
                   o->searcher);
    command.flag("--missing", o->missing, "Only what is not granted yet");
    command.footer(
        "Example: homeostat grants articles --to app --missing | psql\n"
        "Where another login reads sources (database.reader_url), doctor says what that one lacks.\n"
        "Exit codes: 0 all is granted, 1 something is not, 2 refused or failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
