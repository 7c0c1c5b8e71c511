-- Locks and time as on the way up. The role homeostat_admin stays, as the others do.
DO $$
DECLARE
    v record;
BEGIN
    FOR v IN SELECT c.oid::regclass AS name FROM pg_class c WHERE c.relnamespace = 'homeostat'::regnamespace AND c.relkind = 'v'
             AND c.relname LIKE 'own\_%' LOOP
        EXECUTE format('DROP VIEW %s', v.name);
    END LOOP;
END $$;
CREATE OR REPLACE FUNCTION homeostat.make_roles() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY '{homeostat_owner,homeostat_controller,homeostat_declarer}'::text[] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN EXECUTE format('CREATE ROLE %I NOLOGIN', r); END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- for another database of the cluster, at the same time
        END;
    END LOOP;

    GRANT ALL ON SCHEMA homeostat, homeostat_data TO homeostat_owner;
    GRANT ALL ON ALL TABLES IN SCHEMA homeostat TO homeostat_owner;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA homeostat TO homeostat_owner;

    GRANT USAGE ON SCHEMA homeostat TO homeostat_controller;
    GRANT USAGE, CREATE ON SCHEMA homeostat_data TO homeostat_controller;
    GRANT ALL ON ALL TABLES IN SCHEMA homeostat TO homeostat_controller;
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA homeostat TO homeostat_controller;
    GRANT EXECUTE ON FUNCTION homeostat.keep_partitions(date, int), homeostat.make_vector_functions() TO homeostat_controller;
    -- The declared half belongs to people. Of pipelines it writes also those that a target view owns, which keep_owned_pipeline
    -- sees to.
    REVOKE ALL ON homeostat.pipeline, homeostat.provider, homeostat.target_view, homeostat.pipelines,
        homeostat.target_views, homeostat.source_mark, homeostat.waiting FROM homeostat_controller;
    GRANT SELECT ON homeostat.pipeline, homeostat.provider, homeostat.target_view, homeostat.pipelines,
        homeostat.target_views, homeostat.source_mark, homeostat.waiting TO homeostat_controller;
    GRANT INSERT, UPDATE, DELETE ON homeostat.pipeline TO homeostat_controller;
    GRANT UPDATE (approval, finalizers, suspend, suspend_reason), DELETE ON homeostat.target_view TO homeostat_controller;

    GRANT USAGE ON SCHEMA homeostat, homeostat_data TO homeostat_declarer;  -- of the tables there, a column each, to count what waits
    GRANT SELECT ON ALL TABLES IN SCHEMA homeostat TO homeostat_declarer;
    GRANT INSERT, UPDATE, DELETE ON homeostat.pipeline, homeostat.provider, homeostat.target_view TO homeostat_declarer;
    GRANT DELETE ON homeostat.dead_letter TO homeostat_declarer;  -- to have them tried again
    GRANT USAGE ON SEQUENCE homeostat.pipeline_uid_seq TO homeostat_declarer;  -- an identity column needs none, a default does
END $$;

CREATE OR REPLACE VIEW homeostat.waiting AS
SELECT w.uid, w.run_documents, w.feed_documents, w.changes, w.failing, w.dead_letters, w.closed, w.unnamed,
       NOT w.suspended AND coalesce(w.oldest < clock_timestamp() - CASE WHEN w.failing > 0 OR w.provider_failing
           THEN interval '2 seconds' ELSE interval '5 seconds' END, false) AS behind,
       w.oldest,
       CASE WHEN w.last_error <> '' THEN w.last_error WHEN w.provider_failing THEN w.provider_message ELSE '' END AS last_error
