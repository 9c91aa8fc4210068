package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// riverbeatIdle has n schedules of which none is due.
func (b *bench) riverbeatIdle(ctx context.Context, n int, length time.Duration) (figures, error) {
	return b.with(ctx, func(pool *pgxpool.Pool, url string) (_ figures, err error) {
		due := time.Now().Add(12 * time.Hour).Truncate(time.Second).UTC()
		if err := (load{n: n, cron: daily(due), first: due}).into(ctx, pool); err != nil {
			return nil, err
		}
		if err := settle(ctx, pool); err != nil {
			return nil, err
		}
		s, err := b.serve(ctx, url)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		f := figures{"start": float64(s.start) / float64(time.Millisecond)}
		// The statistics of PostgreSQL come up to ten seconds late: both readings
		// are, and what the start did is to be in the first.
		if err := sleep(ctx, min(length, 11*time.Second)); err != nil {
			return nil, err
		}
		began, cpu := time.Now(), cpuTime(s.pid, false)
		transactions, err := b.transactions(ctx, pool)
		if err != nil {
			return nil, err
		}
		if err := sleep(ctx, length); err != nil {
			return nil, err
		}
		minutes := time.Since(began).Minutes()
		f["cpu"] = (cpuTime(s.pid, false) - cpu).Seconds() / minutes
		f["rss"] = residentMiB(s.pid)
		later, err := b.transactions(ctx, pool)
		f["transactions"] = (later - transactions) / minutes
		return f, err
	})
}

// transactions is how many the database of the pool has seen, by whomever. It asks
// from another database, so as not to count itself.
func (b *bench) transactions(ctx context.Context, pool *pgxpool.Pool) (n float64, err error) {
	err = b.admin.QueryRow(ctx, `SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1`,
		pool.Config().ConnConfig.Database).Scan(&n)
	return n, err
}
