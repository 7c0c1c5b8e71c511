// The statements of a session on their way: several at once without waiting in between, in libpq's pipeline mode, on a connection
// that libpqxx owns.
//
// A flight begins and ends idle, with pipeline mode off. For session.cpp. Belongs to one thread at a time. What fails is thrown
// as StoreFailure.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/span.hpp"
#include "store/pg/connection.hpp"
#include "store/pg/session.hpp"
#include "store/pg/statement_cache.hpp"

namespace homeostat {

class Flight {
public:
    Flight(ConnectionOptions to, bool prepare) : prepare_(prepare), connection_(std::move(to)) {}
    ~Flight() = default;
    Flight(const Flight&) = delete;
    Flight& operator=(const Flight&) = delete;

    struct Call {
        Statement statement;  // without a name it is never prepared
        Params params;
    };
    // All of them are sent before any is answered (libpq's pipeline mode), so that together they cost one round trip. The first
    // that fails is thrown, with the answers to those before it in `answers`; the server has not looked at those after it.
    // Earlier calls must answer with few rows. `commits`: a COMMIT is among them, so that a broken link leaves open whether it
    // was done.
    void run(const std::vector<Call>& calls, bool commits, std::vector<Answer>& answers);
    // run() in two halves: another connection may be asked in between, this one must not.
    void launch(std::vector<Call> calls, bool commits);
    void land(std::vector<Answer>& answers);
    bool launched() const noexcept { return under_way_.has_value(); }
    Answer run(const Call& call);
    // By the simple protocol: several statements may be joined by ;. The last one's answer.
    Answer run(const std::string& sql);
    // The same, and nobody waits: what it answers is of no interest, and is taken by whoever asks next, or by settle(). Whether
    // the connection has outlived it, usable() says then.
    void dismiss(const std::string& sql);
    void settle() noexcept;

    bool usable() const noexcept;
    // Whether the other side is still there, as far as this side has heard; asks nobody.
    bool alive() noexcept;
    // By which number the server's side of the connection was introduced; see Connection::knows_server.
    int server_pid() const noexcept;
    // Where it does not, nothing is prepared: the server's session is others' too.
    void knows_server(bool direct) noexcept {
        prepare_ = prepare_ && direct;
        connection_.knows_server(direct);
    }
    std::string quote_name(std::string_view identifier) const { return connection_.quote_name(identifier); }
    // Calls `f` with channel and payload of each notification that has arrived; waits for one where none has. How many came.
    int notifications(std::uint32_t timeout_ms, const std::function<void(std::string_view, std::string_view)>& f);

private:
    // again: of a statement that was prepared earlier.
    enum class Part { forget, prepare, call, again };
    struct Sent {
        Part part;
        std::size_t call;
    };
    struct UnderWay {
        std::vector<Call> calls;
        std::vector<Sent> sent;
        bool commits = false;
        Span span;
    };
    void take_answers(const UnderWay& under_way, std::vector<Answer>& answers);
    std::vector<Sent> send(const std::vector<Call>& calls, bool commits);
    void send_call(const Call& call, std::size_t index, bool commits, std::vector<Sent>& sent);
    void check_sent(bool sent, bool commits) const;
    [[noreturn]] void settle_failure(const std::vector<Call>& calls, const std::vector<Sent>& sent, std::size_t failed,
                                     const pg_result* answer, bool commits);
    [[noreturn]] void fail(const pg_result* answer, bool commits) const;
    void tidy();

    bool prepare_;
    Connection connection_;
    StatementCache statements_;
    bool confused_ = false;  // what the server has prepared is not what we think
    bool dismissed_ = false;  // something was, and has not been taken
    std::optional<UnderWay> under_way_;
};

}  // namespace homeostat
