// The verbs that ask something of objects by name: delete, suspend, resume, approve.
#include <fmt/core.h>

#include "controller/cli/manifest/kinds.hpp"
#include "controller/cli/manifest/manifest.hpp"
#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"
#include "store/control/budgets.hpp"
#include "store/control/suspension.hpp"
#include "store/control/target_views.hpp"
#include "store/control/time_until.hpp"

namespace homeostat {

namespace {

// Does `one` for each object that is named and goes on after a failure, so that one wrong name does not hide what became of the
// others.
template <class F>
int for_each_object(CliContext& context, const std::vector<std::string>& words, F one) {
    const auto objects = read_objects(words, false);
    if (!objects) return context.fail(objects.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    int code = kExitOk;
    for (const NamedObjects& some : *objects) {
        for (const std::string& name : some.names) {
            const Result<std::string> said = one(**session, some.kind, name);
            if (said) {
                context.streams.out << *said << '\n';
            } else {
                code = context.fail(said.error());
            }
        }
    }
    return code;
}

template <class... T>
Result<std::string> said(const Status& status, fmt::format_string<T...> sentence, T&&... values) {
    if (!status) return status.error();
    return fmt::format(sentence, std::forward<T>(values)...);
}

struct DeleteOptions {
    std::vector<std::string> words;
    std::vector<std::string> files;
    bool recursive = false;
    bool ignore_missing = false;
};

// A deletion is not guessed at: a name alone, whose kind is not said, is not enough.
Result<std::vector<NamedObjects>> named_for_deletion(const std::vector<std::string>& words) {
    const Error missing = invalid("say what to delete: a kind and names, KIND/NAME, or -f with a manifest");
    if (words.empty()) return missing;
    if (!read_object_name(words.front()).kind) {
        if (auto kind = read_kind(words.front()); !kind) {
            Error error = std::move(kind).error();
            if (!find_kind(words.front()))
                error.message += fmt::format("; a deletion says the kind too, as in homeostat delete pipeline/{}", words.front());
            return error;
        }
        if (words.size() == 1) return missing;
    }
    return read_objects(words, false);
}

int run_delete(CliContext& context, const DeleteOptions& o) {
    std::vector<std::pair<ResourceKind, std::string>> objects;
    if (!o.files.empty()) {
        const auto manifests = read_manifests(o.files, context.streams.in, o.recursive);
        if (!manifests) return context.fail(manifests.error());
        // The other way round than they are applied: what is used goes after what uses it.
        for (auto m = manifests->rbegin(); m != manifests->rend(); ++m) objects.emplace_back(m->object.kind, m->object.name);
    } else {
        const auto named = named_for_deletion(o.words);
        if (!named) return context.fail(named.error());
        for (const NamedObjects& some : *named) {
            for (const std::string& name : some.names) objects.emplace_back(some.kind, name);
        }
    }
    auto session = context.session();
    if (!session) return context.fail(session.error());
    int code = kExitOk;
    for (const auto& [kind, name] : objects) {
        const Status gone = delete_object(**session, kind, name);
        if (gone) {
            context.streams.out << fmt::format("{}/{} {}\n", kind_word(kind), name,
                                               kind == ResourceKind::provider ? "deleted" : "is being deleted");
        } else if (!o.ignore_missing || gone.error().cls != ErrorClass::not_found) {
            code = context.fail(gone.error());
        }
    }
    return code;
}

struct SuspendOptions {
    std::vector<std::string> names;
    std::string reason;
    std::string length;
    std::string until;
};

Error not_suspended(ResourceKind kind, const std::string& name) {
    return invalid(fmt::format("{}/{}: pipelines and target views can be suspended; suspend the pipelines that use it",
                               kind_word(kind), name));
}

// What it says goes to whoever reads the log of a script: until when and why.
Result<std::string> suspend(Session& session, ResourceKind kind, const std::string& name, const SuspendOptions& o,
                            std::optional<Millis> length) {
    const auto reason = o.reason.empty() ? std::nullopt : std::optional<std::string>(o.reason);
    const std::string why = reason ? ": " + *reason : "";
    if (kind == ResourceKind::provider) return not_suspended(kind, name);
    if (kind == ResourceKind::target_view) {
        if (length) return invalid("--for and --until are for pipelines; a target view is suspended until it is resumed");
        return said(set_target_view_suspended(session, name, true, reason), "targetview/{} suspended{}", name, why);
    }
    if (auto done = set_suspended(session, name, true, reason, length); !done) return done.error();
    std::string until;
    if (length) {
        const auto pipeline = find_pipeline(session, name);
        if (!pipeline) return pipeline.error();
        const auto suspension = read_suspension(session, pipeline->uid);
        if (!suspension) return suspension.error();
        if (*suspension && (*suspension)->until) until = " until " + time_text(*(*suspension)->until);
    }
    return fmt::format("pipeline/{} suspended{}{}", name, until, why);
}

Result<std::string> resume(Session& session, ResourceKind kind, const std::string& name) {
    if (kind == ResourceKind::provider) return not_suspended(kind, name);
    if (kind == ResourceKind::target_view)
        return said(set_target_view_suspended(session, name, false, std::nullopt), "targetview/{} resumed", name);
    const auto pipeline = find_pipeline(session, name);
    if (!pipeline) return pipeline.error();
    return said(set_suspended(session, name, false, std::nullopt, std::nullopt), "pipeline/{} resumed{}", name,
                pipeline->revision_pin ? fmt::format("; revision {} is pinned no more", *pipeline->revision_pin) : "");
}

// A pipeline waits because of what it would cost, because of what would go, or both.
Result<bool> approve_of_pipeline(Session& session, const std::string& name, const std::string& plan) {
    const Result<bool> paid = approve_budget(session, ResourceKind::pipeline, name, plan);
    if (paid && *paid) return true;
    if (!paid && paid.error().cls != ErrorClass::invalid) return paid.error();
    const Status pruned = approve_prune(session, name, plan);
    if (pruned) return true;
    return paid ? pruned.error() : paid.error();
}

Result<std::string> approve_of_provider(Session& session, const std::string& name, const std::string& plan) {
    if (const auto known = find_provider(session, name); !known) return known.error();
    const Result<bool> paid = approve_budget(session, ResourceKind::provider, name, plan);
    if (!paid) return paid.error();
    if (!*paid) return invalid(fmt::format("provider \"{}\": no budget of it is spent, so nothing waits for approval", name));
    return fmt::format("provider/{}: plan {} approved", name, plan);
}

// A name may be that of a pipeline and of a target view; then the plan tells which of them waits for it.
Result<std::string> approve(Session& session, const std::string& text, const std::string& plan) {
    const NamedObject object = read_object_name(text);
    if (object.kind == ResourceKind::provider) return approve_of_provider(session, object.name, plan);
    if (object.kind != ResourceKind::pipeline) {
        const Result<bool> approved = approve_removals(session, object.name, plan);
        if (!approved) return approved.error();
        if (*approved) return fmt::format("targetview/{}: plan {} approved", object.name, plan);
    }
    if (object.kind != ResourceKind::target_view) {
        const Result<bool> approved = approve_of_pipeline(session, object.name, plan);
        if (approved) return fmt::format("pipeline/{}: plan {} approved", object.name, plan);
        if (approved.error().cls != ErrorClass::not_found || object.kind) return approved.error();
        if (!find_target_view(session, object.name)) return approved.error();
    }
    const auto view = find_target_view(session, object.name);
    if (!view) return view.error();
    const auto status = read_target_view_status(session, view->uid);
    if (!status) return status.error();
    return invalid(status->plan.empty() ? fmt::format("target view \"{}\": nothing waits for approval", object.name)
                                        : fmt::format("target view \"{}\": {} is not the plan that waits; that is {}",
                                                      object.name, plan, status->plan));
}

int run_suspend(CliContext& context, const SuspendOptions& o) {
    if (!o.length.empty() && !o.until.empty()) return context.fail(invalid("--for and --until are two ends; give one of them"));
    auto length = read_duration("--for", o.length);
    if (!length) return context.fail(length.error());
    if (!o.until.empty()) {
        const auto session = context.session();
        if (!session) return context.fail(session.error());
        const Result<Millis> left = time_until(**session, o.until);
        if (!left) return context.fail(invalid("--until " + left.error().message));
        length = std::optional<Millis>(*left);
    }
    return for_each_object(context, o.names, [&](Session& session, ResourceKind kind, const std::string& name) {
        return suspend(session, kind, name, o, *length);
    });
}

void add_names(Command& command, std::vector<std::string>& names) {
    command.option({.names = "names", .value = "NAME", .help = "Pipelines, or KIND/NAME", .required = true}, names);
}

}  // namespace

VerbBody configure_delete(Command& command, CliContext& context) {
    auto o = std::make_shared<DeleteOptions>();
    command.option(
        {.names = "what", .value = "WHAT", .help = "KIND NAME..., or KIND/NAME...; kinds: pipeline, provider, targetview"},
        o->words);
    command.option({.names = "-f,--file,--filename", .value = "FILE", .help = "What these manifests declare"}, o->files);
    command.flag("-R,--recursive", o->recursive, "Directories with those below them");
    command.flag("--ignore-not-found", o->ignore_missing, "Succeed where there is nothing to delete");
    return [&context, o] { return run_delete(context, *o); };
}

VerbBody configure_suspend(Command& command, CliContext& context) {
    auto o = std::make_shared<SuspendOptions>();
    add_names(command, o->names);
    command.option({.names = "--reason", .value = "TEXT", .help = "Why, for the next operator"}, o->reason);
    command.option({.names = "--for", .value = "DURATION", .help = "Resume by itself after this long, such as 2h"}, o->length);
    command.option({.names = "--until", .value = "TIME", .help = "Resume by itself then, such as 2026-11-28T06:00:00+01:00"},
                   o->until);
    return [&context, o] { return run_suspend(context, *o); };
}

VerbBody configure_resume(Command& command, CliContext& context) {
    auto names = std::make_shared<std::vector<std::string>>();
    add_names(command, *names);
    return [&context, names] { return for_each_object(context, *names, resume); };
}

VerbBody configure_approve(Command& command, CliContext& context) {
    struct Options {
        std::string name;
        std::string plan;
    };
    auto o = std::make_shared<Options>();
    command.option({.names = "name", .value = "NAME", .help = "The pipeline or target view, or provider/NAME", .required = true},
                   o->name);
    command.option({.names = "plan",
                    .value = "PLAN",
                    .help = "The plan that its condition PruneBlocked, RemovalBlocked, BudgetSpent or PlanHeld names",
                    .required = true},
                   o->plan);
    return [&context, o] {
        auto session = context.session();
        if (!session) return context.fail(session.error());
        const Result<std::string> said = approve(**session, o->name, o->plan);
        if (!said) return context.fail(said.error());
        context.streams.out << *said << '\n';
        return kExitOk;
    };
}

}  // namespace homeostat
