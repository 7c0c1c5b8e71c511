// What is there of a change feed's triggers, functions and table, compared with what is planned; and making and removing them.
#include <fmt/format.h>

#include <set>

#include "store/data/source_fingerprint.hpp"
#include "store/feed/capture.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

const Statement kTriggers{"capture_triggers",
                          "SELECT r.oid::regclass::text, coalesce(bool_and(t.tgenabled IN ('O', 'A')), false), count(t.oid),"
                          " string_agg(format('%s:%s:%s', t.oid, t.xmin, t.tgenabled), ',' ORDER BY t.oid),"
                          " coalesce(bool_or(t.tgenabled <> 'O'), false)"
                          " FROM unnest($1::text[]) w(name) JOIN pg_class r ON r.oid = to_regclass(w.name)"
                          " LEFT JOIN pg_trigger t ON t.tgrelid = r.oid AND t.tgname LIKE $2"
                          " GROUP BY r.oid ORDER BY r.oid"};

// Triggers that are left on what was the source before, or a part of it.
const Statement kLeftOver{"capture_left_over", R"sql(
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE t.tgname LIKE $2 AND NOT t.tgisinternal
      AND t.tgrelid NOT IN (SELECT to_regclass(w.name) FROM unnest($1::text[]) w(name) WHERE to_regclass(w.name) IS NOT NULL)
    ORDER BY 1 LIMIT 1)sql"};

// Those that somebody has switched off, or on for replicas too, and that call what they are to call.
const Statement kAsLeft{"capture_as_left", R"sql(
    SELECT w.i FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS w(relation, name, function, i)
    JOIN pg_trigger t ON t.tgrelid = to_regclass(w.relation) AND t.tgname = w.name::name JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgenabled <> 'O' AND p.proname = w.function::name)sql"};

// Whether the functions may do what they do is asked of their owners, as whom they run. What was taken away and given back is
// seen by the fingerprint: meanwhile something may have gone unnamed. The comment says what the table was made for, and what it
// was like then: one that was altered since is not what was made.
const Statement kOwn{"capture_own", R"sql(
    SELECT coalesce(obj_description(c.oid, 'pg_class'), ''), count(p.oid),
        concat_ws(';', string_agg(format('%s:%s', p.oid, p.xmin), ',' ORDER BY p.oid),
            (SELECT string_agg(format('%s:%s', o.oid, o.xmin), ',' ORDER BY o.oid) FROM pg_class o
             WHERE o.oid IN (c.oid, min(s.named), min(s.room), min(s.full), to_regclass('homeostat.feed_bell'))),
            (SELECT string_agg(h.xmin::text, ',' ORDER BY h.nspname) FROM pg_namespace h
             WHERE h.nspname IN ('homeostat', 'homeostat_data'))),
        (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) = $3::bigint
        AND to_regclass('homeostat.feed_bell') IS NOT NULL
        AND coalesce(bool_and(s.named IS NOT NULL AND s.room IS NOT NULL AND s.full IS NOT NULL
            AND has_schema_privilege(p.proowner, n.oid, 'USAGE') AND has_schema_privilege(p.proowner, 'homeostat', 'USAGE')
            AND has_table_privilege(p.proowner, c.oid, 'INSERT')
            AND has_table_privilege(p.proowner, to_regclass('homeostat.feed_bell'), 'SELECT')
            AND has_table_privilege(p.proowner, to_regclass('homeostat.feed_bell'), 'UPDATE')
            AND has_sequence_privilege(p.proowner, s.named, 'UPDATE') AND has_sequence_privilege(p.proowner, s.room, 'SELECT')
            AND has_sequence_privilege(p.proowner, s.full, 'UPDATE')), true),
        md5((SELECT string_agg(concat_ws(' ', a.attname, a.attnotnull, a.atttypmod, tn.nspname, t.typname, ln.nspname, l.collname),
                               ',' ORDER BY a.attnum)
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace tn ON tn.oid = t.typnamespace
             LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) || c.relkind::text || c.relpersistence::text)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT to_regclass('homeostat_data.' || $4 || '_named')::oid AS named,
        to_regclass('homeostat_data.' || $4 || '_room')::oid AS room, to_regclass('homeostat_data.' || $4 || '_full')::oid AS "full") s
    LEFT JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname LIKE $2
    WHERE n.nspname = 'homeostat_data' AND c.relname = $1 GROUP BY c.oid)sql"};

const Statement kFunctions{"capture_functions",
                           "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
                           " WHERE n.nspname = 'homeostat_data' AND p.proname LIKE $1"};

// What the comment of our table says: what it and the functions were made for, what it alone was made for, what it was like.
std::string comment_of(const CapturePlan& plan, std::string_view shape) {
    return fmt::format("homeostat {} {} {}", plan.digest, plan.table_digest, shape);
}

Rows read_own(Transaction& tx, std::int64_t uid, const CapturePlan& plan) {
    return tx.exec(kOwn, Params::of(fmt::format("p{}_change", uid), fmt::format("p{}\\_changed%", uid), plan.columns,
                                    fmt::format("p{}", uid)));
}

