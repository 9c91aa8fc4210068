package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/riverbeat/riverbeat/app"
)

// history is the revisions of a schedule, newest first, in short.
func history(o object) (lines []string) {
	for _, r := range o.list("revisions") {
		lines = append(lines, fmt.Sprint(r["version"], " ", r["op"], " ", r["how"], " ", r["actor"]))
	}
	return lines
}

func TestEveryChangeLeavesARevisionThatSaysWhoAndWhat(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	token := g.token(t, app.Token{}, "read", "write")
	o := g.as(t, token, "POST", "/v1/schedules", `{"name": "n", "labels": {"team": "growth"}, "spec": {"cron": "0 3 * * *"}, "job": {"kind": "report", "args": {"n": 9007199254740993}}}`).want(t, http.StatusCreated).object(t)
	at := path(o)
	g.as(t, token, "PATCH", at, `{"spec": {"cron": "0 4 * * *"}, "labels": {"team": null, "tier": "1"}, "job": {"args": {"n": null, "m": {"deep": [1, 2]}}}}`).want(t, http.StatusOK)
	g.as(t, token, "PATCH", at, `{"spec": {"cron": "0 4 * * *"}}`).want(t, http.StatusOK) // as it is
	g.as(t, token, "POST", at+"/pause", `{"reason": "why"}`).want(t, http.StatusOK)
	g.as(t, token, "POST", "/v1/schedules/resume", `{"all": true}`).want(t, http.StatusOK)
	g.exec(t, `UPDATE riverbeat.schedules SET description = 'by hand'`)
	g.exec(t, `UPDATE riverbeat.schedules SET name = name`)
	user := query[string](t, g.fixture, `SELECT session_user::text`)
	g.as(t, token, "DELETE", at, "").want(t, http.StatusNoContent)

	all := g.as(t, token, "GET", at+"/revisions", "").want(t, http.StatusOK).object(t)
	equal(t, "revisions", history(all), []string{
		"6 deleted api a token", "5 updated sql " + user, "4 updated api a token", "3 updated api a token", "2 updated api a token", "1 created api a token",
	})
	list := all.list("revisions")
	equal(t, "of the deletion", list[0].at("after"), nil)
	equal(t, "of the deletion", list[0].text("before.description"), "by hand")
	equal(t, "by hand", fmt.Sprint(list[1]["changes"]), "[map[after:by hand before: field:description]]")
	equal(t, "of the pause", fmt.Sprint(list[3]["changes"]), "[map[after:why before: field:pause_reason] map[after:true before:false field:paused]]")
	equal(t, "of the edit", fmt.Sprint(list[4]["changes"]),
		"[map[after:[1 2] before:<nil> field:job.args.m.deep] map[after:<nil> before:9007199254740993 field:job.args.n] map[after:<nil> before:growth field:labels.team] "+
			"map[after:1 before:<nil> field:labels.tier] map[after:0 4 * * * before:0 3 * * * field:spec.cron]]")
	equal(t, "of the creation", list[5].at("before"), nil)
	equal(t, "of the creation", list[5].text("after.spec.cron"), "0 3 * * *")
	if _, has := list[5].at("after").(map[string]any)["state"]; has {
		t.Error("a definition has a state")
	}

	// Page by page they are the same, and one by one.
	var paged []string
	for next := at + "/revisions?page_size=4"; ; {
		page := g.as(t, token, "GET", next, "").want(t, http.StatusOK).object(t)
		paged = append(paged, history(page)...)
		if page.text("next_page_token") == "" {
			break
		}
		next = at + "/revisions?page_size=4&page_token=" + page.text("next_page_token")
	}
	equal(t, "paged", paged, history(all))
	one := g.as(t, token, "GET", at+"/revisions/2", "").want(t, http.StatusOK).object(t)
	equal(t, "one", map[string]any(one), map[string]any(list[4]))
	g.as(t, token, "GET", at+"/revisions/7", "").refused(t, http.StatusNotFound)
	g.as(t, token, "GET", at+"/revisions/0", "").refused(t, http.StatusUnprocessableEntity, "version")
	g.as(t, token, "GET", at+"/revisions/x", "").refused(t, http.StatusUnprocessableEntity, "version")
	g.as(t, token, "GET", at+"/revisions?page_token=AAAAAAAAAAAAAAAAAAAAAA", "").refused(t, http.StatusUnprocessableEntity, "page_token")
	g.as(t, token, "GET", "/v1/schedules/"+anID+"/revisions", "").refused(t, http.StatusNotFound)
	g.as(t, token, "GET", "/v1/schedules/name:n/revisions", "").refused(t, http.StatusNotFound)
}

