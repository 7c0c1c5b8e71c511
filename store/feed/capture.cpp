#include "store/feed/capture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <set>

#include "store/data/source_fingerprint.hpp"
#include "store/data/watched_columns.hpp"
#include "store/feed/capture_functions.hpp"
#include "store/pg/group_role.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

// Those that inherit too: a statement that names one fires its triggers and no others. What a subscription writes fires no
// triggers of statements, and a partition is written to through what it is a part of.
const Statement kMembers{"capture_members", R"sql(
    WITH RECURSIVE member (oid) AS (
        SELECT to_regclass($1)::oid
        UNION SELECT i.inhrelid FROM member m JOIN pg_inherits i ON i.inhparent = m.oid
    )
    SELECT m.* FROM member w
    -- OFFSET 0: by oid, not through the whole catalog.
    CROSS JOIN LATERAL (
        SELECT m.oid::text, format('%I.%I', n.nspname, m.relname), homeostat.relation_text(m.oid), m.relkind,
            has_table_privilege(m.oid, 'TRIGGER'), EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = m.oid),
            EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = m.oid
                    OR (m.relispartition AND s.srrelid IN (SELECT relid FROM pg_partition_ancestors(m.oid) a(relid)))),
            quote_ident(pg_get_userbyid(m.relowner))
        FROM pg_class m JOIN pg_namespace n ON n.oid = m.relnamespace
        WHERE m.oid = w.oid AND m.relkind IN ('r', 'p', 'f') OFFSET 0) m
    ORDER BY w.oid)sql"};

// Of capture_from, a table on which the role that declared the pipeline may not make triggers any more: what is declared was
// checked when it was written (check_capture_from), and rights go later. Who is granted the controller's role may make them.
const Statement kRefused{"capture_refused", R"sql(
    SELECT homeostat.relation_text(t.oid), b.value ->> 'table', quote_ident(p.declared_by)
    FROM homeostat.pipeline p JOIN pg_roles r ON r.rolname = p.declared_by
    CROSS JOIN LATERAL jsonb_array_elements(p.capture_from) b(value)
    CROSS JOIN LATERAL (SELECT to_regclass(b.value ->> 'table')::oid) t(oid)
    WHERE p.uid = $1::bigint AND t.oid IS NOT NULL AND NOT has_table_privilege(r.oid, t.oid, 'TRIGGER')
        AND NOT coalesce((SELECT pg_has_role(r.oid, g.oid, 'USAGE') FROM pg_roles g WHERE g.rolname = 'homeostat_controller'), false)
    LIMIT 1)sql"};

// How a column is compared: as it is where equal values have equal texts; else by its bytes.
const Statement kComparable{
    "capture_columns",
    "SELECT a.attname, quote_ident(a.attname), quote_literal(format('%I.%I', tn.nspname, t.typname)),"
    " CASE WHEN a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'bool'::regtype, 'uuid'::regtype,"
    "                          'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype, 'bytea'::regtype) THEN ''"
    "      WHEN a.atttypid IN ('text'::regtype, 'varchar'::regtype) THEN ' COLLATE pg_catalog.\"C\"'"
    " END, a.attlen = -1"
    " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace tn ON tn.oid = t.typnamespace"
    " WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped"};

// The same in every build, so that replicas of two versions agree whether anything changed. FNV-1a, 64 bits.
std::uint64_t fnv1a(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    return hash;
}

constexpr std::array<std::string_view, kCaptureEvents> kEvents{"insert", "update", "delete", "truncate"};

std::vector<CapturedColumn> columns_of(Transaction& tx, const std::string& relation) {
    const Rows rows = tx.exec(kComparable, Params::of(relation));
    std::vector<CapturedColumn> out;
    for (int i = 0; i < rows.size(); ++i)
        out.push_back({rows.text(i, 0), rows.text(i, 1), rows.text(i, 2), "", rows.maybe(i, 3), rows.boolean(i, 4)});
    return out;
}

const CapturedColumn* find(const std::vector<CapturedColumn>& columns, const std::string& name) {
    const auto it = std::find_if(columns.begin(), columns.end(), [&](const CapturedColumn& c) { return c.name == name; });
    return it == columns.end() ? nullptr : &*it;
}

