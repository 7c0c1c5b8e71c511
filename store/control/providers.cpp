#include "store/control/providers.hpp"

#include <array>
#include <charconv>

#include "store/pg/named_statement.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

constexpr std::string_view kColumns =
    " uid, model, generation, breaker, reason, message, opened,"
    " CASE WHEN breaker <> 'closed' THEN greatest(0, extract(epoch FROM retry_at - clock_timestamp()) * 1000)::bigint END,"
    " coalesce(max_texts, 0), coalesce(max_tokens, 0), healthy,"
    " greatest(0, extract(epoch FROM clock_timestamp() - heard_at) * 1000)::bigint, coalesce(pace, 0), coalesce(in_flight, 0),"
    " coalesce(encoding, '') FROM homeostat.own_provider_status";

const Statement kDeclaredProviders{"providers_declared", "SELECT name, uid, generation FROM homeostat.provider"};
const Statement kRequests{"providers_requests",
                          "SELECT provider, md5(string_agg(uid || ' ' || reconcile_requested, ',' ORDER BY uid))"
                          " FROM homeostat.pipeline WHERE reconcile_requested IS NOT NULL GROUP BY provider"};
// Not the pauses between trials of what may have ended replicas, nor those of batches that ask nobody.
const Statement kReleaseParked{
    "providers_release_parked",
    "UPDATE homeostat.batch b SET run_after = clock_timestamp() FROM homeostat.pipeline p WHERE p.uid = b.uid"
    " AND p.provider = ANY ($1::text[]) AND b.kind = 'heal' AND b.claim_token IS NULL AND b.run_after > clock_timestamp()"
    " AND b.deaths = 0"};
const Statement kFailed{"providers_failed",
                        "SELECT p.uid FROM homeostat.pipeline p JOIN homeostat.pipeline_status s ON s.uid = p.uid"
                        " WHERE p.provider = ANY ($1::text[]) AND s.failures > 0"};
const Statement kRead{"provider_record", "SELECT" + std::string(kColumns) + " WHERE uid = $1::bigint AND model = $2"};
const Statement kListRecords{"provider_records", "SELECT" + std::string(kColumns) + " ORDER BY uid, model"};
// The last word is that of whoever heard the provider last; the same replica may tell more of the same word, whose age it knows
// to within moments. A new generation of the provider starts anew.
const NamedStatement kWrite{
    "provider_record_write",
    "INSERT INTO homeostat.provider_status AS s (uid, model, generation, healthy, breaker, reason, message, opened, retry_at,"
    "  max_texts, max_tokens, replica, heard_at, pace, in_flight, encoding)"
    " SELECT uid, :model, :generation::bigint, :healthy::boolean, :breaker, :reason, left(:message, 1024), :opened::int,"
    "  clock_timestamp() + :retry_in::bigint * interval '1 ms', nullif(:max_texts::int, 0), nullif(:max_tokens::bigint, 0), "
    ":replica,"
    "  clock_timestamp() - :heard_ago::bigint * interval '1 ms', nullif(:pace::int, 0), nullif(:in_flight::int, 0), "
    "nullif(:encoding, '')"
    " FROM homeostat.provider WHERE uid = :uid::bigint"
    " ON CONFLICT (uid, model) DO UPDATE SET generation = excluded.generation, healthy = excluded.healthy,"
    "  breaker = excluded.breaker, reason = excluded.reason, message = excluded.message, opened = excluded.opened,"
    "  retry_at = excluded.retry_at, replica = excluded.replica, heard_at = excluded.heard_at, updated_at = clock_timestamp(),"
    "  answered_as = CASE WHEN s.generation = excluded.generation THEN s.answered_as END,"
    "  max_texts = CASE WHEN s.generation < excluded.generation THEN excluded.max_texts ELSE s.max_texts END,"
    "  max_tokens = CASE WHEN s.generation < excluded.generation THEN excluded.max_tokens ELSE s.max_tokens END,"
    "  pace = coalesce(excluded.pace, CASE WHEN s.generation = excluded.generation THEN s.pace END),"
    "  in_flight = coalesce(excluded.in_flight, CASE WHEN s.generation = excluded.generation THEN s.in_flight END),"
    "  encoding = coalesce(excluded.encoding, CASE WHEN s.generation = excluded.generation THEN s.encoding END)"
    " WHERE s.generation < excluded.generation OR s.generation = excluded.generation AND excluded.heard_at >="
    "  s.heard_at - CASE WHEN s.replica = excluded.replica THEN interval '100 ms' ELSE interval '0' END"};
// A replica that has learnt less than another takes nothing back.
const Statement kWriteLimits{
    "provider_limits_write",
    "UPDATE homeostat.provider_status SET max_texts = least(max_texts, nullif($4::int, 0)),"
    "  max_tokens = least(max_tokens, nullif($5::bigint, 0))"
    " WHERE uid = $1::bigint AND model = $2 AND generation = $3::bigint AND (coalesce($4::int < max_texts OR max_texts IS NULL"
    "  AND $4::int > 0, false) OR coalesce($5::bigint < max_tokens OR max_tokens IS NULL AND $5::bigint > 0, false))"};

