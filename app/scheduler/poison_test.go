package scheduler_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/scheduler"
)

// counting keeps the sizes of the batches that were tried.
type counting struct {
	scheduler.Inserter
	refuse func(*schedule.Schedule) bool // as River would, before it asks the database

	mu    sync.Mutex
	tried []int
}

func (c *counting) Insert(ctx context.Context, tx pgx.Tx, runs []schedule.Enqueue) ([]int64, error) {
	if len(runs) > 0 {
		c.mu.Lock()
		c.tried = append(c.tried, len(runs))
		c.mu.Unlock()
	}
	for _, run := range runs {
		if c.refuse != nil && c.refuse(run.Schedule) {
			return nil, schedule.Invalid("job", "is refused")
		}
	}
	return c.Inserter.Insert(ctx, tx, runs)
}

// take is what was tried since it was last asked.
func (c *counting) take() (batches, runs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.tried {
		runs += n
	}
	batches, c.tried = len(c.tried), nil
	return batches, runs
}

// poison has the database refuse the jobs whose n is in the list, with the error
// that the statement raises.
func (b *bench) poison(numbers, raise string) {
	b.t.Helper()
	b.exec(`
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN ` + raise + `; RETURN NEW; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON river_job FOR EACH ROW
		WHEN (NEW.args->>'n' IN (` + numbers + `)) EXECUTE FUNCTION refuse()`)
}

// daily leaves n schedules of one run a day that are due now, in this order. They
// are planned, so that the first claim takes them all.
func (b *bench) daily(n int) {
	b.t.Helper()
	b.insert(n, "start_at, every", "now() + n * interval '1 microsecond', interval '1 day'")
	b.exec(`UPDATE riverbeat.cursors SET dirty = false, next_run_at = start_at, fire_at = start_at FROM riverbeat.schedules WHERE id = schedule_id`)
}

// tens are '10', '20' and so on up to '1000'.
var tens = func() string {
	var list []string
	for n := range 100 {
		list = append(list, fmt.Sprintf("'%d'", 10*n+10))
	}
	return strings.Join(list, ", ")
}()

func TestOnePoisonedRowOfAThousandCostsAFewMoreTransactions(t *testing.T) {
	for _, row := range []struct {
		numbers       string
		poisoned      int
		batches, runs int // at most
	}{
		// The batch, and two halves at each of ten levels.
		{"'10'", 1, 21, 3000}, {"'500'", 1, 21, 3000}, {"'1000'", 1, 21, 3000}, {"'333', '777'", 2, 40, 5000},
		{tens, 100, 1000, 15_000},
	} {
		t.Run(fmt.Sprint(row.poisoned, row.numbers[:4]), func(t *testing.T) {
			b := setup(t)
			b.poison(row.numbers, `RAISE EXCEPTION 'poisoned' USING ERRCODE = 'untranslatable_character'`)
			b.daily(1000)
			inserter := &counting{Inserter: b.inserter()}
			s := b.start(nil, inserter)
			b.becomes("all are dealt with", `SELECT count(*) = 1000 FROM riverbeat.cursors WHERE run_count = 1 OR state = 'invalid'`)
			b.equals("jobs", 1000-row.poisoned, `SELECT count(*) FROM river_job`)
			b.equals("set aside", row.poisoned, `SELECT count(*) FROM riverbeat.cursors WHERE state = 'invalid' AND state_reason LIKE '%poisoned%'`)
			b.equals("occurrences with one line each", 1000, `SELECT count(*) FROM riverbeat.runs WHERE outcome = 'enqueued' OR why = 'invalid'`)
			batches, runs := inserter.take()
			t.Logf("%d batches, %d runs", batches, runs)
			if batches > row.batches || runs > row.runs {
				t.Errorf("%d batches of %d runs together", batches, runs)
			}

			// The next thousand are one batch again.
			b.exec(`INSERT INTO riverbeat.schedules (name, at, job_kind) SELECT 'again' || n, now(), 'noop' FROM generate_series(1, 1000) AS n`)
			s.Notify(schedule.Change{}, schedule.PathNotify)
			b.start(func(c *scheduler.Config) {}, inserter)
			b.becomes("they have run", `SELECT count(*) = $1::int FROM river_job`, 2000-row.poisoned)
			if batches, runs := inserter.take(); runs != 1000 || batches > 4 {
				t.Errorf("then %d batches of %d runs together", batches, runs)
			}
		})
	}
}

