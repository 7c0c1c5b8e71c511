// Vectors that somebody else has made, with the real program: what is adopted is what would have been embedded, and the sample is
// all that is paid.
#include <nlohmann/json.hpp>

#include "core/fault_point.hpp"
#include "tests/integration/trust_world.hpp"
#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kWanted = "SELECT id::text, body FROM docs";
constexpr int kDocuments = 40;

class Adopt : public World {
protected:
    void SetUp() override {
        declare_endpoint(endpoint);
        db.exec(fmt::format(
            "CREATE TABLE docs (id int PRIMARY KEY, body text);"
            "INSERT INTO docs SELECT i, (SELECT string_agg(format('Sentence %s of document %s has its own words.', j, i),"
            " ' ') FROM generate_series(1, 1 + i % 4) j) FROM generate_series(1, {}) i",
            kDocuments));
        make("docs", "content, chunk_size", "'body', 16");
    }
    // What another tool has left: a table `old` of what a pipeline over `source` embeds, which is gone then.
    void make(const std::string& source, const std::string& columns, const std::string& values) {
        declare("made", source, columns + ", deletion_policy, capture", values + ", 'Delete', 'Off'");
        run_once(kConverged);
        const std::string prefix = fmt::format("homeostat_data.p{}_r1_", db.value("SELECT uid FROM homeostat.pipeline"));
        db.exec(
            fmt::format("DROP TABLE IF EXISTS old; CREATE TABLE old AS SELECT d.key_1 AS doc, c.number AS seq, c.text AS chunk,"
                        " c.embedding, now() AS at FROM {0}document d JOIN {0}chunk c USING (document_id);"
                        "ALTER TABLE old ADD PRIMARY KEY (doc, seq)",
                        prefix));
        wanted = digest(prefix);
        db.exec("DELETE FROM homeostat.pipeline WHERE name = 'made'");
        homeostat.run_once();
        ASSERT_EQ(number("SELECT count(*) FROM homeostat.pipeline"), 0);
        forget_kept();
        paid_before = endpoint.texts();
    }
    // Or a cache would hide what is embedded.
    void forget_kept() { db.exec("TRUNCATE homeostat.kept_vector CASCADE"); }
    std::string digest(const std::string& prefix) {
        return db.value(
            fmt::format("SELECT count(*) || ' ' || md5(string_agg(concat_ws('|', d.key_1, d.chunk_count, encode(d.content_hash, "
                        "'hex'), c.number,"
                        " c.start_offset, c.end_offset, encode(c.chunk_hash, 'hex'), c.text, c.embedding::text), E'\\n' ORDER BY "
                        "d.key_1, c.number))"
                        " FROM {0}document d LEFT JOIN {0}chunk c USING (document_id)",
                        prefix));
    }
    std::string stored() {
        return digest(fmt::format("homeostat_data.p{}_r1_", db.value("SELECT uid FROM homeostat.pipeline WHERE name = 'docs'")));
    }
    void declare_suspended(const std::string& more = "content, chunk_size", const std::string& values = "'body', 16") {
        declare("docs", "docs", more + ", suspend", values + ", true");
    }
    std::int64_t paid() const { return static_cast<std::int64_t>(endpoint.texts() - paid_before); }
    std::vector<std::string> arguments(std::vector<std::string> more) {
        std::vector<std::string> all{"adopt", "docs", "--from", "old", "--key", "doc", "--chunk", "seq", "--sample", "5"};
        all.insert(all.end(), more.begin(), more.end());
        return all;
    }
    // Asked for, and carried out by one process.
    void adopt(const std::vector<std::string>& more) {
        std::vector<std::string> all = arguments(more);
        all.emplace_back("--no-wait");
        const kit::Program::Outcome asked = homeostat.run(all);
        ASSERT_EQ(asked.exit.code, 0) << asked.output;
        log = homeostat.run_once().output;
    }
    std::string state() { return db.value("SELECT state FROM homeostat.adoption ORDER BY id DESC LIMIT 1"); }
    std::string message() { return db.value("SELECT message FROM homeostat.adoption ORDER BY id DESC LIMIT 1"); }
    std::string refused(const std::vector<std::string>& all) {
        const kit::Program::Outcome outcome = homeostat.run(all);
        EXPECT_EQ(outcome.exit.code, kFailed) << outcome.output;
        return outcome.output;
    }
    std::string refused_at_last(const std::vector<std::string>& more) {
        adopt(more);
        EXPECT_EQ(state(), "refused") << log;
        return message();
    }
    void resume() {
        const kit::Program::Outcome resumed = homeostat.run({"resume", "docs"});
        ASSERT_EQ(resumed.exit.code, 0) << resumed.output;
    }
    std::int64_t tables() {
        return number("SELECT count(*) FROM pg_class WHERE relnamespace = 'homeostat_data'::regnamespace AND relkind = 'r'");
    }

