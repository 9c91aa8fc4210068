package db_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// Even where rights on new tables are given by default, as an administrator may have
// set before the migration.
func TestOnlyTheOwnerReadsTokensAndSessions(t *testing.T) {
	t.Parallel()
	pool := dbtest.Open(t, dbtest.Empty(t))
	execSQL(t, pool, `CREATE SCHEMA riverbeat`)
	for _, role := range []string{"riverbeat_reader", "riverbeat_editor"} {
		execSQL(t, pool, `DO $$ BEGIN
			CREATE ROLE `+role+` NOLOGIN;
		EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
		END $$`)
		execSQL(t, pool, `ALTER DEFAULT PRIVILEGES IN SCHEMA riverbeat GRANT ALL ON TABLES TO `+role)
	}
	execSQL(t, pool, `ALTER DEFAULT PRIVILEGES IN SCHEMA riverbeat GRANT SELECT ON TABLES TO PUBLIC`)
	must(t, migrator(t, pool).Up(t.Context()))
	for _, role := range []string{"riverbeat_reader", "riverbeat_editor"} {
		user := as(t, pool, role)
		execSQL(t, user, `SELECT FROM riverbeat.schedules`)
		for _, table := range []string{"tokens", "sessions"} {
			wantDenied(t, user, `SELECT * FROM riverbeat.`+table, `SELECT hash FROM riverbeat.`+table, `SELECT count(*) FROM riverbeat.`+table,
				`DELETE FROM riverbeat.`+table, `UPDATE riverbeat.`+table+` SET hash = ''`, `COPY riverbeat.`+table+` TO STDOUT`)
		}
	}
}

func TestTheTableRefusesTokensThatMeanNothing(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	const insert = `INSERT INTO riverbeat.tokens (name, hash, hint, scopes) VALUES (%s, %s, 'rb_xxxxx', %s)`
	hash := `sha256('x')`
	execSQL(t, pool, fmt.Sprintf(insert, `'n'`, hash, `'{read}'`))
	for constraint, statement := range map[string]string{
		"tokens_name_check":   fmt.Sprintf(insert, `''`, `sha256('y')`, `'{read}'`),
		"tokens_hash_check":   fmt.Sprintf(insert, `'n'`, `'short'`, `'{read}'`),
		"tokens_scopes_check": fmt.Sprintf(insert, `'n'`, `sha256('y')`, `'{root}'`),
	} {
		_, err := pool.Exec(t.Context(), statement)
		if got := db.CheckViolation(err); got != constraint {
			t.Errorf("%s: %v", constraint, err)
		}
	}
	if _, err := pool.Exec(t.Context(), fmt.Sprintf(insert, `'n'`, `sha256('y')`, `'{}'`)); db.CheckViolation(err) != "tokens_scopes_check" {
		t.Errorf("without scopes: %v", err)
	}
	if _, err := pool.Exec(t.Context(), fmt.Sprintf(insert, `'n'`, hash, `'{read}'`)); db.UniqueViolation(err) != "tokens_hash_key" {
		t.Errorf("the same once more: %v", err)
	}
}

// A store that sees some namespaces finds what is in them, wherever it looks.
func TestWithinNamespacesNothingElseExists(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	var ids []schedule.ID
	for n, namespace := range []string{"a", "b", "c", "a"} {
		s := sample(n + 1)
		s.Namespace = namespace
		ids = append(ids, s.ID)
		inTx(t, store, func(tx *db.Tx) error { return tx.InsertSchedule(t.Context(), s) })
	}
	for _, namespaces := range [][]string{{}, {"c"}, {"b"}, {"a", "b"}, nil, {"a", "x"}} {
		inTx(t, store.Within(namespaces), func(tx *db.Tx) error {
			page, err := tx.Schedules(t.Context(), db.ListFilter{Limit: 10})
			must(t, err)
			listed := map[schedule.ID]bool{}
			for i, status := range page {
				listed[status.Schedule.ID] = true
				if i > 0 && strings.Compare(page[i-1].Schedule.ID.String(), status.Schedule.ID.String()) >= 0 {
					t.Errorf("%v are out of order", namespaces)
				}
			}
			for n, id := range ids {
				sees := namespaces == nil
				for _, namespace := range namespaces {
					sees = sees || namespace == []string{"a", "b", "c", "a"}[n]
				}
				status, err := tx.Schedule(t.Context(), db.Key{ID: id})
				if sees != (err == nil) || !sees && !errors.Is(err, schedule.ErrNotFound) || sees != listed[id] {
					t.Errorf("within %v, of %d: %v, %v, listed: %t", namespaces, n, status, err, listed[id])
				}
			}
			s := sample(9)
			s.Namespace = "d"
			if err := tx.Try(t.Context(), func(tx *db.Tx) error { return tx.InsertSchedule(t.Context(), s) }); (namespaces == nil) != (err == nil) {
				t.Errorf("within %v a new one in d: %v", namespaces, err)
			}
			return tx.DeleteSchedule(t.Context(), s.ID)
		})
	}
}

