package db_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/migrations"
)

// migrateURL names the database that this binary, when it runs as a process of
// its own, migrates.
const migrateURL = "RIVERBEAT_TEST_MIGRATE_URL"

func TestMain(m *testing.M) {
	if url := os.Getenv(migrateURL); url != "" {
		if err := migrateAsProcess(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	dbtest.Main(m)
}

// migrateAsProcess says when it is ready, and begins when its input ends.
func migrateAsProcess(url string) error {
	ctx := context.Background()
	pool, err := db.OpenPool(ctx, url, "riverbeat-test", 4)
	if err != nil {
		return err
	}
	defer pool.Close()
	m, err := db.NewMigrator(ctx, pool, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	defer m.Close()
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	if err := m.Up(ctx); err != nil {
		return err
	}
	return m.Check(ctx)
}

func migrator(t *testing.T, pool *pgxpool.Pool) *db.Migrator {
	t.Helper()
	m, err := db.NewMigrator(t.Context(), pool, dbtest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newest is the version of our newest migration.
func newest(t *testing.T) int64 {
	t.Helper()
	files, err := migrations.FS.ReadDir(".")
	must(t, err)
	return int64(len(files))
}

func wantVersion(t *testing.T, m *db.Migrator, ours, river int64) {
	t.Helper()
	gotOurs, gotRiver, err := m.Version(t.Context())
	must(t, err)
	if gotOurs != ours || gotRiver != river {
		t.Fatalf("version is %d, River's %d; want %d and %d", gotOurs, gotRiver, ours, river)
	}
}

// wantApplied asserts that the first n of our migrations are applied and the
// others are not.
func wantApplied(t *testing.T, m *db.Migrator, n int64) {
	t.Helper()
	status, err := m.Status(t.Context())
	must(t, err)
	if int64(len(status)) != newest(t) {
		t.Fatalf("%d migrations have a status, want %d", len(status), newest(t))
	}
	for _, s := range status {
		if applied := s.State == goose.StateApplied; applied != (s.Source.Version <= n) {
			t.Fatalf("version %d is %s; want the first %d applied", s.Source.Version, s.State, n)
		}
	}
}

// everything describes all that our migrations make, to compare it. River's
// tables may stand beside it.
const everything = `
SELECT string_agg(line, E'\n' ORDER BY line) FROM (
    SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema = 'riverbeat'
    UNION ALL
    SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE connamespace = 'riverbeat'::regnamespace
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'riverbeat'
    UNION ALL
    SELECT concat(pg_get_functiondef(oid), proacl) FROM pg_proc WHERE pronamespace = 'riverbeat'::regnamespace
    UNION ALL
    SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'riverbeat'::regnamespace
    UNION ALL
    SELECT concat(relname, ' ', relacl) FROM pg_class WHERE relnamespace = 'riverbeat'::regnamespace
) AS lines (line)
WHERE line NOT LIKE '%goose_db_version%' AND line NOT LIKE '%river\_%'`

const insertRiverJob = `
INSERT INTO river_job (kind, args, max_attempts)
VALUES ('kept', '{}', 25)`

func TestUpMakesOfAnEmptyDatabaseWhatCheckAsksFor(t *testing.T) {
	t.Parallel()
	pool := dbtest.Open(t, dbtest.Empty(t))
	m := migrator(t, pool)

	// Looking writes nothing, and doesn't get in the way of what follows.
	if err := m.Check(t.Context()); !errors.Is(err, db.ErrNotMigrated) {
		t.Fatalf("Check of an empty database: %v, want ErrNotMigrated", err)
	}
	wantVersion(t, m, 0, 0)
	wantApplied(t, m, 0)
	must(t, m.Down(t.Context()))
	must(t, m.Redo(t.Context()))
	if one[bool](t, pool, `SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace) OR to_regnamespace('riverbeat') IS NOT NULL`) {
		t.Fatal("looking at an empty database wrote something")
	}

	must(t, m.Up(t.Context()))
	must(t, m.Check(t.Context()))
	wantVersion(t, m, newest(t), 8)
	wantApplied(t, m, newest(t))

	const versions = `SELECT array_agg(v::text ORDER BY id)::text || (SELECT array_agg(r::text ORDER BY version)::text FROM river_migration r)
		FROM riverbeat.goose_db_version v`
	before := one[string](t, pool, versions)
	must(t, m.Up(t.Context()))
	must(t, m.UpByOne(t.Context()))
	must(t, migrator(t, pool).Up(t.Context()))
	if diff := cmp.Diff(before, one[string](t, pool, versions)); diff != "" {
		t.Fatal("migrating a second time wrote something:\n", diff)
	}
}

func TestStepsGoOneAtATimeAndNeverTouchRiver(t *testing.T) {
	t.Parallel()
	pool := dbtest.Open(t, dbtest.Empty(t))
	m := migrator(t, pool)
	for version := int64(1); version <= newest(t); version++ {
		if err := m.Check(t.Context()); !errors.Is(err, db.ErrNotMigrated) {
			t.Fatalf("Check before version %d: %v, want ErrNotMigrated", version, err)
		}
		must(t, m.UpByOne(t.Context()))
		wantApplied(t, m, version)
		wantVersion(t, m, version, 8)
		must(t, m.Redo(t.Context()))
		wantApplied(t, m, version)
	}
	must(t, m.Check(t.Context()))
	before := one[string](t, pool, everything)
	execSQL(t, pool, insertRiverJob)

	for version := newest(t) - 1; version >= 0; version-- {
		must(t, m.Down(t.Context()))
		wantApplied(t, m, version)
		wantVersion(t, m, version, 8)
	}
	// Nothing is left to undo, and nothing to redo.
	must(t, m.Down(t.Context()))
	must(t, m.Redo(t.Context()))
	wantApplied(t, m, 0)
	if n := one[int](t, pool, `SELECT count(*) FROM pg_class WHERE relnamespace = 'riverbeat'::regnamespace AND relname NOT LIKE 'goose_db_version%'`); n != 0 {
		t.Fatalf("%d things are left in our schema after all was undone", n)
	}

	must(t, m.Up(t.Context()))
	must(t, m.Check(t.Context()))
	if diff := cmp.Diff(before, one[string](t, pool, everything)); diff != "" {
		t.Fatal("down and up again made another schema:\n", diff)
	}
	if n := one[int](t, pool, `SELECT count(*) FROM river_job WHERE kind = 'kept'`); n != 1 {
		t.Fatalf("%d of 1 jobs are left after going down and up", n)
	}
}

func TestSixProcessesMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url := dbtest.Empty(t)
	binary, err := os.Executable()
	must(t, err)
	start, release, err := os.Pipe()
	must(t, err)
	defer start.Close()
	defer release.Close()

	var processes []*exec.Cmd
	for range 6 {
		p := exec.CommandContext(t.Context(), binary)
		p.Env = append(os.Environ(), migrateURL+"="+url)
		p.Stdin, p.Stderr = start, t.Output()
		out, err := p.StdoutPipe()
		must(t, err)
		must(t, p.Start())
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("a process said %q: %v", line, err)
		}
		processes = append(processes, p)
	}
	must(t, release.Close())
	for _, p := range processes {
		if err := p.Wait(); err != nil {
			t.Error("a process that migrated beside others: ", err)
		}
	}

	m := migrator(t, dbtest.Open(t, url))
	must(t, m.Check(t.Context()))
	wantVersion(t, m, newest(t), 8)
}

// migrateRiver makes River's tables as River's own tools do.
func migrateRiver(t *testing.T, pool *pgxpool.Pool, version int) {
	t.Helper()
	river, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: dbtest.Log(t)})
	must(t, err)
	_, err = river.Migrate(t.Context(), rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{TargetVersion: version})
	must(t, err)
}

func TestAnOlderRiverIsTakenOverWithItsJobs(t *testing.T) {
	t.Parallel()
	pool := dbtest.Open(t, dbtest.Empty(t))
	migrateRiver(t, pool, 6)
	execSQL(t, pool, insertRiverJob)
	m := migrator(t, pool)
	wantVersion(t, m, 0, 6)

	must(t, m.Up(t.Context()))
	must(t, m.Check(t.Context()))
	wantVersion(t, m, newest(t), 8)
	if n := one[int](t, pool, `SELECT count(*) FROM river_job WHERE kind = 'kept' AND state = 'available'`); n != 1 {
		t.Fatalf("%d of 1 jobs are left", n)
	}
}

func TestARiverOfThisVersionIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	pool := dbtest.Open(t, dbtest.Empty(t))
	migrateRiver(t, pool, 8)
	execSQL(t, pool, insertRiverJob)
	const state = `SELECT array_agg(m::text ORDER BY version)::text || (SELECT array_agg(j::text)::text FROM river_job j) FROM river_migration m`
	before := one[string](t, pool, state)

	m := migrator(t, pool)
	must(t, m.Up(t.Context()))
	must(t, m.Check(t.Context()))
	if diff := cmp.Diff(before, one[string](t, pool, state)); diff != "" {
		t.Fatal("River's tables changed:\n", diff)
	}
}

