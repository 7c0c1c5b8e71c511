-- Going back: checkpoints that say where the journal stood, named ones that people take, requests for a rollback, and what pins a
-- pipeline that was rolled back, so that nothing heals over it until a person resumes it.
--
-- A checkpoint holds the number of the last journal entry before it. It is taken while nobody writes, so every write is wholly before or
-- after it. What the journal has after it is everything that was changed since: also which documents were inserted, and which chunks an
-- edit left as they were (two columns of each journal that are new).
--
-- Locks: homeostat.pipeline, for a trigger and a column that rewrites nothing; checkpoint and revision likewise; each journal, for two
-- columns. Time: milliseconds.

ALTER TABLE homeostat.revision ADD COLUMN journal_from bigint NOT NULL DEFAULT 0,
    ADD COLUMN journal_limit text NOT NULL DEFAULT '';
COMMENT ON COLUMN homeostat.revision.journal_from IS 'Entries of its journal up to this number may be gone: no checkpoint before it can be gone back to';
COMMENT ON COLUMN homeostat.revision.journal_limit IS 'For how long replaced text stays in its journal, as the controller that trimmed it last was told';

DO $$
DECLARE
    j text;
BEGIN
    FOR j IN SELECT format('homeostat_data.p%s_r%s_journal', uid, revision) FROM homeostat.revision
             WHERE to_regclass(format('homeostat_data.p%s_r%s_journal', uid, revision)) IS NOT NULL LOOP
        EXECUTE format('ALTER TABLE %s ADD COLUMN inserted bigint[], ADD COLUMN kept bigint[]', j);
    END LOOP;
END $$;

-- ---------------------------------------------------------------------------------------------------------------------------
-- Checkpoints

ALTER TABLE homeostat.checkpoint
    ADD COLUMN pipeline text NOT NULL DEFAULT '',
    ADD COLUMN entry bigint,
    ADD COLUMN named boolean NOT NULL DEFAULT false,
    ADD COLUMN state text NOT NULL DEFAULT 'ready' CHECK (state IN ('requested', 'ready')),
    ADD COLUMN created_by text NOT NULL DEFAULT 'homeostat';
CREATE INDEX checkpoint_requested ON homeostat.checkpoint (uid) WHERE state = 'requested';
COMMENT ON TABLE homeostat.checkpoint IS 'Points that a pipeline''s vectors can be taken back to: each run begins with one, others are named by people';
COMMENT ON COLUMN homeostat.checkpoint.entry IS 'The last journal entry before it; NULL where it cannot be gone back to';

-- Of people: by the pipeline's name. The controller, which takes them, says whose they are.
CREATE FUNCTION homeostat.check_checkpoint() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p record;
BEGIN
    SELECT o.uid, o.name, o.declared_by INTO p FROM homeostat.pipeline o
    WHERE o.name = NEW.pipeline AND o.deletion_requested_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'pipeline "%" does not exist%', NEW.pipeline,
            homeostat.did_you_mean(NEW.pipeline, ARRAY(SELECT o.name FROM homeostat.pipeline o)) USING ERRCODE = 'undefined_object';
    END IF;
    IF NOT homeostat.acts_for(p.declared_by) THEN
        RAISE EXCEPTION 'pipeline "%": it was declared by role "%", so role "%" may not take checkpoints of it; become a member of that role, or of homeostat_admin',
            p.name, coalesce(p.declared_by, 'unknown'), current_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.name = '' OR octet_length(NEW.name) > 63 OR NEW.name ~ '[[:cntrl:]]' THEN
        RAISE EXCEPTION 'pipeline "%": the name of a checkpoint has 1 to 63 bytes, and no control characters', p.name
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NEW.name ~ '^run-[0-9]+$' THEN
        RAISE EXCEPTION 'pipeline "%": "%" is the name of a run''s own checkpoint; choose another', p.name, NEW.name
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM homeostat.own_checkpoint c WHERE c.uid = p.uid AND c.name = NEW.name) THEN
        RAISE EXCEPTION 'pipeline "%": there is a checkpoint "%" already; choose another name, or drop that one', p.name, NEW.name
            USING ERRCODE = 'unique_violation';
    END IF;
    IF NOT EXISTS (SELECT FROM homeostat.revision r WHERE r.uid = p.uid AND r.state = 'served') THEN
        RAISE EXCEPTION 'pipeline "%": it has no vectors yet that could be gone back to', p.name USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    NEW.uid := p.uid;
    NEW.revision := 0;
    NEW.run_id := 0;
    NEW.documents := 0;
    NEW.chunks := 0;
    NEW.entry := NULL;
    NEW.named := true;
    NEW.state := 'requested';
    NEW.created_by := current_user;
    NEW.created_at := clock_timestamp();
    PERFORM pg_notify('homeostat', p.uid::text);
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION homeostat.check_checkpoint() FROM PUBLIC;
CREATE TRIGGER check_checkpoint BEFORE INSERT ON homeostat.checkpoint
    FOR EACH ROW WHEN (NEW.uid IS NULL) EXECUTE FUNCTION homeostat.check_checkpoint();

