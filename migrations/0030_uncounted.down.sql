-- Locks and time as on the way up. The grants on sequences stay, and do no harm.
CREATE OR REPLACE FUNCTION homeostat.waiting_changes(pipeline bigint, OUT changes bigint, OUT oldest timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    named oid := (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = 'homeostat_data' AND c.relname = format('p%s_change', pipeline));
BEGIN
    changes := 0;
    IF named IS NULL OR NOT has_schema_privilege('homeostat_data', 'USAGE') OR NOT has_column_privilege(named, 'at', 'SELECT') THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT count(*), min(c.at) FROM (SELECT at FROM homeostat_data.p%s_change LIMIT 10001) c', pipeline)
        INTO changes, oldest;
EXCEPTION WHEN undefined_table OR lock_not_available THEN
    changes := 0;
    oldest := NULL;
END $$;

CREATE OR REPLACE VIEW homeostat.waiting AS
SELECT w.uid, w.run_documents, w.feed_documents, w.changes, w.failing, w.dead_letters, w.closed, w.unnamed,
       NOT w.suspended AND coalesce(w.oldest < clock_timestamp() - CASE WHEN w.failing > 0 OR w.provider_failing
           THEN interval '2 seconds' ELSE interval '5 seconds' END, false) AS behind,
       w.oldest,
       CASE WHEN w.last_error = '' AND NOT w.provider_failing OR NOT (homeostat.sees_all() OR homeostat.acts_for(w.declared_by)) THEN ''
            WHEN w.last_error <> '' THEN w.last_error ELSE w.provider_message END AS last_error
FROM (
    SELECT p.uid, p.declared_by,
           coalesce(b.run_documents, 0)::bigint AS run_documents,
           coalesce(b.feed_documents, 0)::bigint AS feed_documents,
           coalesce(c.changes, 0) AS changes,
           coalesce(b.failing, 0)::bigint AS failing,
           homeostat.dead_letters_of(p.uid) AS dead_letters,
           p.suspend AS suspended,
           p.suspend OR p.management <> 'Manage' OR p.drift_policy <> 'Enforce' AS closed,
           g.since IS NOT NULL AS unnamed,
           least(b.oldest, c.oldest, g.since) AS oldest,
           coalesce(b.last_error, '') AS last_error,
           b.heals AND NOT coalesce(v.healthy, true) AS provider_failing,
           coalesce(v.message, '') AS provider_message
    FROM homeostat.pipeline p
    LEFT JOIN homeostat.feed f USING (uid)
    LEFT JOIN homeostat.run u USING (uid)
    LEFT JOIN LATERAL (
        SELECT sum(b.documents) FILTER (WHERE b.run_id IS DISTINCT FROM f.run_id) AS run_documents,
               sum(b.documents) FILTER (WHERE b.run_id = f.run_id) AS feed_documents,
               sum(b.documents) FILTER (WHERE b.attempts > 0 OR b.last_error <> '') AS failing,
               min(b.created_at) AS oldest,
               (array_agg(b.last_error ORDER BY b.id DESC) FILTER (WHERE b.last_error <> ''))[1] AS last_error,
               bool_or(b.kind = 'heal') AS heals
        FROM homeostat.batch b WHERE b.uid = p.uid AND b.kind <> 'stray') b ON true
    LEFT JOIN LATERAL homeostat.waiting_changes(p.uid) c ON true
    -- Where all triggers are in place, a gap is closed by the next run: to its end, as what went is removed only when a second sweep
    -- has seen it gone. (What a new declaration asks for is not there yet, and is told by its generation.)
    LEFT JOIN LATERAL (
        SELECT least(f.incomplete_since, CASE WHEN NOT u.feed_trusted AND u.trigger <> 'spec'
                                              THEN least(u.started_at, f.last_gap_since) END) AS since
        FROM homeostat.condition n WHERE n.uid = p.uid AND n.type = 'ChangeFeed' AND n.reason IN ('Active', 'Overrun')
                                     AND f.uid IS NOT NULL) g ON true
    LEFT JOIN LATERAL (
        SELECT v.healthy, v.message FROM homeostat.provider o JOIN homeostat.provider_status v ON v.uid = o.uid
        WHERE o.name = p.provider AND v.generation = o.generation AND v.model = coalesce(p.model, o.model, '')) v ON true
) w;

CREATE OR REPLACE VIEW homeostat.pipelines AS
SELECT p.name,
       CASE WHEN w.behind AND r.status = 'True' THEN 'False' ELSE coalesce(r.status, 'Unknown') END AS ready,
       CASE WHEN w.behind AND r.status = 'True' THEN 'Behind' ELSE coalesce(r.reason, 'NotObserved') END AS reason,
       s.source_documents,
       coalesce(s.documents, 0) AS documents,
       coalesce(s.chunks, 0) AS chunks,
       greatest(coalesce(s.missing + s.stale + s.moved + s.partial + s.invalid + s.orphaned + s.excess, 0),
                w.run_documents + CASE WHEN w.closed THEN w.changes ELSE 0 END)
           + w.feed_documents + CASE WHEN w.closed THEN 0 ELSE w.changes END AS drift,
       w.dead_letters,
       p.source,
       p.target,
       p.provider,
       p.suspend AS suspended,
       CASE WHEN p.deletion_requested_at IS NOT NULL THEN 'Terminating'
            WHEN st.status = 'True' THEN 'Failed'
            WHEN r.status = 'True' AND NOT w.behind AND s.observed_generation = p.generation THEN 'Current'
            WHEN r.status IS NULL THEN 'Unknown'
            ELSE 'InProgress' END AS kstatus,
       CASE WHEN w.behind AND r.status = 'True'
            THEN format('%s, the oldest for %s s%s', CASE w.run_documents + w.feed_documents + w.changes
                        WHEN 0 THEN 'changes that were not named wait for a sweep'
                        WHEN 1 THEN '1 document waits'
                        ELSE format('%s documents wait', w.run_documents + w.feed_documents + w.changes) END,
                        greatest(0, extract(epoch FROM clock_timestamp() - w.oldest))::bigint,
                        CASE WHEN w.last_error <> '' THEN ': ' || w.last_error ELSE '' END)
            WHEN r.message <> '' AND (homeostat.sees_all() OR homeostat.acts_for(p.declared_by)) THEN r.message ELSE '' END AS message,
       s.last_converged_at,
       p.uid,
       w.run_documents + w.feed_documents + w.changes AS waiting,
       CASE WHEN w.oldest IS NOT NULL THEN greatest(clock_timestamp() - w.oldest, interval '0') END AS lag,
       CASE WHEN p.suspend THEN ''
            WHEN u.phase = 'sweeping' THEN CASE WHEN u.sweeps = 1 THEN 'observing' ELSE 'verifying' END
            WHEN u.phase = 'indexing' THEN 'indexing'
            WHEN u.uid IS NOT NULL OR w.feed_documents + w.changes > 0 THEN 'healing'
            ELSE '' END AS phase
FROM homeostat.pipeline p
JOIN homeostat.waiting w USING (uid)
LEFT JOIN homeostat.pipeline_status s USING (uid)
LEFT JOIN homeostat.run u USING (uid)
LEFT JOIN homeostat.condition r ON r.uid = p.uid AND r.type = 'Ready'
LEFT JOIN homeostat.condition st ON st.uid = p.uid AND st.type = 'Stalled';

DROP FUNCTION homeostat.named_changes(bigint);
