// What stands before every chunk: part of what is embedded, served beside it, and as true as the text itself.
#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ChunkContext : public World {
protected:
    ChunkContext() {
        db.exec(
            "CREATE TABLE docs (id int PRIMARY KEY, title text, section text, body text, views int NOT NULL DEFAULT 0, raw "
            "bytea);"
            "INSERT INTO docs SELECT i, 'Title ' || i, 'Section ' || i % 3,"
            " (SELECT string_agg(format('Sentence %s of document %s says this and that.', p, i), ' ') FROM generate_series(1, "
            "20) p)"
            " FROM generate_series(1, 20) i");
        declare_endpoint(endpoint);
    }
    void declare_in_context(const std::string& more = "", const std::string& values = "") {
        declare("docs", "docs", "content, chunk_size, chunk_context" + more, "'body', 50, '{title} / {section}'" + values);
    }
    std::string refused(const std::string& set) {
        try {
            db.exec("UPDATE homeostat.pipeline SET " + set + " WHERE name = 'docs'");
        } catch (const std::exception& e) {
            return e.what();
        }
        return "accepted";
    }
    // Chunks whose context or vector is not that of the row as it is now.
    std::vector<std::string> untrue(const std::string& wanted = "d.title || ' / ' || d.section") {
        std::vector<std::string> out;
        for (const kit::Row& row : db.query("SELECT e.id::text, e.chunk_context, " + wanted +
                                            ", e.chunk_text, e.embedding::text FROM docs_embeddings e JOIN docs d USING (id)")) {
            if (row[1] != row[2]) out.push_back(*row[0] + " is served with " + row[1].value_or("nothing"));
            const std::string text = row[1] ? *row[1] + "\n\n" + *row[3] : *row[3];
            const char* at = row[4]->c_str() + 1;
            for (const float w : kit::FakeEndpoint::vector_of(text, 16)) {
                char* end = nullptr;
                if (std::abs(std::strtof(at, &end) - w) > 1e-5F) {
                    out.push_back(*row[0] + " has a vector of another text");
                    break;
                }
                at = end + 1;
            }
        }
        return out;
    }

    kit::FakeEndpoint endpoint{{.dimensions = 16}};
};

TEST_F(ChunkContext, StandsBeforeEveryChunkAndIsServedBesideIt) {
    declare_in_context();
    run_once(kConverged);
    EXPECT_GE(number("SELECT min(n) FROM (SELECT count(*) AS n FROM docs_embeddings GROUP BY id) c"), 4);
    EXPECT_THAT(untrue(), IsEmpty());
    EXPECT_EQ(db.value("SELECT string_agg(chunk_text, ' ' ORDER BY chunk_number) FROM docs_embeddings WHERE id = 7"),
              db.value("SELECT body FROM docs WHERE id = 7"));
}

TEST_F(ChunkContext, AnEditOfWhatItNamesEmbedsThatDocumentAndNoOther) {
    declare_in_context();
    run_once(kConverged);
    const std::int64_t before = embedded();
    const std::int64_t chunks = number("SELECT count(*) FROM docs_embeddings WHERE id = 7");
    db.exec("UPDATE docs SET views = views + 1; UPDATE docs SET title = 'Another' WHERE id = 7");
    run_once(kConverged);
    EXPECT_EQ(embedded() - before, chunks);
    EXPECT_THAT(untrue(), IsEmpty());
    run_deep(kConverged);
    EXPECT_EQ(embedded() - before, chunks);

    kit::Process run = homeostat.start({"run"});
    EXPECT_TRUE(kit::eventually([&] { return condition("docs", "ChangeFeed") == "True"; })) << run.output();
    db.exec("UPDATE docs SET section = NULL WHERE id = 9");
    EXPECT_TRUE(kit::eventually([&] {
        return db.value("SELECT DISTINCT chunk_context FROM docs_embeddings WHERE id = 9") == "Title 9 /";
    })) << run.output();
    end(run);
    EXPECT_EQ(number("SELECT count(*) FROM docs_embeddings WHERE chunk_context IS NULL"), 0);
}

