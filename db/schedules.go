package db

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

const scheduleColumns = `
s.id, s.namespace, s.name, s.description, s.labels,` + firingColumns + `,
s.paused, s.pause_reason, s.version, s.created_at, s.updated_at`

// firingColumns decide when and how a schedule fires.
const firingColumns = `
s.cron, s.every, s.at, s.timezone, s.start_at, s.end_at, s.jitter, s.max_runs, s.exclude, s.on_excluded,
s.job_kind, s.job_args, s.job_queue, s.job_priority, s.job_max_attempts, s.job_tags,
s.misfire, s.misfire_grace, s.misfire_limit, s.overlap, s.overlap_stale_after`

// scanSchedule reads scheduleColumns and whatever stands behind them.
func scanSchedule(row pgx.CollectableRow, s *schedule.Schedule, more ...any) error {
	var (
		id                               [16]byte
		cron                             *string
		every, grace, stale              *time.Duration
		at, startAt, endAt               *time.Time
		maxRuns                          *int64
		args                             []byte
		misfire, overlap, onExcluded     string
		priority, maxAttempts, missLimit int
	)
	err := row.Scan(append([]any{
		&id, &s.Namespace, &s.Name, &s.Description, &s.Labels,
		&cron, &every, &at, &s.Spec.Timezone, &startAt, &endAt, &s.Spec.Jitter, &maxRuns,
		&s.Spec.Exclude, &onExcluded,
		&s.Job.Kind, &args, &s.Job.Queue, &priority, &maxAttempts, &s.Job.Tags,
		&misfire, &grace, &missLimit, &overlap, &stale,
		&s.Paused, &s.PauseReason, &s.Version, &s.CreatedAt, &s.UpdatedAt,
	}, more...)...)
	if err != nil {
		return err
	}
	s.ID = id
	s.Spec.Cron, s.Spec.Every, s.Spec.At = value(cron), value(every), utc(at)
	s.Spec.StartAt, s.Spec.EndAt, s.Spec.MaxRuns = utc(startAt), utc(endAt), value(maxRuns)
	s.Spec.OnExcluded = schedule.OnExcluded(onExcluded)
	s.Job.Args, s.Job.Priority, s.Job.MaxAttempts = json.RawMessage(args), priority, maxAttempts
	s.Misfire, s.MisfireGrace, s.MisfireLimit = schedule.Misfire(misfire), value(grace), missLimit
	s.Overlap, s.OverlapStaleAfter = schedule.Overlap(overlap), value(stale)
	s.CreatedAt, s.UpdatedAt = s.CreatedAt.UTC(), s.UpdatedAt.UTC()
	return nil
}

// values are the parameters $1 to $28 of insertSchedule and updateSchedule.
func values(s *schedule.Schedule) []any {
	exclude := s.Spec.Exclude
	if exclude == nil {
		exclude = []string{}
	}
	return []any{
		[16]byte(s.ID), s.Namespace, s.Name, s.Description, s.Labels,
		null(s.Spec.Cron), null(s.Spec.Every), nullTime(s.Spec.At), s.Spec.Timezone,
		nullTime(s.Spec.StartAt), nullTime(s.Spec.EndAt), s.Spec.Jitter, null(s.Spec.MaxRuns),
		exclude, cmp.Or(string(s.Spec.OnExcluded), string(schedule.OnExcludedSkip)),
		s.Job.Kind, []byte(s.Job.Args), s.Job.Queue, s.Job.Priority, s.Job.MaxAttempts, s.Job.Tags,
		string(s.Misfire), null(s.MisfireGrace), s.MisfireLimit, string(s.Overlap), null(s.OverlapStaleAfter),
		s.Paused, s.PauseReason,
	}
}

const insertSchedule = `
INSERT INTO riverbeat.schedules
    (id, namespace, name, description, labels,
     cron, every, at, timezone, start_at, end_at, jitter, max_runs, exclude, on_excluded,
     job_kind, job_args, job_queue, job_priority, job_max_attempts, job_tags,
     misfire, misfire_grace, misfire_limit, overlap, overlap_stale_after,
     paused, pause_reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
        $20, $21, $22, $23, $24, $25, $26, $27, $28)`

