// Four roles in one database: who owns the schema, who runs the controller, and two who declare, each with a schema of his own.
// And a table that none of the two may read.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/integration/world.hpp"

namespace homeostat {

class TrustWorld : public World {
protected:
    void SetUp() override {
        if (db.value("SELECT count(*) FROM pg_roles WHERE rolname = 'homeostat_admin'") == "0") GTEST_SKIP() << "no group roles";
        db.exec(fmt::format(
            "CREATE ROLE {0} LOGIN IN ROLE homeostat_controller; CREATE ROLE {1} LOGIN IN ROLE homeostat_declarer;"
            "CREATE ROLE {2} LOGIN IN ROLE homeostat_declarer;"
            "CREATE SCHEMA ann AUTHORIZATION {1}; CREATE SCHEMA bob AUTHORIZATION {2};"
            "CREATE TABLE public.secret (id int PRIMARY KEY, body text, other text); "
            "INSERT INTO public.secret VALUES (1, 'the secret', 'x'); GRANT SELECT ON public.secret TO homeostat_controller",
            controller_, ann_, bob_));
        for (const auto& [schema, role] : {std::pair{"ann", ann_}, std::pair{"bob", bob_}}) {
            as(role).exec(fmt::format(
                "CREATE TABLE {0}.docs (id int PRIMARY KEY, body text); INSERT INTO {0}.docs SELECT i, 'Body ' || i FROM"
                " generate_series(1, 5) i; GRANT USAGE, CREATE ON SCHEMA {0} TO homeostat_controller;"
                "GRANT SELECT, TRIGGER ON {0}.docs TO homeostat_controller",
                schema));
        }
    }
    void TearDown() override {
        for (const std::string& role : {controller_, ann_, bob_})
            db.exec(fmt::format(
                "DO $$ BEGIN IF to_regrole('{0}') IS NOT NULL THEN DROP OWNED BY {0} CASCADE; DROP ROLE {0}; END IF; END $$",
                role));
    }

    kit::Sql as(const std::string& role) { return kit::Sql(db.url(role)); }
    // What the server answers to whom it refuses.
    std::string refused(const std::string& role, const std::string& sql) {
        try {
            as(role).exec(sql);
        } catch (const std::runtime_error& e) {
            return e.what();
        }
        return "it was let through";
    }
    std::string declaration(const std::string& name, const std::string& source, const std::string& target,
                            const std::string& more = "") {
        return fmt::format(
            "INSERT INTO homeostat.pipeline (name, source, key, content, provider, dimensions, target, index_method, "
            "drift_interval,"
            " sweep_interval{4}) VALUES ('{0}', '{1}', 'id', 'body', '{3}', 16, '{2}', 'none', '10 seconds', '10 seconds'{5})",
            name, source, target, provider, more.empty() ? "" : more.substr(0, more.find('=')),
            more.empty() ? "" : more.substr(more.find('=') + 1));
    }
    std::string served(const std::string& view) {
        return db.value(fmt::format("SELECT coalesce(string_agg(chunk_text, ' ' ORDER BY id), '') FROM {}", view));
    }
    bool comes_to(const std::string& pipeline, const std::string& type, const std::string& column, const std::string& value) {
        return kit::eventually([&] { return condition(pipeline, type, column).find(value) != std::string::npos; });
    }

    const std::string controller_ = "trust_run_" + db.name();
    const std::string ann_ = "trust_ann_" + db.name();
    const std::string bob_ = "trust_bob_" + db.name();
    kit::Program as_controller_{db.url(controller_)};
};

}  // namespace homeostat
