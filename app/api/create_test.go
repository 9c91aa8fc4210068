package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// whole is a document with every field that a user can set, none at its default.
const whole = `{
	"namespace": "growth", "name": "nightly report", "description": "Two\nlines", "labels": {"team": "growth", "tier": ""},
	"spec": {"cron": "0 3 * * 1-5", "timezone": "Asia/Tokyo", "start_at": "2027-01-01T00:00:00+09:00", "end_at": "2098-01-01T00:00:00Z", "jitter": "90s", "max_runs": 12},
	"job": {"kind": "webhook", "args": {"url": "https://example.com/hook", "body": {"a": [1, null, "<b>"]}}, "queue": "reports", "priority": 3, "max_attempts": 7, "tags": ["night", "report"]},
	"misfire": "all", "misfire_grace": "1h30m", "misfire_limit": 5, "overlap": "allow", "overlap_stale_after": "7d",
	"paused": true, "pause_reason": "Not yet."
}`

func TestCreateAnswersWithAllThatItKept(t *testing.T) {
	t.Parallel()
	f := setup(t)
	before := time.Now().Add(-time.Minute)
	created := f.do(t, "POST", "/v1/schedules", whole).want(t, http.StatusCreated)
	got := created.object(t)
	id := got.text("id")
	equal(t, "Location", created.header.Get("Location"), "/v1/schedules/"+id)
	equal(t, "ETag", created.header.Get("ETag"), `"1"`)
	if at := got.time(t, "created_at"); at.Before(before) || !at.Equal(got.time(t, "updated_at")) {
		t.Errorf("created at %v, updated at %v", at, got.text("updated_at"))
	}
	delete(got, "created_at")
	delete(got, "updated_at")
	want := (&reply{text: `{
		"id": "` + id + `", "namespace": "growth", "name": "nightly report", "description": "Two\nlines", "labels": {"team": "growth", "tier": ""},
		"spec": {"cron": "0 3 * * 1-5", "timezone": "Asia/Tokyo", "start_at": "2026-12-31T15:00:00Z", "end_at": "2098-01-01T00:00:00Z", "jitter": "90s", "max_runs": 12, "exclude": [], "on_excluded": "skip",
			"description": "At 03:00 on weekdays, Asia/Tokyo, from 2027-01-01 00:00, until just before 2098-01-01 09:00, delayed by up to 90 seconds, at most 12 times"},
		"job": {"kind": "webhook", "args": {"url": "https://example.com/hook", "body": {"a": [1, null, "<b>"]}}, "queue": "reports", "priority": 3, "max_attempts": 7, "tags": ["night", "report"]},
		"misfire": "all", "misfire_grace": "90m", "misfire_limit": 5, "overlap": "allow", "overlap_stale_after": "168h",
		"paused": true, "pause_reason": "Not yet.",
		"version": 1, "state": "paused", "state_reason": "", "next_run_at": null, "last_run_at": null, "last_job_id": null, "run_count": 0
	}`}).object(t)
	equal(t, "the schedule", got, want)

	read := f.do(t, "GET", "/v1/schedules/"+id, "").want(t, http.StatusOK)
	equal(t, "what is read later", read.text, created.text)
	equal(t, "its ETag", read.header.Get("ETag"), `"1"`)
	if location, ok := read.header["Location"]; ok {
		t.Errorf("a read has the Location %q", location)
	}
	equal(t, "announced", f.announced(), []schedule.Change{{Op: schedule.OpCreated, ID: parseID(t, id), Version: 1}})
}

func TestCreateFillsInTheDefaults(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const defaults = `{
		"namespace": "default", "description": "", "labels": {},
		"spec": {"every": "15m", "timezone": "UTC", "start_at": null, "end_at": null, "jitter": "0s", "max_runs": null, "exclude": [], "on_excluded": "skip",
			"description": "Every 15 minutes, UTC"},
		"job": {"kind": "report", "args": {}, "queue": "default", "priority": 1, "max_attempts": 25, "tags": []},
		"misfire": "once", "misfire_grace": null, "misfire_limit": 100, "overlap": "allow", "overlap_stale_after": null,
		"paused": false, "pause_reason": "",
		"version": 1, "state": "active", "state_reason": "", "last_run_at": null, "last_job_id": null, "run_count": 0
	}`
	for name, body := range map[string]string{
		"left out": `{"name": "left out", "spec": {"every": "15m"}, "job": {"kind": "report"}}`,
		"null": `{"name": "null", "namespace": null, "description": null, "labels": null,
			"spec": {"every": "15m", "cron": null, "at": null, "timezone": null, "start_at": null, "end_at": null, "jitter": null, "max_runs": null, "exclude": null, "on_excluded": null},
			"job": {"kind": "report", "args": null, "queue": null, "priority": null, "max_attempts": null, "tags": null},
			"misfire": null, "misfire_grace": null, "misfire_limit": null, "overlap": null, "overlap_stale_after": null,
			"paused": null, "pause_reason": null, "id": null, "version": null, "state": null, "created_at": null}`,
		// What the server keeps may be there, as in a document that was read, and is ignored.
		"read-only": `{"name": "read-only", "spec": {"every": "15m"}, "job": {"kind": "report"},
			"id": "00000000-0000-7000-8000-000000000000", "version": 7, "state": "invalid", "state_reason": "x", "next_run_at": "2030-01-01T00:00:00Z",
			"last_run_at": "2020-01-01T00:00:00Z", "last_job_id": "5", "run_count": 9, "created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z"}`,
	} {
		got := f.create(t, body)
		created := got.time(t, "created_at")
		if time.Since(created).Abs() > time.Minute {
			t.Errorf("%s: created at %v", name, created)
		}
		equal(t, name+": next_run_at", got.time(t, "next_run_at"), created.Add(15*time.Minute))
		want := (&reply{text: defaults}).object(t)
		want["name"] = name
		for _, field := range []string{"id", "created_at", "updated_at", "next_run_at"} {
			want[field] = got[field]
		}
		equal(t, name, got, want)
		if strings.HasPrefix(got.text("id"), "00000000") {
			t.Errorf("%s: the client's id was taken", name)
		}
	}
}