FROM (
    SELECT p.uid,
           coalesce(b.run_documents, 0)::bigint AS run_documents,
           coalesce(b.feed_documents, 0)::bigint AS feed_documents,
           coalesce(c.changes, 0) AS changes,
           coalesce(b.failing, 0)::bigint AS failing,
           homeostat.dead_letters_of(p.uid) AS dead_letters,
           p.suspend AS suspended,
           p.suspend OR p.management <> 'Manage' OR p.drift_policy <> 'Enforce' AS closed,
           g.since IS NOT NULL AS unnamed,
           least(b.oldest, c.oldest, g.since) AS oldest,
           coalesce(b.last_error, '') AS last_error,
           b.heals AND NOT coalesce(v.healthy, true) AS provider_failing,
           coalesce(v.message, '') AS provider_message
    FROM homeostat.pipeline p
    LEFT JOIN homeostat.feed f USING (uid)
    LEFT JOIN homeostat.run u USING (uid)
    LEFT JOIN LATERAL (
        SELECT sum(b.documents) FILTER (WHERE b.run_id IS DISTINCT FROM f.run_id) AS run_documents,
               sum(b.documents) FILTER (WHERE b.run_id = f.run_id) AS feed_documents,
               sum(b.documents) FILTER (WHERE b.attempts > 0 OR b.last_error <> '') AS failing,
               min(b.created_at) AS oldest,
               (array_agg(b.last_error ORDER BY b.id DESC) FILTER (WHERE b.last_error <> ''))[1] AS last_error,
               bool_or(b.kind = 'heal') AS heals
        FROM homeostat.batch b WHERE b.uid = p.uid AND b.kind <> 'stray') b ON true
    LEFT JOIN LATERAL homeostat.waiting_changes(p.uid) c ON true
    -- Where all triggers are in place, a gap is closed by the next run: to its end, as what went is removed only when a second sweep
    -- has seen it gone. (What a new declaration asks for is not there yet, and is told by its generation.)
    LEFT JOIN LATERAL (
        SELECT least(f.incomplete_since, CASE WHEN NOT u.feed_trusted AND u.trigger <> 'spec'
                                              THEN least(u.started_at, f.last_gap_since) END) AS since
        FROM homeostat.condition n WHERE n.uid = p.uid AND n.type = 'ChangeFeed' AND n.reason IN ('Active', 'Overrun')
                                     AND f.uid IS NOT NULL) g ON true
    LEFT JOIN LATERAL (
        SELECT v.healthy, v.message FROM homeostat.provider o JOIN homeostat.provider_status v ON v.uid = o.uid
        WHERE o.name = p.provider AND v.generation = o.generation AND v.model = coalesce(p.model, o.model, '')) v ON true
) w;

CREATE OR REPLACE VIEW homeostat.pipelines AS
SELECT p.name,
       CASE WHEN w.behind AND r.status = 'True' THEN 'False' ELSE coalesce(r.status, 'Unknown') END AS ready,
       CASE WHEN w.behind AND r.status = 'True' THEN 'Behind' ELSE coalesce(r.reason, 'NotObserved') END AS reason,
       s.source_documents,
       coalesce(s.documents, 0) AS documents,
       coalesce(s.chunks, 0) AS chunks,
       greatest(coalesce(s.missing + s.stale + s.moved + s.partial + s.invalid + s.orphaned + s.excess, 0),
                w.run_documents + CASE WHEN w.closed THEN w.changes ELSE 0 END)
           + w.feed_documents + CASE WHEN w.closed THEN 0 ELSE w.changes END AS drift,
       w.dead_letters,
       p.source,
       p.target,
       p.provider,
       p.suspend AS suspended,
       CASE WHEN p.deletion_requested_at IS NOT NULL THEN 'Terminating'
            WHEN st.status = 'True' THEN 'Failed'
            WHEN r.status = 'True' AND NOT w.behind AND s.observed_generation = p.generation THEN 'Current'
            WHEN r.status IS NULL THEN 'Unknown'
            ELSE 'InProgress' END AS kstatus,
       CASE WHEN w.behind AND r.status = 'True'
            THEN format('%s, the oldest for %s s%s', CASE w.run_documents + w.feed_documents + w.changes
                        WHEN 0 THEN 'changes that were not named wait for a sweep'
                        WHEN 1 THEN '1 document waits'
                        ELSE format('%s documents wait', w.run_documents + w.feed_documents + w.changes) END,
                        greatest(0, extract(epoch FROM clock_timestamp() - w.oldest))::bigint,
                        CASE WHEN w.last_error <> '' THEN ': ' || w.last_error ELSE '' END)
            ELSE coalesce(r.message, '') END AS message,
       s.last_converged_at,
       p.uid,
       w.run_documents + w.feed_documents + w.changes AS waiting,
       CASE WHEN w.oldest IS NOT NULL THEN greatest(clock_timestamp() - w.oldest, interval '0') END AS lag,
       CASE WHEN p.suspend THEN ''
            WHEN u.phase = 'sweeping' THEN CASE WHEN u.sweeps = 1 THEN 'observing' ELSE 'verifying' END
            WHEN u.phase = 'indexing' THEN 'indexing'
            WHEN u.uid IS NOT NULL OR w.feed_documents + w.changes > 0 THEN 'healing'
            ELSE '' END AS phase
