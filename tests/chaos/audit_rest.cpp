// What must be true once nothing goes wrong any more and nobody writes: everything served is the source, every count is exact,
// and nothing waits for anybody.
#include <fmt/format.h>

#include <chrono>

#include "tests/chaos/audit_vectors.hpp"
#include "tests/chaos/auditor.hpp"
#include "tests/kit/invariants.hpp"

namespace homeostat::chaos {

namespace {

class Rest {
public:
    Rest(kit::Database& db, const Table& table) : db_(db), t_(table) {
        uid_ = fmt::format("(SELECT uid FROM homeostat.pipeline WHERE name = '{}' AND deletion_requested_at IS NULL)", t_.name);
    }
    std::vector<std::string> differs() {
        if (db_.value(fmt::format("SELECT to_regclass('{}')", t_.served())).empty()) return {t_.name + ": nothing is served"};
        served();
        queues();
        counts();
        status();
        return std::move(out_);
    }

private:
    void add(const std::string& what, const std::vector<kit::Row>& rows) {
        for (const kit::Row& row : rows) out_.push_back(fmt::format("{}: {}: {}", t_.name, what, row[0].value_or("")));
    }
    void served() {
        const std::string source = fmt::format("SELECT {} AS key, body FROM {}", t_.key_text, t_.source);
        const std::string view = fmt::format("SELECT {} AS key, chunk_text AS body FROM {}", t_.key_text, t_.served());
        const std::string left = "SELECT key || ' = ' || coalesce(body, 'NULL') FROM (({}) EXCEPT ALL ({})) d LIMIT 3";
        add("not served", db_.query(fmt::format(fmt::runtime(left), source, view)));
        add("served and not in the source", db_.query(fmt::format(fmt::runtime(left), view, source)));
        for (const std::string& w : wrong_vectors(db_.sql(), t_.served(), 0)) out_.push_back(t_.name + ": " + w);
    }
    void none(const std::string& what, const std::string& sql) {
        const std::string n = db_.value(sql);
        if (n != "0") out_.push_back(fmt::format("{}: {} {}", t_.name, n, what));
    }
    void queues() {
        none("batches", "SELECT count(*) FROM homeostat.batch WHERE kind <> 'stray' AND uid = " + uid_);
        none("runs", "SELECT count(*) FROM homeostat.run WHERE uid = " + uid_);
        none("dead letters", "SELECT count(*) FROM homeostat.dead_letter WHERE uid = " + uid_);
        none("suspects", "SELECT count(*) FROM homeostat.batch WHERE deaths > 0 AND uid = " + uid_);
        const std::string changes =
            db_.value("SELECT format('homeostat_data.p%s_change', uid) FROM homeostat.pipeline WHERE uid = " + uid_);
        if (!db_.value(fmt::format("SELECT to_regclass('{}')", changes)).empty())
            none("changes", "SELECT count(*) FROM " + changes);
        none("leases that nobody keeps", "SELECT count(*) FROM homeostat.lease WHERE resource = 'pipeline/' || " + uid_ +
                                             " AND expires_at < clock_timestamp() - interval '10 s'");
        none("claims of replicas that are gone",
             "SELECT count(*) FROM homeostat.batch WHERE claim_token IS NOT NULL AND claim_expires_at < clock_timestamp()"
             " - interval '10 s' AND uid = " +
                 uid_);
    }
    void counts() {
        const auto rows = db_.query(
            fmt::format("SELECT source_documents, documents, chunks, (SELECT count(*) FROM {}), (SELECT count(*) FROM {} WHERE"
                        " body <> '') FROM homeostat.pipeline_status WHERE uid = {}",
                        t_.source, t_.source, uid_));
        if (rows.size() != 1) return out_.push_back(t_.name + ": no status");
        const kit::Row& r = rows[0];
        if (r[0] == r[3] && r[1] == r[3] && r[2] == r[4]) return;
        out_.push_back(fmt::format("{}: the status counts {} in the source, {} documents, {} chunks; there are {} and {}",
                                   t_.name, r[0].value_or("-"), r[1].value_or("-"), r[2].value_or("-"), *r[3], *r[4]));
    }
    void status() {
        const auto rows =
            db_.query(fmt::format("SELECT kstatus, ready, reason, drift, message FROM homeostat.pipelines WHERE uid = {}", uid_));
        if (rows.size() == 1 && rows[0][0] == "Current" && rows[0][2] == "Converged" && rows[0][3] == "0") return;
        std::string says;
        for (const kit::Row& row : rows) {
            for (const auto& value : row) says += value.value_or("-") + " ";
        }
        out_.push_back(fmt::format("{}: not converged: {}", t_.name, says));
    }

    kit::Database& db_;
    const Table& t_;
    std::string uid_;
    std::vector<std::string> out_;
};

}  // namespace

static std::vector<std::string> broken(World& world) {
    std::vector<std::string> out;
    for (const Table& t : world.tables()) {
        const std::string wanted = fmt::format("SELECT {} AS key, body AS content FROM {}", t.key_text, t.source);
        for (std::string& sentence : kit::broken_invariants(world.db(), t.name, wanted)) out.push_back(std::move(sentence));
    }
    return out;
}

std::vector<std::string> audit_at_rest(World& world) {
    std::vector<std::string> left;
    // Two looks in a row: what is settled only in passing is not at rest.
    int rested = 0;
    kit::eventually(
        [&] {
            left.clear();
            try {
                // As a person would who meant to delete so many: a source that shrank to less than half is asked about.
                world.db().exec(
                    "UPDATE homeostat.pipeline p SET approval = s.blocked_plan FROM homeostat.pipeline_status s WHERE s.uid ="
                    " p.uid AND s.blocked_prunes > 0 AND p.approval IS DISTINCT FROM s.blocked_plan");
                for (const Table& t : world.tables()) {
                    for (std::string& d : Rest(world.db(), t).differs()) left.push_back(std::move(d));
                }
                if (left.empty()) left = broken(world);
            } catch (const std::exception& e) {
                left = {e.what()};
                world.db().reconnect();
            }
            rested = left.empty() ? rested + 1 : 0;
            return rested == 2;
        },
        std::chrono::seconds(world.options().patience));
    return left;
}

}  // namespace homeostat::chaos
