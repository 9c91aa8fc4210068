package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riverbeat/riverbeat/app/schedule"
)

func path(o object) string { return "/v1/schedules/" + o.text("id") }

func TestPutReplacesTheWholeDefinition(t *testing.T) {
	t.Parallel()
	f := setup(t)
	created := f.create(t, strings.Replace(whole, `"namespace": "growth", `, "", 1))
	f.announced()
	put := f.do(t, "PUT", path(created), minimal("renamed", `"every": "5m"`)).want(t, http.StatusOK)
	equal(t, "ETag", put.header.Get("ETag"), `"2"`)
	got := put.object(t)

	// What the document leaves out is as in a new schedule.
	want := f.create(t, minimal("another", `"every": "5m"`))
	for _, field := range []string{"id", "created_at"} {
		want[field] = created[field]
	}
	for _, field := range []string{"updated_at", "next_run_at"} {
		want[field] = got[field]
	}
	want["name"], want["version"] = "renamed", json.Number("2")
	equal(t, "the schedule", got, want)
	equal(t, "next_run_at", got.time(t, "next_run_at"), created.time(t, "created_at").Add(5*time.Minute))
	if !got.time(t, "updated_at").After(created.time(t, "updated_at")) {
		t.Error("updated_at has not moved")
	}
	equal(t, "read later", f.get(t, created.text("id")), got)
	change := f.announced()[0]
	equal(t, "announced", change, schedule.Change{
		Op: schedule.OpUpdated, ID: parseID(t, created.text("id")), Version: 2, NextRunAt: got.time(t, "next_run_at"),
	})
}

func TestSavingTheSameDefinitionWritesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	created := f.do(t, "POST", "/v1/schedules", whole).want(t, http.StatusCreated)
	o := created.object(t)
	f.do(t, "POST", path(o)+"/run", "").want(t, http.StatusAccepted)
	f.announced()
	stored := f.stored(t)
	for what, edit := range map[string][2]string{
		"the document that was read": {"PUT", created.text},
		"the one that was sent":      {"PUT", whole},
		"other words for the same": {"PUT", strings.NewReplacer(
			`"start_at": "2027-01-01T00:00:00+09:00"`, `"start_at": "2026-12-31T15:00:00.0000000Z"`,
			`"jitter": "90s"`, `"jitter": "1m30s"`, `"misfire_grace": "1h30m"`, `"misfire_grace": "5400s"`,
			`"body": {"a": [1, null, "<b>"]}`, `"body": {"a": [1e0, null, "\u003cb\u003e"]}`,
			`"namespace": "growth", `, "").Replace(whole)},
		"nothing":             {"PATCH", `{}`},
		"what is there":       {"PATCH", `{"labels": {"team": "growth"}, "spec": {"cron": "0 3 * * 1-5", "jitter": "90s"}, "namespace": "growth"}`},
		"what is read-only":   {"PATCH", `{"version": 99, "state": "active", "next_run_at": null, "id": "x", "run_count": 5}`},
		"the removal of none": {"PATCH", `{"labels": {"nobody": null}, "job": {"args": {"nothing": null}}}`},
	} {
		got := f.do(t, edit[0], path(o), edit[1]).want(t, http.StatusOK)
		equal(t, what+": the answer", got.object(t), o)
		equal(t, what+": ETag", got.header.Get("ETag"), `"1"`)
	}
	f.do(t, "POST", path(o)+"/pause", `{"reason": "Not yet."}`).want(t, http.StatusOK)
	equal(t, "stored", f.stored(t), stored)
	equal(t, "announced", len(f.announced()), 0)
}

