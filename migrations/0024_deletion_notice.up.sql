-- Who deletes a pipeline or target view in psql is answered "DELETE 0", because the row stays until the controller has taken away what
-- belongs to it. A notice says so.
--
-- Locks: none beyond the catalog's, for replacing two functions. Time: milliseconds.

CREATE OR REPLACE FUNCTION homeostat.finalize_pipeline() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF cardinality(OLD.finalizers) = 0 THEN RETURN OLD; END IF;
    UPDATE homeostat.pipeline SET deletion_requested_at = coalesce(deletion_requested_at, now()) WHERE uid = OLD.uid;
    RAISE NOTICE 'pipeline "%" is being deleted: the row goes once the controller has taken away its triggers and, where deletion_policy is Delete, its vectors',
        OLD.name;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION homeostat.finalize_target_view() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF cardinality(OLD.finalizers) = 0 THEN RETURN OLD; END IF;
    UPDATE homeostat.target_view SET deletion_requested_at = coalesce(deletion_requested_at, now()) WHERE uid = OLD.uid;
    RAISE NOTICE 'target view "%" is being deleted: the row goes once its pipelines are dealt with as on_removal says', OLD.name;
    RETURN NULL;
END $$;
