package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/wake/redistest"
	"github.com/riverbeat/riverbeat/db/localpg"
)

const allowLoopback = "RIVERBEAT_WEBHOOK_ALLOW=127.0.0.0/8"

// receiver counts the webhooks that reach it, by their id.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	seen map[string]time.Time
	in   chan string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{seen: map[string]time.Time{}, in: make(chan string, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.seen[req.Header.Get("webhook-id")] = time.Now()
		r.mu.Unlock()
		r.in <- req.Header.Get("webhook-id")
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) next(t *testing.T) string {
	t.Helper()
	select {
	case id := <-r.in:
		return id
	case <-time.After(20 * time.Second):
		t.Fatal("no webhook came")
		return ""
	}
}

func TestAPostedScheduleReachesItsWebhookAndShowsItsRunAndJob(t *testing.T) {
	t.Parallel()
	h, target := newHouse(t), newReceiver(t)
	p := h.start(allowLoopback)

	posted := time.Now()
	once := p.ask("POST", "/v1/schedules", webhookTo("once", target.URL, map[string]any{"at": in(time.Second)}), 201)
	id := target.next(t)
	if took := time.Since(posted); took > 2*time.Second {
		t.Errorf("the receiver was called %v after the POST", took)
	}
	runs := p.ask("GET", "/v1/schedules/"+once["id"].(string)+"/runs", nil, 200)["runs"].([]any)
	if len(runs) != 1 || runs[0].(map[string]any)["id"] != id || runs[0].(map[string]any)["outcome"] != "enqueued" {
		t.Fatalf("the ledger says %v", runs)
	}
	job := "/riverui/api/jobs/" + runs[0].(map[string]any)["job_id"].(string)
	eventually(t, "River UI shows the job as completed", func() bool { return p.ask("GET", job, nil, 200)["state"] == "completed" })
	if got := p.ask("GET", "/v1/schedules/name:once", nil, 200); got["state"] != "completed" {
		t.Errorf("the schedule is %v", got["state"])
	}

	p.ask("POST", "/v1/schedules", webhookTo("often", target.URL, map[string]any{"cron": "* * * * * *"}), 201)
	for range 3 {
		target.next(t)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("it exited with %d", code)
	}
}

// The test that the old system failed, as its scheduler looked once a minute.
func TestScheduledListedInfoAPI(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	pages := map[string]string{
		"":   `{"info": [{"Date": "2026-11-24", "Code": "86970", "CompanyName": "日本取引所グループ", "CompanyNameEnglish": "Japan Exchange Group,Inc.", "Sector17Code": "16", "Sector33Code": "7200", "MarketCode": "0111"}], "pagination_key": "k2"}`,
		"k2": `{"info": [{"Date": "2026-11-24", "Code": "13010", "CompanyName": "極洋"}], "pagination_key": "k3"}`,
		"k3": `{"info": [{"Date": "2026-11-24", "Code": "13020", "CompanyName": "日魯"}]}`,
	}
	quants := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := asked.Add(1); {
		case n == 2: // the second page, at first
			w.WriteHeader(http.StatusInternalServerError)
		case n == 5: // the third page, the second time round
			fmt.Fprint(w, `{"info": [{"Date": "2026-11-24"`)
		case r.URL.Path != "/v1/listed/info" || r.Header.Get("Authorization") != "Bearer sesame" || r.URL.Query().Get("date") != "2026-11-24":
			w.WriteHeader(http.StatusForbidden)
		default:
			fmt.Fprint(w, pages[r.URL.Query().Get("pagination_key")])
		}
	}))
	t.Cleanup(quants.Close)

	h := newHouse(t)
	scheduler := h.start("RIVERBEAT_ROLES=scheduler")
	worker := h.start("RIVERBEAT_ROLES=worker,api", "RIVERBEAT_JQUANTS_URL="+quants.URL, "RIVERBEAT_JQUANTS_TOKEN=sesame")
	created := worker.ask("POST", "/v1/schedules", map[string]any{
		"name": "listed-info", "spec": map[string]any{"at": in(1500 * time.Millisecond)},
		"job": map[string]any{"kind": "listed_info", "args": map[string]any{"date": "2026-11-24"}},
	}, 201)
	h.becomes("it is enqueued", `SELECT count(*) = 1 FROM riverbeat.runs WHERE schedule_id = $1`, created["id"])
	h.equals("runs more than a second late", 0, `SELECT count(*) FROM riverbeat.runs WHERE created_at > scheduled_for + interval '1 second'`)

	// Two attempts fail. River takes its time before the third; an operator's
	// click in River UI doesn't.
	job := value[int64](h, `SELECT job_id FROM riverbeat.runs`)
	h.becomes("the second attempt has failed", `SELECT attempt = 2 AND state = 'retryable' FROM river_job WHERE id = $1`, job)
	worker.ask("POST", "/riverui/api/jobs/retry", map[string]any{"ids": []string{fmt.Sprint(job)}}, 200)
	h.becomes("the job is completed", `SELECT state = 'completed' FROM river_job WHERE id = $1`, job)
	h.equals("companies", 3, `SELECT count(*) FROM riverbeat.listed_info`)
	if name := value[string](h, `SELECT company_name FROM riverbeat.listed_info WHERE date = '2026-11-24' AND code = '86970'`); name != "日本取引所グループ" {
		t.Errorf("86970 is %q", name)
	}
	for _, p := range []*process{scheduler, worker} {
		if p.times("sesame") > 0 {
			t.Error("the token is in the log")
		}
	}
}

