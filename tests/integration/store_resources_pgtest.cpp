// The declared half against a real database: what is written is read back, what is wrong is refused with the database's sentence,
// and applying the same thing again writes nothing.
#include "store/control/resources.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kit/cluster.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class StoreResources : public ::testing::Test {
protected:
    StoreResources() {
        db.exec("CREATE TABLE articles (id bigint PRIMARY KEY, title text, body text, \"odd, \"\"name\"\"\" text)");
        auto connected = Session::connect({.url = db.url()});
        if (!connected) throw std::runtime_error(connected.error().message);
        session = *std::move(connected);
    }

    static DeclaredObject articles(decltype(DeclaredObject::columns) more = {}) {
        DeclaredObject o{
            .kind = ResourceKind::pipeline,
            .name = "articles",
            .columns = {{"source", "articles"}, {"content", "body"}, {"provider", "hashing"}, {"target", "articles_embeddings"}}};
        o.columns.insert(o.columns.end(), more.begin(), more.end());
        return o;
    }

    Result<ApplyOutcome> apply(const DeclaredObject& object) {
        Transaction tx = session->begin();
        auto outcome = apply_object(tx, object);
        if (outcome) tx.commit();
        return outcome;
    }
    ApplyOutcome applied(const DeclaredObject& object) {
        const auto outcome = apply(object);
        if (!outcome) throw std::runtime_error(outcome.error().message);
        return *outcome;
    }
    std::string refusal(const DeclaredObject& object) {
        const auto outcome = apply(object);
        EXPECT_FALSE(outcome.ok());
        if (outcome.ok()) return "accepted";
        EXPECT_EQ(outcome.error().cls, ErrorClass::invalid) << outcome.error().message;
        return outcome.error().message;
    }
    PipelineSpec pipeline() { return *find_pipeline(*session, "articles"); }
    std::string row() { return db.value("SELECT xmin::text || ctid::text || updated_at::text FROM homeostat.pipeline"); }

    kit::Database db;
    std::unique_ptr<Session> session;
};

