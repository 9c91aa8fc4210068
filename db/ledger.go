package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// maxWalk is how many rows one page looks at, at the most, for those that its filter
// lets through. What is rarer makes short pages, never a long search.
const maxWalk = 2000

// maxIndexWalk is that where the index alone tells which they are.
const maxIndexWalk = 20_000

// RunFilter says which lines of the ledger to list, newest first. Zero fields don't
// filter.
type RunFilter struct {
	ScheduleID schedule.ID // zero: of all schedules
	Namespaces []string    // nil: all
	Outcome    schedule.Outcome
	Reason     schedule.Reason
	JobState   schedule.JobState
	// Since and Until are compared with ScheduledFor where ScheduleID is set, else
	// with CreatedAt: that by which the list is ordered.
	Since, Until time.Time // from Since on, up to before Until
	Before       RunPlace  // where the page before has ended; zero: this is the first
	Limit        int
}

// filters reports whether rows may be left out that the page has looked at.
func (f *RunFilter) filters() bool {
	return f.Namespaces != nil || f.Outcome != "" || f.Reason != "" || f.JobState != ""
}

// RunPlace is a place in a list of runs. Of one schedule's it is ScheduledFor alone.
type RunPlace struct {
	CreatedAt    time.Time
	ScheduleID   schedule.ID
	ScheduledFor time.Time
}

// RunPage is a part of a list of runs.
type RunPage struct {
	Runs []schedule.RunStatus
	Next RunPlace // where the next page begins; zero: this is the last
}

// A job is looked up by its id, one by one: as a join it might read all of River's
// table. OFFSET 0 keeps it from becoming one.
const selectLedger = `
SELECT r.schedule_id, r.scheduled_for, r.namespace, r.schedule_name, r.reason, r.outcome, r.why, r.job_id, r.until, r.count, r.created_at,
       r.args IS NOT NULL, %s,
       j.state, j.attempt, j.max_attempts, j.attempted_at, j.finalized_at, j.error, j.output_status
FROM %s r
LEFT JOIN LATERAL (
    SELECT state::text, attempt, max_attempts, attempted_at, finalized_at,
           left(errors[cardinality(errors)]->>'error', 1024) AS error,
           CASE WHEN metadata #>> '{output,status}' ~ '^[0-9]{1,9}$' THEN (metadata #>> '{output,status}')::integer END AS output_status
    FROM river_job
    WHERE id = r.job_id
    OFFSET 0
) j ON true
WHERE %s`

func scanRunStatus(row pgx.CollectableRow) (s schedule.RunStatus, err error) {
	var (
		args                   []byte
		state, failed          *string
		attempt, most, output  *int
		attemptedAt, finalized *time.Time
	)
	err = scanRun(row, &s.Run, &s.Overridden, &args, &state, &attempt, &most, &attemptedAt, &finalized, &failed, &output)
	s.Args = json.RawMessage(args)
	if state != nil {
		text := value(failed)
		text = strings.ToValidUTF8(text[:min(len(text), schedule.MaxJobError)], "")
		s.Job = &schedule.JobStatus{
			State: schedule.JobState(*state), Attempt: value(attempt), MaxAttempts: value(most),
			AttemptedAt: utc(attemptedAt), FinalizedAt: utc(finalized), Error: text, OutputStatus: value(output),
		}
	}
	return s, err
}

// ListRuns lists a part of the ledger with the state of its jobs. Its page may be
// short, or empty, and have a Next all the same: the work for one is bounded.
func (tx *Tx) ListRuns(ctx context.Context, f RunFilter) (page RunPage, err error) {
	if err := tx.byIndex(ctx); err != nil {
		return page, err
	}
	columns := []string{"r.created_at", "r.schedule_id", "r.scheduled_for"}
	var c conditions
	if !f.ScheduleID.IsZero() {
		columns = columns[2:]
		c.add("r.schedule_id = %s", [16]byte(f.ScheduleID))
	}
	if !f.Since.IsZero() {
		c.add(columns[0]+" >= %s", f.Since)
	}
	if !f.Until.IsZero() {
		c.add(columns[0]+" < %s", f.Until)
	}
	switch {
	case f.Before == RunPlace{}:
	case len(columns) == 1:
		c.add("r.scheduled_for < %s", f.Before.ScheduledFor)
	default:
		c.add("r.created_at <= %s", f.Before.CreatedAt) // what the index knows
		c.add("(r.created_at, r.schedule_id, r.scheduled_for) < (%s, %s, %s)", f.Before.CreatedAt, [16]byte(f.Before.ScheduleID), f.Before.ScheduledFor)
	}
	var end *time.Time // the page looks no further back
	if f.filters() {
		if end, err = tx.endOfWalk(ctx, &f, c, columns[0]); err != nil {
			return page, err
		}
		if end != nil {
			c.add(columns[0]+" >= %s", *end)
		}
	}
	switch {
	case len(f.Namespaces) == 1:
		c.add("r.namespace = %s", f.Namespaces[0]) // the index knows it too
	case f.Namespaces != nil:
		c.add("r.namespace = ANY(%s)", f.Namespaces)
	}
	if f.Outcome != "" {
		c.add("r.outcome = %s", string(f.Outcome))
	}
	if f.Reason != "" {
		c.add("r.reason = %s", string(f.Reason))
	}
	if f.JobState != "" {
		c.add("j.state = %s", string(f.JobState))
	}
	query := fmt.Sprintf(selectLedger, "NULL::jsonb", "riverbeat.runs", c.all()) +
		"\nORDER BY " + strings.Join(columns, " DESC, ") + fmt.Sprintf(" DESC\nLIMIT %d", f.Limit+1)
	rows, err := tx.Query(ctx, query, c.args...)
	if err != nil {
		return page, wrap(err, "list runs")
	}
	if page.Runs, err = pgx.CollectRows(rows, scanRunStatus); err != nil {
		return page, wrap(err, "list runs")
	}
	switch {
	case len(page.Runs) > f.Limit:
		page.Runs = page.Runs[:f.Limit]
		last := page.Runs[f.Limit-1].Run
		page.Next = RunPlace{CreatedAt: last.CreatedAt, ScheduleID: last.ScheduleID, ScheduledFor: last.ScheduledFor}
	case end != nil:
		// All of that instant was looked at. No line is named here: it may be another's.
		page.Next = RunPlace{CreatedAt: *end, ScheduledFor: *end}
	}
	return page, nil
}

