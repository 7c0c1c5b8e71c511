-- The vector index as it is wanted: over the whole vector, over a prefix of it (as Matryoshka models allow), or over its bits; and with
-- which parameters.
--
-- Locks: the declared table, for columns that rewrite nothing and triggers. Time: milliseconds.

ALTER TABLE homeostat.pipeline
    ADD COLUMN index_type text NOT NULL DEFAULT 'vector',
    ADD COLUMN index_dimensions int,
    ADD COLUMN index_m int,
    ADD COLUMN index_ef_construction int,
    ADD COLUMN index_lists int;
COMMENT ON COLUMN homeostat.pipeline.index_type IS 'What the index holds of each vector: vector (its numbers), bit (their signs)';
COMMENT ON COLUMN homeostat.pipeline.index_dimensions IS 'Of each vector the first so many numbers are indexed; NULL: all';
COMMENT ON COLUMN homeostat.pipeline.index_m IS 'Neighbours of each vector in an index of method hnsw; NULL: 16';
COMMENT ON COLUMN homeostat.pipeline.index_ef_construction IS 'Candidates looked at for each vector that goes into it; NULL: 64';
COMMENT ON COLUMN homeostat.pipeline.index_lists IS 'Lists of an index of method ivfflat; NULL: one for a thousand vectors';

-- What of the vectors an index has to hold. Wider vectors than an index holds may have one over a prefix or over their bits.
DO $$
DECLARE
    def text := pg_get_functiondef('homeostat.check_vectors(homeostat.pipeline)'::regprocedure);
    was text := 'IF p.index_method <> ''none'' AND (width > 4000 OR (width > 2000 AND p.vector_type = ''vector'')) THEN';
    becomes text := 'IF p.index_method <> ''none'' AND p.index_type <> ''bit'' AND (least(width, p.index_dimensions) > 4000'
        ' OR (least(width, p.index_dimensions) > 2000 AND p.vector_type = ''vector'')) THEN';
BEGIN
    IF position(was IN def) = 0 THEN RAISE EXCEPTION 'homeostat.check_vectors() is not as a migration made it'; END IF;
    EXECUTE replace(def, was, becomes);
END $$;

CREATE FUNCTION homeostat.check_index() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('pipeline "%s"', NEW.name);
    width int := coalesce(NEW.dimensions, (SELECT o.dimensions FROM homeostat.provider o WHERE o.name = NEW.provider));
    n record;
BEGIN
    PERFORM homeostat.check_choice(what, 'index_type', NEW.index_type, '{vector,bit}');
    FOR n IN SELECT * FROM (VALUES
            ('index_m', NEW.index_m, 2, 100, 'hnsw'), ('index_ef_construction', NEW.index_ef_construction, 4, 1000, 'hnsw'),
            ('index_lists', NEW.index_lists, 1, 32768, 'ivfflat'), ('index_dimensions', NEW.index_dimensions, 1, 64000, '')) AS v(name, value, low, high, method) LOOP
        CONTINUE WHEN n.value IS NULL;
        IF n.value NOT BETWEEN n.low AND n.high THEN
            RAISE EXCEPTION '%: % is %; it must be % to %', what, n.name, n.value, n.low, n.high USING ERRCODE = 'check_violation';
        END IF;
        IF NEW.index_method = 'none' OR (n.method <> '' AND n.method <> NEW.index_method) THEN
            RAISE EXCEPTION '%: % is for index_method %, and that is %', what, n.name,
                CASE n.method WHEN '' THEN 'hnsw or ivfflat' ELSE n.method END, NEW.index_method USING ERRCODE = 'check_violation';
        END IF;
    END LOOP;
    IF NEW.index_method = 'none' AND NEW.index_type <> 'vector' THEN
        RAISE EXCEPTION '%: index_type % is for index_method hnsw or ivfflat, and that is none', what, NEW.index_type USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.index_ef_construction < 2 * coalesce(NEW.index_m, 16) OR (NEW.index_ef_construction IS NULL AND NEW.index_m > 32) THEN
        RAISE EXCEPTION '%: index_ef_construction is %; it must be at least twice index_m, which is %', what,
            coalesce(NEW.index_ef_construction, 64), coalesce(NEW.index_m, 16) USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.index_dimensions >= width THEN
        RAISE EXCEPTION '%: index_dimensions is %, and the vectors have %; leave it out to index all of them', what, NEW.index_dimensions,
            width USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.index_type = 'bit' AND NEW.distance = 'l2' THEN
        RAISE EXCEPTION '%: the signs of a vector tell its direction and not its length; index_type bit is for distance cosine or '
            'inner_product', what USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION homeostat.check_index() FROM PUBLIC;
-- After check_pipeline, by its name. What was accepted stays as it was.
CREATE TRIGGER check_pipeline_index BEFORE INSERT ON homeostat.pipeline FOR EACH ROW EXECUTE FUNCTION homeostat.check_index();
CREATE TRIGGER check_pipeline_index_update BEFORE UPDATE OF provider, dimensions, distance, index_method, index_type, index_dimensions, index_m,
    index_ef_construction, index_lists ON homeostat.pipeline FOR EACH ROW EXECUTE FUNCTION homeostat.check_index();