    kit::FakeEndpoint endpoint{{.dimensions = 16}};
    std::string wanted;
    std::string log;
    std::uint64_t paid_before = 0;
};

TEST_F(Adopt, WhatIsAdoptedIsWhatWouldHaveBeenEmbeddedAndTheSampleIsAllThatIsPaid) {
    declare_suspended();
    adopt({"--text", "chunk"});
    ASSERT_EQ(state(), "done") << message() << log;
    EXPECT_EQ(stored(), wanted);
    EXPECT_EQ(paid(), 5);
    EXPECT_EQ(db.value("SELECT suspend FROM homeostat.pipeline"), "t") << "the person resumes it";
    EXPECT_EQ(db.value("SELECT trigger || ' ' || result || ' ' || status || ' ' || healed FROM homeostat.run_history WHERE "
                       "trigger = 'adopt'"),
              fmt::format("adopt Adopted completed {{\"adopted\": {}}}", kDocuments));
    EXPECT_THAT(message(), AllOf(HasSubstr("adopted 40 documents (100 chunks) of public.old"), HasSubstr("none is left")));
    EXPECT_EQ(db.value("SELECT documents || ' ' || chunks FROM homeostat.pipeline_status"), "40 100");
    EXPECT_THAT(homeostat.run({"adopt", "docs"}).output, AllOf(HasSubstr("done"), HasSubstr("public.old")));
    EXPECT_THAT(homeostat.run({"get", "runs", "docs"}).output, HasSubstr("adopt"));
    resume();
    run_deep(kConverged);
    EXPECT_EQ(paid(), 5);
    EXPECT_EQ(stored(), wanted);
    expect_converged("docs", kWanted);
    // It is a run like any other: what came since is healed, and it can be gone back to.
    db.exec("UPDATE docs SET body = 'Another text.' WHERE id = 3");
    run_once(kConverged);
    EXPECT_EQ(paid(), 6);
    ASSERT_EQ(homeostat.run({"rollback", "docs", "--no-wait"}).exit.code, 0);
    homeostat.run_once();
    EXPECT_EQ(stored(), wanted);
    EXPECT_THAT(refused(arguments({})), HasSubstr("it is pinned to vectors of its own"));
}

TEST_F(Adopt, WithAControllerAtWorkItIsWaitedFor) {
    kit::Process run = homeostat.start({"run"});
    ASSERT_TRUE(kit::eventually([&] { return number("SELECT count(*) FROM homeostat.replica") == 1; })) << run.output();
    db.exec("ALTER TABLE old DROP CONSTRAINT old_pkey; UPDATE old SET seq = seq + 1");  // as some number them
    declare_suspended();
    const kit::Program::Outcome done = homeostat.run(arguments({"--timeout", "60s", "-o", "json"}));
    ASSERT_EQ(done.exit.code, 0) << done.output << run.output();
    const nlohmann::json said = nlohmann::json::parse(done.output);
    EXPECT_EQ(said["documents"], 40);
    EXPECT_EQ(said["chunks"], 100);
    EXPECT_EQ(said["compared"], 5);
    EXPECT_EQ(stored(), wanted);
    resume();
    end_converged(run, "docs", kWanted);
    EXPECT_EQ(paid(), 5);
    EXPECT_THAT(refused(arguments({})), HasSubstr("it is filled: 40 document(s) have vectors of its own"));
}

