package db

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// Lookout is up to where somebody has looked for trouble.
type Lookout struct {
	Jobs     schedule.Moment // the last finished job
	Missed   MissedAt        // the last line of the ledger that says missed
	Invalid  schedule.ID     // the last schedule that was looked at for being set aside
	Troubled TroubleKey      // the last trouble that was looked at for being over

	// Read with it.
	Now   time.Time
	Since time.Time // when the oldest alert was made; zero: there is none
}

// MissedAt orders the lines that say missed.
type MissedAt struct {
	At         time.Time
	ScheduleID schedule.ID
}

// TroubleKey names one schedule's trouble.
type TroubleKey struct {
	Trouble    schedule.Trouble
	ScheduleID schedule.ID
}

const needsLookout = `
SELECT EXISTS (SELECT FROM riverbeat.alerts) OR EXISTS (SELECT FROM riverbeat.troubles)`

// NeedsLookout reports whether anybody wants to be told of trouble, or did until now.
func (s *Store) NeedsLookout(ctx context.Context) (needed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	err = s.pool.QueryRow(ctx, needsLookout).Scan(&needed)
	return needed, wrap(err, "look for alerts")
}

const lockLookout = `
SELECT jobs_at, jobs_id, runs_at, runs_schedule, invalid_after, trouble_after, troubled_after,
       (SELECT clock_timestamp()), (SELECT min(created_at) FROM riverbeat.alerts)
FROM riverbeat.lookout
FOR UPDATE SKIP LOCKED`

// LockLookout makes this transaction the one that looks for trouble; it isn't ok when
// another one is.
func (tx *Tx) LockLookout(ctx context.Context) (l Lookout, ok bool, err error) {
	var trouble string
	var runs, invalid, troubled [16]byte
	var since *time.Time
	err = tx.QueryRow(ctx, lockLookout).Scan(&l.Jobs.At, &l.Jobs.ID, &l.Missed.At, &runs, &invalid, &trouble, &troubled, &l.Now, &since)
	if errors.Is(err, pgx.ErrNoRows) {
		return l, false, nil
	}
	l.Missed.ScheduleID, l.Invalid = runs, invalid
	l.Troubled = TroubleKey{Trouble: schedule.Trouble(trouble), ScheduleID: troubled}
	l.Now, l.Since = l.Now.UTC(), utc(since)
	return l, err == nil, wrap(err, "lock the lookout")
}

const saveLookout = `
UPDATE riverbeat.lookout
SET jobs_at = $1, jobs_id = $2, runs_at = $3, runs_schedule = $4, invalid_after = $5, trouble_after = $6, troubled_after = $7`

// SaveLookout writes up to where the transaction, which holds it, has looked.
func (tx *Tx) SaveLookout(ctx context.Context, l Lookout) error {
	_, err := tx.Exec(ctx, saveLookout, l.Jobs.At, l.Jobs.ID, l.Missed.At, [16]byte(l.Missed.ScheduleID), [16]byte(l.Invalid),
		string(l.Troubled.Trouble), [16]byte(l.Troubled.ScheduleID))
	return wrap(err, "save the lookout")
}

// scheduleOf is the schedule whose run a River job is; null for the jobs of others, whose
// metadata may hold anything, and those that carry alerts.
const scheduleOf = `
substring(metadata ->> 'riverbeat' FROM '\mschedule_id=([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\M')::uuid`

// A job that was cancelled has failed when its worker gave it up, and says so in its
// last error; not when somebody else cancelled it.
const selectFailedJobs = `
SELECT id, finalized_at, schedule_id,
       state = 'discarded' OR starts_with(error, 'JobCancelError: ') AND error <> 'JobCancelError: job cancelled remotely',
       scheduled_for, left(error, 500)
FROM (
    SELECT id, finalized_at, state, ` + scheduleOf + ` AS schedule_id, substring(metadata ->> 'riverbeat' FROM '\mscheduled_for=([^&]*)') AS scheduled_for,
           coalesce(errors[cardinality(errors)] ->> 'error', '') AS error
    FROM river_job
    WHERE state = $4 AND finalized_at >= $1 AND (finalized_at, id) > ($1, $2)
    ORDER BY finalized_at, id
    LIMIT $3
) j
ORDER BY finalized_at, id`

