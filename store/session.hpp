// One connection to PostgreSQL as the rest of the store sees it: named statements, transactions, rows. libpq stays behind it.
//
// A Session and everything made from it belong to one thread at a time. Calls throw StoreFailure, which carries an Error mapped
// from the SQLSTATE; the functions of the store's families catch it at their door with guarded(), so nothing is thrown past it.
// Statement text is constant or built from quoted identifiers of the catalog only; values always travel as parameters.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/error.hpp"
#include "store/connect_options.hpp"

struct pg_result;

namespace homeostat {

class StoreFailure : public std::exception {
public:
    explicit StoreFailure(Error e) : error(std::move(e)) {}
    const char* what() const noexcept override { return error.message.c_str(); }
    Error error;
};

// Runs `f` and turns what it throws into an Error. `f` may return a value, a Result or nothing.
template <class F>
auto guarded(F&& f) {
    using R = std::invoke_result_t<F>;
    constexpr bool is_result = requires(R r) {
        r.ok();
        r.error();
    };
    using Out = std::conditional_t<is_result, R, Result<R>>;
    try {
        if constexpr (std::is_void_v<R>) {
            f();
            return Out{};
        } else {
            return Out{f()};
        }
    } catch (StoreFailure& failure) {
        return Out{std::move(failure.error)};
    } catch (const std::exception& e) {
        return Out{internal_error(e.what())};
    }
}

// Values for $1, $2, ... Text unless made by bytes(), whose type the server infers from the statement's cast.
class Params {
public:
    Params() = default;
    template <class... T>
    static Params of(T&&... values) {
        Params p;
        (p.add(std::forward<T>(values)), ...);
        return p;
    }

    Params& add(std::nullptr_t) { return values_.emplace_back(std::monostate{}), *this; }
    Params& add(std::string_view text) { return values_.emplace_back(std::string(text)), *this; }
    Params& add(const char* text) { return add(std::string_view(text)); }
    Params& add(const std::string& text) { return add(std::string_view(text)); }
    Params& add(bool b) { return add(std::string_view(b ? "t" : "f")); }
    template <class I>
        requires std::is_integral_v<I>
    Params& add(I i) {
        return values_.emplace_back(std::to_string(i)), *this;
    }
    Params& add(double d);
    template <class T>
    Params& add(const std::optional<T>& v) {
        return v ? add(*v) : add(nullptr);
    }
    // PostgreSQL's binary format of the parameter's type (see store/arrays.hpp).
    Params& bytes(std::vector<std::byte> data) { return values_.emplace_back(std::move(data)), *this; }

    using Value = std::variant<std::monostate, std::string, std::vector<std::byte>>;
    const std::vector<Value>& values() const noexcept { return values_; }

private:
    std::vector<Value> values_;
};

// The rows of an answer; cheap to copy, keeps the answer alive. Views point into it.
class Rows {
public:
    Rows() = default;
    explicit Rows(std::shared_ptr<const pg_result> result) : result_(std::move(result)) {}
    int size() const noexcept;
    bool empty() const noexcept { return size() == 0; }
    std::int64_t affected() const;

    bool null(int row, int column) const;
    std::string_view view(int row, int column) const;  // "" for NULL
    std::string text(int row, int column) const { return std::string(view(row, column)); }
    std::optional<std::string> maybe(int row, int column) const;
    std::int64_t i64(int row, int column) const;
    std::optional<std::int64_t> maybe_i64(int row, int column) const;
    double f64(int row, int column) const;
    bool boolean(int row, int column) const { return view(row, column) == "t"; }

private:
    std::shared_ptr<const pg_result> result_;
};

// A statement and the name it is prepared under; the same name with other text is prepared anew. Without a name it never is.
struct Statement {
    std::string name;
    std::string sql;
};

// none: each statement by itself. read_snapshot: REPEATABLE READ, READ ONLY.
enum class TxMode : std::uint8_t { write, none, read_only, read_snapshot };

class Session;

// Rolls back when destroyed without commit. One at a time per session. It begins with its first statement, in the same round
// trip.
class Transaction {
public:
    ~Transaction();
    Transaction(Transaction&&) noexcept;
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;

    Rows exec(const Statement& statement, const Params& params = {});
    Rows exec(std::string_view sql);  // DDL and other rare text; several statements may be joined by ;

    // Sent with the next exec or commit, in its round trip; the server looks at it before that. Where it fails, that one throws,
    // and so does it with what `check` throws of the answer. A commit waits for checks before it is sent.
    void later(Statement statement, Params params, std::function<void(const Rows&)> check = {});
    // The same for an answer that is not needed before the commit is done. `use` must not throw.
    void at_commit(Statement statement, Params params, std::function<void(const Rows&)> use);

    // Error.outcome_unknown is set where the link broke while committing.
    void commit();

    // In which `reader` reads a source (store/source_reader.hpp says who does): this one, or one of its login, read only, begun
    // at the first call and always rolled back. Beside a read_snapshot it sees the same snapshot; else each of its statements
    // sees what is committed when it begins, so what this transaction has read before is no newer.
    Transaction& source(SourceReader reader);
    // For the reader: done before each statement, as what a source runs may have changed it.
    void before_each(std::string sql);
    const ConnectOptions& options() const noexcept;

private:
    friend class Session;
    struct Impl;
    explicit Transaction(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

class Session {
public:
    static Result<std::unique_ptr<Session>> connect(const ConnectOptions& options);
    ~Session();

    Transaction begin(TxMode mode = TxMode::write);
    Rows exec(const Statement& statement, const Params& params = {});  // a transaction of its own
    Rows exec(std::string_view sql);  // outside any transaction (CREATE INDEX CONCURRENTLY)
    bool usable() const noexcept;
    bool alive() noexcept;  // the same, as far as has been heard; costs no statement
    const ServerSession& server() const noexcept;
    // From now on the plans of prepared statements are kept rather than made anew for each set of values: right for statements
    // by key over few rows, where planning takes longer than all else. Costs a statement where it changes.
    void keep_plans(bool keep);

    // Waits for a notification; false when `timeout_ms` passed. Channel names are ours and constant.
    void listen(std::string_view channel, std::function<void(std::string_view payload)> on_notify);
    bool await_notification(std::uint32_t timeout_ms);

    std::string quote_name(std::string_view identifier) const;

private:
    friend class Transaction;
    struct Impl;
    explicit Session(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace homeostat
