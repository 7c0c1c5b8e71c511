// The objects people declare and the state they are shown: plain records, one field a column of the table of the same name.
// Absent optionals mean "use the default that the database or the provider gives".
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.hpp"

namespace homeostat {

using Millis = std::chrono::milliseconds;
using StringMap = std::map<std::string, std::string>;

// An embedding endpoint or in-process embedder (table homeostat.provider).
struct ProviderSpec {
    std::int64_t uid = 0;
    std::string name;
    std::int64_t generation = 0;
    std::string kind;                           // local, hashing, openai, exec
    std::optional<std::string> endpoint;        // base URL, for instance https://api.openai.com/v1
    std::optional<std::string> model;           // default for pipelines that name none
    std::optional<std::uint32_t> dimensions;    // default for pipelines that name none
    std::optional<std::string> credential, organization;  // a credential is a reference; never the secret itself
    StringMap headers;                          // values may be references too
    std::string document_prefix, query_prefix;
    std::string request = "{}";                 // openai: members of a request beside ours, a JSON object
    std::string query_request = "{}";           // openai: those that are others for queries; null = it has none
    std::optional<std::string> answers_as;      // what the model calls itself, where that is not its name
    std::string encoding = "base64";            // base64, float or none: how vectors are asked for
    bool send_dimensions = false;               // forward the dimensions in the request
    std::optional<std::string> ca_file;         // PEM bundle to trust instead of the system's
    std::optional<std::string> client_certificate, client_key;  // PEM files; no key = it is in the certificate's file
    std::optional<std::string> proxy;           // an address, a reference to one, or none; absent = as the environment says
    std::uint32_t max_batch = 100;              // texts a request
    std::optional<std::uint32_t> max_text_tokens;
    std::uint32_t max_in_flight = 8;
    std::optional<std::uint32_t> requests_per_minute;
    std::optional<std::uint64_t> tokens_per_minute;
    Millis timeout{60'000};
    std::string too_long = "Refuse";            // Refuse, Truncate: what becomes of a text that the model cannot read whole
    std::optional<std::uint32_t> breaker_failures;  // in a row; what is absent of these four is as the settings have it
    std::optional<double> breaker_share;
    std::optional<Millis> breaker_pause, breaker_pause_cap;
    double price_per_million_tokens = 0;
    std::string currency = "USD";               // of the price and of what follows
    std::optional<std::int64_t> max_tokens_per_run, max_tokens_per_day;  // budgets: of a run that it embeds for; of all
    std::optional<double> max_cost_per_run, max_cost_per_day;
    std::int32_t rank = 100;
    std::optional<std::string> pool;            // providers of one pool stand in for each other
    double canary_tolerance = 0.01;             // cosine distance within which they must agree
    std::vector<std::string> command, environment;  // exec: program and arguments; names of the variables it is given
    std::uint32_t memory_limit_mb = 512;        // exec: of its address space
    StringMap labels;
};

// A table behind a view, and which of its columns stand in the view's key.
struct CaptureBase {
    std::string table;  // as written
    StringMap key;      // column of the view -> column of the table
};

// One declared target (table homeostat.pipeline). Column lists are as the database has canonicalised them.
struct PipelineSpec {
    std::int64_t uid = 0;
    std::string name;
    std::int64_t generation = 0, cache_epoch = 0;  // no vector that a cache kept in an earlier epoch is used
    StringMap labels;
    // what
    std::string source;                         // schema-qualified and quoted
    std::vector<std::string> key;
    std::vector<std::string> content;           // joined by a blank line; empty where a template is given
    std::optional<std::string> content_template;// {column} is replaced, {{ and }} stand for braces
    std::vector<std::string> metadata;
    std::optional<std::string> version_column;
    std::optional<std::int64_t> documents;      // the first N in key order; absent = all
    // how
    std::string provider;
    std::optional<std::string> model;
    std::optional<std::uint32_t> dimensions;
    std::string chunker = "sentence";
    std::uint32_t chunk_size = 400, chunk_overlap = 0;
    std::string chunk_unit = "tokens";          // tokens, characters
    std::optional<std::string> chunk_context;   // a template as above, put before every chunk
    // where
    std::string target;                         // the served view, schema-qualified and quoted
    std::string vector_type = "auto";           // vector, halfvec, auto (halfvec above 2,000 dimensions)
    std::string index_method = "hnsw";          // hnsw, ivfflat, none
    std::string index_type = "vector";          // what it holds of each vector: vector (or a prefix of it), bit
    std::optional<std::uint32_t> index_dimensions, index_m, index_ef_construction, index_lists;  // a prefix; parameters
    std::string distance = "cosine";            // cosine, l2, inner_product
    // behaviour
    std::string mode = "progressive";           // progressive, complete, emergency
    std::string management = "Manage";          // Manage, Observe
    std::string drift_policy = "Enforce";       // Enforce, Warn, Ignore
    std::int32_t priority = 0;
    double completeness = 1.0;                  // share of documents that makes Ready
    std::optional<Millis> max_staleness;
    Millis drift_interval{300'000}, deep_interval{86'400'000};
    std::string prune = "Auto";                 // Never, Confirm, Auto
    double max_prune_ratio = 0.10;              // of the documents, per hour
    std::int64_t max_prune_rows = 10'000;       // per hour
    std::string deletion_policy = "Orphan";     // Orphan, Delete
    std::vector<std::string> depends_on;
    std::string backpressure = "buffer";        // buffer, throttle, shed
    std::string capture = "Auto";               // Auto, Off
    std::vector<CaptureBase> capture_from;      // of a view
    Millis sweep_interval{3'600'000};           // while the change feed can be trusted
    std::string row_security = "Refuse";        // Refuse, Accept
    bool erase_on_delete = false;               // what leaves the source leaves no trace (store/control/erasures.hpp)
    std::optional<std::string> currency;        // of the amounts that follow; absent = the provider's
    std::optional<std::int64_t> max_tokens_per_run, max_tokens_per_day;  // budgets (store/control/budgets.hpp)
    std::optional<double> max_cost_per_run, max_cost_per_day, approve_above;
    std::optional<std::int32_t> verify_sample;  // texts that a run has embedded again at its end; absent = of remote providers
    double verify_tolerance = 0.01;             // cosine distance within which they must come back
    bool suspend = false;                       // from here on control, which does not grow the generation
    std::optional<std::string> suspend_reason, reconcile_requested, approval, revision_pin_reason;
    std::optional<std::int32_t> revision_pin, revision_drop;  // served whatever is declared; to be dropped
    bool deleting = false;
};

// A relation each of whose rows declares a pipeline (table homeostat.target_view).
struct TargetViewSpec {
    std::int64_t uid = 0;
    std::string name;
    std::int64_t generation = 0;
    StringMap labels;
    std::string relation;                       // schema-qualified and quoted
    std::string on_removal = "Suspend";         // Suspend, Delete, Orphan
    double max_removal_ratio = 0.10;            // of its pipelines, per hour
    Millis interval{1'000};
    bool suspend = false, deleting = false;
    std::optional<std::string> suspend_reason, approval;
};

struct Condition {
    std::string type;    // Ready, Reconciling, Stalled, Synced, ProviderHealthy, PruneBlocked
    std::string status;  // True, False, Unknown
    std::string reason;  // a CamelCase word of the documented list
    std::string message;
    std::int64_t observed_generation = 0;
    WallTime last_transition{};
};

// How many documents are in each class of drift, as of one observation.
struct DriftCounts {
    std::int64_t missing = 0, stale = 0, moved = 0, partial = 0, invalid = 0, orphaned = 0, excess = 0;