func TestAWriteMayNameTheVersionThatItExpects(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("versioned", ""))
	f.do(t, "PATCH", path(o), `{"description": "2"}`).want(t, http.StatusOK)
	f.announced()
	stored := f.stored(t)
	writes := []struct{ method, suffix, body string }{
		{"PUT", "", minimal("renamed", "")},
		{"PATCH", "", `{"description": "3"}`},
		{"PATCH", "", `{}`},
		{"POST", "/pause", `{"reason": "x"}`},
		{"POST", "/resume", ""},
		{"DELETE", "", ""},
	}
	for _, tag := range []string{
		`"1"`, `"3"`, `"0"`, `"-1"`, `2`, `W/"2"`, `w/"2"`, `"2`, `2"`, `""2""`, `'2'`, `"02"`, `"+2"`, `"2 "`, `"x"`, `""`, `"*"`, `garbage`,
		`"99999999999999999999"`, "\"\x80\"",
	} {
		for _, w := range writes {
			f.do(t, w.method, path(o)+w.suffix, w.body, "If-Match", tag).refused(t, http.StatusPreconditionFailed)
		}
	}
	equal(t, "stored", f.stored(t), stored)
	equal(t, "announced", len(f.announced()), 0)

	version := int64(2)
	for _, tag := range []string{"*", ` "%d" `, `"%d"`} {
		for _, w := range writes[:5] {
			tag := tag
			if tag != "*" {
				tag = fmt.Sprintf(tag, version)
			}
			got := f.do(t, w.method, path(o)+w.suffix, w.body, "If-Match", tag).want(t, http.StatusOK)
			version = got.object(t).number(t, "version")
			equal(t, "ETag", got.header.Get("ETag"), fmt.Sprintf(`"%d"`, version))
		}
	}
	f.do(t, "DELETE", path(o), "", "If-Match", fmt.Sprintf(`"%d"`, version)).want(t, http.StatusNoContent)
}

func TestTheNamespaceNeverChanges(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, `{"namespace": "growth", "name": "n", "spec": {"every": "5m"}, "job": {"kind": "report"}}`)
	f.announced()
	const moved = `{"namespace": "other", "name": "n", "spec": {"every": "5m"}, "job": {"kind": "report"}}`
	for _, p := range []problem{
		f.do(t, "PUT", path(o), moved).refused(t, http.StatusUnprocessableEntity, "namespace"),
		f.do(t, "PATCH", path(o), `{"namespace": "other"}`).refused(t, http.StatusUnprocessableEntity, "namespace"),
	} {
		equal(t, "reason", p.Errors[0].Reason, "can't be changed")
	}
	// A document that doesn't name it leaves it as it is.
	equal(t, "namespace", f.do(t, "PUT", path(o), minimal("n", "")).want(t, http.StatusOK).object(t).text("namespace"), "growth")
	equal(t, "namespace", f.do(t, "PATCH", path(o), `{"namespace": null}`).want(t, http.StatusOK).object(t).text("namespace"), "growth")
	equal(t, "announced", len(f.announced()), 0)
}

