// The checks that other tests rest on: each kind of damage makes them speak, and a converged pipeline makes none.
#include "tests/kit/invariants.hpp"

#include <gmock/gmock.h>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kWanted = "SELECT id::text, body FROM docs";

struct Harm {
    std::string name;
    std::string sql;    // {d} and {c} stand for the tables of documents and chunks
    std::string named;  // in the sentence
};
std::ostream& operator<<(std::ostream& out, const Harm& h) { return out << h.name; }

class Invariants : public World, public ::testing::WithParamInterface<Harm> {};

TEST_P(Invariants, SpeakOf) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, "
        "20) i");
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    ASSERT_THAT(kit::broken_invariants(db, "docs", kWanted), IsEmpty());
    const kit::Tables t = kit::tables_of(db, "docs");
    db.exec(fmt::format(fmt::runtime(GetParam().sql), fmt::arg("d", t.document), fmt::arg("c", t.chunk)));
    EXPECT_THAT(kit::broken_invariants(db, "docs", kWanted), Contains(HasSubstr(GetParam().named)));
}

INSTANTIATE_TEST_SUITE_P(
    Harm, Invariants,
    ::testing::Values(
        Harm{"ALostDocument", "DELETE FROM {d} WHERE key_1 = 3", "differ from the source"},
        Harm{"AStaleDocument", "UPDATE docs SET body = 'edited' WHERE id = 3", "differ from the source"},
        Harm{"AnOrphan", "DELETE FROM docs WHERE id = 3", "differ from the source"},
        Harm{"AMissingChunk", "DELETE FROM {c} WHERE document_id = (SELECT min(document_id) FROM {d})", "not complete"},
        Harm{"AStrayChunk", "INSERT INTO {c} SELECT -1, 0, 0, 1, chunk_hash, context, text, embedding FROM {c} LIMIT 1",
             "without a document"},
        Harm{"ATamperedText", "UPDATE {c} SET text = 'other'", "not that of their text"},
        Harm{"AMissingVector", "UPDATE {c} SET embedding = NULL", "cannot be searched"},
        Harm{"AZeroVector", "UPDATE {c} SET embedding = array_fill(0, ARRAY[16])::vector", "cannot be searched"},
        Harm{"ABatchDoneTwice", "INSERT INTO homeostat.batch_history SELECT * FROM homeostat.batch_history", "finished twice"},
        Harm{"AClaimUsedTwice", "INSERT INTO homeostat.batch_history SELECT * FROM homeostat.batch_history", "used twice"},
        Harm{"AnUnfinishedRun", "UPDATE homeostat.condition SET status = 'True' WHERE type = 'Reconciling'",
             "conditions are not"},
        Harm{"ANewSpec", "UPDATE homeostat.pipeline SET priority = 7", "not at rest"}),
    [](const auto& tested) { return tested.param.name; });

class BuiltAnew : public World {};

TEST_F(BuiltAnew, TellsAVectorOfAnotherText) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text); INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, "
        "20) i");
    declare("docs", "docs", "content", "'body'");
    run_once(kConverged);
    EXPECT_THAT(kit::unlike_built_anew(db, homeostat, "docs"), IsEmpty());
    const kit::Tables t = kit::tables_of(db, "docs");
    db.exec(
        fmt::format("UPDATE {0} SET embedding = (SELECT embedding FROM {0} ORDER BY document_id DESC LIMIT 1) WHERE document_id ="
                    " (SELECT min(document_id) FROM {0})",
                    t.chunk));
    ASSERT_THAT(kit::broken_invariants(db, "docs", kWanted), IsEmpty());  // sound in itself, and wrong
    EXPECT_THAT(kit::unlike_built_anew(db, homeostat, "docs"), Contains(HasSubstr("chunks that a new build has not")));
}

}  // namespace
}  // namespace homeostat
