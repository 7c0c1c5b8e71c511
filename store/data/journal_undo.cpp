// The way back: a plan of all that is to be undone, and steps that undo some documents each.
#include <fmt/format.h>

#include "store/data/journal.hpp"
#include "store/data/sql_fragments.hpp"

namespace homeostat {

namespace {

// The planner knows nothing of what is planned a moment before, takes it for a handful, and would compare each with each. What is
// looked up row by row is lateral, and stays so.
constexpr const char* kNotEachWithEach = "SET LOCAL enable_nestloop = off";

// Of the documents of one step, what each statement of it asks for.
//
//   came     ids that have come to be since: the document was not there, or had another
//   first    the first entry of the document that has its row, which is the row that it had
//   back     those that were there; of others nothing is to be left
//   turn     the first write since that changed which chunks it has: it names all of them. None: they are as they were
//   content  of each chunk, the first entry that has it: what was journaled later was written since
//   kept     chunks that the write of `turn` left, and where they lay in the text
std::string sets(const RevisionTables& t) {
    return fmt::format(R"sql(WITH e AS MATERIALIZED (
        SELECT * FROM homeostat.rollback_entry WHERE rollback = $1::bigint AND grp > $2::bigint AND grp <= $3::bigint),
    came AS MATERIALIZED (SELECT DISTINCT grp, document_id FROM e WHERE entry = 0),
    first AS MATERIALIZED (
        SELECT DISTINCT ON (grp) grp, document_id, write_token, entry FROM e WHERE bears ORDER BY grp, entry),
    back AS MATERIALIZED (
        SELECT f.* FROM first f LEFT JOIN came c ON c.grp = f.grp AND c.document_id = f.document_id WHERE c.grp IS NULL),
    turn AS MATERIALIZED (
        SELECT DISTINCT ON (e.document_id) e.document_id, e.write_token, e.change
        FROM back b JOIN e ON e.grp = b.grp AND e.document_id = b.document_id
        WHERE e.bears AND e.change IN ('replaced', 'superseded', 'removed') ORDER BY e.document_id, e.entry),
    content AS MATERIALIZED (
        SELECT DISTINCT ON (document_id, number) grp, document_id, number, write_token, entry
        FROM e WHERE number IS NOT NULL ORDER BY document_id, number, entry),
    kept AS MATERIALIZED (
        SELECT t.document_id, k.number, k.start_offset, k.end_offset
        FROM turn t JOIN e ON e.document_id = t.document_id AND e.write_token = t.write_token AND e.change = 'kept'
        CROSS JOIN LATERAL (SELECT j.kept FROM {0} j WHERE j.write_token = e.write_token AND j.document_id = e.document_id
            AND j.entry = e.entry LIMIT 1) j
        CROSS JOIN LATERAL (SELECT j.kept[i][1]::int AS number, j.kept[i][2] AS start_offset, j.kept[i][3] AS end_offset
            FROM generate_subscripts(j.kept, 1) AS i) k)
    )sql",
                       t.journal);
}

// A lateral row of the journal for each row `of`: found by its number, whatever the planner knows of the table.
std::string entry_of(const RevisionTables& t, std::string_view of, std::string_view columns) {
    return fmt::format(
        "CROSS JOIN LATERAL (SELECT {1} FROM {0} j WHERE j.write_token = {2}.write_token AND j.document_id = {2}.document_id"
        " AND j.entry = {2}.entry LIMIT 1) j",
        t.journal, columns, of);
}

// All chunks of these documents but those that are as they were. What was superseded, or removed, has left its chunks alone.
std::string clear_chunks(const RevisionTables& t) {
    return fmt::format(
        "{}, ids AS MATERIALIZED (SELECT DISTINCT e.document_id AS id FROM e"
        "  LEFT JOIN back b ON b.grp = e.grp AND b.document_id = e.document_id LEFT JOIN turn t ON t.document_id = e.document_id"
        "  WHERE e.grp > 0 AND (b.grp IS NULL OR t.change = 'replaced'))"
        " DELETE FROM {} WHERE ctid = ANY (ARRAY({} WHERE (c.document_id, c.number) NOT IN (SELECT k.document_id, k.number"
        "  FROM kept k LEFT JOIN content o ON o.document_id = k.document_id AND o.number = k.number WHERE o.entry IS NULL)))",
        sets(t), t.chunk, chunks_of_sql(t, "ids w"));
}

