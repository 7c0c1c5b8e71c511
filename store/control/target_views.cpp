#include "store/control/target_views.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "store/control/declared_columns.hpp"
#include "store/control/statuses.hpp"
#include "store/pg/named_statement.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/timestamps.hpp"

namespace homeostat {

namespace {

std::string select_views(const std::string& which) {
    return fmt::format(
        "SELECT {}, suspend, suspend_reason, approval, deletion_requested_at IS NOT NULL FROM homeostat.target_view {}",
        selected(target_view_columns()), which);
}

const Statement kList{"target_view_list", select_views("ORDER BY name, uid")};
const Statement kRead{"target_view_read", select_views("WHERE uid = $1::bigint")};
const Statement kFind{"target_view_find", select_views("WHERE name = $1 AND deletion_requested_at IS NULL")};
const Statement kNames{"target_view_names",
                       "SELECT name FROM homeostat.target_view WHERE deletion_requested_at IS NULL ORDER BY 1 LIMIT 1000"};

const Statement kStatus{"target_view_status",
                        "SELECT observed_generation, rows, counted_rows, pipelines, refused, names_taken, held, plan,"
                        " removal_window_start::text, removed_in_window, last_error FROM homeostat.own_target_view_status"
                        " WHERE uid = $1::bigint"};
const Statement kConditions{"target_view_conditions",
                            "SELECT type, status, reason, message, observed_generation, last_transition_at::text"
                            " FROM homeostat.own_target_view_condition WHERE uid = $1::bigint ORDER BY type <> 'Ready', type"};

const Statement kRefused{
    "target_view_refused_rows",
    "SELECT name, refusal FROM homeostat.own_target_view_row WHERE target_view = $1::bigint AND refusal IS NOT NULL"
    " ORDER BY name LIMIT 1000"};

const NamedStatement kWrite{
    "target_view_status_write",
    "INSERT INTO homeostat.target_view_status AS s (uid, observed_generation, rows, counted_rows, pipelines, refused, "
    "names_taken,"
    "  held, plan, removal_window_start, removed_in_window, last_error)"
    " VALUES (:uid::bigint, :generation::bigint, :rows::bigint, :counted_rows::bigint, :pipelines::bigint, :refused::bigint, "
    ":names_taken::bigint, :held::bigint, :plan,"
    "  :window_start::timestamptz, :removed_in_window::bigint, left(:last_error, 1024))"
    " ON CONFLICT (uid) DO UPDATE SET observed_generation = greatest(s.observed_generation, excluded.observed_generation),"
    "  rows = excluded.rows, counted_rows = excluded.counted_rows, pipelines = excluded.pipelines, refused = excluded.refused,"
    "  names_taken = excluded.names_taken, held = excluded.held, plan = excluded.plan,"
    "  removal_window_start = excluded.removal_window_start, removed_in_window = excluded.removed_in_window,"
    "  last_error = excluded.last_error, updated_at = clock_timestamp()"};

const Statement kWriteCondition{
    "target_view_condition_write",
    "INSERT INTO homeostat.target_view_condition AS c (uid, type, status, reason, message, observed_generation)"
    " VALUES ($1::bigint, $2, $3, $4, left($5, 1024), $6::bigint)"
    " ON CONFLICT (uid, type) DO UPDATE SET status = excluded.status, reason = excluded.reason, message = excluded.message,"
    "  observed_generation = greatest(c.observed_generation, excluded.observed_generation),"
    "  last_transition_at = CASE WHEN c.status = excluded.status THEN c.last_transition_at"
    "                            ELSE greatest(c.last_transition_at, clock_timestamp()) END"};

const Statement kSuspend{"target_view_suspend",
                         "UPDATE homeostat.target_view SET suspend_reason = CASE WHEN $2::boolean AND suspend"
                         " THEN coalesce($3, suspend_reason) ELSE $3 END, suspend = $2::boolean"
                         " WHERE name = $1 AND deletion_requested_at IS NULL RETURNING name"};
const Statement kApprove{
    "target_view_approve",
    "UPDATE homeostat.target_view v SET approval = $2 FROM homeostat.own_target_view_status s"
    " WHERE v.name = $1 AND v.deletion_requested_at IS NULL AND s.uid = v.uid AND s.plan = $2 RETURNING v.name"};
const Statement kClearApproval{"target_view_clear_approval",
                               "UPDATE homeostat.target_view SET approval = NULL WHERE uid = $1::bigint AND approval = $2"};

TargetViewSpec spec_at(const Rows& rows, int i) {
    RowReader row(rows, i);
    TargetViewSpec v = read_columns(row, target_view_columns());
    v.suspend = row.boolean();
    v.suspend_reason = row.maybe();
    v.approval = row.maybe();
    v.deleting = row.boolean();
    return v;
}

Error no_such(Session& session, std::string_view name) {
    const Rows rows = session.exec(kNames);
    std::vector<std::string_view> known;
    for (int i = 0; i < rows.size(); ++i) known.push_back(rows.view(i, 0));
    return not_found(fmt::format("target view \"{}\" does not exist{}", name, did_you_mean(name, known)));
}

bool same(const Condition& a, const Condition& b) {
    // What is stored was cut to its first 1024 characters; comparing a bit less than that many bytes is enough to see a change.
    return a.status == b.status && a.reason == b.reason &&
           std::string_view(a.message).substr(0, 1000) == std::string_view(b.message).substr(0, 1000) &&
           a.observed_generation >= b.observed_generation;
}

const Condition* find_condition(const TargetViewStatus& s, std::string_view type) {
    const auto found = std::find_if(s.conditions.begin(), s.conditions.end(), [&](const Condition& c) { return c.type == type; });
    return found == s.conditions.end() ? nullptr : &*found;
}

bool numbers_differ(const TargetViewStatus& a, const TargetViewStatus& b) {
    return a.observed_generation < b.observed_generation || a.rows != b.rows || a.counted_rows != b.counted_rows ||
           a.pipelines != b.pipelines || a.refused != b.refused || a.names_taken != b.names_taken || a.held != b.held ||
           a.plan != b.plan || a.removal_window_start != b.removal_window_start || a.removed_in_window != b.removed_in_window ||
           a.last_error != b.last_error;
}

void write_condition(Transaction& tx, std::int64_t uid, const Condition& c, const Condition* before,
                     const std::string& reconcile_id) {
    tx.exec(kWriteCondition, Params::of(uid, c.type, c.status, c.reason, c.message, c.observed_generation));
    const bool bad = c.type == "Ready" ? c.status != "True" : c.status == "True";
    if (before != nullptr ? before->status == c.status : !bad) return;  // no news
    add_event(tx, {.uid = uid,
                   .type = bad ? "Warning" : "Normal",
                   .reason = c.reason,
                   .message = fmt::format("{} is {}{}{}", c.type, c.status, c.message.empty() ? "" : ": ", c.message),
                   .reconcile_id = reconcile_id});
}

}  // namespace

std::string target_view_lease(std::int64_t uid) { return fmt::format("target_view/{}", uid); }

Result<std::vector<TargetViewSpec>> list_target_views(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kList);
        std::vector<TargetViewSpec> out;
        for (int i = 0; i < rows.size(); ++i) out.push_back(spec_at(rows, i));
        return out;
    });
}

