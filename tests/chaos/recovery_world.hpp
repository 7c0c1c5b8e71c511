// Replicas of the real program that die, stop or lose their database, over one source of documents.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>

#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/invariants.hpp"
#include "tests/kit/tcp_gate.hpp"

namespace homeostat {

using namespace std::chrono_literals;

inline constexpr const char* kWanted = "SELECT id::text, body FROM docs";

// Answer of the program's own server; "" where there is none.
inline std::string http_get(int port, const std::string& path) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{.tv_sec = 5, .tv_usec = 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    std::string answer;
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 &&
        ::send(fd, request.data(), request.size(), MSG_NOSIGNAL) > 0) {
        std::array<char, 4096> buffer{};
        for (ssize_t n = 0; (n = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0;)
            answer.append(buffer.data(), static_cast<std::size_t>(n));
    }
    ::close(fd);
    return answer;
}

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

    bool eventually_is(const std::string& sql, const std::string& value, std::chrono::seconds patience = 60s) {
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
    bool has_stored(int documents, std::chrono::seconds patience = 60s) {
        return kit::eventually(
            [&] { return ask("SELECT to_regclass('docs_embeddings') IS NOT NULL") == "t" && stored() >= documents; }, patience);
    }
    // Every text is stored as the source has it, and nothing else.
    bool follows(std::chrono::seconds patience = 60s) {
        return eventually_is(
            "SELECT count(*) FROM ((SELECT id::text, body FROM docs EXCEPT SELECT id::text, chunk_text FROM docs_embeddings)"
            " UNION ALL (SELECT id::text, chunk_text FROM docs_embeddings EXCEPT SELECT id::text, body FROM docs)) d",
            "0", patience);
    }
    bool converged(std::chrono::seconds patience = 90s) {
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
        EXPECT_EQ(run.wait(60s).value_or(kit::Exit{}).code, 0) << run.output();
    }
    static void kill(kit::Process& run) {
        run.signal(SIGKILL);
        run.wait(10s);
    }
    void expect_whole() {
        EXPECT_THAT(kit::broken_invariants(db, "docs", kWanted), ::testing::IsEmpty());
        EXPECT_EQ(db.value("SELECT count(*) FROM homeostat.dead_letter"), "0");
    }

    kit::FakeEndpoint endpoint{{.dimensions = 16, .delay = 30ms}};
    kit::Database db;
};

// Leases and claims that outlive any test: what is taken over is taken over for another reason.
inline const kit::Environment kForever{{"HOMEOSTAT_LEASE_TTL", "10m"},
                                       {"HOMEOSTAT_LEASE_RENEW", "1m"},
                                       {"HOMEOSTAT_CLAIM_TTL", "1h"},
                                       {"HOMEOSTAT_CLAIM_HEARTBEAT", "5m"}};

}  // namespace homeostat
