package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/jobs"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// fixture is a service over a database of its own. For each announcement it
// reads at once, in another session, what the database says of the schedule.
type fixture struct {
	*app.Service
	pool *pgxpool.Pool

	mu        sync.Mutex
	announced []announcement
}

// drop deletes a schedule.
func (f *fixture) drop(ctx context.Context, key app.Key, version int64, cancelJobs bool) error {
	_, err := f.Delete(ctx, key, version, cancelJobs)
	return err
}

type announcement struct {
	schedule.Change
	stored int64     // the version that other sessions see by then; 0: none
	next   time.Time // and its next run
}

// operator is the context of who may do everything.
func operator(t *testing.T) context.Context {
	return app.WithCaller(t.Context(), app.Operator("test"))
}

func setup(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{pool: dbtest.Pool(t)}
	inserter, err := jobs.NewInserter(f.pool)
	if err != nil {
		t.Fatal(err)
	}
	f.Service = app.NewService(db.NewStore(f.pool), inserter, app.Config{Zones: "2026f", Announce: func(c schedule.Change) {
		a := announcement{Change: c}
		err := f.pool.QueryRow(operator(t), `
SELECT coalesce(max(s.version), 0), coalesce(max(c.next_run_at), '0001-01-01T00:00:00Z')
FROM riverbeat.schedules s JOIN riverbeat.cursors c ON c.schedule_id = s.id
WHERE s.id = $1 AND NOT c.dirty AND c.planned_version <= s.version`, [16]byte(c.ID)).Scan(&a.stored, &a.next)
		if err != nil {
			t.Error(err)
		}
		a.next = a.next.UTC()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.announced = append(f.announced, a)
	}})
	return f
}

func (f *fixture) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := f.pool.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// announcements are those since it was last asked.
func (f *fixture) announcements() []announcement {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.announced
	f.announced = nil
	return list
}

func aSchedule(name string) schedule.Schedule {
	s := schedule.New()
	s.Name, s.Spec.Every, s.Job.Kind = name, time.Hour, "report"
	return s
}

func (f *fixture) create(t *testing.T, name string) *schedule.Status {
	t.Helper()
	status, err := f.Create(operator(t), aSchedule(name))
	if err != nil {
		t.Fatal(err)
	}
	f.announcements()
	return status
}

func key(s *schedule.Status) app.Key { return app.Key{ID: s.Schedule.ID} }

