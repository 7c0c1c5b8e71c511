#include "store/pg/query_summary.hpp"

#include <gtest/gtest.h>

namespace homeostat {
namespace {

TEST(QuerySummary, SaysOperationsAndTablesInTheirOrder) {
    EXPECT_EQ(query_summary("SELECT a, b FROM homeostat.run WHERE uid = $1::bigint"), "SELECT homeostat.run");
    EXPECT_EQ(query_summary("INSERT INTO homeostat.event (uid, type) VALUES ($1::bigint, $2)"), "INSERT homeostat.event");
    EXPECT_EQ(query_summary("UPDATE homeostat.run SET phase = 'sweeping' WHERE id = $1"), "UPDATE homeostat.run");
    EXPECT_EQ(query_summary("DELETE FROM homeostat.batch b USING homeostat.pipeline p WHERE b.uid = p.uid"),
              "DELETE homeostat.batch homeostat.pipeline");
    EXPECT_EQ(query_summary(
                  R"(SELECT d.x FROM public."my ""docs""" d JOIN LATERAL (SELECT FROM homeostat_data.p1_r2_chunk) c ON true)"),
              R"(SELECT public."my ""docs""" homeostat_data.p1_r2_chunk)");
    EXPECT_EQ(query_summary(
                  "WITH gone AS (DELETE FROM homeostat.run RETURNING *) INSERT INTO homeostat.run_history SELECT * FROM gone"),
              "DELETE homeostat.run INSERT homeostat.run_history SELECT");
    EXPECT_EQ(query_summary("INSERT INTO homeostat.x AS c (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1"),
              "INSERT homeostat.x");
}

TEST(QuerySummary, LeavesOutValuesCommentsFunctionsAndWhatTheStatementMakes) {
    EXPECT_EQ(query_summary("SELECT 'from secret.text', 'it''s from more.text' FROM unnest($1::text[]) AS w(k)"), "SELECT");
    EXPECT_EQ(query_summary("SELECT 1 -- from a.b\n FROM homeostat.lease FOR UPDATE SKIP LOCKED"), "SELECT homeostat.lease");
    EXPECT_EQ(query_summary("SELECT FROM pg_catalog.generate_series(1, 2)"), "SELECT");
    EXPECT_EQ(query_summary("SELECT a.x IS DISTINCT FROM b.y FROM homeostat.a a, ONLY b"), "SELECT homeostat.a");
    EXPECT_EQ(query_summary("SELECT x FROM ONLY homeostat.batch"), "SELECT homeostat.batch");
}

TEST(QuerySummary, WhatIsNoQueryIsItsFirstWord) {
    EXPECT_EQ(query_summary("BEGIN ISOLATION LEVEL REPEATABLE READ"), "BEGIN");
    EXPECT_EQ(query_summary("  commit"), "COMMIT");
    EXPECT_EQ(query_summary("CREATE INDEX CONCURRENTLY i ON homeostat_data.p1_r1_chunk (x)"), "CREATE");
    EXPECT_EQ(query_summary(""), "");
    EXPECT_EQ(query_summary("'open"), "");
    EXPECT_EQ(query_summary("\"open"), "");
}

TEST(QuerySummary, IsBounded) {
    std::string sql = "SELECT 1 FROM homeostat.t";
    for (int i = 0; i < 100; ++i) sql += " JOIN homeostat.table_with_a_name_" + std::to_string(i) + " ON true";
    const std::string summary = query_summary(sql);
    EXPECT_LE(summary.size(), kMostSummary);
    EXPECT_EQ(summary.substr(0, 18), "SELECT homeostat.t");
}

}  // namespace
}  // namespace homeostat