std::string put_offsets_back(const RevisionTables& t) {
    return fmt::format(
        "{}, places AS MATERIALIZED (SELECT k.*, c.place FROM kept k CROSS JOIN LATERAL (SELECT c.ctid AS place FROM {} c"
        "  WHERE c.document_id = k.document_id AND c.number = k.number AND (c.start_offset, c.end_offset)"
        "   IS DISTINCT FROM (k.start_offset, k.end_offset) LIMIT 1) c)"
        " UPDATE {} c SET start_offset = p.start_offset, end_offset = p.end_offset FROM places p WHERE c.ctid = p.place"
        " AND c.ctid = ANY (ARRAY(SELECT place FROM places))",
        sets(t), t.chunk, t.chunk);
}

// Chunks whose document has another id, or none, are put back as well (grp < 0): they had been taken away since.
std::string put_chunks_back(const RevisionTables& t) {
    return fmt::format(
        "{}, picks AS MATERIALIZED ("
        "  SELECT o.*, NULL::bigint AS start_offset, NULL::bigint AS end_offset FROM content o JOIN turn t"
        "   ON t.document_id = o.document_id WHERE t.change <> 'replaced' OR o.write_token = t.write_token"
        "  UNION ALL SELECT o.*, k.start_offset, k.end_offset FROM content o JOIN turn t ON t.document_id = o.document_id"
        "   JOIN kept k ON k.document_id = o.document_id AND k.number = o.number"
        "   WHERE t.change = 'replaced' AND o.write_token <> t.write_token"
        "  UNION ALL SELECT o.*, NULL, NULL FROM content o WHERE o.grp < 0)"
        " INSERT INTO {} (document_id, number, start_offset, end_offset, chunk_hash, context, text, embedding)"
        " SELECT p.document_id, p.number, coalesce(p.start_offset, j.start_offset), coalesce(p.end_offset, j.end_offset),"
        "  j.chunk_hash, j.context, j.text, j.embedding FROM picks p {} ON CONFLICT (document_id, number) DO NOTHING",
        sets(t), t.chunk, entry_of(t, "p", "j.start_offset, j.end_offset, j.chunk_hash, j.context, j.text, j.embedding"));
}

std::string clear_documents(const RevisionTables& t) {
    return fmt::format(
        "{}, ids AS MATERIALIZED (SELECT DISTINCT document_id AS id FROM e WHERE grp > 0)"
        " DELETE FROM {} WHERE ctid = ANY (ARRAY(SELECT d.ctid FROM ids w CROSS JOIN LATERAL"
        "  (SELECT d.ctid FROM {} d WHERE d.document_id = w.id LIMIT 1) d))",
        sets(t), t.document, t.document);
}

std::string put_documents_back(const RevisionTables& t) {
    return fmt::format("{} INSERT INTO {} SELECT (j.document).* FROM back b {}", sets(t), t.document,
                       entry_of(t, "b", "j.document"));
}

std::string forget_entries(const RevisionTables& t) {
    return fmt::format("{} DELETE FROM {} WHERE ctid = ANY (ARRAY(SELECT j.place FROM e {} WHERE e.entry > 0))", sets(t),
                       t.journal, entry_of(t, "e", "j.ctid AS place"));
}

}  // namespace

