package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// testZones are zones whose rules a test may change, by their names.
var testZones sync.Map

func init() {
	schedule.SetZones(func(name string) (*time.Location, error) {
		if zone, ok := testZones.Load(name); ok {
			return zone.(*time.Location), nil
		}
		return time.LoadLocation(name)
	})
}

// zone is a zone of this test, that far ahead of UTC until it is set again.
func (b *bench) zone(ahead time.Duration) string {
	name := "Test/" + b.t.Name()[len(b.t.Name())-min(len(b.t.Name()), 50):]
	testZones.Store(name, time.FixedZone(name, int(ahead.Seconds())))
	return name
}

// run is start for a scheduler with zone data of that version; stop ends it.
func (b *bench) run(zones string, change func(*scheduler.Config)) (s *scheduler.Scheduler, stop func()) {
	b.t.Helper()
	config := scheduler.Config{
		PollInterval: time.Hour, MinSyncInterval: time.Millisecond, Zones: zones,
		Rules: schedule.Rules{MisfireAfter: 10 * time.Second}, Log: dbtest.Log(b.t),
	}
	if change != nil {
		change(&config)
	}
	s = scheduler.New(db.NewStore(b.pool), b.inserter(), config)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error("the scheduler ended: ", err)
		}
	})
	b.t.Cleanup(stop)
	return s, stop
}

// planned brings schedules in, planned by a scheduler with 2025b that has ended.
func (b *bench) planned(sql string, args ...any) {
	b.t.Helper()
	b.exec(sql, args...)
	_, stop := b.run("2025b", nil)
	b.becomes("all is planned", `SELECT count(*) = 0 FROM riverbeat.cursors WHERE dirty`)
	b.replannedBy("2025b")
	stop()
}

func (b *bench) replannedBy(version string) {
	b.t.Helper()
	b.becomes("all is planned by "+version, `SELECT newest = $1 AND replanned = $1 FROM riverbeat.zone_data`, version)
}

// enqueuedOnce checks what must hold of the runs, however they came about.
func (b *bench) enqueuedOnce() {
	b.t.Helper()
	b.equals("runs that came early", 0, `SELECT count(*) FROM riverbeat.runs WHERE created_at < scheduled_for`)
	b.equals("instants with two jobs", 0, `
		SELECT count(*) FROM (SELECT FROM river_job
		GROUP BY substring(metadata->>'riverbeat' FROM 'schedule_id=([^&]*)'), substring(metadata->>'riverbeat' FROM 'scheduled_for=([^&]*)') HAVING count(*) > 1) twice`)
	b.equals("runs without a job, jobs without a run", 0, `
		SELECT count(*) FROM river_job j FULL JOIN (SELECT * FROM riverbeat.runs WHERE outcome = 'enqueued') r ON r.job_id = j.id
		WHERE j.id IS NULL OR r.job_id IS NULL`)
}

const nineInZone = `
INSERT INTO riverbeat.schedules (name, cron, timezone, job_kind)
SELECT 'nine' || n, '0 9 * * *', $1, 'noop' FROM generate_series(1, $2::int) n`

// atHour counts the schedules that run next at that hour of UTC.
const atHour = `
SELECT count(*) FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id
WHERE s.name LIKE 'nine%' AND extract(hour FROM next_run_at AT TIME ZONE 'UTC') = $1 AND fire_at = next_run_at AND NOT dirty`

