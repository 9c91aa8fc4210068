package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFileIsAppliedOnTheCommandLine(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.start("RIVERBEAT_ROLES=api")
	do := func(args ...string) says { t.Helper(); return cli(t, p.base, args...) }
	file := filepath.Join(t.TempDir(), "schedules.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const one, two = `
schedules:
  - name: nightly
    labels: {team: growth}
    spec: {cron: "0 3 * * *"}
    job: &job {kind: report, args: {n: 9007199254740993}}
`, `
  - name: often
    labels: {team: growth}
    spec: {every: 15m}
    job: *job
`
	write(one + two)
	apply := func(more ...string) says {
		t.Helper()
		return do(append([]string{"apply", "-f", file, "--prune", "team=growth"}, more...)...)
	}
	apply("--dry-run").want(t, 0, "+ default/nightly", "+ default/often", "2 created, 0 updated, 0 deleted, 0 unchanged (dry run: nothing was written)")
	if out := do("schedule", "list").want(t, 0).out; strings.Contains(out, "nightly") {
		t.Error("the dry run wrote something:", out)
	}
	apply().want(t, 0, "2 created, 0 updated, 0 deleted, 0 unchanged")
	apply().want(t, 0, "0 created, 0 updated, 0 deleted, 2 unchanged")
	do("schedule", "get", "nightly", "-o", "json").want(t, 0, "9007199254740993")

	write(strings.Replace(one, "0 3 * * *", "0 4 * * *", 1))
	apply("-o", "json").want(t, 0, `"spec.cron"`)
	do("schedule", "revisions", "nightly").want(t, 0, "2 20", " updated by ", " (apply)", `    spec.cron: "0 3 * * *" → "0 4 * * *"`, "1 20", " created by ")
	do("schedule", "revisions", "nightly", "--limit", "1").want(t, 0, "there are more than 1")
	do("schedule", "get", "often").want(t, 3)
	do("schedule", "restore", "nightly", "1").want(t, 0, "At 03:00")
	do("schedule", "restore", "nightly", "9").want(t, 3, "no such revision")
	do("schedule", "restore", "nightly", "x").want(t, 2, "the version must be a number")
	apply("--dry-run").want(t, 0, "~ default/nightly", `    spec.cron: "0 3 * * *" → "0 4 * * *"`)

	do("apply").want(t, 2, "give a file with -f")
	do("apply", "-f", file+".missing").want(t, 65, "no such file")
	write("schedules: [{name: bad, spec: {cron: 0 3 * *}, job: {kind: report}}]")
	apply().want(t, 65, "schedules.0.spec.cron")
	write("{schedules: []}") // YAML that begins as JSON does
	apply("--dry-run").want(t, 0, "1 deleted")
	write(one + "---\nschedules: []\n")
	apply().want(t, 65, "it must be one document")
	write("- a list")
	apply().want(t, 65, "must be a JSON object")
	write("a: [")
	apply().want(t, 65, "read "+file)
}
