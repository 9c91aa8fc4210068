package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

func TestWhatIsNotThereIsAProblem(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.create(t, minimal("n", "")).text("id")
	for _, path := range []string{
		"/", "/v1", "/v1/", "/v2/schedules", "/v1/schedules/", "/v1/schedules/" + id + "/", "/v1/schedules/" + id + "/unknown",
		"/v1/schedules/" + id + "/runs/2026-01-01T00:00:00Z", "/v1/schedules/" + id + "/runs/2026-01-01T00:00:00Z/x", "/schemas/Problem.json", "/metrics", "/riverui/", "/%00", "/..%2f", "/v1/schedules/a/b",
	} {
		f.do(t, "GET", path, "").refused(t, http.StatusNotFound)
	}
	f.do(t, "GET", "/v1/schedules//runs", "").refused(t, http.StatusUnprocessableEntity, "id")
	f.do(t, "GET", "/v1/schedules/"+id+"/runs/1", "").refused(t, http.StatusUnprocessableEntity, "scheduled_for")
	for path, methods := range map[string]map[string]string{
		"/v1/schedules":                 {"PUT": "GET, POST", "DELETE": "GET, POST", "PATCH": "GET, POST", "BREW": "GET, POST"},
		"/v1/schedules/" + id:           {"POST": "GET, PUT, PATCH, DELETE"},
		"/v1/schedules/" + id + "/run":  {"GET": "POST", "PUT": "POST"},
		"/v1/schedules/" + id + "/runs": {"POST": "GET"},
		"/livez":                        {"POST": "GET"},
	} {
		for method, allowed := range methods {
			answer := f.do(t, method, path, "")
			answer.refused(t, http.StatusMethodNotAllowed)
			for _, want := range strings.Split(allowed, ", ") {
				if !strings.Contains(answer.header.Get("Allow"), want) {
					t.Errorf("%s %s: Allow is %q, want %s", method, path, answer.header.Get("Allow"), want)
				}
			}
		}
	}
}

// logged is a handler that keeps what is logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serve is a fixture over this configuration. Its open door has a database that is
// there, whatever the service has.
func serve(t *testing.T, config Config) (*fixture, *logged) {
	t.Helper()
	log := &logged{}
	config.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	config.Door = openDoor(dbtest.Pool(t))
	f := &fixture{server: httptest.NewServer(New(config))}
	t.Cleanup(f.server.Close)
	return f, log
}

// anID is the id of nothing.
const anID = "00000000-0000-4000-8000-000000000001"

// requests are one to every route that needs the database.
var requests = []struct{ method, path, body string }{
	{"GET", "/v1/schedules", ""},
	{"POST", "/v1/schedules", minimal("n", "")},
	{"GET", "/v1/schedules/name:n", ""},
	{"PUT", "/v1/schedules/name:n", minimal("n", "")},
	{"PATCH", "/v1/schedules/name:n", "{}"},
	{"DELETE", "/v1/schedules/name:n", ""},
	{"POST", "/v1/schedules/name:n/pause", ""},
	{"POST", "/v1/schedules/name:n/resume", ""},
	{"POST", "/v1/schedules/name:n/run", ""},
	{"GET", "/v1/schedules/name:n/runs", ""},
	{"GET", "/v1/schedules/name:n/runs/2026-01-01T00:00:00Z", ""},
	{"POST", "/v1/schedules/name:n/runs/2026-01-01T00:00:00Z/cancel", ""},
	{"POST", "/v1/schedules/name:n/runs/2026-01-01T00:00:00Z/retry", ""},
	{"GET", "/v1/schedules/name:n/revisions", ""},
	{"GET", "/v1/schedules/name:n/revisions/1", ""},
	{"POST", "/v1/schedules/name:n/revisions/1/restore", ""},
	{"POST", "/v1/apply", `{"schedules": [` + minimal("n", "") + `]}`},
	{"GET", "/v1/runs", ""},
	{"POST", "/v1/schedules/pause", `{"namespace": "default"}`},
	{"POST", "/v1/schedules/resume", `{"namespace": "default"}`},
	{"POST", "/v1/schedules/name:n/backfill", `{"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}`},
	{"GET", "/v1/schedules/name:n/propagation", ""},
	{"GET", "/v1/schedulers", ""},
	{"GET", "/v1/catch-up", ""},
	{"GET", "/v1/calendars", ""},
	{"POST", "/v1/calendars", `{"name": "c"}`},
	{"GET", "/v1/calendars/c", ""},
	{"PUT", "/v1/calendars/c", "{}"},
	{"PATCH", "/v1/calendars/c", "{}"},
	{"DELETE", "/v1/calendars/c", ""},
	{"GET", "/v1/tokens", ""},
	{"POST", "/v1/tokens", `{"name": "t", "scopes": ["read"]}`},
	{"GET", "/v1/tokens/" + anID, ""},
	{"DELETE", "/v1/tokens/" + anID, ""},
	{"GET", "/v1/alerts", ""},
	{"GET", "/v1/alerts/a", ""},
	{"PUT", "/v1/alerts/a", `{"webhook": {"url": "https://example.com"}}`},
	{"DELETE", "/v1/alerts/a", ""},
	{"GET", "/v1/secrets", ""},
	{"GET", "/v1/secrets/s", ""},
	{"PUT", "/v1/secrets/s", `{"value": "v"}`},
	{"POST", "/v1/secrets/s", ""},
	{"DELETE", "/v1/secrets/s", ""},
}

