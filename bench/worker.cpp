// The hand-written worker that homeostat is compared with: what a careful person writes in an afternoon. One loop, one connection
// to PostgreSQL, one kept-alive connection to the endpoint, batches of a hundred, vectors as text.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "bench/measure.hpp"
#include "tests/kit/cluster.hpp"

namespace homeostat::bench {

namespace {

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

std::string hash_of(const std::string& body) { return fmt::format("{:x}", std::hash<std::string>{}(body)); }

// Embeds these rows (id, body, …) with one request, and stores them with one statement.
bool embed_rows(kit::Sql& db, int fd, const std::vector<const kit::Row*>& rows) {
    nlohmann::json request{{"model", "fake"}, {"input", nlohmann::json::array()}};
    for (const kit::Row* row : rows) request["input"].push_back(*row->at(1));
    const nlohmann::json answer = nlohmann::json::parse(post(fd, request.dump()), nullptr, false);
    if (!answer.is_object()) return false;
    std::string sql = "INSERT INTO worker_vectors (id, body, hash, embedding) VALUES ";
    std::vector<std::string> values;
    for (std::size_t n = 0; n < rows.size(); ++n) {
        sql += fmt::format("{}(${}, ${}, ${}, ${}::vector)", n == 0 ? "" : ", ", 4 * n + 1, 4 * n + 2, 4 * n + 3, 4 * n + 4);
        values.push_back(*rows[n]->at(0));
        values.push_back(*rows[n]->at(1));
        values.push_back(hash_of(*rows[n]->at(1)));
        values.push_back(answer["data"][n]["embedding"].dump());
    }
    sql += " ON CONFLICT (id) DO UPDATE SET body = excluded.body, hash = excluded.hash, embedding = excluded.embedding";
    db.query(sql, values);
    return true;
}

// Over the whole table, `sql` a page of it after $1; those of a page that `differs` says are embedded.
template <class Differs>
bool over_pages(const std::string& url, const std::string& port, const std::string& sql, Differs differs) {
    kit::Sql db(url);
    const int fd = dial(port);
    if (fd < 0) return false;
    std::string last = "0";
    for (;;) {
        const std::vector<kit::Row> rows = db.query(sql, {last});
        if (rows.empty()) break;
        std::vector<const kit::Row*> differing;
        for (const kit::Row& row : rows) {
            if (differs(row)) differing.push_back(&row);
        }
        if (!differing.empty() && !embed_rows(db, fd, differing)) return false;
        last = *rows.back().at(0);
    }
    ::close(fd);
    return true;
}

}  // namespace

bool run_worker(const std::string& url, const std::string& port, int loops) {
    std::atomic<int> done{0};
    // Each has every so-many-th hundred of ids.
    const auto work = [&](int part) {
        const std::string sql = fmt::format(
            "SELECT id, body FROM public.source WHERE id > $1 AND id / 100 % {} = {} ORDER BY id LIMIT 100", loops, part);
        if (over_pages(url, port, sql, [](const kit::Row&) { return true; })) ++done;
    };
    std::vector<std::jthread> threads;
    for (int i = 0; i < loops; ++i) threads.emplace_back(work, i);
    threads.clear();
    return done == loops;
}

bool run_worker_again(const std::string& url, const std::string& port) {
    return over_pages(url, port,
                      "SELECT s.id, s.body, v.hash FROM public.source s LEFT JOIN worker_vectors v ON v.id = s.id"
                      " WHERE s.id > $1 ORDER BY s.id LIMIT 1000",
                      [](const kit::Row& row) { return hash_of(*row.at(1)) != row.at(2).value_or(""); });
}

}  // namespace homeostat::bench
