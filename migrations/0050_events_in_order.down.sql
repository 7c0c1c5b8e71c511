DROP INDEX homeostat.event_at;
