-- Keys as long as an index of the source takes: where a key, or a version, has no fixed length, it is alone in the index of the
-- documents. With the document's id and version beside it an entry could be too large for a page, though the source's own was not.
--
-- Locks: each document table whose key or version has no fixed length, against writes, while its index is built. Time: about a
-- second for a million documents.
DO $$
DECLARE
    i record;
BEGIN
    FOR i IN
        SELECT n.nspname, t.relname AS of, x.relname AS name,
            (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.pos) FROM unnest(k.indkey) WITH ORDINALITY u(attnum, pos)
             JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = u.attnum WHERE u.pos <= k.indnkeyatts) AS keys,
            (SELECT bool_and(a.attlen > 0) FROM unnest(k.indkey) WITH ORDINALITY u(attnum, pos)
             JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = u.attnum WHERE u.pos <= k.indnkeyatts) AS fixed
        FROM homeostat.revision r
        JOIN pg_class x ON x.relname = format('p%s_r%s_key', r.uid, r.revision)
        JOIN pg_namespace n ON n.oid = x.relnamespace AND n.nspname = 'homeostat_data'
        JOIN pg_index k ON k.indexrelid = x.oid
        JOIN pg_class t ON t.oid = k.indrelid
        WHERE EXISTS (SELECT FROM unnest(k.indkey) u(attnum) JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = u.attnum
                      WHERE a.attlen <= 0) AND k.indnatts > k.indnkeyatts
    LOOP
        EXECUTE format('DROP INDEX %I.%I', i.nspname, i.name);
        EXECUTE format('CREATE UNIQUE INDEX %I ON %I.%I (%s)%s', i.name, i.nspname, i.of, i.keys,
                       CASE WHEN i.fixed THEN ' INCLUDE (document_id)' ELSE '' END);
    END LOOP;
END $$;
