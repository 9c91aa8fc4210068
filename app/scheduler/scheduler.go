// Package scheduler fires what is due. Any number of schedulers may run on one
// database: none leads, rows are shared by locks. A scheduler keeps no schedules
// in memory, only when to look next and the hints it has not followed yet.
package scheduler

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// Inserter enqueues runs as River jobs within a transaction and returns the
// jobs' ids in the order of the runs.
type Inserter interface {
	Insert(ctx context.Context, tx pgx.Tx, runs []schedule.Enqueue) ([]int64, error)
}

// Config is a scheduler's settings. Zero durations are the defaults.
type Config struct {
	PollInterval    time.Duration // between looks at everything, come what may; 60 s
	MinSyncInterval time.Duration // between looks at everything that hints ask for; 5 s
	Rules           schedule.Rules
	Zones           string                      // version of the time zone data that this process plans by
	Self            db.Scheduler                // what it says of itself; without an ID it gets one
	Paths           func() []schedule.PathState // how messages reach it; nil: not at all
	Metrics         *Metrics                    // nil: none are kept
	Log             *slog.Logger
}

// Defaults of Config.
const (
	DefaultPollInterval    = 60 * time.Second
	DefaultMinSyncInterval = 5 * time.Second
)

// Scheduler plans what changed and fires what is due.
type Scheduler struct {
	store    *db.Store
	inserter Inserter
	config   Config
	log      *slog.Logger

	mu         sync.Mutex
	debouncer  *Debouncer
	trail      *trail
	looked     db.Look   // the last look
	lookedHere time.Time // when its answer came, by this process's clock

	outdated atomic.Bool                     // another scheduler has used newer time zone data
	missing  atomic.Pointer[missingTriggers] // nil: nobody has looked yet

	changed chan struct{} // a hint came in
	planned chan struct{} // the next due time may have moved
	sooner  chan struct{} // a hint names a due time
	asked   chan struct{} // somebody waits for a report

	// When each loop last succeeded, as a duration since the start: only that is
	// safe from steps of the clock. Zero: not yet.
	started                                 time.Time
	lastPlanned, lastLookedAtAll, lastFired atomic.Int64
}

// New is a Scheduler; Run starts it.
func New(store *db.Store, inserter Inserter, config Config) *Scheduler {
	if config.PollInterval == 0 {
		config.PollInterval = DefaultPollInterval
	}
	if config.MinSyncInterval == 0 {
		config.MinSyncInterval = DefaultMinSyncInterval
	}
	config.Rules = config.Rules.WithDefaults()
	if config.Metrics == nil {
		config.Metrics = NewMetrics(nil)
	}
	if config.Self.ID.IsZero() {
		config.Self.ID = schedule.ID(uuid.New())
	}
	config.Self.Zones = config.Zones
	return &Scheduler{
		store: store, inserter: inserter, config: config, log: config.Log,
		debouncer: NewDebouncer(config.MinSyncInterval),
		trail:     newTrail(),
		started:   time.Now(),
		changed:   make(chan struct{}, 1),
		planned:   make(chan struct{}, 1),
		sooner:    make(chan struct{}, 1),
		asked:     make(chan struct{}, 1),
	}
}

// Notify takes a hint that a schedule changed, which came by the path. It never
// blocks, and may be called at any time from anywhere.
func (s *Scheduler) Notify(c schedule.Change, by schedule.Path) {
	if c.Op == schedule.OpAsked {
		signal(s.asked)
		return
	}
	s.mu.Lock()
	verdict := s.debouncer.Add(c, by)
	if verdict == Fresh && c.Known() {
		s.trail.learn(c.ID, c.Version, by, time.Time{})
	}
	s.mu.Unlock()
	s.config.Metrics.change(c, by, verdict)
	if verdict == Fresh {
		signal(s.changed)
		if !c.NextRunAt.IsZero() {
			signal(s.sooner)
		}
	}
}

// SinceLastLook is how long ago the scheduler last did its work with success,
// planning or firing, whichever is longer; ok is false until it has done both.
func (s *Scheduler) SinceLastLook() (d time.Duration, ok bool) {
	last := min(s.lastPlanned.Load(), s.lastFired.Load())
	return time.Since(s.started) - time.Duration(last), last != 0
}

// SinceLastPoll is how long ago the scheduler last looked at everything with
// success, which is no longer than it polls; ok is false until it has.
func (s *Scheduler) SinceLastPoll() (d time.Duration, ok bool) {
	last := s.lastLookedAtAll.Load()
	return time.Since(s.started) - time.Duration(last), last != 0
}

// Run plans and fires until the context ends, and returns nil then. A dispatch
// in flight is finished first. It survives every fault of the database.
func (s *Scheduler) Run(ctx context.Context) error {
	var all errgroup.Group
	all.Go(func() error { s.planLoop(ctx); return nil })
	all.Go(func() error { s.fireLoop(ctx); return nil })
	all.Go(func() error { s.useZones(ctx); return nil })
	all.Go(func() error { s.reportLoop(ctx); return nil })
	return all.Wait()
}

