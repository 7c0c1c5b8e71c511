-- What people declare: providers and pipelines, checked when they are written.
-- Locks: creates new objects only. Time: milliseconds.

CREATE EXTENSION IF NOT EXISTS vector;

CREATE SCHEMA IF NOT EXISTS homeostat;  -- the migrator has made it for its ledger
CREATE SCHEMA IF NOT EXISTS homeostat_data;
COMMENT ON SCHEMA homeostat IS 'homeostat: what is declared and what is observed';
COMMENT ON SCHEMA homeostat_data IS 'homeostat: documents, chunks and vectors, one set of tables per revision';

-- ---------------------------------------------------------------------------------------------------------------------------
-- Words and names

-- Edit distance, for "did you mean". Only ever called on a handful of short names when something is already wrong.
CREATE FUNCTION homeostat.edit_distance(a text, b text) RETURNS int LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    row_ int[] := ARRAY(SELECT generate_series(0, length(b)));
    diagonal int;
    above int;
BEGIN
    FOR i IN 1 .. length(a) LOOP
        diagonal := row_[1];
        row_[1] := i;
        FOR j IN 1 .. length(b) LOOP
            above := row_[j + 1];
            row_[j + 1] := least(above + 1, row_[j] + 1,
                                 diagonal + CASE WHEN substr(a, i, 1) = substr(b, j, 1) THEN 0 ELSE 1 END);
            diagonal := above;
        END LOOP;
    END LOOP;
    RETURN row_[length(b) + 1];
END $$;

