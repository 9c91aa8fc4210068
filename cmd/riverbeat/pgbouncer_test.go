package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/db/pgbouncertest"
)

// burst posts n schedules that are due at one instant, all at once, and reads and
// pauses another one meanwhile.
func (p *process) burst(n int) {
	p.t.Helper()
	p.ask("POST", "/v1/schedules", noop("often", map[string]any{"every": "1h"}), 201)
	at := in(2 * time.Second)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { p.ask("POST", "/v1/schedules", noop(numbered(i), map[string]any{"at": at}), 201) })
		all.Go(func() { p.ask("GET", "/v1/schedules?page_size=10", nil, 200) })
		if i%10 == 0 {
			all.Go(func() { p.ask("POST", "/v1/schedules/name:often/pause", nil, 200) })
			all.Go(func() { p.ask("POST", "/v1/schedules/name:often/resume", nil, 200) })
		}
	}
	all.Wait()
}

// ranOnce waits for the job of a schedule of a webhook, and for River UI to show it.
func (p *process) ranOnce(h *house, target *receiver, name string) {
	p.t.Helper()
	target.next(p.t)
	h.becomes(name+" has run", `SELECT count(*) = 1 FROM riverbeat.runs WHERE schedule_name = $1`, name)
	job := fmt.Sprintf("/riverui/api/jobs/%d", value[int64](h, `SELECT job_id FROM riverbeat.runs WHERE schedule_name = $1`, name))
	eventually(p.t, "River UI shows the job as completed", func() bool { return p.ask("GET", job, nil, 200)["state"] == "completed" })
}

// writeWebhook writes a schedule by SQL, which only a message or the poll can tell of.
func (h *house) writeWebhook(name, url string) {
	h.t.Helper()
	h.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind, job_args) VALUES ($1, clock_timestamp() + interval '1 second', 'webhook', jsonb_build_object('url', $2::text))`, name, url)
}

func TestBehindPgBouncerEverythingWorksWithADirectURL(t *testing.T) {
	t.Parallel()
	h, target := newHouse(t), newReceiver(t)
	p := h.start("DATABASE_URL="+pgbouncertest.URL(t, h.url), "RIVERBEAT_LISTEN_DATABASE_URL="+h.url,
		"RIVERBEAT_POLL_INTERVAL=10m", allowLoopback)
	h.becomes("the workers are connected directly", `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'riverbeat-worker'`)
	eventually(t, "NOTIFY is heard", func() bool { return p.ask("GET", "/readyz", nil, 200)["status"] == "ok" })

	p.ask("POST", "/v1/schedules", webhookTo("posted", target.URL, map[string]any{"at": in(time.Second)}), 201)
	p.ranOnce(h, target, "posted")
	h.writeWebhook("written", target.URL)
	p.ranOnce(h, target, "written")
	p.burst(200)
	h.eachRanOnce(202)
	if n := p.times(`"level":"WARN"`) + p.times(`"level":"ERROR"`); n != 0 {
		t.Errorf("it warned %d times", n)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("it exited with %d", code)
	}
}

func TestBehindPgBouncerAloneThePollsCarryOnAndItSaysSo(t *testing.T) {
	t.Parallel()
	h, target := newHouse(t), newReceiver(t)
	through := "DATABASE_URL=" + pgbouncertest.URL(t, h.url)
	p := h.start(through, "RIVERBEAT_POLL_INTERVAL=500ms", "RIVERBEAT_MIN_SYNC_INTERVAL=0.5", allowLoopback)
	p.said("the workers poll for jobs", "RIVERBEAT_LISTEN_DATABASE_URL")
	p.said("wake path hears nothing", "RIVERBEAT_LISTEN_DATABASE_URL")

	p.ask("POST", "/v1/schedules", webhookTo("posted", target.URL, map[string]any{"at": in(time.Second)}), 201)
	p.ranOnce(h, target, "posted")
	h.writeWebhook("written", target.URL)
	p.ranOnce(h, target, "written")
	p.burst(200)
	h.eachRanOnce(202)
	if replan := h.launch([]string{"replan", "--dry-run"}, through); replan.exitCode() != 0 {
		t.Errorf("replan: %v", replan.log())
	}
	if workers, listener := p.times("the workers poll for jobs"), p.times("wake path hears nothing"); workers != 1 || listener != 1 {
		t.Errorf("it said %d times that the workers poll, and %d times that NOTIFY doesn't come", workers, listener)
	}
	if n := p.times(`"level":"ERROR"`) + p.times("SQLSTATE"); n != 0 {
		t.Errorf("%d errors", n)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("it exited with %d", code)
	}
}

func TestMigrateGoesAroundPgBouncerOrRefuses(t *testing.T) {
	t.Parallel()
	direct := dbtest.Empty(t)
	through := pgbouncertest.URL(t, direct)
	for _, settings := range [][]string{
		{"DATABASE_URL=" + through},
		{"DATABASE_URL=" + through, "RIVERBEAT_LISTEN_DATABASE_URL=" + through},
	} {
		p := launch(t, []string{"migrate", "up"}, settings...)
		if code := p.exitCode(); code != exitConfig || len(p.log()) != 1 || !strings.Contains(p.log()[0], "RIVERBEAT_LISTEN_DATABASE_URL") {
			t.Errorf("it exits with %d: %q", code, p.log())
		}
	}
	for _, row := range []struct{ command, listen string }{{"version", ""}, {"up", direct}, {"status", ""}, {"redo", direct}} {
		p := launch(t, []string{"migrate", row.command}, "DATABASE_URL="+through, "RIVERBEAT_LISTEN_DATABASE_URL="+row.listen)
		if code := p.exitCode(); code != 0 {
			t.Errorf("migrate %s exits with %d: %q", row.command, code, p.log())
		}
	}
}
