-- Nobody gains rights through homeostat: what is declared belongs to whoever declared it, what is observed is shown to that role, and
-- what a pipeline reads is what that role may read, now and not only when it was declared.
--
-- Every function has a fixed search path, or names everything in full, and is called by those who need it only.
--
-- Who declared what is there already is known where a target view declares it, and where nobody but the owner of the schema could; the
-- rest is Stalled until somebody says whose it is, with the statement that its condition names.
--
-- Locks: homeostat.pipeline and provider, for adding a column without rewriting them. Time: milliseconds.

-- ---------------------------------------------------------------------------------------------------------------------------
-- Functions

-- Those that are left out name everything in full: they look names up along the path of whoever declares, which is what they are for,
-- or are called for each vector.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc p
             WHERE p.pronamespace = 'homeostat'::regnamespace AND p.prokind = 'f'
               AND p.proname <> ALL ('{full_name,full_name_to_be,name_pipeline_in_full,name_target_view_in_full,vector_ok}'::name[])
               AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c WHERE c LIKE 'search\_path=%') LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', f);
    END LOOP;
END $$;

-- As in migration 2, but that nobody reads, or plans, a view for another who declared it: whoever made the view would have what is in it
-- run with the rights of a DBA who edits the row, or of the controller, who writes the rows of target views. A sweep finds what slips
-- through.
DROP FUNCTION homeostat.check_key(text, regclass, text[]);
CREATE FUNCTION homeostat.check_key(what text, relation regclass, key text[], declarer text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
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
            EXECUTE format('SELECT FROM (SELECT NULL::%s AS k) AS s ORDER BY k LIMIT 0', (
                SELECT format_type(homeostat.base_type(a.atttypid), NULL) FROM pg_attribute a
                WHERE a.attrelid = relation AND a.attname = n));
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
    IF declarer IS DISTINCT FROM current_user AND EXISTS (
        SELECT FROM pg_class c WHERE c.oid = relation AND (c.relkind IN ('v', 'f') OR c.relrowsecurity)) THEN
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
DECLARE
    def text := pg_get_functiondef('homeostat.check_pipeline()'::regprocedure);
BEGIN
    IF position('homeostat.check_key(what, relation, key);' IN def) = 0 THEN
        RAISE EXCEPTION 'homeostat.check_pipeline() is not as migration 0016 made it';
    END IF;
    EXECUTE replace(def, 'homeostat.check_key(what, relation, key);', 'homeostat.check_key(what, relation, key, NEW.declared_by);');
END $$;

-- ---------------------------------------------------------------------------------------------------------------------------
-- Whose it is

-- Whether the current role may act on what `declarer` declared: a member of it, of homeostat_admin, or of the owner of the schema. An
-- object that nobody is known to have declared is of the last two.
CREATE FUNCTION homeostat.acts_for(declarer text) RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(bool_or(pg_has_role(r.oid, 'MEMBER')), false) FROM pg_roles r
    WHERE r.rolname = declarer OR r.rolname = 'homeostat_admin'
       OR r.oid = (SELECT c.relowner FROM pg_class c WHERE c.oid = 'homeostat.pipeline'::regclass)
$$;

CREATE FUNCTION homeostat.is_member(role text) RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT pg_has_role(r.oid, 'MEMBER') FROM pg_roles r WHERE r.rolname = role), false)
$$;

-- Whether the current role sees what was observed of all. Who was granted a table by hand and may not declare is one of them.
CREATE FUNCTION homeostat.sees_all() RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT NOT homeostat.is_member('homeostat_declarer') OR homeostat.is_member('homeostat_controller')
        OR homeostat.is_member('homeostat_owner') OR homeostat.acts_for(NULL)
$$;

ALTER TABLE homeostat.pipeline ADD COLUMN declared_by text;
ALTER TABLE homeostat.provider ADD COLUMN declared_by text;
ALTER TABLE homeostat.target_view ALTER COLUMN declared_by DROP DEFAULT, ALTER COLUMN declared_by DROP NOT NULL;
COMMENT ON COLUMN homeostat.pipeline.declared_by IS
    'Whose it is, and with whose rights its source is read; the role that declared it, until it says another';
COMMENT ON COLUMN homeostat.provider.declared_by IS 'Whose it is; the role that declared it, until it says another';
COMMENT ON COLUMN homeostat.target_view.declared_by IS 'Whose it is and its pipelines are, and with whose rights their sources are read';

