#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <array>

#include "controller/cli/kinds.hpp"
#include "controller/cli/manifest.hpp"
#include "controller/cli/verbs.hpp"

namespace homeostat {

namespace {

constexpr std::array<std::string_view, 3> kOutcomes{"created", "configured", "unchanged"};

struct Options {
    std::vector<std::string> files;
    bool dry_run = false;
};

Error at_origin(const Error& error, const Manifest& manifest) {
    return error.cls == ErrorClass::invalid ? error.with_prefix(manifest.origin) : error;
}

// One transaction: the set is declared whole or not at all, and a dry run is the same transaction taken back.
Result<std::vector<ApplyOutcome>> apply_all(Session& session, const std::vector<Manifest>& manifests, bool dry_run) {
    return guarded([&]() -> Result<std::vector<ApplyOutcome>> {
        std::vector<ApplyOutcome> outcomes;
        Transaction tx = session.begin();
        for (const Manifest& m : manifests) {
            auto outcome = apply_object(tx, m.object);
            if (!outcome) return at_origin(outcome.error(), m);
            outcomes.push_back(*outcome);
        }
        if (!dry_run) tx.commit();
        return outcomes;
    });
}

int run(CliContext& context, const Options& o) {
    const auto manifests = read_manifests(o.files, context.streams.in);
    if (!manifests) return context.fail(manifests.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const auto outcomes = apply_all(**session, *manifests, o.dry_run);
    if (!outcomes) {
        const int code = context.fail(outcomes.error());
        if (outcomes.error().cls == ErrorClass::invalid) context.streams.err << "homeostat: nothing was changed\n";
        return code;
    }
    for (std::size_t i = 0; i < manifests->size(); ++i) {
        const DeclaredObject& object = (*manifests)[i].object;
        context.streams.out << fmt::format("{}/{} {}{}\n", kind_word(object.kind), object.name,
                                           kOutcomes[static_cast<std::size_t>((*outcomes)[i])], o.dry_run ? " (dry run)" : "");
    }
    return kExitOk;
}

}  // namespace

VerbBody configure_apply(CLI::App& app, CliContext& context) {
    auto o = std::make_shared<Options>();
    app.add_option("-f,--file", o->files,
                   "A manifest, a directory of manifests, or - for standard input; may be given several times")
        ->type_name("FILE")
        ->required();
    app.add_flag("--dry-run", o->dry_run, "Let the database check everything, say what would happen, and change nothing");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
