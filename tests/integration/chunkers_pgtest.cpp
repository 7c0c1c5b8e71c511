// Chunkers that are programs, by the real program: what such a program says is what is embedded; whatever else it does is told in
// sentences and harms no other document.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/integration/world.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kWanted = "SELECT id::text, body FROM docs";

class ChunkerPrograms : public World {
protected:
    ChunkerPrograms() {
        std::string path = (std::filesystem::temp_directory_path() / "homeostat-chunkers-XXXXXX").string();
        if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("no temporary folder");
        folder = path;
        std::ofstream(folder / "spoilt") << "yes";
        db.exec(
            "CREATE TABLE docs (id int PRIMARY KEY, body text);"
            "INSERT INTO docs SELECT i, E'Überschrift ' || i || E'\\n  \\nbody of ' || i || E'\\n\\u00df \\u4e2d end' FROM "
            "generate_series(1, 300) i");
    }
    ~ChunkerPrograms() override { std::filesystem::remove_all(folder); }

    // The program spoilt in that way, registered as "lines" and allowed.
    kit::Environment with(const std::string& mode) const {
        return {{"HOMEOSTAT_CHUNKERS",
                 fmt::format("lines timeout=5s {} {} {}", HOMEOSTAT_EXEC_PROGRAM, mode, (folder / "spoilt").string())},
                {"HOMEOSTAT_EXEC_ALLOW", HOMEOSTAT_EXEC_PROGRAM}};
    }
    void declare_lines() { declare("docs", "docs", "content, chunker", "'body', 'program:lines'"); }
    std::string dead_letters() { return db.value("SELECT count(*) FROM homeostat.dead_letter"); }
    std::string letter(const std::string& key) {
        return db.value(fmt::format("SELECT class || ': ' || message FROM homeostat.dead_letter WHERE key = '{{{}}}'", key));
    }
    // Chunks that are not the lines of their documents, and lines that are no chunk.
    std::string unlike_lines() {
        return db.value(R"sql(
            WITH wanted AS (
                SELECT d.id, line, row_number() OVER (PARTITION BY d.id ORDER BY n) - 1 AS number
                FROM docs d, regexp_split_to_table(d.body, E'\\n') WITH ORDINALITY AS l(line, n) WHERE line ~ '[^[:space:]]'),
            found AS (
                SELECT e.id, e.chunk_text AS line, e.chunk_number AS number FROM docs_embeddings e JOIN docs d USING (id)
                WHERE convert_from(substring(convert_to(d.body, 'UTF8') FROM e.chunk_start::int + 1
                    FOR (e.chunk_end - e.chunk_start)::int), 'UTF8') = e.chunk_text)
            SELECT count(*) FROM (SELECT id, line, number FROM wanted EXCEPT SELECT id, line, number FROM found) AS a
            FULL JOIN (SELECT id, line, number FROM found EXCEPT SELECT id, line, number FROM wanted) AS b USING (id, number))sql");
    }

    std::filesystem::path folder;
};

TEST_F(ChunkerPrograms, WhatTheProgramSaysIsWhatIsEmbedded) {
    db.exec("INSERT INTO docs VALUES (1001, E' \\n\\t '), (1002, ''), (1003, NULL)");
    declare_lines();
    run_once(kConverged, with("good"));
    expect_converged("docs", "SELECT id::text, coalesce(body, '') FROM docs");
    EXPECT_EQ(unlike_lines(), "0");
    EXPECT_EQ(number("SELECT count(*) FROM docs_embeddings"), 900);
    const std::int64_t before = embedded();
    db.exec("UPDATE docs SET body = body || E'\\nadded' WHERE id = 7");
    run_once(kConverged, with("good"));
    EXPECT_EQ(unlike_lines(), "0");
    EXPECT_EQ(embedded(), before + 1) << "the other chunks of the document are as they were";
    // The chunker is part of what a revision is made by.
    db.exec("UPDATE homeostat.pipeline SET chunker = 'whole'");
    run_once(kConverged);
    EXPECT_EQ(number("SELECT count(*) FROM docs_embeddings"), 300);
    EXPECT_EQ(db.value("SELECT max(revision) FROM homeostat.revision"), "2");
}

TEST_F(ChunkerPrograms, WhatItRefusesAndWhatEndsItAreDeadLettersAndNothingElse) {
    db.exec(
        "UPDATE docs SET body = 'refuse this' WHERE id = 10;"
        "UPDATE docs SET body = 'die of this' WHERE id = 20;"
        "UPDATE docs SET body = 'babble' WHERE id = 21");
    declare_lines();
    run_once(kDriftLeft, with("moody"));
    EXPECT_EQ(dead_letters(), "3");
    EXPECT_EQ(letter("10"), "content: chunker \"program:lines\": the program says \"not this one\"");
    EXPECT_THAT(letter("20"), AllOf(HasSubstr("fails at this document alone, twice"), HasSubstr("ended with code 3")));
    EXPECT_THAT(letter("21"), HasSubstr("no JSON object: \"babble\""));
    EXPECT_EQ(number("SELECT count(DISTINCT id) FROM docs_embeddings"), 297);
    db.exec("UPDATE docs SET body = E'harmless\\nnow' WHERE id IN (10, 20, 21)");
    run_once(kConverged, with("moody"));
    expect_converged("docs", kWanted);
    EXPECT_EQ(unlike_lines(), "0");
}

