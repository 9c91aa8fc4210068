package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/rivertype"

	"github.com/riverbeat/riverbeat/db/dbtest"
)

const token = "s3cret-t0ken"

// exchange is a J-Quants-style API whose pages can be spoiled, a request at a time.
type exchange struct {
	*httptest.Server
	pages    []string
	spoil    chan func(http.ResponseWriter) bool // answers in place of the page, or not
	requests chan *http.Request
}

func newExchange(t *testing.T, pages ...string) *exchange {
	e := &exchange{pages: pages, spoil: make(chan func(http.ResponseWriter) bool, 100), requests: make(chan *http.Request, 100)}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.requests <- r
		select {
		case spoil := <-e.spoil:
			if spoil(w) {
				return
			}
		default:
		}
		n := 0
		if key := r.URL.Query().Get("pagination_key"); key != "" {
			if _, err := fmt.Sscanf(key, "page&%d", &n); err != nil {
				http.Error(w, "no such page", http.StatusBadRequest)
				return
			}
		}
		_, _ = io.WriteString(w, e.pages[n])
	}))
	t.Cleanup(e.Close)
	return e
}

func asItIs(http.ResponseWriter) bool { return false }

func answer(status int, body string) func(http.ResponseWriter) bool {
	return func(w http.ResponseWriter) bool {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	}
}

// row is a company in the API's words, with a field that we don't keep.
func row(date, code, name string) string {
	return fmt.Sprintf(`{"Date": %q, "Code": %q, "CompanyName": %q, "CompanyNameEnglish": "E %s", "Sector17Code": "6",
 "Sector17CodeName": "自動車・輸送機", "Sector33Code": "3700", "Sector33CodeName": "輸送用機器", "ScaleCategory": "TOPIX Core30",
 "MarketCode": "0111", "MarketCodeName": "プライム", "MarginCode": "1"}`, date, code, name, code)
}

func page(next string, rows ...string) string {
	return fmt.Sprintf(`{"info": [%s], "pagination_key": %q}`, strings.Join(rows, ","), next)
}

// threePages are four companies.
var threePages = []string{
	page("page&1", row("2026-11-24", "86970", "日本取引所グループ"), row("2026-11-24", "72030", "トヨタ自動車")),
	page("page&2", row("2026-11-24", "67580", "ソニーグループ")),
	`{"info": [` + row("2026-11-24", "79740", "任天堂") + `]}`,
}

