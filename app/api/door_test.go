package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// guarded is the API behind a door that is closed, with a line of its log for each
// request.
type guarded struct {
	*fixture
	service *app.Service
	log     *logged
}

func behindDoor(t *testing.T, change func(*Config)) *guarded {
	t.Helper()
	pool := dbtest.Pool(t)
	g := &guarded{fixture: &fixture{pool: pool}, service: newService(t, pool, nil), log: &logged{}}
	page := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		fmt.Fprintf(w, "%s %s %d bytes, %q", r.Method, r.URL.Path, len(body), slices.Concat(r.Header["Authorization"], r.Header["Cookie"]))
	}
	log := slog.New(slog.NewJSONHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	config := Config{
		Service: g.service, Door: app.NewDoor(db.NewStore(pool), false, log), Version: "test", Log: log,
		Metrics: http.HandlerFunc(page), RiverUI: http.HandlerFunc(page),
	}
	if change != nil {
		change(&config)
	}
	g.server = httptest.NewServer(New(config))
	t.Cleanup(g.server.Close)
	return g
}

// operator is the context of who may do everything.
func operator(t testing.TB) context.Context {
	return app.WithCaller(t.Context(), app.Operator("test"))
}

// token is a new one with these scopes.
func (g *guarded) token(t *testing.T, token app.Token, scopes ...string) string {
	t.Helper()
	token.Scopes, token.Name = scopes, "a token"
	_, secret, err := g.service.CreateToken(operator(t), token)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// as sends a request with the token.
func (g *guarded) as(t *testing.T, token, method, path, body string, headers ...string) *reply {
	t.Helper()
	return g.do(t, method, path, body, append([]string{"Authorization", "Bearer " + token}, headers...)...)
}

// anybody may ask for these: probes have no tokens, and their answers name neither
// schedules nor namespaces.
var anybody = []string{"GET /livez", "GET /readyz"}

// operations calls do with each operation of the document that isn't for anybody.
func (g *guarded) operations(t *testing.T, token string, do func(method, path string, o operation)) (count int) {
	t.Helper()
	var d document
	answer := g.as(t, token, "GET", "/openapi.json", "")
	if err := json.Unmarshal([]byte(answer.text), &d); err != nil {
		t.Fatalf("%v in %s", err, answer.text)
	}
	for path, operations := range d.Paths {
		for method, o := range operations {
			method = strings.ToUpper(method)
			if slices.Contains(anybody, method+" "+path) {
				if len(o.Security) > 0 {
					t.Errorf("%s %s is for anybody, and says it needs %v", method, path, o.Security)
				}
				continue
			}
			if len(o.Security) != 1 || len(o.Security[0]["token"]) != 1 {
				t.Errorf("%s %s doesn't say what it needs: %v", method, path, o.Security)
				continue
			}
			for _, status := range []string{"401", "403", "429"} {
				if _, ok := o.Responses[status]; !ok {
					t.Errorf("%s %s doesn't list %s", method, path, status)
				}
			}
			do(method, path, o)
			count++
		}
	}
	return count
}

func filled(path string) string {
	return strings.NewReplacer("{id}", anID, "{name}", "nothing", "{version}", "1").Replace(path)
}

func TestWithoutAValidTokenEveryOperationAndPageIsA401(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	all := g.token(t, app.Token{}, "read", "write", "admin")
	revoked, expired := g.token(t, app.Token{}, "read", "write", "admin"), g.token(t, app.Token{}, "read", "write", "admin")
	g.exec(t, `UPDATE riverbeat.tokens SET revoked_at = now() WHERE hint = $1`, revoked[:8])
	g.exec(t, `UPDATE riverbeat.tokens SET expires_at = now() WHERE hint = $1`, expired[:8])
	unknown := "rb_" + strings.Repeat("0", 49)
	bad := map[string][]string{
		"none": nil, "empty": {"Authorization", ""}, "no token": {"Authorization", "Bearer rb_x"}, "another scheme": {"Authorization", "Basic " + all},
		"the token alone": {"Authorization", all}, "unknown": {"Authorization", "Bearer " + unknown}, "revoked": {"Authorization", "Bearer " + revoked},
		"expired": {"Authorization", "Bearer " + expired}, "a cookie": {"Cookie", "riverbeat=" + all}, "one letter more": {"Authorization", "Bearer " + all + "x"},
		"another case": {"Authorization", "Bearer " + strings.ToUpper(all)},
	}
	want := ""
	refused := func(what string, answer *reply) {
		t.Helper()
		answer.refused(t, http.StatusUnauthorized)
		equal(t, what+": WWW-Authenticate", answer.header.Get("WWW-Authenticate"), `Bearer realm="riverbeat"`)
		if want == "" {
			want = answer.text
		}
		equal(t, what+": the same answer whatever is wrong", answer.text, want)
	}
	stored := g.stored(t)
	n := g.operations(t, all, func(method, path string, _ operation) {
		refused(method+" "+path, g.do(t, method, filled(path), "{}"))
		refused(method+" "+path, g.do(t, method, filled(path), "no JSON", "Cookie", "riverbeat="+all))
	})
	if n < 20 {
		t.Fatalf("there are only %d operations", n)
	}
	for what, headers := range bad {
		for _, path := range []string{"/v1/schedules", "/v1/nothing", "/nothing", "/", "/metrics", "/docs/", "/docs", "/openapi.json", "/openapi.yaml", "/riverui", "/riverui/", "/riverui/api/jobs"} {
			refused(what+" "+path, g.do(t, "GET", path, "", headers...))
		}
		refused(what, g.do(t, "POST", "/riverui/api/jobs/delete", "{}", headers...))
		refused(what, g.do(t, "DELETE", "/v1/schedules", "", headers...))
	}
	refused("two tokens", g.do2(t, all, all))
	equal(t, "stored", g.stored(t), stored)
	for _, open := range anybody {
		g.do(t, "GET", strings.TrimPrefix(open, "GET "), "").want(t, http.StatusOK)
	}
	g.do(t, "GET", "/v1/schedules", "", "Authorization", "bearer  "+all).want(t, http.StatusOK)
}

// do2 sends two tokens.
func (g *guarded) do2(t *testing.T, first, second string) *reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", g.server.URL+"/v1/schedules", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header["Authorization"] = []string{"Bearer " + first, "Bearer " + second}
	return g.send(t, request)
}

