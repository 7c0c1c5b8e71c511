-- What endpoints want to be told beside model and texts (input_type, task, truncate, where a router is to send it): columns instead of
-- code. `request` goes with every request and is part of what decides the vectors; `query_request` says what is otherwise for queries.
-- `answers_as` is what a model calls itself behind a gateway that gives it another name; encoding "none" leaves encoding_format out.
-- `proxy`, `client_certificate` and `client_key` are the way there, where it is not that of the environment. What a model first called
-- itself is kept, so that one that is exchanged unseen is noticed.
-- `too_long` says what becomes of a text that the model cannot read whole, and `breaker_*` when a provider is left alone.
--
-- Locks: homeostat.provider, for the moment that a column with a constant default and a trigger take. Time: milliseconds.

ALTER TABLE homeostat.provider ADD COLUMN request jsonb NOT NULL DEFAULT '{}';
ALTER TABLE homeostat.provider ADD COLUMN query_request jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN homeostat.provider.request IS 'kind openai: members of every request beside ours, such as {"input_type": "document"}';
COMMENT ON COLUMN homeostat.provider.query_request IS 'kind openai: those that are others for queries; null takes a member of request away';

ALTER TABLE homeostat.provider ADD COLUMN answers_as text;
COMMENT ON COLUMN homeostat.provider.answers_as IS 'What the model calls itself in answers, where that is not the name it is asked for by';

ALTER TABLE homeostat.provider ADD COLUMN client_certificate text;
ALTER TABLE homeostat.provider ADD COLUMN client_key text;
ALTER TABLE homeostat.provider ADD COLUMN proxy text;
COMMENT ON COLUMN homeostat.provider.client_certificate IS 'A PEM file with the certificate to show to endpoints that ask for one';
COMMENT ON COLUMN homeostat.provider.client_key IS 'A PEM file with the key of client_certificate; NULL: it is in the same file';
COMMENT ON COLUMN homeostat.provider.proxy IS 'http://HOST:PORT, a reference to such an address, or none; NULL: as the environment says';

ALTER TABLE homeostat.provider ADD COLUMN too_long text NOT NULL DEFAULT 'Refuse';
COMMENT ON COLUMN homeostat.provider.too_long IS 'What becomes of a text that the model cannot read whole: Refuse (its document is set aside) or Truncate';

ALTER TABLE homeostat.provider ADD COLUMN breaker_failures int;
ALTER TABLE homeostat.provider ADD COLUMN breaker_share double precision;
ALTER TABLE homeostat.provider ADD COLUMN breaker_pause interval;
ALTER TABLE homeostat.provider ADD COLUMN breaker_pause_cap interval;
COMMENT ON COLUMN homeostat.provider.breaker_failures IS 'Failures in a row that open its breaker; NULL: the setting breaker.failures';
COMMENT ON COLUMN homeostat.provider.breaker_share IS 'Share of failures that opens its breaker; NULL: the setting breaker.share';
COMMENT ON COLUMN homeostat.provider.breaker_pause IS 'How long its open breaker lets nothing through at first; NULL: the setting breaker.pause';
COMMENT ON COLUMN homeostat.provider.breaker_pause_cap IS 'The longest such pause; NULL: the setting breaker.pause_cap';

ALTER TABLE homeostat.provider_status ADD COLUMN answered_as text;
COMMENT ON COLUMN homeostat.provider_status.answered_as IS 'What the model called itself when it first answered under this declaration';

DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.check_provider()'::regprocedure);
    wrong text := $check$    IF NEW.encoding NOT IN ('base64', 'float') THEN
        RAISE EXCEPTION '%: encoding "%" is not known; it is base64 or float', what$check$;
BEGIN
    IF position(wrong IN def) = 0 THEN RAISE EXCEPTION 'homeostat.check_provider() is not as migration 0001 made it'; END IF;
    EXECUTE replace(def, wrong, $check$    IF NEW.encoding NOT IN ('base64', 'float', 'none') THEN
        RAISE EXCEPTION '%: encoding "%" is not known; it is base64, float, or none to leave encoding_format out', what$check$);
END $$;

CREATE FUNCTION homeostat.check_provider_request() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('provider "%s"', NEW.name);
    part record;
    wrong text;
