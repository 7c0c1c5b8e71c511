-- Materialised views are swept at their interval again.
DROP VIEW homeostat.source_mark;
ALTER TABLE homeostat.pipeline_status DROP COLUMN observed_source_mark;
ALTER TABLE homeostat.run DROP COLUMN source_mark;
