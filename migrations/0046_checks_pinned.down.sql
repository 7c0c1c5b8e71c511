DO $$
DECLARE
    f pg_catalog.regprocedure;
BEGIN
    FOR f IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'homeostat'::pg_catalog.regnamespace AND p.prokind IN ('f', 'p')
          AND EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) c WHERE c LIKE 'quote\_all\_identifiers=%')
    LOOP
        EXECUTE pg_catalog.format('ALTER ROUTINE %s RESET quote_all_identifiers', f);
    END LOOP;
END $$;

DO $$
DECLARE
    def text := pg_catalog.pg_get_functiondef('homeostat.keep_partitions(date,int)'::pg_catalog.regprocedure);
BEGIN
    EXECUTE pg_catalog.replace(def, $new$        FOR old IN SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
                   WHERE h.inhparent = format('homeostat.%I', parent)::regclass AND c.relreplident = 'd' LOOP
            EXECUTE format('ALTER TABLE homeostat.%I REPLICA IDENTITY FULL', old.relname);
        END LOOP;
$new$, '');
END $$;

DO $$
DECLARE
    c pg_catalog.regclass;
BEGIN
    FOR c IN
        SELECT r.oid FROM pg_catalog.pg_class r
        WHERE r.relnamespace = 'homeostat'::pg_catalog.regnamespace AND r.relkind IN ('r', 'p') AND r.relreplident = 'f'
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', c);
    END LOOP;
END $$;
