// When a revision takes over, and when one is gone back to, the view is replaced at the very end of the transaction: whoever
// searches waits for nothing else of it. Seen by what was done after it.
#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

constexpr const char* kStates = "SELECT string_agg(revision || ' ' || state, ', ' ORDER BY revision) FROM homeostat.revision";
// Every statement that changes a row of ours or an object, in its order.
constexpr const char* kNotes = R"sql(
    CREATE TABLE steps (n bigserial, tx bigint DEFAULT txid_current(), what text);
    CREATE FUNCTION note_rows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN INSERT INTO public.steps (what) VALUES (TG_TABLE_NAME); RETURN NULL; END $$;
    CREATE FUNCTION note_objects() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN INSERT INTO public.steps (what) VALUES (TG_TAG); END $$;
    CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION note_objects();
    DO $$
    DECLARE t text;
    BEGIN
        FOREACH t IN ARRAY '{pipeline,pipeline_status,revision,batch,run,run_history,event,condition,feed}'::text[] LOOP
            EXECUTE format('CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON homeostat.%I FOR EACH STATEMENT'
                           ' EXECUTE FUNCTION public.note_rows()', t);
        END LOOP;
    END $$)sql";

class Swap : public FeedWhole {
protected:
    // What was done after the view was touched first, by the transactions that did.
    std::string after_the_view() {
        return db.value(
            "SELECT coalesce(string_agg(DISTINCT s.what, ', '), '') FROM steps s JOIN (SELECT tx, min(n) AS n FROM steps"
            " WHERE what IN ('CREATE VIEW', 'DROP VIEW') GROUP BY tx) v ON v.tx = s.tx AND s.n > v.n"
            " WHERE s.what NOT IN ('CREATE VIEW', 'COMMENT', 'ALTER VIEW', 'GRANT')");
    }
    std::int64_t swaps() { return number("SELECT count(DISTINCT tx) FROM steps WHERE what = 'CREATE VIEW'"); }

    kit::FakeEndpoint fake{{.dimensions = 16}};
    kit::FakeEndpoint other{{.dimensions = 16, .salt = "other"}};
};

TEST_F(Swap, NothingOfTheTransactionFollowsTheView) {
    make(30);
    declare_endpoint(fake);
    db.exec(
        fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight)"
                    " VALUES ('other', '{}', 'n', 16, 16, 2)",
                    other.url()));
    declare_docs(", metadata, index_type", ", '{tag}', 'bit'");
    run_once(kConverged);
    db.exec(kNotes);
    for (const char* declaration : {"provider = 'other'", "vector_type = 'halfvec'"}) {
        db.exec(fmt::format("UPDATE homeostat.pipeline SET {}", declaration));
        run_once(kConverged);
        EXPECT_EQ(swaps(), 1) << declaration;
        EXPECT_EQ(after_the_view(), "") << declaration;
        EXPECT_EQ(number("SELECT count(*) FROM steps WHERE what = 'run_history'"), 1) << "it notes what is done";
        db.exec("TRUNCATE steps");
    }
    ASSERT_EQ(db.value(kStates), "2 retired, 3 served");
    db.exec("UPDATE homeostat.pipeline SET metadata = NULL");
    run_once(kConverged);
    db.exec("TRUNCATE steps");
    EXPECT_EQ(homeostat.run({"revisions", "docs", "activate", "2", "--no-wait"}).exit.code, 0);
    run_once(kConverged);
    EXPECT_EQ(db.value(kStates), "2 served, 3 retired");
    EXPECT_EQ(swaps(), 1);
    EXPECT_EQ(after_the_view(), "");
}

// Whoever holds on to the view keeps the swap from being done, and nobody else from searching.
TEST_F(Swap, ASearcherWhoStaysIsWaitedForWithoutAQueue) {
    make(30);
    declare_endpoint(fake);
    db.exec(
        fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight)"
                    " VALUES ('other', '{}', 'n', 16, 16, 2)",
                    other.url()));
    declare_docs();
    kit::Process run = start();
    kit::Sql reader(db.url());
    reader.exec("BEGIN; SELECT count(*) FROM docs_embeddings");
    db.exec("UPDATE homeostat.pipeline SET provider = 'other'");
    EXPECT_TRUE(eventually_is("SELECT count(*) > 0 FROM homeostat.condition WHERE reason = 'WaitingForLock'", "t"))
        << run.output();
    EXPECT_EQ(db.value(kStates), "1 served, 2 building") << "all of the transaction is undone";
    EXPECT_EQ(db.value("SELECT revision FROM homeostat.pipeline_status"), "1");
    reader.exec("COMMIT");
    EXPECT_TRUE(eventually_is(kStates, "1 retired, 2 served", std::chrono::seconds(60))) << run.output();
    end_converged(run, "docs", "SELECT id::text AS key, body AS content FROM docs");
}

}  // namespace
}  // namespace homeostat
