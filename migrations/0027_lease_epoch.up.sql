-- A lease's epoch becomes part of a key of its table. Whoever changes a key of a row waits for all who hold the row, also for those
-- who hold it FOR KEY SHARE; whoever changes anything else of it does not. So a takeover, which changes the epoch, still waits for
-- every transaction that writes under the lease, and a renewal, which changes only the expiry, waits for none of them: where many
-- write one after the other, it found no moment between them, and a replica that was well lost its lease.
--
-- Locks: the table lease, against writing, while a handful of rows are read. Time: milliseconds.

CREATE UNIQUE INDEX lease_epoch ON homeostat.lease (resource, epoch);
COMMENT ON INDEX homeostat.lease_epoch IS 'Not to find rows by: who changes the epoch waits for those who hold the row FOR KEY SHARE';
