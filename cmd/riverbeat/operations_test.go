package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"

	"github.com/riverbeat/riverbeat/app/wake/redistest"
)

// admin is the address of the process's admin server.
func (p *process) admin() string {
	p.t.Helper()
	var line struct {
		Addr string `json:"admin_addr"`
	}
	if err := json.Unmarshal([]byte(p.said("metrics and profiles are served")), &line); err != nil {
		p.t.Fatal(err)
	}
	return line.Addr
}

// scrape reads the metrics, as Prometheus does.
func scrape(t *testing.T, addr string) map[string]*dto.MetricFamily {
	t.Helper()
	response, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	textParser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := textParser.TextToMetricFamilies(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("scrape: %s, %v", response.Status, err)
	}
	return families
}

// busy is a process with all roles that has run something of each sort.
func busy(t *testing.T) *process {
	t.Helper()
	h, target := newHouse(t), newReceiver(t)
	p := h.start(allowLoopback, "REDIS_URL="+redistest.Start(t).URL(), "RIVERBEAT_ADMIN_ADDR=127.0.0.1:0")
	p.ask("POST", "/v1/schedules", webhookTo("often", target.URL, map[string]any{"cron": "* * * * * *"}), 201)
	target.next(t)
	h.becomes("a job is done", `SELECT EXISTS (SELECT FROM river_job WHERE state = 'completed')`)
	return p
}

// units are how a metric's name ends: with what it counts or measures.
var units = regexp.MustCompile(`_(seconds|seconds_total|total|info|schedules|connections|streams|requests_running)$`)

// switches are 0 or 1.
var switches = []string{"riverbeat_wake_up", "riverbeat_tzdata_outdated"}

func TestMetricsHaveUnitsAndTheirLabelsFewValuesWhateverIsAsked(t *testing.T) {
	t.Parallel()
	p := busy(t)
	before := scrape(t, p.admin())
	for name, family := range before {
		if strings.HasPrefix(name, "riverbeat_") && !units.MatchString(name) && !slices.Contains(switches, name) {
			t.Errorf("%s doesn't say its unit", name)
		}
		if family.GetType() == dto.MetricType_COUNTER && !strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a counter", name)
		}
		if family.GetHelp() == "" {
			t.Errorf("nobody knows what %s is", name)
		}
	}
	// Whatever strangers ask for.
	client := &http.Client{Timeout: 10 * time.Second}
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW", "X" + strconv.Itoa(rand.IntN(1e9))}
	for i := range 400 {
		random := fmt.Sprintf("%x", rand.Uint64())
		path := []string{"/", "/v1/", "/v1/schedules/", "/v1/schedules/name:", "/v1/calendars/", "/riverui/", "/docs/", "/v1/schedules?namespace=", "/metrics/"}[i%9] + random
		request, err := http.NewRequest(methods[rand.IntN(len(methods))], p.base+path, strings.NewReader(random))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("User-Agent", random)
		request.Header.Set("X-Request-Id", random)
		request.Header.Set("Traceparent", "00-"+random+random+"-"+random+"-01")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	routes := map[string]bool{"unmatched": true, "/docs": true, "/docs/*path": true, "/riverui": true, "/riverui/*path": true, "/openapi.json": true, "/openapi.yaml": true, "/openapi-3.0.json": true, "/openapi-3.0.yaml": true}
	for path := range p.ask("GET", "/openapi.json", nil, 200)["paths"].(map[string]any) {
		routes[regexp.MustCompile(`\{(\w+)\}`).ReplaceAllString(path, ":$1")] = true
	}
	bounded := map[string]func(string) bool{
		"route": func(v string) bool { return routes[v] },
		"status": func(v string) bool {
			n, err := strconv.Atoi(v)
			return err == nil && n >= 100 && n < 600
		},
		"method":  func(v string) bool { return v == "other" || slices.Contains(methods[:7], v) },
		"path":    func(v string) bool { return slices.Contains([]string{"notify", "redis", "poll", "local"}, v) },
		"kind":    regexp.MustCompile(`^[a-z_]{1,20}$`).MatchString,
		"reason":  func(v string) bool { return slices.Contains([]string{"schedule", "catch_up", "manual", "backfill"}, v) },
		"outcome": func(v string) bool { return slices.Contains([]string{"enqueued", "skipped", "missed"}, v) },
		"doing":   regexp.MustCompile(`^[a-z ]{1,40}$`).MatchString,
	}
	series := 0
	for name, family := range scrape(t, p.admin()) {
		if !strings.HasPrefix(name, "riverbeat_") {
			continue
		}
		series += len(family.Metric)
		for _, m := range family.Metric {
			for _, label := range m.Label {
				if check := bounded[label.GetName()]; check != nil && !check(label.GetValue()) {
					t.Errorf("%s has %s=%q", name, label.GetName(), label.GetValue())
				}
			}
		}
	}
	t.Logf("%d series after it", series)
	if series > 1000 {
		t.Errorf("there are %d series", series)
	}
}

