-- What a source is read under: whether a policy may choose its rows, what its versions can be compared under, and which documents
-- never read the same twice.
--
-- Locks: the declared table and two observed ones, for adding columns without rewriting them. Time: milliseconds.

ALTER TABLE homeostat.pipeline ADD COLUMN row_security text NOT NULL DEFAULT 'Refuse';
COMMENT ON COLUMN homeostat.pipeline.row_security IS
    'Refuse: a source of which a policy would hide rows from the controller is an error; Accept: the policy chooses the documents';

CREATE FUNCTION homeostat.check_row_security() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM homeostat.check_choice(format('pipeline "%s"', NEW.name), 'row_security', NEW.row_security, '{Refuse,Accept}');
    RETURN NEW;
END $$;
CREATE TRIGGER a_row_security_pipeline BEFORE INSERT OR UPDATE OF row_security ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_row_security();

ALTER TABLE homeostat.run ADD COLUMN compared_under text;
COMMENT ON COLUMN homeostat.run.compared_under IS 'What versions could be compared under when it began';
ALTER TABLE homeostat.pipeline_status ADD COLUMN compared_under text;
COMMENT ON COLUMN homeostat.pipeline_status.compared_under IS
    'The same of the last sweep that compared contents; where it is another now, versions say nothing and contents are compared again';

CREATE TABLE homeostat.unsteady (
    uid bigint NOT NULL REFERENCES homeostat.pipeline ON DELETE CASCADE,
    key text[] NOT NULL,
    run_id bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (uid, key)
);
COMMENT ON TABLE homeostat.unsteady IS
    'Documents whose source read differently twice within moments: nothing is embedded for them until it reads the same twice';
COMMENT ON COLUMN homeostat.unsteady.run_id IS 'The run that saw it last';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_owner') THEN GRANT ALL ON homeostat.unsteady TO homeostat_owner; END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_controller') THEN
        GRANT ALL ON homeostat.unsteady TO homeostat_controller;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_declarer') THEN
        GRANT SELECT ON homeostat.unsteady TO homeostat_declarer;
    END IF;
END $$;
