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
    db.exec("GRANT pg_read_all_stats TO " + controller_);
    EXPECT_THAT(owner.run({"plan"}, {{"HOMEOSTAT_DATABASE_ALLOW_SUPERUSER", ""}, {"PGOPTIONS", "-c role=" + controller_}}).output,
                HasSubstr("is a superuser"));
    const auto doctor = owner.run({"doctor"}, strict);
    EXPECT_EQ(doctor.exit.code, kFailed);
    EXPECT_THAT(doctor.output, HasSubstr("CREATE ROLE homeostat_run LOGIN IN ROLE homeostat_controller"));
    EXPECT_EQ(as_controller_.run_once(strict).exit.code, kConverged);
    db.exec(fmt::format("DROP OWNED BY {0}; DROP ROLE {0}", deputy));
}

// A reference is one where a secret belongs; anywhere else it is the text that it is.
TEST_F(TrustOutbound, NoOtherColumnStandsForASecret) {
    kit::FakeEndpoint bobs({.dimensions = 16});
    const std::string key_file = db.cluster().folder() + "/hush_" + db.name();
    std::ofstream(key_file) << "hush-hush-file\n";
    const kit::Environment environment{
        {"ANNS_KEY", "hush-hush-ann"},
        {"BOBS_WAY", "http://bob:hush-hush-way@127.0.0.1:1"},
        {"HOMEOSTAT_SECRETS", "anns env:ANNS_KEY https://ann.example; way env:BOBS_WAY https://ann.example"}};
    provider = "his";
    as(bob_).exec(fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions) VALUES ('his', '{}', 'm', 16)",
                              bobs.url()));
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    const auto set = [&](const std::string& columns) {
        as(bob_).exec(
            "UPDATE homeostat.provider SET organization = NULL, document_prefix = '', query_prefix = '', request = '{}', "
            "query_request = "
            "'{}', model = 'm', proxy = NULL, ca_file = NULL, client_certificate = NULL, client_key = NULL, headers = '{}' WHERE "
            "name = 'his'");
        as(bob_).exec(fmt::format("UPDATE homeostat.provider SET {} WHERE name = 'his'", columns));
        as(bob_).exec("UPDATE bob.docs SET body = body || ' again'");
    };
    for (const char* taken : {"organization = 'env:ANNS_KEY'", "document_prefix = 'env:ANNS_KEY', query_prefix = 'secret:anns'",
                              R"(request = '{"user": "env:ANNS_KEY"}')", R"(query_request = '{"user": "secret:anns"}')",
                              "model = 'env:ANNS_KEY'", R"(headers = '{"X-Note": "ENV:ANNS_KEY"}')"}) {
        set(taken);
        as_controller_.run_once(environment);
        kit::Program(db.url()).run({"search", "b", "a text"}, environment);
    }
    EXPECT_GT(bobs.calls(), 0U);
    const std::size_t before = bobs.calls();
    const std::string https = "endpoint = 'https://127.0.0.1:1/v1', ";
    for (const std::string& refused : std::vector<std::string>{
             "proxy = 'env:ANNS_KEY'", "proxy = 'env:BOBS_WAY'", "proxy = 'secret:way'", "proxy = 'file:" + key_file + "'",
             "proxy = 'file:/proc/self/environ'", https + "ca_file = '" + key_file + "'", https + "ca_file = '/etc/shadow'",
             https + "client_certificate = '" + key_file + "'", https + "client_certificate = 'secret:anns'",
             https + "client_certificate = 'secret:unheard_of'"}) {
        set(refused);
        EXPECT_EQ(as_controller_.run_once(environment).exit.code, kFailed) << refused;
        EXPECT_THAT(condition("b", "Stalled", "message") + condition("b", "Ready", "message"),
                    AllOf(HasSubstr("provider \"his\""), HasSubstr("its settings")))
            << refused;
    }
    EXPECT_THAT(kit::Program(db.url()).run({"doctor"}, environment).output,
                AllOf(HasSubstr("provider his"), Not(HasSubstr("hush-hush"))));
    EXPECT_EQ(bobs.calls(), before);
    for (const kit::FakeRequest& request : bobs.requests()) EXPECT_THAT(request.http.body, Not(HasSubstr("hush-hush")));
    expect_untouched(bobs);
    EXPECT_THAT(everything_told(), Not(HasSubstr("hush-hush")));
    std::filesystem::remove(key_file);
}

