// Replicas of the real program that die, stop or lose their database, over one source of documents.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>

#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/invariants.hpp"
#include "tests/kit/tcp_gate.hpp"

namespace homeostat {

inline constexpr const char* kWanted = "SELECT id::text, body FROM docs";

// Answer of the program's own server; "" where there is none.
std::string http_get(int port, const std::string& path);

class RecoveryWorld : public ::testing::Test {
protected:
    void make(int documents, const std::string& columns = "", const std::string& values = "", int max_batch = 16) {
        db.exec(
            fmt::format("CREATE TABLE docs (id int PRIMARY KEY, body text);"
                        "INSERT INTO docs SELECT i, 'Body of ' || i FROM generate_series(1, {}) i;"
                        "INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight, timeout)"
                        " VALUES ('fake', '{}', 'm', 16, {}, 4, '30 seconds');"
                        "INSERT INTO homeostat.pipeline (name, source, content, provider, target{})"
                        " VALUES ('docs', 'docs', 'body', 'fake', 'docs_embeddings'{})",
                        documents, endpoint.url(), max_batch, columns, values));
    }
    kit::Program program(kit::Environment more = {}, const std::string& url = "") {
        kit::Environment all{{"HOMEOSTAT_BATCH_DOCUMENTS", "16"}, {"HOMEOSTAT_BATCH_IN_FLIGHT", "4"}};
        all.insert_or_assign("HOMEOSTAT_DATABASE_ANSWER_TIMEOUT", "1s");
        for (auto& [name, value] : more) all.insert_or_assign(name, value);
        return kit::Program(url.empty() ? db.url() : url, all);
    }
    std::string url_through(const kit::TcpGate& gate) const {
        return fmt::format("postgresql://postgres@127.0.0.1:{}/{}", gate.port(), db.name());
    }
    static std::string socket_of(const kit::Cluster& cluster) { return cluster.folder() + "/.s.PGSQL.5432"; }

    bool eventually_is(const std::string& sql, const std::string& value,
                       std::chrono::seconds patience = std::chrono::seconds(60)) {
        return kit::eventually([&] { return ask(sql) == value; }, patience);
    }
    // "" while the database cannot be asked.
    std::string ask(const std::string& sql) {
        try {
            return db.value(sql);
        } catch (const std::exception&) {
            db.reconnect();
            return "";
        }
    }
    std::int64_t number(const std::string& sql) { return std::stoll(db.value(sql)); }
    std::int64_t stored() { return number("SELECT count(*) FROM docs_embeddings"); }
    bool has_stored(int documents, std::chrono::seconds patience = std::chrono::seconds(60)) {
        return kit::eventually(
            [&] { return ask("SELECT to_regclass('docs_embeddings') IS NOT NULL") == "t" && stored() >= documents; }, patience);
    }
    // Every text is stored as the source has it, and nothing else.
    bool follows(std::chrono::seconds patience = std::chrono::seconds(60)) {
        return eventually_is(
            "SELECT count(*) FROM ((SELECT id::text, body FROM docs EXCEPT SELECT id::text, chunk_text FROM docs_embeddings)"
            " UNION ALL (SELECT id::text, chunk_text FROM docs_embeddings EXCEPT SELECT id::text, body FROM docs)) d",
            "0", patience);
    }
    bool converged(std::chrono::seconds patience = std::chrono::seconds(90)) {
        return eventually_is("SELECT coalesce(max(kstatus || drift), '') FROM homeostat.pipelines", "Current0", patience);
    }
    static int port_of(kit::Process& run) {
        int port = 0;
        kit::eventually([&] {
            const std::string output = run.output();
            const std::size_t at = output.find("/metrics on port ");
            if (at == std::string::npos) return false;
            port = std::stoi(output.substr(at + 17));
            return true;
        });
        return port;
    }
    static bool is_ready(int port) { return http_get(port, "/readyz").find(" 200 ") != std::string::npos; }
    void end(kit::Process& run) {
        run.signal(SIGTERM);
        EXPECT_EQ(run.wait(std::chrono::seconds(60)).value_or(kit::Exit{}).code, 0) << run.output();
    }
    static void kill(kit::Process& run) {
        run.signal(SIGKILL);
        run.wait(std::chrono::seconds(10));
    }
    void expect_whole() {
        EXPECT_THAT(kit::broken_invariants(db, "docs", kWanted), ::testing::IsEmpty());
        EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
    }

    // Waits for it, and stops the process then.
    void end_whole(kit::Process& run) {
        kit::eventually([&] { return kit::broken_invariants(db, "docs", kWanted).empty(); });
        end(run);
        expect_whole();
    }

    kit::FakeEndpoint endpoint{{.dimensions = 16, .delay = std::chrono::milliseconds(30)}};
    kit::Database db;
};

// Leases and claims that outlive any test: what is taken over is taken over for another reason.
inline const kit::Environment kForever{{"HOMEOSTAT_LEASE_TTL", "10m"},
                                       {"HOMEOSTAT_LEASE_RENEW", "1m"},
                                       {"HOMEOSTAT_CLAIM_TTL", "1h"},
                                       {"HOMEOSTAT_CLAIM_HEARTBEAT", "5m"}};

}  // namespace homeostat
