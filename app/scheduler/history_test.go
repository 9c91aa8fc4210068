package scheduler_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

var (
	histories = flag.Int("histories", 2000, "how many random histories are held to the model")
	seed      = flag.Uint64("histories-seed", 1, "where their randomness begins")
)

// testClock makes the database tell a time that stands still until it is moved. The
// statements of this program and the triggers ask for clock_timestamp() by its bare
// name, and find this one before the server's. A sequence holds it, since all see
// at once what is set there.
const testClock = `
CREATE SCHEMA fake;
CREATE SEQUENCE fake.micros START %[1]d;
CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT 'epoch'::timestamptz + last_value * interval '1 microsecond' FROM fake.micros $$;
ALTER FUNCTION riverbeat.set_version() SET search_path = fake, pg_catalog, pg_temp;
ALTER FUNCTION riverbeat.keep_cursors() SET search_path = fake, pg_catalog, pg_temp;
-- River's jobs have the server's time otherwise.
CREATE FUNCTION fake.stamp() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.created_at := fake.clock_timestamp(); RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT ON river_job FOR EACH ROW EXECUTE FUNCTION fake.stamp();
-- What River has deleted.
CREATE TABLE fake.gone (id bigint PRIMARY KEY, metadata jsonb, finalized_at timestamptz);
DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET search_path = fake, pg_catalog, public', current_database()); END $$;`

// history is one schedule and what was done to it: the sequential model.
type history struct {
	definition schedule.Schedule
	eras       []era
	manual     int  // runs that somebody asked for
	repoliced  bool // its policies were edited
	gone       bool
}

// era is the time from one write of a schedule up to the next.
type era struct {
	since  time.Time // not itself
	what   string    // was done then
	timing *schedule.Timing
	paused bool
}

func (h *history) write(at time.Time, what string) error {
	timing, err := h.definition.Timing()
	if err != nil {
		return err
	}
	h.eras = append(h.eras, era{since: at, what: what, timing: timing, paused: h.definition.Paused})
	return nil
}

// owed is every instant that the schedule owes, in order.
func (h *history) owed(end time.Time) (owed []time.Time) {
	for i, e := range h.eras {
		until := end
		if i+1 < len(h.eras) {
			until = h.eras[i+1].since
		}
		if e.paused || e.what == "delete" {
			continue
		}
		for at := e.timing.Next(e.since); !at.IsZero() && !at.After(until); at = e.timing.Next(at) {
			owed = append(owed, at)
		}
	}
	return owed
}

// check holds the ledger to the model: each instant that is owed is covered by one
// line, and nothing else is.
func (h *history) check(runs []schedule.Run, end time.Time) error {
	owed := h.owed(end)
	covered := make([]int, len(owed))
	manual, ran, last, job := 0, int64(0), -1, int64(math.MaxInt64)
	for _, run := range runs {
		if run.Reason == schedule.ReasonManual {
			manual++
			continue
		}
		until := run.Until
		if until.IsZero() {
			until = run.ScheduledFor
		}
		first, found := slices.BinarySearchFunc(owed, run.ScheduledFor, time.Time.Compare)
		if !found {
			return fmt.Errorf("nobody owes %v: %+v", run.ScheduledFor, run)
		}
		count := 0
		for i := first; i < len(owed) && !owed[i].After(until); i++ {
			covered[i]++
			count, last = count+1, max(last, i)
		}
		if run.Count != 0 && int64(count) != run.Count {
			return fmt.Errorf("a line of %d occurrences covers %d: %+v", run.Count, count, run)
		}
		if run.Outcome == schedule.OutcomeEnqueued {
			ran++
			// The ledger is read from its end.
			if run.JobID > job {
				return fmt.Errorf("the run of %v came behind the next one", run.ScheduledFor)
			}
			job = run.JobID
		}
		if s := h.definition; !h.repoliced && (s.Misfire == schedule.MisfireSkip && run.Reason == schedule.ReasonCatchUp ||
			s.Misfire != schedule.MisfireAll && run.Why == schedule.WhyLimit || s.MisfireGrace == 0 && run.Why == schedule.WhyGrace ||
			s.Overlap != schedule.OverlapSkip && run.Why == schedule.WhyOverlap || s.Overlap != schedule.OverlapQueueOne && run.Why == schedule.WhyQueueFull) {
			return fmt.Errorf("its policy isn't that: %+v", run)
		}
	}
	if most := h.definition.Spec.MaxRuns; most > 0 && ran >= most {
		if ran > most {
			return fmt.Errorf("%d runs, of %d at most", ran, most)
		}
		owed, covered = owed[:last+1], covered[:last+1] // behind the last run nothing is owed
	}
	for i, n := range covered {
		if n != 1 {
			return fmt.Errorf("%v is covered %d times", owed[i], n)
		}
	}
	if manual != h.manual {
		return fmt.Errorf("%d runs were asked for, %d are there", h.manual, manual)
	}
	return nil
}

