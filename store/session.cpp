#include "store/session.hpp"

#include <fmt/format.h>

#include <charconv>
#include <pqxx/pqxx>

#include "store/pg_error.hpp"
#include "store/statement_cache.hpp"

namespace homeostat {

namespace {

// Runs a call into libpqxx and throws what it throws as a StoreFailure: the only place where its exceptions are seen.
template <class F>
auto translated(F&& f, bool committing = false) {
    try {
        return f();
    } catch (const pqxx::in_doubt_error& e) {
        throw StoreFailure(from_broken_link(e.what(), true));
    } catch (const pqxx::too_many_connections& e) {
        throw StoreFailure(from_sqlstate("53300", e.what()));
    } catch (const pqxx::insufficient_privilege& e) {
        throw StoreFailure(from_sqlstate("42501", e.what()));  // libpqxx 7.10 leaves the SQLSTATE of this one out
    } catch (const pqxx::broken_connection& e) {
        throw StoreFailure(from_broken_link(e.what(), committing));
    } catch (const pqxx::sql_error& e) {
        // A statement cut off by a dying server carries no SQLSTATE.
        if (e.sqlstate().empty()) throw StoreFailure(from_broken_link(e.what(), committing));
        throw StoreFailure(from_sqlstate(e.sqlstate(), e.what()));
    } catch (const pqxx::failure& e) {
        throw StoreFailure(from_broken_link(e.what(), committing));
    }
}

std::string with_setting(std::string url, std::string_view key, std::string_view value) {
    if (url.find(fmt::format("{}=", key)) != std::string::npos) return url;
    const bool uri = url.starts_with("postgres://") || url.starts_with("postgresql://");
    if (!uri) return fmt::format("{}{}{}={}", url, url.empty() ? "" : " ", key, value);
    return fmt::format("{}{}{}={}", url, url.find('?') == std::string::npos ? "?" : "&", key, value);
}

// A dead peer must be noticed by us, not by a person: keepalives, and a bound on unacknowledged data.
std::string full_url(const ConnectOptions& o) {
    std::string url = o.url;
    url = with_setting(std::move(url), "connect_timeout", std::to_string(o.connect_timeout_s));
    url = with_setting(std::move(url), "keepalives_idle", "10");
    url = with_setting(std::move(url), "keepalives_interval", "5");
    url = with_setting(std::move(url), "keepalives_count", "3");
    url = with_setting(std::move(url), "tcp_user_timeout", "20000");
    url = with_setting(std::move(url), "target_session_attrs", "read-write");
    return with_setting(std::move(url), "application_name", o.application_name);
}

pqxx::params to_pqxx(const Params& params) {
    pqxx::params out;
    out.reserve(params.values().size());
    for (const Params::Value& value : params.values()) {
        if (const auto* text = std::get_if<std::string>(&value)) {
            out.append(pqxx::zview(text->c_str(), text->size()));
        } else if (const auto* binary = std::get_if<std::vector<std::byte>>(&value)) {
            out.append(pqxx::bytes_view(binary->data(), binary->size()));
        } else {
            out.append();
        }
    }
    return out;
}

}  // namespace

Params& Params::add(double d) { return values_.emplace_back(fmt::format("{}", d)), *this; }

int Rows::size() const noexcept { return result_ ? static_cast<int>(result_->size()) : 0; }
std::int64_t Rows::affected() const { return result_ ? static_cast<std::int64_t>(result_->affected_rows()) : 0; }
bool Rows::null(int row, int column) const { return (*result_)[row][column].is_null(); }

std::string_view Rows::view(int row, int column) const {
    const auto field = (*result_)[row][column];
    return {field.c_str(), field.size()};
}

std::optional<std::string> Rows::maybe(int row, int column) const {
    if (null(row, column)) return std::nullopt;
    return text(row, column);
}

std::int64_t Rows::i64(int row, int column) const {
    const std::string_view v = view(row, column);
    std::int64_t out = 0;
    const auto [end, problem] = std::from_chars(v.data(), v.data() + v.size(), out);
    if (problem != std::errc{} || end != v.data() + v.size()) {
        throw StoreFailure(internal_error(fmt::format("the database answered \"{}\" where a whole number was expected", v)));
    }
    return out;
}

std::optional<std::int64_t> Rows::maybe_i64(int row, int column) const {
    if (null(row, column)) return std::nullopt;
    return i64(row, column);
}

double Rows::f64(int row, int column) const {
    return translated([&] { return (*result_)[row][column].as<double>(); });
}

struct Session::Impl {
    explicit Impl(const ConnectOptions& o) : options(o), connection(full_url(o)) {}