func TestAListWithinNamespacesReadsTheirIndexAndLittleElse(t *testing.T) {
	t.Parallel()
	config, err := db.ParseURL(dbtest.URL(t))
	must(t, err)
	traced := &statements{}
	config.ConnConfig.Tracer = traced
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	// A hundred schedules of ours lie behind 50,000 of others, and a few between them.
	execSQL(t, pool, `
		BEGIN; SET LOCAL session_replication_role = replica;
		INSERT INTO riverbeat.schedules (id, namespace, name, cron, job_kind)
		SELECT lpad(i::text, 32, '0')::uuid, CASE WHEN i >= 50000 OR i % 10000 = 0 THEN 'ours' WHEN i % 7 = 0 THEN 'some' ELSE 'theirs' END, 'n' || i, '0 3 * * *', 'noop'
		FROM generate_series(0, 50099) i;
		INSERT INTO riverbeat.cursors (schedule_id, changed_at) SELECT id, now() FROM riverbeat.schedules;
		COMMIT`)
	execSQL(t, pool, `VACUUM ANALYZE riverbeat.schedules, riverbeat.cursors`)
	store := db.NewStore(pool)
	for _, row := range []struct {
		namespaces []string
		filter     db.ListFilter
		buffers    int
		rows       int
	}{
		{[]string{"ours"}, db.ListFilter{Limit: 51}, 400, 51}, {[]string{"ours", "nowhere"}, db.ListFilter{Limit: 51}, 400, 51},
		{[]string{"ours", "some"}, db.ListFilter{Limit: 51}, 900, 51}, {[]string{}, db.ListFilter{Limit: 51}, 10, 0},
		{nil, db.ListFilter{Limit: 51, Namespace: "ours"}, 400, 51}, {[]string{"ours", "theirs"}, db.ListFilter{Limit: 51, Namespace: "ours"}, 400, 51},
		{[]string{"theirs"}, db.ListFilter{Limit: 51, Namespace: "ours"}, 1_000_000, 0}, // asked for by nobody: the service refuses it
		{[]string{"ours"}, db.ListFilter{Limit: 51, After: numbered(50090)}, 100, 9},
	} {
		traced.sent = nil
		inTx(t, store.Within(row.namespaces), func(tx *db.Tx) error {
			page, err := tx.Schedules(t.Context(), row.filter)
			if len(page) != row.rows {
				t.Errorf("%v %v: %d schedules, not %d", row.namespaces, row.filter, len(page), row.rows)
			}
			return err
		})
		sent := traced.sent
		_ = store.InTx(t.Context(), func(tx *db.Tx) error {
			for _, statement := range sent {
				switch {
				case strings.Contains(statement.SQL, "plan_cache_mode"):
					execSQL(t, tx, statement.SQL)
				case strings.Contains(statement.SQL, "SELECT"):
					indexes, scanned := map[string]bool{}, map[string]bool{}
					root := explain(t, tx, statement)
					root.collect(indexes, scanned)
					if touched := root.Hit + root.Read; touched > row.buffers || scanned["schedules"] || scanned["cursors"] {
						t.Errorf("%v %v: %d buffers, over %d; indexes %v, read whole %v", row.namespaces, row.filter, touched, row.buffers, indexes, scanned)
					}
				}
			}
			return errEnough
		})
	}
}

func TestLastUsesAreWrittenAtMostOnceAMinute(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	token := db.Token{ID: numbered(1), Name: "n", Hint: "rb_12345", Scopes: []string{"read"}}
	must(t, store.InsertToken(t.Context(), &token, db.Hash{1}))
	used := func() time.Time {
		t.Helper()
		must(t, store.TokensUsed(t.Context(), []schedule.ID{token.ID}))
		read, err := store.Token(t.Context(), token.ID)
		must(t, err)
		return read.LastUsedAt
	}
	first := used()
	if again := used(); first.IsZero() || !again.Equal(first) {
		t.Errorf("used at %v, then %v", first, again)
	}
	execSQL(t, pool, `UPDATE riverbeat.tokens SET last_used_at = last_used_at - interval '2 minutes'`)
	if again := used(); !again.After(first) {
		t.Errorf("two minutes later it is %v", again)
	}
}
