// Planning is pure: properties over random drift, and the arithmetic of estimates by example.
#include "reconcilers/factory/plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>

namespace homeostat {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

bool prunes(DriftClass c) { return c == DriftClass::orphaned || c == DriftClass::excess; }

// Any drift, each item with a key of its own, as a slice would give it.
rc::Gen<std::vector<DriftItem>> any_items() {
    return rc::gen::map(rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 8)), [](const std::vector<int>& classes) {
        std::vector<DriftItem> items;
        for (std::size_t i = 0; i < classes.size(); ++i) {
            items.push_back({static_cast<DriftClass>(classes[i]), {"t", std::to_string(i)}, static_cast<std::int64_t>(i)});
        }
        return items;
    });
}

RC_GTEST_PROP(PlanBatches, EveryDocumentIsInExactlyOneBatchOfItsClassUnlessItIsPruned, ()) {
    const auto items = *any_items();
    const PlanLimits limits{*rc::gen::inRange(1U, 40U), *rc::gen::inRange(-100, 100), false};
    std::map<Key, DriftClass> wanted;
    for (const DriftItem& item : items) {
        if (!prunes(item.cls)) wanted[item.key] = item.cls;
    }
    for (const PlannedBatch& b : plan_batches(items, limits)) {
        RC_ASSERT(!b.keys.empty());
        RC_ASSERT(b.keys.size() <= limits.documents);
        RC_ASSERT(b.priority == batch_priority(b.cls, limits));
        const bool moves = b.cls == DriftClass::moved || b.cls == DriftClass::touched;
        RC_ASSERT(b.kind == (moves ? BatchKind::move : BatchKind::heal));
        for (const Key& key : b.keys) {
            RC_ASSERT(wanted.count(key) == 1U);
            RC_ASSERT(wanted[key] == b.cls);
            wanted.erase(key);
        }
    }
    RC_ASSERT(wanted.empty());
}

RC_GTEST_PROP(PlanBatches, BatchesAreFullButForTheLastOfAClassAndKeepKeyOrder, ()) {
    const auto items = *any_items();
    const PlanLimits limits{*rc::gen::inRange(1U, 40U), 0, false};
    const auto batches = plan_batches(items, limits);
    for (std::size_t i = 0; i < batches.size(); ++i) {
        const bool last = i + 1 == batches.size() || batches[i + 1].cls != batches[i].cls;
        if (!last) RC_ASSERT(batches[i].keys.size() == limits.documents);
        // Keys carry the place they had in the slice.
        RC_ASSERT(std::is_sorted(batches[i].keys.begin(), batches[i].keys.end(),
                                 [](const Key& a, const Key& b) { return std::stoi(a[1]) < std::stoi(b[1]); }));
        if (i > 0) RC_ASSERT(batches[i - 1].priority >= batches[i].priority);
    }
}

RC_GTEST_PROP(PlanBatches, AnEmergencyHealsWhatIsMissingAndNothingElse, ()) {
    const auto items = *any_items();
    const PlanLimits limits{7, *rc::gen::inRange(-1000, 1000), true};
    std::size_t planned = 0;
    for (const PlannedBatch& b : plan_batches(items, limits)) {
        RC_ASSERT(b.cls == DriftClass::missing);
        planned += b.keys.size();
        // Ahead of whatever any pipeline without an emergency plans.
        RC_ASSERT(b.priority > batch_priority(DriftClass::missing, {7, 1000, false}));
    }
    const auto missing =
        std::count_if(items.begin(), items.end(), [](const DriftItem& i) { return i.cls == DriftClass::missing; });
    RC_ASSERT(planned == static_cast<std::size_t>(missing));
}

TEST(PlanBatches, TheMostValuableClassesGoFirst) {
    std::vector<DriftItem> items;
    for (const DriftClass c : {DriftClass::touched, DriftClass::moved, DriftClass::invalid, DriftClass::partial,
                               DriftClass::stale, DriftClass::missing, DriftClass::orphaned}) {
        items.push_back({c, {std::to_string(items.size())}, 0});
    }
    std::vector<DriftClass> order;
    for (const PlannedBatch& b : plan_batches(items, {})) order.push_back(b.cls);
    EXPECT_THAT(order, ElementsAre(DriftClass::missing, DriftClass::stale, DriftClass::partial, DriftClass::invalid,
                                   DriftClass::moved, DriftClass::touched));
    EXPECT_GT(batch_priority(DriftClass::touched, {128, 1, false}), batch_priority(DriftClass::missing, {128, 0, false}))
        << "the pipeline's own priority outweighs the class";
}

TEST(PlanBatches, ABatchFillsWholeRequests) {
    EXPECT_EQ(batch_documents({.max_batch = 100}, 256), 100U);
    EXPECT_EQ(batch_documents({.max_batch = 2048}, 256), 256U);
    EXPECT_EQ(batch_documents({.max_batch = 1}, 256), 16U);
    EXPECT_EQ(batch_documents({.max_batch = 100}, 1), 16U);
}

PlanInput input(std::int64_t documents, std::int64_t bytes) {
    PlanInput in;
    in.drift.missing = documents;
    in.bytes_to_embed = bytes;
    in.provider = {.max_batch = 100, .max_in_flight = 8, .price_per_million_tokens = 0};
    return in;
}

