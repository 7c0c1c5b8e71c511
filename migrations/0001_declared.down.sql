-- The extension stays: others may use it. Schema homeostat goes last, with the ledger of migrations, by the migrator itself.
DROP TABLE homeostat.pipeline;
DROP TABLE homeostat.provider;
DROP FUNCTION homeostat.keep_used_provider();
DROP FUNCTION homeostat.check_provider();
DROP FUNCTION homeostat.relation_closure(oid);
DROP FUNCTION homeostat.split_name(text, text);
DROP FUNCTION homeostat.template_columns(text);
DROP FUNCTION homeostat.column_list_text(text[]);
DROP FUNCTION homeostat.column_list(text);
DROP FUNCTION homeostat.did_you_mean(text, text[]);
DROP FUNCTION homeostat.edit_distance(text, text);
DROP SCHEMA homeostat_data;
