-- The newest events first, and events as they come, are read by everybody who looks; without an index each look reads all that are
-- kept. Takes SHARE on homeostat.event and its partitions while the index is built: some seconds for millions of events, in which
-- passes that have something to tell wait.
CREATE INDEX event_at ON homeostat.event (at DESC, id DESC);
