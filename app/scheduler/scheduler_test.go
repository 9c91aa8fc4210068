package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/jobs"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// bench is a database with a scheduler that nobody tells anything, unless the
// test does.
type bench struct {
	t    *testing.T
	pool *pgxpool.Pool
}

func setup(t *testing.T) *bench {
	t.Parallel()
	return &bench{t: t, pool: dbtest.Pool(t)}
}

// start runs a scheduler until the test ends. Its poll is out of reach, so what
// it finds, it was told of.
func (b *bench) start(change func(*scheduler.Config), inserter scheduler.Inserter) *scheduler.Scheduler {
	b.t.Helper()
	return b.startOn(b.pool, change, inserter)
}

// startOn is start over connections of its own.
func (b *bench) startOn(pool *pgxpool.Pool, change func(*scheduler.Config), inserter scheduler.Inserter) *scheduler.Scheduler {
	b.t.Helper()
	config := scheduler.Config{
		PollInterval: time.Hour, MinSyncInterval: time.Hour,
		Rules: schedule.Rules{MisfireAfter: 10 * time.Second}, Log: dbtest.Log(b.t),
	}
	if change != nil {
		change(&config)
	}
	if inserter == nil {
		inserter = b.inserter()
	}
	s := scheduler.New(db.NewStore(pool), inserter, config)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error("the scheduler ended: ", err)
		}
	})
	return s
}

func (b *bench) inserter() *jobs.Inserter {
	b.t.Helper()
	inserter, err := jobs.NewInserter(b.pool)
	if err != nil {
		b.t.Fatal(err)
	}
	return inserter
}

func (b *bench) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.pool.Exec(context.Background(), sql, args...); err != nil {
		b.t.Fatal(err)
	}
}

// one reads a single value.
func one[T any](b *bench, sql string, args ...any) (v T) {
	b.t.Helper()
	if err := b.pool.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// becomes waits until the query says true.
func (b *bench) becomes(claim, sql string, args ...any) {
	b.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if one[bool](b, sql, args...) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("it never came to be that %s", claim)
		}
	}
}

func (b *bench) equals(claim string, want int, sql string, args ...any) {
	b.t.Helper()
	if got := one[int](b, sql, args...); got != want {
		b.t.Errorf("%s: %d, not %d", claim, got, want)
	}
}

const insertEach = `
INSERT INTO riverbeat.schedules (name, %s, job_kind, job_args)
SELECT 'n' || n, %s, 'noop', jsonb_build_object('n', n)
FROM generate_series(1, $1::int) AS n`

func (b *bench) insert(n int, spec, value string) {
	b.t.Helper()
	b.exec(fmt.Sprintf(insertEach, spec, value), n)
}

func TestARunIsAJobALedgerLineAndAPlanInOneTransaction(t *testing.T) {
	b := setup(t)
	b.insert(1, "every", "interval '1 second'")
	b.start(nil, nil)
	b.becomes("three runs are in the ledger", `SELECT count(*) >= 3 FROM riverbeat.runs`)
	b.equals("runs whose job isn't theirs", 0, `
		SELECT count(*) FROM riverbeat.runs r LEFT JOIN river_job j
		ON j.id = r.job_id AND j.kind = 'noop' AND substring(j.metadata->>'riverbeat' FROM 'schedule_id=([^&]*)') = r.schedule_id::text
		AND (substring(j.metadata->>'riverbeat' FROM 'scheduled_for=([^&]*)'))::timestamptz = r.scheduled_for AND j.args = '{"n": 1}'
		WHERE j.id IS NULL`)
	b.equals("jobs that wait for a clock", 0, `SELECT count(*) FROM river_job WHERE state <> 'available'`)
	b.equals("cursors that don't stand behind their last run", 0, `
		SELECT count(*) FROM riverbeat.cursors c
		WHERE next_run_at <> (SELECT max(scheduled_for) FROM riverbeat.runs) + interval '1 second'
		   OR run_count <> (SELECT count(*) FROM riverbeat.runs)
		   OR last_job_id <> (SELECT max(job_id) FROM riverbeat.runs)`)
	b.equals("runs that came early", 0, `SELECT count(*) FROM riverbeat.runs WHERE created_at < scheduled_for`)
}

