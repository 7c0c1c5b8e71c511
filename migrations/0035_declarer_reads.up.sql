-- What a declaration names must be readable for whom it is declared, and not for whoever writes the row: the controller writes the rows of
-- target views, and where a login of its own reads sources (database.reader_url, database.readers) it reads none of them itself.
--
-- Locks: none. Time: milliseconds.
CREATE FUNCTION homeostat.check_source(what text, source text, declarer text) RETURNS regclass LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parts text[] := homeostat.split_name(source, what);
    relation regclass;
    kind "char";
    reads text := CASE WHEN to_regrole(quote_ident(declarer)) IS NULL THEN current_user ELSE declarer END;
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
    IF NOT (has_table_privilege(reads, relation, 'SELECT') OR has_any_column_privilege(reads, relation, 'SELECT')) THEN
        RAISE EXCEPTION '%: role "%" may not read %; GRANT SELECT ON it first', what, reads,
            homeostat.relation_text(relation) USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN relation;
END $$;

CREATE FUNCTION homeostat.check_columns(what text, role text, relation regclass, names text[], declarer text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known text[] := homeostat.relation_columns(relation);
    reads text := CASE WHEN to_regrole(quote_ident(declarer)) IS NULL THEN current_user ELSE declarer END;
    n text;
BEGIN
    FOREACH n IN ARRAY names LOOP
        IF NOT n = ANY (known) THEN
            RAISE EXCEPTION '%: % column "%" is not in %', what, role, n, homeostat.relation_text(relation) ||
                homeostat.did_you_mean(n, known) USING ERRCODE = 'undefined_column';
        END IF;
        IF NOT has_column_privilege(reads, relation, n, 'SELECT') THEN
            RAISE EXCEPTION '%: role "%" may not read column "%" of %', what, reads, n,
                homeostat.relation_text(relation) USING ERRCODE = 'insufficient_privilege';
        END IF;
    END LOOP;
    IF cardinality(names) <> (SELECT count(DISTINCT u) FROM unnest(names) AS u) THEN
        RAISE EXCEPTION '%: the % columns name one column twice', what, role USING ERRCODE = 'duplicate_column';
    END IF;
END $$;

-- Whoever may call the ones before them may call these.
DO $do$
DECLARE
    g record;
    def text;
    f text;
    was text;
BEGIN
    FOR g IN SELECT p.proname, a.grantee FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) AS a
             WHERE p.oid IN ('homeostat.check_source(text, text)'::regprocedure,
                             'homeostat.check_columns(text, text, regclass, text[])'::regprocedure)
               AND a.grantee NOT IN (0, p.proowner) AND a.privilege_type = 'EXECUTE' LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION homeostat.%s TO %I',
            CASE g.proname WHEN 'check_source' THEN 'check_source(text, text, text)'
                           ELSE 'check_columns(text, text, regclass, text[], text)' END, pg_get_userbyid(g.grantee));
    END LOOP;
    REVOKE EXECUTE ON FUNCTION homeostat.check_source(text, text, text),
        homeostat.check_columns(text, text, regclass, text[], text) FROM PUBLIC;

    FOREACH f IN ARRAY '{homeostat.check_pipeline(),"homeostat.check_content(homeostat.pipeline, regclass)"}'::text[] LOOP
        def := pg_get_functiondef(f::regprocedure);
        FOREACH was IN ARRAY CASE WHEN f LIKE '%check_pipeline%'
                THEN ARRAY['check_source(what, NEW.source)', 'check_columns(what, ''key'', relation, key)']
                ELSE ARRAY['check_columns(what, ''content'', relation, content)', 'check_columns(what, ''metadata'', relation, named)',
                           'check_columns(what, ''version'', relation, ARRAY[p.version_column])'] END LOOP
            IF position(was IN def) = 0 THEN RAISE EXCEPTION '% is not as a migration made it', f; END IF;
            def := replace(def, was, left(was, -1) || CASE WHEN f LIKE '%check_pipeline%' THEN ', NEW.declared_by)' ELSE ', p.declared_by)' END);
        END LOOP;
        EXECUTE def;
    END LOOP;

    def := pg_get_functiondef('homeostat.check_key(text, regclass, text[], text)'::regprocedure);
    was := '    -- What a view, a policy or a foreign server does, it does with the rights of whoever looks;';
    IF position(was IN def) = 0 THEN RAISE EXCEPTION 'homeostat.check_key() is not as a migration made it'; END IF;
    EXECUTE replace(def, was, $is$    -- Who may not look leaves it to the first pass, in which whoever reads sources does.
    IF NOT has_table_privilege(relation, 'SELECT') AND EXISTS (
        SELECT FROM unnest(key) AS u(named) WHERE NOT has_column_privilege(relation, u.named, 'SELECT')) THEN
        RETURN;
    END IF;
$is$ || was);
END $do$;
