-- A run is a record: how it ended in one word, what was healed of each class, and what that has cost at the price its provider declares.
--
-- Locks: run_history, for columns that rewrite nothing, and its rows once, for the word of those that are there. Time: milliseconds, and
-- some 10 microseconds a run that is kept.

ALTER TABLE homeostat.run_history
    ADD COLUMN status text NOT NULL DEFAULT 'completed' CHECK (status IN ('completed', 'no_action_needed', 'partial', 'failed',
        'rolled_back', 'superseded')),
    ADD COLUMN healed jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN cost numeric;
COMMENT ON COLUMN homeostat.run_history.status IS 'How it ended; rolled_back where what it did was taken back since';
COMMENT ON COLUMN homeostat.run_history.healed IS 'Documents that were written or removed, by class of drift';
COMMENT ON COLUMN homeostat.run_history.cost IS 'Of its tokens, at the price that its provider declared when it ended; NULL where none is declared';

UPDATE homeostat.run_history SET status = CASE result WHEN 'Failed' THEN 'failed' WHEN 'Superseded' THEN 'superseded'
    WHEN 'Converged' THEN CASE WHEN planned = 0 THEN 'no_action_needed' ELSE 'completed' END ELSE 'partial' END
WHERE result <> 'Converged' OR planned = 0;

-- As migration 34 made it, with the columns that are new.
CREATE OR REPLACE VIEW homeostat.own_run_history WITH (security_barrier) AS SELECT t.* FROM homeostat.run_history t
    WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by));
