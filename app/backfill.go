package app

import (
	"context"
	"fmt"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// Bounds of how many runs one backfill enqueues.
const (
	DefaultBackfill = 1000
	MaxBackfill     = 10_000
)

const (
	// backfillBatch is how many runs a transaction of a backfill enqueues: for so long
	// the schedule's own runs wait.
	backfillBatch = 500
	// backfillTime is after how long a backfill begins no other transaction.
	backfillTime = 20 * time.Second
)

// Backfill asks for the runs of a range that haven't happened.
type Backfill struct {
	Start, End time.Time // from Start to before End
	Limit      int       // of runs: more are refused; from 1 to MaxBackfill
	DryRun     bool      // only count
	// RespectOverlap enqueues, of a schedule whose overlap policy isn't allow, one run
	// at most, and none while the last run's job blocks it: the same call later
	// enqueues the next.
	RespectOverlap bool
}

// Backfilled is what became of a backfill.
type Backfilled struct {
	Occurrences int // that the spec names in the range, up to now, and that aren't the scheduler's to decide on
	Ran         int // that were enqueued before
	Enqueued    int // now, or, of a dry run, would be
	Remaining   int // that are still to be: the same call goes on there
}

// Backfill enqueues the runs that the schedule's spec, as it stands, names in the
// range and that were missed, skipped, or have no line in the ledger. It leaves the
// schedule's next run, run count and last run as they are. What is enqueued already
// stays, so that the same call twice, or two at once, come to the same.
//
// Many are enqueued in several transactions, oldest first; when one fails the same
// call goes on where they ended. The error may be schedule.ErrNotFound,
// schedule.ErrInvalidState or a *schedule.InvalidError.
func (s *Service) Backfill(ctx context.Context, key Key, b Backfill) (done Backfilled, err error) {
	// Also for an idempotency key: the ledger makes it idempotent, and in one transaction
	// the schedule's own runs would wait for all of it.
	ctx = db.Apart(ctx)
	begun := time.Now()
	var todo []time.Time
	err = s.act(ctx, func(tx *db.Tx) error {
		status, plan, err := s.planBackfill(ctx, tx, key, b.Start, b.End, MaxBackfill)
		if err != nil {
			return err
		}
		key = Key{ID: status.Schedule.ID}
		done = Backfilled{Occurrences: plan.Occurrences, Ran: plan.Ran, Remaining: len(plan.Enqueue) + plan.Left}
		if todo = plan.Enqueue; b.RespectOverlap && status.Schedule.Overlap.Asks() {
			todo = todo[:min(len(todo), 1)]
		} else if !b.DryRun && done.Remaining > b.Limit {
			return schedule.Invalid("limit", fmt.Sprintf("is %d, and there are %d runs to enqueue: raise it, up to %d, or shorten the range",
				b.Limit, done.Remaining, MaxBackfill))
		}
		return nil
	})
	if err != nil {
		return Backfilled{}, err
	}
	if b.DryRun {
		done.Enqueued = len(todo)
		done.Remaining -= done.Enqueued
		return done, nil
	}
	for len(todo) > 0 && time.Since(begun) < backfillTime {
		batch := todo[:min(len(todo), backfillBatch)]
		n, err := s.backfillBatch(ctx, key, batch[0], batch[len(batch)-1].Add(time.Microsecond), b.RespectOverlap)
		if err != nil {
			return done, err
		}
		done.Enqueued += n
		if b.RespectOverlap && n == 0 {
			break
		}
		// What somebody else has enqueued since counts as theirs.
		done.Ran += len(batch) - n
		done.Remaining -= len(batch)
		todo = todo[len(batch):]
	}
	return done, nil
}

// backfillBatch enqueues what is to run from start to before end, in one transaction.
func (s *Service) backfillBatch(ctx context.Context, key Key, start, end time.Time, respectOverlap bool) (enqueued int, err error) {
	err = s.act(ctx, func(tx *db.Tx) error {
		enqueued = 0
		status, plan, err := s.planBackfill(ctx, tx, key, start, end, backfillBatch)
		if err != nil || len(plan.Enqueue) == 0 {
			return err
		}
		definition := &status.Schedule
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if respectOverlap && definition.Overlap.Asks() {
			last, err := tx.LastJobs(ctx, []schedule.Cursor{status.Cursor})
			if err != nil || last[definition.ID].Blocks(definition, now) {
				return err
			}
		}
		enqueue := make([]schedule.Enqueue, len(plan.Enqueue))
		for i, at := range plan.Enqueue {
			enqueue[i] = schedule.Enqueue{Schedule: definition, ScheduledFor: at, Reason: schedule.ReasonBackfill}
		}
		jobs, err := s.jobs.Insert(ctx, tx.Tx, enqueue)
		if err != nil {
			return err
		}
		runs := plan.Record
		for i, e := range enqueue {
			runs = append(runs, e.Run(jobs[i], now))
		}
		if err := tx.RemoveLines(ctx, definition.ID, plan.Remove); err != nil {
			return err
		}
		enqueued = len(enqueue)
		return tx.InsertRuns(ctx, runs)
	})
	return enqueued, err
}

// planBackfill holds the schedule and its cursor, so that no scheduler decides on it
// meanwhile, and says what is to be done.
func (s *Service) planBackfill(ctx context.Context, tx *db.Tx, key Key, start, end time.Time, limit int) (*schedule.Status, schedule.Backfill, error) {
	status, err := tx.KeepSchedule(ctx, key)
	if err != nil {
		return nil, schedule.Backfill{}, err
	}
	if err := CallerOf(ctx).CheckJob(&status.Schedule.Job); err != nil {
		return nil, schedule.Backfill{}, err
	}
	if status.Cursor.State == schedule.StateInvalid || status.Schedule.Job.ValidateForRiver() != nil {
		return nil, schedule.Backfill{}, schedule.ErrInvalidState
	}
	if status.Cursor, err = tx.LockCursor(ctx, status.Schedule.ID); err != nil {
		return nil, schedule.Backfill{}, err
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return nil, schedule.Backfill{}, err
	}
	lines, err := tx.LinesOfRange(ctx, status.Schedule.ID, start, schedule.BackfillEnd(&status.Schedule, status.Cursor, end, now))
	if err != nil {
		return nil, schedule.Backfill{}, err
	}
	plan, err := schedule.PlanBackfill(&status.Schedule, status.Cursor, lines, start, end, now, limit)
	return status, plan, err
}
