package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// Scheduler is what a scheduler says of itself; see db.Scheduler.
type Scheduler = db.Scheduler

// Marks say what a scheduler must have seen to have a change in force; see
// db.Marks.
type Marks = db.Marks

// Propagation is where the last change of a schedule is in force.
type Propagation struct {
	ScheduleID schedule.ID
	Version    int64     // the newest
	ChangedAt  time.Time // when it became that
	Schedulers []InForce // the live ones, oldest first
}

// InForce is what one scheduler has in force.
type InForce struct {
	Scheduler
	Applied bool          // the newest version
	Version int64         // that it has; 0: an older one, nobody knows which
	Since   time.Time     // zero: not known
	Path    schedule.Path // by which it learnt of it; empty: not known
}

// answerTime is how long live schedulers get to answer before they are reported
// by what they said last.
const answerTime = time.Second

// Schedulers lists the schedulers, oldest first. One that ended without a word is
// listed for an hour, as one that isn't alive.
func (s *Service) Schedulers(ctx context.Context) ([]Scheduler, error) {
	store, err := s.as(ctx, ScopeRead)
	if err != nil {
		return nil, err
	}
	list, err := store.Schedulers(ctx)
	return shownTo(ctx, list), err
}

// shownTo takes away what would tell a caller who doesn't see all namespaces when runs
// are due in the others.
func shownTo(ctx context.Context, list []Scheduler) []Scheduler {
	if CallerOf(ctx).SeesAll() {
		return list
	}
	for i := range list {
		list[i].LookedAt, list[i].Lag = time.Time{}, 0
	}
	return list
}

