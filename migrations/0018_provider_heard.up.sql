-- A replica that has heard nothing of a provider since does not speak over one that has: what is known of it is as old as the last
-- answer or failure, not as the last report.
--
-- Locks: the observed table provider_status, for a column. Time: milliseconds.

ALTER TABLE homeostat.provider_status ADD COLUMN heard_at timestamptz NOT NULL DEFAULT clock_timestamp();
COMMENT ON COLUMN homeostat.provider_status.heard_at IS 'When the provider said what this row tells, or failed to';
