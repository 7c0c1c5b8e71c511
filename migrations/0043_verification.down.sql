-- Runs end unverified again. Locks: the table pipeline, for dropping columns. Time: milliseconds.
DROP TRIGGER check_verification ON homeostat.pipeline;
DROP FUNCTION homeostat.check_verification();
DROP VIEW homeostat.own_verification;
DROP TABLE homeostat.verification;
ALTER TABLE homeostat.pipeline DROP COLUMN verify_sample, DROP COLUMN verify_tolerance;
