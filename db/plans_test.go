package db_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// million makes 1,000,000 schedules, planned but for each 1,000th, with a line of the
// ledger each, and the jobs of a tenth of them. Those whose number is below 2,000
// are due; half of the lines are old. A tenth of the schedules is completed.
const million = `
SET LOCAL session_replication_role = replica; -- no triggers
SET LOCAL maintenance_work_mem = '512MB';
-- What takes long and changes no plan here.
DROP INDEX river_job_args_index, river_job_metadata_index;
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT conname FROM pg_constraint WHERE conrelid = 'riverbeat.schedules'::regclass AND contype = 'c' LOOP
        EXECUTE format('ALTER TABLE riverbeat.schedules DROP CONSTRAINT %I', name);
    END LOOP;
    FOR name IN VALUES ('riverbeat.schedules'), ('riverbeat.cursors'), ('riverbeat.runs') LOOP
        EXECUTE format('ALTER TABLE %s SET UNLOGGED', name);
    END LOOP;
END $$;

CREATE TEMPORARY TABLE numbers ON COMMIT DROP AS
SELECT i, lpad(i::text, 32, '0')::uuid AS id, i % 10 = 0 AS once FROM generate_series(0, 999999) i;

INSERT INTO riverbeat.schedules (id, name, cron, at, job_kind)
SELECT id, 'schedule ' || i, CASE WHEN NOT once THEN '0 3 * * *' END, CASE WHEN once THEN now() - interval '2 days' END, 'noop'
FROM numbers;

INSERT INTO riverbeat.cursors (schedule_id, next_run_at, fire_at, dirty, changed_at, planned_version, last_run_at, last_job_id, state)
SELECT id, f.at, f.at, i % 1000 = 1, now() - interval '3 days', 1, now() - interval '2 days', i + 1, CASE WHEN once THEN 'completed' ELSE 'active' END
FROM numbers
CROSS JOIN LATERAL (SELECT CASE WHEN NOT once THEN now() + i * interval '1 ms' + CASE WHEN i < 2000 THEN interval '-2 seconds' ELSE '1 hour' END END AS at) f;

INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, job_id, created_at)
SELECT id, now() - interval '2 days', 'default', 'some name', CASE WHEN i % 100 = 1 THEN 'manual' ELSE 'schedule' END, 'enqueued', i + 1,
       now() - CASE WHEN i % 2 = 1 THEN interval '60 days' ELSE interval '2 days' END + i * interval '1 ms'
FROM numbers;

INSERT INTO river_job (id, kind, args, max_attempts)
SELECT i, 'noop', '{}', 1 FROM generate_series(1, 100000) i;`

// statements remembers what is sent to the database.
type statements struct{ sent []pgx.TraceQueryStartData }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.sent = append(s.sent, data)
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// node is what EXPLAIN says of one step of a plan.
type node struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Hit      int    `json:"Shared Hit Blocks"`
	Read     int    `json:"Shared Read Blocks"`
	Plans    []node `json:"Plans"`
}

// collect gathers the indexes that are used and the tables that are read whole.
func (p node) collect(indexes, scanned map[string]bool) {
	if p.Index != "" {
		indexes[p.Index] = true
	}
	if p.Type == "Seq Scan" {
		scanned[p.Relation] = true
	}
	for _, child := range p.Plans {
		child.collect(indexes, scanned)
	}
}

var errEnough = errors.New("enough")