func TestAStartWithNewerZoneDataMovesWhatMustMoveAndNothingElse(t *testing.T) {
	b := setup(t)
	zone := b.zone(-8 * time.Hour)
	b.exec(nineInZone, zone, 2500)
	b.planned(`INSERT INTO riverbeat.schedules (name, cron, every, at, timezone, paused, job_kind) VALUES
		('minutes', '*/5 * * * *', NULL, NULL, $1, false, 'noop'), ('utc', '0 9 * * *', NULL, NULL, 'UTC', false, 'noop'),
		('elapsed', NULL, '7 h', NULL, $1, false, 'noop'), ('once', NULL, NULL, clock_timestamp() + interval '1 d', $1, false, 'noop'),
		('paused', '0 9 * * *', NULL, NULL, $1, true, 'noop'), ('over', '0 9 * * *', NULL, NULL, $1, false, 'noop'), ('broken', 'x', NULL, NULL, $1, false, 'noop'),
		('due', '0 9 * * *', NULL, NULL, $1, false, 'noop')`, zone)
	b.exec(`UPDATE riverbeat.cursors SET state = 'completed', next_run_at = NULL, fire_at = NULL FROM riverbeat.schedules WHERE id = schedule_id AND name = 'over'`)
	b.exec(`UPDATE riverbeat.cursors SET next_run_at = clock_timestamp(), fire_at = clock_timestamp() FROM riverbeat.schedules WHERE id = schedule_id AND name = 'due'`)
	const others = `
		SELECT string_agg(s.name || c.xmin || c::text, ' ' ORDER BY s.name) FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id
		WHERE s.name NOT LIKE 'nine%' AND s.name NOT IN ('minutes', 'due')`
	due := one[time.Time](b, `SELECT next_run_at FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE name = 'due'`)
	before := one[string](b, others)

	b.zone(-7 * time.Hour)
	b.run("2026f", nil)
	b.replannedBy("2026f")
	b.equals("moved to 09:00 by the newer rules", 2500, atHour, 16)
	b.becomes("the due one has run", `SELECT count(*) = 1 FROM riverbeat.runs WHERE schedule_name = 'due'`)
	if ran := one[time.Time](b, `SELECT scheduled_for FROM riverbeat.runs WHERE schedule_name = 'due'`); !ran.Equal(due) {
		t.Errorf("what was due at %v ran for %v", due, ran)
	}
	if after := one[string](b, others); after != before {
		t.Errorf("the others were\n%s\nand are\n%s", before, after)
	}
	b.equals("runs of what moved", 0, `SELECT count(*) FROM riverbeat.runs WHERE schedule_name LIKE 'nine%'`)
	b.enqueuedOnce()
}

func TestWhatHasPassedByNewerRulesRunsAtOnce(t *testing.T) {
	b := setup(t)
	now := one[time.Time](b, `SELECT clock_timestamp() AT TIME ZONE 'UTC'`)
	zone := b.zone(0)
	// An hour from now by the old rules; an hour and a half before by the new.
	soon := now.Add(time.Hour)
	b.planned(`INSERT INTO riverbeat.schedules (name, cron, timezone, job_kind) VALUES ('soon', $1, $2, 'noop')`, fmt.Sprintf("%d %d * * *", soon.Minute(), soon.Hour()), zone)
	b.exec(`UPDATE riverbeat.cursors SET changed_at = changed_at - interval '10 h'`)
	b.zone(150 * time.Minute)
	b.run("2026f", nil)
	b.becomes("it has run", `SELECT count(*) = 1 FROM riverbeat.runs WHERE reason = 'catch_up' AND outcome = 'enqueued'`)
	b.becomes("and goes on a day later", `SELECT next_run_at = scheduled_for + interval '1 d' FROM riverbeat.cursors, riverbeat.runs`)
	b.enqueuedOnce()
}

func TestOneWithOlderZoneDataMarksWhatItPlansAndDoesNotSpin(t *testing.T) {
	b := setup(t)
	zone := b.zone(-8 * time.Hour)
	b.exec(`UPDATE riverbeat.zone_data SET newest = '2026f', replanned = '2026f'`)
	registry := prometheus.NewRegistry()
	s, _ := b.run("2025b", func(c *scheduler.Config) { c.Metrics = scheduler.NewMetrics(registry) })
	b.exec(nineInZone, zone, 1200)
	b.exec(`INSERT INTO riverbeat.schedules (name, cron, timezone, job_kind) VALUES ('often', '* * * * * *', $1, 'noop'), ('utc', '* * * * * *', 'UTC', 'noop')`, zone)
	s.Notify(schedule.Change{}, schedule.PathNotify)
	b.becomes("all have a next run, and all that depend on the zone are marked", `
		SELECT count(*) FILTER (WHERE dirty AND next_run_at IS NOT NULL) = 1201 AND count(*) FILTER (WHERE NOT dirty) = 1
		FROM riverbeat.cursors`)
	b.becomes("what is marked runs", `SELECT count(*) >= 4 FROM riverbeat.runs WHERE schedule_name = 'often'`)
	b.becomes("and stays marked", `SELECT dirty FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE name = 'often'`)
	if n := syncs(t, registry); n > 6 { // at the start, for the hint, and perhaps for some that came meanwhile
		t.Errorf("it looked %d times for what is dirty", n)
	}
	if got := figure(t, registry, "riverbeat_tzdata_outdated"); got != 1 {
		t.Errorf("riverbeat_tzdata_outdated is %v", got)
	}
	b.equals("moved by older rules", 1, `SELECT count(*) FROM riverbeat.zone_data WHERE newest = '2026f' AND replanned = '2026f'`)

	// A newer one takes them up at its first look.
	b.zone(-7 * time.Hour)
	b.run("2026f", nil)
	b.becomes("all that waited are planned by the newer rules", `SELECT count(*) = 1200 FROM (`+strings.Replace(atHour, "count(*)", "", 1)+`) n`, 16)
	b.enqueuedOnce()
}