func TestAFaultCarriesNoDetail(t *testing.T) {
	t.Parallel()
	pool, err := db.OpenPool(t.Context(), "postgres://somebody:secret@127.0.0.1/nowhere", "riverbeat-test", 1)
	if err != nil {
		t.Fatal(err)
	}
	pool.Close() // nobody foresaw that
	f, log := serve(t, Config{Service: newService(t, pool, nil)})
	for i, r := range requests {
		id := fmt.Sprintf("fault-%d", i)
		answer := f.do(t, r.method, r.path, r.body, "X-Request-Id", id)
		answer.refused(t, http.StatusInternalServerError)
		equal(t, "the body", answer.text, `{"type":"about:blank","title":"Internal Server Error","status":500}`+"\n")
		if !regexp.MustCompile(`"level":"ERROR","msg":"a request failed","err":"[^"]*closed pool","request_id":"` + id + `"`).MatchString(log.String()) {
			t.Errorf("%s %s: the log doesn't say what it was: %s", r.method, r.path, log)
		}
	}
}

func TestADatabaseThatIsAwayIsA503(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	f, log := serve(t, Config{Service: newService(t, dbtest.Open(t, "postgres://somebody:canary@"+closed+"/nowhere"), nil)})
	for _, r := range requests {
		answer := f.do(t, r.method, r.path, r.body)
		p := answer.refused(t, http.StatusServiceUnavailable)
		equal(t, "Retry-After", answer.header.Get("Retry-After"), "1")
		equal(t, "detail", p.Detail, "The database can't be reached or is busy. Try again.")
	}
	if !strings.Contains(log.String(), "a request could not be served") || strings.Contains(log.String(), "canary") {
		t.Errorf("the log: %s", log)
	}
	// What needs no database goes on.
	f.do(t, "GET", "/livez", "").want(t, http.StatusOK)
	f.do(t, "POST", "/v1/preview", `{"spec": {"every": "1h"}}`).want(t, http.StatusOK)
}