func TestCreateSaysWhenItRunsNext(t *testing.T) {
	t.Parallel()
	f := setup(t)
	nextYear := time.Now().UTC().Year() + 1
	year := strconv.Itoa(nextYear)
	newYear := time.Date(nextYear, 1, 1, 0, 0, 0, 0, time.UTC)
	tomorrow := func(created time.Time) time.Time { return created.Truncate(24 * time.Hour).Add(24 * time.Hour) }
	always := func(at time.Time) func(time.Time) time.Time { return func(time.Time) time.Time { return at } }
	for spec, want := range map[string]func(created time.Time) time.Time{
		`"cron": "0 0 1 1 *"`: always(newYear),
		`"cron": "@yearly"`:   always(newYear),
		`"cron": "30 15 9 1 JAN ?", "timezone": "Asia/Tokyo"`:                             always(newYear.Add(15*time.Minute + 30*time.Second)),
		`"cron": "0 0 1 1 *", "timezone": "America/New_York"`:                             always(newYear.Add(5 * time.Hour)),
		`"cron": "0 0 1 1 *", "start_at": "2090-01-01T00:00:00Z"`:                         always(time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)),
		`"cron": "0 0 1 1 *", "jitter": "24h"`:                                            always(newYear),
		`"every": "90s"`:                                                                  func(created time.Time) time.Time { return created.Add(90 * time.Second) },
		`"every": "1.5s"`:                                                                 func(created time.Time) time.Time { return created.Add(1500 * time.Millisecond) },
		`"every": "1d", "start_at": "2020-02-03T00:00:00Z"`:                               tomorrow,
		`"every": "1h", "start_at": "2090-02-03T04:05:06.789Z"`:                           always(time.Date(2090, 2, 3, 4, 5, 6, 789e6, time.UTC)),
		`"at": "` + year + `-06-01T12:00:00+02:00"`:                                       always(time.Date(nextYear, 6, 1, 10, 0, 0, 0, time.UTC)),
		`"at": "` + year + `-06-01T12:00:00.1234567Z"`:                                    always(time.Date(nextYear, 6, 1, 12, 0, 0, 123456e3, time.UTC)),
		`"at": "2020-01-01T00:00:00Z"`:                                                    always(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)), // has passed: due at once
		`"cron": "0 0 29 2 *", "start_at": "9996-01-01T00:00:00Z"`:                        always(time.Date(9996, 2, 29, 0, 0, 0, 0, time.UTC)),
		`"cron": "0 0 1 1 *", "start_at": "` + year + `-01-01T00:00:00Z", "max_runs": 1`:  always(newYear),
		`"every": "87600h", "start_at": "9998-12-31T00:00:00Z"`:                           always(time.Date(9998, 12, 31, 0, 0, 0, 0, time.UTC)),
		`"cron": "0 12 * * *", "start_at": "2090-01-01T13:00:00Z", "timezone": "Etc/UTC"`: always(time.Date(2090, 1, 2, 12, 0, 0, 0, time.UTC)),
	} {
		got := f.create(t, minimal(spec, spec))
		equal(t, spec, got.time(t, "next_run_at"), want(got.time(t, "created_at")))
		equal(t, spec+": state", got.text("state"), "active")
		equal(t, spec+": read later", f.get(t, got.text("id")), got)
		change := f.announced()
		if len(change) != 1 || !change[0].NextRunAt.Equal(got.time(t, "next_run_at")) {
			t.Errorf("%s: announced %+v", spec, change)
		}
	}
}

