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
	var with doubts
	b, err := s.dispatchOnce(ctx, limit, with)
	for with.grow(err) {
		b, err = s.dispatchOnce(ctx, limit, with)
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

// doubts are what a dispatch looks into after one that failed.
type doubts struct {
	recorded bool // the ledger may hold some of it: that isn't enqueued again
	refused  bool // a row may not be writable: it alone is set aside
}

// grow reports whether the error raises a doubt that wasn't there.
func (d *doubts) grow(err error) bool {
	before := *d
	if db.UniqueViolation(err) == "runs_pkey" {
		// A restored backup, a cursor set back, or a commit whose answer was lost.
		d.recorded = true
	} else if isRefusal(err) {
		d.refused = true
	}
	return *d != before
}

// maxRefusals is how many rows one dispatch sets aside at most, each of which takes
// some twenty statements to find: the transaction has to end in time.
const maxRefusals = 25

func (s *Scheduler) dispatchOnce(ctx context.Context, limit int, with doubts) (b batch, err error) {
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
		if with.recorded {
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
			turn := schedule.Turn{Now: b.now, Last: lastJobs[cursor.ScheduleID], Slots: slots}
			decision := s.decide(definition, cursor, lastFor[cursor.ScheduleID], turn)
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
		if with.recorded {
			if err := dropRecorded(ctx, tx, decisions); err != nil {
				return err
			}
		}
		if with.refused {
			return s.writeCarefully(ctx, tx, &b, decisions)
		}
		b.carryOut(decisions)
		return s.write(ctx, tx, &b)
	})
	return b, err
}

// decide is schedule.Due, for a timing that can be read and a job that River will
// take.
func (s *Scheduler) decide(definition *schedule.Schedule, cursor schedule.Cursor, lastFor time.Time, turn schedule.Turn) schedule.Decision {
	planned := cursor
	if cursor.Dirty {
		// What is due has its next run, so the plan doesn't ask the ledger.
		planned = schedule.Plan(definition, cursor, time.Time{})
	}
	planned = schedule.PlanAfter(definition, planned, lastFor)
	if planned.State == schedule.StateInvalid {
		return schedule.Refuse(definition, cursor, turn.Now, planned.StateReason)
	}
	if err := definition.Job.ValidateForRiver(); err != nil {
		return schedule.Refuse(definition, planned, turn.Now, err.Error())
	}
	return schedule.Due(definition, planned, turn, s.config.Rules)
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

// isRefusal reports whether a value was refused, by River or by the database, so that
// trying again with it can't help.
func isRefusal(err error) bool {
	var invalid *schedule.InvalidError
	return db.IsDataError(err) || errors.As(err, &invalid)
}

// writeCarefully writes what can be written. The rows that can't be are found by
// halving, each part on a savepoint, and are set aside with what was said of them.
// What maxRefusals doesn't let it come to stays due.
func (s *Scheduler) writeCarefully(ctx context.Context, tx *db.Tx, b *batch, decisions []schedule.Decision) error {
	refused := 0
	var halve func(decisions []schedule.Decision) error
	halve = func(decisions []schedule.Decision) error {
		if len(decisions) == 0 || refused >= maxRefusals {
			return nil
		}
		part := batch{now: b.now, definitions: b.definitions}
		part.carryOut(decisions)
		err := tx.Try(ctx, func(tx *db.Tx) error { return s.write(ctx, tx, &part) })
		switch {
		case err == nil:
			b.enqueue, b.runs, b.cursors = append(b.enqueue, part.enqueue...), append(b.runs, part.runs...), append(b.cursors, part.cursors...)
			return nil
		case !isRefusal(err) || db.UniqueViolation(err) == "runs_pkey":
			return err
		case len(decisions) > 1:
			middle := len(decisions) / 2
			if err := halve(decisions[:middle]); err != nil {
				return err
			}
			return halve(decisions[middle:])
		}
		refused++
		return s.setAside(ctx, tx, b, decisions[0].Cursor.ScheduleID, err)
	}
	// All of them together have failed before.
	middle := len(decisions) / 2
	if err := halve(decisions[:middle]); err != nil {
		return err
	}
	return halve(decisions[middle:])
}

// setAside marks one schedule of the batch invalid, with what was said of the
// definition that was tried. Is that being edited, it is left to another try.
func (s *Scheduler) setAside(ctx context.Context, tx *db.Tx, b *batch, id schedule.ID, cause error) error {
	definition := b.definitions[id]
	part := batch{now: b.now, definitions: b.definitions}
	n := slices.IndexFunc(b.held, func(c schedule.Cursor) bool { return c.ScheduleID == id })
	decisions := []schedule.Decision{schedule.Refuse(definition, b.held[n], b.now, "its job was refused: "+cause.Error())}
	if err := dropRecorded(ctx, tx, decisions); err != nil {
		return err
	}
	part.carryOut(decisions)
	err := tx.Try(ctx, func(tx *db.Tx) error {
		if err := tx.KeepVersion(ctx, id, definition.Version); err != nil {
			return err
		}
		return s.write(ctx, tx, &part)
	})
	if errors.Is(err, schedule.ErrStale) {
		return nil
	}
	b.runs, b.cursors = append(b.runs, part.runs...), append(b.cursors, part.cursors...)
	return err
}
