package db

import (
	"context"
	"fmt"
	"time"
)

// housekeeping is the key of the advisory lock that one housekeeper holds at a
// time, for one batch: the bytes of "rivrbeat".
const housekeeping = 0x7269767262656174

const tryHousekeeping = `
SELECT pg_try_advisory_xact_lock($1)`

// A line is found by when it was written, not by when its run was due: what a
// backfill has written a moment ago stays.
//
// Two kinds of old lines stay too, of schedules that there still are. The last of
// the spec's, since planning starts behind them (LastFor): without, a clock set
// back, a sync that comes late or newer zone rules could plan an instant twice. And
// that of the newest job when it isn't finished and was asked for: overlap rests on
// it. The spec's own newest job is in the cursor.
const removeRuns = `
WITH old AS MATERIALIZED (
    SELECT ctid AS place, schedule_id, scheduled_for, reason, job_id, created_at
    FROM riverbeat.runs
    WHERE created_at >= $1 AND created_at < (SELECT clock_timestamp()) - $2::interval
    ORDER BY created_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), last AS (
    SELECT live.schedule_id, r.scheduled_for
    FROM (
        SELECT DISTINCT schedule_id
        FROM old JOIN riverbeat.cursors USING (schedule_id)
        WHERE reason IN ('schedule', 'catch_up', 'backfill')
    ) live
    CROSS JOIN LATERAL (
        SELECT scheduled_for
        FROM riverbeat.runs
        WHERE schedule_id = live.schedule_id AND reason IN ('schedule', 'catch_up', 'backfill')
        ORDER BY scheduled_for DESC
        LIMIT 2
    ) r
), removed AS (
    -- By their places, since a join might read the whole ledger; and jobs are asked for
    -- one by one, since EXISTS might read all of them.
    DELETE FROM riverbeat.runs
    WHERE ctid = ANY (ARRAY(
        SELECT o.place
        FROM old o LEFT JOIN riverbeat.cursors c USING (schedule_id)
        WHERE (schedule_id, scheduled_for) NOT IN (SELECT schedule_id, scheduled_for FROM last)
          AND NOT (
              c.changed_at IS NOT NULL AND reason IN ('manual', 'backfill') AND job_id > coalesce(c.last_job_id, 0)
              AND (SELECT j.finalized_at IS NULL FROM river_job j WHERE j.id = o.job_id) IS TRUE
              AND NOT EXISTS (
                  SELECT FROM riverbeat.runs r
                  WHERE r.schedule_id = o.schedule_id AND r.reason IN ('manual', 'backfill') AND r.job_id > o.job_id))
    ))
    RETURNING 1
)
SELECT (SELECT count(*) FROM removed), count(*), max(created_at)
FROM old`

// A schedule of a single instant is finished when it is completed and its job is,
// its instant has passed, and nobody has edited it since. One that never ran has no
// last run: its cursor may be older than its end.
const removeCompleted = `
WITH old AS MATERIALIZED (
    SELECT schedule_id, last_job_id, coalesce(last_run_at, changed_at) AS ended_at
    FROM riverbeat.cursors
    WHERE state = 'completed' AND fire_at IS NULL
      AND coalesce(last_run_at, changed_at) >= $1
      AND coalesce(last_run_at, changed_at) < (SELECT clock_timestamp()) - $2::interval
    ORDER BY coalesce(last_run_at, changed_at)
    LIMIT $3
), free AS MATERIALIZED (
    -- Schedule before cursor, as an edit locks them.
    SELECT s.id
    FROM riverbeat.schedules s
    WHERE s.id = ANY (ARRAY(
              SELECT schedule_id
              FROM old
              WHERE (SELECT j.finalized_at IS NULL FROM river_job j WHERE j.id = last_job_id) IS NOT TRUE))
      AND s.at < (SELECT clock_timestamp()) - $2::interval
      AND s.updated_at < (SELECT clock_timestamp()) - $2::interval
    FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM riverbeat.schedules
    WHERE id = ANY (ARRAY(SELECT id FROM free))
    RETURNING 1
)
SELECT (SELECT count(*) FROM removed), count(*), max(ended_at)
FROM old`

// removeOld is of tables in which all goes that is old. By their places, since a join
// might read all.
const removeOld = `
WITH removed AS (
    DELETE FROM %[1]s
    WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM %[1]s
        WHERE %[2]s >= $1 AND %[2]s < (SELECT clock_timestamp()) - $2::interval
        ORDER BY %[2]s
        LIMIT $3))
    RETURNING %[2]s
)
SELECT count(*), count(*), max(%[2]s)
FROM removed`

var (
	removeRevisions = fmt.Sprintf(removeOld, "riverbeat.revisions", "changed_at")
	removeKeys      = fmt.Sprintf(removeOld, "riverbeat.idempotency_keys", "created_at")
)

// Removal is what one batch of housekeeping did.
type Removal struct {
	Busy    bool      // another housekeeper is at work; nothing was done
	Seen    int       // how many past their retention were looked at
	Removed int       // and how many of them could go
	UpTo    time.Time // of the last that was seen; zero: there was none
}

// RemoveRuns removes lines of the ledger that were written longer ago than the
// retention. It looks at most at limit of them, oldest first, from the instant on.
func (s *Store) RemoveRuns(ctx context.Context, from time.Time, retention time.Duration, limit int) (Removal, error) {
	r, err := s.remove(ctx, removeRuns, from, retention, limit)
	return r, wrap(err, "remove old runs")
}

// RemoveCompleted removes schedules of a single instant that are finished for
// longer than the retention, as RemoveRuns does. Nobody is told: nothing was to
// come of them.
func (s *Store) RemoveCompleted(ctx context.Context, from time.Time, retention time.Duration, limit int) (Removal, error) {
	r, err := s.remove(ctx, removeCompleted, from, retention, limit)
	return r, wrap(err, "remove completed schedules")
}

// RemoveRevisions removes revisions, as RemoveRuns does.
func (s *Store) RemoveRevisions(ctx context.Context, from time.Time, retention time.Duration, limit int) (Removal, error) {
	r, err := s.remove(ctx, removeRevisions, from, retention, limit)
	return r, wrap(err, "remove old revisions")
}

// RemoveKeys removes idempotency keys with their answers, as RemoveRuns does.
func (s *Store) RemoveKeys(ctx context.Context, from time.Time, retention time.Duration, limit int) (Removal, error) {
	r, err := s.remove(ctx, removeKeys, from, retention, limit)
	return r, wrap(err, "remove old idempotency keys")
}

func (s *Store) remove(ctx context.Context, statement string, from time.Time, retention time.Duration, limit int) (r Removal, err error) {
	err = s.InWriteTx(ctx, Writing{Actor: "housekeeping", How: HowSQL, Quiet: true}, func(tx *Tx) error {
		r = Removal{}
		var alone bool
		if err := tx.QueryRow(ctx, tryHousekeeping, housekeeping).Scan(&alone); err != nil || !alone {
			r.Busy = !alone
			return err
		}
		var upTo *time.Time
		err := tx.QueryRow(ctx, statement, from, retention, limit).Scan(&r.Removed, &r.Seen, &upTo)
		r.UpTo = utc(upTo)
		return err
	})
	return r, err
}
