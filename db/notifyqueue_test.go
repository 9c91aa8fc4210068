package db_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/db/localpg"
)

const write = `INSERT INTO riverbeat.schedules (name, every, job_kind) SELECT gen_random_uuid(), '1 hour', 'noop'`

// Somebody listens, and then never ends a transaction: all that is sent meanwhile is
// kept for them, and a queue that is full fails every commit that sends more. From
// PostgreSQL 17 on a server may have a small queue; before, it has 8 GB, so that the
// triggers are told there that it is half full.
func TestAFullNotifyQueueHurtsNoWriter(t *testing.T) {
	t.Parallel()
	if v := one[int](t, dbtest.Pool(t), `SELECT current_setting('server_version_num')::int`); v < 170000 {
		halfFull(t)
		return
	}
	dir, err := os.MkdirTemp("", "riverbeat-queue-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o711))
	server, err := localpg.Start(t.Context(), localpg.Config{DataDir: filepath.Join(dir, "pg"), Settings: map[string]string{"max_notify_queue_pages": "64"}})
	must(t, err)
	t.Cleanup(func() { must(t, server.Stop()) })
	pool := dbtest.Open(t, server.URL())
	migrator, err := db.NewMigrator(t.Context(), pool, dbtest.Log(t))
	must(t, err)
	defer migrator.Close()
	must(t, migrator.Up(t.Context()))
	stuck, err := pgx.Connect(t.Context(), server.URL())
	must(t, err)
	defer stuck.Close(t.Context())
	_, err = stuck.Exec(t.Context(), `LISTEN somebody; BEGIN; SELECT 1`)
	must(t, err)
	for { // until it is full
		_, err := pool.Exec(t.Context(), `SELECT pg_notify('somebody', repeat('x', 7900))`)
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code == "55000" {
			break
		}
		must(t, err)
		execSQL(t, pool, write)
	}
	execSQL(t, pool, write)
	execSQL(t, pool, `UPDATE riverbeat.schedules SET every = '2 hours'`)
	execSQL(t, pool, `DELETE FROM riverbeat.schedules`)
}

func halfFull(t *testing.T) {
	pool := dbtest.Pool(t)
	conn, err := pool.Acquire(t.Context())
	must(t, err)
	defer conn.Release()
	usage := func(is string) {
		t.Helper()
		_, err := conn.Exec(t.Context(), `
			SET allow_system_table_mods = on;
			CREATE OR REPLACE FUNCTION pg_catalog.pg_notification_queue_usage() RETURNS double precision LANGUAGE sql AS 'SELECT `+is+`::double precision'`)
		must(t, err)
	}
	listener, err := pool.Acquire(t.Context())
	must(t, err)
	defer listener.Release()
	_, err = listener.Exec(t.Context(), `LISTEN riverbeat_schedules`)
	must(t, err)
	usage("0.6")
	execSQL(t, pool, write)
	execSQL(t, pool, `UPDATE riverbeat.schedules SET every = '2 hours'`)
	usage("0.4")
	execSQL(t, pool, `DELETE FROM riverbeat.schedules`)
	n, err := listener.Conn().WaitForNotification(t.Context())
	must(t, err)
	if want := `"op":"deleted"`; len(n.Payload) < 20 || n.Payload[1:1+len(want)] != want {
		t.Errorf("the first that is announced is %s: something was sent while the queue was too full", n.Payload)
	}
}
