-- Texts that a run has embedded are embedded again at its end, and compared: so a model that was swapped behind its name is found within a
-- run.
--
-- Locks: the table pipeline, for columns that rewrite nothing. Time: milliseconds.

ALTER TABLE homeostat.pipeline ADD COLUMN verify_sample int, ADD COLUMN verify_tolerance double precision NOT NULL DEFAULT 0.01;
COMMENT ON COLUMN homeostat.pipeline.verify_sample IS
    'Texts that are embedded again at the end of a run; 0: none are; NULL: 8, where a remote provider has embedded 1000 or more';
COMMENT ON COLUMN homeostat.pipeline.verify_tolerance IS 'How far, in cosine distance, they may come back from what is stored';

CREATE FUNCTION homeostat.check_verification() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.verify_sample NOT BETWEEN 0 AND 1000 THEN
        RAISE EXCEPTION 'pipeline "%": verify_sample is %; it must be 0 to 1000', NEW.name, NEW.verify_sample USING ERRCODE = 'check_violation';
    END IF;
    IF NOT NEW.verify_tolerance BETWEEN 0 AND 2 OR NEW.verify_tolerance = 'NaN' THEN
        RAISE EXCEPTION 'pipeline "%": verify_tolerance is %; a cosine distance is 0 to 2', NEW.name, NEW.verify_tolerance
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION homeostat.check_verification() FROM PUBLIC;
CREATE TRIGGER check_verification BEFORE INSERT OR UPDATE OF verify_sample, verify_tolerance ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_verification();

CREATE TABLE homeostat.verification (
    uid bigint PRIMARY KEY REFERENCES homeostat.pipeline ON DELETE CASCADE,
    run_id bigint NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sample int NOT NULL,
    worst double precision NOT NULL,
    failed boolean NOT NULL,
    failures bigint NOT NULL DEFAULT 0,
    message text NOT NULL DEFAULT ''
);
COMMENT ON TABLE homeostat.verification IS 'Of each pipeline, what came of the last run whose texts were embedded again';
COMMENT ON COLUMN homeostat.verification.worst IS 'The largest cosine distance from what is stored';
COMMENT ON COLUMN homeostat.verification.failures IS 'Runs that were found wrong; replicas forget what they keep of vectors when it grows';

CREATE VIEW homeostat.own_verification WITH (security_barrier) AS SELECT t.* FROM homeostat.verification t
    WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by));
COMMENT ON VIEW homeostat.own_verification IS 'What of verification concerns whoever looks';

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
