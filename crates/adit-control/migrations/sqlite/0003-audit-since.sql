-- The first entry of the log that must have a hash: those before it are from when there were none.
ALTER TABLE state ADD COLUMN hashed_from INTEGER NOT NULL DEFAULT 1;
UPDATE state SET hashed_from =
    coalesce((SELECT min(id) FROM audit WHERE hash IS NOT NULL), (SELECT max(id) + 1 FROM audit), 1);
