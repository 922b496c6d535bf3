-- newest_entry: as it was written, or not
SELECT * FROM entry ORDER BY seq DESC LIMIT 1

-- newest: the highest number ever given
SELECT coalesce(max(seq), 0) FROM entry

-- among_newest: whether one of the newest entries has this id (there is no index: each capture would pay for it)
SELECT EXISTS (SELECT 1 FROM (SELECT id FROM entry ORDER BY seq DESC LIMIT ?) WHERE id = ?)

-- snapshot: its row is never asked for, so that the read transaction stays
SELECT version FROM meta

-- append: one entry; the only statement of the capture path
INSERT INTO entry (seq, id, lane, body, checksum) VALUES (?, ?, ?, ?, ?)

-- relay: where the relay is, and which relay it is
SELECT cursor, epoch, checksum FROM relay

-- move: the cursor, under the same epoch
UPDATE relay SET cursor = ?, checksum = ?, last_move = ?

-- new_epoch: from now on only this relay may write
UPDATE relay SET epoch = ?, checksum = ?, pid = ?, last_move = ?

-- lead: what outlives a relay
SELECT clock, since, reserved, claims FROM lead

-- try_to_write: fails where the file cannot be written, and writes nothing
UPDATE lead SET clock = NULL WHERE 0

-- new_lead: this relay's clock, and since when it relays
UPDATE lead SET clock = ?, since = ?

-- no_clock: the due times of look-ups count no more; the next relay starts them anew
UPDATE lead SET clock = NULL

-- reserve: numbers up to here may have been sent; one more claim
UPDATE lead SET reserved = ?, claims = claims + 1

-- reserve_none: no number above this one may have been sent
UPDATE lead SET reserved = ?

-- look_again: what a dead relay was looking up is looked up at once; no look-up waits longer than a new one would
UPDATE open SET due = CASE WHEN due = 9e99 THEN :now ELSE min(due, :latest) END WHERE state = 'verify'

-- interrupted: what a dead relay was sending may have arrived
UPDATE open SET state = 'verify', maybe_sent = 1, due = ? WHERE state = 'sending'

-- doubt: nobody knows any more whether it was sent
UPDATE open SET maybe_sent = 1 WHERE seq = ?

-- verify_from_now: all look-ups wait once more: nobody knows how long they have waited
UPDATE open SET due = ? WHERE state = 'verify'

-- due: rows whose time has come, earliest first; a deadline too far ahead counts as passed (the clock went back)
SELECT seq, lane FROM (
    SELECT seq, lane, due FROM open WHERE state = 'retry' AND (due <= :wall OR due > :horizon)
    UNION ALL
    SELECT seq, lane, :wall + due - :monotonic FROM open WHERE state = 'verify' AND due <= :monotonic
) ORDER BY due, seq LIMIT :limit

-- next_due: the soonest of what is under way, seconds from now
SELECT min(seconds) FROM (
    SELECT CASE WHEN due > :horizon THEN 0 ELSE due - :wall END AS seconds FROM open WHERE state = 'retry'
    UNION ALL
    SELECT due - :monotonic FROM open WHERE state = 'verify'
)

-- claimed: open rows with their entries, in the order given
SELECT e.seq, e.id, e.lane, e.body, e.checksum,
       o.state, o.attempts, o.maybe_sent, o.sent_at, o.first_refused_at, o.error
FROM json_each(?) AS given CROSS JOIN open o ON o.seq = given.value CROSS JOIN entry e ON e.seq = o.seq
ORDER BY given.key

-- begin_sending: on record before the first byte leaves; what was entered as sending is so already
UPDATE open SET state = 'sending', sent_at = coalesce(sent_at, ?)
WHERE seq IN (SELECT value FROM json_each(?)) AND state = 'retry'

-- begin_verifying: nobody else looks it up meanwhile; a new relay starts over
UPDATE open SET due = 9e99 WHERE seq IN (SELECT value FROM json_each(?)) AND state = 'verify'

