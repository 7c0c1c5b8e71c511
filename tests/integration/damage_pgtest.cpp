// 50,000 documents, of which one in a hundred is damaged by hand, in every way there is and all at once: `plan` names every one
// by its class, one pass heals them all, and not one other row is written.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

class Damage : public World {
protected:
    void SetUp() override {
        db.exec(R"(
            CREATE TABLE docs (id int PRIMARY KEY, body text, lang text);
            INSERT INTO docs SELECT i, (SELECT string_agg(format('Sentence %s of %s: %s.', s, i, md5(i::text || s)), ' ')
                                        FROM generate_series(1, 4) s), 'en' FROM generate_series(1, 50000) i;
            ANALYZE docs;
        )");
        declare("docs", "docs", "content, metadata, documents, chunk_size, index_method", "'body', 'lang', 50000, 30, 'none'");
        run_once(kConverged);
        t = kit::tables_of(db, "docs");
    }

    // The next `n` documents, told apart from all others; as a condition on `column`.
    std::string next(const std::string& cls, int n, const std::string& column = "id") {
        const int first = next_;
        next_ += n * 90;  // spread over the key
        for (int i = 0; i < n; ++i) expected[cls].push_back(std::to_string(first + i * 90));
        return fmt::format("{} IN (SELECT generate_series({}, {}, 90))", column, first, next_ - 90);
    }
    std::string next_chunks(const std::string& cls, int n) {
        return fmt::format("document_id IN (SELECT document_id FROM {} WHERE {})", t.document, next(cls, n, "key_1"));
    }

    void damage() {
        db.exec("INSERT INTO docs SELECT i, 'New at the front.', 'fr' FROM generate_series(-39, 0) i");
        for (int i = -39; i <= 0; ++i) expected["missing"].push_back(std::to_string(i));
        const auto hurt = [&](const std::string& sql) { db.exec(sql); };
        hurt(fmt::format("DELETE FROM docs WHERE {}", next("orphaned", 30)));
        for (int i = 49'991; i <= 50'000; ++i) expected["excess"].push_back(std::to_string(i));  // 40 came, 30 went
        hurt(fmt::format("UPDATE docs SET body = 'Edited. ' || body WHERE {}", next("stale", 60)));
        hurt(fmt::format("UPDATE {} SET content_hash = sha256('other') WHERE {}", t.document, next("stale", 40, "key_1")));
        hurt(fmt::format("UPDATE docs SET lang = 'de' WHERE {}", next("moved", 40)));
        hurt(fmt::format("UPDATE {} SET meta_1 = NULL WHERE {}", t.document, next("moved", 40, "key_1")));
        hurt(fmt::format("DELETE FROM {} WHERE number = 0 AND {}", t.chunk, next_chunks("partial", 40)));
        hurt(
            fmt::format("INSERT INTO {0} SELECT document_id, 40, 0, 1, chunk_hash, context, text, embedding FROM {0} WHERE "
                        "number = 0 AND {1}",
                        t.chunk, next_chunks("partial", 30)));
        hurt(fmt::format("UPDATE {} SET text = 'not what was embedded' WHERE number = 0 AND {}", t.chunk,
                         next_chunks("partial", 40)));
        hurt(fmt::format("UPDATE {} SET embedding = NULL WHERE {}", t.chunk, next_chunks("invalid", 40)));
        hurt(fmt::format("UPDATE {} SET embedding = array_fill(0, ARRAY[16])::vector WHERE number = 0 AND {}", t.chunk,
                         next_chunks("invalid", 40)));
        // A document row deleted by hand: with its chunks, and without them.
        const std::string whole = next("missing", 20, "key_1");
        hurt(
            fmt::format("DELETE FROM {} WHERE document_id IN (SELECT document_id FROM {} WHERE {})", t.chunk, t.document, whole));
        hurt(fmt::format("DELETE FROM {} WHERE {}", t.document, whole));
        hurt(fmt::format("DELETE FROM {} WHERE {}", t.document, next("missing", 20, "key_1")));
    }

    // Every row as it stands, but for the documents damaged.
    void remember() {
        std::string damaged;
        for (const auto& [cls, keys] : expected) {
            for (const std::string& k : keys) damaged += (damaged.empty() ? "" : ",") + k;
        }
        db.exec(fmt::format(
            "CREATE TABLE before AS SELECT d.document_id, d.key_1, d.write_token, d.xmin::text AS x, d.ctid::text AS place,"
            " c.number, c.xmin::text AS cx, c.ctid::text AS cplace FROM {} d JOIN {} c USING (document_id)"
            " WHERE NOT d.key_1 = ANY ('{{{}}}'::int[])",
            t.document, t.chunk, damaged));
    }

    std::map<std::string, std::vector<std::string>> planned() {
        const auto plan = homeostat.run({"plan", "docs", "-o", "json", "--show", "1000"}, {{"HOMEOSTAT_LOG_LEVEL", "error"}});
        EXPECT_EQ(plan.exit.code, kDriftLeft) << plan.output;
        const auto json = nlohmann::json::parse(plan.output);
        std::map<std::string, std::vector<std::string>> out;
        for (const auto& [cls, keys] : (json.is_array() ? json[0] : json).at("keys").items()) {
            if (cls == "strayChunks") continue;
            for (const auto& key : keys) out[cls].push_back(key.at(0));
        }
        return out;
    }

    kit::Tables t;
    std::map<std::string, std::vector<std::string>> expected;

private:
    int next_ = 5;
};

TEST_F(Damage, OfEveryClassIsNamedAndHealedInOnePassAndNothingElseIsWritten) {
    damage();
    remember();
    std::size_t damaged = 0;
    for (auto& [cls, keys] : expected) {
        std::sort(keys.begin(), keys.end());
        damaged += keys.size();
    }
    ASSERT_GE(damaged, 490U);
    auto plan = planned();
    for (auto& [cls, keys] : plan) {
        std::sort(keys.begin(), keys.end());
        EXPECT_EQ(keys, expected[cls]) << cls;
    }
    EXPECT_EQ(plan.size(), 7U) << "a class is not named";

    const std::int64_t embedded_before = embedded();
    run_deep(kConverged);
    expect_converged("docs", "SELECT id::text, body FROM (SELECT * FROM docs ORDER BY id LIMIT 50000) s");
    const auto touched = db.query(
        fmt::format("SELECT b.key_1 FROM before b LEFT JOIN {} d USING (document_id) LEFT JOIN {} c USING (document_id, number)"
                    " WHERE (d.write_token, d.xmin::text, d.ctid::text, c.xmin::text, c.ctid::text)"
                    " IS DISTINCT FROM (b.write_token, b.x, b.place, b.cx, b.cplace) LIMIT 5",
                    t.document, t.chunk));
    EXPECT_THAT(touched, ::testing::IsEmpty()) << "documents were written though nothing was wrong with them";
    EXPECT_LT(embedded() - embedded_before, static_cast<std::int64_t>(damaged) * 5);
    std::printf("%zu documents damaged, all named and healed; %s others untouched\n", damaged,
                db.value("SELECT count(DISTINCT key_1) FROM before").c_str());

    const auto again = homeostat.run({"plan", "docs"});
    EXPECT_EQ(again.exit.code, kConverged) << again.output;
}

}  // namespace
}  // namespace homeostat