func (f *fixture) send(t *testing.T, request *http.Request) *reply {
	t.Helper()
	response, err := f.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &reply{status: response.StatusCode, header: response.Header, text: string(text)}
}

func TestWithoutItsScopeEveryOperationIsA403ThatNamesIt(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	all := g.token(t, app.Token{}, "read", "write", "admin")
	without := map[string]string{
		"read": g.token(t, app.Token{}, "write", "admin"), "write": g.token(t, app.Token{}, "read", "admin"), "admin": g.token(t, app.Token{}, "read", "write"),
	}
	limited := g.token(t, app.Token{Namespaces: []string{"default"}}, "read", "write", "admin")
	stored, seen := g.stored(t), map[string]int{}
	g.operations(t, all, func(method, path string, o operation) {
		scope := o.Security[0]["token"][0]
		seen[scope]++
		tokens := []string{without[scope]}
		if scope == "admin" {
			tokens = append(tokens, limited)
		}
		contentType := "application/json"
		if _, ok := o.RequestBody.Content["text/calendar"]; ok {
			contentType = "text/calendar"
		}
		for _, token := range tokens {
			for _, body := range []string{"{}", "no JSON"} {
				answer := g.as(t, token, method, filled(path), body, "Content-Type", contentType)
				p := answer.refused(t, http.StatusForbidden)
				if !strings.Contains(p.Detail, "the scope "+scope) || !strings.Contains(answer.header.Get("WWW-Authenticate"), `scope="`+scope+`"`) {
					t.Errorf("%s %s: %s, %s", method, path, answer.text, answer.header.Get("WWW-Authenticate"))
				}
			}
		}
		if answer := g.as(t, all, method, filled(path)+"?unknown_parameter=1", "{}"); answer.status == 401 || answer.status == 403 {
			t.Errorf("%s %s with every scope: %d", method, path, answer.status)
		}
	})
	equal(t, "stored", g.stored(t), stored)
	if seen["read"] < 5 || seen["write"] < 5 || seen["admin"] < 4 {
		t.Errorf("operations by scope: %v", seen)
	}
	// Pages.
	for path, want := range map[string][]int{ // with: all, read and write, write and admin, read and admin, limited
		"/metrics": {200, 200, 200, 200, 403}, "/riverui/": {200, 403, 200, 200, 403}, "/docs/": {200, 200, 200, 200, 200}, "/openapi.json": {200, 200, 200, 200, 200},
	} {
		for i, token := range []string{all, without["admin"], without["read"], without["write"], limited} {
			if answer := g.as(t, token, "GET", path, ""); answer.status != want[i] {
				t.Errorf("%s with token %d: %d, want %d", path, i, answer.status, want[i])
			}
		}
	}
	writer := g.token(t, app.Token{}, "write")
	g.as(t, writer, "GET", "/metrics", "").refused(t, http.StatusForbidden)
	kinds := g.token(t, app.Token{Kinds: []string{"report"}}, "read", "write")
	g.as(t, kinds, "POST", "/riverui/api/jobs/retry", "{}").refused(t, http.StatusForbidden)
}

const canary = "canary-of-theirs"

// theirs fills a namespace with one of everything, named as the examples of the
// document name things, so that what they ask for is there.
func (g *guarded) theirs(t *testing.T) (id, gone string) {
	t.Helper()
	token := g.token(t, app.Token{}, "read", "write")
	g.as(t, token, "POST", "/v1/calendars", `{"namespace": "theirs", "name": "jp-holidays", "days": [{"from": "2030-01-01", "name": "`+canary+`"}]}`).want(t, http.StatusCreated)
	g.as(t, token, "POST", "/v1/calendars", `{"namespace": "theirs", "name": "canary-of-theirs"}`).want(t, http.StatusCreated)
	document := `{"namespace": "theirs", "name": "%s", "description": "` + canary + `", "labels": {"team": "growth", "canary": "` + canary + `"},
		"spec": {"cron": "* * * * *", "exclude": ["jp-holidays"]}, "job": {"kind": "webhook", "args": {"url": "https://example.com/hook", "body": "` + canary + `"}}}`
	created := g.as(t, token, "POST", "/v1/schedules", fmt.Sprintf(document, "nightly-report")).want(t, http.StatusCreated).object(t)
	g.as(t, token, "POST", "/v1/schedules/"+created.text("id")+"/run", "").want(t, http.StatusAccepted)
	other := g.as(t, token, "POST", "/v1/schedules", fmt.Sprintf(document, canary)).want(t, http.StatusCreated).object(t)
	g.as(t, token, "POST", "/v1/schedules/"+other.text("id")+"/run", "").want(t, http.StatusAccepted)
	g.as(t, token, "DELETE", "/v1/schedules/"+other.text("id"), "").want(t, http.StatusNoContent)
	g.exec(t, `UPDATE riverbeat.cursors SET (next_run_at, fire_at) = (now() - interval '1 hour', now() - interval '1 hour')`)
	g.exec(t, `UPDATE riverbeat.catch_up SET slot = now() + interval '1 hour', taken = 5`)
	g.exec(t, `INSERT INTO riverbeat.schedulers (id, host, pid, started_at, version, tzdata, paths, looked_at, lag)
		VALUES (gen_random_uuid(), 'host', 1, now(), 'v', '2026f', '[]', now(), 3600)`)
	return created.text("id"), other.text("id")
}

