package db

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// EventKind is what happened.
type EventKind string

// The kinds of events.
const (
	ScheduleCreated EventKind = "schedule.created"
	ScheduleUpdated EventKind = "schedule.updated"
	ScheduleDeleted EventKind = "schedule.deleted"
	RunEnqueued     EventKind = "run.enqueued"
	RunSkipped      EventKind = "run.skipped"
	RunMissed       EventKind = "run.missed"
	RunFinished     EventKind = "run.finished"
	// EverythingChanged is what nobody has listed: all schedules were removed at once.
	EverythingChanged EventKind = "reset"
)

// Event is something that happened and is committed.
type Event struct {
	// Transaction is the one that it happened in, and Row the number that its row
	// bears. They are the same here; but a savepoint has a number of its own, greater
	// than that of the transaction around it, and nothing says of which it is.
	Transaction  uint64
	Row          uint64
	Kind         EventKind
	ScheduleID   schedule.ID
	Namespace    string
	ScheduleName string
	At           time.Time
	Version      int64        // of a schedule
	Run          schedule.Run // of a run; of one that finished, not its outcome
	State        string       // of the job of a run that finished
	Attempt      int
	MaxAttempts  int
}

// Sight is what one look at the events has seen.
type Sight struct {
	Snapshot Snapshot
	Now      time.Time // by the database's clock
	Events   []Event   // in no order
	// TooMany says that some events are left out.
	TooMany bool
}

// Max is the first transaction that wasn't there yet.
func (s Snapshot) Max() uint64 { return s.max }

// Running are the transactions that were running, in order. Those of savepoints
// aren't named.
func (s Snapshot) Running() []uint64 {
	running := slices.Clone(s.running)
	slices.Sort(running)
	return running
}

// MaxEvents is the most that one look reads of each sort.
const MaxEvents = 20_000

// finishedLate is how much earlier than the commit that says so a job may have
// finished: worker's clocks differ, and River writes ends in batches.
const finishedLate = 10 * time.Second

// One statement, so that all of it is seen in one snapshot. What began before the
// transaction $1 is left out by its xmin, which has 32 bits: age compares those. The
// rows that this is asked of are bounded by $2, and those that come by LIMIT, whose
// ORDER BY keeps to the index, whatever $2 is.
const lookAtEvents = `
SELECT 'snapshot', '0', NULL::uuid, pg_current_snapshot()::text, '', clock_timestamp(),
       NULL::timestamptz, '', '', NULL::bigint, NULL::timestamptz, NULL::bigint, 0::bigint, 0, 0
UNION ALL (
    SELECT 'run.' || outcome, xmin::text, schedule_id, namespace, schedule_name, created_at,
           scheduled_for, reason, why, job_id, until, count, 0, 0, 0
    FROM riverbeat.runs
    WHERE created_at >= $2 AND age(xmin) <= (SELECT age($3::text::xid))
    ORDER BY created_at
    LIMIT $4
) UNION ALL (
    SELECT CASE version WHEN 1 THEN 'schedule.created' ELSE 'schedule.updated' END, changed_in::text, id, namespace, name, updated_at,
           NULL, '', '', NULL, NULL, NULL, version, 0, 0
    FROM riverbeat.schedules
    WHERE changed_in >= $1::text::xid8
    ORDER BY changed_in
    LIMIT $4
) UNION ALL (
    SELECT 'schedule.deleted', deleted_in::text, schedule_id, namespace, name, deleted_at,
           NULL, '', '', NULL, NULL, NULL, version, 0, 0
    FROM riverbeat.deleted
    WHERE deleted_in >= $1::text::xid8
    ORDER BY deleted_in
    LIMIT $4
) UNION ALL
SELECT 'run.finished', j.transaction, j.schedule_id, j.run, '', j.finalized_at,
       NULL, '', j.state::text, j.id, NULL, NULL, 0, j.attempt, j.max_attempts
FROM unnest(ARRAY['cancelled', 'completed', 'discarded']::river_job_state[]) AS ended (state)
CROSS JOIN LATERAL (
    SELECT xmin::text AS transaction, id, state, finalized_at, attempt, max_attempts, metadata ->> 'riverbeat' AS run,
           ` + scheduleOf + ` AS schedule_id
    FROM river_job
    WHERE state = ended.state AND finalized_at >= $2::timestamptz - $5::interval AND age(xmin) <= (SELECT age($3::text::xid))
    ORDER BY finalized_at
    LIMIT $4
) j
WHERE j.schedule_id IS NOT NULL`

