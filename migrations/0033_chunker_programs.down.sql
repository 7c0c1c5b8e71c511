-- As migration 2 made it. A pipeline whose chunker is a program stays as it is; it is refused at its next edit, and an earlier binary says
-- that it knows no such chunker.

CREATE OR REPLACE FUNCTION homeostat.check_bounds(p homeostat.pipeline) RETURNS void LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text := format('pipeline "%s"', p.name);
BEGIN
    PERFORM homeostat.check_choice(what, 'chunker', p.chunker, '{whole,fixed,sentence,markdown}');
    PERFORM homeostat.check_choice(what, 'chunk_unit', p.chunk_unit, '{tokens,characters}');
    PERFORM homeostat.check_choice(what, 'vector_type', p.vector_type, '{auto,vector,halfvec}');
    PERFORM homeostat.check_choice(what, 'index_method', p.index_method, '{hnsw,ivfflat,none}');
    PERFORM homeostat.check_choice(what, 'distance', p.distance, '{cosine,l2,inner_product}');
    PERFORM homeostat.check_choice(what, 'mode', p.mode, '{progressive,complete,emergency}');
    PERFORM homeostat.check_choice(what, 'management', p.management, '{Manage,Observe}');
    PERFORM homeostat.check_choice(what, 'drift_policy', p.drift_policy, '{Enforce,Warn,Ignore}');
    PERFORM homeostat.check_choice(what, 'prune', p.prune, '{Never,Confirm,Auto}');
    PERFORM homeostat.check_choice(what, 'deletion_policy', p.deletion_policy, '{Orphan,Delete}');
    PERFORM homeostat.check_choice(what, 'backpressure', p.backpressure, '{buffer,throttle,shed}');
    IF p.chunk_size NOT BETWEEN 1 AND 1000000 THEN
        RAISE EXCEPTION '%: chunk_size is %; it must be 1 to 1000000', what, p.chunk_size USING ERRCODE = 'check_violation';
    END IF;
    IF p.chunk_overlap < 0 OR p.chunk_overlap * 2 >= p.chunk_size THEN
        RAISE EXCEPTION '%: chunk_overlap is %; it must be less than half of chunk_size (%)', what, p.chunk_overlap, p.chunk_size
            USING ERRCODE = 'check_violation';
    END IF;
    IF p.documents < 0 THEN
        RAISE EXCEPTION '%: documents is %; leave it out for all, or say how many', what, p.documents USING ERRCODE = 'check_violation';
    END IF;
    IF p.completeness NOT BETWEEN 0 AND 1 OR p.max_prune_ratio NOT BETWEEN 0 AND 1 OR p.max_prune_rows < 0 THEN
        RAISE EXCEPTION '%: completeness and max_prune_ratio are shares from 0 to 1, max_prune_rows is not negative', what
            USING ERRCODE = 'check_violation';
    END IF;
    IF p.drift_interval < interval '10 seconds' OR p.deep_interval < p.drift_interval OR p.max_staleness < interval '0' THEN
        RAISE EXCEPTION '%: drift_interval must be at least 10 seconds, and deep_interval not shorter than it', what
            USING ERRCODE = 'check_violation';
    END IF;
    IF p.priority NOT BETWEEN -1000 AND 1000 THEN
        RAISE EXCEPTION '%: priority is %; it must be -1000 to 1000', what, p.priority USING ERRCODE = 'check_violation';
    END IF;
END $$;