    std::int64_t to_embed() const noexcept { return missing + stale + partial + invalid; }
    std::int64_t total() const noexcept { return to_embed() + moved + orphaned + excess; }
    bool operator==(const DriftCounts&) const = default;
};

// What is known to be wrong and not healed yet, as of one moment (view homeostat.waiting).
struct Waiting {
    std::int64_t run_documents = 0, feed_documents = 0;  // in open batches of the run under way, and of the change feed
    std::int64_t changes = 0;  // named by the feed and not taken up; no more than 10,001 are counted
    std::int64_t failing = 0, dead_letters = 0;  // of the documents, those whose batch has failed before; and those set aside
    bool closed = false, uncounted = false;  // the feed is not taken up: suspended, or not healed; a lock hides its `changes`
    bool unnamed = false, behind = false;  // what the feed did not name is not swept yet; anything waits longer than Ready allows
    std::optional<Millis> oldest;  // age
    std::string last_error;  // of the batches, or of the provider
    std::int64_t documents() const noexcept { return run_documents + feed_documents + changes; }
    bool anything() const noexcept { return documents() > 0 || unnamed || uncounted; }
};

struct PipelineStatus {
    std::int64_t observed_generation = 0;
    bool provider_seen = true;  // its provider is as it was at the last look
    std::int32_t revision = 0;  // served; 0 = none yet
    std::optional<std::int64_t> source_documents;  // as of the last complete observation; absent = Unknown
    std::int64_t documents = 0, chunks = 0;  // rows of the served revision
    DriftCounts drift;
    std::int64_t dead_letters = 0, blocked_prunes = 0;
    std::string blocked_plan;  // names the deletions that are held back; "" = none are
    std::optional<WallTime> last_sweep, last_deep_sweep, last_converged, next_attempt;
    std::string last_error;
    std::optional<std::string> last_handled_reconcile;
    Waiting waiting;  // read beside it, where it is for people
    std::vector<Condition> conditions;
};

struct TargetViewStatus {
    std::int64_t observed_generation = 0;
    std::optional<std::int64_t> rows;  // of the relation, by name, at the last look; absent = Unknown
    std::optional<std::int64_t> counted_rows;  // what the next look is compared with; stays where removals are held
    std::int64_t pipelines = 0;  // declared by its rows
    std::int64_t refused = 0;  // rows that the pipeline checks refuse
    std::int64_t names_taken = 0;  // rows whose name somebody else's pipeline has
    std::int64_t held = 0;  // removals that wait for an approval of `plan`
    std::string plan, last_error;
    std::optional<WallTime> removal_window_start;
    std::int64_t removed_in_window = 0;
    std::vector<Condition> conditions;
};
}  // namespace homeostat
