package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/zonedata"
	"github.com/riverbeat/riverbeat/db"
)

// replanBatch is how many cursors one transaction looks at.
const replanBatch = 1000

// OutdatedError says that this process has older time zone data than some
// scheduler has planned by.
type OutdatedError struct{ Own, Newest string }

func (e *OutdatedError) Error() string {
	return fmt.Sprintf("the time zone data here are %s, older than %s, by which a scheduler has planned already", e.Own, e.Newest)
}

// Move is a next run that newer time zone data have moved.
type Move struct {
	Schedule *schedule.Schedule
	From, To time.Time // To is zero when nothing is left to come
}

// Replanner plans anew by the time zone data of this process what was planned by
// older ones. It goes through all schedules once, in batches that lock only what
// moves. What it has done stays done, and a second pass finds nothing left.
type Replanner struct {
	Store  *db.Store
	Zones  string     // version of the time zone data of this process
	DryRun bool       // write nothing
	Moved  func(Move) // told of each move, after its commit
	// Try does what may fail for a while, once or until it succeeds.
	Try func(ctx context.Context, do func() error) error
	// Counted is how many schedules were looked at.
	Counted int

	after schedule.ID
}

// Begin makes the version known to the other schedulers: from then on what they
// plan by older data they mark. needed is false when all is planned by this
// version already. The error may be an *OutdatedError.
func (r *Replanner) Begin(ctx context.Context) (needed bool, err error) {
	err = r.Try(ctx, func() error {
		data, err := r.Store.ZoneData(ctx)
		if err != nil {
			return err
		}
		if !r.DryRun && zonedata.Compare(r.Zones, data.Newest) > 0 {
			data, err = r.save(ctx, func(data *db.ZoneData) { data.Newest = r.Zones })
		}
		needed = zonedata.Compare(r.Zones, data.Replanned) > 0
		return errors.Join(err, r.refuse(data.Newest))
	})
	return needed, err
}

// Run goes through all schedules, after Begin. The error is an *OutdatedError when
// another scheduler comes with newer data meanwhile.
func (r *Replanner) Run(ctx context.Context) error {
	for more := true; more; {
		begun := time.Now()
		err := r.Try(ctx, func() (err error) {
			more, err = r.batch(ctx)
			return err
		})
		if err != nil {
			return err
		}
		// The half of the time is left to others.
		if !sleep(ctx, time.Since(begun), nil) {
			return ctx.Err()
		}
	}
	if r.DryRun {
		return nil
	}
	return r.Try(ctx, func() error {
		data, err := r.save(ctx, func(data *db.ZoneData) { data.Replanned = r.Zones })
		return errors.Join(err, r.refuse(data.Newest))
	})
}

// save changes what is stored, unless newer data are known by then.
func (r *Replanner) save(ctx context.Context, change func(*db.ZoneData)) (data db.ZoneData, err error) {
	err = r.Store.InTx(ctx, func(tx *db.Tx) error {
		if data, err = tx.LockZoneData(ctx); err != nil || r.refuse(data.Newest) != nil {
			return err
		}
		change(&data)
		return tx.SaveZoneData(ctx, data)
	})
	return data, err
}

// refuse is an error when the newest data are newer than those of this process.
func (r *Replanner) refuse(newest string) error {
	if zonedata.Compare(r.Zones, newest) < 0 {
		return &OutdatedError{Own: r.Zones, Newest: newest}
	}
	return nil
}

// replanned is a cursor before and after.
type replanned struct {
	definition    *schedule.Schedule
	before, after schedule.Cursor
}

func (c replanned) moved() bool { return !c.before.NextRunAt.Equal(c.after.NextRunAt) }

// batch reads the next schedules without a lock and writes those that change.
// Nothing escapes it that is planned meanwhile: who does so has the same rules, or
// marks it.
func (r *Replanner) batch(ctx context.Context) (more bool, err error) {
	var count int
	var last schedule.ID
	var changed []replanned
	err = r.inTx(ctx, func(tx *db.Tx) error {
		var ids []schedule.ID
		var now time.Time
		ids, count, last, now, err = tx.ZonedPage(ctx, r.after, replanBatch)
		if err != nil || len(ids) == 0 {
			changed = nil
			return err
		}
		cursors, err := tx.Cursors(ctx, ids)
		if err != nil {
			return err
		}
		changed, err = r.replan(ctx, tx, cursors, now)
		return err
	})
	if err == nil && len(changed) > 0 {
		if r.DryRun {
			r.tell(changed)
		} else {
			err = r.write(ctx, changed)
		}
	}
	if err != nil {
		return true, err
	}
	r.after, r.Counted = last, r.Counted+count
	return count == replanBatch, nil
}

// inTx is a transaction in which no newer data are known.
func (r *Replanner) inTx(ctx context.Context, do func(*db.Tx) error) error {
	return r.Store.InTx(ctx, func(tx *db.Tx) error {
		newest, err := tx.NewestZoneData(ctx)
		if err != nil {
			return err
		}
		if err := r.refuse(newest); err != nil {
			return err
		}
		return do(tx)
	})
}

