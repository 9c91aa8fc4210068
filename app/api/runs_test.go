package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func (f *fixture) runs(t *testing.T, path string) object {
	t.Helper()
	return f.do(t, "GET", path, "").want(t, http.StatusOK).object(t)
}

// runNow is a new run.
func (f *fixture) runNow(t *testing.T, o object, body string) object {
	t.Helper()
	return f.do(t, "POST", path(o)+"/run", body).want(t, http.StatusAccepted).object(t)
}

// runPath is where a run is read.
func runPath(run object) string {
	return "/v1/schedules/" + run.text("schedule_id") + "/runs/" + url.PathEscape(run.text("scheduled_for"))
}

func TestARunHasTheArgumentsThatItIsAskedForWithAsAWhole(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, `{"name": "n", "spec": {"every": "1h"}, "job": {"kind": "webhook", "args": {"url": "https://example.com/a", "body": {"a": 1}}}}`)
	plain := f.runNow(t, o, "")
	equal(t, "plain", plain["args_overridden"], any(false))
	run := f.runNow(t, o, `{"args": {"url": "https://example.com/b", "timeout": "9s"}}`)
	equal(t, "overridden", run["args_overridden"], any(true))
	want := map[string]any{"url": "https://example.com/b", "timeout": "9s"}
	equal(t, "args", run["args"], any(want))
	equal(t, "read alone", f.runs(t, runPath(run)), run)
	equal(t, "the job's", query[string](t, f, `SELECT (args = '{"url": "https://example.com/b", "timeout": "9s"}')::text FROM river_job WHERE id = $1::text::bigint`, run.text("job_id")), "true")
	listed := f.runs(t, path(o)+"/runs").list("runs")
	delete(run, "args") // a list may have a thousand
	equal(t, "listed", listed, []object{run, plain})
	equal(t, "the schedule's", f.get(t, o.text("id")).at("job.args"), o.at("job.args"))

	stored := f.stored(t)
	for body, field := range map[string]string{
		`{"args": {"url": "ftp://example.com"}}`:           "args.url",
		`{"args": {}}`:                                     "args.url",
		`{"args": {"url": "https://example.com", "x": 1}}`: "args.x",
		`{"args": 5}`:                                      "args",
		`{"args": [1]}`:                                    "args",
		`{"args": {"url": "https://example.com", "body": "\u0000"}}`: "args",
		`{"args": {"body": "` + strings.Repeat("x", 70000) + `"}}`:   "args",
		`{"arguments": {}}`: "arguments",
	} {
		f.do(t, "POST", path(o)+"/run", body).refused(t, http.StatusUnprocessableEntity, field)
	}
	equal(t, "stored", f.stored(t), stored)
	f.runNow(t, o, `{"args": null}`)
	// Of a kind that others work any object will do.
	other := f.create(t, minimal("other", ""))
	equal(t, "args", f.runNow(t, other, `{"args": {"n": 12345678901234567890}}`).at("args.n"), any(json.Number("12345678901234567890")))
}

func TestARunShowsHowItsJobStandsWhileRiverHasIt(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	run := f.runNow(t, o, "")
	f.exec(t, `
UPDATE river_job
SET state = 'discarded', attempt = 2, max_attempts = 2, attempted_at = '2026-01-01T00:00:00Z', finalized_at = '2026-01-01T00:00:01.5Z',
    errors = ARRAY[jsonb_build_object('at', now(), 'attempt', 1, 'error', 'the first'),
                   jsonb_build_object('at', now(), 'attempt', 2, 'error', repeat('ü', 2000), 'trace', 'secret')],
    metadata = metadata || '{"output": {"status": 503, "body": "busy"}}'`)
	for _, got := range []object{f.runs(t, runPath(run)), f.runs(t, path(o)+"/runs").list("runs")[0], f.runs(t, "/v1/runs").list("runs")[0]} {
		equal(t, "the job", got["job"], any(map[string]any{
			"state": "discarded", "attempt": json.Number("2"), "max_attempts": json.Number("2"), "attempted_at": "2026-01-01T00:00:00Z",
			"finalized_at": "2026-01-01T00:00:01.5Z", "duration_seconds": json.Number("1.5"), "error": strings.Repeat("ü", 512), "output_status": json.Number("503"),
		}))
	}
	// What others have as their output is none of ours.
	for _, output := range []string{`null`, `"x"`, `[1]`, `{"status": "fine"}`, `{"status": 99999999999999999999}`, `{"status": {"a": 1}}`} {
		f.exec(t, `UPDATE river_job SET metadata = metadata || jsonb_build_object('output', $1::jsonb)`, output)
		equal(t, output, f.runs(t, runPath(run)).at("job.output_status"), nil)
	}
	f.exec(t, `DELETE FROM river_job`)
	equal(t, "afterwards", f.runs(t, runPath(run))["job"], nil)
	equal(t, "the job's id", f.runs(t, runPath(run))["job_id"], run["job_id"])
}

