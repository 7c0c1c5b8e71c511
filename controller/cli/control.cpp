// The verbs that ask something of objects by name: delete, suspend, resume, reconcile, approve.
#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "controller/cli/kinds.hpp"
#include "controller/cli/manifest.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/config_values.hpp"
#include "store/target_views.hpp"

namespace homeostat {

namespace {

// Does `one` for each name and goes on after a failure, so that one wrong name does not hide what became of the others.
template <class F>
int for_each_name(CliContext& context, const std::vector<std::string>& names, F one) {
    auto session = context.session();
    if (!session) return context.fail(session.error());
    int code = kExitOk;
    for (const std::string& name : names) {
        const Result<std::string> said = one(**session, name);
        if (said) {
            context.streams.out << *said << '\n';
        } else {
            code = context.fail(said.error());
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
    std::string kind;
    std::vector<std::string> names;
    std::vector<std::string> files;
    bool ignore_missing = false;
};

int run_delete(CliContext& context, const DeleteOptions& o) {
    std::vector<std::pair<ResourceKind, std::string>> objects;
    if (!o.files.empty()) {
        const auto manifests = read_manifests(o.files, context.streams.in);
        if (!manifests) return context.fail(manifests.error());
        // The other way round than they are applied: what is used goes after what uses it.
        for (auto m = manifests->rbegin(); m != manifests->rend(); ++m) objects.emplace_back(m->object.kind, m->object.name);
    } else if (o.kind.empty() || o.names.empty()) {
        return context.fail(invalid("say what to delete: a kind and names, or -f with a manifest"));
    } else {
        const auto kind = read_kind(o.kind);
        if (!kind) return context.fail(kind.error());
        for (const std::string& name : o.names) objects.emplace_back(*kind, name);
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

// A pipeline unless the name says targetview/NAME.
Result<std::string> suspend_or_resume(Session& session, const std::string& text, bool suspended,
                                      const std::optional<std::string>& reason, std::optional<Millis> length) {
    const NamedObject object = read_object_name(text);
    const std::string_view done = suspended ? "suspended" : "resumed";
    if (object.kind != ResourceKind::target_view)
        return said(set_suspended(session, object.name, suspended, reason, length), "pipeline/{} {}", object.name, done);
    if (length) return invalid("--for is for pipelines; a target view is suspended until it is resumed");
    return said(set_target_view_suspended(session, object.name, suspended, reason), "targetview/{} {}", object.name, done);
}

// A name may be that of a pipeline and of a target view; then the plan tells which of them waits for it.
Result<std::string> approve(Session& session, const std::string& text, const std::string& plan) {
    const NamedObject object = read_object_name(text);
    if (object.kind != ResourceKind::pipeline) {
        const Result<bool> approved = approve_removals(session, object.name, plan);
        if (!approved) return approved.error();
        if (*approved) return fmt::format("targetview/{}: plan {} approved", object.name, plan);
    }
    if (object.kind != ResourceKind::target_view) {
        const Status approved = approve_prune(session, object.name, plan);
        if (approved || approved.error().cls != ErrorClass::not_found || object.kind)
            return said(approved, "pipeline/{}: plan {} approved", object.name, plan);
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

struct SuspendOptions {
    std::vector<std::string> names;
    std::string reason;
    std::string until;
};

int run_suspend(CliContext& context, const SuspendOptions& o) {
    std::optional<Millis> length;
    if (!o.until.empty()) {
        length = parse_duration(o.until);
        if (!length) return context.fail(invalid(fmt::format("--for {} is not a duration; write 30m, 2h or 1d", o.until)));
    }
    const auto reason = o.reason.empty() ? std::nullopt : std::optional<std::string>(o.reason);
    return for_each_name(context, o.names, [&](Session& session, const std::string& name) {
        return suspend_or_resume(session, name, true, reason, length);
    });
}

CLI::Option* add_names(CLI::App& app, std::vector<std::string>& names) {
    return app.add_option("names", names, "Pipelines")->type_name("NAME")->required();
}

}  // namespace

VerbBody configure_delete(CLI::App& app, CliContext& context) {
    auto o = std::make_shared<DeleteOptions>();
    app.add_option("kind", o->kind, "pipeline, provider or targetview")->type_name("KIND");
    app.add_option("names", o->names, "Their names")->type_name("NAME");
    app.add_option("-f,--file", o->files, "What these manifests declare")->type_name("FILE");
    app.add_flag("--ignore-not-found", o->ignore_missing, "Succeed where there is nothing to delete");
    return [&context, o] { return run_delete(context, *o); };
}

VerbBody configure_suspend(CLI::App& app, CliContext& context) {
    auto o = std::make_shared<SuspendOptions>();
    add_names(app, o->names);
    app.add_option("--reason", o->reason, "Why, for whoever looks next")->type_name("TEXT");
    app.add_option("--for", o->until, "Resume by itself after this long, such as 2h")->type_name("DURATION");
    return [&context, o] { return run_suspend(context, *o); };
}

VerbBody configure_resume(CLI::App& app, CliContext& context) {
    auto names = std::make_shared<std::vector<std::string>>();
    add_names(app, *names);
    return [&context, names] {
        return for_each_name(context, *names, [](Session& session, const std::string& name) {
            return suspend_or_resume(session, name, false, std::nullopt, std::nullopt);
        });
    };
}

VerbBody configure_reconcile(CLI::App& app, CliContext& context) {
    auto names = std::make_shared<std::vector<std::string>>();
    add_names(app, *names);
    return [&context, names] {
        return for_each_name(context, *names, [](Session& session, const std::string& name) -> Result<std::string> {
            const auto token = request_reconcile(session, name);
            if (!token) return token.error();
            return fmt::format("pipeline/{} will be reconciled (request {})", name, *token);
        });
    };
}

VerbBody configure_approve(CLI::App& app, CliContext& context) {
    struct Options {
        std::string name;
        std::string plan;
    };
    auto o = std::make_shared<Options>();
    app.add_option("name", o->name, "The pipeline or target view")->type_name("NAME")->required();
    app.add_option("plan", o->plan, "The plan that its condition PruneBlocked or RemovalBlocked names")
        ->type_name("PLAN")
        ->required();
    return [&context, o] {
        return for_each_name(context, {o->name},
                             [&](Session& session, const std::string& name) { return approve(session, name, o->plan); });
    };
}

}  // namespace homeostat