-- No part of the spec. The list is taken as it stands, because other migrations have added to it.
DO $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION homeostat.control_columns() RETURNS text[] LANGUAGE sql IMMUTABLE'
                   ' SET search_path = pg_catalog, pg_temp AS %L',
                   format('SELECT %L::text[]', homeostat.control_columns() || 'declared_by'::text));
END $$;

DO $$
DECLARE
    owner oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = 'homeostat.pipeline'::regclass);
BEGIN
    ALTER TABLE homeostat.pipeline DISABLE TRIGGER USER;
    ALTER TABLE homeostat.provider DISABLE TRIGGER USER;
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolcanlogin AND NOT r.rolsuper AND r.oid <> owner
                   AND (has_table_privilege(r.oid, 'homeostat.provider', 'INSERT')
                        OR EXISTS (SELECT FROM pg_roles d WHERE d.rolname = 'homeostat_declarer' AND pg_has_role(r.oid, d.oid, 'MEMBER'))
                        OR (has_table_privilege(r.oid, 'homeostat.pipeline', 'INSERT') AND NOT EXISTS (
                            SELECT FROM pg_roles d WHERE d.rolname = 'homeostat_controller' AND pg_has_role(r.oid, d.oid, 'MEMBER')))))
    THEN
        UPDATE homeostat.pipeline SET declared_by = pg_get_userbyid(owner);
        UPDATE homeostat.provider SET declared_by = pg_get_userbyid(owner);
    END IF;
    UPDATE homeostat.provider SET declared_by = pg_get_userbyid(owner) WHERE name IN ('local', 'hashing');
    UPDATE homeostat.pipeline p SET declared_by = v.declared_by FROM homeostat.target_view v WHERE v.uid = p.target_view;
    ALTER TABLE homeostat.pipeline ENABLE TRIGGER USER;
    ALTER TABLE homeostat.provider ENABLE TRIGGER USER;
END $$;

-- On pipelines, providers and target views alike. The controller does what is its own: it suspends, finishes deletions, and writes what
-- the rows of target views say (keep_owned_pipeline sees to that); it makes nothing anybody else's.
CREATE FUNCTION homeostat.keep_declarer() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('%s "%s"', replace(TG_TABLE_NAME, '_', ' '), CASE TG_OP WHEN 'INSERT' THEN NEW.name ELSE OLD.name END);
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF TG_TABLE_NAME = 'pipeline' THEN
            IF NEW.target_view IS NOT NULL THEN
                NEW.declared_by := (SELECT v.declared_by FROM homeostat.target_view v WHERE v.uid = NEW.target_view);
                RETURN NEW;
            END IF;
        END IF;
        NEW.declared_by := coalesce(NEW.declared_by, current_user);
    ELSE
        IF NOT homeostat.acts_for(OLD.declared_by)
           AND NOT (TG_TABLE_NAME <> 'provider' AND homeostat.is_member('homeostat_controller')) THEN
            RAISE EXCEPTION '%: it was declared by role "%", so role "%" may not change it; become a member of that role, or of homeostat_admin',
                what, coalesce(OLD.declared_by, 'unknown'), current_user USING ERRCODE = 'insufficient_privilege';
        END IF;
        IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
        IF NEW.declared_by IS NOT DISTINCT FROM OLD.declared_by THEN RETURN NEW; END IF;
        IF NOT homeostat.acts_for(OLD.declared_by) THEN
            RAISE EXCEPTION '%: it was declared by role "%", which role "%" is no member of', what, coalesce(OLD.declared_by, 'unknown'),
                current_user USING ERRCODE = 'insufficient_privilege';
        END IF;
    END IF;
    IF NEW.declared_by IS NULL OR to_regrole(quote_ident(NEW.declared_by)) IS NULL THEN
        RAISE EXCEPTION '%: declared_by names role "%", which does not exist', what, NEW.declared_by USING ERRCODE = 'undefined_object';
    END IF;
    IF NEW.declared_by <> current_user AND NOT homeostat.acts_for(NEW.declared_by) THEN
        RAISE EXCEPTION '%: role "%" may not declare for role "%", which it is no member of', what, current_user, NEW.declared_by
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
-- Triggers of one kind fire by name: these before all checks.
CREATE TRIGGER a_declarer_pipeline BEFORE INSERT OR UPDATE OR DELETE ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.keep_declarer();
CREATE TRIGGER a_declarer_provider BEFORE INSERT OR UPDATE OR DELETE ON homeostat.provider
    FOR EACH ROW EXECUTE FUNCTION homeostat.keep_declarer();
