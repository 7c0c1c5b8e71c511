#include "store/inspect/listings.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

using enum ListingType;

constexpr std::array kEvent{ListingColumn{"name", text, true},
                            ListingColumn{"object"},
                            ListingColumn{"at", time},
                            ListingColumn{"type"},
                            ListingColumn{"reason"},
                            ListingColumn{"message"},
                            ListingColumn{"reconcileId", text, true},
                            ListingColumn{"traceId", text, true}};
constexpr std::array kRun{ListingColumn{"name"},
                          ListingColumn{"object"},
                          ListingColumn{"trigger"},
                          ListingColumn{"status"},
                          ListingColumn{"result"},
                          ListingColumn{"planned", number},
                          ListingColumn{"startedAt", time},
                          ListingColumn{"endedAt", time},
                          ListingColumn{"message"},
                          ListingColumn{"revision", number, true},
                          ListingColumn{"tokens", number, true},
                          ListingColumn{"wastedTokens", number, true},
                          ListingColumn{"savedTokens", number, true},
                          ListingColumn{"cost", text, true},
                          ListingColumn{"healed", text, true},
                          ListingColumn{"reconcileId", text, true},
                          ListingColumn{"traceId", text, true}};
constexpr std::array kReplica{ListingColumn{"name"},
                              ListingColumn{"object", text, true},
                              ListingColumn{"host"},
                              ListingColumn{"pid", number},
                              ListingColumn{"version"},
                              ListingColumn{"schemaVersion", number},
                              ListingColumn{"startedAt", time},
                              ListingColumn{"heartbeatAt", time},
                              ListingColumn{"state"},
                              ListingColumn{"batches", number},
                              ListingColumn{"leases", number}};
constexpr std::array kBatch{ListingColumn{"name"},
                            ListingColumn{"object"},
                            ListingColumn{"kind"},
                            ListingColumn{"class"},
                            ListingColumn{"documents", number},
                            ListingColumn{"attempts", number},
                            ListingColumn{"replica"},
                            ListingColumn{"createdAt", time},
                            ListingColumn{"runAfter", time, true},
                            ListingColumn{"priority", number, true},
                            ListingColumn{"revision", number, true},
                            ListingColumn{"lastError"}};
constexpr std::array kRevision{ListingColumn{"name"},           ListingColumn{"object"},
                               ListingColumn{"state"},          ListingColumn{"provider"},
                               ListingColumn{"model"},          ListingColumn{"dimensions", number},
                               ListingColumn{"vectorType"},     ListingColumn{"createdAt", time},
                               ListingColumn{"servedAt", time}, ListingColumn{"retiredAt", time, true}};
constexpr std::array kLease{ListingColumn{"name"},
                            ListingColumn{"object"},
                            ListingColumn{"holder"},
                            ListingColumn{"epoch", number},
                            ListingColumn{"acquiredAt", time},
                            ListingColumn{"state"},
                            ListingColumn{"expiresAt", time, true}};
constexpr std::array kDeadLetter{ListingColumn{"name"},
                                 ListingColumn{"object"},
                                 ListingColumn{"class"},
                                 ListingColumn{"strategy"},
                                 ListingColumn{"attempts", number},
                                 ListingColumn{"createdAt", time},
                                 ListingColumn{"message"},
                                 ListingColumn{"revision", number, true},
                                 ListingColumn{"traceId", text, true}};
constexpr std::array kCheckpoint{ListingColumn{"name"},
                                 ListingColumn{"object"},
                                 ListingColumn{"state"},
                                 ListingColumn{"createdAt", time},
                                 ListingColumn{"documents", number},
                                 ListingColumn{"chunks", number},
                                 ListingColumn{"createdBy"},
                                 ListingColumn{"revision", number, true}};

// Each gives: the row's columns in their order, then the name of the object it is about, then what it is ordered by.
// What an object was called that is gone is not kept with its events: then its number has to do.
constexpr std::string_view kEvents =
    "SELECT e.id::text, CASE WHEN p.uid IS NOT NULL THEN 'pipeline/' || p.name WHEN v.uid IS NOT NULL THEN 'targetview/' || "
    "v.name"
    " WHEN e.uid IS NOT NULL THEN 'uid/' || e.uid ELSE '' END, (extract(epoch FROM e.at) * 1000000)::bigint, e.type, e.reason,"
    " e.message, e.reconcile_id, e.trace_id, coalesce(p.name, v.name), e.at, e.id"
    " FROM homeostat.own_event e LEFT JOIN homeostat.pipeline p USING (uid) LEFT JOIN homeostat.target_view v USING (uid)";
