package scheduler_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// house runs a housekeeper that keeps for a day, until the test ends.
func (b *bench) house() {
	b.t.Helper()
	h := &scheduler.Housekeeper{
		Store: db.NewStore(b.pool), RunRetention: 24 * time.Hour, CompletedRetention: 24 * time.Hour, RevisionRetention: 24 * time.Hour, KeyRetention: 24 * time.Hour,
		Every: 10 * time.Millisecond, Log: dbtest.Log(b.t),
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error("the housekeeper ended: ", err)
		}
	})
}

// runs writes n lines of the ledger, one a second, the last of which was due the
// given days ago and written the given days ago.
func (b *bench) runs(scheduleName, reason string, n, due, written int) {
	b.t.Helper()
	outcome := "'enqueued', '', i"
	b.exec(fmt.Sprintf(`
		INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, job_id, created_at)
		SELECT coalesce(s.id, '00000000-0000-0000-0000-000000000001'), now() - make_interval(days => $4) - make_interval(secs => $3 - i),
		       'default', $1, $2, %s, now() - make_interval(days => $5) - make_interval(secs => $3 - i)
		FROM generate_series(1, $3::int) i LEFT JOIN riverbeat.schedules s ON s.name = $1`, outcome), scheduleName, reason, n, due, written)
}

func TestRevisionsAndIdempotencyKeysAreKeptForTheirRetention(t *testing.T) {
	b := setup(t)
	b.insert(3, "every", "interval '1 day'")
	b.exec(`
		INSERT INTO riverbeat.revisions (schedule_id, version, namespace, op, how, actor, changed_at, definition, was)
		SELECT gen_random_uuid(), i, 'default', 'updated', 'sql', 'somebody', now() - interval '1 day' - i * interval '1 s', '{}', '{}' FROM generate_series(1, 2500) i`)
	b.exec(`
		INSERT INTO riverbeat.idempotency_keys (caller, key, request, status, headers, created_at)
		SELECT gen_random_uuid(), i::text, sha256('x'), 200, '{}', now() - interval '1 day' + (i - 2500) * interval '1 s' FROM generate_series(1, 2510) i`)
	b.house()
	b.becomes("old revisions have gone", `SELECT count(*) = 3 FROM riverbeat.revisions`)
	b.becomes("old keys have gone", `SELECT count(*) = 10 FROM riverbeat.idempotency_keys WHERE key::int > 2500`)
	b.becomes("old keys have gone", `SELECT count(*) BETWEEN 9 AND 10 FROM riverbeat.idempotency_keys`)
}

func TestTheLedgerIsKeptForItsRetention(t *testing.T) {
	b := setup(t)
	b.insert(3, "every", "interval '1 day'")
	b.runs("n1", "schedule", 5000, 2, 2) // old: all but the last two go
	b.runs("n1", "manual", 10, 3, 3)     // old: all go
	b.runs("n2", "schedule", 10, 2, 2)   // old
	b.runs("n2", "schedule", 10, 0, 0)   // young: all stay
	b.runs("n3", "backfill", 10, 90, 0)  // of an old instant, written just now: all stay
	b.runs("gone", "schedule", 10, 2, 2) // of a schedule that is gone: all go
	b.house()
	b.becomes("what is old has gone", `SELECT count(*) = 2 + 10 + 10 FROM riverbeat.runs`)
	b.equals("lines of the first schedule that aren't its last two", 0, `
		SELECT count(*) FROM riverbeat.runs WHERE schedule_name = 'n1' AND scheduled_for < now() - interval '2 days 2 seconds'`)
	b.equals("old lines of the second", 0, `SELECT count(*) FROM riverbeat.runs WHERE schedule_name = 'n2' AND created_at < now() - interval '1 day'`)

	// What had to stay goes once it may, also if as many lines were written at one
	// instant as a batch looks at.
	b.exec(`UPDATE riverbeat.runs SET created_at = now() - interval '2 days'`)
	b.exec(`DELETE FROM riverbeat.schedules`)
	b.house()
	b.becomes("all have gone", `SELECT count(*) = 0 FROM riverbeat.runs`)
}

func TestLinesThatStayDoNotHideThoseBehindThem(t *testing.T) {
	b := setup(t)
	b.insert(2500, "every", "interval '1 day'")
	b.exec(`
		INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, created_at)
		SELECT id, now() - interval '1 year', 'default', name, 'schedule', 'missed', 'misfire', now() - interval '1 year' FROM riverbeat.schedules`)
	b.runs("gone", "schedule", 10, 2, 2)
	b.house()
	b.becomes("what is behind them has gone", `SELECT count(*) = 2500 FROM riverbeat.runs`)
}

