// Says on the terminal when what a verb asked has been waiting for somebody's lock for a second, and for whose; and remembers it
// for the error that such a wait may end in. Looks over a connection of its own, made only once the verb has lasted a second.
// Behind a pooler it does nothing: whose session waits is not known there.
#pragma once

#include <condition_variable>
#include <mutex>
#include <ostream>
#include <string>
#include <thread>

#include "store/pg/session.hpp"

namespace homeostat {

class LockWatch {
public:
    // Of the session that the server calls `pid`. `err` outlives this, and is written to while that session waits.
    LockWatch(ConnectOptions options, int pid, std::ostream& err);
    ~LockWatch() = default;
    LockWatch(const LockWatch&) = delete;
    LockWatch& operator=(const LockWatch&) = delete;

    // What was last waited for, as "a lock on homeostat.pipeline, held by PID 7 (psql, role bob), whose transaction …"; "" =
    // nothing.
    std::string waited_for();

private:
    void look_on(const std::stop_token& ended, const ConnectOptions& options, int pid, std::ostream& err);

    std::mutex mutex_;
    std::condition_variable_any woken_;
    std::string waited_for_;
    std::jthread thread_;  // last: it ends before what it uses
};

}  // namespace homeostat
