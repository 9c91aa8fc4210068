package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/wake/proxytest"
	"github.com/riverbeat/riverbeat/app/wake/redistest"
)

// readyz is what it says, whatever its status.
func (p *process) readyz() (status int, body string) {
	p.t.Helper()
	response, err := http.Get(p.base + "/readyz")
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// metric is the sum of a metric's series whose labels contain each of the texts.
func (p *process) metric(name string, labels ...string) (sum float64) {
	p.t.Helper()
	response, err := http.Get(p.base + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		series, number, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if !strings.HasPrefix(series, name+"{") && !strings.HasPrefix(series, name+" ") || !containsAll(series, labels) {
			continue
		}
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		sum += value
	}
	return sum
}

func TestTheLossOfATriggerThatKeepsTheTruthIsSaidAtTheNextPoll(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.start("RIVERBEAT_POLL_INTERVAL=300ms", "RIVERBEAT_MIN_SYNC_INTERVAL=0.1")
	h.exec(`ALTER TABLE riverbeat.schedules DISABLE TRIGGER schedules_announce_update`)
	p.said(`"level":"WARN"`, "triggers that announce", "schedules_announce_update")
	if status, body := p.readyz(); status != http.StatusOK || !containsAll(body, []string{"degraded", "schedules_announce_update"}) {
		t.Errorf("without a trigger that announces: %d %s", status, body)
	}
	h.exec(`ALTER TABLE riverbeat.schedules DISABLE TRIGGER schedules_keep_insert; DROP TRIGGER schedules_keep_delete ON riverbeat.schedules`)
	p.said(`"level":"ERROR"`, "schedules_keep_insert", "schedules_keep_delete")
	if status, body := p.readyz(); status != http.StatusServiceUnavailable || !containsAll(body, []string{"unavailable", "schedules_keep_insert", "schedules_keep_delete"}) {
		t.Errorf("without triggers that keep the truth: %d %s", status, body)
	}
	h.exec(`ALTER TABLE riverbeat.schedules ENABLE TRIGGER schedules_keep_insert;
		CREATE TRIGGER schedules_keep_delete AFTER DELETE ON riverbeat.schedules
			REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.keep_cursors()`)
	p.said("the triggers that keep the truth are back")
	p.waitReady()
	if n := p.times(`"level":"ERROR"`); n != 1 {
		t.Errorf("it said %d errors", n)
	}
}

// Two schedulers, an API, both paths, and ten thousand edits as fast as they can be
// made, beside schedules that are due every second.
func TestTenThousandEditsAreAllInForceAndDelayNothing(t *testing.T) {
	t.Parallel()
	const edits, schedules, interval = 10_000, 200, 1.0
	h := newHouse(t)
	settings := []string{"REDIS_URL=" + redistest.Start(t).URL(), "RIVERBEAT_POLL_INTERVAL=10m", fmt.Sprint("RIVERBEAT_MIN_SYNC_INTERVAL=", interval)}
	schedulers := []*process{h.start(append(settings, "RIVERBEAT_ROLES=scheduler")...), h.start(append(settings, "RIVERBEAT_ROLES=scheduler")...)}
	api := h.start(append(settings, "RIVERBEAT_ROLES=api")...)
	h.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind) SELECT 'often' || n, '1 second', 'noop' FROM generate_series(1, 20) n`)
	h.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind) SELECT 'n' || lpad(n::text, 4, '0'), '1 day', 'noop' FROM generate_series(0, $1::int - 1) n`, schedules)
	h.becomes("they run", `SELECT count(*) >= 20 FROM riverbeat.runs`)

	begun := time.Now()
	looks := make([]float64, len(schedulers))
	for i, p := range schedulers {
		looks[i] = p.metric("riverbeat_sync_duration_seconds_count", `cause="everything"`) + p.metric("riverbeat_sync_duration_seconds_count", `cause="polled"`)
	}
	var all sync.WaitGroup
	for writer := range 4 {
		all.Go(func() { // half of them with SQL, in one session each
			conn, err := h.pool.Acquire(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Release()
			for n := writer; n < edits*3/4; n += 4 {
				if _, err := conn.Exec(t.Context(), `UPDATE riverbeat.schedules SET every = make_interval(hours => $2) WHERE name = $1`, numbered(n%schedules), 1+n%500); err != nil {
					t.Error(err)
					return
				}
			}
		})
		all.Go(func() {
			for n := writer; n < edits/4; n += 4 {
				api.ask("PATCH", "/v1/schedules/name:"+numbered(n%schedules), map[string]any{"spec": map[string]any{"every": fmt.Sprint(1+n%500, "h"), "max_runs": 1_000_000 + n}}, 200)
			}
		})
	}
	all.Wait()
	took := time.Since(begun).Seconds()
	for n := range schedules {
		p := api.ask("GET", "/v1/schedules/name:"+numbered(n)+"/propagation", nil, 200)
		if p["applied"] != true || len(p["schedulers"].([]any)) != 2 {
			eventually(t, "the last edit of "+numbered(n)+" is in force", func() bool {
				return api.ask("GET", "/v1/schedules/name:"+numbered(n)+"/propagation", nil, 200)["applied"] == true
			})
		}
	}
	h.equals("cursors that are still to be planned", 0, `SELECT count(*) FROM riverbeat.cursors WHERE dirty`)
	h.equals("cursors that aren't planned by the last edit", 0, `
		SELECT count(*) FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id
		WHERE name LIKE 'n%' AND next_run_at <> (
			SELECT created_at + every * ceil(extract(epoch FROM c.changed_at - created_at) / extract(epoch FROM every)))`)
	intervals := time.Since(begun).Seconds()/interval + 1
	for i, p := range schedulers {
		n := p.metric("riverbeat_sync_duration_seconds_count", `cause="everything"`) + p.metric("riverbeat_sync_duration_seconds_count", `cause="polled"`) - looks[i]
		if n > 2*intervals {
			t.Errorf("scheduler %d looked at everything %v times in %v intervals", i, n, intervals)
		}
	}
	h.equals("runs more than a second late", 0, `SELECT count(*) FROM riverbeat.runs WHERE created_at > scheduled_for + interval '1 second' AND schedule_name LIKE 'often%'`)
	t.Logf("%d edits in %.1f s", edits, took)
}

