package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/zonedata"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/jobs"
)

// Zones are read as the program reads them.
func TestMain(m *testing.M) {
	zones, err := zonedata.Newest("")
	if err != nil {
		panic(err)
	}
	schedule.SetZones(zones.Load)
	dbtest.Main(m)
}

// fixture is the API as it is served, over a database of its own.
type fixture struct {
	pool   *pgxpool.Pool
	server *httptest.Server

	mu      sync.Mutex
	changes []schedule.Change
	hear    func(schedule.Change) // what else is told of them; nil: nothing
}

func setup(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{pool: dbtest.Pool(t)}
	f.server = httptest.NewServer(newHandler(t, f.pool, f.announce))
	t.Cleanup(f.server.Close)
	return f
}

func newHandler(t testing.TB, pool *pgxpool.Pool, announce func(schedule.Change)) http.Handler {
	t.Helper()
	return New(Config{Service: newService(t, pool, announce), Door: openDoor(pool), Version: "test", Log: dbtest.Log(t)})
}

// openDoor takes who brings no token for the operator, until there is one.
func openDoor(pool *pgxpool.Pool) *app.Door { return app.NewDoor(db.NewStore(pool), true, discard()) }

func newService(t testing.TB, pool *pgxpool.Pool, announce func(schedule.Change)) *app.Service {
	t.Helper()
	inserter, err := jobs.NewInserter(pool)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := app.ParseKeyring(testKeys)
	if err != nil {
		t.Fatal(err)
	}
	return app.NewService(db.NewStore(pool), inserter, app.Config{Zones: "2026f", Announce: announce, Keys: keys})
}

func (f *fixture) announce(c schedule.Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hear != nil {
		f.hear(c)
	}
	f.changes = append(f.changes, c)
}

// announced is what was announced since it was last asked.
func (f *fixture) announced() []schedule.Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	changes := f.changes
	f.changes = nil
	return changes
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	text   string
}

// do sends a request; headers are names and values in turn.
func (f *fixture) do(t *testing.T, method, path, body string, headers ...string) *reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, f.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := f.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	// Whatever a test asks, the answer is one that the document knows.
	if err := theContract().check(method, path, response.StatusCode, response.Header, string(text)); err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	return &reply{status: response.StatusCode, header: response.Header, text: string(text)}
}

// want fails the test unless the reply has the status; it is the reply.
func (a *reply) want(t *testing.T, status int) *reply {
	t.Helper()
	if a.status != status {
		t.Fatalf("the status is %d, want %d: %s", a.status, status, a.text)
	}
	switch contentType := a.header.Get("Content-Type"); {
	case status == http.StatusNoContent:
	case status >= 400 && contentType != "application/problem+json", status < 400 && contentType != "application/json":
		t.Errorf("a %d is %q", status, contentType)
	}
	return a
}

// refused fails the test unless the reply is a problem about exactly these
// fields.
func (a *reply) refused(t *testing.T, status int, fields ...string) problem {
	t.Helper()
	a.want(t, status)
	var p problem
	if err := json.Unmarshal([]byte(a.text), &p); err != nil {
		t.Fatalf("read the problem: %v\n%s", err, a.text)
	}
	if p.Status != status || p.Type != "about:blank" || p.Title != http.StatusText(status) {
		t.Errorf("the problem says %d %q %q", p.Status, p.Type, p.Title)
	}
	var named []string
	for _, e := range p.Errors {
		named = append(named, e.Field)
		if e.Reason == "" {
			t.Errorf("no reason is given for %s", e.Field)
		}
	}
	if diff := cmp.Diff(fields, named); diff != "" {
		t.Errorf("fields that are wrong (-want +got):\n%s%s", diff, a.text)
	}
	return p
}

// object is the JSON of the reply.
func (a *reply) object(t *testing.T) object {
	t.Helper()
	var o object
	decoder := json.NewDecoder(strings.NewReader(a.text))
	decoder.UseNumber()
	if err := decoder.Decode(&o); err != nil {
		t.Fatalf("read the answer: %v\n%s", err, a.text)
	}
	return o
}

// object is a JSON object with its numbers as they were written.
type object map[string]any

// at is the value at a path such as "spec.cron".
func (o object) at(path string) any {
	var value any = map[string]any(o)
	for name := range strings.SplitSeq(path, ".") {
		members, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = members[name]
	}
	return value
}

func (o object) text(path string) string {
	text, _ := o.at(path).(string)
	return text
}

func (o object) number(t *testing.T, path string) int64 {
	t.Helper()
	number, ok := o.at(path).(json.Number)
	if !ok {
		t.Fatalf("%s is %v", path, o.at(path))
	}
	n, err := number.Int64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (o object) time(t *testing.T, path string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, o.text(path))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return at
}

// list is an array of objects.
func (o object) list(path string) []object {
	members, _ := o.at(path).([]any)
	list := make([]object, len(members))
	for i, member := range members {
		fields, _ := member.(map[string]any)
		list[i] = fields
	}
	return list
}

// create is a new schedule.
func (f *fixture) create(t *testing.T, body string) object {
	t.Helper()
	return f.do(t, "POST", "/v1/schedules", body).want(t, http.StatusCreated).object(t)
}

// minimal is a document with these spec members, or every 5 minutes.
func minimal(name, spec string) string {
	if spec == "" {
		spec = `"every": "5m"`
	}
	return `{"name": ` + quoted(name) + `, "spec": {` + spec + `}, "job": {"kind": "report"}}`
}

func quoted(text string) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // strings can be written
	return strings.TrimSuffix(out.String(), "\n")
}

func (f *fixture) get(t *testing.T, id string) object {
	t.Helper()
	return f.do(t, "GET", "/v1/schedules/"+id, "").want(t, http.StatusOK).object(t)
}

func (f *fixture) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := f.pool.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

func query[T any](t *testing.T, f *fixture, statement string, args ...any) (value T) {
	t.Helper()
	if err := f.pool.QueryRow(t.Context(), statement, args...).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// stored is a fingerprint of everything that a request could write.
func (f *fixture) stored(t *testing.T) string {
	t.Helper()
	return query[string](t, f, `
SELECT concat_ws(' ',
    (SELECT md5(string_agg(s::text, '' ORDER BY id)) FROM riverbeat.schedules s),
    (SELECT md5(string_agg(c::text, '' ORDER BY schedule_id)) FROM riverbeat.cursors c),
    (SELECT md5(string_agg(r::text, '' ORDER BY schedule_id, scheduled_for)) FROM riverbeat.runs r),
    (SELECT md5(string_agg(j::text, '' ORDER BY id)) FROM river_job j))`)
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
