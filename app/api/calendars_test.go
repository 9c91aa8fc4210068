package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// sprint is fmt.Sprintln without its end.
func sprint(values ...any) string { return strings.TrimSpace(fmt.Sprintln(values...)) }

// calendar is a new one.
func (f *fixture) calendar(t *testing.T, body string) object {
	t.Helper()
	return f.do(t, "POST", "/v1/calendars", body).want(t, http.StatusCreated).object(t)
}

func TestACalendarIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const body = `{"name": "jp-holidays", "namespace": "tse", "timezone": "Asia/Tokyo", "weekends": true,
		"days": [{"from": "2026-12-31", "to": "2027-01-03", "name": "New Year"}, {"from": "2027-02-11"}]}`
	created := f.do(t, "POST", "/v1/calendars", body).want(t, http.StatusCreated)
	equal(t, "Location", created.header.Get("Location"), "/v1/calendars/jp-holidays?namespace=tse")
	equal(t, "ETag", created.header.Get("ETag"), `"1"`)
	read := f.do(t, "GET", created.header.Get("Location"), "").want(t, http.StatusOK)
	equal(t, "read", read.text, created.text)
	got := read.object(t)
	for _, kept := range []string{"created_at", "updated_at"} {
		if time.Since(got.time(t, kept)).Abs() > time.Minute {
			t.Errorf("%s is %s", kept, got.text(kept))
		}
		delete(got, kept)
	}
	want := (&reply{text: body}).object(t)
	want["version"] = got["version"]
	equal(t, "the calendar", got, want)
	equal(t, "announced", f.announced(), []schedule.Change{{}})

	defaults := f.calendar(t, `{"name": "none", "days": null}`)
	equal(t, "defaults", sprint(defaults.at("namespace"), defaults.at("timezone"), defaults.at("weekends"), defaults.at("days")), "default UTC false []")
	f.do(t, "POST", "/v1/calendars", `{"name": "none"}`).refused(t, http.StatusConflict, "name")
	f.do(t, "GET", "/v1/calendars/jp-holidays", "").refused(t, http.StatusNotFound) // of another namespace
	f.do(t, "GET", "/v1/calendars/No%20Name", "").refused(t, http.StatusNotFound)
}

func TestCalendarsAreListedByNamePageByPage(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, name := range []string{"c", "a", "b", "e", "d"} {
		f.calendar(t, `{"name": "`+name+`"}`)
	}
	f.calendar(t, `{"name": "other", "namespace": "other"}`)
	var names []string
	for page := ""; ; {
		got := f.do(t, "GET", "/v1/calendars?page_size=2"+page, "").want(t, http.StatusOK).object(t)
		for _, c := range got.list("calendars") {
			names = append(names, c.text("name"))
		}
		if got.text("next_page_token") == "" {
			break
		}
		page = "&page_token=" + got.text("next_page_token")
	}
	equal(t, "names", strings.Join(names, ""), "abcde")
	f.do(t, "GET", "/v1/calendars?page_token=AAAA", "").refused(t, http.StatusUnprocessableEntity, "page_token")
}