// failing fails a number of times before it passes on.
type failing struct {
	scheduler.Inserter
	left atomic.Int64
}

func (f *failing) Insert(ctx context.Context, tx pgx.Tx, runs []schedule.Enqueue) ([]int64, error) {
	ids, err := f.Inserter.Insert(ctx, tx, runs)
	if len(runs) > 0 && f.left.Add(-1) >= 0 {
		return nil, errors.New("after the insert, before the commit")
	}
	return ids, err
}

func TestADispatchThatFailsLeavesNothingAndIsTriedAgain(t *testing.T) {
	b := setup(t)
	b.insert(10, "at", "clock_timestamp()")
	inserter := &failing{Inserter: b.inserter()}
	inserter.left.Store(3)
	b.start(nil, inserter)
	b.becomes("all have run", `SELECT count(*) = 10 FROM riverbeat.cursors WHERE state = 'completed'`)
	b.equals("runs", 10, `SELECT count(*) FROM riverbeat.runs`)
	b.equals("jobs", 10, `SELECT count(*) FROM river_job`)
}

func TestSchedulersShareOneInstantWithoutRunningAnythingTwice(t *testing.T) {
	b := setup(t)
	b.insert(1000, "at", "clock_timestamp() + interval '1 second'")
	for range 3 {
		b.start(nil, nil)
	}
	b.becomes("all have run", `SELECT count(*) = 1000 FROM riverbeat.cursors WHERE state = 'completed'`)
	b.equals("runs", 1000, `SELECT count(*) FROM riverbeat.runs WHERE outcome = 'enqueued' AND reason = 'schedule'`)
	b.equals("jobs", 1000, `SELECT count(*) FROM river_job`)
	b.equals("schedules with a job", 1000, `SELECT count(DISTINCT substring(metadata->>'riverbeat' FROM 'schedule_id=([^&]*)')) FROM river_job`)
}

func TestARowThatRiverRefusesIsSetAsideAndTheOthersRun(t *testing.T) {
	for _, how := range []string{"", "USING ERRCODE = 'check_violation'", "USING ERRCODE = 'invalid_text_representation'"} {
		t.Run(how, func(t *testing.T) { refused(t, how) })
	}
}

func refused(t *testing.T, how string) {
	b := setup(t)
	b.exec(`
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'poisoned' ` + how + `; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON river_job FOR EACH ROW
		WHEN (NEW.args->>'n' IN ('7', '50', '99')) EXECUTE FUNCTION refuse()`)
	b.insert(100, "at", "clock_timestamp()")
	b.start(nil, nil)
	b.becomes("all are dealt with", `SELECT count(*) = 100 FROM riverbeat.cursors WHERE state IN ('completed', 'invalid')`)
	b.equals("jobs", 97, `SELECT count(*) FROM river_job`)
	b.equals("runs", 97, `SELECT count(*) FROM riverbeat.runs WHERE outcome = 'enqueued'`)
	b.equals("missed, though their one instant is still to come once they are mended", 0, `SELECT count(*) FROM riverbeat.runs WHERE outcome = 'missed'`)
	b.equals("set aside with their reason", 3, `
		SELECT count(*) FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id
		WHERE state = 'invalid' AND state_reason LIKE '%poisoned%' AND s.job_args->>'n' IN ('7', '50', '99')`)
	// Mending the job is enough.
	b.exec(`UPDATE riverbeat.schedules SET at = clock_timestamp() WHERE name = 'n7'`)
	b.exec(`UPDATE riverbeat.schedules SET job_args = '{}' WHERE name = 'n50'`)
	b.exec(`DROP TRIGGER refuse ON river_job`)
	b.start(nil, nil)
	b.becomes("the mended ones have run", `SELECT count(*) = 99 FROM riverbeat.runs WHERE outcome = 'enqueued'`)
}

// mending edits the schedule while its batch fails: the edit waits for the row
// that the failing transaction holds, and commits right behind it.
type mending struct {
	scheduler.Inserter
	b    *bench
	once sync.Once
	done chan error
}

