-- Replicas of the version before hold leases FOR SHARE, for which the index is not needed. Stop those of this version first.
DROP INDEX IF EXISTS homeostat.lease_epoch;
