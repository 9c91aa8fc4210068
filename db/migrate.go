package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/riverbeat/riverbeat/migrations"
)

// riverVersion is the version of River's schema that this program works with:
// the newest that its River library knows.
const riverVersion = 8

// minServerVersion is PostgreSQL 15.
const minServerVersion = 150000

// ErrNotMigrated says that the database's schema is older than this program needs.
var ErrNotMigrated = errors.New("the database is not migrated: run `riverbeat migrate up`")

// ErrPooled says that the pool leads through a pooler, which may grant the lock of
// a session to two processes at once.
var ErrPooled = errors.New("a pooler is in between, through which two processes may hold the migration's lock at once")

// Migrator brings a database to the schema that this program works with. River's
// own migrator runs first, then ours, both under one lock, so that any number
// of processes may start it at once. Each keeps a version table of its own.
type Migrator struct {
	// KeepsSessions is the caller's word that a pooler in between keeps sessions.
	// Without it nothing is migrated through one: the error is ErrPooled.
	KeepsSessions bool

	pool     *pgxpool.Pool
	db       *sql.DB
	table    string // where goose keeps our version
	provider *goose.Provider
	lock     lock.SessionLocker
	log      *slog.Logger
}

// NewMigrator connects to the database; the pool stays the caller's.
func NewMigrator(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) (*Migrator, error) {
	table, err := versionTable(ctx, pool)
	if err != nil {
		return nil, err
	}
	m := &Migrator{pool: pool, db: stdlib.OpenDBFromPool(pool), table: table, log: log}
	m.provider, err = goose.NewProvider(goose.DialectPostgres, m.db, migrations.FS,
		goose.WithTableName(table), goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the migrations: %w", err), m.db.Close())
	}
	// One try a second for five minutes: a large database may take its time.
	m.lock, err = lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the migration lock: %w", err), m.db.Close())
	}
	return m, nil
}

// Close lets go of what NewMigrator opened.
func (m *Migrator) Close() error { return m.db.Close() }

const findVersionTable = `
SELECT current_setting('server_version_num')::int,
       to_regclass('riverbeat.goose_db_version') IS NOT NULL,
       to_regclass('riverbeat.schedules') IS NOT NULL,
       coalesce((SELECT relnamespace::regnamespace || '.' || relname
                 FROM pg_class WHERE oid = to_regclass('goose_db_version')), '')`

// versionTable is where goose keeps our version: a table in our own schema,
// since the application that shares the database may use goose too; or goose's
// usual table where the stock CLI has already migrated riverbeat with it. That
// one is named with its schema: to a user called riverbeat our own schema comes
// first, and goose would make a second table there.
func versionTable(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	var server int
	var own, made bool
	var stock string
	if err := pool.QueryRow(ctx, findVersionTable).Scan(&server, &own, &made, &stock); err != nil {
		return "", fmt.Errorf("look for the version table: %w", err)
	}
	if server < minServerVersion {
		return "", fmt.Errorf("PostgreSQL %d is too old: riverbeat needs 15 or newer", server/10000)
	}
	if made && !own && stock != "" {
		return stock, nil
	}
	return "riverbeat.goose_db_version", nil
}

// Up applies everything that is missing, River's first.
func (m *Migrator) Up(ctx context.Context) error {
	return m.locked(ctx, func() error {
		if err := m.prepare(ctx); err != nil {
			return err
		}
		results, err := m.provider.Up(ctx)
		m.report(results...)
		return err
	})
}

// UpByOne applies River's migrations and the next of ours.
func (m *Migrator) UpByOne(ctx context.Context) error {
	return m.locked(ctx, func() error {
		if err := m.prepare(ctx); err != nil {
			return err
		}
		return m.one(m.provider.UpByOne(ctx))
	})
}

// Down undoes the newest of our migrations. It never touches River's tables.
func (m *Migrator) Down(ctx context.Context) error {
	return m.locked(ctx, func() error {
		_, err := m.down(ctx)
		return err
	})
}

// Redo undoes and applies the newest of our migrations.
func (m *Migrator) Redo(ctx context.Context) error {
	return m.locked(ctx, func() error {
		if undone, err := m.down(ctx); err != nil || !undone {
			return err
		}
		return m.one(m.provider.UpByOne(ctx))
	})
}

func (m *Migrator) down(ctx context.Context) (undone bool, err error) {
	begun, err := m.begun(ctx)
	if err != nil {
		return false, err
	}
	if !begun {
		return false, m.one(nil, goose.ErrNoNextVersion)
	}
	result, err := m.provider.Down(ctx)
	return result != nil, m.one(result, err)
}

// Status is the state of each of our migrations, oldest first.
func (m *Migrator) Status(ctx context.Context) ([]*goose.MigrationStatus, error) {
	begun, err := m.begun(ctx)
	if err != nil {
		return nil, err
	}
	if begun {
		return m.provider.Status(ctx)
	}
	var status []*goose.MigrationStatus
	for _, source := range m.provider.ListSources() {
		status = append(status, &goose.MigrationStatus{Source: source, State: goose.StatePending})
	}
	return status, nil
}