// What the operator binds later makes whole what was refused, without the declarer.
TEST_F(TrustOutbound, WhatIsWrittenIntoTheSettingsLetsItGoOn) {
    kit::FakeEndpoint hers({.dimensions = 16, .tls = true, .knows_clients = true});
    const std::string key = hers.ca().client_key_file();
    as(ann_).exec(
        fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions, credential, ca_file, client_certificate) "
                    "VALUES ('hers', '{}', 'm', 16, 'env:ANNS_KEY', '{}', '{}')",
                    hers.url(), hers.ca_file(), key));
    provider = "hers";
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    std::string secrets;
    for (const std::string& source : {"file:" + hers.ca_file(), "file:" + key, std::string("env:ANNS_KEY")}) {
        EXPECT_EQ(as_controller_.run_once({{"ANNS_KEY", "hush-hush"}, {"HOMEOSTAT_SECRETS", secrets}}).exit.code, kFailed);
        EXPECT_THAT(condition("a", "Ready", "message"),
                    AllOf(HasSubstr("source: \"" + source + "\""), HasSubstr("origins: [\"" + origin_of(hers) + "\"]")));
        EXPECT_EQ(hers.calls(), 0U);
        secrets += fmt::format("s{} {} {};", secrets.size(), source, origin_of(hers));
    }
    EXPECT_EQ(as_controller_.run_once({{"ANNS_KEY", "hush-hush"}, {"HOMEOSTAT_SECRETS", secrets}}).exit.code, kConverged);
    EXPECT_EQ(hers.requests().back().http.headers.at("authorization"), "Bearer hush-hush");
}

TEST_F(TrustOutbound, MetadataServicesAreNotAskedInAnyForm) {
    provider = "his";
    as(bob_).exec(
        "INSERT INTO homeostat.provider (name, endpoint, model, dimensions) VALUES ('his', 'http://127.0.0.1:1', 'm', 16)");
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    for (const char* host : {"169.254.169.254", "2852039166", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "0"}) {
        as(bob_).exec(fmt::format("UPDATE homeostat.provider SET endpoint = 'http://{}/v1' WHERE name = 'his'", host));
        EXPECT_EQ(as_controller_.run_once().exit.code, kFailed) << host;
        EXPECT_THAT(condition("b", "Ready", "message"), HasSubstr("provider.allow_hosts")) << host;
    }
    // What is listed is asked, and nothing else: not this machine's own services, by any name.
    kit::FakeEndpoint service({.dimensions = 16});
    const std::string port = service.url().substr(service.url().rfind(':'));
    for (const char* host : {"localhost", "2130706433", "[::ffff:127.0.0.1]"}) {
        as(bob_).exec(fmt::format("UPDATE homeostat.provider SET endpoint = 'http://{}{}' WHERE name = 'his'", host, port));
        EXPECT_EQ(as_controller_.run_once({{"HOMEOSTAT_PROVIDER_ALLOW_HOSTS", "api.example.com, 10.0.0.0/8"}}).exit.code, kFailed)
            << host;
        EXPECT_THAT(condition("b", "Ready", "message"), HasSubstr("provider.allow_hosts")) << host;
    }
    EXPECT_EQ(service.calls(), 0U);
}

