package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"golang.org/x/sync/errgroup"
)

// tooLong ends a measurement that hangs.
const tooLong = 10 * time.Minute

// riverbeatDue has n schedules due at one instant. One more, due a second before,
// has the process do everything once: it isn't a start that is measured.
func (b *bench) riverbeatDue(ctx context.Context, n int) (figures, error) {
	return b.with(ctx, func(pool *pgxpool.Pool, url string) (f figures, err error) {
		begun, err := now(ctx, pool)
		if err != nil {
			return nil, err
		}
		// Time to load them, to start, and for a second's warning.
		due := begun.Add(b.lead(3*time.Second, n, 150*time.Microsecond)).Truncate(time.Second)
		warm := due.Add(-time.Second)
		for _, l := range []load{{n: n, cron: daily(due), first: due}, {n: 1, every: 24 * time.Hour, first: warm}} {
			if l.n == 1 {
				if _, err := pool.Exec(ctx, `UPDATE riverbeat.schedules SET name = 'measured ' || name`); err != nil {
					return nil, err
				}
			}
			if err := l.into(ctx, pool); err != nil {
				return nil, err
			}
		}
		if err := settle(ctx, pool); err != nil {
			return nil, err
		}
		s, err := b.serve(ctx, url)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		if err := waitForJobs(ctx, pool, 1, time.Minute); err != nil {
			return nil, err
		}
		if at, err := now(ctx, pool); err != nil || !at.Before(due) {
			return nil, cmp.Or(err, errTooSlow)
		}
		return whenDue(ctx, pool, n, n+1, due, runsLate, due, due.Add(time.Microsecond))
	})
}

// whenDue waits until the instant, and then until there are so many jobs, those that came
// before it too. The figures are those of the n runs of the query.
func whenDue(ctx context.Context, pool *pgxpool.Pool, n, jobs int, due time.Time, query string, args ...any) (figures, error) {
	_, before, err := wal(ctx, pool, "0/0")
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, time.Until(due)); err != nil { // nobody asks anything of the server until then
		return nil, err
	}
	if err := waitForJobs(ctx, pool, jobs, tooLong); err != nil {
		return nil, err
	}
	written, _, err := wal(ctx, pool, before)
	if err != nil {
		return nil, err
	}
	return ofAll(ctx, pool, n, written, query, args...)
}

// ofAll is the figures of n runs that were due at one instant.
func ofAll(ctx context.Context, pool *pgxpool.Pool, n int, written float64, query string, args ...any) (figures, error) {
	found, f, err := lateness(ctx, pool, query, args...)
	if err != nil {
		return nil, err
	}
	if found != n {
		return nil, fmt.Errorf("%d of %d runs were enqueued", found, n)
	}
	f["rate"] = float64(n) / f["max"] * 1000
	f["wal"] = written / float64(n)
	return f, nil
}

// noopArgs are the arguments of a job that does nothing.
type noopArgs struct {
	N int `json:"n"`
}

func (noopArgs) Kind() string { return "noop" }

// The narrow table that the bare loop works on.
const bareTable = `
CREATE TABLE bare_cursors (id uuid PRIMARY KEY, next_run_at timestamptz NOT NULL, fire_at timestamptz NOT NULL);
CREATE INDEX ON bare_cursors (fire_at)`

const bareClaim = `
SELECT id FROM bare_cursors
WHERE fire_at <= (SELECT clock_timestamp())
ORDER BY fire_at
LIMIT 1000
FOR UPDATE SKIP LOCKED`

const bareMove = `
UPDATE bare_cursors c
SET next_run_at = n.at, fire_at = n.at
FROM unnest($1::uuid[], $2::timestamptz[]) AS n (id, at)
WHERE c.id = n.id`

// bareLoop is what PostgreSQL and River can do at most.
func (b *bench) bareLoop(ctx context.Context, n, loops int) (figures, error) {
	return b.with(ctx, func(pool *pgxpool.Pool, _ string) (figures, error) {
		if _, err := pool.Exec(ctx, bareTable); err != nil {
			return nil, err
		}
		begun, err := now(ctx, pool)
		if err != nil {
			return nil, err
		}
		due := begun.Add(b.lead(time.Second, n, 50*time.Microsecond))
		if _, err := pool.Exec(ctx, `INSERT INTO bare_cursors SELECT gen_random_uuid(), $2, $2 FROM generate_series(1, $1::int)`, n, due); err != nil {
			return nil, err
		}
		if err := settle(ctx, pool); err != nil {
			return nil, err
		}
		client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{FetchCooldown: time.Millisecond})
		if err != nil {
			return nil, err
		}
		// Each loop has done everything once, but for a commit.
		var all errgroup.Group
		conns := make([]*pgxpool.Conn, loops)
		for i := range loops {
			if conns[i], err = pool.Acquire(ctx); err != nil {
				return nil, err
			}
			defer conns[i].Release()
			tx, err := conns[i].Begin(ctx)
			if err != nil {
				return nil, err
			}
			_, err = bareStep(ctx, client, tx, due)
			if err == nil {
				_, err = client.InsertManyTx(ctx, tx, []river.InsertManyParams{{Args: noopArgs{}}})
			}
			if err := errors.Join(err, tx.Rollback(ctx)); err != nil {
				return nil, err
			}
		}
		_, before, err := wal(ctx, pool, "0/0")
		if err != nil {
			return nil, err
		}
		if !time.Now().Before(due) {
			return nil, errTooSlow
		}
		if err := sleep(ctx, time.Until(due)); err != nil {
			return nil, err
		}
		for _, conn := range conns {
			all.Go(func() error {
				for more := 1; more > 0; {
					err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
						more, err = bareStep(ctx, client, tx, due)
						return err
					})
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := all.Wait(); err != nil {
			return nil, err
		}
		written, _, err := wal(ctx, pool, before)
		if err != nil {
			return nil, err
		}
		return ofAll(ctx, pool, n, written, jobsLate, due)
	})
}

func bareStep(ctx context.Context, client *river.Client[pgx.Tx], tx pgx.Tx, due time.Time) (claimed int, err error) {
	rows, err := tx.Query(ctx, bareClaim)
	if err != nil {
		return 0, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	jobs, next := make([]river.InsertManyParams, len(ids)), make([]time.Time, len(ids))
	for i := range ids {
		jobs[i], next[i] = river.InsertManyParams{Args: noopArgs{N: 1}}, due.AddDate(0, 0, 1)
	}
	if _, err := client.InsertManyTx(ctx, tx, jobs); err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, bareMove, ids, next)
	return len(ids), err
}
