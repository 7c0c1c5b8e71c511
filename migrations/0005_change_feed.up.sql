-- The change feed: what a pipeline wants of it, and what each pipeline's feed is at present.
--
-- The triggers themselves, and the table they write into, belong to one pipeline each; the controller makes them in
-- homeostat_data when it first sees the pipeline. Locks: the declared table, for adding columns without rewriting it. Time:
-- milliseconds.

ALTER TABLE homeostat.pipeline
    ADD COLUMN capture text NOT NULL DEFAULT 'Auto',
    ADD COLUMN capture_from jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN sweep_interval interval NOT NULL DEFAULT '1 hour';
COMMENT ON COLUMN homeostat.pipeline.capture IS
    'Auto: triggers on the source name what changes, where the controller may make them; Off: sweeps find it';
COMMENT ON COLUMN homeostat.pipeline.capture_from IS
    'For a view: the tables behind it and how their columns map to its key, [{"table": "public.articles", "key": {"id": "id"}}]';
COMMENT ON COLUMN homeostat.pipeline.sweep_interval IS
    'How often all versions are compared while the change feed can be trusted; without one, drift_interval says';

-- Before check_pipeline, which compares canonical specs.
CREATE FUNCTION homeostat.check_capture() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    what text := format('pipeline "%s"', NEW.name);
    base jsonb;
    bases jsonb := '[]';
    wrong text;
BEGIN
    PERFORM homeostat.check_choice(what, 'capture', NEW.capture, '{Auto,Off}');
    IF NEW.sweep_interval < interval '10 seconds' OR NEW.sweep_interval > interval '365 days' THEN
        RAISE EXCEPTION '%: sweep_interval is %; it is between 10 seconds and 365 days', what, NEW.sweep_interval
            USING ERRCODE = 'check_violation';
    END IF;
    NEW.sweep_interval := make_interval(secs => extract(epoch FROM NEW.sweep_interval)::float8);
    IF jsonb_typeof(NEW.capture_from) <> 'array' THEN
        RAISE EXCEPTION '%: capture_from is no list; write [{"table": "schema.name", "key": {"view column": "its column"}}]', what
            USING ERRCODE = 'check_violation';
    END IF;
    FOR base IN SELECT * FROM jsonb_array_elements(NEW.capture_from) LOOP
        IF jsonb_typeof(base) <> 'object' OR jsonb_typeof(base -> 'table') IS DISTINCT FROM 'string'
           OR jsonb_typeof(base -> 'key') IS DISTINCT FROM 'object' OR base - 'table' - 'key' <> '{}' THEN
            RAISE EXCEPTION '%: an entry of capture_from is %; write {"table": "schema.name", "key": {"view column": "its column"}}',
                what, base USING ERRCODE = 'check_violation';
        END IF;
        IF to_regclass(base ->> 'table') IS NULL THEN
            RAISE EXCEPTION '%: capture_from names table %, which does not exist', what, base ->> 'table'
                USING ERRCODE = 'undefined_table';
        END IF;
        SELECT value INTO wrong FROM jsonb_each_text(base -> 'key') WHERE NOT EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(base ->> 'table') AND a.attname = value AND a.attnum > 0
                                         AND NOT a.attisdropped) LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION '%: capture_from maps to column "%", which is not in %', what, wrong,
                homeostat.relation_text(to_regclass(base ->> 'table')) USING ERRCODE = 'undefined_column';
        END IF;
        SELECT key INTO wrong FROM jsonb_each_text(base -> 'key') WHERE NOT EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(NEW.source) AND a.attname = key AND a.attnum > 0
                                         AND NOT a.attisdropped) LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION '%: capture_from maps column "%", which is not in %', what, wrong,
                homeostat.relation_text(to_regclass(NEW.source)) USING ERRCODE = 'undefined_column';
        END IF;
        -- Named once and for all, whatever the search path of whoever reads it.
        bases := bases || jsonb_build_array(jsonb_set(base, '{table}', to_jsonb((
            SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = to_regclass(base ->> 'table')))));
    END LOOP;
    NEW.capture_from := bases;
    RETURN NEW;
END $$;
CREATE TRIGGER capture_pipeline BEFORE INSERT OR UPDATE OF capture, capture_from, sweep_interval, source ON homeostat.pipeline
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_capture();

-- One row a pipeline whose feed is kept. Triggers read it once a statement, so it stays narrow and its updates stay in the page.
CREATE TABLE homeostat.feed (
    uid bigint PRIMARY KEY REFERENCES homeostat.pipeline ON DELETE CASCADE,
    asleep boolean NOT NULL DEFAULT false,
    run_id bigint NOT NULL DEFAULT nextval('homeostat.run_id'),
    fingerprint text NOT NULL DEFAULT '',
    trusted_since timestamptz,
    prune_window_start timestamptz,
    pruned_in_window bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
COMMENT ON COLUMN homeostat.feed.asleep IS 'Nobody looks: whoever changes the source sends a notification';
COMMENT ON COLUMN homeostat.feed.run_id IS 'Under which its batches are filed';
COMMENT ON COLUMN homeostat.feed.fingerprint IS 'The triggers as they were made; others are not trusted';
COMMENT ON COLUMN homeostat.feed.trusted_since IS 'Since when a complete sweep has begun with all triggers in place; NULL: not yet';

-- A sweep that begins while the feed is trusted counts what the feed should have named and did not.
ALTER TABLE homeostat.run
    ADD COLUMN feed_trusted boolean NOT NULL DEFAULT false,
    ADD COLUMN bypassed bigint NOT NULL DEFAULT 0;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_owner') THEN GRANT ALL ON homeostat.feed TO homeostat_owner; END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_controller') THEN
        GRANT ALL ON homeostat.feed TO homeostat_controller;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'homeostat_declarer') THEN
        GRANT SELECT ON homeostat.feed TO homeostat_declarer;
    END IF;
END $$;