func TestRiverTablesOfUnknownVersionAreRefused(t *testing.T) {
	t.Parallel()
	pool := dbtest.Open(t, dbtest.Empty(t))
	migrateRiver(t, pool, 8)
	execSQL(t, pool, `DROP TABLE river_migration`)

	m := migrator(t, pool)
	for name, up := range map[string]func(context.Context) error{"Up": m.Up, "UpByOne": m.UpByOne} {
		err := up(t.Context())
		if err == nil || !strings.Contains(err.Error(), "river_migration") || !strings.Contains(err.Error(), "search_path") {
			t.Errorf("%s: %v, want a hint at river_migration and search_path", name, err)
		}
	}
	if one[bool](t, pool, `SELECT to_regclass('river_migration') IS NOT NULL OR to_regnamespace('riverbeat') IS NOT NULL`) {
		t.Fatal("a refused migration left something behind")
	}
}

func TestWhatTheStockGooseMadeIsRecognised(t *testing.T) {
	t.Parallel()
	// The package's functions are what the stock CLI calls. They share their
	// settings, so the cases take turns.
	goose.SetBaseFS(migrations.FS)
	goose.SetLogger(goose.NopLogger())
	must(t, goose.SetDialect("postgres"))
	fresh := dbtest.URL(t)
	for user, searchPath := range map[string]string{
		"app":       "public",            // what anybody has who isn't called riverbeat
		"riverbeat": "riverbeat, public", // whose own schema comes first, once it is there
	} {
		t.Run("AsUser_"+user, func(t *testing.T) {
			pool := poolIn(t, dbtest.Empty(t), searchPath)
			sqlDB := stdlib.OpenDBFromPool(pool)
			defer sqlDB.Close()
			must(t, goose.UpContext(t.Context(), sqlDB, "."))

			m := migrator(t, pool)
			wantVersion(t, m, newest(t), 0)
			wantApplied(t, m, newest(t))
			if err := m.Check(t.Context()); !errors.Is(err, db.ErrNotMigrated) {
				t.Fatalf("Check without River's tables: %v, want ErrNotMigrated", err)
			}
			must(t, m.Up(t.Context()))
			must(t, m.Check(t.Context()))
			wantVersion(t, m, newest(t), 8)

			// Both tools go on with the one version table.
			must(t, m.Redo(t.Context()))
			must(t, m.Down(t.Context()))
			stock, err := goose.GetDBVersionContext(t.Context(), sqlDB)
			must(t, err)
			if stock != newest(t)-1 {
				t.Fatalf("to the stock goose the version is %d, to us %d", stock, newest(t)-1)
			}
			must(t, goose.UpContext(t.Context(), sqlDB, "."))
			must(t, m.Check(t.Context()))
			if n := one[int](t, pool, `SELECT count(*) FROM pg_class WHERE relname = 'goose_db_version'`); n != 1 {
				t.Fatalf("there are %d version tables", n)
			}
			if diff := cmp.Diff(one[string](t, poolIn(t, fresh, searchPath), everything), one[string](t, pool, everything)); diff != "" {
				t.Fatal("the stock goose makes another schema:\n", diff)
			}
		})
	}
}

