-- What a run has cost is in its record: tokens that were used, and tokens that were asked for in vain. What was learnt of a provider
-- without its saying so (how many texts it answers in time, how many requests at a time, that it knows no base64) is kept over a
-- restart, as its limits are.
--
-- Locks: the tables batch, batch_history, run_history and provider_status, for columns that rewrite nothing. Time: milliseconds.

ALTER TABLE homeostat.batch ADD COLUMN tokens bigint NOT NULL DEFAULT 0, ADD COLUMN wasted_tokens bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN homeostat.batch.tokens IS 'Embedded for it by claims that came to nothing otherwise; what they got is in the cache';
COMMENT ON COLUMN homeostat.batch.wasted_tokens IS 'Asked for by such claims, and not used';

ALTER TABLE homeostat.batch_history ADD COLUMN wasted_tokens bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN homeostat.batch_history.tokens IS 'Embedded for it and used, as billed or estimated';
COMMENT ON COLUMN homeostat.batch_history.wasted_tokens IS 'Asked for and not used: the answer was late, or of no use';

ALTER TABLE homeostat.run_history ADD COLUMN tokens bigint NOT NULL DEFAULT 0, ADD COLUMN wasted_tokens bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN homeostat.run_history.tokens IS 'Embedded for it and used, as billed or estimated';
COMMENT ON COLUMN homeostat.run_history.wasted_tokens IS 'Asked for and not used: the answer was late, or of no use';

ALTER TABLE homeostat.provider_status ADD COLUMN pace int, ADD COLUMN in_flight int, ADD COLUMN encoding text;
COMMENT ON COLUMN homeostat.provider_status.pace IS 'Texts a request that are answered well within the timeout, by how long answers took';
COMMENT ON COLUMN homeostat.provider_status.in_flight IS 'Requests at a time, since more of them were refused or late';
COMMENT ON COLUMN homeostat.provider_status.encoding IS 'How vectors are asked for, where the declared encoding was refused';

-- As migration 22 made them, with the columns that are new.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{batch,batch_history,run_history,provider_status}'::text[] LOOP
        EXECUTE format('CREATE OR REPLACE VIEW homeostat.%I WITH (security_barrier) AS SELECT t.* FROM homeostat.%I t'
                       ' WHERE (SELECT homeostat.sees_all()) OR t.uid IN (%s)', 'own_' || name, name,
            CASE name WHEN 'provider_status' THEN
                'SELECT o.uid FROM homeostat.provider o WHERE homeostat.acts_for(o.declared_by) UNION ALL SELECT o.uid'
                ' FROM homeostat.provider o JOIN homeostat.pipeline p ON p.provider = o.name WHERE homeostat.acts_for(p.declared_by)'
            ELSE 'SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by)' END);
    END LOOP;
END $$;
