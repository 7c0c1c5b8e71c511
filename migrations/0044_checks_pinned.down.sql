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
