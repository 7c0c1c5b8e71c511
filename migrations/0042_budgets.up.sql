-- Budgets: so many tokens, or so much money, a run and a day, on pipelines and providers, shared by all replicas; and plans that wait for
-- approval because they cost more than is declared.
--
-- What a claim may still cost is reserved on its batch, under the claim's own token, before anything is asked; so a reservation is over
-- whenever its claim is, however that ends. What was really paid is added in the transaction that ends the claim. Rows of budget_use
-- are there only where a budget is declared, and are locked in the order of their primary key, always.
--
-- Locks: the tables provider, pipeline and batch, for columns that rewrite nothing, and an index of batch, which is small. Time:
-- milliseconds.

ALTER TABLE homeostat.provider ADD COLUMN currency text NOT NULL DEFAULT 'USD', ADD COLUMN max_tokens_per_run bigint,
    ADD COLUMN max_tokens_per_day bigint, ADD COLUMN max_cost_per_run numeric, ADD COLUMN max_cost_per_day numeric;
ALTER TABLE homeostat.pipeline ADD COLUMN currency text, ADD COLUMN max_tokens_per_run bigint, ADD COLUMN max_tokens_per_day bigint,
    ADD COLUMN max_cost_per_run numeric, ADD COLUMN max_cost_per_day numeric, ADD COLUMN approve_above numeric;
COMMENT ON COLUMN homeostat.provider.currency IS 'Of its price and of its budgets, in three letters';
COMMENT ON COLUMN homeostat.provider.max_tokens_per_run IS 'The most that one run of a pipeline may have embedded by it';
COMMENT ON COLUMN homeostat.provider.max_tokens_per_day IS 'The most that all pipelines together may have embedded by it in a day (UTC)';
COMMENT ON COLUMN homeostat.provider.max_cost_per_run IS 'The same as max_tokens_per_run, in money';
COMMENT ON COLUMN homeostat.provider.max_cost_per_day IS 'The same as max_tokens_per_day, in money';
COMMENT ON COLUMN homeostat.pipeline.currency IS 'Of its budgets and of approve_above; NULL: that of its provider, which it may not differ from';
COMMENT ON COLUMN homeostat.pipeline.max_tokens_per_run IS 'The most that a run may have embedded; NULL: any number';
COMMENT ON COLUMN homeostat.pipeline.max_tokens_per_day IS 'The most that may be embedded for it in a day (UTC), edits included; NULL: any number';
COMMENT ON COLUMN homeostat.pipeline.max_cost_per_run IS 'The same as max_tokens_per_run, in money';
COMMENT ON COLUMN homeostat.pipeline.max_cost_per_day IS 'The same as max_tokens_per_day, in money';
COMMENT ON COLUMN homeostat.pipeline.approve_above IS 'A run that is estimated to cost more than this waits for approval; NULL: none does';

ALTER TABLE homeostat.batch ADD COLUMN reserved_tokens bigint NOT NULL DEFAULT 0, ADD COLUMN reserved_under bigint;
COMMENT ON COLUMN homeostat.batch.reserved_tokens IS 'Of its budgets, while it is claimed under the token reserved_under';
CREATE INDEX batch_reserved ON homeostat.batch (uid) WHERE reserved_under IS NOT NULL;

-- ---------------------------------------------------------------------------------------------------------------------------
-- What may be declared

CREATE FUNCTION homeostat.check_budgets(what text, run_tokens bigint, day_tokens bigint, run_cost numeric, day_cost numeric, currency text)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b record;
BEGIN
    FOR b IN SELECT * FROM (VALUES ('max_tokens_per_run', run_tokens::numeric), ('max_tokens_per_day', day_tokens::numeric),
                                   ('max_cost_per_run', run_cost), ('max_cost_per_day', day_cost)) AS v(name, most) LOOP
        IF b.most <= 0 OR b.most IN ('NaN', 'Infinity') THEN
            RAISE EXCEPTION '%: % is %; a budget is more than 0: leave it out (NULL) where there is none, and suspend what shall cost '
                'nothing', what, b.name, b.most USING ERRCODE = 'check_violation';
        END IF;
    END LOOP;
    IF currency !~ '^[A-Z]{3}$' THEN
        RAISE EXCEPTION '%: currency "%" is none; write its three letters, such as USD', what, currency USING ERRCODE = 'check_violation';
    END IF;
