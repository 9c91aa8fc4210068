package api

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func (f *fixture) list(t *testing.T, query string) object {
	t.Helper()
	return f.do(t, "GET", "/v1/schedules"+query, "").want(t, http.StatusOK).object(t)
}

func names(list []object) []string {
	names := make([]string, len(list))
	for i, o := range list {
		names[i] = o.text("name")
	}
	return names
}

func TestAnEmptyListIsAnArray(t *testing.T) {
	t.Parallel()
	f := setup(t)
	equal(t, "the list", f.do(t, "GET", "/v1/schedules", "").want(t, http.StatusOK).text, `{"schedules":[],"next_page_token":""}`+"\n")
}

func TestPagesShowEachScheduleOnceWhileOthersAreAdded(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var want []string
	for i := range 23 {
		name := fmt.Sprint("first ", i)
		f.create(t, minimal(name, ""))
		want = append(want, name)
	}
	var got []string
	pages := 0
	for query := "?page_size=4"; ; pages++ {
		page := f.list(t, query)
		got = append(got, names(page.list("schedules"))...)
		token := page.text("next_page_token")
		if token == "" {
			break
		}
		if n := len(page.list("schedules")); n != 4 {
			t.Fatalf("a page has %d schedules", n)
		}
		if pages < 5 { // one that comes after the rest, and one that sorts before it
			f.create(t, minimal(fmt.Sprint("later ", pages), ""))
			f.exec(t, `INSERT INTO riverbeat.schedules (id, name, every, job_kind) VALUES ($1, $2, '5m', 'report')`,
				fmt.Sprintf("00000000-0000-7000-8000-%012d", pages), fmt.Sprint("earlier ", pages))
		}
		query = "?page_size=4&page_token=" + url.QueryEscape(token)
	}
	equal(t, "those from the beginning, in order", got[:23], want)
	if slices.Sort(got); len(slices.Compact(got)) != 28 {
		t.Errorf("read %v", got)
	}
}

func TestPageSize(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.exec(t, `INSERT INTO riverbeat.schedules (name, every, job_kind) SELECT 'n' || n, '5m', 'report' FROM generate_series(1, 1001) n`)
	id := f.list(t, "?name=n1").list("schedules")[0].text("id")
	for query, want := range map[string]int{"": 50, "?page_size=1": 1, "?page_size=1000": 1000} {
		page := f.list(t, query)
		equal(t, query, len(page.list("schedules")), want)
		if page.text("next_page_token") == "" {
			t.Errorf("%s: there is no next page", query)
		}
	}
	// The last page is known to be the last, also when it is full.
	equal(t, "next_page_token", f.list(t, "?page_size=1&name=n7").text("next_page_token"), "")
	for _, path := range []string{"/v1/schedules", "/v1/schedules/" + id + "/runs"} {
		for size, reason := range map[string]string{
			"0": "must be at least 1", "-1": "must be at least 1", "1001": "must be at most 1000", "": "must not be empty: leave it out",
			"99999999999999999999": "must be a whole number", "1.5": "must be a whole number", "ten": "must be a whole number",
			"1e3": "must be a whole number", "0x10": "must be a whole number", "%00": "must be a whole number",
		} {
			p := f.do(t, "GET", path+"?page_size="+size, "").refused(t, http.StatusUnprocessableEntity, "page_size")
			equal(t, size, p.Errors[0].Reason, reason)
		}
	}
}

