-- Target views: a relation whose rows are pipelines, one per tenant, say. The declared half (target_view), what was observed of it,
-- and who owns a pipeline, as a fact on the pipeline itself.
-- Locks: homeostat.pipeline for the moment that a nullable column and a trigger take. Time: milliseconds.

-- ---------------------------------------------------------------------------------------------------------------------------
-- Which columns of a relation can declare a pipeline

-- Whether a value of one type can be stored in a column of another without being asked for, as INSERT would.
CREATE FUNCTION homeostat.type_fits(given oid, wanted oid) RETURNS boolean LANGUAGE sql STABLE AS $$
    WITH RECURSIVE base(type) AS (
        SELECT given
        UNION
        SELECT t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
    )
    SELECT wanted IN ('text'::regtype, given) OR EXISTS (
        SELECT FROM base b LEFT JOIN pg_cast c ON c.castsource = b.type AND c.casttarget = wanted AND c.castcontext IN ('i', 'a')
        WHERE b.type = wanted OR c.oid IS NOT NULL)
$$;

-- What a pipeline can be declared by. Read from the catalog, so that a column added to it later can be declared here too.
CREATE FUNCTION homeostat.declarable_columns() RETURNS SETOF pg_attribute LANGUAGE sql STABLE AS $$
    SELECT a.* FROM pg_attribute a
    WHERE a.attrelid = 'homeostat.pipeline'::regclass AND a.attnum > 0 AND NOT a.attisdropped
      AND (a.attname = 'labels' OR NOT a.attname = ANY (homeostat.control_columns() || '{uid}'::text[]))
$$;

-- Every column of the relation; those that declare nothing have no type. Raises where no pipeline could be declared by it.
CREATE FUNCTION homeostat.target_view_columns(what text, relation regclass)
RETURNS TABLE (name text, type text, fallback text, required boolean) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    own text[] := homeostat.relation_columns(relation);
    wrong record;
BEGIN
    IF relation IS NULL THEN
        RAISE EXCEPTION '%: its relation does not exist any more; make it again, or name another', what USING ERRCODE = 'undefined_table';
    END IF;
    SELECT p.attname, format_type(a.atttypid, a.atttypmod) AS given, format_type(p.atttypid, p.atttypmod) AS wanted INTO wrong
    FROM homeostat.declarable_columns() AS p
    JOIN pg_attribute a ON a.attrelid = relation AND a.attname = p.attname AND a.attnum > 0 AND NOT a.attisdropped
    WHERE a.atttypid <> p.atttypid AND NOT homeostat.type_fits(a.atttypid, p.atttypid) ORDER BY a.attnum LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: column "%" of % is %; a pipeline needs % there', what, wrong.attname,
            homeostat.relation_text(relation), wrong.given, wrong.wanted USING ERRCODE = 'datatype_mismatch';
    END IF;
    SELECT p.attname INTO wrong FROM homeostat.declarable_columns() AS p
    WHERE p.attnotnull AND NOT p.atthasdef AND NOT p.attname = ANY (own) ORDER BY p.attnum LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: % has no column "%", which every pipeline needs%', what, homeostat.relation_text(relation), wrong.attname,
            homeostat.did_you_mean(wrong.attname::text, own) USING ERRCODE = 'undefined_column';
    END IF;
    RETURN QUERY
        SELECT a.attname::text, format_type(p.atttypid, p.atttypmod), pg_get_expr(d.adbin, d.adrelid),
               coalesce(p.attnotnull AND NOT p.atthasdef, false)
        FROM pg_attribute a
        LEFT JOIN homeostat.declarable_columns() AS p ON p.attname = a.attname
        LEFT JOIN pg_attrdef d ON d.adrelid = p.attrelid AND d.adnum = p.attnum
        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;
END $$;

-- ---------------------------------------------------------------------------------------------------------------------------
-- Declared

