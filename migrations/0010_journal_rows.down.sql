DO $$
DECLARE
    j record;
BEGIN
    FOR j IN SELECT format('homeostat_data.p%s_r%s', uid, revision) AS of, format('p%s_r%s', uid, revision) AS name
             FROM homeostat.revision WHERE to_regclass(format('homeostat_data.p%s_r%s_journal', uid, revision)) IS NOT NULL LOOP
        EXECUTE format('ALTER TABLE %1$s_journal DROP CONSTRAINT %2$s_journal_pkey,'
                       ' ALTER COLUMN document TYPE jsonb USING to_jsonb(document), ADD PRIMARY KEY (entry)', j.of, j.name);
        EXECUTE format('CREATE INDEX %2$s_journal_document ON %1$s_journal (document_id, write_token)', j.of, j.name);
    END LOOP;
END $$;
