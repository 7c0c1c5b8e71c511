// The vector index as it is declared: over a prefix of the vectors or their bits, with a function that puts what it finds in
// order by the whole vectors; changed beside the one that is used, without a provider; rebuilt where it is gone or broken.
#include <atomic>
#include <thread>

#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kIndexes =
    "SELECT string_agg(format('%s %s %s %s %s', am.amname, oc.opcname, format_type(a.atttypid, a.atttypmod),"
    " coalesce(array_to_string(c.reloptions, ','), '-'), i.indisvalid), '; ' ORDER BY c.relname)"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam AND am.amname IN ('hnsw', "
    "'ivfflat')"
    " JOIN pg_opclass oc ON oc.oid = i.indclass[0] JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1";

class VectorIndex : public FeedWhole {
protected:
    void begin(int documents, const std::string& columns = "", const std::string& values = "") {
        make(documents);
        declare_endpoint(fake);
        db.exec("UPDATE homeostat.provider SET dimensions = 64 WHERE name = 'fake'");
        declare_docs(", index_method" + columns, ", 'hnsw'" + values);
        db.exec("UPDATE homeostat.pipeline SET dimensions = 64");
        run_once(kConverged);
    }
    void change(const std::string& to) {
        const std::uint64_t before = fake.texts();
        db.exec("UPDATE homeostat.pipeline SET " + to);
        run_once(kConverged);
        EXPECT_EQ(fake.texts(), before) << to;
    }
    // What search finds for the vector of that document: itself, first, and as many as are asked for.
    void expect_found(int id, int k = 10) {
        EXPECT_EQ(
            db.value(fmt::format("SELECT count(*) || ' ' || min(id) FILTER (WHERE n = 1) || ' ' || bool_and(sorted) FROM ("
                                 " SELECT row_number() OVER () AS n, id, distance >= lag(distance, 1, -1e9) OVER () AS sorted"
                                 " FROM docs_embeddings_search((SELECT embedding FROM docs_embeddings WHERE id = {}), {})) s",
                                 id, k)),
            fmt::format("{} {} true", k, id));
    }
    std::string plan(const std::string& order) {
        kit::Sql sql(db.url());
        sql.exec("SET enable_seqscan = off; SET enable_sort = off");
        std::string out;
        for (const kit::Row& row : sql.query("EXPLAIN SELECT id FROM docs_embeddings v ORDER BY " + order + " LIMIT 10"))
            out += *row[0] + '\n';
        return out;
    }
    void expect_refused(const std::string& change, const std::string& why) {
        try {
            db.exec("UPDATE homeostat.pipeline SET " + change);
            ADD_FAILURE() << change << " was let through";
        } catch (const std::runtime_error& e) {
            EXPECT_THAT(e.what(), HasSubstr(why));
        }
    }

    kit::FakeEndpoint fake{{.dimensions = 64}};
};

TEST_F(VectorIndex, APrefixAndBitsAreIndexedAndPutInOrderByWholeVectors) {
    begin(300, ", index_dimensions, index_m", ", 8, 8");
    EXPECT_EQ(db.value(kIndexes), "hnsw vector_cosine_ops vector(8) m=8 t");
    expect_found(5);
    EXPECT_THAT(
        plan("(subvector(v.embedding, 1, 8))::vector(8) <=> (subvector((SELECT embedding FROM docs_embeddings WHERE id = 5),"
             " 1, 8))::vector(8)"),
        HasSubstr("p1_r1_chunk_embedding"));
    change("index_type = 'bit', index_dimensions = NULL");
    EXPECT_EQ(db.value(kIndexes), "hnsw bit_hamming_ops bit(64) m=8 t");
    expect_found(7);
    expect_found(7, 100);
    EXPECT_EQ(db.value("SELECT prosrc LIKE '%OPERATOR(public.<~>)%' FROM pg_proc WHERE proname = 'docs_embeddings_search'"), "t");
    EXPECT_THAT(
        plan("(binary_quantize(subvector(v.embedding, 1, 64)))::bit(64) <~> (binary_quantize(subvector((SELECT embedding FROM"
             " docs_embeddings WHERE id = 5), 1, 64)))::bit(64)"),
        HasSubstr("p1_r1_chunk_embedding"));
    change("index_method = 'ivfflat', index_m = NULL, index_lists = 5");
    EXPECT_EQ(db.value(kIndexes), "ivfflat bit_hamming_ops bit(64) lists=5 t");
    expect_found(9);
    change("index_type = 'vector', index_lists = NULL, distance = 'l2', vector_type = 'vector'");
    EXPECT_EQ(db.value(kIndexes), "ivfflat vector_l2_ops vector(64) lists=1 t");
    expect_found(11);
    change("index_method = 'none'");
    EXPECT_EQ(db.value(kIndexes), "");
    expect_found(13);
    change("index_method = 'hnsw', distance = 'cosine'");
    EXPECT_EQ(db.value(kIndexes), "hnsw vector_cosine_ops vector(64) - t");
    expect_found(15);
    EXPECT_THAT(plan("v.embedding <=> (SELECT embedding FROM docs_embeddings WHERE id = 5)"), HasSubstr("p1_r1_chunk_embedding"));
    // What is as it is declared is left alone.
    const std::string oid = db.value("SELECT 'homeostat_data.p1_r1_chunk_embedding'::regclass::oid");
    change("drift_interval = '1 hour'");
    EXPECT_EQ(db.value("SELECT 'homeostat_data.p1_r1_chunk_embedding'::regclass::oid"), oid);
}

// The command asks the function, and finds what that says.
TEST_F(VectorIndex, TheCommandSearchesByTheFunction) {
    begin(300, ", index_type, metadata", ", 'bit', '{tag}'");
    const auto search = [&] { return homeostat.run({"search", "docs", "Body of 17", "-k", "3", "-o", "json"}); };
    const kit::Program::Outcome found = search();
    ASSERT_EQ(found.exit.code, 0) << found.output;
    EXPECT_THAT(found.output, AllOf(HasSubstr("\"id\": \"17\""), HasSubstr("\"tag\": \"x\""), HasSubstr("Body of 17")));
    db.exec(
        "CREATE OR REPLACE FUNCTION docs_embeddings_search(query vector, k int DEFAULT 10) RETURNS TABLE (id int, tag text,"
        " chunk_number int, chunk_text text, distance float8) LANGUAGE sql STABLE AS"
        " $$ SELECT 4711, 'f', 0, 'by the function', 0::float8 $$");
    EXPECT_THAT(search().output, HasSubstr("by the function"));
}

// Few vectors are indexed in place; the function follows that too, and goes with the pipeline.
TEST_F(VectorIndex, TheFunctionGoesWithThePipeline) {
    begin(20, ", index_type, deletion_policy", ", 'bit', 'Delete'");
    expect_found(5);
    db.exec("DELETE FROM homeostat.pipeline WHERE name = 'docs'");
    run_once(kConverged);
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_proc WHERE proname = 'docs_embeddings_search'"), "0");
}

TEST_F(VectorIndex, WhatIsGoneOrBrokenIsBuiltAgain) {
    begin(200, ", index_type", ", 'bit'");
    const std::string whole = db.value(kIndexes);
    db.exec("DROP INDEX homeostat_data.p1_r1_chunk_embedding");
    run_once(kConverged);
    EXPECT_EQ(db.value(kIndexes), whole);
    db.exec("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'homeostat_data.p1_r1_chunk_embedding'::regclass");
    run_once(kConverged);
    EXPECT_EQ(db.value(kIndexes), whole);
    db.exec("DROP FUNCTION docs_embeddings_search");
    run_once(kConverged);
    expect_found(5);
    // Left by a build that was interrupted.
    db.exec("CREATE INDEX p1_r1_chunk_embedding_next ON homeostat_data.p1_r1_chunk (number)");
    change("index_type = 'vector'");
    EXPECT_EQ(db.value(kIndexes), "hnsw vector_cosine_ops vector(64) - t");
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'p1\\_r1\\_chunk\\_embedding\\_%'"), "0");
}

// There is one that can be used at each moment, and no searcher waits for the swap.
TEST_F(VectorIndex, ItIsNeverWithoutOneAndNoSearcherWaits) {
    begin(300, ", index_type", ", 'bit'");
    std::atomic<bool> stop{false};
    std::vector<std::string> wrong;
    std::thread looks([&] {
        kit::Sql sql(db.url());
        sql.exec("SET lock_timeout = '50ms'");
        while (!stop) {
            try {
                if (sql.value("SELECT count(*) > 0 FROM pg_index WHERE indexrelid ="
                              " to_regclass('homeostat_data.p1_r1_chunk_embedding') AND indisvalid") != "t")
                    wrong.emplace_back("no index");
                const std::string found = sql.value(
                    "SELECT count(*) FROM docs_embeddings_search((SELECT embedding FROM docs_embeddings WHERE id = 5), 10)");
                if (found != "10") wrong.push_back("found " + found);
            } catch (const std::exception& e) {
                wrong.emplace_back(e.what());
            }
        }
    });
    change("index_m = 8");
    change("index_type = 'vector', index_dimensions = 32");
    change("index_dimensions = NULL, index_m = NULL");
    stop = true;
    looks.join();
    EXPECT_THAT(wrong, ::testing::IsEmpty());
}

TEST_F(VectorIndex, KilledAroundTheSwapItIsThereAllTheSame) {
    begin(200);
    db.exec("UPDATE homeostat.pipeline SET index_type = 'bit'");
    for (const char* point : {"index.before_swap", "index.after_swap"}) {
        const kit::Program::Outcome doomed = homeostat.run_once({{"HOMEOSTAT_FAULT_POINT", point}});
        EXPECT_EQ(doomed.exit.signal, SIGKILL) << doomed.output;
        EXPECT_EQ(db.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'homeostat_data.p1_r1_chunk_embedding'::regclass"),
                  "t");
    }
    run_once(kConverged);
    EXPECT_EQ(db.value(kIndexes), "hnsw bit_hamming_ops bit(64) - t");
    expect_found(5);
}

// A way to read the view, and to nothing else: with the rights of whoever calls it, whatever his search_path.
TEST_F(VectorIndex, TheFunctionGivesNobodyARight) {
    db.exec(
        "CREATE TABLE odd (id int PRIMARY KEY, query text, \"a%b\" text, body text); INSERT INTO odd SELECT i, 'q', 'p', 'Body ' "
        "|| i"
        " FROM generate_series(1, 20) i");
    declare_endpoint(fake);
    db.exec("UPDATE homeostat.provider SET dimensions = 64 WHERE name = 'fake'");
    declare("odd", "odd", "content, metadata, index_type", "'body', 'query, \"a%b\"', 'bit'");
    db.exec("UPDATE homeostat.pipeline SET dimensions = 64");
    run_once(kConverged);
    EXPECT_EQ(
        db.value("SELECT count(*) || min(query) || min(\"a%b\") FROM odd_embeddings_search((SELECT embedding FROM odd_embeddings"
                 " WHERE id = 5), 5)"),
        "5qp");
    EXPECT_EQ(
        db.value(
            "SELECT prosecdef || ' ' || array_to_string(proconfig, ';') FROM pg_proc WHERE proname = 'odd_embeddings_search'"),
        "false search_path=pg_catalog, pg_temp;hnsw.ef_search=40");
    EXPECT_EQ(
        db.value(
            "SELECT p.proowner = c.relowner FROM pg_proc p, pg_class c WHERE p.proname = 'odd_embeddings_search' AND c.relname ="
            " 'odd_embeddings'"),
        "t");
    const std::string role = "nobody_" + db.name();
    db.exec("CREATE ROLE " + role + " LOGIN");
    const std::string ask = "SELECT count(*) FROM odd_embeddings_search(('[' || repeat('1,', 63) || '1]')::vector, 5)";
    kit::Sql nobody(db.url(role));
    EXPECT_THROW(nobody.value(ask), std::runtime_error);
    db.exec("GRANT SELECT ON odd_embeddings TO " + role);
    EXPECT_EQ(
        nobody.value("BEGIN; CREATE FUNCTION pg_temp.mine(vector, vector) RETURNS float8 LANGUAGE sql AS 'SELECT 1.0'; " + ask),
        "5");
    nobody.exec("ROLLBACK");
    EXPECT_THROW(db.value("SELECT count(*) FROM odd_embeddings_search('[1]', 0)"), std::runtime_error);
    db.exec("DROP OWNED BY " + role + "; DROP ROLE " + role);
}

TEST_F(VectorIndex, AFunctionOfSomebodyElseIsLeftAlone) {
    db.exec("CREATE FUNCTION public.docs_embeddings_search(vector, int) RETURNS text LANGUAGE sql AS 'SELECT ''mine''::text'");
    begin(20, ", index_type", ", 'bit'");
    EXPECT_EQ(db.value("SELECT docs_embeddings_search('[1]', 1)"), "mine");
}

TEST_F(VectorIndex, WhatCannotBeIsRefusedWithASentence) {
    begin(5);
    expect_refused("index_type = 'bits'", "index_type \"bits\" is not known; it is one of vector, bit");
    expect_refused("index_m = 1", "index_m is 1; it must be 2 to 100");
    expect_refused("index_lists = 5", "index_lists is for index_method ivfflat, and that is hnsw");
    expect_refused("index_method = 'none', index_type = 'bit'", "index_type bit is for index_method hnsw or ivfflat");
    expect_refused("index_dimensions = 64", "index_dimensions is 64, and the vectors have 64; leave it out to index all of them");
    expect_refused("index_dimensions = 0", "index_dimensions is 0; it must be 1 to 64000");
    expect_refused("index_ef_construction = 20", "it must be at least twice index_m, which is 16");
    expect_refused("index_m = 50", "index_ef_construction is 64; it must be at least twice index_m, which is 50");
    expect_refused("index_type = 'bit', distance = 'l2'", "the signs of a vector tell its direction");
}

}  // namespace
}  // namespace homeostat
