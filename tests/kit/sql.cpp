#include <libpq-fe.h>

#include <stdexcept>
#include <utility>

#include "tests/kit/cluster.hpp"

namespace homeostat::kit {

namespace {

struct ResultDeleter {
    void operator()(PGresult* r) const noexcept { PQclear(r); }
};
using ResultPtr = std::unique_ptr<PGresult, ResultDeleter>;

void ignore_notice(void*, const PGresult*) {}

}  // namespace

struct Sql::Connection {
    explicit Connection(PGconn* c) : pg(c) {}
    ~Connection() { PQfinish(pg); }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    PGconn* pg;
};

Sql::Sql(const std::string& url) : connection_(std::make_unique<Connection>(PQconnectdb(url.c_str()))) {
    if (PQstatus(connection_->pg) != CONNECTION_OK) {
        throw std::runtime_error("cannot connect to " + url + ": " + PQerrorMessage(connection_->pg));
    }
    PQsetNoticeReceiver(connection_->pg, ignore_notice, nullptr);
}

Sql::~Sql() = default;
Sql::Sql(Sql&&) noexcept = default;
Sql& Sql::operator=(Sql&&) noexcept = default;

std::vector<Row> Sql::query(const std::string& sql) {
    const ResultPtr result(PQexec(connection_->pg, sql.c_str()));
    const ExecStatusType status = PQresultStatus(result.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        throw std::runtime_error(std::string(PQerrorMessage(connection_->pg)) + "in: " + sql);
    }
    std::vector<Row> rows;
    for (int r = 0; r < PQntuples(result.get()); ++r) {
        Row& row = rows.emplace_back();
        for (int c = 0; c < PQnfields(result.get()); ++c) {
            row.push_back(PQgetisnull(result.get(), r, c) != 0 ? std::nullopt
                                                               : std::optional<std::string>(PQgetvalue(result.get(), r, c)));
        }
    }
    return rows;
}

std::string Sql::value(const std::string& sql) {
    const auto rows = query(sql);
    if (rows.size() != 1 || rows[0].size() != 1) {
        throw std::runtime_error("expected one value, got " + std::to_string(rows.size()) + " rows from: " + sql);
    }
    return rows[0][0].value_or("");
}

}  // namespace homeostat::kit
