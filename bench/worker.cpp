// The hand-written worker that homeostat is compared with: what a careful person writes in an afternoon. One loop, one connection
// to PostgreSQL, one kept-alive connection to the endpoint, batches of a hundred, vectors as text.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>

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

}  // namespace

bool run_worker(const std::string& url, const std::string& port) {
    const std::unique_ptr<PGconn, decltype(&PQfinish)> db(PQconnectdb(url.c_str()), PQfinish);
    const int fd = dial(port);
    if (PQstatus(db.get()) != CONNECTION_OK || fd < 0) return false;
    std::string last = "0";
    for (;;) {
        const Result rows = ask(db.get(), "SELECT id, body FROM public.source WHERE id > $1 ORDER BY id LIMIT 100", {last});
        const int n = PQntuples(rows.get());
        if (n == 0) break;
        nlohmann::json request{{"model", "fake"}, {"input", nlohmann::json::array()}};
        for (int i = 0; i < n; ++i) request["input"].push_back(PQgetvalue(rows.get(), i, 1));
        const nlohmann::json answer = nlohmann::json::parse(post(fd, request.dump()), nullptr, false);
        if (!answer.is_object()) return false;
        std::string sql = "INSERT INTO worker_vectors (id, body, embedding) VALUES ";
        std::vector<std::string> values;
        for (int i = 0; i < n; ++i) {
            sql += fmt::format("{}(${}, ${}, ${}::vector)", i == 0 ? "" : ", ", 3 * i + 1, 3 * i + 2, 3 * i + 3);
            values.emplace_back(PQgetvalue(rows.get(), i, 0));
            values.emplace_back(PQgetvalue(rows.get(), i, 1));
            values.push_back(answer["data"][static_cast<std::size_t>(i)]["embedding"].dump());
        }
        sql += " ON CONFLICT (id) DO UPDATE SET body = excluded.body, embedding = excluded.embedding";
        if (PQresultStatus(ask(db.get(), sql, values).get()) != PGRES_COMMAND_OK) return false;
        last = PQgetvalue(rows.get(), n - 1, 0);
    }
    ::close(fd);
    return true;
}

}  // namespace homeostat::bench
