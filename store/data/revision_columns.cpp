#include "store/data/revision_columns.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "store/pg/lock_holders.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

// Of a view that it is there, and is ours.
const Statement kLost{"revision_lost", R"sql(
    SELECT w.name FROM unnest($1::text[], $2::text[]) WITH ORDINALITY w(name, part, i)
    WHERE CASE WHEN w.part = '' THEN NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass(w.name) AND c.relkind = 'v'
                   AND obj_description(c.oid, 'pg_class') = 'homeostat: served view')
               ELSE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(w.name) AND a.attname = w.part
                                AND a.attnum > 0 AND NOT a.attisdropped) END
    GROUP BY w.name ORDER BY min(w.i))sql"};

// A type of the server's own nobody drops. What a view rests on is left to it.
const Statement kMetadata{"revision_metadata_held", R"sql(
    SELECT substr(a.attname, 6)::int, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attname ~ '^meta_[0-9]+$'
        AND a.atttypid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass
            AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.classid = 'pg_rewrite'::regclass))sql"};

const Statement kKeepSlots{
    "revision_keep_slots",
    "UPDATE homeostat.revision SET metadata_slots = $3::text[] WHERE uid = $1::bigint AND revision = $2::int"};

// What each table was made with and is of no use without.
struct Parts {
    std::vector<std::string> tables;
    std::vector<std::string> columns;
    void add(const std::string& table, std::initializer_list<const char*> names) {
        for (const char* name : names) {
            tables.push_back(table);
            columns.emplace_back(name);
        }
    }
    Params params() const { return Params::of(format_text_array(tables), format_text_array(columns)); }
};

Parts parts_of(const Revision& revision) {
    const RevisionTables& t = revision.tables;
    Parts out;
    out.add(t.document,
            {"document_id", "source_version", "content_hash", "chunk_count", "run_id", "batch_id", "write_token", "written_at"});
    for (std::size_t i = 1; i <= revision.settings.key.size(); ++i) {
        out.tables.push_back(t.document);
        out.columns.push_back(fmt::format("key_{}", i));
    }
    out.add(t.chunk, {"document_id", "number", "start_offset", "end_offset", "chunk_hash", "context", "text", "embedding"});
    out.add(t.journal, {"write_token", "document_id", "entry", "document", "embedding"});
    return out;
}

bool wanted(const SourceShape& source, const std::string& slot, std::string_view type) {
    return std::any_of(source.metadata.begin(), source.metadata.end(),
                       [&](const ColumnShape& m) { return m.name == slot && m.type == type; });
}

// False where somebody else still needs it.
bool drop_column(Transaction& tx, const std::string& table, std::int64_t number) {
    tx.exec("SAVEPOINT unused");
    try {
        with_short_locks(tx, {table}, [&] { tx.exec(fmt::format("ALTER TABLE {} DROP COLUMN meta_{}", table, number)); });
        tx.exec("RELEASE SAVEPOINT unused");
        return true;
    } catch (const StoreFailure& failure) {
        if (failure.error.code != "2BP01" && failure.error.code != kLockHeld) throw;
        tx.exec("ROLLBACK TO SAVEPOINT unused");
        return false;
    }
}

}  // namespace

std::string ids_of(const RevisionTables& t) { return t.document + "_document_id_seq"; }

void name_ids(Transaction& tx, const RevisionTables& t) {
    const Rows named = tx.exec({"ids_named", "SELECT pg_get_serial_sequence($1, 'document_id'), to_regclass($2) IS NOT NULL"},
                               Params::of(t.document, ids_of(t)));
    if (named.boolean(0, 1) || named.null(0, 0)) return;
    const std::string name = ids_of(t);
    with_short_locks(tx, {t.document}, [&] {
        tx.exec(fmt::format("ALTER SEQUENCE {} RENAME TO {}", named.text(0, 0), name.substr(name.rfind('.') + 1)));
    });
}

std::vector<std::string> lost_tables(Transaction& tx, const Revision& revision) {
    const Rows rows = tx.exec(kLost, parts_of(revision).params());
    std::vector<std::string> out;
    for (int i = 0; i < rows.size(); ++i) out.push_back(rows.text(i, 0));
    return out;
}

Result<bool> is_there(Session& session, const std::string& target, const Revision& revision) {
    return guarded([&] {
        Parts parts = parts_of(revision);
        parts.add(target, {""});
        return session.exec(kLost, parts.params()).empty();
    });
}

void drop_unused_metadata(Transaction& tx, Revision& revision, const SourceShape& source) {
    RevisionTables& t = revision.tables;
    const Rows rows = tx.exec(kMetadata, Params::of(t.document));
    bool changed = false;
    for (int i = 0; i < rows.size(); ++i) {
        const std::int64_t number = rows.i64(i, 0);
        if (number < 1 || number > static_cast<std::int64_t>(t.metadata_slots.size())) continue;
        // Slots are counted: one that is empty stays.
        std::string& slot = t.metadata_slots[static_cast<std::size_t>(number - 1)];
        if (wanted(source, slot, rows.view(i, 1)) || !drop_column(tx, t.document, number)) continue;
        changed = changed || !slot.empty();
        slot.clear();
    }
    if (changed) tx.exec(kKeepSlots, Params::of(t.uid, revision.number, format_text_array(t.metadata_slots)));
}

}  // namespace homeostat