END $$;

CREATE FUNCTION homeostat.check_pipeline_budgets() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('pipeline "%s"', NEW.name);
    o record;
BEGIN
    PERFORM homeostat.check_budgets(what, NEW.max_tokens_per_run, NEW.max_tokens_per_day, NEW.max_cost_per_run, NEW.max_cost_per_day,
                                    NEW.currency);
    IF NEW.approve_above < 0 OR NEW.approve_above IN ('NaN', 'Infinity') THEN
        RAISE EXCEPTION '%: approve_above is %; it is an amount of 0 or more: with 0 every run that costs anything waits', what,
            NEW.approve_above USING ERRCODE = 'check_violation';
    END IF;
    SELECT p.currency, p.price_per_million_tokens AS price INTO o FROM homeostat.provider p WHERE p.name = NEW.provider;
    IF NEW.currency <> o.currency THEN
        RAISE EXCEPTION '%: its amounts are in % and the price of provider "%" is in %; declare them in %', what, NEW.currency,
            NEW.provider, o.currency, o.currency USING ERRCODE = 'check_violation';
    END IF;
    IF o.price = 0 AND coalesce(NEW.max_cost_per_run, NEW.max_cost_per_day, NEW.approve_above) IS NOT NULL THEN
        RAISE EXCEPTION '%: provider "%" has no price, so an amount of money would hold nothing back; give it a '
            'price_per_million_tokens, or declare max_tokens_per_run and max_tokens_per_day', what, NEW.provider
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
-- After check_pipeline, which knows whether there is such a provider: triggers fire in the order of their names.
CREATE TRIGGER check_pipeline_budgets BEFORE INSERT ON homeostat.pipeline FOR EACH ROW
    WHEN (coalesce(NEW.max_tokens_per_run, NEW.max_tokens_per_day, NEW.max_cost_per_run, NEW.max_cost_per_day, NEW.approve_above) IS NOT NULL
          OR NEW.currency IS NOT NULL)
    EXECUTE FUNCTION homeostat.check_pipeline_budgets();
CREATE TRIGGER check_pipeline_budgets_update BEFORE UPDATE OF provider, currency, max_tokens_per_run, max_tokens_per_day,
    max_cost_per_run, max_cost_per_day, approve_above ON homeostat.pipeline FOR EACH ROW
    EXECUTE FUNCTION homeostat.check_pipeline_budgets();

CREATE FUNCTION homeostat.check_provider_budgets() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('provider "%s"', NEW.name);
    p record;
BEGIN
    PERFORM homeostat.check_budgets(what, NEW.max_tokens_per_run, NEW.max_tokens_per_day, NEW.max_cost_per_run, NEW.max_cost_per_day,
                                    NEW.currency);
    IF NEW.price_per_million_tokens = 0 AND coalesce(NEW.max_cost_per_run, NEW.max_cost_per_day) IS NOT NULL THEN
        RAISE EXCEPTION '%: it has no price, so a budget of money would hold nothing back; give it a price_per_million_tokens, or declare '
            'max_tokens_per_run and max_tokens_per_day', what USING ERRCODE = 'check_violation';
    END IF;
    SELECT o.name, o.currency, o.currency <> NEW.currency AS other INTO p FROM homeostat.pipeline o
    WHERE o.provider = NEW.name AND o.deletion_requested_at IS NULL AND (o.currency <> NEW.currency OR (NEW.price_per_million_tokens = 0
        AND coalesce(o.max_cost_per_run, o.max_cost_per_day, o.approve_above) IS NOT NULL))
    ORDER BY o.name LIMIT 1;
    IF p.other THEN
        RAISE EXCEPTION '%: its price would be in % and the amounts of pipeline "%" are in %; take those away first', what, NEW.currency,
            p.name, p.currency USING ERRCODE = 'check_violation';
    ELSIF p.name IS NOT NULL THEN
        RAISE EXCEPTION '%: without a price the amounts of money of pipeline "%" would hold nothing back; take those away first', what,
            p.name USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_provider_budgets BEFORE INSERT OR UPDATE OF currency, price_per_million_tokens, max_tokens_per_run,
    max_tokens_per_day, max_cost_per_run, max_cost_per_day ON homeostat.provider FOR EACH ROW
    EXECUTE FUNCTION homeostat.check_provider_budgets();