// `named`: what it changes, so that its rows are needed.
CaptureTrigger trigger(std::int64_t uid, const std::string& relation, const std::string& stem, std::string_view function,
                       bool named) {
    const bool row = of_rows(function);
    const std::string event(function.substr(0, function.find('_')));
    std::string rows;
    if (!row && named && event == "insert") rows = "REFERENCING NEW TABLE AS new_rows ";
    if (!row && named && event == "delete") rows = "REFERENCING OLD TABLE AS old_rows ";
    if (!row && named && event == "update") rows = "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows ";
    std::string upper(event);
    std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return std::toupper(c); });
    const std::string name = fmt::format("homeostat_p{}_{}", uid, event);
    const std::string called = fmt::format("{}_{}", stem, function);
    return {relation, name, called,
            fmt::format("CREATE OR REPLACE TRIGGER {} AFTER {} ON {} {}FOR EACH {} EXECUTE FUNCTION homeostat_data.{}()", name,
                        upper, relation, rows, row ? "ROW" : "STATEMENT", called)};
}

std::string none_because(char kind) {
    switch (kind) {
        case 'v': return " is a view; name the tables behind it in capture_from";
        case 'm': return " fires no triggers, but each REFRESH of it is noticed";
        default: return " fires no triggers";
    }
}

// A table that is watched where `relation` is: itself, its partitions, what inherits from it. As kMembers has it.
struct CaptureMember {
    std::string relation;  // quoted, schema-qualified
    std::string described;
    char kind;
    bool may_trigger;
    bool has_children;
    bool subscribed;  // written by logical replication
    std::string owner;  // quoted
};

class Planner {
public:
    Planner(Transaction& tx, const PipelineSpec& spec, const SourceShape& source, std::vector<std::string> watched)
        : tx_(tx), spec_(spec), source_(source), watched_(std::move(watched)) {}

    CapturePlan run() {
        if (!spec_.capture_from.empty() && refused()) return std::move(plan_);
        if (source_.kind == 'r' || source_.kind == 'p') {
            plan_.by_key = true;
            plan_.counts = !spec_.documents;
            const std::vector<CapturedColumn> columns = columns_of(tx_, source_.relation);
            watch(source_.relation, "", columns, spec_.key, watched_);
        } else if (spec_.capture_from.empty()) {
            plan_.none_because = source_.described + none_because(source_.kind);
        }
        for (std::size_t i = 0; i < spec_.capture_from.size(); ++i) watch_base(spec_.capture_from[i], i + 1);
        // Where a statement reaches rows on another server, transition tables make it fail, so none of ours may be there.
        if (plan_.blind.why == CaptureBlind::foreign) plan_.relations.clear();
        if (plan_.relations.empty()) return std::move(plan_);
        if (!source_.filtered.empty()) plan_.blind = {CaptureBlind::filtered, source_.filtered};
        own_table();
        plan_.functions.push_back(where_group_may_own(
            // Writers name changes there: its lock is taken only where it belongs to somebody else.
            fmt::format("IF (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = '{0}'::pg_catalog.regclass) <>"
                        " 'homeostat_controller'::pg_catalog.regrole THEN ALTER TABLE {0} OWNER TO homeostat_controller; END IF;"
                        " FOR f IN SELECT p.oid FROM pg_catalog.pg_proc p WHERE"
                        " p.pronamespace = 'homeostat_data'::pg_catalog.regnamespace AND p.proname LIKE 'p{1}\\_changed%' LOOP"
                        " EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO homeostat_controller', f); END LOOP;",
                        change_table(spec_.uid), spec_.uid)));
        // To cut off its end VACUUM locks it: writers would find it locked, and ask for a sweep.
        plan_.functions.push_back(fmt::format(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = '{0}'::pg_catalog.regclass AND"
            " 'vacuum_truncate=false' = ANY (c.reloptions)) THEN ALTER TABLE {0} SET (vacuum_truncate = false); END IF; END $$",
            change_table(spec_.uid)));
        std::string all;
        for (const std::string& ddl : plan_.table) all += ddl;
        plan_.table_digest = fmt::format("{:016x}", fnv1a(all));
        for (const std::string& ddl : plan_.functions) all += ddl;
        plan_.digest = fmt::format("{:016x}", fnv1a(all));
        return std::move(plan_);
    }

private:
    bool refused() {
        const Rows rows = tx_.exec(kRefused, Params::of(spec_.uid));
        if (rows.empty()) return false;
        plan_.none_because = fmt::format(
            "capture_from names {}, on which role {} may not make triggers any more; GRANT TRIGGER ON"
            " {} TO {}",
            rows.view(0, 0), rows.view(0, 2), rows.view(0, 1), rows.view(0, 2));
        return true;
    }

