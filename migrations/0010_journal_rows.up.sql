-- The journal keeps a replaced document as a row of its own table's type, beside the chunk it had, instead of as JSON in an entry
-- of its own: writing it takes half as long. Its entries are ordered by the write that made them.
--
-- Locks: each journal, exclusively, while it is rewritten. Time: the journals are what was replaced and removed within the last
-- weeks (history.weeks); some 20 microseconds an entry.
DO $$
DECLARE
    j record;
BEGIN
    FOR j IN SELECT format('homeostat_data.p%s_r%s', uid, revision) AS of, format('p%s_r%s', uid, revision) AS name
             FROM homeostat.revision WHERE to_regclass(format('homeostat_data.p%s_r%s_journal', uid, revision)) IS NOT NULL LOOP
        EXECUTE format('DROP INDEX IF EXISTS %s_journal_document', j.of);
        EXECUTE format('ALTER TABLE %1$s_journal DROP CONSTRAINT %2$s_journal_pkey,'
                       ' ALTER COLUMN document TYPE %1$s_document USING jsonb_populate_record(NULL::%1$s_document, document),'
                       ' ADD PRIMARY KEY (write_token, document_id, entry)', j.of, j.name);
    END LOOP;
END $$;
