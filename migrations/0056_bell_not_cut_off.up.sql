-- VACUUM leaves the end of the table of the feeds' bells as it is.
--
-- Triggers of the change feed wait for nobody who has locked what is ours: they ask for a sweep instead. A VACUUM that gives the end
-- of a table back locks all of it for a moment, and a writer who met that would cost a sweep for nothing. (Tables of changes get the
-- same from whoever makes their triggers.)
--
-- Locks: SHARE UPDATE EXCLUSIVE on homeostat.feed_bell, which writers do not feel. Time: milliseconds.
ALTER TABLE homeostat.feed_bell SET (vacuum_truncate = false);