    // By key where the table shows all of it; else a change of the table only says that the view may have changed.
    void watch_base(const CaptureBase& base, std::size_t number) {
        std::vector<std::string> key;
        for (const std::string& name : spec_.key) {
            const auto it = base.key.find(name);
            if (it != base.key.end()) key.push_back(it->second);
        }
        const bool whole = key.size() == spec_.key.size();
        plan_.by_key = plan_.by_key || whole;
        watch(base.table, fmt::format("_b{}", number), columns_of(tx_, base.table), whole ? key : std::vector<std::string>(), {});
    }

    void watch(const std::string& relation, const std::string& suffix, const std::vector<CapturedColumn>& columns,
               const std::vector<std::string>& key_names, const std::vector<std::string>& watched) {
        std::vector<CapturedColumn> key;
        for (const std::string& name : key_names) {
            if (const CapturedColumn* c = find(columns, name)) key.push_back(*c);
        }
        if (key.size() != key_names.size()) key.clear();
        for (std::size_t i = 0; i < key.size(); ++i) key[i].wide = source_.key[i].wide;
        std::vector<CapturedColumn> compared;
        for (const std::string& name : watched) {
            if (const CapturedColumn* c = find(columns, name)) compared.push_back(*c);
        }
        const std::string stem = fmt::format("p{}_changed{}", spec_.uid, suffix);
        const std::vector<CaptureMember> members = all_of(tx_.exec(kMembers, Params::of(relation)), [](RowReader c) {
            c.skip();
            return CaptureMember{c.text(), c.text(), c.text().front(), c.boolean(), c.boolean(), c.boolean(), c.text()};
        });
        note_blind(members);
        // Where rows of other tables are reached through this one, only its statement sees all of them.
        const bool alone = members.size() == 1 && members[0].kind == 'r' && !members[0].has_children;
        const bool named = !key.empty();
        std::array<std::string_view, 4> events = kEvents;
        if (alone && named) std::replace(events.begin(), events.end(), std::string_view("update"), kRowUpdate);
        if (alone && named && copies_are_limited()) {
            std::replace(events.begin(), events.end(), std::string_view("insert"), kRowInsert);
            std::replace(events.begin(), events.end(), std::string_view("delete"), kRowDelete);
        }
        const CaptureFunctions functions(spec_.uid, stem,
                                         {std::move(key), watched.empty() ? columns : compared, watched.empty(), tells_chunks()});
        for (const std::string_view event : events) plan_.functions.push_back(functions.text(event));
        for (const std::string_view event : events)
            plan_.functions.push_back(only_for(members, fmt::format("{}_{}", stem, event)));
        for (const CaptureMember& m : members) {
            if (m.kind == 'f') continue;  // fires none that would serve
            plan_.relations.push_back({m.relation, m.described, stem, m.may_trigger});
            for (const std::string_view event : events)
                plan_.triggers.push_back(trigger(spec_.uid, m.relation, stem, event, named));
        }
    }

    bool tells_chunks() {
        static const Statement kTells{"capture_tells_chunks",
                                      "SELECT to_regprocedure('pg_catalog.pg_column_toast_chunk_id(\"any\")') IS NOT NULL"};
        return tx_.exec(kTells).boolean(0, 0);
    }

