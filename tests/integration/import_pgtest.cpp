// What other tools have in their catalogues, as the real program prints it: manifests that apply takes, commands that take the
// vectors over, and a sentence for whatever cannot be said.
#include <fstream>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Import : public World {
protected:
    // The catalogue as releases have it: until 0.10, with the destination in columns, and after.
    void make_pgai(bool early) {
        db.exec("CREATE SCHEMA ai");
        db.exec(
            early
                ? "CREATE TABLE ai.vectorizer (id int PRIMARY KEY, source_schema name NOT NULL, source_table name NOT NULL,"
                  " source_pk jsonb NOT NULL, target_schema name NOT NULL, target_table name NOT NULL, view_schema name NOT NULL,"
                  " view_name name NOT NULL, trigger_name name NOT NULL, queue_schema name, queue_table name, config jsonb NOT "
                  "NULL)"
                : "CREATE TABLE ai.vectorizer (id int PRIMARY KEY, source_schema name NOT NULL, source_table name NOT NULL,"
                  " source_pk jsonb NOT NULL, trigger_name name NOT NULL, queue_schema name, queue_table name, config jsonb NOT "
                  "NULL,"
                  " disabled boolean NOT NULL DEFAULT false, queue_failed_table name, name name NOT NULL UNIQUE)");
    }
    void add_pgai(int id, const std::string& name, const std::string& table, const std::string& key, const std::string& config) {
        db.exec(
            fmt::format("INSERT INTO ai.vectorizer (id, source_schema, source_table, source_pk, trigger_name, config, name)"
                        " VALUES ({}, 'public', '{}', '{}', 't', '{}', '{}')",
                        id, table, key, config, name));
    }
    // As it makes them.
    void make_store(const std::string& name, const std::string& keys, const std::string& key) {
        db.exec(
            fmt::format("CREATE TABLE {} (embedding_uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(), {}, chunk_seq int NOT NULL,"
                        " chunk text NOT NULL, embedding vector(16) NOT NULL, UNIQUE ({}, chunk_seq))",
                        name, keys, key));
    }
    kit::Program::Outcome import(std::vector<std::string> more) {
        more.insert(more.begin(), "import");
        return homeostat.run(more);
    }
    // What is printed, without what is said to stderr.
    std::string manifests(const std::string& all) {
        std::string out;
        std::istringstream lines(all);
        for (std::string line; std::getline(lines, line);) {
            if (!line.starts_with("homeostat: ")) out += line + '\n';
        }
        return out;
    }
    kit::Program::Outcome apply(const std::string& text) {
        const std::string file = std::string(::testing::TempDir()) + db.name() + ".yaml";
        std::ofstream(file) << text;
        return homeostat.run({"apply", "--suspended", "-f", file});
    }
    std::string spec(const std::string& name, const std::string& columns) {
        return db.value(fmt::format("SELECT concat_ws(' ', {}) FROM homeostat.pipeline WHERE name = '{}'", columns, name));
    }
};

constexpr const char* kIdKey = R"([{"attnum": 1, "pknum": 1, "attname": "id", "typname": "integer"}])";