func TestACalendarIsEditedInWholeAndInPart(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.calendar(t, `{"name": "c", "timezone": "Asia/Tokyo", "weekends": true, "days": [{"from": "2026-12-25", "name": "Christmas"}]}`)
	f.announced()
	edit := func(method, body string, headers ...string) *reply {
		return f.do(t, method, "/v1/calendars/c", body, headers...)
	}
	got := edit("PATCH", `{"days": [{"from": "2026-12-26"}]}`, "Content-Type", "application/merge-patch+json").want(t, http.StatusOK)
	equal(t, "ETag", got.header.Get("ETag"), `"2"`)
	equal(t, "patched", sprint(got.object(t).at("timezone"), got.object(t).at("weekends"), got.object(t).at("days")), "Asia/Tokyo true [map[from:2026-12-26]]")
	edit("PUT", `{"name": "c"}`, "If-Match", `"1"`).refused(t, http.StatusPreconditionFailed)
	got = edit("PUT", `{"name": "c"}`, "If-Match", `"2"`).want(t, http.StatusOK)
	equal(t, "replaced", sprint(got.object(t).at("timezone"), got.object(t).at("weekends"), got.object(t).at("days")), "UTC false []")
	equal(t, "announced", len(f.announced()), 2)

	// Saving it as it is writes and announces nothing.
	again := edit("PUT", got.text).want(t, http.StatusOK)
	equal(t, "saved again", again.text, got.text)
	equal(t, "announced", len(f.announced()), 0)

	edit("PUT", `{"name": "d"}`).refused(t, http.StatusUnprocessableEntity, "name")
	edit("PATCH", `{"namespace": "other"}`).refused(t, http.StatusUnprocessableEntity, "namespace")
	edit("DELETE", "", "If-Match", `"1"`).refused(t, http.StatusPreconditionFailed)
	edit("DELETE", "").want(t, http.StatusNoContent)
	edit("GET", "").refused(t, http.StatusNotFound)
	edit("DELETE", "").refused(t, http.StatusNotFound)
}

func TestBadCalendarsAreRefusedByField(t *testing.T) {
	t.Parallel()
	f := setup(t)
	many := strings.Repeat(`{"from": "2026-12-25"},`, schedule.MaxDayRanges+1)
	for body, fields := range map[string][]string{
		`{}`: {"name"}, `{"name": "Upper"}`: {"name"}, `{"name": "a b"}`: {"name"}, `{"name": "c", "namespace": "-"}`: {"namespace"},
		`{"name": "c", "timezone": "Tokyo"}`: {"timezone"}, `{"name": "c", "weekends": "yes"}`: {"weekends"}, `{"name": "c", "holidays": []}`: {"holidays"},
		`{"name": "c", "days": {}}`: {"days"}, `{"name": "c", "days": ["2026-12-25"]}`: {"days.0"}, `{"name": "c", "days": [{}]}`: {"days.0.from"},
		`{"name": "c", "days": [{"from": "2026-12-25"}, {"from": "2026-02-30"}]}`:                     {"days.1.from"},
		`{"name": "c", "days": [{"from": "25.12.2026"}]}`:                                             {"days.0.from"},
		`{"name": "c", "days": [{"from": 20261225}]}`:                                                 {"days.0.from"},
		`{"name": "c", "days": [{"from": "2026-12-25", "to": "2026-12-24"}]}`:                         {"days.0.to"},
		`{"name": "c", "days": [{"from": "2026-01-01", "to": "2027-06-01"}]}`:                         {"days.0.to"},
		`{"name": "c", "days": [{"from": "1969-12-31"}]}`:                                             {"days.0.from"},
		`{"name": "c", "days": [{"from": "2026-12-25", "name": "` + strings.Repeat("n", 121) + `"}]}`: {"days.0.name"},
		`{"name": "c", "days": [` + strings.TrimSuffix(many, ",") + `]}`:                              {"days"},
	} {
		f.do(t, "POST", "/v1/calendars", body).refused(t, http.StatusUnprocessableEntity, fields...)
	}
	f.do(t, "POST", "/v1/calendars", `[]`).refused(t, http.StatusBadRequest)
	equal(t, "calendars", query[int](t, f, `SELECT count(*) FROM riverbeat.calendars`), 0)
}

// Friday, New Year's Day of 2027, begins a long weekend in Tokyo.
const holidays = `{"name": "holidays", "timezone": "Asia/Tokyo", "weekends": true, "days": [{"from": "2027-01-01", "to": "2027-01-03", "name": "New Year"}]}`