func (m *mending) Insert(ctx context.Context, tx pgx.Tx, runs []schedule.Enqueue) ([]int64, error) {
	if len(runs) == 0 || runs[0].Schedule.Job.Kind != "poison" {
		return m.Inserter.Insert(ctx, tx, runs)
	}
	m.once.Do(func() {
		waiting := make(chan struct{})
		go func() {
			close(waiting)
			_, err := m.b.pool.Exec(context.Background(), `UPDATE riverbeat.schedules SET job_kind = 'noop', every = '1 second', at = NULL`)
			m.done <- err
		}()
		<-waiting
		m.b.becomes("the edit waits for the cursor", `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)
	})
	_, err := tx.Exec(ctx, `SELECT 1/0`)
	return nil, err
}

func TestAnEditThatMendsAScheduleIsNotUndoneByItsFailure(t *testing.T) {
	b := setup(t)
	b.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind) VALUES ('mended', clock_timestamp(), 'poison')`)
	m := &mending{Inserter: b.inserter(), b: b, done: make(chan error, 1)}
	s := b.start(nil, m)
	if err := <-m.done; err != nil {
		t.Fatal(err)
	}
	s.Notify(b.change("mended"), schedule.PathNotify)
	b.becomes("it runs as it was mended", `SELECT count(*) >= 2 FROM river_job WHERE kind = 'noop'`)
}

func TestArgsThatGrowInTheDatabaseStillRun(t *testing.T) {
	b := setup(t)
	b.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind, job_args)
		SELECT 'large', clock_timestamp(), 'noop', jsonb_build_object('a', jsonb_agg(1), 'small', 1e-900) FROM generate_series(1, 40000)`)
	b.start(nil, nil)
	b.becomes("it has run", `SELECT count(*) = 1 FROM river_job`)
}

func TestAnOutageOfEverySecondWithMisfireAllIsMadeUpForWhileOthersFire(t *testing.T) {
	b := setup(t)
	b.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind, misfire, start_at, end_at)
		SELECT 'n' || n, '1 second', 'noop', 'all', clock_timestamp() - interval '1 hour', clock_timestamp() - interval '1 minute' FROM generate_series(1, 100) n`)
	b.exec(`UPDATE riverbeat.cursors SET dirty = false, next_run_at = start_at, fire_at = start_at FROM riverbeat.schedules WHERE id = schedule_id`)
	b.start(func(c *scheduler.Config) { c.Rules.CatchUpRate = 100_000 }, nil)
	b.becomes("all are completed", `SELECT count(*) = 100 FROM riverbeat.cursors WHERE state = 'completed'`)
	b.equals("made up for", 100*100, `SELECT count(*) FROM riverbeat.runs WHERE reason = 'catch_up'`)
	b.equals("jobs that aren't their run's", 0, `
		SELECT count(*) FROM riverbeat.runs r JOIN river_job j ON j.id = r.job_id
		WHERE substring(j.metadata->>'riverbeat' FROM 'schedule_id=([^&]*)') <> r.schedule_id::text
		   OR (substring(j.metadata->>'riverbeat' FROM 'scheduled_for=([^&]*)'))::timestamptz <> r.scheduled_for`)
}

func TestARowThatSomebodyHoldsDelaysNoOther(t *testing.T) {
	b := setup(t)
	b.insert(1, "at", "clock_timestamp() + interval '1 hour'")
	b.start(nil, nil)
	b.becomes("it is planned", `SELECT NOT dirty FROM riverbeat.cursors`)
	tx, err := b.pool.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	b.exec(`UPDATE riverbeat.cursors SET fire_at = clock_timestamp(), next_run_at = clock_timestamp()`)
	if _, err := tx.Exec(context.Background(), `SELECT FROM riverbeat.cursors FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	s := b.start(nil, nil)
	b.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind) VALUES ('free', '1 second', 'noop')`)
	s.Notify(b.change("free"), schedule.PathNotify)
	b.becomes("the free one has run three times", `SELECT count(*) >= 3 FROM riverbeat.runs`)
	b.equals("runs of the free one later than the rest of a backoff", 0, `SELECT count(*) FROM riverbeat.runs WHERE created_at > scheduled_for + interval '0.4 s'`)
}

