package db_test

import (
	"errors"
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// listed are 300 schedules, many of which are equal in what lists are ordered by.
const listed = `
SELECT setseed(0.5);
INSERT INTO riverbeat.schedules (id, namespace, name, description, cron, job_kind, labels, paused)
SELECT lpad(n::text, 32, '0')::uuid, (ARRAY['default', 'other', 'third'])[1 + n % 3],
       CASE WHEN n < 30 THEN 'same' ELSE (ARRAY['even', 'odd%', 'Ünter', 'übel', 'Zoo', '􏿿'])[1 + n % 6] END || ' ' || n / 3,
       CASE WHEN n % 10 = 0 THEN 'Tägliche Post' ELSE '' END, '0 3 * * *', 'kind' || n % 5,
       jsonb_build_object('team', n % 4 || '', 'all', 'yes'), n % 7 = 0
FROM generate_series(1, 300) n;
UPDATE riverbeat.cursors c
SET state = CASE WHEN s.paused THEN 'active' WHEN s.name LIKE '%1' THEN 'completed' WHEN s.name LIKE '%2' THEN 'invalid' ELSE 'active' END,
    next_run_at = '2027-01-01', fire_at = timestamptz '2027-01-01' + (random() * 10)::integer * interval '1 hour', dirty = false
FROM riverbeat.schedules s WHERE s.id = c.schedule_id;
UPDATE riverbeat.cursors c SET fire_at = NULL, next_run_at = NULL
FROM riverbeat.schedules s WHERE s.id = c.schedule_id AND (s.paused OR c.state <> 'active');
ALTER TABLE riverbeat.schedules DISABLE TRIGGER USER;
UPDATE riverbeat.schedules SET updated_at = timestamptz '2026-01-01' + (random() * 20)::integer * interval '1 day';
ALTER TABLE riverbeat.schedules ENABLE TRIGGER USER`

// labelled is the selector of these labels and values.
func labelled(pairs ...string) (sel schedule.Selector) {
	for i := 0; i < len(pairs); i += 2 {
		sel = append(sel, schedule.Term{Key: pairs[i], Op: schedule.TermIn, Values: []string{pairs[i+1]}})
	}
	return sel
}

func selector(t *testing.T, text string) schedule.Selector {
	t.Helper()
	sel, err := schedule.ParseSelector(text)
	must(t, err)
	return sel
}

// allPages reads a list to its end.
func allPages(t *testing.T, store *db.Store, f db.ListFilter) (names []string, short int, err error) {
	t.Helper()
	for range 2000 {
		var page db.SchedulePage
		if err := store.InTx(t.Context(), func(tx *db.Tx) (err error) {
			page, err = tx.ListSchedules(t.Context(), f)
			return err
		}); err != nil {
			return names, short, err
		}
		for _, status := range page.Schedules {
			names = append(names, status.Schedule.Namespace+" "+status.Schedule.Name)
		}
		if page.Next == nil {
			return names, short, nil
		}
		if len(page.Schedules) < f.Limit {
			short++
		}
		f.After = page.Next
	}
	t.Fatalf("the list has no end: %+v", f)
	return nil, 0, nil
}

func TestPagesOfEveryFilterAndOrderAreTheWholeList(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	execSQL(t, pool, listed)
	filters := []struct {
		filter db.ListFilter
		where  string
	}{
		{db.ListFilter{}, `true`},
		{db.ListFilter{Namespaces: []string{"other"}}, `namespace = 'other'`},
		{db.ListFilter{Namespaces: []string{"other", "third", "nobody"}}, `namespace IN ('other', 'third')`},
		{db.ListFilter{Namespaces: []string{}}, `false`},
		{db.ListFilter{Name: "same 5"}, `name = 'same 5'`},
		{db.ListFilter{Name: "same"}, `false`},
		{db.ListFilter{NamePrefix: "even 1"}, `name LIKE 'even 1%'`},
		{db.ListFilter{NamePrefix: "odd%"}, `starts_with(name, 'odd%')`},
		{db.ListFilter{NamePrefix: "%"}, `false`}, // a sign like any other
		{db.ListFilter{NamePrefix: "\U0010ffff"}, `starts_with(name, E'\U0010FFFF')`},
		{db.ListFilter{NamePrefix: "Ü", Namespaces: []string{"other"}}, `starts_with(name, 'Ü') AND namespace = 'other'`},
		{db.ListFilter{Selector: labelled("team", "2")}, `labels->>'team' = '2'`},
		{db.ListFilter{Selector: labelled("team", "2", "all", "yes")}, `labels->>'team' = '2'`},
		{db.ListFilter{Selector: labelled("team", "2", "all", "no")}, `false`},
		{db.ListFilter{Selector: selector(t, "team in (1,2),all")}, `labels->>'team' IN ('1', '2')`},
		{db.ListFilter{Selector: selector(t, "team!=1,!none")}, `labels->>'team' <> '1'`},
		{db.ListFilter{State: schedule.StateActive}, `NOT paused AND state = 'active'`},
		{db.ListFilter{State: schedule.StatePaused}, `paused AND state = 'active'`},
		{db.ListFilter{State: schedule.StateCompleted}, `state = 'completed'`},
		{db.ListFilter{State: schedule.StateInvalid, Selector: labelled("team", "2")}, `state = 'invalid' AND labels->>'team' = '2'`},
		{db.ListFilter{Kind: "kind3"}, `job_kind = 'kind3'`},
		{db.ListFilter{Search: "GLICHE"}, `description <> ''`},
		{db.ListFilter{Search: "zoo 1"}, `name LIKE 'Zoo 1%'`},
		{db.ListFilter{Namespaces: []string{"default"}, NamePrefix: "even", Kind: "kind0", State: schedule.StateActive},
			`namespace = 'default' AND name LIKE 'even%' AND job_kind = 'kind0' AND NOT paused AND state = 'active'`},
	}
	orders := map[db.ListOrder]string{
		db.OrderID: "", db.OrderName: `s.name COLLATE "C" %s, `, db.OrderNextRunAt: "fire_at %s NULLS LAST, ", db.OrderUpdatedAt: "updated_at %s, ",
	}
	short := 0
	for _, row := range filters {
		for order, by := range orders {
			for _, descending := range []bool{false, true} {
				word := map[bool]string{true: "DESC", false: "ASC"}[descending]
				if by != "" {
					by = fmt.Sprintf(by, word)
				}
				want := one[[]string](t, pool, `
					SELECT coalesce(array_agg(namespace || ' ' || name ORDER BY `+by+` id `+word+`), '{}')
					FROM riverbeat.schedules s JOIN riverbeat.cursors c ON c.schedule_id = s.id WHERE `+row.where)
				by = orders[order]
				f := row.filter
				f.OrderBy, f.Descending = order, descending
				for limit, bounded := range map[int]db.ListFilter{
					7: db.Bounded(f, 0, 9, 1000, 0), 300: f, 1000: db.Bounded(f, 20, 40, 1000, 10), 40: db.Bounded(f, 1000, 1000, 1000, 10),
				} {
					for _, limited := range []bool{false, true} {
						if limited && f.Namespaces == nil {
							continue
						}
						bounded.Limit, bounded.Limited = limit, limited
						got, n, err := allPages(t, store, bounded)
						must(t, err)
						if got == nil {
							got = []string{}
						}
						if diff := gocmp.Diff(want, got); diff != "" {
							t.Fatalf("%+v by %d:\n%s", bounded, limit, diff)
						}
						// Who sees some namespaces alone learns nothing of others.
						if limited && len(f.Namespaces) > 1 && n > 0 {
							t.Errorf("%+v by %d: %d pages are short", bounded, limit, n)
						}
						short += n
					}
				}
			}
		}
	}
	if short == 0 {
		t.Error("no page was short: the bounds aren't tested")
	}
	f := db.Bounded(db.ListFilter{Namespaces: []string{"other", "third"}, OrderBy: db.OrderUpdatedAt, Kind: "kind1", Limit: 50, Limited: true}, 0, 9, 50, 0)
	var invalid *schedule.InvalidError
	if _, _, err := allPages(t, store, f); !errors.As(err, &invalid) {
		t.Errorf("too much to sort: %v", err)
	}
}

func TestSchedulesAreCountedUpToABound(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	execSQL(t, pool, listed)
	execSQL(t, pool, `ANALYZE`)
	for _, row := range []struct {
		filter    db.ListFilter
		where     string
		estimated bool
	}{
		{db.ListFilter{}, `true`, true},
		{db.ListFilter{State: schedule.StateInvalid}, `state = 'invalid'`, false},
		{db.ListFilter{State: schedule.StateActive}, `state = 'active' AND NOT paused`, true},
		{db.ListFilter{Namespaces: []string{"other"}}, `namespace = 'other'`, true},
		{db.ListFilter{Namespaces: []string{"other"}, Name: "same 3"}, `namespace = 'other' AND name = 'same 3'`, false},
		{db.ListFilter{Namespaces: []string{}}, `false`, false},
		{db.ListFilter{Selector: labelled("team", "2")}, `labels->>'team' = '2'`, true},
		{db.ListFilter{Selector: labelled("team", "5")}, `false`, false},
		{db.ListFilter{Selector: labelled("all", "yes"), Kind: "kind1"}, `job_kind = 'kind1'`, true},
	} {
		want := one[int64](t, pool, `SELECT count(*) FROM riverbeat.schedules s JOIN riverbeat.cursors c ON c.schedule_id = s.id WHERE `+row.where)
		for few, estimated := range map[int]bool{50: row.estimated, 1000: false} {
			inTx(t, store, func(tx *db.Tx) error {
				n, guess, err := tx.CountSchedules(t.Context(), db.Bounded(row.filter, 0, 0, 0, few))
				if guess != estimated || !estimated && n != want || estimated && (n < want/2 || n > want*2) {
					t.Errorf("%+v: %d, estimated %v, want %d", row.filter, n, guess, want)
				}
				return err
			})
		}
	}
}

// The table of labels has what the schedules have, whoever writes them.
func TestLabelsAreKeptForLists(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	same := func(after string) {
		t.Helper()
		execSQL(t, pool, after)
		if n := one[int](t, pool, `
			SELECT count(*) FROM riverbeat.schedule_labels l
			FULL JOIN (SELECT e.key, e.value, s.id FROM riverbeat.schedules s CROSS JOIN jsonb_each_text(s.labels) e) s
			    ON (l.key, l.value, l.schedule_id) = (s.key, s.value, s.id)
			WHERE l.key IS NULL OR s.key IS NULL`); n > 0 {
			t.Errorf("after %s %d labels differ", after, n)
		}
	}
	same(`INSERT INTO riverbeat.schedules (name, cron, job_kind, labels) VALUES ('a', '0 3 * * *', 'k', '{"x": "1", "y": ""}'), ('b', '0 3 * * *', 'k', '{}'), ('c', '0 3 * * *', 'k', '{"x": "1"}')`)
	if n := one[int](t, pool, `SELECT count(*) FROM riverbeat.schedule_labels`); n != 3 {
		t.Errorf("%d labels", n)
	}
	same(`UPDATE riverbeat.schedules SET labels = labels || '{"x": "2", "z": "3"}' WHERE name <> 'b'`)
	same(`UPDATE riverbeat.schedules SET paused = true`)
	same(`UPDATE riverbeat.schedules SET labels = '{}' WHERE name = 'a'`)
	same(`DELETE FROM riverbeat.schedules WHERE name = 'c'`)
	same(`UPDATE riverbeat.schedules SET labels = '{"q": "1"}'`)
	same(`TRUNCATE riverbeat.schedules`)
	if n := one[int](t, pool, `SELECT count(*) FROM riverbeat.schedule_labels`); n != 0 {
		t.Errorf("%d labels are left", n)
	}
}
