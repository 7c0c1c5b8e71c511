#include <pqxx/pqxx>
#include <stdexcept>
#include <utility>

#include "tests/kit/cluster.hpp"

namespace homeostat::kit {

namespace {

std::runtime_error failed(const pqxx::failure& failure, const std::string& sql) {
    std::string why = failure.what();
    if (!why.ends_with('\n')) why += '\n';
    return std::runtime_error(why + "in: " + sql);
}

std::vector<Row> rows_of(const pqxx::result& result) {
    std::vector<Row> rows;
    for (const auto& answered : result) {
        Row& row = rows.emplace_back();
        for (const auto& field : answered) row.push_back(field.as<std::optional<std::string>>());
    }
    return rows;
}

}  // namespace

struct Sql::Connection {
    explicit Connection(const std::string& url) : pg(url) {}
    pqxx::connection pg;
};

Sql::Sql(const std::string& url) {
    try {
        connection_ = std::make_unique<Connection>(url);
    } catch (const pqxx::failure& failure) {
        throw std::runtime_error("cannot connect to " + url + ": " + failure.what());
    }
}

Sql::~Sql() = default;
Sql::Sql(Sql&&) noexcept = default;
Sql& Sql::operator=(Sql&&) noexcept = default;

std::vector<Row> Sql::query(const std::string& sql) {
    try {
        pqxx::nontransaction plain(connection_->pg);
        return rows_of(plain.exec(sql));
    } catch (const pqxx::failure& failure) {
        throw failed(failure, sql);
    }
}

std::vector<Row> Sql::query(const std::string& sql, const std::vector<std::string>& values) {
    try {
        pqxx::params params;
        for (const std::string& value : values) params.append(value);
        pqxx::nontransaction plain(connection_->pg);
        return rows_of(plain.exec(sql, params));
    } catch (const pqxx::failure& failure) {
        throw failed(failure, sql);
    }
}

std::string Sql::value(const std::string& sql) {
    const auto rows = query(sql);
    if (rows.size() != 1 || rows[0].size() != 1) {
        throw std::runtime_error("expected one value, got " + std::to_string(rows.size()) + " rows from: " + sql);
    }
    return rows[0][0].value_or("");
}

}  // namespace homeostat::kit
