#include "store/data/revisions.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "store/data/dependents.hpp"
#include "store/data/revision_columns.hpp"
#include "store/data/revision_keys.hpp"
#include "store/data/search_function.hpp"
#include "store/data/served_view.hpp"
#include "store/pg/group_role.hpp"
#include "store/pg/lock_holders.hpp"
#include "store/pg/swap_lock.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

constexpr std::string_view kDependedOn = "2BP01";

Error depended_on(std::string message) {
    return {.cls = ErrorClass::conflict, .message = std::move(message), .origin = Origin::user, .code = std::string(kDependedOn)};
}

const Statement kList{"revision_list",
                      "SELECT revision, state, settings::text, metadata_slots::text FROM homeostat.revision"
                      " WHERE uid = $1::bigint ORDER BY revision"};
const Statement kInsert{
    "revision_insert",
    "INSERT INTO homeostat.revision (uid, revision, settings, provider, model, dimensions, vector_type, state,"
    " metadata_slots) VALUES ($1::bigint, $2::int, $3::jsonb, $4, $5, $6::int, $7, 'building', $8::text[])"};
const Statement kSlots{"revision_slots",
                       "UPDATE homeostat.revision SET metadata_slots = $3::text[] WHERE uid = $1::bigint AND revision = $2::int"};
const Statement kServe{"revision_serve",
                       "UPDATE homeostat.revision SET state = CASE WHEN revision = $2::int THEN 'served' ELSE 'retired' END,"
                       " served_at = CASE WHEN revision = $2::int THEN coalesce(served_at, clock_timestamp()) ELSE served_at END,"
                       " retired_at = CASE WHEN revision = $2::int THEN NULL ELSE coalesce(retired_at, clock_timestamp()) END"
                       " WHERE uid = $1::bigint AND (revision = $2::int OR state = 'served')"};
const Statement kTurn{"revision_turn", R"sql(
    WITH held AS MATERIALIZED (SELECT FROM homeostat.pipeline p WHERE p.uid = $1::bigint FOR UPDATE)
    UPDATE homeostat.revision r SET state = CASE WHEN r.revision = $2::int THEN 'building' ELSE 'retired' END,
        retired_at = CASE WHEN r.revision = $2::int THEN NULL ELSE clock_timestamp() END
    FROM (SELECT count(*) FROM held) h
    WHERE r.uid = $1::bigint AND CASE WHEN r.revision = $2::int THEN r.state = 'retired' ELSE r.state = 'building' END)sql"};
const Statement kMetadataTypes{
    "revision_metadata_types",
    "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a"
    " WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attname ~ '^meta_[0-9]+$'"};
const Statement kViewColumns{
    "served_view_columns",
    "SELECT c.relkind, obj_description(c.oid, 'pg_class'),"
    " (SELECT string_agg(quote_ident(a.attname), ',' ORDER BY a.attnum) FROM pg_attribute a"
    "  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),"
    " EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid"
    "         WHERE r.ev_class = c.oid AND d.refobjid = to_regclass($2))"
    " FROM pg_class c WHERE c.oid = to_regclass($1)"};
bool rests_on(const Rows& view) { return !view.empty() && view.view(0, 1) == "homeostat: served view" && view.boolean(0, 3); }

std::string meta_column(std::size_t i) { return fmt::format("meta_{}", i + 1); }

std::string vector_column_type(const RevisionSettings& s, const VectorExtension& v) {
    return fmt::format("{}.{}({})", v.schema, s.vector_type == VectorType::vector ? "vector" : "halfvec", s.dimensions);
}

// What rides along in the index of the keys, so that comparing versions need not visit the rows. An entry has to fit a third of a
// page: where a key may be long there is nothing with it, so that what an index of the source holds ours holds too.
std::string riding_along(const SourceShape& source) {
    for (const ColumnShape& c : source.key) {
        if (!c.fixed) return "";
    }
    return source.fixed_version ? " INCLUDE (document_id, source_version)" : " INCLUDE (document_id)";
}

// What is written together lies together, also in the index: a replica's writes go to its end.
void create_journal(Transaction& tx, const RevisionTables& t, const std::string& embedding) {
    tx.exec(fmt::format(
        "CREATE TABLE {} (write_token bigint NOT NULL, document_id bigint NOT NULL, entry bigint GENERATED ALWAYS AS IDENTITY,"
        " run_id bigint NOT NULL, change text NOT NULL, document {}, number int, start_offset bigint, end_offset bigint,"
        " chunk_hash bytea, context text, text text, embedding {}, at timestamptz NOT NULL DEFAULT clock_timestamp(),"
        " inserted bigint[], kept bigint[], PRIMARY KEY (write_token, document_id, entry)) WITH (toast_tuple_target = 8160)",
        t.journal, t.document, embedding));
}

