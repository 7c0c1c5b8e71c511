#include "store/control/watch.hpp"
#include "store/pg/row_reader.hpp"

#include <spdlog/spdlog.h>

#include <charconv>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace homeostat {

namespace {

// A suspension with an end is over when that has come; the next look sees it gone.
const Statement kDeclared{
    "watch_declared",
    "SELECT p.uid, p.generation, coalesce(p.reconcile_requested, ''), concat_ws(' ', p.approval, p.revision_pin, "
    "p.revision_drop),"
    " coalesce(v.generation, 0),"
    " p.suspend, p.deletion_requested_at IS NOT NULL, p.suspend AND p.pinned IS NULL AND p.suspend_until <= "
    "clock_timestamp(), coalesce(m.mark, ''),"
    " coalesce((SELECT max(e.id) FROM homeostat.erasure e WHERE e.uid = p.uid AND e.state = 'requested'), 0)"
    " + coalesce((SELECT max(r.id) FROM homeostat.rollback r WHERE r.uid = p.uid AND r.state IN ('requested', 'running')), 0)"
    " + coalesce((SELECT max(c.id) FROM homeostat.checkpoint c WHERE c.uid = p.uid AND c.state = 'requested'), 0)"
    " + coalesce((SELECT max(a.id) FROM homeostat.adoption a WHERE a.uid = p.uid AND a.ended_at IS NULL), 0)"
    " FROM homeostat.pipeline p LEFT JOIN homeostat.provider v ON v.name = p.provider"
    " LEFT JOIN homeostat.source_mark m ON m.uid = p.uid"
    " LEFT JOIN homeostat.pipeline_status s ON s.uid = p.uid ORDER BY s.last_sweep_at NULLS FIRST, p.uid"};

const Statement kEndSuspension{"watch_end_suspension",
                               "UPDATE homeostat.pipeline SET suspend = false WHERE suspend AND pinned IS NULL AND"
                               " suspend_until <= clock_timestamp()"};

constexpr std::chrono::seconds kSpeaks{5};

void listen_once(const ConnectOptions& options, const std::stop_token& stop, const Listener& listener) {
    Result<std::unique_ptr<Session>> session = Session::connect(options);
    if (!session) throw StoreFailure(session.error());
    (*session)->listen("homeostat", [&](std::string_view payload) {
        const bool feed = payload.starts_with('f');
        if (feed) payload.remove_prefix(1);
        std::int64_t uid = 0;
        std::from_chars(payload.data(), payload.data() + payload.size(), uid);
        if (uid > 0) (feed ? listener.fed : listener.changed)(uid);
    });
    listener.connected();
    // Short waits, so that a stop is noticed; and a word now and then, so that silence is.
    auto spoke = std::chrono::steady_clock::now();
    while (!stop.stop_requested()) {
        (*session)->await_notification(250);
        if (std::chrono::steady_clock::now() - spoke < kSpeaks) continue;
        (*session)->exec("SELECT 1");
        spoke = std::chrono::steady_clock::now();
    }
}

}  // namespace

Result<std::vector<Declared>> read_declared(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kDeclared);
        bool over = false;
        std::vector<Declared> out;
        for (int i = 0; i < rows.size(); ++i) {
            RowReader c(rows, i);
            Declared d{c.integer(), c.integer(), c.text(), c.text(), c.integer(), c.boolean(), c.boolean(), ""};
            over = c.boolean() || over;
            d.source_mark = c.text();
            d.erasure = c.integer();
            out.push_back(std::move(d));
        }
        if (over) session.exec(kEndSuspension);
        return out;
    });
}

void listen_for_changes(const ConnectOptions& options, const std::stop_token& stop, const Listener& listener) {
    std::mutex m;
    std::condition_variable_any cv;
    while (!stop.stop_requested()) {
        const Status listened = guarded([&] { listen_once(options, stop, listener); });
        if (listened || stop.stop_requested()) continue;
        spdlog::debug("notifications: {}", listened.error().message);
        std::unique_lock lock(m);
        cv.wait_for(lock, stop, std::chrono::seconds(2), [] { return false; });
    }
}

Status keep_histories(Session& session, int weeks) {
    return guarded([&] {
        Transaction tx = session.begin();
        tx.exec({"histories_keep", "SELECT homeostat.keep_partitions(current_date, $1::int)"}, Params::of(weeks));
        tx.commit();
    });
}

}  // namespace homeostat
