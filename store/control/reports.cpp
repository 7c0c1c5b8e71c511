#include "store/control/reports.hpp"

#include <algorithm>
#include <map>

#include "store/control/leases.hpp"
#include "store/control/statuses.hpp"
#include "store/control/waiting.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

const Statement kFacts{
    "report_facts",
    "SELECT p.uid, p.name, p.suspend, coalesce(p.suspend_reason, ''), p.completeness, p.documents, "
    "coalesce(s.observed_generation, 0),"
    " s.source_documents, coalesce(s.documents, 0), coalesce(s.missing, 0), coalesce(s.stale, 0), coalesce(s.moved, 0),"
    " coalesce(s.partial, 0), coalesce(s.invalid, 0), coalesce(s.orphaned, 0), coalesce(s.excess, 0), s.last_sweep_at IS NULL,"
    " EXISTS (SELECT FROM homeostat.revision r WHERE r.uid = p.uid AND r.state = 'served')"
    "  AND EXISTS (SELECT FROM homeostat.revision r WHERE r.uid = p.uid AND r.state = 'building'),"
    " coalesce(u.phase, ''), coalesce(u.sweeps, 0), v.healthy IS NOT NULL AND (NOT v.healthy OR v.updated_at > "
    "n.last_transition_at"
    "  OR n.status = 'True'), coalesce(v.healthy, true), coalesce(v.reason, ''), coalesce(v.message, '')," +
        std::string(kWaitingColumns) +
        " FROM unnest($1::bigint[]) q(uid) JOIN homeostat.pipeline p ON p.uid = q.uid JOIN homeostat.waiting w ON w.uid = p.uid"
        " LEFT JOIN homeostat.own_pipeline_status s ON s.uid = p.uid LEFT JOIN homeostat.own_run u ON u.uid = p.uid"
        " LEFT JOIN homeostat.own_condition n ON n.uid = p.uid AND n.type = 'ProviderHealthy'"
        " LEFT JOIN homeostat.provider o ON o.name = p.provider"
        " LEFT JOIN homeostat.own_provider_status v ON v.uid = o.uid AND v.generation = o.generation"
        "  AND v.model = coalesce(p.model, o.model, '') ORDER BY p.uid"};

const Statement kConditions{"report_conditions",
                            "SELECT uid, type, status, reason, message, observed_generation FROM homeostat.own_condition"
                            " WHERE uid = ANY ($1::bigint[])"};

const Statement kStatuses{
    "report_statuses",
    "SELECT p.uid, p.name, s.updated_at::text, s.source_documents, s.documents, s.missing, s.stale, s.moved, s.partial, "
    "s.invalid,"
    " s.orphaned, s.excess, s.dead_letters, s.blocked_prunes, max(s.updated_at) OVER ()::text FROM homeostat.own_pipeline_status "
    "s"
    " JOIN homeostat.pipeline p USING (uid)"
    " WHERE s.updated_at > coalesce(nullif($1, '')::timestamptz - interval '5 seconds', '-infinity')"};

const Statement kWords{"report_providers",
                       "SELECT v.uid, v.model, v.healthy FROM homeostat.own_provider_status v JOIN homeostat.provider o"
                       " ON o.uid = v.uid AND o.generation = v.generation"};

// Before the conditions, as whoever records a pass does; whoever has it is about to say it all anew.
const Statement kLock{"report_lock", "SELECT uid FROM homeostat.pipeline_status WHERE uid = $1::bigint FOR UPDATE SKIP LOCKED"};
const Statement kCorrect{"report_correct",
                         "UPDATE homeostat.condition c SET status = w.status, reason = w.reason, message = left(w.message, 1024),"
                         " last_transition_at = CASE WHEN c.status = w.status THEN c.last_transition_at"
                         "                           ELSE greatest(c.last_transition_at, clock_timestamp()) END"
                         " FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])"
                         "  AS w(type, status, reason, message, had_status, had_reason)"
                         " WHERE c.uid = $1::bigint AND c.type = w.type AND c.status = w.had_status AND c.reason = w.had_reason"
                         " RETURNING c.type, w.had_status"};