void create_tables(Transaction& tx, const RevisionTables& t, const RevisionSettings& s, const SourceShape& source,
                   const VectorExtension& v) {
    std::string keys;
    std::string key_names;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        keys += fmt::format("key_{} {}{} NOT NULL, ", i + 1, source.key[i].type, source.key[i].collate);
        key_names += fmt::format("{}key_{}", i == 0 ? "" : ", ", i + 1);
    }
    std::string metadata;
    for (std::size_t i = 0; i < source.metadata.size(); ++i) {
        metadata += fmt::format("{} {}{}, ", meta_column(i), source.metadata[i].type, source.metadata[i].collate);
    }
    const std::string embedding = vector_column_type(s, v);
    tx.exec(fmt::format(
        "CREATE TABLE {} (document_id bigint GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME {}) PRIMARY KEY, {}source_version "
        "{},"
        " content_hash bytea NOT NULL, chunk_count int NOT NULL, {}run_id bigint NOT NULL, batch_id bigint NOT NULL,"
        " write_token bigint NOT NULL, written_at timestamptz NOT NULL DEFAULT clock_timestamp()) WITH (fillfactor = 90);"
        "CREATE UNIQUE INDEX {}_key ON {} ({}){};"
        "CREATE TABLE {} (document_id bigint NOT NULL, number int NOT NULL, start_offset bigint NOT NULL,"
        " end_offset bigint NOT NULL, chunk_hash bytea NOT NULL, context text, text text NOT NULL, embedding {}, PRIMARY KEY "
        "(document_id, number))"
        // A row stays in one piece where a page holds it: a vector out of line costs half as much again to write and to compare.
        " WITH (toast_tuple_target = 8160);"
        // Enough to know how many chunks a document has, of a table whose every page is dear to read.
        "ALTER TABLE {} ALTER document_id SET STATISTICS 10, ALTER number SET STATISTICS 10",
        t.document, ids_of(t), keys, source.version_type, metadata, t.prefix, t.document, key_names, riding_along(source),
        t.chunk, embedding, t.chunk));
    create_journal(tx, t, embedding);
}

// The served view's select list: the user's own names, then ours. The cast without a width lets the width change later.
std::string view_sql(const Revision& r, const SourceShape& source, const VectorExtension& v) {
    std::string list;
    for (std::size_t i = 0; i < source.key.size(); ++i) list += fmt::format("d.key_{} AS {}, ", i + 1, source.key[i].quoted);
    for (const ColumnShape& m : source.metadata) {
        list += fmt::format("d.{} AS {}, ", r.tables.metadata_column(m.name), m.quoted);
    }
    return fmt::format(
        "SELECT {}c.number AS chunk_number, c.text AS chunk_text, c.start_offset AS chunk_start, c.end_offset AS chunk_end,"
        " c.embedding::{}.{} AS embedding, d.written_at AS embedded_at{} FROM {} d JOIN {} c ON c.document_id = d.document_id",
        list, v.schema, r.settings.vector_type == VectorType::vector ? "vector" : "halfvec",
        r.settings.chunk_context ? ", c.context AS chunk_context" : "", r.tables.document, r.tables.chunk);
}

}  // namespace

RevisionTables RevisionTables::of(std::int64_t uid, std::int32_t revision) {
    RevisionTables t;
    t.uid = uid;
    t.revision = revision;
    t.prefix = fmt::format("p{}_r{}", uid, revision);
    t.document = fmt::format("homeostat_data.{}_document", t.prefix);
    t.chunk = fmt::format("homeostat_data.{}_chunk", t.prefix);
    t.journal = fmt::format("homeostat_data.{}_journal", t.prefix);
    return t;
}

std::string RevisionTables::metadata_column(std::string_view name) const {
    const auto it = std::find(metadata_slots.begin(), metadata_slots.end(), name);
    return it == metadata_slots.end() ? "" : meta_column(static_cast<std::size_t>(it - metadata_slots.begin()));
}

const Revision* revision_holding(const std::vector<Revision>& revisions, const RevisionSettings& wanted) {
    const auto it =
        std::find_if(revisions.rbegin(), revisions.rend(), [&](const Revision& r) { return r.settings.same_vectors(wanted); });
    return it == revisions.rend() ? nullptr : &*it;
}

bool turn_to_revision(Transaction& tx, std::int64_t uid, std::int32_t number, std::vector<Revision>& revisions) {
    bool turned = false;
    for (Revision& r : revisions) {
        const bool other = r.number == number ? r.state == "retired" : r.state == "building";
        if (!other) continue;
        r.state = r.number == number ? "building" : "retired";
        turned = true;
    }
    if (turned) tx.exec(kTurn, Params::of(uid, number));
    return turned;
}

