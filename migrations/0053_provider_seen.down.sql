CREATE OR REPLACE VIEW homeostat.pipelines AS
SELECT p.name,
       CASE WHEN r.status = 'True' AND (p.suspend OR w.behind) THEN 'False'
            WHEN r.status = 'True' AND w.changes IS NULL THEN 'Unknown'
            ELSE coalesce(r.status, 'Unknown') END AS ready,
       CASE WHEN r.status = 'True' AND p.suspend THEN 'Suspended'
            WHEN r.status = 'True' AND w.behind THEN 'Behind'
            WHEN r.status = 'True' AND w.changes IS NULL THEN 'NotCounted'
            ELSE coalesce(r.reason, 'NotObserved') END AS reason,
       s.source_documents,
       coalesce(s.documents, 0) AS documents,
       coalesce(s.chunks, 0) AS chunks,
       greatest(coalesce(s.missing + s.stale + s.moved + s.partial + s.invalid + s.orphaned + s.excess, 0),
                w.run_documents + CASE WHEN w.closed THEN coalesce(w.changes, 0) ELSE 0 END)
           + w.feed_documents + CASE WHEN w.closed THEN 0 ELSE coalesce(w.changes, 0) END AS drift,
       w.dead_letters,
       p.source,
       p.target,
       p.provider,
       p.suspend AS suspended,
       CASE WHEN p.deletion_requested_at IS NOT NULL THEN 'Terminating'
            WHEN st.status = 'True' THEN 'Failed'
            WHEN r.status = 'True' AND NOT p.suspend AND NOT w.behind AND w.changes IS NOT NULL AND s.observed_generation = p.generation THEN 'Current'
            WHEN r.status IS NULL THEN 'Unknown'
            ELSE 'InProgress' END AS kstatus,
       CASE WHEN r.status = 'True' AND p.suspend THEN coalesce(p.suspend_reason, '')
            WHEN r.status = 'True' AND NOT w.behind AND w.changes IS NULL
            THEN 'what waits cannot be counted: this role may not read what the change feed has named'
            WHEN w.behind AND (r.status = 'True' OR r.reason = 'Behind') AND w.changes IS NULL
            THEN 'what waits cannot be counted: ' || w.last_error
            WHEN w.behind AND (r.status = 'True' OR r.reason = 'Behind')
            THEN format('%s, the oldest for %s s%s', CASE w.run_documents + w.feed_documents + w.changes
                        WHEN 0 THEN 'changes that were not named wait for a sweep'
                        WHEN 1 THEN '1 document waits'
                        ELSE format('%s documents wait', w.run_documents + w.feed_documents + w.changes) END,
                        greatest(0, extract(epoch FROM clock_timestamp() - w.oldest))::bigint,
                        CASE WHEN w.last_error <> '' THEN ': ' || w.last_error ELSE '' END)
            WHEN r.message <> '' AND (homeostat.sees_all() OR homeostat.acts_for(p.declared_by)) THEN r.message ELSE '' END AS message,
       s.last_converged_at,
       p.uid,
       w.run_documents + w.feed_documents + coalesce(w.changes, 0) AS waiting,
       CASE WHEN w.oldest IS NOT NULL THEN greatest(clock_timestamp() - w.oldest, interval '0') END AS lag,
       CASE WHEN p.suspend THEN ''
            WHEN u.phase = 'sweeping' THEN CASE WHEN u.sweeps = 1 THEN 'observing' ELSE 'verifying' END
            WHEN u.phase = 'indexing' THEN 'indexing'
            WHEN u.uid IS NOT NULL OR w.feed_documents + coalesce(w.changes, 0) > 0 THEN 'healing'
            ELSE '' END AS phase
FROM homeostat.pipeline p
JOIN homeostat.waiting w USING (uid)
LEFT JOIN homeostat.pipeline_status s USING (uid)
LEFT JOIN homeostat.run u USING (uid)
LEFT JOIN homeostat.condition r ON r.uid = p.uid AND r.type = 'Ready'
LEFT JOIN homeostat.condition st ON st.uid = p.uid AND st.type = 'Stalled';
