// Package dbtest gives each test a migrated PostgreSQL database of its own,
// cloned from a template.
package dbtest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/localpg"
)

var (
	serverURL string
	template  string
	counter   atomic.Int64
	prepare   = sync.OnceValue(makeTemplate)
)

// Main runs a package's tests beside a PostgreSQL server of their own, or on
// the one that TEST_DATABASE_URL names. Call it from TestMain.
func Main(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	if serverURL = os.Getenv("TEST_DATABASE_URL"); serverURL == "" {
		dir, err := os.MkdirTemp("", "riverbeat-test-")
		if err != nil {
			return fail(err)
		}
		defer os.RemoveAll(dir)
		// As root the server runs as another user, who must get in.
		if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // it may be entered, not listed
			return fail(err)
		}
		server, err := localpg.Start(context.Background(), localpg.Config{DataDir: filepath.Join(dir, "pg")})
		if err != nil {
			return fail(err)
		}
		defer func() {
			if err := server.Stop(); err != nil {
				code = fail(err)
			}
		}()
		serverURL = server.URL()
	}
	code = m.Run()
	if template != "" {
		if err := onServer(`DROP DATABASE IF EXISTS ` + template + ` WITH (FORCE)`); err != nil {
			return fail(err)
		}
	}
	return code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "the test database:", err)
	return 1
}

// URL is a freshly migrated database that only this test uses. It goes when the
// test ends.
func URL(t testing.TB) string {
	t.Helper()
	if err := prepare(); err != nil {
		t.Fatal("make the template database: ", err)
	}
	return clone(t, "TEMPLATE "+template)
}

// Empty is a database like URL's, but without any schema.
func Empty(t testing.TB) string {
	t.Helper()
	return clone(t, "")
}

// Pool is a pool on a database like URL's, closed when the test ends.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Open(t, URL(t))
}

// Open is a pool on the database, closed when the test ends.
func Open(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := db.OpenPool(context.Background(), url, "riverbeat-test", 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Log writes to the test's output.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func clone(t testing.TB, options string) string {
	t.Helper()
	name := fmt.Sprintf("riverbeat_test_%d_%d", os.Getpid(), counter.Add(1))
	if err := onServer(`CREATE DATABASE ` + name + ` ` + options); err != nil {
		t.Fatal("make a database: ", err)
	}
	t.Cleanup(func() {
		if err := onServer(`DROP DATABASE ` + name + ` WITH (FORCE)`); err != nil {
			t.Error("drop the database: ", err)
		}
	})
	return databaseURL(name)
}

func makeTemplate() error {
	name := fmt.Sprintf("riverbeat_template_%d", os.Getpid())
	if err := onServer(`CREATE DATABASE ` + name); err != nil {
		return err
	}
	template = name
	ctx := context.Background()
	pool, err := db.OpenPool(ctx, databaseURL(name), "riverbeat-test", 4)
	if err != nil {
		return err
	}
	defer pool.Close()
	migrator, err := db.NewMigrator(ctx, pool, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return err
	}
	defer migrator.Close()
	return migrator.Up(ctx)
}

func databaseURL(name string) string {
	if !strings.Contains(serverURL, "://") {
		return serverURL + " dbname=" + name
	}
	u, err := url.Parse(serverURL)
	if err != nil {
		panic("TEST_DATABASE_URL is not a URL")
	}
	u.Path = "/" + name
	return u.String()
}

// creating orders CREATE DATABASE: two clones of one template at once fail.
var creating sync.Mutex

func onServer(statement string) error {
	creating.Lock()
	defer creating.Unlock()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, serverURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}