func TestARevisionIsRestored(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, `{"name": "n", "spec": {"cron": "0 3 * * *", "timezone": "Asia/Tokyo"}, "job": {"kind": "report", "args": {"n": 1}}}`)
	f.do(t, "PUT", path(o), minimal("renamed", "")).want(t, http.StatusOK)
	f.announced()
	restore := path(o) + "/revisions/1/restore"
	f.do(t, "POST", restore, "", "If-Match", `"1"`).refused(t, http.StatusPreconditionFailed)
	answer := f.do(t, "POST", restore, "", "If-Match", `"2"`).want(t, http.StatusOK)
	equal(t, "ETag", answer.header.Get("ETag"), `"3"`)
	back := answer.object(t)
	for _, field := range []string{"id", "name", "spec", "job"} {
		equal(t, field, back.at(field), o.at(field))
	}
	equal(t, "announced", len(f.announced()), 1)
	// It is that already.
	f.do(t, "POST", restore, "").want(t, http.StatusOK)
	equal(t, "announced", len(f.announced()), 0)
	equal(t, "version", f.get(t, o.text("id")).number(t, "version"), 3)

	f.do(t, "DELETE", path(o), "").want(t, http.StatusNoContent)
	f.do(t, "POST", path(o)+"/revisions/4/restore", "").refused(t, http.StatusUnprocessableEntity, "version")
	f.do(t, "POST", path(o)+"/revisions/9/restore", "").refused(t, http.StatusNotFound)
	f.do(t, "POST", restore, "", "If-Match", `"3"`).refused(t, http.StatusPreconditionFailed)
	answer = f.do(t, "POST", restore, "").want(t, http.StatusCreated)
	again := answer.object(t)
	if again.text("id") == o.text("id") || answer.header.Get("Location") != path(again) {
		t.Errorf("it is %s at %s", again.text("id"), answer.header.Get("Location"))
	}
	equal(t, "spec", again.at("spec"), o.at("spec"))
	f.do(t, "POST", restore, "").refused(t, http.StatusConflict, "name")
	// What it refers to may be gone.
	f.do(t, "POST", "/v1/calendars", `{"name": "c"}`).want(t, http.StatusCreated)
	f.do(t, "PATCH", path(again), `{"spec": {"exclude": ["c"]}}`).want(t, http.StatusOK)
	f.do(t, "PATCH", path(again), `{"spec": {"exclude": null}}`).want(t, http.StatusOK)
	f.do(t, "DELETE", "/v1/calendars/c", "").want(t, http.StatusNoContent)
	f.do(t, "POST", path(again)+"/revisions/2/restore", "").refused(t, http.StatusUnprocessableEntity, "spec.exclude.0")
}

func TestWhatIsMadeAnewDoesNotRunAgain(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("once", `"at": "2020-01-01T00:00:00Z"`))
	later := f.create(t, minimal("later", `"at": "2090-01-01T00:00:00Z"`))
	for _, gone := range []object{o, later} {
		f.do(t, "DELETE", path(gone), "").want(t, http.StatusNoContent)
	}
	f.do(t, "POST", path(o)+"/revisions/1/restore", "", idempotencyKey, "k").refused(t, http.StatusUnprocessableEntity, "version")
	f.do(t, "POST", path(later)+"/revisions/1/restore", "", idempotencyKey, "k").want(t, http.StatusCreated)
}