// The statements are those that the calls send, explained as they are.
func TestWithAMillionSchedulesHotStatementsReadTheirIndexAndLittleElse(t *testing.T) {
	t.Parallel()
	config, err := db.ParseURL(dbtest.URL(t))
	must(t, err)
	traced := &statements{}
	config.ConnConfig.Tracer = traced
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	begun := time.Now()
	must(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), million)
		return err
	}))
	_, err = pool.Exec(t.Context(), `VACUUM ANALYZE`)
	must(t, err)
	t.Log("filled in ", time.Since(begun))
	store := db.NewStore(pool)

	var ids []schedule.ID
	var occurrences []db.Occurrence
	for i := range 1000 {
		ids = append(ids, numbered(i*997+1))
		occurrences = append(occurrences, db.Occurrence{ScheduleID: ids[i], ScheduledFor: time.Now()})
	}
	var cursors []schedule.Cursor
	inTx(t, store, func(tx *db.Tx) (err error) {
		cursors, err = tx.Cursors(t.Context(), ids)
		return err
	})
	var runs []schedule.Run
	for _, one := range ids {
		runs = append(runs, schedule.Run{
			ScheduleID: one, ScheduledFor: time.Now(), Namespace: "default", ScheduleName: "some name",
			Reason: schedule.ReasonSchedule, Outcome: schedule.OutcomeEnqueued, JobID: 1, CreatedAt: time.Now(),
		})
	}

	// within has a call made in a transaction that is then undone.
	within := func(call func(ctx context.Context, tx *db.Tx) error) func(context.Context) error {
		return func(ctx context.Context) error {
			err := store.InTx(ctx, func(tx *db.Tx) error { return cmp.Or(call(ctx, tx), errEnough) })
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		}
	}
	for _, row := range []struct {
		name    string
		call    func(context.Context) error
		indexes string // that may be used
		buffers int    // at the most, in all of its statements together
	}{
		{"claim what is due", within(func(ctx context.Context, tx *db.Tx) error {
			_, _, err := tx.ClaimDue(ctx, 10*time.Second, 1000)
			return err
		}), "cursors_fire_at_idx", 4000},
		{"look ahead", func(ctx context.Context) error {
			_, err := store.LookAhead(ctx)
			return err
		}, "cursors_fire_at_idx", 20},
		{"read definitions", within(func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.Definitions(ctx, ids)
			return err
		}), "schedules_pkey", 5000},
		{"read the last jobs", within(func(ctx context.Context, tx *db.Tx) error {
			// River's table is small here: for 1,000 the planner would read it whole.
			_, err := tx.LastJobs(ctx, cursors[:100])
			return err
		}), "river_job_pkey runs_beside_idx", 1000},
		{"record runs", within(func(ctx context.Context, tx *db.Tx) error { return tx.InsertRuns(ctx, runs) }), "", 30000},
		{"save cursors", within(func(ctx context.Context, tx *db.Tx) error { return tx.SaveCursors(ctx, cursors) }), "cursors_pkey", 30000},
		{"look up the ledger", within(func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.Recorded(ctx, occurrences)
			return err
		}), "runs_pkey", 5000},
		{"read the last runs", within(func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.LastFor(ctx, ids)
			return err
		}), "runs_pkey", 6000},
		{"list runs", within(func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.Runs(ctx, ids[0], time.Time{}, 20)
			return err
		}), "runs_pkey", 10},
		{"claim what is dirty", within(func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.ClaimDirty(ctx, db.Dirty{}, 1000)
			return err
		}), "cursors_dirty_idx", 4000},
		{"claim what is named and dirty", within(func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.ClaimDirty(ctx, db.Dirty{IDs: ids[:10]}, 1000)
			return err
		}), "cursors_dirty_idx cursors_pkey", 1500},
		{"look for what is still dirty", func(ctx context.Context) error {
			_, err := store.StillDirty(ctx, db.Dirty{}, 1000)
			return err
		}, "cursors_dirty_idx", 2000},
		{"look at changes", func(ctx context.Context) error {
			_, err := store.Changes(ctx, ids[:10], false)
			return err
		}, "cursors_pkey schedules_pkey", 100},
		{"look for events", func(ctx context.Context) error {
			_, err := store.Events(ctx, 1<<20, 1<<20, time.Now().Add(-5*time.Second))
			return err
		}, "runs_created_at_idx schedules_changed_in_idx deleted_in_idx river_job_state_and_finalized_at_index", 100},
		{"look for the newest changes", func(ctx context.Context) error {
			_, _, _, err := store.NewestChanges(ctx, 5000)
			return err
		}, "schedules_changed_in_idx", 100},
		{"count what is due", func(ctx context.Context) error {
			_, _, err := store.Backlog(ctx)
			return err
		}, "cursors_fire_at_idx", 3000},
		{"remove old runs", func(ctx context.Context) error {
			_, err := store.RemoveRuns(ctx, time.Time{}, 30*24*time.Hour, 1000)
			return err
		}, "cursors_pkey river_job_pkey runs_beside_idx runs_created_at_idx runs_pkey", 30000},
		{"remove completed schedules", func(ctx context.Context) error {
			_, err := store.RemoveCompleted(ctx, time.Time{}, 24*time.Hour, 1000)
			return err
		}, "cursors_completed_idx river_job_pkey schedules_pkey", 30000},
		{"look for trouble", within(func(ctx context.Context, tx *db.Tx) error {
			minute := time.Now().Add(-time.Minute)
			_, _, _, err := tx.FailedJobs(ctx, schedule.Moment{At: minute}, 1000)
			must(t, err)
			_, _, _, err = tx.CompletedJobs(ctx, schedule.Moment{At: minute}, ids[:10], 20_000)
			must(t, err)
			_, _, _, err = tx.Missed(ctx, db.MissedAt{At: minute}, 1000)
			must(t, err)
			_, _, err = tx.Invalid(ctx, schedule.ID{}, time.Now(), 1000)
			must(t, err)
			_, _, err = tx.Troubled(ctx, db.TroubleKey{}, 1000)
			return err
		}), "river_job_state_and_finalized_at_index runs_missed_idx cursors_invalid_idx cursors_pkey troubles_pkey", 100},
	} {
		traced.sent = nil
		must(t, row.call(t.Context()))
		sent := traced.sent
		// Prepared, a statement is planned for its arguments at first, and later for
		// any arguments.
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			indexes, scanned, buffers := map[string]bool{}, map[string]bool{}, 0
			err := store.InTx(t.Context(), func(tx *db.Tx) error {
				execSQL(t, tx, `SET LOCAL plan_cache_mode = `+mode)
				for _, statement := range sent {
					if verb := strings.ToUpper(strings.Fields(statement.SQL)[0]); verb == "BEGIN" || verb == "COMMIT" || verb == "ROLLBACK" {
						continue
					}
					root := explain(t, tx, statement)
					root.collect(indexes, scanned)
					buffers += root.Hit + root.Read
				}
				return errEnough
			})
			if !errors.Is(err, errEnough) {
				t.Fatalf("%s: %v", row.name, err)
			}
			for index := range indexes {
				if !slices.Contains(strings.Fields(row.indexes), index) {
					t.Errorf("%s (%s) uses %s", row.name, mode, index)
				}
			}
			for _, table := range []string{"schedules", "cursors", "runs", "river_job"} {
				if scanned[table] {
					t.Errorf("%s (%s) reads all of %s", row.name, mode, table)
				}
			}
			if buffers > row.buffers {
				t.Errorf("%s (%s) touches %d buffers, over %d", row.name, mode, buffers, row.buffers)
			}
			t.Logf("%s (%s): %d buffers", row.name, mode, buffers)
		}
	}
}