func syncs(t *testing.T, registry *prometheus.Registry) (n uint64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "riverbeat_sync_duration_seconds" {
			for _, metric := range family.GetMetric() {
				n += metric.GetHistogram().GetSampleCount()
			}
		}
	}
	return n
}

// figure is the value of a gauge or counter without labels.
func figure(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue() + family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("there is no ", name)
	return 0
}

func TestAPolicyEditWhoseRowWaitsForNewerDataIsInForceWhenItIsDue(t *testing.T) {
	b := setup(t)
	zone := b.zone(0)
	b.exec(`UPDATE riverbeat.zone_data SET newest = '2026f', replanned = '2026f'`)
	s, _ := b.run("2025b", nil)
	b.exec(`INSERT INTO riverbeat.schedules (name, cron, timezone, job_kind) VALUES ('often', '* * * * * *', $1, 'noop')`, zone)
	s.Notify(b.change("often"), schedule.PathNotify)
	b.becomes("it runs", `SELECT count(*) >= 1 FROM riverbeat.runs`)
	b.exec(`UPDATE riverbeat.schedules SET overlap = 'skip'`)
	b.becomes("one is skipped", `SELECT count(*) > 0 FROM riverbeat.runs WHERE outcome = 'skipped' AND why = 'overlap'`)
}

var errCrash = errors.New("crashed")

func TestACrashInTheMiddleIsRepairedByTheNextStart(t *testing.T) {
	b := setup(t)
	b.planned(nineInZone, b.zone(-8*time.Hour), 2500)
	b.zone(-7 * time.Hour)
	tries, moved := 0, 0
	r := &scheduler.Replanner{
		Store: db.NewStore(b.pool), Zones: "2026f", Moved: func(scheduler.Move) { moved++ },
		Try: func(_ context.Context, do func() error) error {
			if tries++; tries > 2 { // the beginning, one batch, and no more
				return errCrash
			}
			return do()
		},
	}
	if needed, err := r.Begin(t.Context()); err != nil || !needed {
		t.Fatal(needed, err)
	}
	if err := r.Run(t.Context()); !errors.Is(err, errCrash) || moved != 1000 || r.Counted != 1000 {
		t.Fatalf("%v after %d of %d", err, moved, r.Counted)
	}
	b.equals("moved before the crash", 1000, atHour, 16)
	b.equals("versions that are through", 1, `SELECT count(*) FROM riverbeat.zone_data WHERE newest = '2026f' AND replanned = '2025b'`)

	registry := prometheus.NewRegistry()
	_, stop := b.run("2026f", func(c *scheduler.Config) { c.Metrics = scheduler.NewMetrics(registry) })
	b.replannedBy("2026f")
	b.equals("moved by then", 2500, atHour, 16)
	if got := figure(t, registry, "riverbeat_replanned_total"); got != 1500 {
		t.Errorf("the second start has moved %v", got)
	}
	stop()

	// A third finds nothing to do.
	written := one[string](b, `SELECT max(xmin::text::bigint)::text FROM riverbeat.cursors`)
	r = &scheduler.Replanner{Store: db.NewStore(b.pool), Zones: "2026f", Try: func(_ context.Context, do func() error) error { return do() }}
	if needed, err := r.Begin(t.Context()); err != nil || needed {
		t.Error("it is needed again: ", err)
	}
	if err := r.Run(t.Context()); err != nil || r.Counted != 2500 {
		t.Errorf("%v after %d", err, r.Counted)
	}
	if again := one[string](b, `SELECT max(xmin::text::bigint)::text FROM riverbeat.cursors`); again != written {
		t.Error("cursors that stand right were written")
	}
}

