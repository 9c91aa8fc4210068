package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/jobs"
)

// everybody may do everything.
var everybody = app.Operator("test")

// station is the API over the pool with a tail that runs until its end.
type station struct {
	*fixture
	tail    *app.Tail
	service *app.Service
	token   schedule.ID // that every request brings
	stop    func()
}

// newStation is a station whose requests are made with a token of the caller's.
func newStation(t *testing.T, pool *pgxpool.Pool, caller app.Caller, streams int) *station {
	t.Helper()
	s := &station{fixture: &fixture{pool: pool}, tail: app.NewTail(db.NewStore(pool), streams, dbtest.Log(t))}
	s.service = newService(t, pool, s.announce)
	door := app.NewDoor(db.NewStore(pool), false, dbtest.Log(t))
	config := Config{Service: s.service, Door: door, Events: s.tail, Version: "test", Log: dbtest.Log(t)}
	scopes := make([]string, len(caller.Scopes))
	for i, scope := range caller.Scopes {
		scopes[i] = string(scope)
	}
	token, secret, err := s.service.CreateToken(operator(t), app.Token{Name: "station", Scopes: scopes, Namespaces: caller.Namespaces})
	if err != nil {
		t.Fatal(err)
	}
	s.token = token.ID
	handler := New(config)
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+secret)
		handler.ServeHTTP(w, r)
	}))
	ctx, cancel := context.WithCancel(context.Background())
	var ran sync.WaitGroup
	ran.Go(func() { s.tail.Run(ctx) })
	ran.Go(func() { door.Run(ctx) })
	s.stop = sync.OnceFunc(func() {
		cancel()
		ran.Wait()
		s.server.CloseClientConnections()
		s.server.Close()
	})
	t.Cleanup(s.stop)
	return s
}

// event is one that came.
type event struct {
	id, kind string
	data     object
}

// stream is a reader of events.
type stream struct {
	t      *testing.T
	in     *bufio.Reader
	cancel context.CancelFunc
	id     string // the last that came
	closed func()
}

// follow opens a stream.
func (f *fixture) follow(t *testing.T, query, after string) *stream {
	t.Helper()
	s, response := f.tryFollow(t, query, after) //nolint:bodyclose // the stream closes it
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("a stream is answered with %s, %s", response.Status, response.Header.Get("Content-Type"))
	}
	for s.id == "" && after == "" { // it is at its place
		if _, err := s.block(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (f *fixture) tryFollow(t *testing.T, query, after string) (*stream, *http.Response) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, "GET", f.server.URL+"/v1/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if after != "" {
		request.Header.Set("Last-Event-ID", after)
	}
	response, err := f.server.Client().Do(request)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	s := &stream{t: t, in: bufio.NewReader(response.Body), cancel: cancel, closed: func() { _ = response.Body.Close() }}
	t.Cleanup(s.close)
	return s, response
}

func (s *stream) close() {
	s.cancel()
	s.closed()
}

// block reads up to an empty line; its kind is empty when it is no event.
func (s *stream) block() (e event, err error) {
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return e, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "":
			if e.id != "" {
				s.id = e.id
			}
			return e, nil
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.data); err != nil {
				return e, fmt.Errorf("%w in %q", err, value)
			}
		}
	}
}

// next waits for an event.
func (s *stream) next() event {
	s.t.Helper()
	timer := time.AfterFunc(20*time.Second, s.cancel)
	defer timer.Stop()
	for {
		e, err := s.block()
		if err != nil {
			s.t.Fatalf("no event comes: %v", err)
		}
		if e.kind != "" {
			return e
		}
	}
}

// expect waits for events of these kinds, in this order.
func (s *stream) expect(kinds ...string) (events []event) {
	s.t.Helper()
	for _, kind := range kinds {
		e := s.next()
		if e.kind != kind {
			s.t.Fatalf("%s comes, not %s: %v", e.kind, kind, e.data)
		}
		events = append(events, e)
	}
	return events
}

