package db_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// setup is a store on a database of its own.
func setup(t *testing.T) (*db.Store, *pgxpool.Pool) {
	t.Helper()
	pool := dbtest.Pool(t)
	return db.NewStore(pool), pool
}

// inTx runs do in a transaction that must succeed.
func inTx(t testing.TB, store *db.Store, do func(tx *db.Tx) error) {
	t.Helper()
	must(t, store.InTx(t.Context(), do))
}

// id is the n-th of ids that sort as their numbers do.
func id(n int) (id schedule.ID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

// sample is a valid schedule.
func sample(n int) *schedule.Schedule {
	s := schedule.New()
	s.ID, s.Name, s.Spec.Cron, s.Job.Kind = id(n), fmt.Sprintf("schedule %d", n), "0 3 * * *", "report"
	return &s
}

// insertSamples writes the schedules 1 to n.
func insertSamples(t testing.TB, store *db.Store, n int) {
	t.Helper()
	inTx(t, store, func(tx *db.Tx) error {
		for i := range n {
			if err := tx.InsertSchedule(t.Context(), sample(i+1)); err != nil {
				return err
			}
		}
		return nil
	})
}

func read(t testing.TB, store *db.Store, key db.Key) (status *schedule.Status, err error) {
	t.Helper()
	err = store.InTx(t.Context(), func(tx *db.Tx) error {
		var err error
		status, err = tx.Schedule(t.Context(), key)
		return err
	})
	return status, err
}

// sameJSON compares documents by their content.
var sameJSON = gocmp.Transformer("JSON", func(raw json.RawMessage) (v any) {
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	if decoder.Decode(&v) != nil {
		return "unreadable: " + string(raw)
	}
	return v
})

// kept are the fields that the database writes.
var kept = cmpopts.IgnoreFields(schedule.Schedule{}, "Version", "CreatedAt", "UpdatedAt")

var (
	instants = rapid.Custom(func(t *rapid.T) time.Time { // what the table accepts, to the microsecond
		return time.UnixMicro(rapid.Int64Range(0, 253370764799999999).Draw(t, "µs")).UTC()
	})
	texts = func(most int) *rapid.Generator[string] { return rapid.StringOfN(letters, 0, most, -1) }
	names = func(most int) *rapid.Generator[string] { return rapid.StringOfN(letters, 1, most, -1) }
	spans = func(from, to time.Duration) *rapid.Generator[time.Duration] {
		return rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(from.Microseconds(), to.Microseconds()).Draw(t, "µs")) * time.Microsecond
		})
	}
	letters = rapid.RuneFrom([]rune(`aZ0 "'\{},:%$;-é名😀`), unicode.L, unicode.P, unicode.S)
)

// definitions draws any definition that is valid, its spec's words aside: to the
// store they are text.
func definitions(id schedule.ID) *rapid.Generator[*schedule.Schedule] {
	return rapid.Custom(func(t *rapid.T) *schedule.Schedule {
		s := &schedule.Schedule{
			ID:          id,
			Namespace:   rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`).Draw(t, "namespace"),
			Name:        names(120).Draw(t, "name"),
			Description: texts(200).Draw(t, "description"),
			Labels:      rapid.MapOfN(names(20), texts(20), 0, 5).Draw(t, "labels"),
			Spec: schedule.Spec{
				Timezone:   names(64).Draw(t, "timezone"),
				Jitter:     rapid.OneOf(rapid.Just(time.Duration(0)), spans(0, 24*time.Hour)).Draw(t, "jitter"),
				MaxRuns:    rapid.Int64Min(0).Draw(t, "max_runs"),
				Exclude:    rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`), 0, 16, rapid.ID).Draw(t, "exclude"),
				OnExcluded: rapid.SampledFrom([]schedule.OnExcluded{"skip", "next_day", "previous_day"}).Draw(t, "on_excluded"),
			},
			Job: schedule.Job{
				Kind:        names(127).Draw(t, "kind"),
				Queue:       rapid.StringMatching(`[a-z0-9]{1,20}(_[a-z0-9]{1,20})?`).Draw(t, "queue"),
				Priority:    rapid.IntRange(1, 4).Draw(t, "priority"),
				MaxAttempts: rapid.IntRange(1, 32767).Draw(t, "max_attempts"),
				Tags:        rapid.SliceOfN(rapid.StringMatching(`[A-Za-z0-9_][A-Za-z0-9_-]{1,20}[A-Za-z0-9_]`), 0, 50).Draw(t, "tags"),
			},
			Misfire:           rapid.SampledFrom([]schedule.Misfire{"once", "all", "skip"}).Draw(t, "misfire"),
			MisfireGrace:      spans(0, 3650*24*time.Hour).Draw(t, "misfire_grace"),
			MisfireLimit:      rapid.IntRange(1, 10000).Draw(t, "misfire_limit"),
			Overlap:           rapid.SampledFrom([]schedule.Overlap{"allow", "skip", "queue_one"}).Draw(t, "overlap"),
			OverlapStaleAfter: spans(0, 3650*24*time.Hour).Draw(t, "overlap_stale_after"),
			Paused:            rapid.Bool().Draw(t, "paused"),
			PauseReason:       texts(1000).Draw(t, "pause_reason"),
		}
		args, err := json.Marshal(map[string]any{
			texts(10).Draw(t, "key"): rapid.OneOf(
				rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), texts(100).AsAny(),
				rapid.SliceOfN(rapid.Uint64(), 0, 3).AsAny(), rapid.MapOfN(texts(5), texts(5), 0, 3).AsAny(),
			).Draw(t, "value"),
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Job.Args = args
		switch rapid.IntRange(1, 3).Draw(t, "spec") {
		case 1:
			s.Spec.Cron = names(64).Draw(t, "cron")
		case 2:
			s.Spec.Every = spans(time.Second, 3650*24*time.Hour).Draw(t, "every")
		case 3:
			s.Spec.At = instants.Draw(t, "at")
			return s
		}
		if rapid.Bool().Draw(t, "starts") {
			s.Spec.StartAt = instants.Draw(t, "start_at")
		}
		if rapid.Bool().Draw(t, "ends") {
			if end := instants.Draw(t, "end_at"); s.Spec.StartAt.Before(end) {
				s.Spec.EndAt = end
			}
		}
		return s
	})
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		first, second := definitions(id(n)).Draw(rt, "first"), definitions(id(n)).Draw(rt, "second")
		first.Name = fmt.Sprintf("%.100s %d", first.Name, n) // unique
		second.Name = fmt.Sprintf("%.100s %d", second.Name, n)
		var inserted, updated *schedule.Status
		var all map[schedule.ID]*schedule.Schedule
		inTx(t, store, func(tx *db.Tx) (err error) {
			if err = tx.InsertSchedule(t.Context(), first); err != nil {
				return err
			}
			if inserted, err = tx.Schedule(t.Context(), db.Key{ID: first.ID}); err != nil {
				return err
			}
			if err = tx.UpdateSchedule(t.Context(), second); err != nil {
				return err
			}
			if updated, err = tx.Schedule(t.Context(), db.Key{Namespace: second.Namespace, Name: second.Name}); err != nil {
				return err
			}
			all, err = tx.Definitions(t.Context(), []schedule.ID{second.ID})
			return err
		})
		if diff := gocmp.Diff(first, &inserted.Schedule, sameJSON, kept); diff != "" {
			rt.Fatal("inserted and read back:\n", diff)
		}
		if diff := gocmp.Diff(second, &updated.Schedule, sameJSON, kept); diff != "" {
			rt.Fatal("updated and read back:\n", diff)
		}
		fires := updated.Schedule
		fires.Description, fires.Labels, fires.PauseReason = "", nil, ""
		if diff := gocmp.Diff(&fires, all[second.ID]); diff != "" {
			rt.Fatal("what fires:\n", diff)
		}
		for _, s := range []*schedule.Schedule{&inserted.Schedule, &updated.Schedule} {
			if s.CreatedAt.Location() != time.UTC || s.Spec.At.Location() != time.UTC || s.CreatedAt.IsZero() || s.UpdatedAt.Before(s.CreatedAt) {
				rt.Fatal("created_at and updated_at: ", s.CreatedAt, s.UpdatedAt)
			}
		}
		want := schedule.Cursor{ScheduleID: second.ID, Dirty: true, ChangedAt: updated.Cursor.ChangedAt, State: schedule.StateActive}
		if diff := gocmp.Diff(want, updated.Cursor); diff != "" {
			rt.Fatal("the cursor:\n", diff)
		}
	})
}