// FailedJobs are the jobs that River has finished without success behind that one, and
// at most limit of those that were discarded and of those that were cancelled. All that
// finished up to upTo are among them; it isn't complete when there may be more.
func (tx *Tx) FailedJobs(ctx context.Context, after schedule.Moment, limit int) (failed []schedule.Sign, upTo schedule.Moment, complete bool, err error) {
	complete = true
	for _, state := range []string{"discarded", "cancelled"} {
		rows, err := tx.Query(ctx, selectFailedJobs, after.At, after.ID, limit, state)
		if err != nil {
			return nil, upTo, false, wrap(err, "look for failed jobs")
		}
		var (
			n            int
			last         schedule.Moment
			id           *[16]byte
			bad          bool
			scheduledFor *string
			reason       string
		)
		_, err = pgx.ForEachRow(rows, []any{&last.ID, &last.At, &id, &bad, &scheduledFor, &reason}, func() error {
			n++
			if id == nil || !bad {
				return nil
			}
			last.At = last.At.UTC()
			sign := schedule.Sign{ScheduleID: *id, Trouble: schedule.TroubleFailed, Moment: last, JobID: last.ID, Reason: reason}
			if at, err := time.Parse(time.RFC3339Nano, value(scheduledFor)); err == nil {
				sign.ScheduledFor = at
			}
			failed = append(failed, sign)
			return nil
		})
		if err != nil {
			return nil, upTo, false, wrap(err, "look for failed jobs")
		}
		if n == limit && (complete || upTo.After(last)) {
			complete, upTo = false, last
		}
	}
	return failed, upTo, complete, nil
}

const selectCompletedJobs = `
WITH page AS MATERIALIZED (
    SELECT id, finalized_at, ` + scheduleOf + ` AS schedule_id
    FROM river_job
    WHERE state = 'completed' AND finalized_at >= $1 AND (finalized_at, id) > ($1, $2)
    ORDER BY finalized_at, id
    LIMIT $3
)
SELECT p.id, p.finalized_at, p.schedule_id
FROM page p
WHERE p.schedule_id = ANY ($4)
   OR EXISTS (SELECT FROM riverbeat.troubles t WHERE t.trouble = 'failed' AND t.schedule_id = p.schedule_id AND t.since IS NOT NULL)
UNION ALL
-- Where a full page ends.
(SELECT id, finalized_at, NULL FROM page ORDER BY finalized_at, id OFFSET $3 - 1)`

const anyFailed = `
SELECT EXISTS (SELECT FROM riverbeat.troubles WHERE trouble = 'failed' AND since IS NOT NULL)`

// CompletedJobs are the jobs that River has finished with success behind that one, of
// the schedules and of those whose trouble is that the last one failed. At most limit
// jobs are looked at, and none when there is no such schedule; upTo and complete are as
// with FailedJobs.
func (tx *Tx) CompletedJobs(ctx context.Context, after schedule.Moment, schedules []schedule.ID, limit int) (completed []schedule.Sign, upTo schedule.Moment, complete bool, err error) {
	needed := len(schedules) > 0
	if !needed {
		if err := tx.QueryRow(ctx, anyFailed).Scan(&needed); err != nil || !needed {
			return nil, upTo, true, wrap(err, "look for schedules that have failed")
		}
	}
	rows, err := tx.Query(ctx, selectCompletedJobs, after.At, after.ID, limit, uuids(schedules))
	if err != nil {
		return nil, upTo, false, wrap(err, "look for completed jobs")
	}
	complete = true
	var m schedule.Moment
	var id *[16]byte
	_, err = pgx.ForEachRow(rows, []any{&m.ID, &m.At, &id}, func() error {
		m.At = m.At.UTC()
		if id == nil {
			upTo, complete = m, false
			return nil
		}
		completed = append(completed, schedule.Sign{ScheduleID: *id, Trouble: schedule.TroubleFailed, Over: true, Moment: m, JobID: m.ID})
		return nil
	})
	return completed, upTo, complete, wrap(err, "look for completed jobs")
}

const selectMissed = `
SELECT created_at, schedule_id, scheduled_for, why
FROM riverbeat.runs
WHERE outcome = 'missed' AND created_at AT TIME ZONE 'UTC' >= $1::timestamptz AT TIME ZONE 'UTC'
  AND (created_at AT TIME ZONE 'UTC', schedule_id) > ($1::timestamptz AT TIME ZONE 'UTC', $2)
ORDER BY created_at AT TIME ZONE 'UTC', schedule_id
LIMIT $3`

