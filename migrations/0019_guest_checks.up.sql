-- pgvector may be in any schema and may have been dropped and made again: the functions over its types are made by one that finds
-- it. What cannot be a source is refused when it is declared: a temporary table, which no other session sees; content that is bytes
-- by way of a domain, which is no text. And checks of what is declared call nothing that somebody put on the declarer's search path.
--
-- Locks: none of a user's table. Time: milliseconds.

-- Each of its names is a full one, so that who calls it, and where pgvector lives, makes no difference. It survives DROP EXTENSION
-- vector CASCADE, which takes what it makes along; whoever runs the controller may then call it (nobody else has a use for it).
CREATE FUNCTION homeostat.make_vector_functions() RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    home text := (SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                  WHERE e.extname = 'vector');
BEGIN
    IF home IS NULL THEN
        RAISE EXCEPTION 'the extension vector (pgvector 0.7 or newer) is not in this database; run CREATE EXTENSION vector'
            USING ERRCODE = 'undefined_object';
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION homeostat.vector_ok(v %1$s.vector, dimensions int) RETURNS boolean LANGUAGE sql'
                   ' IMMUTABLE PARALLEL SAFE RETURN coalesce(%1$s.vector_dims(v) OPERATOR(pg_catalog.=) dimensions'
                   ' AND %1$s.vector_norm(v) OPERATOR(pg_catalog.>) 0::float8, false)', home);
    EXECUTE format('CREATE OR REPLACE FUNCTION homeostat.vector_ok(v %1$s.halfvec, dimensions int) RETURNS boolean LANGUAGE sql'
                   ' IMMUTABLE PARALLEL SAFE RETURN coalesce(%1$s.vector_dims(v) OPERATOR(pg_catalog.=) dimensions'
                   ' AND %1$s.l2_norm(v) OPERATOR(pg_catalog.>) 0::float8, false)', home);
END $$;
COMMENT ON FUNCTION homeostat.make_vector_functions() IS 'Makes vector_ok() over the types of pgvector, wherever it is';
REVOKE EXECUTE ON FUNCTION homeostat.make_vector_functions() FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_controller') THEN
        GRANT EXECUTE ON FUNCTION homeostat.make_vector_functions() TO homeostat_controller;
    END IF;
END $$;
SELECT homeostat.make_vector_functions();

-- The type under a domain, however many domains there are one over the other.
CREATE FUNCTION homeostat.base_type(of oid) RETURNS oid LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE under (type, base) AS (
        SELECT t.oid, t.typbasetype FROM pg_type t WHERE t.oid = $1
        UNION ALL SELECT t.oid, t.typbasetype FROM under u JOIN pg_type t ON t.oid = u.base
    )
    SELECT type FROM under WHERE base = 0
$$;

CREATE FUNCTION homeostat.check_guest() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('pipeline "%s"', NEW.name);
    relation regclass := to_regclass(NEW.source);
    bytes record;
BEGIN
    IF (SELECT relpersistence FROM pg_class WHERE oid = relation) = 't' THEN
        RAISE EXCEPTION '%: % is temporary, so no session but yours sees it; make it an ordinary one and declare that', what,
            homeostat.relation_text(relation) USING ERRCODE = 'wrong_object_type';
    END IF;
    SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type INTO bytes FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attname = ANY (CASE WHEN NEW.template IS NULL THEN homeostat.column_list(NEW.content)
                                ELSE homeostat.template_columns(NEW.template) END)
      AND homeostat.base_type(a.atttypid) = 'bytea'::regtype LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: content column "%" is %, a domain over bytea, which is no text; decode it in a view and use that as source',
            what, bytes.attname, bytes.type USING ERRCODE = 'datatype_mismatch';
    END IF;
    RETURN NEW;