// The paths by which a scheduler learns of what another process wrote.
func TestThreeHundredSchedulesCreatedAtOnceEachRunOnceAndOnTime(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		by            string
		notify, redis bool
	}{{"NOTIFY and Redis", true, true}, {"NOTIFY alone", true, false}, {"Redis alone", false, true}} {
		t.Run(row.by, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			var settings []string
			if row.redis {
				settings = []string{"REDIS_URL=" + redistest.Start(t).URL()}
			}
			if !row.notify {
				h.silence()
			}
			h.start(append(settings, "RIVERBEAT_ROLES=scheduler", "RIVERBEAT_POLL_INTERVAL=10m")...)
			api := h.start(append(settings, "RIVERBEAT_ROLES=api")...)
			at := in(5 * time.Second)
			var all sync.WaitGroup
			for i := range 300 {
				all.Go(func() { api.ask("POST", "/v1/schedules", noop(numbered(i), map[string]any{"at": at}), 201) })
			}
			all.Wait()
			h.eachRanOnceOnTime(300)
		})
	}
}

// silence disables the triggers that announce.
func (h *house) silence() {
	h.t.Helper()
	h.exec(`
		ALTER TABLE riverbeat.schedules DISABLE TRIGGER schedules_announce_insert;
		ALTER TABLE riverbeat.schedules DISABLE TRIGGER schedules_announce_update;
		ALTER TABLE riverbeat.schedules DISABLE TRIGGER schedules_announce_delete`)
}

// eachRanOnceOnTime waits for the runs of n schedules that run once each.
func (h *house) eachRanOnceOnTime(n int) {
	h.t.Helper()
	h.eachRanOnce(n)
	// A busy machine may take longer to write them than there was time.
	h.equals("runs more than a second late", 0, `
		SELECT count(*) FROM riverbeat.runs r JOIN riverbeat.schedules s ON s.id = r.schedule_id
		WHERE r.created_at > greatest(scheduled_for, s.created_at) + interval '1 second'`)
}

// eachRanOnce is eachRanOnceOnTime for a machine that is too busy to be on time.
func (h *house) eachRanOnce(n int) {
	h.t.Helper()
	h.becomes("all have run", `SELECT count(*) = $1 FROM riverbeat.cursors WHERE state = 'completed'`, n)
	h.equals("runs", n, `SELECT count(*) FROM riverbeat.runs WHERE outcome = 'enqueued'`)
	h.equals("schedules that ran", n, `SELECT count(DISTINCT schedule_id) FROM riverbeat.runs`)
	h.equals("jobs", n, `SELECT count(*) FROM river_job`)
	h.equals("runs that came early", 0, `SELECT count(*) FROM riverbeat.runs WHERE created_at < scheduled_for`)
}

