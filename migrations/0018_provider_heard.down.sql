-- Locks and time as on the way up.
ALTER TABLE homeostat.provider_status DROP COLUMN heard_at;
