#include "store/control/runs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "store/pg/arrays.hpp"
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
const Statement kSave{
    "run_save",
    "UPDATE homeostat.run SET phase = $2, cursor = $3::text[], seen = $4::bigint, missing = $5::bigint, stale = $6::bigint,"
    " moved = $7::bigint, partial = $8::bigint, invalid = $9::bigint, orphaned = $10::bigint, excess = $11::bigint,"
    " unkeyed = $12::bigint, dead_letters = $13::bigint, planned = $14::bigint, planned_in_sweep = $15::bigint,"
    " bypassed = $16::bigint WHERE id = $1::bigint"};
const Statement kRestart{
    "run_restart",
    "UPDATE homeostat.run SET phase = 'sweeping', observation = nextval('homeostat.observation_id'), sweeps = sweeps + 1,"
    " cursor = NULL, seen = 0, missing = 0, stale = 0, moved = 0, partial = 0, invalid = 0, orphaned = 0, excess = 0, unkeyed = "
    "0,"
    " dead_letters = 0, planned_in_sweep = 0, deep = $2::boolean,"
    " source_mark = (SELECT m.mark FROM homeostat.source_mark m WHERE m.uid = run.uid) WHERE id = $1::bigint"
    " RETURNING " RUN_COLUMNS};
const Statement kEnd{
    "run_end",
    "WITH gone AS (DELETE FROM homeostat.run WHERE id = $1::bigint RETURNING *)"
    " INSERT INTO homeostat.run_history (id, uid, pipeline, revision, generation, reconcile_id, trigger, deep, result, message,"
    "  planned, started_at, traceparent, tokens, wasted_tokens, saved_tokens)"
    " SELECT id, uid, $2, revision, generation, reconcile_id, trigger, deep, $3, left($4, 1024), planned, started_at,"
    "  traceparent, s.tokens, s.wasted, s.saved FROM gone,"
    " LATERAL (SELECT coalesce(sum(b.tokens), 0) AS tokens, coalesce(sum(b.wasted_tokens), 0) AS wasted,"
    "  coalesce(sum(b.saved_tokens), 0) AS saved FROM ("
    "  SELECT h.tokens, h.wasted_tokens, h.saved_tokens FROM homeostat.batch_history h WHERE h.run_id = gone.id UNION ALL"
    "  SELECT o.tokens, o.wasted_tokens, 0 FROM homeostat.batch o WHERE o.uid = gone.uid AND o.run_id = gone.id) b) s"};

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

const Statement kStatus{
    "status_write",
    "INSERT INTO homeostat.pipeline_status AS s (uid, observed_generation, revision, source_documents, previous_source_documents,"
    "  documents, chunks, missing, stale, moved, partial, invalid, orphaned, excess, unkeyed, dead_letters, blocked_prunes,"
    "  prune_window_start, pruned_in_window, failures, last_error, last_sweep_at, last_deep_sweep_at, last_converged_at,"
    "  next_attempt_at, last_handled_reconcile, observed_provider_generation, observed_source_mark, blocked_plan)"
    " VALUES ($1::bigint, $2::bigint, $3::int, $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::bigint, $9::bigint, "
    "$10::bigint,"
    "  $11::bigint, $12::bigint, $13::bigint, $14::bigint, $15::bigint, $16::bigint, $17::bigint, $18::timestamptz, $19::bigint,"
    "  $20::int, left($21, 1024), $22::timestamptz, $23::timestamptz, $24::timestamptz, $25::timestamptz, $26, $27::bigint, $28, "
    "$30)"
    " ON CONFLICT (uid) DO UPDATE SET observed_generation = greatest(s.observed_generation, excluded.observed_generation),"
    "  revision = excluded.revision,"
    "  source_documents = CASE WHEN $29::boolean THEN excluded.source_documents ELSE s.source_documents END,"
    "  previous_source_documents = excluded.previous_source_documents, documents = s.documents + excluded.documents,"
    "  chunks = s.chunks + excluded.chunks,"
    "  missing = excluded.missing, stale = excluded.stale, moved = excluded.moved, partial = excluded.partial,"
    "  invalid = excluded.invalid, orphaned = excluded.orphaned, excess = excluded.excess, unkeyed = excluded.unkeyed,"
    "  dead_letters = homeostat.dead_letters_of($1::bigint), blocked_prunes = excluded.blocked_prunes, blocked_plan = "
    "excluded.blocked_plan,"
    "  prune_window_start = excluded.prune_window_start, pruned_in_window = excluded.pruned_in_window,"
    "  failures = excluded.failures, last_error = excluded.last_error, last_sweep_at = excluded.last_sweep_at,"
    "  last_deep_sweep_at = excluded.last_deep_sweep_at, last_converged_at = excluded.last_converged_at,"
    "  next_attempt_at = excluded.next_attempt_at, last_handled_reconcile = excluded.last_handled_reconcile,"
    "  observed_provider_generation = excluded.observed_provider_generation,"
    "  observed_source_mark = excluded.observed_source_mark,"
    "  updated_at = clock_timestamp()"};

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
    " coalesce(sum(embedded), 0), coalesce(sum(tokens), 0) FROM homeostat.batch_history WHERE run_id = $1::bigint"};