TEST_F(TrustOutbound, WhoGotIntoAPoolBeforeIsSentNothing) {
    kit::FakeEndpoint anns({.dimensions = 16});
    kit::FakeEndpoint bobs({.dimensions = 16});
    const char* row =
        "INSERT INTO homeostat.provider (name, endpoint, model, dimensions, pool, rank) VALUES ('{}', '{}', 'm', 16, {}, {})";
    as(ann_).exec(fmt::format(fmt::runtime(row), "hers", anns.url(), "'p'", 100));
    as(bob_).exec(fmt::format(fmt::runtime(row), "his", bobs.url(), "NULL", 0));
    EXPECT_THAT(refused(bob_, "UPDATE homeostat.provider SET pool = 'p' WHERE name = 'his'"),
                AllOf(HasSubstr("provider \"his\": pool \"p\" was opened by role"), HasSubstr("a pool of your own")));
    EXPECT_THAT(refused(bob_, "UPDATE homeostat.provider SET pool = NULL WHERE name = 'hers'"), HasSubstr("hers"));
    EXPECT_THAT(refused(bob_, "UPDATE homeostat.provider SET declared_by = '" + ann_ + "' WHERE name = 'his'"), HasSubstr(ann_));
    // As a database has it that was declared in before there was consent.
    db.exec(
        "ALTER TABLE homeostat.provider DISABLE TRIGGER check_provider_pool; UPDATE homeostat.provider SET pool = 'p' WHERE name "
        "= 'his';"
        "ALTER TABLE homeostat.provider ENABLE TRIGGER check_provider_pool");
    provider = "hers";
    as(ann_).exec(declaration("a", "ann.docs", "ann.a_v"));
    EXPECT_EQ(as_controller_.run_once().exit.code, kConverged);
    anns.always({.status = 500});
    as(ann_).exec("UPDATE ann.docs SET body = 'Edited ' || id");
    as_controller_.run_once({{"HOMEOSTAT_BATCH_MAX_ATTEMPTS", "1"}});
    EXPECT_EQ(bobs.calls(), 0U);
}

TEST_F(TrustOutbound, NoWayAroundTheListOfPrograms) {
    const std::string folder = db.cluster().folder() + "/allowed_" + db.name();
    std::filesystem::create_directory(folder);
    std::filesystem::create_symlink("/bin/cat", folder + "/cat");
    std::filesystem::create_directory_symlink("/usr/bin", folder + "/bin");
    std::filesystem::create_symlink("/bin/sh", folder + "/tool");
    std::filesystem::create_symlink("/proc/self/exe", folder + "/exe");
    const std::string file = db.cluster().folder() + "/hush_" + db.name();
    std::ofstream(file) << "hush-hush\n";
    provider = "program";
    as(bob_).exec(
        fmt::format("INSERT INTO homeostat.provider (name, kind, command, model, dimensions) VALUES ('program', 'exec', "
                    "'{{{}/cat}}', 'm', 16)",
                    folder));
    as(bob_).exec(declaration("b", "bob.docs", "bob.b_v"));
    for (const std::string& command :
         {folder + "/cat," + file, folder + "/bin/cat," + file, folder + "/tool,-c,cat " + file, folder + "/exe,config",
          folder + "/../../../../../../../../bin/cat," + file, folder + "x/cat," + file}) {
        as(bob_).exec(fmt::format("UPDATE homeostat.provider SET command = '{{{}}}' WHERE name = 'program'", command));
        EXPECT_EQ(as_controller_.run_once({{"HOMEOSTAT_EXEC_ALLOW", folder}}).exit.code, kFailed) << command;
        EXPECT_THAT(condition("b", "Ready", "message") + condition("b", "Stalled", "message"), HasSubstr("exec.allow"))
            << command;
    }
    EXPECT_THAT(kit::Program(db.url()).run({"doctor"}, {{"HOMEOSTAT_EXEC_ALLOW", folder}}).output, HasSubstr("is not started"));
    for (const char* relative : {"cat", "./cat", "../bin/cat", "~/cat", "$HOME/cat"})
        EXPECT_THAT(
            refused(bob_, fmt::format("UPDATE homeostat.provider SET command = '{{{}}}' WHERE name = 'program'", relative)),
            HasSubstr("absolute"))
            << relative;
    // What decides how an allowed program is loaded is nobody's to give it either.
    for (const char* name : {"LD_PRELOAD", "LD_LIBRARY_PATH", "HOMEOSTAT_DATABASE_URL", "PGPASSWORD"}) {
        as(bob_).exec(fmt::format(
            "UPDATE homeostat.provider SET command = '{{/usr/bin/tac,{}}}', environment = '{{{}}}' WHERE name = 'program'", file,
            name));
        as_controller_.run_once({{"HOMEOSTAT_EXEC_ALLOW", "/usr/bin/tac"}, {"PGPASSWORD", "hush-hush"}});
        EXPECT_THAT(condition("b", "Stalled", "message"), HasSubstr("exec.environment")) << name;
    }
    EXPECT_THAT(everything_told(), Not(HasSubstr("hush-hush")));
    std::filesystem::remove_all(folder);
    std::filesystem::remove(file);
}

}  // namespace
}  // namespace homeostat