constexpr std::string_view kRuns = R"sql(
    SELECT r.id::text, 'pipeline/' || r.pipeline, r.trigger, r.status, r.result, r.planned,
        (extract(epoch FROM r.started_at) * 1000000)::bigint, (extract(epoch FROM r.ended_at) * 1000000)::bigint, r.message,
        r.revision, r.tokens, r.wasted_tokens, r.saved_tokens, trim_scale(r.cost)::text,
        (SELECT string_agg(h.value || ' ' || h.key, ', ' ORDER BY h.value::bigint DESC, h.key) FROM jsonb_each_text(r.healed) h),
        r.reconcile_id, substr(r.traceparent, 4, 32), r.pipeline, r.started_at, r.id
    FROM homeostat.own_run_history r
    UNION ALL SELECT u.id::text, 'pipeline/' || p.name, u.trigger, 'under way', 'under way', u.planned,
        (extract(epoch FROM u.started_at) * 1000000)::bigint, NULL, u.phase, u.revision, NULL, NULL, NULL, NULL, NULL,
        u.reconcile_id, substr(u.traceparent, 4, 32), p.name, u.started_at, u.id
    FROM homeostat.own_run u JOIN homeostat.pipeline p USING (uid))sql";
constexpr std::string_view kReplicas =
    "SELECT r.id, '', r.host, r.pid, r.version, r.schema_version, (extract(epoch FROM r.started_at) * 1000000)::bigint,"
    " (extract(epoch FROM r.heartbeat_at) * 1000000)::bigint,"
    " CASE WHEN r.ended_at IS NOT NULL THEN 'ended'"
    " WHEN r.heartbeat_at > clock_timestamp() - interval '30 seconds' THEN 'alive' ELSE 'silent' END,"
    " (SELECT count(*) FROM homeostat.own_batch b WHERE b.claimed_by = r.id AND b.claim_token IS NOT NULL),"
    " (SELECT count(*) FROM homeostat.lease l WHERE l.holder = r.id AND l.expires_at > clock_timestamp()),"
    " r.id, r.started_at, 0::bigint FROM homeostat.replica r";
constexpr std::string_view kBatches =
    "SELECT b.id::text, 'pipeline/' || p.name, b.kind, b.class, b.documents, b.attempts, coalesce(b.claimed_by, ''),"
    " (extract(epoch FROM b.created_at) * 1000000)::bigint, (extract(epoch FROM b.run_after) * 1000000)::bigint, b.priority,"
    " b.revision, b.last_error, p.name, b.created_at, b.id FROM homeostat.own_batch b JOIN homeostat.pipeline p USING (uid)";
constexpr std::string_view kRevisions =
    "SELECT p.name || '.' || r.revision, 'pipeline/' || p.name, r.state, r.provider, r.model, r.dimensions, r.vector_type,"
    " (extract(epoch FROM r.created_at) * 1000000)::bigint, (extract(epoch FROM r.served_at) * 1000000)::bigint,"
    " (extract(epoch FROM r.retired_at) * 1000000)::bigint, p.name, r.created_at, r.revision::bigint"
    " FROM homeostat.revision r JOIN homeostat.pipeline p USING (uid)";
// The lease of a pipeline is called pipeline/UID; others stand for themselves.
constexpr std::string_view kLeases =
    "SELECT l.resource, coalesce('pipeline/' || p.name, ''), l.holder, l.epoch, (extract(epoch FROM l.acquired_at) * "
    "1000000)::bigint,"
    " CASE WHEN l.expires_at > clock_timestamp() THEN 'held' ELSE 'free' END, (extract(epoch FROM l.expires_at) * "
    "1000000)::bigint,"
    " p.name, l.acquired_at, 0::bigint FROM homeostat.lease l LEFT JOIN homeostat.pipeline p ON l.resource = 'pipeline/' || "
    "p.uid";
constexpr std::string_view kDeadLetters =
    "SELECT array_to_string(d.key, ',', ''), 'pipeline/' || p.name, d.class, d.strategy, d.attempts,"
    " (extract(epoch FROM d.created_at) * 1000000)::bigint, d.message, d.revision, d.trace_id, p.name, d.created_at, 0::bigint"
    " FROM homeostat.own_dead_letter d JOIN homeostat.pipeline p USING (uid)";
// Whether it can be gone back to: not where its journal is gone, or another revision is served.
constexpr std::string_view kCheckpoints = R"sql(
    SELECT c.name, 'pipeline/' || p.name, CASE WHEN c.state = 'requested' THEN 'requested' WHEN c.entry IS NULL OR
        c.entry < r.journal_from THEN 'gone' WHEN r.state IS DISTINCT FROM 'served' THEN 'not served' ELSE 'ready' END,
        (extract(epoch FROM c.created_at) * 1000000)::bigint, c.documents, c.chunks, c.created_by, c.revision, p.name,
        c.created_at, c.id
    FROM homeostat.own_checkpoint c JOIN homeostat.pipeline p USING (uid)
    LEFT JOIN homeostat.revision r ON r.uid = c.uid AND r.revision = c.revision)sql";

struct Source {
    std::string_view sql;
    std::span<const ListingColumn> columns;
    const char* statement;
};

