package app_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

// missedMinutes is a schedule of each minute, of which so many are on one missed
// stretch of the ledger, the last one a moment before the schedule goes on.
func (f *fixture) missedMinutes(t *testing.T, name string, n int) (status *schedule.Status, first, end time.Time) {
	t.Helper()
	s := aSchedule(name)
	s.Spec.Every, s.Spec.Cron = 0, "* * * * *"
	status, err := f.Create(operator(t), s)
	if err != nil {
		t.Fatal(err)
	}
	end = status.Cursor.NextRunAt
	first = end.Add(-time.Duration(n) * time.Minute)
	f.exec(t, `
INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, until, count)
VALUES ($1, $2, 'default', $3, 'schedule', 'missed', 'misfire', $4, $5)`, [16]byte(status.Schedule.ID), first, name, end.Add(-time.Minute), n)
	return status, first, end
}

// covered holds the ledger of a schedule to each minute of a range: it is on one line,
// and those from ran to before until have run.
func (f *fixture) covered(t *testing.T, status *schedule.Status, first, end, ran, until time.Time) {
	t.Helper()
	var wrong, runs, jobs int
	err := f.pool.QueryRow(t.Context(), `
SELECT (SELECT count(*)
        FROM generate_series($2::timestamptz, $3::timestamptz - interval '1 minute', '1 minute') at
        WHERE (SELECT count(*) FROM riverbeat.runs
               WHERE schedule_id = $1 AND at BETWEEN scheduled_for AND coalesce(until, scheduled_for)
                 AND (outcome = 'enqueued') = (at >= $4 AND at < $5)) <> 1),
       (SELECT count(*) FROM riverbeat.runs WHERE schedule_id = $1 AND outcome = 'enqueued'),
       (SELECT count(DISTINCT substring(metadata->>'riverbeat' FROM 'scheduled_for=([^&]*)')) FROM river_job WHERE $6 = ANY(tags))`,
		[16]byte(status.Schedule.ID), first, end, ran, until, "schedule_"+status.Schedule.ID.String()).Scan(&wrong, &runs, &jobs)
	if err != nil {
		t.Fatal(err)
	}
	if want := int(until.Sub(ran) / time.Minute); wrong != 0 || runs != want || jobs != want {
		t.Errorf("%d minutes aren't accounted for; %d runs and %d jobs, want %d", wrong, runs, jobs, want)
	}
}

func TestABackfillThatFailsHalfWayIsFinishedByTheSameCall(t *testing.T) {
	t.Parallel()
	f := setup(t)
	status, first, end := f.missedMinutes(t, "n", 1200)
	before, err := f.Get(operator(t), key(status))
	if err != nil {
		t.Fatal(err)
	}
	f.exec(t, `
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the disk is on fire'; END $$;
CREATE TABLE fire_from AS SELECT timestamptz 'infinity' AS at;`)
	f.exec(t, `UPDATE fire_from SET at = $1`, first.Add(700*time.Minute))
	f.exec(t, `CREATE FUNCTION burns(at timestamptz) RETURNS boolean LANGUAGE sql AS $$ SELECT $1 >= f.at FROM fire_from f $$;
CREATE TRIGGER fire BEFORE INSERT ON riverbeat.runs FOR EACH ROW WHEN (NEW.reason = 'backfill' AND burns(NEW.scheduled_for)) EXECUTE FUNCTION fail()`)

	ask := app.Backfill{Start: first.Add(-time.Second), End: end.Add(time.Hour), Limit: 2000}
	dry, err := f.Backfill(operator(t), key(status), app.Backfill{Start: ask.Start, End: ask.End, Limit: 1, DryRun: true})
	equal(t, "counted", dry, app.Backfilled{Occurrences: 1200, Enqueued: 1200})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Backfill(operator(t), key(status), ask); err == nil {
		t.Fatal("the fire isn't noticed")
	}
	f.covered(t, status, first, end, first, first.Add(500*time.Minute))
	f.exec(t, `DROP TRIGGER fire ON riverbeat.runs`)
	done, err := f.Backfill(operator(t), key(status), ask)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "done", done, app.Backfilled{Occurrences: 1200, Ran: 500, Enqueued: 700})
	f.covered(t, status, first, end, first, end)
	if done, err = f.Backfill(operator(t), key(status), ask); err != nil {
		t.Fatal(err)
	}
	equal(t, "again", done, app.Backfilled{Occurrences: 1200, Ran: 1200})
	after, err := f.Get(operator(t), key(status))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the schedule", after, before)
	equal(t, "announced", len(f.announcements()), 1) // its creation
}