func describe(text string) func(*schedule.Schedule) error {
	return func(s *schedule.Schedule) error { s.Description = text; return nil }
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(announcement{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestAChangeIsAnnouncedOnceAfterItsCommit(t *testing.T) {
	t.Parallel()
	f := setup(t)
	created, err := f.Create(operator(t), aSchedule("nightly"))
	if err != nil {
		t.Fatal(err)
	}
	id, next := created.Schedule.ID, created.Cursor.NextRunAt
	equal(t, "next run", next, created.Schedule.CreatedAt.Add(time.Hour))
	steps := []struct {
		name string
		do   func() (*schedule.Status, error)
		want []announcement
	}{
		{"create", func() (*schedule.Status, error) { return created, nil },
			[]announcement{{schedule.Change{Op: schedule.OpCreated, ID: id, Version: 1, NextRunAt: next}, 1, next}}},
		{"edit", func() (*schedule.Status, error) { return f.Edit(operator(t), key(created), 1, describe("d")) },
			[]announcement{{schedule.Change{Op: schedule.OpUpdated, ID: id, Version: 2, NextRunAt: next}, 2, next}}},
		{"the same again", func() (*schedule.Status, error) { return f.Edit(operator(t), key(created), 2, describe("d")) }, nil},
		{"pause", func() (*schedule.Status, error) { return f.Pause(operator(t), key(created), app.AnyVersion, "why") },
			[]announcement{{schedule.Change{Op: schedule.OpUpdated, ID: id, Version: 3}, 3, time.Time{}}}},
		{"pause again", func() (*schedule.Status, error) { return f.Pause(operator(t), key(created), 3, "why") }, nil},
		{"resume", func() (*schedule.Status, error) { return f.Resume(operator(t), key(created), 3) },
			[]announcement{{schedule.Change{Op: schedule.OpUpdated, ID: id, Version: 4, NextRunAt: next}, 4, next}}},
		{"resume again", func() (*schedule.Status, error) { return f.Resume(operator(t), key(created), app.AnyVersion) }, nil},
		{"run", func() (*schedule.Status, error) {
			_, err := f.RunNow(operator(t), key(created), app.RunNow{})
			return nil, err
		}, nil},
		{"delete", func() (*schedule.Status, error) { return nil, f.drop(operator(t), key(created), 4, false) },
			[]announcement{{schedule.Change{Op: schedule.OpDeleted, ID: id, Version: 5}, 0, time.Time{}}}},
	}
	for _, step := range steps {
		if _, err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		equal(t, step.name, f.announcements(), step.want)
	}
}

func TestWhatIsRolledBackIsNotAnnounced(t *testing.T) {
	t.Parallel()
	f := setup(t)
	status := f.create(t, "nightly")
	f.create(t, "taken")
	ctx := operator(t)
	own := errors.New("the caller's own")
	attempts := map[string]func() error{
		"a taken name":     func() error { _, err := f.Create(ctx, aSchedule("taken")); return err },
		"a bad definition": func() error { _, err := f.Create(ctx, schedule.New()); return err },
		"a rename": func() error {
			_, err := f.Edit(ctx, key(status), 0, func(s *schedule.Schedule) error { s.Name = "taken"; return nil })
			return err
		},
		"a stale edit":   func() error { _, err := f.Edit(ctx, key(status), 9, describe("x")); return err },
		"a stale pause":  func() error { _, err := f.Pause(ctx, key(status), 9, ""); return err },
		"a stale delete": func() error { return f.drop(ctx, key(status), 9, false) },
		"the caller's error": func() error {
			_, err := f.Edit(ctx, key(status), 0, func(s *schedule.Schedule) error { s.Name = "x"; return own })
			return err
		},
		"a spec that is over": func() error {
			_, err := f.Edit(ctx, key(status), 0, func(s *schedule.Schedule) error { s.Spec.EndAt = time.Unix(1, 0); return nil })
			return err
		},
		"a delete of nobody": func() error { return f.drop(ctx, app.Key{Namespace: "default", Name: "nobody"}, 0, false) },
		"a caller who has left": func() error {
			gone, cancel := context.WithCancel(ctx)
			cancel()
			return f.drop(gone, key(status), 0, false)
		},
	}
	for name, attempt := range attempts {
		if err := attempt(); err == nil {
			t.Errorf("%s went through", name)
		}
	}

	// A commit may fail, too.
	_, err := f.pool.Exec(ctx, `
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE OR DELETE ON riverbeat.schedules
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
	if err != nil {
		t.Fatal(err)
	}
	for name, attempt := range map[string]func() error{
		"create": func() error { _, err := f.Create(ctx, aSchedule("new")); return err },
		"edit":   func() error { _, err := f.Edit(ctx, key(status), 0, describe("x")); return err },
		"delete": func() error { return f.drop(ctx, key(status), 0, true) },
	} {
		if err := attempt(); err == nil {
			t.Errorf("%s went through", name)
		}
	}
	equal(t, "announced", f.announcements(), nil)
	after, err := f.Get(ctx, key(status))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the schedule", after, status)
}

func TestNobodyNeedsToListen(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	inserter, err := jobs.NewInserter(pool)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.NewService(db.NewStore(pool), inserter, app.Config{Zones: "2026f"}).Create(operator(t), aSchedule("n")); err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentEditsOfOneScheduleComeOneAfterTheOther(t *testing.T) {
	t.Parallel()
	f := setup(t)
	status := f.create(t, "counted")
	const writers, edits = 8, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range edits {
				// Each adds to what it was given: none may be lost.
				_, err := f.Edit(operator(t), key(status), app.AnyVersion, func(s *schedule.Schedule) error {
					s.Spec.Every += time.Second
					s.Description += "x"
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	after, err := f.Get(operator(t), key(status))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "every", after.Schedule.Spec.Every, time.Hour+writers*edits*time.Second)
	equal(t, "description", len(after.Schedule.Description), writers*edits)
	equal(t, "next run", after.Cursor.NextRunAt, after.Schedule.CreatedAt.Add(after.Schedule.Spec.Every))
	var versions []int64
	for _, a := range f.announcements() {
		versions = append(versions, a.Version)
	}
	slices.Sort(versions)
	var want []int64
	for v := int64(2); v <= writers*edits+1; v++ {
		want = append(want, v)
	}
	equal(t, "versions", versions, want)
}

func TestOneOfManyEditsOfTheSameVersionWins(t *testing.T) {
	t.Parallel()
	f := setup(t)
	status := f.create(t, "contested")
	outcomes := make([]error, 20)
	var wg sync.WaitGroup
	for i := range outcomes {
		wg.Go(func() { _, outcomes[i] = f.Edit(operator(t), key(status), 1, describe(fmt.Sprint(i))) })
	}
	wg.Wait()
	equal(t, "announced", len(f.announcements()), 1)
	winner := exactlyOne(t, outcomes, schedule.ErrStale)
	after, err := f.Get(operator(t), key(status))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "version", after.Schedule.Version, 2)
	equal(t, "description", after.Schedule.Description, fmt.Sprint(winner))
}

func TestOneOfManyCreatesOfOneNameWins(t *testing.T) {
	t.Parallel()
	f := setup(t)
	outcomes := make([]error, 20)
	var wg sync.WaitGroup
	for i := range outcomes {
		wg.Go(func() {
			definition := aSchedule("popular")
			definition.Description = fmt.Sprint(i)
			_, outcomes[i] = f.Create(operator(t), definition)
		})
	}
	wg.Wait()
	winner := exactlyOne(t, outcomes, schedule.ErrNameTaken)
	announced := f.announcements()
	equal(t, "announced", len(announced), 1)
	list, err := f.List(operator(t), app.Filter{Limit: 10}, false)
	if err != nil || len(list.Schedules) != 1 {
		t.Fatalf("%d schedules, %v", len(list.Schedules), err)
	}
	equal(t, "description", list.Schedules[0].Schedule.Description, fmt.Sprint(winner))
	equal(t, "id", list.Schedules[0].Schedule.ID, announced[0].ID)
}

// exactlyOne is the index of the only nil; the others are all want.
func exactlyOne(t *testing.T, outcomes []error, want error) int {
	t.Helper()
	winner := -1
	for i, err := range outcomes {
		switch {
		case err == nil && winner >= 0:
			t.Errorf("%d and %d both went through", winner, i)
		case err == nil:
			winner = i
		case !errors.Is(err, want):
			t.Errorf("%d: %v", i, err)
		}
	}
	if winner < 0 {
		t.Fatal("none went through")
	}
	return winner
}

// An edit that waited for another one answers with what it found then, also
// when it had nothing to change.
func TestAnEditThatWaitedAnswersWithWhatIsThere(t *testing.T) {
	t.Parallel()
	f := setup(t)
	status := f.create(t, "n")
	ctx := operator(t)
	other, err := f.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Rollback(context.WithoutCancel(ctx)) }() // after the commit it is nothing
	for _, statement := range []string{
		`UPDATE riverbeat.schedules SET description = 'd', every = '2 hours'`,
		`UPDATE riverbeat.cursors SET dirty = false, next_run_at = '2090-01-01', fire_at = '2090-01-01'`,
	} {
		if _, err := other.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	type outcome struct {
		status *schedule.Status
		err    error
	}
	done := make(chan outcome)
	go func() {
		status, err := f.Edit(ctx, key(status), app.AnyVersion, describe("d"))
		done <- outcome{status, err}
	}()
	for waiting := false; !waiting; {
		if err := f.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	equal(t, "version", got.status.Schedule.Version, 2)
	equal(t, "every", got.status.Schedule.Spec.Every, 2*time.Hour)
	equal(t, "next run", got.status.Cursor.NextRunAt, time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC))
	equal(t, "announced", f.announcements(), nil)
}

// What a change writes into is a copy: what was there stays known, to compare.
func TestAChangeMayWriteIntoWhatItIsGiven(t *testing.T) {
	t.Parallel()
	f := setup(t)
	definition := aSchedule("n")
	definition.Labels, definition.Job.Tags = map[string]string{"a": "1"}, []string{"tag"}
	definition.Job.Args = json.RawMessage(`{"a": 1}`)
	status, err := f.Create(operator(t), definition)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Edit(operator(t), key(status), app.AnyVersion, func(s *schedule.Schedule) error {
		s.Labels["a"], s.Job.Tags[0] = "2", "other"
		copy(s.Job.Args, `{"b": 2}`)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	after, err := f.Get(operator(t), key(status))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "version", after.Schedule.Version, 2)
	equal(t, "labels", after.Schedule.Labels, map[string]string{"a": "2"})
	equal(t, "tags", after.Schedule.Job.Tags, []string{"other"})
	equal(t, "args", string(after.Schedule.Job.Args), `{"b": 2}`)
}

func TestRunsOfAnotherNamespaceAreNotShown(t *testing.T) {
	t.Parallel()
	f := setup(t)
	status := f.create(t, "n")
	run, err := f.RunNow(operator(t), key(status), app.RunNow{})
	if err != nil {
		t.Fatal(err)
	}
	at := run.Run.ScheduledFor
	elsewhere := app.Key{Namespace: "other", ID: status.Schedule.ID}
	for _, gone := range []bool{false, true} {
		if gone {
			if err := f.drop(operator(t), key(status), app.AnyVersion, false); err != nil {
				t.Fatal(err)
			}
		}
		filter := app.RunFilter{Limit: 10}
		if page, err := f.Runs(operator(t), elsewhere, filter); !errors.Is(err, schedule.ErrNotFound) || len(page.Runs) > 0 {
			t.Errorf("gone %v: %v %v", gone, page, err)
		}
		if page, err := f.Runs(operator(t), key(status), filter); err != nil || len(page.Runs) != 1 || page.Next != (app.RunPlace{}) {
			t.Errorf("gone %v: %v %v", gone, page, err)
		}
		for _, c := range []app.Caller{{Scopes: app.AllScopes}, {Scopes: app.AllScopes, Namespaces: []string{"other"}}, {Scopes: app.AllScopes, Namespaces: []string{}}} {
			ctx := app.WithCaller(t.Context(), c)
			sees := c.Namespaces == nil
			if page, err := f.Runs(ctx, key(status), filter); (err == nil) != sees || (len(page.Runs) == 1) != sees {
				t.Errorf("gone %v: %v sees %v %v", gone, c, page, err)
			}
			if page, err := f.AllRuns(ctx, filter); err != nil || (len(page.Runs) == 1) != sees {
				t.Errorf("gone %v: %v sees of all %v %v", gone, c, page, err)
			}
			if _, err := f.Run(ctx, key(status), at); (err == nil) != sees {
				t.Errorf("gone %v: %v reads %v", gone, c, err)
			}
			if _, err := f.CancelRun(ctx, key(status), at); (err == nil) != sees {
				t.Errorf("gone %v: %v cancels %v", gone, c, err)
			}
			if _, err := f.RunNow(ctx, key(status), app.RunNow{}); !sees && !errors.Is(err, schedule.ErrNotFound) {
				t.Errorf("gone %v: %v runs %v", gone, c, err)
			} else if sees && !gone {
				f.exec(t, `DELETE FROM riverbeat.runs WHERE scheduled_for > $1`, at)
			}
		}
	}
}

// An older mark, as of an edit by SQL, may be planned by a dispatch at the very
// moment when somebody renames the schedule.
func TestARenameDoesNotUndoTheDispatchThatItMet(t *testing.T) {
	t.Parallel()
	f := setup(t)
	created, err := f.Create(operator(t), aSchedule("n"))
	if err != nil {
		t.Fatal(err)
	}
	id := [16]byte(created.Schedule.ID)
	exec := func(do func(string, ...any) error, sql string) {
		t.Helper()
		if err := do(sql, id); err != nil {
			t.Fatal(err)
		}
	}
	pool := func(sql string, args ...any) error { _, err := f.pool.Exec(operator(t), sql, args...); return err }
	exec(pool, `UPDATE riverbeat.cursors SET dirty = true WHERE schedule_id = $1`)
	tx, err := f.pool.Begin(operator(t))
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(operator(t))
	dispatch := func(sql string, args ...any) error { _, err := tx.Exec(operator(t), sql, args...); return err }
	exec(dispatch, `UPDATE riverbeat.cursors SET dirty = false, run_count = 1, last_job_id = 77 WHERE schedule_id = $1`)
	renamed := make(chan error)
	go func() {
		_, err := f.Edit(operator(t), app.Key{ID: created.Schedule.ID}, app.AnyVersion, func(s *schedule.Schedule) error {
			s.Name = "renamed"
			return nil
		})
		renamed <- err
	}()
	for waiting := false; !waiting; time.Sleep(5 * time.Millisecond) {
		err := f.pool.QueryRow(operator(t), `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(operator(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-renamed; err != nil {
		t.Fatal(err)
	}
	status, err := f.Get(operator(t), app.Key{ID: created.Schedule.ID})
	if err != nil || status.Cursor.RunCount != 1 || status.Cursor.LastJobID != 77 || status.Schedule.Name != "renamed" {
		t.Errorf("it stands at %+v, %v", status, err)
	}
}

func TestWhatIsPlannedByOlderZoneDataIsMarkedForNewer(t *testing.T) {
	f := setup(t)
	inserter, err := jobs.NewInserter(f.pool)
	if err != nil {
		t.Fatal(err)
	}
	older := app.NewService(db.NewStore(f.pool), inserter, app.Config{Zones: "2025b"})
	zoned := aSchedule("zoned")
	zoned.Spec.Every, zoned.Spec.Cron, zoned.Spec.Timezone = 0, "0 9 * * *", "Europe/Berlin"
	create := func(name string, in schedule.Schedule, want bool) app.Key {
		t.Helper()
		in.Name = name
		status, err := older.Create(operator(t), in)
		if err != nil {
			t.Fatal(err)
		}
		if status.Cursor.NextRunAt.IsZero() || status.Cursor.Dirty != want {
			t.Errorf("%s: its cursor is %+v", name, status.Cursor)
		}
		return app.Key{ID: status.Schedule.ID}
	}
	create("before anybody had newer data", zoned, false)
	if _, err := f.pool.Exec(operator(t), `UPDATE riverbeat.zone_data SET newest = '2026f'`); err != nil {
		t.Fatal(err)
	}
	key := create("since", zoned, true)
	create("of elapsed time", aSchedule(""), false)

	// An edit by one with newer data plans it anew, though only the policy differs.
	if _, err := f.pool.Exec(operator(t), `UPDATE riverbeat.cursors SET next_run_at = next_run_at + interval '1 h', fire_at = fire_at + interval '1 h' WHERE dirty`); err != nil {
		t.Fatal(err)
	}
	status, err := f.Edit(operator(t), key, app.AnyVersion, func(s *schedule.Schedule) error {
		s.MisfireLimit = 7
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if berlin, err := time.LoadLocation("Europe/Berlin"); err != nil || status.Cursor.Dirty || status.Cursor.NextRunAt.In(berlin).Hour() != 9 {
		t.Errorf("%v: edited it is %+v", err, status.Cursor)
	}
}

func TestAWriteIsAnnouncedAloneWhileThatReachesTheSchedulers(t *testing.T) {
	t.Parallel()
	f := setup(t)
	inserter, err := jobs.NewInserter(f.pool)
	if err != nil {
		t.Fatal(err)
	}
	alone := []bool{true}
	s := app.NewService(db.NewStore(f.pool), inserter, app.Config{Zones: "2026f", Alone: func() bool {
		now := alone[0]
		if len(alone) > 1 {
			alone = alone[1:]
		}
		return now
	}})
	conn, err := f.pool.Acquire(operator(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(operator(t), `LISTEN riverbeat_schedules`); err != nil {
		t.Fatal(err)
	}
	// heard is what was announced until now.
	heard := func() (payloads []string) {
		t.Helper()
		if _, err := f.pool.Exec(operator(t), `NOTIFY riverbeat_schedules, 'end'`); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := conn.Conn().WaitForNotification(operator(t))
			if err != nil {
				t.Fatal(err)
			}
			if n.Payload == "end" {
				return payloads
			}
			payloads = append(payloads, n.Payload)
		}
	}
	create := func(name string) {
		t.Helper()
		if _, err := s.Create(operator(t), aSchedule(name)); err != nil {
			t.Fatal(err)
		}
	}
	create("quiet")
	equal(t, "announced by NOTIFY while it isn't needed", len(heard()), 0)
	alone = []bool{false}
	create("loud")
	equal(t, "announced by NOTIFY while it is", len(heard()), 1)
	alone = []bool{true, false}
	create("lost")
	if payloads := heard(); len(payloads) != 1 || !strings.HasPrefix(payloads[0], `{"op":"created","id":"`) {
		t.Errorf("announced by NOTIFY when the other way was lost meanwhile: %v", payloads)
	}
	many := make([]schedule.Change, 101)
	for i := range many {
		many[i] = schedule.Change{Op: schedule.OpUpdated, ID: schedule.ID{byte(i + 1)}, Version: 1}
	}
	s.AnnounceAnew(operator(t), many[:100])
	equal(t, "a hundred changes", len(heard()), 100)
	s.AnnounceAnew(operator(t), many)
	equal(t, "more than a hundred", heard(), []string{"{}"})
	s.AnnounceAnew(operator(t), []schedule.Change{{Op: schedule.OpAsked}})
	equal(t, "no change", len(heard()), 0)
	if _, err := f.pool.Exec(operator(t), `UPDATE riverbeat.schedules SET description = 'by SQL' WHERE name = 'quiet'`); err != nil {
		t.Fatal(err)
	}
	equal(t, "what SQL wrote", len(heard()), 1)
}

// Whoever has lost the answer to a commit may have changed something, and without
// NOTIFY nobody else says so.
func TestWhenNobodyKnowsWhetherAQuietWriteIsDoneEverythingIsLookedAt(t *testing.T) {
	t.Parallel()
	f := setup(t)
	inserter, err := jobs.NewInserter(f.pool)
	if err != nil {
		t.Fatal(err)
	}
	alone := true
	var announced []schedule.Change
	s := app.NewService(db.NewStore(f.pool), inserter, app.Config{
		Zones: "2026f", Alone: func() bool { return alone }, Announce: func(c schedule.Change) { announced = append(announced, c) },
	})
	if _, err := f.pool.Exec(operator(t), `
		CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER leave AFTER INSERT ON riverbeat.schedules DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW WHEN (NEW.name = 'lost') EXECUTE FUNCTION leave()`); err != nil {
		t.Fatal(err)
	}
	create := func(name string) {
		t.Helper()
		if _, err := s.Create(operator(t), aSchedule(name)); err == nil {
			t.Fatal("it went through")
		}
	}
	create("lost")
	equal(t, "announced when the connection was lost in the commit", announced, []schedule.Change{{}})
	announced = nil
	create("") // refused before it was written
	past := aSchedule("past")
	past.Spec.EndAt = time.Unix(1, 0)
	if _, err := s.Create(operator(t), past); err == nil { // and refused afterwards
		t.Fatal("it went through")
	}
	alone = false
	create("lost") // NOTIFY goes with the commit
	equal(t, "announced when nothing was written, or NOTIFY says so", announced, nil)
}