// companies are the codes that are stored, in order.
func companies(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT code FROM riverbeat.listed_info ORDER BY date, code`)
	if err != nil {
		t.Fatal(err)
	}
	codes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return codes
}

func TestTheListedCompaniesAreFetchedInSpiteOfFailures(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	api := newExchange(t, threePages...)
	client := work(t, pool, ClientConfig{UserAgent: "riverbeat/1", ListedInfo: ListedInfoConfig{BaseURL: api.URL + "/", Token: token}})
	s := aSchedule(KindListedInfo, `{"date": "2026-11-24"}`)
	s.Job.MaxAttempts = 25

	// The first attempt gets one page, the second two, the third all.
	for _, spoil := range []func(http.ResponseWriter) bool{
		asItIs, answer(http.StatusInternalServerError, token),
		asItIs, asItIs, answer(http.StatusOK, page("", row("2026-11-24", "79740", "任天堂"), row("2026-11-24", "", "?"))),
	} {
		api.spoil <- spoil
	}
	id := insert(t, pool, s)
	job := client.next(t, id)
	if want := "fetch page 2 of the listed companies: the API answered with 500 Internal Server Error"; lastError(job) != want {
		t.Fatalf("the first attempt ended with %q, want %q", lastError(job), want)
	}
	if diff := cmp.Diff(listedInfoOutput{Pages: 1, Rows: 2, Changed: 2}, output[listedInfoOutput](t, job)); diff != "" {
		t.Errorf("output of the first attempt (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"72030", "86970"}, companies(t, pool)); diff != "" {
		t.Errorf("after the first attempt (-want +got):\n%s", diff)
	}

	retryNow(t, client, id)
	job = client.next(t, id)
	if want := "fetch page 3 of the listed companies: row 2 has no Code"; lastError(job) != want {
		t.Fatalf("the second attempt ended with %q, want %q", lastError(job), want)
	}
	if diff := cmp.Diff([]string{"67580", "72030", "86970"}, companies(t, pool)); diff != "" {
		t.Errorf("after the second attempt (-want +got):\n%s", diff)
	}

	retryNow(t, client, id)
	job = client.next(t, id)
	if job.State != rivertype.JobStateCompleted {
		t.Fatalf("the third attempt ended as %s: %s", job.State, lastError(job))
	}
	if diff := cmp.Diff(listedInfoOutput{Pages: 3, Rows: 4, Changed: 1}, output[listedInfoOutput](t, job)); diff != "" {
		t.Errorf("output of the third attempt (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"67580", "72030", "79740", "86970"}, companies(t, pool)); diff != "" {
		t.Errorf("after the third attempt (-want +got):\n%s", diff)
	}

	var got [11]string
	err := pool.QueryRow(t.Context(), `
SELECT date::text, code, company_name, company_name_english, sector17_code, sector17_name,
    sector33_code, sector33_name, scale_category, market_code, market_name
FROM riverbeat.listed_info WHERE code = '72030'`).Scan(
		&got[0], &got[1], &got[2], &got[3], &got[4], &got[5], &got[6], &got[7], &got[8], &got[9], &got[10])
	if err != nil {
		t.Fatal(err)
	}
	want := [11]string{"2026-11-24", "72030", "トヨタ自動車", "E 72030", "6", "自動車・輸送機", "3700", "輸送用機器", "TOPIX Core30", "0111", "プライム"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the row (-want +got):\n%s", diff)
	}

	var queries []string
	for len(api.requests) > 0 {
		r := <-api.requests
		if r.URL.Path != "/v1/listed/info" || r.Header.Get("Authorization") != "Bearer "+token || r.UserAgent() != "riverbeat/1" {
			t.Errorf("the API was asked for %s with %v", r.URL, r.Header)
		}
		queries = append(queries, r.URL.RawQuery)
	}
	first, second, third := "date=2026-11-24", "date=2026-11-24&pagination_key=page%261", "date=2026-11-24&pagination_key=page%262"
	if diff := cmp.Diff([]string{first, second, first, second, third, first, second, third}, queries); diff != "" {
		t.Errorf("queries (-want +got):\n%s", diff)
	}
}

// retryNow spares the wait for a failed job's next attempt.
func retryNow(t *testing.T, client *working, id int64) {
	t.Helper()
	if _, err := client.JobRetry(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// fetcher is a worker for this API.
func fetcher(t *testing.T, pool *pgxpool.Pool, c ListedInfoConfig) *listedInfoWorker {
	t.Helper()
	c.Pool, c.Token = pool, token
	w, err := newListedInfoWorker(c, "riverbeat")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestOnlyWhatDiffersIsWritten(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	api := newExchange(t, threePages...)
	w := fetcher(t, pool, ListedInfoConfig{BaseURL: api.URL})
	fetch := func(want listedInfoOutput) {
		t.Helper()
		got, err := w.fetchAll(t.Context(), ListedInfoArgs{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	versions := func() (s string) {
		t.Helper()
		err := pool.QueryRow(t.Context(), `SELECT string_agg(code || ctid::text || updated_at, ' ' ORDER BY code) FROM riverbeat.listed_info`).Scan(&s)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	fetch(listedInfoOutput{Pages: 3, Rows: 4, Changed: 4})
	before := versions()
	fetch(listedInfoOutput{Pages: 3, Rows: 4, Changed: 0})
	if after := versions(); after != before {
		t.Errorf("the same data were written again:\n%s\n%s", before, after)
	}
	api.pages = append([]string{}, threePages...)
	api.pages[1] = strings.Replace(threePages[1], "ソニーグループ", "ソニー", 1)
	fetch(listedInfoOutput{Pages: 3, Rows: 4, Changed: 1})
	var name string
	var later bool
	if err := pool.QueryRow(t.Context(), `
SELECT company_name, updated_at > (SELECT max(updated_at) FROM riverbeat.listed_info WHERE code <> '67580')
FROM riverbeat.listed_info WHERE code = '67580'`).Scan(&name, &later); err != nil || name != "ソニー" || !later {
		t.Errorf("the company is called %s, updated later: %v, %v", name, later, err)
	}
	// A company twice on a page, and a page without any.
	api.pages = []string{page("page&1", row("2026-11-24", "67580", "old"), row("2026-11-24", "67580", "new")), page("")}
	fetch(listedInfoOutput{Pages: 2, Rows: 2, Changed: 1})
	if err := pool.QueryRow(t.Context(), `SELECT company_name FROM riverbeat.listed_info WHERE code = '67580'`).Scan(&name); err != nil || name != "new" {
		t.Errorf("the company is called %s, %v", name, err)
	}
}

func TestABadAnswerSaysWhichPageAndWhy(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	good := row("2026-11-24", "86970", "日本取引所グループ")
	for _, test := range []struct {
		name, want string
		spoil      func(http.ResponseWriter) bool
	}{
		{"unauthorized", "the API answered with 401 Unauthorized", answer(401, `{"message": "`+token+`"}`)},
		{"forbidden", "the API answered with 403 Forbidden", answer(403, "")},
		{"redirected", "the API answered with 302 Found", func(w http.ResponseWriter) bool {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusFound)
			return true
		}},
		{"created", "the API answered with 201 Created", answer(201, page("", good))},
		{"HTML", "the answer isn't a JSON object as expected", answer(200, "<html>")},
		{"nothing", "the answer isn't a JSON object as expected", answer(200, "")},
		{"two documents", "the answer isn't a JSON object as expected", answer(200, page("")+page(""))},
		{"an array", "the answer isn't a JSON object as expected", answer(200, "[]")},
		{"cut off", "read the answer: unexpected EOF", func(w http.ResponseWriter) bool {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, page("", good)[:40])
			return true
		}},
		{"a message", `the answer has no "info"`, answer(200, `{"message": "come back later"}`)},
		{"null", `the answer has no "info"`, answer(200, `{"info": null}`)},
		{"an object of companies", "the answer's info is of type object, not slice", answer(200, `{"info": {}}`)},
		{"a company that is a string", "the answer's info is of type string, not struct", answer(200, `{"info": ["86970"]}`)},
		{"a number for a code", "the answer's info.Code is of type number, not string", answer(200, page("", good, `{"Code": 86970, "Date": "2026-11-24"}`))},
		{"a number for a page", "the answer's pagination_key is of type number, not string", answer(200, `{"info": [], "pagination_key": 2}`)},
		{"no code", "row 2 has no Code", answer(200, page("", good, `{"Date": "2026-11-24"}`))},
		{"no date", `row 2 (Code "72030") has the Date "", which isn't YYYY-MM-DD`, answer(200, page("", good, `{"Code": "72030"}`))},
		{"no such date", `row 1 (Code "1") has the Date "2026-02-30", which isn't YYYY-MM-DD`, answer(200, page("", row("2026-02-30", "1", ""), good))},
		{"a NUL", `row 1 (Code "1") contains a NUL`, answer(200, page("", `{"Date": "2026-11-24", "Code": "1", "CompanyName": "\u0000"}`, good))},
		{"too much", "the answer is larger than 32 MiB", func(w http.ResponseWriter) bool {
			_, _ = io.WriteString(w, page("", good))
			_, _ = w.Write(make([]byte, 32<<20))
			return true
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			api := newExchange(t, page("page&1", row("2026-11-24", "13010", "極洋")), page("", good))
			api.spoil <- asItIs
			api.spoil <- test.spoil
			output, err := fetcher(t, pool, ListedInfoConfig{BaseURL: api.URL}).fetchAll(t.Context(), ListedInfoArgs{})
			if want := "fetch page 2 of the listed companies: " + test.want; err == nil || err.Error() != want {
				t.Errorf("got %v\nwant %s", err, want)
			}
			if err != nil && strings.Contains(err.Error(), token) {
				t.Error("the error contains the token")
			}
			if output.Pages != 1 || output.Rows != 1 {
				t.Errorf("got %+v, want the first page to be counted", output)
			}
		})
	}
	if diff := cmp.Diff([]string{"13010"}, companies(t, pool)); diff != "" {
		t.Errorf("of the bad pages something was written (-want +got):\n%s", diff)
	}
}

