-- What must be unique or is looked up has a column; `record` is the whole value as JSON, as adit-control's types write it.

CREATE TABLE state (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL,
    next_id  INTEGER NOT NULL,
    network  TEXT,
    policy   TEXT NOT NULL
) STRICT;

CREATE TABLE peers (
    id     INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    key    TEXT NOT NULL UNIQUE,
    v4     TEXT NOT NULL UNIQUE,
    v6     TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL
) STRICT;

CREATE TABLE invites (
    id      INTEGER PRIMARY KEY,
    key     TEXT NOT NULL UNIQUE,
    address TEXT NOT NULL UNIQUE,
    record  TEXT NOT NULL
) STRICT;

CREATE TABLE usage (
    peer        INTEGER PRIMARY KEY REFERENCES peers (id) ON DELETE CASCADE,
    received    INTEGER NOT NULL,
    sent        INTEGER NOT NULL,
    day         INTEGER NOT NULL,
    day_bytes   INTEGER NOT NULL,
    month       INTEGER NOT NULL,
    month_bytes INTEGER NOT NULL,
    seen        INTEGER
) STRICT;

CREATE TABLE audit (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    revision INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    who      TEXT NOT NULL,
    origin   TEXT NOT NULL,
    verb     TEXT NOT NULL,
    what     TEXT NOT NULL
) STRICT;

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
