-- Each entry of the log from now on carries a hash over itself and the entry before. Entries from before have none.
ALTER TABLE adit.audit ADD COLUMN hash BYTEA;
