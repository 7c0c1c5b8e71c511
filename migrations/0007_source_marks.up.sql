-- Refreshes of materialised views are noticed: a mark in the catalog that each of them moves, and the one that was last observed.
--
-- A refresh fires no triggers. But every one, also CONCURRENTLY, writes the view's row of pg_class, in the transaction of the refresh
-- itself, so the row's xmin is another as soon as the refresh is committed, and stays so whatever crashes. VACUUM and ANALYZE change
-- that row in place and do not move it. Counters of the statistics were the alternative: they come late, and a crash loses them.
--
-- Locks: the two observed tables, for adding columns without rewriting them. Time: milliseconds.

ALTER TABLE homeostat.run ADD COLUMN source_mark text;
COMMENT ON COLUMN homeostat.run.source_mark IS 'Of the source when its sweep under way began; NULL where refreshes are not to be noticed';
ALTER TABLE homeostat.pipeline_status ADD COLUMN observed_source_mark text;
COMMENT ON COLUMN homeostat.pipeline_status.observed_source_mark IS 'As of the last run that ended; where the source has another now, it was refreshed';

-- By name in the catalog: to_regclass would fail for all pipelines where one schema may not be used.
CREATE VIEW homeostat.source_mark AS
SELECT p.uid, format('%s:%s', c.oid, c.xmin) AS mark
FROM homeostat.pipeline p
CROSS JOIN LATERAL (SELECT parse_ident(p.source) AS name) AS s
JOIN pg_namespace n ON n.nspname = s.name[1]::name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.name[2]::name
WHERE c.relkind = 'm';
COMMENT ON VIEW homeostat.source_mark IS 'Of each pipeline over a materialised view: another one after each refresh';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_owner') THEN
        GRANT ALL ON homeostat.source_mark TO homeostat_owner;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_controller') THEN
        GRANT SELECT ON homeostat.source_mark TO homeostat_controller;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_declarer') THEN
        GRANT SELECT ON homeostat.source_mark TO homeostat_declarer;
    END IF;
END $$;
