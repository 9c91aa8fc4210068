package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

func (f *fixture) apply(t *testing.T, body string, headers ...string) object {
	t.Helper()
	return f.do(t, "POST", "/v1/apply", body, headers...).want(t, http.StatusOK).object(t)
}

// counts are an application's, as created updated deleted unchanged.
func counts(o object) string {
	return fmt.Sprint(o["created"], " ", o["updated"], " ", o["deleted"], " ", o["unchanged"])
}

func labelled(name, team, spec string) string {
	return fmt.Sprintf(`{"name": %q, "labels": {"team": %q}, "spec": {%s}, "job": {"kind": "report"}}`, name, team, spec)
}

func TestWhatIsAppliedIsThereAndTheSameAgainWritesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.create(t, labelled("kept", "growth", `"every": "5m"`))
	f.create(t, labelled("changed", "growth", `"cron": "0 3 * * *"`))
	f.create(t, labelled("pruned", "growth", `"every": "5m"`))
	f.create(t, labelled("another team's", "sales", `"every": "5m"`))
	f.create(t, `{"name": "pruned", "namespace": "other", "labels": {"team": "growth"}, "spec": {"every": "5m"}, "job": {"kind": "report"}}`)
	f.announced()
	file := func(more string) string {
		return `{"prune": "team=growth", ` + more + ` "schedules": [` + strings.Join([]string{
			labelled("new", "growth", `"at": "2090-01-01T00:00:00Z"`), labelled("changed", "growth", `"cron": "0 4 * * *"`), labelled("kept", "growth", `"every": "300s"`),
		}, ", ") + `]}`
	}
	stored := f.stored(t)
	plan := f.apply(t, file(`"dry_run": true,`))
	equal(t, "planned", counts(plan), "1 1 1 1")
	equal(t, "stored", f.stored(t), stored)
	equal(t, "announced", len(f.announced()), 0)
	equal(t, "the diff", fmt.Sprint(plan["changes"]),
		"[map[changes:[map[after:0 4 * * * before:0 3 * * * field:spec.cron]] id:"+f.get(t, "name:changed").text("id")+" name:changed namespace:default op:updated version:2] "+
			"map[changes:[] id:<nil> name:new namespace:default op:created version:1] "+
			"map[changes:[] id:"+f.get(t, "name:pruned").text("id")+" name:pruned namespace:default op:deleted version:<nil>]]")

	equal(t, "applied", counts(f.apply(t, file(""))), "1 1 1 1")
	equal(t, "announced", f.announced(), []schedule.Change{{}})
	equal(t, "names", query[string](t, f, `SELECT string_agg(namespace || ' ' || name, ', ' ORDER BY namespace, name) FROM riverbeat.schedules`),
		"default another team's, default changed, default kept, default new, other pruned")
	equal(t, "cron", f.get(t, "name:changed").text("spec.cron"), "0 4 * * *")
	equal(t, "to be planned", query[int](t, f, `SELECT count(*) FROM riverbeat.cursors WHERE dirty`), 2)
	equal(t, "revisions", query[string](t, f, `SELECT string_agg(op || ' ' || (definition->>'name'), ', ' ORDER BY op) FROM riverbeat.revisions WHERE how = 'apply'`),
		"created new, deleted pruned, updated changed")

	stored = f.stored(t)
	revisions := query[int](t, f, `SELECT count(*) FROM riverbeat.revisions`)
	equal(t, "again", counts(f.apply(t, file(""))), "0 0 0 3")
	equal(t, "stored", f.stored(t), stored)
	equal(t, "revisions", query[int](t, f, `SELECT count(*) FROM riverbeat.revisions`), revisions)
	equal(t, "announced", len(f.announced()), 0)

	// What was read can be applied.
	read := f.do(t, "GET", "/v1/schedules?namespace=default", "").want(t, http.StatusOK)
	equal(t, "as it was read", counts(f.apply(t, `{"schedules": `+quotedList(t, read)+`}`)), "0 0 0 4")
}

func quotedList(t *testing.T, answer *reply) string {
	t.Helper()
	text := answer.text
	begin, end := strings.Index(text, "["), strings.LastIndex(text, "]")
	if begin < 0 || end < begin {
		t.Fatal(text)
	}
	return text[begin : end+1]
}

