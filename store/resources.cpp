#include "store/resources.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "store/target_views.hpp"
#include "store/text_array.hpp"

namespace homeostat {

namespace {

// Reads the columns of one row from left to right, so that a reader's order is the statement's order and nothing is numbered.
class RowReader {
public:
    RowReader(const Rows& rows, int row) : rows_(rows), row_(row) {}

    std::string text() { return rows_.text(row_, column_++); }
    std::optional<std::string> maybe() { return rows_.maybe(row_, column_++); }
    bool boolean() { return rows_.boolean(row_, column_++); }
    double real() { return rows_.f64(row_, column_++); }
    std::optional<double> maybe_real() {
        const int column = column_++;
        return rows_.maybe(row_, column) ? std::optional<double>(rows_.f64(row_, column)) : std::nullopt;
    }
    Millis millis() { return Millis{rows_.i64(row_, column_++)}; }
    template <class I = std::int64_t>
    I integer() {
        return static_cast<I>(rows_.i64(row_, column_++));
    }
    template <class I>
    std::optional<I> maybe_integer() {
        const auto value = rows_.maybe_i64(row_, column_++);
        return value ? std::optional<I>(static_cast<I>(*value)) : std::nullopt;
    }
    std::optional<Millis> maybe_millis() {
        const auto value = rows_.maybe_i64(row_, column_++);
        return value ? std::optional<Millis>(Millis{*value}) : std::nullopt;
    }
    std::optional<WallTime> maybe_time() {
        const auto micros = rows_.maybe_i64(row_, column_++);
        return micros ? std::optional<WallTime>(WallTime(std::chrono::microseconds(*micros))) : std::nullopt;
    }
    // Names as homeostat.column_list_text writes them: quoted where needed, with ", " between.
    std::vector<std::string> names() {
        std::vector<std::string> out;
        std::string_view rest = rows_.view(row_, column_++);
        while (!rest.empty()) {
            std::string name;
            std::size_t at = 0;
            const bool quoted = rest[0] == '"';
            for (at = quoted ? 1 : 0; at < rest.size(); ++at) {
                if (quoted ? rest[at] == '"' : rest[at] == ',') {
                    if (!quoted || at + 1 >= rest.size() || rest[at + 1] != '"') break;
                    ++at;
                }
                name += rest[at];
            }
            out.push_back(std::move(name));
            rest.remove_prefix(
                std::min(rest.size(), rest.find(", ", at) == std::string_view::npos ? rest.size() : rest.find(", ", at) + 2));
        }
        return out;
    }
    std::vector<std::string> words() { return parse_text_array(rows_.view(row_, column_++)); }
    StringMap map() {
        const std::string_view json = rows_.view(row_, column_++);
        StringMap out;
        if (json.empty() || json == "{}") return out;
        const auto object = nlohmann::json::parse(json);  // named: items() refers to it while the loop runs
        for (const auto& [key, value] : object.items()) {
            out[key] = value.is_string() ? value.get<std::string>() : value.dump();
        }
        return out;
    }
    std::vector<CaptureBase> bases() {
        std::vector<CaptureBase> out;
        for (const auto& base : nlohmann::json::parse(rows_.view(row_, column_++))) {
            out.push_back({base.at("table").get<std::string>(), base.at("key").get<StringMap>()});
        }
        return out;
    }

private:
    const Rows& rows_;
    int row_;
    int column_ = 0;
};

constexpr std::string_view kPipelineColumns = R"(uid, name, generation, labels, source, key, content, template, metadata,
    version_column, documents, provider, model, dimensions, chunker, chunk_size, chunk_overlap, chunk_unit, target, vector_type,
    index_method, distance, mode, management, drift_policy, priority, completeness,
    round(extract(epoch FROM max_staleness) * 1000)::bigint, round(extract(epoch FROM drift_interval) * 1000)::bigint,
    round(extract(epoch FROM deep_interval) * 1000)::bigint, prune, max_prune_ratio, max_prune_rows, deletion_policy, depends_on,
    backpressure, capture, capture_from, round(extract(epoch FROM sweep_interval) * 1000)::bigint,
    row_security, suspend, suspend_reason, reconcile_requested, approval, deletion_requested_at IS NOT NULL)";

PipelineSpec pipeline_of(RowReader r) {
    PipelineSpec p;
    p.uid = r.integer();
    p.name = r.text();
    p.generation = r.integer();
    p.labels = r.map();
    p.source = r.text();
    p.key = r.names();
    p.content = r.names();
    p.content_template = r.maybe();
    p.metadata = r.names();
    p.version_column = r.maybe();
    p.documents = r.maybe_integer<std::int64_t>();
    p.provider = r.text();
    p.model = r.maybe();
    p.dimensions = r.maybe_integer<std::uint32_t>();
    p.chunker = r.text();
    p.chunk_size = r.integer<std::uint32_t>();
    p.chunk_overlap = r.integer<std::uint32_t>();
    p.chunk_unit = r.text();
    p.target = r.text();
    p.vector_type = r.text();
    p.index_method = r.text();
    p.distance = r.text();
    p.mode = r.text();
    p.management = r.text();
    p.drift_policy = r.text();
    p.priority = r.integer<std::int32_t>();
    p.completeness = r.real();
    p.max_staleness = r.maybe_millis();
    p.drift_interval = r.millis();
    p.deep_interval = r.millis();
    p.prune = r.text();
    p.max_prune_ratio = r.real();
    p.max_prune_rows = r.integer();
    p.deletion_policy = r.text();
    p.depends_on = r.names();
    p.backpressure = r.text();
    p.capture = r.text();
    p.capture_from = r.bases();
    p.sweep_interval = r.millis();
    p.row_security = r.text();
    p.suspend = r.boolean();
    p.suspend_reason = r.maybe();
    p.reconcile_requested = r.maybe();
    p.approval = r.maybe();
    p.deleting = r.boolean();
    return p;
}

constexpr std::string_view kProviderColumns =
    R"(uid, name, generation, kind, endpoint, model, dimensions, credential, organization,
    headers, document_prefix, query_prefix, request, query_request, answers_as, encoding, send_dimensions, ca_file,
    client_certificate, client_key, proxy, max_batch, max_text_tokens, too_long, max_in_flight, breaker_failures, breaker_share,
    round(extract(epoch FROM breaker_pause) * 1000)::bigint, round(extract(epoch FROM breaker_pause_cap) * 1000)::bigint,
    requests_per_minute, tokens_per_minute, round(extract(epoch FROM timeout) * 1000)::bigint, price_per_million_tokens, rank, labels,
    pool, canary_tolerance, command, environment, memory_limit_mb)";

