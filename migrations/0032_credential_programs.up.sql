-- A provider may name the program that prints its credential (exec:/PATH, as the settings bind it) wherever it names a variable or a
-- file that holds one.
--
-- Locks: none but on the function. Time: milliseconds.

-- The function is taken as it stands, because other migrations have changed it.
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.check_provider()'::regprocedure);
BEGIN
    IF position('|env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$' IN def) = 0 OR position('''^(secret:|env:|file:/)''' IN def) = 0 THEN
        RAISE EXCEPTION 'homeostat.check_provider() is not as migration 0028 made it';
    END IF;
    def := replace(def, '|env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$', '|env:[A-Za-z_][A-Za-z0-9_]*|file:/.+|exec:/.+)$');
    def := replace(def, '''^(secret:|env:|file:/)''', '''^(secret:|env:|file:/|exec:/)''');
    EXECUTE replace(def, 'a reference, secret:NAME, env:NAME or file:/PATH', 'a reference, secret:NAME, env:NAME, file:/PATH or exec:/PATH');
END $$;
COMMENT ON COLUMN homeostat.provider.credential IS
    'A reference (secret:NAME, env:NAME, file:PATH or exec:PATH), never the secret itself';
