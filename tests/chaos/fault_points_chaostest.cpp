// The process is killed at every fault point, in a fill and in a heal of every class of drift, and started again: nothing may be
// lost, torn or written twice (I1-I5). A point that the scenario never reaches is a failure of this test.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "core/fault_point.hpp"
#include "tests/kit/invariants.hpp"

namespace homeostat {
namespace {

using kit::Database;
using kit::Program;

constexpr int kReaches = 3;   // the 1st, 2nd and 3rd time a point is reached
constexpr int kThreads = 8;   // most of a case is waiting for the leases and claims of the dead

constexpr const char* kSource = R"(
    CREATE TABLE docs (id int PRIMARY KEY, title text, body text, lang text);
    INSERT INTO docs SELECT i * 10, 'Document ' || i,
        (SELECT string_agg(format('Sentence %s of document %s says something about %s.', s, i, md5(i::text || s)), ' ')
         FROM generate_series(1, 12) s), CASE i % 3 WHEN 0 THEN 'en' WHEN 1 THEN 'de' END
    FROM generate_series(1, 240) i;
    INSERT INTO homeostat.pipeline (name, source, content, metadata, documents, provider, dimensions, chunk_size, target)
    VALUES ('docs', 'docs', 'title, body', 'lang', 200, 'hashing', 24, 40, 'docs_embeddings');
)";

constexpr const char* kWanted = "SELECT id::text, title || E'\\n\\n' || body FROM (SELECT * FROM docs ORDER BY id LIMIT 200) s";

// Every class of drift at once, made in the source and by hand in the stored rows.
void damage(Database& db) {
    const kit::Tables t = kit::tables_of(db, "docs");
    const auto documents = [&](const std::string& ids) {
        return fmt::format("(SELECT document_id FROM {} WHERE key_1 IN ({}))", t.document, ids);
    };
    db.exec(
        "INSERT INTO docs SELECT i, 'New ' || i, 'A new document at the front. It pushes others out.', 'fr' FROM "
        "generate_series(1, 6) i");
    db.exec("DELETE FROM docs WHERE id IN (100, 110, 120, 130)");
    db.exec("UPDATE docs SET body = 'Rewritten. ' || body WHERE id IN (200, 210, 220, 230, 240)");
    db.exec("UPDATE docs SET lang = 'pt' WHERE id IN (300, 310, 320, 330, 340)");
    db.exec(fmt::format("UPDATE {} SET content_hash = sha256('nothing') WHERE key_1 IN (400, 410)", t.document));
    db.exec(fmt::format("UPDATE {} SET meta_1 = 'xx' WHERE key_1 IN (420, 430)", t.document));
    db.exec(fmt::format("DELETE FROM {} WHERE key_1 IN (500, 510)", t.document));  // its chunks become strays
    db.exec(fmt::format("DELETE FROM {} WHERE number = 1 AND document_id IN {}", t.chunk, documents("600, 610, 620")));
    db.exec(
        fmt::format("INSERT INTO {0} SELECT document_id, 99, 0, 1, chunk_hash, context, text, embedding FROM {0}"
                    " WHERE number = 0 AND document_id IN {1}",
                    t.chunk, documents("630")));
    db.exec(fmt::format("UPDATE {} SET text = 'tampered' WHERE number = 0 AND document_id IN {}", t.chunk, documents("640")));
    db.exec(fmt::format("UPDATE {} SET embedding = NULL WHERE document_id IN {}", t.chunk, documents("700, 710")));
    db.exec(fmt::format("UPDATE {} SET embedding = array_fill(0, ARRAY[24])::vector WHERE number = 0 AND document_id IN {}",
                        t.chunk, documents("720, 730")));
}

// What was done to the stored rows no version tells of.
const kit::Arguments kDeeply{"run", "--once", "--deep"};

struct Case {
    std::string point;
    int reach = 1;
};

struct Verdict {
    int crashes = 0;
    std::vector<std::string> problems;
};

// One life: fill, damage, heal; in both halves the process dies at the point, and is started again without it.
class Life {
public:
    explicit Life(Case c)
        : case_(std::move(c)),
          program_(db_.url(),
                   {{"HOMEOSTAT_SWEEP_SLICE", "100"}, {"HOMEOSTAT_BATCH_DOCUMENTS", "16"}, {"HOMEOSTAT_BATCH_IN_FLIGHT", "3"}}) {}

