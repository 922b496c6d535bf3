-- The emulator's store. A record's fields are columns, so that every filter is plain SQL; sets of viewers
-- repeat, so each distinct set (an audience) is kept once.

CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    event TEXT,
    summary TEXT,
    details TEXT,
    type TEXT,
    timestamp TEXT NOT NULL,
    revision INTEGER,
    object_id TEXT,
    object_name TEXT,
    object_icon TEXT,
    object_type TEXT,
    object_revision INTEGER,
    actor_id TEXT,
    actor_name TEXT,
    actor_icon TEXT,
    account_id TEXT,
    account_name TEXT,
    account_icon TEXT,
    account_type TEXT,
    ip TEXT,
    user_agent TEXT,
    country_code TEXT,
    country_name TEXT,
    region TEXT,
    worker_name TEXT,
    request_id TEXT,
    operation_id TEXT,
    audience INTEGER NOT NULL,
    documents TEXT
);

CREATE INDEX IF NOT EXISTS record_by_object ON record (object_id, timestamp);
CREATE INDEX IF NOT EXISTS record_by_event ON record (event, timestamp);
CREATE INDEX IF NOT EXISTS record_by_timestamp ON record (timestamp);

CREATE TABLE IF NOT EXISTS audience (id INTEGER PRIMARY KEY, viewers TEXT NOT NULL UNIQUE);

CREATE TABLE IF NOT EXISTS viewer (
    audience INTEGER NOT NULL REFERENCES audience,
    position INTEGER NOT NULL,
    id TEXT,
    name TEXT,
    type TEXT,
    icon TEXT,
    PRIMARY KEY (audience, position)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS viewer_by_account ON viewer (id, audience);

CREATE TABLE IF NOT EXISTS event_type (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,
    name TEXT,
    description TEXT
);
