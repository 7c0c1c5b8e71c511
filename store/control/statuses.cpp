#include "store/control/statuses.hpp"

#include <fmt/format.h>

#include "core/span.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/timestamps.hpp"

namespace homeostat {

namespace {

const Statement kStatus{
    "status_read",
    "SELECT observed_generation, revision, source_documents, documents, chunks, missing, stale, moved, partial, invalid, "
    "orphaned,"
    " excess, dead_letters, blocked_prunes, last_sweep_at::text, last_deep_sweep_at::text, last_converged_at::text,"
    " next_attempt_at::text, last_error, last_handled_reconcile, blocked_plan,"
    " NOT EXISTS (SELECT FROM homeostat.pipeline p JOIN homeostat.provider o ON o.name = p.provider WHERE p.uid = s.uid"
    "  AND p.pinned IS NULL AND p.revision_pin IS NULL AND o.generation <> s.observed_provider_generation)"
    " FROM homeostat.own_pipeline_status s WHERE uid = $1::bigint"};
const Statement kConditions{"condition_read",
                            "SELECT type, status, reason, message, observed_generation, last_transition_at::text"
                            " FROM homeostat.own_condition WHERE uid = $1::bigint ORDER BY type <> 'Ready', type"};
const Statement kEvents{
    "event_read",
    "SELECT at::text, type, reason, message, reconcile_id, trace_id FROM homeostat.own_event WHERE uid = $1::bigint"
    " ORDER BY at DESC, id DESC LIMIT $2::int"};
const Statement kAddEvent{"event_add",
                          "INSERT INTO homeostat.event (uid, type, reason, message, reconcile_id, trace_id)"
                          " VALUES ($1::bigint, $2, $3, left($4, 1024), $5, $6)"};
const Statement kRuns{"run_history_read", R"sql(
    SELECT id, trigger, result, message, planned, started_at::text, ended_at::text, coalesce(tokens, 0), coalesce(wasted_tokens, 0),
        coalesce(saved_tokens, 0), status, coalesce((SELECT string_agg(h.value || ' ' || h.key, ', '
            ORDER BY h.value::bigint DESC, h.key) FROM jsonb_each_text(r.healed) h), '')
    FROM homeostat.own_run_history r WHERE uid = $1::bigint ORDER BY ended_at DESC LIMIT $2::int)sql"};

}  // namespace

Result<PipelineStatus> read_status(Session& session, std::int64_t uid) {
    return guarded([&] {
        PipelineStatus s;
        const Rows rows = session.exec(kStatus, Params::of(uid));
        if (!rows.empty()) {
            RowReader c(rows, 0);
            s.observed_generation = c.integer();
            s.revision = c.integer<std::int32_t>();
            s.source_documents = c.maybe_integer<std::int64_t>();
            std::int64_t* counts[] = {&s.documents,    &s.chunks,        &s.drift.missing, &s.drift.stale,
                                      &s.drift.moved,  &s.drift.partial, &s.drift.invalid, &s.drift.orphaned,
                                      &s.drift.excess, &s.dead_letters,  &s.blocked_prunes};
            for (std::int64_t* count : counts) *count = c.integer();
            s.last_sweep = c.maybe_stamp();
            s.last_deep_sweep = c.maybe_stamp();
            s.last_converged = c.maybe_stamp();
            s.next_attempt = c.maybe_stamp();
            s.last_error = c.text();
            s.last_handled_reconcile = c.maybe();
            s.blocked_plan = c.text();
            s.provider_seen = c.boolean();
        }
        const Rows conditions = session.exec(kConditions, Params::of(uid));
        for (int i = 0; i < conditions.size(); ++i) {
            RowReader c(conditions, i);
            s.conditions.push_back({c.text(), c.text(), c.text(), c.text(), c.integer(), c.stamp()});
        }
        return s;
    });
}

Result<std::vector<Event>> read_events(Session& session, std::int64_t uid, int limit) {
    return guarded([&] {
        const Rows rows = session.exec(kEvents, Params::of(uid, limit));
        std::vector<Event> out;
        for (int i = 0; i < rows.size(); ++i) {
            out.push_back({parse_timestamp(rows.view(i, 0)), uid, rows.text(i, 1), rows.text(i, 2), rows.text(i, 3),
                           rows.text(i, 4), rows.text(i, 5)});
        }
        return out;
    });
}

void add_event(Transaction& tx, const Event& e) {
    const SpanContext here = SpanScope::here();
    const std::string trace = here.valid() ? here.trace.hex() : e.trace_id;
    tx.exec(kAddEvent, Params::of(e.uid, e.type, e.reason, e.message, e.reconcile_id, trace));
}

void add_condition_event(Transaction& tx, std::int64_t uid, const Condition& c, const std::optional<std::string>& before,
                         const std::string& reconcile_id) {
    const bool bad = (c.type == "Ready" || c.type == "Synced" || c.type == "ProviderHealthy" || c.type == "ChangeFeed")
                         ? c.status == "False"
                         : c.status == "True";
    // What is merely not there yet at the start is no news.
    if (!before && !bad) return;
    add_event(tx, {.uid = uid,
                   .type = bad && c.type != "Reconciling" ? "Warning" : "Normal",
                   .reason = c.reason,
                   .message = fmt::format("{} is {}{}{}", c.type, c.status, c.message.empty() ? "" : ": ", c.message),
                   .reconcile_id = reconcile_id});
}

Result<std::vector<RunSummary>> read_runs(Session& session, std::int64_t uid, int limit) {
    return guarded([&] {
        const Rows rows = session.exec(kRuns, Params::of(uid, limit));
        std::vector<RunSummary> out;
        for (int i = 0; i < rows.size(); ++i) {
            RowReader c(rows, i);
            out.push_back({c.integer(), c.text(), c.text(), c.text(), c.integer(), c.stamp(), c.stamp(), c.integer(), c.integer(),
                           c.integer(), c.text(), c.text()});
        }
        return out;
    });
}

}  // namespace homeostat