func TestOlderZoneDataAreRefusedAtEachStep(t *testing.T) {
	b := setup(t)
	b.planned(nineInZone, b.zone(-8*time.Hour), 10)
	b.zone(-7 * time.Hour)
	older := func() *scheduler.Replanner {
		return &scheduler.Replanner{Store: db.NewStore(b.pool), Zones: "2025c", Moved: func(scheduler.Move) { t.Error("it moved one") },
			Try: func(_ context.Context, do func() error) error { return do() }}
	}
	b.exec(`UPDATE riverbeat.zone_data SET newest = '2026f'`)
	_, began := older().Begin(t.Context())
	for doing, err := range map[string]error{"begin": began, "run": older().Run(t.Context())} {
		var outdated *scheduler.OutdatedError
		if !errors.As(err, &outdated) || *outdated != (scheduler.OutdatedError{Own: "2025c", Newest: "2026f"}) {
			t.Errorf("%s: %v", doing, err)
		}
	}
	b.equals("moved", 10, atHour, 17)
}

func TestARowThatSomebodyHoldsIsWaitedForAndNotMissed(t *testing.T) {
	b := setup(t)
	b.planned(nineInZone, b.zone(-8*time.Hour), 20)
	ctx := context.Background()
	tx, err := b.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, `SELECT FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE name IN ('nine3', 'nine7') FOR UPDATE OF c`); err != nil {
		t.Fatal(err)
	}
	b.zone(-7 * time.Hour)
	b.run("2026f", nil)
	b.becomes("the free ones have moved", `SELECT count(*) = 18 FROM (`+strings.Replace(atHour, "count(*)", "", 1)+`) n`, 16)
	b.becomes("the held one is waited for", `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)
	b.equals("versions that are through", 0, `SELECT count(*) FROM riverbeat.zone_data WHERE replanned = '2026f'`)
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	b.replannedBy("2026f")
	b.equals("moved", 20, atHour, 16)
}

// Every two seconds, at even seconds by the old rules and at odd ones by the new.
func TestReplanningAmongDispatchesAndEditsLosesAndDoublesNothing(t *testing.T) {
	b := setup(t)
	zone := b.zone(0)
	for range 2 {
		b.run("2025b", func(c *scheduler.Config) { c.PollInterval = 200 * time.Millisecond })
	}
	b.exec(`INSERT INTO riverbeat.schedules (name, cron, timezone, job_kind)
		SELECT 'left' || n, '*/2 * * * * *', $1, 'noop' FROM generate_series(1, 100) n`, zone)
	b.exec(`INSERT INTO riverbeat.schedules (name, cron, timezone, job_kind)
		SELECT 'edited' || n, '*/2 * * * * *', $1, 'noop' FROM generate_series(1, 50) n`, zone)
	b.becomes("each has run", `SELECT count(DISTINCT schedule_id) = 150 FROM riverbeat.runs`)

	editing, ended := context.WithCancel(context.Background())
	var edits sync.WaitGroup
	edits.Go(func() {
		for n := 0; editing.Err() == nil; n++ {
			b.exec(`UPDATE riverbeat.schedules SET cron = CASE cron WHEN '*/2 * * * * *' THEN '*/3 * * * * *' ELSE '*/2 * * * * *' END,
				paused = $1::int % 5 = 0 WHERE name = 'edited' || (1 + $1::int % 50)`, n)
			b.exec(`UPDATE riverbeat.schedules SET misfire_limit = 1 + $1::int % 9 WHERE name = 'left' || (1 + $1::int % 100)`, n)
		}
	})
	b.zone(time.Second)
	b.run("2026f", func(c *scheduler.Config) { c.PollInterval = 200 * time.Millisecond })
	b.replannedBy("2026f")
	through := one[time.Time](b, `SELECT clock_timestamp()`)
	b.becomes("each goes on by the newer rules", `
		SELECT count(DISTINCT schedule_id) = 100 FROM riverbeat.runs WHERE schedule_name LIKE 'left%' AND scheduled_for > $1::timestamptz + interval '3 s'`, through)
	ended()
	edits.Wait()
	b.enqueuedOnce()
	b.equals("runs by the old rules afterwards", 0, `
		SELECT count(*) FROM riverbeat.runs
		WHERE schedule_name LIKE 'left%' AND scheduled_for > $1::timestamptz + interval '2 s' AND extract(second FROM scheduled_for)::int % 2 = 0`, through)
	b.equals("instants left out", 0, `
		SELECT count(*) FROM (
			SELECT scheduled_for - lag(scheduled_for) OVER (PARTITION BY schedule_id ORDER BY scheduled_for) AS gap
			FROM riverbeat.runs WHERE schedule_name LIKE 'left%') gaps
		WHERE gap > interval '3 s' OR gap < interval '1 s'`)
}