func TestPatchChangesWhatItNames(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const before = `{"name": "n", "description": "d", "labels": {"a": "1", "b": "2"},
		"spec": {"cron": "0 3 * * *", "timezone": "Asia/Tokyo", "jitter": "90s", "max_runs": 5},
		"job": {"kind": "report", "args": {"deep": {"x": 1, "y": [1, 2]}, "n": 12345678901234567890, "f": 1.10}, "priority": 3, "tags": ["abc", "def"]},
		"misfire": "skip", "misfire_grace": "1h"}`
	for patch, want := range map[string]map[string]string{
		`{"description": "new"}`:                 {"description": `"new"`, "labels": `{"a": "1", "b": "2"}`},
		`{"description": null, "misfire": null}`: {"description": `""`, "misfire": `"once"`},
		`{"misfire_grace": null}`:                {"misfire_grace": `null`, "misfire": `"skip"`},
		`{"labels": {"a": null, "c": "3"}}`:      {"labels": `{"b": "2", "c": "3"}`},
		`{"labels": null}`:                       {"labels": `{}`},
		`{"spec": {"timezone": null, "max_runs": null}}`: {"spec": `{"cron": "0 3 * * *", "timezone": "UTC", "jitter": "90s", "max_runs": null, "start_at": null, "end_at": null, "exclude": [], "on_excluded": "skip",
			"description": "At 03:00 every day, UTC, delayed by up to 90 seconds"}`},
		`{"spec": {"cron": null, "every": "90s"}}`:                                 {"spec.every": `"90s"`, "spec.cron": `null`, "spec.jitter": `"90s"`},
		`{"spec": {"cron": null, "at": "2090-01-01T00:00:00Z", "max_runs": null}}`: {"spec.at": `"2090-01-01T00:00:00Z"`},
		`{"job": {"tags": ["xyz"]}}`:                                               {"job.tags": `["xyz"]`, "job.priority": `3`},
		`{"job": {"tags": null, "priority": null}}`:                                {"job.tags": `[]`, "job.priority": `1`},
		`{"job": {"args": {"deep": {"x": null, "z": {"q": null}}}}}`:               {"job.args": `{"deep": {"y": [1, 2], "z": {}}, "n": 12345678901234567890, "f": 1.10}`},
		`{"job": {"args": {"deep": {"y": [null, {"k": null}]}}}}`:                  {"job.args": `{"deep": {"x": 1, "y": [null, {"k": null}]}, "n": 12345678901234567890, "f": 1.10}`},
		`{"job": {"args": {"deep": "flat"}}}`:                                      {"job.args": `{"deep": "flat", "n": 12345678901234567890, "f": 1.10}`},
		`{"job": {"args": {"n": -0.000001234500, "e": 1e2, "big": 98765432109876543210.12345678901234567890}}}`: {
			"job.args": `{"deep": {"x": 1, "y": [1, 2]}, "n": -0.000001234500, "e": 100, "big": 98765432109876543210.12345678901234567890, "f": 1.10}`},
		`{"job": {"args": null}}`:               {"job.args": `{}`},
		`{"paused": true, "pause_reason": "r"}`: {"state": `"paused"`, "next_run_at": `null`, "pause_reason": `"r"`},
		" \n\t{\"name\": \"renamed\"} ":         {"name": `"renamed"`},
	} {
		created := f.create(t, before)
		f.announced()
		patched := f.do(t, "PATCH", path(created), patch, "Content-Type", "application/merge-patch+json").want(t, http.StatusOK)
		got := patched.object(t)
		for field, value := range want {
			wanted := (&reply{text: `{"value": ` + value + `}`}).object(t)["value"]
			if diff := cmp.Diff(wanted, got.at(field)); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", patch, field, diff)
			}
		}
		equal(t, patch+": version", got.number(t, "version"), 2)
		equal(t, patch+": read later", f.get(t, got.text("id")), got)
		equal(t, patch+": announced", len(f.announced()), 1)
		f.do(t, "DELETE", path(created), "").want(t, http.StatusNoContent)
	}

	o := f.create(t, before)
	f.announced()
	stored := f.stored(t)
	for patch, fields := range map[string][]string{
		`{"spec": {"every": "5m"}}`:                       {"spec"}, // and cron, which is still there
		`{"spec": {"cron": null}}`:                        {"spec"},
		`{"spec": null}`:                                  {"spec"},
		`{"job": null}`:                                   {"job.kind"},
		`{"name": null}`:                                  {"name"},
		`{"labels": ["a"]}`:                               {"labels"},
		`{"labels": {"a": {"b": null}}}`:                  {"labels.a"},
		`{"spec": "daily"}`:                               {"spec"},
		`{"job": {"args": []}}`:                           {"job.args"},
		`{"nmae": "x"}`:                                   {"nmae"},
		`{"spec": {"corn": "x"}}`:                         {"spec.corn"},
		`{"job": {"priority": 9}, "spec": {"cron": "x"}}`: {"job.priority", "spec.cron"},
	} {
		f.do(t, "PATCH", path(o), patch).refused(t, http.StatusUnprocessableEntity, fields...)
	}
	for _, patch := range []string{`[]`, `[{"op": "remove", "path": "/name"}]`, `null`, `"x"`, `5`, `true`, ``, ` `, `{`, `{"a": 1, "a": 2}`, `{} {}`} {
		f.do(t, "PATCH", path(o), patch).refused(t, http.StatusBadRequest)
	}
	equal(t, "stored", f.stored(t), stored)
	equal(t, "announced", len(f.announced()), 0)
}

