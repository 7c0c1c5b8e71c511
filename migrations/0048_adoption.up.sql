-- Adoption: vectors that somebody else has made, in a table or a column of the user's, are taken over for a pipeline. A request is a row; the
-- controller compares a sample with what the provider makes of the same texts, writes what is true of the source as it is now, and says in
-- the row how far it is and what became of it.
--
-- What is named is checked when it is asked for: that it is there, that who declared the pipeline may read it, that keys are of the same kind,
-- that vectors are as wide as the pipeline's. The controller reads it as it reads a source, under the same rules.
--
-- Locks: none beyond the catalog's, for a new table. Time: milliseconds.

CREATE TABLE homeostat.adoption (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid bigint NOT NULL REFERENCES homeostat.pipeline ON DELETE CASCADE,
    pipeline text NOT NULL,
    relation text NOT NULL,
    key text,
    vector_column text NOT NULL,
    chunk_column text,
    text_column text,
    sample int NOT NULL DEFAULT 32,
    state text NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'audited', 'running', 'done', 'refused')),
    message text NOT NULL DEFAULT '',
    generation bigint NOT NULL DEFAULT 0,
    run_id bigint NOT NULL DEFAULT 0,
    first_chunk bigint NOT NULL DEFAULT 0,
    cursor text[],
    looked_at bigint NOT NULL DEFAULT 0,
    documents bigint NOT NULL DEFAULT 0,
    chunks bigint NOT NULL DEFAULT 0,
    left_over jsonb NOT NULL DEFAULT '{}',
    vectors bigint NOT NULL DEFAULT 0,
    used bigint NOT NULL DEFAULT 0,
    compared int NOT NULL DEFAULT 0,
    worst double precision NOT NULL DEFAULT 0,
    tokens bigint NOT NULL DEFAULT 0,
    requested_by text NOT NULL DEFAULT current_user,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    CHECK ((state IN ('done', 'refused')) = (ended_at IS NOT NULL))
);
-- One at a time: whoever asks at the same moment waits, and is refused.
CREATE UNIQUE INDEX adoption_open ON homeostat.adoption (uid) WHERE ended_at IS NULL;
CREATE INDEX adoption_of_pipeline ON homeostat.adoption (uid, id DESC);
COMMENT ON TABLE homeostat.adoption IS 'Vectors of others that are to be taken over for a pipeline, and what became of it';
COMMENT ON COLUMN homeostat.adoption.relation IS 'Where they are, schema-qualified and quoted; it is only read';
COMMENT ON COLUMN homeostat.adoption.key IS 'Its columns that name the document, in the order of the pipeline''s key';
COMMENT ON COLUMN homeostat.adoption.chunk_column IS 'The number of the chunk within its document; NULL: one vector a document';
COMMENT ON COLUMN homeostat.adoption.text_column IS 'The text that the vector was made of; NULL: it is not known';
COMMENT ON COLUMN homeostat.adoption.first_chunk IS 'The number that a document''s first chunk has there';
COMMENT ON COLUMN homeostat.adoption.looked_at IS 'Documents of the source so far';
COMMENT ON COLUMN homeostat.adoption.left_over IS 'Documents that are left to be embedded, by reason';
COMMENT ON COLUMN homeostat.adoption.vectors IS 'Rows of the relation when it was asked for';
COMMENT ON COLUMN homeostat.adoption.used IS 'Of these, rows whose vector was taken over';
COMMENT ON COLUMN homeostat.adoption.worst IS 'The largest cosine distance of the texts that were compared';

