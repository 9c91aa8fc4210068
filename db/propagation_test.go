package db_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

func TestASnapshotSeesAsPostgreSQLDoes(t *testing.T) {
	t.Parallel()
	conn := dbtest.Pool(t)
	rapid.Check(t, func(rt *rapid.T) {
		low := rapid.Uint64Range(5, 1<<31).Draw(rt, "min")
		high := low + rapid.Uint64Range(0, 20).Draw(rt, "more")
		var running []uint64
		for n := low; n < high; n++ {
			if n == low || rapid.Bool().Draw(rt, "running") {
				running = append(running, n)
			}
		}
		n := rapid.Uint64Range(low-2, high+2).Draw(rt, "transaction")
		text, err := conn.Query(t.Context(), `SELECT s::text, pg_visible_in_snapshot($2::text::xid8, s)
			FROM (SELECT (($1::text[])[1] || ':' || ($1::text[])[2] || ':' || array_to_string(($1::text[])[3:], ','))::pg_snapshot) AS x (s)`,
			append([]string{number(low), number(high)}, numbers(running)...), number(n))
		must(t, err)
		type answer struct {
			Text string
			Sees bool
		}
		want, err := pgx.CollectExactlyOneRow(text, pgx.RowToStructByPos[answer])
		must(t, err)
		snapshot, err := db.ParseSnapshot(want.Text)
		must(t, err)
		if got := snapshot.Sees(n); got != want.Sees {
			rt.Fatalf("%s sees %d: %t, not %t", want.Text, n, got, want.Sees)
		}
	})
	for _, text := range []string{"", "1", "1:2", "1:2:3:4", "a:2:", "1:2:x", "-1:2:"} {
		if _, err := db.ParseSnapshot(text); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func TestAChangeIsMarkedWithTheTransactionsThatMadeAndPlannedIt(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	insertSamples(t, store, 1)
	marks := func() db.Marks {
		t.Helper()
		m, err := store.Marks(t.Context(), id(1))
		must(t, err)
		return m
	}
	plan := func(do func(schedule.Cursor) schedule.Cursor) (transaction uint64) {
		t.Helper()
		inTx(t, store, func(tx *db.Tx) error {
			c, err := tx.LockCursor(t.Context(), id(1))
			must(t, err)
			must(t, tx.SaveCursors(t.Context(), []schedule.Cursor{do(c)}))
			transaction, err = tx.Transaction(t.Context())
			return err
		})
		return transaction
	}
	created := marks()
	if created.Planned || len(created.Transactions) != 1 || created.Version != 1 {
		t.Fatalf("created: %+v", created)
	}
	planned := plan(func(c schedule.Cursor) schedule.Cursor {
		c.Dirty, c.PlannedVersion, c.NextRunAt = false, 1, time.Now()
		c.FireAt = c.NextRunAt
		return c
	})
	if m := marks(); !m.Planned || !slices.Equal(m.Transactions, []uint64{created.Transactions[0], planned}) {
		t.Errorf("planned: %+v", m)
	}
	plan(func(c schedule.Cursor) schedule.Cursor { c.RunCount++; return c })
	if m := marks(); !slices.Equal(m.Transactions, []uint64{created.Transactions[0], planned}) {
		t.Errorf("firing moves the marks: %+v", m)
	}
	execSQL(t, pool, `UPDATE riverbeat.schedules SET name = name`)
	if m := marks(); m.Version != 1 || m.Transactions[0] != created.Transactions[0] {
		t.Errorf("an edit of nothing moves the marks: %+v", m)
	}
	execSQL(t, pool, `UPDATE riverbeat.schedules SET job_kind = 'other'`)
	if m := marks(); m.Version != 2 || !m.Planned || m.Transactions[0] <= created.Transactions[0] || m.Transactions[1] != planned {
		t.Errorf("an edit of the job: %+v", m)
	}
	// By older zone rules than the newest: it gets its next run and stays dirty.
	execSQL(t, pool, `UPDATE riverbeat.cursors SET dirty = true, next_run_at = NULL, fire_at = NULL`)
	provisional := plan(func(c schedule.Cursor) schedule.Cursor {
		c.NextRunAt = time.Now()
		c.FireAt = c.NextRunAt
		return c
	})
	if m := marks(); m.Transactions[1] != provisional {
		t.Errorf("a plan that is to be made anew leaves no mark: %+v", m)
	}
	if _, err := store.Marks(t.Context(), id(9)); !errors.Is(err, schedule.ErrNotFound) {
		t.Errorf("marks of nobody: %v", err)
	}
}

func TestSchedulersAreListedAsTheySayTheyAre(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	ahead, err := store.LookAhead(t.Context())
	must(t, err)
	if ahead.Asked {
		t.Error("somebody asks before anybody has")
	}
	self := db.Scheduler{
		ID: id(1), Host: "here", PID: 42, Version: "v1", Zones: "2026f",
		Paths: []schedule.PathState{{Path: schedule.PathNotify, State: "up", For: time.Minute, HeartbeatAge: time.Second}, {Path: schedule.PathRedis, State: "down", For: time.Hour}},
	}
	must(t, last(store.Report(t.Context(), &self, time.Hour, db.Look{}, nil)))
	must(t, last(store.Report(t.Context(), &db.Scheduler{ID: id(2)}, 0, db.Look{}, nil)))
	ahead.Look.Lag = 1500 * time.Millisecond
	now, anew, err := store.Report(t.Context(), &self, 2*time.Hour, ahead.Look, []db.Learnt{{ScheduleID: id(7), Version: 3, Path: schedule.PathRedis, Since: ahead.Look.At}})
	must(t, err)
	if anew {
		t.Error("the third report lists it anew")
	}
	if at := one[time.Time](t, pool, `SELECT seen_at FROM riverbeat.schedulers WHERE id = $1`, [16]byte(id(1))); !at.Equal(now) {
		t.Errorf("the clock says %s, not %s", now, at)
	}
	execSQL(t, pool, `UPDATE riverbeat.schedulers SET seen_at = seen_at - interval '16 s' WHERE id = $1`, [16]byte(id(2)))

	list, err := store.Schedulers(t.Context())
	must(t, err)
	if len(list) != 2 {
		t.Fatalf("%d schedulers", len(list))
	}
	got := list[0]
	if up := got.SeenAt.Sub(got.StartedAt).Round(time.Minute); up != time.Hour {
		t.Errorf("a later report moves the start: up for %v", up)
	}
	if !got.Alive || list[1].Alive {
		t.Errorf("alive: %v and %v", got.Alive, list[1].Alive)
	}
	if !got.LookedAt.Equal(ahead.Look.At) || got.Lag != ahead.Look.Lag || got.Host != "here" || got.PID != 42 || got.Version != "v1" || got.Zones != "2026f" || !slices.Equal(got.Paths, self.Paths) {
		t.Errorf("%+v", got)
	}
	next, err := strconv.ParseUint(one[string](t, pool, `SELECT pg_snapshot_xmax(pg_current_snapshot())::text`), 10, 64)
	must(t, err)
	if got.Snapshot.Sees(next) || !got.Snapshot.Sees(3) || list[1].Snapshot.Sees(3) {
		t.Errorf("snapshots: %+v, %+v", got.Snapshot, list[1].Snapshot)
	}
	// One that had died before the server's clock was set back stays dead.
	execSQL(t, pool, `UPDATE riverbeat.schedulers SET seen_at = clock_timestamp() + interval '20 s' WHERE id = $1`, [16]byte(id(2)))
	if list, err = store.Schedulers(t.Context()); err != nil || list[1].Alive {
		t.Errorf("alive, said in times to come: %+v, %v", list[1], err)
	}
	execSQL(t, pool, `UPDATE riverbeat.schedulers SET snapshot = '900000000000:900000000000:'`)
	restored, err := store.Schedulers(t.Context())
	must(t, err)
	if restored[0].Snapshot.Sees(3) {
		t.Error("the snapshot of another server is taken for one of this")
	}
	learnt, err := store.LearntBy(t.Context(), id(7))
	must(t, err)
	if l := learnt[id(1)]; len(learnt) != 1 || l.Version != 3 || l.Path != schedule.PathRedis || !l.Since.Equal(ahead.Look.At) {
		t.Errorf("learnt: %+v", learnt)
	}

	// Who asks is heard until it is over.
	changedAt := ahead.Look.At.Truncate(time.Microsecond)
	_, err = store.Wait(t.Context(), id(11), id(7), changedAt, time.Hour)
	must(t, err)
	_, err = store.Wait(t.Context(), id(12), schedule.ID{}, time.Time{}, time.Hour)
	must(t, err)
	asked, err := store.Asked(t.Context())
	must(t, err)
	if at := asked[id(7)]; len(asked) != 1 || !at.Equal(changedAt) {
		t.Errorf("asked: %v", asked)
	}
	if ahead, err = store.LookAhead(t.Context()); err != nil || !ahead.Asked {
		t.Errorf("a look doesn't see that somebody asks: %v", err)
	}
	must(t, store.TidyReports(t.Context()))
	if n := one[int](t, pool, `SELECT count(*) FROM riverbeat.learnt`); n != 1 {
		t.Errorf("what is asked is tidied away: %d", n)
	}
	must(t, store.EndWait(t.Context(), id(11)))
	must(t, store.EndWait(t.Context(), id(12)))
	execSQL(t, pool, `UPDATE riverbeat.schedulers SET seen_at = seen_at - interval '2 h' WHERE id = $1`, [16]byte(id(2)))
	must(t, store.TidyReports(t.Context()))
	must(t, store.Forget(t.Context(), id(1)))
	if n := one[int](t, pool, `SELECT (SELECT count(*) FROM riverbeat.schedulers) + (SELECT count(*) FROM riverbeat.waits) + (SELECT count(*) FROM riverbeat.learnt)`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestEveryTriggerOfTheMigrationsIsLookedFor(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	keeping, announcing, err := store.Triggers(t.Context())
	must(t, err)
	if len(keeping)+len(announcing) > 0 {
		t.Errorf("a fresh database lacks %v, %v", keeping, announcing)
	}
	triggers := one[[]string](t, pool, `
		SELECT array_agg(c.relname || '.' || t.tgname) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
		WHERE c.relnamespace = 'riverbeat'::regnamespace AND NOT t.tgisinternal`)
	for i, name := range triggers {
		table, trigger, _ := strings.Cut(name, ".")
		how := "DISABLE TRIGGER " + trigger
		if i%2 == 0 {
			how = "ENABLE REPLICA TRIGGER " + trigger
		}
		execSQL(t, pool, `ALTER TABLE riverbeat.`+table+` `+how)
	}
	execSQL(t, pool, `DROP TRIGGER schedules_keep_delete ON riverbeat.schedules`)
	keeping, announcing, err = store.Triggers(t.Context())
	must(t, err)
	slices.Sort(triggers)
	got := slices.Sorted(slices.Values(slices.Concat(keeping, announcing)))
	if !slices.Equal(got, triggers) {
		t.Errorf("of %v it misses %v", triggers, got)
	}
	for _, name := range announcing {
		if !strings.Contains(name, "announce") {
			t.Errorf("%s only announces", name)
		}
	}
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func numbers(list []uint64) (texts []string) {
	for _, n := range list {
		texts = append(texts, number(n))
	}
	return texts
}

func last[T any](_ T, _ bool, err error) error { return err }