func TestAScheduleLeavesOutTheDaysOfItsCalendars(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.calendar(t, holidays)
	next := func(name, more string) (string, object) {
		o := f.create(t, minimal(name, `"cron": "0 9 * * *", "timezone": "Asia/Tokyo", "start_at": "2026-12-31T15:00:00Z", `+more))
		return o.text("next_run_at"), o
	}
	plain, _ := next("plain", `"exclude": []`)
	equal(t, "plain", plain, "2027-01-01T00:00:00Z")
	skip, o := next("skip", `"exclude": ["holidays"]`)
	equal(t, "skip", skip, "2027-01-04T00:00:00Z")
	equal(t, "its spec", sprint(o.at("spec.exclude"), o.at("spec.on_excluded")), "[holidays] skip")
	moved, _ := next("moved", `"exclude": ["holidays"], "on_excluded": "next_day"`)
	equal(t, "next_day", moved, "2027-01-04T00:00:00Z")

	// Edits of the calendar, and of what the schedule makes of it, count at once.
	f.do(t, "PATCH", path(o), `{"spec": {"exclude": null}}`).want(t, http.StatusOK)
	equal(t, "without the calendar", f.get(t, "name:skip").text("next_run_at"), "2027-01-01T00:00:00Z")
	f.do(t, "PATCH", path(o), `{"spec": {"exclude": ["holidays"]}}`).want(t, http.StatusOK)
	equal(t, "with it again", f.get(t, "name:skip").text("next_run_at"), "2027-01-04T00:00:00Z")
	f.announced()
	f.do(t, "PATCH", "/v1/calendars/holidays", `{"weekends": false, "days": [{"from": "2027-01-01"}]}`).want(t, http.StatusOK)
	equal(t, "announced", f.announced(), []schedule.Change{{}})
	equal(t, "to be planned", query[int](t, f, `SELECT count(*) FROM riverbeat.cursors WHERE dirty AND next_run_at IS NULL`), 2)

	problem := f.do(t, "DELETE", "/v1/calendars/holidays", "").refused(t, http.StatusConflict)
	if !strings.Contains(problem.Detail, "in use by the schedule") {
		t.Errorf("the detail is %q", problem.Detail)
	}
}

func TestASpecNamesCalendarsThatExistAndLeaveSomething(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.calendar(t, holidays)
	f.calendar(t, `{"name": "new-year", "days": [{"from": "2027-01-01"}]}`)
	f.calendar(t, `{"name": "elsewhere", "namespace": "other"}`)
	for spec, fields := range map[string][]string{
		`"exclude": ["holidays", "gone"]`:                     {"spec.exclude.1"},
		`"exclude": ["elsewhere"]`:                            {"spec.exclude.0"},
		`"exclude": ["No Name"]`:                              {"spec.exclude.0"},
		`"exclude": ["holidays", "holidays"]`:                 {"spec.exclude.1"},
		`"exclude": "holidays"`:                               {"spec.exclude"},
		`"exclude": ["holidays"], "on_excluded": "later"`:     {"spec.on_excluded"},
		`"exclude": ["` + strings.Repeat(`a", "`, 16) + `b"]`: nil,
		`"start_at": "2027-01-01T00:00:00Z", "end_at": "2027-01-02T00:00:00Z", "exclude": ["new-year"]`: {"spec.exclude"},
	} {
		answer := f.do(t, "POST", "/v1/schedules", minimal("n", `"cron": "0 9 * * *", `+spec))
		if fields == nil {
			answer.want(t, http.StatusUnprocessableEntity)
			continue
		}
		answer.refused(t, http.StatusUnprocessableEntity, fields...)
	}
	f.do(t, "POST", "/v1/schedules", minimal("n", `"at": "2027-01-01T09:00:00Z", "exclude": ["new-year"]`)).refused(t, http.StatusUnprocessableEntity, "spec.at")
	f.do(t, "POST", "/v1/schedules", minimal("n", `"cron": "* 9 * * *", "exclude": ["new-year"], "on_excluded": "next_day"`)).refused(t, http.StatusUnprocessableEntity, "spec.on_excluded")
	equal(t, "schedules", query[int](t, f, `SELECT count(*) FROM riverbeat.schedules`), 0)

	// One that SQL wrote is set aside by its name, may be edited otherwise, and
	// comes back to life with the calendar.
	f.exec(t, `INSERT INTO riverbeat.schedules (name, cron, job_kind, exclude) VALUES ('sql', '0 9 * * *', 'report', '{gone}')`)
	o := f.do(t, "PATCH", "/v1/schedules/name:sql", `{"description": "d"}`).want(t, http.StatusOK).object(t)
	equal(t, "its state", o.text("state")+": "+o.text("state_reason"), "invalid: spec.exclude names the calendar gone, which doesn't exist")
	f.calendar(t, `{"name": "gone"}`)
	equal(t, "to be planned", query[bool](t, f, `SELECT dirty FROM riverbeat.cursors`), true)
}