// story tells a history that went wrong.
func (h *history) story(runs []schedule.Run) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%+v\n", h.definition)
	for _, e := range h.eras {
		fmt.Fprintf(&text, "%v %s\n", e.since.Format(time.TimeOnly), e.what)
	}
	for _, r := range runs {
		fmt.Fprintf(&text, "%v %s %s %s until %v ×%d, job %d, at %v\n", r.ScheduledFor.Format("15:04:05.000000"), r.Reason, r.Outcome, r.Why, r.Until.Format("15:04:05.000000"), r.Count, r.JobID, r.CreatedAt.Format("15:04:05.000000"))
	}
	return text.String()
}

// randomly draws what histories are made of.
type randomly struct{ *rand.Rand }

func draw[T any](r randomly, from ...T) T { return from[r.IntN(len(from))] }

func (r randomly) seconds(least, most int) time.Duration {
	return time.Duration(least+r.IntN(most-least+1)) * time.Second
}

func (r randomly) timing(s *schedule.Schedule, now time.Time) {
	s.Spec.Cron, s.Spec.Every, s.Spec.StartAt, s.Spec.EndAt, s.Spec.Jitter = "", 0, time.Time{}, time.Time{}, 0
	if r.IntN(2) == 0 {
		s.Spec.Cron = draw(r, "*/20 * * * * *", "* * * * *", "*/2 * * * *", "*/5 * * * *", "7,37 * * * * *", "0 10 * * *")
	} else {
		s.Spec.Every = r.seconds(15, 600)
	}
	switch r.IntN(8) {
	case 0, 4:
		s.Spec.EndAt = now.Add(r.seconds(10, 3000))
	case 1:
		s.Spec.StartAt = now.Add(r.seconds(-600, 600))
	case 2, 3:
		s.Spec.Jitter = r.seconds(1, 40)
	}
}

func (r randomly) policy(s *schedule.Schedule) {
	s.Misfire = draw(r, schedule.MisfireOnce, schedule.MisfireAll, schedule.MisfireAll, schedule.MisfireSkip)
	s.MisfireLimit = 1 + r.IntN(8)
	s.MisfireGrace = draw(r, 0, 0, r.seconds(30, 300))
	s.Overlap = draw(r, schedule.OverlapAllow, schedule.OverlapSkip, schedule.OverlapQueueOne)
	s.OverlapStaleAfter = draw(r, 0, 0, r.seconds(10, 120))
}

// world is a database with its clock, the histories in it and its schedulers.
type world struct {
	*bench
	store   *db.Store
	service *app.Service
	now     time.Time
	all     []*history
	running []*runningScheduler
	cutter  *commitCutter
	through *pgxpool.Pool // by which the schedulers reach the database
	rate    int
}

type runningScheduler struct {
	*scheduler.Scheduler
	stop func()
}

func (w *world) start() {
	s := scheduler.New(db.NewStore(w.through), &dying{Inserter: w.inserter()}, scheduler.Config{
		PollInterval: 100 * time.Millisecond, MinSyncInterval: time.Millisecond,
		Rules: schedule.Rules{MisfireAfter: 10 * time.Second, CatchUpRate: w.rate}, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	w.running = append(w.running, &runningScheduler{s, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error("a scheduler ended: ", err)
		}
	})})
}

