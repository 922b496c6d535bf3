-- begin: every number of the outbox, as it is now
DROP VIEW IF EXISTS chosen;
DROP TABLE IF EXISTS period;
DROP TABLE IF EXISTS number;
DROP TABLE IF EXISTS gap;
CREATE TABLE period (since REAL NOT NULL, until REAL NOT NULL);
CREATE TABLE number (
    seq       INTEGER PRIMARY KEY,
    id        TEXT,                      -- of a forgotten one: what the trail says
    lane      TEXT,
    at        REAL,                      -- of its capture, wall seconds; NULL: not known
    state     TEXT    NOT NULL,          -- delivered, discarded, dead, pending
    reason    TEXT,                      -- why it was discarded
    remote_id TEXT,                      -- the receipt's
    kept      INTEGER NOT NULL,          -- 0: forgotten by retention
    copies    INTEGER NOT NULL DEFAULT 0,
    first     TEXT                       -- the id of the first record that was found
);
CREATE TABLE gap (
    seq    INTEGER PRIMARY KEY,
    last   INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    copies INTEGER NOT NULL DEFAULT 0    -- records that have one of its numbers all the same
);
CREATE VIEW chosen AS SELECT number.* FROM number, period WHERE at IS NULL OR (at >= since AND at < until);

-- period: captured since, and before
INSERT INTO period VALUES (?, ?)

-- entries: what the outbox still keeps; run there
SELECT e.seq, e.id, e.lane, r.remote_id, r.reason,
       coalesce(r.outcome, CASE o.state WHEN 'dead' THEN 'dead' ELSE 'pending' END) AS state
FROM entry e LEFT JOIN open o USING (seq) LEFT JOIN receipt r USING (seq)
WHERE e.id <> 'sentinel' ORDER BY e.seq

-- bodies: run there, too
SELECT seq, id, lane, body, checksum FROM entry WHERE seq IN (SELECT value FROM json_each(?))

-- kept: one of them
INSERT INTO number (seq, id, lane, at, state, reason, remote_id, kept)
VALUES (:seq, :id, :lane, :at, :state, :reason, :remote_id, 1)

-- given_up: the tombstone of an entry; where that is still kept, it says as much
INSERT OR IGNORE INTO number (seq, id, at, state, reason, kept) VALUES (?, ?, ?, 'discarded', ?, 0)

-- gap: the tombstone of numbers without an entry
INSERT OR IGNORE INTO gap (seq, last, reason) VALUES (?, ?, ?)

-- extent: the lowest and the highest number of what is known to be of the period, and the earliest time
SELECT min(seq), max(seq), min(at) FROM chosen

-- holes: numbers that nothing stands for, from first to last
SELECT before + 1, seq - 1 FROM (
    SELECT seq, coalesce(max(last) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
    FROM (SELECT seq, seq AS last FROM number UNION ALL SELECT seq, last FROM gap)
) WHERE seq > before + 1

-- forgotten: delivered, and not kept any more
INSERT INTO number (seq, state, kept) VALUES (?, 'delivered', 0)

-- found: a record has this number; of a forgotten one it tells id and time
UPDATE number SET copies = copies + 1, first = coalesce(first, :record), id = coalesce(id, :id), at = coalesce(at, :at)
WHERE seq = :seq

-- found_in_gap: a record has a number that stands for no entry
UPDATE gap SET copies = copies + 1 WHERE seq = (SELECT max(seq) FROM gap WHERE seq <= :seq) AND last >= :seq

-- one: a number of the period
SELECT seq, id, lane, state, reason, remote_id, kept, copies, first FROM chosen WHERE seq = ?

-- of_state: those in this state, by number; with the last value only what was not found
SELECT seq, id, lane, state, reason, remote_id, kept, copies, first FROM chosen
WHERE seq > ? AND state = ? AND (copies = 0 OR NOT ?) ORDER BY seq LIMIT ?

-- counts: how many are in each state, and how many of them are forgotten
SELECT state, count(*), sum(NOT kept) FROM chosen GROUP BY state

-- unseen: whether no record has some forgotten number
SELECT 1 FROM number WHERE NOT kept AND state = 'delivered' AND copies = 0 LIMIT 1

-- times: and whether it is a forgotten number that no record has
SELECT seq, at, NOT kept AND state = 'delivered' AND copies = 0 FROM number ORDER BY seq

-- elsewhen: forgotten numbers from first to last, which no record has, are of another time
DELETE FROM number WHERE NOT kept AND state = 'delivered' AND copies = 0 AND seq BETWEEN ? AND ?

-- gaps: with the times of the nearest numbers around each
SELECT seq, last, reason, copies,
       (SELECT at FROM number WHERE seq < gap.seq AND at IS NOT NULL ORDER BY seq DESC LIMIT 1) AS before,
       (SELECT at FROM number WHERE seq > gap.last AND at IS NOT NULL ORDER BY seq LIMIT 1) AS after
FROM gap ORDER BY seq

-- delivered: numbers and ids from first to last, of a time of capture
SELECT seq, id FROM number WHERE seq BETWEEN ? AND ? AND state = 'delivered' AND at >= ? AND at < ?

-- forgotten_of: how many numbers from first to last are forgotten, and how many of these no record has
SELECT count(*), coalesce(sum(copies = 0), 0) FROM number
WHERE seq BETWEEN ? AND ? AND NOT kept AND state = 'delivered'
