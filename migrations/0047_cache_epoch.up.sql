-- Who goes on after vectors were found wrong, or were rolled back, asks for all of them: what the caches have of the time before may be
-- those very vectors. A number that is part of every cache's key; it belongs to the declaration, so that a batch of an earlier one is
-- never paid for. Takes ACCESS EXCLUSIVE on homeostat.pipeline for two catalog rows; nothing is rewritten.
ALTER TABLE homeostat.pipeline ADD COLUMN cache_epoch bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN homeostat.pipeline.cache_epoch IS
    'Grows when it is resumed after a rollback or a failed verification: no vector that a cache kept before is used again; not to be written';

-- Before check_pipeline by its name, which tells by all columns whether there is a new generation. Reads what the role itself may not.
CREATE FUNCTION homeostat.keep_cache_epoch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.cache_epoch := 0;
    ELSE
        NEW.cache_epoch := OLD.cache_epoch + (OLD.suspend AND NOT NEW.suspend AND (OLD.pinned IS NOT NULL OR EXISTS (
            SELECT FROM homeostat.verification v WHERE v.uid = OLD.uid AND v.failed)))::int;
        -- What was approved is back, under the ids that the approval names.
        IF OLD.suspend AND NOT NEW.suspend AND OLD.pinned IS NOT NULL THEN NEW.approval := NULL; END IF;
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION homeostat.keep_cache_epoch() FROM PUBLIC;
CREATE TRIGGER b_cache_epoch BEFORE INSERT OR UPDATE OF suspend, cache_epoch ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.keep_cache_epoch();

-- Names of checkpoints are shown to others, like those of pipelines (0037).
CREATE TRIGGER a_b_name BEFORE INSERT ON homeostat.checkpoint FOR EACH ROW WHEN (NEW.name IS NOT NULL)
    EXECUTE FUNCTION homeostat.check_shown_name();

-- Looks the view up in the catalog: a name needs the right to use its schema, which whoever owns homeostat's schema need not have.
CREATE OR REPLACE FUNCTION homeostat.note_left_view() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE ARRAY[n.nspname::text, c.relname::text] = parse_ident(OLD.target)
                 AND obj_description(c.oid, 'pg_class') = 'homeostat: served view') THEN
        INSERT INTO homeostat.left_view (target, declared_by) VALUES (OLD.target, OLD.declared_by)
        ON CONFLICT (target) DO UPDATE SET declared_by = excluded.declared_by, left_at = excluded.left_at;
    END IF;
    RETURN NULL;
END $$;

-- What pins a pipeline is taken away by resuming it, and by nothing else: without it a rollback under way was resumed half way, and
-- could then never end. In place of the trigger of 0041, which only looked at those that are not suspended.
CREATE OR REPLACE FUNCTION homeostat.keep_pin() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.pinned := NULL;
        RETURN NEW;
    END IF;
    -- A rollback that was refused after all leaves what it had pinned suspended, and no more than that.
    IF NEW.pinned IS NULL AND NEW.suspend AND (
        SELECT r.state FROM homeostat.rollback r WHERE r.uid = NEW.uid AND NOT r.dry_run ORDER BY r.id DESC LIMIT 1) = 'refused' THEN
        RETURN NEW;
    END IF;
    NEW.pinned := coalesce(NEW.pinned, OLD.pinned);
    IF NEW.suspend THEN RETURN NEW; END IF;
    IF OLD.pinned = 'rollback' AND EXISTS (
        SELECT FROM homeostat.rollback r WHERE r.uid = NEW.uid AND NOT r.dry_run AND r.state IN ('requested', 'running')) THEN
        RAISE EXCEPTION 'pipeline "%": it is being rolled back at this moment; resume it when that has ended', NEW.name
            USING ERRCODE = 'object_in_use';
    END IF;
    NEW.pinned := NULL;
    RETURN NEW;
END $$;
DROP TRIGGER z_keep_pin ON homeostat.pipeline;
CREATE TRIGGER z_keep_pin BEFORE INSERT ON homeostat.pipeline FOR EACH ROW WHEN (NEW.pinned IS NOT NULL) EXECUTE FUNCTION homeostat.keep_pin();
CREATE TRIGGER z_keep_pin_update BEFORE UPDATE ON homeostat.pipeline
    FOR EACH ROW WHEN (NEW.pinned IS NOT NULL OR OLD.pinned IS NOT NULL) EXECUTE FUNCTION homeostat.keep_pin();

-- An approval is one budget more, whoever writes it: a number of one's own overflowed what everybody's claims look at.
CREATE FUNCTION homeostat.check_one_approval() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off AS $$
BEGIN
    RAISE EXCEPTION 'a budget is approved once at a time: homeostat approve grants what waits' USING ERRCODE = 'check_violation';
END $$;
REVOKE ALL ON FUNCTION homeostat.check_one_approval() FROM PUBLIC;
CREATE TRIGGER a_one_approval BEFORE UPDATE OF grants ON homeostat.budget_use FOR EACH ROW
    WHEN (NEW.day = OLD.day AND NEW.grants::bigint NOT IN (OLD.grants::bigint, OLD.grants::bigint + 1)) EXECUTE FUNCTION homeostat.check_one_approval();