-- ' (did you mean "x"?)' or ''.
CREATE FUNCTION homeostat.did_you_mean(wrong text, known text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce((
        SELECT format(' (did you mean "%s"?)', k)
        FROM unnest(known) AS k
        WHERE abs(length(k) - length(wrong)) <= 4 AND length(wrong) <= 63
          AND homeostat.edit_distance(lower(wrong), lower(k)) <= greatest(least(2, length(wrong) - 2), length(wrong) / 3)
        ORDER BY homeostat.edit_distance(lower(wrong), lower(k)), k
        LIMIT 1), '')
$$;

-- A list of columns, written as a person would: "title, body", "{title,body}", or one name. Names are taken literally
-- (no folding); a name with a comma, a brace or outer blanks goes in double quotes.
CREATE FUNCTION homeostat.column_list(list text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    names text[] := '{}';
    rest text := btrim(list);
    part text[];
BEGIN
    IF rest IS NULL OR rest = '' THEN RETURN '{}'; END IF;
    IF rest LIKE '{%}' THEN RETURN rest::text[]; END IF;
    WHILE rest <> '' LOOP
        part := regexp_match(rest, '^\s*(?:"((?:[^"]|"")*)"|([^",]+))\s*(?:,|$)');
        IF part IS NULL THEN
            RAISE EXCEPTION 'cannot read "%" as a list of columns; write names with commas between them', list
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        names := names || coalesce(replace(part[1], '""', '"'), btrim(part[2]));
        rest := regexp_replace(rest, '^\s*(?:"(?:[^"]|"")*"|[^",]+)\s*(?:,|$)', '');
    END LOOP;
    RETURN names;
END $$;

CREATE FUNCTION homeostat.column_list_text(names text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(quote_ident(n), ', ' ORDER BY i) FROM unnest(names) WITH ORDINALITY AS u(n, i)
$$;

-- The columns a template names: {column}; {{ and }} stand for braces.
CREATE FUNCTION homeostat.template_columns(template text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    bare text := replace(replace(template, '{{', ''), '}}', '');
    names text[];
BEGIN
    names := ARRAY(SELECT DISTINCT m[1] FROM regexp_matches(bare, '\{([^{}]*)\}', 'g') AS m);
    IF regexp_replace(bare, '\{[^{}]*\}', '', 'g') ~ '[{}]' THEN
        RAISE EXCEPTION 'the template has a brace without its partner; write {{ or }} for a brace itself'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN names;
END $$;

-- schema and name of a relation that need not exist yet; refuses what PostgreSQL would silently cut at 63 bytes.
CREATE FUNCTION homeostat.split_name(name text, what text) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    parts text[];
    part text;
BEGIN
    BEGIN
        parts := parse_ident(name);
    EXCEPTION WHEN OTHERS THEN
        RAISE EXCEPTION '%: "%" is not the name of a relation (write schema.name, with double quotes where needed)', what, name
            USING ERRCODE = 'invalid_parameter_value';
    END;
    IF cardinality(parts) = 1 THEN parts := ARRAY[coalesce(current_schema(), 'public'), parts[1]]; END IF;
    IF cardinality(parts) <> 2 THEN
        RAISE EXCEPTION '%: "%" has too many dots; write schema.name', what, name USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH part IN ARRAY parts LOOP
        IF octet_length(part) > 63 THEN
            RAISE EXCEPTION '%: "%" is % bytes long; a name may have 63', what, part, octet_length(part)
                USING ERRCODE = 'name_too_long';
        END IF;
    END LOOP;
    RETURN parts;
END $$;

-- Every relation a view rests on, itself included.
CREATE FUNCTION homeostat.relation_closure(relation oid) RETURNS SETOF oid LANGUAGE sql STABLE AS $$
    WITH RECURSIVE closure(relation) AS (
        SELECT $1
        UNION
        SELECT d.refobjid
        FROM closure c
        JOIN pg_rewrite r ON r.ev_class = c.relation
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    )
    SELECT relation FROM closure
$$;

-- ---------------------------------------------------------------------------------------------------------------------------
-- Providers

CREATE TABLE homeostat.provider (
    uid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    kind text NOT NULL DEFAULT 'openai',
    endpoint text,
    model text,
    dimensions int,
    credential text,
    organization text,
    headers jsonb NOT NULL DEFAULT '{}',
    document_prefix text NOT NULL DEFAULT '',
    query_prefix text NOT NULL DEFAULT '',
    encoding text NOT NULL DEFAULT 'base64',
    send_dimensions boolean NOT NULL DEFAULT false,
    ca_file text,
    max_batch int NOT NULL DEFAULT 100,
    max_text_tokens int,
    max_in_flight int NOT NULL DEFAULT 8,
    requests_per_minute int,
    tokens_per_minute bigint,
    timeout interval NOT NULL DEFAULT '60 seconds',
    price_per_million_tokens numeric NOT NULL DEFAULT 0,
    rank int NOT NULL DEFAULT 100,
    pool text,
    canary_tolerance double precision NOT NULL DEFAULT 0.01,
    command text[],
    environment text[] NOT NULL DEFAULT '{}',
    memory_limit_mb int NOT NULL DEFAULT 512,
    labels jsonb NOT NULL DEFAULT '{}',
    generation bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE homeostat.provider IS 'Embedding endpoints and in-process embedders, with the models they serve and their limits';
COMMENT ON COLUMN homeostat.provider.credential IS 'A reference (env:NAME or file:PATH), never the secret itself';
COMMENT ON COLUMN homeostat.provider.pool IS 'Providers of one pool stand in for each other where they serve the same model';
COMMENT ON COLUMN homeostat.provider.canary_tolerance IS 'How far, in cosine distance, a text may lie from what the rest of the pool makes of it';
COMMENT ON COLUMN homeostat.provider.command IS 'kind exec: the program and its arguments; no shell is involved';
COMMENT ON COLUMN homeostat.provider.environment IS 'kind exec: names of the environment variables the program is given';

CREATE FUNCTION homeostat.check_provider() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    what text := format('provider "%s"', NEW.name);
    kinds text[] := ARRAY['local', 'hashing', 'openai', 'exec'];
    header record;
BEGIN
    IF NEW.name = '' OR octet_length(NEW.name) > 63 THEN
        RAISE EXCEPTION '%: the name has % bytes; it needs 1 to 63', what, octet_length(NEW.name) USING ERRCODE = 'name_too_long';
    END IF;
    IF NOT NEW.kind = ANY (kinds) THEN
        RAISE EXCEPTION '%: kind "%" is not known; it is one of %', what, NEW.kind, array_to_string(kinds, ', ') ||
            homeostat.did_you_mean(NEW.kind, kinds) USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.kind = 'openai' AND (NEW.endpoint IS NULL OR NEW.endpoint !~ '^https?://[^/\s]+') THEN
        RAISE EXCEPTION '%: endpoint must be a base URL such as https://api.openai.com/v1', what USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.endpoint ~ '^https?://[^/\s]*@' THEN
        RAISE EXCEPTION '%: the endpoint carries a user or password; put a reference into credential instead', what
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.kind = 'exec' AND (coalesce(cardinality(NEW.command), 0) = 0 OR NEW.command[1] !~ '^/.') THEN
        RAISE EXCEPTION '%: command must begin with the absolute path of a program, for instance {/usr/bin/python3,/opt/embed.py}', what
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.kind <> 'exec' AND (NEW.command IS NOT NULL OR NEW.environment <> '{}') THEN
        RAISE EXCEPTION '%: command and environment belong to kind "exec", not to "%"', what, NEW.kind USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM unnest(NEW.environment) AS e(name) WHERE e.name IS NULL OR e.name !~ '^[A-Za-z_][A-Za-z0-9_]*$') THEN
        RAISE EXCEPTION '%: environment lists names of variables, not values', what USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.credential IS NOT NULL AND NEW.credential !~ '^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$' THEN
        RAISE EXCEPTION '%: credential must be a reference, env:NAME or file:/PATH; secrets themselves are never stored', what
            USING ERRCODE = 'check_violation';
    END IF;
    IF jsonb_typeof(NEW.headers) <> 'object' THEN
        RAISE EXCEPTION '%: headers must be an object of names and values', what USING ERRCODE = 'check_violation';
    END IF;
    FOR header IN SELECT key, value FROM jsonb_each_text(NEW.headers) LOOP
        IF header.key !~ '^[A-Za-z0-9!#$%&''*+.^_`|~-]+$' OR header.value ~ '[\r\n]' THEN
            RAISE EXCEPTION '%: header "%" is not a legal HTTP header', what, header.key USING ERRCODE = 'check_violation';
        END IF;
        IF header.key ~* '(authorization|api-?key|token|secret)' AND header.value !~ '^(env:|file:/)' THEN
            RAISE EXCEPTION '%: header "%" looks like a secret; give a reference, env:NAME or file:/PATH', what, header.key
                USING ERRCODE = 'check_violation';
        END IF;
    END LOOP;
    IF NEW.kind = 'local' THEN
        NEW.model := coalesce(NEW.model, 'use-lite');
        NEW.dimensions := coalesce(NEW.dimensions, 512);
        IF NEW.model <> 'use-lite' OR NEW.dimensions <> 512 THEN
            RAISE EXCEPTION '%: the built-in model is "use-lite" with 512 dimensions', what USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.kind = 'hashing' THEN
        NEW.model := coalesce(NEW.model, 'hashing');
    END IF;
    IF NEW.dimensions IS NOT NULL AND NEW.dimensions NOT BETWEEN 1 AND 16000 THEN
        RAISE EXCEPTION '%: dimensions is %; it must be 1 to 16000', what, NEW.dimensions USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.encoding NOT IN ('base64', 'float') THEN
        RAISE EXCEPTION '%: encoding "%" is not known; it is base64 or float', what, NEW.encoding USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.max_batch NOT BETWEEN 1 AND 8192 OR NEW.max_in_flight NOT BETWEEN 1 AND 1024 OR NEW.rank NOT BETWEEN 0 AND 1000000
       OR NEW.max_text_tokens < 1 OR NEW.requests_per_minute < 1 OR NEW.tokens_per_minute < 1 OR NEW.price_per_million_tokens < 0
       OR NEW.timeout NOT BETWEEN interval '100 milliseconds' AND interval '1 hour'
       OR NEW.memory_limit_mb NOT BETWEEN 16 AND 1048576 OR NEW.canary_tolerance NOT BETWEEN 0 AND 2 THEN
        RAISE EXCEPTION '%: a limit is out of bounds (max_batch 1-8192, max_in_flight 1-1024, timeout 0.1 s to 1 h, memory_limit_mb '
            '16-1048576, canary_tolerance 0-2, others positive)', what USING ERRCODE = 'check_violation';
    END IF;
    NEW.timeout := make_interval(secs => extract(epoch FROM NEW.timeout)::float8);
    NEW.updated_at := now();
    NEW.generation := 1;
    IF TG_OP = 'UPDATE' THEN
        NEW.generation := OLD.generation;
        IF to_jsonb(NEW) - '{labels,generation,created_at,updated_at}'::text[]
           IS DISTINCT FROM to_jsonb(OLD) - '{labels,generation,created_at,updated_at}'::text[] THEN
            NEW.generation := OLD.generation + 1;
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_provider BEFORE INSERT OR UPDATE ON homeostat.provider
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_provider();

CREATE FUNCTION homeostat.keep_used_provider() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    used_by text;
BEGIN
    SELECT string_agg(format('"%s"', p.name), ', ' ORDER BY p.name) INTO used_by
    FROM homeostat.pipeline p WHERE p.provider = OLD.name AND p.deletion_requested_at IS NULL;
    IF used_by IS NOT NULL AND (TG_OP = 'DELETE' OR NEW.name <> OLD.name) THEN
        RAISE EXCEPTION 'provider "%" is used by pipeline %; point it elsewhere first', OLD.name, used_by
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER keep_used_provider BEFORE DELETE OR UPDATE OF name ON homeostat.provider
    FOR EACH ROW EXECUTE FUNCTION homeostat.keep_used_provider();

INSERT INTO homeostat.provider (name, kind, dimensions, max_batch, max_in_flight) VALUES
    ('local', 'local', 512, 64, 2),
    ('hashing', 'hashing', 384, 256, 4);

-- ---------------------------------------------------------------------------------------------------------------------------
-- Pipelines

CREATE TABLE homeostat.pipeline (
    uid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    -- what
    source text NOT NULL,
    key text,
    content text,
    template text,
    metadata text,
    version_column text,
    documents bigint,
    -- how
    provider text NOT NULL,
    model text,
    dimensions int,
    chunker text NOT NULL DEFAULT 'sentence',
    chunk_size int NOT NULL DEFAULT 400,
    chunk_overlap int NOT NULL DEFAULT 0,
    chunk_unit text NOT NULL DEFAULT 'tokens',
    -- where
    target text NOT NULL,
    vector_type text NOT NULL DEFAULT 'auto',
    index_method text NOT NULL DEFAULT 'hnsw',
    distance text NOT NULL DEFAULT 'cosine',
    -- behaviour
    mode text NOT NULL DEFAULT 'progressive',
    management text NOT NULL DEFAULT 'Manage',
    drift_policy text NOT NULL DEFAULT 'Enforce',
    priority int NOT NULL DEFAULT 0,
    completeness numeric NOT NULL DEFAULT 1.0,
    max_staleness interval,
    drift_interval interval NOT NULL DEFAULT '5 minutes',
    deep_interval interval NOT NULL DEFAULT '1 day',
    prune text NOT NULL DEFAULT 'Auto',
    max_prune_ratio numeric NOT NULL DEFAULT 0.10,
    max_prune_rows bigint NOT NULL DEFAULT 10000,
    deletion_policy text NOT NULL DEFAULT 'Orphan',
    depends_on text,
    backpressure text NOT NULL DEFAULT 'buffer',
    -- control: these never grow the generation
    labels jsonb NOT NULL DEFAULT '{}',
    annotations jsonb NOT NULL DEFAULT '{}',
    suspend boolean NOT NULL DEFAULT false,
    suspend_reason text,
    suspended_by text,
    suspended_at timestamptz,
    suspend_until timestamptz,
    reconcile_requested text,
    approval text,
    finalizers text[] NOT NULL DEFAULT '{data}',
    deletion_requested_at timestamptz,
    generation bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE homeostat.pipeline IS
    'One row is one declared target: a source, how to chunk and embed it, how much of it, and where the vectors are served';
COMMENT ON COLUMN homeostat.pipeline.source IS 'A table, partitioned table, view, materialised view or foreign table';
COMMENT ON COLUMN homeostat.pipeline.key IS 'Columns that name a document; default: the primary key';
COMMENT ON COLUMN homeostat.pipeline.content IS 'Columns whose text is embedded, joined by a blank line; or give a template';
COMMENT ON COLUMN homeostat.pipeline.template IS 'Text with {column} in it, instead of content';
COMMENT ON COLUMN homeostat.pipeline.metadata IS 'Columns carried along beside the vectors, kept true without embedding again';
COMMENT ON COLUMN homeostat.pipeline.version_column IS 'A column that changes whenever the row does; default: xmin, or a hash of the content';
COMMENT ON COLUMN homeostat.pipeline.documents IS 'The first N in key order; default: all';
COMMENT ON COLUMN homeostat.pipeline.backpressure IS
    'Under memory pressure: buffer plans on, throttle plans less ahead, shed lets the least urgent drift wait';
COMMENT ON COLUMN homeostat.pipeline.target IS 'The view that serves the vectors; made by homeostat';

-- Names are unique among the living only: delete and declare again is a new object with a new uid.
CREATE UNIQUE INDEX pipeline_name ON homeostat.pipeline (name) WHERE deletion_requested_at IS NULL;
CREATE UNIQUE INDEX pipeline_target ON homeostat.pipeline (target) WHERE deletion_requested_at IS NULL;
