// `homeostat validate`: what can be said of a pipeline's source before it is swept. Writes nothing: what a manifest declares is
// applied in a transaction that is taken back.
#include <fmt/core.h>

#include <algorithm>

#include "controller/cli/manifest/manifest.hpp"
#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/text/validate_print.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/config/chunkers.hpp"
#include "controller/login.hpp"
#include "reconcilers/inspect/validation.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

namespace {

struct Options {
    std::string name;
    std::vector<std::string> files;
    std::string output = "table";
};

using Reports = std::vector<SourceReport>;

Result<Reports> validate_all(Transaction& tx, const std::vector<PipelineSpec>& pipelines, const Settings& settings) {
    Reports reports;
    ValidateSettings validate;
    validate.slice = settings.sweep_slice;
    validate.chunkers = registered_chunkers(settings);
    for (const PipelineSpec& p : pipelines) {
        auto report = validate_source(tx, p, validate);
        if (!report) return report.error();
        reports.push_back(*std::move(report));
    }
    return reports;
}

Result<Reports> validate_declared(Session& session, const std::string& name, const Settings& settings) {
    std::vector<PipelineSpec> pipelines;
    if (name.empty()) {
        auto all = list_pipelines(session);
        if (!all) return all.error();
        pipelines = *std::move(all);
        std::erase_if(pipelines, [](const PipelineSpec& p) { return p.deleting; });
    } else {
        auto one = find_pipeline(session, name);
        if (!one) return one.error();
        pipelines.push_back(*std::move(one));
    }
    return guarded([&]() -> Result<Reports> {
        Transaction tx = session.begin(TxMode::read_only);
        return validate_all(tx, pipelines, settings);
    });
}

Result<Reports> validate_manifests(Session& session, const std::vector<Manifest>& manifests, const Settings& settings) {
    return guarded([&]() -> Result<Reports> {
        Transaction tx = session.begin();
        std::vector<PipelineSpec> pipelines;
        for (const Manifest& m : manifests) {
            const auto outcome = apply_object(tx, m.object);
            if (!outcome) return outcome.error().with_prefix(m.origin);
            if (m.object.kind != ResourceKind::pipeline) continue;
            auto spec = find_pipeline(tx, m.object.name);
            if (!spec) return spec.error();
            pipelines.push_back(*std::move(spec));
        }
        return validate_all(tx, pipelines, settings);
    });
}

Result<Reports> reports_of(CliContext& context, const Options& o) {
    if (!o.name.empty() && !o.files.empty()) return invalid("name a pipeline, or give manifests with -f, not both");
    std::vector<Manifest> manifests;
    if (!o.files.empty()) {
        auto read = read_manifests(o.files, context.streams.in);
        if (!read) return read.error();
        manifests = *std::move(read);
    }
    auto session = context.session();
    if (!session) return session.error();
    if (const Status bounded = check_login(**session, context.settings()); !bounded) return bounded.error();
    return o.files.empty() ? validate_declared(**session, o.name, context.settings())
                           : validate_manifests(**session, manifests, context.settings());
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    const Result<Reports> reports = reports_of(context, o);
    if (!reports) return context.fail(reports.error());
    if (reports->empty()) context.streams.err << "homeostat: there is no pipeline to validate\n";
    int code = kExitOk;
    YamlNode nodes = YamlNode::list();
    const bool table = *form == OutputForm::table || *form == OutputForm::wide;
    for (const SourceReport& r : *reports) {
        if (r.count(Severity::warning) > 0) code = std::max(code, kExitDifferences);
        if (r.count(Severity::error) > 0) code = kExitFailed;
        if (table) {
            print_report(context.streams.out, context.streams.colour, r);
        } else {
            nodes.items.push_back(report_node(r));
        }
    }
    if (table) return code;
    const YamlNode& whole = o.name.empty() ? nodes : nodes.items.front();
    context.streams.out << (*form == OutputForm::json ? write_json(whole) + '\n' : write_yaml(whole));
    return code;
}

}  // namespace

VerbBody configure_validate(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(pipeline_word("One pipeline; without it, all of them"), o->name);
    command.option(
        {.names = "-f,--file",
         .value = "FILE",
         .help = "Manifests that are not applied yet: a file, a directory, or - for standard input; may be given several times"},
        o->files);
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    command.footer(
        "Nothing is written, and no more than a few thousand rows are read. Example: homeostat validate -f articles.yaml\n"
        "Exit codes: 0 nothing stands in the way, 1 warnings, 2 it cannot work like this, or the question failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
