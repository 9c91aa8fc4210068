package db_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// dates are those that a calendar takes.
var dates = rapid.Custom(func(t *rapid.T) schedule.Date {
	return schedule.DateOf(time.Unix(rapid.Int64Range(0, 253300000000).Draw(t, "s"), 0).UTC())
})

// calendars draws any calendar that is valid, its zone aside: to the store that is
// text.
func calendars(name string) *rapid.Generator[*schedule.Calendar] {
	days := rapid.Custom(func(t *rapid.T) schedule.DayRange {
		from := dates.Draw(t, "from")
		to := schedule.DateOf(time.Date(from.Year, from.Month, from.Day+rapid.IntRange(0, 365).Draw(t, "days"), 0, 0, 0, 0, time.UTC))
		return schedule.DayRange{From: from, To: to, Name: texts(120).Draw(t, "name")}
	})
	return rapid.Custom(func(t *rapid.T) *schedule.Calendar {
		return &schedule.Calendar{
			Namespace: rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`).Draw(t, "namespace"), Name: name,
			Timezone: names(64).Draw(t, "timezone"), Weekends: rapid.Bool().Draw(t, "weekends"),
			Days: rapid.SliceOfN(days, 0, 20).Draw(t, "days"),
		}
	})
}

func TestACalendarIsReadBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		name := fmt.Sprintf("c-%d", n)
		first, second := calendars(name).Draw(rt, "first"), calendars(name).Draw(rt, "second")
		second.Namespace = first.Namespace
		key := db.CalendarKey{Namespace: first.Namespace, Name: name}
		must(t, store.InTx(t.Context(), func(tx *db.Tx) error {
			if err := tx.InsertCalendar(t.Context(), first); err != nil {
				return err
			}
			got, err := tx.Calendar(t.Context(), key)
			if err != nil {
				return err
			}
			ignore := cmpopts.IgnoreFields(schedule.Calendar{}, "Version", "CreatedAt", "UpdatedAt")
			if diff := gocmp.Diff(first, got, ignore, cmpopts.EquateEmpty()); diff != "" {
				rt.Errorf("inserted and read back:\n%s", diff)
			}
			if err := tx.UpdateCalendar(t.Context(), second); err != nil {
				return err
			}
			if got, err = tx.LockCalendar(t.Context(), key); err != nil {
				return err
			}
			if diff := gocmp.Diff(second, got, ignore, cmpopts.EquateEmpty()); diff != "" {
				rt.Errorf("updated and read back:\n%s", diff)
			}
			return nil
		}))
	})
}

func TestADefinitionComesWithTheCalendarsOfItsNamespaceThatItNames(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	execSQL(t, pool, `INSERT INTO riverbeat.calendars (namespace, name, days) VALUES
		('default', 'a', '[{"from": "2026-01-01"}]'), ('other', 'a', '[]'), ('default', 'b', '[]'), ('default', 'unused', '[]')`)
	insert(t, pool, "plain")
	insert(t, pool, "two", "exclude", "'{b,gone,a}'")
	insert(t, pool, "elsewhere", "namespace", "'other'", "exclude", "'{a}'")
	want := map[string]string{"plain": "", "two": "default/b default/a", "elsewhere": "other/a"}
	named := func(s *schedule.Schedule) string {
		var list []string
		for _, c := range s.Calendars {
			list = append(list, c.Namespace+"/"+c.Name)
		}
		return strings.Join(list, " ")
	}
	must(t, store.InTx(t.Context(), func(tx *db.Tx) error {
		var ids []schedule.ID
		for name := range want {
			status, err := tx.Schedule(t.Context(), db.Key{ID: schedule.ID(one[[16]byte](t, pool, `SELECT id FROM riverbeat.schedules WHERE name = $1`, name))})
			if err != nil {
				return err
			}
			if got := named(&status.Schedule); got != want[name] {
				t.Errorf("%s, read alone, has %q, want %q", name, got, want[name])
			}
			ids = append(ids, status.Schedule.ID)
		}
		definitions, err := tx.Definitions(t.Context(), ids)
		for _, s := range definitions {
			if got := named(s); got != want[s.Name] {
				t.Errorf("%s has %q, want %q", s.Name, got, want[s.Name])
			}
		}
		return err
	}))
}

func TestAChangeOfACalendarMarksTheSchedulesThatNameIt(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	prepare := func(t *testing.T) {
		t.Helper()
		execSQL(t, pool, `DELETE FROM riverbeat.schedules; DELETE FROM riverbeat.calendars`)
		execSQL(t, pool, `INSERT INTO riverbeat.calendars (name) VALUES ('a'), ('b')`)
		insert(t, pool, "plain")
		insert(t, pool, "names a", "exclude", "'{a}'")
		insert(t, pool, "names b", "exclude", "'{b}'")
		insert(t, pool, "names both", "exclude", "'{b,a}'")
		insert(t, pool, "names c", "exclude", "'{c}'")
		insert(t, pool, "elsewhere", "namespace", "'other'", "exclude", "'{a}'")
		for _, name := range []string{"plain", "names a", "names b", "names both", "names c", "elsewhere"} {
			plan(t, pool, name, time.Hour)
		}
	}
	for change, want := range map[string]string{
		`UPDATE riverbeat.calendars SET weekends = true WHERE name = 'a'`:                      "names a, names both",
		`UPDATE riverbeat.calendars SET timezone = 'Asia/Tokyo' WHERE name = 'b'`:              "names b, names both",
		`UPDATE riverbeat.calendars SET days = '[{"from": "2026-12-25"}]'`:                     "names a, names b, names both",
		`UPDATE riverbeat.calendars SET days = days, weekends = weekends, timezone = timezone`: "",
		`UPDATE riverbeat.calendars SET version = 7, updated_at = now()`:                       "",
		`INSERT INTO riverbeat.calendars (name) VALUES ('c'), ('d')`:                           "names c",
		`INSERT INTO riverbeat.calendars (namespace, name) VALUES ('other', 'a')`:              "elsewhere",
	} {
		t.Run(change, func(t *testing.T) {
			prepare(t)
			announced := heard(t, pool)
			execSQL(t, pool, change)
			got := one[string](t, pool, `
				SELECT coalesce(string_agg(s.name, ', ' ORDER BY s.name), '')
				FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id
				WHERE c.dirty AND c.next_run_at IS NULL AND c.fire_at IS NULL`)
			if got != want {
				t.Errorf("marked are %q, want %q", got, want)
			}
			if dirty := one[int](t, pool, `SELECT count(*) FROM riverbeat.cursors WHERE dirty`); dirty != len(strings.FieldsFunc(want, func(r rune) bool { return r == ',' })) {
				t.Errorf("%d cursors are dirty", dirty)
			}
			if diff := gocmp.Diff(want != "", strings.Join(announced(), "") == "{}"); diff != "" {
				t.Error("announced: ", diff)
			}
		})
	}
}

func TestWhatWasDueWhenACalendarChangedIsAccountedFor(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	execSQL(t, pool, `INSERT INTO riverbeat.calendars (name) VALUES ('a')`)
	insert(t, pool, "due", "exclude", "'{a}'")
	plan(t, pool, "due", -time.Minute)
	insert(t, pool, "later", "exclude", "'{a}'")
	plan(t, pool, "later", time.Minute)
	execSQL(t, pool, `UPDATE riverbeat.calendars SET weekends = true`)
	if got := missed(t, pool, "due"); got != "default schedule missed superseded t" {
		t.Errorf("the ledger has %q", got)
	}
	if got := missed(t, pool, "later"); got != "" {
		t.Errorf("what wasn't due is in the ledger: %q", got)
	}
}

// What has run, or was let pass, doesn't run again because a calendar changed.
func TestASingleInstantThatIsOverStaysOver(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	execSQL(t, pool, `INSERT INTO riverbeat.calendars (name) VALUES ('a')`)
	rows := map[string]struct {
		at, cursor string
		marked     bool
	}{
		"ran":             {"now() - interval '1 day'", "state = 'completed', last_run_at = now()", false},
		"ran a day early": {"now() + interval '1 hour'", "state = 'completed', last_run_at = now()", false},
		"passed paused":   {"now() - interval '1 day'", "state = 'completed'", false},
		"taken away":      {"now() + interval '1 day'", "state = 'completed'", true},
		"to come":         {"now() + interval '1 day'", "next_run_at = now() + interval '1 day', fire_at = now() + interval '1 day'", true},
		"moved to later":  {"now() - interval '1 day'", "next_run_at = now() + interval '1 day', fire_at = now() + interval '1 day'", true},
		"invalid":         {"now() + interval '1 day'", "state = 'invalid'", true},
	}
	for name, row := range rows {
		insert(t, pool, name, "cron", "NULL", "at", row.at, "exclude", "'{a}'")
		execSQL(t, pool, `UPDATE riverbeat.cursors c SET dirty = false, `+row.cursor+` FROM riverbeat.schedules s WHERE s.id = c.schedule_id AND s.name = $1`, name)
	}
	execSQL(t, pool, `UPDATE riverbeat.calendars SET weekends = true`)
	for name, row := range rows {
		if dirty := cursor(t, pool, name).Dirty; dirty != row.marked {
			t.Errorf("%s: dirty is %t, want %t", name, dirty, row.marked)
		}
	}
}

func TestACalendarInUseStays(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	execSQL(t, pool, `INSERT INTO riverbeat.calendars (namespace, name) VALUES ('default', 'used'), ('other', 'used'), ('default', 'free')`)
	insert(t, pool, "user", "exclude", "'{used}'")
	remove := func(namespace, name string) error {
		return store.InTx(t.Context(), func(tx *db.Tx) error {
			return tx.DeleteCalendar(t.Context(), db.CalendarKey{Namespace: namespace, Name: name})
		})
	}
	var used *schedule.CalendarUsedError
	if err := remove("default", "used"); !errors.As(err, &used) || used.Schedule != "user" {
		t.Errorf("deleting it: %v", err)
	}
	if _, err := pool.Exec(t.Context(), `TRUNCATE riverbeat.calendars`); err == nil {
		t.Error("TRUNCATE removed it")
	}
	must(t, remove("other", "used"))
	must(t, remove("default", "free"))
	if _, err := pool.Exec(t.Context(), `UPDATE riverbeat.calendars SET name = 'renamed'`); err == nil {
		t.Error("it was renamed")
	}
	execSQL(t, pool, `DELETE FROM riverbeat.schedules`)
	must(t, remove("default", "used"))
	execSQL(t, pool, `TRUNCATE riverbeat.calendars`)
}

func TestTheTableRefusesDaysThatNobodyCouldRead(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	for days, ok := range map[string]bool{
		`[]`: true, `[{"from": "2026-12-25"}]`: true, `[{"from": "2026-12-25", "to": "2026-12-26", "name": "Christmas"}]`: true,
		`[{"from": "1970-01-01"}, {"from": "9998-12-31"}]`: true, `[{"from": "2028-01-01", "to": "2028-12-31"}]`: true,
		`{}`: false, `null`: false, `"2026-12-25"`: false, `["2026-12-25"]`: false, `[{}]`: false, `[null]`: false,
		`[{"from": "2026-02-30"}]`: false, `[{"from": "2026-2-3"}]`: false, `[{"from": 20260101}]`: false, `[{"to": "2026-01-01"}]`: false,
		`[{"from": "2026-01-02", "to": "2026-01-01"}]`: false, `[{"from": "2026-01-01", "to": "2027-01-02"}]`: false,
		`[{"from": "2026-01-01", "to": null}]`: false, `[{"from": "2026-01-01", "name": 1}]`: false, `[{"from": "2026-01-01", "name": "a\nb"}]`: false,
		`[{"from": "1969-12-31"}]`: false, `[{"from": "9999-01-01"}]`: false, `[{"from": "2026-01-01", "day": 1}]`: false,
		`[` + strings.Repeat(`{"from": "2026-01-01"},`, 4999) + `{"from": "2026-01-01"}]`: true,
		`[` + strings.Repeat(`{"from": "2026-01-01"},`, 5000) + `{"from": "2026-01-01"}]`: false,
	} {
		_, err := pool.Exec(t.Context(), `INSERT INTO riverbeat.calendars (name, days) VALUES ('c', $1)`, days)
		var refused *pgconn.PgError
		switch {
		case ok && err != nil:
			t.Errorf("%.80s is refused: %v", days, err)
		case !ok && (!errors.As(err, &refused) || refused.ConstraintName != "calendars_days_check" && refused.Code != "22008"):
			t.Errorf("%.80s: %v", days, err)
		}
		execSQL(t, pool, `DELETE FROM riverbeat.calendars`)
	}
}
