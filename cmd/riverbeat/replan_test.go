package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/riverbeat/riverbeat/app/zonedata"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// builtIn are time zone data older than those of freshZones.
const builtIn = "ZONEINFO="

// command runs riverbeat to its end.
func command(t *testing.T, settings []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, failed bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append([]string{beRiverbeat + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, settings...)
	cmd.Stdout, cmd.Stderr = &out, &failed
	err := cmd.Run()
	if _, ended := err.(*exec.ExitError); err != nil && !ended { //nolint:errorlint // Run gives it bare
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), failed.String()
}

func TestReplanListsWhatMovesAndADryRunWritesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.start("RIVERBEAT_ROLES=api,scheduler", builtIn)
	p.ask("POST", "/v1/schedules", noop("at nine", map[string]any{"cron": "0 9 * * *", "timezone": "Europe/Berlin"}), 201)
	p.ask("POST", "/v1/schedules", noop("in utc", map[string]any{"cron": "0 9 * * *"}), 201)
	p.ask("POST", "/v1/schedules", noop("each hour", map[string]any{"cron": "0 * * * *", "timezone": "Europe/Berlin"}), 201)
	h.becomes("the first start is through", `SELECT newest <> '' AND newest = replanned FROM riverbeat.zone_data`)
	own := value[string](h, `SELECT newest FROM riverbeat.zone_data`)
	if code := p.stop(); code != 0 {
		t.Fatal("it exited with ", code)
	}

	const rows = `SELECT string_agg(xmin || c::text, ' ' ORDER BY schedule_id) || (SELECT xmin || z::text FROM riverbeat.zone_data z) FROM riverbeat.cursors c`
	before := value[string](h, rows)
	settings := []string{"DATABASE_URL=" + h.url, "ZONEINFO=" + freshZones(t, 7)}
	code, listed, told := command(t, settings, "replan", "--dry-run")
	if code != 0 || told != "" {
		t.Fatalf("it exited with %d: %s", code, told)
	}
	lines := strings.Split(strings.TrimSpace(listed), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "default/at nine  Europe/Berlin  ") ||
		!strings.HasSuffix(lines[0], "T09:00:00+07:00") || !strings.Contains(lines[0], ":00:00+07:00 → ") ||
		lines[1] != "1 of 3 schedules move by "+freshVersion() {
		t.Errorf("it lists\n%s", listed)
	}
	if after := value[string](h, rows); after != before {
		t.Errorf("the dry run has made\n%s\nof\n%s", after, before)
	}

	code, moved, _ := command(t, settings, "replan")
	if code != 0 || strings.Replace(moved, " moved ", " move ", 1) != listed {
		t.Errorf("it exited with %d and moved\n%s", code, moved)
	}
	h.equals("runs at 09:00, seven hours ahead of UTC", 1, `
		SELECT count(*) FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id
		WHERE name = 'at nine' AND extract(hour FROM next_run_at AT TIME ZONE 'UTC') = 2 AND fire_at = next_run_at`)
	h.equals("versions", 1, `SELECT count(*) FROM riverbeat.zone_data WHERE newest = $1 AND replanned = $1`, freshVersion())
	if code, again, _ := command(t, settings, "replan"); code != 0 || again != "0 of 3 schedules moved by "+freshVersion()+"\n" {
		t.Errorf("a second time it exits with %d and says %s", code, again)
	}

	// Older data are refused, in a dry run too.
	for _, args := range [][]string{{"replan"}, {"replan", "--dry-run"}} {
		code, out, told := command(t, []string{"DATABASE_URL=" + h.url}, args...)
		if code != 1 || out != "" || !strings.Contains(told, "are "+own+", older than "+freshVersion()) || !strings.Contains(told, "ZONEINFO") {
			t.Errorf("%q with older data exits with %d: %s%s", args, code, out, told)
		}
	}
}

func TestReplanSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, row := range []struct {
		url  string
		code int
		says string
	}{
		{dbtest.Empty(t), 1, "run `riverbeat migrate up`"},
		{"postgres://u@" + closed.Addr().String() + "/d", 1, "connect"},
		{"", exitConfig, "DATABASE_URL: is missing"},
	} {
		code, out, told := command(t, []string{"DATABASE_URL=" + row.url}, "replan")
		if code != row.code || out != "" || !strings.Contains(told, row.says) {
			t.Errorf("%q: it exits with %d: %s%s", row.url, code, out, told)
		}
	}
}

