package scheduler_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/jobs"
)

// watch is a bench that somebody watches for trouble.
type watch struct {
	*bench
	jobs *jobs.Inserter
	told int64 // the last job that told of something
}

func setupWatch(t *testing.T) *watch {
	b := setup(t)
	return &watch{bench: b, jobs: b.inserter()}
}

// alert has these troubles of schedules with the labels told.
func (w *watch) alert(name, on, labels string) {
	w.t.Helper()
	w.exec(`INSERT INTO riverbeat.alerts (name, troubles, labels, webhook) VALUES ($1, $2, $3, '{"url": "https://example.com"}')`, name, on, labels)
}

// lookout is a new one, as after a restart.
func (w *watch) lookout() *scheduler.Lookout {
	return &scheduler.Lookout{Store: db.NewStore(w.pool), Notifier: w.jobs, Log: dbtest.Log(w.t)}
}

// look looks until there is nothing more, and is what was told by it: type and names.
func (w *watch) look() (told []string) {
	w.t.Helper()
	for more := true; more; {
		var err error
		if more, err = w.lookout().Look(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.tells()
}

// tells is what was told since it was last asked.
func (w *watch) tells() (told []string) {
	w.t.Helper()
	rows, err := w.pool.Query(w.t.Context(), `
SELECT id, args #>> '{body,data,alert}' || ' ' || (args #>> '{body,type}') || ' ' ||
       (SELECT string_agg(s ->> 'schedule_name', ',' ORDER BY s ->> 'schedule_name') FROM jsonb_array_elements(args #> '{body,data,schedules}') s)
FROM river_job WHERE queue = 'riverbeat_alerts' AND id > $1 ORDER BY id`, w.told)
	if err != nil {
		w.t.Fatal(err)
	}
	var text string
	_, err = pgx.ForEachRow(rows, []any{&w.told, &text}, func() error {
		told = append(told, text)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return told
}

func (w *watch) tellsOnly(when string, got []string, want ...string) {
	w.t.Helper()
	if !slices.Equal(got, want) {
		w.t.Errorf("%s it tells %q, want %q", when, got, want)
	}
}

// schedule is a new one that doesn't run by itself.
func (w *watch) schedule(name, labels string) *schedule.Schedule {
	w.t.Helper()
	s := schedule.New()
	s.Name, s.Job.Kind = name, "noop"
	s.ID = one[[16]byte](w.bench, `INSERT INTO riverbeat.schedules (name, at, job_kind, labels) VALUES ($1, '2100-01-01Z', 'noop', $2) RETURNING id`, name, labels)
	w.exec(`UPDATE riverbeat.cursors SET dirty = false`)
	return &s
}

// run enqueues a run whose job ends in this state.
func (w *watch) run(s *schedule.Schedule, state, lastError string) {
	w.t.Helper()
	var ids []int64
	err := pgx.BeginFunc(w.t.Context(), w.pool, func(tx pgx.Tx) (err error) {
		ids, err = w.jobs.Insert(w.t.Context(), tx, []schedule.Enqueue{{Schedule: s, ScheduledFor: time.Now(), Reason: schedule.ReasonSchedule}})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.exec(`UPDATE river_job SET state = $2, finalized_at = clock_timestamp(), errors = CASE WHEN $3 <> '' THEN ARRAY[jsonb_build_object('error', $3::text)] END WHERE id = $1`,
		ids[0], state, lastError)
}

func TestAHundredFailuresAreOneAlertAndSoIsRecovery(t *testing.T) {
	w := setupWatch(t)
	w.alert("a", "{failed}", "{}")
	s := w.schedule("s", "{}")
	w.run(s, "completed", "")
	w.tellsOnly("after a success", w.look())
	for i := range 100 {
		w.run(s, "discarded", "it broke")
		if i == 50 {
			w.tellsOnly("after 50 failures", w.look(), "a schedule.failed s")
		}
	}
	w.tellsOnly("after 100", w.look())
	w.tellsOnly("after a restart", w.look())
	w.run(s, "completed", "")
	w.run(s, "completed", "")
	w.tellsOnly("after two successes", w.look(), "a schedule.recovered s")
	w.tellsOnly("a moment later", w.look())
	for range 10 {
		w.run(s, "discarded", "")
	}
	w.tellsOnly("failing again", w.look(), "a schedule.failed s")
	// All of it between two looks.
	w.run(s, "completed", "")
	w.run(s, "discarded", "")
	w.run(s, "discarded", "")
	w.run(s, "completed", "")
	w.tellsOnly("after ups and downs", w.look(), "a schedule.recovered s", "a schedule.failed s", "a schedule.recovered s")
	w.equals("runs that were told of as runs of a schedule", 0, `SELECT count(*) FROM river_job WHERE queue = 'riverbeat_alerts' AND metadata ->> 'riverbeat' LIKE '%schedule_id=%'`)
	first := one[string](w.bench, `SELECT args #>> '{body,data,schedules,0}' FROM river_job WHERE queue = 'riverbeat_alerts' ORDER BY id LIMIT 1`)
	for _, want := range []string{`"schedule_id": "` + s.ID.String(), `"reason": "it broke"`, `"run_id": "`, `"scheduled_for": "`, `"job_id": "`, `"since": "`} {
		if !strings.Contains(first, want) {
			t.Errorf("the alert says %s, without %s", first, want)
		}
	}
}

func TestOnlyWhatAWorkerGaveUpHasFailed(t *testing.T) {
	w := setupWatch(t)
	w.alert("a", "{failed}", "{}")
	for name, end := range map[string][2]string{
		"cancelled by somebody":       {"cancelled", ""},
		"cancelled while it ran":      {"cancelled", "JobCancelError: job cancelled remotely"},
		"cancelled while it waited":   {"cancelled", "it broke"},
		"given up by its worker":      {"cancelled", "JobCancelError: the webhook was answered with 404 Not Found"},
		"discarded after its retries": {"discarded", "it broke"},
	} {
		w.run(w.schedule(name, "{}"), end[0], end[1])
	}
	w.exec(`INSERT INTO river_job (kind, args, state, finalized_at, max_attempts, metadata) VALUES ('foreign', '{}', 'discarded', now(), 1, '{"riverbeat": {"schedule_id": "nonsense"}}'), ('foreign', '{}', 'discarded', now(), 1, '[]')`)
	w.tellsOnly("after that", w.look(), "a schedule.failed discarded after its retries,given up by its worker")
}

func TestAnAlertIsToldOfWhatItIsAbout(t *testing.T) {
	w := setupWatch(t)
	w.alert("all", "{failed,missed,invalid}", "{}")
	w.alert("growth", "{failed}", `{"team": "growth"}`)
	w.alert("missed", "{missed}", "{}")
	w.exec(`INSERT INTO riverbeat.alerts (namespace, name, webhook) VALUES ('other', 'other', '{"url": "https://example.com"}')`)
	w.run(w.schedule("a", `{"team": "growth", "x": "y"}`), "discarded", "")
	w.run(w.schedule("b", `{"team": "other"}`), "discarded", "")
	w.tellsOnly("after two failures", w.look(), "all schedule.failed a,b", "growth schedule.failed a")
	// Nobody wants to know any more, and then somebody does again: not of the past.
	w.exec(`DELETE FROM riverbeat.alerts`)
	w.tellsOnly("without alerts", w.look())
	w.equals("troubles that are remembered", 0, `SELECT count(*) FROM riverbeat.troubles`)
	w.exec(`UPDATE river_job SET finalized_at = finalized_at - interval '1 hour' WHERE finalized_at IS NOT NULL`)
	w.alert("late", "{failed}", "{}")
	w.tellsOnly("for a new alert", w.look())
}

func TestMissedRunsAreToldOnceAndSoIsTheNextThatIsEnqueued(t *testing.T) {
	w := setupWatch(t)
	w.alert("a", "{missed}", "{}")
	w.exec(`INSERT INTO riverbeat.schedules (name, every, start_at, job_kind) SELECT name, '1 hour', date_trunc('hour', now()) - interval '1 day', 'noop' FROM unnest('{s,paused}'::text[]) AS name`)
	w.start(nil, nil)
	w.becomes("both are planned", `SELECT count(*) = 2 FROM riverbeat.cursors WHERE fire_at IS NOT NULL`)
	w.tellsOnly("before", w.look())
	w.exec(`UPDATE riverbeat.cursors SET next_run_at = now() - interval '5 hours' WHERE schedule_id = (SELECT id FROM riverbeat.schedules WHERE name = 'paused')`)
	w.exec(`UPDATE riverbeat.schedules SET paused = true WHERE name = 'paused'`)
	w.equals("runs that the pause made missed", 1, `SELECT count(*) FROM riverbeat.runs WHERE why = 'paused'`)
	w.tellsOnly("after a pause", w.look())
	// An outage: five are owed, of which the misfire policy runs the last.
	w.exec(`UPDATE riverbeat.cursors SET next_run_at = date_trunc('hour', now()) - interval '5 hours', fire_at = date_trunc('hour', now()) - interval '5 hours' WHERE fire_at IS NOT NULL`)
	w.start(nil, nil)
	w.becomes("the outage is recorded", `SELECT count(*) = 1 FROM riverbeat.runs WHERE why = 'misfire'`)
	w.tellsOnly("after an outage", w.look(), "a schedule.missed s")
	w.tellsOnly("a moment later", w.look())
	w.exec(`UPDATE riverbeat.cursors SET next_run_at = now(), fire_at = now() WHERE fire_at IS NOT NULL`)
	w.start(nil, nil)
	w.becomes("the next run is enqueued", `SELECT count(*) = 2 FROM riverbeat.runs WHERE outcome = 'enqueued'`)
	w.tellsOnly("after the next run", w.look(), "a schedule.recovered s")
	w.tellsOnly("a moment later", w.look())
}

func TestAScheduleThatIsSetAsideIsToldOnceAndSoIsItsMending(t *testing.T) {
	w := setupWatch(t)
	w.alert("a", "{invalid}", "{}")
	w.exec(`INSERT INTO riverbeat.schedules (name, cron, job_kind) VALUES ('s', 'nonsense', 'noop'), ('gone', 'nonsense', 'noop')`)
	w.start(nil, nil)
	w.becomes("they are set aside", `SELECT count(*) = 2 FROM riverbeat.cursors WHERE state = 'invalid'`)
	w.tellsOnly("then", w.look(), "a schedule.invalid gone,s")
	w.tellsOnly("a moment later", w.look())
	w.exec(`DELETE FROM riverbeat.schedules WHERE name = 'gone'`)
	w.exec(`UPDATE riverbeat.schedules SET cron = '@daily'`)
	w.start(nil, nil)
	w.becomes("it is mended", `SELECT state = 'active' FROM riverbeat.cursors`)
	w.tellsOnly("then", w.look(), "a schedule.recovered s")
	w.tellsOnly("a moment later", w.look())
	w.equals("troubles", 0, `SELECT count(*) FROM riverbeat.troubles WHERE since IS NOT NULL`)
}

func TestTwoThatLookTellOnceOfTroubleThatManyAreIn(t *testing.T) {
	w := setupWatch(t)
	w.alert("a", "{failed}", "{}")
	var all []*schedule.Schedule
	for i := range 250 {
		all = append(all, w.schedule(fmt.Sprintf("n%03d", i), "{}"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range 2 {
		l := w.lookout()
		l.Every = 2 * time.Millisecond
		running.Go(func() {
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	told := map[string]int{}
	count := func() {
		for _, text := range w.tells() {
			alert, names, _ := strings.Cut(text, " schedule.")
			kind, names, _ := strings.Cut(names, " ")
			for name := range strings.SplitSeq(names, ",") {
				told[alert+" "+kind+" "+name]++
			}
		}
	}
	for _, state := range []string{"discarded", "discarded", "completed", "discarded"} {
		for _, s := range all {
			w.run(s, state, "")
		}
		want := "since IS NOT NULL"
		if state == "completed" {
			want = "since IS NULL"
		}
		w.becomes("all are "+state, `SELECT count(*) = 250 FROM riverbeat.troubles WHERE `+want)
	}
	cancel()
	running.Wait()
	count()
	for _, s := range all {
		if told["a failed "+s.Name] != 2 || told["a recovered "+s.Name] != 1 {
			t.Errorf("of %s it was told %d times that it failed, %d times that it recovered", s.Name, told["a failed "+s.Name], told["a recovered "+s.Name])
		}
	}
	w.equals("notices of more schedules than one may name", 0, `SELECT count(*) FROM river_job WHERE jsonb_array_length(coalesce(args #> '{body,data,schedules}', '[]')) > 100`)
}

func TestMoreThanOneLookReadsIsReadInOrder(t *testing.T) {
	w := setupWatch(t)
	w.alert("a", "{failed}", "{}")
	s := w.schedule("s", "{}")
	id := s.ID.String()
	// 5,000 at a handful of instants, then success among failures of others.
	w.exec(`
INSERT INTO river_job (kind, args, state, finalized_at, max_attempts, metadata)
SELECT 'noop', '{}', CASE WHEN n % 3 = 0 THEN 'cancelled' WHEN n = 4999 THEN 'completed' ELSE 'discarded' END::river_job_state,
       date_trunc('second', now()) - interval '20 seconds' + (n / 500) * interval '1 second', 1,
       jsonb_build_object('riverbeat', 'schedule_id=' || $1::text)
FROM generate_series(1, 5000) AS n`, id)
	w.exec(`
INSERT INTO river_job (kind, args, state, finalized_at, max_attempts, metadata)
SELECT 'noop', '{}', 'completed', now() - interval '15 seconds', 1, '{}' FROM generate_series(1, 25000)`)
	begun := time.Now()
	told := w.look()
	t.Log("30,000 jobs were looked at in ", time.Since(begun))
	w.tellsOnly("after all of it", told, "a schedule.failed s", "a schedule.recovered s", "a schedule.failed s")
	w.tellsOnly("a moment later", w.look())
}
