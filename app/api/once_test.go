package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

func TestAPostThatIsSentAgainWithItsKeyIsDoneOnceAndAnsweredTheSame(t *testing.T) {
	t.Parallel()
	f := setup(t)
	body := minimal("n", "")
	first := f.do(t, "POST", "/v1/schedules", body, idempotencyKey, "a").want(t, http.StatusCreated)
	equal(t, "announced", len(f.announced()), 1)
	stored := f.stored(t)
	again := f.do(t, "POST", "/v1/schedules", body, idempotencyKey, "a").want(t, http.StatusCreated)
	equal(t, "body", again.text, first.text)
	for _, name := range []string{"ETag", "Location", "Content-Type"} {
		equal(t, name, again.header.Get(name), first.header.Get(name))
	}
	equal(t, "it says so", []string{first.header.Get(replayed), again.header.Get(replayed)}, []string{"", "true"})
	equal(t, "announced again", len(f.announced()), 0)
	equal(t, "stored", f.stored(t), stored)

	id := first.object(t).text("id")
	run := f.do(t, "POST", "/v1/schedules/"+id+"/run", `{"args": {"n": 1}}`, idempotencyKey, "run").want(t, http.StatusAccepted)
	equal(t, "the run again", f.do(t, "POST", "/v1/schedules/"+id+"/run", `{"args": {"n": 1}}`, idempotencyKey, "run").want(t, http.StatusAccepted).text, run.text)
	equal(t, "jobs", query[int](t, f, `SELECT count(*) FROM river_job`), 1)
	f.do(t, "POST", "/v1/schedules/"+id+"/run", "", idempotencyKey, "another").want(t, http.StatusAccepted)
	equal(t, "jobs", query[int](t, f, `SELECT count(*) FROM river_job`), 2)
	for range 2 {
		f.do(t, "POST", "/v1/schedules/"+id+"/pause", "", idempotencyKey, "no-body").want(t, http.StatusOK)
	}
	// Other methods have no need of one.
	f.do(t, "DELETE", "/v1/schedules/"+id, "", idempotencyKey, "a").want(t, http.StatusNoContent)
}

func TestAKeyIsForOneRequest(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	f.do(t, "POST", path(o)+"/run", `{"args": {"n": 1}}`, idempotencyKey, "k", "If-Match", `"1"`).want(t, http.StatusAccepted)
	stored := f.stored(t)
	for _, r := range []struct{ path, body, tag string }{
		{path(o) + "/run", `{"args": {"n": 2}}`, `"1"`}, {path(o) + "/run", "", `"1"`}, {path(o) + "/run", `{"args": {"n": 1}}`, "*"},
		{path(o) + "/run?namespace=default", `{"args": {"n": 1}}`, `"1"`}, {path(o) + "/pause", `{"args": {"n": 1}}`, `"1"`},
	} {
		f.do(t, "POST", r.path, r.body, idempotencyKey, "k", "If-Match", r.tag).refused(t, http.StatusUnprocessableEntity, idempotencyKey)
	}
	for _, key := range []string{"", strings.Repeat("k", 256), "two words", "ü"} {
		f.do(t, "POST", path(o)+"/run", "", idempotencyKey, key).refused(t, http.StatusUnprocessableEntity, idempotencyKey)
	}
	equal(t, "stored", f.stored(t), stored)
	f.do(t, "POST", path(o)+"/run", "", idempotencyKey, strings.Repeat("~", 255)).want(t, http.StatusAccepted)
}