ProviderSpec provider_of(RowReader r) {
    ProviderSpec p;
    p.uid = r.integer();
    p.name = r.text();
    p.generation = r.integer();
    p.kind = r.text();
    p.endpoint = r.maybe();
    p.model = r.maybe();
    p.dimensions = r.maybe_integer<std::uint32_t>();
    p.credential = r.maybe();
    p.organization = r.maybe();
    p.headers = r.map();
    p.document_prefix = r.text();
    p.query_prefix = r.text();
    p.request = r.text();
    p.query_request = r.text();
    p.answers_as = r.maybe();
    p.encoding = r.text();
    p.send_dimensions = r.boolean();
    p.ca_file = r.maybe();
    p.client_certificate = r.maybe();
    p.client_key = r.maybe();
    p.proxy = r.maybe();
    p.max_batch = r.integer<std::uint32_t>();
    p.max_text_tokens = r.maybe_integer<std::uint32_t>();
    p.too_long = r.text();
    p.max_in_flight = r.integer<std::uint32_t>();
    p.breaker_failures = r.maybe_integer<std::uint32_t>();
    p.breaker_share = r.maybe_real();
    p.breaker_pause = r.maybe_millis();
    p.breaker_pause_cap = r.maybe_millis();
    p.requests_per_minute = r.maybe_integer<std::uint32_t>();
    p.tokens_per_minute = r.maybe_integer<std::uint64_t>();
    p.timeout = r.millis();
    p.price_per_million_tokens = r.real();
    p.rank = r.integer<std::int32_t>();
    p.labels = r.map();
    p.pool = r.maybe();
    p.canary_tolerance = r.real();
    p.command = r.words();
    p.environment = r.words();
    p.memory_limit_mb = r.integer<std::uint32_t>();
    return p;
}

template <class F>
auto all_of(const Rows& rows, F read) {
    std::vector<decltype(read(RowReader(rows, 0)))> out;
    out.reserve(static_cast<std::size_t>(rows.size()));
    for (int i = 0; i < rows.size(); ++i) out.push_back(read(RowReader(rows, i)));
    return out;
}

// "pipeline "x" does not exist (did you mean "y"?)"
template <class Asked>
Error no_such(Asked& asked, std::string_view kind, std::string_view name, const Statement& names) {
    const Rows rows = asked.exec(names);
    std::vector<std::string_view> known;
    for (int i = 0; i < rows.size(); ++i) known.push_back(rows.view(i, 0));
    return not_found(fmt::format("{} \"{}\" does not exist{}", kind, name, did_you_mean(name, known)));
}