func TestATokenIsOneOfThisList(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i := range 3 {
		f.create(t, minimal(fmt.Sprint(i), ""))
	}
	runs := "/v1/schedules/name:0/runs"
	for range 3 {
		f.do(t, "POST", "/v1/schedules/name:0/run", "").want(t, http.StatusAccepted)
	}
	ofSchedules := f.list(t, "?page_size=1").text("next_page_token")
	ofRuns := f.do(t, "GET", runs+"?page_size=1", "").want(t, http.StatusOK).object(t).text("next_page_token")
	f.list(t, "?page_token="+ofSchedules)
	f.do(t, "GET", runs+"?page_token="+ofRuns, "").want(t, http.StatusOK)

	encode := func(raw string) string { return base64.RawURLEncoding.EncodeToString([]byte(raw)) }
	bad := []string{
		"x", "%00", "!!!!", "null", "1", ofSchedules + ofSchedules, ofSchedules[1:], ofSchedules + "=", encode(strings.Repeat("x", 15)),
		encode(strings.Repeat("x", 17)), encode(strings.Repeat("x", 7)), encode(strings.Repeat("x", 9)), strings.Repeat("A", 200),
	}
	tooFar := []string{ // instants that nothing can show
		encode("\xff\xff\xff\xff\xff\xff\xff\xff"), encode("\x7f\xff\xff\xff\xff\xff\xff\xff"), encode("\x80\x00\x00\x00\x00\x00\x00\x00"),
	}
	for path, tokens := range map[string][]string{"/v1/schedules": append(bad, ofRuns), runs: append(append(bad, ofSchedules), tooFar...)} {
		for _, token := range tokens {
			p := f.do(t, "GET", path+"?page_token="+token, "").refused(t, http.StatusUnprocessableEntity, "page_token")
			equal(t, token, p.Errors[0].Reason, "must be the next_page_token of the page before, of a list with the same filters and order")
		}
		p := f.do(t, "GET", path+"?page_token="+strings.Repeat("A", 1001), "").refused(t, http.StatusUnprocessableEntity, "page_token")
		equal(t, "reason", p.Errors[0].Reason, "must be at most 1000 characters long")
	}
}

func TestListShowsWhatTheFilterLetsThrough(t *testing.T) {
	t.Parallel()
	f := setup(t)
	add := func(name, namespace, labels, kind, spec string) {
		t.Helper()
		f.create(t, fmt.Sprintf(`{"name": %s, "namespace": %q, "labels": %s, "job": {"kind": %q}, "spec": {%s}}`, quoted(name), namespace, labels, kind, spec))
	}
	add("nightly", "default", `{"team": "growth", "tier": "1"}`, "report", `"every": "5m"`)
	add("nightly two", "default", `{"team": "growth", "tier": "2", "url": "a:b"}`, "report", `"every": "5m"`)
	add("50%_off", "default", `{"team": "sales"}`, "mail", `"every": "5m"`)
	add("nightly", "other", `{"tier": ""}`, "Report", `"every": "5m"`)
	add("paused", "default", `{}`, "report", `"every": "5m"`)
	add("completed", "default", `{}`, "report", `"at": "2020-01-01T00:00:00Z"`)
	add("invalid", "default", `{}`, "report", `"every": "5m"`)
	add("invalid and paused", "default", `{}`, "report", `"every": "5m"`)
	f.do(t, "POST", "/v1/schedules/name:paused/pause", "").want(t, http.StatusOK)
	f.do(t, "POST", "/v1/schedules/name:invalid%20and%20paused/pause", "").want(t, http.StatusOK)
	f.exec(t, `UPDATE riverbeat.cursors SET state = 'invalid' WHERE schedule_id IN (SELECT id FROM riverbeat.schedules WHERE name LIKE 'invalid%')`)
	f.exec(t, `UPDATE riverbeat.cursors SET state = 'completed', next_run_at = NULL, fire_at = NULL WHERE schedule_id = (SELECT id FROM riverbeat.schedules WHERE name = 'completed')`)

	for query, want := range map[string][]string{
		"?namespace=other":                     {"nightly"},
		"?namespace=nobody":                    {},
		"?name=nightly":                        {"nightly", "nightly"},
		"?name=nightly&namespace=default":      {"nightly"},
		"?name=night":                          {},
		"?name=%20nightly":                     {},
		"?name_prefix=night&namespace=default": {"nightly", "nightly two"},
		"?name_prefix=50%25_":                  {"50%_off"},
		"?name_prefix=50%25%25":                {},
		"?name_prefix=%25":                     {},
		"?name_prefix=_":                       {},
		"?label=team:growth":                   {"nightly", "nightly two"},
		"?label=team:growth&label=tier:2":      {"nightly two"},
		"?label=url:a:b":                       {"nightly two"},
		"?label=tier:":                         {"nightly"},
		"?label=team:grow":                     {},
		"?label=Team:growth":                   {},
		"?label=team:growth,tier:2":            {},
		"?kind=mail":                           {"50%_off"},
		"?kind=Report":                         {"nightly"},
		"?state=paused":                        {"paused"},
		"?state=completed":                     {"completed"},
		"?state=invalid":                       {"invalid", "invalid and paused"},
		"?state=active&namespace=default":      {"nightly", "nightly two", "50%_off"},
		"?state=active&kind=report&label=tier:1&name_prefix=n": {"nightly"},
		"?name=%27%20OR%20true%20--":                           {},
	} {
		page := f.list(t, query)
		equal(t, query, names(page.list("schedules")), want)
		equal(t, query+": next_page_token", page.text("next_page_token"), "")
		for _, o := range page.list("schedules") {
			equal(t, query+": as read alone", o, f.get(t, o.text("id")))
		}
	}
	// The filter holds on every page.
	page := f.list(t, "?name_prefix=night&page_size=2")
	rest := f.list(t, "?name_prefix=night&page_size=2&page_token="+page.text("next_page_token"))
	equal(t, "pages", append(names(page.list("schedules")), names(rest.list("schedules"))...), []string{"nightly", "nightly two", "nightly"})
}