func TestARefusalIsUndoneAndNotKept(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	stored := f.stored(t)
	f.do(t, "POST", "/v1/schedules", minimal("n", ""), idempotencyKey, "k").refused(t, http.StatusConflict, "name")
	f.do(t, "POST", "/v1/schedules", `{`, idempotencyKey, "k").refused(t, http.StatusBadRequest)
	f.do(t, "POST", "/v1/schedules", strings.Repeat("x", maxBodyBytes+1), idempotencyKey, "k").refused(t, http.StatusRequestEntityTooLarge)
	f.do(t, "POST", "/v1/schedules", minimal("n", `"cron": "99 * * * *"`), idempotencyKey, "k").refused(t, http.StatusUnprocessableEntity, "spec.cron")
	equal(t, "stored", f.stored(t), stored)
	equal(t, "kept", query[int](t, f, `SELECT count(*) FROM riverbeat.idempotency_keys`), 0)
	// What stood in its way is gone.
	f.do(t, "DELETE", path(o), "").want(t, http.StatusNoContent)
	f.do(t, "POST", "/v1/schedules", minimal("n", ""), idempotencyKey, "k").want(t, http.StatusCreated)
}

func TestAKeyIsItsCallersOwn(t *testing.T) {
	t.Parallel()
	g := behindDoor(t, nil)
	one, other := g.token(t, app.Token{}, "read", "write"), g.token(t, app.Token{}, "read", "write")
	g.as(t, one, "POST", "/v1/schedules", minimal("one", ""), idempotencyKey, "k").want(t, http.StatusCreated)
	g.as(t, other, "POST", "/v1/schedules", minimal("other", ""), idempotencyKey, "k").want(t, http.StatusCreated)
	g.as(t, other, "POST", "/v1/schedules", minimal("one", ""), idempotencyKey, "k").refused(t, http.StatusUnprocessableEntity, idempotencyKey)
}

func TestAnAnswerWithASecretIsNotKept(t *testing.T) {
	t.Parallel()
	f := setup(t)
	made := f.do(t, "POST", "/v1/secrets/hooks", "", idempotencyKey, "k").want(t, http.StatusCreated).object(t).text("value")
	f.do(t, "POST", "/v1/secrets/hooks", "", idempotencyKey, "k").refused(t, http.StatusConflict)
	equal(t, "values", f.values(t, "hooks"), []string{made})
	token := f.do(t, "POST", "/v1/tokens", `{"name": "t", "scopes": ["read"]}`, idempotencyKey, "t").want(t, http.StatusCreated).object(t).text("token")
	if kept := query[string](t, f, `SELECT string_agg(k::text || coalesce(encode(body, 'escape'), ''), ' ') FROM riverbeat.idempotency_keys k`); strings.Contains(kept, token) || strings.Contains(kept, made) {
		t.Errorf("it is kept: %s", kept)
	}
	equal(t, "tokens", query[int](t, f, `SELECT count(*) FROM riverbeat.tokens`), 1)
}

func TestManyWithOneKeyAtOnceAreDoneOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	var all sync.WaitGroup
	var mu sync.Mutex
	bodies, statuses := map[string]int{}, map[int]int{}
	for range 20 {
		all.Go(func() {
			answer := f.do(t, "POST", path(o)+"/run", "", idempotencyKey, "k")
			mu.Lock()
			defer mu.Unlock()
			statuses[answer.status]++
			if answer.status == http.StatusAccepted {
				bodies[answer.text]++
			} else if answer.status != http.StatusConflict || answer.header.Get("Retry-After") == "" {
				t.Errorf("%d %s", answer.status, answer.text)
			}
		})
	}
	all.Wait()
	equal(t, "jobs", query[int](t, f, `SELECT count(*) FROM river_job`), 1)
	if len(bodies) != 1 {
		t.Errorf("answers: %v, %v", statuses, bodies)
	}
}