TEST_F(Adopt, OnlyWhatIsTrueOfTheSourceIsAdopted) {
    db.exec(
        "ALTER TABLE old DROP CONSTRAINT old_pkey; ALTER TABLE old ALTER doc DROP NOT NULL, ALTER seq DROP NOT NULL;"
        "ALTER TABLE old ALTER embedding TYPE double precision[] USING embedding::real[]::double precision[];"
        "UPDATE docs SET body = body || ' And more.' WHERE id = 1;"
        "UPDATE old SET chunk = chunk || '!' WHERE doc = 2 AND seq = 0;"
        "DELETE FROM old WHERE doc = 3; DELETE FROM old WHERE doc = 7 AND seq = 1;"
        "INSERT INTO old SELECT * FROM old WHERE doc = 4 AND seq = 0;"
        "UPDATE old SET embedding = embedding[1:8] WHERE doc = 5 AND seq = 0;"
        "UPDATE old SET embedding[3] = 'NaN' WHERE doc = 6 AND seq = 0;"
        "UPDATE old SET embedding = array_fill(0::float8, '{16}') WHERE doc = 8;"
        "UPDATE old SET embedding[1] = 'Infinity' WHERE doc = 9; UPDATE old SET embedding[1] = 1e300 WHERE doc = 10;"
        "UPDATE old SET embedding = NULL WHERE doc = 11 AND seq = 0; UPDATE old SET seq = NULL WHERE doc = 12 AND seq = 0;"
        "UPDATE old SET embedding[2] = NULL WHERE doc = 13;"
        "INSERT INTO old SELECT NULL, seq, chunk, embedding, at FROM old WHERE doc = 20;"
        "INSERT INTO old SELECT 999, seq, chunk, embedding, at FROM old WHERE doc = 21");
    declare_suspended();
    adopt({"--text", "chunk"});
    ASSERT_EQ(state(), "done") << message() << log;
    const nlohmann::json left = nlohmann::json::parse(db.value("SELECT left_over FROM homeostat.adoption"));
    EXPECT_EQ(left,
              nlohmann::json::parse(R"({"otherText": 2, "withoutVector": 2, "duplicate": 1, "otherWidth": 2, "notAVector": 4,
                                              "otherChunks": 2})"))
        << left.dump();
    EXPECT_EQ(db.value("SELECT documents || ' ' || looked_at FROM homeostat.adoption"), "27 40");
    EXPECT_THAT(message(), AllOf(HasSubstr("13 left to be embedded"), HasSubstr("there not used")));
    EXPECT_EQ(db.value("SELECT status FROM homeostat.run_history WHERE trigger = 'adopt'"), "partial");
    EXPECT_EQ(paid(), 5);
    forget_kept();
    const std::int64_t chunks = number("SELECT count(*) FROM homeostat_data.p2_r1_chunk");
    resume();
    run_deep(kConverged);
    EXPECT_EQ(paid(), 5 + number("SELECT count(*) FROM homeostat_data.p2_r1_chunk") - chunks) << "and nothing twice";
    expect_converged("docs", kWanted);
}

TEST_F(Adopt, AModelThatIsAnotherIsRefusedAndNothingIsDone) {
    const std::int64_t before = tables();
    declare_suspended();
    endpoint.become("another model, by the same name");
    EXPECT_THAT(refused_at_last({"--text", "chunk"}),
                AllOf(HasSubstr("the vectors in public.old are not what provider \"fake\" makes of these texts"),
                      HasSubstr("5 of 5 texts")));
    EXPECT_EQ(tables(), before) << "not even a table is made";
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.run_history WHERE trigger = 'adopt'"), 0);
    db.exec("ALTER TABLE old ALTER embedding TYPE real[] USING (embedding::real[])[1:8]");
    EXPECT_THAT(refused_at_last({"--text", "chunk"}),
                AllOf(HasSubstr("none could be taken over"), HasSubstr("of another width")));
    db.exec("ALTER TABLE old ALTER embedding TYPE vector(8) USING embedding::vector");
    EXPECT_THAT(refused(arguments({})),
                HasSubstr("have 8 numbers, and those of the pipeline have 16; they are of another model"));
    db.exec("UPDATE old SET seq = seq + 7; ALTER TABLE old ALTER embedding TYPE real[] USING embedding::real[]");
    EXPECT_THAT(refused_at_last({}), HasSubstr("are numbered from 7"));
    db.exec("DELETE FROM old");
    EXPECT_THAT(refused_at_last({}), HasSubstr("is empty"));
    EXPECT_EQ(tables(), before);
}