FROM homeostat.pipeline p
JOIN homeostat.waiting w USING (uid)
LEFT JOIN homeostat.pipeline_status s USING (uid)
LEFT JOIN homeostat.run u USING (uid)
LEFT JOIN homeostat.condition r ON r.uid = p.uid AND r.type = 'Ready'
LEFT JOIN homeostat.condition st ON st.uid = p.uid AND st.type = 'Stalled';

CREATE OR REPLACE VIEW homeostat.target_views AS
SELECT v.name,
       coalesce(r.status, 'Unknown') AS ready,
       coalesce(r.reason, 'NotObserved') AS reason,
       v.relation,
       s.rows,
       coalesce(s.pipelines, 0) AS pipelines,
       coalesce(s.refused, 0) AS refused,
       coalesce(s.names_taken, 0) AS names_taken,
       coalesce(s.held, 0) AS held,
       coalesce(s.plan, '') AS plan,
       v.on_removal,
       v.suspend AS suspended,
       CASE WHEN v.deletion_requested_at IS NOT NULL THEN 'Terminating'
            WHEN r.status IS NULL THEN 'Unknown'
            WHEN r.status = 'True' AND s.observed_generation = v.generation THEN 'Current'
            ELSE 'InProgress' END AS kstatus,
       coalesce(r.message, '') AS message,
       v.uid
FROM homeostat.target_view v
LEFT JOIN homeostat.target_view_status s USING (uid)
LEFT JOIN homeostat.target_view_condition r ON r.uid = v.uid AND r.type = 'Ready';

DROP TRIGGER keep_pipeline_declarer ON homeostat.pipeline;
DROP FUNCTION homeostat.check_pipeline_declarer();
DROP TRIGGER note_left_view_update ON homeostat.pipeline;
DROP TRIGGER note_left_view ON homeostat.pipeline;
DROP FUNCTION homeostat.note_left_view();
DROP TABLE homeostat.left_view;
DROP FUNCTION homeostat.refusal(homeostat.target_view);
DROP FUNCTION homeostat.refusal(homeostat.pipeline);
DROP FUNCTION homeostat.missing_right(text, regclass, text[], text);
DROP TRIGGER pass_on_pipelines ON homeostat.target_view;
DROP FUNCTION homeostat.pass_on_pipelines();
DROP TRIGGER a_declarer_target_view ON homeostat.target_view;
DROP TRIGGER a_declarer_provider ON homeostat.provider;
DROP TRIGGER a_declarer_pipeline ON homeostat.pipeline;
DROP FUNCTION homeostat.keep_declarer();
DROP FUNCTION homeostat.sees_all();
DROP FUNCTION homeostat.is_member(text);
DROP FUNCTION homeostat.acts_for(text);

DO $$
DECLARE
    def text;
