// The table of settings, and the profiles over it.
#include <array>

#include "controller/config/config.hpp"

namespace homeostat {

namespace {

using S = Settings;

// name, field, default, bounds (or choices), secret, needs restart, sentence
const std::array<Setting, 84> kSettings{{
    {"database.url", &S::database_url, "", "", "", true, true,
     "The database, as a libpq URI or key=value string; empty means libpq's own defaults and PG* variables. A password belongs "
     "into a reference (env:NAME, file:PATH), PGPASSWORD or a password file."},
    {"database.reader_url", &S::database_reader_url, "", "", "", true, true,
     "A second login of the same database that reads sources and nothing else; empty means that sources are read by "
     "database.url, "
     "and may run no code of roles that are not trusted (docs/security.md)."},
    {"database.readers", &S::database_readers, "", "", "", false, true,
     "Such logins for what members of a role have declared, in a file [{role: search, url: env:SEARCH_READER}, ...], else "
     "search env:SEARCH_READER; ... The first that fits reads; where none does, database.reader_url."},
    {"database.observe_url", &S::database_observe_url, "", "", "", true, true,
     "A physical standby of the same cluster on which sweeps compare sources with what is embedded; empty means "
     "database.url. The login acts as the same role. What the standby shows counts only once it has caught up."},
    {"database.observe_max_lag", &S::database_observe_max_lag, "10s", "0", "10m", false, true,
     "How long a slice of a sweep waits for the standby to replay what database.url had when the slice began; then it reads "
     "database.url."},
    {"database.read_connections", &S::database_read_connections, "3", "1", "64", false, true,
     "Connections for observing: counting, sweeping, reading documents."},
    {"database.write_connections", &S::database_write_connections, "3", "1", "64", false, true,
     "Connections for writing: batches, vectors, status."},
    // Two threads consume feeds, and one more connection is there for what they planned to be written.
    {"database.feed_connections", &S::database_feed_connections, "3", "3", "64", false, true,
     "Connections for change feeds and the edits they name, which do not queue behind a fill."},
    {"database.statement_timeout", &S::database_statement_timeout, "30s", "1s", "1h", false, true,
     "The longest a single statement may run before PostgreSQL cancels it."},
    {"database.lock_timeout", &S::database_lock_timeout, "5s", "100ms", "10m", false, true,
     "The longest a statement may wait for a lock."},
    {"database.connect_timeout", &S::database_connect_timeout, "10s", "1s", "5m", false, true,
     "The longest a connection may take to be made."},
    {"database.answer_timeout", &S::database_answer_timeout, "4s", "500ms", "5m", false, true,
     "How long a connection may say nothing while an answer is awaited; then the server is asked over another one whether it "
     "still "
     "works on it, and where it does not the connection is given up."},
    {"database.start_timeout", &S::database_start_timeout, "60s", "0", "1h", false, true,
     "How long `run --once` waits for a database that is not there when it starts; `run` waits as long as it takes."},
    {"database.prepare", &S::database_prepare, "true", "", "", false, true,
     "Whether statements are prepared; behind a pooler none ever is."},
    {"database.allow_superuser", &S::database_allow_superuser, "false", "", "", false, true,
     "Whether run, plan, validate and explain read sources as a superuser, who may do everything that whoever declares writes "
     "into a view; for a database that is thrown away."},
    {"log.level", &S::log_level, "info", "trace|debug|info|warn|error", "", false, true,
     "The least serious messages that are logged."},
    {"log.format", &S::log_format, "text", "text|json", "", false, true,
     "How log lines look: for people, or one JSON object each."},
    {"http.listen", &S::http_listen, "127.0.0.1:8687", "", "", false, true,
     "Address and port of health, metrics, dashboard and API; empty turns them off, port 0 takes any free one."},
    {"http.token", &S::http_token, "", "", "", true, true,
     "What must be sent as Authorization: Bearer to read anything but /livez, /readyz and the dashboard's own files; empty asks "
     "for "
     "none, and then the API answers to this machine alone. Profile "
     "production listens beyond this machine only with one."},
    {"http.action_url", &S::http_action_url, "", "", "", true, true,
     "The login whose rights whoever has http.token may use to reconcile, suspend, resume, approve, roll back and try dead "
     "letters "
     "again, as a URL, or a reference to one (env:NAME, file:PATH); empty: nothing is changed over HTTP."},
    {"replica.name", &S::replica_name, "", "", "", false, true,
     "The name of this process among the replicas; empty means host name and process id. Two replicas must never share one."},
    {"lease.ttl", &S::lease_ttl, "15s", "3s", "10m", false, true,
     "How long a replica that has died keeps its pipelines before another may take them."},
    {"lease.renew", &S::lease_renew, "5s", "500ms", "5m", false, true, "How often a replica renews its leases."},
    {"claim.ttl", &S::claim_ttl, "60s", "5s", "1h", false, true,
     "How long a replica that has died keeps its batches before they are given to another."},
    {"claim.heartbeat", &S::claim_heartbeat, "10s", "1s", "10m", false, true,
     "How often a replica extends the claims of its batches."},
    {"loop.workers", &S::loop_workers, "2", "1", "64", false, true, "Pipelines that are observed and planned at the same time."},
    {"loop.poll", &S::loop_poll, "1s", "50ms", "1m", false, true,
     "How often work is looked for without being notified; what correctness rests on."},
    {"loop.pass_timeout", &S::loop_pass_timeout, "2m", "5s", "1h", false, true,
     "The longest a pass over one pipeline may plan before it is put off; execution of its batches is not counted."},
    {"loop.backoff_base", &S::loop_backoff_base, "1s", "10ms", "1m", false, true, "The first wait after a pass has failed."},
    {"loop.backoff_cap", &S::loop_backoff_cap, "5m", "1s", "1d", false, true,
     "The longest wait after passes have failed again and again."},
    {"batch.documents", &S::batch_documents, "256", "16", "1024", false, true,
     "Documents in a batch, at most; no more than the provider takes texts in a request."},
    {"batch.bytes", &S::batch_bytes, "8MiB", "64KiB", "1GiB", false, true,
     "Text that a batch reads at once, at most; documents beyond it go into a batch of their own."},
    {"batch.window", &S::batch_window, "32", "1", "4096", false, true,
     "Batches planned ahead of execution, a pipeline: the back-pressure."},
    {"batch.max_attempts", &S::batch_max_attempts, "5", "1", "100", false, true,
     "Failed attempts after which the run of a pipeline ends and says why; waiting and throttling cost none."},
    {"batch.in_flight", &S::batch_in_flight, "16", "1", "256", false, true,
     "Batches of one provider this replica executes at the same time; more than its requests in flight, so that reading and "
     "writing go on meanwhile."},
    {"batch.parallel_from", &S::batch_parallel_from, "0", "0", "1000000", false, true,
     "Documents that a sweep has planned from which on their batches run side by side; with fewer they run one after the "
     "other, on one replica at a time. 0 lets all run side by side. Edits from a change feed are not held to it."},
    {"retry.base", &S::retry_base, "500ms", "10ms", "1m", false, true, "The first wait before a failed batch is tried again."},
    {"retry.cap", &S::retry_cap, "60s", "1s", "1d", false, true, "The longest wait before a failed batch is tried again."},
    {"breaker.failures", &S::breaker_failures, "5", "1", "1000", false, true,
     "Failures of a provider in a row that open its breaker; a column of the provider goes before this and the next three."},
    {"breaker.share", &S::breaker_share, "0.5", "0.01", "1", false, true,
     "The share of failures among at least 10 requests of 30 seconds that opens it."},
    {"breaker.pause", &S::breaker_pause, "1s", "100ms", "1h", false, true,
     "How long an open breaker lets nothing through: the first eight times, then twice as long each time."},
    {"breaker.pause_cap", &S::breaker_pause_cap, "5m", "100ms", "1d", false, true, "The longest such pause."},
    {"breaker.refused_pause", &S::breaker_refused_pause, "30m", "1s", "1d", false, true,
     "The pause after a credential was refused or a quota used up, where there is no reason to try sooner."},
    {"sweep.slice", &S::sweep_slice, "20000", "100", "1000000", false, true,
     "Keys compared by one statement of a sweep, at most."},
    {"sweep.slice_target", &S::sweep_slice_target, "250ms", "10ms", "1m", false, true,
     "How long such a statement should take; slices shrink and grow towards it."},
    {"sweep.rows_per_second", &S::sweep_rows_per_second, "0", "0", "100000000", false, true,
     "Source rows that a sweep of a pipeline compares a second, at most, where nobody waits for it; 0 means no limit."},
    {"sweep.share", &S::sweep_share, "0.5", "0.01", "1", false, true,
     "The share of its time in which such a sweep observes; for the rest it leaves the database alone."},
    {"feed.overrun_share", &S::feed_overrun_share, "0.1", "0.01", "1", false, true,
     "The share of its time in which a sweep observes and heals behind writers who keep the database busy, for as long as they "
     "go on; for the rest it leaves the database to them."},
    {"drain.budget", &S::drain_budget, "25s", "0", "10m", false, true,
     "How long a stopping replica waits for batches in flight before it gives them back."},
    {"embed.model_dir", &S::embed_model_dir, "", "", "", false, true,
     "The folder of the built-in model; empty means it is looked for beside the binary (../share/homeostat/model, .deps/model)."},
    {"embed.threads", &S::embed_threads, "0", "0", "256", false, true,
     "Threads for chunking and the built-in model; 0 means one a core."},
    {"secrets", &S::secrets, "", "", "", false, true,
     "The secrets and files that providers may name, and the origins that each may be sent to: secrets: {openai: {source: "
     "\"env:OPENAI_API_KEY\", origins: [https://api.openai.com]}}, or in one line openai env:OPENAI_API_KEY "
     "https://api.openai.com; several have ; between them. A source is env:NAME, file:PATH or exec:/PROGRAM, which prints a "
     "token; "
     "with its arguments it stands in double quotes. None is sent anywhere else."},
    {"provider.allow_hosts", &S::provider_allow_hosts, "", "", "", false, true,
     "Hosts (api.example.com, *.example.com), addresses and networks (10.0.0.0/8) of providers that may be asked, with commas "
     "between them; empty means all but link-local addresses and those of metadata services, which are asked only where their "
     "address is listed."},
    {"chunkers", &S::chunkers, "", "", "", false, true,
     "Programs that cut documents into chunks, which pipelines may name as chunker program:NAME: chunkers: {legal: {command: "
     "[/opt/cut.py], timeout: 30s, memory: 512MiB, copies: 4}}, or in one line legal timeout=30s /opt/cut.py; several have ; "
     "between them. exec.allow must allow each, and it runs in the sandbox of exec providers, without any variable."},
    {"exec.allow", &S::exec_allow, "", "", "", false, true,
     "Programs and folders of programs that providers of kind exec may start, absolute and with commas between them; empty means "
     "none. Whoever may declare a provider chooses their arguments: list programs that do one thing, no shell or interpreter."},
    {"exec.read", &S::exec_read, "", "", "", false, true,
     "Files and folders that such programs may read beside themselves and the system's libraries, absolute and with commas "
     "between them."},
    {"exec.environment", &S::exec_environment, "", "", "", false, true,
     "Names of the variables that such programs may be given, with commas between them."},
    {"cache.bytes", &S::cache_bytes, "16MiB", "0", "64GiB", false, true,
     "Memory for vectors of texts that come again; 0 turns the cache off."},
    {"cache.ttl", &S::cache_ttl, "1h", "1s", "30d", false, true, "How long such a vector may be used again."},
    {"cache.compress_above", &S::cache_compress_above, "0", "0", "1GiB", false, true,
     "Cached vectors larger than this are compressed, without loss; 0 compresses none."},
    {"cache.shared_bytes", &S::cache_shared_bytes, "0", "0", "1TiB", false, true,
     "Room in the database for vectors that were paid for, for all replicas and the next start; 0 keeps none there."},
    {"cache.shared_ttl", &S::cache_shared_ttl, "30d", "1m", "3650d", false, true,
     "How long such a vector is kept after it was used last."},
    {"memory.budget", &S::memory_budget, "0", "0", "1TiB", false, true,
     "Memory that batches in flight may hold together; 0 means half of what the process may use (its cgroup's limit)."},
    {"strategy.change", &S::strategy_change, "parallel", "parallel|sequential", "", false, true,
     "A pipeline was declared or its spec changed: heal with many batches side by side, or one at a time."},
    {"strategy.drift", &S::strategy_drift, "parallel", "parallel|sequential", "", false, true,
     "An interval has passed, a materialised view was refreshed or a change feed lost its trust, and the sweep found drift: "
     "likewise."},
    {"strategy.request", &S::strategy_request, "parallel", "parallel|sequential", "", false, true,
     "A person asked for a pass or approved deletions: likewise."},
    {"strategy.retry", &S::strategy_retry, "parallel", "parallel|sequential", "", false, true,
     "A run that failed is tried again, or its provider was declared anew: likewise."},
    {"strategy.throttled", &S::strategy_throttled, "wait_for_gate", "wait_for_gate|manual_intervention", "", false, true,
     "A provider asks to be left alone: wait as long as it says, or stall the pipeline for a person."},
    {"strategy.breaker_open", &S::strategy_breaker_open, "wait_for_gate", "wait_for_gate|manual_intervention", "", false, true,
     "A provider has failed too often to be asked: give batches back until it is probed, or stall."},
    {"strategy.transient", &S::strategy_transient, "retry_with_backoff", "retry_with_backoff|manual_intervention", "", false,
     true, "A provider fails, times out or cannot be reached: try again after a pause, or stall."},
    {"strategy.bad_answer", &S::strategy_bad_answer, "retry_with_backoff", "retry_with_backoff|manual_intervention", "", false,
     true, "An answer breaks its contract: discard it and try again, or stall."},
    {"strategy.too_large", &S::strategy_too_large, "reduce_batch_size", "reduce_batch_size|manual_intervention", "", false, true,
     "A request is too large for the provider: cut it and keep the limit, or stall."},
    {"strategy.content", &S::strategy_content, "bisect", "bisect|manual_intervention", "", false, true,
     "A provider refuses what a text says: single it out as a dead letter, or stall."},
    {"strategy.memory_pressure", &S::strategy_memory_pressure, "reduce_batch_size", "reduce_batch_size|wait_for_gate", "", false,
     true, "Memory runs short: batches read less, or only wait for each other."},
    {"history.weeks", &S::history_weeks, "4", "1", "520", false, true,
     "Weeks for which runs, batches and events are kept, and the journal, which has what was replaced."},
    {"trace.keep", &S::trace_keep, "20", "0", "1000", false, true,
     "Runs of a pipeline whose traces are kept in the database, for `homeostat trace`, and ten times as many of edits; 0 keeps "
     "none."},
    {"trace.bytes", &S::trace_bytes, "8MiB", "64KiB", "1GiB", false, true,
     "Size of what is kept of a pipeline's traces, beyond which the oldest go."},
    {"trace.older_names", &S::trace_older_names, "false", "", "", false, true,
     "Whether the metrics of embeddings operations also go by the names that the GenAI conventions had before they moved: "
     "gen_ai_client_operation_duration_seconds and gen_ai_client_token_usage."},
    {"journal.runs", &S::journal_runs, "100", "1", "100000", false, true,
     "Runs of a pipeline that can be rolled back; the journal holds what they and all since have replaced."},
    {"journal.bytes", &S::journal_bytes, "10GiB", "0", "64TiB", false, true,
     "Size of the journal of a revision, beyond which the oldest of it goes; 0 for no limit."},
    {"revision.keep", &S::revision_keep, "2", "1", "16", false, true,
     "Revisions of a pipeline that are kept to go back to, with the served one."},
    {"revision.keep_days", &S::revision_keep_days, "0", "0", "3650", false, true,
     "Days for which a revision that is served no more is kept at most; 0: as long as revision.keep says."},
    {"prune.floor", &S::prune_floor, "10", "0", "1000000", false, true,
     "Documents an hour that may always be pruned, whatever share of a small pipeline they are."},
    {"source.trusted_owners", &S::source_trusted_owners, "", "", "", false, true,
     "Roles, with commas between, whose functions may run where a source is read by the login that also writes; superusers, that "
     "login "
     "and the owner of homeostat's schema always may."},
}};

const std::array<FormerSetting, 3> kFormer{{
    {"cache.size", "cache.bytes", ""},
    {"suspend.grace", "", "what is in flight when a pipeline is suspended is always finished"},
    {"traces.endpoint", "", "traces go where OTEL_EXPORTER_OTLP_ENDPOINT says"},
}};

const std::array<Profile, 3> kProfiles{{
    {"development", {{"log.level", "debug"}, {"drain.budget", "5s"}, {"history.weeks", "1"}}},
    {"staging", {{"log.format", "json"}, {"history.weeks", "2"}}},
    {"production",
     {{"log.format", "json"},
      {"database.read_connections", "6"},
      {"database.write_connections", "8"},
      {"loop.workers", "4"},
      {"batch.in_flight", "16"},
      {"history.weeks", "12"}}},
}};

}  // namespace

std::span<const Setting> setting_table() { return kSettings; }
std::span<const FormerSetting> former_settings() { return kFormer; }
std::span<const Profile> profile_table() { return kProfiles; }

}  // namespace homeostat
