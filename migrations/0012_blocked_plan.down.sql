ALTER TABLE homeostat.pipeline_status DROP COLUMN blocked_plan;