TEST_F(Import, PgaiOfThisDayIsDeclaredAndItsVectorsAreTakenOver) {
    kit::FakeEndpoint endpoint({.dimensions = 16});
    make_pgai(false);
    db.exec(
        "CREATE TABLE blog (id int PRIMARY KEY, title text, body text);"
        "INSERT INTO blog SELECT i, 'Title ' || i, 'The text of entry ' || i FROM generate_series(1, 30) i;"
        "CREATE TABLE pages (site text, \"Path\" text, body text, vec vector(16), PRIMARY KEY (\"Path\", site))");
    make_store("blog_store", "id int NOT NULL", "id");
    add_pgai(1, "blog-entries", "blog", kIdKey,
             fmt::format(R"({{"version": "0.12.1", "loading": {{"implementation": "column",
        "config_type": "loading", "column_name": "body", "retries": 6}}, "parsing": {{"implementation": "auto", "config_type": "parsing"}},
        "embedding": {{"implementation": "openai", "config_type": "embedding", "model": "m", "dimensions": 16, "user": "me",
                      "api_key_name": "BLOG_KEY", "base_url": "{}"}},
        "chunking": {{"implementation": "none", "config_type": "chunking"}},
        "indexing": {{"implementation": "hnsw", "config_type": "indexing", "min_rows": 100000, "opclass": "vector_ip_ops", "m": 8,
                     "ef_construction": 40, "create_when_queue_empty": true}},
        "formatting": {{"implementation": "python_template", "config_type": "formatting", "template": "$title: $chunk {{}} $$"}},
        "scheduling": {{"implementation": "none", "config_type": "scheduling"}},
        "processing": {{"implementation": "default", "config_type": "processing"}},
        "destination": {{"implementation": "table", "config_type": "destination", "target_schema": "public", "target_table": "blog_store",
                        "view_schema": "public", "view_name": "blog_view"}}}})",
                         endpoint.url()));
    add_pgai(2, "pages", "pages", R"([{"attnum": 1, "pknum": 2, "attname": "site", "typname": "text"},
                                      {"attnum": 2, "pknum": 1, "attname": "Path", "typname": "text"}])",
             R"({"loading": {"implementation": "column", "column_name": "body"}, "parsing": {"implementation": "none"},
                 "embedding": {"implementation": "ollama", "model": "nomic-embed-text", "dimensions": 16, "base_url": "http://o:11434",
                               "keep_alive": "5m"},
                 "chunking": {"implementation": "none"}, "indexing": {"implementation": "diskann"},
                 "formatting": {"template": "$chunk"},
                 "destination": {"implementation": "column", "embedding_column": "vec"}})");
    const kit::Program::Outcome printed = import({"pgai"});
    ASSERT_EQ(printed.exit.code, 0) << printed.output;
    EXPECT_THAT(printed.output,
                AllOf(HasSubstr("homeostat: blog-entries: options of the provider are not carried over: {\"user\": \"me\"}"),
                      HasSubstr("homeostat: pages: an index of pgvectorscale"), HasSubstr("# options of the provider"),
                      HasSubstr("endpoint: \"http://o:11434/v1\""), HasSubstr("credential: \"env:BLOG_KEY\"")));
    const kit::Program::Outcome commands = import({"pgai", "--commands"});
    EXPECT_THAT(commands.output,
                AllOf(HasSubstr("homeostat adopt blog-entries --from public.blog_store --key id --vector embedding --chunk "
                                "chunk_seq --text chunk\n"),
                      HasSubstr("homeostat adopt pages --from public.pages --key '\"Path\",site' --vector vec\n")));
    const kit::Program::Outcome applied = apply(manifests(printed.output));
    ASSERT_EQ(applied.exit.code, 0) << applied.output << printed.output;
    EXPECT_EQ(spec("blog-entries", "suspend, source, key, template, chunker, distance, index_m, index_ef_construction, target"),
              "t public.blog id {title}: {body} {{}} $ whole inner_product 8 40 public.\"blog-entries_vectors\"");
    EXPECT_EQ(spec("pages", "key, content, chunker, index_method, provider"), "\"Path\", site body whole hnsw ollama");
    EXPECT_THAT(apply(manifests(printed.output)).output, Not(HasSubstr("configured"))) << "a second time changes nothing";
    // The vectors of the other tool are of what it embedded: the same texts by another pipeline's making.
    db.exec(
        "UPDATE homeostat.provider SET credential = NULL WHERE name = 'openai'; DELETE FROM homeostat.pipeline WHERE name = "
        "'pages';"
        "INSERT INTO homeostat.pipeline (name, source, template, chunker, provider, target, deletion_policy) VALUES ('made', "
        "'blog',"
        " '{title}: {body} {{}} $', 'whole', 'openai', 'public.made_v', 'Delete')");
    homeostat.run_once();
    const std::string uid = db.value("SELECT uid FROM homeostat.pipeline WHERE name = 'made'");
    db.exec(
        fmt::format("INSERT INTO blog_store (id, chunk_seq, chunk, embedding) SELECT d.key_1, c.number, c.text, c.embedding FROM"
                    " homeostat_data.p{0}_r1_document d JOIN homeostat_data.p{0}_r1_chunk c USING (document_id);"
                    "DELETE FROM homeostat.pipeline WHERE name = 'made'; TRUNCATE homeostat.kept_vector CASCADE",
                    uid));
    const std::uint64_t before = endpoint.texts();
    ASSERT_EQ(homeostat
                  .run({"adopt", "blog-entries", "--from", "public.blog_store", "--key", "id", "--vector", "embedding", "--chunk",
                        "chunk_seq", "--text", "chunk", "--sample", "4", "--no-wait"})
                  .exit.code,
              0);
    const kit::Program::Outcome done = homeostat.run_once();
    EXPECT_EQ(db.value("SELECT state || ' ' || documents FROM homeostat.adoption"), "done 30")
        << done.output << db.value("SELECT message FROM homeostat.adoption");
    ASSERT_EQ(homeostat.run({"resume", "blog-entries"}).exit.code, 0);
    run_deep(kConverged);
    EXPECT_EQ(endpoint.texts() - before, 4U);
}