func TestANameIsUniqueInItsNamespace(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.create(t, minimal("nightly", ""))
	other := f.create(t, `{"namespace": "other", "name": "nightly", "spec": {"every": "5m"}, "job": {"kind": "report"}}`)
	renamed := f.create(t, minimal("Nightly", "")) // case matters
	f.announced()

	taken := func(a *reply) {
		t.Helper()
		p := a.refused(t, http.StatusConflict, "name")
		equal(t, "reason", p.Errors[0].Reason, "is taken in this namespace")
	}
	taken(f.do(t, "POST", "/v1/schedules", minimal("nightly", "")))
	taken(f.do(t, "PUT", "/v1/schedules/"+renamed.text("id"), minimal("nightly", "")))
	taken(f.do(t, "PATCH", "/v1/schedules/"+renamed.text("id"), `{"name": "nightly"}`))
	equal(t, "announced", len(f.announced()), 0)

	equal(t, "found by name", f.get(t, "name:nightly?namespace=other"), other)
	equal(t, "its namespace", other.text("namespace"), "other")
}

func TestAScheduleIsFoundByTheNameInThePath(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, name := range []string{
		"nightly", "two words", " padded ", "a/b", "/", "..", "100%", "50%25", "%2F", "a+b", "a+b c/d", "a?b#c&d=e", "name:nightly", "a:b",
		"ü", "日本語 の 名前", "🌊/🥁", `"quoted" <b>\`, "a;b,c", "naïve\u0301", strings.Repeat("漢", 120),
	} {
		created := f.create(t, minimal(name, ""))
		path := "/v1/schedules/name:" + url.PathEscape(name)
		equal(t, name, f.do(t, "GET", path, "").want(t, http.StatusOK).object(t), created)
		equal(t, name+": runs", f.do(t, "GET", path+"/runs", "").want(t, http.StatusOK).text, `{"runs":[],"next_page_token":""}`+"\n")
		// Any character may be escaped.
		var escaped strings.Builder
		for _, b := range []byte("name:" + name) {
			escaped.WriteString("%" + strconv.FormatUint(uint64(b)|0x100, 16)[1:])
		}
		equal(t, name+": all escaped", f.do(t, "GET", "/v1/schedules/"+escaped.String(), "").want(t, http.StatusOK).object(t), created)
		f.do(t, "DELETE", path, "").want(t, http.StatusNoContent)
		f.do(t, "GET", path, "").refused(t, http.StatusNotFound)
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.create(t, minimal("nightly", "")).text("id")
	const nobody = "019aaaaa-0000-7000-8000-000000000000"
	for _, key := range []string{
		nobody, "00000000-0000-0000-0000-000000000000", id + "?namespace=other",
		"name:daily", "name:", "name:nightly?namespace=other", "name:night", "name:NIGHTLY", "name:nightly%20",
		"name:%00", "name:%ff", "name:nightly%00", "name:" + strings.Repeat("n", 4000), "name:' OR true --", "name:%25",
	} {
		path := "/v1/schedules/" + strings.ReplaceAll(key, " ", "%20")
		suffix := ""
		if before, after, ok := strings.Cut(path, "?"); ok {
			path, suffix = before, "?"+after
		}
		f.do(t, "GET", path+suffix, "").refused(t, http.StatusNotFound)
		f.do(t, "GET", path+"/runs"+suffix, "").refused(t, http.StatusNotFound)
		f.do(t, "PUT", path+suffix, minimal("x", "")).refused(t, http.StatusNotFound)
		f.do(t, "PATCH", path+suffix, "{}").refused(t, http.StatusNotFound)
		f.do(t, "DELETE", path+suffix, "").refused(t, http.StatusNotFound)
		for _, action := range []string{"pause", "resume", "run"} {
			f.do(t, "POST", path+"/"+action+suffix, "").refused(t, http.StatusNotFound)
		}
	}
	// The id finds it whatever its case, and in its own namespace.
	f.get(t, strings.ToUpper(id))
	f.get(t, id+"?namespace=default")

	for _, malformed := range []string{
		"1", "nightly", "Name:nightly", strings.ReplaceAll(id, "-", ""), "{" + id[1:35] + "}", id + "0", "urn:uuid:" + id, "%00", "%ff", id[:35], id[:35] + "g",
	} {
		p := f.do(t, "GET", "/v1/schedules/"+malformed, "").refused(t, http.StatusUnprocessableEntity, "id")
		equal(t, "reason", p.Errors[0].Reason, "must be a UUID, or name: and a name")
		f.do(t, "DELETE", "/v1/schedules/"+malformed, "").refused(t, http.StatusUnprocessableEntity, "id")
	}
}

func parseID(t *testing.T, text string) schedule.ID {
	t.Helper()
	key, err := (&ScheduleParams{ID: text}).key()
	if err != nil {
		t.Fatal(err)
	}
	return key.ID
}
