-- A pipeline is checked when it is written, so that what is wrong is refused with a sentence and never stored.
-- The functions run with the rights and the search path of whoever declares. Locks: none. Time: milliseconds.

CREATE FUNCTION homeostat.control_columns() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT '{labels,annotations,suspend,suspend_reason,suspended_by,suspended_at,suspend_until,reconcile_requested,approval,
             finalizers,deletion_requested_at,generation,created_at,updated_at}'::text[]
$$;

-- 'table public.articles', 'view ...': how messages name a relation.
CREATE FUNCTION homeostat.relation_text(relation regclass) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format('%s %I.%I',
                  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                                 WHEN 'm' THEN 'materialised view' WHEN 'f' THEN 'foreign table' ELSE 'relation' END,
                  n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1
$$;

CREATE FUNCTION homeostat.relation_columns(relation regclass) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
$$;

-- The source as an existing, readable relation that can hold documents.
CREATE FUNCTION homeostat.check_source(what text, source text) RETURNS regclass LANGUAGE plpgsql STABLE AS $$
DECLARE
    parts text[] := homeostat.split_name(source, what);
    relation regclass;
    kind "char";
BEGIN
    relation := to_regclass(source);
    IF relation IS NULL THEN
        RAISE EXCEPTION '%: relation % does not exist%', what, source,
            homeostat.did_you_mean(parts[2], ARRAY(
                SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'homeostat', 'homeostat_data', 'pg_toast')
                  AND c.relkind IN ('r', 'p', 'v', 'm', 'f') LIMIT 500))
            USING ERRCODE = 'undefined_table';
    END IF;
    SELECT relkind INTO kind FROM pg_class WHERE oid = relation;
    IF kind NOT IN ('r', 'p', 'v', 'm', 'f') THEN
        RAISE EXCEPTION '%: % is no table or view, so it has no documents', what, source USING ERRCODE = 'wrong_object_type';
    END IF;
    IF NOT (has_table_privilege(relation, 'SELECT') OR has_any_column_privilege(relation, 'SELECT')) THEN
        RAISE EXCEPTION '%: role "%" may not read %; GRANT SELECT ON it first', what, current_user,
            homeostat.relation_text(relation) USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN relation;
END $$;

CREATE FUNCTION homeostat.check_columns(what text, role text, relation regclass, names text[]) RETURNS void
LANGUAGE plpgsql STABLE AS $$
DECLARE
    known text[] := homeostat.relation_columns(relation);
    n text;
BEGIN
    FOREACH n IN ARRAY names LOOP
        IF NOT n = ANY (known) THEN
            RAISE EXCEPTION '%: % column "%" is not in %', what, role, n, homeostat.relation_text(relation) ||
                homeostat.did_you_mean(n, known) USING ERRCODE = 'undefined_column';
        END IF;
        IF NOT has_column_privilege(relation, n, 'SELECT') THEN
            RAISE EXCEPTION '%: role "%" may not read column "%" of %', what, current_user, n,
                homeostat.relation_text(relation) USING ERRCODE = 'insufficient_privilege';
        END IF;
    END LOOP;
    IF cardinality(names) <> (SELECT count(DISTINCT u) FROM unnest(names) AS u) THEN
        RAISE EXCEPTION '%: the % columns name one column twice', what, role USING ERRCODE = 'duplicate_column';
    END IF;
END $$;

-- The declared key, or the one the relation itself has: its primary key, else its only unique index without NULLs.
CREATE FUNCTION homeostat.find_key(what text, relation regclass) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    candidates text[];
    found int;
    k text[];