TEST_F(Import, PgaiAsItWasAndWhatCannotBeSaid) {
    make_pgai(true);
    db.exec("CREATE TABLE blog (id int PRIMARY KEY, title text, body text)");
    make_store("blog_embedding_store", "id int NOT NULL", "id");
    const auto add = [&](int id, const std::string& table, const std::string& config) {
        db.exec(
            fmt::format("INSERT INTO ai.vectorizer VALUES ({}, 'public', '{}', '{}', 'public', 'blog_embedding_store', 'public',"
                        " 'blog_embedding', 't', 'ai', 'q', '{}')",
                        id, table, kIdKey, config));
    };
    add(1, "blog",
        R"({"version": "0.4.0", "embedding": {"implementation": "openai", "model": "text-embedding-3-small", "dimensions": 768,
                       "api_key_name": "OPENAI_API_KEY"}, "chunking": {"implementation": "recursive_character_text_splitter",
                       "chunk_column": "body", "chunk_size": 800, "chunk_overlap": 400}, "indexing": {"implementation": "none"},
                       "formatting": {"template": "$title\n\n$chunk"}})");
    add(2, "blog", R"({"embedding": {"implementation": "litellm", "model": "cohere/embed-v3", "dimensions": 1024},
                       "chunking": {"implementation": "character_text_splitter", "chunk_column": "body", "chunk_size": 100},
                       "formatting": {"template": "[$chunk] of $title"}})");
    add(3, "gone",
        R"({"embedding": {"implementation": "voyageai", "model": "voyage-3", "dimensions": 1024, "input_type": "document",
                       "api_key_name": "VOYAGE_API_KEY"}, "chunking": {"implementation": "none"},
                       "loading": {"implementation": "uri", "column_name": "url"}})");
    const kit::Program::Outcome printed = import({"pgai"});
    EXPECT_EQ(printed.exit.code, kDriftLeft) << printed.output;
    EXPECT_THAT(printed.output, AllOf(HasSubstr("an overlap of 400 is half of a chunk or more; it is 399 here"),
                                      HasSubstr("texts may be cut in other places"), HasSubstr("sendDimensions: true"),
                                      HasSubstr("homeostat: public_blog_2 is left out: provider \"litellm\" has no endpoint"),
                                      HasSubstr("# It is not declared as it stands: provider \"litellm\""),
                                      HasSubstr("the format of what was embedded cannot be said here ([$chunk] of $title)"),
                                      HasSubstr("public_gone_3 is left out: its documents are loaded by \"uri\""),
                                      HasSubstr("# kind: Pipeline")));
    const kit::Program::Outcome applied = apply(manifests(printed.output));
    ASSERT_EQ(applied.exit.code, 0) << applied.output << printed.output;
    EXPECT_EQ(db.value("SELECT string_agg(name, ' ' ORDER BY name) FROM homeostat.pipeline"), "public_blog_1");
    EXPECT_EQ(
        spec("public_blog_1", "content, chunk_context, chunker, chunk_size, chunk_overlap, chunk_unit, index_method, dimensions"),
        "body {title} sentence 800 399 characters none 768");
    EXPECT_THAT(import({"pgai", "--commands"}).output,
                HasSubstr("homeostat adopt public_blog_1 --from public.blog_embedding_store"));
}