CREATE TRIGGER a_declarer_target_view BEFORE INSERT OR UPDATE OR DELETE ON homeostat.target_view
    FOR EACH ROW EXECUTE FUNCTION homeostat.keep_declarer();

-- Whoever edits a target view does not become the role that its rows are read for.
DO $$
DECLARE
    def text;
BEGIN
    def := pg_get_functiondef('homeostat.check_target_view_spec(homeostat.target_view)'::regprocedure);
    IF position('v.declared_by := current_user;' IN def) = 0 THEN
        RAISE EXCEPTION 'homeostat.check_target_view_spec() is not as migration 0006 made it';
    END IF;
    EXECUTE replace(def, 'v.declared_by := current_user;', '');
    def := pg_get_functiondef('homeostat.check_target_view()'::regprocedure);
    IF position('NEW.declared_by := OLD.declared_by;' IN def) = 0 THEN
        RAISE EXCEPTION 'homeostat.check_target_view() is not as migration 0006 made it';
    END IF;
    EXECUTE replace(def, 'NEW.declared_by := OLD.declared_by;', '');
END $$;

-- Its pipelines go with it.
CREATE FUNCTION homeostat.pass_on_pipelines() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE homeostat.pipeline SET declared_by = NEW.declared_by WHERE target_view = NEW.uid;
    RETURN NULL;
END $$;
CREATE TRIGGER pass_on_pipelines AFTER UPDATE OF declared_by ON homeostat.target_view
    FOR EACH ROW WHEN (NEW.declared_by IS DISTINCT FROM OLD.declared_by) EXECUTE FUNCTION homeostat.pass_on_pipelines();

-- ---------------------------------------------------------------------------------------------------------------------------
-- What that role may read