// dying loses its connection now and then, between the jobs and the commit.
type dying struct{ scheduler.Inserter }

func (d *dying) Insert(ctx context.Context, tx pgx.Tx, runs []schedule.Enqueue) ([]int64, error) {
	ids, err := d.Inserter.Insert(ctx, tx, runs)
	if err == nil && len(runs) > 0 && rand.IntN(20) == 0 {
		_, err = tx.Exec(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
	}
	return ids, err
}

// pass moves the clock, does something to some of the schedules while the
// schedulers are at work, and waits until nothing is left to do.
func (w *world) pass(r randomly, step time.Duration) {
	w.t.Helper()
	if r.IntN(4) == 0 { // somebody has set the clock back for a moment
		w.exec(`SELECT setval('fake.micros', $1)`, w.now.Add(-r.seconds(1, 600)).UnixMicro())
		w.idle()
	}
	w.now = w.now.Add(step)
	w.exec(`SELECT setval('fake.micros', $1)`, w.now.UnixMicro())
	for _, s := range w.running {
		s.Notify(schedule.Change{}, schedule.PathNotify)
	}
	const writers = 4
	var all sync.WaitGroup
	for n := range writers {
		mine := randomly{rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))}
		all.Go(func() {
			for range max(len(w.all)/12/writers, 1) {
				h := w.all[n+writers*mine.IntN(len(w.all)/writers)]
				if err := w.do(mine, h); err != nil {
					w.t.Error(err)
				}
			}
		})
	}
	all.Wait()
	w.idle()
	// The workers get to some of the jobs; River deletes some, of which a few weren't
	// even finished.
	w.exec(`UPDATE river_job SET state = 'completed', finalized_at = clock_timestamp() WHERE state = 'available' AND random() < 0.6`)
	w.exec(`WITH gone AS (DELETE FROM river_job WHERE random() < 0.02 RETURNING id, metadata, finalized_at)
		INSERT INTO fake.gone SELECT id, metadata, coalesce(finalized_at, clock_timestamp()) FROM gone`)
}

// idle waits until the schedulers have nothing left to do.
func (w *world) idle() {
	w.t.Helper()
	left, since := -1, time.Now()
	for ; ; time.Sleep(5 * time.Millisecond) {
		n := one[int](w.bench, `
			SELECT (SELECT count(*) FROM riverbeat.cursors WHERE fire_at <= (SELECT clock_timestamp()))
			     + (SELECT count(*) FROM riverbeat.cursors WHERE dirty)`)
		switch {
		case n == 0:
			return
		case n != left:
			left, since = n, time.Now()
		case time.Since(since) > 20*time.Second:
			w.t.Fatalf("%d schedules wait in vain", n)
		}
	}
}

