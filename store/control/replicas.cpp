#include "store/control/replicas.hpp"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <fstream>
#include <sstream>

#include "store/control/migrator.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

const Statement kPredecessor{"replica_predecessor", R"sql(
    SELECT host, pid, process_space, process_start, coalesce(backend_pid, 0), coalesce(backend_start, 0)
    FROM homeostat.replica WHERE id = $1 AND ended_at IS NULL)sql"};

const Statement kRegister{"replica_register", R"sql(
    INSERT INTO homeostat.replica (id, host, pid, version, schema_version, process_space, process_start, backend_pid, backend_start)
    VALUES ($1, $2, $3::int, '0.1.0', $4::int, $5, $6::bigint, nullif($7::int, 0), $8::bigint)
    ON CONFLICT (id) DO UPDATE SET host = excluded.host, pid = excluded.pid, schema_version = excluded.schema_version,
        process_space = excluded.process_space, process_start = excluded.process_start, backend_pid = excluded.backend_pid,
        backend_start = excluded.backend_start, heartbeat_at = clock_timestamp(), ended_at = NULL)sql"};

// A row that another replica has marked as ended meanwhile, and rescued from, goes too.
const Statement kRetire{"replica_retire", R"sql(
    WITH gone AS (DELETE FROM homeostat.replica
        WHERE id = $1 AND host = $2 AND pid = $3::int AND process_space = $4 AND process_start = $5::bigint RETURNING id),
    freed AS (UPDATE homeostat.lease SET expires_at = clock_timestamp() FROM gone
        WHERE holder = gone.id AND expires_at > clock_timestamp())
    UPDATE homeostat.batch b SET claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL FROM gone
    WHERE b.claimed_by = gone.id AND b.claim_token IS NOT NULL)sql"};

const Statement kBeat{"replica_beat", R"sql(
    UPDATE homeostat.replica SET heartbeat_at = clock_timestamp()
    WHERE id = $1 AND (ended_at IS NOT NULL OR heartbeat_at < clock_timestamp() - $2::bigint * interval '1 ms' / 3)
    RETURNING ended_at IS NOT NULL)sql"};

// A session that began before the server last started, or last recovered from a crash (which empties the statistics), ended with
// all others and says nothing of its process.
const Statement kLook{"replica_look", R"sql(
    SELECT r.id, r.host, r.pid, r.process_space, r.process_start, coalesce(r.backend_pid, 0), coalesce(r.backend_start, 0),
        r.backend_pid IS NOT NULL
        AND r.backend_start > (extract(epoch FROM greatest(pg_postmaster_start_time(), s.stats_reset)) * 1000000)::bigint
        AND NOT EXISTS (SELECT FROM pg_stat_get_activity(r.backend_pid) a
            WHERE coalesce((extract(epoch FROM a.backend_start) * 1000000)::bigint, r.backend_start) = r.backend_start),
        r.heartbeat_at < clock_timestamp() - $2::bigint * interval '1 ms'
    FROM homeostat.replica r CROSS JOIN pg_stat_bgwriter s
    WHERE r.id <> $1 AND r.ended_at IS NULL)sql"};

// Only as it was seen: one that has registered again since lives.
const Statement kEnd{"replica_end", R"sql(
    UPDATE homeostat.replica SET ended_at = clock_timestamp(), backend_pid = NULL
    WHERE id = $1 AND ended_at IS NULL AND pid = $2::int AND process_space = $3 AND process_start = $4::bigint
        AND coalesce(backend_pid, 0) = $5::int AND coalesce(backend_start, 0) = $6::bigint
    RETURNING id)sql"};

// The only batch it had is blamed for the death; a single document that is blamed is tried again later each time, and is cleared
// where a replica dies meanwhile that did not have it alone: then something else ends replicas. Nobody is cleared by a death that
// has one batch to blame, or two documents that end replicas would clear each other for ever. Marks stay: they only decide who is
// tried alone.
const Statement kReturn{"replica_return", R"sql(
    WITH held AS MATERIALIZED (SELECT b.id FROM homeostat.batch b WHERE b.claimed_by = $1 AND b.claim_token IS NOT NULL FOR UPDATE),
    n AS MATERIALIZED (SELECT count(*) AS n FROM held),
    cleared AS (UPDATE homeostat.batch b SET deaths = 0 FROM n
        WHERE n.n <> 1 AND b.deaths > 0 AND b.id NOT IN (SELECT id FROM held)),
    freed AS (UPDATE homeostat.lease SET expires_at = clock_timestamp() WHERE holder = $1 AND expires_at > clock_timestamp()),
    returned AS (UPDATE homeostat.batch b SET claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL,
            deaths = b.deaths + (n.n = 1)::int, marks = b.marks + (n.n > 1)::int,
            run_after = CASE WHEN n.n <> 1 OR b.documents > 1 THEN b.run_after
                WHEN b.deaths = 0 THEN clock_timestamp() + interval '1 second' ELSE clock_timestamp() + interval '8 seconds' END,
            last_error = 'its replica (' || $1 || ') died'
        FROM n, held WHERE b.id = held.id RETURNING b.id)
    SELECT count(*) FROM returned)sql"};

// Who has been silent for long is not looked at any more, until it says something.
const Statement kReturnSilent{"replica_return_silent", R"sql(
    WITH gone AS (UPDATE homeostat.replica SET ended_at = clock_timestamp()
        WHERE ended_at IS NULL AND heartbeat_at < clock_timestamp() - $1::bigint * interval '4 ms')
    UPDATE homeostat.batch b SET claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL,
        last_error = 'its replica (' || b.claimed_by || ') stopped answering'
    WHERE b.claim_token IS NOT NULL AND (b.claim_expires_at <= clock_timestamp() OR EXISTS (
        SELECT FROM homeostat.replica r WHERE r.id = b.claimed_by
            AND (r.ended_at IS NOT NULL OR r.heartbeat_at < clock_timestamp() - $1::bigint * interval '1 ms')))
    RETURNING b.id)sql"};

