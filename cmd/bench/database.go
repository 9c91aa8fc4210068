package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/db"
)

// with gives do a migrated database of its own.
func (b *bench) with(ctx context.Context, do func(pool *pgxpool.Pool, url string) (figures, error)) (f figures, err error) {
	return b.cloned(ctx, "bench_template", do)
}

// cloned gives do a copy of the database, which nobody may be connected to.
func (b *bench) cloned(ctx context.Context, from string, do func(pool *pgxpool.Pool, url string) (figures, error)) (f figures, err error) {
	b.clones++
	name := fmt.Sprintf("bench_%d", b.clones)
	// Copied by files: through the WAL a large one would take minutes.
	if _, err := b.admin.Exec(ctx, `CREATE DATABASE `+name+` TEMPLATE `+from+` STRATEGY file_copy`); err != nil {
		return nil, fmt.Errorf("make a database: %w", err)
	}
	defer func() {
		_, dropErr := b.admin.Exec(context.WithoutCancel(ctx), `DROP DATABASE `+name+` WITH (FORCE)`)
		err = errors.Join(err, dropErr)
	}()
	url := b.postgres.DatabaseURL(name)
	pool, err := db.OpenPool(ctx, url, "bench", 10)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	return do(pool, url)
}

// load is schedules to be there, planned already.
type load struct {
	n      int
	cron   string
	every  time.Duration
	first  time.Time     // when the first of each is due
	spread time.Duration // over which the firsts are spread; 0: all at once
}

// Written with the triggers off, as they would be found later: what planning costs
// is not what is measured here. Ids are random, as those of plain SQL are.
const (
	insertSchedules = `
INSERT INTO riverbeat.schedules (name, cron, every, start_at, job_kind, job_args)
SELECT 'schedule ' || i, $2::text, $3::interval,
       CASE WHEN $3::interval IS NOT NULL THEN $4::timestamptz + $5::interval * (i::float8 / $1) END, 'noop', '{"n": 1}'
FROM generate_series(0, $1::int - 1) i`

	insertCursors = `
INSERT INTO riverbeat.cursors (schedule_id, next_run_at, fire_at, dirty, changed_at, planned_version)
SELECT id, coalesce(start_at, $1), coalesce(start_at, $1), false, created_at, version
FROM riverbeat.schedules s
WHERE NOT EXISTS (SELECT FROM riverbeat.cursors WHERE schedule_id = s.id)`
)

func (l load) into(ctx context.Context, pool *pgxpool.Pool) error {
	var cron *string
	var every *time.Duration
	if l.cron != "" {
		cron = &l.cron
	} else {
		every = &l.every
	}
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL session_replication_role = replica`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, insertSchedules, l.n, cron, every, l.first, l.spread); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, insertCursors, l.first)
		return err
	})
	if err != nil {
		return fmt.Errorf("load %d schedules: %w", l.n, err)
	}
	return nil
}

// settle leaves nothing to be done in the background.
func settle(ctx context.Context, pool *pgxpool.Pool) error {
	for _, statement := range []string{`VACUUM ANALYZE`, `CHECKPOINT`} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// now is the database's clock.
func now(ctx context.Context, pool *pgxpool.Pool) (t time.Time, err error) {
	return t, pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&t)
}

// daily is the cron of every day at the second of the instant.
func daily(t time.Time) string {
	return fmt.Sprintf("%d %d %d * * *", t.Second(), t.Minute(), t.Hour())
}

// wal is how much PostgreSQL has written since the position, "0/0" for all.
func wal(ctx context.Context, pool *pgxpool.Pool, since string) (bytes float64, at string, err error) {
	err = pool.QueryRow(ctx, `SELECT pg_current_wal_insert_lsn() - $1::pg_lsn, pg_current_wal_insert_lsn()::text`, since).Scan(&bytes, &at)
	return bytes, at, err
}

// waitForJobs waits until so many jobs were given an id, which costs the database
// next to nothing, and then until they are committed.
func waitForJobs(ctx context.Context, pool *pgxpool.Pool, n int, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%d jobs weren't there after %s", n, limit))
	defer cancel()
	for _, count := range []string{`SELECT last_value FROM river_job_id_seq`, `SELECT count(*) FROM river_job`} {
		for {
			var there int
			if err := pool.QueryRow(ctx, count).Scan(&there); err != nil {
				return errors.Join(err, context.Cause(ctx))
			}
			if there >= n {
				break
			}
			if err := sleep(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// Lateness of jobs and of lines of the ledger: their transaction's commit
// timestamp less the instant at which they were due.
const (
	jobsLate = `
SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin) - $1::timestamptz)::float8 * 1000 AS late
FROM river_job WHERE kind = 'noop'`

	runsLate = `
SELECT extract(epoch FROM pg_xact_commit_timestamp(r.xmin) - scheduled_for)::float8 * 1000 AS late
FROM riverbeat.runs r JOIN river_job j ON j.id = r.job_id
WHERE scheduled_for >= $1 AND scheduled_for < $2`

	summary = `
SELECT count(*), coalesce(min(late), 0), coalesce(max(late), 0),
       coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY late), 0),
       coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY late), 0)
FROM (`
)

// lateness sums up one of the queries above.
func lateness(ctx context.Context, pool *pgxpool.Pool, query string, args ...any) (n int, f figures, err error) {
	var least, most, p50, p99 float64
	if err := pool.QueryRow(ctx, summary+query+`) all_of_them`, args...).Scan(&n, &least, &most, &p50, &p99); err != nil {
		return 0, nil, err
	}
	if least < 0 {
		return n, nil, fmt.Errorf("a run was enqueued %.3f ms early", -least)
	}
	return n, figures{"p50": p50, "p99": p99, "max": most}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
