-- A run that its own gate finds wrong is rolled back without being asked for: the controller, which has judged it, writes the request with
-- the pipeline's uid, as it does for a run's checkpoint. What people ask for is checked as before. And what is to be undone is planned
-- in a transaction of its own, after the one that begins the rollback: that one holds the pipeline's row, and is short now.
--
-- Locks: homeostat.rollback, for columns that rewrite nothing and a trigger. Time: milliseconds.

ALTER TABLE homeostat.rollback
    ADD COLUMN unverified_run bigint,
    ADD COLUMN planned boolean NOT NULL DEFAULT false;
UPDATE homeostat.rollback SET planned = true WHERE state = 'running';
COMMENT ON COLUMN homeostat.rollback.unverified_run IS 'The run whose gate asked for it; NULL: a person did';
COMMENT ON COLUMN homeostat.rollback.planned IS 'What is to be undone is in rollback_entry';

DROP TRIGGER check_rollback ON homeostat.rollback;
CREATE TRIGGER check_rollback BEFORE INSERT ON homeostat.rollback
    FOR EACH ROW WHEN (NEW.uid IS NULL) EXECUTE FUNCTION homeostat.check_rollback();
