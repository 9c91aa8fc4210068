package scheduler

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/wake"
	"github.com/riverbeat/riverbeat/app/wake/redistest"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/db/localpg"
)

// durable is a database of a server that keeps what it has committed, as users run
// it: the tests' own doesn't wait for the disk.
func durable(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "riverbeat-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		b.Fatal(err)
	}
	server, err := localpg.Start(b.Context(), localpg.Config{DataDir: filepath.Join(dir, "pg"), Durable: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := server.Stop(); err != nil {
			b.Error(err)
		}
	})
	pool := dbtest.Open(b, server.URL())
	migrator, err := db.NewMigrator(b.Context(), pool, dbtest.Log(b))
	if err != nil {
		b.Fatal(err)
	}
	defer migrator.Close()
	if err := migrator.Up(b.Context()); err != nil {
		b.Fatal(err)
	}
	return server.URL()
}

// edits changes schedules one at a time, as the API does, and says so the way that
// is measured.
type edits struct {
	pool     *pgxpool.Pool
	notify   bool
	announce func(schedule.Change)
	ids      []schedule.ID
	count    atomic.Int64
}

// one edits the schedule and returns the transaction that did it and when its
// commit was sent.
func (e *edits) one(ctx context.Context, n int) (transaction uint64, sent time.Time, err error) {
	tx, err := e.pool.Begin(ctx)
	if err != nil {
		return 0, sent, err
	}
	defer tx.Rollback(ctx)
	if !e.notify {
		if _, err := tx.Exec(ctx, `SET LOCAL riverbeat.announce = 'off'`); err != nil {
			return 0, sent, err
		}
	}
	id := e.ids[n%len(e.ids)]
	var version int64
	err = tx.QueryRow(ctx, `UPDATE riverbeat.schedules SET description = $2 WHERE id = $1 RETURNING version`, [16]byte(id), fmt.Sprint(e.count.Add(1))).Scan(&version)
	if err != nil {
		return 0, sent, err
	}
	if transaction, err = (&db.Tx{Tx: tx}).Transaction(ctx); err != nil {
		return 0, sent, err
	}
	sent = time.Now()
	if err := tx.Commit(ctx); err != nil {
		return 0, sent, err
	}
	e.announce(schedule.Change{Op: schedule.OpUpdated, ID: id, Version: version})
	return transaction, sent, nil
}

// BenchmarkInForce is the time from the sending of an edit's commit until the look
// of a scheduler has seen it, beside what NOTIFY and PUBLISH alone take.
func BenchmarkInForce(b *testing.B) {
	url, server := durable(b), redistest.Start(b)
	for _, busy := range []bool{false, true} {
		is := "idle"
		if busy {
			is = "1000-edits-a-second"
		}
		for _, by := range []string{"bare-notify", "bare-publish", "notify", "redis", "both"} {
			if busy && (by == "bare-notify" || by == "bare-publish") {
				continue
			}
			b.Run("is="+is+"/by="+by, func(b *testing.B) { inForce(b, url, server, by, busy) })
		}
	}
}