func TestWithRedisOffAChangeByNameWaitsForNoInterval(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start("RIVERBEAT_ROLES=scheduler", "RIVERBEAT_POLL_INTERVAL=10m")
	h.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind) VALUES ('another', '1 hour', 'noop')`)
	h.becomes("half a second has passed", `SELECT clock_timestamp() > created_at + interval '0.5 s' FROM riverbeat.schedules`)
	h.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind) VALUES ('soon', clock_timestamp() + interval '1 second', 'noop')`)
	h.becomes("it has run", `SELECT count(*) = 1 FROM riverbeat.runs`)
	h.equals("runs more than a second late", 0, `SELECT count(*) FROM riverbeat.runs WHERE created_at > scheduled_for + interval '1 second'`)
}

func TestAFrozenListenerIsNoticedHealedAndLosesNothing(t *testing.T) {
	t.Parallel()
	const heartbeat = 200 * time.Millisecond
	h := newHouse(t)
	proxy, url := h.behindProxy()
	p := h.start("RIVERBEAT_LISTEN_DATABASE_URL="+url, "RIVERBEAT_HEARTBEAT_INTERVAL=200ms", "RIVERBEAT_POLL_INTERVAL=10m", "RIVERBEAT_ROLES=api,scheduler", "RIVERBEAT_MIN_SYNC_INTERVAL=0.1")
	eventually(t, "NOTIFY is proven", func() bool { _, body := p.readyz(); return strings.Contains(body, `"notify":"ok`) })

	proxy.Freeze()
	frozen := time.Now()
	eventually(t, "readyz says that it isn't proven", func() bool {
		status, body := p.readyz()
		if status != http.StatusOK {
			t.Fatalf("a path that is lost does no harm, and readyz says %d: %s", status, body)
		}
		return !strings.Contains(body, `"notify":"ok`)
	})
	if took := time.Since(frozen); took > 3*heartbeat+2*time.Second { // the rest is for a machine that is busy
		t.Errorf("it was noticed after %v", took)
	}
	h.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind) VALUES ('unheard', clock_timestamp(), 'noop')`)
	for time.Since(frozen) < 15*heartbeat {
		if _, body := p.readyz(); strings.Contains(body, `"notify":"ok`) {
			t.Fatalf("frozen, it says %s", body)
		}
	}
	h.equals("runs meanwhile", 0, `SELECT count(*) FROM riverbeat.runs`)

	proxy.Thaw()
	h.becomes("what was written meanwhile has run", `SELECT count(*) = 1 FROM riverbeat.runs`)
	eventually(t, "readyz is fine again", func() bool { _, body := p.readyz(); return strings.Contains(body, `"status":"ok"`) })
	if lost, back := p.times("wake path is lost"), p.times("wake path is back"); lost != 1 || back != 1 {
		t.Errorf("lost %d times, back %d times", lost, back)
	}
}