CREATE TABLE homeostat.target_view (
    -- One sequence for both kinds of object, so that an event's uid names one thing.
    uid bigint PRIMARY KEY DEFAULT nextval('homeostat.pipeline_uid_seq'),
    name text NOT NULL,
    relation text NOT NULL,
    on_removal text NOT NULL DEFAULT 'Suspend',
    max_removal_ratio numeric NOT NULL DEFAULT 0.10,
    interval interval NOT NULL DEFAULT '1 second',
    -- control: these never grow the generation
    labels jsonb NOT NULL DEFAULT '{}',
    suspend boolean NOT NULL DEFAULT false,
    suspend_reason text,
    approval text,
    declared_by text NOT NULL DEFAULT current_user,
    finalizers text[] NOT NULL DEFAULT '{pipelines}',
    deletion_requested_at timestamptz,
    generation bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE homeostat.target_view IS 'A relation each of whose rows declares a pipeline, by columns named as in homeostat.pipeline';
COMMENT ON COLUMN homeostat.target_view.on_removal IS 'What becomes of a pipeline whose row is gone: Suspend, Delete, or Orphan (it is on its own)';
COMMENT ON COLUMN homeostat.target_view.max_removal_ratio IS 'The share of its pipelines that may go within an hour without approval; one always may';
COMMENT ON COLUMN homeostat.target_view.interval IS 'How often the relation is looked at';
COMMENT ON COLUMN homeostat.target_view.approval IS 'The plan that condition RemovalBlocked names: lets exactly those pipelines go, once';
COMMENT ON COLUMN homeostat.target_view.declared_by IS 'Whose rights the sources of its pipelines are checked against';
CREATE UNIQUE INDEX target_view_name ON homeostat.target_view (name) WHERE deletion_requested_at IS NULL;

CREATE FUNCTION homeostat.target_view_control_columns() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT '{labels,suspend,suspend_reason,approval,declared_by,finalizers,deletion_requested_at,generation,created_at,updated_at}'::text[]
$$;

CREATE FUNCTION homeostat.check_target_view_spec(INOUT v homeostat.target_view) LANGUAGE plpgsql AS $$
DECLARE
    what text := format('target view "%s"', v.name);
    relation regclass;
    ignored text;
BEGIN
    IF v.name = '' OR octet_length(v.name) > 63 THEN
        RAISE EXCEPTION '%: the name has % bytes; it needs 1 to 63', what, octet_length(v.name) USING ERRCODE = 'name_too_long';
    END IF;
    IF v.name ~ '[[:cntrl:]]' OR btrim(v.name) <> v.name THEN
        RAISE EXCEPTION '%: the name has blanks at an end or control characters in it', what USING ERRCODE = 'check_violation';
    END IF;
    PERFORM homeostat.check_choice(what, 'on_removal', v.on_removal, '{Suspend,Delete,Orphan}');
    IF v.max_removal_ratio NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION '%: max_removal_ratio is %; it is a share from 0 to 1', what, v.max_removal_ratio USING ERRCODE = 'check_violation';
    END IF;
    IF v.interval NOT BETWEEN interval '100 milliseconds' AND interval '1 day' THEN
        RAISE EXCEPTION '%: interval is %; it must be 100 milliseconds to 1 day', what, v.interval USING ERRCODE = 'check_violation';
    END IF;
    v.interval := make_interval(secs => extract(epoch FROM v.interval)::float8);
    relation := homeostat.check_source(what, v.relation);
    v.relation := (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE c.oid = relation);
    IF v.relation ~ '^homeostat(_data)?\.' THEN
        RAISE EXCEPTION '%: % belongs to homeostat itself and cannot declare pipelines', what, v.relation USING ERRCODE = 'check_violation';
    END IF;
    PERFORM homeostat.check_columns(what, 'declaring', relation, ARRAY(
        SELECT c.name FROM homeostat.target_view_columns(what, relation) AS c WHERE c.type IS NOT NULL));
    SELECT string_agg(format('"%s"', c.name), ', ') INTO ignored
    FROM homeostat.target_view_columns(what, relation) AS c WHERE c.type IS NULL;
    IF ignored IS NOT NULL THEN
        RAISE NOTICE '%: no pipeline has what these columns of % are named, so they are ignored: %', what,
            homeostat.relation_text(relation), ignored;
    END IF;
    v.declared_by := current_user;
END $$;

CREATE FUNCTION homeostat.check_target_view() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    control text[] := homeostat.target_view_control_columns();
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW := homeostat.check_target_view_spec(NEW);
        NEW.generation := 1;
        NEW.deletion_requested_at := NULL;
    ELSE
        IF NEW.uid <> OLD.uid OR NEW.name <> OLD.name THEN
            RAISE EXCEPTION 'target view "%": a target view keeps its name and uid; delete it and declare another', OLD.name
                USING ERRCODE = 'check_violation';
        END IF;
        NEW.declared_by := OLD.declared_by;
        IF to_jsonb(NEW) - control IS DISTINCT FROM to_jsonb(OLD) - control THEN NEW := homeostat.check_target_view_spec(NEW); END IF;
        NEW.generation := OLD.generation + (to_jsonb(NEW) - control IS DISTINCT FROM to_jsonb(OLD) - control)::int;
    END IF;
    IF NOT NEW.suspend THEN NEW.suspend_reason := NULL; END IF;
    IF TG_OP = 'INSERT' OR NEW IS DISTINCT FROM OLD THEN NEW.updated_at := now(); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_target_view BEFORE INSERT OR UPDATE ON homeostat.target_view
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_target_view();

-- DELETE asks for deletion; the row goes when on_removal has been carried out on its pipelines.
CREATE FUNCTION homeostat.finalize_target_view() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(OLD.finalizers) = 0 THEN RETURN OLD; END IF;
    UPDATE homeostat.target_view SET deletion_requested_at = coalesce(deletion_requested_at, now()) WHERE uid = OLD.uid;
    RETURN NULL;
END $$;
CREATE TRIGGER finalize_target_view BEFORE DELETE ON homeostat.target_view
    FOR EACH ROW EXECUTE FUNCTION homeostat.finalize_target_view();

-- ---------------------------------------------------------------------------------------------------------------------------
-- Ownership

ALTER TABLE homeostat.pipeline ADD COLUMN target_view bigint REFERENCES homeostat.target_view ON DELETE SET NULL;
COMMENT ON COLUMN homeostat.pipeline.target_view IS 'The target view that declares it; NULL = a person does. Written by the controller only';
CREATE INDEX pipeline_target_view ON homeostat.pipeline (target_view) WHERE target_view IS NOT NULL;

-- Ownership is no part of the spec. The list is taken as it stands, because other migrations add to it as well.
DO $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION homeostat.control_columns() RETURNS text[] LANGUAGE sql IMMUTABLE AS %L',
                   format('SELECT %L::text[]', homeostat.control_columns() || 'target_view'::text));
