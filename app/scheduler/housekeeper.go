package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/riverbeat/riverbeat/db"
)

const (
	// houseEvery is the mean time between two rounds of housekeeping.
	houseEvery = 10 * time.Minute

	// houseBatch is how many lines one transaction looks at: some 10 ms.
	houseBatch = 1000

	// houseAnew is how often a round begins with the oldest lines again, that had
	// to stay: their schedule may be gone by now, or have run.
	houseAnew = 24 * time.Hour
)

// Housekeeper removes what is past its retention, beside the schedulers and out of
// their way: in small batches, half of the time at rest. Any number may run; one
// works at a time.
type Housekeeper struct {
	Store   *db.Store
	Every   time.Duration // between rounds, about; 10 min
	Metrics *Metrics      // nil: none are kept
	Log     *slog.Logger

	// How long things are kept; 0: for ever.
	RunRetention       time.Duration // lines of the ledger, from when they were written
	CompletedRetention time.Duration // schedules of a single instant, from when they were finished
	RevisionRetention  time.Duration // from the change on
	KeyRetention       time.Duration // idempotency keys, from the answer on
}

// sweep goes through what is past a retention, oldest first.
type sweep struct {
	what      string
	retention time.Duration
	remove    func(ctx context.Context, from time.Time, retention time.Duration, limit int) (db.Removal, error)

	from  time.Time // what is older was looked at
	since time.Time // when it last began with the oldest
}

// Run removes until the context ends, and returns nil then.
func (h *Housekeeper) Run(ctx context.Context) error {
	metrics, every := h.Metrics, h.Every
	if metrics == nil {
		metrics = NewMetrics(nil)
	}
	if every == 0 {
		every = houseEvery
	}
	sweeps := []*sweep{
		{what: "schedules", retention: h.CompletedRetention, remove: h.Store.RemoveCompleted},
		{what: "runs", retention: h.RunRetention, remove: h.Store.RemoveRuns},
		{what: "revisions", retention: h.RevisionRetention, remove: h.Store.RemoveRevisions},
		{what: "idempotency_keys", retention: h.KeyRetention, remove: h.Store.RemoveKeys},
	}
	for _, s := range sweeps {
		metrics.removed.WithLabelValues(s.what) // shown from the start
	}
	// Jittered, so that processes that were started together don't meet.
	for sleep(ctx, every/2+rand.N(every), nil) {
		begun, total := time.Now(), 0
		var facts []any
		errs := []error{h.Store.RemoveExpiredSecrets(ctx)}
		for _, s := range sweeps {
			removed, err := s.round(ctx)
			metrics.removed.WithLabelValues(s.what).Add(float64(removed))
			total += removed
			facts, errs = append(facts, s.what, removed), append(errs, err)
		}
		if total > 0 {
			h.Log.Info("removed what is past its retention", append(facts, "took", time.Since(begun))...)
		}
		if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
			h.Log.Warn("can't remove what is past its retention: the next round tries again", "err", err)
		}
	}
	return nil
}

// round removes batch by batch, until nothing is left or another one is at it.
func (s *sweep) round(ctx context.Context) (removed int, err error) {
	if s.retention == 0 {
		return 0, nil
	}
	if time.Since(s.since) > houseAnew {
		s.from, s.since = time.Time{}, time.Now()
	}
	for limit := houseBatch; ; {
		begun := time.Now()
		// Begun, it is finished: a deadline of its own bounds it.
		r, err := s.remove(context.WithoutCancel(ctx), s.from, s.retention, limit)
		if err != nil {
			return removed, err
		}
		removed += r.Removed
		stuck := r.Removed == 0 && r.UpTo.Equal(s.from)
		if !r.UpTo.IsZero() {
			s.from = r.UpTo
		}
		if r.Busy || r.Seen < limit {
			return removed, nil
		}
		if stuck { // as many lines as that were written at one instant, and stay
			limit *= 2
		} else {
			limit = houseBatch
		}
		if !sleep(ctx, time.Since(begun), nil) {
			return removed, nil
		}
	}
}
