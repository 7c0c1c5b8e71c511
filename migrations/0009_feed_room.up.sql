-- A change feed names changes only while there is room for them: sequences of each feed say how many were named, up to how
-- many may be, and whether some found no room. What comes when it is full is a sweep's to find.
--
-- The sequences are the feed's own and are made with its triggers, at the first pass after this. Here is only what a feed that was
-- full must remember. Locks: the observed table, for adding a column without rewriting it. Time: milliseconds.

ALTER TABLE homeostat.feed ADD COLUMN settles bigint;
COMMENT ON COLUMN homeostat.feed.settles IS
    'Of a feed that was full: writers whose transactions have lower numbers may have changed what it did not name; the largest bigint '
    'until it is opened again; NULL where everything is named';
