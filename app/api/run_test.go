package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

func TestRunNowEnqueuesAJobBesideTheSchedulesOwn(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, `{"name": "n", "namespace": "growth", "spec": {"cron": "0 3 * * *"}, "job": {"kind": "report", "args": {"n": 12345678901234567890},
		"queue": "reports", "priority": 2, "max_attempts": 3, "tags": ["night"]}}`)
	f.announced()
	cursor := func() string {
		return query[string](t, f, `SELECT c::text FROM riverbeat.cursors c WHERE schedule_id = $1`, o.text("id"))
	}
	before := cursor()
	run := f.do(t, "POST", path(o)+"/run", "").want(t, http.StatusAccepted).object(t)
	equal(t, "the cursor", cursor(), before)
	equal(t, "the schedule", f.get(t, o.text("id")), o)
	equal(t, "announced", len(f.announced()), 0)

	scheduledFor := run.time(t, "scheduled_for")
	if time.Since(scheduledFor).Abs() > time.Minute {
		t.Errorf("scheduled for %v", scheduledFor)
	}
	runID := schedule.RunID(parseID(t, o.text("id")), scheduledFor).String()
	equal(t, "the run", run, object{
		"id": runID, "schedule_id": o["id"], "schedule_name": "n", "namespace": "growth", "scheduled_for": run["scheduled_for"],
		"reason": "manual", "outcome": "enqueued", "why": "", "job_id": run["job_id"], "args_overridden": false, "until": nil,
		"job": map[string]any{
			"state": "available", "attempt": json.Number("0"), "max_attempts": json.Number("3"), "attempted_at": nil, "finalized_at": nil,
			"duration_seconds": nil, "error": "", "output_status": nil,
		}, "count": json.Number("1"), "created_at": run["scheduled_for"],
	})
	job := query[string](t, f, `
SELECT jsonb_build_object('kind', kind, 'args', args, 'queue', queue, 'priority', priority, 'max_attempts', max_attempts, 'tags', tags,
                          'state', state, 'run', metadata->'riverbeat')::text
FROM river_job WHERE id = $1::text::bigint`, run.text("job_id"))
	equal(t, "the job", (&reply{text: job}).object(t), object{
		"kind": "report", "args": map[string]any{"n": json.Number("12345678901234567890")}, "queue": "reports", "priority": json.Number("2"),
		"max_attempts": json.Number("3"), "tags": []any{"night", "schedule_" + o.text("id")}, "state": "available",
		"run": "run_id=" + runID + "&schedule_id=" + o.text("id") + "&schedule_name=n&namespace=growth&scheduled_for=" + run.text("scheduled_for") +
			"&reason=manual&version=1",
	})
	equal(t, "the ledger", f.do(t, "GET", path(o)+"/runs", "").want(t, http.StatusOK).object(t).list("runs"), []object{run})
}

func TestRunNowPassesOverTheOverlapPolicyUnlessAsked(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, overlap := range []string{"allow", "skip", "queue_one"} {
		o := f.create(t, fmt.Sprintf(`{"name": %q, "spec": {"cron": "0 3 * * *"}, "job": {"kind": "report"}, "overlap": %q}`, overlap, overlap))
		equal(t, "overlap", f.get(t, o.text("id")).text("overlap"), overlap)
		respect := func() *reply { return f.do(t, "POST", path(o)+"/run", `{"respect_overlap": true}`) }
		first := respect().want(t, http.StatusAccepted).object(t)
		last := f.do(t, "POST", path(o)+"/run", `{}`).want(t, http.StatusAccepted).object(t)
		f.exec(t, `UPDATE river_job SET state = 'completed', finalized_at = now() WHERE id = $1::text::bigint`, first.text("job_id"))
		if overlap == "allow" {
			respect().want(t, http.StatusAccepted)
			continue
		}
		blocked := respect().refused(t, http.StatusConflict)
		if want := "The job of the last run, " + last.text("job_id") + ", isn't finished"; !strings.Contains(blocked.Detail, want) {
			t.Errorf("the answer says %q", blocked.Detail)
		}
		equal(t, "runs", len(f.do(t, "GET", path(o)+"/runs", "").want(t, http.StatusOK).object(t).list("runs")), 2)
		f.exec(t, `UPDATE river_job SET state = 'completed', finalized_at = now() WHERE id = $1::text::bigint`, last.text("job_id"))
		respect().want(t, http.StatusAccepted)
	}
	f.do(t, "POST", "/v1/schedules/name:allow/run", `{"respect": true}`).refused(t, http.StatusUnprocessableEntity, "respect")
	f.do(t, "POST", "/v1/schedules/name:allow/run", `{"respect_overlap": 1}`).refused(t, http.StatusUnprocessableEntity, "respect_overlap")
}