TEST_F(ChunkContext, AnotherOneIsAnotherRevisionAndTheFormerIsTakenUpAgainForNothing) {
    declare_in_context();
    run_once(kConverged);
    const std::int64_t first = embedded();
    db.exec("UPDATE homeostat.pipeline SET chunk_context = 'In {section}'");
    run_once(kConverged);
    EXPECT_THAT(untrue("'In ' || d.section"), IsEmpty());
    const std::int64_t second = embedded();
    EXPECT_GT(second, first);
    db.exec("UPDATE homeostat.pipeline SET chunk_context = '{title} / {section}'");
    run_once(kConverged);
    EXPECT_THAT(untrue(), IsEmpty());
    EXPECT_EQ(embedded(), second);
    db.exec("UPDATE homeostat.pipeline SET chunk_context = NULL");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'docs_embeddings'::regclass AND attname = "
                       "'chunk_context'"),
              "0");
    EXPECT_EQ(condition("docs", "Ready"), "True");
}

// The two are kept apart by a mark: what holds it is no way to make one document pass for another.
TEST_F(ChunkContext, TheMarkBetweenContextAndTextIsNoSecret) {
    db.exec(
        "UPDATE docs SET title = E'a\\x1fb', body = 'c' WHERE id = 1; UPDATE docs SET title = 'a', body = E'b\\x1fc' WHERE id = "
        "2;"
        "UPDATE docs SET title = '', section = '', body = E'\\x1f' WHERE id = 3; UPDATE docs SET title = NULL, section = NULL "
        "WHERE id = 4; UPDATE docs SET body = '' WHERE id = 5");
    declare("docs", "docs", "content, chunker, chunk_context", "'body', 'whole', '{title}{section}'");
    run_once(kConverged);
    EXPECT_THAT(untrue("nullif(btrim(translate(concat(d.title, d.section), E'\\x1f', ' ')), '')"), IsEmpty());
    EXPECT_EQ(db.value("SELECT chunk_text FROM docs_embeddings WHERE id = 2"),
              "b\x1f"
              "c");
    EXPECT_EQ(db.value("SELECT count(*) FROM docs_embeddings WHERE id = 5"), "0");
    const std::int64_t before = embedded();
    db.exec("UPDATE docs SET title = 'a', section = '', body = E'b\\x1fc' WHERE id = 1");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT chunk_context || '|' || chunk_text FROM docs_embeddings WHERE id = 1"),
              "a|b\x1f"
              "c");
    EXPECT_EQ(embedded() - before, 1);
}

TEST_F(ChunkContext, WhatCannotStandThereIsRefused) {
    declare_in_context();
    EXPECT_THAT(refused("chunk_context = '  '"), HasSubstr("chunk_context is empty; leave it out"));
    EXPECT_THAT(refused("chunk_context = '{title'"), HasSubstr("has a brace without its partner"));
    EXPECT_THAT(refused("chunk_context = 'Manual'"), HasSubstr("names no {column}"));
    EXPECT_THAT(
        refused("chunk_context = '{titel}'"),
        HasSubstr("pipeline \"docs\": chunk_context column \"titel\" is not in table public.docs (did you mean \"title\"?)"));
    EXPECT_THAT(refused("chunk_context = '{raw}'"), HasSubstr("chunk_context column \"raw\" is bytea, which is no text"));
    db.exec("CREATE VIEW other AS SELECT id, body, title AS chunk_context FROM docs");
    EXPECT_THAT(refused("chunk_context = '{chunk_context}', metadata = 'chunk_context', source = 'other', key = 'id'"),
                HasSubstr("has the name of a column of the served view"));
    run_once(kConverged);
    db.exec("ALTER TABLE docs RENAME title TO heading");
    run_once(kFailed);
    EXPECT_THAT(condition("docs", "Ready", "message"), HasSubstr("chunk_context column \"title\""));
    db.exec("ALTER TABLE docs RENAME heading TO title");
    run_once(kConverged);
    EXPECT_THAT(untrue(), IsEmpty());
}

}  // namespace
}  // namespace homeostat