TEST_F(StoreResources, WhatIsDeclaredIsReadBack) {
    EXPECT_EQ(applied(articles({{"labels", R"({"team":"x"})"},
                                {"content", std::nullopt},
                                {"metadata", R"("title", "odd, ""name""")"},
                                {"documents", "10"},
                                {"max_staleness", "90000 milliseconds"},
                                {"completeness", "0.5"},
                                {"max_prune_rows", "5000000000"}})),
              ApplyOutcome::created);
    const PipelineSpec p = pipeline();
    EXPECT_EQ(p.generation, 1);
    EXPECT_EQ(p.source, "public.articles");
    EXPECT_THAT(p.key, ElementsAre("id"));
    EXPECT_THAT(p.content, ElementsAre("body"));
    EXPECT_THAT(p.metadata, ElementsAre("title", "odd, \"name\""));
    EXPECT_EQ(p.labels.at("team"), "x");
    EXPECT_EQ(p.documents, 10);
    EXPECT_EQ(p.max_staleness, Millis(90'000));
    EXPECT_EQ(p.deep_interval, Millis(86'400'000));
    EXPECT_EQ(p.completeness, 0.5);
    EXPECT_EQ(p.max_prune_rows, 5'000'000'000);
    EXPECT_FALSE(p.content_template.has_value());
    const auto by_uid = read_pipeline(*session, p.uid);
    ASSERT_TRUE(by_uid.ok());
    EXPECT_EQ(by_uid->name, "articles");
}

TEST_F(StoreResources, DefaultsOfTheRecordsAreThoseOfTheTables) {
    applied(articles());
    const PipelineSpec p = pipeline();
    const PipelineSpec d;
    EXPECT_EQ(
        std::tie(p.chunker, p.chunk_size, p.chunk_overlap, p.chunk_unit, p.vector_type, p.index_method, p.distance, p.mode),
        std::tie(d.chunker, d.chunk_size, d.chunk_overlap, d.chunk_unit, d.vector_type, d.index_method, d.distance, d.mode));
    EXPECT_EQ(std::tie(p.management, p.drift_policy, p.priority, p.completeness, p.drift_interval, p.deep_interval, p.prune),
              std::tie(d.management, d.drift_policy, d.priority, d.completeness, d.drift_interval, d.deep_interval, d.prune));
    EXPECT_EQ(std::tie(p.max_prune_ratio, p.max_prune_rows, p.deletion_policy, p.suspend, p.deleting),
              std::tie(d.max_prune_ratio, d.max_prune_rows, d.deletion_policy, d.suspend, d.deleting));
    applied({.kind = ResourceKind::provider, .name = "p", .columns = {{"kind", "openai"}, {"endpoint", "http://localhost/v1"}}});
    const ProviderSpec q = *find_provider(*session, "p");
    const ProviderSpec e;
    EXPECT_EQ(
        std::tie(q.encoding, q.send_dimensions, q.max_batch, q.max_in_flight, q.timeout, q.rank, q.price_per_million_tokens),
        std::tie(e.encoding, e.send_dimensions, e.max_batch, e.max_in_flight, e.timeout, e.rank, e.price_per_million_tokens));
    EXPECT_EQ(std::tie(q.request, q.query_request, q.answers_as, q.proxy, q.too_long, q.breaker_failures, q.breaker_pause),
              std::tie(e.request, e.query_request, e.answers_as, e.proxy, e.too_long, e.breaker_failures, e.breaker_pause));
}

TEST_F(StoreResources, ApplyingTheSameThingAgainWritesNothing) {
    applied(articles());
    const std::string before = row();
    EXPECT_EQ(applied(articles()), ApplyOutcome::unchanged);
    // The same in other words: schema written out, the key that was found, the default said aloud, a day as hours.
    EXPECT_EQ(applied(articles({{"key", "id"}, {"chunk_size", "400"}, {"deep_interval", "24 hours"}})), ApplyOutcome::unchanged);
    EXPECT_EQ(row(), before);
    DeclaredObject provider{.kind = ResourceKind::provider, .name = "hashing"};
    provider.columns = {{"kind", "hashing"}, {"dimensions", "384"}, {"max_batch", "256"}, {"max_in_flight", "4"}};
    const std::string provider_before = db.value("SELECT xmin FROM homeostat.provider WHERE name = 'hashing'");
    EXPECT_EQ(applied(provider), ApplyOutcome::unchanged);
    EXPECT_EQ(db.value("SELECT xmin FROM homeostat.provider WHERE name = 'hashing'"), provider_before);
}

TEST_F(StoreResources, WhatIsLeftOutReturnsToItsDefaultAndControlStays) {
    applied(articles({{"chunk_size", "100"}, {"labels", R"({"a":"b"})"}}));
    ASSERT_TRUE(set_suspended(*session, "articles", true, "why").ok());
    EXPECT_EQ(applied(articles()), ApplyOutcome::configured);
    const PipelineSpec p = pipeline();
    EXPECT_EQ(p.chunk_size, 400U);
    EXPECT_TRUE(p.labels.empty());
    EXPECT_TRUE(p.suspend);
    EXPECT_EQ(p.suspend_reason, "why");
    EXPECT_EQ(p.generation, 2);
    EXPECT_EQ(applied(articles({{"labels", R"({"a":"c"})"}})), ApplyOutcome::configured);
    EXPECT_EQ(pipeline().generation, 2) << "labels are not the spec";
}

TEST_F(StoreResources, WhatIsWrongIsRefusedWithASentenceAndNothingOfPlpgsql) {
    EXPECT_THAT(
        refusal(articles({{"metadata", "titel"}})),
        AllOf(HasSubstr(
                  "pipeline \"articles\": metadata column \"titel\" is not in table public.articles (did you mean \"title\"?)"),
              Not(HasSubstr("CONTEXT"))));
    EXPECT_THAT(refusal(articles({{"chunk_size", "0"}})), HasSubstr("chunk_size is 0"));
    EXPECT_THAT(refusal(articles({{"chunk_size", "many"}})), HasSubstr("many"));
    EXPECT_THAT(refusal(articles({{"generation", "7"}})), HasSubstr("\"generation\" cannot be declared"));
    EXPECT_THAT(refusal(articles({{"chunksize", "7"}})),
                HasSubstr("\"chunksize\" cannot be declared (did you mean \"chunk_size\"?)"));
    DeclaredObject no_table = articles();
    no_table.columns[0].second = "artikles";
    EXPECT_THAT(refusal(no_table), HasSubstr("relation artikles does not exist (did you mean \"articles\"?)"));
    applied(articles());
    DeclaredObject thief = articles();
    thief.name = "thief";
    EXPECT_THAT(refusal(thief),
                HasSubstr("pipeline \"thief\": target public.articles_embeddings is served by pipeline \"articles\""));
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "1");
}

// Straight in SQL, as the getting started has it.
TEST_F(StoreResources, WhatIsMissingIsSaidWithWhatItIs) {
    const auto sentence = [&](const std::string& sql) -> std::string {
        try {
            db.exec(sql);
        } catch (const std::exception& e) {
            const std::string said = e.what();
            return said.substr(0, said.find('\n'));
        }
        return "accepted";
    };
    const std::string pipeline = "INSERT INTO homeostat.pipeline (name, source, content, provider";
    EXPECT_THAT(sentence(pipeline + ") VALUES ('a', 'articles', 'body', 'hashing')"),
                HasSubstr("pipeline \"a\": target is missing; target is the view that is to serve the vectors"));
    EXPECT_THAT(sentence("INSERT INTO homeostat.pipeline (name) VALUES ('a')"),
                HasSubstr("pipeline \"a\": source, provider and target are missing; source is the table or view"));
    EXPECT_THAT(sentence("INSERT INTO homeostat.pipeline (source, content, target, provider) VALUES ('articles', 'body', 'v', "
                         "'hashing')"),
                HasSubstr("a pipeline: name is missing"));
    EXPECT_THAT(sentence(pipeline + ", target, chunker, priority) VALUES ('a', 'articles', 'body', 'hashing', 'v', NULL, NULL)"),
                HasSubstr("pipeline \"a\": chunker and priority are NULL; leave them out for their defaults"));
    EXPECT_THAT(sentence(pipeline + ", target) VALUES ('a', 'articles', 'body', NULL, 'v')"),
                HasSubstr("pipeline \"a\": provider is missing; SELECT name FROM homeostat.provider lists which there are"));
    EXPECT_THAT(sentence("INSERT INTO homeostat.provider (kind) VALUES ('hashing')"), HasSubstr("a provider: name is missing"));
    EXPECT_THAT(sentence("UPDATE homeostat.provider SET timeout = NULL WHERE name = 'hashing'"),
                HasSubstr("provider \"hashing\": timeout is NULL; leave it out for its default"));
    EXPECT_THAT(sentence("INSERT INTO homeostat.target_view (name) VALUES ('t')"),
                HasSubstr("target view \"t\": relation is missing; relation is the table or view"));
    EXPECT_EQ(sentence(pipeline + ", target, generation) VALUES ('a', 'articles', 'body', 'hashing', 'v', NULL)"), "accepted")
        << "what the checks set may be anything";
}

TEST_F(StoreResources, AChunkSizeThatIsNotGivenIsWhatTheModelReads) {
    db.exec(
        "INSERT INTO homeostat.provider (name, kind, endpoint, model, dimensions, max_text_tokens)"
        " VALUES ('short', 'openai', 'http://x', 'm', 16, 64), ('long', 'openai', 'http://x', 'm', 16, 8192)");
    const auto size = [&](const std::string& more) {
        applied(articles());
        db.exec("UPDATE homeostat.pipeline SET chunk_size = DEFAULT" + more);
        return db.value("SELECT chunk_size FROM homeostat.pipeline");
    };
    EXPECT_EQ(size(", provider = 'local'"), "100");
    EXPECT_EQ(size(", provider = 'short'"), "64");
    EXPECT_EQ(size(", provider = 'short', chunk_unit = 'characters'"), "256");
    EXPECT_EQ(size(", provider = 'long'"), "400");
    EXPECT_EQ(size(", provider = 'hashing'"), "400") << "nothing is known of what it reads";
    db.exec("UPDATE homeostat.pipeline SET provider = 'short', chunk_size = 200");
    EXPECT_EQ(db.value("SELECT chunk_size FROM homeostat.pipeline"), "200") << "what is given stays, and is told by a condition";
    applied(articles({{"chunk_size", "200"}}));
    DeclaredObject of_short = articles();
    of_short.columns[2].second = "short";
    EXPECT_EQ(applied(of_short), ApplyOutcome::configured);
    EXPECT_EQ(pipeline().chunk_size, 64U) << "and what is not given any more is chosen anew";
}

TEST_F(StoreResources, ASetIsAppliedWholeOrNotAtAll) {
    {
        Transaction tx = session->begin();
        ASSERT_TRUE(apply_object(tx, articles()).ok());
        DeclaredObject bad = articles();
        bad.name = "bad";
        ASSERT_FALSE(apply_object(tx, bad).ok());
    }
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.pipeline"), "0");
    EXPECT_EQ(applied(articles()), ApplyOutcome::created) << "the session serves on after a refusal";
}

TEST_F(StoreResources, NamesThatDoNotExistOfferTheNearest) {
    applied(articles());
    EXPECT_EQ(find_pipeline(*session, "artcles").error().message,
              "pipeline \"artcles\" does not exist (did you mean \"articles\"?)");
    EXPECT_EQ(find_provider(*session, "hasing").error().message,
              "provider \"hasing\" does not exist (did you mean \"hashing\"?)");
    EXPECT_EQ(request_reconcile(*session, "artcles").error().cls, ErrorClass::not_found);
    EXPECT_EQ(set_suspended(*session, "x", true, std::nullopt).error().cls, ErrorClass::not_found);
    EXPECT_EQ(approve_prune(*session, "x", "1").error().cls, ErrorClass::not_found);
    EXPECT_EQ(delete_object(*session, ResourceKind::provider, "x").error().cls, ErrorClass::not_found);
    EXPECT_EQ(read_pipeline(*session, 4711).error().cls, ErrorClass::not_found);
    EXPECT_EQ(find_pipeline(*session, "'; DROP TABLE articles; --").error().cls, ErrorClass::not_found);
}

TEST_F(StoreResources, DeletionWaitsForFinalizersAndFreesTheName) {
    applied(articles());
    const std::int64_t first = pipeline().uid;
    ASSERT_TRUE(delete_object(*session, ResourceKind::pipeline, "articles").ok());
    EXPECT_EQ(find_pipeline(*session, "articles").error().cls, ErrorClass::not_found);
    const auto all = list_pipelines(*session);
    ASSERT_TRUE(all.ok());
    ASSERT_EQ(all->size(), 1U);
    EXPECT_TRUE(all->front().deleting);
    EXPECT_EQ(applied(articles()), ApplyOutcome::created);
    EXPECT_NE(pipeline().uid, first);
    EXPECT_EQ(list_pipeline_lines(*session)->size(), 2U);
}

TEST_F(StoreResources, AProviderInUseIsKept) {
    applied(articles());
    const Status kept = delete_object(*session, ResourceKind::provider, "hashing");
    ASSERT_FALSE(kept.ok());
    EXPECT_THAT(kept.error().message, HasSubstr("provider \"hashing\" is used by pipeline \"articles\""));
    ASSERT_TRUE(delete_object(*session, ResourceKind::pipeline, "articles").ok());
    EXPECT_TRUE(delete_object(*session, ResourceKind::provider, "hashing").ok());
    EXPECT_EQ(list_providers(*session)->size(), 1U);
}

TEST_F(StoreResources, ControlNeverGrowsTheGeneration) {
    applied(articles());
    ASSERT_TRUE(set_suspended(*session, "articles", true, "maintenance", std::chrono::hours(2)).ok());
    EXPECT_EQ(db.value("SELECT suspended_by IS NOT NULL AND suspend_until BETWEEN now() + interval '119 minutes' AND now() + "
                       "interval '121 minutes' FROM homeostat.pipeline"),
              "t");
    ASSERT_TRUE(set_suspended(*session, "articles", false, std::nullopt).ok());
    EXPECT_EQ(
        db.value("SELECT suspended_by IS NULL AND suspend_until IS NULL AND suspend_reason IS NULL FROM homeostat.pipeline"),
        "t");
    const auto first = request_reconcile(*session, "articles");
    const auto second = request_reconcile(*session, "articles");
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_NE(*first, *second);
    EXPECT_EQ(pipeline().reconcile_requested, *second);
    EXPECT_EQ(approve_prune(*session, "articles", "plan-7").error().cls, ErrorClass::invalid);
    db.exec(
        "INSERT INTO homeostat.pipeline_status (uid, blocked_prunes, blocked_plan) SELECT uid, 1, 'plan-7' FROM "
        "homeostat.pipeline");
    ASSERT_TRUE(approve_prune(*session, "articles", "plan-7").ok());
    EXPECT_EQ(pipeline().approval, "plan-7");
    EXPECT_EQ(pipeline().generation, 1);
}

}  // namespace
}  // namespace homeostat
