package scheduler

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/jobs"
)

// BenchmarkShared fires 200 schedules each second, by 1, 2 and 5 schedulers: how
// late the runs are, and how many transactions an instant takes. An operation is five
// seconds.
func BenchmarkShared(b *testing.B) {
	for _, n := range []int{1, 2, 5} {
		b.Run(fmt.Sprintf("by=riverbeat/schedulers=%d", n), func(b *testing.B) {
			url := durable(b)
			pool := dbtest.Open(b, url)
			if _, err := pool.Exec(b.Context(), `
				INSERT INTO riverbeat.schedules (name, every, job_kind)
				SELECT 'schedule ' || i, '1s', 'noop' FROM generate_series(1, 200) i;
				UPDATE riverbeat.schedules SET start_at = date_trunc('second', clock_timestamp()) + interval '1 second'`); err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			done := make(chan struct{}, n)
			for range n {
				own := dbtest.Open(b, url)
				inserter, err := jobs.NewInserter(own)
				if err != nil {
					b.Fatal(err)
				}
				s := New(db.NewStore(own), inserter, Config{Log: dbtest.Log(b)})
				go func() {
					_ = s.Run(ctx)
					done <- struct{}{}
				}()
			}
			defer func() {
				stop()
				for range n {
					<-done
				}
			}()
			instants := func() (n, transactions int, p99 float64) {
				if err := pool.QueryRow(b.Context(), `
					SELECT count(DISTINCT scheduled_for), (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()),
					       coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM created_at - scheduled_for)), 0) * 1000
					FROM riverbeat.runs`).Scan(&n, &transactions, &p99); err != nil {
					b.Fatal(err)
				}
				return n, transactions, p99
			}
			for n, _, _ := instants(); n < 3; n, _, _ = instants() {
				time.Sleep(100 * time.Millisecond)
			}
			if _, err := pool.Exec(b.Context(), `DELETE FROM riverbeat.runs`); err != nil {
				b.Fatal(err)
			}
			time.Sleep(1500 * time.Millisecond) // PostgreSQL's counters lag by a second
			begun, before, _ := instants()
			for until := begun; b.Loop(); {
				until += 5
				for n, _, _ := instants(); n < until; n, _, _ = instants() {
					time.Sleep(time.Second)
				}
			}
			time.Sleep(1500 * time.Millisecond)
			ended, after, p99 := instants()
			b.ReportMetric(float64(after-before)/float64(ended-begun), "tx/instant")
			b.ReportMetric(p99, "p99-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}