func TestWhatHappensIsToldOnceInOrderAndWithoutArguments(t *testing.T) {
	t.Parallel()
	s := newStation(t, dbtest.Pool(t), everybody, 10)
	all, one := s.follow(t, "", ""), s.follow(t, "?schedule=name:a&namespace=default", "")
	a := s.create(t, `{"name": "a", "spec": {"every": "5m"}, "job": {"kind": "webhook", "args": {"url": "https://example.com/secret"}}}`)
	id := a.text("id")
	created := all.expect("schedule.created")[0]
	equal(t, "the event of a new schedule", created.data, object{
		"schedule_id": id, "schedule_name": "a", "namespace": "default", "version": 1.0, "at": created.data["at"],
	})
	s.create(t, minimal("b", ""))
	s.do(t, "PATCH", "/v1/schedules/"+id, `{"description": "new"}`).want(t, 200)
	run := s.do(t, "POST", "/v1/schedules/"+id+"/run", "").want(t, 202).object(t)
	all.expect("schedule.created", "schedule.updated")
	enqueued := all.expect("run.enqueued")[0]
	equal(t, "the event of a run", enqueued.data, object{
		"schedule_id": id, "schedule_name": "a", "namespace": "default", "at": enqueued.data["at"], "run_id": run.text("id"),
		"scheduled_for": run.text("scheduled_for"), "reason": "manual", "job_id": run.text("job_id"), "count": 1.0,
	})
	s.exec(t, `UPDATE river_job SET state = 'discarded', attempt = 3, finalized_at = now()`)
	finished := all.expect("run.finished")[0]
	equal(t, "the event of its end", finished.data, object{
		"schedule_id": id, "schedule_name": "a", "namespace": "default", "at": finished.data["at"], "run_id": run.text("id"),
		"scheduled_for": run.text("scheduled_for"), "reason": "manual", "job_id": run.text("job_id"), "state": "discarded", "attempt": 3.0, "max_attempts": 25.0,
	})
	// A run that is due is missed by a delete.
	s.exec(t, `UPDATE riverbeat.cursors SET next_run_at = now() - interval '1 s' WHERE schedule_id = $1`, id)
	s.do(t, "DELETE", "/v1/schedules/"+id, "").want(t, 204)
	gone := all.expect("schedule.deleted", "run.missed")
	equal(t, "version", gone[0].data["version"], any(3.0))
	equal(t, "why", gone[1].data["why"], any("deleted"))
	s.exec(t, `INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, count) VALUES ($1, now(), 'default', 'a', 'schedule', 'skipped', 'overlap', 1)`, id)
	all.expect("run.skipped")
	s.exec(t, `TRUNCATE riverbeat.schedules`)
	all.expect("reset")

	last := one.expect("schedule.created", "schedule.updated", "run.enqueued", "run.finished", "schedule.deleted", "run.missed", "run.skipped", "reset")[0]
	// And all of it again, from any place on.
	again := s.follow(t, "", last.id)
	again.expect("schedule.created", "schedule.updated", "run.enqueued", "run.finished", "schedule.deleted", "run.missed", "run.skipped", "reset")
}

func TestNothingIsToldOfOtherNamespaces(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	s := newStation(t, pool, everybody, 10)
	limited := newStation(t, pool, app.Caller{Scopes: []app.Scope{app.ScopeRead}, Namespaces: []string{"ours", "both"}}, 10)
	nobody := newStation(t, pool, app.Caller{Scopes: []app.Scope{app.ScopeRead}, Namespaces: []string{"empty"}}, 10)
	limited.do(t, "GET", "/v1/events?namespace=theirs", "").refused(t, http.StatusNotFound)
	mine, none := limited.follow(t, "", ""), nobody.follow(t, "", "")
	start := mine.id
	for _, namespace := range []string{"theirs", "ours", "theirs", "both", "theirs", "ours"} {
		id := s.create(t, `{"namespace": "`+namespace+`", "name": "`+randomName()+`", "spec": {"every": "5m"}, "job": {"kind": "k"}}`).text("id")
		s.do(t, "POST", "/v1/schedules/"+id+"/run", "").want(t, 202)
	}
	s.exec(t, `UPDATE river_job SET state = 'completed', finalized_at = now()`)
	for _, from := range []*stream{mine, limited.follow(t, "", start)} {
		for range 9 {
			if e := from.next(); e.data["namespace"] == "theirs" {
				t.Errorf("this came: %v", e)
			}
		}
	}
	// All who see nothing are told only of a reset.
	s.exec(t, `TRUNCATE riverbeat.schedules`)
	for _, stream := range []*stream{mine, none} {
		stream.expect("reset")
	}
}

func TestWithoutTheScopeReadNothingIsFollowed(t *testing.T) {
	t.Parallel()
	s := newStation(t, dbtest.Pool(t), app.Caller{Scopes: []app.Scope{app.ScopeWrite}}, 10)
	s.do(t, "GET", "/v1/events", "").refused(t, http.StatusForbidden)
}