// Propagation asks the live schedulers which version of a schedule they have in
// force, and since when. The error may be schedule.ErrNotFound.
func (s *Service) Propagation(ctx context.Context, key Key) (*Propagation, error) {
	status, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	id := status.Schedule.ID
	marks, err := s.database.Marks(ctx, id)
	if err != nil {
		return nil, err
	}
	watch, err := s.watch(ctx, id, marks.ChangedAt, answerTime)
	if err != nil {
		return nil, err
	}
	defer watch.Close(ctx)
	p := &Propagation{ScheduleID: id, Version: marks.Version, ChangedAt: marks.ChangedAt}
	schedulers, err := watch.until(ctx, func(r *Scheduler) bool { return !r.SeenAt.Before(watch.askedAt) }, nil)
	if err != nil {
		return nil, err
	}
	learnt, err := s.database.LearntBy(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, r := range schedulers {
		p.Schedulers = append(p.Schedulers, inForce(r, marks, learnt[r.ID]))
	}
	return p, nil
}

// applied reports whether the scheduler has looked since all that the marks name
// was committed.
func applied(r *Scheduler, m Marks) bool {
	return m.Planned && !slices.ContainsFunc(m.Transactions, func(t uint64) bool { return !r.Snapshot.Sees(t) })
}

// inForce is what the scheduler has in force, from what it says it learnt.
func inForce(r Scheduler, m Marks, learnt db.Learnt) InForce {
	f := InForce{Scheduler: r, Applied: applied(&r, m)}
	switch {
	case f.Applied:
		f.Version = m.Version
		if learnt.Version == 0 || learnt.Version == m.Version {
			f.Path, f.Since = learnt.Path, learnt.Since
		}
	case learnt.Version < m.Version:
		f.Version, f.Path, f.Since = learnt.Version, learnt.Path, learnt.Since
	}
	return f
}

// Watch has the schedulers report what they see, until Close.
type Watch struct {
	service *Service
	id      schedule.ID
	askedAt time.Time
	ends    time.Time
}

// Watch begins to watch, for long at most, what the schedulers see. It is to begin
// before the change that is waited for, and is for those who may write.
func (s *Service) Watch(ctx context.Context, long time.Duration) (*Watch, error) {
	if _, err := s.as(ctx, ScopeWrite); err != nil {
		return nil, err
	}
	return s.watch(ctx, schedule.ID{}, time.Time{}, long)
}

func (s *Service) watch(ctx context.Context, about schedule.ID, changedAt time.Time, long time.Duration) (*Watch, error) {
	w := &Watch{service: s, id: schedule.ID(uuid.New()), ends: time.Now().Add(long)}
	var err error
	if w.askedAt, err = s.database.Wait(ctx, w.id, about, changedAt, long); err != nil {
		return nil, err
	}
	return w, nil
}

// Close ends the watch.
func (w *Watch) Close(ctx context.Context) {
	// What can't be removed now ends by itself.
	_ = w.service.database.EndWait(context.WithoutCancel(ctx), w.id)
}

// Schedule waits until every live scheduler has the last change of a schedule in
// force. missing are those that hadn't when the watch ended; all says that there
// were none, and at least one that had.
func (w *Watch) Schedule(ctx context.Context, id schedule.ID) (missing []Scheduler, all bool, err error) {
	return w.wait(ctx, func(ctx context.Context) (Marks, error) {
		m, err := w.service.database.Marks(ctx, id)
		if errors.Is(err, schedule.ErrNotFound) { // deleted meanwhile: that is in force at once
			m, err = Marks{Planned: true}, nil
		}
		return m, err
	})
}

// Deleted waits as Schedule does for a deletion, by the transaction that made it.
func (w *Watch) Deleted(ctx context.Context, transaction uint64) (missing []Scheduler, all bool, err error) {
	return w.wait(ctx, func(context.Context) (Marks, error) {
		return Marks{Planned: true, Transactions: []uint64{transaction}}, nil
	})
}

// Calendar waits as Schedule does for all schedules that name a calendar.
func (w *Watch) Calendar(ctx context.Context, key CalendarKey) (missing []Scheduler, all bool, err error) {
	return w.wait(ctx, func(ctx context.Context) (Marks, error) {
		return w.service.database.CalendarMarks(ctx, key)
	})
}

func (w *Watch) wait(ctx context.Context, read func(context.Context) (Marks, error)) (missing []Scheduler, all bool, err error) {
	var marks Marks
	refresh := func(ctx context.Context) error {
		if marks.Planned {
			return nil
		}
		marks, err = read(ctx)
		return err
	}
	schedulers, err := w.until(ctx, func(r *Scheduler) bool { return applied(r, marks) }, refresh)
	if err != nil {
		return nil, false, err
	}
	for _, r := range schedulers {
		if !applied(&r, marks) {
			missing = append(missing, r)
		}
	}
	return shownTo(ctx, missing), len(schedulers) > 0 && len(missing) == 0, nil
}

// until looks at the live schedulers until there are some and done holds for each,
// or the watch ends.
func (w *Watch) until(ctx context.Context, done func(*Scheduler) bool, refresh func(context.Context) error) ([]Scheduler, error) {
	if err := w.service.ask(ctx); err != nil {
		return nil, err
	}
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if refresh != nil {
			if err := refresh(ctx); err != nil {
				return nil, err
			}
		}
		live, err := w.service.live(ctx)
		if err != nil {
			return nil, err
		}
		left := len(live)
		for i := range live {
			if done(&live[i]) {
				left--
			}
		}
		rest := time.Until(w.ends)
		if len(live) > 0 && left == 0 || rest <= 0 {
			return live, nil
		}
		timer := time.NewTimer(min(pause, rest))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}

// ask tells the schedulers, by every path, that somebody waits.
func (s *Service) ask(ctx context.Context) error {
	s.config.Announce(schedule.Change{Op: schedule.OpAsked})
	return s.database.Ask(ctx)
}

// live reads the live schedulers. All who wait at a moment share one query, so the
// answer may be from a moment before the call.
func (s *Service) live(ctx context.Context) ([]Scheduler, error) {
	shared := s.reads.DoChan("live", func() (any, error) {
		list, err := s.database.Schedulers(context.WithoutCancel(ctx))
		return slices.DeleteFunc(list, func(r Scheduler) bool { return !r.Alive }), err
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case result := <-shared:
		live, _ := result.Val.([]Scheduler)
		return live, result.Err
	}
}
