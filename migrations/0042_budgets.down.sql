-- Nothing is held back because of what it costs any more. Locks: the tables provider, pipeline and batch, for dropping columns. Time:
-- milliseconds.
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.make_roles()'::regprocedure);
BEGIN
    EXECUTE replace(def, $grants$
            GRANT UPDATE (grants) ON homeostat.own_budget_use TO {0};
            GRANT UPDATE (approved_at) ON homeostat.own_held_plan TO {0};$grants$, '');
END $$;
DROP TRIGGER forget_budget_use ON homeostat.pipeline;
DROP TRIGGER forget_budget_use ON homeostat.provider;
DROP TRIGGER check_pipeline_budgets ON homeostat.pipeline;
DROP TRIGGER check_pipeline_budgets_update ON homeostat.pipeline;
DROP TRIGGER check_provider_budgets ON homeostat.provider;
DROP VIEW homeostat.budget, homeostat.own_budget_use, homeostat.own_held_plan;
DROP TABLE homeostat.budget_use, homeostat.held_plan;
DROP FUNCTION homeostat.reserve_budget(bigint, bigint, bigint);
DROP FUNCTION homeostat.settle_budget(bigint, bigint, bigint[], bigint[]);
DROP FUNCTION homeostat.open_budgets(bigint, bigint, bigint);
DROP FUNCTION homeostat.check_approval();
DROP FUNCTION homeostat.forget_budget_use();
DROP FUNCTION homeostat.check_provider_budgets();
DROP FUNCTION homeostat.check_pipeline_budgets();
DROP FUNCTION homeostat.check_budgets(text, bigint, bigint, numeric, numeric, text);
DROP FUNCTION homeostat.today();
DROP INDEX homeostat.batch_reserved;
ALTER TABLE homeostat.batch DROP COLUMN reserved_tokens, DROP COLUMN reserved_under;
ALTER TABLE homeostat.pipeline DROP COLUMN currency, DROP COLUMN max_tokens_per_run, DROP COLUMN max_tokens_per_day,
    DROP COLUMN max_cost_per_run, DROP COLUMN max_cost_per_day, DROP COLUMN approve_above;
ALTER TABLE homeostat.provider DROP COLUMN currency, DROP COLUMN max_tokens_per_run, DROP COLUMN max_tokens_per_day,
    DROP COLUMN max_cost_per_run, DROP COLUMN max_cost_per_day;
DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