// fingerprint is that of what is theirs.
func (g *guarded) fingerprint(t *testing.T) string {
	t.Helper()
	return query[string](t, g.fixture, `
SELECT concat_ws(' ',
    (SELECT md5(string_agg(s::text, '' ORDER BY id)) FROM riverbeat.schedules s WHERE namespace = 'theirs'),
    (SELECT md5(string_agg(c::text, '' ORDER BY schedule_id)) FROM riverbeat.cursors c WHERE schedule_id IN (SELECT id FROM riverbeat.schedules WHERE namespace = 'theirs')),
    (SELECT md5(string_agg(r::text, '' ORDER BY schedule_id, scheduled_for)) FROM riverbeat.runs r WHERE namespace = 'theirs'),
    (SELECT md5(string_agg(c::text, '' ORDER BY name)) FROM riverbeat.calendars c WHERE namespace = 'theirs'),
    (SELECT md5(string_agg(id || state::text || args::text, '' ORDER BY id)) FROM river_job WHERE args::text LIKE '%' || $1 || '%'))`, canary)
}

// Whatever a token of another namespace asks for, by whatever way: it sees nothing of
// what is there and changes nothing.
func TestOutsideItsNamespacesThereIsNothingForAToken(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	id, gone := g.theirs(t)
	ours := g.token(t, app.Token{Namespaces: []string{"ours"}}, "read", "write", "admin")
	both := g.token(t, app.Token{Namespaces: []string{"ours", "more-of-ours"}}, "read", "write")
	stored := g.fingerprint(t)
	jobs := query[string](t, g.fixture, `SELECT string_agg(job_id::text, ' ') FROM riverbeat.runs`)
	secrets := append(strings.Fields(jobs), canary, id, gone, "theirs")

	asked := 0
	ask := func(token, method, path, body, contentType string) {
		t.Helper()
		// An answer that doesn't end is read for a moment.
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, method, g.server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		request.Header.Set("Content-Type", contentType)
		response, err := g.server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		raw, err := io.ReadAll(response.Body)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		asked++
		text := string(raw)
		for name, values := range response.Header {
			if name != "X-Request-Id" && name != "Date" && name != "Content-Length" {
				text += " " + strings.Join(values, " ")
			}
		}
		what := fmt.Sprintf("%s %s %s", method, path, body)
		named := strings.Contains(path+body, "theirs") || strings.Contains(path, id) || strings.Contains(path, gone)
		if response.StatusCode >= 500 || response.StatusCode == 401 {
			t.Errorf("%s is a %d: %s", what, response.StatusCode, text)
		}
		if named && response.StatusCode < 300 {
			t.Errorf("%s is a %d: %s", what, response.StatusCode, text)
		}
		for _, secret := range secrets {
			if len(secret) > 3 && strings.Contains(text, secret) {
				t.Errorf("%s tells %q: %s", what, secret, text)
			}
		}
		if after := g.fingerprint(t); after != stored {
			t.Fatalf("%s changed what is theirs", what)
		}
	}
	everything := g.token(t, app.Token{}, "read", "write", "admin")
	g.operations(t, everything, func(method, path string, o operation) {
		ids := []string{id, gone, "name:nightly-report", "name:" + canary}
		names := []string{"jp-holidays", canary}
		bodies := map[string][]string{"application/json": {""}}
		for contentType, content := range o.RequestBody.Content {
			bodies[contentType] = append(bodies[contentType], g.bodies(t, everything, content.Schema, id)...)
			if contentType == "text/calendar" {
				bodies[contentType] = []string{"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20300101\r\nSUMMARY:x\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"}
			}
		}
		var queries []string
		for _, p := range o.Parameters {
			if p.In == "query" && p.Name == "namespace" {
				queries = append(queries, "?namespace=theirs")
			}
		}
		for _, query := range append(queries, "") {
			for i := range 4 {
				full := strings.NewReplacer("{id}", ids[i], "{name}", names[i%2], "{version}", "1").Replace(path)
				for contentType, list := range bodies {
					for _, body := range list {
						ask(ours, method, full+query, body, contentType)
						if method == "GET" || i == 0 {
							ask(both, method, full+query, body, contentType)
						}
					}
				}
				if full == path {
					break // it names nothing
				}
			}
		}
	})
	if asked < 200 {
		t.Errorf("only %d requests were sent", asked)
	}

	// What it made by the examples is its own, in its own namespace.
	for _, token := range []string{ours, both} {
		for _, schedule := range g.as(t, token, "GET", "/v1/schedules", "").want(t, 200).object(t).list("schedules") {
			if schedule.text("namespace") == "theirs" {
				t.Errorf("it is shown %v", schedule)
			}
		}
	}
	scheduler := g.as(t, ours, "GET", "/v1/schedulers", "").want(t, 200).object(t).list("schedulers")[0]
	if scheduler["looked_at"] != nil || scheduler["lag_seconds"] != nil {
		t.Errorf("it is told when others' runs were due: %v", scheduler)
	}
	g.exec(t, `DELETE FROM riverbeat.schedules WHERE namespace <> 'theirs'`)
	owed := g.as(t, ours, "GET", "/v1/catch-up", "").want(t, 200).object(t)
	equal(t, "owed", []any{owed["schedules"], owed["runs"], owed["schedules_more"], owed["oldest"], owed["ends_at"]}, []any{json.Number("0"), json.Number("0"), false, nil, nil})
	// What is dealt to them for the next hour is in front of what we are owed; nobody says so.
	g.as(t, ours, "POST", "/v1/schedules", minimal("owed", "")).want(t, http.StatusCreated)
	g.exec(t, `UPDATE riverbeat.cursors SET (next_run_at, fire_at) = (now() - interval '1 hour', now() - interval '1 hour')`)
	owed = g.as(t, ours, "GET", "/v1/catch-up", "").want(t, 200).object(t)
	equal(t, "schedules that are owed something", owed.number(t, "schedules"), 1)
	if left := time.Until(owed.time(t, "ends_at")); left > time.Minute {
		t.Errorf("it ends in %v", left)
	}
	all := g.as(t, everything, "GET", "/v1/catch-up", "").want(t, 200).object(t)
	equal(t, "schedules of all that are owed something", all.number(t, "schedules"), 2)
	if left := time.Until(all.time(t, "ends_at")); left < 50*time.Minute {
		t.Errorf("who sees all is told that it ends in %v", left)
	}
}

