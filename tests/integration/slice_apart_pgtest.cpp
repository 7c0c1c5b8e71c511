// What a slice of a source that is read apart promises: it finds what a slice that is one statement finds, whatever the keys and
// versions are, and however the reader's session is set.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "store/control/resources.hpp"
#include "store/data/drift.hpp"
#include "store/data/revisions.hpp"
#include "store/data/slice_apart.hpp"
#include "store/pg/session.hpp"
#include "tests/kit/cluster.hpp"

namespace homeostat {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Found = std::vector<std::string>;  // "class (key) document", sorted

struct Looked {
    Found items;
    std::int64_t source_rows = 0;
    std::int64_t document_rows = 0;
    std::string error;
    bool operator==(const Looked&) const = default;
};

class SliceApart : public ::testing::Test {
protected:
    SliceApart() {
        db.exec(
            fmt::format("CREATE ROLE {0} LOGIN; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {0};"
                        "CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO {0}; CREATE EXTENSION citext SCHEMA app",
                        reader_));
    }
    ~SliceApart() override {
        try {
            db.exec(fmt::format("DROP OWNED BY {0} CASCADE; DROP ROLE {0}", reader_));
        } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
        }
    }

    void connect() {
        session = *Session::connect(
            {.url = db.url(),
             .readers = {{.role = "", .url = db.url(reader_), .problem = "", .setting = "database.reader_url"}}});
    }

    // A source, and a revision that has all of it.
    struct Side {
        SourceShape source;
        Revision revision;
    };
    Side hold(const std::string& name, const std::string& relation, const std::string& key, const std::string& version = "") {
        if (!session) connect();
        db.exec(
            fmt::format("INSERT INTO homeostat.pipeline (name, source, key, content, provider, dimensions, target{0})"
                        " VALUES ('{1}', '{2}', '{3}', 'body', 'hashing', 16, 'public.{1}_v'{4})",
                        version.empty() ? "" : ", version_column", name, relation, key,
                        version.empty() ? "" : fmt::format(", '{}'", version)));
        const PipelineSpec spec = *find_pipeline(*session, name);
        RevisionSettings settings;
        settings.dimensions = 16;
        settings.chunker = "whole";
        Transaction tx = session->begin();
        const SourceShape source = *inspect_source(tx, spec);
        const Revision revision = *create_revision(tx, spec, settings, source, *find_vector_extension(tx), 1);
        std::string keys;
        std::string columns;
        for (std::size_t i = 0; i < source.key.size(); ++i) {
            keys += fmt::format("key_{}, ", i + 1);
            columns += fmt::format("s.{}, ", source.key[i].quoted);
        }
        tx.exec(
            fmt::format("INSERT INTO {} ({}source_version, content_hash, chunk_count, run_id, batch_id, write_token)"
                        " SELECT {}{}, {}, 0, 1, 1, 1 FROM {} s",
                        revision.tables.document, keys, columns, source.version_sql, source.content_hash(), source.relation));
        tx.commit();
        return {source, revision};
    }

    Looked look(const Side& side, SliceRequest request, bool apart) {
        SourceShape source = side.source;
        if (!apart) source.reader = {};
        Looked out;
        for (bool more = true; more;) {
            Transaction tx = session->begin(TxMode::read_snapshot);
            use_operators(tx, source);
            Result<Slice> slice = observe_slice(tx, source, side.revision, request);
            if (!slice) {
                out.error = slice.error().code + slice.error().message;
                break;
            }
            for (const DriftItem& item : slice->items)
                out.items.push_back(fmt::format("{} ({}) {}", to_string(item.cls), fmt::join(item.key, ","), item.document_id));
            out.source_rows += slice->source_rows;
            out.document_rows += slice->document_rows;
            request.after = slice->last;
            request.seen += slice->source_rows;
            more = !slice->final;
        }
        std::sort(out.items.begin(), out.items.end());
        return out;
    }