func TestARowThatStaysLockedIsA503(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	tx, err := f.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }() // only the lock matters
	if _, err := tx.Exec(t.Context(), `SELECT FROM riverbeat.schedules FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	answer := f.do(t, "PATCH", path(o), `{"description": "x"}`)
	answer.refused(t, http.StatusServiceUnavailable)
	equal(t, "Retry-After", answer.header.Get("Retry-After"), "1")
	f.do(t, "GET", path(o), "").want(t, http.StatusOK)
	equal(t, "announced", len(f.announced()), 1)
}

func TestAClientThatLeftIsNoFault(t *testing.T) {
	t.Parallel()
	log := &logged{}
	pool := dbtest.Pool(t)
	handler := New(Config{Service: newService(t, pool, nil), Door: openDoor(pool), Log: slog.New(slog.NewJSONHandler(log, nil))})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, "GET", "/v1/schedules", nil))
	equal(t, "status", recorder.Code, statusClientGone)
	if strings.Contains(log.String(), "ERROR") || strings.Contains(log.String(), "WARN") {
		t.Errorf("the log: %s", log)
	}
}

func TestAPanicIsA500WithoutItsStack(t *testing.T) {
	t.Parallel()
	f, log := serve(t, Config{
		Ready:   func(context.Context) []Check { panic("the secret is 42") },
		RiverUI: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
	})
	answer := f.do(t, "GET", "/readyz", "", "X-Request-Id", "it-panics")
	answer.refused(t, http.StatusInternalServerError)
	equal(t, "the body", answer.text, `{"type":"about:blank","title":"Internal Server Error","status":500}`+"\n")
	for _, want := range []string{`"msg":"a request panicked"`, "the secret is 42", "http_test.go", `"request_id":"it-panics"`, `"status":500`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s: %s", want, log)
		}
	}
	f.do(t, "GET", "/livez", "").want(t, http.StatusOK)

	// A handler may ask for the connection to be cut.
	request, err := http.NewRequestWithContext(t.Context(), "GET", f.server.URL+"/riverui/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := f.server.Client().Do(request); err == nil {
		_ = response.Body.Close()
		t.Errorf("the connection was not cut: %d", response.StatusCode)
	}
}

func TestWritesFromOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stored := f.stored(t)
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://example.com"}, {"Origin", "null"},
	} {
		for _, r := range requests {
			if r.method != "GET" {
				answer := f.do(t, r.method, r.path, r.body, headers...)
				p := answer.refused(t, http.StatusForbidden)
				equal(t, "detail", p.Detail, "Writes from other sites are refused.")
				equal(t, "nosniff", answer.header.Get("X-Content-Type-Options"), "nosniff")
			}
		}
		f.do(t, "GET", "/v1/schedules", "", headers...).want(t, http.StatusOK)
	}
	equal(t, "stored", f.stored(t), stored)
	for i, headers := range [][]string{
		{}, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", f.server.URL},
	} {
		f.do(t, "POST", "/v1/schedules", minimal(fmt.Sprint(i), ""), headers...).want(t, http.StatusCreated)
	}
}

func TestEveryAnswerHasItsHeaders(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, r := range append(requests, struct{ method, path, body string }{"GET", "/nowhere", ""}, struct{ method, path, body string }{"PUT", "/livez", ""},
		struct{ method, path, body string }{"GET", "/openapi.json", ""}, struct{ method, path, body string }{"POST", "/v1/schedules", "x"}) {
		answer := f.do(t, r.method, r.path, r.body, "X-Request-Id", "from:client/1")
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"X-Request-Id": "from:client/1",
		} {
			equal(t, r.method+" "+r.path+": "+name, answer.header.Get(name), want)
		}
	}
	seen := map[string]bool{}
	for _, odd := range []string{"", "two words", strings.Repeat("x", 129), "ü", "a\tb"} {
		id := f.do(t, "GET", "/livez", "", "X-Request-Id", odd).header.Get("X-Request-Id")
		if !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(id) || seen[id] {
			t.Errorf("%q became %q", odd, id)
		}
		seen[id] = true
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	gone := errors.New("can't be reached")
	for want, checks := range map[string][]Check{
		`200 {"status":"ok","checks":{}}`:                                                      nil,
		`200 {"status":"ok","checks":{"postgresql":"ok","redis":"ok"}}`:                        {{Part: "postgresql", Required: true}, {Part: "redis"}},
		`200 {"status":"ok","checks":{"tzdata":"ok: 2026f"}}`:                                  {{Part: "tzdata", Detail: "2026f"}},
		`200 {"status":"degraded","checks":{"postgresql":"ok","redis":"can't be reached"}}`:    {{Part: "postgresql", Required: true}, {Part: "redis", Err: gone}},
		`503 {"status":"unavailable","checks":{"postgresql":"can't be reached","redis":"ok"}}`: {{Part: "postgresql", Required: true, Err: gone}, {Part: "redis"}},
		`503 {"status":"unavailable","checks":{"notify":"can't be reached","postgresql":"can't be reached","redis":"can't be reached"}}`: {
			{Part: "notify", Err: gone}, {Part: "postgresql", Required: true, Err: gone}, {Part: "redis", Err: gone}},
	} {
		f, _ := serve(t, Config{Ready: func(context.Context) []Check { return checks }})
		answer := f.do(t, "GET", "/readyz", "")
		equal(t, "readyz", fmt.Sprint(answer.status, " ", strings.TrimSpace(answer.text)), want)
		equal(t, "livez", f.do(t, "GET", "/livez", "").want(t, http.StatusOK).text, `{"status":"ok"}`+"\n")
	}
	f, _ := serve(t, Config{})
	f.do(t, "GET", "/readyz", "").want(t, http.StatusOK)
	// Without the API's role there is no API.
	f.do(t, "GET", "/v1/schedules", "").refused(t, http.StatusNotFound)
}

func TestWhatIsGivenIsServedBeside(t *testing.T) {
	t.Parallel()
	page := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, name+" "+r.URL.Path) })
	}
	f, _ := serve(t, Config{Metrics: page("metrics"), RiverUI: page("river")})
	for path, want := range map[string]string{"/metrics": "metrics /metrics", "/riverui": "river /riverui", "/riverui/": "river /riverui/", "/riverui/jobs/5": "river /riverui/jobs/5"} {
		answer := f.do(t, "GET", path, "")
		equal(t, path, answer.text, want)
		if policy := answer.header.Get("Content-Security-Policy"); strings.Contains(path, "riverui") != strings.Contains(policy, "script-src 'self'") {
			t.Errorf("%s has the policy %q", path, policy)
		}
	}
	equal(t, "a write from here", f.do(t, "POST", "/riverui/api/jobs/cancel", "{}").status, http.StatusOK)
	f.do(t, "POST", "/riverui/api/jobs/cancel", "{}", "Sec-Fetch-Site", "cross-site").refused(t, http.StatusForbidden)
}

// document is the OpenAPI description.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct {
		Schemas   map[string]schema
		Responses map[string]response
	}
}

type operation struct {
	OperationID string
	Summary     string
	Security    []map[string][]string
	Parameters  []struct {
		Name, In string
	}
	RequestBody struct {
		Required bool
		Content  map[string]struct{ Schema schema }
	}
	Responses map[string]response
}

type response struct {
	Ref     string `json:"$ref"`
	Content map[string]struct{ Schema schema }
}

type schema struct {
	Ref        string `json:"$ref"`
	Type       any
	Examples   []json.RawMessage
	Properties map[string]schema
}

func (f *fixture) description(t *testing.T) document {
	t.Helper()
	answer := f.do(t, "GET", "/openapi.json", "")
	equal(t, "status", answer.status, http.StatusOK)
	var d document
	if err := json.Unmarshal([]byte(answer.text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTheDescriptionListsEveryRoute(t *testing.T) {
	t.Parallel()
	f := setup(t)
	d := f.description(t)
	equal(t, "openapi", d.OpenAPI, "3.1.0")
	got := map[string]bool{}
	for path, operations := range d.Paths {
		for method, o := range operations {
			got[strings.ToUpper(method)+" "+path] = true
			if o.OperationID == "" || o.Summary == "" || len(o.Responses) == 0 {
				t.Errorf("%s %s is described as %+v", method, path, o)
			}
			for status, response := range o.Responses {
				if name, ok := strings.CutPrefix(response.Ref, "#/components/responses/"); ok {
					response = d.Components.Responses[name]
				}
				if _, isProblem := response.Content["application/problem+json"]; isProblem != (status >= "400") && path != "/readyz" {
					t.Errorf("%s %s: %s is %v", method, path, status, response.Content)
				}
			}
		}
	}
	want := map[string]bool{"GET /livez": true, "GET /readyz": true, "POST /v1/preview": true, "POST /v1/calendars/{name}/import": true}
	for _, r := range requests {
		want[r.method+" "+strings.NewReplacer("name:n", "{id}", "calendars/c", "calendars/{name}", "alerts/a", "alerts/{name}", "secrets/s", "secrets/{name}", anID, "{id}", "2026-01-01T00:00:00Z", "{scheduled_for}", "revisions/1", "revisions/{version}").Replace(r.path)] = true
	}
	equal(t, "routes", got, want)
}

func TestTheExamplesOfTheDescriptionAreTaken(t *testing.T) {
	t.Parallel()
	f := setup(t)
	d := f.description(t)
	taken := 0
	// In the order in which they make sense: there must be something to edit.
	for _, r := range []struct{ method, path string }{
		{"POST", "/v1/schedules"}, {"PATCH", "/v1/schedules/{id}"}, {"PUT", "/v1/schedules/{id}"}, {"POST", "/v1/schedules/{id}/pause"}, {"POST", "/v1/schedules/{id}/run"}, {"POST", "/v1/schedules/{id}/backfill"},
		{"POST", "/v1/schedules/pause"}, {"POST", "/v1/schedules/resume"}, {"POST", "/v1/preview"}, {"POST", "/v1/apply"},
		{"POST", "/v1/calendars"}, {"PUT", "/v1/calendars/{name}"}, {"PATCH", "/v1/calendars/{name}"},
	} {
		o := d.Paths[r.path][strings.ToLower(r.method)]
		if o.RequestBody.Required != (!strings.HasSuffix(r.path, "{id}/pause") && !strings.HasSuffix(r.path, "/run")) {
			t.Errorf("%s %s: the body is required: %v", r.method, r.path, o.RequestBody.Required)
		}
		for contentType, content := range o.RequestBody.Content {
			described := content.Schema
			if name, ok := strings.CutPrefix(described.Ref, "#/components/schemas/"); ok {
				described = d.Components.Schemas[name]
			}
			if len(described.Examples) == 0 {
				t.Errorf("%s %s has no example", r.method, r.path)
			}
			for _, example := range described.Examples {
				answer := f.do(t, r.method, strings.NewReplacer("{id}", "name:nightly-report", "{name}", "jp-holidays").Replace(r.path), string(example), "Content-Type", contentType)
				if answer.status >= 300 {
					t.Errorf("%s %s with its example: %d %s", r.method, r.path, answer.status, answer.text)
				}
				taken++
			}
		}
	}
	equal(t, "examples", taken, 16)

	// Whatever an answer holds is described.
	o := f.get(t, "name:nightly-report")
	for name, part := range map[string]object{"Schedule": o, "Spec": o.at("spec").(map[string]any), "Job": o.at("job").(map[string]any)} {
		for field, value := range part {
			described, ok := d.Components.Schemas[name].Properties[field]
			if !ok {
				t.Errorf("%s.%s isn't described", name, field)
			}
			if value == nil && !strings.Contains(fmt.Sprint(described.Type), "null") {
				t.Errorf("%s.%s may be null, but is described as %v", name, field, described.Type)
			}
		}
	}
}

func TestForeignHostsAreRefusedOnlyByAServerThatIsLocal(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]int{"localhost": 200, "LOCALHOST:1": 200, "127.0.0.1:8080": 200, "[::1]": 200, "evil.example": 421, "127.0.0.1.evil.example:80": 421, "localhost.evil.example": 421} {
		for _, local := range []bool{true, false} {
			handler := New(Config{LocalOnly: local, Log: dbtest.Log(t)})
			request := httptest.NewRequestWithContext(t.Context(), "GET", "/livez", nil)
			request.Host = host
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, request)
			if !local {
				want = 200
			}
			if answer.Code != want {
				t.Errorf("%s, local %t: %d, want %d: %s", host, local, answer.Code, want, answer.Body)
			}
		}
	}
}
