#include "reconcilers/pipeline/conditions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

namespace homeostat {
namespace {

using ::testing::HasSubstr;

Condition find(const Seen& seen, const std::string& type) {
    for (Condition& c : conditions_of(seen)) {
        if (c.type == type) return c;
    }
    return {};
}
std::string text(const Seen& seen, const std::string& type) {
    const Condition c = find(seen, type);
    return c.status + " " + c.reason;
}

Seen converged() {
    Seen s;
    s.generation = 3;
    s.source_documents = 100;
    s.documents = 100;
    return s;
}
Seen failed(ErrorClass cls, std::string code = "") {
    Seen s = converged();
    s.failure = Error{.cls = cls, .message = "what went wrong", .code = std::move(code)};
    return s;
}

TEST(Conditions, OfAConvergedPipeline) {
    const Seen s = converged();
    EXPECT_EQ(text(s, "Ready"), "True Converged");
    EXPECT_EQ(text(s, "Synced"), "True NoDrift");
    EXPECT_EQ(find(s, "Reconciling").status, "False");
    EXPECT_EQ(find(s, "Stalled").status, "False");
    EXPECT_EQ(find(s, "ProviderHealthy").status, "True");
    EXPECT_EQ(find(s, "PruneBlocked").status, "False");
    for (const Condition& c : conditions_of(s)) EXPECT_EQ(c.observed_generation, 3) << c.type;
}

TEST(Conditions, UnreadableIsUnknownAndNeverEmpty) {
    Seen s = failed(ErrorClass::db_permanent, "42P01");
    s.observed = false;
    s.source_documents.reset();
    EXPECT_EQ(text(s, "Ready"), "Unknown SourceUnusable");
    EXPECT_EQ(find(s, "Synced").status, "Unknown");
    EXPECT_EQ(text(s, "Stalled"), "True SourceUnusable");
    EXPECT_EQ(find(s, "ProviderHealthy").type, "") << "nothing is known about the provider";
}

// Whether it is ready is the next sweep's to say; how much is served is said as it is.
TEST(Conditions, ReadyCountsWhatIsServedNow) {
    Seen s = converged();
    s.working = true;
    s.phase = Phase::healing;
    s.drift.missing = 30;
    s.drift.stale = 20;
    EXPECT_EQ(find(s, "Ready").message, "50 of 100 documents are embedded (30 missing, 20 stale)");
    s.healed = 35;
    EXPECT_EQ(text(s, "Ready"), "False Healing");
    EXPECT_EQ(find(s, "Ready").message, "85 of 100 documents are embedded (15 stale)");
    s.healed = 60;
    EXPECT_EQ(text(s, "Ready"), "False Healing");
    EXPECT_EQ(find(s, "Ready").message, "100 of 100 documents are embedded (what was found is being verified)");
    s.completeness = 0.5;
    EXPECT_EQ(text(s, "Ready"), "True CompleteEnough");
    const std::vector<Condition> stored = conditions_of(s);
    s.healed = 0;  // as the reporter sees it
    EXPECT_TRUE(corrections(stored, s, true).empty()) << "the run says it, and knows better";
}

// While the next revision is built, what is searched decides: not what is still to be filled, verified or indexed.
TEST(Conditions, BesideTheNextRevisionWhatIsSearchedCounts) {
    Seen s = converged();
    s.working = true;
    s.beside = true;
    for (const Phase phase : {Phase::observing, Phase::healing, Phase::verifying, Phase::indexing}) {
        s.phase = phase;
        EXPECT_EQ(text(s, "Ready"), "True Converged");
        EXPECT_EQ(text(s, "Synced"), "True NoDrift");
        EXPECT_EQ(text(s, "Reconciling"), "True Progressing");
    }
    s.drift.stale = 3;
    s.healed = 50;  // of the next one
    EXPECT_EQ(find(s, "Ready").message, "97 of 100 documents are embedded (3 stale)");
    s.not_followed = "its key is another";
    EXPECT_EQ(text(s, "Ready"), "False ServedOutdated");
    EXPECT_EQ(text(s, "Synced"), "False ServedOutdated");
    EXPECT_EQ(find(s, "Ready").message, "its key is another");
    Seen now = converged();
    now.working = true;
    now.beside = true;
    for (const Condition& c : corrections(conditions_of(s), now)) {
        EXPECT_NE(c.type, "Ready") << "only a pass knows that it is followed again";
        EXPECT_NE(c.type, "Synced");
    }
    s.beside = false;
    EXPECT_EQ(text(s, "Ready"), "False Indexing");
}

TEST(Conditions, NotYetObservedIsUnknown) {
    Seen s = converged();
    s.source_documents.reset();
    EXPECT_EQ(text(s, "Ready"), "Unknown NotObserved");
}

TEST(Conditions, AnEmptySourceIsReady) {
    Seen s = converged();
    s.source_documents = 0;
    s.documents = 0;
    EXPECT_EQ(text(s, "Ready"), "True Converged");
}

TEST(Conditions, CompletenessDecidesReadyAndNotWhetherThereIsDrift) {
    Seen s = converged();
    s.drift.missing = 5;
    EXPECT_EQ(text(s, "Ready"), "False Incomplete");
    EXPECT_THAT(find(s, "Ready").message, HasSubstr("95 of 100"));
    s.completeness = 0.95;
    EXPECT_EQ(text(s, "Ready"), "True CompleteEnough");
    EXPECT_EQ(text(s, "Synced"), "False Drift");
    s.completeness = 0.96;
    s.working = true;
    EXPECT_EQ(text(s, "Ready"), "False Healing");
}

TEST(Conditions, DeadLettersAreNotEmbeddedDocuments) {
    Seen s = converged();
    s.dead_letters = 1;
    EXPECT_EQ(find(s, "Ready").status, "False");
    EXPECT_EQ(text(s, "DeadLetters"), "True DocumentsRefused");
}

TEST(Conditions, ChunksThatTheModelCutsAreToldAndNoFailure) {
    Seen s = converged();
    EXPECT_EQ(find(s, "ChunksCut").type, "") << "what the model reads is not known";
    s.cut = "";
    EXPECT_EQ(text(s, "ChunksCut"), "False ReadWhole");
    s.cut = "chunks of 400 tokens are larger";
    EXPECT_EQ(text(s, "ChunksCut"), "True LargerThanRead");
    EXPECT_EQ(find(s, "ChunksCut").message, *s.cut);
    EXPECT_EQ(find(s, "Ready").status, "True");
}

TEST(Conditions, ASourceShorterThanDeclaredIsSaidAndIsNotDrift) {
    Seen s = converged();
    s.declared = 500;
    EXPECT_EQ(text(s, "SourceShort"), "True FewerThanDeclared");
    EXPECT_EQ(text(s, "Ready"), "True Converged");
    s.declared = 100;
    EXPECT_EQ(find(s, "SourceShort").status, "False");
}

TEST(Conditions, SuspendedIsNotReady) {
    Seen s = converged();
    s.suspended = true;
    s.suspend_reason = "migration";
    EXPECT_EQ(text(s, "Ready"), "False Suspended");
    EXPECT_EQ(find(s, "Ready").message, "migration");
}

struct Fault {
    ErrorClass cls;
    std::string code;
    std::string reason;
    bool stalled;
    bool provider;
};

TEST(Conditions, EachFailureHasItsReasonAndItsCulprit) {
    const std::vector<Fault> faults{
        {ErrorClass::auth, "401", "ProviderRefused", true, true},
        {ErrorClass::bad_answer, "", "BadAnswer", true, true},
        {ErrorClass::throttled, "429", "Throttled", false, true},
        {ErrorClass::transient, "503", "ProviderFailing", false, true},
        {ErrorClass::timeout, "", "ProviderFailing", false, true},
        {ErrorClass::local, "", "ProviderFailing", false, true},
        {ErrorClass::db_permanent, "42501", "RightMissing", true, false},
        {ErrorClass::db_permanent, "42703", "SourceUnusable", true, false},
        {ErrorClass::db_resource, "53100", "DatabaseUnavailable", false, false},
        {ErrorClass::invalid, "AmbiguousKey", "AmbiguousKey", true, false},
        {ErrorClass::invalid, "", "SpecInvalid", true, false},
        {ErrorClass::invalid, "P0001", "DatabaseRefused", true, false},
        {ErrorClass::conflict, "2BP01", "TargetInUse", true, false},
    };
    for (const Fault& f : faults) {
        const Seen s = failed(f.cls, f.code);
        EXPECT_EQ(text(s, "Ready"), "False " + f.reason) << to_string(f.cls);
        EXPECT_EQ(find(s, "Ready").message, "what went wrong");
        EXPECT_EQ(find(s, "Stalled").status == "True", f.stalled) << to_string(f.cls) << " " << f.code;
        EXPECT_EQ(find(s, "Reconciling").status == "True", !f.stalled) << to_string(f.cls) << " " << f.code;
        EXPECT_EQ(find(s, "ProviderHealthy").status == "False", f.provider) << to_string(f.cls) << " " << f.code;
    }
}

// What waits, for so long.
Seen waiting(std::int64_t documents, int seconds) {
    Seen s = converged();
    s.waiting.feed_documents = documents;
    s.waiting.oldest = std::chrono::seconds(seconds);
    s.waiting.behind = seconds > 5;
    return s;
}

TEST(Conditions, WhatWaitsBeyondAMomentIsNeitherReadyNorSynced) {
    EXPECT_EQ(text(waiting(7, 2), "Ready"), "True Converged");
    Seen s = waiting(7, 12);
    s.waiting.last_error = "503";
    EXPECT_EQ(text(s, "Ready"), "False Behind");
    EXPECT_EQ(text(s, "Synced"), "False Behind");
    EXPECT_EQ(text(s, "Reconciling"), "True Progressing");
    EXPECT_EQ(find(s, "Ready").message, "7 documents wait, the oldest for 12 s: 503");
    s.waiting.closed = true;
    EXPECT_EQ(text(s, "Reconciling"), "False Idle") << "nobody heals it";
    s.completeness = 0.5;
    EXPECT_EQ(text(s, "Ready"), "False Behind");
    s.suspended = true;
    EXPECT_EQ(text(s, "Ready"), "False Suspended");
}

TEST(Conditions, ChangesThatWereNotNamedWaitToo) {
    Seen s = waiting(0, 12);
    EXPECT_EQ(find(s, "Synced").message, "") << "nothing known";
    s.waiting.unnamed = true;
    EXPECT_EQ(find(s, "Synced").message, "changes that were not named wait for a sweep, the oldest for 12 s");
}

TEST(Conditions, TheFirstFillIsReadyWhenItIsVerifiedAndIndexed) {
    Seen s = converged();
    s.working = true;
    s.first = true;
    for (const auto& [phase, reason] :
         {std::pair{Phase::healing, "False Healing"}, std::pair{Phase::verifying, "False Verifying"},
          std::pair{Phase::indexing, "False Indexing"}}) {
        s.phase = phase;
        EXPECT_EQ(text(s, "Ready"), reason);
        EXPECT_THAT(find(s, "Ready").message, HasSubstr("100 of 100 documents are embedded"));
        EXPECT_EQ(text(s, "Synced"), "Unknown NotObserved");
    }
    s.first = false;
    EXPECT_EQ(text(s, "Ready"), "False Indexing") << "searches go without it";
    s.phase = Phase::verifying;
    EXPECT_EQ(text(s, "Ready"), "True CompleteEnough");
    EXPECT_EQ(text(s, "Synced"), "False Drift") << "nothing has looked whether it is healed";
}

std::string corrected(const Seen& stored, const Seen& now, const std::string& type) {
    for (const Condition& c : corrections(conditions_of(stored), now)) {
        if (c.type == type) return c.status + " " + c.reason;
    }
    return "";
}

TEST(Corrections, SayWhatIsNotTrueAnyMoreAndNothingElse) {
    EXPECT_TRUE(corrections(conditions_of(converged()), converged()).empty());
    EXPECT_TRUE(corrections({}, waiting(7, 12)).empty()) << "what no pass has told is not told";
    EXPECT_EQ(corrected(converged(), waiting(7, 12), "Ready"), "False Behind");
    EXPECT_EQ(corrected(waiting(7, 12), converged(), "Ready"), "True Converged");
    EXPECT_EQ(corrected(waiting(7, 12), converged(), "Synced"), "True NoDrift");
    EXPECT_EQ(corrected(waiting(7, 12), waiting(7, 13), "Ready"), "") << "an age alone is not written";
    Seen dead = converged();
    dead.dead_letters = 3;
    EXPECT_EQ(corrected(converged(), dead, "DeadLetters"), "True DocumentsRefused");
    EXPECT_EQ(corrected(converged(), dead, "Ready"), "False Incomplete");
    EXPECT_EQ(corrected(dead, converged(), "Ready"), "True Converged");
}

TEST(Corrections, AFailureIsThePasssToTakeBack) {
    const Seen stored = failed(ErrorClass::db_permanent, "42703");
    for (const Condition& c : corrections(conditions_of(stored), converged())) EXPECT_EQ(c.type, "ProviderHealthy");
    EXPECT_EQ(corrected(stored, waiting(7, 12), "Ready"), "");
    EXPECT_EQ(corrected(stored, waiting(7, 12), "Reconciling"), "") << "it is stalled";
}

TEST(Corrections, ARunTellsItselfWhatItDoes) {
    Seen healing = converged();
    healing.working = true;
    healing.phase = Phase::healing;
    healing.drift.missing = 20;
    Seen now = healing;
    now.drift.missing = 10;
    EXPECT_TRUE(corrections(conditions_of(healing), now).empty());
    Seen behind = waiting(7, 12);
    behind.working = true;
    EXPECT_EQ(corrected(converged(), behind, "Ready"), "False Behind") << "what is not true is corrected all the same";
}

TEST(Corrections, TheProviderIsAsItsChannelHeard) {
    Seen trouble = converged();
    trouble.provider_trouble = ProviderTrouble{"ProviderFailing", "503"};
    EXPECT_EQ(corrected(converged(), trouble, "ProviderHealthy"), "False ProviderFailing");
    EXPECT_EQ(corrected(converged(), trouble, "Ready"), "") << "nothing waits for it";
    EXPECT_EQ(corrected(trouble, converged(), "ProviderHealthy"), "True Answering");
    Seen silent = converged();
    silent.provider_known = false;
    EXPECT_EQ(corrected(trouble, silent, "ProviderHealthy"), "") << "nobody has heard of it since";
}

RC_GTEST_PROP(Conditions, AreOneOfATypeAndNeverContradictEachOther, ()) {
    Seen s;
    s.working = *rc::gen::arbitrary<bool>();
    s.suspended = *rc::gen::arbitrary<bool>();
    s.observed = *rc::gen::arbitrary<bool>();
    if (*rc::gen::arbitrary<bool>()) s.source_documents = *rc::gen::inRange<std::int64_t>(0, 1'000);
    s.drift.missing = *rc::gen::inRange<std::int64_t>(0, 50);
    s.drift.moved = *rc::gen::inRange<std::int64_t>(0, 50);
    s.dead_letters = *rc::gen::inRange<std::int64_t>(0, 5);
    s.completeness = *rc::gen::inRange(0, 101) / 100.0;
    s.waiting.changes = *rc::gen::inRange<std::int64_t>(0, 5);
    s.waiting.behind = s.waiting.changes > 0 && *rc::gen::arbitrary<bool>();
    if (*rc::gen::arbitrary<bool>()) {
        s.failure = Error{.cls = static_cast<ErrorClass>(*rc::gen::inRange(0, static_cast<int>(ErrorClass::internal) + 1)),
                          .message = "why"};
    }
    std::set<std::string> types;
    for (const Condition& c : conditions_of(s)) {
        RC_ASSERT(types.insert(c.type).second);
        RC_ASSERT(c.status == "True" || c.status == "False" || c.status == "Unknown");
        RC_ASSERT(!c.reason.empty());
    }
    const bool ready = find(s, "Ready").status == "True";
    RC_ASSERT(!ready || (!s.failure && !s.suspended && s.observed && s.source_documents));
    RC_ASSERT(!(find(s, "Stalled").status == "True" && find(s, "Reconciling").status == "True"));
    RC_ASSERT(!(find(s, "Stalled").status == "True" && ready));
    RC_ASSERT(!s.waiting.behind || (!ready && find(s, "Synced").status != "True"));
    // What was just told needs no correction.
    RC_ASSERT(s.failure || corrections(conditions_of(s), s).empty());
}

}  // namespace
}  // namespace homeostat
