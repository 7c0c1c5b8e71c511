// The rows of a target view: what differs from the pipelines they declared, and the statements that follow from it.
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "store/control/target_views.hpp"
#include "store/data/source_code.hpp"
#include "store/data/source_reader.hpp"
#include "store/data/who_looks.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/timestamps.hpp"

namespace homeostat {

namespace {

using Column = TargetViewSight::Column;

const Statement kColumns{"target_view_columns",
                         "SELECT quote_ident(name), type, fallback, required, name"
                         " FROM homeostat.target_view_columns(format('target view \"%s\"', $1::text), to_regclass($2::text))"};
// What the role that declared it may not read is read for nobody.
const Statement kMayRead{"target_view_may_read",
                         "SELECT homeostat.refusal(v) FROM homeostat.target_view v WHERE v.uid = $1::bigint"
                         " AND to_regclass(v.relation) IS NOT NULL"};
const Statement kDeclarable{"target_view_declarable",
                            "SELECT quote_ident(attname) FROM homeostat.declarable_columns() WHERE attname <> 'name'"};

// {0}: the relation's columns in the types of a pipeline's, {1}: the relation.
constexpr std::string_view kDeclared =
    "SELECT r.name, count(*) AS rows, min(hash_record_extended(r, 0)) AS hash FROM (SELECT {0} FROM {1} AS v) AS r GROUP BY 1";
// The same where it was read apart.
constexpr std::string_view kDeclaredApart =
    "SELECT r.name, r.rows, r.hash FROM unnest($3::text[], $4::bigint[], $5::bigint[]) AS r(name, rows, hash)";

// {0}: what is declared. A pipeline is found by its name, whosoever it is.
constexpr std::string_view kLook = R"(
WITH declared AS (
    {0}
), compared AS MATERIALIZED (
    SELECT coalesce(d.name, k.name) AS name, d.hash, k.refusal, p.target_view = $1::bigint AND k.suspended_as IS NULL AS live,
           CASE WHEN d.hash IS NULL AND p.target_view = $1::bigint
                THEN CASE WHEN k.suspended_as IS NULL THEN 'vanished' ELSE 'gone' END
                WHEN d.hash IS NULL THEN 'forgotten'
                WHEN d.name IS NULL THEN 'nameless'
                WHEN d.rows > 1 THEN 'ambiguous'
                WHEN p.uid IS NOT NULL AND p.target_view IS DISTINCT FROM $1::bigint THEN 'taken'
                WHEN k.refusal IS NOT NULL AND k.row_hash = d.hash AND NOT $2::boolean
                     AND k.tried_at > clock_timestamp() - interval '10 seconds' THEN 'refused'
                WHEN p.uid IS NULL THEN 'fresh'
                WHEN k.row_hash IS DISTINCT FROM d.hash OR k.generation <> p.generation OR k.suspended_as IS NOT NULL
                     OR k.refusal IS NOT NULL THEN 'changed'
                ELSE 'unchanged' END AS kind
    FROM declared d
    FULL JOIN (SELECT * FROM homeostat.target_view_row WHERE target_view = $1::bigint) AS k ON k.name = d.name
    LEFT JOIN homeostat.pipeline p ON p.name = coalesce(d.name, k.name) AND p.deletion_requested_at IS NULL
)
SELECT 'total', left(md5(jsonb_agg(name ORDER BY name COLLATE "C") FILTER (WHERE kind = 'vanished')::text), 12),
       count(*) FILTER (WHERE hash IS NOT NULL AND name IS NOT NULL), count(*) FILTER (WHERE live), NULL FROM compared
UNION ALL
SELECT kind, name, hash, 0, refusal FROM compared WHERE kind NOT IN ('unchanged', 'gone'))";

// {2}: which required columns are NULL.
constexpr std::string_view kReadRows =
    "SELECT r.name, hash_record_extended(r, 0), to_jsonb(r)::text, {2} FROM (SELECT {0} FROM {1} AS v) AS r"
    " WHERE r.name = ANY ($1::text[])";

const Statement kWriteFor{"target_view_write_for", "SELECT set_config('homeostat.target_view', $1, true)"};

const Statement kResume{"target_view_resume",
                        "UPDATE homeostat.pipeline p SET suspend = false FROM homeostat.target_view_row k"
                        " WHERE k.target_view = $1::bigint AND k.name = ANY ($2::text[]) AND p.name = k.name"
                        " AND p.target_view = $1::bigint AND p.deletion_requested_at IS NULL AND p.suspend"
                        " AND p.suspend_reason = k.suspended_as"};
const Statement kRemember{
    "target_view_remember",
    "INSERT INTO homeostat.target_view_row (target_view, name, row_hash, generation)"
    " SELECT $1::bigint, w.name, w.hash, p.generation FROM unnest($2::text[], $3::bigint[]) AS w(name, hash)"
    " JOIN homeostat.pipeline p ON p.name = w.name AND p.deletion_requested_at IS NULL AND p.target_view = $1::bigint"
    " ON CONFLICT (target_view, name) DO UPDATE SET row_hash = excluded.row_hash, generation = excluded.generation,"
    "  suspended_as = NULL, refusal = NULL, tried_at = clock_timestamp()"};
const Statement kRefused{
    "target_view_refused",
    "INSERT INTO homeostat.target_view_row (target_view, name, row_hash, refusal)"
    " SELECT $1::bigint, w.name, w.hash, left(w.refusal, 1024) FROM unnest($2::text[], $3::bigint[], $4::text[]) AS w(name, "
    "hash, refusal)"
    " ON CONFLICT (target_view, name) DO UPDATE SET row_hash = excluded.row_hash, refusal = excluded.refusal,"
    "  tried_at = clock_timestamp()"};

const Statement kForget{"target_view_forget",
                        "DELETE FROM homeostat.target_view_row WHERE target_view = $1::bigint AND name = ANY ($2::text[])"};
const Statement kSuspend{"target_view_suspend_pipelines",
                         "UPDATE homeostat.pipeline SET suspend = true, suspend_reason = $3 WHERE target_view = $1::bigint"
                         " AND name = ANY ($2::text[]) AND deletion_requested_at IS NULL AND NOT suspend"};
const Statement kSuspended{"target_view_suspended_rows",
                           "UPDATE homeostat.target_view_row SET suspended_as = $3 WHERE target_view = $1::bigint"
                           " AND name = ANY ($2::text[])"};
const Statement kDelete{"target_view_delete_pipelines",
                        "DELETE FROM homeostat.pipeline WHERE target_view = $1::bigint AND name = ANY ($2::text[])"
                        " AND deletion_requested_at IS NULL"};
const Statement kOrphan{
    "target_view_orphan_pipelines",
    "UPDATE homeostat.pipeline SET target_view = NULL WHERE target_view = $1::bigint AND name = ANY ($2::text[])"
    " AND deletion_requested_at IS NULL"};
const Statement kOwned{"target_view_owned",
                       "SELECT name FROM homeostat.pipeline WHERE target_view = $1::bigint AND deletion_requested_at IS NULL"};
const Statement kLetGo{"target_view_let_go", "UPDATE homeostat.pipeline SET target_view = NULL WHERE target_view = $1::bigint"};
const Statement kFinalize{"target_view_finalize", "UPDATE homeostat.target_view SET finalizers = '{}' WHERE uid = $1::bigint"};
const Statement kGone{"target_view_delete", "DELETE FROM homeostat.target_view WHERE uid = $1::bigint"};

template <class T, class F>
Bytes texts(const std::vector<T>& all, F text) {
    std::vector<std::string_view> views;
    views.reserve(all.size());
    for (const T& t : all) views.push_back(text(t));
    return binary_array(std::span<const std::string_view>(views));
}

Bytes texts(const std::vector<std::string>& all) {
    return texts(all, [](const std::string& s) { return std::string_view(s); });
}

struct Shape {
    std::vector<Column> columns;  // names quoted
    std::vector<std::string> ignored;
    std::string selected;
    std::string lacks = "NULL";
};

Shape shape_of(Transaction& tx, const TargetViewSpec& view) {
    Shape shape;
    std::string whens;
    const Rows rows = tx.exec(kColumns, Params::of(view.name, view.relation));
    for (int i = 0; i < rows.size(); ++i) {
        const std::string name = rows.text(i, 0);
        if (rows.null(i, 1)) {
            shape.ignored.push_back(rows.text(i, 4));
            continue;
        }
        shape.columns.push_back({name, rows.text(i, 1), rows.maybe(i, 2)});
        shape.selected += fmt::format("{}v.{}::{} AS {}", shape.selected.empty() ? "" : ", ", name, rows.text(i, 1), name);
        if (rows.boolean(i, 3)) whens += fmt::format(" WHEN r.{0} IS NULL THEN '{0}'", name);
    }
    if (!whens.empty()) shape.lacks = "CASE" + whens + " END";
    return shape;
}

void refuse_unreadable(Transaction& tx, const TargetViewSpec& view) {
    const Rows rows = tx.exec(kMayRead, Params::of(view.uid));
    if (rows.empty() || rows.null(0, 0)) return;
    throw StoreFailure({.cls = ErrorClass::db_permanent,
                        .message = fmt::format("target view \"{}\": {}", view.name, rows.view(0, 0)),
                        .origin = Origin::user,
                        .code = "42501"});
}

void add_declared(Params& params, const Rows& rows) {
    std::vector<std::optional<std::string_view>> names;
    std::vector<std::int64_t> counts;
    std::vector<std::int64_t> hashes;
    for (int i = 0; i < rows.size(); ++i) {
        names.push_back(rows.null(i, 0) ? std::nullopt : std::optional(rows.view(i, 0)));
        counts.push_back(rows.i64(i, 1));
        hashes.push_back(rows.i64(i, 2));
    }
    params.bytes(binary_array(std::span<const std::optional<std::string_view>>(names)));
    params.bytes(binary_array(counts)).bytes(binary_array(hashes));
}

void read_rows(Transaction& reading, const TargetViewSpec& view, const Shape& shape, TargetViewSight& sight) {
    const Rows rows = reading.exec(
        {fmt::format("target_view_rows_{}", view.uid), fmt::format(kReadRows, shape.selected, view.relation, shape.lacks)},
        Params().bytes(texts(sight.declaring, [](const DeclaringRow& r) { return std::string_view(r.name); })));
    std::sort(sight.declaring.begin(), sight.declaring.end(),
              [](const DeclaringRow& a, const DeclaringRow& b) { return a.name < b.name; });
    for (int i = 0; i < rows.size(); ++i) {
        const auto at = std::lower_bound(sight.declaring.begin(), sight.declaring.end(), rows.view(i, 0),
                                         [](const DeclaringRow& r, std::string_view name) { return r.name < name; });
        if (at == sight.declaring.end() || at->name != rows.view(i, 0)) continue;
        at->hash = rows.i64(i, 1);
        at->json = rows.text(i, 2);
        at->lacks = rows.text(i, 3);
    }
    // A relation made by a volatile function may have other rows now than a moment ago: the next look is about those.
    std::erase_if(sight.declaring, [](const DeclaringRow& r) { return r.json.empty(); });
}

void sort_in(const Rows& rows, int i, const TargetViewSpec& view, TargetViewSight& sight) {
    const std::string_view kind = rows.view(i, 0);
    std::string name = rows.text(i, 1);
    if (kind == "total") {
        sight.plan = name;
        sight.rows = rows.i64(i, 2);
        sight.declared = rows.i64(i, 3);
    } else if (kind == "fresh" || kind == "changed") {
        sight.declaring.push_back({.name = std::move(name), .fresh = kind == "fresh"});
    } else if (kind == "vanished") {
        sight.vanished.push_back(std::move(name));
    } else if (kind == "taken") {
        sight.taken.push_back(std::move(name));
    } else if (kind == "forgotten") {
        sight.forgotten.push_back(std::move(name));
    } else if (kind == "refused") {
        sight.refused.emplace_back(std::move(name), rows.text(i, 4));
    } else if (kind == "ambiguous") {
        std::string sentence = fmt::format("pipeline \"{}\": more than one row of {} has this name", name, view.relation);
        sight.refused.emplace_back(std::move(name), std::move(sentence));
    } else {
        sight.refused.emplace_back("", fmt::format("a row of {} has no name", view.relation));
    }
}

std::string json_list(std::span<const DeclaringRow> rows, bool fresh) {
    std::string out = "[";
    for (const DeclaringRow& row : rows) {
        if (row.fresh != fresh) continue;
        if (out.size() > 1) out += ',';
        out += row.json;
    }
    return out + "]";
}

// Inserting and updating a set of rows; either may be refused by the checks of homeostat.pipeline.
class Declaring {
public:
    Declaring(Transaction& tx, const TargetViewSpec& view, const std::vector<Column>& columns) : tx_(tx), view_(view) {
        std::string names;
        std::string values;
        std::vector<std::string> given;
        for (const Column& c : columns) {
            const std::string value = c.fallback ? fmt::format("coalesce(r.{}, {})", c.name, *c.fallback) : "r." + c.name;
            names += fmt::format(", {}", c.name);
            values += ", " + value;
            if (c.name == "name") continue;
            sets_ += fmt::format("{}{} = {}", sets_.empty() ? "" : ", ", c.name, value);
            given.push_back(c.name);
        }
        insert_ = fmt::format(
            "INSERT INTO homeostat.pipeline (target_view{}) SELECT $1::bigint{}"
            " FROM jsonb_populate_recordset(NULL::homeostat.pipeline, $2::jsonb) AS r",
            names, values);
        // A row is the whole truth about its pipeline: what it has no column for returns to its default.
        const Rows all = tx.exec(kDeclarable);
        for (int i = 0; i < all.size(); ++i) {
            if (std::find(given.begin(), given.end(), all.view(i, 0)) == given.end())
                sets_ += fmt::format(", {} = DEFAULT", all.view(i, 0));
        }
    }

