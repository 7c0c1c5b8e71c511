-- What could not be carried out is refused when it is asked for, with a sentence: a price that is no amount, a document's key with NULL
-- or with lists in it, a checkpoint without a name. A price of NaN or infinity would make every budget of money meaningless; one that
-- stands in a table already is left there until the provider is declared again.
--
-- Locks: homeostat.provider, homeostat.erasure and homeostat.checkpoint, for a trigger each. Time: milliseconds.

CREATE FUNCTION homeostat.check_price() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.price_per_million_tokens IN ('NaN', 'Infinity', '-Infinity') THEN
        RAISE EXCEPTION 'provider "%": price_per_million_tokens is %; a price is an amount of 0 or more', NEW.name, NEW.price_per_million_tokens
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION homeostat.check_price() FROM PUBLIC;
CREATE TRIGGER a_price BEFORE INSERT OR UPDATE OF price_per_million_tokens ON homeostat.provider
    FOR EACH ROW EXECUTE FUNCTION homeostat.check_price();

-- Before check_erasure, which counts the values: triggers fire in the order of their names.
CREATE FUNCTION homeostat.check_key_shape() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF array_ndims(NEW.key) > 1 THEN
        RAISE EXCEPTION 'pipeline "%": a document''s key is one list, with a value for each key column; this one is a list of lists', NEW.pipeline
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF array_position(NEW.key, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'pipeline "%": value % of the document''s key is NULL; rows with NULL in a key column are no documents', NEW.pipeline,
            array_position(NEW.key, NULL) - array_lower(NEW.key, 1) + 1 USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION homeostat.check_key_shape() FROM PUBLIC;
CREATE TRIGGER a_key_shape BEFORE INSERT ON homeostat.erasure FOR EACH ROW EXECUTE FUNCTION homeostat.check_key_shape();

CREATE FUNCTION homeostat.check_checkpoint_named() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'pipeline "%": a checkpoint needs a name, by which it is gone back to', NEW.pipeline
        USING ERRCODE = 'invalid_parameter_value';
END $$;
REVOKE ALL ON FUNCTION homeostat.check_checkpoint_named() FROM PUBLIC;
CREATE TRIGGER a_named BEFORE INSERT ON homeostat.checkpoint FOR EACH ROW WHEN (NEW.uid IS NULL AND NEW.name IS NULL)
    EXECUTE FUNCTION homeostat.check_checkpoint_named();
