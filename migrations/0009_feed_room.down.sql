-- Triggers made since go on until those of an older controller replace them, with their table and its sequences, at its first pass.
ALTER TABLE homeostat.feed DROP COLUMN settles;