func TestAPositionThatIsNotKnownBeginsWithAReset(t *testing.T) {
	t.Parallel()
	s := newStation(t, dbtest.Pool(t), everybody, 100)
	s.do(t, "GET", "/v1/events?schedule=x", "").refused(t, 422, "schedule")
	s.do(t, "GET", "/v1/events", "", "Last-Event-ID", strings.Repeat("A", 1001)).refused(t, 422, "Last-Event-ID")
	now := s.follow(t, "", "").id
	elsewhere := newStation(t, dbtest.Pool(t), everybody, 10)
	elsewhere.exec(t, `UPDATE riverbeat.event_key SET key = sha256('another')`) // the tests' databases are copies of one
	another := elsewhere.follow(t, "", "").id
	for _, id := range []string{"x", "AA", "!!", strings.Repeat("A", 1000), another, now[1:], now[:len(now)-1]} {
		stream := s.follow(t, "", id)
		reset := stream.expect("reset")[0]
		if reset.id == "" || reset.id == now {
			t.Errorf("%s: it doesn't say where to go on", id)
		}
		name := randomName()
		s.create(t, minimal(name, ""))
		if e := stream.expect("schedule.created")[0]; e.data["schedule_name"] != name {
			t.Errorf("%s: %v", id, e)
		}
		s.follow(t, "", reset.id).expect("schedule.created")
	}
}

// A transaction that writes late is told of when it ends, also what it did on a
// savepoint, and those who write after it aren't held up for long. This test has the
// server to itself, where a transaction of one database is late in all of them.
func TestWhatCommitsLateIsToldOnceAndHoldsUpNobodyForLong(t *testing.T) {
	pool := dbtest.Pool(t)
	s, other := newStation(t, pool, everybody, 10), newStation(t, pool, everybody, 10)
	reader := s.follow(t, "", "")
	start := reader.id
	other.follow(t, "", "")
	note := func(tx pgx.Tx, name string) {
		t.Helper()
		if _, err := tx.Exec(t.Context(), `INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, created_at)
			VALUES ('00000000-0000-0000-0000-000000000001', clock_timestamp(), 'default', $1, 'schedule', 'missed', 'grace', clock_timestamp())`, name); err != nil {
			t.Fatal(err)
		}
	}
	begin := func() pgx.Tx {
		t.Helper()
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
		return tx
	}
	commit := func(tx pgx.Tx) {
		t.Helper()
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	late, nested := begin(), begin()
	note(late, "late")
	note(nested, "nested")
	savepoint, err := nested.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	note(savepoint, "savepoint")
	commit(savepoint)
	begun := time.Now()
	quick := begin()
	note(quick, "quick")
	commit(quick)
	want := func(s *stream, names ...string) (last string) {
		t.Helper()
		var got []string
		for range names {
			e := s.next()
			name, _ := e.data["schedule_name"].(string)
			got, last = append(got, name), e.id
		}
		equal(t, "told", got, names)
		return last
	}
	middle := want(reader, "quick")
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it was held up for %v", took)
	}
	after := begin()
	note(after, "after")
	commit(after)
	beforeEnds := want(reader, "after")
	commit(late)
	lateID := want(reader, "late")
	commit(nested)
	nestedID := want(reader, "nested", "savepoint")
	s.create(t, minimal("last", ""))
	want(reader, "last")

	for _, row := range []struct {
		from string
		want []string
	}{
		{start, []string{"quick", "after", "late", "nested", "savepoint", "last"}},
		{middle, []string{"after", "late", "nested", "savepoint", "last"}},
		{beforeEnds, []string{"late", "nested", "savepoint", "last"}},
		{lateID, []string{"nested", "savepoint", "last"}},
		{nestedID, []string{"last"}},
	} {
		want(s.follow(t, "", row.from), row.want...)
		// Another process may have waited for them a moment longer.
		var got []string
		for stream := other.follow(t, "", row.from); len(got) < len(row.want); {
			name, _ := stream.next().data["schedule_name"].(string)
			got = append(got, name)
		}
		slices.Sort(got)
		slices.Sort(row.want)
		equal(t, "told by another process", got, row.want)
	}
}

// counter counts what is asked of the database.
type counter struct{ queries atomic.Int64 }

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.queries.Add(1)
	return ctx
}