    void apply(std::span<const DeclaringRow> rows) {
        if (std::any_of(rows.begin(), rows.end(), [](const DeclaringRow& r) { return r.fresh; })) {
            tx_.exec({fmt::format("target_view_insert_{}", view_.uid), insert_}, Params::of(view_.uid, json_list(rows, true)));
        }
        if (std::any_of(rows.begin(), rows.end(), [](const DeclaringRow& r) { return !r.fresh; })) {
            tx_.exec({fmt::format("target_view_update_{}", view_.uid),
                      fmt::format("UPDATE homeostat.pipeline p SET {}"
                                  " FROM jsonb_populate_recordset(NULL::homeostat.pipeline, $2::jsonb) AS r"
                                  " WHERE p.name = r.name AND p.target_view = $1::bigint AND p.deletion_requested_at IS NULL",
                                  sets_)},
                     Params::of(view_.uid, json_list(rows, false)));
        }
    }

    // The whole set where that goes, else its halves: the good ones in few statements, each bad one alone with its sentence.
    void apply_or_halve(std::span<const DeclaringRow> rows, std::vector<const DeclaringRow*>& good,
                        std::vector<RowRefusal>& refused) {
        if (rows.empty()) return;
        tx_.exec("SAVEPOINT target_view_rows");
        try {
            apply(rows);
            tx_.exec("RELEASE SAVEPOINT target_view_rows");
            for (const DeclaringRow& row : rows) good.push_back(&row);
            return;
        } catch (const StoreFailure& failure) {
            const Error& e = failure.error;
            if (e.cls == ErrorClass::db_transient || e.cls == ErrorClass::db_resource) throw;
            tx_.exec("ROLLBACK TO SAVEPOINT target_view_rows; RELEASE SAVEPOINT target_view_rows");
            if (rows.size() == 1) {
                refused.emplace_back(rows[0].name, e.message);
                return;
            }
        }
        apply_or_halve(rows.first(rows.size() / 2), good, refused);
        apply_or_halve(rows.subspan(rows.size() / 2), good, refused);
    }

private:
    Transaction& tx_;
    const TargetViewSpec& view_;
    std::string insert_;
    std::string sets_;
};

void remember(Transaction& tx, const TargetViewSpec& view, const std::vector<const DeclaringRow*>& good) {
    if (good.empty()) return;
    std::vector<std::int64_t> hashes;
    for (const DeclaringRow* row : good) hashes.push_back(row->hash);
    const auto name = [](const DeclaringRow* row) { return std::string_view(row->name); };
    tx.exec(kResume, Params::of(view.uid).bytes(texts(good, name)));
    tx.exec(kRemember, Params::of(view.uid).bytes(texts(good, name)).bytes(binary_array(std::span<const std::int64_t>(hashes))));
}

void remember_refused(Transaction& tx, const TargetViewSpec& view, std::span<const DeclaringRow> rows,
                      const std::vector<RowRefusal>& refused) {
    if (refused.empty()) return;
    std::vector<std::int64_t> hashes;
    for (const RowRefusal& r : refused) {
        hashes.push_back(
            std::find_if(rows.begin(), rows.end(), [&](const DeclaringRow& row) { return row.name == r.first; })->hash);
    }
    tx.exec(kRefused, Params::of(view.uid)
                          .bytes(texts(refused, [](const RowRefusal& r) { return std::string_view(r.first); }))
                          .bytes(binary_array(std::span<const std::int64_t>(hashes)))
                          .bytes(texts(refused, [](const RowRefusal& r) { return std::string_view(r.second); })));
}

}  // namespace

