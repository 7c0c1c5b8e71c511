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