func TestPagesThatLeadInACircleEnd(t *testing.T) {
	t.Parallel()
	api := newExchange(t, page("page&1"), page("page&2"), page("page&1"))
	_, err := fetcher(t, dbtest.Pool(t), ListedInfoConfig{BaseURL: api.URL}).fetchAll(t.Context(), ListedInfoArgs{})
	if want := "page 3 of the listed companies leads back to a page that was read"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// roundTripper answers without a network.
type roundTripper func(*http.Request) *http.Response

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

func TestPagesWithoutEndEnd(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	endless := &http.Client{Transport: roundTripper(func(*http.Request) *http.Response {
		body := page(fmt.Sprint(n.Add(1)))
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body))}
	})}
	_, err := fetcher(t, nil, ListedInfoConfig{BaseURL: "http://api.example", HTTP: endless}).fetchAll(t.Context(), ListedInfoArgs{})
	if want := "the listed companies have more than 10000 pages"; err == nil || err.Error() != want || n.Load() != 10_000 {
		t.Errorf("after %d pages got %v, want %s", n.Load(), err, want)
	}
	if endless.CheckRedirect != nil {
		t.Error("the caller's client was changed")
	}
}

func TestTooManyRequestsPutTheJobOff(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	api := newExchange(t, threePages...)
	client := work(t, pool, ClientConfig{ListedInfo: ListedInfoConfig{BaseURL: api.URL}})
	api.spoil <- asItIs
	api.spoil <- func(w http.ResponseWriter) bool {
		w.Header().Set("Retry-After", "600")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	id := insert(t, pool, aSchedule(KindListedInfo, `{}`)) // which has one attempt only
	job := client.next(t, id)
	if wait := time.Until(job.ScheduledAt); job.State != rivertype.JobStateScheduled || wait < 9*time.Minute || wait > 10*time.Minute {
		t.Errorf("the job is %s for another %s: %s", job.State, wait, lastError(job))
	}
	retryNow(t, client, id)
	if job := client.next(t, id); job.State != rivertype.JobStateCompleted || job.Attempt != 1 {
		t.Errorf("the job is %s, attempt %d: %s", job.State, job.Attempt, lastError(job))
	}
	for len(api.requests) > 0 {
		if r := <-api.requests; r.Header.Get("Authorization") != "" {
			t.Error("an authorization was sent without a token")
		}
	}
}

func TestRetryAfterIsReadWithinBounds(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"":                              time.Minute,
		"soon":                          time.Minute,
		"-5":                            time.Minute,
		"0":                             time.Second,
		"30":                            30 * time.Second,
		" 30 ":                          30 * time.Second,
		"86400":                         time.Hour,
		"99999999999999999999":          time.Minute,
		"Tue, 24 Nov 2026 12:05:00 GMT": 5 * time.Minute,
		"Tue, 24 Nov 2026 11:00:00 GMT": time.Second,
		"Wed, 25 Nov 2026 12:00:00 GMT": time.Hour,
	} {
		if got := snoozeFor(header, noon); got != want {
			t.Errorf("%q: got %s, want %s", header, got, want)
		}
	}
}

