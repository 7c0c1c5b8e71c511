// One connection to PostgreSQL as the rest of the store sees it: named statements, transactions, rows. libpqxx and libpq stay
// behind it.
//
// A Session and everything made from it belong to one thread at a time. Calls throw StoreFailure, which carries an Error mapped
// from the SQLSTATE; the functions of the store's families catch it at their door with guarded(), so nothing is thrown past it.
// Statement text is constant or built from quoted identifiers of the catalog only; values always travel as parameters.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "store/pg/connect_options.hpp"
#include "store/pg/params.hpp"
#include "store/pg/rows.hpp"

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

    // exec in two halves, so that another session works meanwhile. Nothing else may be asked of this transaction in between; one
    // that ends before answer() waits as well.
    void ask(const Statement& statement, const Params& params = {});
    Rows answer();

    // Sent with the next exec or commit, in its round trip; the server looks at it before that. Where it fails, that one throws,
    // and so does it with what `check` throws of the answer. A commit waits for checks before it is sent.
    void later(Statement statement, Params params, std::function<void(const Rows&)> check = {});
    // The same for an answer that is not needed before the commit is done. `use` must not throw.
    void at_commit(Statement statement, Params params, std::function<void(const Rows&)> use);

    // Error.outcome_unknown is set where the link broke while committing.
    void commit();

    // In which `reader` reads a source (store/data/source_reader.hpp says who does): this one, or one of its login, read only,
    // begun at the first call and always rolled back. Beside a read_snapshot it sees the same snapshot; else each of its
    // statements sees what is committed when it begins, so what this transaction has read before is no newer.
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
