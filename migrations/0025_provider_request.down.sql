-- Locks and time as on the way up. Revisions that were made with members of the request stay: a version that knows of none takes them for
-- its own.
DROP TRIGGER a_request_provider ON homeostat.provider;
DROP FUNCTION homeostat.check_provider_request();
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.check_provider()'::regprocedure);
BEGIN
    EXECUTE replace(replace(def, $check$NOT IN ('base64', 'float', 'none')$check$, $check$NOT IN ('base64', 'float')$check$),
                    'it is base64, float, or none to leave encoding_format out', 'it is base64 or float');
END $$;
UPDATE homeostat.provider SET encoding = 'float' WHERE encoding = 'none';
-- A view cannot lose a column: it is made anew, and granted as make_roles() says.
DROP VIEW homeostat.own_provider_status;
ALTER TABLE homeostat.provider_status DROP COLUMN answered_as;
CREATE VIEW homeostat.own_provider_status WITH (security_barrier) AS SELECT t.* FROM homeostat.provider_status t
WHERE (SELECT homeostat.sees_all()) OR t.uid IN (
    SELECT o.uid FROM homeostat.provider o WHERE homeostat.acts_for(o.declared_by)
    UNION ALL SELECT o.uid FROM homeostat.provider o JOIN homeostat.pipeline p ON p.provider = o.name
    WHERE homeostat.acts_for(p.declared_by));
COMMENT ON VIEW homeostat.own_provider_status IS 'What of provider_status concerns whoever looks';
DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
ALTER TABLE homeostat.provider DROP COLUMN breaker_pause_cap;
ALTER TABLE homeostat.provider DROP COLUMN breaker_pause;
ALTER TABLE homeostat.provider DROP COLUMN breaker_share;
ALTER TABLE homeostat.provider DROP COLUMN breaker_failures;
ALTER TABLE homeostat.provider DROP COLUMN too_long;
ALTER TABLE homeostat.provider DROP COLUMN proxy;
ALTER TABLE homeostat.provider DROP COLUMN client_key;
ALTER TABLE homeostat.provider DROP COLUMN client_certificate;
ALTER TABLE homeostat.provider DROP COLUMN answers_as;
ALTER TABLE homeostat.provider DROP COLUMN query_request;
ALTER TABLE homeostat.provider DROP COLUMN request;