// Keys are compared by sorting them, which takes the order of their type and asks no operator by its name.
UndoCounts plan_undo(Transaction& tx, const Revision& revision, std::int64_t rollback, std::int64_t entry) {
    const RevisionTables& t = revision.tables;
    const std::size_t k = revision.settings.key.size();
    tx.exec({"undo_forget", "DELETE FROM homeostat.rollback_entry WHERE rollback = $1::bigint"}, Params::of(rollback));
    tx.exec(kNotEachWithEach);
    tx.exec({t.prefix + "_undo_plan",
             fmt::format(R"sql(WITH after AS MATERIALIZED (
        SELECT j.write_token, j.document_id, j.entry, j.change, j.number, (j.document).document_id AS was, {journaled}
        FROM {journal} j WHERE j.entry > $2::bigint AND j.change <> 'inserted'),
    came AS MATERIALIZED (
        SELECT DISTINCT i.id FROM {journal} j CROSS JOIN LATERAL unnest(j.inserted) AS i(id)
        WHERE j.entry > $2::bigint AND j.change = 'inserted'),
    named AS (
        SELECT was AS id, {names} FROM after WHERE was IS NOT NULL
        UNION ALL SELECT d.document_id, {stored} FROM came c JOIN {document} d ON d.document_id = c.id),
    groups AS MATERIALIZED (
        SELECT r.id, min(r.grp) AS grp FROM (SELECT n.id, dense_rank() OVER (ORDER BY {names}) AS grp FROM named n) r GROUP BY r.id)
    INSERT INTO homeostat.rollback_entry (rollback, grp, document_id, write_token, entry, change, bears, number)
    SELECT $1::bigint, coalesce(g.grp, -a.document_id), a.document_id, a.write_token, a.entry, a.change, a.was IS NOT NULL, a.number
    FROM after a LEFT JOIN groups g ON g.id = a.document_id
    UNION ALL SELECT $1::bigint, g.grp, c.id, 0, 0, 'inserted', false, NULL FROM came c JOIN groups g ON g.id = c.id)sql",
                         fmt::arg("journal", t.journal), fmt::arg("document", t.document),
                         fmt::arg("journaled", numbered(k, "(j.document).key_{0} AS k{0}")),
                         fmt::arg("names", numbered(k, "k{}")), fmt::arg("stored", numbered(k, "d.key_{}")))},
            Params::of(rollback, entry));
    const Rows rows = tx.exec(
        {t.prefix + "_undo_counts",
         fmt::format(
             R"sql(WITH e AS MATERIALIZED (SELECT * FROM homeostat.rollback_entry WHERE rollback = $1::bigint AND grp > 0),
    first AS MATERIALIZED (SELECT DISTINCT ON (grp) grp, document_id FROM e WHERE bears ORDER BY grp, entry),
    came AS MATERIALIZED (SELECT DISTINCT grp, document_id FROM e WHERE entry = 0),
    back AS MATERIALIZED (
        SELECT f.grp FROM first f LEFT JOIN came c ON c.grp = f.grp AND c.document_id = f.document_id WHERE c.grp IS NULL),
    live AS MATERIALIZED (SELECT DISTINCT e.grp FROM e JOIN {} d ON d.document_id = e.document_id)
    SELECT count(b.grp), count(b.grp) FILTER (WHERE l.grp IS NULL), count(l.grp) FILTER (WHERE b.grp IS NULL)
    FROM back b FULL JOIN live l ON l.grp = b.grp)sql",
             t.document)},
        Params::of(rollback));
    return {rows.i64(0, 0), rows.i64(0, 1), rows.i64(0, 2)};
}

std::vector<std::int64_t> next_steps(Transaction& tx, std::int64_t rollback, int steps, int limit) {
    const Rows rows = tx.exec({"undo_next", R"sql(
    SELECT DISTINCT max(s.grp) FROM (
        SELECT e.grp, (row_number() OVER (ORDER BY e.grp) - 1) / $3::int AS step FROM homeostat.rollback_entry e
        WHERE e.rollback = $1::bigint ORDER BY e.grp LIMIT $2::int * $3::int) s
    GROUP BY s.step ORDER BY 1)sql"},
                              Params::of(rollback, steps, limit));
    std::vector<std::int64_t> out;
    for (int i = 0; i < rows.size(); ++i) out.push_back(rows.i64(i, 0));
    return out;
}

void undo_step(Transaction& tx, const Revision& revision, std::int64_t rollback, std::int64_t after, std::int64_t last) {
    const RevisionTables& t = revision.tables;
    const Params step = Params::of(rollback, after, last);
    tx.exec(kNotEachWithEach);
    tx.exec({t.prefix + "_undo_clear_chunks", clear_chunks(t)}, step);
    tx.exec({t.prefix + "_undo_offsets", put_offsets_back(t)}, step);
    tx.exec({t.prefix + "_undo_chunks", put_chunks_back(t)}, step);
    tx.exec({t.prefix + "_undo_clear_documents", clear_documents(t)}, step);
    tx.exec({t.prefix + "_undo_documents", put_documents_back(t)}, step);
    tx.exec({t.prefix + "_undo_entries", forget_entries(t)}, step);
    tx.exec({"undo_done",
             "DELETE FROM homeostat.rollback_entry WHERE rollback = $1::bigint AND grp > $2::bigint AND grp <= $3::bigint"},
            step);
}

void end_undo(Transaction& tx, const Revision& revision, std::int64_t rollback, std::int64_t entry) {
    tx.exec({"undo_forget", "DELETE FROM homeostat.rollback_entry WHERE rollback = $1::bigint"}, Params::of(rollback));
    tx.exec(
        {revision.tables.prefix + "_undo_rest", fmt::format("DELETE FROM {} WHERE entry > $1::bigint", revision.tables.journal)},
        Params::of(entry));
}

}  // namespace homeostat