// do does one thing to a schedule, by the API's door or by plain SQL.
func (w *world) do(r randomly, h *history) error {
	if h.gone {
		return nil
	}
	ctx := app.WithCaller(context.Background(), app.Operator("test"))
	key := app.Key{ID: h.definition.ID}
	sql := r.IntN(2) == 0
	edit := func(what string, change func(*schedule.Schedule)) (err error) {
		change(&h.definition)
		if sql {
			err = w.store.InTx(ctx, func(tx *db.Tx) error { return tx.UpdateSchedule(ctx, &h.definition) })
		} else {
			_, err = w.service.Edit(ctx, key, app.AnyVersion, func(s *schedule.Schedule) error { change(s); return nil })
		}
		return errors.Join(err, h.write(w.now, what))
	}
	next := h.definition
	switch r.IntN(20) {
	case 0, 1, 2, 3, 4, 5:
		r.timing(&next, w.now)
		if timing, err := next.Timing(); err != nil || timing.Next(w.now).IsZero() {
			return err // the door refuses what never fires
		}
		return edit("retimed", func(s *schedule.Schedule) { s.Spec = next.Spec })
	case 6, 7:
		r.policy(&next)
		h.repoliced = true
		return edit("repoliced", func(s *schedule.Schedule) {
			s.Misfire, s.MisfireLimit, s.MisfireGrace = next.Misfire, next.MisfireLimit, next.MisfireGrace
			s.Overlap, s.OverlapStaleAfter = next.Overlap, next.OverlapStaleAfter
		})
	case 8:
		return edit("another job", func(s *schedule.Schedule) { s.Job.Priority = s.Job.Priority%4 + 1 })
	case 9:
		return edit("saved as it is", func(*schedule.Schedule) {})
	case 10, 11, 12, 13, 14:
		paused := !h.definition.Paused
		return edit(fmt.Sprint("paused: ", paused), func(s *schedule.Schedule) { s.Paused = paused })
	case 15, 16, 17, 18:
		var blocked *schedule.BlockedError
		_, err := w.service.RunNow(app.WithCaller(ctx, app.Operator("test")), key, app.RunNow{RespectOverlap: r.IntN(2) == 0})
		if errors.As(err, &blocked) {
			return nil
		}
		h.manual++
		return err
	default:
		h.gone = true
		var err error
		if sql {
			err = w.store.InTx(ctx, func(tx *db.Tx) error { return tx.DeleteSchedule(ctx, h.definition.ID) })
		} else {
			_, err = w.service.Delete(ctx, key, app.AnyVersion, false)
		}
		return errors.Join(err, h.write(w.now, "delete"))
	}
}