func TestASpecThatDoesNotParseIsSetAsideUntilItIsMended(t *testing.T) {
	b := setup(t)
	b.exec(`INSERT INTO riverbeat.schedules (name, cron, timezone, job_kind) VALUES
		('broken', 'whenever', 'UTC', 'noop'), ('lost', '* * * * * *', 'Mars/Olympus', 'noop'), ('good', '* * * * * *', 'UTC', 'noop')`)
	s := b.start(nil, nil)
	b.becomes("the good one runs", `SELECT count(*) > 0 FROM riverbeat.runs WHERE schedule_name = 'good'`)
	for name, field := range map[string]string{"broken": "spec.cron", "lost": "spec.timezone"} {
		reason := one[string](b, `SELECT state || ' ' || state_reason FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE name = $1`, name)
		if !strings.HasPrefix(reason, "invalid "+field) {
			t.Errorf("%s: %q", name, reason)
		}
	}
	b.exec(`UPDATE riverbeat.schedules SET cron = '* * * * * *' WHERE name = 'broken'`)
	s.Notify(b.change("broken"), schedule.PathNotify)
	b.becomes("the broken one runs", `SELECT count(*) > 0 FROM riverbeat.runs WHERE schedule_name = 'broken'`)
}

// change is the hint that tells of a schedule's last change.
func (b *bench) change(name string) schedule.Change {
	b.t.Helper()
	var id [16]byte
	var version int64
	err := b.pool.QueryRow(context.Background(), `SELECT id, version FROM riverbeat.schedules WHERE name = $1`, name).Scan(&id, &version)
	if err != nil {
		b.t.Fatal(err)
	}
	return schedule.Change{Op: schedule.OpUpdated, ID: id, Version: version}
}

func TestWhatTheLedgerHoldsIsNotEnqueuedAgain(t *testing.T) {
	b := setup(t)
	b.insert(3, "every", "interval '1 second'")
	s := b.start(nil, nil)
	b.becomes("each has run twice", `SELECT count(*) >= 6 FROM riverbeat.runs`)
	// As after a restore of the cursors, or a commit whose answer was lost.
	b.exec(`
		UPDATE riverbeat.cursors c SET (next_run_at, fire_at) = (
			SELECT min(scheduled_for), min(scheduled_for) FROM riverbeat.runs r WHERE r.schedule_id = c.schedule_id)`)
	count := one[int](b, `SELECT count(*) FROM riverbeat.runs`)
	s.Notify(b.change("n1"), schedule.PathNotify)
	b.becomes("they go on", `SELECT count(*) >= $1::int + 6 FROM riverbeat.runs`, count)
	b.equals("instants with two jobs", 0, `
		SELECT count(*) FROM (SELECT FROM river_job
		GROUP BY substring(metadata->>'riverbeat' FROM 'schedule_id=([^&]*)'), substring(metadata->>'riverbeat' FROM 'scheduled_for=([^&]*)') HAVING count(*) > 1) twice`)
	b.equals("runs without a job, jobs without a run", 0, `
		SELECT count(*) FROM river_job j FULL JOIN riverbeat.runs r ON r.job_id = j.id WHERE j.id IS NULL OR r.job_id IS NULL`)
}

func TestAKnownChangeIsInForceAtOnceWhateverTheDebounceSays(t *testing.T) {
	b := setup(t)
	s := b.start(nil, nil)
	s.Notify(schedule.Change{}, schedule.PathNotify) // the interval has begun, and is an hour long
	b.insert(1, "at", "clock_timestamp() + interval '1 second'")
	s.Notify(b.change("n1"), schedule.PathNotify)
	b.becomes("it has run", `SELECT count(*) = 1 FROM riverbeat.runs`)
	b.equals("runs later than half a second", 0, `SELECT count(*) FROM riverbeat.runs WHERE created_at > scheduled_for + interval '0.5 s'`)
}

