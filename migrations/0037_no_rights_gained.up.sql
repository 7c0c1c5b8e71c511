-- What a declarer could still do with rights that are not its own: choose the uid of what it declares, and so be shown what was observed of
-- another's object, or have the tables that one left; have triggers put on a table by way of a target view, or of a role that edits the
-- row; act for a role that it is a member of and may not become (PostgreSQL 16 knows such); write headers that decide where a secret goes;
-- give an object a name that hides in a line, or reads as another's.
--
-- Locks: homeostat.pipeline, provider and target_view, for adding triggers. Time: milliseconds.

-- ---------------------------------------------------------------------------------------------------------------------------
-- A uid is drawn by the database. INSERT ... OVERRIDING SYSTEM VALUE lets anybody who may insert name one, and a default is one by courtesy.

-- Whoever may draw a number may name it: it is nobody else's then. Runs as the owner, because a sequence shows itself to few.
CREATE FUNCTION homeostat.keep_uid() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    drawn bigint;
BEGIN
    BEGIN
        drawn := currval(CASE TG_TABLE_NAME WHEN 'provider' THEN 'homeostat.provider_uid_seq' ELSE 'homeostat.pipeline_uid_seq' END::regclass);
    EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL;  -- this session has drawn none
    END;
    IF NEW.uid IS DISTINCT FROM drawn THEN
        RAISE EXCEPTION '% "%": uid is drawn by the database, so that nobody gets the one of another''s object; leave it out',
            replace(TG_TABLE_NAME, '_', ' '), NEW.name USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION homeostat.keep_uid() FROM PUBLIC;
-- Before all others, by its name; whoever runs this database may restore rows as they were.
CREATE TRIGGER a_a_uid BEFORE INSERT ON homeostat.pipeline FOR EACH ROW WHEN (NOT homeostat.acts_for(NULL)) EXECUTE FUNCTION homeostat.keep_uid();
CREATE TRIGGER a_a_uid BEFORE INSERT ON homeostat.provider FOR EACH ROW WHEN (NOT homeostat.acts_for(NULL)) EXECUTE FUNCTION homeostat.keep_uid();
CREATE TRIGGER a_a_uid BEFORE INSERT ON homeostat.target_view FOR EACH ROW WHEN (NOT homeostat.acts_for(NULL)) EXECUTE FUNCTION homeostat.keep_uid();

-- ---------------------------------------------------------------------------------------------------------------------------
-- Names are shown in lists, logs and messages, to others than those who gave them.

CREATE FUNCTION homeostat.check_shown_name() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.name ~ '[[:cntrl:]]' OR (getdatabaseencoding() = 'UTF8' AND NEW.name ~
           '[\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]') THEN
        RAISE EXCEPTION '% "%": the name has characters that nobody sees, or that turn the direction of writing, in it',
            replace(TG_TABLE_NAME, '_', ' '),
            regexp_replace(NEW.name, '[^[:alnum:][:punct:] ]', '?', 'g') USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION homeostat.check_shown_name() FROM PUBLIC;
CREATE TRIGGER a_b_name BEFORE INSERT ON homeostat.pipeline FOR EACH ROW EXECUTE FUNCTION homeostat.check_shown_name();
CREATE TRIGGER a_b_name BEFORE INSERT OR UPDATE OF name ON homeostat.provider FOR EACH ROW EXECUTE FUNCTION homeostat.check_shown_name();
CREATE TRIGGER a_b_name BEFORE INSERT ON homeostat.target_view FOR EACH ROW EXECUTE FUNCTION homeostat.check_shown_name();

-- ---------------------------------------------------------------------------------------------------------------------------
-- Headers that say where a request goes, where it ends and how long the connection lasts are ours: a secret is bound to an origin, and
-- behind one address another Host is somebody else.