// InsertSchedule writes a new schedule; its triggers make the cursor. The error
// is schedule.ErrNameTaken when the name is taken in the namespace, and
// schedule.ErrNoNamespace when the transaction doesn't see it.
func (tx *Tx) InsertSchedule(ctx context.Context, s *schedule.Schedule) error {
	if !tx.sees(s.Namespace) {
		return schedule.ErrNoNamespace
	}
	_, err := tx.Exec(ctx, insertSchedule, values(s)...)
	return scheduleError(err, "insert the schedule")
}

const updateSchedule = `
UPDATE riverbeat.schedules
SET namespace = $2, name = $3, description = $4, labels = $5,
    cron = $6, every = $7, at = $8, timezone = $9, start_at = $10, end_at = $11, jitter = $12, max_runs = $13,
    exclude = $14, on_excluded = $15,
    job_kind = $16, job_args = $17, job_queue = $18, job_priority = $19, job_max_attempts = $20, job_tags = $21,
    misfire = $22, misfire_grace = $23, misfire_limit = $24, overlap = $25, overlap_stale_after = $26,
    paused = $27, pause_reason = $28
WHERE id = $1`

// UpdateSchedule writes the definition; its triggers move the version and mark
// the cursor.
func (tx *Tx) UpdateSchedule(ctx context.Context, s *schedule.Schedule) error {
	_, err := tx.Exec(ctx, updateSchedule, values(s)...)
	return scheduleError(err, "update the schedule")
}

const deleteSchedule = `
DELETE FROM riverbeat.schedules
WHERE id = $1`

// DeleteSchedule waits for a dispatch of the schedule that is in flight.
func (tx *Tx) DeleteSchedule(ctx context.Context, id schedule.ID) error {
	_, err := tx.Exec(ctx, deleteSchedule, [16]byte(id))
	return wrap(err, "delete the schedule")
}

// scheduleError names what the table refused.
func scheduleError(err error, doing string) error {
	if UniqueViolation(err) == "schedules_name_key" {
		return schedule.ErrNameTaken
	}
	// The API checks first; this is for what only the table knows.
	if name := CheckViolation(err); name != "" {
		return schedule.Invalid(fieldOf(name), "is not accepted by the database")
	}
	if isClass(err, "22") {
		return schedule.Invalid("job.args", "holds a value that PostgreSQL can't store")
	}
	return wrap(err, doing)
}

// fieldOf is the field that a CHECK constraint is about, by its path in a
// schedule's JSON.
func fieldOf(constraint string) string {
	column := strings.TrimSuffix(strings.TrimPrefix(constraint, "schedules_"), "_check")
	if field, ok := strings.CutPrefix(column, "job_"); ok {
		return "job." + field
	}
	switch column {
	case "cron", "every", "at", "timezone", "jitter", "max_runs", "exclude", "on_excluded":
		return "spec." + column
	case "window":
		return "spec.end_at"
	}
	return column
}

// Key names one schedule of a namespace, by its id or, when that is zero, by its
// name.
type Key struct {
	Namespace string // empty: any; of a name, Home of what the transaction sees
	ID        schedule.ID
	Name      string
}

const selectStatus = `
SELECT ` + scheduleColumns + `, ` + cursorColumns + `
FROM riverbeat.schedules s JOIN riverbeat.cursors c ON c.schedule_id = s.id`

const whereID = `
WHERE s.id = $1 AND ($2 = '' OR s.namespace = $2) AND ($3::text[] IS NULL OR s.namespace = ANY($3))`

const whereName = `
WHERE s.name = $1 AND s.namespace = $2 AND ($3::text[] IS NULL OR s.namespace = ANY($3))`

// Schedule reads one schedule and its calendars. The error is schedule.ErrNotFound when there is
// none.
func (tx *Tx) Schedule(ctx context.Context, key Key) (*schedule.Status, error) {
	return tx.schedule(ctx, key, "")
}

