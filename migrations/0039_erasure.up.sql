-- A document that must be forgotten: a request names its key, the controller takes every trace of its text and vectors out of every
-- table, looks in all of them, and writes what it found and what is left into the same row, which is the receipt. The key itself goes
-- from the row then; its hash stays.
--
-- Locks: homeostat.pipeline, for a trigger and a column that rewrites nothing; else none beyond the catalog's, for a new table. Time: milliseconds.

CREATE TABLE homeostat.erasure (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid bigint REFERENCES homeostat.pipeline ON DELETE SET NULL,
    pipeline text NOT NULL,
    key text[],
    key_hash text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'erased', 'refused')),
    message text NOT NULL DEFAULT '',
    found jsonb NOT NULL DEFAULT '{}',
    remaining jsonb NOT NULL DEFAULT '{}',
    requested_by text NOT NULL DEFAULT current_user,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    CHECK ((state = 'requested') = (ended_at IS NULL)),
    CHECK (state <> 'erased' OR key IS NULL)
);
CREATE INDEX erasure_waiting ON homeostat.erasure (uid, id) WHERE state = 'requested';
CREATE INDEX erasure_of_pipeline ON homeostat.erasure (uid, id DESC);
COMMENT ON TABLE homeostat.erasure IS 'Documents that must be forgotten, and the receipts of those that are';
COMMENT ON COLUMN homeostat.erasure.key IS 'Of the document, a text for each key column; NULL once it is erased';
COMMENT ON COLUMN homeostat.erasure.key_hash IS 'SHA-256, in hexadecimal, of the key as a JSON array of texts';
COMMENT ON COLUMN homeostat.erasure.message IS 'What it waits for, or why it was refused';
COMMENT ON COLUMN homeostat.erasure.found IS 'Rows that were taken away, by table';
COMMENT ON COLUMN homeostat.erasure.remaining IS 'Rows that a look in every table found after that: 0 each';

-- A batch that was at its provider meanwhile may still bring the vector of a text that was erased: it is not kept.
CREATE TABLE homeostat.erased_text (
    text_hash bytea PRIMARY KEY,
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE homeostat.erased_text IS 'Hashes of texts that were erased within the last hour, whose vectors are not kept';

ALTER TABLE homeostat.pipeline ADD COLUMN erase_on_delete boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN homeostat.pipeline.erase_on_delete IS
    'Whether a document that leaves the source is erased: no copy of it stays in the journal or an older revision';

-- Who asks may act for whoever declared the pipeline. Only the controller may say for whom (it has the right to that column).
CREATE FUNCTION homeostat.check_erasure() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p record;
    columns int;
BEGIN
    SELECT o.uid, o.name, o.key, o.declared_by INTO p FROM homeostat.pipeline o
    WHERE o.name = NEW.pipeline AND o.deletion_requested_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'pipeline "%" does not exist%', NEW.pipeline,
            homeostat.did_you_mean(NEW.pipeline, ARRAY(SELECT o.name FROM homeostat.pipeline o)) USING ERRCODE = 'undefined_object';
    END IF;
    IF NOT homeostat.acts_for(p.declared_by) AND NOT homeostat.is_member('homeostat_controller') THEN
        RAISE EXCEPTION 'pipeline "%": it was declared by role "%", so role "%" may not erase its documents; become a member of that role, or of homeostat_admin',
            p.name, coalesce(p.declared_by, 'unknown'), current_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    columns := cardinality(homeostat.column_list(p.key));
    IF NEW.key IS NULL OR array_position(NEW.key, NULL) IS NOT NULL OR coalesce(cardinality(NEW.key), 0) <> columns THEN
        RAISE EXCEPTION 'pipeline "%": a document''s key has % column(s) (%), and % value(s) were given', p.name, columns, p.key,
            coalesce(cardinality(NEW.key), 0) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    NEW.uid := p.uid;
    NEW.state := 'requested';
    NEW.ended_at := NULL;
    NEW.message := '';
    NEW.found := '{}';
    NEW.remaining := '{}';
    NEW.requested_at := clock_timestamp();
    NEW.key_hash := encode(sha256(convert_to(to_jsonb(NEW.key)::text, 'UTF8')), 'hex');
    PERFORM pg_notify('homeostat', p.uid::text);
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION homeostat.check_erasure() FROM PUBLIC;
CREATE TRIGGER check_erasure BEFORE INSERT ON homeostat.erasure FOR EACH ROW EXECUTE FUNCTION homeostat.check_erasure();

-- A pipeline that goes takes the keys that are waiting with it: nobody would ever carry them out.
CREATE FUNCTION homeostat.end_erasures() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE homeostat.erasure SET state = 'refused', key = NULL, ended_at = clock_timestamp(),
        message = 'the pipeline was deleted before the document was erased'
    WHERE uid = OLD.uid AND state = 'requested';
    RETURN OLD;
END $$;
REVOKE ALL ON FUNCTION homeostat.end_erasures() FROM PUBLIC;
-- After finalize_pipeline, which lets no row go before its time: triggers fire in the order of their names.
CREATE TRIGGER z_end_erasures BEFORE DELETE ON homeostat.pipeline FOR EACH ROW EXECUTE FUNCTION homeostat.end_erasures();

CREATE VIEW homeostat.own_erasure WITH (security_barrier) AS SELECT t.* FROM homeostat.erasure t
    WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by));
COMMENT ON VIEW homeostat.own_erasure IS 'What of erasure concerns whoever looks';

DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.make_roles()'::regprocedure);
    before text := 'GRANT DELETE ON homeostat.own_dead_letter TO {0};  -- to have them tried again';
BEGIN
    IF position(before IN def) = 0 THEN RAISE EXCEPTION 'homeostat.make_roles() is not as migration 0022 made it'; END IF;
    EXECUTE replace(def, before, before || $grants$
            GRANT INSERT (pipeline, key) ON homeostat.own_erasure TO {0};$grants$);
    def := pg_get_functiondef('homeostat.make_roles()'::regprocedure);
    before := 'REVOKE ALL ON homeostat.canary FROM homeostat_declarer;';
    IF position(before IN def) = 0 THEN RAISE EXCEPTION 'homeostat.make_roles() is not as migration 0022 made it'; END IF;
    EXECUTE replace(def, before, 'REVOKE ALL ON homeostat.canary, homeostat.erased_text FROM homeostat_declarer;');
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
