// Every function and every right in our schemas, against the list that is committed beside this file: what is new
// there is somebody's way in until it has been looked at.
#include <fmt/format.h>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "tests/integration/feed_world.hpp"

namespace homeostat {
namespace {

class TrustObjects : public FeedWhole {
protected:
    // With all that the program makes: a pipeline's tables, and triggers of both kinds.
    void SetUp() override {
        make(5);
        db.exec(
            "CREATE TABLE parts (id int PRIMARY KEY, body text) PARTITION BY RANGE (id);"
            "CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (100)");
        declare_docs(", metadata", ", 'tag'");
        declare("parts", "parts", "content", "'body'");
        kit::Process run = homeostat.start({"run"});
        ASSERT_TRUE(
            eventually_is("SELECT count(*) FROM homeostat.condition WHERE type = 'ChangeFeed' AND reason = 'Active'", "2"))
            << run.output();
        end(run);
    }

    std::set<std::string> there() {
        std::set<std::string> lines;
        for (const kit::Row& row : db.query(R"sql(
            WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname IN ('homeostat', 'homeostat_data')), weekly AS (
                SELECT c.oid FROM pg_class c WHERE c.relnamespace IN (SELECT oid FROM ours) AND c.relname ~ '_[0-9]{8}($|_)'),
            word (grantee, text) AS (
                SELECT a.grantee, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END FROM (
                    SELECT 0::oid UNION SELECT oid FROM pg_roles) a(grantee))
            SELECT format('function %s: %s, %s, called by %s', p.oid::regprocedure, CASE WHEN p.prosecdef THEN 'definer' ELSE 'invoker' END,
                       coalesce((SELECT c FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%'), 'names in full'),
                       coalesce((SELECT string_agg(w.text, ' ' ORDER BY w.text) FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                                 JOIN word w USING (grantee) WHERE a.grantee <> p.proowner), 'nobody'))
            FROM pg_proc p WHERE p.pronamespace IN (SELECT oid FROM ours)
            UNION ALL
            SELECT format('relation %s: %s %s', c.oid::regclass, w.text, string_agg(a.privilege_type, ' ' ORDER BY a.privilege_type))
            FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a JOIN word w USING (grantee)
            WHERE c.relnamespace IN (SELECT oid FROM ours) AND a.grantee <> c.relowner AND c.oid NOT IN (SELECT oid FROM weekly)
            GROUP BY c.oid, w.text
            UNION ALL
            SELECT format('column %s.%s: %s %s', c.oid::regclass, t.attname, w.text, string_agg(a.privilege_type, ' ' ORDER BY a.privilege_type))
            FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid CROSS JOIN LATERAL aclexplode(t.attacl) a JOIN word w USING (grantee)
            WHERE c.relnamespace IN (SELECT oid FROM ours) GROUP BY c.oid, t.attname, w.text
            UNION ALL
            SELECT format('schema %s: %s %s', n.nspname, w.text, string_agg(a.privilege_type, ' ' ORDER BY a.privilege_type))
            FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a JOIN word w USING (grantee)
            WHERE n.oid IN (SELECT oid FROM ours) AND a.grantee <> n.nspowner GROUP BY n.nspname, w.text
            )sql"))
            lines.insert(row[0].value());
        return lines;
    }
};

TEST_F(TrustObjects, AreThoseOfTheCommittedList) {
    std::ifstream file(HOMEOSTAT_SOURCE_DIR "/tests/integration/trust_objects.txt");
    std::set<std::string> listed;
    for (std::string line; std::getline(file, line);) {
        if (!line.empty() && line[0] != '#') listed.insert(line);
    }
    const std::set<std::string> found = there();
    std::ostringstream differs;
    for (const std::string& line : found) differs << (listed.contains(line) ? "" : "+ " + line + "\n");
    for (const std::string& line : listed) differs << (found.contains(line) ? "" : "- " + line + "\n");
    EXPECT_EQ(differs.str(), "") << "look at what is new, then bring tests/integration/trust_objects.txt up to date";
}

// What is made anew each week is nobody's to read past the views of what it is a part of.
TEST_F(TrustObjects, PartitionsAreNotReadByThemselves) {
    EXPECT_EQ(db.value("SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                       " WHERE c.relnamespace = 'homeostat'::regnamespace"
                       " AND has_table_privilege('homeostat_declarer', c.oid, 'SELECT')"),
              "0");
}

// A name that is made into a text is the same text in every session.
TEST_F(TrustObjects, WhatComparesNamesDoesNotDependOnHowASessionQuotesThem) {
    EXPECT_EQ(db.value("SELECT coalesce(string_agg(p.oid::regprocedure::text, ', '), '') FROM pg_proc p"
                       " WHERE p.pronamespace = 'homeostat'::regnamespace AND p.prosrc ~ 'quote_ident|%I|relation_text'"
                       " AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c = 'quote_all_identifiers=off')"),
              "");
}

// Without a path of their own they would call what the caller's path has: so no function, operator or type goes without its
// schema.
TEST_F(TrustObjects, WhatHasNoPathOfItsOwnNamesEverythingInFull) {
    const std::vector<kit::Row> functions = db.query(
        "SELECT p.oid::regprocedure, p.prosrc FROM pg_proc p WHERE p.pronamespace IN ('homeostat'::regnamespace,"
        " 'homeostat_data'::regnamespace) AND p.prosrc <> ''"
        " AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%')");
    EXPECT_GE(functions.size(), 4U + 8U);
    // Literals and comments; then what is qualified; keywords that a parenthesis may follow; signs of the language itself.
    const std::regex silent(R"('(?:[^']|'')*'|--[^\n]*)");
    const std::regex operators(R"(OPERATOR\(pg_catalog\.[^)\s]+\))");
    const std::regex calls(R"((^|[^.\w"])([A-Za-z_]\w*)\s*\()");
    const std::set<std::string> keywords{"coalesce", "greatest", "values", "row",  "exists",  "and",       "or",   "not",
                                         "from",     "select",   "when",   "into", "in",      "limit",     "else", "as",
                                         "t",        "if",       "case",   "then", "lateral", "returning", "b"};
    const std::regex language(R"(:=|::|\.\*|=>)");
    const std::regex bare(R"([=<>+/|&%!~@#^?-]|\*)");
    const std::regex casts(R"(::\s*(?!pg_catalog\.)([a-z_"]\w*))");
    for (const kit::Row& row : functions) {
        std::string text = std::regex_replace(row[1].value(), silent, "''");
        for (const char* count : {"count(*)", "SET asleep = false", "#variable_conflict", "= ROW_COUNT"}) {
            for (std::size_t at; (at = text.find(count)) != std::string::npos;) text.erase(at, std::string(count).size());
        }
        text = std::regex_replace(text, operators, ", ");
        for (auto at = std::sregex_iterator(text.begin(), text.end(), calls); at != std::sregex_iterator(); ++at) {
            std::string word = (*at)[2];
            for (char& c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
            // A table with the list of its columns is no call.
            if (word.starts_with("p1_change") || word.starts_with("p2_change")) continue;
            EXPECT_TRUE(keywords.contains(word)) << row[0].value() << " calls " << word << " of any schema";
        }
        for (auto at = std::sregex_iterator(text.begin(), text.end(), casts); at != std::sregex_iterator(); ++at) {
            static const std::set<std::string> named{"integer", "bigint",
                                                     "text"};  // keys in their own types, as the catalog prints them
            EXPECT_TRUE(named.contains((*at)[1])) << row[0].value() << " converts to " << (*at)[1];
        }
        std::smatch operation;
        const std::string rest = std::regex_replace(text, language, " ");
        EXPECT_FALSE(std::regex_search(rest, operation, bare))
            << row[0].value() << " uses " << operation.str() << " of any schema: " << operation.suffix().str().substr(0, 60);
    }
}

}  // namespace
}  // namespace homeostat
