#include "store/control/adoptions.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

constexpr std::array<std::string_view, kLeftBehind> kReasons{"withoutVector", "otherChunks", "otherText",
                                                             "duplicate",     "otherWidth",  "notAVector"};
constexpr std::array<std::string_view, kLeftBehind> kSentences{"without a vector",  "cut into other chunks",
                                                               "with another text", "with two vectors for one chunk",
                                                               "of another width",  "whose vector is none"};
constexpr std::array<std::string_view, 5> kStates{"requested", "audited", "running", "done", "refused"};

#define ADOPTION_COUNTS "looked_at, documents, chunks, left_over::text, used"

const Statement kOpen{"adoption_open", R"sql(
    SELECT id, generation, run_id, state, relation, homeostat.column_list(key)::text, vector_column, chunk_column, text_column,
        sample, first_chunk, vectors, cursor::text, requested_by, )sql" ADOPTION_COUNTS R"sql(
    FROM homeostat.adoption WHERE uid = $1::bigint AND ended_at IS NULL)sql"};
const Statement kAudited{"adoption_audited", R"sql(
    UPDATE homeostat.adoption SET state = 'audited', message = '', first_chunk = $2::bigint, vectors = $3::bigint,
        compared = $4::int, worst = $5::float8, tokens = tokens + $6::bigint
    WHERE id = $1::bigint AND state = 'requested')sql"};
const Statement kTell{"adoption_tell",
                      "UPDATE homeostat.adoption SET message = left($2, 1024) WHERE id = $1::bigint AND ended_at IS NULL AND "
                      "message <> left($2, 1024)"};
const Statement kBegin{"adoption_begin",
                       "UPDATE homeostat.adoption SET state = 'running', message = '', run_id = $2::bigint WHERE id = $1::bigint "
                       "AND state = 'audited'"};
const Statement kMove{"adoption_move", R"sql(
    UPDATE homeostat.adoption a SET cursor = $2::text[], looked_at = looked_at + $3::bigint, documents = documents + $4::bigint,
        chunks = chunks + $5::bigint, used = used + $6::bigint, left_over = (
            SELECT coalesce(jsonb_object_agg(t.key, t.n), '{}') FROM (
                SELECT b.key, sum(b.value::bigint) AS n FROM (
                    SELECT * FROM jsonb_each_text(a.left_over) UNION ALL SELECT * FROM jsonb_each_text($7::jsonb)) b
                GROUP BY b.key) t)
    WHERE id = $1::bigint AND state = 'running')sql"};
const Statement kDone{
    "adoption_done",
    "UPDATE homeostat.adoption SET state = 'done', cursor = NULL, message = left($2, 1024), ended_at = clock_timestamp()"
    " WHERE id = $1::bigint"};
// How it ended, what came of it, and what the sample has cost: none of it is of a batch.
const Statement kRun{"adoption_run", R"sql(
    UPDATE homeostat.run_history h SET planned = a.documents, tokens = a.tokens,
        healed = CASE WHEN a.documents > 0 THEN jsonb_build_object('adopted', a.documents) ELSE '{}' END,
        status = CASE WHEN a.left_over <> '{}' THEN 'partial' WHEN a.documents > 0 THEN 'completed' ELSE 'no_action_needed' END,
        cost = (SELECT round(a.tokens * o.price_per_million_tokens / 1e6, 6) FROM homeostat.pipeline p
                JOIN homeostat.provider o ON o.name = p.provider WHERE p.uid = a.uid AND o.price_per_million_tokens > 0)
    FROM homeostat.adoption a WHERE a.id = $1::bigint AND h.id = a.run_id AND h.uid = a.uid)sql"};
const Statement kStatus{"adoption_status", R"sql(
    UPDATE homeostat.pipeline_status SET documents = $2::bigint, chunks = $3::bigint, next_attempt_at = NULL,
        last_deep_sweep_at = NULL WHERE uid = $1::bigint)sql"};
const Statement kRefuse{
    "adoption_refuse",
    "UPDATE homeostat.adoption SET state = 'refused', cursor = NULL, message = left($2, 1024), ended_at = clock_timestamp()"
    " WHERE id = $1::bigint AND ended_at IS NULL"};
const Statement kToken{"adoption_token", "SELECT nextval('homeostat.claim_token') * 1048576 + trunc(random() * 1048576)::bigint"};
const Statement kFound{
    "",
    "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.oid = to_regclass($1)"};
const Statement kAsk{"adoption_ask", R"sql(
    INSERT INTO homeostat.own_adoption (pipeline, relation, key, vector_column, chunk_column, text_column, sample)
    VALUES ($1, $2, $3, $4, $5, $6, $7::int) RETURNING id)sql"};
const Statement kRead{"adoption_read", R"sql(
    SELECT id, pipeline, relation, state, message, vectors, run_id, tokens, compared, worst, requested_by, requested_at::text,
        ended_at::text, )sql" ADOPTION_COUNTS R"sql(
    FROM homeostat.own_adoption WHERE pipeline = $1 AND ($2::bigint IS NULL OR id = $2::bigint) ORDER BY id DESC LIMIT $3::int)sql"};
const Statement kSuspend{"adoption_suspend_new", R"sql(
    UPDATE homeostat.pipeline SET suspend = true, suspend_reason = 'declared with --suspended; nothing is embedded yet'
    WHERE name = $1 AND deletion_requested_at IS NULL AND NOT suspend)sql"};