// Version is the version of our schema and of River's; 0 is none.
func (m *Migrator) Version(ctx context.Context) (ours, river int64, err error) {
	begun, err := m.begun(ctx)
	if err != nil {
		return 0, 0, err
	}
	if begun {
		if ours, err = m.provider.GetDBVersion(ctx); err != nil {
			return 0, 0, fmt.Errorf("read the schema's version: %w", err)
		}
	}
	migrator, err := m.riverMigrator()
	if err != nil {
		return 0, 0, err
	}
	existing, err := migrator.ExistingVersions(ctx)
	if err != nil {
		return ours, 0, fmt.Errorf("read River's version: %w", err)
	}
	for _, version := range existing {
		river = max(river, int64(version.Version))
	}
	return ours, river, nil
}

// Check is nil when nothing is missing, and ErrNotMigrated otherwise.
func (m *Migrator) Check(ctx context.Context) error {
	begun, err := m.begun(ctx)
	if err != nil {
		return err
	}
	if !begun {
		return ErrNotMigrated
	}
	pending, err := m.provider.HasPending(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	migrator, err := m.riverMigrator()
	if err != nil {
		return err
	}
	river, err := migrator.Validate(ctx, &rivermigrate.ValidateOpts{TargetVersion: riverVersion})
	if err != nil {
		return fmt.Errorf("read the version of River's schema: %w", err)
	}
	if pending || !river.OK {
		return ErrNotMigrated
	}
	return nil
}

const findTable = `
SELECT to_regclass($1) IS NOT NULL`

// begun reports whether our version table is there. Without it goose isn't asked:
// it would make the table even to read it, and never tries twice.
func (m *Migrator) begun(ctx context.Context) (begun bool, err error) {
	err = m.pool.QueryRow(ctx, findTable, m.table).Scan(&begun)
	return begun, wrap(err, "look for the version table")
}

func (m *Migrator) locked(ctx context.Context, do func() error) (err error) {
	if err := m.checkSessions(ctx); err != nil {
		return err
	}
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect for the migration lock: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := m.lock.SessionLock(ctx, conn); err != nil {
		return fmt.Errorf("wait for another migration to finish: %w", err)
	}
	defer func() {
		unlock, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, m.lock.SessionUnlock(unlock, conn))
	}()
	return do()
}

// checkSessions is nil when the lock of a session is one: without a pooler, or with
// one that keeps sessions as far as can be seen.
func (m *Migrator) checkSessions(ctx context.Context) error {
	pooled, err := Pooled(ctx, m.pool)
	if err != nil || !pooled {
		return err
	}
	if !m.KeepsSessions {
		return ErrPooled
	}
	shared, err := sharesSessions(ctx, m.pool)
	if err == nil && shared {
		err = ErrPooled
	}
	return err
}

const findRiver = `
SELECT to_regclass('river_job') IS NOT NULL AND to_regclass('river_migration') IS NULL`

// upRiver runs outside a transaction: River's versions can't share one, as one
// adds an enum value that a later one uses.
func (m *Migrator) upRiver(ctx context.Context) error {
	var orphaned bool
	if err := m.pool.QueryRow(ctx, findRiver).Scan(&orphaned); err != nil {
		return fmt.Errorf("look for River's tables: %w", err)
	}
	if orphaned {
		return errors.New("there are River tables without river_migration, which says their version: " +
			"restore that table from where these came from, or set search_path to another schema in DATABASE_URL")
	}
	migrator, err := m.riverMigrator()
	if err != nil {
		return err
	}
	done, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{TargetVersion: riverVersion})
	if err != nil {
		return fmt.Errorf("migrate River: %w", err)
	}
	for _, version := range done.Versions {
		m.log.Info("migrated", "schema", "river", "version", version.Version, "name", version.Name, "took", version.Duration)
	}
	return nil
}

// prepare brings what our migrations build on: River's tables, and the schema
// that goose's version table stands in.
func (m *Migrator) prepare(ctx context.Context) error {
	if err := m.upRiver(ctx); err != nil {
		return err
	}
	_, err := m.pool.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS riverbeat`)
	return wrap(err, "make the schema")
}

func (m *Migrator) riverMigrator() (*rivermigrate.Migrator[pgx.Tx], error) {
	migrator, err := rivermigrate.New(riverpgxv5.New(m.pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	return migrator, wrap(err, "read River's migrations")
}

func (m *Migrator) one(result *goose.MigrationResult, err error) error {
	if errors.Is(err, goose.ErrNoNextVersion) {
		m.log.Info("nothing to migrate")
		return nil
	}
	m.report(result)
	return err
}

func (m *Migrator) report(results ...*goose.MigrationResult) {
	for _, r := range results {
		if r != nil && r.Error == nil {
			m.log.Info("migrated", "schema", "riverbeat", "direction", r.Direction, "version", r.Source.Version,
				"name", r.Source.Path, "took", r.Duration)
		}
	}
}