// Missed are the runs that were recorded as missed behind that line, and where they
// end; at most limit. Those that somebody's edit, pause or delete has made so aren't
// among them, nor those of a schedule that was set aside, which is a trouble of its own.
func (tx *Tx) Missed(ctx context.Context, after MissedAt, limit int) (missed []schedule.Sign, upTo MissedAt, complete bool, err error) {
	rows, err := tx.Query(ctx, selectMissed, after.At, [16]byte(after.ScheduleID), limit)
	if err != nil {
		return nil, upTo, false, wrap(err, "look for missed runs")
	}
	var (
		n             int
		created, for_ time.Time
		id            [16]byte
		why           string
	)
	_, err = pgx.ForEachRow(rows, []any{&created, &id, &for_, &why}, func() error {
		n++
		upTo = MissedAt{At: created.UTC(), ScheduleID: id}
		switch why {
		case schedule.WhySuperseded, schedule.WhyPaused, schedule.WhyDeleted, schedule.WhyInvalid, schedule.WhyExcluded:
			return nil
		}
		missed = append(missed, schedule.Sign{
			ScheduleID: id, Trouble: schedule.TroubleMissed, ScheduledFor: for_.UTC(), Reason: why,
			Moment: schedule.Moment{At: upTo.At, ID: for_.UnixMicro()},
		})
		return nil
	})
	return missed, upTo, n < limit, wrap(err, "look for missed runs")
}

const selectInvalid = `
SELECT schedule_id, state_reason
FROM riverbeat.cursors
WHERE state = 'invalid' AND schedule_id > $1
ORDER BY schedule_id
LIMIT $2`

// Invalid are schedules that are set aside, at most limit, behind that one, as seen at
// the instant; and the last of them, or the zero ID when there are no more.
func (tx *Tx) Invalid(ctx context.Context, after schedule.ID, now time.Time, limit int) (invalid []schedule.Sign, upTo schedule.ID, err error) {
	rows, err := tx.Query(ctx, selectInvalid, [16]byte(after), limit)
	if err != nil {
		return nil, upTo, wrap(err, "look for invalid schedules")
	}
	var id [16]byte
	var reason string
	_, err = pgx.ForEachRow(rows, []any{&id, &reason}, func() error {
		invalid = append(invalid, schedule.Sign{ScheduleID: id, Trouble: schedule.TroubleInvalid, Moment: schedule.Moment{At: now}, Reason: reason})
		return nil
	})
	if len(invalid) == limit {
		upTo = id
	}
	return invalid, upTo, wrap(err, "look for invalid schedules")
}

const selectTroubled = `
SELECT t.trouble, t.schedule_id, t.since, t.seen_at, t.seen_id, c.schedule_id IS NULL,
       CASE t.trouble WHEN 'invalid' THEN c.state <> 'invalid'
                      WHEN 'missed' THEN c.last_run_at > t.seen_at
                      ELSE false END
FROM riverbeat.troubles t LEFT JOIN riverbeat.cursors c USING (schedule_id)
WHERE (t.trouble, t.schedule_id) > ($1, $2) AND t.since IS NOT NULL
ORDER BY t.trouble, t.schedule_id
LIMIT $3`

// Troubled is a schedule in trouble.
type Troubled struct {
	schedule.TroubleState
	Gone bool // the schedule doesn't exist any more
	Over bool // its cursor says that the trouble is
}

// Troubled are schedules in trouble, at most limit, behind that one; and the last of
// them, or the zero TroubleKey when there are no more.
func (tx *Tx) Troubled(ctx context.Context, after TroubleKey, limit int) (list []Troubled, upTo TroubleKey, err error) {
	rows, err := tx.Query(ctx, selectTroubled, string(after.Trouble), [16]byte(after.ScheduleID), limit)
	if err != nil {
		return nil, upTo, wrap(err, "look for trouble that is over")
	}
	list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Troubled, err error) {
		var over *bool
		t.TroubleState, err = scanTrouble(row, &t.Gone, &over)
		t.Over = value(over)
		return t, err
	})
	if len(list) == limit {
		last := list[len(list)-1]
		upTo = TroubleKey{Trouble: last.Trouble, ScheduleID: last.ScheduleID}
	}
	return list, upTo, wrap(err, "look for trouble that is over")
}

