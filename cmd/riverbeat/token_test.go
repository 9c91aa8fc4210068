package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// command runs riverbeat on the database to its end.
func (h *house) command(args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = []string{beRiverbeat + "=1", "DATABASE_URL=" + h.url, "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	var out, told bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &told
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	return out.String(), told.String(), cmd.ProcessState.ExitCode()
}

// token is a new one that may do everything.
func (h *house) token() string {
	h.t.Helper()
	out, told, code := h.command("token", "create", "--name", "test", "--scopes", "read,write,admin")
	if code != 0 {
		h.t.Fatal(told)
	}
	return strings.TrimSpace(out)
}

func TestTokenCreatePrintsTheTokenAloneAndTheRestBeside(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	out, told, code := h.command("token", "create", "--name", "growth", "--scopes", "read,write", "--namespaces", "growth,default", "--kinds", "webhook", "--queues", "growth", "--expires-in", "90d")
	if code != 0 || !regexp.MustCompile(`^rb_[0-9A-Za-z]{49}\n$`).MatchString(out) {
		t.Fatalf("code %d, %q, %s", code, out, told)
	}
	secret := strings.TrimSpace(out)
	id := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).FindString(told)
	list, _, code := h.command("token", "list")
	if code != 0 || !regexp.MustCompile(id+` +`+secret[:8]+`… +growth +valid +read,write +default,growth +webhook +growth +20\S+ \S+ UTC +never`).MatchString(list) {
		t.Errorf("code %d: %s", code, list)
	}
	if _, told, code := h.command("token", "revoke", id); code != 0 || !strings.Contains(told, "within 2s") {
		t.Errorf("code %d: %s", code, told)
	}
	if list, _, _ := h.command("token", "list"); !strings.Contains(list, "revoked") {
		t.Error(list)
	}
	for _, row := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"revoke", id}, 1, "no such token, or it is revoked already"},
		{[]string{"revoke", secret}, 2, "takes the id of a token"},
		{[]string{"revoke"}, 2, "accepts 1 arg"},
		{[]string{"create", "--name", "n"}, 2, "scopes must name at least one of read, write and admin"},
		{[]string{"create", "--scopes", "read"}, 2, "name must be 1 to 120 characters"},
		{[]string{"create", "--name", "n", "--scopes", "read", "--namespaces", "A"}, 2, "namespaces must name namespaces"},
		{[]string{"create", "--name", "n", "--scopes", "read", "--expires-in", "soon"}, 2, "--expires-in must be a duration"},
		{[]string{"create", "--name", "n", "--scopes", "read", "--expires-in", "-1h"}, 2, "--expires-in must be a duration"},
		{[]string{"make"}, 2, "unknown command"},
	} {
		out, told, code := h.command(append([]string{"token"}, row.args...)...)
		if code != row.code || out != "" || !strings.Contains(told, row.says) || strings.Contains(told, secret) {
			t.Errorf("%q: code %d, %q, %s", row.args, code, out, told)
		}
	}
	h.equals("tokens", 1, `SELECT count(*) FROM riverbeat.tokens`)
	empty := &house{t: t, url: dbtest.Empty(t)}
	if _, told, code := empty.command("token", "list"); code != 1 || !strings.Contains(told, "migrate up") {
		t.Errorf("code %d: %s", code, told)
	}
}

func TestWithoutATokenOthersThanThisMachineAreNotServed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0"} {
		p := h.launch([]string{"serve"}, "DATABASE_URL="+h.url, "RIVERBEAT_ADDR="+addr)
		if code := p.exitCode(); code != 78 || p.times("RIVERBEAT_ADDR: is "+addr+", where others than this machine reach it, and there is no API token") != 1 || p.times("riverbeat token create") != 1 {
			t.Errorf("%s: code %d: %v", addr, code, p.log())
		}
	}
	token := h.token()
	p := h.launch([]string{"serve"}, "DATABASE_URL="+h.url, "RIVERBEAT_ADDR=0.0.0.0:0")
	p.waitAddr()
	u, err := url.Parse(p.base)
	if err != nil {
		t.Fatal(err)
	}
	p.base = "http://127.0.0.1:" + u.Port()
	eventually(t, "it is ready", func() bool { return p.status("/readyz") == http.StatusOK })
	for _, path := range []string{"/v1/schedules", "/metrics", "/docs/", "/riverui/", "/riverui/api/jobs", "/openapi.json"} {
		if status := p.status(path); status != http.StatusUnauthorized {
			t.Errorf("%s is a %d", path, status)
		}
	}
	p.token = token
	p.ask("POST", "/v1/schedules", noop("n", map[string]any{"every": "1h"}), 201)
	p.ask("GET", "/riverui/api/jobs", nil, 200)
	if strings.Contains(strings.Join(p.log(), ""), token[8:]) {
		t.Error("the token is in the log")
	}
}

// It can't know at its start whether there are tokens: it lets nobody in, and ends
// when it learns that there are none.
func TestAServerForOthersWaitsForItsDatabaseWithTheDoorClosed(t *testing.T) {
	t.Parallel()
	h := &house{t: t, url: dbtest.Empty(t)}
	p := h.launch([]string{"serve"}, "DATABASE_URL="+h.url, "RIVERBEAT_ADDR=0.0.0.0:0")
	p.waitAddr()
	p.said("waiting for the database", "not migrated")
	u, err := url.Parse(p.base)
	if err != nil {
		t.Fatal(err)
	}
	p.base = "http://127.0.0.1:" + u.Port()
	for _, path := range []string{"/v1/schedules", "/metrics", "/docs/"} {
		if status := p.status(path); status != http.StatusUnauthorized {
			t.Errorf("%s is a %d", path, status)
		}
	}
	p.token = "rb_" + strings.Repeat("0", 49) // whose checksum is wrong, or it would be a 503
	p.ask("GET", "/v1/schedules", nil, 401)
	if _, told, code := h.command("migrate", "up"); code != 0 {
		t.Fatal(told)
	}
	if code := p.exitCode(); code != 78 || p.times("there is no API token") != 1 {
		t.Errorf("code %d: %v", code, p.log())
	}
}

func TestAServerThatIsOpenAsksForATokenSecondsAfterTheFirstIsMade(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, other := h.start(), h.start("RIVERBEAT_ROLES=scheduler")
	if one.status("/v1/schedules") != 200 || other.status("/metrics") != 200 {
		t.Fatal("it isn't open")
	}
	token := h.token()
	made := time.Now()
	for _, p := range []*process{one, other} {
		eventually(t, "it asks for a token", func() bool { return p.status("/metrics") == http.StatusUnauthorized })
		p.said("there is an API token: from now on one is needed")
	}
	if took := time.Since(made); took > 2*app.RevokedWithin {
		t.Errorf("that took %v", took)
	}
	one.token = token
	one.ask("GET", "/v1/schedules", nil, 200)

	required := h.start("RIVERBEAT_AUTH=required")
	if status := required.status("/v1/schedules"); status != http.StatusUnauthorized {
		t.Errorf("it is a %d", status)
	}
	none := newHouse(t).start("RIVERBEAT_AUTH=required")
	none.said("there is no API token, so nobody is let in")
	if status := none.status("/v1/schedules"); status != http.StatusUnauthorized {
		t.Errorf("it is a %d", status)
	}
}