func TestAnEmptiedLedgerLetsNoInstantBePlannedTwice(t *testing.T) {
	b := setup(t)
	// It ran half a year ago, was planned by older zone rules, and is planned anew.
	b.exec(`INSERT INTO riverbeat.schedules (name, cron, job_kind, misfire) VALUES ('n1', '0 0 1 1 *', 'noop', 'all')`)
	b.exec(`
		INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, job_id, created_at)
		SELECT id, date_trunc('year', now()), 'default', name, 'schedule', 'enqueued', '', 1, now() - interval '2 days' FROM riverbeat.schedules`)
	b.exec(`UPDATE riverbeat.cursors SET changed_at = now() - interval '3 years', dirty = true`)
	b.runs("gone", "schedule", 1, 2, 2)
	b.house()
	b.becomes("the house was kept", `SELECT count(*) = 1 FROM riverbeat.runs`)
	b.start(nil, nil)
	b.becomes("it is planned", `SELECT bool_and(NOT dirty AND next_run_at > now()) FROM riverbeat.cursors`)
	b.equals("jobs of instants that had run", 0, `SELECT count(*) FROM river_job`)
}

func TestTheLineThatOverlapRestsOnStays(t *testing.T) {
	b := setup(t)
	b.insert(2, "every", "interval '1 day'")
	job := func(state string) (id int64) {
		return one[int64](b, `
			INSERT INTO river_job (kind, args, max_attempts, state, finalized_at)
			VALUES ('noop', '{}', 1, $1::river_job_state, CASE WHEN $1 = 'completed' THEN now() END) RETURNING id`, state)
	}
	manual := func(name string, job int64) {
		b.exec(`
			INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, job_id, created_at)
			SELECT id, now() - interval '2 days' + make_interval(secs => $2), 'default', name, 'manual', 'enqueued', '', $2, now() - interval '2 days'
			FROM riverbeat.schedules WHERE name = $1`, name, job)
	}
	manual("n1", job("available")) // not the newest
	newest := job("available")
	manual("n1", newest)
	manual("n2", job("available"))
	manual("n2", job("completed")) // the newest, and finished: both go
	b.runs("gone", "schedule", 1, 2, 2)
	b.house()
	b.becomes("all the others have gone", `SELECT count(*) = 1 AND min(job_id) = $1 FROM riverbeat.runs`, newest)
}

func TestFinishedSchedulesOfOneInstantGoAfterTheirRetention(t *testing.T) {
	b := setup(t)
	for _, name := range []string{"finished", "unfinished", "young", "edited", "active", "limited", "skipped"} {
		b.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind) VALUES ($1, now() - interval '3 days', 'noop')`, name)
	}
	b.exec(`UPDATE riverbeat.schedules SET at = now() WHERE name = 'skipped'`)
	b.exec(`UPDATE riverbeat.schedules SET at = NULL, every = '1 day', max_runs = 1 WHERE name = 'limited'`)
	b.exec(`ALTER TABLE riverbeat.schedules DISABLE TRIGGER schedules_set_version`)
	b.exec(`UPDATE riverbeat.schedules SET updated_at = now() - interval '3 days' WHERE name <> 'edited'`)
	b.exec(`
		UPDATE riverbeat.cursors SET dirty = false, state = 'completed', last_run_at = now() - interval '3 days', changed_at = now() - interval '3 days'
		WHERE schedule_id <> (SELECT id FROM riverbeat.schedules WHERE name = 'active')`)
	set := func(name, column string, value any) {
		b.exec(`UPDATE riverbeat.cursors SET `+column+` = $2 WHERE schedule_id = (SELECT id FROM riverbeat.schedules WHERE name = $1)`, name, value)
	}
	set("young", "last_run_at", time.Now())
	set("skipped", "last_run_at", nil) // and only just
	set("unfinished", "last_job_id", one[int64](b, `INSERT INTO river_job (kind, args, max_attempts, state) VALUES ('noop', '{}', 1, 'retryable') RETURNING id`))
	b.house()
	b.becomes("the finished one has gone", `SELECT count(*) = 0 FROM riverbeat.schedules WHERE name = 'finished'`)
	b.equals("schedules that stay", 6, `SELECT count(*) FROM riverbeat.schedules`)
	b.equals("cursors that stay", 6, `SELECT count(*) FROM riverbeat.cursors`)
}

func TestNoTwoHousekeepersWorkAtOnceAndNoneIsInTheWay(t *testing.T) {
	b := setup(t)
	b.insert(1, "every", "interval '1 day'")
	b.runs("n1", "manual", 10, 2, 2)
	store := db.NewStore(b.pool)
	remove := func() db.Removal {
		t.Helper()
		r, err := store.RemoveRuns(t.Context(), time.Time{}, 24*time.Hour, 100)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	// Somebody holds a line, as a backfill does: it is passed over.
	err := store.InTx(t.Context(), func(tx *db.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT FROM riverbeat.runs WHERE job_id = 1 FOR UPDATE`); err != nil {
			return err
		}
		if r := remove(); r.Busy || r.Seen != 9 || r.Removed != 9 {
			t.Errorf("while a line is held: %+v", r)
		}
		// The lock is the transaction's.
		if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(x'7269767262656174'::bigint)`); err != nil {
			return err
		}
		if r := remove(); !r.Busy || r.Removed != 0 {
			t.Errorf("while another one works: %+v", r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := remove(); r.Removed != 1 {
		t.Errorf("afterwards: %+v", r)
	}
}