// explain has the statement prepared and executed as it was sent.
func explain(t *testing.T, tx *db.Tx, statement pgx.TraceQueryStartData) node {
	t.Helper()
	execSQL(t, tx, `PREPARE explained AS `+statement.SQL)
	defer execSQL(t, tx, `DEALLOCATE explained`)
	described, err := tx.Conn().Prepare(t.Context(), "", statement.SQL)
	must(t, err)
	execute := `EXECUTE explained`
	args := []any{pgx.QueryExecModeSimpleProtocol}
	for i, arg := range statement.Args {
		// EXECUTE takes no parameters of its own, so they go as text.
		text, err := tx.Conn().TypeMap().Encode(described.ParamOIDs[i], pgx.TextFormatCode, arg, nil)
		must(t, err)
		if text == nil {
			args = append(args, nil)
		} else {
			args = append(args, string(text))
		}
		execute += string("(,"[min(i, 1)]) + fmt.Sprint("$", i+1)
	}
	if len(statement.Args) > 0 {
		execute += ")"
	}
	var text []byte
	row := tx.QueryRow(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) `+execute, args...)
	must(t, row.Scan(&text))
	var explained []struct{ Plan node }
	must(t, json.Unmarshal(text, &explained))
	return explained[0].Plan
}

// numbered is the id that PostgreSQL reads from the decimal digits of n.
func numbered(n int) (id schedule.ID) {
	for i := 15; n > 0; i-- {
		id[i] = byte(n%10 + n/10%10*16)
		n /= 100
	}
	return id
}
