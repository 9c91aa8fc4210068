package db

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

const cursorColumns = `
c.schedule_id, c.next_run_at, c.fire_at, c.dirty, c.changed_at, c.planned_version,
c.last_run_at, c.last_job_id, c.run_count, c.held, c.held_since, c.held_reason, c.share,
c.state, c.state_reason`

// cursorScan reads cursorColumns: targets before the scan, finish after it.
type cursorScan struct {
	cursor                      *schedule.Cursor
	id                          [16]byte
	nextRunAt, fireAt, lastRuns *time.Time
	lastJobID                   *int64
	held, heldSince             *time.Time
	heldReason                  *string
	share                       *int
	state                       string
}

func (s *cursorScan) targets() []any {
	c := s.cursor
	return []any{
		&s.id, &s.nextRunAt, &s.fireAt, &c.Dirty, &c.ChangedAt, &c.PlannedVersion,
		&s.lastRuns, &s.lastJobID, &c.RunCount, &s.held, &s.heldSince, &s.heldReason, &s.share, &s.state, &c.StateReason,
	}
}

func (s *cursorScan) finish() {
	c := s.cursor
	c.ScheduleID, c.State = s.id, schedule.State(s.state)
	c.NextRunAt, c.FireAt, c.LastRunAt = utc(s.nextRunAt), utc(s.fireAt), utc(s.lastRuns)
	c.LastJobID, c.ChangedAt = value(s.lastJobID), c.ChangedAt.UTC()
	c.Held, c.HeldSince, c.HeldReason = utc(s.held), utc(s.heldSince), schedule.Reason(value(s.heldReason))
	c.Share = value(s.share)
}

func collectCursors(rows pgx.Rows, more ...any) ([]schedule.Cursor, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (schedule.Cursor, error) {
		var c schedule.Cursor
		scan := cursorScan{cursor: &c}
		if err := row.Scan(append(scan.targets(), more...)...); err != nil {
			return c, err
		}
		scan.finish()
		return c, nil
	})
}

// The clock is read in a subquery, once: as a bare function it would be compared
// with every entry of the index.
const claimDue = `
SELECT ` + cursorColumns + `, clock_timestamp()
FROM riverbeat.cursors c
WHERE c.fire_at <= (SELECT clock_timestamp() - $2::interval) AND c.fire_at >= (SELECT clock_timestamp() - $3::interval)
ORDER BY c.fire_at
LIMIT $1
FOR UPDATE SKIP LOCKED`

// ClaimDue locks at most limit cursors that are due, in the order in which they
// are, passing over those that another scheduler holds: of the punctual ones, which
// have been due for misfireAfter at most; if there are none, of the others. now is
// the database's clock after the claim.
func (tx *Tx) ClaimDue(ctx context.Context, misfireAfter time.Duration, limit int) (due []schedule.Cursor, now time.Time, err error) {
	due, now, err = tx.claimDue(ctx, limit, 0, misfireAfter)
	if err == nil && len(due) == 0 {
		due, now, err = tx.claimDue(ctx, limit, misfireAfter, never)
	}
	return due, now, wrap(err, "claim due cursors")
}

// claimDue claims what has been due for at least so long and at most so long.
func (tx *Tx) claimDue(ctx context.Context, limit int, least, most time.Duration) (due []schedule.Cursor, now time.Time, err error) {
	rows, err := tx.Query(ctx, claimDue, limit, least, most)
	if err != nil {
		return nil, now, err
	}
	due, err = collectCursors(rows, &now)
	return due, now.UTC(), err
}

const lockSlot = `
SELECT slot, taken
FROM riverbeat.catch_up
FOR UPDATE`

// LockSlot is the last slot that was dealt out to catch up, zero if there was none,
// and how many runs of it are taken. Until the end of the transaction no other one
// deals.
func (tx *Tx) LockSlot(ctx context.Context) (at time.Time, taken int, err error) {
	var slot *time.Time
	err = tx.QueryRow(ctx, lockSlot).Scan(&slot, &taken)
	return utc(slot), taken, wrap(err, "read the last slot")
}

const saveSlot = `
UPDATE riverbeat.catch_up
SET slot = $1, taken = $2`

// SaveSlot says where the transaction, which has LockSlot, has stopped dealing.
func (tx *Tx) SaveSlot(ctx context.Context, at time.Time, taken int) error {
	_, err := tx.Exec(ctx, saveSlot, at, taken)
	return wrap(err, "save the last slot")
}