// behindProxy is a URL that leads to the house's database through a proxy.
func (h *house) behindProxy() (*proxytest.Proxy, string) {
	h.t.Helper()
	u, err := url.Parse(h.url)
	if err != nil {
		h.t.Fatal(err)
	}
	proxy := proxytest.Start(h.t, u.Host)
	u.Host = proxy.Addr()
	return proxy, u.String()
}

func TestWhenNothingAnswersReadyzSaysSoAndAllComesBackByItself(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	proxy, url := h.behindProxy()
	p := launch(t, []string{"serve"}, "DATABASE_URL="+url, "RIVERBEAT_HEARTBEAT_INTERVAL=200ms", "RIVERBEAT_POLL_INTERVAL=10m")
	p.waitReady()
	proxy.Freeze()
	eventually(t, "it isn't ready", func() bool { return p.status("/readyz") == http.StatusServiceUnavailable })
	h.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind) VALUES ('unheard', clock_timestamp(), 'noop')`)
	if p.status("/livez") != http.StatusOK {
		t.Error("it isn't alive")
	}
	proxy.Thaw()
	p.waitReady()
	h.becomes("what was written meanwhile has run", `SELECT count(*) = 1 FROM riverbeat.runs`)
}

func TestTheAPIDoesWithoutNOTIFYWhileRedisReachesEveryScheduler(t *testing.T) {
	t.Parallel()
	h, redis := newHouse(t), redistest.Start(t)
	settings := []string{"REDIS_URL=" + redis.URL(), "RIVERBEAT_POLL_INTERVAL=10m", "RIVERBEAT_HEARTBEAT_INTERVAL=200ms"}
	scheduler := h.start(append(settings, "RIVERBEAT_ROLES=scheduler")...)
	api := h.start(append(settings, "RIVERBEAT_ROLES=api", "RIVERBEAT_API_NOTIFY=fallback")...)
	made := 0
	// create makes schedules until one was announced as it should be, and says how
	// many NOTIFY carried.
	create := func() float64 {
		t.Helper()
		before := scheduler.notified()
		made++
		api.ask("POST", "/v1/schedules?wait=applied&timeout=20s", noop(numbered(made), map[string]any{"at": in(time.Second)}), 201)
		h.becomes("it has run", `SELECT count(*) = $1 FROM riverbeat.runs`, made)
		return scheduler.notified() - before
	}
	eventually(t, "Redis alone carries a change", func() bool { return create() == 0 })
	redis.Freeze()
	if create() != 1 {
		t.Error("Redis doesn't take a message, and there is no NOTIFY")
	}
	redis.Thaw()
	eventually(t, "Redis alone carries a change again", func() bool { return create() == 0 })
	h.equals("runs more than a second late", 0, `SELECT count(*) FROM riverbeat.runs WHERE created_at > scheduled_for + interval '1 second'`)
}

// notified is how many changes of a schedule NOTIFY has carried to it.
func (p *process) notified() float64 {
	p.t.Helper()
	return p.metric("riverbeat_wake_messages_total", `path="notify"`, `kind="change"`)
}

// Of a scheduler that Redis doesn't reach any more, nobody knows for some heartbeats.
func TestWhatASchedulerMissedBeforeItWasKnownToBeDeafIsToldAfterwards(t *testing.T) {
	t.Parallel()
	h, redis := newHouse(t), redistest.Start(t)
	address, err := url.Parse(redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := proxytest.Start(t, address.Host)
	settings := []string{"RIVERBEAT_POLL_INTERVAL=10m", "RIVERBEAT_MIN_SYNC_INTERVAL=0.1", "RIVERBEAT_HEARTBEAT_INTERVAL=300ms"}
	scheduler := h.start(append(settings, "RIVERBEAT_ROLES=scheduler", "REDIS_URL="+proxy.URL(redis.URL()))...)
	api := h.start(append(settings, "RIVERBEAT_ROLES=api", "RIVERBEAT_API_NOTIFY=fallback", "REDIS_URL="+redis.URL())...)
	made := 0
	eventually(t, "Redis alone carries a change", func() bool {
		before := scheduler.notified()
		made++
		api.ask("POST", "/v1/schedules?wait=applied&timeout=20s", noop(numbered(made), map[string]any{"every": "1h"}), 201)
		return scheduler.notified() == before
	})
	before := scheduler.notified()
	proxy.Freeze()
	api.ask("POST", "/v1/schedules", noop("missed", map[string]any{"at": in(0)}), 201)
	h.becomes("it has run", `SELECT count(*) = 1 FROM riverbeat.runs`)
	if scheduler.notified() != before {
		t.Error("NOTIFY carried it by its name: the test was too slow to see anything")
	}
}