func TestSavingTheSameDefinitionIsNoNewVersion(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	s := sample(1)
	s.Labels, s.Job.Args, s.Job.Tags = map[string]string{"b": "1", "a": "2"}, json.RawMessage(`{"b": 1.0, "a": [1, 2]}`), []string{"abc", "def"}
	s.MisfireGrace, s.Spec.Jitter, s.Spec.StartAt = 36*time.Hour, time.Minute, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	inTx(t, store, func(tx *db.Tx) error { return tx.InsertSchedule(t.Context(), s) })
	s.Job.Args, s.Spec.StartAt = json.RawMessage(`{"a":[1,2],"b":1}`), s.Spec.StartAt.In(time.FixedZone("", 9*3600))
	for version, change := range []func(){func() {}, func() {}, func() { s.Description = "new" }} {
		change()
		inTx(t, store, func(tx *db.Tx) error { return tx.UpdateSchedule(t.Context(), s) })
		status, err := read(t, store, db.Key{ID: s.ID})
		must(t, err)
		if want := int64(max(1, version)); status.Schedule.Version != want {
			t.Errorf("version is %d, want %d", status.Schedule.Version, want)
		}
	}
}

func TestWritesSayWhatTheTableRefused(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	insertSamples(t, store, 2)
	for name, row := range map[string]struct {
		change func(s *schedule.Schedule)
		want   error
	}{
		"name taken":    {func(s *schedule.Schedule) { s.Name = "schedule 2" }, schedule.ErrNameTaken},
		"other's name":  {func(s *schedule.Schedule) { s.Name, s.Namespace = "schedule 2", "other" }, nil},
		"bad queue":     {func(s *schedule.Schedule) { s.Job.Queue = "No" }, schedule.Invalid("job.queue", "is not accepted by the database")},
		"two specs":     {func(s *schedule.Schedule) { s.Spec.Every = time.Hour }, schedule.Invalid("spec", "is not accepted by the database")},
		"NUL in args":   {func(s *schedule.Schedule) { s.Job.Args = json.RawMessage(`{"a": "\u0000"}`) }, schedule.Invalid("job.args", "holds a value that PostgreSQL can't store")},
		"endless digit": {func(s *schedule.Schedule) { s.Job.Args = json.RawMessage(`{"a": 1e999999}`) }, schedule.Invalid("job.args", "holds a value that PostgreSQL can't store")},
	} {
		t.Run(name, func(t *testing.T) {
			for n, write := range map[int]func(*db.Tx, context.Context, *schedule.Schedule) error{
				1: (*db.Tx).UpdateSchedule, 3: (*db.Tx).InsertSchedule,
			} {
				s := sample(n)
				row.change(s)
				undo := errors.New("undo")
				err := store.InTx(t.Context(), func(tx *db.Tx) error {
					if err := write(tx, t.Context(), s); err != nil {
						return err
					}
					return undo
				})
				if errors.Is(err, undo) {
					err = nil
				}
				if diff := gocmp.Diff(fmt.Sprint(row.want), fmt.Sprint(err)); diff != "" {
					t.Errorf("writing schedule %d:\n%s", n, diff)
				}
			}
		})
	}
}

func TestASchedulesKeyIsItsIDOrItsName(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	insertSamples(t, store, 2)
	for _, row := range []struct {
		key   db.Key
		found bool
	}{
		{db.Key{ID: id(1)}, true},
		{db.Key{ID: id(1), Namespace: "default"}, true},
		{db.Key{ID: id(1), Namespace: "other"}, false},
		{db.Key{ID: id(1), Namespace: "default", Name: "schedule 2"}, true}, // the id counts
		{db.Key{Namespace: "default", Name: "schedule 1"}, true},
		{db.Key{Namespace: "other", Name: "schedule 1"}, false},
		{db.Key{Name: "schedule 1"}, true}, // of the default namespace
		{db.Key{Namespace: "default", Name: "schedule"}, false},
		{db.Key{ID: id(3)}, false},
		{db.Key{}, false},
	} {
		for how, do := range map[string]func(*db.Tx, context.Context, db.Key) (*schedule.Status, error){
			"Schedule": (*db.Tx).Schedule, "LockSchedule": (*db.Tx).LockSchedule, "KeepSchedule": (*db.Tx).KeepSchedule,
		} {
			err := store.InTx(t.Context(), func(tx *db.Tx) error {
				status, err := do(tx, t.Context(), row.key)
				if err == nil && status.Schedule.ID != id(1) {
					t.Errorf("%s %+v found %s", how, row.key, status.Schedule.Name)
				}
				return err
			})
			if row.found && err != nil || !row.found && !errors.Is(err, schedule.ErrNotFound) {
				t.Errorf("%s %+v: %v", how, row.key, err)
			}
		}
	}

	// A locked definition doesn't keep its cursor from firing; a kept one is shared.
	plan(t, pool, "schedule 1", -time.Minute)
	inTx(t, store, func(tx *db.Tx) error {
		_, err := tx.LockSchedule(t.Context(), db.Key{ID: id(1)})
		must(t, err)
		must(t, dispatch(t, pool, 1).Rollback(t.Context()))
		return nil
	})
	inTx(t, store, func(tx *db.Tx) error {
		_, err := tx.KeepSchedule(t.Context(), db.Key{ID: id(1)})
		must(t, err)
		inTx(t, store, func(tx *db.Tx) error {
			_, err := tx.KeepSchedule(t.Context(), db.Key{ID: id(1)})
			return err
		})
		_, err = pool.Exec(t.Context(), `SELECT FROM riverbeat.schedules WHERE name = 'schedule 1' FOR UPDATE NOWAIT`)
		if err == nil {
			t.Error("a schedule that is kept can be edited")
		}
		return nil
	})

	inTx(t, store, func(tx *db.Tx) error { return tx.DeleteSchedule(t.Context(), id(1)) })
	if _, err := read(t, store, db.Key{ID: id(1)}); !errors.Is(err, schedule.ErrNotFound) {
		t.Errorf("after its deletion: %v", err)
	}
	inTx(t, store, func(tx *db.Tx) error { return tx.DeleteSchedule(t.Context(), id(1)) }) // it is gone: fine
}

