-- Documents that a provider refused are tried again once. Earlier versions believed what was said of a text alone, so that an endpoint
-- which refused everything while it loaded its model, or was asked in a way that it does not take, had documents condemned that
-- nothing was the matter with. From now on a text that is known to be good is asked for first. What is refused again is a dead letter
-- again. Documents that ended processes stay as they are.
--
-- Locks: rows of homeostat.dead_letter, pipeline and pipeline_status, those of pipelines that have such documents. Time: milliseconds
-- for thousands of dead letters.

WITH gone AS (
    DELETE FROM homeostat.dead_letter
    WHERE class IN ('content', 'too_large') AND message NOT LIKE '%replicas died while they worked on nothing else%'
    RETURNING uid)
UPDATE homeostat.pipeline SET reconcile_requested = pg_catalog.gen_random_uuid()::text WHERE uid IN (SELECT uid FROM gone);

UPDATE homeostat.pipeline_status SET dead_letters = homeostat.dead_letters_of(uid)
WHERE dead_letters <> homeostat.dead_letters_of(uid);
