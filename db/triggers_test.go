package db_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// querier is a pool, a connection or a transaction.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func execSQL(t testing.TB, q querier, sql string, args ...any) {
	t.Helper()
	if _, err := q.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// one is the single value that a query answers with.
func one[T any](t testing.TB, q querier, sql string, args ...any) T {
	t.Helper()
	rows, err := q.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// insert makes a schedule as a user of SQL would, with further columns and their
// values if given: insert(t, q, "a", "paused", "true").
func insert(t testing.TB, q querier, name string, more ...string) {
	t.Helper()
	columns := map[string]string{"cron": "'0 3 * * *'", "job_kind": "'report'"}
	for i := 0; i < len(more); i += 2 {
		columns[more[i]] = more[i+1]
	}
	names, values := "name", "$1"
	for column, value := range columns {
		names, values = names+", "+column, values+", "+value
	}
	execSQL(t, q, `INSERT INTO riverbeat.schedules (`+names+`) VALUES (`+values+`)`, name)
}

// plan does what the scheduler does after a change: it places the cursor.
func plan(t testing.TB, q querier, name string, in time.Duration) {
	t.Helper()
	execSQL(t, q, `
		UPDATE riverbeat.cursors c
		SET dirty = false, next_run_at = n.at, fire_at = n.at
		FROM riverbeat.schedules s, (SELECT clock_timestamp() + $2::interval) AS n (at) WHERE s.id = c.schedule_id AND s.name = $1`, name, in)
}

// cursorRow is a cursor as it stands, with the row version that shows a write.
type cursorRow struct {
	Dirty, Planned bool
	State          string
	ChangedAt      time.Time
	Xmin           string
}

func cursor(t testing.TB, q querier, name string) cursorRow {
	t.Helper()
	rows, err := q.Query(t.Context(), `
		SELECT c.dirty, c.next_run_at IS NOT NULL AND c.fire_at IS NOT NULL AS planned, c.state, c.changed_at, c.xmin::text
		FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE s.name = $1`, name)
	must(t, err)
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[cursorRow])
	must(t, err)
	return c
}

func wantCursor(t testing.TB, q querier, name string, dirty, planned bool, state string) {
	t.Helper()
	if c := cursor(t, q, name); c.Dirty != dirty || c.Planned != planned || c.State != state {
		t.Errorf("cursor of %s: dirty %t, planned %t, %s; want dirty %t, planned %t, %s",
			name, c.Dirty, c.Planned, c.State, dirty, planned, state)
	}
}

func version(t testing.TB, q querier, name string) int64 {
	t.Helper()
	return one[int64](t, q, `SELECT version FROM riverbeat.schedules WHERE name = $1`, name)
}

// missed lists the ledger of a schedule by its name: why, and what else matters.
func missed(t testing.TB, q querier, name string) string {
	t.Helper()
	return one[string](t, q, `
		SELECT coalesce(string_agg(concat_ws(' ', namespace, reason, outcome, why, count, until = created_at OR until BETWEEN created_at - interval '1 s' AND created_at), '; '), '')
		FROM riverbeat.runs WHERE schedule_name = $1`, name)
}

func TestAnInsertOfFourColumnsIsASchedule(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	before := one[time.Time](t, pool, `SELECT clock_timestamp()`)
	execSQL(t, pool, `INSERT INTO riverbeat.schedules (name, cron, job_kind, job_args) VALUES ('nightly', '0 3 * * *', 'report', '{"a": 1}')`)
	after := one[time.Time](t, pool, `SELECT clock_timestamp()`)

	got := one[map[string]any](t, pool, `SELECT to_jsonb(s) - '{id,created_at,updated_at,changed_in}'::text[] FROM riverbeat.schedules s`)
	want := map[string]any{
		"namespace": "default", "name": "nightly", "description": "", "labels": map[string]any{},
		"cron": "0 3 * * *", "every": nil, "at": nil, "timezone": "UTC", "start_at": nil, "end_at": nil,
		"jitter": "00:00:00", "max_runs": nil, "exclude": []any{}, "on_excluded": "skip",
		"job_kind": "report", "job_args": map[string]any{"a": 1.0}, "job_queue": "default", "job_priority": 1.0,
		"job_max_attempts": 25.0, "job_tags": []any{},
		"misfire": "once", "misfire_grace": nil, "misfire_limit": 100.0, "overlap": "allow", "overlap_stale_after": nil,
		"paused": false, "pause_reason": "", "version": 1.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("defaults:\n", diff)
	}
	if one[bool](t, pool, `SELECT created_at <> updated_at OR NOT created_at BETWEEN $1 AND $2 FROM riverbeat.schedules`, before, after) {
		t.Error("created_at and updated_at aren't the instant of the insert")
	}

	got = one[map[string]any](t, pool, `SELECT to_jsonb(c) - '{schedule_id,changed_at}'::text[] FROM riverbeat.cursors c`)
	want = map[string]any{
		"next_run_at": nil, "fire_at": nil, "dirty": true, "planned_version": 0.0, "last_run_at": nil,
		"last_job_id": nil, "run_count": 0.0, "held": nil, "held_since": nil, "held_reason": nil, "share": nil, "state": "active", "state_reason": "", "planned_in": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("the cursor:\n", diff)
	}
	if changed := cursor(t, pool, "nightly").ChangedAt; changed.Before(before) || changed.After(after) {
		t.Errorf("changed_at is %s, not between %s and %s", changed, before, after)
	}
}

func TestWhatTheDatabaseKeepsIsNotTheClientsToWrite(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	insert(t, pool, "a", "version", "99", "created_at", "'2000-01-01'", "updated_at", "'2000-01-01'")
	if one[bool](t, pool, `SELECT version <> 1 OR created_at < now() - interval '1 h' OR updated_at <> created_at FROM riverbeat.schedules`) {
		t.Error("an INSERT chose its own version or time")
	}

	const kept = `SELECT version::text || created_at || updated_at || xmin FROM riverbeat.schedules`
	const keptButXmin = `SELECT version::text || created_at || updated_at FROM riverbeat.schedules`
	before := one[string](t, pool, keptButXmin)
	execSQL(t, pool, `UPDATE riverbeat.schedules SET version = 99, created_at = '2000-01-01', updated_at = '2000-01-01'`)
	if diff := cmp.Diff(before, one[string](t, pool, keptButXmin)); diff != "" {
		t.Error("an UPDATE chose its own version or time:\n", diff)
	}

	created := one[time.Time](t, pool, `SELECT created_at FROM riverbeat.schedules`)
	execSQL(t, pool, `UPDATE riverbeat.schedules SET description = 'new', version = 99, created_at = '2000-01-01', updated_at = '2000-01-01'`)
	if v := version(t, pool, "a"); v != 2 {
		t.Errorf("version is %d after one edit, want 2", v)
	}
	if one[bool](t, pool, `SELECT created_at <> $1 OR updated_at <= created_at FROM riverbeat.schedules`, created) {
		t.Error("created_at moved or updated_at didn't")
	}

	before = one[string](t, pool, kept)
	_, err := pool.Exec(t.Context(), `UPDATE riverbeat.schedules SET id = gen_random_uuid()`)
	if name := db.CheckViolation(err); name != "schedules_id_check" {
		t.Errorf("another id: %v, want it refused", err)
	}
	if diff := cmp.Diff(before, one[string](t, pool, kept)); diff != "" {
		t.Error("a refused edit wrote something:\n", diff)
	}
}