// The key is committed with what it is of: whatever breaks in between undoes both.
func TestWhatIsDoneAndItsKeyAreCommittedTogether(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	f.announced()
	stored := f.stored(t)
	f.exec(t, `ALTER TABLE riverbeat.idempotency_keys ADD CONSTRAINT broken CHECK (key <> 'k') NOT VALID`)
	for _, post := range []struct{ path, body string }{{"/v1/schedules", minimal("m", "")}, {path(o) + "/run", ""}, {path(o) + "/pause", ""}} {
		f.do(t, "POST", post.path, post.body, idempotencyKey, "k").refused(t, http.StatusInternalServerError)
	}
	equal(t, "stored", f.stored(t), stored)
	equal(t, "announced", f.announced(), []schedule.Change(nil))
	f.exec(t, `ALTER TABLE riverbeat.idempotency_keys DROP CONSTRAINT broken`)
	f.do(t, "POST", path(o)+"/run", "", idempotencyKey, "k").want(t, http.StatusAccepted)
}

// Only a backfill isn't: the ledger makes it the same once more, and the schedule's own
// runs don't wait for all of it.
func TestABackfillWithAKeyIsItsOwn(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", `"cron": "0 * * * *"`))
	f.exec(t, `ALTER TABLE riverbeat.idempotency_keys ADD CONSTRAINT broken CHECK (key <> 'k') NOT VALID`)
	body := `{"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}`
	f.do(t, "POST", path(o)+"/backfill", body, idempotencyKey, "k").refused(t, http.StatusInternalServerError)
	equal(t, "jobs", query[int](t, f, `SELECT count(*) FROM river_job`), 24)
	f.do(t, "POST", path(o)+"/backfill", body, idempotencyKey, "another").want(t, http.StatusOK)
	equal(t, "jobs", query[int](t, f, `SELECT count(*) FROM river_job`), 24)
}

func TestAWriteThatIsWaitedForIsCommittedFirst(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i := range 2 {
		// Nobody is there to put it in force.
		answer := f.do(t, "POST", "/v1/schedules?wait=applied&timeout=0.05s", minimal("n", ""), idempotencyKey, "k")
		if i == 0 {
			equal(t, "status", answer.want(t, http.StatusAccepted).object(t).text("schedule.name"), "n")
		} else { // what was written, without the wait
			equal(t, "status", answer.want(t, http.StatusCreated).object(t).text("name"), "n")
		}
		if answer.header.Get("Location") == "" {
			t.Error("there is no Location")
		}
	}
	equal(t, "schedules", query[int](t, f, `SELECT count(*) FROM riverbeat.schedules`), 1)
	equal(t, "waits", query[int](t, f, `SELECT count(*) FROM riverbeat.waits`), 0)
}

// Whatever breaks down behind the commit, the answer is there for who asks again.
func TestAPanicBehindTheCommitLosesNoAnswer(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.hear = func(schedule.Change) { panic("nobody foresaw that") } // after the commit
	f.do(t, "POST", "/v1/schedules", minimal("n", ""), idempotencyKey, "k").refused(t, http.StatusInternalServerError)
	f.mu.Lock()
	f.hear = nil
	f.mu.Unlock()
	f.do(t, "POST", "/v1/schedules", minimal("n", ""), idempotencyKey, "k").want(t, http.StatusCreated)
	equal(t, "schedules", query[int](t, f, `SELECT count(*) FROM riverbeat.schedules`), 1)
}

func TestEveryPostTakesAKey(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for path, operations := range f.description(t).Paths {
		post, ok := operations["post"]
		takes := false
		for _, p := range post.Parameters {
			takes = takes || p.Name == idempotencyKey && p.In == "header"
		}
		if ok && !takes {
			t.Errorf("POST %s: %v", path, post.Parameters)
		}
	}
	// What fails doesn't depend on it.
	for i, r := range requests {
		if r.method != "POST" {
			continue
		}
		plain := f.do(t, r.method, r.path, r.body).status
		keyed := f.do(t, r.method, r.path, r.body, idempotencyKey, fmt.Sprint("k", i))
		if keyed.status/100 != plain/100 && keyed.status != http.StatusConflict { // the second token or schedule of the name
			t.Errorf("%s: %d without, %d with a key: %s", r.path, plain, keyed.status, keyed.text)
		}
	}
}