func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestAThousandStreamsAskTheDatabaseAsMuchAsOneAndNoneAsksNothing(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	config, err := db.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	asked := &counter{}
	config.ConnConfig.Tracer = asked
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s, writer := newStation(t, pool, everybody, 1000), newStation(t, dbtest.Open(t, url), everybody, 1)
	const window = 4 * time.Second
	rate := func() int64 {
		before := asked.queries.Load()
		time.Sleep(window) // it is a rate that is measured
		return asked.queries.Load() - before
	}
	equal(t, "queries without a stream", rate(), 0)
	streams := []*stream{s.follow(t, "", "")}
	one := rate()
	for range 999 {
		streams = append(streams, s.follow(t, "", ""))
	}
	equal(t, "streams", s.tail.Streams(), 1000)
	thousand := rate()
	t.Logf("in %v: %d queries for one stream, %d for a thousand", window, one, thousand)
	if one == 0 || thousand > one+2 {
		t.Errorf("%d queries for a thousand streams, %d for one", thousand, one)
	}
	// Each of them is told.
	begun := time.Now()
	writer.create(t, minimal("a", ""))
	for _, stream := range streams {
		stream.expect("schedule.created")
	}
	t.Logf("all were told within %v", time.Since(begun))
	s.do(t, "GET", "/v1/events", "").refused(t, http.StatusTooManyRequests)
	for _, stream := range streams {
		stream.close()
	}
	for deadline := time.Now().Add(20 * time.Second); s.tail.Streams() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d streams are left", s.tail.Streams())
		}
	}
}

func TestAStreamOutlivesTheServersTimeoutsAndEndsWithItsRightsAndTheServer(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	s := newStation(t, pool, everybody, 10)
	handler := s.server.Config.Handler
	short := httptest.NewUnstartedServer(handler)
	short.Config.ReadTimeout, short.Config.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	short.Start()
	t.Cleanup(short.Close)
	f := &fixture{pool: pool, server: short}
	stream := f.follow(t, "", "")
	time.Sleep(time.Second) // the timeouts pass
	s.create(t, minimal("a", ""))
	stream.expect("schedule.created")
	if err := s.service.RevokeToken(operator(t), s.token); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.block(); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("after its rights have ended: %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); s.tail.Streams() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the stream is still there")
		}
	}

	next := newStation(t, pool, everybody, 10)
	stream = next.follow(t, "", stream.id)
	go next.stop()
	for {
		if _, err := stream.block(); err != nil {
			if !strings.Contains(err.Error(), "EOF") {
				t.Errorf("a stop ends it with %v", err)
			}
			break
		}
	}
}

// Whoever doesn't read is cut off, keeps nobody else waiting, and goes on where they
// were.
func TestASlowReaderIsCutOffAndGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	s := newStation(t, dbtest.Pool(t), everybody, 10)
	quick := s.follow(t, "", "")
	// The system keeps less for this one than is sent.
	s.server.Client().Transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
		}
		return conn, err
	}}
	slow := s.follow(t, "", "")
	id := s.create(t, minimal("a", "")).text("id")
	const n, batch = 30_000, 10_000
	go func() {
		for i := 0; i < n; i += batch {
			_, err := s.pool.Exec(context.Background(), `
				INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, created_at)
				SELECT $1, '2020-01-01 00:00Z'::timestamptz + i * interval '1 s', 'default', repeat('n', 120), 'schedule', 'missed', 'grace', clock_timestamp()
				FROM generate_series($2::int, $3) i`, id, i, i+batch-1)
			if err != nil {
				t.Error(err)
			}
			time.Sleep(500 * time.Millisecond) // several looks
		}
	}()
	quick.expect("schedule.created")
	for range n {
		quick.expect("run.missed")
	}
	for deadline := time.Now().Add(60 * time.Second); s.tail.Dropped() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the slow reader isn't cut off")
		}
	}
	got := 0
	for {
		e, err := slow.block()
		if err != nil {
			break
		}
		if e.kind == "run.missed" {
			got++
		}
	}
	if got == n {
		t.Fatal("it had room for everything")
	}
	for again := s.follow(t, "", slow.id); got < n; got++ {
		again.expect("run.missed")
	}
}