func TestOnlyTimingPolicyAndPauseTouchTheCursor(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	for _, change := range []string{
		"description = 'new'", `labels = '{"team": "growth"}'`, "namespace = 'other'", "pause_reason = 'a holiday'",
		"job_kind = 'other'", `job_args = '{"a": 1}'`, "job_queue = 'slow'", "job_priority = 4", "job_max_attempts = 1",
		"job_tags = '{abc}'", "name = name", "name = name || ' renamed'",
	} {
		t.Run(change, func(t *testing.T) {
			insert(t, pool, change)
			plan(t, pool, change, time.Hour)
			before := cursor(t, pool, change)
			name := one[string](t, pool, `UPDATE riverbeat.schedules SET `+change+` WHERE name = $1 RETURNING name`, change)
			want := int64(2)
			if change == "name = name" {
				want = 1
			}
			if v := version(t, pool, name); v != want {
				t.Errorf("version is %d, want %d", v, want)
			}
			if diff := cmp.Diff(before, cursor(t, pool, name)); diff != "" {
				t.Error("the cursor was touched:\n", diff)
			}
		})
	}
	for change, want := range map[string]struct{ dirty, planned bool }{
		"cron = '0 4 * * *'":                        {dirty: true},
		"cron = NULL, every = '1 h'":                {dirty: true},
		"cron = NULL, at = now() + interval '1 h'":  {dirty: true},
		"timezone = 'Asia/Tokyo'":                   {dirty: true},
		"start_at = '2020-01-01'":                   {dirty: true},
		"end_at = '2090-01-01'":                     {dirty: true},
		"jitter = '1 min'":                          {dirty: true},
		"max_runs = 5":                              {dirty: true},
		"exclude = '{holidays}'":                    {dirty: true},
		"on_excluded = 'next_day'":                  {dirty: true},
		"exclude = '{a}', cron = '0 4 * * *'":       {dirty: true},
		"cron = '0 4 * * *', description = 'new'":   {dirty: true},
		"misfire = 'all'":                           {dirty: true, planned: true},
		"misfire_grace = '1 h'":                     {dirty: true, planned: true},
		"misfire_limit = 5":                         {dirty: true, planned: true},
		"overlap = 'skip'":                          {dirty: true, planned: true},
		"overlap_stale_after = '1 h'":               {dirty: true, planned: true},
		"paused = true":                             {},
		"paused = true, misfire = 'skip'":           {dirty: true},
		"paused = true, cron = '0 4 * * *'":         {dirty: true},
		"paused = false":                            {planned: true}, // it wasn't paused
		"paused = true, pause_reason = 'a holiday'": {},
	} {
		t.Run(change, func(t *testing.T) {
			insert(t, pool, change)
			plan(t, pool, change, time.Hour)
			before := cursor(t, pool, change)
			now := one[time.Time](t, pool, `UPDATE riverbeat.schedules SET `+change+` WHERE name = $1 RETURNING clock_timestamp()`, change)
			wantCursor(t, pool, change, want.dirty, want.planned, "active")
			after := cursor(t, pool, change)
			// Planning starts at changed_at, so an edit of the policy alone leaves it.
			if moved := after.ChangedAt.After(before.ChangedAt); moved == want.planned || moved && after.ChangedAt.Before(now.Add(-time.Minute)) {
				t.Errorf("changed_at is %s, before the edit it was %s", after.ChangedAt, before.ChangedAt)
			}
			if change == "paused = false" {
				if diff := cmp.Diff(before, after); diff != "" {
					t.Error("the cursor was touched:\n", diff)
				}
			}
			if runs := missed(t, pool, change); runs != "" {
				t.Errorf("a run that wasn't due is in the ledger: %s", runs)
			}
		})
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	set := func(t *testing.T, name, change string) {
		t.Helper()
		execSQL(t, pool, `UPDATE riverbeat.schedules SET `+change+` WHERE name = $1`, name)
	}
	state := func(t *testing.T, name, state string) {
		t.Helper()
		execSQL(t, pool, `UPDATE riverbeat.cursors c SET state = $2, next_run_at = NULL, fire_at = NULL, dirty = false
			FROM riverbeat.schedules s WHERE s.id = c.schedule_id AND s.name = $1`, name, state)
	}
	t.Run("ResumeIsPlanned", func(t *testing.T) {
		insert(t, pool, "resumed")
		plan(t, pool, "resumed", time.Hour)
		set(t, "resumed", "paused = true")
		wantCursor(t, pool, "resumed", false, false, "active")
		set(t, "resumed", "paused = false")
		wantCursor(t, pool, "resumed", true, false, "active")
	})
	t.Run("WhatIsNotPlannedYetStaysToBePlanned", func(t *testing.T) {
		insert(t, pool, "unplanned")
		set(t, "unplanned", "paused = true")
		wantCursor(t, pool, "unplanned", true, false, "active")
	})
	t.Run("CompletedStaysCompleted", func(t *testing.T) {
		insert(t, pool, "done", "cron", "NULL", "at", "now() - interval '1 h'")
		state(t, "done", "completed")
		before := cursor(t, pool, "done")
		set(t, "done", "paused = true")
		set(t, "done", "paused = false")
		set(t, "done", "misfire = 'all'")
		if diff := cmp.Diff(before, cursor(t, pool, "done")); diff != "" {
			t.Error("the cursor was touched:\n", diff)
		}
		set(t, "done", "at = now() + interval '1 h'") // a new timing brings it back
		wantCursor(t, pool, "done", true, false, "completed")
	})
	t.Run("InvalidStaysInvalidUntilItIsPlanned", func(t *testing.T) {
		insert(t, pool, "invalid")
		state(t, "invalid", "invalid")
		set(t, "invalid", "paused = true")
		wantCursor(t, pool, "invalid", true, false, "invalid")
		state(t, "invalid", "invalid")
		set(t, "invalid", "job_kind = 'mended'") // it may have been the job's fault
		wantCursor(t, pool, "invalid", true, false, "invalid")
		state(t, "invalid", "invalid")
		set(t, "invalid", "paused = false")
		wantCursor(t, pool, "invalid", true, false, "invalid")
	})
	t.Run("AnInstantThatPassesMeanwhileIsOver", func(t *testing.T) {
		insert(t, pool, "once", "cron", "NULL", "at", "clock_timestamp() + interval '20 ms'")
		plan(t, pool, "once", 20*time.Millisecond)
		set(t, "once", "paused = true")
		wantCursor(t, pool, "once", false, false, "active")
		execSQL(t, pool, `SELECT pg_sleep(0.05)`)
		set(t, "once", "paused = false")
		wantCursor(t, pool, "once", false, false, "completed")
		if runs := missed(t, pool, "once"); runs != "" {
			t.Errorf("what passed during the pause is in the ledger: %s", runs)
		}
	})
	t.Run("AnInstantThatWasDueWhenPausedIsMissedAndOver", func(t *testing.T) {
		insert(t, pool, "late", "cron", "NULL", "at", "now() - interval '1 min'")
		plan(t, pool, "late", -time.Minute)
		set(t, "late", "paused = true")
		wantCursor(t, pool, "late", false, false, "completed")
		if runs := missed(t, pool, "late"); runs != "default schedule missed paused t" {
			t.Errorf("the ledger says %q", runs)
		}
		set(t, "late", "paused = false")
		wantCursor(t, pool, "late", false, false, "completed")
	})
	t.Run("AnInstantStillToComeIsPlannedAgain", func(t *testing.T) {
		insert(t, pool, "soon", "cron", "NULL", "at", "now() + interval '1 h'")
		plan(t, pool, "soon", time.Hour)
		set(t, "soon", "paused = true")
		set(t, "soon", "paused = false")
		wantCursor(t, pool, "soon", true, false, "active")
	})
	t.Run("AnInstantMovedWhileResumingIsANewOne", func(t *testing.T) {
		insert(t, pool, "moved", "cron", "NULL", "at", "now() + interval '1 h'", "paused", "true")
		set(t, "moved", "paused = false, at = now() - interval '1 min'")
		wantCursor(t, pool, "moved", true, false, "active")
	})
	t.Run("LastRunAtIsKept", func(t *testing.T) {
		insert(t, pool, "ran")
		execSQL(t, pool, `UPDATE riverbeat.cursors c SET last_run_at = '2026-01-01', last_job_id = 7, run_count = 3
			FROM riverbeat.schedules s WHERE s.id = c.schedule_id AND s.name = 'ran'`)
		set(t, "ran", "paused = true")
		set(t, "ran", "paused = false")
		set(t, "ran", "cron = '0 5 * * *'")
		if !one[bool](t, pool, `SELECT last_run_at = '2026-01-01' AND last_job_id = 7 AND run_count = 3
			FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE s.name = 'ran'`) {
			t.Error("a fact was lost")
		}
	})
}

func TestWhatWasDueAndNotClaimedIsAccountedFor(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	for statement, why := range map[string]string{
		`UPDATE riverbeat.schedules SET cron = '0 4 * * *' WHERE name = $1`:                "superseded",
		`UPDATE riverbeat.schedules SET cron = '0 4 * * *', paused = true WHERE name = $1`: "superseded",
		`UPDATE riverbeat.schedules SET paused = true WHERE name = $1`:                     "paused",
		`DELETE FROM riverbeat.schedules WHERE name = $1`:                                  "deleted",
	} {
		t.Run(statement, func(t *testing.T) {
			for _, in := range []time.Duration{-time.Minute, time.Minute} {
				name := fmt.Sprint(len(statement), why, in)
				insert(t, pool, name, "namespace", "'other'")
				plan(t, pool, name, in)
				due := one[time.Time](t, pool, `SELECT next_run_at FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE name = $1`, name)
				execSQL(t, pool, statement, name)
				if in > 0 {
					if runs := missed(t, pool, name); runs != "" {
						t.Errorf("what wasn't due is in the ledger: %s", runs)
					}
					continue
				}
				if runs := missed(t, pool, name); runs != "other schedule missed "+why+" t" {
					t.Errorf("the ledger says %q", runs)
				}
				if got := one[time.Time](t, pool, `SELECT scheduled_for FROM riverbeat.runs WHERE schedule_name = $1`, name); !got.Equal(due) {
					t.Errorf("the line begins at %s, not when it was due, %s", got, due)
				}
			}
		})
	}
	t.Run("SoIsWhatWaitsForAJob", func(t *testing.T) {
		for statement, want := range map[string]string{
			`UPDATE riverbeat.schedules SET cron = '0 4 * * *' WHERE name = $1`:                       "superseded",
			`UPDATE riverbeat.schedules SET paused = true WHERE name = $1`:                            "paused",
			`UPDATE riverbeat.schedules SET exclude = '{}', on_excluded = 'next_day' WHERE name = $1`: "superseded",
			`UPDATE riverbeat.schedules SET overlap = 'allow' WHERE name = $1`:                        "",
			`UPDATE riverbeat.schedules SET job_kind = 'another' WHERE name = $1`:                     "",
			`DELETE FROM riverbeat.schedules WHERE name = $1`:                                         "deleted",
		} {
			name := fmt.Sprint("held ", len(statement))
			insert(t, pool, name, "overlap", "'queue_one'")
			plan(t, pool, name, time.Hour)
			execSQL(t, pool, `UPDATE riverbeat.cursors SET (held, held_since, held_reason) = (now() - interval '1 min', now(), 'catch_up')
				WHERE schedule_id = (SELECT id FROM riverbeat.schedules WHERE name = $1)`, name)
			execSQL(t, pool, statement, name)
			got := one[string](t, pool, `SELECT coalesce(string_agg(why || ' ' || reason || ' ' || count || (until IS NULL), ','), '') FROM riverbeat.runs WHERE schedule_name = $1`, name)
			held := one[bool](t, pool, `SELECT count(held) > 0 FROM riverbeat.cursors JOIN riverbeat.schedules ON id = schedule_id WHERE name = $1`, name)
			if want != "" {
				want += " catch_up 1true"
			}
			if got != want || held != (want == "") {
				t.Errorf("%s: the ledger says %q, held: %v", statement, got, held)
			}
		}
	})
	t.Run("ALineThatIsThereAlreadyIsLeft", func(t *testing.T) {
		insert(t, pool, "recorded")
		plan(t, pool, "recorded", -time.Minute)
		execSQL(t, pool, `INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, job_id)
			SELECT id, next_run_at, namespace, name, 'backfill', 'enqueued', 5
			FROM riverbeat.schedules s JOIN riverbeat.cursors c ON c.schedule_id = s.id WHERE name = 'recorded'`)
		execSQL(t, pool, `DELETE FROM riverbeat.schedules WHERE name = 'recorded'`)
		if runs := missed(t, pool, "recorded"); runs != "default backfill enqueued " {
			t.Errorf("the ledger says %q", runs)
		}
	})
}

func TestStatementsOfManyRows(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	cursors := func(t *testing.T, where string) int {
		t.Helper()
		return one[int](t, pool, `SELECT count(*) FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE `+where)
	}
	want := func(t *testing.T, what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	planAll := func(t *testing.T, in string) {
		t.Helper()
		execSQL(t, pool, `UPDATE riverbeat.cursors SET dirty = false, next_run_at = now() + $1::interval, fire_at = now()`, in)
	}

	execSQL(t, pool, `INSERT INTO riverbeat.schedules (name, cron, job_kind) SELECT 'many ' || n, '0 3 * * *', 'k' FROM generate_series(1, 100) n`)
	want(t, "cursors after an INSERT", cursors(t, `dirty`), 100)

	planAll(t, "1 h")
	execSQL(t, pool, `UPDATE riverbeat.schedules SET cron = CASE WHEN right(name, 1) = '7' THEN '0 4 * * *' ELSE cron END`)
	want(t, "dirty after an UPDATE that changed ten", cursors(t, `dirty AND next_run_at IS NULL AND version = 2`), 10)
	want(t, "untouched by it", cursors(t, `NOT dirty AND next_run_at IS NOT NULL AND version = 1`), 90)

	planAll(t, "-1 min")
	execSQL(t, pool, `UPDATE riverbeat.schedules SET paused = true WHERE name LIKE 'many 1%'`) // 1, 10 to 19, 100
	want(t, "missed lines after a pause of twelve", one[int](t, pool, `SELECT count(*) FROM riverbeat.runs WHERE why = 'paused'`), 12)

	execSQL(t, pool, `DELETE FROM riverbeat.schedules WHERE name LIKE 'many 2%'`) // 2, 20 to 29
	want(t, "cursors after a DELETE of eleven", one[int](t, pool, `SELECT count(*) FROM riverbeat.cursors`), 89)
	want(t, "missed lines after it", one[int](t, pool, `SELECT count(*) FROM riverbeat.runs WHERE why = 'deleted'`), 11)

	// An upsert inserts some and updates others.
	planAll(t, "1 h")
	execSQL(t, pool, `
		INSERT INTO riverbeat.schedules (name, cron, job_kind)
		SELECT 'many ' || n, '0 5 * * *', 'k' FROM generate_series(1, 100) n
		ON CONFLICT (namespace, name) DO UPDATE SET cron = EXCLUDED.cron`)
	want(t, "inserted by an upsert", cursors(t, `dirty AND version = 1 AND name LIKE 'many 2%'`), 11)
	want(t, "updated by it", cursors(t, `dirty AND version > 1 AND cron = '0 5 * * *'`), 89)
	execSQL(t, pool, `INSERT INTO riverbeat.schedules (name, cron, job_kind) VALUES ('many 1', '0 6 * * *', 'k') ON CONFLICT DO NOTHING`)
	want(t, "cursors in all", one[int](t, pool, `SELECT count(*) FROM riverbeat.cursors`), 100)

	conn, err := pool.Acquire(t.Context())
	must(t, err)
	_, err = conn.Conn().PgConn().CopyFrom(t.Context(), strings.NewReader("copied 1\t0 3 * * *\tk\ncopied 2\t0 3 * * *\tk\n"),
		`COPY riverbeat.schedules (name, cron, job_kind) FROM STDIN`)
	conn.Release()
	must(t, err)
	want(t, "cursors after a COPY", cursors(t, `dirty AND name LIKE 'copied %'`), 2)

	planAll(t, "-1 min")
	execSQL(t, pool, `TRUNCATE riverbeat.runs`)
	execSQL(t, pool, `TRUNCATE riverbeat.schedules`)
	want(t, "cursors after a TRUNCATE", one[int](t, pool, `SELECT count(*) FROM riverbeat.cursors`), 0)
	want(t, "missed lines after it", one[int](t, pool, `SELECT count(*) FROM riverbeat.runs WHERE why = 'deleted'`), 102)
	insert(t, pool, "many 1")
	want(t, "cursors afterwards", cursors(t, `dirty`), 1)
}

// heard listens, and returns a function that lists what was announced since the
// call before.
func heard(t *testing.T, pool *pgxpool.Pool) func() []string {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	execSQL(t, conn, `LISTEN riverbeat_schedules`)
	return func() (payloads []string) {
		t.Helper()
		// Notifications arrive in the order of their commits, so this one is last.
		execSQL(t, pool, `SELECT pg_notify('riverbeat_schedules', 'end')`)
		for {
			n, err := conn.WaitForNotification(t.Context())
			must(t, err)
			if n.Payload == "end" {
				return payloads
			}
			payloads = append(payloads, n.Payload)
		}
	}
}

func TestEachStatementAnnouncesWhatItChanged(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	announced := heard(t, pool)
	want := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, announced()); diff != "" {
			t.Errorf("%s announced:\n%s", what, diff)
		}
	}
	named := func(op, name string, version int) string {
		t.Helper()
		return fmt.Sprintf(`{"op":"%s","id":"%s","version":%d}`, op,
			one[string](t, pool, `SELECT id::text FROM riverbeat.schedules WHERE name = $1`, name), version)
	}

	insert(t, pool, "a")
	want("an INSERT", named("created", "a", 1))
	execSQL(t, pool, `UPDATE riverbeat.schedules SET description = 'new' WHERE name = 'a'`)
	want("an UPDATE", named("updated", "a", 2))
	execSQL(t, pool, `UPDATE riverbeat.schedules SET description = 'new', version = 50, updated_at = now() WHERE name = 'a'`)
	want("an UPDATE to the same")
	execSQL(t, pool, `UPDATE riverbeat.schedules SET description = 'newer' WHERE name = 'nobody'`)
	want("an UPDATE of nothing")
	gone := named("deleted", "a", 3)
	execSQL(t, pool, `DELETE FROM riverbeat.schedules WHERE name = 'a'`)
	want("a DELETE", gone)
	execSQL(t, pool, `DELETE FROM riverbeat.schedules WHERE name = 'a'`)
	want("a DELETE of nothing")

	execSQL(t, pool, `INSERT INTO riverbeat.schedules (name, cron, job_kind) SELECT 'many ' || n, '0 3 * * *', 'k' FROM generate_series(1, 3) n`)
	want("an INSERT of three", "{}")
	execSQL(t, pool, `UPDATE riverbeat.schedules SET description = name`)
	want("an UPDATE of three", "{}")
	execSQL(t, pool, `UPDATE riverbeat.schedules SET description = 'many 1'`)
	want("an UPDATE of three that changed two", "{}")
	execSQL(t, pool, `UPDATE riverbeat.schedules SET description = CASE name WHEN 'many 3' THEN 'new' ELSE description END`)
	want("an UPDATE of three that changed one", named("updated", "many 3", 4))

	execSQL(t, pool, `INSERT INTO riverbeat.schedules (name, cron, job_kind) VALUES ('many 1', '0 3 * * *', 'k'), ('new', '0 3 * * *', 'k')
		ON CONFLICT (namespace, name) DO UPDATE SET description = 'upserted'`)
	if got := announced(); len(got) != 2 || got[0] != named("updated", "many 1", 3) && got[1] != named("updated", "many 1", 3) ||
		got[0] != named("created", "new", 1) && got[1] != named("created", "new", 1) {
		t.Errorf("an upsert of two announced %q", got)
	}

	// The scheduler's own writes are none of anybody's business.
	plan(t, pool, "new", time.Hour)
	want("a plan")

	tx, err := pool.Begin(t.Context())
	must(t, err)
	execSQL(t, tx, `UPDATE riverbeat.schedules SET description = 'undone'`)
	must(t, tx.Rollback(t.Context()))
	want("what was rolled back")

	tx, err = pool.Begin(t.Context())
	must(t, err)
	execSQL(t, tx, `SET LOCAL riverbeat.announce = 'off'`)
	execSQL(t, tx, `UPDATE riverbeat.schedules SET description = 'quiet'`)
	insert(t, tx, "quiet")
	execSQL(t, tx, `DELETE FROM riverbeat.schedules WHERE name = 'quiet'`)
	must(t, tx.Commit(t.Context()))
	want("a quiet transaction")
	for range 20 { // on every connection of the pool, whichever was quiet
		execSQL(t, pool, `UPDATE riverbeat.schedules SET description = description || '.' WHERE name = 'new'`)
		if len(announced()) != 1 {
			t.Error("a transaction after the quiet one is quiet, too")
		}
	}

	execSQL(t, pool, `DELETE FROM riverbeat.schedules`)
	want("a DELETE of many", "{}")
	execSQL(t, pool, `TRUNCATE riverbeat.schedules`)
	want("a TRUNCATE", "{}")
}

