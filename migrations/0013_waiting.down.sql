DROP VIEW homeostat.pipelines;
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
DROP VIEW homeostat.waiting;
DROP FUNCTION homeostat.dead_letters_of(bigint);
DROP FUNCTION homeostat.waiting_changes(bigint);
DROP TRIGGER note_feed_gap ON homeostat.feed;
DROP FUNCTION homeostat.note_feed_gap();
ALTER TABLE homeostat.feed DROP COLUMN incomplete_since;
UPDATE homeostat.run SET phase = 'pruning' WHERE phase = 'indexing';
ALTER TABLE homeostat.run DROP CONSTRAINT run_phase_check;
ALTER TABLE homeostat.run ADD CONSTRAINT run_phase_check CHECK (phase IN ('sweeping', 'healing', 'pruning'));
-- The next sweep of what fails since tells its conditions again.
DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY '{homeostat_owner,homeostat_controller}'::text[] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
            EXECUTE format('GRANT ALL ON homeostat.pipelines TO %I', r);
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_declarer') THEN
        GRANT SELECT ON homeostat.pipelines TO homeostat_declarer;
        REVOKE USAGE ON SCHEMA homeostat_data FROM homeostat_declarer;
    END IF;
END $$;