func TestAnApplicationIsDoneWhollyOrNotAtAll(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.create(t, minimal("there", `"cron": "0 3 * * *"`))
	f.announced()
	stored := f.stored(t)
	good := minimal("good", "")
	for body, fields := range map[string][]string{
		`{}`: {"schedules"}, `{"schedules": null}`: {"schedules"}, `{"schedules": {}}`: {"schedules"}, `{"schedules": [], "more": 1}`: {"more"},
		`{"schedules": [], "namespace": "No"}`: {"namespace"}, `{"schedules": [], "prune": "="}`: {"prune"}, `{"schedules": [], "dry_run": "yes"}`: {"dry_run"},
		`{"schedules": [` + good + `, null]}`: {"schedules.1"}, `{"schedules": [` + good + `, 5]}`: {"schedules.1"},
		`{"schedules": [` + good + `, ` + minimal("bad", `"cron": "61 * * * *"`) + `, {"name": "x"}]}`:                                                  {"schedules.1.spec.cron", "schedules.2.job.kind", "schedules.2.spec"},
		`{"schedules": [` + good + `, ` + minimal("good", "") + `]}`:                                                                                    {"schedules.1.name"},
		`{"schedules": [` + good + `, ` + minimal("there", `"cron": "0 0 31 2 *"`) + `]}`:                                                               {"schedules.1.spec.cron"},
		`{"schedules": [` + good + `, ` + minimal("odd", `"every": "5m", "exclude": ["nowhere"]`) + `]}`:                                                {"schedules.1.spec.exclude.0"},
		`{"schedules": [` + good + `, {"name": "unknown", "spek": 1}]}`:                                                                                 {"schedules.1.spek"},
		`{"schedules": [` + labelled("a", "growth", `"every": "5m"`) + `, ` + labelled("b", "sales", `"every": "5m"`) + `], "prune": "team=growth"}`:    {"schedules.1.labels"},
		`{"schedules": [{"name": "a", "namespace": "other", "labels": {"team": "x"}, "spec": {"every": "5m"}, "job": {"kind": "k"}}], "prune": "team"}`: {"schedules.0.labels"},
	} {
		f.do(t, "POST", "/v1/apply", body).refused(t, http.StatusUnprocessableEntity, fields...)
	}
	for _, body := range []string{"", "{", `[]`, `{"schedules": [{"name": "a", "name": "b"}]}`} {
		f.do(t, "POST", "/v1/apply", body).refused(t, http.StatusBadRequest)
	}
	// What only the table knows.
	f.exec(t, `ALTER TABLE riverbeat.schedules ADD CONSTRAINT schedules_job_kind_check2 CHECK (job_kind <> 'refused') NOT VALID`)
	stored2 := f.stored(t)
	f.do(t, "POST", "/v1/apply", `{"schedules": [`+good+`, {"name": "refused", "spec": {"every": "5m"}, "job": {"kind": "refused"}}]}`).want(t, http.StatusUnprocessableEntity)
	equal(t, "stored", f.stored(t), stored2)
	equal(t, "stored", stored2, stored)
	equal(t, "announced", len(f.announced()), 0)
}

func TestAnApplicationLeavesAPauseThatItDoesNotMention(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	f.do(t, "POST", path(o)+"/pause", `{"reason": "why"}`).want(t, http.StatusOK)
	equal(t, "without", counts(f.apply(t, `{"schedules": [`+minimal("n", "")+`]}`)), "0 0 0 1")
	equal(t, "paused", f.get(t, "name:n").text("pause_reason"), "why")
	equal(t, "another reason", counts(f.apply(t, `{"schedules": [{"name": "n", "paused": true, "pause_reason": "because", "spec": {"every": "5m"}, "job": {"kind": "report"}}]}`)), "0 1 0 0")
	equal(t, "a reason alone", counts(f.apply(t, `{"schedules": [{"name": "n", "pause_reason": "because", "spec": {"every": "5m"}, "job": {"kind": "report"}}]}`)), "0 1 0 0")
	equal(t, "paused", f.get(t, "name:n").text("state"), "active")
	f.do(t, "POST", path(o)+"/pause", "").want(t, http.StatusOK)
	equal(t, "resumed", counts(f.apply(t, `{"schedules": [{"name": "n", "paused": false, "spec": {"every": "5m"}, "job": {"kind": "report"}}]}`)), "0 1 0 0")
	equal(t, "paused", f.get(t, "name:n").text("state"), "active")
}