BEGIN
    SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS u(attnum, pos)
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
                 WHERE u.pos <= i.indnkeyatts ORDER BY u.pos)
    INTO k FROM pg_index i WHERE i.indrelid = relation AND i.indisprimary;
    IF FOUND THEN RETURN k; END IF;
    SELECT count(*), array_agg(homeostat.column_list_text(c.names) ORDER BY c.names), (array_agg(c.names))[1:1]
    INTO found, candidates, k
    FROM (SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS u(attnum, pos)
                       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
                       WHERE u.pos <= i.indnkeyatts ORDER BY u.pos) AS names
          FROM pg_index i
          WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
            AND NOT EXISTS (SELECT FROM unnest(i.indkey) AS n JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = n
                            WHERE NOT a.attnotnull)) AS c;
    IF found = 1 THEN
        RETURN homeostat.column_list(candidates[1]);
    ELSIF found > 1 THEN
        RAISE EXCEPTION '%: the key is ambiguous: % has no primary key but several unique ones (%); name one in key', what,
            homeostat.relation_text(relation), array_to_string(candidates, ' | ') USING ERRCODE = 'ambiguous_column';
    END IF;
    RAISE EXCEPTION '%: % has no primary key; name the columns that identify a document in key', what,
        homeostat.relation_text(relation) USING ERRCODE = 'invalid_parameter_value';
END $$;

-- Ordered, and naming one row each. Without a unique index the rows themselves are asked, where they are few enough to be
-- asked here; a sweep finds what slips through.
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

