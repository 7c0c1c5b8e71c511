-- Locks and time as on the way up.
CREATE OR REPLACE VIEW homeostat.waiting AS
SELECT w.uid, w.run_documents, w.feed_documents, w.changes, w.failing, w.dead_letters, w.closed, w.unnamed,
       NOT w.suspended AND coalesce(w.oldest < clock_timestamp() - CASE WHEN w.failing > 0 OR w.provider_failing
           THEN interval '2 seconds' ELSE interval '5 seconds' END, false) AS behind,
       w.oldest,
       CASE WHEN w.last_error <> '' THEN w.last_error WHEN w.provider_failing THEN w.provider_message ELSE '' END AS last_error
FROM (
    SELECT p.uid,
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
    -- Where all triggers are in place, a gap is closed by the next sweep: known from its start, seen when it has passed once.
    LEFT JOIN LATERAL (
        SELECT least(f.incomplete_since, CASE WHEN u.phase = 'sweeping' AND u.sweeps = 1 AND NOT u.feed_trusted
                                                   AND u.trigger = 'feed' THEN u.started_at END) AS since
        FROM homeostat.condition n WHERE n.uid = p.uid AND n.type = 'ChangeFeed' AND n.reason IN ('Active', 'Overrun')
                                     AND f.uid IS NOT NULL) g ON true
    LEFT JOIN LATERAL (
        SELECT v.healthy, v.message FROM homeostat.provider o JOIN homeostat.provider_status v ON v.uid = o.uid
        WHERE o.name = p.provider AND v.generation = o.generation AND v.model = coalesce(p.model, o.model, '')) v ON true
) w;
CREATE OR REPLACE FUNCTION homeostat.note_feed_gap() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.trusted_since IS NOT NULL THEN
        NEW.incomplete_since := NULL;
    ELSIF NEW.incomplete_since IS NULL THEN
        NEW.incomplete_since := clock_timestamp();
    END IF;
    RETURN NEW;
END $$;
COMMENT ON COLUMN homeostat.batch.created_at IS NULL;
ALTER TABLE homeostat.feed DROP COLUMN last_gap_since;
