-- Locks and time as on the way up.
DROP TABLE homeostat.unsteady;
ALTER TABLE homeostat.pipeline_status DROP COLUMN compared_under;
ALTER TABLE homeostat.run DROP COLUMN compared_under;
DROP TRIGGER a_row_security_pipeline ON homeostat.pipeline;
DROP FUNCTION homeostat.check_row_security();
ALTER TABLE homeostat.pipeline DROP COLUMN row_security;