CREATE VIEW homeostat.own_checkpoint WITH (security_barrier) AS SELECT t.* FROM homeostat.checkpoint t
    WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by));
COMMENT ON VIEW homeostat.own_checkpoint IS 'What of checkpoint concerns whoever looks';

-- Named ones stay until they are dropped; whether their journal is there still, revision.journal_from says.
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.keep_partitions(date,int)'::regprocedure);
    before text := 'DELETE FROM homeostat.checkpoint WHERE created_at < day - 7 * weeks_kept;';
BEGIN
    IF position(before IN def) = 0 THEN RAISE EXCEPTION 'homeostat.keep_partitions() is not as migration 0003 made it'; END IF;
    EXECUTE replace(def, before, 'DELETE FROM homeostat.checkpoint WHERE created_at < day - 7 * weeks_kept AND NOT named;');
END $$;

-- ---------------------------------------------------------------------------------------------------------------------------
-- Rollbacks

ALTER TABLE homeostat.pipeline ADD COLUMN pinned text CHECK (pinned = 'rollback');
COMMENT ON COLUMN homeostat.pipeline.pinned IS
    'Why it is suspended where that is no mere pause: what is stored is older than the source on purpose, until somebody resumes it';
DO $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION homeostat.control_columns() RETURNS text[] LANGUAGE sql IMMUTABLE'
                   ' SET search_path = pg_catalog, pg_temp AS %L',
                   format('SELECT %L::text[]', homeostat.control_columns() || 'pinned'::text));
END $$;

CREATE TABLE homeostat.rollback (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid bigint NOT NULL REFERENCES homeostat.pipeline ON DELETE CASCADE,
    pipeline text NOT NULL,
    checkpoint text,
    run bigint,
    dry_run boolean NOT NULL DEFAULT false,
    reason text NOT NULL DEFAULT '',
    revision int NOT NULL DEFAULT 0,
    entry bigint NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'running', 'done', 'refused')),
    message text NOT NULL DEFAULT '',
    restored bigint NOT NULL DEFAULT 0,
    brought_back bigint NOT NULL DEFAULT 0,
    removed bigint NOT NULL DEFAULT 0,
    requested_by text NOT NULL DEFAULT current_user,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    CHECK ((state IN ('requested', 'running')) = (ended_at IS NULL))
);
-- One at a time: whoever asks at the same moment waits, and is refused.
CREATE UNIQUE INDEX rollback_open ON homeostat.rollback (uid, dry_run) WHERE state IN ('requested', 'running');
CREATE INDEX rollback_of_pipeline ON homeostat.rollback (uid, id DESC);
COMMENT ON TABLE homeostat.rollback IS 'Pipelines that are to be taken back to a checkpoint, and what became of it';
COMMENT ON COLUMN homeostat.rollback.run IS 'To what was before this run; without it and a checkpoint, before the last run that changed something';
COMMENT ON COLUMN homeostat.rollback.restored IS 'Documents that were changed since, and are what they were';
COMMENT ON COLUMN homeostat.rollback.brought_back IS 'Of these, documents that were removed since';
COMMENT ON COLUMN homeostat.rollback.removed IS 'Documents that have come since, and are gone';

-- What of the journal is to be undone, document by document: written when it begins, by number alone.
CREATE TABLE homeostat.rollback_entry (
    rollback bigint NOT NULL REFERENCES homeostat.rollback ON DELETE CASCADE,
    grp bigint NOT NULL,
    document_id bigint NOT NULL,
    write_token bigint NOT NULL,
    entry bigint NOT NULL,
    change text NOT NULL,
    bears boolean NOT NULL,
    number int
);
CREATE INDEX rollback_entry_grp ON homeostat.rollback_entry (rollback, grp);
COMMENT ON TABLE homeostat.rollback_entry IS 'Journal entries that a rollback under way has yet to undo: all of a document''s have the same grp';