TEST_F(Adopt, WhatIsAskedForWronglyIsRefusedInASentence) {
    declare_suspended();
    db.exec(
        "CREATE TABLE odd (doc text, n numeric, seq int, chunk text, embedding vector(16)); CREATE TABLE notes (id int, body "
        "text);"
        "CREATE TABLE two (a int, b int, embedding vector(16))");
    const auto with = [&](const std::vector<std::string>& more) {
        std::vector<std::string> all{"adopt", "docs"};
        all.insert(all.end(), more.begin(), more.end());
        return refused(all);
    };
    EXPECT_THAT(refused({"adopt", "dosc", "--from", "old"}), HasSubstr("did you mean \"docs\"?"));
    EXPECT_THAT(with({"--from", "olt"}), AllOf(HasSubstr("relation olt does not exist"), HasSubstr("did you mean \"old\"?")));
    EXPECT_THAT(with({"--from", "old..x"}), HasSubstr("is not the name of a relation"));
    EXPECT_THAT(with({"--from", "old", "--key", "dok"}),
                AllOf(HasSubstr("key column \"dok\""), HasSubstr("did you mean \"doc\"?")));
    EXPECT_THAT(with({"--from", "old"}), HasSubstr("key column \"id\" is not in table public.old")) << "the pipeline's own";
    EXPECT_THAT(with({"--from", "old", "--key", "doc,seq"}),
                HasSubstr("a document's key has 1 column(s) (id), and 2 were named"));
    EXPECT_THAT(with({"--from", "old", "--key", "doc", "--vector", "embeding"}), HasSubstr("did you mean \"embedding\"?"));
    EXPECT_THAT(with({"--from", "old", "--key", "doc", "--vector", "chunk"}),
                HasSubstr("is of type text; vectors are of type vector"));
    EXPECT_THAT(with({"--from", "old", "--key", "doc", "--chunk", "chunk"}), HasSubstr("the number of a chunk is an integer"));
    EXPECT_THAT(with({"--from", "old", "--key", "doc", "--text", "seq"}), HasSubstr("which is no text"));
    EXPECT_THAT(with({"--from", "odd", "--key", "doc"}),
                HasSubstr("is of type text, and \"id\" of the source is of type integer"));
    EXPECT_THAT(with({"--from", "odd", "--key", "n"}), HasSubstr("is of type numeric"));
    EXPECT_THAT(with({"--from", "homeostat.pipeline", "--key", "uid"}), HasSubstr("homeostat's own"));
    EXPECT_THAT(with({"--from", "old", "--sample", "0"}), HasSubstr("--sample"));
    ASSERT_EQ(homeostat.run({"adopt", "docs", "--from", "old", "--key", "seq", "--chunk", "seq", "--sample", "5", "--no-wait"})
                  .exit.code,
              0);
    homeostat.run_once();
    EXPECT_THAT(message(), HasSubstr("none could be taken over")) << "keys of something else";
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.adoption"), 1) << "nothing of the others is left";
    ASSERT_EQ(homeostat.run(arguments({"--no-wait"})).exit.code, 0);
    EXPECT_THAT(refused(arguments({})), HasSubstr("it adopts vectors at this moment"));
    db.exec("DELETE FROM homeostat.adoption; UPDATE homeostat.pipeline SET management = 'Observe'");
    EXPECT_THAT(refused(arguments({})), HasSubstr("its management is Observe"));
    db.exec("UPDATE homeostat.pipeline SET management = 'Manage', suspend = false");
    db.exec(
        "INSERT INTO homeostat.run (uid, revision, generation, reconcile_id, trigger, deep) SELECT uid, 1, 1, '', 'spec', false "
        "FROM "
        "homeostat.pipeline");
    EXPECT_THAT(refused(arguments({})), AllOf(HasSubstr("is filling it at this moment"), HasSubstr("homeostat suspend docs")));
    db.exec(
        "DELETE FROM homeostat.run; INSERT INTO homeostat.revision (uid, revision, settings, provider, model, dimensions, "
        "vector_type, state)"
        " SELECT uid, 2, '{}', 'fake', 'm', 16, 'vector', 'building' FROM homeostat.pipeline");
    EXPECT_THAT(refused(arguments({})), HasSubstr("revision 2 is being filled beside the one that is served"));
}