func TestWithoutAnyMessageThePollFindsTheChange(t *testing.T) {
	b := setup(t)
	b.start(func(c *scheduler.Config) { c.PollInterval, c.MinSyncInterval = 300*time.Millisecond, time.Millisecond }, nil)
	b.insert(1, "at", "clock_timestamp()")
	b.becomes("it has run", `SELECT count(*) = 1 FROM riverbeat.runs`)
}

func TestAPollThatFailsCountsOnceItIsMadeUpFor(t *testing.T) {
	b := setup(t)
	registry := prometheus.NewRegistry()
	b.exec(`ALTER TABLE riverbeat.cursors RENAME TO away`)
	s := b.start(func(c *scheduler.Config) { c.Metrics = scheduler.NewMetrics(registry) }, nil)
	eventually := func(claim string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("it never came to be that %s", claim)
			}
		}
	}
	eventually("the first poll fails", func() bool {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				if family.GetName() == "riverbeat_scheduler_failures_total" && m.GetLabel()[0].GetValue() == "plan changed schedules" {
					return true
				}
			}
		}
		return false
	})
	if _, ok := s.SinceLastPoll(); ok {
		t.Error("a poll that failed counts")
	}
	b.exec(`ALTER TABLE riverbeat.away RENAME TO cursors`)
	eventually("everything was looked at", func() bool { _, ok := s.SinceLastPoll(); return ok })
}

// A look at everything that has much to plan holds up nothing that is named
// meanwhile, and nothing that it has planned already.
func TestWhatIsNamedDoesNotWaitForALongLookAtEverything(t *testing.T) {
	b := setup(t)
	s := b.start(func(c *scheduler.Config) { c.MinSyncInterval = time.Millisecond }, nil)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, ok := s.SinceLastPoll(); ok {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it never looked")
		}
	}
	gates, err := b.pool.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer gates.Release()
	// Two cursors, one in each of the first batches, can be planned when their gate
	// opens.
	if _, err := gates.Exec(context.Background(), `
		SELECT pg_advisory_lock(1), pg_advisory_lock(2);
		CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN PERFORM pg_advisory_xact_lock_shared(right(NEW.schedule_id::text, 1)::bigint); RETURN NEW; END';
		CREATE TRIGGER wait BEFORE UPDATE ON riverbeat.cursors FOR EACH ROW
			WHEN (NEW.schedule_id::text LIKE '11111111-%') EXECUTE FUNCTION wait();
		INSERT INTO riverbeat.schedules (id, name, every, job_kind)
		SELECT CASE n WHEN 1 THEN '11111111-0000-0000-0000-000000000001' WHEN 1001 THEN '11111111-0000-0000-0000-000000000002' ELSE gen_random_uuid() END,
			'n' || n, '1 hour', 'noop' FROM generate_series(1, 2500) n;`); err != nil {
		t.Fatal(err)
	}
	s.Notify(schedule.Change{}, schedule.PathNotify)
	b.becomes("the first batch waits", `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted)`)
	b.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind) VALUES ('named', clock_timestamp(), 'noop')`)
	s.Notify(b.change("named"), schedule.PathNotify)
	if _, err := gates.Exec(context.Background(), `SELECT pg_advisory_unlock(1)`); err != nil {
		t.Fatal(err)
	}
	b.becomes("the second batch waits", `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 2 AND NOT granted)`)
	b.becomes("what was named has run", `SELECT count(*) = 1 FROM riverbeat.runs`)
	if _, err := gates.Exec(context.Background(), `SELECT pg_advisory_unlock(2)`); err != nil {
		t.Fatal(err)
	}
	b.becomes("the rest is planned too", `SELECT NOT EXISTS (SELECT FROM riverbeat.cursors WHERE dirty)`)
}

func TestARowThatAnotherTransactionHeldIsNotLateByAPoll(t *testing.T) {
	b := setup(t)
	s := b.start(nil, nil)
	b.insert(2, "at", "clock_timestamp()")
	ctx := context.Background()
	tx, err := b.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `SELECT FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE name = 'n1' FOR UPDATE OF c`); err != nil {
		t.Fatal(err)
	}
	s.Notify(b.change("n1"), schedule.PathNotify)
	s.Notify(b.change("n2"), schedule.PathNotify)
	b.becomes("the free one has run", `SELECT count(*) = 1 FROM riverbeat.runs WHERE schedule_name = 'n2'`)
	b.equals("runs of the held one", 0, `SELECT count(*) FROM riverbeat.runs WHERE schedule_name = 'n1'`)
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	b.becomes("the held one has run", `SELECT count(*) = 1 FROM riverbeat.runs WHERE schedule_name = 'n1'`)
}

func TestNothingOfTheOldDefinitionRunsAfterItsEditPauseOrDelete(t *testing.T) {
	b := setup(t)
	b.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind) SELECT name, clock_timestamp() + interval '3 s', 'noop'
		FROM unnest(ARRAY['edited', 'paused', 'deleted', 'left']) AS name`)
	s := b.start(nil, nil)
	b.becomes("all are planned", `SELECT count(*) = 4 FROM riverbeat.cursors WHERE NOT dirty`)
	b.exec(`UPDATE riverbeat.schedules SET at = at + interval '1 day' WHERE name = 'edited'`)
	b.exec(`UPDATE riverbeat.schedules SET paused = true WHERE name = 'paused'`)
	b.exec(`DELETE FROM riverbeat.schedules WHERE name = 'deleted'`)
	s.Notify(b.change("edited"), schedule.PathNotify)
	b.becomes("the one that was left alone has run", `SELECT count(*) = 1 FROM riverbeat.runs WHERE schedule_name = 'left'`)
	b.equals("runs of the others", 0, `SELECT count(*) FROM riverbeat.runs WHERE schedule_name <> 'left' AND outcome = 'enqueued'`)
}