func TestRunNowIsAllowedWhenPausedAndCompletedButNotWhenInvalid(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for state, statement := range map[string]string{
		"paused":    `UPDATE riverbeat.schedules SET paused = true WHERE id = $1`,
		"completed": `UPDATE riverbeat.cursors SET state = 'completed', next_run_at = NULL, fire_at = NULL WHERE schedule_id = $1`,
		"invalid":   `UPDATE riverbeat.cursors SET state = 'invalid', state_reason = 'spec.cron is odd' WHERE schedule_id = $1`,
	} {
		o := f.create(t, minimal(state, ""))
		f.exec(t, statement, o.text("id"))
		equal(t, "state", f.get(t, o.text("id")).text("state"), state)
		if state != "invalid" {
			f.do(t, "POST", path(o)+"/run", "").want(t, http.StatusAccepted)
			equal(t, "state afterwards", f.get(t, o.text("id")).text("state"), state)
			continue
		}
		equal(t, "state_reason", f.get(t, o.text("id")).text("state_reason"), "spec.cron is odd")
		stored := f.stored(t)
		f.do(t, "POST", path(o)+"/run", "").refused(t, http.StatusConflict)
		equal(t, "stored", f.stored(t), stored)
	}
	// Args that the table takes, and so River, though the API would not.
	f.exec(t, `INSERT INTO riverbeat.schedules (name, every, job_kind, job_args) VALUES ('large', '1h', 'report', jsonb_build_object('a', repeat('x', 70000)))`)
	f.do(t, "POST", "/v1/schedules/name:large/run", "").want(t, http.StatusAccepted)
}

func TestFiftyAtOnceAreFiftyRuns(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	var wg sync.WaitGroup
	ids := make([]string, 50)
	for i := range ids {
		wg.Go(func() {
			answer := f.do(t, "POST", path(o)+"/run", "")
			if answer.status != http.StatusAccepted {
				t.Errorf("the status is %d: %s", answer.status, answer.text)
				return
			}
			ids[i] = answer.object(t).text("job_id")
		})
	}
	wg.Wait()
	slices.Sort(ids)
	equal(t, "jobs", len(slices.Compact(ids)), 50)
	equal(t, "jobs of River", query[int](t, f, `SELECT count(*) FROM river_job WHERE $1 = ANY(tags)`, "schedule_"+o.text("id")), 50)
	equal(t, "the ledger", query[int](t, f, `SELECT count(DISTINCT job_id) FROM riverbeat.runs WHERE schedule_id = $1`, o.text("id")), 50)
	equal(t, "run_count", f.get(t, o.text("id")).number(t, "run_count"), 0)
}

func TestRunsAreReadNewestFirstPageByPage(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	other := f.create(t, minimal("other", ""))
	f.do(t, "POST", path(other)+"/run", "").want(t, http.StatusAccepted)
	f.exec(t, `
INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, job_id, count, created_at)
SELECT $1, timestamptz '2026-01-01T00:00:00Z' + n * interval '1 microsecond', 'default', 'n', 'schedule', 'enqueued', n, 1, '2026-01-02'
FROM generate_series(1, 11) n`, o.text("id"))
	f.exec(t, `
INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, until, count, created_at)
VALUES ($1, '2025-01-01', 'default', 'n', 'schedule', 'missed', 'misfire', '2025-02-01T00:00:00.5Z', 9007199254740993, '2025-03-01'),
       ($1, '2025-04-01', 'default', 'n', 'schedule', 'skipped', 'overlap', NULL, 1, '2025-04-01')`, o.text("id"))

	var jobs []string
	var last object
	for query := "?page_size=4"; ; {
		page := f.do(t, "GET", path(o)+"/runs"+query, "").want(t, http.StatusOK).object(t)
		for _, run := range page.list("runs") {
			last = run
			jobs = append(jobs, run.text("job_id"))
		}
		token := page.text("next_page_token")
		if token == "" {
			break
		}
		// One that comes meanwhile is newer than all of them.
		f.do(t, "POST", path(o)+"/run", "").want(t, http.StatusAccepted)
		query = "?page_size=4&page_token=" + token
	}
	equal(t, "jobs", jobs, []string{"11", "10", "9", "8", "7", "6", "5", "4", "3", "2", "1", "", ""})
	delete(last, "id")
	equal(t, "a stretch", last, object{
		"schedule_id": o["id"], "schedule_name": "n", "namespace": "default", "scheduled_for": "2025-01-01T00:00:00Z", "reason": "schedule", "outcome": "missed",
		"why": "misfire", "job_id": nil, "job": nil, "args_overridden": false, "until": "2025-02-01T00:00:00.5Z", "count": json.Number("9007199254740993"), "created_at": "2025-03-01T00:00:00Z",
	})
}