AdoptionState state_named(std::string_view word) {
    for (std::size_t i = 0; i < kStates.size(); ++i) {
        if (word == kStates[i]) return static_cast<AdoptionState>(i);
    }
    return AdoptionState::refused;
}

std::string to_json(const LeftCounts& left) {
    nlohmann::json out = nlohmann::json::object();
    for (std::size_t i = 0; i < kLeftBehind; ++i) {
        if (left[i] > 0) out[std::string(kReasons[i])] = left[i];
    }
    return out.dump();
}

AdoptionCounts counts_at(RowReader& c) {
    AdoptionCounts n;
    n.looked_at = c.integer();
    n.documents = c.integer();
    n.chunks = c.integer();
    const nlohmann::json left = nlohmann::json::parse(c.view());
    for (std::size_t i = 0; i < kLeftBehind; ++i) n.left[i] = left.value(std::string(kReasons[i]), std::int64_t{0});
    n.used = c.integer();
    return n;
}

}  // namespace

std::string_view to_string(LeftBehind why) noexcept { return kReasons[static_cast<std::size_t>(why)]; }
std::string_view to_string(AdoptionState state) noexcept { return kStates[static_cast<std::size_t>(state)]; }

std::string left_text(const LeftCounts& left) {
    std::string out;
    for (std::size_t i = 0; i < kLeftBehind; ++i) {
        if (left[i] > 0) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", left[i], kSentences[i]);
    }
    return out;
}

std::optional<AdoptionRequest> read_adoption_request(Transaction& tx, std::int64_t uid) {
    const Rows rows = tx.exec(kOpen, Params::of(uid));
    if (rows.empty()) return std::nullopt;
    RowReader c(rows, 0);
    AdoptionRequest r;
    r.id = c.integer();
    r.generation = c.integer();
    r.run_id = c.integer();
    r.state = state_named(c.view());
    r.relation = c.text();
    r.key = c.words();
    r.vector = c.text();
    r.chunk = c.maybe();
    r.text = c.maybe();
    r.sample = c.integer<std::size_t>();
    r.first_chunk = c.integer();
    r.vectors = c.integer();
    if (const auto cursor = c.maybe()) r.cursor = parse_text_array(*cursor);
    r.requested_by = c.text();
    r.counts = counts_at(c);
    return r;
}

void note_adoption_audit(Transaction& tx, std::int64_t id, const AdoptionAudit& a) {
    tx.exec(kAudited, Params::of(id, a.first_chunk, a.vectors, a.compared, a.worst, a.tokens));
}

void tell_adoption(Transaction& tx, std::int64_t id, std::string_view message) { tx.exec(kTell, Params::of(id, message)); }

void begin_adoption(Transaction& tx, std::int64_t id, std::int64_t run_id) { tx.exec(kBegin, Params::of(id, run_id)); }

void move_adoption(Transaction& tx, std::int64_t id, const Key& cursor, const AdoptionCounts& n) {
    tx.exec(kMove, Params::of(id, format_text_array(cursor), n.looked_at, n.documents, n.chunks, n.used, to_json(n.left)));
}

void end_adoption(Transaction& tx, std::int64_t uid, const AdoptionRequest& request, const Totals& stored,
                  std::string_view message) {
    tx.exec(kRun, Params::of(request.id));
    tx.exec(kStatus, Params::of(uid, stored.documents, stored.chunks));
    tx.exec(kDone, Params::of(request.id, message));
}

void refuse_adoption(Transaction& tx, std::int64_t id, std::string_view why) { tx.exec(kRefuse, Params::of(id, why)); }

std::int64_t fresh_write_token(Transaction& tx) { return tx.exec(kToken).i64(0, 0); }

Result<std::int64_t> request_adoption(Session& session, const AdoptionWish& w) {
    Result<std::int64_t> id = guarded([&] {
        Transaction tx = session.begin();
        // A person means the schemas that psql would look in.
        tx.exec("SET LOCAL search_path TO DEFAULT");
        std::string relation = w.relation;
        const Status found = guarded([&] {
            tx.exec("SAVEPOINT named");
            const Rows rows = tx.exec(kFound, Params::of(w.relation));
            if (!rows.empty()) relation = rows.text(0, 0);
        });
        if (!found) tx.exec("ROLLBACK TO SAVEPOINT named");
        tx.exec("SET LOCAL search_path TO pg_catalog");
        const std::int64_t made =
            tx.exec(kAsk, Params::of(w.pipeline, relation, w.key, w.vector, w.chunk, w.text, w.sample)).i64(0, 0);
        tx.commit();
        return made;
    });
    return id;
}

Result<std::vector<Adoption>> read_adoptions(Session& session, const std::string& pipeline, std::optional<std::int64_t> id,
                                             int limit) {
    return guarded([&] {
        return all_of(session.exec(kRead, Params::of(pipeline, id, limit)), [](RowReader c) {
            Adoption a;
            a.id = c.integer();
            a.pipeline = c.text();
            a.relation = c.text();
            a.state = state_named(c.view());
            a.message = c.text();
            a.vectors = c.integer();
            a.run_id = c.integer();
            a.tokens = c.integer();
            a.compared = c.integer();
            a.worst = c.real();
            a.requested_by = c.text();
            a.requested_at = c.stamp();
            a.ended_at = c.maybe_stamp();
            a.counts = counts_at(c);
            return a;
        });
    });
}

void suspend_new(Transaction& tx, std::string_view pipeline) { tx.exec(kSuspend, Params::of(pipeline)); }

}  // namespace homeostat
