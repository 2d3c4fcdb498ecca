-- The tables of migrations/sqlite/0001-tables.sql, in a schema of their own.

CREATE TABLE adit.state (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    revision BIGINT NOT NULL,
    next_id  BIGINT NOT NULL,
    network  TEXT,
    policy   TEXT NOT NULL
);

CREATE TABLE adit.peers (
    id     BIGINT PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    key    TEXT NOT NULL UNIQUE,
    v4     TEXT NOT NULL UNIQUE,
    v6     TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL
);

CREATE TABLE adit.invites (
    id      BIGINT PRIMARY KEY,
    key     TEXT NOT NULL UNIQUE,
    address TEXT NOT NULL UNIQUE,
    record  TEXT NOT NULL
);

CREATE TABLE adit.usage (
    peer        BIGINT PRIMARY KEY REFERENCES adit.peers (id) ON DELETE CASCADE,
    received    BIGINT NOT NULL,
    sent        BIGINT NOT NULL,
    day         BIGINT NOT NULL,
    day_bytes   BIGINT NOT NULL,
    month       BIGINT NOT NULL,
    month_bytes BIGINT NOT NULL,
    seen        BIGINT
);

CREATE TABLE adit.audit (
    id       BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    who      TEXT NOT NULL,
    origin   TEXT NOT NULL,
    verb     TEXT NOT NULL,
    what     TEXT NOT NULL
);

CREATE FUNCTION adit.audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$;

CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON adit.audit
    EXECUTE FUNCTION adit.audit_is_append_only();