-- ---------------------------------------------------------------------------------------------------------------------------
-- What was paid

CREATE TABLE homeostat.budget_use (
    scope text NOT NULL CHECK (scope IN ('pipeline', 'provider', 'run')),
    id bigint NOT NULL,
    pipeline bigint REFERENCES homeostat.pipeline ON DELETE CASCADE,
    provider bigint REFERENCES homeostat.provider ON DELETE CASCADE,
    day date NOT NULL,
    tokens bigint NOT NULL DEFAULT 0,
    cost numeric NOT NULL DEFAULT 0,
    grants int NOT NULL DEFAULT 0 CHECK (grants >= 0),
    granted_by text,
    granted_at timestamptz,
    PRIMARY KEY (scope, id),
    CHECK ((scope = 'provider') = (provider IS NOT NULL) AND (scope = 'provider') = (pipeline IS NULL))
);
CREATE INDEX budget_use_pipeline ON homeostat.budget_use (pipeline);
CREATE INDEX budget_use_provider ON homeostat.budget_use (provider);
COMMENT ON TABLE homeostat.budget_use IS 'What was paid of each budget that is declared: of the day of a pipeline or provider, and of a run';
COMMENT ON COLUMN homeostat.budget_use.id IS 'Of the pipeline, provider or run';
COMMENT ON COLUMN homeostat.budget_use.day IS 'In UTC; what was paid and granted on an earlier one counts no more, but for a run';
COMMENT ON COLUMN homeostat.budget_use.grants IS 'How often it was approved: each time the budget is there once more';

CREATE FUNCTION homeostat.today() RETURNS date LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN (clock_timestamp() AT TIME ZONE 'UTC')::date;

-- A row a budget, in tokens and in money.
CREATE VIEW homeostat.budget WITH (security_barrier) AS
SELECT u.scope, u.id, u.pipeline, u.provider, w.name, b.per, b.unit, b.most AS declared, b.most * (1 + n.grants) AS budget,
       b.used, b.reserved, b.used >= b.most * (1 + n.grants) AS spent, n.grants, p.uid AS of_pipeline,
       'budget-' || left(md5(concat_ws(' ', u.scope, u.id, CASE WHEN u.scope <> 'run' THEN homeostat.today() END, n.grants)), 12) AS plan,
       format('%s has spent %s of its %s %s a %s', CASE u.scope WHEN 'provider' THEN 'provider' ELSE 'pipeline' END || format(' "%s"', w.name),
              trim_scale(round(b.used, 4)), trim_scale(round(b.most * (1 + n.grants), 4)), b.unit, b.per) AS message
FROM homeostat.budget_use u
LEFT JOIN homeostat.pipeline p ON p.uid = u.pipeline
JOIN homeostat.provider o ON o.uid = u.provider OR o.name = p.provider
CROSS JOIN LATERAL (SELECT coalesce(p.name, o.name) AS name, u.scope = 'run' OR u.day = homeostat.today() AS counts) w
CROSS JOIN LATERAL (SELECT CASE WHEN w.counts THEN u.grants ELSE 0 END AS grants) n
CROSS JOIN LATERAL (
    SELECT coalesce(sum(t.reserved_tokens), 0)::numeric AS tokens FROM homeostat.batch t JOIN homeostat.pipeline q USING (uid)
    WHERE t.reserved_under = t.claim_token AND CASE u.scope WHEN 'pipeline' THEN t.uid = u.id WHEN 'run' THEN t.run_id = u.id
                                                            ELSE coalesce(t.provider, q.provider) = o.name END) r
