-- What a check compares as text must not depend on the session of whoever declares: with quote_all_identifiers on, format('%I')
-- gave a name that no check knew, and two pipelines were served under one view. Takes no lock but on the functions' own rows.
-- Whoever makes a function of ours again gives it the setting again; a test looks at all of them.
DO $$
DECLARE
    f pg_catalog.regprocedure;
BEGIN
    FOR f IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'homeostat'::pg_catalog.regnamespace AND p.prokind IN ('f', 'p')
          AND (EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) c WHERE c LIKE 'search\_path=%') OR p.prosrc ~ 'quote_ident|%I|relation_text')
    LOOP
        EXECUTE pg_catalog.format('ALTER ROUTINE %s SET quote_all_identifiers = off', f);
    END LOOP;
END $$;

-- What is published and has no key cannot be deleted from without an identity, and FOR ALL TABLES publishes ours too: an erasure then
-- waited for ever. Takes ACCESS EXCLUSIVE on each history's partitions, for a row of the catalog.
DO $$
DECLARE
    c pg_catalog.regclass;
BEGIN
    FOR c IN
        SELECT r.oid FROM pg_catalog.pg_class r
        WHERE r.relnamespace = 'homeostat'::pg_catalog.regnamespace AND r.relkind IN ('r', 'p') AND r.relreplident = 'd'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = r.oid AND i.indisprimary)
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY FULL', c);
    END LOOP;
END $$;

-- And those that are made from now on.
DO $$
DECLARE
    def text := pg_catalog.pg_get_functiondef('homeostat.keep_partitions(date,int)'::pg_catalog.regprocedure);
    before text := '        FOR old IN SELECT c.relname FROM pg_inherits';
BEGIN
    IF position(before IN def) = 0 THEN RAISE EXCEPTION 'homeostat.keep_partitions() is not as migration 0003 made it'; END IF;
    EXECUTE pg_catalog.replace(def, before, $new$        FOR old IN SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
                   WHERE h.inhparent = format('homeostat.%I', parent)::regclass AND c.relreplident = 'd' LOOP
            EXECUTE format('ALTER TABLE homeostat.%I REPLICA IDENTITY FULL', old.relname);
        END LOOP;
$new$ || before);
END $$;