// endOfWalk is the instant of the last line that a page with this filter looks at;
// nil: it may look at all there are.
func (tx *Tx) endOfWalk(ctx context.Context, f *RunFilter, c conditions, column string) (*time.Time, error) {
	walk := maxWalk
	if f.ScheduleID.IsZero() && len(f.Namespaces) == 1 {
		walk = maxIndexWalk
	}
	var end time.Time
	err := tx.QueryRow(ctx, fmt.Sprintf("SELECT %s FROM riverbeat.runs r WHERE %s ORDER BY %[1]s DESC OFFSET %[3]d LIMIT 1", column, c.all(), walk-1), c.args...).
		Scan(&end)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	end = end.UTC()
	return &end, wrap(err, "list runs")
}

// conditions gather what a statement's WHERE asks, and its parameters.
type conditions struct {
	texts []string
	args  []any
}

// add has a condition, in whose text each %s stands for one of the values.
func (c *conditions) add(text string, values ...any) {
	places := make([]any, len(values))
	for i, v := range values {
		c.args = append(c.args[:len(c.args):len(c.args)], v)
		places[i] = fmt.Sprint("$", len(c.args))
	}
	c.texts = append(c.texts[:len(c.texts):len(c.texts)], fmt.Sprintf(text, places...))
}

// addSelector asks for the labels of schedules s.
func (c *conditions) addSelector(sel schedule.Selector) {
	if len(sel) > 0 {
		text, args := selected(sel, len(c.args))
		c.texts = append(c.texts[:len(c.texts):len(c.texts)], text)
		c.args = append(c.args[:len(c.args):len(c.args)], args...)
	}
}

// all is that all of them hold.
func (c *conditions) all() string {
	if len(c.texts) == 0 {
		return "true"
	}
	return strings.Join(c.texts, "\n  AND ")
}

func (c *conditions) where() string { return "\nWHERE " + c.all() }

// Run reads one line of the ledger, with the arguments that it was asked for with.
// The error is schedule.ErrNoRun when there is none in these namespaces; nil: all.
func (tx *Tx) Run(ctx context.Context, id schedule.ID, scheduledFor time.Time, namespaces []string) (run schedule.RunStatus, err error) {
	var c conditions
	c.add("r.schedule_id = %s", [16]byte(id))
	c.add("r.scheduled_for = %s", scheduledFor)
	if namespaces != nil {
		c.add("r.namespace = ANY(%s)", namespaces)
	}
	rows, err := tx.Query(ctx, fmt.Sprintf(selectLedger, "r.args", "riverbeat.runs", c.all()), c.args...)
	if err != nil {
		return run, wrap(err, "read a run")
	}
	run, err = pgx.CollectExactlyOneRow(rows, scanRunStatus)
	if errors.Is(err, pgx.ErrNoRows) {
		return run, schedule.ErrNoRun
	}
	return run, wrap(err, "read a run")
}

const setRunArgs = `
UPDATE riverbeat.runs
SET args = $3
WHERE schedule_id = $1 AND scheduled_for = $2`

// SetRunArgs notes the arguments that a run was asked for with, which aren't its
// schedule's.
func (tx *Tx) SetRunArgs(ctx context.Context, id schedule.ID, scheduledFor time.Time, args json.RawMessage) error {
	_, err := tx.Exec(ctx, setRunArgs, [16]byte(id), scheduledFor, []byte(args))
	if isClass(err, "22") {
		return schedule.Invalid("args", "holds a value that PostgreSQL can't store")
	}
	return wrap(err, "note the arguments of a run")
}

const lockJob = `
SELECT kind, queue
FROM river_job
WHERE id = $1
FOR UPDATE`

// LockJob keeps a River job as it is until the end of the transaction, if there is
// one of the id, and reads its kind and its queue, which may be others than its
// schedule's by now.
func (tx *Tx) LockJob(ctx context.Context, id int64) (job schedule.Job, err error) {
	err = tx.QueryRow(ctx, lockJob, id).Scan(&job.Kind, &job.Queue)
	if errors.Is(err, pgx.ErrNoRows) {
		return job, nil
	}
	return job, wrap(err, "lock a River job")
}