func ids(cursors []schedule.Cursor) (list []schedule.ID) {
	for _, c := range cursors {
		list = append(list, c.ScheduleID)
	}
	return list
}

func wantIDs(t testing.TB, what string, cursors []schedule.Cursor, want ...schedule.ID) {
	t.Helper()
	if diff := gocmp.Diff(want, ids(cursors)); diff != "" {
		t.Errorf("%s:\n%s", what, diff)
	}
}

func TestWhatIsDueIsClaimedOnceOldestFirst(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	insertSamples(t, store, 6)
	for n, in := range map[int]time.Duration{1: -time.Minute, 2: time.Hour, 3: -time.Hour, 4: -time.Second, 5: -24 * time.Hour} { // 6 isn't planned
		plan(t, pool, fmt.Sprint("schedule ", n), in)
	}

	inTx(t, store, func(first *db.Tx) error {
		before, err := first.Now(t.Context())
		must(t, err)
		due, now, err := first.ClaimDue(t.Context(), 31*time.Minute, 2)
		must(t, err)
		after, err := first.Now(t.Context())
		must(t, err)
		wantIDs(t, "the first claim of two punctual ones", due, id(1), id(4))
		if now.Before(before) || now.After(after) || now.Location() != time.UTC {
			t.Errorf("now is %s, not between %s and %s", now, before, after)
		}
		if c := due[0]; !c.FireAt.Equal(c.NextRunAt) || now.Sub(c.FireAt).Round(time.Minute) != time.Minute || c.Dirty {
			t.Errorf("claimed %+v", c)
		}

		inTx(t, store, func(second *db.Tx) error {
			due, _, err := second.ClaimDue(t.Context(), 31*time.Minute, 10)
			must(t, err)
			wantIDs(t, "the claim beside it, of what isn't punctual", due, id(5), id(3))
			inTx(t, store, func(third *db.Tx) error {
				due, _, err := third.ClaimDue(t.Context(), time.Hour, 10)
				wantIDs(t, "a third claim", due)
				return err
			})
			return nil
		})
		return nil
	})

	// Nobody moved them on, so they are due again: all that was locked is free.
	inTx(t, store, func(tx *db.Tx) error {
		due, _, err := tx.ClaimDue(t.Context(), 25*time.Hour, 10)
		wantIDs(t, "a later claim", due, id(5), id(3), id(1), id(4))
		return err
	})
}

func TestADueCursorIsClaimedDirtyOrNot(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	insertSamples(t, store, 1)
	plan(t, pool, "schedule 1", -time.Minute)
	execSQL(t, pool, `UPDATE riverbeat.schedules SET misfire = 'skip'`)
	inTx(t, store, func(tx *db.Tx) error {
		due, _, err := tx.ClaimDue(t.Context(), time.Hour, 10)
		if len(due) != 1 || !due[0].Dirty {
			t.Errorf("claimed %+v", due)
		}
		return err
	})
}

func TestTheClaimReadsTheIndex(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	execSQL(t, pool, `
		INSERT INTO riverbeat.cursors (schedule_id, changed_at, dirty, next_run_at, fire_at)
		SELECT gen_random_uuid(), now(), n % 5000 = 0, now() + n * interval '1 min', now() + n * interval '1 min' FROM generate_series(1, 20000) n`)
	execSQL(t, pool, `ANALYZE riverbeat.cursors`)
	for query, index := range map[string]string{
		`SELECT * FROM riverbeat.cursors c WHERE c.fire_at <= (SELECT clock_timestamp() - interval '0 s') AND c.fire_at >= (SELECT clock_timestamp() - interval '10 s')
			ORDER BY c.fire_at LIMIT 1000 FOR UPDATE SKIP LOCKED`: "cursors_fire_at_idx",
		`SELECT * FROM riverbeat.cursors c WHERE c.dirty ORDER BY c.changed_at LIMIT 1000 FOR UPDATE SKIP LOCKED`: "cursors_dirty_idx",
		`SELECT EXISTS (SELECT FROM riverbeat.cursors WHERE dirty)`:                                               "cursors_dirty_idx",
		`SELECT min(fire_at) - clock_timestamp() FROM riverbeat.cursors WHERE fire_at IS NOT NULL`:                "cursors_fire_at_idx",
	} {
		plan := one[string](t, pool, `EXPLAIN (FORMAT JSON) `+query)
		if !strings.Contains(plan, index) || strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s:\n%s", query, plan)
		}
	}
}