END $$;

-- A row of a relation must not open to its author what only the controller may read.
CREATE FUNCTION homeostat.check_declarer(p homeostat.pipeline, v homeostat.target_view) RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
    relation regclass := to_regclass(p.source);
    named text[] := homeostat.column_list(p.key) || homeostat.column_list(p.content) || homeostat.column_list(p.metadata) ||
                    homeostat.template_columns(coalesce(p.template, '')) || coalesce(ARRAY[p.version_column], '{}');
BEGIN
    IF to_regrole(quote_ident(v.declared_by)) IS NULL THEN
        RAISE EXCEPTION 'pipeline "%": role "%", who declared target view "%", does not exist any more; declare it anew', p.name,
            v.declared_by, v.name USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT has_table_privilege(v.declared_by, relation, 'SELECT') AND EXISTS (
        SELECT FROM unnest(named) AS n WHERE n IS NOT NULL AND NOT has_column_privilege(v.declared_by, relation, n, 'SELECT')) THEN
        RAISE EXCEPTION 'pipeline "%": role "%", who declared target view "%", may not read %; GRANT SELECT ON it first', p.name,
            v.declared_by, v.name, homeostat.relation_text(relation) USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;

-- Runs after check_pipeline, by its name: what it compares is canonical.
CREATE FUNCTION homeostat.keep_owned_pipeline() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    control text[] := homeostat.control_columns();
    owner homeostat.target_view;
    edited boolean := true;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.target_view IS NULL AND NEW.target_view IS NULL THEN RETURN NEW; END IF;
        edited := to_jsonb(NEW) - control IS DISTINCT FROM to_jsonb(OLD) - control;
        IF NOT edited AND NEW.target_view IS NOT DISTINCT FROM OLD.target_view THEN RETURN NEW; END IF;
    ELSIF NEW.target_view IS NULL THEN
        RETURN NEW;
    END IF;
    SELECT * INTO owner FROM homeostat.target_view v
    WHERE v.uid = CASE TG_OP WHEN 'UPDATE' THEN coalesce(OLD.target_view, NEW.target_view) ELSE NEW.target_view END;
    IF NOT FOUND AND NEW.target_view IS NULL THEN RETURN NEW; END IF;  -- the view itself has gone
    -- The controller says for which view it writes; that alone could be said by anybody.
    IF current_setting('homeostat.target_view', true) IS NOT DISTINCT FROM owner.uid::text
       AND (to_regrole('homeostat_controller') IS NULL OR pg_has_role('homeostat_controller', 'MEMBER')
            OR pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'MEMBER')) THEN
        IF edited THEN PERFORM homeostat.check_declarer(NEW, owner); END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'UPDATE' AND edited THEN
        RAISE EXCEPTION 'pipeline "%": target view "%" declares it; edit its row in % instead', NEW.name, owner.name, owner.relation
            USING ERRCODE = 'check_violation';
    END IF;
    RAISE EXCEPTION 'pipeline "%": target_view says who declares it and is written by the controller only', NEW.name
        USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER keep_owned_pipeline BEFORE INSERT OR UPDATE ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.keep_owned_pipeline();

