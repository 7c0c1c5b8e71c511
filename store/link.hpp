// One socket to PostgreSQL on which no wait is without an end.
//
// Of the store's own; only wire.cpp and this file's source know it. While an answer is awaited for longer than `quiet`, the
// server is asked over another connection whether it still works on the statement: where it does not, or cannot be asked, the
// connection has fallen silent and is given up. So a statement may take as long as the server lets it, and a connection that is
// acknowledged and never answered ends within seconds. Where what it runs is not trusted, the server's own deadline may be caught
// and outlived by it: then the session is ended from here. Not safe from several threads. What fails is thrown as StoreFailure.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

struct pg_conn;
struct pg_result;

namespace homeostat {

struct LinkOptions {
    std::string url;
    std::chrono::milliseconds connect_timeout{10'000};  // of each host
    std::chrono::milliseconds quiet{4'000};
    std::chrono::milliseconds statement_timeout{0};  // the server's own; 0 = none
    bool may_outlive = false;  // what it runs may catch the end of its time, so that it has to be ended from outside
    std::stop_token abandon;  // requested: every wait ends at once
};

class Link {
public:
    // Tries the hosts of the url in turn.
    explicit Link(LinkOptions options);
    ~Link();
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    pg_conn* get() const noexcept { return connection_.get(); }
    bool usable() const noexcept;
    // The next answer; null where there is none, as PQgetResult has it. `commits`: a COMMIT was sent, whose outcome is unknown
    // where the link is given up.
    std::shared_ptr<const pg_result> next(bool commits);
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

private:
    enum class Verdict : std::uint8_t { busy, idle, unreachable, unknown };
    using Clock = std::chrono::steady_clock;

    void await_answer(bool commits);
    Verdict ask() const;
    [[noreturn]] void end_session();
    bool late(Clock::duration silence) const;
    [[noreturn]] void give_up(const std::string& why, bool commits);

    const LinkOptions options_;
    std::unique_ptr<pg_conn, void (*)(pg_conn*)> connection_;
    bool direct_ = false;
    bool introduced_ = false;  // until then it is still connecting
    bool silent_ = false;
};

}  // namespace homeostat