const Statement kFailed{
    "run_failed_batch",
    "SELECT error_class, error_code, message FROM homeostat.batch_history WHERE run_id = $1::bigint AND outcome = 'failed'"
    " ORDER BY ended_at DESC LIMIT 1"};

Run run_at(const Rows& rows, int i) {
    Run r;
    r.id = rows.i64(i, 0);
    r.uid = rows.i64(i, 1);
    r.revision = static_cast<std::int32_t>(rows.i64(i, 2));
    r.generation = rows.i64(i, 3);
    r.reconcile_id = rows.text(i, 4);
    r.trigger = rows.text(i, 5);
    r.deep = rows.boolean(i, 6);
    for (std::size_t p = 0; p < kPhases.size(); ++p) {
        if (rows.view(i, 7) == kPhases[p]) r.phase = static_cast<RunPhase>(p);
    }
    r.observation = rows.i64(i, 8);
    r.sweeps = static_cast<int>(rows.i64(i, 9));
    if (!rows.null(i, 10)) r.cursor = parse_text_array(rows.view(i, 10));
    r.seen = rows.i64(i, 11);
    std::int64_t* counts[] = {&r.found.missing, &r.found.stale,    &r.found.moved,     &r.found.partial,
                              &r.found.invalid, &r.found.orphaned, &r.found.excess,    &r.unkeyed,
                              &r.dead_letters,  &r.planned,        &r.planned_in_sweep};
    int column = 12;
    for (std::int64_t* c : counts) *c = rows.i64(i, column++);
    r.traceparent = rows.text(i, column);
    r.feed_trusted = rows.boolean(i, column + 1);
    r.bypassed = rows.i64(i, column + 2);
    r.source_mark = rows.maybe(i, column + 3);
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
    Params params = Params::of(r.id, to_string(r.phase));
    params.add(r.cursor ? std::optional<std::string>(format_text_array(*r.cursor)) : std::nullopt).add(r.seen);
    params.add(r.found.missing).add(r.found.stale).add(r.found.moved).add(r.found.partial).add(r.found.invalid);
    params.add(r.found.orphaned)
        .add(r.found.excess)
        .add(r.unkeyed)
        .add(r.dead_letters)
        .add(r.planned)
        .add(r.planned_in_sweep)
        .add(r.bypassed);
    tx.exec(kSave, params);
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
    Params params =
        Params::of(u.uid, u.observed_generation, s.revision, s.source_documents, u.previous_source_documents,
                   n.documents - n.told_documents, n.chunks - n.told_chunks, s.drift.missing, s.drift.stale, s.drift.moved,
                   s.drift.partial, s.drift.invalid, s.drift.orphaned, s.drift.excess, u.unkeyed, s.dead_letters,
                   s.blocked_prunes, time_text(u.window.start), u.window.pruned, u.failures, s.last_error,
                   time_text(s.last_sweep), time_text(s.last_deep_sweep), time_text(s.last_converged), time_text(s.next_attempt),
                   s.last_handled_reconcile, u.provider_generation, u.observed_mark, u.source_counted, s.blocked_plan);
    tx.exec(kStatus, params);
    return s.conditions.empty() ? std::vector<Condition>() : write_conditions(tx, u.uid, s.conditions, reconcile_id);
}

Result<LoopState> read_loop_state(Session& session, std::int64_t uid) {
    return guarded([&] {
        const Rows rows = session.exec(kLoopState, Params::of(uid));
        LoopState s;
        s.failures = static_cast<int>(rows.i64(0, 0));
        if (!rows.null(0, 1)) s.next_attempt = parse_timestamp(rows.view(0, 1));
        s.last_handled_reconcile = rows.maybe(0, 2);
        s.previous_source_documents = rows.maybe_i64(0, 3);
        if (!rows.null(0, 4)) s.window.start = parse_timestamp(rows.view(0, 4));
        s.window.pruned = rows.i64(0, 5);
        s.provider_generation = rows.i64(0, 6);
        s.observed_mark = rows.maybe(0, 7);
        s.source_mark = rows.maybe(0, 8);
        s.at = parse_timestamp(rows.view(0, 9));
        return s;
    });
}

Result<RunProgress> read_progress(Session& session, std::int64_t run_id) {
    return guarded([&] {
        const Rows r = session.exec(kProgress, Params::of(run_id));
        return RunProgress{r.i64(0, 0), r.i64(0, 1), r.i64(0, 2), r.i64(0, 3), r.i64(0, 4), r.i64(0, 5), r.i64(0, 6)};
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
