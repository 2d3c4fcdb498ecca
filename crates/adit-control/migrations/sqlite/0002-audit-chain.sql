-- Each entry of the log from now on carries a hash over itself and the entry before. Entries from before have none.
ALTER TABLE audit ADD COLUMN hash BLOB;