func TestAnAnnouncementIsAtMost100Bytes(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	announced := heard(t, pool)
	insert(t, pool, strings.Repeat("名", 120), "namespace", "repeat('n', 63)", "description", "repeat('d', 4096)")
	execSQL(t, pool, `ALTER TABLE riverbeat.schedules DISABLE TRIGGER schedules_set_version`)
	execSQL(t, pool, `UPDATE riverbeat.schedules SET version = 9223372036854775806`)
	execSQL(t, pool, `DELETE FROM riverbeat.schedules`)
	payloads := announced()
	if len(payloads) != 3 {
		t.Fatalf("announced %q", payloads)
	}
	for _, payload := range payloads {
		if len(payload) > 100 {
			t.Errorf("%d bytes: %s", len(payload), payload)
		}
	}
}

func TestWithoutItsAnnouncementsAChangeIsStillTrue(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	announced := heard(t, pool)
	for _, op := range []string{"insert", "update", "delete", "truncate"} {
		execSQL(t, pool, `ALTER TABLE riverbeat.schedules DISABLE TRIGGER schedules_announce_`+op)
	}
	insert(t, pool, "a")
	plan(t, pool, "a", time.Hour)
	execSQL(t, pool, `UPDATE riverbeat.schedules SET cron = '0 4 * * *'`)
	wantCursor(t, pool, "a", true, false, "active")
	execSQL(t, pool, `DELETE FROM riverbeat.schedules`)
	if n := one[int](t, pool, `SELECT count(*) FROM riverbeat.cursors`); n != 0 {
		t.Errorf("%d cursors are left", n)
	}
	if payloads := announced(); len(payloads) != 0 {
		t.Errorf("announced %q", payloads)
	}
}