func TestWithoutAnAPITheJobIsCancelled(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	client := work(t, pool, ClientConfig{})
	for args, want := range map[string]string{
		`{}`:                   "JobCancelError: no listed-company API is configured (RIVERBEAT_JQUANTS_URL)",
		`{"date": "tomorrow"}`: "JobCancelError: read the job's arguments: job.args.date must be a date such as 2026-11-24",
	} {
		if job := client.next(t, insert(t, pool, aSchedule(KindListedInfo, args))); job.State != rivertype.JobStateCancelled || lastError(job) != want {
			t.Errorf("%s: the job is %s: %s", args, job.State, lastError(job))
		}
	}
}

func TestAStopGivesAFetchBackWithoutALostAttempt(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	api := newExchange(t, threePages...)
	release := make(chan struct{})
	defer close(release)
	api.spoil <- asItIs
	api.spoil <- func(http.ResponseWriter) bool { <-release; return true }
	client := work(t, pool, ClientConfig{ListedInfo: ListedInfoConfig{BaseURL: api.URL}})
	id := insert(t, pool, aSchedule(KindListedInfo, `{}`))
	<-api.requests
	<-api.requests
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := client.StopAndCancel(ctx); err != nil {
		t.Fatal(err)
	}
	if job := client.job(t, id); job.State != rivertype.JobStateAvailable || job.Attempt != 0 || len(job.Errors) != 0 {
		t.Errorf("the job is %s, attempt %d, errors %v", job.State, job.Attempt, job.Errors)
	}
	if diff := cmp.Diff([]string{"72030", "86970"}, companies(t, pool)); diff != "" {
		t.Errorf("the finished page (-want +got):\n%s", diff)
	}
}

func TestListedInfoArgumentsAreChecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args string
		want []string
	}{
		{`{}`, nil},
		{`{"date": "2026-11-24", "code": "86970"}`, nil},
		{`{"code": "130A"}`, nil},
		{`null`, []string{"job.args must be a JSON object"}},
		{`"x"`, []string{"job.args must be a JSON object"}},
		{`{"date": null, "code": 8697}`, []string{"job.args.code must be a string", "job.args.date must be a string"}},
		{`{"date": "", "code": ""}`, []string{"job.args.code must not be empty: leave it out", "job.args.date must not be empty: leave it out"}},
		{`{"Date": "2026-11-24"}`, []string{"job.args.Date isn't an argument of listed_info jobs"}},
		{`{"date": "20261124", "code": "8697 0"}`, []string{"job.args.date must be a date such as 2026-11-24", "job.args.code must be 4 or 5 digits or capital letters"}},
		{`{"date": "2026-02-29"}`, []string{"job.args.date must be a date such as 2026-11-24"}},
		{`{"code": "86970\n"}`, []string{"job.args.code must be 4 or 5 digits or capital letters"}},
	} {
		_, wrong := DecodeListedInfoArgs(json.RawMessage(test.args))
		if diff := cmp.Diff(test.want, fields(wrong)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.args, diff)
		}
	}
}
