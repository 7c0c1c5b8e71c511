-- Locks: the two tables. Time: milliseconds.
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.make_roles()'::regprocedure);
BEGIN
    EXECUTE replace(def, $kept$
    IF to_regclass('homeostat.kept_vector') IS NOT NULL THEN REVOKE ALL ON homeostat.kept_vector FROM homeostat_declarer; END IF;
    IF to_regclass('homeostat.vector_scope') IS NOT NULL THEN REVOKE ALL ON homeostat.vector_scope FROM homeostat_declarer; END IF;$kept$, '');
END $$;
DROP FUNCTION homeostat.forget_vectors(text, text[]);
DROP TABLE IF EXISTS homeostat.kept_vector, homeostat.vector_scope;