// The examples of RFC 7396, appendix A, as far as they are about objects: a
// schedule and a patch of it always are.
func TestMergePatchIsRFC7396(t *testing.T) {
	t.Parallel()
	for _, example := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{ // section 3
			`{"title":"Goodbye!","author":{"givenName":"John","familyName":"Doe"},"tags":["example","sample"],"content":"This will be unchanged"}`,
			`{"title":"Hello!","phoneNumber":"+01-123-456-7890","author":{"familyName":null},"tags":["example"]}`,
			`{"author":{"givenName":"John"},"content":"This will be unchanged","phoneNumber":"+01-123-456-7890","tags":["example"],"title":"Hello!"}`,
		},
		// Numbers stay as they were written, on both sides.
		{`{"a":12345678901234567890,"b":1.10}`, `{"c":1e2,"d":-0.0,"e":[1E+2]}`, `{"a":12345678901234567890,"b":1.10,"c":1e2,"d":-0.0,"e":[1E+2]}`},
	} {
		got, err := mergePatch([]byte(example[0]), []byte(example[1]))
		if err != nil {
			t.Errorf("%s patched with %s: %v", example[0], example[1], err)
		}
		equal(t, example[0]+" patched with "+example[1], string(got), example[2])
	}
}

// Merging costs as much as reading, however deep the patch is.
func TestADeepPatchIsCheap(t *testing.T) {
	t.Parallel()
	patch := []byte(strings.Repeat(`{"a":`, 9000) + `"` + strings.Repeat("x", 900_000) + `"` + strings.Repeat("}", 9000))
	begun := time.Now()
	got, err := mergePatch([]byte(`{}`), patch)
	if err != nil || len(got) != len(patch) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAnEditThatLeavesTheTimingLeavesTheNextRun(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, spec := range []string{`"cron": "30 4 * * *", "timezone": "Asia/Tokyo"`, `"every": "1h"`, `"at": "2020-01-01T00:00:00Z"`, `"at": "2090-01-01T00:00:00Z"`} {
		o := f.create(t, minimal(spec, spec))
		// It is owed: an edit must not lose it.
		f.exec(t, `UPDATE riverbeat.cursors SET next_run_at = '2026-01-02T03:04:05Z', fire_at = '2026-01-02T03:04:06Z' WHERE schedule_id = $1`, o.text("id"))
		for _, patch := range []string{
			`{"name": "renamed ` + strings.ReplaceAll(spec, `"`, `'`) + `"}`, `{"description": "d"}`, `{"labels": {"a": "b"}}`, `{"job": {"kind": "other", "args": {"a": 1}}}`,
			`{"job": {"queue": "q", "priority": 2, "tags": ["abc"]}}`, `{"misfire": "all"}`, `{"misfire_grace": "1h", "misfire_limit": 3}`, `{"overlap_stale_after": "1h"}`,
			`{"pause_reason": "not paused"}`,
		} {
			got := f.do(t, "PATCH", path(o), patch).want(t, http.StatusOK).object(t)
			equal(t, spec+" "+patch, got.text("next_run_at"), "2026-01-02T03:04:05Z")
			if strings.Contains(patch, `"job"`) || strings.Contains(patch, `"name"`) {
				equal(t, patch+": fire_at", query[time.Time](t, f, `SELECT fire_at FROM riverbeat.cursors WHERE schedule_id = $1`, o.text("id")).UTC(),
					time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC))
			}
		}
		equal(t, spec+": runs", f.do(t, "GET", path(o)+"/runs", "").object(t).list("runs"), []object{})
	}
}

