package app_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/jobs"
)

// house is a service and schedulers on one database, where the test says who hears
// of a change.
type house struct {
	*app.Service
	t          *testing.T
	fixture    *fixture
	schedulers []*scheduler.Scheduler
	stops      []func()
	deaf       atomic.Bool // announcements reach nobody
}

func build(t *testing.T, schedulers int) *house {
	t.Helper()
	h := &house{t: t, fixture: &fixture{pool: dbtest.Pool(t)}}
	inserter, err := jobs.NewInserter(h.fixture.pool)
	if err != nil {
		t.Fatal(err)
	}
	store := db.NewStore(h.fixture.pool)
	registry := prometheus.NewRegistry()
	metrics := scheduler.NewMetrics(registry)
	for n := range schedulers {
		s := scheduler.New(store, inserter, scheduler.Config{
			PollInterval: time.Hour, MinSyncInterval: time.Millisecond, Zones: "2026f", Log: dbtest.Log(t), Metrics: metrics,
			Self: db.Scheduler{ID: schedule.ID{byte(n + 1)}, Host: "here", Version: "test"},
		})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		stop := sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error("the scheduler ended: ", err)
			}
		})
		t.Cleanup(stop)
		h.schedulers, h.stops = append(h.schedulers, s), append(h.stops, stop)
	}
	h.Service = app.NewService(store, inserter, app.Config{Zones: "2026f", Announce: func(c schedule.Change) {
		if h.deaf.Load() && c.Op != schedule.OpAsked {
			return
		}
		for n, s := range h.schedulers { // the first is of the same process
			path := schedule.PathRedis
			if n == 0 {
				path = schedule.PathLocal
			}
			s.Notify(c, path)
		}
	}})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		list, err := h.Schedulers(operator(t))
		if err != nil {
			t.Fatal(err)
		}
		looked := 0
		for _, s := range list {
			if !s.LookedAt.IsZero() {
				looked++
			}
		}
		// A scheduler that is new looks at everything twice more by itself.
		if looked == schedulers && count(t, registry, "riverbeat_changes_total", "poll") >= 2*float64(schedulers) &&
			count(t, registry, "riverbeat_sync_duration_seconds", "everything") >= count(t, registry, "riverbeat_changes_total", "poll", "fresh") {
			return h
		}
		for _, s := range h.schedulers { // said anew at once
			s.Notify(schedule.Change{Op: schedule.OpAsked}, schedule.PathLocal)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d schedulers have looked", looked, schedulers)
		}
	}
}

