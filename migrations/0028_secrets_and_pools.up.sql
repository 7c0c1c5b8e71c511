-- A provider may name a secret of the settings (secret:NAME) wherever it names a variable or a file, and joins a pool only with the
-- consent of who opened it: a row in a pool stands in for the others of it, and is sent their documents.
--
-- Locks: homeostat.provider, for adding a trigger. Time: milliseconds.

-- The functions are taken as they stand, because other migrations have changed them.
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.check_provider()'::regprocedure);
BEGIN
    IF position('^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$' IN def) = 0 OR position('''^(env:|file:/)''' IN def) = 0 THEN
        RAISE EXCEPTION 'homeostat.check_provider() is not as migration 0001 made it';
    END IF;
    def := replace(def, '^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$', '^(secret:[^\s;]+|env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$');
    def := replace(def, '''^(env:|file:/)''', '''^(secret:|env:|file:/)''');
    EXECUTE replace(def, 'a reference, env:NAME or file:/PATH', 'a reference, secret:NAME, env:NAME or file:/PATH');
END $$;
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.check_provider_request()'::regprocedure);
BEGIN
    IF position('^(none|env:' IN def) = 0 OR position($c$NEW.client_certificate !~ '^/.' OR NEW.client_key !~ '^/.'$c$ IN def) = 0 THEN
        RAISE EXCEPTION 'homeostat.check_provider_request() is not as migration 0025 made it';
    END IF;
    def := replace(def, '^(none|env:', '^(none|secret:[^\s;@]+|env:');
    def := replace(def, $c$NEW.client_certificate !~ '^/.' OR NEW.client_key !~ '^/.'$c$,
                        $c$NEW.client_certificate !~ '^(/.|secret:.)' OR NEW.client_key !~ '^(/.|secret:.)'$c$);
    EXECUTE replace(def, 'are absolute paths of PEM files', 'are absolute paths of PEM files, or secret:NAME');
END $$;
COMMENT ON COLUMN homeostat.provider.credential IS 'A reference (secret:NAME, env:NAME or file:PATH), never the secret itself';

CREATE FUNCTION homeostat.check_pool() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    opened record;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.pool IS NOT DISTINCT FROM OLD.pool THEN RETURN NEW; END IF;
    END IF;
    SELECT p.name, p.declared_by INTO opened FROM homeostat.provider p WHERE p.pool = NEW.pool AND p.uid <> NEW.uid
    ORDER BY p.uid LIMIT 1;
    IF FOUND AND NOT homeostat.acts_for(opened.declared_by) THEN
        RAISE EXCEPTION 'provider "%": pool "%" was opened by role "%" with provider "%", and what is in it stands in for that; '
            'become a member of that role, or name a pool of your own',
            NEW.name, NEW.pool, coalesce(opened.declared_by, 'unknown'), opened.name USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION homeostat.check_pool() FROM PUBLIC;
-- After check_provider: triggers fire in the order of their names.
CREATE TRIGGER check_provider_pool BEFORE INSERT OR UPDATE OF pool ON homeostat.provider
    FOR EACH ROW WHEN (NEW.pool IS NOT NULL) EXECUTE FUNCTION homeostat.check_pool();