// bodies are the examples of a schema, as they are and as if they were of theirs.
func (g *guarded) bodies(t *testing.T, token string, s schema, id string) (list []string) {
	t.Helper()
	var d document
	if err := json.Unmarshal([]byte(g.as(t, token, "GET", "/openapi.json", "").text), &d); err != nil {
		t.Fatal(err)
	}
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s = d.Components.Schemas[name]
	}
	for _, example := range append(s.Examples, json.RawMessage("{}")) {
		list = append(list, string(example))
		for _, more := range []map[string]any{{"namespace": "theirs"}, {"namespace": "theirs", "schedule": "name:nightly-report", "spec": nil}, {"schedule": id, "spec": nil}} {
			var members map[string]any
			if json.Unmarshal(example, &members) != nil {
				continue
			}
			for name, value := range more {
				if members[name] = value; value == nil {
					delete(members, name)
				}
			}
			text, err := json.Marshal(members)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, string(text))
		}
	}
	return list
}

func TestATokenOfOneNamespaceMeansThatOne(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	ours := g.token(t, app.Token{Namespaces: []string{"ours"}}, "read", "write")
	all := g.token(t, app.Token{}, "read", "write")
	created := g.as(t, ours, "POST", "/v1/schedules", minimal("n", "")).want(t, 201).object(t)
	equal(t, "namespace", created.text("namespace"), "ours")
	g.as(t, all, "POST", "/v1/schedules", minimal("n", "")).want(t, 201)
	for _, path := range []string{"/v1/schedules/name:n", "/v1/schedules/name:n?namespace=ours", "/v1/schedules/" + created.text("id")} {
		equal(t, path, g.as(t, ours, "GET", path, "").want(t, 200).object(t).text("id"), created.text("id"))
	}
	if got := g.as(t, all, "GET", "/v1/schedules/name:n", "").want(t, 200).object(t).text("namespace"); got != "default" {
		t.Errorf("to who sees all the name means that of %s", got)
	}
	g.as(t, ours, "POST", "/v1/calendars", `{"name": "c"}`).want(t, 201)
	equal(t, "calendars", len(g.as(t, ours, "GET", "/v1/calendars", "").want(t, 200).object(t).list("calendars")), 1)
	equal(t, "calendars of default", len(g.as(t, all, "GET", "/v1/calendars", "").want(t, 200).object(t).list("calendars")), 0)
	g.as(t, ours, "PATCH", "/v1/calendars/c", `{"weekends": true}`).want(t, 200)
	g.as(t, ours, "PATCH", "/v1/schedules/name:n", `{"spec": {"every": null, "cron": "0 3 * * *", "exclude": ["c"]}}`).want(t, 200)
	g.as(t, ours, "POST", "/v1/preview", `{"spec": {"cron": "0 3 * * *", "exclude": ["c"]}}`).want(t, 200)
	g.as(t, ours, "POST", "/v1/preview", `{"schedule": "name:n"}`).want(t, 200)
	g.as(t, ours, "GET", "/v1/schedules?namespace=ours", "").want(t, 200)
	for _, r := range [][3]string{
		{"GET", "/v1/schedules?namespace=default", ""}, {"GET", "/v1/schedules?namespace=nowhere", ""}, {"GET", "/v1/calendars?namespace=default", ""},
		{"GET", "/v1/catch-up?namespace=default", ""}, {"POST", "/v1/schedules", `{"namespace": "default", "name": "m", "spec": {"every": "5m"}, "job": {"kind": "report"}}`},
		{"POST", "/v1/calendars", `{"namespace": "nowhere", "name": "c"}`}, {"POST", "/v1/preview", `{"spec": {"every": "5m"}, "namespace": "default"}`},
	} {
		p := g.as(t, ours, r[0], r[1], r[2]).refused(t, http.StatusNotFound)
		equal(t, r[1], p.Detail, "There is no such namespace for this token.")
	}
}

func TestATokenOfSomeKindsAndQueuesEnqueuesNoOthers(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	all := g.token(t, app.Token{}, "read", "write")
	limited := g.token(t, app.Token{Kinds: []string{"report"}, Queues: []string{"reports", "default"}}, "read", "write")
	document := func(name, kind, queue string) string {
		return fmt.Sprintf(`{"name": %q, "spec": {"every": "5m"}, "job": {"kind": %q, "queue": %q}}`, name, kind, queue)
	}
	g.as(t, limited, "POST", "/v1/schedules", document("ours", "report", "reports")).want(t, 201)
	g.as(t, all, "POST", "/v1/schedules", document("another kind", "billing", "reports")).want(t, 201)
	g.as(t, all, "POST", "/v1/schedules", document("another queue", "report", "money")).want(t, 201)
	stored := g.stored(t)
	for path, fields := range map[string][]string{"name:another%20kind": {"job.kind"}, "name:another%20queue": {"job.queue"}} {
		path = "/v1/schedules/" + path
		g.as(t, limited, "GET", path, "").want(t, 200) // it may see it
		for _, r := range [][3]string{
			{"POST", path + "/run", ""}, {"POST", path + "/resume", ""}, {"PATCH", path, `{"spec": {"every": "1s"}}`}, {"PATCH", path, `{}`},
			{"PATCH", path, `{"job": {"args": {"a": 1}}}`}, {"PATCH", path, `{"paused": false}`},
		} {
			g.as(t, limited, r[0], r[1], r[2]).refused(t, 422, fields...)
		}
	}
	g.as(t, limited, "POST", "/v1/schedules", document("n", "billing", "money")).refused(t, 422, "job.kind", "job.queue")
	g.as(t, limited, "PATCH", "/v1/schedules/name:ours", `{"job": {"kind": "billing"}}`).refused(t, 422, "job.kind")
	g.as(t, limited, "PATCH", "/v1/schedules/name:ours", `{"job": {"queue": "money"}}`).refused(t, 422, "job.queue")
	g.as(t, limited, "PUT", "/v1/schedules/name:ours", document("ours", "Report", "reports")).refused(t, 422, "job.kind")
	equal(t, "stored", g.stored(t), stored)
	g.as(t, limited, "POST", "/v1/schedules/name:another%20kind/pause", "").want(t, 200) // that enqueues nothing
	g.as(t, limited, "POST", "/v1/schedules/name:another%20kind/resume", "").refused(t, 422, "job.kind")
	g.as(t, limited, "POST", "/v1/schedules/name:ours/run", "").want(t, 202)
	g.as(t, limited, "POST", "/v1/schedules/name:ours/pause", "").want(t, 200)
	g.as(t, limited, "POST", "/v1/schedules/name:ours/resume", "").want(t, 200)
	// Taking somebody's schedule over is no more than deleting it and making one.
	g.as(t, limited, "PATCH", "/v1/schedules/name:another%20kind", `{"job": {"kind": "report"}}`).want(t, 200)
}

