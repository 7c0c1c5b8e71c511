// What the journal keeps, with the real program: whatever is replaced or removed can be read there as it was.
#include <gtest/gtest.h>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

class Journal : public World {
protected:
    void SetUp() override {
        db.exec(
            "CREATE TABLE docs (id int PRIMARY KEY, body text, tag text, grade int);"
            "INSERT INTO docs SELECT i, (SELECT string_agg(format('Sentence %s of document %s has its own words.', j, i), ' ')"
            "  FROM generate_series(1, 6) j), 'tag ' || i, i FROM generate_series(1, 40) i");
        declare("docs", "docs", "content, metadata, chunk_size, max_prune_ratio", "'body', '{tag}', 16, 1");
        run_once(kConverged);
        remember();
    }
    void remember() {
        db.exec(
            "DROP TABLE IF EXISTS documents_then, chunks_then; TRUNCATE homeostat_data.p1_r1_journal;"
            "CREATE TABLE documents_then AS SELECT * FROM homeostat_data.p1_r1_document;"
            "CREATE TABLE chunks_then AS SELECT * FROM homeostat_data.p1_r1_chunk");
    }
    // Documents that are no longer what they were and are not in the journal, exactly once, as they were; and the other way
    // round.
    std::string documents_lost() {
        return db.value(
            "WITH gone AS (SELECT t.document_id, to_jsonb(t) AS was FROM documents_then t LEFT JOIN "
            "homeostat_data.p1_r1_document d"
            "  USING (document_id) WHERE (d.content_hash, d.meta_1) IS DISTINCT FROM (t.content_hash, t.meta_1)),"
            " kept AS (SELECT DISTINCT document_id, to_jsonb(document) AS was FROM homeostat_data.p1_r1_journal"
            "  WHERE document IS DISTINCT FROM NULL)"
            " SELECT coalesce(string_agg(coalesce(g.document_id, k.document_id)::text, ','), 'none')"
            " FROM gone g FULL JOIN kept k USING (document_id, was) WHERE g.document_id IS NULL OR k.document_id IS NULL");
    }
    std::string chunks_lost() {
        const std::string columns = "document_id, number, start_offset, end_offset, chunk_hash, context, text, embedding::text";
        return db.value(
            "WITH gone AS (SELECT " + columns + " FROM chunks_then t WHERE NOT EXISTS (SELECT FROM" +
            " homeostat_data.p1_r1_chunk c WHERE (c.document_id, c.number, c.chunk_hash) = (t.document_id, t.number," +
            " t.chunk_hash))), kept AS (SELECT " + columns + " FROM homeostat_data.p1_r1_journal WHERE number IS NOT" +
            " NULL) SELECT (SELECT count(*) FROM (SELECT * FROM gone EXCEPT ALL SELECT * FROM kept) a) || ' lost, ' ||" +
            " (SELECT count(*) FROM (SELECT * FROM kept EXCEPT ALL SELECT * FROM gone) b) || ' made up'");
    }
    std::string entries() {
        return db.value(
            "SELECT string_agg(change || ' ' || n, ', ' ORDER BY change) FROM (SELECT change, count(DISTINCT document_id) AS n"
            " FROM homeostat_data.p1_r1_journal WHERE change NOT IN ('inserted', 'kept') GROUP BY change) c");
    }
};

TEST_F(Journal, KeepsWhatIsReplacedOrRemovedAsItWas) {
    db.exec(
        "UPDATE docs SET body = 'Nothing is as it was.' WHERE id <= 5;"                               // all chunks go
        "UPDATE docs SET body = replace(body, 'Sentence 6', 'The last') WHERE id BETWEEN 6 AND 10;"   // most chunks stay
        "UPDATE docs SET body = body || ' And one more sentence.' WHERE id = 11;"
        "UPDATE docs SET tag = 'another' WHERE id BETWEEN 12 AND 14;"                                 // only metadata
        "UPDATE docs SET body = '' WHERE id = 15;"
        "UPDATE docs SET grade = 0 WHERE id BETWEEN 16 AND 20;"                                       // nothing of ours
        "DELETE FROM docs WHERE id > 35");
    run_once(kConverged);
    EXPECT_EQ(entries(), "moved 3, removed 5, replaced 12, touched 5");
    db.exec("DELETE FROM homeostat_data.p1_r1_journal WHERE change = 'touched'");
    EXPECT_EQ(documents_lost(), "none");
    EXPECT_EQ(chunks_lost(), "0 lost, 0 made up");
    expect_converged("docs", "SELECT id::text AS key, body AS content FROM docs");
}

// A document table that gets another column is still the type of what the journal keeps.
TEST_F(Journal, GoesOnWhereMetadataIsAdded) {
    db.exec("UPDATE docs SET body = 'Replaced before.' WHERE id = 1");
    run_once(kConverged);
    db.exec("UPDATE homeostat.pipeline SET metadata = '{tag,grade}'");
    run_once(kConverged);
    remember();
    db.exec("UPDATE docs SET body = 'Replaced after.' WHERE id IN (1, 2)");
    run_once(kConverged);
    EXPECT_EQ(entries(), "replaced 2");
    EXPECT_EQ(documents_lost(), "none");
    EXPECT_EQ(db.value("SELECT string_agg(DISTINCT (document).meta_2::text, ',') FROM homeostat_data.p1_r1_journal"), "1,2");
}

TEST_F(Journal, ForgetsWhatIsOlderThanItsWeeks) {
    db.exec("UPDATE docs SET body = 'Replaced.' WHERE id <= 3");
    run_once(kConverged);
    db.exec("UPDATE homeostat_data.p1_r1_journal SET at = at - interval '27 days'");
    run_once(kConverged);
    EXPECT_EQ(entries(), "replaced 3");
    db.exec("UPDATE homeostat_data.p1_r1_journal SET at = at - interval '2 days'; UPDATE docs SET tag = 'x' WHERE id = 4");
    run_once(kConverged);
    EXPECT_EQ(entries(), "moved 1");
}

// Entries of before the upgrade, and of after it for who goes back.
TEST_F(Journal, IsCarriedOverByMigrations) {
    db.exec(
        "UPDATE docs SET body = 'Replaced.' WHERE id <= 3; UPDATE docs SET tag = 'x' WHERE id = 4; DELETE FROM docs WHERE id = "
        "5");
    run_once(kConverged);
    const std::string all = "SELECT md5(string_agg(j::text, '|' ORDER BY entry)) FROM homeostat_data.p1_r1_journal j";
    const std::string before = db.value(all);
    for (const auto& arguments : {std::vector<std::string>{"migrate", "down", "--to", "9", "--yes"}, {"migrate", "up"}}) {
        kit::Process step = homeostat.start(arguments);
        ASSERT_EQ(step.wait(std::chrono::seconds(60)).value_or(kit::Exit{}).code, 0) << step.output();
        const std::string type = arguments[1] == "down" ? "jsonb" : "homeostat_data.p1_r1_document";
        EXPECT_EQ(db.value("SELECT DISTINCT pg_typeof(document)::regtype FROM homeostat_data.p1_r1_journal"), type);
    }
    EXPECT_EQ(db.value(all), before);
    EXPECT_EQ(documents_lost(), "none");
    EXPECT_EQ(chunks_lost(), "0 lost, 0 made up");
    db.exec("UPDATE docs SET body = 'Replaced again.' WHERE id <= 3");
    run_once(kConverged);
}

}  // namespace
}  // namespace homeostat