// However many schedules there are that aren't due, and runs that were skipped.
func TestWhatADispatchReadsIsFoundByIndexes(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	execSQL(t, pool, `
		INSERT INTO riverbeat.cursors (schedule_id, changed_at, dirty, next_run_at, fire_at)
		SELECT gen_random_uuid(), now(), false, now() + n * interval '1 min', now() + n * interval '1 min' FROM generate_series(1, 50000) n;
		INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why)
		SELECT '00000000-0000-0000-0000-000000000001', now() - n * interval '1 s', 'default', 'n', 'schedule', 'skipped', 'overlap' FROM generate_series(1, 50000) n;
		INSERT INTO river_job (kind, args, max_attempts) SELECT 'k', '{}', 25 FROM generate_series(1, 10000);
		ANALYZE riverbeat.cursors, riverbeat.runs, river_job`)
	conn, err := pool.Acquire(t.Context())
	must(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), `SET plan_cache_mode = force_generic_plan`)
	must(t, err)
	for claim, row := range map[string]struct {
		statement string
		args      string
		most      int // buffers
	}{
		"claim":     {db.ClaimDue, `1000, interval '0 s', interval '10 s'`, 40},
		"catch-up":  {db.SelectBehind, `'', interval '10 s', 100000, 1000, NULL`, 40},
		"last jobs": {db.SelectLastJobs, `ARRAY['00000000-0000-0000-0000-000000000001'::uuid], ARRAY[17::bigint]`, 40},
	} {
		_, err := conn.Exec(t.Context(), `DEALLOCATE ALL; PREPARE statement AS `+row.statement)
		must(t, err)
		var plan []struct {
			Plan struct {
				Hit  int `json:"Shared Hit Blocks"`
				Read int `json:"Shared Read Blocks"`
			}
		}
		must(t, conn.QueryRow(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE statement (`+row.args+`)`, pgx.QueryExecModeSimpleProtocol).Scan(&plan))
		if got := plan[0].Plan.Hit + plan[0].Plan.Read; got > row.most {
			rows, _ := conn.Query(t.Context(), `EXPLAIN (ANALYZE, BUFFERS) EXECUTE statement (`+row.args+`)`, pgx.QueryExecModeSimpleProtocol)
			text, _ := pgx.CollectRows(rows, pgx.RowTo[string])
			t.Errorf("%s touches %d buffers:\n%s", claim, got, strings.Join(text, "\n"))
		}
	}
}

func TestWhatIsDirtyIsClaimedOnceOldestChangeFirst(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	for _, n := range []int{3, 1, 4, 2} { // in this order
		inTx(t, store, func(tx *db.Tx) error { return tx.InsertSchedule(t.Context(), sample(n)) })
	}
	plan(t, pool, "schedule 4", time.Hour)

	inTx(t, store, func(first *db.Tx) error {
		dirty, err := first.ClaimDirty(t.Context(), db.Dirty{}, 2)
		must(t, err)
		wantIDs(t, "the first two of all", dirty, id(3), id(1))
		inTx(t, store, func(second *db.Tx) error {
			dirty, err := second.ClaimDirty(t.Context(), db.Dirty{IDs: []schedule.ID{id(1), id(2), id(4), id(9)}}, 10)
			must(t, err)
			wantIDs(t, "of those named, what is dirty and free", dirty, id(2))
			return nil
		})
		inTx(t, store, func(second *db.Tx) error {
			dirty, err := second.ClaimDirty(t.Context(), db.Dirty{}, 10)
			wantIDs(t, "of all, what is free", dirty, id(2))
			return err
		})
		return nil
	})
	inTx(t, store, func(tx *db.Tx) error {
		dirty, err := tx.ClaimDirty(t.Context(), db.Dirty{IDs: []schedule.ID{id(1), id(2), id(3)}}, 2)
		must(t, err)
		wantIDs(t, "two of those named", dirty, id(3), id(1))
		dirty, err = tx.ClaimDirty(t.Context(), db.Dirty{IDs: []schedule.ID{}}, 10)
		wantIDs(t, "of no names", dirty)
		return err
	})

	for _, row := range []struct {
		ids  []schedule.ID
		want bool
	}{
		{nil, true}, {[]schedule.ID{}, false}, {[]schedule.ID{id(4)}, false}, {[]schedule.ID{id(9)}, false},
		{[]schedule.ID{id(2)}, true}, {[]schedule.ID{id(9), id(4), id(3)}, true},
	} {
		if dirty, err := store.StillDirty(t.Context(), db.Dirty{IDs: row.ids}, 10); err != nil || (len(dirty) > 0) != row.want {
			t.Errorf("StillDirty(%v) is %v, %v", row.ids, dirty, err)
		}
	}
	execSQL(t, pool, `UPDATE riverbeat.cursors SET dirty = false`)
	if dirty, err := store.StillDirty(t.Context(), db.Dirty{}, 10); err != nil || len(dirty) > 0 {
		t.Errorf("StillDirty of none is %v, %v", dirty, err)
	}
}

func TestCursorsAreSavedTogether(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	insertSamples(t, store, 4)
	at := time.Date(2026, 11, 24, 3, 0, 0, 123456000, time.UTC)
	cursors := []schedule.Cursor{
		{ScheduleID: id(1), NextRunAt: at, FireAt: at.Add(time.Second), PlannedVersion: 7, LastRunAt: at.Add(-time.Hour), LastJobID: 1 << 40,
			RunCount: 1 << 50, State: schedule.StateActive, Held: at.Add(-time.Minute), HeldSince: at, HeldReason: schedule.ReasonCatchUp, Share: 7},
		{ScheduleID: id(2), State: schedule.StateCompleted},
		{ScheduleID: id(3), Dirty: true, State: schedule.StateInvalid, StateReason: `cron "x" can't be read; '名'`},
		{ScheduleID: id(9), State: schedule.StateActive}, // gone meanwhile
	}
	inTx(t, store, func(tx *db.Tx) error { return tx.SaveCursors(t.Context(), cursors) })
	inTx(t, store, func(tx *db.Tx) error { return tx.SaveCursors(t.Context(), nil) })

	inTx(t, store, func(tx *db.Tx) error {
		for _, want := range cursors[:3] {
			got, err := tx.LockCursor(t.Context(), want.ScheduleID)
			must(t, err)
			if got.ChangedAt.IsZero() {
				t.Error("changed_at is lost")
			}
			want.ChangedAt = got.ChangedAt // the triggers' alone
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		untouched, err := tx.LockCursor(t.Context(), id(4))
		if !untouched.Dirty {
			t.Error("a cursor that wasn't saved changed")
		}
		return err
	})
	err := store.InTx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.LockCursor(t.Context(), id(9))
		return err
	})
	if !errors.Is(err, schedule.ErrNotFound) {
		t.Errorf("LockCursor of none: %v", err)
	}

	inTx(t, store, func(tx *db.Tx) error { return tx.DropCursors(t.Context(), []schedule.ID{id(1), id(9)}) })
	inTx(t, store, func(tx *db.Tx) error {
		_, err := tx.LockCursor(t.Context(), id(2))
		return err
	})
	if _, err := read(t, store, db.Key{ID: id(1)}); !errors.Is(err, schedule.ErrNotFound) {
		t.Errorf("a schedule whose cursor was dropped: %v", err)
	}
}

func TestLookAheadSaysWhatIsDueAndWhatComesNext(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	insertSamples(t, store, 3)
	want := func(due bool, next time.Duration) {
		t.Helper()
		ahead, err := store.LookAhead(t.Context())
		if err != nil || ahead.Due != due || (ahead.Next-next).Abs() > time.Minute {
			t.Errorf("LookAhead is %+v, %v; want %t and about %s", ahead, err, due, next)
		}
	}
	const centuries = 250 * 365 * 24 * time.Hour
	want(false, centuries)
	execSQL(t, pool, `UPDATE riverbeat.cursors SET next_run_at = '9998-12-31', fire_at = '9998-12-31' WHERE schedule_id = $1`, [16]byte(id(3)))
	want(false, centuries)
	plan(t, pool, "schedule 1", 2*time.Hour)
	want(false, 2*time.Hour)
	plan(t, pool, "schedule 2", -10*time.Minute)
	want(true, 2*time.Hour)
	execSQL(t, pool, `UPDATE riverbeat.cursors SET fire_at = '1970-01-01', next_run_at = '1970-01-01'`)
	want(true, centuries)
}