-- Where the vectors are served: a view of ours, or a name that is free, in a schema that exists.
CREATE FUNCTION homeostat.check_target(what text, target text) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    parts text[] := homeostat.split_name(target, what);
    relation oid;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = parts[1]) THEN
        RAISE EXCEPTION '%: schema "%" of the target does not exist%', what, parts[1],
            homeostat.did_you_mean(parts[1], ARRAY(SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_'))
            USING ERRCODE = 'invalid_schema_name';
    END IF;
    IF parts[1] IN ('homeostat', 'homeostat_data', 'pg_catalog', 'information_schema') THEN
        RAISE EXCEPTION '%: the target cannot be in schema "%"', what, parts[1] USING ERRCODE = 'invalid_schema_name';
    END IF;
    SELECT c.oid INTO relation FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = parts[1] AND c.relname = parts[2];
    IF relation IS NOT NULL AND obj_description(relation, 'pg_class') IS DISTINCT FROM 'homeostat: served view' THEN
        RAISE EXCEPTION '%: target % exists and is not a view made by homeostat; choose another name or drop it', what,
            homeostat.relation_text(relation) USING ERRCODE = 'duplicate_table';
    END IF;
    RETURN format('%I.%I', parts[1], parts[2]);
END $$;

CREATE FUNCTION homeostat.check_dependencies(p homeostat.pipeline) RETURNS void LANGUAGE plpgsql STABLE AS $$
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
    WITH RECURSIVE live AS (
        SELECT o.name, o.depends_on, o.source, o.target FROM homeostat.pipeline o
        WHERE o.deletion_requested_at IS NULL AND o.uid <> p.uid
        UNION ALL SELECT p.name, p.depends_on, p.source, p.target
    ), edge AS (
        SELECT l.name AS from_, d AS to_ FROM live l, unnest(homeostat.column_list(l.depends_on)) AS d
        UNION
        SELECT l.name, t.name FROM live l
        CROSS JOIN LATERAL homeostat.relation_closure(to_regclass(l.source)) AS r(relation)
        JOIN live t ON to_regclass(t.target) = r.relation
    ), walk AS (
        SELECT e.to_ AS at, ARRAY[e.from_, e.to_] AS seen, e.to_ = p.name AS closed FROM edge e WHERE e.from_ = p.name
        UNION ALL
        SELECT e.to_, w.seen || e.to_, e.to_ = p.name FROM walk w JOIN edge e ON e.from_ = w.at
        WHERE NOT w.closed AND (e.to_ = p.name OR NOT e.to_ = ANY (w.seen))
    )
    SELECT seen INTO path FROM walk WHERE closed ORDER BY cardinality(seen) LIMIT 1;
    IF path IS NOT NULL THEN
        RAISE EXCEPTION '%: it would wait for itself: %', what, array_to_string(path, ' -> ') USING ERRCODE = 'check_violation';
    END IF;
END $$;

-- Provider, model and width of the vectors, against each other and against what pgvector can hold and index.
CREATE FUNCTION homeostat.check_vectors(p homeostat.pipeline) RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
    what text := format('pipeline "%s"', p.name);
    provider homeostat.provider;
    width int;
BEGIN
    SELECT * INTO provider FROM homeostat.provider o WHERE o.name = p.provider;
    IF NOT FOUND THEN
        RAISE EXCEPTION '%: provider "%" does not exist%', what, p.provider,
            homeostat.did_you_mean(p.provider, ARRAY(SELECT name FROM homeostat.provider LIMIT 500))
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF coalesce(p.model, provider.model) IS NULL THEN
        RAISE EXCEPTION '%: neither it nor provider "%" names a model', what, p.provider USING ERRCODE = 'check_violation';
    END IF;
    width := coalesce(p.dimensions, provider.dimensions);
    IF width IS NULL THEN
        RAISE EXCEPTION '%: neither it nor provider "%" says how many dimensions the vectors have', what, p.provider
            USING ERRCODE = 'check_violation';
    END IF;
    IF width NOT BETWEEN 1 AND 16000 THEN
        RAISE EXCEPTION '%: dimensions is %; it must be 1 to 16000', what, width USING ERRCODE = 'check_violation';
    END IF;
    IF provider.kind = 'local' AND (width <> 512 OR coalesce(p.model, 'use-lite') <> 'use-lite') THEN
        RAISE EXCEPTION '%: provider "%" serves model "use-lite" with 512 dimensions, not "%" with %', what, p.provider,
            coalesce(p.model, 'use-lite'), width USING ERRCODE = 'check_violation';
    END IF;
    IF p.index_method <> 'none' AND (width > 4000 OR (width > 2000 AND p.vector_type = 'vector')) THEN
        RAISE EXCEPTION '%: an index holds at most 2000 dimensions of vector or 4000 of halfvec, not %; use vector_type halfvec, '
            'fewer dimensions, or index_method none', what, width USING ERRCODE = 'check_violation';
    END IF;
END $$;

CREATE FUNCTION homeostat.check_choice(what text, field text, value text, known text[]) RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF NOT value = ANY (known) THEN
        RAISE EXCEPTION '%: % "%" is not known; it is one of %', what, field, value, array_to_string(known, ', ') ||
            homeostat.did_you_mean(value, known) USING ERRCODE = 'check_violation';
    END IF;
END $$;

CREATE FUNCTION homeostat.check_bounds(p homeostat.pipeline) RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    what text := format('pipeline "%s"', p.name);
BEGIN
    PERFORM homeostat.check_choice(what, 'chunker', p.chunker, '{whole,fixed,sentence,markdown}');
    PERFORM homeostat.check_choice(what, 'chunk_unit', p.chunk_unit, '{tokens,characters}');
    PERFORM homeostat.check_choice(what, 'vector_type', p.vector_type, '{auto,vector,halfvec}');
    PERFORM homeostat.check_choice(what, 'index_method', p.index_method, '{hnsw,ivfflat,none}');
    PERFORM homeostat.check_choice(what, 'distance', p.distance, '{cosine,l2,inner_product}');
    PERFORM homeostat.check_choice(what, 'mode', p.mode, '{progressive,complete,emergency}');
    PERFORM homeostat.check_choice(what, 'management', p.management, '{Manage,Observe}');
    PERFORM homeostat.check_choice(what, 'drift_policy', p.drift_policy, '{Enforce,Warn,Ignore}');
    PERFORM homeostat.check_choice(what, 'prune', p.prune, '{Never,Confirm,Auto}');
    PERFORM homeostat.check_choice(what, 'deletion_policy', p.deletion_policy, '{Orphan,Delete}');
    PERFORM homeostat.check_choice(what, 'backpressure', p.backpressure, '{buffer,throttle,shed}');
    IF p.chunk_size NOT BETWEEN 1 AND 1000000 THEN
        RAISE EXCEPTION '%: chunk_size is %; it must be 1 to 1000000', what, p.chunk_size USING ERRCODE = 'check_violation';
    END IF;
    IF p.chunk_overlap < 0 OR p.chunk_overlap * 2 >= p.chunk_size THEN
        RAISE EXCEPTION '%: chunk_overlap is %; it must be less than half of chunk_size (%)', what, p.chunk_overlap, p.chunk_size
            USING ERRCODE = 'check_violation';
    END IF;
    IF p.documents < 0 THEN
        RAISE EXCEPTION '%: documents is %; leave it out for all, or say how many', what, p.documents USING ERRCODE = 'check_violation';
    END IF;
    IF p.completeness NOT BETWEEN 0 AND 1 OR p.max_prune_ratio NOT BETWEEN 0 AND 1 OR p.max_prune_rows < 0 THEN
        RAISE EXCEPTION '%: completeness and max_prune_ratio are shares from 0 to 1, max_prune_rows is not negative', what
            USING ERRCODE = 'check_violation';
    END IF;
    IF p.drift_interval < interval '10 seconds' OR p.deep_interval < p.drift_interval OR p.max_staleness < interval '0' THEN
        RAISE EXCEPTION '%: drift_interval must be at least 10 seconds, and deep_interval not shorter than it', what
            USING ERRCODE = 'check_violation';
    END IF;
    IF p.priority NOT BETWEEN -1000 AND 1000 THEN
        RAISE EXCEPTION '%: priority is %; it must be -1000 to 1000', what, p.priority USING ERRCODE = 'check_violation';
    END IF;
END $$;

-- Content, template, metadata and key against the columns of the source and against the columns of the served view.
CREATE FUNCTION homeostat.check_content(p homeostat.pipeline, relation regclass) RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
    what text := format('pipeline "%s"', p.name);
    content text[] := homeostat.column_list(p.content);
    named text[];
    served text[] := '{chunk_number,chunk_text,chunk_start,chunk_end,embedding,embedded_at}';
    n text;
BEGIN
    IF (cardinality(content) = 0) = (coalesce(p.template, '') = '') THEN
        RAISE EXCEPTION '%: say what is embedded: either content (columns) or template (text with {column} in it)', what
            USING ERRCODE = 'check_violation';
    END IF;
    IF p.template IS NOT NULL THEN
        BEGIN
            content := homeostat.template_columns(p.template);
        EXCEPTION WHEN invalid_parameter_value THEN
            RAISE EXCEPTION '%: %', what, SQLERRM USING ERRCODE = 'invalid_parameter_value';
        END;
        IF cardinality(content) = 0 THEN
            RAISE EXCEPTION '%: the template names no {column}, so every document would be the same', what
                USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    PERFORM homeostat.check_columns(what, 'content', relation, content);
    FOREACH n IN ARRAY content LOOP
        IF (SELECT atttypid FROM pg_attribute WHERE attrelid = relation AND attname = n) = 'bytea'::regtype THEN
            RAISE EXCEPTION '%: content column "%" is bytea, which is no text; decode it in a view and use that as source', what, n
                USING ERRCODE = 'datatype_mismatch';
        END IF;
    END LOOP;
    named := homeostat.column_list(p.metadata);
    PERFORM homeostat.check_columns(what, 'metadata', relation, named);
    FOREACH n IN ARRAY named LOOP
        IF n = ANY (homeostat.column_list(p.key)) THEN
            RAISE EXCEPTION '%: "%" is in both key and metadata; the key is carried along anyway', what, n
                USING ERRCODE = 'duplicate_column';
        END IF;
    END LOOP;
    FOREACH n IN ARRAY homeostat.column_list(p.key) || named LOOP
        IF n = ANY (served) THEN
            RAISE EXCEPTION '%: column "%" has the name of a column of the served view; rename it in a view and use that as source',
                what, n USING ERRCODE = 'duplicate_column';
        END IF;
    END LOOP;
    IF p.version_column IS NOT NULL THEN
        PERFORM homeostat.check_columns(what, 'version', relation, ARRAY[p.version_column]);
    END IF;
END $$;

CREATE FUNCTION homeostat.check_pipeline() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    what text := format('pipeline "%s"', NEW.name);
    changed boolean := TG_OP = 'INSERT';
    relation regclass;
    key text[];
    other text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.uid <> OLD.uid OR NEW.name <> OLD.name THEN
            RAISE EXCEPTION '%: a pipeline keeps its name and uid; delete it and declare another', what USING ERRCODE = 'check_violation';
        END IF;
        changed := to_jsonb(NEW) - homeostat.control_columns() IS DISTINCT FROM to_jsonb(OLD) - homeostat.control_columns();
    END IF;
    IF changed THEN
        IF NEW.name = '' OR octet_length(NEW.name) > 63 THEN
            RAISE EXCEPTION '%: the name has % bytes; it needs 1 to 63', what, octet_length(NEW.name) USING ERRCODE = 'name_too_long';
        END IF;
        IF NEW.name ~ '[[:cntrl:]]' OR btrim(NEW.name) <> NEW.name THEN
            RAISE EXCEPTION '%: the name has blanks at an end or control characters in it', what USING ERRCODE = 'check_violation';
        END IF;
        PERFORM homeostat.check_bounds(NEW);
        -- '1 day' and '24 hours' are one value and must not be two generations.
        NEW.max_staleness := make_interval(secs => extract(epoch FROM NEW.max_staleness)::float8);
        NEW.drift_interval := make_interval(secs => extract(epoch FROM NEW.drift_interval)::float8);
        NEW.deep_interval := make_interval(secs => extract(epoch FROM NEW.deep_interval)::float8);
        relation := homeostat.check_source(what, NEW.source);
        NEW.source := (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
                       JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation);
        key := homeostat.column_list(NEW.key);
        IF cardinality(key) = 0 THEN key := homeostat.find_key(what, relation); END IF;
        PERFORM homeostat.check_columns(what, 'key', relation, key);
        NEW.key := homeostat.column_list_text(key);
        NEW.content := nullif(homeostat.column_list_text(homeostat.column_list(NEW.content)), '');
        NEW.metadata := nullif(homeostat.column_list_text(homeostat.column_list(NEW.metadata)), '');
        NEW.depends_on := nullif(homeostat.column_list_text(homeostat.column_list(NEW.depends_on)), '');
        PERFORM homeostat.check_content(NEW, relation);
        PERFORM homeostat.check_key(what, relation, key);
        NEW.target := homeostat.check_target(what, NEW.target);
        SELECT o.name INTO other FROM homeostat.pipeline o
        WHERE o.target = NEW.target AND o.uid <> NEW.uid AND o.deletion_requested_at IS NULL;
        IF FOUND THEN
            RAISE EXCEPTION '%: target % is served by pipeline "%"; choose another name', what, NEW.target, other
                USING ERRCODE = 'unique_violation';
        END IF;
        PERFORM homeostat.check_vectors(NEW);
        PERFORM homeostat.check_dependencies(NEW);
    END IF;
    IF TG_OP = 'INSERT' THEN
        NEW.generation := 1;
        NEW.deletion_requested_at := NULL;
    ELSE
        -- Only a spec that differs once canonical is a new generation: writing the same thing in other words changes nothing.
        NEW.generation := OLD.generation + (to_jsonb(NEW) - homeostat.control_columns()
                                            IS DISTINCT FROM to_jsonb(OLD) - homeostat.control_columns())::int;
    END IF;
    IF NEW.suspend AND (TG_OP = 'INSERT' OR NOT OLD.suspend) THEN
        NEW.suspended_by := coalesce(NEW.suspended_by, session_user::text);
        NEW.suspended_at := now();
    ELSIF NOT NEW.suspend THEN
        NEW.suspended_by := NULL;
        NEW.suspended_at := NULL;
        NEW.suspend_until := NULL;
        NEW.suspend_reason := NULL;
    END IF;
    IF TG_OP = 'INSERT' OR NEW IS DISTINCT FROM OLD THEN
        NEW.updated_at := now();
        -- Equal payloads of one transaction are one notification, sent when it commits.
        PERFORM pg_notify('homeostat', NEW.uid::text);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_pipeline BEFORE INSERT OR UPDATE ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_pipeline();

-- DELETE asks for deletion; the row goes when its finalizers are done, so that nothing is left behind by accident.
CREATE FUNCTION homeostat.finalize_pipeline() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(OLD.finalizers) = 0 THEN RETURN OLD; END IF;
    UPDATE homeostat.pipeline SET deletion_requested_at = coalesce(deletion_requested_at, now()) WHERE uid = OLD.uid;
    RETURN NULL;
END $$;
CREATE TRIGGER finalize_pipeline BEFORE DELETE ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.finalize_pipeline();