func TestBackfillsAtOnceEnqueueEachRunOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	status, first, end := f.missedMinutes(t, "n", 90)
	var wg sync.WaitGroup
	var mu sync.Mutex
	enqueued := 0
	for i := range 6 {
		wg.Go(func() {
			// They overlap, and together they are all.
			from, to := first.Add(time.Duration(i*10)*time.Minute), first.Add(time.Duration(i*10+40)*time.Minute)
			done, err := f.Backfill(operator(t), key(status), app.Backfill{Start: from, End: to, Limit: 100})
			if err != nil || done.Occurrences != 40 || done.Ran+done.Enqueued != 40 || done.Remaining != 0 {
				t.Errorf("%+v %v", done, err)
			}
			mu.Lock()
			defer mu.Unlock()
			enqueued += done.Enqueued
		})
	}
	wg.Wait()
	equal(t, "enqueued", enqueued, 90)
	f.covered(t, status, first, end, first, end)
}

func TestABackfillPartsWhatWasMissed(t *testing.T) {
	t.Parallel()
	f := setup(t)
	status, first, end := f.missedMinutes(t, "n", 60)
	from, to := first.Add(20*time.Minute), first.Add(30*time.Minute)
	if _, err := f.Backfill(operator(t), key(status), app.Backfill{Start: from, End: to, Limit: 10}); err != nil {
		t.Fatal(err)
	}
	f.covered(t, status, first, end, from, to)
	// The lines before and behind say what they said before.
	var lines string
	if err := f.pool.QueryRow(t.Context(), `
SELECT string_agg(concat_ws(' ', (extract(epoch FROM scheduled_for - $1) / 60)::integer, (extract(epoch FROM until - $1) / 60)::integer, count, reason, why), ', ' ORDER BY scheduled_for)
FROM (SELECT scheduled_for, until, count, reason, why FROM riverbeat.runs WHERE outcome = 'missed') r`, first).Scan(&lines); err != nil {
		t.Fatal(err)
	}
	equal(t, "lines", lines, "0 19 20 schedule misfire, 30 59 30 schedule misfire")
}

func TestABackfillMayRespectTheOverlapPolicy(t *testing.T) {
	t.Parallel()
	f := setup(t)
	status, first, _ := f.missedMinutes(t, "n", 3)
	ask := app.Backfill{Start: first, End: first.Add(time.Hour), Limit: 1, RespectOverlap: true}
	f.exec(t, `UPDATE riverbeat.schedules SET overlap = 'skip'`)
	for i, want := range []app.Backfilled{
		{Occurrences: 3, Enqueued: 1, Remaining: 2}, {Occurrences: 3, Ran: 1, Remaining: 2}, // the job of the first isn't done
		{Occurrences: 3, Ran: 1, Enqueued: 1, Remaining: 1}, {Occurrences: 3, Ran: 2, Enqueued: 1}, {Occurrences: 3, Ran: 3},
	} {
		if i >= 2 {
			f.exec(t, `UPDATE river_job SET state = 'completed', finalized_at = now()`)
		}
		done, err := f.Backfill(operator(t), key(status), ask)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "call", done, want)
	}
}

func TestABackfillIsBoundedAndForThoseWhoSeeTheSchedule(t *testing.T) {
	t.Parallel()
	f := setup(t)
	status, first, end := f.missedMinutes(t, "n", 60)
	backfill := func(ctx context.Context, b app.Backfill) error {
		_, err := f.Backfill(ctx, key(status), b)
		return err
	}
	var invalid *schedule.InvalidError
	for _, b := range []app.Backfill{
		{Start: first, End: end, Limit: 59}, {Start: end.AddDate(-1, 0, 0), End: end, Limit: app.MaxBackfill},
		{Start: end.AddDate(-1, 0, 0), End: end, Limit: app.MaxBackfill, DryRun: true}, {Start: end.AddDate(0, 0, -30), End: end, Limit: app.MaxBackfill},
	} {
		if err := backfill(operator(t), b); !errors.As(err, &invalid) {
			t.Errorf("%+v: %v", b, err)
		}
	}
	for _, c := range []app.Caller{{Scopes: app.AllScopes, Namespaces: []string{}}, {Scopes: app.AllScopes, Namespaces: []string{"other"}}} {
		if err := backfill(app.WithCaller(t.Context(), c), app.Backfill{Start: first, End: end, Limit: 60}); !errors.Is(err, schedule.ErrNotFound) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	f.exec(t, `UPDATE riverbeat.cursors SET state = 'invalid'`)
	if err := backfill(operator(t), app.Backfill{Start: first, End: end, Limit: 60}); !errors.Is(err, schedule.ErrInvalidState) {
		t.Error(err)
	}
	f.covered(t, status, first, end, first, first)
}