func TestDeleteRemovesTheScheduleAndLeavesItsRuns(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	unrun := f.create(t, minimal("never run", ""))
	run := f.do(t, "POST", path(o)+"/run", "").want(t, http.StatusAccepted).object(t)
	f.announced()
	deleted := f.do(t, "DELETE", path(o), "").want(t, http.StatusNoContent)
	equal(t, "the body", deleted.text, "")
	equal(t, "announced", f.announced(), []schedule.Change{{Op: schedule.OpDeleted, ID: parseID(t, o.text("id")), Version: 2}})
	f.do(t, "GET", path(o), "").refused(t, http.StatusNotFound)
	f.do(t, "DELETE", path(o), "").refused(t, http.StatusNotFound)
	f.do(t, "POST", path(o)+"/run", "").refused(t, http.StatusNotFound)
	equal(t, "announced", len(f.announced()), 0)
	equal(t, "cursors", query[int](t, f, `SELECT count(*) FROM riverbeat.cursors`), 1)

	equal(t, "its runs", f.do(t, "GET", path(o)+"/runs", "").want(t, http.StatusOK).object(t).list("runs"), []object{run})
	f.do(t, "GET", path(o)+"/runs?namespace=default", "").want(t, http.StatusOK)
	f.do(t, "GET", path(o)+"/runs?namespace=other", "").refused(t, http.StatusNotFound)
	f.do(t, "GET", "/v1/schedules/name:n/runs", "").refused(t, http.StatusNotFound)
	equal(t, "the job", query[string](t, f, `SELECT state::text FROM river_job`), "available")

	f.do(t, "DELETE", path(unrun), "").want(t, http.StatusNoContent)
	f.do(t, "GET", path(unrun)+"/runs", "").refused(t, http.StatusNotFound)
	// The name is free again.
	f.create(t, minimal("n", ""))
}

func TestDeleteMayCancelTheUnfinishedJobs(t *testing.T) {
	t.Parallel()
	f := setup(t)
	states := []string{"available", "scheduled", "retryable", "running", "completed", "discarded", "cancelled"}
	o, other := f.create(t, minimal("n", "")), f.create(t, minimal("other", ""))
	for _, state := range states {
		run := f.do(t, "POST", path(o)+"/run", "").want(t, http.StatusAccepted).object(t)
		f.exec(t, `
UPDATE river_job SET state = $2::text::river_job_state, attempted_at = now(),
    finalized_at = CASE WHEN $2::text IN ('completed', 'discarded', 'cancelled') THEN now() END
WHERE id = $1::text::bigint`, run.text("job_id"), state)
	}
	gone := f.do(t, "POST", path(o)+"/run", "").want(t, http.StatusAccepted).object(t)
	f.exec(t, `DELETE FROM river_job WHERE id = $1::text::bigint`, gone.text("job_id"))
	f.do(t, "POST", path(other)+"/run", "").want(t, http.StatusAccepted)

	f.do(t, "DELETE", path(o)+"?cancel_jobs=true", "", "If-Match", `"9"`).refused(t, http.StatusPreconditionFailed)
	equal(t, "cancelled", query[int](t, f, `SELECT count(*) FROM river_job WHERE state = 'cancelled'`), 1)
	f.do(t, "DELETE", path(o)+"?cancel_jobs=true", "").want(t, http.StatusNoContent)
	equal(t, "states", query[string](t, f, `SELECT string_agg(state::text, ' ' ORDER BY id) FROM river_job`),
		// River tells the worker of the running one.
		"cancelled cancelled cancelled running completed discarded cancelled available")
	equal(t, "told", query[bool](t, f, `SELECT metadata ? 'cancel_attempted_at' FROM river_job WHERE state = 'running'`), true)
}