func TestWithRedisGoneNotifyCarriesOnAndRedisComesBackByItself(t *testing.T) {
	t.Parallel()
	h, redis := newHouse(t), redistest.Start(t)
	settings := []string{"REDIS_URL=" + redis.URL(), "RIVERBEAT_POLL_INTERVAL=10m"}
	scheduler := h.start(append(settings, "RIVERBEAT_ROLES=scheduler")...)
	api := h.start(append(settings, "RIVERBEAT_ROLES=api")...)
	redis.Stop()
	scheduler.said("wake path is lost", "redis subscriber")
	for i := range 20 {
		api.ask("POST", "/v1/schedules", noop(numbered(i), map[string]any{"at": in(time.Second)}), 201)
	}
	h.eachRanOnceOnTime(20)
	if got := scheduler.ask("GET", "/readyz", nil, 200); got["status"] != "degraded" {
		t.Errorf("readyz says %v", got)
	}
	redis.Restart()
	scheduler.said("wake path is back", "redis subscriber")
	if got := scheduler.ask("GET", "/readyz", nil, 200); got["status"] != "ok" {
		t.Errorf("readyz says %v", got)
	}
	h.silence()
	api.ask("POST", "/v1/schedules", noop("again", map[string]any{"at": in(time.Second)}), 201)
	h.eachRanOnceOnTime(21)
	for _, p := range []*process{scheduler, api} {
		if n := p.times(`"level":"WARN"`); n != 1 {
			t.Errorf("it warned %d times", n)
		}
	}
}

func TestWithBothPathsGoneThePollFindsEverything(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.silence()
	h.start("RIVERBEAT_ROLES=scheduler", "RIVERBEAT_POLL_INTERVAL=1s", "RIVERBEAT_MIN_SYNC_INTERVAL=1")
	api := h.start("RIVERBEAT_ROLES=api")
	api.ask("POST", "/v1/schedules", noop("posted", map[string]any{"at": in(2 * time.Second)}), 201)
	h.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind) VALUES ('written', clock_timestamp() + interval '2 seconds', 'noop')`)
	h.eachRanOnceOnTime(2)
}

func TestPlainSQLWorksAsTheAPIDoes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start("RIVERBEAT_ROLES=scheduler", "RIVERBEAT_POLL_INTERVAL=10m")
	api := h.start("RIVERBEAT_ROLES=api")
	h.exec(`INSERT INTO riverbeat.schedules (name, cron, job_kind, job_args) VALUES ('sql', '* * * * * *', 'noop', '{"a": 1}')`)
	h.becomes("it runs", `SELECT count(*) >= 2 FROM riverbeat.runs`)
	h.exec(`UPDATE riverbeat.schedules SET cron = '0 0 1 1 *' WHERE name = 'sql'`)
	eventually(t, "the edit is planned", func() bool {
		next, _ := api.ask("GET", "/v1/schedules/name:sql", nil, 200)["next_run_at"].(string)
		return strings.HasSuffix(next, "-01-01T00:00:00Z")
	})
	h.exec(`DELETE FROM riverbeat.schedules WHERE name = 'sql'`)
	api.ask("GET", "/v1/schedules/name:sql", nil, 404)
	h.equals("cursors", 0, `SELECT count(*) FROM riverbeat.cursors`)
}

func TestASchedulerKilledInTheMiddleOfAThousandRunsLosesAndDoublesNone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	// One that dies slowly is in the middle of its batch for certain: its session
	// waits on the ledger, which this test locks.
	victim := h.start("RIVERBEAT_ROLES=scheduler", "RIVERBEAT_POLL_INTERVAL=10m")
	h.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind) SELECT 'n' || n, clock_timestamp() + interval '2 seconds', 'noop' FROM generate_series(1, 1000) n`)
	h.becomes("all are planned", `SELECT count(*) = 0 FROM riverbeat.cursors WHERE dirty`)
	tx, err := h.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE riverbeat.runs IN EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	h.becomes("a dispatch waits with its jobs inserted", `SELECT count(*) > 0 FROM pg_locks WHERE relation = 'riverbeat.runs'::regclass AND NOT granted`)
	if err := victim.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-victim.done
	// What it hadn't claimed yet would keep the others from being ready.
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.start("RIVERBEAT_ROLES=scheduler", "RIVERBEAT_POLL_INTERVAL=10m")
	h.start("RIVERBEAT_ROLES=scheduler", "RIVERBEAT_POLL_INTERVAL=10m")
	h.becomes("all have run", `SELECT count(*) = 1000 FROM riverbeat.cursors WHERE state = 'completed'`)
	h.equals("runs", 1000, `SELECT count(*) FROM riverbeat.runs`)
	h.equals("jobs", 1000, `SELECT count(*) FROM river_job`)
	h.equals("schedules with a job", 1000, `SELECT count(DISTINCT substring(metadata->>'riverbeat' FROM 'schedule_id=([^&]*)')) FROM river_job`)
}

