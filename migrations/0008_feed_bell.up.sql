-- A feed that sleeps is called once, by the first who changes the source, and no longer by each.
--
-- A notification takes a lock that all of the server's commits with one queue for; a feed that nobody reads any more would have cost
-- its writers most of their throughput. The flag has a table of its own because a writer holds its row until it commits: nothing else
-- may have to wait for that.
--
-- Triggers made before read feed.asleep until the controller replaces them at its first pass; so that none of them is silent until
-- then, they call whatever happens. Locks: none that matter. Time: milliseconds.

CREATE TABLE homeostat.feed_bell (
    uid bigint PRIMARY KEY REFERENCES homeostat.feed ON DELETE CASCADE,
    asleep boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
COMMENT ON TABLE homeostat.feed_bell IS 'Of each change feed, whether it is to be called';
COMMENT ON COLUMN homeostat.feed_bell.asleep IS
    'Nobody looks: whoever changes the source sends a notification and says that it is sent';

INSERT INTO homeostat.feed_bell (uid) SELECT uid FROM homeostat.feed;
UPDATE homeostat.feed SET asleep = true;
COMMENT ON COLUMN homeostat.feed.asleep IS 'Not used any more, but by triggers that were made before feed_bell';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_owner') THEN GRANT ALL ON homeostat.feed_bell TO homeostat_owner; END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_controller') THEN
        GRANT ALL ON homeostat.feed_bell TO homeostat_controller;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_declarer') THEN
        GRANT SELECT ON homeostat.feed_bell TO homeostat_declarer;
    END IF;
END $$;
