-- Whoever writes the row must be able to read what it names, as before.
--
-- Locks: none. Time: milliseconds.
DO $do$
DECLARE
    def text;
    f text;
    now text;
BEGIN
    FOREACH f IN ARRAY '{homeostat.check_pipeline(),"homeostat.check_content(homeostat.pipeline, regclass)"}'::text[] LOOP
        def := pg_get_functiondef(f::regprocedure);
        FOREACH now IN ARRAY CASE WHEN f LIKE '%check_pipeline%'
                THEN ARRAY['check_source(what, NEW.source, NEW.declared_by)', 'check_columns(what, ''key'', relation, key, NEW.declared_by)']
                ELSE ARRAY['check_columns(what, ''content'', relation, content, p.declared_by)',
                           'check_columns(what, ''metadata'', relation, named, p.declared_by)',
                           'check_columns(what, ''version'', relation, ARRAY[p.version_column], p.declared_by)'] END LOOP
            IF position(now IN def) = 0 THEN RAISE EXCEPTION '% is not as a migration made it', f; END IF;
            def := replace(def, now, regexp_replace(now, ', (NEW|p)\.declared_by\)$', ')'));
        END LOOP;
        EXECUTE def;
    END LOOP;
    def := pg_get_functiondef('homeostat.check_key(text, regclass, text[], text)'::regprocedure);
    EXECUTE replace(def, $is$    -- Who may not look leaves it to the first pass, in which whoever reads sources does.
    IF NOT has_table_privilege(relation, 'SELECT') AND EXISTS (
        SELECT FROM unnest(key) AS u(named) WHERE NOT has_column_privilege(relation, u.named, 'SELECT')) THEN
        RETURN;
    END IF;
$is$, '');
END $do$;

DROP FUNCTION homeostat.check_source(text, text, text);
DROP FUNCTION homeostat.check_columns(text, text, regclass, text[], text);