// replan is those of the cursors that change.
func (r *Replanner) replan(ctx context.Context, tx *db.Tx, cursors []schedule.Cursor, now time.Time) ([]replanned, error) {
	definitions, err := tx.Definitions(ctx, cursorIDs(cursors))
	if err != nil {
		return nil, err
	}
	lastFor, err := tx.LastFor(ctx, cursorIDs(cursors))
	if err != nil {
		return nil, err
	}
	var changed []replanned
	for _, cursor := range cursors {
		definition := definitions[cursor.ScheduleID]
		if definition == nil || cursor.NextRunAt.IsZero() {
			continue
		}
		if after := schedule.Replan(definition, cursor, lastFor[cursor.ScheduleID], now); after != cursor {
			changed = append(changed, replanned{definition, cursor, after})
		}
	}
	return changed, nil
}

// write looks again at what changes, now that it is held. What somebody holds is
// waited for one at a time, so that no two wait for each other.
func (r *Replanner) write(ctx context.Context, seen []replanned) error {
	ids := make([]schedule.ID, len(seen))
	for i, c := range seen {
		ids[i] = c.before.ScheduleID
	}
	free := map[schedule.ID]bool{}
	err := r.writeHeld(ctx, func(tx *db.Tx) ([]schedule.Cursor, error) {
		held, err := tx.LockFreeCursors(ctx, ids)
		clear(free)
		for _, cursor := range held {
			free[cursor.ScheduleID] = true
		}
		return held, err
	})
	for _, id := range ids {
		if err != nil {
			break
		}
		if free[id] {
			continue
		}
		err = r.writeHeld(ctx, func(tx *db.Tx) ([]schedule.Cursor, error) {
			cursor, err := tx.LockCursor(ctx, id)
			if errors.Is(err, schedule.ErrNotFound) {
				return nil, nil
			}
			return []schedule.Cursor{cursor}, err
		})
	}
	return err
}

// writeHeld saves those of the cursors, which lock holds, that change.
func (r *Replanner) writeHeld(ctx context.Context, lock func(*db.Tx) ([]schedule.Cursor, error)) error {
	var changed []replanned
	err := r.inTx(ctx, func(tx *db.Tx) error {
		changed = nil
		held, err := lock(tx)
		if err != nil || len(held) == 0 {
			return err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if changed, err = r.replan(ctx, tx, held, now); err != nil || len(changed) == 0 {
			return err
		}
		after, sooner := make([]schedule.Cursor, len(changed)), false
		for i, c := range changed {
			after[i] = c.after
			sooner = sooner || c.after.FireAt.Before(c.before.FireAt) && !c.after.FireAt.IsZero()
		}
		if sooner { // than the other schedulers' alarms may ring
			if err := tx.AnnounceMany(ctx); err != nil {
				return err
			}
		}
		return tx.SaveCursors(ctx, after)
	})
	if err == nil {
		r.tell(changed)
	}
	return err
}

func (r *Replanner) tell(changed []replanned) {
	for _, c := range changed {
		if c.moved() {
			r.Moved(Move{Schedule: c.definition, From: c.before.NextRunAt, To: c.after.NextRunAt})
		}
	}
}

// useZones makes the time zone data of this process known, and plans anew what
// was planned by older ones.
func (s *Scheduler) useZones(ctx context.Context) {
	moved := 0
	r := &Replanner{
		Store: s.store, Zones: s.config.Zones, Try: s.tryReplan,
		Moved: func(m Move) {
			moved++
			s.config.Metrics.replanned.Inc()
			s.log.Debug("newer time zone data move the next run", "schedule_id", m.Schedule.ID.String(), "from", m.From, "to", m.To)
			signal(s.planned)
		},
	}
	needed, err := r.Begin(ctx)
	if err != nil || !needed {
		return // an older version is told of by the loops
	}
	begun := time.Now()
	s.log.Info("newer time zone data: planning anew what they move", "version", s.config.Zones)
	if err = r.Run(ctx); err != nil && ctx.Err() == nil {
		s.log.Info("planning anew is left to another scheduler", "reason", err)
	}
	if err == nil {
		s.log.Info("planned anew by newer time zone data", "version", s.config.Zones, "counted", r.Counted, "moved", moved, "took", time.Since(begun))
	}
}

// tryReplan tries until it succeeds, the context ends, or another scheduler has
// newer data.
func (s *Scheduler) tryReplan(ctx context.Context, do func() error) error {
	var retry backoff
	for {
		err := do()
		var outdated *OutdatedError
		if errors.As(err, &outdated) || err != nil && ctx.Err() != nil {
			return err
		}
		s.trouble(&retry, doingReplan, err, false)
		if err == nil {
			return nil
		}
		if !sleep(ctx, retry.next(), nil) {
			return ctx.Err()
		}
	}
}

// isOutdated reports whether another scheduler has used newer time zone data,
// which holds until the end of the transaction. What is placed by older ones is to
// be schedule.Provisional.
func (s *Scheduler) isOutdated(ctx context.Context, tx *db.Tx) (bool, error) {
	newest, err := tx.NewestZoneData(ctx)
	if err != nil {
		return false, err
	}
	outdated := zonedata.Compare(s.config.Zones, newest) < 0
	if s.outdated.Swap(outdated) == outdated {
		return outdated, nil
	}
	if outdated {
		s.config.Metrics.outdated.Set(1)
		s.log.Warn("another scheduler has newer time zone data: what this one plans, that one plans again; update these data and start again",
			"version", s.config.Zones, "newest", newest)
	} else {
		s.config.Metrics.outdated.Set(0)
	}
	return outdated, nil
}
