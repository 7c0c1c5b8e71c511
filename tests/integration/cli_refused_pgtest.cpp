// Every verb where the database refuses it: the answer names what is missing, who gives it, and how, and is never PostgreSQL's
// sentence alone.
#include "store/control/migrator.hpp"
#include "tests/integration/cli_case.hpp"

namespace homeostat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class CliRefused : public CliCase {
protected:
    ~CliRefused() override {
        db.reconnect();
        for (const std::string& role : roles_) db.exec("DROP OWNED BY \"" + role + "\"; DROP ROLE \"" + role + "\"");
    }
    // Goes on as a login of that group; "" = of none.
    std::string become(const std::string& group) {
        const std::string role = "r" + std::to_string(roles_.size()) + "_" + db.name();
        db.exec("CREATE ROLE \"" + role + "\" LOGIN" + (group.empty() ? "" : " IN ROLE " + group));
        roles_.push_back(role);
        url = db.url(role);
        environment.clear();
        return role;
    }

private:
    std::vector<std::string> roles_;
};

const std::vector<std::vector<std::string>> kVerbs{{"get"},
                                                   {"get", "events"},
                                                   {"get", "leases"},
                                                   {"describe", "articles"},
                                                   {"status"},
                                                   {"wait", "articles", "--timeout", "1s"},
                                                   {"plan"},
                                                   {"plan", "articles"},
                                                   {"validate", "articles"},
                                                   {"explain", "articles", "1"},
                                                   {"search", "articles", "body"},
                                                   {"suspend", "articles"},
                                                   {"resume", "articles"},
                                                   {"reconcile", "articles"},
                                                   {"approve", "articles", "x"},
                                                   {"dead-letters", "list", "articles"},
                                                   {"dead-letters", "retry", "articles"},
                                                   {"capture", "sql", "articles"},
                                                   {"factory", "sync"},
                                                   {"delete", "pipeline/articles"},
                                                   {"run", "--once"}};

std::string words(const std::vector<std::string>& verb) {
    std::string out;
    for (const std::string& word : verb) out += word + ' ';
    return out;
}

TEST_F(CliRefused, AStrangerIsToldWhichRoleToAskFor) {
    declare_articles(1);
    const std::string role = become("");
    for (const std::vector<std::string>& verb : kVerbs)
        EXPECT_THAT(refused(verb), AllOf(HasSubstr("role \"" + role + "\""), HasSubstr("GRANT homeostat_"))) << words(verb);
    EXPECT_THAT(refused({"get"}),
                AllOf(HasSubstr("permission denied for schema homeostat; "), HasSubstr("GRANT homeostat_declarer TO " + role)));
    EXPECT_THAT(refused({"run", "--once"}), HasSubstr("GRANT homeostat_controller TO " + role));
    EXPECT_THAT(refused({"migrate", "status"}), HasSubstr("is for the owner of the schemas, postgres; role \"" + role));
    EXPECT_THAT(refused({"migrate", "up"}), HasSubstr("as the owner of the database"));
}

// As after a restore that left privileges out.
TEST_F(CliRefused, AMemberOfAGroupThatHasNoRightsIsToldWhatGivesThemBack) {
    declare_articles(1);
    const std::string role = become("homeostat_controller");
    db.exec("REVOKE ALL ON SCHEMA homeostat FROM homeostat_controller, homeostat_declarer, homeostat_admin");
    for (const std::vector<std::string>& verb : {std::vector<std::string>{"get"}, {"plan", "articles"}, {"run", "--once"}})
        EXPECT_THAT(refused(verb), AllOf(HasSubstr("role \"" + role + "\" is a member"),
                                         HasSubstr("homeostat migrate roles, by postgres, gives them back")))
            << words(verb);
}

TEST_F(CliRefused, ADeclarerIsToldWhatItsVerbReads) {
    declare_articles(3);
    heal();
    const std::string role = become("homeostat_declarer");
    db.exec("GRANT SELECT ON articles TO \"" + role + "\"");
    for (const std::vector<std::string>& verb :
         {std::vector<std::string>{"plan"}, {"plan", "articles"}, {"explain", "articles", "1"}})
        EXPECT_THAT(refused(verb), AllOf(HasSubstr("members of homeostat_controller may and role \"" + role + "\" may not"),
                                         HasSubstr("GRANT homeostat_controller TO " + role)))
            << words(verb);
    EXPECT_THAT(refused({"search", "articles", "body"}), HasSubstr("GRANT SELECT ON public.articles_embeddings TO " + role));
    for (const std::vector<std::string>& verb :
         {std::vector<std::string>{"get"}, {"get", "events"}, {"get", "leases"}, {"factory", "advice"}})
        EXPECT_EQ(run(verb).code, 0) << words(verb);
    const Answer doctor = run({"doctor"});
    EXPECT_THAT(doctor.out, AllOf(HasSubstr("rights of homeostat_controller, such as "), Not(HasSubstr("lacks DELETE on"))));
    db.exec("GRANT SELECT ON articles_embeddings TO \"" + role + "\"");
    EXPECT_THAT(ends(0, {"search", "articles", "body"}), HasSubstr("body of article"));
}

TEST_F(CliRefused, ASchemaThatIsGoneOldOrNewIsSaidToBe) {
    declare_articles(1);
    become("homeostat_controller");
    db.exec(
        "UPDATE homeostat.migration SET number = number + 1000 WHERE number = (SELECT max(number) FROM "
        "homeostat.migration);"
        "ALTER TABLE homeostat.pipeline RENAME name TO called; ALTER VIEW homeostat.pipelines RENAME TO elsewhere");
    EXPECT_THAT(refused({"get"}), AllOf(HasSubstr("newer than this program"), HasSubstr(std::to_string(newest_migration()))));
    db.exec("DELETE FROM homeostat.migration WHERE number > 20");
    EXPECT_THAT(refused({"get"}), AllOf(HasSubstr("is at 20 and this program wants"), HasSubstr("homeostat migrate up")));
    db.exec("DROP SCHEMA homeostat CASCADE");
    for (const std::vector<std::string>& verb : kVerbs) {
        const Answer answer = run(verb);
        EXPECT_EQ(answer.code, 2) << words(verb);
        EXPECT_THAT(answer.err, HasSubstr("migrate up")) << words(verb);
    }
}

TEST_F(CliRefused, WhoHoldsALockIsNamedWhileItIsWaitedForAndAfterwards) {
    declare_articles(1);
    kit::Sql migration(db.url() + "&application_name=noon");
    migration.exec("BEGIN; LOCK TABLE homeostat.pipeline IN ACCESS EXCLUSIVE MODE");
    const std::string holder =
        "a lock on homeostat.pipeline, held by PID " + migration.value("SELECT pg_backend_pid()") + " (noon, role postgres)";
    environment.emplace_back("HOMEOSTAT_DATABASE_LOCK_TIMEOUT", "2500ms");
    EXPECT_THAT(refused({"get"}), AllOf(HasSubstr("homeostat: waiting for " + holder), HasSubstr("; it waited for " + holder)));
    migration.exec("ROLLBACK");
    EXPECT_THAT(run({"get"}).err, Not(HasSubstr("waiting for")));
}

}  // namespace
}  // namespace homeostat