// blocked waits until the connection waits for a lock. What it does is over when
// done says so, which it must not be yet.
func blocked(t *testing.T, pool *pgxpool.Pool, conn *pgx.Conn, done <-chan error) {
	t.Helper()
	for !one[bool](t, pool, `SELECT cardinality(pg_blocking_pids($1)) > 0`, int32(conn.PgConn().PID())) {
		select {
		case err := <-done:
			t.Fatal("didn't wait for the lock: ", err)
		default:
		}
	}
}

// dispatch claims what is due, as the scheduler does, and leaves it claimed.
func dispatch(t *testing.T, pool *pgxpool.Pool, want int) (tx pgx.Tx) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	must(t, err)
	if n := one[int](t, tx, `
		SELECT count(*) FROM (SELECT FROM riverbeat.cursors WHERE fire_at <= (SELECT clock_timestamp()) FOR UPDATE SKIP LOCKED) AS due`); n != want {
		t.Fatalf("%d cursors were claimed, want %d", n, want)
	}
	return tx
}

func TestAChangeWaitsForTheDispatchInFlight(t *testing.T) {
	t.Parallel()
	for statement, why := range map[string]string{
		`DELETE FROM riverbeat.schedules WHERE name = 'held'`:                   "deleted",
		`UPDATE riverbeat.schedules SET cron = '0 4 * * *' WHERE name = 'held'`: "superseded",
		`UPDATE riverbeat.schedules SET paused = true WHERE name = 'held'`:      "paused",
		`UPDATE riverbeat.schedules SET misfire = 'all' WHERE name = 'held'`:    "",
	} {
		for _, advance := range []string{"1 h", "-1 s"} { // what the dispatch plans next
			t.Run(statement+advance, func(t *testing.T) {
				t.Parallel()
				pool := dbtest.Pool(t)
				insert(t, pool, "held")
				plan(t, pool, "held", -time.Minute)
				insert(t, pool, "free")

				tx := dispatch(t, pool, 1)
				conn, err := pool.Acquire(t.Context())
				must(t, err)
				defer conn.Release()
				done := make(chan error, 1)
				go func() {
					_, err := conn.Exec(t.Context(), statement)
					done <- err
				}()
				blocked(t, pool, conn.Conn(), done)

				// Meanwhile another scheduler passes over it, and finds what else is due.
				plan(t, pool, "free", -time.Minute)
				other := dispatch(t, pool, 1)
				must(t, other.Rollback(t.Context()))

				// The dispatch reads the definition, which waits for nobody, and goes on.
				if n := one[int](t, tx, `SELECT count(*) FROM riverbeat.schedules WHERE name = 'held' AND cron = '0 3 * * *' AND NOT paused`); n != 1 {
					t.Error("the dispatch doesn't see the definition that it claimed")
				}
				next := one[time.Time](t, tx, `
					UPDATE riverbeat.cursors c SET next_run_at = now() + $1::interval, fire_at = now() + $1::interval, run_count = 1
					FROM riverbeat.schedules s WHERE s.id = c.schedule_id AND s.name = 'held' RETURNING next_run_at`, advance)
				must(t, tx.Commit(t.Context()))
				must(t, <-done)

				// What is missed is what the dispatch left, not what it found.
				got := one[string](t, pool, `SELECT coalesce(string_agg(why || ' ' || (scheduled_for = $1), '; '), '') FROM riverbeat.runs WHERE schedule_name = 'held'`, next)
				want := ""
				if why != "" && advance == "-1 s" {
					want = why + " true"
				}
				if got != want {
					t.Errorf("the ledger says %q, want %q", got, want)
				}
				if n := one[int](t, pool, `SELECT count(*) FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id WHERE name = 'held' AND run_count = 1`); n != 1 && why != "deleted" {
					t.Error("the edit undid what the dispatch had written")
				}
			})
		}
	}
}