func TestTokensAreMadeShownOnceListedAndRevoked(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	admin := g.token(t, app.Token{}, "admin")
	answer := g.as(t, admin, "POST", "/v1/tokens", `{"name": "növ 1", "scopes": ["write", "read", "read"], "namespaces": ["b", "a"], "kinds": null, "queues": ["q"], "expires_at": "2030-01-01T00:00:00+09:00"}`).want(t, 201)
	equal(t, "Cache-Control", answer.header.Get("Cache-Control"), "no-store")
	made := answer.object(t)
	secret, id := made.text("token"), made.text("id")
	equal(t, "Location", answer.header.Get("Location"), "/v1/tokens/"+id)
	delete(made, "token")
	want := object{
		"id": id, "name": "növ 1", "hint": secret[:8], "scopes": []any{"read", "write"}, "namespaces": []any{"a", "b"}, "kinds": nil, "queues": []any{"q"},
		"expires_at": "2029-12-31T15:00:00Z", "state": "valid", "last_used_at": nil, "created_at": made["created_at"], "revoked_at": nil,
	}
	equal(t, "what was made", made, want)
	equal(t, "read", g.as(t, admin, "GET", "/v1/tokens/"+id, "").want(t, 200).object(t), want)
	g.as(t, secret, "GET", "/v1/schedules", "").want(t, 200)
	g.as(t, secret, "GET", "/v1/tokens", "").refused(t, 403)

	first := g.as(t, admin, "GET", "/v1/tokens?page_size=1", "").want(t, 200).object(t)
	equal(t, "the first", first.list("tokens")[0].text("name"), "a token")
	second := g.as(t, admin, "GET", "/v1/tokens?page_size=1&page_token="+first.text("next_page_token"), "").want(t, 200).object(t)
	equal(t, "the second", second.list("tokens")[0], want)
	equal(t, "a third", second.text("next_page_token"), "")

	g.as(t, admin, "DELETE", "/v1/tokens/"+id, "").want(t, 204)
	revoked := time.Now()
	for g.as(t, secret, "GET", "/v1/schedules", "").status != http.StatusUnauthorized {
		if since := time.Since(revoked); since > app.RevokedWithin+time.Second {
			t.Fatalf("it lets somebody in %v after its revocation", since)
		}
	}
	g.as(t, admin, "DELETE", "/v1/tokens/"+id, "").refused(t, 404)
	g.as(t, admin, "DELETE", "/v1/tokens/"+anID, "").refused(t, 404)
	g.as(t, admin, "GET", "/v1/tokens/"+anID, "").refused(t, 404)
	g.as(t, admin, "DELETE", "/v1/tokens/"+secret, "").refused(t, 422, "id")
	after := g.as(t, admin, "GET", "/v1/tokens/"+id, "").want(t, 200).object(t)
	if after.text("state") != "revoked" || after["revoked_at"] == nil {
		t.Errorf("it is %v", after)
	}
	var d document
	if err := json.Unmarshal([]byte(g.as(t, admin, "GET", "/openapi.json", "").text), &d); err != nil {
		t.Fatal(err)
	}
	g.as(t, admin, "POST", "/v1/tokens", string(d.Components.Schemas["Token"].Examples[0])).want(t, 201)
	for body, fields := range map[string][]string{
		`{}`: {"name", "scopes"}, `{"name": "a\u0000", "scopes": ["root"]}`: {"name", "scopes.0"}, `{"name": "n", "scopes": ["read"], "namespaces": []}`: {"namespaces"},
		`{"name": "n", "scopes": ["read"], "namespaces": ["A"], "kinds": [""], "queues": ["a b"]}`: {"kinds", "namespaces", "queues"},
		`{"name": "n", "scopes": ["read"], "expires_at": "2001-01-01T00:00:00Z"}`:                  {"expires_at"},
		`{"name": "n", "scopes": ["read"], "expires_at": "9999-01-01T00:00:00Z"}`:                  {"expires_at"},
		`{"name": "n", "scopes": ["admin"], "kinds": ["report"]}`:                                  {"scopes"},
		`{"name": "n", "scopes": ["read"], "hash": "x"}`:                                           {"hash"},
		`{"name": "n", "scopes": "read"}`:                                                          {"scopes"},
	} {
		g.as(t, admin, "POST", "/v1/tokens", body).refused(t, 422, fields...)
	}
}

// What SQL writes is understood as it stands there: an empty list is none, not any.
func TestAnEmptyListIsNone(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	all := g.token(t, app.Token{}, "read", "write")
	g.as(t, all, "POST", "/v1/schedules", minimal("n", "")).want(t, 201)
	g.exec(t, `UPDATE riverbeat.tokens SET namespaces = '{}'`)
	fresh := g.token(t, app.Token{Namespaces: []string{"x"}}, "read", "write")
	g.exec(t, `UPDATE riverbeat.tokens SET namespaces = '{}', kinds = '{}'`)
	g.as(t, fresh, "GET", "/v1/schedules/name:n", "").refused(t, 404)
	equal(t, "schedules", len(g.as(t, fresh, "GET", "/v1/schedules", "").want(t, 200).object(t).list("schedules")), 0)
	g.as(t, fresh, "POST", "/v1/schedules", minimal("m", "")).refused(t, 404)
}

