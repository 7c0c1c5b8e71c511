// The running programs of one exec provider or chunker: started when there is work for them, one request at a time each, kept for
// the next, ended when idle, replaced when old, and none at all while the program is in quarantine.
//
// Before the program is trusted with documents one that is thrown away is asked about a harmless text. Whatever the program does
// (hangs, ends, writes garbage) is this request's error and one fault; after enough of them in a row it is asked about the
// harmless text again, and quarantined only where it fails at that too: else a document is at fault, whichever it is.
//
// ask(), prove() and distrust() are called on strand(), close() from anywhere; quarantine_reason() is safe from any thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/sync.hpp"
#include "reconcilers/embed/exec_child.hpp"
#include "reconcilers/embed/quarantine.hpp"
#include "reconcilers/embed/sandbox.hpp"

namespace homeostat {

// What is asked of a program, and how its answer is judged.
struct ExecQuestion {
    std::string tail;  // the request but for its beginning, which names it
    std::size_t most = 0;  // bytes of the answer
    // Keeps what is in the answer to the request of that name; class bad_answer where the line breaks the protocol, else what the
    // program refuses with. Called on the pool's strand before the question is answered.
    std::function<Status(std::string line, std::uint64_t id)> read;
    std::function<void()> begins{};  // called when it is asked at last: the program has passed its probe. May be empty
};

struct ExecPoolSettings {
    std::string kind = "provider";  // provider or chunker, for the log
    std::string name;
    std::uint32_t most_children = 1;
    std::chrono::milliseconds timeout{60'000};  // of one request, with the start of the program where there is none yet
    std::chrono::milliseconds idle{60'000};
    SandboxSpec sandbox;
    SandboxReport report;
    std::vector<std::string> secrets;
    ExecQuestion probe;  // asked first, about a harmless text
    QuarantineSettings quarantine;
};

class ExecPool : public std::enable_shared_from_this<ExecPool> {
public:
    // `clock` outlives the pool.
    ExecPool(ExecPoolSettings settings, const boost::asio::any_io_executor& executor, const Clock& clock);

    boost::asio::awaitable<Status> ask(ExecQuestion question, SteadyTime deadline, std::stop_token stop);
    // Whether a fresh copy of the program answers the probe.
    boost::asio::awaitable<Status> prove(SteadyTime deadline, std::stop_token stop);
    // Quarantined at once, whatever it has answered.
    void distrust(const Error& error);
    const ExecChild::Strand& strand() const noexcept { return strand_; }
    // Ends every program; asked again it starts none.
    void close();

    // Why nothing is asked of the program at present, and until when; "" where it is.
    std::string quarantine_reason() const EXCLUDES(mutex_);

private:
    using ChildPtr = std::shared_ptr<ExecChild>;
    struct Idle {
        ChildPtr child;
        SteadyTime since;
        SteadyTime born;
    };
    class Turn;

    boost::asio::awaitable<Status> take_turn(SteadyTime deadline, std::stop_token stop);
    boost::asio::awaitable<void> wait(SteadyTime deadline, std::stop_token stop);
    void wake_all();
    boost::asio::awaitable<Status> probe(SteadyTime deadline, std::stop_token stop);
    boost::asio::awaitable<Status> converse(ChildPtr child, ExecQuestion question, FaultAt at, SteadyTime deadline,
                                            std::stop_token stop);
    Result<Idle> take_child();
    Result<Idle> new_child();
    void give_back(Idle child);
    void end_idle();
    void watch_idle();
    void note_fault(const Error& error, FaultAt at);
    void begin_quarantine(SteadyTime now);
    std::string told(const Error& error) const;
    void note_success();
    Error quarantined(SteadyTime until) const;

    const ExecPoolSettings settings_;
    const ExecChild::Strand strand_;
    const Clock& clock_;
    Quarantine quarantine_;
    std::vector<Idle> idle_;  // the longest idle first
    std::uint32_t busy_ = 0;
    bool probing_ = false;
    bool closed_ = false;
    std::list<std::shared_ptr<boost::asio::steady_timer>> waiting_;
    boost::asio::steady_timer idle_timer_;
    mutable Mutex mutex_;
    std::string reason_ GUARDED_BY(mutex_);
    SteadyTime reason_until_ GUARDED_BY(mutex_){};
};

}  // namespace homeostat