const Statement kLiveNames{"pipeline_names",
                           "SELECT name FROM homeostat.pipeline WHERE deletion_requested_at IS NULL ORDER BY 1 LIMIT 1000"};
const Statement kProviderNames{"provider_names", "SELECT name FROM homeostat.provider ORDER BY 1 LIMIT 1000"};

// `asked` is a session or a transaction.
template <class Asked>
Result<PipelineSpec> find_living(Asked& asked, std::string_view name) {
    static const Statement kFind{
        "find_pipeline",
        fmt::format("SELECT {} FROM homeostat.pipeline WHERE name = $1 AND deletion_requested_at IS NULL", kPipelineColumns)};
    return guarded([&]() -> Result<PipelineSpec> {
        const Rows rows = asked.exec(kFind, Params::of(name));
        if (rows.empty()) return no_such(asked, "pipeline", name, kLiveNames);
        return pipeline_of(RowReader(rows, 0));
    });
}

// Runs an UPDATE of one live pipeline, named by $1, that returns a text.
Result<std::string> change_pipeline(Session& session, std::string_view name, const Statement& statement, const Params& params) {
    return guarded([&]() -> Result<std::string> {
        const Rows rows = session.exec(statement, params);
        if (rows.empty()) return no_such(session, "pipeline", name, kLiveNames);
        return rows.text(0, 0);
    });
}

Status status_of(Result<std::string> changed) { return changed ? Status() : Status(std::move(changed).error()); }

}  // namespace

Result<std::vector<PipelineSpec>> list_pipelines(Session& session) {
    static const Statement kList{"list_pipelines",
                                 fmt::format("SELECT {} FROM homeostat.pipeline ORDER BY name, uid", kPipelineColumns)};
    return guarded([&] { return all_of(session.exec(kList), pipeline_of); });
}

Result<PipelineSpec> read_pipeline(Session& session, std::int64_t uid) {
    static const Statement kRead{"read_pipeline",
                                 fmt::format("SELECT {} FROM homeostat.pipeline WHERE uid = $1", kPipelineColumns)};
    return guarded([&]() -> Result<PipelineSpec> {
        const Rows rows = session.exec(kRead, Params::of(uid));
        if (rows.empty()) return not_found(fmt::format("the pipeline with uid {} does not exist any more", uid));
        return pipeline_of(RowReader(rows, 0));
    });
}

Result<PipelineSpec> find_pipeline(Session& session, std::string_view name) { return find_living(session, name); }
Result<PipelineSpec> find_pipeline(Transaction& tx, std::string_view name) { return find_living(tx, name); }

Result<std::vector<ProviderSpec>> list_providers(Session& session) {
    static const Statement kList{"list_providers",
                                 fmt::format("SELECT {} FROM homeostat.provider ORDER BY name", kProviderColumns)};
    return guarded([&] { return all_of(session.exec(kList), provider_of); });
}

Result<ProviderSpec> find_provider(Session& session, std::string_view name) {
    static const Statement kFind{"find_provider",
                                 fmt::format("SELECT {} FROM homeostat.provider WHERE name = $1", kProviderColumns)};
    return guarded([&]() -> Result<ProviderSpec> {
        const Rows rows = session.exec(kFind, Params::of(name));
        if (rows.empty()) return no_such(session, "provider", name, kProviderNames);
        return provider_of(RowReader(rows, 0));
    });
}

Result<std::vector<PipelineLine>> list_pipeline_lines(Session& session) {
    static const Statement kList{"list_pipeline_lines",
                                 R"(SELECT uid, name, ready, reason, kstatus, message, source_documents, documents, chunks, drift,
               dead_letters, source, target, provider, suspended, (extract(epoch FROM last_converged_at) * 1000000)::bigint,
               waiting, (extract(epoch FROM lag) * 1000)::bigint, phase
        FROM homeostat.pipelines ORDER BY name, uid)"};
    return guarded([&] {
        return all_of(session.exec(kList), [](RowReader r) {
            PipelineLine line;
            line.uid = r.integer();
            line.name = r.text();
            line.ready = r.text();
            line.reason = r.text();
            line.kstatus = r.text();
            line.message = r.text();
            line.source_documents = r.maybe_integer<std::int64_t>();
            line.documents = r.integer();
            line.chunks = r.integer();
            line.drift = r.integer();
            line.dead_letters = r.integer();
            line.source = r.text();
            line.target = r.text();
            line.provider = r.text();
            line.suspended = r.boolean();
            line.last_converged = r.maybe_time();
            line.waiting = r.integer();
            line.lag = r.maybe_millis();
            line.phase = r.text();
            return line;
        });
    });
}