func TestAnEditOfTheTimingPlansFromTheEdit(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for patch, check := range map[string]func(o object) time.Time{
		`{"spec": {"every": "2h"}}`:                      func(o object) time.Time { return o.time(t, "created_at").Add(2 * time.Hour) },
		`{"spec": {"start_at": "2090-01-01T00:00:00Z"}}`: func(object) time.Time { return time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC) },
		`{"spec": {"every": null, "cron": "0 0 1 1 *"}}`: func(o object) time.Time {
			return time.Date(o.time(t, "updated_at").Year()+1, 1, 1, 0, 0, 0, 0, time.UTC)
		},
		`{"spec": {"every": null, "at": "2021-01-01T00:00:00Z"}}`: func(object) time.Time { return time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC) },
		`{"spec": {"every": "1d", "start_at": "2020-02-03T04:05:06Z"}}`: func(o object) time.Time {
			anchor := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
			return anchor.Add(o.time(t, "updated_at").Sub(anchor).Truncate(24*time.Hour) + 24*time.Hour)
		},
	} {
		o := f.create(t, minimal(patch, `"every": "1h"`))
		f.exec(t, `UPDATE riverbeat.cursors SET next_run_at = '2026-01-02T03:04:05Z', fire_at = '2026-01-02T03:04:06Z' WHERE schedule_id = $1`, o.text("id"))
		got := f.do(t, "PATCH", path(o), patch).want(t, http.StatusOK).object(t)
		equal(t, patch, got.time(t, "next_run_at"), check(got))
		// What was owed then is accounted for.
		runs := f.do(t, "GET", path(o)+"/runs", "").want(t, http.StatusOK).object(t).list("runs")
		if len(runs) != 1 || runs[0].text("outcome") != "missed" || runs[0].text("why") != "superseded" || runs[0].text("scheduled_for") != "2026-01-02T03:04:05Z" ||
			runs[0].at("job_id") != nil || runs[0].at("count") != nil {
			t.Errorf("%s: runs %v", patch, runs)
		}
	}
}

// An edit that isn't about the timing is fine after the last run, too.
func TestWhatIsOverCanStillBeEdited(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, paused := range []bool{false, true} {
		o := f.create(t, minimal(fmt.Sprint(paused), `"every": "1h"`))
		f.exec(t, `UPDATE riverbeat.schedules SET paused = $2 WHERE id = $1`, o.text("id"), paused)
		f.exec(t, `UPDATE riverbeat.schedules SET end_at = '2020-01-01' WHERE id = $1`, o.text("id"))
		got := f.do(t, "PATCH", path(o), `{"misfire": "all", "description": "over"}`).want(t, http.StatusOK).object(t)
		equal(t, "state", got.text("state"), "completed")
		f.do(t, "POST", path(o)+"/pause", "").want(t, http.StatusOK)
		got = f.do(t, "POST", path(o)+"/resume", "").want(t, http.StatusOK).object(t)
		equal(t, "state", got.text("state"), "completed")
		equal(t, "next_run_at", got.at("next_run_at"), nil)
		// One that sets it to what is over is a mistake.
		f.do(t, "PATCH", path(o), `{"spec": {"end_at": "2021-01-01T00:00:00Z"}}`).refused(t, http.StatusUnprocessableEntity, "spec.end_at")
		got = f.do(t, "PATCH", path(o), `{"spec": {"end_at": null}, "paused": false}`).want(t, http.StatusOK).object(t)
		equal(t, "state", got.text("state"), "active")
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", `"every": "1h"`))
	f.exec(t, `UPDATE riverbeat.cursors SET last_run_at = '2026-01-01T02:00:00Z', last_job_id = 9007199254740993, run_count = 4 WHERE schedule_id = $1`, o.text("id"))
	f.announced()

	paused := f.do(t, "POST", path(o)+"/pause", `{"reason": "Moving.\nSoon back."}`).want(t, http.StatusOK)
	got := paused.object(t)
	equal(t, "ETag", paused.header.Get("ETag"), `"2"`)
	equal(t, "paused", got.at("paused"), any(true))
	equal(t, "state", got.text("state"), "paused")
	equal(t, "pause_reason", got.text("pause_reason"), "Moving.\nSoon back.")
	equal(t, "next_run_at", got.at("next_run_at"), nil)
	// What has run is not forgotten.
	equal(t, "last_run_at", got.text("last_run_at"), "2026-01-01T02:00:00Z")
	equal(t, "last_job_id", got.text("last_job_id"), "9007199254740993")
	equal(t, "run_count", got.number(t, "run_count"), 4)
	equal(t, "announced", f.announced(), []schedule.Change{{Op: schedule.OpUpdated, ID: parseID(t, o.text("id")), Version: 2}})

	// Once more changes the reason only; without a body there is none.
	got = f.do(t, "POST", path(o)+"/pause", "").want(t, http.StatusOK).object(t)
	equal(t, "pause_reason", got.text("pause_reason"), "")
	equal(t, "version", got.number(t, "version"), 3)
	f.announced()
	f.do(t, "POST", path(o)+"/pause", `{}`).want(t, http.StatusOK)
	f.do(t, "POST", path(o)+"/pause", `{"reason": null}`).want(t, http.StatusOK)
	equal(t, "announced", len(f.announced()), 0)

	// It was paused for a long time: nothing of that is owed.
	f.exec(t, `UPDATE riverbeat.cursors SET changed_at = '2026-01-01' WHERE schedule_id = $1`, o.text("id"))
	f.do(t, "PATCH", path(o), `{"pause_reason": "r"}`).want(t, http.StatusOK)
	got = f.do(t, "POST", path(o)+"/resume", "").want(t, http.StatusOK).object(t)
	equal(t, "state", got.text("state"), "active")
	equal(t, "pause_reason", got.text("pause_reason"), "")
	equal(t, "next_run_at", got.time(t, "next_run_at"), o.time(t, "next_run_at"))
	equal(t, "last_run_at", got.text("last_run_at"), "2026-01-01T02:00:00Z")
	equal(t, "runs", f.do(t, "GET", path(o)+"/runs", "").want(t, http.StatusOK).object(t).list("runs"), []object{})
	f.announced()
	f.do(t, "POST", path(o)+"/resume", "").want(t, http.StatusOK)
	equal(t, "announced", len(f.announced()), 0)

	for body, fields := range map[string][]string{
		`{"reason": 5}`:        {"reason"},
		`{"why": "x"}`:         {"why"},
		`{"reason": "\u0000"}`: {"reason"},
		`{"reason": "\u001b"}`: {"reason"},
		`{"reason": "` + strings.Repeat("x", 1001) + `"}`: {"reason"},
	} {
		f.do(t, "POST", path(o)+"/pause", body).refused(t, http.StatusUnprocessableEntity, fields...)
	}
	for _, body := range []string{`[]`, `null`, `"x"`, `{`, ` `} {
		f.do(t, "POST", path(o)+"/pause", body).refused(t, http.StatusBadRequest)
	}
	equal(t, "state", f.get(t, o.text("id")).text("state"), "active")
}

// A single instant that passed while the schedule was paused isn't owed either.
func TestResumeAfterTheInstantCompletes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, `{"name": "n", "spec": {"at": "2020-01-01T00:00:00Z"}, "job": {"kind": "report"}, "paused": true}`)
	equal(t, "state", o.text("state"), "paused")
	got := f.do(t, "POST", path(o)+"/resume", "").want(t, http.StatusOK).object(t)
	equal(t, "state", got.text("state"), "completed")
	equal(t, "next_run_at", got.at("next_run_at"), nil)
}

