package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"time"

	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/localpg"
)

// pg_cron's jobs insert what the others do. In 1.4 its clock is UTC.
const pgCronJobs = `
SELECT count(cron.schedule('job ' || i, $2, $$INSERT INTO river_job (args, kind, max_attempts) VALUES ('{"n": 1}', 'noop', 25)$$))
FROM generate_series(1, $1::int) i`

// pgCronDue has n jobs of pg_cron due on the minute. It has a server of its own: it
// wakes every second, which isn't to be measured with the others.
func (b *bench) pgCronDue(ctx context.Context, n int) (_ figures, err error) {
	var there bool
	if err := b.admin.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_cron')`).Scan(&there); err != nil {
		return nil, err
	}
	if !there {
		return nil, &skippedError{"its package is missing, see `make bench-peers`"}
	}
	with := maps.Clone(settings)
	maps.Copy(with, map[string]string{
		"shared_preload_libraries": "pg_cron", "cron.database_name": "postgres",
		"cron.use_background_workers": "on", "max_worker_processes": "64", // else it needs a password file of the server's user
	})
	server, err := localpg.Start(ctx, localpg.Config{DataDir: filepath.Join(b.dir, "pg_cron"), Durable: true, Settings: with})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	pool, err := db.OpenPool(ctx, server.URL(), "bench", 2)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	if err := migrate(ctx, pool); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, `CREATE EXTENSION pg_cron`); err != nil {
		return nil, err
	}
	due := time.Now().Add(b.lead(5*time.Second, n, 2*time.Millisecond)).Truncate(time.Minute).Add(time.Minute).UTC()
	if _, err := pool.Exec(ctx, pgCronJobs, n, fmt.Sprintf("%d %d * * *", due.Minute(), due.Hour())); err != nil {
		return nil, err
	}
	if err := settle(ctx, pool); err != nil {
		return nil, err
	}
	if !time.Now().Before(due) {
		return nil, errTooSlow
	}
	return whenDue(ctx, pool, n, n, due, jobsLate, due)
}