-- As in 0002, but walking from the pipeline that is checked instead of drawing every edge there is first: what it costs is what hangs
-- on this one pipeline, so that hundreds can be declared at once (measured with 600: 490 ms before, under 1 ms now).
CREATE OR REPLACE FUNCTION homeostat.check_dependencies(p homeostat.pipeline) RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
    what text := format('pipeline "%s"', p.name);
    n text;
    path text[];
BEGIN
    FOREACH n IN ARRAY homeostat.column_list(p.depends_on) LOOP
        IF n <> p.name AND NOT EXISTS (SELECT FROM homeostat.pipeline o WHERE o.name = n AND o.deletion_requested_at IS NULL) THEN
            RAISE EXCEPTION '%: depends_on names pipeline "%", which does not exist%', what, n,
                homeostat.did_you_mean(n, ARRAY(SELECT o.name FROM homeostat.pipeline o WHERE o.deletion_requested_at IS NULL
                                                LIMIT 500)) USING ERRCODE = 'foreign_key_violation';
        END IF;
    END LOOP;
    -- One pipeline rests on another when it says so, or when its source is made from what the other serves.
    WITH RECURSIVE walk AS (
        SELECT ARRAY[p.name] AS seen, p.depends_on, p.source, false AS closed
        UNION ALL
        SELECT w.seen || o.name, o.depends_on, o.source, o.name = p.name
        FROM walk w
        CROSS JOIN LATERAL (
            SELECT d.name FROM unnest(homeostat.column_list(w.depends_on)) AS d(name)
            UNION
            SELECT coalesce(t.name, p.name)
            FROM homeostat.relation_closure(to_regclass(w.source)) AS r(relation)
            JOIN pg_class c ON c.oid = r.relation
            JOIN pg_namespace ns ON ns.oid = c.relnamespace
            LEFT JOIN homeostat.pipeline t ON t.target = format('%I.%I', ns.nspname, c.relname)
                AND t.deletion_requested_at IS NULL AND t.uid <> p.uid
            WHERE t.uid IS NOT NULL OR p.target = format('%I.%I', ns.nspname, c.relname)
        ) AS e
        CROSS JOIN LATERAL (
            SELECT p.name, p.depends_on, p.source WHERE e.name = p.name
            UNION ALL
            SELECT q.name, q.depends_on, q.source FROM homeostat.pipeline q
            WHERE q.name = e.name AND e.name <> p.name AND q.deletion_requested_at IS NULL
        ) AS o
        WHERE NOT w.closed AND (o.name = p.name OR NOT o.name = ANY (w.seen))
    )
    SELECT w.seen INTO path FROM walk w WHERE w.closed ORDER BY cardinality(w.seen) LIMIT 1;
    IF path IS NOT NULL THEN
        RAISE EXCEPTION '%: it would wait for itself: %', what, array_to_string(path, ' -> ') USING ERRCODE = 'check_violation';
    END IF;
