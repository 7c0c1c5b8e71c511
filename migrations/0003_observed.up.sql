-- What the controller observes and does: status, leases, batches, runs, histories. Written by the controller role only.
-- Locks: creates new objects only. Time: milliseconds.

CREATE TABLE homeostat.pipeline_status (
    uid bigint PRIMARY KEY REFERENCES homeostat.pipeline ON DELETE CASCADE,
    observed_generation bigint NOT NULL DEFAULT 0,
    revision int NOT NULL DEFAULT 0,
    pinned_revision int,
    source_documents bigint,
    previous_source_documents bigint,
    documents bigint NOT NULL DEFAULT 0,
    chunks bigint NOT NULL DEFAULT 0,
    missing bigint NOT NULL DEFAULT 0,
    stale bigint NOT NULL DEFAULT 0,
    moved bigint NOT NULL DEFAULT 0,
    partial bigint NOT NULL DEFAULT 0,
    invalid bigint NOT NULL DEFAULT 0,
    orphaned bigint NOT NULL DEFAULT 0,
    excess bigint NOT NULL DEFAULT 0,
    unkeyed bigint NOT NULL DEFAULT 0,
    dead_letters bigint NOT NULL DEFAULT 0,
    blocked_prunes bigint NOT NULL DEFAULT 0,
    prune_window_start timestamptz,
    pruned_in_window bigint NOT NULL DEFAULT 0,
    failures int NOT NULL DEFAULT 0,
    last_error text NOT NULL DEFAULT '',
    last_sweep_at timestamptz,
    last_deep_sweep_at timestamptz,
    last_converged_at timestamptz,
    next_attempt_at timestamptz,
    last_handled_reconcile text,
    observed_provider_generation bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 50);
COMMENT ON COLUMN homeostat.pipeline_status.source_documents IS 'As of the last complete observation; NULL = Unknown, never zero';

CREATE TABLE homeostat.condition (
    uid bigint NOT NULL REFERENCES homeostat.pipeline ON DELETE CASCADE,
    type text NOT NULL,
    status text NOT NULL CHECK (status IN ('True', 'False', 'Unknown')),
    reason text NOT NULL,
    message text NOT NULL DEFAULT '',
    observed_generation bigint NOT NULL,
    last_transition_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (uid, type)
) WITH (fillfactor = 70);

CREATE TABLE homeostat.revision (
    uid bigint NOT NULL REFERENCES homeostat.pipeline ON DELETE CASCADE,
    revision int NOT NULL,
    settings jsonb NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    dimensions int NOT NULL,
    vector_type text NOT NULL,
    metadata_slots text[] NOT NULL DEFAULT '{}',
    state text NOT NULL CHECK (state IN ('building', 'served', 'retired')),
    created_at timestamptz NOT NULL DEFAULT now(),
    served_at timestamptz,
    retired_at timestamptz,
    PRIMARY KEY (uid, revision)
);

-- Ownership. Ordinary logged table: an unlogged one is emptied by crash recovery, which would forget epochs.
CREATE TABLE homeostat.lease (
    resource text PRIMARY KEY,
    holder text NOT NULL,
    epoch bigint NOT NULL,
    timeline int NOT NULL,
    acquired_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);

-- Processes, with what each last said of itself: capabilities, providers, what is in flight. Readable by a successor.
CREATE TABLE homeostat.replica (
    id text PRIMARY KEY,
    host text NOT NULL,
    pid int NOT NULL,
    version text NOT NULL,
    schema_version int NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    snapshot jsonb
) WITH (fillfactor = 70);

CREATE SEQUENCE homeostat.observation_id;
CREATE SEQUENCE homeostat.claim_token;
CREATE SEQUENCE homeostat.run_id;

-- The pass that is under way, one row a pipeline at most; its cursor moves in the transaction that creates the batches.
CREATE TABLE homeostat.run (
    id bigint PRIMARY KEY DEFAULT nextval('homeostat.run_id'),
    uid bigint NOT NULL REFERENCES homeostat.pipeline ON DELETE CASCADE,
    revision int NOT NULL,
    generation bigint NOT NULL,
    reconcile_id text NOT NULL,
    trigger text NOT NULL,
    deep boolean NOT NULL,
    phase text NOT NULL DEFAULT 'sweeping' CHECK (phase IN ('sweeping', 'healing', 'pruning')),
    observation bigint NOT NULL DEFAULT nextval('homeostat.observation_id'),
    sweeps int NOT NULL DEFAULT 1,
    cursor text[],
    seen bigint NOT NULL DEFAULT 0,
    missing bigint NOT NULL DEFAULT 0,
    stale bigint NOT NULL DEFAULT 0,
    moved bigint NOT NULL DEFAULT 0,
    partial bigint NOT NULL DEFAULT 0,
    invalid bigint NOT NULL DEFAULT 0,
    orphaned bigint NOT NULL DEFAULT 0,
    excess bigint NOT NULL DEFAULT 0,
    unkeyed bigint NOT NULL DEFAULT 0,
    dead_letters bigint NOT NULL DEFAULT 0,
    planned bigint NOT NULL DEFAULT 0,
    planned_in_sweep bigint NOT NULL DEFAULT 0,
    traceparent text NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (uid)
) WITH (fillfactor = 50);

