// What a declarer can make homeostat send, start and read as: nothing that whoever runs it has not allowed in the settings.
#include <filesystem>
#include <fstream>

#include "tests/integration/trust_world.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

class TrustOutbound : public TrustWorld {
protected:
    static std::string origin_of(const kit::FakeEndpoint& endpoint) {
        return endpoint.url().substr(0, endpoint.url().rfind('/'));
    }
    void expect_untouched(const kit::FakeEndpoint& endpoint) {
        for (const kit::FakeRequest& request : endpoint.requests()) {
            for (const auto& [name, value] : request.http.headers) EXPECT_THAT(value, Not(HasSubstr("hush-hush"))) << name;
        }
    }
    // All that is shown to anybody.
    std::string everything_told() {
        return db.value(
            "SELECT coalesce((SELECT string_agg(c::text, ' ') FROM homeostat.condition c), '') ||"
            " coalesce((SELECT string_agg(e::text, ' ') FROM homeostat.event e), '') ||"
            " coalesce((SELECT string_agg(d::text, ' ') FROM homeostat.dead_letter d), '') ||"
            " coalesce((SELECT string_agg(s::text, ' ') FROM homeostat.provider_status s), '') ||"
            " coalesce((SELECT string_agg(s::text, ' ') FROM homeostat.pipeline_status s), '')");
    }
};

TEST_F(TrustOutbound, NoSecretGoesWhereNobodyBoundItTo) {
    kit::FakeEndpoint anns({.dimensions = 16});
    kit::FakeEndpoint bobs({.dimensions = 16});
    const std::string key_file = db.cluster().folder() + "/hush_" + db.name();
    std::ofstream(key_file) << "hush-hush-file\n";
    const kit::Environment environment{{"ANNS_KEY", "hush-hush-ann"},
                                       {"PGPASSWORD", "hush-hush-pg"},
                                       {"HOMEOSTAT_SECRETS", "anns env:ANNS_KEY " + origin_of(anns)}};
    as(ann_).exec(
        fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, credential) VALUES ('hers', '{}', 'm', "
                    "16, 'env:ANNS_KEY')",
                    anns.url()));
    provider = "hers";
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    provider = "his";
    const std::vector<std::string> attempts{"credential = 'env:ANNS_KEY'",
                                            "credential = 'env:PGPASSWORD'",
                                            "credential = 'env:HOMEOSTAT_DATABASE_URL'",
                                            "credential = 'env:HOME'",
                                            fmt::format("credential = 'file:{}'", key_file),
                                            "credential = 'file:/proc/self/environ'",
                                            R"(headers = '{"X-Key": "env:ANNS_KEY"}')",
                                            R"(headers = '{"X-Key": "env:PGPASSWORD"}')",
                                            fmt::format(R"(headers = '{{"X-Key": "file:{}"}}')", key_file)};
    as(bob_).exec(fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions) VALUES ('his', '{}', 'm', 16)",
                              bobs.url()));
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    for (const std::string& attempt : attempts) {
        as(bob_).exec("UPDATE homeostat.provider SET credential = NULL, headers = '{}' WHERE name = 'his'");
        as(bob_).exec(fmt::format("UPDATE homeostat.provider SET {} WHERE name = 'his'", attempt));
        const auto ended = as_controller_.run_once(environment);
        EXPECT_EQ(ended.exit.code, kFailed) << attempt;
        EXPECT_THAT(ended.output, Not(HasSubstr("hush-hush"))) << attempt;
        EXPECT_THAT(condition("b", "Ready", "message"), AllOf(HasSubstr("provider \"his\""), HasSubstr("its settings")))
            << attempt;
        // Nor by whoever looks after it all, with keys of his own at hand.
        const auto doctor = kit::Program(db.url()).run({"doctor"}, environment);
        EXPECT_THAT(doctor.output, AllOf(HasSubstr("provider his"), Not(HasSubstr("hush-hush")))) << attempt;
    }
    EXPECT_EQ(bobs.calls(), 0U);
    EXPECT_GT(anns.calls(), 0U);
    EXPECT_EQ(anns.requests().back().http.headers.at("authorization"), "Bearer hush-hush-ann");
    EXPECT_THAT(everything_told(), Not(HasSubstr("hush-hush")));
    EXPECT_EQ(condition("a", "Ready"), "True");
    std::filesystem::remove(key_file);
}

TEST_F(TrustOutbound, ARedirectTakesNoSecretElsewhere) {
    kit::FakeEndpoint anns({.dimensions = 16});
    kit::FakeEndpoint bobs({.dimensions = 16});
    as(ann_).exec(
        fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, credential) VALUES ('hers', '{}', 'm', "
                    "16, 'env:ANNS_KEY')",
                    anns.url()));
    provider = "hers";
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    for (const int status : {301, 302, 307, 308}) {
        anns.always({.status = status, .headers = {{"Location", bobs.url() + "/embeddings"}}});
        as_controller_.run_once({{"ANNS_KEY", "hush-hush"}, {"HOMEOSTAT_SECRETS", "anns env:ANNS_KEY " + origin_of(anns)}});
    }
    EXPECT_EQ(bobs.calls(), 0U);
    expect_untouched(bobs);
}

