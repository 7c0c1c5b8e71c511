#include "store/control/resources.hpp"

#include <fmt/core.h>

#include "store/control/declared_columns.hpp"
#include "store/control/target_views.hpp"

namespace homeostat {

namespace {

const std::string kPipelineColumns =
    selected(pipeline_columns()) +
    ", suspend, suspend_reason, reconcile_requested, approval, revision_pin, revision_drop, revision_pin_reason,"
    " cache_epoch, deletion_requested_at IS NOT NULL";
const std::string kProviderColumns = selected(provider_columns());

PipelineSpec pipeline_of(RowReader row) {
    PipelineSpec p = read_columns(row, pipeline_columns());
    p.suspend = row.boolean();
    p.suspend_reason = row.maybe();
    p.reconcile_requested = row.maybe();
    p.approval = row.maybe();
    p.revision_pin = row.maybe_integer<std::int32_t>();
    p.revision_drop = row.maybe_integer<std::int32_t>();
    p.revision_pin_reason = row.maybe();
    p.cache_epoch = row.integer();
    p.deleting = row.boolean();
    return p;
}

ProviderSpec provider_of(RowReader row) { return read_columns(row, provider_columns()); }

// "pipeline "x" does not exist (did you mean "y"?)"
template <class Asked>
Error no_such(Asked& asked, std::string_view kind, std::string_view name, const Statement& names) {
    const Rows rows = asked.exec(names);
    std::vector<std::string_view> known;
    for (int i = 0; i < rows.size(); ++i) known.push_back(rows.view(i, 0));
    return not_found(fmt::format("{} \"{}\" does not exist{}", kind, name, did_you_mean(name, known)));
}

const Statement kLiveNames{"pipeline_names",
                           "SELECT name FROM homeostat.pipeline WHERE deletion_requested_at IS NULL ORDER BY 1 LIMIT 1000"};
const Statement kProviderNames{"provider_names", "SELECT name FROM homeostat.provider ORDER BY 1 LIMIT 1000"};

// `asked` is a session or a transaction.
template <class Asked>
Result<PipelineSpec> find_living(Asked& asked, std::string_view name) {
    static const Statement kFind{
        "find_pipeline",
        fmt::format("SELECT {} FROM homeostat.pipeline WHERE name = $1 AND deletion_requested_at IS NULL", kPipelineColumns)};
    return guarded([&]() -> Result<PipelineSpec> {
        const Rows rows = asked.exec(kFind, Params::of(name));
        if (rows.empty()) return no_such(asked, "pipeline", name, kLiveNames);
        return pipeline_of(RowReader(rows, 0));
    });
}

// Runs an UPDATE of one live pipeline, named by $1, that returns a text.
Result<std::string> change_pipeline(Session& session, std::string_view name, const Statement& statement, const Params& params) {
    return guarded([&]() -> Result<std::string> {
        const Rows rows = session.exec(statement, params);
        if (rows.empty()) return no_such(session, "pipeline", name, kLiveNames);
        return rows.text(0, 0);
    });
}

Status status_of(Result<std::string> changed) { return changed ? Status() : Status(std::move(changed).error()); }

}  // namespace

Result<std::vector<PipelineSpec>> list_pipelines(Session& session) {
    static const Statement kList{"list_pipelines",
                                 fmt::format("SELECT {} FROM homeostat.pipeline ORDER BY name, uid", kPipelineColumns)};
    return guarded([&] { return all_of(session.exec(kList), pipeline_of); });
}

Result<PipelineSpec> read_pipeline(Session& session, std::int64_t uid) {
    static const Statement kRead{"read_pipeline",
                                 fmt::format("SELECT {} FROM homeostat.pipeline WHERE uid = $1", kPipelineColumns)};
    return guarded([&]() -> Result<PipelineSpec> {
        const Rows rows = session.exec(kRead, Params::of(uid));
        if (rows.empty()) return not_found(fmt::format("the pipeline with uid {} does not exist any more", uid));
        return pipeline_of(RowReader(rows, 0));
    });
}

Result<PipelineSpec> find_pipeline(Session& session, std::string_view name) { return find_living(session, name); }
Result<PipelineSpec> find_pipeline(Transaction& tx, std::string_view name) { return find_living(tx, name); }

Result<std::vector<std::string>> dependency_ring(Session& session, std::int64_t uid) {
    static const Statement kRing{"dependency_ring", R"sql(
        WITH RECURSIVE mine (uid) AS (
            SELECT $1::bigint
            UNION
            SELECT n.uid FROM mine m JOIN homeostat.pipeline p ON p.uid = m.uid
            JOIN homeostat.pipeline n ON n.name = ANY (homeostat.column_list(p.depends_on)) AND n.deletion_requested_at IS NULL
        ), reach (start, uid) AS (
            SELECT m.uid, n.uid FROM mine m JOIN homeostat.pipeline p ON p.uid = m.uid
            JOIN homeostat.pipeline n ON n.name = ANY (homeostat.column_list(p.depends_on)) AND n.deletion_requested_at IS NULL
            UNION
            SELECT r.start, n.uid FROM reach r JOIN homeostat.pipeline p ON p.uid = r.uid
            JOIN homeostat.pipeline n ON n.name = ANY (homeostat.column_list(p.depends_on)) AND n.deletion_requested_at IS NULL
        )
        SELECT p.name FROM reach r JOIN homeostat.pipeline p ON p.uid = r.start
        WHERE r.uid = $1::bigint AND EXISTS (SELECT FROM reach WHERE start = $1::bigint AND uid = $1::bigint)
        ORDER BY r.start <> $1::bigint, p.name)sql"};
    return guarded([&] {
        std::vector<std::string> out;
        const Rows rows = session.exec(kRing, Params::of(uid));
        for (int i = 0; i < rows.size(); ++i) out.push_back(rows.text(i, 0));
        return out;
    });
}

Result<std::vector<ProviderSpec>> list_providers(Session& session) {
    static const Statement kList{"list_providers",
                                 fmt::format("SELECT {} FROM homeostat.provider ORDER BY name", kProviderColumns)};
    return guarded([&] { return all_of(session.exec(kList), provider_of); });
}

Result<ProviderSpec> find_provider(Session& session, std::string_view name) {
    static const Statement kFind{"find_provider",
                                 fmt::format("SELECT {} FROM homeostat.provider WHERE name = $1", kProviderColumns)};
    return guarded([&]() -> Result<ProviderSpec> {
        const Rows rows = session.exec(kFind, Params::of(name));
        if (rows.empty()) return no_such(session, "provider", name, kProviderNames);
        return provider_of(RowReader(rows, 0));
    });
}

Result<std::vector<PipelineLine>> list_pipeline_lines(Session& session) {
    static const Statement kList{"list_pipeline_lines",
                                 R"(SELECT uid, name, ready, reason, kstatus, message, source_documents, documents, chunks, drift,
               dead_letters, source, target, provider, suspended, (extract(epoch FROM last_converged_at) * 1000000)::bigint,
               waiting, (extract(epoch FROM lag) * 1000)::bigint, phase
        FROM homeostat.pipelines ORDER BY name, uid)"};
    return guarded([&] {
        return all_of(session.exec(kList), [](RowReader r) {
            PipelineLine line;
            line.uid = r.integer();
            line.name = r.text();
            line.ready = r.text();
            line.reason = r.text();
            line.kstatus = r.text();
            line.message = r.text();
            line.source_documents = r.maybe_integer<std::int64_t>();
            line.documents = r.integer();
            line.chunks = r.integer();
            line.drift = r.integer();
            line.dead_letters = r.integer();
            line.source = r.text();
            line.target = r.text();
            line.provider = r.text();
            line.suspended = r.boolean();
            line.last_converged = r.maybe_time();
            line.waiting = r.integer();
            line.lag = r.maybe_millis();
            line.phase = r.text();
            return line;
        });
    });
}

Result<std::vector<ProviderHealth>> list_provider_health(Session& session) {
    static const Statement kList{"list_provider_health",
                                 "SELECT DISTINCT ON (uid) uid, healthy, reason, message FROM homeostat.own_provider_status"
                                 " ORDER BY uid, healthy, updated_at DESC"};
    return guarded([&] {
        return all_of(session.exec(kList), [](RowReader r) {
            return ProviderHealth{.uid = r.integer(), .healthy = r.boolean(), .reason = r.text(), .message = r.text()};
        });
    });
}

Status set_suspended(Session& session, std::string_view pipeline, bool suspended, const std::optional<std::string>& reason,
                     std::optional<Millis> for_how_long) {
    // Who suspended it and when is filled in by the table's own trigger; suspending again only changes the end, and
    // the reason where one is given. What is resumed follows its declaration again: no revision is pinned any more.
    static const Statement kSuspend{"set_suspended",
                                    R"(UPDATE homeostat.pipeline
        SET suspend_reason = CASE WHEN $2 AND suspend THEN coalesce($3, suspend_reason) ELSE $3 END, suspend = $2, suspend_until = clock_timestamp() + $4::bigint * interval '1 millisecond',
            revision_pin = CASE WHEN $2 THEN revision_pin END
        WHERE name = $1 AND deletion_requested_at IS NULL RETURNING name)"};
    std::optional<std::int64_t> millis;
    if (suspended && for_how_long) millis = for_how_long->count();
    return status_of(
        change_pipeline(session, pipeline, kSuspend, Params::of(pipeline, suspended, suspended ? reason : std::nullopt, millis)));
}

Result<std::string> request_reconcile(Session& session, std::string_view pipeline) {
    static const Statement kRequest{"request_reconcile",
                                    R"(UPDATE homeostat.pipeline SET reconcile_requested = gen_random_uuid()::text
        WHERE name = $1 AND deletion_requested_at IS NULL RETURNING reconcile_requested)"};
    return change_pipeline(session, pipeline, kRequest, Params::of(pipeline));
}

Status approve_prune(Session& session, std::string_view pipeline, std::string_view plan_id) {
    // Compared and set in one statement: another sweep may hold back another set at any moment.
    static const Statement kApprove{"approve_prune",
                                    R"sql(
        WITH blocked AS MATERIALIZED (
            SELECT p.uid, CASE WHEN s.blocked_prunes > 0 THEN s.blocked_plan ELSE '' END AS plan
            FROM homeostat.pipeline p LEFT JOIN homeostat.own_pipeline_status s USING (uid)
            WHERE p.name = $1 AND p.deletion_requested_at IS NULL),
        approved AS (UPDATE homeostat.pipeline p SET approval = $2 FROM blocked b
            WHERE p.uid = b.uid AND b.plan = $2 AND b.plan <> '' RETURNING p.uid)
        SELECT coalesce(b.plan, ''), EXISTS (SELECT FROM approved) FROM blocked b)sql"};
    return guarded([&]() -> Status {
        const Rows rows = session.exec(kApprove, Params::of(pipeline, plan_id));
        if (rows.empty()) {
            const Result<PipelineSpec> missing = find_pipeline(session, pipeline);  // says which name was meant
            return missing ? Status(not_found(fmt::format("pipeline \"{}\" is being deleted", pipeline))) : missing.error();
        }
        if (rows.boolean(0, 1)) return {};
        if (rows.view(0, 0).empty())
            return invalid(
                fmt::format("pipeline \"{}\": nothing of it waits for approval; what a budget of its provider holds is approved "
                            "as provider/NAME",
                            pipeline));
        return invalid(fmt::format("pipeline \"{}\": {} is not the plan that waits for approval; that is {}", pipeline, plan_id,
                                   rows.view(0, 0)));
    });
}

Status delete_object(Session& session, ResourceKind kind, std::string_view name) {
    static const Statement kPipeline{"delete_pipeline", "DELETE FROM homeostat.pipeline WHERE uid = $1"};
    static const Statement kTargetView{"delete_target_view", "DELETE FROM homeostat.target_view WHERE uid = $1"};
    static const Statement kProvider{"delete_provider", "DELETE FROM homeostat.provider WHERE uid = $1"};
    return guarded([&]() -> Status {
        if (kind == ResourceKind::pipeline) {
            const auto found = find_pipeline(session, name);
            if (!found) return found.error();
            session.exec(kPipeline, Params::of(found->uid));
        } else if (kind == ResourceKind::target_view) {
            const auto found = find_target_view(session, name);
            if (!found) return found.error();
            session.exec(kTargetView, Params::of(found->uid));
        } else {
            const auto found = find_provider(session, name);
            if (!found) return found.error();
            session.exec(kProvider, Params::of(found->uid));
        }
        return {};
    });
}

}  // namespace homeostat