void hold_writers(Transaction& tx, std::int64_t uid) {
    tx.exec({"revision_hold", "SELECT FROM homeostat.pipeline p WHERE p.uid = $1::bigint FOR UPDATE"}, Params::of(uid));
}

Result<std::vector<Revision>> read_revisions(Session& session, std::int64_t uid) {
    return guarded([&]() -> Result<std::vector<Revision>> {
        const Rows rows = session.exec(kList, Params::of(uid));
        std::vector<Revision> out;
        for (int i = 0; i < rows.size(); ++i) {
            Revision r;
            r.number = static_cast<std::int32_t>(rows.i64(i, 0));
            r.state = rows.text(i, 1);
            Result<RevisionSettings> settings = RevisionSettings::from_json(rows.view(i, 2));
            if (!settings) return settings.error();
            r.settings = *std::move(settings);
            r.tables = RevisionTables::of(uid, r.number);
            r.tables.metadata_slots = parse_text_array(rows.view(i, 3));
            out.push_back(std::move(r));
        }
        return out;
    });
}

Result<Revision> create_revision(Transaction& tx, const PipelineSpec& spec, const RevisionSettings& settings,
                                 const SourceShape& source, const VectorExtension& vectors, std::int32_t number) {
    return guarded([&] {
        Revision r{number, "building", settings, RevisionTables::of(spec.uid, number)};
        r.tables.metadata_slots = spec.metadata;
        create_tables(tx, r.tables, settings, source, vectors);
        tx.exec(give_tables({r.tables.document, r.tables.chunk, r.tables.journal}));
        tx.exec(kInsert,
                Params::of(spec.uid, number, settings.to_json(), settings.provider, settings.model, settings.dimensions,
                           settings.vector_type == VectorType::vector ? "vector" : "halfvec", format_text_array(spec.metadata)));
        return r;
    });
}

Result<bool> align_metadata(Transaction& tx, Revision& revision, const SourceShape& source) {
    return guarded([&] {
        std::vector<std::pair<std::string, std::string>> held;
        const Rows rows = tx.exec(kMetadataTypes, Params::of(revision.tables.document));
        for (int i = 0; i < rows.size(); ++i) held.emplace_back(rows.text(i, 0), rows.text(i, 1));
        bool changed = false;
        for (const ColumnShape& m : source.metadata) {
            const std::string column = revision.tables.metadata_column(m.name);
            const auto it = std::find_if(held.begin(), held.end(), [&](const auto& h) { return h.first == column; });
            if (it != held.end() && it->second == m.type) continue;
            // Another type than before: the old slot is retired and a fresh one filled, so that nothing is rewritten under lock.
            for (std::string& slot : revision.tables.metadata_slots) {
                if (slot == m.name) slot.clear();
            }
            revision.tables.metadata_slots.push_back(m.name);
            with_short_locks(tx, {revision.tables.document}, [&] {
                tx.exec(fmt::format("ALTER TABLE {} ADD COLUMN {} {}{}", revision.tables.document,
                                    meta_column(revision.tables.metadata_slots.size() - 1), m.type, m.collate));
            });
            changed = true;
        }
        if (changed) {
            tx.exec(kSlots, Params::of(revision.tables.uid, revision.number, format_text_array(revision.tables.metadata_slots)));
        }
        return changed;
    });
}

void mark_served(Transaction& tx, std::int64_t uid, std::int32_t number) { tx.exec(kServe, Params::of(uid, number)); }

Status serve_revision(Transaction& tx, const PipelineSpec& spec, const Revision& revision, const SourceShape& source,
                      const VectorExtension& vectors) {
    return guarded([&]() -> Status {
        std::vector<std::string> grants;
        // What it is made of does not rest on the view.
        keep_search(tx, spec, revision, source, vectors);
        const std::string sql = view_sql(revision, source, vectors);
        const bool exists = !tx.exec(kViewColumns, Params::of(spec.target, revision.tables.document)).empty();
        const auto swap = [&](const std::string& made) {
            swap_with_brief_locks(tx, spec.target,
                                  fmt::format("{}; COMMENT ON VIEW {} IS 'homeostat: served view'; {}; {}", made, spec.target,
                                              give_view(spec.target, revision.tables.document + ", " + revision.tables.chunk),
                                              fmt::join(grants, "; ")));
        };
        tx.exec("SAVEPOINT view");
        try {
            swap(fmt::format("CREATE OR REPLACE VIEW {} AS {}", spec.target, sql));
            return {};
        } catch (const StoreFailure& failure) {
            // Only "cannot change name or type of a view column" is mended by making the view anew.
            if (!exists || failure.error.code != "42P16") throw;
        }
        tx.exec("ROLLBACK TO SAVEPOINT view");
        grants = view_grants(tx, spec.target);
        try {
            swap(fmt::format("DROP VIEW {0}; CREATE VIEW {0} AS {1}", spec.target, sql));
        } catch (const StoreFailure& drop) {
            if (drop.error.code != kDependedOn) throw;
            tx.exec("ROLLBACK TO SAVEPOINT view");
            return depended_on(fmt::format(
                "pipeline \"{}\": the columns of {} change, and this depends on it: {}; drop that, or give the pipeline "
                "another target",
                spec.name, spec.target, dependents_of(tx, {spec.target})));
        }
        return {};
    });
}