Result<TargetViewSight> look_at_target_view(Session& session, const TargetViewSpec& view, bool retry) {
    return guarded([&] {
        TargetViewSight sight;
        Transaction tx = session.begin(TxMode::read_snapshot);
        tx.later({"target_view_time", "SELECT clock_timestamp()::text"}, {},
                 [&sight](const Rows& time) { sight.at = parse_timestamp(time.view(0, 0)); });
        Shape shape = shape_of(tx, view);
        refuse_unreadable(tx, view);
        const SourceReader reader = reader_of_target_view(tx, view.uid);
        const DeclaredIn declared_in{"target_view", view.uid, fmt::format("target view \"{}\"", view.name)};
        refuse_what_tells_who_looks(tx, reader, declared_in, view.relation);
        refuse_untrusted_code(tx, reader, declared_in.subject, view.relation, {});
        Params params = Params::of(view.uid, retry);
        std::string declared = fmt::format(kDeclared, shape.selected, view.relation);
        if (reader.apart()) {
            add_declared(params, tx.source(reader).exec({"target_view_declared", declared}));
            declared = kDeclaredApart;
        }
        const Rows rows = tx.exec({fmt::format("target_view_look_{}", view.uid), fmt::format(kLook, declared)}, params);
        for (int i = 0; i < rows.size(); ++i) sort_in(rows, i, view, sight);
        if (!sight.declaring.empty()) read_rows(tx.source(reader), view, shape, sight);
        sight.columns = std::move(shape.columns);
        sight.ignored = std::move(shape.ignored);
        tx.commit();
        return sight;
    });
}