// poolIn is a pool whose sessions look for unqualified names in these schemas.
func poolIn(t *testing.T, url, searchPath string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	must(t, err)
	config.ConnConfig.RuntimeParams["search_path"] = searchPath
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func TestAnApplicationsOwnGooseDoesNotDisturb(t *testing.T) {
	t.Parallel()
	pool := poolIn(t, dbtest.Empty(t), "public")
	sqlDB := stdlib.OpenDBFromPool(pool)
	defer sqlDB.Close()
	files := fstest.MapFS{}
	for version := range 9 { // more than we have
		files[fmt.Sprintf("%05d_app.sql", version+1)] = &fstest.MapFile{
			Data: fmt.Appendf(nil, "-- +goose Up\nCREATE TABLE app%d ();\n-- +goose Down\nDROP TABLE app%[1]d;\n", version)}
	}
	app, err := goose.NewProvider(goose.DialectPostgres, sqlDB, files)
	must(t, err)
	_, err = app.UpTo(t.Context(), 2)
	must(t, err)

	m := migrator(t, pool)
	wantVersion(t, m, 0, 0)
	must(t, m.Up(t.Context()))
	must(t, m.Check(t.Context()))
	if version, err := app.GetDBVersion(t.Context()); err != nil || version != 2 {
		t.Fatalf("the application's version is %d, %v; want 2", version, err)
	}
	_, err = app.Up(t.Context())
	must(t, err)

	m = migrator(t, pool)
	wantApplied(t, m, newest(t))
	for range newest(t) {
		must(t, m.Down(t.Context()))
	}
	m = migrator(t, pool)
	wantApplied(t, m, 0)
	must(t, m.Up(t.Context()))
	must(t, m.Check(t.Context()))
	if version, err := app.GetDBVersion(t.Context()); err != nil || version != 9 {
		t.Fatalf("the application's version is %d, %v; want 9", version, err)
	}
}
