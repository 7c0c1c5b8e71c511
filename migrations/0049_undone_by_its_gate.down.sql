-- Locks and time as on the way up. A rollback that is under way is planned again by the version before, from what is left of it.
DROP TRIGGER check_rollback ON homeostat.rollback;
CREATE TRIGGER check_rollback BEFORE INSERT ON homeostat.rollback FOR EACH ROW EXECUTE FUNCTION homeostat.check_rollback();
UPDATE homeostat.rollback SET state = 'requested' WHERE state = 'running' AND NOT planned;
ALTER TABLE homeostat.rollback DROP COLUMN unverified_run, DROP COLUMN planned;