BEGIN
    IF NEW.answers_as = '' OR octet_length(NEW.answers_as) > 1024 THEN
        RAISE EXCEPTION '%: answers_as has % bytes; it needs 1 to 1024', what, octet_length(NEW.answers_as) USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.kind <> 'openai' AND NEW.answers_as IS NOT NULL THEN
        RAISE EXCEPTION '%: answers_as belongs to kind "openai", not to "%"', what, NEW.kind USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.kind <> 'openai' AND (NEW.client_certificate IS NOT NULL OR NEW.client_key IS NOT NULL OR NEW.proxy IS NOT NULL) THEN
        RAISE EXCEPTION '%: client_certificate, client_key and proxy belong to kind "openai", not to "%"', what, NEW.kind
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.client_certificate !~ '^/.' OR NEW.client_key !~ '^/.' THEN
        RAISE EXCEPTION '%: client_certificate and client_key are absolute paths of PEM files', what USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.client_key IS NOT NULL AND NEW.client_certificate IS NULL THEN
        RAISE EXCEPTION '%: client_key is the key of a client_certificate, which is missing', what USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.proxy ~ '@' AND NEW.proxy !~ '^file:/' THEN
        RAISE EXCEPTION '%: the proxy carries a user or password; give a reference to its whole address, env:NAME or file:/PATH', what
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.proxy !~ '^(none|env:[A-Za-z_][A-Za-z0-9_]*|file:/.+|http://[^/\s]+/?)$' THEN
        RAISE EXCEPTION '%: proxy "%" must be an address such as http://proxy.example.com:3128, a reference to one, or none', what, NEW.proxy
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.too_long NOT IN ('Refuse', 'Truncate') THEN
        RAISE EXCEPTION '%: too_long "%" is not known; it is Refuse or Truncate%', what, NEW.too_long,
            homeostat.did_you_mean(NEW.too_long, '{Refuse,Truncate}') USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.breaker_failures NOT BETWEEN 1 AND 1000 OR NOT NEW.breaker_share BETWEEN 0.01 AND 1
       OR NEW.breaker_pause NOT BETWEEN interval '100 milliseconds' AND interval '1 hour'
       OR NEW.breaker_pause_cap NOT BETWEEN interval '100 milliseconds' AND interval '1 day' THEN
        RAISE EXCEPTION '%: a figure of the breaker is out of bounds (breaker_failures 1-1000, breaker_share 0.01-1, breaker_pause 0.1 s to '
            '1 h, breaker_pause_cap 0.1 s to 1 d)', what USING ERRCODE = 'check_violation';
    END IF;
    NEW.breaker_pause := make_interval(secs => extract(epoch FROM NEW.breaker_pause)::float8);
    NEW.breaker_pause_cap := make_interval(secs => extract(epoch FROM NEW.breaker_pause_cap)::float8);
    IF NEW.breaker_pause > NEW.breaker_pause_cap THEN
        RAISE EXCEPTION '%: breaker_pause (%) must be no longer than breaker_pause_cap (%)', what, NEW.breaker_pause, NEW.breaker_pause_cap
            USING ERRCODE = 'check_violation';
    END IF;
    FOR part IN SELECT p.name, p.members FROM (VALUES ('request', NEW.request), ('query_request', NEW.query_request)) AS p(name, members) LOOP
        IF jsonb_typeof(part.members) <> 'object' THEN
            RAISE EXCEPTION '%: % must be an object of names and values, such as {"input_type": "document"}', what, part.name
                USING ERRCODE = 'check_violation';
        END IF;
        CONTINUE WHEN part.members = '{}';
        IF NEW.kind <> 'openai' THEN
            RAISE EXCEPTION '%: % belongs to kind "openai", not to "%"', what, part.name, NEW.kind USING ERRCODE = 'check_violation';
        END IF;
        IF octet_length(part.members::text) > 8192 THEN
            RAISE EXCEPTION '%: % has % bytes; it may have 8192', what, part.name, octet_length(part.members::text)
                USING ERRCODE = 'check_violation';
        END IF;
        SELECT m.name INTO wrong FROM jsonb_object_keys(part.members) AS m(name)
        WHERE lower(btrim(m.name)) IN ('model', 'input', 'encoding_format', 'dimensions', '') ORDER BY m.name LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION '%: % holds "%"%', what, part.name, wrong, CASE lower(btrim(wrong))
                    WHEN 'model' THEN ', which homeostat sets itself; declare it as model of the provider or the pipeline'
                    WHEN 'input' THEN ', which homeostat sets itself: the texts; document_prefix and query_prefix go before each'
                    WHEN 'encoding_format' THEN ', which homeostat sets itself; declare it as encoding'
                    WHEN 'dimensions' THEN ', which homeostat sets itself; declare them as dimensions, and send_dimensions'
                    ELSE ', which is no name' END USING ERRCODE = 'check_violation';
        END IF;
        -- Declarations are shown to people.
        SELECT m.key INTO wrong FROM jsonb_path_query(part.members, 'strict $.**') AS o(value),
            jsonb_each(CASE jsonb_typeof(o.value) WHEN 'object' THEN o.value ELSE '{}' END) AS m
        WHERE m.key ~* '^(x-)?(api[-_]?key|authorization|password|secret|access[-_]?token|auth[-_]?token)$' AND m.value <> 'null'
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION '%: "%" in % looks like a secret; give a reference, env:NAME or file:/PATH, in credential or headers', what,
                wrong, part.name USING ERRCODE = 'check_violation';
        END IF;
        IF jsonb_path_exists(part.members, 'strict $.** ? (@.type() == "number" && (@ > 1e300 || @ < -1e300))') THEN
            RAISE EXCEPTION '%: % holds a number that is too large for most who read JSON; the bound is 1e300', what, part.name
                USING ERRCODE = 'check_violation';
        END IF;
    END LOOP;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION homeostat.check_provider_request() FROM PUBLIC;
-- Before check_provider, which compares what is declared now with what was.
CREATE TRIGGER a_request_provider BEFORE INSERT OR UPDATE ON homeostat.provider
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_provider_request();

-- As migration 22 made it, with the column that is new.
CREATE OR REPLACE VIEW homeostat.own_provider_status WITH (security_barrier) AS SELECT t.* FROM homeostat.provider_status t
WHERE (SELECT homeostat.sees_all()) OR t.uid IN (
    SELECT o.uid FROM homeostat.provider o WHERE homeostat.acts_for(o.declared_by)
    UNION ALL SELECT o.uid FROM homeostat.provider o JOIN homeostat.pipeline p ON p.provider = o.name
    WHERE homeostat.acts_for(p.declared_by));
