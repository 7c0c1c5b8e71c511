-- Revisions as a person uses them: one that is kept is served again, one that is being filled is stopped, one that is kept is dropped. What is
-- asked for is a control column of the pipeline, checked as it is written; the controller carries it out.
--
-- Locks: homeostat.pipeline, pipeline_status and revision, for columns that rewrite nothing and triggers. Time: milliseconds.

ALTER TABLE homeostat.pipeline
    ADD COLUMN revision_pin int,
    ADD COLUMN revision_pin_reason text,
    ADD COLUMN revision_pinned_by text,
    ADD COLUMN revision_pinned_at timestamptz,
    ADD COLUMN revision_drop int;
COMMENT ON COLUMN homeostat.pipeline.revision_pin IS
    'The revision that is served and healed whatever is declared, until the pipeline is resumed; NULL: the one that is declared';
COMMENT ON COLUMN homeostat.pipeline.revision_drop IS 'A revision that is to be dropped; the controller makes it NULL when that is done';

-- A number is given once, also where the newest revision was dropped.
ALTER TABLE homeostat.pipeline_status ADD COLUMN last_revision int NOT NULL DEFAULT 0;
COMMENT ON COLUMN homeostat.pipeline_status.last_revision IS 'The greatest number of a revision that was dropped';
-- As migration 22 made it, with the column that is new.
CREATE OR REPLACE VIEW homeostat.own_pipeline_status WITH (security_barrier) AS SELECT t.* FROM homeostat.pipeline_status t
    WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by));

CREATE FUNCTION homeostat.note_dropped_revision() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE homeostat.pipeline_status SET last_revision = greatest(last_revision, OLD.revision) WHERE uid = OLD.uid;
    RETURN NULL;
END $$;
CREATE TRIGGER note_dropped_revision AFTER DELETE ON homeostat.revision FOR EACH ROW EXECUTE FUNCTION homeostat.note_dropped_revision();

DO $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION homeostat.control_columns() RETURNS text[] LANGUAGE sql IMMUTABLE'
                   ' SET search_path = pg_catalog, pg_temp AS %L',
                   format('SELECT %L::text[]', homeostat.control_columns()
                          || '{revision_pin,revision_pin_reason,revision_pinned_by,revision_pinned_at,revision_drop}'::text[]));
END $$;

-- Why nothing may be asked of this revision now; NULL where it may.
CREATE FUNCTION homeostat.revision_refusal(of_pipeline bigint, number int) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    there text := (SELECT string_agg(r.revision::text, ', ' ORDER BY r.revision) FROM homeostat.revision r WHERE r.uid = of_pipeline);
BEGIN
    IF EXISTS (SELECT FROM homeostat.own_erasure e WHERE e.uid = of_pipeline AND e.state = 'requested') THEN
        RETURN 'a document is being erased from all its revisions; try again when homeostat erase shows that it is';
    END IF;
    IF EXISTS (SELECT FROM homeostat.revision r WHERE r.uid = of_pipeline AND r.revision = number) THEN RETURN NULL; END IF;
    IF number BETWEEN 1 AND greatest((SELECT s.last_revision FROM homeostat.own_pipeline_status s WHERE s.uid = of_pipeline),
                                     (SELECT max(r.revision) FROM homeostat.revision r WHERE r.uid = of_pipeline)) THEN
        RETURN format('revision %s was dropped; there is %s', number, coalesce(there, 'none'));
    END IF;
    RETURN format('there never was a revision %s; there is %s', number, coalesce(there, 'none yet'));
END $$;

CREATE FUNCTION homeostat.check_revision_control() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('pipeline "%s"', NEW.name);
    pins boolean := NEW.revision_pin IS NOT NULL;
    drops boolean := NEW.revision_drop IS NOT NULL;
    wrong text;
    r record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF pins OR drops THEN
            RAISE EXCEPTION '%: it has no revision yet', what USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    pins := pins AND NEW.revision_pin IS DISTINCT FROM OLD.revision_pin;
    drops := drops AND NEW.revision_drop IS DISTINCT FROM OLD.revision_drop;
    IF NEW.revision_pin IS NULL THEN
        NEW.revision_pin_reason := NULL;
        NEW.revision_pinned_by := NULL;
        NEW.revision_pinned_at := NULL;
    ELSIF pins THEN
        NEW.revision_pinned_by := session_user::text;
        NEW.revision_pinned_at := clock_timestamp();
    ELSE
        NEW.revision_pinned_by := OLD.revision_pinned_by;
        NEW.revision_pinned_at := OLD.revision_pinned_at;
    END IF;
    IF NOT pins AND NOT drops THEN RETURN NEW; END IF;
    IF OLD.deletion_requested_at IS NOT NULL THEN
        RAISE EXCEPTION '%: it is being deleted', what USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.suspend THEN
        RAISE EXCEPTION '%: it is suspended, and nothing is done for it until homeostat resume %', what, quote_ident(NEW.name)
            USING ERRCODE = 'check_violation';
    END IF;
    IF pins AND drops THEN
        RAISE EXCEPTION '%: one thing at a time: a revision is pinned, or one is dropped', what USING ERRCODE = 'check_violation';
    END IF;
    wrong := homeostat.revision_refusal(NEW.uid, CASE WHEN pins THEN NEW.revision_pin ELSE NEW.revision_drop END);
    IF wrong IS NOT NULL THEN RAISE EXCEPTION '%: %', what, wrong USING ERRCODE = 'check_violation'; END IF;
    SELECT v.revision, v.state, v.served_at IS NOT NULL AS was_whole INTO r FROM homeostat.revision v
    WHERE v.uid = NEW.uid AND v.revision = CASE WHEN pins THEN NEW.revision_pin ELSE NEW.revision_drop END;
    IF pins AND r.revision = NEW.revision_drop THEN
        wrong := format('revision %s is being dropped', r.revision);
    ELSIF pins AND r.state = 'building' THEN
        wrong := format('revision %s is being filled, and is served by itself once it is whole', r.revision);
    ELSIF pins AND NOT r.was_whole THEN
        wrong := format('revision %s was never whole: it was stopped before it took over, and search would miss documents', r.revision);
    ELSIF drops AND OLD.revision_drop IS NOT NULL THEN
        wrong := format('revision %s is being dropped already; try again when it is gone', OLD.revision_drop);
    ELSIF drops AND (r.state = 'served' OR r.revision = NEW.revision_pin) THEN
        wrong := format('revision %s is the one that is served; activate another first, or delete the pipeline', r.revision);
    ELSIF drops AND r.state = 'building' THEN
        wrong := format('revision %s is being filled; homeostat revisions %s abort stops that', r.revision, quote_ident(NEW.name));
    END IF;
    IF wrong IS NOT NULL THEN RAISE EXCEPTION '%: %', what, wrong USING ERRCODE = 'check_violation'; END IF;
    RETURN NEW;
END $$;
-- After check_pipeline, by its name.
CREATE TRIGGER check_revision_control BEFORE INSERT OR UPDATE OF revision_pin, revision_pin_reason, revision_pinned_by, revision_pinned_at,
    revision_drop ON homeostat.pipeline FOR EACH ROW EXECUTE FUNCTION homeostat.check_revision_control();

DO $$
BEGIN
    REVOKE ALL ON FUNCTION homeostat.check_revision_control(), homeostat.note_dropped_revision(),
        homeostat.revision_refusal(bigint, int) FROM PUBLIC;
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