// planLoop follows hints, and polls: what is dirty gets planned. It stands apart
// from firing, so that planning a million edits delays no run.
func (s *Scheduler) planLoop(ctx context.Context) {
	var retry backoff
	var left Look          // what the last look left over
	nextPoll := time.Now() // at once, for what changed while nobody looked
	for {
		wait, early := time.Until(nextPoll), s.changed
		if hint, ok := s.waitForHint(); ok {
			wait = min(wait, hint)
		}
		if retry.failing() {
			wait = min(wait, retry.next())
		}
		if retry.broken {
			wait, early = retry.next(), nil // hints don't hurry a retry
		}
		if !sleep(ctx, wait, early) {
			return
		}
		now := time.Now()
		polls := !now.Before(nextPoll)
		look := s.takeHints(now, polls)
		cause := causeOf(look)
		if polls {
			cause, nextPoll = causePolled, now.Add(s.config.PollInterval)
			s.checkTriggers(ctx)
		}
		look = look.and(left)
		if look.Empty() {
			continue
		}
		begun := time.Now()
		var err error
		left, err = s.sync(ctx, look)
		if ctx.Err() != nil {
			return
		}
		s.config.Metrics.synced(cause, time.Since(begun))
		s.trouble(&retry, doingPlan, err, !left.Empty())
		if err == nil {
			now := int64(time.Since(s.started))
			s.lastPlanned.Store(now)
			if look.All {
				s.lastLookedAtAll.Store(now)
			}
			s.mu.Lock()
			s.trail.plan(look)
			s.mu.Unlock()
		}
		signal(s.planned)
	}
}

// fireLoop holds the one alarm: it rings when the next run is due.
func (s *Scheduler) fireLoop(ctx context.Context) {
	var retry backoff
	var alarm time.Duration
	var expects bool // something is due then
	var spare spare
	for {
		if retry.failing() {
			alarm = min(alarm, retry.next())
		}
		rang, ok := s.waitForAlarm(ctx, time.Now().Add(alarm), spare.delay())
		if !ok {
			return
		}
		claimed, ahead, err := s.ring(ctx, rang && !spare.is())
		if ctx.Err() != nil {
			return
		}
		alarm = s.config.PollInterval
		if err == nil {
			s.lastFired.Store(int64(time.Since(s.started)))
			s.hasLooked(ahead)
			spare.rang(rang && expects, claimed, ahead)
			expects = !ahead.Due && ahead.Next <= alarm
			alarm = min(alarm, ahead.Next)
			if ahead.Due && claimed > 0 {
				alarm = 0
			}
		}
		// Something is due and none of it could be had: another scheduler is at
		// it, or died while it was. What is due next needn't wait for that.
		s.trouble(&retry, doingFire, err, ahead.Due && claimed == 0)
	}
}

// spare tells whether other schedulers fire all that is due. Then this one comes a
// little later than they, and looks before it claims: with N of them, N-1 would claim
// in vain at each instant. It is at their side at once when they leave something.
type spare struct{ rings int } // that were in vain, one after the other

// is, after two: a single run that was due may just have been edited away.
func (s *spare) is() bool { return s.rings >= 2 }

// delay is what the next alarm is put off by: longer than a dispatch mostly takes,
// and far from what a run may be late.
func (s *spare) delay() time.Duration {
	if !s.is() {
		return 0
	}
	return 10*time.Millisecond + rand.N(30*time.Millisecond)
}

// rang takes note of what was there when the alarm rang for something due. One that
// rang too early by the database's clock says nothing.
func (s *spare) rang(forDue bool, claimed int, ahead db.Ahead) {
	switch {
	case claimed > 0:
		s.rings = 0
	case forDue && (ahead.Due || ahead.Next > 5*time.Millisecond):
		s.rings++
	}
}

// ring fires what is due and looks ahead. When only a plan may have moved, it looks
// first: mostly nothing is due then.
func (s *Scheduler) ring(ctx context.Context, rang bool) (claimed int, ahead db.Ahead, err error) {
	if !rang {
		if ahead, err = s.lookAhead(ctx); err != nil || !ahead.Due {
			return 0, ahead, err
		}
	}
	if claimed, err = s.fire(ctx); err != nil {
		return claimed, ahead, err
	}
	ahead, err = s.lookAhead(ctx)
	return claimed, ahead, err
}

func (s *Scheduler) lookAhead(ctx context.Context) (db.Ahead, error) {
	s.mu.Lock()
	s.trail.begin()
	s.mu.Unlock()
	return s.store.LookAhead(ctx)
}