// Whatever is done to schedules, by whatever way, however many schedulers there are
// and die in the middle of it, and however long all of them were away: the ledger
// is what the sequential model says.
func TestEveryHistoryIsWhatTheModelSays(t *testing.T) {
	t.Parallel()
	r := randomly{rand.New(rand.NewPCG(*seed, 0))}
	databaseURL := dbtest.URL(t)
	w := &world{bench: &bench{t: t}, now: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC), cutter: &commitCutter{behind: true}, rate: *histories}
	setting := dbtest.Open(t, databaseURL)
	if _, err := setting.Exec(t.Context(), fmt.Sprintf(testClock, w.now.UnixMicro()), pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	w.pool = dbtest.Open(t, databaseURL)
	w.through = dbtest.Open(t, w.cutter.serve(t, databaseURL))
	w.store = db.NewStore(w.pool)
	w.service = app.NewService(w.store, w.inserter(), app.Config{})
	defer func() {
		for _, s := range w.running {
			s.stop()
		}
	}()
	w.start()
	w.create(r)

	for step := range 50 {
		switch r.IntN(6) {
		case 0:
			if len(w.running) < 3 {
				w.start()
			}
		case 1:
			if len(w.running) > 1 {
				w.running[0].stop()
				w.running = w.running[1:]
			}
		case 2, 3:
			w.cutter.left.Store(1) // the next commit's answer is lost
		}
		length := r.seconds(1, 9)
		switch { // now and then an outage
		case step%5 == 4:
			length = r.seconds(120, 900)
		case step%3 == 2:
			length = r.seconds(10, 60)
		}
		w.pass(r, length)
		if t.Failed() {
			return
		}
	}
	// What waits still, for a job or for its slot, is accounted for by a pause.
	w.exec(`UPDATE riverbeat.schedules SET paused = true`)
	for _, h := range w.all {
		if !h.gone {
			h.definition.Paused = true
			if err := h.write(w.now, "the end"); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.check()
}

// create writes the schedules of all histories.
func (w *world) create(r randomly) {
	w.t.Helper()
	ctx := context.Background()
	for n := range *histories {
		s := schedule.New()
		s.ID = schedule.ID{byte(n >> 8), byte(n), 1}
		s.Name, s.Job.Kind = fmt.Sprint("n", n), "noop"
		r.timing(&s, w.now)
		r.policy(&s)
		if r.IntN(6) == 0 {
			s.Spec.MaxRuns = int64(1 + r.IntN(15))
		}
		s.Paused = r.IntN(10) == 0
		w.all = append(w.all, &history{definition: s})
	}
	for some := range slices.Chunk(w.all, 500) {
		err := w.store.InTx(ctx, func(tx *db.Tx) error {
			for _, h := range some {
				if err := tx.InsertSchedule(ctx, &h.definition); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	for _, h := range w.all {
		h.definition.CreatedAt = w.now
		if err := h.write(w.now, "created"); err != nil {
			w.t.Fatal(err)
		}
	}
}

// check holds all histories to the model, and the jobs to the ledger.
func (w *world) check() {
	w.t.Helper()
	wrong, lines := 0, map[string]int{}
	for _, h := range w.all {
		var runs []schedule.Run
		err := w.store.InTx(context.Background(), func(tx *db.Tx) (err error) {
			page, err := tx.ListRuns(context.Background(), db.RunFilter{ScheduleID: h.definition.ID, Limit: 100_000})
			for _, run := range page.Runs {
				runs = append(runs, run.Run)
			}
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, run := range runs {
			lines[strings.TrimSpace(fmt.Sprint(run.Reason, " ", run.Outcome, " ", run.Why))]++
		}
		if err := h.check(runs, w.now); err != nil {
			if wrong++; wrong <= 3 {
				slices.Reverse(runs)
				w.t.Errorf("%v\n%s", err, h.story(runs))
			}
		}
	}
	if wrong > 0 {
		w.t.Errorf("%d of %d histories are wrong (-histories-seed %d)", wrong, len(w.all), *seed)
	}
	w.t.Logf("%d histories: %v", len(w.all), lines)
	for _, kind := range []string{
		"schedule enqueued", "catch_up enqueued", "manual enqueued", "schedule skipped overlap", "schedule skipped queue_full",
		"schedule missed misfire", "schedule missed limit", "schedule missed grace", "schedule missed paused", "schedule missed superseded", "schedule missed deleted",
	} {
		if lines[kind] == 0 {
			w.t.Errorf("no line is %s: the histories try too little", kind)
		}
	}
	w.equals("enqueued runs without a job of their own, jobs without a run", 0, `
		SELECT count(*)
		FROM (SELECT id, metadata FROM river_job UNION ALL SELECT id, metadata FROM fake.gone) j
		FULL JOIN (SELECT * FROM riverbeat.runs WHERE outcome = 'enqueued') r ON r.job_id = j.id
		AND substring(j.metadata->>'riverbeat' FROM 'schedule_id=([^&]*)') = r.schedule_id::text AND (substring(j.metadata->>'riverbeat' FROM 'scheduled_for=([^&]*)'))::timestamptz = r.scheduled_for
		WHERE j.id IS NULL OR r.job_id IS NULL`)
	w.equals("runs that came early", 0, `SELECT count(*) FROM riverbeat.runs WHERE created_at < scheduled_for`)
	// Where the policy was never another, no run began beside the unfinished job of
	// the run before. One that somebody asked for at the same moment may.
	var kept [][16]byte
	for _, h := range w.all {
		if !h.repoliced && h.definition.Overlap != schedule.OverlapAllow && h.definition.OverlapStaleAfter == 0 {
			kept = append(kept, h.definition.ID)
		}
	}
	w.equals("runs that overlap", 0, `
		SELECT count(*)
		FROM (
			SELECT reason, created_at, lag(job_id) OVER before AS last_job, lag(reason) OVER before AS last_reason, lag(created_at) OVER before AS last_at
			FROM riverbeat.runs
			WHERE outcome = 'enqueued' AND schedule_id = ANY($1)
			WINDOW before AS (PARTITION BY schedule_id ORDER BY job_id)
		) r
		JOIN (SELECT id, finalized_at FROM river_job UNION ALL SELECT id, finalized_at FROM fake.gone) j ON j.id = r.last_job
		WHERE reason <> 'manual' AND (last_reason <> 'manual' OR last_at < created_at) AND (finalized_at IS NULL OR finalized_at > created_at)`, kept)
}
