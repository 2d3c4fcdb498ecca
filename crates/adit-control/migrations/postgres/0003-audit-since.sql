-- The first entry of the log that must have a hash: those before it are from when there were none.
ALTER TABLE adit.state ADD COLUMN hashed_from BIGINT NOT NULL DEFAULT 1;
UPDATE adit.state SET hashed_from =
    coalesce((SELECT min(id) FROM adit.audit WHERE hash IS NOT NULL), (SELECT max(id) + 1 FROM adit.audit), 1);