CREATE VIEW homeostat.own_rollback WITH (security_barrier) AS SELECT t.* FROM homeostat.rollback t
    WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by));
COMMENT ON VIEW homeostat.own_rollback IS 'What of rollback concerns whoever looks';

-- Everything that would stop it is found here, before anything is done, and the pipeline is pinned in the same transaction: who writes has
-- ended then, and nobody begins. (Nobody trims a journal without this row either.)
CREATE FUNCTION homeostat.check_rollback() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p record;
    c record;
    served record;
    what text;
    other text;
    wanted text := coalesce(NEW.checkpoint, 'run-' || NEW.run);
BEGIN
    SELECT o.uid, o.name, o.declared_by INTO p FROM homeostat.pipeline o
    WHERE o.name = NEW.pipeline AND o.deletion_requested_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'pipeline "%" does not exist%', NEW.pipeline,
            homeostat.did_you_mean(NEW.pipeline, ARRAY(SELECT o.name FROM homeostat.pipeline o)) USING ERRCODE = 'undefined_object';
    END IF;
    what := format('pipeline "%s"', p.name);
    IF NOT homeostat.acts_for(p.declared_by) THEN
        RAISE EXCEPTION '%: it was declared by role "%", so role "%" may not roll it back; become a member of that role, or of homeostat_admin',
            what, coalesce(p.declared_by, 'unknown'), current_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.checkpoint IS NOT NULL AND NEW.run IS NOT NULL THEN
        RAISE EXCEPTION '%: say a checkpoint or a run, not both', what USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT o.uid, o.name, o.suspend, o.suspended_by, o.suspend_reason, o.pinned, o.management, o.deletion_requested_at INTO p
    FROM homeostat.pipeline o WHERE o.uid = p.uid FOR NO KEY UPDATE;
    IF NOT FOUND OR p.deletion_requested_at IS NOT NULL THEN
        RAISE EXCEPTION '%: it is being deleted', what USING ERRCODE = 'undefined_object';
    END IF;
    SELECT coalesce(r.checkpoint, 'run-' || r.run) INTO other FROM homeostat.own_rollback r
    WHERE r.uid = p.uid AND r.state IN ('requested', 'running') AND (NOT r.dry_run OR NEW.dry_run);
    IF FOUND THEN
        RAISE EXCEPTION '%: it is being rolled back to "%" at this moment; wait until that has ended', what, other
            USING ERRCODE = 'object_in_use';
    END IF;
    IF p.suspend AND p.pinned IS NULL THEN
        RAISE EXCEPTION '%: it is suspended by % (%), and nothing of it is changed meanwhile; resume it, and roll it back then (a rollback pins it again)',
            what, coalesce(p.suspended_by, 'somebody'), coalesce(p.suspend_reason, 'no reason given')
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF p.management <> 'Manage' THEN
        RAISE EXCEPTION '%: its management is %, so homeostat changes no vectors of it', what, p.management
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT r.revision, r.journal_from, r.journal_limit INTO served FROM homeostat.revision r WHERE r.uid = p.uid AND r.state = 'served';
    IF NOT FOUND THEN
        RAISE EXCEPTION '%: it has no vectors yet', what USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT r.revision::text INTO other FROM homeostat.revision r WHERE r.uid = p.uid AND r.state = 'building';
    IF FOUND THEN
        RAISE EXCEPTION '%: it is under migration: revision % is being filled beside revision %, which is served; wait until that has taken over, or go back to the declaration before it',
            what, other, served.revision USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF wanted IS NULL THEN
        IF p.pinned = 'rollback' THEN
            RAISE EXCEPTION '%: it is rolled back already (%); to go further back say where to, with --to or --run', what, p.suspend_reason
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        SELECT 'run-' || h.id INTO wanted FROM homeostat.own_run_history h
        WHERE h.uid = p.uid AND h.healed <> '{}' AND h.status <> 'rolled_back'
          AND EXISTS (SELECT FROM homeostat.own_checkpoint k WHERE k.uid = p.uid AND k.run_id = h.id AND NOT k.named)
        ORDER BY h.ended_at DESC, h.id DESC LIMIT 1;
        IF NOT FOUND THEN
            RAISE EXCEPTION '%: no run that changed anything has a checkpoint still; homeostat get checkpoints % lists those that are there',
                what, p.name USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        IF EXISTS (SELECT FROM homeostat.own_checkpoint k WHERE k.uid = p.uid AND k.name = wanted AND k.documents = 0) THEN
            RAISE EXCEPTION '%: before % there were no vectors at all, and search would find nothing; if that is wanted, say --to %',
                what, wanted, wanted USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END IF;
    SELECT k.* INTO c FROM homeostat.own_checkpoint k WHERE k.uid = p.uid AND k.name = wanted;
    IF NOT FOUND THEN
        RAISE EXCEPTION '%: it has no checkpoint "%"%; homeostat get checkpoints % lists them', what, wanted,
            homeostat.did_you_mean(wanted, ARRAY(SELECT k.name FROM homeostat.own_checkpoint k WHERE k.uid = p.uid AND k.named)), p.name
            USING ERRCODE = 'undefined_object';
    END IF;
    IF c.state = 'requested' THEN
        RAISE EXCEPTION '%: checkpoint "%" is asked for, and not taken yet', what, wanted USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF c.revision <> served.revision THEN
        RAISE EXCEPTION '%: checkpoint "%" is of revision %, and revision % is served; declare again what revision % was made by, and that one is gone back to',
            what, wanted, c.revision, served.revision, c.revision USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF c.entry IS NULL OR c.entry < served.journal_from THEN
        RAISE EXCEPTION '%: what was there at checkpoint "%" is not kept any more%', what, wanted,
            CASE WHEN c.entry IS NOT NULL AND served.journal_limit <> '' THEN format(' (the journal is kept for %s)', served.journal_limit)
                 ELSE ': its journal is gone' END USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    NEW.uid := p.uid;
    NEW.checkpoint := wanted;
    NEW.revision := c.revision;
    NEW.entry := c.entry;
    NEW.state := 'requested';
    NEW.message := '';
    NEW.restored := 0;
    NEW.brought_back := 0;
    NEW.removed := 0;
    NEW.requested_at := clock_timestamp();
    NEW.ended_at := NULL;
    IF p.pinned = 'rollback' AND c.entry = (SELECT r.entry FROM homeostat.own_rollback r WHERE r.uid = p.uid AND r.state = 'done'
                                            AND NOT r.dry_run ORDER BY r.id DESC LIMIT 1) THEN
        NEW.state := 'done';
        NEW.ended_at := clock_timestamp();
        NEW.message := 'it is rolled back to there already';
        RETURN NEW;
    END IF;
    IF NOT NEW.dry_run THEN
        UPDATE homeostat.pipeline o SET suspend = true, pinned = 'rollback', suspend_until = NULL, suspended_by = current_user,
            suspended_at = clock_timestamp(),
            suspend_reason = format('rolled back to checkpoint "%s"', wanted) || CASE WHEN NEW.reason = '' THEN '' ELSE ': ' || NEW.reason END
        WHERE o.uid = p.uid;
    END IF;
    PERFORM pg_notify('homeostat', p.uid::text);
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION homeostat.check_rollback() FROM PUBLIC;
CREATE TRIGGER check_rollback BEFORE INSERT ON homeostat.rollback FOR EACH ROW EXECUTE FUNCTION homeostat.check_rollback();