TEST_F(TrustOutbound, NobodyTakesOverTheRequestsOfAnothersPool) {
    kit::FakeEndpoint anns({.dimensions = 16});
    kit::FakeEndpoint bobs({.dimensions = 16});
    const char* row =
        "INSERT INTO homeostat.provider (name, endpoint, model, dimensions, pool, rank) VALUES ('{}', '{}', 'm', 16, 'p', {})";
    as(ann_).exec(fmt::format(fmt::runtime(row), "hers", anns.url(), 100));
    refused(bob_, fmt::format(fmt::runtime(row), "his", bobs.url(), 0));
    provider = "hers";
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    EXPECT_EQ(as_controller_.run_once().exit.code, kConverged);
    anns.always({.status = 500});
    as(ann_).exec("UPDATE ann.docs SET body = 'Edited ' || id");
    as_controller_.run_once({{"HOMEOSTAT_BATCH_MAX_ATTEMPTS", "1"}});
    EXPECT_EQ(bobs.calls(), 0U) << "not while hers is well, and not when it is not";
    // Her own, and those of who looks after all, stand in.
    kit::FakeEndpoint second({.dimensions = 16});
    as(ann_).exec(fmt::format(fmt::runtime(row), "hers_too", second.url(), 200));
    as_controller_.run_once();
    EXPECT_GT(second.calls(), 0U);
    EXPECT_EQ(bobs.calls(), 0U);
}

TEST_F(TrustOutbound, AProgramIsStartedWhereTheSettingsNameIt) {
    const std::string file = db.cluster().folder() + "/hush_" + db.name();
    std::ofstream(file) << "hush-hush\n";
    provider = "program";
    as(bob_).exec(
        "INSERT INTO homeostat.provider (name, kind, command, model, dimensions) VALUES ('program', 'exec', '{/bin/cat}', 'm', "
        "16)");
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    const std::string allowed = "/usr/bin/tac, /usr/lib";
    for (const std::string command :
         {"{/bin/cat,FILE}", "{/usr/bin/cat,FILE}", "{/usr/bin/tac/../cat,FILE}", "{/usr/lib/../bin/cat,FILE}",
          "{/bin/sh,-c,cat FILE >&2}", "{/proc/self/root/bin/cat,FILE}", "{/usr/lib/../bin/bash,-c,cat FILE >&2}"}) {
        std::string written = command;
        written.replace(written.find("FILE"), 4, file);
        as(bob_).exec(fmt::format("UPDATE homeostat.provider SET command = '{}' WHERE name = 'program'", written));
        for (const std::string& allow : {std::string(), allowed}) {
            const auto ended = as_controller_.run_once({{"HOMEOSTAT_EXEC_ALLOW", allow}});
            EXPECT_EQ(ended.exit.code, kFailed) << command;
            EXPECT_THAT(condition("b", "Stalled", "message"), AllOf(HasSubstr("is not started"), HasSubstr("exec.allow")))
                << command;
        }
    }
    // One that is allowed reads nothing but itself and what is listed.
    as(bob_).exec(fmt::format("UPDATE homeostat.provider SET command = '{{/usr/bin/tac,{}}}' WHERE name = 'program'", file));
    as_controller_.run_once({{"HOMEOSTAT_EXEC_ALLOW", allowed}});
    EXPECT_THAT(condition("b", "Ready", "message"), AllOf(HasSubstr("provider \"program\""), HasSubstr("ermission denied")));
    as(bob_).exec("UPDATE homeostat.provider SET environment = '{PGPASSWORD}' WHERE name = 'program'");
    as_controller_.run_once({{"HOMEOSTAT_EXEC_ALLOW", allowed}, {"PGPASSWORD", "hush-hush"}});
    EXPECT_THAT(condition("b", "Stalled", "message"), HasSubstr("exec.environment"));
    EXPECT_THAT(everything_told(), Not(HasSubstr("hush-hush")));
    std::filesystem::remove(file);
}

TEST_F(TrustOutbound, NoSourceIsReadAsASuperuser) {
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    const kit::Environment strict{{"HOMEOSTAT_DATABASE_ALLOW_SUPERUSER", ""}};
    const kit::Program owner(db.url());
    const std::string deputy = "trust_dep_" + db.name();
    db.exec(fmt::format("CREATE ROLE {0} LOGIN IN ROLE {1}; GRANT pg_read_server_files TO {0}", deputy, "homeostat_controller"));
    for (const auto& arguments : {kit::Arguments{"run", "--once"}, {"plan"}, {"validate"}, {"explain", "a", "1"}}) {
        const auto refused = owner.run(arguments, strict);
        EXPECT_EQ(refused.exit.code, kFailed) << arguments[0];
        EXPECT_THAT(refused.output, AllOf(HasSubstr("role \"postgres\" is a superuser"), HasSubstr("homeostat_controller"),
                                          HasSubstr("database.allow_superuser")))
            << arguments[0];
        EXPECT_THAT(kit::Program(db.url(deputy)).run(arguments, strict).output,
                    HasSubstr("is a member of role \"pg_read_server_files\""))
            << arguments[0];
    }
    EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.run_history"), "0");
    // To be somebody else for a while makes him no other.
    EXPECT_THAT(owner.run({"plan"}, {{"HOMEOSTAT_DATABASE_ALLOW_SUPERUSER", ""}, {"PGOPTIONS", "-c role=" + controller_}}).output,
                HasSubstr("is a superuser"));
    const auto doctor = owner.run({"doctor"}, strict);
    EXPECT_EQ(doctor.exit.code, kFailed);
    EXPECT_THAT(doctor.output, HasSubstr("CREATE ROLE homeostat_run LOGIN IN ROLE homeostat_controller"));
    EXPECT_EQ(as_controller_.run_once(strict).exit.code, kConverged);
    db.exec(fmt::format("DROP OWNED BY {0}; DROP ROLE {0}", deputy));
}

}  // namespace
}  // namespace homeostat
