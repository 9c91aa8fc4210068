package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

var copiedColumns = []string{
	"schedule_id", "scheduled_for", "namespace", "schedule_name", "reason", "outcome", "why",
	"job_id", "until", "count", "created_at",
}

// InsertRuns writes lines of the ledger. A line that is already there is a unique
// violation of runs_pkey: another scheduler, or an earlier try whose answer was
// lost, has accounted for that occurrence.
func (tx *Tx) InsertRuns(ctx context.Context, runs []schedule.Run) error {
	if len(runs) == 0 {
		return nil
	}
	// COPY writes many rows with one record of WAL: 100 bytes a run less than INSERT.
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"riverbeat", "runs"}, copiedColumns,
		pgx.CopyFromSlice(len(runs), func(i int) ([]any, error) {
			r := &runs[i]
			return []any{
				[16]byte(r.ScheduleID), r.ScheduledFor, r.Namespace, r.ScheduleName, string(r.Reason), string(r.Outcome), r.Why,
				null(r.JobID), nullTime(r.Until), null(r.Count), r.CreatedAt,
			}, nil
		}))
	return wrap(err, "record runs")
}

const selectRecorded = `
SELECT r.schedule_id, r.scheduled_for
FROM unnest($1::uuid[], $2::timestamptz[]) AS n (schedule_id, scheduled_for)
JOIN riverbeat.runs r USING (schedule_id, scheduled_for)`

// Occurrence names one line of the ledger.
type Occurrence struct {
	ScheduleID   schedule.ID
	ScheduledFor time.Time // UTC
}

// Recorded says which of the occurrences the ledger already holds.
func (tx *Tx) Recorded(ctx context.Context, occurrences []Occurrence) (map[Occurrence]bool, error) {
	ids, at := make([][16]byte, len(occurrences)), make([]time.Time, len(occurrences))
	for i, o := range occurrences {
		ids[i], at[i] = o.ScheduleID, o.ScheduledFor
	}
	rows, err := tx.Query(ctx, selectRecorded, ids, at)
	if err != nil {
		return nil, wrap(err, "look up the ledger")
	}
	recorded := map[Occurrence]bool{}
	var id [16]byte
	var scheduledFor time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &scheduledFor}, func() error {
		recorded[Occurrence{ScheduleID: id, ScheduledFor: scheduledFor.UTC()}] = true
		return nil
	})
	return recorded, wrap(err, "look up the ledger")
}

const selectLastFor = `
SELECT n.schedule_id, r.last_for
FROM unnest($1::uuid[]) AS n (schedule_id)
CROSS JOIN LATERAL (
    SELECT max(coalesce(until, scheduled_for)) AS last_for
    FROM (
        SELECT scheduled_for, until
        FROM riverbeat.runs
        WHERE schedule_id = n.schedule_id AND reason IN ('schedule', 'catch_up', 'backfill')
        -- Two, since what calendars took away among missed ones is a line of its own
        -- that begins later than theirs and may end sooner.
        ORDER BY scheduled_for DESC
        LIMIT 2
    ) newest
) r
WHERE r.last_for IS NOT NULL`

// LastFor is the last instant of each schedule's spec that the ledger holds.
func (tx *Tx) LastFor(ctx context.Context, ids []schedule.ID) (map[schedule.ID]time.Time, error) {
	rows, err := tx.Query(ctx, selectLastFor, uuids(ids))
	if err != nil {
		return nil, wrap(err, "read the last runs")
	}
	last := map[schedule.ID]time.Time{}
	var id [16]byte
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error {
		last[id] = at.UTC()
		return nil
	})
	return last, wrap(err, "read the last runs")
}

// scanRun reads a line of the ledger and whatever stands behind its columns.
func scanRun(row pgx.CollectableRow, r *schedule.Run, more ...any) error {
	var (
		id              [16]byte
		reason, outcome string
		job, count      *int64
		until           *time.Time
	)
	err := row.Scan(append([]any{
		&id, &r.ScheduledFor, &r.Namespace, &r.ScheduleName, &reason, &outcome, &r.Why, &job, &until, &count, &r.CreatedAt,
	}, more...)...)
	r.ScheduleID, r.Reason, r.Outcome = id, schedule.Reason(reason), schedule.Outcome(outcome)
	r.JobID, r.Count, r.Until = value(job), value(count), utc(until)
	r.ScheduledFor, r.CreatedAt = r.ScheduledFor.UTC(), r.CreatedAt.UTC()
	return err
}

const unfinishedJobs = `
SELECT j.id
FROM riverbeat.runs r JOIN river_job j ON j.id = r.job_id
WHERE r.schedule_id = $1 AND j.state NOT IN ('cancelled', 'completed', 'discarded')`

// UnfinishedJobs are the jobs of a schedule's runs that River hasn't finalized.
func (tx *Tx) UnfinishedJobs(ctx context.Context, id schedule.ID) ([]int64, error) {
	rows, err := tx.Query(ctx, unfinishedJobs, [16]byte(id))
	if err != nil {
		return nil, wrap(err, "look for unfinished jobs")
	}
	jobs, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return jobs, wrap(err, "look for unfinished jobs")
}

// The id of a cursor's last job is that of the spec's last run, and River's ids
// grow, so a manual or backfilled run that came later has the greater one. Both
// ways are one probe of an index a schedule, however many runs were skipped since.
const selectLastJobs = `
SELECT n.schedule_id, j.id, j.created_at
FROM unnest($1::uuid[], $2::bigint[]) AS n (schedule_id, last_job_id)
CROSS JOIN LATERAL (
    SELECT max(job_id) AS id
    FROM riverbeat.runs
    WHERE schedule_id = n.schedule_id AND reason IN ('manual', 'backfill')
) beside
-- With a limit it isn't joined but looked up: for 1,000 of 100,000 jobs a join
-- would read them all.
CROSS JOIN LATERAL (
    SELECT id, created_at
    FROM river_job
    WHERE id = greatest(n.last_job_id, beside.id) AND state NOT IN ('cancelled', 'completed', 'discarded')
    LIMIT 1
) j`

// LastJobs is the job of the last run of each cursor's schedule, those that River
// hasn't finalized. The transaction holds the cursors.
func (tx *Tx) LastJobs(ctx context.Context, cursors []schedule.Cursor) (map[schedule.ID]schedule.LastJob, error) {
	ids, last := make([][16]byte, len(cursors)), make([]*int64, len(cursors))
	for i, c := range cursors {
		ids[i], last[i] = c.ScheduleID, null(c.LastJobID)
	}
	rows, err := tx.Query(ctx, selectLastJobs, ids, last)
	if err != nil {
		return nil, wrap(err, "read the last jobs")
	}
	jobs := map[schedule.ID]schedule.LastJob{}
	var id [16]byte
	var job schedule.LastJob
	_, err = pgx.ForEachRow(rows, []any{&id, &job.ID, &job.CreatedAt}, func() error {
		jobs[id] = job
		return nil
	})
	return jobs, wrap(err, "read the last jobs")
}

// Now is the database's clock, which decides what is due.
func (tx *Tx) Now(ctx context.Context) (now time.Time, err error) {
	err = tx.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now)
	return now.UTC(), wrap(err, "read the database's clock")
}
