#include "tests/kit/invariants.hpp"

namespace homeostat::kit {

namespace {

std::string literal(const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
    return out + "'";
}

class Report {
public:
    Report(Database& db, std::string pipeline) : db_(db), pipeline_(std::move(pipeline)) {}

    // `query` selects what must not be there; the first few are named.
    void none(const std::string& what, const std::string& query) {
        const auto rows = db_.query(query);
        if (rows.empty()) return;
        std::string sentence = pipeline_ + ": " + std::to_string(rows.size()) + " " + what + ":";
        for (std::size_t i = 0; i < rows.size() && i < 3; ++i) {
            sentence += i == 0 ? " " : "; ";
            for (std::size_t c = 0; c < rows[i].size(); ++c)
                sentence += (c == 0 ? "" : ", ") + rows[i][c].value_or("NULL").substr(0, 200);
        }
        out_.push_back(std::move(sentence));
    }

    std::vector<std::string> take() { return std::move(out_); }

private:
    Database& db_;
    std::string pipeline_;
    std::vector<std::string> out_;
};

}  // namespace

std::string Tables::key(const std::string& alias) const {
    std::string list;
    for (int i = 1; i <= keys; ++i) list += (i == 1 ? "" : ", ") + alias + ".key_" + std::to_string(i);
    return "concat_ws('|', " + list + ")";
}

Tables tables_of(Database& db, const std::string& pipeline) {
    const auto rows = db.query(
        "SELECT p.uid, r.revision, p.target, cardinality(homeostat.column_list(p.key)) FROM homeostat.pipeline p"
        " JOIN homeostat.revision r USING (uid) WHERE p.name = " +
        literal(pipeline) + " ORDER BY r.state = 'served' DESC, r.revision DESC LIMIT 1");
    if (rows.empty()) return {};
    const std::string prefix = "homeostat_data.p" + *rows[0][0] + "_r" + *rows[0][1];
    return {*rows[0][0], prefix + "_document", prefix + "_chunk", prefix + "_journal", *rows[0][2], std::stoi(*rows[0][3])};
}

std::vector<std::string> broken_invariants(Database& db, const std::string& pipeline, const std::string& wanted) {
    Report report(db, pipeline);
    const Tables t = tables_of(db, pipeline);
    if (t.uid.empty()) return {pipeline + ": it has no revision"};
    const std::string mine = " WHERE uid = " + t.uid;
    report.none("conditions are not as a converged pipeline's",
                "SELECT type, status, reason, message FROM homeostat.condition" + mine +
                    " AND (type, status) NOT IN (('Ready','True'),('Synced','True'),('Reconciling','False'),('Stalled','False'),"
                    "('ProviderHealthy','True'),('PruneBlocked','False'),('SourceShort','False'),('RolledBack','False'),('"
                    "RowsWithoutKey','False'),"
                    "('DeadLetters','False'),('SourceFiltered','False'),('SourceUnsteady','False'),"
                    "('ChunksCut','False'),('FactoryConflict','False'),('BudgetSpent','False'),('PlanHeld','False'),('"
                    "RevisionPinned','False')) AND type <> "
                    "'ChangeFeed'"
                    // A fault of the chaos kit that stays: a machine whose clock is an hour off.
                    " AND (type, reason) <> ('FactoryConflict', 'ClockOff')");
    report.none(
        "statuses that are not at rest",
        "SELECT s.observed_generation, p.generation, s.missing, s.stale, s.moved, s.partial, s.invalid, s.orphaned, s.excess,"
        " s.dead_letters FROM homeostat.pipeline p LEFT JOIN homeostat.pipeline_status s USING (uid)" +
            mine +
            " AND (s.observed_generation IS DISTINCT FROM p.generation OR s.last_error <> '' OR s.missing + s.stale + s.moved"
            " + s.partial + s.invalid + s.orphaned + s.excess + s.dead_letters > 0)");
    report.none("conditions ahead of their generation",
                "SELECT type FROM homeostat.condition c JOIN homeostat.pipeline p USING (uid)" + mine +
                    " AND c.observed_generation > p.generation");
    // What was superseded is put away later, seen by nobody until then.
    const std::string put_away = " AND kind = 'stray' AND attempts = 0 AND run_id IN (SELECT run_id FROM homeostat.feed)";
    report.none("batches left over",
                "SELECT id, kind, class, last_error FROM homeostat.batch" + mine + " AND NOT (true" + put_away + ")");
    report.none("runs left over", "SELECT id, phase FROM homeostat.run" + mine);
    report.none("claim tokens used twice",
                "SELECT claim_token FROM homeostat.batch_history" + mine + " GROUP BY 1 HAVING count(*) > 1");
    report.none("batches finished twice", "SELECT id FROM homeostat.batch_history" + mine + " GROUP BY 1 HAVING count(*) > 1");
    report.none("documents that differ from the source (key, in the source, stored)",
                "WITH w AS (SELECT key, sha256(convert_to(content, 'UTF8')) AS hash FROM (" + wanted +
                    ") AS w(key, content)),"
                    " d AS (SELECT " +
                    t.key("d") + " AS key, d.content_hash FROM " + t.document +
                    " d)"
                    " SELECT coalesce(w.key, d.key), w.key IS NOT NULL, d.key IS NOT NULL FROM w FULL JOIN d ON w.key = d.key"
                    " WHERE w.hash IS DISTINCT FROM d.content_hash");
    report.none("keys stored twice", "SELECT " + t.key("d") + " FROM " + t.document + " d GROUP BY 1 HAVING count(*) > 1");
    report.none("documents whose chunks are not complete",
                "SELECT d.document_id, d.chunk_count, count(c.number), max(c.number) FROM " + t.document + " d LEFT JOIN " +
                    t.chunk +
                    " c USING (document_id) GROUP BY 1, 2 HAVING count(c.number) <> d.chunk_count OR coalesce(max(c.number), -1) "
                    "<> d.chunk_count - 1");
    report.none("chunks without a document", "SELECT document_id, number FROM " + t.chunk + " c WHERE NOT EXISTS (SELECT FROM " +
                                                 t.document +
                                                 " d WHERE d.document_id = c.document_id) AND document_id NOT IN (SELECT"
                                                 " unnest(keys)::bigint FROM homeostat.batch" +
                                                 mine + put_away + ")");
    report.none("chunks whose hash is not that of their text",
                "SELECT document_id, number FROM " + t.chunk +
                    " WHERE chunk_hash <> sha256(convert_to(coalesce(context || E'\\n\\n', '') || text, 'UTF8'))");
    report.none("vectors that cannot be searched or have the wrong width",
                "SELECT c.document_id, c.number FROM " + t.chunk + " c, homeostat.revision r WHERE r.uid = " + t.uid + " AND '" +
                    t.chunk +
                    "' = format('homeostat_data.p%s_r%s_chunk', r.uid, r.revision)"
                    " AND NOT homeostat.vector_ok(c.embedding, r.dimensions)");
    report.none("counts that disagree (status documents, chunks; served documents, chunks)",
                "SELECT s.documents, s.chunks, (SELECT count(*) FROM " + t.document + "), (SELECT count(*) FROM " + t.view +
                    ")"
                    " FROM homeostat.pipeline_status s" +
                    mine + " AND (s.documents <> (SELECT count(*) FROM " + t.document +
                    ") OR s.chunks <> (SELECT count(*) FROM " + t.view +
                    ") OR s.source_documents <> s.documents + "
                    "s.dead_letters)");
    return report.take();
}

std::vector<std::string> unlike_built_anew(Database& db, const Program& program, const std::string& pipeline) {
    const std::string other = pipeline + "_anew";
    const Tables mine = tables_of(db, pipeline);
    const std::string columns = db.value(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = "
        "'homeostat.pipeline'::regclass"
        " AND attnum > 0 AND NOT attisdropped AND NOT attname = ANY (homeostat.control_columns() || "
        "'{uid,name,target}'::text[])");
    db.exec("INSERT INTO homeostat.pipeline (name, target, " + columns + ") SELECT " + literal(other) +
            ", 'public.homeostat_built_anew', " + columns + " FROM homeostat.pipeline WHERE uid = " + mine.uid);
    const std::string token = db.value("SELECT coalesce(max(write_token), 0) FROM " + mine.document);
    const Program::Outcome built = program.run_once();
    if (built.exit.code != 0) return {"building it anew failed:\n" + built.output};
    Report report(db, pipeline);
    const Tables anew = tables_of(db, other);
    const auto served = [](const Tables& t) {
        return "SELECT " + t.key("d") +
               ", c.number, c.context, c.text, c.start_offset, c.end_offset, encode(c.chunk_hash, 'hex'),"
               " c.embedding::text FROM " +
               t.document + " d JOIN " + t.chunk + " c USING (document_id)";
    };
    report.none("chunks that a new build has not", served(mine) + " EXCEPT " + served(anew));
    report.none("chunks that only a new build has", served(anew) + " EXCEPT " + served(mine));
    report.none("documents written though nothing was wrong",
                "SELECT document_id FROM " + mine.document + " WHERE write_token > " + token);
    db.exec("DELETE FROM homeostat.pipeline WHERE name = " + literal(other));
    return report.take();
}

std::string drift_of(Database& db, const std::string& pipeline) {
    return db.value(
        "SELECT coalesce(string_agg(c || ' ' || n, ', ' ORDER BY i), '') FROM homeostat.pipeline_status s JOIN "
        "homeostat.pipeline p"
        " USING (uid), LATERAL (VALUES (1, 'missing', missing), (2, 'stale', stale), (3, 'moved', moved), (4, 'partial', "
        "partial),"
        " (5, 'invalid', invalid), (6, 'orphaned', orphaned), (7, 'excess', excess)) AS v(i, c, n) WHERE n > 0 AND p.name = " +
        literal(pipeline));
}

std::string condition(Database& db, const std::string& pipeline, const std::string& type, const std::string& column) {
    return db.value("SELECT coalesce((SELECT c." + column +
                    " FROM homeostat.condition c JOIN homeostat.pipeline p USING (uid) WHERE p.name = " + literal(pipeline) +
                    " AND c.type = " + literal(type) + "), '')");
}

}  // namespace homeostat::kit