func TestWrongTokensAreSlowedDownAndTheOthersAreNot(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, func(c *Config) { c.AddressRate, c.TokenRate = 10, 1_000_000 })
	good := g.token(t, app.Token{}, "read")
	g.as(t, good, "GET", "/v1/schedules", "").want(t, 200)
	limited := 0
	for i := range 1000 {
		answer := g.as(t, "rb_"+fmt.Sprintf("%049d", i), "GET", "/v1/schedules", "")
		if answer.status == http.StatusTooManyRequests {
			limited++
			if wait := answer.header.Get("Retry-After"); wait != "1" {
				t.Fatalf("Retry-After is %q", wait)
			}
			answer.refused(t, http.StatusTooManyRequests)
		}
	}
	if limited < 900 {
		t.Errorf("of 1,000 wrong tokens %d were too many", limited)
	}
	g.as(t, good, "GET", "/v1/schedules", "").want(t, 200)
	// Signing in is one more way to try, and no token at all costs less.
	for range 3 {
		g.do(t, "POST", "/signin", "token=rb_x", "Content-Type", "application/x-www-form-urlencoded")
	}
	g.do(t, "POST", "/signin", "token=rb_x", "Content-Type", "application/x-www-form-urlencoded").refused(t, 429)
	g.do(t, "GET", "/readyz", "").want(t, 200)
}

func TestATokenHasItsLimitAndOthersHaveTheirs(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, func(c *Config) { c.TokenRate = 5 })
	busy, other := g.token(t, app.Token{}, "read"), g.token(t, app.Token{}, "read")
	taken := 0
	begun := time.Now()
	for range 100 {
		answer := g.as(t, busy, "GET", "/openapi.json", "")
		if answer.status == 200 {
			taken++
			continue
		}
		answer.refused(t, 429)
		equal(t, "Retry-After", answer.header.Get("Retry-After"), "1")
	}
	if most := 20 + int(5*time.Since(begun).Seconds()) + 1; taken < 20 || taken > most {
		t.Errorf("%d of 100 were taken, want 20 to %d", taken, most)
	}
	g.as(t, other, "GET", "/v1/schedules", "").want(t, 200)
}