func TestDeletesAndDispatchesDoNotDeadlock(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	execSQL(t, pool, `INSERT INTO riverbeat.schedules (name, cron, job_kind) SELECT 'n ' || n, '0 3 * * *', 'k' FROM generate_series(1, 400) n`)
	execSQL(t, pool, `UPDATE riverbeat.cursors SET dirty = false, next_run_at = now(), fire_at = now()`)

	// What is due stays due here, so that the dispatches go on until all is deleted.
	const dispatchSome = `
		WITH due AS (
			SELECT schedule_id FROM riverbeat.cursors
			WHERE fire_at <= (SELECT clock_timestamp()) ORDER BY random() LIMIT 50 FOR UPDATE SKIP LOCKED
		), definitions AS (
			SELECT s.id FROM riverbeat.schedules s JOIN due d ON d.schedule_id = s.id
		)
		UPDATE riverbeat.cursors SET run_count = run_count + 1 WHERE schedule_id IN (SELECT id FROM definitions)`
	const deleteSome = `
		DELETE FROM riverbeat.schedules WHERE id IN (SELECT id FROM riverbeat.schedules ORDER BY random() LIMIT 20)`

	done := make(chan struct{})
	var workers errgroup.Group
	for range 2 {
		workers.Go(func() error {
			for {
				select {
				case <-done:
					return nil
				default:
				}
				if _, err := pool.Exec(t.Context(), dispatchSome); err != nil {
					return fmt.Errorf("dispatch: %w", err)
				}
			}
		})
	}
	workers.Go(func() error {
		defer close(done)
		for range 20 {
			if _, err := pool.Exec(t.Context(), deleteSome); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
		}
		return nil
	})
	must(t, workers.Wait())
	if n := one[int](t, pool, `SELECT count(*) FROM riverbeat.cursors`); n != 0 {
		t.Errorf("%d cursors are left of deleted schedules", n)
	}
}