END $$;
-- After check_pipeline, which gives names in full: triggers fire in the order of theirs. What was accepted stays as it was.
CREATE TRIGGER check_pipeline_guest BEFORE INSERT ON homeostat.pipeline FOR EACH ROW EXECUTE FUNCTION homeostat.check_guest();
CREATE TRIGGER check_pipeline_guest_update BEFORE UPDATE OF source, content, template ON homeostat.pipeline
    FOR EACH ROW WHEN (NEW.source <> OLD.source OR NEW.content IS DISTINCT FROM OLD.content
                       OR NEW.template IS DISTINCT FROM OLD.template)
    EXECUTE FUNCTION homeostat.check_guest();

-- ---------------------------------------------------------------------------------------------------------------------------
-- Whoever declares looks names up along his own search path, on which others may have put functions and operators whose arguments fit
-- better than the server's. So names are given in full first, by functions that name everything themselves; then all checks run with
-- pg_catalog alone.

-- Of a relation that is there; any other name comes back as it is, for the checks to tell it as it was written.
CREATE FUNCTION homeostat.full_name(name text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN COALESCE((
        SELECT pg_catalog.concat(pg_catalog.quote_ident(n.nspname::pg_catalog.text), '.',
                                 pg_catalog.quote_ident(c.relname::pg_catalog.text))
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(name)::pg_catalog.oid), name);
EXCEPTION WHEN OTHERS THEN
    RETURN name;  -- not the name of anything
END $$;

-- Of a relation that is to be made: where CREATE would make it.
CREATE FUNCTION homeostat.full_name_to_be(name text) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    parts pg_catalog.text[];
BEGIN
    parts := pg_catalog.parse_ident(name);
    IF parts IS NULL OR pg_catalog.cardinality(parts) OPERATOR(pg_catalog.<>) 1 THEN RETURN name; END IF;
    RETURN pg_catalog.concat(pg_catalog.quote_ident(COALESCE(pg_catalog.current_schema()::pg_catalog.text, 'public')), '.',
                             pg_catalog.quote_ident(parts[1]));
EXCEPTION WHEN OTHERS THEN
    RETURN name;
END $$;

CREATE FUNCTION homeostat.name_pipeline_in_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.source := homeostat.full_name(NEW.source);
    NEW.target := homeostat.full_name_to_be(NEW.target);
    IF pg_catalog.jsonb_typeof(NEW.capture_from) OPERATOR(pg_catalog.=) 'array' THEN
        NEW.capture_from := (
            SELECT COALESCE(pg_catalog.jsonb_agg(
                CASE WHEN pg_catalog.jsonb_typeof(base OPERATOR(pg_catalog.->) 'table'::pg_catalog.text)
                          OPERATOR(pg_catalog.=) 'string'
                     THEN pg_catalog.jsonb_set(base, '{table}'::pg_catalog.text[], pg_catalog.to_jsonb(homeostat.full_name(
                              base OPERATOR(pg_catalog.->>) 'table'::pg_catalog.text)))
                     ELSE base END ORDER BY i), '[]'::pg_catalog.jsonb)
            FROM pg_catalog.jsonb_array_elements(NEW.capture_from) WITH ORDINALITY AS b(base, i));
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER a_name_pipeline_in_full BEFORE INSERT OR UPDATE OF source, target, capture_from ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.name_pipeline_in_full();

CREATE FUNCTION homeostat.name_target_view_in_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.relation := homeostat.full_name(NEW.relation);
    RETURN NEW;
END $$;
CREATE TRIGGER a_name_target_view_in_full BEFORE INSERT OR UPDATE OF relation ON homeostat.target_view
    FOR EACH ROW EXECUTE FUNCTION homeostat.name_target_view_in_full();

ALTER FUNCTION homeostat.check_pipeline() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION homeostat.finalize_pipeline() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION homeostat.check_capture() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION homeostat.keep_owned_pipeline() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION homeostat.check_provider() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION homeostat.keep_used_provider() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION homeostat.check_target_view() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION homeostat.finalize_target_view() SET search_path = pg_catalog, pg_temp;
