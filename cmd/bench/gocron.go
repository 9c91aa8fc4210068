package main

import (
	"context"
	"errors"
	"time"

	"github.com/go-co-op/gocron/v2"
)

// gocronDue has n jobs of gocron due at one instant, which take the time and do
// nothing: it has neither a store nor a queue.
func (b *bench) gocronDue(ctx context.Context, n int) (_ figures, err error) {
	scheduler, err := gocron.NewScheduler()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, scheduler.Shutdown()) }()
	ran := make(chan time.Time, n)
	due := time.Now().Add(b.lead(2*time.Second, n, 100*time.Microsecond))
	for range n {
		_, err := scheduler.NewJob(gocron.OneTimeJob(gocron.OneTimeJobStartDateTime(due)), gocron.NewTask(func() { ran <- time.Now() }))
		if errors.Is(err, gocron.ErrOneTimeJobStartDateTimePast) {
			return nil, errTooSlow
		}
		if err != nil {
			return nil, err
		}
	}
	scheduler.Start()
	if !time.Now().Before(due) {
		return nil, errTooSlow
	}
	var late []float64
	for range n {
		select {
		case at := <-ran:
			late = append(late, milliseconds(at.Sub(due)))
		case <-time.After(time.Minute):
			return nil, errors.New("a job didn't run within a minute")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return withRate(summarize(late), n)
}
