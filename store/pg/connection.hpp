// One connection to PostgreSQL, owned by libpqxx, on which no wait is without an end.
//
// libpqxx makes it, quotes for it and closes it. What is asked over it is sent and taken by libpq's calls that block for nobody,
// as libpqxx's own wait for as long as the other side likes. While an answer is awaited for longer than `quiet`, the
// server is asked over another connection whether it still works on the statement: where it does not, or cannot be asked, the
// connection has fallen silent and is given up. So a statement may take as long as the server lets it, and a connection that is
// acknowledged and never answered ends within seconds. Where what it runs is not trusted, the server's own deadline may be caught
// and outlived by it: then the session is ended from here. For flight.cpp and session.cpp. Belongs to one thread at a time. What
// fails is thrown as StoreFailure.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "store/pg/libpq.hpp"

namespace pqxx {
class connection;  // NOLINT(readability-identifier-naming): theirs
}

namespace homeostat {

struct ConnectionOptions {
    std::string url;
    std::chrono::milliseconds connect_timeout{10'000};  // of each host
    std::chrono::milliseconds quiet{4'000};
    std::chrono::milliseconds statement_timeout{0};  // the server's own; 0 = none
    bool may_outlive = false;  // what it runs may catch the end of its time, so that it has to be ended from outside
    std::stop_token abandon;  // requested: every wait ends at once
};

class Connection {
public:
    // Tries the hosts of the url in turn.
    explicit Connection(ConnectionOptions options);
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    // For the calls of store/pg/libpq.hpp. libpqxx's connection has it still, and closes it.
    pg_conn* borrow() const noexcept { return borrowed_; }
    bool usable() const noexcept;
    // The next answer; null where there is none, as PQgetResult has it. `commits`: a COMMIT was sent, whose outcome is unknown
    // where the connection is given up.
    Answer next(bool commits);
    // Takes in what has arrived, without waiting; false where the other side has gone.
    bool take_in() noexcept;
    // Waits until something arrives or `timeout` has passed.
    void wait_for_input(std::chrono::milliseconds timeout) const;
    // The server calls this session by the number that the connection was given: nothing stands in between, so that it can be
    // asked about it.
    void knows_server(bool direct) noexcept {
        direct_ = direct;
        introduced_ = true;
    }
    std::string quote_name(std::string_view identifier) const;

private:
    enum class Verdict : std::uint8_t { busy, idle, unreachable, unknown };
    using Clock = std::chrono::steady_clock;

    void await_answer(bool commits);
    Verdict ask() const;
    [[noreturn]] void end_session();
    bool late(Clock::duration silence) const;
    [[noreturn]] void give_up(const std::string& why, bool commits);

    const ConnectionOptions options_;
    std::unique_ptr<pqxx::connection> connection_;
    pg_conn* borrowed_ = nullptr;
    bool direct_ = false;
    bool introduced_ = false;  // until then it is still connecting
    bool silent_ = false;
};

}  // namespace homeostat