// What is embedded already is left as it is; the rest is adopted, and the run that was under way ends.
TEST_F(Adopt, AFillThatWasStoppedGivesWayToIt) {
    declare("docs", "docs", "content, chunk_size", "'body', 16");
    const kit::Program::Outcome doomed =
        homeostat.run_once({{"HOMEOSTAT_FAULT_POINT", "write.after_commit"}, {"HOMEOSTAT_BATCH_DOCUMENTS", "16"}});
    ASSERT_EQ(doomed.exit.signal, SIGKILL) << doomed.output;
    ASSERT_EQ(homeostat.run({"suspend", "docs"}).exit.code, 0);
    ASSERT_GT(number("SELECT count(*) FROM homeostat_data.p2_r1_document"), 0);
    const std::int64_t filled = paid();
    adopt({});
    ASSERT_EQ(state(), "done") << message() << log;
    EXPECT_EQ(stored(), wanted);
    EXPECT_LT(number("SELECT documents FROM homeostat.adoption"), 40);
    EXPECT_EQ(db.value("SELECT string_agg(status, ' ' ORDER BY id) FROM homeostat.run_history WHERE pipeline = 'docs'"),
              "superseded completed");
    EXPECT_EQ(paid(), filled + 5);
    resume();
    run_deep(kConverged);
    EXPECT_EQ(paid(), filled + 5);
    expect_converged("docs", kWanted);
}

TEST_F(Adopt, AnotherDeclarationUnderWayEndsItAndWhatWasAdoptedStays) {
    declare_suspended();
    ASSERT_EQ(homeostat.run(arguments({"--no-wait"})).exit.code, 0);
    EXPECT_EQ(homeostat.run_once({{"HOMEOSTAT_FAULT_POINT", "adopt.after_step"}}).exit.signal, SIGKILL);
    db.exec("UPDATE homeostat.pipeline SET priority = 3");
    log = homeostat.run_once().output;
    EXPECT_EQ(state(), "refused") << log;
    EXPECT_THAT(message(), AllOf(HasSubstr("was declared otherwise since"), HasSubstr("40 documents stay adopted")));
    EXPECT_EQ(number("SELECT count(*) FROM homeostat.run"), 0);
    resume();
    run_deep(kConverged);
    EXPECT_EQ(paid(), 5);
    EXPECT_EQ(stored(), wanted);
}

// The column of a table, of which nobody knows the number of a chunk; keys of several columns; a context before each chunk.
TEST_F(Adopt, AColumnOfTheSourceItself) {
    db.exec(
        "CREATE TABLE pairs (a text, b int, title text, body text, v vector(16), PRIMARY KEY (a, b));"
        "INSERT INTO pairs SELECT 'name ' || i % 3, i, 'Title ' || i, 'The text of number ' || i FROM generate_series(1, 20) i");
    declare("made", "pairs", "content, chunker, chunk_context, deletion_policy, capture",
            "'body', 'whole', '{title}', 'Delete', 'Off'");
    run_once(kConverged);
    const std::string uid = db.value("SELECT uid FROM homeostat.pipeline WHERE name = 'made'");
    db.exec(fmt::format(
        "UPDATE pairs p SET v = c.embedding FROM homeostat_data.p{0}_r1_document d JOIN homeostat_data.p{0}_r1_chunk c"
        " USING (document_id) WHERE d.key_1 = p.a AND d.key_2 = p.b AND p.b < 20; DELETE FROM homeostat.pipeline",
        uid));
    homeostat.run_once();
    forget_kept();
    paid_before = endpoint.texts();
    declare("docs", "pairs", "content, chunker, chunk_context, suspend", "'body', 'whole', '{title}', true");
    ASSERT_EQ(homeostat.run({"adopt", "docs", "--from", "pairs", "--vector", "v", "--sample", "3", "--no-wait"}).exit.code, 0);
    log = homeostat.run_once().output;
    ASSERT_EQ(state(), "done") << message() << log;
    EXPECT_EQ(db.value("SELECT documents || ' ' || left_over FROM homeostat.adoption"), "19 {\"withoutVector\": 1}");
    resume();
    run_deep(kConverged);
    EXPECT_EQ(paid(), 3 + 1);
    EXPECT_EQ(condition("docs", "Synced"), "True");
}