// count is the sum of a metric's series that have the labels' values.
func count(t *testing.T, registry *prometheus.Registry, name string, values ...string) (sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, series := range family.GetMetric() {
			var has []string
			for _, label := range series.GetLabel() {
				has = append(has, label.GetValue())
			}
			if family.GetName() != name || slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(has, v) }) {
				continue
			}
			sum += series.GetCounter().GetValue() + float64(series.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func (h *house) create(name string) *schedule.Status {
	h.t.Helper()
	status, err := h.Create(operator(h.t), aSchedule(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return status
}

func (h *house) propagation(id schedule.ID) *app.Propagation {
	h.t.Helper()
	p, err := h.Propagation(operator(h.t), app.Key{ID: id})
	if err != nil {
		h.t.Fatal(err)
	}
	slices.SortFunc(p.Schedulers, func(a, b app.InForce) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return p
}

// applied waits until all schedulers have the schedule's newest version.
func (h *house) applied(id schedule.ID) *app.Propagation {
	h.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		p := h.propagation(id)
		all := len(p.Schedulers) == len(h.schedulers)
		for _, s := range p.Schedulers {
			all = all && s.Applied && s.Path != ""
		}
		if all {
			return p
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("not in force everywhere: %+v", p)
		}
	}
}

func TestPropagationSaysWhoHasWhatAndHowItCame(t *testing.T) {
	t.Parallel()
	h := build(t, 2)
	id := h.create("n").Schedule.ID
	p := h.applied(id)
	for n, s := range p.Schedulers {
		want := []schedule.Path{schedule.PathLocal, schedule.PathRedis}[n]
		if s.Version != 1 || s.Path != want || s.Since.Before(p.ChangedAt) || time.Since(s.Since) > time.Minute || s.Host != "here" || s.StartedAt.IsZero() {
			t.Errorf("scheduler %d: %+v", n, s)
		}
	}

	// Of what nobody told it, a scheduler goes on with the version before.
	h.deaf.Store(true)
	if _, err := h.Edit(operator(t), app.Key{ID: id}, 1, describe("unheard of")); err != nil {
		t.Fatal(err)
	}
	p = h.propagation(id)
	if p.Version != 2 {
		t.Errorf("the newest version is %d", p.Version)
	}
	for n, s := range p.Schedulers {
		if s.Applied || s.Version != 1 || s.Path == "" {
			t.Errorf("scheduler %d: %+v", n, s)
		}
	}

	// One hears of it by name, the other that something has changed.
	h.schedulers[0].Notify(schedule.Change{Op: schedule.OpUpdated, ID: id, Version: 2}, schedule.PathNotify)
	h.schedulers[1].Notify(schedule.Change{}, schedule.PathRedis)
	p = h.applied(id)
	for n, s := range p.Schedulers {
		want := []schedule.Path{schedule.PathNotify, schedule.PathRedis}[n]
		if s.Version != 2 || s.Path != want || s.Since.Before(p.ChangedAt) {
			t.Errorf("scheduler %d: %+v", n, s)
		}
	}

	// Who starts later finds it when it looks first.
	var before time.Time
	if err := h.fixture.pool.QueryRow(operator(t), `SELECT clock_timestamp()`).Scan(&before); err != nil {
		t.Fatal(err)
	}
	late := scheduler.New(db.NewStore(h.fixture.pool), nil, scheduler.Config{
		PollInterval: time.Hour, Zones: "2026f", Log: dbtest.Log(t), Self: db.Scheduler{ID: schedule.ID{9}},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- late.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	h.schedulers = append(h.schedulers, late)
	p = h.applied(id)
	if s := p.Schedulers[2]; s.Path != schedule.PathPoll || s.Since.Before(before) {
		t.Errorf("the late one: %+v", s)
	}
}

func TestWhatSQLWroteIsInForceOnceItIsPlanned(t *testing.T) {
	t.Parallel()
	h := build(t, 2)
	id := h.create("n").Schedule.ID
	h.applied(id)
	if _, err := h.fixture.pool.Exec(operator(t), `UPDATE riverbeat.schedules SET every = '2 hours'`); err != nil {
		t.Fatal(err)
	}
	for n, s := range h.propagation(id).Schedulers {
		if s.Applied {
			t.Errorf("scheduler %d has it before anybody planned it", n)
		}
	}
	h.schedulers[0].Notify(schedule.Change{Op: schedule.OpUpdated, ID: id, Version: 2}, schedule.PathNotify)
	for deadline := time.Now().Add(20 * time.Second); ; {
		p := h.propagation(id)
		if p.Schedulers[1].Applied {
			t.Fatalf("the second scheduler has it without having looked: %+v", p.Schedulers[1])
		}
		if p.Schedulers[0].Applied {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", p)
		}
	}
	h.schedulers[1].Notify(schedule.Change{Op: schedule.OpUpdated, ID: id, Version: 2}, schedule.PathNotify)
	h.applied(id)
}

func TestAWatchEndsWhenEveryLiveSchedulerHasTheChange(t *testing.T) {
	t.Parallel()
	h := build(t, 2)
	ctx := operator(t)
	status := h.create("n")
	id := status.Schedule.ID
	watch := func(what string, long time.Duration, write func() error, wait func(*app.Watch) ([]app.Scheduler, bool, error), missing int) {
		t.Helper()
		w, err := h.Watch(ctx, long)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close(ctx)
		if err := write(); err != nil {
			t.Fatal(what, ": ", err)
		}
		begun := time.Now()
		left, all, err := wait(w)
		if err != nil || len(left) != missing || all != (missing == 0) {
			t.Errorf("%s: %d schedulers are missing, %v, %v", what, len(left), all, err)
		}
		if missing == 0 && time.Since(begun) > 15*time.Second {
			t.Errorf("%s took %v", what, time.Since(begun))
		}
	}
	edit := func(text string) func() error {
		return func() error {
			_, err := h.Edit(ctx, app.Key{ID: id}, app.AnyVersion, describe(text))
			return err
		}
	}
	applied := func(w *app.Watch) ([]app.Scheduler, bool, error) { return w.Schedule(ctx, id) }
	watch("an edit", 20*time.Second, edit("a"), applied, 0)
	watch("an edit of nothing", 20*time.Second, edit("a"), applied, 0)
	h.deaf.Store(true)
	watch("an edit that nobody hears of", 300*time.Millisecond, edit("b"), applied, 2)
	h.deaf.Store(false)
	watch("the next one", 20*time.Second, edit("c"), applied, 0)

	key := app.CalendarKey{Namespace: "default", Name: "c"}
	if _, err := h.CreateCalendar(ctx, schedule.Calendar{Namespace: "default", Name: "c", Timezone: "UTC"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Edit(ctx, app.Key{ID: id}, app.AnyVersion, func(s *schedule.Schedule) error { s.Spec.Exclude = []string{"c"}; return nil }); err != nil {
		t.Fatal(err)
	}
	watch("a calendar", 20*time.Second, func() error {
		_, err := h.EditCalendar(ctx, key, app.AnyVersion, func(c *schedule.Calendar) error { c.Weekends = true; return nil })
		return err
	}, func(w *app.Watch) ([]app.Scheduler, bool, error) { return w.Calendar(ctx, key) }, 0)

	var transaction uint64
	watch("a delete", 20*time.Second, func() (err error) {
		transaction, err = h.Delete(ctx, app.Key{ID: id}, app.AnyVersion, false)
		return err
	}, func(w *app.Watch) ([]app.Scheduler, bool, error) { return w.Deleted(ctx, transaction) }, 0)

	// Who has ended isn't waited for; with nobody left nothing is in force.
	id = h.create("m").Schedule.ID
	h.stops[1]()
	watch("an edit for the one that is left", 20*time.Second, edit("a"), applied, 0)
	h.stops[0]()
	w, err := h.Watch(ctx, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(operator(t))
	if left, all, err := w.Schedule(ctx, id); err != nil || all || len(left) != 0 {
		t.Errorf("without schedulers: %v, %v, %v", left, all, err)
	}
}

// A hundred wait at once, and each hears of its own.
func TestManyMayWaitAtOnce(t *testing.T) {
	t.Parallel()
	h := build(t, 2)
	var all sync.WaitGroup
	for n := range 100 {
		all.Go(func() {
			w, err := h.Watch(operator(t), 30*time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Close(operator(t))
			status, err := h.Create(operator(t), aSchedule("n"+string(rune('A'+n/26))+string(rune('a'+n%26))))
			if err != nil {
				t.Error(err)
				return
			}
			if missing, applied, err := w.Schedule(operator(t), status.Schedule.ID); err != nil || !applied {
				t.Errorf("%d: %v, %v", n, missing, err)
			}
		})
	}
	all.Wait()
	var left int
	if err := h.fixture.pool.QueryRow(operator(t), `SELECT count(*) FROM riverbeat.waits`).Scan(&left); err != nil && !errors.Is(err, pgx.ErrNoRows) || left > 0 {
		t.Errorf("%d waits are left, %v", left, err)
	}
}

// Who waits shares what another read a moment ago, which may be older than the
// change.
func TestAChangeIsNotInForceByWhatWasReadBeforeIt(t *testing.T) {
	t.Parallel()
	h := build(t, 1)
	ctx := operator(t)
	id := h.create("n").Schedule.ID
	h.applied(id)
	h.deaf.Store(true)

	// Whoever reads the list has its snapshot and waits for the lock.
	lock, err := h.fixture.pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if _, err := lock.Exec(ctx, `
		SELECT pg_advisory_lock(4);
		ALTER TABLE riverbeat.schedulers RENAME TO listed;
		CREATE VIEW riverbeat.schedulers AS SELECT * FROM riverbeat.listed WHERE pg_advisory_xact_lock_shared(4)::text = ''`); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		if _, err := h.Propagation(ctx, app.Key{ID: id}); err != nil {
			t.Error(err)
		}
	})
	becomes := func(condition string) {
		t.Helper()
		for is := false; !is; time.Sleep(5 * time.Millisecond) {
			if err := lock.QueryRow(ctx, "SELECT EXISTS ("+condition+")").Scan(&is); err != nil {
				t.Fatal(err)
			}
		}
	}
	becomes(`SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4 AND NOT granted`)

	w, err := h.Watch(ctx, 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(ctx)
	if _, err := h.Edit(ctx, app.Key{ID: id}, 1, describe("unheard of")); err != nil {
		t.Fatal(err)
	}
	all.Go(func() {
		if missing, applied, err := w.Schedule(ctx, id); err != nil || applied || len(missing) != 1 {
			t.Errorf("%d schedulers are missing, %v, %v", len(missing), applied, err)
		}
	})
	becomes(`SELECT FROM pg_stat_activity a JOIN riverbeat.schedules s ON a.query_start > s.updated_at
		WHERE s.version = 2 AND a.state = 'idle' AND a.query LIKE '%s.changed_in, c.planned_in%' AND a.datname = current_database()`)
	if _, err := lock.Exec(ctx, `SELECT pg_advisory_unlock(4)`); err != nil {
		t.Fatal(err)
	}
}

// What was restored from another server has numbers of its transactions, which may
// lie ahead of this one's.
func TestMarksOfARestoredDatabaseHideNothing(t *testing.T) {
	t.Parallel()
	h := build(t, 1)
	id := h.create("n").Schedule.ID
	_, err := h.fixture.pool.Exec(operator(t), `
		ALTER TABLE riverbeat.schedules DISABLE TRIGGER USER;
		UPDATE riverbeat.schedules SET changed_in = '900000000000';
		ALTER TABLE riverbeat.schedules ENABLE TRIGGER USER;
		UPDATE riverbeat.cursors SET planned_in = '900000000001'`)
	if err != nil {
		t.Fatal(err)
	}
	if p := h.propagation(id); !p.Schedulers[0].Applied {
		t.Errorf("%+v", p)
	}
}
