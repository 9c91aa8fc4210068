package scheduler

import (
	"context"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// batchSize is how many cursors one transaction plans.
const batchSize = 1000

// maxRuns is about how many runs one dispatch enqueues: a second's work at most.
// With misfire "all" one cursor may owe thousands. Cursors beyond it are claimed
// again.
const maxRuns = 10_000

// maxLeft is how many of the cursors that another scheduler holds are looked at
// again by name.
const maxLeft = 1000

// sync plans the cursors that are marked dirty: those of the look. What another
// scheduler holds, or an error kept from being planned, is left over.
func (s *Scheduler) sync(ctx context.Context, look Look) (left Look, err error) {
	ids, err := s.syncNamed(ctx, look.IDs)
	if err == nil && look.All {
		ids, err = s.syncAll(ctx, look.By)
	}
	if err != nil {
		return look, err
	}
	return Look{IDs: ids}, nil
}

// syncNamed plans those of the schedules that are to be planned. What another
// scheduler holds is left over.
func (s *Scheduler) syncNamed(ctx context.Context, ids []schedule.ID) (left []schedule.ID, err error) {
	// What the API wrote is planned already.
	for try := 1; len(ids) > 0; try++ {
		left = nil
		changes, err := s.store.Changes(ctx, ids, s.outdated.Load())
		if err != nil {
			return nil, err
		}
		if try == 1 {
			s.foundNamed(ids, changes)
		}
		for _, c := range changes {
			if c.Dirty {
				left = append(left, c.ScheduleID)
			} else {
				s.config.Metrics.propagation.Observe(c.Age.Seconds())
			}
		}
		if ids = left; len(ids) == 0 || try == 2 {
			break
		}
		for more := true; more; {
			if more, err = s.syncBatch(ctx, Look{IDs: ids}); err != nil {
				return nil, err
			}
		}
	}
	return left, nil
}

// foundNamed takes note of the versions that the schedules have.
func (s *Scheduler) foundNamed(ids []schedule.ID, changes []db.Changed) {
	versions := make(map[schedule.ID]int64, len(changes))
	for _, c := range changes {
		versions[c.ScheduleID] = c.Version
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.debouncer.Found(id, versions[id])
	}
}

// syncAll plans all that is to be planned. It may be much: what is planned by now
// may be due before the rest is, and what is named meanwhile doesn't wait for it.
func (s *Scheduler) syncAll(ctx context.Context, by schedule.Path) (left []schedule.ID, err error) {
	for more := true; more && ctx.Err() == nil; {
		if more, err = s.syncBatch(ctx, Look{All: true, By: by}); err != nil {
			return nil, err
		}
		if more {
			signal(s.planned)
			// What is left over of them is found below.
			if _, err := s.syncNamed(ctx, s.takeNamed()); err != nil {
				return nil, err
			}
		}
	}
	left, err = s.store.StillDirty(ctx, db.Dirty{Unplanned: s.outdated.Load()}, maxLeft)
	if len(left) == maxLeft { // there may be more
		s.Notify(schedule.Change{}, by)
	}
	return left, err
}

// syncBatch plans at most batchSize of the look's dirty cursors, but for those that
// another scheduler holds; there may be more.
func (s *Scheduler) syncBatch(ctx context.Context, look Look) (more bool, err error) {
	// Begun, it is finished: a deadline of its own bounds it.
	ctx = context.WithoutCancel(ctx)
	var planned []schedule.Cursor
	var now time.Time
	var n, moved int
	err = s.store.InTx(ctx, func(tx *db.Tx) error {
		outdated, err := s.isOutdated(ctx, tx)
		if err != nil {
			return err
		}
		// What has a next run waits for one with newer data: claimed here, it would
		// be dirty again, without end.
		dirty, err := tx.ClaimDirty(ctx, db.Dirty{IDs: look.IDs, Unplanned: outdated}, batchSize)
		n, moved, planned = len(dirty), 0, nil
		if err != nil || n == 0 {
			return err
		}
		definitions, err := s.definitions(ctx, tx, dirty)
		if err != nil {
			return err
		}
		lastFor, err := tx.LastFor(ctx, cursorIDs(dirty))
		if err != nil {
			return err
		}
		if now, err = tx.Now(ctx); err != nil {
			return err
		}
		for _, cursor := range dirty {
			definition := definitions[cursor.ScheduleID]
			if definition == nil {
				continue
			}
			if outdated {
				cursor = schedule.Provisional(definition, schedule.Plan(definition, cursor, lastFor[cursor.ScheduleID]))
			} else {
				next := cursor.NextRunAt
				cursor = schedule.Replan(definition, cursor, lastFor[cursor.ScheduleID], now)
				if !next.IsZero() && !next.Equal(cursor.NextRunAt) {
					moved++
				}
			}
			planned = append(planned, cursor)
		}
		return tx.SaveCursors(ctx, planned)
	})
	if err == nil {
		s.reportInvalid(planned)
		s.config.Metrics.replanned.Add(float64(moved))
		if look.All {
			s.found(planned, look.By, now)
		}
	}
	return n == batchSize, err
}

// found takes note of changes that a look at everything has found.
func (s *Scheduler) found(planned []schedule.Cursor, by schedule.Path, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cursor := range planned {
		s.trail.learn(cursor.ScheduleID, cursor.PlannedVersion, by, now)
		s.config.Metrics.propagation.Observe(max(now.Sub(cursor.ChangedAt), 0).Seconds())
	}
}

// definitions reads what the cursors belong to, now that they are held: read by
// the claim itself, an edit committed in between would still show its old form.
// A cursor without a schedule is dropped; that takes a disabled trigger.
func (s *Scheduler) definitions(ctx context.Context, tx *db.Tx, held []schedule.Cursor) (map[schedule.ID]*schedule.Schedule, error) {
	definitions, err := tx.Definitions(ctx, cursorIDs(held))
	if err != nil || len(definitions) == len(held) {
		return definitions, err
	}
	var orphans []schedule.ID
	for _, cursor := range held {
		if definitions[cursor.ScheduleID] == nil {
			orphans = append(orphans, cursor.ScheduleID)
		}
	}
	return definitions, tx.DropCursors(ctx, orphans)
}

func (s *Scheduler) reportInvalid(cursors []schedule.Cursor) {
	for _, cursor := range cursors {
		if cursor.State == schedule.StateInvalid {
			s.log.Warn("a schedule is set aside as invalid", "schedule_id", cursor.ScheduleID.String(), "reason", cursor.StateReason)
		}
	}
}

func cursorIDs(cursors []schedule.Cursor) []schedule.ID {
	ids := make([]schedule.ID, len(cursors))
	for i, c := range cursors {
		ids[i] = c.ScheduleID
	}
	return ids
}