const Statement kUses{"report_uses",
                      "SELECT p.uid, p.provider, coalesce(n.status = 'True', false)"
                      " FROM unnest($1::bigint[]) q(uid) JOIN homeostat.pipeline p ON p.uid = q.uid"
                      " LEFT JOIN homeostat.own_condition n ON n.uid = p.uid AND n.type = $2"};
const Statement kTell{"report_tell",
                      "WITH had AS (SELECT status FROM homeostat.condition WHERE uid = $1::bigint AND type = $2)"
                      " INSERT INTO homeostat.condition AS c (uid, type, status, reason, message, observed_generation)"
                      " SELECT p.uid, $2, $3, $4, left($5, 1024), p.generation FROM homeostat.pipeline p WHERE p.uid = $1::bigint"
                      " ON CONFLICT (uid, type) DO UPDATE SET status = excluded.status, reason = excluded.reason,"
                      "  message = excluded.message, observed_generation = excluded.observed_generation,"
                      "  last_transition_at = CASE WHEN c.status = excluded.status THEN c.last_transition_at"
                      "                            ELSE greatest(c.last_transition_at, clock_timestamp()) END"
                      " RETURNING (SELECT status FROM had)"};

Phase phase_named(std::string_view run_phase, std::int64_t sweeps) {
    if (run_phase == to_string(RunPhase::sweeping)) return sweeps == 1 ? Phase::observing : Phase::verifying;
    return run_phase == to_string(RunPhase::indexing) ? Phase::indexing : Phase::healing;
}

ReportFacts facts_at(const Rows& rows, int i) {
    ReportFacts f;
    RowReader c(rows, i);
    f.uid = c.integer();
    f.name = c.text();
    f.suspended = c.boolean();
    f.suspend_reason = c.text();
    f.completeness = c.real();
    f.declared = c.maybe_integer<std::int64_t>();
    PipelineStatus& s = f.status;
    s.observed_generation = c.integer();
    s.source_documents = c.maybe_integer<std::int64_t>();
    std::int64_t* counts[] = {&s.documents,     &s.drift.missing, &s.drift.stale,    &s.drift.moved,
                              &s.drift.partial, &s.drift.invalid, &s.drift.orphaned, &s.drift.excess};
    for (std::int64_t* count : counts) *count = c.integer();
    f.first = c.boolean();
    f.beside = c.boolean();
    const std::string_view phase = c.view();
    const std::int64_t sweeps = c.maybe_integer<std::int64_t>().value_or(0);
    if (!phase.empty()) f.phase = phase_named(phase, sweeps);
    f.provider_known = c.boolean();
    f.provider_healthy = c.boolean();
    f.provider_reason = c.text();
    f.provider_message = c.text();
    s.waiting = read_waiting(c);
    s.dead_letters = s.waiting.dead_letters;
    return f;
}

const Condition* find(const std::vector<Condition>& conditions, std::string_view type) {
    const auto it = std::find_if(conditions.begin(), conditions.end(), [&](const Condition& c) { return c.type == type; });
    return it == conditions.end() ? nullptr : &*it;
}

Params correction(std::int64_t uid, const std::vector<Condition>& stored, const std::vector<Condition>& wanted) {
    std::vector<std::string_view> columns[6];
    for (const Condition& c : wanted) {
        const Condition* had = find(stored, c.type);
        if (had == nullptr) continue;
        const std::string_view values[] = {c.type, c.status, c.reason, c.message, had->status, had->reason};
        for (std::size_t i = 0; i < 6; ++i) columns[i].push_back(values[i]);
    }
    Params params = Params::of(uid);
    for (const auto& column : columns) params.bytes(binary_array(column));
    return params;
}

}  // namespace

