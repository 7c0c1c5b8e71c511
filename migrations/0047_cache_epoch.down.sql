-- Locks: homeostat.pipeline, checkpoint and budget_use, for a column and triggers. Time: milliseconds.
DROP TRIGGER a_one_approval ON homeostat.budget_use;
DROP FUNCTION homeostat.check_one_approval();
DROP TRIGGER z_keep_pin_update ON homeostat.pipeline;
DROP TRIGGER z_keep_pin ON homeostat.pipeline;
CREATE OR REPLACE FUNCTION homeostat.keep_pin() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off AS $$
BEGIN
    IF NEW.suspend THEN RETURN NEW; END IF;
    IF TG_OP = 'UPDATE' AND OLD.pinned = 'rollback' AND EXISTS (
        SELECT FROM homeostat.rollback r WHERE r.uid = NEW.uid AND NOT r.dry_run AND r.state IN ('requested', 'running')) THEN
        RAISE EXCEPTION 'pipeline "%": it is being rolled back at this moment; resume it when that has ended', NEW.name
            USING ERRCODE = 'object_in_use';
    END IF;
    NEW.pinned := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER z_keep_pin BEFORE INSERT OR UPDATE ON homeostat.pipeline
    FOR EACH ROW WHEN (NOT NEW.suspend AND NEW.pinned IS NOT NULL) EXECUTE FUNCTION homeostat.keep_pin();
DROP TRIGGER a_b_name ON homeostat.checkpoint;
DROP TRIGGER b_cache_epoch ON homeostat.pipeline;
DROP FUNCTION homeostat.keep_cache_epoch();
ALTER TABLE homeostat.pipeline DROP COLUMN cache_epoch;
CREATE OR REPLACE FUNCTION homeostat.note_left_view() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off AS $$
BEGIN
    IF obj_description(to_regclass(OLD.target)::oid, 'pg_class') = 'homeostat: served view' THEN
        INSERT INTO homeostat.left_view (target, declared_by) VALUES (OLD.target, OLD.declared_by)
        ON CONFLICT (target) DO UPDATE SET declared_by = excluded.declared_by, left_at = excluded.left_at;
    END IF;
    RETURN NULL;
END $$;