// Two processes with schedulers fire, streams are cut at random places and go on at
// either of the APIs, one of which is started again and again.
func TestNoEventIsLostOrDoubledOverReconnectsAndRestarts(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	pool := dbtest.Open(t, url)
	firm := newStation(t, pool, everybody, 10)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 2 {
		p := dbtest.Open(t, url)
		inserter, err := jobs.NewInserter(p)
		if err != nil {
			t.Fatal(err)
		}
		s := scheduler.New(db.NewStore(p), inserter, scheduler.Config{PollInterval: time.Second, MinSyncInterval: 100 * time.Millisecond, Zones: "2026f", Log: discard()})
		all.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	reader := firm.follow(t, "", "")
	position := reader.id
	reader.close()

	// Thirty schedules that run each second, some edits, and jobs that end.
	until := time.Now().Add(8 * time.Second)
	for i := range 30 {
		firm.create(t, minimal(fmt.Sprint("s", i), `"cron": "* * * * * *"`))
	}
	all.Go(func() {
		for n := 0; time.Now().Before(until); n++ {
			firm.do(t, "PATCH", fmt.Sprint("/v1/schedules/name:s", n%30), fmt.Sprintf(`{"description": "%d"}`, n))
			firm.do(t, "POST", fmt.Sprint("/v1/schedules/name:s", n%30, "/run"), "")
			if _, err := pool.Exec(ctx, `UPDATE river_job SET state = 'completed', finalized_at = clock_timestamp() WHERE id IN (SELECT id FROM river_job WHERE state = 'available' LIMIT 50 FOR UPDATE SKIP LOCKED)`); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	// Transactions that are slow to commit, some on a savepoint.
	for i := range 3 {
		all.Go(func() {
			for n := 0; time.Now().Before(until); n++ {
				err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
					return pgx.BeginFunc(t.Context(), tx, func(tx pgx.Tx) error {
						_, err := tx.Exec(t.Context(), `INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, created_at)
							VALUES ($1, clock_timestamp(), 'default', 'slow', 'schedule', 'missed', 'grace', clock_timestamp())`, [16]byte{byte(i + 1)})
						time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
						return err
					})
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}

	var told []event
	cuts := 0
	station, restarts := newStation(t, pool, everybody, 10), 0
	read := func(n int) {
		from := firm
		if cuts++; cuts%2 == 0 {
			if cuts%4 == 0 {
				station.stop()
				station = newStation(t, pool, everybody, 10)
				restarts++
			}
			from = station
		}
		stream := from.follow(t, "", position)
		defer stream.close()
		timer := time.AfterFunc(1500*time.Millisecond, stream.cancel)
		defer timer.Stop()
		for n > 0 {
			e, err := stream.block()
			if err != nil {
				break
			}
			if e.kind == "" {
				if e.id != "" {
					position = e.id
				}
				continue
			}
			told, position = append(told, e), e.id
			n--
		}
	}
	for time.Now().Before(until) {
		read(1 + rand.IntN(200))
	}
	cancel()
	all.Wait()
	for before := -1; before != len(told); {
		before = len(told)
		read(100_000)
		read(100_000)
	}

	// What was told is what is in the tables.
	seen, last := map[string]int{}, map[any]string{}
	for _, e := range told {
		key := fmt.Sprint(e.kind, " ", e.data["schedule_id"], " ", e.data["scheduled_for"], " ", e.data["version"])
		if seen[key]++; seen[key] > 1 {
			t.Errorf("told twice: %s", key)
		}
		if e.kind == "run.enqueued" && e.data["reason"] == "schedule" {
			at := e.data["scheduled_for"].(string)
			if at <= last[e.data["schedule_id"]] {
				t.Errorf("%s comes after %s", at, last[e.data["schedule_id"]])
			}
			last[e.data["schedule_id"]] = at
		}
		if e.kind == "reset" {
			t.Error("a reset came")
		}
	}
	var missing []string
	expect := func(kind, id string, at time.Time) {
		if seen[fmt.Sprint(kind, " ", id, " ", at.UTC().Format(time.RFC3339Nano), " ", nil)] == 0 {
			missing = append(missing, fmt.Sprint(kind, " ", id, " ", at))
		}
	}
	rows, err := pool.Query(t.Context(), `
		SELECT 'run.' || outcome, schedule_id::text, scheduled_for FROM riverbeat.runs
		UNION ALL
		SELECT 'run.finished', r.schedule_id::text, r.scheduled_for FROM riverbeat.runs r JOIN river_job j ON j.id = r.job_id WHERE j.finalized_at IS NOT NULL`)
	if err != nil {
		t.Fatal(err)
	}
	var kind, id string
	var at time.Time
	runs := 0
	if _, err := pgx.ForEachRow(rows, []any{&kind, &id, &at}, func() error { runs++; expect(kind, id, at); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		t.Errorf("%d of %d were never told: %v", len(missing), runs, missing[:min(5, len(missing))])
	}
	t.Logf("%d events over %d streams and %d restarts", len(told), cuts, restarts)
}

func randomName() string { return fmt.Sprintf("n%x", rand.Uint64()) }
