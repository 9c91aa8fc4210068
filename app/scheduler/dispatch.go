package scheduler

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// dispatch is one transaction: it claims at most limit due cursors, enqueues
// what they owe, records it and moves the cursors on. It says how many it
// claimed, also when it fails.
func (s *Scheduler) dispatch(ctx context.Context, limit int) (claimed int, err error) {
	// Begun, it is finished: a deadline of its own bounds it.
	ctx = context.WithoutCancel(ctx)
	begun := time.Now()
	b, err := s.dispatchOnce(ctx, limit, false)
	if db.UniqueViolation(err) == "runs_pkey" {
		// The ledger has some of it already: a restored backup, a cursor set back,
		// or a commit whose answer was lost. What it has is not enqueued again.
		b, err = s.dispatchOnce(ctx, limit, true)
	}
	if len(b.held) == 1 && db.IsDataError(err) {
		// The one row can't be written: it alone is set aside.
		b.runs, b.enqueue = nil, nil
		b.cursors, err = s.setAside(ctx, b.definitions[b.held[0].ScheduleID], err)
	}
	if err != nil {
		return len(b.held), err
	}
	s.reportInvalid(b.cursors)
	if len(b.held) > 0 {
		s.config.Metrics.dispatched(b, time.Since(begun))
		s.log.Debug("dispatched", "claimed", len(b.held), "enqueued", len(b.enqueue), "took", time.Since(begun))
	}
	return len(b.held), nil
}

// batch is what one dispatch decided.
type batch struct {
	now         time.Time // the database's clock at the claim
	held        []schedule.Cursor
	definitions map[schedule.ID]*schedule.Schedule
	enqueue     []schedule.Enqueue
	owner       []int // of each enqueue, the index of its cursor in cursors
	runs        []schedule.Run
	cursors     []schedule.Cursor // as they are left
}

func (s *Scheduler) dispatchOnce(ctx context.Context, limit int, skipRecorded bool) (b batch, err error) {
	err = s.store.InTx(ctx, func(tx *db.Tx) error {
		b = batch{}
		b.held, b.now, err = tx.ClaimDue(ctx, s.config.Rules.MisfireAfter, limit)
		if err != nil || len(b.held) == 0 {
			return err
		}
		b.definitions, err = s.definitions(ctx, tx, b.held)
		if err != nil {
			return err
		}
		outdated, err := s.isOutdated(ctx, tx)
		if err != nil {
			return err
		}
		var lastFor map[schedule.ID]time.Time
		if skipRecorded {
			if lastFor, err = tx.LastFor(ctx, cursorIDs(b.held)); err != nil {
				return err
			}
		}
		lastJobs, err := b.lastJobs(ctx, tx)
		if err != nil {
			return err
		}
		slots, err := s.slots(ctx, tx, &b)
		if err != nil {
			return err
		}
		var decisions []schedule.Decision
		for owed, i := 0, 0; i < len(b.held) && owed < maxRuns; i++ {
			cursor := b.held[i]
			definition := b.definitions[cursor.ScheduleID]
			if definition == nil {
				continue
			}
			if cursor.Dirty {
				// What is due has its next run, so the plan doesn't ask the ledger.
				cursor = schedule.Plan(definition, cursor, time.Time{})
			}
			cursor = schedule.PlanAfter(definition, cursor, lastFor[cursor.ScheduleID])
			decision := s.decide(definition, cursor, schedule.Turn{Now: b.now, Last: lastJobs[cursor.ScheduleID], Slots: slots})
			if outdated {
				decision.Cursor = schedule.Provisional(definition, decision.Cursor)
			}
			decisions = append(decisions, decision)
			owed += len(decision.Enqueue)
		}
		if at, taken, dealt := slots.Dealt(); dealt {
			if err := tx.SaveSlot(ctx, at, taken); err != nil {
				return err
			}
		}
		if skipRecorded {
			if err := dropRecorded(ctx, tx, decisions); err != nil {
				return err
			}
		}
		b.carryOut(decisions)
		return s.write(ctx, tx, &b)
	})
	return b, err
}

// decide is schedule.Due, for a job that River will take.
func (s *Scheduler) decide(definition *schedule.Schedule, cursor schedule.Cursor, turn schedule.Turn) schedule.Decision {
	if err := definition.Job.ValidateForRiver(); err != nil {
		return schedule.Decision{Cursor: schedule.SetAside(cursor, err.Error())}
	}
	return schedule.Due(definition, cursor, turn, s.config.Rules)
}

