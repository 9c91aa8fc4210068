package scheduler_test

import (
	"testing"

	"github.com/riverbeat/riverbeat/app/scheduler"
)

// behind leaves n schedules whose one run was missed an hour ago.
func (b *bench) behind(n int) {
	b.t.Helper()
	b.insert(n, "at", "clock_timestamp() - interval '1 hour'")
	b.exec(`UPDATE riverbeat.cursors SET dirty = false, next_run_at = at, fire_at = at, changed_at = at FROM riverbeat.schedules WHERE id = schedule_id`)
}

func atRate(rate int) func(*scheduler.Config) {
	return func(c *scheduler.Config) { c.Rules.CatchUpRate = rate }
}

func TestWhatWasMissedIsMadeUpForAtItsRateHoweverManySchedulersThereAre(t *testing.T) {
	b := setup(t)
	b.behind(1500)
	for range 3 {
		b.start(atRate(500), nil)
	}
	b.becomes("all are completed", `SELECT count(*) = 1500 FROM riverbeat.cursors WHERE state = 'completed'`)
	b.equals("runs", 1500, `SELECT count(*) FROM riverbeat.runs WHERE reason = 'catch_up' AND outcome = 'enqueued'`)
	b.equals("jobs", 1500, `SELECT count(*) FROM river_job`)
	// A slot has 50 runs and is a tenth of a second behind the one before. Late it may
	// be, but never early.
	b.equals("runs before their slot", 0, `
		SELECT count(*) FROM (
			SELECT created_at, min(created_at) OVER () AS first, row_number() OVER (ORDER BY created_at) - 1 AS n FROM riverbeat.runs
		) r WHERE created_at < first + (n / 50) * interval '100 ms'`)
}

func TestWhatIsPunctualGoesBeforeWhatWasMissed(t *testing.T) {
	b := setup(t)
	b.behind(5000)
	b.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind) SELECT 'punctual' || n, '1 second', 'noop' FROM generate_series(1, 20) n`)
	b.start(atRate(2000), nil)
	b.becomes("all that was missed is made up for", `SELECT count(*) = 5000 FROM riverbeat.cursors WHERE state = 'completed'`)
	b.equals("schedules that ran punctually all the while", 20, `
		SELECT count(*) FROM (SELECT FROM riverbeat.runs WHERE schedule_name LIKE 'punctual%' AND reason = 'schedule' GROUP BY schedule_id HAVING count(*) >= 2) p`)
	b.equals("punctual runs later than two seconds", 0, `SELECT count(*) FROM riverbeat.runs WHERE reason = 'schedule' AND created_at > scheduled_for + interval '2 s'`)
}

func TestOneThatOwesManyTakesNoMoreThanItsShareAtOnce(t *testing.T) {
	b := setup(t)
	b.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind, misfire, misfire_limit, start_at, end_at)
		SELECT 'n' || n, '1 second', 'noop', 'all', 200, now() - interval '1 hour', now() - interval '1 minute' FROM generate_series(1, 3) n`)
	b.exec(`UPDATE riverbeat.cursors SET dirty = false, next_run_at = start_at, fire_at = start_at FROM riverbeat.schedules WHERE id = schedule_id`)
	b.start(atRate(300), nil)
	b.becomes("they wait for their slots, each behind its newest run", `
		SELECT count(*) = 3 FROM riverbeat.cursors c WHERE share IS NOT NULL AND fire_at > next_run_at + interval '1 minute'
		AND next_run_at > (SELECT max(scheduled_for) FROM riverbeat.runs r WHERE r.schedule_id = c.schedule_id AND outcome = 'enqueued')`)
	b.becomes("all are completed", `SELECT count(*) = 3 FROM riverbeat.cursors WHERE state = 'completed'`)
	b.equals("made up for", 600, `SELECT count(*) FROM riverbeat.runs WHERE reason = 'catch_up' AND outcome = 'enqueued'`)
	b.equals("the rest, as one stretch each", 3, `SELECT count(*) FROM riverbeat.runs WHERE outcome = 'missed' AND why = 'limit'`)
	b.equals("runs of one schedule in one transaction beyond a slot", 0, `
		SELECT count(*) FROM (SELECT count(*) AS n FROM riverbeat.runs WHERE outcome = 'enqueued' GROUP BY schedule_id, created_at) s WHERE n > 30`)
	b.equals("runs out of order", 0, `
		SELECT count(*) FROM (SELECT scheduled_for < lag(scheduled_for) OVER (PARTITION BY schedule_id ORDER BY job_id) AS back FROM riverbeat.runs WHERE outcome = 'enqueued') o WHERE back`)
	b.equals("seconds without a line", 0, `SELECT 3 * 3540 - sum(count)::int FROM riverbeat.runs`)
}
