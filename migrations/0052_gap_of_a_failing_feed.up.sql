-- A gap of the change feed is told while the feed fails too, and after a sweep that found what it had not named: the triggers are in place
-- then, so the next run closes it, and until it has, something may wait that nobody has named.
--
-- Locks: none but the catalogue's; the view homeostat.waiting. Time: milliseconds.

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
    -- What is searched now, while the next revision is built beside it.
    LEFT JOIN LATERAL (
        SELECT r.revision, r.model FROM homeostat.revision r WHERE r.uid = p.uid AND r.state = 'served'
            AND EXISTS (SELECT FROM homeostat.revision n WHERE n.uid = p.uid AND n.state = 'building')) s ON true
    LEFT JOIN LATERAL (
        SELECT sum(b.documents) FILTER (WHERE b.run_id IS DISTINCT FROM f.run_id AND of_served) AS run_documents,
               sum(b.documents) FILTER (WHERE b.run_id = f.run_id AND of_served) AS feed_documents,
               sum(b.documents) FILTER (WHERE (b.attempts > 0 OR b.last_error <> '') AND of_served) AS failing,
               min(b.created_at) FILTER (WHERE of_served) AS oldest,
               (array_agg(b.last_error ORDER BY b.id DESC) FILTER (WHERE b.last_error <> '' AND of_served))[1] AS last_error,
               bool_or(b.kind = 'heal') FILTER (WHERE of_served) AS heals,
               max(b.provider) FILTER (WHERE of_served) AS provider
        FROM homeostat.batch b CROSS JOIN LATERAL (SELECT coalesce(b.revision = s.revision, true)) o(of_served)
        WHERE b.uid = p.uid AND b.kind <> 'stray') b ON true
    CROSS JOIN LATERAL homeostat.named_changes(p.uid) c
    -- Where all triggers are in place, a gap is closed by the next run: to its end, as what went is removed only when a second sweep
    -- has seen it gone. (What a new declaration asks for is not there yet, and is told by its generation.) One of the served revision
    -- stays until the next one takes over.
    LEFT JOIN LATERAL (
        SELECT least(CASE WHEN s.revision IS NOT NULL THEN f.served_gap_since
                          ELSE least(f.incomplete_since, CASE WHEN NOT u.feed_trusted AND u.trigger <> 'spec'
                                                              THEN least(u.started_at, f.last_gap_since) END) END,
                     -- Full, and nobody has taken note. Whoever holds the lease looks every second, so it was later.
                     CASE WHEN c.gap THEN greatest(f.trusted_since, coalesce(c.oldest, (
                         SELECT least(l.expires_at, clock_timestamp()) FROM homeostat.lease l
                         WHERE l.resource = format('pipeline/%s', p.uid)))) END) AS since
        FROM homeostat.condition n WHERE n.uid = p.uid AND n.type = 'ChangeFeed' AND f.uid IS NOT NULL
            AND n.reason IN ('Active', 'Overrun', 'Failing', 'Bypassed')) g ON true
    LEFT JOIN LATERAL (
        SELECT v.healthy, v.message FROM homeostat.provider o JOIN homeostat.provider_status v ON v.uid = o.uid
        WHERE o.name = coalesce(b.provider, p.provider) AND v.generation = o.generation
            AND v.model = CASE WHEN b.provider IS NULL THEN coalesce(p.model, o.model, '') ELSE coalesce(s.model, '') END) v ON true
) w;