// slots go on where the last scheduler that dealt some has stopped; nil when the
// batch owes nothing that was missed.
func (s *Scheduler) slots(ctx context.Context, tx *db.Tx, b *batch) (*schedule.Slots, error) {
	if !slices.ContainsFunc(b.held, func(c schedule.Cursor) bool { return c.Waits(b.now, s.config.Rules) }) {
		return nil, nil
	}
	last, taken, err := tx.LockSlot(ctx)
	if err != nil {
		return nil, err
	}
	return schedule.NewSlots(s.config.Rules.CatchUpRate, b.now, last, taken), nil
}

// lastJobs reads what the overlap policies of the batch ask for.
func (b *batch) lastJobs(ctx context.Context, tx *db.Tx) (map[schedule.ID]schedule.LastJob, error) {
	var asking []schedule.Cursor
	for _, cursor := range b.held {
		if definition := b.definitions[cursor.ScheduleID]; definition != nil && definition.Overlap.Asks() {
			asking = append(asking, cursor)
		}
	}
	if len(asking) == 0 {
		return nil, nil
	}
	return tx.LastJobs(ctx, asking)
}

// carryOut turns decisions into rows.
func (b *batch) carryOut(decisions []schedule.Decision) {
	for _, d := range decisions {
		definition := b.definitions[d.Cursor.ScheduleID]
		for _, stretch := range d.Record {
			b.runs = append(b.runs, stretch.Run(definition, b.now))
		}
		for _, o := range d.Enqueue {
			b.enqueue = append(b.enqueue, schedule.Enqueue{Schedule: definition, ScheduledFor: o.ScheduledFor, Reason: o.Reason})
			b.owner = append(b.owner, len(b.cursors))
		}
		b.cursors = append(b.cursors, d.Cursor)
	}
}

// write inserts the jobs first, since the ledger holds their ids.
func (s *Scheduler) write(ctx context.Context, tx *db.Tx, b *batch) error {
	jobs, err := s.inserter.Insert(ctx, tx.Tx, b.enqueue)
	if err != nil {
		return err
	}
	for i, e := range b.enqueue {
		b.runs = append(b.runs, e.Run(jobs[i], b.now))
		b.cursors[b.owner[i]].LastJobID = jobs[i]
	}
	if err := tx.InsertRuns(ctx, b.runs); err != nil {
		return err
	}
	return tx.SaveCursors(ctx, b.cursors)
}

// dropRecorded takes out of the decisions what the ledger already holds.
func dropRecorded(ctx context.Context, tx *db.Tx, decisions []schedule.Decision) error {
	var planned []db.Occurrence
	for _, d := range decisions {
		for _, o := range d.Enqueue {
			planned = append(planned, db.Occurrence{ScheduleID: d.Cursor.ScheduleID, ScheduledFor: o.ScheduledFor.UTC()})
		}
		for _, r := range d.Record {
			planned = append(planned, db.Occurrence{ScheduleID: d.Cursor.ScheduleID, ScheduledFor: r.From.UTC()})
		}
	}
	recorded, err := tx.Recorded(ctx, planned)
	if err != nil {
		return err
	}
	for i := range decisions {
		id := decisions[i].Cursor.ScheduleID
		decisions[i].Without(func(at time.Time) bool {
			return recorded[db.Occurrence{ScheduleID: id, ScheduledFor: at.UTC()}]
		})
	}
	return nil
}

// setAside marks one schedule invalid, with what the database said of the
// definition that was tried. An edit that came in between is left to its own try.
func (s *Scheduler) setAside(ctx context.Context, tried *schedule.Schedule, cause error) ([]schedule.Cursor, error) {
	var aside []schedule.Cursor
	err := s.store.InTx(ctx, func(tx *db.Tx) error {
		aside = nil
		cursor, err := tx.LockCursor(ctx, tried.ID)
		if errors.Is(err, schedule.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		now, err := tx.Definitions(ctx, []schedule.ID{tried.ID})
		if err != nil || now[tried.ID] == nil || now[tried.ID].Version != tried.Version {
			return err
		}
		aside = []schedule.Cursor{schedule.SetAside(cursor, "its job was refused: "+cause.Error())}
		return tx.SaveCursors(ctx, aside)
	})
	return aside, err
}