const Statement kOthers{"provider_others",
                        "WITH live AS MATERIALIZED (SELECT id FROM homeostat.replica WHERE id <> $1 AND ended_at IS NULL"
                        "  AND heartbeat_at > clock_timestamp() - interval '30 seconds')"
                        " SELECT (SELECT count(*) FROM live), v.uid, v.generation, v.healthy, v.reason FROM (VALUES (1)) one(n)"
                        " LEFT JOIN (SELECT s.* FROM homeostat.own_provider_status s JOIN live l ON l.id = s.replica) v ON true"};

const Statement kName{"provider_name",
                      "SELECT answered_as FROM homeostat.provider_status"
                      " WHERE uid = $1::bigint AND model = $2 AND generation = $3::bigint AND answered_as IS NOT NULL"};
const Statement kSettleName{"provider_name_settle",
                            "UPDATE homeostat.provider_status SET answered_as = coalesce(answered_as, $4)"
                            " WHERE uid = $1::bigint AND model = $2 AND generation = $3::bigint RETURNING answered_as"};

const Statement kSettleCanary{"canary_settle",
                              "INSERT INTO homeostat.canary (pool, model, dimensions, embedding, provider)"
                              " VALUES ($1, $2, $3::int, $4::real[], $5) ON CONFLICT DO NOTHING"};
const Statement kCanary{"canary_read",
                        "SELECT embedding::text, provider FROM homeostat.canary"
                        " WHERE pool = $1 AND model = $2 AND dimensions = $3::int"};

const Statement kReplicas{
    "replicas_list",
    "SELECT id, version, schema_version, (extract(epoch FROM clock_timestamp() - heartbeat_at) * 1000)::bigint,"
    " (extract(epoch FROM heartbeat_at) * 1000)::bigint, coalesce(snapshot::text, '') FROM homeostat.replica ORDER BY id"};
// With when the server wrote it, beside when the replica says that it did.
const Statement kSnapshot{"replica_snapshot",
                          "UPDATE homeostat.replica SET snapshot = $2::jsonb || jsonb_build_object('heardAt',"
                          " (extract(epoch FROM clock_timestamp()) * 1000)::bigint) WHERE id = $1"};
const Statement kLive{"replicas_live",
                      "SELECT greatest(1, count(*)) FROM homeostat.replica"
                      " WHERE heartbeat_at > clock_timestamp() - interval '30 seconds' AND ended_at IS NULL"};

ProviderRecord record_of(const Rows& rows, int i) {
    ProviderRecord r;
    RowReader c(rows, i);
    r.uid = c.integer();
    r.model = c.text();
    r.generation = c.integer();
    r.breaker = c.text();
    r.reason = c.text();
    r.message = c.text();
    r.opened = c.integer<std::int32_t>();
    r.retry_in = c.maybe_millis();
    r.max_texts = c.integer<std::uint32_t>();
    r.max_tokens = c.integer<std::uint64_t>();
    r.healthy = c.boolean();
    r.heard_ago = c.millis();
    r.pace = c.integer<std::uint32_t>();
    r.in_flight = c.integer<std::int32_t>();
    r.encoding = c.text();
    return r;
}

std::string real_array(const std::vector<float>& values) {
    std::string out = "{";
    std::array<char, 32> buffer{};
    for (const float v : values) {
        if (out.size() > 1) out += ',';
        const auto [end, problem] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v);
        if (problem == std::errc{}) out.append(buffer.data(), end);
    }
    return out + "}";
}

std::vector<float> floats_of(std::string_view array) {
    std::vector<float> out;
    for (const std::string& text : parse_text_array(array)) {
        float v = 0;
        std::from_chars(text.data(), text.data() + text.size(), v);
        out.push_back(v);
    }
    return out;
}

}  // namespace

std::string declaration_key(const DeclaredProvider& p) {
    return p.name + "\n" + std::to_string(p.uid) + "\n" + std::to_string(p.generation);
}

Result<std::vector<DeclaredProvider>> list_declared_providers(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kDeclaredProviders);
        std::vector<DeclaredProvider> out;
        for (int i = 0; i < rows.size(); ++i) out.push_back({rows.text(i, 0), rows.i64(i, 1), rows.i64(i, 2)});
        return out;
    });
}

Result<std::vector<std::pair<std::string, std::string>>> list_requests(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kRequests);
        std::vector<std::pair<std::string, std::string>> out;
        for (int i = 0; i < rows.size(); ++i) out.emplace_back(rows.text(i, 0), rows.text(i, 1));
        return out;
    });
}