// Events looks at what happened in the transactions from the given one on: of runs
// and jobs as far as it was noted since the instant, of schedules in those from
// changes on.
func (s *Store) Events(ctx context.Context, from, changes uint64, since time.Time) (sight Sight, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	rows, err := s.pool.Query(ctx, lookAtEvents, strconv.FormatUint(changes, 10), since,
		strconv.FormatUint(from&0xffffffff, 10), MaxEvents+1, finishedLate)
	if err != nil {
		return sight, wrap(err, "look at events")
	}
	defer rows.Close()
	numbers := map[EventKind]int{}
	for rows.Next() {
		var (
			kind, transaction, reason, why string
			id                             *[16]byte
			e                              Event
			scheduledFor, until            *time.Time
			job, count                     *int64
		)
		err := rows.Scan(&kind, &transaction, &id, &e.Namespace, &e.ScheduleName, &e.At, &scheduledFor, &reason, &why, &job, &until, &count,
			&e.Version, &e.Attempt, &e.MaxAttempts)
		if err != nil {
			return sight, wrap(err, "look at events")
		}
		if kind == "snapshot" {
			sight.Now = e.At
			if sight.Snapshot, err = ParseSnapshot(e.Namespace); err != nil {
				return sight, err
			}
			continue
		}
		if e.Transaction, err = strconv.ParseUint(transaction, 10, 64); err != nil {
			return sight, fmt.Errorf("read the transaction %q: %w", transaction, err)
		}
		e.Kind, e.At, e.ScheduleID = EventKind(kind), e.At.UTC(), value(id)
		e.Run = schedule.Run{
			ScheduleID: e.ScheduleID, Namespace: e.Namespace, ScheduleName: e.ScheduleName, ScheduledFor: utc(scheduledFor),
			Reason: schedule.Reason(reason), Why: why, JobID: value(job), Until: utc(until), Count: value(count),
		}
		// Each LIMIT is one of these, or of two or three that are read together.
		if numbers[e.Kind]++; numbers[e.Kind] > MaxEvents {
			sight.TooMany = true
		}
		if e.Kind == RunFinished && !e.finish() {
			continue
		}
		if e.Kind == ScheduleDeleted && id == nil {
			e.Kind = EverythingChanged
		}
		sight.Events = append(sight.Events, e)
	}
	if err := rows.Err(); err != nil {
		return sight, wrap(err, "look at events")
	}
	sight.TooMany = sight.TooMany || numbers[RunEnqueued]+numbers[RunSkipped]+numbers[RunMissed] > MaxEvents ||
		numbers[ScheduleCreated]+numbers[ScheduleUpdated] > MaxEvents
	// The xmin of a row has 32 bits; its transaction isn't younger than the snapshot.
	for i := range sight.Events {
		e := &sight.Events[i]
		if e.Transaction>>32 == 0 {
			e.Transaction |= sight.Snapshot.max &^ 0xffffffff
			if e.Transaction >= sight.Snapshot.max && e.Transaction >= 1<<32 {
				e.Transaction -= 1 << 32
			}
		}
		e.Row = e.Transaction
	}
	sight.Events = slices.DeleteFunc(sight.Events, func(e Event) bool { return e.Transaction < from })
	return sight, nil
}

// finish reads what a job's metadata say of its run; it reports whether they can be
// read.
func (e *Event) finish() bool {
	run, err := url.ParseQuery(e.Namespace)
	if err != nil || run.Get("namespace") == "" {
		return false
	}
	at, err := time.Parse(time.RFC3339Nano, run.Get("scheduled_for"))
	if err != nil {
		return false
	}
	e.State, e.Namespace, e.ScheduleName = e.Run.Why, run.Get("namespace"), run.Get("schedule_name")
	e.Run.Namespace, e.Run.ScheduleName = e.Namespace, e.ScheduleName
	e.Run.ScheduledFor, e.Run.Reason, e.Run.Why = at.UTC(), schedule.Reason(run.Get("reason")), ""
	return true
}

const newestChanges = `
SELECT (SELECT key FROM riverbeat.event_key), clock_timestamp(), coalesce((
    SELECT changed_in::text
    FROM riverbeat.schedules
    WHERE changed_in IS NOT NULL
    ORDER BY changed_in DESC
    OFFSET $1
    LIMIT 1
), '0')`

// NewestChanges finds the transaction from which on the n definitions were changed
// that changed last; 0: there are no more. now is the database's clock, and key the
// one that events' ids are sealed with, of 32 bytes.
func (s *Store) NewestChanges(ctx context.Context, n int) (from uint64, now time.Time, key []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	var first string
	if err := s.pool.QueryRow(ctx, newestChanges, n).Scan(&key, &now, &first); err != nil {
		return 0, now, nil, wrap(err, "look for the newest changes")
	}
	from, err = strconv.ParseUint(first, 10, 64)
	return from, now.UTC(), key, err
}

const tidyDeleted = `
DELETE FROM riverbeat.deleted
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM riverbeat.deleted
    WHERE deleted_at < clock_timestamp() - interval '1 hour'
    LIMIT 10000
    FOR UPDATE SKIP LOCKED))`
