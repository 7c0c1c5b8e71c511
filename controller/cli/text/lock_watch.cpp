#include "controller/cli/text/lock_watch.hpp"

#include <fmt/core.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): pthread_sigmask is POSIX

#include <chrono>

#include "core/outside_text.hpp"

namespace homeostat {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirst{1'000};
constexpr milliseconds kThen{500};

// Nothing is asked of the lock table unless it waits. Others' transactions are seen by roles that may (pg_read_all_stats).
const Statement kBlocker{"lock_watch", R"sql(
    SELECT format('%s, held by PID %s (%s)%s',
        coalesce((SELECT 'a lock on ' || w.relation::regclass FROM pg_locks w
            WHERE w.pid = me.pid AND NOT w.granted AND w.relation IS NOT NULL
                AND w.database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1), 'a lock'),
        b.pid, concat_ws(', ', nullif(a.application_name, ''), 'role ' || quote_ident(a.usename)),
        ', whose transaction began ' || extract(epoch FROM clock_timestamp() - a.xact_start)::bigint || ' s ago')
    FROM pg_stat_activity me CROSS JOIN LATERAL unnest(pg_blocking_pids(me.pid)) b(pid) LEFT JOIN pg_stat_activity a ON a.pid = b.pid
    WHERE me.pid = $1 AND me.wait_event_type = 'Lock' ORDER BY a.xact_start LIMIT 1)sql"};

}  // namespace

// Signals are for the verb's own thread, which may have blocked them or may yet.
LockWatch::LockWatch(ConnectOptions options, int pid, std::ostream& err) {
    if (pid == 0) return;
    options.readers.clear();
    sigset_t all{};
    sigset_t before{};
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::jthread([this, options = std::move(options), pid, &err](const std::stop_token& ended) mutable {
        options.abandon = ended;
        look_on(ended, options, pid, err);
    });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

std::string LockWatch::waited_for() {
    const std::lock_guard lock(mutex_);
    return waited_for_;
}

void LockWatch::look_on(const std::stop_token& ended, const ConnectOptions& options, int pid, std::ostream& err) {
    std::unique_ptr<Session> session;
    bool told = false;
    for (milliseconds wait = kFirst;; wait = kThen) {
        {
            std::unique_lock lock(mutex_);
            woken_.wait_for(lock, ended, wait, [] { return false; });
        }
        if (ended.stop_requested()) return;
        if (!session) {
            Result<std::unique_ptr<Session>> made = Session::connect(options);
            if (!made) return;  // no place for a second one: then nothing is said
            session = *std::move(made);
        }
        const Result<std::string> seen = guarded([&] {
            const Rows rows = session->exec(kBlocker, Params::of(std::int64_t{pid}));
            return rows.empty() ? std::string() : rows.text(0, 0);
        });
        if (!seen) return;
        const std::lock_guard lock(mutex_);
        if (seen->empty()) {
            told = false;
            continue;
        }
        waited_for_ = outside_text(*seen);
        if (!std::exchange(told, true)) err << fmt::format("homeostat: waiting for {}\n", waited_for_) << std::flush;
    }
}

}  // namespace homeostat
