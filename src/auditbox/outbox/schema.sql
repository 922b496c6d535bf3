-- The outbox, version 3. A log, a cursor, and a small table of what is under way.
-- The text of these statements is compared with the file's: change it with a migration only.

-- One row: the layout's version, the outbox's own id (it travels with every record), where records go.
CREATE TABLE meta (
    version     INTEGER NOT NULL,
    outbox      TEXT    NOT NULL,
    destination TEXT
);

-- One row: how far the relay has read, and which relay may write.
CREATE TABLE relay (
    cursor    INTEGER NOT NULL DEFAULT 0,
    epoch     INTEGER NOT NULL DEFAULT 0,
    pid       INTEGER,
    last_move REAL,
    checksum  INTEGER NOT NULL
);

-- Append only, in the order of capture, without gaps. No further index: each costs 3 to 16 µs a capture.
CREATE TABLE entry (
    seq      INTEGER PRIMARY KEY,
    id       TEXT    NOT NULL,
    lane     TEXT    NOT NULL,
    body     BLOB    NOT NULL,
    checksum INTEGER NOT NULL
);

-- What is under way. Per lane at most one row is sending, verify or retry.
CREATE TABLE open (
    seq              INTEGER PRIMARY KEY,
    lane             TEXT    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('sending', 'verify', 'retry', 'waiting', 'dead')),
    due              REAL    NOT NULL DEFAULT 0,  -- retry: wall seconds; verify: the relay's monotonic seconds
    attempts         INTEGER NOT NULL DEFAULT 0,
    maybe_sent       INTEGER NOT NULL DEFAULT 0,  -- never goes back to 0
    sent_at          REAL,                        -- the sink's seconds: not sent before
    first_refused_at REAL,                        -- wall seconds: the lane's first refusal
    error            TEXT                         -- JSON: what went wrong last
);
CREATE INDEX open_by_lane ON open (lane, seq);
CREATE INDEX open_by_due ON open (state, due);

-- What is settled; kept with its entry for keep_delivered.
CREATE TABLE receipt (
    seq          INTEGER PRIMARY KEY,
    remote_id    TEXT,
    delivered_at REAL NOT NULL,
    outcome      TEXT NOT NULL CHECK (outcome IN ('delivered', 'discarded')),
    reason       TEXT
);
CREATE INDEX receipt_by_age ON receipt (delivered_at);