// Every two seconds, at even seconds by the older data and at odd ones by the newer.
func TestSchedulersWithOlderAndNewerZoneDataWorkSideBySide(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	older := h.start("RIVERBEAT_ROLES=api,scheduler", "RIVERBEAT_POLL_INTERVAL=500ms", "RIVERBEAT_MIN_SYNC_INTERVAL=100ms", builtIn)
	for i := range 20 {
		older.ask("POST", "/v1/schedules", noop(numbered(i), map[string]any{"cron": "*/2 * * * * *", "timezone": "Europe/Berlin"}), 201)
	}
	h.becomes("each has run", `SELECT count(DISTINCT schedule_id) = 20 FROM riverbeat.runs`)
	newer := h.start("RIVERBEAT_ROLES=scheduler", "RIVERBEAT_POLL_INTERVAL=500ms", "RIVERBEAT_MIN_SYNC_INTERVAL=100ms", "RIVERBEAT_LOG_LEVEL=debug",
		"ZONEINFO="+freshZonesSeconds(t, 1))
	newer.said(`"msg":"newer time zone data: planning anew what they move"`, `"version":"`+freshVersion()+`"`)
	newer.said(`"msg":"planned anew by newer time zone data"`, `"counted":20`)
	newer.said(`"msg":"newer time zone data move the next run"`, `"schedule_id"`, `"from"`, `"to"`)
	older.said(`"level":"WARN"`, "another scheduler has newer time zone data", `"newest":"`+freshVersion()+`"`)
	h.equals("versions", 1, `SELECT count(*) FROM riverbeat.zone_data WHERE newest = $1 AND replanned = $1`, freshVersion())

	ready := older.ask("GET", "/readyz", nil, 200)
	if says := fmt.Sprint(ready["checks"].(map[string]any)["tzdata"]); ready["status"] != "degraded" || !strings.Contains(says, "is older than "+freshVersion()+", which another scheduler has used") {
		t.Errorf("readyz says %v", ready)
	}
	if text := metricsOf(t, older); !strings.Contains(text, "\nriverbeat_tzdata_outdated 1\n") {
		t.Error("riverbeat_tzdata_outdated isn't 1 with the older data")
	}
	if text := metricsOf(t, newer); !strings.Contains(text, "\nriverbeat_tzdata_outdated 0\n") || !strings.Contains(text, "\nriverbeat_replanned_total ") {
		t.Error("riverbeat_tzdata_outdated isn't 0 with the newer data, or riverbeat_replanned_total is missing")
	}
	// What the older one writes and plans is taken up by the newer one.
	older.ask("POST", "/v1/schedules", noop("late", map[string]any{"cron": "0 9 * * *", "timezone": "Europe/Berlin"}), 201)
	h.becomes("what the older one has planned is planned anew", `
		SELECT extract(second FROM next_run_at) = 59 AND NOT dirty FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE name = 'late'`)
	through := value[time.Time](h, `SELECT clock_timestamp()`)
	h.becomes("they go on side by side", `SELECT min(last) > $1::timestamptz + interval '4 s' FROM (
		SELECT max(scheduled_for) AS last FROM riverbeat.runs GROUP BY schedule_id) each`, through)
	if code := older.stop(); code != 0 {
		t.Error("it exited with ", code)
	}
	if n := older.times("another scheduler has newer time zone data"); n != 1 {
		t.Errorf("the older one has warned %d times", n)
	}
	alone := value[time.Time](h, `SELECT clock_timestamp()`)
	h.becomes("the newer one goes on alone", `SELECT min(last) > $1::timestamptz + interval '4 s' FROM (
		SELECT max(scheduled_for) AS last FROM riverbeat.runs GROUP BY schedule_id) each`, alone)
	h.equals("runs by the older data then", 0, `
		SELECT count(*) FROM riverbeat.runs WHERE scheduled_for > $1::timestamptz + interval '3 s' AND extract(second FROM scheduled_for)::int % 2 = 0`, alone)
	h.equals("instants left out", 0, `
		SELECT count(*) FROM (SELECT scheduled_for - lag(scheduled_for) OVER (PARTITION BY schedule_id ORDER BY scheduled_for) AS gap FROM riverbeat.runs) gaps
		WHERE gap > interval '3 s' OR gap < interval '1 s'`)
	h.equals("runs that came early", 0, `SELECT count(*) FROM riverbeat.runs WHERE created_at < scheduled_for`)
	h.equals("runs without a job, jobs without a run", 0, `SELECT count(*) FROM river_job j FULL JOIN riverbeat.runs r ON r.job_id = j.id WHERE j.id IS NULL OR r.job_id IS NULL`)
}

func metricsOf(t *testing.T, p *process) string {
	t.Helper()
	response, err := http.Get(p.base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestProgressIsToldOnlyOfLongWork(t *testing.T) {
	for terminal, want := range map[bool]string{
		false: "1 looked at\n11 looked at\n",
		true:  "\r\x1b[K1 looked at\r\x1b[K2 looked at\r\x1b[K",
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			p := newProgress(&out)
			p.terminal = terminal
			for n := range 12 {
				p.tell(fmt.Sprintf("%d looked at", n))
				if terminal && n == 2 {
					break
				}
				time.Sleep(time.Second)
			}
			p.clear()
			p.clear()
			if out.String() != want {
				t.Errorf("on a terminal (%t): %q", terminal, out.String())
			}
		})
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1204: "1,204", 1_000_000: "1,000,000"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
}

func TestTheBuiltInZoneDataAreOlderThanThoseOfTheTests(t *testing.T) {
	t.Parallel()
	zones, err := zonedata.Newest("")
	if err != nil || zonedata.Compare(zones.Version(), freshVersion()) >= 0 {
		t.Errorf("%v: %s isn't older than %s", err, zones.Version(), freshVersion())
	}
}
