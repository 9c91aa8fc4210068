package jobs

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

func TestARunBecomesAJobThatKnowsItsRun(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	s := aSchedule("report", `{"n": 12345678901234567890123, "text": "<é & \"ü\">"}`)
	s.Job.Queue, s.Job.Priority, s.Job.MaxAttempts, s.Job.Tags = "reports", 3, 7, []string{"finance"}
	id := insert(t, pool, s)

	var (
		state, kind, queue, args, metadata string
		priority, maxAttempts              int
		tags                               []string
		late                               bool
	)
	err := pool.QueryRow(t.Context(), `
SELECT state, kind, queue, args::text, metadata::text, priority, max_attempts, tags, scheduled_at > created_at
FROM river_job WHERE id = $1`, id).Scan(&state, &kind, &queue, &args, &metadata, &priority, &maxAttempts, &tags, &late)
	if err != nil {
		t.Fatal(err)
	}
	if state != "available" || late {
		t.Errorf("the job is %s, late: %v; want it available at once", state, late)
	}
	if kind != "report" || queue != "reports" || priority != 3 || maxAttempts != 7 {
		t.Errorf("got kind %s, queue %s, priority %d, max_attempts %d", kind, queue, priority, maxAttempts)
	}
	if want := `{"n": 12345678901234567890123, "text": "<é & \"ü\">"}`; args != want {
		t.Errorf("args are %s, want %s", args, want)
	}
	if diff := cmp.Diff([]string{"finance", "schedule_" + s.ID.String()}, tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"finance"}, s.Job.Tags); diff != "" {
		t.Errorf("the schedule's own tags changed (-want +got):\n%s", diff)
	}
	want := `{"riverbeat": "run_id=` + schedule.RunID(s.ID, noon).String() + `&schedule_id=` + s.ID.String() +
		`&schedule_name=nightly&namespace=default&scheduled_for=2026-11-24T12:00:00Z&reason=schedule&version=3"}`
	if diff := cmp.Diff(want, metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
}

func TestIDsComeInTheOrderOfTheRuns(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	inserter, err := NewInserter(pool)
	if err != nil {
		t.Fatal(err)
	}
	tokyo := time.FixedZone("", 9*3600)
	var runs []schedule.Enqueue
	for n := range 500 {
		s := aSchedule("report", `{}`)
		s.Job.Priority = n%4 + 1
		runs = append(runs, schedule.Enqueue{Schedule: s, ScheduledFor: noon.Add(time.Duration(n) * time.Microsecond).In(tokyo), Reason: schedule.ReasonCatchUp})
	}
	var ids []int64
	err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
		ids, err = inserter.Insert(t.Context(), tx, runs)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(ids) != len(runs) || !slices.IsSorted(ids) {
		t.Fatalf("got %d ids, sorted: %v", len(ids), slices.IsSorted(ids))
	}
	rows, err := pool.Query(t.Context(), `SELECT substring(metadata->>'riverbeat' FROM 'run_id=([^&]*)') FROM river_job WHERE id = ANY($1) ORDER BY id`, ids)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for n, run := range runs {
		if want := schedule.RunID(run.Schedule.ID, run.ScheduledFor).String(); got[n] != want {
			t.Fatalf("job %d of %d belongs to run %s, want %s", n, len(runs), got[n], want)
		}
	}
}

func TestJobsGoWithTheTransaction(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	inserter, err := NewInserter(pool)
	if err != nil {
		t.Fatal(err)
	}
	changedMind := errors.New("changed my mind")
	err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := inserter.Insert(t.Context(), tx, []schedule.Enqueue{{Schedule: aSchedule("report", `{}`), ScheduledFor: noon}}); err != nil {
			return err
		}
		if ids, err := inserter.Insert(t.Context(), tx, nil); err != nil || len(ids) != 0 {
			t.Errorf("inserting no runs gave %v, %v", ids, err)
		}
		return changedMind
	})
	if !errors.Is(err, changedMind) {
		t.Fatal(err)
	}
	var n int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM river_job`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d jobs are there after a rollback, err %v", n, err)
	}
}

func TestOneRefusedJobFailsItsBatch(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	inserter, err := NewInserter(pool)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*schedule.Schedule){
		"arguments that aren't JSON": func(s *schedule.Schedule) { s.Job.Args = json.RawMessage(`{`) },
		"a NUL in the arguments":     func(s *schedule.Schedule) { s.Job.Args = json.RawMessage(`{"a": "\u0000"}`) },
		"a queue that River refuses": func(s *schedule.Schedule) { s.Job.Queue = "No Queue" },
		"a tag that River refuses":   func(s *schedule.Schedule) { s.Job.Tags = []string{"no tag"} },
		"an empty kind":              func(s *schedule.Schedule) { s.Job.Kind = "" },
		"a kind that is too long":    func(s *schedule.Schedule) { s.Job.Kind = strings.Repeat("k", 128) },
	} {
		good, bad := aSchedule("report", `{}`), aSchedule("report", `{}`)
		spoil(bad)
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := inserter.Insert(t.Context(), tx, []schedule.Enqueue{
				{Schedule: good, ScheduledFor: noon}, {Schedule: bad, ScheduledFor: noon}})
			return err
		})
		if err == nil {
			t.Errorf("%s: was inserted", name)
		}
	}
}