-- beyond: what was captured after the cursor; without its body where one of its lane is under way (not: dead)
SELECT seq, id, lane, iif(waits, NULL, body), checksum, waits FROM (
    SELECT *, EXISTS (SELECT 1 FROM open WHERE open.lane = entry.lane AND state <> 'dead') AS waits
    FROM entry WHERE seq > ? ORDER BY seq LIMIT ?
)

-- captured: what was captured after the cursor, up to a number
SELECT seq, id, lane FROM entry WHERE seq > ? AND seq <= ? ORDER BY seq

-- enter: from above the cursor into what is under way
INSERT INTO open (seq, lane, state, due, sent_at) VALUES (?, ?, ?, ?, ?)

-- wait: what could be sent in these lanes lets another go first
UPDATE open SET state = 'waiting', due = 0
WHERE state IN ('retry', 'verify') AND lane IN (SELECT value FROM json_each(?))

-- open_row: what is known of an entry under way
SELECT e.id, o.lane, o.maybe_sent, o.error FROM open o JOIN entry e USING (seq) WHERE o.seq = ?

-- landed: what is under way of these, in the only row of its lane that may be
SELECT o.seq, e.id, o.lane FROM json_each(?) AS given CROSS JOIN open o ON o.seq = given.value
CROSS JOIN entry e ON e.seq = o.seq WHERE o.state IN ('sending', 'verify', 'retry')

-- close_all: they are no longer under way
DELETE FROM open WHERE seq IN (SELECT value FROM json_each(?))

-- promote_all: the next of each of these lanes, none of which has a row that may be sent
UPDATE open SET state = iif(maybe_sent, 'verify', 'retry'), due = iif(maybe_sent, :monotonic, :wall),
       first_refused_at = NULL
WHERE seq IN (
    SELECT (SELECT w.seq FROM open w WHERE w.lane = given.value AND w.state = 'waiting' ORDER BY w.seq LIMIT 1)
    FROM json_each(:lanes) AS given
)

-- close: it is no longer under way
DELETE FROM open WHERE seq = ?

-- bury_for_good: a dead letter is given up
DELETE FROM open WHERE seq = ? AND state = 'dead'

-- receipt: proof of what became of it
INSERT OR REPLACE INTO receipt (seq, remote_id, delivered_at, outcome, reason) VALUES (?, ?, ?, ?, ?)

-- ambiguous: it may have arrived, look it up when due
UPDATE open SET state = 'verify', maybe_sent = 1, due = ?, attempts = attempts + 1, error = ? WHERE seq = ?

-- retry: again when due
UPDATE open SET state = ?, due = ?, attempts = attempts + ?,
       first_refused_at = coalesce(first_refused_at, ?), error = ? WHERE seq = ?

-- send_again: it was looked up and is not there
UPDATE open SET state = 'retry', due = 0 WHERE seq = ?

-- verify_then_bury: it was rejected, but an earlier attempt may have arrived
UPDATE open SET state = 'verify', due = ?, attempts = attempts + 1, error = ? WHERE seq = ?

-- bury: a dead letter
UPDATE open SET state = 'dead', error = ?, due = 0, attempts = attempts + ? WHERE seq = ?

-- lane_live: whether the lane has a row that may be sent
SELECT 1 FROM open WHERE lane = ? AND state IN ('sending', 'verify', 'retry') LIMIT 1

-- first_waiting: the next of a lane
SELECT seq, maybe_sent FROM open WHERE lane = ? AND state = 'waiting' ORDER BY seq LIMIT 1

-- promote: it is this entry's turn
UPDATE open SET state = ?, due = ?, first_refused_at = ? WHERE seq = ?

-- revive: a dead letter joins its lane again
UPDATE open SET state = 'waiting', attempts = 0, first_refused_at = NULL WHERE seq = ? AND state = 'dead'

-- overtaken: whether later entries of the lane have arrived already
SELECT 1 FROM receipt r JOIN entry e USING (seq)
WHERE e.lane = ? AND r.seq > ? AND r.outcome = 'delivered' LIMIT 1

-- dead_letters: by entry id, or all of them
SELECT o.seq, e.id, e.lane FROM open o JOIN entry e USING (seq)
WHERE o.state = 'dead' AND (:id IS NULL OR e.id = :id) ORDER BY o.seq