// Dirty says which cursors are to be planned.
type Dirty struct {
	IDs []schedule.ID // of these schedules; nil: of all
	// Unplanned leaves out those that have a next run: their policy was edited, or
	// they are planned by older zone rules than the newest.
	Unplanned bool
}

// where is the condition on the cursors c; args stand behind its n-th parameter.
func (d Dirty) where(n int) (condition string, args []any) {
	condition = "c.dirty"
	if d.Unplanned {
		condition += " AND c.next_run_at IS NULL"
	}
	if d.IDs != nil {
		condition += fmt.Sprintf(" AND c.schedule_id = ANY($%d)", n+1)
		args = []any{uuids(d.IDs)}
	}
	return condition, args
}

const claimDirty = `
SELECT ` + cursorColumns + `
FROM riverbeat.cursors c
WHERE %s
ORDER BY c.changed_at
LIMIT $1
FOR UPDATE SKIP LOCKED`

// ClaimDirty locks at most limit cursors that are to be planned, oldest change
// first.
func (tx *Tx) ClaimDirty(ctx context.Context, dirty Dirty, limit int) ([]schedule.Cursor, error) {
	where, args := dirty.where(1)
	rows, err := tx.Query(ctx, fmt.Sprintf(claimDirty, where), append([]any{limit}, args...)...)
	if err != nil {
		return nil, wrap(err, "claim dirty cursors")
	}
	claimed, err := collectCursors(rows)
	return claimed, wrap(err, "claim dirty cursors")
}

const lockCursor = `
SELECT ` + cursorColumns + `
FROM riverbeat.cursors c
WHERE c.schedule_id = $1
FOR UPDATE`

// LockCursor waits for the cursor of one schedule and holds it. The error is
// schedule.ErrNotFound when there is none.
func (tx *Tx) LockCursor(ctx context.Context, id schedule.ID) (schedule.Cursor, error) {
	rows, err := tx.Query(ctx, lockCursor, [16]byte(id))
	if err != nil {
		return schedule.Cursor{}, wrap(err, "lock the cursor")
	}
	cursors, err := collectCursors(rows)
	if err != nil {
		return schedule.Cursor{}, wrap(err, "lock the cursor")
	}
	if len(cursors) == 0 {
		return schedule.Cursor{}, schedule.ErrNotFound
	}
	return cursors[0], nil
}

const saveCursors = `
UPDATE riverbeat.cursors c
SET next_run_at = n.next_run_at, fire_at = n.fire_at, dirty = n.dirty, planned_version = n.planned_version,
    last_run_at = n.last_run_at, last_job_id = n.last_job_id, run_count = n.run_count,
    held = n.held, held_since = n.held_since, held_reason = n.held_reason, share = n.share,
    state = n.state, state_reason = n.state_reason,
    -- Firing alone plans nothing new.
    planned_in = CASE WHEN c.planned_version <> n.planned_version OR c.dirty AND (NOT n.dirty OR c.next_run_at IS NULL)
                      THEN pg_current_xact_id() ELSE c.planned_in END
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::boolean[], $5::bigint[],
            $6::timestamptz[], $7::bigint[], $8::bigint[], $9::timestamptz[], $10::timestamptz[], $11::text[],
            $12::integer[], $13::text[], $14::text[])
    AS n (schedule_id, next_run_at, fire_at, dirty, planned_version, last_run_at, last_job_id, run_count,
          held, held_since, held_reason, share, state, state_reason)
WHERE c.schedule_id = n.schedule_id`

// SaveCursors writes cursors that the transaction holds.
func (tx *Tx) SaveCursors(ctx context.Context, cursors []schedule.Cursor) error {
	n := len(cursors)
	var (
		ids                 = make([][16]byte, n)
		next, fire, lastRun = make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
		dirty               = make([]bool, n)
		planned, count      = make([]int64, n), make([]int64, n)
		lastJob             = make([]*int64, n)
		held, heldSince     = make([]*time.Time, n), make([]*time.Time, n)
		heldReason          = make([]*string, n)
		share               = make([]*int, n)
		state, reason       = make([]string, n), make([]string, n)
	)
	for i, c := range cursors {
		ids[i], dirty[i], planned[i], count[i] = c.ScheduleID, c.Dirty, c.PlannedVersion, c.RunCount
		next[i], fire[i], lastRun[i] = nullTime(c.NextRunAt), nullTime(c.FireAt), nullTime(c.LastRunAt)
		lastJob[i], state[i], reason[i] = null(c.LastJobID), string(c.State), c.StateReason
		held[i], heldSince[i], heldReason[i] = nullTime(c.Held), nullTime(c.HeldSince), null(string(c.HeldReason))
		share[i] = null(c.Share)
	}
	_, err := tx.Exec(ctx, saveCursors, ids, next, fire, dirty, planned, lastRun, lastJob, count,
		held, heldSince, heldReason, share, state, reason)
	return wrap(err, "save cursors")
}