    // A statement with transition tables copies its rows, and fails where the copies may not be as large as they are.
    bool copies_are_limited() {
        static const Statement kLimited{"capture_limited", R"sql(
            SELECT current_setting('temp_file_limit') <> '-1' OR EXISTS (
                SELECT FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) c(given)
                WHERE c.given LIKE 'temp_file_limit=%' AND c.given <> 'temp_file_limit=-1'
                  AND s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))))sql"};
        return tx_.exec(kLimited).boolean(0, 0);
    }

    // Whoever may call it may put it on a table of his own. Those of the source may be asked to (`capture sql`).
    static std::string only_for(const std::vector<CaptureMember>& members, const std::string& function) {
        std::set<std::string> owners;
        for (const CaptureMember& m : members) owners.insert(m.owner);
        std::string out = fmt::format("REVOKE ALL ON FUNCTION homeostat_data.{}() FROM PUBLIC", function);
        for (const std::string& o : owners)
            out += fmt::format("; GRANT EXECUTE ON FUNCTION homeostat_data.{}() TO {}", function, o);
        return out;
    }

    void note_blind(const std::vector<CaptureMember>& members) {
        for (const CaptureMember& m : members) {
            if (m.kind == 'f') plan_.blind = {CaptureBlind::foreign, m.described};
            if (m.subscribed) plan_.blind = {CaptureBlind::subscribed, m.described};
        }
    }

    static std::string readable(std::string_view right, const std::string& relation) {
        std::string out = "DO $$ BEGIN";
        for (const std::string_view role : {"homeostat_declarer", "homeostat_admin", "homeostat_owner"})
            out += fmt::format(" IF pg_catalog.to_regrole('{0}') IS NOT NULL THEN GRANT {1} ON {2} TO {0}; END IF;", role, right,
                               relation);
        return out + " END $$";
    }

    // The source's own types, as wide as they may become: a key's text depends on the writer's settings, its value does not.
    void own_table() {
        std::string keys;
        for (std::size_t i = 0; i < source_.key.size(); ++i)
            keys += fmt::format(", key_{} {}{}", i + 1, source_.key[i].wide, source_.key[i].collate);
        plan_.columns = static_cast<std::int64_t>(source_.key.size()) + 2;
        const std::string table = change_table(spec_.uid);
        std::vector<std::string>& ddl = plan_.table;
        ddl = {
            fmt::format("DROP TABLE IF EXISTS {}", table),
            fmt::format("CREATE TABLE {} (change \"char\" NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(){}) WITH "
                        "(autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,"
                        " autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000000)",
                        table, keys),
            // It has no key, and what is published cannot be deleted from without an identity: FOR ALL TABLES publishes it too.
            fmt::format("ALTER TABLE {} REPLICA IDENTITY FULL", table),
            // Who declares or administers may see how much waits, and since when, and no key.
            readable("SELECT (at)", table),
        };
        const std::array<std::pair<std::string, std::int64_t>, 3> sequences{
            {{named_sequence(spec_.uid), 1}, {room_sequence(spec_.uid), 1 + kRoomAtLeast}, {full_sequence(spec_.uid), kNotFull}}};
        // They go with the table.
        for (const auto& [name, value] : sequences) {
            ddl.push_back(fmt::format("CREATE SEQUENCE {} OWNED BY {}.change", name, table));
            ddl.push_back(fmt::format("SELECT setval('{}', {})", name, value));
        }
        ddl.push_back(readable("SELECT", full_sequence(spec_.uid)));
    }

    Transaction& tx_;
    const PipelineSpec& spec_;
    const SourceShape& source_;
    const std::vector<std::string> watched_;
    CapturePlan plan_;
};

}  // namespace

Result<CapturePlan> plan_capture(Transaction& tx, const PipelineSpec& spec, const SourceShape& source,
                                 const std::optional<PipelineSpec>& beside) {
    std::vector<std::string> watched = watched_columns(spec);
    if (beside) {
        for (std::string& name : watched_columns(*beside)) {
            if (std::ranges::find(watched, name) == watched.end()) watched.push_back(std::move(name));
        }
    }
    return guarded([&] { return Planner(tx, spec, source, std::move(watched)).run(); });
}

}  // namespace homeostat
