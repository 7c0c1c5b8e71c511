-- Freshness as a promise: whoever has committed something to a source can wait until it is served (homeostat.wait_until_fresh). Why a true
-- answer is true stands in docs/internals/freshness.md; what is kept for it here:
--
--   homeostat.swept    the last run of a pipeline, where it has ended and left nothing to be healed but refused documents;
--   homeostat.feed     how often a gap has come up (gaps, served_gaps), so that one that came and went is noticed; since which transaction
--                      all is named (trusted_from), and what the triggers were like then (trigger_mark);
--   homeostat.run      the transactions that had all ended when it began (sees).
--
-- Locks: homeostat.feed and homeostat.run, for columns that rewrite nothing. Time: milliseconds. Until the first run of a pipeline has ended
-- after this, nobody is told that it is fresh.

ALTER TABLE homeostat.run ADD COLUMN sees xid8;
ALTER TABLE homeostat.run ALTER COLUMN sees SET DEFAULT pg_snapshot_xmin(pg_current_snapshot());
COMMENT ON COLUMN homeostat.run.sees IS 'Transactions with smaller numbers had ended when it began';

CREATE TABLE homeostat.swept (
    uid bigint PRIMARY KEY REFERENCES homeostat.pipeline ON DELETE CASCADE,
    run_id bigint NOT NULL,
    revision int NOT NULL,
    generation bigint NOT NULL,
    sees xid8,
    cluster bigint NOT NULL DEFAULT (pg_control_system()).system_identifier,
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    began_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
COMMENT ON TABLE homeostat.swept IS 'Of each pipeline, the last run that ended, where it left nothing to be healed but refused documents';
COMMENT ON COLUMN homeostat.swept.cluster IS 'Whose transaction numbers they are';

-- Of the triggers of a pipeline: which there are, where, switched on or off, and what they call; and which tables inherit.
CREATE FUNCTION homeostat.trigger_mark(pipeline bigint) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    -- By the catalog and not by to_regclass(), which asks for a right to the schema.
    WITH RECURSIVE named AS (
        SELECT parse_ident(p.source) AS name FROM homeostat.pipeline p WHERE p.uid = pipeline
        UNION SELECT parse_ident(b.value ->> 'table') FROM homeostat.pipeline p, jsonb_array_elements(p.capture_from) b
        WHERE p.uid = pipeline
    ), base AS MATERIALIZED (
        SELECT c.oid FROM named w JOIN pg_namespace n ON n.nspname = w.name[1]
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name[2]
    ), member AS (
        SELECT b.oid FROM base b
        UNION SELECT i.inhrelid FROM member m JOIN pg_inherits i ON i.inhparent = m.oid
    )
    SELECT md5(coalesce(string_agg(concat_ws(' ', m.oid, (
        SELECT string_agg(concat_ws(':', g.oid, g.xmin, g.tgenabled, f.oid, f.xmin), ',' ORDER BY g.oid)
        FROM pg_trigger g JOIN pg_proc f ON f.oid = g.tgfoid
        WHERE g.tgrelid = m.oid AND g.tgname >= format('homeostat_p%s_', pipeline)::name
            AND g.tgname < format('homeostat_p%s`', pipeline)::name)), ';' ORDER BY m.oid), ''))
    FROM member m
$$;

ALTER TABLE homeostat.feed
    ADD COLUMN gaps bigint NOT NULL DEFAULT 0,
    ADD COLUMN served_gaps bigint NOT NULL DEFAULT 0,
    ADD COLUMN trusted_from xid8,
    ADD COLUMN trigger_mark text;
COMMENT ON COLUMN homeostat.feed.gaps IS 'How often it was not complete any more';
COMMENT ON COLUMN homeostat.feed.served_gaps IS 'How often something came up that has not reached what is served';
COMMENT ON COLUMN homeostat.feed.trusted_from IS 'What transactions from this number on have changed was named';
COMMENT ON COLUMN homeostat.feed.trigger_mark IS 'What its triggers were like when it became complete';

CREATE FUNCTION homeostat.count_feed_gaps() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.gaps := 0;
        NEW.served_gaps := 0;
        IF NEW.trusted_since IS NOT NULL THEN
            NEW.trusted_from := pg_snapshot_xmax(pg_current_snapshot());
            NEW.trigger_mark := homeostat.trigger_mark(NEW.uid);
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.trusted_since IS NOT NULL AND NEW.trusted_since IS NULL OR OLD.run_id <> NEW.run_id THEN
        NEW.gaps := OLD.gaps + 1;
    END IF;
    IF OLD.served_gap_since IS NULL AND NEW.served_gap_since IS NOT NULL THEN
        NEW.served_gaps := OLD.served_gaps + 1;
    END IF;
    IF OLD.trusted_since IS NULL AND NEW.trusted_since IS NOT NULL THEN
        NEW.trusted_from := pg_snapshot_xmax(pg_current_snapshot());
        NEW.trigger_mark := homeostat.trigger_mark(NEW.uid);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER count_feed_gaps BEFORE INSERT OR UPDATE OF trusted_since, served_gap_since, run_id ON homeostat.feed
    FOR EACH ROW EXECUTE FUNCTION homeostat.count_feed_gaps();

-- What stands in the way of saying that whatever is visible now and not served is at least named: NULL, or a reason in one word. `basis` is
-- what it rests on: where that is the same later, nothing has been given up in between. `final`: waiting does not help. All transactions
-- before `ended` have ended; runs after `run_before` begin after that.
CREATE FUNCTION homeostat.freshness_basis(pipeline bigint, wrote xid8, ended xid8, run_before bigint,
    OUT reason text, OUT final boolean, OUT basis text, OUT served int, OUT has_feed boolean, OUT refused bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    f record;
BEGIN
    final := false;
    refused := 0;
    SELECT p.generation, p.suspend, p.deletion_requested_at IS NOT NULL AS going, p.management <> 'Manage' OR p.drift_policy <> 'Enforce' AS idle,
        p.capture,
        (SELECT r.revision FROM homeostat.revision r WHERE r.uid = p.uid AND r.state = 'served') AS served,
        (SELECT r.revision FROM homeostat.revision r WHERE r.uid = p.uid AND r.state = 'building') AS building,
        o.uid IS NOT NULL AS kept, o.run_id, o.gaps, o.served_gaps, o.trusted_since IS NOT NULL AS trusted,
        o.served_gap_since IS NULL AS whole, o.trusted_from, o.trigger_mark,
        s.run_id AS swept, s.revision AS swept_revision, s.generation AS swept_generation,
        CASE WHEN s.cluster = (SELECT system_identifier FROM pg_control_system()) THEN s.sees END AS sees,
        u.uid IS NOT NULL AS running, u.feed_trusted, u.generation AS run_generation,
        p.reconcile_requested IS DISTINCT FROM t.last_handled_reconcile AS asked
        INTO f
        FROM homeostat.pipeline p LEFT JOIN homeostat.feed o USING (uid) LEFT JOIN homeostat.swept s USING (uid)
        LEFT JOIN homeostat.run u USING (uid) LEFT JOIN homeostat.pipeline_status t USING (uid) WHERE p.uid = pipeline;
    IF NOT FOUND OR f.going THEN
        reason := 'Gone';
        final := true;
        RETURN;
    END IF;
    served := f.served;
    has_feed := f.kept;
    basis := concat_ws(' ', f.served, f.building, f.generation, f.kept, f.run_id,
        CASE WHEN f.building IS NULL THEN f.gaps END, CASE WHEN f.building IS NOT NULL THEN f.served_gaps END);
    final := f.suspend OR f.idle;
    reason := CASE
        WHEN f.idle THEN 'NotHealed'
        WHEN f.served IS NULL THEN CASE WHEN f.suspend THEN 'Suspended' ELSE 'NotServed' END
        WHEN f.building IS NULL AND (f.swept IS NULL OR f.swept_revision <> f.served OR f.swept_generation <> f.generation)
            THEN CASE WHEN f.suspend THEN 'Suspended' ELSE 'Sweeping' END
        WHEN f.building IS NULL AND f.kept AND NOT f.trusted THEN 'Incomplete'
        WHEN f.building IS NOT NULL AND f.kept AND NOT f.whole THEN 'ServedOutdated'
        WHEN f.kept AND f.trigger_mark IS DISTINCT FROM homeostat.trigger_mark(pipeline) THEN 'TriggersChanged'
        -- Whoever has refused documents tried again removes their letters, and a run is to find them.
        WHEN f.building IS NULL AND f.kept AND f.asked THEN 'Sweeping'
        -- A run that may have begun because something was not known to be named, or that gave up what was planned.
        WHEN f.building IS NULL AND f.kept AND f.running AND NOT (f.feed_trusted AND f.run_generation = f.swept_generation) THEN 'Sweeping'
        -- Without a feed only a sweep tells: one that began when that transaction had ended.
        WHEN NOT f.kept AND (f.swept_revision IS DISTINCT FROM f.served OR NOT (coalesce(f.sees >= ended, false) OR f.swept > run_before))
            THEN CASE WHEN f.building IS NULL THEN 'NotSwept' ELSE 'ServedOutdated' END
    END;
    -- A document that is refused keeps its letter, which is written again whenever it is refused: one that is as it was before that
    -- transaction, of which all was named, is of no document of its.
    SELECT count(*) INTO refused FROM homeostat.dead_letter l
        WHERE l.uid = pipeline AND l.revision = f.served
            AND (wrote IS NULL OR NOT f.kept OR coalesce(wrote < f.trusted_from, true)
                OR ((l.xmin::text::bigint - wrote::text::bigint % 4294967296 + 4294967296) % 4294967296) BETWEEN 1 AND 2147483647);
END $$;

-- Of the table in which the feed of a pipeline names: the latest time, in `latest`; or, with `until`, whether anything is there of no later
-- time, in `early`. `why`: why it cannot be said, or empty.
CREATE FUNCTION homeostat.named_until(pipeline bigint, until timestamptz, OUT latest timestamptz, OUT early boolean, OUT why text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    why := '';
    early := false;
    IF until IS NULL THEN
        EXECUTE format('SELECT max(c.at) FROM homeostat_data.p%s_change c', pipeline) INTO latest;
    ELSE
        EXECUTE format('SELECT EXISTS (SELECT FROM homeostat_data.p%s_change c WHERE c.at <= $1)', pipeline) INTO early USING until;
    END IF;
EXCEPTION
    WHEN undefined_table OR undefined_column OR invalid_schema_name THEN why := 'Incomplete';
    WHEN insufficient_privilege THEN why := 'NotCounted';
    WHEN lock_not_available THEN why := 'Locked';
END $$;

-- Whether its number was passed (2 or more), and so changes were not named; NULL: there is none, or it may not be read.
CREATE FUNCTION homeostat.feed_is_full(pipeline bigint) RETURNS boolean LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN has_sequence_privilege(c.oid, 'SELECT') THEN pg_sequence_last_value(c.oid) >= 2 END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'homeostat_data' AND c.relname = format('p%s_full', pipeline) AND c.relkind = 'S'
$$;

-- NULL where that transaction has ended and may have committed.
CREATE FUNCTION homeostat.why_not_ended(wrote xid8) RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE pg_xact_status(wrote) WHEN 'in progress' THEN 'InProgress' WHEN 'aborted' THEN 'Aborted' END;
EXCEPTION WHEN invalid_parameter_value THEN
    IF pg_is_in_recovery() THEN
        RETURN 'NotReplayed';
    END IF;
    RAISE EXCEPTION 'transaction % has not been begun by this server: give what pg_current_xact_id() says in the transaction that writes', wrote
        USING ERRCODE = 'invalid_parameter_value';
END $$;

-- Waits; the others call it. Of `wrote`, or of all that was committed up to `place`, whichever is given.
CREATE FUNCTION homeostat.await_freshness(pipeline text, wrote xid8, place pg_lsn, timeout interval, OUT fresh boolean, OUT reason text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    began timestamptz := clock_timestamp();
    slept interval := '0';
    pause float8 := 0.002;
    asked bigint;
    run_before bigint;
    step int := 0;  -- 0 has it ended; 1 what is it based on; 2 what is named; 3 what is planned; 4 is it based on the same
    point xid8;
    ended xid8;
    filled boolean;
    final boolean := false;
    at_first record;
    basis text;
    now_is record;
    named record;
    until timestamptz;
BEGIN
    fresh := false;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a transaction that is % would never see what is served later; ask outside of it, or at READ COMMITTED',
            upper(current_setting('transaction_isolation')) USING ERRCODE = 'invalid_transaction_state';
    END IF;
    IF wrote IS NOT NULL AND wrote = pg_current_xact_id_if_assigned() THEN
        RAISE EXCEPTION 'transaction % is this one, and serves nothing before it has committed; commit, then ask', wrote
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    SELECT p.uid INTO asked FROM homeostat.pipeline p WHERE p.name = pipeline;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'pipeline "%" is not declared', pipeline USING ERRCODE = 'undefined_object';
    END IF;
    IF wrote IS NULL AND place IS NULL OR timeout IS NULL THEN
        RAISE EXCEPTION 'whose changes are asked for, and for how long, is not said: NULL was given' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    LOOP
        reason := NULL;
        IF step = 0 AND place IS NULL THEN
            reason := homeostat.why_not_ended(wrote);
        ELSIF step = 0 AND pg_is_in_recovery() THEN
            IF pg_last_wal_replay_lsn() < place THEN reason := 'NotReplayed'; END IF;
        ELSIF step = 0 AND point IS NULL THEN
            IF pg_current_wal_insert_lsn() < place THEN
                reason := 'NotWritten';
            ELSE
                -- A commit is in the log a moment before others see it. Whoever is that far has a smaller number than this.
                point := pg_current_xact_id();
            END IF;
        END IF;
        IF step = 0 AND reason IS NULL AND point IS NOT NULL AND pg_snapshot_xmin(pg_current_snapshot()) < point THEN
            reason := 'InProgress';
        END IF;
        IF step = 0 AND reason IS NULL THEN
            -- Runs with larger numbers begin after this.
            SELECT coalesce(pg_sequence_last_value('homeostat.run_id'), 0) INTO run_before;
            ended := coalesce(point, (wrote::text::bigint + 1)::text::xid8, pg_snapshot_xmax(pg_current_snapshot()));
            step := 1;
        END IF;
        IF step = 1 THEN
            -- Before the snapshot: a feed that was full and is open again by now is seen not to be complete.
            filled := homeostat.feed_is_full(asked);
            SELECT * INTO at_first FROM homeostat.freshness_basis(asked, wrote, ended, run_before);
            final := at_first.final;
            basis := at_first.basis;
            reason := coalesce(at_first.reason, CASE WHEN at_first.has_feed AND coalesce(filled, true) THEN 'Incomplete' END);
            until := NULL;
            IF reason IS NULL AND at_first.has_feed THEN
                SELECT * INTO named FROM homeostat.named_until(asked, NULL);
                until := named.latest;
                reason := nullif(named.why, '');
            END IF;
            IF reason IS NULL THEN step := 2; END IF;
        END IF;
        IF step = 2 THEN
            IF until IS NOT NULL THEN
                SELECT * INTO named FROM homeostat.named_until(asked, until);
                reason := coalesce(nullif(named.why, ''), CASE WHEN named.early THEN 'Behind' END);
            END IF;
            IF reason IS NULL THEN
                SELECT max(b.created_at) INTO until FROM homeostat.batch b
                    WHERE b.uid = asked AND b.revision = at_first.served AND b.kind <> 'stray';
                step := 3;
            END IF;
        END IF;
        IF step = 3 THEN
            IF until IS NOT NULL THEN
                PERFORM FROM homeostat.batch b WHERE b.uid = asked AND b.revision = at_first.served AND b.kind <> 'stray' AND b.created_at <= until;
                IF FOUND THEN reason := 'Behind'; END IF;
            END IF;
            IF reason IS NULL THEN step := 4; END IF;
        END IF;
        SELECT * INTO now_is FROM homeostat.freshness_basis(asked, wrote, ended, run_before) WHERE step > 1;
        IF step > 1 THEN final := now_is.final; END IF;
        IF step > 1 AND (now_is.reason IS NOT NULL OR now_is.basis IS DISTINCT FROM basis) THEN
            reason := coalesce(now_is.reason, 'Changed');
            step := 1;
        ELSIF step = 4 THEN
            fresh := now_is.refused = 0;
            reason := CASE WHEN fresh THEN 'Served' ELSE 'Refused' END;
            RETURN;
        END IF;
        -- What is suspended may be fresh, and becomes it no more.
        IF reason = 'Aborted' THEN
            fresh := true;
            RETURN;
        END IF;
        IF final THEN
            IF reason NOT IN ('Gone', 'NotHealed') THEN reason := 'Suspended'; END IF;
            RETURN;
        END IF;
        -- A statement that goes on keeps a standby from replaying what removes rows that it may see, and so from what it waits for.
        IF slept >= timeout OR clock_timestamp() >= began + timeout
            OR (pg_is_in_recovery() AND current_setting('hot_standby_feedback') = 'off') THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(least(pause, greatest(extract(epoch FROM timeout - slept), 0.001)));
        slept := slept + make_interval(secs => pause);
        pause := least(pause * 1.4, 0.05);
    END LOOP;
END $$;

-- How old what is served may be, by what is known now: all that was committed longer ago than `age` is served. What that is known by is
-- `evidence`: the change feed, or the last sweep (then all that was committed before it began is served); NULL: nothing is known of it.
CREATE VIEW homeostat.staleness AS
SELECT p.uid, p.name AS pipeline, e.evidence,
       CASE e.evidence WHEN 'feed' THEN coalesce(greatest(clock_timestamp() - w.oldest, interval '0'), interval '0')
            WHEN 'sweep' THEN greatest(clock_timestamp() - s.began_at, interval '0') END AS age,
       p.max_staleness
FROM homeostat.pipeline p
JOIN homeostat.waiting w USING (uid)
LEFT JOIN homeostat.feed f USING (uid)
LEFT JOIN homeostat.swept s USING (uid)
LEFT JOIN homeostat.revision r ON r.uid = p.uid AND r.state = 'served'
LEFT JOIN homeostat.revision n ON n.uid = p.uid AND n.state = 'building'
CROSS JOIN LATERAL (SELECT CASE
    WHEN r.revision IS NULL THEN NULL
    WHEN w.changes IS NOT NULL AND n.revision IS NULL AND f.trusted_since IS NOT NULL AND s.revision = r.revision
        AND s.generation = p.generation THEN 'feed'
    WHEN w.changes IS NOT NULL AND n.revision IS NOT NULL AND f.uid IS NOT NULL AND f.served_gap_since IS NULL THEN 'feed'
    WHEN s.revision = r.revision THEN 'sweep' END) e(evidence);
COMMENT ON VIEW homeostat.staleness IS 'Of each pipeline, how old what is served may be, and what that is known by';

CREATE FUNCTION homeostat.freshness_message(reason text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE reason
        WHEN 'Served' THEN 'all that it committed is served'
        WHEN 'Aborted' THEN 'that transaction was rolled back: it has committed nothing'
        WHEN 'InProgress' THEN 'that transaction, or one that may be before that place of the log, has not ended'
        WHEN 'NotReplayed' THEN 'this standby has not replayed it yet'
        WHEN 'NotWritten' THEN 'the log has not come to that place yet'
        WHEN 'Behind' THEN 'what was changed by then is still being healed'
        WHEN 'Changed' THEN 'what is served, or how it is watched, has just changed; it is looked at again'
        WHEN 'Incomplete' THEN 'the change feed does not name every change now; a sweep has to end first (condition ChangeFeed)'
        WHEN 'TriggersChanged' THEN 'triggers or tables of the source were altered; a sweep has to end first (condition ChangeFeed)'
        WHEN 'Sweeping' THEN 'a sweep that has to find everything has not ended, or has left something (homeostat describe)'
        WHEN 'NotSwept' THEN 'there is no change feed, and no sweep that began after it has ended'
        WHEN 'NotServed' THEN 'nothing is served yet: the first revision is being filled'
        WHEN 'ServedOutdated' THEN 'the next revision is being filled, and something has not reached the one that is served meanwhile'
        WHEN 'Refused' THEN 'documents were refused since then, and what is served of them is older (homeostat dead-letters list)'
        WHEN 'Suspended' THEN 'the pipeline is suspended: what waits is not healed until it is resumed'
        WHEN 'NotHealed' THEN 'the pipeline observes and does not heal (driftPolicy, management)'
        WHEN 'Locked' THEN 'somebody holds a lock on the table of changes'
        WHEN 'NotCounted' THEN 'the owner of this function may not read the table of changes'
        WHEN 'Gone' THEN 'the pipeline is being deleted'
        ELSE '' END
$$;

CREATE FUNCTION homeostat.freshness(pipeline text, wrote xid8, timeout interval DEFAULT '0', OUT fresh boolean, OUT reason text, OUT message text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.fresh, a.reason, homeostat.freshness_message(a.reason) FROM homeostat.await_freshness(pipeline, wrote, NULL, timeout) a
$$;
COMMENT ON FUNCTION homeostat.freshness(text, xid8, interval) IS 'Whether all that a transaction committed to the source of a pipeline is served, and why not';
CREATE FUNCTION homeostat.freshness(pipeline text, place pg_lsn, timeout interval DEFAULT '0', OUT fresh boolean, OUT reason text, OUT message text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.fresh, a.reason, homeostat.freshness_message(a.reason) FROM homeostat.await_freshness(pipeline, NULL, place, timeout) a
$$;
COMMENT ON FUNCTION homeostat.freshness(text, pg_lsn, interval) IS 'Whether all that was committed up to a place of the log is served, and why not';
CREATE FUNCTION homeostat.wait_until_fresh(pipeline text, wrote xid8, timeout interval DEFAULT '30 seconds') RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.fresh FROM homeostat.await_freshness(pipeline, wrote, NULL, timeout) a
$$;
COMMENT ON FUNCTION homeostat.wait_until_fresh(text, xid8, interval) IS 'Waits until all that a transaction committed to the source of a pipeline is served; false: it is not known to be';
CREATE FUNCTION homeostat.wait_until_fresh(pipeline text, place pg_lsn, timeout interval DEFAULT '30 seconds') RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.fresh FROM homeostat.await_freshness(pipeline, NULL, place, timeout) a
$$;
COMMENT ON FUNCTION homeostat.wait_until_fresh(text, pg_lsn, interval) IS 'Waits until all that was committed up to a place of the log is served; false: it is not known to be';

UPDATE homeostat.feed f SET trigger_mark = homeostat.trigger_mark(f.uid), trusted_from = pg_snapshot_xmax(pg_current_snapshot())
WHERE f.trusted_since IS NOT NULL;
DO $$
BEGIN
    REVOKE ALL ON FUNCTION homeostat.freshness(text, xid8, interval), homeostat.freshness(text, pg_lsn, interval),
        homeostat.wait_until_fresh(text, xid8, interval), homeostat.wait_until_fresh(text, pg_lsn, interval),
        homeostat.await_freshness(text, xid8, pg_lsn, interval), homeostat.freshness_basis(bigint, xid8, xid8, bigint),
        homeostat.named_until(bigint, timestamptz), homeostat.feed_is_full(bigint), homeostat.why_not_ended(xid8),
        homeostat.freshness_message(text), homeostat.trigger_mark(bigint), homeostat.count_feed_gaps() FROM PUBLIC;
END $$;

-- As in migration 48, with the right to wait.
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
    -- They run as the owner, and tell of a pipeline by its name whether what was committed is served, and nothing else. Whoever searches may be
    -- given the right to them as well.
    FOREACH r IN ARRAY '{homeostat_owner,homeostat_controller,homeostat_declarer,homeostat_admin}'::text[] LOOP
        CONTINUE WHEN to_regrole(r) IS NULL;
        EXECUTE format('GRANT EXECUTE ON FUNCTION homeostat.freshness(text, xid8, interval), homeostat.freshness(text, pg_lsn, interval),'
            ' homeostat.wait_until_fresh(text, xid8, interval), homeostat.wait_until_fresh(text, pg_lsn, interval) TO %I', r);
    END LOOP;

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