var roles atomic.Int64

// as connects as a new user who is a member of the role and nothing else.
func as(t *testing.T, pool *pgxpool.Pool, role string) *pgx.Conn {
	t.Helper()
	name := "riverbeat_test_" + strconv.Itoa(os.Getpid()) + "_" + strconv.FormatInt(roles.Add(1), 10)
	execSQL(t, pool, `CREATE ROLE `+name+` LOGIN PASSWORD 'test' IN ROLE `+role)
	t.Cleanup(func() {
		if _, err := pool.Exec(context.Background(), `DROP ROLE `+name); err != nil {
			t.Error("drop the role: ", err)
		}
	})
	config := pool.Config().ConnConfig.Copy()
	config.User, config.Password = name, "test"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func wantDenied(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		_, err := conn.Exec(t.Context(), statement)
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
			t.Errorf("%s: %v, want it denied", statement, err)
		}
	}
}

func TestAnEditorWritesSchedulesAndNothingElse(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	announced := heard(t, pool)
	editor := as(t, pool, "riverbeat_editor")

	insert(t, editor, "mine")
	wantCursor(t, editor, "mine", true, false, "active")
	plan(t, pool, "mine", -time.Minute)
	execSQL(t, editor, `UPDATE riverbeat.schedules SET cron = '0 4 * * *', description = 'mine'`)
	wantCursor(t, editor, "mine", true, false, "active")
	plan(t, pool, "mine", -time.Second)
	execSQL(t, editor, `DELETE FROM riverbeat.schedules`)
	if runs := missed(t, editor, "mine"); strings.Count(runs, "missed") != 2 {
		t.Errorf("the ledger says %q", runs)
	}
	if payloads := announced(); len(payloads) != 3 {
		t.Errorf("announced %q", payloads)
	}

	execSQL(t, editor, `INSERT INTO riverbeat.calendars (name) VALUES ('holidays')`)
	insert(t, editor, "theirs", "exclude", "'{holidays}'")
	plan(t, pool, "theirs", -time.Second)
	execSQL(t, editor, `UPDATE riverbeat.calendars SET weekends = true`)
	wantCursor(t, editor, "theirs", true, false, "active")
	wantDenied(t, editor, `TRUNCATE riverbeat.calendars`,
		`UPDATE riverbeat.cursors SET run_count = 0`, `DELETE FROM riverbeat.cursors`,
		`INSERT INTO riverbeat.cursors (schedule_id, changed_at) VALUES (gen_random_uuid(), now())`,
		`UPDATE riverbeat.runs SET count = 0`, `DELETE FROM riverbeat.runs`,
		`INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, job_id)
		 VALUES (gen_random_uuid(), now(), 'default', 'forged', 'schedule', 'enqueued', 1)`,
		`TRUNCATE riverbeat.schedules`, `ALTER TABLE riverbeat.schedules DISABLE TRIGGER ALL`,
		`DELETE FROM riverbeat.listed_info`, `CREATE TABLE riverbeat.mine ()`, `SELECT * FROM river_job`)

	// The triggers write with their owner's rights. Hung on a table of the editor's
	// own, they would do so at his word.
	execSQL(t, editor, `CREATE TEMP TABLE forged (id uuid, namespace text, name text)`)
	for _, function := range []string{"keep_cursors", "set_version", "announce", "keep_excluded", "keep_used_calendars", "set_calendar_version", "announce_calendars"} {
		wantDenied(t, editor, `CREATE TRIGGER forged AFTER DELETE ON forged REFERENCING OLD TABLE AS old_rows
			FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.`+function+`()`)
	}
	execSQL(t, editor, `DROP TABLE forged`) // or the user could not go
}

