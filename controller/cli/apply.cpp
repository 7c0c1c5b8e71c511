#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "controller/cli/manifest/kinds.hpp"
#include "controller/cli/manifest/manifest.hpp"
#include "controller/cli/text/listing.hpp"
#include "controller/cli/verbs.hpp"
#include "store/control/adoptions.hpp"
#include "store/control/declared_rows.hpp"

namespace homeostat {

namespace {

constexpr std::array<std::string_view, 3> kOutcomes{"created", "configured", "unchanged"};

constexpr std::array<std::string_view, 3> kDryRuns{"server", "client", "none"};

struct Options {
    std::vector<std::string> files;
    std::string selector;
    bool recursive = false;
    bool prune = false;
    bool suspended = false;
    std::string dry_run = "none";
    bool dry() const { return dry_run != "none"; }
};

struct Applied {
    std::vector<ApplyOutcome> outcomes;
    std::vector<LabelledObject> pruned;
};

Error at_origin(const Error& error, const Manifest& manifest) {
    return error.cls == ErrorClass::invalid ? error.with_prefix(manifest.origin) : error;
}

// What carries the labels and stands in no manifest goes: what was declared from this set once, and is no more.
Result<std::vector<LabelledObject>> prune(Transaction& tx, const std::vector<Manifest>& manifests, const std::string& selector) {
    auto all = list_labelled(tx);
    if (!all) return all.error();
    std::vector<Listed> rows;
    for (const LabelledObject& o : *all) {
        rows.push_back({.kind = std::string(kind_word(o.kind)), .name = o.name, .labels = o.labels, .cells = {}, .node = {}});
    }
    const auto chosen = select_labels(std::move(rows), selector);
    if (!chosen) return chosen.error();
    std::erase_if(*all, [&](const LabelledObject& o) {
        const bool labelled = std::any_of(chosen->begin(), chosen->end(),
                                          [&](const Listed& l) { return l.kind == kind_word(o.kind) && l.name == o.name; });
        return !labelled || std::any_of(manifests.begin(), manifests.end(),
                                        [&](const Manifest& m) { return m.object.kind == o.kind && m.object.name == o.name; });
    });
    for (const LabelledObject& o : *all) {
        if (auto gone = delete_declared(tx, o.kind, o.uid); !gone) return gone.error();
    }
    return all;
}

// One transaction: the set is declared whole or not at all, and a dry run is the same transaction taken back.
Result<Applied> apply_all(Session& session, const std::vector<Manifest>& manifests, const Options& o) {
    return guarded([&]() -> Result<Applied> {
        Applied done;
        Transaction tx = session.begin();
        for (const Manifest& m : manifests) {
            auto outcome = apply_object(tx, m.object);
            if (!outcome) return at_origin(outcome.error(), m);
            if (o.suspended && *outcome == ApplyOutcome::created && m.object.kind == ResourceKind::pipeline)
                suspend_new(tx, m.object.name);
            done.outcomes.push_back(*outcome);
        }
        if (o.prune) {
            auto pruned = prune(tx, manifests, o.selector);
            if (!pruned) return pruned.error();
            done.pruned = *std::move(pruned);
        }
        if (!o.dry()) tx.commit();
        return done;
    });
}

int run(CliContext& context, const Options& o) {
    if (o.prune == o.selector.empty()) {
        return context.fail(invalid(o.prune ? "--prune needs -l LABELS: what carries them and stands in no manifest is deleted"
                                            : "-l is for --prune: it says what may be deleted"));
    }
    if (std::find(kDryRuns.begin(), kDryRuns.end(), o.dry_run) == kDryRuns.end())
        return context.fail(
            invalid(fmt::format("--dry-run={} is not known; it is server, client, which is the same here, or none{}", o.dry_run,
                                did_you_mean(o.dry_run, kDryRuns))));
    const auto manifests = read_manifests(o.files, context.streams.in, o.recursive);
    if (!manifests) return context.fail(manifests.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const auto outcomes = apply_all(**session, *manifests, o);
    if (!outcomes) {
        const int code = context.fail(outcomes.error());
        if (outcomes.error().cls == ErrorClass::invalid) context.streams.err << "homeostat: nothing was changed\n";
        return code;
    }
    for (std::size_t i = 0; i < manifests->size(); ++i) {
        const DeclaredObject& object = (*manifests)[i].object;
        context.streams.out << fmt::format("{}/{} {}{}\n", kind_word(object.kind), printable(object.name),
                                           kOutcomes[static_cast<std::size_t>(outcomes->outcomes[i])],
                                           o.dry() ? " (dry run)" : "");
    }
    for (const LabelledObject& gone : outcomes->pruned) {
        context.streams.out << fmt::format("{}/{} pruned{}\n", kind_word(gone.kind), printable(gone.name),
                                           o.dry() ? " (dry run)" : "");
    }
    return kExitOk;
}

}  // namespace

VerbBody configure_apply(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option({.names = "-f,--file,--filename",
                    .value = "FILE",
                    .help = "A manifest, a directory of manifests, or - for standard input; may be given several times",
                    .required = true},
                   o->files);
    command.flag("-R,--recursive", o->recursive, "Directories with those below them");
    command.flag("--prune", o->prune, "Delete what carries the labels of -l and stands in no manifest");
    command.option({.names = "-l,--selector", .value = "LABELS", .help = "With --prune: only what has these labels"},
                   o->selector);
    command.flag("--suspended", o->suspended,
                 "Pipelines that are new wait for homeostat resume: nothing is embedded before homeostat adopt");
    command.flag("--dry-run{server}", o->dry_run, "Let the database check everything, say what would happen, and change nothing");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
