// The command line in this process on a fresh database: arguments in, text and exit code out.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "controller/cli/cli.hpp"
#include "tests/kit/cluster.hpp"

namespace homeostat {

class CliCase : public ::testing::Test {
protected:
    struct Answer {
        int code;
        std::string out;
        std::string err;
    };

    Answer run(std::vector<std::string> arguments) {
        std::istringstream in;
        std::ostringstream out;
        std::ostringstream err;
        ConfigSources sources;
        sources.default_file = "/no/such/file";
        sources.environment = {{"HOMEOSTAT_DATABASE_URL", url.empty() ? db.url() : url}, {"HOMEOSTAT_LOG_LEVEL", "error"}};
        sources.environment.insert(sources.environment.end(), environment.begin(), environment.end());
        const int code = run_cli(arguments, CliStreams{in, out, err}, sources);
        return {code, out.str(), err.str()};
    }
    // What it prints, where it ends with `code`.
    std::string ends(int code, std::vector<std::string> arguments) {
        const Answer a = run(std::move(arguments));
        EXPECT_EQ(a.code, code) << a.out << a.err;
        return a.out;
    }
    std::string refused(std::vector<std::string> arguments) {
        const Answer a = run(std::move(arguments));
        EXPECT_EQ(a.code, 2) << a.out;
        EXPECT_THAT(a.err, ::testing::StartsWith("homeostat: "));
        return a.err;
    }
    void heal() {
        const Answer a = run({"run", "--once"});
        EXPECT_EQ(a.code, 0) << a.out << a.err;
    }

    // `n` short articles under a pipeline "articles" with small vectors; `more` are further columns and values of the pipeline.
    void declare_articles(int n, const std::string& columns = "", const std::string& values = "") {
        db.exec(
            "CREATE TABLE articles (id bigint PRIMARY KEY, title text, body text, tag text);"
            "INSERT INTO articles SELECT i, 'title ' || i, 'body of article ' || i, 'tag' FROM generate_series(1, " +
            std::to_string(n) + ") AS i;" +
            "INSERT INTO homeostat.pipeline (name, source, content, metadata, provider, dimensions, target" + columns +
            ") VALUES ('articles', 'articles', 'title, body', 'tag', 'hashing', 16, 'articles_embeddings'" + values + ")");
    }

    // Everything that may be changed by writing: nothing that only looks may move it.
    std::string fingerprint() {
        return db.value(
            "SELECT md5(string_agg(format('%s %s', relname, pg_relation_filenode(oid)) || coalesce("
            "(xpath('/row/c/text()', query_to_xml(format('SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) AS c"
            " FROM %s t', oid::regclass), false, true, '')))[1]::text, ''), ' ' ORDER BY oid::regclass::text))"
            " FROM pg_class WHERE relnamespace IN ('homeostat'::regnamespace, 'homeostat_data'::regnamespace, "
            "'public'::regnamespace) AND relkind = 'r'");
    }

    kit::Database db;
    std::string url;  // "" = as superuser
    std::vector<std::pair<std::string, std::string>> environment{{"HOMEOSTAT_DATABASE_ALLOW_SUPERUSER", "true"}};
};

}  // namespace homeostat