CROSS JOIN LATERAL (VALUES
    (CASE u.scope WHEN 'run' THEN 'run' ELSE 'day' END, 'tokens',
     CASE u.scope WHEN 'run' THEN least(p.max_tokens_per_run, o.max_tokens_per_run)
                  WHEN 'pipeline' THEN p.max_tokens_per_day ELSE o.max_tokens_per_day END::numeric,
     CASE WHEN w.counts THEN u.tokens ELSE 0 END::numeric, r.tokens),
    (CASE u.scope WHEN 'run' THEN 'run' ELSE 'day' END, o.currency,
     CASE u.scope WHEN 'run' THEN least(p.max_cost_per_run, o.max_cost_per_run)
                  WHEN 'pipeline' THEN p.max_cost_per_day ELSE o.max_cost_per_day END,
     CASE WHEN w.counts THEN u.cost ELSE 0 END, r.tokens * o.price_per_million_tokens / 1000000)) AS b(per, unit, most, used, reserved)
WHERE b.most IS NOT NULL AND (u.scope <> 'run' OR EXISTS (SELECT FROM homeostat.run x WHERE x.id = u.id))
  AND ((SELECT homeostat.sees_all()) OR homeostat.acts_for(coalesce(p.declared_by, o.declared_by)) OR (u.scope = 'provider' AND EXISTS (
      SELECT FROM homeostat.pipeline q WHERE q.provider = o.name AND homeostat.acts_for(q.declared_by))));
COMMENT ON VIEW homeostat.budget IS 'Budgets that anything was paid of: what is declared, granted, paid, and reserved for what is asked just now';

-- Makes the rows of what a batch is paid from, where there are none, or those of an earlier day, and locks them. What was paid today
-- before the budget was declared counts.
CREATE FUNCTION homeostat.open_budgets(of_pipeline bigint, of_run bigint, of_provider bigint) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today date := homeostat.today();
BEGIN
    DELETE FROM homeostat.budget_use u WHERE u.scope = 'run' AND u.pipeline = of_pipeline AND u.id <> of_run
        AND NOT EXISTS (SELECT FROM homeostat.run r WHERE r.id = u.id);
    INSERT INTO homeostat.budget_use AS u (scope, id, pipeline, provider, day, tokens, cost)
    SELECT w.scope, w.id, w.pipeline, w.provider, today, coalesce(h.tokens, 0), coalesce(h.tokens * w.price / 1000000, 0)
    FROM (SELECT 'pipeline' AS scope, p.uid AS id, p.uid AS pipeline, NULL::bigint AS provider, o.price_per_million_tokens AS price
          FROM homeostat.pipeline p JOIN homeostat.provider o ON o.uid = of_provider
          WHERE p.uid = of_pipeline AND (p.max_tokens_per_day IS NOT NULL OR p.max_cost_per_day IS NOT NULL)
          UNION ALL
          SELECT 'provider', o.uid, NULL, o.uid, o.price_per_million_tokens FROM homeostat.provider o
          WHERE o.uid = of_provider AND (o.max_tokens_per_day IS NOT NULL OR o.max_cost_per_day IS NOT NULL)
          UNION ALL
          SELECT 'run', of_run, p.uid, NULL, o.price_per_million_tokens
          FROM homeostat.pipeline p JOIN homeostat.provider o ON o.uid = of_provider
          WHERE p.uid = of_pipeline AND of_run IS NOT NULL
            AND coalesce(p.max_tokens_per_run, o.max_tokens_per_run, p.max_cost_per_run, o.max_cost_per_run) IS NOT NULL) w
    LEFT JOIN LATERAL (
        SELECT sum(b.tokens + b.wasted_tokens)::bigint AS tokens FROM homeostat.batch_history b
        WHERE NOT EXISTS (SELECT FROM homeostat.budget_use x WHERE x.scope = w.scope AND x.id = w.id)
          AND CASE w.scope WHEN 'run' THEN b.run_id = w.id
                           WHEN 'pipeline' THEN b.uid = w.id AND b.ended_at >= today::timestamp AT TIME ZONE 'UTC'
                           ELSE b.ended_at >= today::timestamp AT TIME ZONE 'UTC' AND b.uid IN (
                               SELECT p.uid FROM homeostat.pipeline p JOIN homeostat.provider o ON o.name = p.provider AND o.uid = w.id) END
    ) h ON true
    WHERE NOT EXISTS (SELECT FROM homeostat.budget_use x WHERE x.scope = w.scope AND x.id = w.id AND (x.day = today OR w.scope = 'run'))
    ORDER BY w.scope, w.id
    ON CONFLICT (scope, id) DO UPDATE SET day = excluded.day, tokens = 0, cost = 0, grants = 0, granted_by = NULL, granted_at = NULL
        WHERE u.scope <> 'run' AND u.day < excluded.day;
    PERFORM FROM homeostat.budget_use u
    WHERE (u.scope, u.id) IN (('pipeline', of_pipeline), ('provider', of_provider), ('run', of_run)) ORDER BY u.scope, u.id FOR UPDATE;