func TestACursorWithoutItsScheduleIsDropped(t *testing.T) {
	b := setup(t)
	b.insert(2, "at", "clock_timestamp()")
	b.exec(`ALTER TABLE riverbeat.schedules DISABLE TRIGGER schedules_keep_delete; DELETE FROM riverbeat.schedules WHERE name = 'n1'`)
	b.start(nil, nil)
	b.becomes("the other has run", `SELECT count(*) = 1 FROM riverbeat.runs`)
	b.becomes("the orphan is gone", `SELECT count(*) = 1 FROM riverbeat.cursors`)
}

func TestAMillionSecondsMissedAreOneRunAndOneLine(t *testing.T) {
	b := setup(t)
	b.exec(`INSERT INTO riverbeat.schedules (name, cron, job_kind, end_at) VALUES ('often', '* * * * * *', 'noop', clock_timestamp() + interval '2 seconds')`)
	b.exec(`UPDATE riverbeat.cursors SET dirty = false, next_run_at = date_trunc('second', clock_timestamp()) - interval '1000000 s',
		fire_at = date_trunc('second', clock_timestamp()) - interval '1000000 s'`)
	b.start(nil, nil)
	b.becomes("it is completed", `SELECT state = 'completed' FROM riverbeat.cursors`)
	b.equals("runs that made up for the missed", 1, `SELECT count(*) FROM riverbeat.runs WHERE reason = 'catch_up' AND outcome = 'enqueued'`)
	b.equals("lines of missed ones", 1, `SELECT count(*) FROM riverbeat.runs WHERE outcome = 'missed' AND why = 'misfire' AND until > scheduled_for`)
	b.equals("seconds without a line", 0, `
		SELECT extract(epoch FROM max(scheduled_for) - min(scheduled_for))::int + 1 - sum(count)::int FROM riverbeat.runs`)
}

