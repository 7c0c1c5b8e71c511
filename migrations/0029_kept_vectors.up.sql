-- Vectors that were paid for are kept by the hash of their text, so that another replica, the next process or another pipeline over the
-- same text does not pay for them again (setting cache.shared_bytes; without it nothing is written here). A scope is everything else
-- that decides a vector, and whose it is: who declared the pipeline, the declarations of its provider and pool, model, dimensions. Nobody
-- is given what another's text became: whether it is kept would tell that it exists. Declarers may read neither table for that reason.
-- What is forgotten as a whole loses the identity of its scope; its rows follow in slices.
--
-- Locks: none beyond the catalog's, for new tables and functions. Time: milliseconds.

CREATE TABLE homeostat.vector_scope (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity bytea UNIQUE,
    declared_by text NOT NULL,
    providers bigint[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE homeostat.vector_scope IS 'What the kept vectors were made under, and for whom';
COMMENT ON COLUMN homeostat.vector_scope.identity IS 'SHA-256 of all that decides a vector besides its text; NULL: forgotten, its rows are about to go';
COMMENT ON COLUMN homeostat.vector_scope.providers IS 'The uids of those that may have made them';

CREATE TABLE homeostat.kept_vector (
    scope bigint NOT NULL,
    text_hash bytea NOT NULL,
    embedding bytea NOT NULL,
    seal bytea NOT NULL,
    bytes int NOT NULL,
    used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (scope, text_hash)
);
ALTER TABLE homeostat.kept_vector ALTER embedding SET STORAGE EXTERNAL;
CREATE INDEX kept_vector_used ON homeostat.kept_vector (used_at) INCLUDE (bytes);
COMMENT ON TABLE homeostat.kept_vector IS 'Vectors that were paid for, by the hash of their text; may be emptied at any time';
COMMENT ON COLUMN homeostat.kept_vector.text_hash IS 'SHA-256 of the text as it was to be embedded, as in the chunk tables';
COMMENT ON COLUMN homeostat.kept_vector.embedding IS 'float4 after float4, lowest byte first';
COMMENT ON COLUMN homeostat.kept_vector.seal IS 'SHA-256 of what it was made under, its text''s hash and its floats: what does not fit is not used';
COMMENT ON COLUMN homeostat.kept_vector.bytes IS 'What it counts against cache.shared_bytes';
COMMENT ON COLUMN homeostat.kept_vector.used_at IS 'About when it was used last; not written for every use';

-- What is kept of a document, also of one that is gone, as long as the journal knows it; without a key, all that is kept for whoever
-- declared the pipeline. Runs with the rights of its caller.
CREATE FUNCTION homeostat.forget_vectors(pipeline text, VARIADIC key text[] DEFAULT '{}') RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p record;
    r record;
    columns int;
    matches text;
    found_hashes bytea[];
    hashes bytea[] := '{}';
    gone bigint;
BEGIN
    SELECT o.uid, o.declared_by INTO p FROM homeostat.pipeline o WHERE o.name = forget_vectors.pipeline;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'pipeline "%" does not exist%', pipeline,
            homeostat.did_you_mean(pipeline, ARRAY(SELECT o.name FROM homeostat.pipeline o)) USING ERRCODE = 'undefined_object';
    END IF;
    IF cardinality(key) = 0 THEN
        DELETE FROM homeostat.kept_vector k USING homeostat.vector_scope s WHERE s.id = k.scope AND s.declared_by = p.declared_by;
        GET DIAGNOSTICS gone = ROW_COUNT;
        RETURN gone;
    END IF;
    FOR r IN SELECT format('homeostat_data.p%s_r%s', v.uid, v.revision) AS prefix, v.revision FROM homeostat.revision v
             WHERE v.uid = p.uid ORDER BY v.revision LOOP
        CONTINUE WHEN to_regclass(r.prefix || '_document') IS NULL OR to_regclass(r.prefix || '_chunk') IS NULL
            OR to_regclass(r.prefix || '_journal') IS NULL;
        -- By the types' own output functions: a cast may be a function of whoever made the type.
        SELECT count(*), string_agg(format($match$pg_catalog.format('%%s', (d).%I) = $1[%s]$match$, a.attname, substr(a.attname, 5)), ' AND ')
        INTO columns, matches
        FROM pg_attribute a WHERE a.attrelid = to_regclass(r.prefix || '_document') AND a.attname ~ '^key_[0-9]+$' AND NOT a.attisdropped;
        IF columns <> cardinality(key) THEN
            RAISE EXCEPTION 'pipeline "%": a document''s key has % column(s), and % value(s) were given', pipeline, columns, cardinality(key)
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        -- Of the versions that it had, too: their chunks are under the ids that it had then.
        EXECUTE format('WITH ids AS MATERIALIZED (SELECT d.document_id FROM %1$s_document d WHERE %2$s'
                       ' UNION SELECT j.document_id FROM (SELECT j.document_id, j.document AS d FROM %1$s_journal j) j WHERE %2$s)'
                       ' SELECT array_agg(h.chunk_hash) FROM ('
                       '  SELECT c.chunk_hash FROM %1$s_chunk c JOIN ids USING (document_id)'
                       '  UNION SELECT j.chunk_hash FROM %1$s_journal j JOIN ids USING (document_id) WHERE j.chunk_hash IS NOT NULL) h',
                       r.prefix, matches) INTO found_hashes USING key;
        hashes := hashes || coalesce(found_hashes, '{}');
    END LOOP;
    DELETE FROM homeostat.kept_vector k USING homeostat.vector_scope s
    WHERE s.id = k.scope AND s.declared_by = p.declared_by AND k.text_hash = ANY (hashes);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
COMMENT ON FUNCTION homeostat.forget_vectors(text, text[]) IS 'Takes the kept vectors of a document away, or all that are kept for who declared the pipeline';
REVOKE ALL ON FUNCTION homeostat.forget_vectors(text, text[]) FROM PUBLIC;

DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.make_roles()'::regprocedure);
    before text := 'REVOKE ALL ON homeostat.canary FROM homeostat_declarer;';
BEGIN
    IF position(before IN def) = 0 THEN RAISE EXCEPTION 'homeostat.make_roles() is not as migration 0022 made it'; END IF;
    -- The program goes on where somebody has dropped them, and so do roles.
    EXECUTE replace(def, before, before || $kept$
    IF to_regclass('homeostat.kept_vector') IS NOT NULL THEN REVOKE ALL ON homeostat.kept_vector FROM homeostat_declarer; END IF;
    IF to_regclass('homeostat.vector_scope') IS NOT NULL THEN REVOKE ALL ON homeostat.vector_scope FROM homeostat_declarer; END IF;$kept$);
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