-- A column by its type: a vector's width where it is declared, and what kind of value it is: vector, integer, text, else the type's name.
CREATE FUNCTION homeostat.adopted_column(relation regclass, name text, OUT kind text, OUT type text, OUT width int) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN t.typname IN ('vector', 'halfvec') AND t.typnamespace = (SELECT e.extnamespace FROM pg_extension e WHERE e.extname = 'vector')
                    OR t.oid IN ('real[]'::regtype, 'double precision[]'::regtype) THEN 'vector'
                WHEN t.oid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype) THEN 'integer'
                WHEN t.oid IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN 'text'
                ELSE format_type(t.oid, NULL) END,
        format_type(a.atttypid, a.atttypmod),
        CASE WHEN t.typname IN ('vector', 'halfvec') AND a.atttypmod > 0 THEN a.atttypmod END
    FROM pg_attribute a JOIN pg_type t ON t.oid = homeostat.base_type(a.atttypid)
    WHERE a.attrelid = relation AND a.attname = name AND a.attnum > 0 AND NOT a.attisdropped
$$;

-- The relation and its columns, in the words of whoever asks. Returns the relation's name in full.
CREATE FUNCTION homeostat.check_adopted(what text, p homeostat.pipeline, relation text, key text[], vector_column text, chunk_column text,
                                        text_column text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
DECLARE
    found regclass := homeostat.check_source(what, relation, p.declared_by);
    named text := (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE c.oid = found);
    known text[] := homeostat.column_list(p.key);
    ours record;
    theirs record;
    wrong text;
    wanted int := coalesce(p.dimensions, (SELECT o.dimensions FROM homeostat.provider o WHERE o.name = p.provider));
BEGIN
    IF (SELECT c.relnamespace FROM pg_class c WHERE c.oid = found) IN ('homeostat'::regnamespace, 'homeostat_data'::regnamespace) THEN
        RAISE EXCEPTION '%: % is homeostat''s own; name a table of yours', what, homeostat.relation_text(found) USING ERRCODE = 'wrong_object_type';
    END IF;
    PERFORM homeostat.check_columns(what, 'key', found, key, p.declared_by);
    PERFORM homeostat.check_columns(what, 'vector', found, ARRAY[vector_column], p.declared_by);
    IF chunk_column IS NOT NULL THEN PERFORM homeostat.check_columns(what, 'chunk', found, ARRAY[chunk_column], p.declared_by); END IF;
    IF text_column IS NOT NULL THEN PERFORM homeostat.check_columns(what, 'text', found, ARRAY[text_column], p.declared_by); END IF;
    wrong := homeostat.missing_right(p.declared_by, found, key || ARRAY[vector_column] || chunk_column || text_column, 'Refuse');
    IF wrong IS NOT NULL THEN RAISE EXCEPTION '%: %', what, wrong USING ERRCODE = 'insufficient_privilege'; END IF;
    IF cardinality(key) <> cardinality(known) THEN
        RAISE EXCEPTION '%: a document''s key has % column(s) (%), and % were named', what, cardinality(known), p.key, cardinality(key)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR i IN 1 .. cardinality(key) LOOP
        SELECT * INTO ours FROM homeostat.adopted_column(to_regclass(p.source), known[i]);
        SELECT * INTO theirs FROM homeostat.adopted_column(found, key[i]);
        IF ours.kind IS DISTINCT FROM theirs.kind THEN
            RAISE EXCEPTION '%: key column "%" of % is of type %, and "%" of the source is of type %, so no value of one names a document of the other',
                what, key[i], homeostat.relation_text(found), theirs.type, known[i], ours.type USING ERRCODE = 'datatype_mismatch';
        END IF;
    END LOOP;
    SELECT * INTO theirs FROM homeostat.adopted_column(found, vector_column);
    IF theirs.kind <> 'vector' THEN
        RAISE EXCEPTION '%: column "%" of % is of type %; vectors are of type vector, halfvec, real[] or double precision[]', what, vector_column,
            homeostat.relation_text(found), theirs.type USING ERRCODE = 'datatype_mismatch';
    END IF;
    IF theirs.width <> wanted THEN
        RAISE EXCEPTION '%: vectors in column "%" of % have % numbers, and those of the pipeline have %; they are of another model', what,
            vector_column, homeostat.relation_text(found), theirs.width, wanted USING ERRCODE = 'datatype_mismatch';
    END IF;
    SELECT * INTO theirs FROM homeostat.adopted_column(found, chunk_column);
    IF theirs.kind <> 'integer' THEN
        RAISE EXCEPTION '%: column "%" of % is of type %; the number of a chunk is an integer', what, chunk_column,
            homeostat.relation_text(found), theirs.type USING ERRCODE = 'datatype_mismatch';
    END IF;
    SELECT * INTO theirs FROM homeostat.adopted_column(found, text_column);
    IF theirs.kind <> 'text' THEN
        RAISE EXCEPTION '%: column "%" of % is of type %, which is no text', what, text_column, homeostat.relation_text(found), theirs.type
            USING ERRCODE = 'datatype_mismatch';
    END IF;
    RETURN named;
END $$;

-- Everything that would stop it and is known before anything is read. Nobody begins a run of the pipeline meanwhile.
CREATE FUNCTION homeostat.check_adoption() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off AS $$
DECLARE
    p homeostat.pipeline;
    what text;
    stored record;
    run bigint;
BEGIN
    SELECT o.* INTO p FROM homeostat.pipeline o WHERE o.name = NEW.pipeline AND o.deletion_requested_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'pipeline "%" does not exist%', NEW.pipeline,
            homeostat.did_you_mean(NEW.pipeline, ARRAY(SELECT o.name FROM homeostat.pipeline o)) USING ERRCODE = 'undefined_object';
    END IF;
    what := format('pipeline "%s"', p.name);
    IF NOT homeostat.acts_for(p.declared_by) THEN
        RAISE EXCEPTION '%: it was declared by role "%", so role "%" may not have it adopt anything; become a member of that role, or of homeostat_admin',
            what, coalesce(p.declared_by, 'unknown'), current_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT o.* INTO p FROM homeostat.pipeline o WHERE o.uid = p.uid FOR NO KEY UPDATE;
    IF NOT FOUND OR p.deletion_requested_at IS NOT NULL THEN
        RAISE EXCEPTION '%: it is being deleted', what USING ERRCODE = 'undefined_object';
    END IF;
    IF NEW.sample IS NULL OR NEW.sample NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION '%: the sample is % texts; it must be 1 to 1000', what, coalesce(NEW.sample::text, 'unknown') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    NEW.key := homeostat.column_list_text(CASE WHEN coalesce(btrim(NEW.key), '') = '' THEN homeostat.column_list(p.key)
                                               ELSE homeostat.column_list(NEW.key) END);
    NEW.relation := homeostat.check_adopted(what, p, NEW.relation, homeostat.column_list(NEW.key), NEW.vector_column, NEW.chunk_column,
                                            NEW.text_column);
    IF EXISTS (SELECT FROM homeostat.own_adoption a WHERE a.uid = p.uid AND a.ended_at IS NULL) THEN
        RAISE EXCEPTION '%: it adopts vectors at this moment; homeostat adopt % shows how far it is', what, p.name USING ERRCODE = 'object_in_use';
    END IF;
    IF p.management <> 'Manage' THEN
        RAISE EXCEPTION '%: its management is %, so homeostat writes no vectors of it', what, p.management
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF p.chunker LIKE 'program:%' THEN
        RAISE EXCEPTION '%: its chunker is a program (%), and only what the built-in chunkers cut can be adopted', what, p.chunker
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF p.pinned IS NOT NULL OR p.revision_pin IS NOT NULL THEN
        RAISE EXCEPTION '%: it is pinned to vectors of its own; homeostat resume % first', what, p.name USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF p.suspend AND EXISTS (SELECT FROM homeostat.own_verification v WHERE v.uid = p.uid AND v.failed) THEN
        RAISE EXCEPTION '%: it is suspended because its provider does not answer as it did (%); correct that first, and homeostat resume %', what,
            coalesce(p.suspend_reason, 'verification failed'), p.name USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT r.revision INTO stored FROM homeostat.revision r WHERE r.uid = p.uid AND r.state = 'building';
    IF FOUND THEN
        RAISE EXCEPTION '%: revision % is being filled beside the one that is served; wait until it has taken over, or homeostat revisions % abort',
            what, stored.revision, p.name USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT s.documents, s.last_converged_at INTO stored FROM homeostat.own_pipeline_status s WHERE s.uid = p.uid;
    IF stored.documents > 0 AND stored.last_converged_at IS NOT NULL THEN
        RAISE EXCEPTION '%: it is filled: % document(s) have vectors of its own, and nothing is left to adopt', what, stored.documents
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT r.id INTO run FROM homeostat.own_run r WHERE r.uid = p.uid;
    IF FOUND AND NOT p.suspend THEN
        RAISE EXCEPTION '%: run % is filling it at this moment; homeostat suspend % stops that, and then what it has not filled yet can be adopted',
            what, run, p.name USING ERRCODE = 'object_in_use';
    END IF;
    NEW.uid := p.uid;
    NEW.generation := p.generation;
    NEW.state := 'requested';
    NEW.message := '';
    NEW.requested_at := clock_timestamp();
    NEW.ended_at := NULL;
    PERFORM pg_notify('homeostat', p.uid::text);
    RETURN NEW;
END $$;
DO $$
BEGIN
    REVOKE ALL ON FUNCTION homeostat.check_adoption(), homeostat.adopted_column(regclass, text),
        homeostat.check_adopted(text, homeostat.pipeline, text, text[], text, text, text) FROM PUBLIC;
END $$;
CREATE TRIGGER check_adoption BEFORE INSERT ON homeostat.adoption FOR EACH ROW EXECUTE FUNCTION homeostat.check_adoption();

CREATE VIEW homeostat.own_adoption WITH (security_barrier) AS SELECT t.* FROM homeostat.adoption t
    WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by));
