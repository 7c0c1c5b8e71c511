-- Locks and time as on the way up.
COMMENT ON COLUMN homeostat.pipeline.chunk_size IS NULL;
ALTER TABLE homeostat.pipeline ALTER COLUMN chunk_size SET DEFAULT 400;
DROP TRIGGER a_chunk_size_pipeline ON homeostat.pipeline;
DROP FUNCTION homeostat.choose_chunk_size();
DROP TRIGGER a_complete_target_view ON homeostat.target_view;
DROP TRIGGER a_complete_provider ON homeostat.provider;
DROP TRIGGER a_complete_pipeline ON homeostat.pipeline;
DROP FUNCTION homeostat.refuse_what_is_missing();