Result<bool> view_is_current(Transaction& tx, const PipelineSpec& spec, const Revision& revision, const SourceShape& source) {
    return guarded([&]() -> Result<bool> {
        const Rows rows = tx.exec(kViewColumns, Params::of(spec.target, revision.tables.document));
        if (rows.empty()) return false;
        if (rows.view(0, 0) != "v" || rows.view(0, 1) != "homeostat: served view") {
            return Error{.cls = ErrorClass::db_permanent,
                         .message = fmt::format("pipeline \"{}\": its target {} was replaced by something that is not a view of "
                                                "homeostat; drop that or choose another target",
                                                spec.name, spec.target),
                         .origin = Origin::user};
        }
        std::string expected;
        for (const ColumnShape& k : source.key) expected += k.quoted + ",";
        for (const ColumnShape& m : source.metadata) expected += m.quoted + ",";
        expected += "chunk_number,chunk_text,chunk_start,chunk_end,embedding,embedded_at";
        if (revision.settings.chunk_context) expected += ",chunk_context";
        // Types follow the tables the view rests on; names and order are ours to check.
        return rows.view(0, 2) == expected && rows.boolean(0, 3);
    });
}

bool make_whole(Transaction& tx, const Revision& revision, const VectorExtension& vectors) {
    const RevisionTables& t = revision.tables;
    const std::vector<std::string> lost = lost_tables(tx, revision);
    if (lost.empty()) {
        name_ids(tx, t);
        return true;
    }
    if (lost != std::vector<std::string>{t.journal}) return false;
    with_short_locks(tx, {t.journal}, [&] { tx.exec(fmt::format("DROP TABLE IF EXISTS {}", t.journal)); });
    create_journal(tx, t, vector_column_type(revision.settings, vectors));
    tx.exec(give_tables({t.journal}));
    // Its entries are numbered anew: nothing that was before it can be gone back to.
    tx.exec({"journal_gone", R"sql(
        WITH r AS (UPDATE homeostat.revision SET journal_from = 0 WHERE uid = $1::bigint AND revision = $2::int)
        UPDATE homeostat.checkpoint SET entry = NULL WHERE uid = $1::bigint AND revision = $2::int)sql"},
            Params::of(t.uid, t.revision));
    return true;
}

namespace {

void drop_revision_data(Transaction& tx, const PipelineSpec& spec, const RevisionTables& t) {
    with_short_locks(tx, {spec.target, t.document, t.chunk, t.journal}, [&] {
        // The view of whoever was declared with the same target since then stays.
        if (rests_on(tx.exec(kViewColumns, Params::of(spec.target, t.document))))
            tx.exec(fmt::format("DROP VIEW {}", spec.target));
        tx.exec(fmt::format("DROP TABLE IF EXISTS {}, {}, {}", t.journal, t.chunk, t.document));
    });
}

}  // namespace

Status drop_pipeline_data(Session& session, const PipelineSpec& spec) {
    return guarded([&]() -> Status {
        Result<std::vector<Revision>> revisions = read_revisions(session, spec.uid);
        if (!revisions) return revisions.error();
        Transaction tx = session.begin();
        drop_search(tx, spec);
        tx.exec("SAVEPOINT all_there");
        try {
            for (const Revision& r : *revisions) drop_revision_data(tx, spec, r.tables);
        } catch (StoreFailure& failure) {
            if (failure.error.code != kDependedOn) throw;
            tx.exec("ROLLBACK TO SAVEPOINT all_there");
            std::vector<std::string> ours{spec.target};
            for (const Revision& r : *revisions) ours.insert(ours.end(), {r.tables.document, r.tables.chunk, r.tables.journal});
            return depended_on(
                fmt::format("pipeline \"{}\" cannot be deleted while other objects depend on its vectors: {}; drop "
                            "those first",
                            spec.name, dependents_of(tx, ours)));
        }
        tx.commit();
        return {};
    });
}

}  // namespace homeostat
