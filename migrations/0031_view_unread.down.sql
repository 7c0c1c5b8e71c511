-- As migration 22 made it. Locks: none.
DO $do$
DECLARE
    def text := pg_get_functiondef('homeostat.check_key(text, regclass, text[], text)'::regprocedure);
    was text := $is$
    -- What a view, a policy or a foreign server does, it does with the rights of whoever looks; and so do functions in the expressions
    -- of a table's indexes and checks, which are evaluated when a query is planned. So only the owner looks, or anybody where that is a
    -- superuser, or where there is nothing of the kind. For others the first pass does.
    IF EXISTS (SELECT FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner WHERE c.oid = relation
               AND (c.relkind NOT IN ('r', 'm') OR c.relrowsecurity OR c.relhassubclass
                    OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
                    OR EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'))
               AND (declarer IS DISTINCT FROM current_user OR NOT o.rolsuper AND o.rolname <> current_user)) THEN
$is$;
BEGIN
    IF position(was IN def) = 0 THEN
        RAISE EXCEPTION 'homeostat.check_key() is not as a migration made it';
    END IF;
    EXECUTE replace(def, was, $is$
    IF declarer IS DISTINCT FROM current_user AND EXISTS (
        SELECT FROM pg_class c WHERE c.oid = relation AND (c.relkind IN ('v', 'f') OR c.relrowsecurity)) THEN
$is$);
END $do$;