const dropOrphans = `
DELETE FROM riverbeat.cursors
WHERE schedule_id = ANY($1)`

// DropCursors removes cursors whose schedules are gone, which only happens when
// the triggers that keep them were disabled.
func (tx *Tx) DropCursors(ctx context.Context, ids []schedule.ID) error {
	_, err := tx.Exec(ctx, dropOrphans, uuids(ids))
	return wrap(err, "drop cursors without a schedule")
}

const stillDirty = `
SELECT c.schedule_id
FROM riverbeat.cursors c
WHERE %s
ORDER BY c.changed_at
LIMIT $1`

// StillDirty is the schedules of at most limit cursors that are to be planned.
func (s *Store) StillDirty(ctx context.Context, dirty Dirty, limit int) ([]schedule.ID, error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	where, args := dirty.where(1)
	rows, err := s.pool.Query(ctx, fmt.Sprintf(stillDirty, where), append([]any{limit}, args...)...)
	if err != nil {
		return nil, wrap(err, "look for dirty cursors")
	}
	ids, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (id schedule.ID, err error) {
		return id, row.Scan((*[16]byte)(&id))
	})
	return ids, wrap(err, "look for dirty cursors")
}

const selectChanges = `
SELECT c.schedule_id, s.version, %s, extract(epoch FROM clock_timestamp() - s.updated_at)::float8
FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id
WHERE c.schedule_id = ANY($1)`

// Changed is a schedule that a hint named.
type Changed struct {
	ScheduleID schedule.ID
	Version    int64
	Dirty      bool          // it is still to be planned
	Age        time.Duration // of its last change
}

// Changes looks at schedules that were planned a moment ago, or should have been;
// those that are gone aren't there. unplanned is as for Dirty.
func (s *Store) Changes(ctx context.Context, ids []schedule.ID, unplanned bool) ([]Changed, error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	dirty, _ := Dirty{Unplanned: unplanned}.where(0)
	rows, err := s.pool.Query(ctx, fmt.Sprintf(selectChanges, dirty), uuids(ids))
	if err != nil {
		return nil, wrap(err, "look at changed schedules")
	}
	changes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c Changed, err error) {
		var age float64
		err = row.Scan((*[16]byte)(&c.ScheduleID), &c.Version, &c.Dirty, &age)
		c.Age = max(seconds(age), 0)
		return c, err
	})
	return changes, wrap(err, "look at changed schedules")
}

// The statement's own time is before its snapshot, clock_timestamp() behind it.
const nextFire = `
SELECT extract(epoch FROM min(fire_at) - clock_timestamp())::float8,
       extract(epoch FROM (
           SELECT min(fire_at) FROM riverbeat.cursors WHERE fire_at > (SELECT clock_timestamp())
       ) - clock_timestamp())::float8,
       statement_timestamp(), pg_current_snapshot()::text,
       EXISTS (SELECT FROM riverbeat.waits WHERE until > clock_timestamp())
FROM riverbeat.cursors
WHERE fire_at IS NOT NULL`

// Ahead is when runs are due, by the database's clock.
type Ahead struct {
	Due   bool          // something is due now
	Next  time.Duration // until the first that isn't due yet; centuries when there is none
	Look  Look          // this one
	Asked bool          // somebody waits to hear of it
}

// never is longer than anybody waits, and fits into a Duration.
const never = 250 * 365 * 24 * time.Hour

// LookAhead says when the next runs are due.
func (s *Store) LookAhead(ctx context.Context) (Ahead, error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	ahead := Ahead{Next: never}
	var first, next *float64
	if err := s.pool.QueryRow(ctx, nextFire).Scan(&first, &next, &ahead.Look.At, &ahead.Look.Snapshot, &ahead.Asked); err != nil {
		return Ahead{}, wrap(err, "read when the next run is due")
	}
	if first != nil && *first <= 0 {
		ahead.Due, ahead.Look.Lag = true, seconds(-*first)
	}
	if next != nil && *next < never.Seconds() {
		ahead.Next = max(time.Duration(*next*float64(time.Second)), 0)
	}
	return ahead, nil
}