var midnight = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

// enqueued is a line of the ledger.
func enqueued(n int, at time.Time, job int64) schedule.Run {
	return schedule.Run{
		ScheduleID: id(n), Namespace: "default", ScheduleName: fmt.Sprint("schedule ", n), ScheduledFor: at,
		Reason: schedule.ReasonSchedule, Outcome: schedule.OutcomeEnqueued, JobID: job, Count: 1, CreatedAt: at.Add(time.Second),
	}
}

func TestTheLedgerHoldsEachOccurrenceOnce(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	missed := schedule.Run{
		ScheduleID: id(1), Namespace: "default", ScheduleName: "schedule 1", ScheduledFor: midnight.Add(-48 * time.Hour),
		Reason: schedule.ReasonCatchUp, Outcome: schedule.OutcomeMissed, Why: schedule.WhyLimit, Until: midnight.Add(-24 * time.Hour), Count: 1000, CreatedAt: midnight,
	}
	uncounted := missed
	uncounted.ScheduledFor, uncounted.Count = midnight.Add(-72*time.Hour), 0
	runs := []schedule.Run{enqueued(1, midnight, 5), missed, uncounted}
	inTx(t, store, func(tx *db.Tx) error { return tx.InsertRuns(t.Context(), runs) })
	inTx(t, store, func(tx *db.Tx) error { return tx.InsertRuns(t.Context(), nil) })

	inTx(t, store, func(tx *db.Tx) error {
		page, err := tx.ListRuns(t.Context(), db.RunFilter{ScheduleID: id(1), Limit: 10})
		if diff := gocmp.Diff(runs, lines(page)); diff != "" {
			t.Error("read back:\n", diff)
		}
		return err
	})

	// One that is there already, among others, takes all of them back.
	err := store.InTx(t.Context(), func(tx *db.Tx) error {
		return tx.InsertRuns(t.Context(), []schedule.Run{enqueued(1, midnight.Add(time.Hour), 6), enqueued(1, midnight, 7), enqueued(2, midnight, 8)})
	})
	if db.UniqueViolation(err) != "runs_pkey" || !db.IsDataError(err) || db.IsUnavailable(err) {
		t.Errorf("a line that is there already: %v", err)
	}
	if n := one[int](t, pool, `SELECT count(*) FROM riverbeat.runs`); n != 3 {
		t.Errorf("%d lines are there, want 3", n)
	}

	inTx(t, store, func(tx *db.Tx) error {
		there := db.Occurrence{ScheduleID: id(1), ScheduledFor: midnight}
		stretch := db.Occurrence{ScheduleID: id(1), ScheduledFor: missed.ScheduledFor}
		got, err := tx.Recorded(t.Context(), []db.Occurrence{
			there, stretch, {ScheduleID: id(1), ScheduledFor: midnight.Add(time.Microsecond)}, {ScheduleID: id(2), ScheduledFor: midnight},
		})
		must(t, err)
		if diff := gocmp.Diff(map[db.Occurrence]bool{there: true, stretch: true}, got); diff != "" {
			t.Error("recorded:\n", diff)
		}
		got, err = tx.Recorded(t.Context(), nil)
		if len(got) != 0 {
			t.Errorf("of none %v are recorded", got)
		}
		return err
	})

	for constraint, change := range map[string]func(r *schedule.Run){
		"runs_reason_check":  func(r *schedule.Run) { r.Reason = "whim" },
		"runs_outcome_check": func(r *schedule.Run) { r.Outcome, r.JobID, r.Why = "lost", 0, "whim" },
		"runs_job_check":     func(r *schedule.Run) { r.JobID = 0 },
		"runs_why_check":     func(r *schedule.Run) { r.Why = "whim" },
	} {
		err := store.InTx(t.Context(), func(tx *db.Tx) error {
			r := enqueued(3, midnight, 9)
			change(&r)
			return tx.InsertRuns(t.Context(), []schedule.Run{r})
		})
		if db.CheckViolation(err) != constraint {
			t.Errorf("%v, want a violation of %s", err, constraint)
		}
	}
}

