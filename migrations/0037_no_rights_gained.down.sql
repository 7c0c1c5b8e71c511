-- As migrations 16 and 22 had it.
--
-- Locks: homeostat.pipeline, provider and target_view, for dropping triggers. Time: milliseconds.
DROP FUNCTION homeostat.keep_uid() CASCADE;
DROP FUNCTION homeostat.check_shown_name() CASCADE;
DROP FUNCTION homeostat.check_provider_headers() CASCADE;
DROP FUNCTION homeostat.check_own_source() CASCADE;

CREATE OR REPLACE FUNCTION homeostat.check_capture_from() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('pipeline "%s"', NEW.name);
    base jsonb;
    other record;
BEGIN
    FOR base IN SELECT * FROM jsonb_array_elements(NEW.capture_from) LOOP
        -- Who runs the controller makes them in anybody's name.
        IF NOT has_table_privilege(to_regclass(base ->> 'table'), 'TRIGGER')
           AND NOT coalesce((SELECT pg_has_role(r.oid, 'MEMBER') FROM pg_roles r WHERE r.rolname = 'homeostat_controller'), false) THEN
            RAISE EXCEPTION '%: capture_from names %, on which role % may not make triggers; GRANT TRIGGER ON % TO %', what,
                homeostat.relation_text(to_regclass(base ->> 'table')), quote_ident(current_user), base ->> 'table',
                quote_ident(current_user) USING ERRCODE = 'insufficient_privilege';
        END IF;
        SELECT k.key, k.value, format_type(s.atttypid, NULL) AS is, format_type(b.atttypid, NULL) AS there INTO other
        FROM jsonb_each_text(base -> 'key') k
        JOIN pg_attribute s ON s.attrelid = to_regclass(NEW.source) AND s.attname = k.key AND s.attnum > 0
        JOIN pg_attribute b ON b.attrelid = to_regclass(base ->> 'table') AND b.attname = k.value AND b.attnum > 0
        WHERE s.atttypid <> b.atttypid LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION '%: capture_from maps column "%" (%) to column "%" (%) of %: a key has one type', what, other.key,
                other.is, other.value, other.there, homeostat.relation_text(to_regclass(base ->> 'table'))
                USING ERRCODE = 'datatype_mismatch';
        END IF;
    END LOOP;
    RETURN NEW;
END $$;
DROP TRIGGER check_pipeline_capture_update ON homeostat.pipeline;
CREATE TRIGGER check_pipeline_capture_update BEFORE UPDATE OF capture_from, source ON homeostat.pipeline
    FOR EACH ROW WHEN (NEW.capture_from <> OLD.capture_from OR NEW.source <> OLD.source)
    EXECUTE FUNCTION homeostat.check_capture_from();

DO $do$
DECLARE
    f text;
    now text := ', CASE WHEN current_setting(''server_version_num'')::int >= 160000 THEN ''USAGE, SET'' ELSE ''MEMBER'' END)';
BEGIN
    FOREACH f IN ARRAY '{homeostat.acts_for(text),homeostat.is_member(text),homeostat.check_pipeline_declarer()}'::text[] LOOP
        EXECUTE replace(pg_get_functiondef(f::regprocedure), now, ', ''MEMBER'')');
    END LOOP;
END $do$;