func TestAnUpsertLeavesTheRevisionOfWhatItDid(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.create(t, minimal("n", ""))
	f.exec(t, `INSERT INTO riverbeat.schedules (id, name, every, job_kind) SELECT id, name, '1 h', 'report' FROM riverbeat.schedules
		ON CONFLICT (namespace, name) DO UPDATE SET every = excluded.every`)
	equal(t, "an upsert", query[string](t, f, `SELECT string_agg(version || ' ' || op, ', ' ORDER BY id) FROM riverbeat.revisions`), "1 created, 2 updated")
	equal(t, "unrevised", query[int](t, f, unrevised), 0)
}

func TestRevisionsAreOfTheirNamespace(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	all := g.token(t, app.Token{}, "read", "write")
	one, other := g.token(t, app.Token{Namespaces: []string{"one"}}, "read", "write"), g.token(t, app.Token{Namespaces: []string{"other"}}, "read", "write")
	o := g.as(t, one, "POST", "/v1/schedules", minimal("n", "")).want(t, http.StatusCreated).object(t)
	for _, gone := range []bool{false, true} {
		for _, end := range []string{"", "/1"} {
			g.as(t, one, "GET", path(o)+"/revisions"+end, "").want(t, http.StatusOK)
			g.as(t, all, "GET", path(o)+"/revisions"+end+"?namespace=one", "").want(t, http.StatusOK)
			g.as(t, all, "GET", path(o)+"/revisions"+end+"?namespace=other", "").refused(t, http.StatusNotFound)
			g.as(t, other, "GET", path(o)+"/revisions"+end, "").refused(t, http.StatusNotFound)
		}
		g.as(t, other, "POST", path(o)+"/revisions/1/restore", "").refused(t, http.StatusNotFound)
		if !gone {
			g.as(t, one, "DELETE", path(o), "").want(t, http.StatusNoContent)
		}
	}
	// SQL may move it: what it was is its old namespace's.
	g.exec(t, `INSERT INTO riverbeat.schedules (namespace, name, every, job_kind) VALUES ('one', 'moved', '1 h', 'report')`)
	g.exec(t, `UPDATE riverbeat.schedules SET namespace = 'other' WHERE name = 'moved'`)
	moved := g.as(t, other, "GET", "/v1/schedules/name:moved/revisions", "").want(t, http.StatusOK).object(t)
	equal(t, "revisions", history(moved), []string{"2 updated sql " + query[string](t, g.fixture, `SELECT session_user::text`)})
	equal(t, "before", moved.list("revisions")[0].at("before"), nil)
	// Who may not enqueue a kind may not bring it back.
	limited := g.token(t, app.Token{Namespaces: []string{"one"}, Kinds: []string{"other"}}, "read", "write")
	g.as(t, limited, "POST", path(o)+"/revisions/1/restore", "").refused(t, http.StatusUnprocessableEntity, "job.kind")
}

func TestATruncateLeavesRevisionsAndNoSettingOfOursHurtsTheWriter(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i := range 3 {
		f.create(t, minimal(fmt.Sprint(i), ""))
	}
	f.exec(t, `TRUNCATE riverbeat.schedules`)
	equal(t, "deleted", query[int](t, f, `SELECT count(*) FROM riverbeat.revisions WHERE op = 'deleted' AND how = 'sql'`), 3)
	for _, setting := range []string{"", "nonsense", "apply"} {
		tx, err := f.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = tx.Exec(t.Context(), `SELECT set_config('riverbeat.how', $1, true), set_config('riverbeat.actor', $2, true)`, setting, "who's \\ there")
		if err == nil {
			_, err = tx.Exec(t.Context(), `INSERT INTO riverbeat.schedules (name, every, job_kind) VALUES ($1, '1 h', 'report')`, "by "+setting)
		}
		if err == nil {
			err = tx.Commit(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "said", query[string](t, f, `SELECT string_agg(how || ' ' || actor, ', ' ORDER BY id) FROM riverbeat.revisions WHERE definition->>'name' LIKE 'by %'`),
		strings.Join([]string{`sql who's \ there`, `sql who's \ there`, `apply who's \ there`}, ", "))
}