Source source_of(ListingKind kind) {
    switch (kind) {
        case ListingKind::run: return {kRuns, kRun, "listing_runs"};
        case ListingKind::replica: return {kReplicas, kReplica, "listing_replicas"};
        case ListingKind::batch: return {kBatches, kBatch, "listing_batches"};
        case ListingKind::revision: return {kRevisions, kRevision, "listing_revisions"};
        case ListingKind::lease: return {kLeases, kLease, "listing_leases"};
        case ListingKind::dead_letter: return {kDeadLetters, kDeadLetter, "listing_dead_letters"};
        case ListingKind::checkpoint: return {kCheckpoints, kCheckpoint, "listing_checkpoints"};
        case ListingKind::event: break;
    }
    return {kEvents, kEvent, "listing_events"};
}

Statement statement_of(const Source& source) {
    std::string columns;
    std::string outputs;
    for (std::size_t i = 0; i < source.columns.size(); ++i) {
        columns += fmt::format("{}c{}", i == 0 ? "" : ", ", i);
        outputs += fmt::format("{}q.c{}::text", i == 0 ? "" : ", ", i);
    }
    return {source.statement,
            fmt::format("SELECT {} FROM (SELECT * FROM ({}) AS s ({}, about, moment, number)"
                        " WHERE $1::text[] IS NULL OR c0 = ANY ($1::text[]) OR about = ANY ($1::text[])"
                        " ORDER BY moment DESC, number DESC LIMIT $2::bigint) q ORDER BY q.moment, q.number, q.c0",
                        outputs, source.sql, columns)};
}

// The same from the newest on, a page at a time, with the place of each row behind its columns.
Statement page_statement(const Source& source, bool with_reason) {
    std::string columns;
    std::string outputs;
    for (std::size_t i = 0; i < source.columns.size(); ++i) {
        columns += fmt::format("{}c{}", i == 0 ? "" : ", ", i);
        outputs += fmt::format("c{}::text, ", i);
    }
    constexpr std::string_view kPage = R"sql(
        SELECT {0} (extract(epoch FROM moment) * 1000000)::bigint, number, coalesce(c0::text, ''), coalesce(about::text, '')
        FROM ({1}) AS s ({2}, about, moment, number)
        WHERE ($1::text[] IS NULL OR c0 = ANY ($1::text[]) OR about = ANY ($1::text[])){3}
            AND ($4::bigint IS NULL OR (moment, number, coalesce(c0::text, ''), coalesce(about::text, ''))
                < (timestamptz 'epoch' + $4::bigint * interval '1 microsecond', $5::bigint, $6::text, $7::text))
        ORDER BY moment DESC, number DESC, coalesce(c0::text, '') DESC, coalesce(about::text, '') DESC LIMIT $2::bigint)sql";
    return {std::string(source.statement) + "_page",
            fmt::format(kPage, outputs, source.sql, columns,
                        with_reason ? " AND ($3::text = '' OR c4 = $3::text)" : " AND $3::text = ''")};
}

}  // namespace

std::span<const ListingColumn> listing_columns(ListingKind kind) { return source_of(kind).columns; }

Result<std::vector<ListingRow>> read_listing(Session& session, ListingKind kind, const std::vector<std::string>& names,
                                             int limit) {
    return guarded([&] {
        const Source source = source_of(kind);
        const auto wanted = names.empty() ? std::nullopt : std::optional(format_text_array(names));
        const Rows rows = session.exec(statement_of(source), Params::of(wanted, limit));
        std::vector<ListingRow> out;
        for (int i = 0; i < rows.size(); ++i) {
            ListingRow row;
            for (int c = 0; c < static_cast<int>(source.columns.size()); ++c) row.push_back(rows.maybe(i, c));
            out.push_back(std::move(row));
        }
        return out;
    });
}

Result<ListingPage> read_listing_page(Session& session, ListingKind kind, const ListingWanted& wanted) {
    return guarded([&] {
        const Source source = source_of(kind);
        const auto names = wanted.names.empty() ? std::nullopt : std::optional(format_text_array(wanted.names));
        Params params = Params::of(names, wanted.limit + 1, wanted.reason);
        if (wanted.after) {
            params.add(wanted.after->moment).add(wanted.after->number).add(wanted.after->name).add(wanted.after->about);
        } else {
            params.add(nullptr).add(nullptr).add(nullptr).add(nullptr);
        }
        const Rows rows = session.exec(page_statement(source, kind == ListingKind::event), params);
        const int width = static_cast<int>(source.columns.size());
        ListingPage page;
        for (int i = 0; i < std::min(rows.size(), wanted.limit); ++i) {
            ListingRow row;
            for (int c = 0; c < width; ++c) row.push_back(rows.maybe(i, c));
            page.rows.push_back(std::move(row));
        }
        if (rows.size() > wanted.limit && wanted.limit > 0) {
            const int last = wanted.limit - 1;
            page.next = ListingPlace{rows.i64(last, width), rows.i64(last, width + 1), rows.text(last, width + 2),
                                     rows.text(last, width + 3)};
        }
        return page;
    });
}

}  // namespace homeostat
