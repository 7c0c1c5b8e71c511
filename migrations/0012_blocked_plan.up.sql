-- The plan of deletions that are held back, as data: what may be approved is compared with it, not with the text of a condition.
--
-- Locks: the observed table, for adding a column without rewriting it. Time: milliseconds.

ALTER TABLE homeostat.pipeline_status ADD COLUMN blocked_plan text NOT NULL DEFAULT '';
COMMENT ON COLUMN homeostat.pipeline_status.blocked_plan IS 'Names the deletions that are held back; empty where none are';

-- What is held back already can be approved as before.
UPDATE homeostat.pipeline_status s SET blocked_plan = c.plan
FROM (SELECT uid, left(md5(string_agg(document_id::text, ',' ORDER BY document_id)), 12) AS plan
      FROM homeostat.prune_candidate WHERE first_observation < last_observation GROUP BY uid) c
WHERE c.uid = s.uid AND s.blocked_prunes > 0;