TEST_F(Import, PgedgesVectorizer) {
    db.exec(
        "CREATE SCHEMA pgedge_vectorizer; CREATE TABLE pgedge_vectorizer.vectorizers (id bigserial PRIMARY KEY, source_table "
        "text NOT NULL,"
        " source_column name NOT NULL, chunk_table text NOT NULL, source_pk name, pk_type text, provider text, model text,"
        " created_at timestamptz NOT NULL DEFAULT now(), UNIQUE (source_table, source_column));"
        "CREATE FUNCTION pgedge_vectorizer.vectorization_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TABLE articles (id bigint PRIMARY KEY, body text, note text);"
        "CREATE TABLE articles_body_chunks (id bigserial PRIMARY KEY, source_id bigint NOT NULL, chunk_index int NOT NULL, "
        "content text NOT NULL,"
        " token_count int, embedding vector(16), embedding_provider text, embedding_model text, created_at timestamptz DEFAULT "
        "now(),"
        " updated_at timestamptz DEFAULT now(), UNIQUE (source_id, chunk_index));"
        "CREATE TRIGGER articles_body_vectorization_trigger AFTER INSERT OR UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION"
        " pgedge_vectorizer.vectorization_trigger('body', 'articles_body_chunks', 'token_based', '300', '50', 'id', 'bigint');"
        "INSERT INTO pgedge_vectorizer.vectorizers (source_table, source_column, chunk_table, source_pk, pk_type, provider, "
        "model) VALUES"
        " ('articles', 'body', 'articles_body_chunks', 'id', 'bigint', 'ollama', 'nomic-embed-text'),"
        " ('articles', 'note', 'articles_note_chunks', 'id', 'bigint', NULL, NULL)");
    const kit::Program::Outcome printed = import({"pgedge"});
    EXPECT_EQ(printed.exit.code, kDriftLeft) << printed.output;
    EXPECT_THAT(
        printed.output,
        AllOf(HasSubstr(
                  "# homeostat adopt articles_body --from public.articles_body_chunks --key source_id --vector embedding --chunk "
                  "chunk_index --text content"),
              HasSubstr("articles_note is left out: which model made the vectors is not said there"),
              HasSubstr("articles_note_chunks, which had its vectors, is not there any more"),
              HasSubstr("how texts were cut is not said there")));
    const kit::Program::Outcome applied = apply(manifests(printed.output));
    ASSERT_EQ(applied.exit.code, 0) << applied.output << printed.output;
    EXPECT_EQ(spec("articles_body", "source, key, content, chunker, chunk_size, chunk_overlap, chunk_unit, model, dimensions"),
              "public.articles id body fixed 300 50 tokens nomic-embed-text 16");
    // A release without the columns of the model.
    db.exec("ALTER TABLE pgedge_vectorizer.vectorizers DROP provider, DROP model, DROP source_pk, DROP pk_type");
    EXPECT_THAT(import({"pgedge"}).output,
                AllOf(HasSubstr("articles_body is left out: which model"), HasSubstr("#   key: [\"id\"]")));
}

TEST_F(Import, ASinkOfFiveColumns) {
    db.exec(
        "CREATE TABLE docs (id int PRIMARY KEY, body text); CREATE TABLE sink (doc int, nr smallint, part text, v vector(16), "
        "made timestamptz);"
        "CREATE TABLE four (doc int, nr int, part text, v vector(16)); CREATE TABLE six (doc int, nr int, x int, part text, v "
        "real[], at date)");
    const kit::Program::Outcome printed =
        import({"sink", "sink", "--source", "docs", "--content", "body", "--provider", "hashing", "--chunk-size", "50"});
    ASSERT_EQ(printed.exit.code, 0) << printed.output;
    EXPECT_THAT(printed.output,
                HasSubstr("# homeostat adopt docs --from public.sink --key doc --vector v --chunk nr --text part"));
    const kit::Program::Outcome applied = apply(manifests(printed.output));
    ASSERT_EQ(applied.exit.code, 0) << applied.output << printed.output;
    EXPECT_EQ(spec("docs", "source, key, chunk_size, dimensions, suspend"), "public.docs id 50 16 t");
    const auto refused = [&](const std::string& table) {
        const kit::Program::Outcome outcome =
            import({"sink", table, "--source", "docs", "--content", "body", "--provider", "hashing"});
        EXPECT_EQ(outcome.exit.code, kFailed) << outcome.output;
        return outcome.output;
    };
    EXPECT_THAT(refused("four"), AllOf(HasSubstr("public.four is no table of five columns"), HasSubstr("--chunk")));
    EXPECT_THAT(refused("six"), HasSubstr("is no table of five columns"));
    EXPECT_THAT(refused("nowhere"), HasSubstr("relation nowhere does not exist"));
}

TEST_F(Import, WhereThereIsNothing) {
    for (const std::string tool : {"pgai", "pgedge"}) {
        const kit::Program::Outcome outcome = import({tool});
        EXPECT_EQ(outcome.exit.code, kFailed);
        EXPECT_THAT(outcome.output, HasSubstr("keeps nothing here"));
    }
    EXPECT_THAT(import({"pgia"}).output, HasSubstr("pgai"));
    EXPECT_EQ(import({}).exit.code, kFailed);
    make_pgai(false);
    EXPECT_EQ(import({"pgai"}).exit.code, 0);
    EXPECT_THAT(import({"pgai"}).output, HasSubstr("# 0 pipelines"));
}

}  // namespace
}  // namespace homeostat