func TestLastForIsTheSpecsLastInstant(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	line := func(n int, hours int, reason schedule.Reason, until time.Duration) schedule.Run {
		r := enqueued(n, midnight.Add(time.Duration(hours)*time.Hour), int64(n))
		r.Reason = reason
		if until > 0 {
			r.Outcome, r.Why, r.JobID, r.Until = schedule.OutcomeMissed, schedule.WhyMisfire, 0, r.ScheduledFor.Add(until)
		}
		return r
	}
	inTx(t, store, func(tx *db.Tx) error {
		return tx.InsertRuns(t.Context(), []schedule.Run{
			line(1, 1, schedule.ReasonSchedule, 0), line(1, 3, schedule.ReasonSchedule, 0), line(1, 2, schedule.ReasonSchedule, 0),
			line(1, 9, schedule.ReasonManual, 0), line(1, 8, schedule.ReasonBackfill, 0),
			line(2, 1, schedule.ReasonCatchUp, 0),
			line(3, 1, schedule.ReasonSchedule, 0), line(3, 2, schedule.ReasonSchedule, 5*time.Hour),
			line(4, 1, schedule.ReasonManual, 0),
			// What calendars took away in the middle of what was missed.
			line(5, 1, schedule.ReasonSchedule, 8*time.Hour), line(5, 4, schedule.ReasonSchedule, time.Hour),
		})
	})
	inTx(t, store, func(tx *db.Tx) error {
		got, err := tx.LastFor(t.Context(), []schedule.ID{id(1), id(2), id(3), id(4), id(5), id(6)})
		must(t, err)
		want := map[schedule.ID]time.Time{
			id(1): midnight.Add(8 * time.Hour), id(2): midnight.Add(time.Hour), id(3): midnight.Add(7 * time.Hour),
			id(5): midnight.Add(9 * time.Hour),
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		got, err = tx.LastFor(t.Context(), nil)
		if len(got) != 0 {
			t.Errorf("of none: %v", got)
		}
		return err
	})
}

// lines are those of the page's runs.
func lines(page db.RunPage) (list []schedule.Run) {
	for _, run := range page.Runs {
		list = append(list, run.Run)
	}
	return list
}

func TestRunsArePagedNewestFirst(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	var all []schedule.Run
	for n := range 25 {
		all = append(all, enqueued(1, midnight.Add(time.Duration(n)*time.Microsecond), int64(n+1)))
	}
	inTx(t, store, func(tx *db.Tx) error {
		return tx.InsertRuns(t.Context(), append([]schedule.Run{enqueued(2, midnight, 99)}, all...))
	})
	slices.SortFunc(all, func(a, b schedule.Run) int { return cmp.Compare(b.JobID, a.JobID) })
	inTx(t, store, func(tx *db.Tx) error {
		var got []schedule.Run
		filter := db.RunFilter{ScheduleID: id(1), Limit: 10}
		for _, want := range []int{10, 10, 5} {
			page, err := tx.ListRuns(t.Context(), filter)
			must(t, err)
			if len(page.Runs) != want || (page.Next == db.RunPlace{}) != (want == 5) {
				t.Errorf("a page of %d, want %d; the next one is at %v", len(page.Runs), want, page.Next)
			}
			got = append(got, lines(page)...)
			filter.Before = page.Next
		}
		if diff := gocmp.Diff(all, got); diff != "" {
			t.Error(diff)
		}
		return nil
	})
}

func TestUnfinishedJobsAreThoseRiverHasNotFinalized(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	var want []int64
	runs := []schedule.Run{enqueued(1, midnight.Add(-time.Hour), 999999)} // River has deleted its job
	for n, state := range []string{"available", "pending", "running", "retryable", "scheduled", "cancelled", "completed", "discarded"} {
		job := one[int64](t, pool, `
			INSERT INTO river_job (kind, args, max_attempts, state, finalized_at)
			VALUES ('k', '{}', 25, $1::river_job_state, CASE WHEN $1 IN ('cancelled', 'completed', 'discarded') THEN now() END) RETURNING id`, state)
		runs = append(runs, enqueued(1, midnight.Add(time.Duration(n)*time.Hour), job))
		if n < 5 {
			want = append(want, job)
		}
	}
	other := one[int64](t, pool, `INSERT INTO river_job (kind, args, max_attempts) VALUES ('k', '{}', 25) RETURNING id`)
	inTx(t, store, func(tx *db.Tx) error { return tx.InsertRuns(t.Context(), append(runs, enqueued(2, midnight, other))) })
	inTx(t, store, func(tx *db.Tx) error {
		got, err := tx.UnfinishedJobs(t.Context(), id(1))
		slices.Sort(got)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		none, err2 := tx.UnfinishedJobs(t.Context(), id(3))
		if len(none) != 0 {
			t.Errorf("a schedule without runs has the jobs %v", none)
		}
		return errors.Join(err, err2)
	})
}

func TestTheLastJobIsThatOfTheNewestRunOfWhateverReason(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	job := func(state string) int64 {
		return one[int64](t, pool, `
			INSERT INTO river_job (kind, args, max_attempts, state, finalized_at)
			VALUES ('k', '{}', 25, $1::river_job_state, CASE WHEN $1 IN ('cancelled', 'completed', 'discarded') THEN now() END) RETURNING id`, state)
	}
	manual := func(n int, at time.Time, job int64) schedule.Run {
		run := enqueued(n, at, job)
		run.Reason = schedule.ReasonManual
		return run
	}
	var runs []schedule.Run
	var cursors []schedule.Cursor
	want := map[schedule.ID]int64{}
	for n, row := range []struct {
		spec, beside string // the states of the jobs; the manual one's is the newer unless its run is an older one
		want         string
	}{
		{spec: "running", want: "spec"}, {spec: "retryable", want: "spec"}, {spec: "available", want: "spec"},
		{spec: "completed"}, {spec: "cancelled"}, {spec: "discarded"}, {},
		{spec: "completed", beside: "running", want: "beside"}, {spec: "running", beside: "completed"}, {beside: "running", want: "beside"},
	} {
		cursor, jobs := schedule.Cursor{ScheduleID: id(n + 1)}, map[string]int64{}
		if row.spec != "" {
			jobs["spec"] = job(row.spec)
			cursor.LastJobID = jobs["spec"]
			runs = append(runs, enqueued(n+1, midnight, jobs["spec"]))
		}
		if row.beside != "" {
			jobs["beside"] = job(row.beside)
			runs = append(runs, manual(n+1, midnight.Add(-time.Hour), jobs["beside"]))
		}
		if row.want != "" {
			want[cursor.ScheduleID] = jobs[row.want]
		}
		cursors = append(cursors, cursor)
	}
	// An older one beside it, and one whose job River has deleted.
	older, newer := job("running"), job("completed")
	runs = append(runs, manual(20, midnight.Add(time.Hour), older), enqueued(20, midnight, newer), enqueued(21, midnight, 1<<40))
	cursors = append(cursors, schedule.Cursor{ScheduleID: id(20), LastJobID: newer}, schedule.Cursor{ScheduleID: id(21), LastJobID: 1 << 40})
	inTx(t, store, func(tx *db.Tx) error { return tx.InsertRuns(t.Context(), runs) })
	inTx(t, store, func(tx *db.Tx) error {
		jobs, err := tx.LastJobs(t.Context(), cursors)
		got := map[schedule.ID]int64{}
		for id, job := range jobs {
			got[id] = job.ID
			if time.Since(job.CreatedAt).Abs() > time.Minute {
				t.Errorf("job %d is from %v", job.ID, job.CreatedAt)
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		return err
	})
}

func TestATransactionIsAllOrNothing(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	mine := errors.New("mine")
	calls := 0
	err := store.InTx(t.Context(), func(tx *db.Tx) error {
		calls++
		must(t, tx.InsertSchedule(t.Context(), sample(1)))
		return mine
	})
	if !errors.Is(err, mine) || calls != 1 {
		t.Errorf("%d calls: %v", calls, err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = store.InTx(t.Context(), func(tx *db.Tx) error {
			must(t, tx.InsertSchedule(t.Context(), sample(1)))
			panic("mine")
		})
	}()
	if n := one[int](t, pool, `SELECT count(*) FROM riverbeat.schedules`); n != 0 {
		t.Errorf("%d schedules are left of transactions that failed", n)
	}
	if n := pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections were not given back", n)
	}

	ctx, cancel := context.WithCancel(t.Context())
	err = store.InTx(ctx, func(tx *db.Tx) error {
		must(t, tx.InsertSchedule(ctx, sample(1)))
		cancel()
		_, err := tx.Now(ctx)
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled transaction: %v", err)
	}
	inTx(t, store, func(tx *db.Tx) error { return tx.InsertSchedule(t.Context(), sample(1)) })
}

func TestATransactionHasItsLimits(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	inTx(t, store, func(tx *db.Tx) error {
		for setting, want := range map[string]string{
			"statement_timeout": "5s", "lock_timeout": "2s", "idle_in_transaction_session_timeout": "5s", "tcp_user_timeout": "5000",
		} {
			if setting == "tcp_user_timeout" && strings.HasPrefix(pool.Config().ConnConfig.Host, "/") {
				want = "0" // a Unix socket has none, and needs none
			}
			if got := one[string](t, tx, `SHOW `+setting); got != want {
				t.Errorf("%s is %s, want %s", setting, got, want)
			}
		}
		return nil
	})
	// The session that a pooler hands to the next client is as it was.
	for _, setting := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		if got := one[string](t, pool, `SHOW `+setting); got != "0" {
			t.Errorf("afterwards %s is still %s", setting, got)
		}
	}
}

func TestADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	insertSamples(t, store, 2)
	met := make(chan struct{})
	results := make(chan error, 2)
	attempts := make(chan int, 10)
	survived := make(chan struct{}, 2)
	for _, order := range [][2]int{{1, 2}, {2, 1}} {
		go func() {
			defer func() { survived <- struct{}{} }()
			attempt := 0
			results <- store.InTx(t.Context(), func(tx *db.Tx) error {
				attempt++
				attempts <- attempt
				if attempt == 2 { // on a busy machine the two might well meet again
					<-survived
				}
				if _, err := tx.LockCursor(t.Context(), id(order[0])); err != nil {
					return err
				}
				if attempt == 1 { // each waits until both hold their first
					select {
					case met <- struct{}{}:
					case <-met:
					}
				}
				_, err := tx.LockCursor(t.Context(), id(order[1]))
				return err
			})
		}()
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := len(attempts); n != 3 {
		t.Errorf("%d attempts, want 3: the victim's second", n)
	}
}

func TestASerializationFailureIsTriedTwiceMore(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	insertSamples(t, store, 1)
	for failures, want := range []int{1, 2, 3, 3} { // attempts
		attempts := 0
		err := store.InTx(t.Context(), func(tx *db.Tx) error {
			attempts++
			execSQL(t, tx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`)
			_, err := tx.Schedule(t.Context(), db.Key{ID: id(1)})
			must(t, err)
			if attempts <= failures {
				execSQL(t, pool, `UPDATE riverbeat.schedules SET description = description || '.'`)
			}
			s := sample(1)
			s.Description = fmt.Sprint("written after ", failures)
			return tx.UpdateSchedule(t.Context(), s)
		})
		if attempts != want {
			t.Errorf("%d failures: %d attempts, want %d", failures, attempts, want)
		}
		if (err != nil) != (failures > 2) || err != nil && !db.IsUnavailable(err) {
			t.Errorf("%d failures: %v", failures, err)
		}
	}
}

func TestAFrozenTransactionsLocksAreFreeAfterSeconds(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	insertSamples(t, store, 1)
	held, freed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(freed)
		<-held
		// The server needs 5 s; this side would give up after 15 s.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := pool.Exec(ctx, `SELECT FROM riverbeat.cursors FOR UPDATE`); err != nil {
			t.Error("wait for the locks: ", err)
		}
	}()
	err := store.InTx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.LockCursor(t.Context(), id(1))
		must(t, err)
		close(held)
		<-freed // frozen
		_, err = tx.Now(t.Context())
		return err
	})
	if err == nil || !db.IsUnavailable(err) {
		t.Errorf("a transaction that thaws: %v, want what a later try may cure", err)
	}
	inTx(t, store, func(tx *db.Tx) error {
		_, err := tx.LockCursor(t.Context(), id(1))
		return err
	})
}

// server is something that listens where a database should, and does this with
// whoever connects.
func server(t *testing.T, do func(net.Conn)) (address string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go do(conn)
		}
	}()
	return listener.Addr().String()
}

func TestErrorsAreToldApart(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	insertSamples(t, store, 1)
	config := pool.Config().ConnConfig
	at := func(t *testing.T, address, user, password, database string) error {
		host, port, err := net.SplitHostPort(address)
		must(t, err)
		p, err := db.OpenPool(t.Context(), fmt.Sprintf("host=%s port=%s user=%s password=%s dbname=%s sslmode=disable", host, port, user, password, database), "test", 1)
		must(t, err)
		defer p.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		return db.NewStore(p).InTx(ctx, func(*db.Tx) error { return nil })
	}
	here := net.JoinHostPort(config.Host, fmt.Sprint(config.Port))
	statement := func(sql string) func(t *testing.T) error {
		return func(t *testing.T) error {
			return store.InTx(t.Context(), func(tx *db.Tx) error {
				_, err := tx.Exec(t.Context(), sql)
				return err
			})
		}
	}
	const unavailable, data, neither = "unavailable", "data", "neither"

	for name, row := range map[string]struct {
		do   func(t *testing.T) error
		want string
	}{
		"connection refused": {func(t *testing.T) error {
			listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			must(t, err)
			must(t, listener.Close())
			return at(t, listener.Addr().String(), "u", "p", "d")
		}, unavailable},
		"a silent server":        {func(t *testing.T) error { return at(t, server(t, func(net.Conn) {}), "u", "p", "d") }, unavailable},
		"a server that hangs up": {func(t *testing.T) error { return at(t, server(t, func(c net.Conn) { c.Close() }), "u", "p", "d") }, unavailable},
		"a server that dies in the middle": {func(t *testing.T) error {
			through := server(t, func(client net.Conn) {
				behind, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", here)
				if err != nil {
					t.Error(err)
					return
				}
				defer client.Close()
				defer behind.Close()
				go func() { _, _ = io.Copy(behind, client) }() // until either side goes
				// The greeting is longer than this, and what BEGIN answers is not read to its end.
				_, _ = io.CopyN(client, behind, 1<<12)
			})
			host, port, err := net.SplitHostPort(through)
			must(t, err)
			p, err := db.OpenPool(t.Context(), fmt.Sprintf("host=%s port=%s user=%s password=%s dbname=%s sslmode=disable", host, port, config.User, config.Password, config.Database), "test", 1)
			must(t, err)
			defer p.Close()
			return db.NewStore(p).InTx(t.Context(), func(tx *db.Tx) error {
				_, err := tx.Exec(t.Context(), `SELECT repeat('x', 100000)`)
				return err
			})
		}, unavailable},
		"wrong password":   {func(t *testing.T) error { return at(t, here, config.User, "wrong", config.Database) }, unavailable},
		"no such database": {func(t *testing.T) error { return at(t, here, config.User, config.Password, "nowhere") }, unavailable},
		"no connection left": {func(t *testing.T) error {
			user := as(t, pool, "riverbeat_reader").Config().User
			execSQL(t, pool, `ALTER ROLE `+user+` CONNECTION LIMIT 0`)
			return at(t, here, user, "test", config.Database)
		}, unavailable},
		"ended by the administrator": {statement(`SELECT pg_terminate_backend(pg_backend_pid())`), unavailable},
		"ended while idle": {func(t *testing.T) error {
			return store.InTx(t.Context(), func(tx *db.Tx) error {
				execSQL(t, pool, `SELECT pg_terminate_backend($1, 10000)`, int32(tx.Conn().PgConn().PID()))
				_, err := tx.Now(t.Context())
				return err
			})
		}, unavailable},
		"statement timeout": {statement(`SET LOCAL statement_timeout = 1; SELECT pg_sleep(5)`), unavailable},
		"lock timeout": {func(t *testing.T) error {
			return store.InTx(t.Context(), func(tx *db.Tx) error {
				_, err := tx.LockCursor(t.Context(), id(1))
				must(t, err)
				return statement(`SET LOCAL lock_timeout = 1; UPDATE riverbeat.cursors SET dirty = true`)(t)
			})
		}, unavailable},
		"deadline": {func(t *testing.T) error {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			return store.InTx(ctx, func(tx *db.Tx) error {
				_, err := tx.Exec(ctx, `SELECT pg_sleep(5)`)
				return err
			})
		}, unavailable},
		"no connection free": {func(t *testing.T) error {
			p, err := db.OpenPool(t.Context(), config.ConnString(), "test", 1)
			must(t, err)
			defer p.Close()
			s := db.NewStore(p)
			return s.InTx(t.Context(), func(*db.Tx) error {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				_, err := s.StillDirty(ctx, db.Dirty{}, 1)
				return err
			})
		}, unavailable},
		"cancelled": {func(t *testing.T) error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := store.LookAhead(ctx)
			return err
		}, neither},
		"a standby": {statement(`SET TRANSACTION READ ONLY; DELETE FROM riverbeat.cursors`), unavailable},
		"a standby's unlogged table": {statement(`DO $$ BEGIN
			RAISE EXCEPTION 'cannot access temporary or unlogged relations during recovery' USING ERRCODE = '0A000'; END $$`), unavailable},
		"a trigger's refusal": {statement(`DO $$ BEGIN RAISE EXCEPTION 'no'; END $$`), data},
		"NUL in jsonb":        {statement(`SELECT '{"a": "\u0000"}'::jsonb`), data},
		"not JSON":            {statement(`SELECT '{'::jsonb`), data},
		"out of range":        {statement(`SELECT 99999::smallint`), data},
		"a CHECK":             {statement(`UPDATE riverbeat.schedules SET job_priority = 9`), data},
		"a name taken":        {statement(`INSERT INTO riverbeat.schedules (name, cron, job_kind) VALUES ('schedule 1', '* * * * *', 'k')`), data},
		"a syntax error":      {statement(`SELEKT`), neither},
		"no such table":       {statement(`SELECT * FROM riverbeat.nothing`), unavailable},
		"nothing":             {statement(`SELECT 1`), neither},
		"an error of our own": {func(*testing.T) error { return schedule.ErrNotFound }, neither},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := row.do(t)
			if (err == nil) != (name == "nothing") {
				t.Fatalf("the error is %v", err)
			}
			for _, err := range []error{err, fmt.Errorf("do it: %w", err)} {
				if got := db.IsUnavailable(err); got != (row.want == unavailable) {
					t.Errorf("IsUnavailable(%v) is %t", err, got)
				}
				if got := db.IsDataError(err); got != (row.want == data) {
					t.Errorf("IsDataError(%v) is %t", err, got)
				}
				if slow := name == "statement timeout" || name == "deadline"; slow && !db.IsTimeout(err) || row.want != unavailable && db.IsTimeout(err) {
					t.Errorf("IsTimeout(%v) is %t", err, !slow)
				}
			}
		})
	}
	t.Run("by name", func(t *testing.T) {
		taken := statement(`INSERT INTO riverbeat.schedules (name, cron, job_kind) VALUES ('schedule 1', '* * * * *', 'k')`)(t)
		check := statement(`UPDATE riverbeat.schedules SET job_priority = 9`)(t)
		if got := db.UniqueViolation(taken); got != "schedules_name_key" {
			t.Errorf("UniqueViolation is %q", got)
		}
		if got := db.CheckViolation(check); got != "schedules_job_priority_check" {
			t.Errorf("CheckViolation is %q", got)
		}
		if db.UniqueViolation(check) != "" || db.CheckViolation(taken) != "" || db.UniqueViolation(nil) != "" || db.CheckViolation(nil) != "" {
			t.Error("a violation that there isn't has a name")
		}
	})
}

func TestTransactionsReadWhatIsCommittedWhateverTheDefaultIs(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	execSQL(t, dbtest.Open(t, url), `DO $$ BEGIN
		EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database());
	END $$`)
	inTx(t, db.NewStore(dbtest.Open(t, url)), func(tx *db.Tx) (err error) {
		var level string
		if err = tx.QueryRow(t.Context(), `SHOW transaction_isolation`).Scan(&level); err == nil && level != "read committed" {
			t.Errorf("it is %q", level)
		}
		return err
	})
}

func TestTheURLMaySayHowManyConnectionsAPoolHas(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]int32{"postgres://h/d": 3, "postgres://h/d?pool_max_conns=7": 7, "host=h pool_max_conns=8": 8} {
		pool, err := db.OpenPool(t.Context(), url, "test", 3)
		must(t, err)
		if got := pool.Config().MaxConns; got != want {
			t.Errorf("%s: %d, want %d", url, got, want)
		}
		pool.Close()
	}
}

func TestAPoolNeverShowsItsPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://u:s3cret@127.0.0.1:port/d", "postgres://u:s3cret@127.0.0.1:5432/d?sslmode=nonsense", "host=h password=s3cret port=x",
		"host=h password = s3cret port=x", "postgres://u:x@s3cret%zz@host/d", `password=x\ s3cret port=x`,
	} {
		_, err := db.OpenPool(t.Context(), url, "test", 1)
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v", err)
		}
	}
}

func TestAStoreAnswersWhenItsDatabaseDoes(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	must(t, store.Ping(t.Context()))
	if name := one[string](t, pool, `SELECT current_setting('application_name')`); name != "riverbeat-test" {
		t.Errorf("application_name is %q", name)
	}
	pool.Close()
	if err := store.Ping(t.Context()); err == nil {
		t.Error("a closed pool answers")
	}
}

func TestANotifyIsHeardOnItsChannel(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	conn, err := pool.Acquire(t.Context())
	must(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), `LISTEN "a channel"`)
	must(t, err)
	must(t, store.Notify(t.Context(), "another", "1"))
	must(t, store.Notify(t.Context(), "a channel", "2"))
	n, err := conn.Conn().WaitForNotification(t.Context())
	must(t, err)
	if n.Payload != "2" {
		t.Errorf("heard %q", n.Payload)
	}
}
