-- As migration 22 made it.

CREATE OR REPLACE FUNCTION homeostat.check_key(what text, relation regclass, key text[], declarer text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    columns text := homeostat.column_list_text(key);
    estimate json;
    example text;
    n text;
BEGIN
    IF cardinality(key) > 8 THEN
        RAISE EXCEPTION '%: the key has % columns; at most 8 are supported', what, cardinality(key)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH n IN ARRAY key LOOP
        BEGIN
            EXECUTE format('SELECT FROM (SELECT NULL::%s AS k) AS s ORDER BY k LIMIT 0', (
                SELECT format_type(homeostat.base_type(a.atttypid), NULL) FROM pg_attribute a
                WHERE a.attrelid = relation AND a.attname = n));
        EXCEPTION WHEN undefined_function THEN
            RAISE EXCEPTION '%: key column "%" of % has a type without an order (%), so it cannot be a key', what, n,
                homeostat.relation_text(relation),
                (SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = relation AND attname = n)
                USING ERRCODE = 'undefined_function';
        END;
    END LOOP;
    IF EXISTS (SELECT FROM pg_index i WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
               AND i.indexprs IS NULL AND NOT EXISTS (
                   SELECT FROM unnest(i.indkey) WITH ORDINALITY AS u(attnum, pos)
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
                   WHERE u.pos <= i.indnkeyatts AND NOT a.attname = ANY (key))) THEN
        RETURN;
    END IF;
    IF declarer IS DISTINCT FROM current_user AND EXISTS (
        SELECT FROM pg_class c WHERE c.oid = relation AND (c.relkind IN ('v', 'f') OR c.relrowsecurity)) THEN
        RETURN;
    END IF;
    EXECUTE format('EXPLAIN (FORMAT JSON) SELECT %s FROM %s', columns, relation) INTO estimate;
    IF (estimate -> 0 -> 'Plan' ->> 'Plan Rows')::numeric > 200000 THEN RETURN; END IF;
    EXECUTE format('SELECT format(''(%%s)'', concat_ws('', '', %s)) FROM %s WHERE ROW(%s) IS NOT NULL
                    GROUP BY %s HAVING count(*) > 1 LIMIT 1', columns, relation, columns, columns) INTO example;
    IF example IS NOT NULL THEN
        RAISE EXCEPTION '%: the key is ambiguous: more than one row of % has (%) = %', what, homeostat.relation_text(relation),
            columns, example USING ERRCODE = 'unique_violation';
    END IF;
END $$;