func TestTruncateDoesNotMeetADispatchInADeadlock(t *testing.T) {
	b := setup(t)
	b.insert(3, "at", "clock_timestamp()")
	ctx := context.Background()
	dispatch, err := b.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer dispatch.Rollback(ctx)
	if _, err := dispatch.Exec(ctx, `SELECT FROM riverbeat.cursors LIMIT 1 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	b.exec(`SET statement_timeout = '10s'; TRUNCATE riverbeat.schedules`) // waits for nobody
	if err := dispatch.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	b.equals("cursors, but for the one that was held", 1, `SELECT count(*) FROM riverbeat.cursors`)
	b.exec(`UPDATE riverbeat.cursors SET next_run_at = clock_timestamp(), fire_at = clock_timestamp()`)
	b.start(nil, nil)
	b.becomes("the held one is dropped too", `SELECT count(*) = 0 FROM riverbeat.cursors`)
	b.equals("jobs", 0, `SELECT count(*) FROM river_job`)
}

// An edit of a calendar is an edit of every schedule that names it.
func TestNothingRunsOnADayOnceACalendarThatExcludesItIsCommitted(t *testing.T) {
	b := setup(t)
	b.exec(`INSERT INTO riverbeat.calendars (name) VALUES ('holidays')`)
	b.insert(50, "exclude, every", "'{holidays}', interval '1 second'")
	for range 2 {
		b.start(nil, nil)
	}
	b.becomes("all have run", `SELECT count(DISTINCT schedule_id) = 50 FROM riverbeat.runs`)
	b.exec(`
		UPDATE riverbeat.calendars
		SET days = jsonb_build_array(jsonb_build_object('from', (now() AT TIME ZONE 'UTC')::date, 'to', (now() AT TIME ZONE 'UTC')::date + 1))`)
	committed := one[time.Time](b, `SELECT clock_timestamp()`)
	b.start(nil, nil) // looks at everything
	b.becomes("all are planned for after the holidays", `
		SELECT count(*) = 50 FROM riverbeat.cursors
		WHERE NOT dirty AND fire_at = next_run_at AND (next_run_at AT TIME ZONE 'UTC')::date = ($1::timestamptz AT TIME ZONE 'UTC')::date + 2`, committed)
	b.becomes("time has passed", `SELECT clock_timestamp() > $1::timestamptz + interval '1500 milliseconds'`, committed)
	b.equals("runs since then", 0, `SELECT count(*) FROM riverbeat.runs WHERE created_at > $1 AND outcome = 'enqueued'`, committed)

	// What a calendar took away is in the ledger when the next run comes.
	b.exec(`UPDATE riverbeat.cursors SET next_run_at = clock_timestamp(), fire_at = clock_timestamp() WHERE schedule_id = (SELECT min(schedule_id::text)::uuid FROM riverbeat.cursors)`)
	b.start(nil, nil)
	b.becomes("it is recorded", `SELECT count(*) = 1 FROM riverbeat.runs WHERE outcome = 'skipped' AND why = 'excluded' AND count > 0`)
}

// Versions of one id aren't told apart for ever: what is written anew, restored or
// made up may bear a number that was told of before.
func TestAVersionThatWasMadeUpHidesNoRealOne(t *testing.T) {
	b := setup(t)
	b.insert(1, "every", "interval '1 hour'")
	s := b.start(nil, nil)
	b.becomes("it is planned", `SELECT NOT dirty FROM riverbeat.cursors`)
	real := b.change("n1")
	real.Version++
	s.Notify(real, schedule.PathRedis) // before its time
	s.Notify(b.change("n1"), schedule.PathNotify)
	free := schedule.Change{Op: schedule.OpUpdated, ID: schedule.ID{1}, Version: 1}
	s.Notify(free, schedule.PathNotify)
	b.exec(`INSERT INTO riverbeat.schedules (id, name, every, job_kind) VALUES ($1, 'later', '1 second', 'noop')`, [16]byte(free.ID))
	b.exec(`UPDATE riverbeat.schedules SET every = '1 second' WHERE name = 'n1'`)
	eventually := func(claim, sql string, again schedule.Change) {
		t.Helper()
		// The message may come while the one that was made up is being looked at.
		for range 100 {
			s.Notify(again, schedule.PathNotify)
			if one[bool](b, sql) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("it never came to be that %s", claim)
	}
	eventually("the edit is in force", `SELECT NOT dirty FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE name = 'n1'`, real)
	eventually("what was written later is planned", `SELECT NOT dirty FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE name = 'later'`, free)
}