TEST(EstimatePlan, ADocumentThatFitsIsOneChunk) {
    const PlanEstimate e = estimate_plan(input(1'000, 1'000 * 1'600));  // 400 tokens each: just fits
    EXPECT_EQ(e.documents, 1'000);
    EXPECT_EQ(e.chunks, 1'000);
    EXPECT_EQ(e.tokens, 400'000);
    EXPECT_EQ(e.requests, 10);
    EXPECT_EQ(e.strategy, Strategy::parallel);
}

TEST(EstimatePlan, LongerDocumentsAreCutIntoChunksThatAreNotQuiteFull) {
    const PlanEstimate e = estimate_plan(input(10, 10 * 24'000 * 4));  // 24,000 tokens each, chunks of 400
    EXPECT_EQ(e.chunks, 10 * 24'000 / 240);
    PlanInput whole = input(10, 10 * 24'000 * 4);
    whole.chunk_tokens = 0;
    EXPECT_EQ(estimate_plan(whole).chunks, 10);
}

TEST(EstimatePlan, WhatOverlapsIsEmbeddedTwice) {
    PlanInput in = input(1, 40'000);
    const PlanEstimate without = estimate_plan(in);
    in.chunk_overlap_tokens = 100;
    const PlanEstimate with = estimate_plan(in);
    EXPECT_GT(with.chunks, without.chunks);
    EXPECT_EQ(with.tokens, without.tokens + (with.chunks - 1) * 100);
}

TEST(EstimatePlan, FewRequestsAreSequentialAndNoDriftIsNothing) {
    EXPECT_EQ(estimate_plan({}).strategy, Strategy::nothing);
    EXPECT_EQ(estimate_plan(input(150, 1'000)).strategy, Strategy::sequential);
    PlanInput moved;
    moved.drift.moved = 5;
    EXPECT_EQ(estimate_plan(moved).strategy, Strategy::sequential);
    EXPECT_EQ(estimate_plan(moved).requests, 0);
}

TEST(EstimatePlan, TimeFollowsTheRateSeenLatelyWhereThereIsOne) {
    PlanInput in = input(6'000, 6'000 * 400);
    in.documents_per_second = 100;
    EXPECT_DOUBLE_EQ(estimate_plan(in).minutes, 1);
    in.documents_per_second = 0;
    EXPECT_DOUBLE_EQ(estimate_plan(in).minutes, 60 * 0.25 / 8 / 60);
}

TEST(EstimatePlan, PriceAndWarnings) {
    PlanInput in = input(1'000, 4'000'000);
    in.provider.price_per_million_tokens = 0.13;
    in.provider.max_text_tokens = 128;
    in.model = "small";
    in.drift.orphaned = 50;
    in.max_prune = 10;
    const PlanEstimate e = estimate_plan(in);
    EXPECT_NEAR(e.price, 0.13, 1e-9);
    EXPECT_THAT(e.warnings, ElementsAre(HasSubstr("50 deletions are wanted but the brakes let 10 go"),
                                        HasSubstr("chunks of 400 tokens are larger than model \"small\" reads (128)")));
}

TEST(EstimatePlan, WhatAModelReadsAndWhatAChunkHolds) {
    ProviderSpec provider;
    EXPECT_EQ(model_reads(provider), 0U) << "not known";
    provider.kind = "local";
    EXPECT_EQ(model_reads(provider), 128U);
    provider.max_text_tokens = 64;
    EXPECT_EQ(model_reads(provider), 64U);
    PipelineSpec pipeline;
    pipeline.chunk_size = 300;
    EXPECT_EQ(chunk_tokens(pipeline), 300U);
    pipeline.chunk_unit = "characters";
    EXPECT_EQ(chunk_tokens(pipeline), 75U);
    pipeline.chunker = "whole";
    EXPECT_EQ(chunk_tokens(pipeline), 0U);
    EXPECT_EQ(cut_text(64, 64, "m"), "");
    EXPECT_EQ(cut_text(400, 0, "m"), "") << "what it reads is not known";
    EXPECT_THAT(cut_text(65, 64, "m"), HasSubstr("chunks of 65 tokens are larger than model \"m\" reads (64)"));
}

RC_GTEST_PROP(EstimatePlan, MoreTextNeverCostsLess, ()) {
    PlanInput in = input(*rc::gen::inRange<std::int64_t>(1, 10'000), *rc::gen::inRange<std::int64_t>(0, 100'000'000));
    in.chunk_tokens = *rc::gen::inRange(1U, 2'000U);
    in.chunk_overlap_tokens = *rc::gen::inRange(0U, (in.chunk_tokens + 1) / 2);
    in.provider.price_per_million_tokens = 1;
    PlanInput more = in;
    more.bytes_to_embed += *rc::gen::inRange<std::int64_t>(0, 100'000'000);
    const PlanEstimate a = estimate_plan(in);
    const PlanEstimate b = estimate_plan(more);
    RC_ASSERT(a.chunks >= a.documents);
    RC_ASSERT(b.chunks >= a.chunks);
    RC_ASSERT(b.tokens >= a.tokens);
    RC_ASSERT(b.requests >= a.requests);
    RC_ASSERT(b.price >= a.price);
    RC_ASSERT(a.requests * 100 >= a.chunks);
}

}  // namespace
}  // namespace homeostat
