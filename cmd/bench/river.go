package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// noopWorker is there because a client must work something to be started.
type noopWorker struct {
	river.WorkerDefaults[noopArgs]
}

func (noopWorker) Work(context.Context, *river.Job[noopArgs]) error { return nil }

// onceAt is due at the instant, and then daily.
type onceAt time.Time

func (o onceAt) Next(after time.Time) time.Time {
	at := time.Time(o)
	for !at.After(after) {
		at = at.AddDate(0, 0, 1)
	}
	return at
}

// newRiver is a River client that enqueues periodic jobs, which nobody works.
func newRiver(pool *pgxpool.Pool) (*river.Client[pgx.Tx], error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, noopWorker{})
	return river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:  map[string]river.QueueConfig{"elsewhere": {MaxWorkers: 1}},
		Workers: workers, Logger: slog.New(slog.DiscardHandler),
	})
}

func periodic(at time.Time, opts *river.PeriodicJobOpts) *river.PeriodicJob {
	return river.NewPeriodicJob(onceAt(at), func() (river.JobArgs, *river.InsertOpts) { return noopArgs{N: 1}, nil }, opts)
}

// riverPeriodic is River's own scheduler: one leader, in memory.
func (b *bench) riverPeriodic(ctx context.Context, n int) (figures, error) {
	return b.with(ctx, func(pool *pgxpool.Pool, _ string) (_ figures, err error) {
		client, err := newRiver(pool)
		if err != nil {
			return nil, err
		}
		if err := settle(ctx, pool); err != nil {
			return nil, err
		}
		if err := client.Start(ctx); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, client.Stop(context.WithoutCancel(ctx))) }()
		if err := waitForEnqueuer(ctx, pool, client); err != nil {
			return nil, err
		}
		// It plans by this process's clock, which is the server's here.
		due := time.Now().Add(b.lead(time.Second, n, 30*time.Microsecond))
		var all []*river.PeriodicJob
		for range n {
			all = append(all, periodic(due, nil))
		}
		client.PeriodicJobs().AddMany(all)
		if !time.Now().Before(due) {
			return nil, errTooSlow
		}
		// Not the one that came before.
		return whenDue(ctx, pool, n, n+1, due, jobsLate+` AND id > (SELECT min(id) FROM river_job)`, due)
	})
}

// waitForEnqueuer waits until the client leads and enqueues, which takes up to a few
// seconds: what is due by then is never run. It leaves one job behind.
func waitForEnqueuer(ctx context.Context, pool *pgxpool.Pool, client *river.Client[pgx.Tx]) error {
	client.PeriodicJobs().Add(periodic(time.Now(), &river.PeriodicJobOpts{RunOnStart: true}))
	return waitForJobs(ctx, pool, 1, time.Minute)
}

// riverChanged adds periodic jobs that run at once.
func (b *bench) riverChanged(ctx context.Context, n int) (figures, error) {
	return b.with(ctx, func(pool *pgxpool.Pool, _ string) (_ figures, err error) {
		client, err := newRiver(pool)
		if err != nil {
			return nil, err
		}
		if err := client.Start(ctx); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, client.Stop(context.WithoutCancel(ctx))) }()
		if err := waitForEnqueuer(ctx, pool, client); err != nil {
			return nil, err
		}
		var late []float64
		for i := range n {
			if err := sleep(ctx, between()); err != nil {
				return nil, err
			}
			begun := time.Now()
			client.PeriodicJobs().Add(periodic(begun, &river.PeriodicJobOpts{RunOnStart: true}))
			if err := waitForJobs(ctx, pool, i+2, time.Minute); err != nil {
				return nil, err
			}
			var at time.Time
			if err := pool.QueryRow(ctx, `SELECT pg_xact_commit_timestamp(xmin) FROM river_job ORDER BY id DESC LIMIT 1`).Scan(&at); err != nil {
				return nil, err
			}
			late = append(late, milliseconds(at.Sub(begun)))
		}
		return summarize(late), nil
	})
}
