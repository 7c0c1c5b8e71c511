-- Whoever declares somebody else's view runs none of its functions: a DBA who applied a manifest ran them with a DBA's rights.
--
-- Locks: none. Time: milliseconds.
DO $do$
DECLARE
    def text := pg_get_functiondef('homeostat.check_key(text, regclass, text[], text)'::regprocedure);
    was text := $is$
    IF declarer IS DISTINCT FROM current_user AND EXISTS (
        SELECT FROM pg_class c WHERE c.oid = relation AND (c.relkind IN ('v', 'f') OR c.relrowsecurity)) THEN
$is$;
BEGIN
    IF position(was IN def) = 0 THEN
        RAISE EXCEPTION 'homeostat.check_key() is not as a migration made it';
    END IF;
    EXECUTE replace(def, was, $is$
    -- What a view, a policy or a foreign server does, it does with the rights of whoever looks: so only its owner does, or anybody where
    -- that is a superuser. For others the first pass looks.
    IF EXISTS (SELECT FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner WHERE c.oid = relation
               AND (c.relkind IN ('v', 'f') OR c.relrowsecurity)
               AND (declarer IS DISTINCT FROM current_user OR NOT o.rolsuper AND o.rolname <> current_user)) THEN
$is$);
END $do$;
