package db_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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
			list, err := tx.ListSchedules(t.Context(), db.ListFilter{Namespaces: namespaces, Limit: 10})
			must(t, err)
			page := list.Schedules
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

func TestLastUsesAreWrittenAtMostOnceAMinute(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	token := db.Token{ID: numbered(1), Name: "n", Hint: "rb_12345", Scopes: []string{"read"}}
	must(t, store.InTx(t.Context(), func(tx *db.Tx) error { return tx.InsertToken(t.Context(), &token, db.Hash{1}) }))
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
