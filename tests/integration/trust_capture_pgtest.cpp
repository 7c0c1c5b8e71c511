// The functions of our triggers run with the controller's rights, on tables that are not ours: nothing of their owner's runs in
// them.
#include "tests/integration/trust_world.hpp"

namespace homeostat {
namespace {

using ::testing::HasSubstr;

class TrustCapture : public TrustWorld {
protected:
    // A type of ann's with casts to those that keys are kept in and compared by, which note who calls them.
    void SetUp() override {
        TrustWorld::SetUp();
        as(ann_).exec(
            "CREATE TYPE ann.t AS (v text); CREATE TABLE ann.called (as_whom text);"
            "GRANT INSERT ON ann.called TO PUBLIC; GRANT USAGE ON SCHEMA ann TO PUBLIC;"
            "CREATE FUNCTION ann.note() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ann.called VALUES (current_user);"
            " RETURN 7; END $$;"
            "CREATE FUNCTION ann.to_int(ann.t) RETURNS int LANGUAGE sql AS 'SELECT ann.note()::int';"
            "CREATE FUNCTION ann.to_big(ann.t) RETURNS bigint LANGUAGE sql AS 'SELECT ann.note()';"
            "CREATE FUNCTION ann.to_text(ann.t) RETURNS text LANGUAGE sql AS 'SELECT ann.note()::text';"
            "CREATE CAST (ann.t AS int) WITH FUNCTION ann.to_int(ann.t) AS IMPLICIT;"
            "CREATE CAST (ann.t AS bigint) WITH FUNCTION ann.to_big(ann.t) AS IMPLICIT;"
            "CREATE CAST (ann.t AS text) WITH FUNCTION ann.to_text(ann.t) AS IMPLICIT");
    }
    void capture(const std::string& name, const std::string& source) {
        as(ann_).exec(declaration(name, source, "ann." + name + "_v"));
        kit::Process run = as_controller_.start({"run"});
        ASSERT_TRUE(comes_to(name, "ChangeFeed", "reason", "Active")) << condition(name, "ChangeFeed", "message") << run.output();
        end(run);
    }
    std::string strangers() { return db.value("SELECT count(*) FROM ann.called WHERE as_whom <> '" + ann_ + "'"); }
};

TEST_F(TrustCapture, ACastOfTheTablesOwnerIsNotCalledAsTheController) {
    capture("docs", "ann.docs");
    kit::Sql ann = as(ann_);
    ann.exec("UPDATE ann.docs SET body = 'Warm'");  // plans of this session are there
    ann.exec("ALTER TABLE ann.docs ALTER id TYPE ann.t USING ROW(id::text)::ann.t, ALTER body TYPE ann.t USING ROW(body)::ann.t");
    for (kit::Sql* session : {&ann, &db.sql()}) {
        session->exec(
            "UPDATE ann.docs SET body = ROW('Edited')::ann.t; INSERT INTO ann.docs VALUES (ROW('9')::ann.t, ROW('New')::ann.t);"
            "UPDATE ann.docs SET id = ROW('10')::ann.t WHERE (id).v = '9'; DELETE FROM ann.docs WHERE (id).v = '10'");
        session->exec(
            "BEGIN; UPDATE ann.docs SET body = ROW('Once')::ann.t; UPDATE ann.docs SET body = ROW('Twice')::ann.t;"
            "INSERT INTO ann.docs VALUES (ROW('11')::ann.t, ROW('New')::ann.t); DELETE FROM ann.docs WHERE (id).v = '11'; "
            "COMMIT");
    }
    EXPECT_EQ(strangers(), "0");
    EXPECT_EQ(db.value("SELECT pg_sequence_last_value('homeostat_data.p1_full') >= 2"), "t")
        << "what was not named is a sweep's to find";
}

TEST_F(TrustCapture, NorInATableOfPartsWhereStatementsAreLookedAt) {
    as(ann_).exec(
        "CREATE TABLE ann.parent (id int NOT NULL, body text); CREATE TABLE ann.child () INHERITS (ann.parent);"
        "INSERT INTO ann.child SELECT i, 'Body ' || i FROM generate_series(1, 5) i;"
        "GRANT SELECT, TRIGGER ON ann.parent, ann.child TO homeostat_controller");
    capture("parent", "ann.parent");
    kit::Sql ann = as(ann_);
    ann.exec("UPDATE ann.parent SET body = 'Warm'");
    ann.exec(
        "ALTER TABLE ann.parent ALTER id TYPE ann.t USING ROW(id::text)::ann.t, ALTER body TYPE ann.t USING ROW(body)::ann.t");
    for (kit::Sql* session : {&ann, &db.sql()}) {
        session->exec(
            "UPDATE ann.parent SET body = ROW('Edited')::ann.t; INSERT INTO ann.child VALUES (ROW('9')::ann.t, "
            "ROW('New')::ann.t);"
            "UPDATE ann.child SET id = ROW('10')::ann.t WHERE (id).v = '9'; DELETE FROM ann.parent WHERE (id).v = '10'");
    }
    EXPECT_EQ(strangers(), "0");
}

// Who owns the table may put them on any of his own. Without transition tables of the trigger their names are looked up along the
// path of whoever writes, where he may have views and tables that are called so.
TEST_F(TrustCapture, ATriggerWithoutItsRowsReadsNoneOfTheOwners) {
    as(ann_).exec(
        "CREATE TABLE ann.parent (id int NOT NULL, body text); CREATE TABLE ann.child () INHERITS (ann.parent);"
        "GRANT SELECT, TRIGGER ON ann.parent, ann.child TO homeostat_controller");
    capture("docs", "ann.docs");
    capture("parent", "ann.parent");
    as(ann_).exec(
        "CREATE FUNCTION ann.id() RETURNS int LANGUAGE sql AS 'SELECT ann.note()::int';"
        "CREATE VIEW ann.new_rows AS SELECT ann.id() AS id, 'x'::text AS body; CREATE VIEW ann.old_rows AS TABLE ann.new_rows;"
        "GRANT SELECT ON ann.new_rows, ann.old_rows TO PUBLIC; CREATE TABLE ann.trap (id int, body text)");
    const auto of = [&](const std::string& pipeline) {
        return "p" + db.value("SELECT uid FROM homeostat.pipeline WHERE name = '" + pipeline + "'");
    };
    const std::string row = "FOR EACH ROW";
    const std::string statement = "FOR EACH STATEMENT";
    for (const auto& [function, feed] : {std::pair{of("docs") + "_changed_insert", of("docs")},
                                         {of("docs") + "_changed_delete", of("docs")},
                                         {of("parent") + "_changed_update", of("parent")}}) {
        for (const std::string& when : {"INSERT ON ann.trap " + statement, "INSERT ON ann.trap " + row,
                                        "UPDATE ON ann.trap REFERENCING NEW TABLE AS other_rows " + statement,
                                        "UPDATE ON ann.trap REFERENCING OLD TABLE AS old_rows " + statement,
                                        "UPDATE ON ann.trap REFERENCING NEW TABLE AS new_rows " + row,
                                        "DELETE ON ann.trap REFERENCING OLD TABLE AS other_rows " + statement}) {
            db.exec("SELECT setval('homeostat_data." + feed + "_full', 1)");
            as(ann_).exec(
                fmt::format("CREATE OR REPLACE TRIGGER t AFTER {} EXECUTE FUNCTION homeostat_data.{}();"
                            "SET search_path = ann, pg_catalog; INSERT INTO trap VALUES (1, 'x');"
                            "UPDATE trap SET body = 'y'; DELETE FROM trap",
                            when, function));
            EXPECT_EQ(strangers(), "0") << function << " " << when;
        }
    }
}

TEST_F(TrustCapture, OurFunctionsArePutOnNobodyElsesTable) {
    capture("docs", "ann.docs");
    as(bob_).exec("CREATE TABLE bob.mine (id int PRIMARY KEY, body text)");
    EXPECT_THAT(refused(bob_,
                        "CREATE TRIGGER t AFTER INSERT ON bob.mine REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE"
                        " FUNCTION homeostat_data.p1_changed_insert()"),
                HasSubstr("permission denied for function"));
    EXPECT_EQ(db.value("SELECT string_agg(DISTINCT has_function_privilege('" + ann_ +
                       "', p.oid, 'EXECUTE')::text, '') FROM pg_proc p"
                       " WHERE p.pronamespace = 'homeostat_data'::regnamespace"),
              "true")
        << "whoever owns the table may make the triggers that the controller may not";
}

// The right that was there when it was declared goes later: no trigger is left on a table whose owner took it away, and whoever
// declared it is told. What changes is found by sweeps then, and by triggers again when the right is back.
TEST_F(TrustCapture, ARightToMakeTriggersThatIsTakenAwayTakesThemAway) {
    as(bob_).exec(fmt::format("GRANT USAGE ON SCHEMA bob TO {0}; GRANT SELECT, TRIGGER ON bob.docs TO {0}", ann_));
    as(ann_).exec("CREATE VIEW ann.shown AS SELECT id, body FROM bob.docs; GRANT SELECT ON ann.shown TO homeostat_controller");
    as(ann_).exec(
        declaration("shown", "ann.shown", "ann.shown_v", R"(, capture_from=, '[{"table": "bob.docs", "key": {"id": "id"}}]')"));
    kit::Process run = as_controller_.start({"run"});
    const std::string triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'bob.docs'::regclass AND NOT tgisinternal";
    ASSERT_TRUE(comes_to("shown", "ChangeFeed", "reason", "Active"))
        << condition("shown", "ChangeFeed", "message") << run.output();
    EXPECT_EQ(db.value(triggers), "4");
    as(bob_).exec(fmt::format("REVOKE TRIGGER ON bob.docs FROM {}", ann_));
    EXPECT_TRUE(eventually_is(triggers, "0")) << run.output();
    EXPECT_TRUE(comes_to("shown", "ChangeFeed", "message",
                         fmt::format("capture_from names table bob.docs, on which role {0} may not make triggers any more; GRANT"
                                     " TRIGGER ON bob.docs TO {0}; sweeps find what changes",
                                     ann_)))
        << condition("shown", "ChangeFeed", "message");
    EXPECT_EQ(condition("shown", "ChangeFeed"), "False");
    as(bob_).exec("UPDATE bob.docs SET body = 'Swept' WHERE id = 1");
    EXPECT_TRUE(kit::eventually([&] { return served("ann.shown_v") == "Swept Body 2 Body 3 Body 4 Body 5"; }))
        << served("ann.shown_v");
    as(bob_).exec(fmt::format("GRANT TRIGGER ON bob.docs TO {}", ann_));
    EXPECT_TRUE(comes_to("shown", "ChangeFeed", "reason", "Active")) << condition("shown", "ChangeFeed", "message");
    EXPECT_EQ(db.value(triggers), "4");
    end(run);
}

}  // namespace
}  // namespace homeostat