    Verdict live() {
        db_.exec(kSource);
        half("fill");
        if (!verdict_.problems.empty()) return verdict_;
        damage(db_);
        half("heal");
        if (verdict_.problems.empty() && verdict_.crashes > 0) note("", kit::unlike_built_anew(db_, program_, "docs"));
        return verdict_;
    }

private:
    void half(const std::string& name) {
        const Program::Outcome died =
            program_.run(kDeeply, {{"HOMEOSTAT_FAULT_POINT", fmt::format("{}:{}", case_.point, case_.reach)}});
        if (died.exit.killed()) {
            ++verdict_.crashes;
            if (name == "fill") check_nothing_torn();
            const Program::Outcome again = program_.run(kDeeply);
            if (again.exit.code != 0)
                note(name, {fmt::format("restarted, it ended with {}:\n{}", again.exit.code, again.output)});
        } else if (died.exit.code != 0) {
            note(name, {fmt::format("without a crash it ended with {}:\n{}", died.exit.code, died.output)});
        }
        note(name, kit::broken_invariants(db_, "docs", kWanted));
        // A death is nobody's fault: no batch may have failed, and no document be condemned for it.
        const auto blamed =
            db_.query("SELECT id, outcome, message FROM homeostat.batch_history WHERE outcome IN ('failed', 'dead_letter')");
        if (!blamed.empty()) note(name, {fmt::format("{} batches were blamed: {}", blamed.size(), blamed[0][2].value_or(""))});
    }

    // At the very moment of the crash, before anything has been put right: what is served is whole.
    void check_nothing_torn() {
        const kit::Tables t = kit::tables_of(db_, "docs");
        if (t.uid.empty()) return;
        const auto torn =
            db_.query(fmt::format("SELECT d.document_id FROM {} d LEFT JOIN {} c USING (document_id) GROUP BY 1, d.chunk_count"
                                  " HAVING count(c.embedding) <> d.chunk_count",
                                  t.document, t.chunk));
        if (!torn.empty()) note("crash", {fmt::format("{} documents are torn", torn.size())});
    }

    void note(const std::string& when, const std::vector<std::string>& problems) {
        for (const std::string& p : problems)
            verdict_.problems.push_back(fmt::format("{}:{} {}: {}", case_.point, case_.reach, when, p));
    }

    const Case case_;
    Database db_;
    const Program program_;
    Verdict verdict_;
};

Verdict live(const Case& c) {
    try {
        return Life(c).live();
    } catch (const std::exception& e) {
        return {0, {fmt::format("{}:{}: {}", c.point, c.reach, e.what())}};
    }
}

TEST(FaultPoints, KilledAtEachOneNothingIsLostTornOrWrittenTwice) {
    {
        const Database first;
    }  // the template is made once, not by eight threads at a time
    std::vector<Case> cases;
    for (int reach = 1; reach <= kReaches; ++reach) {
        for (const std::string_view point : kFaultPoints) cases.push_back({std::string(point), reach});
    }
    std::vector<Verdict> verdicts(cases.size());
    std::atomic<std::size_t> next = 0;
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < kThreads; ++i) {
            threads.emplace_back([&] {
                for (std::size_t at = next++; at < cases.size(); at = next++) verdicts[at] = live(cases[at]);
            });
        }
    }
    int crashes = 0;
    for (std::size_t i = 0; i < cases.size(); ++i) {
        crashes += verdicts[i].crashes;
        EXPECT_THAT(verdicts[i].problems, ::testing::IsEmpty());
        if (cases[i].reach > 1) continue;
        EXPECT_GT(verdicts[i].crashes, 0) << cases[i].point << " was never reached: the scenario is too small";
    }
    std::printf("%zu fault points, %d crashes\n", kFaultPoints.size(), crashes);
}

}  // namespace
}  // namespace homeostat