func TestTwoSchedulersRunAThousandSchedulesOfOneInstantOnceEach(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	// Many rows are announced as "look at everything", which keeps its distance
	// from the look at the start.
	for range 2 {
		h.start("RIVERBEAT_ROLES=scheduler", "RIVERBEAT_POLL_INTERVAL=10m", "RIVERBEAT_MIN_SYNC_INTERVAL=0.1")
	}
	h.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind) SELECT 'n' || n, date_trunc('second', clock_timestamp()) + interval '3 seconds', 'noop' FROM generate_series(1, 1000) n`)
	h.eachRanOnceOnTime(1000)
}

func TestItWaitsForPostgreSQLAndSaysSo(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "riverbeat-away-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := localpg.Start(t.Context(), localpg.Config{DataDir: filepath.Join(dir, "pg"), Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}

	p := launch(t, []string{"serve"}, "DATABASE_URL="+server.URL())
	p.waitAddr()
	p.said("waiting for the database", "PostgreSQL can't be reached")
	if p.status("/livez") != 200 || p.status("/readyz") != 503 || p.status("/v1/schedules") != 503 {
		t.Errorf("livez %d, readyz %d, API %d", p.status("/livez"), p.status("/readyz"), p.status("/v1/schedules"))
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.said("waiting for the database", "not migrated")
	migrate := launch(t, []string{"migrate", "up"}, "DATABASE_URL="+server.URL())
	if code := migrate.exitCode(); code != 0 {
		t.Fatalf("migrate up: %d: %v", code, migrate.log())
	}
	p.waitReady()
	p.ask("POST", "/v1/schedules", noop("often", map[string]any{"cron": "* * * * * *"}), 201)

	// And again while it runs.
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readyz says that PostgreSQL is away", func() bool { return p.status("/readyz") == 503 })
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.waitReady()
	count := func() int {
		return len(p.ask("GET", "/v1/schedules/name:often/runs", nil, 200)["runs"].([]any))
	}
	before := count()
	eventually(t, "it runs again", func() bool { return count() >= before+2 })
	if code := p.stop(); code != 0 {
		t.Errorf("it exited with %d", code)
	}
	if strings.Contains(strings.Join(p.log(), ""), password(t, server.URL())) {
		t.Error("the password is in the log")
	}
}

func password(t *testing.T, url string) string {
	t.Helper()
	_, rest, _ := strings.Cut(url, "://")
	_, rest, _ = strings.Cut(rest, ":")
	secret, _, ok := strings.Cut(rest, "@")
	if !ok || secret == "" {
		t.Fatal("the URL has no password")
	}
	return secret
}

func TestAStopLetsJobsFinishAndExitsWithZero(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	begun, release := make(chan struct{}), make(chan struct{})
	var finished atomic.Bool
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-release
		finished.Store(true)
	}))
	t.Cleanup(slow.Close)
	p := h.start(allowLoopback)
	p.ask("POST", "/v1/schedules", webhookTo("slow", slow.URL, map[string]any{"at": in(0)}), 201)
	<-begun
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it takes no requests", func() bool { return p.status("/livez") == 0 })
	close(release)
	if code := p.exitCode(); code != 0 {
		t.Errorf("it exited with %d", code)
	}
	h.equals("jobs that were completed", 1, `SELECT count(*) FROM river_job WHERE state = 'completed'`)
	if !finished.Load() {
		t.Error("the job was cut off")
	}
}

func TestAPortInUseIsOneLineAndExitCodeOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p := h.launch([]string{"serve"}, "DATABASE_URL="+h.url, "RIVERBEAT_ADDR="+taken.Addr().String())
	if code := p.exitCode(); code != 1 || len(p.log()) != 1 || !strings.Contains(p.log()[0], "address already in use") {
		t.Errorf("code %d, %q", code, p.log())
	}
}

func TestBadSettingsAreNamedAndTheirValuesAreNotShown(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		setting string
		code    int
		says    string
	}{
		{"RIVERBEAT_POLL_INTERVALL=5s", 78, "RIVERBEAT_POLL_INTERVALL: there is no such setting"},
		{"RIVERBEAT_POLL_INTERVAL=secret", 78, `RIVERBEAT_POLL_INTERVAL: must be a duration`},
		{"RIVERBEAT_MIN_SYNC_INTERVAL=2m", 78, "RIVERBEAT_MIN_SYNC_INTERVAL: is 2m0s, longer than RIVERBEAT_POLL_INTERVAL"},
		{"RIVERBEAT_ROLES=api,secret", 78, "RIVERBEAT_ROLES: must be api, scheduler, worker"},
		{"RIVERBEAT_HEARTBEAT_INTERVAL=99ms", 78, "RIVERBEAT_HEARTBEAT_INTERVAL: must be from 100ms to 1m"},
		{"RIVERBEAT_HEARTBEAT_INTERVAL=61s", 78, "RIVERBEAT_HEARTBEAT_INTERVAL: must be from 100ms to 1m"},
		{"RIVERBEAT_MIN_SYNC_INTERVAL=0", 78, "RIVERBEAT_MIN_SYNC_INTERVAL: must be longer than 0s"},
		{"RIVERBEAT_MISFIRE_AFTER=24h", 78, "RIVERBEAT_MISFIRE_AFTER: must be from 1s to 1h"},
		{"RIVERBEAT_MISFIRE_AFTER=0s", 78, "RIVERBEAT_MISFIRE_AFTER: must be from 1s to 1h"},
		{"RIVERBEAT_AUTH=off", 78, "RIVERBEAT_AUTH: must be loopback-open or required"},
		{"RIVERBEAT_RATE_LIMIT_TOKEN=-1", 78, "RIVERBEAT_RATE_LIMIT_TOKEN: must be from 0 to 1000000"},
		{"RIVERBEAT_RATE_LIMIT_ADDRESS=many", 78, "RIVERBEAT_RATE_LIMIT_ADDRESS: must be a whole number"},
		{"RIVERBEAT_TRUSTED_PROXIES=secret", 78, "RIVERBEAT_TRUSTED_PROXIES: must be networks"},
		{"RIVERBEAT_CATCH_UP_RATE=0", 78, "RIVERBEAT_CATCH_UP_RATE: must be from 1 to 100000"},
		{"RIVERBEAT_CATCH_UP_RATE=fast", 78, "RIVERBEAT_CATCH_UP_RATE: must be a whole number"},
		{"RIVERBEAT_RUN_RETENTION=1m", 78, "RIVERBEAT_RUN_RETENTION: must be 0s, which keeps for ever, or at least 1h"},
		{"RIVERBEAT_COMPLETED_RETENTION=-1h", 78, "RIVERBEAT_COMPLETED_RETENTION: must be 0s, which keeps for ever, or at least 1h"},
		{"RIVERBEAT_ADDR=127.0.0.1:99999", 78, "RIVERBEAT_ADDR: must be host:port"},
		{"RIVERBEAT_QUEUES=Bad Queue!", 78, `RIVERBEAT_QUEUES: must be queue=workers pairs such as "default=100,reports=5"`},
		{"RIVERBEAT_JQUANTS_URL=http://x/?a=b", 78, "RIVERBEAT_JQUANTS_URL: must be an http or https URL without a query"},
		{"RIVERBEAT_JQUANTS_URL=http://x/#a", 78, "RIVERBEAT_JQUANTS_URL: must be an http or https URL without a query"},
		{"RIVERBEAT_LISTEN_DATABASE_URL=host=h password = secret port=x", 78, "RIVERBEAT_LISTEN_DATABASE_URL: isn't a URL"},
		{"RIVERBEAT_ADDR=secret", 78, "RIVERBEAT_ADDR: must be host:port"},
		{"RIVERBEAT_LOG_LEVEL=secret", 78, "RIVERBEAT_LOG_LEVEL: must be"},
		{"RIVERBEAT_WEBHOOK_ALLOW=secret", 78, "RIVERBEAT_WEBHOOK_ALLOW: must be"},
		{"RIVERBEAT_WEBHOOK_PORTS=80,http", 78, `RIVERBEAT_WEBHOOK_PORTS: must be ports such as "80,443", or any`},
		{"RIVERBEAT_WEBHOOK_PER_HOST=0", 78, "RIVERBEAT_WEBHOOK_PER_HOST: must be from 1 to 10000"},
		{"ZONEINFO=/nowhere", 78, "ZONEINFO: read the time zone data in /nowhere"},
		{"REDIS_URL=secret", 78, "REDIS_URL: isn't a URL"},
		{"DATABASE_URL=", 78, "DATABASE_URL: is missing"},
		{"DATABASE_URL=postgres://user:secret@host:port/x", 78, "DATABASE_URL"},
		{"RIVERBEAT_JQUANTS_URL=secret", 78, "RIVERBEAT_JQUANTS_URL: must be an http or https URL"},
	} {
		t.Run(row.setting, func(t *testing.T) {
			t.Parallel()
			p := launch(t, []string{"serve"}, "DATABASE_URL=postgres://127.0.0.1:1/none", row.setting)
			code := p.exitCode()
			output := strings.Join(p.log(), "\n")
			if code != row.code || !strings.Contains(output, row.says) || strings.Contains(output, "secret") {
				t.Errorf("code %d: %s", code, output)
			}
		})
	}
	for _, args := range [][]string{{"serve", "--no-such-flag"}, {"serve", "more"}, {"migrate", "upp"}, {"sever"}} {
		if p := launch(t, args); p.exitCode() != 2 {
			t.Errorf("%q exits with %d: %v", args, p.exitCode(), p.log())
		}
	}
}

func TestABareNumberOfSecondsIsAnInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{"5": 5 * time.Second, "0.5": time.Second / 2, "7s": 7 * time.Second, "1m": time.Minute} {
		var s seconds
		if err := s.Set(text); err != nil || time.Duration(s) != want {
			t.Errorf("%q is %v, %v", text, time.Duration(s), err)
		}
	}
}

func TestDevRunsOnAnEmptyMachineAndKeepsItsData(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "riverbeat-dev-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	dev := func() *process {
		p := launch(t, []string{"dev", "--log-format=json"}, "RIVERBEAT_DATA_DIR="+filepath.Join(dir, "data"))
		p.waitReady()
		return p
	}
	p := dev()
	if got := p.ask("GET", "/readyz", nil, 200); got["status"] != "ok" || !strings.HasPrefix(fmt.Sprint(got["checks"].(map[string]any)["redis"]), "ok: heartbeat ") {
		t.Errorf("readyz says %v", got)
	}
	p.ask("POST", "/v1/schedules", webhookTo("hello", p.base+receiverPath, map[string]any{"cron": "* * * * * *"}), 201)
	p.said("webhook received", "hello")

	// Its PostgreSQL is its own to look after.
	var started struct{ PID int }
	if err := json.Unmarshal([]byte(p.said("PostgreSQL started")), &started); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(started.PID, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	p.said("PostgreSQL has ended")
	p.waitReady()
	if code := p.stop(); code != 0 {
		t.Errorf("it exited with %d", code)
	}
	p = dev()
	args := map[string]any{"url": p.base + receiverPath, "body": "after the restart"}
	p.ask("PATCH", "/v1/schedules/name:hello", map[string]any{"job": map[string]any{"args": args}}, 200)
	p.said("webhook received", "after the restart")
	p.ask("DELETE", "/v1/schedules/name:hello", nil, 204)
}

func TestReadyzTellsOfASchemaThatWasTakenBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.start()
	if down := h.launch([]string{"migrate", "down"}, "DATABASE_URL="+h.url); down.exitCode() != 0 {
		t.Fatal(down.log())
	}
	// What it found a moment ago may be said once more.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		status, body := p.readyz()
		if status == http.StatusServiceUnavailable && strings.Contains(body, "migrate up") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it says %d %s", status, body)
		}
	}
}

// What pgxpool reads from the URL is not for the server.
func TestPoolParametersInTheURLAreUnderstood(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.launch([]string{"serve"}, "DATABASE_URL="+h.url+"&pool_max_conns=7", "RIVERBEAT_POLL_INTERVAL=10m")
	p.waitReady()
	eventually(t, "NOTIFY is heard", func() bool { return p.ask("GET", "/readyz", nil, 200)["status"] == "ok" })
}

func TestOnLoopbackOnlyLocalNamesAreAnswered(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.start()
	for host, want := range map[string]int{"localhost:1": 200, "127.0.0.1": 200, "[::1]:8080": 200, "evil.example:8080": 421, "127.0.0.1.evil.example": 421} {
		request, err := http.NewRequestWithContext(t.Context(), "GET", p.base+"/v1/schedules", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %s", host, response.Status)
		}
	}
}

func TestHealthAsksWhetherItIsReady(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.start()
	addr := "--addr=" + strings.TrimPrefix(p.base, "http://")
	if code := launch(t, []string{"health", addr}).exitCode(); code != 0 {
		t.Errorf("of one that is ready it says %d", code)
	}
	p.stop()
	if asked := launch(t, []string{"health", addr}); asked.exitCode() != exitUnavailable || asked.times("ask whether it is ready") != 1 {
		t.Errorf("of none at all it says %d: %q", asked.exitCode(), asked.log())
	}
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.start()
	p.ask("POST", "/v1/schedules", noop("once", map[string]any{"at": in(0)}), 201)
	for _, want := range []string{
		`riverbeat_runs_total{outcome="enqueued",reason="schedule"} 1`, `riverbeat_wake_up{path="notify"} 1`,
		`riverbeat_wake_heartbeat_age_seconds{path="notify"} 0`, `riverbeat_wake_heartbeat_seconds{path="notify"} 0.0`, `riverbeat_wake_losses_total{path="notify"} 0`,
		`riverbeat_dispatch_lateness_seconds_count 1`, `riverbeat_housekeeping_removed_total{what="runs"} 0`, `riverbeat_wake_messages_total{kind="change",path="notify"}`, "go_goroutines",
	} {
		eventually(t, "the metrics have "+want, func() bool {
			response, err := http.Get(p.base + "/metrics")
			if err != nil {
				return false
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			return err == nil && strings.Contains(string(text), want)
		})
	}
}

// The table of settings in the README is what the program has.
func TestTheREADMEListsEverySetting(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var table []string
	for line := range strings.Lines(string(readme)) {
		if strings.HasPrefix(line, "| `DATABASE_URL`") || strings.HasPrefix(line, "| `REDIS_URL`") || strings.HasPrefix(line, "| `RIVERBEAT_") || strings.HasPrefix(line, "| `ZONEINFO`") {
			table = append(table, strings.TrimSpace(line))
		}
	}
	want := settingsTable()
	if strings.Join(table, "\n") != strings.Join(want, "\n") {
		t.Errorf("the table should be:\n%s", strings.Join(want, "\n"))
	}
}
