package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/riverbeat/riverbeat/app/schedule"
)

func (f *fixture) bulk(t *testing.T, verb, body string) string {
	t.Helper()
	o := f.do(t, "POST", "/v1/schedules/"+verb, body).want(t, http.StatusOK).object(t)
	return fmt.Sprint(o["dry_run"], " ", o["matched"], " ", o["changed"])
}

func TestAllThatANamespaceOrASelectorNamesArePausedAndResumedAtOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i, labels := range []string{`{"team": "growth", "tier": "1"}`, `{"team": "growth"}`, `{"team": "sales"}`, `{}`} {
		for _, namespace := range []string{"one", "two"} {
			f.create(t, fmt.Sprintf(`{"name": "%d", "namespace": %q, "labels": %s, "spec": {"every": "5m"}, "job": {"kind": "report"}}`, i, namespace, labels))
		}
	}
	paused := func() string {
		return query[string](t, f, `SELECT coalesce(string_agg(namespace || name || ' ' || pause_reason, ', ' ORDER BY namespace, name), '') FROM riverbeat.schedules WHERE paused`)
	}
	f.announced()
	stored := f.stored(t)
	equal(t, "counted", f.bulk(t, "pause", `{"namespace": "one", "dry_run": true}`), "true 4 4")
	equal(t, "of nobody", f.bulk(t, "pause", `{"namespace": "nobody"}`), "false 0 0")
	equal(t, "resumed already", f.bulk(t, "resume", `{"all": true}`), "false 8 0")
	equal(t, "stored", f.stored(t), stored)
	equal(t, "announced", len(f.announced()), 0)

	equal(t, "by label", f.bulk(t, "pause", `{"selector": "team=growth", "reason": "why"}`), "false 4 4")
	equal(t, "paused", paused(), "one0 why, one1 why, two0 why, two1 why")
	equal(t, "announced", f.announced(), []schedule.Change{{}})
	equal(t, "the same again", f.bulk(t, "pause", `{"selector": "team=growth", "reason": "why"}`), "false 4 0")
	equal(t, "announced", len(f.announced()), 0)
	equal(t, "versions", query[string](t, f, `SELECT string_agg(version::text, ' ' ORDER BY namespace, name) FROM riverbeat.schedules`), "2 2 1 1 2 2 1 1")
	equal(t, "another reason", f.bulk(t, "pause", `{"selector": "team=growth, tier=1", "namespace": "two", "reason": "because"}`), "false 1 1")
	equal(t, "paused", paused(), "one0 why, one1 why, two0 because, two1 why")
	equal(t, "cursors without a next run", query[int](t, f, `SELECT count(*) FROM riverbeat.cursors WHERE next_run_at IS NULL AND fire_at IS NULL`), 4)
	equal(t, "resumed", f.bulk(t, "resume", `{"namespace": "two"}`), "false 4 2")
	equal(t, "paused", paused(), "one0 why, one1 why")
	equal(t, "to be planned", query[int](t, f, `SELECT count(*) FROM riverbeat.cursors WHERE dirty`), 2)
	equal(t, "by what they aren't", f.bulk(t, "pause", `{"selector": "!tier,team in (sales,growth)", "dry_run": true}`), "true 4 4")
	equal(t, "all", f.bulk(t, "pause", `{"all": true}`), "false 8 8")
	equal(t, "all", f.bulk(t, "resume", `{"all": true}`), "false 8 8")

	stored = f.stored(t)
	for _, verb := range []string{"pause", "resume"} {
		for body, fields := range map[string][]string{
			`{}`: {"all"}, `{"namespace": "", "selector": ""}`: {"all"}, `{"all": false}`: {"all"}, `{"all": true, "namespace": "one"}`: {"all"},
			`{"namespace": "One"}`: {"namespace"}, `{"namespace": 5}`: {"namespace"}, `{"selector": "team in"}`: {"selector"}, `{"selector": "team growth"}`: {"selector"},
			`{"selector": "=x"}`: {"selector"}, `{"selector": ","}`: {"selector"}, `{"selector": "a=\u0000"}`: {"selector"},
			`{"selectr": "a=b"}`: {"selectr"}, `{"all": "true"}`: {"all"},
		} {
			f.do(t, "POST", "/v1/schedules/"+verb, body).refused(t, http.StatusUnprocessableEntity, fields...)
		}
		f.do(t, "POST", "/v1/schedules/"+verb, "").refused(t, http.StatusBadRequest)
	}
	f.do(t, "POST", "/v1/schedules/pause", `{"all": true, "reason": "`+strings.Repeat("x", 1001)+`"}`).refused(t, http.StatusUnprocessableEntity, "reason")
	equal(t, "stored", f.stored(t), stored)
}