-- Finished runs.
CREATE TABLE homeostat.run_history (
    id bigint NOT NULL,
    uid bigint NOT NULL,
    pipeline text NOT NULL,
    revision int NOT NULL,
    generation bigint NOT NULL,
    reconcile_id text NOT NULL,
    trigger text NOT NULL,
    deep boolean NOT NULL,
    result text NOT NULL,
    message text NOT NULL DEFAULT '',
    planned bigint NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    traceparent text NOT NULL DEFAULT ''
) PARTITION BY RANGE (ended_at);
CREATE INDEX run_history_uid ON homeostat.run_history (uid, ended_at DESC);

-- Durable work: some documents to heal. `keys` is column-major: one row of the array a key column, in text form.
CREATE TABLE homeostat.batch (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid bigint NOT NULL REFERENCES homeostat.pipeline ON DELETE CASCADE,
    revision int NOT NULL,
    generation bigint NOT NULL,
    epoch bigint NOT NULL,
    run_id bigint NOT NULL,
    kind text NOT NULL,
    class text NOT NULL,
    priority int NOT NULL,
    keys text[] NOT NULL,
    documents int NOT NULL,
    attempts int NOT NULL DEFAULT 0,
    deaths int NOT NULL DEFAULT 0,
    run_after timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_by text,
    claim_token bigint,
    claim_expires_at timestamptz,
    last_error text NOT NULL DEFAULT '',
    traceparent text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
-- Neither index holds a column that heartbeats change.
CREATE INDEX batch_ready ON homeostat.batch (priority DESC, id) WHERE claim_token IS NULL;
CREATE INDEX batch_pipeline ON homeostat.batch (uid);

CREATE TABLE homeostat.batch_history (
    id bigint NOT NULL,
    uid bigint NOT NULL,
    run_id bigint NOT NULL,
    kind text NOT NULL,
    class text NOT NULL,
    outcome text NOT NULL,
    claim_token bigint NOT NULL,
    claimed_by text NOT NULL,
    documents int NOT NULL,
    written int NOT NULL,
    dropped int NOT NULL,
    removed int NOT NULL DEFAULT 0,
    chunks int NOT NULL,
    embedded int NOT NULL,
    tokens bigint NOT NULL,
    error_class text NOT NULL DEFAULT '',
    error_code text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp()
) PARTITION BY RANGE (ended_at);
CREATE INDEX batch_history_run ON homeostat.batch_history (run_id);

-- Deletions seen by one complete observation, waiting for a second that agrees (or for an approval).
CREATE TABLE homeostat.prune_candidate (
    uid bigint NOT NULL REFERENCES homeostat.pipeline ON DELETE CASCADE,
    revision int NOT NULL,
    document_id bigint NOT NULL,
    class text NOT NULL,
    first_observation bigint NOT NULL,
    last_observation bigint NOT NULL,
    PRIMARY KEY (uid, revision, document_id)
);

CREATE TABLE homeostat.checkpoint (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid bigint NOT NULL REFERENCES homeostat.pipeline ON DELETE CASCADE,
    revision int NOT NULL,
    run_id bigint NOT NULL,
    name text NOT NULL,
    documents bigint NOT NULL,
    chunks bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (uid, name)
);

-- Documents that cannot be embedded, with the reason; the content hash makes an edit revive them.
CREATE TABLE homeostat.dead_letter (
    uid bigint NOT NULL REFERENCES homeostat.pipeline ON DELETE CASCADE,
    revision int NOT NULL,
    key text[] NOT NULL,
    content_hash bytea NOT NULL,
    class text NOT NULL,
    strategy text NOT NULL,
    message text NOT NULL,
    attempts int NOT NULL,
    trace_id text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (uid, revision, key)
);

CREATE TABLE homeostat.event (
    id bigint GENERATED BY DEFAULT AS IDENTITY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    uid bigint,
    type text NOT NULL CHECK (type IN ('Normal', 'Warning')),
    reason text NOT NULL,
    message text NOT NULL,
    reconcile_id text NOT NULL DEFAULT ''
) PARTITION BY RANGE (at);
CREATE INDEX event_uid ON homeostat.event (uid, at DESC);

-- What the replicas know of a provider and a model of it: shared so that one that starts need not find out again.
CREATE TABLE homeostat.provider_status (
    uid bigint NOT NULL REFERENCES homeostat.provider ON DELETE CASCADE,
    model text NOT NULL,
    generation bigint NOT NULL,
    healthy boolean NOT NULL DEFAULT true,
    breaker text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'half_open')),
    reason text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    opened int NOT NULL DEFAULT 0,
    retry_at timestamptz,
    max_texts int,
    max_tokens bigint,
    replica text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (uid, model)
) WITH (fillfactor = 70);
COMMENT ON COLUMN homeostat.provider_status.opened IS 'How often the breaker has opened in a row';
COMMENT ON COLUMN homeostat.provider_status.max_texts IS 'Texts a request, as learnt from refusals; no more are sent';
COMMENT ON COLUMN homeostat.provider_status.max_tokens IS 'Tokens a request, as learnt from refusals; no more are sent';