func TestAnAddressIsThePeersUnlessATrustedProxySaysOtherwise(t *testing.T) {
	t.Parallel()
	a := &api{Config: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}}
	for _, row := range []struct{ peer, forwarded, want string }{
		{"192.0.2.1:5", "", "192.0.2.1"}, {"192.0.2.1:5", "198.51.100.7", "192.0.2.1"},
		{"10.0.0.1:5", "198.51.100.7", "198.51.100.7"}, {"10.0.0.1:5", "203.0.113.9, 198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:5", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"}, {"10.0.0.1:5", "10.0.0.3", "10.0.0.3"},
		{"10.0.0.1:5", "nonsense", "10.0.0.1"}, {"10.0.0.1:5", "198.51.100.7, nonsense", "10.0.0.1"}, {"10.0.0.1:5", "", "10.0.0.1"},
		{"[::ffff:10.0.0.1]:5", "::ffff:198.51.100.7", "198.51.100.7"}, {"[fd00::1]:5", "2001:db8::1", "2001:db8::1"}, {"nonsense", "198.51.100.7", "invalid IP"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = row.peer
		if row.forwarded != "" {
			r.Header.Set("X-Forwarded-For", row.forwarded)
		}
		if got := a.client(r).String(); got != row.want {
			t.Errorf("%s, forwarded for %q: %s, want %s", row.peer, row.forwarded, got, row.want)
		}
		r.Header.Set("X-Forwarded-Proto", "https")
		equal(t, row.peer+" is encrypted", a.encrypted(r), strings.Contains(row.peer, "10.0") || strings.Contains(row.peer, "fd00"))
	}
	equal(t, "one IPv6 address", network(netip.MustParseAddr("2001:db8:1:2:3::4")).String(), "2001:db8:1:2::/64")
	equal(t, "one IPv4 address", network(netip.MustParseAddr("192.0.2.1")).String(), "192.0.2.1/32")
	_ = network(netip.Addr{})
}

func TestLimitsForgetThoseThatAskedLongestAgo(t *testing.T) {
	t.Parallel()
	b := newBuckets[int](1)
	for key := range maxBuckets + 100 {
		if _, ok := b.take(key, costWrongToken); !ok {
			t.Fatalf("the first of %d is too many", key)
		}
	}
	equal(t, "remembered", b.of.Len(), maxBuckets)
	none := newBuckets[int](0)
	for range 1000 {
		if _, ok := none.take(1, 10); !ok {
			t.Fatal("there is a limit")
		}
	}
}

func TestManyTakeFromOneBucketAtOnceAndNoMoreThanThereIs(t *testing.T) {
	t.Parallel()
	b := newBuckets[string](1)
	taken := make(chan bool, 400)
	for i := range 400 {
		go func() {
			_, ok := b.take([]string{"a", "b"}[i%2], costNoToken)
			taken <- ok
		}()
	}
	count := 0
	for range 400 {
		if <-taken {
			count++
		}
	}
	if count < 40 || count > 44 {
		t.Errorf("%d were taken, not twice 20 and what a moment adds", count)
	}
}

// browse is a client that keeps cookies and doesn't follow redirects, as a browser
// that shows a page of this server.
func (g *guarded) browse(t *testing.T) func(method, path string, form url.Values, headers ...string) *reply {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return func(method, path string, form url.Values, headers ...string) *reply {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, g.server.URL+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "text/html,*/*")
		if form != nil {
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		for i := 0; i < len(headers); i += 2 {
			request.Header.Set(headers[i], headers[i+1])
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return &reply{status: response.StatusCode, header: response.Header, text: string(text)}
	}
}

func TestABrowserSignsInSeesThePagesAndSignsOut(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	admin := g.token(t, app.Token{}, "read", "write", "admin")
	browse := g.browse(t)
	sent := browse("GET", "/riverui/jobs?state=running", nil)
	equal(t, "status", sent.status, http.StatusSeeOther)
	equal(t, "it is sent to", sent.header.Get("Location"), "/signin?next=%2Friverui%2Fjobs%3Fstate%3Drunning")
	page := browse("GET", sent.header.Get("Location"), nil)
	for _, want := range []string{`name="next" type="hidden" value="/riverui/jobs?state=running"`, `type="password"`} {
		if !strings.Contains(page.text, want) {
			t.Errorf("the page has no %s: %s", want, page.text)
		}
	}
	if policy := page.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "script") {
		t.Errorf("the policy is %q", policy)
	}
	equal(t, "style", browse("GET", "/signin/style.css", nil).status, 200)
	wrong := browse("POST", "/signin", url.Values{"token": {"rb_wrong"}, "next": {"/docs/"}})
	if wrong.status != 401 || !strings.Contains(wrong.text, "isn&#39;t a valid token") || strings.Contains(wrong.text, "rb_wrong") || wrong.header.Get("Set-Cookie") != "" {
		t.Errorf("with a wrong token: %d %s", wrong.status, wrong.text)
	}
	in := browse("POST", "/signin", url.Values{"token": {" " + admin + "\n"}, "next": {"/riverui/jobs?state=running"}})
	equal(t, "status", in.status, http.StatusSeeOther)
	equal(t, "it goes on to", in.header.Get("Location"), "/riverui/jobs?state=running")
	cookie := in.header.Get("Set-Cookie")
	for _, want := range []string{"riverbeat=", "Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=43200"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie has no %s: %s", want, cookie)
		}
	}
	if strings.Contains(cookie, admin[3:40]) || strings.Contains(cookie, "Secure") {
		t.Errorf("the cookie is %s", cookie)
	}
	equal(t, "River UI", browse("GET", "/riverui/jobs", nil).text, `GET /riverui/jobs 0 bytes, []`)
	equal(t, "its API", browse("POST", "/riverui/api/jobs/retry", url.Values{"a": {"b"}}).text, `POST /riverui/api/jobs/retry 3 bytes, []`)
	for _, path := range []string{"/metrics", "/docs/", "/openapi.json"} {
		equal(t, path, browse("GET", path, nil).status, 200)
	}
	if shown := browse("GET", "/signin", nil); !strings.Contains(shown.text, "signed in as <strong>a token</strong>") {
		t.Errorf("the page says %s", shown.text)
	}
	// The API takes no cookie, and nobody else's page uses it.
	browse("GET", "/v1/schedules", nil).refused(t, 401)
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		for _, path := range []string{"/riverui/api/jobs/delete", "/signin", "/signout"} {
			browse("POST", path, url.Values{}, headers...).refused(t, 403)
		}
	}
	equal(t, "too large", browse("POST", "/riverui/api/jobs/retry", url.Values{"a": {strings.Repeat("x", maxBodyBytes)}}).status, 413)
	browse("POST", "/signin", url.Values{"token": {strings.Repeat("x", maxFormBytes)}}).refused(t, 400)

	stolen := strings.TrimPrefix(strings.SplitN(cookie, ";", 2)[0], "riverbeat=")
	out := browse("POST", "/signout", url.Values{})
	equal(t, "status", out.status, http.StatusSeeOther)
	if gone := out.header.Get("Set-Cookie"); !strings.Contains(gone, "riverbeat=;") || !strings.Contains(gone, "Max-Age=0") {
		t.Errorf("the cookie becomes %s", gone)
	}
	equal(t, "signed out", browse("GET", "/riverui/", nil).status, http.StatusSeeOther)
	g.do(t, "GET", "/riverui/", "", "Cookie", "riverbeat="+stolen).refused(t, 401)
	equal(t, "sessions", query[int](t, g.fixture, `SELECT count(*) FROM riverbeat.sessions`), 0)

	// Behind a proxy that says so the connection is encrypted, and so is the cookie.
	limited := g.token(t, app.Token{Namespaces: []string{"a"}}, "read")
	in = browse("POST", "/signin", url.Values{"token": {limited}})
	equal(t, "it goes on to", in.header.Get("Location"), "/riverui/")
	browse("GET", "/riverui/", nil).refused(t, 403)
}

func TestBehindAnEncryptingProxyTheCookieIsForItsHostAlone(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	admin := g.token(t, app.Token{}, "admin")
	browse := g.browse(t)
	in := browse("POST", "/signin", url.Values{"token": {admin}}, "X-Forwarded-Proto", "https")
	cookie := in.header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, "__Host-riverbeat=") || !strings.Contains(cookie, "; Secure") || strings.Contains(cookie, "Domain") {
		t.Fatalf("the cookie is %s", cookie)
	}
	value := strings.TrimPrefix(strings.SplitN(cookie, ";", 2)[0], "__Host-riverbeat=")
	equal(t, "with it", g.do(t, "GET", "/riverui/", "", "X-Forwarded-Proto", "https", "Cookie", "__Host-riverbeat="+value).status, 200)
	g.do(t, "GET", "/riverui/", "", "X-Forwarded-Proto", "https", "Cookie", "riverbeat="+value).refused(t, 401) // anybody's neighbour could set that
}

func TestOnlyRelativePathsComeNext(t *testing.T) {
	t.Parallel()
	for _, next := range []string{"/", "/docs/", "/riverui/jobs?state=a&x=//y", "/a%20b#c"} {
		equal(t, next, relative(next), next)
	}
	for _, next := range []string{
		"", "docs", "https://evil.example", "//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`, "/%5cevil.example", "/%2f/evil.example", "/%2fevil.example",
		"javascript:alert(1)", "/\n/evil.example", "/\t/evil.example", " //evil.example", "https:/evil.example", "http:evil.example", "/%zz", "\x00/",
	} {
		equal(t, next, relative(next), "/riverui/")
	}
}

