package db_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

func TestTheVersionOfTheZoneDataIsKept(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	want := db.ZoneData{}
	for _, next := range []db.ZoneData{{Newest: "2025b"}, {Newest: "2026f", Replanned: "2025b"}, {Newest: "2026za", Replanned: "2026za"}} {
		got, err := store.ZoneData(t.Context())
		if err != nil || got != want {
			t.Errorf("it is %+v, %v, want %+v", got, err, want)
		}
		inTx(t, store, func(tx *db.Tx) error {
			held, err := tx.LockZoneData(t.Context())
			if err != nil || held != want {
				t.Errorf("held it is %+v, %v, want %+v", held, err, want)
			}
			return tx.SaveZoneData(t.Context(), next)
		})
		want = next
		inTx(t, store, func(tx *db.Tx) error {
			if newest, err := tx.NewestZoneData(t.Context()); err != nil || newest != want.Newest {
				t.Errorf("the newest is %q, %v", newest, err)
			}
			return nil
		})
	}
	for _, statement := range []string{
		`INSERT INTO riverbeat.zone_data DEFAULT VALUES`, `INSERT INTO riverbeat.zone_data (only_row) VALUES (false)`,
		`UPDATE riverbeat.zone_data SET newest = 'new'`, `UPDATE riverbeat.zone_data SET replanned = '2026F'`,
	} {
		if _, err := pool.Exec(t.Context(), statement); !db.IsDataError(err) {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

// Otherwise a cursor might be placed by older rules behind the back of who has
// newer ones.
func TestWhoRaisesTheVersionWaitsForThoseWhoReadIt(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	raise := func(version string) error {
		return store.InTx(t.Context(), func(tx *db.Tx) error {
			if _, err := tx.LockZoneData(t.Context()); err != nil {
				return err
			}
			return tx.SaveZoneData(t.Context(), db.ZoneData{Newest: version})
		})
	}
	inTx(t, store, func(reader *db.Tx) error {
		_, err := reader.NewestZoneData(t.Context())
		must(t, err)
		inTx(t, store, func(other *db.Tx) error { // readers don't wait for one another
			_, err := other.NewestZoneData(t.Context())
			return err
		})
		begun := time.Now()
		if err := raise("2026f"); !db.IsUnavailable(err) || time.Since(begun) > time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		return nil
	})
	must(t, raise("2026f"))

	// A reader that waits for it sees what it has written.
	read := make(chan string)
	inTx(t, store, func(tx *db.Tx) error {
		_, err := tx.LockZoneData(t.Context())
		must(t, err)
		go func() {
			var newest string
			err := store.InTx(t.Context(), func(tx *db.Tx) (err error) {
				newest, err = tx.NewestZoneData(t.Context())
				return err
			})
			if err != nil {
				t.Error(err)
			}
			read <- newest
		}()
		waitFor(t, tx, `SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
		return tx.SaveZoneData(t.Context(), db.ZoneData{Newest: "2026g"})
	})
	if newest := <-read; newest != "2026g" {
		t.Errorf("it has read %q", newest)
	}
}

func waitFor(t *testing.T, tx *db.Tx, sql string) {
	t.Helper()
	for deadline := time.Now().Add(4 * time.Second); ; time.Sleep(time.Millisecond) {
		var holds bool
		must(t, tx.QueryRow(t.Context(), sql).Scan(&holds))
		if holds {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it never came to be: ", sql)
		}
	}
}

func TestPagesNameEachCursorThatMayDependOnAZone(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	insertSamples(t, store, 7)
	for n := range 7 {
		plan(t, pool, sample(n+1).Name, time.Hour)
	}
	execSQL(t, pool, `UPDATE riverbeat.schedules SET timezone = 'Asia/Tokyo' WHERE name IN ('schedule 2', 'schedule 4', 'schedule 6')`)
	execSQL(t, pool, `UPDATE riverbeat.schedules SET cron = NULL, every = '1 h' WHERE name IN ('schedule 6', 'schedule 7')`)
	execSQL(t, pool, `UPDATE riverbeat.schedules SET exclude = '{off}' WHERE name = 'schedule 7'`)
	execSQL(t, pool, `UPDATE riverbeat.cursors SET dirty = false, next_run_at = now() + interval '1 h'`)
	execSQL(t, pool, `UPDATE riverbeat.cursors SET next_run_at = NULL, fire_at = NULL WHERE schedule_id = $1`, [16]byte(id(4)))
	execSQL(t, pool, `INSERT INTO riverbeat.cursors (schedule_id, changed_at) VALUES ($1, now())`, [16]byte(id(9))) // without a schedule
	var all []schedule.ID
	var counts []int
	var after schedule.ID
	for {
		var zoned []schedule.ID
		var count int
		inTx(t, store, func(tx *db.Tx) (err error) {
			zoned, count, after, _, err = tx.ZonedPage(t.Context(), after, 3)
			return err
		})
		if counts = append(counts, count); count == 0 {
			break
		}
		all = append(all, zoned...)
	}
	if diff := gocmp.Diff([]int{3, 3, 2, 0}, counts); diff != "" {
		t.Error("the pages (-want +got):\n", diff)
	}
	if diff := gocmp.Diff([]schedule.ID{id(2), id(7)}, all); diff != "" {
		t.Error("those that depend on a zone (-want +got):\n", diff)
	}

	inTx(t, store, func(first *db.Tx) error {
		_, err := first.LockCursor(t.Context(), id(2))
		must(t, err)
		inTx(t, store, func(second *db.Tx) error {
			read, err := second.Cursors(t.Context(), []schedule.ID{id(7), id(2), id(8)})
			must(t, err)
			wantIDs(t, "read", read, id(2), id(7))
			free, err := second.LockFreeCursors(t.Context(), []schedule.ID{id(7), id(2), id(8)})
			wantIDs(t, "locked", free, id(7))
			return err
		})
		return nil
	})
}

// What others have planned provisionally isn't even read by one with older data.
func TestAMillionProvisionalPlansDoNotSlowTheSearchForUnplannedOnes(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	execSQL(t, pool, `
		INSERT INTO riverbeat.cursors (schedule_id, changed_at, dirty, next_run_at, fire_at)
		SELECT gen_random_uuid(), now() - n * interval '1 s', true, now() + n * interval '1 min', now() + n * interval '1 min' FROM generate_series(1, 20000) n`)
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			execSQL(t, pool, `ANALYZE riverbeat.cursors`)
		}
		for _, query := range []string{
			`SELECT * FROM riverbeat.cursors c WHERE c.dirty AND c.next_run_at IS NULL ORDER BY c.changed_at LIMIT 1000 FOR UPDATE SKIP LOCKED`,
			`SELECT c.schedule_id FROM riverbeat.cursors c WHERE c.dirty AND c.next_run_at IS NULL ORDER BY c.changed_at LIMIT 1000`,
		} {
			if plan := one[string](t, pool, `EXPLAIN (FORMAT JSON) `+query); !strings.Contains(plan, "cursors_unplanned_idx") {
				t.Errorf("%s:\n%s", query, plan)
			}
		}
	}
	for _, row := range []struct {
		dirty db.Dirty
		want  bool
	}{{db.Dirty{}, true}, {db.Dirty{Unplanned: true}, false}, {db.Dirty{Unplanned: true, IDs: []schedule.ID{id(1)}}, false}} {
		if got, err := store.StillDirty(t.Context(), row.dirty, 1); err != nil || (len(got) > 0) != row.want {
			t.Errorf("StillDirty(%+v) is %v, %v", row.dirty, got, err)
		}
	}
	execSQL(t, pool, `INSERT INTO riverbeat.cursors (schedule_id, changed_at) VALUES ($1, now()), ($2, now())`, [16]byte(id(2)), [16]byte(id(1)))
	inTx(t, store, func(tx *db.Tx) error {
		claimed, err := tx.ClaimDirty(t.Context(), db.Dirty{Unplanned: true}, 10)
		must(t, err)
		slices.SortFunc(claimed, func(a, b schedule.Cursor) int { return strings.Compare(a.ScheduleID.String(), b.ScheduleID.String()) })
		wantIDs(t, "unplanned", claimed, id(1), id(2))
		claimed, err = tx.ClaimDirty(t.Context(), db.Dirty{Unplanned: true, IDs: []schedule.ID{id(2)}}, 10)
		wantIDs(t, "unplanned and named", claimed, id(2))
		return err
	})
}
