DROP TRIGGER check_provider_pool ON homeostat.provider;
DROP FUNCTION homeostat.check_pool();

-- Rows that name a secret keep it; they are refused at their next change.
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.check_provider()'::regprocedure);
BEGIN
    def := replace(def, '^(secret:[^\s;]+|env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$', '^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$');
    def := replace(def, '''^(secret:|env:|file:/)''', '''^(env:|file:/)''');
    EXECUTE replace(def, 'a reference, secret:NAME, env:NAME or file:/PATH', 'a reference, env:NAME or file:/PATH');
END $$;
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.check_provider_request()'::regprocedure);
BEGIN
    def := replace(def, '^(none|secret:[^\s;@]+|env:', '^(none|env:');
    def := replace(def, $c$NEW.client_certificate !~ '^(/.|secret:.)' OR NEW.client_key !~ '^(/.|secret:.)'$c$,
                        $c$NEW.client_certificate !~ '^/.' OR NEW.client_key !~ '^/.'$c$);
    EXECUTE replace(def, 'are absolute paths of PEM files, or secret:NAME', 'are absolute paths of PEM files');
END $$;
COMMENT ON COLUMN homeostat.provider.credential IS 'A reference (env:NAME or file:PATH), never the secret itself';
