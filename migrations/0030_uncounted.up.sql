-- A status says what is known when it is read, also where the change feed cannot be asked: while it is full and nobody has taken note,
-- while its table is locked by somebody, and to a role that may not count it. And a pipeline that is suspended is not ready from that
-- moment on, whether a controller runs or not.
--
-- Locks: the views homeostat.waiting and homeostat.pipelines; grants on the change feeds' tables and sequences. Time: milliseconds.

-- What a feed has named and nobody has taken up; whether it had no room for some of it (its sequence is at 2 or above); and why it cannot be
-- counted, if so: `changes` is NULL then. The tables are made by the controller, one a pipeline.
CREATE FUNCTION homeostat.named_changes(pipeline bigint, OUT changes bigint, OUT oldest timestamptz, OUT gap boolean, OUT uncounted text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    named oid;
    filled oid;
BEGIN
    SELECT max(c.oid) FILTER (WHERE c.relname = format('p%s_change', pipeline)),
           max(c.oid) FILTER (WHERE c.relname = format('p%s_full', pipeline) AND c.relkind = 'S')
        INTO named, filled
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'homeostat_data' AND c.relname IN (format('p%s_change', pipeline), format('p%s_full', pipeline));
    changes := 0;
    gap := false;
    uncounted := '';
    IF named IS NULL THEN
        RETURN;
    END IF;
    IF NOT has_schema_privilege('homeostat_data', 'USAGE') OR NOT has_column_privilege(named, 'at', 'SELECT') THEN
        changes := NULL;
        uncounted := 'denied';
        RETURN;
    END IF;
    EXECUTE format('SELECT count(*), min(c.at) FROM (SELECT at FROM homeostat_data.p%s_change LIMIT 10001) c', pipeline)
        INTO changes, oldest;
    -- Of a feed that was made by an earlier version, whose role may not grant it, only the controller may see whether it is full.
    IF filled IS NOT NULL AND has_sequence_privilege(filled, 'SELECT') THEN
        gap := coalesce(pg_sequence_last_value(filled::regclass) >= 2, false);
    END IF;
EXCEPTION
    WHEN undefined_table THEN
        changes := 0;
        oldest := NULL;
    WHEN lock_not_available THEN
        changes := NULL;
        oldest := NULL;
        uncounted := 'locked';
END $$;
COMMENT ON FUNCTION homeostat.named_changes(bigint) IS 'What the change feed of a pipeline has named and nobody has taken up, now';

-- Programs of the version before ask for less.
CREATE OR REPLACE FUNCTION homeostat.waiting_changes(pipeline bigint, OUT changes bigint, OUT oldest timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS
    'SELECT coalesce(n.changes, 0), n.oldest FROM homeostat.named_changes(pipeline) n';

CREATE OR REPLACE VIEW homeostat.waiting AS
SELECT w.uid, w.run_documents, w.feed_documents, w.changes, w.failing, w.dead_letters, w.closed, w.unnamed,
       NOT w.suspended AND (w.locked OR coalesce(w.oldest < clock_timestamp() - CASE WHEN w.failing > 0 OR w.provider_failing
           THEN interval '2 seconds' ELSE interval '5 seconds' END, false)) AS behind,
       w.oldest,
       CASE WHEN w.locked THEN format('somebody holds a lock on homeostat_data.p%s_change', w.uid)
            WHEN w.last_error = '' AND NOT w.provider_failing OR NOT (homeostat.sees_all() OR homeostat.acts_for(w.declared_by)) THEN ''
            WHEN w.last_error <> '' THEN w.last_error ELSE w.provider_message END AS last_error
FROM (
    SELECT p.uid, p.declared_by,
           coalesce(b.run_documents, 0)::bigint AS run_documents,
           coalesce(b.feed_documents, 0)::bigint AS feed_documents,
           c.changes,
           c.uncounted = 'locked' AS locked,
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
    CROSS JOIN LATERAL homeostat.named_changes(p.uid) c
    -- Where all triggers are in place, a gap is closed by the next run: to its end, as what went is removed only when a second sweep
    -- has seen it gone. (What a new declaration asks for is not there yet, and is told by its generation.)
    LEFT JOIN LATERAL (
        SELECT least(f.incomplete_since, CASE WHEN NOT u.feed_trusted AND u.trigger <> 'spec'
                                              THEN least(u.started_at, f.last_gap_since) END,
                     -- Full, and nobody has taken note. Whoever holds the lease looks every second, so it was later.
                     CASE WHEN c.gap THEN greatest(f.trusted_since, coalesce(c.oldest, (
                         SELECT least(l.expires_at, clock_timestamp()) FROM homeostat.lease l
                         WHERE l.resource = format('pipeline/%s', p.uid)))) END) AS since
        FROM homeostat.condition n WHERE n.uid = p.uid AND n.type = 'ChangeFeed' AND n.reason IN ('Active', 'Overrun')
                                     AND f.uid IS NOT NULL) g ON true
    LEFT JOIN LATERAL (
        SELECT v.healthy, v.message FROM homeostat.provider o JOIN homeostat.provider_status v ON v.uid = o.uid
        WHERE o.name = p.provider AND v.generation = o.generation AND v.model = coalesce(p.model, o.model, '')) v ON true
) w;

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

-- Who may act on everything may count everything; those who count see whether there was room.
DO $$
DECLARE
    t record;
    r text;
BEGIN
    FOREACH r IN ARRAY '{homeostat_declarer,homeostat_admin,homeostat_owner}'::text[] LOOP
        CONTINUE WHEN to_regrole(r) IS NULL;
        EXECUTE format('GRANT EXECUTE ON FUNCTION homeostat.named_changes(bigint) TO %I', r);
        FOR t IN SELECT c.oid, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = 'homeostat_data' AND c.relname ~ '^p[0-9]+_(change|full)$' AND pg_has_role(c.relowner, 'USAGE') LOOP
            IF t.relkind = 'r' THEN
                EXECUTE format('GRANT SELECT (at) ON homeostat_data.%I TO %I', t.relname, r);
            ELSE
                EXECUTE format('GRANT SELECT ON SEQUENCE homeostat_data.%I TO %I', t.relname, r);
            END IF;
        END LOOP;
    END LOOP;
    IF to_regrole('homeostat_controller') IS NOT NULL THEN
        GRANT EXECUTE ON FUNCTION homeostat.named_changes(bigint) TO homeostat_controller;
    END IF;
    -- And whoever was granted the views by hand.
    FOR t IN SELECT DISTINCT pg_get_userbyid(a.grantee) AS grantee FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) a
             WHERE p.oid = 'homeostat.waiting_changes(bigint)'::regprocedure AND a.grantee NOT IN (0, p.proowner) LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION homeostat.named_changes(bigint) TO %I', t.grantee);
    END LOOP;
    REVOKE ALL ON FUNCTION homeostat.named_changes(bigint) FROM PUBLIC;
END $$;
