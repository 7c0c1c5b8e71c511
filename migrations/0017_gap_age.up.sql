-- What waits is as old as the first change that it is for: the gap of a feed for as long as the run that closes it goes on, since
-- when it had been there before that run began.
--
-- Locks: the observed table feed, for a column; the view homeostat.waiting. Time: milliseconds.

ALTER TABLE homeostat.feed ADD COLUMN last_gap_since timestamptz;
COMMENT ON COLUMN homeostat.feed.last_gap_since IS 'Since when the last gap had been there that a run closed or is about to close';
COMMENT ON COLUMN homeostat.batch.created_at IS 'Since when its documents are known to differ';

CREATE OR REPLACE FUNCTION homeostat.note_feed_gap() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.trusted_since IS NOT NULL THEN
        NEW.last_gap_since := coalesce(NEW.incomplete_since, NEW.last_gap_since);
        NEW.incomplete_since := NULL;
    ELSIF NEW.incomplete_since IS NULL THEN
        NEW.incomplete_since := clock_timestamp();
    END IF;
    RETURN NEW;
END $$;

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
