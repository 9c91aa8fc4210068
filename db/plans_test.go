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
// are due; half of the lines are old. A tenth of the schedules is completed, a hundredth
// of the others paused, every 5,003rd invalid. Half of them is in one namespace, as many of
// one kind, the others are in a thousand, of a thousand kinds; all have labels.
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
    FOR name IN VALUES ('riverbeat.schedules'), ('riverbeat.cursors'), ('riverbeat.runs'), ('riverbeat.schedule_labels'), ('riverbeat.revisions'), ('riverbeat.idempotency_keys') LOOP
        EXECUTE format('ALTER TABLE %s SET UNLOGGED', name);
    END LOOP;
END $$;

CREATE TEMPORARY TABLE numbers ON COMMIT DROP AS
SELECT i, lpad(i::text, 32, '0')::uuid AS id, i % 10 = 0 AS once, i % 100 = 99 AS idle, i % 5003 = 5002 AS broken FROM generate_series(0, 999999) i;

INSERT INTO riverbeat.schedules (id, namespace, name, cron, at, job_kind, labels, paused, updated_at)
SELECT id, CASE WHEN i % 2 = 0 THEN 'default' ELSE 'team-' || i % 1000 END, 'schedule ' || i, CASE WHEN NOT once THEN '0 3 * * *' END,
       CASE WHEN once THEN now() - interval '2 days' END, CASE WHEN i % 4 < 2 THEN 'noop' ELSE 'kind-' || i / 7 % 1000 END,
       jsonb_build_object('team', i % 50 || '', 'tenant', i % 20011 || ''), idle, now() - i % 100000 * interval '1 second'
FROM numbers;
INSERT INTO riverbeat.schedule_labels (key, value, schedule_id)
SELECT l.key, l.value, s.id FROM riverbeat.schedules s CROSS JOIN jsonb_each_text(s.labels) l;

INSERT INTO riverbeat.cursors (schedule_id, next_run_at, fire_at, dirty, changed_at, planned_version, last_run_at, last_job_id, state)
SELECT id, f.at, f.at, i % 1000 = 1, now() - interval '3 days', 1, now() - interval '2 days', i + 1, CASE WHEN once THEN 'completed' WHEN broken THEN 'invalid' ELSE 'active' END
FROM numbers
CROSS JOIN LATERAL (SELECT CASE WHEN NOT once AND NOT idle AND NOT broken THEN now() + CASE WHEN i < 2000 OR i % 2 = 0 THEN i ELSE 500000 END * interval '1 ms' + CASE WHEN i < 2000 THEN interval '-2 seconds' ELSE '1 hour' END END AS at) f;

INSERT INTO riverbeat.runs (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, job_id, created_at)
SELECT id, now() - interval '2 days', CASE WHEN i % 2 = 0 THEN 'default' ELSE 'team-' || i % 1000 END, 'some name', CASE WHEN i % 100 = 1 THEN 'manual' ELSE 'schedule' END, 'enqueued', i + 1,
       now() - CASE WHEN i % 2 = 1 THEN interval '60 days' ELSE interval '2 days' END + i * interval '1 ms'
FROM numbers;

INSERT INTO riverbeat.revisions (schedule_id, version, namespace, op, how, actor, changed_at, definition, was)
SELECT id, 1, 'default', 'created', 'sql', 'somebody', now() - CASE WHEN i % 2 = 1 THEN interval '100 days' ELSE interval '2 days' END + i * interval '1 ms',
       CASE WHEN i = 1 THEN (SELECT to_jsonb(s) FROM riverbeat.schedules s LIMIT 1) ELSE '{}' END, '{}'
FROM numbers WHERE i < 200000;
INSERT INTO riverbeat.idempotency_keys (caller, key, request, status, headers, created_at)
SELECT '00000000-0000-0000-0000-000000000000', i, sha256('x'), 200, '{}', now() - interval '1 day' + (i - 50000) * interval '1 s' FROM generate_series(0, 99999) i;

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

