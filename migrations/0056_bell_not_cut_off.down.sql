-- VACUUM may cut off the end of the table of the feeds' bells again. Locks: SHARE UPDATE EXCLUSIVE on it. Time: milliseconds.
ALTER TABLE homeostat.feed_bell RESET (vacuum_truncate);