// checkExpression holds an expression of PromQL to what was scraped: each metric that
// it names is there, with each label.
func checkExpression(t *testing.T, families map[string]*dto.MetricFamily, where, text string) {
	t.Helper()
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(text, "$__rate_interval", "5m"))
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, text)
		return
	}
	has := map[string]bool{"le": true}
	parser.Inspect(expression, func(n parser.Node, _ []parser.Node) error {
		selector, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		family := families[selector.Name]
		if family == nil {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if f := families[strings.TrimSuffix(selector.Name, suffix)]; strings.HasSuffix(selector.Name, suffix) && f.GetType() == dto.MetricType_HISTOGRAM {
					family = f
				}
			}
		}
		if family == nil || len(family.Metric) == 0 {
			t.Errorf("%s: there is no metric %s", where, selector.Name)
			return nil
		}
		for _, label := range family.Metric[0].Label {
			has[label.GetName()] = true
		}
		for _, matcher := range selector.LabelMatchers {
			if matcher.Name != model.MetricNameLabel && !has[matcher.Name] {
				t.Errorf("%s: %s has no label %s", where, selector.Name, matcher.Name)
			}
		}
		return nil
	})
	parser.Inspect(expression, func(n parser.Node, _ []parser.Node) error {
		if aggregate, ok := n.(*parser.AggregateExpr); ok {
			for _, label := range aggregate.Grouping {
				if !has[label] {
					t.Errorf("%s: nothing in %s has the label %s", where, text, label)
				}
			}
		}
		return nil
	})
}

func TestTheDashboardAndTheAlertsNameMetricsAndLabelsThatARunningProcessHas(t *testing.T) {
	t.Parallel()
	printed := func(name string) []byte {
		var out bytes.Buffer
		if code := run(t.Context(), []string{"operations", name}, []string{"ZONEINFO=" + freshZones(t, 0)}, &out, t.Output()); code != 0 {
			t.Fatalf("`riverbeat operations %s` exits with %d", name, code)
		}
		return out.Bytes()
	}
	families := scrape(t, busy(t).admin())

	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(printed("dashboard"), &board); err != nil {
		t.Fatal(err)
	}
	expressions := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			checkExpression(t, families, panel.Title, target.Expr)
			expressions++
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(printed("alerts"), &rules); err != nil {
		t.Fatal(err)
	}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			checkExpression(t, families, rule.Alert, rule.Expr)
			if _, err := model.ParseDuration(rule.For); rule.For != "" && err != nil {
				t.Errorf("%s: %v", rule.Alert, err)
			}
			if rule.Alert == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
				t.Errorf("it lacks a name, a severity or a summary: %+v", rule)
			}
			expressions++
		}
	}
	if expressions < 30 {
		t.Errorf("%d expressions were looked at", expressions)
	}
	// A wrong one is found.
	probe := &testing.T{}
	for _, wrong := range []string{"rate(riverbeat_no_such_total[5m])", `riverbeat_runs_total{nope="x"}`, "sum by (nope) (riverbeat_runs_total)", "rate(("} {
		probe = &testing.T{}
		checkExpression(probe, families, "probe", wrong)
		if !probe.Failed() {
			t.Errorf("%s passes", wrong)
		}
	}
}

// listening are the TCP ports that the process listens on.
func (p *process) listening() (ports []string) {
	p.t.Helper()
	sockets := map[string]bool{}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	if err != nil || len(fds) == 0 {
		p.t.Skip("no /proc here")
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil {
			sockets[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", p.cmd.Process.Pid, table))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && sockets[f[9]] {
				port, err := strconv.ParseUint(f[1][strings.LastIndex(f[1], ":")+1:], 16, 16)
				if err != nil {
					p.t.Fatal(err)
				}
				ports = append(ports, strconv.FormatUint(port, 10))
			}
		}
	}
	return ports
}

func TestProfilesAreOnTheAdminAddressAloneAndOnlyWhenItIsSet(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	inside := []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1", "/debug/vars", "/debug/pprof"}
	without := h.start()
	if ports := without.listening(); len(ports) != 1 {
		t.Errorf("it listens on %v", ports)
	}
	for _, path := range inside {
		if status := without.status(path); status != http.StatusNotFound {
			t.Errorf("%s of the public server is a %d", path, status)
		}
	}
	if status := without.status("/metrics"); status != http.StatusOK {
		t.Errorf("without an admin address, /metrics of the public server is a %d", status)
	}

	with := h.start("RIVERBEAT_ADMIN_ADDR=127.0.0.1:0")
	if ports := with.listening(); len(ports) != 2 {
		t.Errorf("it listens on %v", ports)
	}
	for _, path := range append(inside, "/metrics") {
		if status := with.status(path); status != http.StatusNotFound {
			t.Errorf("with an admin address, %s of the public server is a %d", path, status)
		}
	}
	admin := &process{t: t, base: "http://" + with.admin()}
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/cmdline": 404, "/metrics": 200, "/v1/schedules": 404, "/riverui/": 404, "/": 404,
	} {
		if status := admin.status(path); status != want {
			t.Errorf("%s of the admin server is a %d, not %d", path, status, want)
		}
	}
	if code := with.stop(); code != 0 {
		t.Errorf("it exited with %d", code)
	}
	bad := exec.Command(os.Args[0], "serve")
	bad.Env = []string{beRiverbeat + "=1", "DATABASE_URL=" + h.url, "RIVERBEAT_ADMIN_ADDR=nowhere"}
	if out, err := bad.CombinedOutput(); bad.ProcessState.ExitCode() != exitConfig || !strings.Contains(string(out), "RIVERBEAT_ADMIN_ADDR") {
		t.Errorf("an address that can't be read: %v, %s", err, out)
	}
}
