-- Traces without a collector: what the last runs and edits of each pipeline did, span by span, and which documents each batch was about, so
-- that a person can be shown a run, or the way of one document. Events say which trace they are part of.
--
-- The controller writes these rows some time after what they tell of, in transactions of their own, and takes the oldest away as
-- trace.keep and trace.bytes say; a crash loses what was not written yet. No text of a document is in them. Keys are, in trace_batch alone:
-- who writes one holds the pipeline's row, as an erasure does, and leaves out what is to be erased or was within the last hour.
--
-- Locks: homeostat.event and its partitions, for a column that rewrites nothing. Time: milliseconds.

CREATE TABLE homeostat.trace_part (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid bigint NOT NULL REFERENCES homeostat.pipeline ON DELETE CASCADE,
    trace_id text NOT NULL,
    run_id bigint NOT NULL DEFAULT 0,
    replica text NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    spans int NOT NULL,
    dropped int NOT NULL DEFAULT 0,
    bytes int NOT NULL,
    body jsonb NOT NULL
);
CREATE INDEX trace_part_of_pipeline ON homeostat.trace_part (uid, trace_id);
CREATE INDEX trace_part_of_run ON homeostat.trace_part (run_id) WHERE run_id > 0;
COMMENT ON TABLE homeostat.trace_part IS 'Spans of the last traces of each pipeline, as its replicas wrote them down';
COMMENT ON COLUMN homeostat.trace_part.run_id IS 'The run whose trace it is; 0: of edits that a change feed named';
COMMENT ON COLUMN homeostat.trace_part.dropped IS 'Spans that were left out here, because the trace had too many';
COMMENT ON COLUMN homeostat.trace_part.body IS 'Spans: n name, k kind, i id, p id of the parent, s start and d duration in microseconds, e class of the error, a attributes, l links';

CREATE TABLE homeostat.trace_batch (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid bigint NOT NULL REFERENCES homeostat.pipeline ON DELETE CASCADE,
    trace_id text NOT NULL,
    span_id text NOT NULL,
    batch_id bigint NOT NULL,
    revision int NOT NULL,
    at timestamptz NOT NULL,
    bytes int NOT NULL,
    keys text[] NOT NULL
);
CREATE INDEX trace_batch_of_pipeline ON homeostat.trace_batch (uid, trace_id);
COMMENT ON TABLE homeostat.trace_batch IS 'Which documents the batches of the last traces were about';
COMMENT ON COLUMN homeostat.trace_batch.keys IS 'Of its documents, each as the text of a text[] that has a member for each key column';

CREATE VIEW homeostat.own_trace_part WITH (security_barrier) AS SELECT t.* FROM homeostat.trace_part t
    WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by));
COMMENT ON VIEW homeostat.own_trace_part IS 'What of trace_part concerns whoever looks';
CREATE VIEW homeostat.own_trace_batch WITH (security_barrier) AS SELECT t.* FROM homeostat.trace_batch t
    WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by));
COMMENT ON VIEW homeostat.own_trace_batch IS 'What of trace_batch concerns whoever looks';

ALTER TABLE homeostat.event ADD COLUMN trace_id text NOT NULL DEFAULT '';
COMMENT ON COLUMN homeostat.event.trace_id IS 'The trace that it is part of; empty where nothing was traced';
-- As migration 22 made it, with the column that is new.
CREATE OR REPLACE VIEW homeostat.own_event WITH (security_barrier) AS SELECT t.* FROM homeostat.event t
    WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by)
        UNION ALL SELECT v.uid FROM homeostat.target_view v WHERE homeostat.acts_for(v.declared_by));

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