func TestNumbersAreTheSameByTheirValue(t *testing.T) {
	t.Parallel()
	f := setup(t)
	with := func(n string) string {
		return `{"schedules": [{"name": "n", "spec": {"every": "5m"}, "job": {"kind": "report", "args": {"n": ` + n + `}}}]}`
	}
	for _, same := range [][]string{
		{"100", "1e2", "100.0", "1E+2", "0.1e3"}, {"0.0000001", "1e-7", "1.0e-07"}, {"0", "-0", "0.0", "0e5"}, {"-12.50", "-12.5", "-125e-1"},
		{"9007199254740993", "9007199254740993.0"},
	} {
		f.apply(t, with(same[0]))
		f.announced()
		for _, n := range same {
			equal(t, same[0]+" as "+n, counts(f.apply(t, with(n))), "0 0 0 1")
		}
		equal(t, "announced", len(f.announced()), 0)
	}
	equal(t, "another", counts(f.apply(t, with("9007199254740992"))), "0 1 0 0")
	equal(t, "another sign", counts(f.apply(t, with("-9007199254740992"))), "0 1 0 0")
}

// What somebody else does meanwhile is seen once its lock is let go.
func TestPruneDeletesOnlyWhatItStillSelects(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.create(t, labelled("moved", "growth", `"every": "5m"`))
	f.create(t, labelled("named", "sales", `"every": "5m"`))
	tx, err := f.pool.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), `UPDATE riverbeat.schedules SET labels = '{"team": "sales"}', name = name || ' away'`)
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan object)
	go func() {
		done <- f.apply(t, `{"prune": "team=growth", "schedules": [`+labelled("named", "growth", `"every": "5m"`)+`]}`)
	}()
	for query[int](t, f, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "applied", counts(<-done), "1 0 0 0")
	equal(t, "names", query[string](t, f, `SELECT string_agg(name, ', ' ORDER BY name) FROM riverbeat.schedules`), "moved away, named, named away")
}

func TestTheSameFileAppliedByManyAtOnceIsAppliedOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.create(t, labelled("fixed", "growth", `"every": "5m"`))
	for round := range 5 {
		var all sync.WaitGroup
		var mu sync.Mutex
		seen := map[string]int{}
		for i := range 8 {
			all.Go(func() {
				fixed, fresh := labelled("fixed", fmt.Sprint("growth ", round), `"every": "5m"`), labelled(fmt.Sprint("fresh ", round), "growth", `"every": "5m"`)
				if i == 7 { // somebody else makes one of them
					f.do(t, "POST", "/v1/schedules", fresh)
					return
				}
				o := f.apply(t, `{"schedules": [`+fixed+`, `+fresh+`]}`)
				mu.Lock()
				defer mu.Unlock()
				seen[counts(o)]++
			})
		}
		all.Wait()
		if seen["1 1 0 0"]+seen["0 1 0 1"] != 1 || seen["0 0 0 2"] != 6 {
			t.Errorf("round %d: %v", round, seen)
		}
	}
}

func TestAnApplicationMayBeYAML(t *testing.T) {
	t.Parallel()
	f := setup(t)
	file := `
# What growth wants.
namespace: growth
schedules:
  - &nightly
    name: nightly
    spec: {cron: "0 3 * * *", timezone: Asia/Tokyo}
    job: {kind: report, args: {n: 1, day: 2026-11-27}}
  - <<: *nightly
    name: once
    spec:
      at: 2090-01-01T00:00:00Z
`
	for _, contentType := range []string{"application/yaml", "application/x-yaml", "text/yaml; charset=utf-8"} {
		f.apply(t, file, "Content-Type", contentType)
	}
	equal(t, "schedules", query[string](t, f, `SELECT string_agg(concat_ws(' ', namespace, name, cron, at AT TIME ZONE 'UTC', version), ', ' ORDER BY name) FROM riverbeat.schedules`),
		"growth nightly 0 3 * * * 1, growth once 2090-01-01 00:00:00 1")
	equal(t, "a date", f.do(t, "GET", "/v1/schedules/name:nightly?namespace=growth", "").object(t).text("job.args.day"), "2026-11-27")
	for _, bad := range []string{
		"schedules: [", "schedules:\n\t- x", "a: *b", "a: 1\na: 2", "schedules: []\n---\nschedules: []", "1: 2", ": {", strings.Repeat("[", 100_000), strings.Repeat("- ", 100_000),
		"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n" +
			"e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]",
	} {
		answer := f.do(t, "POST", "/v1/apply", bad, "Content-Type", "application/yaml")
		if answer.status != http.StatusBadRequest && answer.status != http.StatusUnprocessableEntity {
			t.Errorf("%.40q: %d %.200s", bad, answer.status, answer.text)
		}
	}
	f.do(t, "POST", "/v1/apply", "schedules: [{name: a, spek: 1}]", "Content-Type", "application/yaml").refused(t, http.StatusUnprocessableEntity, "schedules.0.spek")
	f.do(t, "POST", "/v1/apply", "schedules: []\n#"+strings.Repeat("x", maxYAMLBytes), "Content-Type", "application/yaml").refused(t, http.StatusRequestEntityTooLarge)
	f.do(t, "POST", "/v1/schedules", "name: a", "Content-Type", "application/yaml").refused(t, http.StatusUnsupportedMediaType)
}