CREATE FUNCTION homeostat.check_provider_headers() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    header record;
BEGIN
    IF jsonb_typeof(NEW.headers) <> 'object' THEN RETURN NEW; END IF;
    FOR header IN SELECT key, value FROM jsonb_each_text(NEW.headers) LOOP
        IF lower(header.key) = ANY ('{host,content-length,transfer-encoding,content-encoding,connection,keep-alive,te,trailer,upgrade,expect,proxy-connection,forwarded}'::text[])
           OR header.key ~* '^x-(forwarded|original|rewrite)-' THEN
            RAISE EXCEPTION 'provider "%": header "%" is homeostat''s own to write: it says where a request goes, or where it ends', NEW.name,
                header.key USING ERRCODE = 'check_violation';
        END IF;
        IF header.value ~ '[\x01-\x08\x0a-\x1f\x7f]' THEN
            RAISE EXCEPTION 'provider "%": header "%" is not a legal HTTP header', NEW.name, header.key USING ERRCODE = 'check_violation';
        END IF;
    END LOOP;
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION homeostat.check_provider_headers() FROM PUBLIC;
-- After check_provider, by its name.
CREATE TRIGGER check_provider_headers BEFORE INSERT OR UPDATE OF headers ON homeostat.provider
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_provider_headers();

-- ---------------------------------------------------------------------------------------------------------------------------
-- Whose rights count is whom it is declared for, and not whoever writes the row: the controller writes those of target views.

CREATE OR REPLACE FUNCTION homeostat.check_capture_from() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('pipeline "%s"', NEW.name);
    base jsonb;
    other record;
BEGIN
    FOR base IN SELECT * FROM jsonb_array_elements(NEW.capture_from) LOOP
        -- Whom the controller's role is granted may make them in anybody's name.
        IF NOT has_table_privilege(NEW.declared_by, to_regclass(base ->> 'table'), 'TRIGGER')
           AND NOT coalesce((SELECT pg_has_role(NEW.declared_by, r.oid, 'USAGE') FROM pg_roles r WHERE r.rolname = 'homeostat_controller'), false) THEN
            RAISE EXCEPTION '%: capture_from names %, on which role % may not make triggers; GRANT TRIGGER ON % TO %', what,
                homeostat.relation_text(to_regclass(base ->> 'table')), quote_ident(NEW.declared_by), base ->> 'table',
                quote_ident(NEW.declared_by) USING ERRCODE = 'insufficient_privilege';
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
CREATE TRIGGER check_pipeline_capture_update BEFORE UPDATE OF capture_from, source, declared_by ON homeostat.pipeline
    FOR EACH ROW WHEN (NEW.capture_from <> OLD.capture_from OR NEW.source <> OLD.source OR NEW.declared_by IS DISTINCT FROM OLD.declared_by)
    EXECUTE FUNCTION homeostat.check_capture_from();

-- ---------------------------------------------------------------------------------------------------------------------------
-- What the server tells of itself it tells whoever asks as far as he may know: read by us it says what we may.

CREATE FUNCTION homeostat.check_own_source() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named text := CASE TG_TABLE_NAME WHEN 'pipeline' THEN to_jsonb(NEW) ->> 'source' ELSE to_jsonb(NEW) ->> 'relation' END;
BEGIN
    IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(named)
               AND (n.nspname IN ('pg_catalog', 'information_schema') OR n.nspname ~ CASE TG_TABLE_NAME WHEN 'pipeline' THEN '^pg_toast' ELSE '^pg_t(oast|emp)' END)) THEN
        RAISE EXCEPTION '% "%": % is the server''s own, and shows each role what that role may see; make a table of what you need', replace(TG_TABLE_NAME, '_', ' '),
            NEW.name, homeostat.relation_text(to_regclass(named)) USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION homeostat.check_own_source() FROM PUBLIC;
-- After names are given in full, before what is checked of columns; by their names.
CREATE TRIGGER b_own_source BEFORE INSERT OR UPDATE OF source ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_own_source();
CREATE TRIGGER b_own_source BEFORE INSERT OR UPDATE OF relation ON homeostat.target_view
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_own_source();

-- ---------------------------------------------------------------------------------------------------------------------------
-- From PostgreSQL 16 on one may be a member of a role and neither have its rights nor be able to become it. Before, each member could.

DO $do$
DECLARE
    f text;
    def text;
BEGIN
    FOREACH f IN ARRAY '{homeostat.acts_for(text),homeostat.is_member(text),homeostat.check_pipeline_declarer()}'::text[] LOOP
        def := pg_get_functiondef(f::regprocedure);
        IF position(', ''MEMBER'')' IN def) = 0 THEN RAISE EXCEPTION '% is not as migration 0022 made it', f; END IF;
        EXECUTE replace(def, ', ''MEMBER'')',
            ', CASE WHEN current_setting(''server_version_num'')::int >= 160000 THEN ''USAGE, SET'' ELSE ''MEMBER'' END)');
    END LOOP;
END $do$;