-- Resumed half way, what is undone and what is not would be healed over as one. Reads what the role itself may not.
CREATE FUNCTION homeostat.keep_pin() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
REVOKE ALL ON FUNCTION homeostat.keep_pin() FROM PUBLIC;
CREATE TRIGGER z_keep_pin BEFORE INSERT OR UPDATE ON homeostat.pipeline
    FOR EACH ROW WHEN (NOT NEW.suspend AND NEW.pinned IS NOT NULL) EXECUTE FUNCTION homeostat.keep_pin();

DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.make_roles()'::regprocedure);
    before text := 'GRANT DELETE ON homeostat.own_dead_letter TO {0};  -- to have them tried again';
    canary text := 'REVOKE ALL ON homeostat.canary';
BEGIN
    IF position(before IN def) = 0 OR position(canary IN def) = 0 THEN
        RAISE EXCEPTION 'homeostat.make_roles() is not as migration 0022 made it';
    END IF;
    def := replace(def, before, before || $grants$
            GRANT INSERT (pipeline, name), DELETE ON homeostat.own_checkpoint TO {0};
            GRANT INSERT (pipeline, checkpoint, run, dry_run, reason) ON homeostat.own_rollback TO {0};$grants$);
    EXECUTE replace(def, canary, 'REVOKE ALL ON homeostat.rollback_entry FROM homeostat_declarer; ' || canary);
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