// What PostgreSQL or River's client refuses takes a whole InsertMany with it. The
// table lets none of it through; a row from before a constraint, or one that a
// later River refuses, is one row all the same.
func TestWhatWouldFailAWholeBatchOfJobsIsSetAsideAlone(t *testing.T) {
	for _, row := range []struct {
		claim string
		write string // makes the row n7 of 50 poisonous
		raise string // or the database refuses its job so
	}{
		{claim: "a kind that is empty", write: `job_kind = ''`},
		{claim: "a kind of 128 characters", write: `job_kind = repeat('k', 128)`},
		{claim: "a queue that River doesn't take", write: `job_queue = 'Bad Queue!'`},
		{claim: "a queue of 65 characters", write: `job_queue = repeat('q', 65)`},
		{claim: "an empty queue", write: `job_queue = ''`},
		{claim: "a priority of 0", write: `job_priority = 0`},
		{claim: "a priority of 5", write: `job_priority = 5`},
		{claim: "no attempt", write: `job_max_attempts = 0`},
		{claim: "less than none", write: `job_max_attempts = -1`},
		{claim: "a tag of two letters", write: `job_tags = '{ab}'`},
		{claim: "a tag with a comma", write: `job_tags = '{"one,two"}'`},
		{claim: "a tag of 256 characters", write: `job_tags = ARRAY[repeat('t', 256)]`},
		{claim: "args that aren't an object", write: `job_args = '[7]'`}, // River takes them
		{claim: "NUL in the args", raise: `PERFORM '{"a": "\u0000"}'::jsonb ->> 'a'`},
		{claim: "metadata that aren't JSON", raise: `PERFORM '{"a": '::jsonb`},
		{claim: "a constraint", raise: `RAISE EXCEPTION 'refused' USING ERRCODE = 'check_violation'`},
		{claim: "a number out of range", raise: `PERFORM 100000::smallint`},
		{claim: "a trigger of theirs", raise: `RAISE EXCEPTION 'refused'`},
		{claim: "River's client", write: `job_kind = 'refused'`},
	} {
		t.Run(row.claim, func(t *testing.T) {
			b := setup(t)
			b.exec(`ALTER TABLE riverbeat.schedules DROP CONSTRAINT schedules_job_kind_check, DROP CONSTRAINT schedules_job_queue_check,
				DROP CONSTRAINT schedules_job_priority_check, DROP CONSTRAINT schedules_job_max_attempts_check, DROP CONSTRAINT schedules_job_tags_check,
				DROP CONSTRAINT schedules_job_args_check`)
			b.daily(50)
			set := 1
			switch {
			case row.raise != "":
				b.poison("'7'", row.raise)
			case row.claim == "args that aren't an object":
				set = 0
				fallthrough
			default:
				b.exec(fmt.Sprintf(`UPDATE riverbeat.schedules SET %s WHERE name = 'n7'`, row.write))
			}
			b.start(nil, &counting{Inserter: b.inserter(), refuse: func(s *schedule.Schedule) bool { return s.Job.Kind == "refused" }})
			b.becomes("all are dealt with", `SELECT count(*) = 50 FROM riverbeat.cursors WHERE run_count = 1 OR state = 'invalid'`)
			b.equals("jobs", 50-set, `SELECT count(*) FROM river_job`)
			b.equals("set aside", set, `SELECT count(*) FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id
				WHERE state = 'invalid' AND state_reason <> '' AND name = 'n7'`)
			b.equals("lines of the ledger", 50, `SELECT count(*) FROM riverbeat.runs`)
		})
	}
}

// What may pass by itself sets nothing aside and is tried again.
func TestWhatMayPassByItselfIsTriedAgain(t *testing.T) {
	for _, row := range []struct{ claim, raise string }{
		{"a deadlock", `RAISE EXCEPTION 'for now' USING ERRCODE = '40P01'`},
		{"a serialization failure", `RAISE EXCEPTION 'for now' USING ERRCODE = '40001'`},
		{"a statement timeout", `RAISE EXCEPTION 'for now' USING ERRCODE = '57014'`},
		{"a lock timeout", `RAISE EXCEPTION 'for now' USING ERRCODE = '55P03'`},
		{"a full disk", `RAISE EXCEPTION 'for now' USING ERRCODE = '53100'`},
		{"a lost connection", `PERFORM pg_terminate_backend(pg_backend_pid())`},
	} {
		t.Run(row.claim, func(t *testing.T) {
			b := setup(t)
			// A sequence counts what rolls back, too.
			b.exec(`CREATE SEQUENCE tries`)
			b.poison("'7'", `IF nextval('tries') <= 9 THEN `+row.raise+`; END IF`)
			b.insert(50, "at", "now()")
			b.start(nil, nil)
			b.becomes("all have run", `SELECT count(*) = 50 FROM riverbeat.cursors WHERE state = 'completed'`)
			b.equals("jobs", 50, `SELECT count(*) FROM river_job`)
			b.equals("runs", 50, `SELECT count(*) FROM riverbeat.runs WHERE outcome = 'enqueued'`)
		})
	}
}