-- old_receipts: the oldest settled entries, never the newest entry
SELECT seq FROM receipt WHERE delivered_at < ? AND seq < (SELECT max(seq) FROM entry)
ORDER BY delivered_at LIMIT ?

-- forget_entry: retention
DELETE FROM entry WHERE seq = ?

-- forget_receipt: retention
DELETE FROM receipt WHERE seq = ?

-- unsettled: how many up to a number are under way, and how many are dead
SELECT coalesce(sum(state <> 'dead'), 0), coalesce(sum(state = 'dead'), 0) FROM open WHERE seq <= ?

-- clock: the clock in whose seconds look-ups are due
SELECT clock FROM lead

-- held: what holds up entries, by kind: how many, when the first look-up is due, what was said of the oldest
SELECT kind, count, due, (SELECT error FROM open WHERE seq = first) FROM (
    SELECT kind, count(*) AS count, min(due) AS due, min(seq) AS first FROM (
        SELECT seq, iif(due < 9e99, due, 0) AS due, CASE
            WHEN error IS NULL THEN 'unanswered'
            WHEN json_valid(error) AND json_extract(error, '$.status') IN (403, 404) THEN 'refused'
            WHEN state = 'verify' THEN 'doubt'
            ELSE 'failed'
        END AS kind
        FROM open WHERE state = 'verify' OR (state IN ('sending', 'retry') AND error IS NOT NULL)
    ) GROUP BY kind
) ORDER BY first

-- states: what is under way
SELECT state, count(*) FROM open GROUP BY state

-- outcomes: what is settled
SELECT outcome, count(*) FROM receipt GROUP BY outcome

-- unanswered: whether nothing was ever delivered or refused for good, nor may have been
SELECT NOT EXISTS (SELECT 1 FROM ledger WHERE delivered > 0)
    AND NOT EXISTS (SELECT 1 FROM receipt WHERE outcome = 'delivered')
    AND NOT EXISTS (SELECT 1 FROM open WHERE maybe_sent <> 0 OR state IN ('sending', 'verify', 'dead'))
    AND NOT EXISTS (SELECT 1 FROM entry WHERE seq > (SELECT cursor FROM relay) AND seq <= :sent)

-- oldest_open: the lowest number that is under way
SELECT min(seq) FROM open WHERE state <> 'dead'

-- first_beyond: the lowest number above the cursor
SELECT min(seq) FROM entry WHERE seq > ?

-- id_of: the id of a number
SELECT id FROM entry WHERE seq = ?

-- ledger_day: what is known of a day, and its checksum
SELECT day, first, last, entries, delivered, dead, discarded, lost, digest, checksum FROM ledger WHERE day = ?

-- ledger_days: what is known of these days
SELECT day, first, last, entries, delivered, dead, discarded, lost, digest FROM ledger
WHERE day BETWEEN ? AND ? ORDER BY day

-- ledger_write: a day as it is now
INSERT OR REPLACE INTO ledger (day, first, last, entries, delivered, dead, discarded, lost, digest, checksum)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- tombstone_write: why these numbers have no record
INSERT OR REPLACE INTO tombstone (seq, last, id, at, reason, checksum) VALUES (?, ?, ?, ?, ?, ?)

-- tombstones: those that stand for a number from the second to the first
SELECT seq, last, id, at, reason FROM tombstone WHERE seq <= ? AND last >= ? ORDER BY seq

-- stages: every entry that a relay has read, and where it is; for the ledger's beginning
SELECT e.seq, e.id, r.outcome, o.state FROM entry e LEFT JOIN receipt r USING (seq) LEFT JOIN open o USING (seq)
WHERE e.seq > ? AND e.seq <= ? ORDER BY e.seq LIMIT ?

-- all_in_doubt: nobody knows any more whether what is under way was sent
UPDATE open SET maybe_sent = 1

-- doubtful_retries: what would have been sent again is looked up first
UPDATE open SET state = 'verify', due = 0 WHERE state = 'retry'

-- waiting_lanes: the lanes in which something waits
SELECT lane FROM open WHERE state = 'waiting' GROUP BY lane