const Statement kReturnForgotten{"replica_return_forgotten", R"sql(
    UPDATE homeostat.batch b SET claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL
    WHERE b.claimed_by = $1 AND b.claim_token <> ALL ($2::bigint[])
        AND b.claim_expires_at < clock_timestamp() + $3::bigint * interval '1 ms' - interval '2 seconds'
    RETURNING b.id)sql"};

std::string first_line_of(const std::string& path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    return line;
}

struct ProcessState {
    char state = 'X';
    std::int64_t start = 0;
};

// "pid (name) state ..." of which the start is the twentieth after the state; the name may hold anything.
ProcessState process_state(int pid) {
    const std::string line = first_line_of("/proc/" + std::to_string(pid) + "/stat");
    const std::size_t name_end = line.rfind(')');
    ProcessState out;
    if (name_end == std::string::npos) return out;
    std::istringstream rest(line.substr(name_end + 1));
    std::string field;
    rest >> out.state;
    for (int i = 0; i < 19 && rest >> field; ++i) {
    }
    std::from_chars(field.data(), field.data() + field.size(), out.start);
    return out;
}

ReplicaSight sight_of(RowReader& c, std::string id) {
    ReplicaSight s;
    s.id = std::move(id);
    s.mark = {c.text(), c.integer<int>(), c.text(), c.integer()};
    s.server = {c.integer<int>(), c.integer()};
    return s;
}

}  // namespace

ProcessMark this_process() {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    std::array<char, 64> numbers{};
    const std::string boot = first_line_of("/proc/sys/kernel/random/boot_id");
    const bool known = !boot.empty() && ::readlink("/proc/self/ns/pid", numbers.data(), numbers.size() - 1) > 0;
    const int pid = ::getpid();
    return {host.data(), pid, known ? boot + " " + numbers.data() : "", known ? process_state(pid).start : 0};
}

bool process_ended(const ProcessMark& mark) {
    const ProcessState now = process_state(mark.pid);
    // Of another user's it may be hidden what it is, not that it is.
    if (now.start == 0) return ::kill(mark.pid, 0) != 0 && errno == ESRCH;
    return now.start != mark.start || now.state == 'Z' || now.state == 'X';
}

Status register_replica(Session& session, const std::string& replica, const ProcessMark& mark) {
    return guarded([&]() -> Status {
        const Rows before = session.exec(kPredecessor, Params::of(replica));
        if (!before.empty()) {
            RowReader c(before, 0);
            const ReplicaSight predecessor = sight_of(c, replica);
            if (!(predecessor.mark == mark)) {
                if (const Result<int> back = rescue_from(session, predecessor); !back) return back.error();
            }
        }
        session.exec(kRegister, Params::of(replica, mark.host, mark.pid, newest_migration(), mark.space, mark.start,
                                           session.server().pid, session.server().started));
        return {};
    });
}

Status retire_replica(Session& session, const std::string& replica, const ProcessMark& mark) {
    return guarded([&] { session.exec(kRetire, Params::of(replica, mark.host, mark.pid, mark.space, mark.start)); });
}

Result<std::vector<ReplicaSight>> look_at_replicas(Session& session, const std::string& replica,
                                                   std::chrono::milliseconds patience) {
    return guarded([&] {
        Transaction tx = session.begin(TxMode::none);
        tx.later(kBeat, Params::of(replica, patience.count()), [](const Rows& beat) {
            if (beat.empty() || !beat.boolean(0, 0)) return;
            throw StoreFailure(fenced("this replica was taken for dead"));
        });
        const Rows rows = tx.exec(kLook, Params::of(replica, patience.count()));
        std::vector<ReplicaSight> out;
        for (int i = 0; i < rows.size(); ++i) {
            RowReader c(rows, i);
            std::string id = c.text();
            out.push_back(sight_of(c, std::move(id)));
            out.back().session_ended = c.boolean();
            out.back().silent = c.boolean();
        }
        return out;
    });
}

Result<int> rescue_from(Session& session, const ReplicaSight& dead) {
    return guarded([&] {
        Transaction tx = session.begin();
        const Rows ended = tx.exec(
            kEnd, Params::of(dead.id, dead.mark.pid, dead.mark.space, dead.mark.start, dead.server.pid, dead.server.started));
        if (ended.empty()) return 0;
        const Rows rows = tx.exec(kReturn, Params::of(dead.id));
        tx.commit();
        return static_cast<int>(rows.i64(0, 0));
    });
}

Result<int> return_forgotten(Session& session, const std::string& replica, const std::vector<std::int64_t>& tokens,
                             std::chrono::milliseconds ttl) {
    return guarded([&] {
        Params params = Params::of(replica);
        params.bytes(binary_array(tokens)).add(ttl.count());
        return session.exec(kReturnForgotten, params).size();
    });
}

// A row of ours is changed and a file grows by a megabyte; then all of it is taken back.
Status probe_writes(Session& session) {
    return guarded([&] {
        Transaction tx = session.begin();
        tx.exec(
            "UPDATE homeostat.replica SET heartbeat_at = heartbeat_at;"
            "CREATE TEMPORARY TABLE homeostat_probe ON COMMIT DROP AS"
            " SELECT i, repeat('x', 1000) FROM generate_series(1, 1000) i");
    });
}

Result<int> rescue_silent(Session& session, std::chrono::milliseconds patience) {
    return guarded([&] { return session.exec(kReturnSilent, Params::of(patience.count())).size(); });
}

}  // namespace homeostat