func TestAPreviewShowsWhatCalendarsDo(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.calendar(t, holidays)
	list := func(o object, name string) string {
		var runs []string
		for _, run := range o.list(name) {
			runs = append(runs, strings.TrimSpace(run.text("local")+" "+run.text("note")))
		}
		return strings.Join(runs, ", ")
	}
	const from = `"from": "2026-12-30T15:00:00Z"`
	for body, want := range map[string][2]string{
		`{"spec": {"cron": "0 9 * * *", "timezone": "Asia/Tokyo", "exclude": ["holidays"]}, ` + from + `, "count": 2}`: {
			"2026-12-31T09:00:00+09:00, 2027-01-04T09:00:00+09:00",
			"2027-01-01T09:00:00+09:00 excluded by holidays: New Year, 2027-01-02T09:00:00+09:00 excluded by holidays: New Year, 2027-01-03T09:00:00+09:00 excluded by holidays: New Year",
		},
		`{"spec": {"cron": "0 9 1 * *", "timezone": "Asia/Tokyo", "exclude": ["holidays"], "on_excluded": "next_day"}, ` + from + `, "count": 1}`: {
			"2027-01-04T09:00:00+09:00 moved from Friday 2027-01-01 by holidays", "",
		},
		`{"spec": {"at": "2027-01-01T00:00:00Z", "exclude": ["holidays"]}, ` + from + `}`:                        {"", "2027-01-01T00:00:00Z excluded by holidays: New Year"},
		`{"spec": {"at": "2026-12-30T00:00:00Z", "exclude": ["holidays"]}, ` + from + `}`:                        {"2026-12-30T00:00:00Z has passed: due at once", ""},
		`{"spec": {"at": "2026-12-26T00:00:00Z", "exclude": ["holidays"]}, ` + from + `}`:                        {"", "2026-12-26T00:00:00Z excluded by holidays: Saturday"},
		`{"spec": {"cron": "0 9 2 1 *", "exclude": ["holidays"]}, ` + from + `, "to": "2027-01-10T00:00:00Z"}`:   {"", "2027-01-02T09:00:00Z excluded by holidays: New Year"},
		`{"spec": {"every": "24h", "jitter": "90s", "exclude": []}, "from": "2026-12-30T00:00:00Z", "count": 1}`: {"2026-12-31T00:00:00Z jitter: due up to 90s later", ""},
	} {
		got := f.do(t, "POST", "/v1/preview", body).want(t, http.StatusOK).object(t)
		equal(t, body, [2]string{list(got, "runs"), list(got, "excluded")}, want)
	}
	got := f.do(t, "POST", "/v1/preview", `{"spec": {"cron": "0 9 * * *", "exclude": ["holidays"]}, "from": "2027-01-01T00:00:00Z", "to": "2027-02-01T00:00:00Z"}`).want(t, http.StatusOK).object(t)
	equal(t, "total", got.number(t, "total"), 20)
	f.do(t, "POST", "/v1/preview", `{"spec": {"every": "1h", "exclude": ["gone"]}}`).refused(t, http.StatusUnprocessableEntity, "spec.exclude.0")
	f.do(t, "POST", "/v1/preview", `{"namespace": "other", "spec": {"every": "1h", "exclude": ["holidays"]}}`).refused(t, http.StatusUnprocessableEntity, "spec.exclude.0")
}