-- NULL where `declarer` may read these columns of the relation (all of them where none is named), also behind views that read with the
-- rights of whoever reads them; else the words that say what is missing.
CREATE FUNCTION homeostat.missing_right(declarer text, relation regclass, names text[], row_security text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    role record;
    reader record;
    hidden record;
BEGIN
    SELECT r.oid, r.rolname, r.rolsuper, r.rolbypassrls INTO role FROM pg_roles r WHERE r.rolname = declarer;
    IF NOT FOUND OR relation IS NULL OR role.rolsuper THEN RETURN NULL; END IF;
    SELECT n.nspname, n.oid INTO reader FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
    IF NOT has_schema_privilege(role.oid, reader.oid, 'USAGE') THEN
        RETURN format('role "%s", who declared it, may not use schema "%s" of its source; GRANT USAGE ON SCHEMA %I TO %I', declarer,
                      reader.nspname, reader.nspname, declarer);
    END IF;
    -- {relation, its columns that are read; NULL: all}: the source, and what is read with the rights of whoever reads it.
    FOR reader IN
        WITH RECURSIVE reach (oid) AS (
            SELECT relation::oid
            UNION
            SELECT d.refobjid FROM reach r
            JOIN pg_class c ON c.oid = r.oid AND c.relkind = 'v' AND EXISTS (
                SELECT FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'security_invoker' AND o.option_value::boolean)
            JOIN pg_rewrite w ON w.ev_class = c.oid
            JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
            WHERE d.refobjid <> c.oid
        )
        SELECT r.oid, CASE WHEN r.oid = relation THEN (SELECT array_agg(a.attnum) FROM pg_attribute a
                                                       WHERE a.attrelid = r.oid AND a.attname = ANY (names) AND NOT a.attisdropped)
                           ELSE (SELECT CASE WHEN bool_or(w.ev_action::text LIKE '%:varattno 0 %') THEN NULL  -- a whole row of something
                                             ELSE array_agg(DISTINCT d.refobjsubid::int2) FILTER (WHERE d.refobjsubid > 0) END
                                 FROM reach v JOIN pg_rewrite w ON w.ev_class = v.oid
                                 JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                                     AND d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid
                                 WHERE v.oid <> r.oid) END AS columns
        FROM reach r JOIN pg_class c ON c.oid = r.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY r.oid <> relation, r.oid
    LOOP
        IF NOT has_table_privilege(role.oid, reader.oid, 'SELECT') THEN
            IF reader.columns IS NULL THEN
                RETURN format('role "%s", who declared it, may not read %s; GRANT SELECT ON %s TO %I', declarer,
                              homeostat.relation_text(reader.oid), reader.oid::regclass, declarer);
            END IF;
            SELECT a.attname INTO hidden FROM pg_attribute a
            WHERE a.attrelid = reader.oid AND a.attnum = ANY (reader.columns)
              AND NOT has_column_privilege(role.oid, reader.oid, a.attnum, 'SELECT') ORDER BY a.attnum LIMIT 1;
            IF FOUND THEN
                RETURN format('role "%s", who declared it, may not read column "%s" of %s; GRANT SELECT ON %s TO %I', declarer,
                              hidden.attname, homeostat.relation_text(reader.oid), reader.oid::regclass, declarer);
            END IF;
        END IF;
        SELECT c.oid INTO hidden FROM pg_class c WHERE c.oid = reader.oid AND c.relkind IN ('r', 'p') AND c.relrowsecurity
            AND NOT role.rolbypassrls AND (c.relforcerowsecurity OR NOT pg_has_role(role.oid, c.relowner, 'USAGE'))
            -- Where it is accepted that a policy chooses the documents, one that chooses for us as well.
            AND NOT (row_security = 'Accept' AND row_security_active(c.oid));
        IF FOUND THEN
            RETURN format('a policy of row level security hides rows of %s from role "%s", who declared it, and from us it does not; '
                          'give that role BYPASSRLS, or have the table''s owner declare it', homeostat.relation_text(hidden.oid), declarer);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- The same of a pipeline as a whole: why it may not be read for whoever declared it, or NULL.
CREATE FUNCTION homeostat.refusal(p homeostat.pipeline) RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p.declared_by IS NULL THEN
        RETURN 'it was declared before homeostat noted by whom; an owner of the schema adopts it, and all like it, by'
            ' UPDATE homeostat.pipeline SET declared_by = current_user WHERE declared_by IS NULL';
    END IF;
    IF to_regrole(quote_ident(p.declared_by)) IS NULL THEN
        RETURN format('role "%s", who declared it, does not exist any more; UPDATE homeostat.%s SET declared_by = current_user'
                      ' WHERE declared_by = %L adopts what it declared', p.declared_by,
                      CASE WHEN p.target_view IS NULL THEN 'pipeline' ELSE 'target_view' END, p.declared_by);
    END IF;
    RETURN homeostat.missing_right(p.declared_by, to_regclass(p.source)::regclass,
        homeostat.column_list(p.key) || homeostat.column_list(p.content) || homeostat.column_list(p.metadata)
        || CASE WHEN p.template IS NULL THEN '{}'::text[] ELSE homeostat.template_columns(p.template) END
        || CASE WHEN p.version_column IS NULL THEN '{}'::text[] ELSE ARRAY[p.version_column] END, p.row_security);
END $$;

-- Of a target view, whose rows are read with the same rights.
CREATE FUNCTION homeostat.refusal(v homeostat.target_view) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF v.declared_by IS NULL OR to_regrole(quote_ident(v.declared_by)) IS NULL THEN
        RETURN format('role "%s", who declared it, does not exist any more; UPDATE homeostat.target_view SET declared_by = current_user'
                      ' WHERE name = %L adopts it', v.declared_by, v.name);
    END IF;
    RETURN homeostat.missing_right(v.declared_by, to_regclass(v.relation)::regclass, ARRAY(
        SELECT c.name FROM homeostat.target_view_columns(format('target view "%s"', v.name), to_regclass(v.relation)::regclass) AS c
        WHERE c.type IS NOT NULL), 'Refuse');
END $$;

-- Served views that pipelines left behind, and whose they were: grants on them are still there, and whoever reads them expects that
-- role's words.
CREATE TABLE homeostat.left_view (
    target text PRIMARY KEY,
    declared_by text,
    left_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE homeostat.left_view IS 'Served views that were left when their pipelines went: only whoever had one may serve it again';

CREATE FUNCTION homeostat.note_left_view() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF obj_description(to_regclass(OLD.target)::oid, 'pg_class') = 'homeostat: served view' THEN
        INSERT INTO homeostat.left_view (target, declared_by) VALUES (OLD.target, OLD.declared_by)
        ON CONFLICT (target) DO UPDATE SET declared_by = excluded.declared_by, left_at = excluded.left_at;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note_left_view AFTER DELETE ON homeostat.pipeline FOR EACH ROW EXECUTE FUNCTION homeostat.note_left_view();
CREATE TRIGGER note_left_view_update AFTER UPDATE OF target ON homeostat.pipeline
    FOR EACH ROW WHEN (NEW.target <> OLD.target) EXECUTE FUNCTION homeostat.note_left_view();

CREATE FUNCTION homeostat.check_pipeline_declarer() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('pipeline "%s"', NEW.name);
    wrong text;
    had record;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF to_jsonb(NEW) - array_remove(homeostat.control_columns(), 'declared_by')
           IS NOT DISTINCT FROM to_jsonb(OLD) - array_remove(homeostat.control_columns(), 'declared_by') THEN
            RETURN NEW;
        END IF;
    END IF;
    wrong := homeostat.refusal(NEW);
    IF wrong IS NOT NULL THEN RAISE EXCEPTION '%: %', what, wrong USING ERRCODE = 'insufficient_privilege'; END IF;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.target = OLD.target AND NEW.declared_by IS NOT DISTINCT FROM OLD.declared_by THEN RETURN NEW; END IF;
    END IF;
    IF NOT has_schema_privilege(NEW.declared_by, (parse_ident(NEW.target))[1], 'CREATE') THEN
        RAISE EXCEPTION '%: role "%" may not create in schema "%" of the target; GRANT CREATE ON SCHEMA % TO %', what, NEW.declared_by,
            (parse_ident(NEW.target))[1], quote_ident((parse_ident(NEW.target))[1]), quote_ident(NEW.declared_by)
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF to_regclass(NEW.target) IS NULL OR (TG_OP = 'UPDATE' AND NEW.target = (to_jsonb(OLD) ->> 'target')) THEN RETURN NEW; END IF;
    -- There, and made by homeostat (check_target): served until now, left, or about to be.
    SELECT l.declared_by INTO had FROM (
        SELECT o.declared_by, 1 AS turn, o.deletion_requested_at AS at FROM homeostat.pipeline o WHERE o.target = NEW.target AND o.uid <> NEW.uid
        UNION ALL SELECT v.declared_by, 2, v.left_at FROM homeostat.left_view v WHERE v.target = NEW.target) l
    ORDER BY l.turn, l.at DESC NULLS FIRST LIMIT 1;
    IF had.declared_by IS NOT NULL AND to_regrole(quote_ident(had.declared_by)) IS NOT NULL
       AND pg_has_role(NEW.declared_by, had.declared_by, 'MEMBER') THEN
        RETURN NEW;
    END IF;
    IF homeostat.acts_for(NULL) THEN RETURN NEW; END IF;  -- whoever runs this database gives names to whom he likes
    RAISE EXCEPTION '%: target % was served for role "%", and whoever was granted it reads what is served there; only that role may '
        'serve it again: drop the view, or choose another name', what, NEW.target, coalesce(had.declared_by, 'unknown')
        USING ERRCODE = 'insufficient_privilege';
END $$;
-- After keep_owned_pipeline, which has the better sentence for rows of target views.
CREATE TRIGGER keep_pipeline_declarer BEFORE INSERT OR UPDATE ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_pipeline_declarer();

-- ---------------------------------------------------------------------------------------------------------------------------
-- What was observed, shown to whom it concerns

-- Of each observed table what concerns whoever looks, in a view. (Not by policies: sessions of ours run with row_security off, so that no
-- policy on a source can pass for documents that are gone; there a policy of our own would be an error.) They run as their owner.
DO $$
DECLARE
    pipelines text := 'SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by)';
    views text := 'SELECT v.uid FROM homeostat.target_view v WHERE homeostat.acts_for(v.declared_by)';
    providers text := 'SELECT o.uid FROM homeostat.provider o WHERE homeostat.acts_for(o.declared_by) UNION ALL SELECT o.uid'
        ' FROM homeostat.provider o JOIN homeostat.pipeline p ON p.provider = o.name WHERE homeostat.acts_for(p.declared_by)';
    t record;
BEGIN
    FOR t IN SELECT w.* FROM (VALUES ('pipeline_status', 'uid', pipelines), ('condition', 'uid', pipelines), ('run', 'uid', pipelines),
                 ('run_history', 'uid', pipelines), ('batch', 'uid', pipelines), ('batch_history', 'uid', pipelines),
                 ('prune_candidate', 'uid', pipelines), ('dead_letter', 'uid', pipelines), ('unsteady', 'uid', pipelines),
                 ('event', 'uid', pipelines || ' UNION ALL ' || views), ('target_view_row', 'target_view', views),
                 ('target_view_status', 'uid', views), ('target_view_condition', 'uid', views),
                 ('provider_status', 'uid', providers)) AS w(name, key, own) LOOP
        EXECUTE format('CREATE VIEW homeostat.%I WITH (security_barrier) AS SELECT t.* FROM homeostat.%I t'
                       ' WHERE (SELECT homeostat.sees_all()) OR t.%I IN (%s)', 'own_' || t.name, t.name, t.key, t.own);
        EXECUTE format('COMMENT ON VIEW homeostat.%I IS %L', 'own_' || t.name, 'What of ' || t.name || ' concerns whoever looks');
    END LOOP;
END $$;

-- Messages quote documents, keys and what providers answer.
CREATE OR REPLACE VIEW homeostat.waiting AS
SELECT w.uid, w.run_documents, w.feed_documents, w.changes, w.failing, w.dead_letters, w.closed, w.unnamed,
       NOT w.suspended AND coalesce(w.oldest < clock_timestamp() - CASE WHEN w.failing > 0 OR w.provider_failing
           THEN interval '2 seconds' ELSE interval '5 seconds' END, false) AS behind,
       w.oldest,
       CASE WHEN w.last_error = '' AND NOT w.provider_failing OR NOT (homeostat.sees_all() OR homeostat.acts_for(w.declared_by)) THEN ''
            WHEN w.last_error <> '' THEN w.last_error ELSE w.provider_message END AS last_error
FROM (
    SELECT p.uid, p.declared_by,
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
            WHEN r.message <> '' AND (homeostat.sees_all() OR homeostat.acts_for(p.declared_by)) THEN r.message ELSE '' END AS message,
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
       CASE WHEN r.message <> '' AND (homeostat.sees_all() OR homeostat.acts_for(v.declared_by)) THEN r.message ELSE '' END AS message,
       v.uid
FROM homeostat.target_view v
LEFT JOIN homeostat.target_view_status s USING (uid)
LEFT JOIN homeostat.target_view_condition r ON r.uid = v.uid AND r.type = 'Ready';

-- ---------------------------------------------------------------------------------------------------------------------------
-- Roles

-- As in migration 20, with homeostat_admin, who may act on what anybody declared, with functions called by those who need them, and with
-- what was observed shown to declarers through views. Where homeostat_admin is not there and may not be made, it is left out.
CREATE OR REPLACE FUNCTION homeostat.make_roles() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
            GRANT USAGE ON SEQUENCE homeostat.pipeline_uid_seq TO {0};  -- an identity column needs none, a default does
            $grants$, '{0}', r);
    END LOOP;
    REVOKE ALL ON homeostat.canary FROM homeostat_declarer;

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
COMMENT ON FUNCTION homeostat.make_roles() IS 'Makes the roles of homeostat where they are not there, and grants what they have';
REVOKE EXECUTE ON FUNCTION homeostat.make_roles() FROM PUBLIC;

-- Whoever was granted something of ours by hand goes on with it.
DO $$
DECLARE
    f record;
BEGIN
    FOR f IN SELECT DISTINCT p.oid::regprocedure AS name, pg_get_userbyid(a.grantee) AS grantee
             FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) AS a CROSS JOIN pg_proc p
             WHERE c.relnamespace = 'homeostat'::regnamespace AND a.grantee NOT IN (0, c.relowner)
               AND p.pronamespace = c.relnamespace AND NOT p.prosecdef AND p.prorettype <> 'trigger'::regtype
               AND p.proname NOT IN ('make_roles', 'vector_ok') LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', f.name, f.grantee);
    END LOOP;
    FOR f IN SELECT p.oid::regprocedure AS name FROM pg_proc p
             WHERE p.pronamespace = 'homeostat'::regnamespace AND p.proname <> 'vector_ok' LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.name);
    END LOOP;
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