void write_for(Transaction& tx, const TargetViewSpec& view) {
    tx.exec(kWriteFor, Params::of(std::to_string(view.uid)));
    // Relations are named in the rows by a person, who means the schemas that psql would look in.
    tx.exec("SET LOCAL search_path TO DEFAULT");
}

std::vector<RowRefusal> declare_rows(Transaction& tx, const TargetViewSpec& view, const std::vector<Column>& columns,
                                     const std::vector<DeclaringRow>& rows) {
    std::vector<RowRefusal> refused;
    std::vector<DeclaringRow> whole;
    for (const DeclaringRow& row : rows) {
        if (row.lacks.empty()) {
            whole.push_back(row);
        } else {
            refused.emplace_back(row.name,
                                 fmt::format("pipeline \"{}\": its row in {} has no {}", row.name, view.relation, row.lacks));
        }
    }
    std::vector<const DeclaringRow*> good;
    Declaring declaring(tx, view, columns);
    declaring.apply_or_halve(whole, good, refused);
    remember(tx, view, good);
    remember_refused(tx, view, rows, refused);
    return refused;
}

void retire_pipelines(Transaction& tx, const TargetViewSpec& view, const std::vector<std::string>& names,
                      const std::string& reason) {
    if (names.empty()) return;
    if (view.on_removal == "Suspend") {
        tx.exec(kSuspend, Params::of(view.uid).bytes(texts(names)).add(reason));
        tx.exec(kSuspended, Params::of(view.uid).bytes(texts(names)).add(reason));
        return;
    }
    tx.exec(view.on_removal == "Delete" ? kDelete : kOrphan, Params::of(view.uid).bytes(texts(names)));
    forget_rows(tx, view, names);
}

void delete_target_view(Transaction& tx, const TargetViewSpec& view, const std::string& reason) {
    const Rows rows = tx.exec(kOwned, Params::of(view.uid));
    std::vector<std::string> names;
    for (int i = 0; i < rows.size(); ++i) names.push_back(rows.text(i, 0));
    retire_pipelines(tx, view, names, reason);
    tx.exec(kLetGo, Params::of(view.uid));
    tx.exec(kFinalize, Params::of(view.uid));
    tx.exec(kGone, Params::of(view.uid));
}

void forget_rows(Transaction& tx, const TargetViewSpec& view, const std::vector<std::string>& names) {
    if (!names.empty()) tx.exec(kForget, Params::of(view.uid).bytes(texts(names)));
}

}  // namespace homeostat
