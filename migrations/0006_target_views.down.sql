-- Pipelines that a target view declared stay, as if people had declared them. check_dependencies stays as it is: it says the same.
DROP VIEW homeostat.target_views;
DROP TABLE homeostat.target_view_condition;
DROP TABLE homeostat.target_view_status;
DROP TABLE homeostat.target_view_row;
DROP TRIGGER keep_owned_pipeline ON homeostat.pipeline;
DROP FUNCTION homeostat.keep_owned_pipeline();
DROP FUNCTION homeostat.check_declarer(homeostat.pipeline, homeostat.target_view);
ALTER TABLE homeostat.pipeline DROP COLUMN target_view;
DO $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION homeostat.control_columns() RETURNS text[] LANGUAGE sql IMMUTABLE AS %L',
                   format('SELECT %L::text[]', array_remove(homeostat.control_columns(), 'target_view')));
    IF to_regrole('homeostat_controller') IS NOT NULL THEN
        REVOKE INSERT, UPDATE ON homeostat.pipeline FROM homeostat_controller;
        GRANT UPDATE (finalizers, suspend, suspend_until) ON homeostat.pipeline TO homeostat_controller;
    END IF;
    IF to_regrole('homeostat_declarer') IS NOT NULL THEN
        REVOKE USAGE ON SEQUENCE homeostat.pipeline_uid_seq FROM homeostat_declarer;
    END IF;
END $$;
DROP TRIGGER finalize_target_view ON homeostat.target_view;
DROP TRIGGER check_target_view ON homeostat.target_view;
DROP FUNCTION homeostat.finalize_target_view();
DROP FUNCTION homeostat.check_target_view();
DROP FUNCTION homeostat.check_target_view_spec(homeostat.target_view);
DROP TABLE homeostat.target_view;
DROP FUNCTION homeostat.target_view_control_columns();
DROP FUNCTION homeostat.target_view_columns(text, regclass);
DROP FUNCTION homeostat.declarable_columns();
DROP FUNCTION homeostat.type_fits(oid, oid);
