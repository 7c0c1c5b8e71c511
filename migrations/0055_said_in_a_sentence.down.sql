-- As it was: told by PostgreSQL, or not at all. Locks: homeostat.provider, homeostat.erasure and homeostat.checkpoint, for a trigger each.
-- Time: milliseconds.
DROP TRIGGER a_named ON homeostat.checkpoint;
DROP FUNCTION homeostat.check_checkpoint_named();
DROP TRIGGER a_key_shape ON homeostat.erasure;
DROP FUNCTION homeostat.check_key_shape();
DROP TRIGGER a_price ON homeostat.provider;
DROP FUNCTION homeostat.check_price();