END $$;

-- ---------------------------------------------------------------------------------------------------------------------------
-- Observed

-- Rows as they were last tried. Compared by hash, so that a look at rows that did not change writes and sends nothing.
CREATE TABLE homeostat.target_view_row (
    target_view bigint NOT NULL REFERENCES homeostat.target_view ON DELETE CASCADE,
    name text NOT NULL,
    row_hash bigint NOT NULL,
    generation bigint NOT NULL DEFAULT 0,
    suspended_as text,
    refusal text,
    tried_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (target_view, name)
);
COMMENT ON COLUMN homeostat.target_view_row.generation IS 'Of the pipeline, as the row made it; another one means that somebody else did';
COMMENT ON COLUMN homeostat.target_view_row.suspended_as IS 'The row is gone and its pipeline suspended with this reason; NULL = it is there';
COMMENT ON COLUMN homeostat.target_view_row.refusal IS 'Why the pipeline checks refused the row, in their words';

CREATE TABLE homeostat.target_view_status (
    uid bigint PRIMARY KEY REFERENCES homeostat.target_view ON DELETE CASCADE,
    observed_generation bigint NOT NULL DEFAULT 0,
    rows bigint,
    counted_rows bigint,
    pipelines bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    names_taken bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    plan text NOT NULL DEFAULT '',
    removal_window_start timestamptz,
    removed_in_window bigint NOT NULL DEFAULT 0,
    last_error text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
COMMENT ON COLUMN homeostat.target_view_status.rows IS 'As of the last look; NULL = Unknown, never zero';
COMMENT ON COLUMN homeostat.target_view_status.counted_rows IS 'What the next look is compared with: stays where removals are held';
COMMENT ON COLUMN homeostat.target_view_status.plan IS 'Names exactly the set of pipelines that wait to be removed';

CREATE TABLE homeostat.target_view_condition (
    uid bigint NOT NULL REFERENCES homeostat.target_view ON DELETE CASCADE,
    type text NOT NULL,
    status text NOT NULL CHECK (status IN ('True', 'False', 'Unknown')),
    reason text NOT NULL,
    message text NOT NULL DEFAULT '',
    observed_generation bigint NOT NULL,
    last_transition_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (uid, type)
) WITH (fillfactor = 70);

CREATE VIEW homeostat.target_views AS
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

DO $$
BEGIN
    IF to_regrole('homeostat_owner') IS NOT NULL THEN
        GRANT ALL ON homeostat.target_view, homeostat.target_view_row, homeostat.target_view_status, homeostat.target_view_condition,
            homeostat.target_views TO homeostat_owner;
    END IF;
    IF to_regrole('homeostat_controller') IS NOT NULL THEN
        GRANT ALL ON homeostat.target_view_row, homeostat.target_view_status, homeostat.target_view_condition TO homeostat_controller;
        GRANT SELECT ON homeostat.target_view, homeostat.target_views TO homeostat_controller;
        GRANT UPDATE (approval, finalizers, suspend, suspend_reason), DELETE ON homeostat.target_view TO homeostat_controller;
        -- It declares pipelines now: those that a target view owns, which keep_owned_pipeline sees to.
        GRANT INSERT, UPDATE ON homeostat.pipeline TO homeostat_controller;
    END IF;
    IF to_regrole('homeostat_declarer') IS NOT NULL THEN
        GRANT SELECT ON homeostat.target_view_row, homeostat.target_view_status, homeostat.target_view_condition, homeostat.target_views
            TO homeostat_declarer;
        GRANT SELECT, INSERT, UPDATE, DELETE ON homeostat.target_view TO homeostat_declarer;
        GRANT USAGE ON SEQUENCE homeostat.pipeline_uid_seq TO homeostat_declarer;  -- an identity column needs none, a default does
    END IF;
END $$;