TEST_F(Adopt, AProviderThatIsAwayIsWaitedForAndOneThatRefusesIsTheEnd) {
    declare_suspended();
    endpoint.always({.status = 503});
    adopt({});
    EXPECT_EQ(state(), "requested") << log;
    EXPECT_THAT(message(), HasSubstr("it waits: "));
    EXPECT_THAT(homeostat.run({"adopt", "docs"}).output, HasSubstr("it waits: "));
    endpoint.always({.status = 401});
    log = homeostat.run_once().output;
    EXPECT_EQ(state(), "refused") << message() << log;
    endpoint.always({});
    adopt({});
    EXPECT_EQ(state(), "done") << message() << log;
    EXPECT_EQ(stored(), wanted);
    EXPECT_EQ(paid(), 5);
}

// A login of its own reads both, and no more documents than are declared.
TEST_F(Adopt, WhoeverReadsSourcesReadsIt) {
    const std::string reader = "adopt_reader_" + db.name();
    db.exec(fmt::format("CREATE ROLE {0} LOGIN; GRANT SELECT ON docs TO {0}", reader));
    declare_suspended("content, chunk_size, documents", "'body', 16, 25");
    const kit::Environment apart{{"HOMEOSTAT_DATABASE_READER_URL", db.url(reader)}};
    ASSERT_EQ(homeostat.run(arguments({"--text", "chunk", "--no-wait"})).exit.code, 0);
    log = homeostat.run_once(apart).output;
    EXPECT_THAT(message(), HasSubstr("role \"" + reader + "\" may not read table public.old")) << log;
    db.exec(fmt::format("GRANT SELECT ON old TO {}", reader));
    ASSERT_EQ(homeostat.run(arguments({"--text", "chunk", "--no-wait"})).exit.code, 0);
    log = homeostat.run_once(apart).output;
    ASSERT_EQ(state(), "done") << message() << log;
    EXPECT_EQ(db.value("SELECT documents || ' ' || looked_at FROM homeostat.adoption ORDER BY id DESC LIMIT 1"), "25 25");
    resume();
    run_once(kConverged, apart);
    EXPECT_EQ(paid(), 5);
    EXPECT_EQ(number("SELECT count(*) FROM docs_embeddings"), number("SELECT count(*) FROM old WHERE doc <= 25"));
    db.exec(fmt::format("DROP OWNED BY {0}; DROP ROLE {0}", reader));
}

// Each kill leaves what the next process goes on from; the end is the same, and the sample is paid for once.
TEST_F(Adopt, KilledAnywhereItIsTakenUpAgain) {
    db.exec(
        "DROP TABLE docs; CREATE TABLE docs (id int PRIMARY KEY, body text);"
        "INSERT INTO docs SELECT i, 'A short text, of number ' || i FROM generate_series(1, 1100) i");
    make("docs", "content, chunker", "'body', 'whole'");
    for (const std::string_view point : kAdoptionFaultPoints) {
        declare_suspended("content, chunker, deletion_policy", "'body', 'whole', 'Delete'");
        paid_before = endpoint.texts();
        ASSERT_EQ(homeostat.run(arguments({"--text", "chunk", "--no-wait"})).exit.code, 0);
        const bool second = point.ends_with("step") || point.ends_with("step_commit");
        const kit::Program::Outcome doomed =
            homeostat.run_once({{"HOMEOSTAT_FAULT_POINT", fmt::format("{}{}", point, second ? ":2" : "")}});
        EXPECT_EQ(doomed.exit.signal, SIGKILL) << point << doomed.output;
        if (point != "adopt.after_end") {
            EXPECT_NE(state(), "done") << point;
            log = homeostat.run_once().output;
        }
        EXPECT_EQ(state(), "done") << point << log;
        EXPECT_EQ(stored(), wanted) << point;
        EXPECT_EQ(paid(), 5) << point;
        EXPECT_EQ(db.value("SELECT documents || ' ' || looked_at || ' ' || used FROM homeostat.adoption"), "1100 1100 1100")
            << point;
        EXPECT_EQ(number("SELECT count(*) FROM homeostat.run"), 0) << point;
        if (point == "adopt.before_step_commit") {
            resume();
            run_deep(kConverged);
            EXPECT_EQ(paid(), 5);
            expect_converged("docs", kWanted);
        }
        db.exec("DELETE FROM homeostat.pipeline");
        homeostat.run_once();
        ASSERT_EQ(number("SELECT count(*) FROM homeostat.adoption"), 0) << "a pipeline takes its requests with it";
        forget_kept();
    }
}

