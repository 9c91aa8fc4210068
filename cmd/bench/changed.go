package main

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// between is a rest between changes that no clock of a program is in step with.
func between() time.Duration { return 50*time.Millisecond + rand.N(100*time.Millisecond) }

// riverbeatChanged writes schedules with plain SQL that are due at once.
func (b *bench) riverbeatChanged(ctx context.Context, n int) (figures, error) {
	return b.with(ctx, func(pool *pgxpool.Pool, url string) (_ figures, err error) {
		s, err := b.serve(ctx, url)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		for range n {
			if err := sleep(ctx, between()); err != nil {
				return nil, err
			}
			if _, err := pool.Exec(ctx, `INSERT INTO riverbeat.schedules (name, at, job_kind) VALUES (gen_random_uuid(), clock_timestamp(), 'noop')`); err != nil {
				return nil, err
			}
		}
		if err := waitForJobs(ctx, pool, n, time.Minute); err != nil {
			return nil, err
		}
		_, f, err := lateness(ctx, pool, `
SELECT extract(epoch FROM pg_xact_commit_timestamp(r.xmin) - pg_xact_commit_timestamp(s.xmin))::float8 * 1000 AS late
FROM riverbeat.runs r JOIN riverbeat.schedules s ON s.id = r.schedule_id`)
		return f, err
	})
}

// summarize is the columns of late, of milliseconds.
func summarize(ms []float64) figures {
	slices.Sort(ms)
	at := func(q float64) float64 { return ms[int(math.Ceil(q*float64(len(ms))))-1] }
	return figures{"p50": at(.5), "p99": at(.99), "max": at(1)}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
