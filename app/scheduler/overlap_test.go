package scheduler_test

import (
	"testing"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// finish has River's job of the schedule's last run completed, or what state says.
func (b *bench) finish(name, state string) {
	b.t.Helper()
	b.exec(`UPDATE river_job SET state = $2::river_job_state, finalized_at = now()
		WHERE id = (SELECT max(job_id) FROM riverbeat.runs WHERE schedule_name = $1)`, name, state)
}

func (b *bench) overlapping(policy string) {
	b.t.Helper()
	b.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind, overlap) VALUES ('n', '1 second', 'noop', $1)`, policy)
}

func TestSkipSkipsUntilTheLastJobIsFinishedOrGone(t *testing.T) {
	for _, end := range []string{"completed", "cancelled", "discarded", "deleted"} {
		t.Run(end, func(t *testing.T) {
			b := setup(t)
			b.overlapping("skip")
			b.start(nil, nil)
			b.becomes("two are skipped", `SELECT count(*) >= 2 FROM riverbeat.runs WHERE outcome = 'skipped' AND why = 'overlap' AND job_id IS NULL AND count = 1`)
			b.equals("runs", 1, `SELECT count(*) FROM river_job`)
			if end == "deleted" {
				b.exec(`DELETE FROM river_job`)
			} else {
				b.finish("n", end)
			}
			b.becomes("it runs again", `SELECT count(*) = 2 FROM riverbeat.runs WHERE outcome = 'enqueued'`)
			b.equals("seconds without a line", 0, `
				SELECT extract(epoch FROM max(scheduled_for) - min(scheduled_for))::int + 1 - count(*)::int FROM riverbeat.runs`)
		})
	}
}

func TestQueueOneHoldsOneUntilTheLastJobIsFinished(t *testing.T) {
	b := setup(t)
	b.overlapping("queue_one")
	b.start(nil, nil)
	b.becomes("two are turned away behind the one that waits", `
		SELECT count(*) >= 2 FROM riverbeat.runs WHERE outcome = 'skipped' AND why = 'queue_full'`)
	b.equals("runs", 1, `SELECT count(*) FROM river_job`)
	b.equals("one waits, the second", 1, `
		SELECT count(*) FROM riverbeat.cursors WHERE held = (SELECT min(scheduled_for) FROM riverbeat.runs) + interval '1 second'`)
	b.finish("n", "completed")
	b.becomes("it runs", `SELECT count(*) = 2 FROM river_job`)
	b.equals("runs that aren't the one that waited", 0, `
		SELECT count(*) FROM riverbeat.runs WHERE outcome = 'enqueued' AND scheduled_for > (SELECT min(scheduled_for) FROM riverbeat.runs) + interval '1 second'`)
	b.becomes("another waits", `SELECT count(*) = 1 FROM riverbeat.cursors WHERE held > (SELECT max(scheduled_for) FROM riverbeat.runs WHERE outcome = 'enqueued')`)
	b.exec(`UPDATE riverbeat.schedules SET paused = true`)
	b.equals("seconds without a line", 0, `
		SELECT extract(epoch FROM max(coalesce(until, scheduled_for)) - min(scheduled_for))::int + 1 - sum(coalesce(count, 1))::int FROM riverbeat.runs`)
}

func TestAJobThatNeverEndsSilencesItsScheduleNoLongerThanItIsStale(t *testing.T) {
	for _, policy := range []string{"skip", "queue_one"} {
		t.Run(policy, func(t *testing.T) {
			b := setup(t)
			b.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind, overlap, overlap_stale_after) VALUES ('n', '1 second', 'noop', $1, '2 s')`, policy)
			b.start(nil, nil)
			b.becomes("it has run three times", `SELECT count(*) = 3 FROM river_job`)
			b.equals("runs less than two seconds apart", 0, `
				SELECT count(*) FROM (SELECT created_at - lag(created_at) OVER (ORDER BY created_at) AS apart FROM river_job) a WHERE apart < interval '2 s'`)
			b.becomes("some were turned away", `SELECT count(*) >= 2 FROM riverbeat.runs WHERE outcome = 'skipped'`)
		})
	}
}

func TestARunThatSomebodyAskedForBlocksTheSpecsOwn(t *testing.T) {
	b := setup(t)
	b.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind, overlap) VALUES ('n', clock_timestamp() + interval '1 s', 'noop', 'skip')`)
	b.exec(`WITH j AS (INSERT INTO river_job (kind, args, max_attempts) VALUES ('noop', '{}', 25) RETURNING id)
		INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, job_id)
		SELECT s.id, clock_timestamp(), namespace, name, 'manual', 'enqueued', j.id FROM riverbeat.schedules s, j`)
	b.start(nil, nil)
	b.becomes("it is skipped", `SELECT count(*) = 1 FROM riverbeat.runs WHERE outcome = 'skipped' AND why = 'overlap'`)
	b.equals("jobs", 1, `SELECT count(*) FROM river_job`)
}

func TestOfSeveralRunsInOneBatchOneRuns(t *testing.T) {
	b := setup(t)
	for _, policy := range []string{"skip", "queue_one"} {
		b.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind, misfire, overlap, start_at, end_at)
			VALUES ($1, '1 second', 'noop', 'all', $1, now() - interval '60 s', now() - interval '30 s')`, policy)
	}
	b.exec(`UPDATE riverbeat.cursors SET dirty = false, next_run_at = start_at, fire_at = start_at FROM riverbeat.schedules WHERE id = schedule_id`)
	b.start(nil, nil)
	b.becomes("one is completed, the other waits", `SELECT count(*) = 1 AND count(held) = 1 FROM riverbeat.cursors
		WHERE fire_at IS NOT NULL AND (SELECT count(*) FROM riverbeat.cursors WHERE state = 'completed') = 1`)
	b.equals("jobs", 2, `SELECT count(*) FROM river_job`)
	b.equals("skipped", 29+28, `SELECT sum(count) FROM riverbeat.runs WHERE outcome = 'skipped'`)
	b.equals("lines of those", 2, `SELECT count(*) FROM riverbeat.runs WHERE outcome = 'skipped'`)
	b.finish("queue_one", "completed")
	b.becomes("the one that waited has run", `SELECT count(*) = 2 FROM riverbeat.cursors WHERE state = 'completed' AND held IS NULL`)
	b.equals("jobs", 3, `SELECT count(*) FROM river_job`)
}

func TestAnEditToAllowReleasesWhatWaits(t *testing.T) {
	b := setup(t)
	b.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind, overlap) VALUES ('n', '1 second', 'noop', 'queue_one')`)
	s := b.start(nil, nil)
	b.becomes("one waits", `SELECT held IS NOT NULL FROM riverbeat.cursors`)
	held := one[string](b, `SELECT held::text FROM riverbeat.cursors`)
	b.exec(`UPDATE riverbeat.schedules SET overlap = 'allow'`)
	s.Notify(b.change("n"), schedule.PathNotify)
	b.becomes("it runs", `SELECT count(*) = 1 FROM riverbeat.runs WHERE outcome = 'enqueued' AND scheduled_for = $1::timestamptz`, held)
}