func TestAnApplicationKeepsToTheToken(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	all := g.token(t, app.Token{}, "read", "write")
	one := g.token(t, app.Token{Namespaces: []string{"one"}, Kinds: []string{"report"}}, "read", "write")
	reader, writer := g.token(t, app.Token{}, "read"), g.token(t, app.Token{}, "write")
	g.as(t, all, "POST", "/v1/schedules", labelled("n", "growth", `"every": "5m"`)).want(t, http.StatusCreated)
	stored := g.stored(t)
	g.as(t, reader, "POST", "/v1/apply", `{"schedules": []}`).refused(t, http.StatusForbidden)
	g.as(t, writer, "POST", "/v1/apply", `{"schedules": [], "prune": "!x", "dry_run": true}`).refused(t, http.StatusForbidden) // it would list them
	for _, body := range []string{
		`{"namespace": "default", "schedules": [], "prune": "team"}`, `{"namespace": "default", "schedules": [` + minimal("m", "") + `]}`,
		`{"schedules": [{"name": "m", "namespace": "default", "spec": {"every": "5m"}, "job": {"kind": "report"}}]}`,
	} {
		g.as(t, one, "POST", "/v1/apply", body).refused(t, http.StatusNotFound)
	}
	g.as(t, one, "POST", "/v1/apply", `{"schedules": [{"name": "m", "spec": {"every": "5m"}, "job": {"kind": "other"}}]}`).refused(t, http.StatusUnprocessableEntity, "schedules.0.job.kind")
	equal(t, "pruned", g.as(t, one, "POST", "/v1/apply", `{"schedules": [], "prune": "team"}`).want(t, http.StatusOK).object(t).number(t, "deleted"), 0)
	equal(t, "stored", g.stored(t), stored)
	g.as(t, one, "POST", "/v1/apply", `{"schedules": [`+minimal("m", "")+`]}`).want(t, http.StatusOK)
	equal(t, "where", query[string](t, g.fixture, `SELECT namespace FROM riverbeat.schedules WHERE name = 'm'`), "one")
}

func TestTenThousandAreAppliedAtOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	file := func(n int, minute string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = labelled(fmt.Sprint("schedule ", i), "growth", `"cron": "`+minute+` 3 * * *"`)
		}
		return `{"prune": "team=growth", "schedules": [` + strings.Join(all, ",") + `]}`
	}
	equal(t, "created", counts(f.apply(t, file(app.MaxApplied, "0"), idempotencyKey, "k")), "10000 0 0 0")
	equal(t, "announced", len(f.announced()), 1)
	equal(t, "the same", counts(f.apply(t, file(app.MaxApplied, "0"))), "0 0 0 10000")
	equal(t, "announced", len(f.announced()), 0)
	equal(t, "changed", counts(f.apply(t, file(9_000, "1"))), "0 9000 1000 0")
	equal(t, "announced", len(f.announced()), 1)
	equal(t, "pruned", counts(f.apply(t, `{"schedules": [], "prune": "team=growth"}`)), "0 0 9000 0")
	f.do(t, "POST", "/v1/apply", file(app.MaxApplied+1, "0")).refused(t, http.StatusUnprocessableEntity, "schedules")
}