    pqxx::result run(pqxx::transaction_base& tx, const Statement& statement, const Params& params) {
        if (!options.prepare) return tx.exec(statement.sql, to_pqxx(params));
        const StatementCache::Advice advice = statements.use(statement.name, statement.sql);
        for (const std::string& name : advice.forget) connection.unprepare(name);
        if (advice.use == StatementCache::Use::as_text) return tx.exec(statement.sql, to_pqxx(params));
        if (advice.use == StatementCache::Use::prepare) prepare(statement);
        try {
            return tx.exec(pqxx::prepped{statement.name}, to_pqxx(params));
        } catch (const pqxx::sql_error& e) {
            // "cached plan must not change result type": a table was altered since. The text is forgotten, so that the next use
            // begins anew; what is not supported at all fails then as what it is.
            if (advice.use == StatementCache::Use::prepare || e.sqlstate() != "0A000") throw;
            statements.outdate(statement.name);
            Error error = from_sqlstate(e.sqlstate(), e.what());
            error.cls = ErrorClass::db_transient;
            throw StoreFailure(std::move(error));
        }
    }

    void prepare(const Statement& statement) {
        try {
            connection.prepare(statement.name, statement.sql);
        } catch (...) {
            statements.drop(statement.name);
            throw;
        }
    }

    ConnectOptions options;
    pqxx::connection connection;
    bool keeps_plans = false;
    StatementCache statements;
};

struct Transaction::Impl {
    Session::Impl* session;
    std::unique_ptr<pqxx::transaction_base> tx;
};

Transaction::Transaction(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Transaction::Transaction(Transaction&&) noexcept = default;
Transaction::~Transaction() = default;

Rows Transaction::exec(const Statement& statement, const Params& params) {
    return translated(
        [&] { return Rows(std::make_shared<const pqxx::result>(impl_->session->run(*impl_->tx, statement, params))); });
}

Rows Transaction::exec(std::string_view sql) {
    return translated([&] { return Rows(std::make_shared<const pqxx::result>(impl_->tx->exec(sql))); });
}

void Transaction::commit() {
    translated([&] { impl_->tx->commit(); }, true);
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::connect(const ConnectOptions& options) {
    return guarded([&] {
        return translated([&] {
            auto impl = std::make_unique<Impl>(options);
            pqxx::nontransaction tx(impl->connection);
            // A fixed search path: nothing in a user's schema can stand in for a function or operator of ours. No compiling of
            // plans: a statement over many keys looks dear to the planner, and compiling it took a second where running it took
            // five milliseconds.
            tx.exec(
                "SELECT set_config('search_path', 'pg_catalog', false), set_config('statement_timeout', $1, false), "
                "set_config('lock_timeout', $2, false), set_config('idle_in_transaction_session_timeout', '15s', false), "
                "set_config('DateStyle', 'ISO', false), set_config('IntervalStyle', 'postgres', false), "
                "set_config('bytea_output', 'hex', false), set_config('extra_float_digits', '1', false), "
                "set_config('jit', 'off', false)",
                pqxx::params{std::to_string(options.statement_timeout_ms), std::to_string(options.lock_timeout_ms)});
            tx.commit();
            return std::unique_ptr<Session>(new Session(std::move(impl)));
        });
    });
}

Transaction Session::begin(TxMode mode) {
    return translated([&] {
        auto impl = std::make_unique<Transaction::Impl>();
        impl->session = impl_.get();
        switch (mode) {
            case TxMode::write: impl->tx = std::make_unique<pqxx::work>(impl_->connection); break;
            case TxMode::none: impl->tx = std::make_unique<pqxx::nontransaction>(impl_->connection); break;
            case TxMode::read_only: impl->tx = std::make_unique<pqxx::read_transaction>(impl_->connection); break;
            case TxMode::read_snapshot:
                impl->tx =
                    std::make_unique<pqxx::transaction<pqxx::isolation_level::repeatable_read, pqxx::write_policy::read_only>>(
                        impl_->connection);
                break;
        }
        return Transaction(std::move(impl));
    });
}

Rows Session::exec(const Statement& statement, const Params& params) {
    return translated([&] {
        pqxx::nontransaction tx(impl_->connection);
        return Rows(std::make_shared<const pqxx::result>(impl_->run(tx, statement, params)));
    });
}

Rows Session::exec(std::string_view sql) {
    return translated([&] {
        pqxx::nontransaction tx(impl_->connection);
        return Rows(std::make_shared<const pqxx::result>(tx.exec(sql)));
    });
}

void Session::keep_plans(bool keep) {
    if (keep == impl_->keeps_plans || !impl_->options.prepare) return;
    exec(keep ? "SET plan_cache_mode = force_generic_plan" : "SET plan_cache_mode = auto");
    impl_->keeps_plans = keep;
}

bool Session::usable() const noexcept { return impl_->connection.is_open(); }

void Session::listen(std::string_view channel, std::function<void(std::string_view)> on_notify) {
    translated([&] {
        impl_->connection.listen(channel,
                                 [f = std::move(on_notify)](const pqxx::notification& n) { f(std::string_view(n.payload)); });
    });
}

bool Session::await_notification(std::uint32_t timeout_ms) {
    return translated(
        [&] { return impl_->connection.await_notification(timeout_ms / 1000, static_cast<long>(timeout_ms % 1000) * 1000) > 0; });
}

std::string Session::quote_name(std::string_view identifier) const { return impl_->connection.quote_name(identifier); }

}  // namespace homeostat