func TestARunsJobIsCancelledAndRetried(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	state := func(run object, state string) {
		t.Helper()
		f.exec(t, `
UPDATE river_job SET state = $2::text::river_job_state, attempt = 25, attempted_at = now(),
    finalized_at = CASE WHEN $2::text IN ('completed', 'discarded', 'cancelled') THEN now() END
WHERE id = $1::text::bigint`, run.text("job_id"), state)
	}
	for before, after := range map[string]struct{ cancelled, retried string }{
		"available": {"cancelled", "available"}, "scheduled": {"cancelled", "available"}, "retryable": {"cancelled", "available"},
		"cancelled": {"cancelled", "available"}, "discarded": {"", "available"}, "completed": {"", ""},
		"running": {"running", ""}, // told to stop
	} {
		for verb, want := range map[string]string{"cancel": after.cancelled, "retry": after.retried} {
			run := f.runNow(t, o, "")
			state(run, before)
			answer := f.do(t, "POST", runPath(run)+"/"+verb, "")
			if want == "" {
				answer.refused(t, http.StatusConflict)
				equal(t, verb+" "+before, f.runs(t, runPath(run)).text("job.state"), before)
				continue
			}
			equal(t, verb+" "+before, answer.want(t, http.StatusOK).object(t).text("job.state"), want)
			equal(t, verb+" "+before, f.runs(t, runPath(run)).text("job.state"), want)
		}
	}
	equal(t, "told", query[int](t, f, `SELECT count(*) FROM river_job WHERE metadata ? 'cancel_attempted_at' AND state = 'running'`), 1)

	gone := f.runNow(t, o, "")
	f.exec(t, `DELETE FROM river_job WHERE id = $1::text::bigint`, gone.text("job_id"))
	f.exec(t, `
INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why)
VALUES ($1, '2026-01-01', 'default', 'n', 'schedule', 'missed', 'misfire')`, o.text("id"))
	for _, verb := range []string{"cancel", "retry"} {
		for _, at := range []string{runPath(gone), path(o) + "/runs/2026-01-01T00:00:00Z", path(o) + "/runs/2026-01-01T09:00:00%2B09:00"} {
			f.do(t, "POST", at+"/"+verb, "").refused(t, http.StatusConflict)
		}
		f.do(t, "POST", path(o)+"/runs/2026-01-02T00:00:00Z/"+verb, "").refused(t, http.StatusNotFound)
		f.do(t, "POST", path(o)+"/runs/now/"+verb, "").refused(t, http.StatusUnprocessableEntity, "scheduled_for")
		f.do(t, "POST", path(o)+"/runs/0001-01-01T00:00:00Z/"+verb, "").refused(t, http.StatusUnprocessableEntity, "scheduled_for")
	}
	// A schedule that is gone leaves its runs, for its own namespace.
	run := f.runNow(t, o, "")
	f.do(t, "DELETE", path(o), "").want(t, http.StatusNoContent)
	f.do(t, "GET", runPath(run)+"?namespace=other", "").refused(t, http.StatusNotFound)
	equal(t, "cancelled", f.do(t, "POST", runPath(run)+"/cancel?namespace=default", "").want(t, http.StatusOK).object(t).text("job.state"), "cancelled")
}

// pages reads all pages of a list of runs.
func (f *fixture) pages(t *testing.T, path string) (all []object, pages int) {
	t.Helper()
	for token := ""; ; {
		page := f.runs(t, path+token)
		all = append(all, page.list("runs")...)
		pages++
		next := page.text("next_page_token")
		if next == "" {
			return all, pages
		}
		token = "&page_token=" + url.QueryEscape(next)
	}
}