func TestAPreviewOfAStoredScheduleKnowsItsJitterAndItsRuns(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", `"cron": "0 0 1 1 *", "jitter": "24h", "max_runs": 3`))
	f.exec(t, `UPDATE riverbeat.cursors SET run_count = 1`)
	for _, name := range []string{"name:n", o.text("id")} {
		got := f.do(t, "POST", "/v1/preview", `{"schedule": "`+name+`", "to": "2090-01-01T00:00:00Z"}`).want(t, http.StatusOK).object(t)
		runs := got.list("runs")
		equal(t, "runs", len(runs), 2)
		equal(t, "total", got.number(t, "total"), 2)
		equal(t, "the first", runs[0].text("at"), o.text("next_run_at"))
		fireAt := query[time.Time](t, f, `SELECT fire_at FROM riverbeat.cursors`)
		equal(t, "its note", runs[0].text("note"), "jitter: due "+schedule.FormatDuration(fireAt.Sub(runs[0].time(t, "at")))+" later")
		equal(t, "description", got.text("description"), o.text("spec.description"))
	}
	f.do(t, "POST", "/v1/preview", `{"schedule": "name:gone"}`).refused(t, http.StatusNotFound)
	f.do(t, "POST", "/v1/preview", `{"schedule": "n"}`).refused(t, http.StatusUnprocessableEntity, "schedule")
	f.do(t, "POST", "/v1/preview", `{"schedule": "name:n", "spec": {"every": "1h"}}`).refused(t, http.StatusUnprocessableEntity, "schedule")
	f.do(t, "POST", "/v1/preview", `{"schedule": "name:n", "namespace": "N"}`).refused(t, http.StatusUnprocessableEntity, "namespace")
}

func TestAnICalendarFileBecomesDays(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.calendar(t, `{"name": "uk", "timezone": "Europe/London", "weekends": true, "days": [{"from": "2020-01-01"}]}`)
	const file = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20261225\r\nDTEND;VALUE=DATE:20261227\r\nSUMMARY:Christmas\r\nEND:VEVENT\r\n" +
		"BEGIN:VEVENT\r\nUID:2\r\nDTSTART;VALUE=DATE:20270101\r\nRRULE:FREQ=YEARLY\r\nSUMMARY:New Year\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
	post := func(path, body, contentType string) *reply {
		return f.do(t, "POST", path, body, "Content-Type", contentType)
	}
	got := post("/v1/calendars/uk/import?until_year=2028", file, "text/calendar; charset=utf-8").want(t, http.StatusOK).object(t)
	equal(t, "the calendar", sprint(got.at("timezone"), got.at("weekends"), got.at("days")),
		"Europe/London true [map[from:2026-12-25 name:Christmas to:2026-12-26] map[from:2027-01-01 name:New Year] map[from:2028-01-01 name:New Year]]")
	got = post("/v1/calendars/uk/import", file, "text/calendar").want(t, http.StatusOK).object(t)
	equal(t, "days", len(got.list("days")), 1+time.Now().Year()+defaultUntil-2026)

	post("/v1/calendars/uk/import", file, "application/json").refused(t, http.StatusUnsupportedMediaType)
	post("/v1/calendars", file, "text/calendar").refused(t, http.StatusUnsupportedMediaType)
	post("/v1/calendars/gone/import", file, "text/calendar").refused(t, http.StatusNotFound)
	post("/v1/calendars/uk/import", "hello", "text/calendar").refused(t, http.StatusUnprocessableEntity, "file")
	post("/v1/calendars/uk/import?until_year=99999", file, "text/calendar").refused(t, http.StatusUnprocessableEntity, "until_year")
	post("/v1/calendars/uk/import", strings.Repeat("x", 2<<20), "text/calendar").refused(t, http.StatusRequestEntityTooLarge)
	f.do(t, "POST", "/v1/calendars/uk/import", file, "Content-Type", "text/calendar", "If-Match", `"1"`).refused(t, http.StatusPreconditionFailed)
}
