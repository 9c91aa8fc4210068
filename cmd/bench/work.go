package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/riverbeat/riverbeat/jobs"
)

// jobFlow is how jobs are enqueued: one every gap, or all at once.
type jobFlow struct {
	name string
	gap  time.Duration
	jobs int
}

// arrivals takes the time of each job.
type arrivals struct {
	river.WorkerDefaults[noopArgs]
	came chan arrival
}

type arrival struct {
	n  int
	at time.Time
}

func (a arrivals) Work(_ context.Context, job *river.Job[noopArgs]) error {
	a.came <- arrival{job.Args.N, time.Now()}
	return nil
}

// enqueuedToWorked has one River client work what another one inserts.
func (b *bench) enqueuedToWorked(ctx context.Context, ours bool, gap time.Duration, n int) (figures, error) {
	return b.with(ctx, func(pool *pgxpool.Pool, _ string) (_ figures, err error) {
		worker := arrivals{came: make(chan arrival, n)}
		workers := river.NewWorkers()
		river.AddWorker(workers, worker)
		config := &river.Config{
			Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 100}},
			Workers: workers, Logger: slog.New(slog.DiscardHandler),
		}
		if ours {
			config.FetchCooldown = jobs.FetchCooldown
		}
		client, err := river.NewClient(riverpgxv5.New(pool), config)
		if err != nil {
			return nil, err
		}
		inserter, err := river.NewClient(riverpgxv5.New(pool), &river.Config{FetchCooldown: time.Millisecond})
		if err != nil {
			return nil, err
		}
		if err := client.Start(ctx); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, client.Stop(context.WithoutCancel(ctx))) }()
		if err := sleep(ctx, time.Second); err != nil { // it LISTENs by then
			return nil, err
		}

		sent := make([]time.Time, n)
		if gap == 0 {
			all := make([]river.InsertManyParams, n)
			for i := range all {
				all[i].Args = noopArgs{N: i}
			}
			if _, err := inserter.InsertMany(ctx, all); err != nil {
				return nil, err
			}
			for i := range sent {
				sent[i] = time.Now()
			}
		}
		for i := 0; gap > 0 && i < n; i++ {
			if _, err := inserter.Insert(ctx, noopArgs{N: i}, nil); err != nil {
				return nil, err
			}
			sent[i] = time.Now()
			if err := sleep(ctx, gap); err != nil {
				return nil, err
			}
		}
		var late []float64
		for range n {
			select {
			case a := <-worker.came:
				late = append(late, max(milliseconds(a.at.Sub(sent[a.n])), 0))
			case <-time.After(time.Minute):
				return nil, errors.New("a job was not worked within a minute")
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return summarize(late), nil
	})
}