-- What a model makes of one fixed text: every provider of the pool must agree with it before its vectors are used.
CREATE TABLE homeostat.canary (
    pool text NOT NULL,
    model text NOT NULL,
    dimensions int NOT NULL,
    embedding real[] NOT NULL,
    provider text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (pool, model, dimensions)
);

-- A histories' partition for the week of `day`, made ahead of need; histories are dropped partition by partition.
-- Runs as the owner of the histories, because the controller role is not; only that role may call it (0004).
CREATE FUNCTION homeostat.keep_partitions(day date, weeks_kept int) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent text;
    monday date;
    old record;
BEGIN
    FOREACH parent IN ARRAY '{run_history,batch_history,event}'::text[] LOOP
        FOR i IN 0 .. 1 LOOP
            monday := date_trunc('week', day)::date + 7 * i;
            EXECUTE format('CREATE TABLE IF NOT EXISTS homeostat.%I PARTITION OF homeostat.%I FOR VALUES FROM (%L) TO (%L)',
                           parent || '_' || to_char(monday, 'YYYYMMDD'), parent, monday, monday + 7);
        END LOOP;
        FOR old IN SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
                   WHERE h.inhparent = format('homeostat.%I', parent)::regclass
                     AND c.relname ~ '_[0-9]{8}$'
                     AND to_date(right(c.relname, 8), 'YYYYMMDD') < date_trunc('week', day)::date - 7 * weeks_kept LOOP
            EXECUTE format('DROP TABLE homeostat.%I', old.relname);
        END LOOP;
    END LOOP;
    DELETE FROM homeostat.checkpoint WHERE created_at < day - 7 * weeks_kept;
    DELETE FROM homeostat.replica WHERE heartbeat_at < now() - interval '1 day';
END $$;
-- Rows of a time no partition was made for (a clock that jumped) are kept rather than refused.
CREATE TABLE homeostat.run_history_default PARTITION OF homeostat.run_history DEFAULT;
CREATE TABLE homeostat.batch_history_default PARTITION OF homeostat.batch_history DEFAULT;
CREATE TABLE homeostat.event_default PARTITION OF homeostat.event DEFAULT;
SELECT homeostat.keep_partitions(current_date, 4);

-- A vector that can be searched: there, of the right width, not the zero vector (which has no direction).
CREATE FUNCTION homeostat.vector_ok(v vector, dimensions int) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(vector_dims(v) = dimensions AND vector_norm(v) > 0, false);
CREATE FUNCTION homeostat.vector_ok(v halfvec, dimensions int) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(vector_dims(v) = dimensions AND l2_norm(v) > 0, false);

-- What people look at: one line a pipeline.
CREATE VIEW homeostat.pipelines AS
SELECT p.name,
       coalesce(r.status, 'Unknown') AS ready,
       coalesce(r.reason, 'NotObserved') AS reason,
       s.source_documents,
       coalesce(s.documents, 0) AS documents,
       coalesce(s.chunks, 0) AS chunks,
       coalesce(s.missing + s.stale + s.moved + s.partial + s.invalid + s.orphaned + s.excess, 0) AS drift,
       coalesce(s.dead_letters, 0) AS dead_letters,
       p.source,
       p.target,
       p.provider,
       p.suspend AS suspended,
       CASE WHEN p.deletion_requested_at IS NOT NULL THEN 'Terminating'
            WHEN st.status = 'True' THEN 'Failed'
            WHEN r.status = 'True' AND s.observed_generation = p.generation THEN 'Current'
            WHEN r.status IS NULL THEN 'Unknown'
            ELSE 'InProgress' END AS kstatus,
       coalesce(r.message, '') AS message,
       s.last_converged_at,
       p.uid
FROM homeostat.pipeline p
LEFT JOIN homeostat.pipeline_status s USING (uid)
LEFT JOIN homeostat.condition r ON r.uid = p.uid AND r.type = 'Ready'
LEFT JOIN homeostat.condition st ON st.uid = p.uid AND st.type = 'Stalled';