// LockSchedule reads one schedule and holds its definition until the end of the
// transaction; its cursor stays free, so that it goes on firing.
func (tx *Tx) LockSchedule(ctx context.Context, key Key) (*schedule.Status, error) {
	return tx.schedule(ctx, key, "\nFOR UPDATE OF s")
}

// KeepSchedule reads one schedule and keeps it from being edited or deleted
// until the end of the transaction.
func (tx *Tx) KeepSchedule(ctx context.Context, key Key) (*schedule.Status, error) {
	return tx.schedule(ctx, key, "\nFOR SHARE OF s")
}

// Whoever edits the schedule may be about to wait for its cursor, which this
// transaction holds: it gives up long before a deadlock would be looked for.
const keepSoon = `
SET LOCAL lock_timeout = '200ms'`

const keepVersion = `
SELECT version
FROM riverbeat.schedules
WHERE id = $1
FOR SHARE`

// KeepVersion keeps the schedule, whose cursor the transaction holds, from being
// edited until the end of it. The error is schedule.ErrStale when it isn't of that
// version any more, or somebody is about to change it. Call it in Try.
func (tx *Tx) KeepVersion(ctx context.Context, id schedule.ID, version int64) error {
	var found int64
	_, err := tx.Exec(ctx, keepSoon)
	if err == nil {
		err = tx.QueryRow(ctx, keepVersion, [16]byte(id)).Scan(&found)
	}
	if errors.Is(err, pgx.ErrNoRows) || isAnyCode(err, "55P03") || err == nil && found != version {
		return schedule.ErrStale
	}
	return wrap(err, "keep the schedule as it is")
}

func (tx *Tx) schedule(ctx context.Context, key Key, lock string) (*schedule.Status, error) {
	query, args := selectStatus+whereID+lock, []any{[16]byte(key.ID), key.Namespace, tx.Namespaces}
	if key.ID.IsZero() {
		query, args = selectStatus+whereName+lock, []any{key.Name, cmp.Or(key.Namespace, Home(tx.Namespaces)), tx.Namespaces}
	}
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, wrap(err, "read the schedule")
	}
	status, err := pgx.CollectExactlyOneRow(rows, scanStatus)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, schedule.ErrNotFound
	case err != nil:
		return nil, wrap(err, "read the schedule")
	}
	return status, tx.readCalendars(ctx, []*schedule.Schedule{&status.Schedule})
}

func scanStatus(row pgx.CollectableRow) (*schedule.Status, error) {
	status := &schedule.Status{}
	scan := cursorScan{cursor: &status.Cursor}
	if err := scanSchedule(row, &status.Schedule, scan.targets()...); err != nil {
		return nil, err
	}
	scan.finish()
	return status, nil
}

const selectDefinitions = `
SELECT s.id, s.namespace, s.name, '', NULL::jsonb,` + firingColumns + `,
s.paused, '', s.version, s.created_at, s.updated_at
FROM riverbeat.schedules s
WHERE s.id = ANY($1)`

// Definitions reads the schedules with these ids, those that there are, and their
// calendars, but not what firing doesn't ask for: Description, Labels, PauseReason.
func (tx *Tx) Definitions(ctx context.Context, ids []schedule.ID) (map[schedule.ID]*schedule.Schedule, error) {
	rows, err := tx.Query(ctx, selectDefinitions, uuids(ids))
	if err != nil {
		return nil, wrap(err, "read definitions")
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*schedule.Schedule, error) {
		s := &schedule.Schedule{}
		return s, scanSchedule(row, s)
	})
	if err != nil {
		return nil, wrap(err, "read definitions")
	}
	if err := tx.readCalendars(ctx, list); err != nil {
		return nil, err
	}
	byID := make(map[schedule.ID]*schedule.Schedule, len(list))
	for _, s := range list {
		byID[s.ID] = s
	}
	return byID, nil
}

// uuids are ids in the form that pgx encodes.
func uuids(ids []schedule.ID) [][16]byte {
	out := make([][16]byte, len(ids))
	for i, id := range ids {
		out[i] = id
	}
	return out
}
