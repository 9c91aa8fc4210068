package db_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/db/pgbouncertest"
)

// wantPooled asserts what the pool is found to be, and how its connections run
// queries.
func wantPooled(t *testing.T, pool *pgxpool.Pool, want bool, mode pgx.QueryExecMode) {
	t.Helper()
	if pooled, err := db.Pooled(t.Context(), pool); err != nil || pooled != want {
		t.Errorf("pooled: %t, %v; want %t", pooled, err, want)
	}
	must(t, pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error {
		if got := conn.Conn().Config().DefaultQueryExecMode; got != mode {
			t.Errorf("it runs queries by %q, want %q", got, mode)
		}
		return nil
	}))
}

// prepared is how many prepared statements there are in sessions that the pool is
// given at once.
func prepared(t *testing.T, pool *pgxpool.Pool, sessions int) (statements int) {
	t.Helper()
	seen := map[int]bool{}
	for range sessions {
		tx, err := pool.Begin(t.Context()) // holds its session until it ends
		must(t, err)
		defer tx.Rollback(context.WithoutCancel(t.Context()))
		seen[one[int](t, tx, `SELECT pg_backend_pid()`)] = true
		statements += one[int](t, tx, `SELECT count(*) FROM pg_prepared_statements WHERE statement NOT LIKE '%pg_backend_pid%' AND statement NOT LIKE '%pg_prepared_statements%'`)
	}
	if len(seen) != sessions {
		t.Fatalf("%d transactions have %d sessions", sessions, len(seen))
	}
	return statements
}

func TestThroughAPoolerConcurrentQueriesPrepareNothingAndNeverFail(t *testing.T) {
	t.Parallel()
	direct := dbtest.URL(t)
	through := pgbouncertest.URL(t, direct)
	pool, err := db.OpenPool(t.Context(), through, "riverbeat-test", 40)
	must(t, err)
	t.Cleanup(pool.Close)
	store := db.NewStore(pool)

	var all errgroup.Group
	for worker := range 40 {
		all.Go(func() error {
			for n := range 20 {
				// Statements that many clients share, and ones of their own.
				var got int
				if err := pool.QueryRow(t.Context(), `SELECT $1::int + 1`, n).Scan(&got); err != nil || got != n+1 {
					return fmt.Errorf("a query: %d, %w", got, err)
				}
				if err := pool.QueryRow(t.Context(), fmt.Sprintf(`SELECT $1::int + %d`, worker), n).Scan(&got); err != nil || got != n+worker {
					return fmt.Errorf("a query of its own: %d, %w", got, err)
				}
				var batch pgx.Batch
				var text string
				batch.Queue(`SELECT $1::text`, "a").QueryRow(func(row pgx.Row) error { return row.Scan(&text) })
				batch.Queue(`SELECT $1::int + 2`, n).QueryRow(func(row pgx.Row) error { return row.Scan(&got) })
				if err := pool.SendBatch(t.Context(), &batch).Close(); err != nil || text != "a" || got != n+2 {
					return fmt.Errorf("a batch: %q, %d, %w", text, got, err)
				}
				if err := store.InTx(t.Context(), func(tx *db.Tx) error {
					if _, err := tx.NewestZoneData(t.Context()); err != nil {
						return err
					}
					return tx.InsertSchedule(t.Context(), sample(1+worker*1000+n))
				}); err != nil {
					return fmt.Errorf("a transaction: %w", err)
				}
				if _, err := store.LookAhead(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, all.Wait())
	wantPooled(t, pool, true, pgx.QueryExecModeCacheDescribe)
	if n := one[int](t, pool, `SELECT count(*) FROM riverbeat.schedules`); n != 800 {
		t.Errorf("%d schedules, want 800", n)
	}
	if n := prepared(t, pool, pgbouncertest.Sessions); n != 0 {
		t.Errorf("%d prepared statements", n)
	}
	// Nor is anything else left behind that the next client would be hit by.
	for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "tcp_user_timeout"} {
		if got := one[string](t, pool, `SELECT current_setting($1)`, name); got != "0" {
			t.Errorf("%s is left at %s", name, got)
		}
	}
}

func TestWithoutAPoolerStatementsArePrepared(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	wantPooled(t, pool, false, pgx.QueryExecModeCacheStatement)
	one[int](t, pool, `SELECT $1::int`, 7)
	if n := prepared(t, pool, 1); n == 0 {
		t.Error("nothing is prepared")
	}
}

func TestTheURLsOwnWayToRunQueriesWins(t *testing.T) {
	t.Parallel()
	direct := dbtest.URL(t)
	for url, pooled := range map[string]bool{direct: false, pgbouncertest.URL(t, direct): true} {
		pool := dbtest.Open(t, url+"&default_query_exec_mode=exec")
		wantPooled(t, pool, pooled, pgx.QueryExecModeExec)
	}
}

// A process may start before its database.
func TestAPoolerIsFoundOnceItAnswers(t *testing.T) {
	t.Parallel()
	config, err := pgx.ParseConfig(pgbouncertest.URL(t, dbtest.URL(t)))
	must(t, err)
	var away atomic.Bool
	away.Store(true)
	address := server(t, func(client net.Conn) {
		defer client.Close()
		if away.Load() {
			return
		}
		behind, err := net.Dial("tcp", net.JoinHostPort(config.Host, fmt.Sprint(config.Port)))
		if err != nil {
			t.Error(err)
			return
		}
		defer behind.Close()
		go func() { _, _ = io.Copy(behind, client) }() // until either side goes
		_, _ = io.Copy(client, behind)
	})
	pool := dbtest.Open(t, fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", config.User, config.Password, address, config.Database))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := pool.Ping(t.Context()); !db.IsUnavailable(err) {
				t.Errorf("while it is away: %v", err)
			}
			if _, err := db.Pooled(t.Context(), pool); !db.IsUnavailable(err) {
				t.Errorf("while it is away: %v", err)
			}
		})
	}
	all.Wait()
	away.Store(false)
	wantPooled(t, pool, true, pgx.QueryExecModeCacheDescribe)
}

func TestMigrationsNeedASessionThatIsTheirOwn(t *testing.T) {
	t.Parallel()
	direct := dbtest.Empty(t)
	shared, kept := pgbouncertest.URL(t, direct), pgbouncertest.URL(t, direct, "pool_mode = session")
	for _, row := range []struct {
		name, url string
		word      bool // that sessions are kept
		want      error
	}{
		{"transaction mode", shared, false, db.ErrPooled},
		{"transaction mode, whatever is said", shared, true, db.ErrPooled},
		{"transaction mode, in turn", pgbouncertest.URL(t, direct, "server_round_robin = 1"), true, db.ErrPooled},
		{"session mode", kept, false, db.ErrPooled},
	} {
		m := migrator(t, dbtest.Open(t, row.url))
		m.KeepsSessions = row.word
		for name, do := range map[string]func(context.Context) error{"up": m.Up, "up-by-one": m.UpByOne, "down": m.Down, "redo": m.Redo} {
			if err := do(t.Context()); !errors.Is(err, row.want) {
				t.Errorf("%s: %s: %v", row.name, name, err)
			}
		}
		wantVersion(t, m, 0, 0)
	}
	for name, url := range map[string]string{"session mode": kept, "none": direct} {
		m := migrator(t, dbtest.Open(t, url))
		m.KeepsSessions = strings.Contains(name, "session")
		if err := m.Up(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, migrator(t, dbtest.Open(t, shared)).Check(t.Context())) // asks without the lock
}