func TestAScheduleThatIsBeingDispatchedIsDeletedAfterwards(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	dispatch, err := f.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dispatch.Rollback(t.Context()) }() // after the commit it is nothing
	if _, err := dispatch.Exec(t.Context(), `SELECT FROM riverbeat.cursors FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	done := make(chan *reply)
	go func() { done <- f.do(t, "DELETE", path(o), "") }()
	waitForLock(t, f)
	select {
	case answer := <-done:
		t.Fatalf("it didn't wait: %+v", answer)
	default:
	}
	if err := dispatch.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	(<-done).want(t, http.StatusNoContent)
}

// waitForLock waits until a session waits for a row that another one holds.
func waitForLock(t *testing.T, f *fixture) {
	t.Helper()
	ctx := within(t)
	for waiting := false; !waiting; {
		err := f.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPreviewCountsTheRunsOfARangeWithoutListingThemAll(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for body, want := range map[string][2]int{ // listed, in all
		`{"spec": {"cron": "* * * * * *"}, "from": "2026-01-01T00:00:00Z", "to": "2036-01-01T00:00:00Z", "count": 3}`:                 {3, 315532800},
		`{"spec": {"cron": "0 3 * * *"}, "from": "2026-11-24T03:00:00Z", "to": "2026-11-26T03:00:00Z"}`:                               {2, 2}, // after from, up to to
		`{"spec": {"every": "15m"}, "from": "2026-11-24T00:00:00Z", "to": "2026-11-24T00:14:59Z"}`:                                    {0, 0},
		`{"spec": {"every": "15m", "max_runs": 5}, "from": "2026-11-24T00:00:00Z", "to": "2027-11-24T00:00:00Z"}`:                     {5, 5},
		`{"spec": {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}, "from": "2027-03-27T12:00:00Z", "to": "2027-03-29T12:00:00Z"}`: {2, 2},
	} {
		got := f.do(t, "POST", "/v1/preview", body).want(t, http.StatusOK).object(t)
		if listed, total := len(got.list("runs")), got.number(t, "total"); listed != want[0] || int(total) != want[1] {
			t.Errorf("%s: %d listed of %d", body, listed, total)
		}
	}
	for _, to := range []string{`"2026-11-24T00:00:00Z"`, `"2026-11-23T00:00:00Z"`, `"0001-01-01T00:00:00Z"`} {
		f.do(t, "POST", "/v1/preview", `{"spec": {"every": "15m"}, "from": "2026-11-24T00:00:00Z", "to": `+to+`}`).refused(t, http.StatusUnprocessableEntity, "to")
	}
}

func TestASpecIsDescribedInTheLanguageThatIsAskedFor(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const spec = `{"cron": "0 3 * * 1-5", "timezone": "Asia/Tokyo"}`
	created := f.create(t, `{"name": "n", "spec": `+spec+`, "job": {"kind": "report"}}`)
	for accepted, want := range map[string]string{
		"": "At 03:00 on weekdays, Asia/Tokyo", "fr": "At 03:00 on weekdays, Asia/Tokyo", "ja, en;q=0.5": "平日 03:00(Asia/Tokyo)",
	} {
		for what, got := range map[string]string{
			"read":    f.do(t, "GET", path(created), "", "Accept-Language", accepted).want(t, http.StatusOK).object(t).text("spec.description"),
			"preview": f.do(t, "POST", "/v1/preview", `{"spec": `+spec+`}`, "Accept-Language", accepted).want(t, http.StatusOK).object(t).text("description"),
			"list":    f.do(t, "GET", "/v1/schedules?name=n", "", "Accept-Language", accepted).want(t, http.StatusOK).object(t).list("schedules")[0].text("spec.description"),
		} {
			equal(t, accepted+": "+what, got, want)
		}
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	f := setup(t)
	preview := func(body string) []object {
		t.Helper()
		return f.do(t, "POST", "/v1/preview", body).want(t, http.StatusOK).object(t).list("runs")
	}
	for body, want := range map[string]string{
		`{"spec": {"cron": "0 3 * * 1-5", "timezone": "Asia/Tokyo"}, "from": "2026-11-24T00:00:00Z", "count": 2}`: "2026-11-24T18:00:00Z 2026-11-25T03:00:00+09:00, 2026-11-25T18:00:00Z 2026-11-26T03:00:00+09:00",
		// Strictly after.
		`{"spec": {"cron": "0 3 * * *"}, "from": "2026-11-24T03:00:00Z", "count": 1}`: "2026-11-25T03:00:00Z 2026-11-25T03:00:00Z",
		// A skipped local time runs after the gap, a repeated one once.
		`{"spec": {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}, "from": "2027-03-27T12:00:00Z", "count": 1}`: "2027-03-28T01:00:00Z 2027-03-28T03:00:00+02:00 02:30 doesn't exist on this day: runs when the clocks have gone forward",
		`{"spec": {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}, "from": "2027-10-30T12:00:00Z", "count": 2}`: "2027-10-31T00:30:00Z 2027-10-31T02:30:00+02:00 02:30 comes twice on this day: runs the first time, 2027-11-01T01:30:00Z 2027-11-01T02:30:00+01:00",
		// As if it were created at from.
		`{"spec": {"every": "90m"}, "from": "2026-11-24T00:00:00+01:00", "count": 2}`:                                                            "2026-11-24T00:30:00Z 2026-11-24T00:30:00Z, 2026-11-24T02:00:00Z 2026-11-24T02:00:00Z",
		`{"spec": {"every": "1.5s", "timezone": "Asia/Kolkata"}, "from": "2026-11-24T00:00:00Z", "count": 1}`:                                    "2026-11-24T00:00:01.5Z 2026-11-24T05:30:01.5+05:30",
		`{"spec": {"every": "1d", "start_at": "2026-11-25T00:00:00Z", "end_at": "2026-11-27T00:00:00Z"}, "from": "2026-11-24T00:00:00Z"}`:        "2026-11-25T00:00:00Z 2026-11-25T00:00:00Z, 2026-11-26T00:00:00Z 2026-11-26T00:00:00Z",
		`{"spec": {"every": "1d", "max_runs": 1}, "from": "2026-11-24T00:00:00Z"}`:                                                               "2026-11-25T00:00:00Z 2026-11-25T00:00:00Z",
		`{"spec": {"at": "2026-11-25T00:00:00Z", "timezone": "America/New_York"}, "from": "2026-11-24T00:00:00Z"}`:                               "2026-11-25T00:00:00Z 2026-11-24T19:00:00-05:00",
		`{"spec": {"at": "2026-11-23T00:00:00Z"}, "from": "2026-11-24T00:00:00Z"}`:                                                               "2026-11-23T00:00:00Z 2026-11-23T00:00:00Z has passed: due at once",
		`{"spec": {"every": "1d", "end_at": "2026-11-24T00:00:00Z"}, "from": "2026-11-24T00:00:00Z"}`:                                            "",
		`{"spec": {"cron": "0 0 29 2 *", "start_at": "2024-01-01T00:00:00Z", "end_at": "2025-01-01T00:00:00Z"}, "from": "2026-11-24T00:00:00Z"}`: "",
		// Nothing is shown that RFC 3339 couldn't.
		`{"spec": {"every": "3650d", "start_at": "9970-01-01T00:00:00Z"}, "count": 1000}`: "9970-01-01T00:00:00Z 9970-01-01T00:00:00Z, 9979-12-30T00:00:00Z 9979-12-30T00:00:00Z, 9989-12-27T00:00:00Z 9989-12-27T00:00:00Z",
		`{"spec": {"cron": "0 0 1 1 *"}, "from": "9998-12-31T23:59:59.999Z"}`:             "",
	} {
		var got []string
		for _, run := range preview(body) {
			got = append(got, strings.TrimSpace(run.text("at")+" "+run.text("local")+" "+run.text("note")))
		}
		equal(t, body, strings.Join(got, ", "), want)
	}
	for body, want := range map[string]int{
		`{"spec": {"every": "1s"}}`: 10, `{"spec": {"every": "1s"}, "count": null}`: 10, `{"spec": {"every": "1s"}, "count": 1}`: 1,
		`{"spec": {"every": "1s"}, "count": 1000}`: 1000, `{"spec": {"cron": "0 0 29 2 *"}, "count": 1000}`: 1000,
		`{"spec": {"every": "1s", "max_runs": 3}, "from": null}`: 3,
	} {
		if got := len(preview(body)); got != want {
			t.Errorf("%s: %d runs, want %d", body, got, want)
		}
	}
	if first := preview(`{"spec": {"every": "1h"}}`)[0].time(t, "at"); time.Until(first).Round(time.Hour) != time.Hour {
		t.Errorf("from now, the first run is at %v", first)
	}

	stored := f.stored(t)
	for body, fields := range map[string][]string{
		`{}`: {"spec"}, `{"spec": {}}`: {"spec"}, `{"spec": null}`: {"spec"}, `{"spec": 5}`: {"spec"},
		`{"spec": {"every": "1h"}, "count": 0}`: {"count"}, `{"spec": {"every": "1h"}, "count": -1}`: {"count"}, `{"spec": {"every": "1h"}, "count": 1001}`: {"count"},
		`{"spec": {"every": "1h"}, "count": 1e99}`: {"count"}, `{"spec": {"every": "1h"}, "count": "5"}`: {"count"}, `{"spec": {"every": "1h"}, "count": 1.5}`: {"count"},
		`{"spec": {"every": "1h"}, "from": "yesterday"}`: {"from"}, `{"spec": {"every": "1h"}, "from": "1969-12-31T23:59:59Z"}`: {"from"},
		`{"spec": {"every": "1h"}, "from": "0001-01-01T00:00:00Z"}`: {"from"}, `{"spec": {"every": "1h"}, "from": "9999-01-01T00:00:00Z"}`: {"from"},
		`{"spec": {"every": "1h"}, "form": "x"}`: {"form"}, `{"spec": {"corn": "x"}}`: {"spec.corn"},
		`{"spec": {"cron": "* * *", "timezone": "Mars/Phobos"}}`: {"spec.timezone"}, `{"spec": {"cron": "* * *"}}`: {"spec.cron"},
		`{"spec": {"every": "1h", "jitter": "25h", "max_runs": 0}}`: {"spec.jitter", "spec.max_runs"},
		// What never fires is refused here too.
		`{"spec": {"cron": "0 0 29 2 *", "start_at": "2026-01-01T00:00:00Z", "end_at": "2028-02-29T00:00:00Z"}}`: {"spec.end_at"},
		`{"spec": {"cron": "*/15 2 * 3 0#2", "timezone": "America/New_York"}, "from": "2026-01-01T00:00:00Z"}`:   {"spec.cron"},
	} {
		f.do(t, "POST", "/v1/preview", body).refused(t, http.StatusUnprocessableEntity, fields...)
	}
	f.do(t, "POST", "/v1/preview", "").refused(t, http.StatusBadRequest)
	f.do(t, "POST", "/v1/preview", "null").refused(t, http.StatusBadRequest)
	f.do(t, "GET", "/v1/preview", "").refused(t, http.StatusMethodNotAllowed)
	equal(t, "stored", f.stored(t), stored)
	equal(t, "announced", len(f.announced()), 0)
}

// What a preview shows is what comes.
func TestThePreviewOfAScheduleBeginsWithItsNextRun(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, spec := range []string{
		`"cron": "7 */5 * * *", "timezone": "Australia/Lord_Howe"`, `"cron": "@hourly", "start_at": "2090-01-01T00:30:00Z"`, `"every": "1h7m"`,
		`"every": "1h", "start_at": "2021-01-01T00:00:01Z"`, `"at": "2090-01-01T00:00:00Z"`, `"at": "2020-01-01T00:00:00Z"`, `"cron": "0 0 L 2 *", "jitter": "1h"`,
	} {
		o := f.create(t, minimal(spec, spec))
		runs := f.do(t, "POST", "/v1/preview", fmt.Sprintf(`{"spec": {%s}, "from": %q, "count": 1}`, spec, o.text("created_at"))).want(t, http.StatusOK).object(t).list("runs")
		equal(t, spec, runs[0].text("at"), o.text("next_run_at"))
	}
}