    // What is found apart, in slices of many sizes; it is what one statement finds.
    Looked found(const Side& side, std::optional<std::int64_t> documents = std::nullopt) {
        Looked apart;
        for (const std::int64_t limit : {2'000, 300, 70}) {
            const SliceRequest request{.after = std::nullopt, .limit = limit, .documents = documents};
            apart = look(side, request, true);
            EXPECT_EQ(apart.items, look(side, request, false).items) << side.source.relation << ", " << limit << " at a time";
            EXPECT_EQ(apart, look(side, request, false)) << side.source.relation << ", " << limit << " at a time";
        }
        return apart;
    }

    kit::Database db;
    const std::string reader_ = "slice_read_" + db.name();
    std::unique_ptr<Session> session;
};

// Of each type: a row that came, one that went, one whose version is another, and one whose key is written in another way.
TEST_F(SliceApart, FindsWhatOneStatementFindsInKeysOfAllTypes) {
    db.exec(
        "CREATE COLLATION app.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
        "CREATE DOMAIN app.small AS int CHECK (value < 100000); CREATE TYPE app.pair AS (a int, b text)");
    const std::pair<const char*, const char*> types[] = {
        {"int2", "i"},
        {"int4", "i"},
        {"bigint", "i"},
        {"numeric", "i::numeric"},
        {"float8", "i / 3.0"},
        {"text", "'Key ' || i"},
        {"varchar(20)", "'Key ' || i"},
        {"char(12)", "'Key ' || i"},
        {"uuid", "md5(i::text)::uuid"},
        {"bytea", "sha256(i::text::bytea)"},
        {"date", "date '2000-01-01' + i"},
        {"timestamptz", "timestamptz '2000-01-01 00:00:00+02' + i * interval '1 hour'"},
        {"timestamp", "timestamp '2000-01-01' + i * interval '1 hour'"},
        {"interval", "i * interval '1 hour'"},
        {"inet", "inet '10.0.0.0' + i"},
        {"app.citext", "'Key ' || i"},
        {"text COLLATE app.blind", "'Key ' || i"},
        {"text COLLATE \"C\"", "'Key ' || i"},
        {"app.small", "i"},
        {"app.pair", "ROW(i, 'x')::app.pair"},
        {"bit(12)", "i::bit(12)"}};
    int n = 0;
    std::vector<Side> sides;
    for (const auto& [type, value] : types) {
        const std::string name = fmt::format("of_{}", ++n);
        db.exec(
            fmt::format("CREATE TABLE app.{0} (id {1} PRIMARY KEY, body text);"
                        "INSERT INTO app.{0} SELECT {2}, 'Body ' || i FROM generate_series(1, 300) i",
                        name, type, value));
        const Side& side = sides.emplace_back(hold(name, "app." + name, "id"));
        EXPECT_THAT(found(side).items, IsEmpty()) << type;
        db.exec(
            fmt::format("UPDATE app.{0} SET body = 'Other' WHERE body = 'Body 7'; DELETE FROM app.{0} WHERE body = 'Body 8';"
                        "UPDATE app.{0} SET body = body WHERE body = 'Body 9'; INSERT INTO app.{0} SELECT {1}, 'New' FROM"
                        " generate_series(301, 301) i",
                        name, value));
        const Looked drift = found(side);
        EXPECT_EQ(drift.items.size(), 4U) << type;
        EXPECT_EQ(drift.source_rows, 300) << type;
    }
    db.exec(
        "UPDATE app.of_4 SET id = 10.00 WHERE id = 10; UPDATE app.of_16 SET id = 'KEY 10' WHERE id OPERATOR(app.=) 'key "
        "10'::app.citext;"
        "UPDATE app.of_17 SET id = 'KEY 10' WHERE id = 'key 10'");
    for (const int respelled : {4, 16, 17}) {
        const Side& side = sides[static_cast<std::size_t>(respelled - 1)];
        EXPECT_EQ(found(side).items.size(), 5U) << side.source.relation;
    }
}

TEST_F(SliceApart, FindsOneOfManyRowsHoweverLittleItDiffers) {
    db.exec(
        "CREATE TABLE app.docs (a int, b text, body text, v bigint, PRIMARY KEY (a, b));"
        "INSERT INTO app.docs SELECT i % 10, 'k' || i, 'Body ' || i, nullif(i % 50, 0) FROM generate_series(1, 1000) i");
    const Side side = hold("docs", "app.docs", "a, b", "v");
    const std::string document = side.revision.tables.document;
    EXPECT_THAT(found(side).items, IsEmpty());
    const auto drift_of = [&](const std::string& change, const std::string& undo) {
        db.exec(change);
        const Found items = found(side).items;
        db.exec(undo);
        EXPECT_THAT(found(side).items, IsEmpty()) << undo;
        return items.size();
    };
    const auto set = [](const std::string& v, const char* key) {
        return fmt::format("UPDATE app.docs SET v = {} WHERE b = '{}'; ", v, key);
    };
    EXPECT_EQ(drift_of(set("2", "k1"), set("1", "k1")), 1U);
    EXPECT_EQ(drift_of(set("NULL", "k1"), set("1", "k1")), 1U);
    EXPECT_EQ(drift_of(set("0", "k50"), set("NULL", "k50")), 1U);
    // The same keys and the same versions, in another order: no sum of one without the other would tell.
    EXPECT_EQ(drift_of(set("2", "k1") + set("1", "k2"), set("1", "k1") + set("2", "k2")), 2U);
    EXPECT_EQ(drift_of("UPDATE app.docs SET a = 2 WHERE b = 'k1'; UPDATE app.docs SET a = 1 WHERE b = 'k2'",
                       "UPDATE app.docs SET a = 1 WHERE b = 'k1'; UPDATE app.docs SET a = 2 WHERE b = 'k2'"),
              4U);
    // Parts of a key that would be one text if they were only joined.
    db.exec("INSERT INTO app.docs VALUES (11, '2:x', 'One', 1)");
    EXPECT_THAT(found(side).items, ElementsAre("missing (11,2:x) 0"));
    db.exec("DELETE FROM app.docs WHERE a = 11");
    // Of our side as well.
    EXPECT_EQ(drift_of(fmt::format("UPDATE {} SET source_version = 77 WHERE key_2 = 'k3'", document),
                       fmt::format("UPDATE {} SET source_version = 3 WHERE key_2 = 'k3'", document)),
              1U);
    db.exec(fmt::format("DELETE FROM {} WHERE key_2 = 'k4'", document));
    EXPECT_THAT(found(side).items, ElementsAre("missing (4,k4) 0"));
    EXPECT_EQ(found(side, 100).items.size(), 899U);  // those beyond the count
    EXPECT_EQ(found(side, 0).items.size(), 999U);
    db.exec("DELETE FROM app.docs");
    EXPECT_EQ(found(side).items.size(), 999U);
    db.exec(fmt::format("TRUNCATE {}; INSERT INTO app.docs VALUES (1, 'a', 'Body', 1)", document));
    EXPECT_THAT(found(side).items, ElementsAre("missing (1,a) 0"));
}

TEST_F(SliceApart, TwoRowsOfOneKeyAreRefusedAndNullsAreLeftOut) {
    db.exec("CREATE TABLE app.docs (id int, body text); INSERT INTO app.docs SELECT i, 'Body' FROM generate_series(1, 50) i");
    const Side side = hold("docs", "app.docs", "id");
    db.exec("INSERT INTO app.docs VALUES (NULL, 'No key')");
    const Looked unkeyed = found(side);
    EXPECT_THAT(unkeyed.items, IsEmpty());
    EXPECT_EQ(unkeyed.source_rows, 50);
    db.exec("INSERT INTO app.docs VALUES (30, 'Again')");
    EXPECT_THAT(found(side).error, ::testing::HasSubstr("AmbiguousKey"));
}

// What role and database say, and what code of a source sets in the reader's session, is not what texts are made by.
TEST_F(SliceApart, NoSettingOfTheReadersSessionDecides) {
    db.exec(
        fmt::format("ALTER ROLE {} SET TimeZone = 'Asia/Tokyo'; ALTER ROLE {} SET DateStyle = 'SQL, DMY'; ALTER ROLE {} SET"
                    " bytea_output = 'escape'",
                    reader_, reader_, reader_));
    db.exec(
        "CREATE TABLE app.docs (id timestamptz PRIMARY KEY, body text, v timestamptz);"
        "INSERT INTO app.docs SELECT timestamptz '2000-03-04 05:06:07.89+00' + i * interval '1 hour', 'Body ' || i,"
        " timestamptz '2001-01-01' + i * interval '1 day' FROM generate_series(1, 300) i;"
        "CREATE FUNCTION app.set_all(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM set_config('TimeZone', 'America/Lima', false), set_config('DateStyle', 'German', false),"
        "  set_config('search_path', 'app', false), set_config('row_security', 'on', false),"
        "  set_config('default_transaction_read_only', 'off', false); RETURN t; END $$;"
        "CREATE VIEW app.shown AS SELECT id, app.set_all(body) AS body, v FROM app.docs WHERE app.set_all(body) <> ''");
    const Side plain = hold("plain", "app.docs", "id", "v");
    const Side hostile = hold("hostile", "app.shown", "id", "v");
    connect();  // the view was read with our own rights, to be held
    EXPECT_THAT(found(plain).items, IsEmpty());
    db.exec("UPDATE app.docs SET v = v + interval '1 second' WHERE body = 'Body 5'; DELETE FROM app.docs WHERE body = 'Body 6'");
    const Found drift = look(plain, {}, false).items;
    EXPECT_EQ(drift.size(), 2U);
    for (const std::int64_t limit : {2'000, 70}) {
        // The session that read the one reads the other next; what the one says of itself is its own trouble.
        look(hostile, {.after = std::nullopt, .limit = limit}, true);
        EXPECT_EQ(look(plain, {.after = std::nullopt, .limit = limit}, true).items, drift);
    }
}

}  // namespace
}  // namespace homeostat
