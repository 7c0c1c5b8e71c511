-- What a run was spared is in its record beside what it has cost: tokens, as estimated, that were not asked for because a cache had
-- the vectors.
--
-- Locks: the tables batch_history and run_history, for columns that rewrite nothing. Time: milliseconds.

ALTER TABLE homeostat.batch_history ADD COLUMN saved_tokens bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN homeostat.batch_history.saved_tokens IS 'Not asked for, because a cache had the vectors; as estimated';
ALTER TABLE homeostat.run_history ADD COLUMN saved_tokens bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN homeostat.run_history.saved_tokens IS 'Not asked for, because a cache had the vectors; as estimated';

-- As migration 26 made them, with the column that is new.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{batch_history,run_history}'::text[] LOOP
        EXECUTE format('CREATE OR REPLACE VIEW homeostat.%I WITH (security_barrier) AS SELECT t.* FROM homeostat.%I t'
                       ' WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p'
                       ' WHERE homeostat.acts_for(p.declared_by))', 'own_' || name, name);
    END LOOP;
END $$;
