// The hand-written worker that homeostat is compared with: what a careful person writes in an afternoon. One loop, one connection
// to PostgreSQL, one kept-alive connection to the endpoint, batches of a hundred, vectors as text.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/measure.hpp"

namespace homeostat::bench {

namespace {

using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

Result ask(PGconn* db, const std::string& sql, const std::vector<std::string>& values) {
    std::vector<const char*> pointers;
    for (const std::string& v : values) pointers.push_back(v.c_str());
    return {PQexecParams(db, sql.c_str(), static_cast<int>(values.size()), nullptr, pointers.data(), nullptr, nullptr, 0),
            PQclear};
}

int dial(const std::string& port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(port)));
    ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return -1;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

std::string post(int fd, const std::string& body) {
    const std::string request = fmt::format(
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
        body.size(), body);
    for (std::size_t sent = 0; sent < request.size();) {
        const ssize_t n = ::send(fd, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
        if (n <= 0) return {};
        sent += static_cast<std::size_t>(n);
    }
    std::string answer;
    std::vector<char> buffer(1 << 16);
    std::size_t whole = std::string::npos;
    while (answer.size() < whole) {
        const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
        if (n <= 0) return {};
        answer.append(buffer.data(), static_cast<std::size_t>(n));
        const std::size_t end = answer.find("\r\n\r\n");
        if (whole != std::string::npos || end == std::string::npos) continue;
        const std::size_t length = answer.find("Content-Length: ");
        whole = end + 4 + std::stoul(answer.substr(length + 16));
    }
    return answer.substr(answer.find("\r\n\r\n") + 4);
}

std::string hash_of(const char* body) { return fmt::format("{:x}", std::hash<std::string_view>{}(body)); }

// Embeds these rows (id, body, …) of an answer with one request, and stores them with one statement.
bool embed_rows(PGconn* db, int fd, const PGresult* rows, const std::vector<int>& which) {
    nlohmann::json request{{"model", "fake"}, {"input", nlohmann::json::array()}};
    for (const int i : which) request["input"].push_back(PQgetvalue(rows, i, 1));
    const nlohmann::json answer = nlohmann::json::parse(post(fd, request.dump()), nullptr, false);
    if (!answer.is_object()) return false;
    std::string sql = "INSERT INTO worker_vectors (id, body, hash, embedding) VALUES ";
    std::vector<std::string> values;
    for (std::size_t n = 0; n < which.size(); ++n) {
        sql += fmt::format("{}(${}, ${}, ${}, ${}::vector)", n == 0 ? "" : ", ", 4 * n + 1, 4 * n + 2, 4 * n + 3, 4 * n + 4);
        values.emplace_back(PQgetvalue(rows, which[n], 0));
        values.emplace_back(PQgetvalue(rows, which[n], 1));
        values.push_back(hash_of(PQgetvalue(rows, which[n], 1)));
        values.push_back(answer["data"][n]["embedding"].dump());
    }
    sql += " ON CONFLICT (id) DO UPDATE SET body = excluded.body, hash = excluded.hash, embedding = excluded.embedding";
    return PQresultStatus(ask(db, sql, values).get()) == PGRES_COMMAND_OK;
}

}  // namespace

namespace {

// Every `of`-th hundred of ids.
bool work(const std::string& url, const std::string& port, int part, int of) {
    const std::unique_ptr<PGconn, decltype(&PQfinish)> db(PQconnectdb(url.c_str()), PQfinish);
    const int fd = dial(port);
    if (PQstatus(db.get()) != CONNECTION_OK || fd < 0) return false;
    std::string last = "0";
    for (;;) {
        const Result rows =
            ask(db.get(), "SELECT id, body FROM public.source WHERE id > $1 AND id / 100 % $2 = $3 ORDER BY id LIMIT 100",
                {last, std::to_string(of), std::to_string(part)});
        const int n = PQntuples(rows.get());
        if (n == 0) break;
        std::vector<int> all(static_cast<std::size_t>(n));
        std::iota(all.begin(), all.end(), 0);
        if (!embed_rows(db.get(), fd, rows.get(), all)) return false;
        last = PQgetvalue(rows.get(), n - 1, 0);
    }
    ::close(fd);
    return true;
}

}  // namespace

bool run_worker(const std::string& url, const std::string& port, int loops) {
    std::vector<std::jthread> threads;
    std::atomic<int> done{0};
    for (int i = 0; i < loops; ++i) threads.emplace_back([&, i] { done += work(url, port, i, loops) ? 1 : 0; });
    threads.clear();
    return done == loops;
}

bool run_worker_again(const std::string& url, const std::string& port) {
    const std::unique_ptr<PGconn, decltype(&PQfinish)> db(PQconnectdb(url.c_str()), PQfinish);
    const int fd = dial(port);
    if (PQstatus(db.get()) != CONNECTION_OK || fd < 0) return false;
    std::string last = "0";
    for (;;) {
        const Result rows = ask(db.get(),
                                "SELECT s.id, s.body, v.hash FROM public.source s LEFT JOIN worker_vectors v ON v.id = s.id"
                                " WHERE s.id > $1 ORDER BY s.id LIMIT 1000",
                                {last});
        const int n = PQntuples(rows.get());
        if (n == 0) break;
        std::vector<int> differing;
        for (int i = 0; i < n; ++i) {
            if (hash_of(PQgetvalue(rows.get(), i, 1)) != PQgetvalue(rows.get(), i, 2)) differing.push_back(i);
        }
        if (!differing.empty() && !embed_rows(db.get(), fd, rows.get(), differing)) return false;
        last = PQgetvalue(rows.get(), n - 1, 0);
    }
    ::close(fd);
    return true;
}

}  // namespace homeostat::bench