// listFilters are the filters that a list may have, each alone and some together, of
// values that many have and few.
var listFilters = map[string]db.ListFilter{
	"all":                        {},
	"a large namespace":          {Namespaces: []string{"default"}},
	"a small namespace":          {Namespaces: []string{"team-7"}},
	"a namespace, limited to it": {Namespaces: []string{"team-7"}, Limited: true},
	"a name":                     {Name: "schedule 77777"},
	"a wide prefix":              {NamePrefix: "schedule"},
	"a prefix":                   {NamePrefix: "schedule 77"},
	"a narrow prefix":            {NamePrefix: "schedule 7777"},
	"a common label":             {Selector: labelled("team", "7")},
	"a rare label":               {Selector: labelled("tenant", "7777")},
	"two labels":                 {Selector: labelled("team", "7", "tenant", "7")},
	"a common kind":              {Kind: "noop"},
	"a rare kind":                {Kind: "kind-7"},
	"active":                     {State: schedule.StateActive},
	"paused":                     {State: schedule.StatePaused},
	"completed":                  {State: schedule.StateCompleted},
	"invalid":                    {State: schedule.StateInvalid},
	"invalid with a label":       {State: schedule.StateInvalid, Selector: labelled("team", "7")},
	"paused of a kind":           {State: schedule.StatePaused, Kind: "noop"},
	"active of a namespace":      {State: schedule.StateActive, Namespaces: []string{"default"}, Kind: "noop"},
	"a label in a namespace":     {Namespaces: []string{"default"}, Selector: labelled("team", "8")},
	"a text":                     {Search: "schedule 77"},
	"a text that nobody has":     {Search: "nobody"},
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
	listRuns := func(f db.RunFilter) func(context.Context) error {
		f.Limit = 50
		return within(func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.ListRuns(ctx, f)
			return err
		})
	}
	type statement struct {
		name    string
		call    func(context.Context) error
		indexes string // that may be used
		buffers int    // at the most, in all of its statements together
	}
	rows := []statement{
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
		{"save cursors", within(func(ctx context.Context, tx *db.Tx) error { return tx.SaveCursors(ctx, cursors) }), "cursors_pkey", 30000},
		{"look up the ledger", within(func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.Recorded(ctx, occurrences)
			return err
		}), "runs_pkey", 5000},
		{"read the last runs", within(func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.LastFor(ctx, ids)
			return err
		}), "runs_pkey", 6000},
		{"list the runs of a schedule", listRuns(db.RunFilter{ScheduleID: ids[0]}), "runs_pkey river_job_pkey", 20},
		{"list runs", listRuns(db.RunFilter{}), "runs_created_at_idx river_job_pkey", 500},
		{"list runs behind a page", listRuns(db.RunFilter{Before: db.RunPlace{CreatedAt: time.Now().Add(-50 * time.Hour), ScheduledFor: time.Now()}}), "runs_created_at_idx river_job_pkey", 500},
		{"list runs of a large namespace", listRuns(db.RunFilter{Namespaces: []string{"default"}}), "runs_created_at_idx river_job_pkey", 1500},
		{"list runs of a small namespace", listRuns(db.RunFilter{Namespaces: []string{"team-1"}}), "runs_created_at_idx river_job_pkey", 1500},
		{"list runs of several namespaces", listRuns(db.RunFilter{Namespaces: []string{"team-1", "team-3"}}), "runs_created_at_idx river_job_pkey", 5000},
		{"list runs with a rare outcome", listRuns(db.RunFilter{Outcome: schedule.OutcomeMissed}), "runs_created_at_idx runs_missed_idx river_job_pkey", 5000},
		{"list runs whose job failed", listRuns(db.RunFilter{JobState: schedule.JobDiscarded}), "runs_created_at_idx river_job_pkey", 12000},
		{"list a schedule's runs whose job failed", listRuns(db.RunFilter{ScheduleID: ids[0], JobState: schedule.JobDiscarded}), "runs_pkey river_job_pkey", 50},
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
		{"read the revisions of a schedule", within(func(ctx context.Context, tx *db.Tx) error {
			_, _, err := tx.Revisions(ctx, ids[0], 1<<40, 50)
			must(t, err)
			_, err = tx.Revision(ctx, ids[0], 1)
			return err
		}), "revisions_schedule_idx revisions_pkey", 30},
		{"remove old revisions", func(ctx context.Context) error {
			_, err := store.RemoveRevisions(ctx, time.Time{}, 90*24*time.Hour, 1000)
			return err
		}, "revisions_changed_at_idx revisions_pkey", 12000},
		{"look up an idempotency key", within(func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.Answered(ctx, schedule.ID{}, "500")
			return err
		}), "idempotency_keys_pkey", 10},
		{"remove old idempotency keys", func(ctx context.Context) error {
			_, err := store.RemoveKeys(ctx, time.Time{}, 24*time.Hour, 1000)
			return err
		}, "idempotency_keys_created_at_idx", 12000},
		{"lock what is applied", within(func(ctx context.Context, tx *db.Tx) error {
			keys := make([]db.Key, 1000)
			for i := range keys {
				keys[i] = db.Key{Namespace: "default", Name: fmt.Sprint("schedule ", i*2)}
			}
			_, err := tx.ForApply(ctx, keys, nil, true)
			must(t, err)
			_, err = tx.ForApply(ctx, keys[:10], &db.Selection{Namespaces: []string{"team-7"}, Selector: labelled("tenant", "7777")}, true)
			return err
		}), "schedules_name_key schedules_pkey schedules_name_idx schedules_namespace_idx schedule_labels_pkey", 20000},
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
		}), "river_job_state_and_finalized_at_index runs_missed_idx cursors_invalid_idx cursors_pkey troubles_pkey", 400},
	}
	// Lists by every filter, alone and with another, in every order, of the first page and
	// of one within.
	const listIndexes = "schedules_pkey schedules_name_key schedules_name_idx schedules_namespace_idx schedules_kind_idx schedules_updated_at_idx schedules_paused_idx " +
		"cursors_pkey cursors_fire_at_idx cursors_state_idx cursors_completed_idx cursors_idle_idx cursors_invalid_idx schedule_labels_pkey"
	for name, f := range listFilters {
		for _, order := range []db.ListOrder{db.OrderID, db.OrderName, db.OrderNextRunAt, db.OrderUpdatedAt} {
			for _, descending := range []bool{false, true} {
				for _, after := range []*db.ListPlace{nil, {ID: numbered(400_000), Name: "schedule 400000", At: time.Now().Add(400 * time.Second)}} {
					f := f
					f.OrderBy, f.Descending, f.After, f.Limit = order, descending, after, 50
					rows = append(rows, statement{fmt.Sprintf("list %s by %s, descending %t, after %t", name, order, descending, after != nil), within(func(ctx context.Context, tx *db.Tx) error {
						begun := time.Now()
						page, err := tx.ListSchedules(ctx, f)
						t.Logf("list %s by %s, descending %t, after %t: %d schedules, more %t, in %v", name, order, descending, after != nil, len(page.Schedules), page.Next != nil, time.Since(begun))
						return err
					}), listIndexes, 8000})
				}
			}
		}
	}
	for _, row := range rows {
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
			for _, table := range []string{"schedules", "cursors", "runs", "river_job", "schedule_labels", "revisions", "idempotency_keys"} {
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

	begun = time.Now()
	err = store.InWriteTx(t.Context(), db.Writing{Bulk: true}, func(tx *db.Tx) error {
		matched, changed, err := tx.SetPaused(t.Context(), db.Selection{Selector: selector(t, "team in (0,1)")}, true, "why", false)
		t.Logf("paused %d of %d schedules in %v", changed, matched, time.Since(begun))
		if err == nil && (matched != 40_000 || changed < 39_000) {
			t.Errorf("paused %d of %d", changed, matched)
		}
		return cmp.Or(err, errEnough)
	})
	if !errors.Is(err, errEnough) {
		t.Error(err)
	}
	inTx(t, store, func(tx *db.Tx) error {
		n, estimated, err := tx.CountSchedules(t.Context(), db.ListFilter{Kind: "noop", Selector: selector(t, "team=8")})
		t.Logf("about %d schedules, estimated %t", n, estimated) // 10,000
		if err == nil && (n < 5_000 || n > 20_000) {
			t.Errorf("about %d schedules", n)
		}
		return err
	})
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