END $$;

-- Whether a claimed batch may ask for texts of so many tokens, by estimate: as long as something of each of its budgets is left. Then they
-- are reserved and NULL is returned; else what is spent (its scope, a blank, and a sentence), or '' where all that is left is reserved for others just now, or '-' where the
-- claim is not the caller's any more. One statement, whose parts each see what was committed before them.
CREATE FUNCTION homeostat.reserve_budget(of_batch bigint, claim bigint, ask bigint) RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b record;
    refused record;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);  -- as its claim: a crash that loses one loses the other
    SELECT t.uid, o.uid AS provider, CASE WHEN NOT EXISTS (
        SELECT FROM homeostat.feed f WHERE f.uid = t.uid AND f.run_id = t.run_id) THEN t.run_id END AS run INTO b
    FROM homeostat.batch t JOIN homeostat.pipeline p USING (uid) JOIN homeostat.provider o ON o.name = coalesce(t.provider, p.provider)
    WHERE t.id = of_batch AND t.claim_token = claim;
    IF NOT FOUND THEN RETURN '-'; END IF;
    PERFORM homeostat.open_budgets(b.uid, b.run, b.provider);
    SELECT x.spent, x.scope || ' ' || x.message AS message INTO refused FROM homeostat.budget x
    WHERE (x.scope, x.id) IN (('pipeline', b.uid), ('provider', b.provider), ('run', b.run)) AND x.used + x.reserved >= x.budget
    ORDER BY x.spent DESC, x.scope LIMIT 1;
    IF FOUND THEN RETURN CASE WHEN refused.spent THEN refused.message ELSE '' END; END IF;
    UPDATE homeostat.batch t SET reserved_under = claim,
        reserved_tokens = ask + CASE WHEN t.reserved_under = claim THEN t.reserved_tokens ELSE 0 END
    WHERE t.id = of_batch AND t.claim_token = claim;
    RETURN CASE WHEN NOT FOUND THEN '-' END;
END $$;

-- What a claim has paid, to whom; in the transaction that ends the claim, and with it the reservation.
CREATE FUNCTION homeostat.settle_budget(of_pipeline bigint, of_run bigint, payees bigint[], paid bigint[]) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today date := homeostat.today();
    all_tokens bigint;
    all_cost numeric;
    o record;
