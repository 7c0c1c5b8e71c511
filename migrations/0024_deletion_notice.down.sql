CREATE OR REPLACE FUNCTION homeostat.finalize_pipeline() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF cardinality(OLD.finalizers) = 0 THEN RETURN OLD; END IF;
    UPDATE homeostat.pipeline SET deletion_requested_at = coalesce(deletion_requested_at, now()) WHERE uid = OLD.uid;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION homeostat.finalize_target_view() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF cardinality(OLD.finalizers) = 0 THEN RETURN OLD; END IF;
    UPDATE homeostat.target_view SET deletion_requested_at = coalesce(deletion_requested_at, now()) WHERE uid = OLD.uid;
    RETURN NULL;
END $$;
