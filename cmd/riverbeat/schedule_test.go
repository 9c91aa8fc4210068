package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// says is what a command line prints and how it ends.
type says struct {
	out, err string
	code     int
}

// cli runs the program in this process against the server.
func cli(t *testing.T, base string, args ...string) says {
	t.Helper()
	var out, err bytes.Buffer
	code := run(t.Context(), args, []string{"RIVERBEAT_URL=" + base}, &out, &err)
	return says{out.String(), err.String(), code}
}

func (s says) want(t *testing.T, code int, texts ...string) says {
	t.Helper()
	if s.code != code {
		t.Fatalf("it exits with %d, not %d\n%s%s", s.code, code, s.out, s.err)
	}
	for _, text := range texts {
		if !strings.Contains(s.out+s.err, text) {
			t.Errorf("it doesn't say %q\n%s%s", text, s.out, s.err)
		}
	}
	return s
}

func TestTheLifeOfAScheduleOnTheCommandLine(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.start("RIVERBEAT_ROLES=api")
	do := func(args ...string) says { t.Helper(); return cli(t, p.base, append([]string{"schedule"}, args...)...) }

	do("list").want(t, 0, "NAMESPACE")
	do("create", "nightly", "--cron", "0 3 * * *", "--timezone", "Asia/Tokyo", "--kind", "report", "--args", `{"n": 9007199254740993}`).want(t, 0, "nightly", "active", "T18:00:00Z")
	do("create", "nightly", "--every", "5m", "--kind", "report").want(t, 4, "name is taken")
	do("create", "bad", "--cron", "0 3 * *", "--kind", "report").want(t, 65, "spec.cron")
	do("get", "nightly").want(t, 0, "At 03:00")
	do("get", "nobody").want(t, 3, "There is no such schedule.")
	do("list", "--state", "active", "--kind", "report", "--name-prefix", "night").want(t, 0, "nightly")
	if out := do("list", "--state", "paused").want(t, 0).out; strings.Contains(out, "nightly") {
		t.Error("the filter lets it through:", out)
	}
	do("list", "--state", "asleep").want(t, 65, "state must be one of")

	// What get writes, edit takes: as it is it changes nothing, and large numbers stay.
	file := filepath.Join(t.TempDir(), "nightly.yaml")
	for _, format := range []string{"yaml", "json"} {
		text := do("get", "nightly", "-o", format).want(t, 0, "9007199254740993").out
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := do("edit", "nightly", "-f", file, "-o", "json").want(t, 0).out
		var edited struct{ Version int64 }
		if err := json.Unmarshal([]byte(got), &edited); err != nil || edited.Version != 1 {
			t.Fatalf("saved as it is: %v\n%s", err, got)
		}
		h.equals("it kept the number", 1, `SELECT count(*) FROM riverbeat.schedules WHERE job_args->>'n' = '9007199254740993'`)
	}
	do("edit", "nightly", "--patch", `{"spec": {"cron": "0 4 * * *"}}`).want(t, 0, "T19:00:00Z")
	// The file is of the version before.
	do("edit", "nightly", "-f", file).want(t, 4, "It has changed since it was read")
	do("edit", "nightly", "--patch", `{"spec": {"corn": "x"}}`).want(t, 65, "spec.corn")

	do("pause", "nightly", "--reason", "holidays").want(t, 0, "paused")
	do("resume", "nightly").want(t, 0, "active")
	do("run", "nightly").want(t, 0, "manual", "enqueued")
	do("runs", "nightly", "-o", "json").want(t, 0, `"reason": "manual"`)
	do("preview", "nightly", "--count", "2").want(t, 0, "T04:00:00+09:00")
	do("preview", "--cron", "30 2 * * *", "--timezone", "Asia/Kolkata").want(t, 0, "T02:30:00+05:30")

	h.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind) SELECT 'many ' || n, interval '1 hour', 'noop' FROM generate_series(1, 1234) n`)
	all := do("list", "--limit", "0", "-o", "json").want(t, 0).out
	var list struct{ Schedules []struct{ Name string } }
	if err := json.Unmarshal([]byte(all), &list); err != nil || len(list.Schedules) != 1235 {
		t.Errorf("%d schedules: %v", len(list.Schedules), err)
	}
	do("list", "--limit", "10").want(t, 0, "there are more than 10")

	do("delete", "nightly").want(t, 0, "deleted")
	do("delete", "nightly").want(t, 3)
	// A namespace of its own.
	do("create", "-n", "growth", "nightly", "--every", "5m", "--kind", "report").want(t, 0, "growth")
	do("get", "nightly").want(t, 3)
	do("get", "nightly", "-n", "growth").want(t, 0)
}

func TestACommandSaysWhatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"schedule get":                        {2, "accepts 1 arg"},
		"schedule get a b":                    {2, "accepts 1 arg"},
		"schedule list -o xml":                {2, "--output must be table, json or yaml"},
		"schedule edit n":                     {2, "give either -f or --patch"},
		"schedule create":                     {2, "give either a name and flags, or a file"},
		"schedule create n --kind k --args x": {2, "--args must be JSON"},
		"schedule preview":                    {2, "give either a schedule, or one of"},
		"schedule list --token secret":        {2, "unknown flag"},
		"schedule create -f /nowhere/at-all":  {65, "no such file"},
		"schedule list":                       {6, "connection refused"},
		"schedule list --url nowhere":         {78, "RIVERBEAT_URL: the base URL must be like"},
	} {
		s := cli(t, gone.URL, strings.Fields(line)...).want(t, want.code, want.text)
		if s.out != "" {
			t.Errorf("%s writes to the standard output: %s", line, s.out)
		}
	}
	file := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(file, []byte("name: [\n  b: {"), 0o600); err != nil {
		t.Fatal(err)
	}
	cli(t, gone.URL, "schedule", "create", "-f", file).want(t, 65, "read "+file)
}

// The token comes from the environment alone, and goes nowhere but into its header.
func TestTheTokenIsSentAndNeverShown(t *testing.T) {
	t.Parallel()
	var sent string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = r.Header.Get("Authorization")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	var out, err bytes.Buffer
	code := run(t.Context(), []string{"schedule", "list"}, []string{"RIVERBEAT_URL=" + server.URL, "RIVERBEAT_TOKEN=rb_secret", "RIVERBEAT_LOG_LEVEL=debug"}, &out, &err)
	if code != 5 || sent != "Bearer rb_secret" || strings.Contains(out.String()+err.String(), "secret") {
		t.Errorf("it exits with %d, sent %q: %s%s", code, sent, out.String(), err.String())
	}
}