// A token that was sent in every way is in no line of the log, and neither in an
// answer, but for the one that makes it.
func TestATokenIsShownNowhere(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	good := g.token(t, app.Token{}, "read", "write", "admin")
	made := g.as(t, good, "POST", "/v1/tokens", `{"name": "n", "scopes": ["read"]}`).want(t, 201).object(t).text("token")
	browse := g.browse(t)
	unknown := "rb_" + strings.Repeat("7", 49)
	for _, token := range []string{good, made, unknown} {
		var answers []*reply
		for _, path := range []string{"/v1/schedules", "/v1/schedules?token=" + token, "/v1/schedules/" + token, "/v1/schedules/name:" + token, "/v1/tokens/" + token, "/metrics?x=" + token, "/" + token, "/readyz", "/v1/tokens"} {
			answers = append(answers, g.as(t, token, "GET", path, ""), g.do(t, "GET", path, ""), g.do(t, "GET", path, "", "X-Request-Id", "1", "Cookie", "riverbeat="+token))
		}
		answers = append(answers, g.as(t, token, "POST", "/v1/schedules", `{"name": 5, "spec": {"cron": "`+token+`"}}`), g.as(t, token, "DELETE", "/v1/tokens/"+token, ""),
			browse("POST", "/signin", url.Values{"token": {token}}), browse("POST", "/signin", url.Values{"token": {token + "x"}}), browse("GET", "/signin", nil))
		for _, answer := range answers {
			text := answer.text + fmt.Sprint(answer.header)
			if token != good && strings.Contains(answer.text, "page") {
				continue
			}
			if strings.Contains(text, token[8:]) && !strings.Contains(text, "cron") {
				t.Errorf("an answer has it: %s", text)
			}
		}
		if strings.Contains(g.log.String(), token[8:]) {
			t.Error("the log has it")
		}
		for _, column := range []string{"riverbeat.tokens", "riverbeat.sessions"} {
			if n := query[int](t, g.fixture, `SELECT count(*) FROM `+column+` x WHERE x::text LIKE '%' || $1 || '%'`, token[8:]); n > 0 {
				t.Errorf("%s has it", column)
			}
		}
	}
	if id := query[string](t, g.fixture, `SELECT id::text FROM riverbeat.tokens WHERE hint = $1`, good[:8]); !strings.Contains(g.log.String(), `"token_id":"`+id+`"`) {
		t.Error("the log doesn't say who asked")
	}
}

func TestAnOpenDoorIsForThisMachineAndClosesWithTheFirstToken(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	open := func(t *testing.T) *guarded {
		return behindDoorOf(t, g.pool)
	}(t)
	open.do(t, "POST", "/v1/schedules", minimal("n", "")).want(t, 201)
	equal(t, "River UI", open.do(t, "GET", "/riverui/", "").status, 200)
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "Via", "X-Real-Ip"} {
		open.do(t, "GET", "/v1/schedules", "", header, "192.0.2.1").refused(t, 401)
	}
	open.do(t, "GET", "/v1/schedules", "", "Authorization", "Bearer rb_x").refused(t, 401)
	browse := open.browse(t)
	equal(t, "there is nothing to sign in with", browse("GET", "/signin?next=/docs/", nil).header.Get("Location"), "/docs/")

	token := g.token(t, app.Token{}, "read")
	made := time.Now()
	for open.do(t, "GET", "/v1/schedules", "").status == 200 {
		if since := time.Since(made); since > app.RevokedWithin+time.Second {
			t.Fatalf("it is open %v after a token was made", since)
		}
	}
	open.as(t, token, "GET", "/v1/schedules", "").want(t, 200)
	g.exec(t, `UPDATE riverbeat.tokens SET revoked_at = now()`)
	for open.as(t, token, "GET", "/v1/schedules", "").status == 200 {
		if since := time.Since(made); since > 3*app.RevokedWithin {
			t.Fatalf("the token is good for %v", since)
		}
	}
	open.do(t, "GET", "/v1/schedules", "").refused(t, 401) // and it stays so
}

func behindDoorOf(t *testing.T, pool *pgxpool.Pool) *guarded {
	t.Helper()
	return behindDoor(t, func(c *Config) { c.Service, c.Door = newService(t, pool, nil), openDoor(pool) })
}

func TestWhileTheDatabaseIsAwayNobodyIsLetIn(t *testing.T) {
	t.Parallel()
	away := dbtest.Open(t, "postgres://somebody:secret@127.0.0.1:1/nowhere")
	for _, open := range []bool{true, false} {
		g := behindDoor(t, func(c *Config) { c.Door = app.NewDoor(db.NewStore(away), open, discard()) })
		for _, path := range []string{"/v1/schedules", "/docs/", "/metrics", "/riverui/"} {
			answer := g.as(t, "rb_"+strings.Repeat("0", 43)+"2Ynsfy", "GET", path, "")
			if answer.status != 503 && answer.status != 401 {
				t.Errorf("%s: %d", path, answer.status)
			}
			if open {
				answer = g.do(t, "GET", path, "")
				answer.refused(t, 503)
				equal(t, "Retry-After", answer.header.Get("Retry-After"), "1")
			}
		}
		g.do(t, "GET", "/livez", "").want(t, 200)
	}
}

// A body isn't read of who isn't let in.
func TestTheBodyOfAStrangerIsNotRead(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	read := &counting{Reader: bytes.NewReader(make([]byte, 100<<20))}
	request, err := http.NewRequestWithContext(t.Context(), "POST", g.server.URL+"/v1/schedules", read)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := g.server.Client().Do(request)
	if err == nil { // the connection may be cut before the answer is read
		_ = response.Body.Close()
		equal(t, "status", response.StatusCode, 401)
	}
	if n := read.n.Load(); n > 8<<20 {
		t.Errorf("%d bytes were sent", n)
	}
}

type counting struct {
	io.Reader
	n atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