class AdoptTrust : public TrustWorld {};

TEST_F(AdoptTrust, ItIsReadWithTheDeclarersRights) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    declare_endpoint(endpoint);
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v", ", suspend=, true"));
    as(bob_).exec(
        "CREATE TABLE bob.old AS SELECT id, array_fill(0.5::real, '{16}') AS embedding FROM bob.docs;"
        "GRANT SELECT ON bob.old TO homeostat_controller");
    const std::string ask =
        "INSERT INTO homeostat.own_adoption (pipeline, relation, vector_column) VALUES ('a', '{}', 'embedding')";
    const auto asks = [&](const std::string& relation) { return fmt::format(fmt::runtime(ask), relation); };
    EXPECT_THAT(refused(bob_, asks("bob.old")), HasSubstr("so role \"" + bob_ + "\" may not have it adopt anything"));
    EXPECT_THAT(refused(ann_, asks("bob.old")), HasSubstr("permission denied for schema bob"));
    EXPECT_THAT(
        refused(ann_, "INSERT INTO homeostat.adoption (pipeline, relation, vector_column) VALUES ('a', 'ann.docs', 'body')"),
        HasSubstr("permission denied"));
    db.exec("GRANT USAGE ON SCHEMA bob TO PUBLIC");
    EXPECT_THAT(refused(ann_, asks("bob.old")), HasSubstr("role \"" + ann_ + "\" may not read table bob.old"));
    const auto at_last = [&] {
        const kit::Program::Outcome run = as_controller_.run_once();
        return db.value("SELECT state || ': ' || message FROM homeostat.adoption ORDER BY id DESC LIMIT 1") + run.output;
    };
    // A right that is taken away before the controller comes to it.
    as(bob_).exec(fmt::format("GRANT SELECT ON bob.old TO {}", ann_));
    as(ann_).exec(asks("bob.old"));
    as(bob_).exec(fmt::format("REVOKE SELECT ON bob.old FROM {}", ann_));
    EXPECT_THAT(at_last(), AllOf(HasSubstr("refused: "), HasSubstr("may not read")));
    // Code of somebody else's does not run with the controller's rights.
    as(bob_).exec(
        fmt::format("CREATE TABLE bob.caught (who text); CREATE FUNCTION bob.leak(int) RETURNS int LANGUAGE plpgsql AS"
                    " 'BEGIN INSERT INTO bob.caught VALUES (current_user); RETURN $1; END';"
                    "CREATE VIEW bob.view AS SELECT bob.leak(id) AS id, embedding FROM bob.old; GRANT SELECT ON bob.view TO {}, "
                    "homeostat_controller",
                    ann_));
    as(ann_).exec(asks("bob.view"));
    EXPECT_THAT(at_last(), AllOf(HasSubstr("refused: "), HasSubstr("so its code would run")));
    EXPECT_EQ(db.value("SELECT count(*) FROM bob.caught"), "0");
    as(bob_).exec("DROP TABLE bob.old CASCADE");
    EXPECT_EQ(as(bob_).value("SELECT count(*) FROM homeostat.own_adoption"), "0");
    EXPECT_EQ(as(ann_).value("SELECT count(*) FROM homeostat.own_adoption"), "2");
}

}  // namespace
}  // namespace homeostat
