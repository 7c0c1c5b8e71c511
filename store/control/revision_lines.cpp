#include "store/control/revision_lines.hpp"

#include <algorithm>

#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

const Statement kLines{"revision_lines", R"sql(
    SELECT r.revision, r.state, r.served_at IS NOT NULL, r.settings::text, coalesce(p.revision_pin = r.revision, false),
        coalesce(p.revision_drop = r.revision, false),
        CASE WHEN r.state = 'served' THEN s.documents ELSE greatest(nullif(t.documents, -1), h.written) END,
        CASE WHEN r.state = 'served' THEN s.chunks ELSE nullif(t.chunks, -1) END, t.bytes,
        r.created_at::text, r.served_at::text, r.retired_at::text,
        u.id IS NOT NULL, coalesce(h.written, 0), s.source_documents, coalesce(h.tokens, 0),
        coalesce(extract(epoch FROM clock_timestamp() - u.started_at), 0)::float8,
        coalesce(o.price_per_million_tokens, 0)::float8, coalesce(o.currency, '')
    FROM homeostat.revision r JOIN homeostat.pipeline p USING (uid)
    LEFT JOIN homeostat.provider o ON o.name = p.provider
    LEFT JOIN homeostat.own_pipeline_status s ON s.uid = r.uid
    LEFT JOIN homeostat.own_run u ON u.uid = r.uid AND u.revision = r.revision AND r.state = 'building'
    LEFT JOIN LATERAL (SELECT sum(b.written)::bigint AS written, sum(b.tokens)::bigint AS tokens
                       FROM homeostat.own_batch_history b WHERE b.run_id = u.id) h ON u.id IS NOT NULL
    CROSS JOIN LATERAL (
        SELECT max(c.reltuples::bigint) FILTER (WHERE n.name = 'document') AS documents,
               max(c.reltuples::bigint) FILTER (WHERE n.name = 'chunk') AS chunks,
               coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint AS bytes
        FROM unnest('{document,chunk,journal}'::text[]) AS n(name)
        JOIN pg_class c ON c.oid = to_regclass(format('homeostat_data.p%s_r%s_%s', r.uid, r.revision, n.name))) t
    WHERE r.uid = $1::bigint ORDER BY r.revision)sql"};

const Statement kPin{"revision_pin_read", R"sql(
    SELECT revision_pin, coalesce(revision_pinned_by, ''), coalesce(revision_pin_reason, ''), revision_pinned_at::text
    FROM homeostat.pipeline WHERE uid = $1::bigint AND revision_pin IS NOT NULL)sql"};
const Statement kAsk{"revision_pin", R"sql(
    UPDATE homeostat.pipeline SET revision_pin = $2::int, revision_pin_reason = $3 WHERE uid = $1::bigint)sql"};
const Statement kDrop{"revision_ask_drop", "UPDATE homeostat.pipeline SET revision_drop = $2::int WHERE uid = $1::bigint"};

RevisionStanding standing_of(std::string_view state, bool was_whole) {
    if (state == "building") return RevisionStanding::filling;
    if (state == "served") return RevisionStanding::serving;
    return was_whole ? RevisionStanding::kept : RevisionStanding::aborted;
}

Result<RevisionLine> line_at(RowReader c) {
    RevisionLine line;
    line.number = c.integer<std::int32_t>();
    const std::string_view state = c.view();
    line.standing = standing_of(state, c.boolean());
    Result<RevisionSettings> settings = RevisionSettings::from_json(c.view());
    if (!settings) return settings.error();
    line.settings = *std::move(settings);
    line.pinned = c.boolean();
    line.dropping = c.boolean();
    line.documents = c.maybe_integer<std::int64_t>();
    line.chunks = c.maybe_integer<std::int64_t>();
    line.bytes = c.integer();
    line.created = c.maybe_stamp();
    line.served = c.maybe_stamp();
    line.retired = c.maybe_stamp();
    const bool fills = c.boolean();
    FillProgress fill;
    fill.written = c.integer();
    fill.of = c.maybe_integer<std::int64_t>();
    fill.tokens = c.integer();
    fill.seconds = c.real();
    fill.price = c.real();
    fill.currency = c.text();
    if (fills) line.fill = fill;
    return line;
}

}  // namespace

std::string_view to_string(RevisionStanding s) noexcept {
    switch (s) {
        case RevisionStanding::filling: return "filling";
        case RevisionStanding::serving: return "serving";
        case RevisionStanding::kept: return "kept";
        case RevisionStanding::aborted: return "aborted";
    }
    return "";
}

std::optional<double> FillProgress::seconds_left() const {
    if (!of || written <= 0 || seconds <= 0) return std::nullopt;
    return static_cast<double>(std::max<std::int64_t>(0, *of - written)) * seconds / static_cast<double>(written);
}

std::optional<double> FillProgress::cost() const {
    if (price <= 0) return std::nullopt;
    return static_cast<double>(tokens) * price / 1e6;
}

std::optional<double> FillProgress::cost_left() const {
    const std::optional<double> paid = cost();
    if (!paid || !of || written <= 0) return std::nullopt;
    return static_cast<double>(std::max<std::int64_t>(0, *of - written)) * *paid / static_cast<double>(written);
}

Result<std::vector<RevisionLine>> list_revision_lines(Session& session, std::int64_t uid) {
    return guarded([&]() -> Result<std::vector<RevisionLine>> {
        const Rows rows = session.exec(kLines, Params::of(uid));
        std::vector<RevisionLine> out;
        for (int i = 0; i < rows.size(); ++i) {
            Result<RevisionLine> line = line_at(RowReader(rows, i));
            if (!line) return line.error();
            line->why = out.empty() ? line->number == 1 ? "the first" : "" : what_differs(out.back().settings, line->settings);
            out.push_back(*std::move(line));
        }
        return out;
    });
}

Result<std::optional<RevisionPin>> read_revision_pin(Session& session, std::int64_t uid) {
    return guarded([&]() -> std::optional<RevisionPin> {
        const Rows rows = session.exec(kPin, Params::of(uid));
        if (rows.empty()) return std::nullopt;
        RowReader c(rows, 0);
        return RevisionPin{c.integer<std::int32_t>(), c.text(), c.text(), c.maybe_stamp()};
    });
}

Status pin_revision(Session& session, std::int64_t uid, std::int32_t revision, const std::optional<std::string>& reason) {
    return guarded([&] { session.exec(kAsk, Params::of(uid, revision, reason)); });
}

Status ask_to_drop_revision(Session& session, std::int64_t uid, std::int32_t revision) {
    return guarded([&] { session.exec(kDrop, Params::of(uid, revision)); });
}

}  // namespace homeostat
