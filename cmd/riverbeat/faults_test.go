package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/wake/proxytest"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/db/localpg"
)

var (
	faultTime = flag.Duration("faults", 5*time.Second, "how long each fault lasts")
	soakTime  = flag.Duration("soak", 0, "how long TestSoak lasts; 0: it is skipped")
)

// trial is schedules that are due every second and the schedulers that run them,
// while something goes wrong.
type trial struct {
	*house
	settings   []string
	schedules  int
	schedulers []*process
	server     *localpg.Server // of this trial alone; nil: that of all tests
	proxy      *proxytest.Proxy
}

// newTrial makes the schedules and starts so many schedulers.
func newTrial(h *house, schedules, schedulers int, settings ...string) *trial {
	h.t.Helper()
	tr := &trial{house: h, schedules: schedules}
	tr.settings = append([]string{"RIVERBEAT_ROLES=scheduler", "RIVERBEAT_POLL_INTERVAL=10m", "RIVERBEAT_LOG_LEVEL=warn"}, settings...)
	for range schedulers {
		tr.add()
	}
	tr.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind) SELECT 'n' || n, '1 second', 'noop' FROM generate_series(1, $1::int) n`, schedules)
	tr.becomes("all run", `SELECT count(DISTINCT schedule_id) = $1 FROM riverbeat.runs`, schedules)
	return tr
}

// ownServer is a house on a PostgreSQL server of its own, which may be killed.
func ownServer(t *testing.T, env ...string) (*house, *localpg.Server) {
	t.Helper()
	dir, err := os.MkdirTemp("", "riverbeat-faults-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	server, err := localpg.Start(t.Context(), localpg.Config{DataDir: filepath.Join(dir, "pg"), Durable: true, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	migrate := launch(t, []string{"migrate", "up"}, "DATABASE_URL="+server.URL())
	if code := migrate.exitCode(); code != 0 {
		t.Fatalf("migrate: %v", migrate.log())
	}
	return &house{t: t, url: server.URL(), pool: dbtest.Open(t, server.URL())}, server
}

// add starts one more scheduler and returns its number.
func (tr *trial) add() int {
	tr.schedulers = append(tr.schedulers, tr.launch([]string{"serve"}, append([]string{"DATABASE_URL=" + tr.url}, tr.settings...)...))
	return len(tr.schedulers) - 1
}

// kill ends a scheduler as kill -9 does, and puts another in its place.
func (tr *trial) kill(n int) {
	_ = tr.schedulers[n].cmd.Process.Kill()
	<-tr.schedulers[n].done
	tr.schedulers[n] = tr.launch([]string{"serve"}, append([]string{"DATABASE_URL=" + tr.url}, tr.settings...)...)
}

func (tr *trial) signal(n int, sig syscall.Signal) {
	tr.t.Helper()
	if err := tr.schedulers[n].cmd.Process.Signal(sig); err != nil {
		tr.t.Fatal(err)
	}
}

// every does something again and again for as long as the fault lasts.
func every(pause func() time.Duration, do func()) {
	for end := time.Now().Add(*faultTime); time.Now().Before(end); {
		time.Sleep(pause())
		do()
	}
}

func about(d time.Duration) func() time.Duration {
	return func() time.Duration { return d/2 + rand.N(d) }
}

// check heals, waits until every schedule has run again, stops everything, and
// holds the ledger to what had to happen: each second of each schedule is covered by
// exactly one line, each line that says so has exactly one job, and nothing ran
// early. It prints the figures.
func (tr *trial) check(fault string, healed time.Time) {
	t := tr.t
	t.Helper()
	healedAt := time.Since(healed)
	since := value[time.Time](tr.house, `SELECT clock_timestamp() - $1::float8 * interval '1 s'`, healedAt.Seconds())
	tr.becomes("every schedule runs again", `
		SELECT count(DISTINCT schedule_id) = $2 FROM riverbeat.runs WHERE scheduled_for > $1::timestamptz + interval '1 second' AND reason = 'schedule'`, since, tr.schedules)
	stopped := value[time.Time](tr.house, `SELECT clock_timestamp()`)
	for _, p := range tr.schedulers {
		if code := p.stop(); code != 0 {
			t.Errorf("%s: a scheduler exits with %d", fault, code)
		}
	}
	lost := value[int](tr.house, `
		WITH covered AS (
			SELECT s.id, s.created_at, sum(r.count)::int AS n, count(*) FILTER (WHERE r.count IS NULL) AS uncounted,
			       round(extract(epoch FROM max(coalesce(r.until, r.scheduled_for)) - s.created_at))::int AS last
			FROM riverbeat.schedules s LEFT JOIN riverbeat.runs r ON r.schedule_id = s.id AND r.reason IN ('schedule', 'catch_up')
			GROUP BY s.id
		)
		SELECT coalesce(sum(abs(coalesce(last, 0) - coalesce(n, 0)) + uncounted
			+ greatest(floor(extract(epoch FROM $1::timestamptz - created_at))::int - 2 - coalesce(last, 0), 0)), 0)::int
		FROM covered`, stopped)
	doubled := value[int](tr.house, `
		SELECT (SELECT count(*) FROM river_job)::int - (SELECT count(*) FROM riverbeat.runs WHERE outcome = 'enqueued')::int
			+ (SELECT count(*)::int FROM (SELECT FROM river_job
				GROUP BY substring(metadata->>'riverbeat' FROM 'schedule_id=([^&]*)'), substring(metadata->>'riverbeat' FROM 'scheduled_for=([^&]*)') HAVING count(*) > 1) twice)`)
	early := value[int](tr.house, `SELECT count(*) FROM riverbeat.runs WHERE created_at < scheduled_for`)
	missed := value[int](tr.house, `SELECT coalesce(sum(count), 0)::int FROM riverbeat.runs WHERE outcome <> 'enqueued'`)
	late := func(quantile float64) time.Duration {
		return time.Duration(value[float64](tr.house, `
			SELECT coalesce(percentile_disc($1) WITHIN GROUP (ORDER BY extract(epoch FROM created_at - scheduled_for)), 0)::float8
			FROM riverbeat.runs WHERE reason = 'schedule' AND outcome = 'enqueued'`, quantile) * float64(time.Second)).Round(time.Millisecond)
	}
	recovery := time.Duration(value[float64](tr.house, `
		SELECT coalesce(extract(epoch FROM min(created_at) - $1), -1)::float8 FROM riverbeat.runs WHERE created_at > $1`, since) * float64(time.Second)).Round(time.Millisecond)
	t.Logf("%s: lost=%d dup=%d early=%d missed=%d p50_late=%v p99_late=%v max_late=%v recovery=%v runs=%d",
		fault, lost, doubled, early, missed, late(.5), late(.99), late(1), recovery, value[int](tr.house, `SELECT count(*) FROM riverbeat.runs`))
	if lost != 0 || doubled != 0 || early != 0 {
		t.Errorf("%s: lost %d, doubled %d, early %d", fault, lost, doubled, early)
	}
}

// slots lets a few trials run beside each other: more would only wait for the
// processor, and call that a fault.
var slots = make(chan struct{}, 3)

// hold runs do in a dispatch that has its rows locked and its jobs inserted, and is
// kept from writing the ledger; it lets the dispatch go on when do returns.
func (tr *trial) hold(do func()) {
	tr.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, tr.house.url)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `BEGIN; LOCK TABLE riverbeat.runs IN EXCLUSIVE MODE`); err != nil {
		tr.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		var waiting bool
		if err := conn.QueryRow(ctx, `SELECT count(*) > 0 FROM pg_locks WHERE relation = 'riverbeat.runs'::regclass AND NOT granted`).Scan(&waiting); err != nil {
			tr.t.Fatal(err)
		}
		if waiting {
			break
		}
		if time.Now().After(deadline) {
			tr.t.Fatal("no dispatch came")
		}
	}
	do()
	if _, err := conn.Exec(ctx, `ROLLBACK`); err != nil {
		tr.t.Fatal(err)
	}
}

// Each fault has a number, by which its figures can be followed from run to run.
func TestFaultsLoseDoubleAndHurryNothing(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		own   bool // needs a PostgreSQL server of its own
		proxy bool // schedulers reach PostgreSQL through a proxy
		fault func(*trial)
	}{
		{name: "F-01 kill -9 at random", fault: func(tr *trial) {
			every(about(time.Second), func() { tr.kill(rand.IntN(len(tr.schedulers))) })
		}},
		{name: "F-02 kill -9 with jobs inserted and not committed", fault: func(tr *trial) {
			every(about(500*time.Millisecond), func() {
				tr.hold(func() {
					for n := range tr.schedulers { // whoever it is that waits
						tr.kill(n)
					}
				})
			})
		}},
		{name: "F-03 SIGSTOP and SIGCONT", fault: func(tr *trial) {
			tr.signal(0, syscall.SIGSTOP)
			time.Sleep(*faultTime)
			tr.signal(0, syscall.SIGCONT)
		}},
		{name: "F-04 SIGSTOP with rows locked", fault: func(tr *trial) {
			tr.hold(func() {
				for n := range tr.schedulers {
					tr.signal(n, syscall.SIGSTOP)
				}
			})
			tr.signal(1, syscall.SIGCONT) // whose transaction goes on, if it is that one
			time.Sleep(max(*faultTime, 7*time.Second))
			for n := range tr.schedulers {
				tr.signal(n, syscall.SIGCONT)
			}
		}},
		{name: "F-05 SIGTERM and start", fault: func(tr *trial) {
			every(about(time.Second), func() {
				n := rand.IntN(len(tr.schedulers))
				if code := tr.schedulers[n].stop(); code != 0 {
					tr.t.Errorf("it exits with %d", code)
				}
				tr.kill(n)
			})
		}},
		{name: "F-06 all away", fault: func(tr *trial) {
			for n := range tr.schedulers {
				_ = tr.schedulers[n].cmd.Process.Kill()
				<-tr.schedulers[n].done
			}
			time.Sleep(*faultTime)
			for n := range tr.schedulers {
				tr.kill(n)
			}
		}},
		{name: "F-07 one scheduler, four, one", fault: func(tr *trial) {
			tr.add()
			tr.add()
			time.Sleep(*faultTime)
			for len(tr.schedulers) > 1 {
				last := len(tr.schedulers) - 1
				if code := tr.schedulers[last].stop(); code != 0 {
					tr.t.Errorf("it exits with %d", code)
				}
				tr.schedulers = tr.schedulers[:last]
			}
		}},
		{name: "F-12 backends terminated", fault: func(tr *trial) {
			every(about(500*time.Millisecond), func() {
				tr.exec(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
					WHERE datname = current_database() AND application_name LIKE 'riverbeat%' AND application_name <> 'riverbeat-test' AND random() < 0.5`)
			})
		}},
		{name: "F-13 PostgreSQL killed and restarted", own: true, fault: func(tr *trial) {
			every(about(2*time.Second), func() {
				if err := tr.server.Kill(); err != nil {
					tr.t.Error(err)
				}
				if err := tr.server.Restart(context.Background()); err != nil {
					tr.t.Fatal(err)
				}
			})
		}},
		{name: "F-14 PostgreSQL away", own: true, fault: func(tr *trial) {
			if err := tr.server.Stop(); err != nil {
				tr.t.Error(err)
			}
			time.Sleep(*faultTime)
			if err := tr.server.Restart(context.Background()); err != nil {
				tr.t.Fatal(err)
			}
		}},
		{name: "F-16 connections cut", proxy: true, fault: func(tr *trial) {
			every(about(100*time.Millisecond), tr.proxy.Cut)
		}},
		{name: "F-17 half-open connections", proxy: true, fault: func(tr *trial) {
			tr.proxy.Freeze()
			time.Sleep(*faultTime)
			tr.proxy.Thaw()
			tr.proxy.Forget()
		}},
		{name: "F-22 timeouts of the role", fault: func(tr *trial) {
			tr.exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = ''50ms''', current_database()); END $$`)
			tr.exec(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'riverbeat-s%'`)
			time.Sleep(*faultTime)
			tr.exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET statement_timeout', current_database()); END $$`)
		}},
		{name: "F-23 tables locked", fault: func(tr *trial) {
			for _, table := range []string{"riverbeat.schedules", "river_job"} {
				tr.exec(`DO $$ BEGIN LOCK TABLE ` + table + `; PERFORM pg_sleep(` + fmt.Sprint(faultTime.Seconds()/2) + `); END $$`)
			}
		}},
		{name: "F-25 a transaction open for long", fault: func(tr *trial) {
			tx, err := tr.pool.BeginTx(context.Background(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
			if err != nil {
				tr.t.Fatal(err)
			}
			defer tx.Rollback(context.Background())
			if _, err := tx.Exec(context.Background(), `SELECT count(*) FROM riverbeat.runs`); err != nil {
				tr.t.Fatal(err)
			}
			time.Sleep(*faultTime)
		}},
		{name: "F-26 serializable by default, and deadlocks", fault: func(tr *trial) {
			tr.exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database()); END $$`)
			var two sync.WaitGroup
			for _, order := range []string{"", "DESC"} {
				two.Go(func() {
					every(about(50*time.Millisecond), func() { // a deadlock is its own fault
						_, _ = tr.pool.Exec(context.Background(), `
							DO $$ DECLARE c record; BEGIN
								FOR c IN SELECT schedule_id FROM riverbeat.cursors ORDER BY schedule_id `+order+` LOOP
									PERFORM FROM riverbeat.cursors WHERE schedule_id = c.schedule_id FOR UPDATE;
								END LOOP;
							END $$`)
					})
				})
			}
			two.Wait()
		}},
		{name: "F-45 all suspended", fault: func(tr *trial) {
			for n := range tr.schedulers {
				tr.signal(n, syscall.SIGSTOP)
			}
			time.Sleep(*faultTime)
			for n := range tr.schedulers {
				tr.signal(n, syscall.SIGCONT)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			var h *house
			var server *localpg.Server
			if row.own {
				h, server = ownServer(t)
			} else {
				h = newHouse(t)
			}
			var proxy *proxytest.Proxy
			if row.proxy {
				direct := *h
				proxy, h.url = direct.behindProxy()
			}
			tr := newTrial(h, 40, 2)
			tr.server, tr.proxy = server, proxy
			row.fault(tr)
			tr.check(row.name, time.Now())
		})
	}
}

// A row that somebody holds is late alone.
func TestARowHeldForLongDelaysNoOther(t *testing.T) {
	t.Parallel()
	slots <- struct{}{}
	defer func() { <-slots }()
	tr := newTrial(newHouse(t), 40, 2)
	ctx := context.Background()
	tx, err := tr.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `SELECT FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE name = 'n1' FOR UPDATE OF c`); err != nil {
		t.Fatal(err)
	}
	begun := value[time.Time](tr.house, `SELECT clock_timestamp()`)
	time.Sleep(*faultTime)
	held := value[int](tr.house, `SELECT count(*) FROM riverbeat.runs WHERE schedule_name = 'n1' AND created_at > $1`, begun)
	others := value[int](tr.house, `SELECT min(n) FROM (SELECT count(*) AS n FROM riverbeat.runs WHERE schedule_name <> 'n1' AND created_at > $1 GROUP BY schedule_id) each`, begun)
	if seconds := int(faultTime.Seconds()); held > 0 || others < seconds-2 {
		t.Errorf("in %d s the row that is held ran %d times, the others at least %d times", seconds, held, others)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	tr.check("F-24 a row held for long", time.Now())
}

// The database's clock decides what is due, so it is that clock which is set wrong:
// two minutes ahead, then a minute and a half back, then right.
func TestAClockThatJumpsDoublesNothingAndStopsNothing(t *testing.T) {
	t.Parallel()
	var libraries []string
	for _, place := range []string{"/usr/lib/*/faketime", "/usr/lib*/faketime"} {
		found, err := filepath.Glob(place + "/libfaketime.so.1")
		if err != nil {
			t.Fatal(err)
		}
		libraries = append(libraries, found...)
	}
	if runtime.GOOS != "linux" {
		t.Skip("the server's clock is set as Linux lets it")
	}
	if len(libraries) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("libfaketime is missing: make deps brings it")
		}
		t.Skip("libfaketime, which sets the server's clock, is missing: make deps brings it")
	}
	slots <- struct{}{}
	defer func() { <-slots }()
	dir := filepath.Join(os.TempDir(), fmt.Sprint("riverbeat-clock-", os.Getpid())) // where the server's user may read it
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	clock := filepath.Join(dir, "clock")
	set := func(offset string) {
		t.Helper()
		if err := os.WriteFile(clock+".new", []byte(offset+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(clock+".new", clock); err != nil {
			t.Fatal(err)
		}
	}
	set("+0")
	h, server := ownServer(t, "LD_PRELOAD="+libraries[0], "FAKETIME_TIMESTAMP_FILE="+clock, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1")
	tr := newTrial(h, 40, 2)
	tr.server = server
	runs := func() int { return value[int](h, `SELECT count(*) FROM riverbeat.runs WHERE outcome = 'enqueued'`) }
	before := value[time.Time](h, `SELECT clock_timestamp()`)
	set("+120")
	h.becomes("the clock has jumped", `SELECT clock_timestamp() > $1::timestamptz + interval '100 s'`, before)
	h.becomes("what is due by it has run", `SELECT count(DISTINCT schedule_id) = 40 FROM riverbeat.runs WHERE scheduled_for > $1::timestamptz + interval '121 s'`, before)
	set("+30")
	h.becomes("the clock is back", `SELECT clock_timestamp() < $1::timestamptz + interval '100 s'`, before)
	at := runs()
	time.Sleep(*faultTime / 2)
	if n := runs() - at; n > 40 { // those that were being fired as the clock jumped
		t.Errorf("%d runs of instants that the ledger has had", n)
	}
	set("+120")
	h.becomes("the clock is right again", `SELECT clock_timestamp() > $1::timestamptz + interval '100 s'`, before)
	tr.check("F-43 the database's clock jumps", time.Now())
}

// A backup that is restored knows nothing of what ran after it. What is owed since is
// made up for as the policy says, and who gets a run twice can tell by its id.
func TestARestoredBackupGoesOnAndKeepsTheIDsOfItsRuns(t *testing.T) {
	t.Parallel()
	slots <- struct{}{}
	defer func() { <-slots }()
	tr := newTrial(newHouse(t), 20, 1)
	file := filepath.Join(t.TempDir(), "dump")
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	run("pg_dump", "-Fc", "-f", file, tr.url)
	dumped := value[int](tr.house, `SELECT count(*) FROM riverbeat.runs`)
	tr.becomes("they have run on", `SELECT count(*) > $1 + 60 FROM riverbeat.runs`, dumped)
	if code := tr.schedulers[0].stop(); code != 0 {
		t.Errorf("it exits with %d", code)
	}
	ids := func(h *house) map[string]string {
		t.Helper()
		rows, err := h.pool.Query(t.Context(), `SELECT (substring(metadata->>'riverbeat' FROM 'schedule_id=([^&]*)')) || (substring(metadata->>'riverbeat' FROM 'scheduled_for=([^&]*)')), substring(metadata->>'riverbeat' FROM 'run_id=([^&]*)') FROM river_job`)
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]string{}
		var run, id string
		if _, err := pgx.ForEachRow(rows, []any{&run, &id}, func() error { ids[run] = id; return nil }); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	before := ids(tr.house)

	url := dbtest.Empty(t)
	run("pg_restore", "--no-owner", "-d", url, file)
	restored := &trial{house: &house{t: t, url: url, pool: dbtest.Open(t, url)}, settings: tr.settings, schedules: 20}
	restored.add()
	restored.check("F-30 a backup restored", time.Now())
	again := 0
	for run, id := range ids(restored.house) {
		if first, ok := before[run]; ok && first != id {
			t.Fatalf("%s was %s and is %s", run, first, id)
		} else if ok {
			again++
		}
	}
	if again <= dumped {
		t.Errorf("%d runs are those of before the restore, %d of them from the backup: none ran again", again, dumped)
	}
}

// A scheduler that freezes while it reads a large answer keeps its rows no longer
// than one that freezes between two statements.
func TestASchedulerFrozenInALargeAnswerDelaysItsRowsBySeconds(t *testing.T) {
	t.Parallel()
	slots <- struct{}{}
	defer func() { <-slots }()
	h := newHouse(t)
	direct := *h
	proxy, url := h.behindProxy()
	settings := []string{"RIVERBEAT_ROLES=scheduler", "RIVERBEAT_POLL_INTERVAL=10m", "RIVERBEAT_MIN_SYNC_INTERVAL=0.1"}
	frozen := h.start(append(settings, "DATABASE_URL="+url, "RIVERBEAT_LISTEN_DATABASE_URL="+h.url)...)
	h.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind, job_args)
		SELECT 'n' || n, clock_timestamp() + interval '3 seconds', 'noop', jsonb_build_object('large', repeat('x', 60000)) FROM generate_series(1, 1000) n`)
	h.becomes("all are planned", `SELECT count(*) = 0 FROM riverbeat.cursors WHERE dirty`)
	reading := func() bool {
		return value[bool](&direct, `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'riverbeat-scheduler' AND wait_event = 'ClientWrite'`)
	}
	h.becomes("it is nearly time", `SELECT min(at) < clock_timestamp() + interval '500 ms' FROM riverbeat.schedules`)
	proxy.Freeze()
	for deadline := time.Now().Add(10 * time.Second); !reading(); {
		if time.Now().After(deadline) {
			t.Fatal("no large answer was read")
		}
		proxy.Thaw()
		time.Sleep(time.Millisecond)
		proxy.Freeze()
		time.Sleep(5 * time.Millisecond)
	}
	if err := frozen.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h.start(settings...)
	h.becomes("all have run", `SELECT count(*) = 1000 FROM riverbeat.runs`)
	late := value[float64](h, `SELECT extract(epoch FROM max(created_at - scheduled_for))::float8 FROM riverbeat.runs`)
	t.Logf("F-04 frozen in a large answer: max_late=%.2fs", late)
	if err := frozen.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	h.equals("jobs", 1000, `SELECT count(*) FROM river_job`)
}

// The release's question: two thousand schedules every second over two schedulers,
// one of them killed every 20 s, PostgreSQL restarted once.
func TestSoak(t *testing.T) {
	if *soakTime == 0 {
		t.Skip("make soak runs it: -soak says for how long")
	}
	h, server := ownServer(t)
	tr := newTrial(h, 2000, 2)
	tr.server = server
	begun := time.Now()
	restarted := false
	for n := 0; time.Since(begun) < *soakTime; n++ {
		time.Sleep(min(20*time.Second, *soakTime/4))
		tr.kill(n % 2)
		if !restarted && time.Since(begun) > *soakTime/2 {
			restarted = true
			if err := server.Kill(); err != nil {
				t.Error(err)
			}
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%v of %v: %d runs", time.Since(begun).Round(time.Second), *soakTime, value[int](h, `SELECT count(*) FROM riverbeat.runs`))
	}
	tr.check("soak", time.Now())
}