Result<std::vector<std::int64_t>> release_parked(Session& session, const std::vector<std::string>& providers) {
    return guarded([&] {
        session.exec(kReleaseParked, Params::of(format_text_array(providers)));
        const Rows rows = session.exec(kFailed, Params::of(format_text_array(providers)));
        std::vector<std::int64_t> out;
        for (int i = 0; i < rows.size(); ++i) out.push_back(rows.i64(i, 0));
        return out;
    });
}

Result<std::optional<ProviderRecord>> read_provider_record(Session& session, std::int64_t uid, std::string_view model) {
    return guarded([&] {
        const Rows rows = session.exec(kRead, Params::of(uid, model));
        return rows.empty() ? std::optional<ProviderRecord>() : std::optional<ProviderRecord>(record_of(rows, 0));
    });
}

Result<std::vector<ProviderRecord>> list_provider_records(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kListRecords);
        std::vector<ProviderRecord> out;
        for (int i = 0; i < rows.size(); ++i) out.push_back(record_of(rows, i));
        return out;
    });
}

Status write_provider_record(Session& session, const ProviderRecord& r, std::string_view replica) {
    return guarded([&]() -> Status {
        const std::optional<std::int64_t> retry =
            r.retry_in ? std::optional<std::int64_t>(r.retry_in->count()) : std::optional<std::int64_t>();
        const auto texts = static_cast<std::int64_t>(r.max_texts);
        const auto tokens = static_cast<std::int64_t>(r.max_tokens);
        session.exec(kWrite.statement(), kWrite.with({{"uid", r.uid},
                                                      {"model", r.model},
                                                      {"generation", r.generation},
                                                      {"healthy", r.healthy},
                                                      {"breaker", r.breaker},
                                                      {"reason", r.reason},
                                                      {"message", r.message},
                                                      {"opened", r.opened},
                                                      {"retry_in", retry},
                                                      {"max_texts", texts},
                                                      {"max_tokens", tokens},
                                                      {"replica", replica},
                                                      {"heard_ago", r.heard_ago.count()},
                                                      {"pace", static_cast<std::int64_t>(r.pace)},
                                                      {"in_flight", r.in_flight},
                                                      {"encoding", r.encoding}}));
        if (texts > 0 || tokens > 0) session.exec(kWriteLimits, Params::of(r.uid, r.model, r.generation, texts, tokens));
        return {};
    });
}

Result<Others> read_others(Session& session, std::string_view replica) {
    return guarded([&] {
        const Rows rows = session.exec(kOthers, Params::of(replica));
        Others out;
        for (int i = 0; i < rows.size(); ++i) {
            out.live = static_cast<int>(rows.i64(i, 0));
            if (const auto uid = rows.maybe_i64(i, 1))
                out.words.push_back({*uid, rows.i64(i, 2), rows.boolean(i, 3), rows.text(i, 4)});
        }
        return out;
    });
}

Result<std::optional<std::string>> settle_name(Session& session, const DeclaredProvider& provider, std::string_view model,
                                               std::string_view name) {
    return guarded([&]() -> std::optional<std::string> {
        const Rows rows = name.empty() ? session.exec(kName, Params::of(provider.uid, model, provider.generation))
                                       : session.exec(kSettleName, Params::of(provider.uid, model, provider.generation, name));
        return rows.empty() ? std::nullopt : rows.maybe(0, 0);
    });
}

Result<Canary> settle_canary(Session& session, std::string_view pool, std::string_view model, std::uint32_t dimensions,
                             const Canary& ours) {
    return guarded([&]() -> Result<Canary> {
        session.exec(kSettleCanary,
                     Params::of(pool, model, static_cast<std::int64_t>(dimensions), real_array(ours.embedding), ours.provider));
        const Rows rows = session.exec(kCanary, Params::of(pool, model, static_cast<std::int64_t>(dimensions)));
        if (rows.empty()) return internal_error("the canary of a pool vanished while it was read");
        return Canary{floats_of(rows.view(0, 0)), rows.text(0, 1)};
    });
}

Result<std::vector<ReplicaLine>> list_replicas(Session& session) {
    return guarded([&] {
        const Rows rows = session.exec(kReplicas);
        std::vector<ReplicaLine> out;
        for (int i = 0; i < rows.size(); ++i) {
            RowReader c(rows, i);
            out.push_back({c.text(), c.text(), c.integer<std::int32_t>(), c.millis(), c.millis(), c.text()});
        }
        return out;
    });
}

Status write_replica_snapshot(Session& session, std::string_view replica, std::string_view json) {
    return guarded([&]() -> Status {
        session.exec(kSnapshot, Params::of(replica, json));
        return {};
    });
}

Result<int> count_live_replicas(Session& session) {
    return guarded([&] { return static_cast<int>(session.exec(kLive).i64(0, 0)); });
}

}  // namespace homeostat