Result<std::vector<ReportFacts>> read_report_facts(Session& session, const std::vector<std::int64_t>& uids) {
    return guarded([&] {
        std::vector<ReportFacts> out;
        if (uids.empty()) return out;
        // One snapshot: what a pass writes in between would be judged by halves.
        Transaction tx = session.begin(TxMode::read_snapshot);
        const Rows rows = tx.exec(kFacts, Params().bytes(binary_array(uids)));
        const Rows conditions = tx.exec(kConditions, Params().bytes(binary_array(uids)));
        std::map<std::int64_t, std::size_t> where;
        for (int i = 0; i < rows.size(); ++i) {
            where[rows.i64(i, 0)] = out.size();
            out.push_back(facts_at(rows, i));
        }
        for (int i = 0; i < conditions.size(); ++i) {
            RowReader c(conditions, i);
            const auto it = where.find(c.integer());
            if (it == where.end()) continue;
            out[it->second].status.conditions.push_back({c.text(), c.text(), c.text(), c.text(), c.integer(), {}});
        }
        for (ReportFacts& f : out) {
            if (find(f.status.conditions, "BudgetSpent") != nullptr) f.budget = budget_hold(tx, f.uid);
        }
        return out;
    });
}

Result<std::vector<StatusLine>> list_statuses(Session& session, std::string& since) {
    return guarded([&] {
        const Rows rows = session.exec(kStatuses, Params::of(since));
        std::vector<StatusLine> out;
        for (int i = 0; i < rows.size(); ++i) {
            StatusLine line;
            RowReader c(rows, i);
            line.uid = c.integer();
            line.name = c.text();
            line.updated = c.text();
            PipelineStatus& s = line.status;
            s.source_documents = c.maybe_integer<std::int64_t>();
            std::int64_t* counts[] = {&s.documents,     &s.drift.missing,  &s.drift.stale,  &s.drift.moved,  &s.drift.partial,
                                      &s.drift.invalid, &s.drift.orphaned, &s.drift.excess, &s.dead_letters, &s.blocked_prunes};
            for (std::int64_t* count : counts) *count = c.integer();
            since = c.text();
            out.push_back(std::move(line));
        }
        return out;
    });
}

Result<std::vector<ProviderWord>> list_provider_words(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kWords);
        std::vector<ProviderWord> out;
        for (int i = 0; i < rows.size(); ++i) out.push_back({rows.i64(i, 0), rows.text(i, 1), rows.boolean(i, 2)});
        return out;
    });
}

Result<std::vector<PipelineUse>> list_pipeline_uses(Session& session, const std::vector<std::int64_t>& uids,
                                                    std::string_view type) {
    return guarded([&] {
        const Rows rows = session.exec(kUses, Params().bytes(binary_array(uids)).add(type));
        std::vector<PipelineUse> out;
        for (int i = 0; i < rows.size(); ++i) out.push_back({rows.i64(i, 0), rows.text(i, 1), rows.boolean(i, 2)});
        return out;
    });
}

Result<bool> tell_condition(Session& session, std::int64_t uid, std::int64_t epoch, const Condition& condition,
                            const std::string& reconcile_id) {
    return guarded([&] {
        Transaction tx = session.begin();
        hold_lease(tx, pipeline_lease(uid), epoch);
        if (tx.exec(kLock, Params::of(uid)).empty()) return false;
        const Rows rows = tx.exec(kTell, Params::of(uid, condition.type, condition.status, condition.reason, condition.message));
        if (rows.empty()) return true;  // it is gone
        const std::optional<std::string> before = rows.maybe(0, 0);
        if (before != condition.status) add_condition_event(tx, uid, condition, before, reconcile_id);
        tx.commit();
        return true;
    });
}

Result<bool> correct_conditions(Session& session, std::int64_t uid, std::int64_t epoch, const std::vector<Condition>& stored,
                                const std::vector<Condition>& wanted, const std::string& reconcile_id) {
    return guarded([&] {
        Transaction tx = session.begin();
        hold_lease(tx, pipeline_lease(uid), epoch);
        if (tx.exec(kLock, Params::of(uid)).empty()) return false;
        const Rows rows = tx.exec(kCorrect, correction(uid, stored, wanted));
        for (int i = 0; i < rows.size(); ++i) {
            const Condition* c = find(wanted, rows.view(i, 0));
            if (c != nullptr && c->status != rows.view(i, 1)) add_condition_event(tx, uid, *c, rows.text(i, 1), reconcile_id);
        }
        tx.commit();
        return true;
    });
}

}  // namespace homeostat