func inForce(b *testing.B, url string, server *redistest.Server, by string, busy bool) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	pool := dbtest.Open(b, url)
	client, err := wake.NewRedisClient(server.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	e := &edits{pool: pool, notify: by == "notify" || by == "both", announce: func(schedule.Change) {}}
	if _, err := pool.Exec(ctx, `TRUNCATE riverbeat.schedules`); err != nil {
		b.Fatal(err)
	}
	rows, err := pool.Query(ctx, `INSERT INTO riverbeat.schedules (name, every, job_kind) SELECT 'n' || n, '1 day', 'noop' FROM generate_series(1, 1000) n RETURNING id`)
	if err != nil {
		b.Fatal(err)
	}
	if e.ids, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (id schedule.ID, err error) {
		return id, row.Scan((*[16]byte)(&id))
	}); err != nil {
		b.Fatal(err)
	}

	var wait func(transaction uint64)
	switch by {
	case "bare-notify":
		wait = bareNotify(ctx, b, pool, e)
	case "bare-publish":
		wait = barePublish(ctx, b, client, e)
	default:
		wait = heard(ctx, b, pool, client, e, by, &running)
	}
	if busy {
		running.Go(func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for n := 1; ctx.Err() == nil; n++ {
				<-tick.C
				if _, _, err := e.one(ctx, n%(len(e.ids)-1)+1); err != nil && ctx.Err() == nil {
					b.Error(err)
				}
			}
		})
	}
	took, before := make([]time.Duration, 0, b.N), e.count.Load()
	b.ResetTimer()
	for range b.N {
		transaction, sent, err := e.one(ctx, 0)
		if err != nil {
			b.Fatal(err)
		}
		wait(transaction)
		took = append(took, time.Since(sent))
		time.Sleep(2 * time.Millisecond) // idle is idle
	}
	b.StopTimer()
	if busy {
		b.ReportMetric(float64(e.count.Load()-before)/b.Elapsed().Seconds(), "edits/s")
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// heard runs a scheduler that hears by the paths, and waits for its looks.
func heard(ctx context.Context, b *testing.B, pool *pgxpool.Pool, client *redis.Client, e *edits, by string, running *sync.WaitGroup) func(uint64) {
	store := db.NewStore(pool)
	s := New(store, nil, Config{PollInterval: time.Hour, Zones: "2026f", Log: dbtest.Log(b)})
	running.Go(func() { _ = s.Run(ctx) })
	up := make(chan schedule.Path, 10)
	hears := func(path schedule.Path) func(schedule.Change) {
		return func(c schedule.Change) {
			if c == (schedule.Change{}) {
				select {
				case up <- path:
				default:
				}
			}
			s.Notify(c, path)
		}
	}
	paths := 0
	if by != "redis" {
		paths++
		listener := &wake.Listener{Config: pool.Config().ConnConfig, OnChange: hears(schedule.PathNotify), Log: dbtest.Log(b)}
		running.Go(func() { _ = listener.Run(ctx) })
	}
	if by != "notify" {
		paths++
		subscriber := &wake.Subscriber{Client: client, OnChange: hears(schedule.PathRedis), Log: dbtest.Log(b)}
		running.Go(func() { _ = subscriber.Run(ctx) })
		publisher := wake.NewPublisher(client, "", dbtest.Log(b))
		running.Go(func() { _ = publisher.Run(ctx) })
		e.announce = publisher.Announce
	}
	for range paths {
		select {
		case <-up:
		case <-time.After(20 * time.Second):
			b.Fatal("a path doesn't come up")
		}
	}
	for {
		dirty, err := store.StillDirty(ctx, db.Dirty{}, 1)
		if err != nil {
			b.Fatal(err)
		}
		if len(dirty) == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return func(transaction uint64) {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Microsecond) {
			s.mu.Lock()
			text := s.looked.Snapshot
			s.mu.Unlock()
			if snapshot, err := db.ParseSnapshot(text); err == nil && snapshot.Sees(transaction) {
				return
			}
			if time.Now().After(deadline) {
				b.Fatal("the change isn't in force after 20 s")
			}
		}
	}
}

func bareNotify(ctx context.Context, b *testing.B, pool *pgxpool.Pool, e *edits) func(uint64) {
	e.notify = true
	conn, err := pool.Acquire(ctx)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Hijack().Close(context.Background()) })
	if _, err := conn.Exec(ctx, `LISTEN riverbeat_schedules`); err != nil {
		b.Fatal(err)
	}
	return func(uint64) {
		if _, err := conn.Conn().WaitForNotification(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func barePublish(ctx context.Context, b *testing.B, client *redis.Client, e *edits) func(uint64) {
	subscription := client.Subscribe(ctx, "bare")
	b.Cleanup(func() { _ = subscription.Close() })
	if _, err := subscription.Receive(ctx); err != nil {
		b.Fatal(err)
	}
	e.announce = func(schedule.Change) {
		if err := client.Publish(ctx, "bare", "x").Err(); err != nil {
			b.Error(err)
		}
	}
	return func(uint64) {
		if _, err := subscription.ReceiveMessage(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWriters is what announcing costs those who write: a commit each, by so
// many at once, into a table without triggers, into schedules without NOTIFY, and
// with it, beside one that listens.
func BenchmarkWriters(b *testing.B) {
	url := durable(b)
	pool, err := db.OpenPool(b.Context(), url, "bench", 16)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	b.Cleanup(func() { cancel(); running.Wait() })
	listener := &wake.Listener{Config: pool.Config().ConnConfig, OnChange: func(schedule.Change) {}, Log: dbtest.Log(b)}
	running.Go(func() { _ = listener.Run(ctx) })
	if _, err := pool.Exec(ctx, `CREATE TABLE plain (LIKE riverbeat.schedules INCLUDING ALL)`); err != nil {
		b.Fatal(err)
	}
	var number atomic.Int64
	for _, writers := range []int{1, 8} {
		for _, by := range []struct{ name, table, announce string }{
			{"plain", "plain", ""}, {"silent", "riverbeat.schedules", "off"}, {"notify", "riverbeat.schedules", ""},
		} {
			b.Run(fmt.Sprintf("writers=%d/by=%s", writers, by.name), func(b *testing.B) {
				statement := `INSERT INTO ` + by.table + ` (name, every, job_kind) VALUES ($1, '1 day', 'noop')`
				var left atomic.Int64
				left.Store(int64(b.N))
				var all sync.WaitGroup
				b.ResetTimer()
				for range writers {
					all.Go(func() {
						conn, err := pool.Acquire(ctx)
						if err != nil {
							b.Error(err)
							return
						}
						defer conn.Release()
						if _, err := conn.Exec(ctx, `SELECT set_config('riverbeat.announce', $1, false)`, by.announce); err != nil {
							b.Error(err)
							return
						}
						for left.Add(-1) >= 0 {
							if _, err := conn.Exec(ctx, statement, fmt.Sprint(number.Add(1))); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			})
		}
	}
}