// Plain SQL may write what the API wouldn't take. It can be seen, paused and put
// right.
func TestWhatSQLWroteCanBePausedAndPutRight(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.exec(t, `INSERT INTO riverbeat.schedules (name, cron, job_kind) VALUES ('broken', 'never', 'report')`)
	f.get(t, "name:broken")
	paused := f.do(t, "POST", "/v1/schedules/name:broken/pause", `{"reason": "It is wrong."}`).want(t, http.StatusOK).object(t)
	equal(t, "pause_reason", paused.text("pause_reason"), "It is wrong.")
	f.do(t, "POST", "/v1/schedules/name:broken/pause", `{"reason": "\u0007"}`).refused(t, http.StatusUnprocessableEntity, "reason")
	got := f.do(t, "POST", "/v1/schedules/name:broken/resume", "").want(t, http.StatusOK).object(t)
	equal(t, "state", got.text("state"), "invalid")
	if !strings.HasPrefix(got.text("state_reason"), "spec.cron ") {
		t.Errorf("state_reason is %q", got.text("state_reason"))
	}
	f.do(t, "PATCH", "/v1/schedules/name:broken", `{"description": "x"}`).refused(t, http.StatusUnprocessableEntity, "spec.cron")
	got = f.do(t, "PATCH", "/v1/schedules/name:broken", `{"spec": {"cron": "@daily"}}`).want(t, http.StatusOK).object(t)
	equal(t, "state", got.text("state"), "active")
	equal(t, "state_reason", got.text("state_reason"), "")
}