// waitForAlarm waits until the instant and the delay after it, when the alarm rings,
// or until the next due time may have moved; a change that names an earlier one is
// waited for no longer than that. It isn't ok when the context ended.
func (s *Scheduler) waitForAlarm(ctx context.Context, at time.Time, delay time.Duration) (rang, ok bool) {
	for {
		timer := time.NewTimer(time.Until(at) + delay)
		select {
		case <-ctx.Done():
		case <-s.planned:
		case <-timer.C:
			rang = true
		case <-s.sooner:
			timer.Stop()
			if due := s.takeDue(); !due.IsZero() && due.Before(at) {
				at = due
			}
			continue
		}
		timer.Stop()
		return rang, ctx.Err() == nil
	}
}

// takeDue is when the earliest run is due that changes have named lately, by this
// process's clock: so far from the last look as by the database's.
func (s *Scheduler) takeDue() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := s.debouncer.TakeDue()
	if due.IsZero() || s.lookedHere.IsZero() { // the first look is on its way
		return time.Time{}
	}
	return s.lookedHere.Add(due.Sub(s.looked.At))
}

// hasLooked keeps what a look has seen, for who asks.
func (s *Scheduler) hasLooked(ahead db.Ahead) {
	s.mu.Lock()
	s.looked, s.lookedHere = ahead.Look, time.Now()
	s.trail.look(ahead.Look.At)
	s.mu.Unlock()
	if ahead.Asked {
		signal(s.asked)
	}
}

// A dispatch takes as many cursors as it can do soon, and more the more are due:
// 250 take 10 ms, of which the first in a batch would wait for the last. The
// throughput of River's InsertManyTx levels off at some 2,000.
const (
	leastBatch = 250
	mostBatch  = 2000
)

// loops is how many dispatches run at once while more is due than one of them
// takes: what one decides, the other has written. More would only wait for
// PostgreSQL.
const loops = 2

// fire dispatches until nothing more can be claimed, and says how much was.
func (s *Scheduler) fire(ctx context.Context) (total int, err error) {
	total, err = s.dispatch(ctx, leastBatch)
	switch {
	case err != nil && total > 1 && db.IsTimeout(err):
		return s.drain(ctx, total/2) // less may be done in time
	case err != nil || total < leastBatch:
		return total, err
	}
	var all errgroup.Group
	var claimed atomic.Int64
	claimed.Add(int64(total))
	for range loops {
		all.Go(func() error {
			n, err := s.drain(ctx, 2*leastBatch)
			claimed.Add(int64(n))
			return err
		})
	}
	err = all.Wait()
	return int(claimed.Load()), err
}

// drain is fire for one of the loops, which begins with batches of the limit. It
// takes more while they are full, and less when it was more than can be done in time.
func (s *Scheduler) drain(ctx context.Context, limit int) (total int, err error) {
	tooMuch := math.MaxInt // what a timeout has shown to be
	for ctx.Err() == nil {
		claimed, err := s.dispatch(ctx, limit)
		switch {
		case err == nil:
			total += claimed
			if claimed < limit {
				return total, nil
			}
			limit = min(limit*2, mostBatch, tooMuch)
		case claimed > 1 && db.IsTimeout(err):
			limit, tooMuch = claimed/2, claimed
		default:
			return total, err
		}
	}
	return total, nil
}

func (s *Scheduler) waitForHint() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.debouncer.Wait(time.Now())
}

// takeHints is what hints ask to look at, and everything if all.
func (s *Scheduler) takeHints(now time.Time, all bool) Look {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trail.take()
	look := s.debouncer.Take(now)
	if all {
		s.debouncer.LookedAtAll(now)
		look.All, look.By = true, schedule.PathPoll
	}
	return look
}

// takeNamed is those schedules that hints have named lately.
func (s *Scheduler) takeNamed() []schedule.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trail.take()
	return s.debouncer.TakeNamed()
}

// trouble sets the pace of the next try. A fault is logged when it begins and
// when it is over, not at each try in between.
func (s *Scheduler) trouble(b *backoff, doing string, err error, again bool) {
	switch {
	case err != nil:
		if !b.broken {
			s.log.Warn("can't "+doing+": trying again", "err", err)
		}
		b.fail(true)
		s.config.Metrics.failures.WithLabelValues(doing).Inc()
	case again:
		b.fail(false)
	default:
		if b.broken {
			s.log.Info("can "+doing+" again", "tries", b.tries)
		}
		*b = backoff{}
	}
}

// backoff paces tries from 100 ms, doubling to 1 s.
type backoff struct {
	tries  int
	broken bool
}

func (b *backoff) failing() bool { return b.tries > 0 }

func (b *backoff) fail(broken bool) {
	b.tries++
	b.broken = b.broken || broken
}

// next is jittered, so that schedulers don't try in step.
func (b *backoff) next() time.Duration {
	wait := min(100*time.Millisecond<<min(b.tries-1, 10), time.Second)
	return wait/2 + rand.N(wait/2+1)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sleep waits until the time is over or the signal comes; it reports false when
// the context ended.
func sleep(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-early:
	case <-timer.C:
	}
	return ctx.Err() == nil
}