func TestAReaderWritesNothing(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	insert(t, pool, "seen")
	reader := as(t, pool, "riverbeat_reader")
	for _, table := range []string{"schedules", "calendars", "cursors", "runs", "listed_info"} {
		execSQL(t, reader, `SELECT * FROM riverbeat.`+table)
		wantDenied(t, reader, `DELETE FROM riverbeat.`+table, `TRUNCATE riverbeat.`+table)
	}
	wantDenied(t, reader,
		`INSERT INTO riverbeat.schedules (name, cron, job_kind) VALUES ('mine', '0 3 * * *', 'k')`,
		`UPDATE riverbeat.schedules SET paused = true`, `UPDATE riverbeat.cursors SET run_count = 0`,
		`SELECT FROM riverbeat.schedules FOR UPDATE`)
}

func TestTheTableRefusesWhatNobodyCouldRun(t *testing.T) {
	t.Parallel()
	// Migrated by somebody far from Greenwich: the limits are the same instants.
	url := dbtest.Empty(t)
	abroad := dbtest.Open(t, url)
	execSQL(t, abroad, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Tokyo''', current_database()); END $$`)
	pool := dbtest.Open(t, url) // its sessions begin after the setting
	if zone := one[string](t, pool, `SHOW timezone`); zone != "Asia/Tokyo" {
		t.Fatalf("the time zone is %s", zone)
	}
	must(t, migrator(t, pool).Up(t.Context()))
	insert(t, pool, "tried")

	try := func(t *testing.T, change string) error {
		t.Helper()
		tx, err := pool.Begin(t.Context())
		must(t, err)
		defer tx.Rollback(t.Context())
		_, err = tx.Exec(t.Context(), `UPDATE riverbeat.schedules SET `+change)
		return err
	}
	rows := []struct {
		constraint string
		refused    []string
		accepted   []string
	}{
		{"namespace", []string{
			"namespace = ''", "namespace = 'Upper'", "namespace = '-a'", "namespace = 'a_b'", "namespace = 'a b'",
			"namespace = E'a\\n'", "namespace = 'ä'", "namespace = repeat('n', 64)",
		}, []string{"namespace = 'a'", "namespace = '0'", "namespace = 'a-'", "namespace = repeat('n', 63)"}},
		{"name", []string{
			"name = ''", "name = repeat('n', 121)", "name = E'a\\nb'", "name = E'a\\tb'", "name = E'\\x7f'",
		}, []string{"name = 'n'", "name = repeat('名', 120)", "name = ' a / b:c '"}},
		{"description", []string{"description = repeat('d', 4097)"}, []string{"description = repeat('説', 4096)", `description = E'a\nb\tc'`}},
		{"labels", []string{
			"labels = 'null'", "labels = '[]'", "labels = '\"a\"'", "labels = '1'", `labels = '["a"]'`,
			`labels = '{"a": 1}'`, `labels = '{"a": null}'`, `labels = '{"a": true}'`, `labels = '{"a": {}}'`,
			`labels = '{"a": []}'`, `labels = '{"a": ["b"]}'`, `labels = '{"a": "b", "c": ["d", "e"]}'`, `labels = '{"a": "b", "c": 1}'`,
		}, []string{"labels = '{}'", `labels = '{"a": ""}'`, `labels = '{"team": "growth", "ü": "名"}'`}},
		{"spec", []string{
			"cron = NULL", "every = '1 h'", "at = now()", "cron = NULL, every = '1 h', at = now()", "every = '1 h', at = now()",
		}, []string{"cron = '* * * * *'", "cron = NULL, every = '1 h'", "cron = NULL, at = now()"}},
		{"cron", []string{"cron = ''", "cron = repeat('*', 257)", "cron = repeat('名', 86)"}, []string{"cron = '*'", "cron = repeat('*', 256)"}},
		{"every", []string{
			"cron = NULL, every = '0'", "cron = NULL, every = '-1 h'", "cron = NULL, every = '999999 us'", "cron = NULL, every = '1 month'",
			"cron = NULL, every = '1 year'", "cron = NULL, every = '-1 month 40 days'", "cron = NULL, every = '1 year -359 days'",
			"cron = NULL, every = '3650 days 1 us'", "cron = NULL, every = '87601 h'",
		}, []string{
			"cron = NULL, every = '1 s'", "cron = NULL, every = '1000001 us'", "cron = NULL, every = '3650 days'", "cron = NULL, every = '87600 h'",
			"cron = NULL, every = '1 day -1 h'",
		}},
		{"at", []string{
			"cron = NULL, at = 'infinity'", "cron = NULL, at = '-infinity'", "cron = NULL, at = '10000-01-01Z'", "cron = NULL, at = '9999-01-01 00:00Z'",
			"cron = NULL, at = '1969-12-31 23:59:59.999999Z'", "cron = NULL, at = '0044-03-15Z BC'",
		}, []string{"cron = NULL, at = '1970-01-01 00:00Z'", "cron = NULL, at = '9998-12-31 23:59:59.999999Z'"}},
		{"timezone", []string{"timezone = ''", "timezone = repeat('z', 65)"}, []string{"timezone = 'Z'", "timezone = repeat('z', 64)"}},
		{"window", []string{
			"start_at = 'infinity'", "start_at = '-infinity'", "start_at = '9999-01-01 00:00Z'", "start_at = '1969-12-31 23:59:59.999999Z'",
			"end_at = 'infinity'", "end_at = '-infinity'", "end_at = '9999-01-01 00:00Z'", "end_at = '1969-12-31 23:59:59.999999Z'",
			"start_at = '2027-01-02', end_at = '2027-01-01'", "start_at = '2027-01-01', end_at = '2027-01-01'",
			"cron = NULL, at = now(), start_at = '2020-01-01'", "cron = NULL, at = now(), end_at = '2090-01-01'",
		}, []string{
			"start_at = '1970-01-01 00:00Z', end_at = '9998-12-31 23:59:59.999999Z'", "start_at = '2027-01-01', end_at = '2027-01-01 00:00:00.000001'",
			"end_at = '1970-01-01 00:00Z'", "start_at = '9998-12-31 23:59:59.999999Z'", "cron = NULL, every = '1 h', start_at = now()",
		}},
		{"jitter", []string{
			"jitter = '-1 us'", "jitter = '24 h 1 us'", "jitter = '1 month'", "jitter = '1 month -30 days'", "jitter = '1 year -359 days'",
		}, []string{"jitter = '0'", "jitter = '24 h'", "jitter = '1 day'"}},
		{"max_runs", []string{"max_runs = 0", "max_runs = -1"}, []string{"max_runs = 1", "max_runs = 9223372036854775807", "max_runs = NULL"}},
		{"exclude", []string{
			`exclude = '{""}'`, "exclude = '{Upper}'", `exclude = '{"a,b"}'`, `exclude = '{"a,b",c}'`, "exclude = '{NULL}'", "exclude = '{a,NULL}'",
			`exclude = '{a,"b c"}'`, "exclude = '{-a}'", "exclude = ARRAY[repeat('n', 64)]", "exclude = array_fill('a'::text, ARRAY[17])",
		}, []string{"exclude = '{}'", "exclude = '{a,0-}'", "exclude = ARRAY[repeat('n', 63), 'b']", "exclude = array_fill('a'::text, ARRAY[16])"}},
		{"on_excluded", []string{"on_excluded = ''", "on_excluded = 'Skip'", "on_excluded = 'later'"}, []string{"on_excluded = 'skip'", "on_excluded = 'next_day'", "on_excluded = 'previous_day'"}},
		{"job_kind", []string{"job_kind = ''", "job_kind = repeat('k', 128)", `job_kind = E'a\nb'`}, []string{"job_kind = 'k'", "job_kind = repeat('k', 127)", "job_kind = 'a.b:c d'"}},
		{"job_args", []string{
			"job_args = 'null'", "job_args = '[]'", "job_args = '1'", "job_args = '\"{}\"'",
			"job_args = jsonb_build_object('a', repeat('x', 2097152))",
		}, []string{"job_args = '{}'", `job_args = '{"a": [1, null, {"b": 12345678901234567890}]}'`, "job_args = jsonb_build_object('a', repeat('x', 2097152 - 9))"}},
		{"job_queue", []string{
			"job_queue = ''", "job_queue = 'Upper'", "job_queue = '_a'", "job_queue = 'a_'", "job_queue = 'a__b'", "job_queue = 'a b'",
			"job_queue = 'a.b'", `job_queue = E'a\n'`, "job_queue = repeat('q', 65)",
		}, []string{"job_queue = 'q'", "job_queue = 'a_b-c_9'", "job_queue = repeat('q', 64)"}},
		{"job_priority", []string{"job_priority = 0", "job_priority = 5", "job_priority = -1"}, []string{"job_priority = 1", "job_priority = 4"}},
		{"job_max_attempts", []string{"job_max_attempts = 0", "job_max_attempts = -1"}, []string{"job_max_attempts = 1", "job_max_attempts = 32767"}},
		{"job_tags", []string{
			"job_tags = ARRAY[NULL]::text[]", "job_tags = ARRAY['abc', NULL]", "job_tags = ARRAY[NULL, 'abc']", "job_tags = '{\"\"}'", "job_tags = '{ab}'",
			"job_tags = '{abc,ab}'", "job_tags = '{-abc}'", "job_tags = '{abc-}'", "job_tags = '{a:c}'", "job_tags = '{a c}'", "job_tags = '{äöü}'",
			"job_tags = '{\"abc,def\"}'", "job_tags = '{\"abc,def\",ghi}'", `job_tags = ARRAY[E'abc\n']`, `job_tags = ARRAY[E'abc\ndef']`,
			"job_tags = ARRAY[repeat('t', 256)]", "job_tags = array_fill('abc'::text, ARRAY[51])",
		}, []string{
			"job_tags = '{}'", "job_tags = '{abc}'", "job_tags = '{_-_}'", "job_tags = '{abc,d_f,G-9}'", "job_tags = ARRAY[repeat('t', 255), 'abc']",
			"job_tags = array_fill('abc'::text, ARRAY[50])",
		}},
		{"misfire", []string{"misfire = ''", "misfire = 'Once'", "misfire = 'never'"}, []string{"misfire = 'once'", "misfire = 'all'", "misfire = 'skip'"}},
		{"misfire_grace", []string{
			"misfire_grace = '0'", "misfire_grace = '-1 s'", "misfire_grace = '1 month'", "misfire_grace = '1 year -359 days'", "misfire_grace = '3650 days 1 us'",
		}, []string{"misfire_grace = NULL", "misfire_grace = '1 us'", "misfire_grace = '3650 days'"}},
		{"misfire_limit", []string{"misfire_limit = 0", "misfire_limit = 10001"}, []string{"misfire_limit = 1", "misfire_limit = 10000"}},
		{"overlap", []string{"overlap = ''", "overlap = 'forbid'"}, []string{"overlap = 'allow'", "overlap = 'skip'", "overlap = 'queue_one'"}},
		{"overlap_stale_after", []string{
			"overlap_stale_after = '0'", "overlap_stale_after = '-1 s'", "overlap_stale_after = '1 month'", "overlap_stale_after = '1 year -359 days'",
			"overlap_stale_after = '3650 days 1 us'",
		}, []string{"overlap_stale_after = NULL", "overlap_stale_after = '1 us'", "overlap_stale_after = '3650 days'"}},
		{"pause_reason", []string{"pause_reason = repeat('p', 1001)"}, []string{"pause_reason = repeat('休', 1000)"}},
	}
	for _, row := range rows {
		for _, change := range row.refused {
			if got := db.CheckViolation(try(t, change)); got != "schedules_"+row.constraint+"_check" {
				t.Errorf("%.80s: refused by %q, want schedules_%s_check", change, got, row.constraint)
			}
		}
		for _, change := range row.accepted {
			if err := try(t, change); err != nil {
				t.Errorf("%.80s: %v, want it accepted", change, err)
			}
		}
	}

	// No constraint goes untried.
	if n := one[int](t, pool, `SELECT count(*) FROM pg_constraint WHERE conrelid = 'riverbeat.schedules'::regclass AND contype = 'c'`); n != len(rows) {
		t.Errorf("%d of the table's %d CHECK constraints are tried", len(rows), n)
	}
}
