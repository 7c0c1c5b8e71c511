// A credential that a program of the operator's prints (secrets of the settings, source exec:PROGRAM): kept in memory until it
// ends, asked for again before that, and at once where the endpoint refuses it.
//
// The program runs on a thread of its own, one at a time; whoever needs a credential that there is none of waits for it without
// holding a thread. Where it fails it is asked again after 1 s, 2 s, 4 s … up to a minute, and a credential that still holds is
// used meanwhile. What it prints is in no message; of its error output the first words are, cleaned. Safe from any thread; it
// outlives whoever waits in ready().
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/sync.hpp"
#include "reconcilers/embed/operator_program.hpp"
#include "reconcilers/embed/printed_credential.hpp"
#include "reconcilers/embed/sandbox.hpp"

namespace homeostat {

class CredentialProgram {
public:
    static constexpr Duration kWithin = std::chrono::seconds(30);

    // `name`: of the secret, for messages. `clock` outlives it.
    CredentialProgram(std::string name, std::vector<std::string> command, const Clock& clock, Duration within = kWithin);
    ~CredentialProgram();  // ends the program where it runs
    CredentialProgram(const CredentialProgram&) = delete;
    CredentialProgram& operator=(const CredentialProgram&) = delete;

    // What was printed last, where it still holds; else why there is nothing (class auth, code "credential"). Does not wait.
    Result<std::string> held() const EXCLUDES(mutex_);
    // Another one where the program has printed another secret, or failed. One that has ended since is no failure: the program
    // may be asked for the next. Not 0.
    std::size_t mark() const EXCLUDES(mutex_);
    // Starts the program where it is time to, and does not wait for it.
    void look() EXCLUDES(mutex_);
    // The same, and waits for the program where there is nothing to go on with, at most until the deadline or the stop.
    boost::asio::awaitable<void> ready(SteadyTime deadline, std::stop_token stop) EXCLUDES(mutex_);
    // An endpoint has refused it. The program is asked again at once, the next time after 5 s, 10 s … up to a minute unless one
    // was accepted in between. Nothing happens where another is held by now.
    void refused(const std::string& secret) EXCLUDES(mutex_);
    void accepted() EXCLUDES(mutex_);

private:
    struct Held {
        std::string secret;
        std::optional<SteadyTime> renew;  // worth asking for another
        std::optional<SteadyTime> ends;  // of no use any more
        bool refused = false;
    };

    bool holds(SteadyTime now) const REQUIRES(mutex_);
    bool lacking(SteadyTime now) const REQUIRES(mutex_);
    void start_if_due(SteadyTime now) REQUIRES(mutex_);
    void start() REQUIRES(mutex_);
    void run();
    void take(Result<PrintedCredential> printed, SteadyTime now) REQUIRES(mutex_);
    Result<PrintedCredential> read(ProgramEnd end) const;
    Error failure(std::string_view what, const ProgramEnd& end) const;

    const std::string name_;
    const std::vector<std::string> command_;
    const Clock& clock_;
    const Duration within_;
    const Descriptor stop_;
    mutable Mutex mutex_;
    std::optional<Held> held_ GUARDED_BY(mutex_);
    std::optional<Error> failed_ GUARDED_BY(mutex_);  // of the last run
    unsigned failures_ GUARDED_BY(mutex_) = 0;  // in a row
    unsigned refusals_ GUARDED_BY(mutex_) = 0;  // answered by another run, since one was accepted
    SteadyTime next_run_ GUARDED_BY(mutex_){};
    SteadyTime next_refused_run_ GUARDED_BY(mutex_){};
    bool running_ GUARDED_BY(mutex_) = false;
    std::vector<std::function<void()>> waiting_ GUARDED_BY(mutex_);
    std::jthread worker_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