func TestRunsAreListedByOutcomeReasonTimeAndJob(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var ids []string
	for i := range 3 {
		ids = append(ids, f.create(t, fmt.Sprintf(`{"name": "n", "namespace": "team-%d", "spec": {"every": "5m"}, "job": {"kind": "report"}}`, i)).text("id"))
	}
	// Of 5,000 lines of a schedule 5 are rare, and many were recorded together.
	f.exec(t, `
INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, job_id, count, created_at)
SELECT ($1::uuid[])[s], timestamptz '2026-01-01T00:00:00Z' + n * interval '1 minute', 'team-' || s - 1, 'n',
       CASE WHEN n % 100 = 1 THEN 'backfill' ELSE 'schedule' END, CASE WHEN n % 1000 = 0 THEN 'skipped' ELSE 'enqueued' END,
       CASE WHEN n % 1000 = 0 THEN 'overlap' ELSE '' END, CASE WHEN n % 1000 <> 0 THEN s * 100000 + n END, 1,
       timestamptz '2026-02-01T00:00:00Z' + (n / 700) * interval '1 minute'
FROM generate_series(1, 3) s, generate_series(1, 5000) n`, ids)
	f.exec(t, `INSERT INTO river_job (id, kind, args, state, finalized_at) VALUES (100001, 'report', '{}', 'discarded', now()), (104999, 'report', '{}', 'available', NULL)`)

	of := "/v1/schedules/" + ids[0] + "/runs?namespace=team-0"
	for _, row := range []struct {
		path string
		want int
	}{
		{of + "&outcome=skipped", 5}, {of + "&outcome=skipped&page_size=2", 5}, {of + "&outcome=missed", 0}, {of + "&reason=backfill", 50},
		{of + "&job_state=discarded", 1}, {of + "&job_state=available", 1}, {of + "&job_state=running", 0},
		{of + "&since=2026-01-01T01:00:00Z&until=2026-01-01T01:30:00Z", 30}, {of + "&since=2026-01-01T01:00:00Z&until=2026-01-01T01:30:00Z&reason=backfill", 0},
		{of + "&since=2027-01-01T01:00:00Z", 0}, {of + "&page_size=1000", 5000},
		{"/v1/runs?outcome=skipped", 15}, {"/v1/runs?outcome=skipped&page_size=4", 15}, {"/v1/runs?outcome=skipped&namespace=team-1", 5},
		{"/v1/runs?namespace=team-2&page_size=333", 5000}, {"/v1/runs?page_size=1000", 15000}, {"/v1/runs?job_state=discarded", 1},
		{"/v1/runs?namespace=nobody", 0}, {"/v1/runs?since=2026-02-01T00:01:00Z&until=2026-02-01T00:03:00Z&page_size=1000", 3 * 1400},
		{"/v1/runs?since=2026-02-01T09:01:00%2B09:00&until=2026-02-01T00:02:00Z&namespace=team-0&page_size=1000", 700},
	} {
		all, pages := f.pages(t, row.path)
		equal(t, row.path, len(all), row.want)
		if pages > 30 {
			t.Errorf("%s took %d pages", row.path, pages)
		}
		seen := map[string]bool{}
		last := time.Time{}
		for _, run := range all {
			by := "created_at"
			if strings.HasPrefix(row.path, of) {
				by = "scheduled_for"
			}
			if at := run.time(t, by); !last.IsZero() && at.After(last) {
				t.Errorf("%s: %v comes after %v", row.path, at, last)
			} else {
				last = at
			}
			seen[run.text("id")] = true
		}
		equal(t, row.path+": different ones", len(seen), row.want)
	}
	token := url.QueryEscape(f.runs(t, of+"&page_size=1").text("next_page_token"))
	f.runs(t, of+"&page_token="+token)
	for _, other := range []string{of + "&outcome=enqueued", of + "&since=2026-01-01T00:00:00Z", "/v1/runs?page_size=1", "/v1/schedules/" + ids[1] + "/runs?namespace=team-1"} {
		f.do(t, "GET", other+"&page_token="+token, "").refused(t, http.StatusUnprocessableEntity, "page_token")
	}
	for _, query := range []string{"outcome=lost", "reason=why", "job_state=done", "since=yesterday", "until=2026", "since=0001-01-01T00:00:00Z", "until=9999-12-31T00:00:00Z"} {
		field, _, _ := strings.Cut(query, "=")
		if query == "since=0001-01-01T00:00:00Z" {
			continue // the zero time is none
		}
		f.do(t, "GET", "/v1/runs?"+query, "").refused(t, http.StatusUnprocessableEntity, field)
	}
}
