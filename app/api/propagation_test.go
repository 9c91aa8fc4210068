package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// schedules runs a scheduler over the fixture's database, which its listener would
// tell of nothing: it hears what the API announces.
func (f *fixture) schedules(t *testing.T) {
	t.Helper()
	s := scheduler.New(db.NewStore(f.pool), nil, scheduler.Config{
		MinSyncInterval: time.Millisecond, Zones: "2026f", Log: dbtest.Log(t), Self: db.Scheduler{Host: "here", PID: 7, Version: "test"},
		Paths: func() []schedule.PathState {
			return []schedule.PathState{{Path: schedule.PathNotify, State: "up", For: time.Minute, HeartbeatAge: time.Second}, {Path: schedule.PathRedis, State: "down"}}
		},
	})
	f.mu.Lock()
	f.hear = func(c schedule.Change) { s.Notify(c, schedule.PathLocal) }
	f.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAWriteWaitsUntilItIsInForceWhenItIsAskedTo(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.schedules(t)
	const wait = "?wait=applied&timeout=20s"
	path := f.do(t, "POST", "/v1/schedules"+wait, minimal("n", "")).want(t, http.StatusCreated).header.Get("Location")
	p := f.do(t, "GET", path+"/propagation", "").want(t, http.StatusOK).object(t)
	if p.at("applied") != true || p.number(t, "version") != 1 || p.text("schedule_id") == "" || p.text("changed_at") == "" {
		t.Errorf("%v", p)
	}
	in, _ := p.at("schedulers").([]any)
	if len(in) != 1 {
		t.Fatalf("%v", p)
	}
	one := object(in[0].(map[string]any))
	if one.at("applied") != true || one.number(t, "version") != 1 || one.text("path") != "local" || one.text("since") < p.text("changed_at") || one.text("host") != "here" || one.text("id") == "" || one.text("started_at") == "" {
		t.Errorf("%v", one)
	}
	for _, write := range []struct {
		method, path, body string
		status             int
	}{
		{"PUT", path, minimal("n", `"every": "6m"`), 200}, {"PUT", path, minimal("n", `"every": "6m"`), 200}, {"PATCH", path, `{"description": "d"}`, 200},
		{"POST", path + "/pause", "", 200}, {"POST", path + "/resume", "", 200},
		{"POST", "/v1/calendars", `{"name": "c"}`, 201}, {"PATCH", path, `{"spec": {"exclude": ["c"]}}`, 200},
		{"PUT", "/v1/calendars/c", `{"weekends": true}`, 200}, {"PATCH", "/v1/calendars/c", `{"weekends": false}`, 200},
		{"DELETE", path, "", 204}, {"DELETE", "/v1/calendars/c", "", 204},
	} {
		f.do(t, write.method, write.path+wait, write.body).want(t, write.status)
	}

	list := f.do(t, "GET", "/v1/schedulers", "").want(t, http.StatusOK).object(t)
	in, _ = list.at("schedulers").([]any)
	if len(in) != 1 {
		t.Fatalf("%v", list)
	}
	one = object(in[0].(map[string]any))
	if one.at("alive") != true || one.number(t, "pid") != 7 || one.text("version") != "test" || one.text("tzdata") != "2026f" || one.text("looked_at") == "" || fmt.Sprint(one.at("lag_seconds")) != "0" {
		t.Errorf("%v", one)
	}
	paths, _ := one.at("paths").([]any)
	states := []string{}
	for _, path := range paths {
		p := object(path.(map[string]any))
		states = append(states, fmt.Sprint(p.text("path"), " ", p.text("state"), " ", p.at("heartbeat_age_seconds")))
	}
	if !slices.Equal(states, []string{"notify up 1", "redis down <nil>"}) {
		t.Errorf("paths: %v", states)
	}
}

func TestAWriteThatIsNotInForceInTimeSaysWhereItIsMissing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const wait = "?wait=applied&timeout=0.05s"
	late := f.do(t, "POST", "/v1/schedules"+wait, minimal("n", "")).want(t, http.StatusAccepted)
	answer := late.object(t)
	if missing, ok := answer.at("missing").([]any); !ok || len(missing) != 0 || answer.text("schedule.name") != "n" || answer.text("detail") == "" {
		t.Errorf("without a scheduler: %s", late.text)
	}
	path := late.header.Get("Location")
	if late.header.Get("ETag") != `"1"` || path == "" {
		t.Errorf("headers: %v", late.header)
	}
	f.do(t, "GET", path, "").want(t, http.StatusOK) // it is written

	// One that lives and hasn't looked for long.
	must(t, last(db.NewStore(f.pool).Report(t.Context(), &db.Scheduler{ID: schedule.ID{1}, Host: "frozen"}, time.Hour, db.Look{At: time.Now(), Snapshot: "4:4:"}, nil)))
	for _, write := range []struct{ method, path, body string }{
		{"PUT", path, minimal("n", `"every": "6m"`)}, {"PATCH", path, `{"description": "d"}`}, {"POST", path + "/pause", ""},
		{"POST", path + "/resume", ""}, {"DELETE", path, ""},
	} {
		answer := f.do(t, write.method, write.path+wait, write.body).want(t, http.StatusAccepted).object(t)
		missing, _ := answer.at("missing").([]any)
		if len(missing) != 1 || object(missing[0].(map[string]any)).text("host") != "frozen" {
			t.Errorf("%s: %v", write.method, answer)
		}
		if _, has := answer["schedule"]; has == (write.method == "DELETE") {
			t.Errorf("%s: %v", write.method, answer)
		}
	}
	f.do(t, "GET", path, "").want(t, http.StatusNotFound)

	for query, field := range map[string]string{
		"?wait=done": "wait", "?timeout=5s": "timeout", "?wait=applied&timeout=0s": "timeout", "?wait=applied&timeout=31s": "timeout", "?wait=applied&timeout=soon": "timeout",
	} {
		f.do(t, "POST", "/v1/schedules"+query, minimal("m", "")).refused(t, http.StatusUnprocessableEntity, field)
	}
	f.do(t, "GET", "/v1/schedules/name:m", "").want(t, http.StatusNotFound)
	f.do(t, "GET", "/v1/schedules/name:m/propagation", "").want(t, http.StatusNotFound)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func last[T any](_ T, _ bool, err error) error { return err }