TEST_F(ChunkerPrograms, AProgramThatIsBrokenIsQuarantinedBlamesNobodyAndComesBack) {
    declare_lines();
    for (const char* mode : {"probe-garbage", "probe-crash", "probe-outside"}) {
        run_once(kFailed, with(mode));
        EXPECT_THAT(condition("docs", "Ready", "message"),
                    AllOf(HasSubstr("chunker \"program:lines\": "), HasSubstr("quarantined for 5 min")))
            << mode;
        EXPECT_THAT(homeostat.run({"describe", "pipeline", "docs"}, with(mode)).output, HasSubstr("quarantined for 5 min"));
        EXPECT_EQ(dead_letters(), "0");
        EXPECT_EQ(embedded(), 0);
    }
    const auto doctor = homeostat.run({"doctor"}, with("probe-garbage"));
    EXPECT_EQ(doctor.exit.code, kFailed);
    EXPECT_THAT(doctor.output, AllOf(HasSubstr("chunker program:lines"), HasSubstr("the probe failed")));
    std::filesystem::remove(folder / "spoilt");
    EXPECT_THAT(homeostat.run({"doctor"}, with("probe-garbage")).output, HasSubstr("cuts a harmless text"));
    run_once(kConverged, with("probe-garbage"));
    expect_converged("docs", kWanted);
}

TEST_F(ChunkerPrograms, WhatIsNotRegisteredOrNotAllowedIsSaidInASentence) {
    declare("docs", "docs", "content, chunker", "'body', 'program:liens'");
    const std::string said =
        "chunker \"program:liens\" is not registered in the settings of this replica (did you mean \"program:lines\"?)";
    run_once(kFailed, with("good"));
    EXPECT_THAT(condition("docs", "Ready", "message"), HasSubstr(said));
    EXPECT_THAT(homeostat.run({"plan", "docs"}, with("good")).output, HasSubstr(said));
    const auto validated = homeostat.run({"validate", "docs"}, with("good"));
    EXPECT_EQ(validated.exit.code, 1);
    EXPECT_THAT(validated.output, HasSubstr("chunker \"program:liens\" is not registered"));
    EXPECT_THAT(homeostat.run({"doctor"}, with("good")).output, HasSubstr(said));

    db.exec("UPDATE homeostat.pipeline SET chunker = 'program:lines'");
    kit::Environment forbidden = with("good");
    forbidden["HOMEOSTAT_EXEC_ALLOW"] = "/bin/cat";
    run_once(kFailed, forbidden);
    EXPECT_THAT(condition("docs", "Ready", "message"), AllOf(HasSubstr("is not started"), HasSubstr("exec.allow")));
    EXPECT_EQ(dead_letters(), "0");
    run_once(kConverged, with("good"));

    for (const char* name : {"program:", "program:A", "program:a b", "programme:x", "Program:x"}) {
        EXPECT_ANY_THROW(db.exec(fmt::format("UPDATE homeostat.pipeline SET chunker = '{}'", name))) << name;
    }
}

TEST_F(ChunkerPrograms, TheProgramOfTheDocumentationCutsParagraphsUnderTheirTitle) {
    const std::string root = HOMEOSTAT_SOURCE_DIR;
    const std::string program = root + "/docs/examples/cut.py";
    std::ifstream page(root + "/docs/chunking.md");
    std::string text{std::istreambuf_iterator<char>(page), {}};
    text = text.substr(text.find("```python\n") + 10);
    std::ifstream whole(program);
    EXPECT_THAT((std::string{std::istreambuf_iterator<char>(whole), {}}), HasSubstr(text.substr(0, text.find("```"))));
    db.exec("DELETE FROM docs; INSERT INTO docs VALUES (1, E'Title \\u00fc\\n\\nfirst\\nof two\\n \\n\\nlast \\n')");
    declare("docs", "docs", "content, chunker", "'body', 'program:paragraphs'");
    run_once(kConverged, {{"HOMEOSTAT_CHUNKERS", "paragraphs " + program}, {"HOMEOSTAT_EXEC_ALLOW", program}});
    EXPECT_EQ(db.value("SELECT string_agg(chunk_text, '|' ORDER BY chunk_number) FROM docs_embeddings"),
              "Title \u00fc|first\nof two|last");
    expect_converged("docs", kWanted);
}

TEST_F(ChunkerPrograms, AReplicaThatLacksItLeavesItsBatchesToOneThatHasIt) {
    declare_lines();
    kit::Process lacks = homeostat.start({"run"}, {{"HOMEOSTAT_REPLICA_NAME", "lacks"}});
    const std::string reason = "SELECT coalesce(max(message), '') FROM homeostat.condition WHERE type = 'Reconciling'";
    EXPECT_TRUE(kit::eventually([&] { return db.value(reason).find("program:lines\" is not registered") != std::string::npos; }))
        << db.value(reason) << lacks.output();
    kit::Environment more = with("good");
    more["HOMEOSTAT_REPLICA_NAME"] = "has";
    kit::Process has = homeostat.start({"run"}, more);
    kit::eventually([&] { return kit::broken_invariants(db, "docs", kWanted).empty(); });
    const auto shown = nlohmann::json::parse(homeostat.run({"factory", "capabilities", "-o", "json"}).output, nullptr, false);
    std::string seen;
    for (const auto& replica : shown) {
        for (const auto& c : replica.value("chunkers", nlohmann::json::array()))
            seen += replica.value("replica", "") + c.value("name", "");
    }
    EXPECT_EQ(seen, "haslines") << shown.dump();
    EXPECT_THAT(homeostat.run({"factory", "capabilities"}).output, HasSubstr("program:lines"));
    end(has);
    end(lacks);
    expect_converged("docs", kWanted);
    EXPECT_EQ(unlike_lines(), "0");
}

}  // namespace
}  // namespace homeostat