BEGIN
    SELECT sum(w.tokens), sum(w.tokens * coalesce(p.price_per_million_tokens, 0) / 1000000) INTO all_tokens, all_cost
    FROM unnest(payees, paid) AS w(uid, tokens) LEFT JOIN homeostat.provider p USING (uid);
    UPDATE homeostat.budget_use u SET day = today, tokens = all_tokens + CASE WHEN u.day = today THEN u.tokens ELSE 0 END,
        cost = all_cost + CASE WHEN u.day = today THEN u.cost ELSE 0 END, grants = CASE WHEN u.day = today THEN u.grants ELSE 0 END
    WHERE u.scope = 'pipeline' AND u.id = of_pipeline;
    -- Also of one of a pool that stands in, and that no pipeline asks otherwise.
    FOR o IN SELECT p.uid, w.tokens, w.tokens * p.price_per_million_tokens / 1000000 AS cost
             FROM unnest(payees, paid) AS w(uid, tokens) JOIN homeostat.provider p USING (uid)
             WHERE p.max_tokens_per_day IS NOT NULL OR p.max_cost_per_day IS NOT NULL ORDER BY p.uid LOOP
        INSERT INTO homeostat.budget_use AS u (scope, id, provider, day, tokens, cost)
        VALUES ('provider', o.uid, o.uid, today, o.tokens, o.cost)
        ON CONFLICT (scope, id) DO UPDATE SET day = today,
            tokens = excluded.tokens + CASE WHEN u.day = today THEN u.tokens ELSE 0 END,
            cost = excluded.cost + CASE WHEN u.day = today THEN u.cost ELSE 0 END, grants = CASE WHEN u.day = today THEN u.grants ELSE 0 END;
    END LOOP;
    UPDATE homeostat.budget_use u SET tokens = u.tokens + all_tokens, cost = u.cost + all_cost WHERE u.scope = 'run' AND u.id = of_run;
END $$;

-- A budget that is not declared any more is counted from the history when it is again.
CREATE FUNCTION homeostat.forget_budget_use() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.max_tokens_per_day IS NULL AND NEW.max_cost_per_day IS NULL THEN
        DELETE FROM homeostat.budget_use u WHERE u.scope = TG_TABLE_NAME AND u.id = NEW.uid;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_budget_use AFTER UPDATE OF max_tokens_per_day, max_cost_per_day ON homeostat.pipeline FOR EACH ROW
    WHEN (coalesce(OLD.max_tokens_per_day, OLD.max_cost_per_day) IS NOT NULL) EXECUTE FUNCTION homeostat.forget_budget_use();
CREATE TRIGGER forget_budget_use AFTER UPDATE OF max_tokens_per_day, max_cost_per_day ON homeostat.provider FOR EACH ROW
    WHEN (coalesce(OLD.max_tokens_per_day, OLD.max_cost_per_day) IS NOT NULL) EXECUTE FUNCTION homeostat.forget_budget_use();

-- ---------------------------------------------------------------------------------------------------------------------------
-- Approval

-- A plan that costs more than the pipeline's approve_above, as it was observed last.
CREATE TABLE homeostat.held_plan (
    uid bigint PRIMARY KEY REFERENCES homeostat.pipeline ON DELETE CASCADE,
    plan text NOT NULL,
    generation bigint NOT NULL,
    documents bigint NOT NULL,
    tokens bigint NOT NULL,
    cost numeric NOT NULL,
    currency text NOT NULL,
    held_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    approved_by text,
    approved_at timestamptz
);
COMMENT ON TABLE homeostat.held_plan IS 'Plans that wait for approval because of what they cost, and those that were approved, until their run has ended';

-- Whose it is approves it: the pipeline's declarer, the provider's for its own; nobody sets another member of the row.
CREATE FUNCTION homeostat.check_approval() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    o record;
    other record;
