-- Rows that name a program keep it; they are refused at their next change.
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.check_provider()'::regprocedure);
BEGIN
    def := replace(def, '|env:[A-Za-z_][A-Za-z0-9_]*|file:/.+|exec:/.+)$', '|env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$');
    def := replace(def, '''^(secret:|env:|file:/|exec:/)''', '''^(secret:|env:|file:/)''');
    EXECUTE replace(def, 'a reference, secret:NAME, env:NAME, file:/PATH or exec:/PATH', 'a reference, secret:NAME, env:NAME or file:/PATH');
END $$;
COMMENT ON COLUMN homeostat.provider.credential IS 'A reference (secret:NAME, env:NAME or file:PATH), never the secret itself';