Result<std::vector<ProviderHealth>> list_provider_health(Session& session) {
    static const Statement kList{"list_provider_health",
                                 "SELECT DISTINCT ON (uid) uid, healthy, reason, message FROM homeostat.own_provider_status"
                                 " ORDER BY uid, healthy, updated_at DESC"};
    return guarded([&] {
        return all_of(session.exec(kList), [](RowReader r) {
            return ProviderHealth{.uid = r.integer(), .healthy = r.boolean(), .reason = r.text(), .message = r.text()};
        });
    });
}

Status set_suspended(Session& session, std::string_view pipeline, bool suspended, const std::optional<std::string>& reason,
                     std::optional<Millis> for_how_long) {
    // Who suspended it and when is filled in by the table's own trigger; suspending again only changes the end, and
    // the reason where one is given.
    static const Statement kSuspend{"set_suspended",
                                    R"(UPDATE homeostat.pipeline
        SET suspend_reason = CASE WHEN $2 AND suspend THEN coalesce($3, suspend_reason) ELSE $3 END, suspend = $2, suspend_until = clock_timestamp() + $4::bigint * interval '1 millisecond'
        WHERE name = $1 AND deletion_requested_at IS NULL RETURNING name)"};
    std::optional<std::int64_t> millis;
    if (suspended && for_how_long) millis = for_how_long->count();
    return status_of(
        change_pipeline(session, pipeline, kSuspend, Params::of(pipeline, suspended, suspended ? reason : std::nullopt, millis)));
}

Result<std::string> request_reconcile(Session& session, std::string_view pipeline) {
    static const Statement kRequest{"request_reconcile",
                                    R"(UPDATE homeostat.pipeline SET reconcile_requested = gen_random_uuid()::text
        WHERE name = $1 AND deletion_requested_at IS NULL RETURNING reconcile_requested)"};
    return change_pipeline(session, pipeline, kRequest, Params::of(pipeline));
}

Status approve_prune(Session& session, std::string_view pipeline, std::string_view plan_id) {
    // Compared and set in one statement: another sweep may hold back another set at any moment.
    static const Statement kApprove{"approve_prune",
                                    R"sql(
        WITH blocked AS MATERIALIZED (
            SELECT p.uid, CASE WHEN s.blocked_prunes > 0 THEN s.blocked_plan ELSE '' END AS plan
            FROM homeostat.pipeline p LEFT JOIN homeostat.own_pipeline_status s USING (uid)
            WHERE p.name = $1 AND p.deletion_requested_at IS NULL),
        approved AS (UPDATE homeostat.pipeline p SET approval = $2 FROM blocked b
            WHERE p.uid = b.uid AND b.plan = $2 AND b.plan <> '' RETURNING p.uid)
        SELECT coalesce(b.plan, ''), EXISTS (SELECT FROM approved) FROM blocked b)sql"};
    return guarded([&]() -> Status {
        const Rows rows = session.exec(kApprove, Params::of(pipeline, plan_id));
        if (rows.empty()) {
            const Result<PipelineSpec> missing = find_pipeline(session, pipeline);  // says which name was meant
            return missing ? Status(not_found(fmt::format("pipeline \"{}\" is being deleted", pipeline))) : missing.error();
        }
        if (rows.boolean(0, 1)) return {};
        if (rows.view(0, 0).empty()) return invalid(fmt::format("pipeline \"{}\": no deletions wait for approval", pipeline));
        return invalid(fmt::format("pipeline \"{}\": {} is not the plan that waits for approval; that is {}", pipeline, plan_id,
                                   rows.view(0, 0)));
    });
}

Status delete_object(Session& session, ResourceKind kind, std::string_view name) {
    static const Statement kPipeline{"delete_pipeline", "DELETE FROM homeostat.pipeline WHERE uid = $1"};
    static const Statement kTargetView{"delete_target_view", "DELETE FROM homeostat.target_view WHERE uid = $1"};
    static const Statement kProvider{"delete_provider", "DELETE FROM homeostat.provider WHERE uid = $1"};
    return guarded([&]() -> Status {
        if (kind == ResourceKind::pipeline) {
            const auto found = find_pipeline(session, name);
            if (!found) return found.error();
            session.exec(kPipeline, Params::of(found->uid));
        } else if (kind == ResourceKind::target_view) {
            const auto found = find_target_view(session, name);
            if (!found) return found.error();
            session.exec(kTargetView, Params::of(found->uid));
        } else {
            const auto found = find_provider(session, name);
            if (!found) return found.error();
            session.exec(kProvider, Params::of(found->uid));
        }
        return {};
    });
}

}  // namespace homeostat