std::string names_of(const CapturePlan& plan) {
    std::vector<std::string> names;
    for (const CapturedRelation& r : plan.relations) names.push_back(r.relation);
    return format_text_array(names);
}

}  // namespace

Result<CaptureState> look_at_capture(Transaction& tx, std::int64_t uid, const CapturePlan& plan) {
    return guarded([&] {
        CaptureState state;
        const Rows own = read_own(tx, uid, plan);
        std::set<std::string_view> stems;
        for (const CapturedRelation& r : plan.relations) stems.insert(r.function);
        // A function that somebody dropped took its triggers with it.
        const auto functions = static_cast<std::int64_t>(stems.size() * kCaptureEvents);
        if (!own.empty()) {
            const std::string said = own.text(0, 0);
            const std::string meant = comment_of(plan, own.view(0, 4));
            const std::size_t of_table = meant.size() - plan.table_digest.size() - own.view(0, 4).size() - 1;
            state.table_stands =
                own.boolean(0, 3) && said.size() == meant.size() && said.substr(of_table) == meant.substr(of_table);
            state.current = own.boolean(0, 3) && said == meant && own.i64(0, 1) >= functions;
        }
        state.complete = state.current && !plan.relations.empty();
        if (!own.empty()) state.fingerprint = own.text(0, 2);
        state.blind = plan.blind;
        state.fingerprint += ";" + read_source_fingerprints(tx, {uid}).front();
        const Rows rows = tx.exec(kTriggers, Params::of(names_of(plan), fmt::format("homeostat\\_p{}\\_%", uid)));
        for (int i = 0; i < rows.size(); ++i) {
            state.fingerprint += fmt::format(";{}={}", rows.view(i, 0), rows.view(i, 3));
            state.set_by_hand = state.set_by_hand || rows.boolean(i, 4);
            if (rows.i64(i, 2) < static_cast<std::int64_t>(kCaptureEvents)) {
                state.missing = rows.text(i, 0);
            } else if (!rows.boolean(i, 1)) {
                state.disabled = rows.text(i, 0);
            }
        }
        const Rows left = tx.exec(kLeftOver, Params::of(names_of(plan), fmt::format("homeostat\\_p{}\\_%", uid)));
        if (!left.empty()) state.left_over = left.text(0, 0);
        state.complete =
            state.complete && state.missing.empty() && state.disabled.empty() && plan.blind.why == CaptureBlind::none;
        return state;
    });
}

Status make_capture_own(Transaction& tx, std::int64_t uid, const CapturePlan& plan, const CaptureState& state) {
    return guarded([&] {
        if (!state.table_stands) {
            for (const std::string& ddl : plan.table) tx.exec(ddl);
        }
        for (const std::string& ddl : plan.functions) tx.exec(ddl);
        tx.exec(
            fmt::format("COMMENT ON TABLE {} IS '{}'", change_table(uid), comment_of(plan, read_own(tx, uid, plan).view(0, 4))));
    });
}

Result<bool> make_capture_triggers(Transaction& tx, const CapturePlan& plan) {
    return guarded([&] {
        std::vector<std::string> relations;
        std::vector<std::string> names;
        std::vector<std::string> functions;
        for (const CaptureTrigger& t : plan.triggers) {
            relations.push_back(t.relation);
            names.push_back(t.name);
            functions.push_back(t.function);
        }
        const Rows rows =
            tx.exec(kAsLeft, Params::of(format_text_array(relations), format_text_array(names), format_text_array(functions)));
        std::set<std::int64_t> as_left;
        for (int i = 0; i < rows.size(); ++i) as_left.insert(rows.i64(i, 0));
        std::set<std::string_view> locked;
        for (std::size_t i = 0; i < plan.triggers.size(); ++i) {
            if (as_left.contains(static_cast<std::int64_t>(i) + 1)) continue;
            tx.exec(plan.triggers[i].ddl);
            locked.insert(plan.triggers[i].relation);
        }
        return locked.size() == std::set<std::string_view>(relations.begin(), relations.end()).size();
    });
}

Status drop_capture_functions(Transaction& tx, std::int64_t uid) {
    return guarded([&] {
        const Rows functions = tx.exec(kFunctions, Params::of(fmt::format("p{}\\_changed%", uid)));
        for (int i = 0; i < functions.size(); ++i) tx.exec(fmt::format("DROP FUNCTION {} CASCADE", functions.view(i, 0)));
    });
}

Status remove_capture(Transaction& tx, std::int64_t uid) {
    if (const Status dropped = drop_capture_functions(tx, uid); !dropped) return dropped;
    return guarded([&] {
        tx.exec(fmt::format("DROP TABLE IF EXISTS {}", change_table(uid)));
        tx.exec({"feed_forget", "DELETE FROM homeostat.feed WHERE uid = $1::bigint"}, Params::of(uid));
    });
}

}  // namespace homeostat