BEGIN
    IF TG_TABLE_NAME = 'held_plan' THEN
        SELECT 'pipeline' AS kind, p.uid, p.name, p.declared_by INTO o FROM homeostat.pipeline p WHERE p.uid = NEW.uid;
    ELSIF to_jsonb(NEW) ->> 'scope' = 'provider' THEN
        SELECT 'provider' AS kind, NULL::bigint AS uid, p.name, p.declared_by INTO o FROM homeostat.provider p
        WHERE p.uid = (to_jsonb(NEW) ->> 'provider')::bigint;
    ELSE
        SELECT 'pipeline' AS kind, p.uid, p.name, p.declared_by INTO o FROM homeostat.pipeline p
        WHERE p.uid = (to_jsonb(NEW) ->> 'pipeline')::bigint;
    END IF;
    IF NOT homeostat.acts_for(o.declared_by) THEN
        RAISE EXCEPTION '% "%": it was declared by role "%", so role "%" may not approve what it costs; become a member of that role, or of homeostat_admin',
            o.kind, o.name, coalesce(o.declared_by, 'unknown'), current_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Of the two budgets of a run the lower one holds; that of the provider is its own declarer's.
    IF TG_TABLE_NAME = 'budget_use' AND to_jsonb(NEW) ->> 'scope' = 'run' THEN
        SELECT v.name, v.declared_by INTO other FROM homeostat.pipeline p JOIN homeostat.provider v ON v.name = p.provider
        WHERE p.uid = o.uid AND NOT homeostat.acts_for(v.declared_by)
          AND (v.max_tokens_per_run < coalesce(p.max_tokens_per_run, 9223372036854775807)
               OR v.max_cost_per_run < coalesce(p.max_cost_per_run, 'Infinity'));
        IF FOUND THEN
            RAISE EXCEPTION 'pipeline "%": its run is held by the budget that provider "%" has of a run, which role "%" declared; ask that role for more',
                o.name, other.name, coalesce(other.declared_by, 'unknown') USING ERRCODE = 'insufficient_privilege';
        END IF;
    END IF;
    PERFORM pg_notify('homeostat', p.uid::text) FROM homeostat.pipeline p WHERE p.uid = o.uid OR (o.kind = 'provider' AND p.provider = o.name);
    IF TG_TABLE_NAME = 'held_plan' THEN
        NEW.approved_by := current_user;
        NEW.approved_at := clock_timestamp();
    ELSE
        NEW.granted_by := current_user;
        NEW.granted_at := clock_timestamp();
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_approval BEFORE UPDATE OF grants ON homeostat.budget_use FOR EACH ROW
    WHEN (NEW.grants <> OLD.grants AND NEW.day = OLD.day) EXECUTE FUNCTION homeostat.check_approval();
CREATE TRIGGER check_approval BEFORE UPDATE OF approved_at ON homeostat.held_plan FOR EACH ROW
    WHEN (NEW.approved_at IS NOT NULL) EXECUTE FUNCTION homeostat.check_approval();

CREATE VIEW homeostat.own_budget_use WITH (security_barrier) AS SELECT t.* FROM homeostat.budget_use t
    WHERE (SELECT homeostat.sees_all()) OR t.pipeline IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by))
       OR t.provider IN (SELECT o.uid FROM homeostat.provider o WHERE homeostat.acts_for(o.declared_by) UNION ALL
                         SELECT o.uid FROM homeostat.provider o JOIN homeostat.pipeline p ON p.provider = o.name
                         WHERE homeostat.acts_for(p.declared_by));
COMMENT ON VIEW homeostat.own_budget_use IS 'What of budget_use concerns whoever looks';
CREATE VIEW homeostat.own_held_plan WITH (security_barrier) AS SELECT t.* FROM homeostat.held_plan t
    WHERE (SELECT homeostat.sees_all()) OR t.uid IN (SELECT p.uid FROM homeostat.pipeline p WHERE homeostat.acts_for(p.declared_by));
COMMENT ON VIEW homeostat.own_held_plan IS 'What of held_plan concerns whoever looks';

DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.make_roles()'::regprocedure);
    before text := 'GRANT DELETE ON homeostat.own_dead_letter TO {0};  -- to have them tried again';
BEGIN
    IF position(before IN def) = 0 THEN RAISE EXCEPTION 'homeostat.make_roles() is not as migration 0022 made it'; END IF;
    EXECUTE replace(def, before, before || $grants$
            GRANT UPDATE (grants) ON homeostat.own_budget_use TO {0};
            GRANT UPDATE (approved_at) ON homeostat.own_held_plan TO {0};$grants$);
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('homeostat_owner', 'homeostat_controller', 'homeostat_declarer')) = 3 THEN
        PERFORM homeostat.make_roles();
    END IF;
END $$;
