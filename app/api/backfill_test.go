package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

func TestABackfillIsCountedFirstAndDoneOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, `{"name": "n", "spec": {"cron": "0 * * * *"}, "job": {"kind": "report"}}`)
	f.exec(t, `
INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, job_id, until, count)
VALUES ($1, '2026-01-01T02:00:00Z', 'default', 'n', 'schedule', 'missed', 'misfire', NULL, '2026-01-01T05:00:00Z', 4),
       ($1, '2026-01-01T06:00:00Z', 'default', 'n', 'schedule', 'enqueued', '', 999, NULL, 1),
       ($1, '2026-01-01T07:00:00Z', 'default', 'n', 'schedule', 'skipped', 'overlap', NULL, NULL, 1)`, o.text("id"))
	ask := func(more string) object {
		t.Helper()
		return f.do(t, "POST", path(o)+"/backfill", `{"start": "2026-01-01T04:00:00Z", "end": "2026-01-01T18:00:00+09:00"`+more+`}`).want(t, http.StatusOK).object(t)
	}
	want := func(dry bool, ran, enqueued int) object {
		return object{
			"dry_run": dry, "occurrences": json.Number("5"), "ran": json.Number(fmt.Sprint(ran)), "enqueued": json.Number(fmt.Sprint(enqueued)), "remaining": json.Number("0"),
		}
	}
	stored := f.stored(t)
	equal(t, "counted", ask(`, "dry_run": true`), want(true, 1, 4))
	equal(t, "stored", f.stored(t), stored)
	equal(t, "done", ask(""), want(false, 1, 4))
	stored = f.stored(t)
	equal(t, "again", ask(`, "overlap": "ignore", "limit": 1`), want(false, 5, 0))
	equal(t, "stored", f.stored(t), stored)
	var lines []string
	for _, run := range f.runs(t, path(o)+"/runs").list("runs") {
		lines = append(lines, fmt.Sprint(run.text("scheduled_for")[11:13], " ", run["outcome"], " ", run["reason"], " ", run.at("job.state"), " ", run["count"]))
	}
	equal(t, "the ledger", lines, []string{
		"08 enqueued backfill available 1", "07 enqueued backfill available 1", "06 enqueued schedule <nil> 1",
		"05 enqueued backfill available 1", "04 enqueued backfill available 1", "02 missed schedule <nil> 2",
	})
	equal(t, "the schedule", f.get(t, o.text("id")), o)

	for body, fields := range map[string][]string{
		`{}`: {"end", "start"}, `{"start": "2026-01-01T00:00:00Z"}`: {"end"}, `{"start": null, "end": null}`: {"end", "start"},
		`{"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}`:                                     {"end"},
		`{"start": "yesterday", "end": "2026-01-01T00:00:00Z"}`:                                                {"start"},
		`{"start": "0001-01-01T00:00:00Z", "end": "9999-01-01T00:00:00Z"}`:                                     {"end", "start"},
		`{"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}`:                                     {"limit"},
		`{"start": "1970-01-01T00:00:00Z", "end": "9998-01-01T00:00:00Z"}`:                                     {"end"},
		`{"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z", "limit": 0, "overlap": "queue_one"}`: {"limit", "overlap"},
		`{"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z", "limit": 10001}`:                     {"limit"},
		`{"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z", "dry": true}`:                        {"dry"},
		`{"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z", "dry_run": "yes"}`:                   {"dry_run"},
	} {
		f.do(t, "POST", path(o)+"/backfill", body).refused(t, http.StatusUnprocessableEntity, fields...)
	}
	f.do(t, "POST", path(o)+"/backfill", "").refused(t, http.StatusBadRequest)
	f.do(t, "POST", "/v1/schedules/name:nobody/backfill", `{"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}`).refused(t, http.StatusNotFound)
	f.exec(t, `UPDATE riverbeat.cursors SET state = 'invalid'`)
	f.do(t, "POST", path(o)+"/backfill", `{"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:00Z"}`).refused(t, http.StatusConflict)
}