COMMENT ON VIEW homeostat.own_adoption IS 'What of adoption concerns whoever looks';

-- As in migration 42, with the right to ask.
CREATE OR REPLACE FUNCTION homeostat.make_roles() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off AS $$
DECLARE
    r text;
    f record;
    t record;
BEGIN
    FOREACH r IN ARRAY '{homeostat_owner,homeostat_controller,homeostat_declarer,homeostat_admin}'::text[] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN EXECUTE format('CREATE ROLE %I NOLOGIN', r); END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;  -- for another database of the cluster, at the same time
            WHEN insufficient_privilege THEN
                IF r <> 'homeostat_admin' THEN RAISE; END IF;
        END;
    END LOOP;

    GRANT ALL ON SCHEMA homeostat, homeostat_data TO homeostat_owner;
    GRANT ALL ON ALL TABLES IN SCHEMA homeostat TO homeostat_owner;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA homeostat TO homeostat_owner;

    GRANT USAGE ON SCHEMA homeostat TO homeostat_controller;
    GRANT USAGE, CREATE ON SCHEMA homeostat_data TO homeostat_controller;
    GRANT ALL ON ALL TABLES IN SCHEMA homeostat TO homeostat_controller;
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA homeostat TO homeostat_controller;
    -- The declared half belongs to people. Of pipelines it writes also those that a target view owns, which keep_owned_pipeline
    -- sees to.
    REVOKE ALL ON homeostat.pipeline, homeostat.provider, homeostat.target_view, homeostat.pipelines, homeostat.target_views,
        homeostat.source_mark, homeostat.waiting FROM homeostat_controller;
    GRANT SELECT ON homeostat.pipeline, homeostat.provider, homeostat.target_view, homeostat.pipelines, homeostat.target_views,
        homeostat.source_mark, homeostat.waiting TO homeostat_controller;
    GRANT INSERT, UPDATE, DELETE ON homeostat.pipeline TO homeostat_controller;
    GRANT UPDATE (approval, finalizers, suspend, suspend_reason), DELETE ON homeostat.target_view TO homeostat_controller;

    FOREACH r IN ARRAY '{homeostat_declarer,homeostat_admin}'::text[] LOOP
        CONTINUE WHEN to_regrole(r) IS NULL;
        EXECUTE replace($grants$
            GRANT USAGE ON SCHEMA homeostat, homeostat_data TO {0};  -- of the tables there, a column each, to count what waits
            GRANT SELECT ON ALL TABLES IN SCHEMA homeostat TO {0};
            GRANT INSERT, UPDATE, DELETE ON homeostat.pipeline, homeostat.provider, homeostat.target_view TO {0};
            GRANT DELETE ON homeostat.own_dead_letter TO {0};  -- to have them tried again
            GRANT INSERT (pipeline, relation, key, vector_column, chunk_column, text_column, sample) ON homeostat.own_adoption TO {0};
            GRANT UPDATE (grants) ON homeostat.own_budget_use TO {0};
            GRANT UPDATE (approved_at) ON homeostat.own_held_plan TO {0};
            GRANT INSERT (pipeline, name), DELETE ON homeostat.own_checkpoint TO {0};
            GRANT INSERT (pipeline, checkpoint, run, dry_run, reason) ON homeostat.own_rollback TO {0};
            GRANT INSERT (pipeline, key) ON homeostat.own_erasure TO {0};
            GRANT USAGE ON SEQUENCE homeostat.pipeline_uid_seq TO {0};  -- an identity column needs none, a default does
            $grants$, '{0}', r);
    END LOOP;
    REVOKE ALL ON homeostat.rollback_entry FROM homeostat_declarer; REVOKE ALL ON homeostat.canary, homeostat.erased_text FROM homeostat_declarer;
    IF to_regclass('homeostat.kept_vector') IS NOT NULL THEN REVOKE ALL ON homeostat.kept_vector FROM homeostat_declarer; END IF;
    IF to_regclass('homeostat.vector_scope') IS NOT NULL THEN REVOKE ALL ON homeostat.vector_scope FROM homeostat_declarer; END IF;

    -- Triggers need no right to their functions; those that run as the owner are the controller's.
    FOR f IN SELECT p.oid::regprocedure AS name, p.prosecdef OR p.proname = 'make_roles' AS apart, p.prorettype = 'trigger'::regtype AS fires
             FROM pg_proc p WHERE p.pronamespace = 'homeostat'::regnamespace AND p.proname <> 'vector_ok' LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.name);
        CONTINUE WHEN f.fires OR f.apart;
        FOREACH r IN ARRAY '{homeostat_owner,homeostat_controller,homeostat_declarer,homeostat_admin}'::text[] LOOP
            CONTINUE WHEN to_regrole(r) IS NULL;
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', f.name, r);
        END LOOP;
    END LOOP;
    GRANT EXECUTE ON FUNCTION homeostat.keep_partitions(date, int), homeostat.make_vector_functions() TO homeostat_controller;

    -- What was observed it sees through views of what is its own.
    FOR t IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_class v ON v.relname = 'own_' || c.relname
             WHERE c.relnamespace = 'homeostat'::regnamespace AND v.relnamespace = c.relnamespace AND v.relkind = 'v' LOOP
        EXECUTE format('REVOKE ALL ON %s FROM homeostat_declarer', t.name);
    END LOOP;
    GRANT SELECT (uid, revision) ON homeostat.dead_letter TO homeostat_declarer;  -- to count them
    -- A partition that is named itself would be read past all that.
    FOR t IN SELECT i.inhrelid::regclass AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE c.relnamespace = 'homeostat'::regnamespace AND c.relkind = 'r' LOOP
        EXECUTE format('REVOKE ALL ON %s FROM homeostat_declarer', t.name);
    END LOOP;
END $$;

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
