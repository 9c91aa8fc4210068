package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"
	"github.com/spf13/cobra"

	"github.com/riverbeat/riverbeat/db"
)

func (p *program) migrateCommand() *cobra.Command {
	migrate := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date, or back",
		Long: "River's own migrations run first, then riverbeat's, under one lock: any number of\n" +
			"processes may migrate at once. River's tables are never taken back.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	add := func(name, short string, do func(context.Context, *db.Migrator) error) {
		migrate.AddCommand(&cobra.Command{
			Use: name, Short: short, Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return p.withMigrator(cmd.Context(), do) },
		})
	}
	add("up", "Apply everything that is missing", func(ctx context.Context, m *db.Migrator) error { return m.Up(ctx) })
	add("up-by-one", "Apply the next of riverbeat's migrations", func(ctx context.Context, m *db.Migrator) error { return m.UpByOne(ctx) })
	add("down", "Undo the newest of riverbeat's migrations", func(ctx context.Context, m *db.Migrator) error { return m.Down(ctx) })
	add("redo", "Undo and apply the newest of riverbeat's migrations", func(ctx context.Context, m *db.Migrator) error { return m.Redo(ctx) })
	add("status", "List riverbeat's migrations", p.migrateStatus)
	add("version", "Print the schema's versions", func(ctx context.Context, m *db.Migrator) error {
		ours, river, err := m.Version(ctx)
		if err == nil {
			fmt.Fprintf(p.stdout, "riverbeat %d\nriver %d\n", ours, river)
		}
		return err
	})
	return migrate
}

func (p *program) migrateStatus(ctx context.Context, m *db.Migrator) error {
	list, err := m.Status(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VERSION\tNAME\tAPPLIED")
	for _, status := range list {
		applied := "pending"
		if status.State == goose.StateApplied {
			applied = status.AppliedAt.UTC().Format("2006-01-02 15:04:05 UTC")
		}
		fmt.Fprintf(table, "%d\t%s\t%s\n", status.Source.Version, status.Source.Path, applied)
	}
	return table.Flush()
}

// withMigrator connects to the database; its lock is that of a session, so a pooler
// in between is gone around.
func (p *program) withMigrator(ctx context.Context, do func(context.Context, *db.Migrator) error) (err error) {
	url := p.config.listenURL()
	if url == "" {
		return errNoDatabase
	}
	pool, err := db.OpenPool(ctx, url, "riverbeat-migrate", 4)
	if err != nil {
		return &configError{fmt.Errorf("%s: %w", p.config.listenVariable(), err)}
	}
	defer pool.Close()
	err = p.migrateWith(ctx, pool, func(ctx context.Context, m *db.Migrator) error {
		m.KeepsSessions = p.config.ListenDatabaseURL != ""
		return do(ctx, m)
	})
	if errors.Is(err, db.ErrPooled) {
		return &configError{fmt.Errorf("%s: must be set to a way to PostgreSQL that leads around poolers: %w", variable("listen-database-url"), err)}
	}
	return err
}

func (p *program) migrateWith(ctx context.Context, pool *pgxpool.Pool, do func(context.Context, *db.Migrator) error) (err error) {
	migrator, err := db.NewMigrator(ctx, pool, p.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, migrator.Close()) }()
	return do(ctx, migrator)
}

var errNoDatabase = &configError{errors.New("DATABASE_URL: is missing: set it to a PostgreSQL database, or try `riverbeat dev`")}

// listenURL is a way to PostgreSQL that keeps sessions.
func (c *Config) listenURL() string {
	if c.ListenDatabaseURL != "" {
		return c.ListenDatabaseURL
	}
	return c.DatabaseURL
}

// listenVariable is the setting that listenURL is from.
func (c *Config) listenVariable() string {
	if c.ListenDatabaseURL != "" {
		return variable("listen-database-url")
	}
	return variable("database-url")
}