BEGIN
    def := pg_get_functiondef('homeostat.check_target_view_spec(homeostat.target_view)'::regprocedure);
    EXECUTE regexp_replace(def, '\mEND \$(\w*)\$\s*$', E'    v.declared_by := current_user;\nEND $\\1$');
    def := pg_get_functiondef('homeostat.check_target_view()'::regprocedure);
    EXECUTE replace(def, 'IF to_jsonb(NEW) - control IS DISTINCT FROM', 'NEW.declared_by := OLD.declared_by;' ||
                    E'\n        IF to_jsonb(NEW) - control IS DISTINCT FROM');
END $$;
UPDATE homeostat.target_view SET declared_by = current_user WHERE declared_by IS NULL;
ALTER TABLE homeostat.target_view ALTER COLUMN declared_by SET DEFAULT current_user, ALTER COLUMN declared_by SET NOT NULL;
DO $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION homeostat.control_columns() RETURNS text[] LANGUAGE sql IMMUTABLE AS %L',
                   format('SELECT %L::text[]', array_remove(homeostat.control_columns(), 'declared_by')));
END $$;
COMMENT ON COLUMN homeostat.target_view.declared_by IS 'Whose rights the sources of its pipelines are checked against';
ALTER TABLE homeostat.provider DROP COLUMN declared_by;
ALTER TABLE homeostat.pipeline DROP COLUMN declared_by;

DROP FUNCTION homeostat.check_key(text, regclass, text[], text);
CREATE FUNCTION homeostat.check_key(what text, relation regclass, key text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    columns text := homeostat.column_list_text(key);
    estimate json;
    example text;
    n text;
BEGIN
    IF cardinality(key) > 8 THEN
        RAISE EXCEPTION '%: the key has % columns; at most 8 are supported', what, cardinality(key)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH n IN ARRAY key LOOP
        BEGIN
            EXECUTE format('SELECT 1 FROM %s ORDER BY %I LIMIT 0', relation, n);
        EXCEPTION WHEN undefined_function THEN
            RAISE EXCEPTION '%: key column "%" of % has a type without an order (%), so it cannot be a key', what, n,
                homeostat.relation_text(relation),
                (SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = relation AND attname = n)
                USING ERRCODE = 'undefined_function';
        END;
    END LOOP;
    IF EXISTS (SELECT FROM pg_index i WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
               AND i.indexprs IS NULL AND NOT EXISTS (
                   SELECT FROM unnest(i.indkey) WITH ORDINALITY AS u(attnum, pos)
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
                   WHERE u.pos <= i.indnkeyatts AND NOT a.attname = ANY (key))) THEN
        RETURN;
    END IF;
    EXECUTE format('EXPLAIN (FORMAT JSON) SELECT %s FROM %s', columns, relation) INTO estimate;
    IF (estimate -> 0 -> 'Plan' ->> 'Plan Rows')::numeric > 200000 THEN RETURN; END IF;
    EXECUTE format('SELECT format(''(%%s)'', concat_ws('', '', %s)) FROM %s WHERE ROW(%s) IS NOT NULL
                    GROUP BY %s HAVING count(*) > 1 LIMIT 1', columns, relation, columns, columns) INTO example;
    IF example IS NOT NULL THEN
        RAISE EXCEPTION '%: the key is ambiguous: more than one row of % has (%) = %', what, homeostat.relation_text(relation),
            columns, example USING ERRCODE = 'unique_violation';
    END IF;
END $$;

DO $$
BEGIN
    EXECUTE replace(pg_get_functiondef('homeostat.check_pipeline()'::regprocedure), 'check_key(what, relation, key, NEW.declared_by);',
                    'check_key(what, relation, key);');
END $$;

-- Functions are everybody's again, as they were, but for those that run as the owner; those that had no path keep one.
DO $$
DECLARE
    f record;
BEGIN
    FOR f IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE p.pronamespace = 'homeostat'::regnamespace
             AND NOT p.prosecdef AND p.proname <> 'make_roles' LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', f.name);
    END LOOP;
END $$;

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