func scanTrouble(row pgx.CollectableRow, more ...any) (t schedule.TroubleState, err error) {
	var trouble string
	var id [16]byte
	var since *time.Time
	err = row.Scan(append([]any{&trouble, &id, &since, &t.Seen.At, &t.Seen.ID}, more...)...)
	t.Trouble, t.ScheduleID, t.Since, t.Seen.At = schedule.Trouble(trouble), id, utc(since), t.Seen.At.UTC()
	return t, err
}

const selectTroubles = `
SELECT trouble, schedule_id, since, seen_at, seen_id
FROM riverbeat.troubles
WHERE trouble = ANY ('{failed,missed,invalid}') AND schedule_id = ANY ($1)`

// Troubles is how the schedules stand, as far as anything is known of them.
func (tx *Tx) Troubles(ctx context.Context, ids []schedule.ID) ([]schedule.TroubleState, error) {
	rows, err := tx.Query(ctx, selectTroubles, uuids(ids))
	if err != nil {
		return nil, wrap(err, "read troubles")
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (schedule.TroubleState, error) { return scanTrouble(row) })
	return list, wrap(err, "read troubles")
}

const saveTroubles = `
INSERT INTO riverbeat.troubles (trouble, schedule_id, since, seen_at, seen_id)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::bigint[])
ON CONFLICT (trouble, schedule_id) DO UPDATE
SET since = excluded.since, seen_at = excluded.seen_at, seen_id = excluded.seen_id`

// SaveTroubles writes how schedules stand, each of which is there once.
func (tx *Tx) SaveTroubles(ctx context.Context, list []schedule.TroubleState) error {
	n := len(list)
	troubles, ids, since := make([]string, n), make([][16]byte, n), make([]*time.Time, n)
	seenAt, seenID := make([]time.Time, n), make([]int64, n)
	for i, t := range list {
		troubles[i], ids[i], since[i], seenAt[i], seenID[i] = string(t.Trouble), t.ScheduleID, nullTime(t.Since), t.Seen.At, t.Seen.ID
	}
	_, err := tx.Exec(ctx, saveTroubles, troubles, ids, since, seenAt, seenID)
	return wrap(err, "save troubles")
}

const forgetTroubles = `
DELETE FROM riverbeat.troubles
WHERE since IS NULL AND seen_at < $1 OR (trouble, schedule_id) IN (SELECT * FROM unnest($2::text[], $3::uuid[]))`

// ForgetTroubles removes those that were over at the instant, and these.
func (tx *Tx) ForgetTroubles(ctx context.Context, over time.Time, gone []TroubleKey) error {
	troubles, ids := make([]string, len(gone)), make([][16]byte, len(gone))
	for i, key := range gone {
		troubles[i], ids[i] = string(key.Trouble), key.ScheduleID
	}
	_, err := tx.Exec(ctx, forgetTroubles, over, troubles, ids)
	return wrap(err, "forget troubles")
}

const forgetSomeTroubles = `
DELETE FROM riverbeat.troubles
WHERE ctid = ANY (ARRAY(SELECT ctid FROM riverbeat.troubles LIMIT $1))`

// ForgetSomeTroubles removes at most limit of all there are.
func (tx *Tx) ForgetSomeTroubles(ctx context.Context, limit int) error {
	_, err := tx.Exec(ctx, forgetSomeTroubles, limit)
	return wrap(err, "forget troubles")
}

const selectNamed = `
SELECT id, namespace, name, labels
FROM riverbeat.schedules
WHERE id = ANY ($1)`

// Named is what alerts know schedules by.
type Named struct {
	Namespace, Name string
	Labels          map[string]string
}

// Named reads those of the schedules that there are.
func (tx *Tx) Named(ctx context.Context, ids []schedule.ID) (map[schedule.ID]Named, error) {
	rows, err := tx.Query(ctx, selectNamed, uuids(ids))
	if err != nil {
		return nil, wrap(err, "read the names of schedules")
	}
	named := map[schedule.ID]Named{}
	var id [16]byte
	var n Named
	_, err = pgx.ForEachRow(rows, []any{&id, &n.Namespace, &n.Name, &n.Labels}, func() error {
		named[id] = n
		n.Labels = nil // the next is another map
		return nil
	})
	return named, wrap(err, "read the names of schedules")
}
