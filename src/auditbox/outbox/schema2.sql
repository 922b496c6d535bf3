-- What version 2 adds: what outlives a relay, a reboot, and the entries themselves.

-- One row: what the next relay, or the next start of the machine, must know.
CREATE TABLE lead (
    clock    TEXT,                       -- whose monotonic seconds the due times of look-ups are; NULL: nobody's
    since    REAL,                       -- wall seconds: when the relay of this epoch took over
    reserved INTEGER NOT NULL DEFAULT 0, -- no number above it was ever sent; on the disk before one is
    claims   INTEGER NOT NULL DEFAULT 0  -- how often something was claimed
);

-- One row for each day of capture, kept for ever: what became of its entries.
CREATE TABLE ledger (
    day       INTEGER PRIMARY KEY,         -- days since 1970-01-01, UTC
    first     INTEGER NOT NULL,
    last      INTEGER NOT NULL,
    entries   INTEGER NOT NULL,            -- how many a relay has read; those that are not counted below are under way
    delivered INTEGER NOT NULL DEFAULT 0,
    dead      INTEGER NOT NULL DEFAULT 0,  -- now: a replay takes it back
    discarded INTEGER NOT NULL DEFAULT 0,
    lost      INTEGER NOT NULL DEFAULT 0,  -- to damage
    digest    TEXT    NOT NULL,            -- over number and id of what was delivered; empty where that is not known
    checksum  INTEGER NOT NULL
);

-- Numbers that no record of the trail has, and why; kept for ever.
CREATE TABLE tombstone (
    seq      INTEGER PRIMARY KEY,
    last     INTEGER NOT NULL,             -- seq itself, but for a gap
    id       TEXT,                         -- of the entry that was given up; NULL: a gap
    at       REAL    NOT NULL,
    reason   TEXT    NOT NULL,
    checksum INTEGER NOT NULL
);
