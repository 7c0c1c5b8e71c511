#include "store/control/runs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "store/pg/arrays.hpp"
#include "store/pg/named_statement.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"
#include "store/pg/timestamps.hpp"

namespace homeostat {

namespace {

constexpr std::array<std::string_view, 4> kPhases{"sweeping", "healing", "pruning", "indexing"};
constexpr std::array<std::string_view, 5> kNames{"idle", "observing", "healing", "verifying", "indexing"};

#define RUN_COLUMNS                                                                                                         \
    "id, uid, revision, generation, reconcile_id, trigger, deep, phase, observation, sweeps, cursor::text, seen, missing, " \
    "stale, "                                                                                                               \
    "moved, partial, invalid, orphaned, excess, unkeyed, dead_letters, planned, planned_in_sweep, traceparent, "            \
    "feed_trusted, bypassed, source_mark"

const Statement kRead{"run_read", "SELECT " RUN_COLUMNS " FROM homeostat.own_run WHERE uid = $1::bigint"};
const Statement kStart{
    "run_start",
    "INSERT INTO homeostat.run (uid, revision, generation, reconcile_id, trigger, deep, traceparent, feed_trusted, source_mark)"
    " VALUES ($1::bigint, $2::int, $3::bigint, $4, $5, $6::boolean, $7, $8::boolean,"
    "  (SELECT m.mark FROM homeostat.source_mark m WHERE m.uid = $1::bigint)) RETURNING " RUN_COLUMNS};
const NamedStatement kSave{"run_save", R"sql(
    UPDATE homeostat.run SET phase = :phase, cursor = :cursor::text[], seen = :seen::bigint, missing = :missing::bigint,
        stale = :stale::bigint, moved = :moved::bigint, partial = :partial::bigint, invalid = :invalid::bigint,
        orphaned = :orphaned::bigint, excess = :excess::bigint, unkeyed = :unkeyed::bigint,
        dead_letters = :dead_letters::bigint, planned = :planned::bigint, planned_in_sweep = :planned_in_sweep::bigint,
        bypassed = :bypassed::bigint
    WHERE id = :id::bigint)sql"};
const Statement kRestart{
    "run_restart",
    "UPDATE homeostat.run SET phase = 'sweeping', observation = nextval('homeostat.observation_id'), sweeps = sweeps + 1,"
    " cursor = NULL, seen = 0, missing = 0, stale = 0, moved = 0, partial = 0, invalid = 0, orphaned = 0, excess = 0, unkeyed = "
    "0,"
    " dead_letters = 0, planned_in_sweep = 0, deep = $2::boolean,"
    " source_mark = (SELECT m.mark FROM homeostat.source_mark m WHERE m.uid = run.uid) WHERE id = $1::bigint"
    " RETURNING " RUN_COLUMNS};
// How it ended in one word follows from the result; what was healed, from its batches; tokens are those of batches that are left
// too.
const Statement kEnd{"run_end", R"sql(
    WITH gone AS (DELETE FROM homeostat.run WHERE id = $1::bigint RETURNING *),
    batches AS (SELECT h.class, h.written + h.removed AS healed, h.tokens, h.wasted_tokens, h.saved_tokens
        FROM homeostat.batch_history h, gone g WHERE h.run_id = g.id
        UNION ALL SELECT o.class, 0, o.tokens, o.wasted_tokens, 0 FROM homeostat.batch o, gone g
        WHERE o.uid = g.uid AND o.run_id = g.id),
    unswept AS (DELETE FROM homeostat.swept s USING gone g WHERE s.uid = g.uid AND s.run_id <> g.id),
    healed AS (SELECT coalesce(jsonb_object_agg(c.class, c.n), '{}') AS classes
        FROM (SELECT b.class, sum(b.healed) AS n FROM batches b GROUP BY b.class HAVING sum(b.healed) > 0) c),
    spent AS (SELECT coalesce(sum(b.tokens), 0) AS tokens, coalesce(sum(b.wasted_tokens), 0) AS wasted,
        coalesce(sum(b.saved_tokens), 0) AS saved FROM batches b)
    INSERT INTO homeostat.run_history (id, uid, pipeline, revision, generation, reconcile_id, trigger, deep, result, message,
        planned, started_at, traceparent, tokens, wasted_tokens, saved_tokens, status, healed, cost)
    SELECT g.id, g.uid, $2, g.revision, g.generation, g.reconcile_id, g.trigger, g.deep, $3, left($4, 1024), g.planned,
        g.started_at, g.traceparent, s.tokens, s.wasted, s.saved,
        CASE $3 WHEN 'Failed' THEN 'failed' WHEN 'Superseded' THEN 'superseded' WHEN 'RolledBack' THEN 'rolled_back'
            WHEN 'Converged' THEN CASE WHEN g.planned = 0 THEN 'no_action_needed' ELSE 'completed' END ELSE 'partial' END,
        h.classes,
        (SELECT round(s.tokens * o.price_per_million_tokens / 1e6, 6) FROM homeostat.pipeline p
         JOIN homeostat.provider o ON o.name = p.provider WHERE p.uid = g.uid AND o.price_per_million_tokens > 0)
    FROM gone g, spent s, healed h)sql"};

const Statement kNote{
    "prune_note",
    "INSERT INTO homeostat.prune_candidate AS c (uid, revision, document_id, class, first_observation, last_observation)"
    " SELECT $1::bigint, $2::int, w.id, w.class, $3::bigint, $3::bigint FROM unnest($4::bigint[], $5::text[]) AS w(id, class)"
    " ON CONFLICT (uid, revision, document_id) DO UPDATE SET last_observation = $3::bigint, class = excluded.class"};
const Statement kSettle{"prune_settle",
                        "WITH gone AS (DELETE FROM homeostat.prune_candidate WHERE uid = $1::bigint AND (revision <> $2::int OR "
                        "last_observation <> $3::bigint))"
                        " SELECT count(*), count(*) FILTER (WHERE first_observation < $3::bigint) FROM homeostat.prune_candidate"
                        " WHERE uid = $1::bigint AND revision = $2::int AND last_observation = $3::bigint"};
const Statement kPlan{
    "prune_plan",
    "SELECT left(md5(coalesce(string_agg(document_id::text, ',' ORDER BY document_id), '')), 12) FROM homeostat.prune_candidate"
    " WHERE uid = $1::bigint AND revision = $2::int AND last_observation = $3::bigint AND first_observation < $3::bigint"};
const Statement kTake{
    "prune_take",
    "DELETE FROM homeostat.prune_candidate WHERE (uid, revision, document_id) IN (SELECT uid, revision, document_id"
    "  FROM homeostat.prune_candidate WHERE uid = $1::bigint AND revision = $2::int AND first_observation < last_observation"
    "  ORDER BY document_id LIMIT $3::int) RETURNING document_id"};
const Statement kForget{"prune_forget", "DELETE FROM homeostat.prune_candidate WHERE uid = $1::bigint"};

const NamedStatement kStatus{"status_write", R"sql(
    INSERT INTO homeostat.pipeline_status AS s (uid, observed_generation, revision, source_documents, previous_source_documents,
        documents, chunks, missing, stale, moved, partial, invalid, orphaned, excess, unkeyed, dead_letters, blocked_prunes,
        blocked_plan, prune_window_start, pruned_in_window, failures, last_error, last_sweep_at, last_deep_sweep_at,
        last_converged_at, next_attempt_at, last_handled_reconcile, observed_provider_generation, observed_source_mark)
    VALUES (:uid::bigint, :generation::bigint, :revision::int, :source_documents::bigint, :previous_source_documents::bigint,
        :documents::bigint, :chunks::bigint, :missing::bigint, :stale::bigint, :moved::bigint, :partial::bigint,
        :invalid::bigint, :orphaned::bigint, :excess::bigint, :unkeyed::bigint, :dead_letters::bigint, :blocked_prunes::bigint,
        :blocked_plan, :window_start::timestamptz, :pruned_in_window::bigint, :failures::int, left(:last_error, 1024),
        :last_sweep::timestamptz, :last_deep_sweep::timestamptz, :last_converged::timestamptz, :next_attempt::timestamptz,
        :last_handled_reconcile, :provider_generation::bigint, :observed_mark)
    ON CONFLICT (uid) DO UPDATE SET observed_generation = greatest(s.observed_generation, excluded.observed_generation),
        revision = excluded.revision,
        source_documents = CASE WHEN :source_counted::boolean THEN excluded.source_documents ELSE s.source_documents END,
        previous_source_documents = excluded.previous_source_documents, documents = s.documents + excluded.documents,
        chunks = s.chunks + excluded.chunks, missing = excluded.missing, stale = excluded.stale, moved = excluded.moved,
        partial = excluded.partial, invalid = excluded.invalid, orphaned = excluded.orphaned, excess = excluded.excess,
        unkeyed = excluded.unkeyed, dead_letters = homeostat.dead_letters_of(:uid::bigint),
        blocked_prunes = excluded.blocked_prunes, blocked_plan = excluded.blocked_plan,
        prune_window_start = excluded.prune_window_start, pruned_in_window = excluded.pruned_in_window,
        failures = excluded.failures, last_error = excluded.last_error, last_sweep_at = excluded.last_sweep_at,
        last_deep_sweep_at = excluded.last_deep_sweep_at, last_converged_at = excluded.last_converged_at,
        next_attempt_at = excluded.next_attempt_at, last_handled_reconcile = excluded.last_handled_reconcile,
        observed_provider_generation = excluded.observed_provider_generation,
        observed_source_mark = excluded.observed_source_mark, updated_at = clock_timestamp())sql"};

// Only on change; the transition time moves only when the status does, and never backwards.
const Statement kCondition{
    "condition_write",
    "WITH before AS (SELECT type, status FROM homeostat.condition WHERE uid = $1::bigint)"
    " INSERT INTO homeostat.condition AS c (uid, type, status, reason, message, observed_generation)"
    " SELECT $1::bigint, w.type, w.status, w.reason, left(w.message, 1024), w.generation"
    " FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[]) AS w(type, status, reason, message, generation)"
    " ON CONFLICT (uid, type) DO UPDATE SET status = excluded.status, reason = excluded.reason, message = excluded.message,"
    "  observed_generation = greatest(c.observed_generation, excluded.observed_generation),"
    "  last_transition_at = CASE WHEN c.status = excluded.status THEN c.last_transition_at"
    "                            ELSE greatest(c.last_transition_at, clock_timestamp()) END"
    " WHERE (c.status, c.reason, c.message) IS DISTINCT FROM (excluded.status, excluded.reason, excluded.message)"
    "  OR c.observed_generation < excluded.observed_generation"
    " RETURNING type, (SELECT b.status FROM before b WHERE b.type = c.type)"};

const Statement kLoopState{
    "loop_state",
    "SELECT coalesce(s.failures, 0), s.next_attempt_at::text, s.last_handled_reconcile, s.previous_source_documents,"
    " s.prune_window_start::text, coalesce(s.pruned_in_window, 0), coalesce(s.observed_provider_generation, 0),"
    " s.observed_source_mark, CASE WHEN s.uid IS NOT NULL THEN m.mark END, clock_timestamp()::text"
    " FROM (VALUES ($1::bigint)) AS w(uid) LEFT JOIN homeostat.pipeline_status s ON s.uid = w.uid"
    " LEFT JOIN homeostat.source_mark m ON m.uid = w.uid"};

const Statement kProgress{
    "run_progress",
    "SELECT count(*), coalesce(sum(written), 0), coalesce(sum(dropped), 0), coalesce(sum(removed), 0), coalesce(sum(chunks), 0),"
    " coalesce(sum(embedded), 0), coalesce(sum(tokens), 0) FROM homeostat.own_batch_history WHERE run_id = $1::bigint"};

const Statement kFailed{
    "run_failed_batch",
    "SELECT error_class, error_code, message FROM homeostat.own_batch_history WHERE run_id = $1::bigint AND outcome = 'failed'"
    " ORDER BY ended_at DESC LIMIT 1"};

Run run_at(const Rows& rows, int i) {
    Run r;
    RowReader c(rows, i);
    r.id = c.integer();
    r.uid = c.integer();
    r.revision = c.integer<std::int32_t>();
    r.generation = c.integer();
    r.reconcile_id = c.text();
    r.trigger = c.text();
    r.deep = c.boolean();
    const std::string_view phase = c.view();
    for (std::size_t p = 0; p < kPhases.size(); ++p) {
        if (phase == kPhases[p]) r.phase = static_cast<RunPhase>(p);
    }
    r.observation = c.integer();
    r.sweeps = c.integer<int>();
    if (const auto cursor = c.maybe()) r.cursor = parse_text_array(*cursor);
    r.seen = c.integer();
    std::int64_t* counts[] = {&r.found.missing, &r.found.stale,    &r.found.moved,     &r.found.partial,
                              &r.found.invalid, &r.found.orphaned, &r.found.excess,    &r.unkeyed,
                              &r.dead_letters,  &r.planned,        &r.planned_in_sweep};
    for (std::int64_t* count : counts) *count = c.integer();
    r.traceparent = c.text();
    r.feed_trusted = c.boolean();
    r.bypassed = c.integer();
    r.source_mark = c.maybe();
    return r;
}

std::optional<std::string> time_text(const std::optional<WallTime>& t) {
    return t ? std::optional<std::string>(format_timestamp(*t)) : std::nullopt;
}

std::vector<Condition> write_conditions(Transaction& tx, std::int64_t uid, const std::vector<Condition>& conditions,
                                        const std::string& reconcile_id) {
    std::vector<std::string_view> types;
    std::vector<std::string_view> statuses;
    std::vector<std::string_view> reasons;
    std::vector<std::string_view> messages;
    std::vector<std::int64_t> generations;
    for (const Condition& c : conditions) {
        types.push_back(c.type);
        statuses.push_back(c.status);
        reasons.push_back(c.reason);
        messages.push_back(c.message);
        generations.push_back(c.observed_generation);
    }
    Params params = Params::of(uid);
    params.bytes(binary_array(types)).bytes(binary_array(statuses)).bytes(binary_array(reasons));
    params.bytes(binary_array(messages)).bytes(binary_array(generations));
    const Rows rows = tx.exec(kCondition, params);
    std::vector<Condition> changed;
    for (int i = 0; i < rows.size(); ++i) {
        const auto c =
            std::find_if(conditions.begin(), conditions.end(), [&](const Condition& o) { return o.type == rows.view(i, 0); });
        const std::optional<std::string> before = rows.maybe(i, 1);
        if (c == conditions.end() || before == c->status) continue;
        changed.push_back(*c);
        add_condition_event(tx, uid, *c, before, reconcile_id);
    }
    return changed;
}

}  // namespace

std::string_view to_string(RunPhase p) noexcept { return kPhases[static_cast<std::size_t>(p)]; }
std::string_view to_string(Phase p) noexcept { return kNames[static_cast<std::size_t>(p)]; }

Phase phase_of(const Run& run) noexcept {
    switch (run.phase) {
        case RunPhase::sweeping: return run.sweeps == 1 ? Phase::observing : Phase::verifying;
        case RunPhase::healing:
        case RunPhase::pruning: return Phase::healing;
        case RunPhase::indexing: return Phase::indexing;
    }
    return Phase::idle;
}

Result<std::optional<Run>> read_run(Session& session, std::int64_t uid) {
    return guarded([&]() -> std::optional<Run> {
        const Rows rows = session.exec(kRead, Params::of(uid));
        if (rows.empty()) return std::nullopt;
        return run_at(rows, 0);
    });
}

Run start_run(Transaction& tx, const Run& w) {
    return run_at(tx.exec(kStart, Params::of(w.uid, w.revision, w.generation, w.reconcile_id, w.trigger, w.deep, w.traceparent,
                                             w.feed_trusted)),
                  0);
}

void save_run(Transaction& tx, const Run& r) {
    tx.exec(kSave.statement(),
            kSave.with({{"id", r.id},
                        {"phase", to_string(r.phase)},
                        {"cursor", r.cursor ? std::optional<std::string>(format_text_array(*r.cursor)) : std::nullopt},
                        {"seen", r.seen},
                        {"missing", r.found.missing},
                        {"stale", r.found.stale},
                        {"moved", r.found.moved},
                        {"partial", r.found.partial},
                        {"invalid", r.found.invalid},
                        {"orphaned", r.found.orphaned},
                        {"excess", r.found.excess},
                        {"unkeyed", r.unkeyed},
                        {"dead_letters", r.dead_letters},
                        {"planned", r.planned},
                        {"planned_in_sweep", r.planned_in_sweep},
                        {"bypassed", r.bypassed}}));
}

void restart_sweep(Transaction& tx, Run& run, bool deep) { run = run_at(tx.exec(kRestart, Params::of(run.id, deep)), 0); }

void end_run(Transaction& tx, const Run& run, std::string_view pipeline, std::string_view result, std::string_view message) {
    tx.exec(kEnd, Params::of(run.id, pipeline, result, message));
}

void note_prune_candidates(Transaction& tx, const Run& run, const std::vector<DriftItem>& items) {
    if (items.empty()) return;
    std::vector<std::int64_t> ids;
    std::vector<std::string_view> classes;
    for (const DriftItem& item : items) {
        ids.push_back(item.document_id);
        classes.push_back(to_string(item.cls));
    }
    Params params = Params::of(run.uid, run.revision, run.observation);
    params.bytes(binary_array(ids)).bytes(binary_array(classes));
    tx.exec(kNote, params);
}

PruneCandidates settle_prune_candidates(Transaction& tx, const Run& run) {
    const Rows rows = tx.exec(kSettle, Params::of(run.uid, run.revision, run.observation));
    return {rows.i64(0, 0), rows.i64(0, 1), prune_plan(tx, run)};
}

std::string prune_plan(Transaction& tx, const Run& run) {
    return tx.exec(kPlan, Params::of(run.uid, run.revision, run.observation)).text(0, 0);
}

std::vector<std::int64_t> take_confirmed_candidates(Transaction& tx, const Run& run, int limit) {
    const Rows rows = tx.exec(kTake, Params::of(run.uid, run.revision, limit));
    std::vector<std::int64_t> ids;
    for (int i = 0; i < rows.size(); ++i) ids.push_back(rows.i64(i, 0));
    return ids;
}

void forget_prune_candidates(Transaction& tx, std::int64_t uid) { tx.exec(kForget, Params::of(uid)); }

std::vector<Condition> write_status(Transaction& tx, const StatusUpdate& u, const std::string& reconcile_id) {
    const PipelineStatus& s = u.status;
    const Totals n = u.counted.value_or(Totals());
    tx.exec(kStatus.statement(), kStatus.with({{"uid", u.uid},
                                               {"generation", u.observed_generation},
                                               {"revision", s.revision},
                                               {"source_documents", s.source_documents},
                                               {"source_counted", u.source_counted},
                                               {"previous_source_documents", u.previous_source_documents},
                                               {"documents", n.documents - n.told_documents},
                                               {"chunks", n.chunks - n.told_chunks},
                                               {"missing", s.drift.missing},
                                               {"stale", s.drift.stale},
                                               {"moved", s.drift.moved},
                                               {"partial", s.drift.partial},
                                               {"invalid", s.drift.invalid},
                                               {"orphaned", s.drift.orphaned},
                                               {"excess", s.drift.excess},
                                               {"unkeyed", u.unkeyed},
                                               {"dead_letters", s.dead_letters},
                                               {"blocked_prunes", s.blocked_prunes},
                                               {"blocked_plan", s.blocked_plan},
                                               {"window_start", time_text(u.window.start)},
                                               {"pruned_in_window", u.window.pruned},
                                               {"failures", u.failures},
                                               {"last_error", s.last_error},
                                               {"last_sweep", time_text(s.last_sweep)},
                                               {"last_deep_sweep", time_text(s.last_deep_sweep)},
                                               {"last_converged", time_text(s.last_converged)},
                                               {"next_attempt", time_text(s.next_attempt)},
                                               {"last_handled_reconcile", s.last_handled_reconcile},
                                               {"provider_generation", u.provider_generation},
                                               {"observed_mark", u.observed_mark}}));
    return s.conditions.empty() ? std::vector<Condition>() : write_conditions(tx, u.uid, s.conditions, reconcile_id);
}

Result<LoopState> read_loop_state(Session& session, std::int64_t uid) {
    return guarded([&] {
        const Rows rows = session.exec(kLoopState, Params::of(uid));
        LoopState s;
        RowReader c(rows, 0);
        s.failures = c.integer<int>();
        s.next_attempt = c.maybe_stamp();
        s.last_handled_reconcile = c.maybe();
        s.previous_source_documents = c.maybe_integer<std::int64_t>();
        s.window.start = c.maybe_stamp();
        s.window.pruned = c.integer();
        s.provider_generation = c.integer();
        s.observed_mark = c.maybe();
        s.source_mark = c.maybe();
        s.at = c.stamp();
        return s;
    });
}

Result<RunProgress> read_progress(Session& session, std::int64_t run_id) {
    return guarded([&] {
        const Rows r = session.exec(kProgress, Params::of(run_id));
        RowReader c(r, 0);
        return RunProgress{c.integer(), c.integer(), c.integer(), c.integer(), c.integer(), c.integer(), c.integer()};
    });
}

Result<std::optional<Error>> failed_batch(Session& session, std::int64_t run_id) {
    return guarded([&]() -> std::optional<Error> {
        const Rows rows = session.exec(kFailed, Params::of(run_id));
        if (rows.empty()) return std::nullopt;
        return Error{.cls = error_class_named(rows.view(0, 0)),
                     .message = rows.text(0, 2),
                     .origin = Origin::theirs,
                     .code = rows.text(0, 1)};
    });
}

}  // namespace homeostat
