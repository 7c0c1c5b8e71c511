-- What stands before every chunk of a document: a template over the source's columns, embedded with the chunk and served beside it.
--
-- Locks: the declared table, for adding a column without rewriting it. Time: milliseconds.

ALTER TABLE homeostat.pipeline ADD COLUMN chunk_context text;
COMMENT ON COLUMN homeostat.pipeline.chunk_context IS
    'Text with {column} in it that is put before every chunk, such as {title} / {section}; NULL = nothing is';

CREATE FUNCTION homeostat.check_chunk_context() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('pipeline "%s"', NEW.name);
    relation regclass := to_regclass(NEW.source);
    named text[];
    bytes record;
BEGIN
    IF NEW.chunk_context IS NULL THEN RETURN NEW; END IF;
    IF btrim(NEW.chunk_context, E' \t\r\n') = '' THEN
        RAISE EXCEPTION '%: chunk_context is empty; leave it out (NULL) where nothing stands before a chunk', what
            USING ERRCODE = 'check_violation';
    END IF;
    BEGIN
        named := homeostat.template_columns(NEW.chunk_context);
    EXCEPTION WHEN invalid_parameter_value THEN
        RAISE EXCEPTION '%: chunk_context: %', what, SQLERRM USING ERRCODE = 'invalid_parameter_value';
    END;
    IF cardinality(named) = 0 THEN
        RAISE EXCEPTION '%: chunk_context names no {column}, so it would be the same before every chunk; a provider''s '
            'document_prefix is for that', what USING ERRCODE = 'check_violation';
    END IF;
    PERFORM homeostat.check_columns(what, 'chunk_context', relation, named, NEW.declared_by);
    SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type INTO bytes FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY (named)
      AND homeostat.base_type(a.atttypid) = 'bytea'::regtype LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: chunk_context column "%" is %, which is no text; decode it in a view and use that as source', what,
            bytes.attname, bytes.type USING ERRCODE = 'datatype_mismatch';
    END IF;
    IF 'chunk_context' = ANY (homeostat.column_list(NEW.key) || homeostat.column_list(NEW.metadata)) THEN
        RAISE EXCEPTION '%: column "chunk_context" has the name of a column of the served view; rename it in a view and use that as '
            'source', what USING ERRCODE = 'duplicate_column';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION homeostat.check_chunk_context() FROM PUBLIC;
-- After check_pipeline, which gives names in full: triggers fire in the order of theirs. What was accepted stays as it was.
CREATE TRIGGER check_pipeline_context BEFORE INSERT ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_chunk_context();
CREATE TRIGGER check_pipeline_context_update BEFORE UPDATE OF source, key, metadata, chunk_context ON homeostat.pipeline
    FOR EACH ROW WHEN (NEW.source <> OLD.source OR NEW.key IS DISTINCT FROM OLD.key OR NEW.metadata IS DISTINCT FROM OLD.metadata
                       OR NEW.chunk_context IS DISTINCT FROM OLD.chunk_context)
    EXECUTE FUNCTION homeostat.check_chunk_context();

-- Who declares it must be able to read what it names, in every pass.
DO $do$
DECLARE
    f text;
    was text;
    def text;
BEGIN
    FOREACH f IN ARRAY '{homeostat.refusal(homeostat.pipeline),"homeostat.check_declarer(homeostat.pipeline,homeostat.target_view)"}'::text[]
    LOOP
        def := pg_get_functiondef(f::regprocedure);
        was := CASE WHEN f LIKE '%refusal%' THEN 'CASE WHEN p.template IS NULL THEN ''{}''::text[] ELSE homeostat.template_columns(p.template) END'
                    ELSE 'homeostat.template_columns(coalesce(p.template, ''''))' END;
        IF position(was IN def) = 0 THEN RAISE EXCEPTION '% is not as a migration made it', f; END IF;
        EXECUTE replace(def, was, was || ' || homeostat.template_columns(coalesce(p.chunk_context, ''''))');
    END LOOP;
END $do$;
