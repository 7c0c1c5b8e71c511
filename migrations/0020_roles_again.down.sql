DROP FUNCTION homeostat.make_roles();