Result<TargetViewSpec> read_target_view(Session& session, std::int64_t uid) {
    return guarded([&]() -> Result<TargetViewSpec> {
        const Rows rows = session.exec(kRead, Params::of(uid));
        if (rows.empty()) return not_found(fmt::format("the target view with uid {} does not exist any more", uid));
        return spec_at(rows, 0);
    });
}

Result<TargetViewSpec> find_target_view(Session& session, std::string_view name) {
    return guarded([&]() -> Result<TargetViewSpec> {
        const Rows rows = session.exec(kFind, Params::of(name));
        if (rows.empty()) return no_such(session, name);
        return spec_at(rows, 0);
    });
}

Result<TargetViewStatus> read_target_view_status(Session& session, std::int64_t uid) {
    return guarded([&] {
        TargetViewStatus s;
        const Rows rows = session.exec(kStatus, Params::of(uid));
        if (!rows.empty()) {
            RowReader c(rows, 0);
            s.observed_generation = c.integer();
            s.rows = c.maybe_integer<std::int64_t>();
            s.counted_rows = c.maybe_integer<std::int64_t>();
            s.pipelines = c.integer();
            s.refused = c.integer();
            s.names_taken = c.integer();
            s.held = c.integer();
            s.plan = c.text();
            s.removal_window_start = c.maybe_stamp();
            s.removed_in_window = c.integer();
            s.last_error = c.text();
        }
        const Rows conditions = session.exec(kConditions, Params::of(uid));
        for (int i = 0; i < conditions.size(); ++i) {
            RowReader c(conditions, i);
            s.conditions.push_back({c.text(), c.text(), c.text(), c.text(), c.integer(), c.stamp()});
        }
        return s;
    });
}

Result<std::vector<RowRefusal>> read_refused_rows(Session& session, std::int64_t uid) {
    return guarded([&] {
        const Rows rows = session.exec(kRefused, Params::of(uid));
        std::vector<RowRefusal> out;
        for (int i = 0; i < rows.size(); ++i) out.emplace_back(rows.text(i, 0), rows.text(i, 1));
        return out;
    });
}

Status set_target_view_suspended(Session& session, std::string_view name, bool suspended,
                                 const std::optional<std::string>& reason) {
    return guarded([&]() -> Status {
        if (session.exec(kSuspend, Params::of(name, suspended, reason)).empty()) return no_such(session, name);
        return {};
    });
}

Result<bool> approve_removals(Session& session, std::string_view name, std::string_view plan) {
    return guarded([&] { return !session.exec(kApprove, Params::of(name, plan)).empty(); });
}

void clear_approval(Transaction& tx, const TargetViewSpec& view) { tx.exec(kClearApproval, Params::of(view.uid, view.approval)); }

bool differs(const TargetViewStatus& before, const TargetViewStatus& status) {
    return numbers_differ(before, status) ||
           std::any_of(status.conditions.begin(), status.conditions.end(), [&](const Condition& c) {
               const Condition* old = find_condition(before, c.type);
               return old == nullptr || !same(*old, c);
           });
}

void write_target_view_status(Transaction& tx, const TargetViewSpec& view, const TargetViewStatus& before,
                              const TargetViewStatus& s, const std::string& reconcile_id) {
    if (numbers_differ(before, s)) {
        const auto since =
            s.removal_window_start ? std::optional<std::string>(format_timestamp(*s.removal_window_start)) : std::nullopt;
        tx.exec(kWrite.statement(), kWrite.with({{"uid", view.uid},
                                                 {"generation", s.observed_generation},
                                                 {"rows", s.rows},
                                                 {"counted_rows", s.counted_rows},
                                                 {"pipelines", s.pipelines},
                                                 {"refused", s.refused},
                                                 {"names_taken", s.names_taken},
                                                 {"held", s.held},
                                                 {"plan", s.plan},
                                                 {"window_start", since},
                                                 {"removed_in_window", s.removed_in_window},
                                                 {"last_error", s.last_error}}));
    }
    for (const Condition& c : s.conditions) {
        const Condition* old = find_condition(before, c.type);
        if (old == nullptr || !same(*old, c)) write_condition(tx, view.uid, c, old, reconcile_id);
    }
}

}  // namespace homeostat