func TestListRefusesParametersThatItWouldPassOver(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for query, want := range map[string]struct{ field, reason string }{
		"?nmae=nightly":                     {"nmae", "isn't a parameter that is known here"},
		"?Name=nightly":                     {"Name", "isn't a parameter that is known here"},
		"?limit=5":                          {"limit", "isn't a parameter that is known here"},
		"?cancel_jobs=true":                 {"cancel_jobs", "isn't a parameter that is known here"},
		"?state=broken":                     {"state", `must be one of "active, paused, completed, invalid"`},
		"?state=":                           {"state", "must not be empty: leave it out"},
		"?state=active&state=paused":        {"state", "must be given once"},
		"?namespace=Default":                {"namespace", "must be 1 to 63 lower-case letters, digits and hyphens, the first not a hyphen"},
		"?namespace=-x":                     {"namespace", "must be 1 to 63 lower-case letters, digits and hyphens, the first not a hyphen"},
		"?namespace=%00":                    {"namespace", "must be 1 to 63 lower-case letters, digits and hyphens, the first not a hyphen"},
		"?name=%00":                         {"name", "must be valid UTF-8 without NUL characters"},
		"?name=%ff":                         {"name", "must be valid UTF-8 without NUL characters"},
		"?name_prefix=%ff":                  {"name_prefix", "must be valid UTF-8 without NUL characters"},
		"?kind=x%00":                        {"kind", "must be valid UTF-8 without NUL characters"},
		"?name=" + strings.Repeat("n", 121): {"name", "must be at most 120 characters long"},
		"?label=team":                       {"label", "must be key:value"},
		"?label=:growth":                    {"label", "must be key:value"},
		"?label=a:1&label=a:2":              {"label", "must not name a key twice"},
		"?label=a:%00":                      {"label", "must be valid UTF-8 without NUL characters"},
		"?label=a:%ff":                      {"label", "must be valid UTF-8 without NUL characters"},
		"?label=&label=a:b":                 {"label", "must not be empty: leave it out"},
		"?" + strings.Repeat("label=a:b&", 17)[:169]: {"label", "must be given at most 16 times"},
	} {
		p := f.do(t, "GET", "/v1/schedules"+query, "").refused(t, http.StatusUnprocessableEntity, want.field)
		equal(t, query, p.Errors[0].Reason, want.reason)
	}
	for _, query := range []string{"?name=%", "?name=%zz", "?name=a;kind=b"} {
		f.do(t, "GET", "/v1/schedules"+query, "").refused(t, http.StatusBadRequest)
	}
	// An unknown one in a write would be just as surprising.
	id := f.create(t, minimal("kept", "")).text("id")
	f.do(t, "DELETE", "/v1/schedules/"+id+"?cancel=true", "").refused(t, http.StatusUnprocessableEntity, "cancel")
	f.do(t, "DELETE", "/v1/schedules/"+id+"?cancel_jobs=yes", "").refused(t, http.StatusUnprocessableEntity, "cancel_jobs")
	f.do(t, "DELETE", "/v1/schedules/"+id+"?cancel_jobs=%zz", "").refused(t, http.StatusBadRequest)
	f.do(t, "POST", "/v1/schedules?dry_run=true", minimal("x", "")).refused(t, http.StatusUnprocessableEntity, "dry_run")
	equal(t, "left", names(f.list(t, "").list("schedules")), []string{"kept"})
}
