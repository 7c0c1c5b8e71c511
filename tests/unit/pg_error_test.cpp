// A test for each row of the table of the database edge.
#include "store/pg/pg_error.hpp"

#include <gtest/gtest.h>

namespace homeostat {
namespace {

struct Row {
    const char* sqlstate;
    ErrorClass cls;
    Origin origin;
    bool retryable;
};

class SqlState : public ::testing::TestWithParam<Row> {};

TEST_P(SqlState, HasItsClassAndItsCulprit) {
    const Row& row = GetParam();
    const Error e = from_sqlstate(row.sqlstate, "ERROR:  no\nDETAIL:  because");
    EXPECT_EQ(to_string(e.cls), to_string(row.cls));
    EXPECT_EQ(to_string(e.origin), to_string(row.origin));
    EXPECT_EQ(e.retryable(), row.retryable);
    EXPECT_EQ(e.code, row.sqlstate);
    EXPECT_FALSE(e.outcome_unknown);
}

INSTANTIATE_TEST_SUITE_P(
    Table, SqlState,
    ::testing::Values(
        Row{"40001", ErrorClass::db_transient, Origin::theirs, true},
        Row{"40P01", ErrorClass::db_transient, Origin::theirs, true},
        Row{"40003", ErrorClass::db_transient, Origin::theirs, true},
        Row{"55P03", ErrorClass::db_transient, Origin::theirs, true},
        Row{"55006", ErrorClass::db_transient, Origin::theirs, true}, Row{"57014", ErrorClass::db_transient, Origin::ours, true},
        Row{"57P01", ErrorClass::db_transient, Origin::theirs, true},
        Row{"57P02", ErrorClass::db_transient, Origin::theirs, true},
        Row{"57P03", ErrorClass::db_transient, Origin::theirs, true},
        Row{"57P05", ErrorClass::db_transient, Origin::theirs, true},
        Row{"25006", ErrorClass::db_transient, Origin::theirs, true}, Row{"25P03", ErrorClass::db_transient, Origin::ours, true},
        Row{"53300", ErrorClass::db_transient, Origin::theirs, true}, Row{"53100", ErrorClass::db_resource, Origin::theirs, true},
        Row{"53200", ErrorClass::db_resource, Origin::theirs, true}, Row{"53000", ErrorClass::db_resource, Origin::theirs, true},
        Row{"08006", ErrorClass::db_transient, Origin::theirs, true},
        Row{"08P01", ErrorClass::db_transient, Origin::theirs, true}, Row{"58030", ErrorClass::db_resource, Origin::theirs, true},
        Row{"XX001", ErrorClass::db_resource, Origin::theirs, true}, Row{"28P01", ErrorClass::auth, Origin::user, false},
        Row{"3D000", ErrorClass::not_found, Origin::user, false}, Row{"42501", ErrorClass::db_permanent, Origin::user, false},
        Row{"42P01", ErrorClass::db_permanent, Origin::user, false}, Row{"42703", ErrorClass::db_permanent, Origin::user, false},
        Row{"3F000", ErrorClass::db_permanent, Origin::user, false}, Row{"22P02", ErrorClass::db_permanent, Origin::user, false},
        Row{"22012", ErrorClass::db_permanent, Origin::user, false}, Row{"2BP01", ErrorClass::db_permanent, Origin::user, false},
        Row{"0A000", ErrorClass::db_permanent, Origin::user, false}, Row{"23505", ErrorClass::invalid, Origin::user, false},
        Row{"P0001", ErrorClass::invalid, Origin::user, false}, Row{"99999", ErrorClass::internal, Origin::ours, false},
        Row{"", ErrorClass::db_transient, Origin::theirs, true}),
    [](const auto& tested) {
        return tested.param.sqlstate[0] == '\0' ? std::string("Unsaid") : std::string(tested.param.sqlstate);
    });

TEST(PgError, KeepsTheFirstLineOfWhatTheServerSaid) {
    EXPECT_EQ(from_sqlstate("42703", "ERROR:  column \"x\" does not exist\nLINE 1: SELECT x\n               ^").message,
              "column \"x\" does not exist");
    EXPECT_EQ(from_sqlstate("42703", "Failure during 'prepare': ERROR:  column \"x\" does not exist\nLINE 1").message,
              "column \"x\" does not exist");
    EXPECT_EQ(from_sqlstate("", "could not connect").message, "could not connect");
}

TEST(PgError, WhatTheServerSaidIsOneLineWithoutSecrets) {
    EXPECT_EQ(from_sqlstate("P0001", "ERROR:  \x1b[31mred\xE2\x80\xAE \xE9t\xE9").message, " [31mred  \xEF\xBF\xBDt\xEF\xBF\xBD");
    EXPECT_EQ(from_sqlstate("P0001", "ERROR:  sent password=hunter2 there").message, "sent password=*** there");
    EXPECT_EQ(from_failed_connect("FATAL:  r\xF4le \"x\" does not exist").message,
              "the database cannot be reached: r\xEF\xBF\xBDle \"x\" does not exist");
}

TEST(PgError, EachAddressThatWasTriedIsNamed) {
    EXPECT_EQ(
        from_failed_connect("connection to server at \"h\" (::1), port 1 failed: Connection refused\n\tIs the server running?\n"
                            "connection to server at \"h\" (127.0.0.1), port 1 failed: FATAL:  no such role\nHINT:  x\n")
            .message,
        "the database cannot be reached: connection to server at \"h\" (::1), port 1 failed: Connection refused; "
        "connection to server at \"h\" (127.0.0.1), port 1 failed: no such role");
}

TEST(PgError, WhatTheServerSaidIsKeptApartFromWhatAFunctionOfOursSaid) {
    EXPECT_EQ(from_sqlstate("42501", "ERROR:  permission denied for schema homeostat").said,
              "permission denied for schema homeostat");
    EXPECT_EQ(from_sqlstate("42501", "ERROR:  a sentence of ours", true).said, "");
}

TEST(PgError, AConnectionStringThatCannotBeReadIsNotRepeated) {
    for (const char* said :
         {"missing \"=\" after \"hunter2\" in connection info string", "invalid connection option \"hunter2\"",
          "forbidden value %00 in percent-encoded value: \"hunter2%00\"", "invalid port number: \"hunter2",
          "unexpected character \"h\" in position 3 in URI (expected \":\" or \"/\"): \"postgres://a:hunter2@[::1]x\""}) {
        const std::string told = from_bad_url(said).message;
        EXPECT_EQ(told.find("hunter2"), std::string::npos) << told;
        EXPECT_NE(told.find("***"), std::string::npos) << told;
    }
    EXPECT_EQ(from_bad_url("missing \"=\" after \"x\" in connection info string").message,
              "the connection string of the database cannot be read: missing \"=\" after \"***\" in connection info string");
}

TEST(PgError, ALinkThatBrokeWhileCommittingLeavesTheOutcomeUnknown) {
    EXPECT_TRUE(from_broken_link("gone", true).outcome_unknown);
    EXPECT_FALSE(from_broken_link("gone", false).outcome_unknown);
    EXPECT_TRUE(from_broken_link("gone", true).retryable());
}

}  // namespace
}  // namespace homeostat
