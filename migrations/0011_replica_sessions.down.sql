DROP INDEX homeostat.batch_suspect;
ALTER TABLE homeostat.batch DROP COLUMN marks;
COMMENT ON COLUMN homeostat.batch.deaths IS NULL;
UPDATE homeostat.batch SET deaths = 0 WHERE deaths > 0;
ALTER TABLE homeostat.replica DROP COLUMN process_space, DROP COLUMN process_start, DROP COLUMN backend_pid,
    DROP COLUMN backend_start, DROP COLUMN ended_at;
