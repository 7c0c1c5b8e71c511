-- A replica that died is known by what ended with it: its process, where another may look for it, or its database session. A batch
-- remembers how many replicas died while they had it in flight: alone (`deaths`) or beside others (`marks`). Deaths counted
-- until now were expired claims, which blame nobody, and are forgotten.
--
-- Locks: both tables, for adding columns without rewriting them; the batches that are blamed, while they are cleared. Time:
-- milliseconds.
ALTER TABLE homeostat.replica ADD COLUMN process_space text NOT NULL DEFAULT '', ADD COLUMN process_start bigint NOT NULL DEFAULT 0,
    ADD COLUMN backend_pid int, ADD COLUMN backend_start bigint, ADD COLUMN ended_at timestamptz;
COMMENT ON COLUMN homeostat.replica.process_space IS 'The running system and its process numbers, for those who can look for the process';
COMMENT ON COLUMN homeostat.replica.process_start IS 'When the process began, in the system''s own count';
COMMENT ON COLUMN homeostat.replica.backend_pid IS 'The session that lives as long as the replica does; NULL behind a pooler';
COMMENT ON COLUMN homeostat.replica.backend_start IS 'When that session began, in microseconds since 1970';
COMMENT ON COLUMN homeostat.replica.ended_at IS 'It was stopped, or found dead';

ALTER TABLE homeostat.batch ADD COLUMN marks int NOT NULL DEFAULT 0;
COMMENT ON COLUMN homeostat.batch.deaths IS 'Replicas that died while they had this batch in flight and no other';
COMMENT ON COLUMN homeostat.batch.marks IS 'Replicas that died while they had this batch in flight beside others';
UPDATE homeostat.batch SET deaths = 0 WHERE deaths > 0;
-- Those that are tried alone.
CREATE INDEX batch_suspect ON homeostat.batch (id) WHERE deaths > 0 OR marks >= 3;
