-- What a declaration leaves out. A column that has to be given, or NULL where there is a default, was told as "FOREACH expression must
-- not be null" or "null value in column", since checks come before NOT NULL is looked at; now it is a sentence. And a chunk_size that
-- is not given is what the provider's model reads, where that is known: 400 made four chunks in one of which only the first was
-- embedded. Rows that are there keep the size that they have.
--
-- Locks: homeostat.pipeline, provider and target_view, each for the moment that a trigger takes. Time: milliseconds.

CREATE FUNCTION homeostat.refuse_what_is_missing() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kind text := replace(TG_TABLE_NAME, '_', ' ');
    given jsonb := to_jsonb(NEW);
    needed text[];
    nulls text[];
    words text[];
    said text;
BEGIN
    -- What the checks set themselves may come as anything.
    SELECT array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE NOT a.atthasdef),
           array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.atthasdef) INTO needed, nulls
    FROM pg_attribute a
    WHERE a.attrelid = TG_RELID AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull AND a.attidentity = ''
      AND a.attname <> ALL ('{generation,updated_at,declared_by}'::name[]) AND given ->> a.attname::text IS NULL;
    words := coalesce(needed, nulls);
    IF words IS NULL THEN RETURN NEW; END IF;
    said := CASE cardinality(words) WHEN 1 THEN words[1] || ' is'
            ELSE array_to_string(words[:cardinality(words) - 1], ', ') || ' and ' || words[cardinality(words)] || ' are' END;
    IF needed IS NULL THEN
        said := said || CASE cardinality(words) WHEN 1 THEN ' NULL; leave it out for its default'
                        ELSE ' NULL; leave them out for their defaults' END;
    ELSE
        said := said || ' missing' || CASE
            WHEN 'source' = ANY (words) THEN '; source is the table or view whose rows are to be embedded'
            WHEN 'target' = ANY (words) THEN '; target is the view that is to serve the vectors, such as articles_embeddings'
            WHEN 'provider' = ANY (words) THEN '; SELECT name FROM homeostat.provider lists which there are'
            WHEN 'relation' = ANY (words) THEN '; relation is the table or view each of whose rows is to declare a pipeline'
            ELSE '' END;
    END IF;
    RAISE EXCEPTION '%: %', CASE WHEN NEW.name IS NULL THEN 'a ' || kind ELSE format('%s "%s"', kind, NEW.name) END, said
        USING ERRCODE = 'not_null_violation';
END $$;

-- Triggers of one kind fire by name: these before all checks.
CREATE TRIGGER a_complete_pipeline BEFORE INSERT OR UPDATE ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.refuse_what_is_missing();
CREATE TRIGGER a_complete_provider BEFORE INSERT OR UPDATE ON homeostat.provider
    FOR EACH ROW EXECUTE FUNCTION homeostat.refuse_what_is_missing();
CREATE TRIGGER a_complete_target_view BEFORE INSERT OR UPDATE ON homeostat.target_view
    FOR EACH ROW EXECUTE FUNCTION homeostat.refuse_what_is_missing();

-- The built-in model reads 128 pieces of words; a token, which is reckoned as four bytes, is more than one of them here and there.
CREATE FUNCTION homeostat.choose_chunk_size() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    reads int := (SELECT least(p.max_text_tokens, CASE p.kind WHEN 'local' THEN 100 END) FROM homeostat.provider p
                  WHERE p.name = NEW.provider);
BEGIN
    NEW.chunk_size := least(400, reads::bigint * CASE NEW.chunk_unit WHEN 'characters' THEN 4 ELSE 1 END);
    RETURN NEW;
END $$;
CREATE TRIGGER a_chunk_size_pipeline BEFORE INSERT OR UPDATE OF chunk_size ON homeostat.pipeline
    FOR EACH ROW WHEN (NEW.chunk_size IS NULL) EXECUTE FUNCTION homeostat.choose_chunk_size();
-- A default there has to be, or the column would be one that must be given; one that is the word NULL counts as none.
ALTER TABLE homeostat.pipeline ALTER COLUMN chunk_size SET DEFAULT nullif(400, 400);
COMMENT ON COLUMN homeostat.pipeline.chunk_size IS
    'The most a chunk may hold, in chunk_unit; where it is not given, what the provider''s model reads, but not more than 400';
