package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// riverbeatSustained has n schedules due every second, for the length.
func (b *bench) riverbeatSustained(ctx context.Context, n int, spread bool, length time.Duration) (figures, error) {
	return b.with(ctx, func(pool *pgxpool.Pool, url string) (_ figures, err error) {
		begun, err := now(ctx, pool)
		if err != nil {
			return nil, err
		}
		first := begun.Add(b.lead(3*time.Second, n, 150*time.Microsecond)).Truncate(time.Second)
		l := load{n: n, cron: "* * * * * *", first: first}
		if spread {
			l = load{n: n, every: time.Second, first: first, spread: time.Second}
		}
		if err := l.into(ctx, pool); err != nil {
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
		if at, err := now(ctx, pool); err != nil || !at.Before(first) {
			return nil, cmp.Or(err, errTooSlow)
		}

		// The first second has it do everything once.
		from, to := first.Add(time.Second), first.Add(time.Second+length)
		if err := sleep(ctx, time.Until(from)-10*time.Millisecond); err != nil {
			return nil, err
		}
		began, own, server := time.Now(), cpuTime(s.pid, false), cpuTime(b.postgres.PID(), true)
		if err := sleep(ctx, time.Until(to)-10*time.Millisecond); err != nil {
			return nil, err
		}
		lasted := time.Since(began).Seconds()
		own, server = cpuTime(s.pid, false)-own, cpuTime(b.postgres.PID(), true)-server
		if err := waitUntilFired(ctx, pool, to); err != nil {
			return nil, err
		}

		found, f, err := lateness(ctx, pool, runsLate, from, to)
		if err != nil {
			return nil, err
		}
		if most := n * int(length/time.Second); found > most {
			return nil, fmt.Errorf("%d runs of %d were enqueued", found, most)
		}
		f["rate"] = float64(found) / length.Seconds()
		f["cpu"], f["postgres"] = own.Seconds()/lasted*100, server.Seconds()/lasted*100
		return f, nil
	})
}

// waitUntilFired waits until nothing is left that was due before the instant.
func waitUntilFired(ctx context.Context, pool *pgxpool.Pool, to time.Time) error {
	ctx, cancel := context.WithTimeoutCause(ctx, tooLong, errors.New("what was due is still not enqueued"))
	defer cancel()
	for {
		var left bool
		if err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM riverbeat.cursors WHERE fire_at < $1)`, to).Scan(&left); err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if !left {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
